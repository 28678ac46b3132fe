/* options.h: one table per command drives the parsing and the --help text alike. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "../io/error.h"

#include <attn/attn.h>
#include <stddef.h>

/* Reads `text` into the field. The sentence of a failure says what was expected ("expected a whole
 * number"); the caller puts the option's name and the text before it. text is NULL for flags. */
typedef bool cli_parser(void *field, const char *text, io_error *error);

typedef struct cli_option {
    const char *name;     /* without the dashes; NULL ends a table; -o is short for "output" */
    const char *argument; /* what it takes, as --help shows it; NULL: nothing, it is a flag */
    const char *help;
    cli_parser *parse;
    size_t offset; /* of the field in the settings */
} cli_option;

/* Options under one heading of --help. */
typedef struct cli_group {
    const char *title;         /* NULL ends the list */
    const cli_option *options; /* ended by one without a name */
    size_t offset;             /* of the struct that their offsets count in */
} cli_group;

typedef struct cli_usage {
    const char *command;     /* "attn run" */
    const char *synopsis;    /* one or more lines, after "usage: " */
    const char *description; /* a sentence or two */
    const cli_group *groups;
    int operands; /* how many arguments that are no options it takes at most */
} cli_usage;

typedef enum cli_parsed { CLI_PARSED, CLI_HELP_SHOWN, CLI_BAD_OPTION } cli_parsed;

/* Reads the options of argv into settings and moves the operands behind them. */
cli_parsed cli_parse(const cli_usage *usage, int argc, char **argv, void *settings,
                     io_error *error);

/* Reads one option by its whole name, without dashes, as cli_parse would; text is NULL for a flag. */
bool cli_apply(const cli_usage *usage, const char *name, const char *text, void *settings,
               io_error *error);

/* The option of that name, or NULL. */
const cli_option *cli_find(const cli_usage *usage, const char *name);

/* After cli_parse: operand i, or NULL. */
const char *cli_operand(int argc, char **argv, int i);

enum { CLI_LIST_MAX = 4096, CLI_OPERANDS_MAX = 4096 };

typedef struct cli_list {
    int64_t values[CLI_LIST_MAX];
    int count;
} cli_list;

/* How queries stand among the keys, for --causal. */
typedef struct cli_causal {
    bool enabled;
    attn_alignment alignment;
} cli_causal;

cli_parser cli_text;    /* const char *, the argument itself */
cli_parser cli_flag;    /* bool, set to true */
cli_parser cli_count;   /* int64_t >= 0 */
cli_parser cli_integer; /* int64_t */
cli_parser cli_number;  /* double, finite */
cli_parser cli_scale;   /* double, finite and not 0 */
cli_parser cli_cap;     /* double, finite and above 0 */
cli_parser cli_share;   /* double, 0 or more and less than 1 */
cli_parser cli_size;    /* int64_t > 0 */
cli_parser cli_numbers; /* cli_list of int64_t >= 0 */
cli_parser cli_rising;  /* the same, each above the one before */
cli_parser cli_causal_rule;
cli_parser cli_window; /* attn_window from "L,R" */
cli_parser cli_isa;    /* attn_isa that this machine has */

/* Whether the text, `length` long, is the name (NULL: none is); underscores in it count as dashes,
 * because the library's names have them. */
bool cli_same_name(const char *name, const char *text, size_t length);

/* Finds the word among `count`, whose pointers lie `step` bytes apart from `first` on, for instance
 * in the rows of a table. The sentence of a failure lists them. */
bool cli_word(const char *const *first, int count, size_t step, const char *text, int *choice,
              io_error *error);

/* That sentence alone; false. */
bool cli_expect_word(const char *const *first, int count, size_t step, io_error *error);

/* Reads a finite number, with nothing before or after. */
bool cli_read_real(const char *text, double *value);

/* Reads a whole number of 0 to 2^64 - 1, in decimal digits alone. */
bool cli_read_unsigned(const char *text, uint64_t *value);

/* Reads `count` whole numbers with commas between them, and nothing after. */
bool cli_read_numbers(const char *text, int64_t *values, int count);

/* Opens a context with that many threads (0: all) and that ceiling. */
bool cli_open_context(attn_context **context, int64_t threads, attn_isa isa, io_error *error);

#endif

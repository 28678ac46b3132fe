/* problem.h: from files and options to an attn_problem, for every command that takes one. */
#ifndef CLI_PROBLEM_H
#define CLI_PROBLEM_H

#include "../io/array.h"
#include "../io/safetensors.h"
#include "../io/tokens.h"
#include "options.h"

typedef struct cli_problem_settings {
    const char *query, *key, *value, *bias, *mask, *sinks, *alibi; /* names of .npy files */
    double scale, softcap;
    cli_causal causal;
    attn_window window;
    int64_t query_offset;
    cli_list query_lengths, key_lengths, prefix_lengths;
    int64_t threads;
    attn_isa isa;
} cli_problem_settings;

/* The options that fill them; their offsets count in cli_problem_settings. */
extern const cli_option cli_input_options[];
extern const cli_option cli_score_options[];
extern const cli_option cli_mask_options[];
extern const cli_option cli_machine_options[];

enum { CLI_INPUTS = 7 };

/* A problem whose inputs are there, without results. It points into itself and the settings. */
typedef struct cli_problem {
    attn_problem problem;
    int dims;                       /* of the query in its file: results are written with as many */
    const char *source[CLI_INPUTS]; /* the file each input came from, NULL if there is none */
    io_array arrays[CLI_INPUTS];
    io_safetensors file;
    io_tokens query_tokens, key_tokens; /* count 0: none */
} cli_problem;

/* Loads from `path`, a .safetensors file, or, where it is NULL, from the files that the settings
 * name. Close with cli_problem_close, also after a failure. */
bool cli_problem_load(cli_problem *loaded, const cli_problem_settings *settings, const char *path,
                      io_error *error);
void cli_problem_close(cli_problem *loaded);

/* Only the tokens, from loaded->file. */
bool cli_problem_load_tokens(cli_problem *loaded, io_error *error);

/* Whether no option was given that says what to compute, or how. */
bool cli_problem_settings_are_plain(const cli_problem_settings *settings);

/* Runs attn_forward; a failure's sentence gets the name of the file that it is about. */
bool cli_problem_forward(const cli_problem *loaded, attn_context *context,
                         const attn_problem *problem, io_error *error);

/* Has the library check the problem, which has no results yet, without computing anything. */
bool cli_problem_check(const cli_problem *loaded, attn_context *context, io_error *error);

/* The problem of the `count` queries from `first` on, in one head of one row of the batch: the same
 * scores and the same mask. `length` keeps the queries' length, if the problem limits it, and must
 * live as long as the result. */
attn_problem cli_problem_slice(const attn_problem *problem, int64_t batch, int64_t head,
                               int64_t first, int64_t count, int64_t *length);

#endif

#define _GNU_SOURCE
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 128, HELP_COLUMN = 30, HELP_VALUE = 1000 };

/* One whole number at *text, which moves behind it. strtoll alone would skip leading blanks. */
static bool read_number(const char **text, int64_t *value) {
    char *end = NULL;
    if (strspn(*text, "+-0123456789") == 0) return false;
    errno = 0;
    *value = strtoll(*text, &end, 10);
    if (end == *text || errno) return false;
    *text = end;
    return true;
}

bool cli_read_numbers(const char *text, int64_t *values, int count) {
    for (int i = 0; i < count; i++) {
        if (i > 0 && *text++ != ',') return false;
        if (!read_number(&text, &values[i])) return false;
    }
    return *text == 0;
}

bool cli_read_unsigned(const char *text, uint64_t *value) {
    if (!*text || text[strspn(text, "0123456789")]) return false;
    errno = 0;
    *value = strtoull(text, NULL, 10);
    return errno == 0;
}

bool cli_text(void *field, const char *text, io_error *error) {
    if (!*text) return io_fail(error, "expected a name");
    *(const char **)field = text;
    return true;
}

bool cli_flag(void *field, const char *text, io_error *error) {
    (void)text, (void)error;
    *(bool *)field = true;
    return true;
}

bool cli_integer(void *field, const char *text, io_error *error) {
    if (cli_read_numbers(text, field, 1)) return true;
    return io_fail(error, "expected a whole number");
}

bool cli_size(void *field, const char *text, io_error *error) {
    int64_t value = 0;
    if (!cli_read_numbers(text, &value, 1) || value < 1) {
        return io_fail(error, "expected a whole number above 0");
    }
    *(int64_t *)field = value;
    return true;
}

bool cli_count(void *field, const char *text, io_error *error) {
    int64_t value = 0;
    if (!cli_read_numbers(text, &value, 1) || value < 0) {
        return io_fail(error, "expected a whole number, 0 or more");
    }
    *(int64_t *)field = value;
    return true;
}

bool cli_read_real(const char *text, double *value) {
    char *end = NULL;
    if (strspn(text, "+-.0123456789") == 0) return false;
    *value = strtod(text, &end);
    return *end == 0 && isfinite(*value);
}

bool cli_number(void *field, const char *text, io_error *error) {
    double value = 0;
    if (!cli_read_real(text, &value)) return io_fail(error, "expected a finite number");
    *(double *)field = value;
    return true;
}

bool cli_scale(void *field, const char *text, io_error *error) {
    double value = 0;
    if (!cli_read_real(text, &value) || value == 0) {
        return io_fail(error, "expected a finite number other than 0");
    }
    *(double *)field = value;
    return true;
}

bool cli_cap(void *field, const char *text, io_error *error) {
    double value = 0;
    if (!cli_read_real(text, &value) || value <= 0) {
        return io_fail(error, "expected a finite number above 0");
    }
    *(double *)field = value;
    return true;
}

bool cli_share(void *field, const char *text, io_error *error) {
    double value = 0;
    if (!cli_read_real(text, &value) || value < 0 || value >= 1) {
        return io_fail(error, "expected a number, 0 or more and less than 1");
    }
    *(double *)field = value;
    return true;
}

bool cli_numbers(void *field, const char *text, io_error *error) {
    cli_list *const list = field;
    list->count = 0;
    do {
        if (list->count == CLI_LIST_MAX) {
            return io_fail(error, "expected at most %d numbers", CLI_LIST_MAX);
        }
        int64_t *const value = &list->values[list->count++];
        if (!read_number(&text, value) || *value < 0) break;
        if (*text == 0) return true;
    } while (*text++ == ',');
    return io_fail(error, "expected whole numbers, 0 or more, with commas between them (5,9)");
}

bool cli_rising(void *field, const char *text, io_error *error) {
    const cli_list *const list = field;
    bool good = cli_numbers(field, text, error);
    for (int i = 1; good && i < list->count; i++) good = list->values[i] > list->values[i - 1];
    return good || io_fail(error, "expected whole numbers, 0 or more and each above the one "
                                  "before, with commas between them (0,3)");
}

static const char *word_at(const char *const *first, size_t step, int i) {
    return *(const char *const *)(const void *)((const char *)first + (size_t)i * step);
}

bool cli_expect_word(const char *const *first, int count, size_t step, io_error *error) {
    char words[512] = "";
    size_t used = 0;
    for (int i = 0; i < count && used < sizeof words; i++) {
        const char *const before = i == 0 ? "" : i + 1 < count ? ", " : " or ";
        used += (size_t)snprintf(words + used, sizeof words - used, "%s%s", before,
                                 word_at(first, step, i));
    }
    return io_fail(error, "expected %s", words);
}

bool cli_same_name(const char *name, const char *text, size_t length) {
    if (!name || strlen(name) != length) return false;
    for (size_t i = 0; i < length; i++) {
        if (name[i] != (text[i] == '_' ? '-' : text[i])) return false;
    }
    return true;
}

bool cli_word(const char *const *first, int count, size_t step, const char *text, int *choice,
              io_error *error) {
    for (int i = 0; i < count; i++) {
        if (strcmp(text, word_at(first, step, i)) != 0) continue;
        *choice = i;
        return true;
    }
    return cli_expect_word(first, count, step, error);
}

bool cli_causal_rule(void *field, const char *text, io_error *error) {
    static const char *const names[] = {
        [ATTN_ALIGN_TOP_LEFT] = "top-left", [ATTN_ALIGN_BOTTOM_RIGHT] = "bottom-right"};
    int corner = 0;
    if (!cli_word(names, 2, sizeof names[0], text, &corner, error)) return false;
    *(cli_causal *)field = (cli_causal){.enabled = true, .alignment = (attn_alignment)corner};
    return true;
}

bool cli_window(void *field, const char *text, io_error *error) {
    int64_t sides[2];
    if (!cli_read_numbers(text, sides, 2)) {
        return io_fail(error, "expected two whole numbers, LEFT,RIGHT (128,0; -1 for no limit)");
    }
    *(attn_window *)field = (attn_window){.enabled = true, .left = sides[0], .right = sides[1]};
    return true;
}

/* "generic, avx2": the tables that this build and this machine have. */
static void list_isas(char *text, size_t size) {
    size_t used = 0;
    text[0] = 0;
    for (attn_isa isa = ATTN_ISA_GENERIC; attn_isa_name(isa) && used < size; isa++) {
        if (!attn_isa_available(isa)) continue;
        used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "",
                                 attn_isa_name(isa));
    }
}

bool cli_isa(void *field, const char *text, io_error *error) {
    char names[128];
    attn_isa isa = ATTN_ISA_BEST;
    list_isas(names, sizeof names);
    if (attn_isa_from_name(text, &isa) != ATTN_OK) {
        return io_fail(error, "expected an instruction set of this machine: %s", names);
    }
    if (isa != ATTN_ISA_BEST && !attn_isa_available(isa)) {
        return io_fail(error, "this build on this machine has %s", names);
    }
    *(attn_isa *)field = isa;
    return true;
}

bool cli_open_context(attn_context **context, int64_t threads, attn_isa isa, io_error *error) {
    const int asked = threads > INT32_MAX ? INT32_MAX : (int)threads;
    const attn_context_options options = {.threads = asked, .max_isa = isa};
    if (attn_context_create(context, &options) == ATTN_OK) return true;
    return io_fail(error, "%s", attn_error_message());
}

static void print_option(const cli_option *option) {
    const int width = printf("  --%s%s%s", option->name, option->argument ? " " : "",
                             option->argument ? option->argument : "");
    if (width > HELP_COLUMN - 2) printf("\n%*s", HELP_COLUMN, "");
    else printf("%*s", HELP_COLUMN - width, "");
    for (const char *line = option->help; *line;) {
        const size_t length = strcspn(line, "\n");
        printf("%.*s\n", (int)length, line);
        line += length;
        if (*line == '\n') printf("%*s", HELP_COLUMN, ""), line++;
    }
}

static void print_help(const cli_usage *usage) {
    printf("usage: %s\n\n%s\n", usage->synopsis, usage->description);
    for (const cli_group *group = usage->groups; group->title; group++) {
        printf("\n%s:\n", group->title);
        for (const cli_option *option = group->options; option->name; option++) {
            print_option(option);
        }
    }
    printf("\nThe manual page %.4s-%s says more.\n", usage->command, usage->command + 5);
}

/* An option of the command, and where its field is. */
typedef struct entry {
    const cli_option *option;
    size_t offset;
} entry;

static void flatten(const cli_usage *usage, entry *entries, struct option *longs) {
    int count = 0;
    for (const cli_group *group = usage->groups; group->title; group++) {
        for (const cli_option *option = group->options; option->name; option++, count++) {
            entries[count] = (entry){option, group->offset + option->offset};
            longs[count] =
                (struct option){option->name, option->argument ? required_argument : no_argument,
                                NULL, HELP_VALUE + 1 + count};
        }
    }
    longs[count] = (struct option){"help", no_argument, NULL, HELP_VALUE};
    longs[count + 1] = (struct option){0};
}

/* Why getopt_long answered ':' or '?' for the argument that it just looked at. */
static bool explain(const cli_usage *usage, int answer, char **argv, io_error *error) {
    const char *const shown = argv[optind - 1];
    if (answer == ':') {
        return io_fail(error, "option %s needs a value: see %s --help", shown, usage->command);
    }
    if (optopt > HELP_VALUE - 1) {
        return io_fail(error, "option %s takes no value", shown);
    }
    if (optopt != 0) {
        return io_fail(error, "unknown option -%c: see %s --help", optopt, usage->command);
    }
    return io_fail(error, "unknown or ambiguous option %s: see %s --help", shown, usage->command);
}

/* Where -o finds what it is short for; NULL if the command has no --output. */
static const entry *output_entry(const entry *entries, const struct option *longs) {
    for (int i = 0; longs[i].name; i++) {
        if (strcmp(longs[i].name, "output") == 0) return &entries[i];
    }
    return NULL;
}

static bool apply(const entry *chosen, const char *text, void *settings, io_error *error) {
    io_error reason;
    if (chosen->option->parse((char *)settings + chosen->offset, text, &reason)) return true;
    const char *const value = text ? text : "";
    return io_fail(error, "--%s %.60s%s: %s", chosen->option->name, value,
                   strlen(value) > 60 ? "..." : "", reason.text);
}

static bool find_entry(const cli_usage *usage, const char *name, entry *found) {
    for (const cli_group *group = usage->groups; group->title; group++) {
        for (const cli_option *option = group->options; option->name; option++) {
            if (strcmp(option->name, name) != 0) continue;
            *found = (entry){option, group->offset + option->offset};
            return true;
        }
    }
    return false;
}

const cli_option *cli_find(const cli_usage *usage, const char *name) {
    entry found;
    return find_entry(usage, name, &found) ? found.option : NULL;
}

bool cli_apply(const cli_usage *usage, const char *name, const char *text, void *settings,
               io_error *error) {
    entry found;
    if (!find_entry(usage, name, &found)) {
        return io_fail(error, "unknown option %.60s: see %s --help", name, usage->command);
    }
    if (found.option->argument && !text) return io_fail(error, "--%s: expected a value", name);
    if (!found.option->argument && text)
        return io_fail(error, "--%s: expected true or false", name);
    return apply(&found, text, settings, error);
}

cli_parsed cli_parse(const cli_usage *usage, int argc, char **argv, void *settings,
                     io_error *error) {
    entry entries[OPTIONS_MAX];
    struct option longs[OPTIONS_MAX + 2];
    flatten(usage, entries, longs);
    const entry *const output = output_entry(entries, longs);
    opterr = 0, optind = 0; /* from the start, however often this is called */
    for (;;) {
        optopt = 0;
        const int answer = getopt_long(argc, argv, output ? ":ho:" : ":h", longs, NULL);
        if (answer == -1) break;
        if (answer == 'h' || answer == HELP_VALUE) {
            print_help(usage);
            return CLI_HELP_SHOWN;
        }
        const entry *const chosen = answer > HELP_VALUE ? &entries[answer - HELP_VALUE - 1]
                                    : answer == 'o'     ? output
                                                        : NULL;
        const bool good =
            chosen ? apply(chosen, optarg, settings, error) : explain(usage, answer, argv, error);
        if (!good) return CLI_BAD_OPTION;
    }
    if (argc - optind <= usage->operands) return CLI_PARSED;
    (void)io_fail(error, "unexpected argument %s: see %s --help", argv[optind + usage->operands],
                  usage->command);
    return CLI_BAD_OPTION;
}

const char *cli_operand(int argc, char **argv, int i) {
    return optind + i < argc ? argv[optind + i] : NULL;
}

/* problem.h: from files and options to an attn_problem, for every command that takes one. */
#ifndef CLI_PROBLEM_H
#define CLI_PROBLEM_H

#include "../io/array.h"
#include "../io/safetensors.h"
#include "../io/tokens.h"
#include "options.h"

typedef struct cli_local {
    bool enabled;
    double half_width;
} cli_local;

typedef struct cli_problem_settings {
    /* Names of .npy files. */
    const char *query, *key, *value, *bias, *mask, *sinks, *alibi;
    const char *score_weight, *score_projection, *score_bias, *score_scales;
    const char *relative_bias, *relative_queries, *relative_values, *relative_content_bias,
        *relative_position_bias;
    const char *location_previous, *location_filters, *location_projection, *local_centers;

    int score; /* of cli_scores */
    double scale, softcap;
    bool normalize_weight;
    attn_bucket_kind relative_buckets;
    int64_t relative_origin, relative_max_distance;

    int normalizer; /* of cli_normalizers */
    double temperature, alpha, sigmoid_bias;
    cli_local local;
    double local_sigma;
    bool gumbel;
    double dropout;
    uint64_t seed;

    cli_causal causal;
    attn_window window;
    int64_t query_offset;
    cli_list query_lengths, key_lengths, prefix_lengths;
    int64_t threads;
    attn_isa isa;
} cli_problem_settings;

/* The options that fill them; their offsets count in cli_problem_settings. */
extern const cli_option cli_input_options[];
extern const cli_option cli_kind_options[];
extern const cli_option cli_score_options[];
extern const cli_option cli_relative_options[];
extern const cli_option cli_location_options[];
extern const cli_option cli_normalizer_options[];
extern const cli_option cli_noise_options[]; /* not for problems that are computed in slices */
extern const cli_option cli_mask_options[];
extern const cli_option cli_machine_options[];

enum { CLI_INPUTS = 22 };

/* What an attn_problem points to. */
typedef struct cli_extras {
    attn_relative relative;
    attn_location location;
    attn_local local;
} cli_extras;

/* A problem whose inputs are there, without results. It points into itself and the settings. */
typedef struct cli_problem {
    attn_problem problem;
    cli_extras extras;
    int dims;                       /* of the query in its file: results are written with as many */
    const char *source[CLI_INPUTS]; /* the file each input came from, NULL if there is none */
    io_array arrays[CLI_INPUTS];
    io_safetensors file;
    io_tokens query_tokens, key_tokens; /* count 0: none */
    bool made;                          /* query, key and value are the caller's */
} cli_problem;

/* Loads from `path`, a .safetensors file, or, where it is NULL, from the files that the settings
 * name. Close with cli_problem_close, also after a failure. */
bool cli_problem_load(cli_problem *loaded, const cli_problem_settings *settings, const char *path,
                      io_error *error);
void cli_problem_close(cli_problem *loaded);

/* The same around a query, key and value of the caller's. What the score needs and no file is named
 * for is then the caller's to add: it stays absent. */
bool cli_problem_load_around(cli_problem *loaded, const cli_problem_settings *settings,
                             const attn_tensor *query, const attn_tensor *key,
                             const attn_tensor *value, io_error *error);

/* Only the tokens, from loaded->file. */
bool cli_problem_load_tokens(cli_problem *loaded, io_error *error);

/* Whether no option was given that says what to compute, or how. */
bool cli_problem_settings_are_plain(const cli_problem_settings *settings);

/* Runs attn_forward; a failure's sentence gets the name of the file that it is about. */
bool cli_problem_forward(const cli_problem *loaded, attn_context *context,
                         const attn_problem *problem, io_error *error);

/* After a failed call about the problem: its sentence, as above. False. */
bool cli_problem_fail(const cli_problem *loaded, io_error *error);

/* Has the library check the problem, which has no results yet, without computing anything. */
bool cli_problem_check(const cli_problem *loaded, attn_context *context, io_error *error);

/* What a slice of a problem points to. */
typedef struct cli_slice {
    cli_extras extras;
    int64_t length; /* of the queries, if the problem limits it */
} cli_slice;

/* The problem of the `count` queries from `first` on, in one head of one row of the batch: the same
 * scores, the same mask, the same normalizer; but noise counts from the slice's own first query.
 * `slice` must live as long as the result. */
attn_problem cli_problem_slice(const attn_problem *problem, int64_t batch, int64_t head,
                               int64_t first, int64_t count, cli_slice *slice);

#endif

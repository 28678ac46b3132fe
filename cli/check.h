/* check.h: what the files of attn check-gradients share. */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include "problem.h"

#include <attn/gradients.h>

/* Everything that has a gradient. */
typedef enum check_id {
    CHECK_QUERY,
    CHECK_KEY,
    CHECK_VALUE,
    CHECK_BIAS,
    CHECK_ALIBI,
    CHECK_SINKS,
    CHECK_SCALES,
    CHECK_WEIGHT,
    CHECK_PROJECTION,
    CHECK_OFFSET,
    CHECK_RELATIVE_BIAS,
    CHECK_RELATIVE_KEYS,
    CHECK_RELATIVE_QUERIES,
    CHECK_RELATIVE_VALUES,
    CHECK_CONTENT_BIAS,
    CHECK_POSITION_BIAS,
    CHECK_PREVIOUS,
    CHECK_FILTERS,
    CHECK_LOCATION_PROJECTION,
    CHECK_CENTERS,
    CHECK_TENSORS, /* what follows are numbers */
    CHECK_SCALE = CHECK_TENSORS,
    CHECK_SOFTCAP,
    CHECK_TEMPERATURE,
    CHECK_SIGMOID_BIAS,
    CHECK_SIGMA,
    CHECK_INPUTS
} check_id;

/* What the loss depends on. */
typedef enum check_result {
    CHECK_OF_OUTPUT,
    CHECK_OF_LSE,
    CHECK_OF_WEIGHTS,
    CHECK_OF_RECEIVED,
    CHECK_OF_ENTROPY,
    CHECK_RESULTS
} check_result;

typedef struct check_input {
    const char *name;  /* of its option */
    attn_tensor x;     /* float64, part of check_problem.exact; data NULL: takes no part */
    attn_tensor fast;  /* the gradient by attn_backward */
    attn_tensor exact; /* and by the reference, from the float64 problem */
} check_input;

enum { CHECK_MEMORY = 4 * CHECK_INPUTS + 4 * CHECK_RESULTS };

/* A problem with what flows back into it, and the same numbers in float64. */
typedef struct check_problem {
    cli_problem given;
    attn_problem exact;
    cli_extras extras; /* of exact */
    attn_views views;  /* of exact: what the loss reads */
    attn_result_gradients from, exact_from;
    attn_input_gradients to, exact_to;
    check_input inputs[CHECK_INPUTS];
    uint64_t random;
    void *memory[CHECK_MEMORY];
    int owned;
} check_problem;

/* Batch, heads, key heads, queries, keys, width; not enabled: the problem comes from files. */
typedef struct check_shape {
    bool enabled;
    int64_t size[6];
    attn_dtype dtype;
} check_shape;

/* Makes or loads the problem, fills what has no file and what flows in with random numbers, and
 * runs nothing. Close with check_close, also after a failure. */
bool check_open(check_problem *c, const cli_problem_settings *settings, const char *path,
                const check_shape *shape, const bool from[CHECK_RESULTS], io_error *error);
void check_close(check_problem *c);

/* Gradients by attn_backward, after attn_forward, and by the reference. */
bool check_run(check_problem *c, attn_context *context, io_error *error);

/* Uniform in 0 .. 1, and normal. */
double check_uniform(uint64_t *state);
double check_normal(uint64_t *state);

/* Element of a tensor of floats, 0 if the tensor is absent. */
double check_at(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j);

/* The number of elements, and where the n-th is. */
int64_t check_count(const attn_tensor *t);
void check_index(const attn_tensor *t, int64_t n, int64_t x[4]);

/* A dense tensor of float64 numbers of the caller's own (free data), or data NULL without memory.
 * */
attn_tensor check_make(const int64_t shape[4]);

/* What an exponential, and the memory of a pair's weights, count as, in multiply-adds. */
enum { CHECK_PAIR_COST = 100 };

/* Operations of one forward of the reference, roughly. */
double check_operations(const check_problem *c);

/* ---------------------------------------------------------------------------------------------
 * Bounds
 * ------------------------------------------------------------------------------------------- */

/* How scores and their derivatives come about: largest sizes over the whole problem. */
typedef struct check_slopes {
    double size;      /* of the sum of the sizes of a score's products */
    double error;     /* of a score, in u, beside what is added to it */
    double added;     /* of what is added to it, but bias */
    double per_score; /* and 108 of Gumbel noise */

    /* Of the derivative of z (for values of the output, for centers of the logarithm of a factor)
     * with respect to an element: its size, and its error in u. */
    double slope[CHECK_INPUTS], rounding[CHECK_INPUTS];
} check_slopes;

check_slopes check_find_slopes(const check_problem *c);

/* How far the elements of gradients may be off; of those that share a cell all by as much. */
typedef struct check_bounds {
    attn_tensor smooth[CHECK_INPUTS]; /* cells; dimensions that share have size 1 */
    attn_tensor kinks[CHECK_INPUTS];  /* the same if every kink went the other way */
    double loss;                      /* how far the loss may be off */
    int64_t undecided;                /* pairs at a kink, as far as rounding can tell */
} check_bounds;

/* For a type of unit roundoff u. Free with check_free_bounds. */
bool check_find_bounds(const check_problem *c, double u, check_bounds *bounds, io_error *error);
void check_free_bounds(check_bounds *bounds);

/* ---------------------------------------------------------------------------------------------
 * Differences
 * ------------------------------------------------------------------------------------------- */

typedef struct check_difference {
    int64_t samples, kinks, vague;
    double off, bound; /* of the sample that came nearest to its bound, or furthest beyond */
    double share;      /* off / bound */
} check_difference;

/* Compares random elements of a gradient of the reference with central differences of the loss,
 * which may be off by `error`. */
bool check_differences(check_problem *c, check_id input, int64_t samples, double error,
                       check_difference *result, io_error *error_text);

#endif

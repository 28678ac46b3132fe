/* bench.h: the problems that attn bench measures. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "views.h"

#include <attn/gradients.h>

enum { BATCH, HEADS, KV_HEADS, QUERIES, KEYS, WIDTH, SIZES, SHAPES_MAX = 64 };

/* One problem to measure. Causal and window count from the bottom-right corner. */
typedef struct bench_case {
    int64_t size[SIZES];
    bool causal, weights;
    attn_window window;
} bench_case;

typedef struct shape_list {
    int64_t size[SHAPES_MAX][SIZES];
    int count;
} shape_list;

typedef struct bench_settings {
    shape_list shapes;
    bench_case extra; /* what the options ask of every shape */
    bool backward;
    int score, normalizer;
    cli_view_settings views;
    attn_dtype dtype;
    int64_t threads;
    attn_isa isa;
    bool json;
} bench_settings;

/* Query, key, value, output, log-sum-exp and weights; what a score needs; the gradients of all
 * these; views. */
enum { TENSORS_MAX = 16 + CLI_VIEWS };

typedef struct bench_problem {
    attn_problem problem, plain; /* plain: the same without score, normalizer and views */
    attn_relative relative;
    attn_views views;
    attn_result_gradients from;
    attn_input_gradients to;
    void *memory[TENSORS_MAX];
    int count;
    double bytes; /* of all tensors */
} bench_problem;

/* Random inputs, and places for the results. Free with bench_free, also after a failure. */
bool bench_make(const bench_case *c, const bench_settings *settings, bench_problem *made,
                io_error *error);
void bench_free(bench_problem *made);

/* Pairs of a query and a key that see each other, times features. Each costs the plain forward
 * four operations, a multiplication and an addition to score and as much to aggregate; the
 * backward ten. */
double bench_pair_features(const bench_case *c);

#endif

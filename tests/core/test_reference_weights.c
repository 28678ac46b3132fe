/* test_reference_weights.c: each normalizer and each view of the reference against numbers worked out
 * by hand. Scores are a bias, and nothing else, so that rows of z can be written down. */
#include "small.h"

#include <math.h>
#include <string.h>

#include "attention/reference.h"

enum { HEADS = 2, QUERIES = 3, KEYS = 4, PAIRS = HEADS * QUERIES * KEYS };

/* Weights come of a handful of operations on numbers of at most 3: 64 u is plenty. */
static const double CLOSE = 64 * 0x1p-53;

/* ------------------------------------------------------------------------------ one row of scores */

/* Asserts what a normalizer makes of four scores. */
static void assert_weights(const attn_normalizer *how, const double *z, const double *expected,
                           double bound) {
    static const double zeros[KEYS] = {0};
    double weights[KEYS];
    const attn_problem p = {
        .query = attn_tensor_f64(zeros, 1, 1, 1, 1),
        .key = attn_tensor_f64(zeros, 1, 1, KEYS, 1),
        .value = attn_tensor_f64(zeros, 1, 1, KEYS, 1),
        .score = {.kind = ATTN_SCORE_CUSTOM, .bias = attn_tensor_f64(z, 1, 1, 1, KEYS)},
        .normalizer = *how,
        .weights = attn_tensor_f64(weights, 1, 1, 1, KEYS),
    };
    if (attn_reference_forward(&p) != ATTN_OK) fail_msg("%s", attn_error_message());
    for (int j = 0; j < KEYS; j++) {
        if (isnan(expected[j])) assert_true(isnan(weights[j]));
        else assert_number(weights[j], expected[j], bound);
    }
}

#define ROW(...) ((const double[KEYS]){__VA_ARGS__})

static void softmax_one(void **state) {
    (void)state;
    const attn_normalizer how = {.kind = ATTN_SOFTMAX_ONE};
    assert_weights(&how, ROW(0, log(2), log(3), -INFINITY), ROW(1 / 7., 2 / 7., 3 / 7., 0), CLOSE);
    /* nothing but the one is left of it, and nothing of the one */
    assert_weights(&how, ROW(-1e4, -1e4, -1e4, -1e4), ROW(0, 0, 0, 0), 0);
    assert_weights(&how, ROW(1e4, 0, 0, 0), ROW(1, 0, 0, 0), 0);

    small s;
    small_make(&s, 1, 3);
    s.problem.normalizer = how;
    small_run(&s);
    assert_small_row(&s, 0, ROW(1, 2, 3, 0), 1); /* log-sum-exp has the one too */
}

static void sigmoid(void **state) {
    (void)state;
    attn_normalizer how = {.kind = ATTN_SIGMOID};
    assert_weights(&how, ROW(0, log(3), -log(3), -INFINITY), ROW(.5, .75, .25, 0), CLOSE);
    assert_weights(&how, ROW(1e4, -1e4, NAN, 0), ROW(1, 0, NAN, .5), 0); /* NaN stays where it is */
    how.bias = log(3);
    assert_weights(&how, ROW(0, log(3), -log(3), -INFINITY), ROW(.75, .9, .5, 0), CLOSE);
}

static void sparsemax(void **state) {
    (void)state;
    const attn_normalizer how = {.kind = ATTN_SPARSEMAX};
    assert_weights(&how, ROW(.5, 1, -1, -1), ROW(.25, .75, 0, 0), 0);  /* t = 1/4 */
    assert_weights(&how, ROW(0, 0, 0, 0), ROW(.25, .25, .25, .25), 0); /* t = -1/4 */
    assert_weights(&how, ROW(0, 2, 1, 0), ROW(0, 1, 0, 0), 0);         /* one is 1 ahead */
    assert_weights(&how, ROW(1e15, 1e15 - .5, 0, 0), ROW(.75, .25, 0, 0), 0);
    assert_weights(&how, ROW(-INFINITY, 3, -INFINITY, 3), ROW(0, .5, 0, .5), 0);
}

/* Any weights that sum to 1 are those of z = w^(alpha - 1) / (alpha - 1), with t = 0; what has no
 * weight has a lower z, or any shift of them. */
static void entmax(void **state) {
    (void)state;
    attn_normalizer how = {.kind = ATTN_ENTMAX};
    assert_weights(&how, ROW(1.6, 1.2, 0, -1), ROW(.64, .36, 0, 0), CLOSE); /* z = 2 sqrt(w) */
    assert_weights(&how, ROW(101.6, 101.2, 99, -1), ROW(.64, .36, 0, 0), 100 * CLOSE);
    how.alpha = 2;
    assert_weights(&how, ROW(.5, 1, -1, -1), ROW(.25, .75, 0, 0), CLOSE); /* sparsemax */
    how.alpha = 4;
    assert_weights(&how, ROW(1 / 24., 1 / 192., 1 / 192., -1), ROW(.5, .25, .25, 0), CLOSE);
    how.alpha = 1.25; /* z = 4 w^(1/4) */
    assert_weights(&how, ROW(4 * pow(.5, .25), 4 * pow(.25, .25), 4 * pow(.25, .25), -INFINITY),
                   ROW(.5, .25, .25, 0), CLOSE);
    how.alpha = 16;
    assert_weights(&how, ROW(7, 7, 7, 7), ROW(.25, .25, .25, .25), CLOSE);
}

static void weights_of_their_own(void **state) {
    (void)state;
    attn_normalizer how = {.kind = ATTN_RELU};
    assert_weights(&how, ROW(-2, 3, NAN, -INFINITY), ROW(0, 3, NAN, 0), 0);
    how.kind = ATTN_RELU_SQUARED;
    assert_weights(&how, ROW(-2, 3, NAN, -INFINITY), ROW(0, 9, NAN, 0), 0);
    how.kind = ATTN_LINEAR;
    assert_weights(&how, ROW(-2, 3, NAN, -INFINITY), ROW(-2, 3, NAN, 0), 0);
}

static void hardmax(void **state) {
    (void)state;
    const attn_normalizer how = {.kind = ATTN_HARDMAX};
    assert_weights(&how, ROW(1, 3, 2, 3), ROW(0, 1, 0, 0), 0);
    assert_weights(&how, ROW(0, INFINITY, 1, INFINITY), ROW(0, 1, 0, 0), 0);
    assert_weights(&how, ROW(-INFINITY, -INFINITY, -5, -INFINITY), ROW(0, 0, 1, 0), 0);
}

static void rows_of_nan_and_of_nothing(void **state) {
    (void)state;
    static const attn_normalizer_kind kinds[] = {ATTN_SOFTMAX, ATTN_SOFTMAX_ONE, ATTN_SPARSEMAX,
                                                 ATTN_ENTMAX, ATTN_HARDMAX};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        const attn_normalizer how = {.kind = kinds[k]};
        assert_weights(&how, ROW(0, NAN, 1, -INFINITY), ROW(NAN, NAN, NAN, 0), 0);
        assert_weights(&how, ROW(-INFINITY, -INFINITY, -INFINITY, -INFINITY), ROW(0, 0, 0, 0), 0);
        if (kinds[k] != ATTN_HARDMAX) /* infinity - infinity */
            assert_weights(&how, ROW(0, INFINITY, 1, -INFINITY), ROW(NAN, NAN, NAN, 0), 0);
    }
}

static void temperature(void **state) {
    (void)state;
    attn_normalizer how = {.kind = ATTN_LINEAR, .temperature = 4};
    assert_weights(&how, ROW(1, 2, -3, 4), ROW(.25, .5, -.75, 1), 0);
    how = (attn_normalizer){.temperature = .5};
    assert_weights(&how, ROW(0, log(2), log(3), -INFINITY), ROW(1 / 14., 4 / 14., 9 / 14., 0),
                   CLOSE);
}

/* The sink is not divided by the temperature: it joins the sum of exp(z). */
static void temperature_leaves_the_sink(void **state) {
    (void)state;
    const double sink = log(4);
    small s;
    small_make(&s, 1, 3);
    s.problem.normalizer.temperature = .5;
    s.problem.score.sinks = attn_tensor_f64(&sink, 1, 1, 1, 1);
    small_run(&s);
    assert_small_row(&s, 0, ROW(1, 4, 9, 0), 4);
}

/* ---------------------------------------------------------------------------------------- locally */

/* sigma is 1: factors exp(-1/2) one key away, exp(-2) two keys away; nothing further. */
static void local_windows(void **state) {
    (void)state;
    const attn_local local = {.half_width = 2};
    const attn_normalizer how = {.kind = ATTN_LINEAR, .local = &local};
    assert_weights(&how, ROW(1, 1, 1, 1), ROW(1, exp(-.5), exp(-2), 0), CLOSE);

    const double center = 1.5;
    const attn_local at = {
        .half_width = 1, .sigma = INFINITY, .centers = attn_tensor_f64(&center, 1, 1, 1, 1)};
    const attn_normalizer window = {.kind = ATTN_LINEAR, .local = &at};
    assert_weights(&window, ROW(1, 1, 1, 1), ROW(0, 1, 1, 0), 0);
    const attn_normalizer shares = {.local = &at}; /* softmax over what is seen */
    assert_weights(&shares, ROW(9, log(1), log(3), 9), ROW(0, .25, .75, 0), CLOSE);
}

/* ------------------------------------------------------------------------------------------ noise */

/* The vectors that are published with Random123. */
static void threefry_known_answers(void **state) {
    (void)state;
    assert_true(attn_ref_threefry(0, 0) == 0x99BA4EFE6B200159);
    assert_true(attn_ref_threefry(UINT64_MAX, UINT64_MAX) == 0xBB002BE71CB996FC);
    assert_true(attn_ref_threefry(0x0370734413198A2E, 0x85A308D3243F6A88) == 0x483DF7A0C4923A9C);
}

/* Two sequences, two heads, two queries, four keys: 'x' where the weight stays. Made by another
 * program, which has the published vectors right too. */
static void dropout_and_gumbel(void **state) {
    (void)state;
    static const char stays[] = "x..x"
                                "xxx."
                                "xxxx"
                                ".xx."
                                "x.xx"
                                "...x"
                                "..x."
                                "xxx.";
    static const double noise[] = {-1.0331095005374351, -0.015835719507394416, 1.3721955977028617,
                                   0.59777340221058295};
    static const double zeros[32] = {0}, one = 1;
    double weights[32];
    attn_problem p = {
        .query = attn_tensor_f64(zeros, 2, 2, 2, 1),
        .key = attn_tensor_f64(zeros, 2, 2, 4, 1),
        .value = attn_tensor_f64(zeros, 2, 2, 4, 1),
        .score = {.kind = ATTN_SCORE_CUSTOM, .bias = attn_tensor_f64(&one, 1, 1, 1, 1)},
        .normalizer = {.kind = ATTN_LINEAR, .dropout = .5, .seed = 0x123456789ABCDEF0},
        .weights = attn_tensor_f64(weights, 2, 2, 2, 4),
    };
    assert_int_equal(attn_reference_forward(&p), ATTN_OK);
    for (int k = 0; k < 32; k++) assert_true(weights[k] == (stays[k] == 'x' ? 2 : 0));
    p.normalizer.dropout = .1; /* 838861 / 2^23 is the nearest */
    assert_int_equal(attn_reference_forward(&p), ATTN_OK);
    assert_true(weights[0] == 1 / (1 - 838861 * 0x1p-23));
    p.normalizer.dropout = 0;
    p.normalizer.gumbel = true;
    p.normalizer.temperature = 2;
    assert_int_equal(attn_reference_forward(&p), ATTN_OK);
    for (int k = 0; k < 4; k++) assert_number(weights[k], (1 + noise[k]) / 2, CLOSE);
}

/* ------------------------------------------------------------------------------------------ views */

/* Weights [head][query][key] that are given, and a place for every view of them. */
typedef struct viewed {
    attn_problem problem;
    attn_views views;
    double given[PAIRS], weights[PAIRS], zeros[PAIRS];
    double sum[HEADS * KEYS], mean[HEADS * KEYS], max[HEADS * KEYS], window[HEADS * KEYS];
    double top[2 * HEADS * QUERIES];
    int32_t top_keys[2 * HEADS * QUERIES];
    int64_t argmax[HEADS * QUERIES];
    double entropy[HEADS * QUERIES], span[HEADS * QUERIES], distance[HEADS * QUERIES];
    double logit[HEADS * QUERIES], blocks[HEADS * 2 * 2], head_mean[QUERIES * KEYS];
    int32_t path[QUERIES * 2];
    double statistics[HEADS * ATTN_HEAD_STATISTICS];
} viewed;

static const double shown[PAIRS] = {
    .5, .25, .25, 0, /**/ 0,   1, 0,  0,   /**/ .125, .125, .125, .625, /* head 0 */
    0,  .5,  .5,  0, /**/ .25, 0, .5, .25, /**/ 0,    0,    0,    1,    /* head 1 */
};

static void viewed_make(viewed *v) {
    attn_views *const to = &v->views;
    memset(v, 0, sizeof *v);
    memcpy(v->given, shown, sizeof shown);
    v->problem.query = attn_tensor_f64(v->zeros, 1, HEADS, QUERIES, 1);
    v->problem.key = attn_tensor_f64(v->zeros, 1, HEADS, KEYS, 1);
    v->problem.value = attn_tensor_f64(v->zeros, 1, HEADS, KEYS, 1);
    v->problem.score.kind = ATTN_SCORE_CUSTOM;
    v->problem.score.bias = attn_tensor_f64(v->given, 1, HEADS, QUERIES, KEYS);
    v->problem.normalizer.kind = ATTN_LINEAR;
    v->problem.views = to;
    to->received_sum = attn_tensor_f64(v->sum, 1, HEADS, 1, KEYS);
    to->received_mean = attn_tensor_f64(v->mean, 1, HEADS, 1, KEYS);
    to->received_max = attn_tensor_f64(v->max, 1, HEADS, 1, KEYS);
    to->window_sum = attn_tensor_f64(v->window, 1, HEADS, 1, KEYS);
    to->window_queries = 2;
    to->top_weights = attn_tensor_f64(v->top, 1, HEADS, QUERIES, 2);
    to->top_keys = attn_tensor_dense(v->top_keys, ATTN_I32, 1, HEADS, QUERIES, 2);
    to->argmax = attn_tensor_dense(v->argmax, ATTN_I64, 1, HEADS, QUERIES, 1);
    to->entropy = attn_tensor_f64(v->entropy, 1, HEADS, QUERIES, 1);
    to->span = attn_tensor_f64(v->span, 1, HEADS, QUERIES, 1);
    to->distance = attn_tensor_f64(v->distance, 1, HEADS, QUERIES, 1);
    to->max_logit = attn_tensor_f64(v->logit, 1, HEADS, QUERIES, 1);
    to->block_sums = attn_tensor_f64(v->blocks, 1, HEADS, 2, 2);
    to->block_queries = 2, to->block_keys = 3;
    to->head_mean = attn_tensor_f64(v->head_mean, 1, 1, QUERIES, KEYS);
    to->path = attn_tensor_dense(v->path, ATTN_I32, 1, 1, QUERIES, 2);
    to->head_statistics = attn_tensor_f64(v->statistics, 1, HEADS, 1, ATTN_HEAD_STATISTICS);
}

static void viewed_run(viewed *v) {
    if (attn_reference_forward(&v->problem) != ATTN_OK) fail_msg("%s", attn_error_message());
}

static void assert_all(const double *results, const double *expected, size_t count, double bound) {
    for (size_t k = 0; k < count; k++) {
        if (isnan(expected[k])) assert_true(isnan(results[k]));
        else assert_number(results[k], expected[k], bound);
    }
}
#define ASSERT_ALL(results, bound, ...)                \
    assert_all(results, (const double[]){__VA_ARGS__}, \
               sizeof((const double[]){__VA_ARGS__}) / sizeof(double), bound)

#define ASSERT_KEYS(results, ...)                                \
    do {                                                         \
        const int expected_[] = {__VA_ARGS__};                   \
        for (size_t k_ = 0; k_ < COUNT(expected_); k_++)         \
            assert_int_equal((int)(results)[k_], expected_[k_]); \
    } while (0)

static void what_keys_received(void **state) {
    (void)state;
    viewed v;
    viewed_make(&v);
    viewed_run(&v);
    ASSERT_ALL(v.sum, 0, .625, 1.375, .375, .625, .25, .5, 1, 1.25);
    ASSERT_ALL(v.mean, 0, .625 / 3, 1.375 / 3, .125, .625 / 3, .25 / 3, .5 / 3, 1 / 3., 1.25 / 3);
    ASSERT_ALL(v.max, 0, .5, 1, .25, .625, .25, .5, .5, 1);
    ASSERT_ALL(v.window, 0, .125, 1.125, .125, .625, .25, 0, .5, 1.25);
    ASSERT_ALL(v.blocks, 0, 2, 0, .375, .625, 1.75, .25, 0, 1);
}

/* Ranks: among equals the lower key, zeros never. */
static void greatest_weights(void **state) {
    (void)state;
    viewed v;
    viewed_make(&v);
    viewed_run(&v);
    ASSERT_ALL(v.top, 0, .5, .25, 1, 0, .625, .125, .5, .5, .5, .25, 1, 0);
    ASSERT_KEYS(v.top_keys, 0, 1, 1, -1, 3, 0, 1, 2, 2, 0, 3, -1);
    ASSERT_KEYS(v.argmax, 0, 1, 3, 1, 2, 3);
    for (int j = 0; j < KEYS; j++) v.given[j] = 0; /* nothing is greater than 0 */
    v.given[KEYS + 2] = NAN;
    viewed_run(&v);
    ASSERT_ALL(v.top, 0, 0, 0, NAN, NAN, .625, .125);
    ASSERT_KEYS(v.top_keys, -1, -1, -1, -1, 3, 0);
    ASSERT_KEYS(v.argmax, -1, -1, 3);
}

/* The second weight is the greater, but not as a float32: then the lower key comes first. */
static void equal_is_what_is_stored_equal(void **state) {
    (void)state;
    const float zeros[2] = {0}, bias[2] = {1, 1 + 0x1p-23f};
    float weights[2];
    int32_t key = 9;
    const attn_views views = {.argmax = attn_tensor_dense(&key, ATTN_I32, 1, 1, 1, 1),
                              .weights = attn_tensor_f32(weights, 1, 1, 1, 2)};
    attn_problem p = {
        .query = attn_tensor_f32(zeros, 1, 1, 1, 1),
        .key = attn_tensor_f32(zeros, 1, 1, 2, 1),
        .value = attn_tensor_f32(zeros, 1, 1, 2, 1),
        .score = {.kind = ATTN_SCORE_CUSTOM, .bias = attn_tensor_f32(bias, 1, 1, 1, 2)},
        .normalizer = {.kind = ATTN_SIGMOID, .bias = 4}, /* weights 8e-10 apart, one float32 */
        .views = &views,
    };
    assert_int_equal(attn_reference_forward(&p), ATTN_OK);
    assert_true(weights[0] == weights[1] && key == 0);
    p.normalizer.kind = ATTN_LINEAR;
    assert_int_equal(attn_reference_forward(&p), ATTN_OK);
    assert_int_equal(key, 1);
}

static void numbers_of_a_query(void **state) {
    (void)state;
    const double ln2 = log(2), skew = 9 / 8. * ln2 + .625 * log(1.6);
    viewed v;
    viewed_make(&v);
    viewed_run(&v);
    ASSERT_ALL(v.entropy, CLOSE, 1.5 * ln2, 0, skew, ln2, 1.5 * ln2, 0);
    ASSERT_ALL(v.span, CLOSE, sqrt(8), 1, exp(skew), 2, sqrt(8), 1);
    ASSERT_ALL(v.distance, 0, .75, 0, 1, 1.5, 1.25, 1);
    ASSERT_ALL(v.logit, 0, .5, 1, .625, .5, .5, 1);
    ASSERT_ALL(v.statistics, CLOSE, 2.125 / 3, (1.5 * ln2 + skew) / 3, 1.75 / 3, .625 / 3, /**/
               2 / 3., 2.5 * ln2 / 3, 3.75 / 3, .25 / 3);
}

/* Through the mean of the two heads,
 *     .25   .375  .375  0
 *     .125  .5    .25   .125
 *     .0625 .0625 .0625 .8125
 * the path 0,0 0,1 1,1 1,2 1,3 2,3 collects most; without 1,3 or by 0,2 it collects .125 less. */
static void mean_over_heads_and_its_path(void **state) {
    (void)state;
    viewed v;
    viewed_make(&v);
    viewed_run(&v);
    ASSERT_ALL(v.head_mean, 0, .25, .375, .375, 0, .125, .5, .25, .125, .0625, .0625, .0625, .8125);
    ASSERT_KEYS(v.path, 0, 1, 1, 3, 3, 3);
}

/* Where all paths are as good: steps of both, from the end, as far as they go. */
static void equal_paths(void **state) {
    (void)state;
    viewed v;
    viewed_make(&v);
    memset(v.given, 0, sizeof v.given);
    viewed_run(&v);
    ASSERT_KEYS(v.path, 0, 1, 2, 2, 3, 3);
}

/* Views of head 1 alone; the mean and the path are its own. */
static void chosen_heads(void **state) {
    (void)state;
    const int64_t chosen[] = {1};
    viewed v;
    viewed_make(&v);
    v.views.heads = chosen;
    v.views.head_count = 1;
    attn_tensor *const all[] = {
        &v.views.received_sum,   &v.views.received_mean, &v.views.received_max, &v.views.window_sum,
        &v.views.top_weights,    &v.views.top_keys,      &v.views.argmax,       &v.views.entropy,
        &v.views.span,           &v.views.distance,      &v.views.max_logit,    &v.views.block_sums,
        &v.views.head_statistics};
    for (size_t k = 0; k < COUNT(all); k++) all[k]->shape[1] = 1;
    viewed_run(&v);
    ASSERT_ALL(v.sum, 0, .25, .5, 1, 1.25, 0, 0, 0, 0);
    ASSERT_KEYS(v.argmax, 1, 2, 3, 0);
    ASSERT_ALL(v.head_mean, 0, 0, .5, .5, 0, .25, 0, .5, .25, 0, 0, 0, 1);
    ASSERT_KEYS(v.path, 0, 2, 2, 3, 3, 3);
}

/* What is padding: the third query and the last key. */
static void views_of_padding(void **state) {
    (void)state;
    const int64_t queries = 2, keys = 3;
    viewed v;
    viewed_make(&v);
    v.problem.mask.query_lengths = &queries;
    v.problem.mask.key_lengths = &keys;
    viewed_run(&v);
    ASSERT_ALL(v.sum, 0, .5, 1.25, .25, 0, .25, .5, 1, 0);
    ASSERT_ALL(v.mean, 0, .25, .625, .125, 0, .125, .25, .5, 0);
    ASSERT_ALL(v.window, 0, .5, 1.25, .25, 0, .25, .5, 1, 0);
    ASSERT_ALL(v.entropy + 2, 0, 0);
    ASSERT_ALL(v.span + 2, 0, 1);
    ASSERT_ALL(v.logit + 2, 0, -INFINITY);
    ASSERT_ALL(v.blocks, 0, 2, 0, 0, 0, 1.75, 0, 0, 0);
    ASSERT_KEYS(v.top_keys + 4, -1, -1);
    ASSERT_KEYS(v.path, 0, 1, 1, 2, -1, -1);
}

/* Rows 0 and 2, and the last two; then there are more than there are queries. */
static void slices_of_the_weights(void **state) {
    (void)state;
    static const int64_t rows[] = {0, 2, 7};
    viewed v;
    viewed_make(&v);
    attn_views only = {.rows = rows, .row_count = 3};
    double part[HEADS * 4 * KEYS];
    v.problem.views = &only;
    only.weights = attn_tensor_f64(part, 1, HEADS, 3, KEYS);
    viewed_run(&v);
    assert_memory_equal(part, shown, KEYS * sizeof *shown);
    assert_memory_equal(part + KEYS, shown + 2 * KEYS, KEYS * sizeof *shown);
    ASSERT_ALL(part + 2 * KEYS, 0, 0, 0, 0, 0, 0, .5, .5, 0); /* row 7; head 1's row 0 */
    only.rows = NULL;
    only.row_count = 2;
    only.weights = attn_tensor_f64(part, 1, HEADS, 2, KEYS);
    viewed_run(&v);
    assert_memory_equal(part, shown + KEYS, 2 * KEYS * sizeof *shown);
    assert_memory_equal(part + 2 * KEYS, shown + 4 * KEYS, 2 * KEYS * sizeof *shown);
    only.row_count = 4;
    only.weights = attn_tensor_f64(part, 1, HEADS, 4, KEYS);
    viewed_run(&v);
    ASSERT_ALL(part, 0, 0, 0, 0, 0, .5, .25, .25, 0);
}

/* Sequences of 1 and 2 queries, 3 and 1 keys, in a packed batch: rows of queries stay where they are,
 * rows of sequences count them. */
static void packed_views(void **state) {
    (void)state;
    const int64_t query_starts[] = {0, 1, 3}, key_starts[] = {0, 3, 4};
    const double bias[] = {1, 2, 3, /**/ 0, 0, 0, /**/ 4, 0, 0, /**/ 8, 0, 0};
    double received[6], distances[3], weights[9], blocks[4];
    int32_t path[8];
    viewed v;
    viewed_make(&v);
    attn_problem *const p = &v.problem;
    p->query.shape[1] = p->key.shape[1] = p->value.shape[1] = 1;
    p->mask.query_starts = query_starts;
    p->mask.key_starts = key_starts;
    p->mask.sequences = 2;
    p->score.bias = attn_tensor_f64(bias, 2, 1, 2, 3);
    const attn_views views = {.received_sum = attn_tensor_f64(received, 2, 1, 1, 3),
                              .distance = attn_tensor_f64(distances, 1, 1, 3, 1),
                              .weights = attn_tensor_f64(weights, 1, 1, 3, 3),
                              .block_sums = attn_tensor_f64(blocks, 2, 1, 1, 2),
                              .block_queries = 2,
                              .block_keys = 2,
                              .path = attn_tensor_dense(path, ATTN_I32, 2, 1, 2, 2)};
    p->views = &views;
    viewed_run(&v);
    ASSERT_ALL(received, 0, 1, 2, 3, 12, 0, 0);
    ASSERT_ALL(weights, 0, 1, 2, 3, 4, 0, 0, 8, 0, 0);
    ASSERT_ALL(distances, 0, 8, 0, 8); /* 1 * 2 + 2 * 3, and 8 * 1 */
    ASSERT_ALL(blocks, 0, 3, 3, 12, 0);
    ASSERT_KEYS(path, 0, 2, -1, -1, 0, 0, 0, 0);
}

/* To nearest, to the even one of two, to infinity from 65520 on. */
static void weights_in_fewer_bits(void **state) {
    (void)state;
    static const double given[] = {
        1,       1 + 0x1p-11, 1 + 3 * 0x1p-11, -2,  65504, 65519.99,    65520,       0x1p-14,
        0x1p-24, 0x1p-25,     3 * 0x1p-25,     NAN, 1e300, 0x1.ff8p-15, 0x1.ffcp-15, -INFINITY};
    static const uint16_t half[] = {0x3C00, 0x3C00, 0x3C02, 0xC000, 0x7BFF, 0x7BFF, 0x7C00, 0x0400,
                                    0x0001, 0x0000, 0x0002, 0x7E00, 0x7C00, 0x03FF, 0x0400, 0};
    static const double shares[] = {0, 1,   .5,     .498, 1 / 255., .0019, .002, -1,
                                    2, NAN, 1 / 3., 1,    0,        0,     0,    0};
    static const uint8_t bytes[] = {0, 255, 128, 127, 1, 0, 1, 0, 255, 0, 85, 255, 0, 0, 0, 0};
    static const double zeros[16] = {0};
    uint16_t halves[16];
    uint8_t eighths[16];
    attn_views views = {.weights = attn_tensor_dense(halves, ATTN_F16, 1, 1, 1, 16)};
    attn_problem p = {
        .query = attn_tensor_f64(zeros, 1, 1, 1, 1),
        .key = attn_tensor_f64(zeros, 1, 1, 16, 1),
        .value = attn_tensor_f64(zeros, 1, 1, 16, 1),
        .score = {.kind = ATTN_SCORE_CUSTOM, .bias = attn_tensor_f64(given, 1, 1, 1, 16)},
        .normalizer.kind = ATTN_LINEAR,
        .views = &views,
    };
    assert_int_equal(attn_reference_forward(&p), ATTN_OK);
    for (int j = 0; j < 16; j++)
        assert_int_equal(halves[j] & (isnan(given[j]) ? 0x7FFF : 0xFFFF), half[j]);
    views.weights = attn_tensor_dense(eighths, ATTN_U8, 1, 1, 1, 16);
    p.score.bias = attn_tensor_f64(shares, 1, 1, 1, 16);
    assert_int_equal(attn_reference_forward(&p), ATTN_OK);
    for (int j = 0; j < 16; j++) assert_int_equal(eighths[j], bytes[j]);
}

/* ---------------------------------------------------------------------------------------- observer */

typedef struct watched {
    double weights[PAIRS];
    int64_t next; /* the pair that must come next */
} watched;

static void watch(void *user, const attn_pairs *pairs) {
    watched *const w = user;
    for (int r = 0; r < pairs->rows; r++) {
        for (int c = 0; c < pairs->keys; c++) {
            const int64_t at = (pairs->head * QUERIES + pairs->query + r) * KEYS + pairs->key + c;
            assert_true(at == w->next++ && pairs->position == pairs->query);
            w->weights[at] =
                ((const double *)pairs->data)[r * pairs->row_stride + c * pairs->key_stride];
        }
    }
}

static void observer_sees_all_weights_in_order(void **state) {
    (void)state;
    watched w = {.next = 0};
    viewed v;
    viewed_make(&v);
    memset(&v.views.path, 0, sizeof v.views.path); /* which cannot be had together */
    v.views.observer = watch;
    v.views.observer_user = &w;
    viewed_run(&v);
    assert_int_equal(w.next, PAIRS);
    assert_memory_equal(w.weights, shown, sizeof shown);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_one),
        cmocka_unit_test(sigmoid),
        cmocka_unit_test(sparsemax),
        cmocka_unit_test(entmax),
        cmocka_unit_test(weights_of_their_own),
        cmocka_unit_test(hardmax),
        cmocka_unit_test(rows_of_nan_and_of_nothing),
        cmocka_unit_test(temperature),
        cmocka_unit_test(temperature_leaves_the_sink),
        cmocka_unit_test(local_windows),
        cmocka_unit_test(threefry_known_answers),
        cmocka_unit_test(dropout_and_gumbel),
        cmocka_unit_test(what_keys_received),
        cmocka_unit_test(greatest_weights),
        cmocka_unit_test(equal_is_what_is_stored_equal),
        cmocka_unit_test(numbers_of_a_query),
        cmocka_unit_test(mean_over_heads_and_its_path),
        cmocka_unit_test(equal_paths),
        cmocka_unit_test(chosen_heads),
        cmocka_unit_test(views_of_padding),
        cmocka_unit_test(slices_of_the_weights),
        cmocka_unit_test(packed_views),
        cmocka_unit_test(weights_in_fewer_bits),
        cmocka_unit_test(observer_sees_all_weights_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

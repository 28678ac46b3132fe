/* test_reference.c: the reference, which all other tests trust, against cases worked out by hand:
 * plain attention and masks, most of it on the small problem of small.h. test_reference_scores.c has
 * the other scores, test_reference_weights.c the other normalizers, and views. */
#include "small.h"

#include <math.h>
#include <string.h>

/* One string a query: 'x' where it sees the key. */
static void assert_sees(small *s, const char *const *rows) {
    small_run(s);
    for (int64_t i = 0; i < s->problem.query.shape[2]; i++) {
        double terms[MOST] = {0};
        for (int64_t j = 0; j < s->problem.key.shape[2]; j++) {
            terms[j] = rows[i][j] == 'x' ? (double)j + 1 : 0;
        }
        assert_small_row(s, i, terms, 0);
    }
}

/* ------------------------------------------------------------------------------- the formula */

/* The textbook's example: scores 4, 10, 16. D = 13 u 16, so 2 D + (2 n + 10) u is 432 u. */
static void textbook_example(void **state) {
    (void)state;
    const double query[] = {1, 0, 1}, key[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    const double value[] = {.1, .2, .3, .4, .5, .6, .7, .8, .9};
    double output[3], weights[3], lse = 0;
    const attn_problem p = {.query = attn_tensor_f64(query, 1, 1, 1, 3),
                            .key = attn_tensor_f64(key, 1, 1, 3, 3),
                            .value = attn_tensor_f64(value, 1, 1, 3, 3),
                            .score = {.scale = 1},
                            .output = attn_tensor_f64(output, 1, 1, 1, 3),
                            .lse = attn_tensor_f64(&lse, 1, 1, 1, 1),
                            .weights = attn_tensor_f64(weights, 1, 1, 1, 3)};
    assert_int_equal(attn_reference_forward(&p), ATTN_OK);
    /* computed with 45 digits: e^-12, e^-6 and 1 over their sum, and what follows */
    const double expected_weights[] = {6.1289824669277759573e-6, 2.4726080019707999999e-3,
                                       9.9752126301556227222e-1};
    const double expected_output[] = {0.69925454020992860333, 0.79925454020992860333,
                                      0.89925454020992860333};
    const double near = 432 * 0x1p-53;
    for (int k = 0; k < 3; k++) {
        assert_true(fabs(weights[k] - expected_weights[k]) <= near * expected_weights[k]);
        assert_true(fabs(output[k] - expected_output[k]) <= near * expected_output[k]);
    }
    assert_true(fabs(lse - 16.00248181413897966709) <= near);
}

static void weights_are_shares(void **state) {
    (void)state;
    small s;
    small_make(&s, 1, 4);
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){1, 2, 3, 4}, 0);
}

static void default_scale_is_one_over_root_width(void **state) {
    (void)state;
    const double query[] = {1, 1, 1, 1};
    double key[16];
    for (int k = 0; k < 16; k++)
        key[k] = small_keys()[k / 4]; /* dot: 4 log(j+1), scaled: 2 log(j+1) */
    small s;
    small_make(&s, 1, 4);
    s.problem.query = attn_tensor_f64(query, 1, 1, 1, 4);
    s.problem.key = attn_tensor_f64(key, 1, 1, 4, 4);
    s.problem.score.scale = 0;
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){1, 4, 9, 16}, 0);
}

static void negative_scale(void **state) {
    (void)state;
    small s;
    small_make(&s, 1, 4);
    s.problem.score.scale = -1;
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){1, 1. / 2, 1. / 3, 1. / 4}, 0);
}

static void width_zero_scores_zero(void **state) {
    (void)state;
    small s;
    small_make(&s, 2, 3);
    s.problem.query.shape[3] = s.problem.key.shape[3] = 0;
    s.problem.score.scale = 0;
    small_run(&s);
    for (int i = 0; i < 2; i++) assert_small_row(&s, i, (const double[]){1, 1, 1}, 0);
}

/* 2 tanh(s / 2) is 0 at s = 0, 1 at log(3) and -1 at -log(3). */
static void soft_cap(void **state) {
    (void)state;
    const double key[] = {0, log(3), -log(3)};
    small s;
    small_make(&s, 1, 3);
    s.problem.key = attn_tensor_f64(key, 1, 1, 3, 1);
    s.problem.score.softcap = 2;
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){1, exp(1), exp(-1)}, 0);
}

static void bias_is_added_after_the_cap(void **state) {
    (void)state;
    const double key[] = {0, log(3), -log(3)}, bias[] = {log(5), log(6), log(7)};
    small s;
    small_make(&s, 1, 3);
    s.problem.key = attn_tensor_f64(key, 1, 1, 3, 1);
    s.problem.score.softcap = 2;
    s.problem.score.bias = attn_tensor_f64(bias, 1, 1, 1, 3);
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){5, 6 * exp(1), 7 * exp(-1)}, 0);
}

/* exp(-log(2) * distance) halves with every step from the query's position. */
static void alibi(void **state) {
    (void)state;
    const double zeros[MOST] = {0}, slope = log(2);
    small s;
    small_make(&s, 2, 4);
    s.problem.key = attn_tensor_f64(zeros, 1, 1, 4, 1);
    s.problem.score.alibi_slopes = attn_tensor_f64(&slope, 1, 1, 1, 1);
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){1, .5, .25, .125}, 0);
    assert_small_row(&s, 1, (const double[]){.5, 1, .5, .25}, 0);

    s.problem.mask.alignment = ATTN_ALIGN_BOTTOM_RIGHT; /* positions 2 and 3 */
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){.25, .5, 1, .5}, 0);
    assert_small_row(&s, 1, (const double[]){.125, .25, .5, 1}, 0);

    s.problem.mask.query_offset = -3; /* -1 and 0 */
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){.5, .25, .125, .0625}, 0);
    assert_small_row(&s, 1, (const double[]){1, .5, .25, .125}, 0);
}

static void sink_takes_its_share(void **state) {
    (void)state;
    const double sink = log(4);
    small s;
    small_make(&s, 1, 3);
    s.problem.score.sinks = attn_tensor_f64(&sink, 1, 1, 1, 1);
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){1, 2, 3}, 4);
}

/* Even one that dwarfs every score: exp(1000) is no float64. */
static void huge_sink(void **state) {
    (void)state;
    const double sink = 1000;
    small s;
    small_make(&s, 1, 3);
    s.problem.score.sinks = attn_tensor_f64(&sink, 1, 1, 1, 1);
    small_run(&s);
    assert_true(s.output[0] == 0 && s.weights[0] == 0 && s.lse[0] == 1000);
}

static void heads_share_key_heads_in_groups(void **state) {
    (void)state;
    const double value[] = {10, 20};
    double output[6];
    const attn_problem p = {.query = attn_tensor_f64(small_ones, 1, 6, 1, 1),
                            .key = attn_tensor_f64(small_ones, 1, 2, 1, 1),
                            .value = attn_tensor_f64(value, 1, 2, 1, 1),
                            .output = attn_tensor_f64(output, 1, 6, 1, 1)};
    assert_int_equal(attn_reference_forward(&p), ATTN_OK);
    for (int h = 0; h < 6; h++) assert_true(output[h] == (h < 3 ? 10 : 20));
}

static void strides_are_followed(void **state) {
    (void)state;
    const double reversed[] = {0, log(3), 0, log(2), 0, log(1)};
    small s;
    small_make(&s, 1, 3);
    s.problem.key.data = (void *)(uintptr_t)&reversed[5];
    s.problem.key.stride[2] = -2;
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){1, 2, 3}, 0);

    s.problem.key.stride[2] = 0; /* every key is key 0 */
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){1, 1, 1}, 0);
}

static void float32_is_rounded_once(void **state) {
    (void)state;
    const float ones[3] = {1, 1, 1}, value[3] = {1, 0, 0};
    float output = 0, weights[3], lse = 0;
    const attn_problem p = {.query = attn_tensor_f32(ones, 1, 1, 1, 1),
                            .key = attn_tensor_f32(ones, 1, 1, 3, 1),
                            .value = attn_tensor_f32(value, 1, 1, 3, 1),
                            .output = attn_tensor_f32(&output, 1, 1, 1, 1),
                            .lse = attn_tensor_f32(&lse, 1, 1, 1, 1),
                            .weights = attn_tensor_f32(weights, 1, 1, 1, 3)};
    assert_int_equal(attn_reference_forward(&p), ATTN_OK);
    assert_true(output == (float)(1. / 3) && weights[2] == (float)(1. / 3));
    assert_true(lse == (float)(1 + log(3)));
}

static void results_are_optional(void **state) {
    (void)state;
    for (int missing = 0; missing < 3; missing++) {
        small s;
        small_make(&s, 1, 4);
        attn_tensor *const results[] = {&s.problem.output, &s.problem.lse, &s.problem.weights};
        *results[missing] = (attn_tensor){0};
        small_run(&s);
        assert_int_equal(isnan(s.output[0]), missing == 0);
        assert_int_equal(isnan(s.lse[0]), missing == 1);
        assert_int_equal(isnan(s.weights[0]), missing == 2);
    }
}

/* ---------------------------------------------------------------------------------- the mask */

static void causal(void **state) {
    (void)state;
    small s;
    small_make(&s, 3, 5);
    s.problem.mask.causal = true;
    assert_sees(&s, (const char *const[]){"x....", "xx...", "xxx.."});
    s.problem.mask.query_offset = 1;
    assert_sees(&s, (const char *const[]){"xx...", "xxx..", "xxxx."});
    s.problem.mask.query_offset = -2;
    assert_sees(&s, (const char *const[]){".....", ".....", "x...."});
    s.problem.mask.query_offset = 0;
    s.problem.mask.alignment = ATTN_ALIGN_BOTTOM_RIGHT;
    assert_sees(&s, (const char *const[]){"xxx..", "xxxx.", "xxxxx"});
    s.problem.mask.query_offset = -1;
    assert_sees(&s, (const char *const[]){"xx...", "xxx..", "xxxx."});
}

static void bottom_right_with_more_queries_than_keys(void **state) {
    (void)state;
    small s;
    small_make(&s, 4, 2);
    s.problem.mask.causal = true;
    s.problem.mask.alignment = ATTN_ALIGN_BOTTOM_RIGHT;
    assert_sees(&s, (const char *const[]){"..", "..", "x.", "xx"});
}

static void window(void **state) {
    (void)state;
    small s;
    small_make(&s, 3, 5);
    s.problem.mask.window = (attn_window){true, 1, 0};
    assert_sees(&s, (const char *const[]){"x....", "xx...", ".xx.."});
    s.problem.mask.window = (attn_window){true, 0, 2};
    assert_sees(&s, (const char *const[]){"xxx..", ".xxx.", "..xxx"});
    s.problem.mask.window = (attn_window){true, -1, 1};
    assert_sees(&s, (const char *const[]){"xx...", "xxx..", "xxxx."});
    s.problem.mask.window = (attn_window){true, INT64_MAX, INT64_MAX};
    assert_sees(&s, (const char *const[]){"xxxxx", "xxxxx", "xxxxx"});
    s.problem.mask.window = (attn_window){false, 0, 0};
    assert_sees(&s, (const char *const[]){"xxxxx", "xxxxx", "xxxxx"});
    s.problem.mask.window = (attn_window){true, 0, 0};
    s.problem.mask.alignment = ATTN_ALIGN_BOTTOM_RIGHT;
    assert_sees(&s, (const char *const[]){"..x..", "...x.", "....x"});
}

static void prefix_lifts_only_the_causal_rule(void **state) {
    (void)state;
    const int64_t prefix = 3;
    small s;
    small_make(&s, 4, 5);
    s.problem.mask.prefix_lengths = &prefix;
    assert_sees(&s, (const char *const[]){"xxxxx", "xxxxx", "xxxxx", "xxxxx"});
    s.problem.mask.causal = true;
    assert_sees(&s, (const char *const[]){"xxx..", "xxx..", "xxx..", "xxxx."});
    s.problem.mask.window = (attn_window){true, 1, 1};
    assert_sees(&s, (const char *const[]){"xx...", "xxx..", ".xx..", "..xx."});
}

static void lengths(void **state) {
    (void)state;
    const int64_t queries = 2, keys = 3;
    small s;
    small_make(&s, 3, 5);
    s.problem.mask.key_lengths = &keys;
    assert_sees(&s, (const char *const[]){"xxx..", "xxx..", "xxx.."});
    s.problem.mask.query_lengths = &queries;
    assert_sees(&s, (const char *const[]){"xxx..", "xxx..", "....."});
    s.problem.mask.causal = true;
    assert_sees(&s, (const char *const[]){"x....", "xx...", "....."});
    s.problem.mask.alignment =
        ATTN_ALIGN_BOTTOM_RIGHT; /* the last real query at the last real key */
    assert_sees(&s, (const char *const[]){"xx...", "xxx..", "....."});
}

static void documents(void **state) {
    (void)state;
    const int32_t query[] = {7, -1, 9}, key[] = {-1, 7, 7, 7, -1};
    small s;
    small_make(&s, 3, 5);
    s.problem.mask.query_documents = query;
    s.problem.mask.key_documents = key;
    assert_sees(&s, (const char *const[]){".xxx.", "x...x", "....."});
}

static void allowed(void **state) {
    (void)state;
    const unsigned char full[] = {1, 0, 0, 255, 0, /**/ 0, 0, 0, 0, 0, /**/ 1, 1, 2, 0, 1};
    small s;
    small_make(&s, 3, 5);
    s.problem.mask.allowed = attn_tensor_bool(full, 1, 1, 3, 5);
    assert_sees(&s, (const char *const[]){"x..x.", ".....", "xxx.x"});
    s.problem.mask.allowed = attn_tensor_bool(full, 1, 1, 1, 5);
    assert_sees(&s, (const char *const[]){"x..x.", "x..x.", "x..x."});
    s.problem.mask.allowed = attn_tensor_bool(full, 1, 1, 3, 1);
    s.problem.mask.allowed.stride[2] = 5;
    assert_sees(&s, (const char *const[]){"xxxxx", ".....", "xxxxx"});
}

static void bias_of_minus_infinity_masks(void **state) {
    (void)state;
    const double bias[] = {0, -INFINITY, 0, /**/ -INFINITY, -INFINITY, -INFINITY};
    small s;
    small_make(&s, 2, 3);
    s.value[1] = NAN;
    s.problem.score.bias = attn_tensor_f64(bias, 1, 1, 2, 3);
    small_run(&s);
    assert_near(s.output[0], (1 * 1 + 3 * 3) / 4.);
    assert_near(s.lse[0], log(4));
    assert_true(s.output[1] == 0 && s.lse[1] == -INFINITY && s.weights[1 * 3] == 0);
}

/* Queries 1..2 and keys 0..1 are the first sequence, query 3 and keys 2..4 the second, which has
 * only two real keys; query 0 belongs to none. Columns of the weights count within the sequence. */
static void packed_sequences(void **state) {
    (void)state;
    const int64_t query_starts[] = {1, 3, 4}, key_starts[] = {0, 2, 5}, key_lengths[] = {2, 2};
    small s;
    small_make(&s, 4, 5);
    s.problem.mask.query_starts = query_starts;
    s.problem.mask.key_starts = key_starts;
    s.problem.mask.sequences = 2;
    s.problem.mask.key_lengths = key_lengths;
    s.problem.mask.causal = true;
    s.problem.weights = attn_tensor_f64(s.weights, 1, 1, 4, 3);
    small_run(&s);
    const double weights[4][3] = {{0, 0, 0}, {1, 0, 0}, {1. / 3, 2. / 3, 0}, {1, 0, 0}};
    const double output[4] = {0, 1, 5. / 3, 3}, sums[4] = {0, 1, 3, 3};
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 3; j++) assert_near(s.weights[3 * i + j], weights[i][j]);
        assert_near(s.output[i], output[i]);
        assert_near(s.lse[i], log(sums[i]));
    }
    s.problem.mask.alignment = ATTN_ALIGN_BOTTOM_RIGHT; /* query 3 now stands at key 2 + 1 */
    small_run(&s);
    assert_near(s.weights[3 * 3], 3. / 7);
    assert_near(s.output[3], 25. / 7);
}

static void packed_documents_lie_as_the_tensors_do(void **state) {
    (void)state;
    const int64_t query_starts[] = {0, 1, 2}, key_starts[] = {0, 3, 5};
    const int32_t query[] = {1, 2}, key[] = {1, 2, 1, 2, 1};
    small s;
    small_make(&s, 2, 5);
    s.problem.mask.query_starts = query_starts;
    s.problem.mask.key_starts = key_starts;
    s.problem.mask.sequences = 2;
    s.problem.mask.query_documents = query;
    s.problem.mask.key_documents = key;
    s.problem.weights = attn_tensor_f64(s.weights, 1, 1, 2, 3);
    small_run(&s);
    assert_near(s.output[0], (1 * 1 + 3 * 3) / 4.); /* keys 0 and 2 */
    assert_near(s.output[1], 4);                    /* key 3, its key 0 */
    assert_near(s.weights[3], 1);
}

/* --------------------------------------------------------------------------------- the edges */

static void nothing_to_attend_to(void **state) {
    (void)state;
    const double sink = 2.5;
    small s;
    small_make(&s, 2, 0);
    small_run(&s);
    for (int i = 0; i < 2; i++) assert_true(s.output[i] == 0 && s.lse[i] == -INFINITY);
    s.problem.score.sinks = attn_tensor_f64(&sink, 1, 1, 1, 1);
    small_run(&s);
    for (int i = 0; i < 2; i++) assert_true(s.output[i] == 0 && s.lse[i] == sink);
}

static void padding_has_no_sink(void **state) {
    (void)state;
    const double sink = 2.5;
    const int64_t real = 1;
    small s;
    small_make(&s, 2, 3);
    s.problem.score.sinks = attn_tensor_f64(&sink, 1, 1, 1, 1);
    s.problem.mask.query_lengths = &real;
    small_run(&s);
    assert_true(s.output[1] == 0 && s.lse[1] == -INFINITY && s.weights[3] == 0);
}

static void scores_of_minus_infinity(void **state) {
    (void)state;
    const double key[] = {-INFINITY, log(2), -INFINITY};
    small s;
    small_make(&s, 1, 3);
    s.problem.key = attn_tensor_f64(key, 1, 1, 3, 1);
    small_run(&s);
    assert_small_row(&s, 0, (const double[]){0, 2, 0}, 0);
    s.problem.key.shape[2] = s.problem.value.shape[2] = s.problem.weights.shape[3] = 1;
    small_run(&s);
    assert_true(s.output[0] == 0 && s.weights[0] == 0 && s.lse[0] == -INFINITY);
}

static void live_nan_and_plus_infinity_come_out(void **state) {
    (void)state;
    const double bad[] = {NAN, INFINITY};
    for (int k = 0; k < 2; k++) {
        double key[] = {bad[k], 0, 1};
        small s;
        small_make(&s, 2, 3);
        s.problem.key = attn_tensor_f64(key, 1, 1, 3, 1);
        s.problem.mask.window = (attn_window){true, 0, -1}; /* query 1 does not see key 0 */
        small_run(&s);
        assert_true(isnan(s.output[0]) && isnan(s.lse[0]) && isnan(s.weights[2]));
        assert_true(s.weights[3] == 0);
        assert_near(s.weights[4], 1 / (1 + exp(1)));
    }
}

static void huge_scores_do_not_overflow(void **state) {
    (void)state;
    const double key[] = {-10000, 10000, 10000 + log(3)};
    small s;
    small_make(&s, 1, 3);
    s.problem.key = attn_tensor_f64(key, 1, 1, 3, 1);
    small_run(&s);
    assert_true(s.weights[0] == 0);
    /* scores of 1e4 have an ulp of 2^-39, which is what the weights can be off by */
    assert_true(fabs(s.weights[1] - .25) < 0x1p-39 && fabs(s.weights[2] - .75) < 0x1p-39);
}

static void bad_arguments_touch_nothing(void **state) {
    (void)state;
    small s;
    small_make(&s, 1, 3);
    s.problem.value.shape[2] = 2;
    assert_int_equal(attn_reference_forward(&s.problem), ATTN_ERROR_SHAPE);
    assert_true(isnan(s.output[0]) && isnan(s.lse[0]) && isnan(s.weights[0]));
    assert_int_equal(attn_reference_forward(NULL), ATTN_ERROR_NULL);
}

/* AddressSanitizer would end the program where malloc may say no. */
#if defined(__SANITIZE_ADDRESS__)
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}
#endif

/* 2^55 keys cost nothing as a view, but a row of weights for them would not fit anywhere. */
static void no_memory(void **state) {
    (void)state;
    small s;
    small_make(&s, 1, 3);
    s.problem.key.shape[2] = s.problem.value.shape[2] = INT64_C(1) << 55;
    s.problem.key.stride[2] = s.problem.value.stride[2] = 0;
    s.problem.weights = (attn_tensor){0};
    assert_int_equal(attn_reference_forward(&s.problem), ATTN_ERROR_MEMORY);
    assert_non_null(strstr(attn_error_message(), "36028797018963968"));
    assert_true(isnan(s.output[0]) && isnan(s.lse[0]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(textbook_example),
        cmocka_unit_test(weights_are_shares),
        cmocka_unit_test(default_scale_is_one_over_root_width),
        cmocka_unit_test(negative_scale),
        cmocka_unit_test(width_zero_scores_zero),
        cmocka_unit_test(soft_cap),
        cmocka_unit_test(bias_is_added_after_the_cap),
        cmocka_unit_test(alibi),
        cmocka_unit_test(sink_takes_its_share),
        cmocka_unit_test(huge_sink),
        cmocka_unit_test(heads_share_key_heads_in_groups),
        cmocka_unit_test(strides_are_followed),
        cmocka_unit_test(float32_is_rounded_once),
        cmocka_unit_test(results_are_optional),
        cmocka_unit_test(causal),
        cmocka_unit_test(bottom_right_with_more_queries_than_keys),
        cmocka_unit_test(window),
        cmocka_unit_test(prefix_lifts_only_the_causal_rule),
        cmocka_unit_test(lengths),
        cmocka_unit_test(documents),
        cmocka_unit_test(allowed),
        cmocka_unit_test(bias_of_minus_infinity_masks),
        cmocka_unit_test(packed_sequences),
        cmocka_unit_test(packed_documents_lie_as_the_tensors_do),
        cmocka_unit_test(nothing_to_attend_to),
        cmocka_unit_test(padding_has_no_sink),
        cmocka_unit_test(scores_of_minus_infinity),
        cmocka_unit_test(live_nan_and_plus_infinity_come_out),
        cmocka_unit_test(huge_scores_do_not_overflow),
        cmocka_unit_test(bad_arguments_touch_nothing),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

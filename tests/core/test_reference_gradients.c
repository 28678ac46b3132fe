/* test_reference_gradients.c: gradients of the reference against numbers worked out by hand; what must
 * reach nothing, what must reach everything, and that layout and type change only the rounding. */
#include "small.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attn/gradients.h"

/* Of numbers below 100, made of at most 50 operations on numbers of that size. */
static void assert_close_to(double result, double expected) {
    assert_number(result, expected, 50 * 100 * 0x1p-53);
}

/* One head of one query of width 1, whose gradients are wanted. */
typedef struct graded {
    small small;
    double d_output[1], d_lse[1], d_weights[MOST];
    attn_result_gradients from;
    attn_input_gradients to;
    double d_query[1], d_key[MOST], d_value[MOST], d_bias[MOST], d_sink[1], d_number[4];
} graded;

/* Weights are (j + 1) over their sum, values j + 1. */
static void graded_make(graded *g, int64_t n_key) {
    *g = (graded){.d_output = {1}, .d_lse = {1}};
    small_make(&g->small, 1, n_key);
    g->small.problem.lse = (attn_tensor){0};
    g->from.output = attn_tensor_f64(g->d_output, 1, 1, 1, 1);
    g->to.query = attn_tensor_f64(g->d_query, 1, 1, 1, 1);
    g->to.key = attn_tensor_f64(g->d_key, 1, 1, n_key, 1);
    g->to.value = attn_tensor_f64(g->d_value, 1, 1, n_key, 1);
}

static void graded_run(graded *g) {
    if (attn_reference_backward(&g->small.problem, &g->from, &g->to) != ATTN_OK)
        fail_msg("%s", attn_error_message());
}

/* Weights 1/3, 2/3; G = 1, 2; their mean is 5/3: dz = 1/3 (1 - 5/3), 2/3 (2 - 5/3). */
static void softmax_of_two(void **state) {
    (void)state;
    graded g;
    graded_make(&g, 2);
    graded_run(&g);
    assert_close_to(g.d_value[0], 1 / 3.);
    assert_close_to(g.d_value[1], 2 / 3.);
    assert_close_to(g.d_key[0], -2 / 9.);
    assert_close_to(g.d_key[1], 2 / 9.);
    assert_close_to(g.d_query[0], 2 / 9. * log(2));
}

/* The log-sum-exp adds the weight to dz. */
static void log_sum_exp_alone(void **state) {
    (void)state;
    graded g;
    graded_make(&g, 3);
    g.from.output = (attn_tensor){0};
    g.from.lse = attn_tensor_f64(g.d_lse, 1, 1, 1, 1);
    graded_run(&g);
    for (int j = 0; j < 3; j++) {
        assert_close_to(g.d_key[j], (j + 1) / 6.);
        assert_true(g.d_value[j] == 0);
    }
}

/* A sink of exp(sink) = 3 beside 1 and 2: weights 1/6, 1/3, and 1/2 of nothing. D = 1/6 + 2/3 = 5/6. */
static void sink_takes_its_share(void **state) {
    (void)state;
    const double sink[] = {log(3)};
    graded g;
    graded_make(&g, 2);
    g.small.problem.score.sinks = attn_tensor_f64(sink, 1, 1, 1, 1);
    g.to.sinks = attn_tensor_f64(g.d_sink, 1, 1, 1, 1);
    graded_run(&g);
    assert_close_to(g.d_key[0], 1 / 6. * (1 - 5 / 6.));
    assert_close_to(g.d_key[1], 1 / 3. * (2 - 5 / 6.));
    assert_close_to(g.d_sink[0], -5 / 12.);
}

/* Of a query that sees nothing the log-sum-exp is the sink: it has all of d_lse. */
static void sink_alone(void **state) {
    (void)state;
    const double sink[] = {log(3)};
    const int64_t lengths[] = {0};
    graded g;
    graded_make(&g, 2);
    g.small.problem.mask.key_lengths = lengths;
    g.small.problem.score.sinks = attn_tensor_f64(sink, 1, 1, 1, 1);
    g.from.lse = attn_tensor_f64(g.d_lse, 1, 1, 1, 1);
    g.to.sinks = attn_tensor_f64(g.d_sink, 1, 1, 1, 1);
    graded_run(&g);
    assert_true(g.d_sink[0] == 1 && g.d_query[0] == 0 && g.d_key[0] == 0 && g.d_value[1] == 0);
}

/* Temperature 2 and biases that undo it leave weights as they are and halve what flows on; dT is
 * -sum ds z with z = log(j + 1). */
static void temperature_and_bias(void **state) {
    (void)state;
    const double bias[] = {0, log(2)};
    graded g;
    graded_make(&g, 2);
    g.small.problem.normalizer.temperature = 2;
    g.small.problem.score.bias = attn_tensor_f64(bias, 1, 1, 1, 2);
    g.to.bias = attn_tensor_f64(g.d_bias, 1, 1, 1, 2);
    g.to.temperature = attn_tensor_f64(g.d_number, 1, 1, 1, 1);
    graded_run(&g);
    assert_close_to(g.d_bias[0], -1 / 9.);
    assert_close_to(g.d_bias[1], 1 / 9.);
    assert_close_to(g.d_number[0], -1 / 9. * log(2));
}

/* A score of c log(3)/2, capped at c = 2, has tanh 1/2 and slope 3/4; a linear weight shows it. */
static void soft_cap(void **state) {
    (void)state;
    const double key[] = {2 * log(3) / 2};
    graded g;
    graded_make(&g, 1);
    g.small.problem.key = attn_tensor_f64(key, 1, 1, 1, 1);
    g.small.problem.score.softcap = 2;
    g.small.problem.normalizer.kind = ATTN_LINEAR;
    g.to.softcap = attn_tensor_f64(g.d_number, 1, 1, 1, 1);
    g.to.scale = attn_tensor_f64(g.d_number + 1, 1, 1, 1, 1);
    graded_run(&g);
    assert_close_to(g.d_value[0], 1);
    assert_close_to(g.d_key[0], .75);
    assert_close_to(g.d_number[0], .5 - log(3) / 2 * .75);
    assert_close_to(g.d_number[1], .75 * log(3));
}

/* z = 0 and log(3): 1/2 and 3/4, slopes 1/4 and 3/16. */
static void sigmoid(void **state) {
    (void)state;
    const double key[] = {0, log(3)};
    graded g;
    graded_make(&g, 2);
    g.small.problem.key = attn_tensor_f64(key, 1, 1, 2, 1);
    g.small.problem.normalizer.kind = ATTN_SIGMOID;
    g.to.sigmoid_bias = attn_tensor_f64(g.d_number, 1, 1, 1, 1);
    graded_run(&g);
    assert_close_to(g.d_key[0], .25);
    assert_close_to(g.d_key[1], 2 * 3 / 16.);
    assert_close_to(g.d_number[0], .25 + 2 * 3 / 16.);
}

/* z = 0, 1/2, -9: weights 1/4, 3/4, 0; G = 1, 2, 3, of which the mean over the support is 3/2. */
static void sparsemax(void **state) {
    (void)state;
    const double key[] = {0, .5, -9};
    graded g;
    graded_make(&g, 3);
    g.small.problem.key = attn_tensor_f64(key, 1, 1, 3, 1);
    g.small.problem.normalizer.kind = ATTN_SPARSEMAX;
    graded_run(&g);
    assert_close_to(g.d_key[0], -.5);
    assert_close_to(g.d_key[1], .5);
    assert_true(g.d_key[2] == 0 && g.d_value[2] == 0);
    assert_close_to(g.d_query[0], .25);
}

/* alpha 3/2: a = (z/2 - t)^2. z = 0 and 2 (.8 - .6) = .4 have roots .6 and .8. s = roots; mean of G by
 * s is (.6 + 2 * .8) / 1.4 = 11/7. */
static void entmax(void **state) {
    (void)state;
    const double key[] = {0, .4};
    graded g;
    graded_make(&g, 2);
    g.small.problem.key = attn_tensor_f64(key, 1, 1, 2, 1);
    g.small.problem.normalizer.kind = ATTN_ENTMAX;
    graded_run(&g);
    assert_close_to(g.d_value[0], .36);
    assert_close_to(g.d_key[0], .6 * (1 - 11 / 7.));
    assert_close_to(g.d_key[1], .8 * (2 - 11 / 7.));
}

/* relu at 0 and below is flat; hardmax everywhere. */
static void flat_normalizers(void **state) {
    (void)state;
    const double key[] = {0, 2, -1};
    graded g;
    graded_make(&g, 3);
    g.small.problem.key = attn_tensor_f64(key, 1, 1, 3, 1);
    g.small.problem.normalizer.kind = ATTN_RELU;
    graded_run(&g);
    assert_true(g.d_key[0] == 0 && g.d_key[1] == 2 && g.d_key[2] == 0 && g.d_query[0] == 4);
    g.small.problem.normalizer.kind = ATTN_RELU_SQUARED;
    graded_run(&g);
    assert_true(g.d_key[0] == 0 && g.d_key[1] == 8 && g.d_key[2] == 0 && g.d_query[0] == 16);
    g.small.problem.normalizer.kind = ATTN_HARDMAX;
    graded_run(&g);
    assert_true(g.d_key[1] == 0 && g.d_query[0] == 0 && g.d_value[1] == 1 && g.d_value[0] == 0);
}

/* Entropy of 1/4, 3/4: dz = w (-log w - entropy) */
static void entropy_and_what_is_received(void **state) {
    (void)state;
    const double key[] = {0, log(3)}, one[] = {1}, received[] = {0, 5};
    const double entropy = log(4) - .75 * log(3);
    graded g;
    graded_make(&g, 2);
    g.small.problem.key = attn_tensor_f64(key, 1, 1, 2, 1);
    g.from.output = (attn_tensor){0};
    g.from.entropy = attn_tensor_f64(one, 1, 1, 1, 1);
    graded_run(&g);
    assert_close_to(g.d_key[0], .25 * (log(4) - entropy));
    assert_close_to(g.d_key[1], .75 * (log(4) - log(3) - entropy));
    g.from.entropy = (attn_tensor){0};
    g.from.received_sum = attn_tensor_f64(received, 1, 1, 1, 2);
    graded_run(&g);
    assert_close_to(g.d_key[0], .25 * -3.75);
    assert_close_to(g.d_key[1], .75 * (5 - 3.75));
}

/* Unit vectors (.6, .8) and (1, 0): cosine .6; linear weights. A key of 0 has none. */
static void cosine(void **state) {
    (void)state;
    const double query[] = {3, 4}, key[] = {2, 0, 0, 0}, value[] = {1, 1}, one[] = {1};
    double d_query[2], d_key[4];
    const attn_problem p = {.query = attn_tensor_f64(query, 1, 1, 1, 2),
                            .key = attn_tensor_f64(key, 1, 1, 2, 2),
                            .value = attn_tensor_f64(value, 1, 1, 2, 1),
                            .score.kind = ATTN_SCORE_COSINE,
                            .normalizer.kind = ATTN_LINEAR};
    const attn_result_gradients from = {.output = attn_tensor_f64(one, 1, 1, 1, 1)};
    const attn_input_gradients to = {.query = attn_tensor_f64(d_query, 1, 1, 1, 2),
                                     .key = attn_tensor_f64(d_key, 1, 1, 2, 2)};
    assert_int_equal(attn_reference_backward(&p, &from, &to), ATTN_OK);
    assert_close_to(d_query[0], (1 - .36) / 5);
    assert_close_to(d_query[1], (0 - .48) / 5);
    assert_close_to(d_key[0], (.6 - .6) / 2);
    assert_close_to(d_key[1], .8 / 2);
    assert_true(d_key[2] == 0 && d_key[3] == 0);
}

/* x = log(3)/2 has tanh 1/2, slope 3/4; weight 4 over its own length is 1, and has no slope. */
static void additive(void **state) {
    (void)state;
    const double query[] = {1}, key[] = {log(3) / 2 - 1}, weight[] = {4}, one[] = {1};
    double d_query[1], d_key[1], d_weight[1];
    attn_problem p = {
        .query = attn_tensor_f64(query, 1, 1, 1, 1),
        .key = attn_tensor_f64(key, 1, 1, 1, 1),
        .value = attn_tensor_f64(one, 1, 1, 1, 1),
        .score = {.kind = ATTN_SCORE_ADDITIVE, .weight = attn_tensor_f64(weight, 1, 1, 1, 1)},
        .normalizer.kind = ATTN_LINEAR};
    const attn_result_gradients from = {.output = attn_tensor_f64(one, 1, 1, 1, 1)};
    const attn_input_gradients to = {.query = attn_tensor_f64(d_query, 1, 1, 1, 1),
                                     .key = attn_tensor_f64(d_key, 1, 1, 1, 1),
                                     .weight = attn_tensor_f64(d_weight, 1, 1, 1, 1)};
    assert_int_equal(attn_reference_backward(&p, &from, &to), ATTN_OK);
    assert_close_to(d_query[0], 3);
    assert_close_to(d_key[0], 3);
    assert_close_to(d_weight[0], .5);
    p.score.normalize_weight = true;
    assert_int_equal(attn_reference_backward(&p, &from, &to), ATTN_OK);
    assert_close_to(d_query[0], .75);
    assert_close_to(d_weight[0], 0);
}

/* Forward mode on softmax_of_two: keys change by 0 and 1, so z does; lse by 2/3. */
static void forward_mode(void **state) {
    (void)state;
    const double t_key[] = {0, 1}, t_value[] = {3, 0};
    double output[1], lse[1], weights[2];
    small s;
    small_make(&s, 1, 2);
    const attn_tangents tangents = {.key = attn_tensor_f64(t_key, 1, 1, 2, 1),
                                    .value = attn_tensor_f64(t_value, 1, 1, 2, 1),
                                    .output = attn_tensor_f64(output, 1, 1, 1, 1),
                                    .lse = attn_tensor_f64(lse, 1, 1, 1, 1),
                                    .weights = attn_tensor_f64(weights, 1, 1, 1, 2)};
    assert_int_equal(attn_reference_jvp(&s.problem, &tangents), ATTN_OK);
    assert_close_to(lse[0], 2 / 3.);
    assert_close_to(weights[0], -2 / 9.);
    assert_close_to(weights[1], 2 / 9.);
    assert_close_to(output[0], 2 / 9. + 1);
}

/* ------------------------------------------------------------------------- special values */

/* Of 3 queries and keys under the causal rule, key 2 is seen by query 2 alone. */
static void causal_run(small *s, double *d_output, double *d_query, double *d_key,
                       double *d_value) {
    const attn_result_gradients from = {.output = attn_tensor_f64(d_output, 1, 1, 3, 1)};
    const attn_input_gradients to = {.query = attn_tensor_f64(d_query, 1, 1, 3, 1),
                                     .key = attn_tensor_f64(d_key, 1, 1, 3, 1),
                                     .value = attn_tensor_f64(d_value, 1, 1, 3, 1)};
    s->problem.mask.causal = true;
    assert_int_equal(attn_reference_backward(&s->problem, &from, &to), ATTN_OK);
}

static void hidden_reaches_nothing(void **state) {
    (void)state;
    double key[] = {0, log(2), NAN}, value[] = {1, 2, NAN}, d_output[] = {1, 1, 0};
    double d_query[3], d_key[3], d_value[3];
    const int64_t lengths[] = {2};
    small s;
    small_make(&s, 3, 3);
    s.problem.key = attn_tensor_f64(key, 1, 1, 3, 1);
    s.problem.value = attn_tensor_f64(value, 1, 1, 3, 1);
    s.problem.mask.query_lengths = lengths;
    d_output[2] = NAN; /* padding */
    causal_run(&s, d_output, d_query, d_key, d_value);
    assert_close_to(d_value[0], 1 + 1 / 3.);
    assert_close_to(d_key[1], 2 / 9.);
    assert_true(d_query[2] == 0 && d_key[2] == 0 && d_value[2] == 0);
}

static void visible_reaches_its_rows(void **state) {
    (void)state;
    double key[] = {0, log(2), NAN}, d_output[] = {1, 1, 1};
    double d_query[3], d_key[3], d_value[3];
    small s;
    small_make(&s, 3, 3);
    s.problem.key = attn_tensor_f64(key, 1, 1, 3, 1);
    causal_run(&s, d_output, d_query, d_key, d_value);
    assert_true(isfinite(d_query[0]) && isfinite(d_query[1]) && isnan(d_query[2]));
    for (int j = 0; j < 3; j++) assert_true(isnan(d_key[j]) && isnan(d_value[j]));
    key[2] = 0;
    s.problem.value = attn_tensor_f64((const double[]){1, NAN, 2}, 1, 1, 3, 1);
    causal_run(&s, d_output, d_query, d_key, d_value);
    assert_true(isfinite(d_query[0]) && isnan(d_query[1]) && isnan(d_query[2]));
    for (int j = 0; j < 3; j++) assert_true(isfinite(d_value[j]));
}

static void hide_second(void *user, const attn_pairs *pairs) {
    (void)user;
    for (int c = 0; c < pairs->keys; c++) {
        if (pairs->key + c == 1) set_pair_element(pairs, 0, c, -INFINITY);
    }
}

/* Leaves a NaN where nothing is shown, which must not matter. */
static void pass_on(void *user, const attn_pairs *scores, const attn_pairs *gradients) {
    (void)user;
    assert_int_equal(scores->keys, gradients->keys);
    for (int c = 0; c < gradients->keys; c++) {
        if (gradients->key + c != 1) continue;
        assert_true(pair_element(gradients, 0, c) == 0);
        set_pair_element(gradients, 0, c, NAN);
    }
}

/* A score of -infinity hides as the mask does, NaN value and all. */
static void score_of_minus_infinity(void **state) {
    (void)state;
    graded g;
    graded_make(&g, 3);
    g.small.value[1] = NAN;
    g.small.problem.score.callback = hide_second;
    g.to.callback = pass_on;
    graded_run(&g); /* weights 1/4, 0, 3/4; G = 1, -, 3: mean 5/2 */
    assert_close_to(g.d_key[0], -1.5 / 4);
    assert_close_to(g.d_key[2], .5 * 3 / 4);
    assert_true(g.d_key[1] == 0 && g.d_value[1] == 0);
    assert_close_to(g.d_query[0], .5 * 3 / 4 * log(3));
}

/* -------------------------------------------------------------------------- layout and type */

enum { PLACES = 3 };

/* query's, key's and value's gradients of a sample, in tensors made like its inputs. */
static void run_places(const attn_problem *p, const attn_tensor *d_output, attn_tensor to[PLACES]) {
    const attn_result_gradients from = {.output = *d_output};
    const attn_input_gradients all = {.query = to[0], .key = to[1], .value = to[2]};
    if (attn_reference_backward(p, &from, &all) != ATTN_OK) fail_msg("%s", attn_error_message());
}

/* A dense tensor of random numbers of float32, as both types. */
static void make_d_output(const attn_tensor *like, uint64_t seed, attn_tensor made[2]) {
    uint64_t k = 0;
    made[0] = tensor_copy(like, ATTN_F32);
    for (int64_t x[4] = {0}; index_inside(x, like->shape); index_next(x, like->shape))
        set_element(&made[0], x[0], x[1], x[2], x[3], random_normal(seed, k++));
    made[1] = tensor_copy(&made[0], ATTN_F64);
}

static void compare_types(const sample *s, const oracle *o) {
    const attn_tensor *const inputs[] = {&s->problem.query, &s->problem.key, &s->problem.value};
    attn_tensor narrow[PLACES], wide[PLACES], d_output[2];
    make_d_output(&s->problem.output, s->spec.seed, d_output);
    for (int n = 0; n < PLACES; n++) {
        narrow[n] = tensor_copy(inputs[n], ATTN_F32);
        wide[n] = tensor_copy(inputs[n], ATTN_F64);
    }
    run_places(&s->problem, &d_output[0], narrow);
    attn_problem widened = o->problem;
    widened.lse = (attn_tensor){0}; /* the oracle's, for any normalizer */
    run_places(&widened, &d_output[1], wide);
    for (int n = 0; n < PLACES; n++) {
        const attn_tensor rounded = tensor_copy(&wide[n], ATTN_F32);
        assert_same_bits(&narrow[n], &rounded, sample_text(s, ATTN_ISA_BEST));
        free(rounded.data), free(narrow[n].data), free(wide[n].data);
    }
    free(d_output[0].data), free(d_output[1].data);
}

/* float32 in any layout is float64 of the same numbers, rounded once. */
static void type_and_layout_only_round(void **state) {
    (void)state;
    sample *const s = malloc(sizeof *s);
    oracle *const o = malloc(sizeof *o);
    assert_true(s != NULL && o != NULL);
    for (uint64_t seed = 1; seed <= 60; seed++) {
        spec what = any_spec(seed, 7, 4);
        what.dtype = ATTN_F32;
        what.layout = LAYOUT_ANY;
        what.views = 0;
        what.results = WANT_OUTPUT;
        what.terms &= ~(unsigned)TERM_SCORE_CALL; /* whose scores are rounded */
        sample_make(s, &what);
        oracle_make(o, s);
        compare_types(s, o);
        oracle_free(o);
        sample_free(s);
    }
    free(s), free(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_of_two),
        cmocka_unit_test(log_sum_exp_alone),
        cmocka_unit_test(sink_takes_its_share),
        cmocka_unit_test(sink_alone),
        cmocka_unit_test(temperature_and_bias),
        cmocka_unit_test(soft_cap),
        cmocka_unit_test(sigmoid),
        cmocka_unit_test(sparsemax),
        cmocka_unit_test(entmax),
        cmocka_unit_test(flat_normalizers),
        cmocka_unit_test(entropy_and_what_is_received),
        cmocka_unit_test(cosine),
        cmocka_unit_test(additive),
        cmocka_unit_test(forward_mode),
        cmocka_unit_test(hidden_reaches_nothing),
        cmocka_unit_test(visible_reaches_its_rows),
        cmocka_unit_test(score_of_minus_infinity),
        cmocka_unit_test(type_and_layout_only_round),
    };
    return cmocka_run_group_tests_name("reference gradients", tests, NULL, NULL);
}

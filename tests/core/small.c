/* small.c: see small.h. */
#include "small.h"

#include <math.h>

const double small_ones[MOST] = {1, 1, 1, 1, 1, 1};

void assert_number(double result, double expected, double bound) {
    if (result == expected || fabs(result - expected) <= bound) return;
    fail_msg("%.17g, but expected %.17g, within %g", result, expected, bound);
}

void assert_near(double result, double expected) {
    assert_number(result, expected, 88 * 0x1p-53 * fmax(1, fabs(expected)));
}

const double *small_keys(void) {
    static double keys[MOST];
    for (int j = 0; j < MOST; j++) keys[j] = log(j + 1);
    return keys;
}

void small_make(small *s, int64_t n_query, int64_t n_key) {
    *s = (small){.value = {1, 2, 3, 4, 5, 6}};
    for (int i = 0; i < MOST; i++) s->output[i] = s->lse[i] = NAN;
    for (int i = 0; i < MOST * MOST; i++) s->weights[i] = NAN;
    s->problem.query = attn_tensor_f64(small_ones, 1, 1, n_query, 1);
    s->problem.key = attn_tensor_f64(small_keys(), 1, 1, n_key, 1);
    s->problem.value = attn_tensor_f64(s->value, 1, 1, n_key, 1);
    s->problem.score.scale = 1;
    s->problem.output = attn_tensor_f64(s->output, 1, 1, n_query, 1);
    s->problem.lse = attn_tensor_f64(s->lse, 1, 1, n_query, 1);
    s->problem.weights = attn_tensor_f64(s->weights, 1, 1, n_query, n_key);
}

void small_run(small *s) {
    if (attn_reference_forward(&s->problem) != ATTN_OK) fail_msg("%s", attn_error_message());
}

void assert_small_row(const small *s, int64_t i, const double *terms, double sink) {
    const int64_t n_key = s->problem.weights.shape[3];
    double sum = sink, output = 0;
    for (int64_t j = 0; j < n_key; j++) sum += terms[j];
    for (int64_t j = 0; j < n_key; j++) {
        const double weight = sum > 0 ? terms[j] / sum : 0;
        output += weight * s->value[j];
        if (terms[j] == 0) assert_true(s->weights[i * n_key + j] == 0);
        assert_near(s->weights[i * n_key + j], weight);
    }
    assert_near(s->output[i], output);
    assert_near(s->lse[i], log(sum));
}

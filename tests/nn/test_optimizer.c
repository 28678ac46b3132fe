/* Steps, rates and averages against plain scalar versions and values worked out by hand. Built with the
 * library of double and with that of float. */
#include "attn/nn.h"

#include "noise.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef attn_nn_real real;

#ifdef ATTN_NN_DOUBLE
static const double u = DBL_EPSILON / 2;
#else
static const double u = (double)FLT_EPSILON / 2;
#endif

/* Second-order terms of the bounds: (1 + 20 u)^20 is less, in either type. */
static const double slack = 1.001;

static void assert_near(double is, long double expected, double bound) {
    if (!(fabsl(is - expected) <= bound)) {
        print_error("%.17g, expected %.17Lg within %.3g\n", is, expected, bound);
        fail();
    }
}

static real *make(int64_t count, uint64_t stream) {
    real *const x = calloc((size_t)count, sizeof *x);
    for (int64_t i = 0; i < count; i++) {
        x[i] = (real)(2 * attn_nn_uniform(attn_nn_noise_at(stream, (uint64_t)i).a) - 1);
    }
    return x;
}

static real *copy_of(const real *x, int64_t count) {
    real *const y = calloc((size_t)count, sizeof *y);
    memcpy(y, x, (size_t)count * sizeof *y);
    return y;
}

/* --- AdamW ---------------------------------------------------------------------------------------- */

enum { COUNT = 1003 };

typedef struct arrays {
    real *values, *gradients, *mean, *square;
} arrays;

static arrays arrays_of(uint64_t seed) {
    arrays a = {make(COUNT, seed), make(COUNT, seed + 1), calloc(COUNT, sizeof(real)),
                calloc(COUNT, sizeof(real))};
    return a;
}

static arrays arrays_like(const arrays *a) {
    arrays b = {copy_of(a->values, COUNT), copy_of(a->gradients, COUNT), copy_of(a->mean, COUNT),
                copy_of(a->square, COUNT)};
    return b;
}

static void free_arrays(arrays *a) {
    free(a->values);
    free(a->gradients);
    free(a->mean);
    free(a->square);
}

static void step_range(arrays *a, const attn_nn_adam_options *o, const attn_nn_layout *layout,
                       int64_t step, int64_t first, int64_t count) {
    attn_nn_adam(NULL, o, layout, 0.01, 0.7, step, first, count, a->values, a->gradients, a->mean,
                 a->square);
}

/* check_element's own roundings are to be nothing beside u. Valgrind computes long double as double. */
static void need_long_double(void) {
    const volatile long double one = 1, little = u / 64;
    if (one + little != one) return;
    print_message(
        "SKIP: long double has no more digits here than the numbers that it is to check\n");
    skip();
}

/* One step from `was` to `is` in long double, its constants rounded as those of the library are. With
 * every operation off by u, relatively:
 *   g: u. (1 - keep)g: 2u; 1 - keep itself is exact (Sterbenz) as keep >= 1/2.
 *   mean: u(2|(1 - keep)g| + |keep mean| + |sum|), the second where there is no fused product.
 *   square: (1 - keep)g g is a product of two g and two roundings, 4u; no term is negative; 5u.
 *   1/(1 - keep^step): its computation in double 6 half ulps at most, log and expm1 one ulp each, a
 *   product, a division, and |x e^x/(e^x - 1)| <= 1 for x < 0, so what x is off is not amplified; with
 *   the rounding 7u.
 *   root: (5u + 7u + u)/2 + u for itself + u for epsilon: 8.5u.
 *   quotient: 7u + u + 8.5u + u = 17.5u, and what mean is off.
 *   then a product with decay, a sum, a product with rate, a difference. */
static void check_element(const arrays *was, const arrays *is, const attn_nn_adam_options *o,
                          double decay, int64_t step, int64_t i) {
    const long double keep1 = (real)o->mean_keep, keep2 = (real)o->square_keep;
    const long double rate = (real)0.01, epsilon = (real)o->epsilon, less = (real)decay;
    const long double g = (long double)(real)0.7 * was->gradients[i];
    const long double mean = keep1 * was->mean[i] + (1 - keep1) * g;
    const long double square = keep2 * was->square[i] + (1 - keep2) * g * g;
    const long double by1 = 1 / (1 - powl((long double)o->mean_keep, (long double)step));
    const long double by2 = 1 / (1 - powl((long double)o->square_keep, (long double)step));
    const long double root = sqrtl(square * by2) + epsilon;
    const long double move = mean * by1 / root, shrink = less * was->values[i];
    const long double value = was->values[i] - rate * (move + shrink);
    const double mean_off =
        slack * u *
        (double)(2 * fabsl((1 - keep1) * g) + fabsl(keep1 * was->mean[i]) + fabsl(mean));
    assert_near(is->mean[i], mean, mean_off);
    assert_near(is->square[i], square, 5 * u * (double)square * slack);
    const double off = 17.5 * u * (double)fabsl(move) + mean_off * (double)(by1 / root) +
                       u * (double)(fabsl(shrink) + 2 * fabsl(move + shrink));
    assert_near(is->values[i], value, ((double)rate * off + u * fabs((double)value)) * slack);
}

static const attn_nn_adam_options adam_options = {0.9, 0.98, 1e-9, 0.1};

static void adam_as_written(void **state) {
    (void)state;
    need_long_double();
    arrays a = arrays_of(1);
    for (int64_t step = 1; step <= 40; step++) {
        arrays was = arrays_like(&a);
        step_range(&a, &adam_options, NULL, step, 0, COUNT);
        for (int64_t i = 0; i < COUNT; i++) {
            check_element(&was, &a, &adam_options, adam_options.decay, step, i);
        }
        free_arrays(&was);
        free(a.gradients);
        a.gradients = make(COUNT, 100 + (uint64_t)step);
    }
    free_arrays(&a);
}

/* The first step moves each value by the rate, against its gradient's sign, whatever its size: mean and
 * square are g and g^2 after correction, epsilon is 1e-8 of |g| > 1e-1 at most. The bound is that of
 * check_element with |move| = 1: (17.5 + 3 + 2)u and u for the value, and epsilon's share. */
static void first_step_by_hand(void **state) {
    (void)state;
    real values[] = {1, 1, -2, 0}, gradients[] = {(real)0.5, -3, 100, (real)0.125};
    real mean[4] = {0}, square[4] = {0};
    const attn_nn_adam_options o = {0}; /* the defaults */
    attn_nn_adam(NULL, &o, NULL, 0.125, 1, 1, 0, 4, values, gradients, mean, square);
    static const double expected[] = {0.875, 1.125, -2.125, -0.125};
    for (int i = 0; i < 4; i++) {
        assert_near(values[i], expected[i], 0.125 * (22.5 * u + 1e-8) + 3 * u);
        assert_near(mean[i], 0.1 * (double)gradients[i], 3 * u * fabs((double)gradients[i]));
        assert_near(square[i], 0.02 * (double)gradients[i] * (double)gradients[i],
                    6 * u * (double)gradients[i] * (double)gradients[i]);
    }
}

static void adam_in_ranges(void **state) {
    (void)state;
    arrays whole = arrays_of(7), parts = arrays_of(7);
    for (int64_t step = 1; step <= 3; step++) {
        step_range(&whole, &adam_options, NULL, step, 0, COUNT);
        static const int64_t cuts[] = {0, 1, 17, 500, COUNT};
        for (int i = 3; i >= 0; i--) {
            step_range(&parts, &adam_options, NULL, step, cuts[i], cuts[i + 1] - cuts[i]);
        }
        assert_memory_equal(whole.values, parts.values, COUNT * sizeof(real));
        assert_memory_equal(whole.mean, parts.mean, COUNT * sizeof(real));
        assert_memory_equal(whole.square, parts.square, COUNT * sizeof(real));
    }
    free_arrays(&whole);
    free_arrays(&parts);
}

/* Parameters of one row do not decay; nothing beyond the range moves. */
static void adam_with_a_layout(void **state) {
    (void)state;
    need_long_double();
    attn_nn_layout layout = {0};
    const int64_t matrix = attn_nn_layout_add(&layout, "matrix", 20, 21, ATTN_NN_ZERO, 0);
    const int64_t vector = attn_nn_layout_add(&layout, "vector", 1, 37, ATTN_NN_ZERO, 0);
    const int64_t last = attn_nn_layout_add(&layout, "last", 3, 100, ATTN_NN_ZERO, 0);
    assert_true(layout.size <= COUNT);
    arrays a = arrays_of(5), was = arrays_like(&a);
    const int64_t first = 10, end = last + 50;
    step_range(&a, &adam_options, &layout, 1, first, end - first);
    for (int64_t i = 0; i < COUNT; i++) {
        const bool in_matrix = i >= matrix && i < matrix + 420, in_last = i >= last;
        const bool in_vector = i >= vector && i < vector + 37;
        if (i >= first && i < end && (in_matrix || in_vector || in_last)) {
            check_element(&was, &a, &adam_options, in_vector ? 0 : adam_options.decay, 1, i);
        } else {
            assert_true(a.values[i] == was.values[i] && a.mean[i] == 0 && a.square[i] == 0);
        }
    }
    free_arrays(&a);
    free_arrays(&was);
    attn_nn_layout_free(&layout);
}

/* Whole numbers: their squares' sum is exact in either type, and its root is rounded once. */
static void lengths(void **state) {
    (void)state;
    enum { MOST = 10000 };
    real x[MOST];
    double sum = 0;
    for (int i = 0; i < MOST; i++) {
        x[i] = (real)(i % 7 - 3);
        sum += (double)x[i] * (double)x[i];
    }
    assert_true(attn_nn_length(NULL, x, MOST) == sqrt(sum));
    assert_true(attn_nn_length(NULL, x, 1) == 3);
    assert_true(attn_nn_length(NULL, x, 0) == 0);
}

static void clipping(void **state) {
    (void)state;
    assert_true(attn_nn_clip(2, 1) == 0.5);
    assert_true(attn_nn_clip(0.5, 1) == 1);
    assert_true(attn_nn_clip(1, 1) == 1);
    assert_true(attn_nn_clip(1000, 0) == 1);
    assert_true(attn_nn_clip(0, 1) == 1);
    assert_true(attn_nn_clip(INFINITY, 1) == 0);
    assert_true(attn_nn_clip(NAN, 1) == 0);
    assert_true(attn_nn_clip(NAN, 0) == 0);
    assert_true(attn_nn_clip(INFINITY, 0) == 0);
}

/* --- Rates ---------------------------------------------------------------------------------------- */

/* Each rate is a quotient, two products and a sum or two of numbers up to the peak 1, and a cosine or a
 * root off by an ulp: 8 ulps, in double, is more. */
static void assert_rate(const attn_nn_schedule *s, int64_t step, double expected) {
    assert_near(attn_nn_rate(s, step), expected, 8 * DBL_EPSILON);
}

static void rates_by_hand(void **state) {
    (void)state;
    attn_nn_schedule s = {ATTN_NN_CONSTANT, 1, 4, 0, 0};
    for (int kind = 0; kind < 4; kind++) {
        s.kind = (attn_nn_schedule_kind)kind, s.steps = 20, s.floor = 0.25;
        assert_rate(&s, 1, 0.25);
        assert_rate(&s, 3, 0.75);
        assert_rate(&s, 4, 1);
    }
    s.kind = ATTN_NN_CONSTANT;
    assert_rate(&s, 1000, 1);
    s.kind = ATTN_NN_INVERSE_ROOT;
    assert_rate(&s, 16, 0.5);
    assert_rate(&s, 100, 0.2);
    s.kind = ATTN_NN_LINEAR; /* from 1 at 4 to 0.25 at 20 */
    assert_rate(&s, 12, 0.625);
    assert_rate(&s, 19, 0.25 + 0.75 / 16);
    assert_rate(&s, 20, 0.25);
    assert_rate(&s, 21, 0.25);
    s.kind = ATTN_NN_COSINE; /* the cosines of 60 and 90 degrees */
    s.steps = 16;
    assert_rate(&s, 8, 0.25 + 0.75 * 0.75);
    assert_rate(&s, 10, 0.625);
    assert_rate(&s, 16, 0.25);
    assert_rate(&s, 99, 0.25);
}

static void rates_at_the_edges(void **state) {
    (void)state;
    attn_nn_schedule s = {ATTN_NN_INVERSE_ROOT, 1, 0, 0, 0};
    assert_rate(&s, 1, 1); /* no warm-up: as after one of one step */
    assert_rate(&s, 4, 0.5);
    s.kind = ATTN_NN_LINEAR, s.warm_up = 8, s.steps = 8;
    assert_rate(&s, 4, 0.5);
    assert_rate(&s, 8, 0); /* over as soon as it is warm */
    s.kind = ATTN_NN_COSINE, s.steps = 2;
    assert_rate(&s, 4, 0.5);
    assert_rate(&s, 8, 0);
}

/* --- Averages ------------------------------------------------------------------------------------- */

/* Each addition of numbers up to 1 rounds keep, 1 - keep, a product and a sum: off by 4u at most, and
 * what was off before shrinks. */
static void plain_average(void **state) {
    (void)state;
    enum { CHECKPOINTS = 6 };
    real average[COUNT];
    double sum[COUNT] = {0};
    for (int i = 0; i < COUNT; i++) average[i] = (real)NAN;
    for (int n = 0; n < CHECKPOINTS; n++) {
        real *const values = make(COUNT, 40 + (uint64_t)n);
        attn_nn_average(NULL, average, values, n / (n + 1.0), COUNT);
        for (int i = 0; i < COUNT; i++) {
            sum[i] += (double)values[i];
            assert_near(average[i], sum[i] / (n + 1), 4 * u * (n + 1) * slack);
        }
        free(values);
    }
}

static void moving_average(void **state) {
    (void)state;
    real average[COUNT] = {0};
    double expected[COUNT] = {0};
    for (int64_t step = 1; step <= 30; step++) {
        real *const values = make(COUNT, 90 + (uint64_t)step);
        const double keep = attn_nn_average_keep(0.75, step);
        assert_near(keep, step >= 31 ? 0.75 : (double)(step - 1) / (double)(step + 9), DBL_EPSILON);
        attn_nn_average(NULL, average, values, keep, COUNT);
        for (int i = 0; i < COUNT; i++) {
            expected[i] = keep * expected[i] + (1 - keep) * (double)values[i];
            assert_near(average[i], expected[i], 4 * u * (double)step * slack);
        }
        free(values);
    }
    assert_true(attn_nn_average_keep(0.75, 1) == 0);
    assert_true(attn_nn_average_keep(0.75, 31) == 0.75);
    assert_true(attn_nn_average_keep(0.75, 32) == 0.75);
}

/* Sizes whose product, or sum, is beyond all arrays; nothing is added. */
static void a_layout_that_is_too_large(void **state) {
    (void)state;
    const int64_t large = (int64_t)1 << 40;
    attn_nn_layout layout = {0};
    (void)attn_nn_layout_add(&layout, "fits", large, 1 << 15, ATTN_NN_ZERO, 0);
    assert_false(layout.failed);
    (void)attn_nn_layout_add(&layout, "too many", large, large, ATTN_NN_ZERO, 0);
    assert_true(layout.failed);
    layout.failed = false;
    (void)attn_nn_layout_add(&layout, "the rest, and one", large + 1, 1 << 15, ATTN_NN_ZERO, 0);
    assert_true(layout.failed);
    assert_int_equal(layout.count, 1);
    attn_nn_layout_free(&layout);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adam_as_written),
        cmocka_unit_test(first_step_by_hand),
        cmocka_unit_test(adam_in_ranges),
        cmocka_unit_test(adam_with_a_layout),
        cmocka_unit_test(lengths),
        cmocka_unit_test(clipping),
        cmocka_unit_test(rates_by_hand),
        cmocka_unit_test(rates_at_the_edges),
        cmocka_unit_test(plain_average),
        cmocka_unit_test(moving_average),
        cmocka_unit_test(a_layout_that_is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Halves and 8 bits: every half, every point between two, and the bound of a quantised row. */
#include "support.h"

#include "numbers.h"

#include <math.h>

enum { LARGEST = 0x7BFF }; /* 65504 */

/* By the definition of binary16, in double, which holds all of it. */
static double half_by_definition(unsigned half) {
    const unsigned exponent = half >> 10 & 31, fraction = half & 1023;
    const double magnitude =
        exponent == 0 ? ldexp(fraction, -24) : ldexp(1024.0 + fraction, (int)exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

static void test_each_half(void **state) {
    (void)state;
    for (unsigned half = 0; half <= 0xFFFF; half++) {
        const float x = model_float_from_half((uint16_t)half);
        if ((half & 0x7C00) == 0x7C00) {
            assert_true((half & 0x3FF) ? isnan(x) : isinf(x));
            if (isinf(x)) assert_int_equal(signbit(x) != 0, half >> 15);
        } else {
            assert_true((double)x == half_by_definition(half));
        }
        if (!isnan(x)) assert_int_equal(model_half_from_float(x), half);
        else assert_true(isnan(model_float_from_half(model_half_from_float(x))));
    }
}

static void check_rounding(float x, unsigned expected) {
    assert_int_equal(model_half_from_float(x), expected);
    assert_int_equal(model_half_from_float(-x), expected | 0x8000);
}

/* The point between two neighbours has one bit more than they do, so a float holds it; it goes to the
 * one that is even, and the floats beside it to the nearer one. */
static void test_between_halves(void **state) {
    (void)state;
    for (unsigned half = 0; half < LARGEST; half++) {
        const float low = model_float_from_half((uint16_t)half);
        const float high = model_float_from_half((uint16_t)(half + 1));
        const float middle = low + (high - low) / 2;
        check_rounding(middle, half & 1 ? half + 1 : half);
        check_rounding(nextafterf(middle, 0), half);
        check_rounding(nextafterf(middle, INFINITY), half + 1);
    }
}

/* Beyond the largest half, as if 65536 were one: the point between is 65520. */
static void test_ends_of_halves(void **state) {
    (void)state;
    check_rounding(nextafterf(65520, 0), LARGEST);
    check_rounding(65520, 0x7C00);
    check_rounding(3e38F, 0x7C00);
    check_rounding(0x1p-25F, 0); /* a tie between 0 and the least */
    check_rounding(nextafterf(0x1p-25F, 1), 1);
    check_rounding(0x1p-149F, 0);
}

/* How far q * scale may be from x, in real numbers. The quotient, at most 127, is rounded in double to
 * within 127 * 2^-53 < 2^-46, and then to the nearest whole number. */
static double quantised_error(float scale) {
    return (0.5 + 0x1p-46) * (double)scale;
}

static void check_row(const float *row, int64_t count) {
    const float scale = model_scale(row, count);
    double largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)row[i]));
    /* The smallest float that reaches: 127 * scale is exact in double. */
    assert_true(127.0 * (double)scale >= largest);
    if (scale > 0) assert_true(127.0 * (double)nextafterf(scale, 0) < largest);
    for (int64_t i = 0; i < count; i++) {
        const int8_t q = model_quantize(row[i], scale);
        assert_in_range(q + 127, 0, 254);
        assert_true(fabs((double)q * (double)scale - (double)row[i]) <= quantised_error(scale));
    }
}

static void test_rows_of_bytes(void **state) {
    (void)state;
    static const float magnitudes[] = {1, 3e38F, 1e-3F, 0x1p-126F, 0x1p-140F, 0x1p-149F, 0};
    uint32_t bits = 1;
    for (size_t m = 0; m < sizeof magnitudes / sizeof *magnitudes; m++) {
        for (int64_t count = 1; count <= 40; count++) {
            float row[40];
            for (int64_t i = 0; i < count; i++) {
                bits = bits * 1664525u + 1013904223u; /* Numerical Recipes' */
                row[i] = magnitudes[m] * ((float)(bits >> 8) * 0x1p-23F - 1);
            }
            check_row(row, count);
        }
    }
}

static void test_bytes_by_hand(void **state) {
    (void)state;
    static const float row[] = {-254, 254, 1, 3, 5, -1, -3, 2, 0};
    static const int8_t expected[] = {-127, 127, 0, 2, 2, 0, -2, 1, 0}; /* halves: to even */
    const float scale = model_scale(row, 9);
    assert_true(scale == 2);
    for (int i = 0; i < 9; i++) assert_int_equal(model_quantize(row[i], scale), expected[i]);
    static const float zeros[] = {0, -0.0F};
    assert_true(model_scale(zeros, 2) == 0);
    assert_int_equal(model_quantize(0, 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_half),      cmocka_unit_test(test_between_halves),
        cmocka_unit_test(test_ends_of_halves), cmocka_unit_test(test_rows_of_bytes),
        cmocka_unit_test(test_bytes_by_hand),
    };
    return cmocka_run_group_tests_name("numbers", tests, NULL, NULL);
}

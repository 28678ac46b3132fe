/* test_tiles_sparse.c: as test_tiles.c: WEIGH element by element, by a threshold, and by the
 * greatest. */
#include "tiles_support.h"

#include <math.h>
#include <stdlib.h>

/* -------------------------------------------------------------------------- element by element */

/* What a weight of z is, and how far from it one of z + dz may be. exp2's argument rounds twice, so
 * its bound counts once more; the sum and the quotient of the sigmoid round once each, and a
 * sigmoid changes by no more than dz times itself. */
static double elementwise(attn_elementwise kind, double z) {
    switch (kind) {
    case ATTN_WEIGH_SIGMOID: return 1 / (1 + exp(-z));
    case ATTN_WEIGH_RELU: return fmax(z, 0);
    case ATTN_WEIGH_RELU_SQUARED: return pow(fmax(z, 0), 2);
    case ATTN_WEIGH_LINEAR: break;
    }
    return z == -INFINITY ? 0 : z;
}

static double elementwise_bound(const bench *b, attn_elementwise kind, double z, double dz) {
    const double w = elementwise(kind, z), x = -fabs(z) * ATTN_LOG2_E;
    switch (kind) {
    case ATTN_WEIGH_SIGMOID:
        return exp2_bound(b, x) + b->u * fabs(x) * exp2(x) + (dz + 4 * b->u) * w;
    case ATTN_WEIGH_RELU_SQUARED: return 2 * dz * fmax(z, 0) + dz * dz + 2 * b->u * w;
    case ATTN_WEIGH_RELU:
    case ATTN_WEIGH_LINEAR: break;
    }
    return dz;
}

/* A hidden pair has no weight, NaN passes. factor*score + bias is off by 1 u of itself, here as
 * there, and by 1 u of the product if that is not fused. */
static void check_weigh_each(bench *b) {
    const tile t = make_scores(b, false);
    const attn_elementwise kind = (attn_elementwise)draw_int(b, 0, ATTN_WEIGH_LINEAR);
    const double factor = rounded(b, 0.7 * draw_int(b, 1, 9)), bias = 0.5 * draw_int(b, -4, 4);
    for (int64_t k = 0; k < t.all.count; k++) {
        if (draw_one_in(&b->from, 20)) set(&t.all, k, NAN);
    }
    const array before = copy(b, &t.all);
    b->t->weigh_each(t.all.data, t.keys, t.width, kind, factor, bias);
    for (int64_t k = 0; k < t.all.count; k++) {
        const double s = get(&before, k), z = fma(factor, s, bias);
        const double dz = b->u * (2 * fabs(z) + fabs(factor * s));
        if (s == -INFINITY || isnan(s)) assert_bounded(get(&t.all, k), isnan(s) ? NAN : 0, 0);
        else
            assert_bounded(get(&t.all, k), elementwise(kind, z), elementwise_bound(b, kind, z, dz));
    }
}

/* ------------------------------------------------------------------------------------- maxima */

/* Lanes beyond the keys are not looked at; rows with a NaN, now or before, have NaN for a
 * maximum. */
static void check_maxima_of(bench *b, bool few) {
    const tile t = make_scores(b, few);
    const array all = scratch(b, t.rows), of_tile = scratch(b, t.rows);
    const bool with_tile = draw_one_in(&b->from, 2);
    pad_tile(&t, 1e9);
    for (int q = 0; q < t.rows; q++) {
        static const double before[] = {-INFINITY, -1e9, 0, 1e9, NAN};
        set(&all, q, before[draw_int(b, 0, 4)]);
        if (draw_one_in(&b->from, 5)) set(&t.all, place(&t, draw_int(b, 0, t.keys - 1), q), NAN);
    }
    const array before = copy(b, &all);
    if (few) {
        b->t->maxima_few(t.all.data, t.keys, t.rows, t.width, with_tile ? of_tile.data : NULL,
                         all.data);
    } else {
        b->t->maxima(t.all.data, t.keys, t.width, with_tile ? of_tile.data : NULL, all.data);
    }
    for (int q = 0; q < t.rows; q++) {
        double most = -INFINITY;
        for (int k = 0; k < t.keys; k++) {
            const double s = get(&t.all, place(&t, k, q));
            most = isnan(s) || isnan(most) ? NAN : fmax(most, s);
        }
        const double old = get(&before, q);
        assert_bounded(get(&of_tile, q), with_tile ? most : NAN, 0);
        assert_bounded(get(&all, q), isnan(old) || isnan(most) ? NAN : fmax(old, most), 0);
    }
}

static void check_maxima(bench *b) {
    check_maxima_of(b, false);
}

static void check_maxima_few(bench *b) {
    check_maxima_of(b, true);
}

/* The first of those equal to the maximum, if it has not been seen in a tile before; a NaN
 * stays. */
static void check_hardmax(bench *b) {
    const tile t = make_tile(b, draw_one_in(&b->from, 2));
    const array maximum = scratch(b, t.rows), value = scratch(b, t.rows);
    for (int64_t k = 0; k < t.all.count; k++)
        set(&t.all, k, draw_one_in(&b->from, 3) ? -INFINITY : (double)draw_int(b, 0, 6));
    for (int q = 0; q < t.rows; q++) {
        static const double greatest[] = {6, 5, 7, -INFINITY};
        set(&maximum, q, greatest[draw_int(b, 0, 3)]);
        set(&value, q, draw_int(b, 0, 1));
        if (draw_one_in(&b->from, 5)) set(&t.all, place(&t, draw_int(b, 0, t.keys - 1), q), NAN);
    }
    const array before = copy(b, &t.all), found = copy(b, &value);
    b->t->hardmax(t.all.data, t.key_stride, t.row_stride, t.keys, t.rows, maximum.data, value.data);
    for (int q = 0; q < t.rows; q++) {
        double sum = get(&found, q);
        for (int k = 0; k < t.keys; k++) {
            const double s = get(&before, place(&t, k, q)), m = get(&maximum, q);
            const double w = isnan(s) ? NAN : s == m && m > -INFINITY && sum == 0 ? 1 : 0;
            assert_bounded(get(&t.all, place(&t, k, q)), w, 0);
            sum += w;
        }
        assert_bounded(get(&value, q), sum, 0);
        for (int k = t.keys; t.few && k < t.width; k++)
            assert_true(get(&t.all, place(&t, k, q)) == get(&before, place(&t, k, q)));
    }
}

/* ---------------------------------------------------------------------------------- thresholds */

typedef struct thresholds {
    array base, threshold, step, value, slope;
    attn_rows_of_threshold rows;
} thresholds;

/* Sparsemax, 1.5-entmax, and entmax of some alpha below and above 2. */
static thresholds make_thresholds(bench *b, int rows) {
    static const double alphas[] = {2, 1.5, 1.2, 1.7, 3};
    const double alpha = alphas[draw_int(b, 0, (int)COUNT(alphas) - 1)];
    const int width = padded(b, rows);
    thresholds t = {scratch(b, width), scratch(b, width),
                    scratch(b, width), scratch(b, width),
                    scratch(b, width), {.exponent = rounded(b, 1 / (alpha - 1))}};
    t.rows.power = alpha == 2 ? ATTN_POWER_ONE : alpha == 1.5 ? ATTN_POWER_TWO : ATTN_POWER_ANY;
    t.rows.factor = rounded(b, 0.1 * draw_int(b, 1, 15));
    t.rows.base = t.base.data, t.rows.threshold = t.threshold.data, t.rows.step = t.step.data;
    t.rows.value = t.value.data, t.rows.slope = t.slope.data;
    return t;
}

/* An empty row has a maximum too: 0. */
static void check_begin_threshold(bench *b) {
    const int width = draw_width(b);
    const thresholds t = make_thresholds(b, width);
    const array maximum = scratch(b, width);
    for (int q = 0; q < width; q++) set(&maximum, q, q % 3 ? draw_int(b, -99, 99) / 7. : -INFINITY);
    b->t->begin_threshold(maximum.data, width, &t.rows);
    for (int q = 0; q < width; q++) {
        const double m = get(&maximum, q);
        assert_true(get(&t.base, q) == (m == -INFINITY ? 0 : rounded(b, t.rows.factor * m)));
        assert_true(get(&t.threshold, q) == -1 && get(&t.step, q) == 1);
        assert_true(get(&t.value, q) == 0 && get(&t.slope, q) == 0);
    }
}

/* Small whole numbers, so that a maximum may equal its threshold; one above it in one row, at
 * most. */
static void check_any_above(bench *b) {
    const int rows = draw_int(b, 1, b->t->block), odd = draw_int(b, -rows, rows - 1);
    const thresholds t = make_thresholds(b, rows);
    const array maximum = scratch(b, rows);
    attn_rows_of_threshold of_rows = t.rows;
    of_rows.factor = 0.5;
    for (int q = 0; q < rows; q++) {
        const double base = draw_int(b, -9, 9), threshold = draw_int(b, -8, -1) / 8.;
        set(&t.base, q, base);
        set(&t.threshold, q, threshold);
        set(&maximum, q, draw_one_in(&b->from, 3) ? -INFINITY : 2 * (base + threshold));
    }
    if (odd >= 0) {
        const double x = 2 * (get(&t.base, odd) + get(&t.threshold, odd) + 0.125);
        set(&maximum, odd, draw_one_in(&b->from, 3) ? NAN : x);
    }
    assert_int_equal(b->t->any_above(maximum.data, rows, &of_rows), odd >= 0);
}

/* r^e for r > 0; and minus the derivative of it by the threshold. */
static double power_of(const attn_rows_of_threshold *rows, double r) {
    return r > 0 ? pow(r, rows->exponent) : 0;
}

static double slope_of(const attn_rows_of_threshold *rows, double r) {
    return r > 0 ? rows->exponent * pow(r, rows->exponent - 1) : 0;
}

/* x - threshold of a score, and how far it may be off: 1 u of x and of itself, here as there, and 1
 * u of the product where it is not fused. */
typedef struct excess {
    double r, off;
} excess;

static excess excess_of(const thresholds *t, int q, double score) {
    const bench *const b = t->base.b;
    const double x = fma(t->rows.factor, score, -get(&t->base, q)), r = x - get(&t->threshold, q);
    if (score == -INFINITY) return (excess){-1, 0};
    return (excess){r, b->u * (fabs(t->rows.factor * score) + 2 * (fabs(x) + fabs(r)))};
}

/* How far a function that rises (or falls) with r may be off because r is, and because of its own
 * roundings: r^(e-1) is exp2 of a product of a logarithm (4 u), a difference of the exponent (1 u)
 * and their product (1 u), and a product follows. */
static double power_bound(const thresholds *t, excess x,
                          double (*of)(const attn_rows_of_threshold *, double)) {
    const bench *const b = t->base.b;
    const double low = of(&t->rows, x.r - x.off), high = of(&t->rows, x.r + x.off);
    const double r = fmax(x.r + x.off, 0), exponent = r > 0 ? (t->rows.exponent - 1) * log2(r) : 0;
    const double own = t->rows.power == ATTN_POWER_ANY ? 7 + 5 * fabs(exponent) : 2;
    return fabs(high - low) + own * b->u * fmax(low, high) + b->least;
}

static void run_power_sums(const tile *s, const thresholds *t) {
    const attn_tiles *const of = s->all.b->t;
    (s->few ? of->power_sums_few : of->power_sums)(s->all.data, s->lines, s->width, &t->rows);
}

static void run_power_weights(const tile *s, const thresholds *t) {
    const attn_tiles *const of = s->all.b->t;
    (s->few ? of->power_weights_few : of->power_weights)(s->all.data, s->lines, s->width, &t->rows);
}

/* Scores, a base as large as their maximum and a threshold below it; sums that were there
 * before. */
static thresholds make_thresholds_of(bench *b, const tile *s) {
    const thresholds t = make_thresholds(b, s->rows);
    for (int q = 0; q < s->rows; q++) {
        double most = -INFINITY;
        for (int k = 0; k < s->keys; k++) most = fmax(most, get(&s->all, place(s, k, q)));
        set(&t.base, q, most == -INFINITY ? 0 : t.rows.factor * most);
        set(&t.threshold, q, -0.01 * draw_int(b, 1, 100));
        set(&t.value, q, draw_int(b, 0, 3));
        set(&t.slope, q, draw_int(b, 0, 3));
    }
    return t;
}

/* The slope counts for nothing where the exponent is below 1: move_threshold halves an interval
 * then. */
static void check_power_sums_of(bench *b, bool few) {
    const tile s = make_scores(b, few);
    const thresholds t = make_thresholds_of(b, &s);
    const array value = copy(b, &t.value), slope = copy(b, &t.slope);
    run_power_sums(&s, &t);
    for (int q = 0; q < s.rows; q++) {
        double sum = get(&value, q), slopes = get(&slope, q), off = 0, slope_off = 0;
        for (int k = 0; k < s.keys; k++) {
            const excess x = excess_of(&t, q, get(&s.all, place(&s, k, q)));
            sum += power_of(&t.rows, x.r), off += power_bound(&t, x, power_of);
            slopes += slope_of(&t.rows, x.r), slope_off += power_bound(&t, x, slope_of);
        }
        assert_bounded(get(&t.value, q), sum, off + sum_bound(b, s.keys + 1, sum));
        if (t.rows.exponent >= 1)
            assert_bounded(get(&t.slope, q), slopes, slope_off + sum_bound(b, s.keys + 1, slopes));
    }
}

static void check_power_sums(bench *b) {
    check_power_sums_of(b, false);
}

static void check_power_sums_few(bench *b) {
    check_power_sums_of(b, true);
}

/* A weight may be 0 where the threshold is within a rounding of its score, else is as above; NaN
 * stays in its own row. */
static void check_power_weights_of(bench *b, bool few) {
    const tile s = make_scores(b, few);
    const thresholds t = make_thresholds_of(b, &s);
    const int sick = draw_int(b, -2, s.rows - 1);
    if (sick >= 0) set(&s.all, place(&s, draw_int(b, 0, s.keys - 1), sick), NAN);
    const array before = copy(b, &s.all), value = copy(b, &t.value);
    run_power_weights(&s, &t);
    for (int q = 0; q < s.rows; q++) {
        double sum = get(&value, q), off = 0;
        for (int k = 0; k < s.keys; k++) {
            const double score = get(&before, place(&s, k, q));
            const excess x = excess_of(&t, q, score);
            const double w = isnan(score) ? NAN : power_of(&t.rows, x.r);
            const double w_off = isnan(w) ? 0 : power_bound(&t, x, power_of);
            assert_bounded(get(&s.all, place(&s, k, q)), w, w_off);
            sum += w, off += w_off;
        }
        assert_bounded(get(&t.value, q), sum, off + sum_bound(b, s.keys + 1, sum));
        for (int k = s.keys; few && k < s.width; k++)
            assert_true(get(&s.all, place(&s, k, q)) == 0);
    }
}

static void check_power_weights(bench *b) {
    check_power_weights_of(b, false);
}

static void check_power_weights_few(bench *b) {
    check_power_weights_of(b, true);
}

/* Rows that stopped the last time, which stay where they are; rows that are solved now, rows far from
 * it, rows without weights; beyond the rows nothing moves. Numbers are such that halves and sums are
 * exact; a quotient rounds once. */
static void check_move_threshold(bench *b) {
    const int width = draw_width(b), rows = draw_int(b, 1, width);
    const thresholds t = make_thresholds(b, width);
    const bool newton = t.rows.exponent >= 1, all_solved = draw_one_in(&b->from, 3);
    const double least = 4 * b->u;
    bool expected = false;
    for (int q = 0; q < width; q++) {
        const bool stopped = draw_one_in(&b->from, 4),
                   solved = all_solved || draw_one_in(&b->from, 2);
        const double value =
            solved && newton ? 1 - 0.25 * draw_int(b, 0, 2) : 0.5 * draw_int(b, 0, 9);
        set(&t.threshold, q, -1 + 0.125 * draw_int(b, 0, 7));
        set(&t.step, q, stopped ? least : newton || !solved ? 0.25 : 2 * least);
        set(&t.value, q, value);
        set(&t.slope, q, value == 0 ? 0 : draw_int(b, 1, 9));
        if (q < rows && !stopped) expected |= newton ? value > 1 : !solved;
    }
    const array before = copy(b, &t.threshold), step = copy(b, &t.step), value = copy(b, &t.value),
                slope = copy(b, &t.slope);
    assert_int_equal(b->t->move_threshold(rows, &t.rows), expected);
    for (int q = 0; q < width; q++) {
        const bool moves = q < rows && get(&step, q) > least;
        const double old = get(&before, q), over = get(&value, q) - 1;
        const double by = newton ? (over > 0 ? over / get(&slope, q) : 0) : get(&step, q) / 2;
        const double now = newton ? old + by : fmax(over > 0 ? old + by : old - by, -1);
        assert_bounded(get(&t.step, q), moves ? by : get(&step, q), newton ? b->u * by : 0);
        assert_bounded(get(&t.threshold, q), moves ? now : old,
                       moves ? b->u * (by + 2 * fabs(now)) : 0);
        assert_true(get(&t.value, q) == (q < rows ? 0 : get(&value, q)));
        assert_true(get(&t.slope, q) == (q < rows ? 0 : get(&slope, q)));
    }
}

/* ----------------------------------------------------------------------------------- solutions */

static int descending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The threshold by sorting: in closed form of the first k of them, with k as large as leaves the
 * k-th above it (Martins & Astudillo 2016 for e = 1; Peters et al. 2019 for 2). */
static double sorted_threshold(double *x, int count, double exponent) {
    double threshold = 0;
    qsort(x, (size_t)count, sizeof *x, descending);
    for (int k = 1; k <= count; k++) {
        double mean = 0, spread = 0;
        for (int i = 0; i < k; i++) mean += x[i] / k;
        for (int i = 0; i < k; i++) spread += pow(x[i] - mean, 2);
        const double of_k = exponent == 1 ? mean - 1. / k : mean - sqrt(fmax(1 - spread, 0) / k);
        if (x[k - 1] <= of_k || (exponent == 2 && spread > 1)) break;
        threshold = of_k;
    }
    return threshold;
}

/* For any other exponent: [-1, 0] halved until nothing is left to halve. */
static double halved_threshold(const double *x, int count, const attn_rows_of_threshold *rows) {
    double low = -1, high = 0;
    for (int step = 0; step < 80; step++) {
        const double middle = (low + high) / 2;
        double sum = 0;
        for (int k = 0; k < count; k++) sum += power_of(rows, x[k] - middle);
        *(sum > 1 ? &low : &high) = middle;
    }
    return low;
}

/* The functions stop when a step is within 4 u. Newton's was that of a sum 1 too large by 4 u times
 * its slope, which leaves as much to go if the slope holds, and 16 u unless it falls to a quarter;
 * a halved interval is as long as its last step. Then there is what the sum of up to n powers at a
 * threshold may be off by: n + 7 u, and 5 u times |e - 1| log2(r), of which sum r^e |log2(r)| <=
 * log2(n)/e as r^e add up to 1; of that much the threshold moves by 1/slope, where the slope, sum e
 * r^(e-1), is e or more. And a score may be off as in excess_of, with |x| <= 1 for those above the
 * threshold. */
static double threshold_bound(const bench *b, const thresholds *t, int q, int n) {
    const double e = t->rows.exponent, base = fabs(get(&t->base, q));
    const double sums = n + 7 + 5 * fabs(e - 1) * log2(n) / e;
    return b->u * (16 + sums / e + (base + 1) + 4);
}

/* A row is solved if its weights add up to 1; its threshold is that of the sorted scores; an empty
 * row has no weights. */
static void check_solved_row(bench *b, const tile *s, const array *before, const thresholds *t,
                             int q) {
    double x[ATTN_KEY_BLOCK];
    int count = 0;
    for (int k = 0; k < s->keys; k++) {
        const double score = get(before, place(s, k, q));
        if (score > -INFINITY) x[count++] = fma(t->rows.factor, score, -get(&t->base, q));
    }
    if (count == 0) {
        for (int k = 0; k < s->keys; k++) assert_true(get(&s->all, place(s, k, q)) == 0);
        return;
    }
    const double threshold = t->rows.power == ATTN_POWER_ANY
                                 ? halved_threshold(x, count, &t->rows)
                                 : sorted_threshold(x, count, t->rows.exponent);
    const double off = threshold_bound(b, t, q, count);
    assert_bounded(get(&t->threshold, q), threshold, off);
    for (int k = 0; k < s->keys; k++) {
        excess e = excess_of(t, q, get(before, place(s, k, q)));
        e.r += get(&t->threshold, q) - threshold, e.off += off;
        assert_bounded(get(&s->all, place(s, k, q)), power_of(&t->rows, e.r),
                       power_bound(t, e, power_of));
    }
}

/* From the start to weights, as the driver does; one row is empty. */
static void check_solve_of(bench *b, bool few) {
    enum { MOST_STEPS = 100 };
    const tile s = make_scores(b, few);
    const thresholds t = make_thresholds(b, s.rows);
    const array maximum = scratch(b, padded(b, s.rows));
    for (int k = 0; k < s.keys; k++) set(&s.all, place(&s, k, s.rows / 2), -INFINITY);
    fill_with(&maximum, -INFINITY);
    const array before = copy(b, &s.all);
    if (few) b->t->maxima_few(s.all.data, s.keys, s.rows, s.width, NULL, maximum.data);
    else b->t->maxima(s.all.data, s.keys, s.width, NULL, maximum.data);
    b->t->begin_threshold(maximum.data, padded(b, s.rows), &t.rows);
    int steps = 0;
    do run_power_sums(&s, &t);
    while (b->t->move_threshold(s.rows, &t.rows) && ++steps < MOST_STEPS);
    assert_true(steps < MOST_STEPS);
    run_power_weights(&s, &t);
    for (int q = 0; q < s.rows; q++) check_solved_row(b, &s, &before, &t, q);
}

static void check_solve(bench *b) {
    check_solve_of(b, false);
}

static void check_solve_few(bench *b) {
    check_solve_of(b, true);
}

/* clang-format off */
#define ALL_TESTS(TEST) \
    TEST(weigh_each) TEST(maxima) TEST(maxima_few) TEST(hardmax) TEST(begin_threshold) \
    TEST(any_above) TEST(power_sums) TEST(power_sums_few) TEST(power_weights) \
    TEST(power_weights_few) TEST(move_threshold) TEST(solve) TEST(solve_few)
/* clang-format on */

ALL_TESTS(RANDOM_TEST)

int main(void) {
    const struct CMUnitTest tests[] = {ALL_TESTS(LISTED)};
    return run_on_each_isa("tiles_sparse", tests, COUNT(tests));
}

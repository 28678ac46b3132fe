/* test_tiles_gradient.c: as test_tiles.c: DISTRIBUTE, and the ways back through WEIGH, soft cap, norms and
 * scores that are no products. What is expected is worked out in float64 and rounds as the table's functions
 * do at most, so that in float64 it counts as much again: bounds are doubled (sum_bound does that). */
#include "tiles_support.h"

#include <math.h>
#include <string.h>

/* ----------------------------------------------------------------------------------- distribute */

/* A tile, sources whose rows are whole vectors, and sums that were there before. */
typedef struct distribution {
    tile tile;
    array source, sums;
    int d, rows; /* a tile may have more rows than are asked for */
    int64_t source_stride, sums_stride;
} distribution;

static distribution make_distribution(bench *b) {
    distribution s = {.tile = make_tile(b, draw_one_in(&b->from, 2))};
    s.d = b->t->lanes * draw_int(b, 1, 9);
    s.rows = draw_int(b, 1, s.tile.rows);
    s.source_stride = s.d + draw_int(b, 0, 5);
    s.sums_stride = s.d + draw_int(b, 0, 5);
    s.source = tensor(b, (s.rows - 1) * s.source_stride + s.d);
    s.sums = tensor(b, (s.tile.keys - 1) * s.sums_stride + s.d);
    fill_random(&s.source, 1);
    for (int k = 0; k < s.tile.keys; k++)
        for (int f = 0; f < s.d; f++) set(&s.sums, k * s.sums_stride + f, draw_int(b, -9, 9) / 7.);
    return s;
}

static void run_distribute(const distribution *s, const array *sums) {
    const tile *const t = &s->tile;
    t->all.b->t->distribute(sums->data, s->sums_stride, t->all.data, t->key_stride, t->row_stride,
                            s->source.data, s->source_stride, t->keys, s->d, s->rows);
}

/* n products and the old sum, a rounding more where products are not fused. A NaN comes through even if
 * its weight is 0, in its own feature alone. */
static void check_distribute(bench *b) {
    const distribution s = make_distribution(b);
    const array before = copy(b, &s.sums);
    const int sick = draw_int(b, -s.d, s.d - 1);
    if (sick >= 0) set(&s.source, (s.rows - 1) * s.source_stride + sick, NAN);
    for (int k = 0; k < s.tile.keys; k++) set(&s.tile.all, place(&s.tile, k, s.rows - 1), 0);
    run_distribute(&s, &s.sums);
    for (int k = 0; k < s.tile.keys; k++) {
        for (int f = 0; f < s.d; f++) {
            double sum = get(&before, k * s.sums_stride + f), sizes = fabs(sum);
            for (int r = 0; r < s.rows; r++) {
                const double x = get(&s.tile.all, place(&s.tile, k, r)) *
                                 get(&s.source, r * s.source_stride + f);
                sum += x, sizes += fabs(x);
            }
            assert_bounded(get(&s.sums, k * s.sums_stride + f), sum,
                           sum_bound(b, s.rows + 2, sizes));
        }
    }
    const int64_t sick_numbers = sick >= 0 ? s.tile.keys : 0;
    assert_int_equal(written(&s.sums), (int64_t)s.tile.keys * s.d - sick_numbers);
}

/* The very bits of distribute with weights of 0, whatever stands in rows that no key sees. */
static void check_distribute_visible(bench *b) {
    const distribution s = make_distribution(b);
    const array mask = copy(b, &s.tile.all), expected = copy(b, &s.sums);
    for (int r = 0; r < s.rows; r++) {
        const bool nobody = draw_one_in(&b->from, 4);
        for (int k = 0; k < s.tile.keys; k++) {
            const int64_t at = place(&s.tile, k, r);
            const bool hidden = nobody || draw_one_in(&b->from, 3);
            if (hidden) set(&s.tile.all, at, 0);
            set(&mask, at, hidden ? (double)-INFINITY : draw_one_in(&b->from, 5) ? NAN : 0);
        }
    }
    run_distribute(&s, &expected);
    for (int r = 0; r < s.rows; r++) {
        bool seen = false;
        for (int k = 0; k < s.tile.keys; k++)
            seen |= get(&mask, place(&s.tile, k, r)) != (double)-INFINITY;
        for (int f = 0; !seen && f < s.d; f++)
            set(&s.source, r * s.source_stride + f, f % 2 ? NAN : (double)INFINITY);
    }
    b->t->distribute_visible(s.sums.data, s.sums_stride, s.tile.all.data, mask.data,
                             s.tile.key_stride, s.tile.row_stride, s.source.data, s.source_stride,
                             s.tile.keys, s.d, s.rows);
    for (int64_t i = 0; i < s.sums.count; i++)
        assert_bounded(get(&s.sums, i), get(&expected, i), 0);
}

/* ---------------------------------------------------------------------------------- softmax */

/* A number a row, as tile functions take it: whole vectors, or in few one to a line. */
static array make_row(bench *b, const tile *t, double spread) {
    const array a = scratch(b, t->few ? t->rows : t->width);
    fill_random(&a, spread);
    return a;
}

/* Bases as log-sum-exps are, at or above all scores; of rows that see nothing, of rows that are NaN, and
 * infinite ones. */
static array make_bases(bench *b, const tile *s, double factor) {
    const array base = make_row(b, s, 1);
    for (int q = 0; q < s->rows; q++) {
        double most = -INFINITY;
        if (draw_one_in(&b->from, 6))
            for (int k = 0; k < s->keys; k++) set(&s->all, place(s, k, q), -INFINITY);
        for (int k = 0; k < s->keys; k++) most = fmax(most, get(&s->all, place(s, k, q)));
        most = factor * most + (draw_one_in(&b->from, 2) ? 0 : fabs(get(&base, q)));
        set(&base, q, draw_one_in(&b->from, 9) ? (q % 2 ? NAN : (double)INFINITY) : most);
    }
    return base;
}

/* exp2's own error is at an argument that rounds once; the product does too where it is not fused,
 * which log(2) makes less of. */
static void check_weigh_known(bench *b) {
    const tile s = make_scores(b, draw_one_in(&b->from, 2));
    const double factor = rounded(b, 0.7 * draw_int(b, 1, 9));
    const array base = make_bases(b, &s, factor);
    const int sick = draw_int(b, -s.rows, s.rows - 1);
    if (sick >= 0) set(&s.all, place(&s, s.keys / 2, sick), NAN);
    const array before = copy(b, &s.all);
    b->t->weigh_known(s.all.data, s.lines, s.width, s.few, factor, base.data);
    for (int q = 0; q < s.rows; q++) {
        const double m = get(&base, q);
        for (int k = 0; k < s.keys; k++) {
            const double score = get(&before, place(&s, k, q));
            const double x = fma(factor, score, -(m == -INFINITY ? 0 : m));
            const double w = get(&s.all, place(&s, k, q));
            if (isnan(x) || x == -INFINITY) assert_bounded(w, exp2(x), 0);
            else
                assert_bounded(
                    w, exp2(x),
                    exp2_bound(b, x) +
                        (b->fused ? 0 : sum_bound(b, 1, fabs(factor * score) * exp2(x))));
        }
        for (int k = s.keys; s.few && k < s.width && !isnan(m); k++)
            assert_true(get(&s.all, place(&s, k, q)) == 0);
    }
}

/* A difference and a product; sparse rows do not look at gradients whose slope is 0. */
static void check_center(bench *b) {
    const tile g = make_tile(b, draw_one_in(&b->from, 2));
    const bool sparse = draw_one_in(&b->from, 2);
    const array before = copy(b, &g.all), slope = copy(b, &g.all), mean = make_row(b, &g, 1);
    fill_random(&slope, 1);
    for (int64_t at = 0; at < slope.count; at += 3) {
        set(&slope, at, 0);
        if (sparse) set(&g.all, at, NAN);
    }
    b->t->center(g.all.data, slope.data, g.lines, g.width, g.few, sparse, mean.data);
    for (int q = 0; q < g.rows; q++) {
        for (int k = 0; k < (g.few ? g.width : g.keys); k++) {
            const int64_t at = place(&g, k, q);
            const double x = get(&slope, at) * (get(&before, at) - get(&mean, q));
            if (get(&slope, at) == 0) assert_bounded(get(&g.all, at), 0, 0);
            else assert_bounded(get(&g.all, at), x, sum_bound(b, 2, fabs(x)) + b->least);
        }
    }
}

/* The very bits of weigh_known and center. */
static void check_weigh_and_center(bench *b) {
    const tile s = make_scores(b, draw_one_in(&b->from, 2));
    const double factor = rounded(b, 0.7 * draw_int(b, 1, 9));
    const array base = make_bases(b, &s, factor), mean = make_row(b, &s, 1);
    const array weights = copy(b, &s.all), gradient = copy(b, &s.all);
    fill_random(&gradient, 2);
    const array centered = copy(b, &gradient);
    b->t->weigh_known(weights.data, s.lines, s.width, s.few, factor, base.data);
    b->t->center(centered.data, weights.data, s.lines, s.width, s.few, false, mean.data);
    b->t->weigh_and_center(s.all.data, gradient.data, s.lines, s.width, s.few, factor, base.data,
                           mean.data);
    for (int64_t i = 0; i < s.all.count; i++) {
        assert_bounded(get(&s.all, i), get(&weights, i), 0);
        assert_bounded(get(&gradient, i), get(&centered, i), 0);
    }
}

/* ----------------------------------------------------------------------- other normalizers */

static double elementwise_slope(attn_elementwise kind, double z) {
    const double t = exp(-fabs(z));
    switch (kind) {
    case ATTN_WEIGH_SIGMOID: return t / ((1 + t) * (1 + t));
    case ATTN_WEIGH_RELU: return z > 0;
    case ATTN_WEIGH_RELU_SQUARED: return 2 * fmax(z, 0);
    case ATTN_WEIGH_LINEAR: break;
    }
    return 1;
}

/* As of weigh_each, z is off by dz. A sigmoid's slope s changes by no more than dz s, and by no more than
 * what is off of t, relative: exp2's bound, whose argument rounds twice; two sums, a product, a quotient
 * follow. At a step, either side will do. Then a product. */
static double elementwise_slope_bound(const bench *b, attn_elementwise kind, double z, double dz) {
    const double s = elementwise_slope(kind, z), x = -fabs(z) * ATTN_LOG2_E;
    switch (kind) {
    case ATTN_WEIGH_SIGMOID:
        return s * (exp2_bound(b, x) / exp2(x) + b->u * fabs(x) + dz + sum_bound(b, 5, 1)) +
               b->least;
    case ATTN_WEIGH_RELU: return fabs(z) <= dz;
    case ATTN_WEIGH_RELU_SQUARED: return 2 * dz + sum_bound(b, 1, s);
    case ATTN_WEIGH_LINEAR: break;
    }
    return 0;
}

/* What is hidden has no gradient, whatever stood there; a NaN score passes, but where the slope is the
 * same everywhere it may not. */
static void check_slope_each(bench *b) {
    const tile s = make_scores(b, false);
    const attn_elementwise kind = (attn_elementwise)draw_int(b, 0, ATTN_WEIGH_LINEAR);
    const double factor = rounded(b, 0.7 * draw_int(b, 1, 9)), bias = 0.5 * draw_int(b, -4, 4);
    const array g = copy(b, &s.all);
    fill_random(&g, 1);
    for (int64_t i = 0; i < g.count; i++) {
        if (draw_one_in(&b->from, 20)) set(&s.all, i, NAN);
        if (get(&s.all, i) == -INFINITY && i % 2) set(&g, i, NAN);
    }
    const array before = copy(b, &g);
    b->t->slope_each(g.data, s.all.data, s.keys, s.width, kind, factor, bias);
    for (int64_t i = 0; i < g.count; i++) {
        const double score = get(&s.all, i), z = fma(factor, score, bias), old = get(&before, i);
        const double dz = b->u * (2 * fabs(z) + fabs(factor * score));
        if (score == -INFINITY) assert_true(get(&g, i) == 0);
        else if (isnan(score) && kind != ATTN_WEIGH_LINEAR) assert_true(isnan(get(&g, i)));
        else if (isnan(score)) assert_bounded(get(&g, i), old, 0);
        else
            assert_bounded(get(&g, i), old * elementwise_slope(kind, z),
                           fabs(old) * elementwise_slope_bound(b, kind, z, dz) +
                               sum_bound(b, 1, fabs(old) * elementwise_slope(kind, z)));
    }
}

/* r^(e - 1) between r - off and r + off, either 0 or that where off reaches over 0. exp2 of a product: as
 * power_bound in test_tiles_sparse.c, a quotient more where the power is above 1. */
static void assert_power_slope(const bench *b, double result, double r, double off,
                               const attn_rows_of_threshold *row) {
    const double e = row->exponent - 1;
    if (r <= off && result == 0) return;
    if (r <= off && row->power == ATTN_POWER_ONE) return assert_true(result == 1);
    if (r <= off && e < 0) return assert_true(result > 0);
    const double at_low = pow(fmax(r - off, 0), e), at_high = pow(r + off, e);
    const double own = row->power == ATTN_POWER_ANY ? 8 + 5 * fabs(e * log2(r > 0 ? r : off)) : 1;
    assert_bounded(result, pow(fmax(r, 0), e),
                   fabs(at_high - at_low) + sum_bound(b, 1, own * fmax(at_low, at_high)) +
                       b->least);
}

static void check_power_slopes(bench *b) {
    static const double alphas[] = {2, 1.5, 1.2, 1.7, 3};
    const tile s = make_scores(b, draw_one_in(&b->from, 2));
    const array base = make_row(b, &s, 1), threshold = make_row(b, &s, 1);
    const double alpha = alphas[draw_int(b, 0, (int)COUNT(alphas) - 1)];
    const attn_rows_of_threshold row = {
        .power = alpha == 2     ? ATTN_POWER_ONE
                 : alpha == 1.5 ? ATTN_POWER_TWO
                                : ATTN_POWER_ANY,
        .exponent = rounded(b, 1 / (alpha - 1)),
        .factor = rounded(b, 0.1 * draw_int(b, 1, 15)),
        .base = base.data,
        .threshold = threshold.data,
    };
    const int sick = draw_int(b, -s.rows, s.rows - 1);
    for (int q = 0; q < s.rows; q++) set(&threshold, q, -0.01 * draw_int(b, 1, 100));
    if (sick >= 0) set(&s.all, place(&s, s.keys / 2, sick), NAN);
    const array before = copy(b, &s.all);
    b->t->power_slopes(s.all.data, s.lines, s.width, s.few, &row);
    for (int q = 0; q < s.rows; q++) {
        for (int k = 0; k < (s.few ? s.width : s.keys); k++) {
            const double score = get(&before, place(&s, k, q));
            const double x = fma(row.factor, score, -get(&base, q)), r = x - get(&threshold, q);
            const double off = b->u * (fabs(row.factor * score) + 2 * (fabs(x) + fabs(r)));
            const double result = get(&s.all, place(&s, k, q));
            if (isnan(score)) assert_true(isnan(result));
            else if (score == -INFINITY) assert_true(result == 0);
            else assert_power_slope(b, result, r, off, &row);
        }
    }
}

static void check_multiply_rows(bench *b) {
    const tile t = make_tile(b, draw_one_in(&b->from, 2));
    const array before = copy(b, &t.all), factor = make_row(b, &t, 1);
    b->t->multiply_rows(t.all.data, t.lines, t.width, t.few, factor.data);
    for (int q = 0; q < t.rows; q++) {
        for (int k = 0; k < (t.few ? t.width : t.keys); k++) {
            const int64_t at = place(&t, k, q);
            assert_true(get(&t.all, at) == rounded(b, get(&before, at) * get(&factor, q)));
        }
    }
}

/* log2 is off by 4 u of itself and ln 2 by 1 u; their product by 1 u, and a sum follows; so do a
 * product and a sum. A weight of 0 has no part in it, one below 0 makes NaN. */
static void check_add_entropy_gradient(bench *b) {
    const tile g = make_tile(b, draw_one_in(&b->from, 2));
    const array before = copy(b, &g.all), weights = copy(b, &g.all), flow = make_row(b, &g, 1);
    for (int64_t i = 0; i < weights.count; i++) {
        const double w = exp(-5 * fabs(get(&before, i)));
        const int other = draw_int(b, 0, 9);
        set(&weights, i, other == 0 ? 0 : other == 1 ? 1 : other == 2 ? -w : other == 3 ? NAN : w);
    }
    b->t->add_entropy_gradient(g.all.data, weights.data, g.lines, g.width, g.few, flow.data);
    for (int q = 0; q < g.rows; q++) {
        for (int k = 0; k < (g.few ? g.width : g.keys); k++) {
            const int64_t at = place(&g, k, q);
            const double w = get(&weights, at), old = get(&before, at), by = get(&flow, q);
            const double slope = log(w) + 1, x = old - by * slope;
            if (w == 0) assert_true(get(&g.all, at) == old);
            else if (!(w > 0)) assert_true(isnan(get(&g.all, at)));
            else
                assert_bounded(
                    get(&g.all, at), x,
                    sum_bound(b, 1, fabs(by) * (6 * fabs(slope - 1) + 2 * fabs(slope)) + fabs(x)));
        }
    }
}

/* ------------------------------------------------------------------------------------------ sums */

/* Where a is 0, b is not looked at: nor beyond the keys, where a is. */
static void check_row_products(bench *b) {
    const tile a = make_tile(b, draw_one_in(&b->from, 2));
    const bool alone = draw_one_in(&b->from, 3);
    const array with = copy(b, &a.all), sums = make_row(b, &a, 1), before = copy(b, &sums);
    pad_tile(&a, 0);
    for (int64_t i = 0; i < a.all.count; i++) {
        if (draw_one_in(&b->from, 5)) set(&a.all, i, i % 3 ? 0. : -0.);
        if (get(&a.all, i) == 0) set(&with, i, i % 2 ? NAN : (double)-INFINITY);
    }
    b->t->row_products(sums.data, a.all.data, alone ? NULL : with.data, a.lines, a.width, a.few);
    for (int q = 0; q < a.rows; q++) {
        double sum = get(&before, q), sizes = fabs(sum);
        for (int k = 0; k < a.keys; k++) {
            const double x = get(&a.all, place(&a, k, q));
            const double y = alone ? x : x == 0 ? 0 : x * get(&with, place(&a, k, q));
            sum += y, sizes += fabs(y);
        }
        assert_bounded(get(&sums, q), sum, sum_bound(b, a.keys + 2, sizes));
    }
}

/* NaN passes. */
static void check_dot_rows(bench *b) {
    const int rows = draw_int(b, 0, b->t->block), columns = draw_int(b, 0, 110);
    const view x = make_view(b, rows, columns), y = make_view(b, rows, columns);
    const array products = scratch(b, rows);
    fill_random(&x.all, 1);
    fill_random(&y.all, 1);
    if (x.all.count > 0 && draw_one_in(&b->from, 3)) set(&x.all, x.all.count - 1, NAN);
    b->t->dot_rows(products.data, view_data(&x), x.row, x.column, view_data(&y), y.row, y.column,
                   rows, columns);
    for (int r = 0; r < rows; r++) {
        double sum = 0, sizes = 0;
        for (int c = 0; c < columns; c++) {
            const double p = at(&x, r, c) * at(&y, r, c);
            sum += p, sizes += fabs(p);
        }
        assert_bounded(get(&products, r), sum, sum_bound(b, columns + 1, sizes));
    }
}

/* Into any strides, or added up over rows, columns or both. */
static void check_add_rows(bench *b) {
    const int rows = draw_int(b, 0, 40), columns = draw_int(b, 0, 110);
    const bool over_rows = draw_one_in(&b->from, 4), over_columns = draw_one_in(&b->from, 4);
    const int target_rows = over_rows ? 1 : rows, target_columns = over_columns ? 1 : columns;
    view to = make_view(b, target_rows, target_columns);
    const int64_t stride = columns + draw_int(b, 0, 5);
    const array source = tensor(b, rows && columns ? (rows - 1) * stride + columns : 0);
    fill_random(&source, 1);
    for (int r = 0; r < target_rows; r++)
        for (int c = 0; c < target_columns; c++)
            set(&to.all, to.origin + r * to.row + c * to.column, draw_int(b, -9, 9) / 7.);
    view old = to;
    old.all = copy(b, &to.all);
    b->t->add_rows(view_data(&to), over_rows ? 0 : to.row, over_columns ? 0 : to.column,
                   source.data, stride, rows, columns);
    for (int i = 0; i < target_rows; i++) {
        for (int j = 0; j < target_columns; j++) {
            double sum = at(&old, i, j), sizes = fabs(sum);
            for (int r = over_rows ? 0 : i; r < (over_rows ? rows : i + 1); r++) {
                for (int c = over_columns ? 0 : j; c < (over_columns ? columns : j + 1); c++) {
                    const double x = get(&source, r * stride + c);
                    sum += x, sizes += fabs(x);
                }
            }
            const int count = (over_rows ? rows : 1) + (over_columns ? columns : 0);
            assert_bounded(at(&to, i, j), sum, sum_bound(b, count, sizes));
        }
    }
    assert_int_equal(written(&to.all), (int64_t)target_rows * target_columns);
}

/* -------------------------------------------------------------------------------------- soft cap */

/* t = capped/cap takes a rounded inverse and a product, 2 u, and its square 5 u; 1 - t^2 and the product
 * round once each. */
static void check_slope_softcap(bench *b) {
    const tile g = make_tile(b, false);
    const double cap = 0.5 * draw_int(b, 1, 20);
    const array before = copy(b, &g.all), capped = copy(b, &g.all);
    for (int64_t i = 0; i < capped.count; i++) {
        const int edge = draw_int(b, 0, 9);
        set(&capped, i, edge == 0 ? cap : edge == 1 ? 0 : cap * tanh(get(&before, i)));
        set(&g.all, i, random_normal(b->filled + 7, (uint64_t)i));
    }
    const array old = copy(b, &g.all);
    b->t->slope_softcap(g.all.data, capped.data, g.keys, g.width, cap);
    for (int64_t i = 0; i < g.all.count; i++) {
        const double t = get(&capped, i) / cap, slope = 1 - t * t, x = get(&old, i);
        assert_bounded(get(&g.all, i), x * slope,
                       sum_bound(b, 1, fabs(x) * (5 * t * t + 2 * fabs(slope))) + b->least);
    }
}

/* t - y (1 - t^2), y = raw/cap, off by 2 u as well; their product and the difference round once each. */
static void check_slope_of_cap(bench *b) {
    const tile raw = make_tile(b, false);
    const double cap = 0.5 * draw_int(b, 1, 20);
    const array before = copy(b, &raw.all), capped = copy(b, &raw.all);
    for (int64_t i = 0; i < capped.count; i++) set(&capped, i, cap * tanh(get(&before, i) / cap));
    b->t->slope_of_cap(raw.all.data, capped.data, raw.keys, raw.width, cap);
    for (int64_t i = 0; i < raw.all.count; i++) {
        const double t = get(&capped, i) / cap, y = get(&before, i) / cap, slope = 1 - t * t;
        const double x = t - y * slope;
        assert_bounded(
            get(&raw.all, i), x,
            sum_bound(b, 1, 2 * fabs(t) + fabs(y) * (5 * t * t + 4 * fabs(slope)) + fabs(x)));
    }
}

/* ----------------------------------------------------------------------------------------- norms */

/* n = x/|x| is off by N = (d + 1)/2 + 5 u (test_tiles.c). Of dot(n, g), with S = sum |n g|, N + d u of S;
 * it is multiplied by n again: 2 N + d + 1; the length, dot(n, x), is off by N + d; a difference, a
 * quotient and a product round after that. */
static void assert_normalized(bench *b, const view *x, int r, const double *old, const array *g,
                              int64_t stride) {
    const int d = x->columns;
    const double own = (d + 1) / 2. + 5;
    double length = 0, along = 0, sizes = 0;
    for (int c = 0; c < d; c++) length = hypot(length, at(x, r, c));
    for (int c = 0; c < d; c++) {
        const double n = length > 0 ? at(x, r, c) / length : 0;
        along += n * old[c], sizes += fabs(n * old[c]);
    }
    for (int c = 0; c < d; c++) {
        const double n = length > 0 ? at(x, r, c) / length : 0;
        const double left = old[c] - n * along;
        if (length == 0) assert_true(get(g, r * stride + c) == 0);
        else
            assert_bounded(
                get(g, r * stride + c), left / length,
                sum_bound(b, 1,
                          (fabs(n) * sizes * (2 * own + d + 2) + fabs(left) * (own + d + 3)) /
                              length) +
                    b->least);
    }
}

/* Lengths whose squares overflow or vanish, and rows of zeros, whose gradient is 0. */
static void check_normalize_gradient(bench *b) {
    const int rows = draw_int(b, 0, 20), columns = draw_int(b, 1, 70);
    const int64_t stride = columns + draw_int(b, 0, 5);
    const view x = make_view(b, rows, columns);
    const array g = scratch(b, rows * stride), units = scratch(b, padded(b, columns));
    const double far = b->single ? 0x1p80 : 0x1p600;
    fill_random(&x.all, 1);
    for (int r = 0; r < rows; r++) {
        const int size = draw_int(b, 0, 4);
        for (int c = 0; c < columns; c++) {
            const int64_t i = x.origin + r * x.row + c * x.column;
            const double by = size == 0 ? 0 : size == 1 ? far : size == 2 ? 1 / far : 1;
            set(&x.all, i, by * get(&x.all, i));
            set(&g, r * stride + c, random_normal(b->filled + 3, (uint64_t)(r * columns + c)));
        }
    }
    const array before = copy(b, &g);
    b->t->normalize_gradient(g.data, stride, view_data(&x), x.row, x.column, units.data, rows,
                             columns);
    for (int r = 0; r < rows; r++) {
        double old[70];
        for (int c = 0; c < columns; c++) old[c] = get(&before, r * stride + c);
        assert_normalized(b, &x, r, old, &g, stride);
    }
    assert_int_equal(written(&g), (int64_t)rows * columns);
}

/* -------------------------------------------------------------------------------------- pairwise */

typedef struct pairwise {
    attn_pairwise_tile t;
    tile gradient;
    array query, key, query_sums, key_sums, weight_sums;
} pairwise;

static array around(bench *b, int64_t count) {
    const array a = tensor(b, count);
    fill_random(&a, 1);
    return a;
}

static pairwise make_pairwise(bench *b, attn_pairwise kind) {
    pairwise p = {.gradient = make_tile(b, draw_one_in(&b->from, 2))};
    attn_pairwise_tile *const t = &p.t;
    *t = (attn_pairwise_tile){.kind = kind,
                              .shared = draw_one_in(&b->from, 2),
                              .keys = p.gradient.keys,
                              .rows = draw_int(b, 1, p.gradient.rows),
                              .d = b->t->lanes * draw_int(b, 1, 4),
                              .gradient_key_stride = p.gradient.key_stride,
                              .gradient_row_stride = p.gradient.row_stride};
    t->query_stride = t->d + b->t->lanes * draw_int(b, 0, 1);
    t->key_stride = t->d + b->t->lanes * draw_int(b, 0, 1);
    const int64_t queries = (t->rows - 1) * t->query_stride + t->d;
    const int64_t keys = (t->keys - 1) * t->key_stride + t->d;
    p.query = around(b, queries), p.key = around(b, keys);
    p.query_sums = around(b, queries), p.key_sums = around(b, keys);
    p.weight_sums = around(b, t->d);
    const double shrink = kind == ATTN_PAIRWISE_TANH_NEAR ? 12 : 1;
    array *const both[] = {&p.query, &p.key};
    for (int n = 0; n < 2; n++) {
        for (int64_t i = 0; i < both[n]->count; i++) {
            const double x = get(both[n], i) / shrink;
            set(both[n], i, kind == ATTN_PAIRWISE_EXPONENTIALS ? exp(2 * x) : x);
        }
    }
    t->query = p.query.data, t->key = p.key.data, t->gradient = p.gradient.all.data;
    t->query_sums = p.query_sums.data, t->key_sums = p.key_sums.data;
    t->weight_sums = p.weight_sums.data;
    return p;
}

/* A slope and a value, and how far off they are, in u. */
typedef struct sloped {
    double slope, value, slope_off, value_off;
} sloped;

/* DISTANCE: a difference. TANH: a sum, which moves tanh by no more than 1 u of it, and tanh's own 4 u; its
 * square by twice that, a product and a difference. EXPONENTIALS: E = 1 + x y is off by 2 u at most; e0 e1
 * by 5, times e2 e3 by 11, the quotient 12; times a product of two 18, times the last E 21 u: that of
 * r = 1/E. r - r^2 then moves by 21 |1 - 2 r| r, a product and a difference; 1/4 - r/2 by 21 r/2 and a
 * difference; both times 4. */
static sloped sloped_of(attn_pairwise kind, double x, double y) {
    if (kind == ATTN_PAIRWISE_DISTANCE) return (sloped){y - x, 0, fabs(y - x), 0};
    if (kind == ATTN_PAIRWISE_EXPONENTIALS) {
        const double r = 1 / (1 + x * y), slope = 4 * r * (1 - r), value = 1 - 2 * r;
        return (sloped){slope, value, 4 * (21 * r * fabs(1 - 2 * r) + r * r) + slope,
                        42 * r + fabs(value)};
    }
    const double t = tanh(x + y), slope = 1 - t * t;
    return (sloped){slope, t, 11 * t * t + slope, 5 * fabs(t)};
}

/* Sums and how far off they may be, in u, but for their own additions. */
typedef struct total {
    double sum, sizes, off;
} total;

static void add_to(total *t, double g, double x, double off) {
    t->sum += g * x;
    t->sizes += fabs(g * x);
    t->off += fabs(g) * off;
}

/* n terms and the old sum, a rounding more where products are not fused. */
static void assert_total(bench *b, double result, const total *t, int n) {
    assert_bounded(result, t->sum, sum_bound(b, n + 2, t->sizes) + sum_bound(b, 1, t->off));
}

static sloped at_pair(const pairwise *p, int k, int r, int f, double *g) {
    *g = get(&p->gradient.all, place(&p->gradient, k, r));
    return sloped_of(p->t.kind, get(&p->query, r * p->t.query_stride + f),
                     get(&p->key, k * p->t.key_stride + f));
}

static void check_pairwise_of(bench *b, attn_pairwise kind) {
    const pairwise p = make_pairwise(b, kind);
    const attn_pairwise_tile *const t = &p.t;
    const array queries = copy(b, &p.query_sums), keys = copy(b, &p.key_sums),
                weights = copy(b, &p.weight_sums);
    const double sign = kind == ATTN_PAIRWISE_DISTANCE ? -1 : 1;
    b->t->pairwise_gradient(t);
    for (int f = 0; f < t->d; f++) {
        total of_weight = {.sum = get(&weights, f), .sizes = fabs(get(&weights, f))};
        double g;
        for (int k = 0; k < t->keys; k++) {
            const int64_t i = k * t->key_stride + f;
            total sum = {.sum = get(&keys, i), .sizes = fabs(get(&keys, i))};
            for (int r = 0; r < t->rows; r++) {
                const sloped s = at_pair(&p, k, r, f, &g);
                add_to(&sum, sign * g, s.slope, s.slope_off);
                add_to(&of_weight, g, s.value, s.value_off);
            }
            assert_total(b, get(&p.key_sums, i), &sum, t->rows);
        }
        for (int r = 0; r < t->rows; r++) {
            const int64_t i = r * t->query_stride + f;
            total sum = {.sum = get(&queries, i), .sizes = fabs(get(&queries, i))};
            for (int k = 0; k < t->keys; k++) {
                const sloped s = at_pair(&p, k, r, f, &g);
                add_to(&sum, g, s.slope, s.slope_off);
            }
            assert_total(b, get(&p.query_sums, i), &sum, t->keys);
        }
        if (kind == ATTN_PAIRWISE_DISTANCE) assert_true(get(&p.weight_sums, f) == get(&weights, f));
        else assert_total(b, get(&p.weight_sums, f), &of_weight, t->rows * t->keys);
    }
}

static void check_pairwise_distance(bench *b) {
    check_pairwise_of(b, ATTN_PAIRWISE_DISTANCE);
}

static void check_pairwise_tanh(bench *b) {
    check_pairwise_of(b, ATTN_PAIRWISE_TANH);
}

static void check_pairwise_tanh_near(bench *b) {
    check_pairwise_of(b, ATTN_PAIRWISE_TANH_NEAR);
}

static void check_pairwise_exponentials(bench *b) {
    check_pairwise_of(b, ATTN_PAIRWISE_EXPONENTIALS);
}

/* clang-format off */
#define ALL_TESTS(TEST) \
    TEST(distribute) TEST(distribute_visible) TEST(weigh_known) TEST(center) \
    TEST(weigh_and_center) TEST(slope_each) TEST(power_slopes) TEST(multiply_rows) \
    TEST(add_entropy_gradient) TEST(row_products) TEST(dot_rows) TEST(add_rows) \
    TEST(slope_softcap) TEST(slope_of_cap) TEST(normalize_gradient) TEST(pairwise_distance) \
    TEST(pairwise_tanh) TEST(pairwise_tanh_near) TEST(pairwise_exponentials)
/* clang-format on */

ALL_TESTS(RANDOM_TEST)

int main(void) {
    const struct CMUnitTest tests[] = {ALL_TESTS(LISTED)};
    return run_on_each_isa("tiles_gradient", tests, COUNT(tests));
}

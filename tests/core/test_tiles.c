/* test_tiles.c: every function of every table against its sentence in tiles/table.h, worked out one
 * element at a time in float64: here those that move rows, and SCORE and AGGREGATE as dot products
 * and distances. What else happens to scores is in test_tiles_scores.c, WEIGH in
 * test_tiles_softmax.c and test_tiles_sparse.c, OBSERVE in test_tiles_views.c. */
#include "tiles_support.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------- into lanes and out of them */

static void check_load_transposed(bench *b) {
    const int rows = draw_int(b, 0, b->t->block), columns = draw_int(b, 0, ATTN_KEY_BLOCK);
    const double factor = draw_one_in(&b->from, 3) ? 1 : 0.3;
    const int64_t stride = padded(b, rows) + b->t->lanes * draw_int(b, 0, 1);
    const view source = make_view(b, rows, columns);
    const array into = scratch(b, columns * stride);
    fill_random(&source.all, 1);
    b->t->load_transposed(into.data, stride, view_data(&source), source.row, source.column, rows,
                          columns, factor);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            assert_true(get(&into, c * stride + r) ==
                        rounded(b, at(&source, r, c) * rounded(b, factor)));
        }
    }
    assert_int_equal(written(&into), rows * columns);
}

static void check_load_rows(bench *b) {
    const int rows = draw_int(b, 0, ATTN_KEY_BLOCK), columns = draw_int(b, 0, 70);
    const int64_t stride = columns + draw_int(b, 0, 9);
    const view source = make_view(b, rows, columns);
    const array into = scratch(b, rows * stride);
    fill_random(&source.all, 1);
    b->t->load_rows(into.data, stride, view_data(&source), source.row, source.column, rows, columns,
                    0.7);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            assert_true(get(&into, r * stride + c) ==
                        rounded(b, at(&source, r, c) * rounded(b, 0.7)));
        }
    }
    assert_int_equal(written(&into), rows * columns);
}

static void check_store(bench *b, bool transposed) {
    const int rows = draw_int(b, 0, b->t->block), columns = draw_int(b, 0, 110);
    const int64_t stride = transposed ? padded(b, rows) : padded(b, columns);
    const view target_view = make_view(b, rows, columns);
    const array from = scratch(b, transposed ? columns * stride : rows * stride);
    const array factor = scratch(b, padded(b, rows));
    fill_random(&from, 1);
    fill_random(&factor, 1);
    (transposed ? b->t->store_transposed
                : b->t->store_rows)(view_data(&target_view), target_view.row, target_view.column,
                                    from.data, stride, rows, columns, factor.data);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            const double x = get(&from, transposed ? c * stride + r : r * stride + c);
            assert_true(at(&target_view, r, c) == rounded(b, x * get(&factor, r)));
        }
    }
    assert_int_equal(written(&target_view.all), rows * columns);
}

static void check_store_transposed(bench *b) {
    check_store(b, true);
}

static void check_store_rows(bench *b) {
    check_store(b, false);
}

static void check_rows_in_place(bench *b) {
    const int rows = draw_int(b, 0, b->t->block), columns = draw_int(b, 0, 110);
    const view v = make_view(b, rows, columns);
    const array factor = scratch(b, padded(b, rows));
    fill_random(&v.all, 1);
    fill_random(&factor, 1);
    const array before = copy(b, &v.all);
    b->t->scale_rows(view_data(&v), v.row, v.column, rows, columns, factor.data);
    view old = v;
    old.all = before;
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            assert_true(at(&v, r, c) == rounded(b, at(&old, r, c) * get(&factor, r)));
        }
    }
    memset(v.all.data, POISON, (size_t)(v.all.count * b->t->element_size));
    b->t->zero_rows(view_data(&v), v.row, v.column, rows, columns);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) assert_true(at(&v, r, c) == 0);
    }
    assert_int_equal(written(&v.all), rows * columns);
}

static void check_fill(bench *b) {
    const int64_t count = draw(&b->from, 0, 70), stride = draw(&b->from, 1, 3);
    const array a = tensor(b, count > 0 ? (count - 1) * stride + 1 : 0);
    b->t->fill(a.data, stride, count, 2.5);
    for (int64_t k = 0; k < count; k++) assert_true(get(&a, k * stride) == 2.5);
    assert_int_equal(written(&a), count);
}

static void check_zero_masked(bench *b) {
    const int rows = draw_int(b, 1, b->t->block), columns = draw_int(b, 1, ATTN_KEY_BLOCK);
    const bool few = draw_one_in(&b->from, 2);
    const int64_t key_stride = few ? 1 : padded(b, rows), row_stride = few ? padded(b, columns) : 1;
    const view v = make_view(b, rows, columns);
    const array mask = scratch(b, few ? rows * row_stride : columns * key_stride);
    fill_with(&mask, 0);
    for (int64_t k = 0; k < mask.count; k++) {
        if (draw_one_in(&b->from, 3)) set(&mask, k, -INFINITY);
    }
    b->t->zero_masked(view_data(&v), v.row, v.column, mask.data, key_stride, row_stride, rows,
                      columns);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            const bool hidden = get(&mask, c * key_stride + r * row_stride) == -INFINITY;
            assert_true(hidden ? at(&v, r, c) == 0 : isnan(at(&v, r, c)));
        }
    }
}

/* A NaN is neither the lowest nor the highest; of nothing else, these are infinite. */
static void check_column_ranges(bench *b) {
    const int rows = draw_int(b, 1, b->t->block), columns = draw_int(b, 1, 140);
    const view source = make_view(b, rows, columns);
    const array lowest = scratch(b, columns + 3), highest = scratch(b, columns + 3);
    fill_random(&source.all, 1);
    for (int64_t k = 0; k < source.all.count; k++) {
        if (draw_one_in(&b->from, 9)) set(&source.all, k, NAN);
    }
    b->t->column_ranges(lowest.data, highest.data, view_data(&source), source.row, source.column,
                        rows, columns);
    for (int c = 0; c < columns; c++) {
        double low = INFINITY, high = -INFINITY;
        for (int r = 0; r < rows; r++) low = fmin(low, at(&source, r, c));
        for (int r = 0; r < rows; r++) high = fmax(high, at(&source, r, c));
        assert_true(get(&lowest, c) == low && get(&highest, c) == high);
    }
    assert_int_equal(written(&lowest), columns);
    assert_int_equal(written(&highest), columns);
}

/* Rows whose squares neither overflow nor vanish, and rows whose squares do; 0; NaN. */
static double draw_size(bench *b) {
    static const double sizes[2][6] = {{1, 1e-300, 1e300, 1e-310, 0, NAN},
                                       {1, 1e-30, 1e30, 1e-40, 0, NAN}};
    return sizes[b->single][draw_int(b, 0, 5)];
}

/* The squares are added with at most d + 1 roundings each, of which the root leaves half; the root,
 * its inverse and the product round once each, and where the greatest element is divided out it
 * rounds once in the element and once in the norm: (d + 1)/2 + 5, and what is expected has half as
 * many again. Powers of 2 keep its squares in range, exactly. */
static void check_normalize_rows(bench *b) {
    const int rows = draw_int(b, 1, 20), columns = draw_int(b, 1, 140);
    const int64_t stride = columns + draw_int(b, 0, 9);
    const view source = make_view(b, rows, columns);
    const array into = scratch(b, rows * stride);
    double size[20];
    fill_random(&source.all, 1);
    for (int r = 0; r < rows; r++) {
        size[r] = draw_size(b);
        for (int c = 0; c < columns; c++) {
            const int64_t i = source.origin + r * source.row + c * source.column;
            if (!isnan(size[r]) || c == columns / 2)
                set(&source.all, i, at(&source, r, c) * size[r]);
        }
    }
    b->t->normalize_rows(into.data, stride, view_data(&source), source.row, source.column, rows,
                         columns);
    for (int r = 0; r < rows; r++) {
        int power = 0;
        double squares = 0, largest = 0;
        for (int c = 0; c < columns; c++) largest = fmax(largest, fabs(at(&source, r, c)));
        (void)frexp(largest, &power);
        for (int c = 0; c < columns; c++) squares += pow(ldexp(at(&source, r, c), -power), 2);
        for (int c = 0; c < columns; c++) {
            const double x = ldexp(at(&source, r, c), -power);
            const double expected = squares == 0 ? 0 : x / sqrt(squares);
            assert_bounded(get(&into, r * stride + c), expected,
                           (columns + 11) * b->u * fabs(expected) + b->least);
        }
        for (int64_t c = columns; c < stride; c++) assert_true(isnan(get(&into, r * stride + c)));
    }
}

/* --------------------------------------------------------------------------------------- score */

/* Keys, queries and scores of one tile; queries of few are filled up with zeros. */
typedef struct scored {
    tile scores;
    array key, query;
    int d;
    int64_t key_stride, query_stride;
} scored;

static scored make_scored(bench *b, bool few) {
    scored s = {.scores = make_tile(b, few), .d = draw_int(b, 0, 140)};
    s.key_stride = s.d + draw_int(b, 0, 5);
    s.query_stride = padded(b, s.d);
    s.key = tensor(b, (s.scores.keys - 1) * s.key_stride + s.d);
    s.query = scratch(b, few ? s.scores.rows * s.query_stride : (int64_t)s.d * s.scores.width);
    fill_random(&s.key, 1);
    fill_random(&s.query, 1);
    for (int q = 0; few && q < s.scores.rows; q++) {
        for (int64_t f = s.d; f < s.query_stride; f++) set(&s.query, q * s.query_stride + f, 0);
    }
    fill_with(&s.scores.all, NAN);
    return s;
}

static void run_score(const scored *s, bool distance) {
    const tile *const t = &s->scores;
    const attn_tiles *const of = t->all.b->t;
    if (t->few) {
        (distance ? of->score_distance_few
                  : of->score_few)(t->all.data, s->query.data, s->query_stride, s->key.data,
                                   s->key_stride, t->keys, s->d, t->rows, t->width);
    } else {
        (distance ? of->score_distance : of->score)(t->all.data, s->query.data, s->key.data,
                                                    s->key_stride, t->keys, s->d, t->width);
    }
}

/* d products added in any order, fused or not, round d times each; a difference rounds once, so its
 * square is off by 2 u more, and its product by one more where it is not fused. */
static void check_score_of(bench *b, bool few, bool distance) {
    const scored s = make_scored(b, few);
    run_score(&s, distance);
    for (int k = 0; k < s.scores.keys; k++) {
        for (int q = 0; q < s.scores.rows; q++) {
            double sum = 0, sizes = 0;
            for (int f = 0; f < s.d; f++) {
                const double x = get(&s.key, k * s.key_stride + f);
                const double y =
                    get(&s.query, few ? q * s.query_stride + f : (int64_t)f * s.scores.width + q);
                const double term = distance ? (x - y) * (x - y) : x * y;
                sum += term, sizes += fabs(term);
            }
            assert_bounded(get(&s.scores.all, place(&s.scores, k, q)), sum,
                           sum_bound(b, s.d + (distance ? 3 : 0), sizes));
        }
    }
    assert_int_equal(written(&s.scores.all), s.scores.keys * s.scores.rows);
}

static void check_score(bench *b) {
    check_score_of(b, false, false);
}

static void check_score_few(bench *b) {
    check_score_of(b, true, false);
}

static void check_score_distance(bench *b) {
    check_score_of(b, false, true);
}

static void check_score_distance_few(bench *b) {
    check_score_of(b, true, true);
}

/* ----------------------------------------------------------------------------------- aggregate */

/* Weights, values, and an output in the layout that goes with the tile's. */
typedef struct aggregated {
    tile weights;
    array value, shrink, output;
    int d;
    int64_t value_stride, feature_stride, row_stride;
} aggregated;

static aggregated make_aggregated(bench *b, bool few) {
    aggregated a = {.weights = make_tile(b, few), .d = draw_int(b, 1, 140)};
    a.value_stride = a.d + draw_int(b, 0, 5);
    a.feature_stride = few ? 1 : a.weights.width;
    a.row_stride = few ? padded(b, a.d) : 1;
    a.value = tensor(b, (a.weights.keys - 1) * a.value_stride + a.d);
    a.shrink = scratch(b, a.weights.rows);
    a.output = scratch(b, few ? a.weights.rows * a.row_stride : (int64_t)a.d * a.weights.width);
    fill_random(&a.value, 1);
    fill_random(&a.shrink, 1);
    fill_random(&a.output, 1);
    return a;
}

static void run_aggregate(const aggregated *a) {
    const tile *const t = &a->weights;
    if (t->few) {
        t->all.b->t->aggregate_few(a->output.data, a->row_stride, a->shrink.data, t->all.data,
                                   a->value.data, a->value_stride, t->keys, a->d, t->rows,
                                   t->width);
    } else {
        t->all.b->t->aggregate(a->output.data, a->shrink.data, t->all.data, a->value.data,
                               a->value_stride, t->keys, a->d, t->width);
    }
}

/* `keys` products in any order, the old number times its factor, and one sum. */
static void check_aggregate_of(bench *b, bool few) {
    const aggregated a = make_aggregated(b, few);
    const tile *const t = &a.weights;
    const array before = copy(b, &a.output);
    run_aggregate(&a);
    for (int q = 0; q < t->rows; q++) {
        for (int f = 0; f < a.d; f++) {
            const int64_t i = q * a.row_stride + f * a.feature_stride;
            const double old = get(&before, i) * get(&a.shrink, q);
            double sum = 0, sizes = 0;
            for (int k = 0; k < t->keys; k++) {
                const double x =
                    get(&t->all, place(t, k, q)) * get(&a.value, k * a.value_stride + f);
                sum += x, sizes += fabs(x);
            }
            assert_bounded(get(&a.output, i), old + sum,
                           sum_bound(b, t->keys + 2, sizes) + sum_bound(b, 2, fabs(old)));
        }
    }
}

static void check_aggregate(bench *b) {
    check_aggregate_of(b, false);
}

static void check_aggregate_few(bench *b) {
    check_aggregate_of(b, true);
}

/* With nothing hidden and nothing bad, the careful way has the very bits of the fast one; NaN and
 * infinity under the mask change nothing. */
static void check_aggregate_visible(bench *b) {
    const aggregated fast = make_aggregated(b, draw_one_in(&b->from, 2));
    const tile *const t = &fast.weights;
    const array mask = scratch(b, t->all.count), careful = copy(b, &fast.output);
    const int hidden = draw_int(b, 0, t->keys - 1);
    fill_with(&mask, 0);
    for (int q = 0; q < t->rows; q++) {
        set(&mask, place(t, hidden, q), -INFINITY);
        set(&t->all, place(t, hidden, q), 0);
    }
    run_aggregate(&fast);
    for (int f = 0; f < fast.d; f++)
        set(&fast.value, hidden * fast.value_stride + f, f % 2 ? NAN : INFINITY);
    b->t->aggregate_visible(careful.data, fast.feature_stride, fast.row_stride, fast.shrink.data,
                            t->all.data, mask.data, t->key_stride, t->row_stride, fast.value.data,
                            fast.value_stride, t->keys, fast.d, t->rows);
    for (int q = 0; q < t->rows; q++) {
        for (int f = 0; f < fast.d; f++) {
            const int64_t i = q * fast.row_stride + f * fast.feature_stride;
            assert_true(get(&careful, i) == get(&fast.output, i));
        }
    }
}

static void check_all_finite(bench *b) {
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    const int rows = draw_int(b, 1, ATTN_KEY_BLOCK), columns = draw_int(b, 1, 140);
    const int64_t stride = columns + draw_int(b, 0, 5);
    const array values = tensor(b, (rows - 1) * stride + columns);
    for (int r = 0; r < rows; r++) { /* between the rows stays NaN, which must not be looked at */
        for (int c = 0; c < columns; c++)
            set(&values, r * stride + c, b->single ? -FLT_MAX : DBL_MAX);
    }
    assert_true(b->t->all_finite(values.data, stride, rows, columns));
    const int r = draw_int(b, 0, rows - 1), c = draw_int(b, 0, columns - 1);
    set(&values, r * stride + c, bad[draw_int(b, 0, 2)]);
    assert_false(b->t->all_finite(values.data, stride, rows, columns));
}

/* clang-format off */
#define ALL_TESTS(TEST) \
    TEST(load_transposed) TEST(load_rows) TEST(store_transposed) TEST(store_rows) \
    TEST(rows_in_place) TEST(fill) TEST(zero_masked) TEST(column_ranges) TEST(normalize_rows) \
    TEST(score) TEST(score_few) TEST(score_distance) TEST(score_distance_few) \
    TEST(aggregate) TEST(aggregate_few) TEST(aggregate_visible) TEST(all_finite)
/* clang-format on */

ALL_TESTS(RANDOM_TEST)

int main(void) {
    const struct CMUnitTest tests[] = {ALL_TESTS(LISTED)};
    return run_on_each_isa("tiles", tests, COUNT(tests));
}

/* test_tiles.c: every function of every table against its sentence in tiles/table.h, worked out one
 * element at a time in float64.
 *
 * Sizes are drawn at random so that all tails come up. The caller's tensors end (or begin) at a
 * page that faults; scratch ends at one too, up to its alignment of 64 bytes. What a function has
 * no business to write stays POISON, which is NaN, and is checked. */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "isa/cpu.h"

/* ------------------------------------------------------------------------------------ memory */

/* The table at hand, its type, and random numbers. */
typedef struct bench {
    const attn_tiles *t;
    bool single;
    double u;
    stream from;
    uint64_t filled; /* seeds of arrays */
    guarded blocks[16];
    int used;
} bench;

typedef struct array {
    const bench *b;
    unsigned char *data;
    int64_t count;
} array;

static double get(const array *a, int64_t k) {
    assert_true(k >= 0 && k < a->count);
    return a->b->single ? (double)((const float *)(const void *)a->data)[k]
                        : ((const double *)(const void *)a->data)[k];
}

static void set(const array *a, int64_t k, double x) {
    assert_true(k >= 0 && k < a->count);
    if (a->b->single) ((float *)(void *)a->data)[k] = (float)x;
    else ((double *)(void *)a->data)[k] = x;
}

/* The number that set would store. */
static double rounded(const bench *b, double x) {
    return b->single ? (double)(float)x : x;
}

static guarded *block_of(bench *b, size_t bytes, guard_side side) {
    assert_true(b->used < (int)COUNT(b->blocks));
    guarded *const g = &b->blocks[b->used++];
    *g = guarded_make(bytes, side);
    return g;
}

/* A tensor of the caller: no alignment but its elements', guarded on either side. */
static array tensor(bench *b, int64_t count) {
    const guard_side side = draw_one_in(&b->from, 2) ? GUARD_BEFORE : GUARD_AFTER;
    const guarded *const g = block_of(b, (size_t)(count * b->t->element_size), side);
    return (array){b, g->memory, count};
}

/* Scratch: aligned to 64 bytes, so up to 63 lie between its end and the guard. */
static array scratch(bench *b, int64_t count) {
    const size_t bytes = (size_t)(count * b->t->element_size);
    const guarded *const g = block_of(b, (bytes + 63) / 64 * 64, GUARD_AFTER);
    return (array){b, g->memory, count};
}

static int32_t *numbers(bench *b, int count) {
    return (int32_t *)(void *)block_of(b, (size_t)count * sizeof(int32_t), GUARD_AFTER)->memory;
}

static void fill_random(const array *a, double spread) {
    bench *const b = (bench *)(uintptr_t)a->b;
    b->filled++;
    for (int64_t k = 0; k < a->count; k++)
        set(a, k, spread * random_normal(b->filled, (uint64_t)k));
}

static void fill_with(const array *a, double x) {
    for (int64_t k = 0; k < a->count; k++) set(a, k, x);
}

/* A copy to remember what was there. */
static array copy(bench *b, const array *a) {
    const array c = scratch(b, a->count);
    memcpy(c.data, a->data, (size_t)(a->count * b->t->element_size));
    return c;
}

static void assert_within(double result, double expected, double bound) {
    if (isnan(expected) ? isnan(result) : result == expected || fabs(result - expected) <= bound)
        return;
    fail_msg("%.17g, but expected %.17g: off by %g, bound %g", result, expected,
             fabs(result - expected), bound);
}

/* Runs a check many times for both types. */
static void on_both_types(void **state, void (*check)(bench *b)) {
    const target *const on = *state;
    static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64};
    for (size_t k = 0; k < COUNT(dtypes); k++) {
        static bench b;
        b = (bench){.t = attn_tiles_for(on->isa, dtypes[k]), .single = dtypes[k] == ATTN_F32};
        b.u = b.single ? 0x1p-24 : 0x1p-53;
        b.from.seed = 17 + k;
        b.filled = 100 * k;
        assert_int_equal(b.t->element_size, b.single ? sizeof(float) : sizeof(double));
        assert_int_equal(b.t->block % b.t->lanes, 0);
        for (int64_t round = grid_size(60, 1500); round > 0; round--) {
            check(&b);
            for (; b.used > 0; b.used--) guarded_free(&b.blocks[b.used - 1]);
        }
    }
}

static int draw_int(bench *b, int lowest, int highest) {
    return (int)draw(&b->from, lowest, highest);
}

static int draw_width(bench *b) {
    return b->t->lanes * draw_int(b, 1, b->t->block / b->t->lanes);
}

static int padded(const bench *b, int n) {
    return (n + b->t->lanes - 1) / b->t->lanes * b->t->lanes;
}

/* ------------------------------------------------------------------- into lanes and out of them */

/* A strided view of rows x columns in just the memory it needs. */
typedef struct view {
    array all;
    int64_t origin, row, column; /* element [r][c] is all[origin + r*row + c*column] */
    int rows, columns;
} view;

static view make_view(bench *b, int rows, int columns) {
    view v = {.rows = rows, .columns = columns};
    v.column = draw_one_in(&b->from, 2) ? 1 : draw_int(b, 1, 3);
    v.row = (columns > 0 ? columns : 1) * v.column + draw_int(b, 0, 4);
    const int64_t reach = rows && columns ? (rows - 1) * v.row + (columns - 1) * v.column + 1 : 0;
    v.all = tensor(b, reach);
    if (v.column > 1 && draw_one_in(&b->from, 2)) { /* backwards */
        v.origin = reach > 0 ? reach - 1 : 0;
        v.row = -v.row;
        v.column = -v.column;
    }
    return v;
}

static void *view_data(const view *v) {
    return v->all.data + v->origin * v->all.b->t->element_size;
}

static double at(const view *v, int r, int c) {
    return get(&v->all, v->origin + r * v->row + c * v->column);
}

/* How many numbers of a are not POISON. */
static int64_t written(const array *a) {
    int64_t sum = 0;
    for (int64_t k = 0; k < a->count; k++) sum += !isnan(get(a, k));
    return sum;
}

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
    const view old = {before, v.origin, v.row, v.column, rows, columns};
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

/* --------------------------------------------------------------------------------------- score */

/* d products added in any order, fused or not, are within d u of the sum of their sizes. */
static void check_score(bench *b) {
    const int keys = draw_int(b, 1, ATTN_KEY_BLOCK), width = draw_width(b), d = draw_int(b, 0, 140);
    const int64_t stride = d + draw_int(b, 0, 5);
    const array key = tensor(b, (keys - 1) * stride + d), query = scratch(b, (int64_t)d * width);
    const array scores = scratch(b, (int64_t)keys * width);
    fill_random(&key, 1);
    fill_random(&query, 1);
    b->t->score(scores.data, query.data, key.data, stride, keys, d, width);
    for (int k = 0; k < keys; k++) {
        for (int q = 0; q < width; q++) {
            double sum = 0, sizes = 0;
            for (int f = 0; f < d; f++) {
                const double x = get(&key, k * stride + f) * get(&query, (int64_t)f * width + q);
                sum += x, sizes += fabs(x);
            }
            assert_within(get(&scores, (int64_t)k * width + q), sum, 2 * d * b->u * sizes);
        }
    }
}

static void check_score_few(bench *b) {
    const int keys = draw_int(b, 1, ATTN_KEY_BLOCK), rows = draw_int(b, 1, b->t->block),
              d = draw_int(b, 0, 140);
    const int width = padded(b, keys);
    const int64_t stride = d + draw_int(b, 0, 5), query_stride = padded(b, d);
    const array key = tensor(b, (keys - 1) * stride + d), query = scratch(b, rows * query_stride);
    const array scores = scratch(b, (int64_t)rows * width);
    fill_random(&key, 1);
    fill_with(&query, 0);
    for (int q = 0; q < rows; q++) {
        for (int f = 0; f < d; f++)
            set(&query, q * query_stride + f, random_normal(b->filled, (uint64_t)(q * 140 + f)));
    }
    b->t->score_few(scores.data, query.data, query_stride, key.data, stride, keys, d, rows, width);
    for (int q = 0; q < rows; q++) {
        for (int k = 0; k < keys; k++) {
            double sum = 0, sizes = 0;
            for (int f = 0; f < d; f++) {
                const double x = get(&key, k * stride + f) * get(&query, q * query_stride + f);
                sum += x, sizes += fabs(x);
            }
            assert_within(get(&scores, (int64_t)q * width + k), sum, 2 * d * b->u * sizes);
        }
    }
}

/* ------------------------------------------------------------------------- what modifies scores */

static const double LOG2_E = 1.44269504088896340736;

/* A tile of scores, some of them -infinity as an earlier rule would leave them. */
static array make_scores(bench *b, int keys, int width) {
    const array scores = scratch(b, (int64_t)keys * width);
    fill_random(&scores, 4);
    for (int64_t k = 0; k < scores.count; k++) {
        if (draw_one_in(&b->from, 9)) set(&scores, k, -INFINITY);
    }
    return scores;
}

/* tanh is within 4 u (test_accuracy.c), and the product rounds once. */
static void check_softcap(bench *b) {
    const int keys = draw_int(b, 1, ATTN_KEY_BLOCK), width = draw_width(b);
    const array scores = make_scores(b, keys, width), before = copy(b, &scores);
    b->t->softcap(scores.data, keys, width, 5);
    for (int64_t k = 0; k < scores.count; k++) {
        const double exact = 5 * tanh(get(&before, k));
        assert_within(get(&scores, k), exact, 5.5 * b->u * fabs(exact));
    }
}

/* What is -infinity stays so, whatever is added; what is finite stays finite, however low it
 * gets. */
static void check_add_bias(bench *b) {
    const int keys = draw_int(b, 1, ATTN_KEY_BLOCK), width = draw_width(b);
    const double lowest = b->single ? -FLT_MAX : -DBL_MAX;
    const array scores = make_scores(b, keys, width), before = copy(b, &scores);
    const array bias = make_scores(b, keys, width);
    for (int64_t k = 0; k < bias.count; k++) {
        if (draw_one_in(&b->from, 9)) set(&bias, k, lowest);
    }
    b->t->add_bias(scores.data, bias.data, keys, width);
    for (int64_t k = 0; k < scores.count; k++) {
        const double s = get(&before, k), x = get(&bias, k), now = get(&scores, k);
        if (s == -INFINITY || x == -INFINITY) assert_true(now == -INFINITY);
        else if (x == lowest) assert_true(now == lowest);
        else assert_within(now, s + LOG2_E * x, 2 * b->u * (fabs(s) + 2 * fabs(LOG2_E * x)));
    }
}

static void check_add_alibi(bench *b) {
    const int keys = draw_int(b, 1, ATTN_KEY_BLOCK), width = draw_width(b);
    const array scores = make_scores(b, keys, width), before = copy(b, &scores);
    const array slope = scratch(b, width), position = scratch(b, width);
    fill_random(&slope, 1);
    for (int q = 0; q < width; q++) set(&position, q, draw_int(b, -200, 200));
    b->t->add_alibi(scores.data, keys, width, slope.data, position.data);
    for (int k = 0; k < keys; k++) {
        for (int q = 0; q < width; q++) {
            const double s = get(&before, (int64_t)k * width + q);
            const double less = get(&slope, q) * fabs(get(&position, q) - k);
            assert_within(get(&scores, (int64_t)k * width + q), s - less,
                          2 * b->u * (fabs(s) + 2 * fabs(less)));
        }
    }
}

static void check_masks(bench *b) {
    const int keys = draw_int(b, 1, ATTN_KEY_BLOCK), width = draw_width(b);
    const array scores = make_scores(b, keys, width), before = copy(b, &scores),
                again = copy(b, &scores);
    int32_t *const first = numbers(b, width), *const last = numbers(b, width);
    int32_t *const key_ids = numbers(b, keys), *const query_ids = numbers(b, width);
    for (int q = 0; q < width; q++) {
        first[q] = (int32_t)draw_int(b, 0, keys), last[q] = (int32_t)draw_int(b, 0, keys);
        query_ids[q] = q % 5 ? (int32_t)draw_int(b, -1, 1) : INT32_MIN;
    }
    for (int k = 0; k < keys; k++) key_ids[k] = k % 7 ? (int32_t)draw_int(b, -1, 1) : INT32_MIN;
    b->t->mask_range(scores.data, keys, width, first, last);
    b->t->mask_documents(again.data, keys, width, key_ids, query_ids);
    for (int k = 0; k < keys; k++) {
        for (int q = 0; q < width; q++) {
            const int64_t i = (int64_t)k * width + q;
            const bool in_range = first[q] <= k && k < last[q], same = key_ids[k] == query_ids[q];
            assert_true(get(&scores, i) == (in_range ? get(&before, i) : -INFINITY));
            assert_true(get(&again, i) == (same ? get(&before, i) : -INFINITY));
        }
    }
}

static void check_load_allowed(bench *b) {
    const int rows = draw_int(b, 1, b->t->block), columns = draw_int(b, 1, ATTN_KEY_BLOCK);
    const int64_t step = draw_one_in(&b->from, 2) ? 1 : draw_int(b, 0, 3),
                  stride = columns * step + draw_int(b, 0, 3);
    const int64_t target_stride = columns + draw_int(b, 0, 9);
    const size_t bytes = (size_t)((rows - 1) * stride + (columns - 1) * step + 1);
    unsigned char *const allowed = block_of(b, bytes, GUARD_AFTER)->memory;
    const array into = scratch(b, rows * target_stride);
    const int shape = draw_int(b, 0, 2); /* all shut, all open, mixed */
    for (size_t k = 0; k < bytes; k++) {
        allowed[k] = shape == 2 ? (unsigned char)(draw_one_in(&b->from, 2) * draw_int(b, 1, 255))
                                : (unsigned char)shape;
    }
    const int met =
        b->t->load_allowed(into.data, target_stride, allowed, stride, step, rows, columns);
    int expected = 0;
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            const bool open = allowed[r * stride + c * step] != 0;
            expected |= open ? ATTN_SOME_OPEN : ATTN_SOME_SHUT;
            assert_true(get(&into, r * target_stride + c) == (open ? 0 : -INFINITY));
        }
    }
    assert_int_equal(met, expected);
    assert_int_equal(written(&into), rows * columns);
}

/* --------------------------------------------------------------------------------------- weigh */

/* exp2(x) with x rounded once: 4 u of its own (test_accuracy.c), and log(2) u |x| from the
 * rounding; what is expected has been through the same in float64. Less than any normal number may
 * be 0. */
static double exp2_bound(const bench *b, double x) {
    return (4.5 * b->u + 0x1p-53 + (b->u + 0x1p-53) * fabs(x)) * exp2(x) +
           (b->single ? FLT_MIN : DBL_MIN);
}

/* One row of a tile before and after: strides let both layouts share this. */
static void check_weighed_row(bench *b, const array *before, const array *after, int64_t start,
                              int64_t step, int keys, double factor, const double old[2],
                              const double now[3]) {
    double m = old[0], sum = 0, bound = 0;
    for (int k = 0; k < keys; k++) m = fmax(m, rounded(b, factor * get(before, start + k * step)));
    const double base = m == -INFINITY ? 0 : m, shrink = exp2(old[0] - base);
    for (int k = 0; k < keys; k++) {
        const double s = get(before, start + k * step), x = fma(factor, s, -base), w = exp2(x);
        const double off =
            w == 0 ? 0 : exp2_bound(b, x) + b->u * fabs(factor * s) * w; /* if not fused */
        assert_within(get(after, start + k * step), w, off);
        sum += w;
        bound += off;
    }
    const double whole = sum + old[1] * shrink;
    assert_true(now[0] == m);
    assert_within(now[2], shrink, shrink == 0 ? 0 : exp2_bound(b, old[0] - base));
    bound += old[1] * (shrink == 0 ? 0 : exp2_bound(b, old[0] - base));
    assert_within(now[1], whole, bound + 2 * (keys + 2) * b->u * whole);
}

/* Some rows have seen nothing before, some see nothing now. */
static void make_state(bench *b, const array *maximum, const array *sum, int rows) {
    for (int q = 0; q < rows; q++) {
        const bool seen = !draw_one_in(&b->from, 4);
        set(maximum, q, seen ? (double)draw_int(b, -20, 20) : -INFINITY);
        set(sum, q, seen ? draw_int(b, 1, 9) : 0);
    }
}

static double draw_factor(bench *b) {
    return draw_one_in(&b->from, 2) ? 1 : rounded(b, 0.1 * draw_int(b, 1, 30));
}

static void check_weigh(bench *b) {
    const int keys = draw_int(b, 1, ATTN_KEY_BLOCK), width = draw_width(b);
    const array scores = make_scores(b, keys, width);
    const array maximum = scratch(b, width), sum = scratch(b, width), shrink = scratch(b, width);
    for (int k = 0; k < keys; k++) set(&scores, (int64_t)k * width + width / 2, -INFINITY);
    make_state(b, &maximum, &sum, width);
    const array before = copy(b, &scores), m = copy(b, &maximum), l = copy(b, &sum);
    const double factor = draw_factor(b);
    b->t->weigh(scores.data, keys, width, factor, maximum.data, sum.data, shrink.data);
    for (int q = 0; q < width; q++) {
        check_weighed_row(b, &before, &scores, q, width, keys, factor,
                          (double[]){get(&m, q), get(&l, q)},
                          (double[]){get(&maximum, q), get(&sum, q), get(&shrink, q)});
    }
}

static void check_weigh_few(bench *b) {
    const int keys = draw_int(b, 1, ATTN_KEY_BLOCK), rows = draw_int(b, 1, b->t->block),
              width = padded(b, keys);
    const array scores = make_scores(b, rows, width);
    const array maximum = scratch(b, rows), sum = scratch(b, rows), shrink = scratch(b, rows);
    for (int k = 0; k < keys; k++) set(&scores, (int64_t)(rows / 2) * width + k, -INFINITY);
    make_state(b, &maximum, &sum, rows);
    const array before = copy(b, &scores), m = copy(b, &maximum), l = copy(b, &sum);
    const double factor = draw_factor(b);
    b->t->weigh_few(scores.data, keys, rows, width, factor, maximum.data, sum.data, shrink.data);
    for (int q = 0; q < rows; q++) {
        check_weighed_row(b, &before, &scores, (int64_t)q * width, 1, keys, factor,
                          (double[]){get(&m, q), get(&l, q)},
                          (double[]){get(&maximum, q), get(&sum, q), get(&shrink, q)});
    }
}

/* A NaN stays in its own query: sum and weights there, and nothing elsewhere. */
static void check_weigh_nan(bench *b) {
    const int keys = draw_int(b, 1, ATTN_KEY_BLOCK), width = draw_width(b),
              sick = draw_int(b, 0, width - 1);
    const array scores = scratch(b, (int64_t)keys * width);
    const array maximum = scratch(b, width), sum = scratch(b, width), shrink = scratch(b, width);
    fill_random(&scores, 4);
    set(&scores, (int64_t)draw_int(b, 0, keys - 1) * width + sick, NAN);
    make_state(b, &maximum, &sum, width);
    b->t->weigh(scores.data, keys, width, 1, maximum.data, sum.data, shrink.data);
    for (int q = 0; q < width; q++) assert_int_equal(isnan(get(&sum, q)), q == sick);
}

/* ------------------------------------------------------------------------------------ aggregate */

/* What aggregate makes of one number: `keys` products in any order, and one fused sum. */
static void check_sum(bench *b, double result, double old, double shrink, double sum, double sizes,
                      int keys) {
    const double bound = 2 * b->u * ((keys + 2) * sizes + 2 * fabs(old * shrink));
    assert_within(result, old * shrink + sum, bound);
}

static void check_aggregate_in(bench *b, bool few) {
    const int keys = draw_int(b, 1, ATTN_KEY_BLOCK), d = draw_int(b, 1, 140);
    const int width = few ? padded(b, keys) : draw_width(b),
              rows = few ? draw_int(b, 1, b->t->block) : width;
    const int64_t stride = d + draw_int(b, 0, 5), row = padded(b, d);
    const array value = tensor(b, (keys - 1) * stride + d), shrink = scratch(b, few ? rows : width);
    const array weights = scratch(b, few ? (int64_t)rows * width : (int64_t)keys * width);
    const array output = scratch(b, few ? rows * row : (int64_t)d * width);
    fill_random(&value, 1);
    fill_random(&weights, 1);
    fill_random(&shrink, 1);
    fill_random(&output, 1);
    const array before = copy(b, &output);
    if (few) {
        b->t->aggregate_few(output.data, row, shrink.data, weights.data, value.data, stride, keys,
                            d, rows, width);
    } else {
        b->t->aggregate(output.data, shrink.data, weights.data, value.data, stride, keys, d, width);
    }
    for (int q = 0; q < rows; q++) {
        for (int f = 0; f < d; f++) {
            double sum = 0, sizes = 0;
            for (int k = 0; k < keys; k++) {
                const double w =
                    get(&weights, few ? (int64_t)q * width + k : (int64_t)k * width + q);
                const double x = w * get(&value, k * stride + f);
                sum += x, sizes += fabs(x);
            }
            const int64_t i = few ? q * row + f : (int64_t)f * width + q;
            check_sum(b, get(&output, i), get(&before, i), get(&shrink, q), sum, sizes, keys);
        }
    }
}

static void check_aggregate(bench *b) {
    check_aggregate_in(b, false);
}

static void check_aggregate_few(bench *b) {
    check_aggregate_in(b, true);
}

/* With nothing hidden and nothing bad, the careful way has the very bits of the fast one; NaN and
 * infinity under the mask change nothing. */
static void check_aggregate_visible_in(bench *b, bool few) {
    const int keys = draw_int(b, 1, 40), d = draw_int(b, 1, 40);
    const int width = few ? padded(b, keys) : draw_width(b),
              rows = few ? draw_int(b, 1, b->t->block) : width;
    const int64_t stride = d + draw_int(b, 0, 5), row = padded(b, d);
    const array value = tensor(b, (keys - 1) * stride + d), shrink = scratch(b, few ? rows : width);
    const int64_t tile = few ? (int64_t)rows * width : (int64_t)keys * width;
    const array weights = scratch(b, tile), mask = scratch(b, tile);
    const array fast = scratch(b, few ? rows * row : (int64_t)d * width);
    const int hidden = draw_int(b, 0, keys - 1);
    fill_random(&value, 1);
    fill_random(&weights, 1);
    fill_random(&shrink, 1);
    fill_random(&fast, 1);
    fill_with(&mask, 0);
    for (int q = 0; q < rows; q++) {
        const int64_t i = few ? (int64_t)q * width + hidden : (int64_t)hidden * width + q;
        set(&mask, i, -INFINITY);
        set(&weights, i, 0);
    }
    const array careful = copy(b, &fast);
    if (few) {
        b->t->aggregate_few(fast.data, row, shrink.data, weights.data, value.data, stride, keys, d,
                            rows, width);
    } else {
        b->t->aggregate(fast.data, shrink.data, weights.data, value.data, stride, keys, d, width);
    }
    for (int f = 0; f < d; f++) set(&value, hidden * stride + f, f % 2 ? NAN : INFINITY);
    b->t->aggregate_visible(careful.data, few ? 1 : width, few ? row : 1, shrink.data, weights.data,
                            mask.data, few ? 1 : width, few ? width : 1, value.data, stride, keys,
                            d, rows);
    for (int q = 0; q < rows; q++) {
        for (int f = 0; f < d; f++) {
            const int64_t i = few ? q * row + f : (int64_t)f * width + q;
            assert_true(get(&careful, i) == get(&fast, i));
        }
    }
}

static void check_aggregate_visible(bench *b) {
    check_aggregate_visible_in(b, draw_one_in(&b->from, 2));
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

/* ------------------------------------------------------------------------------ partial results */

static void check_rescale(bench *b) {
    const int width = draw_width(b);
    const array from = scratch(b, width), to = scratch(b, width), by = scratch(b, width),
                factor = scratch(b, width);
    const bool times = draw_one_in(&b->from, 2);
    fill_random(&by, 1);
    for (int q = 0; q < width; q++) {
        set(&to, q, q % 5 == 1 ? -INFINITY : draw_int(b, -50, 50) / 3.);
        set(&from, q, q % 3 == 1 || q % 5 == 1 ? -INFINITY : get(&to, q) - draw_int(b, 0, 50) / 7.);
    }
    b->t->rescale(factor.data, from.data, to.data, times ? by.data : NULL, width);
    for (int q = 0; q < width; q++) {
        const double x = get(&from, q) - get(&to, q), y = times ? get(&by, q) : 1;
        if (get(&from, q) == -INFINITY) assert_true(get(&factor, q) == 0);
        else
            assert_within(get(&factor, q), exp2(x) * y,
                          (exp2_bound(b, x) + 1.1 * b->u * exp2(x)) * fabs(y));
    }
}

static void check_finish(bench *b) {
    const int width = draw_width(b), rows = draw_int(b, 1, width),
              sick = draw_int(b, -3, width - 1);
    const array maximum = scratch(b, width), sum = scratch(b, width), inverse = scratch(b, width),
                lse = scratch(b, width);
    for (int q = 0; q < width; q++) {
        const bool empty = q % 4 == 3;
        set(&maximum, q, empty ? -INFINITY : draw_int(b, -1000, 1000) / 7.);
        set(&sum, q, empty ? 0 : 1 + draw_int(b, 0, 1000) / 9.);
    }
    if (sick >= 0) set(&sum, sick, NAN);
    assert_int_equal(b->t->finish(inverse.data, lse.data, maximum.data, sum.data, rows, width),
                     sick >= 0 && sick < rows);
    for (int q = 0; q < rows; q++) {
        const double l = get(&sum, q), m = get(&maximum, q), ln2 = 0.69314718055994530942;
        const double exact = l == 0 ? -INFINITY : m * ln2 + log(l);
        assert_within(get(&inverse, q), l == 0 ? 0 : 1 / l, l > 0 ? b->u / l : 0);
        assert_within(get(&lse, q), exact, 4 * b->u * (fabs(m) + fabs(log(l > 0 ? l : 1))));
    }
}

/* x0 and x1 as parts of one whole whose maximum is the larger of m0 and m1; an empty part (maximum
 * -infinity) must leave the other as it is, to the bit. */
static void check_merged(bench *b, double result, const double x[2], const double m[2]) {
    const double most = fmax(m[0], m[1]), base = most == -INFINITY ? 0 : most;
    const double by[2] = {exp2(m[0] - base), exp2(m[1] - base)};
    double bound = 2 * b->u * (fabs(x[0] * by[0]) + fabs(x[1] * by[1]));
    for (int k = 0; k < 2; k++) bound += m[k] == most ? 0 : fabs(x[k]) * exp2_bound(b, m[k] - base);
    if (m[0] == -INFINITY || m[1] == -INFINITY) bound = 0;
    assert_within(result, x[0] * by[0] + x[1] * by[1], bound);
}

static void check_merge_in(bench *b, bool few) {
    const int width = draw_width(b), rows = few ? draw_int(b, 1, b->t->block) : width,
              d = draw_int(b, 0, 70);
    const int64_t row = few ? padded(b, d) : 1, feature = few ? 1 : width;
    array output[2], maximum[2], sum[2];
    for (int k = 0; k < 2; k++) {
        output[k] = scratch(b, few ? rows * row : (int64_t)d * width);
        maximum[k] = scratch(b, rows), sum[k] = scratch(b, rows);
        fill_random(&output[k], 1);
        make_state(b, &maximum[k], &sum[k], rows);
        for (int q = 0; q < rows; q++) {
            for (int f = 0; get(&sum[k], q) == 0 && f < d; f++)
                set(&output[k], q * row + f * feature, 0);
        }
    }
    const array o = copy(b, &output[0]), m = copy(b, &maximum[0]), l = copy(b, &sum[0]);
    if (few) {
        b->t->merge_few(output[0].data, row, maximum[0].data, sum[0].data, output[1].data,
                        maximum[1].data, sum[1].data, d, rows);
    } else {
        b->t->merge(output[0].data, maximum[0].data, sum[0].data, output[1].data, maximum[1].data,
                    sum[1].data, d, width);
    }
    for (int q = 0; q < rows; q++) {
        const double both[2] = {get(&m, q), get(&maximum[1], q)};
        assert_true(get(&maximum[0], q) == fmax(both[0], both[1]));
        check_merged(b, get(&sum[0], q), (double[]){get(&l, q), get(&sum[1], q)}, both);
        for (int f = 0; f < d; f++) {
            const int64_t i = q * row + f * feature;
            check_merged(b, get(&output[0], i), (double[]){get(&o, i), get(&output[1], i)}, both);
        }
    }
}

static void check_merge(bench *b) {
    check_merge_in(b, false);
}

static void check_merge_few(bench *b) {
    check_merge_in(b, true);
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

/* clang-format off */
#define ALL_TESTS \
    TEST(load_transposed) TEST(load_rows) TEST(store_transposed) TEST(store_rows) \
    TEST(rows_in_place) TEST(fill) TEST(score) TEST(score_few) TEST(softcap) TEST(add_bias) \
    TEST(add_alibi) TEST(masks) TEST(load_allowed) TEST(weigh) TEST(weigh_few) TEST(weigh_nan) \
    TEST(aggregate) TEST(aggregate_few) TEST(aggregate_visible) TEST(all_finite) TEST(rescale) \
    TEST(finish) TEST(merge) TEST(merge_few) TEST(zero_masked)
/* clang-format on */

#define TEST(name)                          \
    static void name(void **state) {        \
        on_both_types(state, check_##name); \
    }
ALL_TESTS
#undef TEST

int main(void) {
#define TEST(name) cmocka_unit_test(name),
    const struct CMUnitTest tests[] = {ALL_TESTS};
#undef TEST
    return run_on_each_isa("tiles", tests, COUNT(tests));
}

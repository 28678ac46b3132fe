/* tiles_support.c: see tiles_support.h. */
#include "tiles_support.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "isa/cpu.h"

/* ------------------------------------------------------------------------------------- arrays */

void *element_of(const array *a, int64_t k) {
    return a->data + k * a->b->t->element_size;
}

double get(const array *a, int64_t k) {
    assert_true(k >= 0 && k < a->count);
    return a->b->single ? (double)((const float *)(const void *)a->data)[k]
                        : ((const double *)(const void *)a->data)[k];
}

void set(const array *a, int64_t k, double x) {
    assert_true(k >= 0 && k < a->count);
    if (a->b->single) ((float *)(void *)a->data)[k] = (float)x;
    else ((double *)(void *)a->data)[k] = x;
}

double rounded(const bench *b, double x) {
    return b->single ? (double)(float)x : x;
}

guarded *block_of(bench *b, size_t bytes, guard_side side) {
    assert_true(b->used < (int)COUNT(b->blocks));
    guarded *const g = &b->blocks[b->used++];
    *g = guarded_make(bytes, side);
    return g;
}

array tensor(bench *b, int64_t count) {
    const guard_side side = draw_one_in(&b->from, 2) ? GUARD_BEFORE : GUARD_AFTER;
    const guarded *const g = block_of(b, (size_t)(count * b->t->element_size), side);
    return (array){b, g->memory, count};
}

array scratch(bench *b, int64_t count) {
    const size_t bytes = (size_t)(count * b->t->element_size);
    const guarded *const g = block_of(b, (bytes + 63) / 64 * 64, GUARD_AFTER);
    return (array){b, g->memory, count};
}

int32_t *numbers(bench *b, int count) {
    return (int32_t *)(void *)block_of(b, (size_t)count * sizeof(int32_t), GUARD_AFTER)->memory;
}

array copy(bench *b, const array *a) {
    const array c = scratch(b, a->count);
    memcpy(c.data, a->data, (size_t)(a->count * b->t->element_size));
    return c;
}

void fill_random(const array *a, double spread) {
    a->b->filled++;
    for (int64_t k = 0; k < a->count; k++)
        set(a, k, spread * random_normal(a->b->filled, (uint64_t)k));
}

void fill_with(const array *a, double x) {
    for (int64_t k = 0; k < a->count; k++) set(a, k, x);
}

int64_t written(const array *a) {
    int64_t sum = 0;
    for (int64_t k = 0; k < a->count; k++) sum += !isnan(get(a, k));
    return sum;
}

void assert_bounded(double result, double expected, double bound) {
    if (isnan(expected) ? isnan(result) : result == expected || fabs(result - expected) <= bound)
        return;
    fail_msg("%.17g, but expected %.17g: off by %g, bound %g", result, expected,
             fabs(result - expected), bound);
}

/* ------------------------------------------------------------------------------------- shapes */

int draw_int(bench *b, int lowest, int highest) {
    return (int)draw(&b->from, lowest, highest);
}

int draw_width(bench *b) {
    return b->t->lanes * draw_int(b, 1, b->t->block / b->t->lanes);
}

int padded(const bench *b, int n) {
    return (n + b->t->lanes - 1) / b->t->lanes * b->t->lanes;
}

view draw_strides(bench *b, int rows, int columns) {
    view v = {.rows = rows, .columns = columns};
    v.column = draw_one_in(&b->from, 2) ? 1 : draw_int(b, 1, 3);
    v.row = (columns > 0 ? columns : 1) * v.column + draw_int(b, 0, 4);
    v.count = rows && columns ? (rows - 1) * v.row + (columns - 1) * v.column + 1 : 0;
    if (v.column > 1 && draw_one_in(&b->from, 2)) { /* backwards */
        v.origin = v.count > 0 ? v.count - 1 : 0;
        v.row = -v.row;
        v.column = -v.column;
    }
    return v;
}

view make_view(bench *b, int rows, int columns) {
    view v = draw_strides(b, rows, columns);
    v.all = tensor(b, v.count);
    return v;
}

void *view_data(const view *v) {
    return element_of(&v->all, v->origin);
}

double at(const view *v, int r, int c) {
    return get(&v->all, v->origin + r * v->row + c * v->column);
}

tile make_tile(bench *b, bool few) {
    const int most = draw_one_in(&b->from, 4) ? 5 : ATTN_KEY_BLOCK;
    tile t = {.few = few, .keys = draw_int(b, 1, most)};
    t.width = few ? padded(b, t.keys) : draw_width(b);
    t.rows = few ? draw_int(b, 1, b->t->block) : t.width;
    t.lines = few ? t.rows : t.keys;
    t.key_stride = few ? 1 : t.width;
    t.row_stride = few ? t.width : 1;
    t.all = scratch(b, (int64_t)t.lines * t.width);
    fill_random(&t.all, 4);
    return t;
}

int64_t place(const tile *t, int k, int r) {
    return k * t->key_stride + r * t->row_stride;
}

void pad_tile(const tile *t, double x) {
    for (int r = 0; t->few && r < t->rows; r++) {
        for (int k = t->keys; k < t->width; k++) set(&t->all, place(t, k, r), x);
    }
}

tile make_scores(bench *b, bool few) {
    const tile t = make_tile(b, few);
    for (int64_t k = 0; k < t.all.count; k++) {
        if (draw_one_in(&b->from, 9)) set(&t.all, k, -INFINITY);
    }
    pad_tile(&t, -INFINITY);
    return t;
}

/* ------------------------------------------------------------------------------------- bounds */

double exp2_bound(const bench *b, double x) {
    return (4.5 * b->u + 0x1p-53 + (b->u + 0x1p-53) * fabs(x)) * exp2(x) + b->least;
}

double sum_bound(const bench *b, int64_t n, double sizes) {
    return 2 * (double)n * b->u * sizes;
}

/* ------------------------------------------------------------------------------------ running */

void on_both_types(void **state, void (*check)(bench *b), int64_t rounds) {
    const target *const on = *state;
    static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64};
    for (size_t k = 0; k < COUNT(dtypes); k++) {
        static bench b;
        b = (bench){.t = attn_tiles_for(on->isa, dtypes[k]), .single = dtypes[k] == ATTN_F32};
        b.fused = on->isa != ATTN_ISA_GENERIC;
        b.u = b.single ? 0x1p-24 : 0x1p-53;
        b.least = b.single ? FLT_MIN : DBL_MIN;
        b.from.seed = 17 + k;
        b.filled = 100 * k;
        assert_int_equal(b.t->element_size, b.single ? sizeof(float) : sizeof(double));
        assert_int_equal(b.t->block % b.t->lanes, 0);
        for (int64_t round = rounds; round > 0; round--) {
            check(&b);
            for (; b.used > 0; b.used--) guarded_free(&b.blocks[b.used - 1]);
        }
    }
}

/* relative.c: gradients of tables whose entry depends on where a key stands relative to its query, and of
 * what meets them. Gradients of pairs (or weights) are first summed by entry; what is left are products
 * of these sums with the table and with queries, keys or output gradients. */
#include "attention/relative.h"

#include <math.h>

#include "api/check.h"
#include "gradient/gradient.h"

/* Sums by entry of a tile's elements, [entry][row], or [row][entry] if few. */
typedef struct {
    void *sums;
    int64_t entry_stride, row_stride;
    int padded;
    attn_entries of;
} entry_sums;

static void add_up(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                   const entry_sums *s, const void *elements) {
    g->w.tiles->sum_relative(s->sums, s->entry_stride, s->row_stride, elements, tile->key_stride,
                             tile->row_stride, g->g.ones, tile->count, b->rows, s->of.of);
}

static int64_t sum_count(const attn_block *b, const entry_sums *s) {
    return (int64_t)s->padded * (b->few ? b->rows : b->width);
}

static entry_sums sum_by_entry(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                               const void *elements) {
    const attn_tiles *const t = g->w.tiles;
    entry_sums s = {.sums = g->g.entries};
    s.of = attn_relative_entries(&g->w, b, tile, 0, tile->count);
    s.padded = attn_padded(s.of.count, t);
    s.entry_stride = b->few ? 1 : b->width;
    s.row_stride = b->few ? s.padded : 1;
    t->fill(s.sums, 1, sum_count(b, &s), 0);
    add_up(g, b, tile, &s, elements);
    return s;
}

/* What tells hidden pairs of this tile. */
static const void *hidden_pairs(attn_gradient_worker *g, const attn_tile *tile,
                                attn_visibility seen) {
    void *const hidden = g->w.space.hidden;
    if (!attn_gradient_hides(g, seen))
        g->w.tiles->fill(hidden, 1, (int64_t)tile->lines * tile->width, 0);
    return hidden;
}

/* The same sums, but -infinity for what no visible pair reaches. */
static void sum_reached(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                        attn_visibility seen, const entry_sums *s, const void *elements) {
    const void *const hidden = hidden_pairs(g, tile, seen);
    g->w.tiles->fill(s->sums, 1, sum_count(b, s), (double)-INFINITY);
    attn_relative_reach(&g->w, b, tile, hidden, 0, tile->count, s->of.of, s->sums, s->entry_stride,
                        s->row_stride, 0);
    add_up(g, b, tile, s, elements);
}

/* A table's gradient gets, for each entry, the sums times the rows. */
static void to_table(attn_gradient_worker *g, const attn_block *b, const entry_sums *s,
                     attn_matrix matrix, const void *rows, int64_t stride) {
    const attn_tiles *const t = g->w.tiles;
    if (!g->call->matrix[matrix]) return;
    const int64_t wide = attn_matrix_stride(g->call, matrix);
    attn_gradient_distribute_some(g, attn_offset(g->g.matrix[matrix], s->of.first * wide, t), wide,
                                  s->sums, s->entry_stride, s->row_stride, rows, stride,
                                  s->of.count, b->rows);
}

/* (36) */
static void back_from_keys(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                           attn_visibility seen) {
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d, padded = g->call->plan.d_padded;
    const entry_sums s = sum_by_entry(g, b, tile, g->g.gradient);
    int64_t stride;
    const void *const table = attn_relative_rows(&g->w, &g->w.problem->score.relative->keys,
                                                 b->first_head, s.of.first, s.of.count, &stride);
    to_table(g, b, &s, ATTN_OF_RELATIVE_KEYS, g->g.position_rows, padded);
    if (!t->all_finite(table, stride, s.of.count, d)) {
        sum_reached(g, b, tile, seen, &s, g->g.gradient);
        t->aggregate_visible(g->g.position_sums, b->few ? 1 : b->width, b->few ? padded : 1,
                             g->g.ones, s.sums, s.sums, s.entry_stride, s.row_stride, table, stride,
                             s.of.count, d, b->rows);
    } else if (b->few) {
        t->aggregate_few(g->g.position_sums, padded, g->g.ones, s.sums, table, stride, s.of.count,
                         d, b->rows, s.padded);
    } else {
        t->aggregate(g->g.position_sums, g->g.ones, s.sums, table, stride, s.of.count, d, b->width);
    }
}

/* (37): sums of a few keys of a tile, [key][entry]. */
typedef struct {
    int first, count; /* keys */
    attn_entries of;
    int wide;
} key_sums;

static void add_up_keys(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                        const key_sums *s) {
    const attn_tiles *const t = g->w.tiles;
    for (int i = 0; i < s->count; i++)
        t->sum_relative(attn_offset(g->g.key_entries, (int64_t)i * s->wide, t), 1, 0,
                        attn_offset(g->g.gradient, (s->first + i) * tile->key_stride, t),
                        tile->key_stride, tile->row_stride, g->g.ones, 1, b->rows, s->of.of + i);
}

static void to_table_of_queries(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                                const key_sums *s) {
    const attn_tiles *const t = g->w.tiles;
    const attn_tensor *const key = &g->w.problem->key;
    if (!g->call->matrix[ATTN_OF_RELATIVE_QUERIES]) return;
    const int64_t columns = attn_matrix_stride(g->call, ATTN_OF_RELATIVE_QUERIES);
    t->fill(g->g.key_rows, 1, (int64_t)s->count * columns, 0);
    t->load_rows(g->g.key_rows, columns, attn_key_rows(&g->w, key, b, tile->k + s->first),
                 key->stride[2], key->stride[3], s->count, g->call->plan.d, 1.0);
    attn_gradient_distribute_some(
        g, attn_offset(g->g.matrix[ATTN_OF_RELATIVE_QUERIES], s->of.first * columns, t), columns,
        g->g.key_entries, 1, s->wide, g->g.key_rows, columns, s->of.count, s->count);
}

static void to_keys_by_entry(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                             attn_visibility seen, const key_sums *s) {
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d, padded = g->call->plan.d_padded;
    const int64_t at = tile->k + s->first - g->chunk_keys.first;
    void *const sums = attn_offset(g->g.key_sums, at * padded, t);
    int64_t stride;
    const void *const table = attn_relative_rows(&g->w, &g->w.problem->score.relative->queries,
                                                 b->first_head, s->of.first, s->of.count, &stride);
    if (t->all_finite(table, stride, s->of.count, d)) {
        t->aggregate_few(sums, padded, g->g.ones, g->g.key_entries, table, stride, s->of.count, d,
                         s->count, s->wide);
        return;
    }
    t->fill(g->g.key_entries, 1, (int64_t)s->count * s->wide, (double)-INFINITY);
    attn_relative_reach(&g->w, b, tile, hidden_pairs(g, tile, seen), s->first, s->count, s->of.of,
                        g->g.key_entries, 1, 0, s->wide);
    add_up_keys(g, b, tile, s);
    t->aggregate_visible(sums, 1, padded, g->g.ones, g->g.key_entries, g->g.key_entries, 1, s->wide,
                         table, stride, s->of.count, d, s->count);
}

static void back_from_queries(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                              attn_visibility seen) {
    enum { KEYS = 32 };
    const attn_tiles *const t = g->w.tiles;
    for (int k = 0; k < tile->count; k += KEYS) {
        const int count = tile->count - k < KEYS ? tile->count - k : KEYS;
        const attn_entries of = attn_relative_entries(&g->w, b, tile, k, count);
        const key_sums s = {k, count, of, attn_padded(of.count, t)};
        t->fill(g->g.key_entries, 1, (int64_t)count * s.wide, 0);
        add_up_keys(g, b, tile, &s);
        to_table_of_queries(g, b, tile, &s);
        to_keys_by_entry(g, b, tile, seen, &s);
    }
}

void attn_gradient_relative(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                            attn_visibility seen) {
    const attn_relative *const r = g->w.problem->score.relative;
    if (!r) return;
    if (attn_tensor_present(&r->keys)) back_from_keys(g, b, tile, seen);
    if (attn_tensor_present(&r->queries)) back_from_queries(g, b, tile, seen);
}

/* (29) */
void attn_gradient_relative_bias(attn_gradient_worker *g, const attn_block *b,
                                 const attn_tile *tile) {
    const attn_tiles *const t = g->w.tiles;
    if (!g->call->matrix[ATTN_OF_RELATIVE_BIAS]) return;
    const attn_entries e = attn_relative_entries(&g->w, b, tile, 0, tile->count);
    t->fill(g->g.any, 1, t->block, g->call->pending);
    t->sum_relative(attn_offset(g->g.matrix[ATTN_OF_RELATIVE_BIAS], e.first, t), 1, 0,
                    g->g.gradient, tile->key_stride, tile->row_stride, g->g.any, tile->count,
                    b->rows, e.of);
}

/* (11): the weights' gradients get dot(d_output, values[e]), as scores get dot(query, keys[e]). */
void attn_gradient_relative_flow(attn_gradient_worker *g, const attn_block *b,
                                 const attn_tile *tile) {
    const attn_relative *const r = g->w.problem->score.relative;
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d_value;
    if (!r || !attn_tensor_present(&r->values)) return;
    const attn_entries e = attn_relative_entries(&g->w, b, tile, 0, tile->count);
    const int padded = attn_padded(e.count, t);
    int64_t stride;
    const void *const table =
        attn_relative_rows(&g->w, &r->values, b->first_head, e.first, e.count, &stride);
    if (b->few)
        t->score_few(g->g.entries, g->g.flow, attn_value_stride(g->call), table, stride, e.count, d,
                     b->rows, padded);
    else t->score(g->g.entries, g->g.flow, table, stride, e.count, d, b->width);
    t->add_relative(g->g.gradient, tile->key_stride, tile->row_stride, tile->count, b->rows,
                    g->g.entries, 0, b->few ? padded : 1, b->few ? 1 : b->width, e.of);
}

void attn_gradient_relative_values(attn_gradient_worker *g, const attn_block *b,
                                   const attn_tile *tile, const void *weights) {
    if (!g->call->matrix[ATTN_OF_RELATIVE_VALUES]) return;
    const entry_sums s = sum_by_entry(g, b, tile, weights);
    to_table(g, b, &s, ATTN_OF_RELATIVE_VALUES, g->flow_rows, g->flow_stride);
}

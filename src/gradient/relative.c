/* relative.c: gradients of tables whose entry depends on where a key stands relative to its query, and of
 * what meets them. Gradients of pairs (or weights) are first summed by entry; what is left are products
 * of these sums with the table and with queries, keys or output gradients. */
#include "attention/relative.h"

#include "api/check.h"
#include "gradient/gradient.h"

/* Sums by entry of a tile's elements, [entry][row], or [row][entry] if few. */
typedef struct {
    void *sums;
    int64_t entry_stride, row_stride;
    int padded;
    attn_entries of;
} entry_sums;

static entry_sums sum_by_entry(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                               const void *elements) {
    const attn_tiles *const t = g->w.tiles;
    entry_sums s = {.sums = g->g.entries};
    s.of = attn_relative_entries(&g->w, b, tile, 0, tile->count);
    s.padded = attn_padded(s.of.count, t);
    s.entry_stride = b->few ? 1 : b->width;
    s.row_stride = b->few ? s.padded : 1;
    t->fill(s.sums, 1, (int64_t)s.padded * (b->few ? b->rows : b->width), 0);
    t->sum_relative(s.sums, s.entry_stride, s.row_stride, elements, tile->key_stride,
                    tile->row_stride, g->g.ones, tile->count, b->rows, s.of.of);
    return s;
}

/* DISTRIBUTE, where rows that are not finite reach but the entries that they met. */
static void distribute_some(attn_gradient_worker *g, void *sums, int64_t wide, const void *tile,
                            int64_t entry_stride, int64_t row_stride, const void *rows,
                            int64_t stride, int entries, int count) {
    const attn_tiles *const t = g->w.tiles;
    if (t->all_finite(rows, stride, count, (int)wide))
        t->distribute(sums, wide, tile, entry_stride, row_stride, rows, stride, entries, (int)wide,
                      count);
    else
        t->distribute_visible(sums, wide, tile, NULL, entry_stride, row_stride, rows, stride,
                              entries, (int)wide, count);
}

/* A table's gradient gets, for each entry, the sums times the rows. */
static void to_table(attn_gradient_worker *g, const attn_block *b, const entry_sums *s,
                     attn_matrix matrix, const void *rows, int64_t stride) {
    const attn_tiles *const t = g->w.tiles;
    if (!g->call->matrix[matrix]) return;
    const int64_t wide = attn_matrix_stride(g->call, matrix);
    distribute_some(g, attn_offset(g->g.matrix[matrix], s->of.first * wide, t), wide, s->sums,
                    s->entry_stride, s->row_stride, rows, stride, s->of.count, b->rows);
}

/* (36) */
static void back_from_keys(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d, padded = g->call->plan.d_padded;
    const entry_sums s = sum_by_entry(g, b, tile, g->g.gradient);
    int64_t stride;
    const void *const table = attn_relative_rows(&g->w, &g->w.problem->score.relative->keys,
                                                 b->first_head, s.of.first, s.of.count, &stride);
    if (b->few)
        t->aggregate_few(g->g.position_sums, padded, g->g.ones, s.sums, table, stride, s.of.count,
                         d, b->rows, s.padded);
    else
        t->aggregate(g->g.position_sums, g->g.ones, s.sums, table, stride, s.of.count, d, b->width);
    to_table(g, b, &s, ATTN_OF_RELATIVE_KEYS, g->g.position_rows, padded);
}

/* (37): sums by key and entry, a few keys at a time. */
static void back_from_queries(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    enum { KEYS = 32 };
    const attn_tiles *const t = g->w.tiles;
    const attn_plan *const plan = &g->call->plan;
    const attn_tensor *const key = &g->w.problem->key;
    const int d = plan->d, padded = plan->d_padded;
    for (int k = 0; k < tile->count; k += KEYS) {
        const int count = tile->count - k < KEYS ? tile->count - k : KEYS;
        const attn_entries e = attn_relative_entries(&g->w, b, tile, k, count);
        const int wide = attn_padded(e.count, t);
        int64_t stride;
        t->fill(g->g.key_entries, 1, (int64_t)count * wide, 0);
        for (int i = 0; i < count; i++)
            t->sum_relative(attn_offset(g->g.key_entries, (int64_t)i * wide, t), 1, 0,
                            attn_offset(g->g.gradient, (k + i) * tile->key_stride, t),
                            tile->key_stride, tile->row_stride, g->g.ones, 1, b->rows, e.of + i);
        const void *const table = attn_relative_rows(&g->w, &g->w.problem->score.relative->queries,
                                                     b->first_head, e.first, e.count, &stride);
        const int64_t at = tile->k + k - g->chunk_keys.first;
        t->aggregate_few(attn_offset(g->g.key_sums, at * padded, t), padded, g->g.ones,
                         g->g.key_entries, table, stride, e.count, d, count, wide);
        if (!g->call->matrix[ATTN_OF_RELATIVE_QUERIES]) continue;
        const int64_t columns = attn_matrix_stride(g->call, ATTN_OF_RELATIVE_QUERIES);
        t->fill(g->g.key_rows, 1, (int64_t)count * columns, 0);
        t->load_rows(g->g.key_rows, columns, attn_key_rows(&g->w, key, b, tile->k + k),
                     key->stride[2], key->stride[3], count, d, 1.0);
        distribute_some(g, attn_offset(g->g.matrix[ATTN_OF_RELATIVE_QUERIES], e.first * columns, t),
                        columns, g->g.key_entries, 1, wide, g->g.key_rows, columns, e.count, count);
    }
}

void attn_gradient_relative(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    const attn_relative *const r = g->w.problem->score.relative;
    if (!r) return;
    if (attn_tensor_present(&r->keys)) back_from_keys(g, b, tile);
    if (attn_tensor_present(&r->queries)) back_from_queries(g, b, tile);
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

/* rows.c: views that read weights as rows, [query][key]: slices, other types, the mean over heads, the
 * alignment path, sums over blocks. */
#include "api/check.h"
#include "attention/results.h"
#include "explain/alignment.h"
#include "observe/parts.h"

/* Whether some view reads weights as rows: [query][key], final. */
bool attn_reads_rows(const attn_worker *w) {
    const attn_views *const v = w->plan->views;
    return (attn_has(&v->weights) && !attn_stores_directly(w)) || attn_has(&v->head_mean) ||
           attn_has(&v->block_sums) || attn_has(&v->path);
}

void attn_load_final(attn_worker *w, const attn_block *b, const attn_tile *tile,
                     const void *weights, const void *factor) {
    if (b->few)
        w->tiles->store_rows(w->space.final, ATTN_KEY_BLOCK, 1, weights, tile->row_stride,
                             b->queries, tile->count, factor);
    else
        w->tiles->store_transposed(w->space.final, ATTN_KEY_BLOCK, 1, weights, tile->key_stride,
                                   b->queries, tile->count, factor);
}

/* The row of views.weights for a query of the sequence; -1: none. */
static int64_t slice_row(const attn_views *v, const attn_sequence *s, int64_t query) {
    if (v->rows == NULL) return query - s->queries + v->row_count;
    for (int64_t i = 0; i < v->row_count; i++)
        if (v->rows[i] == query) return i;
    return -1;
}

static void store_final_row(const attn_worker *w, const attn_tensor *t, void *to, const void *row,
                            int rows, int columns) {
    const int size = (int)attn_dtype_size(t->dtype);
    w->tiles->narrow(to, size, t->stride[2], t->stride[3], row, ATTN_KEY_BLOCK, rows, columns);
}

static void store_view(attn_worker *w, const attn_block *b, const attn_tile *tile, int64_t chosen) {
    const attn_views *const v = w->plan->views;
    const attn_tensor *const t = &v->weights;
    const int size = (int)attn_dtype_size(t->dtype);
    if (!attn_is_sliced(v)) {
        store_final_row(w, t,
                        attn_at(t, size, b->sequence.batch, chosen, attn_first_row(b), tile->k),
                        w->space.final, b->queries, tile->count);
        return;
    }
    for (int r = 0; r < b->queries; r++) {
        const int64_t row = slice_row(v, &b->sequence, b->first_query + r);
        if (row >= 0)
            store_final_row(w, t, attn_at(t, size, b->sequence.index, chosen, row, tile->k),
                            attn_offset(w->space.final, (int64_t)r * ATTN_KEY_BLOCK, w->tiles), 1,
                            tile->count);
    }
}

static void add_head_mean(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_tensor *const t = &w->plan->views->head_mean;
    const attn_tiles *const tiles = w->tiles;
    tiles->fill(w->space.shrink, 1, 1, 1);
    for (int r = 0; r < b->queries; r++) {
        void *const to =
            attn_at(t, tiles->element_size, b->sequence.batch, 0, attn_first_row(b) + r, tile->k);
        tiles->load_rows(w->space.sums, 0, to, 0, t->stride[3], 1, tile->count, 1.0);
        tiles->accumulate(w->space.sums,
                          attn_offset(w->space.final, (int64_t)r * ATTN_KEY_BLOCK, tiles),
                          tile->count);
        tiles->store_rows(to, 0, t->stride[3], w->space.sums, 0, 1, tile->count, w->space.shrink);
    }
}

static void add_path_costs(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_tiles *const t = w->tiles;
    for (int r = 0; r < b->queries; r++) {
        const char *const row = attn_offset(w->space.final, (int64_t)r * ATTN_KEY_BLOCK, t);
        double *const sum = w->space.mean + r * b->sequence.keys + tile->k;
        for (int c = 0; c < tile->count; c++) sum[c] += attn_read(t, row + c * t->element_size);
    }
}

void attn_read_rows(attn_worker *w, const attn_block *b, const attn_tile *tile, int64_t chosen) {
    const attn_views *const v = w->plan->views;
    const attn_tensor *const sums = &v->block_sums;
    if (attn_has(&v->weights) && !attn_stores_directly(w)) store_view(w, b, tile, chosen);
    if (attn_has(&v->head_mean)) add_head_mean(w, b, tile);
    if (attn_has(&v->path)) add_path_costs(w, b, tile);
    if (attn_has(sums))
        w->tiles->add_block_sums(
            attn_at(sums, w->tiles->element_size, b->sequence.index, chosen, 0, 0), sums->stride[2],
            sums->stride[3], w->space.final, ATTN_KEY_BLOCK, b->queries, tile->count,
            b->first_query, tile->k, v->block_queries, v->block_keys);
}

/* The path has all heads of a block before the next block. */
void attn_begin_rows(attn_worker *w, const attn_block *b) {
    if (!w->plan->wanted.path || b->first_head > 0) return;
    for (int64_t i = 0; i < b->queries * b->sequence.keys; i++) w->space.mean[i] = 0;
}

/* After the last chosen head: the sum over heads to the mean. */
static void end_head_mean(attn_worker *w, const attn_block *b) {
    const attn_tensor *const t = &w->plan->views->head_mean;
    w->tiles->fill(w->space.shrink, 1, b->queries, 1 / (double)w->plan->chosen);
    for (int64_t k = 0; k < t->shape[3]; k += ATTN_KEY_BLOCK) {
        const int64_t left = t->shape[3] - k;
        w->tiles->scale_rows(
            attn_at(t, w->tiles->element_size, b->sequence.batch, 0, attn_first_row(b), k),
            t->stride[2], t->stride[3], b->queries,
            (int)(left < ATTN_KEY_BLOCK ? left : ATTN_KEY_BLOCK), w->space.shrink);
    }
}

static void end_path_block(attn_worker *w, const attn_block *b) {
    for (int r = 0; r < b->queries; r++) {
        double *const row = w->space.mean + r * b->sequence.keys;
        for (int64_t k = 0; k < b->sequence.keys; k++) row[k] /= (double)w->plan->chosen;
        attn_path_row(w->space.path, row);
    }
}

void attn_end_rows(attn_worker *w, const attn_block *b) {
    for (int g = 0; g < b->heads; g++)
        if (w->plan->wanted.heads && attn_chosen(w, b, g) == w->plan->chosen - 1)
            end_head_mean(w, b);
    if (w->plan->wanted.path && b->first_head + b->heads == w->plan->heads) end_path_block(w, b);
}

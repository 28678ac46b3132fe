/* results.c: see results.h. */
#include "attention/results.h"

#include <math.h>

#include "attention/mask.h"

/* ----------------------------------------------------------------------------- rows to fill */

/* Weights of one head's rows, columns first .. last-1, to zero; columns go in int-sized pieces. */
static void zero_weights(const attn_worker *w, int64_t batch, int64_t head, int64_t query, int rows,
                         attn_key_range columns) {
    const attn_tensor *const t = &w->problem->weights;
    enum { PIECE = 1 << 20 };
    for (int64_t c = columns.first; c < columns.last; c += PIECE) {
        const int64_t left = columns.last - c;
        w->tiles->zero_rows(attn_at(t, w->tiles->element_size, batch, head, query, c), t->stride[2],
                            t->stride[3], rows, (int)(left < PIECE ? left : PIECE));
    }
}

/* What a query gets that may attend to nothing; `query` counts within the tensor. */
static void clear_rows(const attn_worker *w, int64_t batch, int64_t head, int64_t query,
                       int64_t count) {
    const attn_problem *const p = w->problem;
    const attn_tiles *const t = w->tiles;
    const int size = t->element_size;
    for (int64_t i = query; i < query + count; i++) {
        if (p->output.data)
            t->fill(attn_at(&p->output, size, batch, head, i, 0), p->output.stride[3],
                    w->plan->d_value, 0);
        if (p->lse.data)
            t->fill(attn_at(&p->lse, size, batch, head, i, 0), 1, 1, (double)-INFINITY);
        if (p->weights.data)
            zero_weights(w, batch, head, i, 1, (attn_key_range){0, p->weights.shape[3]});
    }
}

void attn_clear_padding(const attn_worker *w, const attn_block *b) {
    const attn_sequence *const s = &b->sequence;
    for (int g = 0; g < b->heads; g++)
        clear_rows(w, s->batch, b->first_head + g, s->query_first + s->queries,
                   s->query_slot - s->queries);
}

/* Packed rows before the first sequence and after the last belong to nobody. */
void attn_clear_unowned(const attn_worker *w) {
    const attn_mask *const m = &w->problem->mask;
    if (!m->query_starts || w->problem->query.shape[0] == 0) return;
    const int64_t first = m->query_starts[0], last = m->query_starts[m->sequences];
    for (int64_t h = 0; h < w->plan->heads; h++) {
        clear_rows(w, 0, h, 0, first);
        clear_rows(w, 0, h, last, w->problem->query.shape[2] - last);
    }
}

/* ------------------------------------------------------------------------------------ weights */

/* Out of a tile, or the output: rows of head g to where they belong, each times its factor. */
static void store_head(const attn_worker *w, const attn_block *b, int g, const attn_tensor *t,
                       int64_t column, int columns, const void *from, int64_t column_stride,
                       int64_t row_stride, const void *factors) {
    const attn_tiles *const tiles = w->tiles;
    const int64_t row = (int64_t)g * b->queries;
    void *const to = attn_at(t, tiles->element_size, b->sequence.batch, b->first_head + g,
                             b->sequence.query_first + b->first_query, column);
    const char *const source = (const char *)from + row * row_stride * tiles->element_size;
    const char *const factor = (const char *)factors + row * tiles->element_size;
    if (b->few)
        tiles->store_rows(to, t->stride[2], t->stride[3], source, row_stride, b->queries, columns,
                          factor);
    else
        tiles->store_transposed(to, t->stride[2], t->stride[3], source, column_stride, b->queries,
                                columns, factor);
}

/* Weights of one tile, from its own maximum to the block's, times `by` (NULL: one), to their
 * place. */
static void store_weights(attn_worker *w, const attn_block *b, const attn_tile *tile,
                          const void *by) {
    const int64_t first = b->sequence.query_first + b->first_query;
    if (!w->space.kept_any[attn_kept_index(b, tile)]) {
        for (int g = 0; g < b->heads; g++)
            zero_weights(w, b->sequence.batch, b->first_head + g, first, b->queries,
                         (attn_key_range){tile->k, tile->k + tile->count});
        return;
    }
    w->tiles->rescale(w->space.factor, attn_kept_maximum(w, b, tile), w->space.total.maximum, by,
                      b->width);
    for (int g = 0; g < b->heads; g++)
        store_head(w, b, g, &w->problem->weights, tile->k, tile->count,
                   attn_kept_weights(w, b, tile), tile->key_stride, tile->row_stride,
                   w->space.factor);
}

static void store_final_weights(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    store_weights(w, b, tile, w->space.inverse);
}

static void store_relative_weights(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    store_weights(w, b, tile, NULL);
}

/* The columns that no key of the block stands in. */
static void zero_other_weights(const attn_worker *w, const attn_block *b) {
    const int64_t query = b->sequence.query_first + b->first_query;
    const bool none = b->keys.first >= b->keys.last;
    const attn_key_range before = {b->columns.first, none ? b->columns.last : b->keys.first};
    const attn_key_range after = {none ? b->columns.last : b->keys.last, b->columns.last};
    for (int g = 0; g < b->heads; g++) {
        zero_weights(w, b->sequence.batch, b->first_head + g, query, b->queries, before);
        zero_weights(w, b->sequence.batch, b->first_head + g, query, b->queries, after);
    }
}

/* In a row whose sum is NaN, 0 * NaN has spoilt the masked entries: they are 0 by definition. */
static void zero_hidden_weights(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_tensor *const t = &w->problem->weights;
    const int size = w->tiles->element_size;
    const int64_t query = b->sequence.query_first + b->first_query;
    attn_hidden_tile(w->problem, w->tiles, b, &w->space, tile);
    for (int g = 0; g < b->heads; g++)
        w->tiles->zero_masked(
            attn_at(t, size, b->sequence.batch, b->first_head + g, query, tile->k), t->stride[2],
            t->stride[3], attn_offset(w->space.hidden, g * b->queries * tile->row_stride, w->tiles),
            tile->key_stride, tile->row_stride, b->queries, tile->count);
}

bool attn_store_output(attn_worker *w, const attn_block *b) {
    const attn_problem *const p = w->problem;
    const attn_tiles *const t = w->tiles;
    attn_workspace *const s = &w->space;
    const int64_t first = b->sequence.query_first + b->first_query;
    const int d = w->plan->d_value;
    const bool nan = t->finish(s->inverse, p->lse.data ? s->lse : NULL, s->total.maximum,
                               s->total.sum, b->rows, b->width);
    for (int g = 0; g < b->heads; g++) {
        if (p->lse.data)
            t->load_rows(
                attn_at(&p->lse, t->element_size, b->sequence.batch, b->first_head + g, first, 0),
                p->lse.stride[2], attn_offset(s->lse, (int64_t)g * b->queries, t), 1, 1, b->queries,
                1, 1.0);
        if (p->output.data)
            store_head(w, b, g, &p->output, 0, d, s->total.output, b->width, attn_padded(d, t),
                       s->inverse);
    }
    return nan;
}

/* From the part's maximum to the row's, and divided by the row's sum. */
static void rescale_part(attn_worker *w, const attn_block *b, const void *part_maximum) {
    const attn_tensor *const t = &w->problem->weights;
    const attn_tiles *const tiles = w->tiles;
    const int64_t first = b->sequence.query_first + b->first_query;
    const int64_t last = b->columns.last < b->sequence.keys ? b->columns.last : b->sequence.keys;
    tiles->rescale(w->space.factor, part_maximum, w->space.total.maximum, w->space.inverse,
                   b->width);
    for (int g = 0; g < b->heads; g++)
        tiles->scale_rows(attn_at(t, tiles->element_size, b->sequence.batch, b->first_head + g,
                                  first, b->columns.first),
                          t->stride[2], t->stride[3], b->queries, (int)(last - b->columns.first),
                          attn_offset(w->space.factor, (int64_t)g * b->queries, tiles));
}

/* ---------------------------------------------------------------------------------- the whole */

void attn_store_results(attn_worker *w, const attn_block *b) {
    const bool nan = attn_store_output(w, b);
    if (!w->problem->weights.data) return;
    zero_other_weights(w, b);
    attn_for_each_tile(w, b, b->keys, store_final_weights);
    if (nan) attn_for_each_tile(w, b, b->keys, zero_hidden_weights);
}

void attn_store_partial_weights(attn_worker *w, const attn_block *b) {
    if (!w->problem->weights.data) return;
    zero_other_weights(w, b);
    attn_for_each_tile(w, b, b->keys, store_relative_weights);
}

void attn_finish_partial_weights(attn_worker *w, attn_block *part, const void *part_maximum,
                                 bool nan) {
    if (!w->problem->weights.data) return;
    rescale_part(w, part, part_maximum);
    if (!nan) return;
    attn_mask_begin(w->problem, w->tiles, part, &w->space);
    zero_other_weights(w, part);
    attn_for_each_tile(w, part, part->keys, zero_hidden_weights);
}

/* results.c: see results.h. */
#include "attention/results.h"

#include <math.h>

#include "attention/mask.h"
#include "attention/weigh.h"
#include "observe/observe.h"

/* ----------------------------------------------------------------------------- rows to fill */

/* Columns go in int-sized pieces. */
void attn_fill_columns(const attn_worker *w, const attn_tensor *t, int64_t batch, int64_t head,
                       int64_t query, int rows, attn_key_range columns, double value) {
    enum { PIECE = 1 << 20 };
    const attn_tiles *const tiles = w->tiles;
    const int64_t end = columns.last < t->shape[3] ? columns.last : t->shape[3];
    for (int r = 0; r < rows; r++) {
        for (int64_t c = columns.first; c < end; c += PIECE)
            tiles->fill(attn_at(t, tiles->element_size, batch, head, query + r, c), t->stride[3],
                        end - c < PIECE ? end - c : PIECE, value);
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
            attn_fill_columns(w, &p->weights, batch, head, i, 1, (attn_key_range){0, INT64_MAX}, 0);
    }
    attn_clear_view_rows(w, batch, head, query, count);
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

void attn_fill_other_columns(const attn_worker *w, const attn_block *b, const attn_tensor *t,
                             int64_t head, double value) {
    const int64_t query = b->sequence.query_first + b->first_query;
    const bool none = b->keys.first >= b->keys.last;
    const attn_key_range before = {b->columns.first, none ? b->columns.last : b->keys.first};
    const attn_key_range after = {none ? b->columns.last : b->keys.last, b->columns.last};
    attn_fill_columns(w, t, b->sequence.batch, head, query, b->queries, before, value);
    attn_fill_columns(w, t, b->sequence.batch, head, query, b->queries, after, value);
}

/* ------------------------------------------------------------------------------------- output */

void attn_store_head(const attn_worker *w, const attn_block *b, int g, const attn_tensor *t,
                     int64_t head, int64_t column, int columns, const void *from,
                     int64_t column_stride, int64_t row_stride, const void *factors) {
    const attn_tiles *const tiles = w->tiles;
    const int64_t row = (int64_t)g * b->queries;
    void *const to = attn_at(t, tiles->element_size, b->sequence.batch, head,
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

bool attn_store_output(attn_worker *w, const attn_block *b) {
    const attn_problem *const p = w->problem;
    const attn_tiles *const t = w->tiles;
    attn_workspace *const s = &w->space;
    const int64_t first = b->sequence.query_first + b->first_query;
    const int d = w->plan->d_value;
    const bool nan = attn_weigh_finish(w, b, p->lse.data != NULL);
    for (int g = 0; g < b->heads; g++) {
        const int64_t head = b->first_head + g;
        if (p->lse.data)
            t->load_rows(attn_at(&p->lse, t->element_size, b->sequence.batch, head, first, 0),
                         p->lse.stride[2], attn_offset(s->lse, (int64_t)g * b->queries, t), 1, 1,
                         b->queries, 1, 1.0);
        if (p->output.data)
            attn_store_head(w, b, g, &p->output, head, 0, d, s->total.output, b->width,
                            attn_padded(d, t), s->inverse);
    }
    return nan;
}

/* ------------------------------------------------------------------------------------ weights */

bool attn_is_nan_row(const attn_worker *w, int r) {
    return w->plan->weighing != ATTN_WEIGH_EACH &&
           isnan(attn_read(w->tiles, attn_offset(w->space.total.sum, r, w->tiles)));
}

static void settle_tile(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_tiles *const t = w->tiles;
    if (!*attn_kept_any(w, b, tile)) return;
    attn_hidden_tile(w, b, tile);
    for (int r = 0; r < b->rows; r++) {
        if (!attn_is_nan_row(w, r)) continue;
        void *const row = attn_offset(attn_kept_weights(w, b, tile), r * tile->row_stride, t);
        t->fill(row, tile->key_stride, tile->count, (double)NAN);
        t->zero_masked(row, 0, tile->key_stride,
                       attn_offset(w->space.hidden, r * tile->row_stride, t), tile->key_stride, 0,
                       1, tile->count);
        t->fill(attn_offset(attn_kept_maximum(w, b, tile), r, t), 1, 1, 0);
    }
}

void attn_settle_nan(attn_worker *w, const attn_block *b) {
    attn_for_each_tile(w, b, b->keys, settle_tile);
    for (int r = 0; r < b->rows; r++) {
        if (!attn_is_nan_row(w, r)) continue;
        w->tiles->fill(attn_offset(w->space.total.maximum, r, w->tiles), 1, 1, 0);
        w->tiles->fill(attn_offset(w->space.inverse, r, w->tiles), 1, 1, 1);
    }
}

void attn_final_factor(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_tiles *const t = w->tiles;
    t->rescale(w->space.factor, attn_kept_maximum(w, b, tile), w->space.total.maximum,
               w->space.inverse, b->width);
    t->fill(attn_offset(w->space.factor, b->rows, t), 1, b->width - b->rows, 0);
}

static void store_weights(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_tensor *const t = &w->problem->weights;
    const int64_t first = b->sequence.query_first + b->first_query;
    if (!*attn_kept_any(w, b, tile)) {
        for (int g = 0; g < b->heads; g++)
            attn_fill_columns(w, t, b->sequence.batch, b->first_head + g, first, b->queries,
                              (attn_key_range){tile->k, tile->k + tile->count}, 0);
        return;
    }
    attn_final_factor(w, b, tile);
    for (int g = 0; g < b->heads; g++)
        attn_store_head(w, b, g, t, b->first_head + g, tile->k, tile->count,
                        attn_kept_weights(w, b, tile), tile->key_stride, tile->row_stride,
                        w->space.factor);
}

void attn_store_weights(attn_worker *w, const attn_block *b) {
    if (!w->problem->weights.data) return;
    for (int g = 0; g < b->heads; g++)
        attn_fill_other_columns(w, b, &w->problem->weights, b->first_head + g, 0);
    attn_for_each_tile(w, b, b->keys, store_weights);
}

/* queries.c: numbers of each query: the greatest weights, entropy, distance, greatest score. */
#include <math.h>

#include "api/check.h"
#include "attention/modify.h"
#include "attention/results.h"
#include "observe/parts.h"

void attn_begin_queries(attn_worker *w, const attn_block *b) {
    const attn_tiles *const t = w->tiles;
    attn_workspace *const s = &w->space;
    if (w->plan->wanted.ranks > 0)
        t->begin_top(s->top_weights, s->top_keys, (int64_t)w->plan->wanted.ranks * t->block);
    t->fill(s->distance, 1, b->width, 0);
    t->fill(s->entropy, 1, b->width, 0);
    t->fill(s->highest, 1, b->width, (double)-INFINITY);
    if (w->plan->wanted.moment) /* before rows of NaN are settled */
        t->entropies(s->entropy, &s->total, s->sink, b->rows);
}

/* What is known of a row when all its keys have been seen; for all heads of the block at once. */
void attn_read_for_queries(attn_worker *w, const attn_block *b, const attn_tile *tile,
                           const void *weights) {
    const attn_tiles *const t = w->tiles;
    const attn_wanted *const want = &w->plan->wanted;
    attn_workspace *const s = &w->space;
    if (want->ranks > 0 && b->few)
        t->top_few(s->top_weights, s->top_keys, want->ranks, t->block, weights, s->factor, tile->k,
                   tile->count, b->rows, tile->width);
    else if (want->ranks > 0)
        t->top(s->top_weights, s->top_keys, want->ranks, t->block, weights, s->factor, tile->k,
               tile->count, b->width);
    if (want->distance) {
        attn_tile_positions(w, b, tile);
        if (b->few)
            t->add_distances_few(s->distance, weights, s->factor, s->positions, tile->count,
                                 b->rows, tile->width);
        else t->add_distances(s->distance, weights, s->factor, s->positions, tile->count, b->width);
    }
    if (!want->entropy) return;
    if (b->few)
        t->add_entropies_few(s->entropy, weights, s->factor, tile->count, b->rows, tile->width);
    else t->add_entropies(s->entropy, weights, s->factor, tile->count, b->width);
}

/* A number a query: rows of head g to a view [batch, heads, n_query, 1]. */
static void store_numbers(const attn_worker *w, const attn_block *b, int g, int64_t chosen,
                          const attn_tensor *t, int64_t column, void *numbers, double factor) {
    if (!attn_has(t)) return;
    w->tiles->load_rows(
        attn_at(t, w->tiles->element_size, b->sequence.batch, chosen, attn_first_row(b), column),
        t->stride[2], attn_offset(numbers, (int64_t)g * b->queries, w->tiles), 1, 1, b->queries, 1,
        factor);
}

/* A NaN stands before all numbers: then nothing is known of the row. */
static bool is_unknown(const attn_worker *w, int64_t row) {
    return isnan(attn_read(w->tiles, attn_offset(w->space.top_weights, row, w->tiles)));
}

static void store_keys(const attn_worker *w, const attn_block *b, int g, int64_t chosen,
                       const attn_tensor *t) {
    const int size = (int)attn_dtype_size(t->dtype);
    for (int r = 0; attn_has(t) && r < b->queries; r++) {
        const int64_t row = (int64_t)g * b->queries + r, query = attn_first_row(b) + r;
        const bool unknown = is_unknown(w, row);
        for (int64_t rank = 0; rank < t->shape[3]; rank++)
            attn_set_integer(
                t, attn_at(t, size, b->sequence.batch, chosen, query, rank),
                unknown ? -1 : w->tiles->top_key(w->space.top_keys, rank * w->tiles->block + row));
    }
}

static void store_top(attn_worker *w, const attn_block *b, int g, int64_t chosen) {
    const attn_views *const v = w->plan->views;
    const attn_tiles *const t = w->tiles;
    store_keys(w, b, g, chosen, &v->top_keys);
    store_keys(w, b, g, chosen, &v->argmax);
    for (int r = g * b->queries; r < (g + 1) * b->queries; r++)
        if (is_unknown(w, r))
            t->fill(attn_offset(w->space.top_weights, r, t), t->block, w->plan->wanted.ranks,
                    (double)NAN);
    for (int64_t rank = 0; attn_has(&v->top_weights) && rank < v->top_weights.shape[3]; rank++)
        store_numbers(w, b, g, chosen, &v->top_weights, rank,
                      attn_offset(w->space.top_weights, rank * t->block, t), 1.0);
}

static void store_spans(attn_worker *w, const attn_block *b, int g, int64_t chosen) {
    const attn_tensor *const t = &w->plan->views->span;
    for (int r = 0; attn_has(t) && r < b->queries; r++) {
        const int64_t query = attn_first_row(b) + r;
        const void *const at = attn_offset(w->space.entropy, (int64_t)g * b->queries + r, w->tiles);
        w->tiles->fill(attn_at(t, w->tiles->element_size, b->sequence.batch, chosen, query, 0), 1,
                       1, exp(attn_read(w->tiles, at)));
    }
}

void attn_end_queries(attn_worker *w, const attn_block *b) {
    const attn_views *const v = w->plan->views;
    const attn_wanted *const want = &w->plan->wanted;
    attn_workspace *const s = &w->space;
    if (want->entropy) /* from bits to nats */
        w->tiles->load_rows(s->entropy, 0, s->entropy, 0, 1, 1, b->rows, ATTN_LN_2);
    for (int g = 0; g < b->heads; g++) {
        const int64_t chosen = attn_chosen(w, b, g);
        if (chosen < 0) continue;
        if (want->ranks > 0) store_top(w, b, g, chosen);
        store_numbers(w, b, g, chosen, &v->entropy, 0, s->entropy, 1.0);
        store_spans(w, b, g, chosen);
        store_numbers(w, b, g, chosen, &v->distance, 0, s->distance, 1.0);
        store_numbers(w, b, g, chosen, &v->max_logit, 0, s->highest, w->plan->score_factor);
        if (want->statistics) attn_add_statistics(w, b, g, chosen);
    }
}

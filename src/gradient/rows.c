/* rows.c: what the backward must know of a row before it can go back through any of its tiles: the
 * log-sum-exp or threshold that makes its weights, and the mean that the normaliser takes from their
 * gradients. Found once a row, in a phase before the tiles'. */
#include <math.h>
#include <string.h>

#include "api/check.h"
#include "attention/score.h"
#include "attention/weigh.h"
#include "gradient/gradient.h"

/* ------------------------------------------------------------------------- rows of the caller's */

static void load_row(const attn_gradient_worker *g, const attn_block *b, void *row, void *from,
                     double beyond) {
    attn_load_numbers(&g->w, b, row, attn_row_of(g, from, b, g->w.tiles->element_size), 1, 1,
                      beyond);
}

static void store_row(const attn_gradient_worker *g, const attn_block *b, const void *row,
                      void *to) {
    const attn_tiles *const t = g->w.tiles;
    t->load_rows(attn_row_of(g, to, b, t->element_size), 0, row, 0, 1, 1, b->rows, 1.0);
}

/* In the lanes, for SCORE with values; and in rows, for DISTRIBUTE, if `rows`. */
static void load_flow(attn_gradient_worker *g, const attn_block *b, bool rows) {
    const attn_tensor *const from = &g->call->from->output;
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d_value, padded = attn_value_stride(g->call);
    g->flow_finite = true;
    if (!attn_is_given(from) || d == 0) return;
    const void *const at = attn_query_rows(&g->w, from, b);
    const int64_t row = from->stride[2], column = from->stride[3];
    void *const packed = b->few ? g->g.flow : g->g.flow_rows;
    if (!b->few) {
        if (b->rows < b->width) t->fill(g->g.flow, 1, (int64_t)d * b->width, 0);
        t->load_transposed(g->g.flow, b->width, at, row, column, b->rows, d, 1.0);
    }
    if (!b->few && !rows) return;
    g->flow_rows = at, g->flow_stride = row;
    if (b->few || column != 1 || d < padded) {
        if (d < padded) t->fill(packed, 1, (int64_t)b->rows * padded, 0);
        t->load_rows(packed, padded, at, row, column, b->rows, d, 1.0);
        g->flow_rows = packed, g->flow_stride = padded;
    }
    if (rows) g->flow_finite = t->all_finite(g->flow_rows, g->flow_stride, b->rows, padded);
}

static void load_entropy(attn_gradient_worker *g, const attn_block *b) {
    const attn_tensor *const from = &g->call->from->entropy;
    const int64_t chosen = attn_plan_chosen(&g->call->plan, b->first_head);
    g->entropy_flows = attn_is_given(from) && chosen >= 0;
    if (!g->entropy_flows) return;
    attn_load_numbers(&g->w, b, g->g.entropy,
                      attn_at(from, g->w.tiles->element_size, b->sequence.batch, chosen,
                              b->sequence.query_first + b->first_query, 0),
                      from->stride[2], 1, 0);
}

/* ------------------------------------------------------------------------------------- softmax */

/* D of (17), if nothing but the output has a gradient. */
static void dot_flow_and_output(attn_gradient_worker *g, const attn_block *b) {
    const attn_tensor *const flow = &g->call->from->output, *const output = &g->call->saved.output;
    g->w.tiles->fill(g->g.mean, 1, g->w.tiles->block, 0);
    if (!attn_is_given(flow) || g->call->plan.d_value == 0) return;
    g->w.tiles->dot_rows(g->g.mean, attn_query_rows(&g->w, flow, b), flow->stride[2],
                         flow->stride[3], attn_query_rows(&g->w, output, b), output->stride[2],
                         output->stride[3], b->rows, g->call->plan.d_value);
}

static void note_seen(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    attn_gradient_worker *const g = (attn_gradient_worker *)(void *)w;
    const attn_tiles *const t = w->tiles;
    if (attn_mask_tile(w, b, tile) == ATTN_TILE_SHUT) return;
    attn_hidden_tile(w, b, tile);
    for (int r = 0; r < b->rows; r++)
        for (int c = 0; c < tile->count; c++) {
            const int64_t at = r * tile->row_stride + c * tile->key_stride;
            if (attn_read(t, attn_offset(w->space.hidden, at, t)) == (double)-INFINITY) continue;
            t->fill(attn_offset(g->g.any, r, t), 1, 1, 1);
            break;
        }
}

/* The mean of a row that sees nothing is 0, whatever flows into its output. */
static void clear_unseeing(attn_gradient_worker *g, const attn_block *b) {
    const attn_tiles *const t = g->w.tiles;
    if (t->all_finite(g->g.mean, 0, 1, b->rows)) return;
    t->fill(g->g.any, 1, t->block, 0);
    attn_for_each_tile(&g->w, b, b->keys, note_seen);
    for (int r = 0; r < b->rows; r++)
        if (attn_read(t, attn_offset(g->g.any, r, t)) == 0)
            t->fill(attn_offset(g->g.mean, r, t), 1, 1, 0);
}

static void add_softmax_products(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    attn_gradient_worker *const g = (attn_gradient_worker *)(void *)w;
    const attn_visibility seen = attn_mask_tile(w, b, tile);
    if (seen == ATTN_TILE_SHUT) return;
    attn_gradient_scores(g, b, tile, seen);
    attn_gradient_of_weights(g, b, tile);
    w->tiles->row_products(g->g.mean, w->space.scores, g->g.gradient, tile->lines, tile->width,
                           b->few);
}

/* A log-sum-exp's gradient is shared out by weight: it lowers the mean. */
static void lower_by_lse(attn_gradient_worker *g, const attn_block *b) {
    const attn_tensor *const from = &g->call->from->lse;
    if (!attn_is_given(from)) return;
    attn_load_numbers(&g->w, b, g->g.any, attn_query_rows(&g->w, from, b), from->stride[2], -1, 0);
    g->w.tiles->accumulate(g->g.mean, g->g.any, g->w.tiles->block);
}

static void find_softmax(attn_gradient_worker *g, const attn_block *b) {
    if (g->call->walk_rows) {
        g->w.tiles->fill(g->g.mean, 1, g->w.tiles->block, 0);
        attn_for_each_tile(&g->w, b, b->keys, add_softmax_products);
    } else {
        dot_flow_and_output(g, b);
        clear_unseeing(g, b);
    }
    lower_by_lse(g, b);
    store_row(g, b, g->g.mean, g->call->rows.mean);
}

/* --------------------------------------------------------------------------------- sparse rows */

static void keep_scores(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    attn_gradient_worker *const g = (attn_gradient_worker *)(void *)w;
    const attn_visibility seen = attn_mask_tile(w, b, tile);
    *attn_kept_any(w, b, tile) = seen != ATTN_TILE_SHUT;
    w->tiles->fill(attn_kept_maximum(w, b, tile), 1, w->tiles->block, (double)-INFINITY);
    if (seen == ATTN_TILE_SHUT) return;
    attn_gradient_scores(g, b, tile, seen);
    void *const kept = attn_kept_weights(w, b, tile);
    memcpy(kept, w->space.scores,
           (size_t)tile->lines * (size_t)tile->width * (size_t)w->tiles->element_size);
    attn_weigh_note(w, b, tile, kept);
}

/* Adds a tile's weights to threshold.value. */
static void add_weights(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    if (!*attn_kept_any(w, b, tile)) return;
    (b->few ? w->tiles->power_sums_few : w->tiles->power_sums)(
        attn_kept_weights(w, b, tile), tile->lines, tile->width, &w->space.threshold);
}

/* (21), (22): the gradients' mean by slope: sum of slope * gradient and, in g.any, of slope. */
static void add_sparse_products(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    attn_gradient_worker *const g = (attn_gradient_worker *)(void *)w;
    if (!*attn_kept_any(w, b, tile)) return;
    memcpy(w->space.scores, attn_kept_weights(w, b, tile),
           (size_t)tile->lines * (size_t)tile->width * (size_t)w->tiles->element_size);
    attn_gradient_of_weights(g, b, tile);
    w->tiles->row_products(g->g.mean, g->g.slopes, g->g.gradient, tile->lines, tile->width, b->few);
    w->tiles->row_products(w->space.factor, g->g.slopes, NULL, tile->lines, tile->width, b->few);
}

static void inverse_of(const attn_gradient_worker *g, const attn_block *b, void *inverse,
                       const void *sums) {
    g->w.tiles->finish(inverse, NULL, NULL, sums, b->rows, b->width);
}

static void find_sparse(attn_gradient_worker *g, const attn_block *b) {
    attn_worker *const w = &g->w;
    attn_rows_of_threshold *const t = &w->space.threshold;
    const attn_gradient_rows *const rows = &g->call->rows;
    w->tiles->fill(t->value, 1, w->tiles->block, 0);
    w->tiles->fill(t->slope, 1, w->tiles->block, 0);
    attn_for_each_tile(w, b, b->keys, add_weights);
    inverse_of(g, b, g->g.inverse, t->value);
    store_row(g, b, t->base, rows->base);
    store_row(g, b, t->threshold, rows->threshold);
    store_row(g, b, g->g.inverse, rows->inverse);
    if (!g->call->scores) return;
    w->tiles->fill(g->g.mean, 1, w->tiles->block, 0);
    w->tiles->fill(w->space.factor, 1, w->tiles->block, 0);
    attn_for_each_tile(w, b, b->keys, add_sparse_products);
    inverse_of(g, b, w->space.inverse, w->space.factor);
    w->tiles->multiply_rows(g->g.mean, 1, b->width, false, w->space.inverse);
    store_row(g, b, g->g.mean, rows->mean);
}

/* The first key whose score is the greatest. */
static void find_in_tile(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    attn_gradient_worker *const g = (attn_gradient_worker *)(void *)w;
    int64_t *const found = attn_row_of(g, g->call->rows.greatest, b, sizeof *found);
    if (!*attn_kept_any(w, b, tile)) return;
    for (int r = 0; r < b->rows; r++) {
        const double most = attn_read(w->tiles, attn_offset(w->space.kept.highest, r, w->tiles));
        if (isnan(most)) found[r] = INT64_MAX;
        for (int c = 0; c < tile->count && found[r] < 0 && most > (double)-INFINITY; c++) {
            const int64_t at = r * tile->row_stride + c * tile->key_stride;
            const void *const kept = attn_offset(attn_kept_weights(w, b, tile), at, w->tiles);
            if (attn_read(w->tiles, kept) == most) found[r] = tile->k + c;
        }
    }
}

static void find_whole_rows(attn_gradient_worker *g, const attn_block *b) {
    attn_worker *const w = &g->w;
    w->tiles->fill(w->space.kept.highest, 1, w->tiles->block, (double)-INFINITY);
    attn_for_each_tile(w, b, b->keys, keep_scores);
    if (w->problem->normalizer.kind == ATTN_HARDMAX) {
        int64_t *const found = attn_row_of(g, g->call->rows.greatest, b, sizeof *found);
        for (int r = 0; r < b->rows; r++) found[r] = -1;
        attn_for_each_tile(w, b, b->keys, find_in_tile);
        return;
    }
    attn_weigh_solve(w, b);
    find_sparse(g, b);
}

/* -------------------------------------------------------------------------------- the whole */

static void begin_scores(attn_gradient_worker *g, const attn_block *b) {
    attn_score_begin(&g->w, b);
    if (g->call->plan.weighing == ATTN_WEIGH_ONLINE)
        attn_load_base(&g->w, b, g->g.base, &g->call->saved.lse);
}

/* What weights' gradients are made of, where the means of these are to be found. */
static void begin_products(attn_gradient_worker *g, const attn_block *b) {
    load_flow(g, b, false);
    load_entropy(g, b);
}

void attn_gradient_find_rows(attn_gradient_worker *g, attn_block *b) {
    attn_mask_begin(&g->w, b);
    if (g->call->plan.weighing == ATTN_WEIGH_ONLINE) {
        if (!g->call->scores) return;
        if (g->call->walk_rows) {
            begin_scores(g, b);
            begin_products(g, b);
        }
        find_softmax(g, b);
    } else if (b->keys.first < b->keys.last) {
        begin_scores(g, b);
        if (g->call->rows.mean) begin_products(g, b);
        find_whole_rows(g, b);
    }
}

void attn_gradient_begin_block(attn_gradient_worker *g, const attn_block *b) {
    const attn_gradient_rows *const rows = &g->call->rows;
    const attn_tiles *const t = g->w.tiles;
    const bool sparse =
        g->call->plan.weighing == ATTN_WEIGH_ROWS && g->w.problem->normalizer.kind != ATTN_HARDMAX;
    begin_scores(g, b);
    load_flow(g, b, true);
    load_entropy(g, b);
    if (rows->mean) load_row(g, b, g->g.mean, rows->mean, 0);
    if (!sparse) return;
    load_row(g, b, g->w.space.threshold.base, rows->base, 0);
    load_row(g, b, g->w.space.threshold.threshold, rows->threshold, 0);
    load_row(g, b, g->g.inverse, rows->inverse, 0);
    attn_weigh_begin_powers(&g->w);
    t->fill(g->w.space.threshold.value, 1, t->block, 0);
}

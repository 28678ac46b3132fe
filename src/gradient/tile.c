/* tile.c: one tile of the backward: its scores and weights once more, the gradients of its weights,
 * and back through the normaliser. Numbers in brackets are those of docs/MATHS.md. */
#include <math.h>
#include <string.h>

#include "api/check.h"
#include "attention/modify.h"
#include "attention/relative.h"
#include "attention/score.h"
#include "attention/weigh.h"
#include "gradient/gradient.h"

static size_t tile_bytes(const attn_gradient_worker *g, const attn_tile *tile) {
    return (size_t)tile->lines * (size_t)tile->width * (size_t)g->w.tiles->element_size;
}

static void keep(const attn_gradient_worker *g, const attn_tile *tile, void *copy) {
    if (copy) memcpy(copy, g->w.space.scores, tile_bytes(g, tile));
}

/* ------------------------------------------------------------------------------------- scores */

void attn_gradient_scores(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                          attn_visibility seen) {
    attn_worker *const w = &g->w;
    void *const scores = w->space.scores;
    attn_score_tile(w, b, tile, seen, scores);
    attn_pad_few(&g->w, b, tile, scores, 0);
    keep(g, tile, g->g.raw);
    if (g->call->natural && g->scale != 1)
        w->tiles->multiply(scores, tile->lines, tile->width, g->scale);
    attn_cap_scores(w, b, tile, scores);
    keep(g, tile, g->g.capped);
    attn_bias_scores(w, b, tile, scores);
    keep(g, tile, g->g.before);
    attn_call_score(w, b, tile, scores);
    if (seen == ATTN_TILE_PARTIAL) attn_mask_apply(w, b, tile, scores);
    if (attn_hides(w, seen)) attn_mask_lanes(w, b, tile, scores);
    attn_disturb_scores(w, b, tile, scores);
    attn_pad_few(&g->w, b, tile, scores, (double)-INFINITY);
    keep(g, tile, g->g.final);
    if (attn_gradient_hides(g, seen)) keep(g, tile, w->space.hidden);
}

bool attn_gradient_hides(const attn_gradient_worker *g, attn_visibility seen) {
    return attn_hides(&g->w, seen) || g->w.problem->score.callback;
}

/* ------------------------------------------------------------------------ the weights' gradients */

/* A tensor with an element a pair (or a key, if its row stride is 0) joins the gradients. */
static void add_pairs(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                      const void *from, int64_t row_stride, int64_t key_stride) {
    const attn_tiles *const t = g->w.tiles;
    void *const extra = g->w.space.extra;
    attn_zero_extra(&g->w, tile);
    if (b->few)
        t->load_rows(extra, tile->row_stride, from, row_stride, key_stride, b->queries, tile->count,
                     1.0);
    else
        t->load_transposed(extra, tile->key_stride, from, row_stride, key_stride, b->queries,
                           tile->count, 1.0);
    t->accumulate(g->g.gradient, extra, (int64_t)tile->lines * tile->width);
}

static void add_views(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    const attn_result_gradients *const from = g->call->from;
    const attn_sequence *const s = &b->sequence;
    const int size = g->w.tiles->element_size;
    const int64_t chosen = attn_plan_chosen(&g->call->plan, b->first_head);
    if (attn_is_given(&from->weights))
        add_pairs(g, b, tile,
                  attn_at(&from->weights, size, s->batch, b->first_head,
                          s->query_first + b->first_query, tile->k),
                  from->weights.stride[2], from->weights.stride[3]);
    if (attn_is_given(&from->received_sum) && chosen >= 0)
        add_pairs(g, b, tile, attn_at(&from->received_sum, size, s->index, chosen, 0, tile->k), 0,
                  from->received_sum.stride[3]);
}

/* (11), (12): SCORE with values for keys and the output's gradients for queries. */
static void find_flow(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    attn_worker *const w = &g->w;
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d_value, row = attn_value_stride(g->call);
    void *const gradient = g->g.gradient;
    int64_t stride;
    if (attn_is_given(&g->call->from->output) && d > 0) {
        const void *const value = attn_tile_rows(w, &w->problem->value, b, tile, w->space.value,
                                                 w->plan->pack_value, &stride);
        if (b->few)
            t->score_few(gradient, g->g.flow, row, value, stride, tile->count, d, b->rows,
                         tile->width);
        else t->score(gradient, g->g.flow, value, stride, tile->count, d, b->width);
        attn_gradient_relative_flow(g, b, tile);
    } else {
        t->fill(gradient, 1, (int64_t)tile->lines * tile->width, 0);
    }
    attn_pad_few(&g->w, b, tile, gradient, 0);
    add_views(g, b, tile);
}

/* ------------------------------------------------------------------------------------ weights */

static void weigh_each(attn_gradient_worker *g, const attn_tile *tile) {
    const attn_normalizer *const n = &g->w.problem->normalizer;
    keep(g, tile, g->g.slopes);
    g->w.tiles->weigh_each(g->w.space.scores, tile->lines, tile->width,
                           attn_weigh_elementwise(n->kind), g->call->plan.weigh_factor,
                           n->kind == ATTN_SIGMOID ? n->bias : 0);
}

/* One for the key that was found to be greatest, NaN for rows that are. */
static void weigh_hardmax(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    const attn_tiles *const t = g->w.tiles;
    const int64_t *const greatest =
        attn_row_of(g, g->call->rows.greatest, b, sizeof *g->call->rows.greatest);
    void *const weights = g->w.space.scores;
    t->fill(weights, 1, (int64_t)tile->lines * tile->width, 0);
    for (int r = 0; r < b->rows; r++) {
        const int64_t c = greatest[r] - tile->k;
        void *const row = attn_offset(weights, r * tile->row_stride, t);
        if (greatest[r] == INT64_MAX) t->fill(row, tile->key_stride, tile->count, (double)NAN);
        else if (c >= 0 && c < tile->count)
            t->fill(attn_offset(row, c * tile->key_stride, t), 1, 1, 1);
    }
}

/* Weights and, in g.slopes, how they change with their scores, up to the rows' means. */
static void weigh_sparse(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    const attn_tiles *const t = g->w.tiles;
    void *const weights = g->w.space.scores;
    keep(g, tile, g->g.slopes);
    (b->few ? t->power_weights_few : t->power_weights)(weights, tile->lines, tile->width,
                                                       &g->w.space.threshold);
    t->multiply_rows(weights, tile->lines, tile->width, b->few, g->g.inverse);
    t->power_slopes(g->g.slopes, tile->lines, tile->width, b->few, &g->w.space.threshold);
}

static void weigh(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    if (g->call->plan.weighing == ATTN_WEIGH_EACH) weigh_each(g, tile);
    else if (g->w.problem->normalizer.kind == ATTN_HARDMAX) weigh_hardmax(g, b, tile);
    else if (g->call->plan.weighing == ATTN_WEIGH_ROWS) weigh_sparse(g, b, tile);
    else
        g->w.tiles->weigh_known(g->w.space.scores, tile->lines, tile->width, b->few,
                                g->call->plan.weigh_factor, g->g.base);
}

/* The weights that AGGREGATE used: after local factors and dropout. */
static void *modified_weights(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    if (!g->call->modified) return g->w.space.scores;
    keep(g, tile, g->g.weights);
    attn_modify_weights(&g->w, b, tile, g->g.weights);
    return g->g.weights;
}

void attn_gradient_clear_hidden(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                                attn_visibility seen, void *elements) {
    const attn_tiles *const t = g->w.tiles;
    if (!attn_gradient_hides(g, seen) ||
        t->all_finite(elements, tile->width, tile->lines, tile->width))
        return;
    t->zero_masked(elements, tile->row_stride, tile->key_stride, g->w.space.hidden,
                   tile->key_stride, tile->row_stride, b->rows, tile->count);
    attn_pad_few(&g->w, b, tile, elements, 0);
}

/* Scores to weights, and the weights' gradients (11) to (13); returns the weights after local factors
 * and dropout. */
static void *weigh_and_flow(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    weigh(g, b, tile);
    void *const weights = modified_weights(g, b, tile);
    find_flow(g, b, tile);
    if (g->entropy_flows)
        g->w.tiles->add_entropy_gradient(g->g.gradient, weights, tile->lines, tile->width, b->few,
                                         g->g.entropy);
    return weights;
}

void attn_gradient_of_weights(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    weigh_and_flow(g, b, tile);
    attn_modify_weights(&g->w, b, tile, g->g.gradient);
}

/* ------------------------------------------------------------------------------------ the tile */

void attn_gradient_distribute_some(attn_gradient_worker *g, void *sums, int64_t wide,
                                   const void *tile, int64_t key_stride, int64_t row_stride,
                                   const void *rows, int64_t stride, int keys, int count) {
    const attn_tiles *const t = g->w.tiles;
    if (t->all_finite(rows, stride, count, (int)wide))
        t->distribute(sums, wide, tile, key_stride, row_stride, rows, stride, keys, (int)wide,
                      count);
    else
        t->distribute_visible(sums, wide, tile, NULL, key_stride, row_stride, rows, stride, keys,
                              (int)wide, count);
}

/* (10): DISTRIBUTE of the output's gradients by weight. */
static void distribute_values(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                              attn_visibility seen, const void *weights) {
    const attn_tiles *const t = g->w.tiles;
    const int d = attn_value_stride(g->call);
    if (!attn_is_given(&g->call->from->output) || d == 0) return;
    attn_gradient_relative_values(g, b, tile, weights);
    if (!attn_is_given(&g->call->to->value)) return;
    void *const sums = attn_offset(g->g.value_sums, (tile->k - g->chunk_keys.first) * d, t);
    if (attn_gradient_hides(g, seen) && !g->flow_finite) {
        t->distribute_visible(sums, d, weights, g->w.space.hidden, tile->key_stride,
                              tile->row_stride, g->flow_rows, g->flow_stride, tile->count, d,
                              b->rows);
    } else {
        t->distribute(sums, d, weights, tile->key_stride, tile->row_stride, g->flow_rows,
                      g->flow_stride, tile->count, d, b->rows);
    }
}

/* (17), (19) to (24): the gradients of weights to those of scores over the temperature. */
static void to_scores(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    const attn_tiles *const t = g->w.tiles;
    const attn_normalizer *const n = &g->w.problem->normalizer;
    const bool sparse = g->call->plan.weighing == ATTN_WEIGH_ROWS;
    void *const gradient = g->g.gradient;
    if (g->call->plan.weighing == ATTN_WEIGH_EACH)
        t->slope_each(gradient, g->g.slopes, tile->lines, tile->width,
                      attn_weigh_elementwise(n->kind), g->call->plan.weigh_factor,
                      n->kind == ATTN_SIGMOID ? n->bias : 0);
    else if (n->kind == ATTN_HARDMAX) t->fill(gradient, 1, (int64_t)tile->lines * tile->width, 0);
    else
        t->center(gradient, sparse ? g->g.slopes : g->w.space.scores, tile->lines, tile->width,
                  b->few, sparse, g->g.mean);
}

/* Where nothing stands between: scores become weights, and the weights' gradients those of scores, in
 * one pass. */
static bool in_one_pass(const attn_gradient_worker *g) {
    return g->call->plan.weighing == ATTN_WEIGH_ONLINE && !g->entropy_flows && !g->call->modified;
}

void attn_gradient_tile(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    attn_gradient_worker *const g = (attn_gradient_worker *)(void *)w;
    const attn_visibility seen = attn_mask_tile(w, b, tile);
    void *weights = w->space.scores;
    if (seen == ATTN_TILE_SHUT) return;
    attn_gradient_scores(g, b, tile, seen);
    if (in_one_pass(g)) {
        find_flow(g, b, tile);
        w->tiles->weigh_and_center(weights, g->g.gradient, tile->lines, tile->width, b->few,
                                   w->plan->weigh_factor, g->g.base, g->g.mean);
    } else {
        weights = weigh_and_flow(g, b, tile);
        attn_gradient_clear_hidden(g, b, tile, seen, weights);
        if (w->problem->normalizer.local) attn_gradient_local(g, b, tile, weights);
        attn_modify_weights(w, b, tile, g->g.gradient);
        to_scores(g, b, tile);
    }
    attn_gradient_clear_hidden(g, b, tile, seen, weights);
    attn_gradient_clear_hidden(g, b, tile, seen, g->g.gradient);
    distribute_values(g, b, tile, seen, weights);
    if (g->call->scores) attn_gradient_pairs(g, b, tile, seen);
}

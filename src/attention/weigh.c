/* weigh.c: see weigh.h. */
#include "attention/weigh.h"

#include <math.h>

#include "api/check.h"
#include "attention/modify.h"

/* Newton's steps double the digits; halving an interval of 1 gains one. Either ends long before. */
enum { MOST_STEPS = 100 };

/* ---------------------------------------------------------------------------- running results */

static int64_t output_elements(const attn_worker *w, const attn_block *b) {
    return b->few ? (int64_t)b->rows * attn_padded(w->plan->d_value, w->tiles)
                  : (int64_t)w->plan->d_value * b->width;
}

void attn_weigh_clear(const attn_worker *w, const attn_block *b, const attn_partial *p) {
    const bool online = w->plan->weighing == ATTN_WEIGH_ONLINE;
    w->tiles->fill(p->maximum, 1, b->width, online ? (double)-INFINITY : 0);
    w->tiles->fill(p->sum, 1, b->width, 0);
    if (p->moment) w->tiles->fill(p->moment, 1, b->width, 0);
    w->tiles->fill(p->output, 1, output_elements(w, b), 0);
}

static void load_sinks(attn_worker *w, const attn_block *b) {
    const attn_tensor *const sinks = &w->problem->score.sinks;
    const attn_tiles *const t = w->tiles;
    const bool one = w->problem->normalizer.kind == ATTN_SOFTMAX_ONE; /* a sink of logit 0 */
    t->fill(w->space.sink, 1, b->width, one ? 0 : (double)-INFINITY);
    for (int g = 0; g < b->heads && attn_tensor_present(sinks); g++)
        t->load_rows(
            attn_offset(w->space.sink, (int64_t)g * b->queries, t), 0,
            attn_broadcast_at(sinks, t->element_size, b->sequence.index, b->first_head + g, 0, 0),
            0, 0, 1, b->queries, ATTN_LOG2_E);
}

void attn_weigh_begin(attn_worker *w, const attn_block *b, const attn_partial *p) {
    const attn_tiles *const t = w->tiles;
    const bool any = attn_tensor_present(&w->problem->score.sinks) ||
                     w->problem->normalizer.kind == ATTN_SOFTMAX_ONE || w->plan->wanted.moment;
    if (w->plan->weighing != ATTN_WEIGH_ONLINE || !any) return;
    load_sinks(w, b);
    if (b->columns.first > 0) return;
    t->load_rows(p->maximum, 0, w->space.sink, 0, 1, 1, b->width, 1.0);
    /* exp2(m - m) is 1, and 0 for a sink of -infinity */
    t->rescale(p->sum, p->maximum, p->maximum, NULL, b->width);
}

bool attn_weigh_finish(attn_worker *w, const attn_block *b, bool lse) {
    attn_workspace *const s = &w->space;
    if (w->plan->weighing == ATTN_WEIGH_EACH) {
        w->tiles->fill(s->inverse, 1, b->width, 1);
        return false;
    }
    return w->tiles->finish(s->inverse, lse ? s->lse : NULL, s->total.maximum, s->total.sum,
                            b->rows, b->width);
}

/* ------------------------------------------------------------------------------- tile by tile */

/* In a tile of few, the lanes beyond the keys. */
static void hide_padding(const attn_worker *w, const attn_block *b, const attn_tile *tile,
                         void *scores) {
    if (!b->few || tile->count == tile->width) return;
    for (int r = 0; r < b->rows; r++)
        w->tiles->fill(attn_offset(scores, r * tile->row_stride + tile->count, w->tiles), 1,
                       tile->width - tile->count, (double)-INFINITY);
}

static void weigh_online(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    const attn_partial *const p = &w->space.stretch;
    const double factor = w->plan->weigh_factor;
    if (b->few)
        w->tiles->weigh_few(scores, b->rows, tile->width, factor, p->maximum, p->sum, p->moment,
                            w->space.shrink);
    else
        w->tiles->weigh(scores, tile->count, b->width, factor, p->maximum, p->sum, p->moment,
                        w->space.shrink);
}

attn_elementwise attn_weigh_elementwise(attn_normalizer_kind kind) {
    switch (kind) {
    case ATTN_SIGMOID: return ATTN_WEIGH_SIGMOID;
    case ATTN_RELU: return ATTN_WEIGH_RELU;
    case ATTN_RELU_SQUARED: return ATTN_WEIGH_RELU_SQUARED;
    default: return ATTN_WEIGH_LINEAR;
    }
}

void attn_weigh_tile(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    const attn_normalizer *const n = &w->problem->normalizer;
    hide_padding(w, b, tile, scores);
    if (w->plan->weighing == ATTN_WEIGH_ONLINE) {
        weigh_online(w, b, tile, scores);
        return;
    }
    w->tiles->weigh_each(scores, tile->lines, tile->width, attn_weigh_elementwise(n->kind),
                         w->plan->weigh_factor, n->kind == ATTN_SIGMOID ? n->bias : 0);
    w->tiles->fill(w->space.shrink, 1, b->width, 1);
}

/* --------------------------------------------------------------------------------- whole rows */

void attn_weigh_begin_powers(attn_worker *w) {
    const attn_normalizer *const n = &w->problem->normalizer;
    attn_rows_of_threshold *const t = &w->space.threshold;
    const double alpha = n->kind == ATTN_SPARSEMAX ? 2 : n->alpha > 0 ? n->alpha : 1.5;
    t->exponent = 1 / (alpha - 1);
    t->factor = w->plan->weigh_factor * (alpha - 1);
    t->power = alpha == 2 ? ATTN_POWER_ONE : alpha == 1.5 ? ATTN_POWER_TWO : ATTN_POWER_ANY;
}

void attn_weigh_note(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    void *const of_tile = attn_kept_maximum(w, b, tile);
    hide_padding(w, b, tile, scores);
    if (b->few)
        w->tiles->maxima_few(scores, tile->count, b->rows, tile->width, of_tile,
                             w->space.kept.highest);
    else w->tiles->maxima(scores, tile->count, b->width, of_tile, w->space.kept.highest);
}

/* Tiles whose greatest scores are below every row's threshold have no weights. */
static bool has_weights(const attn_worker *w, const attn_block *b, const attn_tile *tile) {
    return *attn_kept_any(w, b, tile) &&
           w->tiles->any_above(attn_kept_maximum(w, b, tile), b->rows, &w->space.threshold);
}

static void sum_powers(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const void *const scores = attn_kept_weights(w, b, tile);
    if (!has_weights(w, b, tile)) return;
    (b->few ? w->tiles->power_sums_few : w->tiles->power_sums)(scores, tile->lines, tile->width,
                                                               &w->space.threshold);
}

/* The tiles' maxima are scores too, one a tile, and lie as a tile would. The threshold that they alone
 * would have is no higher than that of all scores, so it is a better place to start from: most steps
 * are then made on a few scores. */
static void solve_for_maxima(attn_worker *w, const attn_block *b) {
    const int64_t tiles = (b->keys.last - 1) / ATTN_KEY_BLOCK - b->keys.first / ATTN_KEY_BLOCK + 1;
    for (int step = 0; step < MOST_STEPS; step++) {
        w->tiles->power_sums(w->space.kept.maximum, (int)tiles, w->tiles->block,
                             &w->space.threshold);
        if (!w->tiles->move_threshold(b->rows, &w->space.threshold)) return;
    }
}

void attn_weigh_solve(attn_worker *w, const attn_block *b) {
    attn_rows_of_threshold *const t = &w->space.threshold;
    if (w->problem->normalizer.kind == ATTN_HARDMAX || b->keys.first >= b->keys.last) {
        w->tiles->fill(t->value, 1, b->width, 0);
        return;
    }
    attn_weigh_begin_powers(w);
    w->tiles->begin_threshold(w->space.kept.highest, w->tiles->block, t);
    if (t->exponent >= 1) {
        solve_for_maxima(w, b);
        w->tiles->fill(t->step, 1, w->tiles->block, 1); /* every row moves again */
    }
    for (int step = 0; step < MOST_STEPS; step++) {
        attn_for_each_tile(w, b, b->keys, sum_powers);
        if (!w->tiles->move_threshold(b->rows, t)) return;
    }
}

void attn_weigh_apply(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    attn_workspace *const s = &w->space;
    const bool hard = w->problem->normalizer.kind == ATTN_HARDMAX;
    const bool any = hard || has_weights(w, b, tile);
    if (hard)
        w->tiles->hardmax(scores, tile->key_stride, tile->row_stride, tile->count,
                          b->few ? b->rows : b->width, s->kept.highest, s->threshold.value);
    else if (any)
        (b->few ? w->tiles->power_weights_few
                : w->tiles->power_weights)(scores, tile->lines, tile->width, &s->threshold);
    *attn_kept_any(w, b, tile) &= any;
    w->tiles->fill(attn_kept_maximum(w, b, tile), 1, b->width, 0); /* relative to nothing */
    w->tiles->fill(s->shrink, 1, b->width, 1);
}

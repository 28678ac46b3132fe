/* scores.c: views of scores, while a tile has them. */
#include <math.h>

#include "attention/results.h"
#include "observe/parts.h"

static const attn_tensor *score_view(const attn_views *v, attn_score_stage stage) {
    return stage == ATTN_RAW_SCORES      ? &v->raw_scores
           : stage == ATTN_CAPPED_SCORES ? &v->capped_scores
                                         : &v->scores;
}

static double hidden_score(attn_score_stage stage) {
    return stage == ATTN_FINAL_SCORES ? (double)-INFINITY : 0;
}

void attn_show_hidden_scores(attn_worker *w, const attn_block *b) {
    if (!w->problem->views) return;
    for (attn_score_stage stage = ATTN_RAW_SCORES; stage <= ATTN_FINAL_SCORES; stage++) {
        const attn_tensor *const t = score_view(w->plan->views, stage);
        for (int g = 0; g < b->heads && attn_has(t); g++) {
            const int64_t chosen = attn_chosen(w, b, g);
            if (chosen >= 0)
                attn_fill_columns(w, t, b->sequence.batch, chosen, attn_first_row(b), b->queries,
                                  b->columns, hidden_score(stage));
        }
    }
}

void attn_show_scores(attn_worker *w, const attn_block *b, const attn_tile *tile,
                      attn_score_stage stage, attn_visibility seen, const void *scores) {
    const attn_tiles *const t = w->tiles;
    const attn_tensor *const view = score_view(w->plan->views, stage);
    const bool zero_hidden = stage != ATTN_FINAL_SCORES && attn_hides(w, seen);
    if (!attn_has(view)) return;
    if (zero_hidden) attn_hidden_tile(w, b, tile);
    t->fill(w->space.factor, 1, b->width, w->plan->score_factor);
    for (int g = 0; g < b->heads; g++) {
        const int64_t chosen = attn_chosen(w, b, g);
        if (chosen < 0) continue;
        attn_store_head(w, b, g, view, chosen, tile->k, tile->count, scores, tile->key_stride,
                        tile->row_stride, w->space.factor);
        if (zero_hidden)
            t->zero_masked(attn_at(view, t->element_size, b->sequence.batch, chosen,
                                   attn_first_row(b), tile->k),
                           view->stride[2], view->stride[3],
                           attn_head_rows(w->space.hidden, b, tile, g, t), tile->key_stride,
                           tile->row_stride, b->queries, tile->count);
    }
}

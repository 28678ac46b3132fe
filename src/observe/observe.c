/* observe.c: the tiles of a finished block, shown to every view. */
#include "observe/observe.h"

#include "attention/results.h"
#include "explain/alignment.h"
#include "observe/parts.h"

void attn_begin_task(attn_worker *w) {
    const attn_sequence *const s = &w->task->sequence;
    if (w->plan->accumulator_elements > 0) attn_begin_sums(w);
    if (w->plan->wanted.path) attn_path_begin(w->space.path, s->queries, s->keys);
}

void attn_end_task(attn_worker *w) {
    const attn_sequence *const s = &w->task->sequence;
    if (w->plan->wanted.path && s->queries > 0)
        attn_path_finish(w->space.path, &w->plan->views->path, s->index);
}

void attn_begin_block(attn_worker *w, const attn_block *b) {
    if (!w->problem->views) return;
    attn_clear_block_rows(w, b);
    attn_begin_queries(w, b);
    attn_begin_rows(w, b);
}

void attn_end_block(attn_worker *w, const attn_block *b) {
    if (!w->problem->views) return;
    attn_end_queries(w, b);
    attn_end_rows(w, b);
}

/* -------------------------------------------------------------------------------- one tile */

static void show_head(attn_worker *w, const attn_block *b, const attn_tile *tile, int g,
                      int64_t chosen) {
    void *const weights = attn_head_rows(attn_kept_weights(w, b, tile), b, tile, g, w->tiles);
    void *const factor = attn_head_numbers(w, b, g, w->space.factor);
    attn_add_received(w, b, tile, chosen, weights, factor);
    if (attn_stores_directly(w))
        attn_store_head(w, b, g, &w->plan->views->weights, chosen, tile->k, tile->count,
                        attn_kept_weights(w, b, tile), tile->key_stride, tile->row_stride,
                        w->space.factor);
    if (!attn_reads_rows(w)) return;
    attn_load_final(w, b, tile, weights, factor);
    attn_read_rows(w, b, tile, chosen);
}

/* Weights of 0 need be written where rows were not cleared before. */
static void show_nothing(attn_worker *w, const attn_block *b, attn_key_range keys) {
    attn_receive_nothing(w, b, keys);
    for (int g = 0; g < b->heads && attn_stores_directly(w); g++) {
        const int64_t chosen = attn_chosen(w, b, g);
        if (chosen >= 0)
            attn_fill_columns(w, &w->plan->views->weights, b->sequence.batch, chosen,
                              attn_first_row(b), b->queries, keys, 0);
    }
}

static void show_tile(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    if (!*attn_kept_any(w, b, tile)) {
        show_nothing(w, b, (attn_key_range){tile->k, tile->k + tile->count});
        return;
    }
    attn_final_factor(w, b, tile);
    attn_read_for_queries(w, b, tile, attn_kept_weights(w, b, tile));
    for (int g = 0; g < b->heads; g++) {
        const int64_t chosen = attn_chosen(w, b, g);
        if (chosen >= 0) show_head(w, b, tile, g, chosen);
    }
}

/* The caller's own observer sees shut tiles too, as zeros. */
static void call_observer(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_tiles *const t = w->tiles;
    const attn_views *const v = w->plan->views;
    const int g = w->shown_head;
    attn_pairs pairs = attn_pairs_of(w, b, tile, 0, w->space.final);
    pairs.head = b->first_head + g;
    pairs.row_stride = ATTN_KEY_BLOCK;
    pairs.key_stride = 1;
    if (*attn_kept_any(w, b, tile)) {
        attn_final_factor(w, b, tile);
        attn_load_final(w, b, tile, attn_head_rows(attn_kept_weights(w, b, tile), b, tile, g, t),
                        attn_head_numbers(w, b, g, w->space.factor));
    } else {
        t->fill(w->space.final, 1, (int64_t)b->queries * ATTN_KEY_BLOCK, 0);
    }
    v->observer(v->observer_user, &pairs);
}

void attn_observe(attn_worker *w, const attn_block *b) {
    if (!w->problem->views) return;
    const bool none = b->keys.first >= b->keys.last;
    const attn_key_range before = {b->columns.first, none ? b->columns.last : b->keys.first};
    const attn_key_range after = {none ? b->columns.last : b->keys.last, b->columns.last};
    show_nothing(w, b, before);
    attn_for_each_tile(w, b, b->keys, show_tile);
    show_nothing(w, b, after);
    if (!w->plan->views->observer) return;
    for (w->shown_head = 0; w->shown_head < b->heads; w->shown_head++)
        if (attn_chosen(w, b, w->shown_head) >= 0) attn_for_each_tile(w, b, b->keys, call_observer);
}

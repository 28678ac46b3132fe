/* worker.h: what one thread works with, and how it walks the tiles of a block. */
#ifndef ATTN_ATTENTION_WORKER_H
#define ATTN_ATTENTION_WORKER_H

#include "attention/plan.h"

typedef struct {
    const attn_plan *plan;
    const attn_problem *problem;
    const attn_tiles *tiles;
    const attn_start *table;
    void *accumulators;    /* the call's, for sums over queries */
    const attn_task *task; /* the one at hand */
    int shown_head;        /* of a block, while an observer is called */
    attn_kept own_kept;    /* space.kept, unless a task keeps its weights for a merge */
    const void *finite;    /* a head's relative values that were found to be so */
    attn_workspace space;
} attn_worker;

static inline char *attn_offset(void *base, int64_t elements, const attn_tiles *tiles) {
    return (char *)base + elements * tiles->element_size;
}

/* In tiles of a block: rows of a head's queries, one head after the other. */
static inline void *attn_head_rows(void *tile_elements, const attn_block *b, const attn_tile *tile,
                                   int g, const attn_tiles *tiles) {
    return attn_offset(tile_elements, g * b->queries * tile->row_stride, tiles);
}

/* Kept tiles lie one after the other; each may be longer than its keys by less than a vector. */
static inline int64_t attn_kept_index(const attn_block *b, const attn_tile *tile) {
    return tile->k / ATTN_KEY_BLOCK - b->keys.first / ATTN_KEY_BLOCK;
}

static inline void *attn_kept_weights(const attn_worker *w, const attn_block *b,
                                      const attn_tile *tile) {
    const int64_t keys = tile->k - b->keys.first + attn_kept_index(b, tile) * w->tiles->lanes;
    return attn_offset(w->space.kept.weights, keys * (b->few ? b->rows : b->width), w->tiles);
}

/* The maximum that the tile's weights are relative to. */
static inline void *attn_kept_maximum(const attn_worker *w, const attn_block *b,
                                      const attn_tile *tile) {
    return attn_offset(w->space.kept.maximum, attn_kept_index(b, tile) * w->tiles->block, w->tiles);
}

static inline bool *attn_kept_any(const attn_worker *w, const attn_block *b,
                                  const attn_tile *tile) {
    return &w->space.kept.any_visible[attn_kept_index(b, tile)];
}

typedef void attn_tile_function(attn_worker *, const attn_block *, const attn_tile *);

/* Calls `each` for the tiles of a range of a block's keys: cut at multiples of ATTN_KEY_BLOCK. */
static inline void attn_for_each_tile(attn_worker *w, const attn_block *b, attn_key_range keys,
                                      attn_tile_function *each) {
    for (int64_t k = keys.first; k < keys.last;) {
        const int64_t cut = (k / ATTN_KEY_BLOCK + 1) * ATTN_KEY_BLOCK;
        const int64_t end = cut < keys.last ? cut : keys.last;
        const attn_tile tile = attn_tile_at(b, w->tiles, k, (int)(end - k));
        each(w, b, &tile);
        k = end;
    }
}

/* The rectangle of a tile that belongs to head g of the block. */
static inline attn_pairs attn_pairs_of(const attn_worker *w, const attn_block *b,
                                       const attn_tile *tile, int g, void *elements) {
    return (attn_pairs){.data = attn_head_rows(elements, b, tile, g, w->tiles),
                        .dtype = w->problem->query.dtype,
                        .rows = b->queries,
                        .keys = tile->count,
                        .row_stride = tile->row_stride,
                        .key_stride = tile->key_stride,
                        .sequence = b->sequence.index,
                        .head = b->first_head + g,
                        .query = b->first_query,
                        .position = b->sequence.position + b->first_query,
                        .key = tile->k};
}

#endif

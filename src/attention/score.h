/* score.h: SCORE, of every kind: prepare a block's queries once, prepare a tile's keys, and let a tile
 * function put them together. */
#ifndef ATTN_ATTENTION_SCORE_H
#define ATTN_ATTENTION_SCORE_H

#include "attention/mask.h"
#include "attention/worker.h"

/* Loads the block's queries, changed as the kind of score asks. */
void attn_score_begin(attn_worker *w, const attn_block *b);

/* Scores of a tile, with factor and relative positions, before the soft cap; `seen` as of the mask. */
void attn_score_tile(attn_worker *w, const attn_block *b, const attn_tile *tile,
                     attn_visibility seen, void *scores);

/* What stands for keys in a tile's dot products and distances with head g: keys, keys of length 1, or
 * rows of LOCATION's weight; where they lie, or in space.key. */
const void *attn_score_keys(attn_worker *w, const attn_block *b, const attn_tile *tile, int g,
                            int64_t *stride);

/* A tile's rows of key or value, feature by feature: where they lie, or packed if `pack`. */
const void *attn_tile_rows(const attn_worker *w, const attn_tensor *t, const attn_block *b,
                           const attn_tile *tile, void *packed, bool pack, int64_t *stride);

/* The factor of a head's scores, `scales` included. */
double attn_head_scale(const attn_worker *w, const attn_block *b, int g);

/* Within the block's query memory: where head g begins. */
void *attn_head_queries(const attn_worker *w, const attn_block *b, int g, void *queries);

/* Adds factor * (a row of features, [1, heads or 1, 1, d]) to every query of head g. */
void attn_add_features(attn_worker *w, const attn_block *b, int g, void *queries, int d,
                       const attn_tensor *features, double factor);

/* Loads the queries of head g, times factor, into [feature][row] or [row][feature]. */
void attn_load_queries(attn_worker *w, const attn_block *b, int g, void *target, int stride,
                       double factor);

#endif

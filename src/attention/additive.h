/* additive.h: scores weight * tanh(query + key), additive, concat and location-aware: how their queries
 * and keys are prepared, and which tile function their ranges allow. */
#ifndef ATTN_ATTENTION_ADDITIVE_H
#define ATTN_ATTENTION_ADDITIVE_H

#include "attention/score.h"

void attn_additive_begin(attn_worker *w, const attn_block *b, int g);

/* scores: the rows of head g in the tile. */
void attn_additive_tile(attn_worker *w, const attn_block *b, const attn_tile *tile, int g,
                        void *scores);

/* The tile's keys in rows of d_padded features, projected if CONCAT, into space.key; and with what
 * query r of head g knows of locations, into space.located_key (space.location, space.previous and
 * space.location_table are what it is made of). */
void attn_additive_keys(attn_worker *w, const attn_block *b, const attn_tile *tile, int g);
void attn_locate_keys(attn_worker *w, const attn_block *b, const attn_tile *tile, int g, int r);

/* What a query or key alone may reach, so that e^(2x) is neither infinite nor lost to its partner. */
double attn_additive_most_size(const attn_tiles *tiles);

#endif

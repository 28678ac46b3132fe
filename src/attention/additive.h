/* additive.h: scores weight * tanh(query + key), additive, concat and location-aware: how their queries
 * and keys are prepared, and which tile function their ranges allow. */
#ifndef ATTN_ATTENTION_ADDITIVE_H
#define ATTN_ATTENTION_ADDITIVE_H

#include "attention/score.h"

void attn_additive_begin(attn_worker *w, const attn_block *b, int g);

/* scores: the rows of head g in the tile. */
void attn_additive_tile(attn_worker *w, const attn_block *b, const attn_tile *tile, int g,
                        void *scores);

#endif

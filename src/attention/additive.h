/* additive.h: scores weight * tanh(query + key), additive, concat and location-aware: how their queries
 * and keys are prepared, and which tile function their ranges allow. */
#ifndef ATTN_ATTENTION_ADDITIVE_H
#define ATTN_ATTENTION_ADDITIVE_H

#include "attention/score.h"

void attn_additive_begin(attn_worker *w, const attn_block *b, int g);

/* scores: the rows of head g in the tile. */
void attn_additive_tile(attn_worker *w, const attn_block *b, const attn_tile *tile,
                        attn_visibility seen, int g, void *scores);

/* With what tells hidden pairs in space.hidden: whether a row sees some key of the tile; */
bool attn_additive_row_sees(const attn_worker *w, const attn_tile *tile, int row);
/* a packed key that none of the rows sees becomes a copy of one that some row does, or 0 if there is
 * none, so that neither a choice by ranges nor a product with 0 can tell what it was; */
void attn_additive_hide_keys(const attn_worker *w, const attn_tile *tile, int first_row, int rows,
                             void *key);
/* and the ranges of the head's queries, all of them, or those that see some key of the tile. */
void attn_additive_row_ranges(attn_worker *w, const attn_block *b, int g);
void attn_additive_seeing_ranges(attn_worker *w, const attn_block *b, const attn_tile *tile, int g);

/* The tile's keys in rows of d_padded features, projected if CONCAT, into space.key; and with what
 * query r of head g knows of locations, into space.located_key (space.location, space.previous and
 * space.location_table are what it is made of). */
void attn_additive_keys(attn_worker *w, const attn_block *b, const attn_tile *tile, int g);
void attn_locate_keys(attn_worker *w, const attn_block *b, const attn_tile *tile, int g, int r);

/* What a query or key alone may reach, so that e^(2x) is neither infinite nor lost to its partner. */
double attn_additive_most_size(const attn_tiles *tiles);

#endif

/* mask.h: from rules to tiles: which keys a block of queries sees. */
#ifndef ATTN_ATTENTION_MASK_H
#define ATTN_ATTENTION_MASK_H

#include "attention/worker.h"

/* What the mask leaves of a tile: nothing, a part, or all of it. */
typedef enum { ATTN_TILE_SHUT, ATTN_TILE_PARTIAL, ATTN_TILE_OPEN } attn_visibility;

/* Fills what depends on the block's rows alone (visible ranges, document ids) and narrows block->keys
 * to what some row may see. */
void attn_mask_begin(attn_worker *w, attn_block *block);

/* Decides about a tile (and loads mask.allowed for attn_mask_apply). A mask of the caller's own may
 * leave a part of any tile. */
attn_visibility attn_mask_tile(attn_worker *w, const attn_block *block, const attn_tile *tile);

/* -infinity into what the mask hides, after attn_mask_tile said PARTIAL. */
void attn_mask_apply(attn_worker *w, const attn_block *block, const attn_tile *tile, void *scores);

/* After all else, in a tile that hides something: -infinity into the lanes beyond the rows. They would
 * else see keys that the rows do not, perhaps of NaN, and sums over lanes would take that times 0. */
void attn_mask_lanes(attn_worker *w, const attn_block *block, const attn_tile *tile, void *scores);

/* Fills space.hidden: -infinity where mask or bias hide a pair, something finite or NaN elsewhere. */
void attn_hidden_tile(attn_worker *w, const attn_block *block, const attn_tile *tile);

/* Whether a row of the block sees a key of the tile; false where only a callback of the caller's knows. */
bool attn_sees(const attn_worker *w, const attn_block *block, const attn_tile *tile, int row,
               int64_t key);

/* Whether space.hidden can differ from an open tile where attn_mask_tile said so. */
bool attn_hides(const attn_worker *w, attn_visibility seen);

#endif

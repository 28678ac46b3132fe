/* mask.h: from rules to tiles: which keys a block of queries sees, and what is added to its
 * scores. */
#ifndef ATTN_ATTENTION_MASK_H
#define ATTN_ATTENTION_MASK_H

#include "attention/block.h"

/* What the mask leaves of a tile: nothing, a part, or all of it. */
typedef enum { ATTN_TILE_SHUT, ATTN_TILE_PARTIAL, ATTN_TILE_OPEN } attn_visibility;

/* Fills what depends on the block's rows alone (visible ranges, document ids, slopes, positions)
 * and narrows block->keys to what some row may see. */
void attn_mask_begin(const attn_problem *problem, const attn_tiles *tiles, attn_block *block,
                     attn_workspace *space);

/* Decides about a tile (and loads mask.allowed for attn_mask_apply). */
attn_visibility attn_mask_tile(const attn_problem *problem, const attn_tiles *tiles,
                               const attn_block *block, attn_workspace *space,
                               const attn_tile *tile);

/* Soft cap, bias and ALiBi, on raw scores. */
void attn_modify_scores(const attn_problem *problem, const attn_tiles *tiles,
                        const attn_block *block, attn_workspace *space, const attn_tile *tile,
                        void *scores);

/* -infinity into what the mask hides, after attn_mask_tile said PARTIAL. */
void attn_mask_apply(const attn_problem *problem, const attn_tiles *tiles, const attn_block *block,
                     attn_workspace *space, const attn_tile *tile, void *scores);

/* Fills space->hidden: -infinity where mask or bias hide a pair, something finite or NaN
 * elsewhere. */
void attn_hidden_tile(const attn_problem *problem, const attn_tiles *tiles, const attn_block *block,
                      attn_workspace *space, const attn_tile *tile);

#endif

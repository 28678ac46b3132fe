/* weigh.h: WEIGH, by every normaliser: tile by tile where a running maximum and sum (or nothing) make
 * weights, and for whole rows where all scores must be known first. */
#ifndef ATTN_ATTENTION_WEIGH_H
#define ATTN_ATTENTION_WEIGH_H

#include "attention/worker.h"

/* Nothing seen yet: sum and output 0, and the maximum -infinity; or 0, where weights are relative to
 * nothing. */
void attn_weigh_clear(const attn_worker *w, const attn_block *b, const attn_partial *partial);

/* The sink has been seen by the block's first part: its logit is the maximum and exp2(0) the sum.
 * Fills space.sink with it for the entropy. */
void attn_weigh_begin(attn_worker *w, const attn_block *b, const attn_partial *partial);

/* Scores of a tile to weights, in place, relative to space.stretch, which knows them afterwards. */
void attn_weigh_tile(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores);

/* Of whole rows: takes note of a tile's scores (kept); finds what makes the rows' weights; makes a
 * tile's weights, in place. */
void attn_weigh_note(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores);
void attn_weigh_solve(attn_worker *w, const attn_block *b);
void attn_weigh_apply(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores);

/* The exponent and factor of space.threshold; the tile functions' name of a normaliser. */
void attn_weigh_begin_powers(attn_worker *w);
attn_elementwise attn_weigh_elementwise(attn_normalizer_kind kind);

/* space.total is final: space.inverse, which makes its output and weights final, and the log-sum-exp if
 * asked for. Returns whether a row is NaN. */
bool attn_weigh_finish(attn_worker *w, const attn_block *b, bool lse);

#endif

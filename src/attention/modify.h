/* modify.h: what is done to scores between SCORE and WEIGH, and to weights between WEIGH and AGGREGATE. */
#ifndef ATTN_ATTENTION_MODIFY_H
#define ATTN_ATTENTION_MODIFY_H

#include "attention/worker.h"

/* Soft cap. */
void attn_cap_scores(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores);

/* Bias, relative bias, ALiBi; then the caller's own, if there is one. Before the mask. */
void attn_bias_scores(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores);
void attn_call_score(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores);

/* Gumbel noise, after the mask. */
void attn_disturb_scores(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores);

/* Dropout and the factor of local attention. */
void attn_modify_weights(attn_worker *w, const attn_block *b, const attn_tile *tile, void *weights);

/* The bias alone. */
void attn_add_bias(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores);

/* Where the entries of bias or allowed for a head's part of a tile begin. */
const void *attn_pair_entries(const attn_tensor *t, int element_size, const attn_block *b,
                              int64_t head, int64_t k);

void attn_zero_extra(attn_worker *w, const attn_tile *tile);

/* Where row r of a block stands among the keys, and the centre of its local attention. */
int64_t attn_position(const attn_block *b, int r);
double attn_center(const attn_worker *w, const attn_block *b, int r);

/* Fills space.positions with where each row stands relative to the tile's first key. */
void attn_tile_positions(attn_worker *w, const attn_block *b, const attn_tile *tile);

#endif

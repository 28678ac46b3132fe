/* results.h: from a finished block to the caller's tensors. */
#ifndef ATTN_ATTENTION_RESULTS_H
#define ATTN_ATTENTION_RESULTS_H

#include "attention/worker.h"

/* What queries get that may attend to nothing: the padding of a block's heads; and, in packed
 * batches, rows before the first sequence and after the last. */
void attn_clear_padding(const attn_worker *w, const attn_block *b);
void attn_clear_unowned(const attn_worker *w);

/* space.total is final: makes space.inverse, and writes log-sum-exp and output. Returns whether some
 * row is NaN. */
bool attn_store_output(attn_worker *w, const attn_block *b);

/* Whether all visible weights of a row are NaN. */
bool attn_is_nan_row(const attn_worker *w, int r);

/* Rows whose sum is NaN have weights NaN, but 0 where hidden, which no factor can make of them: the
 * kept tiles are changed so, and the rows' factors to 1. */
void attn_settle_nan(attn_worker *w, const attn_block *b);

/* Writes the weights of the block, or of one part of its keys. */
void attn_store_weights(attn_worker *w, const attn_block *b);

/* Makes space.factor, which makes a kept tile final; 0 in the lanes beyond the rows. */
void attn_final_factor(attn_worker *w, const attn_block *b, const attn_tile *tile);

/* Out of a tile, or the output: rows of head g, times their factors, to where they belong in a tensor
 * whose heads count `head`. */
void attn_store_head(const attn_worker *w, const attn_block *b, int g, const attn_tensor *t,
                     int64_t head, int64_t column, int columns, const void *from,
                     int64_t column_stride, int64_t row_stride, const void *factors);

/* Columns of a head's rows of a tensor as large as the weights to a number. */
void attn_fill_columns(const attn_worker *w, const attn_tensor *t, int64_t batch, int64_t head,
                       int64_t query, int rows, attn_key_range columns, double value);

/* The columns that no key of the block stands in, likewise. */
void attn_fill_other_columns(const attn_worker *w, const attn_block *b, const attn_tensor *t,
                             int64_t head, double value);

#endif

/* results.h: from a finished block to the caller's tensors. */
#ifndef ATTN_ATTENTION_RESULTS_H
#define ATTN_ATTENTION_RESULTS_H

#include "attention/worker.h"

/* What queries get that may attend to nothing: the padding of a block's heads; and, in packed
 * batches, rows before the first sequence and after the last. */
void attn_clear_padding(const attn_worker *w, const attn_block *b);
void attn_clear_unowned(const attn_worker *w);

/* space.total is final: writes log-sum-exp, output and weights. */
void attn_store_results(attn_worker *w, const attn_block *b);

/* space.total is final for this part of the keys alone: writes its weights, relative to its
 * maximum. */
void attn_store_partial_weights(attn_worker *w, const attn_block *b);

/* space.total is final for the block, of which `part` is one part and had `part_maximum`: brings
 * the part's weights to the scale of the whole row. */
void attn_finish_partial_weights(attn_worker *w, attn_block *part, const void *part_maximum,
                                 bool nan);

/* Log-sum-exp and output alone; returns whether some row is NaN. */
bool attn_store_output(attn_worker *w, const attn_block *b);

#endif

/* batches.h: a walk through a corpus, batch by batch, with a model. */
#ifndef TRANSLATE_BATCHES_H
#define TRANSLATE_BATCHES_H

#include "translator.h"

/* One batch, and where in the corpus its pairs stand. What it takes from the pass is given back after it.
 * False ends the walk; the sentence is then pass's, if that failed, or else in *error. */
typedef bool translate_batch(void *user, attn_nn_pass *pass, const attn_nn_batch *batch,
                             const int64_t *places, io_error *error);

/* Calls `each` for all batches, from the longest targets to the shortest, on a pass without gradients.
 * values: NULL for the model's own. */
bool translate_each_batch(const translator *t, const attn_nn_real *values,
                          const attn_nn_corpus *corpus, int threads, translate_batch *each,
                          void *user, io_error *error);

#endif

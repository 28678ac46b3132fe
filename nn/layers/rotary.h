/* rotary.h: positions as rotations of pairs of features (Su et al. 2021). */
#ifndef NN_LAYERS_ROTARY_H
#define NN_LAYERS_ROTARY_H

#include "../nn.h"

/* Turns the pairs (i, i + d/2) of each head of row p of a sentence by sign * p * base^(-2i/d), in
 * place; rows are `stride` apart. */
void attn_nn_rotate(const attn_nn_attention *layer, real *rows, int64_t stride,
                    const attn_nn_sentences *sentences, int sign);

/* The same for rows that all stand at one position. */
void attn_nn_rotate_at(const attn_nn_attention *layer, real *rows, int64_t stride, int64_t count,
                       int64_t position);

#endif

/* positions.h: rotary positions (Su et al. 2021), as rotations of pairs of features. */
#ifndef NN_LAYERS_POSITIONS_H
#define NN_LAYERS_POSITIONS_H

#include "../nn.h"

/* cos and sin of p * base^(-2i/d), d = width / heads, for positions p = first .. first+count-1: [count, 2,
 * d/2], in the arena. */
real *attn_nn_angles(attn_nn_pass *pass, const attn_nn_attention *layer, int64_t first,
                     int64_t count);

/* Turns the pairs (i, i + d/2) of each head of row p of a sentence by the angles of position p, or, if sign
 * is -1, back, in place; rows are `stride` apart. */
void attn_nn_rotate(const attn_nn_attention *layer, const real *angles, real *rows, int64_t stride,
                    const attn_nn_sentences *sentences, real sign);

/* The same for rows that all stand at the first of the angles' positions. */
void attn_nn_rotate_at(const attn_nn_attention *layer, const real *angles, real *rows,
                       int64_t stride, int64_t count);

#endif

/* columns.h: products with some columns of a weight: of a linear layer whose input is several arrays
 * that lie side by side only in thought, [a; b] W^T = a W_a^T + b W_b^T. Results have a place already. */
#ifndef NN_LAYERS_COLUMNS_H
#define NN_LAYERS_COLUMNS_H

#include "../nn.h"

typedef struct attn_nn_columns {
    int64_t in, out;
    int64_t weight, step; /* offset of the first of them; from row to row */
    int64_t bias;         /* -1: none */
} attn_nn_columns;

/* Columns first .. first + in - 1 of weight [out, step] at an offset. */
attn_nn_columns attn_nn_columns_of(int64_t weight, int64_t step, int64_t first, int64_t in,
                                   int64_t out, int64_t bias);

/* y [rows, out] = x [rows, in] W^T + bias, or that without its bias added to y. */
void attn_nn_columns_forward(attn_nn_pass *pass, const attn_nn_columns *layer, const real *x,
                             int64_t rows, real *y);
void attn_nn_columns_add(attn_nn_pass *pass, const attn_nn_columns *layer, const real *x,
                         int64_t rows, real *y);

/* d_x [rows, in] = keep * d_x + d_y W. */
void attn_nn_columns_back(attn_nn_pass *pass, const attn_nn_columns *layer, const real *d_y,
                          int64_t rows, real keep, real *d_x);

/* Adds to the gradients of the weight's columns, and of the bias. */
void attn_nn_columns_learn(attn_nn_pass *pass, const attn_nn_columns *layer, const real *x,
                           const real *d_y, int64_t rows);

#endif

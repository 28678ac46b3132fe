/* nn.h: what the files of this library share. */
#ifndef NN_NN_H
#define NN_NN_H

#include "attn/gradients.h"
#include "attn/nn.h"

#include "kernels/kernels.h"

#include <string.h>

typedef attn_nn_real real;

#ifdef ATTN_NN_DOUBLE
#define NN_DTYPE ATTN_F64
#else
#define NN_DTYPE ATTN_F32
#endif

/* Keeps the sentence for attn_nn_error_message; returns the status. */
attn_status attn_nn_error(attn_status status, const char *sentence);

/* Makes the pass fail if a call of libattn did; whether the pass may go on. */
bool attn_nn_check(attn_nn_pass *pass, attn_status status);

static inline bool attn_nn_failed(const attn_nn_pass *pass) {
    return pass->status != ATTN_OK;
}

/* No size of a model that fits a machine reaches this; products of three of them fit int64_t. */
enum { SIZE_LIMIT = 1 << 20 };

/* The row functions for the pass's instruction set. */
const attn_nn_kernels *attn_nn_kernels_of(const attn_nn_pass *pass);

/* How many shards the batches are cut into. */
int64_t attn_nn_batches_shards(const attn_nn_batches *batches);

static inline int64_t attn_nn_rows(const attn_nn_sentences *sentences) {
    return sentences->starts[sentences->count];
}

/* The rows of the longest. */
int64_t attn_nn_longest(const attn_nn_sentences *sentences);

/* A name with something in front: "encoder" and "norm" make "encoder.norm"; the layout fails if it is
 * too long. */
typedef struct attn_nn_name {
    char text[2 * ATTN_NN_NAME_MAX];
} attn_nn_name;
attn_nn_name attn_nn_join(const char *prefix, const char *name);
attn_nn_name attn_nn_join_number(const char *prefix, const char *name, int64_t number);

/* A weight W [rows, columns], rows `step` apart: a parameter, or a part of one. */
typedef struct attn_nn_matrix {
    int64_t weight, step; /* offset of its first number; from row to row */
    int64_t rows, columns;
} attn_nn_matrix;

/* y [rows, W's rows] = x [rows, W's columns] W^T, or y += that: by the pass's panels if it has them. */
void attn_nn_apply(const attn_nn_pass *pass, const attn_nn_matrix *w, const real *x, int64_t x_step,
                   real *y, int64_t y_step, int64_t rows, bool keep);

/* y [rows, columns] += a [rows, inner] b^T, b [columns, inner]; rows of a, b, y are a_step, ... apart.
 * And with b [inner, columns] as it lies; and with a [inner, rows] transposed. */
void attn_nn_multiply_bt(const real *a, int64_t a_step, const real *b, int64_t b_step, real *y,
                         int64_t y_step, int64_t rows, int64_t columns, int64_t inner, real keep);
void attn_nn_multiply(const real *a, int64_t a_step, const real *b, int64_t b_step, real *y,
                      int64_t y_step, int64_t rows, int64_t columns, int64_t inner, real keep);
void attn_nn_multiply_at(const real *a, int64_t a_step, const real *b, int64_t b_step, real *y,
                         int64_t y_step, int64_t rows, int64_t columns, int64_t inner, real keep);

/* Row r of x becomes what row from[r] is, for each of `rows`, where there have been `before`. A row has
 * `used` numbers, and the next begins `step` after it. False: pass->status. */
bool attn_nn_move_rows(attn_nn_pass *pass, real *x, int64_t step, int64_t used, const int64_t *from,
                       int64_t rows, int64_t before);

/* y [rows, columns] = the bias in each row, or 0 without. */
void attn_nn_fill_rows(real *y, const real *bias, int64_t rows, int64_t columns);

#endif

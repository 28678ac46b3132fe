/* matrix.c: products of matrices, through CBLAS. */
#include "nn.h"

#include <cblas.h>

#ifdef ATTN_NN_DOUBLE
#define GEMM cblas_dgemm
#else
#define GEMM cblas_sgemm
#endif

void attn_nn_multiply_bt(const real *a, int64_t a_step, const real *b, int64_t b_step, real *y,
                         int64_t y_step, int64_t rows, int64_t columns, int64_t inner, real keep) {
    if (rows == 0 || columns == 0) return;
    GEMM(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)columns, (int)inner, 1, a,
         (int)a_step, b, (int)b_step, keep, y, (int)y_step);
}

void attn_nn_multiply(const real *a, int64_t a_step, const real *b, int64_t b_step, real *y,
                      int64_t y_step, int64_t rows, int64_t columns, int64_t inner, real keep) {
    if (rows == 0 || columns == 0) return;
    GEMM(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)columns, (int)inner, 1, a,
         (int)a_step, b, (int)b_step, keep, y, (int)y_step);
}

void attn_nn_multiply_at(const real *a, int64_t a_step, const real *b, int64_t b_step, real *y,
                         int64_t y_step, int64_t rows, int64_t columns, int64_t inner, real keep) {
    if (rows == 0 || columns == 0) return;
    GEMM(CblasRowMajor, CblasTrans, CblasNoTrans, (int)rows, (int)columns, (int)inner, 1, a,
         (int)a_step, b, (int)b_step, keep, y, (int)y_step);
}

void attn_nn_fill_rows(real *y, const real *bias, int64_t rows, int64_t columns) {
    for (int64_t r = 0; r < rows; r++) {
        if (bias != NULL) {
            memcpy(y + r * columns, bias, (size_t)columns * sizeof *y);
        } else {
            memset(y + r * columns, 0, (size_t)columns * sizeof *y);
        }
    }
}

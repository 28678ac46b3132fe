/* blas_threads.c: not in matrix.c, for some cblas.h declare these, and others do not. */
#include "attn/nn.h"

/* Each BLAS has a function of its own for this; whichever is linked is there. */
extern void openblas_set_num_threads(int threads) __attribute__((weak));
extern void bli_thread_set_num_threads(int64_t threads) __attribute__((weak));
extern void MKL_Set_Num_Threads(int threads) __attribute__((weak));

void attn_nn_use_one_blas_thread(void) {
    if (openblas_set_num_threads) openblas_set_num_threads(1);
    if (bli_thread_set_num_threads) bli_thread_set_num_threads(1);
    if (MKL_Set_Num_Threads) MKL_Set_Num_Threads(1);
}

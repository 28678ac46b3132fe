#include "threads.h"

#include <attn/nn.h>

#ifdef _OPENMP
#include <omp.h>
#endif

int translate_use_threads(int wanted) {
#ifdef _OPENMP
    if (wanted == 0) wanted = omp_get_max_threads();
#endif
    attn_nn_use_one_blas_thread();
    return wanted;
}

/* avx2.c: the row functions for AVX2 and FMA. */
#include "kernels.h"

#include "tiles/common.h"

#ifdef ATTN_HAVE_X86_TABLES
#include "tiles/avx2.h"

#include "functions.h"

#include "tiles/target_end.h"
#else
typedef int attn_nn_no_avx2_here; /* a file must declare something */
#endif

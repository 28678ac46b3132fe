/* avx512.c: the row functions for AVX-512. */
#include "kernels.h"

#include "tiles/common.h"

#ifdef ATTN_HAVE_X86_TABLES
#include "tiles/avx512.h"

#define PANEL_VECS 4

#include "functions.h"

#include "tiles/target_end.h"
#else
typedef int attn_nn_no_avx512_here; /* a file must declare something */
#endif

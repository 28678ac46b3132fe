/* neon.c: the row functions for AArch64. */
#include "kernels.h"

#include "tiles/common.h"

#if defined(__aarch64__) && defined(__GNUC__)
#include "tiles/neon.h"

#define PANEL_VECS 4

#include "functions.h"
#else
typedef int attn_nn_no_neon_here; /* a file must declare something */
#endif

/* generic.c: the row functions for any machine. */
#include "kernels.h"

#include "tiles/common.h"

#define ISA generic
#if defined(__GNUC__) && !defined(ATTN_NO_VECTORS)
#define ROW_BYTES 16
#else
#define ROW_BYTES 0
#endif

#include "functions.h"

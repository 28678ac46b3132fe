/* generic.c: the tables for any machine: what the compiler makes of 16-byte vectors (SSE2 on any
 * x86-64, plain instructions where there is nothing better), or of plain C without the extension. */
#include "tiles/common.h"

#define ISA generic
#if defined(__GNUC__) && !defined(ATTN_NO_VECTORS)
#define TILE_BYTES 16
#else
#define TILE_BYTES 0
#endif
/* 16 registers, of which a product without a fused multiply-add takes one more. */
#define MAX_TILE_VECS 2
#define MAX_TILE_ROWS 6
#define TILE_ROWS(vecs) 6

#include "tiles/instantiate.h"

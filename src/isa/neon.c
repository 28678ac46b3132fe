/* neon.c: the tables for AArch64. */
#include "tiles/common.h"

#if defined(__aarch64__) && defined(__GNUC__)
#include "tiles/neon.h"

/* 32 registers: 24 sums, at most 4 vectors of queries, broadcasts. */
#define MAX_TILE_VECS 4
#define MAX_TILE_ROWS 12
#define TILE_ROWS(vecs) ((vecs) == 4 ? 6 : (vecs) == 3 ? 8 : 12)

#include "tiles/instantiate.h"
#else
typedef int attn_no_neon_here; /* a file must declare something */
#endif

/* avx2.c: the tables for AVX2 with FMA. */
#include "tiles/common.h"

#ifdef ATTN_HAVE_X86_TABLES
#include "tiles/avx2.h"

/* 16 registers: 12 sums, 2 vectors of queries, a broadcast. */
#define MAX_TILE_VECS 2
#define MAX_TILE_ROWS 12
#define TILE_ROWS(vecs) ((vecs) == 1 ? 12 : 6)

#include "tiles/instantiate.h"

#include "tiles/target_end.h"
#else
typedef int attn_no_avx2_here; /* a file must declare something */
#endif

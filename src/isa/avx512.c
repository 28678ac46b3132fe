/* avx512.c: the tables for AVX-512. */
#include "tiles/common.h"

#ifdef ATTN_HAVE_X86_TABLES
#include "tiles/avx512.h"

/* 32 registers: 24 sums, at most 4 vectors of queries, broadcasts. */
#define MAX_TILE_VECS 4
#define MAX_TILE_ROWS 12
#define TILE_ROWS(vecs) ((vecs) == 4 ? 6 : (vecs) == 3 ? 8 : 12)

#include "tiles/instantiate.h"

#include "tiles/target_end.h"
#else
typedef int attn_no_avx512_here; /* a file must declare something */
#endif

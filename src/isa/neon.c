/* neon.c: the tables for AArch64, whose base has NEON with fused multiply-add. */
#include "tiles/common.h"

#if defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>

#define ISA neon
#define TILE_BYTES 16
/* 32 registers: 24 sums, at most 4 vectors of queries, broadcasts. */
#define MAX_TILE_VECS 4
#define MAX_TILE_ROWS 12
#define TILE_ROWS(vecs) ((vecs) == 4 ? 6 : (vecs) == 3 ? 8 : 12)

/* The vector types of vec.h and of arm_neon.h differ in name alone. */
#define VEC_FMA_f32(a, b, c) (vec) vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
#define VEC_FMA_f64(a, b, c) (vec) vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
#define SCALAR_FMA

#include "tiles/instantiate.h"
#else
typedef int attn_no_neon_here; /* a file must declare something */
#endif

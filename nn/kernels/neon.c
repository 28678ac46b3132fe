/* neon.c: the row functions for AArch64: what the compiler makes of 16-byte vectors, with fused
 * multiply-adds. */
#include "kernels.h"

#include "tiles/common.h"

#if defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>

#define ISA neon
#define ROW_BYTES 16
#define PANEL_VECS 4
/* The vector types of vec.h and of arm_neon.h differ in name alone. */
#define VEC_FMA_f32(a, b, c) (vec) vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
#define VEC_FMA_f64(a, b, c) (vec) vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
#define SCALAR_FMA

#include "functions.h"
#else
typedef int attn_nn_no_neon_here; /* a file must declare something */
#endif

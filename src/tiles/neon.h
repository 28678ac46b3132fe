/* neon.h: the vectors of AArch64, whose base has NEON with fused multiply-add. Included once, after common.h. */
#include <arm_neon.h>

#define ISA neon
#define ISA_BYTES 16

/* The vector types of vec.h and of arm_neon.h differ in name alone. */
#define VEC_FMA_f32(a, b, c) (vec) vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
#define VEC_FMA_f64(a, b, c) (vec) vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
#define SCALAR_FMA

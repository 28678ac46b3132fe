/* avx2.c: the row functions for AVX2 and FMA. */
#include "kernels.h"

#include "tiles/common.h"

#ifdef ATTN_HAVE_X86_TABLES
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define ISA avx2
#define ROW_BYTES 32
#define VEC_FMA_f32(a, b, c) _mm256_fmadd_ps(a, b, c)
#define VEC_FMA_f64(a, b, c) _mm256_fmadd_pd(a, b, c)
#define VEC_MAX_f32(a, b) _mm256_max_ps(a, b)
#define VEC_MAX_f64(a, b) _mm256_max_pd(a, b)
#define SCALAR_FMA

#include "functions.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int attn_nn_no_avx2_here; /* a file must declare something */
#endif

/* avx512.c: the row functions for AVX-512 F, VL, BW, DQ. */
#include "kernels.h"

#include "tiles/common.h"

#ifdef ATTN_HAVE_X86_TABLES
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
#endif

#define ISA avx512
#define ROW_BYTES 64
#define PANEL_VECS 4
#define VEC_FMA_f32(a, b, c) _mm512_fmadd_ps(a, b, c)
#define VEC_FMA_f64(a, b, c) _mm512_fmadd_pd(a, b, c)
#define VEC_MAX_f32(a, b) _mm512_max_ps(a, b)
#define VEC_MAX_f64(a, b) _mm512_max_pd(a, b)
#define VEC_LOAD_PART_f32(p, count) _mm512_maskz_loadu_ps((__mmask16)((1u << (count)) - 1), p)
#define VEC_LOAD_PART_f64(p, count) _mm512_maskz_loadu_pd((__mmask8)((1u << (count)) - 1), p)
#define SCALAR_FMA

#include "functions.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int attn_nn_no_avx512_here; /* a file must declare something */
#endif

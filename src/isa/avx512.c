/* avx512.c: the tables for AVX-512 F, VL, BW, DQ (Skylake-SP, Zen 4 and later). */
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
#define TILE_BYTES 64
/* 32 registers: 24 sums, at most 4 vectors of queries, broadcasts. */
#define MAX_TILE_VECS 4
#define MAX_TILE_ROWS 12
#define TILE_ROWS(vecs) ((vecs) == 4 ? 6 : (vecs) == 3 ? 8 : 12)

#define VEC_FMA_f32(a, b, c) _mm512_fmadd_ps(a, b, c)
#define VEC_FMA_f64(a, b, c) _mm512_fmadd_pd(a, b, c)
#define VEC_MAX_f32(a, b) _mm512_max_ps(a, b)
#define VEC_MAX_f64(a, b) _mm512_max_pd(a, b)
#define VEC_LOAD_PART_f32(p, count) _mm512_maskz_loadu_ps((__mmask16)((1u << (count)) - 1), p)
#define VEC_LOAD_PART_f64(p, count) _mm512_maskz_loadu_pd((__mmask8)((1u << (count)) - 1), p)
#define VEC_ANY_HERE(mask) (_mm512_test_epi32_mask((__m512i)(mask), (__m512i)(mask)) != 0)
#define VEC_ANY_NOT_LE_f32(a, b) (_mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ) != 0)
#define VEC_ANY_NOT_LE_f64(a, b) (_mm512_cmp_pd_mask(a, b, _CMP_NLE_UQ) != 0)
#define SCALAR_FMA

#include "tiles/instantiate.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int attn_no_avx512_here; /* a file must declare something */
#endif

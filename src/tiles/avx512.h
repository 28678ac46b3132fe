/* avx512.h: the vectors of AVX-512 F, VL, BW, DQ (Skylake-SP, Zen 4 and later). A file that is compiled for
 * them includes it once, after common.h; the target holds for all that follows, up to target_end.h. */
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
#endif

#define ISA avx512
#define ISA_BYTES 64

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

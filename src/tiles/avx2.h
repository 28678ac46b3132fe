/* avx2.h: the vectors of AVX2 with FMA (Haswell, Zen and later). A file that is compiled for them includes it
 * once, after common.h; the target holds for all that follows, up to target_end.h. */
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define ISA avx2
#define ISA_BYTES 32

#define VEC_FMA_f32(a, b, c) _mm256_fmadd_ps(a, b, c)
#define VEC_FMA_f64(a, b, c) _mm256_fmadd_pd(a, b, c)
#define VEC_MAX_f32(a, b) _mm256_max_ps(a, b)
#define VEC_MAX_f64(a, b) _mm256_max_pd(a, b)
#define VEC_ANY_HERE(mask) (_mm256_movemask_epi8((__m256i)(mask)) != 0)
#define VEC_ANY_NOT_LE_f32(a, b) (_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLE_UQ)) != 0)
#define VEC_ANY_NOT_LE_f64(a, b) (_mm256_movemask_pd(_mm256_cmp_pd(a, b, _CMP_NLE_UQ)) != 0)
#define SCALAR_FMA

/* The first `count` lanes are those whose index is below it. */
#define VEC_LOAD_PART_f32(p, count)                                    \
    _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), \
                                             _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)))
#define VEC_LOAD_PART_f64(p, count) \
    _mm256_maskload_pd(             \
        p, _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3)))

#include "peak.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <stddef.h>

/* The generic table multiplies and adds 16-byte vectors, in two instructions. */
typedef float floats __attribute__((vector_size(16)));
typedef double doubles __attribute__((vector_size(16)));

#define PEAK_NAME peak_f32__generic
#define PEAK_TARGET
#define PEAK_REAL float
#define PEAK_VECTOR floats
#define PEAK_CHAINS 14
#define PEAK_STEP(x, a, b) ((x) * (a) + (b))
#include "peak_loop.h"

#define PEAK_NAME peak_f64__generic
#define PEAK_TARGET
#define PEAK_REAL double
#define PEAK_VECTOR doubles
#define PEAK_CHAINS 14
#define PEAK_STEP(x, a, b) ((x) * (a) + (b))
#include "peak_loop.h"

#if defined(__x86_64__)
#define PEAK_NAME peak_f32__avx2
#define PEAK_TARGET __attribute__((target("avx2,fma")))
#define PEAK_REAL float
#define PEAK_VECTOR __m256
#define PEAK_CHAINS 12
#define PEAK_STEP(x, a, b) _mm256_fmadd_ps(a, b, x)
#include "peak_loop.h"

#define PEAK_NAME peak_f64__avx2
#define PEAK_TARGET __attribute__((target("avx2,fma")))
#define PEAK_REAL double
#define PEAK_VECTOR __m256d
#define PEAK_CHAINS 12
#define PEAK_STEP(x, a, b) _mm256_fmadd_pd(a, b, x)
#include "peak_loop.h"

#define PEAK_NAME peak_f32__avx512
#define PEAK_TARGET __attribute__((target("avx512f")))
#define PEAK_REAL float
#define PEAK_VECTOR __m512
#define PEAK_CHAINS 12
#define PEAK_STEP(x, a, b) _mm512_fmadd_ps(a, b, x)
#include "peak_loop.h"

#define PEAK_NAME peak_f64__avx512
#define PEAK_TARGET __attribute__((target("avx512f")))
#define PEAK_REAL double
#define PEAK_VECTOR __m512d
#define PEAK_CHAINS 12
#define PEAK_STEP(x, a, b) _mm512_fmadd_pd(a, b, x)
#include "peak_loop.h"
#elif defined(__aarch64__)
#define PEAK_NAME peak_f32__neon
#define PEAK_TARGET
#define PEAK_REAL float
#define PEAK_VECTOR float32x4_t
#define PEAK_CHAINS 24
#define PEAK_STEP(x, a, b) vfmaq_f32(x, a, b)
#include "peak_loop.h"

#define PEAK_NAME peak_f64__neon
#define PEAK_TARGET
#define PEAK_REAL double
#define PEAK_VECTOR float64x2_t
#define PEAK_CHAINS 24
#define PEAK_STEP(x, a, b) vfmaq_f64(x, a, b)
#include "peak_loop.h"
#endif

static const struct {
    attn_isa isa;
    cli_peak_loop *f32, *f64;
} loops[] = {
    {ATTN_ISA_GENERIC, peak_f32__generic, peak_f64__generic},
#if defined(__x86_64__)
    {ATTN_ISA_AVX2, peak_f32__avx2, peak_f64__avx2},
    {ATTN_ISA_AVX512, peak_f32__avx512, peak_f64__avx512},
#elif defined(__aarch64__)
    {ATTN_ISA_NEON, peak_f32__neon, peak_f64__neon},
#endif
};

cli_peak_loop *cli_find_peak_loop(attn_isa isa, attn_dtype dtype) {
    for (size_t i = 0; i < sizeof loops / sizeof loops[0]; i++) {
        if (loops[i].isa == isa) return dtype == ATTN_F32 ? loops[i].f32 : loops[i].f64;
    }
    return NULL;
}

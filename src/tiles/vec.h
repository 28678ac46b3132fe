/* vec.h: a thin layer over the compiler's vector types, so that tile functions are written once.
 *
 * Included once per element type, after
 *     REAL, REAL_BITS   float and 32, or double and 64
 *     VEC_BYTES         bytes of a vector; sizeof(REAL) means one element, plain C
 * and, where the instruction set has better than the portable text, the one-liners
 *     VEC_FMA(a, b, c)          a*b + c, rounded once where the hardware can
 *     VEC_MAX(a, b)             a > b ? a : b, so b if either is NaN (as x86 and the text below)
 *     VEC_ANY(mask)             whether any lane is not 0
 *     VEC_ANY_NOT_LE(a, b)      whether a <= b fails in any lane
 *     VEC_LOAD_PART(p, count)   the first count elements at p, the rest 0; nothing read beyond
 */
#undef vec
#undef ivec
#undef INT
#undef LANES

#define LANES ((int)(VEC_BYTES / sizeof(REAL)))
#define INT JOIN3(int, REAL_BITS, _t)
#define vec NAME(vector)
#define ivec NAME(integer_vector)

#if VEC_BYTES * 8 == REAL_BITS
#define VEC_IS_SCALAR 1
typedef REAL vec;
typedef INT ivec;
#define VEC_MASK(condition) (-(INT)(condition))
#else
#define VEC_IS_SCALAR 0
typedef REAL vec __attribute__((vector_size(VEC_BYTES)));
typedef INT ivec __attribute__((vector_size(VEC_BYTES)));
#define VEC_MASK(condition) ((ivec)(condition))
#endif

/* memcpy is the one way to reinterpret and to load unaligned that every compiler understands. */
INLINE vec NAME(load)(const REAL *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void NAME(store)(REAL *p, vec v) {
    memcpy(p, &v, sizeof v);
}

/* Lane 0. */
INLINE REAL NAME(first)(vec v) {
#if VEC_IS_SCALAR
    return v;
#else
    return v[0];
#endif
}

INLINE ivec NAME(load_int)(const INT *p) {
    ivec v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE ivec NAME(bits)(vec v) {
    ivec b;
    memcpy(&b, &v, sizeof b);
    return b;
}

INLINE vec NAME(from_bits)(ivec b) {
    vec v;
    memcpy(&v, &b, sizeof v);
    return v;
}

INLINE vec NAME(splat)(REAL x) {
#if VEC_IS_SCALAR
    return x;
#else
    return x -
           (vec){0}; /* x - 0 is x for every x, -0 included, so compilers make a broadcast of it */
#endif
}

INLINE ivec NAME(splat_int)(INT x) {
#if VEC_IS_SCALAR
    return x;
#else
    return x - (ivec){0};
#endif
}

/* mask ? a : b, where mask is all ones or all zeros in each lane. */
INLINE vec NAME(select)(ivec mask, vec a, vec b) {
    return NAME(from_bits)((NAME(bits)(a) & mask) | (NAME(bits)(b) & ~mask));
}

INLINE vec NAME(fma)(vec a, vec b, vec c) {
#ifdef VEC_FMA
    return VEC_FMA(a, b, c);
#else
    return a * b + c;
#endif
}

/* One element, rounded as in fma. */
INLINE REAL NAME(fma_one)(REAL a, REAL b, REAL c) {
#if defined(SCALAR_FMA) && REAL_BITS == 32
    return fmaf(a, b, c);
#elif defined(SCALAR_FMA)
    return fma(a, b, c);
#else
    return a * b + c;
#endif
}

INLINE vec NAME(max)(vec a, vec b) {
#ifdef VEC_MAX
    return VEC_MAX(a, b);
#else
    return NAME(select)(VEC_MASK(a > b), a, b);
#endif
}

/* NaN if either is. */
INLINE vec NAME(greater_or_nan)(vec a, vec b) {
    return NAME(select)(VEC_MASK(a != a), a, NAME(max)(a, b));
}

INLINE vec NAME(abs)(vec v) {
    return NAME(from_bits)(NAME(bits)(v) & ~NAME(splat_int)(INT_SIGN_BIT));
}

INLINE vec NAME(load_part)(const REAL *p, int count) {
#ifdef VEC_LOAD_PART
    return VEC_LOAD_PART(p, count);
#else
    REAL part[VEC_BYTES / sizeof(REAL)] = {0};
    for (int i = 0; i < count; i++) part[i] = p[i];
    return NAME(load)(part);
#endif
}

/* Asks for the `count` elements at p + at, of which a constant number of lines. They may lie outside
 * the tensor: a prefetch of any address is harmless, but its computation must not overflow. */
INLINE void NAME(prefetch)(const REAL *p, int64_t at, int count) {
#if defined(__GNUC__)
    enum { LINE = 64, LINES = 4 };
    const uintptr_t first = (uintptr_t)p + (uintptr_t)at * sizeof(REAL);
    UNROLL for (int line = 0; line < LINES; line++) {
        if (line * LINE < count * (int)sizeof(REAL))
            __builtin_prefetch((const void *)(first + (uintptr_t)(line * LINE)));
    }
#else
    (void)p, (void)at, (void)count;
#endif
}

INLINE void NAME(store_part)(REAL *p, vec v, int count) {
    REAL part[VEC_BYTES / sizeof(REAL)];
    NAME(store)(part, v);
    for (int i = 0; i < count; i++) p[i] = part[i];
}

/* exp.h: exp2, tanh and log2 on vectors, within 2 units in the last place (docs/NUMERICS.md).
 *
 * The polynomials are minimax (Remez) fits in relative error, constant term held at 1 for exp2, so
 * that exp2(0) is exactly 1: an online softmax whose maximum did not move then scales by exactly
 * 1. */

#if REAL_BITS == 32
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define ROUND_TO_INTEGER \
    12582912.0f /* 1.5 * 2^23: adding it leaves the integer part in the low bits */
/* (2^r - 1)/r on [-1/2, 1/2]; error of 2^r: 2.0e-9, a thirtieth of a rounding */
static const REAL NAME(exp2_terms)[] = {0.69314720285498252926f,   0.24022647913618703735f,
                                        0.055503324712572623549f,  0.0096184373584378451143f,
                                        0.0013398874378212281409f, 0.00015353361786631542583f};
/* (tanh(a)/a - 1)/a^2 in a^2 on [0, 0.625^2]; error of tanh: 4.4e-9 */
static const REAL NAME(tanh_terms)[] = {-0.33333281942013948331f, 0.13331442198199906084f,
                                        -0.053739715087470557332f, 0.020639087249324580498f,
                                        -0.0057049869979789471198f};
/* (log2((1 + s)/(1 - s))/s - 2/ln 2)/s^2 in s^2, for (1 + s)/(1 - s) in [1/sqrt 2, sqrt 2]; error of
 * log2: 8.1e-10 */
static const REAL NAME(log2_terms)[] = {0.96179827677907614689f, 0.57675400967148590401f,
                                        0.4309579377561474466f};
#else
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define ROUND_TO_INTEGER 6755399441055744.0 /* 1.5 * 2^52 */
/* error 3.4e-18 */
static const REAL NAME(exp2_terms)[] = {
    0.69314718055994532581,     0.24022650695910131259,   0.055504108664820083129,
    0.0096181291075941206395,   0.0013333558146774648945, 0.00015403530457111361352,
    0.000015252733493095941113, 1.3215435282680693957e-6, 1.0178199586447443274e-7,
    7.0737831844535013608e-9,   4.4347689286858042736e-10};
/* error 3.8e-19 */
static const REAL NAME(tanh_terms)[] = {
    -0.33333333333333312815,    0.13333333333329742816,      -0.053968253966058900352,
    0.021869488468715129852,    -0.0088632343125726140732,   0.0035921139998084127563,
    -0.0014557259476164646862,  0.00058945179706565681835,   -0.00023701172511947734034,
    0.000091558403332745975229, -0.000030187212409755393102, 6.0424649316085909059e-6};
/* error 8.2e-21 */
static const REAL NAME(log2_terms)[] = {
    0.96179669392597552286, 0.57707801635567542324, 0.4121985830773554877, 0.32059890409741880533,
    0.26230757613414511337, 0.22198878366420190506, 0.1911590627352307393, 0.191173827014874758};
#endif

/* Horner's rule; called with constant terms and count, so that it unrolls. */
INLINE vec NAME(polynomial)(vec x, const REAL *terms, int count) {
    vec sum = NAME(splat)(terms[count - 1]);
    UNROLL for (int i = count - 2; i >= 0; i--) sum = NAME(fma)(sum, x, NAME(splat)(terms[i]));
    return sum;
}

/* 2^x for x <= 0 (or NaN): x = n + r, n whole, |r| <= 1/2; 2^n is made from its exponent bits,
 * which the addition of ROUND_TO_INTEGER + EXPONENT_BIAS leaves in the low bits of the sum. Below
 * the smallest normal number the result is 0. */
INLINE vec NAME(exp2)(vec x) {
    const vec shift = NAME(splat)(ROUND_TO_INTEGER + EXPONENT_BIAS);
    const vec bounded = NAME(max)(NAME(splat)(-EXPONENT_BIAS), x); /* NaN passes: max's second */
    const vec shifted = bounded + shift;
    const vec r = bounded - (shifted - shift);
    const vec power = NAME(from_bits)(NAME(bits)(shifted) << MANTISSA_BITS);
    const int count = (int)(sizeof NAME(exp2_terms) / sizeof(REAL));
    const vec terms = NAME(polynomial)(r, NAME(exp2_terms), count);
    return NAME(fma)(r, terms, NAME(splat)(1)) * power;
}

/* 2^x where x may be positive: 2^x = 1 / 2^-x there, infinite beyond the largest number. */
INLINE vec NAME(exp2_any)(vec x) {
    const vec small = NAME(exp2)(-NAME(abs)(x));
    return NAME(select)(VEC_MASK(x > NAME(splat)(0)), NAME(splat)(1) / small, small);
}

/* tanh for |x| <= ATTN_NEAR_ZERO: an odd polynomial. */
INLINE vec NAME(tanh_near)(vec x) {
    const int count = (int)(sizeof NAME(tanh_terms) / sizeof(REAL));
    const vec square = x * x;
    return NAME(fma)(x * square, NAME(polynomial)(square, NAME(tanh_terms), count), x);
}

/* tanh: an odd polynomial near 0, where (1 - t)/(1 + t) would cancel; t = e^(-2|x|) elsewhere. */
INLINE vec NAME(tanh)(vec x) {
    const vec one = NAME(splat)(1), a = NAME(abs)(x), square = x * x;
    const int count = (int)(sizeof NAME(tanh_terms) / sizeof(REAL));
    const vec near = NAME(fma)(a * square, NAME(polynomial)(square, NAME(tanh_terms), count), a);
    const vec t = NAME(exp2)(a * NAME(splat)((REAL)(-2 * ATTN_LOG2_E)));
    const vec far = (one - t) / (one + t);
    const vec positive = NAME(select)(VEC_MASK(a < NAME(splat)((REAL)ATTN_NEAR_ZERO)), near, far);
    return NAME(from_bits)(NAME(bits)(positive) | (NAME(bits)(x) & NAME(splat_int)(INT_SIGN_BIT)));
}

/* log2(x) for x > 0: x = 2^n m with m in [1/sqrt 2, sqrt 2), and m = (1 + s)/(1 - s). Something finite
 * for 0 and subnormal numbers, which callers multiply by 0 or by so little; NaN below 0. */
INLINE vec NAME(log2)(vec x) {
    const vec root_half = NAME(splat)((REAL)0.70710678118654752440), one = NAME(splat)(1);
    const ivec size = NAME(bits)(NAME(abs)(x)), above = size - NAME(bits)(root_half);
    const ivec n = above >> MANTISSA_BITS,
               mantissa = NAME(splat_int)(((INT)1 << MANTISSA_BITS) - 1);
    const vec m = NAME(from_bits)(size - (above & ~mantissa)); /* by 2^n */
    const vec magic = NAME(splat)(ROUND_TO_INTEGER);
    const vec whole = NAME(from_bits)(NAME(bits)(magic) + n) - magic;
    const vec s = (m - one) / (m + one), square = s * s;
    const int count = (int)(sizeof NAME(log2_terms) / sizeof(REAL));
    const vec terms = NAME(fma)(square, NAME(polynomial)(square, NAME(log2_terms), count),
                                NAME(splat)((REAL)(2 * ATTN_LOG2_E)));
    const vec sum = NAME(fma)(s, terms, whole);
    return NAME(select)(VEC_MASK(x >= NAME(splat)(0)), sum, NAME(splat)((REAL)NAN));
}

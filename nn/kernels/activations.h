/* activations.h: functions of one number, and their slopes. */

INLINE vec sigmoid_of(vec x) {
    const vec one = NAME(splat)(1), e = NAME(exp2)(-NAME(abs)(x) * all(ATTN_LOG2_E));
    return NAME(select)(VEC_MASK(x >= NAME(splat)(0)), one, e) / (one + e);
}

/* tanh(sqrt(2/pi) (x + 0.044715 x^3)), of GELU. */
INLINE vec gelu_tanh(vec x) {
    const vec inner = NAME(fma)(x * x, all(0.044715), NAME(splat)(1));
    return NAME(tanh)(x * all(0.79788456080286535588) * inner);
}

INLINE vec activation_of(attn_nn_activation kind, vec x) {
    if (kind == ATTN_NN_GELU) return all(0.5) * x * (NAME(splat)(1) + gelu_tanh(x));
    if (kind == ATTN_NN_SILU) return x * sigmoid_of(x);
    return NAME(max)(NAME(splat)(0), x); /* NaN stays NaN */
}

INLINE vec slope_of(attn_nn_activation kind, vec x) {
    const vec one = NAME(splat)(1), half = all(0.5);
    if (kind == ATTN_NN_GELU) {
        const vec t = gelu_tanh(x);
        const vec inner = all(0.79788456080286535588) * NAME(fma)(x * x, all(3 * 0.044715), one);
        return half * (one + t) + half * x * (one - t * t) * inner;
    }
    if (kind == ATTN_NN_SILU) {
        const vec s = sigmoid_of(x);
        return s * (one + x * (one - s));
    }
    return NAME(select)(VEC_MASK(x > NAME(splat)(0)), one, NAME(splat)(0));
}

INLINE void activate_all(attn_nn_activation kind, REAL *y, const REAL *x, int64_t count) {
    FOR_VECTORS(i, count) {
        const int left = LEFT(i, count);
        put(y + i, activation_of(kind, get(x + i, left)), left);
    }
}

INLINE void slope_all(attn_nn_activation kind, REAL *d, const REAL *x, int64_t count) {
    FOR_VECTORS(i, count) {
        const int left = LEFT(i, count);
        put(d + i, get(d + i, left) * slope_of(kind, get(x + i, left)), left);
    }
}

/* The kind is a constant in each loop. */
static void activate(attn_nn_activation kind, REAL *y, const REAL *x, int64_t count) {
    switch (kind) {
    case ATTN_NN_GELU: activate_all(ATTN_NN_GELU, y, x, count); break;
    case ATTN_NN_SILU: activate_all(ATTN_NN_SILU, y, x, count); break;
    default: activate_all(ATTN_NN_RELU, y, x, count); break;
    }
}

static void slope(attn_nn_activation kind, REAL *d, const REAL *x, int64_t count) {
    switch (kind) {
    case ATTN_NN_GELU: slope_all(ATTN_NN_GELU, d, x, count); break;
    case ATTN_NN_SILU: slope_all(ATTN_NN_SILU, d, x, count); break;
    default: slope_all(ATTN_NN_RELU, d, x, count); break;
    }
}

static void tanh_each(REAL *x, int64_t count) {
    FOR_VECTORS(i, count) {
        const int left = LEFT(i, count);
        put(x + i, NAME(tanh)(get(x + i, left)), left);
    }
}

static void tanh_back(REAL *d, const REAL *y, int64_t count) {
    FOR_VECTORS(i, count) {
        const int left = LEFT(i, count);
        const vec value = get(y + i, left);
        put(d + i, get(d + i, left) * (NAME(splat)(1) - value * value), left);
    }
}

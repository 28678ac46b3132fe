/* elementwise.h: WEIGH where a weight is a function of its own score: nothing is summed, and a hidden
 * pair's -infinity becomes 0. */

INLINE vec NAME(sigmoid)(vec z) {
    const vec one = NAME(splat)(1);
    const vec t = NAME(exp2)(NAME(abs)(z) * NAME(splat)((REAL)-ATTN_LOG2_E));
    return NAME(select)(VEC_MASK(z < NAME(splat)(0)), t, one) / (one + t);
}

INLINE vec NAME(weight_of)(attn_elementwise kind, vec z) {
    const vec zero = NAME(splat)(0), positive = NAME(max)(zero, z); /* NaN passes: max's second */
    switch (kind) {
    case ATTN_WEIGH_SIGMOID: return NAME(sigmoid)(z);
    case ATTN_WEIGH_RELU: return positive;
    case ATTN_WEIGH_RELU_SQUARED: return positive * positive;
    case ATTN_WEIGH_LINEAR: break;
    }
    return NAME(select)(VEC_MASK(z == NAME(splat)((REAL)-INFINITY)), zero, z);
}

INLINE void NAME(weigh_each_as)(attn_elementwise kind, REAL *scores, int keys, int width,
                                vec factor, vec bias) {
    FOR_EACH_VECTOR(keys, width) {
        REAL *const at = scores + k * (int64_t)width + q;
        NAME(store)(at, NAME(weight_of)(kind, NAME(fma)(NAME(load)(at), factor, bias)));
    }
}

static void NAME(weigh_each)(void *scores, int keys, int width, attn_elementwise kind,
                             double factor, double bias) {
    const vec by = NAME(splat)((REAL)factor), added = NAME(splat)((REAL)bias);
    switch (kind) {
#define KIND(kind) \
    case kind: NAME(weigh_each_as)(kind, scores, keys, width, by, added); break;
        KIND(ATTN_WEIGH_SIGMOID)
        KIND(ATTN_WEIGH_RELU)
        KIND(ATTN_WEIGH_RELU_SQUARED)
        KIND(ATTN_WEIGH_LINEAR)
#undef KIND
    }
}

/* random.h: noise on scores and weights, a function of the pair's place alone. */
#if VEC_IS_SCALAR
typedef uint32_t NAME(words);
#define TO_REAL(words) ((REAL)(words))
#else
typedef uint32_t NAME(words) __attribute__((vector_size(VEC_BYTES / sizeof(REAL) * 4)));
typedef int32_t NAME(small_integers) __attribute__((vector_size(VEC_BYTES / sizeof(REAL) * 4)));
#define TO_REAL(words) __builtin_convertvector((NAME(small_integers))(words), vec)
#endif

/* (word >> 9) * 2^-23 + 2^-24: within 0 and 1, and exact in both types. */
static void NAME(uniform)(void *target, int lines, int width, const attn_noise *noise) {
    NAME(words) lane = {0};
    for (int i = 0; i < LANES; i++) ((uint32_t *)&lane)[i] = (uint32_t)i;
    FOR_EACH_VECTOR(lines, width) {
        const NAME(words) line = (NAME(words)){0} + (noise->first_line + (uint32_t)k);
        const NAME(words) across = lane + (noise->first_lane + (uint32_t)q);
        NAME(words) a = noise->lanes_are_keys ? line : across;
        NAME(words) b = noise->lanes_are_keys ? across : line;
        ATTN_THREEFRY(a, b, noise->key[0], noise->key[1]);
        const vec whole = TO_REAL((noise->second_word ? b : a) >> 9);
        NAME(store)
        ((REAL *)target + k * (int64_t)width + q,
         NAME(fma)(whole, NAME(splat)(1 / (REAL)(1 << 23)), NAME(splat)(1 / (REAL)(1 << 24))));
    }
}

static void NAME(drop)(void *weights, const void *uniform, int lines, int width, double chance) {
    const vec by = NAME(splat)((REAL)(1 / (1 - chance))), limit = NAME(splat)((REAL)chance);
    FOR_EACH_VECTOR(lines, width) {
        REAL *const at = (REAL *)weights + k * (int64_t)width + q;
        const vec u = NAME(load)((const REAL *)uniform + k * (int64_t)width + q);
        NAME(store)(at, NAME(select)(VEC_MASK(u > limit), NAME(load)(at) * by, NAME(splat)(0)));
    }
}

static void NAME(add_gumbel)(void *scores, const void *uniform, int lines, int width) {
    const vec to_natural = NAME(splat)((REAL)-ATTN_LN_2);
    FOR_EACH_VECTOR(lines, width) {
        REAL *const at = (REAL *)scores + k * (int64_t)width + q;
        const vec u = NAME(load)((const REAL *)uniform + k * (int64_t)width + q);
        const vec exponential = NAME(log2)(u) * to_natural;
        NAME(store)(at, NAME(fma)(NAME(log2)(exponential), to_natural, NAME(load)(at)));
    }
}

/* weights[k][q] *= exp2(-(position[q] - k)^2 * sharpness): 0 beyond exp2's range. */
static void NAME(multiply_gaussian)(void *weights, int keys, int width, const void *position,
                                    double sharpness) {
    const vec by = NAME(splat)((REAL)-sharpness);
    FOR_EACH_VECTOR(keys, width) {
        REAL *const at = (REAL *)weights + k * (int64_t)width + q;
        const vec apart = NAME(load)((const REAL *)position + q) - NAME(splat)((REAL)k);
        NAME(store)(at, NAME(load)(at) * NAME(exp2)(apart * apart * by));
    }
}
#undef TO_REAL

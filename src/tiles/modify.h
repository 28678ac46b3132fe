/* modify.h: what happens to scores between SCORE and WEIGH: factor, soft cap, bias, terms of the
 * relative position, masks. */

/* Runs `body` for each vector of a tile: row k, first query q, and the vector's place `at`. */
#define FOR_EACH_VECTOR(keys, width) \
    for (int k = 0; k < (keys); k++) \
        for (int q = 0; q < (width); q += LANES)

static void NAME(multiply)(void *scores, int keys, int width, double factor) {
    REAL *const s = scores;
    const vec by = NAME(splat)((REAL)factor);
    FOR_EACH_VECTOR(keys, width) {
        REAL *const at = s + k * (int64_t)width + q;
        NAME(store)(at, NAME(load)(at) * by);
    }
}

static void NAME(softcap)(void *scores, int keys, int width, double cap) {
    REAL *const s = scores;
    const vec c = NAME(splat)((REAL)cap), inverse = NAME(splat)((REAL)(1 / cap));
    FOR_EACH_VECTOR(keys, width) {
        REAL *const at = s + k * (int64_t)width + q;
        NAME(store)(at, c * NAME(tanh)(NAME(load)(at) * inverse));
    }
}

/* Biased scores stop at -2^28 (float64: -2^57): their weight is long 0, and in a row that has nothing
 * else they are equal. Beyond, WEIGH's difference from a rounded maximum would be off by more than an
 * exponent can hold. */
static void NAME(add_bias)(void *scores, const void *bias, int keys, int width) {
    REAL *const s = scores;
    const REAL *const b = bias;
    const vec masked = NAME(splat)((REAL)-INFINITY), lowest = NAME(splat)(LOWEST_BIASED);
    FOR_EACH_VECTOR(keys, width) {
        const int64_t at = k * (int64_t)width + q;
        const vec added = NAME(load)(b + at), score = NAME(load)(s + at);
        const vec sum = NAME(max)(lowest, added + score);
        const ivec hidden = VEC_MASK(added == masked) | VEC_MASK(score == masked);
        NAME(store)(s + at, NAME(select)(hidden, masked, sum));
    }
}

static void NAME(add_alibi)(void *scores, int keys, int width, const void *slope,
                            const void *position) {
    REAL *const s = scores;
    FOR_EACH_VECTOR(keys, width) {
        REAL *const at = s + k * (int64_t)width + q;
        const vec distance =
            NAME(abs)(NAME(load)((const REAL *)position + q) - NAME(splat)((REAL)k));
        const vec slopes = NAME(load)((const REAL *)slope + q);
        NAME(store)(at, NAME(fma)(-slopes, distance, NAME(load)(at)));
    }
}

/* Entries differ along the diagonals of a tile, so lanes would have to be gathered: element by
 * element. */
static void NAME(add_relative)(void *scores, int64_t key_stride, int64_t row_stride, int keys,
                               int rows, const void *terms, int64_t term_key_stride,
                               int64_t term_row_stride, int64_t entry_stride,
                               const int32_t *entry) {
    for (int k = 0; k < keys; k++) {
        for (int r = 0; r < rows; r++)
            ((REAL *)scores)[k * key_stride + r * row_stride] +=
                ((const REAL *)terms)[k * term_key_stride + r * term_row_stride +
                                      entry[k - r] * entry_stride];
    }
}

static void NAME(sum_relative)(void *sums, int64_t entry_stride, int64_t sum_row_stride,
                               const void *weights, int64_t key_stride, int64_t row_stride,
                               const void *factor, int keys, int rows, const int32_t *entry) {
    for (int k = 0; k < keys; k++) {
        for (int r = 0; r < rows; r++) {
            REAL *const sum = (REAL *)sums + entry[k - r] * entry_stride + r * sum_row_stride;
            *sum = NAME(fma_one)(((const REAL *)weights)[k * key_stride + r * row_stride],
                                 ((const REAL *)factor)[r], *sum);
        }
    }
}

/* int32 per query in, a vector of the element's own width out, so that masks fit the lanes. */
INLINE ivec NAME(load_int32)(const int32_t *p) {
    INT wide[VEC_BYTES / sizeof(REAL)];
    for (int i = 0; i < LANES; i++) wide[i] = p[i];
    return NAME(load_int)(wide);
}

static void NAME(mask_range)(void *scores, int keys, int width, const int32_t *first,
                             const int32_t *last) {
    const vec masked = NAME(splat)((REAL)-INFINITY);
    for (int q = 0; q < width; q += LANES) {
        const ivec from = NAME(load_int32)(first + q), to = NAME(load_int32)(last + q);
        for (int k = 0; k < keys; k++) {
            REAL *const at = (REAL *)scores + k * (int64_t)width + q;
            const ivec key = NAME(splat_int)(k);
            const ivec visible = VEC_MASK(key >= from) & VEC_MASK(key < to);
            NAME(store)(at, NAME(select)(visible, NAME(load)(at), masked));
        }
    }
}

static void NAME(mask_documents)(void *scores, int keys, int width, const int32_t *key_ids,
                                 const int32_t *query_ids) {
    const vec masked = NAME(splat)((REAL)-INFINITY);
    for (int q = 0; q < width; q += LANES) {
        const ivec ids = NAME(load_int32)(query_ids + q);
        for (int k = 0; k < keys; k++) {
            REAL *const at = (REAL *)scores + k * (int64_t)width + q;
            const ivec visible = VEC_MASK(ids == NAME(splat_int)(key_ids[k]));
            NAME(store)(at, NAME(select)(visible, NAME(load)(at), masked));
        }
    }
}

/* One row; called with a constant stride of 1 where it is 1, so that the compiler makes vectors. */
INLINE int NAME(load_allowed_row)(REAL *target, const uint8_t *allowed, int64_t stride,
                                  int columns) {
    int shut = 0;
    for (int c = 0; c < columns; c++) {
        const int closed = allowed[c * stride] == 0;
        target[c] = closed ? (REAL)-INFINITY : 0;
        shut += closed;
    }
    return (shut < columns ? ATTN_SOME_OPEN : 0) | (shut > 0 ? ATTN_SOME_SHUT : 0);
}

static int NAME(load_allowed)(void *target, int64_t target_stride, const uint8_t *allowed,
                              int64_t row_stride, int64_t column_stride, int rows, int columns) {
    int met = 0;
    for (int r = 0; r < rows; r++) {
        REAL *const to = (REAL *)target + r * target_stride;
        const uint8_t *const row = allowed + r * row_stride;
        met |= column_stride == 1 ? NAME(load_allowed_row)(to, row, 1, columns)
                                  : NAME(load_allowed_row)(to, row, column_stride, columns);
    }
    return met;
}

/* sparse.h: WEIGH where weights depend on all scores of a row through a threshold: sparsemax, entmax,
 * hardmax. The row's scores are all there, in tiles; a weight is
 *
 *     power(max(x - t, 0))    with x = factor * (score - maximum) <= 0, power(r) = r^e
 *
 * and the threshold t, in [-1, 0), makes the weights of a row sum to 1. Differences from the maximum
 * keep the rounding of t that of a number no larger than 1, whatever the size of the scores. */

/* r^e and e r^(e-1), for r >= 0 (or NaN). */
INLINE void NAME(power)(attn_power power, vec r, vec exponent, vec *value, vec *slope) {
    const vec zero = NAME(splat)(0);
    if (power == ATTN_POWER_ONE) {
        *value = r;
        *slope = NAME(select)(VEC_MASK(r > zero), NAME(splat)(1), zero);
    } else if (power == ATTN_POWER_TWO) {
        *value = r * r;
        *slope = r + r;
    } else {
        const vec lower = NAME(exp2)((exponent - NAME(splat)(1)) * NAME(log2)(r)); /* r^(e-1) */
        const ivec nothing = VEC_MASK(r == zero);
        *value = NAME(select)(nothing, zero, lower * r);
        *slope = NAME(select)(nothing, zero, lower * exponent);
    }
}

/* max(x - t, 0); NaN passes. */
INLINE vec NAME(above)(vec score, vec factor, vec base, vec threshold) {
    return NAME(max)(NAME(splat)(0), NAME(fma)(score, factor, -base) - threshold);
}

/* Greatest scores of a tile, and of all tiles so far; NaN if there is one. */
static void NAME(maxima)(const void *scores, int keys, int width, void *tile_maximum,
                         void *maximum) {
    for (int q = 0; q < width; q += LANES) {
        vec highest = NAME(splat)((REAL)-INFINITY), spoilt = NAME(splat)(0);
        for (int k = 0; k < keys; k++) {
            const vec s = NAME(load)((const REAL *)scores + k * (int64_t)width + q);
            highest = NAME(max)(s, highest);
            spoilt = NAME(select)(VEC_MASK(s != s), s, spoilt);
        }
        const vec of_tile = highest + spoilt, old = NAME(load)((REAL *)maximum + q);
        if (tile_maximum) NAME(store)((REAL *)tile_maximum + q, of_tile);
        NAME(store)((REAL *)maximum + q, NAME(greater_or_nan)(old, of_tile));
    }
}

static void NAME(maxima_few)(const void *scores, int keys, int rows, int width, void *tile_maximum,
                             void *maximum) {
    for (int r = 0; r < rows; r++) {
        const REAL *const s = (const REAL *)scores + r * (int64_t)width;
        REAL highest = (REAL)-INFINITY, spoilt = 0, *const m = (REAL *)maximum + r;
        for (int k = 0; k < keys; k++) {
            highest = s[k] > highest ? s[k] : highest;
            spoilt = s[k] != s[k] ? s[k] : spoilt;
        }
        highest += spoilt;
        if (tile_maximum) ((REAL *)tile_maximum)[r] = highest;
        *m = *m > highest || *m != *m ? *m : highest;
    }
}

/* Adds a tile's part to value[q] = sum of power(x - t), and to slope[q] = minus its derivative. */
INLINE void NAME(power_sums_as)(attn_power power, const REAL *scores, int keys, int width,
                                const attn_rows_of_threshold *row, vec factor, vec exponent) {
    for (int q = 0; q < width; q += LANES) {
        const vec t = NAME(load)((const REAL *)row->threshold + q);
        const vec base = NAME(load)((const REAL *)row->base + q);
        vec value = NAME(splat)(0), slope = value;
        for (int k = 0; k < keys; k++) {
            const vec s = NAME(load)(scores + k * (int64_t)width + q);
            vec p, dp;
            NAME(power)(power, NAME(above)(s, factor, base, t), exponent, &p, &dp);
            value += p;
            slope += dp;
        }
        REAL *const v = (REAL *)row->value + q, *const d = (REAL *)row->slope + q;
        NAME(store)(v, NAME(load)(v) + value);
        NAME(store)(d, NAME(load)(d) + slope);
    }
}

INLINE void NAME(power_sums_few_as)(attn_power power, const REAL *scores, int rows, int width,
                                    const attn_rows_of_threshold *row, vec factor, vec exponent) {
    for (int r = 0; r < rows; r++) {
        const vec t = NAME(splat)(((const REAL *)row->threshold)[r]);
        const vec base = NAME(splat)(((const REAL *)row->base)[r]);
        vec value = NAME(splat)(0), slope = value;
        for (int k = 0; k < width; k += LANES) {
            const vec s = NAME(load)(scores + r * (int64_t)width + k);
            vec p, dp;
            NAME(power)(power, NAME(above)(s, factor, base, t), exponent, &p, &dp);
            value += p;
            slope += dp;
        }
        ((REAL *)row->value)[r] += NAME(first)(NAME(sum_across)(value));
        ((REAL *)row->slope)[r] += NAME(first)(NAME(sum_across)(slope));
    }
}

/* Makes a tile's weights in place and adds them to value[q]. */
INLINE void NAME(power_weights_as)(attn_power power, REAL *scores, int keys, int width,
                                   const attn_rows_of_threshold *row, vec factor, vec exponent) {
    for (int q = 0; q < width; q += LANES) {
        const vec t = NAME(load)((const REAL *)row->threshold + q);
        const vec base = NAME(load)((const REAL *)row->base + q);
        vec value = NAME(splat)(0);
        for (int k = 0; k < keys; k++) {
            REAL *const at = scores + k * (int64_t)width + q;
            vec p, dp;
            NAME(power)(power, NAME(above)(NAME(load)(at), factor, base, t), exponent, &p, &dp);
            NAME(store)(at, p);
            value += p;
        }
        REAL *const v = (REAL *)row->value + q;
        NAME(store)(v, NAME(load)(v) + value);
    }
}

INLINE void NAME(power_weights_few_as)(attn_power power, REAL *scores, int rows, int width,
                                       const attn_rows_of_threshold *row, vec factor,
                                       vec exponent) {
    for (int r = 0; r < rows; r++) {
        const vec t = NAME(splat)(((const REAL *)row->threshold)[r]);
        const vec base = NAME(splat)(((const REAL *)row->base)[r]);
        vec value = NAME(splat)(0);
        for (int k = 0; k < width; k += LANES) {
            REAL *const at = scores + r * (int64_t)width + k;
            vec p, dp;
            NAME(power)(power, NAME(above)(NAME(load)(at), factor, base, t), exponent, &p, &dp);
            NAME(store)(at, p);
            value += p;
        }
        ((REAL *)row->value)[r] += NAME(first)(NAME(sum_across)(value));
    }
}

#define FOR_POWER(function)                                                                     \
    do {                                                                                        \
        const vec by = NAME(splat)((REAL)row->factor);                                          \
        const vec e = NAME(splat)((REAL)row->exponent);                                         \
        switch (row->power) {                                                                   \
        case ATTN_POWER_ONE: function(ATTN_POWER_ONE, scores, lines, width, row, by, e); break; \
        case ATTN_POWER_TWO: function(ATTN_POWER_TWO, scores, lines, width, row, by, e); break; \
        case ATTN_POWER_ANY: function(ATTN_POWER_ANY, scores, lines, width, row, by, e); break; \
        }                                                                                       \
    } while (0)

static void NAME(power_sums)(const void *scores, int lines, int width,
                             const attn_rows_of_threshold *row) {
    FOR_POWER(NAME(power_sums_as));
}

static void NAME(power_sums_few)(const void *scores, int lines, int width,
                                 const attn_rows_of_threshold *row) {
    FOR_POWER(NAME(power_sums_few_as));
}

static void NAME(power_weights)(void *scores, int lines, int width,
                                const attn_rows_of_threshold *row) {
    FOR_POWER(NAME(power_weights_as));
}

static void NAME(power_weights_few)(void *scores, int lines, int width,
                                    const attn_rows_of_threshold *row) {
    FOR_POWER(NAME(power_weights_few_as));
}
#undef FOR_POWER

/* base[q] = factor * maximum, 0 for an empty row; threshold[q] = -1, no higher than any solution. */
static void NAME(begin_threshold)(const void *maximum, int width,
                                  const attn_rows_of_threshold *row) {
    const vec zero = NAME(splat)(0);
    for (int q = 0; q < width; q += LANES) {
        const vec highest = NAME(finite_maximum)(NAME(load)((const REAL *)maximum + q));
        NAME(store)((REAL *)row->base + q, highest * NAME(splat)((REAL)row->factor));
        NAME(store)((REAL *)row->threshold + q, NAME(splat)(-1));
        NAME(store)((REAL *)row->step + q, NAME(splat)(1));
        NAME(store)((REAL *)row->value + q, zero);
        NAME(store)((REAL *)row->slope + q, zero);
    }
}

/* One step towards value = 1, and value and slope afresh; whether some threshold moved by more than
 * two roundings. A row that did not, the last time, stays where it is, so that its bits do not depend on
 * its neighbours. Powers with e >= 1 make a convex sum, so Newton's steps from the left stay left of the
 * solution; for lower ones the interval [-1, 0] is halved, `step` being its length. */
static bool NAME(move_threshold)(int width, const attn_rows_of_threshold *row) {
    const REAL least = 2 * REAL_EPSILON;
    bool moved = false;
    for (int q = 0; q < width; q++) {
        REAL *const t = (REAL *)row->threshold + q, *const step = (REAL *)row->step + q;
        const REAL over = ((REAL *)row->value)[q] - 1, slope = ((REAL *)row->slope)[q];
        ((REAL *)row->value)[q] = ((REAL *)row->slope)[q] = 0;
        if (!(*step > least)) continue;
        if (row->exponent >= 1) {
            *step = over > 0 && slope > 0 ? over / slope : 0;
            *t += *step;
        } else { /* t is the interval's left end or, after the first halving, its middle */
            *step /= 2;
            *t += over > 0 ? *step : -*step;
            if (*t < -1) *t = -1;
        }
        moved |= *step > least;
    }
    return moved;
}

/* Whether any row's tile maximum is above its threshold (or NaN): the tile has weights then. */
static bool NAME(any_row_above)(const void *tile_maximum, int width,
                                const attn_rows_of_threshold *row) {
    for (int q = 0; q < width; q++) {
        const REAL x = NAME(fma_one)(((const REAL *)tile_maximum)[q], (REAL)row->factor,
                                     -((const REAL *)row->base)[q]);
        if (!(x <= ((const REAL *)row->threshold)[q])) return true;
    }
    return false;
}

/* 1 for the first score that equals the row's maximum, if value[r] is 0, and counts it there; 0 for
 * the others. A NaN stays, and makes value NaN. In either layout. */
static void NAME(hardmax)(void *scores, int64_t key_stride, int64_t row_stride, int keys, int rows,
                          const void *maximum, void *value) {
    const REAL *const highest = maximum;
    REAL *const found = value;
    for (int k = 0; k < keys; k++) {
        for (int r = 0; r < rows; r++) {
            REAL *const s = (REAL *)scores + k * key_stride + r * row_stride;
            const bool is_first = *s == highest[r] && *s != (REAL)-INFINITY && found[r] == 0;
            if (*s == *s) *s = is_first ? 1 : 0;
            found[r] += *s;
        }
    }
}

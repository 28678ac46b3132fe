/* aggregate.h: AGGREGATE, weights times values.
 *
 * output[f][q] = output[f][q]*shrink[q] + sum over k of weights[k][q] * value[k][f]: the shape of
 * SCORE again, a register tile of ROWS features x VECS vectors of queries. The sum over the tile's
 * keys is made afresh and joins the total once, so that rounding grows with the length of a block
 * plus the number of blocks, not with the number of keys. */

INLINE void NAME(aggregate_tile)(int rows, int vecs, REAL *output, const REAL *shrink, const REAL *weights,
                                 const REAL *value, int64_t value_stride, int keys, int width) {
    vec sum[MAX_TILE_ROWS][MAX_TILE_VECS];
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = NAME(splat)(0);
    }
    for (int k = 0; k < keys; k++) {
        vec w[MAX_TILE_VECS];
        UNROLL for (int v = 0; v < vecs; v++) w[v] = NAME(load)(weights + v * LANES);
        UNROLL for (int r = 0; r < rows; r++) {
            const vec x = NAME(splat)(value[r]);
            UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = NAME(fma)(x, w[v], sum[r][v]);
        }
        weights += width;
        value += value_stride;
    }
    UNROLL for (int v = 0; v < vecs; v++) {
        const vec by = NAME(load)(shrink + v * LANES);
        UNROLL for (int r = 0; r < rows; r++) {
            REAL *const at = output + r * (int64_t)width + v * LANES;
            NAME(store)(at, NAME(fma)(NAME(load)(at), by, sum[r][v]));
        }
    }
}

INLINE void NAME(aggregate_panel)(int vecs, REAL *output, const REAL *shrink, const REAL *weights,
                                  const REAL *value, int64_t value_stride, int keys, int d, int width) {
    const int tall = TILE_ROWS(vecs);
    int f = 0;
#define AGGREGATE_ROWS(rows)                                                                          \
    for (; f + (rows) <= d; f += (rows))                                                              \
    NAME(aggregate_tile)(rows, vecs, output + f * (int64_t)width, shrink, weights, value + f, value_stride, \
                         keys, width)
    AGGREGATE_ROWS(tall);
    AGGREGATE_ROWS(4);
    AGGREGATE_ROWS(2);
    AGGREGATE_ROWS(1);
#undef AGGREGATE_ROWS
}

static void NAME(aggregate)(void *output, const void *shrink, const void *weights, const void *value,
                            int64_t value_stride, int keys, int d, int width) {
#define PANEL(vecs, q)                                                                              \
    NAME(aggregate_panel)(vecs, (REAL *)output + (q), (const REAL *)shrink + (q), (const REAL *)weights + (q), \
                          value, value_stride, keys, d, width)
    FOR_EACH_PANEL(width, PANEL);
#undef PANEL
}

/* One query, `vecs` vectors of features from feature f on; `count` features in the last of them. */
INLINE void NAME(aggregate_few_tile)(int vecs, int count, vec sum[], const REAL *weights, int width,
                                     const REAL *value, int64_t value_stride, int keys) {
    UNROLL for (int v = 0; v < vecs; v++) sum[v] = NAME(splat)(0);
    for (int k = 0; k < keys; k++) {
        const vec w = NAME(splat)(weights[k * (int64_t)width]);
        const REAL *const row = value + k * value_stride;
        UNROLL for (int v = 0; v < vecs - 1; v++) sum[v] = NAME(fma)(w, NAME(load)(row + v * LANES), sum[v]);
        const REAL *const end = row + (vecs - 1) * LANES;
        const vec last = count == LANES ? NAME(load)(end) : NAME(load_part)(end, count);
        sum[vecs - 1] = NAME(fma)(w, last, sum[vecs - 1]);
    }
}

/* Few queries: the lanes hold features, and a short scatter brings the sums to [f][q]. */
static void NAME(aggregate_few)(void *output, const void *shrink, const void *weights, const void *value,
                                int64_t value_stride, int keys, int d, int rows, int width) {
    enum { VECS = 4 };
    for (int q = 0; q < rows; q++) {
        const REAL by = ((const REAL *)shrink)[q], *const w = (const REAL *)weights + q;
        for (int f = 0; f < d;) {
            const REAL *const from = (const REAL *)value + f;
            vec sum[VECS];
            REAL flat[VECS * VEC_BYTES / sizeof(REAL)];
            const int left = d - f;
            if (left >= VECS * LANES)
                NAME(aggregate_few_tile)(VECS, LANES, sum, w, width, from, value_stride, keys);
            else
                NAME(aggregate_few_tile)(1, left < LANES ? left : LANES, sum, w, width, from, value_stride,
                                         keys);
            const int vecs = left >= VECS * LANES ? VECS : 1;
            for (int v = 0; v < vecs; v++) NAME(store)(flat + v * LANES, sum[v]);
            for (int i = 0; i < vecs * LANES && f < d; i++, f++) {
                REAL *const at = (REAL *)output + f * (int64_t)width + q;
                *at = NAME(fma_one)(*at, by, flat[i]);
            }
        }
    }
}

/* Pair by pair, leaving out what the mask hides: 0 * NaN would be NaN. Rare, so it may be slow. The
 * sum is made with the same rounding as above, so that the path taken does not show in the bits. */
static void NAME(aggregate_visible)(void *output, const void *shrink, const void *weights,
                                    const void *mask, const void *value, int64_t value_stride, int keys,
                                    int d, int width) {
    for (int f = 0; f < d; f++) {
        for (int q = 0; q < width; q++) {
            REAL sum = 0;
            for (int k = 0; k < keys; k++) {
                const int64_t at = k * (int64_t)width + q;
                if (((const REAL *)mask)[at] == (REAL)-INFINITY) continue;
                sum = NAME(fma_one)(((const REAL *)weights)[at], ((const REAL *)value)[k * value_stride + f], sum);
            }
            REAL *const out = (REAL *)output + f * (int64_t)width + q;
            *out = NAME(fma_one)(*out, ((const REAL *)shrink)[q], sum);
        }
    }
}

/* x - x is 0 for finite x and NaN otherwise, and NaN survives every sum. */
static bool NAME(all_finite)(const void *values, int64_t row_stride, int rows, int columns) {
    vec sum = NAME(splat)(0);
    for (int r = 0; r < rows; r++) {
        const REAL *const row = (const REAL *)values + r * row_stride;
        int c = 0;
        for (; c + LANES <= columns; c += LANES) {
            const vec x = NAME(load)(row + c);
            sum += x - x;
        }
        if (c < columns) {
            const vec x = NAME(load_part)(row + c, columns - c);
            sum += x - x;
        }
    }
    REAL lanes[VEC_BYTES / sizeof(REAL)];
    NAME(store)(lanes, sum);
    for (int i = 0; i < LANES; i++)
        if (lanes[i] != 0) return false;
    return true;
}

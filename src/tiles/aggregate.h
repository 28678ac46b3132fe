/* aggregate.h: AGGREGATE, weights times values.
 *
 * output[f][q] = output[f][q]*shrink[q] + sum over k of weights[k][q] * value[k][f]: the shape of
 * SCORE again, a register tile of ROWS features x VECS vectors of queries. The sum over the tile's
 * keys is made afresh and joins the total once, so that rounding grows with the length of a block
 * plus the number of blocks, not with the number of keys. */

INLINE void NAME(aggregate_tile)(int rows, int vecs, REAL *output, const REAL *shrink,
                                 const REAL *weights, const REAL *value, int64_t value_stride,
                                 int keys, int width) {
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
                                  const REAL *value, int64_t value_stride, int keys, int d,
                                  int width) {
    const int tall = TILE_ROWS(vecs);
    int f = 0;
#define AGGREGATE_ROWS(rows)                                  \
    for (; f + (rows) <= d; f += (rows)) NAME(aggregate_tile) \
    (rows, vecs, output + f * (int64_t)width, shrink, weights, value + f, value_stride, keys, width)
    AGGREGATE_ROWS(tall);
    AGGREGATE_ROWS(4);
    AGGREGATE_ROWS(2);
    AGGREGATE_ROWS(1);
#undef AGGREGATE_ROWS
}

static void NAME(aggregate)(void *output, const void *shrink, const void *weights,
                            const void *value, int64_t value_stride, int keys, int d, int width) {
#define PANEL(vecs, q)                                                                           \
    NAME(aggregate_panel)                                                                        \
    (vecs, (REAL *)output + (q), (const REAL *)shrink + (q), (const REAL *)weights + (q), value, \
     value_stride, keys, d, width)
    FOR_EACH_PANEL(width, PANEL);
#undef PANEL
}

/* Few queries: the lanes hold features. `rows` queries by `vecs` vectors of features, of which the
 * last has `count`; the lanes beyond get zeros. */
INLINE void NAME(aggregate_few_tile)(int rows, int vecs, int count, REAL *output,
                                     int64_t output_stride, const REAL *shrink, const REAL *weights,
                                     int width, const REAL *value, int64_t value_stride, int keys) {
    vec sum[FEW_ROWS][MAX_FEW_VECS];
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = NAME(splat)(0);
    }
    for (int k = 0; k < keys; k++, value += value_stride) {
        NAME(prefetch)(value, VALUES_AHEAD * value_stride, vecs * LANES);
        UNROLL for (int v = 0; v < vecs; v++) {
            const bool whole = v < vecs - 1 || count == LANES;
            const REAL *const from = value + v * LANES;
            const vec x = whole ? NAME(load)(from) : NAME(load_part)(from, count);
            UNROLL for (int r = 0; r < rows; r++) sum[r][v] =
                NAME(fma)(NAME(splat)(weights[r * (int64_t)width + k]), x, sum[r][v]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vecs; v++) {
            REAL *const at = output + r * output_stride + v * LANES;
            NAME(store)(at, NAME(fma)(NAME(load)(at), NAME(splat)(shrink[r]), sum[r][v]));
        }
    }
}

/* All features for `rows` queries. */
INLINE void NAME(aggregate_few_rows)(int rows, REAL *output, int64_t output_stride,
                                     const REAL *shrink, const REAL *weights, int width,
                                     const REAL *value, int64_t value_stride, int keys, int d) {
    enum { SOME = 4 };
    const int most = rows == 1 ? MAX_FEW_VECS : SOME;
    int f = 0;
#define FEW_VECS(vecs, count)                                                         \
    NAME(aggregate_few_tile)                                                          \
    (rows, vecs, count, output + f, output_stride, shrink, weights, width, value + f, \
     value_stride, keys)
    for (; f + most * LANES <= d; f += most * LANES) FEW_VECS(most, LANES);
    for (; f + SOME * LANES <= d; f += SOME * LANES) FEW_VECS(SOME, LANES);
    for (; f + LANES <= d; f += LANES) FEW_VECS(1, LANES);
    if (f < d) FEW_VECS(1, d - f);
#undef FEW_VECS
}

static void NAME(aggregate_few)(void *output, int64_t output_stride, const void *shrink,
                                const void *weights, const void *value, int64_t value_stride,
                                int keys, int d, int rows, int width) {
    REAL *const o = output;
    const REAL *const by = shrink, *const w = weights;
    int q = 0;
#define FEW_ROWS_FROM(count)                                                                    \
    NAME(aggregate_few_rows)                                                                    \
    (count, o + q * output_stride, output_stride, by + q, w + q * (int64_t)width, width, value, \
     value_stride, keys, d)
    for (; q + FEW_ROWS <= rows; q += FEW_ROWS) FEW_ROWS_FROM(FEW_ROWS);
    for (; q < rows; q++) FEW_ROWS_FROM(1);
#undef FEW_ROWS_FROM
}

/* Pair by pair, leaving out what the mask hides: 0 * NaN would be NaN. Rare, so it may be slow. The
 * sum is made in the same order and rounding as above, so that the path taken does not show in the
 * bits. */
static void NAME(aggregate_visible)(void *output, int64_t feature_stride, int64_t output_row_stride,
                                    const void *shrink, const void *weights, const void *mask,
                                    int64_t key_stride, int64_t row_stride, const void *value,
                                    int64_t value_stride, int keys, int d, int rows) {
    const REAL *const w = weights, *const hidden = mask, *const x = value;
    for (int f = 0; f < d; f++) {
        for (int q = 0; q < rows; q++) {
            REAL *const out = (REAL *)output + f * feature_stride + q * output_row_stride;
            REAL sum = 0;
            for (int k = 0; k < keys; k++) {
                const int64_t at = k * key_stride + q * row_stride;
                if (hidden[at] != (REAL)-INFINITY)
                    sum = NAME(fma_one)(w[at], x[k * value_stride + f], sum);
            }
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

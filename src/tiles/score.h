/* score.h: SCORE, a tile of dot products.
 *
 * score[k][q] = sum over f of key[k][f] * query[f][q]: a register tile of ROWS keys x VECS vectors of
 * queries; each key element is one broadcast, each multiply-add a whole vector of queries. Keys are
 * read where they lie, in order. */

INLINE void NAME(score_tile)(int rows, int vecs, REAL *scores, const REAL *query, const REAL *key,
                             int64_t key_stride, int d, int width) {
    vec sum[MAX_TILE_ROWS][MAX_TILE_VECS];
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = NAME(splat)(0);
    }
    for (int f = 0; f < d; f++) {
        vec q[MAX_TILE_VECS];
        UNROLL for (int v = 0; v < vecs; v++) q[v] = NAME(load)(query + v * LANES);
        query += width;
        UNROLL for (int r = 0; r < rows; r++) {
            const vec k = NAME(splat)(key[r * key_stride + f]);
            UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = NAME(fma)(k, q[v], sum[r][v]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vecs; v++)
            NAME(store)(scores + r * (int64_t)width + v * LANES, sum[r][v]);
    }
}

/* All keys for `vecs` vectors of queries. */
INLINE void NAME(score_panel)(int vecs, REAL *scores, const REAL *query, const REAL *key,
                              int64_t key_stride, int keys, int d, int width) {
    const int tall = TILE_ROWS(vecs);
    int k = 0;
#define SCORE_ROWS(rows)                                                                             \
    for (; k + (rows) <= keys; k += (rows))                                                          \
    NAME(score_tile)(rows, vecs, scores + k * (int64_t)width, query, key + k * key_stride, key_stride, d, \
                     width)
    SCORE_ROWS(tall);
    SCORE_ROWS(4);
    SCORE_ROWS(2);
    SCORE_ROWS(1);
#undef SCORE_ROWS
}

static void NAME(score)(void *scores, const void *query, const void *key, int64_t key_stride, int keys,
                        int d, int width) {
#define PANEL(vecs, q) \
    NAME(score_panel)(vecs, (REAL *)scores + (q), (const REAL *)query + (q), key, key_stride, keys, d, width)
    FOR_EACH_PANEL(width, PANEL);
#undef PANEL
}

/* Few queries: the lanes hold features. LANES keys at a time leave LANES vectors of partial sums,
 * which a transposition turns into one vector of sums. A key's sum is made the same way wherever it
 * stands in its group; past the last key, the last is taken again and its sum dropped. */
INLINE vec NAME(dot_lanes)(const REAL *a, const REAL *b, int d) {
    vec sum = NAME(splat)(0);
    int f = 0;
    for (; f + LANES <= d; f += LANES) sum = NAME(fma)(NAME(load)(a + f), NAME(load)(b + f), sum);
    if (f < d) sum = NAME(fma)(NAME(load_part)(a + f, d - f), NAME(load)(b + f), sum);
    return sum;
}

INLINE vec NAME(sum_each)(vec partial[VEC_BYTES / sizeof(REAL)]) {
#if VEC_IS_SCALAR
    return partial[0];
#elif HAVE_SHUFFLE
    NAME(transpose_square)(partial);
    UNROLL for (int step = LANES / 2; step >= 1; step /= 2) {
        UNROLL for (int i = 0; i < step; i++) partial[i] += partial[i + step];
    }
    return partial[0];
#else
    REAL sums[VEC_BYTES / sizeof(REAL)];
    for (int i = 0; i < LANES; i++) {
        REAL lanes[VEC_BYTES / sizeof(REAL)];
        NAME(store)(lanes, partial[i]);
        for (int step = LANES / 2; step >= 1; step /= 2)
            for (int j = 0; j < step; j++) lanes[j] += lanes[j + step];
        sums[i] = lanes[0];
    }
    return NAME(load)(sums);
#endif
}

static void NAME(score_few)(void *scores, const void *query, int64_t query_stride, const void *key,
                            int64_t key_stride, int keys, int d, int rows, int width) {
    REAL *const s = scores;
    for (int k = 0; k < keys; k += LANES) {
        const int count = keys - k < LANES ? keys - k : LANES;
        for (int q = 0; q < rows; q++) {
            const REAL *const query_row = (const REAL *)query + q * query_stride;
            vec partial[VEC_BYTES / sizeof(REAL)];
            REAL sums[VEC_BYTES / sizeof(REAL)];
            for (int i = 0; i < LANES; i++) {
                const int from = k + (i < count ? i : count - 1);
                partial[i] = NAME(dot_lanes)((const REAL *)key + from * key_stride, query_row, d);
            }
            NAME(store)(sums, NAME(sum_each)(partial));
            for (int i = 0; i < count; i++) s[(k + i) * (int64_t)width + q] = sums[i];
        }
    }
}

/* score.h: SCORE, a tile of dot products, or of squared distances.
 *
 * score[k][q] = sum over f of key[k][f] * query[f][q], or of (key[k][f] - query[f][q])^2: a register tile of ROWS keys x VECS vectors
 * of queries; each key element is one broadcast, each multiply-add a whole vector of queries. Keys
 * are read where they lie, in order. Products are summed in stretches of SCORE_STRETCH features,
 * which are then added up: rounding grows with the length of a stretch plus the number of them. */
enum { NAME(SCORE_STRETCH) = 32 };

INLINE vec NAME(join)(bool distance, vec key, vec query, vec sum) {
    const vec apart = key - query;
    return distance ? NAME(fma)(apart, apart, sum) : NAME(fma)(key, query, sum);
}

INLINE void NAME(score_tile)(bool distance, int rows, int vecs, bool first, REAL *scores,
                             const REAL *query, const REAL *key, int64_t key_stride, int d,
                             int width) {
    vec sum[MAX_TILE_ROWS][MAX_TILE_VECS];
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = NAME(splat)(0);
    }
    UNROLL for (int r = 0; r < rows; r++) NAME(prefetch)(key, (2 * rows + r) * key_stride, d);
    for (int f = 0; f < d; f++) {
        vec q[MAX_TILE_VECS];
        UNROLL for (int v = 0; v < vecs; v++) q[v] = NAME(load)(query + v * LANES);
        query += width;
        UNROLL for (int r = 0; r < rows; r++) {
            const vec k = NAME(splat)(key[r * key_stride + f]);
            UNROLL for (int v = 0; v < vecs; v++) sum[r][v] =
                NAME(join)(distance, k, q[v], sum[r][v]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vecs; v++) {
            REAL *const at = scores + r * (int64_t)width + v * LANES;
            NAME(store)(at, first ? sum[r][v] : NAME(load)(at) + sum[r][v]);
        }
    }
}

/* All keys for `vecs` vectors of queries, over one stretch of features. */
INLINE void NAME(score_panel)(bool distance, int vecs, bool first, REAL *scores, const REAL *query,
                              const REAL *key, int64_t key_stride, int keys, int d, int width) {
    const int tall = TILE_ROWS(vecs);
    int k = 0;
#define SCORE_ROWS(rows)                                                                    \
    for (; k + (rows) <= keys; k += (rows)) NAME(score_tile)                                \
    (distance, rows, vecs, first, scores + k * (int64_t)width, query, key + k * key_stride, \
     key_stride, d, width)
    SCORE_ROWS(tall);
    SCORE_ROWS(4);
    SCORE_ROWS(2);
    SCORE_ROWS(1);
#undef SCORE_ROWS
}

INLINE void NAME(score_features)(bool distance, void *scores, const void *query, const void *key,
                                 int64_t key_stride, int keys, int d, int width) {
    int f = 0;
    do {
        const int left = d - f, count = left < NAME(SCORE_STRETCH) ? left : NAME(SCORE_STRETCH);
        const REAL *const q = (const REAL *)query + f * (int64_t)width, *const k =
                                                                            (const REAL *)key + f;
#define PANEL(vecs, at) \
    NAME(score_panel)   \
    (distance, vecs, f == 0, (REAL *)scores + (at), q + (at), k, key_stride, keys, count, width)
        FOR_EACH_PANEL(width, PANEL);
#undef PANEL
        f += count;
    } while (f < d);
}

static void NAME(score)(void *scores, const void *query, const void *key, int64_t key_stride,
                        int keys, int d, int width) {
    NAME(score_features)(false, scores, query, key, key_stride, keys, d, width);
}

static void NAME(score_distance)(void *scores, const void *query, const void *key,
                                 int64_t key_stride, int keys, int d, int width) {
    NAME(score_features)(true, scores, query, key, key_stride, keys, d, width);
}

/* Few queries: the lanes hold features. LANES keys at a time leave LANES vectors of partial sums,
 * which a tree of shuffles and additions turns into one vector of sums, one lane a key. */
INLINE vec NAME(sum_each)(vec partial[VEC_BYTES / sizeof(REAL)]) {
#if SQUARES
    UNROLL for (int half = LANES / 2; half >= 1; half /= 2) {
        UNROLL for (int i = 0; i < half; i++) partial[i] =
            INTERLEAVE_LOW(partial[i], partial[i + half]) +
            INTERLEAVE_HIGH(partial[i], partial[i + half]);
    }
    return partial[0];
#else
    REAL sums[VEC_BYTES / sizeof(REAL)];
    for (int i = 0; i < LANES; i++) {
        REAL lanes[VEC_BYTES / sizeof(REAL)];
        NAME(store)(lanes, partial[i]);
        for (int half = LANES / 2; half >= 1; half /= 2)
            for (int j = 0; j < half; j++) lanes[j] += lanes[j + half];
        sums[i] = lanes[0];
    }
    return NAME(load)(sums);
#endif
}

/* The partial sums of `count` keys, a constant: one vector each. Keys are addressed from the first of
 * every four, so that LANES of them need no more registers than there are. */
INLINE void NAME(score_group)(bool distance, int count, vec partial[], const REAL *query,
                              const REAL *key, int64_t key_stride, int d) {
    const REAL *four[(VEC_BYTES / sizeof(REAL) + 3) / 4];
    UNROLL for (int i = 0; i < count; i++) partial[i] = NAME(splat)(0);
    UNROLL for (int i = 0; i < count; i += 4) four[i / 4] = key + i * key_stride;
    int f = 0;
    for (; f + LANES <= d; f += LANES) {
        const vec q = NAME(load)(query + f);
        UNROLL for (int i = 0; i < count; i++) {
            const vec k = NAME(load)(four[i / 4] + i % 4 * key_stride);
            NAME(prefetch)(four[i / 4], (i % 4 + KEYS_AHEAD) * key_stride, LANES);
            partial[i] = NAME(join)(distance, k, q, partial[i]);
        }
        UNROLL for (int i = 0; i < count; i += 4) four[i / 4] += LANES;
    }
    if (f < d) {
        const vec q = NAME(load)(query + f);
        UNROLL for (int i = 0; i < count; i++) {
            const vec k = NAME(load_part)(four[i / 4] + i % 4 * key_stride, d - f);
            partial[i] = NAME(join)(distance, k, q, partial[i]);
        }
    }
}

/* Keys outside, queries inside: a group of keys is read from memory once for all queries. */
INLINE void NAME(score_few_features)(bool distance, void *scores, const void *query,
                                     int64_t query_stride, const void *key, int64_t key_stride,
                                     int keys, int d, int rows, int width) {
    const REAL *const queries = query, *from = key;
    REAL *const s = scores;
    vec partial[VEC_BYTES / sizeof(REAL)];
    int k = 0;
    for (; k + LANES <= keys; k += LANES, from += LANES * key_stride) {
        for (int q = 0; q < rows; q++) {
            NAME(score_group)
            (distance, LANES, partial, queries + q * query_stride, from, key_stride, d);
            NAME(store)(s + q * (int64_t)width + k, NAME(sum_each)(partial));
        }
    }
    for (; k < keys; k++, from += key_stride) {
        for (int q = 0; q < rows; q++) {
            NAME(score_group)
            (distance, 1, partial, queries + q * query_stride, from, key_stride, d);
            s[q * (int64_t)width + k] = NAME(first)(NAME(sum_across)(partial[0]));
        }
    }
}

static void NAME(score_few)(void *scores, const void *query, int64_t query_stride, const void *key,
                            int64_t key_stride, int keys, int d, int rows, int width) {
    NAME(score_few_features)
    (false, scores, query, query_stride, key, key_stride, keys, d, rows, width);
}

static void NAME(score_distance_few)(void *scores, const void *query, int64_t query_stride,
                                     const void *key, int64_t key_stride, int keys, int d, int rows,
                                     int width) {
    NAME(score_few_features)
    (true, scores, query, query_stride, key, key_stride, keys, d, rows, width);
}

/* target[r] = source[r] / |source[r]|, 0 for a row of zeros. Where squares would overflow or lose
 * digits the greatest element is divided out first. */
INLINE vec NAME(row_part)(const REAL *row, int c, int columns) {
    return c + LANES <= columns ? NAME(load)(row + c) : NAME(load_part)(row + c, columns - c);
}

INLINE REAL NAME(squares_of)(const REAL *row, int columns) {
    vec sum = NAME(splat)(0);
    for (int c = 0; c < columns; c += LANES) {
        const vec x = NAME(row_part)(row, c, columns);
        sum = NAME(fma)(x, x, sum);
    }
    return NAME(first)(NAME(sum_across)(sum));
}

INLINE REAL NAME(largest_of)(const REAL *row, int columns) {
    vec most = NAME(splat)(0);
    for (int c = 0; c < columns; c += LANES)
        most = NAME(max)(NAME(abs)(NAME(row_part)(row, c, columns)), most);
    return NAME(first)(NAME(max_across)(most));
}

static void NAME(normalize_rows)(void *target, int64_t target_stride, const void *source,
                                 int64_t row_stride, int64_t column_stride, int rows, int columns) {
    const REAL least = REAL_MIN / REAL_EPSILON, most = 1 / least;
    for (int r = 0; r < rows; r++) {
        REAL *const t = (REAL *)target + r * target_stride;
        const REAL *const from = (const REAL *)source + r * row_stride;
        NAME(load_rows)(t, 0, from, 0, column_stride, 1, columns, 1);
        REAL squares = NAME(squares_of)(t, columns);
        if (!(squares > least && squares < most)) {
            const REAL largest = NAME(largest_of)(t, columns);
            if (largest == 0 && squares == 0) continue; /* the row is 0 already */
            for (int c = 0; c < columns; c++) t[c] /= largest;
            squares = NAME(squares_of)(t, columns);
        }
        NAME(load_rows)(t, 0, t, 0, 1, 1, columns, (double)(1 / REAL_SQRT(squares)));
    }
}

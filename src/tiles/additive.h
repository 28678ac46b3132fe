/* additive.h: SCORE by weight * tanh(query + key), summed over features.
 *
 * With A = e^(2 query) and B = e^(2 key), made once a token, tanh(query + key) = 1 - 2/(1 + A B): no
 * exponential is left for the pair. For a feature of weight w let E = c + a B with c = m/w, a = A m/w
 * and m the greatest |w|; then
 *
 *     score = sum of w - 2 m * sum of 1/E
 *
 * and four features share one division: with p = E0 E1, s = E0 + E1, and q, t the same of E2 and E3,
 * their 1/E add up to (s q + t p) / (p q). Each E and each step of the fraction is rounded once, so
 * the error is a few roundings of sum |w|, whatever the signs. p q must not overflow: the caller
 * knows the ranges, and takes fewer features a division or the functions below that know tanh. */

/* The sum of 1/E over `group` features: 4, 2 or 1, a constant. */
INLINE vec NAME(sum_inverses)(int group, const vec e[4]) {
    if (group == 1) return NAME(splat)(1) / e[0];
    vec sum = e[0] + e[1], product = e[0] * e[1];
    if (group == 4) {
        const vec sum2 = e[2] + e[3], product2 = e[2] * e[3];
        sum = NAME(fma)(sum, product2, sum2 * product);
        product = product * product2;
    }
    return sum / product;
}

/* A register tile of `rows` keys by one vector of queries. */
INLINE void NAME(additive_tile)(int group, int rows, REAL *scores, const REAL *query,
                                const REAL *key, int64_t key_stride, const REAL *inverse_weight,
                                int d, int width, vec first, vec factor) {
    vec sum[MAX_ADDITIVE_ROWS];
    UNROLL for (int r = 0; r < rows; r++) sum[r] = NAME(splat)(0);
    for (int f = 0; f < d; f += group) {
        vec a[4];
        UNROLL for (int i = 0; i < group; i++) a[i] = NAME(load)(query + (f + i) * (int64_t)width);
        UNROLL for (int r = 0; r < rows; r++) {
            vec e[4];
            UNROLL for (int i = 0; i < group; i++) e[i] = NAME(fma)(
                a[i], NAME(splat)(key[r * key_stride + f + i]), NAME(splat)(inverse_weight[f + i]));
            sum[r] += NAME(sum_inverses)(group, e);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        NAME(store)(scores + r * (int64_t)width, NAME(fma)(sum[r], factor, first));
}

INLINE void NAME(additive_keys)(int group, REAL *scores, const REAL *query, const REAL *key,
                                int64_t key_stride, const REAL *inverse_weight, int keys, int d,
                                int width, vec first, vec factor) {
    for (int q = 0; q < width; q += LANES) {
        int k = 0;
#define ADDITIVE_ROWS(rows)                                                                     \
    for (; k + (rows) <= keys; k += (rows)) NAME(additive_tile)                                 \
    (group, rows, scores + k * (int64_t)width + q, query + q, key + k * key_stride, key_stride, \
     inverse_weight, d, width, first, factor)
        ADDITIVE_ROWS(MAX_ADDITIVE_ROWS);
        ADDITIVE_ROWS(1);
#undef ADDITIVE_ROWS
    }
}

static void NAME(score_additive)(void *scores, const void *query, const void *key,
                                 int64_t key_stride, const void *inverse_weight, int group,
                                 int keys, int d, int width, double first, double factor) {
    const vec start = NAME(splat)((REAL)first), by = NAME(splat)((REAL)factor);
#define KEYS(group)     \
    NAME(additive_keys) \
    (group, scores, query, key, key_stride, inverse_weight, keys, d, width, start, by)
    if (group == 4) KEYS(4);
    else if (group == 2) KEYS(2);
    else KEYS(1);
#undef KEYS
}

/* Few queries: the lanes hold features, a group is so many vectors of them. One key and one query. */
INLINE vec NAME(additive_pair)(int group, const REAL *query, const REAL *key,
                               const REAL *inverse_weight, int d) {
    vec sum = NAME(splat)(0);
    int f = 0;
    for (; f + group * LANES <= d; f += group * LANES) {
        vec e[4];
        UNROLL for (int i = 0; i < group; i++) e[i] =
            NAME(fma)(NAME(load)(query + f + i * LANES), NAME(load)(key + f + i * LANES),
                      NAME(load)(inverse_weight + f + i * LANES));
        sum += NAME(sum_inverses)(group, e);
    }
    for (; f < d; f += LANES)
        sum += NAME(splat)(1) / NAME(fma)(NAME(load)(query + f), NAME(load)(key + f),
                                          NAME(load)(inverse_weight + f));
    return sum;
}

static void NAME(score_additive_few)(void *scores, const void *query, int64_t query_stride,
                                     const void *key, int64_t key_stride,
                                     const void *inverse_weight, int group, int keys, int d,
                                     int rows, int width, double first, double factor) {
    const REAL *const queries = query, *const from = key, *const c = inverse_weight;
    for (int k = 0; k < keys; k++) {
        for (int r = 0; r < rows; r++) {
            const REAL *const q = queries + r * query_stride, *const x = from + k * key_stride;
            const vec sum = group == 4   ? NAME(additive_pair)(4, q, x, c, d)
                            : group == 2 ? NAME(additive_pair)(2, q, x, c, d)
                                         : NAME(additive_pair)(1, q, x, c, d);
            ((REAL *)scores)[r * (int64_t)width + k] =
                NAME(fma_one)(NAME(first)(NAME(sum_across)(sum)), (REAL)factor, (REAL)first);
        }
    }
}

/* Where the ranges are too wide for the identity, or so narrow that 1 - 2/E would round more than
 * the tanh of a small number does: pair by pair, with the tanh of exp.h; `near`, a constant, if its
 * polynomial will do. */
INLINE void NAME(tanh_tile)(bool near, REAL *scores, const REAL *query, const REAL *key,
                            int64_t key_stride, const REAL *weight, int keys, int d, int width) {
    FOR_EACH_VECTOR(keys, width) {
        const REAL *const x = key + k * key_stride;
        vec sum = NAME(splat)(0);
        for (int f = 0; f < d; f++) {
            const vec a = NAME(load)(query + f * (int64_t)width + q) + NAME(splat)(x[f]);
            const vec t = near ? NAME(tanh_near)(a) : NAME(tanh)(a);
            sum = NAME(fma)(t, NAME(splat)(weight[f]), sum);
        }
        NAME(store)(scores + k * (int64_t)width + q, sum);
    }
}

static void NAME(score_tanh)(void *scores, const void *query, const void *key, int64_t key_stride,
                             const void *weight, bool near, int keys, int d, int width) {
    if (near) NAME(tanh_tile)(true, scores, query, key, key_stride, weight, keys, d, width);
    else NAME(tanh_tile)(false, scores, query, key, key_stride, weight, keys, d, width);
}

static void NAME(score_tanh_few)(void *scores, const void *query, int64_t query_stride,
                                 const void *key, int64_t key_stride, const void *weight, int keys,
                                 int d, int rows, int width) {
    for (int k = 0; k < keys; k++) {
        const REAL *const x = (const REAL *)key + k * key_stride;
        for (int r = 0; r < rows; r++) {
            const REAL *const q = (const REAL *)query + r * query_stride;
            vec sum = NAME(splat)(0);
            for (int f = 0; f < d; f += LANES) {
                const vec t = NAME(tanh)(NAME(load)(q + f) + NAME(load)(x + f));
                sum = NAME(fma)(t, NAME(load)((const REAL *)weight + f), sum);
            }
            ((REAL *)scores)[r * (int64_t)width + k] = NAME(first)(NAME(sum_across)(sum));
        }
    }
}

/* target[r][c] = e^(2 source[r][c]) * factor[c], or * row_factor[r]; both NULL: one. The exponent
 * 2 log2(e) x is rounded, by up to |x| u; what is lost, known where the multiply-add is fused, is put
 * back, so that there the error does not grow with x. */
static void NAME(exp_twice)(void *target, const void *source, int64_t stride, int rows, int columns,
                            const void *column_factor, const void *row_factor) {
    const REAL high = (REAL)(2 * ATTN_LOG2_E), low = (REAL)(TWICE_LOG2_E - (long double)high);
    const vec twice = NAME(splat)(high), rest = NAME(splat)(low);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c += LANES) {
            const int64_t at = r * stride + c;
            const vec x = NAME(load)((const REAL *)source + at), y = x * twice;
            const vec lost = NAME(fma)(x, rest, NAME(fma)(x, twice, -y));
            vec e = NAME(exp2)(y);
            e = NAME(fma)(e, lost * NAME(splat)((REAL)ATTN_LN_2), e);
            if (column_factor) e *= NAME(load)((const REAL *)column_factor + c);
            if (row_factor) e *= NAME(splat)(((const REAL *)row_factor)[r]);
            NAME(store)((REAL *)target + at, e);
        }
    }
}

/* lowest[c], highest[c]: of the column; NaN passes unseen. */
static void NAME(column_ranges)(void *lowest, void *highest, const void *source, int64_t row_stride,
                                int64_t column_stride, int rows, int columns) {
    REAL *const least = lowest, *const most = highest;
    const REAL *const from = source;
    int c = 0;
    for (; column_stride == 1 && c + LANES <= columns; c += LANES) {
        vec low = NAME(splat)((REAL)INFINITY), high = -low;
        for (int r = 0; r < rows; r++) {
            const vec x = NAME(load)(from + r * row_stride + c);
            high = NAME(max)(x, high);
            low = -NAME(max)(-x, -low);
        }
        NAME(store)(least + c, low);
        NAME(store)(most + c, high);
    }
    for (; c < columns; c++) {
        least[c] = (REAL)INFINITY, most[c] = (REAL)-INFINITY;
        for (int r = 0; r < rows; r++) {
            const REAL x = from[r * row_stride + c * column_stride];
            if (x < least[c]) least[c] = x;
            if (x > most[c]) most[c] = x;
        }
    }
}

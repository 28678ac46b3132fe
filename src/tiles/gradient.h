/* gradient.h: what the backward needs beside SCORE and AGGREGATE, of which most of it is made.
 *
 * SCORE makes scores[k][q] and, of values and output gradients, the weights' gradients; AGGREGATE with
 * keys for values makes those of the queries. Missing are DISTRIBUTE, what keys get from queries, and
 * the ways back through WEIGH, soft cap and norms. Numbers of a row are in the lanes, or, in tiles of
 * few, one to a line: `few`, a constant in each copy. */

/* A row's number for the vector at (line, q). */
INLINE vec NAME(row_number)(bool few, const REAL *rows, int line, int q) {
    return few ? NAME(splat)(rows[line]) : NAME(load)(rows + q);
}

/* Makes two copies of a function, and takes the one that is asked for. */
#define FEW_OR_NOT(few, function, ...)              \
    do {                                            \
        if (few) NAME(function)(true, __VA_ARGS__); \
        else NAME(function)(false, __VA_ARGS__);    \
    } while (0)

/* ---------------------------------------------------------------------------------- DISTRIBUTE */

/* sums[k][f] += sum over r of tile[k][r] * source[r][f]: a register tile of ROWS keys x VECS vectors of
 * features. Of all rows at once: they are as few as a stretch of SCORE. */
INLINE void NAME(distribute_tile)(int keys, int vecs, REAL *sums, int64_t sums_stride,
                                  const REAL *tile, int64_t key_stride, int64_t row_stride,
                                  const REAL *source, int64_t source_stride, int rows) {
    vec sum[MAX_TILE_ROWS][MAX_TILE_VECS];
    UNROLL for (int k = 0; k < keys; k++) {
        UNROLL for (int v = 0; v < vecs; v++) sum[k][v] = NAME(splat)(0);
    }
    for (int r = 0; r < rows; r++) {
        vec x[MAX_TILE_VECS];
        UNROLL for (int v = 0; v < vecs; v++) x[v] = NAME(load)(source + v * LANES);
        UNROLL for (int k = 0; k < keys; k++) {
            const vec by = NAME(splat)(tile[k * key_stride]);
            UNROLL for (int v = 0; v < vecs; v++) sum[k][v] = NAME(fma)(by, x[v], sum[k][v]);
        }
        tile += row_stride;
        source += source_stride;
    }
    UNROLL for (int k = 0; k < keys; k++) {
        UNROLL for (int v = 0; v < vecs; v++) {
            REAL *const at = sums + k * sums_stride + v * LANES;
            NAME(store)(at, NAME(load)(at) + sum[k][v]);
        }
    }
}

INLINE void NAME(distribute_panel)(int vecs, REAL *sums, int64_t sums_stride, const REAL *tile,
                                   int64_t key_stride, int64_t row_stride, const REAL *source,
                                   int64_t source_stride, int keys, int rows) {
    const int tall = TILE_ROWS(vecs);
    int k = 0;
#define DISTRIBUTE_KEYS(count)                                                            \
    for (; k + (count) <= keys; k += (count)) NAME(distribute_tile)                       \
    (count, vecs, sums + k * sums_stride, sums_stride, tile + k * key_stride, key_stride, \
     row_stride, source, source_stride, rows)
    DISTRIBUTE_KEYS(tall);
    DISTRIBUTE_KEYS(4);
    DISTRIBUTE_KEYS(2);
    DISTRIBUTE_KEYS(1);
#undef DISTRIBUTE_KEYS
}

static void NAME(distribute)(void *sums, int64_t sums_stride, const void *tile, int64_t key_stride,
                             int64_t row_stride, const void *source, int64_t source_stride,
                             int keys, int d, int rows) {
#define PANEL(vecs, f)                                                    \
    NAME(distribute_panel)                                                \
    (vecs, (REAL *)sums + (f), sums_stride, tile, key_stride, row_stride, \
     (const REAL *)source + (f), source_stride, keys, rows)
    FOR_EACH_PANEL(d, PANEL);
#undef PANEL
}

/* The same where sources are not all finite, and pairs are hidden; or, without a mask, where elements of
 * the tile are 0 that no pair has made: pair by pair, in the same order and rounding. */
static void NAME(distribute_visible)(void *sums, int64_t sums_stride, const void *tile,
                                     const void *mask, int64_t key_stride, int64_t row_stride,
                                     const void *source, int64_t source_stride, int keys, int d,
                                     int rows) {
    const REAL *const w = tile, *const hidden = mask, *const x = source;
    for (int k = 0; k < keys; k++) {
        for (int f = 0; f < d; f++) {
            REAL sum = 0;
            for (int r = 0; r < rows; r++) {
                const int64_t at = k * key_stride + r * row_stride;
                if (hidden ? hidden[at] != (REAL)-INFINITY : w[at] != 0)
                    sum = NAME(fma_one)(w[at], x[r * source_stride + f], sum);
            }
            ((REAL *)sums)[k * sums_stride + f] += sum;
        }
    }
}

/* --------------------------------------------------------------------------------------- WEIGH */

/* exp2(factor*score - base); a base of -infinity is that of a row that sees nothing. */
INLINE vec NAME(known_weight)(vec score, vec factor, vec base) {
    return NAME(exp2)(NAME(fma)(score, factor, -NAME(finite_maximum)(base)));
}

INLINE void NAME(weigh_known_as)(bool few, REAL *scores, int lines, int width, vec factor,
                                 const REAL *base) {
    FOR_EACH_VECTOR(lines, width) {
        REAL *const at = scores + k * (int64_t)width + q;
        const vec b = NAME(row_number)(few, base, k, q);
        NAME(store)(at, NAME(known_weight)(NAME(load)(at), factor, b));
    }
}

static void NAME(weigh_known)(void *scores, int lines, int width, bool few, double factor,
                              const void *base) {
    FEW_OR_NOT(few, weigh_known_as, scores, lines, width, NAME(splat)((REAL)factor), base);
}

/* gradient = slope * (gradient - mean). A slope of 0 makes 0 of any number; of a NaN too if `sparse`,
 * whose means have not looked at it. */
INLINE void NAME(center_as)(bool few, bool sparse, REAL *gradient, const REAL *slope, int lines,
                            int width, const REAL *mean) {
    const vec zero = NAME(splat)(0);
    FOR_EACH_VECTOR(lines, width) {
        const int64_t at = k * (int64_t)width + q;
        const vec by = NAME(load)(slope + at);
        const vec apart = NAME(load)(gradient + at) - NAME(row_number)(few, mean, k, q);
        const vec g = by * apart;
        NAME(store)(gradient + at, sparse ? NAME(select)(VEC_MASK(by == zero), zero, g) : g);
    }
}

static void NAME(center)(void *gradient, const void *slope, int lines, int width, bool few,
                         bool sparse, const void *mean) {
    if (sparse) FEW_OR_NOT(few, center_as, true, gradient, slope, lines, width, mean);
    else FEW_OR_NOT(few, center_as, false, gradient, slope, lines, width, mean);
}

/* Both at once, for a softmax: row by row of a panel, so that its numbers stay in registers. */
INLINE void NAME(weigh_and_center_as)(bool few, REAL *scores, REAL *gradient, int lines, int width,
                                      vec factor, const REAL *base, const REAL *mean) {
    for (int q = 0; q < width; q += LANES) {
        vec b = few ? NAME(splat)(0) : NAME(finite_maximum)(NAME(load)(base + q));
        vec m = few ? b : NAME(load)(mean + q);
        for (int k = 0; k < lines; k++) {
            const int64_t at = k * (int64_t)width + q;
            if (few) b = NAME(finite_maximum)(NAME(splat)(base[k])), m = NAME(splat)(mean[k]);
            const vec weight = NAME(exp2)(NAME(fma)(NAME(load)(scores + at), factor, -b));
            NAME(store)(scores + at, weight);
            NAME(store)(gradient + at, weight * (NAME(load)(gradient + at) - m));
        }
    }
}

static void NAME(weigh_and_center)(void *scores, void *gradient, int lines, int width, bool few,
                                   double factor, const void *base, const void *mean) {
    FEW_OR_NOT(few, weigh_and_center_as, scores, gradient, lines, width, NAME(splat)((REAL)factor),
               base, mean);
}

/* gradient *= slope of weight_of(factor*score + bias), 0 where the score is -infinity. */
INLINE vec NAME(slope_of)(attn_elementwise kind, vec z) {
    const vec zero = NAME(splat)(0), one = NAME(splat)(1);
    if (kind == ATTN_WEIGH_SIGMOID) {
        const vec t = NAME(exp2)(NAME(abs)(z) * NAME(splat)((REAL)-ATTN_LOG2_E));
        return t / ((one + t) * (one + t));
    }
    if (kind == ATTN_WEIGH_RELU_SQUARED) return NAME(max)(zero, z + z);
    if (kind == ATTN_WEIGH_LINEAR) return one;
    const vec step = NAME(select)(VEC_MASK(z > zero), one, zero);
    return NAME(select)(VEC_MASK(z != z), z, step);
}

INLINE void NAME(slope_each_as)(attn_elementwise kind, REAL *gradient, const REAL *scores,
                                int lines, int width, vec factor, vec bias) {
    const vec none = NAME(splat)((REAL)-INFINITY), zero = NAME(splat)(0);
    FOR_EACH_VECTOR(lines, width) {
        const int64_t at = k * (int64_t)width + q;
        const vec s = NAME(load)(scores + at);
        const ivec hidden = VEC_MASK(s == none);
        const vec z = NAME(fma)(NAME(select)(hidden, zero, s), factor, bias);
        const vec g = NAME(load)(gradient + at) * NAME(slope_of)(kind, z);
        NAME(store)(gradient + at, NAME(select)(hidden, zero, g));
    }
}

static void NAME(slope_each)(void *gradient, const void *scores, int lines, int width,
                             attn_elementwise kind, double factor, double bias) {
    const vec by = NAME(splat)((REAL)factor), added = NAME(splat)((REAL)bias);
    switch (kind) {
#define KIND(kind) \
    case kind: NAME(slope_each_as)(kind, gradient, scores, lines, width, by, added); break;
        KIND(ATTN_WEIGH_SIGMOID)
        KIND(ATTN_WEIGH_RELU)
        KIND(ATTN_WEIGH_RELU_SQUARED)
        KIND(ATTN_WEIGH_LINEAR)
#undef KIND
    }
}

/* scores = r^(e - 1) where r = max(factor*score - base - threshold, 0) > 0, else 0: how weights r^e
 * that sum to 1 change with their scores, up to their common mean. */
INLINE vec NAME(power_slope)(attn_power power, vec r, vec exponent) {
    const vec zero = NAME(splat)(0);
    vec slope = NAME(splat)(1);
    if (power == ATTN_POWER_TWO) slope = r;
    if (power == ATTN_POWER_ANY)
        slope = NAME(exp2_any)((exponent - NAME(splat)(1)) * NAME(log2)(r));
    slope = NAME(select)(VEC_MASK(r > zero), slope, zero);
    return NAME(select)(VEC_MASK(r != r), r, slope);
}

INLINE void NAME(power_slopes_as)(bool few, attn_power power, REAL *scores, int lines, int width,
                                  const attn_rows_of_threshold *row) {
    const vec factor = NAME(splat)((REAL)row->factor), e = NAME(splat)((REAL)row->exponent);
    FOR_EACH_VECTOR(lines, width) {
        REAL *const at = scores + k * (int64_t)width + q;
        const vec base = NAME(row_number)(few, row->base, k, q);
        const vec t = NAME(row_number)(few, row->threshold, k, q);
        const vec r = NAME(above)(NAME(load)(at), factor, base, t);
        NAME(store)(at, NAME(power_slope)(power, r, e));
    }
}

static void NAME(power_slopes)(void *scores, int lines, int width, bool few,
                               const attn_rows_of_threshold *row) {
    switch (row->power) {
#define POWER(power) \
    case power: FEW_OR_NOT(few, power_slopes_as, power, scores, lines, width, row); break;
        POWER(ATTN_POWER_ONE)
        POWER(ATTN_POWER_TWO)
        POWER(ATTN_POWER_ANY)
#undef POWER
    }
}

/* tile *= factor of the row. */
INLINE void NAME(multiply_rows_as)(bool few, REAL *tile, int lines, int width, const REAL *factor) {
    FOR_EACH_VECTOR(lines, width) {
        REAL *const at = tile + k * (int64_t)width + q;
        NAME(store)(at, NAME(load)(at) * NAME(row_number)(few, factor, k, q));
    }
}

static void NAME(multiply_rows)(void *tile, int lines, int width, bool few, const void *factor) {
    FEW_OR_NOT(few, multiply_rows_as, tile, lines, width, factor);
}

/* gradient -= flow of the row * (ln(weight) + 1), where the weight is not 0. */
INLINE void NAME(add_entropy_gradient_as)(bool few, REAL *gradient, const REAL *weights, int lines,
                                          int width, const REAL *flow) {
    const vec zero = NAME(splat)(0), one = NAME(splat)(1), ln2 = NAME(splat)((REAL)ATTN_LN_2);
    FOR_EACH_VECTOR(lines, width) {
        const int64_t at = k * (int64_t)width + q;
        const vec w = NAME(load)(weights + at), g = NAME(load)(gradient + at);
        const vec slope = NAME(fma)(NAME(log2)(w), ln2, one);
        const vec sum = NAME(fma)(-NAME(row_number)(few, flow, k, q), slope, g);
        NAME(store)(gradient + at, NAME(select)(VEC_MASK(w == zero), g, sum));
    }
}

static void NAME(add_entropy_gradient)(void *gradient, const void *weights, int lines, int width,
                                       bool few, const void *flow) {
    FEW_OR_NOT(few, add_entropy_gradient_as, gradient, weights, lines, width, flow);
}

/* ---------------------------------------------------------------------------------------- sums */

/* sums[row] += sum over k of a * b where a is not 0: b may be -infinity there. b NULL: of a. */
INLINE vec NAME(product_of)(const REAL *a, const REAL *b, vec sum) {
    const vec zero = NAME(splat)(0), x = NAME(load)(a);
    if (!b) return sum + x;
    return NAME(fma)(x, NAME(select)(VEC_MASK(x == zero), zero, NAME(load)(b)), sum);
}

static void NAME(row_products)(void *sums, const void *a, const void *b, int lines, int width,
                               bool few) {
    const REAL *const x = a, *const y = b;
    REAL *const to = sums;
    for (int k = 0; few && k < lines; k++) {
        const int64_t at = k * (int64_t)width;
        vec sum = NAME(splat)(0);
        for (int q = 0; q < width; q += LANES)
            sum = NAME(product_of)(x + at + q, y ? y + at + q : NULL, sum);
        to[k] += NAME(first)(NAME(sum_across)(sum));
    }
    for (int q = 0; !few && q < width; q += LANES) {
        vec sum = NAME(splat)(0);
        for (int k = 0; k < lines; k++) {
            const int64_t at = k * (int64_t)width + q;
            sum = NAME(product_of)(x + at, y ? y + at : NULL, sum);
        }
        NAME(store)(to + q, NAME(load)(to + q) + sum);
    }
}

/* products[row] = dot(a[row], b[row]) over the columns of two tensors, in stretches of 32. */
static void NAME(dot_rows)(void *products, const void *a, int64_t a_row, int64_t a_column,
                           const void *b, int64_t b_row, int64_t b_column, int rows, int columns) {
    enum { STRETCH = 32 };
    for (int r = 0; r < rows; r++) {
        const REAL *const x = (const REAL *)a + r * a_row, *const y = (const REAL *)b + r * b_row;
        vec lanes = NAME(splat)(0);
        REAL sum = 0;
        int c = 0;
        for (; a_column == 1 && b_column == 1 && c + LANES <= columns; c += LANES)
            lanes = NAME(fma)(NAME(load)(x + c), NAME(load)(y + c), lanes);
        while (c < columns) {
            REAL part = 0;
            const int end = columns - c < STRETCH ? columns : c + STRETCH;
            for (; c < end; c++) part = NAME(fma_one)(x[c * a_column], y[c * b_column], part);
            sum += part;
        }
        ((REAL *)products)[r] = sum + NAME(first)(NAME(sum_across)(lanes));
    }
}

/* target[r*row_stride + c*column_stride] += source[r*source_stride + c]; strides of 0 sum over it. */
static void NAME(add_rows)(void *target, int64_t row_stride, int64_t column_stride,
                           const void *source, int64_t source_stride, int rows, int columns) {
    for (int r = 0; r < rows; r++) {
        REAL *const t = (REAL *)target + r * row_stride;
        const REAL *const s = (const REAL *)source + r * source_stride;
        int c = 0;
        for (; column_stride == 1 && c + LANES <= columns; c += LANES)
            NAME(store)(t + c, NAME(load)(t + c) + NAME(load)(s + c));
        if (column_stride == 0) {
            REAL sum = 0;
            for (; c < columns; c++) sum += s[c];
            *t += sum;
        }
        for (; c < columns; c++) t[c * column_stride] += s[c];
    }
}

/* ------------------------------------------------------------------------------------ soft cap */

/* gradient *= 1 - (capped/cap)^2. */
static void NAME(slope_softcap)(void *gradient, const void *capped, int lines, int width,
                                double cap) {
    const vec inverse = NAME(splat)((REAL)(1 / cap)), one = NAME(splat)(1);
    FOR_EACH_VECTOR(lines, width) {
        const int64_t at = k * (int64_t)width + q;
        const vec t = NAME(load)((const REAL *)capped + at) * inverse;
        REAL *const g = (REAL *)gradient + at;
        NAME(store)(g, NAME(load)(g) * NAME(fma)(-t, t, one));
    }
}

/* raw = how capped changes with the cap: t - (raw/cap) (1 - t^2), t = capped/cap. */
static void NAME(slope_of_cap)(void *raw, const void *capped, int lines, int width, double cap) {
    const vec inverse = NAME(splat)((REAL)(1 / cap)), one = NAME(splat)(1);
    FOR_EACH_VECTOR(lines, width) {
        const int64_t at = k * (int64_t)width + q;
        const vec t = NAME(load)((const REAL *)capped + at) * inverse;
        REAL *const x = (REAL *)raw + at;
        const vec slope = NAME(fma)(-t, t, one);
        NAME(store)(x, NAME(fma)(-(NAME(load)(x) * inverse), slope, t));
    }
}

/* --------------------------------------------------------------------------------------- norms */

/* Back through x/|x|, row by row in place: gradient = (gradient - n dot(n, gradient)) / |x|, n = x/|x|;
 * 0 for x of zeros; a gradient of zeros stays, whatever x is. `units` has room for a row of whole
 * vectors. */
static void NAME(normalize_gradient)(void *gradient, int64_t gradient_stride, const void *source,
                                     int64_t row_stride, int64_t column_stride, void *units,
                                     int rows, int columns) {
    for (int r = 0; r < rows; r++) {
        REAL *const g = (REAL *)gradient + r * gradient_stride, *const n = units;
        const REAL *const x = (const REAL *)source + r * row_stride;
        NAME(normalize_rows)(n, 0, x, 0, column_stride, 1, columns);
        REAL norm = 0, along = 0, largest = 0, any = 0;
        for (int c = 0; c < columns; c++) {
            const REAL size =
                x[c * column_stride] < 0 ? -x[c * column_stride] : x[c * column_stride];
            if (size > largest) largest = size;
            if (g[c] != 0) any = 1;
            norm = NAME(fma_one)(n[c], x[c * column_stride], norm); /* dot(x/|x|, x) = |x| */
            along = NAME(fma_one)(n[c], g[c], along);
        }
        if (any == 0) continue;
        const REAL inverse = largest == 0 && norm == 0 ? 0 : 1 / norm;
        for (int c = 0; c < columns; c++) g[c] = NAME(fma_one)(-n[c], along, g[c]) * inverse;
    }
}

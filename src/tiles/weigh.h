/* weigh.h: WEIGH, the online softmax of a tile, and what belongs to its running state.
 *
 * State per query: maximum m, sum l = sum of 2^(s - m). A tile raises m to m', shrinks what was
 * summed by 2^(m - m') and adds its own part. While nothing was visible m is -infinity; 0 stands in
 * for it in differences, so that 2^(-inf - 0) = 0 and no inf - inf arises. */

INLINE vec NAME(finite_maximum)(vec maximum) {
    const vec none = NAME(splat)((REAL)-INFINITY);
    return NAME(select)(VEC_MASK(maximum == none), NAME(splat)(0), maximum);
}

INLINE void NAME(weigh_panel)(int vecs, REAL *scores, int keys, int width, vec factor,
                              REAL *maximum, REAL *sum, REAL *shrink) {
    vec highest[MAX_TILE_VECS], base[MAX_TILE_VECS], total[MAX_TILE_VECS];
    UNROLL for (int v = 0; v < vecs; v++) {
        highest[v] = NAME(splat)((REAL)-INFINITY);
        total[v] = NAME(splat)(0);
    }
    for (int k = 0; k < keys; k++) {
        UNROLL for (int v = 0; v < vecs; v++) highest[v] =
            NAME(max)(highest[v], NAME(load)(scores + k * (int64_t)width + v * LANES));
    }
    UNROLL for (int v = 0; v < vecs; v++) {
        highest[v] = NAME(max)(NAME(load)(maximum + v * LANES), highest[v] * factor);
        base[v] = NAME(finite_maximum)(highest[v]);
    }
    for (int k = 0; k < keys; k++) {
        UNROLL for (int v = 0; v < vecs; v++) {
            REAL *const at = scores + k * (int64_t)width + v * LANES;
            const vec weight = NAME(exp2)(NAME(fma)(NAME(load)(at), factor, -base[v]));
            NAME(store)(at, weight);
            total[v] += weight;
        }
    }
    UNROLL for (int v = 0; v < vecs; v++) {
        const vec by = NAME(exp2)(NAME(load)(maximum + v * LANES) - base[v]);
        NAME(store)(shrink + v * LANES, by);
        NAME(store)(maximum + v * LANES, highest[v]);
        NAME(store)(sum + v * LANES, NAME(fma)(NAME(load)(sum + v * LANES), by, total[v]));
    }
}

static void NAME(weigh)(void *scores, int keys, int width, double factor, void *maximum, void *sum,
                        void *shrink) {
    const vec by = NAME(splat)((REAL)factor);
#define PANEL(vecs, q)                                                                      \
    NAME(weigh_panel)                                                                       \
    (vecs, (REAL *)scores + (q), keys, width, by, (REAL *)maximum + (q), (REAL *)sum + (q), \
     (REAL *)shrink + (q))
    FOR_EACH_PANEL(width, PANEL);
#undef PANEL
}

/* Every lane gets the maximum of all lanes. */
INLINE vec NAME(max_across)(vec v) {
#if SQUARES
    UNROLL for (int half = LANES / 2; half >= 1; half /= 2) v =
        NAME(max)(INTERLEAVE_LOW(v, v), INTERLEAVE_HIGH(v, v));
    return v;
#else
    REAL lanes[VEC_BYTES / sizeof(REAL)];
    NAME(store)(lanes, v);
    for (int j = 1; j < LANES; j++) lanes[0] = lanes[0] > lanes[j] ? lanes[0] : lanes[j];
    return NAME(splat)(lanes[0]);
#endif
}

static void NAME(weigh_few)(void *scores, int keys, int rows, int width, double factor,
                            void *maximum, void *sum, void *shrink) {
    const vec c = NAME(splat)((REAL)factor);
    for (int q = 0; q < rows; q++) {
        REAL *const s = (REAL *)scores + q * (int64_t)width;
        REAL *const m = (REAL *)maximum + q, *const l = (REAL *)sum + q,
                    *const by = (REAL *)shrink + q;
        vec highest = NAME(splat)((REAL)-INFINITY), total = NAME(splat)(0);
        for (int k = keys; k < width; k++) s[k] = (REAL)-INFINITY; /* the lanes beyond the keys */
        for (int k = 0; k < width; k += LANES) highest = NAME(max)(highest, NAME(load)(s + k));
        highest = NAME(max)(NAME(splat)(*m), NAME(max_across)(highest) * c);
        const vec base = NAME(finite_maximum)(highest);
        for (int k = 0; k < width; k += LANES) {
            const vec weight = NAME(exp2)(NAME(fma)(NAME(load)(s + k), c, -base));
            NAME(store)(s + k, weight);
            total += weight;
        }
        const vec shrunk = NAME(exp2)(NAME(splat)(*m) - base);
        *m = NAME(first)(highest);
        *by = NAME(first)(shrunk);
        *l = NAME(fma_one)(*l, *by, NAME(first)(NAME(sum_across)(total)));
    }
}

static void NAME(merge)(void *output, void *maximum, void *sum, const void *output2,
                        const void *maximum2, const void *sum2, int d, int width) {
    for (int q = 0; q < width; q += LANES) {
        REAL *const m = (REAL *)maximum + q, *const l = (REAL *)sum + q;
        const vec old = NAME(load)(m), other = NAME(load)((const REAL *)maximum2 + q);
        const vec highest = NAME(max)(old, other), base = NAME(finite_maximum)(highest);
        const vec by = NAME(exp2)(old - base), by2 = NAME(exp2)(other - base);
        NAME(store)(m, highest);
        NAME(store)(l, NAME(fma)(NAME(load)((const REAL *)sum2 + q), by2, NAME(load)(l) * by));
        for (int f = 0; f < d; f++) {
            REAL *const at = (REAL *)output + f * (int64_t)width + q;
            const vec added = NAME(load)((const REAL *)output2 + f * (int64_t)width + q);
            NAME(store)(at, NAME(fma)(added, by2, NAME(load)(at) * by));
        }
    }
}

static void NAME(merge_few)(void *output, int64_t output_stride, void *maximum, void *sum,
                            const void *output2, const void *maximum2, const void *sum2, int d,
                            int rows) {
    for (int q = 0; q < rows; q++) {
        REAL *const m = (REAL *)maximum + q, *const l = (REAL *)sum + q;
        REAL *const o = (REAL *)output + q * output_stride;
        const REAL *const o2 = (const REAL *)output2 + q * output_stride;
        const vec old = NAME(splat)(*m), other = NAME(splat)(((const REAL *)maximum2)[q]);
        const vec highest = NAME(max)(old, other), base = NAME(finite_maximum)(highest);
        const vec by = NAME(exp2)(old - base), by2 = NAME(exp2)(other - base);
        *m = NAME(first)(highest);
        *l = NAME(fma_one)(((const REAL *)sum2)[q], NAME(first)(by2), *l * NAME(first)(by));
        for (int f = 0; f < d; f += LANES)
            NAME(store)(o + f, NAME(fma)(NAME(load)(o2 + f), by2, NAME(load)(o + f) * by));
    }
}

static void NAME(rescale)(void *factor, const void *from, const void *to, const void *by,
                          int width) {
    for (int q = 0; q < width; q += LANES) {
        const vec base = NAME(finite_maximum)(NAME(load)((const REAL *)to + q));
        vec f = NAME(exp2)(NAME(load)((const REAL *)from + q) - base);
        if (by) f *= NAME(load)((const REAL *)by + q);
        NAME(store)((REAL *)factor + q, f);
    }
}

static bool NAME(finish)(void *inverse, void *lse, const void *maximum, const void *sum, int rows,
                         int width) {
    const REAL *const m = maximum, *const l = sum;
    const vec zero = NAME(splat)(0);
    for (int q = 0; q < width; q += LANES) {
        const vec total = NAME(load)(l + q);
        const vec share = NAME(select)(VEC_MASK(total == zero), zero, NAME(splat)(1) / total);
        NAME(store)((REAL *)inverse + q, share);
    }
    bool any_nan = false;
    for (int q = 0; q < rows; q++) any_nan |= l[q] != l[q];
    for (int q = 0; lse && q < rows; q++)
        ((REAL *)lse)[q] =
            l[q] == 0 ? (REAL)-INFINITY : (REAL)((double)m[q] * ATTN_LN_2 + log((double)l[q]));
    return any_nan;
}

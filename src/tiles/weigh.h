/* weigh.h: WEIGH, the online softmax of a tile, and what belongs to its running state.
 *
 * State per query: maximum m, sum l = sum of 2^(s - m). A tile raises m to m', shrinks what was
 * summed by 2^(m - m') and adds its own part. While nothing was visible m is -infinity; 0 stands in
 * for it in differences, so that 2^(-inf - 0) = 0 and no inf - inf arises. */

INLINE vec NAME(finite_maximum)(vec maximum) {
    const vec none = NAME(splat)((REAL)-INFINITY);
    return NAME(select)(VEC_MASK(maximum == none), NAME(splat)(0), maximum);
}

INLINE void NAME(weigh_panel)(int vecs, REAL *scores, int keys, int width, REAL *maximum, REAL *sum,
                              REAL *shrink) {
    vec old[MAX_TILE_VECS], highest[MAX_TILE_VECS], base[MAX_TILE_VECS], total[MAX_TILE_VECS];
    UNROLL for (int v = 0; v < vecs; v++) {
        old[v] = highest[v] = NAME(load)(maximum + v * LANES);
        total[v] = NAME(splat)(0);
    }
    for (int k = 0; k < keys; k++) {
        UNROLL for (int v = 0; v < vecs; v++)
            highest[v] = NAME(max)(highest[v], NAME(load)(scores + k * (int64_t)width + v * LANES));
    }
    UNROLL for (int v = 0; v < vecs; v++) base[v] = NAME(finite_maximum)(highest[v]);
    for (int k = 0; k < keys; k++) {
        UNROLL for (int v = 0; v < vecs; v++) {
            REAL *const at = scores + k * (int64_t)width + v * LANES;
            const vec weight = NAME(exp2)(NAME(load)(at) - base[v]);
            NAME(store)(at, weight);
            total[v] += weight;
        }
    }
    UNROLL for (int v = 0; v < vecs; v++) {
        const vec by = NAME(exp2)(old[v] - base[v]);
        NAME(store)(shrink + v * LANES, by);
        NAME(store)(maximum + v * LANES, highest[v]);
        NAME(store)(sum + v * LANES, NAME(fma)(NAME(load)(sum + v * LANES), by, total[v]));
    }
}

static void NAME(weigh)(void *scores, int keys, int width, void *maximum, void *sum, void *shrink) {
#define PANEL(vecs, q)                                                                        \
    NAME(weigh_panel)(vecs, (REAL *)scores + (q), keys, width, (REAL *)maximum + (q), (REAL *)sum + (q), \
                      (REAL *)shrink + (q))
    FOR_EACH_PANEL(width, PANEL);
#undef PANEL
}

static void NAME(merge)(void *output, void *maximum, void *sum, const void *output2, const void *maximum2,
                        const void *sum2, int d, int width) {
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

static void NAME(rescale)(void *factor, const void *from, const void *to, const void *by, int width) {
    for (int q = 0; q < width; q += LANES) {
        const vec base = NAME(finite_maximum)(NAME(load)((const REAL *)to + q));
        vec f = NAME(exp2)(NAME(load)((const REAL *)from + q) - base);
        if (by) f *= NAME(load)((const REAL *)by + q);
        NAME(store)((REAL *)factor + q, f);
    }
}

static bool NAME(finish)(void *inverse, void *lse, const void *maximum, const void *sum, int rows,
                         int width) {
    bool any_nan = false;
    for (int q = 0; q < width; q++) {
        const REAL l = ((const REAL *)sum)[q], m = ((const REAL *)maximum)[q];
        ((REAL *)inverse)[q] = l == 0 ? 0 : 1 / l;
        if (q < rows) any_nan |= l != l;
        if (lse && q < rows)
            ((REAL *)lse)[q] = l == 0 ? (REAL)-INFINITY : (REAL)((double)m * 0.69314718055994530942 + log((double)l));
    }
    return any_nan;
}

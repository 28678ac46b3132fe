/* weigh.h: WEIGH, the online softmax of a tile, and what belongs to its running state.
 *
 * State per query: maximum m, sum l = sum of 2^(s - m). A tile raises m to m', shrinks what was
 * summed by 2^(m - m') and adds its own part. While nothing was visible m is -infinity; 0 stands in
 * for it in differences, so that 2^(-inf - 0) = 0 and no inf - inf arises.
 *
 * The moment t = sum of 2^(s - m) (s - m) is kept if the entropy is wanted. Where the weight is 0 the
 * difference, which may be -infinity, is bounded first. */

INLINE vec NAME(finite_maximum)(vec maximum) {
    const vec none = NAME(splat)((REAL)-INFINITY);
    return NAME(select)(VEC_MASK(maximum == none), NAME(splat)(0), maximum);
}

/* No lower than where exp2 is 0. */
INLINE vec NAME(bounded)(vec x) {
    return NAME(max)(NAME(splat)(-EXPONENT_BIAS), x); /* NaN passes: max's second */
}

/* The moment t of a sum l whose maximum falls by `lower` <= 0 as it is shrunk: t' = (t + l lower) by. */
INLINE vec NAME(shrunk_moment)(vec moment, vec sum, vec lower, vec by) {
    return NAME(fma)(sum, NAME(bounded)(lower), moment) * by;
}

INLINE void NAME(weigh_panel)(bool with_moment, int vecs, REAL *scores, int keys, int width,
                              vec factor, REAL *maximum, REAL *sum, REAL *moment, REAL *shrink) {
    vec highest[MAX_TILE_VECS], base[MAX_TILE_VECS], total[MAX_TILE_VECS], first[MAX_TILE_VECS];
    UNROLL for (int v = 0; v < vecs; v++) {
        highest[v] = NAME(splat)((REAL)-INFINITY);
        total[v] = first[v] = NAME(splat)(0);
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
            const vec x = NAME(fma)(NAME(load)(at), factor, -base[v]), weight = NAME(exp2)(x);
            NAME(store)(at, weight);
            total[v] += weight;
            if (with_moment) first[v] = NAME(fma)(weight, NAME(bounded)(x), first[v]);
        }
    }
    UNROLL for (int v = 0; v < vecs; v++) {
        const vec lower = NAME(load)(maximum + v * LANES) - base[v], by = NAME(exp2)(lower);
        const vec old = NAME(load)(sum + v * LANES);
        if (with_moment) NAME(store)
        (moment + v * LANES,
         first[v] + NAME(shrunk_moment)(NAME(load)(moment + v * LANES), old, lower, by));
        NAME(store)(shrink + v * LANES, by);
        NAME(store)(maximum + v * LANES, highest[v]);
        NAME(store)(sum + v * LANES, NAME(fma)(old, by, total[v]));
    }
}

static void NAME(weigh)(void *scores, int keys, int width, double factor, void *maximum, void *sum,
                        void *moment, void *shrink) {
    const vec by = NAME(splat)((REAL)factor);
#define PANEL(vecs, q)                                                                             \
    NAME(weigh_panel)                                                                              \
    (false, vecs, (REAL *)scores + (q), keys, width, by, (REAL *)maximum + (q), (REAL *)sum + (q), \
     NULL, (REAL *)shrink + (q))
#define PANEL_WITH_MOMENT(vecs, q)                                                                \
    NAME(weigh_panel)                                                                             \
    (true, vecs, (REAL *)scores + (q), keys, width, by, (REAL *)maximum + (q), (REAL *)sum + (q), \
     (REAL *)moment + (q), (REAL *)shrink + (q))
    if (moment) FOR_EACH_PANEL(width, PANEL_WITH_MOMENT);
    else FOR_EACH_PANEL(width, PANEL);
#undef PANEL_WITH_MOMENT
#undef PANEL
}

static void NAME(weigh_few)(void *scores, int rows, int width, double factor, void *maximum,
                            void *sum, void *moment, void *shrink) {
    const vec c = NAME(splat)((REAL)factor);
    for (int q = 0; q < rows; q++) {
        REAL *const s = (REAL *)scores + q * (int64_t)width;
        REAL *const m = (REAL *)maximum + q, *const l = (REAL *)sum + q,
                    *const by = (REAL *)shrink + q;
        vec highest = NAME(splat)((REAL)-INFINITY), total = NAME(splat)(0), first = total;
        for (int k = 0; k < width; k += LANES) highest = NAME(max)(highest, NAME(load)(s + k));
        highest = NAME(max)(NAME(splat)(*m), NAME(max_across)(highest) * c);
        const vec base = NAME(finite_maximum)(highest);
        for (int k = 0; k < width; k += LANES) {
            const vec x = NAME(fma)(NAME(load)(s + k), c, -base), weight = NAME(exp2)(x);
            NAME(store)(s + k, weight);
            total += weight;
            if (moment) first = NAME(fma)(weight, NAME(bounded)(x), first);
        }
        const vec lower = NAME(splat)(*m) - base, shrunk = NAME(exp2)(lower);
        if (moment) {
            REAL *const t = (REAL *)moment + q;
            *t = NAME(first)(NAME(sum_across)(first) +
                             NAME(shrunk_moment)(NAME(splat)(*t), NAME(splat)(*l), lower, shrunk));
        }
        *m = NAME(first)(highest);
        *by = NAME(first)(shrunk);
        *l = NAME(fma_one)(*l, *by, NAME(first)(NAME(sum_across)(total)));
    }
}

static void NAME(merge)(const attn_partial *to, const attn_partial *from, int d, int width) {
    for (int q = 0; q < width; q += LANES) {
        REAL *const m = (REAL *)to->maximum + q, *const l = (REAL *)to->sum + q;
        const vec old = NAME(load)(m), other = NAME(load)((const REAL *)from->maximum + q);
        const vec highest = NAME(max)(old, other), base = NAME(finite_maximum)(highest);
        const vec by = NAME(exp2)(old - base), by2 = NAME(exp2)(other - base);
        if (to->moment) {
            REAL *const t = (REAL *)to->moment + q;
            const vec t2 = NAME(load)((const REAL *)from->moment + q);
            const vec l2 = NAME(load)((const REAL *)from->sum + q);
            NAME(store)
            (t, NAME(shrunk_moment)(NAME(load)(t), NAME(load)(l), old - base, by) +
                    NAME(shrunk_moment)(t2, l2, other - base, by2));
        }
        NAME(store)(m, highest);
        NAME(store)(l, NAME(fma)(NAME(load)((const REAL *)from->sum + q), by2, NAME(load)(l) * by));
        for (int f = 0; f < d; f++) {
            REAL *const at = (REAL *)to->output + f * (int64_t)width + q;
            const vec added = NAME(load)((const REAL *)from->output + f * (int64_t)width + q);
            NAME(store)(at, NAME(fma)(added, by2, NAME(load)(at) * by));
        }
    }
}

static void NAME(merge_few)(const attn_partial *to, const attn_partial *from, int64_t output_stride,
                            int d, int rows) {
    for (int q = 0; q < rows; q++) {
        REAL *const m = (REAL *)to->maximum + q, *const l = (REAL *)to->sum + q;
        REAL *const o = (REAL *)to->output + q * output_stride;
        const REAL *const o2 = (const REAL *)from->output + q * output_stride;
        const REAL l2 = ((const REAL *)from->sum)[q];
        const vec old = NAME(splat)(*m), other = NAME(splat)(((const REAL *)from->maximum)[q]);
        const vec highest = NAME(max)(old, other), base = NAME(finite_maximum)(highest);
        const vec by = NAME(exp2)(old - base), by2 = NAME(exp2)(other - base);
        if (to->moment) {
            REAL *const t = (REAL *)to->moment + q;
            const vec t2 = NAME(splat)(((const REAL *)from->moment)[q]);
            *t = NAME(first)(NAME(shrunk_moment)(NAME(splat)(*t), NAME(splat)(*l), old - base, by) +
                             NAME(shrunk_moment)(t2, NAME(splat)(l2), other - base, by2));
        }
        *m = NAME(first)(highest);
        *l = NAME(fma_one)(l2, NAME(first)(by2), *l * NAME(first)(by));
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

/* entropy = -sum of w ln(w) = ln 2 (k/l log2(l) - t/l), where k and t are the sum and the moment without
 * the sink's share. Neither term is negative, since t <= 0 and l >= 1; 0 for an empty row. */
static void NAME(entropies)(void *entropy, const attn_partial *total, const void *sink, int rows) {
    for (int q = 0; q < rows; q++) {
        const double l = (double)((const REAL *)total->sum)[q];
        const double t = (double)((const REAL *)total->moment)[q];
        const double lower =
            (double)((const REAL *)sink)[q] - (double)((const REAL *)total->maximum)[q];
        const double share = lower > -EXPONENT_BIAS ? exp2(lower) : 0; /* so that 0 * lower is 0 */
        const double of_keys = share > 0 ? t - share * lower : t;
        const double bits = l == 0 ? 0 : (l - share) / l * log2(l) - of_keys / l;
        ((REAL *)entropy)[q] = (REAL)(ATTN_LN_2 * bits);
    }
}

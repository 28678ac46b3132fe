/* pairwise.h: gradients of scores that are no products of query and key: every pair has its own slope
 * for every feature.
 *
 *     tanh       score = sum of weight * tanh(query + key):   slope 1 - tanh^2, the weight left out
 *     distance   score = |query - key|^2, over 2:             slope key - query, and its negative
 *
 * With the gradient g of a pair, query_sums[r][f] and key_sums[k][f] get g times the slope, and
 * weight_sums[f] g times the tanh. Features are in the lanes, so that no sum crosses them: a register
 * tile of some keys and one vector of features walks all rows; key sums stay in registers.
 *
 * Of exponentials E = e^(2 query) e^(2 key), as in additive.h, r = 1/(1 + E) gives tanh = 1 - 2r and
 * slope 4 r (1 - r); a quarter of either is what 4 g multiplies, which rounds nothing. Four keys
 * share one division where its product may be had: with p = E0 E1 and q = E2 E3, 1/E0 = E1 q / (p q). */

/* inverse[i] = 1/e[i], for `count` keys, a constant: all in one division if `shared`. */
INLINE void NAME(invert)(bool shared, int count, const vec e[], vec inverse[]) {
    if (shared && count == 4) {
        const vec p = e[0] * e[1], q = e[2] * e[3];
        const vec all = NAME(splat)(1) / (p * q), of_p = all * q, of_q = all * p;
        inverse[0] = of_p * e[1];
        inverse[1] = of_p * e[0];
        inverse[2] = of_q * e[3];
        inverse[3] = of_q * e[2];
        return;
    }
    UNROLL for (int i = 0; i < count; i++) inverse[i] = NAME(splat)(1) / e[i];
}

/* What one query vector x and `count` key vectors y make: slopes, and tanh; of exponentials a quarter. */
INLINE void NAME(slopes_of_pairs)(attn_pairwise kind, bool shared, int count, vec x, const vec y[],
                                  vec slope[], vec value[]) {
    const vec one = NAME(splat)(1);
    vec e[MAX_PAIRWISE_KEYS];
    UNROLL for (int i = 0; i < count; i++) {
        if (kind == ATTN_PAIRWISE_DISTANCE) {
            slope[i] = y[i] - x;
        } else if (kind == ATTN_PAIRWISE_EXPONENTIALS) {
            e[i] = NAME(fma)(x, y[i], one);
        } else {
            value[i] =
                kind == ATTN_PAIRWISE_TANH_NEAR ? NAME(tanh_near)(x + y[i]) : NAME(tanh)(x + y[i]);
            slope[i] = NAME(fma)(-value[i], value[i], one);
        }
    }
    if (kind != ATTN_PAIRWISE_EXPONENTIALS) return;
    vec r[MAX_PAIRWISE_KEYS];
    NAME(invert)(shared, count, e, r);
    UNROLL for (int i = 0; i < count; i++) {
        slope[i] = NAME(fma)(-r[i], r[i], r[i]);
        value[i] = NAME(fma)(NAME(splat)((REAL)-0.5), r[i], NAME(splat)((REAL)0.25));
    }
}

INLINE void NAME(pairwise_keys)(attn_pairwise kind, bool shared, int count,
                                const attn_pairwise_tile *t, int k, int f) {
    const REAL *const g = (const REAL *)t->gradient + k * t->gradient_key_stride;
    vec y[MAX_PAIRWISE_KEYS], sum[MAX_PAIRWISE_KEYS], of_weight = NAME(splat)(0);
    UNROLL for (int i = 0; i < count; i++) {
        y[i] = NAME(load)((const REAL *)t->key + (k + i) * t->key_stride + f);
        sum[i] = NAME(splat)(0);
    }
    for (int r = 0; r < t->rows; r++) {
        vec slope[MAX_PAIRWISE_KEYS], value[MAX_PAIRWISE_KEYS], of_query = NAME(splat)(0);
        const vec x = NAME(load)((const REAL *)t->query + r * t->query_stride + f);
        NAME(slopes_of_pairs)(kind, shared, count, x, y, slope, value);
        UNROLL for (int i = 0; i < count; i++) {
            const REAL pair = g[i * t->gradient_key_stride + r * t->gradient_row_stride];
            const vec by = NAME(splat)(kind == ATTN_PAIRWISE_EXPONENTIALS ? 4 * pair : pair);
            of_query = NAME(fma)(by, slope[i], of_query);
            sum[i] = NAME(fma)(by, slope[i], sum[i]);
            if (kind != ATTN_PAIRWISE_DISTANCE) of_weight = NAME(fma)(by, value[i], of_weight);
        }
        REAL *const to = (REAL *)t->query_sums + r * t->query_stride + f;
        NAME(store)(to, NAME(load)(to) + of_query);
    }
    UNROLL for (int i = 0; i < count; i++) {
        REAL *const to = (REAL *)t->key_sums + (k + i) * t->key_stride + f;
        const vec old = NAME(load)(to);
        NAME(store)(to, kind == ATTN_PAIRWISE_DISTANCE ? old - sum[i] : old + sum[i]);
    }
    if (kind == ATTN_PAIRWISE_DISTANCE) return;
    REAL *const to = (REAL *)t->weight_sums + f;
    NAME(store)(to, NAME(load)(to) + of_weight);
}

INLINE void NAME(pairwise_as)(attn_pairwise kind, bool shared, const attn_pairwise_tile *t) {
    for (int f = 0; f < t->d; f += LANES) {
        int k = 0;
        for (; k + MAX_PAIRWISE_KEYS <= t->keys; k += MAX_PAIRWISE_KEYS)
            NAME(pairwise_keys)(kind, shared, MAX_PAIRWISE_KEYS, t, k, f);
        for (; k < t->keys; k++) NAME(pairwise_keys)(kind, false, 1, t, k, f);
    }
}

static void NAME(pairwise_gradient)(const attn_pairwise_tile *t) {
    switch (t->kind) {
    case ATTN_PAIRWISE_DISTANCE: NAME(pairwise_as)(ATTN_PAIRWISE_DISTANCE, false, t); return;
    case ATTN_PAIRWISE_TANH: NAME(pairwise_as)(ATTN_PAIRWISE_TANH, false, t); return;
    case ATTN_PAIRWISE_TANH_NEAR: NAME(pairwise_as)(ATTN_PAIRWISE_TANH_NEAR, false, t); return;
    case ATTN_PAIRWISE_EXPONENTIALS: break;
    }
    if (t->shared) NAME(pairwise_as)(ATTN_PAIRWISE_EXPONENTIALS, true, t);
    else NAME(pairwise_as)(ATTN_PAIRWISE_EXPONENTIALS, false, t);
}

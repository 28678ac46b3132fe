/* norms.h: layer norm and RMS norm, and the way back through them.
 *
 * With u = (x - mean) * r, r = 1/sqrt(variance + epsilon), y = u weight + bias and g = d_y weight:
 *     d_x = r (g - mean(g) - u mean(g u)),   d_weight = sum over rows of d_y u
 * and for RMS norm the same with all means of x and of g taken as 0. */

#define NORM_EPSILON 1e-5

typedef struct {
    REAL mean, inverse;
} row_moments;

INLINE row_moments moments(bool center, const REAL *x, int64_t columns) {
    const double mean = center ? sum(x, columns) / (double)columns : 0;
    const vec less = all(mean);
    double squares = 0;
    for (int64_t first = 0; first < columns; first += SUM_STRETCH) {
        const int64_t end = first + SUM_STRETCH < columns ? first + SUM_STRETCH : columns;
        vec part = NAME(splat)(0);
        int64_t i = first;
        for (; i + LANES <= end; i += LANES) {
            const vec apart = NAME(load)(x + i) - less;
            part = NAME(fma)(apart, apart, part);
        }
        for (; i < end; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
        squares += add_lanes(part);
    }
    const row_moments m = {(REAL)mean, (REAL)(1 / sqrt(squares / (double)columns + NORM_EPSILON))};
    return m;
}

static void normalize(bool center, REAL *y, const REAL *x, const REAL *weight, const REAL *bias,
                      int64_t rows, int64_t columns) {
    for (int64_t r = 0; r < rows; r++) {
        const REAL *const from = x + r * columns;
        const row_moments m = moments(center, from, columns);
        const vec mean = NAME(splat)(m.mean), inverse = NAME(splat)(m.inverse);
        FOR_VECTORS(i, columns) {
            const int left = LEFT(i, columns);
            const vec u = (get(from + i, left) - mean) * inverse;
            const vec shift = bias ? get(bias + i, left) : NAME(splat)(0);
            put(y + r * columns + i, NAME(fma)(u, get(weight + i, left), shift), left);
        }
    }
}

/* One row: adds to d_weight and d_bias, and finds the means of g and of g*u. */
INLINE void norm_sums(const REAL *x, const REAL *d_y, const REAL *weight, REAL *d_weight,
                      REAL *d_bias, row_moments m, int64_t columns, double *sum_g, double *sum_gu) {
    const vec mean = NAME(splat)(m.mean), inverse = NAME(splat)(m.inverse);
    vec g_all = NAME(splat)(0), gu_all = NAME(splat)(0);
    FOR_VECTORS(i, columns) {
        const int left = LEFT(i, columns);
        const vec u = (get(x + i, left) - mean) * inverse, d = get(d_y + i, left);
        const vec g = d * get(weight + i, left); /* 0 beyond the end */
        g_all += g;
        gu_all = NAME(fma)(g, u, gu_all);
        put(d_weight + i, NAME(fma)(d, u, get(d_weight + i, left)), left);
        if (d_bias) put(d_bias + i, get(d_bias + i, left) + d, left);
    }
    *sum_g = add_lanes(g_all);
    *sum_gu = add_lanes(gu_all);
}

static void normalize_back(bool center, REAL *d_x, REAL *d_weight, REAL *d_bias, const REAL *x,
                           const REAL *d_y, const REAL *weight, int64_t rows, int64_t columns) {
    for (int64_t r = 0; r < rows; r++) {
        const REAL *const from = x + r * columns, *const d = d_y + r * columns;
        const row_moments m = moments(center, from, columns);
        double sum_g = 0, sum_gu = 0;
        norm_sums(from, d, weight, d_weight, d_bias, m, columns, &sum_g, &sum_gu);
        if (d_x == NULL) continue;
        const vec mean = NAME(splat)(m.mean), inverse = NAME(splat)(m.inverse);
        const vec mean_g = all(center ? sum_g / (double)columns : 0);
        const vec mean_gu = all(sum_gu / (double)columns);
        FOR_VECTORS(i, columns) {
            const int left = LEFT(i, columns);
            const vec u = (get(from + i, left) - mean) * inverse;
            const vec g = get(d + i, left) * get(weight + i, left) - mean_g - u * mean_gu;
            REAL *const to = d_x + r * columns + i;
            put(to, NAME(fma)(inverse, g, get(to, left)), left);
        }
    }
}

/* adam.h: AdamW. */

/* Element by element: compilers make vector square roots of it where errno does not matter. */
INLINE vec root_of(vec v) {
    REAL lanes[VEC_BYTES / sizeof(REAL)];
    NAME(store)(lanes, v);
    UNROLL for (int i = 0; i < LANES; i++) lanes[i] = REAL_SQRT(lanes[i]);
    return NAME(load)(lanes);
}

static void adam(const attn_nn_adam_factors *by, REAL *values, const REAL *gradients, REAL *mean,
                 REAL *square, int64_t count) {
    const vec rate = NAME(splat)(by->rate), epsilon = NAME(splat)(by->epsilon);
    const vec mean_by = NAME(splat)(by->mean_by), square_by = NAME(splat)(by->square_by);
    const vec keep_mean = NAME(splat)(by->mean_keep), keep_square = NAME(splat)(by->square_keep);
    const vec add_mean = NAME(splat)(1 - by->mean_keep),
              add_square = NAME(splat)(1 - by->square_keep);
    const vec scale = NAME(splat)(by->gradient_by), decay = NAME(splat)(by->decay);
    FOR_VECTORS(i, count) {
        const int left = LEFT(i, count);
        const vec g = get(gradients + i, left) * scale, value = get(values + i, left);
        const vec m = NAME(fma)(keep_mean, get(mean + i, left), add_mean * g);
        const vec s = NAME(fma)(keep_square, get(square + i, left), add_square * g * g);
        const vec step = m * mean_by / (root_of(s * square_by) + epsilon) + decay * value;
        put(mean + i, m, left);
        put(square + i, s, left);
        put(values + i, value - rate * step, left);
    }
}

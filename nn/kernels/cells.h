/* cells.h: one step of LSTM and GRU cells, and back through it. See kernels.h. */

static void lstm(REAL *gates, const REAL *c_old, REAL *c, REAL *h, int64_t rows, int64_t hidden) {
    for (int64_t r = 0; r < rows; r++) {
        REAL *const at = gates + 4 * r * hidden;
        FOR_VECTORS(j, hidden) {
            const int left = LEFT(j, hidden);
            const vec in = sigmoid_of(get(at + j, left));
            const vec forget = sigmoid_of(get(at + hidden + j, left));
            const vec fresh = NAME(tanh)(get(at + 2 * hidden + j, left));
            const vec out = sigmoid_of(get(at + 3 * hidden + j, left));
            const vec before = c_old ? get(c_old + r * hidden + j, left) : NAME(splat)(0);
            const vec cell = NAME(fma)(forget, before, in * fresh);
            put(at + j, in, left);
            put(at + hidden + j, forget, left);
            put(at + 2 * hidden + j, fresh, left);
            put(at + 3 * hidden + j, out, left);
            put(c + r * hidden + j, cell, left);
            put(h + r * hidden + j, out * NAME(tanh)(cell), left);
        }
    }
}

static void lstm_back(REAL *d_gates, const REAL *gates, const REAL *c_old, const REAL *c,
                      const REAL *d_h, REAL *d_c, int64_t rows, int64_t hidden) {
    const vec one = NAME(splat)(1);
    for (int64_t r = 0; r < rows; r++) {
        const REAL *const at = gates + 4 * r * hidden;
        REAL *const to = d_gates + 4 * r * hidden;
        FOR_VECTORS(j, hidden) {
            const int left = LEFT(j, hidden);
            const vec in = get(at + j, left), forget = get(at + hidden + j, left);
            const vec fresh = get(at + 2 * hidden + j, left), out = get(at + 3 * hidden + j, left);
            const vec before = c_old ? get(c_old + r * hidden + j, left) : NAME(splat)(0);
            const vec t = NAME(tanh)(get(c + r * hidden + j, left));
            const vec d_out = get(d_h + r * hidden + j, left);
            const vec d_cell = NAME(fma)(d_out * out, one - t * t, get(d_c + r * hidden + j, left));
            put(to + j, d_cell * fresh * in * (one - in), left);
            put(to + hidden + j, d_cell * before * forget * (one - forget), left);
            put(to + 2 * hidden + j, d_cell * in * (one - fresh * fresh), left);
            put(to + 3 * hidden + j, d_out * t * out * (one - out), left);
            put(d_c + r * hidden + j, d_cell * forget, left);
        }
    }
}

static void gru(REAL *gates, const REAL *state, const REAL *h_old, REAL *h, int64_t rows,
                int64_t hidden) {
    for (int64_t r = 0; r < rows; r++) {
        REAL *const at = gates + 3 * r * hidden;
        const REAL *const with = state + 3 * r * hidden;
        FOR_VECTORS(j, hidden) {
            const int left = LEFT(j, hidden);
            const vec reset = sigmoid_of(get(at + j, left) + get(with + j, left));
            const vec keep = sigmoid_of(get(at + hidden + j, left) + get(with + hidden + j, left));
            const vec fresh = NAME(tanh)(
                NAME(fma)(reset, get(with + 2 * hidden + j, left), get(at + 2 * hidden + j, left)));
            const vec before = h_old ? get(h_old + r * hidden + j, left) : NAME(splat)(0);
            put(at + j, reset, left);
            put(at + hidden + j, keep, left);
            put(at + 2 * hidden + j, fresh, left);
            put(h + r * hidden + j, NAME(fma)(keep, before - fresh, fresh), left);
        }
    }
}

static void gru_back(REAL *d_gates, REAL *d_state, const REAL *gates, const REAL *cells,
                     const REAL *h_old, REAL *d_h, int64_t rows, int64_t hidden) {
    const vec one = NAME(splat)(1);
    for (int64_t r = 0; r < rows; r++) {
        const REAL *const at = gates + 3 * r * hidden;
        REAL *const to = d_gates + 3 * r * hidden, *const back = d_state + 3 * r * hidden;
        FOR_VECTORS(j, hidden) {
            const int left = LEFT(j, hidden);
            const vec reset = get(at + j, left), keep = get(at + hidden + j, left);
            const vec fresh = get(at + 2 * hidden + j, left);
            const vec before = h_old ? get(h_old + r * hidden + j, left) : NAME(splat)(0);
            const vec d = get(d_h + r * hidden + j, left);
            const vec d_fresh = d * (one - keep) * (one - fresh * fresh);
            const vec d_reset = d_fresh * get(cells + r * hidden + j, left) * reset * (one - reset);
            const vec d_keep = d * (before - fresh) * keep * (one - keep);
            put(to + j, d_reset, left);
            put(to + hidden + j, d_keep, left);
            put(to + 2 * hidden + j, d_fresh, left);
            put(back + j, d_reset, left);
            put(back + hidden + j, d_keep, left);
            put(back + 2 * hidden + j, d_fresh * reset, left);
            put(d_h + r * hidden + j, d * keep, left);
        }
    }
}

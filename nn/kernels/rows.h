/* rows.h: sums, products, softmax and noise over arrays. */

static void add(REAL *y, REAL a, const REAL *x, int64_t count) {
    const vec by = NAME(splat)(a);
    FOR_VECTORS(i, count) {
        const int left = LEFT(i, count);
        put(y + i, NAME(fma)(by, get(x + i, left), get(y + i, left)), left);
    }
}

static void multiply(REAL *y, REAL a, int64_t count) {
    const vec by = NAME(splat)(a);
    FOR_VECTORS(i, count) {
        const int left = LEFT(i, count);
        put(y + i, by * get(y + i, left), left);
    }
}

static void subtract(REAL *x, double by, int64_t count) {
    const vec less = all(by);
    FOR_VECTORS(i, count) {
        const int left = LEFT(i, count);
        put(x + i, get(x + i, left) - less, left);
    }
}

/* Stretches, whose sums are added in double: the error does not grow with the length. */
enum { SUM_STRETCH = 4096 };

static double sum(const REAL *x, int64_t count) {
    double total = 0;
    for (int64_t first = 0; first < count; first += SUM_STRETCH) {
        const int64_t end = first + SUM_STRETCH < count ? first + SUM_STRETCH : count;
        vec part = NAME(splat)(0);
        for (int64_t i = first; i < end; i += LANES) part += get(x + i, LEFT(i, end));
        total += add_lanes(part);
    }
    return total;
}

static double sum_of_squares(const REAL *x, int64_t count) {
    double total = 0;
    for (int64_t first = 0; first < count; first += SUM_STRETCH) {
        const int64_t end = first + SUM_STRETCH < count ? first + SUM_STRETCH : count;
        vec part = NAME(splat)(0);
        for (int64_t i = first; i < end; i += LANES) {
            const vec v = get(x + i, LEFT(i, end));
            part = NAME(fma)(v, v, part);
        }
        total += add_lanes(part);
    }
    return total;
}

static void add_columns(REAL *sums, const REAL *x, int64_t rows, int64_t columns) {
    FOR_VECTORS(c, columns) {
        const int left = LEFT(c, columns);
        vec column = get(sums + c, left);
        for (int64_t r = 0; r < rows; r++) column += get(x + r * columns + c, left);
        put(sums + c, column, left);
    }
}

static REAL greatest_of(const REAL *x, int64_t count) {
    vec greatest = all(-INFINITY);
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) greatest = NAME(max)(greatest, NAME(load)(x + i));
    REAL lanes[VEC_BYTES / sizeof(REAL)], most = (REAL)-INFINITY;
    NAME(store)(lanes, greatest);
    for (int t = 0; t < LANES; t++) most = lanes[t] > most ? lanes[t] : most;
    for (; i < count; i++) most = x[i] > most ? x[i] : most;
    return most;
}

static double log_sum_exp(const REAL *x, int64_t count) {
    const REAL most = greatest_of(x, count);
    const vec base = NAME(splat)(most), log2_e = all(ATTN_LOG2_E);
    double total = 0;
    for (int64_t first = 0; first < count; first += SUM_STRETCH) {
        const int64_t end = first + SUM_STRETCH < count ? first + SUM_STRETCH : count;
        vec part = NAME(splat)(0);
        int64_t i = first;
        for (; i + LANES <= end; i += LANES) {
            part += NAME(exp2)((NAME(load)(x + i) - base) * log2_e);
        }
        for (; i < end; i++) total += exp((double)x[i] - (double)most);
        total += add_lanes(part);
    }
    return (double)most + log(total);
}

static void softmax_gradient(REAL *x, double lse, double smooth, double scale, int64_t count) {
    const vec base = all(lse), log2_e = all(ATTN_LOG2_E), less = all(-smooth * scale);
    const vec by = all(scale);
    FOR_VECTORS(i, count) {
        const int left = LEFT(i, count);
        const vec p = NAME(exp2)((get(x + i, left) - base) * log2_e);
        put(x + i, NAME(fma)(by, p, less), left);
    }
}

/* --- Noise ---------------------------------------------------------------------------------------- */

/* Element e of a block of 2 NOISE_HALF has the first or the second word of one place of the stream, so
 * that the noise is the same whatever the width of vectors, which divides NOISE_HALF. */
enum { NOISE_HALF = 64 };

#if VEC_IS_SCALAR
typedef uint32_t words;
#define KEEP(condition) ((ivec)VEC_MASK(condition))
#else
typedef uint32_t words __attribute__((vector_size(VEC_BYTES / sizeof(REAL) * 4)));
#define KEEP(condition) __builtin_convertvector(condition, ivec)
#endif

INLINE void drop_vector(REAL *x, int64_t i, int64_t count, words noise, words limit, vec by) {
    if (i >= count) return;
    const int left = LEFT(i, count);
    const vec kept = NAME(select)(KEEP(noise >= limit), get(x + i, left) * by, NAME(splat)(0));
    put(x + i, kept, left);
}

static void drop(REAL *x, int64_t count, double rate, uint64_t stream) {
    const words limit = (words){0} + (uint32_t)(rate * 0x1p32);
    const vec by = all(1 / (1 - rate));
    words lane = {0};
    for (int i = 0; i < LANES; i++) ((uint32_t *)&lane)[i] = (uint32_t)i;
    for (int64_t block = 0; block < count; block += 2 * NOISE_HALF) {
        for (int t = 0; t < NOISE_HALF; t += LANES) {
            words a = lane + (uint32_t)(block / 2 + t);
            words b = (words){0} + (uint32_t)((uint64_t)(block / 2) >> 32);
            ATTN_THREEFRY(a, b, (uint32_t)stream, (uint32_t)(stream >> 32));
            drop_vector(x, block + t, count, a, limit, by);
            drop_vector(x, block + NOISE_HALF + t, count, b, limit, by);
        }
    }
}
#undef KEEP

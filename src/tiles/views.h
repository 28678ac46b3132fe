/* views.h: what observers read from tiles of weights. A tile's weights are relative to the maximum
 * known when they were made; times factor[row] they are final, and rounded as the full weights are. */

#ifdef VEC_ANY
#define ANY(mask) VEC_ANY(mask)
#else
INLINE bool NAME(any)(ivec mask) {
    INT lanes[VEC_BYTES / sizeof(REAL)], any = 0;
    memcpy(lanes, &mask, sizeof lanes);
    for (int i = 0; i < LANES; i++) any |= lanes[i];
    return any != 0;
}
#define ANY(mask) NAME(any)(mask)
#endif

/* Whether any lane of a is above b, or either is NaN. */
INLINE bool NAME(any_above)(vec a, vec b) {
#ifdef VEC_ANY_NOT_LE
    return VEC_ANY_NOT_LE(a, b);
#else
    return ANY(~VEC_MASK(a <= b));
#endif
}

/* 0, 1, 2, ... */
INLINE vec NAME(lane_numbers)(void) {
    REAL numbers[VEC_BYTES / sizeof(REAL)];
    for (int i = 0; i < LANES; i++) numbers[i] = (REAL)i;
    return NAME(load)(numbers);
}

/* ------------------------------------------------------------------------------------- top-k */

/* One vector of queries: puts the weights of key `key` in their places among the best so far, which
 * fall from rank to rank. Among equals the one that came first stays first; what is pushed out of its
 * place pushes out everything below. NaN comes before all numbers, and stays. */
INLINE void NAME(insert)(vec weight, INT key, REAL *best, INT *best_keys, int ranks, int stride) {
    ivec entering = NAME(splat_int)(key), pushed = NAME(splat_int)(0);
    for (int rank = 0; rank < ranks; rank++) {
        REAL *const at = best + rank * (int64_t)stride;
        INT *const key_at = best_keys + rank * (int64_t)stride;
        const vec old = NAME(load)(at);
        const ivec old_key = NAME(load_int)(key_at);
        pushed |= ~VEC_MASK(weight <= old) & VEC_MASK(old == old);
        const ivec new_key = (entering & pushed) | (old_key & ~pushed);
        NAME(store)(at, NAME(select)(pushed, weight, old));
        memcpy(key_at, &new_key, sizeof new_key);
        weight = NAME(select)(pushed, old, weight);
        entering = (old_key & pushed) | (entering & ~pushed);
    }
}

static void NAME(top)(void *best, void *best_keys, int ranks, int stride, const void *weights,
                      const void *factor, int64_t first_key, int keys, int width) {
    const REAL *const lowest = (const REAL *)best + (ranks - 1) * (int64_t)stride;
    for (int q = 0; q < width; q += LANES) {
        const vec by = NAME(load)((const REAL *)factor + q);
        vec least = NAME(load)(lowest + q);
        for (int k = 0; k < keys; k++) {
            const vec w = NAME(load)((const REAL *)weights + k * (int64_t)width + q) * by;
            if (!NAME(any_above)(w, least)) continue;
            NAME(insert)
            (w, (INT)(first_key + k), (REAL *)best + q, (INT *)best_keys + q, ranks, stride);
            least = NAME(load)(lowest + q);
        }
    }
}

static void NAME(top_few)(void *best, void *best_keys, int ranks, int stride, const void *weights,
                          const void *factor, int64_t first_key, int keys, int rows, int width) {
    for (int r = 0; r < rows; r++) {
        REAL *const b = (REAL *)best + r;
        INT *const indices = (INT *)best_keys + r;
        const REAL by = ((const REAL *)factor)[r];
        for (int k = 0; k < keys; k++) {
            const REAL w = ((const REAL *)weights)[r * (int64_t)width + k] * by;
            int rank = ranks;
            while (rank > 0 && !(w <= b[(rank - 1) * stride]) &&
                   b[(rank - 1) * stride] == b[(rank - 1) * stride])
                rank--;
            for (int below = ranks - 1; below > rank; below--) {
                b[below * stride] = b[(below - 1) * stride];
                indices[below * stride] = indices[(below - 1) * stride];
            }
            if (rank == ranks) continue;
            b[rank * stride] = w;
            indices[rank * stride] = (INT)(first_key + k);
        }
    }
}

static void NAME(begin_top)(void *best, void *best_keys, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        ((REAL *)best)[i] = 0;
        ((INT *)best_keys)[i] = -1;
    }
}

/* The key at a place of the lists above. */
static int64_t NAME(top_key)(const void *best_keys, int64_t at) {
    return (int64_t)((const INT *)best_keys)[at];
}

/* ---------------------------------------------------------------------------- sums and maxima */

/* received[k] = the greatest of received[k] and weights of key k. In a tile the lanes beyond the rows
 * are left out. */
static void NAME(received_maxima)(void *received, const void *weights, const void *factor, int keys,
                                  int rows, int width) {
    for (int k = 0; k < keys; k++) {
        REAL *const at = (REAL *)received + k;
        vec most = NAME(splat)(*at);
        for (int q = 0; q < width; q += LANES) {
            const vec w = NAME(load)((const REAL *)weights + k * (int64_t)width + q) *
                          NAME(load)((const REAL *)factor + q);
            const ivec real = VEC_MASK(NAME(lane_numbers)() < NAME(splat)((REAL)(rows - q)));
            most = NAME(select)(real, NAME(greater_or_nan)(most, w), most);
        }
        *at = ANY(VEC_MASK(most != most)) ? (REAL)NAN : NAME(first)(NAME(max_across)(most));
    }
}

static void NAME(received_maxima_few)(void *received, const void *weights, const void *factor,
                                      int keys, int rows, int width) {
    REAL *const most = received;
    for (int r = 0; r < rows; r++) {
        const REAL *const w = (const REAL *)weights + r * (int64_t)width;
        const REAL by = ((const REAL *)factor)[r];
        for (int k = 0; k < keys; k++) {
            const REAL x = w[k] * by;
            most[k] = most[k] > x || most[k] != most[k] ? most[k] : x;
        }
    }
}

/* target += source. */
static void NAME(accumulate)(void *target, const void *source, int64_t count) {
    for (int64_t i = 0; i < count; i++) ((REAL *)target)[i] += ((const REAL *)source)[i];
}

/* target = the greater of target and source; NaN if either is. */
static void NAME(accumulate_maxima)(void *target, const void *source, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const REAL x = ((const REAL *)source)[i], old = ((const REAL *)target)[i];
        ((REAL *)target)[i] = old > x || old != old ? old : x;
    }
}

static void NAME(add_block_sums)(void *sums, int64_t row_stride, int64_t column_stride,
                                 const void *rows, int64_t stride, int queries, int keys,
                                 int64_t first_query, int64_t first_key, int64_t block_queries,
                                 int64_t block_keys) {
    for (int r = 0; r < queries; r++) {
        const REAL *const row = (const REAL *)rows + r * stride;
        REAL *const to = (REAL *)sums + (first_query + r) / block_queries * row_stride;
        for (int k = 0; k < keys;) {
            const int64_t column = (first_key + k) / block_keys;
            const int64_t left = (column + 1) * block_keys - first_key;
            const int end = left < keys ? (int)left : keys;
            vec sum = NAME(splat)(0);
            for (; k < end; k += LANES)
                sum += NAME(load_part)(row + k, end - k < LANES ? end - k : LANES);
            to[column * column_stride] += NAME(first)(NAME(sum_across)(sum));
            k = end;
        }
    }
}

/* What a weight adds to a row's distance, |apart| times it, or to its entropy in bits, -w log2(w). */
INLINE vec NAME(row_term)(bool entropy, vec w, vec apart) {
    return entropy ? -w * NAME(log2)(w) : w * NAME(abs)(apart);
}

/* sums[q] += terms of the tile's keys, of which key k is position[q] - k ahead. */
INLINE void NAME(row_terms)(bool entropy, REAL *sums, const REAL *weights, const REAL *factor,
                            const REAL *position, int keys, int width) {
    for (int q = 0; q < width; q += LANES) {
        const vec by = NAME(load)(factor + q);
        vec ahead = entropy ? by : NAME(load)(position + q), sum = NAME(splat)(0);
        for (int k = 0; k < keys; k++) {
            const vec w = NAME(load)(weights + k * (int64_t)width + q) * by;
            sum += NAME(row_term)(entropy, w, ahead);
            ahead -= NAME(splat)(1);
        }
        NAME(store)(sums + q, NAME(load)(sums + q) + sum);
    }
}

INLINE void NAME(row_terms_few)(bool entropy, REAL *sums, const REAL *weights, const REAL *factor,
                                const REAL *position, int keys, int rows, int width) {
    for (int r = 0; r < rows; r++) {
        const vec by = NAME(splat)(factor[r]), from = NAME(splat)(entropy ? 0 : position[r]);
        vec sum = NAME(splat)(0);
        for (int k = 0; k < keys; k += LANES) {
            const int count = keys - k < LANES ? keys - k : LANES;
            const vec w = NAME(load_part)(weights + r * (int64_t)width + k, count) * by;
            const vec key = NAME(lane_numbers)() + NAME(splat)((REAL)k);
            sum += NAME(row_term)(entropy, w, from - key);
        }
        sums[r] += NAME(first)(NAME(sum_across)(sum));
    }
}

static void NAME(add_distances)(void *sums, const void *weights, const void *factor,
                                const void *position, int keys, int width) {
    NAME(row_terms)(false, sums, weights, factor, position, keys, width);
}

static void NAME(add_distances_few)(void *sums, const void *weights, const void *factor,
                                    const void *position, int keys, int rows, int width) {
    NAME(row_terms_few)(false, sums, weights, factor, position, keys, rows, width);
}

static void NAME(add_entropies)(void *sums, const void *weights, const void *factor, int keys,
                                int width) {
    NAME(row_terms)(true, sums, weights, factor, NULL, keys, width);
}

static void NAME(add_entropies_few)(void *sums, const void *weights, const void *factor, int keys,
                                    int rows, int width) {
    NAME(row_terms_few)(true, sums, weights, factor, NULL, keys, rows, width);
}

/* -------------------------------------------------------------------------------- other types */

/* To the bits of IEEE binary16, rounded to nearest even. Adding and taking away 1.5 * 2^MANTISSA_BITS
 * quanta rounds to whole quanta, exactly so in either type: a quantum is 2^-10 of the number's power of
 * two, and of 2^-14 below it, where binary16 has no smaller ones. */
INLINE ivec NAME(half_bits)(vec x) {
    const vec size = NAME(abs)(x), smallest = NAME(splat)((REAL)(1.0 / 16384));
    const vec infinite = NAME(splat)((REAL)INFINITY),
              one = NAME(splat)((REAL)((INT)1 << MANTISSA_BITS));
    const vec power = NAME(max)(NAME(from_bits)(NAME(bits)(size) & NAME(bits)(infinite)), smallest);
    const vec magic = power * NAME(splat)((REAL)1.5 * (REAL)((INT)1 << (MANTISSA_BITS - 10)));
    const vec rounded = size + magic - magic;
    const ivec normal =
        (NAME(bits)(rounded) >> (MANTISSA_BITS - 10)) - ((EXPONENT_BIAS - 15) << 10);
    const ivec quanta = NAME(bits)(rounded * NAME(splat)((REAL)(1 << 24)) + one) - NAME(bits)(one);
    const ivec tiny = VEC_MASK(rounded < smallest), huge = VEC_MASK(size >= NAME(splat)(65520));
    const ivec wrong = VEC_MASK(x != x);
    const ivec sign = (NAME(bits)(x) >> (REAL_BITS - 16)) & 0x8000;
    ivec half = (quanta & tiny) | (normal & ~tiny);
    half = (NAME(splat_int)(0x7c00) & huge) | (half & ~huge);
    return (NAME(splat_int)(0x7e00) & wrong) | ((half | sign) & ~wrong);
}

/* round(255 x), within 0 and 255; 0 for NaN. */
INLINE ivec NAME(byte_of)(vec x) {
    const vec whole = NAME(splat)(255), magic = NAME(splat)(ROUND_TO_INTEGER);
    const vec scaled = NAME(max)(x, NAME(splat)(0)) * whole;
    const vec limited = NAME(select)(VEC_MASK(scaled > whole), whole, scaled);
    return NAME(bits)(limited + magic) - NAME(bits)(magic);
}

#if VEC_IS_SCALAR
#define NARROW(type, integers) ((type)(integers))
typedef uint16_t NAME(halves);
typedef uint8_t NAME(bytes);
#else
#define NARROW(type, integers) __builtin_convertvector(integers, type)
typedef uint16_t NAME(halves) __attribute__((vector_size(VEC_BYTES / sizeof(REAL) * 2)));
typedef uint8_t NAME(bytes) __attribute__((vector_size(VEC_BYTES / sizeof(REAL))));
#endif

/* One vector of weights in the type of so many bytes, a constant. */
INLINE void NAME(convert)(int element_size, char *lanes, vec w) {
    if (element_size == 2) {
        const NAME(halves) h = NARROW(NAME(halves), NAME(half_bits)(w));
        memcpy(lanes, &h, sizeof h);
    } else if (element_size == 1) {
        const NAME(bytes) b = NARROW(NAME(bytes), NAME(byte_of)(w));
        memcpy(lanes, &b, sizeof b);
    } else {
        REAL own[VEC_BYTES / sizeof(REAL)];
        NAME(store)(own, w);
        for (int i = 0; i < LANES; i++) {
            const float single = (float)own[i];
            const double wide = (double)own[i];
            memcpy(lanes + i * element_size, element_size == 4 ? (const void *)&single : &wide,
                   (size_t)element_size);
        }
    }
}

INLINE void NAME(narrow_to)(int element_size, char *target, int64_t row_stride,
                            int64_t column_stride, const REAL *source, int64_t source_stride,
                            int rows, int columns) {
    const size_t size = (size_t)element_size;
    for (int r = 0; r < rows; r++) {
        const REAL *const from = source + r * source_stride;
        char *const to = target + r * row_stride * element_size;
        char lanes[VEC_BYTES / sizeof(REAL) * sizeof(double)];
        int c = 0;
        for (; column_stride == 1 && c + LANES <= columns; c += LANES)
            NAME(convert)(element_size, to + c * element_size, NAME(load)(from + c));
        for (; c < columns; c += LANES) {
            const int count = columns - c < LANES ? columns - c : LANES;
            NAME(convert)(element_size, lanes, NAME(load_part)(from + c, count));
            for (int i = 0; i < count; i++)
                memcpy(to + (c + i) * column_stride * element_size, lanes + i * element_size, size);
        }
    }
}

static void NAME(narrow)(void *target, int element_size, int64_t row_stride, int64_t column_stride,
                         const void *source, int64_t source_stride, int rows, int columns) {
    switch (element_size) {
#define SIZE(size)                                                                       \
    case size:                                                                           \
        NAME(narrow_to)                                                                  \
        (size, target, row_stride, column_stride, source, source_stride, rows, columns); \
        break;
        SIZE(1)
        SIZE(2)
        SIZE(4)
        SIZE(8)
#undef SIZE
    default: break;
    }
}
#undef NARROW
#undef ANY

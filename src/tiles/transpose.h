/* transpose.h: between the caller's rows [query][column] and the lanes of tiles [column][query].
 *
 * Whole LANES x LANES squares go through registers where the columns are contiguous: log2(LANES)
 * rounds in which vectors r and r + LANES/2 interleave (a perfect shuffle of the rows; after all
 * rounds, columns have become rows). Everything else goes element by element. */

#if VEC_IS_SCALAR || !HAVE_SHUFFLE
#define SQUARES 0
#else
#define SQUARES 1

#define LOW2 0, 2
#define HIGH2 1, 3
#define LOW4 0, 4, 1, 5
#define HIGH4 2, 6, 3, 7
#define LOW8 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH8 4, 12, 5, 13, 6, 14, 7, 15
#define LOW16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

#if VEC_BYTES * 8 == 2 * REAL_BITS
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, LOW2)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, HIGH2)
#elif VEC_BYTES * 8 == 4 * REAL_BITS
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, LOW4)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, HIGH4)
#elif VEC_BYTES * 8 == 8 * REAL_BITS
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, LOW8)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, HIGH8)
#else
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, LOW16)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, HIGH16)
#endif

INLINE void NAME(transpose_square)(vec square[VEC_BYTES / sizeof(REAL)]) {
    UNROLL for (int round = 1; round < LANES; round *= 2) {
        vec next[VEC_BYTES / sizeof(REAL)];
        UNROLL for (int r = 0; r < LANES / 2; r++) {
            next[2 * r] = INTERLEAVE_LOW(square[r], square[r + LANES / 2]);
            next[2 * r + 1] = INTERLEAVE_HIGH(square[r], square[r + LANES / 2]);
        }
        UNROLL for (int r = 0; r < LANES; r++) square[r] = next[r];
    }
}

#endif

/* Rows and columns that squares cover; the rest is the element loops'. */
INLINE int NAME(squares)(int count, int64_t column_stride) {
    return SQUARES && column_stride == 1 ? count - count % LANES : 0;
}

static void NAME(load_transposed)(void *target, int64_t target_stride, const void *source,
                                  int64_t row_stride, int64_t column_stride, int rows, int columns,
                                  double factor) {
    REAL *const t = target;
    const REAL *const s = source;
    const int square_rows = NAME(squares)(rows, column_stride);
    const int square_columns = square_rows ? NAME(squares)(columns, column_stride) : 0;
#if SQUARES
    for (int r = 0; r < square_rows; r += LANES) {
        for (int c = 0; c < square_columns; c += LANES) {
            vec square[VEC_BYTES / sizeof(REAL)];
            UNROLL for (int i = 0; i < LANES; i++) square[i] =
                NAME(load)(s + (r + i) * row_stride + c);
            NAME(transpose_square)(square);
            UNROLL for (int i = 0; i < LANES; i++)
                NAME(store)(t + (c + i) * target_stride + r, square[i] * NAME(splat)((REAL)factor));
        }
    }
#endif
    for (int r = 0; r < rows; r++) {
        for (int c = r < square_rows ? square_columns : 0; c < columns; c++)
            t[c * target_stride + r] = s[r * row_stride + c * column_stride] * (REAL)factor;
    }
}

static void NAME(store_transposed)(void *target, int64_t row_stride, int64_t column_stride,
                                   const void *source, int64_t source_stride, int rows, int columns,
                                   const void *factor) {
    REAL *const t = target;
    const REAL *const s = source, *const by = factor;
    const int square_rows = NAME(squares)(rows, column_stride);
    const int square_columns = square_rows ? NAME(squares)(columns, column_stride) : 0;
#if SQUARES
    for (int r = 0; r < square_rows; r += LANES) {
        const vec row_factor = NAME(load)(by + r);
        for (int c = 0; c < square_columns; c += LANES) {
            vec square[VEC_BYTES / sizeof(REAL)];
            UNROLL for (int i = 0; i < LANES; i++) square[i] =
                NAME(load)(s + (c + i) * source_stride + r) * row_factor;
            NAME(transpose_square)(square);
            UNROLL for (int i = 0; i < LANES; i++)
                NAME(store)(t + (r + i) * row_stride + c, square[i]);
        }
    }
#endif
    for (int r = 0; r < rows; r++) {
        for (int c = r < square_rows ? square_columns : 0; c < columns; c++)
            t[r * row_stride + c * column_stride] = s[c * source_stride + r] * by[r];
    }
}

static void NAME(store_rows)(void *target, int64_t row_stride, int64_t column_stride,
                             const void *source, int64_t source_stride, int rows, int columns,
                             const void *factor) {
    for (int r = 0; r < rows; r++) {
        REAL *const t = (REAL *)target + r * row_stride;
        const REAL *const s = (const REAL *)source + r * source_stride,
                          by = ((const REAL *)factor)[r];
        int c = 0;
        for (; column_stride == 1 && c + LANES <= columns; c += LANES)
            NAME(store)(t + c, NAME(load)(s + c) * NAME(splat)(by));
        for (; c < columns; c++) t[c * column_stride] = s[c] * by;
    }
}

static void NAME(load_rows)(void *target, int64_t target_stride, const void *source,
                            int64_t row_stride, int64_t column_stride, int rows, int columns,
                            double factor) {
    for (int r = 0; r < rows; r++) {
        REAL *const t = (REAL *)target + r * target_stride;
        const REAL *const s = (const REAL *)source + r * row_stride;
        int c = 0;
        for (; column_stride == 1 && c + LANES <= columns; c += LANES)
            NAME(store)(t + c, NAME(load)(s + c) * NAME(splat)((REAL)factor));
        for (; c < columns; c++) t[c] = s[c * column_stride] * (REAL)factor;
    }
}

static void NAME(scale_rows)(void *target, int64_t row_stride, int64_t column_stride, int rows,
                             int columns, const void *factor) {
    for (int r = 0; r < rows; r++) {
        REAL *const t = (REAL *)target + r * row_stride;
        const REAL by = ((const REAL *)factor)[r];
        int c = 0;
        for (; column_stride == 1 && c + LANES <= columns; c += LANES)
            NAME(store)(t + c, NAME(load)(t + c) * NAME(splat)(by));
        for (; c < columns; c++) t[c * column_stride] *= by;
    }
}

static void NAME(fill)(void *target, int64_t stride, int64_t count, double value) {
    REAL *const t = target;
    int64_t i = 0;
    for (; stride == 1 && i + LANES <= count; i += LANES)
        NAME(store)(t + i, NAME(splat)((REAL)value));
    for (; i < count; i++) t[i * stride] = (REAL)value;
}

static void NAME(zero_rows)(void *target, int64_t row_stride, int64_t column_stride, int rows,
                            int columns) {
    for (int r = 0; r < rows; r++)
        NAME(fill)((REAL *)target + r * row_stride, column_stride, columns, 0);
}

static void NAME(zero_masked)(void *target, int64_t row_stride, int64_t column_stride,
                              const void *mask, int64_t mask_key_stride, int64_t mask_row_stride,
                              int rows, int columns) {
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            const REAL hidden = ((const REAL *)mask)[c * mask_key_stride + r * mask_row_stride];
            if (hidden == (REAL)-INFINITY) ((REAL *)target)[r * row_stride + c * column_stride] = 0;
        }
    }
}

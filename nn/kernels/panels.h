/* panels.h: y = x W^T with W arranged once for it. A panel is PANEL rows of W, which are y's columns, held
 * transposed: element [k][row] at k*PANEL + row. Rows of x are read where they lie, each number one
 * broadcast; a register tile is PANEL_ROWS rows by a panel. Each y is a sum over k in order, whatever
 * rows stand beside it: its bits depend on its own row alone. */
enum { PANEL = PANEL_VECS * LANES, PANEL_ROWS = 6 };

INLINE void panel_tile(int rows, const REAL *x, int64_t x_step, const REAL *panel, REAL *y,
                       int64_t y_step, int64_t inner, bool keep) {
    vec sum[PANEL_ROWS][PANEL_VECS];
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < PANEL_VECS; v++) sum[r][v] = NAME(splat)(0);
        if (keep) NAME(prefetch)(y, r * y_step, PANEL); /* rows lie far apart */
    }
    for (int64_t k = 0; k < inner; k++) {
        vec w[PANEL_VECS];
        UNROLL for (int v = 0; v < PANEL_VECS; v++) w[v] =
            NAME(load)(panel + k * PANEL + v * LANES);
        UNROLL for (int r = 0; r < rows; r++) {
            const vec each = NAME(splat)(x[r * x_step + k]);
            UNROLL for (int v = 0; v < PANEL_VECS; v++) sum[r][v] =
                NAME(fma)(each, w[v], sum[r][v]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < PANEL_VECS; v++) {
            REAL *const at = y + r * y_step + v * LANES;
            NAME(store)(at, keep ? NAME(load)(at) + sum[r][v] : sum[r][v]);
        }
    }
}

/* All rows by a panel whose columns are all wanted. */
static void panel_full(const REAL *x, int64_t x_step, const REAL *panel, REAL *y, int64_t y_step,
                       int64_t rows, int64_t inner, bool keep) {
    int64_t r = 0;
#define TILE_OF(tall)                       \
    for (; r + (tall) <= rows; r += (tall)) \
    panel_tile(tall, x + r * x_step, x_step, panel, y + r * y_step, y_step, inner, keep)
    TILE_OF(PANEL_ROWS);
    TILE_OF(4);
    TILE_OF(2);
    TILE_OF(1);
#undef TILE_OF
}

/* By a panel of which only columns first .. first + columns - 1 are: by way of a panel of results. */
static void panel_part(const REAL *x, int64_t x_step, const REAL *panel, int first, REAL *y,
                       int64_t y_step, int64_t rows, int64_t columns, int64_t inner, bool keep) {
    REAL whole[PANEL_ROWS * PANEL];
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = r % PANEL_ROWS, left = rows - r;
        if (at == 0) {
            panel_full(x + r * x_step, x_step, panel, whole, PANEL,
                       left < PANEL_ROWS ? left : PANEL_ROWS, inner, false);
        }
        for (int64_t c = 0; c < columns; c++) {
            const REAL sum = whole[at * PANEL + first + c];
            y[r * y_step + c] = keep ? y[r * y_step + c] + sum : sum;
        }
    }
}

/* A panel after another, so that each is read from memory once for all rows. */
static void multiply_panels(const REAL *x, int64_t x_step, const REAL *panels, int64_t panel_step,
                            int first, REAL *y, int64_t y_step, int64_t rows, int64_t columns,
                            int64_t inner, bool keep) {
    int64_t c = 0;
    if (first > 0) {
        c = PANEL - first < columns ? PANEL - first : columns;
        panel_part(x, x_step, panels, first, y, y_step, rows, c, inner, keep);
        panels += panel_step;
    }
    for (; c + PANEL <= columns; c += PANEL, panels += panel_step) {
        panel_full(x, x_step, panels, y + c, y_step, rows, inner, keep);
    }
    if (c < columns) {
        panel_part(x, x_step, panels, 0, y + c, y_step, rows, columns - c, inner, keep);
    }
}

/* packed.c: the matrices of a layout once more, arranged for products with few rows. */
#include "nn.h"

#include <stdlib.h>

struct attn_nn_packed {
    const attn_nn_layout *layout;
    const attn_nn_kernels *kernels;
    real *panels;
    int64_t places[]; /* [layout->count]: where a parameter's panels begin; -1: it has none */
};

/* A single row, mostly a bias, is none: a panel would hold little but zeros. */
static bool is_matrix(const attn_nn_parameter *p) {
    return p->rows > 1;
}

static int64_t panels_of(const attn_nn_parameter *p, int panel) {
    return (p->rows + panel - 1) / panel;
}

/* Returns how many numbers all panels have. */
static int64_t place_all(attn_nn_packed *packed) {
    const int panel = packed->kernels->panel;
    int64_t size = 0;
    for (int64_t i = 0; i < packed->layout->count; i++) {
        const attn_nn_parameter *const p = &packed->layout->parameters[i];
        packed->places[i] = is_matrix(p) ? size : -1;
        if (is_matrix(p)) size += panels_of(p, panel) * panel * p->columns;
    }
    return size;
}

/* The last panel is filled up with zeros. */
static void pack_matrix(const attn_nn_parameter *p, const real *values, int panel, real *to) {
    const int64_t columns = p->columns;
    for (int64_t first = 0; first < p->rows; first += panel, to += panel * columns) {
        const int64_t left = p->rows - first < panel ? p->rows - first : panel;
        const real *const from = values + p->offset + first * columns;
        for (int64_t k = 0; k < columns; k++) {
            for (int64_t r = 0; r < left; r++) to[k * panel + r] = from[r * columns + k];
            for (int64_t r = left; r < panel; r++) to[k * panel + r] = 0;
        }
    }
}

attn_nn_packed *attn_nn_pack(const attn_nn_layout *layout, const attn_nn_real *values,
                             const attn_context *context) {
    attn_nn_packed *const packed =
        malloc(sizeof *packed + (size_t)layout->count * sizeof *packed->places);
    if (packed == NULL) return NULL;
    packed->layout = layout;
    packed->kernels = attn_nn_kernels_for(attn_context_isa(context));
    const size_t size = (size_t)(place_all(packed) + 1) * sizeof(real);
    packed->panels = aligned_alloc(64, (size + 63) / 64 * 64);
    if (packed->panels == NULL) {
        free(packed);
        return NULL;
    }
    for (int64_t i = 0; i < layout->count; i++) {
        if (packed->places[i] < 0) continue;
        pack_matrix(&layout->parameters[i], values, packed->kernels->panel,
                    packed->panels + packed->places[i]);
    }
    return packed;
}

void attn_nn_packed_free(attn_nn_packed *packed) {
    if (packed == NULL) return;
    free(packed->panels);
    free(packed);
}

/* --- Products ------------------------------------------------------------------------------------- */

/* The parameter that has the number at `offset`: they rise in the layout. */
static int64_t parameter_at(const attn_nn_layout *layout, int64_t offset) {
    int64_t low = 0, high = layout->count - 1;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (layout->parameters[middle].offset <= offset) low = middle;
        else high = middle - 1;
    }
    return low;
}

/* One number a row, term by term: of a W of one row, which has no panels. */
static void multiply_row(const real *w, int64_t inner, const real *x, int64_t x_step, real *y,
                         int64_t y_step, int64_t rows, bool keep) {
    for (int64_t r = 0; r < rows; r++) {
        real sum = 0;
        for (int64_t k = 0; k < inner; k++) sum += x[r * x_step + k] * w[k];
        y[r * y_step] = keep ? y[r * y_step] + sum : sum;
    }
}

static void multiply_packed(const attn_nn_packed *packed, const attn_nn_pass *pass,
                            const attn_nn_matrix *w, const real *x, int64_t x_step, real *y,
                            int64_t y_step, int64_t rows, bool keep) {
    const int64_t i = parameter_at(packed->layout, w->weight);
    const attn_nn_parameter *const p = &packed->layout->parameters[i];
    if (packed->places[i] < 0) {
        multiply_row(pass->values + w->weight, w->columns, x, x_step, y, y_step, rows, keep);
        return;
    }
    const int panel = packed->kernels->panel;
    const int64_t row = (w->weight - p->offset) / p->columns;
    const int64_t column = (w->weight - p->offset) % p->columns;
    const real *const panels =
        packed->panels + packed->places[i] + row / panel * panel * p->columns + column * panel;
    packed->kernels->multiply_panels(x, x_step, panels, panel * p->columns, (int)(row % panel), y,
                                     y_step, rows, w->rows, w->columns, keep);
}

void attn_nn_apply(const attn_nn_pass *pass, const attn_nn_matrix *w, const real *x, int64_t x_step,
                   real *y, int64_t y_step, int64_t rows, bool keep) {
    if (pass->packed != NULL) {
        multiply_packed(pass->packed, pass, w, x, x_step, y, y_step, rows, keep);
    } else {
        attn_nn_multiply_bt(x, x_step, pass->values + w->weight, w->step, y, y_step, rows, w->rows,
                            w->columns, keep ? 1 : 0);
    }
}

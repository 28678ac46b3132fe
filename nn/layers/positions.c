/* positions.c: where rows stand, as rotations of queries and keys, and as vectors that are added. */
#include "positions.h"

#include <math.h>

/* base^(-2i/width), i < width/2: by how much an angle grows from one position to the next. */
static double *rates(attn_nn_pass *pass, double base, int64_t width) {
    double *const rate = attn_nn_take_bytes(pass, (size_t)(width / 2 + 1) * sizeof *rate);
    for (int64_t i = 0; i < width / 2 && rate != NULL; i++) {
        rate[i] = pow(base, -2 * (double)i / (double)width);
    }
    return rate;
}

/* --- Rotary --------------------------------------------------------------------------------------- */

real *attn_nn_angles(attn_nn_pass *pass, const attn_nn_attention *layer, int64_t first,
                     int64_t count) {
    const int64_t d = layer->width / layer->heads, half = d / 2;
    real *const angles = attn_nn_take(pass, count * 2 * half);
    const size_t mark = attn_nn_mark(pass);
    const double *const rate = rates(pass, layer->rotary_base, d);
    for (int64_t p = 0; p < count && rate != NULL; p++) {
        real *const c = angles + p * 2 * half, *const s = c + half;
        for (int64_t i = 0; i < half; i++) {
            const double angle = (double)(first + p) * rate[i];
            c[i] = (real)cos(angle), s[i] = (real)sin(angle);
        }
    }
    attn_nn_release(pass, mark);
    return attn_nn_failed(pass) ? NULL : angles;
}

/* One row; a turn back has the opposite sines. */
static void rotate_row(const attn_nn_attention *layer, const real *angles, real *row, real sign) {
    const int64_t d = layer->width / layer->heads, half = d / 2;
    for (int64_t h = 0; h < layer->heads; h++) {
        real *const a = row + h * d, *const b = a + half;
        for (int64_t i = 0; i < half; i++) {
            const real c = angles[i], s = sign * angles[half + i], x = a[i], y = b[i];
            a[i] = x * c - y * s;
            b[i] = x * s + y * c;
        }
    }
}

void attn_nn_rotate(const attn_nn_attention *layer, const real *angles, real *rows, int64_t stride,
                    const attn_nn_sentences *sentences, real sign) {
    const int64_t of_position = layer->width / layer->heads / 2 * 2;
    for (int64_t s = 0; s < sentences->count; s++) {
        const int64_t first = sentences->starts[s];
        for (int64_t r = first; r < sentences->starts[s + 1]; r++) {
            rotate_row(layer, angles + (r - first) * of_position, rows + r * stride, sign);
        }
    }
}

void attn_nn_rotate_at(const attn_nn_attention *layer, const real *angles, real *rows,
                       int64_t stride, int64_t count) {
    for (int64_t r = 0; r < count; r++) rotate_row(layer, angles, rows + r * stride, 1);
}

/* --- Sinusoidal and learned: added to rows -------------------------------------------------------- */

attn_nn_positional attn_nn_positional_make(attn_nn_layout *layout, const char *name,
                                           attn_nn_positions kind, int64_t width,
                                           int64_t max_length) {
    attn_nn_positional layer = {
        .kind = kind, .width = width, .max_length = max_length, .weight = -1};
    if (kind == ATTN_NN_LEARNED) {
        layer.weight = attn_nn_layout_add(layout, attn_nn_join(name, "weight").text, max_length,
                                          width, ATTN_NN_NORMAL, 0.02);
    }
    return layer;
}

/* place [width] = sines and cosines, side by side. */
static void sinusoid(real *place, const double *rate, int64_t width, int64_t position) {
    memset(place, 0, (size_t)width * sizeof *place);
    for (int64_t i = 0; i < width / 2; i++) {
        const double angle = (double)position * rate[i];
        place[2 * i] = (real)sin(angle);
        place[2 * i + 1] = (real)cos(angle);
    }
}

/* The places of positions first .. first+count-1, [count, width]: learned ones where they lie, sinusoidal
 * ones in the arena. NULL: there is nothing to add, or the pass failed. */
static const real *places(attn_nn_pass *pass, const attn_nn_positional *layer, int64_t first,
                          int64_t count) {
    if (attn_nn_failed(pass)) return NULL;
    const int64_t width = layer->width;
    if (layer->kind == ATTN_NN_LEARNED) {
        if (first + count <= layer->max_length) return pass->values + layer->weight + first * width;
        return attn_nn_fail(pass, ATTN_ERROR_SHAPE,
                            "positions: a sentence is longer than max_length");
    }
    if (layer->kind != ATTN_NN_SINUSOIDAL) return NULL;
    real *const table = attn_nn_take(pass, count * width);
    const double *const rate = rates(pass, 10000, width);
    for (int64_t p = 0; p < count && rate != NULL; p++) {
        sinusoid(table + p * width, rate, width, first + p);
    }
    return rate == NULL ? NULL : table;
}

void attn_nn_positional_forward(attn_nn_pass *pass, const attn_nn_positional *layer,
                                attn_nn_real *x, const attn_nn_sentences *sentences) {
    const int64_t width = layer->width;
    const size_t mark = attn_nn_mark(pass);
    const real *const place = places(pass, layer, 0, attn_nn_longest(sentences));
    for (int64_t s = 0; s < sentences->count && place != NULL && x != NULL; s++) {
        const int64_t first = sentences->starts[s];
        attn_nn_kernels_of(pass)->add(x + first * width, 1, place,
                                      (sentences->starts[s + 1] - first) * width);
    }
    attn_nn_release(pass, mark);
}

void attn_nn_positional_step(attn_nn_pass *pass, const attn_nn_positional *layer, attn_nn_real *x,
                             int64_t rows, int64_t position) {
    const int64_t width = layer->width;
    const size_t mark = attn_nn_mark(pass);
    const real *const place = places(pass, layer, position, 1);
    for (int64_t r = 0; r < rows && place != NULL && x != NULL; r++) {
        attn_nn_kernels_of(pass)->add(x + r * width, 1, place, width);
    }
    attn_nn_release(pass, mark);
}

void attn_nn_positional_backward(attn_nn_pass *pass, const attn_nn_positional *layer,
                                 const attn_nn_real *d_x, const attn_nn_sentences *sentences) {
    if (layer->kind != ATTN_NN_LEARNED || attn_nn_failed(pass)) return;
    for (int64_t s = 0; s < sentences->count; s++) {
        const int64_t first = sentences->starts[s];
        const int64_t length = sentences->starts[s + 1] - first;
        attn_nn_kernels_of(pass)->add(pass->gradients + layer->weight, 1,
                                      d_x + first * layer->width, length * layer->width);
    }
}

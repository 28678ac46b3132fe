#include "rotary.h"

#include <math.h>

static void rotate_row(const attn_nn_attention *layer, real *row, double position) {
    const int64_t d = layer->width / layer->heads, half = d / 2;
    for (int64_t i = 0; i < half; i++) {
        const double angle = position * pow(layer->rotary_base, -2 * (double)i / (double)d);
        const real c = (real)cos(angle), s = (real)sin(angle);
        for (int64_t h = 0; h < layer->heads; h++) {
            real *const a = row + h * d + i, *const b = a + half;
            const real x = *a, y = *b;
            *a = x * c - y * s;
            *b = x * s + y * c;
        }
    }
}

void attn_nn_rotate(const attn_nn_attention *layer, real *rows, int64_t stride,
                    const attn_nn_sentences *sentences, int sign) {
    for (int64_t s = 0; s < sentences->count; s++) {
        const int64_t first = sentences->starts[s];
        for (int64_t r = first; r < sentences->starts[s + 1]; r++) {
            rotate_row(layer, rows + r * stride, (double)(sign * (r - first)));
        }
    }
}

void attn_nn_rotate_at(const attn_nn_attention *layer, real *rows, int64_t stride, int64_t count,
                       int64_t position) {
    for (int64_t r = 0; r < count; r++) rotate_row(layer, rows + r * stride, (double)position);
}

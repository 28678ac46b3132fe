#include "columns.h"

attn_nn_columns attn_nn_columns_of(int64_t weight, int64_t step, int64_t first, int64_t in,
                                   int64_t out, int64_t bias) {
    const attn_nn_columns layer = {
        .in = in, .out = out, .weight = weight + first, .step = step, .bias = bias};
    return layer;
}

void attn_nn_columns_forward(attn_nn_pass *pass, const attn_nn_columns *layer, const real *x,
                             int64_t rows, real *y) {
    if (attn_nn_failed(pass)) return;
    attn_nn_fill_rows(y, layer->bias < 0 ? NULL : pass->values + layer->bias, rows, layer->out);
    attn_nn_columns_add(pass, layer, x, rows, y);
}

void attn_nn_columns_add(attn_nn_pass *pass, const attn_nn_columns *layer, const real *x,
                         int64_t rows, real *y) {
    if (attn_nn_failed(pass)) return;
    const attn_nn_matrix weight = {layer->weight, layer->step, layer->out, layer->in};
    attn_nn_apply(pass, &weight, x, layer->in, y, layer->out, rows, true);
}

void attn_nn_columns_back(attn_nn_pass *pass, const attn_nn_columns *layer, const real *d_y,
                          int64_t rows, real keep, real *d_x) {
    if (attn_nn_failed(pass)) return;
    attn_nn_multiply(d_y, layer->out, pass->values + layer->weight, layer->step, d_x, layer->in,
                     rows, layer->in, layer->out, keep);
}

void attn_nn_columns_learn(attn_nn_pass *pass, const attn_nn_columns *layer, const real *x,
                           const real *d_y, int64_t rows) {
    if (attn_nn_failed(pass)) return;
    attn_nn_multiply_at(d_y, layer->out, x, layer->in, pass->gradients + layer->weight, layer->step,
                        layer->out, layer->in, rows, 1);
    if (layer->bias >= 0) {
        attn_nn_kernels_of(pass)->add_columns(pass->gradients + layer->bias, d_y, rows, layer->out);
    }
}

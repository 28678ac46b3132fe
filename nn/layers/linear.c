#include "../nn.h"

#include <math.h>

attn_nn_linear attn_nn_linear_make(attn_nn_layout *layout, const char *name, int64_t in,
                                   int64_t out, bool bias) {
    const double within = 1 / sqrt((double)in);
    attn_nn_linear layer = {.in = in, .out = out, .bias = -1};
    layer.weight = attn_nn_layout_add(layout, attn_nn_join(name, "weight").text, out, in,
                                      ATTN_NN_UNIFORM, within);
    if (bias) {
        layer.bias = attn_nn_layout_add(layout, attn_nn_join(name, "bias").text, 1, out,
                                        ATTN_NN_UNIFORM, within);
    }
    return layer;
}

attn_nn_real *attn_nn_linear_forward(attn_nn_pass *pass, const attn_nn_linear *layer,
                                     const attn_nn_real *x, int64_t rows) {
    const int64_t in = layer->in, out = layer->out;
    real *const y = attn_nn_take(pass, rows * out);
    if (x == NULL || y == NULL) return NULL;
    if (layer->bias >= 0) attn_nn_fill_rows(y, pass->values + layer->bias, rows, out);
    const attn_nn_matrix weight = {layer->weight, in, out, in};
    attn_nn_apply(pass, &weight, x, in, y, out, rows, layer->bias >= 0);
    return y;
}

/* d_weight += d_y^T x,   d_bias += the sum of d_y's rows,   d_x += d_y weight */
void attn_nn_linear_backward(attn_nn_pass *pass, const attn_nn_linear *layer, const attn_nn_real *x,
                             const attn_nn_real *d_y, int64_t rows, attn_nn_real *d_x) {
    if (attn_nn_failed(pass)) return;
    const int64_t in = layer->in, out = layer->out;
    real *const gradients = pass->gradients;
    attn_nn_multiply_at(d_y, out, x, in, gradients + layer->weight, in, out, in, rows, 1);
    if (layer->bias >= 0) {
        attn_nn_kernels_of(pass)->add_columns(gradients + layer->bias, d_y, rows, out);
    }
    if (d_x != NULL) {
        attn_nn_multiply(d_y, out, pass->values + layer->weight, in, d_x, in, rows, in, out, 1);
    }
}

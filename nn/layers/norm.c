#include "../nn.h"

attn_nn_norm attn_nn_norm_make(attn_nn_layout *layout, const char *name, attn_nn_norm_kind kind,
                               int64_t width) {
    attn_nn_norm layer = {.kind = kind, .width = width, .bias = -1};
    layer.weight =
        attn_nn_layout_add(layout, attn_nn_join(name, "weight").text, 1, width, ATTN_NN_ONE, 0);
    if (kind == ATTN_NN_LAYER_NORM) {
        layer.bias =
            attn_nn_layout_add(layout, attn_nn_join(name, "bias").text, 1, width, ATTN_NN_ZERO, 0);
    }
    return layer;
}

attn_nn_real *attn_nn_norm_forward(attn_nn_pass *pass, const attn_nn_norm *layer,
                                   const attn_nn_real *x, int64_t rows) {
    real *const y = attn_nn_take(pass, rows * layer->width);
    if (x == NULL || y == NULL) return NULL;
    const bool center = layer->kind == ATTN_NN_LAYER_NORM;
    attn_nn_kernels_of(pass)->normalize(center, y, x, pass->values + layer->weight,
                                        center ? pass->values + layer->bias : NULL, rows,
                                        layer->width);
    return y;
}

/* The moments of a row are found again, from the row: cheaper than to keep and load them. */
void attn_nn_norm_backward(attn_nn_pass *pass, const attn_nn_norm *layer, const attn_nn_real *x,
                           const attn_nn_real *d_y, int64_t rows, attn_nn_real *d_x) {
    if (attn_nn_failed(pass)) return;
    const bool center = layer->kind == ATTN_NN_LAYER_NORM;
    attn_nn_kernels_of(pass)->normalize_back(center, d_x, pass->gradients + layer->weight,
                                             center ? pass->gradients + layer->bias : NULL, x, d_y,
                                             pass->values + layer->weight, rows, layer->width);
}

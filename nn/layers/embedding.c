#include "../nn.h"

#include <math.h>

attn_nn_embedding attn_nn_embedding_make(attn_nn_layout *layout, const char *name,
                                         int64_t vocabulary, int64_t width, double scale) {
    attn_nn_embedding layer = {.vocabulary = vocabulary, .width = width, .scale = scale};
    layer.weight = attn_nn_layout_add(layout, attn_nn_join(name, "weight").text, vocabulary, width,
                                      ATTN_NN_NORMAL, 1 / sqrt((double)width));
    return layer;
}

attn_nn_real *attn_nn_embedding_forward(attn_nn_pass *pass, const attn_nn_embedding *layer,
                                        const int32_t *tokens, int64_t rows) {
    const int64_t width = layer->width;
    const attn_nn_kernels *const k = attn_nn_kernels_of(pass);
    real *const y = attn_nn_take_zeros(pass, rows * width);
    for (int64_t r = 0; r < rows && y != NULL; r++) {
        if (tokens[r] < 0 || tokens[r] >= layer->vocabulary) {
            return attn_nn_fail(pass, ATTN_ERROR_VALUE, "a token lies outside the vocabulary");
        }
        k->add(y + r * width, (real)layer->scale, pass->values + layer->weight + tokens[r] * width,
               width);
    }
    return y;
}

void attn_nn_embedding_backward(attn_nn_pass *pass, const attn_nn_embedding *layer,
                                const int32_t *tokens, int64_t rows, const attn_nn_real *d_y) {
    if (attn_nn_failed(pass)) return;
    const int64_t width = layer->width;
    const attn_nn_kernels *const k = attn_nn_kernels_of(pass);
    for (int64_t r = 0; r < rows; r++) {
        k->add(pass->gradients + layer->weight + tokens[r] * width, (real)layer->scale,
               d_y + r * width, width);
    }
}

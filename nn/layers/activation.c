/* activation.c: what is done to each number by itself: activations and dropout. */
#include "../nn.h"

#include "../noise.h"

attn_nn_real *attn_nn_activation_forward(attn_nn_pass *pass, attn_nn_activation kind,
                                         const attn_nn_real *x, int64_t count) {
    real *const y = attn_nn_take(pass, count);
    if (x == NULL || y == NULL) return NULL;
    attn_nn_kernels_of(pass)->activate(kind, y, x, count);
    return y;
}

void attn_nn_activation_backward(attn_nn_pass *pass, attn_nn_activation kind, const attn_nn_real *x,
                                 attn_nn_real *d, int64_t count) {
    if (!attn_nn_failed(pass)) attn_nn_kernels_of(pass)->slope(kind, d, x, count);
}

uint64_t attn_nn_dropout_forward(attn_nn_pass *pass, double rate, attn_nn_real *x, int64_t count) {
    const uint64_t draw = pass->draws++;
    if (!(rate >= 0 && rate < 1)) {
        attn_nn_fail(pass, ATTN_ERROR_VALUE, "dropout: rate: expected 0 or more and less than 1");
    }
    if (pass->training && rate > 0 && x != NULL && !attn_nn_failed(pass)) {
        attn_nn_kernels_of(pass)->drop(x, count, rate, attn_nn_stream(pass->seed, draw));
    }
    return draw;
}

/* What was dropped has no slope, what was kept that of the factor: the same function again. */
void attn_nn_dropout_backward(attn_nn_pass *pass, double rate, uint64_t draw, attn_nn_real *d_x,
                              int64_t count) {
    if (pass->training && rate > 0 && !attn_nn_failed(pass)) {
        attn_nn_kernels_of(pass)->drop(d_x, count, rate, attn_nn_stream(pass->seed, draw));
    }
}

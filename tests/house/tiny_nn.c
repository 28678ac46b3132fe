/* The least use of libattn_nn: a linear layer of ones adds up its input. */
#include <attn/nn.h>

#include <stdio.h>

int main(void) {
    attn_nn_layout layout = {0};
    const attn_nn_linear layer = attn_nn_linear_make(&layout, "sum", 3, 1, false);
    float values[64] = {1, 1, 1};
    const float x[3] = {1, 2, 3};
    attn_nn_pass pass = {.values = values, .arena = attn_nn_arena_create()};
    const float *const y = attn_nn_linear_forward(&pass, &layer, x, 1);
    const int good = y != NULL && y[0] == 6;
    if (!good) puts(attn_nn_error_message());
    attn_nn_arena_destroy(pass.arena);
    attn_nn_layout_free(&layout);
    return !good;
}

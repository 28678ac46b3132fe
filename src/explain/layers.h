/* layers.h: the weights of several layers, with their residual connections, as rollout and flow take
 * them: A[l] = (1 - residual) W[l] + residual I, each row divided by its sum. */
#ifndef ATTN_EXPLAIN_LAYERS_H
#define ATTN_EXPLAIN_LAYERS_H

#include "attn/attn.h"

typedef struct attn_layers {
    const attn_tensor *layers; /* [count] */
    int64_t count, batch, n;
    double residual;
} attn_layers;

/* ATTN_OK if layers and result keep the rules of attn.h; then `a` is filled in. result is called
 * `name` and has as many rows as the layers, or one. */
attn_status attn_check_layers(const attn_layers *given, const char *name, const attn_tensor *result,
                              bool one_row, attn_layers *a);

/* factor of W[l][i][j] in A[l][i][j], and what the residual connection adds to A[l][i][i] */
typedef struct attn_layer_row {
    double factor, diagonal;
} attn_layer_row;
attn_layer_row attn_layer_row_at(const attn_layers *a, int64_t layer, int64_t b, int64_t i);

#endif

/* rollout.c: attention rollout. R = A[layers - 1] ... A[0] is taken from the left, so that a row of the
 * product so far makes the same row of the next, and one matrix is enough. */
#include <string.h>

#include "api/check.h"
#include "api/context.h"
#include "explain/layers.h"

/* target[j] += times * A[layer][i][j] */
static void add_row(const attn_layers *a, int64_t layer, int64_t b, int64_t i, attn_layer_row row,
                    double times, double *target) {
    const attn_tensor *const t = &a->layers[layer];
    const int64_t at = b * t->stride[0] + i * t->stride[2], step = t->stride[3];
    const double by = times * row.factor;
    if (t->dtype == ATTN_F32) {
        const float *const w = (const float *)t->data + at;
        for (int64_t j = 0; j < a->n; j++) target[j] += by * (double)w[j * step];
    } else {
        const double *const w = (const double *)t->data + at;
        for (int64_t j = 0; j < a->n; j++) target[j] += by * w[j * step];
    }
    target[i] += times * row.diagonal;
}

/* product := product A[layer]; `made` is a row of room */
static void multiply(const attn_layers *a, int64_t layer, int64_t b, const attn_layer_row *rows,
                     double *product, double *made) {
    const size_t bytes = (size_t)a->n * sizeof *made;
    for (int64_t i = 0; i < a->n; i++) {
        double *const row = product + i * a->n;
        memset(made, 0, bytes);
        for (int64_t k = 0; k < a->n; k++) add_row(a, layer, b, k, rows[k], row[k], made);
        memcpy(row, made, bytes);
    }
}

/* The product of a row of the batch. */
static void roll_out(const attn_layers *a, int64_t b, attn_layer_row *rows, double *product,
                     double *made) {
    memset(product, 0, (size_t)(a->n * a->n) * sizeof *product);
    for (int64_t layer = a->count - 1; layer >= 0; layer--) {
        for (int64_t i = 0; i < a->n; i++) rows[i] = attn_layer_row_at(a, layer, b, i);
        if (layer < a->count - 1) {
            multiply(a, layer, b, rows, product, made);
            continue;
        }
        for (int64_t i = 0; i < a->n; i++) add_row(a, layer, b, i, rows[i], 1, product + i * a->n);
    }
}

static void store(const attn_tensor *t, int64_t b, int64_t n, const double *product) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            const int64_t at = b * t->stride[0] + i * t->stride[2] + j * t->stride[3];
            if (t->dtype == ATTN_F32) ((float *)t->data)[at] = (float)product[i * n + j];
            else ((double *)t->data)[at] = product[i * n + j];
        }
    }
}

attn_status attn_rollout(attn_context *context, const attn_tensor *layers, int64_t layer_count,
                         double residual, const attn_tensor *rollout) {
    const attn_layers given = {.layers = layers, .count = layer_count, .residual = residual};
    attn_context *const c = attn_context_or_default(context);
    attn_layers a;
    const attn_status status = attn_check_layers(&given, "rollout", rollout, false, &a);
    if (status != ATTN_OK || a.batch == 0 || a.n == 0) return status;

    /* n * n is no more than 2^56 elements: the layers have as many. */
    const size_t n = (size_t)a.n, bytes = (n + 3) * n * sizeof(double);
    double *const product = attn_scratch_take(c, bytes);
    if (!product) return attn_fail(ATTN_ERROR_MEMORY, "no memory for a rollout (%zu bytes)", bytes);
    double *const made = product + n * n;
    for (int64_t b = 0; b < a.batch; b++) {
        roll_out(&a, b, (attn_layer_row *)(void *)(made + n), product, made);
        store(rollout, b, a.n, product);
    }
    attn_scratch_give(c, product);
    return ATTN_OK;
}

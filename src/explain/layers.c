/* layers.c: see layers.h. */
#include "explain/layers.h"

#include <inttypes.h>
#include <stdio.h>

#include "api/check_parts.h"

static attn_status check_numbers(const attn_layers *given) {
    if (given->layers == NULL) return attn_fail(ATTN_ERROR_NULL, "layers is NULL");
    if (given->count < 1)
        return attn_fail(ATTN_ERROR_VALUE, "layer_count is %" PRId64 ", but must be 1 or more",
                         given->count);
    if (!(given->residual >= 0 && given->residual < 1))
        return attn_fail(ATTN_ERROR_VALUE, "residual is %g, but must be 0 or more, and less than 1",
                         given->residual);
    return ATTN_OK;
}

static attn_size size_of(const attn_tensor *t, int axis, const char *source) {
    return (attn_size){.size = t->shape[axis], .source = source};
}

/* All layers are as the first, and apart from the result, which is in `c` already. */
static attn_status check_layer(attn_checked *c, const attn_layers *given, int64_t l) {
    const attn_tensor *const first = &given->layers[0];
    const attn_size n = size_of(first, 2, "layers[0].shape[2]");
    const attn_size sizes[4] = {size_of(first, 0, "layers[0].shape[0]"), attn_just_one(), n, n};
    char name[40];
    snprintf(name, sizeof name, "layers[%" PRId64 "]", l);
    if (!attn_tensor_present(&given->layers[l]))
        return attn_fail(ATTN_ERROR_NULL, "%s.data is NULL, but every layer must be given", name);
    c->input_count = 0; /* one at a time: there may be any number of them */
    ATTN_TRY(attn_check_input(c, name, &given->layers[l], c->type, sizes));
    return attn_check_aliases(c);
}

attn_status attn_check_layers(const attn_layers *given, const char *name, const attn_tensor *result,
                              bool one_row, attn_layers *a) {
    attn_checked c;
    c.type = ATTN_REALS;
    c.input_count = c.result_count = 0;
    ATTN_TRY(check_numbers(given));
    if (result == NULL || !attn_tensor_present(result))
        return attn_fail(ATTN_ERROR_NULL, "%s is NULL, but must be given", name);
    const attn_tensor *const first = &given->layers[0];
    ATTN_TRY(check_layer(&c, given, 0));
    c.type = 1U << first->dtype;
    const attn_size batch = size_of(first, 0, "layers[0].shape[0]");
    const attn_size n = size_of(first, 2, "layers[0].shape[2]");
    const attn_size sizes[4] = {batch, attn_just_one(), one_row ? attn_just_one() : n, n};
    ATTN_TRY(attn_check_result(&c, name, result, c.type, sizes));
    for (int64_t l = 0; l < given->count; l++) ATTN_TRY(check_layer(&c, given, l));
    *a = *given;
    a->batch = batch.size;
    a->n = n.size;
    return ATTN_OK;
}

attn_layer_row attn_layer_row_at(const attn_layers *a, int64_t layer, int64_t b, int64_t i) {
    double sum = 0;
    for (int64_t j = 0; j < a->n; j++) sum += attn_read_real(&a->layers[layer], b, 0, i, j);
    const double whole = (1 - a->residual) * sum + a->residual;
    if (whole == 0) return (attn_layer_row){0, 0};
    return (attn_layer_row){(1 - a->residual) / whole, a->residual / whole};
}

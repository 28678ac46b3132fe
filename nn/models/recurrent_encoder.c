/* recurrent_encoder.c: bidirectional layers on top of each other (Bahdanau et al. 2015, section 3.2),
 * each direction half as wide, and the way from their last states to the decoder's first. */
#include "recurrent.h"

/* [a; b] side by side, rows of `half` each; and apart again. */
static void join(const real *a, const real *b, int64_t rows, int64_t half, real *both) {
    const size_t size = (size_t)half * sizeof *both;
    for (int64_t r = 0; r < rows; r++) {
        memcpy(both + 2 * r * half, a + r * half, size);
        memcpy(both + (2 * r + 1) * half, b + r * half, size);
    }
}

static void part(const real *both, int64_t rows, int64_t half, int64_t which, real *to) {
    for (int64_t r = 0; r < rows; r++) {
        memcpy(to + r * half, both + (2 * r + which) * half, (size_t)half * sizeof *to);
    }
}

/* y [rows, hidden] of x; last_h and last_c are set. */
static real *encode_layer(const attn_nn_model *model, attn_nn_pass *pass, attn_nn_encoded *to,
                          int64_t l) {
    const int64_t hidden = model->config.hidden, half = hidden / 2, count = to->sentences.count;
    const attn_nn_recurrent *const layers = attn_nn_recurrent_of(model)->encoder + 2 * l;
    real *y[2], *h[2], *c[2];
    for (int d = 0; d < 2; d++) {
        h[d] = attn_nn_take(pass, count * half);
        c[d] = attn_nn_take(pass, count * half);
        y[d] = attn_nn_recurrent_forward(pass, &layers[d], to->layers[l].x, &to->sentences, NULL,
                                         NULL, h[d], c[d], &to->layers[l].saved[d]);
    }
    real *const both = attn_nn_take(pass, to->rows * hidden);
    if (attn_nn_failed(pass)) return NULL;
    join(y[0], y[1], to->rows, half, both);
    join(h[0], h[1], count, half, to->last_h);
    join(c[0], c[1], count, half, to->last_c);
    return both;
}

bool attn_nn_encode(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_sentences *source,
                    attn_nn_encoded *to) {
    const attn_nn_config *const c = &model->config;
    memset(to, 0, sizeof *to);
    to->sentences = *source;
    to->rows = attn_nn_rows(source);
    to->last_h = attn_nn_take(pass, source->count * c->hidden);
    to->last_c = attn_nn_take(pass, source->count * c->hidden);
    to->layers = attn_nn_take_bytes(pass, (size_t)c->encoder_layers * sizeof *to->layers);
    real *x = attn_nn_embedding_forward(pass, &model->embedding, source->tokens, to->rows);
    for (int64_t l = 0; l < c->encoder_layers && !attn_nn_failed(pass); l++) {
        const int64_t width = l == 0 ? c->width : c->hidden;
        to->layers[l].draw = attn_nn_dropout_forward(pass, c->dropout, x, to->rows * width);
        to->layers[l].x = x;
        x = encode_layer(model, pass, to, l);
    }
    to->memory = x;
    return !attn_nn_failed(pass);
}

void attn_nn_encode_back(const attn_nn_model *model, attn_nn_pass *pass,
                         const attn_nn_encoded *from, real *d_memory, const real *d_last_h,
                         const real *d_last_c) {
    const attn_nn_config *const c = &model->config;
    const int64_t half = c->hidden / 2, count = from->sentences.count, rows = from->rows;
    real *const d_y = attn_nn_take(pass, rows * half), *d_x = d_memory;
    real *const d_h = attn_nn_take(pass, count * half), *const d_c =
                                                            attn_nn_take(pass, count * half);
    for (int64_t l = c->encoder_layers - 1; l >= 0 && !attn_nn_failed(pass); l--) {
        const attn_nn_encoded_layer *const at = &from->layers[l];
        const int64_t width = l == 0 ? c->width : c->hidden;
        const real *const d_both = d_x;
        const bool top = l == c->encoder_layers - 1;
        d_x = attn_nn_take_zeros(pass, rows * width);
        for (int d = 0; d < 2 && !attn_nn_failed(pass); d++) {
            part(d_both, rows, half, d, d_y);
            part(d_last_h, count, half, d, d_h);
            part(d_last_c, count, half, d, d_c);
            attn_nn_recurrent_backward(pass, &attn_nn_recurrent_of(model)->encoder[2 * l + d],
                                       at->x, &from->sentences, &at->saved[d], d_y,
                                       top ? d_h : NULL, top ? d_c : NULL, d_x, NULL, NULL);
        }
        attn_nn_dropout_backward(pass, c->dropout, at->draw, d_x, rows * width);
    }
    attn_nn_embedding_backward(pass, &model->embedding, from->sentences.tokens, rows, d_x);
}

static real *bridge(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_linear *by,
                    const real *last, int64_t count) {
    real *const first = attn_nn_linear_forward(pass, by, last, count);
    if (first != NULL) attn_nn_kernels_of(pass)->tanh(first, count * model->config.hidden);
    return first;
}

real *attn_nn_bridge_h(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_encoded *from,
                       int64_t l) {
    return bridge(model, pass, &attn_nn_recurrent_of(model)->bridge_h[l], from->last_h,
                  from->sentences.count);
}

real *attn_nn_bridge_c(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_encoded *from,
                       int64_t l) {
    if (model->config.cell == ATTN_NN_GRU) return NULL;
    return bridge(model, pass, &attn_nn_recurrent_of(model)->bridge_c[l], from->last_c,
                  from->sentences.count);
}

#include "walk.h"

bool attn_nn_walk_make(attn_nn_pass *pass, attn_nn_walk *walk, const attn_nn_recurrent *layer,
                       const attn_nn_steps *steps, const real *h0, const real *c0) {
    memset(walk, 0, sizeof *walk);
    walk->layer = layer, walk->steps = steps;
    walk->h0 = h0, walk->c0 = c0;
    if (steps == NULL) return false;
    walk->gates = attn_nn_take(pass, steps->rows * attn_nn_parts(layer) * layer->hidden);
    walk->cells = attn_nn_take(pass, steps->rows * layer->hidden);
    walk->h = attn_nn_take(pass, steps->rows * layer->hidden);
    return !attn_nn_failed(pass);
}

/* An LSTM's two biases always stand together; a GRU's differ in what the reset gate multiplies. */
const real *attn_nn_walk_bias(attn_nn_pass *pass, const attn_nn_recurrent *layer) {
    const int64_t width = attn_nn_parts(layer) * layer->hidden;
    if (layer->cell == ATTN_NN_GRU) return pass->values + layer->input.bias;
    real *const both = attn_nn_take(pass, width);
    if (both == NULL) return NULL;
    memcpy(both, pass->values + layer->input.bias, (size_t)width * sizeof *both);
    attn_nn_kernels_of(pass)->add(both, 1, pass->values + layer->state.bias, width);
    return both;
}

/* Where a step's states come from. */
static const real *before(const attn_nn_walk *walk, const real *states, const real *first,
                          int64_t t) {
    return t == 0 ? first : states + walk->steps->starts[t - 1] * walk->layer->hidden;
}

/* y [rows, parts hidden] += h W_hh^T. */
static void add_state(const attn_nn_pass *pass, const attn_nn_recurrent *layer, const real *h,
                      int64_t rows, real *y) {
    const int64_t hidden = layer->hidden, width = attn_nn_parts(layer) * hidden;
    if (h == NULL) return;
    const attn_nn_matrix weight = {layer->state.weight, hidden, width, hidden};
    attn_nn_apply(pass, &weight, h, hidden, y, width, rows, true);
}

static void step_lstm(const attn_nn_pass *pass, const attn_nn_recurrent *layer, int64_t rows,
                      const real *h, const real *c, real *gates, real *new_c, real *new_h) {
    add_state(pass, layer, h, rows, gates);
    attn_nn_kernels_of(pass)->lstm(gates, c, new_c, new_h, rows, layer->hidden);
}

/* cells [rows, hidden]: the last part of W_hh h + b_hh, which the way back needs; NULL: not kept. */
static void step_gru(attn_nn_pass *pass, const attn_nn_recurrent *layer, int64_t rows,
                     const real *h, real *gates, real *cells, real *new_h) {
    const int64_t hidden = layer->hidden;
    const size_t mark = attn_nn_mark(pass);
    real *const state = attn_nn_take(pass, rows * 3 * hidden);
    if (state == NULL) return;
    attn_nn_fill_rows(state, pass->values + layer->state.bias, rows, 3 * hidden);
    add_state(pass, layer, h, rows, state);
    attn_nn_kernels_of(pass)->gru(gates, state, h, new_h, rows, hidden);
    for (int64_t r = 0; r < rows && cells != NULL; r++) {
        memcpy(cells + r * hidden, state + (3 * r + 2) * hidden, (size_t)hidden * sizeof *cells);
    }
    attn_nn_release(pass, mark);
}

void attn_nn_walk_step(attn_nn_pass *pass, attn_nn_walk *walk, int64_t t) {
    if (attn_nn_failed(pass)) return;
    const attn_nn_recurrent *const layer = walk->layer;
    const int64_t start = walk->steps->starts[t], rows = attn_nn_step_rows(walk->steps, t);
    const real *const h = before(walk, walk->h, walk->h0, t);
    real *const gates = walk->gates + start * attn_nn_parts(layer) * layer->hidden;
    real *const cells = walk->cells + start * layer->hidden;
    real *const new_h = walk->h + start * layer->hidden;
    if (layer->cell == ATTN_NN_LSTM) {
        step_lstm(pass, layer, rows, h, before(walk, walk->cells, walk->c0, t), gates, cells,
                  new_h);
    } else {
        step_gru(pass, layer, rows, h, gates, cells, new_h);
    }
}

bool attn_nn_walk_turn(attn_nn_pass *pass, attn_nn_walk *walk) {
    const attn_nn_recurrent *const layer = walk->layer;
    const attn_nn_steps *const steps = walk->steps;
    if (attn_nn_failed(pass)) return false;
    const int64_t size = steps->rows * attn_nn_parts(layer) * layer->hidden;
    walk->d_gates = attn_nn_take(pass, size);
    walk->d_state = layer->cell == ATTN_NN_LSTM ? walk->d_gates : attn_nn_take(pass, size);
    walk->d_h = attn_nn_take_zeros(pass, steps->count * layer->hidden);
    walk->d_c = attn_nn_take_zeros(pass, steps->count * layer->hidden);
    return !attn_nn_failed(pass);
}

void attn_nn_walk_back(attn_nn_pass *pass, attn_nn_walk *walk, int64_t t, const real *d_y) {
    if (attn_nn_failed(pass)) return;
    const attn_nn_recurrent *const layer = walk->layer;
    const attn_nn_kernels *const k = attn_nn_kernels_of(pass);
    const int64_t hidden = layer->hidden, width = attn_nn_parts(layer) * hidden;
    const int64_t start = walk->steps->starts[t], rows = attn_nn_step_rows(walk->steps, t);
    const real *const gates = walk->gates + start * width;
    const real *const cells = walk->cells + start * hidden;
    real *const d_gates = walk->d_gates + start * width;
    real *const d_state = walk->d_state + start * width;
    k->add(walk->d_h, 1, d_y, rows * hidden);
    real keep = 0;
    if (layer->cell == ATTN_NN_LSTM) {
        k->lstm_back(d_gates, gates, before(walk, walk->cells, walk->c0, t), cells, walk->d_h,
                     walk->d_c, rows, hidden);
    } else {
        k->gru_back(d_gates, d_state, gates, cells, before(walk, walk->h, walk->h0, t), walk->d_h,
                    rows, hidden);
        keep = 1;
    }
    attn_nn_multiply(d_state, width, pass->values + layer->state.weight, hidden, walk->d_h, hidden,
                     rows, hidden, width, keep);
}

void attn_nn_walk_learn(attn_nn_pass *pass, attn_nn_walk *walk) {
    const attn_nn_recurrent *const layer = walk->layer;
    const attn_nn_kernels *const k = attn_nn_kernels_of(pass);
    const int64_t hidden = layer->hidden, width = attn_nn_parts(layer) * hidden;
    const int64_t rows = walk->steps->rows;
    const size_t mark = attn_nn_mark(pass);
    real *const h = attn_nn_take(pass, rows * hidden);
    if (h == NULL) return;
    attn_nn_step_before(walk->steps, walk->h, walk->h0, hidden, h);
    attn_nn_multiply_at(walk->d_state, width, h, hidden, pass->gradients + layer->state.weight,
                        hidden, width, hidden, rows, 1);
    k->add_columns(pass->gradients + layer->state.bias, walk->d_state, rows, width);
    k->add_columns(pass->gradients + layer->input.bias, walk->d_gates, rows, width);
    attn_nn_release(pass, mark);
}

void attn_nn_recurrent_step(attn_nn_pass *pass, const attn_nn_recurrent *layer, const real *x,
                            int64_t rows, real *h, real *c) {
    const int64_t hidden = layer->hidden, width = attn_nn_parts(layer) * hidden;
    const size_t mark = attn_nn_mark(pass);
    const real *const bias = attn_nn_walk_bias(pass, layer);
    real *const gates = attn_nn_take(pass, rows * width);
    if (attn_nn_failed(pass) || bias == NULL) return;
    attn_nn_fill_rows(gates, bias, rows, width);
    const attn_nn_matrix weight = {layer->input.weight, layer->in, width, layer->in};
    attn_nn_apply(pass, &weight, x, layer->in, gates, width, rows, true);
    if (layer->cell == ATTN_NN_LSTM) {
        step_lstm(pass, layer, rows, h, c, gates, c, h);
    } else {
        step_gru(pass, layer, rows, h, gates, NULL, h);
    }
    attn_nn_release(pass, mark);
}

/* recurrent.c: LSTM and GRU layers over packed sentences of any order. Everything that does not depend
 * on the step before is one product over all rows: W_ih x on the way forward; d_x and the gradients of
 * both weights on the way back. A step is one product with W_hh, and the cell. */
#include "walk.h"

attn_nn_recurrent attn_nn_recurrent_make(attn_nn_layout *layout, const char *name,
                                         attn_nn_cell cell, int64_t in, int64_t hidden,
                                         bool reversed) {
    attn_nn_recurrent layer = {.cell = cell, .in = in, .hidden = hidden, .reversed = reversed};
    const int64_t width = attn_nn_parts(&layer) * hidden;
    const double scale = 1 / __builtin_sqrt((double)hidden); /* PyTorch's */
    layer.input.in = in, layer.input.out = width;
    layer.state.in = hidden, layer.state.out = width;
    layer.input.weight = attn_nn_layout_add(layout, attn_nn_join(name, "weight_ih").text, width, in,
                                            ATTN_NN_UNIFORM, scale);
    layer.state.weight = attn_nn_layout_add(layout, attn_nn_join(name, "weight_hh").text, width,
                                            hidden, ATTN_NN_UNIFORM, scale);
    layer.input.bias = attn_nn_layout_add(layout, attn_nn_join(name, "bias_ih").text, 1, width,
                                          ATTN_NN_UNIFORM, scale);
    layer.state.bias = attn_nn_layout_add(layout, attn_nn_join(name, "bias_hh").text, 1, width,
                                          ATTN_NN_UNIFORM, scale);
    return layer;
}

/* x [count, width] in the order of sentences, in that of steps; NULL stays NULL. */
static real *in_order(attn_nn_pass *pass, const attn_nn_steps *steps, const real *x,
                      int64_t width) {
    if (x == NULL) return NULL;
    real *const y = attn_nn_take(pass, steps->count * width);
    if (y != NULL) attn_nn_gather(steps->order, x, steps->count, width, y);
    return y;
}

/* Each sentence's last row of x [rows, width], which is in the order of steps; of those without rows,
 * `first`'s, or 0. */
static void take_last(const attn_nn_steps *steps, const real *x, const real *first, int64_t width,
                      real *last) {
    const size_t size = (size_t)width * sizeof *last;
    for (int64_t i = 0; i < steps->count; i++) {
        real *const to = last + steps->order[i] * width;
        if (first != NULL) {
            memcpy(to, first + i * width, size);
        } else {
            memset(to, 0, size);
        }
    }
    for (int64_t t = 0; t < steps->steps; t++) {
        attn_nn_scatter(steps->order, x + steps->starts[t] * width, attn_nn_step_rows(steps, t),
                        width, last);
    }
}

real *attn_nn_recurrent_forward(attn_nn_pass *pass, const attn_nn_recurrent *layer, const real *x,
                                const attn_nn_sentences *sentences, const real *h0, const real *c0,
                                real *last_h, real *last_c, attn_nn_recurrent_saved *saved) {
    const int64_t hidden = layer->hidden, width = attn_nn_parts(layer) * hidden;
    attn_nn_steps *const steps = attn_nn_steps_make(pass, sentences, layer->reversed);
    if (steps == NULL || x == NULL) return NULL;
    real *const y = attn_nn_take(pass, steps->rows * hidden);
    attn_nn_walk walk;
    if (!attn_nn_walk_make(pass, &walk, layer, steps, in_order(pass, steps, h0, hidden),
                           in_order(pass, steps, c0, hidden))) {
        return NULL;
    }
    const size_t mark = attn_nn_mark(pass);
    real *const x_steps = attn_nn_take(pass, steps->rows * layer->in);
    const real *const bias = attn_nn_walk_bias(pass, layer);
    if (attn_nn_failed(pass)) return NULL;
    attn_nn_gather(steps->from, x, steps->rows, layer->in, x_steps);
    attn_nn_fill_rows(walk.gates, bias, steps->rows, width);
    const attn_nn_matrix weight = {layer->input.weight, layer->in, width, layer->in};
    attn_nn_apply(pass, &weight, x_steps, layer->in, walk.gates, width, steps->rows, true);
    for (int64_t t = 0; t < steps->steps; t++) attn_nn_walk_step(pass, &walk, t);
    attn_nn_release(pass, mark);
    if (attn_nn_failed(pass)) return NULL;
    attn_nn_scatter(steps->from, walk.h, steps->rows, hidden, y);
    if (last_h != NULL) take_last(steps, walk.h, walk.h0, hidden, last_h);
    if (last_c != NULL) take_last(steps, walk.cells, walk.c0, hidden, last_c);
    if (saved != NULL) {
        saved->steps = steps;
        saved->gates = walk.gates, saved->cells = walk.cells, saved->h = walk.h;
        saved->h0 = walk.h0, saved->c0 = walk.c0;
    }
    return y;
}

/* The gradients of both inputs' weights, and of x. */
static void finish(attn_nn_pass *pass, attn_nn_walk *walk, const real *x, real *d_x) {
    const attn_nn_recurrent *const layer = walk->layer;
    const attn_nn_steps *const steps = walk->steps;
    const int64_t width = attn_nn_parts(layer) * layer->hidden;
    real *const x_steps = attn_nn_take(pass, steps->rows * layer->in);
    if (attn_nn_failed(pass)) return;
    attn_nn_gather(steps->from, x, steps->rows, layer->in, x_steps);
    attn_nn_walk_learn(pass, walk);
    attn_nn_multiply_at(walk->d_gates, width, x_steps, layer->in,
                        pass->gradients + layer->input.weight, layer->in, width, layer->in,
                        steps->rows, 1);
    if (d_x == NULL) return;
    attn_nn_multiply(walk->d_gates, width, pass->values + layer->input.weight, layer->in, x_steps,
                     layer->in, steps->rows, layer->in, width, 0);
    attn_nn_scatter_add(attn_nn_kernels_of(pass), steps->from, x_steps, steps->rows, layer->in,
                        d_x);
}

void attn_nn_recurrent_backward(attn_nn_pass *pass, const attn_nn_recurrent *layer, const real *x,
                                const attn_nn_sentences *sentences,
                                const attn_nn_recurrent_saved *saved, const real *d_y,
                                const real *d_last_h, const real *d_last_c, real *d_x, real *d_h0,
                                real *d_c0) {
    (void)sentences;
    if (attn_nn_failed(pass)) return;
    const int64_t hidden = layer->hidden;
    const attn_nn_steps *const steps = saved->steps;
    const attn_nn_kernels *const k = attn_nn_kernels_of(pass);
    const size_t mark = attn_nn_mark(pass);
    attn_nn_walk walk = {.layer = layer,
                         .steps = steps,
                         .h0 = saved->h0,
                         .c0 = saved->c0,
                         .gates = saved->gates,
                         .cells = saved->cells,
                         .h = saved->h};
    real *const d_steps = attn_nn_take(pass, steps->rows * hidden);
    if (!attn_nn_walk_turn(pass, &walk)) return;
    attn_nn_gather(steps->from, d_y, steps->rows, hidden, d_steps);
    if (d_last_h != NULL) attn_nn_gather(steps->order, d_last_h, steps->count, hidden, walk.d_h);
    if (d_last_c != NULL) attn_nn_gather(steps->order, d_last_c, steps->count, hidden, walk.d_c);
    for (int64_t t = steps->steps - 1; t >= 0; t--) {
        attn_nn_walk_back(pass, &walk, t, d_steps + steps->starts[t] * hidden);
    }
    finish(pass, &walk, x, d_x);
    if (d_h0 != NULL) attn_nn_scatter_add(k, steps->order, walk.d_h, steps->count, hidden, d_h0);
    if (d_c0 != NULL) attn_nn_scatter_add(k, steps->order, walk.d_c, steps->count, hidden, d_c0);
    attn_nn_release(pass, mark);
}

/* walk.h: a recurrent layer step by step, forward and back: what the layer and a decoder that feeds its
 * output back share. All arrays are in the order of steps (steps.h). */
#ifndef NN_LAYERS_WALK_H
#define NN_LAYERS_WALK_H

#include "steps.h"

typedef struct attn_nn_walk {
    const attn_nn_recurrent *layer;
    const attn_nn_steps *steps;
    const real *h0, *c0; /* [count, hidden]; NULL: 0 */

    real *gates; /* [rows, parts hidden]: the caller fills in W_ih x; a step makes gates of it */
    real *cells; /* [rows, hidden]: c; GRU: W_hn h + b_hn */
    real *h;     /* [rows, hidden] */

    /* Back. d_state is of W_hh h + b_hh: an LSTM's is that of its gates. */
    real *d_gates, *d_state; /* [rows, parts hidden] */
    real *d_h, *d_c;         /* [count, hidden]: of the states that the next step to go back made */
} attn_nn_walk;

/* LSTM: i, f, g, o; GRU: r, z, n. */
static inline int64_t attn_nn_parts(const attn_nn_recurrent *layer) {
    return layer->cell == ATTN_NN_LSTM ? 4 : 3;
}

/* Takes gates, cells and h. The biases are those that belong in gates beside W_ih x. */
bool attn_nn_walk_make(attn_nn_pass *pass, attn_nn_walk *walk, const attn_nn_recurrent *layer,
                       const attn_nn_steps *steps, const real *h0, const real *c0);
const real *attn_nn_walk_bias(attn_nn_pass *pass, const attn_nn_recurrent *layer);
void attn_nn_walk_step(attn_nn_pass *pass, attn_nn_walk *walk, int64_t t);

/* Takes the rest; d_h and d_c are then what flows into the last states, 0 at first. Steps go back from
 * the last to the first; d_y [rows of t, hidden]: what flows into the h of step t besides. */
bool attn_nn_walk_turn(attn_nn_pass *pass, attn_nn_walk *walk);
void attn_nn_walk_back(attn_nn_pass *pass, attn_nn_walk *walk, int64_t t, const real *d_y);

/* After the last step back: adds to the gradients of weight_hh, bias_hh and bias_ih. */
void attn_nn_walk_learn(attn_nn_pass *pass, attn_nn_walk *walk);

#endif

/* recurrent.h: the parts of a recurrent sequence-to-sequence model. */
#ifndef NN_MODELS_RECURRENT_H
#define NN_MODELS_RECURRENT_H

#include "look.h"

#include "../layers/walk.h"

/* Without attention (Cho et al. 2014), the encoder's last states are what every row sees of the source:
 * they stand wherever the context does, and join the decoder's input in the place of what is fed. */
typedef struct attn_nn_recurrent_layers {
    attn_nn_recurrent *encoder; /* [2 encoder_layers]: forward and backward, layer by layer */
    attn_nn_recurrent *decoder; /* [decoder_layers] */
    attn_nn_linear *bridge_h,
        *bridge_c;             /* [decoder_layers]: their first states, from the last ones */
    attn_nn_columns said, fed; /* of decoder[0].input: the token's, and what is fed */
    attn_nn_looking look;
    attn_nn_columns mix_context,
        mix_state; /* states = tanh(W [context; h] + b): Luong et al. 2015, (5) */
} attn_nn_recurrent_layers;

static inline const attn_nn_recurrent_layers *attn_nn_recurrent_of(const attn_nn_model *model) {
    return model->layers;
}

static inline bool attn_nn_looks(const attn_nn_model *model) {
    return model->config.look != ATTN_NN_LOOK_NONE;
}

/* --- The encoder --------------------------------------------------------------------------------- */

typedef struct attn_nn_encoded_layer {
    const real *x;                    /* [rows, in] */
    attn_nn_recurrent_saved saved[2]; /* forward, backward */
    uint64_t draw;                    /* of the dropout of x */
} attn_nn_encoded_layer;

/* [rows, hidden] of its last layer, and each sentence's last states [count, hidden], both directions'
 * side by side. */
typedef struct attn_nn_encoded {
    attn_nn_sentences sentences;
    int64_t rows;
    real *memory, *last_h, *last_c;
    attn_nn_encoded_layer *layers;
} attn_nn_encoded;

bool attn_nn_encode(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_sentences *source,
                    attn_nn_encoded *to);

/* d_memory is used up. */
void attn_nn_encode_back(const attn_nn_model *model, attn_nn_pass *pass,
                         const attn_nn_encoded *from, real *d_memory, const real *d_last_h,
                         const real *d_last_c);

/* Where decoder layer l starts: tanh of a linear layer of the last states. [count, hidden]; c of a GRU
 * is NULL. */
real *attn_nn_bridge_h(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_encoded *from,
                       int64_t l);
real *attn_nn_bridge_c(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_encoded *from,
                       int64_t l);

/* --- The decoder on a batch: all in the order of steps, which is that of the sentences too ----------- */

typedef struct attn_nn_unroll {
    const attn_nn_model *model;
    attn_nn_pass *pass;
    const attn_nn_batch *batch;
    bool
        by_step; /* a step needs what the last one ended with; else each part walks all steps at once */
    bool drops;
    attn_nn_encoded source;
    attn_nn_scene scene;
    attn_nn_steps *steps;
    int64_t *ones; /* [count + 1]: 0, 1, 2, ...: a row a sentence */
    attn_nn_batch
        sorted; /* the batch, its rows in the order of steps; `starts` are of the old one */
    uint64_t said_draw;
    real *embedded;      /* [rows, width] */
    attn_nn_walk *walks; /* [decoder_layers] */
    real **between;      /* [decoder_layers]: what a layer gives to the next: its h, dropped */
    uint64_t *draws;     /* [steps, decoder_layers]: of the dropout of that, and, last, of states */

    real *query, *context, *lse; /* [rows, .]: see attn_nn_glance */
    real *weights;               /* [heads, rows, longest]; NULL unless wanted */
    real *previous;              /* [count, steps, longest]; NULL unless the look remembers */
    real *mixed, *states;        /* [rows, width]: before and after dropout */

    real *d_states, *d_context, *d_query; /* as what they are of */
    real *d_weights;                      /* NULL: nothing flows into weights */
    real *later;                          /* [count, longest]: what later steps want of weights */
    real **d_h;                           /* [decoder_layers]: [rows, hidden] */
    double coverage; /* the coverage loss's factor, with the objective's scale */
} attn_nn_unroll;

/* Forward, up to states (weights too if wanted). */
bool attn_nn_unroll_forward(attn_nn_unroll *u, const attn_nn_model *model, attn_nn_pass *pass,
                            const attn_nn_batch *batch, bool want_weights);

/* Takes d_states and, if the weights were wanted, d_weights: both 0. */
bool attn_nn_unroll_turn(attn_nn_unroll *u);

/* Back from d_states and d_weights to all parameters. */
void attn_nn_unroll_back(attn_nn_unroll *u);

/* What the weights have to do with the loss: guided alignment and coverage. Adds to loss->sum, and, if
 * the pass has gradients, to d_weights. */
void attn_nn_weights_loss(attn_nn_unroll *u, const attn_nn_objective *objective,
                          attn_nn_loss *loss);

/* --- The decoder, token by token: see attn_nn_model_family ---------------------------------------------------- */

bool attn_nn_recurrent_decoder_open(attn_nn_decoder *decoder);
const real *attn_nn_recurrent_decoder_step(attn_nn_decoder *decoder, real *x, real *weights);
bool attn_nn_recurrent_decoder_reorder(attn_nn_decoder *decoder, const int64_t *from, int64_t rows);

#endif

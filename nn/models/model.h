/* model.h: what the two families of models are to the rest of the library. */
#ifndef NN_MODELS_MODEL_H
#define NN_MODELS_MODEL_H

#include "../nn.h"

struct attn_nn_model;

/* What a family does; see the functions of attn/nn.h of these names. */
typedef struct attn_nn_model_family {
    /* Adds parameters to model->layout by model->config, which is filled in and checked, and makes
     * model->layers (calloc; freed with the model). */
    attn_status (*build)(attn_nn_model *model);
    void (*loss)(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_batch *batch,
                 const attn_nn_objective *objective, attn_nn_loss *loss);
    real *(*weights)(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_batch *batch,
                     int64_t layer, int64_t *heads, int64_t *longest);

    /* A decoder's own part, decoder->state, from the pass's arena. step turns the embeddings x [rows,
     * width] of what was said, which it may change, into the states [rows, width] that the output layer
     * is given. sentences[r] is what row r translates; `from` as in attn_nn_decoder_reorder, before
     * decoder->rows and sentences change. */
    bool (*open)(attn_nn_decoder *decoder);
    const real *(*step)(attn_nn_decoder *decoder, real *x, real *weights);
    bool (*reorder)(attn_nn_decoder *decoder, const int64_t *from, int64_t rows);
    void (*close)(attn_nn_decoder *decoder); /* frees what is not in the arena; NULL: nothing */
} attn_nn_model_family;

extern const attn_nn_model_family attn_nn_transformer_family, attn_nn_recurrent_family;

struct attn_nn_model {
    attn_nn_config config;
    attn_nn_layout layout;
    const attn_nn_model_family *family;
    void *layers; /* the family's */
    attn_nn_embedding embedding;
    attn_nn_linear output; /* its weight is the embedding's if tied */
    attn_nn_linear copy;   /* of config.copy: from a state to its gate */
};

struct attn_nn_decoder {
    const attn_nn_model *model;
    attn_nn_pass *pass;
    attn_nn_sentences source;
    int64_t longest; /* source sentence */
    int64_t max_rows, rows;
    int64_t *sentences; /* [max_rows] */
    int64_t said;       /* tokens so far: the position of the next */
    void *state;        /* the family's; what a step takes of the arena, it gives back */
};

/* The alignment that a step shows: the mean [rows, longest] of the first config.align_heads of weights
 * [heads, rows, longest]. */
void attn_nn_mean_of_heads(const attn_nn_decoder *decoder, const real *weights, int64_t heads,
                           real *mean);

/* From the states that a decoder ends with to the loss: logits, cross-entropy, and, if the pass has
 * gradients, back to d_states [rows, width], which is added to. In stretches of rows, so that logits of
 * a whole batch never exist. `from`: see copy.h; NULL unless config.copy. */
struct attn_nn_source_weights;
void attn_nn_predict(const attn_nn_model *model, attn_nn_pass *pass, const real *states,
                     const attn_nn_batch *batch, const attn_nn_objective *objective,
                     const struct attn_nn_source_weights *from, real *d_states, attn_nn_loss *loss);

/* Guided alignment (Chen et al. 2016), from weights [heads, rows, longest] of which the first
 * config.align_heads count: adds to `loss`
 *     -guide * the mean over a row's guide keys of log(mean over heads of its weights)
 * and sets d_weights, of the same shape, to the gradients, times objective->scale. Nothing, and NULL,
 * if the batch has no guide. */
real *attn_nn_guide(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_batch *batch,
                    const attn_nn_objective *objective, const real *weights, int64_t heads,
                    int64_t longest, attn_nn_loss *loss);

#endif

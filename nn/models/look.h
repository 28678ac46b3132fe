/* look.h: how a recurrent decoder looks at the source, through attn_forward. What depends on the source
 * alone (keys, values) is made once for each sentence:
 *
 *     dot         h . m                            query h, key m: the source's row itself
 *     general     h . (W m)                        key W m
 *     concat      v . tanh(W_q h + W_k m)          query W_q h, key W_k m; W = [W_q W_k] is one matrix
 *     additive    v . tanh(W_q h + W_k m + b)      query W_q h, key W_k m + b
 *     location    v . tanh(W_q h + W_k m + b + U (F * previous weights))
 *     multi-head  (W_q h) . (W_k m) / sqrt(width of a head), and W_v m for values
 *
 * Coverage: v . tanh(... + u sum of all weights so far), for those with a v. */
#ifndef NN_MODELS_LOOK_H
#define NN_MODELS_LOOK_H

#include "model.h"

#include "../layers/columns.h"

typedef struct attn_nn_looking {
    attn_nn_look kind;
    bool coverage;
    int64_t heads, hidden;
    int64_t width;                     /* of all heads' queries, or keys */
    attn_nn_columns query, key, value; /* out 0: as they are */
    int64_t weight;                    /* v */
    int64_t filters, features;         /* F [channels, window], U [width, channels] */
    int64_t channels, window;          /* 0: no location; window 1: F is 1 */
} attn_nn_looking;

attn_nn_looking attn_nn_look_make(attn_nn_layout *layout, const attn_nn_config *config);

/* What is looked at. Rows are packed. */
typedef struct attn_nn_scene {
    attn_nn_sentences sentences;
    int64_t rows, longest;
    const real *memory;        /* [rows, hidden] */
    const real *keys, *values; /* [rows, width], [rows, hidden] */
} attn_nn_scene;

/* Makes keys and values of memory. */
void attn_nn_look_prepare(attn_nn_pass *pass, const attn_nn_looking *look, attn_nn_scene *scene);

/* Rows that look, packed by sentence: of the first `sentences` of the scene. A row of previous, what
 * earlier steps looked at, is that of (sentence, row within it), [longest] each, with strides. */
typedef struct attn_nn_glance {
    int64_t sentences;
    const int64_t *starts; /* [sentences + 1] */
    const real *query;     /* [rows, width] */
    real *context;         /* [rows, hidden] */
    real *lse;             /* [rows, heads] */
    real *weights;         /* [heads, rows, longest], heads a stride apart; NULL: not wanted */
    int64_t weights_head;
    const real *previous;
    int64_t previous_sentence, previous_row,
        previous_rows; /* strides; rows of a sentence at most */
} attn_nn_glance;

/* Whether `previous` joins the scores. */
static inline bool attn_nn_look_remembers(const attn_nn_looking *look) {
    return look->channels > 0;
}

void attn_nn_look_forward(attn_nn_pass *pass, const attn_nn_looking *look,
                          const attn_nn_scene *scene, const attn_nn_glance *glance);

/* What flows back: in, context and weights (NULL: nothing); out, each if it has a place, where it is set
 * (the parameters' gradients: added to, if `learn`). */
typedef struct attn_nn_glance_back {
    const real *d_context, *d_weights;
    real *d_query, *d_keys, *d_values;
    real *d_previous; /* [sentences, longest]: of one row a sentence */
    bool learn;
} attn_nn_glance_back;

void attn_nn_look_back(attn_nn_pass *pass, const attn_nn_looking *look, const attn_nn_scene *scene,
                       const attn_nn_glance *glance, const attn_nn_glance_back *back);

/* From the gradients of keys and values to those of memory, which is added to, and of what made them. */
void attn_nn_look_finish(attn_nn_pass *pass, const attn_nn_looking *look,
                         const attn_nn_scene *scene, const real *d_keys, const real *d_values,
                         real *d_memory);

#endif

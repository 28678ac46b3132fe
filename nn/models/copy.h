/* copy.h: words of the source among those that may come next (the pointer-generator: See et al. 2017). */
#ifndef NN_MODELS_COPY_H
#define NN_MODELS_COPY_H

#include "model.h"

/* What rows may copy: the source's tokens, with the alignment's weights. */
typedef struct attn_nn_source_weights {
    const attn_nn_sentences *source;
    const int64_t *sentence; /* [rows]: which of the source's each row has */
    const real *weights;     /* [heads, rows, longest]; the first `taught` count */
    real *d_weights;         /* of that shape, added to; NULL: no gradients are wanted */
    int64_t taught, longest;
} attn_nn_source_weights;

/* A pass's copying, made of the decoder's states [rows, width]. */
typedef struct attn_nn_copying {
    const attn_nn_source_weights *from;
    int64_t rows;
    const int64_t *first; /* [source rows]: where in its sentence a token stands first */
    const real *gate;     /* [rows]: t of g = sigmoid(t) */
    real *d_gate;         /* NULL: no gradients */
    double *mass, *log_p, *generated; /* [longest]: of one row */
} attn_nn_copying;

bool attn_nn_copy_begin(const attn_nn_model *model, attn_nn_pass *pass,
                        const attn_nn_source_weights *from, const real *states, int64_t rows,
                        attn_nn_copying *copying);

/* As attn_nn_cross_entropy, of rows row .. row + count - 1; gradients go to logits, gate and weights. */
void attn_nn_copy_cross_entropy(attn_nn_pass *pass, attn_nn_copying *copying, real *logits,
                                int64_t vocabulary, const int32_t *labels, int64_t row,
                                int64_t count, const attn_nn_objective *objective,
                                attn_nn_loss *loss);

/* From the gate to the states, which are added to, and to what made it of them. */
void attn_nn_copy_end(const attn_nn_model *model, attn_nn_pass *pass,
                      const attn_nn_copying *copying, const real *states, real *d_states);

/* Logits of row r become the logarithms of the probabilities. */
void attn_nn_copy_log_p(attn_nn_pass *pass, attn_nn_copying *copying, real *logits,
                        int64_t vocabulary, int64_t r);

#endif

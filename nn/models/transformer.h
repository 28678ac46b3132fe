/* transformer.h: the parts of the Transformer (Vaswani et al. 2017) that its files share. */
#ifndef NN_MODELS_TRANSFORMER_H
#define NN_MODELS_TRANSFORMER_H

#include "model.h"

/* What stands between two additions to the residual stream x:
 *     pre-norm    x + dropout(f(norm(x)))
 *     post-norm   norm(x + dropout(f(x)))  */
typedef struct attn_nn_sublayer_saved {
    const real *x;     /* [rows, width] */
    const real *inner; /* what f was given */
    const real *sum;   /* x + dropout(f(inner)) */
    uint64_t draw;
} attn_nn_sublayer_saved;

typedef struct attn_nn_block {
    attn_nn_norm norm_self, norm_cross, norm_feed;
    attn_nn_attention self, cross; /* encoders have no cross */
    attn_nn_linear up, down;
} attn_nn_block;

typedef struct attn_nn_block_saved {
    attn_nn_sublayer_saved self, cross, feed;
    attn_nn_attention_saved self_heads, cross_heads;
    const real *up, *active; /* [rows, feed_forward]: before and after the activation */
    uint64_t active_draw;
} attn_nn_block_saved;

typedef struct attn_nn_transformer_layers {
    attn_nn_block *encoder,
        *decoder; /* [encoder_layers], [decoder_layers], in this block of memory */
    attn_nn_norm encoder_norm, decoder_norm; /* at the end, if pre-norm */
    int64_t positions;                       /* LEARNED: offset of [max_length, width] */
} attn_nn_transformer_layers;

/* A block's way forward and back; memory NULL: an encoder's. d [rows, width] is the gradient of the
 * block's end and becomes that of its beginning. */
real *attn_nn_block_forward(attn_nn_pass *pass, const attn_nn_config *config,
                            const attn_nn_block *block, const real *x,
                            const attn_nn_sentences *rows, const real *memory,
                            const attn_nn_sentences *memory_rows, bool want_weights,
                            attn_nn_block_saved *saved);
real *attn_nn_block_backward(attn_nn_pass *pass, const attn_nn_config *config,
                             const attn_nn_block *block, const attn_nn_sentences *rows,
                             const real *memory, const attn_nn_sentences *memory_rows,
                             const attn_nn_block_saved *saved, real *d, const real *d_weights,
                             real *d_memory);

/* f's input, and what becomes of its output (which is changed in place). */
const real *attn_nn_sublayer_begin(attn_nn_pass *pass, const attn_nn_config *config,
                                   const attn_nn_norm *norm, const real *x, int64_t rows,
                                   attn_nn_sublayer_saved *saved);
real *attn_nn_sublayer_end(attn_nn_pass *pass, const attn_nn_config *config,
                           const attn_nn_norm *norm, real *y, int64_t rows,
                           attn_nn_sublayer_saved *saved);

real *attn_nn_feed_forward(attn_nn_pass *pass, const attn_nn_config *config,
                           const attn_nn_block *block, const real *x, int64_t rows,
                           attn_nn_block_saved *saved);

/* x [rows, width] += the positions of the rows within their sentences; or one position for all. */
void attn_nn_add_positions(const attn_nn_model *model, attn_nn_pass *pass, real *x,
                           const attn_nn_sentences *sentences);
void attn_nn_add_position(const attn_nn_model *model, attn_nn_pass *pass, real *row,
                          int64_t position);

/* The encoder, without anything kept for a way back. */
real *attn_nn_transformer_encode(const attn_nn_model *model, attn_nn_pass *pass,
                                 const attn_nn_sentences *source);

bool attn_nn_transformer_decoder_open(attn_nn_decoder *decoder);
const real *attn_nn_transformer_decoder_step(attn_nn_decoder *decoder, real *x, real *weights);
bool attn_nn_transformer_decoder_reorder(attn_nn_decoder *decoder, const int64_t *from,
                                         int64_t rows);
void attn_nn_transformer_decoder_close(attn_nn_decoder *decoder);

#endif

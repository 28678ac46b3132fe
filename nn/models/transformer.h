/* transformer.h: the parts of the Transformer (Vaswani et al. 2017) that its files share. */
#ifndef NN_MODELS_TRANSFORMER_H
#define NN_MODELS_TRANSFORMER_H

#include "attn/transformer.h"

#include "model.h"

typedef struct attn_nn_transformer_layers {
    attn_nn_stack encoder, decoder;
    attn_nn_norm encoder_norm, decoder_norm; /* at the end, if pre-norm */
    attn_nn_positional positions;
    attn_nn_block blocks[]; /* the encoder's, then the decoder's */
} attn_nn_transformer_layers;

/* The encoder, without anything kept for a way back. */
const real *attn_nn_transformer_encode(const attn_nn_model *model, attn_nn_pass *pass,
                                       const attn_nn_sentences *source);

bool attn_nn_transformer_decoder_open(attn_nn_decoder *decoder);
const real *attn_nn_transformer_decoder_step(attn_nn_decoder *decoder, real *x, real *weights);
bool attn_nn_transformer_decoder_reorder(attn_nn_decoder *decoder, const int64_t *from,
                                         int64_t rows);
void attn_nn_transformer_decoder_close(attn_nn_decoder *decoder);

#endif

#include "transformer.h"

#include "copy.h"

#include <stdlib.h>

/* --- Parameters ----------------------------------------------------------------------------------- */

/* T5's buckets (Raffel et al. 2020). */
enum { RELATIVE_BUCKETS = 32 };
static const double rotary_base = 10000;

/* "encoder.layers.0", ... or "decoder.layers.0", ..., and the stack of them. */
static attn_status make_stack(attn_nn_model *model, bool decoder) {
    const attn_nn_config *const c = &model->config;
    attn_nn_transformer_layers *const layers = model->layers;
    const attn_nn_block_options options = {
        .width = c->width,
        .heads = c->heads,
        .feed_forward = c->feed_forward,
        .norm = c->norm,
        .post_norm = c->post_norm,
        .activation = c->activation,
        .causal = decoder,
        .cross = decoder,
        .rotary_base = c->positions == ATTN_NN_ROTARY ? rotary_base : 0,
        .relative = c->positions == ATTN_NN_RELATIVE ? RELATIVE_BUCKETS : 0,
        .dropout = c->dropout,
        .attention_dropout = c->attention_dropout,
        .activation_dropout = c->activation_dropout,
    };
    const int64_t count = decoder ? c->decoder_layers : c->encoder_layers;
    attn_nn_block *const blocks = layers->blocks + (decoder ? c->encoder_layers : 0);
    for (int64_t i = 0; i < count; i++) {
        const attn_nn_name name = attn_nn_join_number(decoder ? "decoder" : "encoder", "layers", i);
        const attn_status status =
            attn_nn_block_make(&model->layout, name.text, &options, &blocks[i]);
        if (status != ATTN_OK) return status;
    }
    const attn_nn_norm *const norm = decoder ? &layers->decoder_norm : &layers->encoder_norm;
    *(decoder ? &layers->decoder : &layers->encoder) =
        (attn_nn_stack){blocks, count, c->post_norm ? NULL : norm};
    return ATTN_OK;
}

static attn_status build(attn_nn_model *model) {
    const attn_nn_config *const c = &model->config;
    attn_nn_layout *const layout = &model->layout;
    const size_t blocks = (size_t)(c->encoder_layers + c->decoder_layers);
    attn_nn_transformer_layers *const layers =
        calloc(1, sizeof *layers + blocks * sizeof *layers->blocks);
    if (layers == NULL) return attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
    model->layers = layers;
    attn_status status = make_stack(model, false);
    if (status == ATTN_OK) status = make_stack(model, true);
    if (!c->post_norm) {
        layers->encoder_norm = attn_nn_norm_make(layout, "encoder.norm", c->norm, c->width);
        layers->decoder_norm = attn_nn_norm_make(layout, "decoder.norm", c->norm, c->width);
    }
    layers->positions =
        attn_nn_positional_make(layout, "positions", c->positions, c->width, c->max_length);
    return status;
}

/* --- A side: embedding, positions, blocks, norm --------------------------------------------------- */

typedef struct {
    const attn_nn_stack *stack;
    const attn_nn_sentences *rows;
    attn_nn_stack_saved saved;
    uint64_t draw;
} side;

/* The alignment's layer keeps its weights if asked to: layer number `shown`. */
static const real *side_forward(const attn_nn_model *model, attn_nn_pass *pass, side *s,
                                const real *memory, const attn_nn_sentences *memory_rows,
                                int64_t shown) {
    const attn_nn_transformer_layers *const layers = model->layers;
    const attn_nn_config *const c = &model->config;
    const int64_t rows = attn_nn_rows(s->rows);
    real *const x = attn_nn_embedding_forward(pass, &model->embedding, s->rows->tokens, rows);
    attn_nn_positional_forward(pass, &layers->positions, x, s->rows);
    s->draw = attn_nn_dropout_forward(pass, c->dropout, x, rows * c->width);
    return attn_nn_stack_forward(pass, s->stack, x, s->rows, memory, memory_rows, shown, &s->saved);
}

/* d [rows, width]: the gradient of what side_forward returned; it is overwritten. */
static void side_backward(const attn_nn_model *model, attn_nn_pass *pass, const side *s,
                          const real *memory, const attn_nn_sentences *memory_rows, real *d,
                          int64_t shown, const real *d_weights, real *d_memory) {
    const attn_nn_transformer_layers *const layers = model->layers;
    const attn_nn_config *const c = &model->config;
    const int64_t rows = attn_nn_rows(s->rows);
    d = attn_nn_stack_backward(pass, s->stack, s->rows, memory, memory_rows, &s->saved, shown,
                               d_weights, d, d_memory);
    attn_nn_dropout_backward(pass, c->dropout, s->draw, d, rows * c->width);
    attn_nn_positional_backward(pass, &layers->positions, d, s->rows);
    attn_nn_embedding_backward(pass, &model->embedding, s->rows->tokens, rows, d);
}

/* --- The model ------------------------------------------------------------------------------------ */

/* attn_nn_predict, with copies of what the alignment's heads look at. d_weights is made unless the guide has
 * made it. */
static void predict_with_copies(const attn_nn_model *model, attn_nn_pass *pass,
                                const attn_nn_batch *batch, const attn_nn_objective *objective,
                                const attn_nn_attention_saved *heads, const real *states, real *d,
                                real **d_weights, attn_nn_loss *loss) {
    const attn_nn_config *const c = &model->config;
    const int64_t rows = attn_nn_rows(&batch->target);
    int64_t *const sentence = attn_nn_take_bytes(pass, (size_t)rows * sizeof *sentence);
    if (pass->gradients != NULL && *d_weights == NULL) {
        *d_weights = attn_nn_take_zeros(pass, c->heads * rows * heads->longest);
    }
    if (attn_nn_failed(pass)) return;
    for (int64_t s = 0; s < batch->target.count; s++) {
        for (int64_t r = batch->target.starts[s]; r < batch->target.starts[s + 1]; r++) {
            sentence[r] = s;
        }
    }
    const attn_nn_source_weights from = {.source = &batch->source,
                                         .sentence = sentence,
                                         .weights = heads->weights,
                                         .d_weights = pass->gradients ? *d_weights : NULL,
                                         .taught = c->align_heads,
                                         .longest = heads->longest};
    attn_nn_predict(model, pass, states, batch, objective, &from, d, loss);
}

static void loss(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_batch *batch,
                 const attn_nn_objective *objective, attn_nn_loss *loss) {
    const int64_t width = model->config.width;
    const attn_nn_config *const c = &model->config;
    const bool guided = batch->guide_starts != NULL && objective->guide != 0;
    const int64_t shown = guided || c->copy ? c->align_layer - 1 : -1;
    const attn_nn_transformer_layers *const layers = model->layers;
    side encoder = {.stack = &layers->encoder, .rows = &batch->source};
    side decoder = {.stack = &layers->decoder, .rows = &batch->target};
    const real *const memory = side_forward(model, pass, &encoder, NULL, NULL, -1);
    const real *const states = side_forward(model, pass, &decoder, memory, &batch->source, shown);
    real *const d = attn_nn_take_zeros(pass, attn_nn_rows(&batch->target) * width);
    real *const d_memory = attn_nn_take_zeros(pass, attn_nn_rows(&batch->source) * width);
    if (attn_nn_failed(pass)) return;
    /* Those of the alignment; whoever has none does not look at them. */
    const attn_nn_attention_saved *const heads =
        &decoder.saved.blocks[shown < 0 ? 0 : shown].cross_heads;
    real *d_weights = NULL;
    if (guided) {
        d_weights = attn_nn_guide(model, pass, batch, objective, heads->weights, c->heads,
                                  heads->longest, loss);
    }
    if (c->copy) {
        predict_with_copies(model, pass, batch, objective, heads, states, d, &d_weights, loss);
    } else {
        attn_nn_predict(model, pass, states, batch, objective, NULL, d, loss);
    }
    if (attn_nn_failed(pass)) return;
    if (pass->gradients == NULL) return;
    side_backward(model, pass, &decoder, memory, &batch->source, d, shown, d_weights, d_memory);
    side_backward(model, pass, &encoder, NULL, NULL, d_memory, -1, NULL, NULL);
}

static real *weights(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_batch *batch,
                     int64_t layer, int64_t *heads, int64_t *longest) {
    if (layer < 0 || layer >= model->config.decoder_layers) {
        return attn_nn_fail(pass, ATTN_ERROR_VALUE, "layer: expected one of the decoder's");
    }
    const attn_nn_transformer_layers *const layers = model->layers;
    side encoder = {.stack = &layers->encoder, .rows = &batch->source};
    side decoder = {.stack = &layers->decoder, .rows = &batch->target};
    const real *const memory = side_forward(model, pass, &encoder, NULL, NULL, -1);
    side_forward(model, pass, &decoder, memory, &batch->source, layer);
    if (attn_nn_failed(pass)) return NULL;
    *heads = model->config.heads;
    *longest = decoder.saved.blocks[layer].cross_heads.longest;
    return decoder.saved.blocks[layer].cross_heads.weights;
}

const real *attn_nn_transformer_encode(const attn_nn_model *model, attn_nn_pass *pass,
                                       const attn_nn_sentences *source) {
    const attn_nn_transformer_layers *const layers = model->layers;
    side encoder = {.stack = &layers->encoder, .rows = source};
    return side_forward(model, pass, &encoder, NULL, NULL, -1);
}

const attn_nn_model_family attn_nn_transformer_family = {
    .build = build,
    .loss = loss,
    .weights = weights,
    .open = attn_nn_transformer_decoder_open,
    .step = attn_nn_transformer_decoder_step,
    .reorder = attn_nn_transformer_decoder_reorder,
    .close = attn_nn_transformer_decoder_close,
};

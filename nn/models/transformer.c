#include "transformer.h"

#include "copy.h"

#include <math.h>
#include <stdlib.h>

/* --- Parameters ----------------------------------------------------------------------------------- */

/* T5's buckets (Raffel et al. 2020). */
enum { RELATIVE_BUCKETS = 32 };
static const double rotary_base = 10000;

static attn_nn_block make_block(attn_nn_model *model, const char *side, int64_t number,
                                bool decoder) {
    const attn_nn_config *const c = &model->config;
    attn_nn_layout *const layout = &model->layout;
    const attn_nn_name name = attn_nn_join_number(side, "layers", number);
    const int64_t relative = c->positions == ATTN_NN_RELATIVE ? RELATIVE_BUCKETS : 0;
    attn_nn_block b = {0};
    b.norm_self =
        attn_nn_norm_make(layout, attn_nn_join(name.text, "norm1").text, c->norm, c->width);
    b.self = attn_nn_attention_make(layout, attn_nn_join(name.text, "self_attn").text, c->width,
                                    c->heads, relative);
    b.self.causal = decoder;
    b.self.dropout = c->attention_dropout;
    if (c->positions == ATTN_NN_ROTARY) b.self.rotary_base = rotary_base;
    if (decoder) {
        b.norm_cross =
            attn_nn_norm_make(layout, attn_nn_join(name.text, "norm2").text, c->norm, c->width);
        b.cross = attn_nn_attention_make(layout, attn_nn_join(name.text, "multihead_attn").text,
                                         c->width, c->heads, 0);
        b.cross.dropout = c->attention_dropout;
    }
    b.norm_feed = attn_nn_norm_make(
        layout, attn_nn_join(name.text, decoder ? "norm3" : "norm2").text, c->norm, c->width);
    b.up = attn_nn_linear_make(layout, attn_nn_join(name.text, "linear1").text, c->width,
                               c->feed_forward, true);
    b.down = attn_nn_linear_make(layout, attn_nn_join(name.text, "linear2").text, c->feed_forward,
                                 c->width, true);
    return b;
}

static attn_status build(attn_nn_model *model) {
    const attn_nn_config *const c = &model->config;
    const size_t blocks = (size_t)(c->encoder_layers + c->decoder_layers);
    attn_nn_transformer_layers *const layers =
        calloc(1, sizeof *layers + blocks * sizeof(attn_nn_block));
    if (layers == NULL) return attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
    model->layers = layers;
    layers->encoder = (attn_nn_block *)(layers + 1);
    layers->decoder = layers->encoder + c->encoder_layers;
    for (int64_t i = 0; i < c->encoder_layers; i++) {
        layers->encoder[i] = make_block(model, "encoder", i, false);
    }
    for (int64_t i = 0; i < c->decoder_layers; i++) {
        layers->decoder[i] = make_block(model, "decoder", i, true);
    }
    if (!c->post_norm) {
        layers->encoder_norm = attn_nn_norm_make(&model->layout, "encoder.norm", c->norm, c->width);
        layers->decoder_norm = attn_nn_norm_make(&model->layout, "decoder.norm", c->norm, c->width);
    }
    if (c->positions == ATTN_NN_LEARNED) {
        layers->positions = attn_nn_layout_add(&model->layout, "positions.weight", c->max_length,
                                               c->width, ATTN_NN_NORMAL, 0.02);
    }
    return ATTN_OK;
}

/* --- Positions ------------------------------------------------------------------------------------ */

/* Sines and cosines of position / 10000^(2i/width), side by side (Vaswani et al. 2017, section 3.5). */
static void add_sinusoid(real *row, int64_t width, int64_t position) {
    for (int64_t i = 0; i + 1 < width; i += 2) {
        const double angle = (double)position * pow(10000, -(double)i / (double)width);
        row[i] += (real)sin(angle);
        row[i + 1] += (real)cos(angle);
    }
}

void attn_nn_add_position(const attn_nn_model *model, attn_nn_pass *pass, real *row,
                          int64_t position) {
    const attn_nn_config *const c = &model->config;
    const attn_nn_transformer_layers *const layers = model->layers;
    if (c->positions == ATTN_NN_SINUSOIDAL) add_sinusoid(row, c->width, position);
    if (c->positions != ATTN_NN_LEARNED) return;
    if (position >= c->max_length) {
        attn_nn_fail(pass, ATTN_ERROR_SHAPE, "a sentence is longer than the model's max_length");
        return;
    }
    attn_nn_kernels_of(pass)->add(row, 1, pass->values + layers->positions + position * c->width,
                                  c->width);
}

/* Position by position, so that sines are found once for all sentences. */
void attn_nn_add_positions(const attn_nn_model *model, attn_nn_pass *pass, real *x,
                           const attn_nn_sentences *sentences) {
    const int64_t width = model->config.width, longest = attn_nn_longest(sentences);
    const size_t mark = attn_nn_mark(pass);
    real *const place = attn_nn_take(pass, width);
    for (int64_t p = 0; p < longest && x != NULL && !attn_nn_failed(pass); p++) {
        memset(place, 0, (size_t)width * sizeof *place);
        attn_nn_add_position(model, pass, place, p);
        for (int64_t s = 0; s < sentences->count; s++) {
            const int64_t row = sentences->starts[s] + p;
            if (row < sentences->starts[s + 1]) {
                attn_nn_kernels_of(pass)->add(x + row * width, 1, place, width);
            }
        }
    }
    attn_nn_release(pass, mark);
}

static void positions_back(const attn_nn_model *model, attn_nn_pass *pass, const real *d,
                           const attn_nn_sentences *sentences) {
    const attn_nn_config *const c = &model->config;
    const attn_nn_transformer_layers *const layers = model->layers;
    if (c->positions != ATTN_NN_LEARNED || attn_nn_failed(pass)) return;
    for (int64_t s = 0; s < sentences->count; s++) {
        const int64_t first = sentences->starts[s];
        const int64_t length = sentences->starts[s + 1] - first;
        attn_nn_kernels_of(pass)->add(pass->gradients + layers->positions, 1, d + first * c->width,
                                      length * c->width);
    }
}

/* --- A stack of blocks: embedding, positions, blocks, norm ---------------------------------------- */

typedef struct {
    const attn_nn_block *blocks;
    const attn_nn_norm *norm; /* NULL if post-norm */
    int64_t count;
    const attn_nn_sentences *rows;
    attn_nn_block_saved *saved; /* [count] */
    const real *last;           /* what the norm was given */
    uint64_t draw;
} stack;

static stack open_stack(const attn_nn_model *model, attn_nn_pass *pass, bool decoder,
                        const attn_nn_sentences *rows) {
    const attn_nn_config *const c = &model->config;
    const attn_nn_transformer_layers *const layers = model->layers;
    stack s = {
        .blocks = decoder ? layers->decoder : layers->encoder,
        .count = decoder ? c->decoder_layers : c->encoder_layers,
        .norm = decoder ? &layers->decoder_norm : &layers->encoder_norm,
        .rows = rows,
    };
    if (c->post_norm) s.norm = NULL;
    s.saved = attn_nn_take_bytes(pass, (size_t)s.count * sizeof *s.saved);
    if (s.saved != NULL) memset(s.saved, 0, (size_t)s.count * sizeof *s.saved);
    return s;
}

/* The alignment's layer keeps its weights if asked to: layer number `shown`. */
static real *stack_forward(const attn_nn_model *model, attn_nn_pass *pass, stack *s,
                           const real *memory, const attn_nn_sentences *memory_rows,
                           int64_t shown) {
    const attn_nn_config *const c = &model->config;
    const int64_t rows = attn_nn_rows(s->rows);
    real *x = attn_nn_embedding_forward(pass, &model->embedding, s->rows->tokens, rows);
    attn_nn_add_positions(model, pass, x, s->rows);
    s->draw = attn_nn_dropout_forward(pass, c->dropout, x, rows * c->width);
    for (int64_t i = 0; i < s->count && !attn_nn_failed(pass); i++) {
        x = attn_nn_block_forward(pass, c, &s->blocks[i], x, s->rows, memory, memory_rows,
                                  i == shown, &s->saved[i]);
    }
    s->last = x;
    return s->norm && !attn_nn_failed(pass) ? attn_nn_norm_forward(pass, s->norm, x, rows) : x;
}

/* d [rows, width]: the gradient of what stack_forward returned; it is overwritten. */
static void stack_backward(const attn_nn_model *model, attn_nn_pass *pass, const stack *s,
                           const real *memory, const attn_nn_sentences *memory_rows, real *d,
                           int64_t shown, const real *d_weights, real *d_memory) {
    const attn_nn_config *const c = &model->config;
    const int64_t rows = attn_nn_rows(s->rows);
    real *const d_x = attn_nn_take_zeros(pass, rows * c->width);
    if (d_x == NULL) return;
    if (s->norm) {
        attn_nn_norm_backward(pass, s->norm, s->last, d, rows, d_x);
        d = d_x;
    }
    for (int64_t i = s->count; i-- > 0 && !attn_nn_failed(pass);) {
        const size_t mark = attn_nn_mark(pass);
        const real *const back =
            attn_nn_block_backward(pass, c, &s->blocks[i], s->rows, memory, memory_rows,
                                   &s->saved[i], d, i == shown ? d_weights : NULL, d_memory);
        /* It may lie in what is given back, but nothing is taken before it is copied. */
        if (back != NULL && back != d) memcpy(d, back, (size_t)(rows * c->width) * sizeof *d);
        attn_nn_release(pass, mark);
    }
    attn_nn_dropout_backward(pass, c->dropout, s->draw, d, rows * c->width);
    positions_back(model, pass, d, s->rows);
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
    stack encoder = open_stack(model, pass, false, &batch->source);
    stack decoder = open_stack(model, pass, true, &batch->target);
    if (attn_nn_failed(pass)) return;
    const real *const memory = stack_forward(model, pass, &encoder, NULL, NULL, -1);
    const real *const states = stack_forward(model, pass, &decoder, memory, &batch->source, shown);
    real *const d = attn_nn_take_zeros(pass, attn_nn_rows(&batch->target) * width);
    real *const d_memory = attn_nn_take_zeros(pass, attn_nn_rows(&batch->source) * width);
    if (attn_nn_failed(pass)) return;
    /* Those of the alignment; whoever has none does not look at them. */
    const attn_nn_attention_saved *const heads = &decoder.saved[shown < 0 ? 0 : shown].cross_heads;
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
    stack_backward(model, pass, &decoder, memory, &batch->source, d, shown, d_weights, d_memory);
    stack_backward(model, pass, &encoder, NULL, NULL, d_memory, -1, NULL, NULL);
}

static real *weights(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_batch *batch,
                     int64_t layer, int64_t *heads, int64_t *longest) {
    if (layer < 0 || layer >= model->config.decoder_layers) {
        return attn_nn_fail(pass, ATTN_ERROR_VALUE, "layer: expected one of the decoder's");
    }
    stack encoder = open_stack(model, pass, false, &batch->source);
    stack decoder = open_stack(model, pass, true, &batch->target);
    if (attn_nn_failed(pass)) return NULL;
    const real *const memory = stack_forward(model, pass, &encoder, NULL, NULL, -1);
    stack_forward(model, pass, &decoder, memory, &batch->source, layer);
    if (attn_nn_failed(pass)) return NULL;
    *heads = model->config.heads;
    *longest = decoder.saved[layer].cross_heads.longest;
    return decoder.saved[layer].cross_heads.weights;
}

real *attn_nn_transformer_encode(const attn_nn_model *model, attn_nn_pass *pass,
                                 const attn_nn_sentences *source) {
    stack encoder = open_stack(model, pass, false, source);
    return attn_nn_failed(pass) ? NULL : stack_forward(model, pass, &encoder, NULL, NULL, -1);
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

/* recurrent.c: a recurrent sequence-to-sequence model as the library sees it: its parameters, its loss,
 * its weights. */
#include "recurrent.h"

#include "copy.h"

#include <stdlib.h>

/* --- Parameters ----------------------------------------------------------------------------------- */

/* The layers and their arrays, in one piece: the model frees it with one call. */
static attn_nn_recurrent_layers *make_layers(const attn_nn_config *c) {
    const size_t cells = (size_t)(2 * c->encoder_layers + c->decoder_layers);
    const size_t bridges = (size_t)(2 * c->decoder_layers);
    attn_nn_recurrent_layers *const layers = calloc(
        1, sizeof *layers + cells * sizeof *layers->encoder + bridges * sizeof *layers->bridge_h);
    if (layers == NULL) return NULL;
    layers->encoder = (void *)(layers + 1);
    layers->decoder = layers->encoder + 2 * c->encoder_layers;
    layers->bridge_h = (void *)(layers->decoder + c->decoder_layers);
    layers->bridge_c = layers->bridge_h + c->decoder_layers;
    return layers;
}

static void add_encoder(attn_nn_model *model, attn_nn_recurrent_layers *layers) {
    const attn_nn_config *const c = &model->config;
    for (int64_t l = 0; l < c->encoder_layers; l++) {
        const int64_t in = l == 0 ? c->width : c->hidden;
        layers->encoder[2 * l] = attn_nn_recurrent_make(
            &model->layout, attn_nn_join_number("encoder", "forward", l).text, c->cell, in,
            c->hidden / 2, false);
        layers->encoder[2 * l + 1] = attn_nn_recurrent_make(
            &model->layout, attn_nn_join_number("encoder", "backward", l).text, c->cell, in,
            c->hidden / 2, true);
    }
}

static int64_t fed_width(const attn_nn_config *c) {
    if (c->look == ATTN_NN_LOOK_NONE) return c->hidden;
    return c->no_input_feeding ? 0 : c->width;
}

static void add_decoder(attn_nn_model *model, attn_nn_recurrent_layers *layers) {
    const attn_nn_config *const c = &model->config;
    attn_nn_layout *const layout = &model->layout;
    const int64_t fed = fed_width(c), in = c->width + fed, hidden = c->hidden;
    for (int64_t l = 0; l < c->decoder_layers; l++) {
        layers->bridge_h[l] = attn_nn_linear_make(
            layout, attn_nn_join_number("decoder", "bridge_h", l).text, hidden, hidden, true);
        if (c->cell == ATTN_NN_LSTM) {
            layers->bridge_c[l] = attn_nn_linear_make(
                layout, attn_nn_join_number("decoder", "bridge_c", l).text, hidden, hidden, true);
        }
        layers->decoder[l] =
            attn_nn_recurrent_make(layout, attn_nn_join_number("decoder", "layers", l).text,
                                   c->cell, l == 0 ? in : hidden, hidden, false);
    }
    const attn_nn_linear *const input = &layers->decoder[0].input;
    layers->said = attn_nn_columns_of(input->weight, in, 0, c->width, input->out, -1);
    layers->fed = attn_nn_columns_of(input->weight, in, c->width, fed, input->out, -1);
    layers->look = attn_nn_look_make(layout, c);
    const attn_nn_linear mix =
        attn_nn_linear_make(layout, "decoder.mix", 2 * hidden, c->width, true);
    layers->mix_context = attn_nn_columns_of(mix.weight, mix.in, 0, hidden, mix.out, mix.bias);
    layers->mix_state = attn_nn_columns_of(mix.weight, mix.in, hidden, hidden, mix.out, -1);
}

static attn_status build(attn_nn_model *model) {
    const attn_nn_config *const c = &model->config;
    if (c->coverage && c->look != ATTN_NN_LOOK_CONCAT && c->look != ATTN_NN_LOOK_ADDITIVE &&
        c->look != ATTN_NN_LOOK_LOCATION) {
        return attn_nn_error(
            ATTN_ERROR_VALUE,
            "config.coverage: expected a look that it can join: concat, additive or "
            "location");
    }
    attn_nn_recurrent_layers *const layers = make_layers(c);
    if (layers == NULL) return attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
    model->layers = layers;
    add_encoder(model, layers);
    add_decoder(model, layers);
    return ATTN_OK;
}

/* --- Loss ------------------------------------------------------------------------------------------ */

static bool check_guide(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_batch *batch,
                        const attn_nn_objective *objective) {
    const bool guided = objective->guide > 0 && batch->guide_starts != NULL;
    if (guided && model->config.look == ATTN_NN_LOOK_NONE) {
        attn_nn_fail(pass, ATTN_ERROR_VALUE, "objective.guide: this model has no weights to guide");
    }
    return !attn_nn_failed(pass);
}

/* Which sentence a row in the order of steps belongs to. */
static const int64_t *sentences_of(const attn_nn_unroll *u) {
    int64_t *const of = attn_nn_take_bytes(u->pass, (size_t)u->steps->rows * sizeof *of);
    for (int64_t t = 0; t < u->steps->steps && of != NULL; t++) {
        for (int64_t i = 0; i < attn_nn_step_rows(u->steps, t); i++)
            of[u->steps->starts[t] + i] = i;
    }
    return of;
}

static void loss(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_batch *batch,
                 const attn_nn_objective *objective, attn_nn_loss *to) {
    if (!check_guide(model, pass, batch, objective)) return;
    const bool want_weights = (objective->guide > 0 && batch->guide_starts != NULL) ||
                              objective->coverage > 0 || model->config.copy;
    const int64_t heads = attn_nn_recurrent_of(model)->look.heads,
                  taught = model->config.align_heads;
    attn_nn_unroll u;
    if (!attn_nn_unroll_forward(&u, model, pass, batch, want_weights)) return;
    if (pass->gradients != NULL && !attn_nn_unroll_turn(&u)) return;
    attn_nn_weights_loss(&u, objective, to);

    const attn_nn_source_weights from = {.source = &batch->source,
                                         .sentence = sentences_of(&u),
                                         .weights = u.weights,
                                         .d_weights = u.d_weights,
                                         .taught = taught < heads ? taught : heads,
                                         .longest = u.scene.longest};
    attn_nn_predict(model, pass, u.states, &u.sorted, objective, model->config.copy ? &from : NULL,
                    u.d_states, to);
    if (pass->gradients != NULL) attn_nn_unroll_back(&u);
}

static real *weights(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_batch *batch,
                     int64_t layer, int64_t *heads, int64_t *longest) {
    attn_nn_unroll u;
    if (layer != 0 || model->config.look == ATTN_NN_LOOK_NONE) return NULL;
    if (!attn_nn_unroll_forward(&u, model, pass, batch, true)) return NULL;
    *heads = attn_nn_recurrent_of(model)->look.heads, *longest = u.scene.longest;
    const int64_t rows = u.steps->rows;
    real *const all = attn_nn_take(pass, *heads * rows * *longest);
    for (int64_t r = 0; r < rows && all != NULL; r++) {
        for (int64_t h = 0; h < *heads; h++) {
            memcpy(all + (h * rows + u.steps->from[r]) * *longest,
                   u.weights + (h * rows + r) * *longest, (size_t)*longest * sizeof *all);
        }
    }
    return all;
}

const attn_nn_model_family attn_nn_recurrent_family = {
    .build = build,
    .loss = loss,
    .weights = weights,
    .open = attn_nn_recurrent_decoder_open,
    .step = attn_nn_recurrent_decoder_step,
    .reorder = attn_nn_recurrent_decoder_reorder,
};

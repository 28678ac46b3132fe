#include "copy.h"

#include <stdio.h>
#include <stdlib.h>

/* --- Configurations ------------------------------------------------------------------------------ */

static void or_default(int64_t *field, int64_t value) {
    if (*field == 0) *field = value;
}

static void fill_in(attn_nn_config *c) {
    or_default(&c->width, 256);
    or_default(&c->encoder_layers, c->family == ATTN_NN_TRANSFORMER ? 3 : 1);
    or_default(&c->decoder_layers, c->encoder_layers);
    or_default(&c->heads, 4);
    or_default(&c->feed_forward, (int64_t)(4 * (uint64_t)c->width)); /* width is not checked yet */
    or_default(&c->max_length, 256);
    or_default(&c->hidden, c->width);
    or_default(&c->look_width, c->hidden);
    or_default(&c->align_layer, c->decoder_layers > 1 ? c->decoder_layers - 1 : 1);
    or_default(&c->align_heads, c->heads);
}

static attn_status refuse(const char *field, const char *expected) {
    char sentence[256];
    (void)snprintf(sentence, sizeof sentence, "config.%s: expected %s", field, expected);
    return attn_nn_error(ATTN_ERROR_VALUE, sentence);
}

static attn_status check_sizes(const attn_nn_config *c) {
    const struct {
        const char *field;
        int64_t value;
    } sizes[] = {
        {"vocabulary", c->vocabulary},
        {"width", c->width},
        {"encoder_layers", c->encoder_layers},
        {"decoder_layers", c->decoder_layers},
        {"heads", c->heads},
        {"feed_forward", c->feed_forward},
        {"max_length", c->max_length},
        {"hidden", c->hidden},
        {"look_width", c->look_width},
        {"align_layer", c->align_layer},
        {"align_heads", c->align_heads},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i].value < 1 || sizes[i].value > SIZE_LIMIT) {
            return refuse(sizes[i].field, "1 to 1048576");
        }
    }
    return ATTN_OK;
}

static attn_status check_choices(const attn_nn_config *c) {
    const struct {
        const char *field;
        int value, choices;
    } choices[] = {
        {"family", (int)c->family, 2},
        {"norm", (int)c->norm, 2},
        {"activation", (int)c->activation, 3},
        {"positions", (int)c->positions, 5},
        {"cell", (int)c->cell, 2},
        {"look", (int)c->look, 7},
    };
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        if (choices[i].value < 0 || choices[i].value >= choices[i].choices) {
            return refuse(choices[i].field, "one of its enum");
        }
    }
    const struct {
        const char *field;
        double value;
    } shares[] = {{"dropout", c->dropout},
                  {"attention_dropout", c->attention_dropout},
                  {"activation_dropout", c->activation_dropout}};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        if (!(shares[i].value >= 0 && shares[i].value < 1)) {
            return refuse(shares[i].field, "0 or more and less than 1");
        }
    }
    return ATTN_OK;
}

static attn_status check(const attn_nn_config *c) {
    attn_status status = check_sizes(c);
    if (status == ATTN_OK) status = check_choices(c);
    if (status != ATTN_OK) return status;
    const bool transformer = c->family == ATTN_NN_TRANSFORMER;
    const bool splits = transformer || c->look == ATTN_NN_LOOK_MULTI_HEAD;
    if (c->align_layer > c->decoder_layers) return refuse("align_layer", "a layer of the decoder");
    if (c->align_heads > c->heads) return refuse("align_heads", "at most heads");
    if (c->align_after && (c->family != ATTN_NN_TRANSFORMER || c->copy)) {
        return refuse("align_after", "false: recurrent models, and those that copy, look before");
    }
    if (splits && (transformer ? c->width : c->hidden) % c->heads != 0)
        return refuse("heads", "a divisor of the width that is split");
    if (c->family == ATTN_NN_RECURRENT && c->hidden % 2 != 0) {
        return refuse("hidden", "an even number: each direction has half");
    }
    if (c->family == ATTN_NN_RECURRENT && c->look == ATTN_NN_LOOK_NONE && c->copy) {
        return refuse("copy", "a look, whose weights say what is copied");
    }
    if (c->positions == ATTN_NN_ROTARY && c->width / c->heads % 2 != 0) {
        return refuse("positions", "an even width of a head for rotary positions");
    }
    return ATTN_OK;
}

/* --- Models --------------------------------------------------------------------------------------- */

/* Embeddings of standard deviation width^-1/2, times width^1/2 as they are looked up: of size 1, as the
 * rest of the model expects, while logits begin small where the output shares them. */
static void add_ends(attn_nn_model *model) {
    const attn_nn_config *const c = &model->config;
    model->embedding = attn_nn_embedding_make(&model->layout, "embedding", c->vocabulary, c->width,
                                              __builtin_sqrt((double)c->width));
    if (c->untied) {
        model->output =
            attn_nn_linear_make(&model->layout, "output", c->width, c->vocabulary, true);
    } else {
        model->output.in = c->width, model->output.out = c->vocabulary;
        model->output.weight = model->embedding.weight;
        model->output.bias =
            attn_nn_layout_add(&model->layout, "output.bias", 1, c->vocabulary, ATTN_NN_ZERO, 0);
    }
    if (c->copy) model->copy = attn_nn_linear_make(&model->layout, "copy", c->width, 1, true);
}

attn_status attn_nn_model_create(attn_nn_model **model, const attn_nn_config *config) {
    if (model == NULL || config == NULL)
        return attn_nn_error(ATTN_ERROR_NULL, "model or config is NULL");
    *model = NULL;
    attn_nn_config filled = *config;
    fill_in(&filled);
    const attn_status bad = check(&filled);
    if (bad != ATTN_OK) return bad;
    attn_nn_model *const made = calloc(1, sizeof *made);
    if (made == NULL) return attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
    made->config = filled;
    made->family = filled.family == ATTN_NN_TRANSFORMER ? &attn_nn_transformer_family
                                                        : &attn_nn_recurrent_family;
    add_ends(made);
    attn_status status = made->family->build(made);
    if (status == ATTN_OK && made->layout.failed)
        status = attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
    if (status != ATTN_OK) {
        attn_nn_model_destroy(made);
        return status;
    }
    *model = made;
    return ATTN_OK;
}

void attn_nn_model_destroy(attn_nn_model *model) {
    if (model == NULL) return;
    attn_nn_layout_free(&model->layout);
    free(model->layers);
    free(model);
}

const attn_nn_config *attn_nn_model_config(const attn_nn_model *model) {
    return &model->config;
}

const attn_nn_layout *attn_nn_model_layout(const attn_nn_model *model) {
    return &model->layout;
}

static bool check_objective(const attn_nn_model *model, attn_nn_pass *pass,
                            const attn_nn_objective *objective) {
    const attn_nn_config *const c = &model->config;
    if (objective->coverage > 0 && (c->family != ATTN_NN_RECURRENT || !c->coverage)) {
        attn_nn_fail(pass, ATTN_ERROR_VALUE, "objective.coverage: this model keeps no coverage");
    }
    if (!(objective->smoothing >= 0 && objective->smoothing < 1) || !(objective->guide >= 0) ||
        !(objective->coverage >= 0)) {
        attn_nn_fail(pass, ATTN_ERROR_VALUE,
                     "objective: expected smoothing of 0 to 1, and nothing below 0");
    }
    return !attn_nn_failed(pass);
}

static bool check_batch(attn_nn_pass *pass, const attn_nn_batch *batch) {
    if (batch->source.count != batch->target.count) {
        attn_nn_fail(pass, ATTN_ERROR_SHAPE, "a batch has as many source as target sentences");
    }
    return !attn_nn_failed(pass);
}

void attn_nn_model_loss(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_batch *batch,
                        const attn_nn_objective *objective, attn_nn_loss *loss) {
    memset(loss, 0, sizeof *loss);
    if (check_objective(model, pass, objective) && check_batch(pass, batch)) {
        model->family->loss(model, pass, batch, objective, loss);
    }
}

attn_nn_real *attn_nn_model_weights(const attn_nn_model *model, attn_nn_pass *pass,
                                    const attn_nn_batch *batch, int64_t layer, int64_t *heads,
                                    int64_t *longest) {
    if (!check_batch(pass, batch)) return NULL;
    return model->family->weights(model, pass, batch, layer, heads, longest);
}

/* --- From states to the loss ---------------------------------------------------------------------- */

/* 512 rows of 8192 logits are 16 MiB: they are read again while the last cache may still hold them. */
enum { STRETCH = 512 };

void attn_nn_predict(const attn_nn_model *model, attn_nn_pass *pass, const real *states,
                     const attn_nn_batch *batch, const attn_nn_objective *objective,
                     const attn_nn_source_weights *from, real *d_states, attn_nn_loss *loss) {
    const int64_t rows = attn_nn_rows(&batch->target), width = model->config.width;
    const int64_t vocabulary = model->config.vocabulary;
    attn_nn_copying copying;
    if (from != NULL && !attn_nn_copy_begin(model, pass, from, states, rows, &copying)) return;
    for (int64_t r = 0; r < rows && !attn_nn_failed(pass); r += STRETCH) {
        const int64_t count = rows - r < STRETCH ? rows - r : STRETCH;
        const size_t mark = attn_nn_mark(pass);
        real *const logits =
            attn_nn_linear_forward(pass, &model->output, states + r * width, count);
        if (from != NULL) {
            attn_nn_copy_cross_entropy(pass, &copying, logits, vocabulary, batch->labels + r, r,
                                       count, objective, loss);
        } else {
            attn_nn_cross_entropy(pass, logits, vocabulary, batch->labels + r, count,
                                  objective->smoothing, objective->scale, loss);
        }
        if (pass->gradients != NULL) {
            attn_nn_linear_backward(pass, &model->output, states + r * width, logits, count,
                                    d_states ? d_states + r * width : NULL);
        }
        attn_nn_release(pass, mark);
    }
    if (from != NULL) attn_nn_copy_end(model, pass, &copying, states, d_states);
}

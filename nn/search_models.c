/* search_models.c: the search over a model, or several models together. */
#include "search.h"

#include "models/model.h"

#include <stdlib.h>

typedef struct ensemble {
    const attn_nn_model *const *models;
    attn_nn_pass *const *passes;
    int64_t count;
    const attn_nn_sentences *source;
    attn_nn_decoder **decoders; /* [count] */
    real *log_p, *weights;      /* of one model, where there are several */
    int64_t longest;
    bool want_weights;
} ensemble;

/* A pass of another model failed: so has the first. */
static bool pass_on(ensemble *e, int64_t i) {
    if (attn_nn_failed(e->passes[i])) {
        attn_nn_fail(e->passes[0], e->passes[i]->status, attn_nn_error_message());
    }
    return !attn_nn_failed(e->passes[0]);
}

static bool open_all(void *user, int64_t max_rows) {
    ensemble *const e = user;
    if (e->count > 1) {
        const int64_t vocabulary = e->models[0]->config.vocabulary;
        e->log_p = attn_nn_take(e->passes[0], max_rows * vocabulary);
        if (e->want_weights) e->weights = attn_nn_take(e->passes[0], max_rows * e->longest);
    }
    for (int64_t i = 0; i < e->count && !attn_nn_failed(e->passes[0]); i++) {
        e->decoders[i] = attn_nn_decoder_open(e->models[i], e->passes[i], e->source, max_rows);
        if (!pass_on(e, i)) return false;
    }
    return !attn_nn_failed(e->passes[0]);
}

static bool interrupted(attn_nn_pass *pass) {
    const attn_status status = pass->interrupted ? pass->interrupted(pass->user) : ATTN_OK;
    if (status != ATTN_OK) attn_nn_fail(pass, status, "interrupted");
    return attn_nn_failed(pass);
}

static bool step_all(void *user, const int32_t *tokens, real *log_p, real *weights) {
    ensemble *const e = user;
    if (interrupted(e->passes[0])) return false;
    if (!attn_nn_decoder_step(e->decoders[0], tokens, log_p, weights)) return false;
    if (e->count == 1) return true;
    const attn_nn_kernels *const k = attn_nn_kernels_of(e->passes[0]);
    const int64_t rows = attn_nn_decoder_rows(e->decoders[0]);
    const int64_t logs = rows * e->models[0]->config.vocabulary, looks = rows * e->longest;
    for (int64_t i = 1; i < e->count; i++) {
        (void)attn_nn_decoder_step(e->decoders[i], tokens, e->log_p, weights ? e->weights : NULL);
        if (!pass_on(e, i)) return false;
        k->add(log_p, 1, e->log_p, logs);
        if (weights != NULL) k->add(weights, 1, e->weights, looks);
    }
    k->multiply(log_p, 1 / (real)e->count, logs);
    if (weights != NULL) k->multiply(weights, 1 / (real)e->count, looks);
    return true;
}

static bool reorder_all(void *user, const int64_t *from, int64_t rows) {
    ensemble *const e = user;
    for (int64_t i = 0; i < e->count; i++) {
        (void)attn_nn_decoder_reorder(e->decoders[i], from, rows);
        if (!pass_on(e, i)) return false;
    }
    return true;
}

/* Learned positions end: those of the begin and of max_length - 1 tokens. */
static void keep_to_positions(const ensemble *e, attn_nn_search_options *o) {
    for (int64_t i = 0; i < e->count; i++) {
        const attn_nn_config *const c = &e->models[i]->config;
        if (c->family != ATTN_NN_TRANSFORMER || c->positions != ATTN_NN_LEARNED) continue;
        if (o->max_length > c->max_length - 1) o->max_length = c->max_length - 1;
    }
}

static attn_nn_translations *search_all(ensemble *e, const attn_nn_search_options *options) {
    const attn_nn_search_source from = {.user = e,
                                        .vocabulary = e->models[0]->config.vocabulary,
                                        .open = open_all,
                                        .step = step_all,
                                        .reorder = reorder_all};
    attn_nn_search_options kept = *options;
    keep_to_positions(e, &kept);
    e->longest = attn_nn_longest(e->source), e->want_weights = options->want_weights;
    attn_nn_translations *const made = attn_nn_search_run(&from, e->passes[0], e->source, &kept);
    for (int64_t i = e->count - 1; i >= 0; i--) attn_nn_decoder_close(e->decoders[i]);
    return made;
}

attn_nn_translations *attn_nn_search_together(const attn_nn_model *const *models,
                                              attn_nn_pass *const *passes, int64_t count,
                                              const attn_nn_sentences *source,
                                              const attn_nn_search_options *options) {
    if (count < 1) return NULL;
    for (int64_t i = 1; i < count; i++) {
        if (models[i]->config.vocabulary == models[0]->config.vocabulary) continue;
        return attn_nn_fail(passes[0], ATTN_ERROR_VALUE, "search: the models' vocabularies differ");
    }
    ensemble e = {.models = models, .passes = passes, .count = count, .source = source};
    e.decoders = calloc((size_t)count, sizeof(attn_nn_decoder *));
    size_t *const marks = calloc((size_t)count, sizeof *marks);
    attn_nn_translations *made = NULL;
    if (e.decoders == NULL || marks == NULL) {
        attn_nn_fail(passes[0], ATTN_ERROR_MEMORY, "out of memory");
    } else {
        for (int64_t i = 0; i < count; i++) marks[i] = attn_nn_mark(passes[i]);
        made = search_all(&e, options);
        for (int64_t i = 0; i < count; i++) attn_nn_release(passes[i], marks[i]);
    }
    free(marks);
    free((void *)e.decoders);
    return made;
}

attn_nn_translations *attn_nn_search(const attn_nn_model *model, attn_nn_pass *pass,
                                     const attn_nn_sentences *source,
                                     const attn_nn_search_options *options) {
    return attn_nn_search_together(&model, &pass, 1, source, options);
}

/* decoder.c: translations under way, one token a step. */
#include "copy.h"

#include <stdlib.h>

attn_nn_decoder *attn_nn_decoder_open(const attn_nn_model *model, attn_nn_pass *pass,
                                      const attn_nn_sentences *source, int64_t max_rows) {
    attn_nn_decoder *const d = calloc(1, sizeof *d);
    if (d == NULL) return attn_nn_fail(pass, ATTN_ERROR_MEMORY, "out of memory");
    d->model = model, d->pass = pass, d->source = *source;
    d->max_rows = max_rows > source->count ? max_rows : source->count;
    d->rows = source->count;
    d->longest = attn_nn_longest(source);
    d->sentences = calloc((size_t)d->max_rows + 1, sizeof *d->sentences);
    if (d->sentences == NULL) {
        attn_nn_decoder_close(d);
        return attn_nn_fail(pass, ATTN_ERROR_MEMORY, "out of memory");
    }
    for (int64_t r = 0; r < d->rows; r++) d->sentences[r] = r;
    if (!model->family->open(d)) {
        attn_nn_decoder_close(d);
        return NULL;
    }
    return d;
}

void attn_nn_mean_of_heads(const attn_nn_decoder *d, const real *weights, int64_t heads,
                           real *mean) {
    const int64_t size = d->rows * d->longest, taught = d->model->config.align_heads;
    const int64_t count = taught < heads ? taught : heads;
    const attn_nn_kernels *const k = attn_nn_kernels_of(d->pass);
    memset(mean, 0, (size_t)size * sizeof *mean);
    for (int64_t h = 0; h < count; h++) k->add(mean, 1 / (real)count, weights + h * size, size);
}

/* The output layer, into log_p itself: logits of all rows are large. */
static void multiply(const attn_nn_decoder *d, const real *states, real *log_p) {
    const attn_nn_linear *const output = &d->model->output;
    const int64_t in = output->in, vocabulary = output->out;
    const bool biased = output->bias >= 0;
    const attn_nn_matrix weight = {output->weight, in, vocabulary, in};
    if (biased) attn_nn_fill_rows(log_p, d->pass->values + output->bias, d->rows, vocabulary);
    attn_nn_apply(d->pass, &weight, states, in, log_p, vocabulary, d->rows, biased);
}

static void predict(const attn_nn_decoder *d, const real *states, const real *weights,
                    real *log_p) {
    const attn_nn_model *const model = d->model;
    const int64_t vocabulary = model->config.vocabulary;
    const attn_nn_kernels *const k = attn_nn_kernels_of(d->pass);
    const attn_nn_source_weights from = {.source = &d->source,
                                         .sentence = d->sentences,
                                         .weights = weights,
                                         .taught = 1,
                                         .longest = d->longest};
    attn_nn_copying copying;
    const bool copies = model->config.copy;
    multiply(d, states, log_p);
    if (copies && !attn_nn_copy_begin(model, d->pass, &from, states, d->rows, &copying)) return;
    for (int64_t r = 0; r < d->rows; r++) {
        real *const row = log_p + r * vocabulary;
        if (copies) {
            attn_nn_copy_log_p(d->pass, &copying, row, vocabulary, r);
        } else {
            k->subtract(row, k->log_sum_exp(row, vocabulary), vocabulary);
        }
    }
}

bool attn_nn_decoder_step(attn_nn_decoder *d, const int32_t *tokens, attn_nn_real *log_p,
                          attn_nn_real *weights) {
    const attn_nn_model *const model = d->model;
    attn_nn_pass *const pass = d->pass;
    const size_t mark = attn_nn_mark(pass);
    if (weights == NULL && model->config.copy) {
        weights = attn_nn_take(pass, d->rows * d->longest);
    }
    real *const x = attn_nn_embedding_forward(pass, &model->embedding, tokens, d->rows);
    const real *const states = attn_nn_failed(pass) ? NULL : model->family->step(d, x, weights);
    if (states != NULL && !attn_nn_failed(pass)) predict(d, states, weights, log_p);
    attn_nn_release(pass, mark);
    d->said++;
    return !attn_nn_failed(pass);
}

/* Whether all are rows that there are, and the sentences do not fall: those of one stay together. */
static bool is_order(const attn_nn_decoder *d, const int64_t *from, int64_t rows) {
    for (int64_t r = 0; r < rows; r++) {
        if (from[r] < 0 || from[r] >= d->rows) return false;
        if (r > 0 && d->sentences[from[r]] < d->sentences[from[r - 1]]) return false;
    }
    return true;
}

bool attn_nn_decoder_reorder(attn_nn_decoder *d, const int64_t *from, int64_t rows) {
    if (attn_nn_failed(d->pass)) return false;
    if (rows < 0 || rows > d->max_rows) {
        attn_nn_fail(d->pass, ATTN_ERROR_SHAPE, "more rows than the decoder was opened for");
        return false;
    }
    if (!is_order(d, from, rows)) {
        attn_nn_fail(d->pass, ATTN_ERROR_VALUE,
                     "from: expected rows that there are, in the order of their sentences");
        return false;
    }
    if (!d->model->family->reorder(d, from, rows)) return false;
    int64_t *const sentences = malloc((size_t)(rows ? rows : 1) * sizeof *sentences);
    if (sentences == NULL) {
        attn_nn_fail(d->pass, ATTN_ERROR_MEMORY, "out of memory");
        return false;
    }
    for (int64_t r = 0; r < rows; r++) sentences[r] = d->sentences[from[r]];
    memcpy(d->sentences, sentences, (size_t)rows * sizeof *sentences);
    free(sentences);
    d->rows = rows;
    return true;
}

int64_t attn_nn_decoder_rows(const attn_nn_decoder *d) {
    return d->rows;
}

void attn_nn_decoder_close(attn_nn_decoder *d) {
    if (d == NULL) return;
    if (d->model->family->close) d->model->family->close(d);
    free(d->sentences);
    free(d);
}

/* transformer_decode.c: a Transformer says one token a step. Each layer keeps the keys and values of
 * what was said, for each row, and those of the source, once for each sentence: the rows of a sentence
 * are then so many queries of one packed sequence. */
#include "transformer.h"

#include <stdlib.h>

typedef struct {
    int64_t *row_starts; /* [sentences + 1]: which rows are whose */
    attn_nn_block_cache caches[];
} decoder_state;

static const attn_nn_stack *stack_of(const attn_nn_decoder *d) {
    const attn_nn_transformer_layers *const layers = d->model->layers;
    return &layers->decoder;
}

bool attn_nn_transformer_decoder_open(attn_nn_decoder *d) {
    const size_t count = (size_t)d->model->config.decoder_layers;
    const real *const memory = attn_nn_transformer_encode(d->model, d->pass, &d->source);
    decoder_state *const state = calloc(1, sizeof *state + count * sizeof *state->caches);
    d->state = state;
    if (state == NULL) {
        attn_nn_fail(d->pass, ATTN_ERROR_MEMORY, "out of memory");
        return false;
    }
    state->row_starts =
        attn_nn_take_bytes(d->pass, (size_t)(d->source.count + 1) * sizeof *state->row_starts);
    return attn_nn_stack_begin(d->pass, stack_of(d), d->max_rows, memory, &d->source,
                               state->caches);
}

void attn_nn_transformer_decoder_close(attn_nn_decoder *d) {
    decoder_state *const state = d->state;
    if (state == NULL) return;
    attn_nn_stack_end(stack_of(d), state->caches);
    free(state);
}

bool attn_nn_transformer_decoder_reorder(attn_nn_decoder *d, const int64_t *from, int64_t rows) {
    decoder_state *const state = d->state;
    return attn_nn_stack_reorder(d->pass, stack_of(d), state->caches, from, rows);
}

/* Rows of a sentence follow each other; sentences that ended have none. */
static void find_row_starts(const attn_nn_decoder *d, int64_t *starts) {
    int64_t r = 0;
    for (int64_t s = 0; s <= d->source.count; s++) {
        while (r < d->rows && d->sentences[r] < s) r++;
        starts[s] = r;
    }
}

const real *attn_nn_transformer_decoder_step(attn_nn_decoder *d, real *x, real *weights) {
    const attn_nn_transformer_layers *const layers = d->model->layers;
    decoder_state *const state = d->state;
    const attn_nn_sentences rows = {.count = d->source.count, .starts = state->row_starts};
    const real *heads = NULL;
    find_row_starts(d, state->row_starts);
    attn_nn_positional_step(d->pass, &layers->positions, x, d->rows, d->said);
    const real *const states =
        attn_nn_stack_step(d->pass, &layers->decoder, x, &rows, &d->source, state->caches,
                           d->model->config.align_layer - 1, weights != NULL ? &heads : NULL);
    if (states != NULL && heads != NULL) {
        attn_nn_mean_of_heads(d, heads, d->model->config.heads, weights);
    }
    return states;
}

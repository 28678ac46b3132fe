/* transformer_decode.c: a Transformer says one token a step. Each layer keeps the keys and values of
 * what was said, for each row, and those of the source, once for each sentence: the rows of a sentence
 * are then so many queries of one packed sequence. */
#include "transformer.h"

#include "../layers/rotary.h"

#include <stdlib.h>

/* Keys and values side by side, [rows][capacity][2 width]; `spare` is where they are reordered to. */
typedef struct {
    real *said, *spare;
    const real *source; /* [source rows, 2 width] */
} layer_cache;

typedef struct {
    int64_t capacity;    /* tokens that said has room for */
    int64_t *row_starts; /* [sentences + 1]: which rows are whose */
    layer_cache layers[];
} decoder_state;

bool attn_nn_transformer_decoder_open(attn_nn_decoder *d) {
    const attn_nn_model *const model = d->model;
    const attn_nn_transformer_layers *const layers = model->layers;
    const int64_t count = model->config.decoder_layers, width = model->config.width;
    const real *const memory = attn_nn_transformer_encode(model, d->pass, &d->source);
    decoder_state *const state = calloc(1, sizeof *state + (size_t)count * sizeof(layer_cache));
    d->state = state;
    if (state == NULL) {
        attn_nn_fail(d->pass, ATTN_ERROR_MEMORY, "out of memory");
        return false;
    }
    state->row_starts =
        attn_nn_take_bytes(d->pass, (size_t)(d->source.count + 1) * sizeof(int64_t));
    for (int64_t i = 0; i < count; i++) {
        attn_nn_linear keys = layers->decoder[i].cross.in;
        keys.weight += width * width, keys.bias += width, keys.out = 2 * width;
        state->layers[i].source =
            attn_nn_linear_forward(d->pass, &keys, memory, attn_nn_rows(&d->source));
    }
    return !attn_nn_failed(d->pass);
}

void attn_nn_transformer_decoder_close(attn_nn_decoder *d) {
    decoder_state *const state = d->state;
    if (state == NULL) return;
    for (int64_t i = 0; i < d->model->config.decoder_layers; i++) {
        free(state->layers[i].said);
        free(state->layers[i].spare);
    }
    free(state);
}

/* --- Room, and order ------------------------------------------------------------------------------ */

enum { FIRST_CAPACITY = 16 };

/* Makes a layer's spare `capacity` tokens a row, and copies row from[r], or r itself, to its row r. */
static bool move_rows(attn_nn_decoder *d, layer_cache *layer, int64_t old, int64_t capacity,
                      const int64_t *from, int64_t rows) {
    const size_t token = (size_t)(2 * d->model->config.width);
    if (capacity != old || layer->spare == NULL) {
        free(layer->spare);
        layer->spare = malloc((size_t)d->max_rows * (size_t)capacity * token * sizeof(real));
        if (layer->spare == NULL) {
            attn_nn_fail(d->pass, ATTN_ERROR_MEMORY, "out of memory");
            return false;
        }
    }
    for (int64_t r = 0; r < rows && d->said > 0; r++) {
        memcpy(layer->spare + (size_t)(r * capacity) * token,
               layer->said + (size_t)((from ? from[r] : r) * old) * token,
               (size_t)d->said * token * sizeof(real));
    }
    real *const swapped = layer->said;
    layer->said = layer->spare, layer->spare = swapped;
    if (capacity != old) {
        free(layer->spare);
        layer->spare = NULL;
    }
    return true;
}

static bool make_room(attn_nn_decoder *d) {
    decoder_state *const state = d->state;
    if (d->said < state->capacity) return true;
    const int64_t capacity = state->capacity ? 2 * state->capacity : FIRST_CAPACITY;
    for (int64_t i = 0; i < d->model->config.decoder_layers; i++) {
        if (!move_rows(d, &state->layers[i], state->capacity, capacity, NULL, d->rows))
            return false;
    }
    state->capacity = capacity;
    return true;
}

bool attn_nn_transformer_decoder_reorder(attn_nn_decoder *d, const int64_t *from, int64_t rows) {
    decoder_state *const state = d->state;
    bool same = true;
    for (int64_t r = 0; r < rows; r++) same = same && from[r] == r;
    for (int64_t i = 0; i < d->model->config.decoder_layers && !same && d->said > 0; i++) {
        if (!move_rows(d, &state->layers[i], state->capacity, state->capacity, from, rows)) {
            return false;
        }
    }
    return true;
}

/* --- One step ------------------------------------------------------------------------------------- */

/* Each row is a sequence of its own: one query, and all that it said. */
static real *attend_to_said(attn_nn_decoder *d, const attn_nn_attention *layer, layer_cache *cache,
                            const real *x) {
    attn_nn_pass *const pass = d->pass;
    const int64_t width = layer->width, heads = layer->heads, each = width / heads;
    const int64_t capacity = ((const decoder_state *)d->state)->capacity;
    real *const qkv = attn_nn_linear_forward(pass, &layer->in, x, d->rows);
    real *const mixed = attn_nn_take(pass, d->rows * width);
    if (attn_nn_failed(pass)) return NULL;
    if (layer->rotary_base > 0) {
        attn_nn_rotate_at(layer, qkv, 3 * width, d->rows, d->said);
        attn_nn_rotate_at(layer, qkv + width, 3 * width, d->rows, d->said);
    }
    for (int64_t r = 0; r < d->rows; r++) {
        memcpy(cache->said + (r * capacity + d->said) * 2 * width, qkv + (3 * r + 1) * width,
               (size_t)(2 * width) * sizeof *qkv);
    }
    attn_problem p = {
        .query = attn_tensor_dense(qkv, NN_DTYPE, d->rows, heads, 1, each),
        .key = attn_tensor_dense(cache->said, NN_DTYPE, d->rows, heads, d->said + 1, each),
        .output = attn_tensor_dense(mixed, NN_DTYPE, d->rows, heads, 1, each),
        .mask = {.causal = true, .alignment = ATTN_ALIGN_BOTTOM_RIGHT},
    };
    p.query.stride[0] = 3 * width;
    p.key.stride[0] = capacity * 2 * width, p.key.stride[1] = each, p.key.stride[2] = 2 * width;
    p.value = p.key;
    p.value.data = cache->said + width;
    attn_relative relative = {.buckets = ATTN_BUCKETS_T5_CAUSAL};
    if (layer->relative > 0) {
        relative.bias = attn_tensor_dense(pass->values + layer->relative_bias, NN_DTYPE, 1, heads,
                                          1, layer->relative);
        p.score.relative = &relative;
    }
    if (!attn_nn_check(pass, attn_forward(pass->context, &p))) return NULL;
    return attn_nn_linear_forward(pass, &layer->out, mixed, d->rows);
}

static real *attend_to_source(attn_nn_decoder *d, const attn_nn_attention *layer,
                              const layer_cache *cache, const real *x, real *weights) {
    attn_nn_pass *const pass = d->pass;
    const int64_t width = layer->width, heads = layer->heads, each = width / heads;
    const int64_t keys = attn_nn_rows(&d->source);
    attn_nn_linear queries = layer->in;
    queries.out = width;
    const real *const query = attn_nn_linear_forward(pass, &queries, x, d->rows);
    real *const mixed = attn_nn_take(pass, d->rows * width);
    attn_problem p = {
        .query = attn_tensor_dense(query, NN_DTYPE, 1, heads, d->rows, each),
        .key = attn_tensor_dense(cache->source, NN_DTYPE, 1, heads, keys, each),
        .output = attn_tensor_dense(mixed, NN_DTYPE, 1, heads, d->rows, each),
        .mask = {.query_starts = ((const decoder_state *)d->state)->row_starts,
                 .key_starts = d->source.starts,
                 .sequences = d->source.count},
    };
    p.query.stride[1] = p.output.stride[1] = p.key.stride[1] = each;
    p.query.stride[2] = p.output.stride[2] = width, p.key.stride[2] = 2 * width;
    p.value = p.key;
    p.value.data = (void *)(uintptr_t)(cache->source + width);
    real *all = NULL;
    if (weights != NULL) {
        all = attn_nn_take(pass, heads * d->rows * d->longest);
        p.weights = attn_tensor_dense(all, NN_DTYPE, 1, heads, d->rows, d->longest);
    }
    if (attn_nn_failed(pass) || !attn_nn_check(pass, attn_forward(pass->context, &p))) return NULL;
    if (weights != NULL) attn_nn_mean_of_heads(d, all, heads, weights);
    return attn_nn_linear_forward(pass, &layer->out, mixed, d->rows);
}

static const real *step_block(attn_nn_decoder *d, const attn_nn_block *block, layer_cache *cache,
                              const real *x, real *weights) {
    attn_nn_pass *const pass = d->pass;
    const attn_nn_config *const c = &d->model->config;
    attn_nn_block_saved saved;
    const real *inner = attn_nn_sublayer_begin(pass, c, &block->norm_self, x, d->rows, &saved.self);
    real *y = attend_to_said(d, &block->self, cache, inner);
    x = attn_nn_sublayer_end(pass, c, &block->norm_self, y, d->rows, &saved.self);
    inner = attn_nn_sublayer_begin(pass, c, &block->norm_cross, x, d->rows, &saved.cross);
    y = attend_to_source(d, &block->cross, cache, inner, weights);
    x = attn_nn_sublayer_end(pass, c, &block->norm_cross, y, d->rows, &saved.cross);
    inner = attn_nn_sublayer_begin(pass, c, &block->norm_feed, x, d->rows, &saved.feed);
    y = attn_nn_feed_forward(pass, c, block, inner, d->rows, &saved);
    return attn_nn_sublayer_end(pass, c, &block->norm_feed, y, d->rows, &saved.feed);
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
    attn_nn_pass *const pass = d->pass;
    const attn_nn_model *const model = d->model;
    const attn_nn_transformer_layers *const layers = model->layers;
    decoder_state *const state = d->state;
    const int64_t width = model->config.width, shown = model->config.align_layer - 1;
    real *const place = attn_nn_take_zeros(pass, width);
    if (place == NULL || !make_room(d)) return NULL;
    find_row_starts(d, state->row_starts);
    attn_nn_add_position(model, pass, place, d->said);
    for (int64_t r = 0; r < d->rows; r++)
        attn_nn_kernels_of(pass)->add(x + r * width, 1, place, width);
    const real *at = x;
    for (int64_t i = 0; i < model->config.decoder_layers && !attn_nn_failed(pass); i++) {
        at = step_block(d, &layers->decoder[i], &state->layers[i], at, i == shown ? weights : NULL);
    }
    if (attn_nn_failed(pass)) return NULL;
    if (model->config.post_norm) return at;
    return attn_nn_norm_forward(pass, &layers->decoder_norm, at, d->rows);
}

#include "attention.h"

#include "../noise.h"
#include "positions.h"

#include <math.h>

/* PyTorch's start (Glorot & Bengio 2010): uniform within sqrt(6/(in + out)) for in_proj, of which the
 * three matrices count as one. */
attn_nn_attention attn_nn_attention_make(attn_nn_layout *layout, const char *name, int64_t width,
                                         int64_t heads, int64_t relative) {
    attn_nn_attention layer = {.width = width, .heads = heads, .relative = relative};
    layer.in.in = width, layer.in.out = 3 * width;
    layer.in.weight =
        attn_nn_layout_add(layout, attn_nn_join(name, "in_proj_weight").text, 3 * width, width,
                           ATTN_NN_UNIFORM, sqrt(1.5 / (double)width));
    layer.in.bias = attn_nn_layout_add(layout, attn_nn_join(name, "in_proj_bias").text, 1,
                                       3 * width, ATTN_NN_ZERO, 0);
    layer.out =
        attn_nn_linear_make(layout, attn_nn_join(name, "out_proj").text, width, width, true);
    if (relative > 0) {
        layer.relative_bias = attn_nn_layout_add(layout, attn_nn_join(name, "relative_bias").text,
                                                 heads, relative, ATTN_NN_ZERO, 0);
    }
    return layer;
}

/* --- The problem that libattn is given ------------------------------------------------------------ */

/* [1, heads, rows, width/heads], heads side by side in rows that are `stride` apart. */
static attn_tensor heads_of(const attn_nn_attention *layer, const real *data, int64_t rows,
                            int64_t stride) {
    const int64_t d = layer->width / layer->heads;
    attn_tensor t = attn_tensor_dense(data, NN_DTYPE, 1, layer->heads, rows, d);
    t.stride[0] = rows * stride, t.stride[1] = d, t.stride[2] = stride;
    return t;
}

void attn_nn_describe_relative(const attn_nn_attention *layer, const attn_nn_pass *pass,
                               attn_relative *relative, attn_problem *p) {
    if (layer->relative == 0) return;
    relative->buckets = layer->causal ? ATTN_BUCKETS_T5_CAUSAL : ATTN_BUCKETS_T5;
    relative->bias = attn_tensor_dense(pass->values + layer->relative_bias, NN_DTYPE, 1,
                                       layer->heads, 1, layer->relative);
    p->score.relative = relative;
}

/* Whatever attention is told besides query, key and value. It keeps what `relative` is pointed at. */
static void describe(const attn_nn_attention *layer, const attn_nn_pass *pass,
                     const attn_nn_sentences *queries, const attn_nn_sentences *keys,
                     const attn_nn_attention_saved *saved, attn_relative *relative,
                     attn_problem *p) {
    const int64_t rows = attn_nn_rows(queries), key_rows = attn_nn_rows(keys);
    p->query = heads_of(layer, saved->query, rows, saved->query_stride);
    p->key = heads_of(layer, saved->key, key_rows, saved->key_stride);
    p->value = heads_of(layer, saved->value, key_rows, saved->key_stride);
    p->output = heads_of(layer, saved->mixed, rows, layer->width);
    p->lse = attn_tensor_dense(saved->lse, NN_DTYPE, 1, layer->heads, rows, 1);
    p->mask.causal = layer->causal;
    p->mask.query_starts = queries->starts, p->mask.key_starts = keys->starts;
    p->mask.sequences = queries->count;
    if (saved->seed != 0) p->normalizer.dropout = layer->dropout;
    p->normalizer.seed = saved->seed;
    attn_nn_describe_relative(layer, pass, relative, p);
}

/* --- Forward -------------------------------------------------------------------------------------- */

/* A third or two of in_proj: queries, or keys and values. */
static attn_nn_linear part_of(const attn_nn_attention *layer, int64_t first, int64_t count) {
    attn_nn_linear part = layer->in;
    part.weight += first * layer->width * layer->width;
    part.bias += first * layer->width;
    part.out = count * layer->width;
    return part;
}

/* Queries, keys and values of x, each row's side by side. */
static void project(attn_nn_pass *pass, const attn_nn_attention *layer, const real *x, int64_t rows,
                    attn_nn_attention_saved *saved) {
    const int64_t width = layer->width;
    saved->query = attn_nn_linear_forward(pass, &layer->in, x, rows);
    if (saved->query == NULL) return;
    saved->key = saved->query + width, saved->value = saved->query + 2 * width;
    saved->query_stride = saved->key_stride = 3 * width;
}

attn_nn_real *attn_nn_attention_keys(attn_nn_pass *pass, const attn_nn_attention *layer,
                                     const attn_nn_real *memory, int64_t rows) {
    const attn_nn_linear both = part_of(layer, 1, 2);
    return attn_nn_linear_forward(pass, &both, memory, rows);
}

/* Queries of x, beside keys and values that are there; only who made them rotates them. */
static void project_queries(attn_nn_pass *pass, const attn_nn_attention *layer, const real *x,
                            int64_t rows, const real *keys_and_values,
                            attn_nn_attention_saved *saved) {
    const attn_nn_linear queries = part_of(layer, 0, 1);
    saved->query = attn_nn_linear_forward(pass, &queries, x, rows);
    if (saved->query == NULL || keys_and_values == NULL) return;
    saved->key = (real *)(uintptr_t)keys_and_values;
    saved->value = saved->key + layer->width;
    saved->query_stride = layer->width, saved->key_stride = 2 * layer->width;
}

static void rotate(attn_nn_pass *pass, const attn_nn_attention *layer,
                   const attn_nn_sentences *queries, const attn_nn_sentences *keys,
                   attn_nn_attention_saved *saved) {
    const int64_t longest = attn_nn_longest(queries), key_longest = attn_nn_longest(keys);
    saved->angles = attn_nn_angles(pass, layer, 0, longest > key_longest ? longest : key_longest);
    if (saved->angles == NULL) return;
    attn_nn_rotate(layer, saved->angles, saved->query, saved->query_stride, queries, 1);
    attn_nn_rotate(layer, saved->angles, saved->key, saved->key_stride, keys, 1);
}

/* From queries, keys and values to y; `draw` is the number of its noise. */
static real *attend(attn_nn_pass *pass, const attn_nn_attention *layer,
                    const attn_nn_sentences *queries, const attn_nn_sentences *keys,
                    bool want_weights, uint64_t draw, attn_nn_attention_saved *saved) {
    const int64_t rows = attn_nn_rows(queries);
    saved->mixed = attn_nn_take(pass, rows * layer->width);
    saved->lse = attn_nn_take(pass, layer->heads * rows);
    if (attn_nn_failed(pass)) return NULL;
    /* A seed of 0 says that nothing is dropped; nor is it of weights that are looked at, for a guide would
     * teach what was dropped. */
    if (pass->training && layer->dropout > 0 && !want_weights) {
        saved->seed = attn_nn_stream(pass->seed, draw) | 1;
    }
    attn_relative relative = {0};
    attn_problem problem = {0};
    describe(layer, pass, queries, keys, saved, &relative, &problem);
    if (want_weights) {
        saved->longest = attn_nn_longest(keys);
        saved->weights = attn_nn_take(pass, layer->heads * rows * saved->longest);
        problem.weights =
            attn_tensor_dense(saved->weights, NN_DTYPE, 1, layer->heads, rows, saved->longest);
    }
    if (attn_nn_failed(pass) || !attn_nn_check(pass, attn_forward(pass->context, &problem)))
        return NULL;
    return attn_nn_linear_forward(pass, &layer->out, saved->mixed, rows);
}

attn_nn_real *attn_nn_attention_forward(attn_nn_pass *pass, const attn_nn_attention *layer,
                                        const attn_nn_real *x, const attn_nn_sentences *queries,
                                        const attn_nn_real *memory, const attn_nn_sentences *keys,
                                        bool want_weights, attn_nn_attention_saved *saved) {
    memset(saved, 0, sizeof *saved);
    const uint64_t draw = pass->draws++;
    if (x == NULL) return NULL;
    const int64_t rows = attn_nn_rows(queries);
    if (memory == NULL) {
        project(pass, layer, x, rows, saved);
    } else {
        const real *const both = attn_nn_attention_keys(pass, layer, memory, attn_nn_rows(keys));
        project_queries(pass, layer, x, rows, both, saved);
    }
    if (layer->rotary_base > 0 && !attn_nn_failed(pass)) rotate(pass, layer, queries, keys, saved);
    return attend(pass, layer, queries, keys, want_weights, draw, saved);
}

attn_nn_real *attn_nn_attention_look(attn_nn_pass *pass, const attn_nn_attention *layer,
                                     const attn_nn_real *x, const attn_nn_sentences *queries,
                                     const attn_nn_real *keys_and_values,
                                     const attn_nn_sentences *keys, bool want_weights,
                                     attn_nn_attention_saved *saved) {
    memset(saved, 0, sizeof *saved);
    const uint64_t draw = pass->draws++;
    if (layer->causal || layer->rotary_base > 0 || layer->relative > 0) {
        return attn_nn_fail(pass, ATTN_ERROR_VALUE,
                            "attention_look: expected a layer without causal and positions");
    }
    if (x == NULL || keys_and_values == NULL) return NULL;
    project_queries(pass, layer, x, attn_nn_rows(queries), keys_and_values, saved);
    return attend(pass, layer, queries, keys, want_weights, draw, saved);
}

/* --- Backward ------------------------------------------------------------------------------------- */

/* libattn writes gradients, each into a place of its own; they join in_proj's afterwards. */
typedef struct {
    real *query, *key, *value, *relative;
} gradients_of_heads;

static bool back_through_heads(attn_nn_pass *pass, const attn_nn_attention *layer,
                               const attn_nn_sentences *queries, const attn_nn_sentences *keys,
                               const attn_nn_attention_saved *saved, const real *d_mixed,
                               const real *d_weights, gradients_of_heads *d) {
    const int64_t rows = attn_nn_rows(queries), key_rows = attn_nn_rows(keys);
    const int64_t width = layer->width, entries = layer->heads * layer->relative;
    attn_relative relative = {0};
    attn_problem problem = {0};
    describe(layer, pass, queries, keys, saved, &relative, &problem);
    d->query = attn_nn_take(pass, rows * width);
    d->key = attn_nn_take(pass, key_rows * width);
    d->value = attn_nn_take(pass, key_rows * width);
    d->relative = attn_nn_take(pass, entries);
    if (attn_nn_failed(pass)) return false;
    attn_result_gradients from = {.output = heads_of(layer, d_mixed, rows, width)};
    if (d_weights != NULL) {
        from.weights =
            attn_tensor_dense(d_weights, NN_DTYPE, 1, layer->heads, rows, saved->longest);
    }
    attn_input_gradients to = {
        .query = heads_of(layer, d->query, rows, width),
        .key = heads_of(layer, d->key, key_rows, width),
        .value = heads_of(layer, d->value, key_rows, width),
    };
    if (entries > 0) {
        to.relative_bias =
            attn_tensor_dense(d->relative, NN_DTYPE, 1, layer->heads, 1, layer->relative);
    }
    if (!attn_nn_check(pass, attn_backward(pass->context, &problem, &from, &to))) return false;
    if (entries > 0) {
        attn_nn_kernels_of(pass)->add(pass->gradients + layer->relative_bias, 1, d->relative,
                                      entries);
    }
    return true;
}

void attn_nn_attention_backward(attn_nn_pass *pass, const attn_nn_attention *layer,
                                const attn_nn_real *x, const attn_nn_sentences *queries,
                                const attn_nn_real *memory, const attn_nn_sentences *keys,
                                const attn_nn_attention_saved *saved, const attn_nn_real *d_y,
                                const attn_nn_real *d_weights, attn_nn_real *d_x,
                                attn_nn_real *d_memory) {
    if (attn_nn_failed(pass)) return;
    const int64_t rows = attn_nn_rows(queries), key_rows = attn_nn_rows(keys);
    const size_t mark = attn_nn_mark(pass);
    gradients_of_heads d;
    real *const d_mixed = attn_nn_take_zeros(pass, rows * layer->width);
    attn_nn_linear_backward(pass, &layer->out, saved->mixed, d_y, rows, d_mixed);
    if (d_mixed != NULL &&
        back_through_heads(pass, layer, queries, keys, saved, d_mixed, d_weights, &d)) {
        if (layer->rotary_base > 0) {
            attn_nn_rotate(layer, saved->angles, d.query, layer->width, queries, -1);
            attn_nn_rotate(layer, saved->angles, d.key, layer->width, keys, -1);
        }
        const attn_nn_linear of_query = part_of(layer, 0, 1), of_key = part_of(layer, 1, 1),
                             of_value = part_of(layer, 2, 1);
        if (memory == NULL) memory = x, d_memory = d_x;
        attn_nn_linear_backward(pass, &of_query, x, d.query, rows, d_x);
        attn_nn_linear_backward(pass, &of_key, memory, d.key, key_rows, d_memory);
        attn_nn_linear_backward(pass, &of_value, memory, d.value, key_rows, d_memory);
    }
    attn_nn_release(pass, mark);
}

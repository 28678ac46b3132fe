/* attention_steps.c: self-attention row by row, over keys and values that are kept. */
#include "attention.h"

#include "positions.h"

#include <stdlib.h>

/* --- Room, and order ------------------------------------------------------------------------------ */

/* Room grows by so many steps. Every sequence is then moved; but each step reads all of them, so that costs a
 * sixteenth of what it does. */
enum { MORE = 16 };

/* Room for max_rows sequences of `capacity` steps; something to point at for none. */
static bool resize(attn_nn_attention_cache *cache, int64_t capacity) {
    size_t size = sizeof(real);
    if (__builtin_mul_overflow(size, (size_t)cache->max_rows, &size) ||
        __builtin_mul_overflow(size, (size_t)capacity, &size) ||
        __builtin_mul_overflow(size, (size_t)(2 * cache->width), &size)) {
        return false;
    }
    real *const kept = realloc(cache->kept, size ? size : 1);
    if (kept == NULL) return false;
    cache->kept = kept;
    return true;
}

/* Sequences lie further apart: the last one moves first, for its new place is beyond the others' old ones. */
static bool make_room(attn_nn_pass *pass, attn_nn_attention_cache *cache) {
    const int64_t old = cache->capacity, capacity = old + MORE, step = 2 * cache->width;
    if (cache->length < old) return true;
    if (!resize(cache, capacity)) {
        attn_nn_fail(pass, ATTN_ERROR_MEMORY, "out of memory");
        return false;
    }
    for (int64_t r = cache->rows - 1; r > 0 && cache->length > 0; r--) {
        memmove(cache->kept + r * capacity * step, cache->kept + r * old * step,
                (size_t)(cache->length * step) * sizeof *cache->kept);
    }
    cache->capacity = capacity;
    return true;
}

bool attn_nn_attention_reorder(attn_nn_pass *pass, attn_nn_attention_cache *cache,
                               const int64_t *from, int64_t rows) {
    if (attn_nn_failed(pass)) return false;
    if (rows < 0 || rows > cache->max_rows) {
        attn_nn_fail(pass, ATTN_ERROR_SHAPE, "reorder: more rows than there is room for");
        return false;
    }
    if (cache->length == 0) return true;
    for (int64_t r = 0; r < rows; r++) {
        if (from[r] < 0 || from[r] >= cache->rows) {
            attn_nn_fail(pass, ATTN_ERROR_VALUE, "reorder: from: expected rows that there are");
            return false;
        }
    }
    const int64_t step = 2 * cache->width;
    if (!attn_nn_move_rows(pass, cache->kept, cache->capacity * step, cache->length * step, from,
                           rows, cache->rows)) {
        return false;
    }
    cache->rows = rows;
    return true;
}

void attn_nn_attention_cache_free(attn_nn_attention_cache *cache) {
    free(cache->kept);
    cache->kept = NULL;
    cache->width = cache->rows = cache->length = cache->capacity = 0;
}

/* --- One step ------------------------------------------------------------------------------------- */

static bool begins(attn_nn_pass *pass, const attn_nn_attention *layer, int64_t rows,
                   attn_nn_attention_cache *cache) {
    if (!layer->causal) {
        attn_nn_fail(pass, ATTN_ERROR_VALUE, "attention_step: expected a causal layer");
    }
    if (rows < 0 || rows > cache->max_rows ||
        (cache->length > 0 && (rows != cache->rows || layer->width != cache->width))) {
        attn_nn_fail(pass, ATTN_ERROR_SHAPE,
                     "attention_step: expected the cache's rows, at most max_rows, and width");
    }
    if (attn_nn_failed(pass)) return false;
    if (cache->length == 0) {
        if (cache->width != layer->width) attn_nn_attention_cache_free(cache);
        cache->rows = rows, cache->width = layer->width;
    }
    return make_room(pass, cache);
}

/* Keys are rotated in place, and join the cache with their values. */
static void keep(attn_nn_pass *pass, const attn_nn_attention *layer, real *qkv, int64_t rows,
                 attn_nn_attention_cache *cache) {
    const int64_t width = layer->width;
    if (layer->rotary_base > 0) {
        const real *const angles = attn_nn_angles(pass, layer, cache->length, 1);
        if (angles == NULL) return;
        attn_nn_rotate_at(layer, angles, qkv, 3 * width, rows);
        attn_nn_rotate_at(layer, angles, qkv + width, 3 * width, rows);
    }
    for (int64_t r = 0; r < rows; r++) {
        memcpy(cache->kept + (r * cache->capacity + cache->length) * 2 * width,
               qkv + (3 * r + 1) * width, (size_t)(2 * width) * sizeof *qkv);
    }
}

/* Each row is a sequence of its own: one query, and all keys so far. */
attn_nn_real *attn_nn_attention_step(attn_nn_pass *pass, const attn_nn_attention *layer,
                                     const attn_nn_real *x, int64_t rows,
                                     attn_nn_attention_cache *cache) {
    if (x == NULL || !begins(pass, layer, rows, cache)) return NULL;
    const int64_t width = layer->width, heads = layer->heads, each = width / heads;
    real *const qkv = attn_nn_linear_forward(pass, &layer->in, x, rows);
    real *const mixed = attn_nn_take(pass, rows * width);
    if (attn_nn_failed(pass)) return NULL;
    keep(pass, layer, qkv, rows, cache);
    attn_problem p = {
        .query = attn_tensor_dense(qkv, NN_DTYPE, rows, heads, 1, each),
        .key = attn_tensor_dense(cache->kept, NN_DTYPE, rows, heads, cache->length + 1, each),
        .output = attn_tensor_dense(mixed, NN_DTYPE, rows, heads, 1, each),
        .mask = {.causal = true, .alignment = ATTN_ALIGN_BOTTOM_RIGHT},
    };
    p.query.stride[0] = 3 * width;
    p.key.stride[0] = cache->capacity * 2 * width;
    p.key.stride[1] = each, p.key.stride[2] = 2 * width;
    p.value = p.key;
    p.value.data = cache->kept + width;
    attn_relative relative = {0};
    attn_nn_describe_relative(layer, pass, &relative, &p);
    if (attn_nn_failed(pass) || !attn_nn_check(pass, attn_forward(pass->context, &p))) return NULL;
    real *const y = attn_nn_linear_forward(pass, &layer->out, mixed, rows);
    if (y != NULL) cache->length++;
    return y;
}

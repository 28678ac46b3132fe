/* attention_steps.c: self-attention row by row, over keys and values that are kept. */
#include "attention.h"

#include "positions.h"

#include <stdlib.h>

/* --- Room, and order ------------------------------------------------------------------------------ */

enum { FIRST_CAPACITY = 16 };

/* Memory for max_rows sequences of `capacity` steps; something to point at for none. */
static real *allocate(const attn_nn_attention_cache *cache, int64_t capacity) {
    size_t size = sizeof(real);
    const bool overflows = __builtin_mul_overflow(size, (size_t)cache->max_rows, &size) ||
                           __builtin_mul_overflow(size, (size_t)capacity, &size) ||
                           __builtin_mul_overflow(size, (size_t)(2 * cache->width), &size);
    return overflows ? NULL : malloc(size ? size : 1);
}

/* Makes `spare` have room for `capacity` steps, copies sequence from[r], or r itself, to its sequence
 * r, and exchanges the two. */
static bool move_rows(attn_nn_pass *pass, attn_nn_attention_cache *cache, int64_t capacity,
                      const int64_t *from, int64_t rows) {
    const size_t token = (size_t)(2 * cache->width);
    const int64_t old = cache->capacity;
    if (capacity != old || cache->spare == NULL) {
        free(cache->spare);
        cache->spare = allocate(cache, capacity);
        if (cache->spare == NULL) {
            attn_nn_fail(pass, ATTN_ERROR_MEMORY, "out of memory");
            return false;
        }
    }
    for (int64_t r = 0; r < rows && cache->length > 0; r++) {
        memcpy(cache->spare + (size_t)(r * capacity) * token,
               cache->kept + (size_t)((from ? from[r] : r) * old) * token,
               (size_t)cache->length * token * sizeof(real));
    }
    real *const kept = cache->kept;
    cache->kept = cache->spare, cache->spare = kept;
    cache->capacity = capacity;
    if (capacity != old) {
        free(cache->spare);
        cache->spare = NULL;
    }
    return true;
}

static bool make_room(attn_nn_pass *pass, attn_nn_attention_cache *cache) {
    if (cache->length < cache->capacity) return true;
    const int64_t capacity = cache->capacity ? 2 * cache->capacity : FIRST_CAPACITY;
    return move_rows(pass, cache, capacity, NULL, cache->rows);
}

bool attn_nn_attention_reorder(attn_nn_pass *pass, attn_nn_attention_cache *cache,
                               const int64_t *from, int64_t rows) {
    if (attn_nn_failed(pass)) return false;
    if (rows < 0 || rows > cache->max_rows) {
        attn_nn_fail(pass, ATTN_ERROR_SHAPE, "reorder: more rows than there is room for");
        return false;
    }
    if (cache->length == 0) return true;
    bool same = true;
    for (int64_t r = 0; r < rows; r++) {
        if (from[r] < 0 || from[r] >= cache->rows) {
            attn_nn_fail(pass, ATTN_ERROR_VALUE, "reorder: from: expected rows that there are");
            return false;
        }
        same = same && from[r] == r;
    }
    if (!same && !move_rows(pass, cache, cache->capacity, from, rows)) return false;
    cache->rows = rows;
    return true;
}

void attn_nn_attention_cache_free(attn_nn_attention_cache *cache) {
    free(cache->kept);
    free(cache->spare);
    cache->kept = cache->spare = NULL;
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

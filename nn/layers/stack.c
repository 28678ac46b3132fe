/* stack.c: an encoder or a decoder: blocks, each on what the one before gave, and a norm. */
#include "attn/transformer.h"

#include "../nn.h"

static real *normalized(attn_nn_pass *pass, const attn_nn_stack *stack, real *y, int64_t rows) {
    if (attn_nn_failed(pass)) return NULL;
    return stack->norm != NULL ? attn_nn_norm_forward(pass, stack->norm, y, rows) : y;
}

/* Where there is no way back, what a block took is given back as soon as its result lies in `kept`. */
static real *keep_result(attn_nn_pass *pass, const real *y, real *kept, size_t mark,
                         int64_t count) {
    if (y == NULL) return NULL;
    memcpy(kept, y, (size_t)count * sizeof *kept);
    attn_nn_release(pass, mark);
    return kept;
}

static int64_t size_of(const attn_nn_stack *stack, int64_t rows) {
    return stack->count > 0 ? rows * stack->blocks[0].self.width : 0;
}

attn_nn_real *attn_nn_stack_forward(attn_nn_pass *pass, const attn_nn_stack *stack,
                                    const attn_nn_real *x, const attn_nn_sentences *rows,
                                    const attn_nn_real *memory,
                                    const attn_nn_sentences *memory_rows, int64_t shown,
                                    attn_nn_stack_saved *saved) {
    real *y = NULL;
    const int64_t count = size_of(stack, attn_nn_rows(rows));
    saved->blocks = attn_nn_take_bytes(pass, (size_t)stack->count * sizeof *saved->blocks);
    real *const kept = pass->gradients == NULL ? attn_nn_take(pass, count) : NULL;
    for (int64_t i = 0; i < stack->count && !attn_nn_failed(pass); i++) {
        const size_t mark = attn_nn_mark(pass);
        y = attn_nn_block_forward(pass, &stack->blocks[i], x, rows, memory, memory_rows, i == shown,
                                  &saved->blocks[i]);
        if (kept != NULL && i != shown) y = keep_result(pass, y, kept, mark, count);
        x = y;
    }
    saved->last = y;
    return normalized(pass, stack, y, attn_nn_rows(rows));
}

attn_nn_real *attn_nn_stack_backward(attn_nn_pass *pass, const attn_nn_stack *stack,
                                     const attn_nn_sentences *rows, const attn_nn_real *memory,
                                     const attn_nn_sentences *memory_rows,
                                     const attn_nn_stack_saved *saved, int64_t shown,
                                     const attn_nn_real *d_weights, attn_nn_real *d,
                                     attn_nn_real *d_memory) {
    if (stack->norm != NULL) {
        const int64_t count = attn_nn_rows(rows);
        real *const d_last = attn_nn_take_zeros(pass, count * stack->norm->width);
        attn_nn_norm_backward(pass, stack->norm, saved->last, d, count, d_last);
        d = d_last;
    }
    for (int64_t i = stack->count; i-- > 0 && !attn_nn_failed(pass);) {
        attn_nn_block_backward(pass, &stack->blocks[i], rows, memory, memory_rows,
                               &saved->blocks[i], i == shown ? d_weights : NULL, d, d_memory);
    }
    return attn_nn_failed(pass) ? NULL : d;
}

/* --- In steps ------------------------------------------------------------------------------------- */

bool attn_nn_stack_begin(attn_nn_pass *pass, const attn_nn_stack *stack, int64_t max_rows,
                         const attn_nn_real *memory, const attn_nn_sentences *memory_rows,
                         attn_nn_block_cache *caches) {
    for (int64_t i = 0; i < stack->count; i++) {
        caches[i] = (attn_nn_block_cache){.self = {.max_rows = max_rows}};
        if (!stack->blocks[i].options.cross || memory == NULL) continue;
        caches[i].memory = attn_nn_attention_keys(pass, &stack->blocks[i].cross, memory,
                                                  attn_nn_rows(memory_rows));
    }
    return !attn_nn_failed(pass);
}

attn_nn_real *attn_nn_stack_step(attn_nn_pass *pass, const attn_nn_stack *stack,
                                 const attn_nn_real *x, const attn_nn_sentences *rows,
                                 const attn_nn_sentences *memory_rows, attn_nn_block_cache *caches,
                                 int64_t shown, const attn_nn_real **weights) {
    attn_nn_block_saved saved;
    real *y = NULL;
    const int64_t count = size_of(stack, attn_nn_rows(rows));
    real *const kept = attn_nn_take(pass, count);
    for (int64_t i = 0; i < stack->count && !attn_nn_failed(pass); i++) {
        const bool wanted = weights != NULL && i == shown;
        const size_t mark = attn_nn_mark(pass);
        y = attn_nn_block_step(pass, &stack->blocks[i], x, rows, memory_rows, wanted, &caches[i],
                               &saved);
        if (!wanted) y = keep_result(pass, y, kept, mark, count);
        x = y;
        if (wanted) *weights = saved.cross_heads.weights;
    }
    return normalized(pass, stack, y, attn_nn_rows(rows));
}

bool attn_nn_stack_reorder(attn_nn_pass *pass, const attn_nn_stack *stack,
                           attn_nn_block_cache *caches, const int64_t *from, int64_t rows) {
    bool good = true;
    for (int64_t i = 0; i < stack->count && good; i++) {
        good = attn_nn_attention_reorder(pass, &caches[i].self, from, rows);
    }
    return good;
}

void attn_nn_stack_end(const attn_nn_stack *stack, attn_nn_block_cache *caches) {
    for (int64_t i = 0; i < stack->count; i++) {
        attn_nn_attention_cache_free(&caches[i].self);
        caches[i].memory = NULL;
    }
}

/* block.c: one layer of a Transformer's encoder or decoder, forward and back. */
#include "transformer.h"

/* --- Sublayers: norm, dropout, addition ----------------------------------------------------------- */

const real *attn_nn_sublayer_begin(attn_nn_pass *pass, const attn_nn_config *config,
                                   const attn_nn_norm *norm, const real *x, int64_t rows,
                                   attn_nn_sublayer_saved *saved) {
    saved->x = x;
    saved->inner = config->post_norm ? x : attn_nn_norm_forward(pass, norm, x, rows);
    return saved->inner;
}

real *attn_nn_sublayer_end(attn_nn_pass *pass, const attn_nn_config *config,
                           const attn_nn_norm *norm, real *y, int64_t rows,
                           attn_nn_sublayer_saved *saved) {
    saved->draw = attn_nn_dropout_forward(pass, config->dropout, y, rows * config->width);
    if (y == NULL) return NULL;
    attn_nn_kernels_of(pass)->add(y, 1, saved->x, rows * config->width);
    saved->sum = y;
    return config->post_norm ? attn_nn_norm_forward(pass, norm, y, rows) : y;
}

/* From d, the gradient of the sublayer's end, to that of x + ...: in place where pre-norm. */
static real *back_to_sum(attn_nn_pass *pass, const attn_nn_config *config, const attn_nn_norm *norm,
                         const attn_nn_sublayer_saved *saved, real *d, int64_t rows) {
    if (!config->post_norm) return d;
    real *const d_sum = attn_nn_take_zeros(pass, rows * config->width);
    if (d_sum == NULL) return NULL;
    attn_nn_norm_backward(pass, norm, saved->sum, d, rows, d_sum);
    return d_sum;
}

/* The gradient of f's output: d_sum itself, unless dropout, or f's way back, would change it. */
static real *back_to_output(attn_nn_pass *pass, const attn_nn_config *config,
                            const attn_nn_sublayer_saved *saved, real *d_sum, int64_t rows) {
    const bool drops = pass->training && config->dropout > 0;
    if (d_sum == NULL || (!drops && !config->post_norm)) return d_sum;
    real *const d_y = attn_nn_take(pass, rows * config->width);
    if (d_y == NULL) return NULL;
    memcpy(d_y, d_sum, (size_t)(rows * config->width) * sizeof *d_y);
    attn_nn_dropout_backward(pass, config->dropout, saved->draw, d_y, rows * config->width);
    return d_y;
}

/* Where the gradient of f's input is added: x itself has it if post-norm. */
static real *place_for_inner(attn_nn_pass *pass, const attn_nn_config *config, real *d_sum,
                             int64_t rows) {
    return config->post_norm ? d_sum : attn_nn_take_zeros(pass, rows * config->width);
}

static void back_to_x(attn_nn_pass *pass, const attn_nn_config *config, const attn_nn_norm *norm,
                      const attn_nn_sublayer_saved *saved, const real *d_inner, real *d_sum,
                      int64_t rows) {
    if (!config->post_norm && d_inner != NULL) {
        attn_nn_norm_backward(pass, norm, saved->x, d_inner, rows, d_sum);
    }
}

/* --- Feed-forward: down(activation(up(x))) -------------------------------------------------------- */

real *attn_nn_feed_forward(attn_nn_pass *pass, const attn_nn_config *config,
                           const attn_nn_block *block, const real *x, int64_t rows,
                           attn_nn_block_saved *saved) {
    const int64_t count = rows * config->feed_forward;
    saved->up = attn_nn_linear_forward(pass, &block->up, x, rows);
    real *const active = attn_nn_activation_forward(pass, config->activation, saved->up, count);
    saved->active_draw = attn_nn_dropout_forward(pass, config->activation_dropout, active, count);
    saved->active = active;
    return attn_nn_linear_forward(pass, &block->down, active, rows);
}

static void feed_back(attn_nn_pass *pass, const attn_nn_config *config, const attn_nn_block *block,
                      const attn_nn_block_saved *saved, const real *d_y, int64_t rows, real *d_x) {
    const int64_t count = rows * config->feed_forward;
    real *const d = attn_nn_take_zeros(pass, count);
    attn_nn_linear_backward(pass, &block->down, saved->active, d_y, rows, d);
    attn_nn_dropout_backward(pass, config->activation_dropout, saved->active_draw, d, count);
    attn_nn_activation_backward(pass, config->activation, saved->up, d, count);
    attn_nn_linear_backward(pass, &block->up, saved->feed.inner, d, rows, d_x);
}

/* --- Blocks --------------------------------------------------------------------------------------- */

real *attn_nn_block_forward(attn_nn_pass *pass, const attn_nn_config *config,
                            const attn_nn_block *block, const real *x,
                            const attn_nn_sentences *rows, const real *memory,
                            const attn_nn_sentences *memory_rows, bool want_weights,
                            attn_nn_block_saved *saved) {
    const int64_t count = attn_nn_rows(rows);
    const real *inner =
        attn_nn_sublayer_begin(pass, config, &block->norm_self, x, count, &saved->self);
    real *y = attn_nn_attention_forward(pass, &block->self, inner, rows, NULL, rows, false,
                                        &saved->self_heads);
    x = attn_nn_sublayer_end(pass, config, &block->norm_self, y, count, &saved->self);
    if (memory_rows != NULL) {
        inner = attn_nn_sublayer_begin(pass, config, &block->norm_cross, x, count, &saved->cross);
        y = attn_nn_attention_forward(pass, &block->cross, inner, rows, memory, memory_rows,
                                      want_weights, &saved->cross_heads);
        x = attn_nn_sublayer_end(pass, config, &block->norm_cross, y, count, &saved->cross);
    }
    inner = attn_nn_sublayer_begin(pass, config, &block->norm_feed, x, count, &saved->feed);
    y = attn_nn_feed_forward(pass, config, block, inner, count, saved);
    return attn_nn_sublayer_end(pass, config, &block->norm_feed, y, count, &saved->feed);
}

/* Three times the same: what flows into a sublayer's end goes through it and past it. */
real *attn_nn_block_backward(attn_nn_pass *pass, const attn_nn_config *config,
                             const attn_nn_block *block, const attn_nn_sentences *rows,
                             const real *memory, const attn_nn_sentences *memory_rows,
                             const attn_nn_block_saved *saved, real *d, const real *d_weights,
                             real *d_memory) {
    const int64_t count = attn_nn_rows(rows);
    d = back_to_sum(pass, config, &block->norm_feed, &saved->feed, d, count);
    const real *d_y = back_to_output(pass, config, &saved->feed, d, count);
    real *d_inner = place_for_inner(pass, config, d, count);
    feed_back(pass, config, block, saved, d_y, count, d_inner);
    back_to_x(pass, config, &block->norm_feed, &saved->feed, d_inner, d, count);
    if (memory_rows != NULL) {
        d = back_to_sum(pass, config, &block->norm_cross, &saved->cross, d, count);
        d_y = back_to_output(pass, config, &saved->cross, d, count);
        d_inner = place_for_inner(pass, config, d, count);
        attn_nn_attention_backward(pass, &block->cross, saved->cross.inner, rows, memory,
                                   memory_rows, &saved->cross_heads, d_y, d_weights, d_inner,
                                   d_memory);
        back_to_x(pass, config, &block->norm_cross, &saved->cross, d_inner, d, count);
    }
    d = back_to_sum(pass, config, &block->norm_self, &saved->self, d, count);
    d_y = back_to_output(pass, config, &saved->self, d, count);
    d_inner = place_for_inner(pass, config, d, count);
    attn_nn_attention_backward(pass, &block->self, saved->self.inner, rows, NULL, rows,
                               &saved->self_heads, d_y, NULL, d_inner, NULL);
    back_to_x(pass, config, &block->norm_self, &saved->self, d_inner, d, count);
    return attn_nn_failed(pass) ? NULL : d;
}

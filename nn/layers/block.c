/* block.c: one layer of a Transformer's encoder or decoder: forward, back, and in steps. */
#include "attn/transformer.h"

#include "../nn.h"

#include <math.h>
#include <stdio.h>

/* --- Parameters ----------------------------------------------------------------------------------- */

static attn_status refuse(const char *field, const char *expected) {
    char sentence[256];
    (void)snprintf(sentence, sizeof sentence, "options.%s: expected %s", field, expected);
    return attn_nn_error(ATTN_ERROR_VALUE, sentence);
}

static bool is_size(int64_t value) {
    return value >= 1 && value <= SIZE_LIMIT;
}

static bool is_rate(double value) {
    return value >= 0 && value < 1;
}

static attn_status check(const attn_nn_block_options *o) {
    static const char size[] = "1 to 1048576", rate[] = "0 or more and less than 1";
    if (!is_size(o->width)) return refuse("width", size);
    if (!is_size(o->heads)) return refuse("heads", size);
    if (o->width % o->heads != 0) return refuse("heads", "a divisor of width");
    if (!is_size(o->feed_forward)) return refuse("feed_forward", size);
    if ((int)o->norm < 0 || (int)o->norm > 1) return refuse("norm", "one of its enum");
    if ((int)o->activation < 0 || (int)o->activation > 2) {
        return refuse("activation", "one of its enum");
    }
    if (!(o->rotary_base >= 0 && o->rotary_base < INFINITY)) {
        return refuse("rotary_base", "0 or more, and finite");
    }
    if (o->rotary_base > 0 && o->width / o->heads % 2 != 0) {
        return refuse("rotary_base", "an even width of a head for rotary positions");
    }
    if (o->relative != 0 && !is_size(o->relative)) return refuse("relative", "0 to 1048576");
    if (!is_rate(o->dropout)) return refuse("dropout", rate);
    if (!is_rate(o->attention_dropout)) return refuse("attention_dropout", rate);
    return is_rate(o->activation_dropout) ? ATTN_OK : refuse("activation_dropout", rate);
}

static attn_nn_norm add_norm(attn_nn_layout *layout, const char *name, int64_t number,
                             const attn_nn_block_options *o) {
    char norm[] = "norm1";
    norm[4] = (char)('0' + number);
    return attn_nn_norm_make(layout, attn_nn_join(name, norm).text, o->norm, o->width);
}

attn_status attn_nn_block_make(attn_nn_layout *layout, const char *name,
                               const attn_nn_block_options *options, attn_nn_block *block) {
    if (layout == NULL || name == NULL || options == NULL || block == NULL) {
        return attn_nn_error(ATTN_ERROR_NULL, "layout, name, options or block is NULL");
    }
    attn_nn_block b = {.options = *options};
    attn_nn_block_options *const o = &b.options;
    if (o->heads == 0) o->heads = 4;
    if (o->feed_forward == 0) o->feed_forward = (int64_t)(4 * (uint64_t)o->width);
    const attn_status status = check(o);
    if (status != ATTN_OK) return status;
    b.norm_self = add_norm(layout, name, 1, o);
    b.self = attn_nn_attention_make(layout, attn_nn_join(name, "self_attn").text, o->width,
                                    o->heads, o->relative);
    b.self.causal = o->causal, b.self.rotary_base = o->rotary_base;
    b.self.dropout = o->attention_dropout;
    if (o->cross) {
        b.norm_cross = add_norm(layout, name, 2, o);
        b.cross = attn_nn_attention_make(layout, attn_nn_join(name, "multihead_attn").text,
                                         o->width, o->heads, 0);
        b.cross.dropout = o->attention_dropout;
    }
    b.norm_feed = add_norm(layout, name, o->cross ? 3 : 2, o);
    b.up = attn_nn_linear_make(layout, attn_nn_join(name, "linear1").text, o->width,
                               o->feed_forward, true);
    b.down = attn_nn_linear_make(layout, attn_nn_join(name, "linear2").text, o->feed_forward,
                                 o->width, true);
    *block = b;
    return ATTN_OK;
}

/* --- Sublayers: norm, dropout, addition ----------------------------------------------------------- */

static const real *sublayer_begin(attn_nn_pass *pass, const attn_nn_block_options *o,
                                  const attn_nn_norm *norm, const real *x, int64_t rows,
                                  attn_nn_sublayer_saved *saved) {
    saved->x = x;
    saved->inner = o->post_norm ? x : attn_nn_norm_forward(pass, norm, x, rows);
    return saved->inner;
}

static real *sublayer_end(attn_nn_pass *pass, const attn_nn_block_options *o,
                          const attn_nn_norm *norm, real *y, int64_t rows,
                          attn_nn_sublayer_saved *saved) {
    saved->draw = attn_nn_dropout_forward(pass, o->dropout, y, rows * o->width);
    if (y == NULL) return NULL;
    attn_nn_kernels_of(pass)->add(y, 1, saved->x, rows * o->width);
    saved->sum = y;
    return o->post_norm ? attn_nn_norm_forward(pass, norm, y, rows) : y;
}

/* From d, the gradient of the sublayer's end, to that of x + ...: in place where pre-norm. */
static real *back_to_sum(attn_nn_pass *pass, const attn_nn_block_options *o,
                         const attn_nn_norm *norm, const attn_nn_sublayer_saved *saved, real *d,
                         int64_t rows) {
    if (!o->post_norm) return d;
    real *const d_sum = attn_nn_take_zeros(pass, rows * o->width);
    if (d_sum == NULL) return NULL;
    attn_nn_norm_backward(pass, norm, saved->sum, d, rows, d_sum);
    return d_sum;
}

/* The gradient of f's output: d_sum itself, unless dropout, or f's way back, would change it. */
static real *back_to_output(attn_nn_pass *pass, const attn_nn_block_options *o,
                            const attn_nn_sublayer_saved *saved, real *d_sum, int64_t rows) {
    const bool drops = pass->training && o->dropout > 0;
    if (d_sum == NULL || (!drops && !o->post_norm)) return d_sum;
    real *const d_y = attn_nn_take(pass, rows * o->width);
    if (d_y == NULL) return NULL;
    memcpy(d_y, d_sum, (size_t)(rows * o->width) * sizeof *d_y);
    attn_nn_dropout_backward(pass, o->dropout, saved->draw, d_y, rows * o->width);
    return d_y;
}

/* Where the gradient of f's input is added: x itself has it if post-norm. */
static real *place_for_inner(attn_nn_pass *pass, const attn_nn_block_options *o, real *d_sum,
                             int64_t rows) {
    return o->post_norm ? d_sum : attn_nn_take_zeros(pass, rows * o->width);
}

static void back_to_x(attn_nn_pass *pass, const attn_nn_block_options *o, const attn_nn_norm *norm,
                      const attn_nn_sublayer_saved *saved, const real *d_inner, real *d_sum,
                      int64_t rows) {
    if (!o->post_norm && d_inner != NULL) {
        attn_nn_norm_backward(pass, norm, saved->x, d_inner, rows, d_sum);
    }
}

/* --- Feed-forward: down(activation(up(x))) -------------------------------------------------------- */

static real *feed_forward(attn_nn_pass *pass, const attn_nn_block *block, const real *x,
                          int64_t rows, attn_nn_block_saved *saved) {
    const attn_nn_block_options *const o = &block->options;
    const int64_t count = rows * o->feed_forward;
    saved->up = attn_nn_linear_forward(pass, &block->up, x, rows);
    real *const active = attn_nn_activation_forward(pass, o->activation, saved->up, count);
    saved->active_draw = attn_nn_dropout_forward(pass, o->activation_dropout, active, count);
    saved->active = active;
    return attn_nn_linear_forward(pass, &block->down, active, rows);
}

static void feed_back(attn_nn_pass *pass, const attn_nn_block *block,
                      const attn_nn_block_saved *saved, const real *d_y, int64_t rows, real *d_x) {
    const attn_nn_block_options *const o = &block->options;
    const int64_t count = rows * o->feed_forward;
    real *const d = attn_nn_take_zeros(pass, count);
    attn_nn_linear_backward(pass, &block->down, saved->active, d_y, rows, d);
    attn_nn_dropout_backward(pass, o->activation_dropout, saved->active_draw, d, count);
    attn_nn_activation_backward(pass, o->activation, saved->up, d, count);
    attn_nn_linear_backward(pass, &block->up, saved->feed.inner, d, rows, d_x);
}

/* --- Blocks --------------------------------------------------------------------------------------- */

static real *feed(attn_nn_pass *pass, const attn_nn_block *block, const real *x, int64_t rows,
                  attn_nn_block_saved *saved) {
    const attn_nn_block_options *const o = &block->options;
    const real *const inner = sublayer_begin(pass, o, &block->norm_feed, x, rows, &saved->feed);
    real *const y = feed_forward(pass, block, inner, rows, saved);
    return sublayer_end(pass, o, &block->norm_feed, y, rows, &saved->feed);
}

/* Memory that is NULL would be the rows themselves. */
static bool has_memory(attn_nn_pass *pass, const attn_nn_block *block, const real *memory,
                       const attn_nn_sentences *memory_rows) {
    if (block->options.cross && (memory == NULL || memory_rows == NULL)) {
        attn_nn_fail(pass, ATTN_ERROR_VALUE, "block: memory: cross attention has none to look at");
    }
    return !attn_nn_failed(pass);
}

attn_nn_real *attn_nn_block_forward(attn_nn_pass *pass, const attn_nn_block *block,
                                    const attn_nn_real *x, const attn_nn_sentences *rows,
                                    const attn_nn_real *memory,
                                    const attn_nn_sentences *memory_rows, bool want_weights,
                                    attn_nn_block_saved *saved) {
    memset(saved, 0, sizeof *saved);
    if (!has_memory(pass, block, memory, memory_rows)) return NULL;
    const attn_nn_block_options *const o = &block->options;
    const int64_t count = attn_nn_rows(rows);
    const real *inner = sublayer_begin(pass, o, &block->norm_self, x, count, &saved->self);
    real *y = attn_nn_attention_forward(pass, &block->self, inner, rows, NULL, rows,
                                        want_weights && !o->cross, &saved->self_heads);
    x = sublayer_end(pass, o, &block->norm_self, y, count, &saved->self);
    if (o->cross) {
        inner = sublayer_begin(pass, o, &block->norm_cross, x, count, &saved->cross);
        y = attn_nn_attention_forward(pass, &block->cross, inner, rows, memory, memory_rows,
                                      want_weights, &saved->cross_heads);
        x = sublayer_end(pass, o, &block->norm_cross, y, count, &saved->cross);
    }
    return feed(pass, block, x, count, saved);
}

attn_nn_real *attn_nn_block_step(attn_nn_pass *pass, const attn_nn_block *block,
                                 const attn_nn_real *x, const attn_nn_sentences *rows,
                                 const attn_nn_sentences *memory_rows, bool want_weights,
                                 attn_nn_block_cache *cache, attn_nn_block_saved *saved) {
    memset(saved, 0, sizeof *saved);
    if (!has_memory(pass, block, cache->memory, memory_rows)) return NULL;
    const attn_nn_block_options *const o = &block->options;
    const int64_t count = attn_nn_rows(rows);
    const real *inner = sublayer_begin(pass, o, &block->norm_self, x, count, &saved->self);
    real *y = attn_nn_attention_step(pass, &block->self, inner, count, &cache->self);
    x = sublayer_end(pass, o, &block->norm_self, y, count, &saved->self);
    if (o->cross) {
        inner = sublayer_begin(pass, o, &block->norm_cross, x, count, &saved->cross);
        y = attn_nn_attention_look(pass, &block->cross, inner, rows, cache->memory, memory_rows,
                                   want_weights, &saved->cross_heads);
        x = sublayer_end(pass, o, &block->norm_cross, y, count, &saved->cross);
    }
    return feed(pass, block, x, count, saved);
}

/* Three times the same: what flows into a sublayer's end goes through it and past it. After post-norm it
 * lies in memory of its own, which is given back once it is copied. */
void attn_nn_block_backward(attn_nn_pass *pass, const attn_nn_block *block,
                            const attn_nn_sentences *rows, const attn_nn_real *memory,
                            const attn_nn_sentences *memory_rows, const attn_nn_block_saved *saved,
                            const attn_nn_real *d_weights, attn_nn_real *d_y,
                            attn_nn_real *d_memory) {
    const attn_nn_block_options *const o = &block->options;
    const int64_t count = attn_nn_rows(rows);
    const size_t mark = attn_nn_mark(pass);
    real *d = back_to_sum(pass, o, &block->norm_feed, &saved->feed, d_y, count);
    const real *d_f = back_to_output(pass, o, &saved->feed, d, count);
    real *d_inner = place_for_inner(pass, o, d, count);
    feed_back(pass, block, saved, d_f, count, d_inner);
    back_to_x(pass, o, &block->norm_feed, &saved->feed, d_inner, d, count);
    if (o->cross) {
        d = back_to_sum(pass, o, &block->norm_cross, &saved->cross, d, count);
        d_f = back_to_output(pass, o, &saved->cross, d, count);
        d_inner = place_for_inner(pass, o, d, count);
        attn_nn_attention_backward(pass, &block->cross, saved->cross.inner, rows, memory,
                                   memory_rows, &saved->cross_heads, d_f, d_weights, d_inner,
                                   d_memory);
        back_to_x(pass, o, &block->norm_cross, &saved->cross, d_inner, d, count);
    }
    d = back_to_sum(pass, o, &block->norm_self, &saved->self, d, count);
    d_f = back_to_output(pass, o, &saved->self, d, count);
    d_inner = place_for_inner(pass, o, d, count);
    attn_nn_attention_backward(pass, &block->self, saved->self.inner, rows, NULL, rows,
                               &saved->self_heads, d_f, o->cross ? NULL : d_weights, d_inner, NULL);
    back_to_x(pass, o, &block->norm_self, &saved->self, d_inner, d, count);
    if (!attn_nn_failed(pass) && d != d_y) memcpy(d_y, d, (size_t)(count * o->width) * sizeof *d);
    attn_nn_release(pass, mark);
}

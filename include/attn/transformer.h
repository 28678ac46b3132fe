/* attn/transformer.h: Transformer layers, encoders and decoders (Vaswani et al. 2017), of libattn_nn.
 *
 * An encoder of six layers, pre-norm, with sinusoids:
 *
 *     attn_nn_layout layout = {0};
 *     attn_nn_block blocks[6];
 *     attn_nn_block_options options = {.width = 256, .heads = 4, .dropout = 0.1};
 *     attn_nn_positional places = attn_nn_positional_make(&layout, "", ATTN_NN_SINUSOIDAL, 256, 0);
 *     attn_nn_norm norm = attn_nn_norm_make(&layout, "encoder.norm", ATTN_NN_LAYER_NORM, 256);
 *     attn_nn_stack encoder = {.blocks = blocks, .count = 6, .norm = &norm};
 *     for (int i = 0; i < 6; i++) {
 *         snprintf(name, sizeof name, "encoder.layers.%d", i);
 *         attn_nn_block_make(&layout, name, &options, &blocks[i]);
 *     }
 *     ...                                            // values [layout.size], a pass over them
 *     attn_nn_positional_forward(&pass, &places, x, &sentences);
 *     y = attn_nn_stack_forward(&pass, &encoder, x, &sentences, NULL, NULL, -1, &saved);
 *     d_x = attn_nn_stack_backward(&pass, &encoder, &sentences, NULL, NULL, &saved, -1, NULL, d_y,
 *                                  NULL);
 *
 * The conventions of nn.h hold here too. The model of attn_nn_model_create is made of just these. */
#ifndef ATTN_TRANSFORMER_H
#define ATTN_TRANSFORMER_H

#include "attn/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------
 * Blocks: one layer of an encoder or a decoder
 * ------------------------------------------------------------------------------------------- */

/* A block (Vaswani et al. 2017, section 3.1) is self-attention; if `cross`, attention over a memory
 * [memory rows, width]; and feed-forward, down(activation(up(x))). With f one of these, each is added
 * to the residual stream x:
 *
 *     pre-norm    x + dropout(f(norm(x)))       (Xiong et al. 2020)
 *     post-norm   norm(x + dropout(f(x)))       (as first published)
 *
 * Without `cross` it is an encoder's or, if `causal`, a language model's; with both, a decoder's.
 *
 * Parameters are those of PyTorch's nn.TransformerEncoderLayer and, if `cross`, of its
 * nn.TransformerDecoderLayer: "NAME.self_attn" and, if `cross`, "NAME.multihead_attn", with names as in
 * attn_nn_attention; "NAME.linear1" (up), "NAME.linear2" (down); "NAME.norm1", ... in the order above.
 * PyTorch's norm_first = False is post_norm, its one dropout is all three of these, and its "gelu"
 * is exact where ours is approximate = "tanh". */
typedef struct attn_nn_block_options {
    int64_t width;
    int64_t heads;        /* a divisor of width [4] */
    int64_t feed_forward; /* width between up and down [4 width] */
    attn_nn_norm_kind norm;
    bool post_norm;
    attn_nn_activation activation;
    bool causal, cross;
    double rotary_base; /* of self-attention, as in attn_nn_attention; 0: none */
    int64_t relative;   /* the same */
    double dropout;     /* of what is added to x */
    double attention_dropout, activation_dropout; /* of weights; between up and down */
} attn_nn_block_options;

typedef struct attn_nn_block {
    attn_nn_block_options options; /* filled in */
    attn_nn_norm norm_self, norm_cross, norm_feed;
    attn_nn_attention self, cross;
    attn_nn_linear up, down;
} attn_nn_block;

/* Zeroed options have the defaults in brackets, except where 0 means 0. Errors: NULL, VALUE (names the
 * field), and then nothing is added to the layout; what that lacks itself is in layout->failed. */
ATTN_API attn_status attn_nn_block_make(attn_nn_layout *layout, const char *name,
                                        const attn_nn_block_options *options, attn_nn_block *block);

/* What the backward needs of f and its neighbours, and of a block. It lies in the arena. */
typedef struct attn_nn_sublayer_saved {
    const attn_nn_real *x;     /* [rows, width] */
    const attn_nn_real *inner; /* what f was given */
    const attn_nn_real *sum;   /* x + dropout(f(inner)) */
    uint64_t draw;
} attn_nn_sublayer_saved;

typedef struct attn_nn_block_saved {
    attn_nn_sublayer_saved self, cross, feed;
    attn_nn_attention_saved self_heads, cross_heads;
    const attn_nn_real *up, *active; /* [rows, feed_forward]: before and after the activation */
    uint64_t active_draw;
} attn_nn_block_saved;

/* y [rows, width] of x. Sentence s of `rows` looks at sentence s of memory, whose rows memory_rows says;
 * both are NULL without `cross`. With `want_weights` there are saved->cross_heads.weights or, without
 * `cross`, saved->self_heads.weights, of which none is dropped. x, memory and what is saved must stay
 * for the backward. Errors, in pass->status: VALUE (no memory to look at), and those of attention. */
ATTN_API attn_nn_real *attn_nn_block_forward(attn_nn_pass *pass, const attn_nn_block *block,
                                             const attn_nn_real *x, const attn_nn_sentences *rows,
                                             const attn_nn_real *memory,
                                             const attn_nn_sentences *memory_rows,
                                             bool want_weights, attn_nn_block_saved *saved);

/* In place: d [rows, width], the gradient of y, becomes that of x. d_weights: what else flows into the
 * weights that were asked for; NULL: nothing. d_memory is added to, and may be NULL. */
ATTN_API void attn_nn_block_backward(attn_nn_pass *pass, const attn_nn_block *block,
                                     const attn_nn_sentences *rows, const attn_nn_real *memory,
                                     const attn_nn_sentences *memory_rows,
                                     const attn_nn_block_saved *saved,
                                     const attn_nn_real *d_weights, attn_nn_real *d,
                                     attn_nn_real *d_memory);

/* What a block keeps from step to step; zeroed but for self.max_rows and memory: nothing yet. */
typedef struct attn_nn_block_cache {
    attn_nn_attention_cache self;
    const attn_nn_real *memory; /* attn_nn_attention_keys of block->cross; NULL without */
} attn_nn_block_cache;

/* One step, by attn_nn_attention_step: row r of x and y is the next of sequence r. The rows starts[s] ..
 * starts[s+1]-1 look at sentence s of memory: one, several, or none; without `cross` only the number of
 * all counts. saved is for the weights, as in attn_nn_block_forward (`cross` alone has them here). Errors
 * are those of attn_nn_attention_step, and VALUE (no memory to look at). */
ATTN_API attn_nn_real *attn_nn_block_step(attn_nn_pass *pass, const attn_nn_block *block,
                                          const attn_nn_real *x, const attn_nn_sentences *rows,
                                          const attn_nn_sentences *memory_rows, bool want_weights,
                                          attn_nn_block_cache *cache, attn_nn_block_saved *saved);

/* ---------------------------------------------------------------------------------------------
 * Stacks: encoders and decoders
 * ------------------------------------------------------------------------------------------- */

/* Blocks, each on what the one before gave, and perhaps a norm at the end, which pre-norm needs. It owns
 * nothing: whoever made its parts keeps them. With parts named "NAME.layers.0", "NAME.layers.1", ...
 * and "NAME.norm" it is PyTorch's nn.TransformerEncoder or nn.TransformerDecoder. */
typedef struct attn_nn_stack {
    const attn_nn_block *blocks; /* [count]: all `cross`, or none */
    int64_t count;               /* 1 or more */
    const attn_nn_norm *norm;    /* NULL: none */
} attn_nn_stack;

/* In the arena. */
typedef struct attn_nn_stack_saved {
    attn_nn_block_saved *blocks; /* [count] */
    const attn_nn_real *last;    /* what the norm was given */
} attn_nn_stack_saved;

/* As attn_nn_block_forward; the weights are those of block `shown`, -1: of none. A pass without gradients
 * goes no way back: of other blocks nothing is saved. */
ATTN_API attn_nn_real *attn_nn_stack_forward(attn_nn_pass *pass, const attn_nn_stack *stack,
                                             const attn_nn_real *x, const attn_nn_sentences *rows,
                                             const attn_nn_real *memory,
                                             const attn_nn_sentences *memory_rows, int64_t shown,
                                             attn_nn_stack_saved *saved);

/* d [rows, width], the gradient of y, is overwritten. Returns that of x, which lies in d or in the arena;
 * NULL after a failure. d_weights flows into the weights of block `shown`. */
ATTN_API attn_nn_real *attn_nn_stack_backward(attn_nn_pass *pass, const attn_nn_stack *stack,
                                              const attn_nn_sentences *rows,
                                              const attn_nn_real *memory,
                                              const attn_nn_sentences *memory_rows,
                                              const attn_nn_stack_saved *saved, int64_t shown,
                                              const attn_nn_real *d_weights, attn_nn_real *d,
                                              attn_nn_real *d_memory);

/* A stack in steps. begin fills caches [count]: for up to max_rows sequences, and, if `cross`, with keys
 * and values of memory [memory rows, width], in the arena. Whatever it says, end frees them. step is one
 * of each block; it sets *weights, unless weights is NULL, to those of block `shown`, which has `cross`:
 * [heads, rows, longest], in the arena. reorder is attn_nn_attention_reorder of all blocks. Errors, in
 * pass->status, are those of the blocks; after one, some may be a step ahead, and only end is left. */
ATTN_API bool attn_nn_stack_begin(attn_nn_pass *pass, const attn_nn_stack *stack, int64_t max_rows,
                                  const attn_nn_real *memory, const attn_nn_sentences *memory_rows,
                                  attn_nn_block_cache *caches);
ATTN_API attn_nn_real *attn_nn_stack_step(attn_nn_pass *pass, const attn_nn_stack *stack,
                                          const attn_nn_real *x, const attn_nn_sentences *rows,
                                          const attn_nn_sentences *memory_rows,
                                          attn_nn_block_cache *caches, int64_t shown,
                                          const attn_nn_real **weights);
ATTN_API bool attn_nn_stack_reorder(attn_nn_pass *pass, const attn_nn_stack *stack,
                                    attn_nn_block_cache *caches, const int64_t *from, int64_t rows);
ATTN_API void attn_nn_stack_end(const attn_nn_stack *stack, attn_nn_block_cache *caches);

#ifdef __cplusplus
}
#endif

#endif

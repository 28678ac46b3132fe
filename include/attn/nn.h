/* attn/nn.h: layers and models on libattn, in a library of their own (libattn_nn).
 *
 * From the bottom up:
 *
 *   layout     the names and shapes of a model's parameters. All of them lie in one array; a layer
 *              knows only where in it its own begin. So an optimiser, an average of checkpoints, a
 *              sum of gradients are loops over one array.
 *   pass       one walk through a model, forward and perhaps back: parameters, gradients, an arena
 *              that everything computed on the way is taken from, and the first failure.
 *   layers     pairs of functions, forward and backward. A Transformer's are in attn/transformer.h.
 *   models     a Transformer and a recurrent network, as one type with one interface.
 *   training   shards of a batch side by side, AdamW, schedules.
 *   search     greedy, beam, sampling.
 *
 * Conventions, besides those of attn.h:
 *   - Matrices are dense and row-major: [rows, width]. A row is a token.
 *   - Batches are packed, never padded: the sentences' rows follow each other, and sentence s owns
 *     rows starts[s] .. starts[s+1]-1.
 *   - Every backward function *adds* to the gradients that it is given, of parameters and of inputs;
 *     an input's gradient may be NULL, if nobody needs it.
 *   - A pass that failed (pass->status is not ATTN_OK) does nothing any more: forward functions
 *     return NULL, and accept NULL from each other, so that only its end need be looked at.
 *   - A layer's functions may run on any number of passes at a time.
 *   - Matrix products go through CBLAS. Passes run side by side, so tell the BLAS to use one
 *     thread: attn_nn_use_one_blas_thread.
 */
#ifndef ATTN_NN_H
#define ATTN_NN_H

#include "attn/attn.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef ATTN_NN_DOUBLE /* the library's tests, which need exact differences, are made of double */
typedef double attn_nn_real;
#else
typedef float attn_nn_real;
#endif

/* One sentence on this thread's latest failed call of this library; "" before any failure. */
ATTN_API const char *attn_nn_error_message(void);

/* Tells a BLAS that has threads of its own (OpenBLAS, BLIS, MKL) to use one for each caller: for the
 * whole process, from now on. Nothing for others. An OpenBLAS that is built on OpenMP sets OpenMP's own
 * number to one with it: ask omp_get_max_threads before. */
ATTN_API void attn_nn_use_one_blas_thread(void);

/* ---------------------------------------------------------------------------------------------
 * Layout: where parameters lie
 * ------------------------------------------------------------------------------------------- */

typedef enum attn_nn_start {
    ATTN_NN_ZERO = 0,
    ATTN_NN_ONE = 1,
    ATTN_NN_UNIFORM = 2, /* within -scale and scale */
    ATTN_NN_NORMAL = 3   /* standard deviation scale */
} attn_nn_start;

enum { ATTN_NN_NAME_MAX = 96 };

typedef struct attn_nn_parameter {
    char name[ATTN_NN_NAME_MAX];
    int64_t rows, columns; /* a vector has one row */
    int64_t offset;        /* of its first number, in the array of all */
    attn_nn_start start;
    double scale;
} attn_nn_parameter;

/* Zeroed: empty. */
typedef struct attn_nn_layout {
    attn_nn_parameter *parameters; /* [count], the layout's */
    int64_t count, capacity;
    int64_t size; /* numbers in all, each parameter rounded up to 16 */
    bool failed;  /* an allocation failed, a name was too long, or 2^56 numbers are not enough */
} attn_nn_layout;

/* Adds a parameter and returns its offset (something valid even if it failed). Names are those of
 * checkpoints, with dots: "encoder.layers.0.norm1.weight". */
ATTN_API int64_t attn_nn_layout_add(attn_nn_layout *layout, const char *name, int64_t rows,
                                    int64_t columns, attn_nn_start start, double scale);

/* The parameter of that name, or NULL. */
ATTN_API const attn_nn_parameter *attn_nn_layout_find(const attn_nn_layout *layout,
                                                      const char *name);

/* Fills values [layout->size] as the parameters say, from Threefry noise: the same for every
 * machine up to the rounding of its logarithm and cosine. */
ATTN_API void attn_nn_layout_start(const attn_nn_layout *layout, uint64_t seed,
                                   attn_nn_real *values);

ATTN_API void attn_nn_layout_free(attn_nn_layout *layout);

/* ---------------------------------------------------------------------------------------------
 * Pass: one walk forward, and perhaps back
 * ------------------------------------------------------------------------------------------- */

/* Memory that is taken piece by piece and given back all at once. It grows by blocks, which it keeps,
 * so that a second pass like the first allocates nothing. */
typedef struct attn_nn_arena attn_nn_arena;

ATTN_API attn_nn_arena *attn_nn_arena_create(void); /* NULL if there is no memory */
ATTN_API void attn_nn_arena_destroy(attn_nn_arena *arena);
ATTN_API size_t attn_nn_arena_bytes(const attn_nn_arena *arena); /* held now */

/* The matrices of a layout once more, arranged so that products with few rows, as each step of a search
 * has them, need no arranging of their own: with a few rows up to five times as fast as through
 * OpenBLAS, with hundreds as fast (docs/BENCHMARKS.md). A row of such a product has the same bits whatever rows are
 * beside it; a search with it finds the same for a sentence, to the bit, whatever else it searches for.
 *
 * It is a copy, which does not follow values that change; `layout` must stay as it is. Any number of
 * passes may use it at once. context: for its instruction set; NULL: the default one. Memory: about as much
 * as the values. Returns NULL if there is none. */
typedef struct attn_nn_packed attn_nn_packed;

ATTN_API attn_nn_packed *attn_nn_pack(const attn_nn_layout *layout, const attn_nn_real *values,
                                      const attn_context *context);
ATTN_API void attn_nn_packed_free(attn_nn_packed *packed);

typedef struct attn_nn_pass {
    const attn_nn_real *values;   /* [layout->size] */
    const attn_nn_packed *packed; /* of these values; NULL: products go through the BLAS */
    attn_nn_real *gradients;      /* [layout->size]; NULL: forward alone */
    attn_nn_arena *arena;
    attn_context *context; /* for attention: threads and table; NULL: the default one */
    bool training;         /* whether dropout drops */
    uint64_t seed;         /* of dropout's noise: another one for each pass */
    uint64_t draws;        /* how many layers have drawn noise in this pass; starts at 0 */
    attn_status status;    /* the first failure */
    attn_status (*interrupted)(void *user); /* a search asks, and fails unless OK; NULL: never */
    void *user;
} attn_nn_pass;

/* `count` numbers, aligned to 64 bytes, undefined or 0; NULL after a failure. They stay until
 * attn_nn_release of a mark that was set before. */
ATTN_API attn_nn_real *attn_nn_take(attn_nn_pass *pass, int64_t count);
ATTN_API attn_nn_real *attn_nn_take_zeros(attn_nn_pass *pass, int64_t count);
ATTN_API void *attn_nn_take_bytes(attn_nn_pass *pass, size_t size);
ATTN_API size_t attn_nn_mark(const attn_nn_pass *pass);
ATTN_API void attn_nn_release(attn_nn_pass *pass, size_t mark);

/* Makes the pass fail, unless it has already. Returns NULL, for `return attn_nn_fail(...)`. */
ATTN_API void *attn_nn_fail(attn_nn_pass *pass, attn_status status, const char *sentence);

/* Packed sentences. `starts` rises from 0. */
typedef struct attn_nn_sentences {
    int64_t count;
    const int64_t *starts; /* [count + 1] */
    const int32_t *tokens; /* [starts[count]]; each 0 .. vocabulary - 1 */
} attn_nn_sentences;

/* ---------------------------------------------------------------------------------------------
 * Layers
 * ------------------------------------------------------------------------------------------- */

/* y [rows, out] = x [rows, in] weight^T + bias. weight [out, in]: "NAME.weight", "NAME.bias", as
 * PyTorch's Linear, which it starts like: uniform within 1/sqrt(in). */
typedef struct attn_nn_linear {
    int64_t in, out;
    int64_t weight, bias; /* offsets; bias -1: none */
} attn_nn_linear;

ATTN_API attn_nn_linear attn_nn_linear_make(attn_nn_layout *layout, const char *name, int64_t in,
                                            int64_t out, bool bias);
ATTN_API attn_nn_real *attn_nn_linear_forward(attn_nn_pass *pass, const attn_nn_linear *layer,
                                              const attn_nn_real *x, int64_t rows);
ATTN_API void attn_nn_linear_backward(attn_nn_pass *pass, const attn_nn_linear *layer,
                                      const attn_nn_real *x, const attn_nn_real *d_y, int64_t rows,
                                      attn_nn_real *d_x);

/* y [rows, width] = scale * weight[token]; weight [vocabulary, width]: "NAME.weight". */
typedef struct attn_nn_embedding {
    int64_t vocabulary, width;
    int64_t weight;
    double scale;
} attn_nn_embedding;

ATTN_API attn_nn_embedding attn_nn_embedding_make(attn_nn_layout *layout, const char *name,
                                                  int64_t vocabulary, int64_t width, double scale);
ATTN_API attn_nn_real *attn_nn_embedding_forward(attn_nn_pass *pass, const attn_nn_embedding *layer,
                                                 const int32_t *tokens, int64_t rows);
ATTN_API void attn_nn_embedding_backward(attn_nn_pass *pass, const attn_nn_embedding *layer,
                                         const int32_t *tokens, int64_t rows,
                                         const attn_nn_real *d_y);

/* How a model knows where a row stands in its sentence. The first two are added to rows
 * (attn_nn_positional), the next two belong to self-attention (attn_nn_attention). */
typedef enum attn_nn_positions {
    ATTN_NN_SINUSOIDAL = 0,
    ATTN_NN_LEARNED = 1,  /* up to max_length rows */
    ATTN_NN_ROTARY = 2,   /* in self-attention */
    ATTN_NN_RELATIVE = 3, /* T5's bias in self-attention, 32 buckets */
    ATTN_NN_NO_POSITIONS = 4
} attn_nn_positions;

/* Positions that are added to rows (Vaswani et al. 2017, section 3.5; Gehring et al. 2017): x[row p of a
 * sentence] += place(p), in place, with p from 0.
 *
 *   SINUSOIDAL  place(p)[2i] = sin(p / 10000^(2i/width)),   place(p)[2i + 1] = cos(p / 10000^(2i/width));
 *               the last of an odd width is 0
 *   LEARNED     place(p) = weight[p]; weight [max_length, width]: "NAME.weight", which starts normal with
 *               deviation 0.02. A longer sentence: SHAPE.
 *   others      nothing is added */
typedef struct attn_nn_positional {
    attn_nn_positions kind;
    int64_t width, max_length;
    int64_t weight; /* LEARNED alone */
} attn_nn_positional;

ATTN_API attn_nn_positional attn_nn_positional_make(attn_nn_layout *layout, const char *name,
                                                    attn_nn_positions kind, int64_t width,
                                                    int64_t max_length);
ATTN_API void attn_nn_positional_forward(attn_nn_pass *pass, const attn_nn_positional *layer,
                                         attn_nn_real *x, const attn_nn_sentences *sentences);
/* Of the parameters; the gradient of x is that of what became of it. */
ATTN_API void attn_nn_positional_backward(attn_nn_pass *pass, const attn_nn_positional *layer,
                                          const attn_nn_real *d_x,
                                          const attn_nn_sentences *sentences);
/* x [rows, width], which all stand at one position. For decoding. */
ATTN_API void attn_nn_positional_step(attn_nn_pass *pass, const attn_nn_positional *layer,
                                      attn_nn_real *x, int64_t rows, int64_t position);

/* LAYER (Ba et al. 2016): y = (x - mean) / sqrt(variance + epsilon) * weight + bias
 * RMS (Zhang & Sennrich 2019): y = x / sqrt(mean of x^2 + epsilon) * weight
 * "NAME.weight", "NAME.bias"; epsilon 1e-5. */
typedef enum attn_nn_norm_kind { ATTN_NN_LAYER_NORM = 0, ATTN_NN_RMS_NORM = 1 } attn_nn_norm_kind;

typedef struct attn_nn_norm {
    attn_nn_norm_kind kind;
    int64_t width;
    int64_t weight, bias;
} attn_nn_norm;

ATTN_API attn_nn_norm attn_nn_norm_make(attn_nn_layout *layout, const char *name,
                                        attn_nn_norm_kind kind, int64_t width);
ATTN_API attn_nn_real *attn_nn_norm_forward(attn_nn_pass *pass, const attn_nn_norm *layer,
                                            const attn_nn_real *x, int64_t rows);
ATTN_API void attn_nn_norm_backward(attn_nn_pass *pass, const attn_nn_norm *layer,
                                    const attn_nn_real *x, const attn_nn_real *d_y, int64_t rows,
                                    attn_nn_real *d_x);

/* Sets each of x [count] to 0 with probability `rate`, 0 <= rate < 1, and divides the others by 1 - rate,
 * in place (Srivastava et al. 2014). The noise is Threefry's of (seed, draw, index), so it is made again on the
 * way back, and does not depend on threads. Returns the draw, to be given to the backward. */
ATTN_API uint64_t attn_nn_dropout_forward(attn_nn_pass *pass, double rate, attn_nn_real *x,
                                          int64_t count);
ATTN_API void attn_nn_dropout_backward(attn_nn_pass *pass, double rate, uint64_t draw,
                                       attn_nn_real *d_x, int64_t count);

/* RELU: max(x, 0). GELU (Hendrycks & Gimpel 2016), by tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715
 * x^3))). SILU: x / (1 + exp(-x)). */
typedef enum attn_nn_activation {
    ATTN_NN_RELU = 0,
    ATTN_NN_GELU = 1,
    ATTN_NN_SILU = 2
} attn_nn_activation;

ATTN_API attn_nn_real *attn_nn_activation_forward(attn_nn_pass *pass, attn_nn_activation kind,
                                                  const attn_nn_real *x, int64_t count);
/* In place: d becomes the gradient of x. */
ATTN_API void attn_nn_activation_backward(attn_nn_pass *pass, attn_nn_activation kind,
                                          const attn_nn_real *x, attn_nn_real *d, int64_t count);

/* Mean over rows of the cross-entropy between labels, smoothed, and softmax(logits):
 *     loss = -(1 - smoothing) log p[label] - smoothing / vocabulary * sum over v of log p[v]
 * (Szegedy et al. 2016). `sum` is over rows of the loss, `likelihood` of -log p[label]; *loss is added
 * to. Forward and backward in one: with pass->gradients, logits [rows, vocabulary] become
 * scale * d(sum)/d(logits), in place. */
typedef struct attn_nn_loss {
    double sum, likelihood;
    int64_t rows;
} attn_nn_loss;

ATTN_API void attn_nn_cross_entropy(attn_nn_pass *pass, attn_nn_real *logits, int64_t vocabulary,
                                    const int32_t *labels, int64_t rows, double smoothing,
                                    double scale, attn_nn_loss *loss);

/* Multi-head attention (Vaswani et al. 2017, section 3.2.2), on attn_forward. Parameters are those of
 * PyTorch's nn.MultiheadAttention: "NAME.in_proj_weight" [3 width, width] and "NAME.in_proj_bias",
 * queries, keys and values one after another; "NAME.out_proj.weight", "NAME.out_proj.bias". */
typedef struct attn_nn_attention {
    int64_t width, heads;
    attn_nn_linear in, out;
    double dropout;        /* of weights */
    bool causal;           /* a query sees no later row of its sentence */
    double rotary_base;    /* rotary positions (Su et al. 2021) in queries and keys; 0: none */
    int64_t relative;      /* buckets of a bias by offset (T5: Raffel et al. 2020); 0: none */
    int64_t relative_bias; /* its offset: "NAME.relative_bias" [heads, relative] */
} attn_nn_attention;

ATTN_API attn_nn_attention attn_nn_attention_make(attn_nn_layout *layout, const char *name,
                                                  int64_t width, int64_t heads, int64_t relative);

/* What the backward needs of a forward, and what a caller may want to see. */
typedef struct attn_nn_attention_saved {
    attn_nn_real *query, *key, *value; /* [rows, width], [key rows, width], */
    int64_t query_stride, key_stride;  /* whose rows are so far apart */
    attn_nn_real *mixed;               /* [rows, width]: heads side by side, before out_proj */
    attn_nn_real *lse;                 /* [heads, rows] */
    uint64_t seed;                     /* of the dropout of weights; 0: none */
    attn_nn_real *weights;             /* [heads, rows, longest]; NULL unless asked for */
    int64_t longest;                   /* the longest sentence's keys */
    attn_nn_real *angles; /* of rotary positions: cos and sin [longest, 2, width/heads/2] */
} attn_nn_attention_saved;

/* y [rows, width]: each row of `queries` attends to the rows of the same sentence of `keys`. x: their
 * rows; `memory` NULL: x itself (self-attention). With `want_weights`, saved->weights is made too, and
 * no weight is dropped. */
ATTN_API attn_nn_real *attn_nn_attention_forward(attn_nn_pass *pass, const attn_nn_attention *layer,
                                                 const attn_nn_real *x,
                                                 const attn_nn_sentences *queries,
                                                 const attn_nn_real *memory,
                                                 const attn_nn_sentences *keys, bool want_weights,
                                                 attn_nn_attention_saved *saved);

/* d_weights [heads, rows, longest]: what else flows into the weights; NULL: nothing. */
ATTN_API void attn_nn_attention_backward(attn_nn_pass *pass, const attn_nn_attention *layer,
                                         const attn_nn_real *x, const attn_nn_sentences *queries,
                                         const attn_nn_real *memory, const attn_nn_sentences *keys,
                                         const attn_nn_attention_saved *saved,
                                         const attn_nn_real *d_y, const attn_nn_real *d_weights,
                                         attn_nn_real *d_x, attn_nn_real *d_memory);

/* Attention over one memory again and again, as a decoder's steps do: attn_nn_attention_keys makes keys
 * and values of memory's rows, side by side [rows, 2 width], once; attn_nn_attention_look is
 * attn_nn_attention_forward with these in place of memory, to the bit. They lie in the arena. For layers
 * that are not causal and have no positions, as cross-attention is: else VALUE. */
ATTN_API attn_nn_real *attn_nn_attention_keys(attn_nn_pass *pass, const attn_nn_attention *layer,
                                              const attn_nn_real *memory, int64_t rows);
ATTN_API attn_nn_real *attn_nn_attention_look(attn_nn_pass *pass, const attn_nn_attention *layer,
                                              const attn_nn_real *x,
                                              const attn_nn_sentences *queries,
                                              const attn_nn_real *keys_and_values,
                                              const attn_nn_sentences *keys, bool want_weights,
                                              attn_nn_attention_saved *saved);

/* Self-attention row by row: the keys and values of all rows so far, of so many sequences that grow side
 * by side. Zeroed but for max_rows: empty. It is on the heap, and its owner frees it; it serves one layer,
 * and one pass at a time. Memory: max_rows * capacity * 2 width numbers; the capacity grows by 16 steps. */
typedef struct attn_nn_attention_cache {
    int64_t max_rows;     /* sequences that there is room for */
    int64_t width;        /* of the layer; from the first step on */
    int64_t rows, length; /* sequences now, and steps so far: the position of the next row */
    int64_t capacity;
    attn_nn_real *kept; /* [max_rows][capacity][2 width]: keys, rotated, and values side by side */
} attn_nn_attention_cache;

/* One step: y [rows, width], of x [rows, width], whose row r is the next of sequence r. It sees itself
 * and all rows before it: this is what attn_nn_attention_forward makes of whole sequences, if `causal`,
 * up to rounding. No weight is dropped. Any number of rows may begin; later steps have as many, or what
 * attn_nn_attention_reorder says. Errors, in pass->status: VALUE (a layer that is not causal), SHAPE
 * (other rows than the cache's, or too many), MEMORY; then the cache has no step more than before. */
ATTN_API attn_nn_real *attn_nn_attention_step(attn_nn_pass *pass, const attn_nn_attention *layer,
                                              const attn_nn_real *x, int64_t rows,
                                              attn_nn_attention_cache *cache);

/* Sequence r goes on from what is now sequence from[r]; `rows` becomes their number. Before the first step
 * there is nothing to move. False: pass->status, VALUE (no such sequence), SHAPE and MEMORY among them. */
ATTN_API bool attn_nn_attention_reorder(attn_nn_pass *pass, attn_nn_attention_cache *cache,
                                        const int64_t *from, int64_t rows);
ATTN_API void attn_nn_attention_cache_free(attn_nn_attention_cache *cache); /* empty again */

/* A recurrent layer: y [rows, hidden], row by row through each sentence, from its first row to its last
 * or, if reversed, the other way. With x_t a row and h its state:
 *
 *   LSTM (Hochreiter & Schmidhuber 1997; Gers et al. 2000):
 *     i, f, g, o = the four parts of W_ih x_t + b_ih + W_hh h + b_hh
 *     c = sigmoid(f) c + sigmoid(i) tanh(g);   h = sigmoid(o) tanh(c)
 *   GRU (Cho et al. 2014):
 *     r, z, n = parts: r = sigmoid(..), z = sigmoid(..), n = tanh(W_in x_t + b_in + r (W_hn h + b_hn))
 *     h = (1 - z) n + z h
 *
 * Parameters are those of PyTorch's nn.LSTM and nn.GRU, without their suffix "_l0": "NAME.weight_ih"
 * [4 or 3 hidden, in], "NAME.weight_hh" [., hidden], "NAME.bias_ih", "NAME.bias_hh". */
typedef enum attn_nn_cell { ATTN_NN_LSTM = 0, ATTN_NN_GRU = 1 } attn_nn_cell;

typedef struct attn_nn_recurrent {
    attn_nn_cell cell;
    int64_t in, hidden;
    bool reversed;
    attn_nn_linear input, state; /* weight_ih with bias_ih; weight_hh with bias_hh */
} attn_nn_recurrent;

/* What the backward needs of a forward. Arrays are in the order of steps: the first rows of all
 * sentences, the longest first, then the second of those that have one, ... */
typedef struct attn_nn_recurrent_saved {
    const struct attn_nn_steps *steps;
    attn_nn_real *gates;         /* [rows, 4 or 3 hidden] after their functions */
    attn_nn_real *cells;         /* [rows, hidden]: c; GRU: W_hn h + b_hn */
    attn_nn_real *h;             /* [rows, hidden] */
    const attn_nn_real *h0, *c0; /* [count, hidden] where it started; NULL: 0 */
} attn_nn_recurrent_saved;

ATTN_API attn_nn_recurrent attn_nn_recurrent_make(attn_nn_layout *layout, const char *name,
                                                  attn_nn_cell cell, int64_t in, int64_t hidden,
                                                  bool reversed);

/* h0, c0 [count, hidden]: where each sentence starts; NULL: 0. last_h, last_c [count, hidden]: where it
 * ended; either may be NULL. */
ATTN_API attn_nn_real *attn_nn_recurrent_forward(attn_nn_pass *pass, const attn_nn_recurrent *layer,
                                                 const attn_nn_real *x,
                                                 const attn_nn_sentences *sentences,
                                                 const attn_nn_real *h0, const attn_nn_real *c0,
                                                 attn_nn_real *last_h, attn_nn_real *last_c,
                                                 attn_nn_recurrent_saved *saved);
ATTN_API void attn_nn_recurrent_backward(attn_nn_pass *pass, const attn_nn_recurrent *layer,
                                         const attn_nn_real *x, const attn_nn_sentences *sentences,
                                         const attn_nn_recurrent_saved *saved,
                                         const attn_nn_real *d_y, const attn_nn_real *d_last_h,
                                         const attn_nn_real *d_last_c, attn_nn_real *d_x,
                                         attn_nn_real *d_h0, attn_nn_real *d_c0);

/* One step of `rows` states: h and c [rows, hidden] are replaced. For decoding. */
ATTN_API void attn_nn_recurrent_step(attn_nn_pass *pass, const attn_nn_recurrent *layer,
                                     const attn_nn_real *x, int64_t rows, attn_nn_real *h,
                                     attn_nn_real *c);

/* ---------------------------------------------------------------------------------------------
 * Models
 * ------------------------------------------------------------------------------------------- */

typedef enum attn_nn_family {
    ATTN_NN_TRANSFORMER = 0, /* Vaswani et al. 2017 */
    ATTN_NN_RECURRENT = 1    /* Sutskever et al. 2014; Bahdanau et al. 2015; Luong et al. 2015 */
} attn_nn_family;

/* How a recurrent decoder looks at the source. */
typedef enum attn_nn_look {
    ATTN_NN_LOOK_NONE = 0, /* the last state alone: Sutskever et al. 2014 */
    ATTN_NN_LOOK_DOT = 1,
    ATTN_NN_LOOK_GENERAL = 2,
    ATTN_NN_LOOK_CONCAT = 3,
    ATTN_NN_LOOK_ADDITIVE = 4,
    ATTN_NN_LOOK_LOCATION = 5,  /* location-aware additive: Chorowski et al. 2015 */
    ATTN_NN_LOOK_MULTI_HEAD = 6 /* scaled dot products of `heads` projections */
} attn_nn_look;

/* Zeroed fields have the defaults in brackets, except where 0 means 0. */
typedef struct attn_nn_config {
    attn_nn_family family;
    int64_t vocabulary;     /* of both languages together */
    int64_t width;          /* of embeddings and of a row [256] */
    int64_t encoder_layers; /* [3; recurrent 1] */
    int64_t decoder_layers; /* [as encoder_layers] */
    int64_t heads;          /* [4]; recurrent models: of a multi-head look, others are one head */
    bool untied;            /* the output has weights of its own, not the embedding's */
    double dropout;         /* of embeddings and sublayers' outputs */

    /* Transformer */
    int64_t feed_forward; /* [4 width] */
    double attention_dropout, activation_dropout;
    attn_nn_norm_kind norm;
    bool post_norm; /* norm(x + f(x)), as first published; else x + f(norm(x)) */
    attn_nn_activation activation;
    attn_nn_positions positions;
    int64_t max_length; /* LEARNED [256] */

    /* Recurrent */
    int64_t hidden; /* of the decoder; each direction of the encoder has half [width] */
    attn_nn_cell cell;
    attn_nn_look look;
    int64_t look_width;    /* of additive and concat scores [hidden] */
    bool no_input_feeding; /* the attentional state does not join the next input */
    bool coverage;         /* the sum of all weights so far joins the score (See et al. 2017) */

    /* Both */
    bool copy; /* a distribution over the source's tokens, mixed in (See et al. 2017) */

    /* The alignment that a guide teaches and a decoder shows: the mean weights of the first align_heads
     * heads [all] of decoder layer align_layer, from 1 [the last but one, if there are two or more].
     * Recurrent models have one look, and so one layer. align_after: that of a token is where the next row
     * looks, which has read it, and not the row that is to say it (Chen et al. 2020); Transformers that
     * do not copy. */
    int64_t align_layer, align_heads;
    bool align_after;
} attn_nn_config;

typedef struct attn_nn_model attn_nn_model;

/* Makes a model without parameters' values. Errors: NULL, VALUE (names the field), MEMORY. */
ATTN_API attn_status attn_nn_model_create(attn_nn_model **model, const attn_nn_config *config);
ATTN_API void attn_nn_model_destroy(attn_nn_model *model);
ATTN_API const attn_nn_config *attn_nn_model_config(const attn_nn_model *model); /* filled in */
ATTN_API const attn_nn_layout *attn_nn_model_layout(const attn_nn_model *model);

/* Pairs of sentences. Row r of `target` is what has been said (begin, w1, w2, ...), labels[r] what is to
 * be said next (w1, w2, ..., end); target.tokens and labels are [rows] alike. The pairs come in falling
 * order of target length. */
typedef struct attn_nn_batch {
    attn_nn_sentences source, target;
    const int32_t *labels;

    /* Guided alignment (Chen et al. 2016): row r should look at source rows guide_keys[guide_starts[r]
     * .. guide_starts[r+1]-1], counted within its sentence; none: no matter. NULL: no guide. */
    const int64_t *guide_starts;
    const int32_t *guide_keys;
} attn_nn_batch;

typedef struct attn_nn_objective {
    double smoothing; /* of labels */
    double guide;     /* how much guided alignment counts */
    double coverage;  /* how much the coverage loss counts (See et al. 2017) */
    double scale;     /* of all gradients: 1/rows of the whole batch */
} attn_nn_objective;

/* The loss of a batch, summed over its rows, and, if pass->gradients, the gradients, added. */
ATTN_API void attn_nn_model_loss(const attn_nn_model *model, attn_nn_pass *pass,
                                 const attn_nn_batch *batch, const attn_nn_objective *objective,
                                 attn_nn_loss *loss);

/* The weights with which target rows look at the source: [heads, target rows, longest source] of a
 * layer (recurrent: layer 0, and its heads), from a forward pass on a batch; NULL after a failure or if
 * there are none. They lie in the pass's arena. */
ATTN_API attn_nn_real *attn_nn_model_weights(const attn_nn_model *model, attn_nn_pass *pass,
                                             const attn_nn_batch *batch, int64_t layer,
                                             int64_t *heads, int64_t *longest);

/* A translation under way. Rows are hypotheses: each continues a sentence of the source, and the rows of
 * one sentence follow each other. */
typedef struct attn_nn_decoder attn_nn_decoder;

/* Encodes the source, which must stay, as must the pass. One row for each sentence. */
ATTN_API attn_nn_decoder *attn_nn_decoder_open(const attn_nn_model *model, attn_nn_pass *pass,
                                               const attn_nn_sentences *source, int64_t max_rows);

/* Says tokens[r] in each row and sets log_p [rows, vocabulary] to the logarithms of the probabilities
 * of what may come next, and, unless NULL, weights [rows, longest source] to the alignment (see
 * attn_nn_config): where it looked to say them. False: pass->status. */
ATTN_API bool attn_nn_decoder_step(attn_nn_decoder *decoder, const int32_t *tokens,
                                   attn_nn_real *log_p, attn_nn_real *weights);

/* Row r goes on from what is now row from[r]; `rows` becomes their number, and row r belongs to the
 * sentence of from[r], which must not fall. False: pass->status, VALUE and SHAPE among them. */
ATTN_API bool attn_nn_decoder_reorder(attn_nn_decoder *decoder, const int64_t *from, int64_t rows);
ATTN_API int64_t attn_nn_decoder_rows(const attn_nn_decoder *decoder);
ATTN_API void attn_nn_decoder_close(attn_nn_decoder *decoder);

/* ---------------------------------------------------------------------------------------------
 * Batches
 * ------------------------------------------------------------------------------------------- */

typedef struct attn_nn_link {
    int32_t source, target; /* places in the sentences of a pair, from 0 */
} attn_nn_link;

/* Pairs of sentences without begin and end. Pair p owns tokens starts[p] .. starts[p+1]-1 of either
 * side, and, if there are guides, links guide_starts[p] .. guide_starts[p+1]-1. */
typedef struct attn_nn_corpus {
    int64_t pairs;
    const int64_t *source_starts, *target_starts; /* [pairs + 1] */
    const int32_t *source_tokens, *target_tokens;
    const int64_t *guide_starts; /* [pairs + 1]; NULL: no guides */
    const attn_nn_link *guide_links;
} attn_nn_corpus;

/* Zeroed fields have the defaults in brackets, except where 0 means 0. */
typedef struct attn_nn_batches_options {
    int64_t tokens;     /* rows of a batch, source and target, begin and end among them [4096] */
    int64_t shards;     /* [1] */
    int64_t pool;       /* so many batches' pairs are sorted by length together [64] */
    int64_t max_length; /* pairs with more tokens on a side, without begin and end, are left out;
                         * 0: none are */
    uint64_t seed;
    bool in_order; /* no shuffling: for evaluation */
    int32_t begin, end;
} attn_nn_batches_options;

/* A corpus, cut into batches anew in each epoch, as a function of (seed, epoch) alone: training that is
 * to go on where it stopped keeps nothing but its epoch and index. The pairs are shuffled; pools of
 * them are sorted by length, so that a batch's sentences are about equally long; each pool is cut into
 * batches of about equal size, at most `tokens` and one pair more; the batches are shuffled. In order:
 * one pool, its batches from the longest targets to the shortest. */
typedef struct attn_nn_batches attn_nn_batches;

/* The corpus's arrays must stay. Errors: NULL, VALUE (names the field), MEMORY. */
ATTN_API attn_status attn_nn_batches_open(const attn_nn_corpus *corpus,
                                          const attn_nn_batches_options *options,
                                          attn_nn_batches **batches);
ATTN_API void attn_nn_batches_close(attn_nn_batches *batches);

/* How many pairs take part; those that are too long do not. */
ATTN_API int64_t attn_nn_batches_pairs(const attn_nn_batches *batches);

/* How many batches an epoch has: not always as many. */
ATTN_API int64_t attn_nn_batches_count(attn_nn_batches *batches, int64_t epoch);

/* Shard `shard` of batch `index` of an epoch: a batch of its own, for a thread of its own. Source
 * sentences end with `end`; targets begin with `begin`, and their labels end with `end`. The shards
 * of a batch have about equally many rows; one may be without pairs, if there are few. `pairs`,
 * unless NULL, is set to the places in the corpus of the shard's pairs. All stays until the next call
 * for that shard; calls may not run side by side. Errors: NULL, VALUE, MEMORY. */
ATTN_API attn_status attn_nn_batches_get(attn_nn_batches *batches, int64_t epoch, int64_t index,
                                         int64_t shard, attn_nn_batch *batch,
                                         const int64_t **pairs);

/* Steps to the next batch: (epoch, index + 1), or (epoch + 1, 0). */
ATTN_API void attn_nn_batches_next(attn_nn_batches *batches, int64_t *epoch, int64_t *index);

/* ---------------------------------------------------------------------------------------------
 * Training: steps, rates, averages
 *
 * All are functions of arrays and of a step's number, which counts from 1; whoever trains keeps the
 * arrays, and needs nothing else to go on. `context` decides the instruction set; NULL: the default one.
 * Ranges of the arrays may be done by several threads.
 * ------------------------------------------------------------------------------------------- */

/* Zeroed fields have the defaults in brackets, except where 0 means 0. */
typedef struct attn_nn_adam_options {
    double mean_keep;   /* beta 1 [0.9] */
    double square_keep; /* beta 2 [0.98, as Vaswani et al. 2017] */
    double epsilon;     /* [1e-9, as they] */
    double decay;       /* of weights; with a layout, of those parameters that have several rows */
} attn_nn_adam_options;

/* One step of AdamW (Kingma & Ba 2015; Loshchilov & Hutter 2019) in values first .. first+count-1 of the
 * arrays, which are whole: with g = gradient_by * gradient,
 *     mean   = beta1 mean   + (1 - beta1) g
 *     square = beta2 square + (1 - beta2) g^2
 *     value -= rate (mean / (1 - beta1^step) / (sqrt(square / (1 - beta2^step)) + epsilon)
 *                    + decay value)
 * mean and square are 0 before the first. layout NULL: everything decays. */
ATTN_API void attn_nn_adam(attn_context *context, const attn_nn_adam_options *options,
                           const attn_nn_layout *layout, double rate, double gradient_by,
                           int64_t step, int64_t first, int64_t count, attn_nn_real *values,
                           const attn_nn_real *gradients, attn_nn_real *mean, attn_nn_real *square);

/* The root of the sum of squares. */
ATTN_API double attn_nn_length(attn_context *context, const attn_nn_real *x, int64_t count);

/* What to multiply gradients of that length by, so that it becomes `limit` at most (Pascanu et al.
 * 2013); limit 0: 1. A length that is not finite gives 0: then leave the step out. */
ATTN_API double attn_nn_clip(double length, double limit);

typedef enum attn_nn_schedule_kind {
    ATTN_NN_CONSTANT = 0,
    ATTN_NN_INVERSE_ROOT = 1, /* peak sqrt(warm_up / step): Vaswani et al. 2017 */
    ATTN_NN_LINEAR = 2,       /* from the peak after warm_up to the floor at `steps` */
    ATTN_NN_COSINE = 3        /* the same along half a wave: Loshchilov & Hutter 2017 */
} attn_nn_schedule_kind;

typedef struct attn_nn_schedule {
    attn_nn_schedule_kind kind;
    double peak;     /* the highest rate */
    int64_t warm_up; /* steps; until then the rate is peak * step / warm_up */
    int64_t steps;   /* of LINEAR and COSINE: after so many the rate stays at the floor */
    double floor;
} attn_nn_schedule;

ATTN_API double attn_nn_rate(const attn_nn_schedule *schedule, int64_t step);

/* average = keep * average + (1 - keep) * values; with keep 0, whatever `average` was. Of checkpoints
 * number 0, 1, 2, ... the plain average is made with keep = number / (number + 1). */
ATTN_API void attn_nn_average(attn_context *context, attn_nn_real *average,
                              const attn_nn_real *values, double keep, int64_t count);

/* For a moving average over all steps: keep, but less in the beginning, (step - 1) / (step + 9), so that
 * the values from which training began are forgotten. */
ATTN_API double attn_nn_average_keep(double keep, int64_t step);

/* ---------------------------------------------------------------------------------------------
 * Trainer: a batch's shards side by side, then one step
 * ------------------------------------------------------------------------------------------- */

/* Zeroed fields have the defaults in brackets, except where 0 means 0. */
typedef struct attn_nn_trainer_options {
    int threads;    /* [what OpenMP would use; 1 without it] */
    int64_t shards; /* that the batches are cut into [1]: results depend on it, not on threads */
    attn_nn_adam_options adam;
    attn_nn_schedule schedule;
    double clip;                 /* the greatest length of a gradient; 0: none */
    double average_keep;         /* of the moving average; 0: there is none */
    attn_nn_objective objective; /* whose scale is 1/rows of each batch */
    uint64_t seed;               /* of dropout's noise */
} attn_nn_trainer_options;

/* What training changes, all [layout->size], the trainer's; to go on later, fill these again. */
typedef struct attn_nn_training {
    attn_nn_real *values, *mean, *square;
    attn_nn_real *average; /* NULL without average_keep */
    int64_t step;          /* how many have been made */
} attn_nn_training;

typedef struct attn_nn_trainer attn_nn_trainer;

typedef struct attn_nn_step_report {
    attn_nn_loss loss;   /* before the step */
    double rate, length; /* of the schedule; of the gradient, before clipping */
    bool left_out; /* the gradient was not finite: the step counts, but nothing else changed */
} attn_nn_step_report;

/* The model must stay. values, and their average, begin as the layout says, by the seed; the rest at 0.
 * Errors: NULL, VALUE, MEMORY. */
ATTN_API attn_status attn_nn_trainer_create(attn_nn_trainer **trainer, const attn_nn_model *model,
                                            const attn_nn_trainer_options *options);
ATTN_API void attn_nn_trainer_destroy(attn_nn_trainer *trainer);
ATTN_API attn_nn_training *attn_nn_trainer_state(attn_nn_trainer *trainer);
ATTN_API size_t attn_nn_trainer_bytes(const attn_nn_trainer *trainer); /* of memory, in all */

/* One step on a batch. Errors: VALUE (the batches must have as many shards as the trainer; no such
 * batch), MEMORY, and those of a pass; then nothing changed. */
ATTN_API attn_status attn_nn_trainer_step(attn_nn_trainer *trainer, attn_nn_batches *batches,
                                          int64_t epoch, int64_t index,
                                          attn_nn_step_report *report);

/* The loss, without dropout, of all batches of epoch 0 under values [layout->size]. */
ATTN_API attn_status attn_nn_trainer_loss(attn_nn_trainer *trainer, attn_nn_batches *batches,
                                          const attn_nn_real *values, attn_nn_loss *loss);

/* ---------------------------------------------------------------------------------------------
 * Search
 * ------------------------------------------------------------------------------------------- */

typedef enum attn_nn_search_kind {
    ATTN_NN_GREEDY = 0, /* the most probable token, each time */
    ATTN_NN_BEAM = 1,
    ATTN_NN_SAMPLE = 2 /* tokens drawn by their probabilities, n_best times */
} attn_nn_search_kind;

/* attn_nn_search_defaults, and what of it is changed. Lengths are in tokens, without begin and end. */
typedef struct attn_nn_search_options {
    attn_nn_search_kind kind; /* BEAM */
    int64_t beam;             /* hypotheses kept open for a sentence: 5 */
    int64_t n_best;           /* hypotheses given back, at most `beam`; of samples, how many: 1 */

    /* score = log p / (length + 1)^length_penalty, with the end in both: 1. 0: log p. */
    double length_penalty;

    /* A sentence is done as soon as no open hypothesis can come to beat the n-best finished, which
     * takes none of them away; and when n_best and patience * beam hypotheses have finished (Kasai et
     * al. 2022; 1 is what is usual). INFINITY: never so. */
    double patience;

    /* The longest translation: max_length, or max_factor * rows of the source + max_more, if that is
     * less: 256, 2, 10. After that many tokens nothing but the end may be said. */
    int64_t max_length;
    double max_factor;
    int64_t max_more;
    int64_t min_length; /* no end before: 0 */

    /* Of samples. From p^(1/temperature): the top_k most probable tokens alone, 0: all; and of these the
     * fewest most probable that have a share of top_p or more (Holtzman et al. 2020), 1: all. */
    double temperature;
    int64_t top_k;
    double top_p;
    uint64_t
        seed; /* with the source's tokens it decides what is drawn, not the rest of the batch */

    bool forbid_unknown;
    bool want_weights;
    int32_t begin, end, unknown, pad; /* begin and pad are never said; -1: there is no such token */
} attn_nn_search_options;

ATTN_API attn_nn_search_options attn_nn_search_defaults(int32_t begin, int32_t end, int32_t unknown,
                                                        int32_t pad);

typedef struct attn_nn_hypothesis {
    const int32_t *tokens; /* [length], without begin and end */
    int64_t length;
    double log_p, score; /* the end's share among them */
    const attn_nn_real
        *weights; /* [length + 1, source rows], each token's and the end's: with which
                                  * source rows in view it was said; NULL unless asked for */
} attn_nn_hypothesis;

/* Sentence s has hypotheses starts[s] .. starts[s+1]-1: at least 1 and at most n_best, highest score
 * first. Those of a beam are distinct; equal scores come in the order in which they were finished. */
typedef struct attn_nn_translations {
    int64_t count;
    const int64_t *starts; /* [count + 1] */
    const attn_nn_hypothesis *hypotheses;
} attn_nn_translations;

/* Translates packed sentences, which end as in training. An end that is among a sentence's `beam` best
 * continuations finishes a hypothesis; the best others, up to `beam`, go on. Finished sentences leave
 * the batch. Memory: max rows = sentences * beam; log p of max rows * vocabulary; up to max rows *
 * longest translation tokens, and as many rows of weights, if asked for; and the decoder's. The pass's
 * arena has as much in use afterwards as before. NULL: pass->status, VALUE (names the field) among
 * them; pass->interrupted is asked before each step. */
ATTN_API attn_nn_translations *attn_nn_search(const attn_nn_model *model, attn_nn_pass *pass,
                                              const attn_nn_sentences *source,
                                              const attn_nn_search_options *options);

/* The same by several models of one vocabulary together: each step takes the mean of their log p, and
 * of their weights. models and passes [count]; each pass has its own model's values and an arena of its
 * own. Failures are those of passes[0]. */
ATTN_API attn_nn_translations *attn_nn_search_together(const attn_nn_model *const *models,
                                                       attn_nn_pass *const *passes, int64_t count,
                                                       const attn_nn_sentences *source,
                                                       const attn_nn_search_options *options);

ATTN_API void attn_nn_translations_free(attn_nn_translations *translations);

#ifdef __cplusplus
}
#endif

#endif

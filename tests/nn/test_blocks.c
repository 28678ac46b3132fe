/* Transformer blocks and stacks: gradients beside differences, for all options; steps beside the whole. */
#include "attn/transformer.h"

#include "differences.h"
#include "noise.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 8, HEADS = 2, SENTENCES = 4, ROWS = 10, MEMORY_ROWS = 12, BLOCKS = 2 };

/* One of them empty. */
static const int64_t starts[SENTENCES + 1] = {0, 4, 4, 9, 10};
static const int64_t memory_starts[SENTENCES + 1] = {0, 3, 5, 11, 12};
static const attn_nn_sentences sentences = {SENTENCES, starts, NULL};
static const attn_nn_sentences memory_sentences = {SENTENCES, memory_starts, NULL};

/* --- A world: blocks, and what they are given, as parameters of one layout ---------------------------- */

typedef struct world {
    attn_nn_layout layout;
    attn_nn_block blocks[BLOCKS];
    attn_nn_norm norm;
    attn_nn_stack stack;
    int64_t x, memory; /* their offsets */
    attn_nn_real *values, *gradients;
    attn_nn_arena *arena;
    attn_context *context;
    bool training, alone; /* alone: the first block, without the stack */
    int64_t shown;        /* whose weights count; -1: none */
} world;

static attn_nn_block_options plain(void) {
    return (attn_nn_block_options){
        .width = WIDTH, .heads = HEADS, .feed_forward = 12, .activation = ATTN_NN_SILU};
}

static void open_world(world *w, const attn_nn_block_options *options) {
    memset(w, 0, sizeof *w);
    w->shown = -1;
    for (int i = 0; i < BLOCKS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "layers.%d", i);
        assert_int_equal(attn_nn_block_make(&w->layout, name, options, &w->blocks[i]), ATTN_OK);
    }
    w->norm = attn_nn_norm_make(&w->layout, "norm", options->norm, WIDTH);
    w->stack = (attn_nn_stack){w->blocks, BLOCKS, options->post_norm ? NULL : &w->norm};
    w->x = attn_nn_layout_add(&w->layout, "x", ROWS, WIDTH, ATTN_NN_ZERO, 0);
    w->memory = attn_nn_layout_add(&w->layout, "memory", MEMORY_ROWS, WIDTH, ATTN_NN_ZERO, 0);
    assert_false(w->layout.failed);
    w->values = calloc((size_t)w->layout.size, sizeof *w->values);
    w->gradients = calloc((size_t)w->layout.size, sizeof *w->gradients);
    w->arena = attn_nn_arena_create();
    const attn_context_options one = {.threads = 1};
    assert_int_equal(attn_context_create(&w->context, &one), ATTN_OK);
    for (int64_t i = 0; i < w->layout.size; i++) {
        w->values[i] = 2 * attn_nn_uniform(attn_nn_noise_at(9, (uint64_t)i).a) - 1;
    }
}

static void close_world(world *w) {
    attn_nn_layout_free(&w->layout);
    free(w->values);
    free(w->gradients);
    attn_nn_arena_destroy(w->arena);
    attn_context_destroy(w->context);
}

static attn_nn_pass pass_of(const world *w, bool with_gradients) {
    return (attn_nn_pass){.values = w->values,
                          .gradients = with_gradients ? w->gradients : NULL,
                          .arena = w->arena,
                          .context = w->context,
                          .training = w->training,
                          .seed = 7};
}

/* --- Gradients ---------------------------------------------------------------------------------------- */

static double factor(uint64_t of, int64_t i) {
    return 2 * attn_nn_uniform(attn_nn_noise_at(of, (uint64_t)i).b) - 1;
}

/* The sum of y, and of the weights that are shown, each times a factor of its own; *size: of the sizes. */
static double weighted(const attn_nn_real *y, const attn_nn_attention_saved *shown,
                       const attn_nn_sentences *keys, double *size) {
    double sum = 0;
    for (int64_t i = 0; i < ROWS * WIDTH; i++) {
        const double term = factor(4, i) * (double)y[i];
        sum += term, *size += fabs(term);
    }
    if (shown == NULL) return sum;
    for (int h = 0; h < HEADS; h++) {
        for (int64_t s = 0; s < SENTENCES; s++) {
            for (int64_t r = starts[s]; r < starts[s + 1]; r++) {
                for (int64_t j = 0; j < keys->starts[s + 1] - keys->starts[s]; j++) {
                    const int64_t place = (h * ROWS + r) * shown->longest + j;
                    const double term = factor(5, place) * (double)shown->weights[place];
                    sum += term, *size += fabs(term);
                }
            }
        }
    }
    return sum;
}

static void go_back(world *w, attn_nn_pass *pass, const attn_nn_stack_saved *saved,
                    const attn_nn_attention_saved *shown) {
    const attn_nn_real *const memory =
        w->stack.blocks->options.cross ? w->values + w->memory : NULL;
    attn_nn_real *const d = attn_nn_take(pass, ROWS * WIDTH), *d_x = d;
    attn_nn_real *d_weights = NULL;
    for (int64_t i = 0; i < ROWS * WIDTH; i++) d[i] = (attn_nn_real)factor(4, i);
    if (shown != NULL) {
        d_weights = attn_nn_take(pass, HEADS * ROWS * shown->longest);
        for (int64_t i = 0; i < HEADS * ROWS * shown->longest; i++) {
            d_weights[i] = (attn_nn_real)factor(5, i);
        }
    }
    if (w->alone) {
        attn_nn_block_backward(pass, w->blocks, &sentences, memory, &memory_sentences,
                               saved->blocks, d_weights, d, w->gradients + w->memory);
    } else {
        d_x = attn_nn_stack_backward(pass, &w->stack, &sentences, memory, &memory_sentences, saved,
                                     w->shown, d_weights, d, w->gradients + w->memory);
    }
    assert_int_equal(pass->status, ATTN_OK);
    for (int64_t i = 0; i < ROWS * WIDTH; i++) w->gradients[w->x + i] += d_x[i];
}

static double value_and_size(world *w, bool with_gradients, double *size) {
    attn_nn_pass pass = pass_of(w, with_gradients);
    const size_t mark = attn_nn_mark(&pass);
    const attn_nn_real *const x = w->values + w->x;
    const bool cross = w->blocks->options.cross;
    const attn_nn_real *const memory = cross ? w->values + w->memory : NULL, *y;
    attn_nn_block_saved of_block;
    attn_nn_stack_saved saved = {.blocks = &of_block};
    if (w->alone) {
        y = attn_nn_block_forward(&pass, w->blocks, x, &sentences, memory, &memory_sentences,
                                  w->shown == 0, &of_block);
    } else {
        y = attn_nn_stack_forward(&pass, &w->stack, x, &sentences, memory, &memory_sentences,
                                  w->shown, &saved);
    }
    assert_non_null(y);
    const attn_nn_attention_saved *shown = NULL;
    if (w->shown >= 0) {
        shown = cross ? &saved.blocks[w->shown].cross_heads : &saved.blocks[w->shown].self_heads;
    }
    const double sum = weighted(y, shown, cross ? &memory_sentences : &sentences, size);
    if (with_gradients) go_back(w, &pass, &saved, shown);
    attn_nn_release(&pass, mark);
    return sum;
}

static double value(void *user, bool with_gradients) {
    double size = 0;
    return value_and_size(user, with_gradients, &size);
}

static void gradients_of(const attn_nn_block_options *options, bool training, bool alone,
                         int64_t shown) {
    world w;
    open_world(&w, options);
    w.training = training, w.alone = alone, w.shown = shown;
    double size = 1;
    (void)value_and_size(&w, false, &size);
    const differentiable f = {.value = value,
                              .user = &w,
                              .layout = &w.layout,
                              .values = w.values,
                              .gradients = w.gradients,
                              .scale = 1,
                              .size = size};
    check_differences(&f);
    close_world(&w);
}

/* An encoder's block and a decoder's, pre- and post-norm, of either norm. */
static void test_gradients(void **state) {
    (void)state;
    for (int mode = 0; mode < 16; mode++) {
        attn_nn_block_options o = plain();
        o.cross = o.causal = mode & 1, o.post_norm = mode & 2;
        o.norm = mode & 4 ? ATTN_NN_RMS_NORM : ATTN_NN_LAYER_NORM;
        gradients_of(&o, false, mode & 8, -1);
    }
}

static void test_gradients_of_positions(void **state) {
    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        attn_nn_block_options o = plain();
        o.causal = mode & 1, o.activation = ATTN_NN_GELU;
        if (mode & 2) {
            o.rotary_base = 100;
        } else {
            o.relative = 32;
        }
        gradients_of(&o, false, true, -1);
    }
}

static void test_gradients_with_dropout(void **state) {
    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        attn_nn_block_options o = plain();
        o.cross = mode & 1, o.post_norm = mode & 2;
        o.dropout = 0.3, o.attention_dropout = 0.2, o.activation_dropout = 0.1;
        gradients_of(&o, true, true, -1);
    }
}

/* Into the weights of cross-attention, or of an encoder's own; of one block of a stack, too. */
static void test_gradients_into_weights(void **state) {
    (void)state;
    for (int mode = 0; mode < 8; mode++) {
        attn_nn_block_options o = plain();
        o.cross = mode & 1, o.post_norm = mode & 2;
        gradients_of(&o, false, mode & 4, mode & 4 ? 0 : 1);
    }
}

/* --- Steps -------------------------------------------------------------------------------------------- */

/* More steps than a cache has room for at first; the longest sentence of memory. */
enum { STEPS = 20, MOST = 4, LONGEST = 6 };

/* Sequences that grow side by side: what each was given and gave, and which sentence of memory it looks
 * at. */
typedef struct history {
    int64_t rows, sentence[MOST];
    attn_nn_real x[MOST][STEPS][WIDTH], y[MOST][STEPS][WIDTH];
    attn_nn_real weights[HEADS][MOST][LONGEST]; /* of the last step's rows, in the last block */
} history;

static void reorder(history *h, const int64_t *from, int64_t rows) {
    history *const old = malloc(sizeof *old);
    *old = *h;
    for (int64_t r = 0; r < rows; r++) {
        h->sentence[r] = old->sentence[from[r]];
        memcpy(h->x[r], old->x[from[r]], sizeof h->x[r]);
        memcpy(h->y[r], old->y[from[r]], sizeof h->y[r]);
    }
    h->rows = rows;
    free(old);
}

static void step(world *w, attn_nn_pass *pass, attn_nn_block_cache *caches, history *h, int64_t t) {
    attn_nn_real x[MOST * WIDTH];
    int64_t row_starts[SENTENCES + 1] = {0};
    for (int64_t r = 0; r < h->rows; r++) {
        for (int64_t s = h->sentence[r] + 1; s <= SENTENCES; s++) row_starts[s]++;
        for (int i = 0; i < WIDTH; i++) {
            x[r * WIDTH + i] = h->x[r][t][i] = (attn_nn_real)factor(6, (t * MOST + r) * WIDTH + i);
        }
    }
    const attn_nn_sentences rows = {SENTENCES, row_starts, NULL};
    const size_t mark = attn_nn_mark(pass);
    const attn_nn_real *weights = NULL;
    const attn_nn_real *const y =
        attn_nn_stack_step(pass, &w->stack, x, &rows, &memory_sentences, caches, BLOCKS - 1,
                           w->blocks->options.cross ? &weights : NULL);
    assert_non_null(y);
    for (int head = 0; head < HEADS && weights != NULL; head++) {
        memcpy(h->weights[head], weights + head * h->rows * LONGEST,
               (size_t)(h->rows * LONGEST) * sizeof *weights);
    }
    for (int64_t r = 0; r < h->rows; r++) memcpy(h->y[r][t], y + r * WIDTH, sizeof h->y[r][t]);
    attn_nn_release(pass, mark);
}

/* The weights of each sequence's last row are those of its last step: quotients of sums of numbers
 * below 1, and so off by no more than results are. */
static void check_weights(const history *h, const attn_nn_attention_saved *heads) {
    for (int head = 0; head < HEADS; head++) {
        for (int64_t r = 0; r < h->rows; r++) {
            const int64_t row = (head * h->rows + r + 1) * STEPS - 1, s = h->sentence[r];
            for (int64_t j = 0; j < memory_starts[s + 1] - memory_starts[s]; j++) {
                const attn_nn_real weight = heads->weights[row * heads->longest + j];
                assert_true(fabs((double)(h->weights[head][r][j] - weight)) <= 1000 * DBL_EPSILON);
            }
        }
    }
}

/* The whole sequences, each beside a copy of the sentence that it looks at. */
static const attn_nn_real *whole(world *w, attn_nn_pass *pass, const history *h) {
    int64_t row_starts[MOST + 1] = {0}, copied[MOST + 1] = {0};
    attn_nn_real *const memory = attn_nn_take(pass, MOST * MEMORY_ROWS * WIDTH);
    for (int64_t r = 0; r < h->rows; r++) {
        const int64_t first = memory_starts[h->sentence[r]];
        const int64_t count = memory_starts[h->sentence[r] + 1] - first;
        memcpy(memory + copied[r] * WIDTH, w->values + w->memory + first * WIDTH,
               (size_t)(count * WIDTH) * sizeof *memory);
        row_starts[r + 1] = (r + 1) * STEPS, copied[r + 1] = copied[r] + count;
    }
    const attn_nn_sentences rows = {h->rows, row_starts, NULL}, of = {h->rows, copied, NULL};
    attn_nn_stack_saved saved;
    const attn_nn_real *const y = attn_nn_stack_forward(pass, &w->stack, &h->x[0][0][0], &rows,
                                                        memory, &of, BLOCKS - 1, &saved);
    assert_non_null(y);
    if (w->blocks->options.cross) check_weights(h, &saved.blocks[BLOCKS - 1].cross_heads);
    return y;
}

/* The same sums in another order: some hundred roundings a block, of numbers of the size of the result. */
static void check_steps(const attn_nn_block_options *options) {
    world w;
    history *const h = calloc(1, sizeof *h);
    attn_nn_block_cache caches[BLOCKS];
    open_world(&w, options);
    attn_nn_pass pass = pass_of(&w, false);
    *h = (history){.rows = 3, .sentence = {0, 0, 2}};
    assert_true(
        attn_nn_stack_begin(&pass, &w.stack, MOST, w.values + w.memory, &memory_sentences, caches));
    for (int64_t t = 0; t < STEPS; t++) {
        static const int64_t first[] = {1, 0, 2, 2}, second[] = {1, 1, 3};
        if (t == 0 || t == 5) {
            assert_true(attn_nn_stack_reorder(&pass, &w.stack, caches, first, t ? 4 : 3));
            if (t > 0) reorder(h, first, 4);
        } else if (t == 18) {
            assert_true(attn_nn_stack_reorder(&pass, &w.stack, caches, second, 3));
            reorder(h, second, 3);
        }
        step(&w, &pass, caches, h, t);
    }
    assert_int_equal(caches[0].self.length, STEPS);
    attn_nn_stack_end(&w.stack, caches);
    const attn_nn_real *const expected = whole(&w, &pass, h);
    double most = 0, apart = 0;
    for (int64_t i = 0; i < h->rows * STEPS * WIDTH; i++) {
        most = fmax(most, fabs((double)expected[i]));
        apart = fmax(apart, fabs((double)(expected[i] - (&h->y[0][0][0])[i])));
    }
    assert_true(apart <= 1000 * DBL_EPSILON * most);
    free(h);
    close_world(&w);
}

static void test_steps(void **state) {
    (void)state;
    for (int mode = 0; mode < 12; mode++) {
        attn_nn_block_options o = plain();
        o.causal = true, o.cross = mode & 1, o.post_norm = mode & 2;
        if (mode / 4 == 1) o.rotary_base = 10000;
        if (mode / 4 == 2) o.relative = 8;
        check_steps(&o);
    }
}

/* Keys that are made before give the same bits, weights among them; so does a step that shows them. */
static void test_look(void **state) {
    (void)state;
    world w;
    attn_nn_block_options o = plain();
    o.cross = true;
    open_world(&w, &o);
    attn_nn_pass pass = pass_of(&w, false);
    const attn_nn_attention *const layer = &w.blocks->cross;
    const attn_nn_real *const x = w.values + w.x, *const memory = w.values + w.memory;
    attn_nn_attention_saved saved, again;
    const attn_nn_real *const y = attn_nn_attention_forward(&pass, layer, x, &sentences, memory,
                                                            &memory_sentences, true, &saved);
    const attn_nn_real *const both = attn_nn_attention_keys(&pass, layer, memory, MEMORY_ROWS);
    const attn_nn_real *const looked =
        attn_nn_attention_look(&pass, layer, x, &sentences, both, &memory_sentences, true, &again);
    assert_int_equal(pass.status, ATTN_OK);
    assert_memory_equal(looked, y, ROWS * WIDTH * sizeof *y);
    assert_int_equal(again.longest, saved.longest);
    assert_memory_equal(again.weights, saved.weights,
                        (size_t)(HEADS * ROWS * saved.longest) * sizeof *y);
    close_world(&w);
}

/* Rows of one position, and whole sentences; learned ones as they lie. */
static void test_positions(void **state) {
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        attn_nn_layout layout = {0};
        const attn_nn_positional layer = attn_nn_positional_make(
            &layout, "positions", (attn_nn_positions)kind, WIDTH, /* max_length */ 5);
        attn_nn_real values[64] = {0}, whole_rows[ROWS * WIDTH] = {0}, row[WIDTH];
        attn_nn_layout_start(&layout, 1, values);
        attn_nn_arena *const arena = attn_nn_arena_create();
        attn_nn_pass pass = {.values = values, .arena = arena};
        attn_nn_positional_forward(&pass, &layer, whole_rows, &sentences);
        for (int64_t s = 0; s < SENTENCES; s++) {
            for (int64_t r = starts[s]; r < starts[s + 1]; r++) {
                memset(row, 0, sizeof row);
                attn_nn_positional_step(&pass, &layer, row, 1, r - starts[s]);
                assert_memory_equal(row, whole_rows + r * WIDTH, sizeof row);
            }
        }
        const bool added = kind == ATTN_NN_SINUSOIDAL || kind == ATTN_NN_LEARNED;
        assert_true((whole_rows[WIDTH + 1] != 0) == added);
        assert_int_equal(pass.status, ATTN_OK);
        attn_nn_positional_step(&pass, &layer, row, 1, 5);
        assert_int_equal(pass.status, kind == ATTN_NN_LEARNED ? ATTN_ERROR_SHAPE : ATTN_OK);
        attn_nn_arena_destroy(arena);
        attn_nn_layout_free(&layout);
    }
}

/* sin and cos of 3 / 10000^(2i/8), as the paper has them. */
static void test_sinusoids(void **state) {
    (void)state;
    const attn_nn_positional layer = {.kind = ATTN_NN_SINUSOIDAL, .width = WIDTH};
    attn_nn_arena *const arena = attn_nn_arena_create();
    attn_nn_pass pass = {.arena = arena};
    attn_nn_real row[WIDTH] = {0};
    attn_nn_positional_step(&pass, &layer, row, 1, 3);
    for (int i = 0; i < WIDTH / 2; i++) {
        /* The angle is rounded three times, and no slope is above 1; then the function once. */
        const double angle = 3 / pow(10000, 2.0 * i / WIDTH), off = 4 * DBL_EPSILON * (angle + 1);
        assert_true(fabs((double)row[2 * i] - sin(angle)) <= off);
        assert_true(fabs((double)row[2 * i + 1] - cos(angle)) <= off);
    }
    attn_nn_arena_destroy(arena);
}

/* --- Refusals ----------------------------------------------------------------------------------------- */

static void test_refused_options(void **state) {
    (void)state;
    attn_nn_block_options wrong[12];
    for (int i = 0; i < 12; i++) wrong[i] = plain();
    wrong[0].width = 0, wrong[1].heads = 3, wrong[2].feed_forward = -1;
    wrong[3].norm = (attn_nn_norm_kind)2, wrong[4].activation = (attn_nn_activation)3;
    wrong[5].rotary_base = -1, wrong[6].rotary_base = NAN, wrong[7].relative = -1;
    wrong[8].dropout = 1, wrong[9].attention_dropout = -0.1, wrong[10].activation_dropout = NAN;
    wrong[11].heads = WIDTH, wrong[11].rotary_base = 10000; /* heads of width 1 */
    static const char *const fields[] = {"width",
                                         "heads",
                                         "feed_forward",
                                         "norm",
                                         "activation",
                                         "rotary_base",
                                         "rotary_base",
                                         "relative",
                                         "dropout",
                                         "attention_dropout",
                                         "activation_dropout",
                                         "rotary_base"};
    for (int i = 0; i < 12; i++) {
        attn_nn_layout layout = {0};
        attn_nn_block block;
        char begin[40];
        (void)snprintf(begin, sizeof begin, "options.%s: ", fields[i]);
        assert_int_equal(attn_nn_block_make(&layout, "", &wrong[i], &block), ATTN_ERROR_VALUE);
        assert_memory_equal(attn_nn_error_message(), begin, strlen(begin));
        assert_int_equal(layout.count, 0);
    }
    const attn_nn_block_options good = plain();
    assert_int_equal(attn_nn_block_make(NULL, "", &good, NULL), ATTN_ERROR_NULL);
}

/* Zeroed sizes are filled in. */
static void test_defaults(void **state) {
    (void)state;
    attn_nn_layout layout = {0};
    attn_nn_block block;
    const attn_nn_block_options options = {.width = 16};
    assert_int_equal(attn_nn_block_make(&layout, "", &options, &block), ATTN_OK);
    assert_int_equal(block.options.heads, 4);
    assert_int_equal(attn_nn_layout_find(&layout, "linear1.weight")->rows, 64);
    attn_nn_layout_free(&layout);
}

/* Each fails a pass of its own, and leaves the cache as it was. */
static void test_refused_steps(void **state) {
    (void)state;
    world w;
    attn_nn_block_options o = plain();
    o.causal = o.cross = true;
    open_world(&w, &o);
    attn_nn_pass pass = pass_of(&w, false);
    const attn_nn_real *const x = w.values + w.x;
    attn_nn_attention_cache cache = {.max_rows = 3};
    const attn_nn_attention *const layer = &w.blocks->self;
    assert_null(attn_nn_attention_step(&pass, layer, x, 4, &cache));
    assert_int_equal(pass.status, ATTN_ERROR_SHAPE); /* too many rows */
    pass = pass_of(&w, false);
    assert_non_null(attn_nn_attention_step(&pass, layer, x, 2, &cache));
    assert_null(attn_nn_attention_step(&pass, layer, x, 3, &cache));
    assert_int_equal(pass.status, ATTN_ERROR_SHAPE); /* another number of them */
    pass = pass_of(&w, false);
    assert_null(attn_nn_attention_step(&pass, &w.blocks->cross, x, 2, &cache));
    assert_int_equal(pass.status, ATTN_ERROR_VALUE); /* not causal */
    static const int64_t from[] = {0, 1, 1, 0}, none[] = {2};
    pass = pass_of(&w, false);
    assert_false(attn_nn_attention_reorder(&pass, &cache, from, 4));
    assert_int_equal(pass.status, ATTN_ERROR_SHAPE);
    pass = pass_of(&w, false);
    assert_false(attn_nn_attention_reorder(&pass, &cache, none, 1));
    assert_int_equal(pass.status, ATTN_ERROR_VALUE);
    assert_true(cache.rows == 2 && cache.length == 1 && cache.width == WIDTH);
    attn_nn_attention_cache_free(&cache);
    assert_true(cache.kept == NULL && cache.capacity == 0 && cache.max_rows == 3);
    pass = pass_of(&w, false);
    attn_nn_block_saved saved;
    assert_null(attn_nn_block_forward(&pass, w.blocks, x, &sentences, NULL, NULL, false, &saved));
    assert_int_equal(pass.status, ATTN_ERROR_VALUE); /* no memory to look at */
    pass = pass_of(&w, false);
    attn_nn_attention_saved looked;
    assert_null(attn_nn_attention_look(&pass, layer, x, &sentences, x, &sentences, false, &looked));
    assert_int_equal(pass.status, ATTN_ERROR_VALUE); /* causal */
    close_world(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_gradients_of_positions),
        cmocka_unit_test(test_gradients_with_dropout),
        cmocka_unit_test(test_gradients_into_weights),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_look),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_sinusoids),
        cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_refused_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

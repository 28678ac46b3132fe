/* bench_problem.c: random problems of given shapes, and what computing them takes. */
#include "bench.h"

#include "kinds.h"

#include "../io/array.h"

#include <stdlib.h>

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Query-key pairs of one head that see each other. */
static int64_t visible_pairs(const bench_case *c) {
    const int64_t queries = c->size[QUERIES], keys = c->size[KEYS];
    int64_t pairs = 0;
    for (int64_t i = 0; i < queries; i++) {
        const int64_t position = i + keys - queries;
        int64_t first = 0, last = keys - 1;
        if (c->causal) last = smaller(last, position);
        if (c->window.enabled && c->window.right >= 0 && c->window.right < keys) {
            last = smaller(last, position + c->window.right);
        }
        if (c->window.enabled && c->window.left >= 0 && c->window.left < position) {
            first = position - c->window.left;
        }
        if (first <= last) pairs += last - first + 1;
    }
    return pairs;
}

double bench_pair_features(const bench_case *c) {
    return (double)visible_pairs(c) * (double)c->size[BATCH] * (double)c->size[HEADS] *
           (double)c->size[WIDTH];
}

static uint64_t random_state = 0x9e3779b97f4a7c15u;

/* Uniform in -1 .. 1 (xorshift). */
static double random_number(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(int64_t)random_state * 0x1p-63;
}

static void fill(const attn_tensor *tensor, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const double x = random_number();
        if (tensor->dtype == ATTN_F32) ((float *)tensor->data)[i] = (float)x;
        if (tensor->dtype == ATTN_F64) ((double *)tensor->data)[i] = x;
    }
}

/* Gives the tensor memory of its own and random elements; results of other types stay as they
 * are. */
static bool make_tensor(bench_problem *made, attn_tensor *place, attn_tensor tensor,
                        io_error *error) {
    size_t count = 1, bytes = 0;
    bool fits = true;
    for (int i = 0; i < 4; i++) {
        fits = fits && !__builtin_mul_overflow(count, tensor.shape[i], &count);
    }
    fits = fits && !__builtin_mul_overflow(count, io_dtype_size(tensor.dtype), &bytes) &&
           bytes <= PTRDIFF_MAX - 64;
    tensor.data = fits ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
    if (!tensor.data) return io_fail(error, "no memory for a tensor of this shape");
    made->memory[made->count++] = tensor.data;
    made->bytes += (double)bytes;
    fill(&tensor, count);
    *place = tensor;
    return true;
}

static bool make_plain(const bench_case *c, attn_dtype dtype, bench_problem *made,
                       io_error *error) {
    const int64_t *const s = c->size;
    attn_problem *const p = &made->plain;
    const attn_tensor query =
        attn_tensor_dense(NULL, dtype, s[BATCH], s[HEADS], s[QUERIES], s[WIDTH]);
    const attn_tensor key =
        attn_tensor_dense(NULL, dtype, s[BATCH], s[KV_HEADS], s[KEYS], s[WIDTH]);
    *p = (attn_problem){
        .mask = {.causal = c->causal, .alignment = ATTN_ALIGN_BOTTOM_RIGHT, .window = c->window}};
    return make_tensor(made, &p->query, query, error) && make_tensor(made, &p->key, key, error) &&
           make_tensor(made, &p->value, key, error) && make_tensor(made, &p->output, query, error);
}

/* What the score needs beside queries and keys. */
static bool make_score(const bench_case *c, const bench_settings *settings, bench_problem *made,
                       io_error *error) {
    enum { OFFSETS = 33 }; /* 16 to either side: Shaw et al. 2018 */
    const cli_score *const kind = &cli_scores[settings->score];
    const int64_t heads = c->size[HEADS], width = c->size[WIDTH];
    const int64_t rows[] = {
        [CLI_WEIGHT_NONE] = 0,
        [CLI_WEIGHT_VECTOR] = 1,
        [CLI_WEIGHT_MATRIX] = kind->kind == ATTN_SCORE_LOCATION ? c->size[KEYS] : width,
        [CLI_WEIGHT_TABLE] = OFFSETS,
    };
    const bool table = kind->weight == CLI_WEIGHT_TABLE;
    attn_score *const score = &made->problem.score;
    score->kind = kind->kind;
    score->scale = kind->scale;
    if (table) score->relative = &made->relative;
    if (kind->weight != CLI_WEIGHT_NONE &&
        !make_tensor(made, table ? &made->relative.keys : &score->weight,
                     attn_tensor_dense(NULL, settings->dtype, 1, heads, rows[kind->weight], width),
                     error)) {
        return false;
    }
    if (settings->backward && kind->hidden &&
        !make_tensor(made, &score->offset,
                     attn_tensor_dense(NULL, settings->dtype, 1, heads, 1, width), error)) {
        return false;
    }
    return !kind->projection ||
           make_tensor(made, &score->projection,
                       attn_tensor_dense(NULL, settings->dtype, 1, heads, width, 2 * width), error);
}

static bool make_views(const bench_settings *settings, bench_problem *made, io_error *error) {
    attn_problem *const p = &made->problem;
    bool good = cli_views_choose(&settings->views, p, "the problem", &made->views, error);
    for (int i = 0; good && i < CLI_VIEWS; i++) {
        if (!settings->views.file[i]) continue;
        if (i != CLI_VIEW_LSE) p->views = &made->views;
        good = make_tensor(made, cli_view_place(p, &made->views, i),
                           cli_view_tensor(&settings->views, p, i), error);
    }
    return good;
}

/* A place for the gradient of a tensor, if that is there. */
static bool make_gradient(bench_problem *made, const attn_tensor *of, attn_tensor *place,
                          io_error *error) {
    const int64_t *const s = of->shape;
    return !of->data ||
           make_tensor(made, place, attn_tensor_dense(NULL, of->dtype, s[0], s[1], s[2], s[3]),
                       error);
}

/* The log-sum-exp, which a softmax's backward starts from; what flows in; places for what flows
 * out. */
static bool make_backward(const bench_case *c, const bench_settings *settings, bench_problem *made,
                          io_error *error) {
    attn_problem *const p = &made->problem;
    attn_input_gradients *const to = &made->to;
    const attn_tensor lse = attn_tensor_dense(NULL, settings->dtype, c->size[BATCH], c->size[HEADS],
                                              c->size[QUERIES], 1);
    return (!cli_normalizers[settings->normalizer].lse || make_tensor(made, &p->lse, lse, error)) &&
           make_gradient(made, &p->output, &made->from.output, error) &&
           make_gradient(made, &p->query, &to->query, error) &&
           make_gradient(made, &p->key, &to->key, error) &&
           make_gradient(made, &p->value, &to->value, error) &&
           make_gradient(made, &p->score.weight, &to->weight, error) &&
           make_gradient(made, &p->score.projection, &to->projection, error) &&
           make_gradient(made, &p->score.offset, &to->offset, error) &&
           make_gradient(made, &made->relative.keys, &to->relative_keys, error);
}

bool bench_make(const bench_case *c, const bench_settings *settings, bench_problem *made,
                io_error *error) {
    *made = (bench_problem){0};
    if (!make_plain(c, settings->dtype, made, error)) return false;
    attn_tensor weights = attn_tensor_dense(NULL, settings->dtype, c->size[BATCH], c->size[HEADS],
                                            c->size[QUERIES], c->size[KEYS]);
    made->problem = made->plain;
    made->problem.normalizer.kind = cli_normalizers[settings->normalizer].kind;
    return (!c->weights || make_tensor(made, &made->problem.weights, weights, error)) &&
           make_score(c, settings, made, error) && make_views(settings, made, error) &&
           (!settings->backward || make_backward(c, settings, made, error));
}

void bench_free(bench_problem *made) {
    for (int i = 0; i < made->count; i++) free(made->memory[i]);
}

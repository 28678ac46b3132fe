/* Bytes as a problem for attn_forward and the reference, and then for attn_backward, attn_jvp and
 * theirs. Each tensor gets exactly the memory that its shape and strides span, so that
 * AddressSanitizer sees a touch outside. Checked: both give the same status, and a failed call says
 * why and leaves the results alone. */
#include <attn/gradients.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { MAX_TENSORS = 96, MAX_SEQUENCES = 4, UNTOUCHED = 0xa5 };

typedef struct input {
    const uint8_t *at;
    size_t left;
    void *blocks[MAX_TENSORS];
    size_t block_bytes[MAX_TENSORS];
    int block_count;
} input;

static uint8_t take(input *in) {
    if (in->left == 0) return 0;
    in->left--;
    return *in->at++;
}

/* Mostly small; now and then past a block of queries or a vector's end. */
static int64_t take_size(input *in) {
    static const int64_t far[] = {0, 9, 15, 16, 17, 33, 65, 70};
    const uint8_t byte = take(in);
    return byte < 240 ? 1 + byte % 8 : far[byte % 8];
}

static double take_number(input *in) {
    static const double special[] = {0,     -0.0, 1e4,      -1e4,      3e38,
                                     -3e38, NAN,  INFINITY, -INFINITY, 1e-42};
    const uint8_t byte = take(in);
    return byte < 10 ? special[byte] : (byte - 128) / 32.0;
}

static void fill(input *in, attn_dtype dtype, void *block, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (dtype == ATTN_F32) ((float *)block)[i] = (float)take_number(in);
        if (dtype == ATTN_F64) ((double *)block)[i] = take_number(in);
        if (dtype == ATTN_BOOL) ((uint8_t *)block)[i] = take(in) & 1;
    }
}

/* A tensor over memory of its own: padded, reversed and (inputs) broadcast as the bytes say. */
static attn_tensor make(input *in, attn_dtype dtype, bool result, int64_t d0, int64_t d1,
                        int64_t d2, int64_t d3) {
    static const size_t sizes[] = {[ATTN_F32] = 4, [ATTN_F64] = 8, [ATTN_BOOL] = 1, [ATTN_F16] = 2,
                                   [ATTN_U8] = 1,  [ATTN_I32] = 4, [ATTN_I64] = 8};
    attn_tensor t = attn_tensor_dense(NULL, dtype, d0, d1, d2, d3);
    int64_t step = 1, low = 0, high = 0;
    for (int i = 3; i >= 0; i--) {
        const uint8_t how = take(in) % 16;
        t.stride[i] = how == 15 ? -step : how == 14 && !result ? 0 : step;
        if (t.shape[i] == 0) continue;
        const int64_t reach = (t.shape[i] - 1) * t.stride[i];
        *(reach < 0 ? &low : &high) += reach;
        step = high - low + 1 + (how == 13);
    }
    const bool empty = d0 == 0 || d1 == 0 || d2 == 0 || d3 == 0;
    const size_t count = empty ? 0 : (size_t)(high - low + 1);
    void *const block = malloc(count * sizes[dtype] + (count == 0));
    if (!block) abort();
    if (result) memset(block, UNTOUCHED, count * sizes[dtype]);
    else fill(in, dtype, block, count);
    in->blocks[in->block_count] = block;
    in->block_bytes[in->block_count++] = result ? count * sizes[dtype] : 0;
    t.data = (char *)block - (empty ? 0 : low) * (int64_t)sizes[dtype];
    return t;
}

/* Each size is the full one or 1. */
static attn_tensor make_broadcast(input *in, attn_dtype dtype, const int64_t full[4]) {
    const uint8_t ones = take(in);
    int64_t shape[4];
    for (int i = 0; i < 4; i++) shape[i] = ones >> i & 1 ? 1 : full[i];
    return make(in, dtype, false, shape[0], shape[1], shape[2], shape[3]);
}

static void make_score(input *in, attn_score *score, attn_dtype dtype, const int64_t full[4]) {
    const int64_t per_head[4] = {full[0], full[1], 1, 1};
    const uint8_t parts = take(in);
    if (parts & 1) score->scale = take_number(in);
    if (parts & 2) score->softcap = take_number(in);
    if (parts & 4) score->bias = make_broadcast(in, dtype, full);
    if (parts & 8) score->alibi_slopes = make_broadcast(in, dtype, per_head);
    if (parts & 16) score->sinks = make_broadcast(in, dtype, per_head);
}

/* A matrix a head, or one for all. */
static attn_tensor make_matrix(input *in, attn_dtype dtype, int64_t heads, int64_t rows,
                               int64_t columns) {
    return make(in, dtype, false, 1, take(in) % 2 ? 1 : heads, rows, columns);
}

/* What a call may point to, beside tensors. */
typedef struct pointed {
    int64_t lengths[2][MAX_SEQUENCES];
    attn_relative relative;
    attn_location location;
    attn_local local;
    attn_views views;
    int64_t chosen[2], rows[2];
} pointed;

static void make_relative(input *in, pointed *x, const attn_problem *p, int64_t heads) {
    attn_relative *const r = &x->relative;
    const attn_dtype dtype = p->query.dtype;
    const int64_t n = 1 + take(in) % 12, d = p->query.shape[3];
    const uint8_t terms = take(in);
    r->buckets = (attn_bucket_kind)(take(in) % 4);
    r->origin = (int8_t)take(in) % 16;
    r->max_distance = (int8_t)take(in);
    if (terms & 1) r->bias = make_matrix(in, dtype, heads, 1, n);
    if (terms & 2) r->keys = make_matrix(in, dtype, heads, n, d);
    if (terms & 4) r->queries = make_matrix(in, dtype, heads, n, d);
    if (terms & 8) r->values = make_matrix(in, dtype, heads, n, p->value.shape[3]);
    if (terms & 16) r->content_bias = make_matrix(in, dtype, heads, 1, d);
    if (terms & 32) r->position_bias = make_matrix(in, dtype, heads, 1, d);
}

static void make_location(input *in, pointed *x, const attn_problem *p, const int64_t full[4],
                          int64_t hidden) {
    attn_location *const l = &x->location;
    const int64_t channels = take(in) % 4, width = take(in) % 8;
    l->previous = make_broadcast(in, p->query.dtype, full);
    l->filters = make_matrix(in, p->query.dtype, full[1], channels, width);
    l->projection = make_matrix(in, p->query.dtype, full[1], hidden, channels);
}

/* What the kind of score needs, and sometimes what it does not take. */
static void make_kind(input *in, attn_problem *p, pointed *x, const int64_t full[4]) {
    attn_score *const score = &p->score;
    const attn_dtype dtype = p->query.dtype;
    const int64_t d = p->query.shape[3], d_key = p->key.shape[3], heads = full[1];
    const int64_t hidden = take(in) % 8 == 0 ? 5 : d;
    const uint8_t terms = take(in);
    score->kind = (attn_score_kind)(take(in) % 9);
    if (score->kind == ATTN_SCORE_GENERAL) score->weight = make_matrix(in, dtype, heads, d, d_key);
    if (score->kind == ATTN_SCORE_LOCATION)
        score->weight = make_matrix(in, dtype, heads, full[3], d);
    if (score->kind == ATTN_SCORE_ADDITIVE || score->kind == ATTN_SCORE_CONCAT)
        score->weight = make_matrix(in, dtype, heads, 1, hidden);
    if (score->kind == ATTN_SCORE_CONCAT)
        score->projection = make_matrix(in, dtype, heads, hidden, d + d_key);
    if (terms & 1) score->offset = make_matrix(in, dtype, heads, 1, hidden);
    if (terms & 2) score->normalize_weight = true;
    if (terms & 4)
        score->scales = make_broadcast(in, dtype, (const int64_t[4]){full[0], heads, 1, 1});
    if (terms & 8) make_relative(in, x, p, heads), score->relative = &x->relative;
    if (terms & 16) make_location(in, x, p, full, hidden), score->location = &x->location;
}

static void make_normalizer(input *in, attn_problem *p, pointed *x, const int64_t full[4]) {
    attn_normalizer *const n = &p->normalizer;
    const uint8_t terms = take(in);
    n->kind = (attn_normalizer_kind)(take(in) % 10);
    if (terms & 1) n->temperature = take_number(in);
    if (terms & 2) n->alpha = 1 + take(in) / 16.0;
    if (terms & 4) n->bias = take_number(in);
    if (terms & 8) n->dropout = take(in) / 250.0;
    if (terms & 16) n->gumbel = true;
    if ((terms & 32) == 0) return;
    x->local.half_width = take_number(in);
    x->local.sigma = take_number(in);
    if (terms & 64)
        x->local.centers =
            make_broadcast(in, p->query.dtype, (const int64_t[4]){full[0], full[1], full[2], 1});
    n->local = &x->local;
}

/* Which heads and rows the views show; returns how many heads, and sets how many rows. */
static int64_t choose(input *in, pointed *x, uint8_t some, int64_t heads, int64_t *rows) {
    attn_views *const v = &x->views;
    if (some & 1) {
        x->chosen[0] = take(in) % 3, x->chosen[1] = x->chosen[0] + take(in) % 3;
        v->heads = x->chosen;
        v->head_count = heads = take(in) % 3;
    }
    if (some & 2) {
        x->rows[0] = take(in) % 4, x->rows[1] = x->rows[0] + take(in) % 4;
        v->rows = some & 4 ? x->rows : NULL;
        v->row_count = take(in) % 3;
        if (v->rows || v->row_count) *rows = v->row_count;
    }
    v->window_queries = take(in) % 8;
    v->block_queries = take(in) % 8, v->block_keys = take(in) % 8;
    return heads;
}

/* Of each of the tensors whose bit is set: all of one shape. */
static void make_each(input *in, attn_tensor *const tensors[4], unsigned bits, attn_dtype dtype,
                      const int64_t shape[4]) {
    for (int i = 0; i < 4; i++)
        if (bits >> i & 1)
            *tensors[i] = make(in, dtype, true, shape[0], shape[1], shape[2], shape[3]);
}

static int64_t blocks(int64_t n, int64_t block) {
    return block > 0 ? (n + block - 1) / block : 0;
}

static void make_views(input *in, attn_problem *p, pointed *x, const int64_t full[4]) {
    static const attn_dtype types[] = {ATTN_F32, ATTN_F64, ATTN_F16, ATTN_U8};
    attn_views *const v = &x->views;
    const attn_dtype dtype = p->query.dtype, index = take(in) % 2 ? ATTN_I32 : ATTN_I64;
    const uint8_t some = take(in), per_query = take(in), per_pair = take(in), k = take(in) % 6;
    const int64_t n = full[0], queries = full[2], keys = full[3];
    int64_t rows = queries;
    const int64_t h = choose(in, x, some, full[1], &rows);
    make_each(in,
              (attn_tensor *const[]){&v->received_sum, &v->received_mean, &v->received_max,
                                     &v->window_sum},
              some >> 4, dtype, (const int64_t[]){n, h, 1, keys});
    make_each(in, (attn_tensor *const[]){&v->entropy, &v->span, &v->distance, &v->max_logit},
              per_query, dtype, (const int64_t[]){n, h, queries, 1});
    make_each(in, (attn_tensor *const[]){&v->raw_scores, &v->capped_scores, &v->scores, NULL},
              per_pair & 7, dtype, (const int64_t[]){n, h, queries, keys});
    if (some & 8) v->weights = make(in, types[take(in) % 4], true, n, h, rows, keys);
    if (per_query & 16) v->argmax = make(in, index, true, n, h, queries, 1);
    if (per_query & 32) v->top_keys = make(in, index, true, n, h, queries, k);
    if (per_query & 64) v->top_weights = make(in, dtype, true, n, h, queries, k);
    if (per_query & 128) v->path = make(in, index, true, n, 1, queries, 2);
    if (per_pair & 8) v->head_mean = make(in, dtype, true, n, 1, queries, keys);
    if (per_pair & 16) v->head_statistics = make(in, dtype, true, n, h, 1, ATTN_HEAD_STATISTICS);
    if (per_pair & 32)
        v->block_sums = make(in, dtype, true, n, h, blocks(queries, v->block_queries),
                             blocks(keys, v->block_keys));
    p->views = v;
}

static void make_mask(input *in, attn_mask *mask, int64_t lengths[2][MAX_SEQUENCES],
                      const int64_t full[4]) {
    const uint8_t parts = take(in);
    mask->causal = parts & 1;
    mask->alignment = parts & 2 ? ATTN_ALIGN_BOTTOM_RIGHT : ATTN_ALIGN_TOP_LEFT;
    if (parts & 4) mask->query_offset = (int8_t)take(in);
    if (parts & 8) mask->window = (attn_window){true, (int8_t)take(in), (int8_t)take(in)};
    for (int s = 0; s < MAX_SEQUENCES; s++) {
        lengths[0][s] = take(in) % 12 - (take(in) == 255);
        lengths[1][s] = take(in) % 12;
    }
    if (parts & 16) mask->key_lengths = lengths[0];
    if (parts & 32) mask->query_lengths = lengths[1];
    if (parts & 64) mask->prefix_lengths = lengths[0];
    if (parts & 128) mask->allowed = make_broadcast(in, ATTN_BOOL, full);
}

/* Sometimes one size, stride or type that no tensor can have. */
static void spoil(input *in, attn_problem *p) {
    static const int64_t absurd[] = {INT64_MIN, INT64_MAX, -1, INT64_MAX / 2};
    attn_tensor *const tensors[] = {&p->query,      &p->key,     &p->value, &p->output,
                                    &p->score.bias, &p->weights, &p->lse,   &p->mask.allowed};
    const uint8_t how = take(in);
    if (how < 192) return;
    attn_tensor *const t = tensors[take(in) % 8];
    const uint8_t axis = take(in) % 4;
    if (how < 208) t->shape[axis] = absurd[how % 4];
    else if (how < 224) t->stride[axis] = how % 2 ? INT64_MIN : INT64_MAX;
    else if (how < 240) t->dtype = (attn_dtype)how;
    else p->reserved[how % 16] = how;
}

static void make_problem(input *in, attn_problem *p, pointed *x) {
    const attn_dtype dtype = take(in) & 1 ? ATTN_F64 : ATTN_F32;
    const int64_t batch = take(in) % MAX_SEQUENCES, kv_heads = take(in) % 3;
    const int64_t heads = kv_heads * (1 + take(in) % 2);
    const int64_t n_query = take_size(in), n_key = take_size(in);
    /* Past a vector, but no wider: the reference, which is slow, looks at each feature of a pair. */
    const int64_t d = take(in) % 20, d_value = take(in) % 20;
    const int64_t full[4] = {batch, heads, n_query, n_key};
    const uint8_t wanted = take(in);
    if (wanted & 1) p->output = make(in, dtype, true, batch, heads, n_query, d_value);
    if (wanted & 2) p->weights = make(in, dtype, true, batch, heads, n_query, n_key);
    if (wanted & 4) p->lse = make(in, dtype, true, batch, heads, n_query, 1);
    make_score(in, &p->score, dtype, full);
    make_mask(in, &p->mask, x->lengths, full);
    p->query = make(in, dtype, false, batch, heads, n_query, d);
    p->key = make(in, dtype, false, batch, kv_heads, n_key, d);
    p->value = make(in, dtype, false, batch, kv_heads, n_key, d_value);
    const uint8_t beyond = take(in);
    if (beyond & 1) make_kind(in, p, x, full);
    if (beyond & 2) make_normalizer(in, p, x, full);
    if (beyond & 4) make_views(in, p, x, full);
    spoil(in, p);
}

/* Of the results that were made from the given block on. */
static void check_refusal(const input *in, int first) {
    if (attn_error_message()[0] == '\0') abort();
    for (int i = first; i < in->block_count; i++) {
        for (size_t b = 0; b < in->block_bytes[i]; b++) {
            if (((const uint8_t *)in->blocks[i])[b] != UNTOUCHED) abort();
        }
    }
}

/* --------------------------------------------------------------------------------- gradients */

/* What to do with gradients, known before the bytes are spent on the numbers of a problem. */
typedef struct wishes {
    uint8_t calls; /* 1: backward, 2: forward mode, 4: without saved results, 8: mistakes */
    uint8_t from, tangents;
    uint32_t to;
} wishes;

static wishes take_wishes(input *in) {
    wishes w = {.calls = take(in), .from = take(in), .tangents = take(in)};
    for (int i = 0; i < 4; i++) w.to = w.to << 8 | take(in);
    return w;
}

/* Now and then, if there are to be mistakes at all. */
static bool mistaken(input *in, const wishes *w) {
    return (w->calls & 8) != 0 && take(in) % 16 == 1;
}

/* A tensor of that shape, or nearly. */
static attn_tensor make_shaped(input *in, const wishes *w, attn_dtype dtype, bool result,
                               const int64_t shape[4]) {
    int64_t of[4];
    for (int i = 0; i < 4; i++) of[i] = shape[i] + (mistaken(in, w) ? 1 : 0);
    if (mistaken(in, w)) dtype = dtype == ATTN_F32 ? ATTN_F64 : ATTN_F32;
    return make(in, dtype, result, of[0], of[1], of[2], of[3]);
}

static void make_from(input *in, const wishes *w, const attn_problem *p,
                      attn_result_gradients *from) {
    const attn_dtype dtype = p->query.dtype;
    const int64_t n = p->query.shape[0], h = p->query.shape[1], rows = p->query.shape[2];
    const int64_t keys = p->key.shape[2];
    const int64_t chosen = p->views && p->views->heads ? p->views->head_count : h;
    const bool lse = p->normalizer.kind <= ATTN_SOFTMAX_ONE || mistaken(in, w);
    const struct {
        attn_tensor *tensor;
        int64_t shape[4];
    } all[] = {
        {&from->output, {n, h, rows, p->value.shape[3]}},
        {&from->lse, {n, h, rows, 1}},
        {&from->weights, {n, h, rows, keys}},
        {&from->received_sum, {n, chosen, 1, keys}},
        {&from->entropy, {n, chosen, rows, 1}},
    };
    for (int i = 0; i < 5; i++) {
        if ((w->from >> i & 1) == 0 || (i == 1 && !lse)) continue;
        *all[i].tensor = make_shaped(in, w, dtype, false, all[i].shape);
    }
}

static void make_to(input *in, const wishes *w, const attn_problem *p, attn_input_gradients *to) {
    static const attn_relative no_relative;
    static const attn_location no_location;
    static const attn_local no_local;
    static const int64_t one[4] = {1, 1, 1, 1};
    const attn_relative *const r = p->score.relative ? p->score.relative : &no_relative;
    const attn_location *const l = p->score.location ? p->score.location : &no_location;
    const attn_local *const local = p->normalizer.local ? p->normalizer.local : &no_local;
    const attn_score *const s = &p->score;
    const struct {
        attn_tensor *to;
        const attn_tensor *of;
    } all[] = {
        {&to->query, &p->query},
        {&to->key, &p->key},
        {&to->value, &p->value},
        {&to->bias, &s->bias},
        {&to->alibi_slopes, &s->alibi_slopes},
        {&to->sinks, &s->sinks},
        {&to->scales, &s->scales},
        {&to->weight, &s->weight},
        {&to->projection, &s->projection},
        {&to->offset, &s->offset},
        {&to->relative_bias, &r->bias},
        {&to->relative_keys, &r->keys},
        {&to->relative_queries, &r->queries},
        {&to->relative_values, &r->values},
        {&to->content_bias, &r->content_bias},
        {&to->position_bias, &r->position_bias},
        {&to->previous, &l->previous},
        {&to->filters, &l->filters},
        {&to->location_projection, &l->projection},
        {&to->centers, &local->centers},
    };
    for (int i = 0; i < 20; i++) {
        const bool there = all[i].of->data != NULL;
        if ((w->to >> i & 1) == 0 || (!there && !mistaken(in, w))) continue;
        *all[i].to = make_shaped(in, w, p->query.dtype, true, there ? all[i].of->shape : one);
    }
}

/* Of numbers that are no tensors in the problem. */
static void make_number_gradients(input *in, const wishes *w, const attn_problem *p,
                                  attn_input_gradients *to) {
    static const int64_t one[4] = {1, 1, 1, 1};
    const attn_local *const local = p->normalizer.local;
    const struct {
        attn_tensor *to;
        bool takes_part;
    } numbers[] = {
        {&to->scale, p->score.kind != ATTN_SCORE_CUSTOM},
        {&to->softcap, p->score.softcap > 0},
        {&to->temperature, true},
        {&to->sigmoid_bias, p->normalizer.kind == ATTN_SIGMOID},
        {&to->sigma, local != NULL && isfinite(local->sigma)},
    };
    for (int i = 0; i < 5; i++) {
        if ((w->to >> (20 + i) & 1) == 0 || (!numbers[i].takes_part && !mistaken(in, w))) continue;
        *numbers[i].to = make_shaped(in, w, p->query.dtype, true, one);
    }
}

static void try_backward(input *in, const wishes *w, const attn_problem *p) {
    attn_result_gradients from = {0};
    attn_input_gradients to = {0};
    const int first = in->block_count;
    make_from(in, w, p, &from);
    make_to(in, w, p, &to);
    make_number_gradients(in, w, p, &to);
    if (mistaken(in, w)) from.reserved[0] = 1;
    if (mistaken(in, w)) to.key = p->key;
    const attn_status status = attn_backward(NULL, p, &from, &to);
    if (status != ATTN_OK) check_refusal(in, first);
    if (attn_reference_backward(p, &from, &to) != status) abort();
}

static void try_jvp(input *in, const wishes *w, const attn_problem *p) {
    attn_tangents t = {0};
    const int64_t n = p->query.shape[0], h = p->query.shape[1], rows = p->query.shape[2];
    const struct {
        attn_tensor *tensor;
        const int64_t *shape;
    } all[] = {
        {&t.query, p->query.shape},
        {&t.key, p->key.shape},
        {&t.value, p->value.shape},
        {&t.bias, p->score.bias.shape},
        {&t.output, (const int64_t[]){n, h, rows, p->value.shape[3]}},
        {&t.lse, (const int64_t[]){n, h, rows, 1}},
        {&t.weights, (const int64_t[]){n, h, rows, p->key.shape[2]}},
    };
    const int first = in->block_count;
    for (int i = 0; i < 7; i++) {
        if ((w->tangents >> i & 1) == 0 || (i == 3 && p->score.bias.data == NULL)) continue;
        *all[i].tensor = make_shaped(in, w, p->query.dtype, i >= 4, all[i].shape);
    }
    const attn_status status = attn_jvp(NULL, p, &t);
    if (status != ATTN_OK) check_refusal(in, first);
    if (attn_reference_jvp(p, &t) != status) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {.at = bytes, .left = size};
    attn_problem problem = {0};
    pointed beyond = {0};
    const wishes wished = take_wishes(&in);
    make_problem(&in, &problem, &beyond);
    const attn_status status = attn_forward(NULL, &problem);
    if (status != ATTN_OK) check_refusal(&in, 0);
    if (attn_reference_forward(&problem) != status) abort();
    if (wished.calls & 4) problem.output = problem.lse = (attn_tensor){0};
    /* A problem that was refused may have shapes that no memory holds. */
    if (status == ATTN_OK && wished.calls & 1) try_backward(&in, &wished, &problem);
    if (status == ATTN_OK && wished.calls & 2) try_jvp(&in, &wished, &problem);
    for (int i = 0; i < in.block_count; i++) free(in.blocks[i]);
    return 0;
}

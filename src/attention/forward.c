/* forward.c: score, weigh, aggregate, tile by tile, for every block of queries.
 *
 * A worker takes a block of queries and walks the keys that it may see in blocks of ATTN_KEY_BLOCK, cut
 * at multiples of it. Each block of keys is scored, modified, masked, weighed (online softmax) and
 * aggregated while it lies in the first-level cache. If weights are wanted, the block's weights stay
 * behind, each relative to the maximum known when it was made; once the row's maximum and sum are
 * final, one factor per block and query makes them final too. So nothing is scored twice, and the
 * output's arithmetic is the same with and without them. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "api/check.h"
#include "api/context.h"
#include "attention/mask.h"
#include "attention/plan.h"

static const double LOG2_E = 1.44269504088896340736;

typedef struct {
    attn_plan plan;
    int64_t *table;
    char *workspaces, *partials;
    atomic_llong next; /* the next task that nobody has taken */
} forward_call;

/* What a worker works with, passed down everywhere. */
typedef struct {
    const attn_plan *plan;
    const attn_problem *problem;
    const attn_tiles *tiles;
    attn_workspace space;
} worker;

static char *offset(void *base, int64_t elements, const attn_tiles *tiles) {
    return (char *)base + elements * tiles->element_size;
}

/* ----------------------------------------------------------------------------- rows to fill */

/* Weights of one head's rows, columns first .. last-1, to zero; columns go in int-sized pieces. */
static void zero_weights(const worker *w, int64_t batch, int64_t head, int64_t query, int rows,
                         attn_key_range columns) {
    const attn_tensor *const t = &w->problem->weights;
    enum { PIECE = 1 << 20 };
    for (int64_t c = columns.first; c < columns.last; c += PIECE) {
        const int64_t left = columns.last - c;
        w->tiles->zero_rows(attn_at(t, w->tiles->element_size, batch, head, query, c), t->stride[2],
                            t->stride[3], rows, (int)(left < PIECE ? left : PIECE));
    }
}

/* What a query gets that may attend to nothing; `query` counts within the tensor. */
static void clear_rows(const worker *w, int64_t batch, int64_t head, int64_t query, int64_t count) {
    const attn_problem *const p = w->problem;
    const attn_tiles *const t = w->tiles;
    const int size = t->element_size;
    for (int64_t i = query; i < query + count; i++) {
        if (p->output.data)
            t->fill(attn_at(&p->output, size, batch, head, i, 0), p->output.stride[3], w->plan->d_value, 0);
        if (p->lse.data) t->fill(attn_at(&p->lse, size, batch, head, i, 0), 1, 1, (double)-INFINITY);
        if (p->weights.data)
            zero_weights(w, batch, head, i, 1, (attn_key_range){0, p->weights.shape[3]});
    }
}

static void clear_padding(const worker *w, const attn_block *b) {
    const attn_sequence *const s = &b->sequence;
    for (int g = 0; g < b->heads; g++)
        clear_rows(w, s->batch, b->first_head + g, s->query_first + s->queries, s->query_slot - s->queries);
}

/* Packed rows before the first sequence and after the last belong to nobody. */
static void clear_unowned(const worker *w) {
    const attn_mask *const m = &w->problem->mask;
    if (!m->query_starts || w->problem->query.shape[0] == 0) return;
    const int64_t first = m->query_starts[0], last = m->query_starts[m->sequences];
    for (int64_t h = 0; h < w->plan->heads; h++) {
        clear_rows(w, 0, h, 0, first);
        clear_rows(w, 0, h, last, w->problem->query.shape[2] - last);
    }
}

/* ------------------------------------------------------------------------------ block begins */

static void load_query(worker *w, const attn_block *b) {
    const attn_tensor *const t = &w->problem->query;
    const attn_tiles *const tiles = w->tiles;
    const int64_t first = b->sequence.query_first + b->first_query;
    const int d = w->plan->d, lanes = tiles->lanes, stride = (d + lanes - 1) / lanes * lanes;
    const size_t elements = b->few ? (size_t)b->rows * (size_t)stride : (size_t)d * (size_t)b->width;
    memset(w->space.query, 0, elements * (size_t)tiles->element_size);
    for (int g = 0; g < b->heads; g++) {
        const void *const from =
            attn_at(t, tiles->element_size, b->sequence.batch, b->first_head + g, first, 0);
        if (b->few)
            tiles->load_rows(offset(w->space.query, (int64_t)g * b->queries * stride, tiles), stride, from,
                             t->stride[2], t->stride[3], b->queries, d, w->plan->query_factor);
        else
            tiles->load_transposed(w->space.query, b->width, from, t->stride[2], t->stride[3], b->queries, d,
                                   w->plan->query_factor);
    }
}

/* maximum = -infinity and sum = 0, or the sink's logit and exp2(0), which it alone would give. */
static void begin_softmax(worker *w, const attn_block *b) {
    const attn_tensor *const sinks = &w->problem->score.sinks;
    const attn_tiles *const t = w->tiles;
    t->fill(w->space.maximum, 1, b->width, (double)-INFINITY);
    t->fill(w->space.sum, 1, b->width, 0);
    t->fill(w->space.output, 1, (int64_t)w->plan->d_value * b->width, 0);
    if (!attn_tensor_present(sinks) || b->columns.first > 0) return;
    for (int g = 0; g < b->heads; g++) {
        void *const maximum = offset(w->space.maximum, (int64_t)g * b->queries, t);
        const void *const sink = attn_at(sinks, t->element_size, attn_broadcast_index(sinks, 0, b->sequence.index),
                                         attn_broadcast_index(sinks, 1, b->first_head + g), 0, 0);
        t->load_rows(maximum, 1, sink, 0, 0, b->queries, 1, LOG2_E);
    }
    /* exp2(m - m) is 1, and 0 for a sink of -infinity */
    t->rescale(w->space.sum, w->space.maximum, w->space.maximum, NULL, b->width);
}

/* ------------------------------------------------------------------------------ one key block */

/* A block of keys or values, feature by feature: where it lies, or packed. */
static const void *rows_of(const worker *w, const attn_tensor *t, const attn_block *b, int64_t k, int count,
                           void *packed, bool pack, int64_t *stride) {
    const attn_tiles *const tiles = w->tiles;
    const int d = (int)t->shape[3];
    const void *const at =
        attn_at(t, tiles->element_size, b->sequence.batch, b->key_head, b->sequence.key_first + k, 0);
    *stride = pack ? d : t->stride[2];
    if (!pack) return at;
    tiles->load_rows(packed, d, at, t->stride[2], t->stride[3], count, d, 1.0);
    return packed;
}

static void score_keys(worker *w, const attn_block *b, int64_t k, int count, void *scores) {
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d, padded = (d + t->lanes - 1) / t->lanes * t->lanes;
    int64_t stride;
    const void *const key =
        rows_of(w, &w->problem->key, b, k, count, w->space.key, w->plan->pack_key, &stride);
    if (b->few) t->score_few(scores, w->space.query, padded, key, stride, count, d, b->rows, b->width);
    else t->score(scores, w->space.query, key, stride, count, d, b->width);
}

static void aggregate_values(worker *w, const attn_block *b, int64_t k, int count, const void *weights,
                             bool masked) {
    const attn_tiles *const t = w->tiles;
    attn_workspace *const s = &w->space;
    const int d = w->plan->d_value;
    int64_t stride;
    const void *const value = rows_of(w, &w->problem->value, b, k, count, s->value, w->plan->pack_value, &stride);
    if (masked && !t->all_finite(value, stride, count, d)) {
        attn_hidden_tile(w->problem, t, b, s, k, count);
        t->aggregate_visible(s->output, s->shrink, weights, s->hidden, value, stride, count, d, b->width);
    } else if (b->few) {
        t->aggregate_few(s->output, s->shrink, weights, value, stride, count, d, b->rows, b->width);
    } else {
        t->aggregate(s->output, s->shrink, weights, value, stride, count, d, b->width);
    }
}

static int64_t kept_index(const attn_block *b, int64_t k) {
    return k / ATTN_KEY_BLOCK - b->keys.first / ATTN_KEY_BLOCK;
}

static void *kept_weights(const worker *w, const attn_block *b, int64_t k) {
    return offset(w->space.kept, (k - b->keys.first) * b->width, w->tiles);
}

static void *kept_maximum(const worker *w, const attn_block *b, int64_t k) {
    return offset(w->space.kept_maximum, kept_index(b, k) * b->width, w->tiles);
}

static void attend_to_keys(worker *w, const attn_block *b, int64_t k, int count) {
    const attn_problem *const p = w->problem;
    attn_workspace *const s = &w->space;
    const bool keep = p->weights.data != NULL;
    const attn_visibility seen = attn_mask_tile(p, w->tiles, b, s, k, count);
    if (keep) s->kept_any[kept_index(b, k)] = seen != ATTN_TILE_SHUT;
    if (seen == ATTN_TILE_SHUT) return;

    void *const scores = keep ? kept_weights(w, b, k) : s->scores;
    score_keys(w, b, k, count, scores);
    attn_modify_scores(p, w->tiles, b, s, k, count, scores);
    if (seen == ATTN_TILE_PARTIAL) attn_mask_apply(p, w->tiles, b, s, k, count, scores);
    w->tiles->weigh(scores, count, b->width, s->maximum, s->sum, s->shrink);
    if (keep) memcpy(kept_maximum(w, b, k), s->maximum, (size_t)b->width * (size_t)w->tiles->element_size);
    if (p->output.data && w->plan->d_value > 0) {
        const bool masked = seen == ATTN_TILE_PARTIAL || attn_tensor_present(&p->score.bias);
        aggregate_values(w, b, k, count, scores, masked);
    }
}

/* Calls `each` for the key blocks of a block of queries: cut at multiples of ATTN_KEY_BLOCK. */
static void for_each_key_block(worker *w, const attn_block *b,
                               void (*each)(worker *, const attn_block *, int64_t k, int count)) {
    for (int64_t k = b->keys.first; k < b->keys.last;) {
        const int64_t cut = (k / ATTN_KEY_BLOCK + 1) * ATTN_KEY_BLOCK;
        const int64_t end = cut < b->keys.last ? cut : b->keys.last;
        each(w, b, k, (int)(end - k));
        k = end;
    }
}

/* -------------------------------------------------------------------------------- block ends */

/* Weights of one block of keys, from its own maximum to `factor`'s scale, out of the lanes. */
static void store_weights(worker *w, const attn_block *b, int64_t k, int count, const void *to,
                          const void *by) {
    const attn_tensor *const t = &w->problem->weights;
    const attn_tiles *const tiles = w->tiles;
    const int size = tiles->element_size;
    const int64_t first = b->sequence.query_first + b->first_query;
    if (!w->space.kept_any[kept_index(b, k)]) {
        for (int g = 0; g < b->heads; g++)
            zero_weights(w, b->sequence.batch, b->first_head + g, first, b->queries,
                         (attn_key_range){k, k + count});
        return;
    }
    tiles->rescale(w->space.factor, kept_maximum(w, b, k), to, by, b->width);
    for (int g = 0; g < b->heads; g++) {
        const int64_t row = (int64_t)g * b->queries;
        tiles->store_transposed(attn_at(t, size, b->sequence.batch, b->first_head + g, first, k), t->stride[2],
                                t->stride[3], offset(kept_weights(w, b, k), row, tiles), b->width, b->queries,
                                count, offset(w->space.factor, row, tiles));
    }
}

static void store_final_weights(worker *w, const attn_block *b, int64_t k, int count) {
    store_weights(w, b, k, count, w->space.maximum, w->space.inverse);
}

static void store_partial_weights(worker *w, const attn_block *b, int64_t k, int count) {
    store_weights(w, b, k, count, w->space.maximum, NULL);
}

/* The columns that no key of the block stands in. */
static void zero_other_weights(const worker *w, const attn_block *b) {
    const int64_t query = b->sequence.query_first + b->first_query;
    const bool none = b->keys.first >= b->keys.last;
    const attn_key_range before = {b->columns.first, none ? b->columns.last : b->keys.first};
    const attn_key_range after = {none ? b->columns.last : b->keys.last, b->columns.last};
    for (int g = 0; g < b->heads; g++) {
        zero_weights(w, b->sequence.batch, b->first_head + g, query, b->queries, before);
        zero_weights(w, b->sequence.batch, b->first_head + g, query, b->queries, after);
    }
}

/* In a row whose sum is NaN, 0 * NaN has spoilt the masked entries: they are 0 by definition. */
static void zero_hidden_weights(worker *w, const attn_block *b, int64_t k, int count) {
    const attn_tensor *const t = &w->problem->weights;
    const int64_t query = b->sequence.query_first + b->first_query;
    attn_hidden_tile(w->problem, w->tiles, b, &w->space, k, count);
    for (int g = 0; g < b->heads; g++)
        w->tiles->zero_masked(
            attn_at(t, w->tiles->element_size, b->sequence.batch, b->first_head + g, query, k), t->stride[2],
            t->stride[3], offset(w->space.hidden, (int64_t)g * b->queries, w->tiles), b->queries, count,
            b->width);
}

/* Sum and maximum are final: writes log-sum-exp and output; returns whether some row is NaN. */
static bool store_results(worker *w, const attn_block *b) {
    const attn_problem *const p = w->problem;
    const attn_tiles *const t = w->tiles;
    attn_workspace *const s = &w->space;
    const int64_t first = b->sequence.query_first + b->first_query;
    const bool nan =
        t->finish(s->inverse, p->lse.data ? s->lse : NULL, s->maximum, s->sum, b->rows, b->width);
    for (int g = 0; g < b->heads; g++) {
        const int64_t head = b->first_head + g, row = (int64_t)g * b->queries;
        if (p->lse.data)
            t->load_rows(attn_at(&p->lse, t->element_size, b->sequence.batch, head, first, 0),
                         p->lse.stride[2], offset(s->lse, row, t), 1, 1, b->queries, 1, 1.0);
        if (p->output.data)
            t->store_transposed(attn_at(&p->output, t->element_size, b->sequence.batch, head, first, 0),
                                p->output.stride[2], p->output.stride[3], offset(s->output, row, t), b->width,
                                b->queries, w->plan->d_value, offset(s->inverse, row, t));
    }
    return nan;
}

/* ------------------------------------------------------------------------------------ tasks */

static size_t partial_part(const worker *w, int rows_of_block) {
    return (size_t)rows_of_block * (size_t)w->tiles->block * (size_t)w->tiles->element_size;
}

/* A partial result is laid out as maximum, sum, output. */
static void keep_partial(const worker *w, const attn_block *b, char *partial) {
    const size_t row = (size_t)b->width * (size_t)w->tiles->element_size;
    memcpy(partial, w->space.maximum, row);
    memcpy(partial + partial_part(w, 1), w->space.sum, row);
    memcpy(partial + partial_part(w, 2), w->space.output, row * (size_t)w->plan->d_value);
}

static bool is_whole(const attn_block *b, bool last_split) {
    return b->columns.first == 0 && last_split;
}

static void run_task(worker *w, const forward_call *call, int64_t task) {
    const bool weights = w->problem->weights.data != NULL;
    bool last_split;
    attn_block b = attn_plan_block(w->plan, call->table, task, &last_split);
    if (b.first_query + b.queries == b.sequence.queries && last_split) clear_padding(w, &b);
    if (b.rows == 0) return;

    attn_mask_begin(w->problem, w->tiles, &b, &w->space);
    load_query(w, &b);
    begin_softmax(w, &b);
    for_each_key_block(w, &b, attend_to_keys);
    if (weights) zero_other_weights(w, &b);
    if (!is_whole(&b, last_split)) {
        if (weights) for_each_key_block(w, &b, store_partial_weights);
        keep_partial(w, &b, call->partials + w->plan->partial_bytes * (size_t)task);
        return;
    }
    const bool nan = store_results(w, &b);
    if (!weights) return;
    for_each_key_block(w, &b, store_final_weights);
    if (nan) for_each_key_block(w, &b, zero_hidden_weights);
}

/* Brings the weights that a split has stored to the scale of the whole row. */
static void rescale_split(worker *w, const attn_block *b, const char *partial) {
    const attn_tensor *const t = &w->problem->weights;
    const attn_tiles *const tiles = w->tiles;
    const int64_t first = b->sequence.query_first + b->first_query;
    const int64_t last = b->columns.last < b->sequence.keys ? b->columns.last : b->sequence.keys;
    tiles->rescale(w->space.factor, partial, w->space.maximum, w->space.inverse, b->width);
    for (int g = 0; g < b->heads; g++)
        tiles->scale_rows(attn_at(t, tiles->element_size, b->sequence.batch, b->first_head + g, first,
                                  b->columns.first),
                          t->stride[2], t->stride[3], b->queries, (int)(last - b->columns.first),
                          offset(w->space.factor, (int64_t)g * b->queries, tiles));
}

/* Merges a block's splits in the order of their keys; called for the last split's task. */
static void merge_task(worker *w, const forward_call *call, int64_t last) {
    bool last_split;
    const attn_block b = attn_plan_block(w->plan, call->table, last, &last_split);
    attn_workspace *const s = &w->space;
    if (!last_split || is_whole(&b, last_split) || b.rows == 0) return;
    const int64_t splits = b.columns.first / ATTN_KEY_SPLIT + 1, first = last - splits + 1;
    w->tiles->fill(s->maximum, 1, b.width, (double)-INFINITY);
    w->tiles->fill(s->sum, 1, b.width, 0);
    w->tiles->fill(s->output, 1, (int64_t)w->plan->d_value * b.width, 0);
    for (int64_t i = first; i <= last; i++) {
        const char *const partial = call->partials + w->plan->partial_bytes * (size_t)i;
        w->tiles->merge(s->output, s->maximum, s->sum, partial + partial_part(w, 2), partial,
                        partial + partial_part(w, 1), w->plan->d_value, b.width);
    }
    const bool nan = store_results(w, &b);
    for (int64_t i = first; i <= last && w->problem->weights.data; i++) {
        attn_block split = attn_plan_block(w->plan, call->table, i, &last_split);
        rescale_split(w, &split, call->partials + w->plan->partial_bytes * (size_t)i);
        if (!nan) continue;
        attn_mask_begin(w->problem, w->tiles, &split, s);
        zero_other_weights(w, &split);
        for_each_key_block(w, &split, zero_hidden_weights);
    }
}

/* --------------------------------------------------------------------------------- the call */

static worker worker_at(forward_call *call, int64_t i) {
    const attn_plan *const plan = &call->plan;
    worker w = {.plan = plan, .problem = plan->problem, .tiles = plan->tiles};
    attn_plan_workspace(plan, call->workspaces + plan->worker_bytes * (size_t)i, &w.space);
    return w;
}

static void work_through(forward_call *call, int64_t i,
                         void (*run)(worker *, const forward_call *, int64_t task)) {
    worker w = worker_at(call, i);
    for (;;) {
        const int64_t task = (int64_t)atomic_fetch_add_explicit(&call->next, 1, memory_order_relaxed);
        if (task >= call->plan.tasks) return;
        run(&w, call, task);
    }
}

static void run_tasks(void *argument, int64_t i) {
    work_through(argument, i, run_task);
}

static void run_merges(void *argument, int64_t i) {
    work_through(argument, i, merge_task);
}

static void run_forward(attn_context *context, forward_call *call, char *memory) {
    const attn_plan *const plan = &call->plan;
    call->table = (int64_t *)(void *)memory;
    call->workspaces = memory + plan->table_bytes;
    call->partials = call->workspaces + plan->worker_bytes * (size_t)plan->workers;
    attn_plan_fill_table(plan, call->table);
    const worker first = worker_at(call, 0);
    clear_unowned(&first);
    atomic_init(&call->next, 0);
    attn_run_parallel(context, plan->workers, run_tasks, call);
    if (!plan->split) return;
    atomic_store(&call->next, 0);
    attn_run_parallel(context, plan->workers, run_merges, call);
}

attn_status attn_forward(attn_context *context, const attn_problem *problem) {
    const attn_status status = attn_check_problem(problem);
    if (status != ATTN_OK) return status;
    attn_context *const c = attn_context_or_default(context);
    forward_call call;
    const bool fits = attn_plan_make(&call.plan, problem, attn_context_tiles(c, problem->query.dtype),
                                     attn_context_threads(c));
    void *const memory = fits ? attn_scratch_take(c, attn_plan_bytes(&call.plan)) : NULL;
    if (!memory)
        return attn_fail(ATTN_ERROR_MEMORY, "no memory for %zu bytes of scratch", attn_plan_bytes(&call.plan));
    run_forward(c, &call, memory);
    attn_scratch_give(c, memory);
    return ATTN_OK;
}

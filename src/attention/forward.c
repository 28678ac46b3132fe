/* forward.c: score, weigh, aggregate, tile by tile, for every block of queries.
 *
 * A worker takes a block of queries and walks the keys that it may see in blocks of
 * ATTN_KEY_BLOCK, cut at multiples of it. Each block of keys is scored, modified, masked, weighed
 * (online softmax) and aggregated while it lies in the cache. If weights are wanted,
 * the block's weights stay behind, each relative to the maximum known when it was made; once the
 * row's maximum and sum are final, one factor per block and query makes them final too. So nothing
 * is scored twice, and the output's arithmetic is the same with and without them. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "api/check.h"
#include "api/context.h"
#include "attention/mask.h"
#include "attention/results.h"

typedef struct {
    attn_plan plan;
    int64_t *table;
    char *workspaces, *partials;
    atomic_llong next; /* the next task that nobody has taken */
} forward_call;

/* ------------------------------------------------------------------------------ block begins */

static void load_query(attn_worker *w, const attn_block *b) {
    const attn_tensor *const q = &w->problem->query;
    const attn_tiles *const t = w->tiles;
    const int64_t first = b->sequence.query_first + b->first_query;
    const int d = w->plan->d;
    const double factor = w->plan->query_factor;
    if (!b->few) {
        const void *const from =
            attn_at(q, t->element_size, b->sequence.batch, b->first_head, first, 0);
        if (b->rows < b->width) t->fill(w->space.query, 1, (int64_t)d * b->width, 0);
        t->load_transposed(w->space.query, b->width, from, q->stride[2], q->stride[3], b->rows, d,
                           factor);
        return;
    }
    const int64_t stride = attn_padded(d, t);
    if (d < stride) t->fill(w->space.query, 1, b->rows * stride, 0);
    for (int g = 0; g < b->heads; g++) {
        const void *const from =
            attn_at(q, t->element_size, b->sequence.batch, b->first_head + g, first, 0);
        t->load_rows(attn_offset(w->space.query, g * b->queries * stride, t), stride, from,
                     q->stride[2], q->stride[3], b->queries, d, factor);
    }
}

static int64_t output_elements(const attn_worker *w, const attn_block *b) {
    return b->few ? (int64_t)b->rows * attn_padded(w->plan->d_value, w->tiles)
                  : (int64_t)w->plan->d_value * b->width;
}

/* Nothing seen yet: maximum -infinity, sum and output 0. */
static void clear_partial(const attn_worker *w, const attn_block *b, const attn_partial *r) {
    w->tiles->fill(r->maximum, 1, b->width, (double)-INFINITY);
    w->tiles->fill(r->sum, 1, b->width, 0);
    w->tiles->fill(r->output, 1, output_elements(w, b), 0);
}

/* The sink has been seen: its logit is the maximum and exp2(0) the sum. */
static void begin_with_sink(const attn_worker *w, const attn_block *b, const attn_partial *r) {
    const attn_tensor *const sinks = &w->problem->score.sinks;
    const attn_tiles *const t = w->tiles;
    if (!attn_tensor_present(sinks) || b->columns.first > 0)
        return; /* only the first part has it */
    for (int g = 0; g < b->heads; g++) {
        const void *const sink =
            attn_at(sinks, t->element_size, attn_broadcast_index(sinks, 0, b->sequence.index),
                    attn_broadcast_index(sinks, 1, b->first_head + g), 0, 0);
        t->load_rows(attn_offset(r->maximum, (int64_t)g * b->queries, t), 0, sink, 0, 0, 1,
                     b->queries, ATTN_LOG2_E);
    }
    /* exp2(m - m) is 1, and 0 for a sink of -infinity */
    t->rescale(r->sum, r->maximum, r->maximum, NULL, b->width);
}

static void merge(const attn_worker *w, const attn_block *b, const attn_partial *to,
                  const attn_partial *from) {
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d_value;
    if (b->few)
        t->merge_few(to->output, attn_padded(d, t), to->maximum, to->sum, from->output,
                     from->maximum, from->sum, d, b->rows);
    else
        t->merge(to->output, to->maximum, to->sum, from->output, from->maximum, from->sum, d,
                 b->width);
}

/* -------------------------------------------------------------------------------- one tile */

/* A tile's keys or values, feature by feature: where they lie, or packed. */
static const void *rows_of(const attn_worker *w, const attn_tensor *t, const attn_block *b,
                           const attn_tile *tile, void *packed, bool pack, int64_t *stride) {
    const attn_tiles *const tiles = w->tiles;
    const int d = (int)t->shape[3];
    const void *const at = attn_at(t, tiles->element_size, b->sequence.batch, b->key_head,
                                   b->sequence.key_first + tile->k, 0);
    *stride = pack ? d : t->stride[2];
    if (!pack) return at;
    tiles->load_rows(packed, d, at, t->stride[2], t->stride[3], tile->count, d, 1.0);
    return packed;
}

static void score(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d;
    int64_t stride;
    const void *const key =
        rows_of(w, &w->problem->key, b, tile, w->space.key, w->plan->pack_key, &stride);
    if (b->few)
        t->score_few(scores, w->space.query, attn_padded(d, t), key, stride, tile->count, d,
                     b->rows, tile->width);
    else t->score(scores, w->space.query, key, stride, tile->count, d, b->width);
}

static void weigh(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    attn_workspace *const s = &w->space;
    if (b->few)
        w->tiles->weigh_few(scores, tile->count, b->rows, tile->width, w->plan->weigh_factor,
                            s->stretch.maximum, s->stretch.sum, s->shrink);
    else
        w->tiles->weigh(scores, tile->count, b->width, w->plan->weigh_factor, s->stretch.maximum,
                        s->stretch.sum, s->shrink);
}

static void aggregate(attn_worker *w, const attn_block *b, const attn_tile *tile,
                      const void *weights, bool masked) {
    const attn_tiles *const t = w->tiles;
    attn_workspace *const s = &w->space;
    const int d = w->plan->d_value, count = tile->count;
    const int64_t row = attn_padded(d, t);
    int64_t stride;
    const void *const value =
        rows_of(w, &w->problem->value, b, tile, s->value, w->plan->pack_value, &stride);
    if (masked && !t->all_finite(value, stride, count, d)) {
        attn_hidden_tile(w->problem, t, b, s, tile);
        t->aggregate_visible(s->stretch.output, b->few ? 1 : b->width, b->few ? row : 1, s->shrink,
                             weights, s->hidden, tile->key_stride, tile->row_stride, value, stride,
                             count, d, b->rows);
    } else if (b->few) {
        t->aggregate_few(s->stretch.output, row, s->shrink, weights, value, stride, count, d,
                         b->rows, tile->width);
    } else {
        t->aggregate(s->stretch.output, s->shrink, weights, value, stride, count, d, b->width);
    }
}

static void attend(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_problem *const p = w->problem;
    attn_workspace *const s = &w->space;
    const bool keep = p->weights.data != NULL;
    const attn_visibility seen = attn_mask_tile(p, w->tiles, b, s, tile);
    if (keep) s->kept_any[attn_kept_index(b, tile)] = seen != ATTN_TILE_SHUT;
    if (seen == ATTN_TILE_SHUT) return;

    void *const scores = keep ? attn_kept_weights(w, b, tile) : s->scores;
    score(w, b, tile, scores);
    attn_modify_scores(p, w->tiles, b, s, tile, scores);
    if (seen == ATTN_TILE_PARTIAL) attn_mask_apply(p, w->tiles, b, s, tile, scores);
    weigh(w, b, tile, scores);
    if (keep)
        memcpy(attn_kept_maximum(w, b, tile), s->stretch.maximum,
               (size_t)b->width * (size_t)w->tiles->element_size);
    if (p->output.data && w->plan->d_value > 0)
        aggregate(w, b, tile, scores,
                  seen == ATTN_TILE_PARTIAL || attn_tensor_present(&p->score.bias));
}

/* Attends to all keys of a block, stretch by stretch; the result is in space.total. */
static void attend_to_all(attn_worker *w, const attn_block *b) {
    attn_workspace *const s = &w->space;
    int64_t k = b->keys.first;
    clear_partial(w, b, &s->stretch);
    begin_with_sink(w, b, &s->stretch);
    for (;;) {
        const int64_t cut = (k / ATTN_KEY_SPLIT + 1) * ATTN_KEY_SPLIT;
        const attn_key_range keys = {k, cut < b->keys.last ? cut : b->keys.last};
        attn_for_each_tile(w, b, keys, attend);
        if (k == b->keys.first) { /* the first stretch is the total so far */
            const attn_partial first = s->stretch;
            s->stretch = s->total;
            s->total = first;
        } else {
            merge(w, b, &s->total, &s->stretch);
        }
        if (cut >= b->keys.last) return;
        clear_partial(w, b, &s->stretch);
        k = cut;
    }
}

/* ------------------------------------------------------------------------- partial results */

static attn_partial partial_of(const attn_worker *w, const forward_call *call, int64_t task) {
    char *const at = call->partials + w->plan->partial_bytes * (size_t)task;
    const size_t row = (size_t)w->tiles->block * (size_t)w->tiles->element_size;
    return (attn_partial){at, at + row, at + 2 * row};
}

static void keep_partial(const attn_worker *w, const attn_block *b, attn_partial to) {
    const attn_partial *const from = &w->space.total;
    const size_t size = (size_t)w->tiles->element_size;
    memcpy(to.maximum, from->maximum, (size_t)b->width * size);
    memcpy(to.sum, from->sum, (size_t)b->width * size);
    memcpy(to.output, from->output, (size_t)output_elements(w, b) * size);
}

/* ------------------------------------------------------------------------------------ tasks */

static bool is_whole(const attn_block *b, bool last_split) {
    return b->columns.first == 0 && last_split;
}

static void run_task(attn_worker *w, const forward_call *call, int64_t task) {
    bool last_split;
    attn_block b = attn_plan_block(w->plan, call->table, task, &last_split);
    if (b.first_query + b.queries == b.sequence.queries && last_split) attn_clear_padding(w, &b);
    if (b.rows == 0) return;
    attn_mask_begin(w->problem, w->tiles, &b, &w->space);
    load_query(w, &b);
    attend_to_all(w, &b);
    if (is_whole(&b, last_split)) {
        attn_store_results(w, &b);
    } else {
        attn_store_partial_weights(w, &b);
        keep_partial(w, &b, partial_of(w, call, task));
    }
}

/* Merges a block's splits (only few queries are split) in the order of their keys; called for all
 * tasks, it acts on the last split of each block. */
static void merge_task(attn_worker *w, const forward_call *call, int64_t last) {
    bool last_split;
    const attn_block b = attn_plan_block(w->plan, call->table, last, &last_split);
    if (!last_split || is_whole(&b, last_split) || b.rows == 0) return;
    const int64_t splits = b.columns.first / ATTN_KEY_SPLIT + 1, first = last - splits + 1;
    clear_partial(w, &b, &w->space.total);
    for (int64_t i = first; i <= last; i++) {
        const attn_partial part = partial_of(w, call, i);
        merge(w, &b, &w->space.total, &part);
    }
    const bool nan = attn_store_output(w, &b);
    for (int64_t i = first; i <= last; i++) {
        attn_block part = attn_plan_block(w->plan, call->table, i, &last_split);
        attn_finish_partial_weights(w, &part, partial_of(w, call, i).maximum, nan);
    }
}

/* --------------------------------------------------------------------------------- the call */

static attn_worker worker_at(forward_call *call, int64_t i) {
    const attn_plan *const plan = &call->plan;
    attn_worker w = {.plan = plan, .problem = plan->problem, .tiles = plan->tiles};
    attn_plan_workspace(plan, call->workspaces + plan->worker_bytes * (size_t)i, &w.space);
    return w;
}

static void work_through(forward_call *call, int64_t i,
                         void (*run)(attn_worker *, const forward_call *, int64_t task)) {
    attn_worker w = worker_at(call, i);
    for (;;) {
        const int64_t task =
            (int64_t)atomic_fetch_add_explicit(&call->next, 1, memory_order_relaxed);
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
    const attn_worker first = worker_at(call, 0);
    attn_clear_unowned(&first);
    atomic_init(&call->next, 0);
    attn_run_parallel(context, plan->workers, run_tasks, call);
    if (!plan->split) return;
    atomic_store(&call->next, 0);
    attn_run_parallel(context, plan->workers, run_merges, call);
}

/* No result has an element, or none has a place. */
static bool nothing_to_do(const attn_problem *p) {
    const int64_t *const q = p->query.shape;
    const bool wanted = p->output.data || p->lse.data || p->weights.data;
    return !wanted || q[0] == 0 || q[1] == 0 || q[2] == 0;
}

attn_status attn_forward(attn_context *context, const attn_problem *problem) {
    const attn_status status = attn_check_problem(problem);
    if (status != ATTN_OK) return status;
    if (nothing_to_do(problem)) return ATTN_OK;
    attn_context *const c = attn_context_or_default(context);
    forward_call call;
    const bool fits = attn_plan_make(
        &call.plan, problem, attn_context_tiles(c, problem->query.dtype), attn_context_threads(c));
    void *const memory = fits ? attn_scratch_take(c, attn_plan_bytes(&call.plan)) : NULL;
    if (!memory)
        return attn_fail(ATTN_ERROR_MEMORY, "no memory for %zu bytes of scratch",
                         attn_plan_bytes(&call.plan));
    run_forward(c, &call, memory);
    attn_scratch_give(c, memory);
    return ATTN_OK;
}

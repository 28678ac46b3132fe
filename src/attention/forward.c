/* forward.c: score, weigh, aggregate, tile by tile, for every block of queries.
 *
 * A worker takes a block of queries and walks the keys that it may see in blocks of
 * ATTN_KEY_BLOCK, cut at multiples of it. Each block of keys is scored, modified, masked, weighed
 * (online softmax) and aggregated while it lies in the cache. If weights are wanted,
 * the block's weights stay behind, each relative to the maximum known when it was made; once the
 * row's maximum and sum are final, one factor per block and query makes them final too. So nothing
 * is scored twice, and the output's arithmetic is the same with and without them.
 *
 * Normalisers that need all scores of a row have the scores stay behind instead, and walk the tiles a
 * second time to weigh and aggregate them. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "api/check.h"
#include "api/context.h"
#include "attention/mask.h"
#include "attention/modify.h"
#include "attention/relative.h"
#include "attention/results.h"
#include "attention/score.h"
#include "attention/weigh.h"
#include "observe/observe.h"

typedef struct {
    attn_plan plan;
    attn_start *table;
    char *workspaces, *partials;
    void *accumulators;
    atomic_llong next; /* the next task that nobody has taken */
} forward_call;

/* -------------------------------------------------------------------------------- one tile */

static void merge(const attn_worker *w, const attn_block *b, const attn_partial *to,
                  const attn_partial *from) {
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d_value;
    if (b->few) t->merge_few(to, from, attn_padded(d, t), d, b->rows);
    else t->merge(to, from, d, b->width);
}

static void aggregate(attn_worker *w, const attn_block *b, const attn_tile *tile,
                      const void *weights, bool masked) {
    const attn_tiles *const t = w->tiles;
    attn_workspace *const s = &w->space;
    const int d = w->plan->d_value, count = tile->count;
    const int64_t row = attn_padded(d, t);
    int64_t stride;
    const void *const value =
        attn_tile_rows(w, &w->problem->value, b, tile, s->value, w->plan->pack_value, &stride);
    if (masked && !t->all_finite(value, stride, count, d)) {
        attn_hidden_tile(w, b, tile);
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

static void note_highest(attn_worker *w, const attn_block *b, const attn_tile *tile,
                         const void *scores) {
    void *const highest = w->space.kept.highest;
    if (b->few) w->tiles->maxima_few(scores, tile->count, b->rows, tile->width, NULL, highest);
    else w->tiles->maxima(scores, tile->count, b->width, NULL, highest);
}

/* Scores of a tile that the mask does not shut. */
static void score(attn_worker *w, const attn_block *b, const attn_tile *tile, attn_visibility seen,
                  void *scores) {
    attn_score_tile(w, b, tile, seen, scores);
    attn_show_scores(w, b, tile, ATTN_RAW_SCORES, seen, scores);
    attn_cap_scores(w, b, tile, scores);
    attn_show_scores(w, b, tile, ATTN_CAPPED_SCORES, seen, scores);
    attn_bias_scores(w, b, tile, scores);
    attn_call_score(w, b, tile, scores);
    if (seen == ATTN_TILE_PARTIAL) attn_mask_apply(w, b, tile, scores);
    if (attn_hides(w, seen)) attn_mask_lanes(w, b, tile, scores);
    attn_disturb_scores(w, b, tile, scores);
    attn_show_scores(w, b, tile, ATTN_FINAL_SCORES, seen, scores);
}

static void modify_and_aggregate(attn_worker *w, const attn_block *b, const attn_tile *tile,
                                 attn_visibility seen, void *weights) {
    attn_modify_weights(w, b, tile, weights);
    if (w->problem->output.data && w->plan->d_value > 0)
        aggregate(w, b, tile, weights, attn_hides(w, seen));
}

static void attend(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    attn_workspace *const s = &w->space;
    const attn_visibility seen = attn_mask_tile(w, b, tile);
    if (b->keep) *attn_kept_any(w, b, tile) = seen != ATTN_TILE_SHUT;
    if (seen == ATTN_TILE_SHUT) return;
    void *const scores = b->keep ? attn_kept_weights(w, b, tile) : s->scores;
    score(w, b, tile, seen, scores);
    if (w->plan->wanted.highest) note_highest(w, b, tile, scores);
    attn_weigh_tile(w, b, tile, scores);
    if (b->keep)
        memcpy(attn_kept_maximum(w, b, tile), s->stretch.maximum,
               (size_t)b->width * (size_t)w->tiles->element_size);
    modify_and_aggregate(w, b, tile, seen, scores);
}

/* The two walks of normalisers that need a row's scores at once. */
static void keep_scores(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_visibility seen = attn_mask_tile(w, b, tile);
    *attn_kept_any(w, b, tile) = seen != ATTN_TILE_SHUT;
    w->tiles->fill(attn_kept_maximum(w, b, tile), 1, w->tiles->block, (double)-INFINITY);
    if (seen == ATTN_TILE_SHUT) return;
    void *const scores = attn_kept_weights(w, b, tile);
    score(w, b, tile, seen, scores);
    attn_weigh_note(w, b, tile, scores);
}

static void weigh_kept(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    void *const weights = attn_kept_weights(w, b, tile);
    if (!*attn_kept_any(w, b, tile)) return;
    attn_weigh_apply(w, b, tile, weights);
    if (!*attn_kept_any(w, b, tile)) return;
    modify_and_aggregate(w, b, tile, attn_mask_tile(w, b, tile), weights);
}

/* ----------------------------------------------------------------------------- one block */

/* Calls `each` for all tiles, and adds up their output stretch by stretch; the result is in
 * space.total. */
static void walk_stretches(attn_worker *w, const attn_block *b, attn_tile_function *each) {
    attn_workspace *const s = &w->space;
    int64_t k = b->keys.first;
    attn_weigh_clear(w, b, &s->stretch);
    attn_weigh_begin(w, b, &s->stretch);
    for (;;) {
        const int64_t cut = (k / ATTN_KEY_SPLIT + 1) * ATTN_KEY_SPLIT;
        const attn_key_range keys = {k, cut < b->keys.last ? cut : b->keys.last};
        attn_for_each_tile(w, b, keys, each);
        attn_relative_values(w, b, keys);
        if (k == b->keys.first) { /* the first stretch is the total so far */
            const attn_partial first = s->stretch;
            s->stretch = s->total;
            s->total = first;
        } else {
            merge(w, b, &s->total, &s->stretch);
        }
        if (cut >= b->keys.last) return;
        attn_weigh_clear(w, b, &s->stretch);
        k = cut;
    }
}

static void attend_to_all(attn_worker *w, const attn_block *b) {
    attn_workspace *const s = &w->space;
    w->tiles->fill(s->kept.highest, 1, w->tiles->block, (double)-INFINITY);
    if (w->plan->weighing != ATTN_WEIGH_ROWS) {
        walk_stretches(w, b, attend);
    } else {
        attn_for_each_tile(w, b, b->keys, keep_scores);
        attn_weigh_solve(w, b);
        w->tiles->fill(s->threshold.value, 1, b->width, 0);
        walk_stretches(w, b, weigh_kept);
        w->tiles->load_rows(s->total.sum, 0, s->threshold.value, 0, 1, 1, b->width, 1.0);
    }
}

/* ------------------------------------------------------------------------- partial results */

static char *partial_memory(const attn_worker *w, const forward_call *call, int64_t task) {
    return call->partials + w->plan->partial_bytes * (size_t)task;
}

/* A split task keeps its weights where the merge finds them. */
static attn_partial partial_of(attn_worker *w, const forward_call *call, int64_t task) {
    attn_partial partial;
    attn_plan_partial(w->plan, partial_memory(w, call, task), &partial, &w->space.kept);
    return partial;
}

static void copy_partial(const attn_worker *w, const attn_block *b, const attn_partial *to) {
    attn_weigh_clear(w, b, to);
    merge(w, b, to, &w->space.total);
}

/* ------------------------------------------------------------------------------------ tasks */

static bool ends_sequence(const attn_block *b) {
    return b->first_query + b->queries == b->sequence.queries;
}

/* The weights of a block, or of one part of its keys, to those who asked for them. */
static void observe_part(attn_worker *w, const attn_block *b, bool nan) {
    if (w->plan->wanted.highest)
        w->tiles->accumulate_maxima(w->space.highest, w->space.kept.highest, b->rows);
    if (!b->keep) return;
    if (nan) attn_settle_nan(w, b);
    attn_store_weights(w, b);
    attn_observe(w, b);
}

/* One block of a task: to its results, or, if its keys are split, to a partial result. */
static void run_block(attn_worker *w, const forward_call *call, int64_t unit, int64_t block,
                      int64_t index) {
    const attn_task *const task = w->task;
    attn_block b = attn_plan_block(w->plan, task, unit, block);
    const bool split = task->cut.splits > 1;
    attn_partial partial;
    if (ends_sequence(&b) && task->split == 0) attn_clear_padding(w, &b);
    if (b.rows == 0) return;
    w->space.kept = w->own_kept;
    if (split) partial = partial_of(w, call, index);
    attn_mask_begin(w, &b);
    attn_score_begin(w, &b);
    attn_show_hidden_scores(w, &b);
    attend_to_all(w, &b);
    if (split) {
        copy_partial(w, &b, &partial);
        return;
    }
    const bool nan = attn_store_output(w, &b);
    attn_begin_block(w, &b);
    observe_part(w, &b, nan);
    attn_end_block(w, &b);
}

/* Heads outside, queries inside; but for the path, which needs all heads of a block before the next. */
static void run_task(attn_worker *w, const forward_call *call, int64_t index) {
    const attn_task task = attn_plan_task(w->plan, call->table, index);
    const bool by_block = w->plan->wanted.path;
    w->task = &task;
    attn_begin_task(w);
    for (int64_t i = 0; i < task.units * task.blocks; i++) {
        const int64_t unit = by_block ? i % task.units : i / task.blocks;
        const int64_t block = by_block ? i / task.units : i % task.blocks;
        run_block(w, call, task.first_unit + unit, task.first_block + block, index);
    }
    attn_end_task(w);
}

/* Merges a block's splits (only few queries are split) in the order of their keys; called for all
 * tasks, it acts on the first split of each block. */
static void merge_task(attn_worker *w, const forward_call *call, int64_t first) {
    attn_task task = attn_plan_task(w->plan, call->table, first);
    if (task.split > 0 || task.cut.splits == 1) return;
    const int64_t splits = task.cut.splits;
    w->task = &task;
    attn_block b = attn_plan_block(w->plan, &task, task.first_unit, task.first_block);
    if (b.rows == 0) return;
    attn_weigh_clear(w, &b, &w->space.total);
    for (int64_t i = 0; i < splits; i++) {
        const attn_partial part = partial_of(w, call, first + i);
        merge(w, &b, &w->space.total, &part);
    }
    const bool nan = attn_store_output(w, &b);
    attn_begin_block(w, &b);
    for (task.split = 0; task.split < splits; task.split++) {
        b = attn_plan_block(w->plan, &task, task.first_unit, task.first_block);
        partial_of(w, call, first + task.split);
        attn_mask_begin(w, &b);
        observe_part(w, &b, nan);
    }
    attn_end_block(w, &b);
}

/* --------------------------------------------------------------------------------- the call */

static attn_worker worker_at(forward_call *call, int64_t i) {
    const attn_plan *const plan = &call->plan;
    attn_worker w;
    w.plan = plan;
    w.problem = plan->problem;
    w.tiles = plan->tiles;
    w.table = call->table;
    w.accumulators = call->accumulators;
    w.finite = NULL;
    attn_plan_workspace(plan, call->workspaces + plan->worker_bytes * (size_t)i, &w.space);
    w.own_kept = w.space.kept;
    return w;
}

static void work_through(forward_call *call, int64_t i, int64_t tasks,
                         void (*run)(attn_worker *, const forward_call *, int64_t task)) {
    attn_worker w = worker_at(call, i);
    for (;;) {
        const int64_t task =
            (int64_t)atomic_fetch_add_explicit(&call->next, 1, memory_order_relaxed);
        if (task >= tasks) return;
        run(&w, call, task);
    }
}

static void run_tasks(void *argument, int64_t i) {
    forward_call *const call = argument;
    work_through(call, i, call->plan.tasks, run_task);
}

static void run_merges(void *argument, int64_t i) {
    forward_call *const call = argument;
    work_through(call, i, call->plan.tasks, merge_task);
}

static void store_sums(attn_worker *w, const forward_call *call, int64_t sequence) {
    (void)call;
    attn_store_sums(w, sequence);
}

static void run_sums(void *argument, int64_t i) {
    forward_call *const call = argument;
    work_through(call, i, call->plan.sequences, store_sums);
}

static void run_phase(attn_context *context, forward_call *call,
                      void (*work)(void *argument, int64_t i)) {
    atomic_store(&call->next, 0);
    attn_run_parallel(context, call->plan.workers, work, call);
}

static void run_forward(attn_context *context, forward_call *call, char *memory) {
    const attn_plan *const plan = &call->plan;
    call->table = (attn_start *)(void *)memory;
    call->workspaces = memory + plan->table_bytes;
    call->partials = call->workspaces + plan->worker_bytes * (size_t)plan->workers;
    call->accumulators =
        call->partials + plan->partial_bytes * (plan->split ? (size_t)plan->tasks : 0);
    attn_plan_fill_table(plan, call->table);
    if (plan->problem->views ||
        plan->problem->mask.query_starts) { /* not every call can spare it */
        attn_worker first = worker_at(call, 0);
        attn_clear_unowned(&first);
        attn_begin_views(&first);
    }
    atomic_init(&call->next, 0);
    run_phase(context, call, run_tasks);
    if (plan->split) run_phase(context, call, run_merges);
    if (plan->accumulator_elements > 0) run_phase(context, call, run_sums);
}

/* No result has an element, or none has a place. (Sums over no queries have elements: they are 0.) */
static bool nothing_to_do(const attn_problem *p) {
    const int64_t *const q = p->query.shape;
    const bool views = p->views && attn_any_view(p->views);
    const bool rows = p->output.data || p->lse.data || p->weights.data;
    return q[0] == 0 || q[1] == 0 || !(views || (rows && q[2] > 0));
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

/* backward.c: the gradients of attn_forward: the call and its phases.
 *
 *  1. the forward, where its output or log-sum-exp were not kept;
 *  2. what must be known of rows (rows.c);
 *  3. chunks of keys (task.c), tile by tile (tile.c): scores and weights are made again while they lie in
 *     the cache, so that nothing n x n exists;
 *  4. numbers, which were summed in double. */
#include <math.h>
#include <string.h>

#include "api/check.h"
#include "api/context.h"
#include "gradient/gradient.h"

/* --------------------------------------------------------------------------------- filling up */

static void fill_tensor(const attn_tiles *t, const attn_tensor *to) {
    enum { PIECE = 1 << 20 };
    for (int64_t b = 0; b < to->shape[0]; b++)
        for (int64_t h = 0; h < to->shape[1]; h++)
            for (int64_t i = 0; i < to->shape[2]; i++)
                for (int64_t j = 0; j < to->shape[3]; j += PIECE)
                    t->fill(attn_at(to, t->element_size, b, h, i, j), to->stride[3],
                            attn_smaller(PIECE, to->shape[3] - j), 0);
}

static void fill_given(const attn_tiles *t, const attn_tensor *to) {
    if (attn_is_given(to)) fill_tensor(t, to);
}

/* What tasks add to begins at 0; so does what no task may store, of padding. */
static void begin_gradients(const attn_gradient_call *call, bool all) {
    const attn_tiles *const t = call->plan.tiles;
    const attn_input_gradients *const to = call->to;
    const attn_mask *const m = &call->problem.mask;
    const bool ragged = m->query_starts || m->query_lengths || m->key_lengths;
    for (int i = 0; i < ATTN_MATRICES; i++)
        if (call->matrix[i]) fill_tensor(t, call->matrix[i]);
    for (int i = 0; i < ATTN_LINES; i++)
        if (call->line[i]) fill_tensor(t, call->line[i]);
    if (call->problem.score.kind == ATTN_SCORE_LOCATION) fill_given(t, &to->weight);
    if (!all && !ragged) return;
    fill_given(t, &to->query);
    fill_given(t, &to->key);
    fill_given(t, &to->value);
}

static void store_numbers(const attn_gradient_call *call) {
    const attn_tiles *const t = call->plan.tiles;
    for (int i = 0; i < ATTN_NUMBERS; i++) {
        const attn_tensor *const to = call->number[i];
        for (int64_t k = 0; to && k < to->shape[0] * to->shape[1]; k++)
            t->fill(attn_at(to, t->element_size, k / to->shape[1], k % to->shape[1], 0, 0), 1, 1,
                    call->total[i] ? call->total[i][k] : 0);
    }
}

/* ------------------------------------------------------------------------------------- scratch */

static void carve_rows(attn_gradient_call *call, attn_carver *c) {
    const int64_t *const q = call->problem.query.shape;
    const size_t size = (size_t)call->plan.tiles->element_size;
    const double rows = (double)q[0] * (double)q[1] * (double)q[2];
    const bool whole = call->plan.weighing == ATTN_WEIGH_ROWS;
    const bool hard = call->problem.normalizer.kind == ATTN_HARDMAX;
    attn_gradient_rows *const r = &call->rows;
    r->mean =
        attn_carve(c, call->scores && call->plan.weighing != ATTN_WEIGH_EACH && !hard, rows, size);
    r->base = attn_carve(c, whole && !hard, rows, size);
    r->threshold = attn_carve(c, whole && !hard, rows, size);
    r->inverse = attn_carve(c, whole && !hard, rows, size);
    r->greatest = attn_carve(c, hard, rows, sizeof *r->greatest);
}

static double carve_call(attn_gradient_call *call, char *memory) {
    const attn_gradient_start end = call->end;
    const double heads = (double)call->plan.heads;
    attn_carver c = {.memory = memory};
    call->table = attn_carve(&c, true, (double)call->plan.sequences + 1, sizeof *call->table);
    call->query_turns = attn_carve(&c, true, heads * (double)end.blocks, sizeof *call->query_turns);
    call->key_turns = attn_carve(&c, true, heads * (double)end.chunks, sizeof *call->key_turns);
    call->block_turns = attn_carve(&c, true, (double)call->most_blocks, sizeof *call->block_turns);
    for (int i = 0; i < ATTN_NUMBERS; i++) {
        const attn_tensor *const t = call->number[i];
        call->total[i] =
            attn_carve(&c, t != NULL, t ? (double)(t->shape[0] * t->shape[1]) : 0, sizeof(double));
    }
    carve_rows(call, &c);
    const size_t size = (size_t)call->plan.tiles->element_size;
    attn_carve_saved(&c, &call->saved, &call->problem, size);
    call->workspaces = attn_carve(&c, true, call->plan.workers, call->worker_bytes);
    return c.whole;
}

/* ------------------------------------------------------------------------------------ the call */

static void work_through(attn_gradient_call *call, int64_t i, int64_t tasks,
                         void (*run)(attn_gradient_worker *g, int64_t task)) {
    char *const memory = call->workspaces + call->worker_bytes * (size_t)i;
    attn_gradient_worker g;
    memset(&g, 0, sizeof g);
    g.call = call;
    g.w.plan = &call->plan;
    g.w.problem = &call->problem;
    g.w.tiles = call->plan.tiles;
    attn_plan_workspace(&call->plan, memory, &g.w.space);
    attn_gradient_workspace(call, memory + call->forward_bytes, &g.g);
    for (;;) {
        const int64_t task =
            (int64_t)atomic_fetch_add_explicit(&call->next, 1, memory_order_relaxed);
        if (task >= tasks) return;
        run(&g, task);
    }
}

static void run_rows(void *argument, int64_t i) {
    attn_gradient_call *const call = argument;
    work_through(call, i, call->end.blocks * call->plan.heads, attn_gradient_run_rows);
}

static void run_tasks(void *argument, int64_t i) {
    attn_gradient_call *const call = argument;
    work_through(call, i, call->end.tasks, attn_gradient_run_task);
}

static void run_phase(attn_context *context, attn_gradient_call *call,
                      void (*work)(void *argument, int64_t i)) {
    atomic_store(&call->next, 0);
    attn_run_parallel(context, call->plan.workers, work, call);
}

/* An array of turns, none of which has been taken. */
static void begin_turns(attn_turn *turns, int64_t count) {
    for (int64_t i = 0; i < count; i++) atomic_init(&turns[i], 0);
}

static void run_backward(attn_context *context, attn_gradient_call *call) {
    const bool rows = call->plan.weighing == ATTN_WEIGH_ROWS ||
                      (call->plan.weighing == ATTN_WEIGH_ONLINE && call->scores);
    attn_gradient_fill_table(call, call->table);
    begin_turns(call->query_turns, call->plan.heads * call->end.blocks);
    begin_turns(call->key_turns, call->plan.heads * call->end.chunks);
    begin_turns(call->block_turns, call->most_blocks);
    begin_turns(&call->end_turn, 1);
    atomic_init(&call->next, 0);
    for (int i = 0; i < ATTN_NUMBERS; i++)
        for (int64_t k = 0;
             call->total[i] && k < call->number[i]->shape[0] * call->number[i]->shape[1]; k++)
            call->total[i][k] = 0;
    begin_gradients(call, false);
    if (rows) run_phase(context, call, run_rows);
    run_phase(context, call, run_tasks);
    store_numbers(call);
}

/* No query sees anything: all gradients are 0. */
static bool no_rows(const attn_problem *p) {
    return p->query.shape[0] == 0 || p->query.shape[1] == 0 || p->query.shape[2] == 0;
}

static void fill_all(const attn_tiles *tiles, const attn_problem *problem,
                     const attn_result_gradients *from, const attn_input_gradients *to) {
    attn_gradient_call call = {.problem = *problem, .from = from, .to = to};
    attn_gradient_list(&call, to);
    call.plan.tiles = tiles;
    begin_gradients(&call, true);
    store_numbers(&call);
}

attn_status attn_backward(attn_context *context, const attn_problem *problem,
                          const attn_result_gradients *from, const attn_input_gradients *to) {
    const attn_status status = attn_check_backward(problem, from, to);
    if (status != ATTN_OK) return status;
    attn_context *const c = attn_context_or_default(context);
    const attn_tiles *const tiles = attn_context_tiles(c, problem->query.dtype);
    if (no_rows(problem)) {
        fill_all(tiles, problem, from, to);
        return ATTN_OK;
    }
    attn_gradient_call call;
    char *memory;
    const bool fits = attn_gradient_plan(&call, problem, from, to, tiles, attn_context_threads(c));
    attn_status done =
        attn_take_scratch(c, fits ? carve_call(&call, NULL) : (double)SIZE_MAX, &memory);
    if (done != ATTN_OK) return done;
    carve_call(&call, memory);
    done = attn_find_saved(c, &call.saved, &call.problem);
    if (done == ATTN_OK) run_backward(c, &call);
    attn_scratch_give(c, memory);
    return done;
}

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

static int64_t padded(int d, const attn_tiles *t) {
    return (d + t->lanes - 1) & -t->lanes; /* a power of 2 */
}

static void load_query(worker *w, const attn_block *b) {
    const attn_tensor *const q = &w->problem->query;
    const attn_tiles *const t = w->tiles;
    const int64_t first = b->sequence.query_first + b->first_query;
    const int d = w->plan->d;
    const double factor = w->plan->query_factor;
    if (!b->few) {
        const void *const from = attn_at(q, t->element_size, b->sequence.batch, b->first_head, first, 0);
        if (b->rows < b->width) t->fill(w->space.query, 1, (int64_t)d * b->width, 0);
        t->load_transposed(w->space.query, b->width, from, q->stride[2], q->stride[3], b->rows, d, factor);
        return;
    }
    const int64_t stride = padded(d, t);
    if (d < stride) t->fill(w->space.query, 1, b->rows * stride, 0);
    for (int g = 0; g < b->heads; g++) {
        const void *const from =
            attn_at(q, t->element_size, b->sequence.batch, b->first_head + g, first, 0);
        t->load_rows(offset(w->space.query, g * b->queries * stride, t), stride, from, q->stride[2],
                     q->stride[3], b->queries, d, factor);
    }
}

static int64_t output_elements(const worker *w, const attn_block *b) {
    return b->few ? b->rows * padded(w->plan->d_value, w->tiles) : (int64_t)w->plan->d_value * b->width;
}

/* Nothing seen yet: maximum -infinity, sum and output 0. */
static void clear_partial(const worker *w, const attn_block *b, const attn_partial *r) {
    w->tiles->fill(r->maximum, 1, b->width, (double)-INFINITY);
    w->tiles->fill(r->sum, 1, b->width, 0);
    w->tiles->fill(r->output, 1, output_elements(w, b), 0);
}

/* The sink has been seen: its logit is the maximum and exp2(0) the sum. */
static void begin_with_sink(const worker *w, const attn_block *b, const attn_partial *r) {
    const attn_tensor *const sinks = &w->problem->score.sinks;
    const attn_tiles *const t = w->tiles;
    if (!attn_tensor_present(sinks) || b->columns.first > 0) return; /* only the first part has it */
    for (int g = 0; g < b->heads; g++) {
        const void *const sink =
            attn_at(sinks, t->element_size, attn_broadcast_index(sinks, 0, b->sequence.index),
                    attn_broadcast_index(sinks, 1, b->first_head + g), 0, 0);
        t->load_rows(offset(r->maximum, (int64_t)g * b->queries, t), 0, sink, 0, 0, 1, b->queries, LOG2_E);
    }
    /* exp2(m - m) is 1, and 0 for a sink of -infinity */
    t->rescale(r->sum, r->maximum, r->maximum, NULL, b->width);
}

static void merge(const worker *w, const attn_block *b, const attn_partial *to, const attn_partial *from) {
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d_value;
    if (b->few)
        t->merge_few(to->output, padded(d, t), to->maximum, to->sum, from->output, from->maximum, from->sum,
                     d, b->rows);
    else t->merge(to->output, to->maximum, to->sum, from->output, from->maximum, from->sum, d, b->width);
}

/* -------------------------------------------------------------------------------- one tile */

/* A tile's keys or values, feature by feature: where they lie, or packed. */
static const void *rows_of(const worker *w, const attn_tensor *t, const attn_block *b, const attn_tile *tile,
                           void *packed, bool pack, int64_t *stride) {
    const attn_tiles *const tiles = w->tiles;
    const int d = (int)t->shape[3];
    const void *const at =
        attn_at(t, tiles->element_size, b->sequence.batch, b->key_head, b->sequence.key_first + tile->k, 0);
    *stride = pack ? d : t->stride[2];
    if (!pack) return at;
    tiles->load_rows(packed, d, at, t->stride[2], t->stride[3], tile->count, d, 1.0);
    return packed;
}

static void score(worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d;
    int64_t stride;
    const void *const key =
        rows_of(w, &w->problem->key, b, tile, w->space.key, w->plan->pack_key, &stride);
    if (b->few)
        t->score_few(scores, w->space.query, padded(d, t), key, stride, tile->count, d, b->rows, tile->width);
    else t->score(scores, w->space.query, key, stride, tile->count, d, b->width);
}

static void weigh(worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    attn_workspace *const s = &w->space;
    if (b->few)
        w->tiles->weigh_few(scores, tile->count, b->rows, tile->width, w->plan->weigh_factor, s->stretch.maximum, s->stretch.sum, s->shrink);
    else w->tiles->weigh(scores, tile->count, b->width, w->plan->weigh_factor, s->stretch.maximum, s->stretch.sum, s->shrink);
}

static void aggregate(worker *w, const attn_block *b, const attn_tile *tile, const void *weights,
                      bool masked) {
    const attn_tiles *const t = w->tiles;
    attn_workspace *const s = &w->space;
    const int d = w->plan->d_value, count = tile->count;
    const int64_t row = padded(d, t);
    int64_t stride;
    const void *const value =
        rows_of(w, &w->problem->value, b, tile, s->value, w->plan->pack_value, &stride);
    if (masked && !t->all_finite(value, stride, count, d)) {
        attn_hidden_tile(w->problem, t, b, s, tile);
        t->aggregate_visible(s->stretch.output, b->few ? 1 : b->width, b->few ? row : 1, s->shrink, weights, s->hidden,
                             tile->key_stride, tile->row_stride, value, stride, count, d, b->rows);
    } else if (b->few) {
        t->aggregate_few(s->stretch.output, row, s->shrink, weights, value, stride, count, d, b->rows, tile->width);
    } else {
        t->aggregate(s->stretch.output, s->shrink, weights, value, stride, count, d, b->width);
    }
}

static int64_t kept_index(const attn_block *b, const attn_tile *tile) {
    return tile->k / ATTN_KEY_BLOCK - b->keys.first / ATTN_KEY_BLOCK;
}

static void *kept_weights(const worker *w, const attn_block *b, const attn_tile *tile) {
    return offset(w->space.kept, kept_index(b, tile) * ATTN_KEY_BLOCK * w->tiles->block, w->tiles);
}

static void *kept_maximum(const worker *w, const attn_block *b, const attn_tile *tile) {
    return offset(w->space.kept_maximum, kept_index(b, tile) * w->tiles->block, w->tiles);
}

static void attend(worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_problem *const p = w->problem;
    attn_workspace *const s = &w->space;
    const bool keep = p->weights.data != NULL;
    const attn_visibility seen = attn_mask_tile(p, w->tiles, b, s, tile);
    if (keep) s->kept_any[kept_index(b, tile)] = seen != ATTN_TILE_SHUT;
    if (seen == ATTN_TILE_SHUT) return;

    void *const scores = keep ? kept_weights(w, b, tile) : s->scores;
    score(w, b, tile, scores);
    attn_modify_scores(p, w->tiles, b, s, tile, scores);
    if (seen == ATTN_TILE_PARTIAL) attn_mask_apply(p, w->tiles, b, s, tile, scores);
    weigh(w, b, tile, scores);
    if (keep)
        memcpy(kept_maximum(w, b, tile), s->stretch.maximum, (size_t)b->width * (size_t)w->tiles->element_size);
    if (p->output.data && w->plan->d_value > 0)
        aggregate(w, b, tile, scores, seen == ATTN_TILE_PARTIAL || attn_tensor_present(&p->score.bias));
}

typedef void tile_function(worker *, const attn_block *, const attn_tile *);

/* Calls `each` for the tiles of a range of a block's keys: cut at multiples of ATTN_KEY_BLOCK. */
static void for_each_tile_in(worker *w, const attn_block *b, attn_key_range keys, tile_function *each) {
    for (int64_t k = keys.first; k < keys.last;) {
        const int64_t cut = (k / ATTN_KEY_BLOCK + 1) * ATTN_KEY_BLOCK;
        const int64_t end = cut < keys.last ? cut : keys.last;
        const attn_tile tile = attn_tile_at(b, w->tiles, k, (int)(end - k));
        each(w, b, &tile);
        k = end;
    }
}

static void for_each_tile(worker *w, const attn_block *b, tile_function *each) {
    for_each_tile_in(w, b, b->keys, each);
}

/* Attends to all keys of a block, stretch by stretch; the result is in space.total. */
static void attend_to_all(worker *w, const attn_block *b) {
    attn_workspace *const s = &w->space;
    int64_t k = b->keys.first;
    clear_partial(w, b, &s->stretch);
    begin_with_sink(w, b, &s->stretch);
    for (;;) {
        const int64_t cut = (k / ATTN_KEY_SPLIT + 1) * ATTN_KEY_SPLIT;
        const attn_key_range keys = {k, cut < b->keys.last ? cut : b->keys.last};
        for_each_tile_in(w, b, keys, attend);
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

/* -------------------------------------------------------------------------------- block ends */

/* Out of a tile, or the output: rows of head g to where they belong, each times its factor. */
static void store_head(const worker *w, const attn_block *b, int g, const attn_tensor *t, int64_t column,
                       int columns, const void *from, int64_t column_stride, int64_t row_stride,
                       const void *factors) {
    const attn_tiles *const tiles = w->tiles;
    const int64_t row = (int64_t)g * b->queries;
    void *const to = attn_at(t, tiles->element_size, b->sequence.batch, b->first_head + g,
                             b->sequence.query_first + b->first_query, column);
    const char *const source = (const char *)from + row * row_stride * tiles->element_size;
    const char *const factor = (const char *)factors + row * tiles->element_size;
    if (b->few)
        tiles->store_rows(to, t->stride[2], t->stride[3], source, row_stride, b->queries, columns, factor);
    else
        tiles->store_transposed(to, t->stride[2], t->stride[3], source, column_stride, b->queries, columns,
                                factor);
}

/* Weights of one tile, from its own maximum to the block's, times `by` (NULL: one), to their place. */
static void store_weights(worker *w, const attn_block *b, const attn_tile *tile, const void *by) {
    const int64_t first = b->sequence.query_first + b->first_query;
    if (!w->space.kept_any[kept_index(b, tile)]) {
        for (int g = 0; g < b->heads; g++)
            zero_weights(w, b->sequence.batch, b->first_head + g, first, b->queries,
                         (attn_key_range){tile->k, tile->k + tile->count});
        return;
    }
    w->tiles->rescale(w->space.factor, kept_maximum(w, b, tile), w->space.total.maximum, by, b->width);
    for (int g = 0; g < b->heads; g++)
        store_head(w, b, g, &w->problem->weights, tile->k, tile->count, kept_weights(w, b, tile),
                   tile->key_stride, tile->row_stride, w->space.factor);
}

static void store_final_weights(worker *w, const attn_block *b, const attn_tile *tile) {
    store_weights(w, b, tile, w->space.inverse);
}

static void store_partial_weights(worker *w, const attn_block *b, const attn_tile *tile) {
    store_weights(w, b, tile, NULL);
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
static void zero_hidden_weights(worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_tensor *const t = &w->problem->weights;
    const int size = w->tiles->element_size;
    const int64_t query = b->sequence.query_first + b->first_query;
    attn_hidden_tile(w->problem, w->tiles, b, &w->space, tile);
    for (int g = 0; g < b->heads; g++)
        w->tiles->zero_masked(attn_at(t, size, b->sequence.batch, b->first_head + g, query, tile->k),
                              t->stride[2], t->stride[3],
                              offset(w->space.hidden, g * b->queries * tile->row_stride, w->tiles),
                              tile->key_stride, tile->row_stride, b->queries, tile->count);
}

/* Sum and maximum are final: writes log-sum-exp and output; returns whether some row is NaN. */
static bool store_results(worker *w, const attn_block *b) {
    const attn_problem *const p = w->problem;
    const attn_tiles *const t = w->tiles;
    attn_workspace *const s = &w->space;
    const int64_t first = b->sequence.query_first + b->first_query;
    const int d = w->plan->d_value;
    const bool nan =
        t->finish(s->inverse, p->lse.data ? s->lse : NULL, s->total.maximum, s->total.sum, b->rows, b->width);
    for (int g = 0; g < b->heads; g++) {
        if (p->lse.data)
            t->load_rows(attn_at(&p->lse, t->element_size, b->sequence.batch, b->first_head + g, first, 0),
                         p->lse.stride[2], offset(s->lse, (int64_t)g * b->queries, t), 1, 1, b->queries, 1, 1.0);
        if (p->output.data)
            store_head(w, b, g, &p->output, 0, d, s->total.output, b->width, padded(d, t), s->inverse);
    }
    return nan;
}

/* ------------------------------------------------------------------------- partial results */

static attn_partial partial_of(const worker *w, const forward_call *call, int64_t task) {
    char *const at = call->partials + w->plan->partial_bytes * (size_t)task;
    const size_t row = (size_t)w->tiles->block * (size_t)w->tiles->element_size;
    return (attn_partial){at, at + row, at + 2 * row};
}

static void keep_partial(const worker *w, const attn_block *b, attn_partial to) {
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

static void run_task(worker *w, const forward_call *call, int64_t task) {
    const bool weights = w->problem->weights.data != NULL;
    bool last_split;
    attn_block b = attn_plan_block(w->plan, call->table, task, &last_split);
    if (b.first_query + b.queries == b.sequence.queries && last_split) clear_padding(w, &b);
    if (b.rows == 0) return;

    attn_mask_begin(w->problem, w->tiles, &b, &w->space);
    load_query(w, &b);
    attend_to_all(w, &b);
    if (weights) zero_other_weights(w, &b);
    if (!is_whole(&b, last_split)) {
        if (weights) for_each_tile(w, &b, store_partial_weights);
        keep_partial(w, &b, partial_of(w, call, task));
        return;
    }
    const bool nan = store_results(w, &b);
    if (!weights) return;
    for_each_tile(w, &b, store_final_weights);
    if (nan) for_each_tile(w, &b, zero_hidden_weights);
}

/* Brings the weights that a split has stored to the scale of the whole row. */
static void rescale_split(worker *w, const attn_block *b, const void *split_maximum) {
    const attn_tensor *const t = &w->problem->weights;
    const attn_tiles *const tiles = w->tiles;
    const int64_t first = b->sequence.query_first + b->first_query;
    const int64_t last = b->columns.last < b->sequence.keys ? b->columns.last : b->sequence.keys;
    tiles->rescale(w->space.factor, split_maximum, w->space.total.maximum, w->space.inverse, b->width);
    for (int g = 0; g < b->heads; g++)
        tiles->scale_rows(attn_at(t, tiles->element_size, b->sequence.batch, b->first_head + g, first,
                                  b->columns.first),
                          t->stride[2], t->stride[3], b->queries, (int)(last - b->columns.first),
                          offset(w->space.factor, (int64_t)g * b->queries, tiles));
}

/* Merges a block's splits (only few queries are split) in the order of their keys; called for all
 * tasks, it acts on the last split of each block. */
static void merge_task(worker *w, const forward_call *call, int64_t last) {
    bool last_split;
    const attn_block b = attn_plan_block(w->plan, call->table, last, &last_split);
    attn_workspace *const s = &w->space;
    if (!last_split || is_whole(&b, last_split) || b.rows == 0) return;
    const int64_t splits = b.columns.first / ATTN_KEY_SPLIT + 1, first = last - splits + 1;
    clear_partial(w, &b, &s->total);
    for (int64_t i = first; i <= last; i++) {
        const attn_partial part = partial_of(w, call, i);
        merge(w, &b, &s->total, &part);
    }
    const bool nan = store_results(w, &b);
    for (int64_t i = first; i <= last && w->problem->weights.data; i++) {
        attn_block split = attn_plan_block(w->plan, call->table, i, &last_split);
        rescale_split(w, &split, partial_of(w, call, i).maximum);
        if (!nan) continue;
        attn_mask_begin(w->problem, w->tiles, &split, s);
        zero_other_weights(w, &split);
        for_each_tile(w, &split, zero_hidden_weights);
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

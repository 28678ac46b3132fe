/* jvp.c: how results change with the inputs: the forward, differentiated.
 *
 * A task is a block of a head's queries. It walks its tiles once: scores and weights are made again from
 * the log-sum-exp, and with them t, how scores over the temperature change: two more SCOREs. As
 *
 *     sum_j w[j] (t[j] - t_lse) value[j] = sum_j w[j] t[j] value[j] - t_lse output
 *
 * nothing of a row need be known before: AGGREGATE of w t with values and of w with the values' changes
 * go into one sum, and t_lse, the sum of w t, is at hand when they are done. The weights' own changes,
 * which are written key by key, need it before: they have a second walk. */
#include <math.h>
#include <stdatomic.h>

#include "api/check.h"
#include "api/context.h"
#include "attention/mask.h"
#include "attention/modify.h"
#include "attention/results.h"
#include "attention/score.h"
#include "attn/gradients.h"
#include "gradient/call.h"

typedef struct {
    attn_problem problem; /* results out of the way */
    const attn_tangents *tangents;
    attn_saved saved;
    attn_plan plan;
    double factor;   /* from scores in a tile to those over the temperature */
    int64_t *blocks; /* of all sequences before; then of all */
    int64_t block_count;
    size_t forward_bytes, worker_bytes;
    char *workspaces;
    atomic_llong next; /* the next task that nobody has taken */
} jvp_call;

/* One worker's scratch, beside the forward's: sums are in space.total and space.stretch. */
typedef struct {
    attn_worker w; /* first: tile functions of the forward take it */
    const jvp_call *call;
    void *query, *query_change; /* as space.query: times factor; how it changes, times factor */
    void *key_change, *value_change; /* tiles of them, if the caller's do not serve as they lie */
    void *change;                    /* a tile: t, then w t */
    void *output;                    /* as space.total.output: the forward's */
    void *base, *mean, *ones;        /* [row] */
} jvp_worker;

/* ------------------------------------------------------------------------------- block begins */

/* The block's rows of a tensor with a row a query, times factor: [feature][row], or [row][feature] of
 * whole vectors if few. */
static void load_rows(const jvp_worker *g, const attn_block *b, void *target, const attn_tensor *t,
                      int stride, double factor) {
    const attn_tiles *const tiles = g->w.tiles;
    const void *const from = attn_query_rows(&g->w, t, b);
    const int d = (int)t->shape[3];
    if (b->few) {
        if (d < stride) tiles->fill(target, 1, (int64_t)b->rows * stride, 0);
        tiles->load_rows(target, stride, from, t->stride[2], t->stride[3], b->rows, d, factor);
    } else {
        if (b->rows < b->width) tiles->fill(target, 1, (int64_t)d * b->width, 0);
        tiles->load_transposed(target, b->width, from, t->stride[2], t->stride[3], b->rows, d,
                               factor);
    }
}

static void begin_block(jvp_worker *g, const attn_block *b) {
    const attn_tangents *const of = g->call->tangents;
    const int d = g->call->plan.d_padded;
    const double factor = attn_head_scale(&g->w, b, 0) * g->call->factor;
    attn_score_begin(&g->w, b);
    if (attn_is_given(&of->query)) load_rows(g, b, g->query_change, &of->query, d, factor);
    if (attn_is_given(&of->key)) load_rows(g, b, g->query, &g->w.problem->query, d, factor);
    attn_load_base(&g->w, b, g->base, &g->call->saved.lse);
    g->w.tiles->fill(g->mean, 1, g->w.tiles->block, 0);
}

/* -------------------------------------------------------------------------------- one tile */

/* Dot products of rows, as load_rows left them, with a tile's rows of a tensor. */
static void score(const jvp_worker *g, const attn_block *b, const attn_tile *tile, void *products,
                  const void *rows, const attn_tensor *keys, void *packed) {
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d;
    int64_t stride;
    const void *const key =
        attn_tile_rows(&g->w, keys, b, tile, packed, keys->stride[3] != 1, &stride);
    if (b->few)
        t->score_few(products, rows, g->call->plan.d_padded, key, stride, tile->count, d, b->rows,
                     tile->width);
    else t->score(products, rows, key, stride, tile->count, d, b->width);
}

static void add_bias_change(jvp_worker *g, const attn_block *b, const attn_tile *tile) {
    const attn_tensor *const t = &g->call->tangents->bias;
    const attn_tiles *const tiles = g->w.tiles;
    const int64_t row = attn_broadcast_stride(t, 2), column = attn_broadcast_stride(t, 3);
    if (!attn_is_given(t)) return;
    const void *const from = attn_pair_entries(t, tiles->element_size, b, b->first_head, tile->k);
    attn_zero_extra(&g->w, tile);
    if (b->few)
        tiles->load_rows(g->w.space.extra, tile->row_stride, from, row, column, b->queries,
                         tile->count, g->call->factor);
    else
        tiles->load_transposed(g->w.space.extra, tile->key_stride, from, row, column, b->queries,
                               tile->count, g->call->factor);
    tiles->accumulate(g->change, g->w.space.extra, (int64_t)tile->lines * tile->width);
}

/* How the scores of a tile change before the soft cap, over the temperature. */
static void change_products(jvp_worker *g, const attn_block *b, const attn_tile *tile) {
    const attn_tangents *const of = g->call->tangents;
    const attn_tiles *const t = g->w.tiles;
    const int64_t elements = (int64_t)tile->lines * tile->width;
    void *const extra = g->w.space.extra;
    t->fill(g->change, 1, elements, 0);
    if (attn_is_given(&of->query))
        score(g, b, tile, g->change, g->query_change, &g->w.problem->key, g->w.space.key);
    if (!attn_is_given(&of->key)) return;
    void *const products = attn_is_given(&of->query) ? extra : g->change;
    score(g, b, tile, products, g->query, &of->key, g->key_change);
    attn_pad_few(&g->w, b, tile, products, 0);
    if (products == extra) t->accumulate(g->change, extra, elements);
}

/* The tile's scores, as the forward made them, and in g.change how they change. */
static void find_scores(jvp_worker *g, const attn_block *b, const attn_tile *tile,
                        attn_visibility seen) {
    attn_worker *const w = &g->w;
    void *const scores = w->space.scores;
    attn_score_tile(w, b, tile, seen, scores);
    attn_pad_few(&g->w, b, tile, scores, 0);
    change_products(g, b, tile);
    attn_cap_scores(w, b, tile, scores);
    if (w->problem->score.softcap > 0)
        w->tiles->slope_softcap(g->change, scores, tile->lines, tile->width,
                                w->problem->score.softcap);
    add_bias_change(g, b, tile);
    attn_bias_scores(w, b, tile, scores);
    if (seen == ATTN_TILE_PARTIAL) attn_mask_apply(w, b, tile, scores);
    if (attn_hides(w, seen)) attn_mask_lanes(w, b, tile, scores);
    attn_disturb_scores(w, b, tile, scores);
    attn_pad_few(&g->w, b, tile, scores, (double)-INFINITY);
}

/* Hidden pairs have weight 0, and no change, exactly; but 0 times NaN is NaN. */
static void clear_hidden(jvp_worker *g, const attn_block *b, const attn_tile *tile,
                         attn_visibility seen, void *elements) {
    const attn_tiles *const t = g->w.tiles;
    if (!attn_hides(&g->w, seen) || t->all_finite(elements, tile->width, tile->lines, tile->width))
        return;
    attn_hidden_tile(&g->w, b, tile);
    t->zero_masked(elements, tile->row_stride, tile->key_stride, g->w.space.hidden,
                   tile->key_stride, tile->row_stride, b->rows, tile->count);
}

/* Weights in space.scores, and in g.change their changes, w (t - mean), both before dropout. */
static void change_weights(jvp_worker *g, const attn_block *b, const attn_tile *tile,
                           attn_visibility seen) {
    find_scores(g, b, tile, seen);
    g->w.tiles->weigh_and_center(g->w.space.scores, g->change, tile->lines, tile->width, b->few,
                                 g->call->plan.weigh_factor, g->base, g->mean);
    clear_hidden(g, b, tile, seen, g->change);
}

/* AGGREGATE into the stretch at hand: weights with a tile's rows of a tensor. */
static void gather(jvp_worker *g, const attn_block *b, const attn_tile *tile, attn_visibility seen,
                   const void *weights, const attn_tensor *values, void *packed) {
    const attn_tiles *const t = g->w.tiles;
    void *const sums = g->w.space.stretch.output;
    const int d = g->call->plan.d_value, row = attn_padded(d, t);
    int64_t stride;
    const void *const value =
        attn_tile_rows(&g->w, values, b, tile, packed, values->stride[3] != 1, &stride);
    if (attn_hides(&g->w, seen) && !t->all_finite(value, stride, tile->count, d)) {
        attn_hidden_tile(&g->w, b, tile);
        t->aggregate_visible(sums, b->few ? 1 : b->width, b->few ? row : 1, g->ones, weights,
                             g->w.space.hidden, tile->key_stride, tile->row_stride, value, stride,
                             tile->count, d, b->rows);
    } else if (b->few) {
        t->aggregate_few(sums, row, g->ones, weights, value, stride, tile->count, d, b->rows,
                         tile->width);
    } else {
        t->aggregate(sums, g->ones, weights, value, stride, tile->count, d, b->width);
    }
}

/* The first walk: the mean is 0. */
static void add_tile(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    jvp_worker *const g = (jvp_worker *)(void *)w;
    const attn_tangents *const of = g->call->tangents;
    const attn_visibility seen = attn_mask_tile(w, b, tile);
    if (seen == ATTN_TILE_SHUT) return;
    change_weights(g, b, tile, seen);
    w->tiles->row_products(w->space.stretch.sum, g->change, NULL, tile->lines, tile->width, b->few);
    if (!attn_is_given(&of->output) || w->plan->d_value == 0) return;
    attn_modify_weights(w, b, tile, g->change);
    gather(g, b, tile, seen, g->change, &w->problem->value, w->space.value);
    if (!attn_is_given(&of->value)) return;
    attn_modify_weights(w, b, tile, w->space.scores);
    gather(g, b, tile, seen, w->space.scores, &of->value, g->value_change);
}

/* The second walk: the mean is t_lse. */
static void store_tile(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    jvp_worker *const g = (jvp_worker *)(void *)w;
    const attn_tensor *const t = &g->call->tangents->weights;
    const attn_visibility seen = attn_mask_tile(w, b, tile);
    if (seen == ATTN_TILE_SHUT) {
        attn_fill_columns(w, t, b->sequence.batch, b->first_head,
                          b->sequence.query_first + b->first_query, b->queries,
                          (attn_key_range){tile->k, tile->k + tile->count}, 0);
        return;
    }
    change_weights(g, b, tile, seen);
    attn_modify_weights(w, b, tile, g->change);
    attn_store_head(w, b, 0, t, b->first_head, tile->k, tile->count, g->change, tile->key_stride,
                    tile->row_stride, g->ones);
}

/* ------------------------------------------------------------------------------- one block */

static int64_t output_elements(const jvp_worker *g, const attn_block *b) {
    return (int64_t)attn_padded(g->call->plan.d_value, g->w.tiles) * (b->few ? b->rows : b->width);
}

static void clear(const jvp_worker *g, const attn_block *b, const attn_partial *p) {
    g->w.tiles->fill(p->sum, 1, g->w.tiles->block, 0);
    g->w.tiles->fill(p->output, 1, output_elements(g, b), 0);
}

/* Sums over all keys, in stretches, as the forward makes them: in space.total. */
static void walk(jvp_worker *g, const attn_block *b) {
    const attn_tiles *const t = g->w.tiles;
    const attn_workspace *const s = &g->w.space;
    clear(g, b, &s->total);
    for (int64_t k = b->keys.first; k < b->keys.last;) {
        const int64_t cut = (k / ATTN_KEY_SPLIT + 1) * ATTN_KEY_SPLIT;
        const attn_key_range keys = {k, attn_smaller(cut, b->keys.last)};
        clear(g, b, &s->stretch);
        attn_for_each_tile(&g->w, b, keys, add_tile);
        t->accumulate(s->total.sum, s->stretch.sum, t->block);
        t->accumulate(s->total.output, s->stretch.output, output_elements(g, b));
        k = cut;
    }
}

/* t_output: what was summed less t_lse times the output. */
static void store_output(jvp_worker *g, const attn_block *b) {
    const attn_tensor *const to = &g->call->tangents->output;
    const attn_tiles *const t = g->w.tiles;
    const attn_partial *const total = &g->w.space.total;
    const int d = g->call->plan.d_value, row = attn_padded(d, t);
    if (!attn_is_given(to) || d == 0) return;
    load_rows(g, b, g->output, &g->call->saved.output, row, -1);
    t->multiply_rows(g->output, b->few ? b->rows : d, b->few ? row : b->width, b->few, total->sum);
    t->accumulate(total->output, g->output,
                  b->few ? (int64_t)b->rows * row : (int64_t)d * b->width);
    attn_store_head(&g->w, b, 0, to, b->first_head, 0, d, total->output, b->width, row, g->ones);
}

static void run_block(jvp_worker *g, attn_block *b) {
    const attn_tangents *const to = g->call->tangents;
    const attn_tiles *const t = g->w.tiles;
    const void *const lse = g->w.space.total.sum;
    attn_mask_begin(&g->w, b);
    begin_block(g, b);
    walk(g, b);
    if (attn_is_given(&to->lse))
        t->load_rows(attn_query_rows(&g->w, &to->lse, b), to->lse.stride[2], lse, 1, 1, b->rows, 1,
                     1.0);
    store_output(g, b);
    if (!attn_is_given(&to->weights)) return;
    t->load_rows(g->mean, 0, lse, 0, 1, 1, b->rows, 1.0);
    attn_fill_other_columns(&g->w, b, &to->weights, b->first_head, 0);
    attn_for_each_tile(&g->w, b, b->keys, store_tile);
}

/* ------------------------------------------------------------------------------------- tasks */

static int64_t count_blocks(const jvp_call *call, int64_t *blocks) {
    int64_t sum = 0;
    for (int64_t i = 0; i < call->plan.sequences; i++) {
        const attn_sequence s = attn_sequence_at(&call->problem, i);
        if (blocks) blocks[i] = sum;
        sum += attn_head_blocks(&call->plan, &s);
    }
    if (blocks) blocks[call->plan.sequences] = sum;
    return sum;
}

/* [head][block of any sequence]; the last blocks see most keys if causal, so they are taken up first. */
static void run_task(jvp_worker *g, int64_t task) {
    const jvp_call *const call = g->call;
    const int64_t block = call->block_count - 1 - task % call->block_count;
    const int64_t of = attn_sequence_of(call->blocks, 1, call->plan.sequences, block);
    const attn_sequence s = attn_sequence_at(&call->problem, of);
    attn_block b =
        attn_head_block(&call->plan, &s, task / call->block_count, block - call->blocks[of]);
    run_block(g, &b);
}

/* ------------------------------------------------------------------------------------ scratch */

static size_t worker_space(const jvp_call *call, char *memory, jvp_worker *g) {
    const attn_tangents *const of = call->tangents;
    const attn_tiles *const t = call->plan.tiles;
    const size_t size = (size_t)t->element_size;
    const int block = t->block, d = call->plan.d_padded,
              d_value = attn_padded(call->plan.d_value, t);
    attn_carver c = {.memory = memory};
    jvp_worker unused, *const to = g ? g : &unused;
    to->query = attn_carve(&c, attn_is_given(&of->key), (double)d * block, size);
    to->query_change = attn_carve(&c, attn_is_given(&of->query), (double)d * block, size);
    to->key_change = attn_carve(&c, attn_is_given(&of->key) && of->key.stride[3] != 1,
                                (double)call->plan.d * ATTN_KEY_BLOCK, size);
    to->value_change = attn_carve(&c, attn_is_given(&of->value) && of->value.stride[3] != 1,
                                  (double)call->plan.d_value * ATTN_KEY_BLOCK, size);
    to->change = attn_carve(&c, true, (double)block * ATTN_KEY_BLOCK, size);
    to->output = attn_carve(&c, attn_is_given(&of->output), (double)d_value * block, size);
    to->base = attn_carve(&c, true, block, size);
    to->mean = attn_carve(&c, true, block, size);
    to->ones = attn_carve(&c, true, block, size);
    if (memory) t->fill(to->ones, 1, block, 1);
    return c.used;
}

static double carve_call(jvp_call *call, char *memory) {
    attn_carver c = {.memory = memory};
    call->blocks = attn_carve(&c, true, (double)call->plan.sequences + 1, sizeof *call->blocks);
    attn_carve_saved(&c, &call->saved, &call->problem, (size_t)call->plan.tiles->element_size);
    call->workspaces = attn_carve(&c, true, call->plan.workers, call->worker_bytes);
    return c.whole;
}

/* ----------------------------------------------------------------------------------- the call */

static bool make_call(jvp_call *call, const attn_problem *problem, const attn_tangents *tangents,
                      const attn_tiles *tiles, int threads) {
    static const attn_tensor none = {0};
    *call = (jvp_call){.problem = *problem, .tangents = tangents};
    call->saved.output = problem->output;
    call->saved.lse = problem->lse;
    call->saved.lacks_lse = !attn_is_given(&problem->lse);
    call->saved.lacks_output = attn_is_given(&tangents->output) &&
                               !attn_is_given(&problem->output) && problem->value.shape[3] > 0;
    call->problem.output = call->problem.lse = call->problem.weights = none;
    call->problem.views = NULL;
    if (!attn_plan_make(&call->plan, &call->problem, tiles, threads)) return false;
    call->factor = call->plan.weigh_factor * ATTN_LN_2;
    call->block_count = count_blocks(call, NULL);
    const int64_t tasks = attn_larger(call->block_count * call->plan.heads, 1);
    call->plan.workers =
        attn_worker_count(&call->plan, 3 * call->plan.d + 2 * call->plan.d_value, tasks, threads);
    call->forward_bytes = attn_plan_workspace(&call->plan, NULL, NULL);
    call->worker_bytes = call->forward_bytes + worker_space(call, NULL, NULL);
    return true;
}

static void work_through(void *argument, int64_t i) {
    jvp_call *const call = argument;
    char *const memory = call->workspaces + call->worker_bytes * (size_t)i;
    jvp_worker g = {.call = call};
    g.w.plan = &call->plan;
    g.w.problem = &call->problem;
    g.w.tiles = call->plan.tiles;
    attn_plan_workspace(&call->plan, memory, &g.w.space);
    worker_space(call, memory + call->forward_bytes, &g);
    for (;;) {
        const int64_t task =
            (int64_t)atomic_fetch_add_explicit(&call->next, 1, memory_order_relaxed);
        if (task >= call->block_count * call->plan.heads) return;
        run_task(&g, task);
    }
}

/* Rows of padding, which no task has. */
static void clear_padding(const jvp_call *call) {
    const attn_mask *const m = &call->problem.mask;
    const attn_tensor *const all[] = {&call->tangents->output, &call->tangents->lse,
                                      &call->tangents->weights};
    const attn_worker w = {.tiles = call->plan.tiles};
    if (!m->query_starts && !m->query_lengths) return;
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; attn_is_given(all[k]) && i < all[k]->shape[0] * all[k]->shape[1]; i++)
            for (int64_t r = 0; r < all[k]->shape[2]; r++)
                attn_fill_columns(&w, all[k], i / all[k]->shape[1], i % all[k]->shape[1], r, 1,
                                  (attn_key_range){0, INT64_MAX}, 0);
}

/* Results that have a place have elements. */
static bool nothing_to_do(const attn_problem *p, const attn_tangents *t) {
    const int64_t *const q = p->query.shape;
    return q[0] == 0 || q[1] == 0 || q[2] == 0 ||
           !(attn_is_given(&t->output) || attn_is_given(&t->lse) || attn_is_given(&t->weights));
}

attn_status attn_jvp(attn_context *context, const attn_problem *problem,
                     const attn_tangents *tangents) {
    const attn_status status = attn_check_jvp(problem, tangents);
    if (status != ATTN_OK) return status;
    if (nothing_to_do(problem, tangents)) return ATTN_OK;
    attn_context *const c = attn_context_or_default(context);
    jvp_call call;
    char *memory;
    const bool fits =
        make_call(&call, problem, tangents, attn_context_tiles(c, problem->query.dtype),
                  attn_context_threads(c));
    attn_status done =
        attn_take_scratch(c, fits ? carve_call(&call, NULL) : (double)SIZE_MAX, &memory);
    if (done != ATTN_OK) return done;
    carve_call(&call, memory);
    done = attn_find_saved(c, &call.saved, &call.problem);
    if (done == ATTN_OK) {
        count_blocks(&call, call.blocks);
        clear_padding(&call);
        atomic_init(&call.next, 0);
        attn_run_parallel(c, call.plan.workers, work_through, &call);
    }
    attn_scratch_give(c, memory);
    return done;
}

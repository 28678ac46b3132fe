/* task.c: the tasks of the backward: blocks of rows, of which something must be known first, and
 * chunks of keys, for every block of queries that sees some of them.
 *
 * A task of the second kind is a chunk of keys of one head. So no two tasks share sums over queries,
 * unless heads share keys; sums over keys are added up in the order of chunks, and whatever a whole batch
 * shares in the order of tasks (turn.h). */
#include <math.h>
#include <string.h>

#include "api/check.h"
#include "gradient/gradient.h"

/* -------------------------------------------------------------------------------- the pieces */

/* At least one, so that gradients of a sequence without keys are filled too. */
static int64_t chunk_count(const attn_sequence *s) {
    return attn_larger((s->keys + ATTN_CHUNK_KEYS - 1) / ATTN_CHUNK_KEYS, 1);
}

void attn_gradient_fill_table(attn_gradient_call *call, attn_gradient_start *table) {
    attn_gradient_start at = {0, 0, 0};
    for (int64_t i = 0; i < call->plan.sequences; i++) {
        const attn_sequence s = attn_sequence_at(&call->problem, i);
        const int64_t blocks = attn_head_blocks(&call->plan, &s), chunks = chunk_count(&s);
        if (table) table[i] = at;
        at.tasks += chunks * call->plan.heads;
        at.blocks += blocks;
        at.chunks += chunks;
        call->most_blocks = attn_larger(call->most_blocks, blocks);
    }
    if (table) table[call->plan.sequences] = at;
    call->end = at;
}

/* ------------------------------------------------------------------------------------ a task */

static void set_scale(attn_gradient_worker *g, const attn_sequence *s) {
    const attn_tensor *const scales = &g->w.problem->score.scales;
    const attn_tiles *const t = g->w.tiles;
    g->scale = g->call->plan.scale;
    if (attn_tensor_present(scales))
        g->scale *=
            attn_read(t, attn_broadcast_at(scales, t->element_size, s->index, g->head, 0, 0));
}

static void begin_task(attn_gradient_worker *g, const attn_sequence *s) {
    const attn_gradient_call *const call = g->call;
    const attn_tiles *const t = g->w.tiles;
    g->chunk_keys.first = g->chunk * ATTN_CHUNK_KEYS;
    g->chunk_keys.last = attn_smaller(g->chunk_keys.first + ATTN_CHUNK_KEYS, s->keys);
    const int64_t keys = g->chunk_keys.last - g->chunk_keys.first;
    set_scale(g, s);
    t->fill(g->g.key_sums, 1, keys * call->plan.d_padded, 0);
    t->fill(g->g.value_sums, 1, keys * attn_value_stride(call), 0);
    memset(g->g.number, 0, sizeof g->g.number);
    for (int i = 0; i < ATTN_MATRICES; i++) {
        if (call->matrix[i])
            t->fill(g->g.matrix[i], 1,
                    call->matrix[i]->shape[2] * attn_matrix_stride(call, (attn_matrix)i), 0);
    }
    for (int i = 0; i < ATTN_LINES; i++) {
        if (call->line[i])
            t->fill(g->g.line[i], 1, attn_gradient_line_elements(call, (attn_line)i), 0);
    }
}

/* (18); a row's mean already has d_lse in it. */
static void add_sinks(attn_gradient_worker *g, const attn_block *b) {
    const attn_tensor *const sinks = &g->w.problem->score.sinks, *const lse = &g->call->saved.lse;
    const int size = g->w.tiles->element_size;
    if (!g->call->number[ATTN_OF_SINKS]) return;
    const double sink = attn_read(
        g->w.tiles, attn_broadcast_at(sinks, size, b->sequence.index, b->first_head, 0, 0));
    const char *const mean = attn_row_of(g, g->call->rows.mean, b, size);
    for (int r = 0; r < b->rows && sink > (double)-INFINITY; r++) {
        const double total =
            attn_read(g->w.tiles, attn_at(lse, size, b->sequence.batch, b->first_head,
                                          b->sequence.query_first + b->first_query + r, 0));
        g->g.number[ATTN_OF_SINKS] -=
            exp(sink - total) * attn_read(g->w.tiles, mean + r * (int64_t)size);
    }
}

static void clear_queries(const attn_gradient_worker *g, const attn_block *b) {
    const attn_tensor *const t = &g->call->to->query;
    if (!attn_is_given(t)) return;
    g->w.tiles->zero_rows(attn_query_rows(&g->w, t, b), t->stride[2], t->stride[3], b->rows,
                          (int)t->shape[3]);
}

static void run_block(attn_gradient_worker *g, const attn_sequence *s, int64_t block) {
    attn_block b = attn_head_block(&g->call->plan, s, g->head, block);
    attn_mask_begin(&g->w, &b);
    g->whole = b;
    if (g->chunk == 0) {
        add_sinks(g, &b);
        if (b.keys.first >= b.keys.last) clear_queries(g, &b);
    }
    b.keys.first = attn_larger(b.keys.first, g->chunk_keys.first);
    b.keys.last = attn_smaller(b.keys.last, g->chunk_keys.last);
    if (b.keys.first >= b.keys.last) return;
    g->any_block = true;
    attn_gradient_begin_block(g, &b);
    attn_gradient_begin_kind(g, &b);
    for (int i = 0; i < ATTN_NUMBERS; i++)
        if (g->call->number[i]) g->w.tiles->fill(g->g.products[i], 1, g->w.tiles->block, 0);
    attn_for_each_tile(&g->w, &b, b.keys, attn_gradient_tile);
    attn_gradient_end_block(g, &b);
}

/* Every task has its turn at every block, so that the order is that of tasks. */
static void pass_block(attn_gradient_worker *g, int64_t block) {
    if (!g->call->by_block) return;
    attn_turn *const turn = &g->call->block_turns[block];
    if (!g->holds_turn) attn_turn_await(turn, g->task);
    g->holds_turn = false;
    attn_turn_pass(turn, g->task);
}

/* Where in the total a number of this sequence and head belongs. */
static void add_numbers(attn_gradient_worker *g, const attn_sequence *s) {
    const attn_gradient_call *const call = g->call;
    const double given = call->plan.scale != 0 ? g->scale / call->plan.scale : 0;
    const double square = call->temperature * call->temperature;
    const double factor[ATTN_NUMBERS] = {
        [ATTN_OF_SCALE] = given * call->pending,
        [ATTN_OF_SCALES] = call->plan.scale * call->pending,
        [ATTN_OF_SOFTCAP] = call->pending,
        [ATTN_OF_TEMPERATURE] = -(call->natural ? 1 : call->plan.scale) / square,
        [ATTN_OF_SLOPES] = -call->pending,
        [ATTN_OF_SINKS] = 1,
        [ATTN_OF_SIGMOID_BIAS] = 1,
        [ATTN_OF_SIGMA] = 1,
    };
    for (int i = 0; i < ATTN_NUMBERS; i++) {
        const attn_tensor *const t = call->number[i];
        if (!t || g->g.number[i] == 0) continue; /* times a factor that may be infinite */
        const int64_t at = attn_broadcast_index(t, 0, s->index) * t->shape[1] +
                           attn_broadcast_index(t, 1, g->head);
        call->total[i][at] += factor[i] * g->g.number[i];
    }
}

static void end_task(attn_gradient_worker *g, const attn_sequence *s) {
    const attn_block b = attn_head_block(&g->call->plan, s, g->head, 0);
    attn_gradient_end_keys(g, &b);
    attn_turn_await(&g->call->end_turn, g->task);
    attn_gradient_end_matrices(g, &b);
    attn_gradient_end_lines(g, &b);
    add_numbers(g, s);
    attn_turn_pass(&g->call->end_turn, g->task);
}

/* By one of the table's members, the first sequence's. */
static int64_t find_sequence(const attn_gradient_call *call, const int64_t *first, int64_t place) {
    return attn_sequence_of(first, sizeof *call->table / sizeof *first, call->plan.sequences,
                            place);
}

void attn_gradient_run_task(attn_gradient_worker *g, int64_t task) {
    const int64_t of = find_sequence(g->call, &g->call->table->tasks, task);
    const attn_sequence s = attn_sequence_at(&g->call->problem, of);
    const int64_t within = task - g->call->table[of].tasks,
                  blocks = attn_head_blocks(&g->call->plan, &s);
    g->task = task;
    g->chunk = within / g->call->plan.heads;
    g->head = within % g->call->plan.heads;
    begin_task(g, &s);
    g->any_block = false;
    for (int64_t i = 0; i < g->call->most_blocks; i++) {
        if (i < blocks) run_block(g, &s, i);
        pass_block(g, i);
    }
    end_task(g, &s);
}

void attn_gradient_run_rows(attn_gradient_worker *g, int64_t task) {
    const int64_t block = task % g->call->end.blocks;
    const int64_t of = find_sequence(g->call, &g->call->table->blocks, block);
    const attn_sequence s = attn_sequence_at(&g->call->problem, of);
    g->head = task / g->call->end.blocks;
    g->chunk_keys = (attn_key_range){0, s.keys};
    set_scale(g, &s);
    attn_block b = attn_head_block(&g->call->plan, &s, g->head, block - g->call->table[of].blocks);
    attn_gradient_find_rows(g, &b);
}

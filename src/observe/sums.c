/* sums.c: sums and maxima over the queries of a sequence. Each part of the queries has accumulators of
 * its own, which are added up in order when all tasks are done; so bits do not depend on who did
 * which. */
#include <math.h>

#include "observe/parts.h"

/* -------------------------------------------------------------------------------- accumulators */

/* Those of a chosen head and one part of the queries. */
static char *accumulators_of(const attn_worker *w, const attn_sequence *s, const attn_cut *cut,
                             int64_t chosen, int64_t part) {
    const int64_t elements = attn_plan_accumulators(w->plan, s).elements;
    const int64_t at = w->table[s->index].accumulators + (chosen * cut->sums + part) * elements;
    return attn_offset(w->accumulators, at, w->tiles);
}

/* Those of the part that a block belongs to. */
static char *own_accumulators(const attn_worker *w, const attn_block *b, int64_t chosen) {
    const attn_cut *const cut = &w->task->cut;
    const int64_t block = cut->queries_in_block > 0 ? b->first_query / cut->queries_in_block : 0;
    return accumulators_of(w, &b->sequence, cut, chosen, block / cut->summed_blocks);
}

static void begin_head(attn_worker *w, const attn_block *b, int64_t chosen) {
    const attn_accumulators a = attn_plan_accumulators(w->plan, &b->sequence);
    char *const at = own_accumulators(w, b, chosen);
    w->tiles->fill(at, 1, a.elements, 0);
    if (a.maxima >= 0)
        w->tiles->fill(attn_offset(at, a.maxima, w->tiles), 1, b->sequence.keys, (double)-INFINITY);
}

void attn_begin_sums(attn_worker *w) {
    const attn_task *const task = w->task;
    if (task->split > 0) return; /* the first of them begins for all */
    for (int64_t u = 0; u < task->units; u++) {
        for (int64_t k = 0; k < task->blocks; k += task->cut.summed_blocks) {
            const attn_block b =
                attn_plan_block(w->plan, task, task->first_unit + u, task->first_block + k);
            for (int g = 0; g < b.heads; g++)
                if (attn_chosen(w, &b, g) >= 0) begin_head(w, &b, attn_chosen(w, &b, g));
        }
    }
}

/* ------------------------------------------------------------------------------------ one tile */

/* Sums over the rows of head g, each times its factor, into space.sums. In a tile whose lanes are
 * queries that is SCORE, with factors for a query and weights for keys; where they are keys it is
 * AGGREGATE. */
static void sum_over_rows(attn_worker *w, const attn_block *b, const attn_tile *tile,
                          const void *weights, const void *factor) {
    const attn_tiles *const t = w->tiles;
    void *const sums = w->space.sums;
    if (!b->few) {
        t->score_few(sums, factor, b->width, weights, b->width, tile->count, b->width, 1,
                     ATTN_KEY_BLOCK);
        return;
    }
    t->fill(sums, 1, tile->width, 0);
    t->fill(w->space.shrink, 1, 1, 1);
    t->aggregate_few(sums, ATTN_KEY_BLOCK, w->space.shrink, factor, weights, tile->row_stride,
                     b->queries, tile->count, 1, b->queries);
}

/* Factors of the last queries of the sequence, 0 for the others. */
static const void *last_factors(attn_worker *w, const attn_block *b, const void *factor) {
    const attn_tiles *const t = w->tiles;
    const int64_t first = b->sequence.queries - w->plan->views->window_queries;
    const int64_t before = first - b->first_query;
    const int skipped = (int)(before < 0 ? 0 : before < b->queries ? before : b->queries);
    t->fill(w->space.share, 1, b->width, 0);
    t->load_rows(attn_offset(w->space.share, skipped, t), 0,
                 (const char *)factor + skipped * t->element_size, 0, 1, 1, b->queries - skipped,
                 1.0);
    return w->space.share;
}

void attn_add_received(attn_worker *w, const attn_block *b, const attn_tile *tile, int64_t chosen,
                       const void *weights, const void *factor) {
    const attn_tiles *const t = w->tiles;
    const attn_accumulators a = attn_plan_accumulators(w->plan, &b->sequence);
    if (a.elements == 0) return;
    char *const to = own_accumulators(w, b, chosen);
    if (a.sums >= 0) {
        sum_over_rows(w, b, tile, weights, factor);
        t->accumulate(attn_offset(to, a.sums + tile->k, t), w->space.sums, tile->count);
    }
    if (a.window >= 0) {
        sum_over_rows(w, b, tile, weights, last_factors(w, b, factor));
        t->accumulate(attn_offset(to, a.window + tile->k, t), w->space.sums, tile->count);
    }
    if (a.maxima < 0) return;
    void *const maxima = attn_offset(to, a.maxima + tile->k, t);
    if (b->few)
        t->received_maxima_few(maxima, weights, factor, tile->count, b->queries, tile->width);
    else t->received_maxima(maxima, weights, factor, tile->count, b->queries, b->width);
}

/* Hidden pairs are weights of 0, which may be the greatest that a key received. */
void attn_receive_nothing(attn_worker *w, const attn_block *b, attn_key_range keys) {
    const attn_accumulators a = attn_plan_accumulators(w->plan, &b->sequence);
    const int64_t last = keys.last < b->sequence.keys ? keys.last : b->sequence.keys;
    if (a.maxima < 0) return;
    w->tiles->fill(w->space.sums, 1, ATTN_KEY_BLOCK, 0);
    for (int g = 0; g < b->heads; g++) {
        const int64_t chosen = attn_chosen(w, b, g);
        if (chosen < 0) continue;
        char *const maxima = attn_offset(own_accumulators(w, b, chosen), a.maxima, w->tiles);
        for (int64_t k = keys.first; k < last; k += ATTN_KEY_BLOCK) {
            const int64_t left = last - k;
            w->tiles->accumulate_maxima(attn_offset(maxima, k, w->tiles), w->space.sums,
                                        left < ATTN_KEY_BLOCK ? left : ATTN_KEY_BLOCK);
        }
    }
}

static double sum_of(const attn_worker *w, const attn_block *b, int g, void *numbers) {
    const char *const of_head = attn_head_numbers(w, b, g, numbers);
    double sum = 0;
    for (int r = 0; r < b->queries; r++)
        sum += attn_read(w->tiles, of_head + r * w->tiles->element_size);
    return sum;
}

void attn_add_statistics(attn_worker *w, const attn_block *b, int g, int64_t chosen) {
    attn_workspace *const s = &w->space;
    const attn_accumulators a = attn_plan_accumulators(w->plan, &b->sequence);
    void *const numbers[3] = {s->top_weights, s->entropy, s->distance};
    for (int i = 0; i < 3; i++) {
        void *const at = attn_offset(own_accumulators(w, b, chosen), a.statistics + i, w->tiles);
        w->tiles->fill(at, 1, 1, attn_read(w->tiles, at) + sum_of(w, b, g, numbers[i]));
    }
}

/* ----------------------------------------------------------------------------- after all tasks */

static void store_row(const attn_worker *w, const attn_tensor *t, const attn_sequence *s,
                      int64_t chosen, void *row, double factor) {
    if (!attn_has(t)) return;
    void *const to = attn_at(t, w->tiles->element_size, s->index, chosen, 0, 0);
    w->tiles->fill(w->space.shrink, 1, 1, factor);
    for (int64_t k = 0; k < s->keys; k += ATTN_KEY_BLOCK) {
        const int64_t left = s->keys - k;
        w->tiles->store_rows((char *)to + k * t->stride[3] * w->tiles->element_size, 0,
                             t->stride[3], attn_offset(row, k, w->tiles), 0, 1,
                             (int)(left < ATTN_KEY_BLOCK ? left : ATTN_KEY_BLOCK), w->space.shrink);
    }
}

static void store_statistics(const attn_worker *w, const attn_sequence *s, int64_t chosen,
                             char *sums, const attn_accumulators *a) {
    const attn_tensor *const t = &w->plan->views->head_statistics;
    static const attn_head_statistic order[3] = {ATTN_HEAD_CONFIDENCE, ATTN_HEAD_ENTROPY,
                                                 ATTN_HEAD_DISTANCE};
    const int size = w->tiles->element_size;
    const double queries = (double)s->queries;
    for (int i = 0; i < 3; i++)
        w->tiles->fill(attn_at(t, size, s->index, chosen, 0, order[i]), 1, 1,
                       attn_read(w->tiles, sums + (a->statistics + i) * size) / queries);
    if (s->keys > 0)
        w->tiles->fill(attn_at(t, size, s->index, chosen, 0, ATTN_HEAD_FIRST), 1, 1,
                       attn_read(w->tiles, sums + a->sums * size) / queries);
}

/* Adds the parts up, in order, in the memory of the first. */
static void add_parts(attn_worker *w, const attn_sequence *s, const attn_cut *cut, int64_t chosen,
                      const attn_accumulators *a) {
    const attn_tiles *const t = w->tiles;
    char *const sum = accumulators_of(w, s, cut, chosen, 0);
    for (int64_t part = 1; part < cut->sums; part++) {
        char *const more = accumulators_of(w, s, cut, chosen, part);
        const int64_t sums[3] = {a->sums, a->window, a->statistics};
        for (int i = 0; i < 3; i++)
            if (sums[i] >= 0)
                t->accumulate(attn_offset(sum, sums[i], t), attn_offset(more, sums[i], t),
                              sums[i] == a->statistics ? 3 : s->keys);
        if (a->maxima >= 0)
            t->accumulate_maxima(attn_offset(sum, a->maxima, t), attn_offset(more, a->maxima, t),
                                 s->keys);
    }
}

void attn_store_sums(attn_worker *w, int64_t sequence) {
    const attn_views *const v = w->plan->views;
    const attn_sequence s = attn_sequence_at(w->problem, sequence);
    const attn_cut cut = attn_plan_cut(w->plan, &s);
    const attn_accumulators a = attn_plan_accumulators(w->plan, &s);
    if (s.queries == 0) return;
    for (int64_t chosen = 0; chosen < w->plan->chosen; chosen++) {
        char *const sums = accumulators_of(w, &s, &cut, chosen, 0);
        add_parts(w, &s, &cut, chosen, &a);
        if (a.sums >= 0) {
            store_row(w, &v->received_sum, &s, chosen, attn_offset(sums, a.sums, w->tiles), 1);
            store_row(w, &v->received_mean, &s, chosen, attn_offset(sums, a.sums, w->tiles),
                      1 / (double)s.queries);
        }
        if (a.window >= 0)
            store_row(w, &v->window_sum, &s, chosen, attn_offset(sums, a.window, w->tiles), 1);
        if (a.maxima >= 0)
            store_row(w, &v->received_max, &s, chosen, attn_offset(sums, a.maxima, w->tiles), 1);
        if (a.statistics >= 0) store_statistics(w, &s, chosen, sums, &a);
    }
}

/* call.c: see call.h. */
#include "gradient/call.h"

#include <math.h>

#include "api/check.h"

/* Below so many multiply-adds (some ten microseconds) waking a second thread costs more than it
 * saves. */
static const double WORK_FOR_A_THREAD = 500e3;

/* ------------------------------------------------------------------------------------- blocks */

bool attn_head_is_few(const attn_plan *plan, const attn_sequence *s) {
    return s->queries <= ATTN_FEW_QUERIES || plan->problem->score.location;
}

int attn_head_block_queries(const attn_plan *plan, const attn_sequence *s) {
    return attn_head_is_few(plan, s) ? ATTN_FEW_QUERIES : plan->tiles->block;
}

int64_t attn_head_blocks(const attn_plan *plan, const attn_sequence *s) {
    const int step = attn_head_block_queries(plan, s);
    return (s->queries + step - 1) / step;
}

attn_block attn_head_block(const attn_plan *plan, const attn_sequence *s, int64_t head,
                           int64_t block) {
    const int step = attn_head_block_queries(plan, s);
    attn_block b = {.sequence = *s, .few = attn_head_is_few(plan, s), .heads = 1};
    b.first_head = head;
    b.key_head = head / plan->group;
    b.first_query = block * step;
    b.queries = b.rows = (int)attn_smaller(step, s->queries - b.first_query);
    b.width = attn_padded(b.rows, plan->tiles);
    b.keep = true;
    b.keys = (attn_key_range){0, s->keys};
    b.columns = (attn_key_range){0, INT64_MAX};
    return b;
}

int64_t attn_sequence_of(const int64_t *first, int64_t step, int64_t sequences, int64_t place) {
    int64_t low = 0, high = sequences;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        *(first[middle * step] <= place ? &low : &high) = middle;
    }
    return low;
}

void *attn_query_rows(const attn_worker *w, const attn_tensor *t, const attn_block *b) {
    return attn_at(t, w->tiles->element_size, b->sequence.batch, b->first_head,
                   b->sequence.query_first + b->first_query, 0);
}

void *attn_key_rows(const attn_worker *w, const attn_tensor *t, const attn_block *b, int64_t key) {
    return attn_at(t, w->tiles->element_size, b->sequence.batch, b->key_head,
                   b->sequence.key_first + key, 0);
}

void attn_load_numbers(const attn_worker *w, const attn_block *b, void *row, const void *from,
                       int64_t stride, double factor, double beyond) {
    w->tiles->fill(row, 1, w->tiles->block, beyond);
    w->tiles->load_rows(row, 0, from, 0, stride, 1, b->rows, factor);
}

void attn_load_base(const attn_worker *w, const attn_block *b, void *row, const attn_tensor *lse) {
    attn_load_numbers(w, b, row, attn_query_rows(w, lse, b), lse->stride[2], ATTN_LOG2_E,
                      (double)INFINITY);
}

void attn_pad_few(const attn_worker *w, const attn_block *b, const attn_tile *tile, void *elements,
                  double number) {
    if (!b->few || tile->count == tile->width) return;
    for (int r = 0; r < b->rows; r++)
        w->tiles->fill(attn_offset(elements, r * tile->row_stride + tile->count, w->tiles), 1,
                       tile->width - tile->count, number);
}

/* ------------------------------------------------------------------------------------ scratch */

void *attn_carve(attn_carver *c, bool wanted, double count, size_t size) {
    void *const at = c->memory && wanted ? c->memory + c->used : NULL;
    if (!wanted) return NULL;
    c->whole += count * (double)size + 64;
    if (c->whole < (double)(SIZE_MAX / 4)) c->used += attn_whole_lines((size_t)count * size);
    return at;
}

attn_status attn_take_scratch(attn_context *context, double bytes, char **memory) {
    *memory = bytes < (double)(SIZE_MAX / 4) ? attn_scratch_take(context, (size_t)bytes) : NULL;
    if (*memory) return ATTN_OK;
    return attn_fail(ATTN_ERROR_MEMORY, "no memory for %.0f bytes of scratch", bytes);
}

int attn_worker_count(const attn_plan *plan, double work_of_pair, int64_t tasks, int threads) {
    const attn_problem *const p = plan->problem;
    const int64_t *const q = p->query.shape;
    const double pairs = (double)q[0] * (double)q[1] * (double)q[2] * (double)p->key.shape[2];
    const double worth = 1 + pairs * work_of_pair / WORK_FOR_A_THREAD;
    const int workers = worth < threads ? (int)worth : threads;
    return tasks < workers ? (int)tasks : workers;
}

/* ------------------------------------------------------------------------------- saved results */

static attn_tensor carve_rows(attn_carver *c, const attn_problem *p, size_t size, int64_t width) {
    const int64_t *const q = p->query.shape;
    const double count = (double)q[0] * (double)q[1] * (double)q[2] * (double)width;
    return attn_tensor_dense(attn_carve(c, true, count, size), p->query.dtype, q[0], q[1], q[2],
                             width);
}

void attn_carve_saved(attn_carver *c, attn_saved *saved, const attn_problem *p, size_t size) {
    if (saved->lacks_lse) saved->lse = carve_rows(c, p, size, 1);
    if (saved->lacks_output) saved->output = carve_rows(c, p, size, p->value.shape[3]);
}

attn_status attn_find_saved(attn_context *context, const attn_saved *saved, const attn_problem *p) {
    static const attn_tensor none = {0};
    attn_problem forward = *p;
    if (!saved->lacks_lse && !saved->lacks_output) return ATTN_OK;
    forward.lse = saved->lacks_lse ? saved->lse : none;
    forward.output = saved->lacks_output ? saved->output : none;
    forward.weights = none;
    forward.views = NULL;
    return attn_forward(context, &forward);
}

/* plan.c: see plan.h. */
#include "attention/plan.h"

#include <math.h>
#include <string.h>

#include "api/check.h"

/* Below so many multiply-adds (some ten microseconds) waking a second thread costs more than it
 * saves. */
static const double WORK_FOR_A_THREAD = 500e3;

static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static int64_t at_least_one(int64_t x) {
    return x < 1 ? 1 : x;
}

/* Every head of every sequence gets a task, even without queries: results must be filled. */
attn_cut attn_plan_cut(const attn_plan *plan, const attn_sequence *s) {
    attn_cut cut = {.few = s->queries <= ATTN_FEW_QUERIES, .heads = plan->heads, .splits = 1};
    if (!cut.few) {
        cut.heads_in_block = 1;
        cut.blocks = divide_up(s->queries, plan->tiles->block);
        return cut;
    }
    const int64_t fit = plan->tiles->block / at_least_one(s->queries); /* at least one head */
    cut.heads = plan->heads / plan->group;
    cut.heads_in_block = (int)(plan->group < fit ? plan->group : fit);
    cut.blocks = divide_up(plan->group, cut.heads_in_block);
    cut.splits = at_least_one(divide_up(s->keys, ATTN_KEY_SPLIT));
    return cut;
}

/* --------------------------------------------------------------------------------- scratch */

static size_t round_up(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

/* Hands out the next `bytes` of memory, or only counts them. */
static void *carve(char *memory, size_t *used, size_t bytes) {
    void *const at = memory ? memory + *used : NULL;
    *used += round_up(bytes);
    return at;
}

static int64_t kept_blocks(const attn_plan *plan) {
    return plan->longest_row / ATTN_KEY_BLOCK + 2; /* a row may begin and end inside a block */
}

/* Room for the keys of `tiles` tiles that make up a row, each rounded up to whole vectors. */
static size_t kept_keys(const attn_plan *plan, size_t tiles) {
    return tiles ? (size_t)plan->longest_row + tiles * (size_t)plan->tiles->lanes : 0;
}

size_t attn_plan_workspace(const attn_plan *plan, char *memory, attn_workspace *w) {
    const attn_tiles *const t = plan->tiles;
    const size_t block = (size_t)t->block, size = (size_t)t->element_size;
    const size_t row = block * size, tile = ATTN_KEY_BLOCK * row;
    const size_t kept = plan->problem->weights.data ? (size_t)kept_blocks(plan) : 0;
    size_t used = 0;
    attn_workspace unused;
    if (!w) w = &unused;
    w->query = carve(memory, &used, (size_t)attn_padded(plan->d, t) * row);
    w->scores = carve(memory, &used, tile);
    w->extra = carve(memory, &used, tile);
    w->hidden = carve(memory, &used, tile);
    w->allowed = carve(memory, &used, plan->problem->mask.allowed.data ? tile : 0);
    w->key = carve(memory, &used, plan->pack_key ? ATTN_KEY_BLOCK * (size_t)plan->d * size : 0);
    w->value =
        carve(memory, &used, plan->pack_value ? ATTN_KEY_BLOCK * (size_t)plan->d_value * size : 0);
    w->total.output = carve(memory, &used, (size_t)attn_padded(plan->d_value, t) * row);
    w->stretch.output = carve(memory, &used, (size_t)attn_padded(plan->d_value, t) * row);
    void **const rows[] = {&w->total.maximum, &w->total.sum, &w->stretch.maximum, &w->stretch.sum,
                           &w->shrink,        &w->inverse,   &w->factor,          &w->lse,
                           &w->slopes,        &w->positions};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) *rows[i] = carve(memory, &used, row);
    w->kept = carve(memory, &used, kept_keys(plan, kept) * row);
    w->kept_maximum = carve(memory, &used, kept * row);
    w->kept_any = carve(memory, &used, kept * sizeof *w->kept_any);
    w->visible = carve(memory, &used, block * sizeof *w->visible);
    w->first = carve(memory, &used, block * sizeof *w->first);
    w->last = carve(memory, &used, block * sizeof *w->last);
    w->documents = carve(memory, &used, block * sizeof *w->documents);
    w->lane_slopes = carve(memory, &used, ATTN_KEY_BLOCK * size);
    w->lane_positions = carve(memory, &used, ATTN_KEY_BLOCK * size);
    w->lane_ids = carve(memory, &used, ATTN_KEY_BLOCK * sizeof *w->lane_ids);
    /* Lanes beyond the rows and keys are compared too, to no effect. */
    if (memory && plan->problem->mask.key_documents) {
        memset(w->documents, 0, block * sizeof *w->documents);
        memset(w->lane_ids, 0, ATTN_KEY_BLOCK * sizeof *w->lane_ids);
    }
    return used;
}

size_t attn_plan_bytes(const attn_plan *plan) {
    const double whole = (double)plan->table_bytes + (double)plan->worker_bytes * plan->workers +
                         (double)plan->partial_bytes * (double)plan->tasks;
    if (whole > (double)(SIZE_MAX / 4)) return SIZE_MAX;
    return plan->table_bytes + plan->worker_bytes * (size_t)plan->workers +
           plan->partial_bytes * (plan->split ? (size_t)plan->tasks : 0);
}

/* ----------------------------------------------------------------------------------- tasks */

static int64_t task_count(const attn_cut *cut) {
    return cut->heads * cut->blocks * cut->splits;
}

/* The longest row of weights that one task keeps. */
static int64_t kept_row(const attn_sequence *s, const attn_cut *cut) {
    return cut->splits > 1 ? ATTN_KEY_SPLIT : s->keys;
}

static void count_tasks(attn_plan *plan) {
    for (int64_t i = 0; i < plan->sequences; i++) {
        const attn_sequence s = attn_sequence_at(plan->problem, i);
        const attn_cut cut = attn_plan_cut(plan, &s);
        const int64_t row = kept_row(&s, &cut);
        plan->tasks += task_count(&cut);
        plan->split |= cut.splits > 1;
        if (row > plan->longest_row) plan->longest_row = row;
    }
}

static int worker_count(const attn_plan *plan, int threads) {
    const int64_t *const q = plan->problem->query.shape;
    const double pairs =
        (double)q[0] * (double)q[1] * (double)q[2] * (double)plan->problem->key.shape[2];
    const double worth = 1 + pairs * (plan->d + plan->d_value) / WORK_FOR_A_THREAD;
    int workers = threads;
    if (worth < workers) workers = (int)worth;
    if (plan->tasks < workers) workers = (int)at_least_one(plan->tasks);
    return workers;
}

/* The whole factor joins in WEIGH, at no rounding of its own, unless something is added to scores
 * before: then it must be in the query. So must the sign, since WEIGH looks for the maximum, and a
 * factor that float32 could not hold beside a score of -infinity. */
static void set_factors(attn_plan *plan) {
    const attn_score *const s = &plan->problem->score;
    const double scale = s->scale != 0 ? s->scale : plan->d > 0 ? 1 / sqrt(plan->d) : 0;
    const bool capped = s->softcap > 0;
    const bool modified =
        capped || attn_tensor_present(&s->bias) || attn_tensor_present(&s->alibi_slopes);
    const double factor = capped ? scale / s->softcap : scale * ATTN_LOG2_E;
    const bool in_query = modified || !(fabs(factor) > 1e-30 && fabs(factor) < 1e30);
    plan->query_factor = in_query ? factor : factor < 0 ? -1 : 1;
    plan->weigh_factor = in_query ? 1 : fabs(factor);
}

bool attn_plan_make(attn_plan *plan, const attn_problem *p, const attn_tiles *tiles, int threads) {
    *plan = (attn_plan){.problem = p, .tiles = tiles};
    plan->sequences = attn_sequence_count(p);
    plan->heads = p->query.shape[1];
    plan->group = plan->heads / p->key.shape[1]; /* both are positive: there are rows */
    plan->d = (int)p->query.shape[3];
    plan->d_value = (int)p->value.shape[3];
    set_factors(plan);
    plan->pack_key = p->key.stride[3] != 1;
    plan->pack_value = p->value.stride[3] != 1;
    count_tasks(plan);
    plan->workers = worker_count(plan, threads);
    plan->table_bytes = round_up((size_t)(plan->sequences + 1) * sizeof(int64_t));
    plan->worker_bytes = attn_plan_workspace(plan, NULL, NULL);
    /* A partial result: the block's maximum, sum and output. */
    if (plan->split)
        plan->partial_bytes = (size_t)(attn_padded(plan->d_value, tiles) + 2) *
                              (size_t)tiles->block * (size_t)tiles->element_size;
    return attn_plan_bytes(plan) != SIZE_MAX;
}

void attn_plan_fill_table(const attn_plan *plan, int64_t *table) {
    int64_t tasks = 0;
    for (int64_t i = 0; i < plan->sequences; i++) {
        const attn_sequence s = attn_sequence_at(plan->problem, i);
        const attn_cut cut = attn_plan_cut(plan, &s);
        table[i] = tasks;
        tasks += task_count(&cut);
    }
    table[plan->sequences] = tasks;
}

static int64_t sequence_of(const int64_t *table, int64_t sequences, int64_t task) {
    int64_t low = 0, high = sequences; /* table[low] <= task < table[high] */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (table[middle] <= task) low = middle;
        else high = middle;
    }
    return low;
}

static void set_rows(attn_block *b, const attn_plan *plan) {
    b->rows = b->heads * b->queries;
    b->width = attn_padded(b->rows, plan->tiles);
}

attn_block attn_plan_block(const attn_plan *plan, const int64_t *table, int64_t task,
                           bool *last_split) {
    const int64_t index = sequence_of(table, plan->sequences, task);
    attn_block b = {.sequence = attn_sequence_at(plan->problem, index)};
    const attn_cut cut = attn_plan_cut(plan, &b.sequence);
    const int64_t within = task - table[index];
    const int64_t split = within % cut.splits, place = within / cut.splits;
    const int64_t head = place / cut.blocks;
    const int64_t i =
        cut.blocks - 1 - place % cut.blocks; /* the last sees most keys if causal: first */
    const int64_t weights_end = plan->problem->weights.shape[3];
    b.few = cut.few;
    if (cut.few) {
        const int64_t first = i * cut.heads_in_block, left = plan->group - first;
        b.key_head = head;
        b.first_head = head * plan->group + first;
        b.heads = (int)(left < cut.heads_in_block ? left : cut.heads_in_block);
        b.queries = (int)b.sequence.queries;
    } else {
        const int64_t left = b.sequence.queries - i * plan->tiles->block;
        b.key_head = head / plan->group;
        b.first_head = head;
        b.heads = 1;
        b.first_query = i * plan->tiles->block;
        b.queries = (int)(left < plan->tiles->block ? left : plan->tiles->block);
    }
    set_rows(&b, plan);
    *last_split = split == cut.splits - 1;
    b.keys = (attn_key_range){split * ATTN_KEY_SPLIT, (split + 1) * ATTN_KEY_SPLIT};
    if (cut.splits == 1) b.keys.first = 0;
    if (*last_split) b.keys.last = b.sequence.keys;
    b.columns = (attn_key_range){b.keys.first, *last_split ? weights_end : b.keys.last};
    return b;
}

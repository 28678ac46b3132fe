/* plan.c: see plan.h. */
#include "attention/plan.h"

#include <math.h>

#include "api/check.h"
#include "explain/alignment.h"

/* Below so many multiply-adds (some ten microseconds) waking a second thread costs more than it
 * saves. */
static const double WORK_FOR_A_THREAD = 500e3;

static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static int64_t at_least_one(int64_t x) {
    return x < 1 ? 1 : x;
}

/* ------------------------------------------------------------------------------------- pieces */

/* Location-aware scores have keys of their own for each query: every block is one of few. */
static bool is_few(const attn_plan *plan, const attn_sequence *s) {
    return s->queries <= ATTN_FEW_QUERIES || plan->problem->score.location != NULL;
}

static void cut_into_pieces(const attn_plan *plan, const attn_sequence *s, attn_cut *cut) {
    if (!cut->few) {
        cut->heads_in_unit = 1;
        cut->units = plan->heads;
        cut->queries_in_block = plan->tiles->block;
        cut->blocks = divide_up(s->queries, plan->tiles->block);
        cut->splits = 1;
        return;
    }
    cut->queries_in_block = (int)attn_smaller(s->queries, ATTN_FEW_QUERIES);
    cut->blocks = at_least_one(divide_up(s->queries, at_least_one(cut->queries_in_block)));
    const int64_t fit = plan->tiles->block / at_least_one(cut->queries_in_block); /* one or more */
    cut->heads_in_unit = (int)attn_smaller(plan->group, fit);
    cut->units_of_key_head = divide_up(plan->group, cut->heads_in_unit);
    cut->units = plan->heads / plan->group * cut->units_of_key_head;
    cut->splits = at_least_one(divide_up(s->keys, ATTN_KEY_SPLIT));
}

/* Blocks of queries that one task takes, so that what it sums over queries is its own: whole sums, and,
 * where blocks of the view are summed, whole ones of these. */
static int64_t blocks_in_part(const attn_plan *plan, const attn_cut *cut) {
    const attn_wanted *const want = &plan->wanted;
    const bool sums = want->received || want->maxima || want->window || want->statistics;
    const int64_t step = sums || want->blocks ? cut->summed_blocks : 1;
    int64_t blocks = step;
    if (want->path || want->ordered) return cut->blocks;
    while (want->blocks && blocks < cut->blocks &&
           blocks * cut->queries_in_block % plan->views->block_queries != 0)
        blocks += step;
    return blocks;
}

/* Every head of every sequence gets a task, even without queries: results must be filled. Rows must
 * be whole where their weights are made of all scores, or where one task sums over heads or queries. */
attn_cut attn_plan_cut(const attn_plan *plan, const attn_sequence *s) {
    const attn_wanted *const want = &plan->wanted;
    attn_cut cut = {.few = is_few(plan, s)};
    cut_into_pieces(plan, s, &cut);
    cut.summed_blocks = at_least_one(divide_up(cut.blocks, ATTN_QUERY_PARTS));
    cut.sums = divide_up(cut.blocks, cut.summed_blocks);
    cut.part_blocks = at_least_one(blocks_in_part(plan, &cut));
    cut.part_units = want->heads || want->path ? at_least_one(cut.units) : 1;
    if (plan->weighing == ATTN_WEIGH_ROWS || want->heads || want->path || want->ordered ||
        cut.blocks > 1)
        cut.splits = 1;
    cut.block_parts = cut.part_blocks > 1 ? divide_up(cut.blocks, cut.part_blocks) : cut.blocks;
    cut.unit_parts = cut.part_units > 1 ? divide_up(cut.units, cut.part_units) : cut.units;
    return cut;
}

static int64_t task_count(const attn_cut *cut) {
    return cut->unit_parts * cut->block_parts * cut->splits;
}

int64_t attn_plan_chosen(const attn_plan *plan, int64_t head) {
    const attn_views *const v = plan->views;
    if (!v->heads) return head;
    for (int64_t i = 0; i < v->head_count; i++)
        if (v->heads[i] == head) return i;
    return -1;
}

/* ------------------------------------------------------------------------------- accumulators */

static int64_t take(int64_t *elements, bool wanted, int64_t count) {
    const int64_t at = *elements;
    if (wanted) *elements += count;
    return wanted ? at : -1;
}

attn_accumulators attn_plan_accumulators(const attn_plan *plan, const attn_sequence *s) {
    const attn_wanted *const want = &plan->wanted;
    attn_accumulators a;
    a.elements = 0;
    a.sums = take(&a.elements, want->received, s->keys);
    a.maxima = take(&a.elements, want->maxima, s->keys);
    a.window = take(&a.elements, want->window, s->keys);
    a.statistics = take(&a.elements, want->statistics, 3);
    return a;
}

void attn_plan_fill_table(const attn_plan *plan, attn_start *table) {
    attn_start at = {0, 0};
    for (int64_t i = 0; i < plan->sequences; i++) {
        const attn_sequence s = attn_sequence_at(plan->problem, i);
        const attn_cut cut = attn_plan_cut(plan, &s);
        table[i] = at;
        at.tasks += task_count(&cut);
        at.accumulators += plan->chosen * cut.sums * attn_plan_accumulators(plan, &s).elements;
    }
    table[plan->sequences] = at;
}

/* --------------------------------------------------------------------------- what is wanted */

static bool has(const attn_tensor *view) {
    return view->data != NULL;
}

/* Softmax alone, with nothing done to weights afterwards: the running sums know the entropy. */
static bool plain_softmax(const attn_normalizer *n) {
    return n->kind <= ATTN_SOFTMAX_ONE && n->dropout == 0 && !n->local;
}

static attn_wanted wanted_by(const attn_views *v, const attn_problem *p) {
    attn_wanted want = {0};
    if (!p->views) return want;
    const bool statistics = has(&v->head_statistics);
    const bool entropy = has(&v->entropy) || has(&v->span) || statistics;
    const bool sliced = has(&v->weights) && v->row_count > 0;
    const int64_t heads = attn_view_heads(v, p->query.shape[1]);
    if (heads == 0) return want; /* what nobody writes has been filled */
    want.received = has(&v->received_sum) || has(&v->received_mean) || statistics;
    want.maxima = has(&v->received_max);
    want.window = has(&v->window_sum);
    want.statistics = statistics;
    want.blocks = has(&v->block_sums);
    want.heads = has(&v->head_mean);
    want.path = has(&v->path);
    want.ordered = v->observer != NULL;
    want.serial = v->observer && !v->concurrent;
    want.moment = entropy && plain_softmax(&p->normalizer);
    want.entropy = entropy && !want.moment;
    want.highest = has(&v->max_logit);
    want.distance = has(&v->distance) || statistics;
    want.ranks = statistics || has(&v->argmax) ? 1 : 0;
    if (has(&v->top_weights)) want.ranks = (int)attn_larger(want.ranks, v->top_weights.shape[3]);
    if (has(&v->top_keys)) want.ranks = (int)attn_larger(want.ranks, v->top_keys.shape[3]);
    want.tiles = (has(&v->weights) && !sliced) || want.received || want.maxima || want.blocks ||
                 want.heads || want.path || v->observer || want.entropy || want.distance ||
                 want.ranks > 0;
    want.listed = sliced && v->rows;
    if (sliced && !v->rows) want.last = v->row_count;
    if (want.window) want.last = attn_larger(want.last, v->window_queries);
    return want;
}

/* Whether weights of any block must be kept until they are final. */
static bool keeps(const attn_plan *plan) {
    const attn_wanted *const want = &plan->wanted;
    const attn_relative *const relative = plan->problem->score.relative;
    return has(&plan->problem->weights) || want->tiles || want->listed || want->last > 0 ||
           plan->weighing == ATTN_WEIGH_ROWS || (relative && has(&relative->values));
}

/* ----------------------------------------------------------------------------- the whole plan */

/* The longest row of weights that one worker keeps. */
static int64_t kept_row(const attn_sequence *s, const attn_cut *cut) {
    return cut->splits > 1 ? attn_smaller(s->keys, ATTN_KEY_SPLIT) : s->keys;
}

static void count_tasks(attn_plan *plan) {
    for (int64_t i = 0; i < plan->sequences; i++) {
        const attn_sequence s = attn_sequence_at(plan->problem, i);
        const attn_cut cut = attn_plan_cut(plan, &s);
        plan->tasks += task_count(&cut);
        plan->split |= cut.splits > 1;
        plan->longest_row = attn_larger(plan->longest_row, kept_row(&s, &cut));
        plan->longest_keys = attn_larger(plan->longest_keys, s.keys);
        plan->accumulator_elements +=
            plan->chosen * cut.sums * attn_plan_accumulators(plan, &s).elements;
        if (plan->wanted.path) {
            const size_t bytes = attn_path_bytes(s.queries, s.keys);
            if (bytes > plan->path_bytes) plan->path_bytes = bytes;
        }
        if (cut.few)
            plan->few_rows =
                (int)attn_larger(plan->few_rows, cut.heads_in_unit * cut.queries_in_block);
    }
}

static int worker_count(const attn_plan *plan, int threads) {
    const int64_t *const q = plan->problem->query.shape;
    const double pairs =
        (double)q[0] * (double)q[1] * (double)q[2] * (double)plan->problem->key.shape[2];
    const double worth = 1 + pairs * (plan->d + plan->d_value) / WORK_FOR_A_THREAD;
    int workers = plan->wanted.serial ? 1 : threads;
    if (worth < workers) workers = (int)worth;
    if (plan->tasks < workers) workers = (int)at_least_one(plan->tasks);
    return workers;
}

static double default_scale(const attn_plan *plan) {
    switch (plan->problem->score.kind) {
    case ATTN_SCORE_DOT: return plan->d > 0 ? 1 / sqrt(plan->d) : 0;
    case ATTN_SCORE_GAUSSIAN: return 0.5;
    default: return 1;
    }
}

/* Whether scores must be natural when SCORE is done: something is added to them, or WEIGH is not a
 * softmax's. */
static bool looked_at(const attn_problem *p) {
    const attn_score *const s = &p->score;
    const bool products = s->kind == ATTN_SCORE_DOT || s->kind == ATTN_SCORE_GENERAL ||
                          s->kind == ATTN_SCORE_COSINE || s->kind == ATTN_SCORE_LOCATION;
    return !products || s->softcap > 0 || attn_tensor_present(&s->bias) ||
           attn_tensor_present(&s->alibi_slopes) || attn_tensor_present(&s->scales) ||
           s->relative || s->callback || p->normalizer.gumbel ||
           p->normalizer.kind > ATTN_SOFTMAX_ONE;
}

/* The whole factor joins in WEIGH, at no rounding of its own, unless scores are looked at before: then
 * the scale must be in the query. So must its sign, since WEIGH looks for the maximum, and a factor
 * that float32 could not hold beside a score of -infinity. */
static void set_factors(attn_plan *plan) {
    const attn_problem *const p = plan->problem;
    const double temperature = p->normalizer.temperature > 0 ? p->normalizer.temperature : 1;
    const double base = p->normalizer.kind <= ATTN_SOFTMAX_ONE ? ATTN_LOG2_E : 1;
    plan->scale = p->score.scale != 0 ? p->score.scale : default_scale(plan);
    const double whole = fabs(plan->scale) * base / temperature;
    const bool natural = looked_at(p) || !(whole > 1e-30 && whole < 1e30);
    plan->query_factor = natural ? plan->scale : plan->scale < 0 ? -1 : 1;
    plan->weigh_factor = natural ? base / temperature : whole;
    plan->score_factor = natural ? 1 : fabs(plan->scale);
}

static void set_widths(attn_plan *plan) {
    const attn_problem *const p = plan->problem;
    plan->d_query = (int)p->query.shape[3];
    plan->d_key = (int)p->key.shape[3];
    plan->d_value = (int)p->value.shape[3];
    plan->d = plan->d_query;
    if (p->score.kind == ATTN_SCORE_GENERAL) plan->d = plan->d_key;
    if (p->score.kind == ATTN_SCORE_CONCAT) plan->d = (int)p->score.weight.shape[3];
    plan->d_padded = (attn_padded(plan->d, plan->tiles) + 3) & -4;
}

static attn_weighing weighing_of(attn_normalizer_kind kind) {
    switch (kind) {
    case ATTN_SPARSEMAX:
    case ATTN_ENTMAX:
    case ATTN_HARDMAX: return ATTN_WEIGH_ROWS;
    case ATTN_SIGMOID:
    case ATTN_RELU:
    case ATTN_RELU_SQUARED:
    case ATTN_LINEAR: return ATTN_WEIGH_EACH;
    default: return ATTN_WEIGH_ONLINE;
    }
}

static int64_t table_entries(const attn_relative *r) {
    if (!r) return 0;
    if (r->bias.data) return r->bias.shape[3];
    if (r->keys.data) return r->keys.shape[2];
    return r->queries.data ? r->queries.shape[2] : r->values.shape[2];
}

/* Keys serve as they lie if their features do, and nothing is made of them first. */
static bool must_pack_keys(const attn_problem *p) {
    switch (p->score.kind) {
    case ATTN_SCORE_COSINE:
    case ATTN_SCORE_ADDITIVE:
    case ATTN_SCORE_CONCAT: return true;
    case ATTN_SCORE_LOCATION: return p->score.weight.stride[3] != 1;
    default: return p->key.stride[3] != 1;
    }
}

bool attn_plan_make(attn_plan *plan, const attn_problem *p, const attn_tiles *tiles, int threads) {
    static const attn_views none = {0};
    *plan = (attn_plan){.problem = p, .tiles = tiles, .views = p->views ? p->views : &none};
    plan->sequences = attn_sequence_count(p);
    plan->heads = p->query.shape[1];
    plan->group = plan->heads / p->key.shape[1]; /* both are positive: there are rows */
    plan->chosen = attn_view_heads(plan->views, plan->heads);
    plan->weighing = weighing_of(p->normalizer.kind);
    plan->wanted = wanted_by(plan->views, p);
    plan->keep_all = keeps(plan);
    plan->entries = table_entries(p->score.relative);
    set_widths(plan);
    set_factors(plan);
    plan->pack_key = must_pack_keys(p);
    plan->pack_value = p->value.stride[3] != 1;
    count_tasks(plan);
    if (plan->path_bytes > SIZE_MAX / 8) return false;
    plan->workers = worker_count(plan, threads);
    plan->table_bytes = attn_whole_lines((size_t)(plan->sequences + 1) * sizeof(attn_start));
    plan->worker_bytes = attn_plan_workspace(plan, NULL, NULL);
    if (plan->split) {
        attn_partial partial;
        attn_kept kept;
        plan->partial_bytes = attn_plan_partial(plan, NULL, &partial, &kept);
    }
    return attn_plan_bytes(plan) != SIZE_MAX;
}

/* -------------------------------------------------------------------------- tasks and blocks */

static int64_t sequence_of(const attn_start *table, int64_t sequences, int64_t task) {
    int64_t low = 0, high = sequences; /* table[low].tasks <= task < table[high].tasks */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (table[middle].tasks <= task) low = middle;
        else high = middle;
    }
    return low;
}

attn_task attn_plan_task(const attn_plan *plan, const attn_start *table, int64_t index) {
    const int64_t of = sequence_of(table, plan->sequences, index);
    attn_task task = {.sequence = attn_sequence_at(plan->problem, of)};
    task.cut = attn_plan_cut(plan, &task.sequence);
    const attn_cut *const cut = &task.cut;
    const int64_t within = index - table[of].tasks, place = within / cut->splits;
    const int64_t part = place % cut->block_parts;
    task.split = within % cut->splits;
    task.first_unit = place / cut->block_parts * cut->part_units;
    task.units = attn_smaller(cut->part_units, cut->units - task.first_unit);
    /* The last blocks see most keys if causal, so they are taken up first; unless order counts. */
    task.first_block =
        (plan->wanted.serial ? part : cut->block_parts - 1 - part) * cut->part_blocks;
    task.blocks = attn_smaller(cut->part_blocks, cut->blocks - task.first_block);
    return task;
}

static void set_heads(attn_block *b, const attn_plan *plan, const attn_cut *cut, int64_t unit) {
    if (!cut->few) {
        b->first_head = unit;
        b->key_head = unit / plan->group;
        b->heads = 1;
        return;
    }
    b->key_head = unit / cut->units_of_key_head;
    const int64_t first = unit % cut->units_of_key_head * cut->heads_in_unit;
    b->first_head = b->key_head * plan->group + first;
    b->heads = (int)attn_smaller(cut->heads_in_unit, plan->group - first);
}

/* Whether somebody reads the block's final weights, or makes them of all its scores. */
static bool must_keep(const attn_plan *plan, const attn_block *b) {
    const attn_wanted *const want = &plan->wanted;
    const attn_views *const v = plan->views;
    const attn_relative *const relative = plan->problem->score.relative;
    if (!plan->keep_all) return false;
    if (has(&plan->problem->weights) || plan->weighing == ATTN_WEIGH_ROWS ||
        (relative && has(&relative->values)))
        return true;
    bool chosen = false, read = want->tiles;
    for (int g = 0; g < b->heads; g++) chosen |= attn_plan_chosen(plan, b->first_head + g) >= 0;
    read |= b->first_query + b->queries > b->sequence.queries - want->last;
    for (int64_t i = 0; want->listed && i < v->row_count; i++)
        read |= v->rows[i] >= b->first_query && v->rows[i] < b->first_query + b->queries;
    return chosen && read;
}

attn_block attn_plan_block(const attn_plan *plan, const attn_task *task, int64_t unit,
                           int64_t block) {
    const attn_cut *const cut = &task->cut;
    attn_block b = {.sequence = task->sequence, .few = cut->few};
    set_heads(&b, plan, cut, unit);
    b.first_query = block * cut->queries_in_block;
    b.queries = (int)attn_smaller(cut->queries_in_block, b.sequence.queries - b.first_query);
    b.rows = b.heads * b.queries;
    b.width = attn_padded(b.rows, plan->tiles);
    const bool last = task->split == cut->splits - 1;
    b.keys = (attn_key_range){task->split * ATTN_KEY_SPLIT, (task->split + 1) * ATTN_KEY_SPLIT};
    if (last) b.keys.last = b.sequence.keys;
    b.columns = (attn_key_range){b.keys.first, last ? INT64_MAX : b.keys.last};
    b.keep = must_keep(plan, &b);
    return b;
}

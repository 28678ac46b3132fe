/* scratch.c: how the arrays of a worker, and of a partial result, lie in the scratch of a call. */
#include <string.h>

#include "api/check.h"
#include "attention/plan.h"

/* Hands out the next `bytes` of memory, or only counts them. */
static void *carve(char *memory, size_t *used, size_t bytes) {
    void *const at = memory ? memory + *used : NULL;
    *used += attn_whole_lines(bytes);
    return at;
}

/* Room for `keys` keys of `rows` rows, in tiles each rounded up to whole vectors; a row may begin and
 * end inside a tile. */
static void carve_kept(const attn_plan *plan, char *memory, size_t *used, int64_t keys, size_t rows,
                       attn_kept *kept) {
    kept->highest =
        carve(memory, used, (size_t)plan->tiles->block * (size_t)plan->tiles->element_size);
    if (!plan->keep_all) return;
    const size_t tiles = (size_t)(keys / ATTN_KEY_BLOCK + 2);
    const size_t size = (size_t)plan->tiles->element_size;
    const size_t padded = (size_t)keys + tiles * (size_t)plan->tiles->lanes;
    kept->weights = carve(memory, used, padded * rows * size);
    kept->maximum = carve(memory, used, tiles * (size_t)plan->tiles->block * size);
    kept->any_visible = carve(memory, used, tiles * sizeof *kept->any_visible);
}

static void carve_partial(const attn_plan *plan, char *memory, size_t *used, size_t rows,
                          attn_partial *p) {
    const size_t row = rows * (size_t)plan->tiles->element_size;
    p->maximum = carve(memory, used, row);
    p->sum = carve(memory, used, row);
    p->moment = plan->wanted.moment ? carve(memory, used, row) : NULL;
    p->output = carve(memory, used, (size_t)attn_padded(plan->d_value, plan->tiles) * row);
}

size_t attn_plan_partial(const attn_plan *plan, char *memory, attn_partial *partial,
                         attn_kept *kept) {
    size_t used = 0;
    carve_partial(plan, memory, &used, (size_t)attn_padded(plan->few_rows, plan->tiles), partial);
    carve_kept(plan, memory, &used, ATTN_KEY_SPLIT, (size_t)plan->few_rows, kept);
    return used;
}

static void carve_score(const attn_plan *plan, char *memory, size_t *used, attn_workspace *w) {
    const attn_score *const score = &plan->problem->score;
    const size_t size = (size_t)plan->tiles->element_size;
    const size_t row = (size_t)plan->tiles->block * size;
    const size_t d = (size_t)plan->d_padded,
                 d_query = (size_t)attn_padded(plan->d_query, plan->tiles);
    const size_t d_key = (size_t)attn_padded(plan->d_key, plan->tiles);
    const bool projected = score->kind == ATTN_SCORE_GENERAL || score->kind == ATTN_SCORE_CONCAT;
    const bool additive = score->kind == ATTN_SCORE_ADDITIVE || score->kind == ATTN_SCORE_CONCAT;
    w->query = carve(memory, used, d * row);
    w->raw_query = carve(memory, used, projected ? d_query * row : 0);
    w->staging = carve(memory, used,
                       score->kind == ATTN_SCORE_COSINE    ? d_query * row
                       : score->kind == ATTN_SCORE_GENERAL ? ATTN_PROJECTED_AT_ONCE * d * size
                                                           : 0);
    w->features = carve(memory, used, (d + d_query + d_key) * size);
    w->key = carve(memory, used, plan->pack_key ? ATTN_KEY_BLOCK * d * size : 0);
    w->raw_key =
        carve(memory, used, score->kind == ATTN_SCORE_CONCAT ? ATTN_KEY_BLOCK * d_key * size : 0);
    w->key_projection =
        carve(memory, used, score->kind == ATTN_SCORE_CONCAT ? d_key * d * size : 0);
    w->zeros = carve(memory, used, ATTN_KEY_BLOCK * size);
    if (memory) plan->tiles->fill(w->zeros, 1, ATTN_KEY_BLOCK, 0);
    if (!additive) return;
    attn_additive *const a = &w->additive;
    w->key_exponentials = carve(memory, used, ATTN_KEY_BLOCK * d * size);
    w->key_lowest = carve(memory, used, d * size);
    w->key_highest = carve(memory, used, d * size);
    void **const rows[] = {&a->weight, &a->inverse_weight, &a->gain,
                           &a->lowest, &a->highest,        &a->exponentials};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) *rows[i] = carve(memory, used, d * row);
    a->range = carve(memory, used, d * (size_t)plan->tiles->block * sizeof(double));
    a->first = carve(memory, used, (size_t)plan->tiles->block * sizeof(double));
    a->factor = carve(memory, used, (size_t)plan->tiles->block * sizeof(double));
}

static void carve_location(const attn_plan *plan, char *memory, size_t *used, attn_workspace *w) {
    const attn_location *const l = plan->problem->score.location;
    if (!l) return;
    const size_t size = (size_t)plan->tiles->element_size;
    const size_t channels = (size_t)attn_padded((int)l->filters.shape[2], plan->tiles);
    const size_t window = (size_t)attn_padded((int)l->filters.shape[3], plan->tiles);
    w->previous = carve(memory, used, (ATTN_KEY_BLOCK + window) * size);
    w->location = carve(memory, used, ATTN_KEY_BLOCK * channels * size);
    w->located_key = carve(memory, used, ATTN_KEY_BLOCK * (size_t)plan->d_padded * size);
    w->location_table =
        carve(memory, used, (channels * window + (size_t)plan->d_padded * channels) * size);
}

/* Entries that the pairs of a tile can have: what their offsets span, unless buckets go anywhere. */
static size_t entries_of_tile(const attn_plan *plan) {
    const int64_t span = ATTN_KEY_BLOCK + plan->tiles->block;
    const bool clipped = plan->problem->score.relative->buckets == ATTN_BUCKETS_CLIPPED;
    return (size_t)attn_padded((int)(clipped ? attn_smaller(plan->entries, span) : plan->entries),
                               plan->tiles);
}

static void carve_relative(const attn_plan *plan, char *memory, size_t *used, attn_workspace *w) {
    const attn_relative *const r = plan->problem->score.relative;
    if (!r) return;
    const size_t size = (size_t)plan->tiles->element_size, block = (size_t)plan->tiles->block;
    const size_t span = entries_of_tile(plan),
                 d = (size_t)attn_larger(plan->d_padded, plan->d_value);
    const size_t entries = (size_t)attn_padded((int)plan->entries, plan->tiles);
    const bool terms = r->keys.data || r->queries.data;
    const size_t summed = r->values.data ? entries * block : 0;
    w->position_query =
        carve(memory, used, r->keys.data ? (size_t)plan->d_padded * block * size : 0);
    w->terms =
        carve(memory, used,
              (size_t)attn_larger(terms ? (int64_t)(span * block) : 0, (int64_t)summed) * size);
    w->table = carve(memory, used, (r->values.data ? entries : span) * d * size);
    w->entries = carve(memory, used, (ATTN_KEY_BLOCK + block) * sizeof *w->entries);
}

static void carve_rows(const attn_plan *plan, char *memory, size_t *used, attn_workspace *w) {
    const size_t block = (size_t)plan->tiles->block,
                 row = block * (size_t)plan->tiles->element_size;
    attn_rows_of_threshold *const t = &w->threshold;
    void **const rows[] = {&w->shrink, &w->inverse,   &w->factor,  &w->lse,
                           &w->slopes, &w->positions, &w->sink,    &w->highest,
                           &t->base,   &t->threshold, &t->step,    &t->value,
                           &t->slope,  &w->distance,  &w->entropy, &w->share};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) *rows[i] = carve(memory, used, row);
    w->visible = carve(memory, used, block * sizeof *w->visible);
    w->first = carve(memory, used, block * sizeof *w->first);
    w->last = carve(memory, used, block * sizeof *w->last);
    w->documents = carve(memory, used, block * sizeof *w->documents);
}

static void carve_views(const attn_plan *plan, char *memory, size_t *used, attn_workspace *w) {
    const size_t size = (size_t)plan->tiles->element_size, block = (size_t)plan->tiles->block;
    const size_t ranked = (size_t)plan->wanted.ranks * block;
    w->final = carve(memory, used, plan->keep_all ? ATTN_KEY_BLOCK * block * size : 0);
    w->sums = carve(memory, used, ATTN_KEY_BLOCK * size);
    w->top_weights = carve(memory, used, ranked * size);
    w->top_keys = carve(memory, used, ranked * size);
    if (!plan->wanted.path) return;
    w->mean = carve(memory, used, block * (size_t)plan->longest_keys * sizeof *w->mean);
    w->path = carve(memory, used, plan->path_bytes);
}

size_t attn_plan_workspace(const attn_plan *plan, char *memory, attn_workspace *w) {
    const attn_tiles *const t = plan->tiles;
    const size_t block = (size_t)t->block, size = (size_t)t->element_size;
    const size_t tile = ATTN_KEY_BLOCK * block * size;
    size_t used = 0;
    attn_workspace unused;
    if (!w) w = &unused;
    carve_score(plan, memory, &used, w);
    carve_location(plan, memory, &used, w);
    carve_relative(plan, memory, &used, w);
    w->scores = carve(memory, &used, tile);
    w->extra = carve(memory, &used, tile);
    w->hidden = carve(memory, &used, tile);
    w->allowed = carve(memory, &used, plan->problem->mask.allowed.data ? tile : 0);
    w->value =
        carve(memory, &used, plan->pack_value ? ATTN_KEY_BLOCK * (size_t)plan->d_value * size : 0);
    carve_partial(plan, memory, &used, block, &w->total);
    carve_partial(plan, memory, &used, block, &w->stretch);
    carve_rows(plan, memory, &used, w);
    carve_kept(plan, memory, &used, plan->longest_row, block, &w->kept);
    carve_views(plan, memory, &used, w);
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

static size_t whole_bytes(const attn_plan *plan) {
    return plan->table_bytes + plan->worker_bytes * (size_t)plan->workers +
           plan->partial_bytes * (plan->split ? (size_t)plan->tasks : 0) +
           (size_t)plan->accumulator_elements * (size_t)plan->tiles->element_size;
}

size_t attn_plan_bytes(const attn_plan *plan) {
    const double whole = (double)plan->table_bytes + (double)plan->worker_bytes * plan->workers +
                         (double)plan->partial_bytes * (double)plan->tasks +
                         (double)plan->accumulator_elements * plan->tiles->element_size;
    return whole > (double)(SIZE_MAX / 4) ? SIZE_MAX : whole_bytes(plan);
}

/* gradient_scratch.c: how the arrays of a worker of the backward lie in its scratch. */
#include "gradient/gradient.h"

typedef struct {
    attn_carver of;
    size_t size; /* of an element */
} carver;

static void *carve(carver *c, bool wanted, int64_t elements) {
    return attn_carve(&c->of, wanted, (double)elements, c->size);
}

static void carve_tiles(const attn_gradient_call *call, carver *c, attn_gradient_space *g) {
    const attn_score *const s = &call->problem.score;
    const attn_weighing weighing = call->plan.weighing;
    const int64_t tile = ATTN_KEY_BLOCK * (int64_t)call->plan.tiles->block;
    const bool cap = s->softcap > 0;
    g->gradient = carve(c, true, tile);
    g->weights = carve(c, call->modified, tile);
    g->slopes = carve(c, weighing != ATTN_WEIGH_ONLINE, tile);
    g->raw = carve(c,
                   call->number[ATTN_OF_SCALE] || call->number[ATTN_OF_SCALES] ||
                       call->number[ATTN_OF_SOFTCAP],
                   tile);
    g->capped = carve(c, cap, tile);
    g->before = carve(c, s->callback != NULL, tile);
    g->final = carve(c, call->number[ATTN_OF_TEMPERATURE] != NULL, tile);
    g->spare = carve(c, true, tile);
    g->natural = carve(c, call->line[ATTN_OF_BIAS] != NULL, tile);
}

static void carve_blocks(const attn_gradient_call *call, carver *c, attn_gradient_space *g) {
    const attn_relative *const r = call->problem.score.relative;
    const attn_score_kind kind = call->problem.score.kind;
    const int64_t block = call->plan.tiles->block, d = call->plan.d_padded;
    const int64_t d_value = attn_value_stride(call);
    const int64_t d_query = attn_padded(call->plan.d_query, call->plan.tiles);
    const int64_t widest = attn_larger(d, d_query);
    const bool tanh = kind == ATTN_SCORE_ADDITIVE || kind == ATTN_SCORE_CONCAT;
    g->flow = carve(c, true, d_value * block);
    g->flow_rows = carve(c, true, d_value * block);
    g->query_rows = carve(c, true, d * block);
    g->raw_query_rows = carve(c, true, widest * block);
    g->position_rows = carve(c, r != NULL, d * block);
    g->query_sums = carve(c, true, d * block);
    g->position_sums = carve(c, r != NULL, d * block);
    g->rows_a = carve(c, true, widest * block);
    g->rows_b = carve(c, true, widest * block);
    g->projection = carve(c, kind == ATTN_SCORE_GENERAL || kind == ATTN_SCORE_CONCAT,
                          widest * attn_larger(d_query, call->plan.d_key));
    g->key_rows = carve(
        c, true, attn_larger(d, attn_padded(call->plan.d_key, call->plan.tiles)) * ATTN_KEY_BLOCK);
    g->unwanted = carve(c, tanh, d);
    g->exponentials[0] = carve(c, tanh, d * block);
    g->exponentials[1] = carve(c, tanh, d * ATTN_KEY_BLOCK);
    g->key_sums = carve(c, true, d * ATTN_CHUNK_KEYS);
    g->value_sums = carve(c, true, d_value * ATTN_CHUNK_KEYS);
}

static void carve_location(const attn_gradient_call *call, carver *c, attn_gradient_space *g) {
    const attn_location *const l = call->problem.score.location;
    if (!l) return;
    const attn_tiles *const t = call->plan.tiles;
    const int64_t width = attn_padded((int)l->filters.shape[3], t);
    g->weighted = carve(c, true, call->plan.d_padded * ATTN_KEY_BLOCK);
    g->located_sums = carve(c, true, call->plan.d_padded * ATTN_KEY_BLOCK);
    g->location_flow =
        carve(c, true, (int64_t)attn_padded((int)l->filters.shape[2], t) * ATTN_KEY_BLOCK);
    g->previous_flow = carve(c, true, width * ATTN_KEY_BLOCK);
    g->window = carve(c, true, (ATTN_CHUNK_KEYS + width) * ATTN_FEW_QUERIES);
}

static void carve_relative(const attn_gradient_call *call, carver *c, attn_gradient_space *g) {
    const int64_t entries = attn_padded((int)call->plan.entries, call->plan.tiles);
    if (!call->problem.score.relative) return;
    g->entries = carve(c, true, entries * call->plan.tiles->block);
    g->key_entries = carve(c, true, entries * ATTN_KEY_BLOCK);
}

/* A line has an element for each key of a chunk, and as many more as filters reach beyond it. */
int64_t attn_gradient_line_elements(const attn_gradient_call *call, attn_line line) {
    const attn_location *const l = call->problem.score.location;
    if (line == ATTN_OF_CENTERS) return 1;
    return ATTN_CHUNK_KEYS + (line == ATTN_OF_PREVIOUS ? l->filters.shape[3] : 0);
}

size_t attn_gradient_workspace(const attn_gradient_call *call, char *memory,
                               attn_gradient_space *space) {
    carver c = {.of.memory = memory, .size = (size_t)call->plan.tiles->element_size};
    const int64_t block = call->plan.tiles->block;
    attn_gradient_space unused, *const g = space ? space : &unused;
    *g = (attn_gradient_space){0};
    carve_tiles(call, &c, g);
    carve_blocks(call, &c, g);
    carve_location(call, &c, g);
    carve_relative(call, &c, g);
    void **const rows[] = {&g->base, &g->mean, &g->inverse, &g->entropy, &g->any};
    g->ones = carve(&c, true, ATTN_CHUNK_KEYS);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) *rows[i] = carve(&c, true, block);
    for (int i = 0; i < ATTN_NUMBERS; i++)
        g->products[i] = carve(&c, call->number[i] != NULL, block);
    for (int i = 0; i < ATTN_MATRICES; i++) {
        const attn_tensor *const t = call->matrix[i];
        const int64_t row = t ? attn_matrix_stride(call, (attn_matrix)i) : 0;
        g->matrix[i] = carve(&c, t != NULL, t ? t->shape[2] * row : 0);
    }
    for (int i = 0; i < ATTN_LINES; i++)
        g->line[i] = carve(&c, call->line[i] != NULL,
                           call->line[i] ? attn_gradient_line_elements(call, (attn_line)i) : 0);
    if (memory) call->plan.tiles->fill(g->ones, 1, ATTN_CHUNK_KEYS, 1);
    return c.of.used;
}

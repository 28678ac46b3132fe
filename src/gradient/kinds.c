/* kinds.c: from the gradients of bare scores to queries, keys and parameters, kind by kind; and from sums
 * in scratch to the caller's gradients. Numbers in brackets are those of docs/MATHS.md. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "api/check.h"
#include "attention/score.h"
#include "gradient/gradient.h"

static bool takes_tanh(const attn_gradient_worker *g) {
    const attn_score_kind kind = g->w.problem->score.kind;
    return kind == ATTN_SCORE_ADDITIVE || kind == ATTN_SCORE_CONCAT;
}

/* Sums of queries' gradients lie in rows, or as [feature][row]. */
static bool sums_in_rows(const attn_gradient_worker *g, const attn_block *b) {
    return b->few || takes_tanh(g) || g->w.problem->score.kind == ATTN_SCORE_GAUSSIAN;
}

/* What is left to be multiplied at the end: bare scores know no scale. No more than the type holds, for
 * of a head that sees nothing it is multiplied by 0, however great its own scale. */
static double last_factor(const attn_gradient_worker *g) {
    const double most = g->w.tiles->element_size == sizeof(float) ? (double)FLT_MAX : DBL_MAX;
    const double all = g->scale * g->call->pending;
    const double factor = g->w.problem->score.kind == ATTN_SCORE_GAUSSIAN ? 2 * all : all;
    return fmax(-most, fmin(factor, most));
}

/* ------------------------------------------------------------------------------ block begins */

/* Prepared queries in rows: where they lie in a tile of few, or out of the lanes. */
static const void *rows_of(attn_gradient_worker *g, const attn_block *b, const void *queries,
                           void *rows) {
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d_padded;
    if (b->few) return queries;
    t->store_transposed(rows, d, 1, queries, b->width, b->rows, d, g->g.ones);
    return rows;
}

static void load_query_rows(attn_gradient_worker *g, const attn_block *b) {
    const attn_tensor *const q = &g->w.problem->query;
    const attn_score *const s = &g->w.problem->score;
    const bool as_they_are = s->kind == ATTN_SCORE_DOT || s->kind == ATTN_SCORE_LOCATION;
    const int d = g->call->plan.d_padded;
    g->query_stride = d;
    if (as_they_are && !s->relative && q->stride[3] == 1 && g->call->plan.d == d) {
        g->query_rows = attn_query_rows(&g->w, q, b);
        g->query_stride = q->stride[2];
    } else {
        g->query_rows = rows_of(g, b, g->w.space.query, g->g.query_rows);
    }
    g->queries_finite = g->w.tiles->all_finite(g->query_rows, g->query_stride, b->rows, d);
}

/* Queries before a projection, whose gradient they are half of. */
static void load_raw_queries(attn_gradient_worker *g, const attn_block *b) {
    const attn_tiles *const t = g->w.tiles;
    const attn_tensor *const q = &g->w.problem->query;
    const int d = g->call->plan.d_query, padded = attn_padded(d, t);
    t->fill(g->g.raw_query_rows, 1, (int64_t)b->rows * padded, 0);
    t->load_rows(g->g.raw_query_rows, padded, attn_query_rows(&g->w, q, b), q->stride[2],
                 q->stride[3], b->rows, d, 1.0);
}

void attn_gradient_begin_kind(attn_gradient_worker *g, const attn_block *b) {
    const attn_tiles *const t = g->w.tiles;
    const attn_location *const l = g->w.problem->score.location;
    const int64_t d = g->call->plan.d_padded, elements = d * (b->few ? b->rows : b->width);
    if (!g->call->scores || g->w.problem->score.kind == ATTN_SCORE_CUSTOM) return;
    load_query_rows(g, b);
    t->fill(g->g.query_sums, 1, elements, 0);
    if (g->w.problem->score.relative) t->fill(g->g.position_sums, 1, elements, 0);
    if (g->call->matrix[ATTN_OF_RELATIVE_KEYS]) {
        const void *const rows = rows_of(g, b, g->w.space.position_query, g->g.position_rows);
        if (rows != g->g.position_rows)
            t->load_rows(g->g.position_rows, d, rows, d, 1, b->rows, (int)d, 1.0);
    }
    if (g->call->matrix[ATTN_OF_WEIGHT] || g->call->matrix[ATTN_OF_PROJECTION])
        load_raw_queries(g, b);
    if (takes_tanh(g))
        t->exp_twice(g->g.exponentials[0], g->query_rows, d, b->rows, (int)d, NULL, NULL);
    if (g->call->line[ATTN_OF_PREVIOUS])
        t->fill(g->g.window, 1,
                b->rows * (int64_t)(ATTN_CHUNK_KEYS + attn_padded((int)l->filters.shape[3], t)), 0);
}

/* ------------------------------------------------------------------------------------ a tile */

static void to_queries(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                       attn_visibility seen, const void *key, int64_t stride) {
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d, row = g->call->plan.d_padded;
    if (attn_gradient_hides(g, seen) && !t->all_finite(key, stride, tile->count, d)) {
        t->aggregate_visible(g->g.query_sums, b->few ? 1 : b->width, b->few ? row : 1, g->g.ones,
                             g->g.gradient, g->w.space.hidden, tile->key_stride, tile->row_stride,
                             key, stride, tile->count, d, b->rows);
    } else if (b->few) {
        t->aggregate_few(g->g.query_sums, row, g->g.ones, g->g.gradient, key, stride, tile->count,
                         d, b->rows, tile->width);
    } else {
        t->aggregate(g->g.query_sums, g->g.ones, g->g.gradient, key, stride, tile->count, d,
                     b->width);
    }
}

static void to_keys(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                    attn_visibility seen) {
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d_padded;
    void *const sums = attn_offset(g->g.key_sums, (tile->k - g->chunk_keys.first) * d, t);
    if (attn_gradient_hides(g, seen) && !g->queries_finite) {
        t->distribute_visible(sums, d, g->g.gradient, g->w.space.hidden, tile->key_stride,
                              tile->row_stride, g->query_rows, g->query_stride, tile->count, d,
                              b->rows);
    } else {
        t->distribute(sums, d, g->g.gradient, tile->key_stride, tile->row_stride, g->query_rows,
                      g->query_stride, tile->count, d, b->rows);
    }
}

/* (34), (35), (47); for GENERAL and COSINE, of projected and unit vectors. */
static void products(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                     attn_visibility seen) {
    const attn_input_gradients *const to = g->call->to;
    int64_t stride;
    const void *const key = attn_score_keys(&g->w, b, tile, 0, &stride);
    if (attn_is_given(&to->query) || g->call->matrix[ATTN_OF_WEIGHT] ||
        g->call->matrix[ATTN_OF_CONTENT_BIAS])
        to_queries(g, b, tile, seen, key, stride);
    if (attn_is_given(&to->key) ||
        (attn_is_given(&to->weight) && g->w.problem->score.kind == ATTN_SCORE_LOCATION))
        to_keys(g, b, tile, seen);
    attn_gradient_relative(g, b, tile, seen);
}

void attn_gradient_kind(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                        attn_visibility seen) {
    switch (g->w.problem->score.kind) {
    case ATTN_SCORE_CUSTOM: return;
    case ATTN_SCORE_ADDITIVE:
    case ATTN_SCORE_CONCAT: attn_gradient_additive(g, b, tile, seen); return;
    case ATTN_SCORE_GAUSSIAN: attn_gradient_gaussian(g, b, tile, seen); return;
    case ATTN_SCORE_DOT:
    case ATTN_SCORE_GENERAL:
    case ATTN_SCORE_COSINE:
    case ATTN_SCORE_LOCATION: products(g, b, tile, seen); return;
    }
}

/* -------------------------------------------------------------------------------- block ends */

bool attn_gradient_is_zero(const attn_tiles *t, const void *row, int columns) {
    for (int c = 0; c < columns; c++)
        if (attn_read(t, (const char *)row + (int64_t)c * t->element_size) != 0) return false;
    return true;
}

void attn_gradient_quieten(const attn_gradient_worker *g, void *rows, int64_t stride,
                           const void *sums, int64_t sums_stride, int columns, int count) {
    const attn_tiles *const t = g->w.tiles;
    if (t->all_finite(rows, stride, count, (int)stride)) return;
    for (int r = 0; r < count; r++) {
        const void *const sum = (const char *)sums + r * sums_stride * t->element_size;
        if (attn_gradient_is_zero(t, sum, columns))
            t->fill(attn_offset(rows, r * stride, t), 1, stride, 0);
    }
}

/* Sums over the block's keys in rows, times the last factor. */
static void finish_rows(attn_gradient_worker *g, const attn_block *b, void *sums, void *rows) {
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d_padded;
    t->fill(g->g.any, 1, t->block, takes_tanh(g) ? 1 : last_factor(g));
    if (sums_in_rows(g, b)) t->store_rows(rows, d, 1, sums, d, b->rows, d, g->g.any);
    else t->store_transposed(rows, d, 1, sums, b->width, b->rows, d, g->g.any);
    if (takes_tanh(g)) attn_gradient_weigh_features(g, rows, d, b->rows);
}

/* Adds up rows into a matrix of one row. */
static void sum_rows(attn_gradient_worker *g, attn_matrix m, const void *rows, int count) {
    if (!g->call->matrix[m]) return;
    g->w.tiles->add_rows(g->g.matrix[m], 0, 1, rows, g->call->plan.d_padded, count,
                         (int)g->call->matrix[m]->shape[3]);
}

static void finish_relative(attn_gradient_worker *g, const attn_block *b) {
    const attn_relative *const r = g->w.problem->score.relative;
    if (!r || !attn_tensor_present(&r->keys)) return;
    finish_rows(g, b, g->g.position_sums, g->g.rows_b);
    sum_rows(g, ATTN_OF_POSITION_BIAS, g->g.rows_b, b->rows);
    g->w.tiles->accumulate(g->g.rows_a, g->g.rows_b, (int64_t)b->rows * g->call->plan.d_padded);
}

/* (38): d_query = W d, dW = query d^T, with d = sum of ds key. */
static void finish_general(attn_gradient_worker *g, const attn_block *b) {
    const attn_tensor *const matrix = &g->w.problem->score.weight;
    const attn_tiles *const t = g->w.tiles;
    const attn_plan *const plan = &g->call->plan;
    const int d_query = plan->d_query, padded = attn_padded(d_query, t), d = plan->d_padded;
    if (g->call->matrix[ATTN_OF_WEIGHT])
        attn_gradient_quieten(g, g->g.raw_query_rows, padded, g->g.rows_a, d, d, b->rows);
    if (g->call->matrix[ATTN_OF_WEIGHT])
        t->distribute(g->g.matrix[ATTN_OF_WEIGHT], attn_matrix_stride(g->call, ATTN_OF_WEIGHT),
                      g->g.raw_query_rows, 1, padded, g->g.rows_a, d, d_query,
                      (int)attn_matrix_stride(g->call, ATTN_OF_WEIGHT), b->rows);
    t->load_rows(g->g.projection, plan->d_key,
                 attn_broadcast_at(matrix, t->element_size, 0, b->first_head, 0, 0),
                 matrix->stride[2], matrix->stride[3], d_query, plan->d_key, 1.0);
    t->score_few(g->g.rows_b, g->g.rows_a, d, g->g.projection, plan->d_key, d_query, plan->d_key,
                 b->rows, padded);
    attn_gradient_quieten(g, g->g.rows_b, padded, g->g.rows_a, d, d, b->rows);
}

/* (42), one half of CONCAT's projection: out = P^T d, dP = d x^T, for rows x from column `first` on. */
static void through_projection(attn_gradient_worker *g, const attn_block *b, void *out,
                               const void *rows, void *x, int first, int columns, int count) {
    const attn_tensor *const p = &g->w.problem->score.projection;
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d, padded = g->call->plan.d_padded, wide = attn_padded(columns, t);
    attn_gradient_quieten(g, x, wide, rows, padded, d, count);
    if (g->call->matrix[ATTN_OF_PROJECTION])
        t->distribute(attn_offset(g->g.matrix[ATTN_OF_PROJECTION],
                                  first == 0 ? 0 : attn_second_half(g->call), t),
                      attn_matrix_stride(g->call, ATTN_OF_PROJECTION), rows, 1, padded, x, wide, d,
                      wide, count);
    t->load_rows(g->g.projection, columns,
                 attn_broadcast_at(p, t->element_size, 0, b->first_head, 0, first), p->stride[2],
                 p->stride[3], d, columns, 1.0);
    t->fill(out, 1, (int64_t)count * wide, 0);
    t->aggregate_few(out, wide, g->w.space.zeros, rows, g->g.projection, columns, d, columns, count,
                     padded);
    attn_gradient_quieten(g, out, wide, rows, padded, d, count);
}

/* The block's part of the queries' gradients, in rows; returns where they lie. */
static const void *finish_queries(attn_gradient_worker *g, const attn_block *b, int64_t *stride) {
    const attn_tensor *const q = &g->w.problem->query;
    const attn_tiles *const t = g->w.tiles;
    const int padded = attn_padded(g->call->plan.d_query, t);
    finish_rows(g, b, g->g.query_sums, g->g.rows_a);
    *stride = g->call->plan.d_padded;
    sum_rows(g, ATTN_OF_CONTENT_BIAS, g->g.rows_a, b->rows);
    sum_rows(g, ATTN_OF_OFFSET, g->g.rows_a, b->rows);
    finish_relative(g, b);
    switch (g->w.problem->score.kind) {
    case ATTN_SCORE_GENERAL: finish_general(g, b); break;
    case ATTN_SCORE_CONCAT:
        if (!g->call->matrix[ATTN_OF_PROJECTION]) load_raw_queries(g, b);
        through_projection(g, b, g->g.rows_b, g->g.rows_a, g->g.raw_query_rows, 0,
                           g->call->plan.d_query, b->rows);
        break;
    case ATTN_SCORE_COSINE:
        t->normalize_gradient(g->g.rows_a, *stride, attn_query_rows(&g->w, q, b), q->stride[2],
                              q->stride[3], g->w.space.features, b->rows, g->call->plan.d_query);
        return g->g.rows_a;
    default: return g->g.rows_a;
    }
    *stride = padded;
    return g->g.rows_b;
}

/* In the order of chunks: the first stores, the others add. */
static void add_to_queries(attn_gradient_worker *g, const attn_block *b, const void *rows,
                           int64_t stride) {
    const attn_tensor *const t = &g->call->to->query;
    const attn_tiles *const tiles = g->w.tiles;
    if (!attn_is_given(t)) return;
    const int step = attn_head_block_queries(&g->call->plan, &b->sequence);
    const int64_t blocks = g->call->table[g->call->plan.sequences].blocks;
    const int64_t first = g->call->table[b->sequence.index].blocks + b->first_query / step;
    attn_turn *const turn = &g->call->query_turns[b->first_head * blocks + first];
    const int64_t number = g->chunk - g->whole.keys.first / ATTN_CHUNK_KEYS;
    void *const at = attn_query_rows(&g->w, t, b);
    attn_turn_await(turn, number);
    if (number == 0)
        tiles->store_rows(at, t->stride[2], t->stride[3], rows, stride, b->rows, (int)t->shape[3],
                          g->g.ones);
    else tiles->add_rows(at, t->stride[2], t->stride[3], rows, stride, b->rows, (int)t->shape[3]);
    attn_turn_pass(turn, number);
}

/* What filters reach beyond the keys is nobody's. */
static void add_to_previous(attn_gradient_worker *g, const attn_block *b) {
    const attn_location *const l = g->w.problem->score.location;
    const attn_tiles *const t = g->w.tiles;
    if (!g->call->line[ATTN_OF_PREVIOUS]) return;
    const int width = (int)l->filters.shape[3];
    const int64_t row = ATTN_CHUNK_KEYS + attn_padded(width, t);
    const int64_t origin = g->chunk_keys.first - width / 2;
    const int64_t first = attn_larger(origin, 0);
    const int64_t last = attn_smaller(g->chunk_keys.last + width / 2, b->sequence.keys);
    attn_gradient_add_line(g, b, ATTN_OF_PREVIOUS, first,
                           attn_offset(g->g.window, first - origin, t), row, (int)(last - first));
}

void attn_gradient_end_block(attn_gradient_worker *g, const attn_block *b) {
    for (int n = 0; n < ATTN_NUMBERS; n++) {
        if (!g->call->number[n]) continue;
        for (int r = 0; r < b->rows; r++)
            g->g.number[n] += attn_read(g->w.tiles, attn_offset(g->g.products[n], r, g->w.tiles));
    }
    if (!g->call->scores) return;
    add_to_previous(g, b);
    if (g->w.problem->score.kind == ATTN_SCORE_CUSTOM) {
        g->w.tiles->fill(g->g.rows_a, 1, (int64_t)b->rows * g->call->plan.d_padded, 0);
        add_to_queries(g, b, g->g.rows_a, g->call->plan.d_padded);
        return;
    }
    int64_t stride;
    const void *const rows = finish_queries(g, b, &stride);
    add_to_queries(g, b, rows, stride);
}

/* --------------------------------------------------------------------------------- task ends */

/* CONCAT: hidden sums of some keys become those of keys, in g.key_rows. */
static void project_back(attn_gradient_worker *g, const attn_block *b, int64_t key, int count) {
    const attn_tensor *const k = &g->w.problem->key;
    const attn_tiles *const t = g->w.tiles;
    const attn_plan *const plan = &g->call->plan;
    const int wide = attn_padded(plan->d_key, t);
    void *const raw = g->w.space.raw_key;
    t->fill(raw, 1, (int64_t)count * wide, 0);
    t->load_rows(raw, wide, attn_key_rows(&g->w, k, b, key), k->stride[2], k->stride[3], count,
                 plan->d_key, 1.0);
    through_projection(g, b, g->g.key_rows,
                       attn_offset(g->g.key_sums, (key - g->chunk_keys.first) * plan->d_padded, t),
                       raw, plan->d_query, plan->d_key, count);
}

/* Rows of keys or values of the chunk, in the order of the heads that share them. */
static void add_to_keys(const attn_gradient_worker *g, const attn_block *b, const attn_tensor *to,
                        int64_t key, int count, const void *rows, int64_t stride) {
    const attn_tiles *const t = g->w.tiles;
    void *const at = attn_key_rows(&g->w, to, b, key);
    if (g->head % g->call->plan.group == 0)
        t->store_rows(at, to->stride[2], to->stride[3], rows, stride, count, (int)to->shape[3],
                      g->g.ones);
    else t->add_rows(at, to->stride[2], to->stride[3], rows, stride, count, (int)to->shape[3]);
}

static void finish_keys(attn_gradient_worker *g, const attn_block *b) {
    const attn_tensor *const k = &g->w.problem->key;
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d_padded, count = (int)(g->chunk_keys.last - g->chunk_keys.first);
    if (takes_tanh(g)) attn_gradient_weigh_features(g, g->g.key_sums, d, count);
    else t->multiply(g->g.key_sums, count, d, last_factor(g));
    if (g->w.problem->score.kind == ATTN_SCORE_COSINE)
        t->normalize_gradient(g->g.key_sums, d, attn_key_rows(&g->w, k, b, g->chunk_keys.first),
                              k->stride[2], k->stride[3], g->w.space.features, count,
                              g->call->plan.d_key);
}

static void add_key_sums(attn_gradient_worker *g, const attn_block *b) {
    const attn_tensor *const to = &g->call->to->key;
    const attn_tiles *const t = g->w.tiles;
    const attn_score_kind kind = g->w.problem->score.kind;
    const int d = g->call->plan.d_padded;
    for (int64_t k = g->chunk_keys.first; k < g->chunk_keys.last; k += ATTN_KEY_BLOCK) {
        const int count = (int)attn_smaller(g->chunk_keys.last - k, ATTN_KEY_BLOCK);
        const void *rows = attn_offset(g->g.key_sums, (k - g->chunk_keys.first) * d, t);
        int64_t stride = d;
        if (kind == ATTN_SCORE_CONCAT) {
            project_back(g, b, k, count);
            rows = g->g.key_rows, stride = attn_padded(g->call->plan.d_key, t);
        }
        if (!attn_is_given(to)) continue;
        if (kind == ATTN_SCORE_LOCATION || kind == ATTN_SCORE_CUSTOM) {
            stride = attn_padded((int)to->shape[3], t);
            t->fill(g->g.key_rows, 1, count * stride, 0);
            rows = g->g.key_rows;
        }
        add_to_keys(g, b, to, k, count, rows, stride);
    }
}

void attn_gradient_end_keys(attn_gradient_worker *g, const attn_block *b) {
    const int64_t chunks = g->call->table[g->call->plan.sequences].chunks;
    const int64_t at = b->key_head * chunks + g->call->table[b->sequence.index].chunks + g->chunk;
    const int64_t number = g->head % g->call->plan.group;
    const int count = (int)(g->chunk_keys.last - g->chunk_keys.first);
    if (g->call->scores && g->any_block) finish_keys(g, b); /* 0 times a factor may be -0 */
    attn_turn_await(&g->call->key_turns[at], number);
    if (g->call->scores && count > 0) add_key_sums(g, b);
    if (attn_is_given(&g->call->to->value) && count > 0)
        add_to_keys(g, b, &g->call->to->value, g->chunk_keys.first, count, g->g.value_sums,
                    attn_value_stride(g->call));
    attn_turn_pass(&g->call->key_turns[at], number);
}

/* What bare scores left out of sums: the factor of tables, and of an additive score's weight, which may
 * have been divided by its length. */
static void finish_matrices(attn_gradient_worker *g) {
    const attn_score *const s = &g->w.problem->score;
    const attn_tiles *const t = g->w.tiles;
    const attn_matrix bare[] = {ATTN_OF_RELATIVE_KEYS, ATTN_OF_RELATIVE_QUERIES, ATTN_OF_WEIGHT};
    const int count = takes_tanh(g) ? 3 : 2; /* GENERAL's weight has it */
    for (int i = 0; i < count; i++) {
        const attn_tensor *const to = g->call->matrix[bare[i]];
        if (to)
            t->multiply(g->g.matrix[bare[i]], (int)to->shape[2],
                        (int)attn_matrix_stride(g->call, bare[i]), last_factor(g));
    }
    if (!g->call->matrix[ATTN_OF_WEIGHT] || !s->normalize_weight) return;
    t->normalize_gradient(g->g.matrix[ATTN_OF_WEIGHT], 0,
                          attn_broadcast_at(&s->weight, t->element_size, 0, g->head, 0, 0), 0,
                          s->weight.stride[3], g->w.space.features, 1, (int)s->weight.shape[3]);
}

/* Some columns of a matrix, which lie in scratch from `at` on. */
static void add_columns(attn_gradient_worker *g, const attn_block *b, attn_matrix m, int64_t column,
                        int64_t columns, int64_t at) {
    const attn_tensor *const to = g->call->matrix[m];
    const attn_tiles *const t = g->w.tiles;
    t->add_rows(attn_broadcast_at(to, t->element_size, 0, b->first_head, 0, column), to->stride[2],
                to->stride[3], attn_offset(g->g.matrix[m], at, t), attn_matrix_stride(g->call, m),
                (int)to->shape[2], (int)columns);
}

void attn_gradient_end_matrices(attn_gradient_worker *g, const attn_block *b) {
    const attn_tensor *const of_keys = &g->call->to->weight;
    const attn_tiles *const t = g->w.tiles;
    const int64_t d_query = g->call->plan.d_query, d_key = g->call->plan.d_key;
    finish_matrices(g);
    for (int i = 0; i < ATTN_MATRICES; i++) {
        if (!g->call->matrix[i]) continue;
        if (i != ATTN_OF_PROJECTION) {
            add_columns(g, b, (attn_matrix)i, 0, g->call->matrix[i]->shape[3], 0);
            continue;
        }
        add_columns(g, b, ATTN_OF_PROJECTION, 0, d_query, 0);
        add_columns(g, b, ATTN_OF_PROJECTION, d_query, d_key, attn_second_half(g->call));
    }
    if (!attn_is_given(of_keys) || g->w.problem->score.kind != ATTN_SCORE_LOCATION) return;
    t->add_rows(attn_at(of_keys, t->element_size, 0,
                        attn_broadcast_index(of_keys, 1, b->first_head), g->chunk_keys.first, 0),
                of_keys->stride[2], of_keys->stride[3], g->g.key_sums, g->call->plan.d_padded,
                (int)(g->chunk_keys.last - g->chunk_keys.first), (int)of_keys->shape[3]);
}

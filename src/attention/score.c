/* score.c: see score.h. */
#include "attention/score.h"

#include "api/check.h"
#include "attention/additive.h"
#include "attention/relative.h"

double attn_head_scale(const attn_worker *w, const attn_block *b, int g) {
    const attn_tensor *const t = &w->problem->score.scales;
    if (w->plan->bare) return 1;
    if (!attn_tensor_present(t)) return w->plan->query_factor;
    const void *const at =
        attn_broadcast_at(t, w->tiles->element_size, b->sequence.index, b->first_head + g, 0, 0);
    return w->plan->query_factor * attn_read(w->tiles, at);
}

/* ------------------------------------------------------------------------------ block begins */

void *attn_head_queries(const attn_worker *w, const attn_block *b, int g, void *queries) {
    return b->few ? attn_offset(queries, (int64_t)g * b->queries * w->plan->d_padded, w->tiles)
                  : queries;
}

/* Rows of any tensor's head into the lanes, or side by side; what is beyond them is 0. */
static void load_into(const attn_worker *w, const attn_block *b, void *target, int stride,
                      const void *from, int64_t row_stride, int64_t column_stride, int d,
                      double factor) {
    const attn_tiles *const t = w->tiles;
    if (b->few) {
        if (d < stride) t->fill(target, 1, (int64_t)b->queries * stride, 0);
        t->load_rows(target, stride, from, row_stride, column_stride, b->queries, d, factor);
        return;
    }
    if (b->rows < b->width || d < stride) t->fill(target, 1, (int64_t)stride * b->width, 0);
    t->load_transposed(target, b->width, from, row_stride, column_stride, b->queries, d, factor);
}

void attn_load_queries(attn_worker *w, const attn_block *b, int g, void *target, int stride,
                       double factor) {
    const attn_tensor *const q = &w->problem->query;
    const void *const from =
        attn_at(q, w->tiles->element_size, b->sequence.batch, b->first_head + g,
                b->sequence.query_first + b->first_query, 0);
    if (w->problem->score.kind == ATTN_SCORE_COSINE) {
        w->tiles->normalize_rows(w->space.staging, w->plan->d_query, from, q->stride[2],
                                 q->stride[3], b->queries, w->plan->d_query);
        load_into(w, b, target, stride, w->space.staging, w->plan->d_query, 1, w->plan->d_query,
                  factor);
        return;
    }
    load_into(w, b, target, stride, from, q->stride[2], q->stride[3], w->plan->d_query, factor);
}

void attn_add_features(attn_worker *w, const attn_block *b, int g, void *queries, int d,
                       const attn_tensor *features, double factor) {
    const attn_tiles *const t = w->tiles;
    void *const row = w->space.features;
    if (!attn_tensor_present(features)) return;
    t->load_rows(row, 0, attn_broadcast_at(features, t->element_size, 0, b->first_head + g, 0, 0),
                 0, features->stride[3], 1, d, factor);
    if (b->few) {
        for (int r = 0; r < b->queries; r++)
            t->accumulate(attn_offset(queries, (int64_t)r * w->plan->d_padded, t), row, d);
        return;
    }
    for (int f = 0; f < d; f++) {
        t->load_rows(w->space.extra, 0, attn_offset(row, f, t), 0, 0, 1, b->width, 1.0);
        t->accumulate(attn_offset(queries, (int64_t)f * b->width, t), w->space.extra, b->width);
    }
}

/* A matrix of a head, [rows][columns], with its columns side by side. */
static const void *head_matrix(const attn_worker *w, const attn_tensor *t, int64_t head) {
    return attn_broadcast_at(t, w->tiles->element_size, 0, head, 0, 0);
}

/* GENERAL: query^T W is AGGREGATE with the query for weights and W for values. */
static void project_general(attn_worker *w, const attn_block *b, int g) {
    const attn_tiles *const t = w->tiles;
    const attn_tensor *const matrix = &w->problem->score.weight;
    const int d_query = w->plan->d_query, d = w->plan->d, stride = attn_padded(d_query, t);
    void *const raw = w->space.raw_query, *const query = attn_head_queries(w, b, g, w->space.query);
    const char *const from = head_matrix(w, matrix, b->first_head + g);
    attn_load_queries(w, b, g, raw, stride, attn_head_scale(w, b, g));
    t->fill(query, 1, (int64_t)w->plan->d_padded * (b->few ? b->queries : b->width), 0);
    t->fill(w->space.shrink, 1, b->width, 1);
    for (int f = 0; f < d_query; f += ATTN_PROJECTED_AT_ONCE) {
        const int left = d_query - f;
        const int count = left < ATTN_PROJECTED_AT_ONCE ? left : ATTN_PROJECTED_AT_ONCE;
        void *const rows = w->space.staging;
        t->load_rows(rows, d, from + f * matrix->stride[2] * t->element_size, matrix->stride[2],
                     matrix->stride[3], count, d, 1.0);
        if (b->few)
            t->aggregate_few(query, w->plan->d_padded, w->space.shrink, attn_offset(raw, f, t),
                             rows, d, count, d, b->queries, stride);
        else
            t->aggregate(query, w->space.shrink, attn_offset(raw, (int64_t)f * b->width, t), rows,
                         d, count, d, b->width);
    }
}

static void begin_head(attn_worker *w, const attn_block *b, int g) {
    const attn_score *const s = &w->problem->score;
    const int d = w->plan->d_padded;
    void *const query = attn_head_queries(w, b, g, w->space.query);
    switch (s->kind) {
    case ATTN_SCORE_CUSTOM: return;
    case ATTN_SCORE_GENERAL: project_general(w, b, g); return;
    case ATTN_SCORE_ADDITIVE:
    case ATTN_SCORE_CONCAT: attn_additive_begin(w, b, g); return;
    case ATTN_SCORE_GAUSSIAN: attn_load_queries(w, b, g, query, d, 1.0); return;
    case ATTN_SCORE_DOT:
    case ATTN_SCORE_COSINE:
    case ATTN_SCORE_LOCATION:
        attn_load_queries(w, b, g, query, d, attn_head_scale(w, b, g));
        if (s->relative) attn_relative_begin(w, b, g);
        return;
    }
}

void attn_score_begin(attn_worker *w, const attn_block *b) {
    for (int g = 0; g < b->heads; g++) begin_head(w, b, g);
}

/* -------------------------------------------------------------------------------- one tile */

const void *attn_tile_rows(const attn_worker *w, const attn_tensor *t, const attn_block *b,
                           const attn_tile *tile, void *packed, bool pack, int64_t *stride) {
    const attn_tiles *const tiles = w->tiles;
    const int d = (int)t->shape[3];
    const void *const at = attn_at(t, tiles->element_size, b->sequence.batch, b->key_head,
                                   b->sequence.key_first + tile->k, 0);
    *stride = pack ? d : t->stride[2];
    if (!pack) return at;
    tiles->load_rows(packed, d, at, t->stride[2], t->stride[3], tile->count, d, 1.0);
    return packed;
}

static const void *normalized_keys(attn_worker *w, const attn_block *b, const attn_tile *tile,
                                   int64_t *stride) {
    const attn_tensor *const k = &w->problem->key;
    const void *const at = attn_at(k, w->tiles->element_size, b->sequence.batch, b->key_head,
                                   b->sequence.key_first + tile->k, 0);
    *stride = w->plan->d;
    w->tiles->normalize_rows(w->space.key, *stride, at, k->stride[2], k->stride[3], tile->count,
                             w->plan->d);
    return w->space.key;
}

/* LOCATION: rows of the head's own matrix stand for keys. */
static const void *location_keys(attn_worker *w, const attn_block *b, const attn_tile *tile, int g,
                                 int64_t *stride) {
    const attn_tensor *const t = &w->problem->score.weight;
    const void *const at = attn_at(t, w->tiles->element_size, 0,
                                   attn_broadcast_index(t, 1, b->first_head + g), tile->k, 0);
    *stride = t->stride[2];
    if (!w->plan->pack_key) return at;
    *stride = w->plan->d;
    w->tiles->load_rows(w->space.key, *stride, at, t->stride[2], t->stride[3], tile->count,
                        w->plan->d, 1.0);
    return w->space.key;
}

/* Dot products, or squared distances, of the block's rows from `first` on with a tile's keys. */
static void score_rows(const attn_worker *w, const attn_block *b, const attn_tile *tile, int first,
                       int rows, const void *key, int64_t stride, void *scores) {
    const attn_tiles *const t = w->tiles;
    const bool distance = w->problem->score.kind == ATTN_SCORE_GAUSSIAN;
    const int d = w->plan->d, padded = w->plan->d_padded;
    if (b->few)
        (distance ? t->score_distance_few
                  : t->score_few)(attn_offset(scores, first * tile->row_stride, t),
                                  attn_offset(w->space.query, (int64_t)first * padded, t), padded,
                                  key, stride, tile->count, d, rows, tile->width);
    else
        (distance ? t->score_distance : t->score)(scores, w->space.query, key, stride, tile->count,
                                                  d, b->width);
}

/* Gaussian scores are -scale times the squared distance, which no query could hold. */
static void negate(const attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    for (int g = 0; g < b->heads; g++)
        w->tiles->multiply(attn_head_rows(scores, b, tile, g, w->tiles),
                           b->few ? b->queries : tile->lines, tile->width,
                           -attn_head_scale(w, b, g));
}

const void *attn_score_keys(attn_worker *w, const attn_block *b, const attn_tile *tile, int g,
                            int64_t *stride) {
    switch (w->problem->score.kind) {
    case ATTN_SCORE_LOCATION: return location_keys(w, b, tile, g, stride);
    case ATTN_SCORE_COSINE: return normalized_keys(w, b, tile, stride);
    default:
        return attn_tile_rows(w, &w->problem->key, b, tile, w->space.key, w->plan->pack_key,
                              stride);
    }
}

void attn_score_tile(attn_worker *w, const attn_block *b, const attn_tile *tile,
                     attn_visibility seen, void *scores) {
    const attn_score *const s = &w->problem->score;
    int64_t stride;
    const void *key;
    switch (s->kind) {
    case ATTN_SCORE_CUSTOM:
        w->tiles->fill(scores, 1, (int64_t)tile->lines * tile->width, 0);
        return;
    case ATTN_SCORE_ADDITIVE:
    case ATTN_SCORE_CONCAT:
        for (int g = 0; g < b->heads; g++)
            attn_additive_tile(w, b, tile, seen, g, attn_head_rows(scores, b, tile, g, w->tiles));
        return;
    case ATTN_SCORE_LOCATION:
        for (int g = 0; g < b->heads; g++) {
            key = attn_score_keys(w, b, tile, g, &stride);
            score_rows(w, b, tile, g * b->queries, b->queries, key, stride, scores);
        }
        return;
    case ATTN_SCORE_DOT:
    case ATTN_SCORE_COSINE:
    case ATTN_SCORE_GENERAL:
    case ATTN_SCORE_GAUSSIAN: break;
    }
    key = attn_score_keys(w, b, tile, 0, &stride);
    score_rows(w, b, tile, 0, b->rows, key, stride, scores);
    if (s->kind == ATTN_SCORE_GAUSSIAN) negate(w, b, tile, scores);
    if (s->relative && s->kind == ATTN_SCORE_DOT)
        attn_relative_scores(w, b, tile, key, stride, scores);
}

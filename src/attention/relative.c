/* relative.c: see relative.h.
 *
 * The pairs of a tile have no more than keys + queries - 1 offsets. For each the entry is found once;
 * the terms of all entries that occur are then dot products of the block's queries (or the tile's
 * keys) with a stretch of the table, and add_relative spreads them over the diagonals. */
#include "attention/relative.h"

#include <math.h>

#include "api/check.h"
#include "attention/mask.h"

/* -------------------------------------------------------------------------------- the entries */

static int64_t clamp(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

/* Raffel et al. 2020: distances below half of the m buckets have their own, longer ones share by the
 * logarithm. */
static int64_t t5_bucket(int64_t distance, int64_t m, int64_t max_distance) {
    const int64_t exact = m / 2;
    if (distance < exact) return distance;
    if (distance >= max_distance) return m - 1;
    const double share =
        log((double)distance / (double)exact) / log((double)max_distance / (double)exact);
    return clamp(exact + (int64_t)(share * (double)(m - exact)), 0, m - 1);
}

static int64_t entry_of(const attn_relative *r, int64_t n, int64_t offset) {
    const int64_t max_distance = r->max_distance > 0 ? r->max_distance : 128;
    switch (r->buckets) {
    case ATTN_BUCKETS_T5:
        return (offset > 0 ? n / 2 : 0) +
               t5_bucket(offset < 0 ? -offset : offset, n / 2, max_distance);
    case ATTN_BUCKETS_T5_CAUSAL: return t5_bucket(offset < 0 ? -offset : 0, n, max_distance);
    case ATTN_BUCKETS_CLIPPED: break;
    }
    return clamp(offset + (r->origin > 0 ? r->origin : n / 2), 0, n - 1);
}

attn_entries attn_relative_entries(attn_worker *w, const attn_block *b, const attn_tile *tile,
                                   int first_key, int keys) {
    const attn_relative *const r = w->problem->score.relative;
    const int64_t n = w->plan->entries;
    const int64_t base = tile->k + first_key - b->sequence.position - b->first_query;
    int32_t *const of = w->space.entries + b->queries - 1;
    int32_t first = INT32_MAX, last = 0;
    for (int apart = 1 - b->queries; apart < keys; apart++) {
        of[apart] = (int32_t)entry_of(r, n, base + apart);
        first = of[apart] < first ? of[apart] : first;
        last = of[apart] > last ? of[apart] : last;
    }
    for (int apart = 1 - b->queries; apart < keys; apart++) of[apart] -= first;
    return (attn_entries){of, first, last - first + 1};
}

const void *attn_relative_rows(attn_worker *w, const attn_tensor *t, int64_t head, int first,
                               int count, int64_t *stride) {
    const void *const at =
        attn_at(t, w->tiles->element_size, 0, attn_broadcast_index(t, 1, head), first, 0);
    const int d = (int)t->shape[3];
    *stride = t->stride[2];
    if (t->stride[3] == 1) return at;
    *stride = d;
    w->tiles->load_rows(w->space.table, d, at, t->stride[2], t->stride[3], count, d, 1.0);
    return w->space.table;
}

void attn_relative_reach(const attn_worker *w, const attn_block *b, const attn_tile *tile,
                         const void *hidden, int first_key, int keys, const int32_t *of, void *sums,
                         int64_t entry_stride, int64_t row_stride, int64_t key_stride) {
    const attn_tiles *const t = w->tiles;
    for (int k = 0; k < keys; k++) {
        for (int r = 0; r < b->queries; r++) {
            const int64_t pair = (first_key + k) * tile->key_stride + r * tile->row_stride;
            if (attn_read(t, (const char *)hidden + pair * t->element_size) == (double)-INFINITY)
                continue;
            const int64_t at = of[k - r] * entry_stride + r * row_stride + k * key_stride;
            t->fill(attn_offset(sums, at, t), 1, 1, 0);
        }
    }
}

/* ------------------------------------------------------------------------------------- scores */

void attn_relative_begin(attn_worker *w, const attn_block *b, int g) {
    const attn_relative *const r = w->problem->score.relative;
    const double factor = attn_head_scale(w, b, g);
    if (attn_tensor_present(&r->keys)) {
        void *const query = attn_head_queries(w, b, g, w->space.position_query);
        attn_load_queries(w, b, g, query, w->plan->d_padded, factor);
        attn_add_features(w, b, g, query, w->plan->d, &r->position_bias, factor);
    }
    attn_add_features(w, b, g, attn_head_queries(w, b, g, w->space.query), w->plan->d,
                      &r->content_bias, factor);
}

/* dot(query + position_bias, keys[e]) */
static void add_key_terms(attn_worker *w, const attn_block *b, const attn_tile *tile, int g,
                          void *scores) {
    const attn_tiles *const t = w->tiles;
    const attn_entries e = attn_relative_entries(w, b, tile, 0, tile->count);
    int64_t stride;
    const void *const table = attn_relative_rows(w, &w->problem->score.relative->keys,
                                                 b->first_head + g, e.first, e.count, &stride);
    const void *const query = attn_head_queries(w, b, g, w->space.position_query);
    const int padded = attn_padded(e.count, t), d = w->plan->d;
    if (b->few)
        t->score_few(w->space.terms, query, w->plan->d_padded, table, stride, e.count, d,
                     b->queries, padded);
    else t->score(w->space.terms, query, table, stride, e.count, d, b->width);
    t->add_relative(scores, tile->key_stride, tile->row_stride, tile->count, b->queries,
                    w->space.terms, 0, b->few ? padded : 1, b->few ? 1 : b->width, e.of);
}

/* dot(key, queries[e]): a few keys at a time, so that not many more entries than queries occur. Entries
 * are in the lanes. */
static void add_query_terms(attn_worker *w, const attn_block *b, const attn_tile *tile, int g,
                            const void *key, int64_t key_stride, void *scores) {
    enum { KEYS = 32 };
    const attn_tiles *const t = w->tiles;
    const attn_tensor *const table = &w->problem->score.relative->queries;
    const double factor = attn_head_scale(w, b, g);
    for (int k = 0; k < tile->count; k += KEYS) {
        const int count = tile->count - k < KEYS ? tile->count - k : KEYS;
        const attn_entries e = attn_relative_entries(w, b, tile, k, count);
        const int padded = attn_padded(e.count, t), d = w->plan->d;
        t->fill(w->space.table, 1, (int64_t)d * padded, 0);
        t->load_transposed(w->space.table, padded,
                           attn_at(table, t->element_size, 0,
                                   attn_broadcast_index(table, 1, b->first_head + g), e.first, 0),
                           table->stride[2], table->stride[3], e.count, d, factor);
        t->score(w->space.terms, w->space.table,
                 (const char *)key + k * key_stride * t->element_size, key_stride, count, d,
                 padded);
        t->add_relative(attn_offset(scores, k * tile->key_stride, t), tile->key_stride,
                        tile->row_stride, count, b->queries, w->space.terms, padded, 0, 1, e.of);
    }
}

void attn_relative_scores(attn_worker *w, const attn_block *b, const attn_tile *tile,
                          const void *key, int64_t key_stride, void *scores) {
    const attn_relative *const r = w->problem->score.relative;
    for (int g = 0; g < b->heads; g++) {
        void *const rows = attn_head_rows(scores, b, tile, g, w->tiles);
        if (attn_tensor_present(&r->keys)) add_key_terms(w, b, tile, g, rows);
        if (attn_tensor_present(&r->queries)) add_query_terms(w, b, tile, g, key, key_stride, rows);
    }
}

void attn_relative_bias(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    const attn_tensor *const bias = &w->problem->score.relative->bias;
    const attn_tiles *const t = w->tiles;
    if (!attn_tensor_present(bias)) return;
    const attn_entries e = attn_relative_entries(w, b, tile, 0, tile->count);
    for (int g = 0; g < b->heads; g++)
        t->add_relative(attn_head_rows(scores, b, tile, g, t), tile->key_stride, tile->row_stride,
                        tile->count, b->queries,
                        attn_at(bias, t->element_size, 0,
                                attn_broadcast_index(bias, 1, b->first_head + g), 0, e.first),
                        0, 0, bias->stride[3], e.of);
}

/* ------------------------------------------------------------------------------------- values */

/* Weights of a tile, relative to the stretch's maximum, summed by entry: [entry][row], or [row][entry]
 * if few. */
static void sum_weights(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_tiles *const t = w->tiles;
    const int64_t entries = attn_padded((int)w->plan->entries, t);
    if (!*attn_kept_any(w, b, tile)) return;
    t->rescale(w->space.factor, attn_kept_maximum(w, b, tile), w->space.stretch.maximum, NULL,
               b->width);
    const attn_entries e = attn_relative_entries(w, b, tile, 0, tile->count);
    for (int g = 0; g < b->heads; g++) {
        const int64_t row = (int64_t)g * b->queries;
        void *const sums = attn_offset(
            w->space.terms, b->few ? row * entries + e.first : e.first * (int64_t)b->width, t);
        t->sum_relative(sums, b->few ? 1 : b->width, b->few ? entries : 1,
                        attn_head_rows(attn_kept_weights(w, b, tile), b, tile, g, t),
                        tile->key_stride, tile->row_stride, attn_offset(w->space.factor, row, t),
                        tile->count, b->queries, e.of);
    }
}

static int64_t sum_count(const attn_worker *w, const attn_block *b) {
    return (int64_t)attn_padded((int)w->plan->entries, w->tiles) * (b->few ? b->rows : b->width);
}

/* Sums that some pair of the tile reaches begin at 0. */
static void begin_reached(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_tiles *const t = w->tiles;
    const int64_t entries = attn_padded((int)w->plan->entries, t);
    if (!*attn_kept_any(w, b, tile)) return;
    attn_hidden_tile(w, b, tile);
    const attn_entries e = attn_relative_entries(w, b, tile, 0, tile->count);
    void *const sums = attn_offset(w->space.terms, e.first * (int64_t)(b->few ? 1 : b->width), t);
    for (int g = 0; g < b->heads; g++) {
        const int64_t row = (int64_t)g * b->queries * (b->few ? entries : 1);
        attn_relative_reach(w, b, tile, attn_head_rows(w->space.hidden, b, tile, g, t), 0,
                            tile->count, e.of, attn_offset(sums, row, t), b->few ? 1 : b->width,
                            b->few ? entries : 1, 0);
    }
}

/* The same sums, but -infinity for what no visible pair reaches. */
static void sum_reached(attn_worker *w, const attn_block *b, attn_key_range keys) {
    w->tiles->fill(w->space.terms, 1, sum_count(w, b), (double)-INFINITY);
    attn_for_each_tile(w, b, keys, begin_reached);
    attn_for_each_tile(w, b, keys, sum_weights);
}

static void add_values(attn_worker *w, const attn_block *b, int g, const void *table,
                       int64_t stride, bool reached) {
    const attn_tiles *const t = w->tiles;
    const int n = (int)w->plan->entries, entries = attn_padded(n, t), d = w->plan->d_value;
    const int64_t row = (int64_t)g * b->queries, stride_out = attn_padded(d, t);
    void *const output = attn_offset(w->space.stretch.output, b->few ? row * stride_out : 0, t);
    const void *const sums = attn_offset(w->space.terms, b->few ? row * entries : 0, t);
    if (reached)
        t->aggregate_visible(output, b->few ? 1 : b->width, b->few ? stride_out : 1,
                             w->space.shrink, sums, sums, b->few ? 1 : b->width,
                             b->few ? entries : 1, table, stride, n, d, b->queries);
    else if (b->few)
        t->aggregate_few(output, stride_out, w->space.shrink, sums, table, stride, n, d, b->queries,
                         entries);
    else t->aggregate(output, w->space.shrink, sums, table, stride, n, d, b->width);
}

/* Whether a head's table is finite; not asked again while the head stays the same, or shares it. */
static bool is_finite(attn_worker *w, const attn_tensor *t, int64_t head, const void *rows,
                      int64_t stride) {
    const void *const at = attn_broadcast_at(t, w->tiles->element_size, 0, head, 0, 0);
    if (w->finite == at) return true;
    if (!w->tiles->all_finite(rows, stride, (int)t->shape[2], (int)t->shape[3])) return false;
    w->finite = at;
    return true;
}

void attn_relative_values(attn_worker *w, const attn_block *b, attn_key_range keys) {
    const attn_relative *const r = w->problem->score.relative;
    bool reached = false;
    if (!r || !attn_tensor_present(&r->values) || w->plan->d_value == 0) return;
    w->tiles->fill(w->space.terms, 1, sum_count(w, b), 0);
    attn_for_each_tile(w, b, keys, sum_weights);
    w->tiles->fill(w->space.shrink, 1, b->width, 1);
    for (int g = 0; g < b->heads; g++) {
        const int64_t head = b->first_head + g;
        int64_t stride;
        const void *const table =
            attn_relative_rows(w, &r->values, head, 0, (int)w->plan->entries, &stride);
        if (!reached && !is_finite(w, &r->values, head, table, stride)) {
            sum_reached(w, b, keys);
            reached = true;
        }
        add_values(w, b, g, table, stride, reached);
    }
}

/* additive.c: see additive.h; the arithmetic is in tiles/additive.h. */
#include "attention/additive.h"

#include <float.h>
#include <math.h>

#include "api/check.h"
#include "attention/mask.h"

/* A weight so much smaller than the greatest counts for nothing: 2^-40 of it is less than a 2^16th of
 * a rounding in float32, as 2^-80 is in float64. Its inverse stands at that. */
static double smallest_share(const attn_tiles *t) {
    return t->element_size == sizeof(float) ? 0x1p-40 : 0x1p-80;
}

/* What products of a group's terms may reach, in powers of 2. */
static double most_range(const attn_tiles *t) {
    return t->element_size == sizeof(float) ? FLT_MAX_EXP - 2 : DBL_MAX_EXP - 2;
}

double attn_additive_most_size(const attn_tiles *t) {
    return t->element_size == sizeof(float) ? 43 : 354;
}

/* Arrays per head and feature. */
static void *of_head(const attn_worker *w, int g, void *array) {
    return attn_offset(array, (int64_t)g * w->plan->d_padded, w->tiles);
}

static double *range_of(const attn_worker *w, int g) {
    return w->space.additive.range + (int64_t)g * w->plan->d_padded;
}

/* ------------------------------------------------------------------------------ block begins */

/* Element f of a row of features. */
static double feature(const attn_tiles *t, const void *row, int64_t stride, int f) {
    return attn_read(t, (const char *)row + f * stride * t->element_size);
}

/* By comparison: gcc 12 fails inside itself on fmax here, for AArch64. */
static double largest_size(const attn_tiles *t, const void *row, int64_t stride, int d) {
    double largest = 0;
    for (int f = 0; f < d; f++) {
        const double size = fabs(feature(t, row, stride, f));
        if (size > largest) largest = size;
    }
    return largest;
}

static double norm(const attn_tiles *t, const void *row, int64_t stride, int d) {
    const double largest = largest_size(t, row, stride, d);
    double sum = 0;
    for (int f = 0; f < d && largest > 0; f++) {
        const double x = feature(t, row, stride, f) / largest;
        sum += x * x;
    }
    return largest * sqrt(sum);
}

/* The weight of every feature, its inverse, and what does not depend on the pair. */
static void begin_weight(attn_worker *w, const attn_block *b, int g) {
    const attn_score *const s = &w->problem->score;
    const attn_tiles *const t = w->tiles;
    attn_additive *const a = &w->space.additive;
    const int d = w->plan->d;
    const void *const from =
        attn_broadcast_at(&s->weight, t->element_size, 0, b->first_head + g, 0, 0);
    const int64_t stride = s->weight.stride[3];
    double factor = attn_head_scale(w, b, g), sum = 0, missing = 0;
    if (s->normalize_weight) factor /= norm(t, from, stride, d);
    char *const weight = of_head(w, g, a->weight);
    char *const inverse = of_head(w, g, a->inverse_weight);
    char *const gain = of_head(w, g, a->gain);
    t->fill(weight, 1, w->plan->d_padded, 0);
    t->load_rows(weight, 0, from, 0, stride, 1, d, factor);
    const double largest = largest_size(t, weight, 1, d);
    for (int f = 0; f < w->plan->d_padded; f++) {
        const int64_t at = f * (int64_t)t->element_size;
        const double v = attn_read(t, weight + at), share = fabs(v) / largest;
        const bool nothing = share < smallest_share(t) || largest == 0;
        const double c = nothing ? 1 / smallest_share(t) : largest / v;
        t->fill(inverse + at, 1, 1, c);
        t->fill(gain + at, 1, 1, nothing ? 0 : c);
        range_of(w, g)[f] = log2(fabs(c));
        sum += v;
        if (nothing) missing += 1 / c;
    }
    a->first[g] = sum + 2 * largest * missing;
    a->factor[g] = -2 * largest;
}

/* CONCAT: the part of the projection that meets the query; its rows are "keys" to SCORE. */
static void project_query(attn_worker *w, const attn_block *b, int g, void *query) {
    const attn_tiles *const t = w->tiles;
    const attn_tensor *const p = &w->problem->score.projection;
    const int d_query = w->plan->d_query, stride = attn_padded(d_query, t), d = w->plan->d;
    void *const raw = w->space.raw_query, *const row = w->space.features;
    attn_load_queries(w, b, g, raw, stride, 1.0);
    t->fill(query, 1, (int64_t)w->plan->d_padded * (b->few ? b->queries : b->width), 0);
    for (int h = 0; h < d; h++) {
        t->load_rows(row, 0, attn_broadcast_at(p, t->element_size, 0, b->first_head + g, h, 0), 0,
                     p->stride[3], 1, d_query, 1.0);
        if (!b->few) {
            t->score(attn_offset(query, (int64_t)h * b->width, t), raw, row, d_query, 1, d_query,
                     b->width);
            continue;
        }
        for (int r = 0; r < b->queries; r++)
            t->score_few(attn_offset(query, (int64_t)r * w->plan->d_padded + h, t),
                         attn_offset(raw, (int64_t)r * stride, t), stride, row, d_query, 1, d_query,
                         1, 1);
    }
}

static void begin_exponentials(attn_worker *w, const attn_block *b, int g, const void *query) {
    const attn_tiles *const t = w->tiles;
    const attn_additive *const a = &w->space.additive;
    const int d = w->plan->d_padded;
    void *const target = attn_head_queries(w, b, g, a->exponentials);
    attn_additive_row_ranges(w, b, g);
    if (b->few) t->exp_twice(target, query, d, b->queries, d, of_head(w, g, a->gain), NULL);
    else t->exp_twice(target, query, b->width, d, b->width, NULL, of_head(w, g, a->gain));
}

void attn_additive_begin(attn_worker *w, const attn_block *b, int g) {
    const attn_score *const s = &w->problem->score;
    void *const query = attn_head_queries(w, b, g, w->space.query);
    begin_weight(w, b, g);
    if (s->kind == ATTN_SCORE_CONCAT) project_query(w, b, g, query);
    else attn_load_queries(w, b, g, query, w->plan->d_padded, 1.0);
    attn_add_features(w, b, g, query, w->plan->d, &s->offset, 1.0);
    begin_exponentials(w, b, g, query);
}

/* -------------------------------------------------------------------------------- one tile */

/* CONCAT: the part of the projection that meets the key. With its features in the lanes, that is
 * AGGREGATE with the key for weights and the transposed matrix for values. */
static void project_keys(attn_worker *w, const attn_block *b, const attn_tile *tile, int g,
                         const void *from) {
    const attn_tensor *const k = &w->problem->key, *const p = &w->problem->score.projection;
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d_padded, d_key = w->plan->d_key, stride = attn_padded(d_key, t);
    void *const matrix = w->space.key_projection;
    const char *const rows = attn_broadcast_at(p, t->element_size, 0, b->first_head + g, 0, 0);
    if (d > w->plan->d) t->fill(matrix, 1, (int64_t)d_key * d, 0);
    t->load_transposed(matrix, d, rows + w->plan->d_query * p->stride[3] * t->element_size,
                       p->stride[2], p->stride[3], w->plan->d, d_key, 1.0);
    t->load_rows(w->space.raw_key, stride, from, k->stride[2], k->stride[3], tile->count, d_key,
                 1.0);
    t->fill(w->space.key, 1, (int64_t)tile->count * d, 0);
    t->aggregate_few(w->space.key, d, w->space.zeros, w->space.raw_key, matrix, d, d_key, d,
                     tile->count, stride);
}

void attn_additive_keys(attn_worker *w, const attn_block *b, const attn_tile *tile, int g) {
    const attn_tensor *const k = &w->problem->key;
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d_padded;
    const void *const from = attn_at(k, t->element_size, b->sequence.batch, b->key_head,
                                     b->sequence.key_first + tile->k, 0);
    if (w->problem->score.kind == ATTN_SCORE_ADDITIVE) {
        if (d > w->plan->d) t->fill(w->space.key, 1, (int64_t)tile->count * d, 0);
        t->load_rows(w->space.key, d, from, k->stride[2], k->stride[3], tile->count, w->plan->d_key,
                     1.0);
        return;
    }
    project_keys(w, b, tile, g, from);
}

/* ------------------------------------------------------------------------- what nobody sees */

/* By hidden[pair] of the tile: scores, or what attn_hidden_tile made. */
static bool is_seen(const attn_worker *w, const attn_tile *tile, int row, int key) {
    const int64_t at = row * tile->row_stride + key * tile->key_stride;
    return attn_read(w->tiles, attn_offset(w->space.hidden, at, w->tiles)) != (double)-INFINITY;
}

bool attn_additive_row_sees(const attn_worker *w, const attn_tile *tile, int row) {
    for (int k = 0; k < tile->count; k++)
        if (is_seen(w, tile, row, k)) return true;
    return false;
}

static bool key_is_seen(const attn_worker *w, const attn_tile *tile, int first_row, int rows,
                        int key) {
    for (int r = rows - 1; r >= 0; r--) /* causal: the last row sees most */
        if (is_seen(w, tile, first_row + r, key)) return true;
    return false;
}

void attn_additive_hide_keys(const attn_worker *w, const attn_tile *tile, int first_row, int rows,
                             void *key) {
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d_padded;
    const void *other = NULL;
    for (int k = 0; k < tile->count && !other; k++)
        if (key_is_seen(w, tile, first_row, rows, k)) other = attn_offset(key, (int64_t)k * d, t);
    for (int k = 0; k < tile->count; k++) {
        void *const at = attn_offset(key, (int64_t)k * d, t);
        if (key_is_seen(w, tile, first_row, rows, k)) continue;
        if (other) t->load_rows(at, 0, other, 0, 1, 1, d, 1.0);
        else t->fill(at, 1, d, 0);
    }
}

void attn_additive_row_ranges(attn_worker *w, const attn_block *b, int g) {
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d_padded;
    const void *const query = attn_head_queries(w, b, g, w->space.query);
    t->column_ranges(of_head(w, g, w->space.additive.lowest),
                     of_head(w, g, w->space.additive.highest), query, b->few ? d : 1,
                     b->few ? 1 : b->width, b->queries, d);
}

void attn_additive_seeing_ranges(attn_worker *w, const attn_block *b, const attn_tile *tile,
                                 int g) {
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d_padded, size = t->element_size;
    const char *const query = attn_head_queries(w, b, g, w->space.query);
    char *const lowest = of_head(w, g, w->space.additive.lowest);
    char *const highest = of_head(w, g, w->space.additive.highest);
    t->fill(lowest, 1, d, (double)INFINITY);
    t->fill(highest, 1, d, (double)-INFINITY);
    for (int r = 0; r < b->queries; r++) {
        if (!attn_additive_row_sees(w, tile, g * b->queries + r)) continue;
        for (int f = 0; f < d; f++) {
            const int64_t at = b->few ? (int64_t)r * d + f : (int64_t)f * b->width + r;
            const double x = attn_read(t, query + at * size);
            if (x < attn_read(t, lowest + f * size)) t->fill(lowest + f * size, 1, 1, x);
            if (x > attn_read(t, highest + f * size)) t->fill(highest + f * size, 1, 1, x);
        }
    }
}

/* How a tile is scored: with so many features to a division; or by tanh, or its polynomial. */
enum { BY_TANH = 0, BY_POLYNOMIAL = -1 };

/* What a feature's sums query + key reach in a tile. */
typedef struct {
    double size;  /* greatest |query + key| */
    double reach; /* of its term's denominator, in powers of 2; infinite if an exponential is */
} feature_range;

static feature_range range_of_feature(const attn_worker *w, int g, int f) {
    const attn_tiles *const t = w->tiles;
    const attn_additive *const a = &w->space.additive;
    const int64_t at = f * (int64_t)t->element_size;
    const double q_low = attn_read(t, (char *)of_head(w, g, a->lowest) + at);
    const double q_high = attn_read(t, (char *)of_head(w, g, a->highest) + at);
    const double k_low = attn_read(t, (char *)w->space.key_lowest + at);
    const double k_high = attn_read(t, (char *)w->space.key_highest + at);
    const double alone = fmax(fmax(-q_low, q_high), fmax(-k_low, k_high));
    const double highest = fmax(q_high + k_high, 0), lowest = fmin(q_low + k_low, 0);
    const double reach = 2 * ATTN_LOG2_E * highest + 1 + range_of(w, g)[f];
    return (feature_range){fmax(-lowest, highest),
                           alone <= attn_additive_most_size(t) ? reach : (double)INFINITY};
}

/* Features that may share a division in this tile: 4, 2 or 1. Those that share one are neighbours, or
 * stand in the same lane of neighbouring vectors. Where all sums are near 0, tanh is known better than
 * 1 - 2/E would be. */
static int way_to_score(const attn_worker *w, const attn_block *b, int g) {
    const double most = most_range(w->tiles);
    const int d = w->plan->d_padded, step = b->few ? w->tiles->lanes : 1;
    double largest = 0;
    int way = 4;
    for (int first = 0; first < d; first += first % step == step - 1 ? 3 * step + 1 : 1) {
        double pairs[2] = {0, 0};
        for (int i = 0; i < 4 && first + i * step < d; i++) {
            const feature_range range = range_of_feature(w, g, first + i * step);
            largest = fmax(largest, range.size);
            if (!(range.reach <= most)) way = BY_TANH;
            pairs[i / 2] += range.reach;
        }
        if (way == BY_TANH) continue; /* only the largest is still of interest */
        if (pairs[0] > most || pairs[1] > most) way = 1;
        else if (pairs[0] + pairs[1] > most && way == 4) way = 2;
    }
    return largest < ATTN_NEAR_ZERO ? BY_POLYNOMIAL : way;
}

/* Whether the first pair of the tile that is seen, if it can be told, is too far apart for the
 * polynomial. */
static bool is_far_apart(const attn_worker *w, const attn_block *b, const attn_tile *tile, int g,
                         const void *key, int first_row, int rows) {
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d_padded, size = t->element_size;
    const char *const query = attn_head_queries(w, b, g, w->space.query);
    for (int k = 0; k < tile->count; k++) {
        for (int r = first_row; r < first_row + rows; r++) {
            if (!attn_sees(w, b, tile, g * b->queries + r, k)) continue;
            for (int f = 0; f < d; f++) {
                const int64_t at = b->few ? (int64_t)r * d + f : (int64_t)f * b->width + r;
                const double x = attn_read(t, query + at * size);
                const double y = attn_read(t, (const char *)key + ((int64_t)k * d + f) * size);
                if (fabs(x + y) >= ATTN_NEAR_ZERO) return true;
            }
            return false;
        }
    }
    return false;
}

/* The way that suits the pairs that are seen: what is hidden must not decide it. Ranges of all keys and
 * queries are no narrower than theirs, so that what allows the polynomial, or four features and not
 * the polynomial, need not be asked of them again. */
static int choose_way(attn_worker *w, const attn_block *b, const attn_tile *tile,
                      attn_visibility seen, int g, void *key, int first_row, int rows) {
    const attn_tiles *const t = w->tiles;
    const int d = w->plan->d_padded, count = tile->count;
    t->column_ranges(w->space.key_lowest, w->space.key_highest, key, d, 1, count, d);
    int way = way_to_score(w, b, g);
    if (!attn_hides(w, seen) || way == BY_POLYNOMIAL) return way;
    if (way == 4 && is_far_apart(w, b, tile, g, key, first_row, rows)) return way;
    attn_hidden_tile(w, b, tile);
    attn_additive_hide_keys(w, tile, g * b->queries + first_row, rows, key);
    attn_additive_seeing_ranges(w, b, tile, g);
    t->column_ranges(w->space.key_lowest, w->space.key_highest, key, d, 1, count, d);
    way = way_to_score(w, b, g);
    attn_additive_row_ranges(w, b, g);
    return way;
}

static void score_rows(attn_worker *w, const attn_block *b, const attn_tile *tile,
                       attn_visibility seen, int g, void *key, int first_row, int rows,
                       void *scores) {
    const attn_tiles *const t = w->tiles;
    const attn_additive *const a = &w->space.additive;
    const int d = w->plan->d_padded, count = tile->count;
    const int64_t skipped = b->few ? (int64_t)first_row * d : 0;
    void *const exponentials = w->space.key_exponentials;
    const int way = choose_way(w, b, tile, seen, g, key, first_row, rows);
    const void *const query = attn_offset(
        attn_head_queries(w, b, g, way > 0 ? a->exponentials : w->space.query), skipped, t);
    if (way > 0) t->exp_twice(exponentials, key, d, count, d, NULL, NULL);
    if (way > 0 && b->few)
        t->score_additive_few(scores, query, d, exponentials, d, of_head(w, g, a->inverse_weight),
                              way, count, d, rows, tile->width, a->first[g], a->factor[g]);
    else if (way > 0)
        t->score_additive(scores, query, exponentials, d, of_head(w, g, a->inverse_weight), way,
                          count, d, tile->width, a->first[g], a->factor[g]);
    else if (b->few)
        t->score_tanh_few(scores, query, d, key, d, of_head(w, g, a->weight), count, d, rows,
                          tile->width);
    else
        t->score_tanh(scores, query, key, d, of_head(w, g, a->weight), way == BY_POLYNOMIAL, count,
                      w->plan->d, tile->width);
}

/* ------------------------------------------------------------------------- location-awareness */

/* A matrix of the head, [rows][columns], packed. */
static void load_matrix(const attn_worker *w, const attn_tensor *t, int64_t head, void *target) {
    w->tiles->load_rows(target, t->shape[3],
                        attn_broadcast_at(t, w->tiles->element_size, 0, head, 0, 0), t->stride[2],
                        t->stride[3], (int)t->shape[2], (int)t->shape[3], 1.0);
}

/* previous[j] for keys from the tile's first - width/2 on, 0 outside the sequence. */
static void load_previous(const attn_worker *w, const attn_block *b, const attn_tile *tile,
                          int64_t head, int64_t query, int window) {
    const attn_tensor *const p = &w->problem->score.location->previous;
    const attn_tiles *const t = w->tiles;
    const int64_t first = tile->k - window / 2, last = first + tile->count + window - 1;
    const int64_t from = first < 0 ? 0 : first,
                  to = last < b->sequence.keys ? last : b->sequence.keys;
    t->fill(w->space.previous, 1, tile->count + attn_padded(window, t), 0);
    t->load_rows(attn_offset(w->space.previous, from - first, t), 0,
                 attn_at(p, t->element_size, attn_broadcast_index(p, 0, b->sequence.index),
                         attn_broadcast_index(p, 1, head), attn_broadcast_index(p, 2, query), from),
                 0, p->stride[3], 1, (int)(to - from), 1.0);
}

/* The tile's keys, each with the projected features of where this query's earlier weights lay. Both
 * the convolution and the projection are dot products with the lanes along the features. */
void attn_locate_keys(attn_worker *w, const attn_block *b, const attn_tile *tile, int g, int r) {
    const attn_location *const l = w->problem->score.location;
    const attn_tiles *const t = w->tiles;
    const int64_t head = b->first_head + g;
    const int channels = (int)l->filters.shape[2], window = (int)l->filters.shape[3];
    const int padded = attn_padded(channels, t), d = w->plan->d_padded;
    void *const filters = w->space.location_table;
    void *const projection = attn_offset(filters, (int64_t)padded * attn_padded(window, t), t);
    load_matrix(w, &l->filters, head, filters);
    load_matrix(w, &l->projection, head, projection);
    load_previous(w, b, tile, head, b->first_query + r, window);
    t->fill(w->space.location, 1, (int64_t)tile->count * padded, 0);
    t->score_few(w->space.location, w->space.previous, 1, filters, window, channels, window,
                 tile->count, padded);
    t->fill(w->space.located_key, 1, (int64_t)tile->count * d, 0);
    t->score_few(w->space.located_key, w->space.location, padded, projection, channels, w->plan->d,
                 channels, tile->count, d);
    t->accumulate(w->space.located_key, w->space.key, (int64_t)tile->count * d);
}

void attn_additive_tile(attn_worker *w, const attn_block *b, const attn_tile *tile,
                        attn_visibility seen, int g, void *scores) {
    attn_additive_keys(w, b, tile, g);
    if (!w->problem->score.location) {
        score_rows(w, b, tile, seen, g, w->space.key, 0, b->queries, scores);
        return;
    }
    for (int r = 0; r < b->queries; r++) {
        attn_locate_keys(w, b, tile, g, r);
        score_rows(w, b, tile, seen, g, w->space.located_key, r, 1,
                   attn_offset(scores, r * tile->row_stride, w->tiles));
    }
}

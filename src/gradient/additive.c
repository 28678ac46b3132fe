/* additive.c: gradients of scores that are no products: additive and concat, (39) to (41) of
 * docs/MATHS.md, whose pairs have a tanh each feature, and Gaussian (46). The arithmetic is in tiles/pairwise.h. */
#include "attention/additive.h"

#include <float.h>
#include <math.h>

#include "gradient/gradient.h"

/* --------------------------------------------------------------------------- pairs of a tile */

/* All pairs; or, where some are hidden whose features are not all finite, those that are not. */
static void run_pairs(attn_gradient_worker *g, const attn_tile *tile, attn_visibility seen,
                      int first_row, const attn_pairwise_tile *pairs) {
    const attn_tiles *const t = g->w.tiles;
    if (!attn_gradient_hides(g, seen) ||
        (t->all_finite(pairs->key, pairs->key_stride, pairs->keys, pairs->d) &&
         t->all_finite(pairs->query, pairs->query_stride, pairs->rows, pairs->d))) {
        t->pairwise_gradient(pairs);
        return;
    }
    for (int k = 0; k < pairs->keys; k++) {
        for (int r = 0; r < pairs->rows; r++) {
            const int64_t at = k * tile->key_stride + (first_row + r) * tile->row_stride;
            if (attn_read(t, attn_offset(g->w.space.hidden, at, t)) == (double)-INFINITY) continue;
            attn_pairwise_tile one = *pairs;
            one.keys = one.rows = 1;
            one.key = attn_offset((void *)(uintptr_t)pairs->key, k * pairs->key_stride, t);
            one.query = attn_offset((void *)(uintptr_t)pairs->query, r * pairs->query_stride, t);
            one.key_sums = attn_offset(pairs->key_sums, k * pairs->key_stride, t);
            one.query_sums = attn_offset(pairs->query_sums, r * pairs->query_stride, t);
            one.gradient =
                attn_offset((void *)(uintptr_t)pairs->gradient,
                            k * pairs->gradient_key_stride + r * pairs->gradient_row_stride, t);
            t->pairwise_gradient(&one);
        }
    }
}

/* Rows that see nothing of the tile are 0 in a copy of all rows: ranges have not looked at them, and
 * 0 times what is made of them must be 0. */
static void hide_rows(attn_gradient_worker *g, const attn_tile *tile, attn_visibility seen,
                      int first_row, attn_pairwise_tile *pairs) {
    const attn_tiles *const t = g->w.tiles;
    const int64_t stride = pairs->query_stride;
    if (!attn_gradient_hides(g, seen)) return;
    for (int r = 0; r < pairs->rows; r++) {
        if (attn_additive_row_sees(&g->w, tile, first_row + r)) continue;
        if (pairs->query != g->g.rows_a)
            t->load_rows(g->g.rows_a, stride, pairs->query, stride, 1, pairs->rows, pairs->d, 1.0);
        pairs->query = g->g.rows_a;
        t->fill(attn_offset(g->g.rows_a, r * stride, t), 1, pairs->d, 0);
    }
}

static attn_pairwise_tile pairs_of(attn_gradient_worker *g, const attn_tile *tile, int first_row,
                                   int rows, const void *key, void *key_sums) {
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d_padded;
    return (attn_pairwise_tile){
        .kind = ATTN_PAIRWISE_DISTANCE,
        .query = attn_offset((void *)(uintptr_t)g->query_rows, first_row * g->query_stride, t),
        .key = key,
        .gradient = attn_offset(g->g.gradient, first_row * tile->row_stride, t),
        .query_sums = attn_offset(g->g.query_sums, (int64_t)first_row * d, t),
        .key_sums = key_sums,
        .query_stride = d,
        .key_stride = d,
        .gradient_key_stride = tile->key_stride,
        .gradient_row_stride = tile->row_stride,
        .keys = tile->count,
        .rows = rows,
        .d = d,
    };
}

static void *sums_of_keys(attn_gradient_worker *g, const attn_tile *tile) {
    return attn_offset(g->g.key_sums, (tile->k - g->chunk_keys.first) * g->call->plan.d_padded,
                       g->w.tiles);
}

/* ------------------------------------------------------------------------------------- Gaussian */

void attn_gradient_gaussian(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                            attn_visibility seen) {
    const attn_tensor *const k = &g->w.problem->key;
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d, padded = g->call->plan.d_padded;
    if (d < padded) t->fill(g->g.key_rows, 1, (int64_t)tile->count * padded, 0);
    t->load_rows(g->g.key_rows, padded, attn_key_rows(&g->w, k, b, tile->k), k->stride[2],
                 k->stride[3], tile->count, d, 1.0);
    if (attn_gradient_hides(g, seen))
        attn_additive_hide_keys(&g->w, tile, 0, b->rows, g->g.key_rows);
    attn_pairwise_tile pairs = pairs_of(g, tile, 0, b->rows, g->g.key_rows, sums_of_keys(g, tile));
    hide_rows(g, tile, seen, 0, &pairs);
    run_pairs(g, tile, seen, 0, &pairs);
}

/* ----------------------------------------------------------------------------------------- tanh */

/* By exponentials where none is out of range; four keys to a division if their product allows it. By
 * the polynomial where all sums are small, since 1 - 2r would round more than their tanh. */
static void choose_way(attn_gradient_worker *g, attn_pairwise_tile *pairs) {
    const attn_tiles *const t = g->w.tiles;
    const attn_workspace *const s = &g->w.space;
    const int largest_exponent = t->element_size == sizeof(float) ? FLT_MAX_EXP : DBL_MAX_EXP;
    double largest = 0, alone = 0, highest = 0;
    t->column_ranges(s->key_lowest, s->key_highest, pairs->key, pairs->key_stride, 1, pairs->keys,
                     pairs->d);
    for (int f = 0; f < pairs->d; f++) {
        const int64_t at = (int64_t)f * t->element_size;
        const double q_low = attn_read(t, (const char *)s->additive.lowest + at);
        const double q_high = attn_read(t, (const char *)s->additive.highest + at);
        const double k_low = attn_read(t, (const char *)s->key_lowest + at);
        const double k_high = attn_read(t, (const char *)s->key_highest + at);
        alone = fmax(alone, fmax(fmax(-q_low, q_high), fmax(-k_low, k_high)));
        highest = fmax(highest, q_high + k_high);
        largest = fmax(largest, fmax(fabs(q_low + k_low), fabs(q_high + k_high)));
    }
    const double reach = 2 * ATTN_LOG2_E * highest + 1; /* of 1 + e^(2 highest), in powers of 2 */
    pairs->kind = !(alone <= attn_additive_most_size(t)) ? ATTN_PAIRWISE_TANH
                  : largest < ATTN_NEAR_ZERO             ? ATTN_PAIRWISE_TANH_NEAR
                                                         : ATTN_PAIRWISE_EXPONENTIALS;
    /* Ranges do not see NaN, which would spread to the keys that share its division. */
    pairs->shared = 4 * reach < largest_exponent - 2 &&
                    t->all_finite(pairs->key, pairs->key_stride, pairs->keys, pairs->d);
}

static void run_tanh(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                     attn_visibility seen, int first_row, int rows, void *key, void *key_sums) {
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d_padded;
    const bool hides = attn_gradient_hides(g, seen);
    attn_pairwise_tile pairs = pairs_of(g, tile, first_row, rows, key, key_sums);
    pairs.weight_sums = g->g.matrix[ATTN_OF_WEIGHT] ? g->g.matrix[ATTN_OF_WEIGHT] : g->g.unwanted;
    if (hides) {
        attn_additive_hide_keys(&g->w, tile, first_row, rows, key);
        attn_additive_seeing_ranges(&g->w, b, tile, 0);
    }
    choose_way(g, &pairs);
    if (hides) attn_additive_row_ranges(&g->w, b, 0);
    if (pairs.kind == ATTN_PAIRWISE_EXPONENTIALS) {
        t->exp_twice(g->g.exponentials[1], key, d, tile->count, d, NULL, NULL);
        pairs.key = g->g.exponentials[1];
        pairs.query = attn_offset(g->g.exponentials[0], (int64_t)first_row * d, t);
    }
    hide_rows(g, tile, seen, first_row, &pairs);
    run_pairs(g, tile, seen, first_row, &pairs);
}

void attn_gradient_additive(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                            attn_visibility seen) {
    attn_worker *const w = &g->w;
    const int64_t elements = (int64_t)tile->count * g->call->plan.d_padded;
    attn_additive_keys(w, b, tile, 0);
    if (!w->problem->score.location) {
        run_tanh(g, b, tile, seen, 0, b->rows, w->space.key, sums_of_keys(g, tile));
        return;
    }
    for (int r = 0; r < b->rows; r++) {
        attn_locate_keys(w, b, tile, 0, r);
        w->tiles->fill(g->g.located_sums, 1, elements, 0);
        run_tanh(g, b, tile, seen, r, 1, w->space.located_key, g->g.located_sums);
        w->tiles->accumulate(sums_of_keys(g, tile), g->g.located_sums, elements);
        attn_gradient_location(g, b, tile, r);
    }
}

void attn_gradient_weigh_features(attn_gradient_worker *g, void *rows, int64_t stride, int count) {
    const attn_tiles *const t = g->w.tiles;
    void *const factor = g->w.space.features;
    t->load_rows(factor, 0, g->w.space.additive.weight, 0, 1, 1, (int)stride,
                 g->scale * g->call->pending);
    if (t->all_finite(factor, 0, 1, (int)stride)) {
        t->multiply_rows(rows, count, (int)stride, false, factor);
        return;
    }
    for (int r = 0; r < count; r++) { /* nothing was summed: 0, whatever the weight */
        void *const row = attn_offset(rows, r * stride, t);
        if (!attn_gradient_is_zero(t, row, (int)stride))
            t->multiply_rows(row, 1, (int)stride, false, factor);
    }
}

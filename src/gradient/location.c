/* location.c: gradients of location-aware scores, (43) and (44) of docs/MATHS.md: each query has keys of its own, to which
 * the projected features of its earlier weights were added. */
#include "attention/additive.h"
#include "gradient/gradient.h"

/* Adds to each key's place what it meets of a filter's width, one key after the other. */
static void spread_window(attn_gradient_worker *g, const attn_tile *tile, int r, int width,
                          int64_t padded) {
    const attn_tiles *const t = g->w.tiles;
    const int64_t row = r * (ATTN_CHUNK_KEYS + padded) + tile->k - g->chunk_keys.first;
    for (int k = 0; k < tile->count; k++)
        t->accumulate(attn_offset(g->g.window, row + k, t),
                      attn_offset(g->g.previous_flow, k * padded, t), width);
}

/* Gradients of features [key][channel], from those of what was added to keys. */
static void find_location_flow(attn_gradient_worker *g, const attn_tile *tile, int channels,
                               int64_t padded, const void *projection) {
    const attn_tiles *const t = g->w.tiles;
    const int d = g->call->plan.d, wide = g->call->plan.d_padded;
    t->fill(g->g.location_flow, 1, tile->count * padded, 0);
    t->aggregate_few(g->g.location_flow, padded, g->w.space.zeros, g->g.weighted, projection,
                     channels, d, channels, tile->count, wide);
    attn_gradient_quieten(g, g->g.location_flow, padded, g->g.weighted, wide, d, tile->count);
}

/* (44), of filters: beyond the keys there is nothing, which the 0 that stands for it does not say where
 * a gradient is not finite; then element by element. */
static void to_filters(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                       int channels, int width) {
    const attn_tiles *const t = g->w.tiles;
    const int of_channels = attn_padded(channels, t), of_width = attn_padded(width, t);
    void *const sums = g->g.matrix[ATTN_OF_FILTERS];
    if (t->all_finite(g->g.location_flow, of_channels, tile->count, of_channels)) {
        t->distribute(sums, of_width, g->g.location_flow, 1, of_channels, g->w.space.previous, 1,
                      channels, of_width, tile->count);
        return;
    }
    for (int at = 0; at < channels * width; at++) {
        void *const sum = attn_offset(sums, at / width * of_width + at % width, t);
        double total = attn_read(t, sum);
        for (int k = 0; k < tile->count; k++) {
            const int64_t place = tile->k + k + at % width - width / 2;
            if (place < 0 || place >= b->sequence.keys) continue;
            total +=
                attn_read(t, attn_offset(g->g.location_flow, k * of_channels + at / width, t)) *
                attn_read(t, attn_offset(g->w.space.previous, k + at % width, t));
        }
        t->fill(sum, 1, 1, total);
    }
}

void attn_gradient_location(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                            int r) {
    const attn_location *const l = g->w.problem->score.location;
    const attn_tiles *const t = g->w.tiles;
    const int channels = (int)l->filters.shape[2], width = (int)l->filters.shape[3];
    const int of_channels = attn_padded(channels, t), of_width = attn_padded(width, t);
    const int d = g->call->plan.d, padded = g->call->plan.d_padded;
    void *const filters = g->w.space.location_table;
    void *const projection = attn_offset(filters, (int64_t)of_channels * of_width, t);
    t->load_rows(g->g.weighted, padded, g->g.located_sums, padded, 1, tile->count, padded, 1.0);
    attn_gradient_weigh_features(g, g->g.weighted, padded, tile->count);
    if (g->call->matrix[ATTN_OF_LOCATION_PROJECTION])
        attn_gradient_distribute_some(g, g->g.matrix[ATTN_OF_LOCATION_PROJECTION], of_channels,
                                      g->g.weighted, 1, padded, g->w.space.location, of_channels, d,
                                      tile->count);
    if (!g->call->matrix[ATTN_OF_FILTERS] && !g->call->line[ATTN_OF_PREVIOUS]) return;
    find_location_flow(g, tile, channels, of_channels, projection);
    if (g->call->matrix[ATTN_OF_FILTERS]) to_filters(g, b, tile, channels, width);
    if (!g->call->line[ATTN_OF_PREVIOUS]) return;
    t->fill(g->g.previous_flow, 1, (int64_t)tile->count * of_width, 0);
    t->aggregate_few(g->g.previous_flow, of_width, g->w.space.zeros, g->g.location_flow, filters,
                     width, channels, width, tile->count, of_channels);
    attn_gradient_quieten(g, g->g.previous_flow, of_width, g->g.location_flow, of_channels,
                          channels, tile->count);
    spread_window(g, tile, r, width, of_width);
}

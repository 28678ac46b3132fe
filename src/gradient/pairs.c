/* pairs.c: from the gradients of final scores back to those of SCORE's, and on the way to what was
 * added: temperature, the caller's own, bias, tables of biases, slopes, soft cap, scale. */
#include <math.h>
#include <string.h>

#include "attention/modify.h"
#include "gradient/gradient.h"

/* --------------------------------------------------------------------------------------- lines */

void attn_gradient_take_turn(attn_gradient_worker *g, const attn_block *b) {
    if (g->holds_turn) return;
    const int step = attn_head_block_queries(&g->call->plan, &b->sequence);
    attn_turn_await(&g->call->block_turns[b->first_query / step], g->task);
    g->holds_turn = true;
}

/* Sequences or rows of the batch, heads: those of the problem, or one. Packed centers lie as queries. */
static char *line_at(const attn_gradient_worker *g, const attn_block *b, attn_line line,
                     int64_t key) {
    const attn_tensor *const t = g->call->line[line];
    const bool centers = line == ATTN_OF_CENTERS;
    const attn_sequence *const s = &b->sequence;
    return attn_broadcast_at(t, g->w.tiles->element_size, centers ? s->batch : s->index,
                             b->first_head, b->first_query + (centers ? s->query_first : 0), key);
}

void attn_gradient_add_line(attn_gradient_worker *g, const attn_block *b, attn_line line,
                            int64_t key, const void *rows, int64_t stride, int columns) {
    const attn_tensor *const t = g->call->line[line];
    const attn_tiles *const tiles = g->w.tiles;
    const int64_t column = attn_broadcast_stride(t, 3);
    if (t->shape[2] != 1) {
        attn_gradient_take_turn(g, b);
        tiles->add_rows(line_at(g, b, line, key), t->stride[2], column, rows, stride, b->rows,
                        columns);
        return;
    }
    const attn_location *const l = g->w.problem->score.location;
    const bool one = t->shape[3] == 1;
    const int64_t beyond = line == ATTN_OF_PREVIOUS ? l->filters.shape[3] / 2 : 0;
    const int64_t at = key - g->chunk_keys.first + beyond;
    tiles->add_rows(attn_offset(g->g.line[line], one ? 0 : at, tiles), 0, one ? 0 : 1, rows, stride,
                    b->rows, columns);
}

void attn_gradient_end_lines(attn_gradient_worker *g, const attn_block *b) {
    const attn_location *const l = g->w.problem->score.location;
    const attn_tiles *const tiles = g->w.tiles;
    for (int i = 0; i < ATTN_LINES; i++) {
        const attn_tensor *const t = g->call->line[i];
        if (!t || t->shape[2] != 1) continue;
        /* `previous` reaches half a filter beyond the chunk, on either side. */
        const int64_t beyond = i == ATTN_OF_PREVIOUS ? l->filters.shape[3] / 2 : 0;
        const int64_t origin = g->chunk_keys.first - beyond;
        const int64_t first = attn_larger(origin, 0);
        const int64_t last = attn_smaller(g->chunk_keys.last + beyond, b->sequence.keys);
        const bool one = t->shape[3] == 1;
        const int count = one ? 1 : (int)(last - first);
        tiles->add_rows(line_at(g, b, (attn_line)i, one ? 0 : first), 0,
                        attn_broadcast_stride(t, 3),
                        attn_offset(g->g.line[i], one ? 0 : first - origin, tiles), 0, 1, count);
    }
}

/* The tile's rows side by side, times a factor. */
static const void *natural_rows(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                                double factor, int64_t *stride) {
    const attn_tiles *const t = g->w.tiles;
    const void *const from = g->g.gradient;
    t->fill(g->g.any, 1, t->block, factor);
    *stride = b->few ? tile->row_stride : ATTN_KEY_BLOCK;
    if (b->few)
        t->store_rows(g->g.natural, *stride, 1, from, tile->row_stride, b->rows, tile->count,
                      g->g.any);
    else
        t->store_transposed(g->g.natural, *stride, 1, from, tile->key_stride, b->rows, tile->count,
                            g->g.any);
    return g->g.natural;
}

/* (28) */
static void to_bias(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    int64_t stride;
    if (!g->call->line[ATTN_OF_BIAS]) return;
    const void *const rows = natural_rows(g, b, tile, g->call->pending, &stride);
    attn_gradient_add_line(g, b, ATTN_OF_BIAS, tile->k, rows, stride, tile->count);
}

/* ------------------------------------------------------------------------------------- numbers */

static void add_products(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                         attn_number number, const void *with) {
    if (!g->call->number[number]) return;
    g->w.tiles->row_products(g->g.products[number], g->g.gradient, with, tile->lines, tile->width,
                             b->few);
}

/* (30) */
static void to_slopes(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile) {
    attn_worker *const w = &g->w;
    if (!g->call->number[ATTN_OF_SLOPES]) return;
    attn_tile_positions(w, b, tile);
    if (b->few)
        w->tiles->add_distances_few(g->g.products[ATTN_OF_SLOPES], g->g.gradient, g->g.ones,
                                    w->space.positions, tile->count, b->rows, tile->width);
    else
        w->tiles->add_distances(g->g.products[ATTN_OF_SLOPES], g->g.gradient, g->g.ones,
                                w->space.positions, tile->count, tile->width);
}

/* (14), (15), pair by pair. */
void attn_gradient_local(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                         const void *weights) {
    const attn_local *const l = g->w.problem->normalizer.local;
    const attn_tiles *const t = g->w.tiles;
    const double sigma = l->sigma > 0 ? l->sigma : l->half_width / 2;
    if ((!g->call->line[ATTN_OF_CENTERS] && !g->call->number[ATTN_OF_SIGMA]) || isinf(sigma))
        return;
    for (int r = 0; r < b->rows; r++) {
        const double center = attn_center(&g->w, b, r) - (double)tile->k;
        double first = 0, second = 0;
        for (int c = 0; c < tile->count; c++) {
            const int64_t at = (r * tile->row_stride + c * tile->key_stride) * t->element_size;
            const double weight = attn_read(t, (const char *)weights + at);
            const double apart = ((double)c - center) / sigma;
            if (weight == 0) continue;
            const double share = weight * attn_read(t, (const char *)g->g.gradient + at) * apart;
            first += share / sigma;
            second += share * apart / sigma;
        }
        t->fill(attn_offset(g->g.any, r, t), 1, 1, first);
        g->g.number[ATTN_OF_SIGMA] += second;
    }
    if (g->call->line[ATTN_OF_CENTERS])
        attn_gradient_add_line(g, b, ATTN_OF_CENTERS, 0, g->g.any, 1, 1);
}

/* ---------------------------------------------------------------------------------------- back */

/* (27) */
static void through_callback(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                             attn_visibility seen) {
    const attn_input_gradients *const to = g->call->to;
    attn_worker *const w = &g->w;
    if (!to->callback || w->problem->normalizer.kind == ATTN_HARDMAX) return; /* (24) */
    if (g->call->temperature != 1)
        w->tiles->multiply(g->g.gradient, tile->lines, tile->width, 1 / g->call->temperature);
    const attn_pairs scores = attn_pairs_of(w, b, tile, 0, g->g.before);
    const attn_pairs gradients = attn_pairs_of(w, b, tile, 0, g->g.gradient);
    to->callback(to->callback_user, &scores, &gradients);
    if (!attn_gradient_hides(g, seen)) return;
    w->tiles->zero_masked(g->g.gradient, tile->row_stride, tile->key_stride, w->space.hidden,
                          tile->key_stride, tile->row_stride, b->rows, tile->count);
}

/* (31), (32) */
static void through_softcap(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                            attn_visibility seen) {
    const double cap = g->w.problem->score.softcap;
    const attn_tiles *const t = g->w.tiles;
    if (!(cap > 0)) return;
    if (g->call->number[ATTN_OF_SOFTCAP]) {
        memcpy(g->g.spare, g->g.raw,
               (size_t)tile->lines * (size_t)tile->width * (size_t)t->element_size);
        t->multiply(g->g.spare, tile->lines, tile->width, g->scale);
        t->slope_of_cap(g->g.spare, g->g.capped, tile->lines, tile->width, cap);
        add_products(g, b, tile, ATTN_OF_SOFTCAP, g->g.spare);
    }
    t->slope_softcap(g->g.gradient, g->g.capped, tile->lines, tile->width, cap);
    attn_gradient_clear_hidden(g, b, tile, seen, g->g.gradient);
}

/* Products with hidden pairs' scores must not be NaN: scores of lanes and pairs that nobody sees count
 * where their gradient is not 0, which it is. */
void attn_gradient_pairs(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                         attn_visibility seen) {
    add_products(g, b, tile, ATTN_OF_TEMPERATURE, g->g.final);
    add_products(g, b, tile, ATTN_OF_SIGMOID_BIAS, NULL);
    through_callback(g, b, tile, seen);
    to_slopes(g, b, tile);
    attn_gradient_relative_bias(g, b, tile);
    to_bias(g, b, tile);
    through_softcap(g, b, tile, seen);
    add_products(g, b, tile, ATTN_OF_SCALE, g->g.raw);
    add_products(g, b, tile, ATTN_OF_SCALES, g->g.raw);
    attn_gradient_kind(g, b, tile, seen);
}

/* modify.c: see modify.h. */
#include "attention/modify.h"

#include <math.h>
#include <string.h>

#include "api/check.h"
#include "attention/relative.h"
#include "tiles/threefry.h"

/* --------------------------------------------------------------------------------- positions */

int64_t attn_position(const attn_block *b, int r) {
    return b->sequence.position + b->first_query + r % b->queries;
}

double attn_center(const attn_worker *w, const attn_block *b, int r) {
    const attn_tensor *const t = &w->problem->normalizer.local->centers;
    if (!attn_tensor_present(t)) return (double)attn_position(b, r);
    const int64_t query = b->sequence.query_first + b->first_query + r % b->queries;
    return attn_read(w->tiles, attn_broadcast_at(t, w->tiles->element_size, b->sequence.batch,
                                                 b->first_head + r / b->queries, query, 0));
}

static void set_position(attn_worker *w, int r, double position) {
    w->tiles->fill(attn_offset(w->space.positions, r, w->tiles), 1, 1, position);
}

/* Lanes beyond the rows get 0, so that they stay finite. */
static void clear_positions(attn_worker *w, const attn_block *b) {
    w->tiles->fill(w->space.positions, 1, b->width, 0);
}

void attn_tile_positions(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    clear_positions(w, b);
    for (int r = 0; r < b->rows; r++) set_position(w, r, (double)(attn_position(b, r) - tile->k));
}

/* In a tile of few the lanes are keys: a row at a time, as a tile of one key whose positions fall from
 * lane to lane. */
static void set_lane_positions(attn_worker *w, const attn_tile *tile, double position) {
    for (int c = 0; c < tile->width; c++)
        w->tiles->fill(attn_offset(w->space.lane_positions, c, w->tiles), 1, 1, position - c);
}

/* --------------------------------------------------------------------------------------- bias */

void attn_zero_extra(attn_worker *w, const attn_tile *tile) {
    memset(w->space.extra, 0,
           (size_t)tile->lines * (size_t)tile->width * (size_t)w->tiles->element_size);
}

const void *attn_pair_entries(const attn_tensor *t, int element_size, const attn_block *b,
                              int64_t head, int64_t k) {
    return attn_broadcast_at(t, element_size, b->sequence.index, head, b->first_query, k);
}

void attn_add_bias(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    const attn_tensor *const t = &w->problem->score.bias;
    const attn_tiles *const tiles = w->tiles;
    attn_zero_extra(w, tile);
    for (int g = 0; g < b->heads; g++) {
        const void *const from =
            attn_pair_entries(t, tiles->element_size, b, b->first_head + g, tile->k);
        void *const to = attn_head_rows(w->space.extra, b, tile, g, tiles);
        if (b->few)
            tiles->load_rows(to, tile->row_stride, from, attn_broadcast_stride(t, 2),
                             attn_broadcast_stride(t, 3), b->queries, tile->count, 1.0);
        else
            tiles->load_transposed(to, tile->key_stride, from, attn_broadcast_stride(t, 2),
                                   attn_broadcast_stride(t, 3), b->queries, tile->count, 1.0);
    }
    tiles->add_bias(scores, w->space.extra, tile->lines, tile->width);
}

/* -------------------------------------------------------------------------------------- ALiBi */

static double slope_of(const attn_worker *w, const attn_block *b, int g) {
    const attn_tensor *const t = &w->problem->score.alibi_slopes;
    return attn_read(w->tiles, attn_broadcast_at(t, w->tiles->element_size, b->sequence.index,
                                                 b->first_head + g, 0, 0));
}

static void add_alibi_few(attn_worker *w, const attn_block *b, const attn_tile *tile,
                          void *scores) {
    for (int r = 0; r < b->rows; r++) {
        set_lane_positions(w, tile, (double)(attn_position(b, r) - tile->k));
        w->tiles->fill(w->space.lane_slopes, 1, tile->width, slope_of(w, b, r / b->queries));
        w->tiles->add_alibi(attn_offset(scores, r * tile->row_stride, w->tiles), 1, tile->width,
                            w->space.lane_slopes, w->space.lane_positions);
    }
}

static void add_alibi(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    if (b->few) {
        add_alibi_few(w, b, tile, scores);
        return;
    }
    attn_tile_positions(w, b, tile);
    w->tiles->fill(w->space.slopes, 1, b->width, slope_of(w, b, 0));
    w->tiles->add_alibi(scores, tile->count, b->width, w->space.slopes, w->space.positions);
}

/* -------------------------------------------------------------------------------------- noise */

/* Within 0 and 1 for every pair of a tile, into space.extra. */
static void load_uniform(attn_worker *w, const attn_block *b, const attn_tile *tile,
                         bool second_word) {
    const uint64_t seed = w->problem->normalizer.seed;
    for (int g = 0; g < b->heads; g++) {
        uint32_t of_sequence = (uint32_t)b->sequence.index, of_head = (uint32_t)(b->first_head + g);
        ATTN_THREEFRY(of_sequence, of_head, (uint32_t)seed, (uint32_t)(seed >> 32));
        const attn_noise noise = {
            .key = {of_sequence, of_head},
            .first_line = (uint32_t)(b->few ? b->first_query : tile->k),
            .first_lane = (uint32_t)(b->few ? tile->k : b->first_query),
            .lanes_are_keys = b->few,
            .second_word = second_word,
        };
        w->tiles->uniform(attn_head_rows(w->space.extra, b, tile, g, w->tiles),
                          b->few ? b->queries : tile->lines, tile->width, &noise);
    }
}

void attn_disturb_scores(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    if (!w->problem->normalizer.gumbel) return;
    load_uniform(w, b, tile, true);
    w->tiles->add_gumbel(scores, w->space.extra, tile->lines, tile->width);
}

/* ------------------------------------------------------------------------------------- scores */

void attn_cap_scores(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    (void)b;
    if (w->problem->score.softcap > 0)
        w->tiles->softcap(scores, tile->lines, tile->width, w->problem->score.softcap);
}

/* What the bias hides, whatever the caller's own function has made of it. */
static void hide_biased(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    const attn_tiles *const t = w->tiles;
    const int64_t elements = (int64_t)tile->lines * tile->width;
    t->fill(w->space.hidden, 1, elements, 0);
    attn_add_bias(w, b, tile, w->space.hidden);
    for (int64_t i = 0; i < elements; i++)
        if (attn_read(t, attn_offset(w->space.hidden, i, t)) == (double)-INFINITY)
            t->fill(attn_offset(scores, i, t), 1, 1, (double)-INFINITY);
}

void attn_call_score(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    const attn_score *const s = &w->problem->score;
    for (int g = 0; g < b->heads && s->callback; g++) {
        const attn_pairs pairs = attn_pairs_of(w, b, tile, g, scores);
        s->callback(s->callback_user, &pairs);
    }
    if (s->callback && attn_tensor_present(&s->bias)) hide_biased(w, b, tile, scores);
}

/* The bias comes last, so that what it hides stays hidden. */
void attn_bias_scores(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    const attn_score *const s = &w->problem->score;
    if (s->relative) attn_relative_bias(w, b, tile, scores);
    if (attn_tensor_present(&s->alibi_slopes)) add_alibi(w, b, tile, scores);
    if (attn_tensor_present(&s->bias)) attn_add_bias(w, b, tile, scores);
}

/* ------------------------------------------------------------------------------------ weights */

/* weights *= exp(-(j - centre)^2 / (2 sigma^2)) */
static void localize(attn_worker *w, const attn_block *b, const attn_tile *tile, void *weights) {
    const attn_local *const l = w->problem->normalizer.local;
    const double sigma = l->sigma > 0 ? l->sigma : l->half_width / 2;
    if (isinf(sigma)) return;
    /* A window of one key has no width to divide by; its only key stands at the centre, or nowhere. */
    const double sharpness = sigma > 0 ? ATTN_LOG2_E / (2 * sigma * sigma) : 0;
    clear_positions(w, b);
    for (int r = 0; r < b->rows; r++) {
        const double position = attn_center(w, b, r) - (double)tile->k;
        if (!b->few) {
            set_position(w, r, position);
            continue;
        }
        set_lane_positions(w, tile, position);
        w->tiles->multiply_gaussian(attn_offset(weights, r * tile->row_stride, w->tiles), 1,
                                    tile->width, w->space.lane_positions, sharpness);
    }
    if (!b->few)
        w->tiles->multiply_gaussian(weights, tile->count, b->width, w->space.positions, sharpness);
}

void attn_modify_weights(attn_worker *w, const attn_block *b, const attn_tile *tile,
                         void *weights) {
    const attn_normalizer *const n = &w->problem->normalizer;
    if (n->local) localize(w, b, tile, weights);
    const double chance = floor(n->dropout * 0x1p23 + 0.5) * 0x1p-23;
    if (chance == 0) return;
    load_uniform(w, b, tile, false);
    w->tiles->drop(weights, w->space.extra, tile->lines, tile->width, chance);
}

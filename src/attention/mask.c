/* mask.c: see mask.h. */
#include "attention/mask.h"

#include <math.h>
#include <string.h>

#include "api/check.h"
#include "attention/modify.h"

/* ------------------------------------------------------------------------- once for each block */

/* The id of a row of the ids arrays, which are dense: [batch][length]. */
static const int32_t *document_ids(const int32_t *ids, const attn_tensor *of, int64_t batch,
                                   int64_t i) {
    return ids + batch * of->shape[2] + i;
}

/* Local attention: keys no farther than half_width from the query's centre. */
static attn_key_range near_center(attn_worker *w, const attn_block *b, int r, attn_key_range seen) {
    const double half = w->problem->normalizer.local->half_width;
    const double center = attn_center(w, b, r);
    const double first = ceil(center - half), last = floor(center + half) + 1;
    if (first > (double)seen.first)
        seen.first = first < (double)seen.last ? (int64_t)first : seen.last;
    if (last < (double)seen.last)
        seen.last = last > (double)seen.first ? (int64_t)last : seen.first;
    return seen;
}

void attn_mask_begin(attn_worker *w, attn_block *b) {
    const attn_problem *const p = w->problem;
    attn_workspace *const s = &w->space;
    attn_key_range any = {b->keys.last, b->keys.first};
    for (int r = 0, i = 0; r < b->rows; r++, i = i + 1 == b->queries ? 0 : i + 1) {
        const int64_t query = b->first_query + i;
        attn_key_range seen = attn_visible_keys(p, &b->sequence, query);
        if (p->normalizer.local) seen = near_center(w, b, r, seen);
        s->visible[r] = seen;
        if (p->mask.query_documents)
            s->documents[r] = *document_ids(p->mask.query_documents, &p->query, b->sequence.batch,
                                            b->sequence.query_first + query);
        if (seen.first >= seen.last) continue;
        if (seen.first < any.first) any.first = seen.first;
        if (seen.last > any.last) any.last = seen.last;
    }
    if (any.first > b->keys.first) b->keys.first = any.first;
    if (any.last < b->keys.last) b->keys.last = any.last;
}

/* -------------------------------------------------------------------------- once for each tile */

/* Two rules together: nothing if either leaves nothing, all if both leave all. */
static attn_visibility both(attn_visibility a, attn_visibility b) {
    return a < b ? a : b;
}

static attn_visibility ranges_visibility(const attn_worker *w, const attn_block *b,
                                         const attn_tile *tile) {
    const int64_t first = tile->k, last = tile->k + tile->count;
    const attn_key_range *const visible = w->space.visible;
    bool all = true, any = false;
    for (int r = 0; r < b->rows; r++) {
        all &= visible[r].first <= first && visible[r].last >= last;
        any |= visible[r].first < last && visible[r].last > first;
    }
    return all ? ATTN_TILE_OPEN : any ? ATTN_TILE_PARTIAL : ATTN_TILE_SHUT;
}

typedef struct {
    int32_t lowest, highest;
} id_span;

static id_span span_of(const int32_t *ids, int count) {
    id_span span = {ids[0], ids[0]};
    for (int i = 1; i < count; i++) {
        if (ids[i] < span.lowest) span.lowest = ids[i];
        if (ids[i] > span.highest) span.highest = ids[i];
    }
    return span;
}

static const int32_t *key_documents(const attn_worker *w, const attn_block *b, int64_t k) {
    return document_ids(w->problem->mask.key_documents, &w->problem->key, b->sequence.batch,
                        b->sequence.key_first + k);
}

static attn_visibility documents_visibility(const attn_worker *w, const attn_block *b,
                                            const attn_tile *tile) {
    const id_span keys = span_of(key_documents(w, b, tile->k), tile->count);
    const id_span queries = span_of(w->space.documents, b->rows);
    if (keys.lowest > queries.highest || keys.highest < queries.lowest) return ATTN_TILE_SHUT;
    const bool one = keys.lowest == keys.highest && queries.lowest == queries.highest;
    return one ? ATTN_TILE_OPEN : ATTN_TILE_PARTIAL;
}

/* The rows of `allowed` are as far apart as those of a tile of few, which they then make up. */
static int64_t allowed_stride(const attn_block *b, const attn_tile *tile) {
    return b->few ? tile->row_stride : ATTN_KEY_BLOCK;
}

static attn_visibility allowed_visibility(attn_worker *w, const attn_block *b,
                                          const attn_tile *tile) {
    const attn_tensor *const t = &w->problem->mask.allowed;
    const int64_t stride = allowed_stride(b, tile);
    int met = 0;
    for (int g = 0; g < b->heads; g++)
        met |= w->tiles->load_allowed(
            attn_offset(w->space.allowed, g * b->queries * stride, w->tiles), stride,
            attn_pair_entries(t, 1, b, b->first_head + g, tile->k), attn_broadcast_stride(t, 2),
            attn_broadcast_stride(t, 3), b->queries, tile->count);
    if (!(met & ATTN_SOME_OPEN)) return ATTN_TILE_SHUT;
    return met & ATTN_SOME_SHUT ? ATTN_TILE_PARTIAL : ATTN_TILE_OPEN;
}

attn_visibility attn_mask_tile(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    const attn_mask *const m = &w->problem->mask;
    attn_visibility seen = ranges_visibility(w, b, tile);
    if (seen != ATTN_TILE_SHUT && m->key_documents)
        seen = both(seen, documents_visibility(w, b, tile));
    if (seen != ATTN_TILE_SHUT && attn_tensor_present(&m->allowed))
        seen = both(seen, allowed_visibility(w, b, tile));
    return m->callback ? both(seen, ATTN_TILE_PARTIAL) : seen;
}

static int32_t clamp(int64_t x, int low, int high) {
    return (int32_t)(x < low ? low : x > high ? high : x);
}

static void apply_ranges(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    attn_workspace *const s = &w->space;
    for (int r = 0; r < b->width; r++) {
        const bool real = r < b->rows;
        s->first[r] = real ? clamp(s->visible[r].first - tile->k, 0, tile->count) : 0;
        s->last[r] =
            real ? clamp(s->visible[r].last - tile->k, s->first[r], tile->count) : tile->count;
    }
    if (!b->few) {
        w->tiles->mask_range(scores, tile->count, b->width, s->first, s->last);
        return;
    }
    for (int r = 0; r < b->rows; r++) {
        void *const row = attn_offset(scores, r * tile->row_stride, w->tiles);
        w->tiles->fill(row, 1, s->first[r], (double)-INFINITY);
        w->tiles->fill(attn_offset(row, s->last[r], w->tiles), 1, tile->count - s->last[r],
                       (double)-INFINITY);
    }
}

static void apply_documents(attn_worker *w, const attn_block *b, const attn_tile *tile,
                            void *scores) {
    const int32_t *const ids = key_documents(w, b, tile->k);
    if (!b->few) {
        w->tiles->mask_documents(scores, tile->count, b->width, ids, w->space.documents);
        return;
    }
    /* The same comparison with rows and keys in each other's place; ids up to whole vectors. */
    memcpy(w->space.lane_ids, ids, (size_t)tile->count * sizeof *ids);
    w->tiles->mask_documents(scores, b->rows, tile->width, w->space.documents, w->space.lane_ids);
}

static void apply_allowed(attn_worker *w, const attn_block *b, const attn_tile *tile,
                          void *scores) {
    const attn_tiles *const t = w->tiles;
    if (b->few) {
        t->add_bias(scores, w->space.allowed, tile->lines, tile->width);
        return;
    }
    if (b->rows < b->width) attn_zero_extra(w, tile);
    t->load_transposed(w->space.extra, b->width, w->space.allowed, ATTN_KEY_BLOCK, 1, b->rows,
                       tile->count, 1.0);
    t->add_bias(scores, w->space.extra, tile->count, b->width);
}

static void call_mask(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    const attn_mask *const m = &w->problem->mask;
    for (int g = 0; g < b->heads; g++) {
        const attn_pairs pairs = attn_pairs_of(w, b, tile, g, scores);
        m->callback(m->callback_user, &pairs);
    }
}

void attn_mask_apply(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    const attn_mask *const m = &w->problem->mask;
    if (ranges_visibility(w, b, tile) != ATTN_TILE_OPEN) apply_ranges(w, b, tile, scores);
    if (m->key_documents) apply_documents(w, b, tile, scores);
    if (attn_tensor_present(&m->allowed)) apply_allowed(w, b, tile, scores);
    if (m->callback) call_mask(w, b, tile, scores);
}

void attn_mask_lanes(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores) {
    attn_workspace *const s = &w->space;
    if (b->few || b->rows == b->width) return;
    for (int r = 0; r < b->width; r++) {
        s->first[r] = 0;
        s->last[r] = r < b->rows ? tile->count : 0;
    }
    w->tiles->mask_range(scores, tile->count, b->width, s->first, s->last);
}

bool attn_sees(const attn_worker *w, const attn_block *b, const attn_tile *tile, int row,
               int64_t key) {
    const attn_tiles *const t = w->tiles;
    const attn_problem *const p = w->problem;
    const attn_tensor *const bias = &p->score.bias;
    const attn_key_range seen = w->space.visible[row];
    if (p->mask.callback || tile->k + key < seen.first || tile->k + key >= seen.last) return false;
    if (p->mask.key_documents && w->space.documents[row] != *key_documents(w, b, tile->k + key))
        return false;
    if (attn_tensor_present(&p->mask.allowed) &&
        attn_read(t, attn_offset(w->space.allowed, row * allowed_stride(b, tile) + key, t)) != 0)
        return false;
    if (!attn_tensor_present(bias)) return true;
    const char *const from =
        attn_pair_entries(bias, t->element_size, b, b->first_head + row / b->queries, tile->k);
    const int64_t at =
        row % b->queries * attn_broadcast_stride(bias, 2) + key * attn_broadcast_stride(bias, 3);
    return attn_read(t, from + at * t->element_size) != (double)-INFINITY;
}

bool attn_hides(const attn_worker *w, attn_visibility seen) {
    return seen == ATTN_TILE_PARTIAL || attn_tensor_present(&w->problem->score.bias);
}

void attn_hidden_tile(attn_worker *w, const attn_block *b, const attn_tile *tile) {
    memset(w->space.hidden, 0,
           (size_t)tile->lines * (size_t)tile->width * (size_t)w->tiles->element_size);
    if (attn_tensor_present(&w->problem->score.bias)) attn_add_bias(w, b, tile, w->space.hidden);
    if (attn_mask_tile(w, b, tile) != ATTN_TILE_OPEN) attn_mask_apply(w, b, tile, w->space.hidden);
}

/* mask.c: see mask.h. */
#include "attention/mask.h"

#include <math.h>
#include <string.h>

#include "api/check.h"

/* ------------------------------------------------------------------------- once for each block */

/* The id of a row of the ids arrays, which are dense: [batch][length]. */
static const int32_t *document_ids(const int32_t *ids, const attn_tensor *of, int64_t batch,
                                   int64_t i) {
    return ids + batch * of->shape[2] + i;
}

static double head_value(const attn_tensor *t, const attn_tiles *tiles, int64_t sequence,
                         int64_t head) {
    const void *const at = attn_at(t, tiles->element_size, attn_broadcast_index(t, 0, sequence),
                                   attn_broadcast_index(t, 1, head), 0, 0);
    return tiles->element_size == sizeof(float) ? (double)*(const float *)at : *(const double *)at;
}

static void begin_alibi(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                        attn_workspace *w) {
    tiles->fill(w->slopes, 1, b->width, 0);
    for (int g = 0; g < b->heads; g++) {
        const double slope =
            head_value(&p->score.alibi_slopes, tiles, b->sequence.index, b->first_head + g);
        char *const at = (char *)w->slopes + g * b->queries * tiles->element_size;
        tiles->fill(at, 1, b->queries, slope * ATTN_LOG2_E);
    }
}

void attn_mask_begin(const attn_problem *p, const attn_tiles *tiles, attn_block *b,
                     attn_workspace *w) {
    attn_key_range any = {b->keys.last, b->keys.first};
    for (int r = 0, i = 0; r < b->rows; r++, i = i + 1 == b->queries ? 0 : i + 1) {
        const int64_t query = b->first_query + i;
        const attn_key_range seen = attn_visible_keys(p, &b->sequence, query);
        w->visible[r] = seen;
        if (p->mask.query_documents)
            w->documents[r] = *document_ids(p->mask.query_documents, &p->query, b->sequence.batch,
                                            b->sequence.query_first + query);
        if (seen.first >= seen.last) continue;
        if (seen.first < any.first) any.first = seen.first;
        if (seen.last > any.last) any.last = seen.last;
    }
    if (any.first > b->keys.first) b->keys.first = any.first;
    if (any.last < b->keys.last) b->keys.last = any.last;
    if (attn_tensor_present(&p->score.alibi_slopes)) begin_alibi(p, tiles, b, w);
}

/* -------------------------------------------------------------------------- once for each tile */

/* Two rules together: nothing if either leaves nothing, all if both leave all. */
static attn_visibility both(attn_visibility a, attn_visibility b) {
    return a < b ? a : b;
}

static attn_visibility ranges_visibility(const attn_block *b, const attn_workspace *w,
                                         const attn_tile *tile) {
    const int64_t first = tile->k, last = tile->k + tile->count;
    bool all = true, any = false;
    for (int r = 0; r < b->rows; r++) {
        all &= w->visible[r].first <= first && w->visible[r].last >= last;
        any |= w->visible[r].first < last && w->visible[r].last > first;
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

static const int32_t *key_documents(const attn_problem *p, const attn_block *b, int64_t k) {
    return document_ids(p->mask.key_documents, &p->key, b->sequence.batch,
                        b->sequence.key_first + k);
}

static attn_visibility documents_visibility(const attn_problem *p, const attn_block *b,
                                            const attn_workspace *w, const attn_tile *tile) {
    const id_span keys = span_of(key_documents(p, b, tile->k), tile->count);
    const id_span queries = span_of(w->documents, b->rows);
    if (keys.lowest > queries.highest || keys.highest < queries.lowest) return ATTN_TILE_SHUT;
    const bool one = keys.lowest == keys.highest && queries.lowest == queries.highest;
    return one ? ATTN_TILE_OPEN : ATTN_TILE_PARTIAL;
}

/* Where the entries of bias or allowed for a head's part of a tile begin. */
static const void *pair_entries(const attn_tensor *t, int element_size, const attn_block *b,
                                int64_t head, int64_t k) {
    return attn_at(t, element_size, attn_broadcast_index(t, 0, b->sequence.index),
                   attn_broadcast_index(t, 1, head), attn_broadcast_index(t, 2, b->first_query),
                   attn_broadcast_index(t, 3, k));
}

/* The rows of `allowed` are as far apart as those of a tile of few, which they then make up. */
static int64_t allowed_stride(const attn_block *b, const attn_tile *tile) {
    return b->few ? tile->row_stride : ATTN_KEY_BLOCK;
}

static attn_visibility allowed_visibility(const attn_problem *p, const attn_tiles *tiles,
                                          const attn_block *b, attn_workspace *w,
                                          const attn_tile *tile) {
    const attn_tensor *const t = &p->mask.allowed;
    const int64_t stride = allowed_stride(b, tile);
    int met = 0;
    for (int g = 0; g < b->heads; g++) {
        char *const to = (char *)w->allowed + g * b->queries * stride * tiles->element_size;
        met |= tiles->load_allowed(to, stride, pair_entries(t, 1, b, b->first_head + g, tile->k),
                                   attn_broadcast_stride(t, 2), attn_broadcast_stride(t, 3),
                                   b->queries, tile->count);
    }
    if (!(met & ATTN_SOME_OPEN)) return ATTN_TILE_SHUT;
    return met & ATTN_SOME_SHUT ? ATTN_TILE_PARTIAL : ATTN_TILE_OPEN;
}

attn_visibility attn_mask_tile(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                               attn_workspace *w, const attn_tile *tile) {
    attn_visibility seen = ranges_visibility(b, w, tile);
    if (seen != ATTN_TILE_SHUT && p->mask.key_documents)
        seen = both(seen, documents_visibility(p, b, w, tile));
    if (seen != ATTN_TILE_SHUT && attn_tensor_present(&p->mask.allowed))
        seen = both(seen, allowed_visibility(p, tiles, b, w, tile));
    return seen;
}

static void zero_extra(const attn_tiles *tiles, const attn_tile *tile, attn_workspace *w) {
    memset(w->extra, 0, (size_t)tile->lines * (size_t)tile->width * (size_t)tiles->element_size);
}

static void add_bias(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                     attn_workspace *w, const attn_tile *tile, void *scores) {
    const attn_tensor *const t = &p->score.bias;
    const int size = tiles->element_size;
    zero_extra(tiles, tile, w);
    for (int g = 0; g < b->heads; g++) {
        const void *const from = pair_entries(t, size, b, b->first_head + g, tile->k);
        char *const to = (char *)w->extra + g * b->queries * tile->row_stride * size;
        if (b->few)
            tiles->load_rows(to, tile->row_stride, from, attn_broadcast_stride(t, 2),
                             attn_broadcast_stride(t, 3), b->queries, tile->count, 1.0);
        else
            tiles->load_transposed(to, tile->key_stride, from, attn_broadcast_stride(t, 2),
                                   attn_broadcast_stride(t, 3), b->queries, tile->count, 1.0);
    }
    tiles->add_bias(scores, w->extra, tile->lines, tile->width);
}

/* In a tile of few, a row at a time: the lanes are keys, so the slope is one and positions fall. */
static void add_alibi_few(const attn_tiles *tiles, const attn_block *b, attn_workspace *w,
                          const attn_tile *tile, void *scores) {
    const int size = tiles->element_size;
    for (int r = 0; r < b->rows; r++) {
        const int64_t position = b->sequence.position + b->first_query + r % b->queries;
        for (int c = 0; c < tile->width; c++)
            tiles->fill((char *)w->lane_positions + c * size, 1, 1,
                        (double)(position - tile->k - c));
        tiles->load_rows(w->lane_slopes, 0, (char *)w->slopes + r * size, 0, 0, 1, tile->width,
                         1.0);
        tiles->add_alibi((char *)scores + r * tile->row_stride * size, 1, tile->width,
                         w->lane_slopes, w->lane_positions);
    }
}

static void add_alibi(const attn_tiles *tiles, const attn_block *b, attn_workspace *w,
                      const attn_tile *tile, void *scores) {
    for (int r = 0; r < b->rows; r++) {
        const int64_t position = b->sequence.position + b->first_query + r % b->queries;
        tiles->fill((char *)w->positions + r * tiles->element_size, 1, 1,
                    (double)(position - tile->k));
    }
    tiles->add_alibi(scores, tile->count, b->width, w->slopes, w->positions);
}

void attn_modify_scores(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                        attn_workspace *w, const attn_tile *tile, void *scores) {
    const attn_score *const s = &p->score;
    if (s->softcap > 0) tiles->softcap(scores, tile->lines, tile->width, s->softcap * ATTN_LOG2_E);
    if (attn_tensor_present(&s->bias)) add_bias(p, tiles, b, w, tile, scores);
    if (!attn_tensor_present(&s->alibi_slopes)) return;
    if (b->few) add_alibi_few(tiles, b, w, tile, scores);
    else add_alibi(tiles, b, w, tile, scores);
}

static int32_t clamp(int64_t x, int low, int high) {
    return (int32_t)(x < low ? low : x > high ? high : x);
}

static void apply_ranges(const attn_tiles *tiles, const attn_block *b, attn_workspace *w,
                         const attn_tile *tile, void *scores) {
    for (int r = 0; r < b->width; r++) {
        const bool real = r < b->rows;
        w->first[r] = real ? clamp(w->visible[r].first - tile->k, 0, tile->count) : 0;
        w->last[r] =
            real ? clamp(w->visible[r].last - tile->k, w->first[r], tile->count) : tile->count;
    }
    if (!b->few) {
        tiles->mask_range(scores, tile->count, b->width, w->first, w->last);
        return;
    }
    for (int r = 0; r < b->rows; r++) {
        char *const row = (char *)scores + r * tile->row_stride * tiles->element_size;
        tiles->fill(row, 1, w->first[r], (double)-INFINITY);
        tiles->fill(row + w->last[r] * tiles->element_size, 1, tile->count - w->last[r],
                    (double)-INFINITY);
    }
}

static void apply_documents(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                            attn_workspace *w, const attn_tile *tile, void *scores) {
    const int32_t *const ids = key_documents(p, b, tile->k);
    if (!b->few) {
        tiles->mask_documents(scores, tile->count, b->width, ids, w->documents);
        return;
    }
    /* The same comparison with rows and keys in each other's place; ids up to whole vectors. */
    memcpy(w->lane_ids, ids, (size_t)tile->count * sizeof *ids);
    tiles->mask_documents(scores, b->rows, tile->width, w->documents, w->lane_ids);
}

static void apply_allowed(const attn_tiles *tiles, const attn_block *b, attn_workspace *w,
                          const attn_tile *tile, void *scores) {
    if (b->few) {
        tiles->add_bias(scores, w->allowed, tile->lines, tile->width);
        return;
    }
    if (b->rows < b->width) zero_extra(tiles, tile, w);
    tiles->load_transposed(w->extra, b->width, w->allowed, ATTN_KEY_BLOCK, 1, b->rows, tile->count,
                           1.0);
    tiles->add_bias(scores, w->extra, tile->count, b->width);
}

void attn_mask_apply(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                     attn_workspace *w, const attn_tile *tile, void *scores) {
    if (ranges_visibility(b, w, tile) != ATTN_TILE_OPEN) apply_ranges(tiles, b, w, tile, scores);
    if (p->mask.key_documents) apply_documents(p, tiles, b, w, tile, scores);
    if (attn_tensor_present(&p->mask.allowed)) apply_allowed(tiles, b, w, tile, scores);
}

void attn_hidden_tile(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                      attn_workspace *w, const attn_tile *tile) {
    memset(w->hidden, 0, (size_t)tile->lines * (size_t)tile->width * (size_t)tiles->element_size);
    if (attn_tensor_present(&p->score.bias)) add_bias(p, tiles, b, w, tile, w->hidden);
    if (attn_mask_tile(p, tiles, b, w, tile) != ATTN_TILE_OPEN)
        attn_mask_apply(p, tiles, b, w, tile, w->hidden);
}

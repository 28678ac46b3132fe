/* mask.c: see mask.h. */
#include "attention/mask.h"

#include <string.h>

#include "api/check.h"

static const double LOG2_E = 1.44269504088896340736;

/* ------------------------------------------------------------------------- once for each block */

/* The id of a row of the ids arrays, which are dense: [batch][length]. */
static const int32_t *document_ids(const int32_t *ids, const attn_tensor *of, int64_t batch, int64_t i) {
    return ids + batch * of->shape[2] + i;
}

static double head_value(const attn_tensor *t, const attn_tiles *tiles, int64_t sequence, int64_t head) {
    const void *const at = attn_at(t, tiles->element_size, attn_broadcast_index(t, 0, sequence),
                                   attn_broadcast_index(t, 1, head), 0, 0);
    return tiles->element_size == sizeof(float) ? (double)*(const float *)at : *(const double *)at;
}

static void begin_alibi(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                        attn_workspace *w) {
    tiles->fill(w->slopes, 1, b->width, 0);
    for (int g = 0; g < b->heads; g++) {
        const double slope = head_value(&p->score.alibi_slopes, tiles, b->sequence.index, b->first_head + g);
        char *const at = (char *)w->slopes + g * b->queries * tiles->element_size;
        tiles->fill(at, 1, b->queries, slope * LOG2_E);
    }
}

void attn_mask_begin(const attn_problem *p, const attn_tiles *tiles, attn_block *b, attn_workspace *w) {
    attn_key_range any = {b->keys.last, b->keys.first};
    for (int r = 0; r < b->rows; r++) {
        const int64_t query = b->first_query + r % b->queries;
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

static attn_visibility ranges_visibility(const attn_block *b, const attn_workspace *w, int64_t k,
                                         int count) {
    bool all = true, any = false;
    for (int r = 0; r < b->rows; r++) {
        all &= w->visible[r].first <= k && w->visible[r].last >= k + count;
        any |= w->visible[r].first < k + count && w->visible[r].last > k;
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
    return document_ids(p->mask.key_documents, &p->key, b->sequence.batch, b->sequence.key_first + k);
}

static attn_visibility documents_visibility(const attn_problem *p, const attn_block *b,
                                            const attn_workspace *w, int64_t k, int count) {
    const id_span keys = span_of(key_documents(p, b, k), count), queries = span_of(w->documents, b->rows);
    if (keys.lowest > queries.highest || keys.highest < queries.lowest) return ATTN_TILE_SHUT;
    const bool one = keys.lowest == keys.highest && queries.lowest == queries.highest;
    return one ? ATTN_TILE_OPEN : ATTN_TILE_PARTIAL;
}

static attn_visibility allowed_visibility(const attn_problem *p, const attn_tiles *tiles,
                                          const attn_block *b, attn_workspace *w, int64_t k, int count) {
    const attn_tensor *const t = &p->mask.allowed;
    int met = 0;
    for (int g = 0; g < b->heads; g++) {
        const uint8_t *const from = attn_at(t, 1, attn_broadcast_index(t, 0, b->sequence.index),
                                            attn_broadcast_index(t, 1, b->first_head + g),
                                            attn_broadcast_index(t, 2, b->first_query),
                                            attn_broadcast_index(t, 3, k));
        char *const to = (char *)w->allowed + g * b->queries * ATTN_KEY_BLOCK * tiles->element_size;
        met |= tiles->load_allowed(to, ATTN_KEY_BLOCK, from, attn_broadcast_stride(t, 2),
                                   attn_broadcast_stride(t, 3), b->queries, count);
    }
    if (!(met & ATTN_SOME_OPEN)) return ATTN_TILE_SHUT;
    return met & ATTN_SOME_SHUT ? ATTN_TILE_PARTIAL : ATTN_TILE_OPEN;
}

attn_visibility attn_mask_tile(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                               attn_workspace *w, int64_t k, int count) {
    attn_visibility seen = ranges_visibility(b, w, k, count);
    if (seen != ATTN_TILE_SHUT && p->mask.key_documents)
        seen = both(seen, documents_visibility(p, b, w, k, count));
    if (seen != ATTN_TILE_SHUT && attn_tensor_present(&p->mask.allowed))
        seen = both(seen, allowed_visibility(p, tiles, b, w, k, count));
    return seen;
}

static void add_bias(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                     attn_workspace *w, int64_t k, int count, void *scores) {
    const attn_tensor *const t = &p->score.bias;
    const int size = tiles->element_size;
    if (b->rows < b->width) memset(w->extra, 0, (size_t)count * (size_t)b->width * (size_t)size);
    for (int g = 0; g < b->heads; g++) {
        const void *const from = attn_at(t, size, attn_broadcast_index(t, 0, b->sequence.index),
                                         attn_broadcast_index(t, 1, b->first_head + g),
                                         attn_broadcast_index(t, 2, b->first_query),
                                         attn_broadcast_index(t, 3, k));
        tiles->load_transposed((char *)w->extra + g * b->queries * size, b->width, from,
                               attn_broadcast_stride(t, 2), attn_broadcast_stride(t, 3), b->queries, count,
                               1.0);
    }
    tiles->add_bias(scores, w->extra, count, b->width);
}

static void add_alibi(const attn_tiles *tiles, const attn_block *b, attn_workspace *w, int64_t k,
                      int count, void *scores) {
    for (int r = 0; r < b->rows; r++) {
        const int64_t position = b->sequence.position + b->first_query + r % b->queries;
        tiles->fill((char *)w->positions + r * tiles->element_size, 1, 1, (double)(position - k));
    }
    tiles->add_alibi(scores, count, b->width, w->slopes, w->positions);
}

void attn_modify_scores(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                        attn_workspace *w, int64_t k, int count, void *scores) {
    const attn_score *const s = &p->score;
    if (s->softcap > 0) tiles->softcap(scores, count, b->width, s->softcap * LOG2_E);
    if (attn_tensor_present(&s->bias)) add_bias(p, tiles, b, w, k, count, scores);
    if (attn_tensor_present(&s->alibi_slopes)) add_alibi(tiles, b, w, k, count, scores);
}

static int32_t clamp(int64_t x, int low, int high) {
    return (int32_t)(x < low ? low : x > high ? high : x);
}

static void apply_ranges(const attn_tiles *tiles, const attn_block *b, attn_workspace *w, int64_t k,
                         int count, void *scores) {
    for (int r = 0; r < b->width; r++) {
        const bool real = r < b->rows;
        w->first[r] = real ? clamp(w->visible[r].first - k, 0, count) : 0;
        w->last[r] = real ? clamp(w->visible[r].last - k, 0, count) : count;
    }
    tiles->mask_range(scores, count, b->width, w->first, w->last);
}

void attn_mask_apply(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                     attn_workspace *w, int64_t k, int count, void *scores) {
    if (ranges_visibility(b, w, k, count) != ATTN_TILE_OPEN) apply_ranges(tiles, b, w, k, count, scores);
    if (p->mask.key_documents)
        tiles->mask_documents(scores, count, b->width, key_documents(p, b, k), w->documents);
    if (attn_tensor_present(&p->mask.allowed)) {
        const size_t bytes = (size_t)count * (size_t)b->width * (size_t)tiles->element_size;
        if (b->rows < b->width) memset(w->extra, 0, bytes);
        tiles->load_transposed(w->extra, b->width, w->allowed, ATTN_KEY_BLOCK, 1, b->rows, count, 1.0);
        tiles->add_bias(scores, w->extra, count, b->width);
    }
}

void attn_hidden_tile(const attn_problem *p, const attn_tiles *tiles, const attn_block *b,
                      attn_workspace *w, int64_t k, int count) {
    memset(w->hidden, 0, (size_t)count * (size_t)b->width * (size_t)tiles->element_size);
    if (attn_tensor_present(&p->score.bias)) add_bias(p, tiles, b, w, k, count, w->hidden);
    if (attn_mask_tile(p, tiles, b, w, k, count) != ATTN_TILE_OPEN)
        attn_mask_apply(p, tiles, b, w, k, count, w->hidden);
}

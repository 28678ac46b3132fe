/* check_views.c: the rules for views of the weights. */
#include "api/check_parts.h"

#include <inttypes.h>

static const int64_t MAX_TOP = 1024;

int64_t attn_view_heads(const attn_views *v, int64_t heads) {
    return v->heads != NULL ? v->head_count : heads;
}

/* ------------------------------------------------------------------- what numbers may be */

static attn_status check_count(const char *name, int64_t count, int64_t least) {
    if (count >= least && count <= ATTN_MAX_OFFSET) return ATTN_OK;
    return attn_fail(ATTN_ERROR_VALUE, "%s is %" PRId64 ", but must be %" PRId64 " to 2^40", name,
                     count, least);
}

/* Indices of heads or rows: rising, each 0 to most. */
static attn_status check_rising(const char *name, const int64_t *indices, int64_t count,
                                int64_t most) {
    int64_t least = 0;
    for (int64_t k = 0; k < count; k++) {
        if (indices[k] < least || indices[k] > most)
            return attn_fail(ATTN_ERROR_VALUE,
                             "%s[%" PRId64 "] is %" PRId64 ", but must be %" PRId64 " to %" PRId64,
                             name, k, indices[k], least, most);
        least = indices[k] + 1;
    }
    return ATTN_OK;
}

static attn_status check_heads(const attn_views *v, int64_t heads) {
    ATTN_TRY(check_count("views.head_count", v->head_count, 0));
    if (v->heads == NULL && v->head_count != 0)
        return attn_fail(ATTN_ERROR_NULL, "views.heads is NULL, but views.head_count is %" PRId64,
                         v->head_count);
    if (v->heads == NULL) return ATTN_OK;
    return check_rising("views.heads", v->heads, v->head_count, heads - 1);
}

static attn_status check_choices(const attn_views *v, int64_t heads) {
    ATTN_TRY(check_heads(v, heads));
    ATTN_TRY(check_count("views.row_count", v->row_count, 0));
    if (v->rows != NULL)
        ATTN_TRY(check_rising("views.rows", v->rows, v->row_count, ATTN_MAX_OFFSET));
    if (attn_tensor_present(&v->path) && v->observer != NULL)
        return attn_fail(ATTN_ERROR_VALUE, "views.observer and views.path are both asked for, but "
                                           "they need weights in different orders");
    if (attn_tensor_present(&v->window_sum))
        ATTN_TRY(check_count("views.window_queries", v->window_queries, 1));
    if (attn_tensor_present(&v->block_sums)) {
        ATTN_TRY(check_count("views.block_queries", v->block_queries, 1));
        ATTN_TRY(check_count("views.block_keys", v->block_keys, 1));
    }
    return ATTN_OK;
}

/* -------------------------------------------------------------------------------- shapes */

/* What a size of a view may be. */
enum size {
    ONE,
    TWO,
    STATISTICS,
    BATCH,
    SEQUENCES,
    CHOSEN, /* heads */
    ROWS,   /* query's */
    QUERIES,
    LISTED, /* rows of the weights */
    KEYS,
    TOP,
    QUERY_BLOCKS,
    KEY_BLOCKS,
    SIZES
};

/* Types beside query's own, which 0 stands for. */
enum { WEIGHTS = ATTN_REALS | 1 << ATTN_F16 | 1 << ATTN_U8 };

static const struct {
    const char *name;
    size_t place;
    attn_dtypes types;
    unsigned char sizes[4]; /* enum size */
} views[] = {
#define NAMED(field) "views." #field, offsetof(attn_views, field)
    {NAMED(received_sum), 0, {SEQUENCES, CHOSEN, ONE, KEYS}},
    {NAMED(received_mean), 0, {SEQUENCES, CHOSEN, ONE, KEYS}},
    {NAMED(received_max), 0, {SEQUENCES, CHOSEN, ONE, KEYS}},
    {NAMED(window_sum), 0, {SEQUENCES, CHOSEN, ONE, KEYS}},
    {NAMED(top_weights), 0, {BATCH, CHOSEN, ROWS, TOP}},
    {NAMED(top_keys), ATTN_INDICES, {BATCH, CHOSEN, ROWS, TOP}},
    {NAMED(argmax), ATTN_INDICES, {BATCH, CHOSEN, ROWS, ONE}},
    {NAMED(entropy), 0, {BATCH, CHOSEN, ROWS, ONE}},
    {NAMED(span), 0, {BATCH, CHOSEN, ROWS, ONE}},
    {NAMED(distance), 0, {BATCH, CHOSEN, ROWS, ONE}},
    {NAMED(max_logit), 0, {BATCH, CHOSEN, ROWS, ONE}},
    {NAMED(block_sums), 0, {SEQUENCES, CHOSEN, QUERY_BLOCKS, KEY_BLOCKS}},
    {NAMED(head_mean), 0, {BATCH, ONE, ROWS, KEYS}},
    {NAMED(path), ATTN_INDICES, {SEQUENCES, ONE, QUERIES, TWO}},
    {NAMED(head_statistics), 0, {SEQUENCES, CHOSEN, ONE, STATISTICS}},
    {NAMED(raw_scores), 0, {BATCH, CHOSEN, ROWS, KEYS}},
    {NAMED(capped_scores), 0, {BATCH, CHOSEN, ROWS, KEYS}},
    {NAMED(scores), 0, {BATCH, CHOSEN, ROWS, KEYS}},
#undef NAMED
};

static attn_size blocks(attn_size items, int64_t block, const char *source) {
    items.size = items.size / block + (items.size % block != 0);
    items.source = source;
    return items;
}

/* k: if both are there they must agree, so that either says it. */
static attn_size top_size(const attn_views *v) {
    if (attn_tensor_present(&v->top_weights))
        return (attn_size){.size = v->top_weights.shape[3], .source = "views.top_weights.shape[3]"};
    if (attn_tensor_present(&v->top_keys))
        return (attn_size){.size = v->top_keys.shape[3], .source = "views.top_keys.shape[3]"};
    return (attn_size){0};
}

static attn_size chosen_heads(const attn_checked *c) {
    const attn_views *const v = c->problem->views;
    if (v == NULL || v->heads == NULL) return c->heads;
    return (attn_size){.size = v->head_count, .source = "views.head_count"};
}

static void find_sizes(const attn_checked *c, attn_size sizes[SIZES]) {
    const attn_views *const v = c->problem->views;
    sizes[ONE] = attn_just_one();
    sizes[TWO] = (attn_size){.size = 2, .source = "the size expected"};
    sizes[STATISTICS] = (attn_size){.size = ATTN_HEAD_STATISTICS, .source = "ATTN_HEAD_STATISTICS"};
    sizes[BATCH] = c->batch;
    sizes[SEQUENCES] = c->sequences;
    sizes[CHOSEN] = chosen_heads(c);
    sizes[ROWS] = c->rows;
    sizes[QUERIES] = c->queries;
    sizes[LISTED] = (attn_size){.size = v->row_count, .source = "views.row_count"};
    sizes[KEYS] = c->keys;
    sizes[TOP] = top_size(v);
    sizes[QUERY_BLOCKS] = sizes[KEY_BLOCKS] = (attn_size){0};
    if (!attn_tensor_present(&v->block_sums)) return;
    sizes[QUERY_BLOCKS] = blocks(c->queries, v->block_queries, "n_query / block_queries");
    sizes[KEY_BLOCKS] = blocks(c->keys, v->block_keys, "n_key / block_keys");
}

static attn_status check_view(attn_checked *c, const char *name, const attn_tensor *t,
                              attn_dtypes types, const attn_size sizes[SIZES],
                              const unsigned char of[4]) {
    const attn_size expected[4] = {sizes[of[0]], sizes[of[1]], sizes[of[2]], sizes[of[3]]};
    return attn_check_result(c, name, t, types, expected);
}

/* All rows of the weights, or those listed. */
static attn_status check_weights(attn_checked *c, const attn_size sizes[SIZES]) {
    const attn_views *const v = c->problem->views;
    static const unsigned char all[4] = {BATCH, CHOSEN, ROWS, KEYS};
    static const unsigned char some[4] = {SEQUENCES, CHOSEN, LISTED, KEYS};
    const bool sliced = v->rows != NULL || v->row_count != 0;
    return check_view(c, "views.weights", &v->weights, WEIGHTS, sizes, sliced ? some : all);
}

/* --------------------------------------------------------------------------------- the whole */

static attn_status check_top(attn_size top) {
    if (top.size <= MAX_TOP) return ATTN_OK;
    return attn_fail(ATTN_ERROR_SHAPE, "%s is %" PRId64 ", but k is at most %" PRId64, top.source,
                     top.size, MAX_TOP);
}

attn_status attn_check_views(attn_checked *c) {
    const attn_views *const v = c->problem->views;
    attn_size sizes[SIZES];
    if (v == NULL) return ATTN_OK;
    ATTN_TRY(attn_check_reserved("views", v->reserved, 8));
    ATTN_TRY(check_choices(v, c->heads.size));
    find_sizes(c, sizes);
    ATTN_TRY(check_weights(c, sizes));
    for (size_t k = 0; k < sizeof views / sizeof *views; k++) {
        const attn_tensor *const t =
            (const attn_tensor *)(const void *)((const char *)v + views[k].place);
        const attn_dtypes types = views[k].types ? views[k].types : c->type;
        if (!attn_tensor_present(t)) continue;
        ATTN_TRY(check_view(c, views[k].name, t, types, sizes, views[k].sizes));
        ATTN_TRY(attn_check_indices(views[k].name, t, c->keys.size));
    }
    return check_top(sizes[TOP]);
}

attn_status attn_check_chosen(const attn_checked *c, attn_size *chosen) {
    const attn_views *const v = c->problem->views;
    if (v != NULL) {
        ATTN_TRY(attn_check_reserved("views", v->reserved, 8));
        ATTN_TRY(check_heads(v, c->heads.size));
    }
    *chosen = chosen_heads(c);
    return ATTN_OK;
}

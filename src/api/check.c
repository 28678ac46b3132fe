/* check.c: every rule of attn.h about a problem, each with the sentence that explains it. Here are
 * inputs, sequences, mask and plain results; scores, normalizers, views and gradients have files of
 * their own. */
#include "api/check_parts.h"

#include <inttypes.h>

/* --------------------------------------------------------------------------------- the inputs */

static attn_status check_heads(const attn_problem *p) {
    const int64_t heads = p->query.shape[1], kv_heads = p->key.shape[1];
    if (kv_heads == 0 ? heads == 0 : heads % kv_heads == 0) return ATTN_OK;
    return attn_fail(ATTN_ERROR_SHAPE,
                     "query.shape[1] is %" PRId64
                     " heads, but must be a multiple of key.shape[1], %" PRId64 " heads",
                     heads, kv_heads);
}

static attn_status check_input_shapes(const attn_problem *p) {
    const attn_score_kind kind = p->score.kind; /* these two have a matrix between the widths */
    const bool any_width = kind == ATTN_SCORE_GENERAL || kind == ATTN_SCORE_CONCAT;
    const attn_size batch = {.size = p->query.shape[0], .source = "query.shape[0]"};
    const attn_size width = {.size = p->query.shape[3], .source = "query.shape[3]"};
    const attn_size kv_heads = {.size = p->key.shape[1], .source = "key.shape[1]"};
    const attn_size n_key = {.size = p->key.shape[2], .source = "key.shape[2]"};
    const attn_size any = {.size = 0, .or_more = true};
    const attn_size key[4] = {batch, kv_heads, n_key, any_width ? any : width};
    const attn_size value[4] = {batch, kv_heads, n_key, any};
    ATTN_TRY(attn_check_sizes("key", &p->key, key));
    ATTN_TRY(attn_check_sizes("value", &p->value, value));
    ATTN_TRY(attn_check_width("query", &p->query, 3));
    ATTN_TRY(attn_check_width("key", &p->key, 3));
    ATTN_TRY(attn_check_width("value", &p->value, 3));
    return check_heads(p);
}

static attn_status check_inputs(attn_checked *c) {
    const attn_problem *const p = c->problem;
    const struct {
        const char *name;
        const attn_tensor *tensor;
    } inputs[] = {{"query", &p->query}, {"key", &p->key}, {"value", &p->value}};
    for (int i = 0; i < 3; i++) {
        if (!attn_tensor_present(inputs[i].tensor))
            return attn_fail(ATTN_ERROR_NULL, "%s.data is NULL, but %s must be given",
                             inputs[i].name, inputs[i].name);
    }
    for (int i = 0; i < 3; i++) {
        ATTN_TRY(attn_check_tensor(inputs[i].name, inputs[i].tensor, c->type, &c->inputs[i]));
        c->type = 1U << p->query.dtype; /* the others are of query's */
    }
    c->input_count = 3;
    return check_input_shapes(p);
}

/* ----------------------------------------------------------------------------- sequences */

static bool packed(const attn_mask *m) {
    return m->query_starts != NULL;
}

static attn_status check_starts(const char *name, const int64_t *starts, int64_t sequences,
                                int64_t length) {
    int64_t previous = 0;
    for (int64_t s = 0; s <= sequences; s++) {
        if (starts[s] < previous || starts[s] > length)
            return attn_fail(ATTN_ERROR_VALUE,
                             "%s[%" PRId64 "] is %" PRId64 ", but must be %" PRId64 " to %" PRId64,
                             name, s, starts[s], previous, length);
        previous = starts[s];
    }
    return ATTN_OK;
}

static attn_status check_packing(const attn_problem *p) {
    const attn_mask *const m = &p->mask;
    if ((m->query_starts == NULL) != (m->key_starts == NULL))
        return attn_fail(ATTN_ERROR_NULL,
                         "mask.query_starts and mask.key_starts must both be given, or neither");
    if (!packed(m)) return ATTN_OK;
    if (p->query.shape[0] != 1)
        return attn_fail(ATTN_ERROR_SHAPE,
                         "query.shape[0] is %" PRId64
                         ", but must be 1 when mask.query_starts packs sequences",
                         p->query.shape[0]);
    if (m->sequences < 0 || m->sequences > ATTN_MAX_OFFSET)
        return attn_fail(ATTN_ERROR_VALUE, "mask.sequences is %" PRId64 ", but must be 0 to 2^40",
                         m->sequences);
    ATTN_TRY(check_starts("mask.query_starts", m->query_starts, m->sequences, p->query.shape[2]));
    return check_starts("mask.key_starts", m->key_starts, m->sequences, p->key.shape[2]);
}

static int64_t slot_length(const int64_t *starts, int64_t sequence, int64_t length) {
    return starts ? starts[sequence + 1] - starts[sequence] : length;
}

/* lengths[s] within 0 .. the sequence's slot; starts NULL: every slot is `length` long. */
static attn_status check_lengths(const char *name, const int64_t *lengths, const int64_t *starts,
                                 int64_t sequences, int64_t length) {
    for (int64_t s = 0; lengths && s < sequences; s++) {
        const int64_t most = slot_length(starts, s, length);
        if (lengths[s] < 0 || lengths[s] > most)
            return attn_fail(ATTN_ERROR_VALUE,
                             "%s[%" PRId64 "] is %" PRId64 ", but must be 0 to %" PRId64, name, s,
                             lengths[s], most);
    }
    return ATTN_OK;
}

static int64_t longest_slot(const int64_t *starts, int64_t sequences, int64_t length) {
    int64_t longest = starts ? 0 : length;
    for (int64_t s = 0; starts && s < sequences; s++) {
        const int64_t slot = slot_length(starts, s, length);
        if (slot > longest) longest = slot;
    }
    return longest;
}

/* The sizes that other tensors must agree in. */
static void find_sizes(attn_checked *c) {
    const attn_problem *const p = c->problem;
    const attn_mask *const m = &p->mask;
    const bool pack = packed(m);
    c->batch = (attn_size){.size = p->query.shape[0], .source = "query.shape[0]"};
    c->heads = (attn_size){.size = p->query.shape[1], .source = "query.shape[1]"};
    c->rows = (attn_size){.size = p->query.shape[2], .source = "query.shape[2]"};
    c->sequences = pack ? (attn_size){.size = m->sequences, .source = "mask.sequences"} : c->batch;
    c->queries = (attn_size){
        .size = longest_slot(m->query_starts, m->sequences, p->query.shape[2]),
        .source = "n_query",
        .or_more = pack,
    };
    c->keys = (attn_size){
        .size = longest_slot(m->key_starts, m->sequences, p->key.shape[2]),
        .source = "n_key",
        .or_more = pack,
    };
}

/* ---------------------------------------------------------------------------------- the mask */

static attn_status check_mask(attn_checked *c) {
    const attn_problem *const p = c->problem;
    const attn_mask *const m = &p->mask;
    const int64_t sequences = c->sequences.size;
    ATTN_TRY(attn_check_reserved("mask", m->reserved, 8));
    if (m->alignment != ATTN_ALIGN_TOP_LEFT && m->alignment != ATTN_ALIGN_BOTTOM_RIGHT)
        return attn_fail(
            ATTN_ERROR_VALUE,
            "mask.alignment is %d, but must be ATTN_ALIGN_TOP_LEFT or ATTN_ALIGN_BOTTOM_RIGHT",
            (int)m->alignment);
    if (m->query_offset > ATTN_MAX_OFFSET || m->query_offset < -ATTN_MAX_OFFSET)
        return attn_fail(ATTN_ERROR_VALUE,
                         "mask.query_offset is %" PRId64 ", but must be within 2^40 of 0",
                         m->query_offset);
    if ((m->query_documents == NULL) != (m->key_documents == NULL))
        return attn_fail(
            ATTN_ERROR_NULL,
            "mask.query_documents and mask.key_documents must both be given, or neither");
    ATTN_TRY(check_lengths("mask.query_lengths", m->query_lengths, m->query_starts, sequences,
                           p->query.shape[2]));
    ATTN_TRY(check_lengths("mask.key_lengths", m->key_lengths, m->key_starts, sequences,
                           p->key.shape[2]));
    for (int64_t s = 0; m->prefix_lengths && s < sequences; s++) {
        if (m->prefix_lengths[s] < 0)
            return attn_fail(ATTN_ERROR_VALUE,
                             "mask.prefix_lengths[%" PRId64 "] is %" PRId64
                             ", but must be 0 or more",
                             s, m->prefix_lengths[s]);
    }
    return attn_check_per_pair(c, "mask.allowed", &m->allowed, 1U << ATTN_BOOL);
}

/* -------------------------------------------------------------------------------- the whole */

static attn_status check_results(attn_checked *c) {
    const attn_problem *const p = c->problem;
    attn_size sizes[4] = {c->batch, c->heads, c->rows};
    sizes[3] = (attn_size){.size = p->value.shape[3], .source = "value.shape[3]"};
    ATTN_TRY(attn_check_result(c, "output", &p->output, c->type, sizes));
    sizes[3] = attn_just_one();
    ATTN_TRY(attn_check_result(c, "lse", &p->lse, c->type, sizes));
    sizes[3] = c->keys;
    return attn_check_result(c, "weights", &p->weights, c->type, sizes);
}

attn_status attn_check_inputs(attn_checked *c, const attn_problem *p) {
    if (!p) {
        (void)attn_fail(ATTN_ERROR_NULL, "problem is NULL");
        return ATTN_ERROR_NULL; /* for the analyser: what is left uninitialised is not an OK */
    }
    c->problem = p;
    c->type = ATTN_REALS;
    c->input_count = c->result_count = 0;
    ATTN_TRY(attn_check_reserved("problem", p->reserved, 16));
    ATTN_TRY(check_inputs(c));
    ATTN_TRY(check_packing(p));
    find_sizes(c);
    ATTN_TRY(attn_check_score(c));
    ATTN_TRY(check_mask(c));
    return attn_check_normalizer(c);
}

attn_status attn_check_problem(const attn_problem *p) {
    attn_checked c;
    ATTN_TRY(attn_check_inputs(&c, p));
    ATTN_TRY(check_results(&c));
    ATTN_TRY(attn_check_views(&c));
    return attn_check_aliases(&c);
}

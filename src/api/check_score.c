/* check_score.c: the rules for how scores are made, and for how they become weights. */
#include "api/check_parts.h"

#include <inttypes.h>
#include <math.h>

/* ------------------------------------------------------------------------------- the score */

enum need { NONE, OPTIONAL, NEEDED };

/* What each kind takes. */
static const struct {
    const char *name;
    enum need weight, projection, offset;
    bool
        hidden; /* has a weight on tanh of a hidden vector: may be normalised, and know locations */
} kinds[] = {
    [ATTN_SCORE_DOT] = {"ATTN_SCORE_DOT", NONE, NONE, NONE, false},
    [ATTN_SCORE_GENERAL] = {"ATTN_SCORE_GENERAL", NEEDED, NONE, NONE, false},
    [ATTN_SCORE_ADDITIVE] = {"ATTN_SCORE_ADDITIVE", NEEDED, NONE, OPTIONAL, true},
    [ATTN_SCORE_CONCAT] = {"ATTN_SCORE_CONCAT", NEEDED, NEEDED, OPTIONAL, true},
    [ATTN_SCORE_COSINE] = {"ATTN_SCORE_COSINE", NONE, NONE, NONE, false},
    [ATTN_SCORE_GAUSSIAN] = {"ATTN_SCORE_GAUSSIAN", NONE, NONE, NONE, false},
    [ATTN_SCORE_LOCATION] = {"ATTN_SCORE_LOCATION", NEEDED, NONE, NONE, false},
    [ATTN_SCORE_CUSTOM] = {"ATTN_SCORE_CUSTOM", NONE, NONE, NONE, false},
};

static attn_status check_need(const char *name, const attn_tensor *t, enum need need,
                              const char *kind) {
    const bool present = attn_tensor_present(t);
    if (present && need == NONE)
        return attn_fail(ATTN_ERROR_VALUE, "%s is given, but %s takes none", name, kind);
    if (!present && need == NEEDED)
        return attn_fail(ATTN_ERROR_NULL, "%s.data is NULL, but %s needs it", name, kind);
    return ATTN_OK;
}

static attn_status check_score_values(const attn_score *s) {
    if ((unsigned)s->kind >= sizeof kinds / sizeof *kinds)
        return attn_fail(ATTN_ERROR_VALUE, "score.kind is %d, but must be an attn_score_kind",
                         (int)s->kind);
    if (!isfinite(s->scale))
        return attn_fail(ATTN_ERROR_VALUE, "score.scale is %g, but must be finite", s->scale);
    if (!isfinite(s->softcap) || s->softcap < 0)
        return attn_fail(ATTN_ERROR_VALUE, "score.softcap is %g, but must be 0 (none) or positive",
                         s->softcap);
    if (s->normalize_weight && !kinds[s->kind].hidden)
        return attn_fail(ATTN_ERROR_VALUE, "score.normalize_weight is set, but %s does not take it",
                         kinds[s->kind].name);
    return ATTN_OK;
}

/* Numbers per head are few, so their values are checked too: a NaN would spoil rows silently. */
static attn_status check_per_head(attn_checked *c, const char *name, const attn_tensor *t,
                                  bool or_minus_infinity) {
    if (!attn_tensor_present(t)) return ATTN_OK;
    const attn_size sizes[4] = {attn_or_one(c->sequences), attn_or_one(c->heads), attn_just_one(),
                                attn_just_one()};
    ATTN_TRY(attn_check_input(c, name, t, c->type, sizes));
    return attn_check_finite(name, t, or_minus_infinity);
}

/* A matrix a head, or one for all. */
static attn_status check_matrix(attn_checked *c, const char *name, const attn_tensor *t,
                                attn_size rows, attn_size columns) {
    if (!attn_tensor_present(t)) return ATTN_OK;
    const attn_size sizes[4] = {attn_just_one(), attn_or_one(c->heads), rows, columns};
    return attn_check_input(c, name, t, c->type, sizes);
}

static attn_size query_width(const attn_checked *c) {
    return (attn_size){.size = c->problem->query.shape[3], .source = "query.shape[3]"};
}

static attn_size key_width(const attn_checked *c) {
    return (attn_size){.size = c->problem->key.shape[3], .source = "key.shape[3]"};
}

/* Of what tanh is taken of; weight has been found there for the kinds that have it. */
static attn_size hidden_width(const attn_checked *c) {
    const attn_score *const s = &c->problem->score;
    if (s->kind != ATTN_SCORE_CONCAT) return query_width(c);
    return (attn_size){.size = s->weight.shape[3], .source = "score.weight.shape[3]"};
}

static attn_status check_weight_shape(attn_checked *c) {
    const attn_tensor *const t = &c->problem->score.weight;
    attn_size keys = c->keys;
    keys.or_more = true;
    switch (c->problem->score.kind) {
    case ATTN_SCORE_GENERAL:
        return check_matrix(c, "score.weight", t, query_width(c), key_width(c));
    case ATTN_SCORE_LOCATION: return check_matrix(c, "score.weight", t, keys, query_width(c));
    default: return check_matrix(c, "score.weight", t, attn_just_one(), hidden_width(c));
    }
}

static bool has_direction(const attn_tensor *weight, int64_t head) {
    for (int64_t k = 0; k < weight->shape[3]; k++)
        if (attn_read_real(weight, 0, head, 0, k) != 0) return true;
    return false;
}

static attn_status check_directions(const attn_tensor *weight) {
    for (int64_t h = 0; h < weight->shape[1]; h++) {
        if (has_direction(weight, h)) continue;
        return attn_fail(ATTN_ERROR_VALUE,
                         "score.weight[0][%" PRId64
                         "] has length 0, which score.normalize_weight cannot divide by",
                         h);
    }
    return ATTN_OK;
}

/* weight, projection, offset */
static attn_status check_parameters(attn_checked *c) {
    const attn_score *const s = &c->problem->score;
    const char *const kind = kinds[s->kind].name;
    ATTN_TRY(check_need("score.weight", &s->weight, kinds[s->kind].weight, kind));
    ATTN_TRY(check_need("score.projection", &s->projection, kinds[s->kind].projection, kind));
    ATTN_TRY(check_need("score.offset", &s->offset, kinds[s->kind].offset, kind));
    if (kinds[s->kind].weight == NONE) return ATTN_OK;
    ATTN_TRY(check_weight_shape(c));
    ATTN_TRY(attn_check_width("score.weight", &s->weight, 3));
    const attn_size both = {.size = query_width(c).size + key_width(c).size,
                            .source = "query.shape[3] + key.shape[3]"};
    ATTN_TRY(check_matrix(c, "score.projection", &s->projection, hidden_width(c), both));
    ATTN_TRY(check_matrix(c, "score.offset", &s->offset, attn_just_one(), hidden_width(c)));
    return s->normalize_weight ? check_directions(&s->weight) : ATTN_OK;
}

/* --------------------------------------------------------------------- places and locations */

/* The tables, which must agree in their number of entries; bias has it in its last size. */
static attn_size relative_entries(const attn_relative *r) {
    const struct {
        const char *source;
        const attn_tensor *tensor;
        int axis;
    } tables[] = {
        {"score.relative.bias.shape[3]", &r->bias, 3},
        {"score.relative.keys.shape[2]", &r->keys, 2},
        {"score.relative.queries.shape[2]", &r->queries, 2},
        {"score.relative.values.shape[2]", &r->values, 2},
    };
    for (int k = 0; k < 4; k++) {
        if (attn_tensor_present(tables[k].tensor))
            return (attn_size){.size = tables[k].tensor->shape[tables[k].axis],
                               .source = tables[k].source};
    }
    return (attn_size){0};
}

static attn_status check_t5(const attn_relative *r, attn_size n) {
    const bool causal = r->buckets == ATTN_BUCKETS_T5_CAUSAL;
    const int64_t exact = n.size / (causal ? 2 : 4);
    const int64_t distance = r->max_distance != 0 ? r->max_distance : 128;
    if (n.size < (causal ? 2 : 4) || (!causal && n.size % 2 != 0))
        return attn_fail(ATTN_ERROR_SHAPE, "%s is %" PRId64 ", but must be %s", n.source, n.size,
                         causal ? "2 or more for ATTN_BUCKETS_T5_CAUSAL"
                                : "even and 4 or more for ATTN_BUCKETS_T5");
    if (distance > exact) return ATTN_OK;
    return attn_fail(ATTN_ERROR_VALUE,
                     "score.relative.max_distance is %" PRId64 "%s, but must be more than %" PRId64
                     " for %" PRId64 " buckets",
                     distance, r->max_distance == 0 ? " by default" : "", exact, n.size);
}

static attn_status check_buckets(const attn_relative *r, attn_size n) {
    if ((unsigned)r->buckets > ATTN_BUCKETS_T5_CAUSAL)
        return attn_fail(ATTN_ERROR_VALUE,
                         "score.relative.buckets is %d, but must be an attn_bucket_kind",
                         (int)r->buckets);
    if (n.source == NULL) return ATTN_OK; /* no table */
    if (n.size < 1)
        return attn_fail(ATTN_ERROR_SHAPE, "%s is %" PRId64 ", but must be 1 or more", n.source,
                         n.size);
    if (r->buckets != ATTN_BUCKETS_CLIPPED) return check_t5(r, n);
    if (r->origin >= 0 && r->origin < n.size) return ATTN_OK;
    return attn_fail(ATTN_ERROR_VALUE,
                     "score.relative.origin is %" PRId64 ", but must be 0 to %" PRId64, r->origin,
                     n.size - 1);
}

/* These terms are products with queries and keys, which the other kinds do not have. */
static attn_status check_relative_kind(const attn_relative *r, attn_score_kind kind) {
    const struct {
        const char *name;
        const attn_tensor *tensor;
    } products[] = {
        {"score.relative.keys", &r->keys},
        {"score.relative.queries", &r->queries},
        {"score.relative.content_bias", &r->content_bias},
        {"score.relative.position_bias", &r->position_bias},
    };
    for (int k = 0; k < 4 && kind != ATTN_SCORE_DOT; k++)
        ATTN_TRY(check_need(products[k].name, products[k].tensor, NONE, kinds[kind].name));
    if (attn_tensor_present(&r->position_bias))
        return check_need("score.relative.keys", &r->keys, NEEDED, "score.relative.position_bias");
    return ATTN_OK;
}

static attn_status check_relative(attn_checked *c) {
    const attn_relative *const r = c->problem->score.relative;
    if (r == NULL) return ATTN_OK;
    const attn_size n = relative_entries(r), d = query_width(c), one = attn_just_one();
    const attn_size d_value = {.size = c->problem->value.shape[3], .source = "value.shape[3]"};
    ATTN_TRY(attn_check_reserved("score.relative", r->reserved, 8));
    ATTN_TRY(check_relative_kind(r, c->problem->score.kind));
    ATTN_TRY(check_matrix(c, "score.relative.bias", &r->bias, one, n));
    ATTN_TRY(check_matrix(c, "score.relative.keys", &r->keys, n, d));
    ATTN_TRY(check_matrix(c, "score.relative.queries", &r->queries, n, d));
    ATTN_TRY(check_matrix(c, "score.relative.values", &r->values, n, d_value));
    ATTN_TRY(check_matrix(c, "score.relative.content_bias", &r->content_bias, one, d));
    ATTN_TRY(check_matrix(c, "score.relative.position_bias", &r->position_bias, one, d));
    return check_buckets(r, n);
}

static attn_status check_filters(attn_checked *c, const attn_tensor *filters) {
    const attn_size any = {.size = 0, .or_more = true};
    ATTN_TRY(check_matrix(c, "score.location.filters", filters, any, any));
    ATTN_TRY(attn_check_width("score.location.filters", filters, 2));
    ATTN_TRY(attn_check_width("score.location.filters", filters, 3));
    if (filters->shape[3] % 2 == 1) return ATTN_OK;
    return attn_fail(ATTN_ERROR_SHAPE,
                     "score.location.filters.shape[3] is %" PRId64 ", but a width must be odd",
                     filters->shape[3]);
}

static attn_status check_location(attn_checked *c) {
    const attn_score *const s = &c->problem->score;
    const attn_location *const l = s->location;
    if (l == NULL) return ATTN_OK;
    if (!kinds[s->kind].hidden)
        return attn_fail(ATTN_ERROR_VALUE, "score.location is given, but %s takes none",
                         kinds[s->kind].name);
    ATTN_TRY(attn_check_reserved("score.location", l->reserved, 8));
    ATTN_TRY(check_need("score.location.previous", &l->previous, NEEDED, "score.location"));
    ATTN_TRY(check_need("score.location.filters", &l->filters, NEEDED, "score.location"));
    ATTN_TRY(check_need("score.location.projection", &l->projection, NEEDED, "score.location"));
    const attn_size previous[4] = {attn_or_one(c->sequences), attn_or_one(c->heads),
                                   attn_or_one(c->queries), c->keys};
    ATTN_TRY(attn_check_input(c, "score.location.previous", &l->previous, c->type, previous));
    ATTN_TRY(check_filters(c, &l->filters));
    const attn_size channels = {.size = l->filters.shape[2],
                                .source = "score.location.filters.shape[2]"};
    ATTN_TRY(
        check_matrix(c, "score.location.projection", &l->projection, hidden_width(c), channels));
    return attn_check_finite("score.location.previous", &l->previous, false);
}

attn_status attn_check_score(attn_checked *c) {
    const attn_score *const s = &c->problem->score;
    ATTN_TRY(attn_check_reserved("score", s->reserved, 8));
    ATTN_TRY(check_score_values(s));
    ATTN_TRY(attn_check_per_pair(c, "score.bias", &s->bias, c->type));
    ATTN_TRY(check_per_head(c, "score.alibi_slopes", &s->alibi_slopes, false));
    ATTN_TRY(check_per_head(c, "score.sinks", &s->sinks, true));
    ATTN_TRY(check_per_head(c, "score.scales", &s->scales, false));
    ATTN_TRY(check_parameters(c));
    ATTN_TRY(check_relative(c));
    return check_location(c);
}

/* -------------------------------------------------------------------------- the normalizer */

static attn_status check_normalizer_values(const attn_normalizer *n) {
    if ((unsigned)n->kind > ATTN_HARDMAX)
        return attn_fail(ATTN_ERROR_VALUE,
                         "normalizer.kind is %d, but must be an attn_normalizer_kind",
                         (int)n->kind);
    if (!isfinite(n->temperature) || n->temperature < 0)
        return attn_fail(ATTN_ERROR_VALUE,
                         "normalizer.temperature is %g, but must be 0 (1) or positive",
                         n->temperature);
    if (n->kind == ATTN_ENTMAX && n->alpha != 0 && !(n->alpha > 1 && n->alpha <= 16))
        return attn_fail(ATTN_ERROR_VALUE,
                         "normalizer.alpha is %g, but must be 0 (1.5), or more than 1 and at most "
                         "16",
                         n->alpha);
    if (n->kind == ATTN_SIGMOID && !isfinite(n->bias))
        return attn_fail(ATTN_ERROR_VALUE, "normalizer.bias is %g, but must be finite", n->bias);
    /* Rounded to 2^-23, it must leave something. */
    if (!(n->dropout >= 0 && n->dropout < 1 - 0x1p-24))
        return attn_fail(ATTN_ERROR_VALUE,
                         "normalizer.dropout is %.9g, but must be 0 or more, and less than 1",
                         n->dropout);
    return ATTN_OK;
}

/* A sink joins the sum of softmax; log-sum-exp is the logarithm of softmax's sum. */
static attn_status check_softmax_alone(const attn_problem *p) {
    const attn_normalizer_kind kind = p->normalizer.kind;
    if (kind != ATTN_SOFTMAX && attn_tensor_present(&p->score.sinks))
        return attn_fail(ATTN_ERROR_VALUE,
                         "score.sinks is given, but only normalizer.kind ATTN_SOFTMAX takes sinks");
    if (kind != ATTN_SOFTMAX && kind != ATTN_SOFTMAX_ONE && attn_tensor_present(&p->lse))
        return attn_fail(ATTN_ERROR_VALUE,
                         "lse is asked for, but only normalizer.kind ATTN_SOFTMAX and "
                         "ATTN_SOFTMAX_ONE have one");
    return ATTN_OK;
}

static attn_status check_local(attn_checked *c) {
    const attn_local *const l = c->problem->normalizer.local;
    if (l == NULL) return ATTN_OK;
    const attn_size sizes[4] = {attn_or_one(c->batch), attn_or_one(c->heads), attn_or_one(c->rows),
                                attn_just_one()};
    ATTN_TRY(attn_check_reserved("normalizer.local", l->reserved, 8));
    if (!isfinite(l->half_width) || l->half_width < 0)
        return attn_fail(ATTN_ERROR_VALUE,
                         "normalizer.local.half_width is %g, but must be finite and 0 or more",
                         l->half_width);
    if (!(l->sigma >= 0))
        return attn_fail(ATTN_ERROR_VALUE,
                         "normalizer.local.sigma is %g, but must be 0 (half_width / 2) or positive",
                         l->sigma);
    if (l->sigma == 0 && l->half_width / 2 == 0)
        return attn_fail(ATTN_ERROR_VALUE,
                         "normalizer.local.sigma is 0 and so is half_width / 2, but one must not "
                         "be");
    if (!attn_tensor_present(&l->centers)) return ATTN_OK;
    ATTN_TRY(attn_check_input(c, "normalizer.local.centers", &l->centers, c->type, sizes));
    return attn_check_finite("normalizer.local.centers", &l->centers, false);
}

attn_status attn_check_normalizer(attn_checked *c) {
    const attn_normalizer *const n = &c->problem->normalizer;
    ATTN_TRY(attn_check_reserved("normalizer", n->reserved, 8));
    ATTN_TRY(check_normalizer_values(n));
    ATTN_TRY(check_softmax_alone(c->problem));
    return check_local(c);
}

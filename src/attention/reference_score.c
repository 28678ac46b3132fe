/* reference_score.c: what a query and a key make, of each kind, and what is added to it.
 *
 *     raw[j]    = scale * (what the kind says of query and key[j])
 *     capped[j] = cap(raw[j])
 *     score[j]  = capped[j] + bias[j] + relative bias[entry] - slope * |p - j|
 *
 * which the caller's callback may then change, and Gumbel noise is added to. */
#include "attention/reference.h"

#include <math.h>

double attn_ref_query(const row *r, int64_t c) {
    return attn_ref_load(&r->problem->query, r->at.batch, r->head, r->at.first_query + r->i, c);
}

double attn_ref_key(const row *r, int64_t j, int64_t c) {
    return attn_ref_load(&r->problem->key, r->at.batch, r->kv_head, r->at.first_key + j, c);
}

double attn_ref_parameter(const row *r, const attn_tensor *t, int64_t i, int64_t j) {
    return attn_ref_present(t) ? attn_ref_load(t, 0, r->head, i, j) : 0;
}

/* ---------------------------------------------------------------------------------------------
 * Places: which entry of a table belongs to a key
 * ------------------------------------------------------------------------------------------- */

/* T5's buckets of a distance among n: half of them hold one distance each, the other half ever longer
 * ranges, up to max_distance and beyond. */
static int64_t t5_bucket(int64_t distance, int64_t n, int64_t max_distance) {
    const int64_t exact = n / 2;
    if (distance < exact) return distance;
    const double share =
        log((double)distance / (double)exact) / log((double)max_distance / (double)exact);
    const int64_t bucket = exact + (int64_t)fmin(floor(share * (double)(n - exact)), (double)n);
    return bucket < n - 1 ? bucket : n - 1;
}

int64_t attn_ref_entry(const row *r, const attn_tensor *table, int axis, int64_t j) {
    const attn_relative *const how = r->problem->score.relative;
    const int64_t n = table->shape[axis], ahead = j - r->p;
    const int64_t origin = how->origin != 0 ? how->origin : n / 2;
    const int64_t furthest = how->max_distance != 0 ? how->max_distance : 128;
    switch (how->buckets) {
    case ATTN_BUCKETS_T5:
        return (ahead > 0 ? n / 2 : 0) + t5_bucket(ahead < 0 ? -ahead : ahead, n / 2, furthest);
    case ATTN_BUCKETS_T5_CAUSAL: return t5_bucket(ahead < 0 ? -ahead : 0, n, furthest);
    case ATTN_BUCKETS_CLIPPED: break;
    }
    return ahead + origin < 0 ? 0 : ahead + origin > n - 1 ? n - 1 : ahead + origin;
}

/* ---------------------------------------------------------------------------------------------
 * The kinds
 * ------------------------------------------------------------------------------------------- */

/* dot(query, key[j]) = sum_c query[c] * key[j][c] */
static double dot(const row *r, int64_t j) {
    double sum = 0;
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++)
        sum += attn_ref_query(r, c) * attn_ref_key(r, j, c);
    return sum;
}

/* dot(query + content_bias, key[j]) + dot(query + position_bias, keys[e]) + dot(key[j], queries[e]) */
static double relative_dot(const row *r, const attn_relative *how, int64_t j) {
    const bool keys = attn_ref_present(&how->keys), queries = attn_ref_present(&how->queries);
    const int64_t e = keys      ? attn_ref_entry(r, &how->keys, 2, j)
                      : queries ? attn_ref_entry(r, &how->queries, 2, j)
                                : 0;
    double content = 0, position = 0, from_key = 0;
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++) {
        const double q = attn_ref_query(r, c), k = attn_ref_key(r, j, c);
        content += (q + attn_ref_parameter(r, &how->content_bias, 0, c)) * k;
        if (keys)
            position += (q + attn_ref_parameter(r, &how->position_bias, 0, c)) *
                        attn_ref_parameter(r, &how->keys, e, c);
        if (queries) from_key += k * attn_ref_parameter(r, &how->queries, e, c);
    }
    return content + position + from_key;
}

/* query^T weight key[j] */
static double general(const row *r, int64_t j) {
    const attn_problem *const p = r->problem;
    double sum = 0;
    for (int64_t a = 0; a < p->query.shape[3]; a++) {
        double inner = 0;
        for (int64_t b = 0; b < p->key.shape[3]; b++)
            inner += attn_ref_parameter(r, &p->score.weight, a, b) * attn_ref_key(r, j, b);
        sum += attn_ref_query(r, a) * inner;
    }
    return sum;
}

/* projection [query; key[j]], its element c: the additive score's is query + key[j] */
static double joined(const row *r, int64_t j, int64_t c) {
    const attn_problem *const p = r->problem;
    const int64_t d = p->query.shape[3];
    double sum = 0;
    if (p->score.kind == ATTN_SCORE_ADDITIVE) return attn_ref_query(r, c) + attn_ref_key(r, j, c);
    for (int64_t a = 0; a < d; a++)
        sum += attn_ref_parameter(r, &p->score.projection, c, a) * attn_ref_query(r, a);
    for (int64_t b = 0; b < p->key.shape[3]; b++)
        sum += attn_ref_parameter(r, &p->score.projection, c, d + b) * attn_ref_key(r, j, b);
    return sum;
}

/* features[c] = sum_t filters[c][t] * previous[j + t - width/2], which is 0 outside the keys */
void attn_ref_find_features(const row *r, int64_t j) {
    const attn_location *const how = r->problem->score.location;
    if (how == NULL) return;
    const int64_t width = how->filters.shape[3];
    for (int64_t c = 0; c < how->filters.shape[2]; c++) {
        double sum = 0;
        for (int64_t t = 0; t < width; t++) {
            const int64_t from = j + t - width / 2;
            if (from < 0 || from >= r->at.n_key) continue;
            sum += attn_ref_parameter(r, &how->filters, c, t) *
                   attn_ref_load(&how->previous, r->at.index, r->head, r->i, from);
        }
        r->features[c] = sum;
    }
}

/* projection features, its element c */
static double located(const row *r, const attn_location *how, int64_t c) {
    double sum = 0;
    for (int64_t k = 0; k < how->filters.shape[2]; k++)
        sum += attn_ref_parameter(r, &how->projection, c, k) * r->features[k];
    return sum;
}

/* |weight|, where it is to be divided by; hypot neither overflows nor underflows on the way */
double attn_ref_weight_length(const row *r) {
    const attn_score *const how = &r->problem->score;
    double length = 0;
    if (!how->normalize_weight) return 1;
    for (int64_t c = 0; c < how->weight.shape[3]; c++)
        length = hypot(length, attn_ref_parameter(r, &how->weight, 0, c));
    return length;
}

/* joined + located + offset, its element c; the features of key j have been found */
double attn_ref_hidden(const row *r, int64_t j, int64_t c) {
    const attn_score *const how = &r->problem->score;
    const double x = joined(r, j, c) + attn_ref_parameter(r, &how->offset, 0, c);
    return how->location != NULL ? x + located(r, how->location, c) : x;
}

/* dot(weight, tanh(hidden)) / |weight|: additive and concat */
static double additive(const row *r, int64_t j) {
    const attn_score *const how = &r->problem->score;
    double sum = 0;
    attn_ref_find_features(r, j);
    for (int64_t c = 0; c < how->weight.shape[3]; c++)
        sum += attn_ref_parameter(r, &how->weight, 0, c) * tanh(attn_ref_hidden(r, j, c));
    return sum / attn_ref_weight_length(r);
}

/* dot(query, key[j]) / (|query| |key[j]|), 0 if either is 0 */
static double cosine(const row *r, int64_t j) {
    double query = 0, key = 0;
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++) {
        query = hypot(query, attn_ref_query(r, c));
        key = hypot(key, attn_ref_key(r, j, c));
    }
    return query == 0 || key == 0 ? 0 : dot(r, j) / query / key;
}

/* -|query - key[j]|^2 */
static double gaussian(const row *r, int64_t j) {
    double sum = 0;
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++) {
        const double apart = attn_ref_query(r, c) - attn_ref_key(r, j, c);
        sum += apart * apart;
    }
    return -sum;
}

/* dot(query, weight[j]) */
static double by_location(const row *r, int64_t j) {
    double sum = 0;
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++)
        sum += attn_ref_query(r, c) * attn_ref_parameter(r, &r->problem->score.weight, j, c);
    return sum;
}

double attn_ref_unscaled(const row *r, int64_t j) {
    const attn_score *const how = &r->problem->score;
    switch (how->kind) {
    case ATTN_SCORE_DOT:
        return how->relative != NULL ? relative_dot(r, how->relative, j) : dot(r, j);
    case ATTN_SCORE_GENERAL: return general(r, j);
    case ATTN_SCORE_ADDITIVE:
    case ATTN_SCORE_CONCAT: return additive(r, j);
    case ATTN_SCORE_COSINE: return cosine(r, j);
    case ATTN_SCORE_GAUSSIAN: return gaussian(r, j);
    case ATTN_SCORE_LOCATION: return by_location(r, j);
    case ATTN_SCORE_CUSTOM: break;
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------------------------- */

/* 1/sqrt(d) keeps scores of width d near size 1 (Vaswani et al. 2017); with no width, dot is 0. */
static double default_scale(const attn_problem *p) {
    const int64_t d = p->query.shape[3];
    if (p->score.kind == ATTN_SCORE_DOT) return d > 0 ? 1 / sqrt((double)d) : 0;
    return p->score.kind == ATTN_SCORE_GAUSSIAN ? 0.5 : 1;
}

double attn_ref_scale(const attn_problem *p) {
    return p->score.scale != 0 ? p->score.scale : default_scale(p);
}

double attn_ref_scales(const row *r) {
    const attn_tensor *const scales = &r->problem->score.scales;
    return attn_ref_present(scales) ? attn_ref_load(scales, r->at.index, r->head, 0, 0) : 1;
}

double attn_ref_tanh_slope(double x) {
    return 1 / cosh(x) / cosh(x); /* 1 - tanh(x)^2 would cancel */
}

/* cap(s) = c * tanh(s / c): like s near 0, never beyond c */
static double cap(double s, double c) {
    return c > 0 ? c * tanh(s / c) : s;
}

/* bias[j] + relative bias[entry] - slope * |p - j| */
static double biases(const row *r, int64_t j) {
    const attn_score *const how = &r->problem->score;
    const attn_relative *const relative = how->relative;
    double sum = 0;
    if (attn_ref_present(&how->bias))
        sum += attn_ref_load(&how->bias, r->at.index, r->head, r->i, j);
    if (relative != NULL && attn_ref_present(&relative->bias))
        sum += attn_ref_parameter(r, &relative->bias, 0, attn_ref_entry(r, &relative->bias, 3, j));
    if (attn_ref_present(&how->alibi_slopes))
        sum -= attn_ref_load(&how->alibi_slopes, r->at.index, r->head, 0, 0) *
               fabs((double)(r->p - j));
    return sum;
}

/* -log(-log(u)) */
static double gumbel(const row *r, int64_t j) {
    return r->problem->normalizer.gumbel ? -log(-log(attn_ref_uniform(r, j, true))) : 0;
}

void attn_ref_score(const row *r) {
    const attn_score *const how = &r->problem->score;
    const double by = attn_ref_scale(r->problem) * attn_ref_scales(r);
    for (int64_t j = 0; j < r->at.n_key; j++) {
        r->raw[j] = r->visible[j] ? by * attn_ref_unscaled(r, j) : 0;
        r->capped[j] = cap(r->raw[j], how->softcap);
        r->score[j] = r->given[j] = r->visible[j] ? r->capped[j] + biases(r, j) : 0;
    }
    if (how->callback != NULL) attn_ref_call(r, how->callback, how->callback_user, r->score);
    for (int64_t j = 0; j < r->at.n_key; j++)
        r->score[j] = r->visible[j] ? r->score[j] + gumbel(r, j) : -INFINITY;
}

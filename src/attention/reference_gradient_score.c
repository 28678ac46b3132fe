/* reference_gradient_score.c: from the derivatives of a row of scores to those of all that made them.
 *
 *     raw[j]    = scale * (what the kind says of query and key[j])
 *     capped[j] = cap(raw[j])
 *     given[j]  = capped[j] + bias[j] + relative bias[entry] - slope * |p - j|
 *     score[j]  = callback(given[j]) + noise
 *
 * in reverse. Numbers in parentheses are formulas of docs/MATHS.md. */
#include "attention/reference_backward.h"

#include <math.h>

/* ---------------------------------------------------------------------------------------------
 * Where gradients are summed
 * ------------------------------------------------------------------------------------------- */

static void add_query(backward *b, int64_t c, double x) {
    const row *const r = &b->row;
    attn_ref_add(&b->to.query, r->at.batch, r->head, r->at.first_query + r->i, c, x);
}

static void add_key(backward *b, int64_t j, int64_t c, double x) {
    const row *const r = &b->row;
    attn_ref_add(&b->to.key, r->at.batch, r->kv_head, r->at.first_key + j, c, x);
}

/* One matrix a head, or one for all. */
static void add_parameter(backward *b, const attn_tensor *t, int64_t i, int64_t j, double x) {
    attn_ref_add(t, 0, b->row.head, i, j, x);
}

/* One number a sequence and head. */
static void add_per_head(backward *b, const attn_tensor *t, double x) {
    attn_ref_add(t, b->row.at.index, b->row.head, 0, 0, x);
}

static void add_number(const attn_tensor *t, double x) {
    attn_ref_add(t, 0, 0, 0, 0, x);
}

/* ---------------------------------------------------------------------------------------------
 * The kinds: d is dL/d attn_ref_unscaled of key j
 * ------------------------------------------------------------------------------------------- */

/* (34) */
static void dot_backward(backward *b, int64_t j, double d) {
    const row *const r = &b->row;
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++) {
        add_query(b, c, d * attn_ref_key(r, j, c));
        add_key(b, j, c, d * attn_ref_query(r, c));
    }
}

/* (35): dot(query + content_bias, key[j]) */
static void content_backward(backward *b, const attn_relative *how, int64_t j, double d) {
    const row *const r = &b->row;
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++) {
        const double k = attn_ref_key(r, j, c);
        add_query(b, c, d * k);
        add_parameter(b, &b->to.content_bias, 0, c, d * k);
        add_key(b, j, c,
                d * (attn_ref_query(r, c) + attn_ref_parameter(r, &how->content_bias, 0, c)));
    }
}

/* (36): dot(query + position_bias, keys[e]) */
static void position_backward(backward *b, const attn_relative *how, int64_t j, double d) {
    const row *const r = &b->row;
    if (!attn_ref_present(&how->keys)) return;
    const int64_t e = attn_ref_entry(r, &how->keys, 2, j);
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++) {
        const double k = attn_ref_parameter(r, &how->keys, e, c);
        add_query(b, c, d * k);
        add_parameter(b, &b->to.position_bias, 0, c, d * k);
        add_parameter(
            b, &b->to.relative_keys, e, c,
            d * (attn_ref_query(r, c) + attn_ref_parameter(r, &how->position_bias, 0, c)));
    }
}

/* (37): dot(key[j], queries[e]) */
static void from_key_backward(backward *b, const attn_relative *how, int64_t j, double d) {
    const row *const r = &b->row;
    if (!attn_ref_present(&how->queries)) return;
    const int64_t e = attn_ref_entry(r, &how->queries, 2, j);
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++) {
        add_key(b, j, c, d * attn_ref_parameter(r, &how->queries, e, c));
        add_parameter(b, &b->to.relative_queries, e, c, d * attn_ref_key(r, j, c));
    }
}

static void relative_dot_backward(backward *b, const attn_relative *how, int64_t j, double d) {
    content_backward(b, how, j, d);
    position_backward(b, how, j, d);
    from_key_backward(b, how, j, d);
}

/* (38): query^T weight key[j] */
static void general_backward(backward *b, int64_t j, double d) {
    const row *const r = &b->row;
    const attn_problem *const p = r->problem;
    for (int64_t a = 0; a < p->query.shape[3]; a++) {
        const double q = attn_ref_query(r, a);
        for (int64_t c = 0; c < p->key.shape[3]; c++) {
            const double k = attn_ref_key(r, j, c);
            const double w = attn_ref_parameter(r, &p->score.weight, a, c);
            add_query(b, a, d * w * k);
            add_key(b, j, c, d * q * w);
            add_parameter(b, &b->to.weight, a, c, d * q * k);
        }
    }
}

/* (42): d is dL/d(projection [query; key[j]]), its element c */
static void joined_backward(backward *b, int64_t j, int64_t c, double d) {
    const row *const r = &b->row;
    const attn_problem *const p = r->problem;
    const attn_tensor *const projection = &p->score.projection;
    const int64_t width = p->query.shape[3];
    if (p->score.kind == ATTN_SCORE_ADDITIVE) { /* (41) */
        add_query(b, c, d);
        add_key(b, j, c, d);
        return;
    }
    for (int64_t a = 0; a < width; a++) {
        add_query(b, a, d * attn_ref_parameter(r, projection, c, a));
        add_parameter(b, &b->to.projection, c, a, d * attn_ref_query(r, a));
    }
    for (int64_t a = 0; a < p->key.shape[3]; a++) {
        add_key(b, j, a, d * attn_ref_parameter(r, projection, c, width + a));
        add_parameter(b, &b->to.projection, c, width + a, d * attn_ref_key(r, j, a));
    }
}

/* (44): d is dL/d(features[k] of key j); previous is 0 outside the keys */
static void feature_backward(backward *b, int64_t j, int64_t k, double d) {
    const row *const r = &b->row;
    const attn_location *const how = r->problem->score.location;
    const int64_t width = how->filters.shape[3];
    for (int64_t t = 0; t < width; t++) {
        const int64_t from = j + t - width / 2;
        if (from < 0 || from >= r->at.n_key) continue;
        attn_ref_add(&b->to.previous, r->at.index, r->head, r->i, from,
                     d * attn_ref_parameter(r, &how->filters, k, t));
        add_parameter(b, &b->to.filters, k, t,
                      d * attn_ref_load(&how->previous, r->at.index, r->head, r->i, from));
    }
}

/* (43): d is dL/d(projection features), its element c */
static void located_backward(backward *b, int64_t j, int64_t c, double d) {
    const row *const r = &b->row;
    const attn_location *const how = r->problem->score.location;
    for (int64_t k = 0; how != NULL && k < how->filters.shape[2]; k++) {
        add_parameter(b, &b->to.location_projection, c, k, d * r->features[k]);
        feature_backward(b, j, k, d * attn_ref_parameter(r, &how->projection, c, k));
    }
}

/* dot(weight, tanh(hidden)) / |weight|: (39) for weight, or (40) if it is divided by its length; (41)
 * for what is added up to make hidden */
static void additive_backward(backward *b, int64_t j, double d) {
    const row *const r = &b->row;
    const attn_score *const how = &r->problem->score;
    const double length = attn_ref_weight_length(r);
    const double score = how->normalize_weight ? attn_ref_unscaled(r, j) : 0;
    attn_ref_find_features(r, j);
    for (int64_t c = 0; c < how->weight.shape[3]; c++) {
        const double weight = attn_ref_parameter(r, &how->weight, 0, c) / length;
        const double x = attn_ref_hidden(r, j, c), d_hidden = d * weight * attn_ref_tanh_slope(x);
        add_parameter(b, &b->to.weight, 0, c, d * (tanh(x) - weight * score) / length);
        add_parameter(b, &b->to.offset, 0, c, d_hidden);
        joined_backward(b, j, c, d_hidden);
        located_backward(b, j, c, d_hidden);
    }
}

/* (45): with unit vectors q and k, d_query = (k - score q) / |query|, and the same for the key; where
 * one is 0 the score is the constant 0 */
static void cosine_backward(backward *b, int64_t j, double d) {
    const row *const r = &b->row;
    const int64_t width = r->problem->query.shape[3];
    const double score = attn_ref_unscaled(r, j);
    double query = 0, key = 0;
    for (int64_t c = 0; c < width; c++) {
        query = hypot(query, attn_ref_query(r, c));
        key = hypot(key, attn_ref_key(r, j, c));
    }
    if (query == 0 || key == 0) return;
    for (int64_t c = 0; c < width; c++) {
        const double q = attn_ref_query(r, c) / query, k = attn_ref_key(r, j, c) / key;
        add_query(b, c, d * (k - score * q) / query);
        add_key(b, j, c, d * (q - score * k) / key);
    }
}

/* (46): -|query - key[j]|^2 */
static void gaussian_backward(backward *b, int64_t j, double d) {
    const row *const r = &b->row;
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++) {
        const double apart = attn_ref_query(r, c) - attn_ref_key(r, j, c);
        add_query(b, c, -2 * d * apart);
        add_key(b, j, c, 2 * d * apart);
    }
}

/* (47): dot(query, weight[j]) */
static void by_location_backward(backward *b, int64_t j, double d) {
    const row *const r = &b->row;
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++) {
        add_query(b, c, d * attn_ref_parameter(r, &r->problem->score.weight, j, c));
        add_parameter(b, &b->to.weight, j, c, d * attn_ref_query(r, c));
    }
}

static void unscaled_backward(backward *b, int64_t j, double d) {
    const attn_score *const how = &b->row.problem->score;
    switch (how->kind) {
    case ATTN_SCORE_DOT:
        if (how->relative != NULL) relative_dot_backward(b, how->relative, j, d);
        else dot_backward(b, j, d);
        break;
    case ATTN_SCORE_GENERAL: general_backward(b, j, d); break;
    case ATTN_SCORE_ADDITIVE:
    case ATTN_SCORE_CONCAT: additive_backward(b, j, d); break;
    case ATTN_SCORE_COSINE: cosine_backward(b, j, d); break;
    case ATTN_SCORE_GAUSSIAN: gaussian_backward(b, j, d); break;
    case ATTN_SCORE_LOCATION: by_location_backward(b, j, d); break;
    case ATTN_SCORE_CUSTOM: break;
    }
}

/* ---------------------------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------------------------- */

/* (27): back through the caller's own score. What it leaves where nothing is shown is ignored. */
static void callback_backward(backward *b) {
    if (b->row.problem->score.callback == NULL) return;
    attn_ref_call_backward(&b->row, b->to.callback, b->to.callback_user, b->d_score, b->room);
}

/* (28), (29), (30): d is dL/d given[j] */
static void biases_backward(backward *b, int64_t j, double d) {
    const row *const r = &b->row;
    const attn_relative *const relative = r->problem->score.relative;
    attn_ref_add(&b->to.bias, r->at.index, r->head, r->i, j, d);
    if (relative != NULL && attn_ref_present(&relative->bias))
        add_parameter(b, &b->to.relative_bias, 0, attn_ref_entry(r, &relative->bias, 3, j), d);
    add_per_head(b, &b->to.alibi_slopes, -d * fabs((double)(r->p - j)));
}

/* (31), (32): of c tanh(raw / c) with respect to raw, which is returned, and c */
static double cap_backward(backward *b, int64_t j, double d) {
    const row *const r = &b->row;
    const double c = r->problem->score.softcap;
    if (!(c > 0) || d == 0) return d; /* raw may be infinite there */
    const double x = r->raw[j] / c;
    add_number(&b->to.softcap, d * (r->capped[j] / c - x * attn_ref_tanh_slope(x)));
    return d * attn_ref_tanh_slope(x);
}

/* (33): raw = scale * scales * unscaled. A score of -infinity whose weight does not change with it tells
 * nothing about the scale. */
static double scale_backward(backward *b, int64_t j, double d) {
    const row *const r = &b->row;
    const double scale = attn_ref_scale(r->problem), scales = attn_ref_scales(r);
    const double unscaled = d != 0 ? attn_ref_unscaled(r, j) : 0;
    add_number(&b->to.scale, d * scales * unscaled);
    add_per_head(b, &b->to.scales, d * scale * unscaled);
    return d * scale * scales;
}

void attn_ref_score_backward(backward *b) {
    if (b->row.problem->normalizer.kind == ATTN_HARDMAX) return; /* (24) */
    callback_backward(b);
    for (int64_t j = 0; j < b->row.at.n_key; j++) {
        if (!attn_ref_shown(&b->row, j)) continue;
        biases_backward(b, j, b->d_score[j]);
        unscaled_backward(b, j, scale_backward(b, j, cap_backward(b, j, b->d_score[j])));
    }
}

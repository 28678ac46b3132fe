/* oracle_gradients_score.c: from gradients of scores to those of all that scores are made of.
 *
 * A pair gives each of its inputs a product: its dz, over the temperature, through callback and soft
 * cap, times a derivative. dz carries the error that oracle_gradients_weigh.c finds; a derivative its
 * own, where it is not an input itself:
 *
 *   callback    curve_scores' slope 1 + s / 4, off by a quarter of the error of s
 *   soft cap    t = tanh(x), x = raw / cap: x is off by X = error of raw / cap, t by X (1 - t^2) + 4 u,
 *               1 - t^2 by twice that times |t| and u, and cap's own t - x (1 - t^2) by all of these
 *   scale       the score without it, off by the error of the raw score over the scale
 *   tanh        of a hidden vector: off by (3 S + 6 + P) (1 - t^2) u + 22 u (oracle_score.c), and
 *               1 - t^2 by twice that times |t|, and 2 u
 *   features    of what earlier steps attended to: width u times the sizes of their sums
 *
 * Rounding of sums counts with the sizes that are added up, as slots collect them. They are larger
 * than the terms where a derivative is a sum itself, which may be taken apart: sum_j dk[j] (key[j] -
 * query) is made of two, and what is orthogonal to a unit vector of the whole less its projection. */
#include <stdlib.h>

#include "oracle_gradients.h"

static double query_at(const back *b, int64_t c) {
    return row_at(&b->r, &b->r.o->problem.query, c);
}

static double key_at(const back *b, int64_t j, int64_t c) {
    return at(&b->r.o->problem.key, b->r.at->batch, b->r.kv_head, b->r.at->first_key + j, c);
}

/* Of a tensor of a matrix a head; 0 if absent. */
static double parameter(const back *b, const attn_tensor *t, int64_t i, int64_t j) {
    return t->data != NULL ? at(t, 0, b->r.head, i, j) : 0;
}

static void give_query(const back *b, int64_t c, about v, double size) {
    give(b, GRADIENT_QUERY, b->r.at->batch, b->r.head, b->r.at->first_query + b->r.i, c, v, size);
}

static void give_key(const back *b, int64_t j, int64_t c, about v, double size) {
    give(b, GRADIENT_KEY, b->r.at->batch, b->r.kv_head, b->r.at->first_key + j, c, v, size);
}

static void give_parameter(const back *b, int gradient, int64_t i, int64_t j, about v,
                           double size) {
    give(b, gradient, 0, b->r.head, i, j, v, size);
}

/* dk times x, which is an input. */
static void give_product(const back *b, int gradient, int64_t i, int64_t j, about dk, double x) {
    give_parameter(b, gradient, i, j, scaled(dk, x), fabs(dk.x * x));
}

/* ---------------------------------------------------------------------------------------------
 * The kinds: dk is the gradient of what a kind makes of query and key j
 * ------------------------------------------------------------------------------------------- */

static int64_t table_entry(const back *b, int64_t j) {
    const attn_relative *const how = b->r.o->problem.score.relative;
    const attn_tensor *const table = how->keys.data != NULL ? &how->keys : &how->queries;
    return table->data != NULL ? relative_entry(how, table->shape[2], j - b->r.position) : 0;
}

/* dot(query + content, key) + dot(query + position, keys[e]) + dot(key, queries[e]) */
static void back_dot(const back *b, int64_t j, about dk) {
    static const attn_relative none;
    const attn_relative *const set = b->r.o->problem.score.relative;
    const attn_relative *const how = set != NULL ? set : &none;
    const int64_t e = set != NULL ? table_entry(b, j) : 0;
    for (int64_t c = 0; c < b->r.o->problem.query.shape[3]; c++) {
        const double q = query_at(b, c), k = key_at(b, j, c);
        const double content = parameter(b, &how->content_bias, 0, c);
        const double position = parameter(b, &how->position_bias, 0, c);
        const double keys = parameter(b, &how->keys, e, c);
        const double queries = parameter(b, &how->queries, e, c);
        give_query(b, c, scaled(dk, k + keys), fabs(dk.x) * (fabs(k) + fabs(keys)));
        give_key(b, j, c, scaled(dk, q + content + queries),
                 fabs(dk.x) * (fabs(q) + fabs(content) + fabs(queries)));
        if (set == NULL) continue;
        give_product(b, GRADIENT_CONTENT_BIAS, 0, c, dk, k);
        give_product(b, GRADIENT_POSITION_BIAS, 0, c, dk, keys);
        give_parameter(b, GRADIENT_RELATIVE_KEYS, e, c, scaled(dk, q + position),
                       fabs(dk.x) * (fabs(q) + fabs(position)));
        give_product(b, GRADIENT_RELATIVE_QUERIES, e, c, dk, k);
    }
}

/* query^T weight key */
static void back_general(const back *b, int64_t j, about dk) {
    const attn_problem *const p = &b->r.o->problem;
    for (int64_t c = 0; c < p->query.shape[3]; c++) {
        double sum = 0, size = 0;
        for (int64_t e = 0; e < p->key.shape[3]; e++) {
            const double x = parameter(b, &p->score.weight, c, e) * key_at(b, j, e);
            sum += x, size += fabs(x);
            give_product(b, GRADIENT_WEIGHT, c, e, dk, query_at(b, c) * key_at(b, j, e));
        }
        give_query(b, c, scaled(dk, sum), fabs(dk.x) * size);
    }
    for (int64_t e = 0; e < p->key.shape[3]; e++) {
        double sum = 0, size = 0;
        for (int64_t c = 0; c < p->query.shape[3]; c++) {
            const double x = query_at(b, c) * parameter(b, &p->score.weight, c, e);
            sum += x, size += fabs(x);
        }
        give_key(b, j, e, scaled(dk, sum), fabs(dk.x) * size);
    }
}

/* dot(query, weight[j]) */
static void back_location(const back *b, int64_t j, about dk) {
    for (int64_t c = 0; c < b->r.o->problem.query.shape[3]; c++) {
        const double w = parameter(b, &b->r.o->problem.score.weight, j, c);
        give_query(b, c, scaled(dk, w), fabs(dk.x * w));
        give_product(b, GRADIENT_WEIGHT, j, c, dk, query_at(b, c));
    }
}

/* -|query - key|^2 */
static void back_gaussian(const back *b, int64_t j, about dk) {
    for (int64_t c = 0; c < b->r.o->problem.query.shape[3]; c++) {
        const double q = query_at(b, c), k = key_at(b, j, c);
        const double size = 2 * fabs(dk.x) * (fabs(q) + fabs(k));
        give_query(b, c, scaled(dk, 2 * (k - q)), size);
        give_key(b, j, c, scaled(dk, 2 * (q - k)), size);
    }
}

/* dot(q, k) / (|q| |k|): with unit vectors q' and k', (k' - cos q') / |q| and the other way round. */
static void back_cosine(const back *b, int64_t j, about dk) {
    const int64_t d = b->r.o->problem.query.shape[3];
    double cosine = 0, size = 0, length[2] = {0};
    for (int64_t c = 0; c < d; c++) {
        length[0] = hypot(length[0], query_at(b, c));
        length[1] = hypot(length[1], key_at(b, j, c));
    }
    if (length[0] == 0 || length[1] == 0) return;
    for (int64_t c = 0; c < d; c++) {
        const double x = query_at(b, c) / length[0] * (key_at(b, j, c) / length[1]);
        cosine += x, size += fabs(x);
    }
    for (int64_t c = 0; c < d; c++) {
        const double q = query_at(b, c) / length[0], k = key_at(b, j, c) / length[1];
        give_query(b, c, scaled(dk, (k - cosine * q) / length[0]),
                   fabs(dk.x) * (fabs(k) + size * fabs(q)) / length[0]);
        give_key(b, j, c, scaled(dk, (q - cosine * k) / length[1]),
                 fabs(dk.x) * (fabs(q) + size * fabs(k)) / length[1]);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Additive and concat: dot(weight, tanh(x)) / |weight|
 * ------------------------------------------------------------------------------------------- */

/* What location adds to x came of features: projection, filters and earlier weights. */
static void back_features(const back *b, int64_t j, int64_t f, about dx) {
    const attn_location *const l = b->r.o->problem.score.location;
    const row *const r = &b->r;
    if (l == NULL) return;
    const int64_t width = l->filters.shape[3];
    for (int64_t c = 0; c < l->filters.shape[2]; c++) {
        const double p = parameter(b, &l->projection, f, c);
        double feature = 0, size = 0;
        for (int64_t t = 0; t < width; t++) {
            const int64_t from = j + t - width / 2;
            if (from < 0 || from >= r->at->n_key) continue;
            const double weight = parameter(b, &l->filters, c, t);
            const double previous = at(&l->previous, r->sequence, r->head, r->i, from);
            feature += weight * previous, size += fabs(weight * previous);
            give_product(b, GRADIENT_FILTERS, c, t, dx, p * previous);
            give(b, GRADIENT_PREVIOUS, r->sequence, r->head, r->i, from, scaled(dx, p * weight),
                 fabs(dx.x * p * weight));
        }
        const about x = {feature, (double)width * r->u * size};
        give_parameter(b, GRADIENT_LOCATION_PROJECTION, f, c, times(dx, x), fabs(dx.x) * size);
    }
}

/* x is query + key, or a projection of both. */
static void back_joined(const back *b, int64_t j, int64_t f, about dx) {
    const attn_problem *const p = &b->r.o->problem;
    const int64_t d = p->query.shape[3];
    if (p->score.kind == ATTN_SCORE_ADDITIVE) {
        give_query(b, f, dx, fabs(dx.x));
        give_key(b, j, f, dx, fabs(dx.x));
        return;
    }
    for (int64_t c = 0; c < d; c++) {
        const double w = parameter(b, &p->score.projection, f, c);
        give_query(b, c, scaled(dx, w), fabs(dx.x * w));
        give_product(b, GRADIENT_PROJECTION, f, c, dx, query_at(b, c));
    }
    for (int64_t c = 0; c < p->key.shape[3]; c++) {
        const double w = parameter(b, &p->score.projection, f, d + c);
        give_key(b, j, c, scaled(dx, w), fabs(dx.x * w));
        give_product(b, GRADIENT_PROJECTION, f, d + c, dx, key_at(b, j, c));
    }
}

/* tanh of the hidden vector, and how far off */
static about tanh_of(const back *b, int64_t j, int64_t f) {
    const hidden h = hidden_of(&b->r, j, f);
    const double t = tanh(h.x);
    return (about){t, b->r.u * (h.error * (1 - t * t) + 22)};
}

static about slope_of_tanh(const back *b, about t) {
    return (about){1 - t.x * t.x, 2 * fabs(t.x) * t.e + 2 * b->r.u};
}

/* d/dw of dot(w, t) / |w|: (t - (w / |w|) dot(w / |w|, t)) / |w|. */
static void back_weight(const back *b, const about *t, about dk) {
    const attn_score *const score = &b->r.o->problem.score;
    const int64_t d = score->weight.shape[3];
    const double length = length_of_weight(&b->r);
    double dot = 0, size = 0, off = 0;
    for (int64_t f = 0; f < d && score->normalize_weight; f++) {
        const double w = parameter(b, &score->weight, 0, f) / length;
        dot += w * t[f].x, size += fabs(w * t[f].x), off += fabs(w) * t[f].e;
    }
    for (int64_t f = 0; f < d; f++) {
        const double w = parameter(b, &score->weight, 0, f) / length;
        const about by = {(t[f].x - w * dot) / length, (t[f].e + fabs(w) * off) / length};
        give_parameter(b, GRADIENT_WEIGHT, 0, f, times(dk, by),
                       fabs(dk.x) * (fabs(t[f].x) + fabs(w) * size) / length);
    }
}

static void back_additive(const back *b, int64_t j, about dk) {
    const attn_score *const score = &b->r.o->problem.score;
    const int64_t d = score->weight.shape[3];
    const double length = length_of_weight(&b->r);
    about *const t = calloc((size_t)d + 1, sizeof *t);
    assert_non_null(t);
    for (int64_t f = 0; f < d; f++) {
        t[f] = tanh_of(b, j, f);
        const about dx =
            scaled(times(dk, slope_of_tanh(b, t[f])), parameter(b, &score->weight, 0, f) / length);
        give_parameter(b, GRADIENT_OFFSET, 0, f, dx, fabs(dx.x));
        back_joined(b, j, f, dx);
        back_features(b, j, f, dx);
    }
    back_weight(b, t, dk);
    free(t);
}

static void back_kind(const back *b, int64_t j, about dk) {
    switch (b->r.o->problem.score.kind) {
    case ATTN_SCORE_DOT: back_dot(b, j, dk); break;
    case ATTN_SCORE_GENERAL: back_general(b, j, dk); break;
    case ATTN_SCORE_ADDITIVE:
    case ATTN_SCORE_CONCAT: back_additive(b, j, dk); break;
    case ATTN_SCORE_COSINE: back_cosine(b, j, dk); break;
    case ATTN_SCORE_GAUSSIAN: back_gaussian(b, j, dk); break;
    case ATTN_SCORE_LOCATION: back_location(b, j, dk); break;
    case ATTN_SCORE_CUSTOM: break;
    }
}

/* ---------------------------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------------------------- */

static about through_callback(const back *b, int64_t j, about ds) {
    if (b->r.o->problem.score.callback != curve_scores) return ds;
    const double s = called_with(&b->r, j);
    const double off = row_at(&b->r, &b->r.o->score_error, j) / fmax(fabs(1 + s / 4), 0x1p-20);
    return times(ds, (about){1 + s / 4, off / 4 + 2 * b->r.u * (1 + fabs(s / 4))});
}

static void give_biases(const back *b, int64_t j, about ds) {
    const row *const r = &b->r;
    const attn_relative *const how = r->o->problem.score.relative;
    const about away = scaled(ds, -fabs((double)(r->position - j)));
    give(b, GRADIENT_BIAS, r->sequence, r->head, r->i, j, ds, fabs(ds.x));
    give(b, GRADIENT_ALIBI_SLOPES, r->sequence, r->head, 0, 0, away, fabs(away.x));
    if (how == NULL || how->bias.data == NULL) return;
    give_parameter(b, GRADIENT_RELATIVE_BIAS, 0,
                   relative_entry(how, how->bias.shape[3], j - r->position), ds, fabs(ds.x));
}

/* c tanh(raw / c) */
static about through_cap(const back *b, int64_t j, about ds) {
    const double c = b->r.o->problem.score.softcap, u = b->r.u;
    if (!(c > 0)) return ds;
    const about x = scaled(
        (about){row_at(&b->r, &b->r.o->all.raw_scores, j), row_at(&b->r, &b->r.o->raw_error, j)},
        1 / c);
    const double t = tanh(x.x), t_off = x.e * (1 - t * t) + 4 * u;
    const about slope = {1 - t * t, 2 * fabs(t) * t_off + u};
    const about rest = minus((about){t, t_off + u * fabs(t)}, times(x, slope));
    const about d_cap = times(ds, rest);
    give(b, GRADIENT_SOFTCAP, 0, 0, 0, 0, d_cap, fabs(ds.x) * (fabs(t) + fabs(x.x * slope.x)));
    return times(ds, slope);
}

/* raw = scale scales kind */
static about through_scale(const back *b, int64_t j, about raw) {
    const row *const r = &b->r;
    const attn_tensor *const scales = &r->o->problem.score.scales;
    const double all = scale_of(r), own = scales->data ? at(scales, r->sequence, r->head, 0, 0) : 1;
    const about kind = scaled(
        (about){row_at(r, &r->o->all.raw_scores, j), row_at(r, &r->o->raw_error, j)}, 1 / all);
    const about of_scale = times(raw, scaled(kind, own));
    const about of_scales = times(raw, scaled(kind, all / own));
    give(b, GRADIENT_SCALE, 0, 0, 0, 0, of_scale, fabs(of_scale.x));
    give(b, GRADIENT_SCALES, r->sequence, r->head, 0, 0, of_scales, fabs(of_scales.x));
    return scaled(raw, all);
}

void go_back_to_inputs(const back *b) {
    const double set = b->r.o->problem.normalizer.temperature;
    for (int64_t j = 0; j < b->r.at->n_key; j++) {
        if (!b->pairs[j].seen) continue;
        about ds = scaled(b->pairs[j].dz, 1 / (set > 0 ? set : 1));
        ds = through_callback(b, j, ds);
        give_biases(b, j, ds);
        back_kind(b, j, through_scale(b, j, through_cap(b, j, ds)));
    }
}

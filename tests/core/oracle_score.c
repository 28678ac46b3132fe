/* oracle_score.c: how far a computed score may be from the exact one.
 *
 * Everything is to first order in u, half the distance from 1 to the next number of the type; what
 * is left out is smaller by u times the number of operations, which the rounding up of constants
 * covers. A sum of n products in any order, fused or not, is within n u of the sum of their sizes;
 * `a` is that sum for the score as a whole, |scale| included. Counted per kind, beside 16 a (below):
 *
 *   dot           d a. With relative positions a sums all three products, and a sum of two
 *                 vectors before a product rounds once more: (d + 3) a.
 *   general       two sums, one after the other: (d_query + d_key) a, where a is
 *                 sum |query| |weight| |key|
 *   location      d a
 *   cosine        each length is the root of a sum of squares of d/2 relative error and a few
 *                 roundings, each element of a unit vector then rounds 4 more times: (2 d + 14) a
 *   gaussian      differences round once each and are squared: (d + 4) a
 *   additive      see below
 *   concat        the same, where each x comes of a sum of d_query + d_key products
 *
 * 16 a: the factor of the score (three roundings, itself rounded to the type, multiplied in: 5), and
 * 5 for sums and factors after it; the soft cap: a quotient, tanh within 4 u (test_accuracy.c), a
 * product: 6. Bias, relative bias, ALiBi, callback and noise join `sizes`, of which each sum takes u:
 * 8 sizes. Gumbel noise g = -log(-log(u)): |g| < 17; the inner logarithm is within 6 u, relative,
 * which shifts the outer one by 6 u; that is within 4 u |g| and its factor 2 u |g|: 108 u.
 *
 * Additive: with S = |query + offset| + |key| (and what location adds), t = tanh of the sum x, and
 * its slope 1 - t^2. Two ways lead to tanh. By itself: x is off by u S, tanh by 4 u. By
 * e^(2 query) e^(2 key): either factor is off by 4 u (exponent: 2 roundings of 2 |x|) and 5 u
 * (exp2, the weight joined in), so their product by (4 S + 11) u, relative, and t by half of that
 * times its slope. Then 2/(1 + e^2x) <= 2 comes of some 8 roundings and is summed: 2 (d + 8). The
 * larger of both is held: a feature adds |weight| ((3 S + 6) (1 - t^2) + 2 d + 20). What is off in x
 * before that, P, adds P (1 - t^2): sums of projections and filters. A length of the weight in float64
 * is off by another d + 2.
 *
 * curve_scores passes an error on by its slope, and rounds 4 times. */
#include "oracle.h"

#include <math.h>
#include <stdlib.h>

static double query_at(const row *r, int64_t c) {
    return at(&r->o->problem.query, r->at->batch, r->head, r->at->first_query + r->i, c);
}

static double key_at(const row *r, int64_t j, int64_t c) {
    return at(&r->o->problem.key, r->at->batch, r->kv_head, r->at->first_key + j, c);
}

/* Of a tensor of a matrix a head; 0 if absent. */
static double parameter(const row *r, const attn_tensor *t, int64_t i, int64_t j) {
    return t->data != NULL ? at(t, 0, r->head, i, j) : 0;
}

/* A sum of sizes, and the error that comes with it, in u. */
typedef struct sized {
    double size, error;
} sized;

/* ---------------------------------------------------------------------------------------------
 * The kinds
 * ------------------------------------------------------------------------------------------- */

static sized dot_size(const row *r, int64_t j) {
    const attn_relative *const how = r->o->problem.score.relative;
    const int64_t d = r->o->problem.query.shape[3];
    int64_t e = 0;
    double a = 0;
    if (how != NULL && how->keys.data != NULL)
        e = relative_entry(how, how->keys.shape[2], j - r->position);
    else if (how != NULL && how->queries.data != NULL)
        e = relative_entry(how, how->queries.shape[2], j - r->position);
    for (int64_t c = 0; c < d; c++) {
        const double q = fabs(query_at(r, c)), k = fabs(key_at(r, j, c));
        a += q * k;
        if (how == NULL) continue;
        a += fabs(parameter(r, &how->content_bias, 0, c)) * k;
        a += (q + fabs(parameter(r, &how->position_bias, 0, c))) *
             fabs(parameter(r, &how->keys, e, c));
        a += k * fabs(parameter(r, &how->queries, e, c));
    }
    return (sized){a, ((double)d + 3) * a};
}

static sized general_size(const row *r, int64_t j) {
    const attn_problem *const p = &r->o->problem;
    const int64_t d_query = p->query.shape[3], d_key = p->key.shape[3];
    double a = 0;
    for (int64_t c = 0; c < d_query; c++) {
        for (int64_t e = 0; e < d_key; e++)
            a += fabs(query_at(r, c) * parameter(r, &p->score.weight, c, e) * key_at(r, j, e));
    }
    return (sized){a, (double)(d_query + d_key) * a};
}

static sized location_size(const row *r, int64_t j) {
    const attn_problem *const p = &r->o->problem;
    double a = 0;
    for (int64_t c = 0; c < p->query.shape[3]; c++)
        a += fabs(query_at(r, c) * parameter(r, &p->score.weight, j, c));
    return (sized){a, (double)p->query.shape[3] * a};
}

static sized cosine_size(const row *r, int64_t j) {
    const int64_t d = r->o->problem.query.shape[3];
    double a = 0, query = 0, key = 0;
    for (int64_t c = 0; c < d; c++) {
        a += fabs(query_at(r, c) * key_at(r, j, c));
        query = hypot(query, query_at(r, c));
        key = hypot(key, key_at(r, j, c));
    }
    if (query == 0 || key == 0) return (sized){0};
    a /= query, a /= key;
    return (sized){a, (2 * (double)d + 14) * a};
}

static sized gaussian_size(const row *r, int64_t j) {
    const int64_t d = r->o->problem.query.shape[3];
    double a = 0;
    for (int64_t c = 0; c < d; c++) a += pow(query_at(r, c) - key_at(r, j, c), 2);
    return (sized){a, ((double)d + 4) * a};
}

/* The part of x that comes of query (first 0) or key, its size and error. */
static double joined(const row *r, int64_t j, int64_t f, bool of_key, sized *part) {
    const attn_problem *const p = &r->o->problem;
    const int64_t d_query = p->query.shape[3], d = of_key ? p->key.shape[3] : d_query;
    double x = 0, a = 0;
    if (p->score.kind == ATTN_SCORE_ADDITIVE) {
        x = of_key ? key_at(r, j, f) : query_at(r, f);
        *part = (sized){fabs(x), 0};
        return x;
    }
    for (int64_t c = 0; c < d; c++) {
        const double y = parameter(r, &p->score.projection, f, of_key ? d_query + c : c) *
                         (of_key ? key_at(r, j, c) : query_at(r, c));
        x += y, a += fabs(y);
    }
    *part = (sized){fabs(x), (double)d * a};
    return x;
}

/* What earlier weights add to x. */
static double located(const row *r, int64_t j, int64_t f, sized *part) {
    const attn_location *const l = r->o->problem.score.location;
    double x = 0, a = 0;
    *part = (sized){0};
    if (l == NULL) return 0;
    const int64_t channels = l->filters.shape[2], width = l->filters.shape[3];
    for (int64_t c = 0; c < channels; c++) {
        for (int64_t t = 0; t < width; t++) {
            const int64_t from = j + t - width / 2;
            if (from < 0 || from >= r->at->n_key) continue;
            const double y = parameter(r, &l->projection, f, c) * parameter(r, &l->filters, c, t) *
                             at(&l->previous, r->sequence, r->head, r->i, from);
            x += y, a += fabs(y);
        }
    }
    *part = (sized){a, (double)(channels + width) * a};
    return x;
}

double length_of_weight(const row *r) {
    const attn_score *const score = &r->o->problem.score;
    double length = 0;
    if (!score->normalize_weight) return 1;
    for (int64_t f = 0; f < score->weight.shape[3]; f++)
        length = hypot(length, parameter(r, &score->weight, 0, f));
    return length;
}

hidden hidden_of(const row *r, int64_t j, int64_t f) {
    sized query, key, location;
    const double offset = parameter(r, &r->o->problem.score.offset, 0, f);
    const double x = joined(r, j, f, false, &query) + joined(r, j, f, true, &key) + offset +
                     located(r, j, f, &location);
    const double s = query.size + fabs(offset) + key.size + location.size;
    return (hidden){x, 3 * s + 6 + query.error + key.error + location.error};
}

static sized additive_size(const row *r, int64_t j) {
    const attn_score *const score = &r->o->problem.score;
    const int64_t d = score->weight.shape[3];
    const double length = length_of_weight(r);
    sized sum = {0};
    for (int64_t f = 0; f < d; f++) {
        const hidden h = hidden_of(r, j, f);
        const double slope = 1 - tanh(h.x) * tanh(h.x);
        const double w = fabs(parameter(r, &score->weight, 0, f));
        sum.size += w / length;
        sum.error += w / length * (h.error * slope + 3 * (double)d + 22);
    }
    return sum;
}

static sized kind_size(const row *r, int64_t j) {
    switch (r->o->problem.score.kind) {
    case ATTN_SCORE_DOT: return dot_size(r, j);
    case ATTN_SCORE_GENERAL: return general_size(r, j);
    case ATTN_SCORE_ADDITIVE:
    case ATTN_SCORE_CONCAT: return additive_size(r, j);
    case ATTN_SCORE_COSINE: return cosine_size(r, j);
    case ATTN_SCORE_GAUSSIAN: return gaussian_size(r, j);
    case ATTN_SCORE_LOCATION: return location_size(r, j);
    case ATTN_SCORE_CUSTOM: break;
    }
    return (sized){0};
}

/* ---------------------------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------------------------- */

double scale_of(const row *r) {
    const attn_problem *const p = &r->o->problem;
    const int64_t d = p->query.shape[3];
    const double standard = p->score.kind == ATTN_SCORE_DOT ? 1 / sqrt((double)(d > 0 ? d : 1))
                            : p->score.kind == ATTN_SCORE_GAUSSIAN ? 0.5
                                                                   : 1;
    const double scale = p->score.scale != 0 ? p->score.scale : standard;
    return p->score.scales.data ? scale * at(&p->score.scales, r->sequence, r->head, 0, 0) : scale;
}

/* Of what is added to the score after the soft cap. */
static double added_sizes(const row *r, int64_t j) {
    const attn_score *const score = &r->o->problem.score;
    const attn_relative *const relative = score->relative;
    double sum = score->callback != NULL ? 1 : 0;
    if (score->bias.data != NULL) sum += fabs(at(&score->bias, r->sequence, r->head, r->i, j));
    if (score->alibi_slopes.data != NULL)
        sum +=
            fabs(at(&score->alibi_slopes, r->sequence, r->head, 0, 0) * (double)(r->position - j));
    if (relative != NULL && relative->bias.data != NULL)
        sum += fabs(at(&relative->bias, 0, r->head, 0,
                       relative_entry(relative, relative->bias.shape[3], j - r->position)));
    if (r->o->problem.normalizer.gumbel) sum += 17;
    return sum;
}

double called_with(const row *r, int64_t j) {
    const attn_score *const score = &r->o->problem.score;
    const attn_relative *const relative = score->relative;
    const double raw = row_at(r, &r->o->all.raw_scores, j), cap = score->softcap;
    double sum = cap > 0 ? cap * tanh(raw / cap) : raw;
    if (score->bias.data != NULL) sum += at(&score->bias, r->sequence, r->head, r->i, j);
    if (score->alibi_slopes.data != NULL)
        sum -=
            at(&score->alibi_slopes, r->sequence, r->head, 0, 0) * fabs((double)(r->position - j));
    if (relative != NULL && relative->bias.data != NULL)
        sum += at(&relative->bias, 0, r->head, 0,
                  relative_entry(relative, relative->bias.shape[3], j - r->position));
    return sum;
}

score_errors score_errors_of(const row *r, int64_t j) {
    const sized kind = kind_size(r, j);
    const double scale = fabs(scale_of(r)), a = scale * kind.size;
    const double raw = scale * kind.error + 16 * a;
    const double noise = r->o->problem.normalizer.gumbel ? 108 : 0;
    double score = raw + 8 * added_sizes(r, j);
    if (r->o->problem.score.callback == curve_scores) {
        const double s = called_with(r, j);
        score = score * fabs(1 + s / 4) + 4 * (fabs(s) + s * s / 8);
    }
    return (score_errors){raw, score + noise};
}

static int64_t t5_bucket(int64_t distance, int64_t m, int64_t max_distance) {
    const int64_t half = m / 2;
    if (distance < half) return distance;
    const double log_ratio =
        log((double)distance / (double)half) / log((double)max_distance / (double)half);
    const double bucket = (double)half + floor(log_ratio * (double)(m - half));
    return bucket < (double)(m - 1) ? (int64_t)bucket : m - 1;
}

int64_t relative_entry(const attn_relative *relative, int64_t n, int64_t apart) {
    const int64_t origin = relative->origin != 0 ? relative->origin : n / 2;
    const int64_t furthest = relative->max_distance != 0 ? relative->max_distance : 128;
    if (relative->buckets == ATTN_BUCKETS_T5_CAUSAL)
        return t5_bucket(apart < 0 ? -apart : 0, n, furthest);
    if (relative->buckets == ATTN_BUCKETS_T5)
        return (apart > 0 ? n / 2 : 0) + t5_bucket(llabs(apart), n / 2, furthest);
    const int64_t entry = apart + origin;
    return entry < 0 ? 0 : entry > n - 1 ? n - 1 : entry;
}

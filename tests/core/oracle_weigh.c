/* oracle_weigh.c: how an error of scores becomes an error of weights, outputs and log-sum-exps.
 *
 * About one query; j counts its visible keys, p[j] are the exact weights before local factors and
 * dropout. z[j] = score[j] / temperature is off by
 *
 *     D[j] = error of the score / temperature + 2 u |z[j] - m|      (m: the largest z)
 *
 * as the factor of z rounds once and so does the difference. Where no maximum is taken out, |z[j]|
 * stands for the difference, and where it is taken out by itself, u |m| comes with it.
 *
 * SOFTMAX. exp(z - m) carries a factor exp(D[j]), and so does each term of the sum; the sum as a
 * whole carries at most E = sum_j p[j] (exp(D[j]) - 1) in either direction, sink included. exp
 * itself is within 4 u (test_accuracy.c). n positive terms add up within S u, where S = n or, in
 * rows of more than a block, the length of a block and the number of blocks. Each block may rescale
 * what was there before (a product, a factor exp: 6 u); a reciprocal and a product make a weight of
 * it. With K = S + 6 (blocks) + 16
 *
 *     |p'[j] - p[j]| <= p[j] (exp(D[j]) / (1 - E) (1 + K u) - 1) + tiny
 *
 * where tiny is the least normal number, as exp of less may be flushed to 0.
 *
 * SIGMOID has slope p (1 - p), so D is a relative error of less than e^D - 1; exp, a sum and a
 * quotient are within 8 u, and exp's argument rounds by u |z + bias|. RELU and LINEAR pass D on (or
 * are 0 if z < -D), RELU SQUARED makes (max(z, 0) + D)^2 - max(z, 0)^2 of it.
 *
 * SPARSEMAX (alpha = 2) and ENTMAX. p[j] = g(r[j]) with r = (alpha - 1) (z - m) - t, g(r) =
 * max(r, 0)^e, e = 1/(alpha - 1), and t such that they sum to 1. If no z moves by more than D, no
 * solution t moves by more than (alpha - 1) D: were it to, each r would fall (or rise), and the sum
 * with them. D is the largest of those keys that may have a weight. So r[j] moves by
 * dx = (alpha - 1) (D[j] + D). The t that is found is not the solution, since the sum is known
 * within eta = K u + sum_j p[j] (what power adds: 8 u, and 5 u |e - 1| |log2 r| if it is made of exp2
 * and log2), and since the search ends at steps of 4 u. g' summed over keys is the slope of the sum,
 * which lies between `low` and `high` when each r[j] moves by dx; so t is off by no more than
 *
 *     dt = (eta + 4 u high) / low      (e >= 1, Newton's steps)
 *     dt = eta / low + 8 u             (e < 1, halving)
 *
 * r itself rounds by 4 u (|x| + 1). With d = dx + dt + that, a weight before the final division lies
 * within g(r - d) .. g(r + d): a bound that holds whatever the slope of g, which is infinite at 0 for
 * alpha > 2. The division by their sum makes up for dt, which moved the sum by at most
 * rho = eta + sum_j (g's change over dt), no more than dt^e for each of those that are near 0, if
 * e < 1. Thus
 *
 *     g(r - d) (1 - rho - K u) - tiny <= p' <= g(r + d) (1 + 2 rho + K u) + tiny
 *
 * HARDMAX is exact, unless another key's z comes as near to the largest as D[j] + D[m]: then any of
 * these may be the one.
 *
 * LOCAL factors exp(-x), x = apart^2 / (2 sigma^2): apart is off by u (2 apart + a block of keys),
 * from where it is first rounded; and 4 u x and 5 u for products and exp, which may be flushed to 0, as
 * may be their product with a weight. DROPOUT: 2 u.
 *
 * AGGREGATE. n products are added just so, by the same K, and divided by the sum. Weights of
 * relative values are first added up by entry, one by one.
 *
 *     |o' - o| <= sum_j (B[j] + w[j] (K + 2) u) |v[j]| + tiny      (B: bound of w)
 *
 * LSE = m + log(sum): |lse' - lse| <= -log(1 - E) + K u + 4 u (|m| + |lse|).
 *
 * The oracle has the same bound with u = 2^-53, so u + 2^-53 is used for both together. The bound of
 * softmax says something as long as E is small, that of entmax as long as D is; a test whose numbers
 * make them large is a mistake, and fails. */
#include "oracle.h"

#include <math.h>

#include "tiles/table.h"

static double plain_weight(const row *r, int64_t j) {
    return row_at(r, &r->o->plain, j);
}

static double final_weight(const row *r, int64_t j) {
    return row_at(r, &r->o->problem.weights, j);
}

/* ---------------------------------------------------------------------------------------------
 * Normalizers
 * ------------------------------------------------------------------------------------------- */

double sink_of(const row *r) {
    const attn_problem *const p = &r->o->problem;
    if (p->normalizer.kind == ATTN_SOFTMAX_ONE) return 0;
    return p->score.sinks.data ? at(&p->score.sinks, r->sequence, r->head, 0, 0) : -INFINITY;
}

/* Keys of weight 0 (masked, or too far below m) add nothing to any sum. */
static void bound_softmax(row *r, double *bound) {
    const double sink = sink_of(r), lse = row_at(r, &r->o->problem.lse, 0);
    r->largest = fmax(r->largest, sink);
    r->spoilt =
        sink > -INFINITY ? exp(sink - lse) * expm1(r->u * (4 * fabs(sink) + r->largest - sink)) : 0;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double p = plain_weight(r, j);
        r->error[j] += 2 * r->u * (r->largest - r->z[j]);
        if (p > 0) r->spoilt += p * expm1(r->error[j]);
    }
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double p = plain_weight(r, j), spread = exp(r->error[j]) / (1 - r->spoilt);
        bound[j] = p > 0 ? p * (spread * (1 + r->k * r->u) - 1) + r->tiny : p;
    }
}

static void bound_each(const row *r, double *bound) {
    const attn_normalizer *const how = &r->o->problem.normalizer;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double p = plain_weight(r, j), z = r->z[j], positive = fmax(z, 0);
        const double d = r->error[j] + 2 * r->u * fabs(z);
        bound[j] = 0;
        if (z == -INFINITY) continue;
        if (how->kind == ATTN_SIGMOID)
            bound[j] = p * (expm1(d + 2 * r->u * fabs(z + how->bias)) + 8 * r->u) + r->tiny;
        else if (how->kind == ATTN_LINEAR) bound[j] = d;
        else if (z < -d) bound[j] = 0;
        else if (how->kind == ATTN_RELU) bound[j] = d;
        else bound[j] = d * (2 * positive + d) + 2 * r->u * p + r->tiny;
    }
}

typedef struct threshold {
    double alpha, e;
    double at; /* r[j] = (alpha - 1) z[j] - at */
    double d;  /* D */
    double dt, eta;
} threshold;

static double power(double r, double e) {
    return r > 0 ? pow(r, e) : 0;
}

static double above(const row *r, const threshold *t, int64_t j) {
    return (t->alpha - 1) * r->z[j] - t->at;
}

/* How far scores alone move r[j]. */
static double moved(const row *r, const threshold *t, int64_t j) {
    return (t->alpha - 1) * (r->error[j] + t->d);
}

/* What power adds to the rounding of a weight. */
static double power_roundings(const threshold *t, double x) {
    return x > 0 ? 8 + 5 * fabs(t->e - 1) * fabs(log2(x)) : 0;
}

/* The slope of the sum of weights with each r[j] `by` higher. */
static double slope(const row *r, const threshold *t, double by) {
    double sum = 0;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double x = above(r, t, j) + by * (moved(r, t, j) + t->dt);
        if (x > 0) sum += t->e * pow(x, t->e - 1);
    }
    return sum;
}

/* t in float64, by halving. For alpha > 2 it cannot be told from weights, of which those near 0 are
 * hardly known: a number has 53 bits, so that the least r there can be has weight 2^(-53 e). */
static double solve(const row *r, const threshold *t) {
    double low = -1, high = 0;
    for (int step = 0; step < 60; step++) {
        const double middle = (low + high) / 2;
        double sum = 0;
        for (int64_t j = 0; j < r->at->n_key; j++)
            sum += power((t->alpha - 1) * (r->z[j] - r->largest) - middle, t->e);
        *(sum >= 1 ? &low : &high) = middle;
    }
    return low;
}

static threshold find_threshold(row *r) {
    const attn_normalizer *const how = &r->o->problem.normalizer;
    threshold t = {.alpha = how->kind == ATTN_SPARSEMAX ? 2 : how->alpha > 0 ? how->alpha : 1.5};
    double most = 0;
    t.e = 1 / (t.alpha - 1);
    for (int64_t j = 0; j < r->at->n_key; j++) most = fmax(most, plain_weight(r, j));
    t.at = (t.alpha - 1) * r->largest + (t.e < 1 ? solve(r, &t) : -power(most, t.alpha - 1));
    for (int64_t j = 0; j < r->at->n_key; j++) {
        r->error[j] += r->u * (2 * (r->largest - r->z[j]) + fabs(r->largest));
        if (above(r, &t, j) > -0.5) t.d = fmax(t.d, r->error[j]);
        t.eta += r->u * plain_weight(r, j) * power_roundings(&t, above(r, &t, j));
    }
    r->spoilt =
        4 * (t.alpha - 1) * t.d; /* keys below -0.5 have no weight if this is less than 0.5 */
    t.eta += r->k * r->u;
    for (int round = 0; round < 3; round++) { /* as slopes depend on dt */
        const double less = slope(r, &t, t.e >= 1 ? -1 : 1), more = slope(r, &t, 1);
        t.dt = t.e >= 1 ? (t.eta + 4 * r->u * more) / less : t.eta / less + 8 * r->u;
    }
    return t;
}

static void bound_threshold(row *r, double *bound) {
    const threshold t = find_threshold(r);
    double rho = t.eta;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        /* g is steepest where r is highest, or, for e < 1, lowest: at 0 or above. */
        const double dx = moved(r, &t, j) + t.dt, x = above(r, &t, j) + (t.e >= 1 ? dx : -dx);
        if (above(r, &t, j) > -dx - t.dt)
            rho += power(fmax(x, 0) + t.dt, t.e) - power(fmax(x, 0), t.e);
    }
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double x = above(r, &t, j), p = plain_weight(r, j);
        const double d = moved(r, &t, j) + t.dt + 4 * r->u * (fabs(x) + 1);
        const double rounded = (r->k + power_roundings(&t, x + d)) * r->u;
        const double low = power(x - d, t.e) * (1 - rho - rounded);
        const double high = power(x + d, t.e) * (1 + 2 * rho + rounded);
        bound[j] = r->z[j] > -INFINITY && x > -d ? fmax(high - p, p - low) + r->tiny : 0;
    }
}

static void bound_hardmax(const row *r, double *bound) {
    double reach = -INFINITY;
    int64_t rivals = 0;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        r->error[j] += 2 * r->u * fabs(r->z[j]);
        reach = fmax(reach, r->z[j] - r->error[j]);
    }
    for (int64_t j = 0; j < r->at->n_key; j++) {
        bound[j] = r->z[j] > -INFINITY && r->z[j] + r->error[j] >= reach;
        if (bound[j] > 0) rivals++;
    }
    for (int64_t j = 0; j < r->at->n_key && rivals == 1; j++) bound[j] = 0;
}

/* ---------------------------------------------------------------------------------------------
 * Local factors and dropout; outputs
 * ------------------------------------------------------------------------------------------- */

double local_error(const row *r, int64_t j) {
    const attn_local *const l = r->o->problem.normalizer.local;
    if (l == NULL || isinf(l->sigma)) return 0;
    const double center = l->centers.data
                              ? at(&l->centers, r->at->batch, r->head, r->at->first_query + r->i, 0)
                              : (double)r->position;
    const double sigma = l->sigma > 0 ? l->sigma : l->half_width / 2;
    const double apart = fabs((double)j - center), x = apart * apart / (2 * sigma * sigma);
    const double rounded = apart * (2 * apart + ATTN_KEY_BLOCK) / (sigma * sigma);
    return expm1(r->u * (rounded + 4 * x)) + 5 * r->u;
}

/* From weights before local factors and dropout to those after. */
static void bound_modified(const row *r, double *bound) {
    const attn_normalizer *const how = &r->o->problem.normalizer;
    if (how->local == NULL && how->dropout == 0) return;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double p = plain_weight(r, j), w = final_weight(r, j);
        if (p == 0 && bound[j] == 0) continue;
        const double factor = p != 0 ? fabs(w / p) : how->dropout > 0 ? 1 / (1 - how->dropout) : 1;
        const double error = local_error(r, j) + 2 * r->u;
        const double flushed = factor > 0 ? (2 + fabs(p) / (1 - how->dropout)) * r->tiny : 0;
        bound[j] = bound[j] * factor * (1 + error) + fabs(w) * error + flushed;
    }
}

void bound_plain_weights(row *r, double *bound) {
    r->largest = -INFINITY;
    r->spoilt = 0;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        if (r->z[j] > r->largest || isnan(r->z[j])) r->largest = r->z[j];
        bound[j] = 0;
    }
    if (r->largest == -INFINITY && sink_of(r) == -INFINITY) return;
    switch (r->o->problem.normalizer.kind) {
    case ATTN_SOFTMAX:
    case ATTN_SOFTMAX_ONE: bound_softmax(r, bound); break;
    case ATTN_SPARSEMAX:
    case ATTN_ENTMAX: bound_threshold(r, bound); break;
    case ATTN_HARDMAX: bound_hardmax(r, bound); break;
    default: bound_each(r, bound);
    }
}

void bound_weights(row *r, double *bound) {
    bound_plain_weights(r, bound);
    bound_modified(r, bound);
}

double output_bound(const row *r, int64_t c) {
    const attn_problem *const p = &r->o->problem;
    const attn_relative *const relative = p->score.relative;
    const bool places = relative != NULL && relative->values.data != NULL;
    const int64_t n = r->at->n_key;
    double sum = 0;
    for (int64_t j = 0; j < n; j++) {
        const double w = fabs(final_weight(r, j)), b = row_at(r, &r->o->weight_error, j);
        const double rounded = (r->k + 2) * r->u;
        if (w == 0 && b == 0) continue; /* its value may be anything */
        sum += fabs(at(&p->value, r->at->batch, r->kv_head, r->at->first_key + j, c)) *
               (b + w * rounded);
        if (!places) continue;
        const int64_t e = relative_entry(relative, relative->values.shape[2], j - r->position);
        sum +=
            fabs(at(&relative->values, 0, r->head, e, c)) * (b + w * (rounded + (double)n * r->u));
    }
    return sum + r->tiny;
}

double lse_bound(const row *r) {
    const double spoilt = row_at(r, &r->o->spoilt, 0), lse = row_at(r, &r->o->problem.lse, 0);
    return -log1p(-spoilt) + r->u * (r->k + 4 * (fabs(r->largest) + fabs(lse))) + r->tiny;
}

/* oracle.c: what the reference says of a sample, and how far from it a result may be. */
#include "support.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "tiles/table.h"

/* ---------------------------------------------------------------------------------------------
 * The oracle
 * ------------------------------------------------------------------------------------------- */

static attn_tensor widen(const attn_tensor *t) {
    if (t->data == NULL) return *t;
    return tensor_copy(t, t->dtype == ATTN_BOOL ? ATTN_BOOL : ATTN_F64);
}

static attn_tensor new_result(const attn_problem *p, int64_t width) {
    const attn_tensor like = {
        .shape = {p->query.shape[0], p->query.shape[1], p->query.shape[2], width}};
    const size_t bytes = tensor_elements(&like) * sizeof(double);
    return attn_tensor_f64(malloc(bytes + 1), like.shape[0], like.shape[1], like.shape[2], width);
}

void oracle_make(oracle *o, const sample *s) {
    attn_problem *const p = &o->problem;
    *p = s->problem;
    p->query = widen(&s->problem.query);
    p->key = widen(&s->problem.key);
    p->value = widen(&s->problem.value);
    p->score.bias = widen(&s->problem.score.bias);
    p->score.alibi_slopes = widen(&s->problem.score.alibi_slopes);
    p->score.sinks = widen(&s->problem.score.sinks);
    p->mask.allowed = widen(&s->problem.mask.allowed);
    p->output = new_result(p, p->value.shape[3]);
    p->lse = new_result(p, 1);
    p->weights =
        new_result(p, s->problem.weights.data ? s->problem.weights.shape[3] : p->key.shape[2]);
    if (attn_reference_forward(p) != ATTN_OK) fail_msg("the reference: %s", attn_error_message());
}

void oracle_free(oracle *o) {
    attn_problem *const p = &o->problem;
    void *const all[] = {p->query.data,        p->key.data,         p->value.data,
                         p->score.bias.data,   p->score.sinks.data, p->score.alibi_slopes.data,
                         p->mask.allowed.data, p->output.data,      p->lse.data,
                         p->weights.data};
    for (size_t k = 0; k < COUNT(all); k++) free(all[k]);
}

/* ---------------------------------------------------------------------------------------------
 * The bound
 *
 * u is half the distance from 1 to the next number of the type: 2^-24 or 2^-53. All of the below is
 * about one query; j counts its visible keys and w[j] are the exact weights.
 *
 * SCORE. a[j] = scale * sum_c |q[c] k[j][c]| + |bias[j]| + |slope| |p - j|. A dot product of d
 * terms in any order, fused or not, is within d u of sum_c |q[c] k[c]|. The factor of the score
 * comes of three roundings (1/sqrt(d), log2(e), their product), is itself rounded to the type, and
 * is multiplied in: 5. The soft cap: a quotient, tanh within 4 u (test_accuracy.c), a product: 6.
 * Bias and slope take a factor log2(e) and a distance each, and two sums: 5. Together the computed
 * score is within (d + 16) u a[j] of the exact one. It is then taken relative to the row's largest
 * score m (in steps, as the largest grows: the steps add up to no more than the whole), which
 * rounds by another u (m - s[j]). So
 *
 *     D[j] = u ((d + 16) a[j] + (m - s[j]))
 *
 * WEIGH. exp(s[j] - m) carries a factor exp(D[j]), and so does each term of the sum; the sum as a
 * whole carries at most E = sum_j w[j] (exp(D[j]) - 1) in either direction, sink included. exp
 * itself is within 4 u (test_accuracy.c). n positive terms add up within S u, where S = n or, in
 * rows of more than a block, the length of a block and the number of blocks. Each block may rescale
 * what was there before (a product, a factor exp: 6 u); a reciprocal and a product make a weight of
 * it. With K = S + 6 (blocks) + 16
 *
 *     |w'[j] - w[j]| <= w[j] (exp(D[j]) / (1 - E) (1 + K u) - 1) + tiny
 *
 * where tiny is the least normal number, as exp of less may be flushed to 0.
 *
 * AGGREGATE. n products are added just so, by the same K, and divided by the sum:
 *
 *     |o' - o| <= sum_j w[j] |v[j]| (exp(D[j]) / (1 - E) (1 + 2 K u) - 1) + tiny sum_j |v[j]|
 *
 * LSE = m + log(sum): |lse' - lse| <= -log(1 - E) + K u + 4 u (|m| + |lse|).
 *
 * The oracle has the same bound with u = 2^-53, so u + 2^-53 is used for both together. The bound
 * says something as long as E is small; a test whose numbers make it large is a mistake, and fails.
 * ------------------------------------------------------------------------------------------- */

typedef struct row {
    const oracle *o;
    const stretch *at;
    int64_t sequence, head, kv_head, i;
    double *spread; /* exp(D[j]) / (1 - E) */
    double u, tiny, k;
    double largest; /* m */
    double spoilt;  /* E */
} row;

static double share_of_bound;

double largest_share_of_bound(void) {
    return share_of_bound;
}

static double row_weight(const row *r, int64_t j) {
    return element(&r->o->problem.weights, r->at->batch, r->head, r->at->first_query + r->i, j);
}

static double row_lse(const row *r) {
    return element(&r->o->problem.lse, r->at->batch, r->head, r->at->first_query + r->i, 0);
}

/* a[j] */
static double magnitude(const row *r, int64_t j) {
    const attn_problem *const p = &r->o->problem;
    const int64_t i = r->at->first_query + r->i, key = r->at->first_key + j, d = p->query.shape[3];
    const double scale = p->score.scale != 0 ? p->score.scale : 1 / sqrt((double)(d > 0 ? d : 1));
    double a = 0;
    for (int64_t c = 0; c < d; c++) {
        a += fabs(element(&p->query, r->at->batch, r->head, i, c) *
                  element(&p->key, r->at->batch, r->kv_head, key, c));
    }
    a *= fabs(scale);
    if (p->score.bias.data != NULL)
        a += fabs(element(&p->score.bias, r->sequence, r->head, r->i, j));
    if (p->score.alibi_slopes.data != NULL) {
        const bool last = p->mask.alignment == ATTN_ALIGN_BOTTOM_RIGHT;
        const int64_t stands =
            r->i + p->mask.query_offset + (last ? r->at->n_key - r->at->n_query : 0);
        a += fabs(element(&p->score.alibi_slopes, r->sequence, r->head, 0, 0) *
                  (double)(stands - j));
    }
    return a;
}

/* Finds m, D, E and what they make of each weight. Keys of weight 0 (masked, or too far below m)
 * add nothing to any sum. */
static void measure(row *r) {
    const attn_tensor *const sinks = &r->o->problem.score.sinks;
    const double d = (double)r->o->problem.query.shape[3], lse = row_lse(r);
    const double sink = sinks->data ? element(sinks, r->sequence, r->head, 0, 0) : -INFINITY;
    r->largest = sink;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double w = row_weight(r, j);
        if (w > 0) r->largest = fmax(r->largest, lse + log(w));
    }
    r->spoilt =
        sink > -INFINITY ? exp(sink - lse) * expm1(r->u * (4 * fabs(sink) + r->largest - sink)) : 0;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double w = row_weight(r, j);
        if (!(w > 0)) continue;
        const double distance = r->u * ((d + 16) * magnitude(r, j) + (r->largest - (lse + log(w))));
        r->spoilt += w * expm1(distance);
        r->spread[j] = exp(distance);
    }
    for (int64_t j = 0; j < r->at->n_key; j++) r->spread[j] /= 1 - r->spoilt;
}

/* The relative error of w[j] once `roundings` more have been made. */
static double relative(const row *r, int64_t j, double roundings) {
    return r->spread[j] * (1 + roundings * r->u) - 1;
}

static double output_bound(const row *r, int64_t c) {
    double sum = 0;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double w = row_weight(r, j);
        if (!(w > 0)) continue;
        const double v =
            element(&r->o->problem.value, r->at->batch, r->kv_head, r->at->first_key + j, c);
        sum += fabs(v) * (w * relative(r, j, 2 * r->k) + r->tiny);
    }
    return sum + r->tiny;
}

/* NaN and infinity must be just that, and an exact 0 (what is masked) just that. */
static void compare(const sample *s, attn_isa isa, const char *what, const int64_t x[4],
                    double result, double expected, double bound) {
    const double error = fabs(result - expected);
    if (isnan(expected) ? isnan(result) : result == expected) return;
    if (isfinite(expected) && error <= bound) {
        if (error > share_of_bound * bound) share_of_bound = error / bound;
        return;
    }
    fail_msg("%s\n%s[%" PRId64 "][%" PRId64 "][%" PRId64 "][%" PRId64
             "] is %.17g, but the reference says %.17g: off by %g, bound %g",
             sample_text(s, isa), what, x[0], x[1], x[2], x[3], result, expected, error, bound);
}

/* One row of one result; r NULL: a row of padding, which is exact. */
typedef double bound_of(const row *r, int64_t column);

static double weight_bound(const row *r, int64_t j) {
    const double w = row_weight(r, j);
    return w > 0 ? w * relative(r, j, r->k) + r->tiny : 0;
}

static double lse_bound(const row *r, int64_t column) {
    (void)column;
    return -log1p(-r->spoilt) + r->u * (r->k + 4 * (fabs(r->largest) + fabs(row_lse(r)))) + r->tiny;
}

static void compare_row(const sample *s, const oracle *o, attn_isa isa, const row *r, int64_t b,
                        int64_t h, int64_t i) {
    const attn_problem *const p = &s->problem, *const q = &o->problem;
    const struct {
        const char *name;
        const attn_tensor *result, *expected;
        bound_of *bound;
    } all[] = {{"output", &p->output, &q->output, output_bound},
               {"lse", &p->lse, &q->lse, lse_bound},
               {"weights", &p->weights, &q->weights, weight_bound}};
    for (size_t k = 0; k < COUNT(all); k++) {
        for (int64_t j = 0; all[k].result->data && j < all[k].result->shape[3]; j++) {
            const bool bounded = r != NULL && (k < 2 || j < r->at->n_key);
            compare(s, isa, all[k].name, (const int64_t[4]){b, h, i, j},
                    element(all[k].result, b, h, i, j), element(all[k].expected, b, h, i, j),
                    bounded ? all[k].bound(r, j) : 0);
        }
    }
}

/* The row at [b][h][i], measured; spread has room for its keys. */
static row measured_row(const sample *s, const oracle *o, const stretch *at, int64_t h, int64_t i,
                        double *spread) {
    row r = {.o = o, .at = at, .sequence = at - s->stretches, .head = h, .spread = spread};
    const int64_t n = at->n_key;
    const int64_t blocks = n / ATTN_KEY_BLOCK + 1;
    const int64_t added = n <= ATTN_KEY_BLOCK ? n : ATTN_KEY_BLOCK + blocks;
    const bool single = s->spec.dtype == ATTN_F32;
    r.kv_head = h / (s->spec.heads / s->spec.kv_heads);
    r.i = i - at->first_query;
    r.u = (single ? 0x1p-24 : 0x1p-53) + 0x1p-53;
    r.tiny = single ? 0x1p-126 : 0x1p-1022;
    r.k = (double)(added + 6 * blocks + 16);
    measure(&r);
    return r;
}

void assert_close(const sample *s, const oracle *o, attn_isa isa) {
    double *const spread = calloc((size_t)s->spec.n_key + 1, sizeof *spread);
    assert_non_null(spread);
    for (int64_t b = 0; b < s->spec.batch; b++) {
        for (int64_t h = 0; h < s->spec.heads; h++) {
            for (int64_t i = 0; i < s->spec.n_query; i++) {
                const stretch *const at = stretch_of(s, b, i);
                row r;
                if (at != NULL) r = measured_row(s, o, at, h, i, spread);
                if (at != NULL && !(r.spoilt < 0.25) && !isnan(row_lse(&r)))
                    fail_msg("%s\nthe bound says nothing here", sample_text(s, isa));
                compare_row(s, o, isa, at != NULL ? &r : NULL, b, h, i);
            }
        }
    }
    free(spread);
}

double mixed_bound(const sample *s, const oracle *o, const int64_t x[4]) {
    const stretch *const at = stretch_of(s, x[0], x[2]);
    double *const spread = calloc((size_t)s->spec.n_key + 1, sizeof *spread);
    double sizes = 0;
    assert_non_null(spread);
    assert_non_null(at);
    const row r = measured_row(s, o, at, x[1], x[2], spread);
    for (int64_t j = 0; j < at->n_key; j++) {
        sizes += row_weight(&r, j) *
                 fabs(element(&o->problem.value, x[0], r.kv_head, at->first_key + j, x[3]));
    }
    const double bound = output_bound(&r, x[3]) + (sizes > 0 ? lse_bound(&r, 0) * sizes : 0);
    free(spread);
    return bound;
}

/* oracle_gradients_weigh.c: from gradients of results to those of scores, about one query.
 *
 * u is that of oracle_score.c, B[j] the error of a weight (oracle_weigh.c), a[j] a weight before
 * local factors and dropout m[j], w = a m. Products of two numbers that are off carry the errors of
 * either times the other, and of both; what rounds on the way is added where it does.
 *
 * WEIGHTS AGAIN. A softmax's are made anew, as exp(z - lse). With D[j] the error of z, L that of
 * lse (bound and rounding), both rounded as they are brought into base 2 and subtracted:
 *
 *     a'[j] = a[j] exp(+- (D[j] + L + 2 u (|z[j]| + |lse|) + 8 u)),   and tiny, where exp is flushed to 0
 *
 * The same of the sink. All others are made as the forward does: B.
 *
 * IN. G[j] = dL/dw[j] is a dot product over d_value, and up to four terms more: (d_value + 6) u times
 * the sum of their sizes. In that of the entropy stands log(w), which is off by -log(1 - B / w) and
 * (8 |log w| + 4) u. If B is no smaller than w, nothing is known of the logarithm but that the
 * type has none below log(tiny).
 *
 * SOFTMAX. dz = a (da - M + d_lse), da = m G, M = sum_j a[j] da[j], that is a sum of N terms, or
 * dot(d_output, output), if only an output's gradient comes in: then it is off by the error of the
 * output and (d_value + 2) u of its sizes; the larger is held. The difference rounds twice.
 *
 * EACH. dz = s da with s the slope: sigmoid's a (1 - a), off by a.e (|1 - 2 a| + a.e) + 4 u a. ReLU's is
 * 0 or 1: either, if |z| <= D. ReLU squared: 2 max(z, 0), off by 2 D. Linear: 1.
 *
 * SPARSEMAX, ENTMAX. dz = s (da - q), q = sum_j s da / sum_j s with s = a^(2 - alpha) where a > 0, and
 * 0 elsewhere (Peters et al. 2019). s lies between those of a - B and a + B: from 0 to that of a + B
 * where a <= B, as the pair may be in the support or not; then there is no limit for alpha > 2. Power
 * adds (8 + 5 |2 - alpha| |log2 a|) u. From q' - q = sum_j s' (da' - q) / sum_j s' it follows that
 *
 *     |q' - q| <= sum_j (s.e |da - q| + (s + s.e) da.e) / (sum_j s - sum_j s.e)
 *
 * and (2 N + 4) u sum_j s |da| / sum_j s for the sums and the quotient. */
#include "oracle_gradients.h"

#include <stdlib.h>

#include "tiles/table.h"

/* An element of one of the tensors that have a row a query. */
static double from_at(const back *b, const attn_tensor *t, int64_t j) {
    return t->data != NULL ? row_at(&b->r, t, j) : 0;
}

/* The head's place among those chosen; -1: none. */
static int64_t place_of(const back *b) {
    const attn_views *const v = b->r.o->problem.views;
    if (v == NULL || v->heads == NULL) return b->r.head;
    for (int64_t place = 0; place < v->head_count; place++) {
        if (v->heads[place] == b->r.head) return place;
    }
    return -1;
}

static double value_at(const back *b, int64_t j, int64_t c) {
    return at(&b->r.o->problem.value, b->r.at->batch, b->r.kv_head, b->r.at->first_key + j, c);
}

/* What attn_relative adds to it; 0: nothing. */
static double placed_value_at(const back *b, int64_t j, int64_t c) {
    const attn_relative *const how = b->r.o->problem.score.relative;
    if (how == NULL || how->values.data == NULL) return 0;
    return at(&how->values, 0, b->r.head,
              relative_entry(how, how->values.shape[2], j - b->r.position), c);
}

/* ---------------------------------------------------------------------------------------------
 * Weights again
 * ------------------------------------------------------------------------------------------- */

static double lse_of(const back *b) {
    return row_at(&b->r, &b->r.o->problem.lse, 0);
}

/* The error of the exponent of exp(z - lse), where z is off by `off`. */
static double exponent_error(const back *b, double z, double off) {
    const double lse = lse_of(b);
    return off + row_at(&b->r, &b->r.o->lse_error, 0) + b->r.u * (2 * (fabs(z) + fabs(lse)) + 8);
}

static about sink_weight(const back *b) {
    const double sink = sink_of(&b->r), a = exp(sink - lse_of(b));
    if (sink == -INFINITY) return exactly(0);
    return (about){a, a * expm1(exponent_error(b, sink, 4 * b->r.u * fabs(sink))) + b->r.tiny};
}

static about local_factor(const back *b, const pair *p, int64_t j) {
    const attn_local *const l = b->r.o->problem.normalizer.local;
    if (l == NULL || isinf(l->sigma)) return exactly(1);
    const double sigma = l->sigma > 0 ? l->sigma : l->half_width / 2;
    const double m = exp(-p->apart * p->apart / (2 * sigma * sigma));
    return (about){m, m * local_error(&b->r, j) + b->r.tiny};
}

static double apart_of(const back *b, int64_t j) {
    const attn_local *const l = b->r.o->problem.normalizer.local;
    const bool given = l != NULL && l->centers.data != NULL;
    return (double)j -
           (given ? at(&l->centers, b->r.at->batch, b->r.head, b->r.at->first_query + b->r.i, 0)
                  : (double)b->r.position);
}

static void weigh_again(const back *b, double *bound) {
    const row *const r = &b->r;
    const bool softmax = r->o->problem.normalizer.kind <= ATTN_SOFTMAX_ONE;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        pair *const p = &b->pairs[j];
        *p = (pair){.seen = r->z[j] != -INFINITY, .apart = apart_of(b, j)};
        if (!p->seen) continue;
        p->a = (about){row_at(r, &r->o->plain, j), bound[j]};
        if (softmax) p->a.e = p->a.x * expm1(exponent_error(b, r->z[j], r->error[j])) + r->tiny;
        p->kept = b->g->kept.data != NULL ? row_at(r, &b->g->kept, j) : 1;
        p->m = scaled(local_factor(b, p, j), p->kept);
        p->m.e += 2 * r->u * p->m.x;
        p->w = times(p->a, p->m);
        p->w.e += r->u * fabs(p->w.x);
    }
}

/* ---------------------------------------------------------------------------------------------
 * In
 * ------------------------------------------------------------------------------------------- */

/* log(w) + 1; counts as flat where w is 0. */
static about entropy_slope(const back *b, about w) {
    const double lowest = -log(b->r.tiny) + 1;
    if (w.x == 0) return (about){0, w.e > 0 ? lowest : 0};
    const double x = log(w.x) + 1;
    const double known = w.e < w.x ? -log1p(-w.e / w.x) : INFINITY;
    return (about){x, fmin(known, lowest + fabs(x)) + b->r.u * (8 * fabs(x - 1) + 4)};
}

static about in_of(const back *b, int64_t j) {
    const attn_result_gradients *const from = &b->g->from;
    const int64_t place = place_of(b), d = b->r.o->problem.value.shape[3];
    about sum = exactly(0);
    double size = 0;
    for (int64_t c = 0; from->output.data != NULL && c < d; c++) {
        const double in = from_at(b, &from->output, c);
        const double v = value_at(b, j, c), placed = placed_value_at(b, j, c);
        sum.x += in * (v + placed);
        size += fabs(in) * (fabs(v) + fabs(placed));
    }
    const double weights = from_at(b, &from->weights, j);
    const double received = from->received_sum.data != NULL && place >= 0
                                ? at(&from->received_sum, b->r.sequence, place, 0, j)
                                : 0;
    sum.x += weights + received;
    size += fabs(weights) + fabs(received);
    if (from->entropy.data != NULL && place >= 0) {
        const about slope = entropy_slope(b, b->pairs[j].w);
        const double in =
            at(&from->entropy, b->r.at->batch, place, b->r.at->first_query + b->r.i, 0);
        sum = minus(sum, scaled(slope, in));
        size += fabs(slope.x * in);
    }
    return off_by(sum, ((double)d + 6) * b->r.u * size);
}

/* ---------------------------------------------------------------------------------------------
 * Through normalizers
 * ------------------------------------------------------------------------------------------- */

/* What sum_j a[j] da[j] is off by if it is made of the output. */
static double output_way(const back *b) {
    const attn_result_gradients *const from = &b->g->from;
    double e = 0;
    if (from->weights.data || from->received_sum.data || from->entropy.data) return 0;
    const int64_t d = from->output.data ? from->output.shape[3] : 0;
    for (int64_t c = 0; c < d; c++)
        e += fabs(from_at(b, &from->output, c)) *
             (output_bound(&b->r, c) +
              ((double)d + 2) * b->r.u * fabs(row_at(&b->r, &b->r.o->problem.output, c)));
    return e;
}

static void through_softmax(const back *b) {
    const row *const r = &b->r;
    const about lse = exactly(from_at(b, &b->g->from.lse, 0)), sink = sink_weight(b);
    about mean = exactly(0);
    double size = 0;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const about term = times(b->pairs[j].a, b->pairs[j].da);
        if (b->pairs[j].seen) mean = plus(mean, term), size += fabs(term.x);
    }
    mean.e = fmax(mean.e + (b->n_sums + 2) * r->u * size, output_way(b));
    for (int64_t j = 0; j < r->at->n_key; j++) {
        pair *const p = &b->pairs[j];
        if (!p->seen) continue;
        about up = plus(minus(p->da, mean), lse);
        up.e += 2 * r->u * (fabs(p->da.x) + fabs(mean.x) + fabs(lse.x));
        p->dz = times(p->a, up);
    }
    const about up = off_by(minus(lse, mean), r->u * (fabs(lse.x) + fabs(mean.x)));
    const about d_sink = times(sink, up);
    if (r->o->problem.normalizer.kind == ATTN_SOFTMAX && sink.x > 0)
        give(b, GRADIENT_SINKS, r->sequence, r->head, 0, 0, d_sink, fabs(d_sink.x));
}

static about slope_of(const back *b, int64_t j) {
    const double z = b->r.z[j], u = b->r.u, off = b->r.error[j] + 2 * u * fabs(z);
    const about a = b->pairs[j].a;
    const double unsure = off > 0 && fabs(z) <= off;
    switch (b->r.o->problem.normalizer.kind) {
    case ATTN_SIGMOID:
        return (about){a.x * (1 - a.x), a.e * (fabs(1 - 2 * a.x) + a.e) + 4 * u * a.x};
    case ATTN_RELU: return (about){isnan(z) ? z : z > 0, unsure};
    case ATTN_RELU_SQUARED: return (about){2 * (z < 0 ? 0 : z), z < -off ? 0 : 2 * off};
    case ATTN_LINEAR: return exactly(1);
    default: return exactly(0); /* hardmax */
    }
}

static void through_each(const back *b) {
    for (int64_t j = 0; j < b->r.at->n_key; j++) {
        pair *const p = &b->pairs[j];
        if (p->seen && b->r.o->problem.normalizer.kind != ATTN_HARDMAX)
            p->dz = times(slope_of(b, j), p->da);
    }
}

static double power(double a, double e) {
    return isnan(a) ? a : a > 0 ? pow(a, e) : 0; /* NaN to the power of 0 is 1 */
}

/* a^e, 0 where a is 0. */
static about support_of(const back *b, about a, double e) {
    const double s = power(a.x, e);
    const double ends[] = {power(a.x - a.e, e), power(a.x + a.e, e)};
    double off = fmax(fabs(ends[0] - s), fabs(ends[1] - s));
    if (e < 0 && a.e > 0 && a.x <= a.e) off = INFINITY;
    const double powers = s > 0 ? 8 + 5 * fabs(e) * fabs(log2(a.x)) : 0;
    return (about){s, off + powers * b->r.u * s};
}

static double alpha_of(const back *b) {
    const attn_normalizer *const how = &b->r.o->problem.normalizer;
    return how->kind == ATTN_SPARSEMAX ? 2 : how->alpha > 0 ? how->alpha : 1.5;
}

/* q */
static about mean_on_support(const back *b, double e) {
    double s_sum = 0, product = 0, sizes = 0, s_off = 0, off = 0;
    for (int64_t j = 0; j < b->r.at->n_key; j++) {
        const about s = support_of(b, b->pairs[j].a, e), da = b->pairs[j].da;
        if (!b->pairs[j].seen || s.x == 0) continue;
        s_sum += s.x;
        product += s.x * da.x;
        sizes += s.x * fabs(da.x);
    }
    const double q = product / s_sum;
    for (int64_t j = 0; j < b->r.at->n_key; j++) {
        const about s = support_of(b, b->pairs[j].a, e), da = b->pairs[j].da;
        if (!b->pairs[j].seen || s.x + s.e == 0) continue;
        s_off += s.e;
        off += s.e * fabs(da.x - q) + (s.x + s.e) * da.e;
    }
    if (!(s_off < s_sum)) return (about){q, INFINITY};
    return (about){q, off / (s_sum - s_off) + (2 * b->n_sums + 4) * b->r.u * sizes / s_sum};
}

static void through_threshold(const back *b) {
    const double e = 2 - alpha_of(b);
    const about q = mean_on_support(b, e);
    for (int64_t j = 0; j < b->r.at->n_key; j++) {
        pair *const p = &b->pairs[j];
        const about s = support_of(b, p->a, e);
        if (!p->seen || s.x + s.e == 0) continue;
        p->dz = times(s, off_by(minus(p->da, q), b->r.u * (fabs(p->da.x) + fabs(q.x))));
    }
}

/* ---------------------------------------------------------------------------------------------
 * What weights and normalizers have
 * ------------------------------------------------------------------------------------------- */

static void give_values(const back *b, int64_t j) {
    const row *const r = &b->r;
    const attn_relative *const how = r->o->problem.score.relative;
    const about w = b->pairs[j].w;
    for (int64_t c = 0; b->g->from.output.data != NULL && c < r->o->problem.value.shape[3]; c++) {
        const about part = scaled(w, from_at(b, &b->g->from.output, c));
        if (w.x == 0 && w.e == 0) continue;
        give(b, GRADIENT_VALUE, r->at->batch, r->kv_head, r->at->first_key + j, c, part,
             fabs(part.x));
        if (how == NULL || how->values.data == NULL) continue;
        give(b, GRADIENT_RELATIVE_VALUES, 0, r->head,
             relative_entry(how, how->values.shape[2], j - r->position), c, part, fabs(part.x));
    }
}

/* m = exp(-x^2 / (2 sigma^2)) of x = j - centre, which is off as local_error has it. */
static void give_local(const back *b, int64_t j) {
    const row *const r = &b->r;
    const attn_local *const l = r->o->problem.normalizer.local;
    const pair *const p = &b->pairs[j];
    if (l == NULL || isinf(l->sigma)) return;
    const double sigma = l->sigma > 0 ? l->sigma : l->half_width / 2;
    const about x = {p->apart, r->u * (2 * fabs(p->apart) + ATTN_KEY_BLOCK)};
    const about center = scaled(times(times(p->in, p->w), x), 1 / (sigma * sigma));
    const about width = scaled(times(center, x), 1 / sigma);
    give(b, GRADIENT_CENTERS, r->at->batch, r->head, r->at->first_query + r->i, 0, center,
         fabs(center.x));
    give(b, GRADIENT_SIGMA, 0, 0, 0, 0, width, fabs(width.x));
}

static void give_normalizer(const back *b, int64_t j) {
    const double z = b->r.z[j], set = b->r.o->problem.normalizer.temperature;
    const double temperature = set > 0 ? set : 1;
    const about dz = b->pairs[j].dz;
    const about heat =
        scaled(times(dz, (about){z, b->r.error[j] + 2 * b->r.u * fabs(z)}), -1 / temperature);
    give(b, GRADIENT_TEMPERATURE, 0, 0, 0, 0, heat, fabs(heat.x));
    give(b, GRADIENT_SIGMOID_BIAS, 0, 0, 0, 0, dz, fabs(dz.x));
}

/* z and its error, from what the oracle knows of scores. */
static void find_scores(const back *b) {
    const row *const r = &b->r;
    const double set = r->o->problem.normalizer.temperature, temperature = set > 0 ? set : 1;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        r->z[j] = row_at(r, &r->o->all.scores, j) / temperature;
        r->error[j] = row_at(r, &r->o->score_error, j) / temperature;
    }
}

static void find_weights(const back *b) {
    row r = b->r; /* as bounding sets what z is measured from */
    double *const bound = calloc((size_t)r.at->n_key + 1, sizeof *bound);
    assert_non_null(bound);
    bound_plain_weights(&r, bound);
    weigh_again(b, bound);
    free(bound);
}

void go_back_to_scores(const back *b) {
    const attn_normalizer_kind kind = b->r.o->problem.normalizer.kind;
    find_scores(b);
    find_weights(b);
    for (int64_t j = 0; j < b->r.at->n_key; j++) {
        pair *const p = &b->pairs[j];
        if (!p->seen) continue;
        p->in = in_of(b, j);
        p->da = p->m.x == 0 && p->m.e == 0 ? exactly(0) : times(p->in, p->m);
        p->da.e += b->r.u * fabs(p->da.x);
    }
    if (kind <= ATTN_SOFTMAX_ONE) through_softmax(b);
    else if (kind == ATTN_SPARSEMAX || kind == ATTN_ENTMAX) through_threshold(b);
    else through_each(b);
    for (int64_t j = 0; j < b->r.at->n_key; j++) {
        if (!b->pairs[j].seen) continue;
        b->pairs[j].dz.e += 2 * b->r.u * fabs(b->pairs[j].dz.x);
        give_values(b, j), give_local(b, j), give_normalizer(b, j);
    }
}

/* reference_gradient_weigh.c: from the derivatives of a row of weights to those of the row's scores,
 * by the Jacobian of its normalizer; and the gradients of what else weights are made with.
 *
 *     weight[j] = plain[j] * factor[j]     plain: the normalizer's of z; factor: local and dropout
 *     z[j]      = score[j] / temperature
 *
 * Numbers in parentheses are formulas of docs/MATHS.md. */
#include "attention/reference_backward.h"

#include <math.h>

/* ---------------------------------------------------------------------------------------------
 * Local factors
 * ------------------------------------------------------------------------------------------- */

/* (14), (15): of exp(-x^2 / (2 sigma^2)), x = j - centre, with respect to centre and sigma */
static void local_backward(backward *b) {
    const row *const r = &b->row;
    const attn_local *const local = r->problem->normalizer.local;
    if (local == NULL) return;
    const double sigma = attn_ref_sigma(local);
    double d_center = 0, d_sigma = 0;
    if (isinf(sigma)) return; /* a window alone */
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (!attn_ref_shown(r, j)) continue;
        const double steps = attn_ref_off_center(r, j) / sigma;
        const double d = b->d_weight[j] * r->weight[j];
        d_center += d * steps / sigma;
        d_sigma += d * steps * steps / sigma;
    }
    attn_ref_add(&b->to.centers, r->at.batch, r->head, r->at.first_query + r->i, 0, d_center);
    attn_ref_add(&b->to.sigma, 0, 0, 0, 0, d_sigma);
}

/* ---------------------------------------------------------------------------------------------
 * Normalizers: from d_plain to d_z
 * ------------------------------------------------------------------------------------------- */

/* (16): dL/d plain[j] */
static double d_plain(const backward *b, int64_t j) {
    return b->d_weight[j] * b->row.factor[j];
}

/* (17), (18): d_z[j] = plain[j] (d_plain[j] - inner + d_lse), inner = sum of plain d_plain; and the
 * same for a sink, whose weight nobody sees. */
static void softmax_backward(backward *b) {
    const row *const r = &b->row;
    const attn_tensor *const lse = &b->from->lse;
    const double sink = attn_ref_sink(r);
    double inner = 0, d_lse = 0;
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (attn_ref_shown(r, j)) inner += r->plain[j] * d_plain(b, j);
    }
    if (attn_ref_present(lse))
        d_lse = attn_ref_load(lse, r->at.batch, r->head, r->at.first_query + r->i, 0);
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (attn_ref_shown(r, j)) b->d_z[j] = r->plain[j] * (d_plain(b, j) - inner + d_lse);
    }
    if (sink == -INFINITY) return;
    attn_ref_add(&b->to.sinks, r->at.index, r->head, 0, 0, exp(sink - r->lse) * (d_lse - inner));
}

/* (21), (22): plain^(2 - alpha), which is 1 for sparsemax; 0 outside the support */
static double steepness(const row *r, int64_t j) {
    const attn_normalizer *const how = &r->problem->normalizer;
    const double a = r->plain[j], alpha = how->alpha != 0 ? how->alpha : 1.5;
    if (a == 0 || isnan(a)) return a;
    return how->kind == ATTN_SPARSEMAX ? 1 : pow(a, 2 - alpha);
}

/* d_z[j] = s[j] (d_plain[j] - sum of s d_plain / sum of s), s the steepness: of the support alone */
static void support_backward(backward *b) {
    const row *const r = &b->row;
    double inner = 0, sum = 0;
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (!attn_ref_shown(r, j) || r->plain[j] == 0) continue;
        inner += steepness(r, j) * d_plain(b, j);
        sum += steepness(r, j);
    }
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (attn_ref_shown(r, j) && r->plain[j] != 0)
            b->d_z[j] = steepness(r, j) * (d_plain(b, j) - inner / sum);
    }
}

/* (19), (23): slope of a weight that is a function of its own z; 0 where relu has a kink */
static double slope_alone(const attn_normalizer *how, double z) {
    const double x = z + how->bias;
    switch (how->kind) {
    case ATTN_SIGMOID: return 1 / (1 + exp(-x)) / (1 + exp(x));
    case ATTN_RELU: return isnan(z) ? z : z > 0;
    case ATTN_RELU_SQUARED: return z < 0 ? 0 : 2 * z;
    case ATTN_LINEAR: return 1;
    default: return 0;
    }
}

/* (24): of hardmax nothing flows back, for it is flat wherever it has a derivative. */
static void alone_backward(backward *b) {
    const row *const r = &b->row;
    const attn_normalizer *const how = &r->problem->normalizer;
    for (int64_t j = 0; j < r->at.n_key && how->kind != ATTN_HARDMAX; j++) {
        if (!attn_ref_shown(r, j)) continue;
        b->d_z[j] = slope_alone(how, r->z[j]) * d_plain(b, j);
        attn_ref_add(&b->to.sigmoid_bias, 0, 0, 0, 0, b->d_z[j]); /* (20) */
    }
}

static void normalize_backward(backward *b) {
    switch (b->row.problem->normalizer.kind) {
    case ATTN_SOFTMAX:
    case ATTN_SOFTMAX_ONE: softmax_backward(b); break;
    case ATTN_SPARSEMAX:
    case ATTN_ENTMAX: support_backward(b); break;
    default: alone_backward(b);
    }
}

/* ---------------------------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------------------------- */

/* (25), (26): z = score / temperature */
static void temperature_backward(backward *b) {
    const row *const r = &b->row;
    const double temperature = attn_ref_temperature(r->problem);
    for (int64_t j = 0; j < r->at.n_key; j++) {
        b->d_score[j] = b->d_z[j] / temperature;
        if (attn_ref_shown(r, j) && b->d_z[j] != 0) /* z may be -infinity there */
            attn_ref_add(&b->to.temperature, 0, 0, 0, 0, -b->d_score[j] * r->z[j]);
    }
}

void attn_ref_weigh_backward(backward *b) {
    for (int64_t j = 0; j < b->row.at.n_key; j++) b->d_z[j] = 0;
    local_backward(b);
    normalize_backward(b);
    temperature_backward(b);
}

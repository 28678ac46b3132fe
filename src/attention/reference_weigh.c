/* reference_weigh.c: how a row of scores becomes a row of weights: all that is visible in z, which is
 * score / temperature; then local factors and dropout.
 *
 * A key whose score is -infinity gets weight 0, whatever the formula. A NaN makes a whole row NaN where
 * a formula takes in the whole row, and its own weight alone where it does not. */
#include "attention/reference.h"

#include <math.h>
#include <stdlib.h>

/* ---------------------------------------------------------------------------------------------
 * Random numbers
 * ------------------------------------------------------------------------------------------- */

static uint32_t turn(uint32_t x, unsigned by) {
    return x << by | x >> (32 - by);
}

uint64_t attn_ref_threefry(uint64_t key, uint64_t counter) {
    static const unsigned turns[] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
    const uint32_t keys[] = {low, high, low ^ high ^ 0x1BD11BDA};
    uint32_t a = (uint32_t)counter + keys[0], b = (uint32_t)(counter >> 32) + keys[1];
    for (uint32_t round = 0; round < 20; round++) {
        a += b;
        b = turn(b, turns[round % 8]) ^ a;
        const uint32_t group = round / 4 + 1;
        if (round % 4 != 3) continue;
        a += keys[group % 3];
        b += keys[(group + 1) % 3] + group;
    }
    return (uint64_t)b << 32 | a;
}

static uint64_t pair(int64_t low, int64_t high) {
    return (uint64_t)(uint32_t)high << 32 | (uint32_t)low;
}

double attn_ref_uniform(const row *r, int64_t j, bool high) {
    const uint64_t head =
        attn_ref_threefry(r->problem->normalizer.seed, pair(r->at.index, r->head));
    const uint64_t words = attn_ref_threefry(head, pair(r->i, j));
    const uint32_t word = (uint32_t)(high ? words >> 32 : words);
    return (word >> 9) * 0x1p-23 + 0x1p-24;
}

/* ---------------------------------------------------------------------------------------------
 * Normalizers: from z to w, over n keys; z is -infinity where a key is not visible
 * ------------------------------------------------------------------------------------------- */

/* The greatest; NaN if one is NaN, -infinity if there is none. */
static double greatest(const double *z, int64_t n) {
    double m = -INFINITY;
    for (int64_t j = 0; j < n; j++) {
        if (z[j] > m || isnan(z[j])) m = z[j];
    }
    return m;
}

/* w[j] = exp(z[j] - m) / sum  with  sum = exp(sink - m) + sum over j of exp(z[j] - m)
 *
 * The largest score m cancels; taking it out keeps exp from overflowing. Returns the log-sum-exp,
 * m + log(sum). Where there is nothing to weigh only the sink is left. */
static double softmax(const double *z, double *w, int64_t n, double sink) {
    const double top = greatest(z, n), m = top < sink ? sink : top;
    if (top == -INFINITY) return sink;

    double sum = exp(sink - m);
    for (int64_t j = 0; j < n; j++) {
        w[j] = exp(z[j] - m);
        sum += w[j];
    }
    for (int64_t j = 0; j < n; j++) w[j] /= sum;
    return m + log(sum);
}

static int falling(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* w[j] = max(x[j] - t, 0) with x = z - m. The k greatest have weights if the k-th is above the t that
 * makes k of them sum to 1, (sum of the k greatest - 1) / k; t is that of the largest such k
 * (Martins & Astudillo 2016, algorithm 1). */
static void sparsemax(const double *z, double *w, int64_t n, double *x) {
    const double m = greatest(z, n);
    double sum = 0, threshold = -1;
    for (int64_t j = 0; j < n; j++) x[j] = z[j] - m;
    qsort(x, (size_t)n, sizeof *x, falling);
    for (int64_t k = 1; k <= n; k++) {
        sum += x[k - 1];
        if ((double)k * x[k - 1] > sum - 1) threshold = (sum - 1) / (double)k;
        else break;
    }
    for (int64_t j = 0; j < n; j++) w[j] = fmax(z[j] - m - threshold, 0);
}

/* Sum of w[j] = max(x[j] - t, 0)^e with x = (alpha - 1) (z - m) and e = 1/(alpha - 1) */
static double entmax_weights(const double *z, double *w, int64_t n, double alpha, double m,
                             double threshold) {
    double sum = 0;
    for (int64_t j = 0; j < n; j++) {
        const double above = (alpha - 1) * (z[j] - m) - threshold;
        w[j] = above > 0 ? pow(above, 1 / (alpha - 1)) : 0;
        sum += w[j];
    }
    return sum;
}

/* The threshold lies within -1, where the greatest alone weighs 1, and 0, where nothing does. Halving
 * goes on while there is a number between. What is then left of the sum of 1 is the rounding of the
 * threshold, which a division spreads over all. */
static void entmax(const double *z, double *w, int64_t n, double alpha) {
    const double m = greatest(z, n);
    double low = -1, high = 0, middle = -0.5;
    while (low < middle && middle < high) {
        const double sum = entmax_weights(z, w, n, alpha, m, middle);
        *(sum >= 1 ? &low : &high) = middle;
        middle = (low + high) / 2;
    }
    const double sum = entmax_weights(z, w, n, alpha, m, low);
    for (int64_t j = 0; j < n; j++) w[j] /= sum;
}

static void hardmax(const double *z, double *w, int64_t n) {
    const double m = greatest(z, n);
    bool found = false;
    for (int64_t j = 0; j < n; j++) {
        w[j] = z[j] == m && !found;
        if (w[j] == 1) found = true;
    }
}

/* Where a weight is a function of its own score. */
static double weight_alone(const attn_normalizer *how, double z) {
    const double positive = z < 0 ? 0 : z; /* NaN stays */
    switch (how->kind) {
    case ATTN_SIGMOID: return 1 / (1 + exp(-z - how->bias));
    case ATTN_RELU: return positive;
    case ATTN_RELU_SQUARED: return positive * positive;
    default: return z;
    }
}

/* Those where the weights of a row depend on each other. */
static void weigh_together(const row *r, const double *z) {
    const attn_normalizer *const how = &r->problem->normalizer;
    const int64_t n = r->at.n_key;
    const double m = greatest(z, n);
    if (m == -INFINITY) return;
    if (isnan(m) || (m == INFINITY && how->kind != ATTN_HARDMAX)) { /* inf - inf is NaN */
        for (int64_t j = 0; j < n; j++) r->weight[j] = NAN;
    } else if (how->kind == ATTN_SPARSEMAX) {
        sparsemax(z, r->weight, n, r->spare);
    } else if (how->kind == ATTN_ENTMAX) {
        entmax(z, r->weight, n, how->alpha != 0 ? how->alpha : 1.5);
    } else {
        hardmax(z, r->weight, n);
    }
}

double attn_ref_sink(const row *r) {
    const attn_tensor *const sinks = &r->problem->score.sinks;
    if (r->problem->normalizer.kind == ATTN_SOFTMAX_ONE) return 0; /* exp(0) is the one */
    return attn_ref_present(sinks) ? attn_ref_load(sinks, r->at.index, r->head, 0, 0) : -INFINITY;
}

static void normalize(row *r, const double *z) {
    const attn_normalizer *const how = &r->problem->normalizer;
    for (int64_t j = 0; j < r->at.n_key; j++) r->weight[j] = 0;
    switch (how->kind) {
    case ATTN_SOFTMAX:
    case ATTN_SOFTMAX_ONE: r->lse = softmax(z, r->weight, r->at.n_key, attn_ref_sink(r)); break;
    case ATTN_SPARSEMAX:
    case ATTN_ENTMAX:
    case ATTN_HARDMAX: weigh_together(r, z); break;
    default:
        for (int64_t j = 0; j < r->at.n_key; j++)
            r->weight[j] = z[j] == -INFINITY ? 0 : weight_alone(how, z[j]);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Local factors, dropout, and the whole
 * ------------------------------------------------------------------------------------------- */

double attn_ref_off_center(const row *r, int64_t j) {
    const attn_tensor *const centers = &r->problem->normalizer.local->centers;
    if (!attn_ref_present(centers)) return (double)(j - r->p);
    return (double)j - attn_ref_load(centers, r->at.batch, r->head, r->at.first_query + r->i, 0);
}

double attn_ref_sigma(const attn_local *local) {
    return local->sigma != 0 ? local->sigma : local->half_width / 2;
}

/* exp(-(j - center)^2 / (2 sigma^2)) */
static double local_factor(const row *r, int64_t j) {
    const attn_local *const local = r->problem->normalizer.local;
    if (local == NULL) return 1;
    const double steps = attn_ref_off_center(r, j) / attn_ref_sigma(local);
    return exp(-steps * steps / 2);
}

/* 0 with probability p, else 1 / (1 - p): its mean is 1. */
static double dropout_factor(const row *r, int64_t j) {
    const double p = rint(r->problem->normalizer.dropout * 0x1p23) * 0x1p-23;
    return p == 0 ? 1 : attn_ref_uniform(r, j, false) > p ? 1 / (1 - p) : 0;
}

double attn_ref_temperature(const attn_problem *p) {
    return p->normalizer.temperature != 0 ? p->normalizer.temperature : 1;
}

void attn_ref_weigh(row *r) {
    const double temperature = attn_ref_temperature(r->problem);
    double *const z = r->z;
    for (int64_t j = 0; j < r->at.n_key; j++) z[j] = r->score[j] / temperature;
    normalize(r, z);
    for (int64_t j = 0; j < r->at.n_key; j++) {
        const double dropout = dropout_factor(r, j), local = local_factor(r, j);
        r->plain[j] = r->weight[j];
        r->factor[j] = local * dropout;
        r->weight[j] *= local;
        r->weight[j] = r->visible[j] && dropout != 0 ? r->weight[j] * dropout : 0;
    }
}

/* reference.c: attention by the textbook. Read this file first.
 *
 * One query at a time, in float64, in three steps:
 *
 *     SCORE      s[j] = cap(scale * dot(query, key[j])) + bias[j] - slope * |p - j|
 *     WEIGH      w[j] = exp(s[j]) / (exp(sink) + sum over visible j' of exp(s[j']))
 *     AGGREGATE  output = sum over visible j of w[j] * value[j]
 *
 * The fast path (forward.c) computes the same function on tiles; this file shares nothing with it
 * but the check of the arguments, and is what every test compares it with.
 *
 * A key that may not be attended to has score -infinity. Nothing else is ever known about it: its
 * key is not read to score it, nor its value to aggregate it. (A visible key may come to a score of
 * -infinity too; its weight is 0, but its value counts, and 0 * NaN is NaN.)
 *
 * Accuracy, with u = 2^-53 and to first order in u. Let D = (d + 10) u A, where A is the largest
 * scale * sum_c |q[c] k[j][c]| + |bias[j]| + |slope| |p - j| over the visible j. Then a score is
 * within D of the exact one (d + 3 roundings for the scaled dot product, 4 for the cap, 2 for the
 * other terms, 1 for the difference from the largest), a weight within a relative 2 D + (n + 8) u
 * for n keys, and an output within (2 D + (2 n + 10) u) * sum_j w[j] |v[j]|. With scores of size
 * 100 and a million keys that is 2^-31, a hundredth of what float32 can tell. */
#include <math.h>
#include <stdlib.h>

#include "api/check.h"
#include "attn/attn.h"

/* ---------------------------------------------------------------------------------------------
 * Elements of tensors
 * ------------------------------------------------------------------------------------------- */

static bool present(const attn_tensor *t) {
    return t->data != NULL;
}

/* In elements, from t->data; a dimension of size 1 has one element for every index. */
static int64_t offset(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j) {
    const int64_t index[4] = {b, h, i, j};
    int64_t sum = 0;
    for (int k = 0; k < 4; k++) {
        if (t->shape[k] != 1) sum += index[k] * t->stride[k];
    }
    return sum;
}

static double load(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j) {
    const int64_t at = offset(t, b, h, i, j);
    if (t->dtype == ATTN_BOOL) return ((const unsigned char *)t->data)[at] != 0;
    if (t->dtype == ATTN_F32) return (double)((const float *)t->data)[at];
    return ((const double *)t->data)[at];
}

/* The only rounding to the dtype of the result; does nothing if the result is not wanted. */
static void store(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j, double x) {
    if (!present(t)) return;
    const int64_t at = offset(t, b, h, i, j);
    if (t->dtype == ATTN_F32) {
        ((float *)t->data)[at] = (float)x;
    } else {
        ((double *)t->data)[at] = x;
    }
}

static void fill(const attn_tensor *t, double x) {
    if (!present(t)) return;
    for (int64_t b = 0; b < t->shape[0]; b++) {
        for (int64_t h = 0; h < t->shape[1]; h++) {
            for (int64_t i = 0; i < t->shape[2]; i++) {
                for (int64_t j = 0; j < t->shape[3]; j++) store(t, b, h, i, j, x);
            }
        }
    }
}

/* ---------------------------------------------------------------------------------------------
 * Sequences and rows: who asks, and whom there is to ask
 * ------------------------------------------------------------------------------------------- */

/* Queries and keys that belong together: a row of the batch, or a stretch of a packed one. */
typedef struct sequence {
    int64_t index;                  /* which one, as lengths, bias, sinks... count them */
    int64_t batch;                  /* the row of the batch that holds it */
    int64_t first_query, first_key; /* where in that row it begins */
    int64_t n_query, n_key;         /* how many are real; padding does not count */
} sequence;

static sequence sequence_at(const attn_problem *p, int64_t index) {
    const attn_mask *const m = &p->mask;
    sequence s = {.index = index, .batch = index};
    s.n_query = p->query.shape[2];
    s.n_key = p->key.shape[2];
    if (m->query_starts != NULL) {
        s.batch = 0;
        s.first_query = m->query_starts[index];
        s.first_key = m->key_starts[index];
        s.n_query = m->query_starts[index + 1] - s.first_query;
        s.n_key = m->key_starts[index + 1] - s.first_key;
    }
    if (m->query_lengths != NULL) s.n_query = m->query_lengths[index];
    if (m->key_lengths != NULL) s.n_key = m->key_lengths[index];
    return s;
}

/* One query of one head. Its index i, its position p and a key's index j count in the sequence. */
typedef struct row {
    const attn_problem *problem;
    sequence at;
    int64_t head, kv_head;
    int64_t i, p;
} row;

static row row_at(const attn_problem *problem, sequence at, int64_t head, int64_t i) {
    const attn_mask *const m = &problem->mask;
    row r = {.problem = problem, .at = at, .head = head, .i = i};
    r.kv_head = head / (problem->query.shape[1] / problem->key.shape[1]);
    r.p = i + m->query_offset;
    if (m->alignment == ATTN_ALIGN_BOTTOM_RIGHT) r.p += at.n_key - at.n_query;
    return r;
}

/* ---------------------------------------------------------------------------------------------
 * The mask
 * ------------------------------------------------------------------------------------------- */

/* left and right of the window: distances, so that no limit is too large to be added to p. */
static bool within(const attn_window *w, int64_t ahead) {
    if (!w->enabled) return true;
    return (w->left < 0 || ahead >= -w->left) && (w->right < 0 || ahead <= w->right);
}

static bool same_document(const row *r, int64_t j) {
    const attn_problem *const p = r->problem;
    if (p->mask.query_documents == NULL) return true;
    const int64_t query = r->at.batch * p->query.shape[2] + r->at.first_query + r->i;
    const int64_t key = r->at.batch * p->key.shape[2] + r->at.first_key + j;
    return p->mask.query_documents[query] == p->mask.key_documents[key];
}

/* Whether every rule lets this query see key j. */
static bool may_attend(const row *r, int64_t j) {
    const attn_mask *const m = &r->problem->mask;
    const attn_tensor *const bias = &r->problem->score.bias;
    const int64_t ahead = j - r->p;
    const int64_t prefix = m->prefix_lengths != NULL ? m->prefix_lengths[r->at.index] : 0;

    if (m->causal && ahead > 0 && j >= prefix) return false;
    if (!within(&m->window, ahead)) return false;
    if (!same_document(r, j)) return false;
    if (present(&m->allowed) && load(&m->allowed, r->at.index, r->head, r->i, j) == 0) return false;
    return !(present(bias) && load(bias, r->at.index, r->head, r->i, j) == -INFINITY);
}

/* ---------------------------------------------------------------------------------------------
 * Score, weigh, aggregate
 * ------------------------------------------------------------------------------------------- */

/* dot(query, key[j]) = sum_c query[c] * key[j][c] */
static double dot(const row *r, int64_t j) {
    const attn_problem *const p = r->problem;
    const int64_t b = r->at.batch;
    double sum = 0;
    for (int64_t c = 0; c < p->query.shape[3]; c++) {
        sum += load(&p->query, b, r->head, r->at.first_query + r->i, c) *
               load(&p->key, b, r->kv_head, r->at.first_key + j, c);
    }
    return sum;
}

/* 1/sqrt(d) keeps scores of width d near size 1 (Vaswani et al. 2017); with no width, dot is 0. */
static double scale(const attn_problem *p) {
    if (p->score.scale != 0 || p->query.shape[3] == 0) return p->score.scale;
    return 1 / sqrt((double)p->query.shape[3]);
}

/* cap(s) = c * tanh(s / c): like s near 0, never beyond c */
static double cap(double s, double c) {
    return c > 0 ? c * tanh(s / c) : s;
}

/* s[j] = cap(scale * dot(query, key[j])) + bias[j] - slope * |p - j| */
static double score(const row *r, int64_t j) {
    const attn_score *const how = &r->problem->score;
    double s = cap(scale(r->problem) * dot(r, j), how->softcap);
    if (present(&how->bias)) s += load(&how->bias, r->at.index, r->head, r->i, j);
    if (present(&how->alibi_slopes)) {
        s -= load(&how->alibi_slopes, r->at.index, r->head, 0, 0) * fabs((double)(r->p - j));
    }
    return s;
}

/* w[j] = exp(s[j] - m) / sum  with  sum = exp(sink - m) + sum over visible j of exp(s[j] - m)
 *
 * The largest score m cancels; taking it out keeps exp from overflowing. Returns the log-sum-exp,
 * m + log(sum). Where there is nothing to weigh only the sink is left. */
static double weigh(const double *s, double *w, const bool *visible, int64_t n, double sink) {
    bool nothing = true;
    double m = sink;
    for (int64_t j = 0; j < n; j++) {
        if (s[j] != -INFINITY) nothing = false;
        if (s[j] > m) m = s[j];
        w[j] = 0;
    }
    if (nothing) return sink;

    double sum = exp(sink - m);
    for (int64_t j = 0; j < n; j++) {
        if (!visible[j]) continue;
        w[j] = exp(s[j] - m);
        sum += w[j];
    }
    for (int64_t j = 0; j < n; j++) {
        if (visible[j]) w[j] /= sum; /* a sum of NaN must not reach masked entries */
    }
    return m + log(sum);
}

/* output[c] = sum over visible j of w[j] * value[j][c] */
static double aggregate(const row *r, const double *w, const bool *visible, int64_t c) {
    double sum = 0;
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (!visible[j]) continue;
        sum += w[j] * load(&r->problem->value, r->at.batch, r->kv_head, r->at.first_key + j, c);
    }
    return sum;
}

/* All three steps for one query; s, w and visible have room for its keys. */
static void attend(const row *r, double *s, double *w, bool *visible) {
    const attn_problem *const p = r->problem;
    const sequence *const at = &r->at;
    const int64_t query = at->first_query + r->i;
    const attn_tensor *const sinks = &p->score.sinks;
    const double sink = present(sinks) ? load(sinks, at->index, r->head, 0, 0) : -INFINITY;

    for (int64_t j = 0; j < at->n_key; j++) {
        visible[j] = may_attend(r, j);
        s[j] = visible[j] ? score(r, j) : -INFINITY;
    }
    const double lse = weigh(s, w, visible, at->n_key, sink);

    store(&p->lse, at->batch, r->head, query, 0, lse);
    for (int64_t j = 0; j < at->n_key; j++) {
        store(&p->weights, at->batch, r->head, query, j, w[j]);
    }
    for (int64_t c = 0; present(&p->output) && c < p->value.shape[3]; c++) {
        store(&p->output, at->batch, r->head, query, c, aggregate(r, w, visible, c));
    }
}

attn_status attn_reference_forward(const attn_problem *problem) {
    const attn_status status = attn_check_problem(problem);
    if (status != ATTN_OK) return status;
    if (problem->query.shape[1] == 0 || problem->query.shape[2] == 0) return ATTN_OK; /* no rows */

    /* calloc checks the product; the added one keeps the size from being 0. */
    const int64_t n_key = problem->key.shape[2];
    double *const s = calloc((size_t)n_key + 1, 2 * sizeof(double) + sizeof(bool));
    if (s == NULL) {
        return attn_fail(ATTN_ERROR_MEMORY, "no memory for a row of %lld keys", (long long)n_key);
    }

    /* What padding, and rows that no sequence owns, are to hold: the loops below pass them by. */
    fill(&problem->output, 0);
    fill(&problem->lse, -INFINITY);
    fill(&problem->weights, 0);

    const bool packed = problem->mask.query_starts != NULL;
    const int64_t sequences = packed ? problem->mask.sequences : problem->query.shape[0];
    for (int64_t index = 0; index < sequences; index++) {
        const sequence at = sequence_at(problem, index);
        for (int64_t head = 0; head < problem->query.shape[1]; head++) {
            for (int64_t i = 0; i < at.n_query; i++) {
                const row r = row_at(problem, at, head, i);
                attend(&r, s, s + n_key, (bool *)(s + 2 * n_key));
            }
        }
    }
    free(s);
    return ATTN_OK;
}

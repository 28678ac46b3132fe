/* oracle_views.c: how far views may be from the reference's.
 *
 * B[j] is the bound of weight j of a row (oracle_weigh.c), w[j] the exact one. Sums of n weights, in
 * any order, are off by the sum of their B and by n u times the sum of their sizes; maxima by the
 * greatest B. The greatest weights in falling order move no further than any weight does: by the
 * greatest B of the row; and each key that is listed has, exactly, a weight within its own B of the
 * one listed with it. With h(w) = -w log(w)
 *
 *     entropy     sum_j of the most that h changes within B[j] of w[j], plus
 *                 (2 K + 16) u (sum_j |h(w[j])| + 1): sums over keys, log2 within 4 u, and, made of
 *                 softmax's own sums, log(sum) + sum(exp(x) x) / sum, where no term is negative
 *     span        span (e^(bound of entropy) - 1), 8 u (1 + |entropy|) of it for exp, and tiny
 *     distance    sum_j B[j] |p - j|, and (K + 8) u of what it adds up
 *     max_logit   the greatest error of a score, and 8 u of it on the way into base 2 and back
 *     capped      the cap has slope 1 at most; a quotient, tanh, a product: 8 u
 *
 * A path's cells are off by the error of the mean weights; so the path of other weights collects, by
 * the exact ones, less than the best by no more than twice that for each cell. */
#include "oracle.h"

#include <inttypes.h>
#include <math.h>

static double weight_at(const row *r, int64_t j) {
    return row_at(r, &r->o->problem.weights, j);
}

static double off_at(const row *r, int64_t j) {
    return row_at(r, &r->o->weight_error, j);
}

/* Query i of a stretch. */
static row query_row(const sample *s, const oracle *o, const stretch *where, int64_t head,
                     int64_t i) {
    return row_of(s, o, where, head, where->first_query + i, NULL, NULL);
}

/* ---------------------------------------------------------------------------------------------
 * Numbers of a row
 * ------------------------------------------------------------------------------------------- */

static double largest_off(const row *r) {
    double most = 0;
    for (int64_t j = 0; j < r->at->n_key; j++) most = fmax(most, off_at(r, j));
    return most;
}

static double h(double w) {
    return w > 0 ? -w * log(w) : 0;
}

/* The most that h changes within `off` of w. It rises up to 1/e and falls from there. */
static double change_of_h(double w, double off) {
    const double low = fmax(w - off, 0), high = w + off, top = exp(-1);
    double most = fmax(fabs(h(high) - h(w)), fabs(h(low) - h(w)));
    if (low < top && top < high) most = fmax(most, h(top) - h(w));
    return most;
}

/* Infinity if it is not known whether some weight is negative, whose logarithm is NaN. */
static double entropy_bound(const row *r) {
    double sum = 0, sizes = 1;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double w = weight_at(r, j), off = off_at(r, j);
        if (r->o->problem.normalizer.kind == ATTN_LINEAR && fabs(w) <= off && off > 0)
            return INFINITY;
        sum += change_of_h(w, off);
        sizes += fabs(h(w));
    }
    return sum + (2 * r->k + 16) * r->u * sizes;
}

static double distance_bound(const row *r) {
    double sum = 0;
    for (int64_t j = 0; j < r->at->n_key; j++)
        sum += fabs((double)(r->position - j)) *
               (off_at(r, j) + (r->k + 8) * r->u * fabs(weight_at(r, j)));
    return sum;
}

static double logit_bound(const row *r) {
    double most = 0;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double score = row_at(r, &r->o->all.scores, j);
        if (score == -INFINITY) continue;
        most = fmax(most, row_at(r, &r->o->score_error, j) + 8 * r->u * fabs(score));
    }
    return most;
}

static double score_bound(const row *r, int view, int64_t j, double expected) {
    const attn_tensor *const t = view == VIEW_SCORES ? &r->o->score_error : &r->o->raw_error;
    if (j >= r->at->n_key || !isfinite(expected)) return 0;
    const double size = fmax(fabs(expected), fabs(row_at(r, &r->o->all.raw_scores, j)));
    return row_at(r, t, j) + 8 * r->u * size;
}

/* ---------------------------------------------------------------------------------------------
 * Sums over queries
 * ------------------------------------------------------------------------------------------- */

static double sum_bound(const sample *s, const oracle *o, const stretch *where, int64_t head,
                        const int64_t queries[2], const int64_t keys[2]) {
    double off = 0, sizes = 0, u = 0, count = 0;
    for (int64_t i = queries[0]; i < queries[1] && i < where->n_query; i++) {
        const row r = query_row(s, o, where, head, i);
        for (int64_t j = keys[0]; j < keys[1] && j < where->n_key; j++, count++)
            off += off_at(&r, j), sizes += fabs(weight_at(&r, j));
        u = r.u;
    }
    return off + count * u * sizes;
}

static double max_bound(const sample *s, const oracle *o, const stretch *where, int64_t head,
                        int64_t j) {
    double most = 0;
    for (int64_t i = 0; i < where->n_query && j < where->n_key; i++) {
        const row r = query_row(s, o, where, head, i);
        most = fmax(most, off_at(&r, j));
    }
    return most;
}

static double statistic_bound(const sample *s, const oracle *o, const stretch *where, int64_t head,
                              int64_t which, double expected) {
    const double n = (double)where->n_query;
    double sum = 0, u = 0;
    for (int64_t i = 0; i < where->n_query; i++) {
        const row r = query_row(s, o, where, head, i);
        u = r.u;
        sum += which == ATTN_HEAD_CONFIDENCE ? largest_off(&r)
               : which == ATTN_HEAD_ENTROPY  ? entropy_bound(&r)
               : which == ATTN_HEAD_DISTANCE ? distance_bound(&r)
               : where->n_key > 0            ? off_at(&r, 0)
                                             : 0;
    }
    if (sum == INFINITY) return sum;
    /* The sizes that are added up: of entropies and distances of one sign, those of the sum. */
    return n > 0 ? sum / n + (n + 4) * u * (fabs(expected) + sum / n) : 0;
}

/* ---------------------------------------------------------------------------------------------
 * The bound of each view
 * ------------------------------------------------------------------------------------------- */

/* Views with a row a sequence. */
static double bound_of_sequence(const sample *s, const oracle *o, int view, const int64_t x[4],
                                double expected) {
    const attn_views *const v = &o->views;
    const stretch *const where = &s->stretches[x[0]];
    const int64_t head = chosen_head(v, x[1]), n = where->n_query;
    const int64_t all[2] = {0, n}, key[2] = {x[3], x[3] + 1};
    const int64_t window[2] = {n > v->window_queries ? n - v->window_queries : 0, n};
    const int64_t queries[2] = {x[2] * v->block_queries, (x[2] + 1) * v->block_queries};
    const int64_t keys[2] = {x[3] * v->block_keys, (x[3] + 1) * v->block_keys};
    const double u = s->spec.dtype == ATTN_F32 ? 0x1p-24 : 0x1p-53;
    switch (view) {
    case VIEW_RECEIVED_SUM: return sum_bound(s, o, where, head, all, key);
    case VIEW_RECEIVED_MEAN:
        return n > 0 ? sum_bound(s, o, where, head, all, key) / (double)n + 4 * u * fabs(expected)
                     : 0;
    case VIEW_RECEIVED_MAX: return max_bound(s, o, where, head, x[3]);
    case VIEW_WINDOW_SUM: return sum_bound(s, o, where, head, window, key);
    case VIEW_BLOCK_SUMS: return sum_bound(s, o, where, head, queries, keys);
    default: return statistic_bound(s, o, where, head, x[3], expected);
    }
}

static double mean_bound(const sample *s, const oracle *o, const stretch *where, int64_t i,
                         int64_t j) {
    const attn_views *const v = &o->views;
    const int64_t heads = v->heads != NULL ? v->head_count : s->spec.heads;
    double off = 0, sizes = 0, u = 0;
    for (int64_t place = 0; place < heads && j < where->n_key; place++) {
        const row r = query_row(s, o, where, chosen_head(v, place), i);
        off += off_at(&r, j), sizes += fabs(weight_at(&r, j)), u = r.u;
    }
    return heads > 0 ? (off + (double)(heads + 2) * u * sizes) / (double)heads : 0;
}

static double bound_of_query(const sample *s, const oracle *o, int view, const int64_t x[4],
                             double expected) {
    const stretch *const where = stretch_of(s, x[0], x[2]);
    if (where == NULL) return 0;
    const int64_t i = x[2] - where->first_query;
    if (view == VIEW_HEAD_MEAN) return mean_bound(s, o, where, i, x[3]);
    const row r = query_row(s, o, where, chosen_head(&o->views, x[1]), i);
    switch (view) {
    case VIEW_TOP_WEIGHTS: return largest_off(&r);
    case VIEW_ENTROPY: return entropy_bound(&r);
    case VIEW_SPAN: {
        const double off = entropy_bound(&r);
        if (off == INFINITY) return off;
        return expected * (expm1(off) + 8 * r.u * (1 + fabs(log(expected)))) + r.tiny;
    }
    case VIEW_DISTANCE: return distance_bound(&r);
    case VIEW_MAX_LOGIT: return isfinite(expected) ? logit_bound(&r) : 0;
    default: return score_bound(&r, view, x[3], expected);
    }
}

/* What a narrow type adds: half a step. */
static double step_of(attn_dtype dtype, double w) {
    if (dtype == ATTN_U8) return 0.5 / 255;
    if (dtype == ATTN_F16) return fmax(0x1p-11 * fabs(w), 0x1p-25);
    return dtype == ATTN_F32 ? fmax(0x1p-24 * fabs(w), 0x1p-150) : 0;
}

/* The query that a row of views.weights shows; its stretch, NULL: none. */
static const stretch *shown_query(const sample *s, const int64_t x[4], int64_t *i) {
    const attn_views *const v = &s->views;
    if (v->rows == NULL && v->row_count == 0) {
        const stretch *const where = stretch_of(s, x[0], x[2]);
        *i = where != NULL ? x[2] - where->first_query : 0;
        return where;
    }
    const stretch *const where = &s->stretches[x[0]];
    *i = v->rows != NULL ? v->rows[x[2]] : where->n_query - v->row_count + x[2];
    return *i >= 0 && *i < where->n_query ? where : NULL;
}

/* A byte has no more than 0 to 1 to say it with; where it says 0 for NaN, there is no bound. */
static double bound_of_weights(const sample *s, const oracle *o, const int64_t x[4],
                               double *expected) {
    const attn_dtype dtype = s->views.weights.dtype;
    int64_t i;
    const stretch *const where = shown_query(s, x, &i);
    if (where == NULL || x[3] >= where->n_key) return 0;
    const row r = query_row(s, o, where, chosen_head(&o->views, x[1]), i);
    const double off = off_at(&r, x[3]);
    if (dtype == ATTN_U8) *expected = fmin(fmax(*expected, 0), 1);
    return off > 0 || *expected != 0 ? off + step_of(dtype, fabs(*expected) + off) : 0;
}

static double bound_of_view(const sample *s, const oracle *o, int view, const int64_t x[4],
                            double *expected) {
    switch (view) {
    case VIEW_WEIGHTS: return bound_of_weights(s, o, x, expected);
    case VIEW_RECEIVED_SUM:
    case VIEW_RECEIVED_MEAN:
    case VIEW_RECEIVED_MAX:
    case VIEW_WINDOW_SUM:
    case VIEW_BLOCK_SUMS:
    case VIEW_HEAD_STATISTICS: return bound_of_sequence(s, o, view, x, *expected);
    default: return bound_of_query(s, o, view, x, *expected);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Keys and paths
 * ------------------------------------------------------------------------------------------- */

/* The key at x[3] among the greatest: its exact weight is that of the rank, and it is nowhere
 * before. */
static void assert_key(const sample *s, const oracle *o, attn_isa isa, int view,
                       const int64_t x[4]) {
    const attn_tensor *const t = view == VIEW_ARGMAX ? &s->views.argmax : &s->views.top_keys;
    const stretch *const where = stretch_of(s, x[0], x[2]);
    const int64_t key = (int64_t)element(t, x[0], x[1], x[2], x[3]);
    double rank[1024];
    int64_t n = 0;
    if (where == NULL) {
        assert_int_equal(key, -1);
        return;
    }
    const row r = query_row(s, o, where, chosen_head(&o->views, x[1]), x[2] - where->first_query);
    for (int64_t j = 0; j < where->n_key; j++) { /* the x[3] + 1 greatest, in falling order */
        const double w = weight_at(&r, j);
        if (isnan(w)) {
            assert_int_equal(key, -1);
            return;
        }
        int64_t place = n;
        for (; place > 0 && rank[place - 1] < w; place--)
            if (place <= x[3]) rank[place] = rank[place - 1];
        if (place <= x[3]) rank[place] = w;
        if (n <= x[3]) n++;
    }
    const double most = largest_off(&r), greatest = n > x[3] ? fmax(rank[x[3]], 0) : 0;
    if (key == -1) {
        assert_within(s, isa, view_name(view), x, 0, greatest, most);
        return;
    }
    assert_in_range(key, 0, where->n_key - 1);
    assert_within(s, isa, view_name(view), x, weight_at(&r, key), greatest, most + off_at(&r, key));
    for (int64_t before = 0; before < x[3]; before++)
        assert_true(element(t, x[0], x[1], x[2], before) != (double)key);
}

static double mean_weight(const sample *s, const oracle *o, const stretch *where, int64_t i,
                          int64_t j) {
    const attn_views *const v = &o->views;
    const int64_t heads = v->heads != NULL ? v->head_count : s->spec.heads;
    double sum = 0;
    for (int64_t place = 0; place < heads; place++) {
        const row r = query_row(s, o, where, chosen_head(v, place), i);
        sum += weight_at(&r, j);
    }
    return heads > 0 ? sum / (double)heads : 0;
}

/* What a path collects, after a look at whether it is one. */
static double collected(const sample *s, const oracle *o, const attn_tensor *path, int64_t q,
                        double *cells) {
    const stretch *const where = &s->stretches[q];
    double sum = 0;
    int64_t last = 0;
    for (int64_t i = 0; i < where->n_query; i++) {
        const int64_t from = (int64_t)element(path, q, 0, i, 0);
        const int64_t to = (int64_t)element(path, q, 0, i, 1);
        assert_true(i == 0 ? from == 0 : from == last || from == last + 1);
        assert_true(from <= to && to < where->n_key);
        for (int64_t j = from; j <= to; j++) sum += mean_weight(s, o, where, i, j);
        *cells += (double)(to - from + 1);
        last = to;
    }
    assert_true(last == where->n_key - 1);
    return sum;
}

static void assert_path(const sample *s, const oracle *o, attn_isa isa, int64_t q) {
    const stretch *const where = &s->stretches[q];
    const attn_tensor *const path = &s->views.path, *const best = &o->views.path;
    const bool none = where->n_query == 0 || where->n_key == 0;
    double most = 0, cells = 0;
    if (o->views.heads != NULL && o->views.head_count == 0) return; /* of no heads, any or none */
    for (int64_t i = none ? 0 : where->n_query; i < path->shape[2]; i++) {
        for (int64_t end = 0; end < 2; end++) assert_true(element(path, q, 0, i, end) == -1);
    }
    if (none) return;
    for (int64_t i = 0; i < where->n_query; i++) {
        for (int64_t j = 0; j < where->n_key; j++) most = fmax(most, mean_bound(s, o, where, i, j));
    }
    const double expected = collected(s, o, best, q, &cells);
    const double result = collected(s, o, path, q, &cells);
    assert_within(s, isa, "what views.path collects", (const int64_t[4]){q}, result, expected,
                  cells * most + cells * 0x1p-50 * fabs(expected));
}

/* ---------------------------------------------------------------------------------------------
 * All
 * ------------------------------------------------------------------------------------------- */

static void assert_view(const sample *s, const oracle *o, attn_isa isa, int view) {
    attn_views found = s->views, wide = o->views;
    const attn_tensor *const result = view_of(&found, view), *const exact = view_of(&wide, view);
    for (int64_t x[4] = {0}; result->data && index_inside(x, result->shape);
         index_next(x, result->shape)) {
        if (view == VIEW_TOP_KEYS || view == VIEW_ARGMAX) {
            assert_key(s, o, isa, view, x);
            continue;
        }
        double expected = at(exact, x[0], x[1], x[2], x[3]);
        const double bound = bound_of_view(s, o, view, x, &expected);
        if (bound == INFINITY) continue;
        assert_within(s, isa, view_name(view), x, element(result, x[0], x[1], x[2], x[3]), expected,
                      bound);
    }
}

void assert_views_close(const sample *s, const oracle *o, attn_isa isa) {
    for (int view = 0; view < VIEWS; view++) {
        if (view != VIEW_PATH) assert_view(s, o, isa, view);
    }
    for (int64_t q = 0; s->views.path.data && q < s->sequences; q++) assert_path(s, o, isa, q);
}

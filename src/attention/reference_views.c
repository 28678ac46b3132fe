/* reference_views.c: views of the weights, by what attn.h says of each: they are made of the float64
 * weights of a row, or of sums of them, and rounded when they are stored. */
#include "attention/reference.h"

#include <math.h>

static const attn_views *views_of(const row *r) {
    return r->problem->views;
}

void attn_ref_fill_views(const attn_views *v) {
    const struct {
        const attn_tensor *view;
        double x;
    } all[] = {
        {&v->weights, 0},        {&v->received_sum, 0},
        {&v->received_mean, 0},  {&v->received_max, 0},
        {&v->window_sum, 0},     {&v->top_weights, 0},
        {&v->top_keys, -1},      {&v->argmax, -1},
        {&v->entropy, 0},        {&v->span, 1},
        {&v->distance, 0},       {&v->max_logit, -INFINITY},
        {&v->block_sums, 0},     {&v->head_mean, 0},
        {&v->path, -1},          {&v->head_statistics, 0},
        {&v->raw_scores, 0},     {&v->capped_scores, 0},
        {&v->scores, -INFINITY},
    };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) attn_ref_fill(all[k].view, all[k].x);
}

/* ---------------------------------------------------------------------------------------------
 * Numbers of one row
 * ------------------------------------------------------------------------------------------- */

/* The greatest; NaN if one is NaN; `none` if there is no number. */
static double greatest(const double *x, int64_t n, double none) {
    double most = n > 0 ? x[0] : none;
    for (int64_t j = 1; j < n; j++) {
        if (x[j] > most || isnan(x[j])) most = x[j];
    }
    return most;
}

/* -sum of w log(w); 0 log(0) is 0 */
static double entropy(const row *r) {
    double sum = 0;
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (r->weight[j] != 0) sum -= r->weight[j] * log(r->weight[j]);
    }
    return sum;
}

/* sum of w |p - j| */
static double distance(const row *r) {
    double sum = 0;
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (r->visible[j]) sum += r->weight[j] * fabs((double)(r->p - j));
    }
    return sum;
}

/* ---------------------------------------------------------------------------------------------
 * Views of one row
 * ------------------------------------------------------------------------------------------- */

/* Row x[0 .. n_key - 1] of this query. */
static void store_row(const row *r, int64_t place, const attn_tensor *t, const double *x) {
    for (int64_t j = 0; j < r->at.n_key; j++)
        attn_ref_store(t, r->at.batch, place, r->at.first_query + r->i, j, x[j]);
}

static void store_one(const row *r, int64_t place, const attn_tensor *t, double x) {
    attn_ref_store(t, r->at.batch, place, r->at.first_query + r->i, 0, x);
}

/* Which of the listed rows this query is; -1: none. */
static int64_t listed(const row *r) {
    const attn_views *const v = views_of(r);
    if (v->rows == NULL) { /* the last row_count */
        const int64_t slot = v->row_count - (r->at.n_query - r->i);
        return slot < 0 ? -1 : slot;
    }
    for (int64_t k = 0; k < v->row_count; k++) {
        if (v->rows[k] == r->i) return k;
    }
    return -1;
}

static void view_weights(const row *r, int64_t place) {
    const attn_views *const v = views_of(r);
    if (v->rows == NULL && v->row_count == 0) {
        store_row(r, place, &v->weights, r->weight);
        return;
    }
    const int64_t slot = listed(r);
    for (int64_t j = 0; slot >= 0 && j < r->at.n_key; j++)
        attn_ref_store(&v->weights, r->at.index, place, slot, j, r->weight[j]);
}

/* The k greatest, rounded as the weights are when they are stored: equal is what is stored equal. */
static void view_top(const row *r, int64_t place, const attn_tensor *weights,
                     const attn_tensor *keys, int64_t k) {
    const int64_t n = r->at.n_key, query = r->at.first_query + r->i;
    const bool is_nan = isnan(greatest(r->weight, n, 0));
    double *const w = r->spare;
    for (int64_t j = 0; j < n; j++) w[j] = attn_ref_round(r->problem->query.dtype, r->weight[j]);
    for (int64_t rank = 0; rank < k; rank++) {
        int64_t best = -1;
        for (int64_t j = 0; j < n && !is_nan; j++) {
            if (w[j] > (best < 0 ? 0 : w[best])) best = j;
        }
        const double none = is_nan ? NAN : 0;
        attn_ref_store(keys, r->at.batch, place, query, rank, (double)best);
        attn_ref_store(weights, r->at.batch, place, query, rank, best < 0 ? none : w[best]);
        if (best >= 0) w[best] = 0;
    }
}

static void view_tops(const row *r, int64_t place) {
    const attn_views *const v = views_of(r);
    const attn_tensor none = {0};
    if (attn_ref_present(&v->top_weights) || attn_ref_present(&v->top_keys)) {
        const attn_tensor *const t =
            attn_ref_present(&v->top_weights) ? &v->top_weights : &v->top_keys;
        view_top(r, place, &v->top_weights, &v->top_keys, t->shape[3]);
    }
    if (attn_ref_present(&v->argmax)) view_top(r, place, &none, &v->argmax, 1);
}

static void show_observer(const row *r) {
    const attn_views *const v = views_of(r);
    if (v->observer == NULL) return;
    for (int64_t j = 0; j < r->at.n_key; j++) r->z[j] = r->weight[j]; /* z is not needed any more */
    attn_ref_call(r, v->observer, v->observer_user, r->z);
}

/* ---------------------------------------------------------------------------------------------
 * Sums over queries
 * ------------------------------------------------------------------------------------------- */

void attn_ref_begin_sums(sums *s, int64_t n_key) {
    for (int64_t j = 0; j < n_key; j++)
        s->received[j] = s->greatest[j] = s->window[j] = s->block[j] = 0;
    for (int k = 0; k < ATTN_HEAD_STATISTICS; k++) s->statistics[k] = 0;
}

static void add_received(const row *r, sums *s) {
    const bool in_window = r->i >= r->at.n_query - views_of(r)->window_queries;
    for (int64_t j = 0; j < r->at.n_key; j++) {
        const double w = r->weight[j];
        s->received[j] += w;
        if (in_window) s->window[j] += w;
        if (r->i == 0 || w > s->greatest[j] || isnan(w)) s->greatest[j] = w;
    }
}

static void add_statistics(const row *r, sums *s) {
    const double most = greatest(r->weight, r->at.n_key, 0);
    s->statistics[ATTN_HEAD_CONFIDENCE] += most < 0 ? 0 : most;
    s->statistics[ATTN_HEAD_ENTROPY] += entropy(r);
    s->statistics[ATTN_HEAD_DISTANCE] += distance(r);
    s->statistics[ATTN_HEAD_FIRST] += r->at.n_key > 0 ? r->weight[0] : 0;
}

/* A row of blocks is complete at its last query, or at the sequence's. */
static void add_blocks(const row *r, int64_t place, sums *s) {
    const attn_views *const v = views_of(r);
    if (!attn_ref_present(&v->block_sums)) return;
    for (int64_t j = 0; j < r->at.n_key; j++) s->block[j / v->block_keys] += r->weight[j];
    if ((r->i + 1) % v->block_queries != 0 && r->i + 1 < r->at.n_query) return;
    for (int64_t block = 0; block * v->block_keys < r->at.n_key; block++) {
        attn_ref_store(&v->block_sums, r->at.index, place, r->i / v->block_queries, block,
                       s->block[block]);
        s->block[block] = 0;
    }
}

void attn_ref_view_row(const row *r, int64_t place, sums *s) {
    const attn_views *const v = views_of(r);
    view_weights(r, place);
    view_tops(r, place);
    store_one(r, place, &v->entropy, entropy(r));
    store_one(r, place, &v->span, exp(entropy(r)));
    store_one(r, place, &v->distance, distance(r));
    store_one(r, place, &v->max_logit, greatest(r->score, r->at.n_key, -INFINITY));
    store_row(r, place, &v->raw_scores, r->raw);
    store_row(r, place, &v->capped_scores, r->capped);
    store_row(r, place, &v->scores, r->score);
    add_received(r, s);
    add_statistics(r, s);
    add_blocks(r, place, s);
    show_observer(r);
}

void attn_ref_end_sums(const row *last, int64_t place, const sums *s) {
    const attn_views *const v = views_of(last);
    const int64_t at = last->at.index;
    const double queries = (double)last->at.n_query;
    for (int64_t j = 0; j < last->at.n_key; j++) {
        attn_ref_store(&v->received_sum, at, place, 0, j, s->received[j]);
        attn_ref_store(&v->received_mean, at, place, 0, j, s->received[j] / queries);
        attn_ref_store(&v->received_max, at, place, 0, j, s->greatest[j]);
        attn_ref_store(&v->window_sum, at, place, 0, j, s->window[j]);
    }
    for (int k = 0; k < ATTN_HEAD_STATISTICS; k++)
        attn_ref_store(&v->head_statistics, at, place, 0, k, s->statistics[k] / queries);
}

/* ---------------------------------------------------------------------------------------------
 * Views of the mean over heads
 * ------------------------------------------------------------------------------------------- */

enum step { BOTH, QUERY, KEY };

/* The cheapest way to (i, j), which is not (0, 0). */
static enum step step_to(const double *cost, int64_t n, int64_t i, int64_t j) {
    if (i == 0) return KEY;
    if (j == 0) return QUERY;
    const double both = cost[(i - 1) * n + j - 1];
    const double query = cost[(i - 1) * n + j], key = cost[i * n + j - 1];
    if (both <= query && both <= key) return BOTH;
    return query <= key ? QUERY : KEY;
}

/* cost[i][j] = -mean[j] + the least cost before it */
static void add_costs(double *cost, int64_t n, int64_t i, const double *mean) {
    for (int64_t j = 0; j < n; j++) {
        cost[i * n + j] = -mean[j];
        if (i == 0 && j == 0) continue;
        const enum step by = step_to(cost, n, i, j);
        cost[i * n + j] += cost[(by == KEY ? i : i - 1) * n + (by == QUERY ? j : j - 1)];
    }
}

/* Back from the last pair to the first. */
static void store_path(const row *r, const double *cost) {
    const attn_tensor *const path = &views_of(r)->path;
    const int64_t n = r->at.n_key;
    int64_t i = r->at.n_query - 1, j = n - 1;
    attn_ref_store(path, r->at.index, 0, i, 1, (double)j);
    while (i > 0 || j > 0) {
        const enum step by = step_to(cost, n, i, j);
        if (by != KEY) {
            attn_ref_store(path, r->at.index, 0, i, 0, (double)j);
            i--;
        }
        if (by != QUERY) j--;
        if (by != KEY) attn_ref_store(path, r->at.index, 0, i, 1, (double)j);
    }
    attn_ref_store(path, r->at.index, 0, 0, 0, 0);
}

void attn_ref_view_mean(const row *r, const double *mean, double *cost) {
    const attn_views *const v = views_of(r);
    store_row(r, 0, &v->head_mean, mean);
    if (!attn_ref_present(&v->path) || r->at.n_key == 0) return;
    add_costs(cost, r->at.n_key, r->i, mean);
    if (r->i + 1 == r->at.n_query) store_path(r, cost);
}

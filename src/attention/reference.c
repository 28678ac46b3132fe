/* reference.c: attention by the textbook. Read this file first.
 *
 * One query at a time, in float64, in three steps:
 *
 *     SCORE      s[j] = cap(scale * dot(query, key[j])) + bias[j] - slope * |p - j|
 *     WEIGH      w[j] = exp(s[j]) / (exp(sink) + sum over visible j' of exp(s[j']))
 *     AGGREGATE  output = sum over visible j of w[j] * value[j]
 *
 * That is what a plain problem asks for. Each step has a file with its other kinds, to be read in this
 * order: reference_mask.c says which keys are visible, reference_score.c has all scores,
 * reference_weigh.c all normalizers, reference_views.c what can be seen of the weights. The fast path
 * (forward.c) computes the same function on tiles; the reference shares nothing with it but the check
 * of the arguments, and is what every test compares it with.
 *
 * A key that may not be attended to has score -infinity. Nothing else is ever known about it: its
 * key is not read to score it, nor its value to aggregate it. (A visible key may come to a score of
 * -infinity too; its weight is 0, but its value counts, and 0 * NaN is NaN.)
 *
 * Accuracy, with u = 2^-53 and to first order in u. Of the visible keys let A be the greatest sum of
 * the sizes of all that is added up to make a score; for the plain one that is
 * scale * sum_c |q[c] k[j][c]| + |bias[j]| + |slope| |p - j|, and |tanh(x)| counts as 1 and the sum of
 * sizes of x. Let d be the longest chain of additions in it: the width; d_query + d_key (general), and
 * the hidden width too (concat); 2 d more for each length that it is divided by (cosine, |weight|);
 * channels and width of the filters (attn_location). Then a score is within D = (d + 10) u A of the
 * exact one: d + 3 roundings for the scaled sum, 4 for cap or tanh, 2 for other terms, 1 for the
 * difference from the largest. Gumbel noise g adds 4 u (1 + |g|); a callback's scores are rounded to
 * query's dtype. With a temperature, put D / temperature + u |z| for D. Of n keys each weight is within
 *
 *     softmax, softmax-one   w (2 D + (n + 8) u), and an output within
 *                            (2 D + (2 n + 10) u) * sum_j w[j] |v[j]|
 *     sigmoid                w (D + 4 u)
 *     relu, linear           D; relu squared: 2 sqrt(w) D + u w
 *     sparsemax              2 D + (n + 2) u: a threshold moves no further than all the scores do
 *     entmax, alpha <= 2     2 D + (n + 4) u: w = x^e has no slope above e = 1/(alpha - 1)
 *     entmax, alpha > 2      (2 (alpha - 1) D + 2 u)^e + (n + 4) u: its slope at 0 is infinite
 *     hardmax                0, if no score is within 2 D of the greatest
 *
 * and a local factor exp(-x^2 / 2) and dropout add w (2 x^2 + 6) u.
 *
 * With scores of size 100 and a million keys softmax is within 2^-31, a hundredth of what float32 can
 * tell. */
#include "attention/reference.h"

#include <math.h>
#include <stdlib.h>

#include "api/check.h"

/* ---------------------------------------------------------------------------------------------
 * Sequences and rows: who asks, and whom there is to ask
 * ------------------------------------------------------------------------------------------- */

sequence attn_ref_sequence(const attn_problem *p, int64_t index) {
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

bool attn_ref_no_row(const attn_problem *p) {
    return p->query.shape[0] == 0 || p->query.shape[1] == 0 || p->query.shape[2] == 0;
}

int64_t attn_ref_sequences(const attn_problem *p) {
    if (attn_ref_no_row(p)) return 0;
    return p->mask.query_starts != NULL ? p->mask.sequences : p->query.shape[0];
}

void attn_ref_go_to(row *r, sequence at, int64_t head, int64_t i) {
    const attn_problem *const p = r->problem;
    r->at = at;
    r->head = head;
    r->kv_head = head / (p->query.shape[1] / p->key.shape[1]);
    r->i = i;
    r->p = i + p->mask.query_offset;
    if (p->mask.alignment == ATTN_ALIGN_BOTTOM_RIGHT) r->p += at.n_key - at.n_query;
}

/* ---------------------------------------------------------------------------------------------
 * Score, weigh, aggregate
 * ------------------------------------------------------------------------------------------- */

double attn_ref_value(const row *r, int64_t j, int64_t c) {
    const attn_relative *const relative = r->problem->score.relative;
    double x = attn_ref_load(&r->problem->value, r->at.batch, r->kv_head, r->at.first_key + j, c);
    if (relative != NULL && attn_ref_present(&relative->values))
        x += attn_ref_load(&relative->values, 0, r->head,
                           attn_ref_entry(r, &relative->values, 2, j), c);
    return x;
}

/* output[c] = sum over visible j of w[j] * value[j][c] */
static double aggregate(const row *r, int64_t c) {
    double sum = 0;
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (r->visible[j]) sum += r->weight[j] * attn_ref_value(r, j, c);
    }
    return sum;
}

void attn_ref_score_and_weigh(row *r) {
    attn_ref_mask(r);
    attn_ref_score(r);
    attn_ref_weigh(r);
}

/* All three steps for one query, and its results. */
static void attend(row *r) {
    const attn_problem *const p = r->problem;
    const int64_t query = r->at.first_query + r->i;
    attn_ref_score_and_weigh(r);
    attn_ref_store(&p->lse, r->at.batch, r->head, query, 0, r->lse);
    for (int64_t j = 0; j < r->at.n_key; j++)
        attn_ref_store(&p->weights, r->at.batch, r->head, query, j, r->weight[j]);
    for (int64_t c = 0; attn_ref_present(&p->output) && c < p->value.shape[3]; c++)
        attn_ref_store(&p->output, r->at.batch, r->head, query, c, aggregate(r, c));
}

/* ---------------------------------------------------------------------------------------------
 * Heads, and views of them
 * ------------------------------------------------------------------------------------------- */

/* Room for a row and what views add up, each kept until free_room. */
typedef struct room {
    row row;
    sums sums;
    void *memory;
    double *cost; /* of each pair: for views.path alone */
} room;

static int64_t chosen_head(const attn_views *v, int64_t place) {
    return v->heads != NULL ? v->heads[place] : place;
}

int64_t attn_ref_place(const attn_problem *p, int64_t head) {
    if (p->views == NULL) return head;
    for (int64_t place = 0; place < attn_view_heads(p->views, p->query.shape[1]); place++) {
        if (chosen_head(p->views, place) == head) return place;
    }
    return -1;
}

static void attend_head(room *of, sequence at, int64_t head) {
    row *const r = &of->row;
    const int64_t place = r->problem->views != NULL ? attn_ref_place(r->problem, head) : -1;
    if (at.n_query == 0) return;
    attn_ref_begin_sums(&of->sums, at.n_key);
    for (int64_t i = 0; i < at.n_query; i++) {
        attn_ref_go_to(r, at, head, i);
        attend(r);
        if (place >= 0) attn_ref_view_row(r, place, &of->sums);
    }
    if (place >= 0) attn_ref_end_sums(r, place, &of->sums);
}

/* A second round, so that no matrix need be kept for the mean over heads. */
static void view_means(room *of, sequence at) {
    row *const r = &of->row;
    const attn_views *const v = r->problem->views;
    const int64_t heads = attn_view_heads(v, r->problem->query.shape[1]);
    double *const mean = of->sums.block; /* not in use now */
    for (int64_t i = 0; i < at.n_query && heads > 0; i++) {
        for (int64_t j = 0; j < at.n_key; j++) mean[j] = 0;
        for (int64_t place = 0; place < heads; place++) {
            attn_ref_go_to(r, at, chosen_head(v, place), i);
            attn_ref_score_and_weigh(r);
            for (int64_t j = 0; j < at.n_key; j++) mean[j] += r->weight[j];
        }
        for (int64_t j = 0; j < at.n_key; j++) mean[j] /= (double)heads;
        attn_ref_view_mean(r, mean, of->cost);
    }
}

/* ---------------------------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------------------------- */

static bool wants_means(const attn_problem *p) {
    return p->views != NULL &&
           (attn_ref_present(&p->views->head_mean) || attn_ref_present(&p->views->path));
}

/* calloc checks products; what is added keeps sizes from being 0. */
bool attn_ref_make_row(row *r, const attn_problem *p) {
    enum { PER_KEY = 9 }; /* doubles; and one bool */
    const attn_location *const location = p->score.location;
    const int64_t n_key = attn_ref_no_row(p) ? 0 : p->key.shape[2];
    const int64_t channels = location != NULL ? location->filters.shape[2] : 0;
    double *x = calloc((size_t)n_key + (size_t)channels + 1, PER_KEY * sizeof *x + sizeof(bool));
    *r = (row){.problem = p, .memory = x};
    if (x == NULL) return false;
    double **const parts[PER_KEY] = {&r->raw,   &r->capped, &r->given,  &r->score, &r->z,
                                     &r->plain, &r->factor, &r->weight, &r->spare};
    for (int k = 0; k < PER_KEY; k++, x += n_key) *parts[k] = x;
    r->features = x;
    r->visible = (bool *)(x + channels);
    return true;
}

void attn_ref_free_row(row *r) {
    free(r->memory);
}

static void free_room(room *of) {
    attn_ref_free_row(&of->row);
    free(of->memory);
    free(of->cost);
}

static bool make_room(room *of, const attn_problem *p) {
    const size_t n_key = attn_ref_no_row(p) ? 0 : (size_t)p->key.shape[2];
    const bool path = p->views != NULL && attn_ref_present(&p->views->path) && !attn_ref_no_row(p);
    sums *const s = &of->sums;
    double **const parts[] = {&s->received, &s->greatest, &s->window, &s->block};
    double *x = calloc(n_key + 1, sizeof parts / sizeof *parts * sizeof *x);
    *of = (room){.memory = x};
    for (size_t k = 0; x != NULL && k < sizeof parts / sizeof *parts; k++, x += n_key)
        *parts[k] = x;
    if (path) of->cost = calloc((size_t)p->query.shape[2], (n_key + 1) * sizeof *x);
    if (attn_ref_make_row(&of->row, p) && of->memory != NULL && (!path || of->cost != NULL))
        return true;
    free_room(of);
    return false;
}

/* What padding, and rows that no sequence owns, are to hold: the loops pass them by. */
static void fill_results(const attn_problem *p) {
    attn_ref_fill(&p->output, 0);
    attn_ref_fill(&p->lse, -INFINITY);
    attn_ref_fill(&p->weights, 0);
    if (p->views != NULL) attn_ref_fill_views(p->views);
}

attn_status attn_reference_forward(const attn_problem *problem) {
    room of;
    const attn_status status = attn_check_problem(problem);
    if (status != ATTN_OK) return status;
    if (!make_room(&of, problem))
        return attn_fail(ATTN_ERROR_MEMORY, "no memory for a row of %lld keys",
                         (long long)problem->key.shape[2]);

    fill_results(problem);
    for (int64_t index = 0; index < attn_ref_sequences(problem); index++) {
        const sequence at = attn_ref_sequence(problem, index);
        for (int64_t head = 0; head < problem->query.shape[1]; head++) attend_head(&of, at, head);
        if (wants_means(problem)) view_means(&of, at);
    }
    free_room(&of);
    return ATTN_OK;
}

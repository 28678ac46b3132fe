/* sample_terms.c: what the kinds of score need, and what else joins scores and weights. */
#include "sample.h"

#include <math.h>

bool has_hidden(attn_score_kind kind) {
    return kind == ATTN_SCORE_ADDITIVE || kind == ATTN_SCORE_CONCAT;
}

/* ---------------------------------------------------------------------------------------------
 * Scores
 * ------------------------------------------------------------------------------------------- */

/* [1, heads or 1, rows, columns], whose numbers make sums over a row of size `spread`. */
static attn_tensor head_tensor(sample *s, int64_t rows, int64_t columns, uint64_t seed,
                               double spread, stream *from) {
    const int64_t shape[4] = {1, draw_one_in(from, 3) ? 1 : s->spec.heads, rows, columns};
    const attn_tensor t = sample_tensor(s, s->spec.dtype, shape, false, from);
    fill_normal(&t, s->spec.seed + seed, spread / sqrt((double)columns + 1));
    return t;
}

static void make_weights(sample *s, stream *from) {
    attn_score *const score = &s->problem.score;
    const int64_t d = s->spec.d, d_key = s->problem.key.shape[3];
    const int64_t hidden = s->spec.kind == ATTN_SCORE_CONCAT ? draw(from, 1, 20) : d;
    score->kind = s->spec.kind;
    if (score->kind == ATTN_SCORE_GENERAL) score->weight = head_tensor(s, d, d_key, 11, 1, from);
    if (score->kind == ATTN_SCORE_LOCATION)
        score->weight = head_tensor(s, longest_slot(s, true) + draw(from, 0, 3), d, 11, 1, from);
    if (!has_hidden(score->kind)) return;
    score->weight = head_tensor(s, 1, hidden, 11, 3, from);
    score->normalize_weight = has_term(s, TERM_UNIT_WEIGHT) && hidden > 0;
    if (score->kind == ATTN_SCORE_CONCAT)
        score->projection = head_tensor(s, hidden, d + d_key, 12, 2, from);
    if (has_term(s, TERM_OFFSET)) score->offset = head_tensor(s, 1, hidden, 13, 2, from);
}

static void make_relative(sample *s, stream *from) {
    attn_relative *const r = &s->relative;
    const bool dot = s->spec.kind == ATTN_SCORE_DOT;
    const int64_t n = 2 * draw(from, 2, 9), d = s->spec.d;
    if (has_term(s, TERM_T5)) r->buckets = ATTN_BUCKETS_T5;
    if (has_term(s, TERM_T5_CAUSAL)) r->buckets = ATTN_BUCKETS_T5_CAUSAL;
    if (r->buckets == ATTN_BUCKETS_CLIPPED) r->origin = draw(from, 0, n - 1);
    else if (draw_one_in(from, 2)) r->max_distance = draw(from, n / 2 + 1, 60);
    if (has_term(s, TERM_RELATIVE_BIAS)) r->bias = head_tensor(s, 1, n, 14, 2, from);
    if (has_term(s, TERM_RELATIVE_VALUES))
        r->values = head_tensor(s, n, s->spec.d_value, 15, 2, from);
    if (dot && has_term(s, TERM_RELATIVE_KEYS | TERM_POSITION_BIAS))
        r->keys = head_tensor(s, n, d, 16, 1, from);
    if (dot && has_term(s, TERM_RELATIVE_QUERIES)) r->queries = head_tensor(s, n, d, 17, 1, from);
    if (dot && has_term(s, TERM_CONTENT_BIAS)) r->content_bias = head_tensor(s, 1, d, 18, 1, from);
    if (dot && has_term(s, TERM_POSITION_BIAS))
        r->position_bias = head_tensor(s, 1, d, 19, 1, from);
    s->problem.score.relative = r;
}

static void make_location(sample *s, stream *from) {
    attn_location *const l = &s->location;
    const int64_t hidden = s->problem.score.weight.shape[3];
    const int64_t channels = draw(from, 1, 5), width = 2 * draw(from, 0, 6) + 1;
    const int64_t shape[4] = {
        draw_one_in(from, 3) ? 1 : s->sequences, draw_one_in(from, 3) ? 1 : s->spec.heads,
        draw_one_in(from, 3) ? 1 : longest_slot(s, false), longest_slot(s, true)};
    l->previous = sample_tensor(s, s->spec.dtype, shape, false, from);
    fill_normal(&l->previous, s->spec.seed + 20, 0.5);
    l->filters = head_tensor(s, channels, width, 21, 2, from);
    l->projection = head_tensor(s, hidden, channels, 22, 2, from);
    s->problem.score.location = l;
}

static void make_scales(sample *s, stream *from) {
    const int64_t shape[4] = {draw_one_in(from, 2) ? 1 : s->sequences,
                              draw_one_in(from, 2) ? 1 : s->spec.heads, 1, 1};
    s->problem.score.scales = sample_tensor(s, s->spec.dtype, shape, false, from);
    fill_normal(&s->problem.score.scales, s->spec.seed + 23, 1);
}

/* ---------------------------------------------------------------------------------------------
 * Normalizers
 * ------------------------------------------------------------------------------------------- */

static void make_local(sample *s, stream *from) {
    attn_local *const l = &s->local;
    const spec *const w = &s->spec;
    static const double sigmas[] = {0, INFINITY, 0.75, 6};
    l->half_width = 0.5 * (double)draw(from, 1, w->n_key + 4);
    l->sigma = sigmas[draw(from, 0, COUNT(sigmas) - 1)];
    s->problem.normalizer.local = l;
    if (!has_term(s, TERM_CENTERS)) return;
    const int64_t shape[4] = {draw_one_in(from, 3) ? 1 : w->batch,
                              draw_one_in(from, 3) ? 1 : w->heads,
                              draw_one_in(from, 3) ? 1 : w->n_query, 1};
    l->centers = sample_tensor(s, w->dtype, shape, false, from);
    for (int64_t x[4] = {0}; index_inside(x, shape); index_next(x, shape)) {
        const double at = (double)draw(from, -20, 20 * w->n_key + 20) / 20;
        set_element(&l->centers, x[0], x[1], x[2], x[3], at + 1e-3 * (double)draw(from, -9, 9));
    }
}

static void make_normalizer(sample *s, stream *from) {
    static const double temperatures[] = {0.5, 1.75, 3, 0.8};
    attn_normalizer *const n = &s->problem.normalizer;
    n->kind = s->spec.normalizer;
    n->alpha = n->kind == ATTN_ENTMAX ? s->spec.alpha : 0;
    n->bias = n->kind == ATTN_SIGMOID ? 0.25 * (double)draw(from, -8, 8) : 0;
    n->seed = random_bits(s->spec.seed, 24);
    n->gumbel = has_term(s, TERM_GUMBEL);
    if (has_term(s, TERM_TEMPERATURE)) n->temperature = temperatures[draw(from, 0, 3)];
    if (has_term(s, TERM_DROPOUT)) n->dropout = 0.1 * (double)draw(from, 1, 9);
    if (has_term(s, TERM_LOCAL | TERM_CENTERS)) make_local(s, from);
}

void sample_make_terms(sample *s, stream *from) {
    attn_problem *const p = &s->problem;
    make_weights(s, from);
    if (has_term(s, RELATIVE_TERMS)) make_relative(s, from);
    if (has_term(s, TERM_LOCATION) && has_hidden(s->spec.kind)) make_location(s, from);
    if (has_term(s, TERM_SCALES)) make_scales(s, from);
    if (has_term(s, TERM_SCORE_CALL)) p->score.callback = nudge_scores;
    if (has_term(s, TERM_CURVE_CALL)) p->score.callback = curve_scores;
    if (has_term(s, TERM_MASK_CALL)) p->mask.callback = hide_pairs;
    make_normalizer(s, from);
}

/* ---------------------------------------------------------------------------------------------
 * Callbacks
 * ------------------------------------------------------------------------------------------- */

static int64_t pair_offset(const attn_pairs *pairs, int r, int c) {
    return r * pairs->row_stride + c * pairs->key_stride;
}

double pair_element(const attn_pairs *pairs, int r, int c) {
    const int64_t at = pair_offset(pairs, r, c);
    return pairs->dtype == ATTN_F32 ? (double)((const float *)pairs->data)[at]
                                    : ((const double *)pairs->data)[at];
}

void set_pair_element(const attn_pairs *pairs, int r, int c, double x) {
    const int64_t at = pair_offset(pairs, r, c);
    if (pairs->dtype == ATTN_F32) ((float *)pairs->data)[at] = (float)x;
    else ((double *)pairs->data)[at] = x;
}

void nudge_scores(void *user, const attn_pairs *pairs) {
    (void)user;
    for (int r = 0; r < pairs->rows; r++) {
        for (int c = 0; c < pairs->keys; c++) {
            const int64_t place =
                7 * (pairs->key + c) + 3 * (pairs->query + r) + pairs->head + 2 * pairs->sequence;
            set_pair_element(pairs, r, c,
                             pair_element(pairs, r, c) + 0.25 * (double)(place % 9 - 4));
        }
    }
}

void curve_scores(void *user, const attn_pairs *pairs) {
    (void)user;
    for (int r = 0; r < pairs->rows; r++) {
        for (int c = 0; c < pairs->keys; c++) {
            const double s = pair_element(pairs, r, c);
            set_pair_element(pairs, r, c, s + s * s / 8);
        }
    }
}

void hide_pairs(void *user, const attn_pairs *pairs) {
    (void)user;
    for (int r = 0; r < pairs->rows; r++) {
        for (int c = 0; c < pairs->keys; c++) {
            const int64_t place =
                pairs->key + c + 2 * (pairs->query + r) + 3 * pairs->head + pairs->sequence;
            if (place % 5 == 0) set_pair_element(pairs, r, c, -INFINITY);
        }
    }
}

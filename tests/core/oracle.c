/* oracle.c: what the reference says of a sample, and whether results are near enough to it. How near
 * that is, oracle_score.c and oracle_weigh.c derive; oracle_views.c for views. */
#include "oracle.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tiles/table.h"

/* ---------------------------------------------------------------------------------------------
 * What the reference says
 * ------------------------------------------------------------------------------------------- */

static attn_tensor own(oracle *o, attn_tensor t) {
    if (o->owned_count == COUNT(o->owned)) fail_msg("the oracle owns too much");
    o->owned[o->owned_count++] = t.data;
    return t;
}

static void widen(oracle *o, attn_tensor *t) {
    if (t->data == NULL) return;
    *t = own(o, tensor_copy(t, t->dtype == ATTN_BOOL ? ATTN_BOOL : ATTN_F64));
}

/* [batch, heads, n_query, width], zeros */
static attn_tensor per_query(oracle *o, int64_t width) {
    const int64_t *const q = o->problem.query.shape;
    const size_t elements = (size_t)q[0] * (size_t)q[1] * (size_t)q[2] * (size_t)width;
    double *const data = calloc(elements + 1, sizeof *data);
    if (data == NULL) fail_msg("no memory for an oracle of %zu elements", elements);
    return own(o, attn_tensor_f64(data, q[0], q[1], q[2], width));
}

static void widen_score(oracle *o) {
    attn_score *const score = &o->problem.score;
    attn_tensor *const own_tensors[] = {&score->bias,   &score->alibi_slopes, &score->sinks,
                                        &score->scales, &score->weight,       &score->projection,
                                        &score->offset};
    for (size_t k = 0; k < COUNT(own_tensors); k++) widen(o, own_tensors[k]);
    if (score->relative != NULL) {
        attn_relative *const r = &o->relative;
        *r = *score->relative;
        attn_tensor *const tables[] = {&r->bias,   &r->keys,         &r->queries,
                                       &r->values, &r->content_bias, &r->position_bias};
        for (size_t k = 0; k < COUNT(tables); k++) widen(o, tables[k]);
        score->relative = r;
    }
    if (score->location != NULL) {
        attn_location *const l = &o->location;
        *l = *score->location;
        widen(o, &l->previous), widen(o, &l->filters), widen(o, &l->projection);
        score->location = l;
    }
    if (o->problem.normalizer.local != NULL) {
        o->local = *o->problem.normalizer.local;
        widen(o, &o->local.centers);
        o->problem.normalizer.local = &o->local;
    }
}

/* Same shapes, in float64 and int64. */
static void widen_views(oracle *o, const attn_views *of) {
    o->views = *of;
    for (int view = 0; view < VIEWS; view++) {
        attn_tensor *const t = view_of(&o->views, view);
        if (t->data == NULL) continue;
        const bool indices = t->dtype == ATTN_I32 || t->dtype == ATTN_I64;
        t->data = calloc(tensor_elements(t) + 1, sizeof(double));
        *t = own(o, attn_tensor_dense(t->data, indices ? ATTN_I64 : ATTN_F64, t->shape[0],
                                      t->shape[1], t->shape[2], t->shape[3]));
    }
    o->problem.views = &o->views;
}

static void ask_reference(const attn_problem *p) {
    if (attn_reference_forward(p) != ATTN_OK) fail_msg("the reference: %s", attn_error_message());
}

/* All scores, and weights before local factors and dropout: the mask of attn_local stays. */
static void find_plain(oracle *o, int64_t columns) {
    attn_problem p = o->problem;
    attn_local window = o->local;
    o->plain = per_query(o, columns);
    window.sigma = INFINITY;
    if (p.normalizer.local != NULL) p.normalizer.local = &window;
    p.normalizer.dropout = 0;
    p.output = (attn_tensor){0};
    p.weights = o->plain;
    p.views = &o->all;
    ask_reference(&p);
}

/* ---------------------------------------------------------------------------------------------
 * Rows
 * ------------------------------------------------------------------------------------------- */

double row_at(const row *r, const attn_tensor *t, int64_t j) {
    return at(t, r->at->batch, r->head, r->at->first_query + r->i, j);
}

int64_t position_of(const attn_problem *p, const stretch *where, int64_t i) {
    const bool last = p->mask.alignment == ATTN_ALIGN_BOTTOM_RIGHT;
    return i + p->mask.query_offset + (last ? where->n_key - where->n_query : 0);
}

row row_of(const sample *s, const oracle *o, const stretch *where, int64_t h, int64_t i, double *z,
           double *error) {
    row r = {.o = o, .at = where, .sequence = where - s->stretches, .head = h};
    const int64_t n = where->n_key;
    const int64_t blocks = n / ATTN_KEY_BLOCK + 1;
    const int64_t added = n <= ATTN_KEY_BLOCK ? n : ATTN_KEY_BLOCK + blocks;
    const bool single = s->spec.dtype == ATTN_F32;
    r.kv_head = h / (s->spec.heads / s->spec.kv_heads);
    r.i = i - where->first_query;
    r.position = position_of(&s->problem, where, r.i);
    r.z = z;
    r.error = error;
    r.u = (single ? 0x1p-24 : 0x1p-53) + 0x1p-53;
    r.tiny = single ? 0x1p-126 : 0x1p-1022;
    r.k = (double)(added + 6 * blocks + 16);
    return r;
}

static void put(const row *r, const attn_tensor *t, int64_t j, double x) {
    set_element(t, r->at->batch, r->head, r->at->first_query + r->i, j, x);
}

/* z and its error; a hidden key's score is -infinity, exactly. */
static void measure_scores(const row *r) {
    const attn_normalizer *const how = &r->o->problem.normalizer;
    const double temperature = how->temperature > 0 ? how->temperature : 1;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        const double score = row_at(r, &r->o->all.scores, j);
        const score_errors off = score == -INFINITY ? (score_errors){0} : score_errors_of(r, j);
        r->z[j] = score / temperature;
        r->error[j] = r->u * off.score / temperature;
        put(r, &r->o->raw_error, j, r->u * off.raw);
        put(r, &r->o->score_error, j, r->u * off.score);
    }
}

static void measure_row(row *r, double *bound) {
    measure_scores(r);
    bound_weights(r, bound);
    for (int64_t j = 0; j < r->at->n_key; j++) put(r, &r->o->weight_error, j, bound[j]);
    put(r, &r->o->spoilt, 0, r->spoilt);
    put(r, &r->o->lse_error, 0, lse_bound(r));
}

static void measure(oracle *o, const sample *s, int64_t columns) {
    double *const room = calloc((size_t)s->spec.n_key + 1, 3 * sizeof *room);
    assert_non_null(room);
    o->raw_error = per_query(o, columns);
    o->score_error = per_query(o, columns);
    o->weight_error = per_query(o, columns);
    o->spoilt = per_query(o, 1);
    o->lse_error = per_query(o, 1);
    for (int64_t b = 0; b < s->spec.batch; b++) {
        for (int64_t h = 0; h < s->spec.heads; h++) {
            for (int64_t i = 0; i < s->spec.n_query; i++) {
                const stretch *const where = stretch_of(s, b, i);
                if (where == NULL) continue;
                row r = row_of(s, o, where, h, i, room, room + s->spec.n_key);
                measure_row(&r, room + 2 * s->spec.n_key);
            }
        }
    }
    free(room);
}

void oracle_make(oracle *o, const sample *s) {
    attn_problem *const p = &o->problem;
    *o = (oracle){.problem = s->problem};
    const int64_t columns =
        s->problem.weights.data ? s->problem.weights.shape[3] : s->problem.key.shape[2];
    widen(o, &p->query), widen(o, &p->key), widen(o, &p->value), widen(o, &p->mask.allowed);
    widen_score(o);
    p->views = NULL;
    p->output = per_query(o, p->value.shape[3]);
    p->weights = per_query(o, columns);
    p->lse = p->normalizer.kind <= ATTN_SOFTMAX_ONE ? per_query(o, 1) : (attn_tensor){0};
    o->all.raw_scores = per_query(o, columns);
    o->all.scores = per_query(o, columns);
    if (s->problem.views == NULL && p->normalizer.local == NULL && p->normalizer.dropout == 0) {
        p->views = &o->all; /* one question will do */
        o->plain = p->weights;
    } else {
        find_plain(o, columns);
        if (s->problem.views != NULL) widen_views(o, s->problem.views);
    }
    ask_reference(p);
    if (p->lse.data == NULL) p->lse = per_query(o, 1); /* zeros, which nobody compares with */
    measure(o, s, columns);
}

void oracle_free(oracle *o) {
    for (int k = 0; k < o->owned_count; k++) free(o->owned[k]);
    o->owned_count = 0;
}

/* ---------------------------------------------------------------------------------------------
 * Comparing
 * ------------------------------------------------------------------------------------------- */

static double share_of_bound;

double largest_share_of_bound(void) {
    return share_of_bound;
}

void assert_within(const sample *s, attn_isa isa, const char *what, const int64_t x[4],
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

/* One row of each result; r NULL: a row of padding, which is exact. */
static double bound_of(const row *r, int result, int64_t j) {
    if (r == NULL) return 0;
    if (result == 0) return output_bound(r, j);
    if (result == 1) return row_at(r, &r->o->lse_error, 0);
    return j < r->at->n_key ? row_at(r, &r->o->weight_error, j) : 0;
}

static void compare_row(const sample *s, const oracle *o, attn_isa isa, const row *r, int64_t b,
                        int64_t h, int64_t i) {
    const attn_problem *const p = &s->problem, *const q = &o->problem;
    const struct {
        const char *name;
        const attn_tensor *result, *expected;
    } all[] = {{"output", &p->output, &q->output},
               {"lse", &p->lse, &q->lse},
               {"weights", &p->weights, &q->weights}};
    for (int k = 0; k < (int)COUNT(all); k++) {
        for (int64_t j = 0; all[k].result->data && j < all[k].result->shape[3]; j++)
            assert_within(s, isa, all[k].name, (const int64_t[4]){b, h, i, j},
                          element(all[k].result, b, h, i, j), at(all[k].expected, b, h, i, j),
                          bound_of(r, k, j));
    }
}

void assert_close(const sample *s, const oracle *o, attn_isa isa) {
    for (int64_t b = 0; b < s->spec.batch; b++) {
        for (int64_t h = 0; h < s->spec.heads; h++) {
            for (int64_t i = 0; i < s->spec.n_query; i++) {
                const stretch *const where = stretch_of(s, b, i);
                row r;
                if (where != NULL) r = row_of(s, o, where, h, i, NULL, NULL);
                if (where != NULL && row_at(&r, &o->spoilt, 0) >= 0.25)
                    fail_msg("%s\nthe bound says nothing here", sample_text(s, isa));
                compare_row(s, o, isa, where != NULL ? &r : NULL, b, h, i);
            }
        }
    }
    if (s->problem.views != NULL) assert_views_close(s, o, isa);
}

double bound_at(const sample *s, const oracle *o, const int64_t x[4]) {
    const stretch *const where = stretch_of(s, x[0], x[2]);
    assert_non_null(where);
    const row r = row_of(s, o, where, x[1], x[2], NULL, NULL);
    return output_bound(&r, x[3]);
}

double mixed_bound(const sample *s, const oracle *o, const int64_t x[4]) {
    const stretch *const where = stretch_of(s, x[0], x[2]);
    double sizes = 0;
    assert_non_null(where);
    const row r = row_of(s, o, where, x[1], x[2], NULL, NULL);
    for (int64_t j = 0; j < where->n_key; j++) {
        sizes += row_at(&r, &o->problem.weights, j) *
                 fabs(at(&o->problem.value, x[0], r.kv_head, where->first_key + j, x[3]));
    }
    return bound_at(s, o, x) + (sizes > 0 ? row_at(&r, &o->lse_error, 0) * sizes : 0);
}

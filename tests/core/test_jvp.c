/* test_jvp.c: attn_jvp against the reference in float64, over lengths, widths, rules, terms, strides and
 * types, on each instruction set; and against attn_backward.
 *
 * How far a result may be off, to first order in u. About one query; j counts its visible keys, p[j] are
 * the exact weights before dropout, z[j] their scores over the temperature T, off by D[j], and the
 * log-sum-exp is off by L (oracle_score.c, oracle_weigh.c), K as there.
 *
 * WEIGHTS are exp2(factor * score - base), where base is the log-sum-exp times log2(e): two roundings of
 * it; the factor's rounding is 1 u of z, the fused multiply-add's 1 u of the difference, exp2's own 4.5 u:
 *
 *     B[j] = p[j] (exp(D[j] + L + u (2 |lse| + |z[j]| + |z[j] - lse|)) - 1 + 4.5 u) + tiny
 *
 * CHANGES of scores t[j] are two dot products, of sizes A = |scale/T| sum(|t_query key| + |query t_key|)
 * together. A factor is rounded and multiplied in, d products are summed, and both sums added: d + 3. The
 * soft cap c multiplies them by a slope 1 - x^2, x = tanh(raw/c): x is off by slope * (raw's error)/c and
 * 9 u of itself (softcap 7, the quotient 2), so the slope by twice |x| times that, and 2 u. The bias's
 * change takes a factor and a sum. With b = |t_bias|/T:
 *
 *     E[j] = A ((d + 8) u slope + 2 |x| (slope raw_error/c + 9 u |x|) + 2 u) + 4 u b
 *
 * SUMS. Products p t add up within K + 2; hence t_lse is off by
 *
 *     M = sum_j B |t| + (p + B) (E + (|t| + E) (K + 2) u)
 *
 * and a weight's change f p (t - t_lse), f the factor of dropout (2 u with it), by
 *
 *     f ((p + B) (E + M + 4 u (|t - t_lse| + E + M)) + B |t - t_lse|) + tiny
 *
 * OUTPUT. Both AGGREGATEs go into one sum, so that 2 K replaces K; t_lse times the output o, off by O,
 * is taken from it, which rounds thrice:
 *
 *     sum_j f |v| (B |t| + (p + B) (E + (|t| + E) (2 K + 8) u)) + f |t_v| (B + (p + B) (2 K + 8) u)
 *         + M (|o| + O) + |t_lse| O + 3 u (|t_lse| + M) (|o| + O) + tiny */
#include "changes.h"
#include "sample_gradients.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------- bounds */

/* Of one pair: exact numbers and how far off they may be. */
typedef struct pair {
    double p, t, factor; /* factor of dropout */
    double b, e;
    double size, slope_off; /* of t, and of its slope */
} pair;

static double product_sizes(const changes *t, const row *r, int64_t j) {
    const attn_problem *const p = &t->o.problem;
    const int64_t b = r->at->batch, i = r->at->first_query + r->i, k = r->at->first_key + j;
    double sum = 0;
    for (int64_t c = 0; c < p->query.shape[3]; c++) {
        if (t->exact.query.data)
            sum += fabs(at(&t->exact.query, b, r->head, i, c) * at(&p->key, b, r->kv_head, k, c));
        if (t->exact.key.data)
            sum += fabs(at(&p->query, b, r->head, i, c) * at(&t->exact.key, b, r->kv_head, k, c));
    }
    return sum;
}

static double products(const changes *t, const row *r, int64_t j) {
    const attn_problem *const p = &t->o.problem;
    const int64_t b = r->at->batch, i = r->at->first_query + r->i, k = r->at->first_key + j;
    double sum = 0;
    for (int64_t c = 0; c < p->query.shape[3]; c++) {
        if (t->exact.query.data)
            sum += at(&t->exact.query, b, r->head, i, c) * at(&p->key, b, r->kv_head, k, c);
        if (t->exact.key.data)
            sum += at(&p->query, b, r->head, i, c) * at(&t->exact.key, b, r->kv_head, k, c);
    }
    return sum;
}

static double temperature_of(const changes *t) {
    const double set = t->o.problem.normalizer.temperature;
    return set > 0 ? set : 1;
}

/* scale/T of a head. */
static double factor_of(const changes *t, const row *r) {
    const attn_problem *const p = &t->o.problem;
    const double d = (double)(p->query.shape[3] > 0 ? p->query.shape[3] : 1);
    const double scale = p->score.scale != 0 ? p->score.scale : 1 / sqrt(d);
    const double gain = p->score.scales.data ? at(&p->score.scales, r->sequence, r->head, 0, 0) : 1;
    return scale * gain / temperature_of(t);
}

static void change_of(const changes *t, const row *r, int64_t j, pair *x) {
    const attn_problem *const p = &t->o.problem;
    const double a = fabs(factor_of(t, r)) * product_sizes(t, r, j), cap = p->score.softcap;
    const double bias = t->exact.bias.data
                            ? at(&t->exact.bias, r->sequence, r->head, r->i, j) / temperature_of(t)
                            : 0;
    double slope = 1;
    x->slope_off = 0;
    if (cap > 0) {
        const double capped = tanh(row_at(r, &t->o.all.raw_scores, j) / cap);
        slope = 1 - capped * capped;
        x->slope_off = 2 * fabs(capped) *
                           (slope * row_at(r, &t->o.raw_error, j) / cap + 9 * r->u * fabs(capped)) +
                       2 * r->u;
    }
    x->t = factor_of(t, r) * slope * products(t, r, j) + bias;
    x->e =
        a * (((double)p->query.shape[3] + 8) * r->u * slope + x->slope_off) + 4 * r->u * fabs(bias);
    x->size = a + fabs(bias);
}

/* False: hidden. */
static bool pair_of(const changes *t, const row *r, int64_t j, pair *x) {
    const double score = row_at(r, &t->o.all.scores, j), z = score / temperature_of(t);
    const double lse = row_at(r, &t->o.problem.lse, 0), chance = t->o.problem.normalizer.dropout;
    if (score == -INFINITY) return false;
    x->p = row_at(r, &t->o.plain, j);
    const bool dropped = x->p > 0 && row_at(r, &t->o.problem.weights, j) == 0;
    x->factor = dropped ? 0 : 1 / (1 - chance);
    const double off = row_at(r, &t->o.score_error, j) / temperature_of(t) +
                       row_at(r, &t->o.lse_error, 0) +
                       r->u * (2 * fabs(lse) + fabs(z) + fabs(z - lse));
    x->b = x->p * (expm1(off) + 4.5 * r->u) + r->tiny;
    change_of(t, r, j, x);
    return true;
}

/* Of t_lse. */
static double mean_bound(const changes *t, const row *r) {
    double sum = r->tiny;
    pair x;
    for (int64_t j = 0; j < r->at->n_key; j++) {
        if (!pair_of(t, r, j, &x)) continue;
        sum += x.b * fabs(x.t) + (x.p + x.b) * (x.e + (fabs(x.t) + x.e) * (r->k + 2) * r->u);
    }
    return sum;
}

static double weight_bound(const changes *t, const row *r, int64_t j, double mean, double m) {
    pair x;
    if (j >= r->at->n_key || !pair_of(t, r, j, &x)) return 0;
    const double apart = fabs(x.t - mean), off = x.e + m;
    return x.factor * ((x.p + x.b) * (off + 4 * r->u * (apart + off)) + x.b * apart + r->tiny);
}

/* What the sums of one query's output are off by, for every column. */
static void bound_outputs(const changes *t, const row *r, double mean, double m, double *bound) {
    const attn_problem *const p = &t->o.problem;
    const double sums = (2 * r->k + 8) * r->u;
    const int64_t width = p->value.shape[3], b = r->at->batch;
    for (int64_t c = 0; c < width; c++) {
        const double o = fabs(row_at(r, &p->output, c)), off = output_bound(r, c);
        bound[c] =
            m * (o + off) + fabs(mean) * off + 3 * r->u * (fabs(mean) + m) * (o + off) + r->tiny;
    }
    for (int64_t j = 0; j < r->at->n_key; j++) {
        pair x;
        if (!pair_of(t, r, j, &x)) continue;
        const double of_value =
            x.b * fabs(x.t) + (x.p + x.b) * (x.e + (fabs(x.t) + x.e) * sums) + r->tiny;
        const double of_change = x.b + (x.p + x.b) * sums;
        for (int64_t c = 0; c < width; c++) {
            const int64_t k = r->at->first_key + j;
            bound[c] += x.factor * of_value * fabs(at(&p->value, b, r->kv_head, k, c));
            if (t->exact.value.data)
                bound[c] += x.factor * of_change * fabs(at(&t->exact.value, b, r->kv_head, k, c));
        }
    }
}

/* ---------------------------------------------------------------------------------- comparing */

/* where NULL: padding, which is 0 exactly. */
static void compare_row(changes *t, attn_isa isa, const stretch *where, const int64_t x[4],
                        double *room) {
    double mean = 0, m = 0;
    row r;
    if (where) {
        r = row_of(&t->s, &t->o, where, x[1], x[2], NULL, NULL);
        if (row_at(&r, &t->o.spoilt, 0) >= 0.25)
            fail_msg("%s\nthe bound says nothing here", sample_text(&t->s, isa));
        mean = row_at(&r, &t->exact.lse, 0);
        m = mean_bound(t, &r);
        bound_outputs(t, &r, mean, m, room);
    }
    for (int k = 0; k < CHANGED_RESULTS; k++) {
        const attn_tensor *const result = result_change(&t->given, k);
        for (int64_t j = 0; j < result->shape[3]; j++) {
            const int64_t y[4] = {x[0], x[1], x[2], j};
            const double bound = !where   ? 0
                                 : k == 0 ? room[j]
                                 : k == 1 ? m
                                          : weight_bound(t, &r, j, mean, m);
            assert_within(&t->s, isa, result_change_names[k], y,
                          element(result, x[0], x[1], x[2], j),
                          at(result_change(&t->exact, k), x[0], x[1], x[2], j), bound);
        }
    }
}

static void assert_gaps_poisoned(changes *t) {
    for (int k = 0; k < CHANGED_RESULTS; k++) {
        const attn_tensor *const to = result_change(&t->given, k);
        for (int64_t x[4] = {0}; index_inside(x, to->shape); index_next(x, to->shape))
            memset(element_address(to, x), POISON, dtype_size(to->dtype));
    }
    assert_results_untouched(&t->s);
}

static void check_with(const target *on, const spec *what, unsigned with) {
    changes t;
    changes_make(&t, on, what, with);
    run_jvp(on->context, &t.s.problem, &t.given, sample_text(&t.s, on->isa));
    changes_ask_oracle(&t);
    double *const room = calloc((size_t)what->d_value + 1, sizeof *room);
    assert_non_null(room);
    for (int64_t b = 0; b < t.s.spec.batch; b++)
        for (int64_t h = 0; h < what->heads; h++)
            for (int64_t i = 0; i < what->n_query; i++)
                compare_row(&t, on->isa, stretch_of(&t.s, b, i), (int64_t[4]){b, h, i}, room);
    assert_gaps_poisoned(&t);
    free(room);
    changes_free(&t);
}

/* Which inputs change, and which results of the forward are at hand, goes round. */
static void check_spec(void **state, const spec *what) {
    static const unsigned which[] = {WITH_ALL, WITH_ALL & ~WITH_KEY, WITH_KEY | WITH_VALUE,
                                     WITH_QUERY, WITH_BIAS | WITH_VALUE};
    spec of = *what;
    of.results = (unsigned)(what->seed % 4);
    check_with(*state, &of, which[what->seed / 4 % COUNT(which)]);
}

/* --------------------------------------------------------------------------------- the grid */

/* Lengths about every vector, register tile, query block and key block there may be. */
static void all_lengths(void **state) {
    static const int64_t lengths[] = {0,  1,  2,  3,  4,  7,   8,   9,   15,  16, 17,
                                      31, 33, 63, 64, 65, 129, 191, 192, 193, 385};
    for (size_t q = 0; q < COUNT(lengths); q++) {
        for (size_t k = q % (size_t)grid_size(5, 1); k < COUNT(lengths);
             k += (size_t)grid_size(5, 1)) {
            spec what = plain_changes(101 * q + 3 * k);
            what.n_query = lengths[q];
            what.n_key = lengths[k];
            what.heads = 1;
            what.d = 1 + (int64_t)(q % 5);
            what.d_value = 1 + (int64_t)(k % 7);
            what.rules = (q + k) % 3 == 0 ? RULE_CAUSAL : 0;
            check_spec(state, &what);
        }
    }
}

static void all_widths(void **state) {
    static const int64_t few_or_many[] = {1, 8, 9, 66};
    const size_t step = (size_t)grid_size(3, 1);
    for (int64_t d = 0; d <= 132; d += d < 20 ? 1 : grid_size(7, 1)) {
        for (size_t q = (size_t)d % step; q < COUNT(few_or_many); q += step) {
            spec what = plain_changes((uint64_t)(5 * d) + 3 * q);
            what.n_query = few_or_many[q];
            what.n_key = 7 + d % 13;
            what.d = d;
            what.d_value = 132 - d;
            check_spec(state, &what);
        }
    }
}

/* Each rule alone and each two together, with few queries and with many. */
static void all_pairs_of_rules(void **state) {
    for (unsigned a = 0; a < RULES; a++) {
        for (unsigned b = a; b < RULES; b++) {
            spec what = plain_changes(1000 + 17 * a + b);
            what.batch = 2;
            what.heads = grid_size(2, 4);
            what.kv_heads = grid_size(1, 2);
            what.rules = 1u << a | 1u << b;
            what.layout = (layout)((a + b) % LAYOUTS);
            what.n_query = grid_size(18, 37);
            what.n_key = grid_size(27, 45);
            check_spec(state, &what);
            what.n_query = 1 + (a + b) % 8;
            what.n_key = grid_size(66, 120);
            check_spec(state, &what);
        }
    }
}

/* Each term alone, with each rule. */
static void all_terms(void **state) {
    for (unsigned term = 1; term < ALL_TERMS; term <<= 1) {
        for (unsigned rule = 0; rule < RULES && term & JVP_TERMS; rule++) {
            spec what = plain_changes(3000 + 41 * rule + term % 37);
            what.rules = 1u << rule;
            what.terms = term;
            what.normalizer = rule % 3 ? ATTN_SOFTMAX : ATTN_SOFTMAX_ONE;
            what.n_query = rule % 2 ? 5 : 71;
            what.n_key = grid_size(70, 210);
            check_spec(state, &what);
        }
    }
}

static void random_problems(void **state) {
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(60, 20000); seed++) {
        spec what = any_spec(seed, 80, grid_size(40, 96));
        what.kind = ATTN_SCORE_DOT;
        what.normalizer = seed % 5 ? ATTN_SOFTMAX : ATTN_SOFTMAX_ONE;
        what.terms &= JVP_TERMS;
        what.views = 0;
        check_spec(state, &what);
    }
}

/* Several blocks of keys and of queries, and stretches of them. */
static void long_sequences(void **state) {
    static const unsigned rules[] = {0,
                                     RULE_CAUSAL | RULE_BOTTOM_RIGHT | RULE_ALIBI,
                                     RULE_WINDOW | RULE_SINKS,
                                     RULE_PACKED | RULE_CAUSAL,
                                     RULE_KEY_LENGTHS | RULE_SOFTCAP,
                                     RULE_DOCUMENTS | RULE_BIAS};
    for (size_t k = 0; k < COUNT(rules); k++) {
        spec what = plain_changes(2000 + 3 * k);
        what.rules = rules[k];
        what.d = what.d_value = 9;
        what.heads = grid_size(1, 2);
        what.n_query = grid_size(71, 103);
        what.n_key = grid_size(799, 1031);
        check_spec(state, &what);
        what.heads = 1;
        what.n_query = k % 2 ? 2 : 11;
        what.n_key = 5011;
        check_spec(state, &what);
    }
}

/* Scores up to several hundred: one key takes nearly all, and exp of the rest underflows. */
static void wide_scores(void **state) {
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(12, 30); seed++) {
        spec what = plain_changes(3000 + seed);
        what.spread = 12;
        what.n_query = seed % 3 == 0 ? 5 : 40;
        what.n_key = 150;
        check_spec(state, &what);
    }
}

/* ------------------------------------------------------------------------------ against backward */

/* sum of a * b over all elements. */
static double dot(const attn_tensor *a, const attn_tensor *b) {
    double sum = 0;
    for (int64_t x[4] = {0}; a->data && b->data && index_inside(x, a->shape);
         index_next(x, a->shape))
        sum += element(a, x[0], x[1], x[2], x[3]) * element(b, x[0], x[1], x[2], x[3]);
    return sum;
}

/* <d, J t> and <J^T d, t> are both
 *
 *     sum over pairs of w (t (G - dot(d, o) + d_lse)) + w dot(d, t_v),    G = dot(d, v)
 *
 * (and t_w's part), summed in either order. Whatever the order, each term is a product of few factors:
 * w, off by B; t and its slope; and sums of d or d_value products; and the terms are added up along
 * queries, keys and features. So either is within the sum of the terms' sizes, every difference taken
 * as a sum, times (B/w + slope_off + (d + d_value + n_query + 2 n_key + 60) u). The output's own error
 * is one of w and of a sum of n_key terms more. */
static double identity_bound(changes *t, const attn_result_gradients *from) {
    const attn_problem *const p = &t->o.problem;
    const double steps = (double)(p->query.shape[3] + p->value.shape[3] + p->query.shape[2] +
                                  2 * p->key.shape[2] + 60);
    double bound = 0;
    for (int64_t i = 0; i < p->query.shape[0] * p->query.shape[1] * p->query.shape[2]; i++) {
        const int64_t q = i % p->query.shape[2], h = i / p->query.shape[2] % p->query.shape[1];
        const int64_t b = i / p->query.shape[2] / p->query.shape[1];
        const stretch *const where = stretch_of(&t->s, b, q);
        double inner = 0, outer = 0, weighed = 0, worst = 0, mean = 0;
        if (!where) continue;
        const row r = row_of(&t->s, &t->o, where, h, q, NULL, NULL);
        for (int64_t j = 0; j < where->n_key; j++) {
            const double given = fabs(element(&from->weights, b, h, q, j));
            double g = given, change = 0;
            pair x;
            if (!pair_of(t, &r, j, &x)) continue;
            for (int64_t c = 0; c < p->value.shape[3]; c++) {
                const double d = fabs(element(&from->output, b, h, q, c));
                const int64_t k = where->first_key + j;
                g += d * fabs(at(&p->value, b, r.kv_head, k, c));
                change += d * fabs(at(&t->exact.value, b, r.kv_head, k, c));
            }
            const double w = x.p + x.b;
            worst = fmax(worst, x.slope_off + (x.p > 0 ? x.b / x.p : 0));
            inner += w * x.factor * g * x.size + w * x.factor * change;
            weighed += w * x.size, mean += w * x.factor * g;
            outer += x.b * (g * x.size + change) * x.factor;
        }
        const double flow = fabs(element(&from->lse, b, h, q, 0));
        bound += (inner + weighed * (mean + flow)) * (2 * worst + steps * r.u) + outer;
    }
    return 2 * bound;
}

static void check_identity(const target *on, const spec *what) {
    changes t;
    gradients g;
    changes_make(&t, on, what, WITH_ALL);
    gradients_make(&g, &t.s, FROM_OUTPUT | FROM_LSE | FROM_WEIGHTS, ALL_GRADIENTS);
    attn_problem p = t.s.problem;
    run_jvp(on->context, &p, &t.given, sample_text(&t.s, on->isa));
    /* Rows of padding: their flow counts for nothing. */
    run_backward(on->context, &p, &g);
    changes_ask_oracle(&t);
    const double forth = dot(&g.from.output, &t.given.output) + dot(&g.from.lse, &t.given.lse) +
                         dot(&g.from.weights, &t.given.weights);
    const double back = dot(&t.given.query, &g.to.query) + dot(&t.given.key, &g.to.key) +
                        dot(&t.given.value, &g.to.value) + dot(&t.given.bias, &g.to.bias);
    const double bound = identity_bound(&t, &g.from);
    if (!(fabs(forth - back) <= bound))
        fail_msg("%s\n%.17g forth, %.17g back: off by %g, bound %g", sample_text(&t.s, on->isa),
                 forth, back, fabs(forth - back), bound);
    gradients_free(&g);
    changes_free(&t);
}

static void transposed_by_backward(void **state) {
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(70, 3000); seed++) {
        spec what = any_spec(seed, 40, 20);
        what.dtype = ATTN_F64;
        what.kind = ATTN_SCORE_DOT;
        what.normalizer = seed % 5 ? ATTN_SOFTMAX : ATTN_SOFTMAX_ONE;
        what.rules &= ~(unsigned)RULE_PACKED; /* columns of weights are then the keys */
        what.terms &= JVP_TERMS;
        what.views = 0;
        what.results = WANT_OUTPUT | WANT_LSE;
        /* one element has one address, or its changes would be another's too */
        what.layout = seed % 2 ? LAYOUT_DENSE : LAYOUT_ROWS;
        check_identity(*state, &what);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_lengths),        cmocka_unit_test(all_widths),
        cmocka_unit_test(all_pairs_of_rules), cmocka_unit_test(all_terms),
        cmocka_unit_test(random_problems),    cmocka_unit_test(long_sequences),
        cmocka_unit_test(wide_scores),        cmocka_unit_test(transposed_by_backward),
    };
    const int failed = run_on_each_isa("jvp", tests, COUNT(tests));
    printf("largest error: %.3f of its bound\n", largest_share_of_bound());
    return failed;
}

/* test_normalizers.c: every way to make weights of scores against the reference, beyond the grid of
 * test_scores.c; and what must hold of each: sums, order, shifts, limits, and the laws of noise. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64};

static void forward(const target *on, const sample *s) {
    if (attn_forward(on->context, &s->problem) != ATTN_OK)
        fail_msg("%s\n%s", sample_text(s, on->isa), attn_error_message());
}

static spec usual(uint64_t seed, bool few, attn_normalizer_kind kind) {
    return (spec){.seed = seed,
                  .dtype = dtypes[seed % COUNT(dtypes)],
                  .batch = 2,
                  .heads = 3,
                  .kv_heads = 1,
                  .n_query = few ? 1 + (int64_t)(seed % 8) : 19,
                  .n_key = 47,
                  .d = 8,
                  .d_value = 5,
                  .results = WANT_OUTPUT | WANT_WEIGHTS,
                  .layout = (layout)(seed % LAYOUTS),
                  .normalizer = kind};
}

static void check_spec(void **state, const spec *what) {
    const target *const on = *state;
    sample s;
    oracle o;
    sample_make(&s, what);
    forward(on, &s);
    oracle_make(&o, &s);
    assert_close(&s, &o, on->isa);
    assert_gaps_untouched(&s);
    oracle_free(&o);
    sample_free(&s);
}

/* Calls check for every normalizer, with few queries and with many, of both types. */
static void with_each(void **state, void (*check)(const target *, const spec *)) {
    for (int kind = 0; kind < NORMALIZERS; kind++) {
        for (uint64_t seed = 0; seed < (uint64_t)grid_size(4, 24); seed++) {
            const spec what =
                usual(seed + (seed / 2) % 2, seed % 2 == 0, (attn_normalizer_kind)kind);
            check(*state, &what);
        }
    }
}

static bool sums_to_one(attn_normalizer_kind kind) {
    return kind == ATTN_SOFTMAX || kind == ATTN_SPARSEMAX || kind == ATTN_ENTMAX ||
           kind == ATTN_HARDMAX;
}

/* ---------------------------------------------------------------------------------------------
 * Against the reference
 * ------------------------------------------------------------------------------------------- */

/* Powers above, at and below 1; scores narrow and wide. Not beyond 5, as a rounding of 2^-24 near a
 * threshold is a weight of 2^(-24 / (alpha - 1)): the bound would soon say nothing. */
static void every_alpha(void **state) {
    static const double alphas[] = {1.05, 1.25, 1.5, 1.75, 2, 2.5, 3, 5};
    static const double spreads[] = {0.01, 0.3, 1, 4};
    for (size_t a = 0; a < COUNT(alphas); a++) {
        for (size_t k = 0; k < COUNT(spreads); k++) {
            for (int few = 0; few < 2; few++) {
                spec what = usual(10 * a + k, few != 0, ATTN_ENTMAX);
                what.alpha = alphas[a];
                what.spread = spreads[k];
                check_spec(state, &what);
            }
        }
    }
}

/* Many tiles, and the stretches of few queries; masks that hide tiles whole. */
static void long_rows(void **state) {
    static const unsigned rules[] = {0, RULE_CAUSAL | RULE_BOTTOM_RIGHT, RULE_ALLOWED,
                                     RULE_WINDOW | RULE_BOTTOM_RIGHT};
    for (int kind = 0; kind < NORMALIZERS; kind++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            spec what = usual(seed, seed % 2 == 0, (attn_normalizer_kind)kind);
            what.batch = what.heads = 1;
            what.n_query = seed % 2 ? 21 : 2;
            what.n_key = seed % 2 ? 800 : 4500;
            what.rules = rules[seed];
            what.results = WANT_ALL;
            check_spec(state, &what);
        }
    }
}

static void every_normalizer_with_every_term(void **state) {
    static const unsigned terms[] = {TERM_TEMPERATURE,
                                     TERM_GUMBEL,
                                     TERM_DROPOUT,
                                     TERM_LOCAL,
                                     TERM_LOCAL | TERM_CENTERS,
                                     TERM_DROPOUT | TERM_LOCAL | TERM_TEMPERATURE,
                                     TERM_RELATIVE_VALUES | TERM_DROPOUT};
    for (int kind = 0; kind < NORMALIZERS; kind++) {
        for (size_t term = 0; term < COUNT(terms); term++) {
            for (int few = 0; few < 2; few++) {
                spec what = usual((uint64_t)kind * 7 + term, few != 0, (attn_normalizer_kind)kind);
                what.terms = terms[term];
                what.rules = term % 2 ? RULE_CAUSAL | RULE_BOTTOM_RIGHT : RULE_PACKED;
                check_spec(state, &what);
            }
        }
    }
}

/* Rows that see nothing, or one key; and equal scores. */
static void rows_of_few_keys(void **state) {
    for (int kind = 0; kind < NORMALIZERS; kind++) {
        for (int64_t n_key = 0; n_key < 4; n_key++) {
            for (int few = 0; few < 2; few++) {
                spec what = usual((uint64_t)n_key, few != 0, (attn_normalizer_kind)kind);
                what.n_key = n_key;
                what.rules = n_key % 2 ? RULE_BIAS_MASKS : 0;
                what.kind = n_key == 3 ? ATTN_SCORE_CUSTOM : ATTN_SCORE_DOT;
                check_spec(state, &what);
            }
        }
    }
}

/* ---------------------------------------------------------------------------------------------
 * Sums
 * ------------------------------------------------------------------------------------------- */

/* Weights come of one sum and its reciprocal: n additions each way, the rescaling of what was there
 * before (weights_add_up in test_properties.c), and their own rounding. */
static void check_sum(const target *on, const spec *what) {
    if (!sums_to_one(what->normalizer)) return;
    const double u = what->dtype == ATTN_F32 ? 0x1p-24 : 0x1p-53;
    const double bound = u * (2 * (double)what->n_key + 64);
    sample s;
    sample_make(&s, what);
    forward(on, &s);
    for (int64_t x[4] = {0}; index_inside(x, s.problem.query.shape);
         index_next(x, s.problem.query.shape)) {
        double sum = 0;
        int64_t ones = 0, others = 0;
        for (int64_t j = 0; j < what->n_key; j++) {
            const double w = element(&s.problem.weights, x[0], x[1], x[2], j);
            sum += w;
            ones += w == 1;
            others += w != 0 && w != 1;
            assert_true(w >= 0);
        }
        if (!(fabs(sum - 1) <= bound)) fail_msg("%s: %g", sample_text(&s, on->isa), sum - 1);
        if (what->normalizer == ATTN_HARDMAX) assert_true(ones == 1 && others == 0);
    }
    sample_free(&s);
}

static void weights_sum_to_one(void **state) {
    with_each(state, check_sum);
    for (uint64_t seed = 0; seed < 4; seed++) { /* where every_alpha has no bound */
        spec what = usual(seed, seed % 2 == 0, ATTN_ENTMAX);
        what.alpha = seed < 2 ? 16 : 1.001;
        check_sum(*state, &what);
    }
}

/* Sparse means that: some weights are exactly 0, more for a higher alpha. */
static void sparse_weights_are_sparse(void **state) {
    const target *const on = *state;
    static const double alphas[] = {1.25, 1.5, 2};
    for (uint64_t seed = 0; seed < 4; seed++) {
        int64_t zeros[COUNT(alphas)] = {0};
        for (size_t a = 0; a < COUNT(alphas); a++) {
            spec what = usual(seed, seed % 2 == 0, ATTN_ENTMAX);
            what.alpha = alphas[a];
            sample s;
            sample_make(&s, &what);
            forward(on, &s);
            for (int64_t x[4] = {0}; index_inside(x, s.problem.weights.shape);
                 index_next(x, s.problem.weights.shape))
                zeros[a] += element(&s.problem.weights, x[0], x[1], x[2], x[3]) == 0;
            sample_free(&s);
        }
        assert_true(0 < zeros[0] && zeros[0] < zeros[1] && zeros[1] < zeros[2]);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Order and shifts
 * ------------------------------------------------------------------------------------------- */

static void reverse_keys(const attn_tensor *to, const attn_tensor *from, int axis) {
    for (int64_t x[4] = {0}; index_inside(x, to->shape); index_next(x, to->shape)) {
        int64_t y[4] = {x[0], x[1], x[2], x[3]};
        y[axis] = to->shape[axis] - 1 - x[axis];
        memcpy(element_address(to, x), element_address(from, y), dtype_size(to->dtype));
    }
}

/* The keys in reverse, each with its value. */
static void check_order(const target *on, const spec *what) {
    sample s;
    oracle o;
    sample_make(&s, what);
    oracle_make(&o, &s);
    attn_problem p = s.problem;
    p.key = tensor_copy(&s.problem.key, ATTN_DTYPE_NONE);
    p.value = tensor_copy(&s.problem.value, ATTN_DTYPE_NONE);
    p.weights = tensor_copy(&s.problem.weights, ATTN_DTYPE_NONE);
    reverse_keys(&p.key, &s.problem.key, 2);
    reverse_keys(&p.value, &s.problem.value, 2);
    if (attn_forward(on->context, &p) != ATTN_OK) fail_msg("%s", attn_error_message());
    reverse_keys(&s.problem.weights, &p.weights, 3);
    assert_close(&s, &o, on->isa);
    free(p.key.data), free(p.value.data), free(p.weights.data);
    oracle_free(&o);
    sample_free(&s);
}

static void keys_have_no_order(void **state) {
    with_each(state, check_order);
}

/* Among equals the first is the one: the only normalizer that knows an order. */
static void hardmax_takes_the_first_of_equals(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        spec what = usual(seed, seed % 2 == 0, ATTN_HARDMAX);
        what.kind = ATTN_SCORE_CUSTOM;
        what.rules = RULE_WINDOW;
        what.n_key = 400;
        sample s;
        sample_make(&s, &what);
        s.problem.mask.window = (attn_window){.enabled = true, .left = -1, .right = -1};
        s.problem.mask.causal = false;
        forward(on, &s);
        for (int64_t x[4] = {0}; index_inside(x, s.problem.weights.shape);
             index_next(x, s.problem.weights.shape))
            assert_true(element(&s.problem.weights, x[0], x[1], x[2], x[3]) == (x[3] == 0));
        sample_free(&s);
    }
}

/* Whether a constant on every score leaves the weights as they are. */
static bool ignores_shifts(attn_normalizer_kind kind) {
    return sums_to_one(kind);
}

static void check_shift(const target *on, const spec *what) {
    const double shift = 1.375;
    const float shift_f32 = 1.375f;
    sample s;
    oracle plain, shifted;
    sample_make(&s, what);
    oracle_make(&plain, &s);
    s.problem.score.bias = what->dtype == ATTN_F32 ? attn_tensor_f32(&shift_f32, 1, 1, 1, 1)
                                                   : attn_tensor_f64(&shift, 1, 1, 1, 1);
    oracle_make(&shifted, &s);
    forward(on, &s);
    if (ignores_shifts(what->normalizer)) { /* shifted's bounds around plain's results */
        memcpy(shifted.problem.output.data, plain.problem.output.data,
               tensor_elements(&plain.problem.output) * sizeof(double));
        memcpy(shifted.problem.weights.data, plain.problem.weights.data,
               tensor_elements(&plain.problem.weights) * sizeof(double));
        assert_close(&s, &shifted, on->isa);
    } else {
        double most = 0;
        for (int64_t x[4] = {0}; index_inside(x, s.problem.weights.shape);
             index_next(x, s.problem.weights.shape))
            most = fmax(most, fabs(element(&s.problem.weights, x[0], x[1], x[2], x[3]) -
                                   element(&plain.problem.weights, x[0], x[1], x[2], x[3])));
        assert_true(most > 1e-3);
    }
    oracle_free(&plain);
    oracle_free(&shifted);
    sample_free(&s);
}

static void shifts_cancel_where_they_should(void **state) {
    with_each(state, check_shift);
}

/* ---------------------------------------------------------------------------------------------
 * One as another
 * ------------------------------------------------------------------------------------------- */

static void entmax_of_two_is_sparsemax(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(seed, seed % 4 < 2, ATTN_SPARSEMAX);
        sample s;
        oracle o;
        sample_make(&s, &what);
        oracle_make(&o, &s);
        s.problem.normalizer.kind = ATTN_ENTMAX;
        s.problem.normalizer.alpha = 2;
        forward(on, &s);
        assert_close(&s, &o, on->isa);
        oracle_free(&o);
        sample_free(&s);
    }
}

static void softmax_one_is_softmax_with_sink_zero(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(seed, seed % 4 < 2, ATTN_SOFTMAX);
        what.rules = RULE_SINKS | RULE_CAUSAL;
        what.results = WANT_ALL;
        sample s;
        sample_make(&s, &what);
        for (int64_t x[4] = {0}; index_inside(x, s.problem.score.sinks.shape);
             index_next(x, s.problem.score.sinks.shape))
            set_element(&s.problem.score.sinks, x[0], x[1], x[2], x[3], 0);
        forward(on, &s);
        const attn_tensor *const results[] = {&s.problem.output, &s.problem.weights,
                                              &s.problem.lse};
        attn_tensor before[COUNT(results)];
        for (size_t k = 0; k < COUNT(results); k++)
            before[k] = tensor_copy(results[k], ATTN_DTYPE_NONE);
        s.problem.score.sinks = (attn_tensor){0};
        s.problem.normalizer.kind = ATTN_SOFTMAX_ONE;
        forward(on, &s);
        for (size_t k = 0; k < COUNT(results); k++) {
            assert_same_bits(&before[k], results[k], sample_text(&s, on->isa));
            free(before[k].data);
        }
        sample_free(&s);
    }
}

/* With alpha = 1 + a, p[j] = p[m] (1 + a (z[j] - m) / r)^(1/a) with r = p[m]^a. For x = m - z[j]
 * and l = -log(p[m]), log(p[j]/p[m]) is -x to first order, off by a (x l + x^2 / 2) to the next; so
 * is each term of the sum, and less than half as much is left for all higher orders while
 * a (x + l) < 1/8. */
static void entmax_tends_to_softmax(void **state) {
    const target *const on = *state;
    const double a = 0x1p-20;
    for (uint64_t seed = 0; seed < 4; seed++) {
        spec what = usual(1, seed % 2 == 0, ATTN_ENTMAX); /* float64 */
        what.seed = seed;
        what.alpha = 1 + a;
        sample s;
        oracle near, limit;
        sample_make(&s, &what);
        oracle_make(&near, &s);
        forward(on, &s);
        s.problem.normalizer.kind = ATTN_SOFTMAX;
        s.problem.normalizer.alpha = 0;
        oracle_make(&limit, &s);
        for (int64_t x[4] = {0}; index_inside(x, s.problem.weights.shape);
             index_next(x, s.problem.weights.shape)) {
            double low = 1, high = 0;
            for (int64_t j = 0; j < what.n_key; j++) {
                const double w = element(&limit.problem.weights, x[0], x[1], x[2], j);
                low = fmin(low, w), high = fmax(high, w);
            }
            const double width = log(high / low), l = -log(high);
            const double relative = 2 * 1.5 * a * (width * l + width * width / 2);
            const double w = element(&limit.problem.weights, x[0], x[1], x[2], x[3]);
            const double off = fabs(element(&s.problem.weights, x[0], x[1], x[2], x[3]) - w);
            assert_true(relative < 0.125);
            assert_true(off <= w * relative + element(&near.weight_error, x[0], x[1], x[2], x[3]));
        }
        oracle_free(&near);
        oracle_free(&limit);
        sample_free(&s);
    }
}

/* At temperature t another key has no more than e^(-gap/t) of the weight of the greatest: nothing,
 * where the gap is 100 t. What is left is a quotient and a product. */
static void softmax_tends_to_hardmax(void **state) {
    const target *const on = *state;
    const double temperature = 1e-4;
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(seed, seed % 4 < 2, ATTN_HARDMAX);
        sample s;
        oracle o;
        sample_make(&s, &what);
        oracle_make(&o, &s);
        s.problem.normalizer.kind = ATTN_SOFTMAX;
        s.problem.normalizer.temperature = temperature;
        forward(on, &s);
        const int64_t rows[4] = {what.batch, what.heads, what.n_query, 1};
        for (int64_t x[4] = {0}; index_inside(x, rows); index_next(x, rows)) {
            double first = -INFINITY, second = -INFINITY;
            for (int64_t j = 0; j < what.n_key; j++) {
                const double z = element(&o.all.scores, x[0], x[1], x[2], j);
                second = fmax(second, fmin(first, z));
                first = fmax(first, z);
            }
            for (int64_t j = 0; j < what.n_key && first - second > 100 * temperature; j++) {
                const double hard = element(&o.problem.weights, x[0], x[1], x[2], j);
                const double soft = element(&s.problem.weights, x[0], x[1], x[2], j);
                assert_true(fabs(soft - hard) <= 3 * 0x1p-24);
            }
        }
        oracle_free(&o);
        sample_free(&s);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Noise
 *
 * A score of 0 whose weight is the score shows the Gumbel noise itself; a bias of 1 shows what
 * dropout leaves of 1.
 * ------------------------------------------------------------------------------------------- */

static sample noise_sample(uint64_t seed, attn_dtype dtype, int64_t n_query, int64_t n_key) {
    spec what = usual(seed, false, ATTN_LINEAR);
    sample s;
    what.dtype = dtype;
    what.kind = ATTN_SCORE_CUSTOM;
    what.n_query = n_query;
    what.n_key = n_key;
    what.layout = LAYOUT_DENSE;
    what.results = WANT_WEIGHTS;
    sample_make(&s, &what);
    s.problem.normalizer.seed = random_bits(seed, 99);
    return s;
}

static void add_one(void *user, const attn_pairs *pairs) {
    (void)user;
    for (int r = 0; r < pairs->rows; r++) {
        for (int c = 0; c < pairs->keys; c++) set_pair_element(pairs, r, c, 1);
    }
}

static double kept_share(const attn_tensor *weights) {
    double kept = 0;
    for (int64_t x[4] = {0}; index_inside(x, weights->shape); index_next(x, weights->shape))
        kept += element(weights, x[0], x[1], x[2], x[3]) != 0;
    return kept / (double)tensor_elements(weights);
}

/* Within 6 deviations of a binomial share; each that is kept is 1 / (1 - p), so that the mean is
 * that of what there was: 1, within 6 deviations of its own. */
static void dropout_keeps_its_share(void **state) {
    const target *const on = *state;
    static const double chances[] = {0.1, 0.5, 0.9, 0x1p-23};
    for (size_t k = 0; k < COUNT(chances); k++) {
        for (int64_t n_query = 5; n_query <= 50; n_query += 45) {
            const double p = rint(chances[k] * 0x1p23) * 0x1p-23; /* as attn.h rounds it */
            sample s = noise_sample(k, dtypes[k % 2], n_query, 700);
            s.problem.score.callback = add_one;
            s.problem.normalizer.dropout = p;
            forward(on, &s);
            const double n = (double)tensor_elements(&s.problem.weights);
            const double kept = kept_share(&s.problem.weights);
            assert_true(fabs(kept - (1 - p)) <= 6 * sqrt(p * (1 - p) / n));
            assert_true(fabs(kept / (1 - p) - 1) <= 6 * sqrt(p / (1 - p) / n));
            const double by = 1 / (1 - p);
            for (int64_t x[4] = {0}; index_inside(x, s.problem.weights.shape);
                 index_next(x, s.problem.weights.shape)) {
                const double w = element(&s.problem.weights, x[0], x[1], x[2], x[3]);
                assert_true(w == 0 || fabs(w - by) <= 0x1p-23 * by);
            }
            sample_free(&s);
        }
    }
}

/* Which weights are dropped: the same for both types, and for queries asked with others or alone;
 * not for another seed, head or sequence. */
static void dropout_depends_on_the_pair_alone(void **state) {
    const target *const on = *state;
    sample single = noise_sample(3, ATTN_F32, 40, 300), wide = noise_sample(3, ATTN_F64, 40, 300);
    sample few = noise_sample(3, ATTN_F32, 6, 300);
    sample *const all[] = {&single, &wide, &few};
    for (size_t k = 0; k < COUNT(all); k++) {
        all[k]->problem.score.callback = add_one;
        all[k]->problem.normalizer.dropout = 0.5;
        forward(on, all[k]);
    }
    const attn_tensor *const w = &single.problem.weights;
    int64_t same[3] = {0};
    for (int64_t x[4] = {0}; index_inside(x, w->shape); index_next(x, w->shape)) {
        const bool kept = element(w, x[0], x[1], x[2], x[3]) != 0;
        assert_true(kept == (element(&wide.problem.weights, x[0], x[1], x[2], x[3]) != 0));
        if (x[2] < 6)
            assert_true(kept == (element(&few.problem.weights, x[0], x[1], x[2], x[3]) != 0));
        same[0] += kept == (element(w, 1 - x[0], x[1], x[2], x[3]) != 0);
        same[1] += kept == (element(w, x[0], (x[1] + 1) % 3, x[2], x[3]) != 0);
    }
    single.problem.normalizer.seed++;
    const attn_tensor before = tensor_copy(w, ATTN_DTYPE_NONE);
    forward(on, &single);
    for (int64_t x[4] = {0}; index_inside(x, w->shape); index_next(x, w->shape))
        same[2] += (element(w, x[0], x[1], x[2], x[3]) != 0) ==
                   (element(&before, x[0], x[1], x[2], x[3]) != 0);
    /* Independent masks agree in half of all places, within 6 deviations of twice as many halves:
     * of two sequences each place is counted twice. */
    const double n = (double)tensor_elements(w);
    for (size_t k = 0; k < COUNT(same); k++)
        assert_true(fabs((double)same[k] / n - 0.5) <= 6 * sqrt(0.5 / n));
    free(before.data);
    for (size_t k = 0; k < COUNT(all); k++) sample_free(all[k]);
}

/* The log-sum-exp is that of what there was, to the bit. */
static void dropout_leaves_the_log_sum_exp(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        spec what = usual(seed, seed % 2 == 0, ATTN_SOFTMAX);
        what.results = WANT_ALL;
        sample s;
        sample_make(&s, &what);
        forward(on, &s);
        const attn_tensor lse = tensor_copy(&s.problem.lse, ATTN_DTYPE_NONE);
        s.problem.normalizer.dropout = 0.3;
        forward(on, &s);
        assert_same_bits(&lse, &s.problem.lse, sample_text(&s, on->isa));
        free(lse.data);
        sample_free(&s);
    }
}

/* Mean 0.5772 (Euler), variance pi^2 / 6, kurtosis 5.4: within 6 deviations of their estimates over n,
 * which are the root of variance / n and of 4.4 / n times the variance. u(x) has steps of 2^-23, which
 * moves either by less than 2^-20, a hundredth of a deviation. */
static void gumbel_noise_is_gumbels(void **state) {
    const target *const on = *state;
    const double euler = 0.57721566490153286, variance = 1.6449340668482264;
    for (uint64_t k = 0; k < 4; k++) {
        sample s = noise_sample(k, dtypes[k % 2], k < 2 ? 6 : 40, 900);
        s.problem.normalizer.gumbel = true;
        forward(on, &s);
        const double n = (double)tensor_elements(&s.problem.weights);
        double sum = 0, squares = 0;
        for (int64_t x[4] = {0}; index_inside(x, s.problem.weights.shape);
             index_next(x, s.problem.weights.shape)) {
            const double g = element(&s.problem.weights, x[0], x[1], x[2], x[3]) - euler;
            sum += g, squares += g * g;
        }
        assert_true(fabs(sum / n) <= 6 * sqrt(variance / n));
        assert_true(fabs(squares / n - variance) <= 6 * variance * sqrt(4.4 / n));
        sample_free(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_alpha),
        cmocka_unit_test(long_rows),
        cmocka_unit_test(every_normalizer_with_every_term),
        cmocka_unit_test(rows_of_few_keys),
        cmocka_unit_test(weights_sum_to_one),
        cmocka_unit_test(sparse_weights_are_sparse),
        cmocka_unit_test(keys_have_no_order),
        cmocka_unit_test(hardmax_takes_the_first_of_equals),
        cmocka_unit_test(shifts_cancel_where_they_should),
        cmocka_unit_test(entmax_of_two_is_sparsemax),
        cmocka_unit_test(softmax_one_is_softmax_with_sink_zero),
        cmocka_unit_test(entmax_tends_to_softmax),
        cmocka_unit_test(softmax_tends_to_hardmax),
        cmocka_unit_test(dropout_keeps_its_share),
        cmocka_unit_test(dropout_depends_on_the_pair_alone),
        cmocka_unit_test(dropout_leaves_the_log_sum_exp),
        cmocka_unit_test(gumbel_noise_is_gumbels),
    };
    const int failed = run_on_each_isa("normalizers", tests, COUNT(tests));
    print_message("largest error: %.3f of its bound\n", largest_share_of_bound());
    return failed;
}

/* test_scores.c: every kind of score, with everything that joins it, against the reference; and what
 * must hold between kinds, whatever their code: one written as another, or as a bias that the test
 * works out in float64.
 *
 * Where a score is held to the reference's results of another, the bound is its own: the other's
 * error, that of float64, is 2^-29 of it in float32, which is why these are of float32 alone. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64};

static void forward(const target *on, const sample *s) {
    if (attn_forward(on->context, &s->problem) != ATTN_OK)
        fail_msg("%s\n%s", sample_text(s, on->isa), attn_error_message());
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

/* Few queries or many; MHA, GQA and MQA in turn. */
static spec usual(uint64_t seed, bool few) {
    static const int64_t heads[][2] = {{2, 2}, {4, 2}, {3, 1}};
    return (spec){.seed = seed,
                  .dtype = dtypes[seed % COUNT(dtypes)],
                  .batch = 2,
                  .heads = heads[seed % 3][0],
                  .kv_heads = heads[seed % 3][1],
                  .n_query = few ? 1 + (int64_t)(seed % 8) : 19,
                  .n_key = 29,
                  .d = 1 + (int64_t)(seed % 9),
                  .d_value = 1 + (int64_t)(seed % 7),
                  .results = WANT_ALL,
                  .layout = (layout)(seed % LAYOUTS)};
}

/* ---------------------------------------------------------------------------------------------
 * Against the reference
 * ------------------------------------------------------------------------------------------- */

static const unsigned masks[] = {
    0,
    RULE_CAUSAL,
    RULE_CAUSAL | RULE_BOTTOM_RIGHT,
    RULE_WINDOW | RULE_OFFSET,
    RULE_PREFIX,
    RULE_QUERY_LENGTHS | RULE_KEY_LENGTHS,
    RULE_PACKED,
    RULE_PACKED | RULE_CAUSAL | RULE_BOTTOM_RIGHT | RULE_QUERY_LENGTHS,
    RULE_DOCUMENTS,
    RULE_ALLOWED,
    RULE_BIAS_MASKS,
    RULE_ALIBI | RULE_SOFTCAP | RULE_SINKS | RULE_SCALE,
};

static void every_score_with_every_normalizer(void **state) {
    uint64_t seed = 0;
    for (int round = 0; round < (int)grid_size(1, COUNT(masks)); round++) {
        for (int kind = 0; kind < SCORE_KINDS; kind++) {
            for (int normalizer = 0; normalizer < NORMALIZERS; normalizer++) {
                for (int way = 0; way < 4; way++, seed++) { /* few and many, of both types */
                    spec what = usual(seed, way / 2 != 0);
                    what.dtype = dtypes[way % 2];
                    what.kind = (attn_score_kind)kind;
                    what.normalizer = (attn_normalizer_kind)normalizer;
                    what.rules = masks[(7 * (seed / 4) + (uint64_t)(way + round)) % COUNT(masks)];
                    check_spec(state, &what);
                }
            }
        }
    }
}

static void every_score_with_every_mask(void **state) {
    for (int kind = 0; kind < SCORE_KINDS; kind++) {
        for (size_t mask = 0; mask < COUNT(masks); mask++) {
            const uint64_t seed = (uint64_t)kind * (COUNT(masks) + 1) + mask;
            for (int few = 0; few < 2; few++) {
                spec what = usual(seed + (uint64_t)few, few != 0);
                what.kind = (attn_score_kind)kind;
                what.rules = masks[mask];
                what.terms = mask % 3 == 0 ? TERM_MASK_CALL : 0;
                check_spec(state, &what);
            }
        }
    }
}

/* Each alone, and with those that need or change it. */
static void every_score_with_every_term(void **state) {
    for (int kind = 0; kind < SCORE_KINDS; kind++) {
        for (unsigned term = 0; term < TERMS; term++) {
            const uint64_t seed = (uint64_t)kind * TERMS + term;
            for (int few = 0; few < 2; few++) {
                spec what = usual(seed, few != 0);
                what.kind = (attn_score_kind)kind;
                what.terms = 1u << term;
                if (what.terms & (TERM_T5 | TERM_T5_CAUSAL)) what.terms |= RELATIVE_TERMS;
                if (seed % 2) what.rules = RULE_SOFTCAP | RULE_BOTTOM_RIGHT;
                check_spec(state, &what);
            }
        }
    }
}

/* Kinds, normalizers, terms, rules and views at once. */
static void anything(void **state) {
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(250, 8000); seed++) {
        const spec what = any_spec(seed, 50, 24);
        check_spec(state, &what);
    }
}

/* Several tiles and, for few queries, several stretches of keys; features beyond a vector. */
static void long_sequences(void **state) {
    for (int kind = 0; kind < SCORE_KINDS; kind++) {
        for (int few = 0; few < 2; few++) {
            spec what = usual((uint64_t)(3 * kind + few), few != 0);
            what.batch = 1;
            what.heads = what.kv_heads;
            what.kind = (attn_score_kind)kind;
            what.terms = kind % 2 ? RELATIVE_TERMS | TERM_OFFSET : TERM_SCORE_CALL | TERM_LOCATION;
            what.n_query = few ? 3 : 70;
            what.n_key = few ? 2300 : 210;
            what.d = few ? 5 : 37;
            what.rules = RULE_CAUSAL | RULE_BOTTOM_RIGHT;
            check_spec(state, &what);
        }
    }
}

/* ---------------------------------------------------------------------------------------------
 * One kind as another
 * ------------------------------------------------------------------------------------------- */

/* `own`'s bounds around another problem's exact outputs and weights. */
static void expect(oracle *own, const oracle *other) {
    const attn_problem *const p = &own->problem, *const q = &other->problem;
    memcpy(p->output.data, q->output.data, tensor_elements(&p->output) * sizeof(double));
    memcpy(p->weights.data, q->weights.data, tensor_elements(&p->weights) * sizeof(double));
}

/* Two samples that must say the same: runs the first, asks the oracle of the second. */
static void assert_same_problem(const target *on, const sample *a, const sample *b) {
    oracle of_a, of_b;
    oracle_make(&of_a, a);
    oracle_make(&of_b, b);
    expect(&of_a, &of_b);
    forward(on, a);
    assert_close(a, &of_a, on->isa);
    oracle_free(&of_a);
    oracle_free(&of_b);
}

static void with_pairs(void **state, attn_score_kind kind_a, attn_score_kind kind_b,
                       void (*change)(sample *a, sample *b)) {
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(2 * seed, seed % 2 == 0);
        what.results = WANT_OUTPUT | WANT_WEIGHTS;
        what.layout = LAYOUT_DENSE;
        what.d = 8;
        sample a, b;
        what.kind = kind_a;
        sample_make(&a, &what);
        what.kind = kind_b;
        sample_make(&b, &what);
        change(&a, &b);
        assert_same_problem(*state, &a, &b);
        sample_free(&a);
        sample_free(&b);
    }
}

/* a takes b's keys, whose widths then agree. */
static void take_keys(sample *a, const sample *b) {
    a->problem.key = b->problem.key;
}

static float numbers[2][16 * 16];

/* [1, 1, d, columns] with ones where column and row agree, and where they do d columns further. */
static attn_tensor identity(int64_t d, int64_t columns) {
    memset(numbers[0], 0, sizeof numbers[0]);
    for (int64_t c = 0; c < d; c++) {
        for (int64_t at = c; at < columns; at += d) numbers[0][c * columns + at] = 1;
    }
    return attn_tensor_f32(numbers[0], 1, 1, d, columns);
}

static void make_general(sample *a, sample *b) {
    take_keys(a, b);
    a->problem.score.weight = identity(8, 8);
    a->problem.score.scale = b->problem.score.scale = 0.5;
}

static void general_with_the_identity_is_dot(void **state) {
    with_pairs(state, ATTN_SCORE_GENERAL, ATTN_SCORE_DOT, make_general);
}

static void make_concat(sample *a, sample *b) {
    take_keys(a, b);
    a->problem.score.projection = identity(8, 16);
    a->problem.score.weight = b->problem.score.weight;
}

static void concat_with_two_identities_is_additive(void **state) {
    with_pairs(state, ATTN_SCORE_CONCAT, ATTN_SCORE_ADDITIVE, make_concat);
}

/* Rows of length 1, each number rounded. */
static void make_units(const attn_tensor *t) {
    const int64_t rows[4] = {t->shape[0], t->shape[1], t->shape[2], 1};
    for (int64_t x[4] = {0}; index_inside(x, rows); index_next(x, rows)) {
        double length = 0;
        for (int64_t c = 0; c < t->shape[3]; c++)
            length = hypot(length, element(t, x[0], x[1], x[2], c));
        for (int64_t c = 0; c < t->shape[3]; c++)
            set_element(t, x[0], x[1], x[2], c, element(t, x[0], x[1], x[2], c) / length);
    }
}

static void make_dot_of_units(sample *a, sample *b) {
    a->problem.score.scale = b->problem.score.scale = 7;
    make_units(&b->problem.query);
    make_units(&b->problem.key);
}

static void cosine_is_dot_of_unit_vectors(void **state) {
    with_pairs(state, ATTN_SCORE_COSINE, ATTN_SCORE_DOT, make_dot_of_units);
}

/* -|q - k|^2 / 2 = q k - |k|^2 / 2, up to |q|^2 / 2, which a row's softmax does not know. */
static void make_gaussian(sample *a, sample *b) {
    const attn_tensor *const k = &b->problem.key;
    static double bias[2 * 4 * 29];
    const int64_t group = b->spec.heads / b->spec.kv_heads;
    (void)a;
    for (int64_t n = 0; n < b->spec.batch; n++) {
        for (int64_t h = 0; h < b->spec.heads; h++) {
            for (int64_t j = 0; j < b->spec.n_key; j++) {
                double square = 0;
                for (int64_t c = 0; c < 8; c++) square += pow(element(k, n, h / group, j, c), 2);
                bias[(n * b->spec.heads + h) * b->spec.n_key + j] = -square / 2;
            }
        }
    }
    /* The reference takes a bias of query's type alone: b's tensors become float64. */
    b->problem.query = tensor_copy(&b->problem.query, ATTN_F64);
    b->problem.key = tensor_copy(&b->problem.key, ATTN_F64);
    b->problem.value = tensor_copy(&b->problem.value, ATTN_F64);
    b->problem.output = b->problem.weights = (attn_tensor){0};
    b->problem.score.scale = 1;
    b->problem.score.bias = attn_tensor_f64(bias, b->spec.batch, b->spec.heads, 1, b->spec.n_key);
}

static void gaussian_is_dot_up_to_a_shift(void **state) {
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(2 * seed, seed % 2 == 0);
        what.results = WANT_OUTPUT | WANT_WEIGHTS;
        what.d = 8;
        sample a, b;
        what.kind = ATTN_SCORE_GAUSSIAN;
        sample_make(&a, &what);
        what.kind = ATTN_SCORE_DOT;
        sample_make(&b, &what);
        make_gaussian(&a, &b);
        assert_same_problem(*state, &a, &b);
        free(b.problem.query.data), free(b.problem.key.data), free(b.problem.value.data);
        sample_free(&a);
        sample_free(&b);
    }
}

/* Keys of NaN change no bit. */
static void location_does_not_look_at_keys(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(seed, seed % 4 < 2);
        what.kind = ATTN_SCORE_LOCATION;
        sample s;
        sample_make(&s, &what);
        forward(on, &s);
        const attn_tensor output = tensor_copy(&s.problem.output, ATTN_DTYPE_NONE);
        for (int64_t x[4] = {0}; index_inside(x, s.problem.key.shape);
             index_next(x, s.problem.key.shape))
            set_element(&s.problem.key, x[0], x[1], x[2], x[3], NAN);
        forward(on, &s);
        assert_same_bits(&output, &s.problem.output, sample_text(&s, on->isa));
        free(output.data);
        sample_free(&s);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Places
 * ------------------------------------------------------------------------------------------- */

/* With scores of a bias alone, and weights that are the scores, a table of 0, 1, 2, ... shows which
 * entry each key has. One query at position `from`. */
static void assert_entries(const target *on, const attn_relative *how, int64_t n, int64_t from,
                           const int64_t *expected, int64_t n_key) {
    static float table[64], zeros[512], weights[512];
    attn_relative relative = *how;
    for (int64_t e = 0; e < n; e++) table[e] = (float)e;
    relative.bias = attn_tensor_f32(table, 1, 1, 1, n);
    const attn_problem p = {.query = attn_tensor_f32(zeros, 1, 1, 1, 1),
                            .key = attn_tensor_f32(zeros, 1, 1, n_key, 1),
                            .value = attn_tensor_f32(zeros, 1, 1, n_key, 1),
                            .score = {.kind = ATTN_SCORE_CUSTOM, .relative = &relative},
                            .mask = {.query_offset = from},
                            .normalizer = {.kind = ATTN_LINEAR},
                            .weights = attn_tensor_f32(weights, 1, 1, 1, n_key)};
    assert_int_equal(attn_forward(on->context, &p), ATTN_OK);
    for (int64_t j = 0; j < n_key; j++) {
        if (weights[j] != (float)expected[j])
            fail_msg("offset %lld has entry %g, but should have %lld", (long long)(j - from),
                     (double)weights[j], (long long)expected[j]);
    }
}

/* Raffel et al. 2020 with 32 buckets up to distance 128, bidirectional: 16 either way, 8 for one
 * distance each, then ranges whose bounds are 8 * 16^(k/8), rounded up: 8 12(11.3) 16 23(22.6) 32
 * 46(45.3) 64 91(90.5). */
static void t5_buckets_are_the_papers(void **state) {
    static const int64_t first[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91};
    int64_t expected[401];
    const int64_t from = 200;
    const attn_relative how = {.buckets = ATTN_BUCKETS_T5};
    for (int64_t j = 0; j < 401; j++) {
        const int64_t distance = llabs(j - from);
        int64_t bucket = 15;
        while (first[bucket] > distance) bucket--;
        expected[j] = bucket + (j > from ? 16 : 0);
    }
    assert_entries(*state, &how, 32, from, expected, 401);
}

/* 8 buckets up to distance 20, causal: 4, then bounds at 4 * 5^(k/4): 4 6(5.98) 9(8.9) 14(13.4). */
static void t5_causal_buckets_are_the_papers(void **state) {
    static const int64_t behind[] = {0, 1, 2, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7};
    int64_t expected[40];
    const int64_t from = 25;
    const attn_relative how = {.buckets = ATTN_BUCKETS_T5_CAUSAL, .max_distance = 20};
    for (int64_t j = 0; j < 40; j++)
        expected[j] = j > from ? 0 : from - j > 20 ? 7 : behind[from - j];
    assert_entries(*state, &how, 8, from, expected, 40);
}

static void clipped_entries(void **state) {
    static const int64_t middle[] = {0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 6, 6};
    static const int64_t left[] = {0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6};
    assert_entries(*state, &(attn_relative){0}, 7, 6, middle, 12);
    assert_entries(*state, &(attn_relative){.origin = 1}, 7, 6, left, 12);
}

/* The problem without `relative`, whose terms the test works out and gives as a bias. */
static attn_problem with_explicit_bias(const sample *s, const oracle *o) {
    const attn_problem *const exact = &o->problem;
    const attn_relative *const r = exact->score.relative;
    attn_problem p = s->problem;
    const int64_t d = p.query.shape[3], group = s->spec.heads / s->spec.kv_heads;
    const double scale = p.score.scale != 0 ? p.score.scale : 1 / sqrt((double)d);
    /* Of the right shape and type; every element is written. */
    const attn_tensor bias = tensor_copy(&p.weights, ATTN_DTYPE_NONE);
    for (int64_t x[4] = {0}; index_inside(x, bias.shape); index_next(x, bias.shape)) {
        const stretch *const where = &s->stretches[x[0]];
        const int64_t apart = x[3] - position_of(&p, where, x[2]);
        const int64_t n = r->bias.shape[3], e = relative_entry(r, n, apart);
        double sum = 0;
        for (int64_t c = 0; c < d; c++) {
            const double q = element(&exact->query, x[0], x[1], x[2], c);
            const double k = element(&exact->key, x[0], x[1] / group, x[3], c);
            sum += element(&r->content_bias, 0, x[1], 0, c) * k;
            sum +=
                (q + element(&r->position_bias, 0, x[1], 0, c)) * element(&r->keys, 0, x[1], e, c);
            sum += k * element(&r->queries, 0, x[1], e, c);
        }
        set_element(&bias, x[0], x[1], x[2], x[3], scale * sum + element(&r->bias, 0, x[1], 0, e));
    }
    p.score.relative = NULL;
    p.score.bias = bias;
    return p;
}

/* Shaw's and DeBERTa's products, Transformer-XL's biases and T5's, as one bias. Shaw's values are
 * what the weights make of the table. */
static void relative_terms_are_a_bias(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        spec what = usual(2 * seed, seed % 2 == 0);
        what.terms = RELATIVE_TERMS & ~(unsigned)TERM_RELATIVE_VALUES;
        what.terms |= seed % 3 == 0 ? TERM_T5 : seed % 3 == 1 ? TERM_T5_CAUSAL : 0;
        what.rules = seed % 4 < 2 ? RULE_CAUSAL | RULE_BOTTOM_RIGHT : 0;
        sample s;
        oracle o;
        sample_make(&s, &what);
        oracle_make(&o, &s);
        attn_problem p = with_explicit_bias(&s, &o);
        if (attn_forward(on->context, &p) != ATTN_OK) fail_msg("%s", attn_error_message());
        assert_close(&s, &o, on->isa);
        free(p.score.bias.data);
        oracle_free(&o);
        sample_free(&s);
    }
}

static void relative_values_join_the_output(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(seed, seed % 4 < 2);
        what.terms = TERM_RELATIVE_VALUES | (seed % 2 ? TERM_T5 : 0);
        sample s;
        oracle o;
        sample_make(&s, &what);
        oracle_make(&o, &s);
        forward(on, &s);
        const attn_tensor output = tensor_copy(&s.problem.output, ATTN_F64);
        s.problem.score.relative = NULL;
        forward(on, &s);
        for (int64_t x[4] = {0}; index_inside(x, output.shape); index_next(x, output.shape)) {
            const stretch *const where = &s.stretches[x[0]];
            double sum = element(&s.problem.output, x[0], x[1], x[2], x[3]);
            for (int64_t j = 0; j < what.n_key; j++) {
                const int64_t e = relative_entry(&s.relative, s.relative.values.shape[2],
                                                 j - position_of(&s.problem, where, x[2]));
                sum += element(&s.problem.weights, x[0], x[1], x[2], j) *
                       element(&s.relative.values, 0, x[1], e, x[3]);
            }
            set_element(&output, x[0], x[1], x[2], x[3],
                        element(&output, x[0], x[1], x[2], x[3]) - sum);
        }
        /* What is left: the error of the one, and of the other, made of weights as far off. */
        for (int64_t x[4] = {0}; index_inside(x, output.shape); index_next(x, output.shape))
            assert_true(fabs(element(&output, x[0], x[1], x[2], x[3])) <= 2 * bound_at(&s, &o, x));
        free(output.data);
        oracle_free(&o);
        sample_free(&s);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Location-aware scores, written out
 * ------------------------------------------------------------------------------------------- */

/* dot(weight, tanh(query + key + projection f + offset)) of one pair, Chorowski et al. 2015, eq. 8
 * and 9. */
static double chorowski(const attn_problem *p, int64_t n, int64_t h, int64_t key_head, int64_t i,
                        int64_t j) {
    const attn_location *const l = p->score.location;
    const int64_t width = l->filters.shape[3];
    double score = 0;
    for (int64_t c = 0; c < p->query.shape[3]; c++) {
        double x = element(&p->query, n, h, i, c) + element(&p->key, n, key_head, j, c) +
                   element(&p->score.offset, 0, h, 0, c);
        for (int64_t channel = 0; channel < l->filters.shape[2]; channel++) {
            double f = 0;
            for (int64_t t = 0; t < width; t++) {
                const int64_t from = j + t - width / 2;
                if (from >= 0 && from < p->key.shape[2])
                    f += element(&l->filters, 0, h, channel, t) *
                         element(&l->previous, n, h, i, from);
            }
            x += element(&l->projection, 0, h, c, channel) * f;
        }
        score += element(&p->score.weight, 0, h, 0, c) * tanh(x);
    }
    return score;
}

/* The written-out scores are the bias of a problem whose own score is 0. */
static void location_aware_scores_written_out(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(2 * seed, seed % 2 == 0);
        what.kind = ATTN_SCORE_ADDITIVE;
        what.terms = TERM_LOCATION | TERM_OFFSET;
        what.results = WANT_OUTPUT | WANT_WEIGHTS;
        sample s;
        oracle o;
        sample_make(&s, &what);
        oracle_make(&o, &s);
        const int64_t group = what.heads / what.kv_heads;
        const attn_tensor *const w = &o.problem.weights;
        attn_tensor scores = tensor_copy(w, ATTN_F64);
        for (int64_t x[4] = {0}; index_inside(x, scores.shape); index_next(x, scores.shape))
            set_element(&scores, x[0], x[1], x[2], x[3],
                        chorowski(&o.problem, x[0], x[1], x[1] / group, x[2], x[3]));
        attn_problem written = o.problem;
        written.score = (attn_score){.kind = ATTN_SCORE_CUSTOM, .bias = scores};
        written.lse = (attn_tensor){0};
        if (attn_reference_forward(&written) != ATTN_OK) fail_msg("%s", attn_error_message());
        forward(on, &s); /* against the written-out results, which took the oracle's place */
        assert_close(&s, &o, on->isa);
        free(scores.data);
        oracle_free(&o);
        sample_free(&s);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Callbacks
 * ------------------------------------------------------------------------------------------- */

static void add_alibi(void *user, const attn_pairs *pairs) {
    const attn_tensor *const slopes = user;
    const double slope = element(slopes, pairs->sequence, pairs->head, 0, 0);
    for (int r = 0; r < pairs->rows; r++) {
        for (int c = 0; c < pairs->keys; c++) {
            const int64_t apart = llabs(pairs->position + r - pairs->key - c);
            set_pair_element(pairs, r, c, pair_element(pairs, r, c) - slope * (double)apart);
        }
    }
}

static void a_callback_can_be_alibi(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 2 * SCORE_KINDS; seed++) {
        spec what = usual(seed, seed / SCORE_KINDS % 2 == 0);
        what.rules = RULE_ALIBI | masks[seed % COUNT(masks)];
        what.kind = (attn_score_kind)(seed % SCORE_KINDS);
        sample s;
        oracle o;
        sample_make(&s, &what);
        oracle_make(&o, &s);
        const attn_tensor slopes = s.problem.score.alibi_slopes;
        s.problem.score.alibi_slopes = (attn_tensor){0};
        s.problem.score.callback = add_alibi;
        s.problem.score.callback_user = (void *)(uintptr_t)&slopes;
        forward(on, &s);
        assert_close(&s, &o, on->isa);
        oracle_free(&o);
        sample_free(&s);
    }
}

/* What hide_pairs hides, as a tensor; both to the bit, since a masked key adds exactly nothing. */
static void a_callback_can_be_the_mask(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        spec what = usual(seed, seed % 4 < 2);
        what.terms = TERM_MASK_CALL;
        what.n_key = 29 + 200 * (int64_t)(seed % 3);
        what.rules = seed % 5 == 0 ? RULE_CAUSAL : 0;
        sample s;
        sample_make(&s, &what);
        forward(on, &s);
        const attn_tensor output = tensor_copy(&s.problem.output, ATTN_DTYPE_NONE);
        const attn_tensor weights = tensor_copy(&s.problem.weights, ATTN_DTYPE_NONE);
        const attn_tensor allowed = tensor_copy(&s.problem.weights, ATTN_BOOL);
        for (int64_t x[4] = {0}; index_inside(x, allowed.shape); index_next(x, allowed.shape))
            set_element(&allowed, x[0], x[1], x[2], x[3],
                        (x[3] + 2 * x[2] + 3 * x[1] + x[0]) % 5 != 0);
        s.problem.mask.callback = NULL;
        s.problem.mask.allowed = allowed;
        forward(on, &s);
        assert_same_bits(&output, &s.problem.output, sample_text(&s, on->isa));
        assert_same_bits(&weights, &s.problem.weights, sample_text(&s, on->isa));
        free(output.data), free(weights.data), free(allowed.data);
        sample_free(&s);
    }
}

/* How often each pair was shown, and whether all that came with it was true. */
typedef struct shown {
    const sample *s;
    unsigned char *times; /* [sequence][head][query][key] */
    bool wrong;
} shown;

static void note_pairs(void *user, const attn_pairs *pairs) {
    shown *const seen = user;
    const spec *const w = &seen->s->spec;
    const stretch *const where = &seen->s->stretches[pairs->sequence];
    const bool few = where->n_query <= 8;
    seen->wrong |= pairs->sequence < 0 || pairs->sequence >= seen->s->sequences;
    seen->wrong |= pairs->head < 0 || pairs->head >= w->heads || pairs->dtype != w->dtype;
    seen->wrong |= pairs->query < 0 || pairs->query + pairs->rows > where->n_query;
    seen->wrong |= pairs->key < 0 || pairs->key + pairs->keys > where->n_key;
    seen->wrong |= (few ? pairs->key_stride : pairs->row_stride) != 1;
    seen->wrong |= pairs->position != position_of(&seen->s->problem, where, pairs->query);
    for (int r = 0; r < pairs->rows && !seen->wrong; r++) {
        for (int c = 0; c < pairs->keys; c++)
            seen->times[((pairs->sequence * w->heads + pairs->head) * w->n_query + pairs->query +
                         r) *
                            w->n_key +
                        pairs->key + c]++;
    }
}

/* Every visible pair is shown to a score's callback once; whatever else is shown, not twice. */
static void callbacks_see_each_pair_once(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 4 * SCORE_KINDS; seed++) {
        spec what = usual(seed, seed / SCORE_KINDS % 2 == 0);
        what.rules = masks[seed % COUNT(masks)];
        what.kind = (attn_score_kind)(seed % SCORE_KINDS);
        what.n_key = seed % 3 == 0 ? 2200 : 230;
        what.d = 2;
        sample s;
        sample_make(&s, &what);
        const size_t pairs = (size_t)(s.sequences * what.heads * what.n_query * what.n_key);
        shown seen = {.s = &s, .times = calloc(pairs + 1, 1)};
        assert_non_null(seen.times);
        s.problem.score.callback = note_pairs;
        s.problem.score.callback_user = &seen;
        forward(on, &s);
        assert_false(seen.wrong);
        for (size_t k = 0; k < pairs; k++) assert_true(seen.times[k] <= 1);
        for (int64_t q = 0; q < s.sequences; q++) {
            const stretch *const e = &s.stretches[q];
            for (int64_t i = 0; i < e->n_query; i++) {
                for (int64_t j = 0; j < e->n_key; j++) {
                    const double w =
                        element(&s.problem.weights, e->batch, 1, e->first_query + i, j);
                    const size_t at =
                        (size_t)(((q * what.heads + 1) * what.n_query + i) * what.n_key + j);
                    if (w != 0) assert_int_equal(seen.times[at], 1);
                }
            }
        }
        free(seen.times);
        sample_free(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_score_with_every_normalizer),
        cmocka_unit_test(every_score_with_every_mask),
        cmocka_unit_test(every_score_with_every_term),
        cmocka_unit_test(anything),
        cmocka_unit_test(long_sequences),
        cmocka_unit_test(general_with_the_identity_is_dot),
        cmocka_unit_test(concat_with_two_identities_is_additive),
        cmocka_unit_test(cosine_is_dot_of_unit_vectors),
        cmocka_unit_test(gaussian_is_dot_up_to_a_shift),
        cmocka_unit_test(location_does_not_look_at_keys),
        cmocka_unit_test(t5_buckets_are_the_papers),
        cmocka_unit_test(t5_causal_buckets_are_the_papers),
        cmocka_unit_test(clipped_entries),
        cmocka_unit_test(relative_terms_are_a_bias),
        cmocka_unit_test(relative_values_join_the_output),
        cmocka_unit_test(location_aware_scores_written_out),
        cmocka_unit_test(a_callback_can_be_alibi),
        cmocka_unit_test(a_callback_can_be_the_mask),
        cmocka_unit_test(callbacks_see_each_pair_once),
    };
    const int failed = run_on_each_isa("scores", tests, COUNT(tests));
    print_message("largest error: %.3f of its bound\n", largest_share_of_bound());
    return failed;
}

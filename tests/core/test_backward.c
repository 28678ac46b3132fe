/* test_backward.c: attn_backward against the float64 reference, over every length, width, rule,
 * stride, type, score, normalizer and term, and every set of gradients in and out, on each
 * instruction set, within the bound derived in oracle_gradients.c and its neighbours; and the
 * reference against that oracle, which works gradients out a second time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle_gradients.h"

static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64};

/* What a spec leaves open: which gradients come in, which are wanted, and whether the results of
 * the forward are there. */
typedef struct way {
    unsigned from, wanted;
    bool saved;
} way;

static const way all_of_it = {FROM_ALL, ALL_GRADIENTS, true};

static void forward(const target *on, sample *s) {
    if (attn_forward(on->context, &s->problem) != ATTN_OK)
        fail_msg("%s\n%s", sample_text(s, on->isa), attn_error_message());
}

/* Memory full of NaN. */
static void *allocate_poison(void *user, size_t size, size_t alignment) {
    (void)user;
    const size_t whole = (size + alignment - 1) / alignment * alignment;
    void *const memory = aligned_alloc(alignment, whole);
    if (memory != NULL) memset(memory, POISON, whole);
    return memory;
}

static void release_poison(void *user, void *memory) {
    (void)user;
    free(memory);
}

/* On a context of its own, whose scratch nobody has used: what is read there without having been
 * written is NaN. */
static void backward(const target *on, sample *s, gradients *g) {
    const attn_context_options options = {
        .threads = 1, .max_isa = on->isa, .allocator = {allocate_poison, release_poison, NULL}};
    attn_context *context = NULL;
    if (attn_context_create(&context, &options) != ATTN_OK) fail_msg("%s", attn_error_message());
    const attn_status status = attn_backward(context, &s->problem, &g->from, &g->to);
    attn_context_destroy(context);
    if (status != ATTN_OK) fail_msg("%s\n%s", sample_text(s, on->isa), attn_error_message());
}

static void check_sample(const target *on, sample *s, const way *how) {
    gradients g;
    oracle o;
    gradient_oracle expected;
    gradients_make(&g, s, how->from, how->wanted);
    if (how->saved) {
        forward(on, s);
    } else {
        s->problem.output = s->problem.lse = (attn_tensor){0};
    }
    backward(on, s, &g);
    oracle_make(&o, s);
    gradient_oracle_make(&expected, s, &o, &g);
    assert_gradients_close(&expected, &g, on->isa);
    assert_gradient_gaps_untouched(&g);
    gradient_oracle_free(&expected);
    oracle_free(&o);
    gradients_free(&g);
}

static void check_way(void **state, const spec *what, const way *how) {
    sample s;
    sample_make(&s, what);
    check_sample(*state, &s, how);
    sample_free(&s);
}

/* With everything that the problem has, or the output's gradient alone, or what the seed draws. */
static void check_spec(void **state, const spec *what) {
    stream from = {.seed = what->seed + 5000};
    way how = all_of_it;
    if (draw_one_in(&from, 3)) how.from = FROM_OUTPUT;
    else if (draw_one_in(&from, 2)) how.from = (unsigned)draw(&from, 0, FROM_ALL);
    if (draw_one_in(&from, 4)) how.wanted = (unsigned)draw(&from, 0, ALL_GRADIENTS);
    how.saved = draw_one_in(&from, 2);
    /* The entropy of a negative weight is NaN, and whether that times 0 is looked at is nobody's word;
     * nor is it whether a local factor is 0, which underflows sooner in float32. */
    if (what->normalizer == ATTN_LINEAR && what->terms & (TERM_LOCAL | TERM_CENTERS))
        how.from &= ~(unsigned)FROM_ENTROPY;
    check_way(state, what, &how);
}

/* Few queries or many; MHA, GQA and MQA in turn. */
static spec usual(uint64_t seed, bool few) {
    static const int64_t heads[][2] = {{2, 2}, {4, 2}, {3, 1}};
    return (spec){.seed = seed,
                  .dtype = dtypes[seed % COUNT(dtypes)],
                  .batch = 1 + (int64_t)(seed % 2),
                  .heads = heads[seed % 3][0],
                  .kv_heads = heads[seed % 3][1],
                  .n_query = few ? 1 + (int64_t)(seed % 8) : grid_size(17, 19),
                  .n_key = grid_size(19, 29),
                  .d = 1 + (int64_t)(seed % 9),
                  .d_value = 1 + (int64_t)(seed % 7),
                  .results = WANT_OUTPUT | WANT_LSE,
                  .layout = (layout)(seed % LAYOUTS)};
}

static spec plain(uint64_t seed, attn_dtype dtype) {
    spec what = usual(seed, false);
    what.dtype = dtype;
    what.batch = what.kv_heads = 1;
    what.heads = 2;
    return what;
}

/* ---------------------------------------------------------------------------------------------
 * Sizes
 * ------------------------------------------------------------------------------------------- */

/* Lengths about every vector, block of queries, tile and stretch of keys. */
static void all_lengths(void **state) {
    static const int64_t lengths[] = {0,  1,  2,  3,  4,  5,  6,  7,   8,   9,   15, 16,
                                      17, 31, 33, 63, 64, 65, 97, 129, 191, 192, 193};
    for (size_t t = 0; t < COUNT(dtypes); t++) {
        for (size_t q = 0; q < COUNT(lengths); q++) {
            for (size_t k = (q + 2 * t) % (size_t)grid_size(5, 1); k < COUNT(lengths);
                 k += (size_t)grid_size(5, 1)) {
                spec what = plain(100 * q + k, dtypes[t]);
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
}

/* Several stretches of keys or blocks of queries, whole and masked. */
static void long_sequences(void **state) {
    static const int64_t lengths[][2] = {{3, 383},  {70, 384},  {2, 385},   {67, 777},
                                         {129, 40}, {257, 200}, {193, 385}, {4, 2200}};
    static const unsigned rules[] = {0,
                                     RULE_CAUSAL,
                                     RULE_CAUSAL | RULE_BOTTOM_RIGHT | RULE_ALIBI,
                                     RULE_WINDOW | RULE_SINKS,
                                     RULE_PACKED | RULE_CAUSAL,
                                     RULE_KEY_LENGTHS | RULE_SOFTCAP,
                                     RULE_DOCUMENTS | RULE_BIAS};
    for (size_t k = 0; k < COUNT(lengths); k++) {
        for (int kind = 0; kind < 2; kind++) {
            spec what = plain(2000 + 2 * k + (uint64_t)kind, dtypes[(k + (size_t)kind) % 2]);
            what.n_query = lengths[k][0];
            what.n_key = lengths[k][1];
            what.rules = rules[(k + 3 * (size_t)kind) % COUNT(rules)];
            what.heads = 1 + (int64_t)(k % 2);
            if (kind != 0) what.normalizer = (attn_normalizer_kind)(k % NORMALIZERS);
            check_spec(state, &what);
        }
    }
}

static void all_widths(void **state) {
    static const int64_t few_or_many[] = {1, 8, 9, 21};
    for (size_t t = 0; t < COUNT(dtypes); t++) {
        for (int64_t d = 0; d <= 132; d += d < 20 ? 1 : grid_size(7, 1)) {
            spec what = plain((uint64_t)d, dtypes[t]);
            what.heads = 1;
            what.n_query = few_or_many[(size_t)d % COUNT(few_or_many)];
            what.n_key = 7 + d % 13;
            what.d = d;
            what.d_value = 132 - d;
            check_spec(state, &what);
        }
    }
}

/* Many heads over one key head, few queries and more than a block of rows. */
static void large_groups(void **state) {
    static const int64_t groups[] = {2, 7, 8, 9, 16, 31, 32};
    for (size_t k = 0; k < COUNT(groups); k++) {
        for (int64_t n = 1; n <= 9; n += 1 + (int64_t)(k % 3)) {
            spec what = usual(5000 + 10 * k + (uint64_t)n, true);
            what.heads = 2 * groups[k];
            what.kv_heads = 2;
            what.n_query = n;
            what.rules = k % 2 ? RULE_CAUSAL | RULE_BOTTOM_RIGHT | RULE_ALIBI | RULE_SINKS
                               : RULE_ALLOWED | RULE_BIAS_MASKS | RULE_DOCUMENTS;
            check_spec(state, &what);
        }
    }
}

/* ---------------------------------------------------------------------------------------------
 * Rules, kinds, terms
 * ------------------------------------------------------------------------------------------- */

/* Each rule alone and each two together, with few queries and with many. */
static void all_pairs_of_rules(void **state) {
    for (unsigned a = 0; a < RULES; a++) {
        for (unsigned b = a; b < RULES; b++) {
            for (int few = 0; few < 2; few++) {
                spec what = usual(1000 + RULES * a + b, few != 0);
                what.rules = 1u << a | 1u << b;
                check_spec(state, &what);
            }
        }
    }
}

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
                for (int few_or_type = 0; few_or_type < 4; few_or_type++, seed++) {
                    spec what = usual(seed, few_or_type / 2 != 0);
                    what.dtype = dtypes[few_or_type % 2];
                    what.kind = (attn_score_kind)kind;
                    what.normalizer = (attn_normalizer_kind)normalizer;
                    what.rules =
                        masks[(7 * (seed / 4) + (uint64_t)(few_or_type + round)) % COUNT(masks)];
                    check_spec(state, &what);
                }
            }
        }
    }
}

/* Powers below, at and above sparsemax's, whose slope has no limit above. */
static void every_alpha(void **state) {
    static const double alphas[] = {1.1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4};
    for (size_t k = 0; k < COUNT(alphas); k++) {
        for (uint64_t seed = 0; seed < 6; seed++) {
            spec what = usual(7000 + 6 * k + seed, seed % 2 != 0);
            what.normalizer = ATTN_ENTMAX;
            what.alpha = alphas[k];
            check_spec(state, &what);
        }
    }
}

/* Terms of every kind of score, alone and each two together. */
static void all_pairs_of_terms(void **state) {
    enum { CALLS = TERMS + 1 };
    for (unsigned a = 0; a < CALLS; a++) {
        for (unsigned b = a; b < CALLS; b++) {
            const uint64_t seed = 8000 + CALLS * a + b;
            spec what = usual(seed, seed % 2 != 0);
            what.terms = 1u << a | 1u << b;
            if (what.terms & (TERM_T5 | TERM_T5_CAUSAL)) what.terms |= RELATIVE_TERMS;
            if (seed % 3 == 0) what.rules = RULE_SOFTCAP | RULE_BOTTOM_RIGHT;
            check_spec(state, &what);
            what.batch = grid_size(1, what.batch);
            what.kind = (attn_score_kind)(seed % SCORE_KINDS);
            if (what.terms & (TERM_OFFSET | TERM_UNIT_WEIGHT | TERM_LOCATION))
                what.kind = seed % 2 ? ATTN_SCORE_ADDITIVE : ATTN_SCORE_CONCAT;
            what.normalizer = (attn_normalizer_kind)(seed / 8 % NORMALIZERS);
            check_spec(state, &what);
        }
    }
}

static void every_score_with_every_term(void **state) {
    for (int kind = 0; kind < SCORE_KINDS; kind++) {
        for (unsigned term = 0; term <= TERMS; term++) {
            const uint64_t seed = 9000 + (uint64_t)kind * (TERMS + 1) + term;
            spec what = usual(seed, seed % 2 != 0);
            what.kind = (attn_score_kind)kind;
            what.terms = 1u << term;
            if (what.terms & (TERM_T5 | TERM_T5_CAUSAL)) what.terms |= RELATIVE_TERMS;
            check_way(state, &what, &all_of_it);
        }
    }
}

/* Kinds, normalizers, terms and rules at once. */
static void anything(void **state) {
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(120, 8000); seed++) {
        spec what = any_spec(seed, 50, 24);
        what.views = what.some_heads ? 1u << VIEW_RECEIVED_SUM : 0; /* for heads alone */
        check_spec(state, &what);
    }
}

static void random_problems(void **state) {
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(60, 8000); seed++) {
        const spec what = random_spec(30000 + seed, 80, grid_size(32, 64));
        check_spec(state, &what);
    }
}

/* Scores up to several hundred: one key takes nearly all, and exp of the rest underflows. */
static void wide_scores(void **state) {
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(8, 16); seed++) {
        spec what = plain(3000 + seed, dtypes[seed % 2]);
        what.spread = 12;
        what.d = 16;
        what.n_query = seed % 3 == 0 ? 5 : 40;
        what.n_key = 150;
        check_spec(state, &what);
    }
}

/* ---------------------------------------------------------------------------------------------
 * What comes in, what goes out
 * ------------------------------------------------------------------------------------------- */

static void each_set_of_result_gradients(void **state) {
    for (unsigned from = 0; from <= FROM_ALL; from++) {
        for (int normalizer = 0; normalizer < NORMALIZERS; normalizer++) {
            const uint64_t seed = 11000 + from * NORMALIZERS + (uint64_t)normalizer;
            spec what = usual(seed, seed % 4 == 0);
            what.normalizer = (attn_normalizer_kind)normalizer;
            what.results = (unsigned)(seed / 3 % 4); /* output, log-sum-exp, both, neither */
            check_way(state, &what, &(way){from, ALL_GRADIENTS, seed % 2 != 0});
        }
    }
}

/* Each gradient alone, and all but each, of problems that have many. */
static void each_wanted_gradient(void **state) {
    static const attn_score_kind kinds[] = {ATTN_SCORE_DOT, ATTN_SCORE_CONCAT, ATTN_SCORE_COSINE};
    for (int k = 0; k < GRADIENTS; k++) {
        for (size_t kind = 0; kind < COUNT(kinds); kind++) {
            const uint64_t seed = 12000 + (uint64_t)k * COUNT(kinds) + kind;
            spec what = usual(seed, seed % 2 != 0);
            what.batch = grid_size(1, what.batch);
            what.heads = grid_size(what.kv_heads, what.heads);
            what.kind = kinds[kind];
            what.normalizer = seed % 4 == 1 ? ATTN_SIGMOID : ATTN_SOFTMAX;
            what.terms = RELATIVE_TERMS | TERM_SCALES | TERM_OFFSET | TERM_LOCATION |
                         TERM_TEMPERATURE | TERM_CENTERS;
            what.rules = RULE_BIAS | RULE_ALIBI | RULE_SINKS | RULE_SOFTCAP;
            check_way(state, &what, &(way){FROM_OUTPUT, 1u << k, true});
            check_way(state, &what, &(way){FROM_OUTPUT, ALL_GRADIENTS & ~(1u << k), false});
        }
    }
}

/* ---------------------------------------------------------------------------------------------
 * Special values
 * ------------------------------------------------------------------------------------------- */

/* NaN and infinity in queries and keys of padding, and in keys and values beyond the causal rule. */
static void poison_hidden(sample *s) {
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    attn_problem *const p = &s->problem;
    const int64_t n = p->key.shape[2];
    for (int64_t b = 0; b < p->key.shape[0]; b++) {
        for (int64_t h = 0; h < p->key.shape[1]; h++) {
            for (int64_t j = s->stretches[b].n_key; j < n; j++) {
                set_element(&p->key, b, h, j, j % p->key.shape[3], bad[j % 3]);
                set_element(&p->value, b, h, j, j % p->value.shape[3], bad[(j + h) % 3]);
            }
        }
        for (int64_t h = 0; h < p->query.shape[1]; h++) {
            for (int64_t i = s->stretches[b].n_query; i < p->query.shape[2]; i++)
                set_element(&p->query, b, h, i, i % p->query.shape[3], bad[i % 3]);
        }
    }
}

/* A gradient of padding is 0, whatever lies there, and what the mask hides is never looked at. */
static void what_is_hidden_reaches_nothing(void **state) {
    for (uint64_t seed = 0; seed < 3 * SCORE_KINDS; seed++) {
        spec what = usual(13000 + seed, seed % 5 == 0);
        what.layout = seed % 2 ? LAYOUT_ROWS : LAYOUT_DENSE;
        what.kind = (attn_score_kind)(seed % SCORE_KINDS);
        what.normalizer = (attn_normalizer_kind)(seed / 3 % NORMALIZERS);
        what.rules = RULE_QUERY_LENGTHS | RULE_KEY_LENGTHS;
        sample s;
        sample_make(&s, &what);
        poison_hidden(&s);
        check_sample(*state, &s, &all_of_it);
        sample_free(&s);
    }
}

/* The last key, which the last query alone sees under the causal rule, or its value. (No infinite keys:
 * where a score is infinite and its gradient 0, whether they are multiplied is nobody's word.) */
static void a_masked_key_reaches_its_own_query_alone(void **state) {
    for (uint64_t seed = 0; seed < 24; seed++) {
        spec what = plain(14000 + seed, dtypes[seed % 2]);
        what.heads = 1;
        what.n_query = what.n_key = seed % 3 == 0 ? 7 : 70;
        what.rules = RULE_CAUSAL;
        what.layout = LAYOUT_DENSE;
        what.normalizer = seed % 4 == 3 ? ATTN_SIGMOID : ATTN_SOFTMAX;
        sample s;
        sample_make(&s, &what);
        const bool value = seed % 4 < 2;
        set_element(value ? &s.problem.value : &s.problem.key, 0, 0, what.n_key - 1, 0,
                    value && seed % 8 < 4 ? INFINITY : NAN);
        check_sample(*state, &s, &(way){FROM_OUTPUT, ALL_GRADIENTS, seed % 2 != 0});
        sample_free(&s);
    }
}

/* Of every kind and normalizer: a key that nobody may attend to, and the last query's under the causal
 * rule, or its value, of which all but the last row's gradients are as if it were not there. (Whether
 * NaN is multiplied by the 0 of hardmax, or of a weight outside a support, and whether a score that is
 * NaN counts for linear weights, whose slope does not depend on it, is nobody's word.) */
static void every_score_keeps_hidden_keys_out(void **state) {
    const uint64_t rounds = (uint64_t)grid_size(4, 8);
    for (uint64_t seed = 0; seed < rounds * SCORE_KINDS * NORMALIZERS; seed++) {
        const uint64_t round = seed / SCORE_KINDS;
        spec what = usual(16000 + seed, seed % 3 == 0);
        what.layout = LAYOUT_DENSE;
        what.kind = (attn_score_kind)(seed % SCORE_KINDS);
        what.normalizer = (attn_normalizer_kind)(round % NORMALIZERS);
        what.n_query = what.n_key = seed % 3 == 0 ? 7 : 19;
        what.rules = RULE_CAUSAL | (seed % 5 == 0 ? RULE_SOFTCAP | RULE_BIAS : 0);
        what.terms = seed % 7 == 0 ? TERM_CURVE_CALL | TERM_TEMPERATURE : 0;
        if (seed % 11 == 0) what.terms |= TERM_LOCATION | RELATIVE_TERMS;
        const bool sparse = what.normalizer == ATTN_SPARSEMAX || what.normalizer == ATTN_ENTMAX;
        uint8_t allowed[19];
        sample s;
        sample_make(&s, &what);
        memset(allowed, 1, sizeof allowed);
        allowed[2] = 0;
        s.problem.mask.allowed = attn_tensor_bool(allowed, 1, 1, 1, what.n_key);
        set_element(&s.problem.key, 0, 0, 2, 0, round % 2 ? NAN : INFINITY);
        set_element(&s.problem.value, 0, 0, 2, 0, round % 2 ? INFINITY : NAN);
        if (round % 4 != 0 && what.normalizer < ATTN_LINEAR)
            set_element(round % 4 == 1 && !sparse ? &s.problem.value : &s.problem.key, 0, 0,
                        what.n_key - 1, 0, NAN);
        check_sample(*state, &s, &(way){FROM_OUTPUT, ALL_GRADIENTS, round / 2 % 2 != 0});
        sample_free(&s);
    }
}

/* Of rows that see nothing only the sink has a gradient. */
static void rows_that_see_nothing(void **state) {
    for (uint64_t seed = 0; seed < 4 * NORMALIZERS; seed++) {
        spec what = usual(15000 + seed, seed % 3 == 0);
        what.normalizer = (attn_normalizer_kind)(seed % NORMALIZERS);
        what.rules = RULE_CAUSAL | RULE_OFFSET | RULE_SINKS;
        sample s;
        sample_make(&s, &what);
        s.problem.mask.query_offset = seed % 2 ? -5 : -100;
        check_sample(*state, &s, &all_of_it);
        sample_free(&s);
    }
}

/* Nothing flows through values that have none; no output is there to be looked at. */
static void values_without_features(void **state) {
    const target *const on = *state;
    static const float x[6] = {1, 2, 3, 4, 5, 6};
    float d_query[6] = {7, 7, 7, 7, 7, 7};
    const attn_problem p = {.query = attn_tensor_f32(x, 1, 1, 3, 2),
                            .key = attn_tensor_f32(x, 1, 1, 3, 2),
                            .value = attn_tensor_f32(x, 1, 1, 3, 0)};
    const attn_result_gradients from = {.output = attn_tensor_f32(x, 1, 1, 3, 0)};
    const attn_input_gradients to = {.query = attn_tensor_f32(d_query, 1, 1, 3, 2)};
    assert_int_equal(attn_backward(on->context, &p, &from, &to), ATTN_OK);
    for (size_t k = 0; k < COUNT(d_query); k++) assert_true(d_query[k] == 0);
}

/* Where a bound says nothing, nothing is tested. Supports are undecided once in a million pairs. */
static void bounds_say_something(void **state) {
    (void)state;
    if (share_without_bound() > 1e-3)
        fail_msg("no bound of %g of all elements", share_without_bound());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_lengths),
        cmocka_unit_test(long_sequences),
        cmocka_unit_test(all_widths),
        cmocka_unit_test(large_groups),
        cmocka_unit_test(all_pairs_of_rules),
        cmocka_unit_test(every_score_with_every_normalizer),
        cmocka_unit_test(every_alpha),
        cmocka_unit_test(all_pairs_of_terms),
        cmocka_unit_test(every_score_with_every_term),
        cmocka_unit_test(anything),
        cmocka_unit_test(random_problems),
        cmocka_unit_test(wide_scores),
        cmocka_unit_test(each_set_of_result_gradients),
        cmocka_unit_test(each_wanted_gradient),
        cmocka_unit_test(what_is_hidden_reaches_nothing),
        cmocka_unit_test(a_masked_key_reaches_its_own_query_alone),
        cmocka_unit_test(every_score_keeps_hidden_keys_out),
        cmocka_unit_test(rows_that_see_nothing),
        cmocka_unit_test(values_without_features),
        cmocka_unit_test(bounds_say_something),
    };
    const int failed = run_on_each_isa("backward", tests, COUNT(tests));
    printf("largest error: %.3f of its bound; of the reference's own: %.3f\n",
           largest_share_of_bound(), largest_share_of_reference());
    printf("elements without a bound: %.2g of all\n", share_without_bound());
    return failed;
}

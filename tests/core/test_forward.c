/* test_forward.c: attn_forward against the reference, over every length, width, rule, stride, type
 * and set of results, on each instruction set, within the bound derived in oracle.c. Tensors end or
 * begin at a page that faults, and what lies between the elements of a result must stay as it
 * was. */
#include "support.h"

#include <math.h>
#include <stdio.h>

#include "tiles/table.h"

static void check_spec(void **state, const spec *what) {
    const target *const on = *state;
    sample s;
    oracle o;
    sample_make(&s, what);
    if (attn_forward(on->context, &s.problem) != ATTN_OK)
        fail_msg("%s\n%s", sample_text(&s, on->isa), attn_error_message());
    oracle_make(&o, &s);
    assert_close(&s, &o, on->isa);
    assert_gaps_untouched(&s);
    oracle_free(&o);
    sample_free(&s);
}

static spec plain(uint64_t seed, attn_dtype dtype) {
    return (spec){.seed = seed,
                  .dtype = dtype,
                  .batch = 1,
                  .heads = 2,
                  .kv_heads = 1,
                  .n_query = 17,
                  .n_key = 33,
                  .d = 16,
                  .d_value = 16,
                  .results = WANT_ALL};
}

static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64};

/* Lengths about every vector, register tile, query block and key block there may be. */
static void all_lengths(void **state) {
    static const int64_t lengths[] = {0,  1,  2,  3,  4,  5,   6,   7,   8,  9,  11,
                                      13, 15, 16, 17, 23, 31,  32,  33,  47, 63, 64,
                                      65, 71, 95, 96, 97, 129, 191, 192, 193};
    for (size_t t = 0; t < COUNT(dtypes); t++) {
        for (size_t q = 0; q < COUNT(lengths); q++) {
            for (size_t k = q % 2; k < COUNT(lengths); k += (size_t)grid_size(2, 1)) {
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

static void all_widths(void **state) {
    static const int64_t few_or_many[] = {1, 3, 8, 9, 66};
    for (size_t t = 0; t < COUNT(dtypes); t++) {
        for (int64_t d = 0; d <= 132; d += d < 20 ? 1 : grid_size(7, 1)) {
            for (size_t q = 0; q < COUNT(few_or_many); q++) {
                spec what = plain((uint64_t)d, dtypes[t]);
                what.heads = 1;
                what.n_query = few_or_many[q];
                what.n_key = 7 + d % 13;
                what.d = d;
                what.d_value = 132 - d;
                check_spec(state, &what);
            }
        }
    }
}

/* Each rule alone and each two together, with few queries and with many. */
static void all_pairs_of_rules(void **state) {
    for (unsigned a = 0; a < RULES; a++) {
        for (unsigned b = a; b < RULES; b++) {
            spec what = plain(1000 + RULES * a + b, dtypes[(a + b) % 2]);
            what.batch = 2;
            what.kv_heads = 2;
            what.rules = 1u << a | 1u << b;
            what.layout = (layout)((a + b) % LAYOUTS);
            what.n_query = 37;
            what.n_key = 45;
            check_spec(state, &what);
            what.n_query = 1 + (a + b) % 8;
            what.n_key = 120;
            check_spec(state, &what);
        }
    }
}

static void random_problems(void **state) {
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(300, 20000); seed++) {
        const spec what = random_spec(seed, 80, 96);
        check_spec(state, &what);
    }
}

/* Rules at once, in numbers that the random ones hardly ever reach. */
static void many_rules_at_once(void **state) {
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(150, 4000); seed++) {
        spec what = random_spec(50000 + seed, 70, 20);
        what.rules =
            (unsigned)random_bits(seed, 1) & (unsigned)random_bits(seed, 2 + seed % 2) & ALL_RULES;
        what.rules |= seed % 2 ? RULE_ALLOWED | RULE_BIAS : 0;
        what.results = WANT_ALL;
        check_spec(state, &what);
    }
}

/* Several blocks of keys and of queries, whole and masked. */
static void long_sequences(void **state) {
    static const unsigned rules[] = {0,
                                     RULE_CAUSAL,
                                     RULE_CAUSAL | RULE_BOTTOM_RIGHT | RULE_ALIBI,
                                     RULE_WINDOW | RULE_SINKS,
                                     RULE_PACKED | RULE_CAUSAL,
                                     RULE_KEY_LENGTHS | RULE_SOFTCAP,
                                     RULE_DOCUMENTS | RULE_BIAS};
    for (size_t k = 0; k < COUNT(rules); k++) {
        spec what = plain(2000 + k, dtypes[k % 2]);
        what.rules = rules[k];
        what.d = what.d_value = 9;
        what.n_query = 203;
        what.n_key = 1031;
        check_spec(state, &what);
        what.n_query = 2;
        what.n_key = 20011;
        check_spec(state, &what);
    }
}

/* 60000 times the same. No maximum moves, so all that rounds are two sums: by u for each key of a
 * block and for each block. One accumulator for all would be off by nearly ten times as much. */
static void long_sums_do_not_drift(void **state) {
    const target *const on = *state;
    enum { KEYS = 60000 };
    const double bound = 2 * (ATTN_KEY_BLOCK + KEYS / ATTN_KEY_BLOCK + 8) * 0x1p-24;
    for (int64_t n_query = 2; n_query <= 20; n_query += 18) {
        spec what = plain(6000, ATTN_F32);
        what.heads = 1;
        what.n_query = n_query;
        what.n_key = KEYS;
        what.d = what.d_value = 1;
        sample s;
        sample_make(&s, &what);
        for (int64_t j = 0; j < what.n_key; j++) {
            set_element(&s.problem.key, 0, 0, j, 0, 0.5);
            set_element(&s.problem.value, 0, 0, j, 0, 0.1);
        }
        if (attn_forward(on->context, &s.problem) != ATTN_OK) fail_msg("%s", attn_error_message());
        for (int64_t i = 0; i < n_query; i++) {
            const double error = element(&s.problem.output, 0, 0, i, 0) / (double)0.1f - 1;
            if (!(fabs(error) <= bound)) fail_msg("off by %g, bound %g", error, bound);
        }
        sample_free(&s);
    }
}

/* Few queries of many heads over one key head: more rows than a block has lanes. */
static void large_groups(void **state) {
    static const int64_t groups[] = {2, 7, 8, 9, 16, 31, 33, 64, 70};
    for (size_t k = 0; k < COUNT(groups); k++) {
        for (int64_t n = 1; n <= 9; n += 1 + (int64_t)(k % 3)) {
            spec what = plain(5000 + 10 * k + (uint64_t)n, dtypes[k % 2]);
            what.heads = 2 * groups[k];
            what.kv_heads = 2;
            what.n_query = n;
            what.d = what.d_value = 5;
            what.rules = k % 2 ? RULE_CAUSAL | RULE_BOTTOM_RIGHT | RULE_ALIBI | RULE_SINKS
                               : RULE_ALLOWED | RULE_BIAS_MASKS | RULE_DOCUMENTS;
            check_spec(state, &what);
        }
    }
}

/* Scores up to several hundred: one key takes nearly all, and exp of the rest underflows. */
static void wide_scores(void **state) {
    for (uint64_t seed = 0; seed < 30; seed++) {
        spec what = plain(3000 + seed, dtypes[seed % 2]);
        what.spread = 12;
        what.n_query = seed % 3 == 0 ? 5 : 40;
        what.n_key = 150;
        check_spec(state, &what);
    }
}

static void each_set_of_results(void **state) {
    for (unsigned results = 0; results <= WANT_ALL; results++) {
        for (size_t t = 0; t < COUNT(dtypes); t++) {
            spec what = plain(4000 + results, dtypes[t]);
            what.results = results;
            check_spec(state, &what);
            what.n_query = 3;
            check_spec(state, &what);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_lengths),
        cmocka_unit_test(all_widths),
        cmocka_unit_test(all_pairs_of_rules),
        cmocka_unit_test(random_problems),
        cmocka_unit_test(many_rules_at_once),
        cmocka_unit_test(long_sequences),
        cmocka_unit_test(long_sums_do_not_drift),
        cmocka_unit_test(large_groups),
        cmocka_unit_test(wide_scores),
        cmocka_unit_test(each_set_of_results),
    };
    const int failed = run_on_each_isa("forward", tests, COUNT(tests));
    printf("largest error: %.3f of its bound\n", largest_share_of_bound());
    return failed;
}

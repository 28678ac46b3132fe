/* test_memory.c: what calls allocate, and what happens when they may not. */
#include "ledger.h"

#include <stdlib.h>
#include <string.h>

static spec usual(unsigned rules, int64_t n_query, int64_t n_key) {
    return (spec){.seed = 5,
                  .dtype = ATTN_F32,
                  .batch = 2,
                  .heads = 2,
                  .kv_heads = 1,
                  .n_query = n_query,
                  .n_key = n_key,
                  .d = 12,
                  .d_value = 10,
                  .rules = rules,
                  .results = WANT_ALL,
                  .layout = LAYOUT_ANY};
}

static int copy_results(sample *s, attn_tensor copies[MAX_RESULTS]) {
    named_tensor results[MAX_RESULTS];
    const int count = sample_results(s, results);
    for (int k = 0; k < count; k++) copies[k] = tensor_copy(results[k].tensor, ATTN_DTYPE_NONE);
    return count;
}

/* Lets the n-th allocation fail, calls again, and cleans up; returns whether none was left to
 * fail. */
static bool fail_allocation(const target *on, sample *s, const attn_tensor *expected, int64_t n) {
    ledger l = {.fail_at = n};
    sample_poison(s);
    attn_context *const context = ledger_context(&l, on->isa, 2);
    const attn_status status =
        context == NULL ? ATTN_ERROR_MEMORY : attn_forward(context, &s->problem);
    if (status != ATTN_OK) {
        assert_int_equal(status, ATTN_ERROR_MEMORY);
        assert_non_null(strstr(attn_error_message(), "no memory for"));
        assert_results_untouched(s);
    }
    if (context != NULL) {
        named_tensor results[MAX_RESULTS];
        const int count = sample_results(s, results);
        assert_int_equal(attn_forward(context, &s->problem), ATTN_OK);
        for (int k = 0; k < count; k++)
            assert_same_bits(results[k].tensor, &expected[k], results[k].name);
    }
    attn_context_destroy(context);
    assert_int_equal(l.live, 0);
    assert_int_equal(l.bytes, 0);
    return status == ATTN_OK;
}

/* From the context's own allocation on, each in turn fails once; the call after it must do. */
static void check_failures(const target *on, const spec *what) {
    sample s;
    attn_tensor expected[MAX_RESULTS];
    sample_make(&s, what);
    assert_int_equal(attn_forward(on->context, &s.problem), ATTN_OK);
    const int count = copy_results(&s, expected);
    int64_t failures = 0;
    while (!fail_allocation(on, &s, expected, failures + 1)) failures++;
    assert_true(failures >= 2); /* the context and its scratch at least */
    for (int k = 0; k < count; k++) free(expected[k].data);
    sample_free(&s);
}

static void each_allocation_fails_in_turn(void **state) {
    static const unsigned rules[] = {0, ALL_RULES};
    for (int64_t k = 0; k < 8; k++) {
        const spec what = usual(rules[k % 2], k < 4 ? 70 : 4, k % 4 < 2 ? 150 : 9000);
        check_failures(*state, &what);
    }
}

static void each_allocation_fails_in_turn_with_views(void **state) {
    for (uint64_t k = 0; k < 2 * NORMALIZERS; k++) {
        spec what = usual(k % 3 == 0 ? RULE_PACKED : RULE_CAUSAL, k < NORMALIZERS ? 70 : 4, 300);
        what.kind = (attn_score_kind)(k % SCORE_KINDS);
        what.normalizer = (attn_normalizer_kind)(k % NORMALIZERS);
        what.terms = k % 4 == 0 ? RELATIVE_TERMS | TERM_LOCATION : TERM_DROPOUT;
        what.views = ALL_VIEWS;
        check_failures(*state, &what);
    }
}

static void nothing_is_allocated_after_the_first_call(void **state) {
    const target *const on = *state;
    ledger l = {0};
    attn_context *const context = ledger_context(&l, on->isa, 2);
    const spec what = usual(RULE_CAUSAL | RULE_ALLOWED | RULE_BIAS, 70, 500);
    sample s;
    sample_make(&s, &what);
    assert_int_equal(attn_forward(context, &s.problem), ATTN_OK);
    const int64_t calls = l.calls;
    const size_t bytes = attn_context_scratch_bytes(context);
    for (int k = 0; k < 5; k++) assert_int_equal(attn_forward(context, &s.problem), ATTN_OK);
    s.problem.weights = (attn_tensor){0}; /* less than before */
    s.problem.score.bias = (attn_tensor){0};
    assert_int_equal(attn_forward(context, &s.problem), ATTN_OK);
    assert_int_equal(l.calls, calls);
    assert_int_equal(attn_context_scratch_bytes(context), bytes);
    assert_true((int64_t)bytes > 0 &&
                (int64_t)bytes <= l.bytes); /* the rest is the context itself */
    sample_free(&s);
    attn_context_destroy(context);
    assert_int_equal(l.live, 0);
}

/* A context that grows keeps what it last needed, not the sum of all it ever needed. */
static void growing_problems_do_not_pile_up(void **state) {
    const target *const on = *state;
    ledger l = {0};
    attn_context *const context = ledger_context(&l, on->isa, 1);
    for (int64_t n = 100; n <= 1600; n *= 2) {
        const spec what = usual(0, 30, n);
        sample s;
        sample_make(&s, &what);
        assert_int_equal(attn_forward(context, &s.problem), ATTN_OK);
        assert_int_equal(l.live, 2);
        assert_int_equal(l.bytes, l.most_bytes); /* the old block went before the new one came */
        sample_free(&s);
    }
    attn_context_destroy(context);
}

static int64_t scratch_for(const target *on, const spec *what) {
    ledger l = {0};
    attn_context *const context = ledger_context(&l, on->isa, 1);
    sample s;
    sample_make(&s, what);
    assert_int_equal(attn_forward(context, &s.problem), ATTN_OK);
    const int64_t bytes = (int64_t)attn_context_scratch_bytes(context);
    sample_free(&s);
    attn_context_destroy(context);
    return bytes;
}

/* attn.h: per thread about (d + 2 * d_value + 800) * 64 elements, and 64 rows of the weights if
 * they are asked for; "about" is taken as at most twice. The plan of a call adds a few bytes a
 * sequence. */
static void scratch_is_what_the_manual_says(void **state) {
    static const int64_t lengths[] = {100, 1000, 5000};
    for (size_t k = 0; k < COUNT(lengths); k++) {
        spec what = usual(0, 100, lengths[k]);
        what.results = WANT_OUTPUT | WANT_LSE;
        const int64_t element = (int64_t)sizeof(float),
                      fixed = (what.d + 2 * what.d_value + 800) * 64 * element;
        const int64_t plain = scratch_for(*state, &what);
        assert_true(plain <= 2 * fixed);
        what.results = WANT_ALL;
        assert_true(scratch_for(*state, &what) <= 2 * (fixed + 64 * what.n_key * element));
        what.rules = RULE_ALLOWED | RULE_BIAS | RULE_CAUSAL | RULE_DOCUMENTS;
        what.results = WANT_OUTPUT;
        assert_true(scratch_for(*state, &what) <= 2 * fixed);
    }
}

/* Longer keys, and as much scratch as before, as long as nobody wants the weights. */
static void scratch_does_not_grow_with_the_keys(void **state) {
    spec what = usual(RULE_CAUSAL | RULE_BOTTOM_RIGHT, 20, 600);
    what.results = WANT_OUTPUT;
    const int64_t short_keys = scratch_for(*state, &what);
    what.n_key = 6000;
    assert_int_equal(scratch_for(*state, &what), short_keys);
}

/* attn.h: O(n) with views too. Counted here, in elements: what weights cost, since a block's are kept
 * while views are made of them (64 rows); sums over queries (sums, maxima, window and 3 numbers), made
 * in at most 8 parts, of each chosen head of each sequence; k ranks a query of a block; and for the
 * path 64 rows of means in double and a quarter of a byte a pair. */
static int64_t most_scratch(const spec *what, int64_t ranks) {
    const int64_t element = (int64_t)sizeof(float), n = what->n_key;
    const int64_t fixed = (what->d + 2 * what->d_value + 800) * 64, sums = 8 * (3 * n + 3);
    const int64_t path =
        what->views & 1u << VIEW_PATH ? 64 * n * 8 + what->n_query * n / 4 + n * 8 : 0;
    return 2 * (fixed + 64 * n + 2 * ranks * 64) * element +
           what->batch * what->heads * sums * element + 2 * path;
}

static void scratch_with_views_is_linear(void **state) {
    static const int64_t lengths[] = {100, 1000, 5000};
    for (size_t k = 0; k < COUNT(lengths); k++) {
        for (unsigned view = 0; view <= VIEWS; view++) {
            spec what = usual(RULE_CAUSAL | RULE_BOTTOM_RIGHT, 200, lengths[k]);
            what.results = WANT_OUTPUT;
            what.normalizer = (attn_normalizer_kind)(view % NORMALIZERS);
            what.views = view < VIEWS ? 1u << view : ALL_VIEWS;
            const int64_t bytes = scratch_for(*state, &what), most = most_scratch(&what, 12);
            if (bytes > most)
                fail_msg("view %u, %lld keys: %lld bytes, bound %lld", view, (long long)what.n_key,
                         (long long)bytes, (long long)most);
        }
    }
}

/* More queries, and no more scratch, whatever is looked at but the path: 16 blocks of 64 queries, and
 * 64 of them, are both summed in all of the 8 parts that there may be. */
static void scratch_with_views_does_not_grow_with_the_queries(void **state) {
    spec what = usual(0, 16 * 64, 100);
    what.views = ALL_VIEWS & ~(1u << VIEW_PATH);
    what.results = WANT_OUTPUT;
    const int64_t some = scratch_for(*state, &what);
    what.n_query = 64 * 64;
    assert_int_equal(scratch_for(*state, &what), some);
}

/* Nor with the batch or the heads, but for a few bytes a sequence. */
static void scratch_does_not_grow_with_the_batch(void **state) {
    spec what = usual(0, 20, 50);
    const int64_t small = scratch_for(*state, &what);
    what.batch = 20;
    what.heads = what.kv_heads = 6;
    assert_true(scratch_for(*state, &what) <= small + 20 * 64);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_fails_in_turn),
        cmocka_unit_test(each_allocation_fails_in_turn_with_views),
        cmocka_unit_test(nothing_is_allocated_after_the_first_call),
        cmocka_unit_test(growing_problems_do_not_pile_up),
        cmocka_unit_test(scratch_is_what_the_manual_says),
        cmocka_unit_test(scratch_does_not_grow_with_the_keys),
        cmocka_unit_test(scratch_with_views_is_linear),
        cmocka_unit_test(scratch_with_views_does_not_grow_with_the_queries),
        cmocka_unit_test(scratch_does_not_grow_with_the_batch),
    };
    return run_on_each_isa("memory", tests, COUNT(tests));
}

/* test_memory_gradients.c: as test_memory.c, for calls that go backward. */
#include "ledger.h"
#include "sample_gradients.h"

#include <stdio.h>
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
                  .results = WANT_OUTPUT | WANT_LSE,
                  .layout = LAYOUT_ANY};
}

/* A problem whose forward has been run, with all its gradients. */
typedef struct trial {
    sample s;
    gradients g;
    attn_tensor expected[GRADIENTS];
} trial;

static void trial_make(trial *t, const target *on, const spec *what, bool saved) {
    sample_make(&t->s, what);
    assert_int_equal(attn_forward(on->context, &t->s.problem), ATTN_OK);
    if (!saved) t->s.problem.output = t->s.problem.lse = (attn_tensor){0};
    gradients_make(&t->g, &t->s, FROM_ALL, ALL_GRADIENTS);
    run_backward(on->context, &t->s.problem, &t->g);
    for (int k = 0; k < GRADIENTS; k++) {
        const attn_tensor *const place = gradient_of(&t->g.to, k);
        t->expected[k] =
            place->data ? tensor_copy(place, ATTN_DTYPE_NONE) : (attn_tensor){.data = NULL};
    }
}

static void trial_free(trial *t) {
    for (int k = 0; k < GRADIENTS; k++) free(t->expected[k].data);
    gradients_free(&t->g);
    sample_free(&t->s);
}

static void assert_expected(trial *t, const target *on) {
    for (int k = 0; k < GRADIENTS; k++) {
        const attn_tensor *const place = gradient_of(&t->g.to, k);
        if (place->data == NULL) continue;
        char what[640];
        (void)snprintf(what, sizeof what, "%s\n%s", sample_text(&t->s, on->isa), gradient_name(k));
        assert_same_bits(place, &t->expected[k], what);
    }
}

/* Lets the n-th allocation fail, calls again, and cleans up; returns whether none was left to
 * fail. */
static bool fail_allocation(trial *t, const target *on, int64_t n) {
    ledger l = {.fail_at = n};
    gradients_poison(&t->g);
    attn_context *const context = ledger_context(&l, on->isa, 2);
    const attn_status status = context == NULL
                                   ? ATTN_ERROR_MEMORY
                                   : attn_backward(context, &t->s.problem, &t->g.from, &t->g.to);
    if (status != ATTN_OK) {
        assert_int_equal(status, ATTN_ERROR_MEMORY);
        assert_non_null(strstr(attn_error_message(), "no memory for"));
        assert_gradients_untouched(&t->g);
    }
    if (context != NULL) {
        run_backward(context, &t->s.problem, &t->g);
        assert_expected(t, on);
    }
    attn_context_destroy(context);
    assert_int_equal(l.live, 0);
    assert_int_equal(l.bytes, 0);
    return status == ATTN_OK;
}

/* From the context's own allocation on, each in turn fails once; the call after it must do. */
static void check_failures(const target *on, const spec *what, bool saved) {
    trial t;
    trial_make(&t, on, what, saved);
    int64_t failures = 0;
    while (!fail_allocation(&t, on, failures + 1)) failures++;
    assert_true(failures >= 2); /* the context and its scratch at least */
    trial_free(&t);
}

static void each_allocation_fails_in_turn(void **state) {
    static const unsigned rules[] = {0, ALL_RULES};
    for (int64_t k = 0; k < 8; k++) {
        const spec what = usual(rules[k % 2], k < 4 ? 70 : 4, k % 4 < 2 ? 150 : 2000);
        check_failures(*state, &what, true);
    }
}

/* Without saved results the forward runs again, with an output and log-sum-exps of its own. */
static void each_allocation_fails_in_turn_of_all_kinds(void **state) {
    for (uint64_t k = 0; k < 2 * NORMALIZERS; k++) {
        spec what = usual(k % 3 == 0 ? RULE_PACKED : RULE_CAUSAL, k < NORMALIZERS ? 70 : 4, 300);
        what.kind = (attn_score_kind)(k % SCORE_KINDS);
        what.normalizer = (attn_normalizer_kind)(k % NORMALIZERS);
        what.terms = k % 4 == 0 ? RELATIVE_TERMS | TERM_LOCATION : TERM_DROPOUT | TERM_LOCAL;
        check_failures(*state, &what, k % 2 == 0);
    }
}

static void nothing_is_allocated_after_the_first_call(void **state) {
    const target *const on = *state;
    ledger l = {0};
    const spec what = usual(RULE_CAUSAL | RULE_ALLOWED | RULE_BIAS, 70, 500);
    trial t;
    trial_make(&t, on, &what, true);
    attn_context *const context = ledger_context(&l, on->isa, 2);
    run_backward(context, &t.s.problem, &t.g);
    const int64_t calls = l.calls;
    const size_t bytes = attn_context_scratch_bytes(context);
    for (int k = 0; k < 5; k++) run_backward(context, &t.s.problem, &t.g);
    t.g.to.bias = t.g.to.key = (attn_tensor){0}; /* less than before */
    run_backward(context, &t.s.problem, &t.g);
    assert_int_equal(l.calls, calls);
    assert_int_equal(attn_context_scratch_bytes(context), bytes);
    attn_context_destroy(context);
    assert_int_equal(l.live, 0);
    trial_free(&t);
}

static int64_t scratch_for(const target *on, const spec *what) {
    ledger l = {0};
    trial t;
    trial_make(&t, on, what, true);
    t.g.to =
        (attn_input_gradients){.query = t.g.to.query, .key = t.g.to.key, .value = t.g.to.value};
    attn_context *const context = ledger_context(&l, on->isa, 1);
    run_backward(context, &t.s.problem, &t.g);
    const int64_t bytes = (int64_t)attn_context_scratch_bytes(context);
    attn_context_destroy(context);
    trial_free(&t);
    return bytes;
}

/* gradients.h, of query, key and value alone: 3 numbers for each query and head, 2 more for
 * sparsemax and entmax; per thread about (5 d + 3 d_value + 1400) * 64 + 384 * (d + d_value)
 * elements, and 64 rows of weights for sparsemax, entmax and hardmax; "about" is taken as at most
 * twice. */
static void scratch_is_what_the_manual_says(void **state) {
    static const int64_t lengths[] = {100, 1000, 5000};
    for (size_t k = 0; k < COUNT(lengths) * NORMALIZERS; k++) {
        spec what = usual(RULE_CAUSAL, 100, lengths[k % COUNT(lengths)]);
        what.normalizer = (attn_normalizer_kind)(k / COUNT(lengths));
        const attn_normalizer_kind kind = what.normalizer;
        const bool sparse = kind == ATTN_SPARSEMAX || kind == ATTN_ENTMAX;
        const int64_t rows = what.batch * what.heads * what.n_query;
        const int64_t kept = sparse || kind == ATTN_HARDMAX ? 64 * what.n_key : 0;
        const int64_t elements = (5 * what.d + 3 * what.d_value + 1400) * 64 +
                                 384 * (what.d + what.d_value) + (sparse ? 5 : 3) * rows + kept;
        const int64_t bytes = scratch_for(*state, &what),
                      most = 2 * elements * (int64_t)sizeof(float);
        if (bytes > most)
            fail_msg("normalizer %d, %lld keys: %lld bytes, bound %lld", (int)kind,
                     (long long)what.n_key, (long long)bytes, (long long)most);
    }
}

/* Longer keys, and as much scratch as before, but for a turn of every 384 keys of a head. */
static void scratch_does_not_grow_with_the_keys(void **state) {
    spec what = usual(RULE_CAUSAL | RULE_BOTTOM_RIGHT, 20, 800);
    const int64_t short_keys = scratch_for(*state, &what);
    what.n_key = 6000;
    const int64_t turns =
        (6000 + 383) / 384 * what.batch * what.heads * (int64_t)sizeof(int64_t) + 64;
    assert_in_range(scratch_for(*state, &what), short_keys, short_keys + turns);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_fails_in_turn),
        cmocka_unit_test(each_allocation_fails_in_turn_of_all_kinds),
        cmocka_unit_test(nothing_is_allocated_after_the_first_call),
        cmocka_unit_test(scratch_is_what_the_manual_says),
        cmocka_unit_test(scratch_does_not_grow_with_the_keys),
    };
    return run_on_each_isa("memory of gradients", tests, COUNT(tests));
}

/* test_jvp_properties.c: changes of results to the last bit, where gradients.h promises the same; what is
 * masked, which reaches nothing; and refusals, which touch nothing. */
#include "changes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* -------------------------------------------------------------------------------------- bits */

static spec usual(uint64_t k) {
    const spec any = any_spec(k, 1, 1);
    spec what = plain_changes(k);
    what.dtype = k / 2 % 2 ? ATTN_F64 : ATTN_F32;
    what.batch = grid_size(2, 3);
    what.heads = grid_size(2, 3);
    what.n_query = k % 2 ? 75 : 5;
    what.n_key = k % 3 ? 131 : 2311; /* one stretch, or two */
    what.rules = any.rules;
    what.layout = (layout)(k % LAYOUTS);
    what.terms = any.terms & JVP_TERMS;
    what.normalizer = k % 4 ? ATTN_SOFTMAX : ATTN_SOFTMAX_ONE;
    what.results = WANT_OUTPUT | WANT_LSE;
    return what;
}

/* Dense copies of what is there. */
typedef struct kept {
    attn_tensor all[CHANGED_RESULTS];
} kept;

static kept keep(changes *t) {
    kept k;
    for (int n = 0; n < CHANGED_RESULTS; n++)
        k.all[n] = tensor_copy(result_change(&t->given, n), ATTN_DTYPE_NONE);
    return k;
}

static void assert_kept(changes *t, const attn_tangents *asked, const kept *k, attn_isa isa) {
    attn_tangents of = *asked;
    for (int n = 0; n < CHANGED_RESULTS; n++) {
        char what[640];
        (void)snprintf(what, sizeof what, "%s\n%s", sample_text(&t->s, isa),
                       result_change_names[n]);
        if (result_change(&of, n)->data) assert_same_bits(result_change(&of, n), &k->all[n], what);
    }
}

static void free_kept(kept *k) {
    for (int n = 0; n < CHANGED_RESULTS; n++) free(k->all[n].data);
}

/* Whatever the threads, the results asked for, and the forward's results that are at hand. */
static void same_bits_for_threads_and_sets(void **state) {
    static const int threads[] = {2, 3, 7};
    const target *const on = *state;
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(12, 400); seed++) {
        const spec what = usual(seed);
        changes t;
        changes_make(&t, on, &what, WITH_ALL);
        run_jvp(on->context, &t.s.problem, &t.given, sample_text(&t.s, on->isa));
        kept k = keep(&t);
        for (size_t n = 0; n < COUNT(threads); n++) {
            attn_context *const context = context_on(on->isa, threads[n]);
            sample_poison(&t.s);
            run_jvp(context, &t.s.problem, &t.given, sample_text(&t.s, on->isa));
            assert_kept(&t, &t.given, &k, on->isa);
            attn_context_destroy(context);
        }
        for (unsigned set = 0; set < 8; set++) {
            attn_tangents some = t.given;
            attn_problem p = t.s.problem;
            for (int n = 0; n < CHANGED_RESULTS; n++)
                if (!(set >> n & 1)) *result_change(&some, n) = (attn_tensor){0};
            if (set % 2) p.output = (attn_tensor){0};
            if (set % 3) p.lse = (attn_tensor){0};
            sample_poison(&t.s);
            run_jvp(on->context, &p, &some, sample_text(&t.s, on->isa));
            assert_kept(&t, &some, &k, on->isa);
        }
        free_kept(&k);
        changes_free(&t);
    }
}

/* Row b of a tensor that has one a batch row. */
static void take_row(attn_tensor *t, int64_t b) {
    if (t->data == NULL || t->shape[0] == 1) return;
    t->data = (unsigned char *)t->data + b * t->stride[0] * (int64_t)dtype_size(t->dtype);
    t->shape[0] = 1;
}

static void take_problem_row(attn_problem *p, int64_t b) {
    const int64_t n_query = p->query.shape[2], n_key = p->key.shape[2];
    attn_tensor *const all[] = {&p->query,        &p->key,
                                &p->value,        &p->output,
                                &p->lse,          &p->score.bias,
                                &p->score.sinks,  &p->score.scales,
                                &p->mask.allowed, &p->score.alibi_slopes};
    for (size_t k = 0; k < COUNT(all); k++) take_row(all[k], b);
    if (p->mask.prefix_lengths) p->mask.prefix_lengths += b;
    if (p->mask.query_lengths) p->mask.query_lengths += b;
    if (p->mask.key_lengths) p->mask.key_lengths += b;
    if (p->mask.query_documents) p->mask.query_documents += b * n_query;
    if (p->mask.key_documents) p->mask.key_documents += b * n_key;
    p->weights = (attn_tensor){0};
}

static void same_bits_in_a_batch_and_alone(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(12, 400); seed++) {
        spec what = usual(seed);
        changes t;
        what.rules &= ~(unsigned)RULE_PACKED;
        what.terms &= TERM_SCALES | TERM_TEMPERATURE; /* noise and callbacks know the place */
        changes_make(&t, on, &what, WITH_ALL);
        run_jvp(on->context, &t.s.problem, &t.given, sample_text(&t.s, on->isa));
        kept k = keep(&t);
        for (int64_t b = 0; b < what.batch; b++) {
            attn_tangents one = t.given;
            attn_problem p = t.s.problem;
            kept own = k;
            sample_poison(&t.s);
            take_problem_row(&p, b);
            for (int n = 0; n < CHANGED_INPUTS; n++) take_row(input_change(&one, n), b);
            for (int n = 0; n < CHANGED_RESULTS; n++) take_row(result_change(&one, n), b);
            for (int n = 0; n < CHANGED_RESULTS; n++) take_row(&own.all[n], b);
            run_jvp(on->context, &p, &one, sample_text(&t.s, on->isa));
            assert_kept(&t, &one, &own, on->isa);
        }
        free_kept(&k);
        changes_free(&t);
    }
}

/* --------------------------------------------------------------------------------- semantics */

static void spoil_key(const attn_tensor *t, int64_t j) {
    for (int64_t c = 0; c < t->shape[3]; c++) set_element(t, 0, 0, j, c, c % 2 ? INFINITY : NAN);
}

/* Of NaN and infinity in a key, a value or a change of either, nothing reaches queries that do not see
 * the key: those before it, or those whose bias is -infinity. The others do not stay finite. */
static void assert_reached(changes *t, attn_isa isa, int sick, int64_t key) {
    const bool causal = t->s.problem.mask.causal;
    const int64_t last = t->s.spec.n_query - 1;
    for (int k = 0; k < CHANGED_RESULTS; k++) {
        const attn_tensor *const to = result_change(&t->given, k);
        for (int64_t x[4] = {0}; index_inside(x, to->shape); index_next(x, to->shape)) {
            /* values reach outputs alone; keys reach, of weights, those of keys that are seen */
            const bool reached =
                x[2] == last && (k == 0 || sick % 2 == 0) && (k != 2 || x[3] <= key || !causal);
            if (isfinite(element(to, x[0], x[1], x[2], x[3])) == reached)
                fail_msg("%s\n%s[%d][%d], sick %d", sample_text(&t->s, isa), result_change_names[k],
                         (int)x[2], (int)x[3], sick);
        }
    }
}

enum { KEYS = 40, SICK = 20 };

/* The last query alone sees key SICK; returns a bias to be freed. */
static attn_tensor hide_by_bias(changes *t) {
    double bias[70 * KEYS];
    const int64_t n = t->s.spec.n_query;
    for (int64_t i = 0; i < n * KEYS; i++)
        bias[i] = i % KEYS == SICK && i / KEYS < n - 1 ? -INFINITY : 0.25;
    const attn_tensor full = attn_tensor_f64(bias, 1, 1, n, KEYS);
    return tensor_copy(&full, t->s.spec.dtype);
}

static void check_hidden(const target *on, uint64_t seed) {
    spec what = plain_changes(seed);
    changes t;
    what.heads = 1;
    what.n_query = seed / 2 % 2 ? 70 : 5;
    what.n_key = KEYS;
    what.rules = seed / 4 % 2 ? RULE_CAUSAL | RULE_SINKS : RULE_BIAS | RULE_SOFTCAP;
    what.results = seed >= 8 ? WANT_OUTPUT | WANT_LSE : 0;
    changes_make(&t, on, &what, WITH_ALL & ~WITH_BIAS);
    attn_problem *const p = &t.s.problem;
    attn_tensor bias = {0};
    if (p->mask.causal) p->mask.query_offset = SICK - (what.n_query - 1);
    else p->score.bias = bias = hide_by_bias(&t);
    for (int sick = 0; sick < 4; sick++) {
        const attn_tensor *const all[] = {&p->key, &p->value, &t.given.key, &t.given.value};
        const attn_tensor was = tensor_copy(all[sick], ATTN_F64);
        spoil_key(all[sick], SICK);
        if (attn_forward(on->context, p) != ATTN_OK) fail_msg("%s", attn_error_message());
        run_jvp(on->context, p, &t.given, sample_text(&t.s, on->isa));
        assert_reached(&t, on->isa, sick, SICK);
        for (int64_t c = 0; c < was.shape[3]; c++)
            set_element(all[sick], 0, 0, SICK, c, element(&was, 0, 0, SICK, c));
        free(was.data);
    }
    free(bias.data);
    changes_free(&t);
}

static void hidden_changes_reach_nothing(void **state) {
    for (uint64_t seed = 0; seed < 16; seed++) check_hidden(*state, seed);
}

/* A bias's change is not looked at where the bias hides the pair. */
static void the_change_of_a_hidden_bias_is_not_looked_at(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = plain_changes(seed);
        changes t;
        what.n_query = seed % 4 < 2 ? 70 : 5;
        what.rules = RULE_BIAS_MASKS;
        changes_make(&t, on, &what, WITH_ALL);
        const attn_tensor *const bias = &t.s.problem.score.bias;
        for (int64_t x[4] = {0}; index_inside(x, bias->shape); index_next(x, bias->shape))
            if (element(bias, x[0], x[1], x[2], x[3]) == -INFINITY)
                set_element(&t.given.bias, x[0], x[1], x[2], x[3], NAN);
        run_jvp(on->context, &t.s.problem, &t.given, sample_text(&t.s, on->isa));
        for (int k = 0; k < CHANGED_RESULTS; k++) {
            const attn_tensor *const to = result_change(&t.given, k);
            for (int64_t x[4] = {0}; index_inside(x, to->shape); index_next(x, to->shape))
                assert_true(isfinite(element(to, x[0], x[1], x[2], x[3])));
        }
        changes_free(&t);
    }
}

/* ------------------------------------------------------------------------------------ errors */

static void refuse(const target *on, changes *t, const attn_problem *p,
                   const attn_tangents *tangents, attn_status expected) {
    sample_poison(&t->s);
    assert_int_equal(attn_jvp(on->context, p, tangents), expected);
    assert_true(attn_error_message()[0] != 0);
    assert_results_untouched(&t->s);
}

static void errors_leave_results_alone(void **state) {
    const target *const on = *state;
    const spec what = plain_changes(7);
    changes t;
    changes_make(&t, on, &what, WITH_ALL);
    attn_problem p = t.s.problem;
    attn_tangents wrong = t.given;
    refuse(on, &t, NULL, &t.given, ATTN_ERROR_NULL);
    refuse(on, &t, &p, NULL, ATTN_ERROR_NULL);
    wrong.key.shape[2]--;
    refuse(on, &t, &p, &wrong, ATTN_ERROR_SHAPE);
    wrong = t.given;
    wrong.lse = wrong.output;
    wrong.lse.shape[3] = 1;
    refuse(on, &t, &p, &wrong, ATTN_ERROR_ALIAS);
    p.normalizer.kind = ATTN_SPARSEMAX;
    refuse(on, &t, &p, &t.given, ATTN_ERROR_UNSUPPORTED);
    p = t.s.problem;
    p.score.kind = ATTN_SCORE_GAUSSIAN;
    refuse(on, &t, &p, &t.given, ATTN_ERROR_UNSUPPORTED);
    changes_free(&t);
}

/* Each allocation fails in turn, that of the forward inside among them. */
static void *failing(void *user, size_t size, size_t alignment) {
    int *const left = user;
    return (*left)-- > 0 ? aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                         : NULL;
}

static void releasing(void *user, void *memory) {
    (void)user;
    free(memory);
}

static void each_allocation_fails(void **state) {
    const target *const on = *state;
    const spec what = plain_changes(9); /* without its forward's results */
    changes t;
    int failures = 0;
    changes_make(&t, on, &what, WITH_ALL);
    for (int allowed = 0;; allowed++) {
        int left = 1000;
        const attn_context_options options = {
            .threads = 1,
            .max_isa = on->isa,
            .allocator = {.allocate = failing, .release = releasing, .user = &left}};
        attn_context *context = NULL;
        assert_int_equal(attn_context_create(&context, &options), ATTN_OK);
        left = allowed;
        sample_poison(&t.s);
        const attn_status status = attn_jvp(context, &t.s.problem, &t.given);
        if (status != ATTN_OK) {
            assert_int_equal(status, ATTN_ERROR_MEMORY);
            assert_results_untouched(&t.s);
            failures++;
        }
        attn_context_destroy(context);
        if (status == ATTN_OK) break;
    }
    assert_int_equal(failures, 2); /* its own, and the forward's */
    changes_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_for_threads_and_sets),
        cmocka_unit_test(same_bits_in_a_batch_and_alone),
        cmocka_unit_test(hidden_changes_reach_nothing),
        cmocka_unit_test(the_change_of_a_hidden_bias_is_not_looked_at),
        cmocka_unit_test(errors_leave_results_alone),
        cmocka_unit_test(each_allocation_fails),
    };
    return run_on_each_isa("jvp_properties", tests, COUNT(tests));
}

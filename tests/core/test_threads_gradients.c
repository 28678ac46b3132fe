/* test_threads_gradients.c: gradients to the last bit, where gradients.h promises the same: for any
 * number of threads and any loop all of them; those of query, key and value also for any batch,
 * padding, packing and set of others asked for. */
#include "sample_gradients.h"

#include <string.h>

static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64};

/* As in test_properties.c: `count` entries of one axis, from the given one on; the one entry of an
 * axis that broadcasts. */
static attn_tensor part(attn_tensor t, int axis, int64_t from, int64_t count) {
    const int64_t size = (int64_t)dtype_size(t.dtype);
    if (t.data == NULL || from + count > t.shape[axis]) return t;
    t.data = (unsigned char *)t.data + from * t.stride[axis] * size;
    t.shape[axis] = count;
    return t;
}

/* ----------------------------------------------------------------------------------- problems */

/* Three heads over one; queries few, and more than a block; keys in one stretch of 384, and in
 * three. */
static spec usual(uint64_t k) {
    const spec any = any_spec(k, 1, 1);
    return (spec){.seed = k,
                  .dtype = dtypes[k / 2 % COUNT(dtypes)],
                  .batch = 2,
                  .heads = 3,
                  .kv_heads = 1,
                  .n_query = k % 2 ? 75 : 5,
                  .n_key = k % 3 ? 131 : 801,
                  .d = 12,
                  .d_value = 10,
                  .rules = any.rules,
                  .results = WANT_OUTPUT | (k % 4 ? WANT_LSE : 0u),
                  .layout = (layout)(k % LAYOUTS),
                  .side = any.side,
                  .kind = (attn_score_kind)(k % SCORE_KINDS),
                  .normalizer = (attn_normalizer_kind)(k % NORMALIZERS),
                  .alpha = any.alpha,
                  .terms = any.terms,
                  .views = k % 5 ? 0u : 1u << VIEW_ENTROPY,
                  .some_heads = any.some_heads};
}

/* Calls check with plain attention, and with every kind of score and every normalizer. */
static void with_each(void **state, unsigned rules, unsigned terms,
                      void (*check)(const target *, const spec *)) {
    const uint64_t plain = 6, every = (uint64_t)grid_size(30, 400);
    for (uint64_t k = 0; k < plain + every; k++) {
        spec what = usual(k);
        what.rules &= rules;
        what.terms &= terms;
        if (k < plain) {
            what.kind = ATTN_SCORE_DOT, what.normalizer = ATTN_SOFTMAX;
            what.terms = 0;
        }
        check(*state, &what);
    }
}

/* What may differ with the place in the batch or the pack: noise, and what callbacks are told. */
enum { PLACELESS = ALL_TERMS & ~(TERM_DROPOUT | TERM_GUMBEL | TERM_SCORE_CALL | TERM_MASK_CALL) };

/* A sample whose forward has been run, and its gradients by one thread. */
typedef struct whole {
    sample s;
    gradients g;
} whole;

static void run_back(whole *w, const target *on) {
    if (attn_forward(on->context, &w->s.problem) != ATTN_OK) fail_msg("%s", attn_error_message());
    gradients_make(&w->g, &w->s, FROM_ALL, ALL_GRADIENTS);
    run_backward(on->context, &w->s.problem, &w->g);
}

static void whole_make(whole *w, const target *on, const spec *what) {
    sample_make(&w->s, what);
    run_back(w, on);
}

static void whole_free(whole *w) {
    gradients_free(&w->g);
    sample_free(&w->s);
}

/* ------------------------------------------------------------------------------------ threads */

static void compare_on(attn_context *context, const target *on, whole *w) {
    gradients other;
    gradients_make(&other, &w->s, FROM_ALL, ALL_GRADIENTS);
    run_backward(context, &w->s.problem, &other);
    assert_same_gradients(&w->g, &other, GRADIENTS, sample_text(&w->s, on->isa));
    gradients_free(&other);
    attn_context_destroy(context);
}

static void check_threads(const target *on, const spec *what) {
    static const int threads[] = {2, 3, 7};
    whole w;
    whole_make(&w, on, what);
    for (size_t k = 0; k < COUNT(threads); k++) compare_on(context_on(on->isa, threads[k]), on, &w);
    whole_free(&w);
}

static void same_bits_for_any_threads(void **state) {
    with_each(state, ALL_RULES, ALL_TERMS, check_threads);
}

typedef struct loop {
    bool reverse;
    int64_t tasks; /* so far */
} loop;

static int64_t looped; /* of all calls: small ones need no loop */

static void run_serially(void *user, int64_t count, void (*task)(void *argument, int64_t i),
                         void *argument) {
    loop *const l = user;
    l->tasks += count;
    for (int64_t i = 0; i < count; i++) task(argument, l->reverse ? count - 1 - i : i);
}

/* One after the other, the first first or the last first, though the context has five threads. */
static void check_loops(const target *on, const spec *what) {
    whole w;
    whole_make(&w, on, what);
    for (int reverse = 0; reverse < 2; reverse++) {
        loop l = {.reverse = reverse != 0};
        const attn_context_options options = {
            .threads = 5, .max_isa = on->isa, .parallel_for = run_serially, .parallel_user = &l};
        attn_context *context = NULL;
        assert_int_equal(attn_context_create(&context, &options), ATTN_OK);
        compare_on(context, on, &w);
        looped += l.tasks;
    }
    whole_free(&w);
}

static void same_bits_for_any_loop(void **state) {
    with_each(state, ALL_RULES, ALL_TERMS, check_loops);
    assert_true(looped > 0);
}

/* gradients.h: heads and stretches of 384 keys are tasks of their own, however heads share keys. */
static void the_work_is_cut_into_tasks(void **state) {
    const target *const on = *state;
    spec what = usual(3);
    what.kind = ATTN_SCORE_DOT, what.normalizer = ATTN_SOFTMAX;
    what.rules = what.terms = what.views = 0;
    what.batch = 1;
    whole w;
    loop l = {0};
    whole_make(&w, on, &what);
    const attn_context_options options = {
        .threads = 5, .max_isa = on->isa, .parallel_for = run_serially, .parallel_user = &l};
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context, &options), ATTN_OK);
    compare_on(context, on, &w);
    assert_true(l.tasks >= what.heads * ((what.n_key + 383) / 384));
    whole_free(&w);
}

/* ------------------------------------------------------------------- which others are asked for */

static void check_sets(const target *on, const spec *what) {
    whole w;
    whole_make(&w, on, what);
    for (uint64_t set = 0; set < 10; set++) {
        gradients some;
        /* Each of the three alone, then all three, then random sets. */
        const uint64_t asked = set < 3    ? UINT64_C(1) << set
                               : set == 3 ? 7
                                          : random_bits(what->seed, set);
        gradients_make(&some, &w.s, FROM_ALL, (unsigned)asked & ALL_GRADIENTS);
        run_backward(on->context, &w.s.problem, &some);
        assert_same_gradients(&w.g, &some, SAME_BITS_ANYWHERE, sample_text(&w.s, on->isa));
        assert_gradient_gaps_untouched(&some);
        gradients_free(&some);
    }
    whole_free(&w);
}

static void same_bits_whichever_are_asked_for(void **state) {
    with_each(state, ALL_RULES, ALL_TERMS, check_sets);
}

/* ---------------------------------------------------------------------- places in batch and pack */

/* A part of a problem, with what it points to, so that all of it may be changed. Its gradients are
 * those of query, key and value alone. */
typedef struct portion {
    attn_problem problem;
    attn_location location;
    attn_local local;
    attn_views views;
    attn_result_gradients from;
    attn_input_gradients to;
} portion;

/* As a whole; `into` holds its gradients. */
static void portion_of(portion *x, const whole *w, const gradients *into) {
    *x = (portion){.problem = w->s.problem, .from = into->from};
    attn_problem *const p = &x->problem;
    if (p->score.location) x->location = *p->score.location, p->score.location = &x->location;
    if (p->normalizer.local) x->local = *p->normalizer.local, p->normalizer.local = &x->local;
    p->weights = (attn_tensor){0};
    x->to = (attn_input_gradients){.query = into->to.query,
                                   .key = into->to.key,
                                   .value = into->to.value,
                                   .callback = into->to.callback};
}

/* Row b of every tensor that has one a batch row. */
static void take_batch_row(portion *x, int64_t b) {
    attn_problem *const p = &x->problem;
    const int64_t n_query = p->query.shape[2], n_key = p->key.shape[2];
    attn_tensor *const all[] = {&p->query,
                                &p->key,
                                &p->value,
                                &p->score.bias,
                                &p->score.sinks,
                                &p->output,
                                &p->lse,
                                &p->mask.allowed,
                                &p->score.alibi_slopes,
                                &p->score.scales,
                                &x->local.centers,
                                &x->location.previous,
                                &x->from.output,
                                &x->from.lse,
                                &x->from.weights,
                                &x->from.entropy,
                                &x->to.query,
                                &x->to.key,
                                &x->to.value,
                                &x->from.received_sum};
    for (size_t k = 0; k < COUNT(all); k++) *all[k] = part(*all[k], 0, b, 1);
    if (p->mask.prefix_lengths) p->mask.prefix_lengths += b;
    if (p->mask.query_lengths) p->mask.query_lengths += b;
    if (p->mask.key_lengths) p->mask.key_lengths += b;
    if (p->mask.query_documents) p->mask.query_documents += b * n_query;
    if (p->mask.key_documents) p->mask.key_documents += b * n_key;
}

static void take_queries(portion *x, int64_t first, int64_t count) {
    attn_problem *const p = &x->problem;
    attn_tensor *const all[] = {&p->query,       &p->output,       &p->lse,
                                &x->from.output, &x->from.lse,     &x->from.weights,
                                &x->to.query,    &x->from.entropy, &x->local.centers};
    for (size_t k = 0; k < COUNT(all); k++) *all[k] = part(*all[k], 2, first, count);
}

static void take_keys(portion *x, int64_t first, int64_t count) {
    attn_problem *const p = &x->problem;
    attn_tensor *const all[] = {&p->key, &p->value, &x->to.key, &x->to.value};
    for (size_t k = 0; k < COUNT(all); k++) *all[k] = part(*all[k], 2, first, count);
    x->from.weights = part(x->from.weights, 3, 0, count); /* columns count within the sequence */
    x->from.received_sum = part(x->from.received_sum, 3, 0, count);
}

/* What has an element a pair of a sequence, whose own rows and columns are its first. */
static void take_pairs(portion *x, int64_t n_query, int64_t n_key) {
    attn_tensor *const all[] = {&x->problem.score.bias, &x->problem.mask.allowed,
                                &x->location.previous};
    for (size_t k = 0; k < COUNT(all); k++)
        *all[k] = part(part(*all[k], 2, 0, n_query), 3, 0, n_key);
}

static void portion_back(const portion *x, const target *on, const char *text) {
    if (attn_backward(on->context, &x->problem, &x->from, &x->to) != ATTN_OK)
        fail_msg("%s\n%s", text, attn_error_message());
}

static void assert_same_portion(const portion *a, const portion *b, const char *text) {
    assert_same_bits(&a->to.query, &b->to.query, text);
    assert_same_bits(&a->to.key, &b->to.key, text);
    assert_same_bits(&a->to.value, &b->to.value, text);
}

/* Each row of a batch alone, against the same rows of the whole batch's gradients. */
static void check_batch(const target *on, const spec *what) {
    spec many = *what;
    whole w;
    gradients alone;
    many.batch = 4;
    whole_make(&w, on, &many);
    gradients_make(&alone, &w.s, FROM_ALL, ALL_GRADIENTS);
    for (int64_t b = 0; b < many.batch; b++) {
        portion row, expected;
        portion_of(&row, &w, &alone);
        portion_of(&expected, &w, &w.g);
        take_batch_row(&row, b);
        take_batch_row(&expected, b);
        portion_back(&row, on, sample_text(&w.s, on->isa));
        assert_same_portion(&expected, &row, sample_text(&w.s, on->isa));
    }
    gradients_free(&alone);
    whole_free(&w);
}

static void same_bits_in_a_batch_and_alone(void **state) {
    with_each(state, ALL_RULES & ~(unsigned)RULE_PACKED, PLACELESS, check_batch);
}

static void assert_zero(const attn_tensor *t, const char *text) {
    for (int64_t x[4] = {0}; index_inside(x, t->shape); index_next(x, t->shape)) {
        if (element(t, x[0], x[1], x[2], x[3]) != 0) fail_msg("%s\npadding has a gradient", text);
    }
}

static void assert_zero_after(const attn_tensor *t, int64_t first, const char *text) {
    const attn_tensor rest = part(*t, 2, first, t->shape[2] - first);
    assert_zero(&rest, text);
}

/* Padding of NaN: queries, keys and values, and what flows in. */
static void spoil_padding(const sample *s, gradients *g) {
    const attn_problem *const p = &s->problem;
    for (int64_t q = 0; q < s->sequences; q++) {
        const int64_t n_query = s->stretches[q].n_query, n_key = s->stretches[q].n_key;
        attn_tensor rest[] = {p->key,         p->value,    p->query,
                              g->from.output, g->from.lse, g->from.entropy};
        for (size_t k = 0; k < COUNT(rest); k++) {
            const int64_t first = k < 2 ? n_key : n_query;
            attn_tensor t = part(rest[k], 0, q, 1);
            t = part(t, 2, first, t.shape[2] - first);
            for (int64_t x[4] = {0}; t.data && index_inside(x, t.shape); index_next(x, t.shape))
                memset(element_address(&t, x), POISON, dtype_size(t.dtype));
        }
    }
}

/* Padding around a sequence is as good as none, and has no gradient. Lengths stay on one side of 8
 * queries, where attn.h allows the path, and with it the last bits, to change. */
static void check_padding(const target *on, const spec *what) {
    spec padded = *what;
    whole w;
    gradients alone;
    padded.rules |= RULE_QUERY_LENGTHS | RULE_KEY_LENGTHS;
    padded.batch = 3;
    padded.layout = LAYOUT_ROWS; /* every element has its own memory, so padding can be spoilt */
    sample_make(&w.s, &padded);
    for (int64_t q = 0; padded.n_query > 8 && q < w.s.sequences; q++)
        if (w.s.lengths[0][q] <= 8) w.s.lengths[0][q] = w.s.stretches[q].n_query = 9 + 7 * q;
    run_back(&w, on);
    gradients_make(&alone, &w.s, FROM_ALL, ALL_GRADIENTS);
    spoil_padding(&w.s, &w.g);
    run_backward(on->context, &w.s.problem, &w.g);
    for (int64_t q = 0; q < w.s.sequences; q++) {
        const char *const text = sample_text(&w.s, on->isa);
        const stretch *const e = &w.s.stretches[q];
        portion own, expected;
        portion_of(&own, &w, &alone);
        portion_of(&expected, &w, &w.g);
        take_batch_row(&own, q);
        take_batch_row(&expected, q);
        assert_zero_after(&expected.to.query, e->n_query, text);
        assert_zero_after(&expected.to.key, e->n_key, text);
        assert_zero_after(&expected.to.value, e->n_key, text);
        portion *const both[] = {&own, &expected};
        for (int k = 0; k < 2; k++) {
            take_queries(both[k], 0, e->n_query);
            take_keys(both[k], 0, e->n_key);
        }
        take_pairs(&own, e->n_query, e->n_key);
        own.problem.mask.query_lengths = own.problem.mask.key_lengths = NULL;
        portion_back(&own, on, text);
        assert_same_portion(&expected, &own, text);
    }
    gradients_free(&alone);
    whole_free(&w);
}

static void same_bits_padded_and_alone(void **state) {
    with_each(state,
              RULE_CAUSAL | RULE_BOTTOM_RIGHT | RULE_WINDOW | RULE_PREFIX | RULE_ALLOWED |
                  RULE_BIAS | RULE_ALIBI | RULE_SINKS | RULE_SOFTCAP | RULE_SCALE,
              PLACELESS, check_padding);
}

/* Sequence q of a packed batch, as a problem of its own. */
static void take_sequence(portion *x, const stretch *e, int64_t q) {
    attn_problem *const p = &x->problem;
    attn_tensor *const by_sequence[] = {
        &p->score.sinks,  &p->score.alibi_slopes, &p->score.scales,     &p->score.bias,
        &p->mask.allowed, &x->location.previous,  &x->from.received_sum};
    for (size_t k = 0; k < COUNT(by_sequence); k++)
        *by_sequence[k] = part(*by_sequence[k], 0, q, 1);
    take_queries(x, e->first_query, e->n_query);
    take_keys(x, e->first_key, e->n_key);
    take_pairs(x, e->n_query, e->n_key);
    p->mask.query_starts = p->mask.key_starts = NULL;
    p->mask.sequences = 0;
}

static void check_packed(const target *on, const spec *what) {
    spec packed = *what;
    whole w;
    gradients alone;
    packed.rules |= RULE_PACKED;
    packed.n_query = what->n_query > 8 ? 160 : 8;
    packed.n_key = what->n_key > 384 ? 1500 : 300;
    whole_make(&w, on, &packed);
    gradients_make(&alone, &w.s, FROM_ALL, ALL_GRADIENTS);
    for (int64_t q = 0; q < w.s.sequences; q++) {
        const stretch *const e = &w.s.stretches[q];
        portion own, expected;
        if ((packed.n_query > 8) != (e->n_query > 8)) continue; /* another path */
        portion_of(&own, &w, &alone);
        portion_of(&expected, &w, &w.g);
        take_sequence(&own, e, q);
        take_sequence(&expected, e, q);
        portion_back(&own, on, sample_text(&w.s, on->isa));
        assert_same_portion(&expected, &own, sample_text(&w.s, on->isa));
    }
    gradients_free(&alone);
    whole_free(&w);
}

static void same_bits_packed_and_alone(void **state) {
    with_each(state,
              RULE_CAUSAL | RULE_BOTTOM_RIGHT | RULE_WINDOW | RULE_ALIBI | RULE_SINKS |
                  RULE_SOFTCAP | RULE_SCALE,
              PLACELESS, check_packed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_for_any_threads),
        cmocka_unit_test(same_bits_for_any_loop),
        cmocka_unit_test(the_work_is_cut_into_tasks),
        cmocka_unit_test(same_bits_whichever_are_asked_for),
        cmocka_unit_test(same_bits_in_a_batch_and_alone),
        cmocka_unit_test(same_bits_padded_and_alone),
        cmocka_unit_test(same_bits_packed_and_alone),
    };
    return run_on_each_isa("threads of gradients", tests, COUNT(tests));
}

/* test_threads.c: many callers at once, and the caller's own parallel loop. Made of plain pthreads,
 * so that the thread sanitizer sees all of it (build without OpenMP for that: it does not know
 * libgomp's barriers). */
#define _POSIX_C_SOURCE 200809L /* barriers */
#include "sample_gradients.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

/* --------------------------------------------------------------- a parallel loop of one's own */

typedef struct loop {
    int threads;
    atomic_llong calls, tasks; /* so far */
} loop;

typedef struct loop_run {
    void (*task)(void *argument, int64_t i);
    void *argument;
    int64_t count;
    atomic_llong next;
} loop_run;

static void *loop_worker(void *argument) {
    loop_run *const r = argument;
    for (int64_t i; (i = atomic_fetch_add(&r->next, 1)) < r->count;) r->task(r->argument, i);
    return NULL;
}

static void parallel(void *user, int64_t count, void (*task)(void *argument, int64_t i),
                     void *argument) {
    loop *const l = user;
    pthread_t threads[16];
    loop_run r = {.task = task, .argument = argument, .count = count};
    atomic_init(&r.next, 0);
    atomic_fetch_add(&l->calls, 1);
    atomic_fetch_add(&l->tasks, count);
    for (int k = 0; k < l->threads; k++) {
        if (pthread_create(&threads[k], NULL, loop_worker, &r) != 0) abort();
    }
    for (int k = 0; k < l->threads; k++) pthread_join(threads[k], NULL);
}

/* One after the other, the last first: also a loop that the contract allows. */
static void backwards(void *user, int64_t count, void (*task)(void *argument, int64_t i),
                      void *argument) {
    loop *const l = user;
    atomic_fetch_add(&l->calls, 1);
    atomic_fetch_add(&l->tasks, count);
    for (int64_t i = count - 1; i >= 0; i--) task(argument, i);
}

static attn_context *context_of(attn_isa isa, attn_parallel_for *run, loop *l) {
    const attn_context_options options = {
        .threads = l->threads, .max_isa = isa, .parallel_for = run, .parallel_user = l};
    attn_context *context = NULL;
    if (attn_context_create(&context, &options) != ATTN_OK) fail_msg("%s", attn_error_message());
    assert_int_equal(attn_context_threads(context), l->threads);
    return context;
}

/* Enough work for several threads; the keys of the few queries are split and merged. */
static spec usual(uint64_t seed) {
    return (spec){.seed = seed,
                  .dtype = seed % 2 ? ATTN_F64 : ATTN_F32,
                  .batch = 2,
                  .heads = 4,
                  .kv_heads = 2,
                  .n_query = seed % 3 == 0 ? 3 : 150,
                  .n_key = seed % 3 == 0 ? 20000 : 200,
                  .d = 16,
                  .d_value = 16,
                  .rules = seed % 5 == 0 ? RULE_CAUSAL | RULE_ALLOWED | RULE_SINKS : 0,
                  .results = WANT_ALL,
                  .terms = seed % 2 ? TERM_SCORE_CALL | TERM_DROPOUT : 0,
                  .views = seed % 2 ? ALL_VIEWS & ~(1u << VIEW_PATH) : 0};
}

static void assert_same_results(sample *a, sample *b) {
    named_tensor in_a[MAX_RESULTS], in_b[MAX_RESULTS];
    const int count = sample_results(a, in_a);
    assert_int_equal(sample_results(b, in_b), count);
    for (int k = 0; k < count; k++) assert_same_bits(in_a[k].tensor, in_b[k].tensor, in_a[k].name);
}

static void the_callers_loop_does_the_work(void **state) {
    const target *const on = *state;
    attn_parallel_for *const loops[] = {parallel, backwards};
    for (uint64_t seed = 0; seed < 6; seed++) {
        const spec what = usual(seed);
        sample one, other;
        loop l = {.threads = 4};
        attn_context *const context = context_of(on->isa, loops[seed % COUNT(loops)], &l);
        sample_make(&one, &what);
        sample_make(&other, &what);
        assert_int_equal(attn_forward(on->context, &one.problem), ATTN_OK);
        assert_int_equal(attn_forward(context, &other.problem), ATTN_OK);
        assert_same_results(&one, &other);
        assert_true(atomic_load(&l.calls) >= 1 && atomic_load(&l.tasks) >= 2);
        sample_free(&one);
        sample_free(&other);
        attn_context_destroy(context);
    }
}

/* ------------------------------------------------------------------------- many callers at once */

enum { CALLERS = 6, ROUNDS = 4 };

typedef struct caller {
    attn_context *context;
    sample mine;
    attn_tensor expected[MAX_RESULTS]; /* the same problem's results, computed alone */
    bool wrong;
} caller;

static bool same_bytes(const attn_tensor *a, const attn_tensor *b) {
    return memcmp(a->data, b->data, tensor_elements(a) * dtype_size(a->dtype)) == 0;
}

/* Runs on a thread of its own, where cmocka must not be called: it only notes what went wrong. */
static void *call_again_and_again(void *argument) {
    caller *const c = argument;
    named_tensor results[MAX_RESULTS];
    const int count = sample_results(&c->mine, results);
    for (int round = 0; round < ROUNDS; round++) {
        sample_poison(&c->mine);
        c->wrong |= attn_forward(c->context, &c->mine.problem) != ATTN_OK;
        for (int k = 0; k < count; k++) c->wrong |= !same_bytes(results[k].tensor, &c->expected[k]);
        c->wrong |= attn_context_scratch_bytes(c->context) == 0;
    }
    return NULL;
}

static void call_at_once(const target *on, attn_context *context) {
    static caller callers[CALLERS];
    pthread_t threads[CALLERS];
    for (size_t k = 0; k < CALLERS; k++) {
        caller *const c = &callers[k];
        const spec what = usual(k);
        *c = (caller){.context = context};
        sample_make(&c->mine, &what);
        assert_int_equal(attn_forward(on->context, &c->mine.problem), ATTN_OK);
        named_tensor results[MAX_RESULTS];
        const int count = sample_results(&c->mine, results);
        for (int r = 0; r < count; r++)
            c->expected[r] = tensor_copy(results[r].tensor, ATTN_DTYPE_NONE);
    }
    for (size_t k = 0; k < CALLERS; k++) {
        assert_int_equal(pthread_create(&threads[k], NULL, call_again_and_again, &callers[k]), 0);
    }
    for (size_t k = 0; k < CALLERS; k++) pthread_join(threads[k], NULL);
    for (size_t k = 0; k < CALLERS; k++) {
        caller *const c = &callers[k];
        if (c->wrong) fail_msg("%s: not what it is alone", sample_text(&c->mine, on->isa));
        for (size_t r = 0; r < MAX_RESULTS; r++) free(c->expected[r].data);
        sample_free(&c->mine);
    }
}

static void callers_share_a_context(void **state) {
    const target *const on = *state;
    loop l = {.threads = 3};
    attn_context *const context = context_of(on->isa, parallel, &l);
    call_at_once(on, context);
    attn_context_destroy(context);
}

/* The default context obeys the process-wide ceiling at every call. */
static void callers_share_the_default_context(void **state) {
    const target *const on = *state;
    const attn_isa before = attn_context_isa(NULL);
    assert_int_equal(attn_set_max_isa(on->isa), ATTN_OK);
    assert_int_equal(attn_context_isa(NULL), on->isa);
    call_at_once(on, NULL);
    assert_int_equal(attn_set_max_isa(before), ATTN_OK);
}

/* A caller that makes a mistake of its own, and reads its sentence when all have made theirs. */
typedef struct mistake {
    int64_t offset; /* what mask.query_offset is set to: out of range */
    pthread_barrier_t *all_made;
    bool right;
} mistake;

static void *make_mistake(void *argument) {
    mistake *const m = argument;
    float x = 1;
    const attn_problem p = {.query = attn_tensor_f32(&x, 1, 1, 1, 1),
                            .key = attn_tensor_f32(&x, 1, 1, 1, 1),
                            .value = attn_tensor_f32(&x, 1, 1, 1, 1),
                            .mask = {.query_offset = m->offset}};
    const attn_status status = attn_forward(NULL, &p);
    pthread_barrier_wait(m->all_made);
    const char *const digits = strpbrk(attn_error_message(), "0123456789");
    m->right =
        status == ATTN_ERROR_VALUE && digits != NULL && strtoll(digits, NULL, 10) == m->offset;
    return NULL;
}

static void each_thread_has_its_own_sentence(void **state) {
    (void)state;
    pthread_barrier_t all_made;
    mistake mistakes[] = {
        {.offset = INT64_C(2) << 40}, {.offset = INT64_C(3) << 40}, {.offset = INT64_C(5) << 40}};
    pthread_t threads[COUNT(mistakes)];
    assert_int_equal(pthread_barrier_init(&all_made, NULL, COUNT(mistakes)), 0);
    for (size_t k = 0; k < COUNT(mistakes); k++) {
        mistakes[k].all_made = &all_made;
        assert_int_equal(pthread_create(&threads[k], NULL, make_mistake, &mistakes[k]), 0);
    }
    for (size_t k = 0; k < COUNT(mistakes); k++) {
        pthread_join(threads[k], NULL);
        assert_true(mistakes[k].right);
    }
    pthread_barrier_destroy(&all_made);
}

/* ------------------------------------------------------------------------------------- backward */

/* Two heads and two sequences in all of which every sum is one that tasks share: a key head for all
 * query heads, keys in several chunks of 384, one bias of every pair, and one weight or table. */
static void make_shared(sample *s, uint64_t k) {
    static const attn_score_kind kinds[] = {ATTN_SCORE_DOT, ATTN_SCORE_GENERAL, ATTN_SCORE_ADDITIVE,
                                            ATTN_SCORE_CONCAT};
    stream from = {.seed = k + 500};
    const spec what = {.seed = k,
                       .dtype = (k + k / 4) % 2 ? ATTN_F64 : ATTN_F32,
                       .batch = 2,
                       .heads = 2,
                       .kv_heads = 1,
                       .n_query = k < 4 ? 150 : 3,
                       .n_key = k < 4 ? 800 : 5000,
                       .d = 8,
                       .d_value = 6,
                       .results = k % 3 ? WANT_OUTPUT | WANT_LSE : 0,
                       .kind = kinds[k % COUNT(kinds)],
                       .normalizer = k == 4 ? ATTN_SPARSEMAX : ATTN_SOFTMAX,
                       .terms = RELATIVE_TERMS | TERM_SCALES | TERM_OFFSET |
                                (k % 4 == 3 ? TERM_LOCATION : 0u)};
    sample_make(s, &what);
    attn_score *const score = &s->problem.score;
    attn_relative *const r = &s->relative;
    attn_tensor *const shared[] = {&score->weight, &score->projection, &score->offset,
                                   &score->scales, &r->bias,           &r->keys,
                                   &r->queries,    &r->values,         &s->location.filters};
    for (size_t n = 0; n < COUNT(shared); n++) shared[n]->shape[0] = shared[n]->shape[1] = 1;
    score->bias =
        sample_tensor(s, what.dtype, (int64_t[4]){1, 1, what.n_query, what.n_key}, false, &from);
    fill_normal(&score->bias, k + 4, 1);
}

enum { SHARED = 8 }; /* of them; many queries, then few */

static void make_backward(sample *s, gradients *g, const target *on, uint64_t k) {
    make_shared(s, k);
    assert_int_equal(attn_forward(on->context, &s->problem), ATTN_OK);
    gradients_make(g, s, FROM_ALL, ALL_GRADIENTS);
}

static void the_callers_loop_goes_backward(void **state) {
    const target *const on = *state;
    for (uint64_t k = 0; k < SHARED; k++) {
        sample s;
        gradients one, other;
        loop l = {.threads = 4};
        attn_context *const context = context_of(on->isa, parallel, &l);
        make_backward(&s, &one, on, k);
        gradients_make(&other, &s, FROM_ALL, ALL_GRADIENTS);
        run_backward(on->context, &s.problem, &one);
        run_backward(context, &s.problem, &other);
        assert_same_gradients(&one, &other, GRADIENTS, sample_text(&s, on->isa));
        assert_true(atomic_load(&l.tasks) >= 2 * l.threads); /* all of them in both phases */
        gradients_free(&one);
        gradients_free(&other);
        sample_free(&s);
        attn_context_destroy(context);
    }
}

typedef struct backward_caller {
    attn_context *context;
    sample s;
    gradients mine, expected;
    bool wrong;
} backward_caller;

/* As call_again_and_again; gaps between elements are poison in both. */
static void *go_backward_again(void *argument) {
    backward_caller *const c = argument;
    const sample *const a = &c->mine.room, *const b = &c->expected.room;
    for (int round = 0; round < 2; round++) {
        gradients_poison(&c->mine);
        c->wrong |= attn_backward(c->context, &c->s.problem, &c->mine.from, &c->mine.to) != ATTN_OK;
        for (int k = a->first_result; k < a->used; k++)
            c->wrong |= memcmp(a->blocks[k].memory, b->blocks[k].memory, a->blocks[k].bytes) != 0;
    }
    return NULL;
}

static void callers_go_backward_at_once(void **state) {
    static backward_caller callers[CALLERS];
    const target *const on = *state;
    pthread_t threads[CALLERS];
    loop l = {.threads = 3};
    attn_context *const context = context_of(on->isa, parallel, &l);
    for (size_t k = 0; k < CALLERS; k++) {
        backward_caller *const c = &callers[k];
        c->context = context;
        c->wrong = false;
        make_backward(&c->s, &c->mine, on, k + SHARED - CALLERS);
        gradients_make(&c->expected, &c->s, FROM_ALL, ALL_GRADIENTS);
        run_backward(on->context, &c->s.problem, &c->expected);
    }
    for (size_t k = 0; k < CALLERS; k++)
        assert_int_equal(pthread_create(&threads[k], NULL, go_backward_again, &callers[k]), 0);
    for (size_t k = 0; k < CALLERS; k++) pthread_join(threads[k], NULL);
    for (size_t k = 0; k < CALLERS; k++) {
        backward_caller *const c = &callers[k];
        if (c->wrong) fail_msg("%s: not what it is alone", sample_text(&c->s, on->isa));
        gradients_free(&c->mine);
        gradients_free(&c->expected);
        sample_free(&c->s);
    }
    attn_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_callers_loop_does_the_work),
        cmocka_unit_test(callers_share_a_context),
        cmocka_unit_test(callers_share_the_default_context),
        cmocka_unit_test(each_thread_has_its_own_sentence),
        cmocka_unit_test(the_callers_loop_goes_backward),
        cmocka_unit_test(callers_go_backward_at_once),
    };
    return run_on_each_isa("threads", tests, COUNT(tests));
}

/* The search over a language that can be listed: against all that it can say, against a plain search
 * written a second time, alone and in a batch; every rule that ends a sentence. Built with the library of
 * double and with that of float. */
#include "language.h"

#include "noise.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Seven sources, of 1 to 6 rows, all different. */
enum { SENTENCES = 7, MOST = 24 };
static const int64_t starts[SENTENCES + 1] = {0, 3, 4, 10, 12, 16, 21, 23};
static const int32_t words[23] = {4, 5, 1, 1, 4, 6, 7, 4, 9, 1, 5, 1,
                                  7, 8, 8, 1, 4, 4, 5, 9, 1, 9, 1};
static const attn_nn_sentences all_sources = {SENTENCES, starts, words};

typedef struct fixture {
    attn_nn_pass pass;
    language l;
    attn_nn_search_options o;
} fixture;

static void begin(fixture *f, int64_t vocabulary, const attn_nn_sentences *source) {
    memset(f, 0, sizeof *f);
    f->pass.arena = attn_nn_arena_create();
    f->l = (language){.pass = &f->pass, .source = source, .vocabulary = vocabulary, .spread = 4};
    f->o = attn_nn_search_defaults(L_BEGIN, L_END, L_UNKNOWN, L_PAD);
}

static void end(fixture *f) {
    language_free(&f->l);
    attn_nn_arena_destroy(f->pass.arena);
}

static attn_nn_translations *search(fixture *f) {
    const attn_nn_search_source from = language_source(&f->l);
    language_free(&f->l);
    return attn_nn_search_run(&from, &f->pass, f->l.source, &f->o);
}

static attn_nn_translations *found(fixture *f) {
    attn_nn_translations *const t = search(f);
    assert_non_null(t);
    assert_int_equal(f->pass.status, ATTN_OK);
    assert_int_equal(t->count, f->l.source->count);
    assert_int_equal(t->starts[0], 0);
    return t;
}

/* --- The same, plainly ---------------------------------------------------------------------------- */

/* A hypothesis: what it said, and what it is known by. */
typedef struct spoken {
    int32_t tokens[MOST];
    int64_t length;
    uint64_t prefix;
    double total, score;
    int64_t place; /* in the order of making: earlier ones come first among equals */
} spoken;

typedef struct list {
    spoken *items;
    int64_t count, capacity;
} list;

static void push(list *l, spoken s) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        l->items = realloc(l->items, (size_t)l->capacity * sizeof *l->items);
        assert_non_null(l->items);
    }
    s.place = l->count;
    l->items[l->count++] = s;
}

static int by_total(const void *a_, const void *b_) {
    const spoken *const a = a_, *const b = b_;
    if (a->total != b->total) return a->total > b->total ? -1 : 1;
    return a->place < b->place ? -1 : 1;
}

static int by_score(const void *a_, const void *b_) {
    const spoken *const a = a_, *const b = b_;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->place < b->place ? -1 : 1;
}

static void sort(list *l, int (*order)(const void *, const void *)) {
    if (l->count > 1) qsort(l->items, (size_t)l->count, sizeof *l->items, order);
}

static int64_t limit_of(const fixture *f, int64_t s) {
    const int64_t rows = f->l.source->starts[s + 1] - f->l.source->starts[s];
    const int64_t limit = (int64_t)(f->o.max_factor * (double)rows) + f->o.max_more;
    return limit < f->o.max_length ? limit : f->o.max_length;
}

static bool may_say(const fixture *f, int64_t v, int64_t said, int64_t limit) {
    if (said == limit) return v == L_END;
    if (v == L_END) return said >= f->o.min_length;
    return v != L_BEGIN && v != L_PAD && !(v == L_UNKNOWN && f->o.forbid_unknown);
}

/* Every continuation of a hypothesis; ends have their score. */
static void continue_with_all(const fixture *f, const spoken *s, int64_t limit, list *to) {
    real log_p[256];
    language_log_p(&f->l, s->prefix, log_p);
    for (int64_t v = 0; v < f->l.vocabulary; v++) {
        if (!may_say(f, v, s->length, limit)) continue;
        spoken next = *s;
        next.total += (double)log_p[v];
        if (v == L_END) {
            next.score = next.total / pow((double)(s->length + 1), f->o.length_penalty);
            next.prefix = 0;
        } else {
            next.tokens[next.length++] = (int32_t)v;
            next.prefix = language_after(s->prefix, (int32_t)v);
        }
        push(to, next);
    }
}

/* Everything that sentence s can become, best first. */
static list say_everything(const fixture *f, int64_t s) {
    list open = {0}, done = {0};
    push(&open, (spoken){.prefix = language_begin(&f->l, s)});
    for (int64_t i = 0; i < open.count; i++) {
        list next = {0};
        const spoken from = open.items[i];
        continue_with_all(f, &from, limit_of(f, s), &next);
        for (int64_t k = 0; k < next.count; k++) {
            push(next.items[k].prefix ? &open : &done, next.items[k]);
        }
        free(next.items);
    }
    free(open.items);
    sort(&done, by_score);
    return done;
}

/* Whether the best open hypothesis, of `length` tokens, can come to beat the n-best of `done`. */
static bool can_beat(const fixture *f, const list *done, double total, int64_t length,
                     int64_t limit) {
    for (int64_t m = length; m <= limit; m++) {
        const double score = total / pow((double)(m + 1), f->o.length_penalty);
        if (score > done->items[f->o.n_best - 1].score) return true;
    }
    return false;
}

/* A beam, by sorting all continuations; *steps: how many it took. */
static list plain_beam(const fixture *f, int64_t s, int64_t *steps) {
    const int64_t limit = limit_of(f, s);
    list open = {0}, done = {0};
    push(&open, (spoken){.prefix = language_begin(&f->l, s)});
    for (int64_t said = 0; open.count > 0; said++) {
        list all = {0}, next = {0};
        ++*steps;
        for (int64_t i = 0; i < open.count; i++) {
            continue_with_all(f, &open.items[i], limit, &all);
        }
        sort(&all, by_total);
        for (int64_t i = 0; i < all.count; i++) {
            const bool ends = all.items[i].prefix == 0;
            if (ends && (i < f->o.beam || said == limit)) push(&done, all.items[i]);
            if (!ends && next.count < f->o.beam) push(&next, all.items[i]);
        }
        free(all.items);
        free(open.items);
        open = next;
        list sorted = done;
        sorted.items = calloc((size_t)done.count + 1, sizeof *done.items);
        if (done.count) memcpy(sorted.items, done.items, (size_t)done.count * sizeof *done.items);
        sort(&sorted, by_score);
        const bool enough = (double)done.count >= f->o.patience * (double)f->o.beam;
        const bool full = done.count >= f->o.n_best;
        const bool over =
            full && open.count > 0 &&
            (enough || !can_beat(f, &sorted, open.items[0].total, open.items[0].length, limit));
        free(sorted.items);
        if (over) open.count = 0;
    }
    free(open.items);
    sort(&done, by_score);
    return done;
}

static void assert_hypothesis(const attn_nn_hypothesis *h, const spoken *expected) {
    assert_int_equal(h->length, expected->length);
    assert_memory_equal(h->tokens, expected->tokens, (size_t)h->length * sizeof *h->tokens);
    assert_true(h->log_p == expected->total);
    assert_true(h->score == expected->score);
}

static void assert_found(const fixture *f, const attn_nn_translations *t, int64_t s,
                         const list *expected) {
    const int64_t count = expected->count < f->o.n_best ? expected->count : f->o.n_best;
    assert_int_equal(t->starts[s + 1] - t->starts[s], count);
    for (int64_t i = 0; i < count; i++) {
        assert_hypothesis(&t->hypotheses[t->starts[s] + i], &expected->items[i]);
    }
}

/* --- Beams ---------------------------------------------------------------------------------------- */

/* Vocabulary of 6: an unknown and two words can be said. With up to 3 tokens there are 1 + 3 + 9 + 27
 * sentences, and never more than 27 * 4 continuations: a beam of 108 leaves nothing out. The search ends
 * by its bound alone, which must take nothing away. */
static void wide_beams_find_the_best_of_all(void **state) {
    (void)state;
    static const double penalties[] = {1, 0, 0.6, 2, -0.5};
    static const int64_t n_best[] = {1, 3, 40, 108};
    for (size_t i = 0; i < 5 * 4 * 2; i++) {
        fixture f;
        begin(&f, 6, &all_sources);
        f.o.beam = 108, f.o.patience = (double)INFINITY, f.o.max_length = 3;
        f.o.length_penalty = penalties[i % 5], f.o.n_best = n_best[i / 5 % 4];
        f.o.forbid_unknown = i >= 20;
        attn_nn_translations *const t = found(&f);
        for (int64_t s = 0; s < SENTENCES; s++) {
            list everything = say_everything(&f, s);
            assert_int_equal(everything.count, f.o.forbid_unknown ? 15 : 40);
            assert_found(&f, t, s, &everything);
            free(everything.items);
        }
        attn_nn_translations_free(t);
        end(&f);
    }
}

static void try_beam(fixture *f) {
    attn_nn_translations *const t = found(f);
    int64_t steps = 0;
    for (int64_t s = 0; s < f->l.source->count; s++) {
        int64_t mine = 0;
        list expected = plain_beam(f, s, &mine);
        assert_found(f, t, s, &expected);
        free(expected.items);
        if (mine > steps) steps = mine;
    }
    assert_int_equal(f->l.steps, steps);
    attn_nn_translations_free(t);
}

/* Equal probabilities among them: whole logits make many. */
static void beams_are_as_written(void **state) {
    (void)state;
    static const int64_t vocabularies[] = {5, 9, 64, 200}, beams[] = {1, 2, 4, 7};
    static const double penalties[] = {1, 0, 1.5, -1}, patiences[] = {1, 2, 0.5, (double)INFINITY};
    for (size_t i = 0; i < 4 * 4 * 4 * 4 * 2; i++) {
        fixture f;
        begin(&f, vocabularies[i % 4], &all_sources);
        f.o.beam = beams[i / 4 % 4], f.o.n_best = 1 + (f.o.beam > 2 ? 2 : 0);
        f.o.length_penalty = penalties[i / 16 % 4], f.o.patience = patiences[i / 64 % 4];
        f.o.max_length = 9, f.o.min_length = (int64_t)(i % 3);
        f.l.steps_of = i >= 256, f.l.end = i % 5 < 2 ? 3 : 0;
        if (i % 7 == 0) f.l.spread = 0; /* equal scores too */
        try_beam(&f);
        end(&f);
    }
}

static void greedy_is_a_beam_of_one(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        fixture f;
        begin(&f, 30, &all_sources);
        f.l.end = i, f.o.max_length = 20;
        f.o.kind = ATTN_NN_GREEDY, f.o.patience = 7; /* which is of a beam, as is its width */
        attn_nn_translations *const t = found(&f);
        const int64_t steps = f.l.steps;
        f.o.kind = ATTN_NN_BEAM, f.o.beam = 1, f.o.patience = 1;
        try_beam(&f);
        assert_int_equal(f.l.steps, steps);
        for (int64_t s = 0; s < SENTENCES; s++) {
            int64_t mine = 0;
            list expected = plain_beam(&f, s, &mine);
            assert_found(&f, t, s, &expected);
            free(expected.items);
        }
        attn_nn_translations_free(t);
        end(&f);
    }
}

static void hypotheses_are_sorted_and_distinct(void **state) {
    (void)state;
    fixture f;
    begin(&f, 20, &all_sources);
    f.o.beam = f.o.n_best = 12;
    attn_nn_translations *const t = found(&f);
    for (int64_t s = 0; s < SENTENCES; s++) {
        assert_int_equal(t->starts[s + 1] - t->starts[s], 12);
        for (int64_t i = t->starts[s]; i < t->starts[s + 1]; i++) {
            const attn_nn_hypothesis *const h = &t->hypotheses[i];
            if (i > t->starts[s]) assert_true(h->score <= h[-1].score);
            for (int64_t k = t->starts[s]; k < i; k++) {
                const attn_nn_hypothesis *const other = &t->hypotheses[k];
                assert_false(
                    other->length == h->length &&
                    memcmp(other->tokens, h->tokens, (size_t)h->length * sizeof *h->tokens) == 0);
            }
        }
    }
    attn_nn_translations_free(t);
    end(&f);
}

/* --- Whatever the batch --------------------------------------------------------------------------- */

static void assert_same(const attn_nn_translations *a, int64_t s, const attn_nn_translations *b,
                        int64_t rows) {
    assert_int_equal(a->starts[s + 1] - a->starts[s], b->starts[1]);
    for (int64_t i = 0; i < b->starts[1]; i++) {
        const attn_nn_hypothesis *const x = &a->hypotheses[a->starts[s] + i];
        const attn_nn_hypothesis *const y = &b->hypotheses[i];
        assert_int_equal(x->length, y->length);
        assert_memory_equal(x->tokens, y->tokens, (size_t)x->length * sizeof *x->tokens);
        assert_true(x->log_p == y->log_p && x->score == y->score);
        assert_memory_equal(x->weights, y->weights,
                            (size_t)((x->length + 1) * rows) * sizeof *x->weights);
    }
}

static void alone_and_in_a_batch(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        fixture f;
        begin(&f, 40, &all_sources);
        f.o.kind = (attn_nn_search_kind)kind, f.o.want_weights = true, f.o.seed = 5;
        f.o.n_best = kind == ATTN_NN_GREEDY ? 1 : 4;
        attn_nn_translations *const t = found(&f);
        for (int64_t s = 0; s < SENTENCES; s++) {
            const int64_t one_starts[] = {0, starts[s + 1] - starts[s]};
            const attn_nn_sentences one = {1, one_starts, words + starts[s]};
            f.l.source = &one;
            attn_nn_translations *const alone = found(&f);
            assert_same(t, s, alone, one_starts[1]);
            attn_nn_translations_free(alone);
        }
        attn_nn_translations_free(t);
        end(&f);
    }
}

static void weights_of_each_token(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        fixture f;
        begin(&f, 40, &all_sources);
        f.o.kind = (attn_nn_search_kind)kind;
        f.o.n_best = kind == ATTN_NN_GREEDY ? 1 : 3;
        attn_nn_translations *t = found(&f);
        assert_null(t->hypotheses[0].weights);
        attn_nn_translations_free(t);
        f.o.want_weights = true;
        t = found(&f);
        for (int64_t s = 0; s < SENTENCES; s++) {
            const int64_t rows = starts[s + 1] - starts[s];
            for (int64_t i = t->starts[s]; i < t->starts[s + 1]; i++) {
                const attn_nn_hypothesis *const h = &t->hypotheses[i];
                uint64_t prefix = language_begin(&f.l, s);
                for (int64_t k = 0; k <= h->length; k++) {
                    real expected[6];
                    language_weights(prefix, rows, expected);
                    assert_memory_equal(h->weights + k * rows, expected,
                                        (size_t)rows * sizeof *expected);
                    if (k < h->length) prefix = language_after(prefix, h->tokens[k]);
                }
            }
        }
        attn_nn_translations_free(t);
        end(&f);
    }
}

/* More weights at once than what they are kept in grows by. */
static void weights_of_a_long_source(void **state) {
    (void)state;
    enum { ROWS = 3000 };
    static int32_t tokens[ROWS];
    static real expected[ROWS];
    const int64_t long_starts[] = {0, ROWS};
    const attn_nn_sentences long_source = {1, long_starts, tokens};
    fixture f;
    begin(&f, 12, &long_source);
    f.o.want_weights = true, f.l.end = 60;
    attn_nn_translations *const t = found(&f);
    language_weights(language_begin(&f.l, 0), ROWS, expected);
    assert_int_equal(t->hypotheses[0].length, 0);
    assert_memory_equal(t->hypotheses[0].weights, expected, sizeof expected);
    attn_nn_translations_free(t);
    end(&f);
}

/* --- What ends a sentence ------------------------------------------------------------------------- */

/* One source of three rows. */
static const attn_nn_sentences one_source = {1, starts, words};

static int64_t steps_of(fixture *f) {
    attn_nn_translations_free(found(f));
    return f->l.steps;
}

/* Of 6 tokens of equal logits the end has 9 more in mass, so p = 1/15 for each other and, with that,
 * log(10/15) = -0.4055 for an end at once. The best open hypothesis has log(1/15) = -2.708 after a step,
 * log(1/225) = -5.416 after two. */
static void the_bound_ends_it(void **state) {
    (void)state;
    fixture f;
    begin(&f, 6, &one_source);
    f.l.spread = 0, f.l.end = log(10), f.o.patience = (double)INFINITY;
    f.o.max_factor = 0;
    f.o.length_penalty = 0;
    f.o.max_more = 200;
    assert_int_equal(steps_of(&f), 1); /* -2.708 < -0.4055 */
    f.o.length_penalty = 1;
    f.o.max_more = 5;
    assert_int_equal(steps_of(&f), 1); /* -2.708/6 = -0.451 < -0.4055 */
    f.o.max_more = 6;
    assert_int_equal(steps_of(&f), 2); /* -2.708/7 = -0.387 > -0.4055; -5.416/7 is not */
    f.o.max_more = 12;
    assert_int_equal(steps_of(&f), 2); /* -5.416/13 = -0.4166 < -0.4055 */
    f.o.max_more = 13;
    assert_int_equal(steps_of(&f), 3); /* -5.416/14 = -0.387 > -0.4055 */
    end(&f);
}

/* Beam 2: of the continuations of two rows that say the end, both are among the best two. So step n
 * finishes one hypothesis (n = 1) or two. */
static void patience_ends_it(void **state) {
    (void)state;
    fixture f;
    begin(&f, 6, &one_source);
    f.l.spread = 0, f.l.end = log(10), f.o.beam = 2;
    f.o.max_factor = 0, f.o.max_more = 20, f.o.length_penalty = 3;
    f.o.patience = 0.5;
    assert_int_equal(steps_of(&f), 1);
    f.o.patience = 1;
    assert_int_equal(steps_of(&f), 2);
    f.o.patience = 1.5;
    assert_int_equal(steps_of(&f), 2);
    f.o.patience = 3.5;
    assert_int_equal(steps_of(&f), 4);
    f.o.patience = 0.5, f.o.n_best = 2; /* not before there are as many as asked for */
    assert_int_equal(steps_of(&f), 2);
    end(&f);
}

/* A language that would not end. */
static void lengths_end_it(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        static const struct {
            int64_t max_length, max_more;
            double factor;
            int64_t expected;
        } cases[] = {
            {5, 100, 0, 5}, {100, 2, 1.5, 6}, {100, 0, 0.5, 1}, {0, 100, 9, 0}, {9, 0, 0, 0}};
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            fixture f;
            begin(&f, 12, &one_source);
            f.l.end = -60, f.o.kind = (attn_nn_search_kind)kind;
            f.o.max_length = cases[i].max_length, f.o.max_more = cases[i].max_more;
            f.o.max_factor = cases[i].factor;
            attn_nn_translations *const t = found(&f);
            assert_int_equal(t->hypotheses[0].length, cases[i].expected);
            assert_true(t->hypotheses[0].log_p < -60); /* the end that it had to say counts */
            assert_int_equal(f.l.steps, cases[i].expected + 1);
            attn_nn_translations_free(t);
            end(&f);
        }
    }
}

/* And one that would end at once. */
static void not_before_min_length(void **state) {
    (void)state;
    for (int i = 0; i < 9; i++) {
        static const int64_t least[] = {0, 4, 50};
        fixture f;
        begin(&f, 12, &one_source);
        f.l.end = 60, f.o.kind = (attn_nn_search_kind)(i % 3);
        f.o.min_length = least[i / 3], f.o.max_length = 7;
        attn_nn_translations *const t = found(&f);
        assert_int_equal(t->hypotheses[0].length, least[i / 3] < 7 ? least[i / 3] : 7);
        assert_true(t->hypotheses[0].log_p > -INFINITY);
        attn_nn_translations_free(t);
        end(&f);
    }
}

static void what_is_never_said(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        fixture f;
        begin(&f, 6, &all_sources);
        f.o.kind = (attn_nn_search_kind)(i % 3), f.o.forbid_unknown = i >= 3;
        f.o.n_best = i % 3 == ATTN_NN_GREEDY ? 1 : 5, f.l.end = -2;
        attn_nn_translations *const t = found(&f);
        int unknown = 0;
        for (int64_t h = 0; h < t->starts[SENTENCES]; h++) {
            for (int64_t k = 0; k < t->hypotheses[h].length; k++) {
                const int32_t token = t->hypotheses[h].tokens[k];
                assert_true(token != L_BEGIN && token != L_END && token != L_PAD);
                unknown += token == L_UNKNOWN;
            }
        }
        assert_true(f.o.forbid_unknown ? unknown == 0 : unknown > 0);
        attn_nn_translations_free(t);
        end(&f);
    }
}

/* Some vocabularies begin with the end. */
static void begin_may_be_the_end(void **state) {
    (void)state;
    fixture f;
    begin(&f, 12, &one_source);
    f.l.end = 60, f.o.begin = f.o.pad = L_END, f.o.unknown = -1;
    attn_nn_translations *const t = found(&f);
    assert_int_equal(t->hypotheses[0].length, 0);
    attn_nn_translations_free(t);
    end(&f);
}

static void no_sentences(void **state) {
    (void)state;
    const int64_t nothing[] = {0};
    const attn_nn_sentences none = {0, nothing, words};
    fixture f;
    begin(&f, 12, &none);
    attn_nn_translations *const t = found(&f);
    assert_int_equal(f.l.steps, 0);
    attn_nn_translations_free(t);
    end(&f);
}

/* --- Failures ------------------------------------------------------------------------------------- */

static void probabilities_that_are_none(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        fixture f;
        begin(&f, 12, &all_sources);
        f.o.kind = (attn_nn_search_kind)(i % 3);
        f.l.nothing = i < 3 ? (real)-INFINITY : (real)NAN;
        assert_null(search(&f));
        assert_int_equal(f.pass.status, ATTN_ERROR_VALUE);
        assert_non_null(strstr(attn_nn_error_message(), "no token has a probability"));
        end(&f);
    }
}

/* At the limit the end is said whatever its probability, but not if it is none. */
static void ends_without_a_probability(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        fixture f;
        begin(&f, 12, &one_source);
        f.o.kind = (attn_nn_search_kind)kind, f.o.max_length = 0;
        f.l.nothing = (real)-INFINITY;
        attn_nn_translations *const t = found(&f);
        assert_int_equal(t->hypotheses[0].length, 0);
        assert_true(t->hypotheses[0].log_p == -INFINITY);
        attn_nn_translations_free(t);
        f.l.nothing = (real)NAN;
        assert_null(search(&f));
        assert_int_equal(f.pass.status, ATTN_ERROR_VALUE);
        end(&f);
    }
}

/* Open, step, reorder, step, ...: each may fail, and the pass says so. */
static void failures_of_the_source(void **state) {
    (void)state;
    for (int64_t at = 1; at <= 6; at++) {
        fixture f;
        begin(&f, 12, &all_sources);
        f.l.fail_at = at, f.o.min_length = 4;
        assert_null(search(&f));
        assert_int_equal(f.l.calls, at);
        assert_int_equal(f.pass.status, ATTN_ERROR_UNSUPPORTED);
        end(&f);
    }
}

typedef void change(attn_nn_search_options *o);

#define CHANGE(name, ...)                         \
    static void name(attn_nn_search_options *o) { \
        __VA_ARGS__;                              \
    }
CHANGE(bad_kind, o->kind = (attn_nn_search_kind)3)
CHANGE(bad_beam, o->beam = 0)
CHANGE(wide_beam, o->beam = 4097)
CHANGE(bad_n_best, o->n_best = 0)
CHANGE(much_n_best, o->n_best = 6)
CHANGE(greedy_n_best, o->kind = ATTN_NN_GREEDY, o->n_best = 2)
CHANGE(bad_patience, o->patience = 0)
CHANGE(nan_patience, o->patience = (double)NAN)
CHANGE(bad_penalty, o->length_penalty = (double)NAN)
CHANGE(bad_max_length, o->max_length = -1)
CHANGE(bad_max_factor, o->max_factor = -1)
CHANGE(bad_max_more, o->max_more = -1)
CHANGE(bad_min_length, o->min_length = -1)
CHANGE(bad_temperature, o->temperature = 0)
CHANGE(bad_top_k, o->top_k = -1)
CHANGE(bad_top_p, o->top_p = 0)
CHANGE(much_top_p, o->top_p = 1.5)
CHANGE(bad_begin, o->begin = 12)
CHANGE(bad_end, o->end = -1)
CHANGE(bad_unknown, o->unknown = 12)
CHANGE(bad_pad, o->pad = -2)

static void refusals(void **state) {
    (void)state;
    static const struct {
        change *apply;
        const char *field;
    } cases[] = {
        {bad_kind, "kind:"},
        {bad_beam, "beam:"},
        {wide_beam, "beam:"},
        {bad_n_best, "n_best:"},
        {much_n_best, "n_best:"},
        {greedy_n_best, "n_best:"},
        {bad_patience, "patience:"},
        {nan_patience, "patience:"},
        {bad_penalty, "penalty:"},
        {bad_max_length, "max_length:"},
        {bad_max_factor, "factor:"},
        {bad_max_more, "max_more:"},
        {bad_min_length, "min_length:"},
        {bad_temperature, "temperature:"},
        {bad_top_k, "top_k:"},
        {bad_top_p, "top_p:"},
        {much_top_p, "top_p:"},
        {bad_begin, "begin:"},
        {bad_end, "end:"},
        {bad_unknown, "unknown:"},
        {bad_pad, "pad:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture f;
        begin(&f, 12, &all_sources);
        cases[i].apply(&f.o);
        assert_null(search(&f));
        assert_int_equal(f.pass.status, ATTN_ERROR_VALUE);
        assert_non_null(strstr(attn_nn_error_message(), cases[i].field));
        assert_int_equal(f.l.calls, 0);
        end(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wide_beams_find_the_best_of_all),
        cmocka_unit_test(beams_are_as_written),
        cmocka_unit_test(greedy_is_a_beam_of_one),
        cmocka_unit_test(hypotheses_are_sorted_and_distinct),
        cmocka_unit_test(alone_and_in_a_batch),
        cmocka_unit_test(weights_of_each_token),
        cmocka_unit_test(weights_of_a_long_source),
        cmocka_unit_test(the_bound_ends_it),
        cmocka_unit_test(patience_ends_it),
        cmocka_unit_test(lengths_end_it),
        cmocka_unit_test(not_before_min_length),
        cmocka_unit_test(what_is_never_said),
        cmocka_unit_test(begin_may_be_the_end),
        cmocka_unit_test(no_sentences),
        cmocka_unit_test(probabilities_that_are_none),
        cmocka_unit_test(ends_without_a_probability),
        cmocka_unit_test(failures_of_the_source),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

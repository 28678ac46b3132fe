/* From probabilities to tokens: the best of many against a sort, samples against their distribution.
 * Built with the library of double and with that of float. */
#include "language.h"

#include "noise.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- The best of many ----------------------------------------------------------------------------- */

static int by_total(const void *a_, const void *b_) {
    const attn_nn_candidate *const a = a_, *const b = b_;
    if (a->total != b->total) return a->total > b->total ? -1 : 1;
    if (a->row != b->row) return a->row < b->row ? -1 : 1;
    return a->token < b->token ? -1 : 1;
}

/* Few different numbers, or many; some that are none. */
static real number_of(uint64_t stream, int64_t i, int kind) {
    const double u = attn_nn_uniform(attn_nn_noise_at(stream, (uint64_t)i).a);
    if (kind == 1) return (real)floor(-4 * u);
    if (kind == 2 && u < 0.3) return u < 0.15 ? (real)NAN : (real)-INFINITY;
    return (real)(-20 * u);
}

static void try_best(int64_t vocabulary, int64_t rows, int64_t capacity, int kind) {
    const size_t count = (size_t)(vocabulary * rows);
    attn_nn_candidate *const all = calloc(count + 1, sizeof *all);
    attn_nn_best best = {calloc((size_t)capacity, sizeof *best.items), 0, capacity};
    real *const log_p = calloc((size_t)vocabulary + 1, sizeof *log_p);
    size_t listed = 0;
    for (int64_t r = 0; r < rows; r++) {
        const uint64_t stream = attn_nn_stream((uint64_t)vocabulary, (uint64_t)r);
        const double base = -5 * attn_nn_uniform(attn_nn_noise_at(stream, 1 << 20).a) * (kind != 1);
        for (int64_t v = 0; v < vocabulary; v++) {
            log_p[v] = number_of(stream, v, kind);
            const attn_nn_candidate c = {base + (double)log_p[v], r, (int32_t)v};
            if (c.total > -INFINITY) all[listed++] = c;
        }
        attn_nn_keep_best(&best, log_p, vocabulary, base, r);
    }
    qsort(all, listed, sizeof *all, by_total);
    const int64_t expected = (int64_t)listed < capacity ? (int64_t)listed : capacity;
    assert_int_equal(best.count, expected);
    for (int64_t i = 0; i < expected; i++) {
        assert_true(best.items[i].total == all[i].total);
        assert_int_equal(best.items[i].row, all[i].row);
        assert_int_equal(best.items[i].token, all[i].token);
    }
    free(all);
    free(best.items);
    free(log_p);
}

static void the_best_of_rows(void **state) {
    (void)state;
    static const int64_t sizes[] = {0, 1, 5, 63, 64, 65, 1000}, capacities[] = {1, 2, 10, 200};
    for (size_t i = 0; i < 7 * 4 * 3 * 3; i++) {
        try_best(sizes[i % 7], 1 + (int64_t)(i / 7 % 3), capacities[i / 21 % 4], (int)(i / 84));
    }
}

static real just_above(real x) {
#ifdef ATTN_NN_DOUBLE
    return nextafter(x, INFINITY);
#else
    return nextafterf(x, INFINITY);
#endif
}

/* Sums that round to the same as the worst that is kept, or to its neighbour: whoever compares log p with
 * a threshold that was rounded upwards loses some. Each row has one number, near worst - base. */
static void sums_near_the_threshold(void **state) {
    (void)state;
    for (int64_t i = 0; i < 20000; i++) {
        const attn_nn_noise n = attn_nn_noise_at(7, (uint64_t)i),
                            m = attn_nn_noise_at(8, (uint64_t)i);
        const double base = attn_nn_uniform(n.a), worst = 1 + 0.9 * attn_nn_uniform(m.a);
        real log_p = (real)(worst - base);
        for (int k = (int)(n.b % 4); k > 0; k--) log_p = just_above(log_p);
        attn_nn_candidate items[1] = {{worst, 0, 0}};
        attn_nn_best best = {items, 1, 1};
        attn_nn_keep_best(&best, &log_p, 1, base, 1);
        const double sum = base + (double)log_p;
        assert_int_equal(items[0].row, sum > worst ? 1 : 0);
        assert_true(items[0].total == (sum > worst ? sum : worst));
    }
}

/* --- The leading choices -------------------------------------------------------------------------- */

static int by_mass(const void *a_, const void *b_) {
    const attn_nn_choice *const a = a_, *const b = b_;
    if (a->mass != b->mass) return a->mass > b->mass ? -1 : 1;
    return a->token < b->token ? -1 : 1;
}

/* Masses are multiples of 1/16 below 64: sums are exact in any order. */
static void try_leading(int64_t count, double share, bool mass, bool ties) {
    attn_nn_choice *const sorted = calloc((size_t)count + 1, sizeof *sorted);
    attn_nn_choice *const choices = calloc((size_t)count + 1, sizeof *choices);
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        const double u = attn_nn_uniform(attn_nn_noise_at((uint64_t)count, (uint64_t)i).a);
        sorted[i] = (attn_nn_choice){ties ? floor(4 * u) : floor(1024 * u) / 16, (int32_t)i};
        choices[i] = sorted[i];
        sum += mass ? sorted[i].mass : 1;
    }
    qsort(sorted, (size_t)count, sizeof *sorted, by_mass);
    const double goal = share * sum;
    int64_t expected = 0;
    double reached = 0;
    while (expected < count && (expected == 0 || reached < goal)) {
        reached += mass ? sorted[expected].mass : 1;
        expected++;
    }
    assert_int_equal(attn_nn_leading(choices, count, goal, mass), expected);
    qsort(choices, (size_t)expected, sizeof *choices, by_mass);
    assert_memory_equal(choices, sorted, (size_t)expected * sizeof *choices);
    free(sorted);
    free(choices);
}

static void leading_choices(void **state) {
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 3, 10, 100, 1000};
    static const double shares[] = {0.01, 0.3, 0.5, 0.9, 1, 2};
    for (size_t i = 0; i < 7 * 6 * 4; i++) {
        try_leading(counts[i % 7], shares[i / 7 % 6], i / 42 % 2, i / 84);
    }
}

/* --- Samples -------------------------------------------------------------------------------------- */

enum { VOCABULARY = 12, SAMPLES = 4096, ROUNDS = 8 };
static const int64_t starts[] = {0, 2};
static const int32_t words[] = {5, 1};
static const attn_nn_sentences source = {1, starts, words};

static language language_here(attn_nn_pass *pass) {
    return (language){.pass = pass, .source = &source, .vocabulary = VOCABULARY, .spread = 3};
}

/* How probable each token is, by the options: sorted plainly. */
static void distribution_of(const language *l, uint64_t prefix, const attn_nn_search_options *o,
                            double *p) {
    real log_p[VOCABULARY];
    attn_nn_choice sorted[VOCABULARY];
    int64_t count = 0;
    double sum = 0, kept = 0;
    language_log_p(l, prefix, log_p);
    for (int32_t v = 0; v < VOCABULARY; v++) {
        p[v] = 0;
        if (v == L_BEGIN || v == L_PAD) continue;
        sorted[count++] = (attn_nn_choice){exp((double)log_p[v] / o->temperature), v};
    }
    qsort(sorted, (size_t)count, sizeof *sorted, by_mass);
    if (o->top_k > 0 && o->top_k < count) count = o->top_k;
    for (int64_t i = 0; i < count; i++) sum += sorted[i].mass;
    int64_t n = 0;
    while (n < count && (n == 0 || kept < o->top_p * sum)) kept += sorted[n++].mass;
    for (int64_t i = 0; i < n; i++) p[sorted[i].token] = sorted[i].mass / kept;
}

/* Of N samples a token of probability p is drawn a binomial number of times; it is off by 6 standard
 * deviations once in 2^28 by chance, where N p (1 - p) is large enough for a normal; to that 6 are added
 * for the Poisson numbers of rare ones: more than 6 + 6 sqrt(m) above a mean m <= 10 is, by Chernoff's
 * bound exp(m - x + x log(m/x)), less probable than 2^-20. */
static void assert_frequency(int64_t hits, double p, double n) {
    const double off = 6 * sqrt(n * p * (1 - p)) + 6;
    if (p == 0) assert_int_equal(hits, 0);
    assert_true(fabs((double)hits - n * p) <= off);
}

/* First and second tokens: hits[first][second], `first` or `second` the end where there is none. */
static void try_samples(const attn_nn_search_options *options) {
    int64_t hits[VOCABULARY][VOCABULARY] = {{0}};
    attn_nn_pass pass = {.arena = attn_nn_arena_create()};
    language l = language_here(&pass);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        attn_nn_search_options o = *options;
        o.kind = ATTN_NN_SAMPLE, o.n_best = SAMPLES, o.seed = round, o.max_length = 2;
        const attn_nn_search_source from = language_source(&l);
        attn_nn_translations *const t = attn_nn_search_run(&from, &pass, &source, &o);
        assert_non_null(t);
        assert_int_equal(t->starts[1], SAMPLES);
        for (int64_t i = 0; i < SAMPLES; i++) {
            const attn_nn_hypothesis *const h = &t->hypotheses[i];
            hits[h->length > 0 ? h->tokens[0] : L_END][h->length > 1 ? h->tokens[1] : L_END]++;
        }
        attn_nn_translations_free(t);
        language_free(&l);
    }
    double first[VOCABULARY], second[VOCABULARY];
    const uint64_t begin = language_begin(&l, 0);
    distribution_of(&l, begin, options, first);
    for (int32_t a = 0; a < VOCABULARY; a++) {
        distribution_of(&l, language_after(begin, a), options, second);
        for (int32_t b = 0; b < VOCABULARY; b++) {
            const double p = a != L_END ? first[a] * second[b] : b == L_END ? first[a] : 0;
            assert_frequency(hits[a][b], p, SAMPLES * ROUNDS);
        }
    }
    attn_nn_arena_destroy(pass.arena);
}

static void samples_follow_the_probabilities(void **state) {
    (void)state;
    static const double temperatures[] = {1, 0.5, 3}, shares[] = {1, 0.6};
    static const int64_t most[] = {0, 3};
    for (size_t i = 0; i < 12; i++) {
        attn_nn_search_options o = attn_nn_search_defaults(L_BEGIN, L_END, L_UNKNOWN, L_PAD);
        o.temperature = temperatures[i % 3], o.top_p = shares[i / 3 % 2], o.top_k = most[i / 6];
        try_samples(&o);
    }
}

/* The log p of a sample is the model's, whatever the temperature. */
static void samples_have_the_models_log_p(void **state) {
    (void)state;
    attn_nn_pass pass = {.arena = attn_nn_arena_create()};
    language l = language_here(&pass);
    attn_nn_search_options o = attn_nn_search_defaults(L_BEGIN, L_END, L_UNKNOWN, L_PAD);
    o.kind = ATTN_NN_SAMPLE, o.n_best = 50, o.temperature = 2, o.top_k = 4, o.max_length = 6;
    const attn_nn_search_source from = language_source(&l);
    attn_nn_translations *const t = attn_nn_search_run(&from, &pass, &source, &o);
    assert_non_null(t);
    for (int64_t i = 0; i < 50; i++) {
        const attn_nn_hypothesis *const h = &t->hypotheses[i];
        uint64_t prefix = language_begin(&l, 0);
        real log_p[VOCABULARY];
        double total = 0;
        for (int64_t k = 0; k <= h->length; k++) {
            const int32_t token = k < h->length ? h->tokens[k] : L_END;
            language_log_p(&l, prefix, log_p);
            total += (double)log_p[token];
            prefix = language_after(prefix, token);
        }
        assert_true(h->log_p == total);
        assert_true(h->score == total / (double)(h->length + 1));
        if (i > 0) assert_true(h->score <= h[-1].score);
    }
    attn_nn_translations_free(t);
    language_free(&l);
    attn_nn_arena_destroy(pass.arena);
}

/* u just below 1 draws the last that has a mass; 0 the first. */
static void ends_of_the_draw(void **state) {
    (void)state;
    attn_nn_choice choices[3];
    attn_nn_search_options o = attn_nn_search_defaults(L_BEGIN, L_END, L_UNKNOWN, L_PAD);
    const real log_p[] = {(real)-INFINITY, -1, (real)-1e30};
    assert_int_equal(attn_nn_draw(log_p, 3, &o, 1 - 0x1p-51, choices), 1);
    assert_int_equal(attn_nn_draw(log_p, 3, &o, 0x1p-51, choices), 1);
    assert_int_equal(attn_nn_draw(log_p, 1, &o, 0.5, choices), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_of_rows),
        cmocka_unit_test(sums_near_the_threshold),
        cmocka_unit_test(leading_choices),
        cmocka_unit_test(samples_follow_the_probabilities),
        cmocka_unit_test(samples_have_the_models_log_p),
        cmocka_unit_test(ends_of_the_draw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

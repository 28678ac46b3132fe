/* The search over models: what it finds is what the decoder says when it is asked step by step; two
 * models together; what ends it from outside; memory given back. */
#include "differences.h"

#include "nn.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { VOCABULARY = 23, LIMIT = 9, BEGIN = 0, END = 1, UNKNOWN = 2, PAD = 3 };

static const int64_t starts[] = {0, 4, 6, 13};
static const int32_t words[] = {4, 9, 7, 1, 22, 1, 8, 8, 10, 11, 12, 13, 1};
static const attn_nn_sentences sources = {3, starts, words};
static const attn_nn_sentences first_source = {1, starts, words};

static attn_nn_config config_of(int kind) {
    attn_nn_config c = {.family = ATTN_NN_TRANSFORMER, .vocabulary = VOCABULARY, .width = 16};
    c.encoder_layers = 2, c.heads = 2, c.positions = ATTN_NN_LEARNED, c.max_length = LIMIT + 1;
    if (kind > 0) c.family = ATTN_NN_RECURRENT;
    c.look = kind == 1 ? ATTN_NN_LOOK_ADDITIVE : ATTN_NN_LOOK_DOT;
    return c;
}

static attn_nn_search_options options_here(void) {
    attn_nn_search_options o = attn_nn_search_defaults(BEGIN, END, UNKNOWN, PAD);
    o.max_length = LIMIT, o.max_factor = 0, o.max_more = 100, o.want_weights = true;
    return o;
}

static bool may_say(int64_t v, int64_t said) {
    return said == LIMIT ? v == END : v != BEGIN && v != PAD;
}

/* Says the most probable token of the sum of models, until the end. The shapes of all products are those
 * of a greedy search of one sentence, so all bits are. */
static void say_greedily(fixture *const *f, int64_t models, attn_nn_hypothesis *h, int32_t *tokens,
                         real *weights) {
    attn_nn_pass passes[2];
    attn_nn_decoder *decoders[2];
    const int64_t rows = starts[1];
    for (int64_t m = 0; m < models; m++) {
        passes[m] = fixture_pass(f[m], false);
        decoders[m] = attn_nn_decoder_open(f[m]->model, &passes[m], &first_source, 1);
        assert_non_null(decoders[m]);
    }
    *h = (attn_nn_hypothesis){.tokens = tokens, .weights = weights};
    for (int32_t token = BEGIN; h->length <= LIMIT && (h->length == 0 || token != END);) {
        real log_p[2][VOCABULARY], looks[2][8];
        for (int64_t m = 0; m < models; m++) {
            assert_true(attn_nn_decoder_step(decoders[m], &token, log_p[m], looks[m]));
        }
        token = -1;
        for (int32_t v = 0; v < VOCABULARY; v++) {
            if (models == 2) log_p[0][v] = (log_p[0][v] + log_p[1][v]) * (real)0.5;
            if (!may_say(v, h->length)) continue;
            if (token < 0 || log_p[0][v] > log_p[0][token]) token = v;
        }
        for (int64_t i = 0; i < rows; i++) {
            if (models == 2) looks[0][i] = (looks[0][i] + looks[1][i]) * (real)0.5;
            weights[h->length * rows + i] = looks[0][i];
        }
        h->log_p += (double)log_p[0][token];
        tokens[h->length++] = token;
    }
    h->length--; /* the end is not among the tokens */
    for (int64_t m = 0; m < models; m++) attn_nn_decoder_close(decoders[m]);
}

static void assert_equal(const attn_nn_hypothesis *a, const attn_nn_hypothesis *b, int64_t rows) {
    assert_int_equal(a->length, b->length);
    assert_memory_equal(a->tokens, b->tokens, (size_t)a->length * sizeof *a->tokens);
    assert_true(a->log_p == b->log_p);
    assert_memory_equal(a->weights, b->weights,
                        (size_t)((a->length + 1) * rows) * sizeof *a->weights);
}

static void greedy_is_what_the_decoder_says(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        for (uint64_t seed = 1; seed <= 4; seed++) {
            const attn_nn_config config = config_of(kind);
            fixture f;
            open_fixture(&f, &config, seed);
            fixture *const one = &f;
            attn_nn_hypothesis expected;
            int32_t tokens[LIMIT + 1];
            real weights[(LIMIT + 1) * 4];
            say_greedily(&one, 1, &expected, tokens, weights);
            attn_nn_search_options o = options_here();
            o.kind = ATTN_NN_GREEDY;
            attn_nn_pass pass = fixture_pass(&f, false);
            attn_nn_translations *const t = attn_nn_search(f.model, &pass, &first_source, &o);
            assert_non_null(t);
            assert_equal(&t->hypotheses[0], &expected, starts[1]);
            attn_nn_translations_free(t);
            close_fixture(&f);
        }
    }
}

static void models_together(void **state) {
    (void)state;
    const attn_nn_config a = config_of(0), b = config_of(1);
    fixture f, g;
    open_fixture(&f, &a, 5);
    open_fixture(&g, &b, 6);
    fixture *const both[] = {&f, &g};
    attn_nn_hypothesis expected;
    int32_t tokens[LIMIT + 1];
    real weights[(LIMIT + 1) * 4];
    say_greedily(both, 2, &expected, tokens, weights);
    attn_nn_search_options o = options_here();
    o.kind = ATTN_NN_GREEDY;
    attn_nn_pass pass_f = fixture_pass(&f, false), pass_g = fixture_pass(&g, false);
    const attn_nn_model *const models[] = {f.model, g.model};
    attn_nn_pass *const passes[] = {&pass_f, &pass_g};
    attn_nn_translations *const t = attn_nn_search_together(models, passes, 2, &first_source, &o);
    assert_non_null(t);
    assert_equal(&t->hypotheses[0], &expected, starts[1]);
    attn_nn_translations_free(t);
    close_fixture(&f);
    close_fixture(&g);
}

/* Twice the same model is one model: (a + a)/2 is a, in any rounding. All kinds, and a batch. */
static void a_model_with_itself(void **state) {
    (void)state;
    for (int i = 0; i < 9; i++) {
        const attn_nn_config config = config_of(i / 3);
        fixture f, g;
        open_fixture(&f, &config, 9);
        open_fixture(&g, &config, 9);
        attn_nn_search_options o = options_here();
        o.kind = (attn_nn_search_kind)(i % 3), o.n_best = o.kind == ATTN_NN_GREEDY ? 1 : 3;
        attn_nn_pass pass_f = fixture_pass(&f, false), pass_g = fixture_pass(&g, false);
        const attn_nn_model *const models[] = {f.model, g.model};
        attn_nn_pass *const passes[] = {&pass_f, &pass_g};
        attn_nn_translations *const one = attn_nn_search(f.model, &pass_f, &sources, &o);
        attn_nn_translations *const two = attn_nn_search_together(models, passes, 2, &sources, &o);
        assert_non_null(one);
        assert_non_null(two);
        for (int64_t s = 0; s < sources.count; s++) {
            assert_int_equal(one->starts[s + 1], two->starts[s + 1]);
            for (int64_t h = one->starts[s]; h < one->starts[s + 1]; h++) {
                assert_equal(&one->hypotheses[h], &two->hypotheses[h], starts[s + 1] - starts[s]);
            }
        }
        attn_nn_translations_free(one);
        attn_nn_translations_free(two);
        close_fixture(&f);
        close_fixture(&g);
    }
}

/* A row of weights is a mean over heads of rows that sum to 1. Each of its n numbers is off by less than
 * 2^-40, in double: a softmax of a few keys is off by some 2^-50. */
static void weights_sum_to_1(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        const attn_nn_config config = config_of(kind);
        fixture f;
        open_fixture(&f, &config, 3);
        const attn_nn_search_options o = options_here();
        attn_nn_pass pass = fixture_pass(&f, false);
        attn_nn_translations *const t = attn_nn_search(f.model, &pass, &sources, &o);
        assert_non_null(t);
        for (int64_t s = 0; s < sources.count; s++) {
            const int64_t rows = starts[s + 1] - starts[s];
            const attn_nn_hypothesis *const h = &t->hypotheses[t->starts[s]];
            for (int64_t k = 0; k <= h->length; k++) {
                double sum = 0;
                for (int64_t i = 0; i < rows; i++) sum += (double)h->weights[k * rows + i];
                assert_true(fabs(sum - 1) < (double)rows * 0x1p-40);
            }
        }
        attn_nn_translations_free(t);
        close_fixture(&f);
    }
}

/* Learned positions are those of the begin and of LIMIT tokens, whatever the options allow. */
static void no_further_than_positions(void **state) {
    (void)state;
    const attn_nn_config config = config_of(0);
    fixture f;
    open_fixture(&f, &config, 3);
    attn_nn_search_options o = options_here();
    o.max_length = 100, o.min_length = 100;
    attn_nn_pass pass = fixture_pass(&f, false);
    attn_nn_translations *const t = attn_nn_search(f.model, &pass, &sources, &o);
    assert_non_null(t);
    for (int64_t i = 0; i < t->starts[3]; i++) assert_int_equal(t->hypotheses[i].length, LIMIT);
    attn_nn_translations_free(t);
    close_fixture(&f);
}

static attn_status third_time(void *user) {
    return ++*(int *)user == 3 ? ATTN_ERROR_UNSUPPORTED : ATTN_OK;
}

/* The arena's mark is what it was, after success, after a failure; and memory does not grow. */
static void memory_and_interruption(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        const attn_nn_config config = config_of(kind);
        fixture f;
        open_fixture(&f, &config, 3);
        attn_nn_search_options o = options_here();
        o.min_length = 5;
        attn_nn_pass pass = fixture_pass(&f, false);
        (void)attn_nn_take(&pass, 7);
        const size_t mark = attn_nn_mark(&pass);
        attn_nn_translations_free(attn_nn_search(f.model, &pass, &sources, &o));
        assert_int_equal(pass.status, ATTN_OK);
        assert_int_equal(attn_nn_mark(&pass), mark);
        const size_t bytes = attn_nn_arena_bytes(f.arena);
        int calls = 0;
        pass.interrupted = third_time, pass.user = &calls;
        assert_null(attn_nn_search(f.model, &pass, &sources, &o));
        assert_int_equal(calls, 3);
        assert_int_equal(pass.status, ATTN_ERROR_UNSUPPORTED);
        assert_int_equal(attn_nn_mark(&pass), mark);
        assert_int_equal(attn_nn_arena_bytes(f.arena), bytes);
        assert_null(attn_nn_search(f.model, &pass, &sources, &o)); /* a failed pass does nothing */
        assert_int_equal(calls, 3);
        close_fixture(&f);
    }
}

static void other_vocabularies_are_refused(void **state) {
    (void)state;
    attn_nn_config a = config_of(0), b = config_of(0);
    b.vocabulary++;
    fixture f, g;
    open_fixture(&f, &a, 5);
    open_fixture(&g, &b, 6);
    const attn_nn_search_options o = options_here();
    attn_nn_pass pass_f = fixture_pass(&f, false), pass_g = fixture_pass(&g, false);
    const attn_nn_model *const models[] = {f.model, g.model};
    attn_nn_pass *const passes[] = {&pass_f, &pass_g};
    assert_null(attn_nn_search_together(models, passes, 2, &sources, &o));
    assert_int_equal(pass_f.status, ATTN_ERROR_VALUE);
    assert_non_null(strstr(attn_nn_error_message(), "vocabularies"));
    close_fixture(&f);
    close_fixture(&g);
}

/* The second model has no position for the source's last word: its sentence is the search's. */
static void a_failure_of_the_second_is_told(void **state) {
    (void)state;
    attn_nn_config a = config_of(1), b = config_of(0);
    b.max_length = 2;
    fixture f, g;
    open_fixture(&f, &a, 5);
    open_fixture(&g, &b, 6);
    const attn_nn_search_options o = options_here();
    attn_nn_pass pass_f = fixture_pass(&f, false), pass_g = fixture_pass(&g, false);
    const attn_nn_model *const models[] = {f.model, g.model};
    attn_nn_pass *const passes[] = {&pass_f, &pass_g};
    assert_null(attn_nn_search_together(models, passes, 2, &sources, &o));
    assert_int_equal(pass_f.status, ATTN_ERROR_SHAPE);
    assert_non_null(strstr(attn_nn_error_message(), "max_length"));
    close_fixture(&f);
    close_fixture(&g);
}

/* Sentences 0, 1, 2 have a row each; what is refused moves nothing, and a decoder may be without rows. */
static void orders_of_rows(void **state) {
    (void)state;
    static const int64_t wrong[][2] = {{0, 3}, {-1, 0}, {2, 1}}, right[] = {0, 2};
    for (int i = 0; i < 9; i++) {
        const attn_nn_config config = config_of(i / 3);
        fixture f;
        open_fixture(&f, &config, 5);
        attn_nn_pass pass = fixture_pass(&f, false);
        attn_nn_decoder *const d = attn_nn_decoder_open(f.model, &pass, &sources, 3);
        const int32_t tokens[3] = {BEGIN, BEGIN, BEGIN};
        real log_p[3 * VOCABULARY];
        assert_true(attn_nn_decoder_step(d, tokens, log_p, NULL));
        assert_true(attn_nn_decoder_reorder(d, right, 2));
        assert_int_equal(attn_nn_decoder_rows(d), 2);
        assert_true(attn_nn_decoder_step(d, tokens, log_p, NULL));
        assert_true(attn_nn_decoder_reorder(d, right, 0));
        assert_true(attn_nn_decoder_step(d, tokens, log_p, NULL));
        attn_nn_decoder_close(d);
        attn_nn_decoder *const other = attn_nn_decoder_open(f.model, &pass, &sources, 3);
        assert_true(attn_nn_decoder_step(other, tokens, log_p, NULL));
        assert_false(attn_nn_decoder_reorder(other, wrong[i % 3], 2));
        assert_int_equal(pass.status, ATTN_ERROR_VALUE);
        attn_nn_decoder_close(other);
        close_fixture(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_is_what_the_decoder_says),
        cmocka_unit_test(models_together),
        cmocka_unit_test(a_model_with_itself),
        cmocka_unit_test(weights_sum_to_1),
        cmocka_unit_test(no_further_than_positions),
        cmocka_unit_test(memory_and_interruption),
        cmocka_unit_test(other_vocabularies_are_refused),
        cmocka_unit_test(orders_of_rows),
        cmocka_unit_test(a_failure_of_the_second_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

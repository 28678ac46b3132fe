/* Recurrent layers and models: gradients beside differences, for every look, cell and way to feed; steps
 * beside the whole; a sentence alone beside its batch. */
#include "differences.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VOCABULARY = 11, LOOKS = 7, CELLS = 2 };

static attn_nn_config plain(void) {
    return (attn_nn_config){.family = ATTN_NN_RECURRENT,
                            .vocabulary = VOCABULARY,
                            .width = 8,
                            .encoder_layers = 2,
                            .decoder_layers = 2,
                            .heads = 2,
                            .hidden = 6,
                            .look = ATTN_NN_LOOK_ADDITIVE,
                            .look_width = 5};
}

static bool can_cover(attn_nn_look look) {
    return look == ATTN_NN_LOOK_CONCAT || look == ATTN_NN_LOOK_ADDITIVE ||
           look == ATTN_NN_LOOK_LOCATION;
}

static void gradients_of(const attn_nn_config *config, bool training,
                         const attn_nn_objective *objective) {
    fixture f;
    small_batch small;
    open_fixture(&f, config, 3);
    f.training = training;
    make_small_batch(&small, VOCABULARY, 5);
    check_gradients(&f, &small.batch, objective);
    close_fixture(&f);
}

static void test_looks(void **state) {
    (void)state;
    for (int look = 0; look < LOOKS; look++) {
        for (int cell = 0; cell < CELLS; cell++) {
            for (int feeding = 0; feeding < 2; feeding++) {
                const attn_nn_objective objective = {
                    .smoothing = 0.1, .guide = look == 0 ? 0 : 0.3, .scale = 0.25};
                attn_nn_config c = plain();
                c.look = (attn_nn_look)look, c.cell = (attn_nn_cell)cell;
                c.no_input_feeding = !feeding;
                gradients_of(&c, false, &objective);
            }
        }
    }
}

/* min(weight, coverage) has a corner where they are equal; with this seed none lies within the steps. */
static void test_coverage(void **state) {
    (void)state;
    for (int look = 0; look < LOOKS; look++) {
        for (int mode = 0; mode < 8 && can_cover((attn_nn_look)look); mode++) {
            const attn_nn_objective objective = {
                .guide = mode & 1 ? 0.3 : 0, .coverage = mode & 2 ? 0.7 : 0, .scale = 0.5};
            attn_nn_config c = plain();
            c.look = (attn_nn_look)look, c.coverage = true;
            c.no_input_feeding = (mode & 4) != 0;
            gradients_of(&c, false, &objective);
        }
    }
}

/* The small vocabulary makes the source repeat words, and labels be among them, or not. */
static void test_copy(void **state) {
    (void)state;
    for (int look = 1; look < LOOKS; look++) {
        for (int mode = 0; mode < 8; mode++) {
            const attn_nn_objective objective = {
                .smoothing = mode & 1 ? 0.1 : 0, .guide = mode & 2 ? 0.3 : 0, .scale = 0.5};
            attn_nn_config c = plain();
            c.look = (attn_nn_look)look, c.copy = true;
            c.no_input_feeding = (mode & 4) != 0;
            c.coverage = can_cover(c.look) && mode % 3 == 0;
            c.align_heads = 1 + mode % 2;
            gradients_of(&c, false, &objective);
        }
    }
}

static void test_dropout(void **state) {
    (void)state;
    static const attn_nn_look looks[] = {ATTN_NN_LOOK_NONE, ATTN_NN_LOOK_DOT,
                                         ATTN_NN_LOOK_LOCATION};
    const attn_nn_objective objective = {.smoothing = 0.1, .scale = 1};
    for (int look = 0; look < 3; look++) {
        for (int feeding = 0; feeding < 2; feeding++) {
            attn_nn_config c = plain();
            c.look = looks[look], c.no_input_feeding = !feeding, c.dropout = 0.3;
            gradients_of(&c, true, &objective);
        }
    }
}

static void test_shapes(void **state) {
    (void)state;
    const attn_nn_objective objective = {.scale = 1};
    for (int64_t encoder = 1; encoder <= 3; encoder += 2) {
        for (int64_t decoder = 1; decoder <= 3; decoder += 2) {
            attn_nn_config c = plain();
            c.encoder_layers = encoder, c.decoder_layers = decoder;
            c.untied = encoder == 1;
            gradients_of(&c, false, &objective);
        }
    }
}

/* --- The whole beside its parts --------------------------------------------------------------------- */

/* Steps, and sentences alone, do what the whole does in another order. A sum of n terms of either order
 * is within n eps of the exact one, relative to the sum of its terms' sizes; sums here have 32 terms at
 * most, the values are of size 1, and pass some 10 of them a step for 7 steps, none of which multiplies
 * an error by more than a few: 32 * 10 * 7 < 2500. Sixteen rows are added. */
static const double roundings = 2500 * DBL_EPSILON;

typedef struct said {
    double likelihood; /* -log p of the labels */
    attn_nn_real weights[64][8];
} said;

/* The labels said one by one. With `twice`, each sentence has two rows, as a beam has, which change
 * places at each step: one is asked, the other says other words. */
static void say(fixture *f, const attn_nn_batch *b, bool twice, said *to) {
    attn_nn_pass pass = fixture_pass(f, false);
    attn_nn_real log_p[8 * VOCABULARY], weights[8 * 8];
    const int64_t each = twice ? 2 : 1;
    int64_t longest = 0;
    for (int64_t s = 0; s < b->source.count; s++) {
        const int64_t length = b->source.starts[s + 1] - b->source.starts[s];
        longest = length > longest ? length : longest;
    }
    memset(to, 0, sizeof *to);
    attn_nn_decoder *const d = attn_nn_decoder_open(f->model, &pass, &b->source, 8);
    assert_non_null(d);
    int64_t before = 1;
    for (int64_t t = 0, left = b->target.count; left > 0; t++) {
        int64_t from[8];
        int32_t tokens[8];
        while (left > 0 && b->target.starts[left - 1] + t >= b->target.starts[left]) left--;
        if (left == 0) break;
        const int64_t asked = twice ? t % 2 : 0;
        for (int64_t r = 0; r < left * each; r++) {
            const bool other = r % each != asked;
            from[r] = r / each * before + (before == 2 ? 1 - r % 2 : 0);
            tokens[r] = (b->target.tokens[b->target.starts[r / each] + t] + other) % VOCABULARY;
        }
        assert_true(attn_nn_decoder_reorder(d, from, left * each));
        assert_true(attn_nn_decoder_step(d, tokens, log_p, weights));
        before = each;
        for (int64_t s = 0; s < left; s++) {
            const int64_t row = b->target.starts[s] + t, r = s * each + asked;
            double all = 0;
            for (int v = 0; v < VOCABULARY; v++) all += exp((double)log_p[r * VOCABULARY + v]);
            assert_true(fabs(all - 1) <= roundings);
            to->likelihood -= (double)log_p[r * VOCABULARY + b->labels[row]];
            memcpy(to->weights[row], weights + r * longest, (size_t)longest * sizeof *weights);
        }
    }
    attn_nn_decoder_close(d);
}

static double likelihood_of(fixture *f, const attn_nn_batch *batch) {
    attn_nn_pass pass = fixture_pass(f, false);
    attn_nn_loss loss;
    const attn_nn_objective objective = {.scale = 1};
    attn_nn_model_loss(f->model, &pass, batch, &objective, &loss);
    assert_int_equal(pass.status, ATTN_OK);
    return loss.likelihood;
}

static void check_whole(fixture *f, const small_batch *small) {
    const attn_nn_batch *const b = &small->batch;
    const double whole = likelihood_of(f, b);
    said steps, twice;
    say(f, b, false, &steps);
    say(f, b, true, &twice);
    assert_true(fabs(steps.likelihood - whole) <= roundings * whole);
    assert_true(fabs(twice.likelihood - whole) <= roundings * whole);
    attn_nn_pass pass = fixture_pass(f, false);
    int64_t heads = 0, longest = 0;
    const attn_nn_real *const w = attn_nn_model_weights(f->model, &pass, b, 0, &heads, &longest);
    assert_int_equal(pass.status, ATTN_OK);
    if (attn_nn_model_config(f->model)->look == ATTN_NN_LOOK_NONE) {
        assert_null(w);
        return;
    }
    const int64_t rows = b->target.starts[b->target.count];
    for (int64_t r = 0; r < rows; r++) {
        double all = 0;
        for (int64_t j = 0; j < longest; j++) {
            double mean = 0;
            for (int64_t h = 0; h < heads; h++) {
                mean += (double)w[(h * rows + r) * longest + j] / (double)heads;
            }
            all += mean;
            assert_true(fabs(mean - (double)steps.weights[r][j]) <= roundings);
            assert_true(fabs(mean - (double)twice.weights[r][j]) <= roundings);
        }
        assert_true(fabs(all - 1) <= roundings);
    }
}

/* Sentence s of the batch as a batch. */
static double alone(fixture *f, const small_batch *small, int64_t s) {
    const attn_nn_batch *const b = &small->batch;
    const int64_t at = b->source.starts[s], to = b->target.starts[s];
    const int64_t source[] = {0, b->source.starts[s + 1] - at};
    const int64_t target[] = {0, b->target.starts[s + 1] - to};
    const attn_nn_batch one = {.source = {1, source, b->source.tokens + at},
                               .target = {1, target, b->target.tokens + to},
                               .labels = b->labels + to};
    return likelihood_of(f, &one);
}

static void test_parts(void **state) {
    (void)state;
    for (int look = 0; look < LOOKS; look++) {
        for (int mode = 0; mode < 16; mode++) {
            attn_nn_config c = plain();
            c.look = (attn_nn_look)look, c.cell = (attn_nn_cell)(mode & 1);
            c.no_input_feeding = (mode & 2) != 0, c.coverage = (mode & 4) != 0;
            c.copy = (mode & 8) != 0;
            if (c.coverage && !can_cover(c.look)) continue;
            if (c.copy && c.look == ATTN_NN_LOOK_NONE) continue;
            fixture f;
            small_batch small;
            open_fixture(&f, &c, 3);
            make_small_batch(&small, VOCABULARY, 5);
            check_whole(&f, &small);
            double sum = 0;
            for (int64_t s = 0; s < small.batch.source.count; s++) sum += alone(&f, &small, s);
            const double whole = likelihood_of(&f, &small.batch);
            assert_true(fabs(sum - whole) <= roundings * whole);
            close_fixture(&f);
        }
    }
}

/* --- Refusals ---------------------------------------------------------------------------------------- */

static void refuse_loss(const attn_nn_config *config, const attn_nn_batch *batch,
                        const attn_nn_objective *objective, const char *expected) {
    fixture f;
    open_fixture(&f, config, 3);
    attn_nn_pass pass = fixture_pass(&f, true);
    attn_nn_loss loss;
    attn_nn_model_loss(f.model, &pass, batch, objective, &loss);
    assert_int_equal(pass.status, ATTN_ERROR_VALUE);
    assert_string_equal(attn_nn_error_message(), expected);
    close_fixture(&f);
}

/* Of either family: arrays of `starts` have a place for each sentence. */
static void test_counts(void **state) {
    (void)state;
    small_batch small;
    make_small_batch(&small, VOCABULARY, 5);
    small.batch.source.count--;
    for (int family = 0; family < 2; family++) {
        attn_nn_config c = plain();
        c.family = (attn_nn_family)family;
        fixture f;
        open_fixture(&f, &c, 3);
        attn_nn_pass pass = fixture_pass(&f, true), other = fixture_pass(&f, false);
        const attn_nn_objective plainly = {.scale = 1};
        attn_nn_loss loss;
        int64_t heads, longest;
        attn_nn_model_loss(f.model, &pass, &small.batch, &plainly, &loss);
        assert_int_equal(pass.status, ATTN_ERROR_SHAPE);
        assert_null(attn_nn_model_weights(f.model, &other, &small.batch, 0, &heads, &longest));
        assert_int_equal(other.status, ATTN_ERROR_SHAPE);
        assert_string_equal(attn_nn_error_message(),
                            "a batch has as many source as target sentences");
        close_fixture(&f);
    }
}

static void test_refusals(void **state) {
    (void)state;
    small_batch small;
    make_small_batch(&small, VOCABULARY, 5);
    attn_nn_config c = plain();
    attn_nn_model *model = NULL;
    c.look = ATTN_NN_LOOK_DOT, c.coverage = true;
    assert_int_equal(attn_nn_model_create(&model, &c), ATTN_ERROR_VALUE);
    assert_null(model);
    assert_string_equal(attn_nn_error_message(),
                        "config.coverage: expected a look that it can join: concat, additive or "
                        "location");
    c.coverage = false;
    const attn_nn_objective covers = {.coverage = 1, .scale = 1};
    refuse_loss(&c, &small.batch, &covers, "objective.coverage: this model keeps no coverage");
    attn_nn_config odd = c; /* 6 hidden, and 4 heads by default, which only one look has */
    odd.hidden = 6, odd.heads = 0;
    assert_int_equal(attn_nn_model_create(&model, &odd), ATTN_OK);
    attn_nn_model_destroy(model);
    odd.look = ATTN_NN_LOOK_MULTI_HEAD;
    assert_int_equal(attn_nn_model_create(&model, &odd), ATTN_ERROR_VALUE);
    assert_string_equal(attn_nn_error_message(),
                        "config.heads: expected a divisor of the width that is split");
    attn_nn_config transformer = c;
    transformer.family = ATTN_NN_TRANSFORMER;
    refuse_loss(&transformer, &small.batch, &covers,
                "objective.coverage: this model keeps no coverage");
    c.look = ATTN_NN_LOOK_NONE, c.copy = true;
    assert_int_equal(attn_nn_model_create(&model, &c), ATTN_ERROR_VALUE);
    assert_string_equal(attn_nn_error_message(),
                        "config.copy: expected a look, whose weights say what is copied");
    c.copy = false;
    const attn_nn_objective guides = {.guide = 1, .scale = 1}, plainly = {.scale = 1};
    refuse_loss(&c, &small.batch, &guides, "objective.guide: this model has no weights to guide");
    attn_nn_batch astray = small.batch;
    int32_t keys[64] = {6}; /* the longest source sentence has 6 rows */
    astray.guide_keys = keys;
    c.look = ATTN_NN_LOOK_DOT;
    refuse_loss(&c, &astray, &guides, "a guide key lies outside the source");
    refuse_loss(&transformer, &astray, &guides, "a guide key lies outside the source");
    attn_nn_batch rising = small.batch;
    static const int64_t starts[] = {0, 1, 4, 9, 16};
    rising.target.starts = starts;
    refuse_loss(&c, &rising, &plainly,
                "the pairs of a batch come in falling order of target length");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_looks),  cmocka_unit_test(test_coverage),
        cmocka_unit_test(test_copy),   cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_shapes), cmocka_unit_test(test_parts),
        cmocka_unit_test(test_counts), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

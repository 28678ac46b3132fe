/* The Transformer: gradients beside differences, for all its choices; steps beside the whole. */
#include "differences.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VOCABULARY = 11 };

static attn_nn_config plain(void) {
    return (attn_nn_config){.family = ATTN_NN_TRANSFORMER,
                            .vocabulary = VOCABULARY,
                            .width = 8,
                            .encoder_layers = 2,
                            .decoder_layers = 2,
                            .heads = 2,
                            .feed_forward = 12,
                            .activation = ATTN_NN_GELU,
                            .max_length = 16};
}

static const attn_nn_objective objective = {.smoothing = 0.1, .guide = 0.3, .scale = 0.25};

static void gradients_of(const attn_nn_config *config, bool training) {
    fixture f;
    small_batch small;
    open_fixture(&f, config, 3);
    f.training = training;
    make_small_batch(&small, VOCABULARY, 5);
    check_gradients(&f, &small.batch, &objective);
    close_fixture(&f);
}

static void test_norms(void **state) {
    (void)state;
    for (int post = 0; post < 2; post++) {
        for (int kind = 0; kind < 2; kind++) {
            attn_nn_config c = plain();
            c.post_norm = post, c.norm = (attn_nn_norm_kind)kind;
            gradients_of(&c, false);
        }
    }
}

static void test_positions(void **state) {
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        attn_nn_config c = plain();
        c.positions = (attn_nn_positions)kind;
        c.untied = kind % 2;
        gradients_of(&c, false);
    }
}

/* A ReLU has a corner: a difference across it is no derivative, which shows as an error far above the
 * bound with some probability; with this seed no corner lies within the steps. */
static void test_activations(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        attn_nn_config c = plain();
        c.activation = (attn_nn_activation)kind;
        gradients_of(&c, false);
    }
}

static void test_dropout(void **state) {
    (void)state;
    for (int post = 0; post < 2; post++) {
        attn_nn_config c = plain();
        c.post_norm = post;
        c.dropout = 0.3, c.attention_dropout = 0.2, c.activation_dropout = 0.1;
        gradients_of(&c, true);
    }
}

static void test_aligned_heads(void **state) {
    (void)state;
    for (int64_t layer = 1; layer <= 2; layer++) {
        attn_nn_config c = plain();
        c.align_layer = layer, c.align_heads = 1, c.align_after = layer == 2;
        gradients_of(&c, false);
    }
}

static void test_copy(void **state) {
    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        attn_nn_config c = plain();
        c.copy = true, c.align_heads = 1 + mode % 2;
        c.dropout = mode & 2 ? 0.2 : 0;
        gradients_of(&c, (mode & 2) != 0);
    }
}

/* -log p of the labels, said one by one. */
static double likelihood_by_steps(fixture *f, const small_batch *small, bool reorder) {
    const attn_nn_batch *const b = &small->batch;
    attn_nn_pass pass = fixture_pass(f, false);
    double sum = 0;
    attn_nn_decoder *const d = attn_nn_decoder_open(f->model, &pass, &b->source, 8);
    assert_non_null(d);
    int64_t rows = b->target.count;
    attn_nn_real log_p[8 * VOCABULARY];
    for (int64_t t = 0; rows > 0; t++) {
        /* Sentences come in falling order of length: those that ended are the last. */
        int64_t left = 0, from[8];
        int32_t tokens[8];
        while (left < rows && b->target.starts[left] + t < b->target.starts[left + 1]) left++;
        for (int64_t r = 0; r < left; r++) from[r] = r;
        if (left < rows || reorder) assert_true(attn_nn_decoder_reorder(d, from, left));
        rows = left;
        for (int64_t r = 0; r < rows; r++) tokens[r] = b->target.tokens[b->target.starts[r] + t];
        if (rows > 0) assert_true(attn_nn_decoder_step(d, tokens, log_p, NULL));
        for (int64_t r = 0; r < rows; r++) {
            sum -= (double)log_p[r * VOCABULARY + b->labels[b->target.starts[r] + t]];
        }
    }
    attn_nn_decoder_close(d);
    return sum;
}

/* The same sums in another order: some hundred roundings a layer, of numbers of the size of the
 * result; 16 rows are added. */
static void test_steps(void **state) {
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        for (int post = 0; post < 2; post++) {
            attn_nn_config c = plain();
            c.positions = (attn_nn_positions)kind, c.post_norm = post, c.copy = kind == 1;
            fixture f;
            small_batch small;
            open_fixture(&f, &c, 3);
            make_small_batch(&small, VOCABULARY, 5);
            attn_nn_pass pass = fixture_pass(&f, false);
            attn_nn_loss loss;
            const attn_nn_objective whole = {.scale = 1};
            attn_nn_model_loss(f.model, &pass, &small.batch, &whole, &loss);
            const double stepped = likelihood_by_steps(&f, &small, kind % 2);
            assert_true(fabs(stepped - loss.likelihood) <= 1000 * DBL_EPSILON * loss.likelihood);
            close_fixture(&f);
        }
    }
}

/* By 1 - rate it is divided; and training or not, a rate that is none is told. */
static void test_rates(void **state) {
    (void)state;
    static const double wrong[] = {1, 1.5, -0.1, NAN};
    for (int i = 0; i < 8; i++) {
        attn_nn_pass pass = {.training = i < 4};
        attn_nn_real x[] = {1, 2, 3};
        (void)attn_nn_dropout_forward(&pass, wrong[i % 4], x, 3);
        assert_int_equal(pass.status, ATTN_ERROR_VALUE);
        assert_true(x[0] == 1 && x[1] == 2 && x[2] == 3);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),       cmocka_unit_test(test_positions),
        cmocka_unit_test(test_activations), cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_rates),       cmocka_unit_test(test_aligned_heads),
        cmocka_unit_test(test_copy),        cmocka_unit_test(test_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

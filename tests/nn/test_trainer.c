/* Training steps: what they refuse, what a step that is left out leaves as it was, and threads. */
#include "nn.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PAIRS = 6, VOCABULARY = 11 };

static const int64_t starts[] = {0, 2, 5, 6, 10, 12, 15};
static const int32_t source[] = {2, 3, 4, 5, 6, 7, 8, 9, 10, 2, 4, 6, 8, 10, 3};
static const int32_t target[] = {9, 8, 7, 6, 5, 4, 3, 2, 10, 9, 7, 5, 3, 2, 8};
static const attn_nn_corpus corpus = {
    .pairs = PAIRS,
    .source_starts = starts,
    .target_starts = starts,
    .source_tokens = source,
    .target_tokens = target,
};

typedef struct fixture {
    attn_nn_model *model;
    attn_nn_trainer *trainer;
    attn_nn_training *state;
    attn_nn_batches *batches;
    int64_t size;
} fixture;

static fixture open_all(int threads, int64_t shards, int64_t batch_shards) {
    const attn_nn_config config = {
        .vocabulary = VOCABULARY, .width = 8, .heads = 2, .encoder_layers = 1, .dropout = 0.1};
    const attn_nn_trainer_options options = {.threads = threads,
                                             .shards = shards,
                                             .schedule.peak = 0.01,
                                             .average_keep = 0.9,
                                             .seed = 3};
    const attn_nn_batches_options cut = {.shards = batch_shards, .begin = 0, .end = 1};
    fixture f;
    assert_int_equal(attn_nn_model_create(&f.model, &config), ATTN_OK);
    assert_int_equal(attn_nn_trainer_create(&f.trainer, f.model, &options), ATTN_OK);
    assert_int_equal(attn_nn_batches_open(&corpus, &cut, &f.batches), ATTN_OK);
    f.state = attn_nn_trainer_state(f.trainer);
    f.size = attn_nn_model_layout(f.model)->size;
    return f;
}

static void close_all(fixture *f) {
    attn_nn_batches_close(f->batches);
    attn_nn_trainer_destroy(f->trainer);
    attn_nn_model_destroy(f->model);
}

/* Fewer would leave pairs out, and nobody would see it. */
static void batches_are_cut_as_the_trainer_expects(void **state) {
    (void)state;
    for (int64_t shards = 1; shards <= 3; shards += 2) {
        fixture f = open_all(1, 2, shards);
        attn_nn_step_report report;
        attn_nn_loss loss;
        assert_int_equal(attn_nn_trainer_step(f.trainer, f.batches, 0, 0, &report),
                         ATTN_ERROR_VALUE);
        assert_string_equal(attn_nn_error_message(),
                            "batches: shards: expected as many as the trainer's");
        assert_int_equal(attn_nn_trainer_loss(f.trainer, f.batches, f.state->values, &loss),
                         ATTN_ERROR_VALUE);
        assert_int_equal(f.state->step, 0);
        close_all(&f);
    }
}

static void more_threads_than_there_may_be(void **state) {
    (void)state;
    const attn_nn_config config = {.vocabulary = VOCABULARY, .width = 8, .heads = 2};
    const attn_nn_trainer_options options = {.threads = 4097};
    attn_nn_model *model = NULL;
    attn_nn_trainer *trainer = NULL;
    assert_int_equal(attn_nn_model_create(&model, &config), ATTN_OK);
    assert_int_equal(attn_nn_trainer_create(&trainer, model, &options), ATTN_ERROR_VALUE);
    assert_null(trainer);
    attn_nn_model_destroy(model);
}

/* The first step meets a NaN. The second's average is 1/11 of where training began and 10/11 of where it
 * is. Of that, and of what is expected, 4 numbers are rounded each, by 2^-53 of the greater. */
static void a_step_that_is_left_out(void **state) {
    (void)state;
    fixture f = open_all(1, 2, 2);
    const size_t size = (size_t)f.size * sizeof(real);
    real *const began = malloc(size);
    assert_non_null(began);
    memcpy(began, f.state->values, size);
    assert_memory_equal(f.state->average, began, size);
    attn_nn_step_report report;
    f.state->values[0] = (real)NAN;
    assert_int_equal(attn_nn_trainer_step(f.trainer, f.batches, 0, 0, &report), ATTN_OK);
    assert_true(report.left_out);
    assert_int_equal(f.state->step, 1);
    f.state->values[0] = began[0];
    assert_memory_equal(f.state->values, began, size);
    assert_memory_equal(f.state->average, began, size);
    for (int64_t i = 0; i < f.size; i++) assert_true(f.state->mean[i] == 0);
    assert_int_equal(attn_nn_trainer_step(f.trainer, f.batches, 0, 0, &report), ATTN_OK);
    assert_false(report.left_out);
    assert_memory_not_equal(f.state->values, began, size);
    for (int64_t i = 0; i < f.size; i++) {
        const double a = (double)began[i], b = (double)f.state->values[i];
        const double expected = (a + 10 * b) / 11, most = fabs(a) > fabs(b) ? fabs(a) : fabs(b);
        assert_true(fabs((double)f.state->average[i] - expected) <= 8 * 0x1p-53 * most);
    }
    free(began);
    close_all(&f);
}

/* 8 shards of 6 pairs: two at least have none. */
static void threads_change_no_bits(void **state) {
    (void)state;
    fixture one = open_all(1, 8, 8), two = open_all(2, 8, 8);
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        attn_nn_step_report a, b;
        assert_int_equal(attn_nn_trainer_step(one.trainer, one.batches, epoch, 0, &a), ATTN_OK);
        assert_int_equal(attn_nn_trainer_step(two.trainer, two.batches, epoch, 0, &b), ATTN_OK);
        assert_true(a.loss.sum == b.loss.sum && a.length == b.length && a.length > 0);
        assert_int_equal(a.loss.rows, starts[PAIRS] + PAIRS);
    }
    const size_t size = (size_t)one.size * sizeof *one.state->values;
    assert_memory_equal(one.state->values, two.state->values, size);
    assert_memory_equal(one.state->average, two.state->average, size);
    close_all(&one);
    close_all(&two);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_cut_as_the_trainer_expects),
        cmocka_unit_test(more_threads_than_there_may_be),
        cmocka_unit_test(a_step_that_is_left_out),
        cmocka_unit_test(threads_change_no_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

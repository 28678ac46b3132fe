/* differences.h: gradients of a value, a model's loss among them, beside central differences of it, in
 * double. */
#ifndef TESTS_NN_DIFFERENCES_H
#define TESTS_NN_DIFFERENCES_H

#include "attn/nn.h"

/* A batch of a few sentences of random tokens, with a guide for every other row. */
typedef struct small_batch {
    attn_nn_batch batch;
    int64_t source_starts[8], target_starts[8], guide_starts[64];
    int32_t source[64], target[64], labels[64], guide_keys[64];
} small_batch;

void make_small_batch(small_batch *small, int64_t vocabulary, uint64_t seed);

/* Everything that a pass needs; the noise of dropout is the same in each. */
typedef struct fixture {
    attn_nn_model *model;
    attn_nn_real *values, *gradients;
    attn_nn_arena *arena;
    attn_context *context;
    bool training;
} fixture;

void open_fixture(fixture *f, const attn_nn_config *config, uint64_t seed);
void close_fixture(fixture *f);

attn_nn_pass fixture_pass(const fixture *f, bool with_gradients);

/* A function of values [layout->size]. With gradients, it adds scale * its own to `gradients`. */
typedef struct differentiable {
    double (*value)(void *user, bool with_gradients);
    void *user;
    const attn_nn_layout *layout;
    attn_nn_real *values, *gradients;
    double scale;
    double size; /* of what a value is the sum of */
} differentiable;

/* Fails the test unless, for each parameter and some random directions in it, the gradient's share
 * is the difference's to within its own error. Gradients begin at 0. */
void check_differences(const differentiable *f);

/* The same of a model's loss. */
void check_gradients(fixture *f, const attn_nn_batch *batch, const attn_nn_objective *objective);

#endif

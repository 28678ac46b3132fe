#include "differences.h"

#include "noise.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int64_t pick(uint64_t *place, uint64_t seed, int64_t bound) {
    return (int64_t)(attn_nn_noise_at(seed, (*place)++).a % (uint64_t)bound);
}

void make_small_batch(small_batch *small, int64_t vocabulary, uint64_t seed) {
    static const int64_t source_lengths[] = {4, 1, 6, 3}, target_lengths[] = {7, 5, 3, 1};
    enum { SENTENCES = 4 };
    uint64_t place = 0;
    int64_t guides = 0;
    memset(small, 0, sizeof *small);
    for (int s = 0; s < SENTENCES; s++) {
        small->source_starts[s + 1] = small->source_starts[s] + source_lengths[s];
        small->target_starts[s + 1] = small->target_starts[s] + target_lengths[s];
        for (int64_t r = small->target_starts[s]; r < small->target_starts[s + 1]; r++) {
            for (int64_t k = r % 2 ? 0 : 1 + pick(&place, seed, 2); k > 0; k--) {
                small->guide_keys[guides++] = (int32_t)pick(&place, seed, source_lengths[s]);
            }
            small->guide_starts[r + 1] = guides;
        }
    }
    for (int i = 0; i < 64; i++) {
        small->source[i] = (int32_t)pick(&place, seed, vocabulary);
        small->target[i] = (int32_t)pick(&place, seed, vocabulary);
        small->labels[i] = (int32_t)pick(&place, seed, vocabulary);
    }
    small->batch = (attn_nn_batch){
        .source = {SENTENCES, small->source_starts, small->source},
        .target = {SENTENCES, small->target_starts, small->target},
        .labels = small->labels,
        .guide_starts = small->guide_starts,
        .guide_keys = small->guide_keys,
    };
}

void open_fixture(fixture *f, const attn_nn_config *config, uint64_t seed) {
    memset(f, 0, sizeof *f);
    assert_int_equal(attn_nn_model_create(&f->model, config), ATTN_OK);
    const attn_nn_layout *const layout = attn_nn_model_layout(f->model);
    f->values = calloc((size_t)layout->size, sizeof *f->values);
    f->gradients = calloc((size_t)layout->size, sizeof *f->gradients);
    f->arena = attn_nn_arena_create();
    const attn_context_options options = {.threads = 1};
    assert_int_equal(attn_context_create(&f->context, &options), ATTN_OK);
    attn_nn_layout_start(layout, seed, f->values);
    /* Parameters that start at 0 or 1 are moved, for a gradient that is 0 there by symmetry shows
     * nothing. */
    for (int64_t k = 0; k < layout->size; k++) {
        f->values[k] +=
            (attn_nn_real)(0.2 * (attn_nn_uniform(attn_nn_noise_at(seed, (uint64_t)k).b) - 0.5));
    }
}

void close_fixture(fixture *f) {
    attn_nn_model_destroy(f->model);
    free(f->values);
    free(f->gradients);
    attn_nn_arena_destroy(f->arena);
    attn_context_destroy(f->context);
}

attn_nn_pass fixture_pass(const fixture *f, bool with_gradients) {
    return (attn_nn_pass){.values = f->values,
                          .gradients = with_gradients ? f->gradients : NULL,
                          .arena = f->arena,
                          .context = f->context,
                          .training = f->training,
                          .seed = 7};
}

/* (L(x + h u) - L(x - h u)) / 2h */
static double difference(const differentiable *f, const attn_nn_parameter *p,
                         const double *direction, double h) {
    const int64_t count = p->rows * p->columns;
    attn_nn_real *const at = f->values + p->offset;
    double sides[2];
    for (int side = 0; side < 2; side++) {
        const double by = side ? h : -h;
        for (int64_t k = 0; k < count; k++) at[k] += (attn_nn_real)(by * direction[k]);
        sides[side] = f->value(f->user, false);
        for (int64_t k = 0; k < count; k++) at[k] -= (attn_nn_real)(by * direction[k]);
    }
    return (sides[1] - sides[0]) / (2 * h);
}

/* A central difference D(h) is L' + h^2 L'''/6 + O(h^4): so (4 D(h) - D(2h))/3 is L' + O(h^4), and what
 * is left of it is far below D(2h) - D(h), which is h^2 L'''/2. Each value is a sum of some thousand
 * roundings of numbers of its size: n eps |L| / h, of which we allow n = 64 (they are of either sign).
 * Adding and taking away h may leave a parameter an eps away from where it was: of the same order. */
static void check_direction(const differentiable *f, const attn_nn_parameter *p,
                            const double *direction) {
    const double h = 1e-4;
    const double near = difference(f, p, direction, h);
    const double far = difference(f, p, direction, 2 * h);
    const double expected = (4 * near - far) / 3 * f->scale;
    double found = 0;
    for (int64_t k = 0; k < p->rows * p->columns; k++) {
        found += (double)f->gradients[p->offset + k] * direction[k];
    }
    const double bound = (fabs(far - near) / 4 + 64 * DBL_EPSILON * f->size / h) * fabs(f->scale);
    if (!(fabs(found - expected) <= bound)) {
        fail_msg("%s: gradient %.12g, difference %.12g, apart %.3g, bound %.3g", p->name, found,
                 expected, fabs(found - expected), bound);
    }
}

void check_differences(const differentiable *f) {
    const attn_nn_layout *const layout = f->layout;
    enum { DIRECTIONS = 3 };
    memset(f->gradients, 0, (size_t)layout->size * sizeof *f->gradients);
    (void)f->value(f->user, true);
    double *const direction = calloc((size_t)layout->size, sizeof *direction);
    for (int64_t i = 0; i < layout->count; i++) {
        const attn_nn_parameter *const p = &layout->parameters[i];
        for (uint64_t d = 0; d < DIRECTIONS; d++) {
            for (int64_t k = 0; k < p->rows * p->columns; k++) {
                const attn_nn_noise noise =
                    attn_nn_noise_at(attn_nn_stream(d, (uint64_t)i), (uint64_t)k);
                direction[k] = 2 * attn_nn_uniform(noise.a) - 1;
            }
            check_direction(f, p, direction);
        }
    }
    free(direction);
}

/* --- A model's loss ------------------------------------------------------------------------------- */

typedef struct {
    const fixture *of;
    const attn_nn_batch *batch;
    const attn_nn_objective *objective;
} model_loss;

static double loss_of(void *user, bool with_gradients) {
    const model_loss *const l = user;
    attn_nn_pass pass = fixture_pass(l->of, with_gradients);
    attn_nn_loss loss;
    const size_t mark = attn_nn_mark(&pass);
    attn_nn_model_loss(l->of->model, &pass, l->batch, l->objective, &loss);
    if (pass.status != ATTN_OK) print_error("%s\n", attn_nn_error_message());
    assert_int_equal(pass.status, ATTN_OK);
    attn_nn_release(&pass, mark);
    return loss.sum;
}

void check_gradients(fixture *f, const attn_nn_batch *batch, const attn_nn_objective *objective) {
    model_loss loss = {f, batch, objective};
    const differentiable of = {
        .value = loss_of,
        .user = &loss,
        .layout = attn_nn_model_layout(f->model),
        .values = f->values,
        .gradients = f->gradients,
        .scale = objective->scale,
        .size = fabs(loss_of(&loss, false)) + 1,
    };
    check_differences(&of);
}

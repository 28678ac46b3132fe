/* Recurrent layers: the textbook's loop, one number at a time, beside the layer; gradients beside
 * differences; steps. */
#include "attn/nn.h"

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

enum { IN = 5, HIDDEN = 3, SENTENCES = 5, ROWS = 12 };

/* In no order, one of them empty. */
static const int64_t starts[SENTENCES + 1] = {0, 2, 7, 7, 8, 12};
static const attn_nn_sentences sentences = {SENTENCES, starts, NULL};

/* All numbers that a layer takes in, one after another; `size` in all. */
typedef struct world {
    attn_nn_layout layout;
    attn_nn_recurrent layer;
    attn_nn_arena *arena;
    int64_t parameters, size;
    attn_nn_real *numbers; /* parameters, x, h0, c0 */
    bool starts_at_0;
} world;

static world make_world(attn_nn_cell cell, bool reversed, bool starts_at_0) {
    world w = {.starts_at_0 = starts_at_0};
    w.layer = attn_nn_recurrent_make(&w.layout, "layer", cell, IN, HIDDEN, reversed);
    w.arena = attn_nn_arena_create();
    w.parameters = w.layout.size;
    w.size = w.parameters + ROWS * IN + 2 * SENTENCES * HIDDEN;
    w.numbers = calloc((size_t)w.size, sizeof *w.numbers);
    for (int64_t i = 0; i < w.size; i++) {
        w.numbers[i] = 2 * attn_nn_uniform(attn_nn_noise_at(9, (uint64_t)i).a) - 1;
    }
    return w;
}

static void free_world(world *w) {
    attn_nn_layout_free(&w->layout);
    attn_nn_arena_destroy(w->arena);
    free(w->numbers);
}

static const attn_nn_real *x_of(const world *w) {
    return w->numbers + w->parameters;
}
static const attn_nn_real *h0_of(const world *w) {
    return w->starts_at_0 ? NULL : x_of(w) + ROWS * IN;
}
static const attn_nn_real *c0_of(const world *w) {
    return w->starts_at_0 ? NULL : x_of(w) + ROWS * IN + SENTENCES * HIDDEN;
}

typedef struct results {
    attn_nn_real y[ROWS * HIDDEN], h[SENTENCES * HIDDEN], c[SENTENCES * HIDDEN];
} results;

/* --- The textbook ------------------------------------------------------------------------------------ */

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double dot(const attn_nn_real *a, const double *b, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* Element j of part p of W x + b, of the two kinds. */
static double from_x(const world *w, const double *x, int p, int j) {
    const int row = p * HIDDEN + j;
    return dot(w->numbers + w->layer.input.weight + row * IN, x, IN) +
           (double)w->numbers[w->layer.input.bias + row];
}
static double from_h(const world *w, const double *h, int p, int j) {
    const int row = p * HIDDEN + j;
    return dot(w->numbers + w->layer.state.weight + row * HIDDEN, h, HIDDEN) +
           (double)w->numbers[w->layer.state.bias + row];
}

static void step(const world *w, const double *x, double *h, double *c) {
    double new_h[HIDDEN];
    for (int j = 0; j < HIDDEN; j++) {
        double a[4];
        const int parts = w->layer.cell == ATTN_NN_LSTM ? 4 : 3;
        for (int p = 0; p < parts; p++) a[p] = from_x(w, x, p, j) + from_h(w, h, p, j);
        if (w->layer.cell == ATTN_NN_LSTM) {
            c[j] = sigmoid(a[1]) * c[j] + sigmoid(a[0]) * tanh(a[2]);
            new_h[j] = sigmoid(a[3]) * tanh(c[j]);
        } else {
            const double n = tanh(from_x(w, x, 2, j) + sigmoid(a[0]) * from_h(w, h, 2, j));
            new_h[j] = (1 - sigmoid(a[1])) * n + sigmoid(a[1]) * h[j];
        }
    }
    memcpy(h, new_h, sizeof new_h);
}

static void textbook(const world *w, results *to) {
    for (int64_t s = 0; s < SENTENCES; s++) {
        double h[HIDDEN], c[HIDDEN];
        for (int j = 0; j < HIDDEN; j++) {
            h[j] = h0_of(w) ? (double)h0_of(w)[s * HIDDEN + j] : 0;
            c[j] = c0_of(w) ? (double)c0_of(w)[s * HIDDEN + j] : 0;
        }
        for (int64_t t = 0; t < starts[s + 1] - starts[s]; t++) {
            const int64_t row = w->layer.reversed ? starts[s + 1] - 1 - t : starts[s] + t;
            double x[IN];
            for (int i = 0; i < IN; i++) x[i] = (double)x_of(w)[row * IN + i];
            step(w, x, h, c);
            for (int j = 0; j < HIDDEN; j++) to->y[row * HIDDEN + j] = (attn_nn_real)h[j];
        }
        for (int j = 0; j < HIDDEN; j++) {
            to->h[s * HIDDEN + j] = (attn_nn_real)h[j];
            to->c[s * HIDDEN + j] = (attn_nn_real)c[j];
        }
    }
}

/* --- The layer ---------------------------------------------------------------------------------------- */

static attn_nn_pass pass_of(const world *w, attn_nn_real *gradients) {
    return (attn_nn_pass){.values = w->numbers, .gradients = gradients, .arena = w->arena};
}

static void layer(const world *w, attn_nn_pass *pass, results *to, attn_nn_recurrent_saved *saved) {
    const attn_nn_real *const y = attn_nn_recurrent_forward(
        pass, &w->layer, x_of(w), &sentences, h0_of(w), c0_of(w), to->h, to->c, saved);
    assert_non_null(y);
    memcpy(to->y, y, sizeof to->y);
}

/* A gate is a sum of 10 numbers below 1 (10 eps of at most 10), whose slope is at most 1; a step passes
 * an error of h on times at most 3 (a row of W_hh), of 5 steps at most: 100 eps (1 + 3 + ... + 81). */
static void assert_close(const attn_nn_real *a, const attn_nn_real *b, int count) {
    for (int i = 0; i < count; i++) {
        assert_true(fabs((double)(a[i] - b[i])) <= 12100 * DBL_EPSILON);
    }
}

static void check_forward(attn_nn_cell cell, bool reversed, bool starts_at_0) {
    world w = make_world(cell, reversed, starts_at_0);
    results expected, found;
    textbook(&w, &expected);
    attn_nn_pass pass = pass_of(&w, NULL);
    layer(&w, &pass, &found, NULL);
    assert_close(found.y, expected.y, ROWS * HIDDEN);
    assert_close(found.h, expected.h, SENTENCES * HIDDEN);
    if (cell == ATTN_NN_LSTM) assert_close(found.c, expected.c, SENTENCES * HIDDEN);
    free_world(&w);
}

/* What is differentiated: all results, each times a number of its own. */
static const attn_nn_real *factors(void) {
    static attn_nn_real all[sizeof(results) / sizeof(attn_nn_real)];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        all[i] = 2 * attn_nn_uniform(attn_nn_noise_at(4, i).b) - 1;
    }
    return all;
}

static double value(const world *w) {
    results r;
    attn_nn_pass pass = pass_of(w, NULL);
    const size_t mark = attn_nn_mark(&pass);
    layer(w, &pass, &r, NULL);
    attn_nn_release(&pass, mark);
    const attn_nn_real *const by = factors();
    double sum = 0;
    for (int i = 0; i < ROWS * HIDDEN; i++) sum += (double)(by[i] * r.y[i]);
    for (int i = 0; i < SENTENCES * HIDDEN; i++) {
        sum += (double)(by[ROWS * HIDDEN + i] * r.h[i]);
        if (w->layer.cell == ATTN_NN_GRU) continue;
        sum += (double)(by[ROWS * HIDDEN + SENTENCES * HIDDEN + i] * r.c[i]);
    }
    return sum;
}

static void backward(const world *w, attn_nn_real *d) {
    attn_nn_pass pass = pass_of(w, d);
    results r;
    attn_nn_recurrent_saved saved;
    const attn_nn_real *const by = factors(), *const of_h = by + ROWS * HIDDEN;
    const bool lstm = w->layer.cell == ATTN_NN_LSTM;
    attn_nn_real *const d_x = d + w->parameters, *const d_h0 = d_x + ROWS * IN;
    layer(w, &pass, &r, &saved);
    attn_nn_recurrent_backward(&pass, &w->layer, x_of(w), &sentences, &saved, by, of_h,
                               lstm ? of_h + SENTENCES * HIDDEN : NULL, d_x,
                               w->starts_at_0 ? NULL : d_h0,
                               w->starts_at_0 || !lstm ? NULL : d_h0 + SENTENCES * HIDDEN);
    assert_int_equal(pass.status, ATTN_OK);
}

static double difference(world *w, int64_t i, double h) {
    const attn_nn_real kept = w->numbers[i];
    w->numbers[i] = kept + (attn_nn_real)h;
    const double above = value(w);
    w->numbers[i] = kept - (attn_nn_real)h;
    const double below = value(w);
    w->numbers[i] = kept;
    return (above - below) / (2 * h);
}

/* With D(h) a central difference, (4 D(h) - D(2h))/3 is the derivative but for h^4; D(2h) - D(h) is
 * h^2 f'''/2, of which a quarter is far above that. A value is a sum of 66 products of results below 1
 * and numbers below 1, which are wrong by the bound above and are summed with 66 eps of 66 at most; the
 * errors of two values are divided by 2h. What is padding among parameters, and what the cell does not
 * take, has gradient 0. */
static void check_gradients(attn_nn_cell cell, bool reversed, bool starts_at_0) {
    world w = make_world(cell, reversed, starts_at_0);
    attn_nn_real *const d = calloc((size_t)w.size, sizeof *d);
    backward(&w, d);
    const double h = 1e-4;
    const double rounding = (66 * 12100 + 66 * 66) * DBL_EPSILON / h;
    for (int64_t i = 0; i < w.size; i++) {
        const double near = difference(&w, i, h), far = difference(&w, i, 2 * h);
        const double bound = fabs(far - near) / 4 + rounding;
        const double apart = fabs((double)d[i] - (4 * near - far) / 3);
        if (!(apart <= bound)) fail_msg("number %d: %g apart, bound %g", (int)i, apart, bound);
    }
    /* Gradients are added to what is there. */
    attn_nn_real *const twice = calloc((size_t)w.size, sizeof *twice);
    backward(&w, twice);
    backward(&w, twice);
    for (int64_t i = 0; i < w.size; i++) {
        assert_true(fabs((double)(twice[i] - 2 * d[i])) <=
                    66 * DBL_EPSILON * (1 + fabs((double)d[i])));
    }
    free(d);
    free(twice);
    free_world(&w);
}

static void each(void (*check)(attn_nn_cell, bool, bool)) {
    for (int mode = 0; mode < 8; mode++) {
        check((attn_nn_cell)(mode & 1), (mode & 2) != 0, (mode & 4) != 0);
    }
}

static void test_forward(void **state) {
    (void)state;
    each(check_forward);
}

static void test_gradients(void **state) {
    (void)state;
    each(check_gradients);
}

/* A step of all sentences that have a first row: what the layer makes of them. */
static void test_step(void **state) {
    (void)state;
    for (int cell = 0; cell < 2; cell++) {
        world w = make_world((attn_nn_cell)cell, false, false);
        results found;
        attn_nn_pass pass = pass_of(&w, NULL);
        layer(&w, &pass, &found, NULL);
        for (int64_t s = 0; s < SENTENCES; s++) {
            attn_nn_real h[HIDDEN], c[HIDDEN];
            memcpy(h, h0_of(&w) + s * HIDDEN, sizeof h);
            memcpy(c, c0_of(&w) + s * HIDDEN, sizeof c);
            for (int64_t row = starts[s]; row < starts[s + 1]; row++) {
                attn_nn_recurrent_step(&pass, &w.layer, x_of(&w) + row * IN, 1, h, c);
                assert_close(h, found.y + row * HIDDEN, HIDDEN);
            }
            assert_close(h, found.h + s * HIDDEN, HIDDEN);
            if (cell == ATTN_NN_LSTM) assert_close(c, found.c + s * HIDDEN, HIDDEN);
        }
        assert_int_equal(pass.status, ATTN_OK);
        free_world(&w);
    }
}

/* Sentences in another order give the same rows in another order. */
static void test_order(void **state) {
    (void)state;
    static const int64_t order[SENTENCES] = {3, 4, 0, 2, 1};
    world w = make_world(ATTN_NN_LSTM, false, true), other = make_world(ATTN_NN_LSTM, false, true);
    int64_t moved[SENTENCES + 1] = {0};
    for (int64_t i = 0; i < SENTENCES; i++) {
        const int64_t length = starts[order[i] + 1] - starts[order[i]];
        memcpy(other.numbers + other.parameters + moved[i] * IN, x_of(&w) + starts[order[i]] * IN,
               (size_t)(length * IN) * sizeof *w.numbers);
        moved[i + 1] = moved[i] + length;
    }
    const attn_nn_sentences as_moved = {SENTENCES, moved, NULL};
    results expected;
    attn_nn_pass pass = pass_of(&w, NULL), second = pass_of(&other, NULL);
    layer(&w, &pass, &expected, NULL);
    attn_nn_real h[SENTENCES * HIDDEN];
    const attn_nn_real *const y = attn_nn_recurrent_forward(&second, &other.layer, x_of(&other),
                                                            &as_moved, NULL, NULL, h, NULL, NULL);
    for (int64_t i = 0; i < SENTENCES; i++) {
        const int64_t s = order[i], length = starts[s + 1] - starts[s];
        assert_close(y + moved[i] * HIDDEN, expected.y + starts[s] * HIDDEN, (int)length * HIDDEN);
        assert_close(h + i * HIDDEN, expected.h + s * HIDDEN, HIDDEN);
    }
    free_world(&w);
    free_world(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_step),
        cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

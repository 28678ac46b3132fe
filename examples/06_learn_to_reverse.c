/* 06_learn_to_reverse.c: attention that learns where to look.
 *
 * A sequence of tokens is to be read backwards: the output at place i must be the token at place
 * N - 1 - i. All that is learnt is one query and one key a place; values are the tokens, as vectors
 * with a single 1. The loss is the cross-entropy of output and token,
 *
 *     L = -mean over i of log(output[i][token])
 *
 * whose gradient goes into attn_backward, and comes out as those of queries and keys, which follow
 * it downhill (Adam, Kingma & Ba 2015). Nobody tells the weights where to look, and so they look at
 * any place that holds the right token: the output is right, the alignment is not.
 *
 * A second run guides them: half of its loss is the cross-entropy of the weights themselves with
 * the alignment that is wanted, whose gradient flows into attn_backward beside the output's
 * (guided alignment: Chen et al. 2016). Now both are right.
 */
#include <attn/gradients.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 24, WIDTH = 16, TOKENS = 8, STEPS = 300 };

typedef struct {
    float query[N][WIDTH], key[N][WIDTH];
} parameters;

enum { PARAMETERS = sizeof(parameters) / sizeof(float) };

typedef struct {
    parameters at, slope, mean, square; /* where, its gradient, and what Adam remembers */
    float value[N][TOKENS], output[N][TOKENS], d_output[N][TOKENS];
    float weights[N][N], d_weights[N][N], lse[N];
} model;

static const int text[N] = {3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 0, 7, 7, 3, 2, 3, 0, 4, 6, 2, 6, 4, 3, 3};

/* Numbers within [-1, 1] (Numerical Recipes, 7.1). */
static void start(model *m) {
    uint32_t state = 1;
    memset(m, 0, sizeof *m);
    for (int k = 0; k < PARAMETERS; k++) {
        state = state * 1664525u + 1013904223u;
        (&m->at.query[0][0])[k] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    for (int i = 0; i < N; i++) m->value[i][text[i]] = 1;
}

/* The loss, and its gradients with respect to output and weights; `guide` is how much the latter
 * count. Probabilities are kept from 0. */
static double loss(model *m, double guide) {
    const double least = 1e-6;
    double of_output = 0, of_weights = 0;
    memset(m->d_output, 0, sizeof m->d_output);
    memset(m->d_weights, 0, sizeof m->d_weights);
    for (int i = 0; i < N; i++) {
        const int place = N - 1 - i;
        const double p = m->output[i][text[place]] + least, w = m->weights[i][place] + least;
        of_output -= log(p) / N;
        of_weights -= log(w) / N;
        m->d_output[i][text[place]] = (float)(-(1 - guide) / (N * p));
        m->d_weights[i][place] = (float)(-guide / (N * w));
    }
    return (1 - guide) * of_output + guide * of_weights;
}

/* Forward, loss, backward: fills m->slope. */
static attn_status differentiate(model *m, double guide, double *value) {
    attn_problem p = {
        .query = attn_tensor_f32(&m->at.query[0][0], 1, 1, N, WIDTH),
        .key = attn_tensor_f32(&m->at.key[0][0], 1, 1, N, WIDTH),
        .value = attn_tensor_f32(&m->value[0][0], 1, 1, N, TOKENS),
        .output = attn_tensor_f32(&m->output[0][0], 1, 1, N, TOKENS),
        .weights = attn_tensor_f32(&m->weights[0][0], 1, 1, N, N),
        .lse = attn_tensor_f32(m->lse, 1, 1, N, 1),
    };
    attn_result_gradients from = {.output = attn_tensor_f32(&m->d_output[0][0], 1, 1, N, TOKENS)};
    const attn_input_gradients to = {
        .query = attn_tensor_f32(&m->slope.query[0][0], 1, 1, N, WIDTH),
        .key = attn_tensor_f32(&m->slope.key[0][0], 1, 1, N, WIDTH),
    };
    const attn_status status = attn_forward(NULL, &p);
    if (status != ATTN_OK) return status;
    *value = loss(m, guide);
    if (guide > 0) from.weights = attn_tensor_f32(&m->d_weights[0][0], 1, 1, N, N);
    return attn_backward(NULL, &p, &from, &to);
}

static void step(model *m, int time) {
    const float rate = 0.05f, keep = 0.9f, keep_square = 0.99f;
    float *const x = &m->at.query[0][0], *const slope = &m->slope.query[0][0];
    float *const mean = &m->mean.query[0][0], *const square = &m->square.query[0][0];
    for (int k = 0; k < PARAMETERS; k++) {
        mean[k] = keep * mean[k] + (1 - keep) * slope[k];
        square[k] = keep_square * square[k] + (1 - keep_square) * slope[k] * slope[k];
        const float direction = mean[k] / (1 - powf(keep, (float)time));
        const float size = sqrtf(square[k] / (1 - powf(keep_square, (float)time)));
        x[k] -= rate * direction / (size + 1e-8f);
    }
}

/* Weights as grey levels, a row a query. */
static void draw(const model *m) {
    static const char level[] = " .:-=+*#%@";
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) printf("%c ", level[(int)(9.99f * m->weights[i][j])]);
        puts("");
    }
}

/* How many outputs have most of the right token, and how many queries look most at the right place. */
static int right_tokens(const model *m) {
    int right = 0;
    for (int i = 0; i < N; i++) right += m->output[i][text[N - 1 - i]] > 0.5f;
    return right;
}

static int right_places(const model *m) {
    int right = 0;
    for (int i = 0; i < N; i++) right += m->weights[i][N - 1 - i] > 0.5f;
    return right;
}

static bool learn(model *m, double guide) {
    double value = 0;
    start(m);
    for (int time = 1; time <= STEPS; time++) {
        if (differentiate(m, guide, &value) != ATTN_OK) {
            puts(attn_error_message());
            return false;
        }
        if (time == 1 || time % 50 == 0) printf("  step %3d: loss %.4f\n", time, value);
        step(m, time);
    }
    draw(m);
    printf("%d of %d tokens right, %d of %d places\n", right_tokens(m), N, right_places(m), N);
    return right_tokens(m) == N;
}

static model m;

int main(void) {
    puts("from the output's loss alone:");
    const bool alone = learn(&m, 0);
    puts("guided by the alignment, half and half:");
    const bool guided = learn(&m, 0.5) && right_places(&m) == N;
    return alone && guided ? 0 : 1;
}

/* 07_encoder_layer.c: a Transformer's encoder layer, trained.
 *
 * Sequences of tokens are to be read backwards: the output at place i must be the token at place
 * N - 1 - i. The program is a network of layers: tokens become rows, sinusoids tell where a row stands,
 * one layer of a Transformer's encoder looks at other rows, and a norm and a linear layer
 *
 *     logits = output(norm(layer(embedding(tokens) + places)))
 *
 * turn rows into tokens again. Its backward is written under its forward, in the reverse order. Sequences
 * that it has never seen come out right in the end; the weights of the layer, printed for one of
 * them, are the alignment.
 */
#include <attn/transformer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 12, BATCH = 16, ROWS = N * BATCH, TOKENS = 10, WIDTH = 32, HEADS = 2, STEPS = 200 };

typedef struct {
    attn_nn_layout layout;
    attn_nn_embedding embedding;
    attn_nn_positional places;
    attn_nn_block layer;
    attn_nn_norm norm;
    attn_nn_linear output;
} network;

static attn_status make(network *n) {
    const attn_nn_block_options options = {.width = WIDTH, .heads = HEADS};
    memset(n, 0, sizeof *n);
    n->embedding = attn_nn_embedding_make(&n->layout, "embedding", TOKENS, WIDTH, 1);
    n->places = attn_nn_positional_make(&n->layout, "places", ATTN_NN_SINUSOIDAL, WIDTH, 0);
    n->norm = attn_nn_norm_make(&n->layout, "norm", ATTN_NN_LAYER_NORM, WIDTH);
    n->output = attn_nn_linear_make(&n->layout, "output", WIDTH, TOKENS, true);
    const attn_status status = attn_nn_block_make(&n->layout, "layer", &options, &n->layer);
    return n->layout.failed ? ATTN_ERROR_MEMORY : status;
}

/* The loss of a batch, its gradients if the pass has some, and how many labels are most probable. */
static int run(const network *n, attn_nn_pass *pass, const attn_nn_sentences *batch,
               const int32_t *labels, attn_nn_loss *loss, attn_nn_block_saved *saved) {
    float *const x = attn_nn_embedding_forward(pass, &n->embedding, batch->tokens, ROWS);
    attn_nn_positional_forward(pass, &n->places, x, batch);
    float *const y = attn_nn_block_forward(pass, &n->layer, x, batch, NULL, NULL, true, saved);
    float *const z = attn_nn_norm_forward(pass, &n->norm, y, ROWS);
    float *const logits = attn_nn_linear_forward(pass, &n->output, z, ROWS);
    int right = 0;
    for (int r = 0; r < ROWS && logits != NULL; r++) {
        const float *const row = logits + (size_t)r * TOKENS;
        int most = 0;
        for (int t = 1; t < TOKENS; t++) most = row[t] > row[most] ? t : most;
        right += most == labels[r];
    }
    attn_nn_cross_entropy(pass, logits, TOKENS, labels, ROWS, 0, 1.0 / ROWS, loss);
    if (pass->gradients == NULL) return right;
    float *const d_z = attn_nn_take_zeros(pass, ROWS * WIDTH);
    float *const d_y = attn_nn_take_zeros(pass, ROWS * WIDTH);
    const float *const d_logits = logits; /* cross_entropy left them there */
    attn_nn_linear_backward(pass, &n->output, z, d_logits, ROWS, d_z);
    attn_nn_norm_backward(pass, &n->norm, y, d_z, ROWS, d_y);
    attn_nn_block_backward(pass, &n->layer, batch, NULL, NULL, saved, NULL, d_y, NULL);
    attn_nn_embedding_backward(pass, &n->embedding, batch->tokens, ROWS, d_y);
    return right;
}

/* Random tokens (Numerical Recipes, 7.1), and themselves backwards. */
static void draw(uint32_t *state, int32_t *tokens, int32_t *labels) {
    for (int r = 0; r < ROWS; r++) {
        *state = *state * 1664525u + 1013904223u;
        tokens[r] = (int32_t)((*state >> 16) % TOKENS);
    }
    for (int r = 0; r < ROWS; r++) labels[r] = tokens[r / N * N + N - 1 - r % N];
}

/* The first sequence's weights, the mean of the heads, as grey levels; a row a query. */
static void show(const attn_nn_attention_saved *heads) {
    static const char level[] = " .:-=+*#%@";
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            float mean = 0;
            for (int h = 0; h < HEADS; h++) mean += heads->weights[(h * ROWS + i) * N + j] / HEADS;
            printf("%c ", level[(int)(9.99f * mean)]);
        }
        puts("");
    }
}

/* values, gradients, and what Adam remembers: four arrays of the layout's size. */
static bool learn(const network *n, attn_nn_arena *arena, float *values) {
    const int64_t size = n->layout.size;
    float *const gradients = values + size, *const mean = gradients + size,
                 *const square = mean + size;
    const attn_nn_schedule schedule = {ATTN_NN_LINEAR, 0.005, 20, STEPS, 0};
    int64_t starts[BATCH + 1];
    int32_t tokens[ROWS], labels[ROWS];
    uint32_t state = 1;
    for (int s = 0; s <= BATCH; s++) starts[s] = (int64_t)s * N;
    const attn_nn_sentences batch = {BATCH, starts, tokens};
    attn_nn_layout_start(&n->layout, 1, values);
    for (int step = 1; step <= STEPS + 1; step++) {
        const bool last = step > STEPS; /* of sequences that were not learnt from */
        attn_nn_pass pass = {
            .values = values, .gradients = last ? NULL : gradients, .arena = arena};
        const size_t mark = attn_nn_mark(&pass);
        attn_nn_loss loss = {0};
        attn_nn_block_saved saved;
        draw(&state, tokens, labels);
        memset(gradients, 0, (size_t)size * sizeof *gradients);
        const int right = run(n, &pass, &batch, labels, &loss, &saved);
        if (pass.status != ATTN_OK) return false;
        if (step == 1 || step % 50 == 0) printf("step %3d: loss %.4f\n", step, loss.sum / ROWS);
        if (last) {
            show(&saved.self_heads);
            printf("%d of %d tokens right\n", right, ROWS);
            return right == ROWS;
        }
        attn_nn_adam(NULL, &(attn_nn_adam_options){0}, &n->layout, attn_nn_rate(&schedule, step), 1,
                     step, 0, size, values, gradients, mean, square);
        attn_nn_release(&pass, mark);
    }
    return false;
}

int main(void) {
    network n;
    const attn_status status = make(&n);
    attn_nn_arena *const arena = attn_nn_arena_create();
    float *const numbers = calloc((size_t)(4 * n.layout.size), sizeof *numbers);
    bool good = false;
    attn_nn_use_one_blas_thread();
    if (status == ATTN_OK && arena != NULL && numbers != NULL) good = learn(&n, arena, numbers);
    if (!good) puts(attn_nn_error_message());
    free(numbers);
    attn_nn_arena_destroy(arena);
    attn_nn_layout_free(&n.layout);
    return good ? 0 : 1;
}

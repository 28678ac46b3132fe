#include "steps.h"

static int64_t length_of(const attn_nn_sentences *sentences, int64_t s) {
    return sentences->starts[s + 1] - sentences->starts[s];
}

/* left [steps + 1]: how many sentences have a row at step t. A sentence of length n comes after those
 * that have a row n, so left[n] is also where sentences of that length begin in the order. */
static void sort(const attn_nn_sentences *sentences, attn_nn_steps *to, int64_t *left) {
    memset(left, 0, (size_t)(to->steps + 1) * sizeof *left);
    for (int64_t s = 0; s < to->count; s++) left[length_of(sentences, s)]++;
    int64_t longer = 0;
    for (int64_t n = to->steps; n >= 0; n--) {
        const int64_t of_this_length = left[n];
        left[n] = longer;
        longer += of_this_length;
    }
    to->starts[0] = 0;
    for (int64_t t = 0; t < to->steps; t++) to->starts[t + 1] = to->starts[t] + left[t];
    for (int64_t s = 0; s < to->count; s++) to->order[left[length_of(sentences, s)]++] = s;
}

attn_nn_steps *attn_nn_steps_make(attn_nn_pass *pass, const attn_nn_sentences *sentences,
                                  bool reversed) {
    attn_nn_steps *const made = attn_nn_take_bytes(pass, sizeof *made);
    if (made == NULL) return NULL;
    made->count = sentences->count;
    made->rows = attn_nn_rows(sentences);
    made->steps = attn_nn_longest(sentences);
    made->order = attn_nn_take_bytes(pass, (size_t)made->count * sizeof *made->order);
    made->starts = attn_nn_take_bytes(pass, (size_t)(made->steps + 1) * sizeof *made->starts);
    made->from = attn_nn_take_bytes(pass, (size_t)made->rows * sizeof *made->from);
    int64_t *const left = attn_nn_take_bytes(pass, (size_t)(made->steps + 1) * sizeof *left);
    if (attn_nn_failed(pass)) return NULL;
    sort(sentences, made, left);
    for (int64_t t = 0; t < made->steps; t++) {
        for (int64_t i = 0; i < attn_nn_step_rows(made, t); i++) {
            const int64_t s = made->order[i];
            made->from[made->starts[t] + i] =
                reversed ? sentences->starts[s + 1] - 1 - t : sentences->starts[s] + t;
        }
    }
    return made;
}

void attn_nn_gather(const int64_t *from, const real *x, int64_t count, int64_t width, real *y) {
    for (int64_t r = 0; r < count; r++) {
        memcpy(y + r * width, x + from[r] * width, (size_t)width * sizeof *y);
    }
}

void attn_nn_scatter(const int64_t *from, const real *x, int64_t count, int64_t width, real *y) {
    for (int64_t r = 0; r < count; r++) {
        memcpy(y + from[r] * width, x + r * width, (size_t)width * sizeof *y);
    }
}

void attn_nn_scatter_add(const attn_nn_kernels *kernels, const int64_t *from, const real *x,
                         int64_t count, int64_t width, real *y) {
    for (int64_t r = 0; r < count; r++) kernels->add(y + from[r] * width, 1, x + r * width, width);
}

void attn_nn_step_before(const attn_nn_steps *steps, const real *x, const real *first,
                         int64_t width, real *y) {
    if (steps->steps == 0) return;
    const size_t at_first = (size_t)(attn_nn_step_rows(steps, 0) * width) * sizeof *y;
    if (first != NULL) {
        memcpy(y, first, at_first);
    } else {
        memset(y, 0, at_first);
    }
    for (int64_t t = 1; t < steps->steps; t++) {
        memcpy(y + steps->starts[t] * width, x + steps->starts[t - 1] * width,
               (size_t)(attn_nn_step_rows(steps, t) * width) * sizeof *y);
    }
}

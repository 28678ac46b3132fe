/* steps.h: packed sentences in the order in which a recurrence walks: the first rows of all sentences,
 * then the second of those that have one, and so on. With the longest sentence first, those that are
 * left at a step are the first of those before it: their states are a prefix, and never move. */
#ifndef NN_LAYERS_STEPS_H
#define NN_LAYERS_STEPS_H

#include "../nn.h"

typedef struct attn_nn_steps {
    int64_t count, rows; /* sentences, and their rows */
    int64_t steps;       /* of the longest */
    int64_t *order;      /* [count]: sentences, the longest first */
    int64_t *starts; /* [steps + 1]: step t has rows starts[t] .. starts[t+1]-1, of order[0], ... */
    int64_t *from;   /* [rows]: which packed row each is */
} attn_nn_steps;

/* From the pass's arena; NULL after a failure. `reversed`: from each sentence's end. */
attn_nn_steps *attn_nn_steps_make(attn_nn_pass *pass, const attn_nn_sentences *sentences,
                                  bool reversed);

static inline int64_t attn_nn_step_rows(const attn_nn_steps *steps, int64_t t) {
    return steps->starts[t + 1] - steps->starts[t];
}

/* y [count, width]: row r is x's row from[r]; and y's row from[r] is, or has added, x's row r. */
void attn_nn_gather(const int64_t *from, const real *x, int64_t count, int64_t width, real *y);
void attn_nn_scatter(const int64_t *from, const real *x, int64_t count, int64_t width, real *y);
void attn_nn_scatter_add(const attn_nn_kernels *kernels, const int64_t *from, const real *x,
                         int64_t count, int64_t width, real *y);

/* For each row of x [rows, width], in the order of steps, the sentence's row one step before, in y;
 * of the first step's rows: `first` [count, width], or 0 if NULL. */
void attn_nn_step_before(const attn_nn_steps *steps, const real *x, const real *first,
                         int64_t width, real *y);

#endif

/* reference_backward.h: what the files of the backward reference share. */
#ifndef ATTN_ATTENTION_REFERENCE_BACKWARD_H
#define ATTN_ATTENTION_REFERENCE_BACKWARD_H

#include "attention/reference.h"

/* One query's row, and what flows back through it. */
typedef struct backward {
    row row;
    const attn_result_gradients *from;
    attn_input_gradients to; /* places as the caller's, but float64: sums over all rows so far */
    int64_t place;           /* of the row's head among those chosen for views; -1: none */

    /* dL/d of each key's weight, z and score; of its score, first as row.score has it, then as
     * row.given. Only keys that are shown have any. */
    double *d_weight, *d_z, *d_score;
    double *room; /* for a number a key more, of any dtype */
    void *memory; /* of all these arrays */
} backward;

/* Whether key j can have changed anything: it is visible, and its score is not -infinity. Of others
 * nothing is looked at, and nothing flows to them. */
bool attn_ref_shown(const row *r, int64_t j);

/* d_score, and the gradients of normalizer and sinks, from d_weight (reference_gradient_weigh.c) */
void attn_ref_weigh_backward(backward *b);

/* The gradients of query, key and all that makes scores, from d_score (reference_gradient_score.c) */
void attn_ref_score_backward(backward *b);

#endif

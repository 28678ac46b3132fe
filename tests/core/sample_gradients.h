/* sample_gradients.h: what flows into a sample's backward pass, and places for what flows out. */
#ifndef TESTS_CORE_SAMPLE_GRADIENTS_H
#define TESTS_CORE_SAMPLE_GRADIENTS_H

#include "attn/gradients.h"
#include "support.h"

enum { /* which of attn_result_gradients are there */
       FROM_OUTPUT = 1 << 0,
       FROM_LSE = 1 << 1,
       FROM_WEIGHTS = 1 << 2,
       FROM_RECEIVED = 1 << 3,
       FROM_ENTROPY = 1 << 4,
       FROM_ALL = 31
};

/* The fields of attn_input_gradients. */
enum {
    GRADIENT_QUERY,
    GRADIENT_KEY,
    GRADIENT_VALUE,
    GRADIENT_BIAS,
    GRADIENT_ALIBI_SLOPES,
    GRADIENT_SINKS,
    GRADIENT_SCALES,
    GRADIENT_WEIGHT,
    GRADIENT_PROJECTION,
    GRADIENT_OFFSET,
    GRADIENT_RELATIVE_BIAS,
    GRADIENT_RELATIVE_KEYS,
    GRADIENT_RELATIVE_QUERIES,
    GRADIENT_RELATIVE_VALUES,
    GRADIENT_CONTENT_BIAS,
    GRADIENT_POSITION_BIAS,
    GRADIENT_PREVIOUS,
    GRADIENT_FILTERS,
    GRADIENT_LOCATION_PROJECTION,
    GRADIENT_CENTERS,
    GRADIENT_SCALE,
    GRADIENT_SOFTCAP,
    GRADIENT_TEMPERATURE,
    GRADIENT_SIGMOID_BIAS,
    GRADIENT_SIGMA,
    GRADIENTS,
    ALL_GRADIENTS = (1 << GRADIENTS) - 1,
    SAME_BITS_ANYWHERE = GRADIENT_VALUE + 1 /* those whose bits depend on nothing around them */
};

typedef struct gradients {
    attn_result_gradients from;
    attn_input_gradients to;
    sample room; /* for its guarded memory alone: results are gradients */
} gradients;

/* `from` and `wanted` are sets of bits; what the sample's problem does not have is left out. */
void gradients_make(gradients *g, const sample *s, unsigned from, unsigned wanted);
void gradients_free(gradients *g);

void gradients_poison(gradients *g);                 /* gradients back to POISON */
void assert_gradients_untouched(const gradients *g); /* they are still that */
void assert_gradient_gaps_untouched(gradients *g);   /* all but the elements; poisons those */

/* attn_backward into poisoned gradients. */
void run_backward(attn_context *context, const attn_problem *p, gradients *g);

/* The first `count` gradients, those that both have, element by element. */
void assert_same_gradients(gradients *a, gradients *b, int count, const char *text);

attn_tensor *gradient_of(attn_input_gradients *to, int gradient);
const char *gradient_name(int gradient);

/* The shape that this gradient has; false: the input takes no part in the problem. */
bool gradient_shape(const attn_problem *p, int gradient, int64_t shape[4]);

/* What goes back through nudge_scores, whose slope is 1, and through curve_scores. */
void nudge_gradients(void *user, const attn_pairs *scores, const attn_pairs *out);
void curve_gradients(void *user, const attn_pairs *scores, const attn_pairs *out);

#endif

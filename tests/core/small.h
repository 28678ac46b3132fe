/* small.h: a problem that can be worked out by hand.
 *
 * With a query of 1, keys log(1), log(2), log(3), ... and scale 1, exp(score) of key j is j + 1, so
 * the weights are (j + 1) over the sum of the visible ones, and the log-sum-exp is the logarithm of
 * that sum. */
#ifndef TESTS_CORE_SMALL_H
#define TESTS_CORE_SMALL_H

#include "support.h"

enum { MOST = 6 };

extern const double small_ones[MOST];
const double *small_keys(void); /* log(j + 1) */

/* One head, width 1: queries 1, keys log(j + 1), values j + 1, and room for the results. */
typedef struct small {
    attn_problem problem;
    double value[MOST];
    double output[MOST], lse[MOST], weights[MOST * MOST];
} small;

void small_make(small *s, int64_t n_query, int64_t n_key);
void small_run(small *s); /* by the reference */

/* By the bound at the top of reference.c with d = 1, n <= MOST and scores up to 3: 2 D is 66 u, the
 * rest 22 u, where u = 2^-53. */
void assert_near(double result, double expected);

void assert_number(double result, double expected, double bound);

/* A row whose exp(score) are `terms`, 0 where masked, beside a sink of exp(logit) = `sink`. */
void assert_small_row(const small *s, int64_t i, const double *terms, double sink);

#endif

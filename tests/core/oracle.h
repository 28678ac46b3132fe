/* oracle.h: what the files of the oracle share: one query's row, and how it is measured. */
#ifndef TESTS_CORE_ORACLE_H
#define TESTS_CORE_ORACLE_H

#include "support.h"

/* One query of one head; its keys count from its sequence's first. */
typedef struct row {
    const oracle *o;
    const stretch *at;
    int64_t sequence, head, kv_head, i, position;
    double *z, *error; /* of each key: score / temperature, and how far off it may be */
    double u, tiny, k; /* see oracle.c */
    double largest;    /* m */
    double spoilt;     /* E */
} row;

/* The element of one of the oracle's own tensors: dense float64; sizes of 1 broadcast. */
static inline double at(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j) {
    const int64_t *const n = t->shape;
    return ((const double *)
                t->data)[(n[0] == 1 ? 0 : b) * t->stride[0] + (n[1] == 1 ? 0 : h) * t->stride[1] +
                         (n[2] == 1 ? 0 : i) * t->stride[2] + (n[3] == 1 ? 0 : j)];
}

/* The same of a tensor with an element a pair, or a query (j = 0), of all heads. */
double row_at(const row *r, const attn_tensor *t, int64_t j);

/* How far from the exact ones a raw score and a score of key j may be, as multiples of u
 * (oracle_score.c). */
typedef struct score_errors {
    double raw, score;
} score_errors;
score_errors score_errors_of(const row *r, int64_t j);

/* What the score's callback is called with. */
double called_with(const row *r, int64_t j);

/* Scale times the head's own; |weight|, or 1 where it is not divided by. */
double scale_of(const row *r);
double length_of_weight(const row *r);

/* Element f of the hidden vector of an additive score, and its error, as a multiple of u, that tanh
 * then takes times its slope. */
typedef struct hidden {
    double x, error;
} hidden;
hidden hidden_of(const row *r, int64_t j, int64_t f);

/* Fills bound[j], how far weights may be from the exact ones (oracle_weigh.c); sets spoilt. */
void bound_weights(row *r, double *bound);

/* The same of weights before local factors and dropout. Adds to r->error what z loses on the way. */
void bound_plain_weights(row *r, double *bound);

double sink_of(const row *r); /* -infinity: none; softmax-one's is 0 */

/* The relative error of key j's local factor. */
double local_error(const row *r, int64_t j);

double output_bound(const row *r, int64_t c);
double lse_bound(const row *r);

/* Fails unless error <= bound; NaN and infinity must be just that, and what has bound 0 exact. */
void assert_within(const sample *s, attn_isa isa, const char *what, const int64_t x[4],
                   double result, double expected, double bound);

/* Every view that the sample has a place for (oracle_views.c). */
void assert_views_close(const sample *s, const oracle *o, attn_isa isa);

/* The row at [b][h][i]: what the sample's sequences say of it, and its bounds. z and error have room
 * for its keys. */
row row_of(const sample *s, const oracle *o, const stretch *where, int64_t h, int64_t i, double *z,
           double *error);

#endif

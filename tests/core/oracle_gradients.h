/* oracle_gradients.h: what gradients are, worked out a second time, and how far from that computed
 * ones may be: every number on the way is a pair of its value and the error that it may have. */
#ifndef TESTS_CORE_ORACLE_GRADIENTS_H
#define TESTS_CORE_ORACLE_GRADIENTS_H

#include <math.h>

#include "oracle.h"
#include "sample_gradients.h"

/* A number, and how far from it the computed one may be. */
typedef struct about {
    double x, e;
} about;

static inline about exactly(double x) {
    return (about){x, 0};
}

static inline about plus(about a, about b) {
    return (about){a.x + b.x, a.e + b.e};
}

static inline about minus(about a, about b) {
    return (about){a.x - b.x, a.e + b.e};
}

static inline about times(about a, about b) {
    return (about){a.x * b.x, a.e * fabs(b.x) + fabs(a.x) * b.e + a.e * b.e};
}

static inline about scaled(about a, double by) {
    return (about){a.x * by, a.e * fabs(by)};
}

/* An error more. */
static inline about off_by(about a, double e) {
    return (about){a.x, a.e + e};
}

/* One element of a gradient: a sum of `count` terms, whose sizes add up to `size`. */
typedef struct slot {
    double x, e, size;
    int64_t count;
} slot;

typedef struct gradient_oracle {
    const sample *s;
    const oracle *o;
    attn_result_gradients from; /* float64, dense */
    attn_input_gradients to;    /* the reference's, float64, dense */
    attn_tensor kept;           /* what dropout multiplies each weight by */
    slot *sums[GRADIENTS];      /* of those that are asked for, dense */
    void *owned[8 + 2 * GRADIENTS];
    int owned_count;
} gradient_oracle;

/* About the gradients g of s, of which o is the oracle; both must outlive it. */
void gradient_oracle_make(gradient_oracle *to, const sample *s, const oracle *o,
                          const gradients *g);
void gradient_oracle_free(gradient_oracle *to);

/* Every element that g has a place for: those of g within the derived bound of the reference's, and the
 * reference's within that of float64 of the oracle's own. */
void assert_gradients_close(const gradient_oracle *of, gradients *g, attn_isa isa);

/* Of all elements that assert_gradients_close has seen, the share about which a bound said nothing:
 * infinite where a pair may be in or out of a support at whose edge its gradient has no bound. */
double share_without_bound(void);

/* The largest error of the reference, as a share of its bound. */
double largest_share_of_reference(void);

/* ---------------------------------------------------------------------------------------------
 * One query's row
 * ------------------------------------------------------------------------------------------- */

typedef struct pair {
    bool seen;     /* its score is above -infinity */
    about a, m, w; /* weight before local factors and dropout; those; after */
    about in;      /* dL/dw */
    about da, dz;  /* dL/da, dL/dz */
    double kept;   /* what dropout makes of m */
    double apart;  /* from the centre of local attention */
} pair;

typedef struct back {
    gradient_oracle *g;
    row r;
    pair *pairs;   /* of each key */
    double n_sums; /* roundings of a sum over keys */
} back;

/* Adds v, a product or sum of sizes `size`, to an element; sizes of 1 broadcast. */
void give(const back *b, int gradient, int64_t i0, int64_t i1, int64_t i2, int64_t i3, about v,
          double size);

/* Fills pairs, and gives what weights and normalizers have (oracle_gradients_weigh.c). */
void go_back_to_scores(const back *b);

/* Gives what scores and what they are made of have (oracle_gradients_score.c). */
void go_back_to_inputs(const back *b);

#endif

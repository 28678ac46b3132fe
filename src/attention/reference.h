/* reference.h: what the files of the reference share: tensors' elements, and one query's row. */
#ifndef ATTN_ATTENTION_REFERENCE_H
#define ATTN_ATTENTION_REFERENCE_H

#include "attn/attn.h"
#include "attn/gradients.h"

/* ---------------------------------------------------------------------------------------------
 * Elements of tensors (reference_element.c)
 * ------------------------------------------------------------------------------------------- */

bool attn_ref_present(const attn_tensor *t);

/* A dimension of size 1 has one element for every index. */
double attn_ref_load(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j);

/* The only rounding to the dtype of the result; does nothing if the result is not wanted. */
void attn_ref_store(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j, double x);
void attn_ref_fill(const attn_tensor *t, double x);

/* Adds to an element of a float64 sum; does nothing if the sum is not wanted. */
void attn_ref_add(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j, double x);

/* x as a number of this dtype. */
double attn_ref_round(attn_dtype dtype, double x);

/* ---------------------------------------------------------------------------------------------
 * One query's row
 * ------------------------------------------------------------------------------------------- */

/* Queries and keys that belong together: a row of the batch, or a stretch of a packed one. */
typedef struct sequence {
    int64_t index;                  /* which one, as lengths, bias, sinks... count them */
    int64_t batch;                  /* the row of the batch that holds it */
    int64_t first_query, first_key; /* where in that row it begins */
    int64_t n_query, n_key;         /* how many are real; padding does not count */
} sequence;

/* One query of one head. Its index i, its position p and a key's index j count in the sequence. */
typedef struct row {
    const attn_problem *problem;
    sequence at;
    int64_t head, kv_head;
    int64_t i, p;

    /* Of each key of the sequence, filled in from left to right. */
    bool *visible;
    double *raw, *capped, *given;    /* given: what score.callback is given */
    double *score, *z;               /* z: score / temperature; -infinity where not visible */
    double *plain, *factor, *weight; /* weight = plain * factor: local factor, dropout */
    double lse;

    double *spare;    /* room for a number a key more, of any dtype */
    double *features; /* and for one a channel of attn_location */
    void *memory;     /* of all these arrays */
} row;

/* How many sequences there are rows to compute in, and which those are (reference.c) */
bool attn_ref_no_row(const attn_problem *p);
int64_t attn_ref_sequences(const attn_problem *p);
sequence attn_ref_sequence(const attn_problem *p, int64_t index);

/* Room for a row; false if there is no memory. Freed by attn_ref_free_row, on failure too. */
bool attn_ref_make_row(row *r, const attn_problem *p);
void attn_ref_free_row(row *r);

/* Makes r the row of another query. */
void attn_ref_go_to(row *r, sequence at, int64_t head, int64_t i);

/* The next three. */
void attn_ref_score_and_weigh(row *r);

/* row.visible (reference_mask.c) */
void attn_ref_mask(const row *r);

/* row.raw, capped and score (reference_score.c) */
void attn_ref_score(const row *r);

/* row.weight and lse (reference_weigh.c) */
void attn_ref_weigh(row *r);

/* value[j][c], and what attn_relative adds to it (reference.c) */
double attn_ref_value(const row *r, int64_t j, int64_t c);

/* The head's place among those chosen for views, all of them without; -1: none. */
int64_t attn_ref_place(const attn_problem *p, int64_t head);

/* ---------------------------------------------------------------------------------------------
 * Parts of scores and weights, which going backward needs too
 * ------------------------------------------------------------------------------------------- */

double attn_ref_query(const row *r, int64_t c);
double attn_ref_key(const row *r, int64_t j, int64_t c);

/* Of a tensor that has one matrix a head, or one for all; 0 if it is absent. */
double attn_ref_parameter(const row *r, const attn_tensor *t, int64_t i, int64_t j);

/* The scale in effect, and the head's factor on it; what they multiply. */
double attn_ref_scale(const attn_problem *p);
double attn_ref_scales(const row *r);
double attn_ref_unscaled(const row *r, int64_t j);

/* row.features of key j; what tanh is taken of for it; and what `weight` is divided by. */
void attn_ref_find_features(const row *r, int64_t j);
double attn_ref_hidden(const row *r, int64_t j, int64_t c);
double attn_ref_weight_length(const row *r);

/* The slope of tanh, 1 - tanh(x)^2 */
double attn_ref_tanh_slope(double x);

/* The entry of attn_relative's tables that belongs to key j (reference_score.c). */
int64_t attn_ref_entry(const row *r, const attn_tensor *table, int axis, int64_t j);

/* Shows the whole row to a callback, as numbers of query's dtype, and takes back what it leaves. */
void attn_ref_call(const row *r, attn_pairs_callback *callback, void *user, double *numbers);

/* The same for a callback that goes backward: it is given row.given, and changes `gradients`. */
void attn_ref_call_backward(const row *r, attn_pairs_gradient_callback *callback, void *user,
                            double *gradients, double *room);

/* What is in effect where attn.h has a default; the sink's logit, -infinity if there is none. */
double attn_ref_temperature(const attn_problem *p);
double attn_ref_sigma(const attn_local *local);
double attn_ref_sink(const row *r);

/* How far key j is from what attn_local centres this query on (reference_weigh.c). */
double attn_ref_off_center(const row *r, int64_t j);

/* Threefry-2x32 of 20 rounds: two random words for a counter of two, under a key of two, each pair as
 * one number, the low word first. */
uint64_t attn_ref_threefry(uint64_t key, uint64_t counter);

/* The random number of a query and key, within 0 and 1, from the low or the high of its two words. */
double attn_ref_uniform(const row *r, int64_t j, bool high);

/* ---------------------------------------------------------------------------------------------
 * Views (reference_views.c)
 * ------------------------------------------------------------------------------------------- */

/* Sums over the queries of a sequence, for one head. */
typedef struct sums {
    double *received, *greatest, *window, *block; /* [n_key] each; block: a row of blocks */
    double statistics[ATTN_HEAD_STATISTICS];
} sums;

/* What views hold where there is no query or key. */
void attn_ref_fill_views(const attn_views *v);

/* Before the first query of a head, after each, and after the last; `place` of the head among those
 * chosen. */
void attn_ref_begin_sums(sums *s, int64_t n_key);
void attn_ref_view_row(const row *r, int64_t place, sums *s);
void attn_ref_end_sums(const row *last, int64_t place, const sums *s);

/* Takes the row of mean weights of query r->i; `cost` has room for every pair of the sequence. */
void attn_ref_view_mean(const row *r, const double *mean, double *cost);

#endif

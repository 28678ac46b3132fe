/* sequence.h: one sequence of the batch, padded or packed, and what each of its queries may see by
 * position alone. Causal, window, prefix and lengths together leave every query one range of keys. */
#ifndef ATTN_ATTENTION_SEQUENCE_H
#define ATTN_ATTENTION_SEQUENCE_H

#include "attn/attn.h"

typedef struct {
    int64_t index;       /* which sequence: the first coordinate of bias and allowed */
    int64_t batch;       /* which row of the tensors' first dimension */
    int64_t query_first; /* where it begins in query and in the results */
    int64_t key_first;   /* where it begins in key and value */
    int64_t query_slot;  /* queries it owns, padding included */
    int64_t queries;     /* of which these are real */
    int64_t keys;        /* real keys */
    int64_t position;    /* p_0, the first query's position among the keys */
    int64_t prefix;      /* keys that the causal rule leaves visible to all */
} attn_sequence;

/* Keys first .. last-1; none if first >= last. */
typedef struct {
    int64_t first, last;
} attn_key_range;

static inline int64_t attn_smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t attn_larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

int64_t attn_sequence_count(const attn_problem *problem);
attn_sequence attn_sequence_at(const attn_problem *problem, int64_t index);
attn_key_range attn_visible_keys(const attn_problem *problem, const attn_sequence *sequence,
                                 int64_t query);

#endif

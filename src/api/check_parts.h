/* check_parts.h: what the files of checks share: the rules for one tensor, the sizes that tensors
 * must agree in, and the memory that results must have for themselves. */
#ifndef ATTN_API_CHECK_PARTS_H
#define ATTN_API_CHECK_PARTS_H

#include "api/check.h"

#define ATTN_TRY(expression)                      \
    do {                                          \
        const attn_status status_ = (expression); \
        if (status_ != ATTN_OK) return status_;   \
    } while (0)

/* Any coordinate, position or count: far below where int64 sums overflow. */
#define ATTN_MAX_OFFSET (INT64_C(1) << 40)

/* Sets of element types: one bit each. */
typedef unsigned attn_dtypes;
enum { ATTN_REALS = 1 << ATTN_F32 | 1 << ATTN_F64, ATTN_INDICES = 1 << ATTN_I32 | 1 << ATTN_I64 };

/* What one size of a tensor must be. */
typedef struct attn_size {
    int64_t size;
    const char *source; /* what has that size, for the sentence */
    bool or_one;        /* 1 does too: it broadcasts */
    bool or_more;
} attn_size;

/* The same, where 1 does too. */
attn_size attn_or_one(attn_size size);

/* A size of exactly 1. */
attn_size attn_just_one(void);

/* The addresses that a tensor touches: [first, last), empty if it has no element. */
typedef struct attn_range {
    const char *name;
    uintptr_t first, last;
} attn_range;

/* Of any call: attn_check_backward has the most of both, 28 inputs and 25 results. */
enum { ATTN_MAX_INPUTS = 32, ATTN_MAX_RESULTS = 32 };

/* A problem, the sizes that its tensors must agree in, and the memory of those checked so far. */
typedef struct attn_checked {
    const attn_problem *problem;
    attn_dtypes type; /* query's */
    attn_size batch, heads, rows;
    attn_size sequences, queries, keys; /* queries and keys of the longest sequence */
    int input_count, result_count;
    attn_range inputs[ATTN_MAX_INPUTS], results[ATTN_MAX_RESULTS];
} attn_checked;

/* Type, sizes, strides, alignment of a tensor that takes part; finds its range. */
attn_status attn_check_tensor(const char *name, const attn_tensor *t, attn_dtypes types,
                              attn_range *range);

attn_status attn_check_sizes(const char *name, const attn_tensor *t, const attn_size sizes[4]);

/* No wider than tile functions can count: 2^24. */
attn_status attn_check_width(const char *name, const attn_tensor *t, int axis);

/* All of it for an optional input or result; an absent one is fine. Both remember the memory. */
attn_status attn_check_input(attn_checked *c, const char *name, const attn_tensor *t,
                             attn_dtypes types, const attn_size sizes[4]);
attn_status attn_check_result(attn_checked *c, const char *name, const attn_tensor *t,
                              attn_dtypes types, const attn_size sizes[4]);

/* The same for an input with an element a pair, which may broadcast over any of its sizes. */
attn_status attn_check_per_pair(attn_checked *c, const char *name, const attn_tensor *t,
                                attn_dtypes types);

/* Results must share no memory with an input or with each other. */
attn_status attn_check_aliases(const attn_checked *c);

/* The greatest index of a key fits the type of a tensor of indices. */
attn_status attn_check_indices(const char *name, const attn_tensor *t, int64_t n_key);

/* Every element of an F32 or F64 tensor, which takes part, is finite (or -infinity). */
attn_status attn_check_finite(const char *name, const attn_tensor *t, bool or_minus_infinity);

attn_status attn_check_reserved(const char *name, const uint64_t *words, int count);

/* The element of an F32 or F64 tensor. */
double attn_read_real(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j);

/* Every rule of a problem but those of its results and views: finds the sizes in `c`, and remembers
 * the memory of the inputs. What a call beyond attn_forward begins with. */
attn_status attn_check_inputs(attn_checked *c, const attn_problem *problem);

/* The parts of attn_check_problem; the sizes in `c` are known. */
attn_status attn_check_score(attn_checked *c);
attn_status attn_check_normalizer(attn_checked *c);
attn_status attn_check_views(attn_checked *c);

/* The views' choice of heads alone: how many there are. Without views: all. */
attn_status attn_check_chosen(const attn_checked *c, attn_size *chosen);

#endif

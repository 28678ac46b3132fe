/* changes.h: a sample, random changes of its inputs, and places for those of its results. */
#ifndef TESTS_CORE_CHANGES_H
#define TESTS_CORE_CHANGES_H

#include "oracle.h"

#include "attn/gradients.h"

enum { CHANGED_INPUTS = 4, CHANGED_RESULTS = 3 };
enum { WITH_QUERY = 1, WITH_KEY = 2, WITH_VALUE = 4, WITH_BIAS = 8, WITH_ALL = 15 };

/* The terms that attn_jvp takes. */
enum { JVP_TERMS = TERM_SCALES | TERM_MASK_CALL | TERM_TEMPERATURE | TERM_DROPOUT | TERM_GUMBEL };

/* A sample with its forward's results, changes of its inputs, and places for those of results. */
typedef struct changes {
    sample s;
    oracle o;
    attn_tangents given, exact; /* as the sample's; as the oracle's */
    void *owned[CHANGED_INPUTS + CHANGED_RESULTS];
} changes;

attn_tensor *input_change(attn_tangents *t, int k);
attn_tensor *result_change(attn_tangents *t, int k);
extern const char *const result_change_names[CHANGED_RESULTS];

/* Runs the forward too: spec.results are kept for attn_jvp to read. */
void changes_make(changes *t, const target *on, const spec *what, unsigned with);
void changes_free(changes *t);

/* Fills o, and exact with what the reference says. */
void changes_ask_oracle(changes *t);

void run_jvp(attn_context *context, const attn_problem *p, const attn_tangents *t,
             const char *text);

/* A small problem; every other seed is of another type. */
spec plain_changes(uint64_t seed);

#endif

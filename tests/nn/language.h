/* language.h: a small language whose probabilities can be asked for, to be searched: what may come next
 * is a function of the source's tokens and of what was said, made of noise. */
#ifndef TESTS_NN_LANGUAGE_H
#define TESTS_NN_LANGUAGE_H

#include "search.h"

enum { L_BEGIN, L_END, L_UNKNOWN, L_PAD, L_WORD };

typedef struct language {
    attn_nn_pass *pass;
    const attn_nn_sentences *source;
    int64_t vocabulary;
    double spread;   /* of logits: 0 to spread */
    double end;      /* added to the end's logit */
    bool steps_of;   /* logits are whole: many tokens are equally probable */
    real nothing;    /* if not 0, what all log p are: -INFINITY or NAN */
    int64_t fail_at; /* the call, of open, step and reorder, that fails; 0: none */

    int64_t calls, steps, reorders;
    int64_t rows, max_rows;
    int64_t *sentences; /* of rows */
    uint64_t *prefixes;
} language;

/* What a prefix is known by: sentence s with the begin said; and one token later. */
uint64_t language_begin(const language *l, int64_t s);
uint64_t language_after(uint64_t prefix, int32_t token);

/* log p [vocabulary] of what follows, and weights [rows of its source], of a prefix. */
void language_log_p(const language *l, uint64_t prefix, real *log_p);
void language_weights(uint64_t prefix, int64_t rows, real *weights);

attn_nn_search_source language_source(language *l);
void language_free(language *l);

#endif

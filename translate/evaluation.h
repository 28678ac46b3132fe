/* evaluation.h: how good translations are. */
#ifndef TRANSLATE_EVALUATION_H
#define TRANSLATE_EVALUATION_H

#include "bleu.h"
#include "chrf.h"
#include "corpus.h"
#include "error.h"
#include "translator.h"

/* The counts of each sentence: of any subset the scores are those of the sums. */
typedef struct evaluation {
    int64_t count;
    text_bleu_counts *bleu; /* [count] */
    text_chrf_counts *chrf; /* [count] */
} evaluation;

bool evaluation_open(evaluation *e, int64_t count, io_error *error);
void evaluation_free(evaluation *e);

/* Counts sentence i. */
bool evaluation_count(evaluation *e, int64_t i, const char *hypothesis, const char *reference,
                      io_error *error);

/* Scores of all, 0 to 100. */
double evaluation_bleu(const evaluation *e);
double evaluation_chrf(const evaluation *e);

/* The loss of the pairs' targets, word for word, by the model's values: likelihood / rows per token. */
bool evaluation_loss(const translator *t, const translate_pairs *pairs, int threads,
                     attn_nn_loss *loss, io_error *error);

#endif

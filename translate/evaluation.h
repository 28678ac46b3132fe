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

/* Scores, 0 to 100, of the sentences row[0] to row[count - 1], or, if row is NULL, of the first `count`;
 * text_bootstrap takes them as they are. */
double evaluation_bleu(const void *e, const int64_t *row, int64_t count);
double evaluation_chrf(const void *e, const int64_t *row, int64_t count);

/* The loss of the pairs' targets, word for word, by the model's values: likelihood / rows per token. */
bool evaluation_loss(const translator *t, const translate_pairs *pairs, int threads,
                     attn_nn_loss *loss, io_error *error);

#endif

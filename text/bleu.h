/* bleu.h: BLEU (Papineni et al. 2002), as sacreBLEU computes it (Post 2018).
 *
 * The same number as sacreBLEU 2.5.1 with its defaults: nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp.
 * Texts are valid UTF-8. BLEU of a set of sentences needs only the sums of their counts.
 */
#ifndef TEXT_BLEU_H
#define TEXT_BLEU_H

#include <stdbool.h>
#include <stdint.h>

enum { TEXT_BLEU_ORDERS = 4 };

/* The counts of a sentence, or sums of them. */
typedef struct text_bleu_counts {
    int64_t hypothesis, reference;     /* lengths in tokens */
    int64_t correct[TEXT_BLEU_ORDERS]; /* n-grams that the reference has too, n from 1 */
    int64_t total[TEXT_BLEU_ORDERS];   /* n-grams of the hypothesis */
} text_bleu_counts;

typedef struct text_bleu {
    double score;                        /* 0 to 100 */
    double precisions[TEXT_BLEU_ORDERS]; /* per cent, smoothed where nothing is correct */
    double brevity;                      /* the penalty, 0 to 1 */
} text_bleu;

/* Tokenises and counts a sentence. False if there is no memory. */
bool text_bleu_count(const char *hypothesis, const char *reference, text_bleu_counts *counts);

/* sum += counts. */
void text_bleu_add(text_bleu_counts *sum, const text_bleu_counts *counts);

/* exp of the mean of the logarithms of the precisions, times exp(1 - reference / hypothesis) where
 * that is below 1. 0 where no word is correct, or no hypothesis has 4 tokens. */
text_bleu text_bleu_score(const text_bleu_counts *counts);

/* The text as tokenizer 13a splits it: tokens with one blank between. To be freed; NULL if there is
 * no memory. */
char *text_tokenize_13a(const char *text);

#endif

/* rouge.h: ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), as google-research's rouge_score computes them.
 *
 * The same numbers as rouge_score 0.1.2 without stemming. Words are runs of a to z and 0 to 9 of the
 * text in lower case: accented letters part words, as they do there. Texts are valid UTF-8.
 */
#ifndef TEXT_ROUGE_H
#define TEXT_ROUGE_H

#include <stdbool.h>

typedef enum text_rouge_kind {
    TEXT_ROUGE_1,
    TEXT_ROUGE_2,
    TEXT_ROUGE_L, /* of the whole text: it is not cut into sentences */
    TEXT_ROUGE_KINDS
} text_rouge_kind;
extern const char *const text_rouge_names[TEXT_ROUGE_KINDS]; /* "ROUGE-1" and so on */

typedef struct text_rouge {
    double precision, recall, f; /* 0 to 1; f is their harmonic mean */
} text_rouge;

/* Scores one text; what is reported for many is the mean of their f. False if there is no memory. */
bool text_rouge_score(const char *hypothesis, const char *reference,
                      text_rouge scores[TEXT_ROUGE_KINDS]);

#endif

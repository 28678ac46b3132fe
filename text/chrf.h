/* chrf.h: chrF2 (Popović 2015, 2016), as sacreBLEU computes it.
 *
 * The same number as sacreBLEU 2.5.1 with its defaults: nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no.
 * Texts are valid UTF-8. chrF of a set of sentences needs only the sums of their counts.
 */
#ifndef TEXT_CHRF_H
#define TEXT_CHRF_H

#include <stdbool.h>
#include <stdint.h>

enum { TEXT_CHRF_ORDERS = 6 };

/* The counts of a sentence, or sums of them: n-grams of characters, white space left out. */
typedef struct text_chrf_counts {
    int64_t hypothesis[TEXT_CHRF_ORDERS]; /* 0 where the reference has no n-gram of the order */
    int64_t reference[TEXT_CHRF_ORDERS];
    int64_t match[TEXT_CHRF_ORDERS];
} text_chrf_counts;

/* Counts a sentence. False if there is no memory. */
bool text_chrf_count(const char *hypothesis, const char *reference, text_chrf_counts *counts);

/* sum += counts. */
void text_chrf_add(text_chrf_counts *sum, const text_chrf_counts *counts);

/* 5 P R / (4 P + R), per cent: P and R are precision and recall, each the mean over the orders that
 * both sides have. */
double text_chrf_score(const text_chrf_counts *counts);

#endif

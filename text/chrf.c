#include "chrf.h"

#include "ngrams.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

/* The characters that are not white space; to be freed. */
static uint32_t *characters(const char *text, size_t *count) {
    uint32_t *const all = malloc((strlen(text) + 1) * sizeof *all);
    *count = 0;
    while (all && *text) {
        const uint32_t character = text_utf8_next(&text);
        if (!text_is_space(character)) all[(*count)++] = character;
    }
    return all;
}

bool text_chrf_count(const char *hypothesis, const char *reference, text_chrf_counts *counts) {
    size_t a_count = 0, b_count = 0;
    uint32_t *const a = characters(hypothesis, &a_count);
    uint32_t *const b = characters(reference, &b_count);
    *counts = (text_chrf_counts){0};
    const bool good =
        a && b && text_ngram_matches(a, a_count, b, b_count, TEXT_CHRF_ORDERS, counts->match);
    for (int n = 0; n < TEXT_CHRF_ORDERS; n++) {
        counts->reference[n] = text_ngram_count(b_count, n + 1);
        counts->hypothesis[n] = counts->reference[n] > 0 ? text_ngram_count(a_count, n + 1) : 0;
    }
    free(a);
    free(b);
    return good;
}

void text_chrf_add(text_chrf_counts *sum, const text_chrf_counts *counts) {
    for (int n = 0; n < TEXT_CHRF_ORDERS; n++) {
        sum->hypothesis[n] += counts->hypothesis[n];
        sum->reference[n] += counts->reference[n];
        sum->match[n] += counts->match[n];
    }
}

double text_chrf_score(const text_chrf_counts *counts) {
    const double weight = 4; /* beta = 2, squared: recall counts twice as much */
    double precision = 0, recall = 0;
    int orders = 0;
    for (int n = 0; n < TEXT_CHRF_ORDERS; n++) {
        if (counts->hypothesis[n] == 0 || counts->reference[n] == 0) continue;
        precision += (double)counts->match[n] / (double)counts->hypothesis[n];
        recall += (double)counts->match[n] / (double)counts->reference[n];
        orders++;
    }
    if (precision + recall == 0) return 0;
    precision /= orders;
    recall /= orders;
    return 100 * ((1 + weight) * precision * recall / (weight * precision + recall));
}

/* ngrams.h: what BLEU, chrF and ROUGE count. */
#ifndef TEXT_NGRAMS_H
#define TEXT_NGRAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Words as numbers: equal words have equal numbers. */
typedef struct text_words {
    uint32_t *id; /* [count] */
    size_t count;
} text_words;

/* Cuts both texts at white space (text_is_space) and numbers the words of the two together. False
 * if there is no memory. On success free both ids. */
bool text_words_number(const char *a, const char *b, text_words *of_a, text_words *of_b);

/* matches[n - 1], for n from 1 to `orders`: how many n-grams of a are in b, each n-gram counted at
 * most as often as b has it. False if there is no memory. */
bool text_ngram_matches(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count,
                        int orders, int64_t *matches);

/* How many n-grams a sequence has. */
int64_t text_ngram_count(size_t length, int n);

#endif

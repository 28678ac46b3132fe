#include "rouge.h"

#include "ngrams.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

const char *const text_rouge_names[TEXT_ROUGE_KINDS] = {"ROUGE-1", "ROUGE-2", "ROUGE-L"};

/* The character in lower case if that is a to z or 0 to 9, else a blank. Two characters that are
 * not ASCII have such a lower case: U+0130 (I with a dot; what else it becomes is a mark, and
 * parts words) and U+212A (kelvin). */
static void fold(uint32_t c, char **to) {
    const bool capital = c >= 'A' && c <= 'Z';
    const bool other = c == 0x130 || c == 0x212a;
    const bool kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (capital) *(*to)++ = (char)(c - 'A' + 'a');
    else if (other) *(*to)++ = c == 0x130 ? 'i' : 'k';
    else *(*to)++ = kept ? (char)c : ' ';
    if (c == 0x130) *(*to)++ = ' ';
}

/* To be freed; NULL if there is no memory. No character becomes longer. */
static char *folded(const char *text) {
    char *const words = malloc(strlen(text) + 1);
    char *to = words;
    while (words && *text) fold(text_utf8_next(&text), &to);
    if (words) *to = 0;
    return words;
}

static text_rouge score(int64_t matches, int64_t hypothesis, int64_t reference) {
    text_rouge result = {0};
    if (hypothesis > 0) result.precision = (double)matches / (double)hypothesis;
    if (reference > 0) result.recall = (double)matches / (double)reference;
    if (result.precision + result.recall > 0) {
        result.f = 2 * result.precision * result.recall / (result.precision + result.recall);
    }
    return result;
}

/* The length of the longest common subsequence, a row of the table at a time. -1: no memory. */
static int64_t common(const text_words *a, const text_words *b) {
    int64_t *const row = calloc(b->count + 1, sizeof *row);
    if (!row) return -1;
    for (size_t i = 0; i < a->count; i++) {
        int64_t corner = 0; /* row above, one to the left */
        for (size_t j = 0; j < b->count; j++) {
            const int64_t above = row[j + 1];
            const int64_t larger = above > row[j] ? above : row[j];
            row[j + 1] = a->id[i] == b->id[j] ? corner + 1 : larger;
            corner = above;
        }
    }
    const int64_t length = row[b->count];
    free(row);
    return length;
}

static bool score_words(const text_words *a, const text_words *b, text_rouge *scores) {
    int64_t matches[2] = {0};
    const int64_t longest = common(a, b);
    if (longest < 0) return false;
    if (!text_ngram_matches(a->id, a->count, b->id, b->count, 2, matches)) return false;
    for (int n = 1; n <= 2; n++) {
        scores[n == 1 ? TEXT_ROUGE_1 : TEXT_ROUGE_2] =
            score(matches[n - 1], text_ngram_count(a->count, n), text_ngram_count(b->count, n));
    }
    scores[TEXT_ROUGE_L] = score(longest, (int64_t)a->count, (int64_t)b->count);
    return true;
}

bool text_rouge_score(const char *hypothesis, const char *reference,
                      text_rouge scores[TEXT_ROUGE_KINDS]) {
    char *const a = folded(hypothesis), *const b = folded(reference);
    text_words of_a = {0}, of_b = {0};
    bool good = a && b && text_words_number(a, b, &of_a, &of_b);
    if (good) {
        good = score_words(&of_a, &of_b, scores);
        free(of_a.id);
        free(of_b.id);
    }
    free(a);
    free(b);
    return good;
}

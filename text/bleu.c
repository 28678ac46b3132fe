#include "bleu.h"

#include "ngrams.h"
#include "utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The tokenizer is a chain of replacements, each of which reads the result of the one before, as
 * mteval-v13a.pl and sacreBLEU have it. All but the search for blanks may look at bytes: the
 * characters that matter are ASCII, and no byte of another character is. */

/* Replaces every `old`, from left to right; the new text is no longer. */
static void replace(char *text, const char *old, const char *new) {
    const size_t old_length = strlen(old), new_length = strlen(new);
    char *to = text;
    for (const char *from = text;;) {
        const char *const found = strstr(from, old);
        const size_t kept = found ? (size_t)(found - from) : strlen(from);
        memmove(to, from, kept);
        to += kept;
        if (!found) break;
        memcpy(to, new, new_length);
        to += new_length;
        from = found + old_length;
    }
    *to = 0;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_stop(char c) {
    return c == '.' || c == ',';
}

/* [{-~[-` -&(-+:-@/]: ASCII's punctuation and blank, without ' , - and . */
static bool is_mark(char c) {
    return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
           (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

/* One pass of re.sub: match looks at two neighbours, the second of which may be the final 0. It
 * returns how many are matched; insert writes what comes instead. Both are in one function each. */
typedef size_t (*rewrite)(const char *at, char **to);

static size_t put(char **to, const char *pattern, char first, char second, size_t matched) {
    for (; *pattern; pattern++) {
        *(*to)++ = *pattern == '1' ? first : *pattern == '2' ? second : ' ';
    }
    return matched;
}

static size_t split_marks(const char *at, char **to) {
    return is_mark(at[0]) ? put(to, " 1 ", at[0], 0, 1) : 0;
}

static size_t split_after_other(const char *at, char **to) {
    return !is_digit(at[0]) && is_stop(at[1]) ? put(to, "1 2 ", at[0], at[1], 2) : 0;
}

static size_t split_before_other(const char *at, char **to) {
    const bool match = is_stop(at[0]) && at[1] && !is_digit(at[1]);
    return match ? put(to, " 1 2", at[0], at[1], 2) : 0;
}

static size_t split_dash(const char *at, char **to) {
    return is_digit(at[0]) && at[1] == '-' ? put(to, "1 2 ", at[0], at[1], 2) : 0;
}

/* No rewrite makes more than 3 bytes of 1. */
static char *pass(char *text, rewrite one) {
    char *const longer = text ? malloc(3 * strlen(text) + 1) : NULL;
    char *to = longer;
    for (const char *at = text; longer && *at;) {
        const size_t matched = one(at, &to);
        if (matched == 0) *to++ = *at;
        at += matched > 0 ? matched : 1;
    }
    if (longer) *to = 0;
    free(text);
    return longer;
}

/* The text without white space at its end, a blank before and behind it. */
static char *framed(const char *text) {
    const char *end = text;
    for (const char *at = text; *at;) {
        if (!text_is_space(text_utf8_next(&at))) end = at;
    }
    const size_t length = (size_t)(end - text);
    char *const copy = malloc(length + 3);
    if (!copy) return NULL;
    copy[0] = ' ';
    memcpy(copy + 1, text, length);
    memcpy(copy + 1 + length, " ", 2);
    return copy;
}

/* White space between words becomes one blank, none is left around them. */
static void squeeze(char *text) {
    char *to = text;
    bool gap = false;
    for (const char *at = text, *after = text; *at; at = after) {
        if (text_is_space(text_utf8_next(&after))) {
            gap = to > text;
            continue;
        }
        if (gap) *to++ = ' ';
        gap = false;
        memmove(to, at, (size_t)(after - at));
        to += after - at;
    }
    *to = 0;
}

/* The frame is not there yet when sacreBLEU replaces; no replacement could reach into it. */
char *text_tokenize_13a(const char *text) {
    static const struct {
        const char *old, *new;
    } replacements[] = {
        {"<skipped>", ""}, {"-\n", ""},   {"\n", " "},   {"&quot;", "\""},
        {"&amp;", "&"},    {"&lt;", "<"}, {"&gt;", ">"},
    };
    static const rewrite passes[] = {split_marks, split_after_other, split_before_other,
                                     split_dash};
    char *tokens = framed(text);
    if (!tokens) return NULL;
    for (size_t i = 0; i < sizeof replacements / sizeof replacements[0]; i++) {
        replace(tokens, replacements[i].old, replacements[i].new);
    }
    for (size_t i = 0; i < sizeof passes / sizeof passes[0]; i++) tokens = pass(tokens, passes[i]);
    if (tokens) squeeze(tokens);
    return tokens;
}

static bool count_tokens(const char *hypothesis, const char *reference, text_bleu_counts *counts) {
    text_words a, b;
    if (!text_words_number(hypothesis, reference, &a, &b)) return false;
    counts->hypothesis = (int64_t)a.count;
    counts->reference = (int64_t)b.count;
    for (int n = 0; n < TEXT_BLEU_ORDERS; n++) {
        counts->total[n] = text_ngram_count(a.count, n + 1);
    }
    const bool good =
        text_ngram_matches(a.id, a.count, b.id, b.count, TEXT_BLEU_ORDERS, counts->correct);
    free(a.id);
    free(b.id);
    return good;
}

bool text_bleu_count(const char *hypothesis, const char *reference, text_bleu_counts *counts) {
    char *const a = text_tokenize_13a(hypothesis), *const b = text_tokenize_13a(reference);
    *counts = (text_bleu_counts){0};
    const bool good = a && b && count_tokens(a, b, counts);
    free(a);
    free(b);
    return good;
}

void text_bleu_add(text_bleu_counts *sum, const text_bleu_counts *counts) {
    sum->hypothesis += counts->hypothesis;
    sum->reference += counts->reference;
    for (int n = 0; n < TEXT_BLEU_ORDERS; n++) {
        sum->correct[n] += counts->correct[n];
        sum->total[n] += counts->total[n];
    }
}

/* What sacreBLEU calls exp: the k-th order without a correct n-gram counts as 2^-k of one. */
static void smooth(const text_bleu_counts *counts, double *precisions) {
    double half = 1;
    for (int n = 0; n < TEXT_BLEU_ORDERS && counts->total[n] > 0; n++) {
        const double total = (double)counts->total[n];
        if (counts->correct[n] == 0) half *= 2;
        precisions[n] = counts->correct[n] > 0 ? 100 * (double)counts->correct[n] / total
                                               : 100 / (half * total);
    }
}

text_bleu text_bleu_score(const text_bleu_counts *counts) {
    text_bleu bleu = {.brevity = 1};
    int64_t correct = 0;
    double logarithms = 0;
    for (int n = 0; n < TEXT_BLEU_ORDERS; n++) correct += counts->correct[n];
    if (counts->hypothesis < counts->reference) {
        const double ratio = (double)counts->reference / (double)counts->hypothesis;
        bleu.brevity = counts->hypothesis > 0 ? exp(1 - ratio) : 0;
    }
    if (correct == 0) return bleu;
    smooth(counts, bleu.precisions);
    for (int n = 0; n < TEXT_BLEU_ORDERS; n++) logarithms += log(bleu.precisions[n]);
    bleu.score = bleu.brevity * exp(logarithms / TEXT_BLEU_ORDERS); /* log 0: -inf, the score 0 */
    return bleu;
}

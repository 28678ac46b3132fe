#define _GNU_SOURCE
#include "ngrams.h"

#include "utf8.h"

#include <stdlib.h>
#include <string.h>

/* A word where it lies, and where its number goes. */
typedef struct spot {
    const char *text;
    size_t length;
    uint32_t *id;
} spot;

/* The next word of valid text, which moves behind it; false at the end. */
static bool next_word(const char **text, spot *word) {
    const char *at = *text, *after = at;
    while (*at && text_is_space(text_utf8_next(&after))) at = after;
    if (!*at) return false;
    const char *end = at;
    while (*end) {
        after = end;
        if (text_is_space(text_utf8_next(&after))) break;
        end = after;
    }
    *word = (spot){.text = at, .length = (size_t)(end - at)};
    *text = end;
    return true;
}

static size_t count_words(const char *text) {
    spot word;
    size_t count = 0;
    while (next_word(&text, &word)) count++;
    return count;
}

static int compare_words(const void *left, const void *right) {
    const spot *const a = left, *const b = right;
    const int order = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

static size_t collect(const char *text, text_words *words, spot *spots) {
    size_t i = 0;
    for (; next_word(&text, &spots[i]); i++) spots[i].id = &words->id[i];
    return i;
}

bool text_words_number(const char *a, const char *b, text_words *of_a, text_words *of_b) {
    *of_a = (text_words){.count = count_words(a)};
    *of_b = (text_words){.count = count_words(b)};
    const size_t all = of_a->count + of_b->count;
    spot *const spots = malloc((all + 1) * sizeof *spots);
    of_a->id = malloc((of_a->count + 1) * sizeof *of_a->id);
    of_b->id = malloc((of_b->count + 1) * sizeof *of_b->id);
    const bool good = spots && of_a->id && of_b->id;
    if (good) {
        collect(b, of_b, spots + collect(a, of_a, spots));
        qsort(spots, all, sizeof *spots, compare_words);
        uint32_t id = 0;
        for (size_t i = 0; i < all; i++) {
            id += i > 0 && compare_words(&spots[i - 1], &spots[i]) != 0;
            *spots[i].id = id;
        }
    } else {
        free(of_a->id);
        free(of_b->id);
    }
    free(spots);
    return good;
}

int64_t text_ngram_count(size_t length, int n) {
    return (int64_t)length < n ? 0 : (int64_t)length - n + 1;
}

/* A sequence, and the places in it in the order of what starts there. */
typedef struct sorted {
    const uint32_t *item;
    size_t count;
    int orders; /* how much of what starts there is looked at */
    size_t *place;
} sorted;

static int compare_items(const uint32_t *a, const uint32_t *b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    }
    return 0;
}

static int compare_places(const void *left, const void *right, void *context) {
    const sorted *const all = context;
    const size_t a = *(const size_t *)left, b = *(const size_t *)right;
    const size_t later = a > b ? a : b, most = (size_t)all->orders;
    const size_t common = all->count - later < most ? all->count - later : most;
    const int order = compare_items(all->item + a, all->item + b, common);
    /* Where one ends within the other, it comes first: it is the later one. */
    return order != 0 ? order : (a < b) - (a > b);
}

static bool sort(sorted *all) {
    all->place = malloc((all->count + 1) * sizeof *all->place);
    if (!all->place) return false;
    for (size_t i = 0; i < all->count; i++) all->place[i] = i;
    qsort_r(all->place, all->count, sizeof *all->place, compare_places, all);
    return true;
}

/* Moves *at to the next place with a whole n-gram; false after the last. */
static bool settle(const sorted *all, size_t *at, size_t n) {
    while (*at < all->count && all->place[*at] + n > all->count) ++*at;
    return *at < all->count;
}

/* Moves *at behind all places of the n-gram that is there; returns how many they are. Those cut
 * short by the end of the sequence come before their longer ones, never between. */
static int64_t run(const sorted *all, size_t *at, size_t n) {
    const uint32_t *const item = all->item + all->place[*at];
    int64_t count = 0;
    while (settle(all, at, n) && compare_items(item, all->item + all->place[*at], n) == 0) {
        count++;
        ++*at;
    }
    return count;
}

/* Equal n-grams are neighbours for every n, because places are sorted by the longest. */
static int64_t merge(const sorted *a, const sorted *b, size_t n) {
    int64_t matches = 0;
    size_t i = 0, j = 0;
    while (settle(a, &i, n) && settle(b, &j, n)) {
        const int order = compare_items(a->item + a->place[i], b->item + b->place[j], n);
        const int64_t of_a = order <= 0 ? run(a, &i, n) : 0;
        const int64_t of_b = order >= 0 ? run(b, &j, n) : 0;
        matches += of_a < of_b ? of_a : of_b;
    }
    return matches;
}

bool text_ngram_matches(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count,
                        int orders, int64_t *matches) {
    sorted of_a = {.item = a, .count = a_count, .orders = orders};
    sorted of_b = {.item = b, .count = b_count, .orders = orders};
    const bool good = sort(&of_a) && sort(&of_b);
    for (int n = 1; good && n <= orders; n++) matches[n - 1] = merge(&of_a, &of_b, (size_t)n);
    free(of_a.place);
    free(of_b.place);
    return good;
}

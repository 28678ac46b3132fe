#include "bootstrap.h"

#include <stdlib.h>

/* splitmix64 (Steele, Lea and Flood 2014). */
static uint64_t draw(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Evenly from 0 to count - 1: what would make the first few likelier is drawn again. */
static int64_t draw_below(uint64_t *state, int64_t count) {
    const uint64_t bound = (uint64_t)count, excess = (0 - bound) % bound;
    uint64_t drawn = draw(state);
    while (drawn < excess) drawn = draw(state);
    return (int64_t)(drawn % bound);
}

static int compare(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

bool text_bootstrap(text_score score, const void *context, int64_t count, int64_t samples,
                    uint64_t seed, text_interval *interval) {
    *interval = (text_interval){0};
    if (count < 1) return true;
    int64_t *const row = malloc((size_t)count * sizeof *row);
    double *const scores = malloc(((size_t)samples + 1) * sizeof *scores);
    const bool good = row && scores;
    if (good) {
        for (int64_t i = 0; i < count; i++) row[i] = i;
        interval->score = interval->low = interval->high = score(context, row, count);
        for (int64_t s = 0; s < samples; s++) {
            for (int64_t i = 0; i < count; i++) row[i] = draw_below(&seed, count);
            scores[s] = score(context, row, count);
        }
        qsort(scores, (size_t)samples, sizeof *scores, compare);
        if (samples > 0) {
            interval->low = scores[samples / 40];
            interval->high = scores[samples - samples / 40 - 1];
        }
    }
    free(row);
    free(scores);
    return good;
}

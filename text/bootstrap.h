/* bootstrap.h: how far a score of a set of sentences may be trusted (Koehn 2004). */
#ifndef TEXT_BOOTSTRAP_H
#define TEXT_BOOTSTRAP_H

#include <stdbool.h>
#include <stdint.h>

/* The score of the sentences row[0] to row[count - 1], of which some may be there more than once. */
typedef double (*text_score)(const void *context, const int64_t *row, int64_t count);

typedef struct text_interval {
    double score;     /* of the sentences as they are */
    double low, high; /* 95 of 100 resamples are in between */
} text_interval;

/* Draws `samples` times `count` of the sentences with replacement and scores them. The interval
 * leaves out one resample of 40 at either end, as sacreBLEU's does; the draws depend on the seed
 * alone. False if there is no memory. */
bool text_bootstrap(text_score score, const void *context, int64_t count, int64_t samples,
                    uint64_t seed, text_interval *interval);

#endif

/* extract.c: links out of weights. */
#include "links.h"

#include <stdlib.h>
#include <string.h>

const char *const text_pooling_names[TEXT_POOLINGS] = {"mean", "max"};

const char *const text_rule_names[TEXT_RULES] = {
    [TEXT_RULE_FORWARD] = "forward",
    [TEXT_RULE_BACKWARD] = "backward",
    [TEXT_RULE_INTERSECTION] = "intersection",
    [TEXT_RULE_UNION] = "union",
    [TEXT_RULE_GROW] = "grow-diag-final-and",
    [TEXT_RULE_THRESHOLD] = "threshold",
    [TEXT_RULE_MUTUAL] = "mutual",
};

/* One target subword's weights by source word, joined to its word's. `seen`: how many subwords of
 * the word came before. */
static void fold_row(const text_weights *weights, int64_t row, text_pooling pooling, int64_t seen,
                     float *sums, int64_t source_words, float *folded) {
    memset(sums, 0, (size_t)source_words * sizeof *sums);
    for (int64_t s = 0; s < weights->sources; s++) {
        const int32_t word = weights->source_word[s];
        if (word >= 0) sums[word] += weights->weight[row * weights->stride + s];
    }
    for (int64_t w = 0; w < source_words; w++) {
        if (pooling == TEXT_POOL_MEAN) folded[w] += sums[w];
        else if (seen == 0 || sums[w] > folded[w]) folded[w] = sums[w];
    }
}

bool text_weights_fold(const text_weights *weights, text_pooling pooling, int64_t target_words,
                       int64_t source_words, float *folded) {
    float *const sums = malloc(((size_t)source_words + 1) * sizeof *sums);
    int64_t *const seen = calloc((size_t)target_words + 1, sizeof *seen);
    const bool good = sums && seen;
    memset(folded, 0, (size_t)(target_words * source_words) * sizeof *folded);
    for (int64_t t = 0; good && t < weights->targets; t++) {
        const int32_t word = weights->target_word[t];
        if (word < 0) continue;
        fold_row(weights, t, pooling, seen[word], sums, source_words, folded + word * source_words);
        seen[word]++;
    }
    for (int64_t t = 0; good && pooling == TEXT_POOL_MEAN && t < target_words; t++) {
        float *const row = folded + t * source_words;
        for (int64_t s = 0; s < source_words && seen[t] > 1; s++) row[s] /= (float)seen[t];
    }
    free(sums);
    free(seen);
    return good;
}

static float forward_weight(const text_extraction *e, int64_t t, int64_t s) {
    return e->forward[t * e->sources + s];
}

static float backward_weight(const text_extraction *e, int64_t t, int64_t s) {
    return e->backward ? e->backward[s * e->targets + t] : forward_weight(e, t, s);
}

/* A set of pairs, [target][source]: bit FORWARD, bit BACKWARD, bit CHOSEN. */
enum { FORWARD = 1, BACKWARD = 2, CHOSEN = 4 };

static unsigned char *pair(const text_extraction *e, unsigned char *pairs, int64_t t, int64_t s) {
    return &pairs[t * e->sources + s];
}

static void mark_forward(const text_extraction *e, unsigned char *pairs) {
    for (int64_t t = 0; t < e->targets; t++) {
        float largest = 0;
        int64_t at = -1;
        for (int64_t s = 0; s < e->sources; s++) {
            const float weight = forward_weight(e, t, s);
            if (weight > largest) largest = weight, at = s;
        }
        if (at >= 0 && (double)largest >= e->threshold) *pair(e, pairs, t, at) |= FORWARD;
    }
}

static void mark_backward(const text_extraction *e, unsigned char *pairs) {
    for (int64_t s = 0; s < e->sources; s++) {
        float largest = 0;
        int64_t at = -1;
        for (int64_t t = 0; t < e->targets; t++) {
            const float weight = backward_weight(e, t, s);
            if (weight > largest) largest = weight, at = t;
        }
        if (at >= 0 && (double)largest >= e->threshold) *pair(e, pairs, at, s) |= BACKWARD;
    }
}

/* Chooses the pairs that have all (or any) of the bits. */
static void choose(const text_extraction *e, unsigned char *pairs, unsigned bits, bool all) {
    for (int64_t i = 0; i < e->targets * e->sources; i++) {
        const unsigned there = pairs[i] & bits;
        if (all ? there == bits : there != 0) pairs[i] |= CHOSEN;
    }
}

/* --- grow-diag-final-and ------------------------------------------------------------------------ */

typedef struct growth {
    const text_extraction *e;
    unsigned char *pairs;
    bool *linked_target, *linked_source; /* words that have a link */
} growth;

static void link_pair(growth *g, int64_t t, int64_t s) {
    *pair(g->e, g->pairs, t, s) |= CHOSEN;
    g->linked_target[t] = true;
    g->linked_source[s] = true;
}

/* Adds the neighbours of a link that are in the union and give a word its first link. */
static bool grow_around(growth *g, int64_t t, int64_t s) {
    static const int steps[8][2] = {{-1, 0},  {0, -1}, {1, 0},  {0, 1},
                                    {-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
    bool grown = false;
    for (int i = 0; i < 8; i++) {
        const int64_t nt = t + steps[i][0], ns = s + steps[i][1];
        if (nt < 0 || nt >= g->e->targets || ns < 0 || ns >= g->e->sources) continue;
        const unsigned there = *pair(g->e, g->pairs, nt, ns);
        if (there == 0 || (there & CHOSEN)) continue;
        if (g->linked_target[nt] && g->linked_source[ns]) continue;
        link_pair(g, nt, ns);
        grown = true;
    }
    return grown;
}

static void grow_diagonally(growth *g) {
    for (bool grown = true; grown;) {
        grown = false;
        for (int64_t t = 0; t < g->e->targets; t++) {
            for (int64_t s = 0; s < g->e->sources; s++) {
                if (!(*pair(g->e, g->pairs, t, s) & CHOSEN)) continue;
                grown = grow_around(g, t, s) || grown;
            }
        }
    }
}

/* Adds the links of one direction between two words that have none. */
static void finish(growth *g, unsigned direction) {
    for (int64_t t = 0; t < g->e->targets; t++) {
        for (int64_t s = 0; s < g->e->sources; s++) {
            if (!(*pair(g->e, g->pairs, t, s) & direction)) continue;
            if (!g->linked_target[t] && !g->linked_source[s]) link_pair(g, t, s);
        }
    }
}

static bool choose_grown(const text_extraction *e, unsigned char *pairs) {
    growth g = {.e = e, .pairs = pairs};
    g.linked_target = calloc((size_t)e->targets + 1, sizeof *g.linked_target);
    g.linked_source = calloc((size_t)e->sources + 1, sizeof *g.linked_source);
    const bool good = g.linked_target && g.linked_source;
    if (good) {
        for (int64_t t = 0; t < e->targets; t++) {
            for (int64_t s = 0; s < e->sources; s++) {
                if (*pair(e, pairs, t, s) == (FORWARD | BACKWARD)) link_pair(&g, t, s);
            }
        }
        grow_diagonally(&g);
        finish(&g, FORWARD);
        finish(&g, BACKWARD);
    }
    free(g.linked_target);
    free(g.linked_source);
    return good;
}

/* --- Thresholds --------------------------------------------------------------------------------- */

/* With two models a pair's weight is the mean of theirs. */
static void choose_above(const text_extraction *e, unsigned char *pairs) {
    for (int64_t t = 0; t < e->targets; t++) {
        for (int64_t s = 0; s < e->sources; s++) {
            const double weight =
                ((double)forward_weight(e, t, s) + (double)backward_weight(e, t, s)) / 2;
            if (weight > 0 && weight > e->threshold) *pair(e, pairs, t, s) |= CHOSEN;
        }
    }
}

/* sums: of each target word over the source words, then of each source word over the target's. */
static bool choose_mutual(const text_extraction *e, unsigned char *pairs) {
    double *const sums = calloc((size_t)(e->targets + e->sources) + 1, sizeof *sums);
    if (!sums) return false;
    for (int64_t t = 0; t < e->targets; t++) {
        for (int64_t s = 0; s < e->sources; s++) {
            sums[t] += (double)forward_weight(e, t, s);
            sums[e->targets + s] += (double)backward_weight(e, t, s);
        }
    }
    for (int64_t t = 0; t < e->targets; t++) {
        for (int64_t s = 0; s < e->sources; s++) {
            const double f = (double)forward_weight(e, t, s) / sums[t];
            const double b = (double)backward_weight(e, t, s) / sums[e->targets + s];
            if (f > 0 && b > 0 && f > e->threshold && b > e->threshold) {
                *pair(e, pairs, t, s) |= CHOSEN;
            }
        }
    }
    free(sums);
    return true;
}

static bool choose_pairs(const text_extraction *e, unsigned char *pairs) {
    if (e->rule == TEXT_RULE_MUTUAL) return choose_mutual(e, pairs);
    if (e->rule == TEXT_RULE_THRESHOLD) return choose_above(e, pairs), true;
    mark_forward(e, pairs);
    mark_backward(e, pairs);
    if (e->rule == TEXT_RULE_GROW) return choose_grown(e, pairs);
    const unsigned bits = e->rule == TEXT_RULE_FORWARD    ? FORWARD
                          : e->rule == TEXT_RULE_BACKWARD ? BACKWARD
                                                          : FORWARD | BACKWARD;
    choose(e, pairs, bits, e->rule != TEXT_RULE_UNION);
    return true;
}

bool text_links_extract(text_links *links, const text_extraction *extraction, io_error *error) {
    const text_extraction *const e = extraction;
    unsigned char *const pairs = calloc((size_t)(e->targets * e->sources) + 1, 1);
    bool good = pairs && choose_pairs(e, pairs);
    if (!good) (void)io_fail(error, "no memory for links");
    links->count = 0;
    for (int64_t s = 0; good && s < e->sources; s++) {
        for (int64_t t = 0; good && t < e->targets; t++) {
            if (!(*pair(e, pairs, t, s) & CHOSEN)) continue;
            good = text_links_add(links, (text_link){(int32_t)s, (int32_t)t, false}, error);
        }
    }
    free(pairs);
    return good;
}

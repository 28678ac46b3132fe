/* 04_evict_by_attention.c: a cache of keys that must shrink, and keeps those which are attended to.
 *
 * Some keys of a text are looked at again and again (H2O: Zhang et al. 2023). How much weight a key
 * received from all queries is a view, received_sum: it comes with the output, and the weights
 * themselves are never stored. Here some keys of a prompt, marked "popular", share a direction that
 * queries ask for. Afterwards half of the cache has to go:
 *   - "recent" keeps the last keys;
 *   - "heavy" keeps half as many of the last, and beside them the keys that received most.
 * The next query is then answered from either, and from the whole. Heavy must have kept all popular
 * keys, and come closer.
 */
#include <attn/attn.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 256, KEPT = LENGTH / 2, RECENT = LENGTH / 4, WIDTH = 64, POPULAR_EVERY = 16 };

typedef struct {
    int64_t length;
    float key[LENGTH][WIDTH], value[LENGTH][WIDTH];
} cache;

static float query[LENGTH + 1][WIDTH]; /* of the prompt, and the one after it */

/* Within [-1, 1] (Numerical Recipes, 7.1). */
static float next_number(void) {
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1.0f;
}

static void make_prompt(cache *c) {
    c->length = LENGTH;
    for (int i = 0; i <= LENGTH; i++)
        for (int f = 0; f < WIDTH; f++) query[i][f] = f == 0 ? 6 : next_number();
    for (int i = 0; i < LENGTH; i++)
        for (int f = 0; f < WIDTH; f++) {
            c->key[i][f] = f == 0 ? (i % POPULAR_EVERY == 0 ? 6 : 0) : next_number();
            c->value[i][f] = next_number();
        }
}

/* Attends from queries first .. first + count - 1, causally, to all that is in the cache. */
static bool attend(const cache *c, int64_t first, int64_t count, float *output, float *received) {
    const attn_views views = {.received_sum = attn_tensor_f32(received, 1, 1, 1, c->length)};
    const attn_problem p = {
        .query = attn_tensor_f32(query[first], 1, 1, count, WIDTH),
        .key = attn_tensor_f32(c->key[0], 1, 1, c->length, WIDTH),
        .value = attn_tensor_f32(c->value[0], 1, 1, c->length, WIDTH),
        .mask = {.causal = true, .alignment = ATTN_ALIGN_BOTTOM_RIGHT},
        .output = attn_tensor_f32(output, 1, 1, count, WIDTH),
        .views = received == NULL ? NULL : &views,
    };
    if (attn_forward(NULL, &p) == ATTN_OK) return true;
    fprintf(stderr, "attn_forward: %s\n", attn_error_message());
    return false;
}

static const float *ranked; /* what the comparison looks at */

static int heavier_first(const void *a, const void *b) {
    const float x = ranked[*(const int *)a], y = ranked[*(const int *)b];
    return (x < y) - (x > y);
}

/* Marks the KEPT keys to keep: the RECENT last ones, and the heaviest of the others. */
static void choose_heavy(const float *received, bool *keep) {
    int order[LENGTH - RECENT];
    for (int i = 0; i < LENGTH - RECENT; i++) order[i] = i;
    ranked = received;
    qsort(order, LENGTH - RECENT, sizeof order[0], heavier_first);
    for (int i = 0; i < KEPT - RECENT; i++) keep[order[i]] = true;
    for (int i = LENGTH - RECENT; i < LENGTH; i++) keep[i] = true;
}

static void choose_recent(bool *keep) {
    for (int i = LENGTH - KEPT; i < LENGTH; i++) keep[i] = true;
}

static void evict(cache *c, const bool *keep) {
    int64_t kept = 0;
    for (int64_t i = 0; i < c->length; i++) {
        if (!keep[i]) continue;
        memmove(c->key[kept], c->key[i], sizeof c->key[0]);
        memmove(c->value[kept++], c->value[i], sizeof c->value[0]);
    }
    c->length = kept;
}

/* The distance between what the next query gets from what was kept, and from all. */
static bool measure(const cache *whole, const bool *keep, double *distance) {
    static cache kept;
    float expected[WIDTH], output[WIDTH];
    kept = *whole;
    evict(&kept, keep);
    if (!attend(whole, LENGTH, 1, expected, NULL) || !attend(&kept, LENGTH, 1, output, NULL))
        return false;
    double squares = 0;
    for (int f = 0; f < WIDTH; f++) squares += pow((double)output[f] - (double)expected[f], 2);
    *distance = sqrt(squares);
    return true;
}

static int popular_among(const bool *keep) {
    int count = 0;
    for (int i = 0; i < LENGTH; i += POPULAR_EVERY) count += keep[i];
    return count;
}

static void report(const char *name, const bool *keep, double distance) {
    printf("%-7s %2d of %d popular keys, next output off by %.3f\n", name, popular_among(keep),
           LENGTH / POPULAR_EVERY, distance);
}

int main(void) {
    static cache whole;
    static float output[LENGTH][WIDTH], received[LENGTH];
    bool heavy[LENGTH] = {false}, recent[LENGTH] = {false};
    make_prompt(&whole);
    if (!attend(&whole, 0, LENGTH, output[0], received)) return 1;
    choose_heavy(received, heavy);
    choose_recent(recent);

    double of_heavy = 0, of_recent = 0;
    if (!measure(&whole, heavy, &of_heavy) || !measure(&whole, recent, &of_recent)) return 1;
    printf("%d of %d keys kept:\n", KEPT, LENGTH);
    report("recent", recent, of_recent);
    report("heavy", heavy, of_heavy);
    return popular_among(heavy) == LENGTH / POPULAR_EVERY && of_heavy < of_recent ? 0 : 1;
}

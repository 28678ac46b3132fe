/* 05_streaming_observer.c: a view of the weights that libattn does not have, as they go by.
 *
 * How far do the heads of a causal layer look back? For each head a histogram: the share of all
 * weight that lies 0, 1, 2-3, 4-7, 8-15 ... keys back. The observer is shown the finished weights
 * in rectangles, while they are in the cache, so that 4 x 1024 x 1024 of them are never stored.
 *
 * Head h has ALiBi's slope 2^-2h, so that each looks further than the one before. Rows of weights
 * sum to one, and so must each histogram.
 */
#include <attn/attn.h>

#include <math.h>
#include <stdio.h>

enum { HEADS = 4, LENGTH = 1024, WIDTH = 32, BINS = 11 };

/* The bin of a distance: 0 for 0, else 1 + floor(log2(distance)). */
static int bin_of(int64_t distance) {
    int bin = 0;
    for (; distance > 0; distance /= 2) bin++;
    return bin;
}

/* The observer: rectangles of one head come one after the other, so that it needs no lock. */
static void add_to_histogram(void *user, const attn_pairs *p) {
    double(*const histogram)[BINS] = user;
    const float *const weights = p->data;
    for (int r = 0; r < p->rows; r++)
        for (int c = 0; c < p->keys; c++) {
            const int64_t distance = p->position + r - (p->key + c);
            if (distance < 0) continue; /* hidden by the causal rule */
            const float w = weights[r * p->row_stride + c * p->key_stride];
            histogram[p->head][bin_of(distance)] += (double)w / LENGTH;
        }
}

static float query[HEADS][LENGTH][WIDTH], key[HEADS][LENGTH][WIDTH], value[HEADS][LENGTH][WIDTH];
static float output[HEADS][LENGTH][WIDTH];

/* Numbers within [-1, 1] (Numerical Recipes, 7.1). */
static void fill(float *numbers, size_t count) {
    static uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        numbers[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

static bool attend(double histogram[HEADS][BINS]) {
    const float slopes[HEADS] = {1, 0.25f, 0.0625f, 0.015625f};
    const attn_views views = {.observer = add_to_histogram, .observer_user = histogram};
    const attn_problem p = {
        .query = attn_tensor_f32(query[0][0], 1, HEADS, LENGTH, WIDTH),
        .key = attn_tensor_f32(key[0][0], 1, HEADS, LENGTH, WIDTH),
        .value = attn_tensor_f32(value[0][0], 1, HEADS, LENGTH, WIDTH),
        .score = {.alibi_slopes = attn_tensor_f32(slopes, 1, HEADS, 1, 1)},
        .mask = {.causal = true},
        .output = attn_tensor_f32(output[0][0], 1, HEADS, LENGTH, WIDTH),
        .views = &views,
    };
    if (attn_forward(NULL, &p) == ATTN_OK) return true;
    fprintf(stderr, "attn_forward: %s\n", attn_error_message());
    return false;
}

/* Prints a head's histogram; returns its sum. */
static double print_head(int head, const double *histogram) {
    double sum = 0;
    printf("head %d ", head);
    for (int bin = 0; bin < BINS; bin++) {
        printf(" %5.1f%%", 100 * histogram[bin]);
        sum += histogram[bin];
    }
    puts("");
    return sum;
}

int main(void) {
    double histogram[HEADS][BINS] = {{0}};
    fill(query[0][0], sizeof query / sizeof(float));
    fill(key[0][0], sizeof key / sizeof(float));
    fill(value[0][0], sizeof value / sizeof(float));
    if (!attend(histogram)) return 1;

    printf("keys back    0");
    for (int bin = 1; bin < BINS; bin++) printf("    %3d-", 1 << (bin - 1));
    puts("");
    /* Rows of float32 weights sum to one but for rounding, with u = 2^-24: of the common divisor,
     * a sum of at most LENGTH terms, rescaled (at 6 u) by fewer than LENGTH / 6 blocks of keys; and
     * of a weight's own factor, at 8 u. Here they are added up in double. */
    const double bound = (2 * LENGTH + 8) * ldexp(1, -24);
    bool whole = true;
    for (int h = 0; h < HEADS; h++) whole &= fabs(print_head(h, histogram[h]) - 1) <= bound;
    return whole ? 0 : 1;
}

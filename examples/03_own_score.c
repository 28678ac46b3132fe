/* 03_own_score.c: a score that libattn does not have, added by a callback.
 *
 * The tokens are the patches of an image, in rows of SIDE. What counts between them is how far they
 * are apart on the image, which neither ALiBi nor any table over j - i can say: patch SIDE - 1 ends
 * the first row, and patch SIDE begins the second. So each head takes slope * (rows + columns
 * between the patches) from its scores: ALiBi in two dimensions (Fuller et al. 2023, who measure as
 * the crow flies).
 *
 * The callback gets rectangles of finished scores: those of a whole head never exist. In the end
 * the same biases as one large tensor must give the same output and weights.
 */
#include <attn/attn.h>

#include <math.h>
#include <stdio.h>

enum { HEADS = 2, SIDE = 12, PATCHES = SIDE * SIDE, WIDTH = 32 };

static float slopes[HEADS] = {0.25f, 1};

/* Where each patch is, as float: the loop below is then all one type, and vectorises. */
static float row[PATCHES], column[PATCHES];

/* For n scores side by side, between patches first, first + 1, ... and one other patch. */
static void take_distances(float *score, int n, int64_t first, int64_t other, float slope) {
    for (int64_t i = 0; i < n; i++)
        score[i] -=
            slope * (fabsf(row[first + i] - row[other]) + fabsf(column[first + i] - column[other]));
}

/* The score. Those that lie side by side are of neighbouring queries, or of neighbouring keys; the
 * distance is the same both ways, so that one loop does for both. */
static void by_distance_on_image(void *user, const attn_pairs *p) {
    const float *const head_slopes = user;
    const float slope = head_slopes[p->head];
    float *const score = p->data;
    if (p->row_stride == 1)
        for (int c = 0; c < p->keys; c++)
            take_distances(score + c * p->key_stride, p->rows, p->position, p->key + c, slope);
    else
        for (int r = 0; r < p->rows; r++)
            take_distances(score + r * p->row_stride, p->keys, p->key, p->position + r, slope);
}

static float query[HEADS][PATCHES][WIDTH], key[HEADS][PATCHES][WIDTH], value[HEADS][PATCHES][WIDTH];
static float bias[HEADS][PATCHES][PATCHES]; /* for the check in the end alone */

typedef struct {
    float output[HEADS][PATCHES][WIDTH];
    float weights[HEADS][PATCHES][PATCHES];
} results;

/* Numbers within [-1, 1] (Numerical Recipes, 7.1). */
static void fill(float *numbers, size_t count) {
    static uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        numbers[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

static void make_inputs(void) {
    for (int i = 0; i < PATCHES; i++) row[i] = (float)(i / SIDE), column[i] = (float)(i % SIDE);
    fill(query[0][0], sizeof query / sizeof(float));
    fill(key[0][0], sizeof key / sizeof(float));
    fill(value[0][0], sizeof value / sizeof(float));
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < PATCHES; i++) take_distances(bias[h][i], PATCHES, 0, i, slopes[h]);
}

static bool attend(attn_score score, results *r) {
    const attn_problem p = {
        .query = attn_tensor_f32(query[0][0], 1, HEADS, PATCHES, WIDTH),
        .key = attn_tensor_f32(key[0][0], 1, HEADS, PATCHES, WIDTH),
        .value = attn_tensor_f32(value[0][0], 1, HEADS, PATCHES, WIDTH),
        .score = score,
        .output = attn_tensor_f32(r->output[0][0], 1, HEADS, PATCHES, WIDTH),
        .weights = attn_tensor_f32(r->weights[0][0], 1, HEADS, PATCHES, PATCHES),
    };
    if (attn_forward(NULL, &p) == ATTN_OK) return true;
    fprintf(stderr, "attn_forward: %s\n", attn_error_message());
    return false;
}

/* What the patch in the middle attends to: its weight on each patch in per cent, where it lies. */
static void print_head(const results *r, int head) {
    printf("head %d, slope %g: per cent of the middle patch's weight\n", head,
           (double)slopes[head]);
    for (int j = 0; j < PATCHES; j++)
        printf("%3.0f%s", 100 * (double)r->weights[head][PATCHES / 2 + SIDE / 2][j],
               j % SIDE == SIDE - 1 ? "\n" : "");
}

/* How far two float32 computations of one element may lie apart. With u = 2^-24, all inputs within
 * [-1, 1] and scale 1/sqrt(WIDTH), the dot product of a score is at most sqrt(WIDTH), and each of
 * its terms passes at most WIDTH + 4 roundings. The bias is exact: slopes are powers of two,
 * distances whole. Sum, distance from the maximum and factor log2(e) are three roundings of numbers
 * up to twice the largest score; exp is 4 u off. A weight takes such an error twice, as numerator
 * and in the sum. 2 PATCHES + 2 roundings cover the sum with its rescaling and the division, as
 * many the aggregation. Both may be off by that. */
static double bound(void) {
    const double u = ldexp(1, -24), dot = sqrt(WIDTH);
    const double largest = dot + (double)slopes[HEADS - 1] * 2 * (SIDE - 1);
    const double of_score = ((WIDTH + 4) * dot + 3 * 2 * largest + 4) * u;
    return 2 * expm1(2 * of_score + (4 * PATCHES + 4) * u);
}

static double largest_difference(const float *a, const float *b, size_t count) {
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)a[i] - (double)b[i]);
        if (difference > largest || isnan(difference)) largest = difference; /* a NaN stays */
    }
    return largest;
}

int main(void) {
    static results own, by_tensor;
    make_inputs();
    const attn_score callback = {.callback = by_distance_on_image, .callback_user = slopes};
    const attn_score tensor = {.bias = attn_tensor_f32(bias[0][0], 1, HEADS, PATCHES, PATCHES)};
    if (!attend(callback, &own) || !attend(tensor, &by_tensor)) return 1;

    for (int h = 0; h < HEADS; h++) print_head(&own, h);
    const double difference =
        largest_difference(own.output[0][0], by_tensor.output[0][0], sizeof own / sizeof(float));
    printf("against the biases as a tensor: differs by %.1e (rounding allows %.1e)\n", difference,
           bound());
    return difference <= bound() ? 0 : 1;
}

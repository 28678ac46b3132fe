/* 02_cached_decode.c: a sequence that grows token by token, its keys and values kept in a cache.
 *
 * The language model is one layer of two heads, whose vectors are made here instead of
 * learned, so that one can see why each weight is what it is:
 *   - head 0 asks "what came after this token before?": an induction head (Olsson et al. 2022).
 *     Its keys say which token came before, its values which token this is.
 *   - head 1 asks "where was this token before?": its keys and values say which token this is.
 *
 * The prompt is attended to in one call, then each new token in a call of its own, a single query
 * against all the keys in the cache. Causal bottom-right is right for both: the last query stands
 * at the last key. In the end the same sequence in one call must give the same output and weights.
 */
#include <attn/attn.h>

#include <math.h>
#include <stdio.h>

enum { HEADS = 2, WIDTH = 32, CAPACITY = 20, VOCABULARY = 7 };

static const char *const word[VOCABULARY] = {"do", "re", "mi", "fa", "sol", "la", "si"};
static const int prompt[] = {0, 1, 2, 3, 4, 5, 6, 0};
enum { PROMPT_LENGTH = sizeof prompt / sizeof prompt[0] };

/* Every vector here is a token's embedding, whose elements lie within [-1, 1]. */
static float embedding[VOCABULARY + 1][WIDTH];
enum { NO_TOKEN = VOCABULARY }; /* what stands before the first token */

/* Room for CAPACITY tokens; the first `length` of each head are in use. */
static struct {
    int64_t length;
    int token[CAPACITY];
    float query[HEADS][CAPACITY][WIDTH]; /* kept for the check in the end alone */
    float key[HEADS][CAPACITY][WIDTH];
    float value[HEADS][CAPACITY][WIDTH];
} cache;

/* Results of all positions, by the cache and in one call. Rows of weights end at CAPACITY. */
typedef struct {
    float output[HEADS][CAPACITY][WIDTH];
    float weights[HEADS][CAPACITY][CAPACITY];
} results;

static void make_embedding(void) {
    uint32_t state = 1;
    for (int t = 0; t <= VOCABULARY; t++)
        for (int c = 0; c < WIDTH; c++) {
            state = state * 1664525u + 1013904223u; /* Numerical Recipes, 7.1 */
            embedding[t][c] = (float)(state >> 8) / 8388608.0f - 1.0f;
        }
}

static void append(int token) {
    const int64_t i = cache.length++;
    const int before = i == 0 ? NO_TOKEN : cache.token[i - 1];
    cache.token[i] = token;
    for (int c = 0; c < WIDTH; c++) {
        cache.query[0][i][c] = cache.query[1][i][c] = embedding[token][c];
        cache.key[0][i][c] = embedding[before][c];
        cache.key[1][i][c] = embedding[token][c];
        cache.value[0][i][c] = cache.value[1][i][c] = embedding[token][c];
    }
}

/* [1, HEADS, rows, columns] of an array whose heads are CAPACITY rows of `pitch` elements apart. */
static attn_tensor view(float *first, int64_t rows, int64_t columns, int64_t pitch) {
    attn_tensor t = attn_tensor_f32(first, 1, HEADS, rows, columns);
    t.stride[2] = pitch;
    t.stride[1] = CAPACITY * pitch;
    return t;
}

/* Attends from the cache's positions first .. length-1 to all that is in it. */
static bool attend(int64_t first, results *r) {
    const int64_t n_query = cache.length - first, n_key = cache.length;
    const attn_problem p = {
        .query = view(cache.query[0][first], n_query, WIDTH, WIDTH),
        .key = view(cache.key[0][0], n_key, WIDTH, WIDTH),
        .value = view(cache.value[0][0], n_key, WIDTH, WIDTH),
        .score = {.scale = 1},
        .mask = {.causal = true, .alignment = ATTN_ALIGN_BOTTOM_RIGHT},
        .output = view(r->output[0][first], n_query, WIDTH, WIDTH),
        .weights = view(r->weights[0][first], n_query, n_key, CAPACITY),
    };
    if (attn_forward(NULL, &p) == ATTN_OK) return true;
    fprintf(stderr, "attn_forward: %s\n", attn_error_message());
    return false;
}

/* The token whose embedding is most like head 0's output at the last position. */
static int predict(const results *r) {
    const float *const output = r->output[0][cache.length - 1];
    int best = 0;
    float best_likeness = -INFINITY;
    for (int t = 0; t < VOCABULARY; t++) {
        float likeness = 0;
        for (int c = 0; c < WIDTH; c++) likeness += output[c] * embedding[t][c];
        if (likeness > best_likeness) best = t, best_likeness = likeness;
    }
    return best;
}

static void print_step(const results *r, int next) {
    const int64_t i = cache.length - 1;
    printf("%-4s looks at", word[cache.token[i]]);
    for (int64_t j = 0; j <= i; j++) {
        const double w = (double)r->weights[0][i][j];
        if (w >= 0.1) printf("  %s@%d (%.2f)", word[cache.token[j]], (int)j, w);
    }
    printf("  so next: %s\n", word[next]);
}

/* How far two float32 computations of one element may lie apart. With u = 2^-24, all inputs within
 * [-1, 1] and scale 1, a score is at most WIDTH, and each of its terms passes at most WIDTH + 4
 * roundings; its distance from the maximum, at most 2 WIDTH, is rounded once; exp is 4 u off. A
 * weight takes such an error twice, as numerator and in the sum. 2 CAPACITY + 2 roundings cover
 * the sum with its rescaling and the division, as many the aggregation. Both may be off by that. */
static double bound(void) {
    const double u = ldexp(1, -24);
    const double of_score = (WIDTH * (WIDTH + 4) + 2 * WIDTH + 4) * u;
    return 2 * expm1(2 * of_score + (4 * CAPACITY + 4) * u);
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
    static results step, whole;
    make_embedding();
    for (int i = 0; i < PROMPT_LENGTH; i++) append(prompt[i]);
    if (!attend(0, &step)) return 1;

    for (;;) {
        const int next = predict(&step);
        print_step(&step, next);
        if (cache.length == CAPACITY) break;
        append(next);
        if (!attend(cache.length - 1, &step)) return 1;
    }

    if (!attend(0, &whole)) return 1;
    const double output = largest_difference(&step.output[0][0][0], &whole.output[0][0][0],
                                             sizeof step.output / sizeof(float));
    const double weights = largest_difference(&step.weights[0][0][0], &whole.weights[0][0][0],
                                              sizeof step.weights / sizeof(float));
    printf("step by step against the whole: output differs by %.1e, weights by %.1e "
           "(rounding allows %.1e)\n",
           output, weights, bound());
    return output <= bound() && weights <= bound() ? 0 : 1;
}

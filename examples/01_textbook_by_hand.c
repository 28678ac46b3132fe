/* 01_textbook_by_hand.c: one query, three keys, three values; every number on the way.
 *
 *     cc -Iinclude examples/01_textbook_by_hand.c -lattn -lm && ./a.out
 *
 * The query is compared with each key (SCORE), the scores become shares of one (WEIGH), and the
 * values are mixed by those shares (AGGREGATE). The scores are printed by hand, as they are all
 * whole numbers; the weights and the output come from attn_forward, which most fused kernels would
 * give you only half of. */
#include <stdio.h>

#include <attn/attn.h>

enum { KEYS = 3, WIDTH = 3 };

static const float query[WIDTH] = {1, 0, 1};
static const float keys[KEYS][WIDTH] = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
static const float values[KEYS][WIDTH] = {{.1f, .2f, .3f}, {.4f, .5f, .6f}, {.7f, .8f, .9f}};

static void print_row(const char *before, const float *row, const char *after) {
    printf("%s[%g, %g, %g]%s", before, (double)row[0], (double)row[1], (double)row[2], after);
}

static void print_scores(void) {
    print_row("query ", query, "\n\nSCORE: the dot product of the query with each key\n");
    for (int j = 0; j < KEYS; j++) {
        float score = 0;
        for (int c = 0; c < WIDTH; c++) score += query[c] * keys[j][c];
        print_row("  key ", keys[j], "");
        printf("  score %g\n", (double)score);
    }
}

static void print_weights(const float *weights, float lse) {
    printf("\nWEIGH: exp(score) over the sum of exp(score), whose logarithm is %.6f\n",
           (double)lse);
    for (int j = 0; j < KEYS; j++) {
        print_row("  value ", values[j], "");
        printf("  weight %.6f\n", (double)weights[j]);
    }
}

int main(void) {
    float weights[KEYS], output[WIDTH], lse = 0;
    const attn_problem problem = {
        .query = attn_tensor_f32(query, 1, 1, 1, WIDTH), /* batch, heads, length, width */
        .key = attn_tensor_f32(keys[0], 1, 1, KEYS, WIDTH),
        .value = attn_tensor_f32(values[0], 1, 1, KEYS, WIDTH),
        .score = {.scale = 1}, /* the plain dot product; the default is 1/sqrt(width) */
        .output = attn_tensor_f32(output, 1, 1, 1, WIDTH),
        .lse = attn_tensor_f32(&lse, 1, 1, 1, 1),
        .weights = attn_tensor_f32(weights, 1, 1, 1, KEYS),
    };
    if (attn_forward(NULL, &problem) != ATTN_OK) {
        fprintf(stderr, "%s\n", attn_error_message());
        return 1;
    }
    print_scores();
    print_weights(weights, lse);
    printf("\nAGGREGATE: the values, each times its weight, added up\n");
    printf("  output [%.6f, %.6f, %.6f]\n", (double)output[0], (double)output[1],
           (double)output[2]);
    return 0;
}

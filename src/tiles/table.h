/* table.h: what a tile function is. One table per instruction set and element type.
 *
 * A tile is a block of keys by a block of queries, held transposed: element [k][q] at k*width + q.
 * Queries are in the lanes of vectors, so that a query's arithmetic never depends on its neighbours
 * (results then do not depend on how queries are grouped) and softmax has no horizontal step.
 * `width` is the number of queries rounded up to whole vectors, at most `block`.
 *
 * A tile of few queries is held the other way, element [q][k] at q*width + k, and `width` is the
 * number of keys rounded up to whole vectors: keys and features are in the lanes. Functions for it
 * end in _few; the ones that work element by element serve both.
 *
 * Tiles and per-query rows are scratch, aligned to 64 bytes; tensors of the caller (key, value,
 * source, target) need be aligned to their elements alone, and no function reads or writes beyond
 * rows x columns of them.
 * Pointers to elements are void: the table says which type they have. Strides count elements.
 *
 * Scores are weighed in base 2: natural scores times log2(e). The exponential is then exp2. */
#ifndef ATTN_TILES_TABLE_H
#define ATTN_TILES_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define ATTN_LOG2_E 1.44269504088896340736
#define ATTN_LN_2 0.69314718055994530942

/* Up to here a polynomial is tanh. */
#define ATTN_NEAR_ZERO 0.625

enum { ATTN_SOME_OPEN = 1, ATTN_SOME_SHUT = 2 };

/* The running result of an online softmax: per row the maximum score m, the sum of exp2(score - m),
 * the moment sum of exp2(score - m) (score - m), or NULL where nobody asks for it, and the output, not
 * yet divided by the sum, as [feature][row], or [row][feature] in tiles of few. */
typedef struct {
    void *maximum, *sum, *moment, *output;
} attn_partial;

/* Weights that are a function of their own score. */
typedef enum {
    ATTN_WEIGH_SIGMOID,
    ATTN_WEIGH_RELU,
    ATTN_WEIGH_RELU_SQUARED,
    ATTN_WEIGH_LINEAR
} attn_elementwise;

/* Weights that are max(factor*score - base - threshold, 0) to a power: 1, 2, or any exponent. */
typedef enum { ATTN_POWER_ONE, ATTN_POWER_TWO, ATTN_POWER_ANY } attn_power;

typedef struct {
    attn_power power;
    double exponent, factor;
    void *base, *threshold, *step, *value, *slope; /* [row] */
} attn_rows_of_threshold;

/* Where the noise of a tile's element (line, lane) comes from. */
typedef struct {
    uint32_t key[2];
    uint32_t first_line, first_lane;
    bool lanes_are_keys, second_word;
} attn_noise;

/* Gradients of pairs whose slopes are no products, see pairwise.h. Sums lie as what they are sums for,
 * rows of whole vectors; d is whole vectors. gradient[k*gradient_key_stride + r*gradient_row_stride]. */
typedef enum {
    ATTN_PAIRWISE_DISTANCE,
    ATTN_PAIRWISE_TANH,
    ATTN_PAIRWISE_TANH_NEAR, /* no sum is beyond ATTN_NEAR_ZERO */
    ATTN_PAIRWISE_EXPONENTIALS
} attn_pairwise;

typedef struct {
    attn_pairwise kind;
    bool
        shared; /* EXPONENTIALS: four keys share a division, so no product of their terms overflows */
    const void *query, *key, *gradient;
    void *query_sums, *key_sums, *weight_sums; /* DISTANCE has no weight_sums */
    int64_t query_stride, key_stride, gradient_key_stride, gradient_row_stride;
    int keys, rows, d;
} attn_pairwise_tile;

typedef struct attn_tiles {
    int element_size;
    int lanes; /* queries in a vector */
    int block; /* queries in a full tile: a multiple of lanes */

    /* target[c*target_stride + r] = source[r*row_stride + c*column_stride] * factor: into lanes. */
    void (*load_transposed)(void *target, int64_t target_stride, const void *source,
                            int64_t row_stride, int64_t column_stride, int rows, int columns,
                            double factor);

    /* target[r*row_stride + c*column_stride] = source[c*source_stride + r] * factor[r]: out of
     * them. */
    void (*store_transposed)(void *target, int64_t row_stride, int64_t column_stride,
                             const void *source, int64_t source_stride, int rows, int columns,
                             const void *factor);

    /* target[r*row_stride + c*column_stride] = source[r*source_stride + c] * factor[r]. */
    void (*store_rows)(void *target, int64_t row_stride, int64_t column_stride, const void *source,
                       int64_t source_stride, int rows, int columns, const void *factor);

    /* target[r*target_stride + c] = source[r*row_stride + c*column_stride] * factor. */
    void (*load_rows)(void *target, int64_t target_stride, const void *source, int64_t row_stride,
                      int64_t column_stride, int rows, int columns, double factor);

    /* target[r*row_stride + c*column_stride] *= factor[r], and = 0. */
    void (*scale_rows)(void *target, int64_t row_stride, int64_t column_stride, int rows,
                       int columns, const void *factor);
    void (*zero_rows)(void *target, int64_t row_stride, int64_t column_stride, int rows,
                      int columns);
    void (*fill)(void *target, int64_t stride, int64_t count, double value);

    /* SCORE: scores[k][q] = sum over f of key[k*key_stride + f] * query[f*width + q]. */
    void (*score)(void *scores, const void *query, const void *key, int64_t key_stride, int keys,
                  int d, int width);

    /* scores[q][k], query[q][f] at q*query_stride + f, filled up with zeros to whole vectors. */
    void (*score_few)(void *scores, const void *query, int64_t query_stride, const void *key,
                      int64_t key_stride, int keys, int d, int rows, int width);

    /* The same with the sum of (key - query)^2. */
    void (*score_distance)(void *scores, const void *query, const void *key, int64_t key_stride,
                           int keys, int d, int width);
    void (*score_distance_few)(void *scores, const void *query, int64_t query_stride,
                               const void *key, int64_t key_stride, int keys, int d, int rows,
                               int width);

    /* scores[k][q] = first + factor * sum over f of 1 / (inverse_weight[f] + key[k][f]*query[f][q]),
     * `group` features (4, 2 or 1, of which d is a multiple) to a division; in few, so many vectors of
     * features, d being a multiple of the lanes. See additive.h. */
    void (*score_additive)(void *scores, const void *query, const void *key, int64_t key_stride,
                           const void *inverse_weight, int group, int keys, int d, int width,
                           double first, double factor);
    void (*score_additive_few)(void *scores, const void *query, int64_t query_stride,
                               const void *key, int64_t key_stride, const void *inverse_weight,
                               int group, int keys, int d, int rows, int width, double first,
                               double factor);

    /* scores[k][q] = sum over f of weight[f] * tanh(key[k][f] + query[f][q]); near: no sum is beyond
     * ATTN_NEAR_ZERO. In few, d is a multiple of the lanes. */
    void (*score_tanh)(void *scores, const void *query, const void *key, int64_t key_stride,
                       const void *weight, bool near, int keys, int d, int width);
    void (*score_tanh_few)(void *scores, const void *query, int64_t query_stride, const void *key,
                           int64_t key_stride, const void *weight, int keys, int d, int rows,
                           int width);

    /* target = exp(2 source), times column_factor[c] or row_factor[r] if not NULL; rows `stride` apart
     * with room for whole vectors, |source| at most 43 (f32) or 354 (f64). In place or not. */
    void (*exp_twice)(void *target, const void *source, int64_t stride, int rows, int columns,
                      const void *column_factor, const void *row_factor);
    /* lowest[c], highest[c] = of source[r*row_stride + c*column_stride] over all r. */
    void (*column_ranges)(void *lowest, void *highest, const void *source, int64_t row_stride,
                          int64_t column_stride, int rows, int columns);
    /* target[r*target_stride + c] = source[r*row_stride + c*column_stride] / the row's norm. */
    void (*normalize_rows)(void *target, int64_t target_stride, const void *source,
                           int64_t row_stride, int64_t column_stride, int rows, int columns);

    /* scores *= factor; scores = cap * tanh(scores / cap). */
    void (*multiply)(void *scores, int keys, int width, double factor);
    void (*softcap)(void *scores, int keys, int width, double cap);

    /* scores += bias, element by element. A bias of -infinity makes -infinity of anything; a finite
     * one never does (sums stop at -2^28 in float32, -2^57 in float64). */
    void (*add_bias)(void *scores, const void *bias, int keys, int width);

    /* scores[k][q] -= slope[q] * |position[q] - k|. */
    void (*add_alibi)(void *scores, int keys, int width, const void *slope, const void *position);

    /* scores[k*key_stride + r*row_stride] += terms[k*term_key_stride + r*term_row_stride +
     * entry[k - r]*entry_stride]; and the reverse, sums[entry[k - r]*entry_stride + r*sum_row_stride]
     * += weights[...] * factor[r]. */
    void (*add_relative)(void *scores, int64_t key_stride, int64_t row_stride, int keys, int rows,
                         const void *terms, int64_t term_key_stride, int64_t term_row_stride,
                         int64_t entry_stride, const int32_t *entry);
    void (*sum_relative)(void *sums, int64_t entry_stride, int64_t sum_row_stride,
                         const void *weights, int64_t key_stride, int64_t row_stride,
                         const void *factor, int keys, int rows, const int32_t *entry);

    /* Noise: target[line][lane] within 0 and 1, for each pair its own; weights below `chance` of it to
     * 0 and the others times 1/(1 - chance); scores plus -log(-log(uniform)). */
    void (*uniform)(void *target, int lines, int width, const attn_noise *noise);
    void (*drop)(void *weights, const void *uniform, int lines, int width, double chance);
    void (*add_gumbel)(void *scores, const void *uniform, int lines, int width);

    /* weights[k][q] *= exp2(-sharpness * (position[q] - k)^2). */
    void (*multiply_gaussian)(void *weights, int keys, int width, const void *position,
                              double sharpness);

    /* -infinity where not first[q] <= k < last[q]; and where the ids differ. */
    void (*mask_range)(void *scores, int keys, int width, const int32_t *first,
                       const int32_t *last);
    void (*mask_documents)(void *scores, int keys, int width, const int32_t *key_ids,
                           const int32_t *query_ids);

    /* target[r*target_stride + c] = allowed ? 0 : -infinity. Returns what it met: ATTN_SOME_OPEN,
     * ATTN_SOME_SHUT, or both added. */
    int (*load_allowed)(void *target, int64_t target_stride, const uint8_t *allowed,
                        int64_t row_stride, int64_t column_stride, int rows, int columns);

    /* WEIGH, online: raises maximum[q] to the tile's highest factor*score, makes weights
     * exp2(factor*score - maximum) of the scores in place, and sets shrink[q] = exp2(old maximum -
     * new), sum[q] = sum[q]*shrink + the tile's, and likewise moment[q] unless it is NULL. factor > 0;
     * it joins here, in a fused multiply-add, because a factor inside the query would be one more
     * rounding of every score. In few, lanes beyond the keys are -infinity. */
    void (*weigh)(void *scores, int keys, int width, double factor, void *maximum, void *sum,
                  void *moment, void *shrink);
    void (*weigh_few)(void *scores, int rows, int width, double factor, void *maximum, void *sum,
                      void *moment, void *shrink);
    /* entropy[q] of a final total; the sink[q], in base 2, has no weight. */
    void (*entropies)(void *entropy, const attn_partial *total, const void *sink, int rows);

    /* WEIGH, element by element: weights of factor*score + bias. */
    void (*weigh_each)(void *scores, int keys, int width, attn_elementwise kind, double factor,
                       double bias);

    /* WEIGH by a threshold, see sparse.h: greatest scores (tile_maximum may be NULL); the start; sums
     * over tiles; a step towards the threshold; weights in place, which add to value. */
    void (*maxima)(const void *scores, int keys, int width, void *tile_maximum, void *maximum);
    void (*maxima_few)(const void *scores, int keys, int rows, int width, void *tile_maximum,
                       void *maximum);
    void (*begin_threshold)(const void *maximum, int width, const attn_rows_of_threshold *rows);
    bool (*any_above)(const void *tile_maximum, int width, const attn_rows_of_threshold *rows);
    void (*power_sums)(const void *scores, int lines, int width,
                       const attn_rows_of_threshold *rows);
    void (*power_sums_few)(const void *scores, int lines, int width,
                           const attn_rows_of_threshold *rows);
    bool (*move_threshold)(int width, const attn_rows_of_threshold *rows);
    void (*power_weights)(void *scores, int lines, int width, const attn_rows_of_threshold *rows);
    void (*power_weights_few)(void *scores, int lines, int width,
                              const attn_rows_of_threshold *rows);
    void (*hardmax)(void *scores, int64_t key_stride, int64_t row_stride, int keys, int rows,
                    const void *maximum, void *value);

    /* AGGREGATE: output[f][q] = output[f][q]*shrink[q] + sum over k of weights[k][q] *
     * value[k][f]. */
    void (*aggregate)(void *output, const void *shrink, const void *weights, const void *value,
                      int64_t value_stride, int keys, int d, int width);

    /* output[q][f] at q*output_stride + f, with room for whole vectors. */
    void (*aggregate_few)(void *output, int64_t output_stride, const void *shrink,
                          const void *weights, const void *value, int64_t value_stride, int keys,
                          int d, int rows, int width);

    /* The same where values may be NaN or infinite, in either layout: leaves out pairs whose mask
     * is -infinity. Strides of features and rows of the output, of keys and rows of the tiles. */
    void (*aggregate_visible)(void *output, int64_t feature_stride, int64_t output_row_stride,
                              const void *shrink, const void *weights, const void *mask,
                              int64_t key_stride, int64_t row_stride, const void *value,
                              int64_t value_stride, int keys, int d, int rows);
    bool (*all_finite)(const void *values, int64_t row_stride, int rows, int columns);

    /* Adds a second partial result to a first. An empty one changes no bit. */
    void (*merge)(const attn_partial *to, const attn_partial *from, int d, int width);
    void (*merge_few)(const attn_partial *to, const attn_partial *from, int64_t output_stride,
                      int d, int rows);

    /* factor[q] = exp2(from[q] - to[q]) * by[q]; by may be NULL (one). 0 where from is -infinity. */
    void (*rescale)(void *factor, const void *from, const void *to, const void *by, int width);

    /* inverse[q] = 1/sum[q] (0 for an empty row); lse[q] = ln(2^maximum * sum). Returns whether any
     * of the first `rows` sums is NaN. */
    bool (*finish)(void *inverse, void *lse, const void *maximum, const void *sum, int rows,
                   int width);

    /* target[r*row_stride + c*column_stride] = 0 where the mask of key c and row r is -infinity. */
    void (*zero_masked)(void *target, int64_t row_stride, int64_t column_stride, const void *mask,
                        int64_t mask_key_stride, int64_t mask_row_stride, int rows, int columns);

    /* OBSERVE, tiles of weights that factor[row] makes final (views.h). The `ranks` greatest weights of
     * each query and their keys, as lists [rank][row], rows `stride` apart. */
    void (*begin_top)(void *best, void *best_keys, int64_t count);
    void (*top)(void *best, void *best_keys, int ranks, int stride, const void *weights,
                const void *factor, int64_t first_key, int keys, int width);
    void (*top_few)(void *best, void *best_keys, int ranks, int stride, const void *weights,
                    const void *factor, int64_t first_key, int keys, int rows, int width);
    int64_t (*top_key)(const void *best_keys, int64_t at);

    /* received[k] = the greatest of it and the weights of key k. */
    void (*received_maxima)(void *received, const void *weights, const void *factor, int keys,
                            int rows, int width);
    void (*received_maxima_few)(void *received, const void *weights, const void *factor, int keys,
                                int rows, int width);
    void (*accumulate)(void *target, const void *source, int64_t count);
    void (*accumulate_maxima)(void *target, const void *source, int64_t count);

    /* sums[i/block_queries*row_stride + j/block_keys*column_stride] += rows[r*stride + c], where i and
     * j count from first_query and first_key. */
    void (*add_block_sums)(void *sums, int64_t row_stride, int64_t column_stride, const void *rows,
                           int64_t stride, int queries, int keys, int64_t first_query,
                           int64_t first_key, int64_t block_queries, int64_t block_keys);

    /* sums[row] += sum of weight * |position[row] - k|; -= sum of weight * log2(weight). */
    void (*add_distances)(void *sums, const void *weights, const void *factor, const void *position,
                          int keys, int width);
    void (*add_distances_few)(void *sums, const void *weights, const void *factor,
                              const void *position, int keys, int rows, int width);
    void (*add_entropies)(void *sums, const void *weights, const void *factor, int keys, int width);
    void (*add_entropies_few)(void *sums, const void *weights, const void *factor, int keys,
                              int rows, int width);

    /* Rows to another type, by the size of its elements: bytes of 1/255, binary16, float or double. */
    void (*narrow)(void *target, int element_size, int64_t row_stride, int64_t column_stride,
                   const void *source, int64_t source_stride, int rows, int columns);

    /* DISTRIBUTE, of the backward: sums[k*sums_stride + f] += sum over r of tile[k*key_stride +
     * r*row_stride] * source[r*source_stride + f], for d features, whole vectors. The second leaves out
     * pairs whose mask is -infinity, or, if it is NULL, whose element of the tile is 0. See gradient.h for all that follow. */
    void (*distribute)(void *sums, int64_t sums_stride, const void *tile, int64_t key_stride,
                       int64_t row_stride, const void *source, int64_t source_stride, int keys,
                       int d, int rows);
    void (*distribute_visible)(void *sums, int64_t sums_stride, const void *tile, const void *mask,
                               int64_t key_stride, int64_t row_stride, const void *source,
                               int64_t source_stride, int keys, int d, int rows);

    /* WEIGH, where base[row] is known: weights exp2(factor*score - base) in place; and back:
     * gradient = slope * (gradient - mean[row]); sparse: 0 where the slope is. Or both, the slope being the weight. */
    void (*weigh_known)(void *scores, int lines, int width, bool few, double factor,
                        const void *base);
    void (*center)(void *gradient, const void *slope, int lines, int width, bool few, bool sparse,
                   const void *mean);
    void (*weigh_and_center)(void *scores, void *gradient, int lines, int width, bool few,
                             double factor, const void *base, const void *mean);

    /* Back through weigh_each: gradient *= slope at factor*score + bias. The slopes that power_weights
     * has, in place of the scores. */
    void (*slope_each)(void *gradient, const void *scores, int lines, int width,
                       attn_elementwise kind, double factor, double bias);
    void (*power_slopes)(void *scores, int lines, int width, bool few,
                         const attn_rows_of_threshold *rows);

    void (*multiply_rows)(void *tile, int lines, int width, bool few, const void *factor);
    /* gradient -= flow[row] * (ln(weight) + 1) where the weight is not 0. */
    void (*add_entropy_gradient)(void *gradient, const void *weights, int lines, int width,
                                 bool few, const void *flow);

    /* sums[row] += sum over k of a * b where a is not 0, or of a if b is NULL. products[row] = dot(a[row], b[row]).
     * target[r*row_stride + c*column_stride] += source[r*source_stride + c], over either if its stride
     * is 0. */
    void (*row_products)(void *sums, const void *a, const void *b, int lines, int width, bool few);
    void (*dot_rows)(void *products, const void *a, int64_t a_row, int64_t a_column, const void *b,
                     int64_t b_row, int64_t b_column, int rows, int columns);
    void (*add_rows)(void *target, int64_t row_stride, int64_t column_stride, const void *source,
                     int64_t source_stride, int rows, int columns);

    /* Back through softcap: gradient *= 1 - (capped/cap)^2; and how it changes with the cap, in place of
     * the raw scores. */
    void (*slope_softcap)(void *gradient, const void *capped, int lines, int width, double cap);
    void (*slope_of_cap)(void *raw, const void *capped, int lines, int width, double cap);

    /* Back through normalize_rows, in place; `units` is room for a row. */
    void (*normalize_gradient)(void *gradient, int64_t gradient_stride, const void *source,
                               int64_t row_stride, int64_t column_stride, void *units, int rows,
                               int columns);
    void (*pairwise_gradient)(const attn_pairwise_tile *tile);
} attn_tiles;

#if defined(__GNUC__) && defined(__x86_64__) && !defined(ATTN_NO_VECTORS)
#define ATTN_HAVE_X86_TABLES
#endif

extern const attn_tiles attn_tiles_f32__generic, attn_tiles_f64__generic;
extern const attn_tiles attn_tiles_f32__neon, attn_tiles_f64__neon;
extern const attn_tiles attn_tiles_f32__avx2, attn_tiles_f64__avx2;
extern const attn_tiles attn_tiles_f32__avx512, attn_tiles_f64__avx512;

/* Keys in a tile: sums over keys start afresh at every multiple of it. A multiple of the register
 * tiles' heights. 192 keys x 64 queries of f32 are 48 KiB: they overflow a first-level cache of
 * 32 KiB, but the second level keeps up, and half as many tiles have half the overhead of 96. */
enum { ATTN_KEY_BLOCK = 192 };

#endif

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

enum { ATTN_SOME_OPEN = 1, ATTN_SOME_SHUT = 2 };

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

    /* scores = cap * tanh(scores). */
    void (*softcap)(void *scores, int keys, int width, double cap);

    /* scores += log2(e) * bias, element by element. A bias of -infinity makes -infinity of
     * anything; a finite one never does (it stops at the lowest finite number). */
    void (*add_bias)(void *scores, const void *bias, int keys, int width);

    /* scores[k][q] -= slope[q] * |position[q] - k|. */
    void (*add_alibi)(void *scores, int keys, int width, const void *slope, const void *position);

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
     * new), sum[q] = sum[q]*shrink + the tile's. factor > 0; it joins here, in a fused
     * multiply-add, because a factor inside the query would be one more rounding of every score. */
    void (*weigh)(void *scores, int keys, int width, double factor, void *maximum, void *sum,
                  void *shrink);
    void (*weigh_few)(void *scores, int keys, int rows, int width, double factor, void *maximum,
                      void *sum, void *shrink);

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

    /* Adds a second partial result (maximum, sum, output) to a first. An empty one changes no bit. */
    void (*merge)(void *output, void *maximum, void *sum, const void *output2, const void *maximum2,
                  const void *sum2, int d, int width);
    void (*merge_few)(void *output, int64_t output_stride, void *maximum, void *sum,
                      const void *output2, const void *maximum2, const void *sum2, int d, int rows);

    /* factor[q] = exp2(from[q] - to[q]) * by[q]; by may be NULL (one). 0 where from is -infinity. */
    void (*rescale)(void *factor, const void *from, const void *to, const void *by, int width);

    /* inverse[q] = 1/sum[q] (0 for an empty row); lse[q] = ln(2^maximum * sum). Returns whether any
     * of the first `rows` sums is NaN. */
    bool (*finish)(void *inverse, void *lse, const void *maximum, const void *sum, int rows,
                   int width);

    /* target[r*row_stride + c*column_stride] = 0 where the mask of key c and row r is -infinity. */
    void (*zero_masked)(void *target, int64_t row_stride, int64_t column_stride, const void *mask,
                        int64_t mask_key_stride, int64_t mask_row_stride, int rows, int columns);
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

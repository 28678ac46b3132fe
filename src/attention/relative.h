/* relative.h: tables whose entry depends on where a key stands relative to its query. */
#ifndef ATTN_ATTENTION_RELATIVE_H
#define ATTN_ATTENTION_RELATIVE_H

#include "attention/score.h"

/* After the queries of head g are loaded: content_bias, and the queries for the table of keys. */
void attn_relative_begin(attn_worker *w, const attn_block *b, int g);

/* Adds the terms of keys and queries to a tile of dot products with `key`. */
void attn_relative_scores(attn_worker *w, const attn_block *b, const attn_tile *tile,
                          const void *key, int64_t key_stride, void *scores);

/* Adds the table of biases. */
void attn_relative_bias(attn_worker *w, const attn_block *b, const attn_tile *tile, void *scores);

/* After a stretch of keys, with kept weights: adds the table of values, weighed, to space.stretch. */
void attn_relative_values(attn_worker *w, const attn_block *b, attn_key_range keys);

/* The entries of keys first_key .. first_key + keys - 1 of a tile against the queries of a head. */
typedef struct {
    const int32_t *of; /* of[k - r]: key k of these, row r of the head; less `first` */
    int first, count;  /* entries that occur */
} attn_entries;

attn_entries attn_relative_entries(attn_worker *w, const attn_block *b, const attn_tile *tile,
                                   int first_key, int keys);

/* Entries first .. of a head's table, feature by feature: where they lie, or packed in space.table. */
const void *attn_relative_rows(attn_worker *w, const attn_tensor *table, int64_t head, int first,
                               int count, int64_t *stride);

/* Where the table is not finite, sums by entry begin at -infinity, where they stay unless a visible pair
 * reaches them: then they begin at 0, and are summed as ever. So -infinity tells AGGREGATE, as of scores,
 * what to leave out. (A sum that overflows to -infinity is left out too.)
 * Sets to 0 what the visible pairs of a head and keys first_key .. first_key + keys - 1 reach, of
 * sums[key][row][entry]; hidden: scores, or what attn_hidden_tile made, of the head's rows. */
void attn_relative_reach(const attn_worker *w, const attn_block *b, const attn_tile *tile,
                         const void *hidden, int first_key, int keys, const int32_t *of, void *sums,
                         int64_t entry_stride, int64_t row_stride, int64_t key_stride);

#endif

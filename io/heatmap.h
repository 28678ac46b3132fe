/* heatmap.h: a matrix of weights, made small enough to be drawn. */
#ifndef IO_HEATMAP_H
#define IO_HEATMAP_H

#include "tokens.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum io_reduction { IO_REDUCE_MAX, IO_REDUCE_MEAN } io_reduction;

typedef struct io_heatmap {
    const char *title;
    int64_t queries, keys;             /* of the weights */
    int64_t block_rows, block_columns; /* a cell stands for so many queries and keys; 1, 1: exact */
    io_reduction reduction;            /* how they were made one */
    int64_t rows, columns;             /* of cells */
    float *cells;                      /* [rows][columns] */
    float low, high;                   /* the ends of the colour scale */
    const io_tokens *query_tokens, *key_tokens; /* count 0: none */
    const int64_t *path; /* [queries][2]: first and last key of a line over it, -1: none; or NULL */
} io_heatmap;

/* Where a cell is on the colour scale, 0 to 1; NaN stays NaN. */
double io_heatmap_share(const io_heatmap *map, int64_t row, int64_t column);

/* "each cell is the largest of 4 x 4 weights", "" if each is one weight. */
void io_heatmap_note(const io_heatmap *map, char *text, unsigned size);

/* The label of row or column i: its token (with a mark if it stands for more) or its number. */
void io_heatmap_label(const io_tokens *tokens, int64_t block, int64_t i, char *text, unsigned size);

#endif

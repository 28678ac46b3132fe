/* picture.h: pictures as PNG or SVG, by cairo, which also brings the fonts.
 *
 * Needs to be compiled with ATTN_HAVE_CAIRO (and cairo): without it there are no pictures. All text
 * must be UTF-8. */
#ifndef IO_PICTURE_H
#define IO_PICTURE_H

#include "error.h"
#include "heatmap.h"
#include "target.h"

/* Sizes beyond which a picture would be finer than its pixels. */
enum {
    IO_PICTURE_CELLS_MAX = 1400, /* cells of a heat map, a side */
    IO_PICTURE_BARS_MAX = 1200,
    IO_PICTURE_THUMB_CELLS = 96 /* cells of a map in a grid, a side */
};

/* Lines from queries, on the left, to keys, on the right. */
typedef struct io_link {
    int64_t query, key;
    float weight;
    int hue; /* of io_hue */
} io_link;

typedef struct io_lines {
    const char *title;
    int64_t queries, keys;
    const io_tokens *query_tokens, *key_tokens; /* count 0: none */
    const io_link *link;
    int64_t count;
    float high;                   /* the weight that is drawn opaque */
    bool bundled;                 /* a line stands for all from like places to like places */
    const char *const *hue_names; /* [hues]; drawn as a legend if there are several */
    int hues;
} io_lines;

/* A number for each key or query. */
typedef struct io_bars {
    const char *title, *label;
    const io_tokens *tokens; /* count 0: none */
    int64_t block;           /* tokens that a bar stands for: 1, or the greatest of so many */
    const float *value;      /* [count] */
    int64_t count;
} io_bars;

/* Small heat maps, [rows][columns]. */
typedef struct io_grid {
    const char *title;
    int64_t rows, columns;
    const io_tokens *row_names, *column_names;
    const io_heatmap *map;
} io_grid;

/* Heat maps one below the other, with a number in each cell. */
typedef struct io_tables {
    const char *title;
    const io_heatmap *map; /* [count], each with its own title */
    int count;
} io_tables;

typedef enum io_picture_kind { IO_MATRIX, IO_LINES, IO_BARS, IO_GRID, IO_TABLES } io_picture_kind;

typedef struct io_picture {
    io_picture_kind kind;
    bool svg, dark;
    union {
        const io_heatmap *map;
        const io_lines *lines;
        const io_bars *bars;
        const io_grid *grid;
        const io_tables *tables;
    } of;
} io_picture;

/* Whether this build can draw pictures. */
bool io_picture_available(void);

/* Draws the picture into an open target. */
bool io_picture_write(const io_picture *picture, io_target *target, io_error *error);

#endif

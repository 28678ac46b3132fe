/* html.h: views of the weights as one self-contained page, to pick heads and hover tokens in.
 *
 * The page holds numbers, not pictures of them: the weights themselves where there are few, else
 * sums over blocks, the strongest keys of each query, sums per key. It loads nothing, works without a
 * network, and follows the reader's light or dark preference. Text must be UTF-8. */
#ifndef IO_HTML_H
#define IO_HTML_H

#include "error.h"
#include "target.h"
#include "tokens.h"

#include <stdint.h>

enum {
    IO_HTML_WEIGHTS_MAX = 1 << 22, /* weights that a page holds as they are: some 22 MB of text */
    IO_HTML_BLOCKS = 64,           /* cells a side of the coarse matrix of more than that */
    IO_HTML_BYTES_MAX = 128 << 20, /* what the views of all heads may take, as text */
    IO_HTML_BARS_MAX = 16
};

typedef struct io_html_bars {
    const char *label;
    bool of_keys; /* a number for each key, else for each query */
} io_html_bars;

typedef struct io_html {
    const char *title, *note;
    const char *kind;        /* of view that is shown first: "matrix", "lines", "bars", ... */
    const io_tokens *layers; /* their names */
    const int64_t *heads;    /* their numbers */
    int64_t head_count;
    int64_t queries, keys;
    const io_tokens *query_tokens, *key_tokens; /* count 0: none */

    /* What each head has. */
    const char *matrix;    /* "weights", "blocks", "top" or "" for none */
    int64_t rows, columns; /* of "blocks", and what a cell is of: */
    int64_t block_queries, block_keys;
    int64_t top;  /* strongest keys of a query; 0: not there */
    bool weighed; /* their weights are */
    bool path;
    io_html_bars bars[IO_HTML_BARS_MAX];
    int bar_count;
    const char *const *statistic_names; /* [statistic_count] */
    const float *statistics;            /* [layers][heads][statistic_count]; NULL: none */
    int statistic_count;
} io_html;

/* Writes the page into an open target up to the heads. Then write the parts of each head, and end. */
bool io_html_begin(const io_html *page, io_target *target, io_error *error);
bool io_html_end(io_target *target, io_error *error);

/* A part by its name in the page's script. Numbers: 4 bytes each, as they are, or packed in 1 or 2
 * bytes, in as many steps between the lowest and the highest. Keys: 2 bytes or 4, see
 * io_html_key_bytes. */
bool io_html_numbers(io_target *target, const char *name, int64_t layer, int64_t head,
                     const float *numbers, int64_t count, int bytes, io_error *error);
bool io_html_keys(io_target *target, const char *name, int64_t layer, int64_t head,
                  const int64_t *keys, int64_t count, int bytes, io_error *error);

/* Bytes that a key takes: the number after the last stands for none. */
int io_html_key_bytes(int64_t keys);

#endif

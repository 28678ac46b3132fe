/* paint.h: what the painters of pictures share; private to io/. */
#ifndef IO_PAINT_H
#define IO_PAINT_H

#include "picture.h"

#include <cairo.h>

enum {
    PAINT_MARGIN = 16,
    PAINT_GAP = 6,         /* between labels and what they are of */
    PAINT_LABELED = 10,    /* pixels from which on each row has its label */
    PAINT_LABEL_MOST = 180 /* pixels of a label's length: longer ones are cut */
};
#define PAINT_TEXT 12.0
#define PAINT_TITLE 15.0

typedef struct painter {
    cairo_t *cairo;
    bool dark;
} painter;

/* A painter measures first, on a picture of no size, and then draws on one of that size. */
typedef struct paint_size {
    double width, height;
} paint_size;

typedef enum paint_ink { PAINT_PAPER, PAINT_LINE, PAINT_FAINT, PAINT_INK } paint_ink;

void paint_set_ink(const painter *p, paint_ink ink);
void paint_set_hue(const painter *p, int hue, double opacity);
double paint_text_width(const painter *p, const char *text);
void paint_text(const painter *p, double x, double y, const char *text);
void paint_text_right(const painter *p, double x, double y, const char *text);
void paint_frame(const painter *p, double x, double y, double width, double height);

/* The title at the top left, in ink, and a note, fainter, that ends at the bottom. */
void paint_words(const painter *p, const char *title, const char *note, double height);
double paint_title_width(const painter *p, const char *title);
double paint_note_width(const painter *p, const char *note);

/* The label of row i, cut with an ellipsis to `most` pixels, into text; returns its width. */
double paint_label(const painter *p, const io_tokens *tokens, int64_t block, int64_t i, double most,
                   char *text, size_t size);

/* The widest of every step-th label, at the current font size. */
double paint_widest(const painter *p, const io_tokens *tokens, int64_t block, int64_t count,
                    int64_t step);

/* All labels where rows have room; else those of some, at round steps. */
int64_t paint_label_step(int64_t count, double pixels);

/* An image of one pixel a cell, enlarged without smoothing; share gives its place on the scale. */
typedef struct paint_cells {
    int columns, rows;
    double (*share)(const void *argument, int row, int column);
    const void *argument;
} paint_cells;

void paint_image(const painter *p, const paint_cells *cells, double x, double y, double width,
                 double height);
void paint_map(const painter *p, const io_heatmap *map, double x, double y, double width,
               double height);

/* Two functions a kind of picture. */
paint_size paint_matrix_size(const painter *p, const io_heatmap *map);
void paint_matrix(const painter *p, const io_heatmap *map);
paint_size paint_lines_size(const painter *p, const io_lines *lines);
void paint_lines(const painter *p, const io_lines *lines);
paint_size paint_bars_size(const painter *p, const io_bars *bars);
void paint_bars(const painter *p, const io_bars *bars);
paint_size paint_grid_size(const painter *p, const io_grid *grid);
void paint_grid(const painter *p, const io_grid *grid);
paint_size paint_tables_size(const painter *p, const io_tables *tables);
void paint_tables(const painter *p, const io_tables *tables);

#endif

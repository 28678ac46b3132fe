/* paint_matrix.c: heat maps: one, a grid of small ones, tables with numbers. */
#ifdef ATTN_HAVE_CAIRO

#include "color.h"
#include "paint.h"

#include <math.h>
#include <stdio.h>

enum {
    PICTURE = 1000, /* pixels that the cells aim at, a side */
    CELL_MOST = 40, /* pixels of a cell's side, at most */
    BAR_WIDTH = 16  /* the legend */
};
static const double pi = 3.14159265358979323846;

/* ---------------------------------------------------------------------------------------------
 * One heat map
 * ------------------------------------------------------------------------------------------- */

/* Where everything goes, in pixels. */
typedef struct layout {
    double cell, label_size;
    double left, top; /* of the cells */
    double width, height;
    paint_size picture;
    int64_t row_step, column_step; /* a label every so many cells */
} layout;

/* What stands below the picture. */
static void describe(const io_heatmap *map, char *note, size_t size) {
    char reduction[128];
    io_heatmap_note(map, reduction, sizeof reduction);
    (void)snprintf(note, size, "rows: queries, columns: keys%s%s%s", *reduction ? "; " : "",
                   reduction, map->path ? "; line: alignment path" : "");
}

static layout plan(const painter *p, const io_heatmap *map) {
    const int64_t most = map->rows > map->columns ? map->rows : map->columns;
    layout l = {.cell = fmax(1, fmin(CELL_MOST, floor(PICTURE / (double)most)))};
    l.label_size = l.cell >= PAINT_LABELED ? fmin(13, fmax(8, l.cell * 0.72)) : PAINT_TEXT;
    l.row_step = paint_label_step(map->rows, l.cell);
    l.column_step = paint_label_step(map->columns, l.cell);
    cairo_set_font_size(p->cairo, l.label_size);
    l.width = l.cell * (double)map->columns;
    l.height = l.cell * (double)map->rows;
    l.left = ceil(PAINT_MARGIN + PAINT_GAP +
                  paint_widest(p, map->query_tokens, map->block_rows, map->rows, l.row_step));
    l.top = ceil(PAINT_MARGIN + 2.2 * PAINT_TITLE + PAINT_GAP +
                 paint_widest(p, map->key_tokens, map->block_columns, map->columns, l.column_step));
    const double legend = 2 * PAINT_GAP + BAR_WIDTH + 5 * PAINT_TEXT;
    char note[256];
    describe(map, note, sizeof note);
    l.picture.width = ceil(fmax(l.left + l.width + legend + PAINT_MARGIN,
                                fmax(paint_title_width(p, map->title), paint_note_width(p, note))));
    l.picture.height =
        ceil(l.top + fmax(l.height, 6 * PAINT_TEXT) + 2.6 * PAINT_TEXT + PAINT_MARGIN);
    return l;
}

static double bar_share(const void *unused, int row, int column) {
    (void)unused, (void)column;
    return 1 - row / 255.0;
}

static void draw_row_labels(const painter *p, const io_heatmap *map, const layout *l) {
    char text[512];
    for (int64_t i = 0; i < map->rows; i += l->row_step) {
        const double middle = l->top + ((double)i + 0.5) * l->cell;
        (void)paint_label(p, map->query_tokens, map->block_rows, i, PAINT_LABEL_MOST, text,
                          sizeof text);
        paint_text_right(p, l->left - PAINT_GAP, middle + 0.35 * l->label_size, text);
    }
}

static void draw_column_labels(const painter *p, const io_heatmap *map, const layout *l) {
    char text[512];
    for (int64_t j = 0; j < map->columns; j += l->column_step) {
        (void)paint_label(p, map->key_tokens, map->block_columns, j, PAINT_LABEL_MOST, text,
                          sizeof text);
        cairo_save(p->cairo);
        cairo_translate(p->cairo, l->left + ((double)j + 0.5) * l->cell + 0.35 * l->label_size,
                        l->top - PAINT_GAP);
        cairo_rotate(p->cairo, -pi / 2); /* upwards */
        paint_text(p, 0, 0, text);
        cairo_restore(p->cairo);
    }
}

static void draw_legend(const painter *p, const io_heatmap *map, const layout *l) {
    static const paint_cells scale = {1, 256, bar_share, NULL};
    char text[64];
    const double x = l->left + l->width + 2 * PAINT_GAP;
    const double height = fmax(l->height, 6 * PAINT_TEXT);
    paint_image(p, &scale, x, l->top, BAR_WIDTH, height);
    paint_frame(p, x, l->top, BAR_WIDTH, height);
    paint_set_ink(p, PAINT_INK);
    (void)snprintf(text, sizeof text, "%.3g", (double)map->high);
    paint_text(p, x + BAR_WIDTH + PAINT_GAP, l->top + 0.75 * PAINT_TEXT, text);
    (void)snprintf(text, sizeof text, "%.3g", (double)map->low);
    paint_text(p, x + BAR_WIDTH + PAINT_GAP, l->top + height, text);
}

/* A frame around the keys of each query on the path, in the middle of wider cells. */
static void draw_path(const painter *p, const io_heatmap *map, const layout *l) {
    const double across = l->cell / (double)map->block_columns;
    const double down = l->cell / (double)map->block_rows;
    cairo_new_path(p->cairo); /* text has left a point */
    paint_set_hue(p, IO_HUE_PATH, 1);
    cairo_set_line_width(p->cairo, fmin(2.5, fmax(1.5, l->cell / 8)));
    cairo_set_line_join(p->cairo, CAIRO_LINE_JOIN_ROUND);
    for (int64_t i = 0; i < map->queries; i++) {
        if (map->path[2 * i] < 0) continue;
        const double y = l->top + ((double)i + 0.5) * down;
        cairo_line_to(p->cairo, l->left + ((double)map->path[2 * i] + 0.5) * across, y);
        cairo_line_to(p->cairo, l->left + ((double)map->path[2 * i + 1] + 0.5) * across, y);
    }
    cairo_stroke(p->cairo);
}

paint_size paint_matrix_size(const painter *p, const io_heatmap *map) {
    return plan(p, map).picture;
}

void paint_matrix(const painter *p, const io_heatmap *map) {
    char note[256];
    const layout l = plan(p, map);
    paint_map(p, map, l.left, l.top, l.width, l.height);
    paint_frame(p, l.left, l.top, l.width, l.height);
    paint_set_ink(p, PAINT_INK);
    cairo_set_font_size(p->cairo, l.label_size);
    draw_row_labels(p, map, &l);
    draw_column_labels(p, map, &l);
    cairo_set_font_size(p->cairo, PAINT_TEXT);
    draw_legend(p, map, &l);
    if (map->path) draw_path(p, map, &l);
    describe(map, note, sizeof note);
    paint_words(p, map->title, note, l.picture.height);
}

/* ---------------------------------------------------------------------------------------------
 * A grid of small heat maps
 * ------------------------------------------------------------------------------------------- */

enum { THUMB_MOST = 96, THUMB_LEAST = 24, THUMB_GAP = 5 };
static const char grid_note[] =
    "across: heads; each map: rows queries, columns keys, scaled to its own largest";
static const char tables_note[] = "across: heads";

typedef struct grid_layout {
    double side, left, top;
    paint_size picture;
} grid_layout;

static grid_layout plan_grid(const painter *p, const io_grid *grid) {
    grid_layout l = {.side = floor(1.4 * PICTURE / (double)grid->columns) - THUMB_GAP};
    l.side = fmin(THUMB_MOST, fmax(THUMB_LEAST, l.side));
    cairo_set_font_size(p->cairo, PAINT_TEXT);
    l.left = ceil(PAINT_MARGIN + PAINT_GAP + paint_widest(p, grid->row_names, 1, grid->rows, 1));
    l.top = ceil(PAINT_MARGIN + 2.2 * PAINT_TITLE + PAINT_TEXT + PAINT_GAP);
    l.picture.width = fmax(l.left + (double)grid->columns * (l.side + THUMB_GAP) + PAINT_MARGIN,
                           fmax(paint_title_width(p, grid->title), paint_note_width(p, grid_note)));
    l.picture.height =
        ceil(l.top + (double)grid->rows * (l.side + THUMB_GAP) + 2.2 * PAINT_TEXT + PAINT_MARGIN);
    return l;
}

paint_size paint_grid_size(const painter *p, const io_grid *grid) {
    return plan_grid(p, grid).picture;
}

void paint_grid(const painter *p, const io_grid *grid) {
    const grid_layout l = plan_grid(p, grid);
    const double step = l.side + THUMB_GAP;
    char text[512];
    cairo_set_font_size(p->cairo, PAINT_TEXT);
    for (int64_t i = 0; i < grid->rows; i++) {
        const double y = l.top + (double)i * step;
        (void)paint_label(p, grid->row_names, 1, i, PAINT_LABEL_MOST, text, sizeof text);
        paint_set_ink(p, PAINT_INK);
        paint_text_right(p, l.left - PAINT_GAP, y + l.side / 2 + 0.35 * PAINT_TEXT, text);
        for (int64_t j = 0; j < grid->columns; j++) {
            const double x = l.left + (double)j * step;
            paint_map(p, &grid->map[i * grid->columns + j], x, y, l.side, l.side);
            paint_frame(p, x, y, l.side, l.side);
        }
    }
    paint_set_ink(p, PAINT_INK);
    for (int64_t j = 0; j < grid->columns; j++) {
        const double width =
            paint_label(p, grid->column_names, 1, j, l.side + THUMB_GAP, text, sizeof text);
        paint_text(p, l.left + (double)j * step + (l.side - width) / 2, l.top - PAINT_GAP, text);
    }
    paint_words(p, grid->title, grid_note, l.picture.height);
}

/* ---------------------------------------------------------------------------------------------
 * Tables
 * ------------------------------------------------------------------------------------------- */

enum { NUMBER_WIDTH = 42, NUMBER_HEIGHT = 22, TABLE_GAP = 26 };

static double table_left(const painter *p, const io_tables *tables) {
    const io_heatmap *const map = tables->map;
    cairo_set_font_size(p->cairo, PAINT_TEXT);
    return ceil(PAINT_MARGIN + PAINT_GAP + paint_widest(p, map->query_tokens, 1, map->rows, 1));
}

static double table_step(const io_heatmap *map) {
    return (double)map->rows * NUMBER_HEIGHT + 2 * PAINT_TEXT + 2 * PAINT_GAP + TABLE_GAP;
}

paint_size paint_tables_size(const painter *p, const io_tables *tables) {
    const double cells = NUMBER_WIDTH * (double)tables->map->columns;
    double titles = 0;
    for (int i = 0; i < tables->count; i++) {
        titles = fmax(titles, paint_note_width(p, tables->map[i].title));
    }
    return (paint_size){fmax(table_left(p, tables) + cells + PAINT_MARGIN,
                             fmax(paint_title_width(p, tables->title), titles)),
                        2 * PAINT_MARGIN + 2.2 * PAINT_TITLE +
                            tables->count * table_step(tables->map) + PAINT_TEXT};
}

static void draw_number(const painter *p, const io_heatmap *map, int64_t i, int64_t j, double x,
                        double y) {
    char text[32];
    const double value = (double)map->cells[i * map->columns + j];
    const double grey = io_color_is_pale(io_color_of(io_heatmap_share(map, i, j), p->dark)) ? 0 : 1;
    (void)snprintf(text, sizeof text, fabs(value) < 10 ? "%.2f" : "%.3g", value);
    cairo_set_source_rgb(p->cairo, grey, grey, grey);
    paint_text(p, x + (NUMBER_WIDTH - paint_text_width(p, text)) / 2,
               y + NUMBER_HEIGHT / 2.0 + 0.35 * PAINT_TEXT, text);
}

static void draw_table(const painter *p, const io_heatmap *map, double left, double top) {
    char text[512];
    paint_set_ink(p, PAINT_INK);
    paint_text(p, PAINT_MARGIN, top, map->title);
    top += PAINT_TEXT + 2 * PAINT_GAP;
    paint_map(p, map, left, top, NUMBER_WIDTH * (double)map->columns,
              NUMBER_HEIGHT * (double)map->rows);
    for (int64_t i = 0; i < map->rows; i++) {
        const double y = top + NUMBER_HEIGHT * (double)i;
        (void)paint_label(p, map->query_tokens, 1, i, PAINT_LABEL_MOST, text, sizeof text);
        paint_set_ink(p, PAINT_INK);
        paint_text_right(p, left - PAINT_GAP, y + NUMBER_HEIGHT / 2.0 + 0.35 * PAINT_TEXT, text);
        for (int64_t j = 0; j < map->columns; j++) {
            draw_number(p, map, i, j, left + NUMBER_WIDTH * (double)j, y);
        }
    }
    paint_set_ink(p, PAINT_FAINT);
    for (int64_t j = 0; j < map->columns; j++) {
        const double width = paint_label(p, map->key_tokens, 1, j, NUMBER_WIDTH, text, sizeof text);
        paint_text(p, left + NUMBER_WIDTH * (double)j + (NUMBER_WIDTH - width) / 2,
                   top - PAINT_GAP / 2.0, text);
    }
}

void paint_tables(const painter *p, const io_tables *tables) {
    const double left = table_left(p, tables);
    for (int i = 0; i < tables->count; i++) {
        const double top = PAINT_MARGIN + 2.2 * PAINT_TITLE + PAINT_TEXT;
        draw_table(p, &tables->map[i], left, top + i * table_step(tables->map));
    }
    paint_words(p, tables->title, tables_note, paint_tables_size(p, tables).height);
}

#else

typedef int io_paint_matrix_needs_cairo; /* a translation unit must not be empty */

#endif

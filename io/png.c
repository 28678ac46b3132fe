#include "png.h"

#ifdef ATTN_HAVE_CAIRO

#include "color.h"

#include <cairo.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

bool io_png_available(void) {
    return true;
}

enum {
    PICTURE = 1000,   /* pixels that the cells aim at, a side */
    CELL_MOST = 40,   /* pixels of a cell's side, at most */
    LABELED = 10,     /* and from here on each row and column has its label */
    TICKS = 12,       /* otherwise about so many numbers along a side */
    LABEL_MOST = 180, /* pixels of a label's length: longer ones are cut */
    MARGIN = 16,
    GAP = 6,       /* between labels and cells */
    BAR_WIDTH = 16 /* the legend */
};
static const double text_size = 12, title_size = 15;
static const double ink = 0.13, faint_ink = 0.38; /* greys */

/* Where everything goes, in pixels. */
typedef struct layout {
    double cell, label_size;
    double left, top; /* of the cells */
    double width, height;
    double picture_width, picture_height;
    int64_t row_step, column_step; /* a label every so many cells */
} layout;

static double text_width(cairo_t *cairo, const char *text) {
    cairo_text_extents_t extents;
    cairo_text_extents(cairo, text, &extents);
    return extents.x_advance;
}

/* Cuts text, with an ellipsis, until it is at most `most` wide; text has room for one. */
static void fit(cairo_t *cairo, char *text, double most) {
    static const char ellipsis[] = "\u2026";
    size_t length = strlen(text);
    if (text_width(cairo, text) <= most) return;
    do {
        while (length > 0 && ((unsigned char)text[--length] & 0xc0) == 0x80) {
        } /* one character */
        memcpy(text + length, ellipsis, sizeof ellipsis);
    } while (length > 0 && text_width(cairo, text) > most);
}

static double label(cairo_t *cairo, const io_tokens *tokens, int64_t block, int64_t i, char *text,
                    size_t size) {
    io_heatmap_label(tokens, block, i, text, (unsigned)size - 3); /* three for an ellipsis */
    fit(cairo, text, LABEL_MOST);
    return text_width(cairo, text);
}

static double widest_label(cairo_t *cairo, const io_tokens *tokens, int64_t block, int64_t count,
                           int64_t step) {
    char text[512];
    double widest = 0;
    for (int64_t i = 0; i < count; i += step) {
        widest = fmax(widest, label(cairo, tokens, block, i, text, sizeof text));
    }
    return widest;
}

/* All labels where they have room; else the numbers of some rows or columns, at round steps. */
static int64_t label_step(int64_t count, double cell) {
    static const int64_t round[] = {1, 2, 5};
    int64_t step = 1;
    for (int i = 0; cell < LABELED && count / step > TICKS; i++) {
        step = round[i % 3];
        for (int power = 0; power < i / 3; power++) step *= 10;
    }
    return step;
}

static layout plan(cairo_t *cairo, const io_heatmap *map) {
    const int64_t most = map->rows > map->columns ? map->rows : map->columns;
    layout l = {.cell = fmax(1, fmin(CELL_MOST, floor(PICTURE / (double)most)))};
    l.label_size = l.cell >= LABELED ? fmin(13, fmax(8, l.cell * 0.72)) : text_size;
    l.row_step = label_step(map->rows, l.cell);
    l.column_step = label_step(map->columns, l.cell);
    cairo_set_font_size(cairo, l.label_size);
    l.width = l.cell * (double)map->columns;
    l.height = l.cell * (double)map->rows;
    l.left = ceil(MARGIN + GAP +
                  widest_label(cairo, map->query_tokens, map->block_rows, map->rows, l.row_step));
    l.top =
        ceil(MARGIN + 2.2 * title_size + GAP +
             widest_label(cairo, map->key_tokens, map->block_columns, map->columns, l.column_step));
    cairo_set_font_size(cairo, title_size);
    const double title = MARGIN + text_width(cairo, map->title) + MARGIN;
    const double legend = 2 * GAP + BAR_WIDTH + 5 * text_size;
    l.picture_width = ceil(fmax(l.left + l.width + legend + MARGIN, title));
    l.picture_height = ceil(l.top + fmax(l.height, 6 * text_size) + 2.6 * text_size + MARGIN);
    return l;
}

static uint32_t pixel(double share) {
    const io_color color = io_color_of(share, false);
    return (uint32_t)color.red << 16 | (uint32_t)color.green << 8 | color.blue;
}

/* Paints an image of one pixel a cell, enlarged without smoothing. */
static void paint_cells(cairo_t *cairo, int columns, int rows, double x, double y, double width,
                        double height, double (*share)(const void *, int, int),
                        const void *argument) {
    cairo_surface_t *const image = cairo_image_surface_create(CAIRO_FORMAT_RGB24, columns, rows);
    unsigned char *const pixels = cairo_image_surface_get_data(image);
    const int stride = cairo_image_surface_get_stride(image);
    for (int i = 0; pixels && i < rows; i++) {
        for (int j = 0; j < columns; j++) {
            const uint32_t value = pixel(share(argument, i, j));
            memcpy(pixels + (ptrdiff_t)i * stride + (ptrdiff_t)j * 4, &value, sizeof value);
        }
    }
    cairo_surface_mark_dirty(image);
    cairo_save(cairo);
    cairo_translate(cairo, x, y);
    cairo_scale(cairo, width / columns, height / rows);
    cairo_set_source_surface(cairo, image, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(cairo), CAIRO_FILTER_NEAREST);
    cairo_rectangle(cairo, 0, 0, columns, rows);
    cairo_fill(cairo);
    cairo_restore(cairo);
    cairo_surface_destroy(
        image); /* a failed image puts cairo in a failed state: checked at the end */
}

static double cell_share(const void *map, int row, int column) {
    return io_heatmap_share(map, row, column);
}

static double bar_share(const void *unused, int row, int column) {
    (void)unused, (void)column;
    return 1 - row / 255.0;
}

static void set_grey(cairo_t *cairo, double grey) {
    cairo_set_source_rgb(cairo, grey, grey, grey);
}

static void text_at(cairo_t *cairo, double x, double y, const char *text) {
    cairo_move_to(cairo, x, y);
    cairo_show_text(cairo, text);
}

static void frame(cairo_t *cairo, double x, double y, double width, double height) {
    set_grey(cairo, 0.6);
    cairo_set_line_width(cairo, 1);
    cairo_rectangle(cairo, x - 0.5, y - 0.5, width + 1, height + 1);
    cairo_stroke(cairo);
}

static void draw_row_labels(cairo_t *cairo, const io_heatmap *map, const layout *l) {
    char text[512];
    for (int64_t i = 0; i < map->rows; i += l->row_step) {
        const double width = label(cairo, map->query_tokens, map->block_rows, i, text, sizeof text);
        const double middle = l->top + ((double)i + 0.5) * l->cell;
        text_at(cairo, l->left - GAP - width, middle + 0.35 * l->label_size, text);
    }
}

static void draw_column_labels(cairo_t *cairo, const io_heatmap *map, const layout *l) {
    char text[512];
    for (int64_t j = 0; j < map->columns; j += l->column_step) {
        (void)label(cairo, map->key_tokens, map->block_columns, j, text, sizeof text);
        cairo_save(cairo);
        cairo_translate(cairo, l->left + ((double)j + 0.5) * l->cell + 0.35 * l->label_size,
                        l->top - GAP);
        cairo_rotate(cairo, -acos(-1) / 2); /* upwards */
        text_at(cairo, 0, 0, text);
        cairo_restore(cairo);
    }
}

static void draw_legend(cairo_t *cairo, const io_heatmap *map, const layout *l) {
    char text[64];
    const double x = l->left + l->width + 2 * GAP;
    const double height = fmax(l->height, 6 * text_size);
    paint_cells(cairo, 1, 256, x, l->top, BAR_WIDTH, height, bar_share, NULL);
    frame(cairo, x, l->top, BAR_WIDTH, height);
    set_grey(cairo, ink);
    (void)snprintf(text, sizeof text, "%.3g", (double)map->high);
    text_at(cairo, x + BAR_WIDTH + GAP, l->top + 0.75 * text_size, text);
    (void)snprintf(text, sizeof text, "%.3g", (double)map->low);
    text_at(cairo, x + BAR_WIDTH + GAP, l->top + height, text);
}

static void draw_words(cairo_t *cairo, const io_heatmap *map, const layout *l) {
    char reduction[128], note[192];
    io_heatmap_note(map, reduction, sizeof reduction);
    (void)snprintf(note, sizeof note, "rows: queries, columns: keys%s%s", *reduction ? "; " : "",
                   reduction);
    set_grey(cairo, ink);
    cairo_set_font_size(cairo, title_size);
    text_at(cairo, MARGIN, MARGIN + title_size, map->title);
    cairo_set_font_size(cairo, text_size);
    set_grey(cairo, faint_ink);
    text_at(cairo, MARGIN, l->picture_height - MARGIN, note);
}

static void draw(cairo_t *cairo, const io_heatmap *map, const layout *l) {
    set_grey(cairo, 1);
    cairo_paint(cairo);
    paint_cells(cairo, (int)map->columns, (int)map->rows, l->left, l->top, l->width, l->height,
                cell_share, map);
    frame(cairo, l->left, l->top, l->width, l->height);
    set_grey(cairo, ink);
    cairo_set_font_size(cairo, l->label_size);
    draw_row_labels(cairo, map, l);
    draw_column_labels(cairo, map, l);
    cairo_set_font_size(cairo, text_size);
    draw_legend(cairo, map, l);
    draw_words(cairo, map, l);
}

static cairo_t *begin(int width, int height) {
    cairo_surface_t *const surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    cairo_t *const cairo = cairo_create(surface);
    cairo_surface_destroy(surface); /* cairo keeps it */
    cairo_select_font_face(cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    return cairo;
}

static cairo_status_t write_bytes(void *target, const unsigned char *data, unsigned length) {
    FILE *const stream = ((io_target *)target)->stream;
    return fwrite(data, 1, length, stream) == length ? CAIRO_STATUS_SUCCESS
                                                     : CAIRO_STATUS_WRITE_ERROR;
}

bool io_png_write(const io_heatmap *map, io_target *target, io_error *error) {
    cairo_t *const probe = begin(1, 1); /* text has to be measured before its room is known */
    const layout l = plan(probe, map);
    cairo_destroy(probe);
    cairo_t *const cairo = begin((int)l.picture_width, (int)l.picture_height);
    draw(cairo, map, &l);
    cairo_status_t status = cairo_status(cairo);
    if (status == CAIRO_STATUS_SUCCESS) {
        status = cairo_surface_write_to_png_stream(cairo_get_target(cairo), write_bytes, target);
    }
    cairo_destroy(cairo);
    if (status == CAIRO_STATUS_SUCCESS) return true;
    return io_fail(error, "%s: cannot be drawn: %s", target->path, cairo_status_to_string(status));
}

#else

bool io_png_available(void) {
    return false;
}

bool io_png_write(const io_heatmap *map, io_target *target, io_error *error) {
    (void)map;
    return io_fail(error, "%s: this build of attn cannot write PNG", target->path);
}

#endif

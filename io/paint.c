#ifdef ATTN_HAVE_CAIRO

#include "paint.h"

#include "color.h"

#include <math.h>
#include <string.h>

enum { TICKS = 12 }; /* about so many numbers along a side that has no room for all */

void paint_set_ink(const painter *p, paint_ink ink) {
    static const double light[] = {1, 0.62, 0.38, 0.13}, dark[] = {22 / 255.0, 0.42, 0.66, 0.92};
    const double grey = (p->dark ? dark : light)[ink];
    cairo_set_source_rgb(p->cairo, grey, grey, grey);
}

void paint_set_hue(const painter *p, int hue, double opacity) {
    const io_color color = io_hue(hue, p->dark);
    cairo_set_source_rgba(p->cairo, color.red / 255.0, color.green / 255.0, color.blue / 255.0,
                          opacity);
}

double paint_text_width(const painter *p, const char *text) {
    cairo_text_extents_t extents;
    cairo_text_extents(p->cairo, text, &extents);
    return extents.x_advance;
}

void paint_text(const painter *p, double x, double y, const char *text) {
    cairo_move_to(p->cairo, x, y);
    cairo_show_text(p->cairo, text);
}

void paint_text_right(const painter *p, double x, double y, const char *text) {
    paint_text(p, x - paint_text_width(p, text), y, text);
}

void paint_frame(const painter *p, double x, double y, double width, double height) {
    paint_set_ink(p, PAINT_LINE);
    cairo_set_line_width(p->cairo, 1);
    cairo_rectangle(p->cairo, x - 0.5, y - 0.5, width + 1, height + 1);
    cairo_stroke(p->cairo);
}

double paint_title_width(const painter *p, const char *title) {
    cairo_set_font_size(p->cairo, PAINT_TITLE);
    return PAINT_MARGIN + paint_text_width(p, title) + PAINT_MARGIN;
}

double paint_note_width(const painter *p, const char *note) {
    cairo_set_font_size(p->cairo, PAINT_TEXT);
    return PAINT_MARGIN + paint_text_width(p, note) + PAINT_MARGIN;
}

void paint_words(const painter *p, const char *title, const char *note, double height) {
    paint_set_ink(p, PAINT_INK);
    cairo_set_font_size(p->cairo, PAINT_TITLE);
    paint_text(p, PAINT_MARGIN, PAINT_MARGIN + PAINT_TITLE, title);
    cairo_set_font_size(p->cairo, PAINT_TEXT);
    paint_set_ink(p, PAINT_FAINT);
    paint_text(p, PAINT_MARGIN, height - PAINT_MARGIN, note);
}

/* Cuts text, with an ellipsis, until it is at most `most` wide; text has room for one. */
static void fit(const painter *p, char *text, double most) {
    static const char ellipsis[] = "\u2026";
    size_t length = strlen(text);
    if (paint_text_width(p, text) <= most) return;
    do {
        while (length > 0 && ((unsigned char)text[--length] & 0xc0) == 0x80) {
        } /* one character */
        memcpy(text + length, ellipsis, sizeof ellipsis);
    } while (length > 0 && paint_text_width(p, text) > most);
}

double paint_label(const painter *p, const io_tokens *tokens, int64_t block, int64_t i, double most,
                   char *text, size_t size) {
    io_heatmap_label(tokens, block, i, text, (unsigned)size - 3); /* three for an ellipsis */
    fit(p, text, most);
    return paint_text_width(p, text);
}

double paint_widest(const painter *p, const io_tokens *tokens, int64_t block, int64_t count,
                    int64_t step) {
    char text[512];
    double widest = 0;
    for (int64_t i = 0; i < count; i += step) {
        widest =
            fmax(widest, paint_label(p, tokens, block, i, PAINT_LABEL_MOST, text, sizeof text));
    }
    return widest;
}

int64_t paint_label_step(int64_t count, double pixels) {
    static const int64_t round[] = {1, 2, 5};
    int64_t step = 1;
    for (int i = 0; pixels < PAINT_LABELED && count / step > TICKS; i++) {
        step = round[i % 3];
        for (int power = 0; power < i / 3; power++) step *= 10;
    }
    return step;
}

static uint32_t pixel(double share, bool dark) {
    const io_color color = io_color_of(share, dark);
    return (uint32_t)color.red << 16 | (uint32_t)color.green << 8 | color.blue;
}

void paint_image(const painter *p, const paint_cells *cells, double x, double y, double width,
                 double height) {
    cairo_surface_t *const image =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, cells->columns, cells->rows);
    unsigned char *const pixels = cairo_image_surface_get_data(image);
    const int stride = cairo_image_surface_get_stride(image);
    for (int i = 0; pixels && i < cells->rows; i++) {
        for (int j = 0; j < cells->columns; j++) {
            const uint32_t value = pixel(cells->share(cells->argument, i, j), p->dark);
            memcpy(pixels + (ptrdiff_t)i * stride + (ptrdiff_t)j * 4, &value, sizeof value);
        }
    }
    cairo_surface_mark_dirty(image);
    cairo_save(p->cairo);
    cairo_translate(p->cairo, x, y);
    cairo_scale(p->cairo, width / cells->columns, height / cells->rows);
    cairo_set_source_surface(p->cairo, image, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(p->cairo), CAIRO_FILTER_NEAREST);
    cairo_rectangle(p->cairo, 0, 0, cells->columns, cells->rows);
    cairo_fill(p->cairo);
    cairo_restore(p->cairo);
    /* A failed image puts cairo in a failed state, which is looked at in the end. */
    cairo_surface_destroy(image);
}

static double map_share(const void *map, int row, int column) {
    return io_heatmap_share(map, row, column);
}

void paint_map(const painter *p, const io_heatmap *map, double x, double y, double width,
               double height) {
    const paint_cells cells = {(int)map->columns, (int)map->rows, map_share, map};
    paint_image(p, &cells, x, y, width, height);
}

#else

typedef int io_paint_needs_cairo; /* a translation unit must not be empty */

#endif

#include "picture.h"

#ifdef ATTN_HAVE_CAIRO

#include "paint.h"

#include <cairo-svg.h>

bool io_picture_available(void) {
    return true;
}

static paint_size measure(const painter *p, const io_picture *picture) {
    switch (picture->kind) {
    case IO_MATRIX: return paint_matrix_size(p, picture->of.map);
    case IO_LINES: return paint_lines_size(p, picture->of.lines);
    case IO_BARS: return paint_bars_size(p, picture->of.bars);
    case IO_GRID: return paint_grid_size(p, picture->of.grid);
    case IO_TABLES: break;
    }
    return paint_tables_size(p, picture->of.tables);
}

static void draw(const painter *p, const io_picture *picture) {
    paint_set_ink(p, PAINT_PAPER);
    cairo_paint(p->cairo);
    switch (picture->kind) {
    case IO_MATRIX: paint_matrix(p, picture->of.map); return;
    case IO_LINES: paint_lines(p, picture->of.lines); return;
    case IO_BARS: paint_bars(p, picture->of.bars); return;
    case IO_GRID: paint_grid(p, picture->of.grid); return;
    case IO_TABLES: paint_tables(p, picture->of.tables); return;
    }
}

static cairo_status_t write_bytes(void *target, const unsigned char *data, unsigned length) {
    FILE *const stream = ((io_target *)target)->stream;
    return fwrite(data, 1, length, stream) == length ? CAIRO_STATUS_SUCCESS
                                                     : CAIRO_STATUS_WRITE_ERROR;
}

/* A painter on a surface, which it keeps. */
static painter begin(cairo_surface_t *surface, bool dark) {
    const painter p = {cairo_create(surface), dark};
    cairo_surface_destroy(surface);
    cairo_select_font_face(p.cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           CAIRO_FONT_WEIGHT_NORMAL);
    return p;
}

/* An SVG is written as it is drawn, and whole when its surface is finished; a PNG in the end. */
static cairo_status_t finish(const painter *p, bool svg, io_target *target) {
    cairo_surface_t *const surface = cairo_get_target(p->cairo);
    cairo_status_t status = cairo_status(p->cairo);
    if (svg) cairo_surface_finish(surface);
    if (svg && status == CAIRO_STATUS_SUCCESS) status = cairo_surface_status(surface);
    if (!svg && status == CAIRO_STATUS_SUCCESS) {
        status = cairo_surface_write_to_png_stream(surface, write_bytes, target);
    }
    return status;
}

bool io_picture_write(const io_picture *picture, io_target *target, io_error *error) {
    /* Text has to be measured before its room is known. */
    const painter probe = begin(cairo_image_surface_create(CAIRO_FORMAT_RGB24, 1, 1), false);
    const paint_size size = measure(&probe, picture);
    cairo_destroy(probe.cairo);
    const painter p = begin(
        picture->svg
            ? cairo_svg_surface_create_for_stream(write_bytes, target, size.width, size.height)
            : cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)size.width, (int)size.height),
        picture->dark);
    draw(&p, picture);
    const cairo_status_t status = finish(&p, picture->svg, target);
    cairo_destroy(p.cairo);
    if (status == CAIRO_STATUS_SUCCESS) return true;
    return io_fail(error, "%s: cannot be drawn: %s", target->path, cairo_status_to_string(status));
}

#else

bool io_picture_available(void) {
    return false;
}

bool io_picture_write(const io_picture *picture, io_target *target, io_error *error) {
    (void)picture;
    return io_fail(error, "%s: this build of attn cannot draw pictures", target->path);
}

#endif

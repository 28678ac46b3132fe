/* paint_lines.c: lines between two columns of tokens, and bars beside one. */
#ifdef ATTN_HAVE_CAIRO

#include "paint.h"

#include <math.h>
#include <stdio.h>

/* ---------------------------------------------------------------------------------------------
 * Lines
 * ------------------------------------------------------------------------------------------- */

enum { NOTE_SIZE = 192, TALL = 1400, ROW_MOST = 22, BETWEEN = 300 };

/* Two columns of equal height, each with as many rows as it has tokens. */
typedef struct columns {
    double height, top, left, right; /* left, right: where lines begin and end */
    double row[2];
    int64_t step[2]; /* a label every so many rows */
    double size[2];  /* of the labels */
    paint_size picture;
} columns;

static double plan_column(const painter *p, columns *c, int side, const io_tokens *tokens,
                          int64_t count) {
    c->row[side] = c->height / (double)count;
    c->step[side] = paint_label_step(count, c->row[side]);
    c->size[side] = fmin(13, fmax(8, c->step[side] > 1 ? PAINT_TEXT : c->row[side] * 0.72));
    cairo_set_font_size(p->cairo, c->size[side]);
    return PAINT_GAP + paint_widest(p, tokens, 1, count, c->step[side]);
}

static void describe_lines(const io_lines *lines, char note[NOTE_SIZE]) {
    (void)snprintf(note, NOTE_SIZE, "left: queries, right: keys; opaque: a %s of %.3g or more",
                   lines->bundled ? "bundle" : "weight", (double)lines->high);
}

static columns plan(const painter *p, const io_lines *lines) {
    const int64_t most = lines->queries > lines->keys ? lines->queries : lines->keys;
    char note[NOTE_SIZE];
    columns c = {.height = fmin(ROW_MOST * (double)most, TALL)};
    const double legend = lines->hues > 1 ? 2 * PAINT_TEXT : 0;
    const double before = plan_column(p, &c, 0, lines->query_tokens, lines->queries);
    const double after = plan_column(p, &c, 1, lines->key_tokens, lines->keys);
    c.top = PAINT_MARGIN + 2.6 * PAINT_TITLE + legend;
    c.left = ceil(PAINT_MARGIN + before);
    c.right = c.left + BETWEEN;
    describe_lines(lines, note);
    c.picture.width = ceil(fmax(fmax(c.right + after + PAINT_MARGIN, paint_note_width(p, note)),
                                paint_title_width(p, lines->title)));
    c.picture.height = ceil(c.top + c.height + 2.6 * PAINT_TEXT + PAINT_MARGIN);
    return c;
}

paint_size paint_lines_size(const painter *p, const io_lines *lines) {
    return plan(p, lines).picture;
}

/* Names of the hues, each with a square of it. */
static void draw_legend(const painter *p, const io_lines *lines) {
    double x = PAINT_MARGIN;
    const double y = PAINT_MARGIN + 2.2 * PAINT_TITLE;
    cairo_set_font_size(p->cairo, PAINT_TEXT);
    for (int i = 0; i < lines->hues; i++) {
        paint_set_hue(p, i, 1);
        cairo_rectangle(p->cairo, x, y, PAINT_TEXT, PAINT_TEXT);
        cairo_fill(p->cairo);
        paint_set_ink(p, PAINT_INK);
        paint_text(p, x + PAINT_TEXT + 4, y + 0.85 * PAINT_TEXT, lines->hue_names[i]);
        x += PAINT_TEXT + 4 + paint_text_width(p, lines->hue_names[i]) + 14;
    }
}

static void draw_link(const painter *p, const io_link *link, const columns *c, double opacity) {
    const double from = c->top + ((double)link->query + 0.5) * c->row[0];
    const double to = c->top + ((double)link->key + 0.5) * c->row[1];
    const double bend = BETWEEN * 0.4;
    paint_set_hue(p, link->hue, opacity);
    cairo_move_to(p->cairo, c->left, from);
    cairo_curve_to(p->cairo, c->left + bend, from, c->right - bend, to, c->right, to);
    cairo_stroke(p->cairo);
}

void paint_lines(const painter *p, const io_lines *lines) {
    const columns c = plan(p, lines);
    char text[512], note[NOTE_SIZE];
    if (lines->hues > 1) draw_legend(p, lines);
    cairo_set_line_width(p->cairo, fmin(2.2, fmax(0.6, c.row[0] / 8)));
    for (int64_t i = 0; i < lines->count; i++) {
        draw_link(p, &lines->link[i], &c, fmin(1, (double)(lines->link[i].weight / lines->high)));
    }
    paint_set_ink(p, PAINT_INK);
    cairo_set_font_size(p->cairo, c.size[0]);
    for (int64_t i = 0; i < lines->queries; i += c.step[0]) {
        const double y = c.top + ((double)i + 0.5) * c.row[0] + 0.35 * c.size[0];
        (void)paint_label(p, lines->query_tokens, 1, i, PAINT_LABEL_MOST, text, sizeof text);
        paint_text_right(p, c.left - PAINT_GAP, y, text);
    }
    cairo_set_font_size(p->cairo, c.size[1]);
    for (int64_t j = 0; j < lines->keys; j += c.step[1]) {
        const double y = c.top + ((double)j + 0.5) * c.row[1] + 0.35 * c.size[1];
        (void)paint_label(p, lines->key_tokens, 1, j, PAINT_LABEL_MOST, text, sizeof text);
        paint_text(p, c.right + PAINT_GAP, y, text);
    }
    describe_lines(lines, note);
    paint_words(p, lines->title, note, c.picture.height);
}

/* ---------------------------------------------------------------------------------------------
 * Bars
 * ------------------------------------------------------------------------------------------- */

enum { BAR_MOST = 22, LONGEST = 420, NUMBER = 60, FEW = 80, WIDE = 1100, HIGH = 220 };

/* Few bars lie beside their tokens, many stand side by side. */
static bool lying(const io_bars *bars) {
    return bars->count <= FEW;
}

static double largest(const io_bars *bars) {
    double most = 0;
    for (int64_t i = 0; i < bars->count; i++) most = fmax(most, fabs((double)bars->value[i]));
    return most > 0 ? most : 1;
}

static double bars_left(const painter *p, const io_bars *bars) {
    cairo_set_font_size(p->cairo, PAINT_TEXT);
    return ceil(PAINT_MARGIN + PAINT_GAP +
                (lying(bars) ? paint_widest(p, bars->tokens, bars->block, bars->count, 1)
                             : 4 * PAINT_TEXT));
}

static double bars_top(void) {
    return PAINT_MARGIN + 2.6 * PAINT_TITLE;
}

paint_size paint_bars_size(const painter *p, const io_bars *bars) {
    const bool down = lying(bars);
    const double width = bars_left(p, bars) + (down ? LONGEST + NUMBER : WIDE) + PAINT_MARGIN;
    const double height = down ? BAR_MOST * (double)bars->count : HIGH + 2 * PAINT_TEXT;
    return (paint_size){ceil(fmax(width, paint_title_width(p, bars->title))),
                        ceil(bars_top() + height + 2.6 * PAINT_TEXT + PAINT_MARGIN)};
}

static void draw_lying(const painter *p, const io_bars *bars) {
    const double left = bars_left(p, bars), most = largest(bars);
    char text[512];
    for (int64_t i = 0; i < bars->count; i++) {
        const double y = bars_top() + BAR_MOST * (double)i, value = (double)bars->value[i];
        const double length = isfinite(value) ? LONGEST * fabs(value) / most : 0;
        paint_set_hue(p, value < 0 ? 1 : 0, 1);
        cairo_rectangle(p->cairo, left, y + 3, fmax(length, 0.5), BAR_MOST - 6);
        cairo_fill(p->cairo);
        paint_set_ink(p, PAINT_INK);
        (void)paint_label(p, bars->tokens, bars->block, i, PAINT_LABEL_MOST, text, sizeof text);
        paint_text_right(p, left - PAINT_GAP, y + BAR_MOST / 2.0 + 0.35 * PAINT_TEXT, text);
        (void)snprintf(text, sizeof text, "%.3g", value);
        paint_text(p, left + length + PAINT_GAP, y + BAR_MOST / 2.0 + 0.35 * PAINT_TEXT, text);
    }
}

static void draw_standing(const painter *p, const io_bars *bars) {
    const double left = bars_left(p, bars), most = largest(bars), base = bars_top() + HIGH;
    const double each = WIDE / (double)bars->count;
    const int64_t step = paint_label_step(bars->count, each);
    char text[512];
    for (int64_t i = 0; i < bars->count; i++) {
        const double value = (double)bars->value[i];
        const double length = isfinite(value) ? HIGH * fabs(value) / most : 0;
        paint_set_hue(p, value < 0 ? 1 : 0, 1);
        cairo_rectangle(p->cairo, left + each * (double)i, base - length, each * 0.9, length);
        cairo_fill(p->cairo);
    }
    paint_set_ink(p, PAINT_LINE);
    cairo_rectangle(p->cairo, left, base, WIDE, 1);
    cairo_fill(p->cairo);
    paint_set_ink(p, PAINT_INK);
    (void)snprintf(text, sizeof text, "%.3g", most);
    paint_text_right(p, left - PAINT_GAP, base - HIGH + 0.7 * PAINT_TEXT, text);
    paint_text_right(p, left - PAINT_GAP, base, "0");
    for (int64_t i = 0; i < bars->count; i += step) {
        (void)paint_label(p, bars->tokens, bars->block, i, each * (double)step - PAINT_GAP, text,
                          sizeof text);
        paint_text(p, left + each * (double)i, base + 1.5 * PAINT_TEXT, text);
    }
}

void paint_bars(const painter *p, const io_bars *bars) {
    char note[192];
    cairo_set_font_size(p->cairo, PAINT_TEXT);
    if (lying(bars)) draw_lying(p, bars);
    else draw_standing(p, bars);
    if (bars->block > 1) {
        (void)snprintf(note, sizeof note, "%s; each bar is the greatest of %lld", bars->label,
                       (long long)bars->block);
    } else (void)snprintf(note, sizeof note, "%s", bars->label);
    paint_words(p, bars->title, note, paint_bars_size(p, bars).height);
}

#else

typedef int io_paint_lines_needs_cairo; /* a translation unit must not be empty */

#endif

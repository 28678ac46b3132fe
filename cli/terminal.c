#define _GNU_SOURCE
#include "terminal.h"

#include "../io/color.h"

#include <langinfo.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

enum {
    LABEL_MOST = 16, /* columns of the row labels */
    HEAD_MOST = 10,  /* lines of the column labels, which are written downwards */
    LABEL_SIZE = 512,
    NUMBER_CELL = 4, /* columns that a cell needs to show its number */
    FIXED_LINES = 4  /* title, legend, note and the prompt that follows */
};

/* Ten steps that print ever more ink. */
static const char shades[] = " .:-=+*#%@";

/* ---------------------------------------------------------------------------------------------
 * The window
 * ------------------------------------------------------------------------------------------- */

static int positive_variable(const char *name, int otherwise) {
    const char *const text = getenv(name);
    const long value = text ? strtol(text, NULL, 10) : 0;
    return value > 0 && value < 10000 ? (int)value : otherwise;
}

static cli_colors detect_colors(bool terminal) {
    const char *const off = getenv("NO_COLOR"); /* no-color.org */
    const char *const depth = getenv("COLORTERM");
    const char *const kind = getenv("TERM");
    if (!terminal || (off && *off) || !kind || strcmp(kind, "dumb") == 0) return CLI_COLORS_NONE;
    if (depth && (strcmp(depth, "truecolor") == 0 || strcmp(depth, "24bit") == 0)) {
        return CLI_COLORS_TRUE;
    }
    return strstr(kind, "256color") ? CLI_COLORS_256 : CLI_COLORS_NONE;
}

cli_terminal cli_terminal_detect(void) {
    struct winsize window = {0};
    const bool terminal = isatty(STDOUT_FILENO) == 1;
    const bool sized = terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col;
    return (cli_terminal){
        .columns = sized ? window.ws_col : positive_variable("COLUMNS", terminal ? 80 : 120),
        .rows = sized ? window.ws_row : positive_variable("LINES", terminal ? 24 : 60),
        .colors = detect_colors(terminal),
        .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0};
}

/* ---------------------------------------------------------------------------------------------
 * Text in columns
 * ------------------------------------------------------------------------------------------- */

/* One character as it will be shown: its bytes and its columns. Returns the bytes it takes in text,
 * 0 at the end. */
static size_t next_character(const cli_terminal *terminal, const char *text, char shown[8],
                             int *columns) {
    uint32_t character = 0;
    const size_t length = io_utf8_decode(text, strlen(text), &character);
    const int width = character < 0x80 ? 1 : wcwidth((wchar_t)character);
    if (length == 0 || character == 0) return 0;
    *columns = width;
    (void)snprintf(shown, 8, "%.*s", (int)length, text);
    if (width >= 0 && (terminal->utf8 || character < 0x80)) return length;
    *columns = 1;
    memcpy(shown, "?", 2);
    return length;
}

int cli_terminal_width(const cli_terminal *terminal, const char *text) {
    char shown[8];
    int total = 0, columns = 0;
    for (size_t step = 0; (step = next_character(terminal, text, shown, &columns)); text += step) {
        total += columns;
    }
    return total;
}

void cli_terminal_print(const cli_terminal *terminal, const char *text, int width, bool right) {
    const int whole = cli_terminal_width(terminal, text);
    const int room = whole > width ? width - 1 : width; /* a cut leaves one for its mark */
    char shown[8];
    int used = 0, columns = 0;
    if (right && whole < width) printf("%*s", width - whole, "");
    for (size_t step = 0; (step = next_character(terminal, text, shown, &columns)); text += step) {
        if (used + columns > room) break;
        (void)fputs(shown, stdout);
        used += columns;
    }
    if (whole > width) {
        (void)fputs(terminal->utf8 ? "\u2026" : "~", stdout);
        used++;
    }
    if (used < width && (!right || whole > width)) printf("%*s", width - used, "");
}

/* ---------------------------------------------------------------------------------------------
 * Room
 * ------------------------------------------------------------------------------------------- */

static int at_most(int value, int limit) {
    return value < limit ? value : limit;
}

int cli_terminal_widest(const cli_terminal *terminal, const io_tokens *tokens, int64_t block,
                        int64_t count, int most) {
    char text[LABEL_SIZE];
    int widest = 0;
    for (int64_t i = 0; i < count; i++) {
        io_heatmap_label(tokens, block, i, text, sizeof text);
        const int width = cli_terminal_width(terminal, text);
        if (width > widest) widest = width;
    }
    return at_most(widest, most);
}

void cli_terminal_room(const cli_terminal *terminal, const io_heatmap *map, int extra,
                       int64_t *rows, int64_t *columns) {
    const int label = cli_terminal_widest(terminal, map->query_tokens, 1, map->queries, LABEL_MOST);
    const int head = cli_terminal_widest(terminal, map->key_tokens, 1, map->keys, HEAD_MOST);
    const int wide = terminal->columns - label - 2,
              high = terminal->rows - head - FIXED_LINES - extra;
    *columns = wide > 1 ? wide : 1;
    *rows = high > 1 ? high : 1;
}

/* Columns of a cell: enough for its number if there is room, else two (which makes it square). */
static int cell_width(const io_heatmap *map, int room) {
    const bool numbers = map->low >= 0 && map->high <= 1.0005F;
    if (numbers && map->columns * NUMBER_CELL <= room) return NUMBER_CELL;
    return map->columns * 2 <= room ? 2 : 1;
}

/* ---------------------------------------------------------------------------------------------
 * The picture
 * ------------------------------------------------------------------------------------------- */

/* The nearest of the 6 x 6 x 6 cube of the 256 colours. */
static int cube_color(io_color color) {
    static const int levels[] = {0, 95, 135, 175, 215, 255};
    const int parts[] = {color.red, color.green, color.blue};
    int index = 16;
    for (int i = 0; i < 3; i++) {
        static const int weight[] = {36, 6, 1};
        int nearest = 0;
        for (int level = 1; level < 6; level++) {
            if (abs(levels[level] - parts[i]) < abs(levels[nearest] - parts[i])) nearest = level;
        }
        index += weight[i] * nearest;
    }
    return index;
}

void cli_terminal_color(const cli_terminal *terminal, double share) {
    const io_color color = io_color_of(share, true);
    const int text = io_color_is_pale(color) ? 16 : 231; /* black, white */
    if (terminal->colors == CLI_COLORS_TRUE) {
        printf("\033[38;5;%d;48;2;%d;%d;%dm", text, color.red, color.green, color.blue);
    } else if (terminal->colors == CLI_COLORS_256) {
        printf("\033[38;5;%d;48;5;%dm", text, cube_color(color));
    }
}

void cli_terminal_plain(const cli_terminal *terminal) {
    if (terminal->colors != CLI_COLORS_NONE) (void)fputs("\033[0m", stdout);
}

char cli_terminal_shade(double share) {
    const int steps = (int)sizeof shades - 2;
    return isnan(share) ? '?' : shades[(int)lround(steps * fmin(fmax(share, 0), 1))];
}

int cli_terminal_bar(const cli_terminal *terminal, double share, int width) {
    static const char *const eighths[] = {"",       "\u258f", "\u258e", "\u258d",
                                          "\u258c", "\u258b", "\u258a", "\u2589"};
    const int steps = terminal->utf8 ? 8 : 1;
    const int length = (int)lround(fmin(fmax(share, 0), 1) * width * steps); /* NaN: 0 */
    for (int i = 0; i < length / steps; i++) {
        (void)fputs(terminal->utf8 ? "\u2588" : "#", stdout);
    }
    if (length % steps) (void)fputs(eighths[length % steps], stdout);
    return length / steps + (length % steps > 0);
}

static void draw_cell(const cli_terminal *terminal, const io_heatmap *map, int64_t row,
                      int64_t column, int width) {
    const double share = io_heatmap_share(map, row, column);
    const double value = (double)map->cells[row * map->columns + column];
    const bool ink = terminal->colors == CLI_COLORS_NONE;
    cli_terminal_color(terminal, share);
    if (width == NUMBER_CELL && isnan(value)) printf("nan ");
    else if (width == NUMBER_CELL)
        printf("%3.0f%c", 100 * value, ink ? cli_terminal_shade(share) : ' ');
    else
        for (int i = 0; i < width; i++) (void)putchar(ink ? cli_terminal_shade(share) : ' ');
}

static void draw_row(const cli_terminal *terminal, const io_heatmap *map, int64_t row, int label,
                     int width) {
    char text[LABEL_SIZE];
    io_heatmap_label(map->query_tokens, map->block_rows, row, text, sizeof text);
    cli_terminal_print(terminal, text, label, true);
    (void)putchar(' ');
    for (int64_t column = 0; column < map->columns; column++) {
        draw_cell(terminal, map, row, column, width);
    }
    cli_terminal_plain(terminal);
    (void)putchar('\n');
}

/* Character number `line` of the column's label, which is written downwards and ends on the
 * picture. A label too long for that loses its end. */
static void draw_head_character(const cli_terminal *terminal, const char *text, int length,
                                int line, int lines, int width) {
    const int skip = length < lines ? lines - length : 0;
    char shown[8] = " ";
    int columns = 1;
    for (int i = skip; i <= line; i++) {
        const size_t step = next_character(terminal, text, shown, &columns);
        text += step;
        if (step == 0) columns = 1, memcpy(shown, " ", 2);
    }
    if (line < skip || columns > width) columns = 1, memcpy(shown, line < skip ? " " : "?", 2);
    const int before = (width - columns) / 2;
    printf("%*s%s%*s", before, "", shown, width - columns - before, "");
}

static int character_count(const cli_terminal *terminal, const char *text) {
    char shown[8];
    int count = 0, columns = 0;
    for (size_t step = 0; (step = next_character(terminal, text, shown, &columns)); text += step) {
        count++;
    }
    return count;
}

static void draw_head(const cli_terminal *terminal, const io_heatmap *map, int label, int width) {
    char text[LABEL_SIZE];
    int lines = 0;
    for (int64_t column = 0; column < map->columns; column++) {
        io_heatmap_label(map->key_tokens, map->block_columns, column, text, sizeof text);
        const int count = character_count(terminal, text);
        if (count > lines) lines = count;
    }
    lines = at_most(lines, HEAD_MOST);
    for (int line = 0; line < lines; line++) {
        printf("%*s", label + 1, "");
        for (int64_t column = 0; column < map->columns; column++) {
            io_heatmap_label(map->key_tokens, map->block_columns, column, text, sizeof text);
            draw_head_character(terminal, text, character_count(terminal, text), line, lines,
                                width);
        }
        (void)putchar('\n');
    }
}

void cli_terminal_line(const cli_terminal *terminal, const char *text) {
    const int width = cli_terminal_width(terminal, text);
    cli_terminal_print(terminal, text, at_most(width, terminal->columns - 1), false);
    (void)putchar('\n');
}

static void draw_legend(const cli_terminal *terminal, const io_heatmap *map, bool numbers) {
    enum { STEPS = 10 };
    char note[128];
    printf("%.3g ", (double)map->low);
    for (int i = 0; i < STEPS; i++) {
        const double share = i / (STEPS - 1.0);
        cli_terminal_color(terminal, share);
        (void)putchar(terminal->colors == CLI_COLORS_NONE ? cli_terminal_shade(share) : ' ');
    }
    cli_terminal_plain(terminal);
    printf(" %.3g%s\n", (double)map->high, numbers ? "; cells in percent" : "");
    io_heatmap_note(map, note, sizeof note);
    if (*note) cli_terminal_line(terminal, note);
}

void cli_terminal_draw(const cli_terminal *terminal, const io_heatmap *map) {
    const int label =
        cli_terminal_widest(terminal, map->query_tokens, map->block_rows, map->rows, LABEL_MOST);
    const int width = cell_width(map, terminal->columns - label - 2);
    cli_terminal_line(terminal, map->title);
    draw_head(terminal, map, label, width);
    for (int64_t row = 0; row < map->rows; row++) draw_row(terminal, map, row, label, width);
    draw_legend(terminal, map, width == NUMBER_CELL);
}

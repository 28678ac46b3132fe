/* terminal.h: a heat map in characters, and what other pictures in characters need. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include "../io/heatmap.h"

typedef enum cli_colors { CLI_COLORS_NONE, CLI_COLORS_256, CLI_COLORS_TRUE } cli_colors;

typedef struct cli_terminal {
    int columns, rows;
    cli_colors colors;
    bool utf8; /* may more than ASCII be printed? */
} cli_terminal;

/* What standard output is: the window's size (or COLUMNS and LINES; 120 x 60 where there is no
 * window), its colours (none where NO_COLOR is set or it is no terminal), its encoding. */
cli_terminal cli_terminal_detect(void);

/* The most rows and columns of cells that fit, for as many queries and keys with such labels as the
 * map says and `extra` lines below the picture. */
void cli_terminal_room(const cli_terminal *terminal, const io_heatmap *map, int extra,
                       int64_t *rows, int64_t *columns);

/* Prints title, picture and legend. */
void cli_terminal_draw(const cli_terminal *terminal, const io_heatmap *map);

/* Prints text cut or padded to a width in columns, with '?' for what cannot be shown. */
void cli_terminal_print(const cli_terminal *terminal, const char *text, int width, bool right);

/* The colours of a share of the scale from here on, and those of the terminal again. */
void cli_terminal_color(const cli_terminal *terminal, double share);
void cli_terminal_plain(const cli_terminal *terminal);

/* A character with as much ink as the share of the scale; for terminals without colours. */
char cli_terminal_shade(double share);

/* A bar of at most `width` columns; returns how many it took. */
int cli_terminal_bar(const cli_terminal *terminal, double share, int width);

/* Columns that the widest of the labels takes, at most `most`. */
int cli_terminal_widest(const cli_terminal *terminal, const io_tokens *tokens, int64_t block,
                        int64_t count, int most);

/* Prints text, on a line of its own, as far as the window goes. */
void cli_terminal_line(const cli_terminal *terminal, const char *text);

/* Columns that the text takes. */
int cli_terminal_width(const cli_terminal *terminal, const char *text);

#endif

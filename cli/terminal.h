/* terminal.h: a heat map in characters. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include "../io/heatmap.h"
#include "weights.h"

typedef enum cli_colors { CLI_COLORS_NONE, CLI_COLORS_256, CLI_COLORS_TRUE } cli_colors;

typedef struct cli_terminal {
    int columns, rows;
    cli_colors colors;
    bool utf8; /* may more than ASCII be printed? */
} cli_terminal;

/* What standard output is: the window's size (or COLUMNS and LINES; 120 x 60 where there is no
 * window), its colours (none where NO_COLOR is set or it is no terminal), its encoding. */
cli_terminal cli_terminal_detect(void);

/* The most rows and columns of cells that fit, for weights with these labels and `extra` lines
 * below the picture. */
void cli_terminal_room(const cli_terminal *terminal, const cli_weights *weights, int extra,
                       int64_t *rows, int64_t *columns);

/* Prints title, picture and legend. */
void cli_terminal_draw(const cli_terminal *terminal, const io_heatmap *map);

/* Prints text cut or padded to a width in columns, with '?' for what cannot be shown. */
void cli_terminal_print(const cli_terminal *terminal, const char *text, int width, bool right);

/* Columns that the text takes. */
int cli_terminal_width(const cli_terminal *terminal, const char *text);

#endif

/* png.h: a heat map as a PNG picture, by cairo, which also brings the fonts.
 *
 * Needs to be compiled with ATTN_HAVE_CAIRO (and cairo): without it there is no PNG. */
#ifndef IO_PNG_H
#define IO_PNG_H

#include "error.h"
#include "heatmap.h"
#include "target.h"

/* Cells a side that a picture has at most: more would be finer than its pixels. */
enum { IO_PNG_CELLS_MAX = 1400 };

/* Whether this build can write PNG. */
bool io_png_available(void);

/* Draws the picture into an open target. The text in the map must be UTF-8. */
bool io_png_write(const io_heatmap *map, io_target *target, io_error *error);

#endif

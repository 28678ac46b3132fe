#include "heatmap.h"

#include <inttypes.h>
#include <stdio.h>

double io_heatmap_share(const io_heatmap *map, int64_t row, int64_t column) {
    const double span = (double)map->high - (double)map->low;
    const double above = (double)map->cells[row * map->columns + column] - (double)map->low;
    return span > 0 ? above / span : above; /* all equal: 0, or NaN */
}

void io_heatmap_note(const io_heatmap *map, char *text, unsigned size) {
    text[0] = 0;
    if (map->block_rows * map->block_columns == 1) return;
    (void)snprintf(text, size, "each cell is the %s of %" PRId64 " x %" PRId64 " weights",
                   map->reduction == IO_REDUCE_MAX ? "largest" : "mean", map->block_rows,
                   map->block_columns);
}

void io_heatmap_label(const io_tokens *tokens, int64_t block, int64_t i, char *text,
                      unsigned size) {
    const char *const more = block > 1 ? "+" : "";
    if (tokens->count > 0) (void)snprintf(text, size, "%s%s", io_token(tokens, i * block), more);
    else (void)snprintf(text, size, "%" PRId64, i * block);
    io_utf8_clean(text); /* a token longer than the room may have lost half of its last character */
}

/* html.h: weights as one self-contained page, in which a head is picked and tokens are hovered.
 *
 * The page holds the weights themselves (float32), not pictures of them; it loads nothing, works
 * without a network, and follows the reader's light or dark preference. */
#ifndef IO_HTML_H
#define IO_HTML_H

#include "error.h"
#include "target.h"
#include "tokens.h"

#include <stdint.h>

/* Weights that one page may hold: some 22 MB of text. */
enum { IO_HTML_WEIGHTS_MAX = 1 << 22 };

typedef struct io_html {
    const char *title;
    const io_tokens *batches; /* a name for each row of the batch that the page shows */
    int64_t first_head, heads;
    int64_t queries, keys;
    const io_tokens *query_tokens, *key_tokens; /* count 0: none */
} io_html;

/* Writes the page into an open target up to the weights. Then call io_html_head for each head of
 * each row of the batch, in order, and io_html_end. Text must be UTF-8. */
bool io_html_begin(const io_html *page, io_target *target, io_error *error);
void io_html_head(const float *weights, int64_t count, bool first, io_target *target);
void io_html_end(io_target *target);

#endif

/* translate_show.h: translations beside what they were made of: in characters, and as a page. */
#ifndef CLI_TRANSLATE_SHOW_H
#define CLI_TRANSLATE_SHOW_H

#include "terminal.h"

#include "grid.h"
#include "translator.h"

/* Draws the weights between words as a heat map. */
bool translate_show(const translator *t, const cli_terminal *terminal, const char *sentence,
                    const translated *result, const translation *best, io_error *error);

/* Writes the weights as a PNG. */
bool translate_picture(const translation_grid *grid, const char *title, const char *path,
                       io_error *error);

/* A page that loads nothing: words to hover, with the words that they looked at. */
typedef struct translate_page translate_page;

bool translate_page_open(translate_page **page, const char *path, io_error *error);
/* Adds a sentence and its first translation. */
bool translate_page_add(translate_page *page, const translator *t, const char *sentence,
                        const translated *result, io_error *error);
/* Finishes the file. Without it there is none. */
bool translate_page_commit(translate_page *page, io_error *error);
void translate_page_close(translate_page *page); /* fine on NULL */

#endif

#include "translate_show.h"

#include "translate_html.h"
#include "weights.h"
#include "grid.h"

#include "../io/picture.h"
#include "../io/target.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- In characters ---------------------------------------------------------------------------------- */

/* Words as labels, which have no control characters. */
static bool fill(io_tokens *tokens, char *const *words, int64_t count, io_error *error) {
    for (int64_t i = 0; i < count; i++) {
        if (!io_tokens_append(tokens, words[i] ? words[i] : "", error)) return false;
        for (char *c = tokens->text[i]; *c; c++) {
            if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
        }
    }
    return true;
}

/* The grid as a heat map. */
typedef struct drawn {
    io_heatmap map;
    io_tokens source, target;
} drawn;

static bool drawn_open(drawn *d, const translation_grid *grid, io_error *error) {
    *d = (drawn){0};
    return fill(&d->source, grid->source, grid->sources, error) &&
           fill(&d->target, grid->target, grid->targets, error);
}

/* At most so many rows and columns: of more words a cell shows the largest weight of several. The scale
 * is the same for all. */
static bool drawn_make(drawn *d, const translation_grid *grid, const char *title, int64_t rows,
                       int64_t columns, io_error *error) {
    if (!cli_heatmap_begin(&d->map, grid->targets, grid->sources, rows, columns, IO_REDUCE_MAX,
                           error)) {
        return false;
    }
    for (int64_t j = 0; j < grid->targets; j++) {
        cli_heatmap_row(&d->map, j, grid->weights + j * grid->sources);
    }
    cli_heatmap_end(&d->map);
    d->map.title = title, d->map.low = 0, d->map.high = 1;
    d->map.query_tokens = &d->target, d->map.key_tokens = &d->source;
    return true;
}

static void drawn_close(drawn *d) {
    free(d->map.cells);
    io_tokens_free(&d->source);
    io_tokens_free(&d->target);
}

static bool has_words(const translation_grid *grid) {
    return grid->sources > 0 && grid->targets > 0;
}

/* As wide as the window at most; what is too high scrolls. */
bool translate_show(const translator *t, const cli_terminal *terminal, const char *sentence,
                    const translated *result, const translation *best, io_error *error) {
    translation_grid grid;
    drawn d;
    if (!translation_grid_make(&grid, t, sentence, result, best, error)) return false;
    bool good = drawn_open(&d, &grid, error);
    if (good && has_words(&grid)) {
        const io_heatmap labels = {.queries = grid.targets,
                                   .keys = grid.sources,
                                   .query_tokens = &d.target,
                                   .key_tokens = &d.source};
        int64_t rows = 0, columns = 0;
        cli_terminal_room(terminal, &labels, 0, &rows, &columns);
        good = drawn_make(&d, &grid, "where each word looked", grid.targets, columns, error);
        if (good) cli_terminal_draw(terminal, &d.map);
    }
    drawn_close(&d);
    translation_grid_free(&grid);
    return good;
}

/* --- As a picture ----------------------------------------------------------------------------------- */

bool translate_picture(const translation_grid *grid, const char *title, const char *path,
                       io_error *error) {
    io_target target = {0};
    drawn d;
    bool good = drawn_open(&d, grid, error);
    if (good && has_words(grid)) {
        const io_picture picture = {.kind = IO_MATRIX, .of = {.map = &d.map}};
        good = drawn_make(&d, grid, title, IO_PICTURE_CELLS_MAX, IO_PICTURE_CELLS_MAX, error) &&
               io_target_open(&target, path, error) && io_picture_write(&picture, &target, error) &&
               io_targets_commit(&target, 1, error);
        io_target_discard(&target);
    }
    drawn_close(&d);
    return good;
}

/* --- As a page -------------------------------------------------------------------------------------- */

struct translate_page {
    io_target target;
    int64_t count; /* of sentences */
};

/* The page is written up to this mark, then the sentences, then the rest. */
static const char mark[] = "@sentences@";

static bool put(translate_page *page, const char *text, size_t length, io_error *error) {
    if (fwrite(text, 1, length, page->target.stream) == length) return true;
    return io_fail(error, "%s: could not be written", page->target.path);
}

bool translate_page_open(translate_page **page, const char *path, io_error *error) {
    *page = calloc(1, sizeof **page);
    if (*page == NULL) return io_fail(error, "out of memory");
    if (!io_target_open(&(*page)->target, path, error)) {
        free(*page);
        *page = NULL;
        return false;
    }
    const char *const at = strstr(cli_translate_html, mark);
    return put(*page, cli_translate_html, (size_t)(at - cli_translate_html), error);
}

static json_t *words_json(char **words, int64_t count) {
    json_t *const list = json_array();
    for (int64_t i = 0; i < count; i++) (void)json_array_append_new(list, json_string(words[i]));
    return list;
}

/* Thousandths: the eye sees no more. */
static json_t *weights_json(const translation_grid *grid) {
    json_t *const list = json_array();
    for (int64_t i = 0; i < grid->sources * grid->targets; i++) {
        (void)json_array_append_new(list, json_integer(lroundf(1000 * grid->weights[i])));
    }
    return list;
}

bool translate_page_add(translate_page *page, const translator *t, const char *sentence,
                        const translated *result, io_error *error) {
    translation_grid grid;
    const translation *const best = &result->best[0];
    if (!translation_grid_make(&grid, t, sentence, result, best, error)) return false;
    json_t *const object =
        json_pack("{s:o, s:o, s:o, s:f}", "source", words_json(grid.source, grid.sources), "target",
                  words_json(grid.target, grid.targets), "weights", weights_json(&grid), "score",
                  best->score);
    translation_grid_free(&grid);
    /* Slashes are escaped, so that no text can end the script. */
    char *const text = object ? json_dumps(object, JSON_COMPACT | JSON_ESCAPE_SLASH) : NULL;
    json_decref(object);
    if (text == NULL) return io_fail(error, "out of memory");
    const bool good =
        (page->count++ == 0 || put(page, ",\n", 2, error)) && put(page, text, strlen(text), error);
    free(text);
    return good;
}

bool translate_page_commit(translate_page *page, io_error *error) {
    const char *const rest = strstr(cli_translate_html, mark) + sizeof mark - 1;
    return put(page, rest, strlen(rest), error) && io_targets_commit(&page->target, 1, error);
}

void translate_page_close(translate_page *page) {
    if (page == NULL) return;
    io_target_discard(&page->target);
    free(page);
}

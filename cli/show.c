/* attn show: the weights as a picture. */
#include "cli.h"
#include "options.h"
#include "problem.h"
#include "terminal.h"
#include "weights.h"

#include "../io/html.h"
#include "../io/png.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct show_settings {
    cli_problem_settings problem;
    cli_token_files tokens;
    int64_t head, batch, layer; /* -1: not given */
    const char *png, *html;
    io_reduction reduction;
    int64_t links; /* -1: not given */
    int colors;    /* a cli_colors, or -1: as the terminal has them */
} show_settings;

/* Options whose argument is one of a few words. */
static bool choose(const char *const *words, int count, int *choice, const char *text) {
    for (int i = 0; i < count; i++) {
        if (strcmp(text, words[i]) != 0) continue;
        *choice = i;
        return true;
    }
    return false;
}

static bool parse_reduction(void *field, const char *text, io_error *error) {
    static const char *const words[] = {[IO_REDUCE_MAX] = "max", [IO_REDUCE_MEAN] = "mean"};
    int choice = 0;
    if (!choose(words, 2, &choice, text)) return io_fail(error, "expected max or mean");
    *(io_reduction *)field = (io_reduction)choice;
    return true;
}

static bool parse_colors(void *field, const char *text, io_error *error) {
    static const char *const words[] = {
        [CLI_COLORS_NONE] = "none", [CLI_COLORS_256] = "256", [CLI_COLORS_TRUE] = "true", "auto"};
    int choice = 0;
    if (!choose(words, 4, &choice, text)) {
        return io_fail(error, "expected auto, none, 256 or true");
    }
    *(int *)field = choice > CLI_COLORS_TRUE ? -1 : choice;
    return true;
}

#define FIELD(member) offsetof(show_settings, member)

static const cli_option choice_options[] = {
    {"head", "H", "which head, from 0 (0; --html: all)", cli_count, FIELD(head)},
    {"batch", "B", "which row of the batch, from 0 (0; --html: all)", cli_count, FIELD(batch)},
    {"layer", "L", "the row of the batch that the file's metadata calls layer L", cli_count,
     FIELD(layer)},
    {0},
};

static const cli_option picture_options[] = {
    {"png", "FILE", "also write the picture as PNG", cli_text, FIELD(png)},
    {"html", "FILE", "also write a page: pick a head, hover a token", cli_text, FIELD(html)},
    {"tokens", "FILE", "labels for queries and keys, one a line", cli_text, FIELD(tokens.both)},
    {"query-tokens", "FILE", "labels for queries", cli_text, FIELD(tokens.query)},
    {"key-tokens", "FILE", "labels for keys", cli_text, FIELD(tokens.key)},
    {"reduce", "HOW", "where one cell stands for several weights: max or mean (max)",
     parse_reduction, FIELD(reduction)},
    {"links", "N", "how many of the strongest weights to list (5, if they fit)", cli_count,
     FIELD(links)},
    {"color", "WHEN", "auto, none, 256 or true (auto)", parse_colors, FIELD(colors)},
    {0},
};

static const cli_group groups[] = {
    {"which weights", choice_options, 0},
    {"picture", picture_options, 0},
    {"inputs (where there is no FILE)", cli_input_options, FIELD(problem)},
    {"scores (for weights that are computed)", cli_score_options, FIELD(problem)},
    {"mask (for weights that are computed)", cli_mask_options, FIELD(problem)},
    {"machine", cli_machine_options, FIELD(problem)},
    {0},
};

static const cli_usage usage = {
    "attn show",
    "attn show FILE [OPTION]...\n"
    "       attn show --query FILE --key FILE --value FILE [OPTION]...",
    "Draws attention weights. FILE is a .safetensors file with query, key and value (the weights\n"
    "are computed) or weights, or a .npy file of saved weights [queries, keys], [heads, ...]\n"
    "or [batch, heads, ...].",
    groups, 1};

enum { LINKS_DEFAULT = 5, TITLE_SIZE = 512, FILES = 2 };

/* ---------------------------------------------------------------------------------------------
 * Which head
 * ------------------------------------------------------------------------------------------- */

static bool find_layer(const cli_weights *weights, int64_t layer, int64_t *batch, io_error *error) {
    char name[32];
    (void)snprintf(name, sizeof name, "%" PRId64, layer);
    for (int64_t i = 0; i < weights->layers.count; i++) {
        if (strcmp(weights->layers.text[i], name) != 0) continue;
        *batch = i;
        return true;
    }
    if (weights->layers.count == 0) {
        return io_fail(error, "--layer %s: %s does not say which layers it holds: use --batch",
                       name, weights->name);
    }
    return io_fail(error, "--layer %s: %s holds layers from %s to %s, and not that one", name,
                   weights->name, weights->layers.text[0],
                   weights->layers.text[weights->layers.count - 1]);
}

/* Turns --layer into --batch, and checks what was chosen. */
static bool check_choice(show_settings *settings, const cli_weights *weights, io_error *error) {
    if (settings->layer >= 0 && settings->batch >= 0) {
        return io_fail(error, "--layer and --batch choose the same thing: expected one of them");
    }
    if (settings->layer >= 0 && !find_layer(weights, settings->layer, &settings->batch, error)) {
        return false;
    }
    if (settings->batch >= weights->batch) {
        return io_fail(error, "--batch %" PRId64 ": %s has %" PRId64 " row%s of the batch, from 0",
                       settings->batch, weights->name, weights->batch,
                       weights->batch == 1 ? "" : "s");
    }
    if (settings->head >= weights->heads) {
        return io_fail(error, "--head %" PRId64 ": %s has %" PRId64 " head%s, from 0",
                       settings->head, weights->name, weights->heads,
                       weights->heads == 1 ? "" : "s");
    }
    return true;
}

static void name_batch(const cli_weights *weights, int64_t batch, char *text, size_t size) {
    if (weights->layers.count > 0)
        (void)snprintf(text, size, "layer %s", weights->layers.text[batch]);
    else (void)snprintf(text, size, "batch %" PRId64, batch);
}

static const char *base_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void make_title(const cli_weights *weights, int64_t batch, int64_t head, char *text) {
    char row[128];
    name_batch(weights, batch, row, sizeof row);
    (void)snprintf(text, TITLE_SIZE, "%s: %s, head %" PRId64, base_name(weights->name), row, head);
    io_utf8_clean(text);
}

/* ---------------------------------------------------------------------------------------------
 * Pictures
 * ------------------------------------------------------------------------------------------- */

static int64_t chosen(int64_t choice) {
    return choice < 0 ? 0 : choice;
}

static bool draw_png(const show_settings *settings, const cli_weights *weights, io_target *target,
                     io_error *error) {
    const int64_t batch = chosen(settings->batch), head = chosen(settings->head);
    char title[TITLE_SIZE];
    io_heatmap map;
    make_title(weights, batch, head, title);
    bool good = cli_heatmap_make(&map, weights, batch, head, IO_PNG_CELLS_MAX, IO_PNG_CELLS_MAX,
                                 settings->reduction, NULL, error);
    map.title = title;
    good = good && io_png_write(&map, target, error);
    free(map.cells);
    return good;
}

/* The part of the batch and of the heads that the page shows: all, or what was chosen. */
typedef struct extent {
    int64_t batch, batches, head, heads;
} extent;

static bool write_heads(const cli_weights *weights, const extent *part, io_target *target,
                        io_error *error) {
    const int64_t count = weights->queries * weights->keys;
    float *const rows = calloc((size_t)count, sizeof *rows);
    bool good = rows || io_fail(error, "no memory for the weights of a head");
    for (int64_t i = 0; good && i < part->batches * part->heads; i++) {
        good = cli_weights_rows(weights, part->batch + i / part->heads,
                                part->head + i % part->heads, 0, weights->queries, rows, error);
        if (good) io_html_head(rows, count, i == 0, target);
    }
    free(rows);
    return good;
}

static bool name_batches(const cli_weights *weights, const extent *part, io_tokens *names,
                         io_error *error) {
    names->text = calloc((size_t)part->batches, sizeof *names->text);
    for (int64_t i = 0; names->text && i < part->batches; i++) {
        char text[128];
        name_batch(weights, part->batch + i, text, sizeof text);
        io_utf8_clean(text);
        names->text[i] = strdup(text);
        if (!names->text[i]) break;
        names->count++;
    }
    return names->count == part->batches || io_fail(error, "no memory for names");
}

static bool check_html_size(const cli_weights *weights, const extent *part, io_error *error) {
    double total = (double)part->batches * (double)part->heads;
    total *= (double)weights->queries * (double)weights->keys;
    if (total <= IO_HTML_WEIGHTS_MAX) return true;
    return io_fail(error,
                   "--html: %" PRId64 " head%s of %" PRId64 " x %" PRId64 " weights are too "
                   "many for one page: expected at most %d weights (choose by --head, "
                   "--batch, or use --png)",
                   part->batches * part->heads, part->batches * part->heads == 1 ? "" : "s",
                   weights->queries, weights->keys, IO_HTML_WEIGHTS_MAX);
}

static extent html_extent(const show_settings *settings, const cli_weights *weights) {
    return (extent){.batch = chosen(settings->batch),
                    .batches = settings->batch < 0 ? weights->batch : 1,
                    .head = chosen(settings->head),
                    .heads = settings->head < 0 ? weights->heads : 1};
}

static bool draw_html(const show_settings *settings, const cli_weights *weights, io_target *target,
                      io_error *error) {
    const extent part = html_extent(settings, weights);
    char title[TITLE_SIZE];
    io_tokens names = {0};
    (void)snprintf(title, sizeof title, "%s", base_name(weights->name));
    io_utf8_clean(title);
    const io_html page = {.title = title,
                          .batches = &names,
                          .first_head = part.head,
                          .heads = part.heads,
                          .queries = weights->queries,
                          .keys = weights->keys,
                          .query_tokens = &weights->problem.query_tokens,
                          .key_tokens = &weights->problem.key_tokens};
    bool good = name_batches(weights, &part, &names, error) &&
                io_html_begin(&page, target, error) && write_heads(weights, &part, target, error);
    if (good) io_html_end(target);
    io_tokens_free(&names);
    return good;
}

static bool write_files(const show_settings *settings, const cli_weights *weights,
                        io_error *error) {
    io_target targets[FILES] = {0};
    io_target *const png = &targets[0], *const html = &targets[1];
    bool good = true;
    if (settings->png && !io_png_available()) {
        return io_fail(error, "--png %s: this build of attn has no PNG (it was made without cairo)",
                       settings->png);
    }
    if (settings->html) {
        const extent part = html_extent(settings, weights);
        good = check_html_size(weights, &part, error);
    }
    if (good && settings->png) good = io_target_open(png, settings->png, error);
    if (good && settings->html) good = io_target_open(html, settings->html, error);
    if (good && settings->png) good = draw_png(settings, weights, png, error);
    if (good && settings->html) good = draw_html(settings, weights, html, error);
    if (good) return io_targets_commit(targets, FILES, error);
    for (int i = 0; i < FILES; i++) io_target_discard(&targets[i]);
    return false;
}

/* The label of a link's end, and its width in columns. */
static int link_label(const cli_terminal *terminal, const io_tokens *tokens, int64_t i, char *text,
                      unsigned size) {
    io_heatmap_label(tokens, 1, i, text, size);
    return cli_terminal_width(terminal, text);
}

static void print_links(const cli_terminal *terminal, const cli_weights *weights,
                        const cli_links *links) {
    enum {
        BESIDES = 34,
        LABEL_LEAST = 6
    }; /* columns that are not labels: weight, arrow, indices */
    const io_tokens *const query = &weights->problem.query_tokens;
    const io_tokens *const key = &weights->problem.key_tokens;
    const int room = (terminal->columns - BESIDES) / 2;
    const int most = room > LABEL_LEAST ? room : LABEL_LEAST;
    char text[512];
    int widest = 0;
    for (int i = 0; i < links->count; i++) {
        const int width = link_label(terminal, query, links->link[i].query, text, sizeof text);
        if (width > widest) widest = width;
    }
    if (links->count > 0) printf("\nstrongest:\n");
    for (int i = 0; i < links->count; i++) {
        const cli_link *const link = &links->link[i];
        printf("%8.4f  ", (double)link->weight);
        (void)link_label(terminal, query, link->query, text, sizeof text);
        cli_terminal_print(terminal, text, widest < most ? widest : most, true);
        printf(" -> ");
        const int width = link_label(terminal, key, link->key, text, sizeof text);
        cli_terminal_print(terminal, text, width < most ? width : most, false);
        printf("  (%" PRId64 ", %" PRId64 ")\n", link->query, link->key);
    }
}

static bool draw_terminal(const show_settings *settings, const cli_weights *weights,
                          io_error *error) {
    const int64_t batch = chosen(settings->batch), head = chosen(settings->head);
    cli_terminal terminal = cli_terminal_detect();
    cli_links links = {.wanted = settings->links < 0 ? LINKS_DEFAULT : (int)settings->links};
    char title[TITLE_SIZE];
    int64_t rows = 0, columns = 0;
    io_heatmap map;
    if (settings->colors >= 0) terminal.colors = (cli_colors)settings->colors;
    cli_terminal_room(&terminal, weights, links.wanted > 0 ? links.wanted + 2 : 0, &rows, &columns);
    if (rows < weights->queries && settings->links < 0) { /* the picture goes first */
        links.wanted = 0;
        cli_terminal_room(&terminal, weights, 0, &rows, &columns);
    }
    const bool good = cli_heatmap_make(&map, weights, batch, head, rows, columns,
                                       settings->reduction, &links, error);
    make_title(weights, batch, head, title);
    map.title = title;
    if (good) cli_terminal_draw(&terminal, &map);
    if (good) print_links(&terminal, weights, &links);
    free(map.cells);
    return good;
}

bool cli_show(int argc, char **argv, io_error *error) {
    show_settings settings = {.head = -1, .batch = -1, .layer = -1, .links = -1, .colors = -1};
    cli_weights weights;
    const cli_parsed parsed = cli_parse(&usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    if (settings.links > CLI_LINKS_MAX) {
        return io_fail(error, "--links %" PRId64 ": expected at most %d", settings.links,
                       CLI_LINKS_MAX);
    }
    const char *const path = cli_operand(argc, argv, 0);
    bool good = cli_weights_open(&weights, &settings.problem, path, &settings.tokens, error);
    good = good && check_choice(&settings, &weights, error);
    good = good && write_files(&settings, &weights, error);
    good = good && draw_terminal(&settings, &weights, error);
    cli_weights_close(&weights);
    return good;
}

/* attn show: views of the weights as pictures. */
#include "cli.h"
#include "show.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const show_kind_names[SHOW_KINDS] = {
    [SHOW_AS_AUTO] = "auto", [SHOW_AS_MATRIX] = "matrix", [SHOW_AS_LINES] = "lines",
    [SHOW_AS_BARS] = "bars", [SHOW_AS_GRID] = "grid",     [SHOW_AS_TABLE] = "table",
    [SHOW_AS_PATH] = "path"};

/* ---------------------------------------------------------------------------------------------
 * Options
 * ------------------------------------------------------------------------------------------- */

static bool parse_reduction(void *field, const char *text, io_error *error) {
    static const char *const words[] = {[IO_REDUCE_MAX] = "max", [IO_REDUCE_MEAN] = "mean"};
    int choice = 0;
    if (!cli_word(words, 2, sizeof words[0], text, &choice, error)) return false;
    *(io_reduction *)field = (io_reduction)choice;
    return true;
}

static bool parse_colors(void *field, const char *text, io_error *error) {
    static const char *const words[] = {
        [CLI_COLORS_NONE] = "none", [CLI_COLORS_256] = "256", [CLI_COLORS_TRUE] = "true", "auto"};
    int choice = 0;
    if (!cli_word(words, 4, sizeof words[0], text, &choice, error)) return false;
    *(int *)field = choice > CLI_COLORS_TRUE ? -1 : choice;
    return true;
}

static bool parse_kind(void *field, const char *text, io_error *error) {
    int choice = 0;
    if (!cli_word(show_kind_names, SHOW_KINDS, sizeof show_kind_names[0], text, &choice, error)) {
        return false;
    }
    *(show_kind *)field = (show_kind)choice;
    return true;
}

#define FIELD(member) offsetof(show_settings, member)

static const cli_option choice_options[] = {
    {"view", "NAME=FILE",
     "a view as attn run --view writes it; again for more views,\n"
     "and for the same view of the next layer",
     show_parse_view, FIELD(files)},
    {"head", "H,...", "which heads, from 0 (0; grid, table, --html: all)", cli_numbers,
     FIELD(heads)},
    {"batch", "B", "which row of the batch, from 0 (0; grid, table, --html: all)", cli_count,
     FIELD(batch)},
    {"layer", "L",
     "which layer: the file, from 0, or the row that the file's metadata\n"
     "calls layer L",
     cli_count, FIELD(layer)},
    {"block-queries", "N", "queries of a block in --view block-sums", cli_count,
     FIELD(block_queries)},
    {"block-keys", "N", "keys of a block", cli_count, FIELD(block_keys)},
    {0},
};

static const cli_option picture_options[] = {
    {"kind", "KIND", "matrix, lines, bars, grid, table or path (auto: by the shape)", parse_kind,
     FIELD(kind)},
    {"png", "FILE", "also write the picture as PNG", cli_text, FIELD(png)},
    {"svg", "FILE", "also write the picture as SVG", cli_text, FIELD(svg)},
    {"html", "FILE", "also write a page with all views: pick a head, hover a token", cli_text,
     FIELD(html)},
    {"title", "TEXT", "what stands above the picture (the name of the first file)", cli_text,
     FIELD(title)},
    {"dark", NULL, "PNG and SVG for dark surroundings", cli_flag, FIELD(dark)},
    {"tokens", "FILE", "labels for queries and keys, one a line", cli_text, FIELD(tokens.both)},
    {"query-tokens", "FILE", "labels for queries", cli_text, FIELD(tokens.query)},
    {"key-tokens", "FILE", "labels for keys", cli_text, FIELD(tokens.key)},
    {"reduce", "HOW", "where one cell stands for several weights: max or mean (max)",
     parse_reduction, FIELD(reduction)},
    {"lines", "K", "lines of a query, its K strongest keys (as many as there is room for)",
     cli_count, FIELD(top)},
    {"links", "N", "how many of the strongest weights to list (5, if they fit)", cli_count,
     FIELD(links)},
    {"color", "WHEN", "auto, none, 256 or true (auto)", parse_colors, FIELD(colors)},
    {0},
};

static const cli_group groups[] = {
    {"which weights", choice_options, 0},
    {"picture", picture_options, 0},
    {"inputs (where there is no FILE)", cli_input_options, FIELD(problem)},
    {"score (for weights that are computed, as all that follows)", cli_kind_options,
     FIELD(problem)},
    {"changes to the score", cli_score_options, FIELD(problem)},
    {"terms by the offset of key from query", cli_relative_options, FIELD(problem)},
    {"location-aware scores (additive, concat)", cli_location_options, FIELD(problem)},
    {"normalizer", cli_normalizer_options, FIELD(problem)},
    {"mask (all that is given applies together)", cli_mask_options, FIELD(problem)},
    {"machine", cli_machine_options, FIELD(problem)},
    {0},
};

static const cli_usage usage = {
    "attn show",
    "attn show FILE... [OPTION]...\n"
    "       attn show --view NAME=FILE [--view NAME=FILE]... [OPTION]...\n"
    "       attn show --query FILE --key FILE --value FILE [OPTION]...",
    "Draws attention weights and views of them. FILE is a .safetensors file with query, key and\n"
    "value (the weights are computed) or weights, or a .npy file of saved weights [queries, keys],\n"
    "[heads, ...] or [batch, heads, ...], or of one number for each key or query. Several files are\n"
    "layers.",
    groups, SHOW_FILES_MAX};

/* ---------------------------------------------------------------------------------------------
 * Which layers and heads
 * ------------------------------------------------------------------------------------------- */

static const char *plural(int64_t count) {
    return count == 1 ? "" : "s";
}

static bool has_metadata(const show_stack *stack) {
    return stack->weight_files == 1 && stack->weights[0].layers.count > 0;
}

static bool find_layer(const show_stack *stack, int64_t layer, int64_t *row, io_error *error) {
    char name[64];
    const io_tokens *const names = &stack->layer_names;
    (void)snprintf(name, sizeof name, "layer %" PRId64, layer);
    for (int64_t i = 0; i < names->count; i++) {
        if (strcmp(names->text[i], name) != 0) continue;
        *row = i;
        return true;
    }
    if (strncmp(names->text[0], "layer ", 6) != 0) {
        return io_fail(error,
                       "--layer %" PRId64 ": %s does not say which layers it holds: use "
                       "--batch",
                       layer, stack->name);
    }
    return io_fail(error, "--layer %" PRId64 ": %s holds layers from %s to %s, and not that one",
                   layer, has_metadata(stack) ? stack->name : "what was given", names->text[0] + 6,
                   names->text[names->count - 1] + 6);
}

static bool choose_layer(const show_settings *settings, const show_stack *stack,
                         show_extent *extent, io_error *error) {
    int64_t row = settings->batch;
    if (settings->layer >= 0 && settings->batch >= 0) {
        return io_fail(error, "--layer and --batch choose the same thing: expected one of them");
    }
    if (settings->layer >= 0 && !find_layer(stack, settings->layer, &row, error)) return false;
    if (row >= stack->layers) {
        return io_fail(error, "--batch %" PRId64 ": %s has %" PRId64 " row%s of the batch, from 0",
                       row, stack->name, stack->layers, plural(stack->layers));
    }
    extent->layer = row < 0 ? 0 : row;
    extent->layers = row < 0 ? stack->layers : 1;
    return true;
}

/* The heads that were named, or all; `all` has room for them. */
static bool choose_heads(const show_settings *settings, const show_stack *stack, int64_t *all,
                         show_extent *extent, io_error *error) {
    const cli_list *const named = &settings->heads;
    for (int i = 0; i < named->count; i++) {
        if (named->values[i] < stack->heads) continue;
        return io_fail(error, "--head %" PRId64 ": %s has %" PRId64 " head%s, from 0",
                       named->values[i], stack->name, stack->heads, plural(stack->heads));
    }
    for (int64_t i = 0; i < stack->heads; i++) all[i] = i;
    extent->all_heads = named->count == 0;
    extent->heads = extent->all_heads ? all : named->values;
    extent->head_count = extent->all_heads ? stack->heads : named->count;
    return true;
}

static const char *base_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void show_title(const show_stack *stack, int64_t layer, int64_t head, char *text) {
    char row[192] = "", number[32] = "";
    if (layer >= 0) (void)snprintf(row, sizeof row, ": %s", io_token(&stack->layer_names, layer));
    if (head >= 0) (void)snprintf(number, sizeof number, ", head %" PRId64, head);
    (void)snprintf(text, SHOW_TITLE_SIZE, "%.255s%s%s",
                   stack->title ? stack->title : base_name(stack->name), row, number);
    io_utf8_clean(text);
}

/* ---------------------------------------------------------------------------------------------
 * Which kind of picture
 * ------------------------------------------------------------------------------------------- */

static bool has_bars(const show_stack *stack) {
    return show_has(stack, show_first_bars(stack));
}

static bool has_lines(const show_stack *stack) {
    return show_has(stack, SHOW_TOP_KEYS) || show_has(stack, SHOW_ARGMAX);
}

bool show_can_be_table(const show_stack *stack) {
    return stack->weights || show_has(stack, SHOW_HEAD_STATISTICS);
}

/* What shows most of what was given. */
static show_kind natural_kind(const show_stack *stack) {
    if (stack->weights || show_has(stack, SHOW_BLOCK_SUMS)) return SHOW_AS_MATRIX;
    if (has_lines(stack)) return SHOW_AS_LINES;
    if (show_has(stack, SHOW_PATH)) return SHOW_AS_PATH;
    return has_bars(stack) ? SHOW_AS_BARS : SHOW_AS_TABLE;
}

static bool check_kind(const show_stack *stack, show_kind kind, io_error *error) {
    const bool map = stack->weights || show_has(stack, SHOW_BLOCK_SUMS) || has_lines(stack);
    const struct {
        bool possible;
        const char *needs;
    } kinds[SHOW_KINDS] = {
        [SHOW_AS_MATRIX] = {map, "weights, block-sums or top-keys"},
        [SHOW_AS_LINES] = {stack->weights || has_lines(stack), "weights, top-keys or argmax"},
        [SHOW_AS_BARS] = {stack->weights || has_bars(stack),
                          "weights, or a view of a number for each key or query"},
        [SHOW_AS_GRID] = {map, "weights, block-sums or top-keys"},
        [SHOW_AS_TABLE] = {show_can_be_table(stack), "weights or head-statistics"},
        [SHOW_AS_PATH] = {show_has(stack, SHOW_PATH), "path"},
    };
    if (kinds[kind].possible) return true;
    return io_fail(error, "--kind %s: cannot be drawn from %s: expected %s", show_kind_names[kind],
                   stack->name, kinds[kind].needs);
}

/* A view of keys that nobody can draw: weights without the keys that they are of. */
static bool choose_kind(show_settings *settings, const show_stack *stack, const show_extent *extent,
                        io_error *error) {
    const bool several = !extent->all_heads && extent->head_count > 1;
    if (show_has(stack, SHOW_TOP_WEIGHTS) && !show_has(stack, SHOW_TOP_KEYS)) {
        return io_fail(error, "--view top-weights needs --view top-keys, which say whose they are");
    }
    if (settings->kind == SHOW_AS_AUTO) settings->kind = natural_kind(stack);
    if (several && (settings->kind == SHOW_AS_MATRIX || settings->kind == SHOW_AS_BARS) &&
        (settings->png || settings->svg)) {
        return io_fail(error,
                       "--head: a picture of kind %s is of one head: expected one, or --kind "
                       "lines, grid or table",
                       show_kind_names[settings->kind]);
    }
    return check_kind(stack, settings->kind, error);
}

/* ---------------------------------------------------------------------------------------------
 * All of it
 * ------------------------------------------------------------------------------------------- */

enum { PNG, SVG, HTML, FILES };

static bool check_pictures(const show_settings *settings, io_error *error) {
    const char *const path = settings->png ? settings->png : settings->svg;
    if (!path || io_picture_available()) return true;
    return io_fail(error, "--%s %s: this build of attn has no %s (it was made without cairo)",
                   settings->png ? "png" : "svg", path, settings->png ? "PNG" : "SVG");
}

static bool write_files(const show_settings *settings, const show_stack *stack,
                        const show_extent *extent, io_error *error) {
    const char *const paths[FILES] = {
        [PNG] = settings->png, [SVG] = settings->svg, [HTML] = settings->html};
    io_target targets[FILES] = {0};
    bool good = check_pictures(settings, error);
    for (int i = 0; good && i < FILES; i++) {
        if (paths[i]) good = io_target_open(&targets[i], paths[i], error);
    }
    for (int i = PNG; good && i <= SVG; i++) {
        if (paths[i]) {
            good = show_as_picture(settings, stack, extent, i == SVG, &targets[i], error);
        }
    }
    if (good && paths[HTML]) good = show_as_page(settings, stack, extent, &targets[HTML], error);
    if (good) return io_targets_commit(targets, FILES, error);
    for (int i = 0; i < FILES; i++) io_target_discard(&targets[i]);
    return false;
}

static bool show(show_settings *settings, const show_stack *stack, io_error *error) {
    int64_t *const all = calloc((size_t)stack->heads, sizeof *all);
    show_extent extent = {0};
    bool good = all || io_fail(error, "no memory for %" PRId64 " heads", stack->heads);
    good = good && choose_layer(settings, stack, &extent, error);
    good = good && choose_heads(settings, stack, all, &extent, error);
    good = good && choose_kind(settings, stack, &extent, error);
    good = good && write_files(settings, stack, &extent, error);
    good = good && show_on_terminal(settings, stack, &extent, error);
    free(all);
    return good;
}

bool cli_show(int argc, char **argv, io_error *error) {
    show_settings *const settings = calloc(1, sizeof *settings); /* too large for the stack */
    show_stack stack;
    if (!settings) return io_fail(error, "no memory for the options");
    settings->batch = settings->layer = settings->links = settings->colors = -1;
    const cli_parsed parsed = cli_parse(&usage, argc, argv, settings, error);
    bool good = parsed != CLI_BAD_OPTION;
    if (parsed == CLI_PARSED && settings->links > CLI_LINKS_MAX) {
        good = io_fail(error, "--links %" PRId64 ": expected at most %d", settings->links,
                       CLI_LINKS_MAX);
    } else if (parsed == CLI_PARSED) {
        good = show_stack_open(&stack, settings, argc, argv, error);
        good = good && show(settings, &stack, error);
        show_stack_close(&stack);
    }
    free(settings);
    return good;
}

/* show_picture.c: what attn show draws, as PNG or SVG. */
#include "show.h"

#include "../io/color.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct scene {
    const show_settings *settings;
    const show_stack *stack;
    const show_extent *extent;
    io_picture *picture;
    io_target *target;
} scene;

/* Lines of a query: more of them would only be a haze. */
static int64_t lines_of_query(const show_settings *settings, const show_stack *stack) {
    enum { SOME = 5 };
    if (settings->top > 0) return settings->top;
    return stack->keys < SOME ? stack->keys : SOME;
}

static bool draw_matrix(const scene *s, io_error *error) {
    const show_wanted wanted = {.map = true,
                                .path = show_has(s->stack, SHOW_PATH),
                                .rows_most = IO_PICTURE_CELLS_MAX,
                                .columns_most = IO_PICTURE_CELLS_MAX,
                                .reduction = s->settings->reduction};
    const int64_t layer = s->extent->layer, index = s->extent->heads[0];
    char title[SHOW_TITLE_SIZE];
    show_head head;
    bool good = show_head_load(&head, s->stack, layer, index, &wanted, error);
    show_title(s->stack, layer, index, title);
    head.map.title = title, head.map.path = head.path;
    s->picture->of.map = &head.map;
    good = good && io_picture_write(s->picture, s->target, error);
    show_head_free(&head);
    return good;
}

/* ---------------------------------------------------------------------------------------------
 * Lines
 * ------------------------------------------------------------------------------------------- */

static int by_weight(const void *a, const void *b) {
    const float x = ((const io_link *)a)->weight, y = ((const io_link *)b)->weight;
    return (x > y) - (x < y);
}

enum { BUNDLES = 72 }; /* places of a column where lines of a long text begin and end */

/* Thousands of lines would cover each other: of a long text those from like places to like places
 * become one, by their sum. `sums` has room for every pair of places. */
static void bundle(io_lines *lines, io_link *links, int64_t from, float *sums) {
    memset(sums, 0, BUNDLES * BUNDLES * sizeof *sums);
    for (int64_t i = from; i < lines->count; i++) {
        const int64_t row = links[i].query * BUNDLES / lines->queries;
        sums[row * BUNDLES + links[i].key * BUNDLES / lines->keys] += links[i].weight;
    }
    const int hue = from < lines->count ? links[from].hue : 0;
    lines->count = from;
    for (int64_t i = 0; i < BUNDLES * BUNDLES; i++) {
        if (sums[i] == 0) continue;
        links[lines->count++] =
            (io_link){(i / BUNDLES * 2 + 1) * lines->queries / (2 * BUNDLES),
                      (i % BUNDLES * 2 + 1) * lines->keys / (2 * BUNDLES), sums[i], hue};
    }
}

/* Adds the lines of a head, and what a line must weigh to be opaque. */
static void add_links(io_lines *lines, io_link *links, const show_head *head, int hue) {
    float sums[BUNDLES * BUNDLES];
    const int64_t from = lines->count;
    for (int64_t i = 0; i < lines->queries * head->top; i++) {
        if (head->top_keys[i] < 0) continue;
        links[lines->count++] =
            (io_link){i / head->top, head->top_keys[i], head->top_weights[i], hue};
    }
    if (lines->bundled) bundle(lines, links, from, sums);
    for (int64_t i = from; i < lines->count; i++) {
        if (links[i].weight > lines->high) lines->high = links[i].weight;
    }
}

/* What is less than a fiftieth of the opaque could not be seen. */
static void drop_faint(io_lines *lines, io_link *links) {
    int64_t kept = 0;
    for (int64_t i = 0; i < lines->count; i++) {
        if (links[i].weight > lines->high / 50) links[kept++] = links[i];
    }
    lines->count = kept;
}

static bool collect_links(const scene *s, int64_t heads, int64_t top, io_lines *lines,
                          io_link *links, io_error *error) {
    const show_wanted wanted = {.lines = true, .top = top};
    for (int64_t i = 0; i < heads; i++) {
        show_head head;
        const bool good =
            show_head_load(&head, s->stack, s->extent->layer, s->extent->heads[i], &wanted, error);
        if (good) add_links(lines, links, &head, (int)i);
        show_head_free(&head);
        if (!good) return false;
    }
    drop_faint(lines, links);
    qsort(links, (size_t)lines->count, sizeof *links, by_weight); /* strong ones lie on top */
    return true;
}

static bool draw_lines(const scene *s, io_error *error) {
    const show_stack *const stack = s->stack;
    const int64_t heads = s->extent->all_heads ? 1 : s->extent->head_count;
    const int64_t top = lines_of_query(s->settings, stack);
    char title[SHOW_TITLE_SIZE], names[IO_HUES][32];
    const char *hue_names[IO_HUES];
    io_lines lines = {.title = title,
                      .queries = stack->queries,
                      .keys = stack->keys,
                      .bundled = stack->queries > 2 * BUNDLES && stack->keys > 2 * BUNDLES,
                      .query_tokens = stack->query_tokens,
                      .key_tokens = stack->key_tokens,
                      .hue_names = hue_names,
                      .hues = (int)heads};
    if (heads > IO_HUES) return io_fail(error, "--head: lines have colours for %d heads", IO_HUES);
    for (int64_t i = 0; i < heads; i++) {
        (void)snprintf(names[i], sizeof names[i], "head %" PRId64, s->extent->heads[i]);
        hue_names[i] = names[i];
    }
    io_link *const links =
        calloc((size_t)(heads * (stack->queries * top + BUNDLES * BUNDLES)), sizeof *links);
    lines.link = links;
    show_title(stack, s->extent->layer, heads > 1 ? -1 : s->extent->heads[0], title);
    bool good = links || io_fail(error, "no memory for lines");
    good = good && collect_links(s, heads, top, &lines, links, error);
    s->picture->of.lines = &lines;
    good = good && io_picture_write(s->picture, s->target, error);
    free(links);
    return good;
}

/* ---------------------------------------------------------------------------------------------
 * Bars
 * ------------------------------------------------------------------------------------------- */

static bool draw_bars(const scene *s, io_error *error) {
    const show_stack *const stack = s->stack;
    const show_view view = show_first_bars(stack);
    const bool of_keys = view < SHOW_FIRST_QUERY_BARS;
    show_wanted wanted = {0};
    char title[SHOW_TITLE_SIZE];
    show_head head;
    io_bars bars = {.title = title,
                    .label = show_view_label(view),
                    .tokens = of_keys ? stack->key_tokens : stack->query_tokens};
    wanted.bars[view] = true;
    bool good = show_head_load(&head, stack, s->extent->layer, s->extent->heads[0], &wanted, error);
    if (good) {
        bars.count = of_keys ? stack->keys : stack->queries;
        bars.block = show_reduce_bars(head.bars[view], &bars.count, IO_PICTURE_BARS_MAX);
    }
    bars.value = head.bars[view];
    show_title(stack, s->extent->layer, s->extent->heads[0], title);
    s->picture->of.bars = &bars;
    good = good && io_picture_write(s->picture, s->target, error);
    show_head_free(&head);
    return good;
}

int64_t show_reduce_bars(float *values, int64_t *count, int64_t most) {
    const int64_t block = (*count + most - 1) / most;
    const int64_t before = *count;
    *count = (before + block - 1) / block;
    for (int64_t i = 0; i < *count; i++) {
        float greatest = values[i * block];
        for (int64_t j = i * block; j < before && j < (i + 1) * block; j++) {
            if (values[j] > greatest) greatest = values[j];
        }
        values[i] = greatest;
    }
    return block;
}

/* ---------------------------------------------------------------------------------------------
 * Many heads
 * ------------------------------------------------------------------------------------------- */

static bool load_grid(const scene *s, const io_grid *grid, io_heatmap *maps, io_error *error) {
    const show_wanted wanted = {.map = true,
                                .rows_most = IO_PICTURE_THUMB_CELLS,
                                .columns_most = IO_PICTURE_THUMB_CELLS,
                                .reduction = s->settings->reduction};
    for (int64_t i = 0; i < grid->rows * grid->columns; i++) {
        show_head head;
        const bool good = show_head_load(&head, s->stack, s->extent->layer + i / grid->columns,
                                         s->extent->heads[i % grid->columns], &wanted, error);
        maps[i] = head.map;
        head.map.cells = NULL; /* the grid's now */
        show_head_free(&head);
        if (!good) return false;
    }
    return true;
}

static bool draw_grid(const scene *s, io_error *error) {
    char title[SHOW_TITLE_SIZE];
    io_tokens layers = {0}, heads = {0};
    io_grid grid = {.title = title,
                    .rows = s->extent->layers,
                    .columns = s->extent->head_count,
                    .row_names = &layers,
                    .column_names = &heads};
    const int64_t count = grid.rows * grid.columns;
    io_heatmap *const maps = calloc((size_t)count, sizeof *maps);
    grid.map = maps;
    show_title(s->stack, -1, -1, title);
    bool good = maps || io_fail(error, "no memory for %" PRId64 " heads", count);
    good = good && show_name_extent(s->stack, s->extent, &layers, &heads, error);
    good = good && load_grid(s, &grid, maps, error);
    s->picture->of.grid = &grid;
    good = good && io_picture_write(s->picture, s->target, error);
    for (int64_t i = 0; maps && i < count; i++) free(maps[i].cells);
    free(maps);
    io_tokens_free(&layers);
    io_tokens_free(&heads);
    return good;
}

static bool draw_tables(const scene *s, io_error *error) {
    char title[SHOW_TITLE_SIZE];
    show_tables tables;
    show_title(s->stack, -1, -1, title);
    bool good = show_tables_load(&tables, s->stack, s->extent, error);
    const io_tables pictured = {title, tables.map, ATTN_HEAD_STATISTICS};
    s->picture->of.tables = &pictured;
    good = good && io_picture_write(s->picture, s->target, error);
    show_tables_free(&tables);
    return good;
}

bool show_as_picture(const show_settings *settings, const show_stack *stack,
                     const show_extent *extent, bool svg, io_target *target, io_error *error) {
    static const struct {
        io_picture_kind kind;
        bool (*draw)(const scene *, io_error *);
    } kinds[SHOW_KINDS] = {
        [SHOW_AS_AUTO] = {IO_MATRIX, draw_matrix}, [SHOW_AS_MATRIX] = {IO_MATRIX, draw_matrix},
        [SHOW_AS_LINES] = {IO_LINES, draw_lines},  [SHOW_AS_BARS] = {IO_BARS, draw_bars},
        [SHOW_AS_GRID] = {IO_GRID, draw_grid},     [SHOW_AS_TABLE] = {IO_TABLES, draw_tables},
        [SHOW_AS_PATH] = {IO_MATRIX, draw_matrix},
    };
    io_picture picture = {.kind = kinds[settings->kind].kind, .svg = svg, .dark = settings->dark};
    const scene s = {settings, stack, extent, &picture, target};
    return kinds[settings->kind].draw(&s, error);
}

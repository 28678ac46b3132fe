/* show_page.c: the views of all chosen heads as one HTML page. */
#include "show.h"

#include "../io/html.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOP_MOST = 8 }; /* lines of a query that a page takes from weights which it cannot hold */

/* Weights that are few are held as they are. Of more, as of views, each head has these. */
typedef struct plan {
    const show_settings *settings;
    const show_stack *stack;
    const show_extent *extent;
    bool weights;
    show_wanted wanted;
    int key_bytes;
} plan;

static double head_count(const show_extent *extent) {
    return (double)extent->layers * (double)extent->head_count;
}

static int64_t bar_length(const show_stack *stack, show_view view) {
    return view < SHOW_FIRST_QUERY_BARS ? stack->keys : stack->queries;
}

/* The bars that there are, or else those that the weights tell. */
static void plan_bars(plan *p) {
    bool any = false;
    for (show_view view = SHOW_FIRST_BARS; view < SHOW_VIEWS; view++) {
        p->wanted.bars[view] = show_has(p->stack, view);
        any = any || p->wanted.bars[view];
    }
    if (any || !p->stack->weights) return;
    p->wanted.bars[SHOW_RECEIVED_SUM] = p->wanted.bars[SHOW_ENTROPY] = true;
}

/* Characters of base64 that the views of a head take with that many lines of a query. */
static double head_bytes(const plan *p, int64_t top) {
    double bytes = p->wanted.map ? IO_HTML_BLOCKS * IO_HTML_BLOCKS : 0;
    if (p->wanted.lines) bytes += (double)p->stack->queries * (double)top * (p->key_bytes + 2);
    for (show_view view = SHOW_FIRST_BARS; view < SHOW_VIEWS; view++) {
        if (p->wanted.bars[view]) bytes += 2 * (double)bar_length(p->stack, view);
    }
    return bytes * 4 / 3;
}

/* As many lines as fit the page, at most those that are there or were asked for. */
static bool plan_top(plan *p, io_error *error) {
    const show_stack *const stack = p->stack;
    int64_t top = p->settings->top > 0 ? p->settings->top : TOP_MOST, sizes[2] = {0, 1};
    if (show_has(stack, SHOW_TOP_KEYS)) show_view_sizes(stack, SHOW_TOP_KEYS, sizes);
    if (!stack->weights) top = p->settings->top > 0 && top < sizes[1] ? top : sizes[1];
    if (top > stack->keys) top = stack->keys;
    while (top > 1 && head_bytes(p, top) * head_count(p->extent) > IO_HTML_BYTES_MAX) top--;
    p->wanted.top = top;
    const double total = head_bytes(p, top) * head_count(p->extent);
    if (total <= IO_HTML_BYTES_MAX) return true;
    return io_fail(error,
                   "--html: the views of %.0f heads would take %.0f MiB, which is too much for one "
                   "page: expected at most %d (choose by --head, --batch or --layer)",
                   head_count(p->extent), total / (1 << 20), IO_HTML_BYTES_MAX >> 20);
}

static bool make_plan(plan *p, io_error *error) {
    const show_stack *const stack = p->stack;
    const double weights = head_count(p->extent) * (double)stack->queries * (double)stack->keys;
    const bool has_top = show_has(stack, SHOW_TOP_KEYS) || show_has(stack, SHOW_ARGMAX);
    p->key_bytes = io_html_key_bytes(stack->keys);
    p->weights = stack->weights && weights <= IO_HTML_WEIGHTS_MAX;
    p->wanted = (show_wanted){.map = stack->weights || show_has(stack, SHOW_BLOCK_SUMS),
                              .lines = stack->weights || has_top,
                              .path = show_has(stack, SHOW_PATH),
                              .rows_most = IO_HTML_BLOCKS,
                              .columns_most = IO_HTML_BLOCKS,
                              .reduction = p->settings->reduction};
    if (p->weights) p->wanted.map = p->wanted.lines = false;
    plan_bars(p);
    return plan_top(p, error);
}

/* ---------------------------------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------------------------------- */

static bool write_weights(const plan *p, io_target *target, int64_t layer, int64_t head,
                          io_error *error) {
    const show_stack *const stack = p->stack;
    const int64_t count = stack->queries * stack->keys;
    int64_t batch = 0;
    const cli_weights *const weights = show_layer_weights(stack, p->extent->layer + layer, &batch);
    float *const rows = calloc((size_t)count, sizeof *rows);
    bool good = rows || io_fail(error, "no memory for the weights of a head");
    good = good &&
           cli_weights_rows(weights, batch, p->extent->heads[head], 0, stack->queries, rows, error);
    good = good && io_html_numbers(target, "weights", layer, head, rows, count, 4, error);
    free(rows);
    return good;
}

static bool write_bars(const plan *p, const show_head *loaded, io_target *target, int64_t layer,
                       int64_t head, io_error *error) {
    char name[32];
    int place = 0;
    for (show_view view = SHOW_FIRST_BARS; view < SHOW_VIEWS; view++) {
        if (!p->wanted.bars[view]) continue;
        (void)snprintf(name, sizeof name, "bars%d", place++);
        if (!io_html_numbers(target, name, layer, head, loaded->bars[view],
                             bar_length(p->stack, view), 2, error)) {
            return false;
        }
    }
    return true;
}

static bool write_views(const plan *p, const show_head *loaded, io_target *target, int64_t layer,
                        int64_t head, io_error *error) {
    const int64_t links = p->stack->queries * loaded->top;
    const io_heatmap *const map = &loaded->map;
    bool good = true;
    if (p->wanted.map) {
        good = io_html_numbers(target, "blocks", layer, head, map->cells, map->rows * map->columns,
                               1, error);
    }
    if (good && p->wanted.lines) {
        good = io_html_keys(target, "top_keys", layer, head, loaded->top_keys, links, p->key_bytes,
                            error);
    }
    if (good && p->wanted.lines && loaded->weighed) {
        good = io_html_numbers(target, "top_weights", layer, head, loaded->top_weights, links, 2,
                               error);
    }
    if (good && p->wanted.path) {
        good = io_html_keys(target, "path", layer, head, loaded->path, p->stack->queries * 2,
                            p->key_bytes, error);
    }
    return good && write_bars(p, loaded, target, layer, head, error);
}

static bool write_heads(const plan *p, io_target *target, io_error *error) {
    for (int64_t i = 0; i < p->extent->layers * p->extent->head_count; i++) {
        const int64_t layer = i / p->extent->head_count, head = i % p->extent->head_count;
        show_head loaded;
        bool good = show_head_load(&loaded, p->stack, p->extent->layer + layer,
                                   p->extent->heads[head], &p->wanted, error);
        good = good && (!p->weights || write_weights(p, target, layer, head, error));
        good = good && write_views(p, &loaded, target, layer, head, error);
        show_head_free(&loaded);
        if (!good) return false;
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------
 * The facts
 * ------------------------------------------------------------------------------------------- */

static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* How the coarse matrix is cut: blocks of weights, or of the block sums that were given. */
static void describe_blocks(const plan *p, io_html *page) {
    int64_t sizes[2] = {p->stack->queries, p->stack->keys}, each[2] = {1, 1};
    if (!p->stack->weights) {
        show_view_sizes(p->stack, SHOW_BLOCK_SUMS, sizes);
        each[0] = p->stack->block_queries, each[1] = p->stack->block_keys;
    }
    const int64_t down = divide_up(sizes[0], IO_HTML_BLOCKS);
    const int64_t across = divide_up(sizes[1], IO_HTML_BLOCKS);
    page->matrix = "blocks";
    page->rows = divide_up(sizes[0], down), page->columns = divide_up(sizes[1], across);
    page->block_queries = each[0] * down, page->block_keys = each[1] * across;
}

static void describe(const plan *p, io_html *page, char *note, size_t size) {
    const char *const cells =
        !p->stack->weights || p->settings->reduction == IO_REDUCE_MEAN ? "mean" : "largest";
    page->matrix = p->weights ? "weights" : p->wanted.lines ? "top" : "";
    page->top = p->wanted.lines ? p->wanted.top : 0;
    page->weighed = p->stack->weights || show_has(p->stack, SHOW_TOP_WEIGHTS);
    page->path = p->wanted.path;
    if (p->wanted.map) describe_blocks(p, page);
    for (show_view view = SHOW_FIRST_BARS; view < SHOW_VIEWS; view++) {
        if (!p->wanted.bars[view]) continue;
        page->bars[page->bar_count++] =
            (io_html_bars){show_view_label(view), view < SHOW_FIRST_QUERY_BARS};
    }
    size_t used = 0;
    note[0] = 0;
    if (p->wanted.map) {
        used = (size_t)snprintf(note, size, "a cell is the %s of %" PRId64 " x %" PRId64 " weights",
                                cells, page->block_queries, page->block_keys);
    }
    if (p->wanted.lines) {
        (void)snprintf(note + used, size - used, "%seach query with its %" PRId64 " strongest keys",
                       used > 0 ? "; " : "", page->top);
    }
}

static bool write_page(const plan *p, const io_html *page, io_target *target, io_error *error) {
    return io_html_begin(page, target, error) && write_heads(p, target, error) &&
           io_html_end(target, error);
}

bool show_as_page(const show_settings *settings, const show_stack *stack, const show_extent *extent,
                  io_target *target, io_error *error) {
    plan p = {.settings = settings, .stack = stack, .extent = extent};
    char title[SHOW_TITLE_SIZE], note[256];
    io_tokens layers = {0}, heads = {0};
    show_tables tables = {0};
    if (!make_plan(&p, error)) return false;
    show_title(stack, -1, -1, title);
    bool good = show_name_extent(stack, extent, &layers, &heads, error);
    if (good && show_can_be_table(stack)) good = show_tables_load(&tables, stack, extent, error);
    io_html page = {.title = title,
                    .note = note,
                    .kind = show_kind_names[settings->kind],
                    .layers = &layers,
                    .heads = extent->heads,
                    .head_count = extent->head_count,
                    .queries = stack->queries,
                    .keys = stack->keys,
                    .query_tokens = stack->query_tokens,
                    .key_tokens = stack->key_tokens,
                    .statistic_names = show_statistic_names,
                    .statistics = tables.numbers,
                    .statistic_count = ATTN_HEAD_STATISTICS};
    describe(&p, &page, note, sizeof note);
    good = good && write_page(&p, &page, target, error);
    show_tables_free(&tables);
    io_tokens_free(&layers);
    io_tokens_free(&heads);
    return good;
}

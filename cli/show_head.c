/* show_head.c: what there is of one head, from its views or from its weights. */
#include "show.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

show_view show_first_bars(const show_stack *stack) {
    for (show_view view = SHOW_FIRST_BARS; view < SHOW_VIEWS; view++) {
        if (show_has(stack, view)) return view;
    }
    return SHOW_RECEIVED_SUM; /* told from the weights */
}

static bool allocate(show_head *head, const show_stack *stack, const show_wanted *wanted,
                     io_error *error) {
    bool good = true;
    if (wanted->lines) {
        const size_t count = (size_t)(stack->queries * head->top);
        head->top_keys = calloc(count, sizeof *head->top_keys);
        head->top_weights = calloc(count, sizeof *head->top_weights);
        good = head->top_keys && head->top_weights;
    }
    if (wanted->path) head->path = calloc((size_t)stack->queries * 2, sizeof *head->path);
    good = good && (!wanted->path || head->path);
    for (show_view view = SHOW_FIRST_BARS; view < SHOW_VIEWS; view++) {
        if (!wanted->bars[view]) continue;
        const int64_t count = view < SHOW_FIRST_QUERY_BARS ? stack->keys : stack->queries;
        head->bars[view] = calloc((size_t)count, sizeof *head->bars[view]);
        good = good && head->bars[view];
    }
    return good || io_fail(error, "no memory for the views of a head");
}

/* ---------------------------------------------------------------------------------------------
 * From weights
 * ------------------------------------------------------------------------------------------- */

/* What one pass over the rows of a head fills. */
typedef struct pass {
    const show_stack *stack;
    const show_wanted *wanted;
    show_head *head;
    bool map;
    double statistics[ATTN_HEAD_STATISTICS];
} pass;

/* Puts a weight among the strongest of its query; of equals the first key goes first. */
static void offer_top(show_head *head, int64_t query, int64_t key, float weight) {
    int64_t *const keys = head->top_keys + query * head->top;
    float *const weights = head->top_weights + query * head->top;
    int64_t at = head->top;
    if (!(weight > 0)) return;
    while (at > 0 && (keys[at - 1] < 0 || weight > weights[at - 1])) at--;
    if (at == head->top) return;
    for (int64_t i = head->top - 1; i > at; i--) keys[i] = keys[i - 1], weights[i] = weights[i - 1];
    keys[at] = key, weights[at] = weight;
}

/* Entropy and statistics of a row, as attn_views has them; queries stand at their own index. */
static void summarize(pass *p, int64_t query, const float *row) {
    double entropy = 0, distance = 0, most = 0;
    for (int64_t key = 0; key < p->stack->keys; key++) {
        const double w = (double)row[key];
        if (w > 0) entropy -= w * log(w);
        distance += w * (double)llabs(query - key);
        most = fmax(most, w);
    }
    if (p->head->bars[SHOW_ENTROPY]) p->head->bars[SHOW_ENTROPY][query] = (float)entropy;
    p->statistics[ATTN_HEAD_CONFIDENCE] += most;
    p->statistics[ATTN_HEAD_ENTROPY] += entropy;
    p->statistics[ATTN_HEAD_DISTANCE] += distance;
    p->statistics[ATTN_HEAD_FIRST] += (double)row[0];
}

static void visit(void *user, int64_t query, const float *row) {
    pass *const p = user;
    show_head *const head = p->head;
    float *const received = head->bars[SHOW_RECEIVED_SUM];
    if (p->map) cli_heatmap_row(&head->map, query, row);
    for (int64_t key = 0; key < p->stack->keys; key++) {
        if (head->top_keys) offer_top(head, query, key, row[key]);
        if (received) received[key] += row[key];
        if (p->wanted->links) cli_links_offer(p->wanted->links, query, key, row[key]);
    }
    if (head->bars[SHOW_ENTROPY] || p->wanted->statistics) summarize(p, query, row);
}

static bool load_from_weights(show_head *head, const show_stack *stack, int64_t layer,
                              int64_t index, const show_wanted *wanted, io_error *error) {
    int64_t batch = 0;
    const cli_weights *const weights = show_layer_weights(stack, layer, &batch);
    pass p = {.stack = stack, .wanted = wanted, .head = head, .map = wanted->map};
    if (head->top_keys) {
        for (int64_t i = 0; i < stack->queries * head->top; i++) head->top_keys[i] = -1;
    }
    if (p.map && !cli_heatmap_begin(&head->map, stack->queries, stack->keys, wanted->rows_most,
                                    wanted->columns_most, wanted->reduction, error)) {
        return false;
    }
    if (!cli_weights_visit(weights, batch, index, visit, &p, error)) return false;
    if (p.map) cli_heatmap_end(&head->map);
    for (int i = 0; i < ATTN_HEAD_STATISTICS; i++) {
        head->statistics[i] = (float)(p.statistics[i] / (double)stack->queries);
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------
 * From views
 * ------------------------------------------------------------------------------------------- */

static void copy_bars(show_head *head, const show_stack *stack, int64_t layer, int64_t index) {
    for (show_view view = SHOW_FIRST_BARS; view < SHOW_VIEWS; view++) {
        if (!head->bars[view] || !show_has(stack, view)) continue;
        const bool of_keys = view < SHOW_FIRST_QUERY_BARS;
        const int64_t count = of_keys ? stack->keys : stack->queries;
        for (int64_t i = 0; i < count; i++) {
            head->bars[view][i] = (float)show_view_element(stack, view, layer, index,
                                                           of_keys ? 0 : i, of_keys ? i : 0);
        }
    }
}

/* A key as a view names it: -1 for none. */
static bool take_key(double given, int64_t keys, const char *path, int64_t *key, io_error *error) {
    *key = given >= 0 && given < (double)keys ? (int64_t)given : -1;
    if ((double)*key == given) return true;
    return io_fail(error, "%s: names key %g: expected whole numbers below %" PRId64 ", or -1", path,
                   given, keys);
}

static bool copy_top(show_head *head, const show_stack *stack, int64_t layer, int64_t index,
                     io_error *error) {
    const show_view view = show_has(stack, SHOW_TOP_KEYS) ? SHOW_TOP_KEYS : SHOW_ARGMAX;
    const char *const path = stack->view[view].path[0];
    for (int64_t i = 0; i < stack->queries * head->top; i++) {
        const int64_t query = i / head->top, rank = i % head->top;
        const double given = show_view_element(stack, view, layer, index, query, rank);
        if (!take_key(given, stack->keys, path, &head->top_keys[i], error)) return false;
        head->top_weights[i] = head->weighed ? (float)show_view_element(stack, SHOW_TOP_WEIGHTS,
                                                                        layer, index, query, rank)
                                             : 1;
        if (head->top_keys[i] < 0) head->top_weights[i] = 0;
    }
    return true;
}

static bool copy_path(show_head *head, const show_stack *stack, int64_t layer, int64_t index,
                      io_error *error) {
    for (int64_t i = 0; i < stack->queries * 2; i++) {
        const double given = show_view_element(stack, SHOW_PATH, layer, index, i / 2, i % 2);
        if (!take_key(given, stack->keys, stack->view[SHOW_PATH].path[0], &head->path[i], error)) {
            return false;
        }
    }
    return true;
}

/* The strongest weights as a sparse matrix; the others count as 0. */
static bool map_of_top(show_head *head, const show_stack *stack, const show_wanted *wanted,
                       io_error *error) {
    float *const row = calloc((size_t)stack->keys, sizeof *row);
    const bool good = (row || io_fail(error, "no memory for a row of weights")) &&
                      cli_heatmap_begin(&head->map, stack->queries, stack->keys, wanted->rows_most,
                                        wanted->columns_most, wanted->reduction, error);
    for (int64_t query = 0; good && query < stack->queries; query++) {
        const int64_t *const keys = head->top_keys + query * head->top;
        const float *const weights = head->top_weights + query * head->top;
        memset(row, 0, (size_t)stack->keys * sizeof *row);
        for (int64_t i = 0; i < head->top; i++) {
            if (keys[i] < 0) continue;
            row[keys[i]] = weights[i];
            if (wanted->links) cli_links_offer(wanted->links, query, keys[i], weights[i]);
        }
        cli_heatmap_row(&head->map, query, row);
    }
    if (good) cli_heatmap_end(&head->map);
    free(row);
    return good;
}

/* Weights in row or column `i` of blocks: those at the end may be smaller. */
static double block_length(int64_t i, int64_t each, int64_t all) {
    const int64_t left = all - i * each;
    return (double)(left < each ? left : each);
}

/* Sums of blocks as means of a weight; and the means of several, where there are more than cells. */
static bool map_of_blocks(show_head *head, const show_stack *stack, int64_t layer, int64_t index,
                          const show_wanted *wanted, io_error *error) {
    const int64_t down = stack->block_queries, across = stack->block_keys;
    int64_t sizes[2];
    show_view_sizes(stack, SHOW_BLOCK_SUMS, sizes);
    float *const row = calloc((size_t)sizes[1], sizeof *row);
    const bool good = (row || io_fail(error, "no memory for a row of blocks")) &&
                      cli_heatmap_begin(&head->map, sizes[0], sizes[1], wanted->rows_most,
                                        wanted->columns_most, IO_REDUCE_MEAN, error);
    for (int64_t i = 0; good && i < sizes[0]; i++) {
        const double high = block_length(i, down, stack->queries);
        for (int64_t j = 0; j < sizes[1]; j++) {
            const double area = high * block_length(j, across, stack->keys);
            const double sum = show_view_element(stack, SHOW_BLOCK_SUMS, layer, index, i, j);
            row[j] = (float)(sum / area);
        }
        cli_heatmap_row(&head->map, i, row);
    }
    if (good) cli_heatmap_end(&head->map);
    head->map.block_rows *= down, head->map.block_columns *= across;
    head->map.queries = stack->queries, head->map.keys = stack->keys;
    free(row);
    return good;
}

/* A path alone is drawn over an empty matrix. */
static bool load_map(show_head *head, const show_stack *stack, int64_t layer, int64_t index,
                     const show_wanted *wanted, io_error *error) {
    if (show_has(stack, SHOW_BLOCK_SUMS)) {
        return map_of_blocks(head, stack, layer, index, wanted, error);
    }
    if (head->top_keys) return map_of_top(head, stack, wanted, error);
    return cli_heatmap_begin(&head->map, stack->queries, stack->keys, wanted->rows_most,
                             wanted->columns_most, wanted->reduction, error);
}

/* Lines of a query: as many as wanted, as there are keys, and as the view has. */
static int64_t line_count(const show_stack *stack, const show_wanted *wanted) {
    int64_t most = wanted->top < stack->keys ? wanted->top : stack->keys;
    if (stack->weights) return most;
    if (show_has(stack, SHOW_TOP_KEYS)) {
        int64_t sizes[2];
        show_view_sizes(stack, SHOW_TOP_KEYS, sizes);
        return most < sizes[1] ? most : sizes[1];
    }
    return 1;
}

bool show_head_load(show_head *head, const show_stack *stack, int64_t layer, int64_t index,
                    const show_wanted *asked, io_error *error) {
    show_wanted wanted = *asked;
    const bool has_top = show_has(stack, SHOW_TOP_KEYS) || show_has(stack, SHOW_ARGMAX);
    if (!stack->weights && has_top && wanted.map && !show_has(stack, SHOW_BLOCK_SUMS)) {
        wanted.lines = true;
        if (wanted.top == 0) wanted.top = stack->keys;
    }
    *head = (show_head){.top = line_count(stack, &wanted),
                        .weighed = stack->weights || show_has(stack, SHOW_TOP_WEIGHTS)};
    if (!allocate(head, stack, &wanted, error)) return false;
    if (stack->weights && (wanted.map || wanted.lines || wanted.statistics || wanted.links ||
                           head->bars[SHOW_RECEIVED_SUM] || head->bars[SHOW_ENTROPY])) {
        if (!load_from_weights(head, stack, layer, index, &wanted, error)) return false;
    }
    if (!stack->weights && wanted.lines && !copy_top(head, stack, layer, index, error))
        return false;
    if (!stack->weights && wanted.map && !load_map(head, stack, layer, index, &wanted, error)) {
        return false;
    }
    copy_bars(head, stack, layer, index);
    for (int i = 0; show_has(stack, SHOW_HEAD_STATISTICS) && i < ATTN_HEAD_STATISTICS; i++) {
        head->statistics[i] =
            (float)show_view_element(stack, SHOW_HEAD_STATISTICS, layer, index, 0, i);
    }
    head->map.query_tokens = stack->query_tokens, head->map.key_tokens = stack->key_tokens;
    return !wanted.path || copy_path(head, stack, layer, index, error);
}

void show_head_free(show_head *head) {
    free(head->map.cells);
    free(head->top_keys);
    free(head->top_weights);
    free(head->path);
    for (show_view view = 0; view < SHOW_VIEWS; view++) free(head->bars[view]);
}

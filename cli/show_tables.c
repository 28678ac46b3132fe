/* show_tables.c: statistics of heads as layers x heads, for terminal, picture and page alike. */
#include "show.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

const char *const show_statistic_names[ATTN_HEAD_STATISTICS] = {
    [ATTN_HEAD_CONFIDENCE] = "confidence: mean of each query's greatest weight",
    [ATTN_HEAD_ENTROPY] = "entropy: mean over queries, nats",
    [ATTN_HEAD_DISTANCE] = "distance: mean over queries, keys",
    [ATTN_HEAD_FIRST] = "first: mean weight on the first key",
};

bool show_name_extent(const show_stack *stack, const show_extent *extent, io_tokens *layers,
                      io_tokens *heads, io_error *error) {
    for (int64_t i = 0; i < extent->layers; i++) {
        const char *const name = io_token(&stack->layer_names, extent->layer + i);
        if (!io_tokens_append(layers, name, error)) return false;
    }
    for (int64_t i = 0; i < extent->head_count; i++) {
        const char *const name = io_token(&stack->head_names, extent->heads[i]);
        if (!io_tokens_append(heads, name, error)) return false;
    }
    return true;
}

/* Statistic `which` of all heads as a heat map that begins at 0. */
static bool make_map(const show_tables *tables, int which, io_heatmap *map, io_error *error) {
    if (!cli_heatmap_begin(map, tables->layers.count, tables->heads.count, tables->layers.count,
                           tables->heads.count, IO_REDUCE_MAX, error)) {
        return false;
    }
    map->title = show_statistic_names[which];
    map->query_tokens = &tables->layers, map->key_tokens = &tables->heads;
    for (int64_t i = 0; i < map->rows * map->columns; i++) {
        map->cells[i] = tables->numbers[i * ATTN_HEAD_STATISTICS + which];
    }
    cli_heatmap_end(map);
    return true;
}

bool show_tables_load(show_tables *tables, const show_stack *stack, const show_extent *extent,
                      io_error *error) {
    const show_wanted wanted = {.statistics = true};
    const int64_t count = extent->layers * extent->head_count;
    *tables = (show_tables){0};
    tables->numbers = calloc((size_t)count, sizeof(float[ATTN_HEAD_STATISTICS]));
    if (!tables->numbers) return io_fail(error, "no memory for %" PRId64 " heads", count);
    if (!show_name_extent(stack, extent, &tables->layers, &tables->heads, error)) return false;
    for (int64_t i = 0; i < count; i++) {
        show_head head;
        const bool good = show_head_load(&head, stack, extent->layer + i / extent->head_count,
                                         extent->heads[i % extent->head_count], &wanted, error);
        for (int which = 0; which < ATTN_HEAD_STATISTICS; which++) {
            tables->numbers[i * ATTN_HEAD_STATISTICS + which] = head.statistics[which];
        }
        show_head_free(&head);
        if (!good) return false;
    }
    for (int which = 0; which < ATTN_HEAD_STATISTICS; which++) {
        if (!make_map(tables, which, &tables->map[which], error)) return false;
    }
    return true;
}

void show_tables_free(show_tables *tables) {
    for (int i = 0; i < ATTN_HEAD_STATISTICS; i++) free(tables->map[i].cells);
    free(tables->numbers);
    io_tokens_free(&tables->layers);
    io_tokens_free(&tables->heads);
}

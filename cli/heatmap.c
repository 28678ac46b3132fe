#include "weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Weights that are held at a time: 16 MiB of them. */
static const int64_t chunk_weights = (int64_t)1 << 22;

static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

void cli_links_offer(cli_links *links, int64_t query, int64_t key, float weight) {
    int at = links->count;
    if (isnan(weight)) return;
    while (at > 0 && weight > links->link[at - 1].weight) at--;
    if (at == links->wanted) return;
    if (links->count < links->wanted) links->count++;
    for (int i = links->count - 1; i > at; i--) links->link[i] = links->link[i - 1];
    links->link[at] = (cli_link){query, key, weight};
}

/* Adds one row of weights to the row of cells that it belongs to: sums, or largest so far. */
void cli_heatmap_row(io_heatmap *map, int64_t query, const float *row) {
    float *const cells = map->cells + query / map->block_rows * map->columns;
    const bool first = query % map->block_rows == 0;
    for (int64_t key = 0; key < map->keys; key++) {
        float *const cell = &cells[key / map->block_columns];
        if (first && key % map->block_columns == 0) *cell = row[key];
        else if (map->reduction == IO_REDUCE_MEAN) *cell += row[key];
        else if (isnan(row[key]) || row[key] > *cell)
            *cell = row[key]; /* NaN > x is false: it stays */
    }
}

/* Blocks at the lower and right edge may be smaller than the others. */
static void divide_sums(io_heatmap *map) {
    for (int64_t i = 0; i < map->rows; i++) {
        const int64_t below = map->queries - i * map->block_rows;
        const int64_t rows = below < map->block_rows ? below : map->block_rows;
        for (int64_t j = 0; j < map->columns; j++) {
            const int64_t right = map->keys - j * map->block_columns;
            const int64_t columns = right < map->block_columns ? right : map->block_columns;
            map->cells[i * map->columns + j] /= (float)(rows * columns);
        }
    }
}

/* The scale begins at 0, or below it for matrices that are no weights. Hidden scores are -infinity,
 * and count for nothing. */
static void find_range(io_heatmap *map) {
    map->low = 0, map->high = 0;
    for (int64_t i = 0; i < map->rows * map->columns; i++) {
        if (isinf(map->cells[i])) continue;
        map->low = fminf(map->low, map->cells[i]);
        map->high = fmaxf(map->high, map->cells[i]);
    }
}

bool cli_heatmap_begin(io_heatmap *map, int64_t queries, int64_t keys, int64_t rows_most,
                       int64_t columns_most, io_reduction reduction, io_error *error) {
    *map = (io_heatmap){.queries = queries,
                        .keys = keys,
                        .block_rows = divide_up(queries, rows_most),
                        .block_columns = divide_up(keys, columns_most),
                        .reduction = reduction};
    map->rows = divide_up(map->queries, map->block_rows);
    map->columns = divide_up(map->keys, map->block_columns);
    map->cells = calloc((size_t)(map->rows * map->columns), sizeof *map->cells);
    return map->cells ||
           io_fail(error, "no memory for a picture of %" PRId64 " x %" PRId64 " cells", map->rows,
                   map->columns);
}

void cli_heatmap_end(io_heatmap *map) {
    if (map->reduction == IO_REDUCE_MEAN) divide_sums(map);
    find_range(map);
}

bool cli_weights_visit(const cli_weights *weights, int64_t batch, int64_t head,
                       cli_row_visitor *visit, void *user, io_error *error) {
    const int64_t fitting = chunk_weights / weights->keys;
    const int64_t most = fitting > weights->queries ? weights->queries : fitting > 1 ? fitting : 1;
    float *const rows = calloc((size_t)most, (size_t)weights->keys * sizeof *rows);
    bool good = rows || io_fail(error, "no memory for the weights of %" PRId64 " queries", most);
    for (int64_t first = 0; good && first < weights->queries; first += most) {
        const int64_t left = weights->queries - first, count = left < most ? left : most;
        good = cli_weights_rows(weights, batch, head, first, count, rows, error);
        for (int64_t i = 0; good && i < count; i++)
            visit(user, first + i, rows + i * weights->keys);
    }
    free(rows);
    return good;
}

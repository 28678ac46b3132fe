/* alignment.c: see alignment.h. */
#include "explain/alignment.h"

#include <inttypes.h>
#include <string.h>

#include "api/check_parts.h"
#include "api/context.h"

/* Which pair a path came from: both indices one lower, the query's, or the key's. */
enum { FROM_BOTH = 0, FROM_QUERY = 1, FROM_KEY = 2 };

typedef struct {
    int64_t queries, keys, row;
    double *cost;   /* of the best path to each key of the latest query */
    uint8_t *steps; /* [query][key], two bits each, every row beginning with a byte */
} path_state;

static int64_t bytes_of_row(int64_t keys) {
    return (keys + 3) / 4;
}

size_t attn_path_bytes(int64_t queries, int64_t keys) {
    const double whole = (double)sizeof(path_state) + (double)keys * sizeof(double) +
                         (double)queries * (double)bytes_of_row(keys);
    if (whole > (double)(SIZE_MAX / 8)) return SIZE_MAX;
    return sizeof(path_state) + (size_t)keys * sizeof(double) +
           (size_t)queries * (size_t)bytes_of_row(keys);
}

void attn_path_begin(void *scratch, int64_t queries, int64_t keys) {
    path_state *const s = scratch;
    *s = (path_state){.queries = queries, .keys = keys};
    s->cost = (double *)(void *)(s + 1);
    s->steps = (uint8_t *)(s->cost + keys);
    memset(s->steps, 0, (size_t)(queries * bytes_of_row(keys)));
}

void attn_path_row(void *scratch, const double *weights) {
    path_state *const s = scratch;
    uint8_t *const steps = s->steps + s->row * bytes_of_row(s->keys);
    double diagonal = 0; /* cost of (row - 1, j - 1) */
    for (int64_t j = 0; j < s->keys; j++) {
        const double above = s->cost[j];
        double best = 0;
        unsigned from = FROM_BOTH;
        if (s->row > 0 && j > 0) best = diagonal;
        if (s->row > 0 && (j == 0 || above < best)) best = above, from = FROM_QUERY;
        if (j > 0 && (s->row == 0 || s->cost[j - 1] < best)) best = s->cost[j - 1], from = FROM_KEY;
        diagonal = above;
        s->cost[j] = best - weights[j];
        steps[j / 4] |= (uint8_t)(from << j % 4 * 2);
    }
    s->row++;
}

static void set_index(const attn_tensor *t, int64_t b, int64_t i, int64_t j, int64_t value) {
    const int64_t at = b * t->stride[0] + i * t->stride[2] + j * t->stride[3];
    if (t->dtype == ATTN_I32) ((int32_t *)t->data)[at] = (int32_t)value;
    else ((int64_t *)t->data)[at] = value;
}

void attn_path_finish(const void *scratch, const attn_tensor *path, int64_t b) {
    const path_state *const s = scratch;
    int64_t j = s->keys - 1;
    for (int64_t i = s->queries - 1; i >= 0; i--) {
        const uint8_t *const steps = s->steps + i * bytes_of_row(s->keys);
        const int64_t last = j;
        unsigned from = FROM_BOTH;
        while (j >= 0 && (from = (unsigned)(steps[j / 4] >> j % 4 * 2) & 3) == FROM_KEY) j--;
        set_index(path, b, i, 0, j);
        set_index(path, b, i, 1, last);
        if (from == FROM_BOTH && i > 0 && j > 0) j--; /* without keys, j stays -1 */
    }
}

/* --------------------------------------------------------------- the same for a matrix of weights */

static attn_status check_path(const attn_tensor *weights, const attn_tensor *path) {
    attn_checked c;
    c.input_count = c.result_count = 0;
    if (weights == NULL || !attn_tensor_present(weights))
        return attn_fail(ATTN_ERROR_NULL, "weights is NULL, but must be given");
    if (path == NULL || !attn_tensor_present(path))
        return attn_fail(ATTN_ERROR_NULL, "path is NULL, but must be given");
    const attn_size any = {.or_more = true}, one = attn_just_one();
    const attn_size batch = {.size = weights->shape[0], .source = "weights.shape[0]"};
    const attn_size queries = {.size = weights->shape[2], .source = "weights.shape[2]"};
    const attn_size two = {.size = 2, .source = "the size expected"};
    const attn_size of_weights[4] = {any, one, any, any}, of_path[4] = {batch, one, queries, two};
    ATTN_TRY(attn_check_input(&c, "weights", weights, ATTN_REALS, of_weights));
    ATTN_TRY(attn_check_result(&c, "path", path, ATTN_INDICES, of_path));
    ATTN_TRY(attn_check_indices("path", path, weights->shape[3]));
    ATTN_TRY(attn_check_aliases(&c));
    return attn_check_finite("weights", weights, false);
}

attn_status attn_alignment_path(attn_context *context, const attn_tensor *weights,
                                const attn_tensor *path) {
    attn_context *const c = attn_context_or_default(context);
    ATTN_TRY(check_path(weights, path));
    const int64_t batch = weights->shape[0], queries = weights->shape[2], keys = weights->shape[3];
    if (batch == 0 || queries == 0) return ATTN_OK;
    const size_t bytes = attn_path_bytes(queries, keys), row_bytes = (size_t)keys * sizeof(double);
    double *const row = bytes < SIZE_MAX / 2 ? attn_scratch_take(c, row_bytes + bytes) : NULL;
    if (!row)
        return attn_fail(ATTN_ERROR_MEMORY, "no memory for a path through %" PRId64 " x %" PRId64,
                         queries, keys);
    for (int64_t b = 0; b < batch; b++) {
        attn_path_begin(row + keys, queries, keys);
        for (int64_t i = 0; i < queries; i++) {
            for (int64_t j = 0; j < keys; j++) row[j] = attn_read_real(weights, b, 0, i, j);
            attn_path_row(row + keys, row);
        }
        attn_path_finish(row + keys, path, b);
    }
    attn_scratch_give(c, row);
    return ATTN_OK;
}

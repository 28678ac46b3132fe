/* flow.c: attention flow: maximum flows by Dinitz's algorithm (1970).
 *
 * A node is a token at a level: level 0 are the input tokens, level l + 1 the tokens that layer l puts
 * out. An edge leads from each token i of level l + 1 to each k of level l, with capacity A[l][i][k].
 * Edges are kept as what can still be sent along them, and back; whichever edge of a path lets the
 * least through is left with exactly nothing, whatever the rounding, so each search ends. */
#include <inttypes.h>
#include <math.h>

#include "api/check_parts.h"
#include "api/context.h"
#include "explain/layers.h"

typedef struct {
    int64_t n, levels;    /* levels: layers + 1 */
    double *ahead, *back; /* [layer][i][k] */
    int64_t *distance;    /* of each node from the source; -1: not reached */
    int64_t *next_arc;    /* of each node: those before are of no more use in this phase */
    int64_t *path;        /* nodes */
} network;

/* What leaves a node: arcs 0 to n - 1 go to the level below, unless it is the lowest; n to 2 n - 1 back
 * to the level above, unless it is the highest. */
typedef struct {
    double *left, *reverse; /* what may still be sent, and what may be sent back */
    int64_t to;
} arc;

static int64_t first_arc(const network *g, int64_t node) {
    return node < g->n ? g->n : 0;
}

static int64_t end_of_arcs(const network *g, int64_t node) {
    return node / g->n + 1 < g->levels ? 2 * g->n : g->n;
}

static arc arc_of(const network *g, int64_t node, int64_t index) {
    const int64_t n = g->n, level = node / n, token = node % n;
    if (index < n) {
        const int64_t edge = ((level - 1) * n + token) * n + index;
        return (arc){&g->ahead[edge], &g->back[edge], (level - 1) * n + index};
    }
    const int64_t edge = (level * n + index - n) * n + token;
    return (arc){&g->back[edge], &g->ahead[edge], level * n + index};
}

/* Breadth first: distances from the source, by open arcs. Whether the sink is reached. */
static bool find_distances(network *g, int64_t source, int64_t sink) {
    int64_t *const queue = g->path;
    int64_t taken = 0, found = 0;
    for (int64_t v = 0; v < g->levels * g->n; v++)
        g->distance[v] = -1, g->next_arc[v] = first_arc(g, v);
    g->distance[source] = 0;
    queue[found++] = source;
    while (taken < found) {
        const int64_t v = queue[taken++];
        for (int64_t k = first_arc(g, v); k < end_of_arcs(g, v); k++) {
            const arc by = arc_of(g, v, k);
            if (*by.left <= 0 || g->distance[by.to] >= 0) continue;
            g->distance[by.to] = g->distance[v] + 1;
            queue[found++] = by.to;
        }
    }
    return g->distance[sink] >= 0;
}

/* The next open arc that leads away from the source; false if the node has none left. */
static bool find_arc(network *g, int64_t v, arc *by) {
    for (; g->next_arc[v] < end_of_arcs(g, v); g->next_arc[v]++) {
        *by = arc_of(g, v, g->next_arc[v]);
        if (*by->left > 0 && g->distance[by->to] == g->distance[v] + 1) return true;
    }
    return false;
}

/* Depth first: a path of such arcs to the sink. Its number of arcs; 0: there is none left. */
static int64_t find_path(network *g, int64_t source, int64_t sink) {
    int64_t length = 0;
    g->path[0] = source;
    while (g->path[length] != sink) {
        arc by;
        if (find_arc(g, g->path[length], &by)) {
            g->path[++length] = by.to;
        } else if (length > 0) {
            g->next_arc[g->path[--length]]++; /* a dead end */
        } else {
            return 0;
        }
    }
    return length;
}

/* Sends as much as it takes along the path. */
static double send(const network *g, int64_t length) {
    double most = INFINITY;
    for (int64_t k = 0; k < length; k++)
        most = fmin(most, *arc_of(g, g->path[k], g->next_arc[g->path[k]]).left);
    for (int64_t k = 0; k < length; k++) {
        const arc by = arc_of(g, g->path[k], g->next_arc[g->path[k]]);
        *by.left -= most;
        *by.reverse += most;
    }
    return most;
}

static double maximum_flow(network *g, int64_t source, int64_t sink) {
    double flow = 0;
    while (find_distances(g, source, sink)) {
        for (int64_t length; (length = find_path(g, source, sink)) > 0;) flow += send(g, length);
    }
    return flow;
}

static void open_network(network *g, const attn_layers *a, int64_t b) {
    for (int64_t l = 0; l < a->count; l++) {
        for (int64_t i = 0; i < a->n; i++) {
            const attn_layer_row row = attn_layer_row_at(a, l, b, i);
            double *const ahead = g->ahead + (l * a->n + i) * a->n;
            double *const back = g->back + (l * a->n + i) * a->n;
            for (int64_t k = 0; k < a->n; k++) {
                ahead[k] = row.factor * attn_read_real(&a->layers[l], b, 0, i, k);
                back[k] = 0;
            }
            ahead[i] += row.diagonal;
        }
    }
}

static attn_status check_weights(const attn_layers *a) {
    for (int64_t l = 0; l < a->count; l++) {
        for (int64_t x = 0; x < a->batch * a->n * a->n; x++) {
            const int64_t b = x / (a->n * a->n), i = x / a->n % a->n, k = x % a->n;
            const double w = attn_read_real(&a->layers[l], b, 0, i, k);
            if (isfinite(w) && w >= 0) continue;
            return attn_fail(ATTN_ERROR_VALUE,
                             "layers[%" PRId64 "][%" PRId64 "][0][%" PRId64 "][%" PRId64
                             "] is %g, but must be finite and 0 or more",
                             l, b, i, k, w);
        }
    }
    return ATTN_OK;
}

static attn_status check_token(const attn_layers *a, int64_t token) {
    if (token >= 0 && token < a->n) return ATTN_OK;
    return attn_fail(ATTN_ERROR_VALUE, "token is %" PRId64 ", but must be 0 to %" PRId64, token,
                     a->n - 1);
}

/* Takes the network's memory from the context; the edges come first. */
static bool take_network(attn_context *c, const attn_layers *a, network *g) {
    const double edges = (double)a->count * (double)a->n * (double)a->n;
    const double nodes = ((double)a->count + 1) * (double)a->n;
    const double bytes = 2 * sizeof(double) * edges + 3 * sizeof(int64_t) * nodes;
    double *const memory = bytes < 0x1p62 ? attn_scratch_take(c, (size_t)bytes) : NULL;
    if (!memory) return false;
    const int64_t all_edges = a->count * a->n * a->n, all_nodes = (a->count + 1) * a->n;
    *g = (network){.n = a->n, .levels = a->count + 1, .ahead = memory, .back = memory + all_edges};
    g->distance = (int64_t *)(void *)(memory + 2 * all_edges);
    g->next_arc = g->distance + all_nodes;
    g->path = g->next_arc + all_nodes;
    return true;
}

attn_status attn_flow(attn_context *context, const attn_tensor *layers, int64_t layer_count,
                      double residual, int64_t token, const attn_tensor *flow) {
    const attn_layers given = {.layers = layers, .count = layer_count, .residual = residual};
    attn_context *const c = attn_context_or_default(context);
    attn_layers a;
    network g;
    ATTN_TRY(attn_check_layers(&given, "flow", flow, true, &a));
    ATTN_TRY(check_token(&a, token));
    if (a.batch == 0) return ATTN_OK;
    ATTN_TRY(check_weights(&a));
    if (!take_network(c, &a, &g))
        return attn_fail(ATTN_ERROR_MEMORY,
                         "no memory for %" PRId64 " layers of %" PRId64 " tokens", a.count, a.n);
    for (int64_t b = 0; b < a.batch; b++) {
        for (int64_t j = 0; j < a.n; j++) {
            open_network(&g, &a, b);
            const double most = maximum_flow(&g, a.count * a.n + token, j);
            const int64_t at = b * flow->stride[0] + j * flow->stride[3];
            if (flow->dtype == ATTN_F32) ((float *)flow->data)[at] = (float)most;
            else ((double *)flow->data)[at] = most;
        }
    }
    attn_scratch_give(c, g.ahead);
    return ATTN_OK;
}

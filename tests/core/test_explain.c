/* test_explain.c: what is made of weights afterwards, against what its definition says by brute force:
 * every monotone path, plain products of matrices, flows by one augmenting path after the other. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 5, LAYERS = 3, BATCH = 2, SQUARE = N * N };

static void run(attn_status status) {
    if (status != ATTN_OK) fail_msg("%s", attn_error_message());
}

/* Weights of a row of the batch of a layer: not negative, some of them 0. */
static void make_weights(double *w, size_t count, uint64_t seed) {
    for (size_t k = 0; k < count; k++) w[k] = (double)(random_bits(seed, k) % 9) / 8;
}

/* ------------------------------------------------------------------------------------ alignment */

enum { MOST_QUERIES = 4, MOST_KEYS = 5 };

/* What the best of all paths from (i, j) to the last pair collects. */
static double best_from(const double *w, int n, int m, int i, int j) {
    const double here = w[i * m + j];
    if (i == n - 1 && j == m - 1) return here;
    double best = -INFINITY;
    if (i + 1 < n && j + 1 < m) best = fmax(best, best_from(w, n, m, i + 1, j + 1));
    if (i + 1 < n) best = fmax(best, best_from(w, n, m, i + 1, j));
    if (j + 1 < m) best = fmax(best, best_from(w, n, m, i, j + 1));
    return here + best;
}

/* What a path as the library gives it collects; fails where it is none. */
static double collected(const double *w, const int32_t *path, int n, int m) {
    double sum = 0;
    assert_true(path[0] == 0 && path[2 * n - 1] == m - 1);
    for (int i = 0; i < n; i++) {
        const int first = path[2 * i], last = path[2 * i + 1];
        assert_true(first <= last && last < m);
        if (i > 0) assert_true(first == path[2 * i - 1] || first == path[2 * i - 1] + 1);
        for (int j = first; j <= last; j++) sum += w[i * m + j];
    }
    return sum;
}

/* All sums are of multiples of 1/8: exact. */
static void paths_collect_the_most(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        const int n = 1 + (int)(seed % MOST_QUERIES), m = 1 + (int)(seed / 4 % MOST_KEYS);
        double w[MOST_QUERIES * MOST_KEYS];
        int32_t path[2 * MOST_QUERIES];
        make_weights(w, (size_t)(n * m), seed);
        const attn_tensor weights = attn_tensor_f64(w, 1, 1, n, m);
        const attn_tensor result = attn_tensor_dense(path, ATTN_I32, 1, 1, n, 2);
        run(attn_alignment_path(NULL, &weights, &result));
        assert_true(collected(w, path, n, m) == best_from(w, n, m, 0, 0));
    }
}

/* With all weights 0 every path is as good: steps of both, from the end, as far as they go. */
static void steps_of_both_are_preferred(void **state) {
    (void)state;
    static const double zeros[6] = {0};
    int64_t path[6];
    attn_tensor weights = attn_tensor_f64(zeros, 1, 1, 3, 2);
    const attn_tensor three = attn_tensor_dense(path, ATTN_I64, 1, 1, 3, 2);
    const attn_tensor two = attn_tensor_dense(path, ATTN_I64, 1, 1, 2, 2);
    run(attn_alignment_path(NULL, &weights, &three));
    assert_memory_equal(path, ((const int64_t[]){0, 0, 0, 0, 1, 1}), 6 * sizeof *path);
    weights = attn_tensor_f64(zeros, 1, 1, 2, 3);
    run(attn_alignment_path(NULL, &weights, &two));
    assert_memory_equal(path, ((const int64_t[]){0, 1, 2, 2}), 4 * sizeof *path);
    /* 0,0 0,1 1,1 and 0,0 1,0 1,1 are as good: the last step is the query's */
    const double corner[] = {0, 1, 1, 0};
    weights = attn_tensor_f64(corner, 1, 1, 2, 2);
    run(attn_alignment_path(NULL, &weights, &two));
    assert_memory_equal(path, ((const int64_t[]){0, 1, 1, 1}), 4 * sizeof *path);
}

static void paths_of_nothing(void **state) {
    (void)state;
    double w[1] = {0};
    int32_t path[4] = {9, 9, 9, 9};
    const attn_tensor no_keys = attn_tensor_f64(w, 1, 1, 2, 0);
    const attn_tensor no_queries = attn_tensor_f64(w, 1, 1, 0, 2);
    const attn_tensor two = attn_tensor_dense(path, ATTN_I32, 1, 1, 2, 2);
    const attn_tensor none = attn_tensor_dense(path, ATTN_I32, 1, 1, 0, 2);
    run(attn_alignment_path(NULL, &no_queries, &none));
    assert_int_equal(path[0], 9);
    run(attn_alignment_path(NULL, &no_keys, &two));
    for (int k = 0; k < 4; k++) assert_int_equal(path[k], -1);
}

/* Weights of float32, strided and in a batch, are the same weights. */
static void any_layout_of_weights(void **state) {
    (void)state;
    double w[2 * 12];
    float strided[2 * 24];
    int32_t dense_path[2 * 6], path[2 * 12];
    make_weights(w, 24, 7);
    memset(path, 0, sizeof path);
    for (int k = 0; k < 24; k++) strided[47 - 2 * k] = (float)w[k];
    const attn_tensor dense = attn_tensor_f64(w, 2, 1, 3, 4);
    const attn_tensor view = {&strided[47], ATTN_F32, {2, 1, 3, 4}, {-24, 1, -8, -2}};
    const attn_tensor to_dense = attn_tensor_dense(dense_path, ATTN_I32, 2, 1, 3, 2);
    const attn_tensor to = {path, ATTN_I32, {2, 1, 3, 2}, {12, 1, 2, 6}};
    run(attn_alignment_path(NULL, &dense, &to_dense));
    run(attn_alignment_path(NULL, &view, &to));
    for (int k = 0; k < 12; k++)
        assert_int_equal(path[k / 6 * 12 + k / 2 % 3 * 2 + k % 2 * 6], dense_path[k]);
}

/* --------------------------------------------------------------------------- layers of a network */

typedef struct layered {
    double weights[LAYERS][BATCH * SQUARE];
    float singles[LAYERS][BATCH * SQUARE];
    attn_tensor layers[LAYERS];
} layered;

static void layered_make(layered *l, attn_dtype dtype, uint64_t seed) {
    for (uint64_t k = 0; k < LAYERS; k++) {
        make_weights(l->weights[k], BATCH * SQUARE, 3 * seed + k);
        for (int x = 0; x < BATCH * SQUARE; x++) l->singles[k][x] = (float)l->weights[k][x];
        void *const data = dtype == ATTN_F32 ? (void *)l->singles[k] : (void *)l->weights[k];
        l->layers[k] = attn_tensor_dense(data, dtype, BATCH, 1, N, N);
    }
}

/* A of a layer: the definition, entry by entry. */
static void make_a(const double *w, double residual, double a[SQUARE]) {
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int j = 0; j < N; j++) {
            a[i * N + j] = (1 - residual) * w[i * N + j] + (i == j ? residual : 0);
            sum += a[i * N + j];
        }
        for (int j = 0; j < N && sum != 0; j++) a[i * N + j] /= sum;
    }
}

/* With A of rows that sum to 1 by N + 6 roundings, a product of three of them is within 3 (2 N + 8) u,
 * each of the two ways; float32 rounds the result once more. */
static const double NEAR = 2 * 3 * (2 * N + 8) * 0x1p-53;

static double near(attn_dtype dtype) {
    return dtype == ATTN_F32 ? NEAR + 0x1p-24 : NEAR;
}

static void rollout_is_a_product_of_matrices(void **state) {
    (void)state;
    static const double residuals[] = {0, .5, .9};
    for (uint64_t seed = 0; seed < 12; seed++) {
        const attn_dtype dtype = seed % 2 ? ATTN_F32 : ATTN_F64;
        const double residual = residuals[seed % 3];
        double made[BATCH * SQUARE];
        layered l;
        layered_make(&l, dtype, seed);
        const attn_tensor rollout = attn_tensor_dense(made, dtype, BATCH, 1, N, N);
        run(attn_rollout(NULL, l.layers, LAYERS, residual, &rollout));
        for (int b = 0; b < BATCH; b++) {
            double product[SQUARE], next[SQUARE], a[SQUARE];
            make_a(l.weights[0] + b * SQUARE, residual, product);
            for (int k = 1; k < LAYERS; k++) {
                make_a(l.weights[k] + b * SQUARE, residual, a);
                for (int x = 0; x < SQUARE; x++) {
                    next[x] = 0;
                    for (int c = 0; c < N; c++)
                        next[x] += a[x / N * N + c] * product[c * N + x % N];
                }
                memcpy(product, next, sizeof product);
            }
            for (int x = 0; x < SQUARE; x++)
                assert_true(fabs(element(&rollout, b, 0, x / N, x % N) - product[x]) <=
                            near(dtype));
        }
    }
}

/* By hand: token 1 looks at both, token 0 at itself; half of each is the residual. */
static void rollout_by_hand(void **state) {
    (void)state;
    const double w[] = {1, 0, .5, .5};
    double made[4];
    const attn_tensor both[] = {attn_tensor_f64(w, 1, 1, 2, 2), attn_tensor_f64(w, 1, 1, 2, 2)};
    const attn_tensor rollout = attn_tensor_f64(made, 1, 1, 2, 2);
    run(attn_rollout(NULL, both, 2, .5, &rollout)); /* [1 0; 1/4 3/4] squared */
    const double expected[] = {1, 0, .25 + .75 * .25, .75 * .75};
    assert_memory_equal(made, expected, sizeof made);
}

static void rows_of_zero_stay_zero(void **state) {
    (void)state;
    const double w[] = {1, 0, 0, 0};
    double made[4];
    const attn_tensor layer = attn_tensor_f64(w, 1, 1, 2, 2);
    const attn_tensor rollout = attn_tensor_f64(made, 1, 1, 2, 2);
    run(attn_rollout(NULL, &layer, 1, 0, &rollout));
    for (int k = 0; k < 4; k++) assert_true(made[k] == w[k]);
}

/* ------------------------------------------------------------------------------------------- flow */

enum { NODES = (LAYERS + 1) * N };

/* A path of capacity above 0, depth first, its capacity; 0: none. */
static double augment(double left[NODES][NODES], bool *visited, int at, int sink, double most) {
    if (at == sink) return most;
    visited[at] = true;
    for (int to = 0; to < NODES; to++) {
        if (visited[to] || left[at][to] <= 0) continue;
        const double sent = augment(left, visited, to, sink, fmin(most, left[at][to]));
        if (sent <= 0) continue;
        left[at][to] -= sent;
        left[to][at] += sent;
        return sent;
    }
    return 0;
}

/* Ford and Fulkerson's: each path leaves an edge empty, and with so few edges it ends. */
static double plain_flow(double left[NODES][NODES], int source, int sink) {
    double flow = 0, sent = 0;
    do {
        bool visited[NODES] = {false};
        sent = augment(left, visited, source, sink, INFINITY);
        flow += sent;
    } while (sent > 0);
    return flow;
}

static void make_graph(const layered *l, int b, double residual, double left[NODES][NODES]) {
    memset(left, 0, sizeof(double[NODES][NODES]));
    for (int k = 0; k < LAYERS; k++) {
        double a[SQUARE];
        make_a(l->weights[k] + b * SQUARE, residual, a);
        for (int x = 0; x < SQUARE; x++) left[(k + 1) * N + x / N][k * N + x % N] = a[x];
    }
}

/* What is still reachable from the source once the flow is there is a cut that it fills: whatever the
 * way it was found, no flow is greater. */
static double cut_of(double full[NODES][NODES], double left[NODES][NODES], int source) {
    bool inside[NODES] = {false};
    double cut = 0;
    inside[source] = true;
    for (int round = 0; round < NODES; round++) {
        for (int x = 0; x < NODES * NODES; x++)
            if (inside[x / NODES] && left[x / NODES][x % NODES] > 0x1p-40) inside[x % NODES] = true;
    }
    for (int x = 0; x < NODES * NODES; x++)
        if (inside[x / NODES] && !inside[x % NODES]) cut += full[x / NODES][x % NODES];
    return cut;
}

/* A flow is a sum of at most as many paths as there are edges, none above 1, each rounded; and
 * capacities carry N + 6 roundings. What is left of an edge that is full by rounding is less than
 * 2^-40, and all of these together let less than 75 * 2^-40 through. */
static void flow_is_a_maximum(void **state) {
    (void)state;
    const double bound = 2 * LAYERS * SQUARE * (LAYERS * SQUARE + N + 6) * 0x1p-53;
    for (uint64_t seed = 0; seed < 6; seed++) {
        const attn_dtype dtype = seed % 2 ? ATTN_F32 : ATTN_F64;
        const double residual = seed % 3 ? .5 : 0;
        const int token = (int)(seed % N);
        double flows[BATCH * N], full[NODES][NODES], left[NODES][NODES];
        layered l;
        layered_make(&l, dtype, seed);
        const attn_tensor flow = attn_tensor_dense(flows, dtype, BATCH, 1, 1, N);
        run(attn_flow(NULL, l.layers, LAYERS, residual, token, &flow));
        for (int x = 0; x < BATCH * N; x++) {
            const double got = element(&flow, x / N, 0, 0, x % N);
            make_graph(&l, x / N, residual, full);
            memcpy(left, full, sizeof left);
            const double plain = plain_flow(left, LAYERS * N + token, x % N);
            const double rounding = dtype == ATTN_F32 ? 0x1p-24 : 0;
            assert_true(fabs(got - plain) <= bound + rounding);
            assert_true(got <= cut_of(full, left, LAYERS * N + token) + LAYERS * SQUARE * 0x1p-40 +
                                   rounding);
        }
    }
}

/* By hand, as in rollout_by_hand: to token 0 from token 1 of the top, 1/4 stays on the first edge and
 * 1/4 of what went to token 1 goes over; to token 1, 3/4. */
static void flow_by_hand(void **state) {
    (void)state;
    const double w[] = {1, 0, .5, .5};
    double made[2];
    const attn_tensor both[] = {attn_tensor_f64(w, 1, 1, 2, 2), attn_tensor_f64(w, 1, 1, 2, 2)};
    const attn_tensor flow = attn_tensor_f64(made, 1, 1, 1, 2);
    run(attn_flow(NULL, both, 2, .5, 1, &flow));
    assert_true(made[0] == .5 && made[1] == .75);
    run(attn_flow(NULL, both, 2, .5, 0, &flow));
    assert_true(made[0] == 1 && made[1] == 0);
}

/* ----------------------------------------------------------------------------------------- errors */

static void assert_refused(attn_status got, attn_status expected, const char *message) {
    if (got != expected || strstr(attn_error_message(), message) == NULL)
        fail_msg("%s: \"%s\", but expected %s: \"%s\"", attn_status_name(got),
                 got ? attn_error_message() : "", attn_status_name(expected), message);
}

static void wrong_paths(void **state) {
    (void)state;
    double w[6] = {0};
    int32_t path[6] = {9, 9, 9, 9, 9, 9};
    attn_tensor weights = attn_tensor_f64(w, 1, 1, 2, 3);
    attn_tensor to = attn_tensor_dense(path, ATTN_I32, 1, 1, 2, 2);
    const attn_tensor good = to, absent = {0};
    assert_refused(attn_alignment_path(NULL, NULL, &to), ATTN_ERROR_NULL, "weights is NULL");
    assert_refused(attn_alignment_path(NULL, &absent, &to), ATTN_ERROR_NULL, "weights is NULL");
    assert_refused(attn_alignment_path(NULL, &weights, NULL), ATTN_ERROR_NULL, "path is NULL");
    to.dtype = ATTN_F64;
    assert_refused(attn_alignment_path(NULL, &weights, &to), ATTN_ERROR_DTYPE,
                   "path.dtype is ATTN_F64 (2), but must be ATTN_I32 or ATTN_I64");
    to = good, to.shape[2] = 3;
    assert_refused(attn_alignment_path(NULL, &weights, &to), ATTN_ERROR_SHAPE,
                   "path.shape[2] is 3, but weights.shape[2] is 2");
    to = good, to.shape[3] = 1;
    assert_refused(attn_alignment_path(NULL, &weights, &to), ATTN_ERROR_SHAPE, "path.shape[3]");
    to = good, to.data = w;
    assert_refused(attn_alignment_path(NULL, &weights, &to), ATTN_ERROR_ALIAS,
                   "path overlaps weights");
    to = good, weights.shape[1] = 2;
    assert_refused(attn_alignment_path(NULL, &weights, &to), ATTN_ERROR_SHAPE, "weights.shape[1]");
    weights.shape[1] = 1, w[4] = NAN;
    assert_refused(attn_alignment_path(NULL, &weights, &to), ATTN_ERROR_VALUE,
                   "weights[0][0][1][1] is nan, but must be finite");
    for (int k = 0; k < 6; k++) assert_int_equal(path[k], 9);
}

static void wrong_layers(void **state) {
    (void)state;
    double made[BATCH * SQUARE] = {9};
    layered l;
    layered_make(&l, ATTN_F64, 1);
    attn_tensor to = attn_tensor_f64(made, BATCH, 1, N, N);
    const attn_tensor flow = attn_tensor_f64(made, BATCH, 1, 1, N), good = l.layers[2];
    assert_refused(attn_rollout(NULL, NULL, 1, .5, &to), ATTN_ERROR_NULL, "layers is NULL");
    assert_refused(attn_rollout(NULL, l.layers, 3, .5, NULL), ATTN_ERROR_NULL, "rollout is NULL");
    assert_refused(attn_rollout(NULL, l.layers, 0, .5, &to), ATTN_ERROR_VALUE, "layer_count is 0");
    assert_refused(attn_rollout(NULL, l.layers, 3, 1, &to), ATTN_ERROR_VALUE, "residual is 1, but");
    assert_refused(attn_rollout(NULL, l.layers, 3, NAN, &to), ATTN_ERROR_VALUE, "residual is nan");
    assert_refused(attn_flow(NULL, l.layers, 3, .5, N, &flow), ATTN_ERROR_VALUE,
                   "token is 5, but must be 0 to 4");
    assert_refused(attn_flow(NULL, l.layers, 3, .5, -1, &flow), ATTN_ERROR_VALUE, "token is -1");
    assert_refused(attn_flow(NULL, l.layers, 3, .5, 0, &to), ATTN_ERROR_SHAPE,
                   "flow.shape[2] is 5");
    l.layers[2].shape[3] = N - 1;
    assert_refused(attn_rollout(NULL, l.layers, 3, .5, &to), ATTN_ERROR_SHAPE,
                   "layers[2].shape[3] is 4, but layers[0].shape[2] is 5");
    l.layers[2] = good, l.layers[2].dtype = ATTN_F32;
    assert_refused(attn_rollout(NULL, l.layers, 3, .5, &to), ATTN_ERROR_DTYPE,
                   "layers[2].dtype is ATTN_F32 (1), but must be ATTN_F64");
    l.layers[2] = good, l.layers[2].data = NULL;
    assert_refused(attn_rollout(NULL, l.layers, 3, .5, &to), ATTN_ERROR_NULL,
                   "layers[2].data is NULL");
    l.layers[2] = good, to.data = l.weights[1];
    assert_refused(attn_rollout(NULL, l.layers, 3, .5, &to), ATTN_ERROR_ALIAS,
                   "rollout overlaps layers[1]");
    l.weights[1][SQUARE + 7] = -1;
    assert_refused(attn_flow(NULL, l.layers, 3, .5, 0, &flow), ATTN_ERROR_VALUE,
                   "layers[1][1][0][1][2] is -1, but must be finite and 0 or more");
    assert_true(made[0] == 9);
}

/* Scratch that cannot be had; and that is given back. */
static void *no_memory(void *user, size_t size, size_t alignment) {
    return size < 4096 && *(int *)user == 0 ? aligned_alloc(alignment, 4096) : NULL;
}

static void release(void *user, void *memory) {
    (void)user;
    free(memory);
}

static void memory_runs_out(void **state) {
    (void)state;
    int none_left = 0;
    const attn_context_options options = {.allocator = {no_memory, release, &none_left}};
    attn_context *context = NULL;
    double made[BATCH * SQUARE];
    int32_t path[BATCH * 2 * N];
    layered l;
    layered_make(&l, ATTN_F64, 1);
    const attn_tensor rollout = attn_tensor_f64(made, BATCH, 1, N, N);
    const attn_tensor flow = attn_tensor_f64(made, BATCH, 1, 1, N);
    const attn_tensor to = attn_tensor_dense(path, ATTN_I32, BATCH, 1, N, 2);
    run(attn_context_create(&context, &options));
    none_left = 1;
    assert_refused(attn_rollout(context, l.layers, 3, .5, &rollout), ATTN_ERROR_MEMORY, "memory");
    assert_refused(attn_flow(context, l.layers, 3, .5, 0, &flow), ATTN_ERROR_MEMORY, "memory");
    assert_refused(attn_alignment_path(context, l.layers, &to), ATTN_ERROR_MEMORY, "memory");
    none_left = 0;
    run(attn_rollout(context, l.layers, 3, .5, &rollout));
    run(attn_flow(context, l.layers, 3, .5, 0, &flow));
    run(attn_alignment_path(context, l.layers, &to));
    attn_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_collect_the_most),
        cmocka_unit_test(steps_of_both_are_preferred),
        cmocka_unit_test(paths_of_nothing),
        cmocka_unit_test(any_layout_of_weights),
        cmocka_unit_test(rollout_is_a_product_of_matrices),
        cmocka_unit_test(rollout_by_hand),
        cmocka_unit_test(rows_of_zero_stay_zero),
        cmocka_unit_test(flow_is_a_maximum),
        cmocka_unit_test(flow_by_hand),
        cmocka_unit_test(wrong_paths),
        cmocka_unit_test(wrong_layers),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

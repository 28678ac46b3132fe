/* test_errors_views.c: as test_errors.c, for views of the weights. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct world world;
#define WRONG_IN struct world
#include "wrong.h"

enum { BATCH = 2, HEADS = 4, CHOSEN = 2, QUERIES = 5, KEYS = 6, ROWS = 3, TOP = 2 };
enum { BLOCK_QUERIES = 2, BLOCK_KEYS = 4, ROWS_OF_BLOCKS = 3, COLUMNS_OF_BLOCKS = 2 };
enum { MOST_INPUTS = BATCH * HEADS * KEYS, MOST_RESULTS = 4096 };

/* Every view of two chosen heads, each in memory of its own. */
struct world {
    attn_problem problem;
    attn_views views;
    int64_t heads[CHOSEN], rows[ROWS];
    int64_t query_starts[3], key_starts[3];
    float inputs[MOST_INPUTS], values[MOST_INPUTS];
    int64_t results[MOST_RESULTS]; /* aligned for any type */
    size_t used;
};

static attn_tensor result(world *w, attn_dtype dtype, int64_t d1, int64_t d2, int64_t d3) {
    const attn_tensor t = attn_tensor_dense(w->results + w->used, dtype, BATCH, d1, d2, d3);
    w->used += (size_t)(BATCH * d1 * d2 * d3);
    assert_true(w->used <= MOST_RESULTS);
    return t;
}

static void add_views(world *w) {
    attn_views *const v = &w->views;
    attn_tensor *const per_key[] = {&v->received_sum, &v->received_mean, &v->received_max,
                                    &v->window_sum};
    attn_tensor *const per_query[] = {&v->entropy, &v->span, &v->distance, &v->max_logit};
    attn_tensor *const per_pair[] = {&v->raw_scores, &v->capped_scores, &v->scores};
    for (size_t k = 0; k < COUNT(per_key); k++) *per_key[k] = result(w, ATTN_F32, CHOSEN, 1, KEYS);
    for (size_t k = 0; k < COUNT(per_query); k++)
        *per_query[k] = result(w, ATTN_F32, CHOSEN, QUERIES, 1);
    for (size_t k = 0; k < COUNT(per_pair); k++)
        *per_pair[k] = result(w, ATTN_F32, CHOSEN, QUERIES, KEYS);
    v->weights = result(w, ATTN_U8, CHOSEN, ROWS, KEYS);
    v->top_weights = result(w, ATTN_F32, CHOSEN, QUERIES, TOP);
    v->top_keys = result(w, ATTN_I32, CHOSEN, QUERIES, TOP);
    v->argmax = result(w, ATTN_I64, CHOSEN, QUERIES, 1);
    v->block_sums = result(w, ATTN_F32, CHOSEN, ROWS_OF_BLOCKS, COLUMNS_OF_BLOCKS);
    v->head_mean = result(w, ATTN_F32, 1, QUERIES, KEYS);
    v->path = result(w, ATTN_I32, 1, QUERIES, 2);
    v->head_statistics = result(w, ATTN_F32, CHOSEN, 1, ATTN_HEAD_STATISTICS);
}

static void world_make(world *w) {
    memset(w, 0, sizeof *w);
    memset(w->results, POISON, sizeof w->results);
    w->problem.query = attn_tensor_f32(w->inputs, BATCH, HEADS, QUERIES, 1);
    w->problem.key = attn_tensor_f32(w->inputs, BATCH, HEADS, KEYS, 1);
    w->problem.value = attn_tensor_f32(w->values, BATCH, HEADS, KEYS, 1);
    w->problem.views = &w->views;
    add_views(w);
    w->heads[0] = 1, w->heads[1] = 3;
    w->rows[0] = 0, w->rows[1] = 2, w->rows[2] = 9;
    w->views.heads = w->heads, w->views.head_count = CHOSEN;
    w->views.rows = w->rows, w->views.row_count = ROWS;
    w->views.window_queries = 3;
    w->views.block_queries = BLOCK_QUERIES, w->views.block_keys = BLOCK_KEYS;
}

static void assert_refused(const world *w, attn_status status, const char *message) {
    assert_both_refuse(&w->problem, status, message);
    for (size_t k = 0; k < COUNT(w->results); k++) assert_true(w->results[k] == -1);
}

/* A view's type, sizes, strides and alignment. */
#define SHAPE_OF(view, axis, size, message) \
    INTEGER_AT(0, views.view.shape[axis], size, ATTN_ERROR_SHAPE, "views." #view ".shape" message)
#define TYPE_OF(view, type, message) \
    ENUM_AT(0, views.view.dtype, type, ATTN_ERROR_DTYPE, "views." #view ".dtype is " message)

static const wrong wrongs[] = {
    SHAPE_OF(received_sum, 0, 1, "[0] is 1, but query.shape[0] is 2"),
    SHAPE_OF(received_sum, 1, 4, "[1] is 4, but views.head_count is 2"),
    SHAPE_OF(received_sum, 2, 5, "[2] is 5, but the size expected is 1"),
    SHAPE_OF(received_sum, 3, 5, "[3] is 5, but n_key is 6"),
    SHAPE_OF(received_mean, 3, 7, "[3] is 7, but n_key is 6"),
    SHAPE_OF(received_max, 3, 7, "[3] is 7, but n_key is 6"),
    SHAPE_OF(window_sum, 3, 7, "[3] is 7, but n_key is 6"),
    SHAPE_OF(top_weights, 2, 4, "[2] is 4, but query.shape[2] is 5"),
    SHAPE_OF(top_keys, 3, 1, "[3] is 1, but views.top_weights.shape[3] is 2"),
    SHAPE_OF(argmax, 3, 2, "[3] is 2"),
    SHAPE_OF(entropy, 3, 6, "[3] is 6"),
    SHAPE_OF(span, 2, 4, "[2] is 4, but query.shape[2] is 5"),
    SHAPE_OF(distance, 1, 1, "[1] is 1, but views.head_count is 2"),
    SHAPE_OF(max_logit, 0, 3, "[0] is 3"),
    SHAPE_OF(block_sums, 2, 2, "[2] is 2, but n_query / block_queries is 3"),
    SHAPE_OF(block_sums, 3, 1, "[3] is 1, but n_key / block_keys is 2"),
    SHAPE_OF(head_mean, 1, 2, "[1] is 2, but the size expected is 1"),
    SHAPE_OF(head_mean, 3, 5, "[3] is 5, but n_key is 6"),
    SHAPE_OF(path, 2, 6, "[2] is 6, but n_query is 5"),
    SHAPE_OF(path, 3, 1, "[3] is 1, but the size expected is 2"),
    SHAPE_OF(head_statistics, 3, 3, "[3] is 3, but ATTN_HEAD_STATISTICS is 4"),
    SHAPE_OF(raw_scores, 3, 5, "[3] is 5, but n_key is 6"),
    SHAPE_OF(capped_scores, 2, 4, "[2] is 4, but query.shape[2] is 5"),
    SHAPE_OF(scores, 1, 4, "[1] is 4, but views.head_count is 2"),
    SHAPE_OF(weights, 2, 5, "[2] is 5, but views.row_count is 3"),
    SHAPE_OF(weights, 3, -1, "[3] is -1, but must be 0 or more"),

    TYPE_OF(received_sum, ATTN_F16, "ATTN_F16 (4), but must be ATTN_F32"),
    TYPE_OF(top_weights, ATTN_F64, "ATTN_F64 (2), but must be ATTN_F32"),
    TYPE_OF(top_keys, ATTN_F32, "ATTN_F32 (1), but must be ATTN_I32 or ATTN_I64"),
    TYPE_OF(argmax, ATTN_U8, "ATTN_U8 (5), but must be ATTN_I32 or ATTN_I64"),
    TYPE_OF(path, ATTN_BOOL, "ATTN_BOOL (3), but must be ATTN_I32 or ATTN_I64"),
    TYPE_OF(weights, ATTN_I32, "ATTN_I32 (6), but must be ATTN_F32, ATTN_F64, ATTN_F16 or ATTN_U8"),
    TYPE_OF(weights, 8, "no type at all (8)"),
    TYPE_OF(scores, ATTN_F64, "ATTN_F64 (2), but must be ATTN_F32"),

    INTEGER_AT(0, views.entropy.stride[2], 0, ATTN_ERROR_STRIDE,
               "views.entropy.stride[2] is 0: elements of a result would share memory"),
    INTEGER_AT(0, views.path.stride[0], INT64_MIN, ATTN_ERROR_STRIDE, "views.path.stride[0]"),
    SHIFT_AT(0, views.argmax.data, "views.argmax.data is not aligned to its element size of 8"),

    INTEGER_AT(0, views.head_count, -1, ATTN_ERROR_VALUE,
               "views.head_count is -1, but must be 0 to 2^40"),
    INTEGER_AT(0, views.row_count, -1, ATTN_ERROR_VALUE, "views.row_count is -1"),
    INTEGER_AT(0, heads[1], 1, ATTN_ERROR_VALUE, "views.heads[1] is 1, but must be 2 to 3"),
    INTEGER_AT(0, heads[1], 4, ATTN_ERROR_VALUE, "views.heads[1] is 4, but must be 2 to 3"),
    INTEGER_AT(0, heads[0], -1, ATTN_ERROR_VALUE, "views.heads[0] is -1, but must be 0 to 3"),
    NULL_AT(0, views.heads, ATTN_ERROR_NULL, "views.heads is NULL, but views.head_count is 2"),
    INTEGER_AT(0, rows[0], -1, ATTN_ERROR_VALUE, "views.rows[0] is -1, but must be 0 to "),
    INTEGER_AT(0, rows[2], 2, ATTN_ERROR_VALUE, "views.rows[2] is 2, but must be 3 to "),
    INTEGER_AT(0, views.window_queries, 0, ATTN_ERROR_VALUE,
               "views.window_queries is 0, but must be 1 to 2^40"),
    INTEGER_AT(0, views.block_queries, 0, ATTN_ERROR_VALUE, "views.block_queries is 0"),
    INTEGER_AT(0, views.block_keys, -4, ATTN_ERROR_VALUE, "views.block_keys is -4"),
    RESERVED_AT(0, views.reserved[7], "views.reserved"),
};

static void one_wrong_field(void **state) {
    (void)state;
    for (size_t k = 0; k < COUNT(wrongs); k++) {
        world w;
        world_make(&w);
        set_wrong(&w, &wrongs[k]);
        assert_refused(&w, wrongs[k].status, wrongs[k].message);
    }
}

static void the_unbroken_views_are_fine(void **state) {
    (void)state;
    world w;
    world_make(&w);
    if (attn_reference_forward(&w.problem) != ATTN_OK) fail_msg("%s", attn_error_message());
    if (attn_forward(NULL, &w.problem) != ATTN_OK) fail_msg("%s", attn_error_message());
}

/* Sizes of windows and blocks count where they are used. */
static void what_is_not_asked_for_may_be_zero(void **state) {
    (void)state;
    world w;
    world_make(&w);
    w.views.window_sum = w.views.block_sums = (attn_tensor){0};
    w.views.window_queries = w.views.block_queries = w.views.block_keys = 0;
    assert_int_equal(attn_reference_forward(&w.problem), ATTN_OK);
}

static void top_of_too_many(void **state) {
    (void)state;
    static float many[BATCH * CHOSEN * QUERIES * 1025];
    world w;
    world_make(&w);
    w.views.top_weights = attn_tensor_f32(many, BATCH, CHOSEN, QUERIES, 1025);
    w.views.top_keys = (attn_tensor){0};
    assert_refused(&w, ATTN_ERROR_SHAPE,
                   "views.top_weights.shape[3] is 1025, but k is at most 1024");
    w.views.top_weights.shape[3] = 1024;
    assert_int_equal(attn_reference_forward(&w.problem), ATTN_OK);
}

/* Keys that cost nothing as a view, and whose indices need more than 31 bits. */
static void indices_of_too_many_keys(void **state) {
    (void)state;
    world w;
    world_make(&w);
    w.problem.key.shape[2] = w.problem.value.shape[2] = (INT64_C(1) << 31) + 1;
    w.problem.key.stride[2] = w.problem.value.stride[2] = 0;
    const attn_views only = {.argmax = w.views.argmax};
    w.views = only;
    w.views.argmax.dtype = ATTN_I32;
    w.views.argmax.shape[1] = HEADS;
    w.views.argmax.stride[0] = HEADS * QUERIES;
    assert_refused(&w, ATTN_ERROR_DTYPE,
                   "views.argmax.dtype is ATTN_I32, but must be ATTN_I64 for 2147483649 keys");
}

/* Rows of queries in packed views, and one row a sequence, as wide as the longest, or more. */
static void packed_views(void **state) {
    (void)state;
    world w;
    world_make(&w);
    attn_tensor *const batched[] = {&w.problem.query, &w.problem.key,  &w.problem.value,
                                    &w.views.entropy, &w.views.scores, &w.views.head_mean};
    const attn_views all = w.views;
    w.views = (attn_views){.heads = w.heads, .head_count = CHOSEN};
    w.views.entropy = all.entropy, w.views.scores = all.scores, w.views.head_mean = all.head_mean;
    w.views.received_sum = all.received_sum, w.views.path = all.path;
    for (size_t k = 0; k < COUNT(batched); k++) batched[k]->shape[0] = 1;
    w.query_starts[1] = 2, w.query_starts[2] = 5, w.key_starts[1] = 2, w.key_starts[2] = 6;
    w.problem.mask.query_starts = w.query_starts;
    w.problem.mask.key_starts = w.key_starts;
    w.problem.mask.sequences = 2;
    w.views.received_sum.shape[3] = 3;
    assert_refused(&w, ATTN_ERROR_SHAPE, "views.received_sum.shape[3] is 3, but n_key is 4");
    w.views.received_sum.shape[3] = 4;
    w.views.received_sum.shape[0] = 1;
    assert_refused(&w, ATTN_ERROR_SHAPE,
                   "views.received_sum.shape[0] is 1, but mask.sequences is 2");
    w.views.received_sum.shape[0] = 2;
    w.views.path.shape[2] = 2;
    assert_refused(&w, ATTN_ERROR_SHAPE, "views.path.shape[2] is 2, but n_query is 3");
    w.views.path.shape[2] = 5; /* more is fine */
    assert_int_equal(attn_reference_forward(&w.problem), ATTN_OK);
}

/* Views over inputs, over other results, and over each other. */
static void views_overlap_nothing(void **state) {
    (void)state;
    static const struct {
        size_t view, other;
        const char *message;
    } all[] = {
        {offsetof(world, views.entropy), offsetof(world, problem.query),
         "views.entropy overlaps query in memory"},
        {offsetof(world, views.path), offsetof(world, problem.value), "views.path overlaps value"},
        {offsetof(world, views.span), offsetof(world, views.entropy),
         "views.entropy overlaps views.span in memory"},
        {offsetof(world, views.top_keys), offsetof(world, views.scores),
         "views.top_keys overlaps views.scores"},
        {offsetof(world, views.weights), offsetof(world, problem.lse),
         "lse overlaps views.weights"},
    };
    for (size_t k = 0; k < COUNT(all); k++) {
        world w;
        world_make(&w);
        w.problem.lse = result(&w, ATTN_F32, HEADS, QUERIES, 1);
        attn_tensor *const view = (attn_tensor *)(void *)((unsigned char *)&w + all[k].view);
        view->data = ((attn_tensor *)(void *)((unsigned char *)&w + all[k].other))->data;
        assert_refused(&w, ATTN_ERROR_ALIAS, all[k].message);
    }
}

static void see_nothing(void *user, const attn_pairs *pairs) {
    (void)user, (void)pairs;
}

/* Heads come one after the other to an observer, and side by side to the path. */
static void no_path_with_an_observer(void **state) {
    (void)state;
    world w;
    world_make(&w);
    w.views.observer = see_nothing;
    assert_refused(&w, ATTN_ERROR_VALUE, "views.observer and views.path are both asked for");
    w.views.path.data = NULL, w.views.path.dtype = ATTN_DTYPE_NONE;
    assert_int_equal(attn_reference_forward(&w.problem), ATTN_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_unbroken_views_are_fine),
        cmocka_unit_test(one_wrong_field),
        cmocka_unit_test(what_is_not_asked_for_may_be_zero),
        cmocka_unit_test(top_of_too_many),
        cmocka_unit_test(indices_of_too_many_keys),
        cmocka_unit_test(packed_views),
        cmocka_unit_test(views_overlap_nothing),
        cmocka_unit_test(no_path_with_an_observer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

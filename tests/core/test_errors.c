/* test_errors.c: every way to call wrongly gets its status and a sentence with the field, its value
 * and what was expected; no result is touched; attn_forward and the reference agree on all of
 * it. */
#define WRONG_IN attn_problem
#include "wrong.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 2, HEADS = 4, KV_HEADS = 2, QUERIES = 5, KEYS = 6, WIDTH = 4, VALUE_WIDTH = 3 };

/* A problem with nothing left out, and nothing wrong. */
typedef struct world {
    attn_problem problem;
    float query[BATCH * HEADS * QUERIES * WIDTH];
    float key[BATCH * KV_HEADS * KEYS * WIDTH];
    float value[BATCH * KV_HEADS * KEYS * VALUE_WIDTH];
    float bias[BATCH * HEADS * QUERIES * KEYS], slopes[HEADS], sinks[BATCH * HEADS];
    unsigned char allowed[1024]; /* room for results that are put there */
    int64_t prefix[BATCH], query_lengths[BATCH], key_lengths[BATCH];
    int64_t query_starts[BATCH + 1], key_starts[BATCH + 1];
    int32_t query_documents[BATCH * QUERIES], key_documents[BATCH * KEYS];
    float results[BATCH * HEADS * QUERIES * (VALUE_WIDTH + 1 + KEYS)];
} world;

static void world_make(world *w) {
    memset(w, 0, sizeof *w);
    memset(w->results, POISON, sizeof w->results);
    memset(w->allowed, 1, sizeof w->allowed);
    for (int b = 0; b < BATCH; b++) w->query_lengths[b] = QUERIES, w->key_lengths[b] = KEYS;
    float *const lse = w->results + BATCH * HEADS * QUERIES * VALUE_WIDTH;
    float *const weights = lse + BATCH * HEADS * QUERIES;
    attn_problem *const p = &w->problem;
    p->query = attn_tensor_f32(w->query, BATCH, HEADS, QUERIES, WIDTH);
    p->key = attn_tensor_f32(w->key, BATCH, KV_HEADS, KEYS, WIDTH);
    p->value = attn_tensor_f32(w->value, BATCH, KV_HEADS, KEYS, VALUE_WIDTH);
    p->score.bias = attn_tensor_f32(w->bias, BATCH, HEADS, QUERIES, KEYS);
    p->score.alibi_slopes = attn_tensor_f32(w->slopes, 1, HEADS, 1, 1);
    p->score.sinks = attn_tensor_f32(w->sinks, BATCH, HEADS, 1, 1);
    p->mask.allowed = attn_tensor_bool(w->allowed, 1, 1, QUERIES, KEYS);
    p->mask.prefix_lengths = w->prefix;
    p->mask.query_lengths = w->query_lengths;
    p->mask.key_lengths = w->key_lengths;
    p->mask.query_documents = w->query_documents;
    p->mask.key_documents = w->key_documents;
    p->output = attn_tensor_f32(w->results, BATCH, HEADS, QUERIES, VALUE_WIDTH);
    p->lse = attn_tensor_f32(lse, BATCH, HEADS, QUERIES, 1);
    p->weights = attn_tensor_f32(weights, BATCH, HEADS, QUERIES, KEYS);
}

/* The same problem as one batch of two packed sequences of 2 + 3 queries and 1 + 5 keys. */
static void world_pack(world *w) {
    const int64_t queries[] = {0, 2, 5}, keys[] = {0, 1, 6};
    attn_problem *const p = &w->problem;
    attn_tensor *const all[] = {&p->query, &p->key, &p->value, &p->output, &p->lse, &p->weights};
    for (size_t k = 0; k < COUNT(all); k++) all[k]->shape[0] = 1;
    memcpy(w->query_starts, queries, sizeof queries);
    memcpy(w->key_starts, keys, sizeof keys);
    p->mask.query_starts = w->query_starts;
    p->mask.key_starts = w->key_starts;
    p->mask.sequences = 2;
    p->mask.query_lengths = p->mask.key_lengths = NULL;
}

static void assert_refused(const world *w, attn_status status, const char *message) {
    assert_both_refuse(&w->problem, status, message);
    for (size_t k = 0; k < COUNT(w->results); k++) assert_true(isnan(w->results[k]));
}

/* ------------------------------------------------------------------------- one field set wrong */

static const wrong wrongs[] = {
    NULL_AT(0, query.data, ATTN_ERROR_NULL, "query.data is NULL, but query must be given"),
    NULL_AT(0, key.data, ATTN_ERROR_NULL, "key.data is NULL, but key must be given"),
    NULL_AT(0, value.data, ATTN_ERROR_NULL, "value.data is NULL, but value must be given"),
    NULL_AT(0, mask.query_documents, ATTN_ERROR_NULL,
            "mask.query_documents and mask.key_documents must both be given"),
    NULL_AT(0, mask.key_documents, ATTN_ERROR_NULL,
            "mask.query_documents and mask.key_documents must both be given"),

    ENUM_AT(0, query.dtype, ATTN_BOOL, ATTN_ERROR_DTYPE,
            "query.dtype is ATTN_BOOL (3), but must be ATTN_F32 or ATTN_F64"),
    ENUM_AT(0, query.dtype, 77, ATTN_ERROR_DTYPE, "query.dtype is no type at all (77)"),
    ENUM_AT(0, query.dtype, ATTN_DTYPE_NONE, ATTN_ERROR_DTYPE,
            "query.dtype is ATTN_DTYPE_NONE (0)"),
    ENUM_AT(0, key.dtype, ATTN_F64, ATTN_ERROR_DTYPE,
            "key.dtype is ATTN_F64 (2), but must be ATTN_F32"),
    ENUM_AT(0, value.dtype, ATTN_F64, ATTN_ERROR_DTYPE, "value.dtype is ATTN_F64 (2)"),
    ENUM_AT(0, score.bias.dtype, ATTN_BOOL, ATTN_ERROR_DTYPE, "score.bias.dtype is ATTN_BOOL (3)"),
    ENUM_AT(0, score.alibi_slopes.dtype, ATTN_F64, ATTN_ERROR_DTYPE,
            "score.alibi_slopes.dtype is ATTN_F64"),
    ENUM_AT(0, score.sinks.dtype, ATTN_F64, ATTN_ERROR_DTYPE, "score.sinks.dtype is ATTN_F64 (2)"),
    ENUM_AT(0, mask.allowed.dtype, ATTN_F32, ATTN_ERROR_DTYPE,
            "mask.allowed.dtype is ATTN_F32 (1), but must be ATTN_BOOL"),
    ENUM_AT(0, output.dtype, ATTN_F64, ATTN_ERROR_DTYPE,
            "output.dtype is ATTN_F64 (2), but must be ATTN_F32"),
    ENUM_AT(0, lse.dtype, ATTN_F64, ATTN_ERROR_DTYPE, "lse.dtype is ATTN_F64 (2)"),
    ENUM_AT(0, weights.dtype, ATTN_BOOL, ATTN_ERROR_DTYPE, "weights.dtype is ATTN_BOOL (3)"),

    INTEGER_AT(0, query.shape[2], -1, ATTN_ERROR_SHAPE,
               "query.shape[2] is -1, but must be 0 or more"),
    INTEGER_AT(0, key.shape[0], INT64_MIN, ATTN_ERROR_SHAPE,
               "key.shape[0] is -9223372036854775808"),
    INTEGER_AT(0, query.shape[2], INT64_MAX, ATTN_ERROR_SHAPE, "more than 2^56 elements"),
    INTEGER_AT(0, weights.shape[3], INT64_C(1) << 55, ATTN_ERROR_SHAPE,
               "weights.shape is [2, 4, 5, 36028797018963968]: more than 2^56 elements"),
    INTEGER_AT(0, key.shape[0], 1, ATTN_ERROR_SHAPE, "key.shape[0] is 1, but query.shape[0] is 2"),
    INTEGER_AT(0, value.shape[0], 1, ATTN_ERROR_SHAPE,
               "value.shape[0] is 1, but query.shape[0] is 2"),
    INTEGER_AT(0, value.shape[1], 1, ATTN_ERROR_SHAPE,
               "value.shape[1] is 1, but key.shape[1] is 2"),
    INTEGER_AT(0, value.shape[2], 5, ATTN_ERROR_SHAPE,
               "value.shape[2] is 5, but key.shape[2] is 6"),
    INTEGER_AT(0, key.shape[3], 3, ATTN_ERROR_SHAPE, "key.shape[3] is 3, but query.shape[3] is 4"),
    INTEGER_AT(0, query.shape[1], 3, ATTN_ERROR_SHAPE,
               "query.shape[1] is 3 heads, but must be a multiple of key.shape[1], 2 heads"),
    INTEGER_AT(0, score.bias.shape[0], 3, ATTN_ERROR_SHAPE,
               "score.bias.shape[0] is 3, but must be 1 or 2"),
    INTEGER_AT(0, score.bias.shape[1], 2, ATTN_ERROR_SHAPE,
               "score.bias.shape[1] is 2, but must be 1 or 4"),
    INTEGER_AT(0, score.bias.shape[2], 4, ATTN_ERROR_SHAPE,
               "score.bias.shape[2] is 4, but must be 1 or 5"),
    INTEGER_AT(0, score.bias.shape[3], 7, ATTN_ERROR_SHAPE,
               "score.bias.shape[3] is 7, but must be 1 or 6"),
    INTEGER_AT(0, score.bias.shape[3], 0, ATTN_ERROR_SHAPE,
               "score.bias.shape[3] is 0, but must be 1 or 6"),
    INTEGER_AT(0, score.alibi_slopes.shape[1], 3, ATTN_ERROR_SHAPE,
               "score.alibi_slopes.shape[1] is 3"),
    INTEGER_AT(0, score.alibi_slopes.shape[2], 2, ATTN_ERROR_SHAPE,
               "score.alibi_slopes.shape[2] is 2"),
    INTEGER_AT(0, score.sinks.shape[0], 3, ATTN_ERROR_SHAPE,
               "score.sinks.shape[0] is 3, but must be 1 or 2"),
    INTEGER_AT(0, score.sinks.shape[3], 2, ATTN_ERROR_SHAPE, "score.sinks.shape[3] is 2"),
    INTEGER_AT(0, mask.allowed.shape[2], 3, ATTN_ERROR_SHAPE,
               "mask.allowed.shape[2] is 3, but must be 1 or 5"),
    INTEGER_AT(0, mask.allowed.shape[3], 5, ATTN_ERROR_SHAPE,
               "mask.allowed.shape[3] is 5, but must be 1 or 6"),
    INTEGER_AT(0, output.shape[0], 1, ATTN_ERROR_SHAPE,
               "output.shape[0] is 1, but query.shape[0] is 2"),
    INTEGER_AT(0, output.shape[1], 2, ATTN_ERROR_SHAPE,
               "output.shape[1] is 2, but query.shape[1] is 4"),
    INTEGER_AT(0, output.shape[2], 4, ATTN_ERROR_SHAPE,
               "output.shape[2] is 4, but query.shape[2] is 5"),
    INTEGER_AT(0, output.shape[3], 4, ATTN_ERROR_SHAPE,
               "output.shape[3] is 4, but value.shape[3] is 3"),
    INTEGER_AT(0, lse.shape[3], 2, ATTN_ERROR_SHAPE, "lse.shape[3] is 2"),
    INTEGER_AT(0, weights.shape[3], 7, ATTN_ERROR_SHAPE, "weights.shape[3] is 7, but n_key is 6"),

    INTEGER_AT(0, key.stride[1], INT64_MIN, ATTN_ERROR_STRIDE,
               "key.stride[1] is -9223372036854775808"),
    INTEGER_AT(0, key.stride[2], INT64_MAX, ATTN_ERROR_STRIDE,
               "key.stride[2] is 9223372036854775807"),
    INTEGER_AT(0, value.stride[2], INT64_C(1) << 59, ATTN_ERROR_STRIDE,
               "value.stride[2] is 576460752303423488"),
    INTEGER_AT(0, query.stride[0], -(INT64_C(1) << 60), ATTN_ERROR_STRIDE,
               "query.stride reaches outside the address space from query.data"),
    INTEGER_AT(0, score.bias.stride[3], INT64_C(1) << 62, ATTN_ERROR_STRIDE,
               "score.bias.stride[3]"),
    INTEGER_AT(0, mask.allowed.stride[2], INT64_MIN, ATTN_ERROR_STRIDE, "mask.allowed.stride[2]"),
    INTEGER_AT(0, output.stride[3], 0, ATTN_ERROR_STRIDE,
               "output.stride[3] is 0: elements of a result would share memory"),
    INTEGER_AT(0, output.stride[2], 2, ATTN_ERROR_STRIDE, "output.stride[2] is 2"),
    INTEGER_AT(0, lse.stride[1], -1, ATTN_ERROR_STRIDE, "lse.stride"),
    INTEGER_AT(0, weights.stride[0], 7, ATTN_ERROR_STRIDE, "weights.stride"),

    SHIFT_AT(0, query.data, "query.data is not aligned to its element size of 4 bytes"),
    SHIFT_AT(0, key.data, "key.data is not aligned"),
    SHIFT_AT(0, value.data, "value.data is not aligned"),
    SHIFT_AT(0, score.bias.data, "score.bias.data is not aligned"),
    SHIFT_AT(0, score.sinks.data, "score.sinks.data is not aligned"),
    SHIFT_AT(0, output.data, "output.data is not aligned"),
    SHIFT_AT(0, lse.data, "lse.data is not aligned"),
    SHIFT_AT(0, weights.data, "weights.data is not aligned"),

    REAL_AT(0, score.scale, NAN, ATTN_ERROR_VALUE, "score.scale is nan, but must be finite"),
    REAL_AT(0, score.scale, -INFINITY, ATTN_ERROR_VALUE, "score.scale is -inf, but must be finite"),
    REAL_AT(0, score.softcap, -1, ATTN_ERROR_VALUE, "score.softcap is -1, but must be"),
    REAL_AT(0, score.softcap, INFINITY, ATTN_ERROR_VALUE, "score.softcap is inf, but must be"),
    ENUM_AT(0, score.kind, 9, ATTN_ERROR_VALUE, "score.kind is 9, but must be an attn_score_kind"),
    ENUM_AT(0, mask.alignment, 2, ATTN_ERROR_VALUE,
            "mask.alignment is 2, but must be ATTN_ALIGN_TOP_LEFT"),
    INTEGER_AT(0, mask.query_offset, (INT64_C(1) << 40) + 1, ATTN_ERROR_VALUE,
               "mask.query_offset is 1099511627777, but must be within 2^40"),
    INTEGER_AT(0, mask.query_offset, INT64_MIN, ATTN_ERROR_VALUE,
               "mask.query_offset is -9223372036854775808"),

    RESERVED_AT(0, reserved[15], "reserved"),
    RESERVED_AT(0, score.reserved[0], "reserved"),
    RESERVED_AT(0, mask.reserved[7], "reserved"),
};

static void one_wrong_field(void **state) {
    (void)state;
    for (size_t k = 0; k < COUNT(wrongs); k++) {
        world w;
        world_make(&w);
        set_wrong(&w.problem, &wrongs[k]);
        assert_refused(&w, wrongs[k].status, wrongs[k].message);
    }
}

static void the_unbroken_problem_is_fine(void **state) {
    (void)state;
    for (int packed = 0; packed < 2; packed++) {
        world w;
        world_make(&w);
        if (packed) world_pack(&w);
        w.problem.weights.shape[3] = packed ? 5 : KEYS;
        if (packed) w.problem.score.bias = (attn_tensor){0};
        if (attn_forward(NULL, &w.problem) != ATTN_OK) fail_msg("%s", attn_error_message());
        assert_int_equal(attn_reference_forward(&w.problem), ATTN_OK);
    }
}

/* -------------------------------------------------------------------- what one field cannot say */

static void no_problem(void **state) {
    (void)state;
    assert_int_equal(attn_forward(NULL, NULL), ATTN_ERROR_NULL);
    assert_string_equal(attn_error_message(), "problem is NULL");
    assert_int_equal(attn_reference_forward(NULL), ATTN_ERROR_NULL);
}

static void widths_beyond_two_to_the_24(void **state) {
    (void)state;
    for (int value = 0; value < 2; value++) {
        world w;
        world_make(&w);
        attn_tensor *const wide[] = {&w.problem.query, &w.problem.key, &w.problem.value};
        for (size_t k = 0; k < COUNT(wide); k++) {
            if ((k == 2) != (value == 1)) continue;
            wide[k]->shape[3] = (1 << 24) + 1;
            wide[k]->stride[3] = 0;
        }
        assert_refused(&w, ATTN_ERROR_SHAPE,
                       value ? "value.shape[3] is 16777217, but a width is at most 2^24"
                             : "query.shape[3] is 16777217, but a width is at most 2^24");
    }
}

static void no_key_heads(void **state) {
    (void)state;
    world w;
    world_make(&w);
    w.problem.key.shape[1] = w.problem.value.shape[1] = 0;
    assert_refused(&w, ATTN_ERROR_SHAPE,
                   "query.shape[1] is 4 heads, but must be a multiple of key.shape[1], 0");
}

typedef struct wrong_number {
    size_t array; /* of the world */
    size_t index;
    int64_t value;
    const char *message;
} wrong_number;

#define NUMBER_IN(array, index, value, message) \
    { offsetof(world, array), index, value, message }

static void wrong_lengths(void **state) {
    (void)state;
    static const wrong_number all[] = {
        NUMBER_IN(query_lengths, 1, 6, "mask.query_lengths[1] is 6, but must be 0 to 5"),
        NUMBER_IN(query_lengths, 0, -1, "mask.query_lengths[0] is -1, but must be 0 to 5"),
        NUMBER_IN(key_lengths, 1, 7, "mask.key_lengths[1] is 7, but must be 0 to 6"),
        NUMBER_IN(key_lengths, 0, INT64_MIN, "mask.key_lengths[0] is -9223372036854775808"),
        NUMBER_IN(prefix, 1, -2, "mask.prefix_lengths[1] is -2, but must be 0 or more"),
    };
    for (size_t k = 0; k < COUNT(all); k++) {
        world w;
        world_make(&w);
        memcpy((unsigned char *)&w + all[k].array + all[k].index * sizeof(int64_t), &all[k].value,
               sizeof(int64_t));
        assert_refused(&w, ATTN_ERROR_VALUE, all[k].message);
    }
}

static void wrong_starts(void **state) {
    (void)state;
    static const wrong_number all[] = {
        NUMBER_IN(query_starts, 0, -1, "mask.query_starts[0] is -1, but must be 0 to 5"),
        NUMBER_IN(query_starts, 2, 6, "mask.query_starts[2] is 6, but must be 2 to 5"),
        NUMBER_IN(key_starts, 1, 7, "mask.key_starts[1] is 7, but must be 0 to 6"),
        NUMBER_IN(key_starts, 2, 0, "mask.key_starts[2] is 0, but must be 1 to 6"),
        NUMBER_IN(problem.mask.sequences, 0, -1, "mask.sequences is -1"),
        NUMBER_IN(problem.mask.sequences, 0, INT64_MAX, "mask.sequences is 9223372036854775807"),
    };
    for (size_t k = 0; k < COUNT(all); k++) {
        world w;
        world_make(&w);
        world_pack(&w);
        memcpy((unsigned char *)&w + all[k].array + all[k].index * sizeof(int64_t), &all[k].value,
               sizeof(int64_t));
        assert_refused(&w, ATTN_ERROR_VALUE, all[k].message);
    }
}

static void packed_lengths_stay_in_their_slot(void **state) {
    (void)state;
    world w;
    world_make(&w);
    world_pack(&w);
    w.key_lengths[0] = 2;
    w.problem.mask.key_lengths = w.key_lengths;
    assert_refused(&w, ATTN_ERROR_VALUE, "mask.key_lengths[0] is 2, but must be 0 to 1");
}

static void half_packed(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        world w;
        world_make(&w);
        world_pack(&w);
        *(k ? &w.problem.mask.query_starts : &w.problem.mask.key_starts) = NULL;
        assert_refused(&w, ATTN_ERROR_NULL,
                       "mask.query_starts and mask.key_starts must both be given");
    }
}

static void packed_batches(void **state) {
    (void)state;
    world w;
    world_make(&w);
    world_pack(&w);
    attn_tensor *const all[] = {&w.problem.query, &w.problem.key, &w.problem.value};
    for (size_t k = 0; k < COUNT(all); k++) all[k]->shape[0] = 2;
    assert_refused(&w, ATTN_ERROR_SHAPE,
                   "query.shape[0] is 2, but must be 1 when mask.query_starts");
}

static void packed_weights_need_the_longest_sequence(void **state) {
    (void)state;
    world w;
    world_make(&w);
    world_pack(&w);
    w.problem.score.bias = (attn_tensor){0};
    w.problem.weights.shape[3] = 4;
    assert_refused(&w, ATTN_ERROR_SHAPE, "weights.shape[3] is 4, but n_key is 5");
}

static void numbers_per_head(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t k = 0; k < COUNT(bad); k++) {
        world w;
        world_make(&w);
        w.slopes[2] = bad[k];
        assert_refused(&w, ATTN_ERROR_VALUE, "score.alibi_slopes[0][2][0][0] is ");
        w.slopes[2] = 0;
        w.sinks[5] = bad[k];
        if (bad[k] != -INFINITY)
            assert_refused(&w, ATTN_ERROR_VALUE, "score.sinks[1][1][0][0] is ");
    }
}

/* ---------------------------------------------------------------------------------- aliasing */

#define AT(field) offsetof(attn_problem, field)

typedef struct overlap {
    size_t result, other; /* tensors of the problem */
    const char *message;
} overlap;

static void results_overlap_nothing(void **state) {
    (void)state;
    static const overlap all[] = {
        {AT(output), AT(query), "output overlaps query in memory"},
        {AT(output), AT(key), "output overlaps key in memory"},
        {AT(output), AT(value), "output overlaps value in memory"},
        {AT(output), AT(lse), "output overlaps lse in memory"},
        {AT(output), AT(weights), "output overlaps weights in memory"},
        {AT(lse), AT(query), "lse overlaps query in memory"},
        {AT(lse), AT(score.sinks), "lse overlaps score.sinks in memory"},
        {AT(lse), AT(score.alibi_slopes), "lse overlaps score.alibi_slopes in memory"},
        {AT(weights), AT(score.bias), "weights overlaps score.bias in memory"},
        {AT(weights), AT(mask.allowed), "weights overlaps mask.allowed in memory"},
    };
    for (size_t k = 0; k < COUNT(all); k++) {
        world w;
        world_make(&w);
        unsigned char *const result = (unsigned char *)&w.problem + all[k].result;
        const unsigned char *const other = (const unsigned char *)&w.problem + all[k].other;
        memcpy(result + offsetof(attn_tensor, data), other + offsetof(attn_tensor, data),
               sizeof(void *));
        /* what is where the result now lies must stay, so only the sentence is looked at */
        assert_int_equal(attn_forward(NULL, &w.problem), ATTN_ERROR_ALIAS);
        if (strstr(attn_error_message(), all[k].message) == NULL)
            fail_msg("%s", attn_error_message());
        assert_int_equal(attn_reference_forward(&w.problem), ATTN_ERROR_ALIAS);
    }
}

/* One element is enough; none is fine. */
static void overlap_of_one_element(void **state) {
    (void)state;
    float memory[2 * 3 + 1] = {0}, key[3] = {0};
    for (int shared = 0; shared < 2; shared++) {
        const attn_problem p = {.query = attn_tensor_f32(memory, 1, 1, 1, 3),
                                .key = attn_tensor_f32(key, 1, 1, 1, 3),
                                .value = attn_tensor_f32(key, 1, 1, 1, 3),
                                .output = attn_tensor_f32(memory + 3 - shared, 1, 1, 1, 3)};
        assert_int_equal(attn_forward(NULL, &p), shared ? ATTN_ERROR_ALIAS : ATTN_OK);
    }
}

/* Inputs may be the same memory, as in self-attention without projections. */
static void inputs_may_overlap(void **state) {
    (void)state;
    float memory[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, output[12];
    attn_tensor const t = attn_tensor_f32(memory, 1, 1, 4, 3);
    const attn_problem p = {
        .query = t, .key = t, .value = t, .output = attn_tensor_f32(output, 1, 1, 4, 3)};
    assert_int_equal(attn_forward(NULL, &p), ATTN_OK);
}

/* ------------------------------------------------------------------------ contexts and the rest */

static void *no_memory(void *user, size_t size, size_t alignment) {
    (void)user, (void)size, (void)alignment;
    return NULL;
}

static void wrong_options(void **state) {
    (void)state;
    const struct {
        attn_context_options options;
        attn_status status;
        const char *message;
    } all[] = {
        {{.threads = -1}, ATTN_ERROR_VALUE, "options.threads is -1, but must be 0 (all) to 4096"},
        {{.threads = 4097}, ATTN_ERROR_VALUE, "options.threads is 4097"},
        {{.max_isa = (attn_isa)42}, ATTN_ERROR_VALUE, "options.max_isa is 42"},
        {{.max_isa = (attn_isa)-1}, ATTN_ERROR_VALUE, "options.max_isa is -1"},
        {{.allocator = {.allocate = no_memory}}, ATTN_ERROR_VALUE, "options.allocator"},
        {{.reserved = {0, 0, 0, 5}}, ATTN_ERROR_VERSION, "options.reserved[3] is not zero"},
    };
    for (size_t k = 0; k < COUNT(all); k++) {
        attn_context *context = (attn_context *)(uintptr_t)1;
        assert_int_equal(attn_context_create(&context, &all[k].options), all[k].status);
        assert_non_null(strstr(attn_error_message(), all[k].message));
        assert_null(context);
    }
    assert_int_equal(attn_context_create(NULL, NULL), ATTN_ERROR_NULL);
    assert_non_null(strstr(attn_error_message(), "context is NULL"));
}

static void names_of_statuses(void **state) {
    (void)state;
    static const char *const names[] = {
        "ATTN_OK",           "ATTN_ERROR_NULL",        "ATTN_ERROR_DTYPE",  "ATTN_ERROR_SHAPE",
        "ATTN_ERROR_STRIDE", "ATTN_ERROR_ALIGNMENT",   "ATTN_ERROR_VALUE",  "ATTN_ERROR_ALIAS",
        "ATTN_ERROR_MEMORY", "ATTN_ERROR_UNSUPPORTED", "ATTN_ERROR_VERSION"};
    for (size_t k = 0; k < COUNT(names); k++) {
        assert_string_equal(attn_status_name((attn_status)k), names[k]);
    }
    assert_string_equal(attn_status_name((attn_status)COUNT(names)), "unknown status");
    assert_string_equal(attn_status_name((attn_status)-1), "unknown status");
}

/* The sentence stays through calls that succeed, until the next failure. */
static void the_sentence_stays(void **state) {
    (void)state;
    world w;
    world_make(&w);
    attn_forward(NULL, NULL);
    assert_int_equal(attn_forward(NULL, &w.problem), ATTN_OK);
    assert_string_equal(attn_error_message(), "problem is NULL");
}

int main(void) {
    if (*attn_error_message() != '\0') return 1; /* "" before any failure */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_unbroken_problem_is_fine),
        cmocka_unit_test(one_wrong_field),
        cmocka_unit_test(no_problem),
        cmocka_unit_test(widths_beyond_two_to_the_24),
        cmocka_unit_test(no_key_heads),
        cmocka_unit_test(wrong_lengths),
        cmocka_unit_test(wrong_starts),
        cmocka_unit_test(packed_lengths_stay_in_their_slot),
        cmocka_unit_test(half_packed),
        cmocka_unit_test(packed_batches),
        cmocka_unit_test(packed_weights_need_the_longest_sequence),
        cmocka_unit_test(numbers_per_head),
        cmocka_unit_test(results_overlap_nothing),
        cmocka_unit_test(overlap_of_one_element),
        cmocka_unit_test(inputs_may_overlap),
        cmocka_unit_test(wrong_options),
        cmocka_unit_test(names_of_statuses),
        cmocka_unit_test(the_sentence_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

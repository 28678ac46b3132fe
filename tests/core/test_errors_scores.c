/* test_errors_scores.c: as test_errors.c, for all that makes a score and turns it into a weight. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct world world;
#define WRONG_IN struct world
#include "wrong.h"

enum { BATCH = 2, HEADS = 4, KV_HEADS = 2, QUERIES = 5, KEYS = 6, WIDTH = 4, VALUE_WIDTH = 3 };
enum { HIDDEN = 7, ENTRIES = 8, CHANNELS = 2, TAPS = 3 };
enum { MOST_INPUTS = BATCH * HEADS * QUERIES * KEYS }; /* those of no input are more */

/* A problem of some kind with all that it may have. Inputs share their memory. */
struct world {
    attn_problem problem;
    attn_relative relative;
    attn_location location;
    attn_local local;
    float inputs[MOST_INPUTS];
    float output[BATCH * HEADS * QUERIES * VALUE_WIDTH], lse[BATCH * HEADS * QUERIES];
};

static attn_tensor input(const world *w, int64_t d0, int64_t d1, int64_t d2, int64_t d3) {
    return attn_tensor_f32(w->inputs, d0, d1, d2, d3);
}

static void add_relative(world *w) {
    attn_relative *const r = &w->relative;
    r->bias = input(w, 1, HEADS, 1, ENTRIES);
    r->keys = input(w, 1, HEADS, ENTRIES, WIDTH);
    r->queries = input(w, 1, 1, ENTRIES, WIDTH);
    r->values = input(w, 1, HEADS, ENTRIES, VALUE_WIDTH);
    r->content_bias = input(w, 1, HEADS, 1, WIDTH);
    r->position_bias = input(w, 1, 1, 1, WIDTH);
    w->problem.score.relative = r;
}

static void add_location(world *w, int64_t hidden) {
    w->location.previous = input(w, BATCH, HEADS, QUERIES, KEYS);
    w->location.filters = input(w, 1, 1, CHANNELS, TAPS);
    w->location.projection = input(w, 1, HEADS, hidden, CHANNELS);
    w->problem.score.location = &w->location;
}

static void add_parameters(world *w, attn_score_kind kind) {
    attn_score *const s = &w->problem.score;
    if (kind == ATTN_SCORE_DOT) add_relative(w);
    if (kind == ATTN_SCORE_GENERAL) s->weight = input(w, 1, HEADS, WIDTH, WIDTH);
    if (kind == ATTN_SCORE_LOCATION) s->weight = input(w, 1, 1, KEYS, WIDTH);
    if (kind == ATTN_SCORE_CONCAT) s->projection = input(w, 1, 1, HIDDEN, 2 * WIDTH);
    if (kind != ATTN_SCORE_ADDITIVE && kind != ATTN_SCORE_CONCAT) return;
    const int64_t hidden = kind == ATTN_SCORE_CONCAT ? HIDDEN : WIDTH;
    s->weight = input(w, 1, HEADS, 1, hidden);
    s->offset = input(w, 1, 1, 1, hidden);
    s->normalize_weight = true;
    add_location(w, hidden);
}

static void world_make(world *w, attn_score_kind kind) {
    attn_problem *const p = &w->problem;
    memset(w, 0, sizeof *w);
    memset(w->output, POISON, sizeof w->output);
    memset(w->lse, POISON, sizeof w->lse);
    for (int k = 0; k < MOST_INPUTS; k++) w->inputs[k] = 1;
    p->query = input(w, BATCH, HEADS, QUERIES, WIDTH);
    p->key = input(w, BATCH, KV_HEADS, KEYS, WIDTH);
    p->value = input(w, BATCH, KV_HEADS, KEYS, VALUE_WIDTH);
    p->score.kind = kind;
    p->score.scales = input(w, BATCH, HEADS, 1, 1);
    add_parameters(w, kind);
    w->local = (attn_local){.half_width = 2, .centers = input(w, BATCH, HEADS, QUERIES, 1)};
    p->normalizer.local = &w->local;
    p->output = attn_tensor_f32(w->output, BATCH, HEADS, QUERIES, VALUE_WIDTH);
}

static void assert_refused(const world *w, attn_status status, const char *message) {
    assert_both_refuse(&w->problem, status, message);
    for (size_t k = 0; k < COUNT(w->output); k++) assert_true(isnan(w->output[k]));
    for (size_t k = 0; k < COUNT(w->lse); k++) assert_true(isnan(w->lse[k]));
}

enum {
    DOT = ATTN_SCORE_DOT,
    GENERAL = ATTN_SCORE_GENERAL,
    ADDITIVE = ATTN_SCORE_ADDITIVE,
    CONCAT = ATTN_SCORE_CONCAT,
    COSINE = ATTN_SCORE_COSINE,
    GAUSSIAN = ATTN_SCORE_GAUSSIAN,
    LOCATION = ATTN_SCORE_LOCATION,
    CUSTOM = ATTN_SCORE_CUSTOM
};

static const wrong wrongs[] = {
    ENUM_AT(DOT, problem.score.kind, 8, ATTN_ERROR_VALUE,
            "score.kind is 8, but must be an attn_score_kind"),
    ENUM_AT(DOT, problem.score.kind, -1, ATTN_ERROR_VALUE, "score.kind is -1"),
    INTEGER_AT(COSINE, problem.key.shape[3], 3, ATTN_ERROR_SHAPE,
               "key.shape[3] is 3, but query.shape[3] is 4"),
    INTEGER_AT(COSINE, problem.score.scales.shape[1], 2, ATTN_ERROR_SHAPE,
               "score.scales.shape[1] is 2, but must be 1 or 4"),
    INTEGER_AT(COSINE, problem.score.scales.shape[3], 2, ATTN_ERROR_SHAPE, "score.scales.shape[3]"),
    ENUM_AT(COSINE, problem.score.scales.dtype, ATTN_F64, ATTN_ERROR_DTYPE, "score.scales.dtype"),

    /* who takes and needs what */
    NULL_AT(GENERAL, problem.score.weight.data, ATTN_ERROR_NULL,
            "score.weight.data is NULL, but ATTN_SCORE_GENERAL needs it"),
    NULL_AT(ADDITIVE, problem.score.weight.data, ATTN_ERROR_NULL, "ATTN_SCORE_ADDITIVE needs it"),
    NULL_AT(CONCAT, problem.score.weight.data, ATTN_ERROR_NULL, "ATTN_SCORE_CONCAT needs it"),
    NULL_AT(LOCATION, problem.score.weight.data, ATTN_ERROR_NULL, "ATTN_SCORE_LOCATION needs it"),
    NULL_AT(CONCAT, problem.score.projection.data, ATTN_ERROR_NULL,
            "score.projection.data is NULL, but ATTN_SCORE_CONCAT needs it"),
    ENUM_AT(GENERAL, problem.score.kind, ATTN_SCORE_GAUSSIAN, ATTN_ERROR_VALUE,
            "score.weight is given, but ATTN_SCORE_GAUSSIAN takes none"),
    ENUM_AT(CONCAT, problem.score.kind, ATTN_SCORE_ADDITIVE, ATTN_ERROR_VALUE,
            "score.projection is given, but ATTN_SCORE_ADDITIVE takes none"),
    FLAG_AT(GENERAL, problem.score.normalize_weight, ATTN_ERROR_VALUE,
            "score.normalize_weight is set, but ATTN_SCORE_GENERAL does not take it"),
    ENUM_AT(DOT, problem.score.kind, ATTN_SCORE_COSINE, ATTN_ERROR_VALUE,
            "score.relative.keys is given, but ATTN_SCORE_COSINE takes none"),

    /* shapes of parameters */
    INTEGER_AT(GENERAL, problem.score.weight.shape[0], 2, ATTN_ERROR_SHAPE,
               "score.weight.shape[0]"),
    INTEGER_AT(GENERAL, problem.score.weight.shape[1], 2, ATTN_ERROR_SHAPE,
               "score.weight.shape[1] is 2, but must be 1 or 4"),
    INTEGER_AT(GENERAL, problem.score.weight.shape[2], 3, ATTN_ERROR_SHAPE,
               "score.weight.shape[2] is 3, but query.shape[3] is 4"),
    INTEGER_AT(GENERAL, problem.score.weight.shape[3], 3, ATTN_ERROR_SHAPE,
               "score.weight.shape[3] is 3, but key.shape[3] is 4"),
    INTEGER_AT(ADDITIVE, problem.score.weight.shape[2], 2, ATTN_ERROR_SHAPE,
               "score.weight.shape[2] is 2"),
    INTEGER_AT(ADDITIVE, problem.score.weight.shape[3], 3, ATTN_ERROR_SHAPE,
               "score.weight.shape[3] is 3, but query.shape[3] is 4"),
    INTEGER_AT(ADDITIVE, problem.score.offset.shape[3], 3, ATTN_ERROR_SHAPE,
               "score.offset.shape[3] is 3, but query.shape[3] is 4"),
    INTEGER_AT(CONCAT, problem.score.offset.shape[3], 4, ATTN_ERROR_SHAPE,
               "score.offset.shape[3] is 4, but score.weight.shape[3] is 7"),
    INTEGER_AT(CONCAT, problem.score.projection.shape[2], 4, ATTN_ERROR_SHAPE,
               "score.projection.shape[2] is 4, but score.weight.shape[3] is 7"),
    INTEGER_AT(CONCAT, problem.score.projection.shape[3], 7, ATTN_ERROR_SHAPE,
               "score.projection.shape[3] is 7, but query.shape[3] + key.shape[3] is 8"),
    INTEGER_AT(CONCAT, problem.score.weight.shape[3], (1 << 24) + 1, ATTN_ERROR_SHAPE,
               "score.weight.shape[3] is 16777217, but a width is at most 2^24"),
    INTEGER_AT(LOCATION, problem.score.weight.shape[2], 5, ATTN_ERROR_SHAPE,
               "score.weight.shape[2] is 5, but n_key is 6"),
    ENUM_AT(GENERAL, problem.score.weight.dtype, ATTN_F64, ATTN_ERROR_DTYPE, "score.weight.dtype"),
    SHIFT_AT(GENERAL, problem.score.weight.data, "score.weight.data is not aligned"),
    INTEGER_AT(GENERAL, problem.score.weight.stride[2], INT64_MAX, ATTN_ERROR_STRIDE,
               "score.weight.stride[2]"),

    /* relative places */
    ENUM_AT(DOT, relative.buckets, 3, ATTN_ERROR_VALUE,
            "score.relative.buckets is 3, but must be an attn_bucket_kind"),
    INTEGER_AT(DOT, relative.origin, 8, ATTN_ERROR_VALUE,
               "score.relative.origin is 8, but must be 0 to 7"),
    INTEGER_AT(DOT, relative.origin, -1, ATTN_ERROR_VALUE, "score.relative.origin is -1"),
    INTEGER_AT(DOT, relative.bias.shape[3], 7, ATTN_ERROR_SHAPE,
               "score.relative.keys.shape[2] is 8, but score.relative.bias.shape[3] is 7"),
    INTEGER_AT(DOT, relative.bias.shape[2], 2, ATTN_ERROR_SHAPE, "score.relative.bias.shape[2]"),
    INTEGER_AT(DOT, relative.queries.shape[2], 7, ATTN_ERROR_SHAPE,
               "score.relative.queries.shape[2] is 7, but score.relative.bias.shape[3] is 8"),
    INTEGER_AT(DOT, relative.values.shape[2], 7, ATTN_ERROR_SHAPE,
               "score.relative.values.shape[2] is 7"),
    INTEGER_AT(DOT, relative.keys.shape[3], 3, ATTN_ERROR_SHAPE,
               "score.relative.keys.shape[3] is 3, but query.shape[3] is 4"),
    INTEGER_AT(DOT, relative.values.shape[3], 4, ATTN_ERROR_SHAPE,
               "score.relative.values.shape[3] is 4, but value.shape[3] is 3"),
    INTEGER_AT(DOT, relative.content_bias.shape[3], 3, ATTN_ERROR_SHAPE,
               "score.relative.content_bias.shape[3] is 3"),
    INTEGER_AT(DOT, relative.position_bias.shape[1], 2, ATTN_ERROR_SHAPE,
               "score.relative.position_bias.shape[1] is 2, but must be 1 or 4"),
    NULL_AT(DOT, relative.keys.data, ATTN_ERROR_NULL,
            "score.relative.keys.data is NULL, but score.relative.position_bias needs it"),
    ENUM_AT(DOT, relative.values.dtype, ATTN_F16, ATTN_ERROR_DTYPE,
            "score.relative.values.dtype is ATTN_F16 (4), but must be ATTN_F32"),
    RESERVED_AT(DOT, relative.reserved[7], "score.relative.reserved"),

    /* location-aware */
    NULL_AT(ADDITIVE, location.previous.data, ATTN_ERROR_NULL,
            "score.location.previous.data is NULL, but score.location needs it"),
    NULL_AT(ADDITIVE, location.filters.data, ATTN_ERROR_NULL, "score.location.filters.data"),
    NULL_AT(CONCAT, location.projection.data, ATTN_ERROR_NULL, "score.location.projection.data"),
    INTEGER_AT(ADDITIVE, location.previous.shape[3], 1, ATTN_ERROR_SHAPE,
               "score.location.previous.shape[3] is 1, but n_key is 6"),
    INTEGER_AT(ADDITIVE, location.previous.shape[2], 4, ATTN_ERROR_SHAPE,
               "score.location.previous.shape[2] is 4, but must be 1 or 5"),
    INTEGER_AT(ADDITIVE, location.filters.shape[3], 2, ATTN_ERROR_SHAPE,
               "score.location.filters.shape[3] is 2, but a width must be odd"),
    INTEGER_AT(ADDITIVE, location.filters.shape[2], 3, ATTN_ERROR_SHAPE,
               "score.location.projection.shape[3] is 2, but score.location.filters.shape[2] is 3"),
    INTEGER_AT(ADDITIVE, location.projection.shape[2], 3, ATTN_ERROR_SHAPE,
               "score.location.projection.shape[2] is 3, but query.shape[3] is 4"),
    INTEGER_AT(CONCAT, location.projection.shape[2], 4, ATTN_ERROR_SHAPE,
               "score.location.projection.shape[2] is 4, but score.weight.shape[3] is 7"),
    RESERVED_AT(CONCAT, location.reserved[0], "score.location.reserved"),

    /* normalizers */
    ENUM_AT(GAUSSIAN, problem.normalizer.kind, 9, ATTN_ERROR_VALUE,
            "normalizer.kind is 9, but must be an attn_normalizer_kind"),
    REAL_AT(CUSTOM, problem.normalizer.temperature, -1, ATTN_ERROR_VALUE,
            "normalizer.temperature is -1, but must be 0 (1) or positive"),
    REAL_AT(CUSTOM, problem.normalizer.temperature, INFINITY, ATTN_ERROR_VALUE,
            "normalizer.temperature is inf"),
    REAL_AT(CUSTOM, problem.normalizer.dropout, 1, ATTN_ERROR_VALUE,
            "normalizer.dropout is 1, but must be 0 or more, and less than 1"),
    REAL_AT(CUSTOM, problem.normalizer.dropout, 1 - 0x1p-25, ATTN_ERROR_VALUE,
            "normalizer.dropout is 0.9999999"),
    REAL_AT(CUSTOM, problem.normalizer.dropout, -.1, ATTN_ERROR_VALUE,
            "normalizer.dropout is -0.1"),
    REAL_AT(CUSTOM, problem.normalizer.dropout, NAN, ATTN_ERROR_VALUE, "normalizer.dropout is nan"),
    RESERVED_AT(CUSTOM, problem.normalizer.reserved[3], "normalizer.reserved"),
    REAL_AT(CUSTOM, local.half_width, -1, ATTN_ERROR_VALUE,
            "normalizer.local.half_width is -1, but must be finite and 0 or more"),
    REAL_AT(CUSTOM, local.half_width, INFINITY, ATTN_ERROR_VALUE, "normalizer.local.half_width"),
    REAL_AT(CUSTOM, local.half_width, 0, ATTN_ERROR_VALUE,
            "normalizer.local.sigma is 0 and so is half_width / 2"),
    REAL_AT(CUSTOM, local.sigma, -1, ATTN_ERROR_VALUE, "normalizer.local.sigma is -1"),
    REAL_AT(CUSTOM, local.sigma, NAN, ATTN_ERROR_VALUE, "normalizer.local.sigma is nan"),
    INTEGER_AT(CUSTOM, local.centers.shape[2], 4, ATTN_ERROR_SHAPE,
               "normalizer.local.centers.shape[2] is 4, but must be 1 or 5"),
    INTEGER_AT(CUSTOM, local.centers.shape[3], 6, ATTN_ERROR_SHAPE,
               "normalizer.local.centers.shape[3] is 6"),
    RESERVED_AT(CUSTOM, local.reserved[1], "normalizer.local.reserved"),
};

static void one_wrong_field(void **state) {
    (void)state;
    for (size_t k = 0; k < COUNT(wrongs); k++) {
        world w;
        world_make(&w, (attn_score_kind)wrongs[k].world);
        set_wrong(&w, &wrongs[k]);
        assert_refused(&w, wrongs[k].status, wrongs[k].message);
    }
}

static void the_unbroken_problems_are_fine(void **state) {
    (void)state;
    for (int kind = DOT; kind <= CUSTOM; kind++) {
        world w;
        world_make(&w, (attn_score_kind)kind);
        if (attn_reference_forward(&w.problem) != ATTN_OK) fail_msg("%s", attn_error_message());
        assert_int_equal(attn_forward(NULL, &w.problem), ATTN_OK);
    }
}

/* T5's tables: even and not too small, with a distance beyond those that have an entry each. */
static void t5_tables(void **state) {
    (void)state;
    static const struct {
        attn_bucket_kind buckets;
        int64_t entries, max_distance;
        attn_status status;
        const char *message;
    } all[] = {
        {ATTN_BUCKETS_T5, 7, 0, ATTN_ERROR_SHAPE,
         "score.relative.bias.shape[3] is 7, but must be even and 4 or more"},
        {ATTN_BUCKETS_T5, 2, 0, ATTN_ERROR_SHAPE, "score.relative.bias.shape[3] is 2"},
        {ATTN_BUCKETS_T5_CAUSAL, 1, 0, ATTN_ERROR_SHAPE,
         "score.relative.bias.shape[3] is 1, but must be 2 or more for ATTN_BUCKETS_T5_CAUSAL"},
        {ATTN_BUCKETS_CLIPPED, 0, 0, ATTN_ERROR_SHAPE, "score.relative.bias.shape[3] is 0"},
        {ATTN_BUCKETS_T5, 8, 2, ATTN_ERROR_VALUE,
         "score.relative.max_distance is 2, but must be more than 2 for 8 buckets"},
        {ATTN_BUCKETS_T5_CAUSAL, 8, 4, ATTN_ERROR_VALUE, "must be more than 4 for 8 buckets"},
        {ATTN_BUCKETS_T5, 512, 0, ATTN_ERROR_VALUE,
         "score.relative.max_distance is 128 by default, but must be more than 128"},
        {ATTN_BUCKETS_T5, 8, -1, ATTN_ERROR_VALUE, "score.relative.max_distance is -1"},
    };
    for (size_t k = 0; k < COUNT(all); k++) {
        world w;
        world_make(&w, ATTN_SCORE_CUSTOM);
        w.relative = (attn_relative){.buckets = all[k].buckets,
                                     .max_distance = all[k].max_distance,
                                     .bias = input(&w, 1, 1, 1, all[k].entries)};
        w.problem.score.relative = &w.relative;
        assert_refused(&w, all[k].status, all[k].message);
    }
}

/* Values are looked at where a NaN would spoil everything, or a division by 0. */
static void wrong_elements(void **state) {
    (void)state;
    static const float numbers[BATCH * HEADS * QUERIES * KEYS] = {0, 0, 0, 0, 0, NAN, 0, 0};
    world w;
    world_make(&w, ATTN_SCORE_ADDITIVE);
    w.location.previous.data = (void *)(uintptr_t)numbers;
    assert_refused(&w, ATTN_ERROR_VALUE,
                   "score.location.previous[0][0][0][5] is nan, but must be finite");
    world_make(&w, ATTN_SCORE_ADDITIVE);
    w.local.centers.data = (void *)(uintptr_t)numbers;
    assert_refused(&w, ATTN_ERROR_VALUE, "normalizer.local.centers[0][1][0][0] is nan");
    world_make(&w, ATTN_SCORE_ADDITIVE);
    w.problem.score.scales.data = (void *)(uintptr_t)numbers;
    assert_refused(&w, ATTN_ERROR_VALUE, "score.scales[1][1][0][0] is nan, but must be finite");
    world_make(&w, ATTN_SCORE_ADDITIVE);
    w.problem.score.weight.data = (void *)(uintptr_t)(numbers + 8);
    assert_refused(
        &w, ATTN_ERROR_VALUE,
        "score.weight[0][0] has length 0, which score.normalize_weight cannot divide by");
}

static void location_needs_a_hidden_vector(void **state) {
    (void)state;
    world w;
    world_make(&w, ATTN_SCORE_COSINE);
    add_location(&w, WIDTH);
    assert_refused(&w, ATTN_ERROR_VALUE,
                   "score.location is given, but ATTN_SCORE_COSINE takes none");
}

/* Numbers of a normalizer count where its kind has them. */
static void numbers_of_normalizers(void **state) {
    (void)state;
    static const double alphas[] = {1, .5, -2, 16.5, NAN, INFINITY};
    world w;
    for (size_t k = 0; k < COUNT(alphas); k++) {
        world_make(&w, ATTN_SCORE_CUSTOM);
        w.problem.normalizer.kind = ATTN_ENTMAX;
        w.problem.normalizer.alpha = alphas[k];
        assert_refused(&w, ATTN_ERROR_VALUE, "normalizer.alpha is ");
    }
    world_make(&w, ATTN_SCORE_CUSTOM);
    w.problem.normalizer.kind = ATTN_SIGMOID;
    w.problem.normalizer.bias = NAN;
    assert_refused(&w, ATTN_ERROR_VALUE, "normalizer.bias is nan, but must be finite");
    w.problem.normalizer.kind = ATTN_RELU; /* which has no bias */
    assert_int_equal(attn_reference_forward(&w.problem), ATTN_OK);
}

static void sinks_and_log_sum_exp_are_softmax_s(void **state) {
    (void)state;
    for (int kind = ATTN_SOFTMAX; kind <= ATTN_HARDMAX; kind++) {
        world w;
        world_make(&w, ATTN_SCORE_CUSTOM);
        w.problem.normalizer.kind = (attn_normalizer_kind)kind;
        w.problem.lse = attn_tensor_f32(w.lse, BATCH, HEADS, QUERIES, 1);
        if (kind > ATTN_SOFTMAX_ONE)
            assert_refused(&w, ATTN_ERROR_VALUE, "lse is asked for, but only normalizer.kind");
        w.problem.score.sinks = input(&w, BATCH, HEADS, 1, 1);
        if (kind != ATTN_SOFTMAX)
            assert_refused(&w, ATTN_ERROR_VALUE, "score.sinks is given, but only normalizer.kind");
        else assert_int_equal(attn_reference_forward(&w.problem), ATTN_OK);
    }
}

/* These two may have keys of a width of their own. */
static void widths_of_their_own(void **state) {
    (void)state;
    world w;
    world_make(&w, ATTN_SCORE_GENERAL);
    w.problem.key.shape[3] = 2;
    w.problem.score.weight = input(&w, 1, HEADS, WIDTH, 2);
    assert_int_equal(attn_reference_forward(&w.problem), ATTN_OK);
    world_make(&w, ATTN_SCORE_CONCAT);
    w.problem.key.shape[3] = 2;
    w.problem.score.projection = input(&w, 1, 1, HIDDEN, WIDTH + 2);
    assert_int_equal(attn_reference_forward(&w.problem), ATTN_OK);
    w.problem.key.shape[3] = (1 << 24) + 1;
    w.problem.key.stride[3] = 0;
    assert_both_refuse(&w.problem, ATTN_ERROR_SHAPE,
                       "key.shape[3] is 16777217, but a width is at most 2^24");
}

/* A result over any of the new inputs. */
static void results_overlap_no_parameter(void **state) {
    (void)state;
    static const struct {
        int kind;
        size_t tensor;
        const char *message;
    } all[] = {
        {COSINE, offsetof(world, problem.score.scales), "output overlaps score.scales in memory"},
        {GENERAL, offsetof(world, problem.score.weight), "output overlaps score.weight"},
        {CONCAT, offsetof(world, problem.score.projection), "output overlaps score.projection"},
        {CONCAT, offsetof(world, problem.score.offset), "output overlaps score.offset"},
        {DOT, offsetof(world, relative.bias), "output overlaps score.relative.bias"},
        {DOT, offsetof(world, relative.keys), "output overlaps score.relative.keys"},
        {DOT, offsetof(world, relative.queries), "output overlaps score.relative.queries"},
        {DOT, offsetof(world, relative.values), "output overlaps score.relative.values"},
        {DOT, offsetof(world, relative.content_bias), "overlaps score.relative.content_bias"},
        {DOT, offsetof(world, relative.position_bias), "overlaps score.relative.position_bias"},
        {ADDITIVE, offsetof(world, location.previous), "output overlaps score.location.previous"},
        {ADDITIVE, offsetof(world, location.filters), "output overlaps score.location.filters"},
        {ADDITIVE, offsetof(world, location.projection), "overlaps score.location.projection"},
        {CUSTOM, offsetof(world, local.centers), "output overlaps normalizer.local.centers"},
    };
    for (size_t k = 0; k < COUNT(all); k++) {
        world w;
        world_make(&w, (attn_score_kind)all[k].kind);
        for (size_t x = 0; x < COUNT(w.output); x++) w.output[x] = 1; /* what inputs may be */
        ((attn_tensor *)(void *)((unsigned char *)&w + all[k].tensor))->data = w.output;
        w.location.previous.stride[0] = 0; /* it would reach further than the output */
        assert_both_refuse(&w.problem, ATTN_ERROR_ALIAS, all[k].message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_unbroken_problems_are_fine),
        cmocka_unit_test(one_wrong_field),
        cmocka_unit_test(t5_tables),
        cmocka_unit_test(wrong_elements),
        cmocka_unit_test(location_needs_a_hidden_vector),
        cmocka_unit_test(numbers_of_normalizers),
        cmocka_unit_test(sinks_and_log_sum_exp_are_softmax_s),
        cmocka_unit_test(widths_of_their_own),
        cmocka_unit_test(results_overlap_no_parameter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

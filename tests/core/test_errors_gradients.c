/* test_errors_gradients.c: as test_errors.c, for gradients and tangents. Here it is the checks
 * themselves that are called, which every function of gradients.h calls before all else. */
#include "api/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct world world;
#define WRONG_IN struct world
#include "wrong.h"

enum { BATCH = 2, HEADS = 4, CHOSEN = 3, KV_HEADS = 2, QUERIES = 5, KEYS = 6, WIDTH = 4 };
enum { VALUE_WIDTH = 3, HIDDEN = 7, ENTRIES = 8, CHANNELS = 2, TAPS = 3 };
enum { MOST_INPUTS = BATCH * HEADS * QUERIES * KEYS, MOST_RESULTS = 4096 };

/* Three problems that together have all that has a gradient, and one for tangents. */
enum {
    DOT,     /* softmax, every term of the dot product, local, with a callback; of three heads */
    CONCAT,  /* sigmoid, with parameters and locations */
    PLAIN,   /* a custom score without anything */
    TANGENT, /* as attn_jvp takes it */
    KINDS
};

/* Inputs share their memory, and so do saved results and what flows in; each gradient has its own. */
struct world {
    int kind;
    attn_problem problem;
    attn_result_gradients from;
    attn_input_gradients to;
    attn_tangents tangents;
    attn_relative relative;
    attn_location location;
    attn_local local;
    attn_views views;
    int64_t heads[CHOSEN], query_starts[3], key_starts[3];
    float inputs[MOST_INPUTS], saved[MOST_INPUTS], flows[MOST_INPUTS];
    float results[MOST_RESULTS];
    size_t used;
};

static attn_tensor input(const world *w, int64_t d0, int64_t d1, int64_t d2, int64_t d3) {
    return attn_tensor_f32(w->inputs, d0, d1, d2, d3);
}

static attn_tensor flow(const world *w, int64_t heads, int64_t d2, int64_t d3) {
    return attn_tensor_f32(w->flows, BATCH, heads, d2, d3);
}

/* A place as large as that tensor, in memory of its own. */
static attn_tensor place_like(world *w, const attn_tensor *t) {
    const attn_tensor place =
        attn_tensor_f32(w->results + w->used, t->shape[0], t->shape[1], t->shape[2], t->shape[3]);
    w->used += tensor_elements(t);
    assert_true(w->used <= MOST_RESULTS);
    return place;
}

static attn_tensor place_for_one(world *w) {
    const attn_tensor one = input(w, 1, 1, 1, 1);
    return place_like(w, &one);
}

static void change_nothing(void *user, const attn_pairs *pairs) {
    (void)user, (void)pairs;
}

static void change_no_gradient(void *user, const attn_pairs *scores, const attn_pairs *gradients) {
    (void)user, (void)scores, (void)gradients;
}

/* ------------------------------------------------------------------------------- the problems */

/* Of every place in attn_input_gradients: the input that it belongs to (or a number). */
static const struct {
    const char *name;
    size_t place, input; /* in world */
} places[] = {
#define PLACE(field, input) \
    { "to." #field, offsetof(world, to.field), offsetof(world, input) }
#define NUMBER(field) \
    { "to." #field, offsetof(world, to.field), 0 }
    PLACE(query, problem.query),
    PLACE(key, problem.key),
    PLACE(value, problem.value),
    PLACE(bias, problem.score.bias),
    PLACE(alibi_slopes, problem.score.alibi_slopes),
    PLACE(sinks, problem.score.sinks),
    PLACE(scales, problem.score.scales),
    PLACE(weight, problem.score.weight),
    PLACE(projection, problem.score.projection),
    PLACE(offset, problem.score.offset),
    PLACE(relative_bias, relative.bias),
    PLACE(relative_keys, relative.keys),
    PLACE(relative_queries, relative.queries),
    PLACE(relative_values, relative.values),
    PLACE(content_bias, relative.content_bias),
    PLACE(position_bias, relative.position_bias),
    PLACE(previous, location.previous),
    PLACE(filters, location.filters),
    PLACE(location_projection, location.projection),
    PLACE(centers, local.centers),
    NUMBER(scale),
    NUMBER(softcap),
    NUMBER(temperature),
    NUMBER(sigmoid_bias),
    NUMBER(sigma),
#undef PLACE
#undef NUMBER
};

static attn_tensor *tensor_at(world *w, size_t place) {
    return (attn_tensor *)(void *)((unsigned char *)w + place);
}

static void make_dot(world *w) {
    attn_score *const s = &w->problem.score;
    attn_relative *const r = &w->relative;
    s->softcap = 3;
    s->bias = input(w, 1, HEADS, QUERIES, KEYS);
    s->alibi_slopes = input(w, 1, HEADS, 1, 1);
    s->sinks = input(w, BATCH, 1, 1, 1);
    s->scales = input(w, BATCH, HEADS, 1, 1);
    r->bias = input(w, 1, HEADS, 1, ENTRIES);
    r->keys = input(w, 1, HEADS, ENTRIES, WIDTH);
    r->queries = input(w, 1, 1, ENTRIES, WIDTH);
    r->values = input(w, 1, HEADS, ENTRIES, VALUE_WIDTH);
    r->content_bias = input(w, 1, HEADS, 1, WIDTH);
    r->position_bias = input(w, 1, 1, 1, WIDTH);
    s->relative = r;
    s->callback = change_nothing;
    w->to.callback = change_no_gradient;
    w->local = (attn_local){.half_width = 2, .centers = input(w, BATCH, HEADS, QUERIES, 1)};
    w->problem.normalizer.local = &w->local;
    w->to.softcap = place_for_one(w), w->to.sigma = place_for_one(w);
    w->heads[0] = 0, w->heads[1] = 2, w->heads[2] = 3;
    w->views.heads = w->heads, w->views.head_count = CHOSEN;
    w->problem.views = &w->views;
}

static void make_concat(world *w) {
    attn_score *const s = &w->problem.score;
    s->kind = ATTN_SCORE_CONCAT;
    s->weight = input(w, 1, HEADS, 1, HIDDEN);
    s->projection = input(w, 1, 1, HIDDEN, 2 * WIDTH);
    s->offset = input(w, 1, HEADS, 1, HIDDEN);
    w->location.previous = input(w, BATCH, 1, QUERIES, KEYS);
    w->location.filters = input(w, 1, HEADS, CHANNELS, TAPS);
    w->location.projection = input(w, 1, 1, HIDDEN, CHANNELS);
    s->location = &w->location;
    w->problem.normalizer.kind = ATTN_SIGMOID;
    w->to.sigmoid_bias = place_for_one(w);
}

static void make_tangents(world *w) {
    attn_tangents *const t = &w->tangents;
    w->problem.score.bias = input(w, 1, HEADS, QUERIES, 1);
    t->query = attn_tensor_f32(w->flows, BATCH, HEADS, QUERIES, WIDTH);
    t->key = attn_tensor_f32(w->flows, BATCH, KV_HEADS, KEYS, WIDTH);
    t->value = attn_tensor_f32(w->flows, BATCH, KV_HEADS, KEYS, VALUE_WIDTH);
    t->bias = attn_tensor_f32(w->flows, 1, HEADS, QUERIES, 1);
    const attn_tensor weights = input(w, BATCH, HEADS, QUERIES, KEYS);
    t->output = place_like(w, &w->problem.output);
    t->lse = place_like(w, &w->problem.lse);
    t->weights = place_like(w, &weights);
}

static void make_flows(world *w) {
    const int64_t chosen = w->problem.views ? CHOSEN : HEADS;
    w->from.output = flow(w, HEADS, QUERIES, VALUE_WIDTH);
    if (w->problem.normalizer.kind == ATTN_SOFTMAX) w->from.lse = flow(w, HEADS, QUERIES, 1);
    w->from.weights = flow(w, HEADS, QUERIES, KEYS);
    w->from.received_sum = flow(w, chosen, 1, KEYS);
    w->from.entropy = flow(w, chosen, QUERIES, 1);
}

/* A gradient of every tensor that the problem has. */
static void make_places(world *w) {
    for (size_t k = 0; k < COUNT(places); k++) {
        const attn_tensor *const of = tensor_at(w, places[k].input);
        if (places[k].input != 0 && attn_tensor_present(of))
            *tensor_at(w, places[k].place) = place_like(w, of);
    }
    if (w->kind != PLAIN) w->to.scale = place_for_one(w);
    w->to.temperature = place_for_one(w);
}

static void world_make(world *w, int kind) {
    attn_problem *const p = &w->problem;
    memset(w, 0, sizeof *w);
    memset(w->results, POISON, sizeof w->results);
    for (int k = 0; k < MOST_INPUTS; k++) w->inputs[k] = w->saved[k] = w->flows[k] = 1;
    w->kind = kind;
    p->query = input(w, BATCH, HEADS, QUERIES, WIDTH);
    p->key = input(w, BATCH, KV_HEADS, KEYS, WIDTH);
    p->value = input(w, BATCH, KV_HEADS, KEYS, VALUE_WIDTH);
    p->output = attn_tensor_f32(w->saved, BATCH, HEADS, QUERIES, VALUE_WIDTH);
    if (kind == DOT) make_dot(w);
    if (kind == CONCAT) make_concat(w);
    if (kind == PLAIN) p->score.kind = ATTN_SCORE_CUSTOM;
    if (p->normalizer.kind == ATTN_SOFTMAX)
        p->lse = attn_tensor_f32(w->saved, BATCH, HEADS, QUERIES, 1);
    if (kind == TANGENT) make_tangents(w);
    else make_flows(w), make_places(w);
}

static attn_status check(const world *w) {
    return w->kind == TANGENT ? attn_check_jvp(&w->problem, &w->tangents)
                              : attn_check_backward(&w->problem, &w->from, &w->to);
}

static void assert_fine(const world *w) {
    if (check(w) != ATTN_OK) fail_msg("world %d: %s", w->kind, attn_error_message());
}

static void assert_refused(const world *w, attn_status status, const char *message) {
    const attn_status got = check(w);
    if (got != status || strstr(attn_error_message(), message) == NULL)
        fail_msg("world %d: %s: \"%s\", but expected %s: \"%s\"", w->kind, attn_status_name(got),
                 got ? attn_error_message() : "", attn_status_name(status), message);
    const unsigned char *const bytes = (const unsigned char *)w->results;
    for (size_t k = 0; k < sizeof w->results; k++) assert_int_equal(bytes[k], POISON);
}

/* ----------------------------------------------------------------------------- one wrong field */

#define SHAPE_AT(world, field, axis, size, message) \
    INTEGER_AT(world, field.shape[axis], size, ATTN_ERROR_SHAPE, message)

/* A tensor that is not there, given. */
#define GIVEN_AT(world, field, message) \
    { world, offsetof(WRONG_IN, field.data), DATA, 64, 0, ATTN_ERROR_VALUE, message }

static const wrong wrongs[] = {
    /* the problem's own rules, of inputs and of saved results */
    RESERVED_AT(DOT, problem.reserved[3], "problem.reserved"),
    RESERVED_AT(DOT, from.reserved[7], "a word of from.reserved is not zero"),
    RESERVED_AT(DOT, to.reserved[0], "a word of to.reserved is not zero"),
    RESERVED_AT(DOT, views.reserved[0], "views.reserved"),
    RESERVED_AT(TANGENT, tangents.reserved[7], "a word of tangents.reserved is not zero"),
    NULL_AT(DOT, problem.key.data, ATTN_ERROR_NULL, "key.data is NULL, but key must be given"),
    NULL_AT(TANGENT, problem.key.data, ATTN_ERROR_NULL, "key.data is NULL"),
    REAL_AT(DOT, problem.score.scale, NAN, ATTN_ERROR_VALUE, "score.scale is nan"),
    SHAPE_AT(DOT, problem.output, 3, 4, "output.shape[3] is 4, but value.shape[3] is 3"),
    SHAPE_AT(TANGENT, problem.output, 2, 4, "output.shape[2] is 4, but query.shape[2] is 5"),
    SHAPE_AT(DOT, problem.lse, 3, 2, "lse.shape[3] is 2, but the size expected is 1"),
    ENUM_AT(DOT, problem.lse.dtype, ATTN_F64, ATTN_ERROR_DTYPE, "lse.dtype is ATTN_F64"),
    GIVEN_AT(CONCAT, problem.lse, "lse is asked for, but only normalizer.kind"),
    INTEGER_AT(DOT, views.head_count, -1, ATTN_ERROR_VALUE, "views.head_count is -1"),
    INTEGER_AT(DOT, heads[1], 4, ATTN_ERROR_VALUE, "views.heads[1] is 4, but must be 1 to 3"),
    NULL_AT(DOT, views.heads, ATTN_ERROR_NULL, "views.heads is NULL, but views.head_count is 3"),

    /* what flows in */
    SHAPE_AT(DOT, from.output, 0, 1, "from.output.shape[0] is 1, but query.shape[0] is 2"),
    SHAPE_AT(DOT, from.output, 3, 4, "from.output.shape[3] is 4, but value.shape[3] is 3"),
    SHAPE_AT(DOT, from.output, 3, -1, "from.output.shape[3] is -1, but must be 0 or more"),
    SHAPE_AT(DOT, from.lse, 1, 3, "from.lse.shape[1] is 3, but query.shape[1] is 4"),
    SHAPE_AT(DOT, from.lse, 3, 2, "from.lse.shape[3] is 2, but the size expected is 1"),
    SHAPE_AT(DOT, from.weights, 1, 3, "from.weights.shape[1] is 3, but query.shape[1] is 4"),
    SHAPE_AT(DOT, from.weights, 3, 7, "from.weights.shape[3] is 7, but n_key is 6"),
    SHAPE_AT(DOT, from.received_sum, 0, 1, "from.received_sum.shape[0] is 1, but query.shape[0]"),
    SHAPE_AT(DOT, from.received_sum, 1, 4, "shape[1] is 4, but views.head_count is 3"),
    SHAPE_AT(CONCAT, from.received_sum, 1, 3, "shape[1] is 3, but query.shape[1] is 4"),
    SHAPE_AT(DOT, from.received_sum, 2, 5, "from.received_sum.shape[2] is 5, but the size"),
    SHAPE_AT(DOT, from.received_sum, 3, 5, "from.received_sum.shape[3] is 5, but n_key is 6"),
    SHAPE_AT(DOT, from.entropy, 1, 4, "from.entropy.shape[1] is 4, but views.head_count is 3"),
    SHAPE_AT(DOT, from.entropy, 2, 4, "from.entropy.shape[2] is 4, but query.shape[2] is 5"),
    SHAPE_AT(DOT, from.entropy, 3, 6, "from.entropy.shape[3] is 6, but the size expected is 1"),
    ENUM_AT(DOT, from.output.dtype, ATTN_F64, ATTN_ERROR_DTYPE,
            "from.output.dtype is ATTN_F64 (2), but must be ATTN_F32"),
    ENUM_AT(DOT, from.entropy.dtype, ATTN_F16, ATTN_ERROR_DTYPE, "from.entropy.dtype is ATTN_F16"),
    INTEGER_AT(DOT, from.weights.stride[1], INT64_MIN, ATTN_ERROR_STRIDE, "from.weights.stride[1]"),
    SHIFT_AT(DOT, from.lse.data, "from.lse.data is not aligned to its element size of 4"),
    GIVEN_AT(CONCAT, from.lse,
             "from.lse is given, but only normalizer.kind ATTN_SOFTMAX and ATTN_SOFTMAX_ONE"),

    /* gradients have the shape of their input, broadcast dimensions too */
    SHAPE_AT(DOT, to.key, 2, 5, "to.key.shape[2] is 5, but key.shape[2] is 6"),
    SHAPE_AT(DOT, to.key, 1, 4, "to.key.shape[1] is 4, but key.shape[1] is 2"),
    SHAPE_AT(DOT, to.bias, 0, 2, "to.bias.shape[0] is 2, but score.bias.shape[0] is 1"),
    SHAPE_AT(DOT, to.sinks, 1, 4, "to.sinks.shape[1] is 4, but score.sinks.shape[1] is 1"),
    SHAPE_AT(DOT, to.relative_keys, 3, 3, "but score.relative.keys.shape[3] is 4"),
    SHAPE_AT(CONCAT, to.projection, 3, 4, "but score.projection.shape[3] is 8"),
    SHAPE_AT(CONCAT, to.previous, 1, 4, "but score.location.previous.shape[1] is 1"),
    SHAPE_AT(CONCAT, to.location_projection, 2, 4, "but score.location.projection.shape[2] is 7"),
    SHAPE_AT(DOT, to.centers, 2, 1, "but normalizer.local.centers.shape[2] is 5"),
    SHAPE_AT(DOT, to.sigma, 3, 2, "to.sigma.shape[3] is 2, but the size expected is 1"),
    SHAPE_AT(DOT, to.scale, 1, 4, "to.scale.shape[1] is 4, but the size expected is 1"),

    /* of inputs that take no part */
    NULL_AT(DOT, problem.score.bias.data, ATTN_ERROR_VALUE,
            "to.bias is given, but score.bias is not"),
    NULL_AT(DOT, problem.score.alibi_slopes.data, ATTN_ERROR_VALUE,
            "to.alibi_slopes is given, but score.alibi_slopes is not"),
    NULL_AT(DOT, problem.score.sinks.data, ATTN_ERROR_VALUE, "score.sinks is not"),
    NULL_AT(DOT, problem.score.scales.data, ATTN_ERROR_VALUE, "score.scales is not"),
    NULL_AT(DOT, relative.bias.data, ATTN_ERROR_VALUE,
            "to.relative_bias is given, but score.relative.bias is not"),
    NULL_AT(DOT, relative.values.data, ATTN_ERROR_VALUE, "score.relative.values is not"),
    NULL_AT(DOT, problem.score.relative, ATTN_ERROR_VALUE,
            "to.relative_bias is given, but score.relative.bias is not"),
    NULL_AT(CONCAT, problem.score.offset.data, ATTN_ERROR_VALUE,
            "to.offset is given, but score.offset is not"),
    NULL_AT(CONCAT, problem.score.location, ATTN_ERROR_VALUE,
            "to.previous is given, but score.location.previous is not"),
    NULL_AT(DOT, local.centers.data, ATTN_ERROR_VALUE,
            "to.centers is given, but normalizer.local.centers is not"),
    GIVEN_AT(PLAIN, to.weight, "to.weight is given, but score.weight is not"),
    GIVEN_AT(PLAIN, to.projection, "to.projection is given, but score.projection is not"),
    GIVEN_AT(PLAIN, to.relative_queries, "score.relative.queries is not"),
    GIVEN_AT(PLAIN, to.content_bias, "score.relative.content_bias is not"),
    GIVEN_AT(PLAIN, to.position_bias, "score.relative.position_bias is not"),
    GIVEN_AT(PLAIN, to.filters, "to.filters is given, but score.location.filters is not"),
    GIVEN_AT(PLAIN, to.location_projection,
             "to.location_projection is given, but score.location.projection is not"),
    GIVEN_AT(PLAIN, to.scale, "to.scale is given, but ATTN_SCORE_CUSTOM has no scale"),
    GIVEN_AT(PLAIN, to.softcap, "to.softcap is given, but score.softcap is 0 (none)"),
    GIVEN_AT(DOT, to.sigmoid_bias,
             "to.sigmoid_bias is given, but only normalizer.kind ATTN_SIGMOID has a bias"),
    GIVEN_AT(PLAIN, to.sigma, "to.sigma is given, but normalizer.local is NULL"),
    REAL_AT(DOT, local.sigma, INFINITY, ATTN_ERROR_VALUE,
            "to.sigma is given, but normalizer.local.sigma is infinite (none)"),

    /* what attn_jvp does not take */
    ENUM_AT(TANGENT, problem.score.kind, ATTN_SCORE_COSINE, ATTN_ERROR_UNSUPPORTED,
            "score.kind is 4, but tangents go through ATTN_SCORE_DOT (0) alone"),
    ENUM_AT(TANGENT, problem.score.kind, 8, ATTN_ERROR_VALUE, "score.kind is 8, but must be an"),
    SHAPE_AT(TANGENT, tangents.query, 3, 3, "tangents.query.shape[3] is 3, but query.shape[3] is"),
    SHAPE_AT(TANGENT, tangents.key, 1, 4, "tangents.key.shape[1] is 4, but key.shape[1] is 2"),
    SHAPE_AT(TANGENT, tangents.value, 2, 1, "tangents.value.shape[2] is 1, but value.shape[2]"),
    SHAPE_AT(TANGENT, tangents.bias, 3, 6, "tangents.bias.shape[3] is 6, but score.bias.shape[3]"),
    NULL_AT(TANGENT, problem.score.bias.data, ATTN_ERROR_VALUE,
            "tangents.bias is given, but score.bias is not"),
    SHAPE_AT(TANGENT, tangents.output, 3, 4, "tangents.output.shape[3] is 4, but value.shape[3]"),
    SHAPE_AT(TANGENT, tangents.lse, 3, 2, "tangents.lse.shape[3] is 2, but the size expected"),
    SHAPE_AT(TANGENT, tangents.weights, 3, 7, "tangents.weights.shape[3] is 7, but n_key is 6"),
    ENUM_AT(TANGENT, tangents.query.dtype, ATTN_F64, ATTN_ERROR_DTYPE, "tangents.query.dtype"),
    ENUM_AT(TANGENT, tangents.weights.dtype, ATTN_U8, ATTN_ERROR_DTYPE, "tangents.weights.dtype"),
    INTEGER_AT(TANGENT, tangents.output.stride[2], 0, ATTN_ERROR_STRIDE,
               "tangents.output.stride[2] is 0: elements of a result would share memory"),
    SHIFT_AT(TANGENT, tangents.lse.data, "tangents.lse.data is not aligned"),
};

static void one_wrong_field(void **state) {
    (void)state;
    for (size_t k = 0; k < COUNT(wrongs); k++) {
        world w;
        world_make(&w, wrongs[k].world);
        set_wrong(&w, &wrongs[k]);
        assert_refused(&w, wrongs[k].status, wrongs[k].message);
    }
}

static void the_unbroken_problems_are_fine(void **state) {
    (void)state;
    bool given[COUNT(places)] = {false};
    for (int kind = 0; kind < KINDS; kind++) {
        world w;
        world_make(&w, kind);
        assert_fine(&w);
        for (size_t k = 0; k < COUNT(places); k++)
            given[k] |= attn_tensor_present(tensor_at(&w, places[k].place));
    }
    for (size_t k = 0; k < COUNT(places); k++) /* else the tests below would test less */
        if (!given[k]) fail_msg("no world has %s", places[k].name);
}

static void arguments_that_are_null(void **state) {
    (void)state;
    world w;
    world_make(&w, DOT);
    assert_int_equal(attn_check_backward(NULL, &w.from, &w.to), ATTN_ERROR_NULL);
    assert_string_equal(attn_error_message(), "problem is NULL");
    assert_int_equal(attn_check_backward(&w.problem, NULL, &w.to), ATTN_ERROR_NULL);
    assert_string_equal(attn_error_message(), "from is NULL");
    assert_int_equal(attn_check_backward(&w.problem, &w.from, NULL), ATTN_ERROR_NULL);
    assert_string_equal(attn_error_message(), "to is NULL");
    world_make(&w, TANGENT);
    assert_int_equal(attn_check_jvp(NULL, &w.tangents), ATTN_ERROR_NULL);
    assert_string_equal(attn_error_message(), "problem is NULL");
    assert_int_equal(attn_check_jvp(&w.problem, NULL), ATTN_ERROR_NULL);
    assert_string_equal(attn_error_message(), "tangents is NULL");
}

/* ------------------------------------------------------------------------- every gradient alike */

/* Breaks one gradient at a time: (world, the gradient, its name). */
typedef void break_one(world *w, attn_tensor *t, const char *name);

static void with_each_gradient(break_one *breaks) {
    for (int kind = 0; kind < TANGENT; kind++) {
        for (size_t k = 0; k < COUNT(places); k++) {
            world w;
            world_make(&w, kind);
            attn_tensor *const t = tensor_at(&w, places[k].place);
            if (attn_tensor_present(t)) breaks(&w, t, places[k].name);
        }
    }
}

static void break_shape(world *w, attn_tensor *t, const char *name) {
    for (int axis = 0; axis < 4; axis++) {
        char message[64];
        (void)snprintf(message, sizeof message, "%s.shape[%d] is %d, but ", name, axis,
                       (int)t->shape[axis] + 1);
        t->shape[axis]++;
        assert_refused(w, ATTN_ERROR_SHAPE, message);
        t->shape[axis]--;
    }
}

static void break_dtype(world *w, attn_tensor *t, const char *name) {
    char message[96];
    (void)snprintf(message, sizeof message, "%s.dtype is ATTN_F64 (2), but must be ATTN_F32", name);
    t->dtype = ATTN_F64;
    assert_refused(w, ATTN_ERROR_DTYPE, message);
}

static void break_strides(world *w, attn_tensor *t, const char *name) {
    for (int axis = 0; axis < 4; axis++) {
        const int64_t stride = t->stride[axis];
        char message[96];
        (void)snprintf(message, sizeof message, "%s.stride[%d] is 0: elements of a result", name,
                       axis);
        t->stride[axis] = 0;
        if (t->shape[axis] > 1) assert_refused(w, ATTN_ERROR_STRIDE, message);
        else assert_fine(w);
        t->stride[axis] = stride;
    }
}

static void break_alignment(world *w, attn_tensor *t, const char *name) {
    char message[64];
    (void)snprintf(message, sizeof message, "%s.data is not aligned", name);
    t->data = (char *)t->data + 2;
    assert_refused(w, ATTN_ERROR_ALIGNMENT, message);
}

static void gradients_have_the_shape_of_their_input(void **state) {
    (void)state;
    with_each_gradient(break_shape);
}

static void gradients_have_the_type_of_query(void **state) {
    (void)state;
    with_each_gradient(break_dtype);
}

static void gradients_have_distinct_elements(void **state) {
    (void)state;
    with_each_gradient(break_strides);
}

static void gradients_are_aligned(void **state) {
    (void)state;
    with_each_gradient(break_alignment);
}

/* ------------------------------------------------------------------------------------- memory */

static void lay_over_all(world *w, attn_tensor *t, const char *name) {
    void *const own = t->data;
    void *const taken[] = {w->inputs, w->saved, w->flows};
    for (size_t k = 0; k < COUNT(taken); k++) {
        t->data = taken[k];
        assert_refused(w, ATTN_ERROR_ALIAS, name);
    }
    for (size_t k = 0; k < COUNT(places); k++) {
        const attn_tensor *const other = tensor_at(w, places[k].place);
        if (other == t || !attn_tensor_present(other)) continue;
        t->data = other->data;
        assert_refused(w, ATTN_ERROR_ALIAS, "overlaps");
    }
    t->data = own;
}

static void gradients_overlap_nothing(void **state) {
    (void)state;
    with_each_gradient(lay_over_all);
}

static void the_sentence_names_both(void **state) {
    (void)state;
    static const struct {
        size_t place, other;
        const char *message;
    } all[] = {
        {offsetof(world, to.value), offsetof(world, problem.mask.allowed),
         "to.value overlaps mask.allowed in memory, but results must be apart"},
        {offsetof(world, to.query), offsetof(world, problem.lse), "to.query overlaps lse"},
        {offsetof(world, to.query), offsetof(world, from.entropy), "to.query overlaps from.entr"},
        {offsetof(world, to.scale), offsetof(world, to.key), "to.key overlaps to.scale"},
    };
    for (size_t k = 0; k < COUNT(all); k++) {
        static float apart[4][MOST_INPUTS];
        world w;
        world_make(&w, DOT);
        w.problem.mask.allowed = attn_tensor_bool(apart[0], 1, 1, QUERIES, KEYS);
        w.problem.lse.data = apart[1];
        w.from.entropy.data = apart[2];
        assert_fine(&w);
        tensor_at(&w, all[k].place)->data = tensor_at(&w, all[k].other)->data;
        assert_refused(&w, ATTN_ERROR_ALIAS, all[k].message);
    }
}

static void tangents_overlap_nothing(void **state) {
    (void)state;
    static const size_t results[] = {offsetof(world, tangents.output),
                                     offsetof(world, tangents.lse),
                                     offsetof(world, tangents.weights)};
    for (size_t k = 0; k < COUNT(results); k++) {
        world w;
        world_make(&w, TANGENT);
        attn_tensor *const t = tensor_at(&w, results[k]);
        const void *const taken[] = {w.inputs, w.saved, w.flows,
                                     tensor_at(&w, results[(k + 1) % COUNT(results)])->data};
        for (size_t j = 0; j < COUNT(taken); j++) {
            t->data = (void *)(uintptr_t)taken[j];
            assert_refused(&w, ATTN_ERROR_ALIAS, "overlaps");
        }
    }
}

/* What is only read may lie anywhere, over itself too. */
static void what_is_read_may_overlap(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        world w;
        world_make(&w, kind);
        w.problem.output.data = w.problem.lse.data = w.inputs;
        if (kind == CONCAT) w.problem.lse = (attn_tensor){0}; /* sigmoid's has none */
        w.from.output.data = w.tangents.query.data = w.inputs;
        for (int axis = 0; axis < 4; axis++)
            w.from.output.stride[axis] = w.problem.output.stride[axis] =
                w.tangents.query.stride[axis] = 0;
        assert_fine(&w);
    }
}

/* ----------------------------------------------------------------------------------- callbacks */

static void callbacks_come_in_twos(void **state) {
    (void)state;
    world w;
    world_make(&w, DOT);
    w.to.callback = NULL;
    assert_refused(&w, ATTN_ERROR_NULL, "to.callback is NULL, but score.callback is given");
    w.problem.score.callback = NULL;
    assert_fine(&w);
    w.to.callback = change_no_gradient;
    assert_refused(&w, ATTN_ERROR_VALUE, "to.callback is given, but score.callback is NULL");
}

static void tangents_go_through_softmax_alone(void **state) {
    (void)state;
    for (int kind = 0; kind < NORMALIZERS; kind++) {
        char message[64];
        world w;
        world_make(&w, TANGENT);
        w.problem.normalizer.kind = (attn_normalizer_kind)kind;
        if (kind > ATTN_SOFTMAX_ONE) w.problem.lse = (attn_tensor){0};
        (void)snprintf(message, sizeof message, "normalizer.kind is %d, but tangents go", kind);
        if (kind > ATTN_SOFTMAX_ONE) assert_refused(&w, ATTN_ERROR_UNSUPPORTED, message);
        else assert_fine(&w);
    }
}

static void tangents_do_not_go_through(void **state) {
    (void)state;
    world w;
    world_make(&w, TANGENT);
    w.problem.score.relative = &w.relative;
    assert_refused(&w, ATTN_ERROR_UNSUPPORTED,
                   "score.relative is given, but tangents do not go through it");
    world_make(&w, TANGENT);
    w.problem.score.callback = change_nothing;
    assert_refused(&w, ATTN_ERROR_UNSUPPORTED, "score.callback is given, but");
    world_make(&w, TANGENT);
    w.local.half_width = 2, w.problem.normalizer.local = &w.local;
    assert_refused(&w, ATTN_ERROR_UNSUPPORTED, "normalizer.local is given, but");
}

/* What else forward mode takes. */
static void tangents_go_through_the_rest(void **state) {
    (void)state;
    world w;
    world_make(&w, TANGENT);
    w.problem.score.softcap = 3;
    w.problem.score.alibi_slopes = input(&w, 1, HEADS, 1, 1);
    w.problem.score.sinks = input(&w, 1, HEADS, 1, 1);
    w.problem.score.scales = input(&w, 1, HEADS, 1, 1);
    w.problem.normalizer.gumbel = true;
    w.problem.normalizer.dropout = 0.5;
    w.problem.mask.callback = change_nothing;
    assert_fine(&w);
}

/* ------------------------------------------------------------------------- what is not looked at */

/* Values, results that are neither read nor written, and all of views but the choice of heads. */
static void what_is_not_looked_at_may_be_anything(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        world w;
        world_make(&w, kind);
        for (int k = 0; k < MOST_INPUTS; k++) w.flows[k] = NAN, w.saved[k] = -INFINITY;
        w.problem.weights = attn_tensor_dense(w.results, (attn_dtype)99, -1, 0, 0, 0);
        w.views.entropy = w.views.path = w.problem.weights;
        w.views.observer = change_nothing;
        w.views.row_count = -1;
        w.problem.views = &w.views;
        assert_fine(&w);
    }
}

/* Nothing flows in, and nothing is asked for. */
static void absent_gradients_are_fine(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        world w;
        world_make(&w, kind);
        w.from = (attn_result_gradients){0};
        w.to = (attn_input_gradients){.callback = w.to.callback};
        w.tangents = (attn_tangents){0};
        w.problem.output = w.problem.lse = (attn_tensor){0};
        assert_fine(&w);
    }
}

/* Gradients of packed tensors are packed; those of sums per key have a row a sequence. */
static void packed_gradients(void **state) {
    (void)state;
    world w;
    world_make(&w, PLAIN);
    const attn_result_gradients all = w.from;
    attn_tensor *const batched[] = {&w.problem.query,  &w.problem.key,  &w.problem.value,
                                    &w.problem.output, &w.problem.lse,  &w.to.query,
                                    &w.to.key,         &w.to.value,     &w.from.output,
                                    &w.from.lse,       &w.from.weights, &w.from.entropy};
    for (size_t k = 0; k < COUNT(batched); k++) batched[k]->shape[0] = 1;
    w.query_starts[1] = 2, w.query_starts[2] = 5, w.key_starts[1] = 2, w.key_starts[2] = 6;
    w.problem.mask.query_starts = w.query_starts;
    w.problem.mask.key_starts = w.key_starts;
    w.problem.mask.sequences = 2;
    assert_fine(&w); /* 6 columns are more than the longest sequence's 4 */
    w.from.weights.shape[3] = w.from.received_sum.shape[3] = 4;
    assert_fine(&w);
    w.from.received_sum.shape[3] = 3;
    assert_refused(&w, ATTN_ERROR_SHAPE, "from.received_sum.shape[3] is 3, but n_key is 4");
    w.from.received_sum.shape[3] = 4, w.from.received_sum.shape[0] = 1;
    assert_refused(&w, ATTN_ERROR_SHAPE, "from.received_sum.shape[0] is 1, but mask.sequences is");
    w.from.received_sum = all.received_sum;
    w.from.entropy.shape[0] = 2;
    assert_refused(&w, ATTN_ERROR_SHAPE, "from.entropy.shape[0] is 2, but query.shape[0] is 1");
    w.from.entropy.shape[0] = 1, w.from.weights.shape[3] = 3;
    assert_refused(&w, ATTN_ERROR_SHAPE, "from.weights.shape[3] is 3, but n_key is 4");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_unbroken_problems_are_fine),
        cmocka_unit_test(arguments_that_are_null),
        cmocka_unit_test(one_wrong_field),
        cmocka_unit_test(gradients_have_the_shape_of_their_input),
        cmocka_unit_test(gradients_have_the_type_of_query),
        cmocka_unit_test(gradients_have_distinct_elements),
        cmocka_unit_test(gradients_are_aligned),
        cmocka_unit_test(gradients_overlap_nothing),
        cmocka_unit_test(the_sentence_names_both),
        cmocka_unit_test(tangents_overlap_nothing),
        cmocka_unit_test(what_is_read_may_overlap),
        cmocka_unit_test(callbacks_come_in_twos),
        cmocka_unit_test(tangents_go_through_softmax_alone),
        cmocka_unit_test(tangents_do_not_go_through),
        cmocka_unit_test(tangents_go_through_the_rest),
        cmocka_unit_test(what_is_not_looked_at_may_be_anything),
        cmocka_unit_test(absent_gradients_are_fine),
        cmocka_unit_test(packed_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

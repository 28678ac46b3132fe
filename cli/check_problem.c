/* check_problem.c: a problem in its own type and in float64, with random numbers where none are
 * given. */
#include "check.h"

#include "kinds.h"

#include "../io/array.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------
 * Tensors
 * ------------------------------------------------------------------------------------------- */

/* splitmix64 (Steele et al. 2014) */
static uint64_t random_bits(uint64_t *state) {
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

double check_uniform(uint64_t *state) {
    return (double)(random_bits(state) >> 11) * 0x1p-53;
}

/* Box and Muller 1958 */
double check_normal(uint64_t *state) {
    const double length = sqrt(-2 * log(1 - check_uniform(state)));
    return length * cos(2 * 3.14159265358979324 * check_uniform(state));
}

static int64_t offset_of(const attn_tensor *t, const int64_t x[4]) {
    return x[0] * t->stride[0] + x[1] * t->stride[1] + x[2] * t->stride[2] + x[3] * t->stride[3];
}

double check_at(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j) {
    if (!t->data) return 0;
    const int64_t at = offset_of(t, (int64_t[4]){b, h, i, j});
    return t->dtype == ATTN_F32 ? (double)((const float *)t->data)[at]
                                : ((const double *)t->data)[at];
}

int64_t check_count(const attn_tensor *t) {
    return t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
}

void check_index(const attn_tensor *t, int64_t n, int64_t x[4]) {
    for (int a = 3; a >= 0; a--) {
        x[a] = n % t->shape[a];
        n /= t->shape[a];
    }
}

/* A dense tensor without memory, data NULL, if there is none. */
static attn_tensor make(attn_dtype dtype, const int64_t s[4]) {
    attn_tensor made = attn_tensor_dense(NULL, dtype, s[0], s[1], s[2], s[3]);
    size_t count = 1, bytes = 0;
    bool fits = true;
    for (int a = 0; a < 4; a++) fits = fits && !__builtin_mul_overflow(count, s[a], &count);
    fits = fits && !__builtin_mul_overflow(count, io_dtype_size(dtype), &bytes);
    if (fits && bytes <= PTRDIFF_MAX - 64) made.data = calloc(bytes + 1, 1);
    return made;
}

attn_tensor check_make(const int64_t shape[4]) {
    return make(ATTN_F64, shape);
}

static bool own(check_problem *c, attn_tensor *place, attn_dtype dtype, const int64_t shape[4],
                io_error *error) {
    *place = make(dtype, shape);
    c->memory[c->owned] = place->data;
    if (place->data) c->owned++;
    return place->data || io_fail(error, "no memory for a tensor of this shape");
}

static void set(const attn_tensor *t, int64_t n, double value) {
    if (t->dtype == ATTN_F32) ((float *)t->data)[n] = (float)value;
    else ((double *)t->data)[n] = value;
}

static bool own_random(check_problem *c, attn_tensor *place, attn_dtype dtype,
                       const int64_t shape[4], double size, io_error *error) {
    if (!own(c, place, dtype, shape, error)) return false;
    const int64_t count = check_count(place);
    for (int64_t n = 0; n < count; n++) set(place, n, size * check_normal(&c->random));
    return true;
}

static bool own_copy(check_problem *c, const attn_tensor *of, attn_tensor *place, io_error *error) {
    const attn_tensor source = *of;
    if (!source.data) return true;
    if (!own(c, place, ATTN_F64, source.shape, error)) return false;
    const int64_t count = check_count(&source);
    for (int64_t n = 0; n < count; n++) {
        int64_t x[4];
        check_index(&source, n, x);
        set(place, n, check_at(&source, x[0], x[1], x[2], x[3]));
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------
 * Inputs
 * ------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t input, gradient;
    bool extra; /* the input is in cli_extras, else in the problem */
} tensors[CHECK_TENSORS] = {
#define OF(input, gradient) \
    offsetof(attn_problem, input), offsetof(attn_input_gradients, gradient), false
#define EXTRA(input, gradient) \
    offsetof(cli_extras, input), offsetof(attn_input_gradients, gradient), true
    [CHECK_QUERY] = {"query", OF(query, query)},
    [CHECK_KEY] = {"key", OF(key, key)},
    [CHECK_VALUE] = {"value", OF(value, value)},
    [CHECK_BIAS] = {"bias", OF(score.bias, bias)},
    [CHECK_ALIBI] = {"alibi", OF(score.alibi_slopes, alibi_slopes)},
    [CHECK_SINKS] = {"sinks", OF(score.sinks, sinks)},
    [CHECK_SCALES] = {"score-scales", OF(score.scales, scales)},
    [CHECK_WEIGHT] = {"score-weight", OF(score.weight, weight)},
    [CHECK_PROJECTION] = {"score-projection", OF(score.projection, projection)},
    [CHECK_OFFSET] = {"score-bias", OF(score.offset, offset)},
    [CHECK_RELATIVE_BIAS] = {"relative-bias", EXTRA(relative.bias, relative_bias)},
    [CHECK_RELATIVE_KEYS] = {"score-weight", EXTRA(relative.keys, relative_keys)},
    [CHECK_RELATIVE_QUERIES] = {"relative-queries", EXTRA(relative.queries, relative_queries)},
    [CHECK_RELATIVE_VALUES] = {"relative-values", EXTRA(relative.values, relative_values)},
    [CHECK_CONTENT_BIAS] = {"relative-content-bias", EXTRA(relative.content_bias, content_bias)},
    [CHECK_POSITION_BIAS] = {"relative-position-bias",
                             EXTRA(relative.position_bias, position_bias)},
    [CHECK_PREVIOUS] = {"location-previous", EXTRA(location.previous, previous)},
    [CHECK_FILTERS] = {"location-filters", EXTRA(location.filters, filters)},
    [CHECK_LOCATION_PROJECTION] = {"location-projection",
                                   EXTRA(location.projection, location_projection)},
    [CHECK_CENTERS] = {"local-centers", EXTRA(local.centers, centers)},
#undef OF
#undef EXTRA
};

static attn_tensor *tensor_at(void *base, size_t offset) {
    return (attn_tensor *)(void *)((char *)base + offset);
}

static void point_to_extras(attn_problem *problem, cli_extras *extras) {
    if (problem->score.relative) problem->score.relative = &extras->relative;
    if (problem->score.location) problem->score.location = &extras->location;
    if (problem->normalizer.local) problem->normalizer.local = &extras->local;
}

static bool add_gradient(check_problem *c, check_id id, const char *name, attn_tensor x,
                         size_t gradient, io_error *error) {
    check_input *const input = &c->inputs[id];
    const attn_dtype dtype = c->given.problem.query.dtype;
    input->name = name;
    input->x = x;
    if (!own(c, &input->fast, dtype, x.shape, error) ||
        !own(c, &input->exact, ATTN_F64, x.shape, error)) {
        return false;
    }
    *tensor_at(&c->to, gradient) = input->fast;
    *tensor_at(&c->exact_to, gradient) = input->exact;
    return true;
}

static bool add_tensors(check_problem *c, io_error *error) {
    bool good = true;
    for (check_id id = 0; good && id < CHECK_TENSORS; id++) {
        void *const base = tensors[id].extra ? (void *)&c->extras : (void *)&c->exact;
        attn_tensor *const x = tensor_at(base, tensors[id].input);
        if (!x->data) continue;
        good = own_copy(c, x, x, error) &&
               add_gradient(c, id, tensors[id].name, *x, tensors[id].gradient, error);
    }
    return good;
}

/* Numbers are changed where they are: what is in effect by default is said. */
static bool add_numbers(check_problem *c, io_error *error) {
    attn_score *const score = &c->exact.score;
    attn_normalizer *const normalizer = &c->exact.normalizer;
    attn_local *const local = &c->extras.local;
    const double gaussian = score->kind == ATTN_SCORE_GAUSSIAN ? 0.5 : 1;
    const double dot = 1 / sqrt((double)c->exact.query.shape[3]);
    if (score->scale == 0) score->scale = score->kind == ATTN_SCORE_DOT ? dot : gaussian;
    if (normalizer->temperature == 0) normalizer->temperature = 1;
    if (local->sigma == 0) local->sigma = local->half_width / 2;
    const struct {
        check_id id;
        bool present;
        const char *name;
        double *x;
        size_t gradient;
    } numbers[] = {
#define TO(member) offsetof(attn_input_gradients, member)
        {CHECK_SCALE, score->kind != ATTN_SCORE_CUSTOM, "scale", &score->scale, TO(scale)},
        {CHECK_SOFTCAP, score->softcap > 0, "softcap", &score->softcap, TO(softcap)},
        {CHECK_TEMPERATURE, true, "temperature", &normalizer->temperature, TO(temperature)},
        {CHECK_SIGMOID_BIAS, normalizer->kind == ATTN_SIGMOID, "sigmoid-bias", &normalizer->bias,
         TO(sigmoid_bias)},
        {CHECK_SIGMA, normalizer->local != NULL, "local-sigma", &local->sigma, TO(sigma)},
#undef TO
    };
    bool good = true;
    for (size_t i = 0; good && i < sizeof numbers / sizeof numbers[0]; i++) {
        if (!numbers[i].present) continue;
        good = add_gradient(c, numbers[i].id, numbers[i].name,
                            attn_tensor_f64(numbers[i].x, 1, 1, 1, 1), numbers[i].gradient, error);
    }
    return good;
}

/* ---------------------------------------------------------------------------------------------
 * What flows in
 * ------------------------------------------------------------------------------------------- */

static void shape_of(const attn_problem *p, check_result result, int64_t shape[4]) {
    const int64_t *const q = p->query.shape;
    const int64_t widths[CHECK_RESULTS] = {p->value.shape[3], 1, p->key.shape[2], p->key.shape[2],
                                           1};
    shape[0] = q[0], shape[1] = q[1];
    shape[2] = result == CHECK_OF_RECEIVED ? 1 : q[2];
    shape[3] = widths[result];
}

/* Numbers that flow in, the same in float64, and the place of the result that they belong to. */
static bool add_result(check_problem *c, check_result result, io_error *error) {
    attn_tensor *const from[] = {&c->from.output, &c->from.lse, &c->from.weights,
                                 &c->from.received_sum, &c->from.entropy};
    attn_tensor *const exact[] = {&c->exact_from.output, &c->exact_from.lse, &c->exact_from.weights,
                                  &c->exact_from.received_sum, &c->exact_from.entropy};
    attn_tensor *const place[] = {&c->exact.output, &c->exact.lse, &c->exact.weights,
                                  &c->views.received_sum, &c->views.entropy};
    int64_t shape[4];
    shape_of(&c->exact, result, shape);
    if (result >= CHECK_OF_RECEIVED) c->exact.views = &c->views;
    return own_random(c, from[result], c->given.problem.query.dtype, shape, 1, error) &&
           own_copy(c, from[result], exact[result], error) &&
           own(c, place[result], ATTN_F64, shape, error);
}

static bool add_results(check_problem *c, const bool from[CHECK_RESULTS], io_error *error) {
    bool good = true;
    for (check_result result = 0; good && result < CHECK_RESULTS; result++) {
        if (from[result]) good = add_result(c, result, error);
    }
    return good;
}

/* ---------------------------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------------------------- */

/* Random parameters of the score, where it needs some and no file is named: of a size that keeps
 * scores about 1. */
static bool make_parameters(check_problem *c, const cli_problem_settings *settings,
                            const check_shape *shape, io_error *error) {
    enum { OFFSETS = 33 }; /* 16 to either side: Shaw et al. 2018 */
    const cli_score *const kind = &cli_scores[settings->score];
    attn_score *const score = &c->given.problem.score;
    const int64_t heads = shape->size[1], width = shape->size[5];
    const int64_t hidden = score->projection.data ? score->projection.shape[2]
                           : score->weight.data   ? score->weight.shape[3]
                                                  : width;
    const int64_t rows[] = {[CLI_WEIGHT_NONE] = 0,
                            [CLI_WEIGHT_VECTOR] = 1,
                            [CLI_WEIGHT_MATRIX] =
                                kind->kind == ATTN_SCORE_LOCATION ? shape->size[4] : width,
                            [CLI_WEIGHT_TABLE] = OFFSETS};
    const int64_t weight[4] = {1, heads, rows[kind->weight], kind->hidden ? hidden : width};
    const int64_t projection[4] = {1, heads, hidden, 2 * width};
    const double size = 1 / sqrt((double)width);
    attn_tensor *const place =
        kind->weight == CLI_WEIGHT_TABLE ? &c->given.extras.relative.keys : &score->weight;
    return (kind->weight == CLI_WEIGHT_NONE || place->data ||
            own_random(c, place, shape->dtype, weight, size, error)) &&
           (!kind->projection || score->projection.data ||
            own_random(c, &score->projection, shape->dtype, projection, size, error));
}

static bool make_problem(check_problem *c, const cli_problem_settings *settings,
                         const check_shape *shape, io_error *error) {
    const int64_t *const s = shape->size;
    const int64_t query_shape[4] = {s[0], s[1], s[3], s[5]},
                  key_shape[4] = {s[0], s[2], s[4], s[5]};
    attn_tensor query, key, value;
    return own_random(c, &query, shape->dtype, query_shape, 1, error) &&
           own_random(c, &key, shape->dtype, key_shape, 1, error) &&
           own_random(c, &value, shape->dtype, key_shape, 1, error) &&
           cli_problem_load_around(&c->given, settings, &query, &key, &value, error) &&
           make_parameters(c, settings, shape, error);
}

/* An input can be in the settings alone, too large for the reference, or not even a problem. */
bool check_open(check_problem *c, const cli_problem_settings *settings, const char *path,
                const check_shape *shape, const bool from[CHECK_RESULTS], io_error *error) {
    memset(c, 0, sizeof *c);
    c->random = settings->seed;
    const bool good = shape->enabled ? make_problem(c, settings, shape, error)
                                     : cli_problem_load(&c->given, settings, path, error);
    if (!good) return false;
    if (!cli_problem_check(&c->given, NULL, error)) return false;
    c->exact = c->given.problem;
    c->extras = c->given.extras;
    point_to_extras(&c->exact, &c->extras);
    return add_tensors(c, error) && add_numbers(c, error) && add_results(c, from, error);
}

void check_close(check_problem *c) {
    for (int i = 0; i < c->owned; i++) free(c->memory[i]);
    cli_problem_close(&c->given);
}

double check_operations(const check_problem *c) {
    const attn_problem *const p = &c->exact;
    const double pairs = (double)p->query.shape[0] * (double)p->query.shape[1] *
                         (double)p->query.shape[2] * (double)p->key.shape[2];
    const double query = (double)p->query.shape[3], key = (double)p->key.shape[3];
    double features = query;
    if (p->score.kind == ATTN_SCORE_GENERAL) features = query * key;
    if (p->score.kind == ATTN_SCORE_CONCAT) {
        features = (double)p->score.projection.shape[2] * (query + key);
    }
    if (p->score.location) {
        const int64_t *const filters = p->score.location->filters.shape;
        features += (double)filters[2] * ((double)filters[3] + (double)p->score.weight.shape[3]);
    }
    return 2 * pairs * (CHECK_PAIR_COST + features + (double)p->value.shape[3]);
}

/* The forward's output and log-sum-exp are kept, as for training. */
static bool run_fast(check_problem *c, attn_context *context, io_error *error) {
    attn_problem problem = c->given.problem;
    const attn_normalizer_kind kind = problem.normalizer.kind;
    const int64_t *const q = problem.query.shape;
    point_to_extras(&problem, &c->given.extras);
    const bool softmax = kind == ATTN_SOFTMAX || kind == ATTN_SOFTMAX_ONE;
    if (!own(c, &problem.output, problem.query.dtype,
             (int64_t[4]){q[0], q[1], q[2], problem.value.shape[3]}, error) ||
        (softmax &&
         !own(c, &problem.lse, problem.query.dtype, (int64_t[4]){q[0], q[1], q[2], 1}, error))) {
        return false;
    }
    return cli_problem_forward(&c->given, context, &problem, error) &&
           (attn_backward(context, &problem, &c->from, &c->to) == ATTN_OK ||
            cli_problem_fail(&c->given, error));
}

bool check_run(check_problem *c, attn_context *context, io_error *error) {
    return run_fast(c, context, error) &&
           (attn_reference_backward(&c->exact, &c->exact_from, &c->exact_to) == ATTN_OK ||
            cli_problem_fail(&c->given, error));
}

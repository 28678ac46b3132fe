/* check_gradients.c: the rules of gradients.h, on top of those for the problem's inputs. */
#include "api/check_parts.h"

#include <math.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

static const attn_tensor *tensor_at(const void *in, size_t place) {
    return (const attn_tensor *)(const void *)((const char *)in + place);
}

/* ------------------------------------------------- what has the shape of a result of the forward */

enum size { ONE, BATCH, SEQUENCES, HEADS, CHOSEN, ROWS, KEYS, VALUE_WIDTH, SIZES };

typedef struct shaped {
    const char *name;
    size_t place;
    unsigned char sizes[4]; /* enum size */
} shaped;

/* What the forward left, which is only read here. */
static const shaped saved_results[] = {
    {"output", offsetof(attn_problem, output), {BATCH, HEADS, ROWS, VALUE_WIDTH}},
    {"lse", offsetof(attn_problem, lse), {BATCH, HEADS, ROWS, ONE}},
};

static const shaped result_gradients[] = {
#define FROM(field) "from." #field, offsetof(attn_result_gradients, field)
    {FROM(output), {BATCH, HEADS, ROWS, VALUE_WIDTH}},
    {FROM(lse), {BATCH, HEADS, ROWS, ONE}},
    {FROM(weights), {BATCH, HEADS, ROWS, KEYS}},
    {FROM(received_sum), {SEQUENCES, CHOSEN, ONE, KEYS}},
    {FROM(entropy), {BATCH, CHOSEN, ROWS, ONE}},
#undef FROM
};

static const shaped result_tangents[] = {
#define TANGENT(field) "tangents." #field, offsetof(attn_tangents, field)
    {TANGENT(output), {BATCH, HEADS, ROWS, VALUE_WIDTH}},
    {TANGENT(lse), {BATCH, HEADS, ROWS, ONE}},
    {TANGENT(weights), {BATCH, HEADS, ROWS, KEYS}},
#undef TANGENT
};

/* attn_check_input, attn_check_result */
typedef attn_status check_one(attn_checked *c, const char *name, const attn_tensor *t,
                              attn_dtypes types, const attn_size sizes[4]);

static attn_status check_shaped(attn_checked *c, const void *in, const shaped *table, size_t count,
                                const attn_size sizes[SIZES], check_one *check) {
    for (size_t k = 0; k < count; k++) {
        const unsigned char *const of = table[k].sizes;
        const attn_size expected[4] = {sizes[of[0]], sizes[of[1]], sizes[of[2]], sizes[of[3]]};
        ATTN_TRY(check(c, table[k].name, tensor_at(in, table[k].place), c->type, expected));
    }
    return ATTN_OK;
}

/* The problem: its inputs, which heads its views choose, and its saved results as two inputs more. */
static attn_status check_forward(attn_checked *c, const attn_problem *p, attn_size sizes[SIZES]) {
    ATTN_TRY(attn_check_inputs(c, p));
    sizes[ONE] = attn_just_one();
    sizes[BATCH] = c->batch;
    sizes[SEQUENCES] = c->sequences;
    sizes[HEADS] = c->heads;
    sizes[ROWS] = c->rows;
    sizes[KEYS] = c->keys;
    sizes[VALUE_WIDTH] = (attn_size){.size = p->value.shape[3], .source = "value.shape[3]"};
    ATTN_TRY(attn_check_chosen(c, &sizes[CHOSEN]));
    return check_shaped(c, p, saved_results, COUNT(saved_results), sizes, attn_check_input);
}

/* -------------------------------------------------------------- what has the shape of an input */

enum owner { PROBLEM, RELATIVE, LOCATION, LOCAL };

typedef struct alike {
    const char *name;
    size_t place;
    const char *input;
    enum owner owner; /* of the input */
    size_t input_place;
    const char *sources[4];
} alike;

#define INPUT(name, owner, type, field)                                        \
    name, owner, offsetof(type, field), {                                      \
        name ".shape[0]", name ".shape[1]", name ".shape[2]", name ".shape[3]" \
    }
#define TO(field) "to." #field, offsetof(attn_input_gradients, field)
#define OF_PROBLEM(field) INPUT(#field, PROBLEM, attn_problem, field)
#define OF_RELATIVE(field) INPUT("score.relative." #field, RELATIVE, attn_relative, field)
#define OF_LOCATION(field) INPUT("score.location." #field, LOCATION, attn_location, field)

static const alike input_gradients[] = {
    {TO(query), OF_PROBLEM(query)},
    {TO(key), OF_PROBLEM(key)},
    {TO(value), OF_PROBLEM(value)},
    {TO(bias), OF_PROBLEM(score.bias)},
    {TO(alibi_slopes), OF_PROBLEM(score.alibi_slopes)},
    {TO(sinks), OF_PROBLEM(score.sinks)},
    {TO(scales), OF_PROBLEM(score.scales)},
    {TO(weight), OF_PROBLEM(score.weight)},
    {TO(projection), OF_PROBLEM(score.projection)},
    {TO(offset), OF_PROBLEM(score.offset)},
    {TO(relative_bias), OF_RELATIVE(bias)},
    {TO(relative_keys), OF_RELATIVE(keys)},
    {TO(relative_queries), OF_RELATIVE(queries)},
    {TO(relative_values), OF_RELATIVE(values)},
    {TO(content_bias), OF_RELATIVE(content_bias)},
    {TO(position_bias), OF_RELATIVE(position_bias)},
    {TO(previous), OF_LOCATION(previous)},
    {TO(filters), OF_LOCATION(filters)},
    {TO(location_projection), OF_LOCATION(projection)},
    {TO(centers), INPUT("normalizer.local.centers", LOCAL, attn_local, centers)},
};

static const alike input_tangents[] = {
#define TANGENT(field) "tangents." #field, offsetof(attn_tangents, field)
    {TANGENT(query), OF_PROBLEM(query)},
    {TANGENT(key), OF_PROBLEM(key)},
    {TANGENT(value), OF_PROBLEM(value)},
    {TANGENT(bias), OF_PROBLEM(score.bias)},
#undef TANGENT
};

/* NULL if the problem has none. */
static const attn_tensor *input_of(const attn_problem *p, const alike *a) {
    const void *const owners[] = {
        [PROBLEM] = p,
        [RELATIVE] = p->score.relative,
        [LOCATION] = p->score.location,
        [LOCAL] = p->normalizer.local,
    };
    if (owners[a->owner] == NULL) return NULL;
    const attn_tensor *const input = tensor_at(owners[a->owner], a->input_place);
    return attn_tensor_present(input) ? input : NULL;
}

static attn_status check_alike(attn_checked *c, const void *in, const alike *table, size_t count,
                               check_one *check) {
    for (size_t k = 0; k < count; k++) {
        const alike *const a = &table[k];
        const attn_tensor *const t = tensor_at(in, a->place);
        const attn_tensor *const input = input_of(c->problem, a);
        attn_size sizes[4];
        if (!attn_tensor_present(t)) continue;
        if (input == NULL)
            return attn_fail(ATTN_ERROR_VALUE, "%s is given, but %s is not", a->name, a->input);
        for (int i = 0; i < 4; i++)
            sizes[i] = (attn_size){.size = input->shape[i], .source = a->sources[i]};
        ATTN_TRY(check(c, a->name, t, c->type, sizes));
    }
    return ATTN_OK;
}

/* ------------------------------------------------------------------------------------ backward */

/* Numbers of the problem that are no tensors. */
static attn_status check_numbers(attn_checked *c, const attn_input_gradients *to) {
    const attn_problem *const p = c->problem;
    const attn_local *const local = p->normalizer.local;
    const struct {
        const char *name;
        const attn_tensor *tensor;
        bool takes_part;
        const char *why_not;
    } numbers[] = {
        {"to.scale", &to->scale, p->score.kind != ATTN_SCORE_CUSTOM,
         "ATTN_SCORE_CUSTOM has no scale"},
        {"to.softcap", &to->softcap, p->score.softcap > 0, "score.softcap is 0 (none)"},
        {"to.temperature", &to->temperature, true, NULL},
        {"to.sigmoid_bias", &to->sigmoid_bias, p->normalizer.kind == ATTN_SIGMOID,
         "only normalizer.kind ATTN_SIGMOID has a bias"},
        {"to.sigma", &to->sigma, local != NULL && isfinite(local->sigma),
         local == NULL ? "normalizer.local is NULL" : "normalizer.local.sigma is infinite (none)"},
    };
    const attn_size one[4] = {attn_just_one(), attn_just_one(), attn_just_one(), attn_just_one()};
    for (size_t k = 0; k < COUNT(numbers); k++) {
        if (attn_tensor_present(numbers[k].tensor) && !numbers[k].takes_part)
            return attn_fail(ATTN_ERROR_VALUE, "%s is given, but %s", numbers[k].name,
                             numbers[k].why_not);
        ATTN_TRY(attn_check_result(c, numbers[k].name, numbers[k].tensor, c->type, one));
    }
    return ATTN_OK;
}

/* A score's callback and the way back through it belong together. */
static attn_status check_callback(const attn_score *score, const attn_input_gradients *to) {
    if (score->callback != NULL && to->callback == NULL)
        return attn_fail(ATTN_ERROR_NULL, "to.callback is NULL, but score.callback is given");
    if (score->callback == NULL && to->callback != NULL)
        return attn_fail(ATTN_ERROR_VALUE, "to.callback is given, but score.callback is NULL");
    return ATTN_OK;
}

static attn_status check_from(attn_checked *c, const attn_result_gradients *from,
                              const attn_size sizes[SIZES]) {
    const attn_normalizer_kind kind = c->problem->normalizer.kind;
    if (kind != ATTN_SOFTMAX && kind != ATTN_SOFTMAX_ONE && attn_tensor_present(&from->lse))
        return attn_fail(ATTN_ERROR_VALUE,
                         "from.lse is given, but only normalizer.kind ATTN_SOFTMAX and "
                         "ATTN_SOFTMAX_ONE have one");
    return check_shaped(c, from, result_gradients, COUNT(result_gradients), sizes,
                        attn_check_input);
}

attn_status attn_check_backward(const attn_problem *p, const attn_result_gradients *from,
                                const attn_input_gradients *to) {
    attn_checked c;
    attn_size sizes[SIZES];
    ATTN_TRY(check_forward(&c, p, sizes));
    if (!from) return attn_fail(ATTN_ERROR_NULL, "from is NULL");
    if (!to) return attn_fail(ATTN_ERROR_NULL, "to is NULL");
    ATTN_TRY(attn_check_reserved("from", from->reserved, 8));
    ATTN_TRY(attn_check_reserved("to", to->reserved, 8));
    ATTN_TRY(check_from(&c, from, sizes));
    ATTN_TRY(check_callback(&p->score, to));
    ATTN_TRY(check_alike(&c, to, input_gradients, COUNT(input_gradients), attn_check_result));
    ATTN_TRY(check_numbers(&c, to));
    return attn_check_aliases(&c);
}

/* -------------------------------------------------------------------------------- forward mode */

static attn_status check_supported(const attn_problem *p) {
    const struct {
        const char *name;
        bool given;
    } others[] = {
        {"score.relative", p->score.relative != NULL},
        {"score.callback", p->score.callback != NULL},
        {"normalizer.local", p->normalizer.local != NULL},
    };
    if (p->score.kind != ATTN_SCORE_DOT)
        return attn_fail(ATTN_ERROR_UNSUPPORTED,
                         "score.kind is %d, but tangents go through ATTN_SCORE_DOT (0) alone",
                         (int)p->score.kind);
    if (p->normalizer.kind != ATTN_SOFTMAX && p->normalizer.kind != ATTN_SOFTMAX_ONE)
        return attn_fail(ATTN_ERROR_UNSUPPORTED,
                         "normalizer.kind is %d, but tangents go through ATTN_SOFTMAX (0) and "
                         "ATTN_SOFTMAX_ONE (1) alone",
                         (int)p->normalizer.kind);
    for (size_t k = 0; k < COUNT(others); k++) {
        if (others[k].given)
            return attn_fail(ATTN_ERROR_UNSUPPORTED,
                             "%s is given, but tangents do not go through it", others[k].name);
    }
    return ATTN_OK;
}

attn_status attn_check_jvp(const attn_problem *p, const attn_tangents *tangents) {
    attn_checked c;
    attn_size sizes[SIZES];
    ATTN_TRY(check_forward(&c, p, sizes));
    if (!tangents) return attn_fail(ATTN_ERROR_NULL, "tangents is NULL");
    ATTN_TRY(attn_check_reserved("tangents", tangents->reserved, 8));
    ATTN_TRY(check_supported(p));
    ATTN_TRY(check_alike(&c, tangents, input_tangents, COUNT(input_tangents), attn_check_input));
    ATTN_TRY(check_shaped(&c, tangents, result_tangents, COUNT(result_tangents), sizes,
                          attn_check_result));
    return attn_check_aliases(&c);
}

/* sample_gradients.c: makes gradients of results, and places for those of inputs. */
#include "sample_gradients.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "sample.h"

/* ---------------------------------------------------------------------------------------------
 * Inputs, and whether a problem has them
 * ------------------------------------------------------------------------------------------- */

enum owner { PROBLEM, RELATIVE, LOCATION, LOCAL, NUMBER };

static const struct {
    const char *name;
    size_t place;
    enum owner owner; /* of the input */
    size_t input;
} kinds[GRADIENTS] = {
#define OF(field, owner, type, input) \
    { "to." #field, offsetof(attn_input_gradients, field), owner, offsetof(type, input) }
#define NUMBER(field) \
    { "to." #field, offsetof(attn_input_gradients, field), NUMBER, 0 }
    [GRADIENT_QUERY] = OF(query, PROBLEM, attn_problem, query),
    [GRADIENT_KEY] = OF(key, PROBLEM, attn_problem, key),
    [GRADIENT_VALUE] = OF(value, PROBLEM, attn_problem, value),
    [GRADIENT_BIAS] = OF(bias, PROBLEM, attn_problem, score.bias),
    [GRADIENT_ALIBI_SLOPES] = OF(alibi_slopes, PROBLEM, attn_problem, score.alibi_slopes),
    [GRADIENT_SINKS] = OF(sinks, PROBLEM, attn_problem, score.sinks),
    [GRADIENT_SCALES] = OF(scales, PROBLEM, attn_problem, score.scales),
    [GRADIENT_WEIGHT] = OF(weight, PROBLEM, attn_problem, score.weight),
    [GRADIENT_PROJECTION] = OF(projection, PROBLEM, attn_problem, score.projection),
    [GRADIENT_OFFSET] = OF(offset, PROBLEM, attn_problem, score.offset),
    [GRADIENT_RELATIVE_BIAS] = OF(relative_bias, RELATIVE, attn_relative, bias),
    [GRADIENT_RELATIVE_KEYS] = OF(relative_keys, RELATIVE, attn_relative, keys),
    [GRADIENT_RELATIVE_QUERIES] = OF(relative_queries, RELATIVE, attn_relative, queries),
    [GRADIENT_RELATIVE_VALUES] = OF(relative_values, RELATIVE, attn_relative, values),
    [GRADIENT_CONTENT_BIAS] = OF(content_bias, RELATIVE, attn_relative, content_bias),
    [GRADIENT_POSITION_BIAS] = OF(position_bias, RELATIVE, attn_relative, position_bias),
    [GRADIENT_PREVIOUS] = OF(previous, LOCATION, attn_location, previous),
    [GRADIENT_FILTERS] = OF(filters, LOCATION, attn_location, filters),
    [GRADIENT_LOCATION_PROJECTION] = OF(location_projection, LOCATION, attn_location, projection),
    [GRADIENT_CENTERS] = OF(centers, LOCAL, attn_local, centers),
    [GRADIENT_SCALE] = NUMBER(scale),
    [GRADIENT_SOFTCAP] = NUMBER(softcap),
    [GRADIENT_TEMPERATURE] = NUMBER(temperature),
    [GRADIENT_SIGMOID_BIAS] = NUMBER(sigmoid_bias),
    [GRADIENT_SIGMA] = NUMBER(sigma),
#undef OF
#undef NUMBER
};

attn_tensor *gradient_of(attn_input_gradients *to, int gradient) {
    return (attn_tensor *)(void *)((char *)to + kinds[gradient].place);
}

const char *gradient_name(int gradient) {
    return kinds[gradient].name;
}

static bool has_number(const attn_problem *p, int gradient) {
    switch (gradient) {
    case GRADIENT_SCALE: return p->score.kind != ATTN_SCORE_CUSTOM;
    case GRADIENT_SOFTCAP: return p->score.softcap > 0;
    case GRADIENT_SIGMOID_BIAS: return p->normalizer.kind == ATTN_SIGMOID;
    case GRADIENT_SIGMA: return p->normalizer.local != NULL && isfinite(p->normalizer.local->sigma);
    default: return true;
    }
}

bool gradient_shape(const attn_problem *p, int gradient, int64_t shape[4]) {
    const void *const owners[] = {p, p->score.relative, p->score.location, p->normalizer.local};
    const enum owner owner = kinds[gradient].owner;
    if (owner == NUMBER) {
        for (int k = 0; k < 4; k++) shape[k] = 1;
        return has_number(p, gradient);
    }
    if (owners[owner] == NULL) return false;
    const attn_tensor *const input =
        (const attn_tensor *)(const void *)((const char *)owners[owner] + kinds[gradient].input);
    memcpy(shape, input->shape, sizeof input->shape);
    return input->data != NULL;
}

/* ---------------------------------------------------------------------------------------------
 * Making
 * ------------------------------------------------------------------------------------------- */

static void make_from(gradients *g, const sample *s, unsigned wanted, stream *from) {
    const spec *const w = &s->spec;
    const attn_views *const v = s->problem.views;
    const int64_t chosen = v != NULL && v->heads != NULL ? v->head_count : w->heads;
    const int64_t columns = sample_columns(s, from);
    const struct {
        attn_tensor *place;
        int64_t shape[4];
    } all[] = {
        {&g->from.output, {w->batch, w->heads, w->n_query, w->d_value}},
        {&g->from.lse, {w->batch, w->heads, w->n_query, 1}},
        {&g->from.weights, {w->batch, w->heads, w->n_query, columns}},
        {&g->from.received_sum, {s->sequences, chosen, 1, columns}},
        {&g->from.entropy, {w->batch, chosen, w->n_query, 1}},
    };
    if (w->normalizer > ATTN_SOFTMAX_ONE) wanted &= ~(unsigned)FROM_LSE;
    for (size_t k = 0; k < COUNT(all); k++) {
        if ((wanted & 1u << k) == 0) continue;
        *all[k].place = sample_tensor(&g->room, w->dtype, all[k].shape, false, from);
        fill_normal(all[k].place, w->seed + 40 + k, 1);
    }
}

void gradients_make(gradients *g, const sample *s, unsigned from, unsigned wanted) {
    *g = (gradients){.room.spec = s->spec};
    stream how = {.seed = s->spec.seed + 3000};
    make_from(g, s, from, &how);
    g->room.first_result = g->room.used;
    for (int k = 0; k < GRADIENTS; k++) {
        int64_t shape[4];
        if ((wanted & 1u << k) == 0 || !gradient_shape(&s->problem, k, shape)) continue;
        *gradient_of(&g->to, k) = sample_tensor(&g->room, s->spec.dtype, shape, true, &how);
    }
    if (s->problem.score.callback != NULL)
        g->to.callback =
            s->problem.score.callback == nudge_scores ? nudge_gradients : curve_gradients;
}

void gradients_free(gradients *g) {
    sample_free(&g->room);
}

void gradients_poison(gradients *g) {
    sample_poison(&g->room);
}

void run_backward(attn_context *context, const attn_problem *p, gradients *g) {
    gradients_poison(g);
    if (attn_backward(context, p, &g->from, &g->to) != ATTN_OK)
        fail_msg("%s", attn_error_message());
}

void assert_same_gradients(gradients *a, gradients *b, int count, const char *text) {
    for (int k = 0; k < count; k++) {
        char what[640];
        const attn_tensor *const in_a = gradient_of(&a->to, k), *const in_b =
                                                                    gradient_of(&b->to, k);
        (void)snprintf(what, sizeof what, "%s\n%s", text, gradient_name(k));
        if (in_a->data != NULL && in_b->data != NULL) assert_same_bits(in_a, in_b, what);
    }
}

void assert_gradients_untouched(const gradients *g) {
    assert_results_untouched(&g->room);
}

void assert_gradient_gaps_untouched(gradients *g) {
    for (int k = 0; k < GRADIENTS; k++) {
        const attn_tensor *const t = gradient_of(&g->to, k);
        if (t->data == NULL) continue;
        for (int64_t x[4] = {0}; index_inside(x, t->shape); index_next(x, t->shape))
            memset(element_address(t, x), POISON, dtype_size(t->dtype));
    }
    for (int k = g->room.first_result; k < g->room.used; k++) {
        if (!guarded_is_poison(&g->room.blocks[k]))
            fail_msg("memory between the elements of a gradient was written to");
    }
}

/* ---------------------------------------------------------------------------------------------
 * Callbacks
 * ------------------------------------------------------------------------------------------- */

void nudge_gradients(void *user, const attn_pairs *scores, const attn_pairs *out) {
    (void)user;
    if (scores->rows != out->rows || scores->keys != out->keys || scores->query != out->query ||
        scores->key != out->key)
        fail_msg("scores and gradients of different pairs");
}

/* s + s * s / 8 has slope 1 + s / 4. */
void curve_gradients(void *user, const attn_pairs *scores, const attn_pairs *out) {
    nudge_gradients(user, scores, out);
    for (int r = 0; r < scores->rows; r++) {
        for (int c = 0; c < scores->keys; c++) {
            const double slope = 1 + pair_element(scores, r, c) / 4;
            set_pair_element(out, r, c, pair_element(out, r, c) * slope);
        }
    }
}

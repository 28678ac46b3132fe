/* reference_backward.c: the gradients of attention by the textbook. Read reference.c first.
 *
 * One query at a time, in float64. Its row is computed forward, and then the three steps are walked
 * in reverse, each of which turns the derivatives of L with respect to what it made into those with
 * respect to what it was made of:
 *
 *     AGGREGATE  d_weight[j] = dot(d_output, value[j]) + ...    d_value[j] += weight[j] d_output
 *     WEIGH      d_z[j] = plain[j] (d_plain[j] - sum over j' of plain[j'] d_plain[j'] + d_lse)
 *     SCORE      d_query += scale d_score[j] key[j]             d_key[j] += scale d_score[j] query
 *
 * That is what a plain problem asks for. The first step is here; the second, with all normalizers, in
 * reference_gradient_weigh.c, the third, with all scores, in reference_gradient_score.c. Numbers in
 * parentheses are formulas of docs/MATHS.md, which derives them.
 *
 * A key that is hidden by the mask, or whose score is -infinity, takes no part: nothing of it is looked
 * at, and nothing flows to it.
 *
 * Every gradient is a sum over rows, made in a float64 copy of its tensor and rounded once, at the end.
 * Accuracy: with u = 2^-53, a term of a gradient is a product of numbers each of which is within some
 * (n + d + d_value + 20) u of its own sum of sizes, beside the error of its weight that reference.c
 * derives; and a sum of N terms adds N u of the sum of their sizes. */
#include "attention/reference_backward.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "api/check.h"

bool attn_ref_shown(const row *r, int64_t j) {
    return r->visible[j] && r->score[j] != -INFINITY;
}

/* ---------------------------------------------------------------------------------------------
 * Aggregate, and views of the weights
 * ------------------------------------------------------------------------------------------- */

static double from_query(const backward *b, const attn_tensor *t, int64_t head, int64_t c) {
    const row *const r = &b->row;
    return attn_ref_load(t, r->at.batch, head, r->at.first_query + r->i, c);
}

/* (10): d_value[j] += w[j] d_output, and the same for the entry of a table of values */
static void value_backward(backward *b, int64_t j) {
    const row *const r = &b->row;
    const attn_relative *const relative = r->problem->score.relative;
    if (!attn_ref_present(&b->from->output)) return;
    for (int64_t c = 0; c < r->problem->value.shape[3]; c++) {
        const double d = r->weight[j] * from_query(b, &b->from->output, r->head, c);
        attn_ref_add(&b->to.value, r->at.batch, r->kv_head, r->at.first_key + j, c, d);
        if (relative == NULL || !attn_ref_present(&relative->values)) continue;
        attn_ref_add(&b->to.relative_values, 0, r->head, attn_ref_entry(r, &relative->values, 2, j),
                     c, d);
    }
}

/* (13): of -sum w log(w); a weight of 0 counts as flat */
static double entropy_backward(const backward *b, int64_t j) {
    const double w = b->row.weight[j];
    return w == 0 ? 0 : -from_query(b, &b->from->entropy, b->place, 0) * (log(w) + 1);
}

/* (11): all that depends on w[j] */
static double weight_gradient(const backward *b, int64_t j) {
    const row *const r = &b->row;
    const attn_result_gradients *const from = b->from;
    double sum = 0;
    for (int64_t c = 0; attn_ref_present(&from->output) && c < r->problem->value.shape[3]; c++)
        sum += from_query(b, &from->output, r->head, c) * attn_ref_value(r, j, c);
    if (attn_ref_present(&from->weights)) sum += from_query(b, &from->weights, r->head, j);
    if (b->place < 0) return sum;
    if (attn_ref_present(&from->received_sum))
        sum += attn_ref_load(&from->received_sum, r->at.index, b->place, 0, j);
    if (attn_ref_present(&from->entropy)) sum += entropy_backward(b, j);
    return sum;
}

static void aggregate_backward(backward *b) {
    for (int64_t j = 0; j < b->row.at.n_key; j++) {
        if (!attn_ref_shown(&b->row, j)) continue;
        b->d_weight[j] = weight_gradient(b, j);
        value_backward(b, j);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Sums of gradients
 * ------------------------------------------------------------------------------------------- */

static const size_t places[] = {
#define PLACE(field) offsetof(attn_input_gradients, field)
    PLACE(query),           PLACE(key),
    PLACE(value),           PLACE(bias),
    PLACE(alibi_slopes),    PLACE(sinks),
    PLACE(scales),          PLACE(scale),
    PLACE(softcap),         PLACE(temperature),
    PLACE(weight),          PLACE(projection),
    PLACE(offset),          PLACE(relative_bias),
    PLACE(relative_keys),   PLACE(relative_queries),
    PLACE(relative_values), PLACE(content_bias),
    PLACE(position_bias),   PLACE(previous),
    PLACE(filters),         PLACE(location_projection),
    PLACE(sigmoid_bias),    PLACE(centers),
    PLACE(sigma),
#undef PLACE
};
enum { PLACES = sizeof places / sizeof *places };

static attn_tensor *place_in(attn_input_gradients *g, int k) {
    return (attn_tensor *)(void *)((char *)g + places[k]);
}

static const attn_tensor *wanted(const attn_input_gradients *g, int k) {
    return (const attn_tensor *)(const void *)((const char *)g + places[k]);
}

static void free_sums(attn_input_gradients *g) {
    for (int k = 0; k < PLACES; k++) free(place_in(g, k)->data);
}

/* A float64 copy, of zeros, of every tensor that is wanted; false if there is no memory. */
static bool make_sums(attn_input_gradients *g, const attn_input_gradients *to) {
    bool made = true;
    *g = (attn_input_gradients){.callback = to->callback, .callback_user = to->callback_user};
    for (int k = 0; k < PLACES; k++) {
        const attn_tensor *const t = wanted(to, k);
        const int64_t *const n = t->shape;
        if (!attn_ref_present(t)) continue;
        /* It has as many elements in memory, each its own: their number is no overflow. */
        const size_t count = (size_t)n[0] * (size_t)n[1] * (size_t)n[2] * (size_t)n[3];
        double *const zeros = calloc(count != 0 ? count : 1, sizeof *zeros);
        *place_in(g, k) = attn_tensor_dense(zeros, ATTN_F64, n[0], n[1], n[2], n[3]);
        made = made && zeros != NULL;
    }
    return made;
}

/* The only rounding to the dtype of the gradient. */
static void store_sum(const attn_tensor *t, const attn_tensor *sum) {
    if (t->shape[1] == 0 || t->shape[2] == 0 || t->shape[3] == 0) return;
    for (int64_t b = 0; b < t->shape[0]; b++) {
        for (int64_t h = 0; h < t->shape[1]; h++) {
            for (int64_t i = 0; i < t->shape[2]; i++) {
                for (int64_t j = 0; j < t->shape[3]; j++)
                    attn_ref_store(t, b, h, i, j, attn_ref_load(sum, b, h, i, j));
            }
        }
    }
}

static void store_sums(const attn_input_gradients *to, attn_input_gradients *g) {
    for (int k = 0; k < PLACES; k++) {
        if (attn_ref_present(wanted(to, k))) store_sum(wanted(to, k), place_in(g, k));
    }
}

/* ---------------------------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------------------------- */

static void free_backward(backward *b) {
    attn_ref_free_row(&b->row);
    free_sums(&b->to);
    free(b->memory);
}

static bool make_backward(backward *b, const attn_problem *p, const attn_result_gradients *from,
                          const attn_input_gradients *to) {
    const size_t n_key = attn_ref_no_row(p) ? 0 : (size_t)p->key.shape[2];
    double **const parts[] = {&b->d_weight, &b->d_z, &b->d_score, &b->room};
    double *x = calloc(n_key + 1, sizeof parts / sizeof *parts * sizeof *x);
    *b = (backward){.from = from, .memory = x};
    for (size_t k = 0; x != NULL && k < sizeof parts / sizeof *parts; k++, x += n_key)
        *parts[k] = x;
    const bool has_sums = make_sums(&b->to, to), has_row = attn_ref_make_row(&b->row, p);
    if (has_sums && has_row && b->memory != NULL) return true;
    free_backward(b);
    return false;
}

/* Forward, and the three steps in reverse. */
static void attend_backward(backward *b) {
    attn_ref_score_and_weigh(&b->row);
    aggregate_backward(b);
    attn_ref_weigh_backward(b);
    attn_ref_score_backward(b);
}

attn_status attn_reference_backward(const attn_problem *problem, const attn_result_gradients *from,
                                    const attn_input_gradients *to) {
    backward b;
    const attn_status status = attn_check_backward(problem, from, to);
    if (status != ATTN_OK) return status;
    if (!make_backward(&b, problem, from, to))
        return attn_fail(ATTN_ERROR_MEMORY, "no memory for the gradients in float64");

    for (int64_t index = 0; index < attn_ref_sequences(problem); index++) {
        const sequence at = attn_ref_sequence(problem, index);
        for (int64_t head = 0; head < problem->query.shape[1]; head++) {
            b.place = attn_ref_place(problem, head);
            for (int64_t i = 0; i < at.n_query; i++) {
                attn_ref_go_to(&b.row, at, head, i);
                attend_backward(&b);
            }
        }
    }
    store_sums(to, &b.to);
    free_backward(&b);
    return ATTN_OK;
}

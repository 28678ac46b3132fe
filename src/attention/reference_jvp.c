/* reference_jvp.c: how results change with the inputs, by the textbook: reference.c, differentiated in
 * the order in which it computes. Numbers in parentheses are formulas of docs/MATHS.md.
 *
 * A key that is hidden by the mask, or whose score is -infinity, takes no part: nothing of it is looked
 * at, its change neither. */
#include "attention/reference_backward.h"

#include <math.h>
#include <stdlib.h>

#include "api/check.h"

/* One query's row, and how it changes. */
typedef struct change {
    row row;
    const attn_tangents *tangents;
    double *z, *weight; /* of each key, as in the row */
    double lse;
} change;

/* ---------------------------------------------------------------------------------------------
 * Score, weigh, aggregate
 * ------------------------------------------------------------------------------------------- */

static double of_query(const change *t, int64_t c) {
    const row *const r = &t->row;
    const attn_tensor *const query = &t->tangents->query;
    if (!attn_ref_present(query)) return 0;
    return attn_ref_load(query, r->at.batch, r->head, r->at.first_query + r->i, c);
}

/* Of key or value. */
static double of_key(const change *t, const attn_tensor *key, int64_t j, int64_t c) {
    const row *const r = &t->row;
    return attn_ref_load(key, r->at.batch, r->kv_head, r->at.first_key + j, c);
}

/* dot(t_query, key[j]) + dot(query, t_key[j]) */
static double of_dot(const change *t, int64_t j) {
    const row *const r = &t->row;
    const attn_tensor *const query = &t->tangents->query, *const key = &t->tangents->key;
    double sum = 0;
    for (int64_t c = 0; c < r->problem->query.shape[3]; c++) {
        if (attn_ref_present(query)) sum += of_query(t, c) * attn_ref_key(r, j, c);
        if (attn_ref_present(key)) sum += attn_ref_query(r, c) * of_key(t, key, j, c);
    }
    return sum;
}

/* (48): through scale, soft cap, bias and temperature */
static double of_z(const change *t, int64_t j) {
    const row *const r = &t->row;
    const attn_tensor *const bias = &t->tangents->bias;
    const double c = r->problem->score.softcap;
    double sum = attn_ref_scale(r->problem) * attn_ref_scales(r) * of_dot(t, j);
    if (c > 0) sum *= attn_ref_tanh_slope(r->raw[j] / c);
    if (attn_ref_present(bias)) sum += attn_ref_load(bias, r->at.index, r->head, r->i, j);
    return sum / attn_ref_temperature(r->problem);
}

/* (49), (50): the log-sum-exp changes by the mean of the changes, a weight by its share of what is
 * left; then dropout */
static void change_weights(change *t) {
    const row *const r = &t->row;
    t->lse = 0;
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (!attn_ref_shown(r, j)) continue;
        t->z[j] = of_z(t, j);
        t->lse += r->plain[j] * t->z[j];
    }
    for (int64_t j = 0; j < r->at.n_key; j++) {
        const bool shown = attn_ref_shown(r, j);
        t->weight[j] = shown ? r->plain[j] * (t->z[j] - t->lse) * r->factor[j] : 0;
    }
}

/* (51) */
static double of_output(const change *t, int64_t c) {
    const row *const r = &t->row;
    const attn_tensor *const value = &t->tangents->value;
    double sum = 0;
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (!attn_ref_shown(r, j)) continue;
        sum += t->weight[j] * attn_ref_value(r, j, c);
        if (attn_ref_present(value)) sum += r->weight[j] * of_key(t, value, j, c);
    }
    return sum;
}

/* ---------------------------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------------------------- */

static void change_row(change *t) {
    const row *const r = &t->row;
    const attn_tangents *const to = t->tangents;
    const int64_t query = r->at.first_query + r->i;
    attn_ref_score_and_weigh(&t->row);
    change_weights(t);
    attn_ref_store(&to->lse, r->at.batch, r->head, query, 0, t->lse);
    for (int64_t j = 0; j < r->at.n_key; j++)
        attn_ref_store(&to->weights, r->at.batch, r->head, query, j, t->weight[j]);
    for (int64_t c = 0; attn_ref_present(&to->output) && c < r->problem->value.shape[3]; c++)
        attn_ref_store(&to->output, r->at.batch, r->head, query, c, of_output(t, c));
}

static void change_all(change *t) {
    const attn_problem *const p = t->row.problem;
    for (int64_t index = 0; index < attn_ref_sequences(p); index++) {
        const sequence at = attn_ref_sequence(p, index);
        for (int64_t head = 0; head < p->query.shape[1]; head++) {
            for (int64_t i = 0; i < at.n_query; i++) {
                attn_ref_go_to(&t->row, at, head, i);
                change_row(t);
            }
        }
    }
}

attn_status attn_reference_jvp(const attn_problem *problem, const attn_tangents *tangents) {
    const attn_status status = attn_check_jvp(problem, tangents);
    if (status != ATTN_OK) return status;
    const size_t n_key = attn_ref_no_row(problem) ? 0 : (size_t)problem->key.shape[2];
    double *const memory = calloc(n_key + 1, 2 * sizeof *memory);
    change t = {.tangents = tangents, .z = memory};
    const bool made = attn_ref_make_row(&t.row, problem) && memory != NULL;
    if (made) {
        t.weight = memory + n_key;
        attn_ref_fill(&tangents->output, 0); /* padding, and rows that no sequence owns */
        attn_ref_fill(&tangents->lse, 0);
        attn_ref_fill(&tangents->weights, 0);
        change_all(&t);
    }
    attn_ref_free_row(&t.row);
    free(memory);
    if (made) return ATTN_OK;
    return attn_fail(ATTN_ERROR_MEMORY, "no memory for a row of %lld keys",
                     (long long)problem->key.shape[2]);
}

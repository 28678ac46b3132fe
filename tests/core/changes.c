/* changes.c: see changes.h. */
#include "changes.h"

#include <stdlib.h>

#include "sample.h"

attn_tensor *input_change(attn_tangents *t, int k) {
    attn_tensor *const all[CHANGED_INPUTS] = {&t->query, &t->key, &t->value, &t->bias};
    return all[k];
}

attn_tensor *result_change(attn_tangents *t, int k) {
    attn_tensor *const all[CHANGED_RESULTS] = {&t->output, &t->lse, &t->weights};
    return all[k];
}

const char *const result_change_names[CHANGED_RESULTS] = {"t_output", "t_lse", "t_weights"};

void run_jvp(attn_context *context, const attn_problem *p, const attn_tangents *t,
             const char *text) {
    if (attn_jvp(context, p, t) != ATTN_OK) fail_msg("%s\n%s", text, attn_error_message());
}

static void make_tangents(changes *t, unsigned with) {
    sample *const s = &t->s;
    const attn_problem *const p = &s->problem;
    stream from = {.seed = s->spec.seed + 300};
    const attn_tensor *const inputs[CHANGED_INPUTS] = {&p->query, &p->key, &p->value,
                                                       &p->score.bias};
    for (int k = 0; k < CHANGED_INPUTS; k++) {
        if (!(with >> k & 1) || inputs[k]->data == NULL) continue;
        attn_tensor *const x = input_change(&t->given, k);
        *x = sample_tensor(s, s->spec.dtype, inputs[k]->shape, false, &from);
        fill_normal(x, s->spec.seed + 40 + (uint64_t)k, 1);
    }
    s->first_result = s->used;
    const int64_t *const q = p->query.shape;
    const int64_t last[CHANGED_RESULTS] = {p->value.shape[3], 1, sample_columns(s, &from)};
    for (int k = 0; k < CHANGED_RESULTS; k++) {
        const int64_t shape[4] = {q[0], q[1], q[2], last[k]};
        *result_change(&t->given, k) = sample_tensor(s, s->spec.dtype, shape, true, &from);
    }
}

void changes_make(changes *t, const target *on, const spec *what, unsigned with) {
    *t = (changes){0};
    sample_make(&t->s, what);
    make_tangents(t, with);
    if (attn_forward(on->context, &t->s.problem) != ATTN_OK) fail_msg("%s", attn_error_message());
}

void changes_ask_oracle(changes *t) {
    oracle_make(&t->o, &t->s);
    for (int k = 0; k < CHANGED_INPUTS + CHANGED_RESULTS; k++) {
        attn_tensor *const of = k < CHANGED_INPUTS ? input_change(&t->given, k)
                                                   : result_change(&t->given, k - CHANGED_INPUTS);
        attn_tensor *const to = k < CHANGED_INPUTS ? input_change(&t->exact, k)
                                                   : result_change(&t->exact, k - CHANGED_INPUTS);
        if (of->data == NULL) continue;
        *to = tensor_copy(of, ATTN_F64);
        t->owned[k] = to->data;
    }
    attn_problem p = t->o.problem;
    p.output = p.lse = p.weights = (attn_tensor){0};
    p.views = NULL;
    if (attn_reference_jvp(&p, &t->exact) != ATTN_OK) fail_msg("%s", attn_error_message());
}

void changes_free(changes *t) {
    for (int k = 0; k < CHANGED_INPUTS + CHANGED_RESULTS; k++) free(t->owned[k]);
    oracle_free(&t->o);
    sample_free(&t->s);
}

spec plain_changes(uint64_t seed) {
    return (spec){.seed = seed,
                  .dtype = seed % 2 ? ATTN_F64 : ATTN_F32,
                  .batch = 1,
                  .heads = 2,
                  .kv_heads = 1,
                  .n_query = 17,
                  .n_key = 33,
                  .d = 12,
                  .d_value = 10};
}

/* reference_mask.c: whom a query may attend to. */
#include "attention/reference.h"

#include <math.h>

/* left and right of the window: distances, so that no limit is too large to be added to p. */
static bool within(const attn_window *w, int64_t ahead) {
    if (!w->enabled) return true;
    return (w->left < 0 || ahead >= -w->left) && (w->right < 0 || ahead <= w->right);
}

static bool same_document(const row *r, int64_t j) {
    const attn_problem *const p = r->problem;
    if (p->mask.query_documents == NULL) return true;
    const int64_t query = r->at.batch * p->query.shape[2] + r->at.first_query + r->i;
    const int64_t key = r->at.batch * p->key.shape[2] + r->at.first_key + j;
    return p->mask.query_documents[query] == p->mask.key_documents[key];
}

static bool is_local(const row *r, int64_t j) {
    const attn_local *const local = r->problem->normalizer.local;
    return local == NULL || fabs(attn_ref_off_center(r, j)) <= local->half_width;
}

/* Whether every rule lets this query see key j. */
static bool may_attend(const row *r, int64_t j) {
    const attn_mask *const m = &r->problem->mask;
    const attn_tensor *const bias = &r->problem->score.bias;
    const int64_t ahead = j - r->p;
    const int64_t prefix = m->prefix_lengths != NULL ? m->prefix_lengths[r->at.index] : 0;

    if (m->causal && ahead > 0 && j >= prefix) return false;
    if (!within(&m->window, ahead)) return false;
    if (!same_document(r, j)) return false;
    if (!is_local(r, j)) return false;
    if (attn_ref_present(&m->allowed) &&
        attn_ref_load(&m->allowed, r->at.index, r->head, r->i, j) == 0)
        return false;
    return !(attn_ref_present(bias) &&
             attn_ref_load(bias, r->at.index, r->head, r->i, j) == -INFINITY);
}

/* The caller's own mask sees zeros, and hides what it sets to -infinity. */
static void ask_caller(const row *r) {
    const attn_mask *const m = &r->problem->mask;
    double *const marks = r->score; /* not in use yet */
    for (int64_t j = 0; j < r->at.n_key; j++) marks[j] = 0;
    attn_ref_call(r, m->callback, m->callback_user, marks);
    for (int64_t j = 0; j < r->at.n_key; j++) {
        if (marks[j] == -INFINITY) r->visible[j] = false;
    }
}

void attn_ref_mask(const row *r) {
    for (int64_t j = 0; j < r->at.n_key; j++) r->visible[j] = may_attend(r, j);
    if (r->problem->mask.callback != NULL) ask_caller(r);
}

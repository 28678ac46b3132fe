/* views.c: which views there are, and what they hold where no task writes. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "api/check.h"
#include "observe/parts.h"

/* Every view, and what it holds for a query (or key) of which nothing is known. Those as large as the
 * weights are cleared row by row, in parallel. */
static const struct {
    size_t place;
    double nothing;
    bool large;
} all_views[] = {
#define VIEW(name) offsetof(attn_views, name)
    {VIEW(weights), 0, true},
    {VIEW(received_sum), 0, false},
    {VIEW(received_mean), 0, false},
    {VIEW(received_max), 0, false},
    {VIEW(window_sum), 0, false},
    {VIEW(top_weights), 0, false},
    {VIEW(top_keys), -1, false},
    {VIEW(argmax), -1, false},
    {VIEW(entropy), 0, false},
    {VIEW(span), 1, false},
    {VIEW(distance), 0, false},
    {VIEW(max_logit), (double)-INFINITY, false},
    {VIEW(block_sums), 0, false},
    {VIEW(head_mean), 0, true},
    {VIEW(path), -1, false},
    {VIEW(head_statistics), 0, false},
    {VIEW(raw_scores), 0, true},
    {VIEW(capped_scores), 0, true},
    {VIEW(scores), (double)-INFINITY, true},
#undef VIEW
};

enum { ALL_VIEWS = sizeof all_views / sizeof *all_views };

static const attn_tensor *view_at(const attn_views *v, int i) {
    return (const attn_tensor *)(const void *)((const char *)v + all_views[i].place);
}

bool attn_any_view(const attn_views *v) {
    for (int i = 0; i < ALL_VIEWS; i++)
        if (attn_has(view_at(v, i))) return true;
    return v->observer != NULL;
}

void attn_set_integer(const attn_tensor *t, void *at, int64_t value) {
    if (t->dtype == ATTN_I32) *(int32_t *)at = (int32_t)value;
    else *(int64_t *)at = value;
}

/* A row of any type; narrow types are filled with zeros alone. */
static void fill_row(const attn_worker *w, const attn_tensor *t, void *row, double value) {
    const size_t size = attn_dtype_size(t->dtype);
    const bool integer = t->dtype == ATTN_I32 || t->dtype == ATTN_I64;
    if (t->dtype == w->problem->query.dtype) {
        w->tiles->fill(row, t->stride[3], t->shape[3], value);
        return;
    }
    if (!integer && t->stride[3] == 1) {
        memset(row, 0, (size_t)t->shape[3] * size);
        return;
    }
    for (int64_t i = 0; i < t->shape[3]; i++) {
        char *const at = (char *)row + i * t->stride[3] * (int64_t)size;
        if (integer) attn_set_integer(t, at, (int64_t)value);
        else memset(at, 0, size);
    }
}

static void fill_rows(const attn_worker *w, const attn_tensor *t, int64_t b, int64_t h,
                      int64_t first, int64_t last, double value) {
    const int size = (int)attn_dtype_size(t->dtype);
    for (int64_t i = first; i < last; i++) fill_row(w, t, attn_at(t, size, b, h, i, 0), value);
}

bool attn_is_sliced(const attn_views *v) {
    return v->rows != NULL || v->row_count > 0;
}

void attn_begin_views(attn_worker *w) {
    const attn_views *const v = w->plan->views;
    for (int i = 0; i < ALL_VIEWS && w->problem->views; i++) {
        const attn_tensor *const t = view_at(v, i);
        const bool sliced = t == &v->weights && attn_is_sliced(v);
        const bool large = all_views[i].large && !sliced && w->plan->chosen > 0;
        if (!attn_has(t) || large) continue;
        for (int64_t b = 0; b < t->shape[0]; b++)
            for (int64_t h = 0; h < t->shape[1]; h++)
                fill_rows(w, t, b, h, 0, t->shape[2], all_views[i].nothing);
    }
}

/* The weights are written whole by those who do not narrow them. */
bool attn_stores_directly(const attn_worker *w) {
    const attn_views *const v = w->plan->views;
    return attn_has(&v->weights) && !attn_is_sliced(v) &&
           v->weights.dtype == w->problem->query.dtype;
}

/* `last`: also what tasks write, who clear what is left of their rows themselves. */
static void clear_large(const attn_worker *w, int64_t batch, int64_t head, int64_t first,
                        int64_t last, bool direct) {
    const attn_views *const v = w->plan->views;
    const int64_t chosen = w->problem->views ? attn_plan_chosen(w->plan, head) : -1;
    const attn_tensor *const per_head[] = {&v->raw_scores, &v->capped_scores, &v->scores};
    if (chosen < 0) return;
    if (attn_has(&v->weights) && !attn_is_sliced(v) && (direct || !attn_stores_directly(w)))
        fill_rows(w, &v->weights, batch, chosen, first, last, 0);
    if (attn_has(&v->head_mean) && chosen == 0)
        fill_rows(w, &v->head_mean, batch, 0, first, last, 0);
    for (int i = 0; i < 3 && direct; i++)
        if (attn_has(per_head[i]))
            fill_rows(w, per_head[i], batch, chosen, first, last,
                      per_head[i] == &v->scores ? (double)-INFINITY : 0);
}

void attn_clear_view_rows(const attn_worker *w, int64_t batch, int64_t head, int64_t query,
                          int64_t count) {
    clear_large(w, batch, head, query, query + count, true);
}

void attn_clear_block_rows(const attn_worker *w, const attn_block *b) {
    const int64_t query = attn_first_row(b);
    for (int g = 0; g < b->heads; g++)
        clear_large(w, b->sequence.batch, b->first_head + g, query, query + b->queries, false);
}

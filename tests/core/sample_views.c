/* sample_views.c: the views of a sample: which there are, and places for those that a spec asks. */
#include "sample.h"

#include <stddef.h>

/* What a view has an element for. */
enum shape { WEIGHTS, PER_KEY, PER_RANK, PER_QUERY, PER_BLOCK, PER_PAIR, MEAN, PATH, STATISTICS };

static const struct {
    const char *name;
    size_t place;
    enum shape shape;
    bool indices;
} kinds[VIEWS] = {
#define VIEW(field, ...) \
    { "views." #field, offsetof(attn_views, field), __VA_ARGS__ }
    [VIEW_WEIGHTS] = VIEW(weights, WEIGHTS, false),
    [VIEW_RECEIVED_SUM] = VIEW(received_sum, PER_KEY, false),
    [VIEW_RECEIVED_MEAN] = VIEW(received_mean, PER_KEY, false),
    [VIEW_RECEIVED_MAX] = VIEW(received_max, PER_KEY, false),
    [VIEW_WINDOW_SUM] = VIEW(window_sum, PER_KEY, false),
    [VIEW_TOP_WEIGHTS] = VIEW(top_weights, PER_RANK, false),
    [VIEW_TOP_KEYS] = VIEW(top_keys, PER_RANK, true),
    [VIEW_ARGMAX] = VIEW(argmax, PER_QUERY, true),
    [VIEW_ENTROPY] = VIEW(entropy, PER_QUERY, false),
    [VIEW_SPAN] = VIEW(span, PER_QUERY, false),
    [VIEW_DISTANCE] = VIEW(distance, PER_QUERY, false),
    [VIEW_MAX_LOGIT] = VIEW(max_logit, PER_QUERY, false),
    [VIEW_BLOCK_SUMS] = VIEW(block_sums, PER_BLOCK, false),
    [VIEW_HEAD_MEAN] = VIEW(head_mean, MEAN, false),
    [VIEW_PATH] = VIEW(path, PATH, true),
    [VIEW_HEAD_STATISTICS] = VIEW(head_statistics, STATISTICS, false),
    [VIEW_RAW_SCORES] = VIEW(raw_scores, PER_PAIR, false),
    [VIEW_CAPPED_SCORES] = VIEW(capped_scores, PER_PAIR, false),
    [VIEW_SCORES] = VIEW(scores, PER_PAIR, false),
#undef VIEW
};

attn_tensor *view_of(attn_views *v, int view) {
    return (attn_tensor *)(void *)((char *)v + kinds[view].place);
}

const char *view_name(int view) {
    return kinds[view].name;
}

int64_t chosen_head(const attn_views *v, int64_t place) {
    return v->heads != NULL ? v->heads[place] : place;
}

/* Each of 0 .. n-1 with a probability of one half, at most `most` of them. */
static int64_t draw_rising(int64_t *chosen, int64_t n, int64_t most, stream *from) {
    int64_t count = 0;
    for (int64_t k = 0; k < n && count < most; k++) {
        if (draw_one_in(from, 2)) chosen[count++] = k;
    }
    return count;
}

static void choose(sample *s, stream *from) {
    attn_views *const v = &s->views;
    if (s->spec.some_heads) {
        v->heads = s->heads;
        v->head_count = draw_rising(s->heads, s->spec.heads, MAX_HEADS, from);
    }
    if (s->spec.slice == SLICE_LAST) v->row_count = draw(from, 1, MAX_ROWS);
    if (s->spec.slice == SLICE_LISTED) {
        v->rows = s->rows;
        v->row_count = draw_rising(s->rows, longest_slot(s, false) + 2, MAX_ROWS, from);
    }
    v->window_queries = draw(from, 1, s->spec.n_query + 2);
    v->block_queries = draw(from, 1, s->spec.n_query + 2);
    v->block_keys = draw(from, 1, s->spec.n_key + 2);
}

/* The four sizes of a view. */
static void set_shape(const sample *s, enum shape kind, int64_t columns, int64_t ranks,
                      int64_t shape[4]) {
    const attn_views *const v = &s->views;
    const bool of_sequence = kind == PER_KEY || kind == PER_BLOCK || kind == PATH ||
                             kind == STATISTICS || (kind == WEIGHTS && s->spec.slice != SLICE_NONE);
    const int64_t queries = longest_slot(s, false);
    shape[0] = of_sequence ? s->sequences : s->spec.batch;
    shape[1] = kind == MEAN || kind == PATH ? 1 : v->heads != NULL ? v->head_count : s->spec.heads;
    shape[2] = kind == PER_KEY || kind == STATISTICS ? 1
               : kind == PATH                        ? queries
               : kind == PER_BLOCK ? (queries + v->block_queries - 1) / v->block_queries
               : of_sequence       ? v->row_count
                                   : s->spec.n_query;
    shape[3] = kind == PER_RANK     ? ranks
               : kind == PER_QUERY  ? 1
               : kind == PER_BLOCK  ? (columns + v->block_keys - 1) / v->block_keys
               : kind == PATH       ? 2
               : kind == STATISTICS ? ATTN_HEAD_STATISTICS
                                    : columns;
}

void sample_make_views(sample *s, stream *from) {
    const int64_t ranks = draw_one_in(from, 4) ? 1 : draw(from, 1, 12);
    choose(s, from);
    for (int view = 0; view < VIEWS; view++) {
        int64_t shape[4];
        const bool wide = draw_one_in(from, 2);
        if ((s->spec.views & 1u << view) == 0) continue;
        set_shape(s, kinds[view].shape, sample_columns(s, from), ranks, shape);
        const attn_dtype dtype = kinds[view].indices ? (wide ? ATTN_I64 : ATTN_I32)
                                 : view == VIEW_WEIGHTS && s->spec.view_dtype ? s->spec.view_dtype
                                                                              : s->spec.dtype;
        *view_of(&s->views, view) = sample_tensor(s, dtype, shape, true, from);
    }
    s->problem.views = &s->views;
}

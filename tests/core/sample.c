/* sample.c: makes the problem that a spec describes. */
#include "sample.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Strides for axes nested in the given order, innermost last, with up to `gap` elements between. */
static void nest_axes(attn_tensor *t, const int order[4], stream *from, int64_t gap) {
    int64_t step = 1;
    for (int k = 3; k >= 0; k--) {
        t->stride[order[k]] = step;
        step = step * (t->shape[order[k]] > 0 ? t->shape[order[k]] : 1) + draw(from, 0, gap);
    }
}

/* Any nesting, gaps and signs; for inputs also any axis folded onto one element. */
static void scramble_axes(attn_tensor *t, bool result, stream *from) {
    int order[4] = {0, 1, 2, 3};
    for (int k = 3; k > 0; k--) {
        const int other = (int)draw(from, 0, k);
        const int swap = order[k];
        order[k] = order[other];
        order[other] = swap;
    }
    nest_axes(t, order, from, 5);
    for (int k = 0; k < 4; k++) {
        if (draw_one_in(from, 3)) t->stride[k] = -t->stride[k];
        if (!result && draw_one_in(from, 10)) t->stride[k] = 0;
    }
}

/* Gives t, whose dtype and shape are set, strides and guarded memory just as long as it needs. */
static void place(sample *s, attn_tensor *t, bool result, layout how, stream *from) {
    static const int rows[4] = {0, 2, 1, 3};
    static const int dense[4] = {0, 1, 2, 3};
    if (how == LAYOUT_ANY) {
        scramble_axes(t, result, from);
    } else {
        nest_axes(t, how == LAYOUT_ROWS ? rows : dense, from, how == LAYOUT_ROWS ? 3 : 0);
        if (how == LAYOUT_ROWS) t->stride[3] = 1;
    }
    int64_t below = 0, above = 0;
    for (int k = 0; k < 4; k++) {
        const int64_t reach = (t->shape[k] - 1) * t->stride[k];
        if (t->shape[k] > 0) *(reach < 0 ? &below : &above) += reach;
    }
    const bool empty = tensor_elements(t) == 0;
    const int64_t elements = empty ? 0 : above - below + 1;
    guarded *const block = &s->blocks[s->used++];
    *block = guarded_make((size_t)elements * dtype_size(t->dtype), s->spec.side);
    t->data = block->memory - (empty ? 0 : below) * (int64_t)dtype_size(t->dtype);
}

attn_tensor sample_tensor(sample *s, attn_dtype dtype, const int64_t shape[4], bool result,
                          stream *from) {
    attn_tensor t = {.dtype = dtype};
    memcpy(t.shape, shape, sizeof t.shape);
    place(s, &t, result, s->spec.layout, from);
    return t;
}

void fill_normal(const attn_tensor *t, uint64_t seed, double spread) {
    uint64_t k = 0;
    for (int64_t x[4] = {0}; index_inside(x, t->shape); index_next(x, t->shape)) {
        set_element(t, x[0], x[1], x[2], x[3], spread * random_normal(seed, k++));
    }
}

/* One in n elements gets x. */
static void sprinkle(const attn_tensor *t, uint64_t seed, uint64_t n, double x) {
    uint64_t k = 0;
    for (int64_t at[4] = {0}; index_inside(at, t->shape); index_next(at, t->shape)) {
        if (random_bits(seed, k++) % n == 0) set_element(t, at[0], at[1], at[2], at[3], x);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Specs
 * ------------------------------------------------------------------------------------------- */

spec random_spec(uint64_t seed, int64_t max_length, int64_t max_width) {
    stream from = {.seed = seed};
    spec what = {.seed = seed};
    what.dtype = draw_one_in(&from, 3) ? ATTN_F64 : ATTN_F32;
    what.batch = draw(&from, 1, 3);
    what.kv_heads = draw(&from, 1, 2);
    what.heads = what.kv_heads * draw(&from, 1, 3);
    what.n_query = draw_one_in(&from, 3) ? draw(&from, 0, 9) : draw(&from, 1, max_length);
    what.n_key = draw_one_in(&from, 6) ? draw(&from, 0, 3) : draw(&from, 1, max_length);
    what.d = draw(&from, 1, draw_one_in(&from, 2) ? 17 : max_width);
    what.d_value = draw(&from, 1, draw_one_in(&from, 2) ? 17 : max_width);
    for (int rule = 0; rule < RULES; rule++) {
        if (draw_one_in(&from, 4)) what.rules |= 1u << rule;
    }
    if (draw_one_in(&from, 4)) what.rules = 0;
    what.results = (unsigned)draw(&from, 1, WANT_ALL);
    what.layout = (layout)draw(&from, 0, LAYOUTS - 1);
    what.side = draw_one_in(&from, 2) ? GUARD_BEFORE : GUARD_AFTER;
    return what;
}

spec any_spec(uint64_t seed, int64_t max_length, int64_t max_width) {
    static const attn_dtype view_dtypes[] = {ATTN_DTYPE_NONE, ATTN_F32, ATTN_F64, ATTN_F16,
                                             ATTN_U8};
    static const double alphas[] = {0, 1.25, 2, 3, 1.1};
    stream from = {.seed = seed + 77};
    spec what = random_spec(seed, max_length, max_width);
    what.kind = (attn_score_kind)draw(&from, 0, SCORE_KINDS - 1);
    what.normalizer = (attn_normalizer_kind)draw(&from, 0, NORMALIZERS - 1);
    what.alpha = alphas[draw(&from, 0, COUNT(alphas) - 1)];
    for (int term = 0; term < TERMS; term++) {
        if (draw_one_in(&from, 4)) what.terms |= 1u << term;
    }
    for (int view = 0; view < VIEWS; view++) {
        if (draw_one_in(&from, 3)) what.views |= 1u << view;
    }
    what.view_dtype = view_dtypes[draw(&from, 0, COUNT(view_dtypes) - 1)];
    what.slice = (slice)draw(&from, 0, SLICES - 1);
    what.some_heads = draw_one_in(&from, 3);
    return what;
}

bool has_rule(const sample *s, unsigned rules) {
    return (s->spec.rules & rules) != 0;
}

bool has_term(const sample *s, unsigned terms) {
    return (s->spec.terms & terms) != 0;
}

/* starts[0] <= ... <= starts[n] within 0 .. length, with unowned rows before and after */
static void draw_starts(int64_t *starts, int64_t n, int64_t length, stream *from) {
    for (int64_t k = 0; k <= n; k++) {
        const int64_t at = draw(from, 0, length);
        int64_t j = k;
        for (; j > 0 && starts[j - 1] > at; j--) starts[j] = starts[j - 1];
        starts[j] = at;
    }
}

static void make_stretches(sample *s, stream *from) {
    attn_mask *const m = &s->problem.mask;
    const int64_t length[2] = {s->spec.n_query, s->spec.n_key};
    s->sequences = has_rule(s, RULE_PACKED) ? draw(from, 0, 5) : s->spec.batch;
    if (has_rule(s, RULE_PACKED)) {
        for (int k = 0; k < 2; k++) draw_starts(s->starts[k], s->sequences, length[k], from);
        m->query_starts = s->starts[0];
        m->key_starts = s->starts[1];
        m->sequences = s->sequences;
    }
    for (int64_t q = 0; q < s->sequences; q++) {
        stretch *const e = &s->stretches[q];
        *e = (stretch){.batch = q, .slot_query = length[0], .slot_key = length[1]};
        if (has_rule(s, RULE_PACKED)) {
            e->batch = 0;
            e->first_query = s->starts[0][q];
            e->first_key = s->starts[1][q];
            e->slot_query = s->starts[0][q + 1] - e->first_query;
            e->slot_key = s->starts[1][q + 1] - e->first_key;
        }
        e->n_query = has_rule(s, RULE_QUERY_LENGTHS) ? draw(from, 0, e->slot_query) : e->slot_query;
        e->n_key = has_rule(s, RULE_KEY_LENGTHS) ? draw(from, 0, e->slot_key) : e->slot_key;
        s->lengths[0][q] = e->n_query;
        s->lengths[1][q] = e->n_key;
        s->prefixes[q] = draw(from, 0, e->slot_key);
    }
    if (has_rule(s, RULE_QUERY_LENGTHS)) m->query_lengths = s->lengths[0];
    if (has_rule(s, RULE_KEY_LENGTHS)) m->key_lengths = s->lengths[1];
    if (has_rule(s, RULE_PREFIX)) m->prefix_lengths = s->prefixes;
}

static void make_documents(sample *s, stream *from) {
    const int64_t length[2] = {s->spec.n_query, s->spec.n_key};
    for (int k = 0; k < 2; k++) {
        const int64_t n = s->spec.batch * length[k];
        guarded *const block = &s->blocks[s->used++];
        *block = guarded_make((size_t)n * sizeof(int32_t), s->spec.side);
        s->documents[k] = (int32_t *)(void *)block->memory;
        for (int64_t i = 0; i < n; i++) {
            s->documents[k][i] = (int32_t)(i * 3 / (length[k] + 1) % 3 - draw_one_in(from, 20));
        }
    }
    s->problem.mask.query_documents = s->documents[0];
    s->problem.mask.key_documents = s->documents[1];
}

static void make_mask(sample *s, stream *from) {
    attn_mask *const m = &s->problem.mask;
    m->causal = has_rule(s, RULE_CAUSAL) || has_rule(s, RULE_PREFIX);
    if (has_rule(s, RULE_BOTTOM_RIGHT)) m->alignment = ATTN_ALIGN_BOTTOM_RIGHT;
    if (has_rule(s, RULE_OFFSET)) m->query_offset = draw(from, -s->spec.n_query, s->spec.n_key);
    if (has_rule(s, RULE_WINDOW)) {
        m->window = (attn_window){true, draw(from, -1, s->spec.n_key), draw(from, -1, 20)};
    }
    if (has_rule(s, RULE_DOCUMENTS)) make_documents(s, from);
}

int64_t longest_slot(const sample *s, bool of_keys) {
    int64_t longest = 0;
    for (int64_t q = 0; q < s->sequences; q++) {
        const int64_t slot = of_keys ? s->stretches[q].slot_key : s->stretches[q].slot_query;
        if (slot > longest) longest = slot;
    }
    return longest;
}

/* [sequences, heads, longest query, longest key], each of them 1 now and then. */
static void pair_shape(const sample *s, int64_t shape[4], stream *from) {
    const int64_t full[4] = {s->sequences, s->spec.heads, longest_slot(s, false),
                             longest_slot(s, true)};
    for (int k = 0; k < 4; k++) shape[k] = draw_one_in(from, 3) ? 1 : full[k];
}

static void make_pair_inputs(sample *s, stream *from) {
    const uint64_t seed = s->spec.seed;
    int64_t shape[4];
    if (has_rule(s, RULE_BIAS | RULE_BIAS_MASKS)) {
        pair_shape(s, shape, from);
        s->problem.score.bias = sample_tensor(s, s->spec.dtype, shape, false, from);
        fill_normal(&s->problem.score.bias, seed + 4, 1);
        if (has_rule(s, RULE_BIAS_MASKS)) sprinkle(&s->problem.score.bias, seed + 5, 3, -INFINITY);
    }
    if (has_rule(s, RULE_ALLOWED)) {
        pair_shape(s, shape, from);
        s->problem.mask.allowed = sample_tensor(s, ATTN_BOOL, shape, false, from);
        fill_normal(&s->problem.mask.allowed, seed + 6, 1);
        sprinkle(&s->problem.mask.allowed, seed + 7, 2, 0);
    }
}

static void make_score(sample *s, stream *from) {
    attn_score *const score = &s->problem.score;
    const uint64_t seed = s->spec.seed;
    if (has_rule(s, RULE_SCALE)) score->scale = 0.25 * (double)draw(from, -4, 4);
    if (has_rule(s, RULE_SOFTCAP)) score->softcap = 0.5 * (double)draw(from, 1, 20);
    if (has_rule(s, RULE_ALIBI)) {
        const int64_t shape[4] = {draw_one_in(from, 2) ? 1 : s->sequences, s->spec.heads, 1, 1};
        score->alibi_slopes = sample_tensor(s, s->spec.dtype, shape, false, from);
        fill_normal(&score->alibi_slopes, seed + 8, 0.25);
    }
    if (has_rule(s, RULE_SINKS)) {
        const int64_t shape[4] = {s->sequences, draw_one_in(from, 2) ? 1 : s->spec.heads, 1, 1};
        score->sinks = sample_tensor(s, s->spec.dtype, shape, false, from);
        fill_normal(&score->sinks, seed + 9, 2);
        sprinkle(&score->sinks, seed + 10, 5, -INFINITY);
    }
}

int64_t sample_columns(const sample *s, stream *from) {
    if (!has_rule(s, RULE_PACKED)) return s->spec.n_key;
    return longest_slot(s, true) + draw(from, 0, 3);
}

static void make_results(sample *s, stream *from) {
    attn_problem *const p = &s->problem;
    const spec *const w = &s->spec;
    const int64_t last[3] = {w->d_value, 1, sample_columns(s, from)};
    attn_tensor *const results[3] = {&p->output, &p->lse, &p->weights};
    s->first_result = s->used;
    for (int k = 0; k < 3; k++) {
        const int64_t shape[4] = {w->batch, w->heads, w->n_query, last[k]};
        if ((w->results & (1u << k)) == 0) continue;
        *results[k] = sample_tensor(s, w->dtype, shape, true, from);
    }
}

/* What cannot go together, or is the same said twice. */
static void settle(spec *what) {
    if (what->rules & RULE_PACKED) what->batch = 1;
    if (what->normalizer != ATTN_SOFTMAX) what->rules &= ~(unsigned)RULE_SINKS;
    if (what->normalizer > ATTN_SOFTMAX_ONE) what->results &= ~(unsigned)WANT_LSE;
}

void sample_make(sample *s, const spec *what) {
    *s = (sample){.spec = *what};
    settle(&s->spec);
    const spec *const w = &s->spec;
    const double spread = w->spread > 0 ? w->spread : 1;
    stream from = {.seed = w->seed + 1000};
    const bool two_widths = w->kind == ATTN_SCORE_GENERAL || w->kind == ATTN_SCORE_CONCAT;
    const int64_t d_key = two_widths ? draw(&from, 1, w->d + 5) : w->d;

    make_stretches(s, &from);
    make_mask(s, &from);
    s->problem.query = sample_tensor(
        s, w->dtype, (const int64_t[4]){w->batch, w->heads, w->n_query, w->d}, false, &from);
    s->problem.key = sample_tensor(
        s, w->dtype, (const int64_t[4]){w->batch, w->kv_heads, w->n_key, d_key}, false, &from);
    s->problem.value = sample_tensor(
        s, w->dtype, (const int64_t[4]){w->batch, w->kv_heads, w->n_key, w->d_value}, false, &from);
    fill_normal(&s->problem.query, w->seed + 1, spread);
    fill_normal(&s->problem.key, w->seed + 2, spread);
    fill_normal(&s->problem.value, w->seed + 3, 1);
    make_pair_inputs(s, &from);
    make_score(s, &from);
    sample_make_terms(s, &from);
    make_results(s, &from);
    if (w->views != 0) sample_make_views(s, &from);
}

const stretch *stretch_of(const sample *s, int64_t b, int64_t i) {
    for (int64_t q = 0; q < s->sequences; q++) {
        const stretch *const e = &s->stretches[q];
        if (e->batch == b && i >= e->first_query && i < e->first_query + e->n_query) return e;
    }
    return NULL;
}

void sample_free(sample *s) {
    for (int k = 0; k < s->used; k++) guarded_free(&s->blocks[k]);
    s->used = 0;
}

int sample_results(sample *s, named_tensor results[MAX_RESULTS]) {
    attn_problem *const p = &s->problem;
    const named_tensor own[] = {{"output", &p->output}, {"lse", &p->lse}, {"weights", &p->weights}};
    int count = 0;
    for (size_t k = 0; k < COUNT(own); k++) {
        if (own[k].tensor->data != NULL) results[count++] = own[k];
    }
    for (int view = 0; view < VIEWS; view++) {
        attn_tensor *const t = view_of(&s->views, view);
        if (t->data != NULL) results[count++] = (named_tensor){view_name(view), t};
    }
    return count;
}

void sample_poison(sample *s) {
    for (int k = s->first_result; k < s->used; k++)
        memset(s->blocks[k].memory, POISON, s->blocks[k].bytes);
}

void assert_results_untouched(const sample *s) {
    for (int k = s->first_result; k < s->used; k++) {
        if (!guarded_is_poison(&s->blocks[k])) fail_msg("a result was written to");
    }
}

void assert_gaps_untouched(sample *s) {
    named_tensor results[MAX_RESULTS];
    const int count = sample_results(s, results);
    for (int k = 0; k < count; k++) {
        const attn_tensor *const t = results[k].tensor;
        for (int64_t x[4] = {0}; index_inside(x, t->shape); index_next(x, t->shape)) {
            memset(element_address(t, x), POISON, dtype_size(t->dtype));
        }
    }
    for (int k = s->first_result; k < s->used; k++) {
        if (!guarded_is_poison(&s->blocks[k]))
            fail_msg("memory between the elements of a result was written to");
    }
}

const char *sample_text(const sample *s, attn_isa isa) {
    static char text[512];
    const spec *const w = &s->spec;
    snprintf(
        text, sizeof text,
        "%s %s seed %" PRIu64 ": batch %" PRId64 " heads %" PRId64 "/%" PRId64 " queries %" PRId64
        " keys %" PRId64 " d %" PRId64 " d_value %" PRId64
        " rules 0x%x results %u layout %d score %d normalizer %d alpha %g terms 0x%x views 0x%x "
        "view dtype %d slice %d",
        attn_isa_name(isa), w->dtype == ATTN_F32 ? "f32" : "f64", w->seed, w->batch, w->heads,
        w->kv_heads, w->n_query, w->n_key, w->d, w->d_value, w->rules, w->results, (int)w->layout,
        (int)w->kind, (int)w->normalizer, w->alpha, w->terms, w->views, (int)w->view_dtype,
        (int)w->slice);
    return text;
}

/* test_hidden.c: what is hidden does not count, whatever its bits.
 *
 * A random problem of every kind is asked of the reference which pairs it shows. Whatever no such pair
 * reaches, in any input, is then overwritten with NaN, infinities and the greatest numbers, and every
 * result, view, gradient and tangent must keep its bits. What a pair reaches is a box of each input's
 * elements, said once in the table below; what inputs share an address with a box is reached too. */
#include "changes.h"
#include "sample.h"
#include "sample_gradients.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------
 * What a pair reaches
 * ------------------------------------------------------------------------------------------- */

/* One pair, or, with key -1, a row that need not see anything. */
typedef struct pair {
    const attn_problem *problem;
    int64_t sequence, batch, head, kv_head,
        place;                /* place: among the views' heads; -1: not there */
    int64_t i, j, query, key; /* in the sequence; in the batch's row */
    int64_t apart;            /* from the query's position to the key */
    int64_t keys;             /* of the sequence */
} pair;

/* Elements from first to last of each axis; ALL: every one. Axes of size 1 have one for all. */
typedef struct box {
    int64_t first[4], last[4];
} box;

enum { ALL = -2 };

static box places(int64_t b, int64_t h, int64_t i, int64_t j) {
    return (box){{b, h, i, j}, {b, h, i, j}};
}

static box of_query(const pair *p) {
    return places(p->batch, p->head, p->query, ALL);
}
static box of_key(const pair *p) {
    return places(p->batch, p->kv_head, p->key, ALL);
}
static box of_pair(const pair *p) {
    return places(p->sequence, p->head, p->i, p->j);
}
static box of_weight(const pair *p) {
    return places(p->batch, p->head, p->query, p->j);
}
static box of_head(const pair *p) {
    return places(p->sequence, p->head, ALL, ALL);
}
static box of_parameter(const pair *p) {
    return places(0, p->head, p->problem->score.kind == ATTN_SCORE_LOCATION ? p->j : ALL, ALL);
}
static box of_received(const pair *p) {
    return places(p->sequence, p->place, 0, p->j);
}
static box of_entropy(const pair *p) {
    return places(p->batch, p->place, p->query, 0);
}

static int64_t entry(const pair *p, const attn_tensor *t, int axis) {
    return relative_entry(p->problem->score.relative, t->shape[axis], p->apart);
}
static box of_bias_entry(const pair *p) {
    return places(0, p->head, 0, entry(p, &p->problem->score.relative->bias, 3));
}
static box of_keys_entry(const pair *p) {
    return places(0, p->head, entry(p, &p->problem->score.relative->keys, 2), ALL);
}
static box of_queries_entry(const pair *p) {
    return places(0, p->head, entry(p, &p->problem->score.relative->queries, 2), ALL);
}
static box of_values_entry(const pair *p) {
    return places(0, p->head, entry(p, &p->problem->score.relative->values, 2), ALL);
}

/* What the filters see around a key: nothing beyond the sequence. */
static box of_window(const pair *p) {
    const int64_t half = p->problem->score.location->filters.shape[3] / 2;
    box x = of_pair(p);
    x.first[3] = p->j < half ? 0 : p->j - half;
    x.last[3] = p->j + half < p->keys ? p->j + half : p->keys - 1;
    return x;
}

/* How an input is: a row that sees nothing reaches as much as a pair; all of it must be finite. */
enum { OF_ROWS = 1, FINITE = 2 };

/* Where an input is, and what of it a pair reaches. */
typedef struct input {
    const char *name;
    const attn_tensor *tensor;
    box (*reached_by)(const pair *p);
    int how;
} input;

enum { MAX_INPUTS = 32 };

typedef struct inputs {
    input all[MAX_INPUTS];
    unsigned char *reached[MAX_INPUTS]; /* by distance in bytes from the block's beginning */
    const guarded *block[MAX_INPUTS];
    int count;
} inputs;

static void add_input(inputs *to, const guarded *blocks, int used, const input *of) {
    const attn_tensor *const t = of->tensor;
    if (t->data == NULL || tensor_elements(t) == 0) return;
    const unsigned char *const begin = element_address(t, (const int64_t[4]){0});
    for (int k = 0; k < used; k++) {
        const guarded *const g = &blocks[k];
        if (begin < g->memory || begin >= g->memory + g->bytes) continue;
        to->all[to->count] = *of;
        to->block[to->count] = g;
        to->reached[to->count] = calloc(g->bytes, 1);
        assert_non_null(to->reached[to->count]);
        to->count++;
        return;
    }
    fail_msg("%s lies in no block", of->name);
}

static void add_inputs(inputs *to, const sample *s) {
    const attn_problem *const p = &s->problem;
    const attn_score *const c = &p->score;
    const input all[] = {
        {"query", &p->query, of_query, 0},
        {"key", &p->key, of_key, 0},
        {"value", &p->value, of_key, 0},
        {"bias", &c->bias, of_pair, 0},
        {"alibi_slopes", &c->alibi_slopes, of_head, FINITE},
        {"sinks", &c->sinks, of_head, OF_ROWS | FINITE},
        {"scales", &c->scales, of_head, FINITE},
        {"weight", &c->weight, of_parameter, 0},
        {"projection", &c->projection, of_head, 0},
        {"offset", &c->offset, of_head, 0},
        {"relative.bias", &s->relative.bias, of_bias_entry, 0},
        {"relative.keys", &s->relative.keys, of_keys_entry, 0},
        {"relative.queries", &s->relative.queries, of_queries_entry, 0},
        {"relative.values", &s->relative.values, of_values_entry, 0},
        {"content_bias", &s->relative.content_bias, of_head, 0},
        {"position_bias", &s->relative.position_bias, of_head, 0},
        {"previous", &s->location.previous, of_window, FINITE},
        {"filters", &s->location.filters, of_head, 0},
        {"location.projection", &s->location.projection, of_head, 0},
        {"centers", &s->local.centers, of_query, OF_ROWS | FINITE},
    };
    for (size_t k = 0; k < COUNT(all); k++) add_input(to, s->blocks, s->used, &all[k]);
}

/* Of a row that sees nothing a sink's logit is the log-sum-exp. */
static void add_flows(inputs *to, const sample *s, const gradients *g) {
    const input all[] = {
        {"from.output", &g->from.output, of_query, 0},
        {"from.lse", &g->from.lse, of_query, s->problem.score.sinks.data ? OF_ROWS : 0},
        {"from.weights", &g->from.weights, of_weight, 0},
        {"from.received_sum", &g->from.received_sum, of_received, 0},
        {"from.entropy", &g->from.entropy, of_entropy, 0},
    };
    for (size_t k = 0; k < COUNT(all); k++) add_input(to, g->room.blocks, g->room.used, &all[k]);
}

static void add_tangents(inputs *to, const changes *c) {
    const input all[] = {
        {"t_query", &c->given.query, of_query, 0},
        {"t_key", &c->given.key, of_key, 0},
        {"t_value", &c->given.value, of_key, 0},
        {"t_bias", &c->given.bias, of_pair, 0},
    };
    for (size_t k = 0; k < COUNT(all); k++) add_input(to, c->s.blocks, c->s.used, &all[k]);
}

static void free_inputs(inputs *x) {
    for (int k = 0; k < x->count; k++) free(x->reached[k]);
}

/* ---------------------------------------------------------------------------------------------
 * Marking
 * ------------------------------------------------------------------------------------------- */

static unsigned char *mark_of(const inputs *x, int k, const int64_t index[4]) {
    return x->reached[k] + (element_address(x->all[k].tensor, index) - x->block[k]->memory);
}

static void mark_box(const inputs *x, int k, box b) {
    const attn_tensor *const t = x->all[k].tensor;
    int64_t i[4];
    for (int axis = 0; axis < 4; axis++) {
        const bool all = b.first[axis] == ALL;
        if (all || t->shape[axis] == 1) b.first[axis] = 0;
        if (all || t->shape[axis] == 1) b.last[axis] = all ? t->shape[axis] - 1 : 0;
    }
    for (i[0] = b.first[0]; i[0] <= b.last[0]; i[0]++)
        for (i[1] = b.first[1]; i[1] <= b.last[1]; i[1]++)
            for (i[2] = b.first[2]; i[2] <= b.last[2]; i[2]++)
                for (i[3] = b.first[3]; i[3] <= b.last[3]; i[3]++) *mark_of(x, k, i) = 1;
}

static void mark(const inputs *x, const pair *p) {
    for (int k = 0; k < x->count; k++) {
        const input *const in = &x->all[k];
        const bool of_view = in->reached_by == of_received || in->reached_by == of_entropy;
        if ((p->key < 0 && !(in->how & OF_ROWS)) || (of_view && p->place < 0)) continue;
        mark_box(x, k, in->reached_by(p));
    }
}

static int64_t place_of(const sample *s, int64_t head) {
    const attn_views *const v = s->problem.views;
    if (v == NULL || v->heads == NULL) return head;
    for (int64_t place = 0; place < v->head_count; place++)
        if (v->heads[place] == head) return place;
    return -1;
}

/* The scores of all pairs, as the reference makes them: -infinity where nothing is shown. */
static attn_tensor find_scores(const sample *s) {
    const spec *const w = &s->spec;
    const int64_t columns = longest_slot(s, true);
    attn_problem p = s->problem;
    const size_t count = (size_t)(w->batch * w->heads * w->n_query * columns);
    double *const room = calloc(count + 1, sizeof *room);
    attn_tensor t = attn_tensor_dense(room, w->dtype, w->batch, w->heads, w->n_query, columns);
    attn_views v = {.scores = t};
    assert_non_null(room);
    p.output = p.lse = p.weights = (attn_tensor){0};
    p.views = &v;
    if (attn_reference_forward(&p) != ATTN_OK) fail_msg("%s", attn_error_message());
    return t;
}

/* Marks what all rows and pairs reach. */
static void mark_all(const inputs *x, const sample *s) {
    const attn_tensor scores = find_scores(s);
    for (int64_t q = 0; q < s->sequences; q++) {
        const stretch *const e = &s->stretches[q];
        for (int64_t head = 0; head < s->spec.heads; head++) {
            for (int64_t i = 0; i < e->n_query; i++) {
                pair p = {&s->problem,
                          q,
                          e->batch,
                          head,
                          head / (s->spec.heads / s->spec.kv_heads),
                          place_of(s, head),
                          i,
                          0,
                          e->first_query + i,
                          -1,
                          0,
                          e->n_key};
                mark(x, &p);
                for (p.j = 0; p.j < e->n_key; p.j++) {
                    p.key = e->first_key + p.j;
                    p.apart = p.j - position_of(&s->problem, e, i);
                    if (element(&scores, e->batch, head, p.query, p.j) != -INFINITY) mark(x, &p);
                }
            }
        }
    }
    free(scores.data);
}

/* ---------------------------------------------------------------------------------------------
 * Poison
 * ------------------------------------------------------------------------------------------- */

enum { STYLES = 6 }; /* the five numbers below, alone; and mixed */

static double bad_number(const input *of, uint64_t style, uint64_t k) {
    const double most = of->tensor->dtype == ATTN_F32 ? (double)FLT_MAX : DBL_MAX;
    const double bad[] = {NAN, INFINITY, -INFINITY, k % 2 ? most : -most, k % 2 ? 3 : -3};
    if (of->how & FINITE) return bad[3];
    return bad[style < COUNT(bad) ? style : random_bits(style, k) % COUNT(bad)];
}

/* Overwrites what is not reached; but a bias of -infinity is itself what hides. */
static void spoil(const inputs *x, uint64_t style) {
    uint64_t drawn = 0;
    for (int k = 0; k < x->count; k++) {
        const attn_tensor *const t = x->all[k].tensor;
        const bool bias = strcmp(x->all[k].name, "bias") == 0;
        for (int64_t i[4] = {0}; index_inside(i, t->shape); index_next(i, t->shape)) {
            drawn++;
            if (*mark_of(x, k, i)) continue;
            if (bias && element(t, i[0], i[1], i[2], i[3]) == -INFINITY) continue;
            set_element(t, i[0], i[1], i[2], i[3], bad_number(&x->all[k], style, drawn));
        }
    }
}

/* ---------------------------------------------------------------------------------------------
 * The same bits
 * ------------------------------------------------------------------------------------------- */

typedef struct kept {
    attn_tensor of[64];
    const char *name[64];
    attn_tensor copy[64];
    int count;
} kept;

static void keep(kept *k, const char *name, const attn_tensor *t) {
    if (t->data == NULL) return;
    k->name[k->count] = name;
    k->of[k->count] = *t;
    k->copy[k->count++] = tensor_copy(t, ATTN_DTYPE_NONE);
}

/* But for the sign of a 0: a hidden pair's is that of a product with what it has. */
static void forget_signs_of_zeros(const attn_tensor *t) {
    if (t->dtype != ATTN_F32 && t->dtype != ATTN_F64) return;
    for (int64_t i[4] = {0}; index_inside(i, t->shape); index_next(i, t->shape))
        if (element(t, i[0], i[1], i[2], i[3]) == 0) set_element(t, i[0], i[1], i[2], i[3], 0);
}

static void assert_kept(kept *k, const sample *s, attn_isa isa, const char *call, uint64_t style) {
    for (int n = 0; n < k->count; n++) {
        char text[700];
        (void)snprintf(text, sizeof text, "%s\n%s of %s, style %d", sample_text(s, isa), k->name[n],
                       call, (int)style);
        forget_signs_of_zeros(&k->copy[n]);
        forget_signs_of_zeros(&k->of[n]);
        assert_same_bits(&k->copy[n], &k->of[n], text);
        free(k->copy[n].data);
    }
}

static void keep_results(kept *k, sample *s) {
    named_tensor results[MAX_RESULTS];
    const int count = sample_results(s, results);
    *k = (kept){.count = 0};
    for (int n = 0; n < count; n++) keep(k, results[n].name, results[n].tensor);
}

static void keep_gradients(kept *k, gradients *g) {
    *k = (kept){.count = 0};
    for (int n = 0; n < GRADIENTS; n++) keep(k, gradient_name(n), gradient_of(&g->to, n));
}

static void forward(attn_context *context, sample *s) {
    sample_poison(s);
    const attn_status status =
        context != NULL ? attn_forward(context, &s->problem) : attn_reference_forward(&s->problem);
    if (status != ATTN_OK) fail_msg("%s\n%s", sample_text(s, 0), attn_error_message());
}

/* Without the forward's results, so that what is not reached goes through the forward too. */
static void backward(attn_context *context, const sample *s, gradients *g) {
    attn_problem p = s->problem;
    p.output = p.lse = p.weights = (attn_tensor){0};
    gradients_poison(g);
    const attn_status status = context != NULL ? attn_backward(context, &p, &g->from, &g->to)
                                               : attn_reference_backward(&p, &g->from, &g->to);
    if (status != ATTN_OK) fail_msg("%s\n%s", sample_text(s, 0), attn_error_message());
}

/* context NULL: of the reference. */
static void check_sample(attn_context *context, attn_isa isa, const spec *what, uint64_t style) {
    static const unsigned flows[] = {FROM_OUTPUT, FROM_OUTPUT | FROM_LSE, FROM_ALL};
    sample s;
    gradients g;
    kept results, of_backward;
    inputs x = {.count = 0};
    sample_make(&s, what);
    gradients_make(&g, &s, flows[what->seed % COUNT(flows)], ALL_GRADIENTS);
    add_inputs(&x, &s);
    add_flows(&x, &s, &g);
    mark_all(&x, &s);
    forward(context, &s);
    backward(context, &s, &g);
    keep_results(&results, &s);
    keep_gradients(&of_backward, &g);
    spoil(&x, style);
    forward(context, &s);
    backward(context, &s, &g);
    assert_kept(&results, &s, isa, "forward", style);
    assert_kept(&of_backward, &s, isa, "backward", style);
    free_inputs(&x);
    gradients_free(&g);
    sample_free(&s);
}

/* Sequences of few or no keys, so that heads see nothing, with parameters of their own. */
static void hide_heads(spec *what, uint64_t seed) {
    what->rules |= RULE_KEY_LENGTHS;
    what->terms |= TERM_SCALES | TERM_UNIT_WEIGHT;
    what->n_key = 1 + (int64_t)(seed / 16 % 3);
    if (seed % 16 == 6) what->kind = ATTN_SCORE_ADDITIVE, what->batch = 1;
}

/* Random problems; each of them hides something. Where queries and keys are small, additive scores go by
 * the polynomial, unless something hidden is not. */
static spec hiding(uint64_t seed) {
    static const unsigned hides[] = {RULE_CAUSAL,  RULE_KEY_LENGTHS | RULE_QUERY_LENGTHS,
                                     RULE_ALLOWED, RULE_BIAS_MASKS,
                                     RULE_WINDOW,  RULE_DOCUMENTS};
    spec what = any_spec(seed, seed % 32 == 31 ? 430 : 40, 18);
    what.rules |= hides[seed % COUNT(hides)];
    if (seed % 4 == 0) what.kind = ATTN_SCORE_DOT, what.terms |= RELATIVE_TERMS;
    if (seed % 8 == 2) what.terms |= TERM_LOCATION;
    if (seed % 8 == 2) what.kind = seed % 16 == 2 ? ATTN_SCORE_ADDITIVE : ATTN_SCORE_CONCAT;
    if (seed % 16 == 10) what.spread = 0.02;
    if (seed % 8 == 6) hide_heads(&what, seed);
    if (what.n_key > 100) what.heads = what.kv_heads = 1, what.batch = 1;
    return what;
}

static void what_no_pair_reaches_does_not_count(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(480, 8000); seed++) {
        const spec what = hiding(seed);
        check_sample(on->context, on->isa, &what, seed / 6 % STYLES);
    }
}

/* On one instruction set: it uses none. */
static void nor_in_the_reference(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; on->isa == ATTN_ISA_GENERIC && seed < (uint64_t)grid_size(240, 4000);
         seed++) {
        spec what = hiding(seed);
        if (what.n_key > 100) continue;
        check_sample(NULL, on->isa, &what, seed / 6 % STYLES);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Forward mode
 * ------------------------------------------------------------------------------------------- */

static spec hiding_change(uint64_t seed) {
    spec what = hiding(seed);
    what.kind = ATTN_SCORE_DOT;
    what.normalizer = seed % 2 ? ATTN_SOFTMAX_ONE : ATTN_SOFTMAX;
    what.terms &= JVP_TERMS;
    what.views = 0;
    what.results = seed % 3 == 0 ? WANT_ALL : 0;
    return what;
}

static void nor_in_forward_mode(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(120, 3000); seed++) {
        const spec what = hiding_change(seed);
        changes t;
        kept results = {.count = 0};
        inputs x = {.count = 0};
        changes_make(&t, on, &what, seed % 5 == 0 ? WITH_QUERY | WITH_BIAS : WITH_ALL);
        add_inputs(&x, &t.s);
        add_tangents(&x, &t);
        mark_all(&x, &t.s);
        run_jvp(on->context, &t.s.problem, &t.given, sample_text(&t.s, on->isa));
        for (int k = 0; k < CHANGED_RESULTS; k++)
            keep(&results, result_change_names[k], result_change(&t.given, k));
        spoil(&x, seed / 6 % STYLES);
        run_jvp(on->context, &t.s.problem, &t.given, sample_text(&t.s, on->isa));
        assert_kept(&results, &t.s, on->isa, "jvp", seed / 6 % STYLES);
        free_inputs(&x);
        changes_free(&t);
    }
}

/* ---------------------------------------------------------------------------------------------
 * And what is reached does
 * ------------------------------------------------------------------------------------------- */

static void assert_nan_alike(const attn_tensor *a, const attn_tensor *b, const char *text) {
    if (a->data == NULL) return;
    for (int64_t i[4] = {0}; index_inside(i, a->shape); index_next(i, a->shape)) {
        const double x = element(a, i[0], i[1], i[2], i[3]), y = element(b, i[0], i[1], i[2], i[3]);
        if (isnan(x) != isnan(y)) fail_msg("%s: %g and %g", text, x, y);
    }
}

/* One entry of a table is NaN: of all rows those that have it, as the reference says. Sigmoid, so that
 * a pair's NaN is its own, but for dot products with the entry's NaN. */
static void an_entry_reaches_those_that_have_it(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 48; seed++) {
        spec what = hiding(4 * seed);
        what.normalizer = seed % 2 ? ATTN_SIGMOID : ATTN_SOFTMAX;
        what.terms = RELATIVE_TERMS;
        what.layout = LAYOUT_DENSE;
        what.views = 0, what.results = WANT_ALL;
        sample s, t;
        gradients g, h;
        sample_make(&s, &what);
        sample_make(&t, &what);
        gradients_make(&g, &s, FROM_OUTPUT, ALL_GRADIENTS);
        gradients_make(&h, &t, FROM_OUTPUT, ALL_GRADIENTS);
        attn_relative *const of[] = {&s.relative, &t.relative};
        for (int k = 0; k < 2; k++) {
            const attn_tensor *const tables[] = {&of[k]->values, &of[k]->keys, &of[k]->queries};
            const attn_tensor *const table = tables[seed % 3];
            set_element(table, 0, 0, table->shape[2] / 2, table->shape[3] - 1, NAN);
        }
        forward(on->context, &s);
        forward(NULL, &t);
        backward(on->context, &s, &g);
        backward(NULL, &t, &h);
        assert_nan_alike(&s.problem.output, &t.problem.output, sample_text(&s, on->isa));
        assert_nan_alike(&s.problem.weights, &t.problem.weights, sample_text(&s, on->isa));
        for (int n = GRADIENT_QUERY; n <= GRADIENT_VALUE; n++)
            assert_nan_alike(gradient_of(&g.to, n), gradient_of(&h.to, n),
                             sample_text(&s, on->isa));
        gradients_free(&g), gradients_free(&h);
        sample_free(&s), sample_free(&t);
    }
}

/* Sets scores, and does not look at what they were. */
static void set_scores(void *user, const attn_pairs *pairs) {
    (void)user;
    for (int r = 0; r < pairs->rows; r++)
        for (int c = 0; c < pairs->keys; c++)
            set_pair_element(pairs, r, c, (double)((pairs->key + c) % 5));
}

static void a_callback_shows_nothing_that_a_bias_hides(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = {.seed = seed, .dtype = seed % 2 ? ATTN_F64 : ATTN_F32};
        what.batch = 1, what.heads = 2, what.kv_heads = 1, what.d = 4, what.d_value = 3;
        what.n_query = seed % 4 < 2 ? 3 : 40, what.n_key = 30;
        what.rules = RULE_BIAS_MASKS, what.terms = TERM_SCORE_CALL, what.results = WANT_ALL;
        sample s;
        sample_make(&s, &what);
        s.problem.score.callback = set_scores;
        const attn_tensor *const bias = &s.problem.score.bias, *const w = &s.problem.weights;
        forward(on->context, &s);
        for (int64_t i[4] = {0}; index_inside(i, w->shape); index_next(i, w->shape))
            if (element(bias, 0, i[1], i[2], i[3]) == -INFINITY)
                assert_true(element(w, 0, i[1], i[2], i[3]) == 0);
        sample_free(&s);
    }
}

/* Of one pair, whose gradient of 3e38 * slope, about 6e37, times a weight of 100 is infinite, and times
 * 1e-3 is not: the first row of the projection's gradient is infinite, and the second is finite. */
static void an_infinite_row_of_a_projection_is_alone(void **state) {
    const target *const on = *state;
    static const float x[3] = {0.01F, 0.02F, 0.03F}, one = 1, flow = 3e38F,
                       weight[2] = {100, 1e-3F};
    float projection[12], gradient[12] = {0};
    for (int k = 0; k < 12; k++) projection[k] = 0.1F;
    const attn_problem p = {.query = attn_tensor_f32(x, 1, 1, 1, 3),
                            .key = attn_tensor_f32(x, 1, 1, 1, 3),
                            .value = attn_tensor_f32(&one, 1, 1, 1, 1),
                            .score = {.kind = ATTN_SCORE_CONCAT,
                                      .weight = attn_tensor_f32(weight, 1, 1, 1, 2),
                                      .projection = attn_tensor_f32(projection, 1, 1, 2, 6)},
                            .normalizer = {.kind = ATTN_SIGMOID}};
    const attn_result_gradients from = {.output = attn_tensor_f32(&flow, 1, 1, 1, 1)};
    const attn_input_gradients to = {.projection = attn_tensor_f32(gradient, 1, 1, 2, 6)};
    if (attn_backward(on->context, &p, &from, &to) != ATTN_OK) fail_msg("%s", attn_error_message());
    for (int k = 0; k < 6; k++) assert_true(isinf(gradient[k]) && isfinite(gradient[6 + k]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_pair_reaches_does_not_count),
        cmocka_unit_test(nor_in_the_reference),
        cmocka_unit_test(nor_in_forward_mode),
        cmocka_unit_test(an_entry_reaches_those_that_have_it),
        cmocka_unit_test(a_callback_shows_nothing_that_a_bias_hides),
        cmocka_unit_test(an_infinite_row_of_a_projection_is_alone),
    };
    return run_on_each_isa("hidden", tests, COUNT(tests));
}

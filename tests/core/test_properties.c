/* test_properties.c: what must hold between problems, whatever the formula's details.
 *
 * Two kinds. Where the numbers may differ in the last bits, the result of a transformed problem is
 * held to the reference's result of the plain one, by the bound of oracle.c. Where attn.h promises
 * the same bits (threads, batch, padding, packing, other results), it is the bits that are
 * compared. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64};

static void poison(const attn_tensor *t) {
    for (int64_t x[4] = {0}; t->data && index_inside(x, t->shape); index_next(x, t->shape)) {
        memset(element_address(t, x), POISON, dtype_size(t->dtype));
    }
}

/* Results begin as NaN, so one that is not written cannot pass for one that was left from
 * before. */
static void forward(attn_context *context, const attn_problem *p) {
    attn_views views = p->views != NULL ? *p->views : (attn_views){0};
    poison(&p->output);
    poison(&p->lse);
    poison(&p->weights);
    for (int view = 0; view < VIEWS; view++) poison(view_of(&views, view));
    if (attn_forward(context, p) != ATTN_OK) fail_msg("%s", attn_error_message());
}

/* `count` entries of one axis, from the given one on; the one entry of an axis that broadcasts. */
static attn_tensor part(attn_tensor t, int axis, int64_t from, int64_t count) {
    const int64_t size = (int64_t)dtype_size(t.dtype);
    if (t.data == NULL || from + count > t.shape[axis]) return t;
    t.data = (unsigned char *)t.data + from * t.stride[axis] * size;
    t.shape[axis] = count;
    return t;
}

/* Three heads over one, more keys than a block, more queries than a vector. */
static spec usual(uint64_t seed, attn_dtype dtype) {
    return (spec){.seed = seed,
                  .dtype = dtype,
                  .batch = 2,
                  .heads = 3,
                  .kv_heads = 1,
                  .n_query = seed % 2 ? 45 : 5,
                  .n_key = 131,
                  .d = 12,
                  .d_value = 10,
                  .results = WANT_ALL,
                  .layout = (layout)(seed % LAYOUTS)};
}

/* Calls check on problems of both types, with few queries and with many. */
static void with_each(void **state, unsigned rules, void (*check)(const target *, const spec *)) {
    for (uint64_t k = 0; k < (uint64_t)grid_size(6, 60); k++) {
        spec what = usual(k, dtypes[k / 2 % COUNT(dtypes)]);
        what.rules = rules & (unsigned)random_bits(k, 0);
        check(*state, &what);
    }
}

/* -------------------------------------------------------------------- up to the last bits */

/* Row j of `to` is row order[j] of `from`, along one axis. */
static void permute(const attn_tensor *to, const attn_tensor *from, int axis,
                    const int64_t *order) {
    for (int64_t x[4] = {0}; index_inside(x, to->shape); index_next(x, to->shape)) {
        int64_t y[4] = {x[0], x[1], x[2], x[3]};
        y[axis] = order[x[axis]];
        memcpy(element_address(to, x), element_address(from, y), dtype_size(to->dtype));
    }
}

/* The keys in another order, as long as each value goes along, are the same memory. */
static void check_key_order(const target *on, const spec *what) {
    sample s;
    oracle o;
    int64_t order[256], inverse[256];
    stream from = {.seed = what->seed};
    sample_make(&s, what);
    oracle_make(&o, &s);
    for (int64_t j = 0; j < what->n_key; j++) {
        const int64_t k = draw(&from, 0, j);
        order[j] = j; /* so that order[k] is there if k is j */
        order[j] = order[k];
        order[k] = j;
    }
    for (int64_t j = 0; j < what->n_key; j++) inverse[order[j]] = j;

    attn_problem p = s.problem;
    p.key = tensor_copy(&s.problem.key, ATTN_DTYPE_NONE);
    p.value = tensor_copy(&s.problem.value, ATTN_DTYPE_NONE);
    p.weights = tensor_copy(&s.problem.weights, ATTN_DTYPE_NONE);
    permute(&p.key, &s.problem.key, 2, order);
    permute(&p.value, &s.problem.value, 2, order);
    forward(on->context, &p);
    permute(&s.problem.weights, &p.weights, 3, inverse);
    assert_close(&s, &o, on->isa);

    free(p.key.data), free(p.value.data), free(p.weights.data);
    oracle_free(&o);
    sample_free(&s);
}

static void keys_have_no_order(void **state) {
    with_each(state, RULE_SINKS | RULE_SOFTCAP | RULE_SCALE, check_key_order);
}

/* A constant on every score changes the log-sum-exp by just that, and nothing else. */
static void check_shift(const target *on, const spec *what) {
    const double shift = 2.75;
    const float shift_f32 = 2.75f;
    sample s;
    oracle plain, shifted;
    sample_make(&s, what);
    oracle_make(&plain, &s);
    s.problem.score.bias = what->dtype == ATTN_F32 ? attn_tensor_f32(&shift_f32, 1, 1, 1, 1)
                                                   : attn_tensor_f64(&shift, 1, 1, 1, 1);
    oracle_make(&shifted, &s); /* for the bound; what is expected comes from the plain one */
    memcpy(shifted.problem.output.data, plain.problem.output.data,
           tensor_elements(&plain.problem.output) * sizeof(double));
    memcpy(shifted.problem.weights.data, plain.problem.weights.data,
           tensor_elements(&plain.problem.weights) * sizeof(double));
    double *const lse = shifted.problem.lse.data;
    for (size_t k = 0; k < tensor_elements(&plain.problem.lse); k++) {
        lse[k] = ((const double *)plain.problem.lse.data)[k] + shift;
    }
    forward(on->context, &s.problem);
    assert_close(&s, &shifted, on->isa);
    oracle_free(&plain);
    oracle_free(&shifted);
    sample_free(&s);
}

static void constant_bias_cancels(void **state) {
    with_each(state, RULE_CAUSAL | RULE_WINDOW | RULE_KEY_LENGTHS | RULE_ALIBI, check_shift);
}

/* Under a causal mask the first queries do not know what comes after them. */
static void check_prefix(const target *on, const spec *what) {
    spec square = *what;
    square.n_query = 131;
    square.rules |= RULE_CAUSAL;
    sample s;
    oracle o;
    sample_make(&s, &square);
    oracle_make(&o, &s);
    forward(on->context, &s.problem);
    const int64_t lengths[] = {100, 64, 9, 3};
    for (size_t k = 0; k < COUNT(lengths); k++) {
        attn_problem p = s.problem;
        const int64_t n = lengths[k];
        attn_tensor *const rows[] = {&p.query, &p.key, &p.value, &p.output, &p.lse, &p.weights};
        for (size_t t = 0; t < COUNT(rows); t++) *rows[t] = part(*rows[t], 2, 0, n);
        p.weights = part(p.weights, 3, 0, n);
        forward(on->context, &p); /* over the first rows of the whole's results */
        assert_close(&s, &o, on->isa);
    }
    oracle_free(&o);
    sample_free(&s);
}

static void causal_rows_do_not_know_the_rest(void **state) {
    with_each(state, RULE_ALIBI | RULE_SINKS | RULE_SOFTCAP, check_prefix);
}

/* Queries in pieces, each told by query_offset where it begins. */
static void check_pieces(const target *on, const spec *what) {
    sample s;
    oracle o;
    sample_make(&s, what);
    oracle_make(&o, &s);
    stream from = {.seed = what->seed};
    for (int64_t begin = 0, count; begin < what->n_query; begin += count) {
        count = draw(&from, 1, what->n_query - begin);
        attn_problem p = s.problem;
        attn_tensor *const rows[] = {&p.query,  &p.score.bias, &p.mask.allowed,
                                     &p.output, &p.lse,        &p.weights};
        for (size_t t = 0; t < COUNT(rows); t++) *rows[t] = part(*rows[t], 2, begin, count);
        p.mask.query_offset += begin;
        forward(on->context, &p);
    }
    assert_close(&s, &o, on->isa);
    oracle_free(&o);
    sample_free(&s);
}

static void queries_in_pieces(void **state) {
    with_each(state,
              RULE_CAUSAL | RULE_OFFSET | RULE_WINDOW | RULE_PREFIX | RULE_KEY_LENGTHS |
                  RULE_ALLOWED | RULE_BIAS | RULE_ALIBI | RULE_SINKS,
              check_pieces);
}

/* Two halves of the keys: outputs and log-sum-exps are all it takes to put the whole together.
 * Each half adds the error of its own output and log-sum-exp, so three bounds hold their mix. */
static void check_halves(const target *on, const spec *what) {
    sample s;
    oracle o;
    sample_make(&s, what);
    oracle_make(&o, &s);
    attn_problem half[2] = {s.problem, s.problem};
    for (int k = 0; k < 2; k++) {
        const int64_t from = k == 0 ? 0 : what->n_key / 3;
        const int64_t count = k == 0 ? what->n_key / 3 : what->n_key - what->n_key / 3;
        half[k].key = part(s.problem.key, 2, from, count);
        half[k].value = part(s.problem.value, 2, from, count);
        half[k].score.bias = part(s.problem.score.bias, 3, from, count);
        half[k].mask.allowed = part(s.problem.mask.allowed, 3, from, count);
        half[k].weights = (attn_tensor){0};
        half[k].output = tensor_copy(&s.problem.output, ATTN_DTYPE_NONE);
        half[k].lse = tensor_copy(&s.problem.lse, ATTN_DTYPE_NONE);
        forward(on->context, &half[k]);
    }
    for (int64_t x[4] = {0}; index_inside(x, s.problem.output.shape);
         index_next(x, s.problem.output.shape)) {
        double mixed = 0;
        const double whole = element(&o.problem.lse, x[0], x[1], x[2], 0);
        for (int k = 0; k < 2; k++) {
            const double lse = element(&half[k].lse, x[0], x[1], x[2], 0);
            if (lse == -INFINITY) continue;
            mixed += exp(lse - whole) * element(&half[k].output, x[0], x[1], x[2], x[3]);
        }
        const double bound = 3 * mixed_bound(&s, &o, x);
        const double error = fabs(mixed - element(&o.problem.output, x[0], x[1], x[2], x[3]));
        if (!(error <= bound))
            fail_msg("%s: off by %g, bound %g", sample_text(&s, on->isa), error, bound);
    }
    for (int k = 0; k < 2; k++) free(half[k].output.data), free(half[k].lse.data);
    oracle_free(&o);
    sample_free(&s);
}

static void keys_in_halves(void **state) {
    with_each(state, RULE_ALLOWED | RULE_BIAS | RULE_BIAS_MASKS | RULE_SOFTCAP | RULE_SCALE,
              check_halves);
}

/* --------------------------------------------------------------- weights against the output */

/* A row of weights adds up to 1, or to what the sink leaves; and weights times values are the
 * output. All are made of the same exp, so the scores' own error does not matter: what is left are
 * the additions (n u each way), and the factors by which a growing maximum rescales (u for each
 * unit that a score is below the largest, and a few more). */
static void check_weights(const target *on, const spec *what) {
    sample s;
    sample_make(&s, what);
    forward(on->context, &s.problem);
    const double u = what->dtype == ATTN_F32 ? 0x1p-24 : 0x1p-53;
    const double tiny = what->dtype == ATTN_F32 ? 0x1p-126 : 0x1p-1022; /* less may become 0 */
    const attn_problem *const p = &s.problem;
    for (int64_t x[4] = {0}; index_inside(x, p->output.shape); index_next(x, p->output.shape)) {
        double sum = 0, output = 0, largest = 0, sum_bound = tiny, output_bound = tiny;
        for (int64_t j = 0; j < what->n_key; j++) {
            largest = fmax(largest, element(&p->weights, x[0], x[1], x[2], j));
        }
        for (int64_t j = 0; j < what->n_key; j++) {
            const double w = element(&p->weights, x[0], x[1], x[2], j);
            const double v =
                element(&p->value, x[0], x[1] / (what->heads / what->kv_heads), j, x[3]);
            const double bound =
                w > 0 ? w * u * (2 * (double)what->n_key + 32 + 2 * (log(largest) - log(w))) : 0;
            sum += w, output += w * v;
            sum_bound += bound + tiny, output_bound += (bound + tiny) * fabs(v);
        }
        const bool nothing = element(&p->lse, x[0], x[1], x[2], 0) == -INFINITY;
        assert_true(fabs(sum - (nothing ? 0 : 1)) <= sum_bound);
        assert_true(fabs(output - element(&p->output, x[0], x[1], x[2], x[3])) <= output_bound);
    }
    sample_free(&s);
}

static void weights_add_up(void **state) {
    with_each(state, ALL_RULES & ~(unsigned)(RULE_SINKS | RULE_PACKED), check_weights);
}

/* Scores in the thousands leave the oracle's bound behind, not this one. */
static void check_wide_weights(const target *on, const spec *what) {
    spec wide = *what;
    wide.spread = 60;
    check_weights(on, &wide);
}

static void weights_add_up_for_huge_scores(void **state) {
    with_each(state, RULE_CAUSAL | RULE_ALLOWED, check_wide_weights);
}

/* -------------------------------------------------------------------------- to the last bit */

/* The same, with some score, normalizer and terms beyond the plain ones, and views. */
static void with_anything(void **state, unsigned rules, unsigned terms, unsigned views,
                          void (*check)(const target *, const spec *)) {
    with_each(state, rules, check);
    for (uint64_t k = 0; k < (uint64_t)grid_size(32, 400); k++) {
        const spec any = any_spec(k, 1, 1);
        /* Each kind with few queries and with many, and of both types. */
        spec what = usual(k + k / 8, dtypes[k / 16 % COUNT(dtypes)]);
        what.rules = rules & any.rules;
        what.kind = (attn_score_kind)(k % SCORE_KINDS);
        what.normalizer = (attn_normalizer_kind)(k % NORMALIZERS);
        what.alpha = any.alpha;
        what.terms = terms & any.terms;
        what.views = views & any.views;
        what.view_dtype = any.view_dtype;
        what.slice = any.slice;
        what.some_heads = any.some_heads;
        check(*state, &what);
    }
}

/* What may differ with the place in the batch or the pack: noise, and what callbacks are told. */
enum { PLACELESS = ALL_TERMS & ~(TERM_DROPOUT | TERM_GUMBEL | TERM_SCORE_CALL | TERM_MASK_CALL) };

/* A problem, with what it points to, so that all of it may be changed. */
typedef struct call {
    attn_problem problem;
    attn_views views;
    attn_location location;
    attn_local local;
} call;

static void call_of(call *c, const attn_problem *p) {
    *c = (call){.problem = *p};
    if (p->views != NULL) c->views = *p->views, c->problem.views = &c->views;
    if (p->score.location != NULL)
        c->location = *p->score.location, c->problem.score.location = &c->location;
    if (p->normalizer.local != NULL)
        c->local = *p->normalizer.local, c->problem.normalizer.local = &c->local;
}

static int results_of(call *c, named_tensor results[MAX_RESULTS]) {
    const named_tensor own[] = {
        {"output", &c->problem.output}, {"lse", &c->problem.lse}, {"weights", &c->problem.weights}};
    for (size_t k = 0; k < COUNT(own); k++) results[k] = own[k];
    for (int view = 0; view < VIEWS; view++)
        results[COUNT(own) + (size_t)view] =
            (named_tensor){view_name(view), view_of(&c->views, view)};
    return MAX_RESULTS;
}

static void assert_same_results(const attn_problem *a, const attn_problem *b, const char *text) {
    call of_a, of_b;
    named_tensor in_a[MAX_RESULTS], in_b[MAX_RESULTS];
    call_of(&of_a, a);
    call_of(&of_b, b);
    results_of(&of_a, in_a);
    const int count = results_of(&of_b, in_b);
    for (int k = 0; k < count; k++) {
        char what[640];
        snprintf(what, sizeof what, "%s\n%s", text, in_a[k].name);
        if (in_a[k].tensor->data != NULL) assert_same_bits(in_a[k].tensor, in_b[k].tensor, what);
    }
}

static void with_own_results(call *c, const attn_problem *p) {
    named_tensor results[MAX_RESULTS];
    call_of(c, p);
    const int count = results_of(c, results);
    for (int k = 0; k < count; k++) {
        attn_tensor *const t = results[k].tensor;
        if (t->data != NULL) *t = tensor_copy(t, ATTN_DTYPE_NONE);
    }
}

static void free_results(call *c) {
    named_tensor results[MAX_RESULTS];
    const int count = results_of(c, results);
    for (int k = 0; k < count; k++) free(results[k].tensor->data);
}

static void check_threads(const target *on, const spec *what) {
    static const int threads[] = {2, 3, 7};
    sample s;
    sample_make(&s, what);
    forward(on->context, &s.problem);
    for (size_t k = 0; k < COUNT(threads); k++) {
        attn_context *const context = context_on(on->isa, threads[k]);
        call c;
        with_own_results(&c, &s.problem);
        forward(context, &c.problem);
        assert_same_results(&s.problem, &c.problem, sample_text(&s, on->isa));
        free_results(&c);
        attn_context_destroy(context);
    }
    sample_free(&s);
}

static void same_bits_for_any_threads(void **state) {
    with_anything(state, ALL_RULES, ALL_TERMS, ALL_VIEWS, check_threads);
}

/* Few queries, whose keys are split among threads, and many. */
static void check_long_threads(const target *on, const spec *what) {
    spec longer = *what;
    longer.heads = longer.batch = 1;
    longer.n_key = what->views & 1u << VIEW_PATH ? 1500 : 7001;
    longer.d = longer.d_value = 2;
    check_threads(on, &longer);
}

static void same_bits_for_any_threads_when_long(void **state) {
    with_anything(state, ALL_RULES & ~(unsigned)RULE_PACKED, ALL_TERMS & ~(unsigned)TERM_LOCATION,
                  ALL_VIEWS, check_long_threads);
}

/* Heads that share keys and heads that each have a copy. */
static void check_groups(const target *on, const spec *what) {
    spec grouped = *what;
    grouped.kv_heads = 2;
    grouped.heads = 6;
    sample s;
    sample_make(&s, &grouped);
    forward(on->context, &s.problem);
    call c;
    with_own_results(&c, &s.problem);
    attn_tensor *const inputs[] = {&c.problem.key, &c.problem.value};
    for (size_t k = 0; k < COUNT(inputs); k++) {
        const attn_tensor from = *inputs[k];
        attn_tensor like = from;
        like.shape[1] = 6;
        like.stride[1] = 0; /* any copy of the right shape: each head is overwritten */
        *inputs[k] = tensor_copy(&like, ATTN_DTYPE_NONE);
        permute(inputs[k], &from, 1, (const int64_t[]){0, 0, 0, 1, 1, 1});
    }
    forward(on->context, &c.problem);
    assert_same_results(&s.problem, &c.problem, sample_text(&s, on->isa));
    free(c.problem.key.data), free(c.problem.value.data);
    free_results(&c);
    sample_free(&s);
}

static void same_bits_for_grouped_and_repeated_heads(void **state) {
    with_anything(state, ALL_RULES & ~(unsigned)RULE_PACKED, ALL_TERMS, ALL_VIEWS, check_groups);
}

/* Batch row b of every tensor of a problem that has one, as a problem of its own. */
static void batch_row(call *row, const attn_problem *p, int64_t b) {
    call_of(row, p);
    attn_problem *const q = &row->problem;
    attn_tensor *const all[] = {
        &q->query,          &q->key,          &q->value,        &q->score.bias,
        &q->score.sinks,    &q->output,       &q->lse,          &q->score.alibi_slopes,
        &q->weights,        &q->mask.allowed, &q->score.scales, &row->location.previous,
        &row->local.centers};
    for (size_t k = 0; k < COUNT(all); k++) *all[k] = part(*all[k], 0, b, 1);
    for (int view = 0; view < VIEWS; view++) {
        attn_tensor *const t = view_of(&row->views, view);
        *t = part(*t, 0, b, 1);
    }
    if (p->mask.prefix_lengths) q->mask.prefix_lengths += b;
    if (p->mask.query_lengths) q->mask.query_lengths += b;
    if (p->mask.key_lengths) q->mask.key_lengths += b;
    if (p->mask.query_documents) q->mask.query_documents += b * p->query.shape[2];
    if (p->mask.key_documents) q->mask.key_documents += b * p->key.shape[2];
}

/* Each row of a batch alone. */
static void check_batch(const target *on, const spec *what) {
    spec many = *what;
    many.batch = 4;
    sample s;
    sample_make(&s, &many);
    forward(on->context, &s.problem);
    call alone;
    with_own_results(&alone, &s.problem);
    for (int64_t b = 0; b < many.batch; b++) {
        call row;
        batch_row(&row, &alone.problem, b);
        forward(on->context, &row.problem);
    }
    assert_same_results(&s.problem, &alone.problem, sample_text(&s, on->isa));
    free_results(&alone);
    sample_free(&s);
}

static void same_bits_in_a_batch_and_alone(void **state) {
    with_anything(state, ALL_RULES & ~(unsigned)RULE_PACKED, PLACELESS, ALL_VIEWS, check_batch);
}

/* One sequence of a padded batch, as a problem of just its own rows and columns. */
static void without_padding(call *own, const sample *s, const attn_problem *p, int64_t q) {
    const stretch *const e = &s->stretches[q];
    batch_row(own, p, q);
    attn_problem *const o = &own->problem;
    attn_tensor *const by_query[] = {&o->query,
                                     &o->output,
                                     &o->lse,
                                     &o->weights,
                                     &o->score.bias,
                                     &o->mask.allowed,
                                     &own->location.previous,
                                     &own->local.centers};
    attn_tensor *const by_key[] = {&o->key, &o->value};
    attn_tensor *const by_column[] = {&o->weights, &o->score.bias, &o->mask.allowed,
                                      &own->location.previous};
    for (size_t k = 0; k < COUNT(by_query); k++)
        *by_query[k] = part(*by_query[k], 2, 0, e->n_query);
    for (size_t k = 0; k < COUNT(by_key); k++) *by_key[k] = part(*by_key[k], 2, 0, e->n_key);
    for (size_t k = 0; k < COUNT(by_column); k++)
        *by_column[k] = part(*by_column[k], 3, 0, e->n_key);
    o->mask.query_lengths = o->mask.key_lengths = NULL;
}

/* Keys and values after a sequence's own become NaN. */
static void spoil_padding(const sample *s) {
    for (int64_t q = 0; q < s->sequences; q++) {
        call row;
        batch_row(&row, &s->problem, q);
        const int64_t from = s->stretches[q].n_key, count = s->spec.n_key - from;
        const attn_tensor key = part(row.problem.key, 2, from, count),
                          value = part(row.problem.value, 2, from, count);
        poison(&key);
        poison(&value);
    }
}

/* Padding (of NaN) around a sequence is as good as none. Lengths stay on one side of 8 queries,
 * where attn.h allows the path, and with it the last bits, to change. */
static void check_padding(const target *on, const spec *what) {
    spec padded = *what;
    padded.rules |= RULE_QUERY_LENGTHS | RULE_KEY_LENGTHS;
    padded.batch = 3;
    padded.layout = LAYOUT_ROWS; /* every element has its own memory, so padding can be spoilt */
    sample s;
    sample_make(&s, &padded);
    spoil_padding(&s);
    for (int64_t q = 0; padded.n_query > 8 && q < s.sequences; q++) {
        if (s.lengths[0][q] <= 8) s.lengths[0][q] = s.stretches[q].n_query = 9 + 7 * q;
    }
    forward(on->context, &s.problem);
    call alone;
    with_own_results(&alone, &s.problem);
    for (int64_t q = 0; q < s.sequences; q++) {
        call own;
        without_padding(&own, &s, &alone.problem, q);
        forward(on->context, &own.problem);
    }
    assert_same_results(&s.problem, &alone.problem, sample_text(&s, on->isa));
    free_results(&alone);
    sample_free(&s);
}

static void same_bits_padded_and_alone(void **state) {
    with_anything(state,
                  RULE_CAUSAL | RULE_BOTTOM_RIGHT | RULE_WINDOW | RULE_PREFIX | RULE_ALLOWED |
                      RULE_BIAS | RULE_ALIBI | RULE_SINKS | RULE_SOFTCAP,
                  PLACELESS, 0, check_padding);
}

/* Sequences packed end to end, each as a problem of its own. */
static void check_packed(const target *on, const spec *what) {
    spec packed = *what;
    packed.rules |= RULE_PACKED;
    packed.n_query = what->n_query > 8 ? 160 : 8;
    packed.n_key = 300;
    sample s;
    sample_make(&s, &packed);
    forward(on->context, &s.problem);
    call alone;
    with_own_results(&alone, &s.problem);
    for (int64_t q = 0; q < s.sequences; q++) {
        const stretch *const e = &s.stretches[q];
        if ((packed.n_query > 8) != (e->n_query > 8)) continue; /* another path */
        call row;
        call_of(&row, &alone.problem);
        attn_problem *const own = &row.problem;
        attn_tensor *const by_query[] = {&own->query, &own->output, &own->lse, &own->weights,
                                         &row.local.centers};
        attn_tensor *const by_key[] = {&own->key, &own->value};
        attn_tensor *const by_sequence[] = {&own->score.sinks, &own->score.alibi_slopes,
                                            &own->score.scales, &row.location.previous};
        for (size_t k = 0; k < COUNT(by_query); k++) {
            *by_query[k] = part(*by_query[k], 2, e->first_query, e->n_query);
        }
        for (size_t k = 0; k < COUNT(by_key); k++) {
            *by_key[k] = part(*by_key[k], 2, e->first_key, e->n_key);
        }
        for (size_t k = 0; k < COUNT(by_sequence); k++)
            *by_sequence[k] = part(*by_sequence[k], 0, q, 1);
        row.location.previous = part(row.location.previous, 2, 0, e->n_query);
        row.location.previous = part(row.location.previous, 3, 0, e->n_key);
        own->weights = part(own->weights, 3, 0, e->n_key);
        own->mask.query_starts = own->mask.key_starts = NULL;
        own->mask.sequences = 0;
        forward(on->context, own);
    }
    assert_same_results(&s.problem, &alone.problem, sample_text(&s, on->isa));
    free_results(&alone);
    sample_free(&s);
}

static void same_bits_packed_and_alone(void **state) {
    with_anything(state,
                  RULE_CAUSAL | RULE_BOTTOM_RIGHT | RULE_WINDOW | RULE_ALIBI | RULE_SINKS |
                      RULE_SOFTCAP,
                  PLACELESS, 0, check_packed);
}

/* Every result alone: with none of the others, it is as it was among them. The places of those left
 * out keep what they had. */
static void check_results(const target *on, const spec *what) {
    named_tensor results[MAX_RESULTS];
    sample s;
    sample_make(&s, what);
    forward(on->context, &s.problem);
    call all;
    with_own_results(&all, &s.problem);
    const int count = results_of(&all, results);
    for (int k = 0; k < count; k++) {
        named_tensor some_results[MAX_RESULTS];
        call some;
        if (results[k].tensor->data == NULL) continue;
        call_of(&some, &all.problem);
        results_of(&some, some_results);
        for (int other = 0; other < count; other++) {
            if (other != k) *some_results[other].tensor = (attn_tensor){0};
        }
        forward(on->context, &some.problem);
    }
    assert_same_results(&s.problem, &all.problem, sample_text(&s, on->isa));
    free_results(&all);
    sample_free(&s);
}

static void same_bits_with_and_without_other_results(void **state) {
    with_anything(state, ALL_RULES, ALL_TERMS, ALL_VIEWS, check_results);
}

/* Several blocks of keys: also where the row of weights is long. */
static void check_long_results(const target *on, const spec *what) {
    spec longer = *what;
    longer.heads = 1;
    longer.batch = 1;
    longer.n_key = 2503;
    longer.d = longer.d_value = 2;
    check_results(on, &longer);
}

static void same_bits_with_and_without_other_results_when_long(void **state) {
    with_anything(state, RULE_CAUSAL | RULE_BOTTOM_RIGHT | RULE_ALLOWED,
                  ALL_TERMS & ~(unsigned)TERM_LOCATION, ALL_VIEWS, check_long_results);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_no_order),
        cmocka_unit_test(constant_bias_cancels),
        cmocka_unit_test(causal_rows_do_not_know_the_rest),
        cmocka_unit_test(queries_in_pieces),
        cmocka_unit_test(keys_in_halves),
        cmocka_unit_test(weights_add_up),
        cmocka_unit_test(weights_add_up_for_huge_scores),
        cmocka_unit_test(same_bits_for_any_threads),
        cmocka_unit_test(same_bits_for_any_threads_when_long),
        cmocka_unit_test(same_bits_for_grouped_and_repeated_heads),
        cmocka_unit_test(same_bits_in_a_batch_and_alone),
        cmocka_unit_test(same_bits_padded_and_alone),
        cmocka_unit_test(same_bits_packed_and_alone),
        cmocka_unit_test(same_bits_with_and_without_other_results),
        cmocka_unit_test(same_bits_with_and_without_other_results_when_long),
    };
    return run_on_each_isa("properties", tests, COUNT(tests));
}

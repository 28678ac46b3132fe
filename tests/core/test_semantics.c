/* test_semantics.c: the edges of the formula. What is masked never reaches a result, what is
 * visible does; rows that see nothing; sizes of 0; scores, sinks, windows and offsets as large as
 * they get. */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64};

static void forward(const target *on, const sample *s) {
    if (attn_forward(on->context, &s->problem) != ATTN_OK)
        fail_msg("%s\n%s", sample_text(s, on->isa), attn_error_message());
}

static void compare_with_reference(const target *on, const sample *s) {
    oracle o;
    oracle_make(&o, s);
    forward(on, s);
    assert_close(s, &o, on->isa);
    oracle_free(&o);
}

static spec usual(uint64_t seed) {
    return (spec){.seed = seed,
                  .dtype = dtypes[seed % COUNT(dtypes)],
                  .batch = 2,
                  .heads = 2,
                  .kv_heads = 1,
                  .n_query = seed % 4 < 2 ? 5 : 37,
                  .n_key = 110,
                  .d = 9,
                  .d_value = 18,
                  .results = WANT_ALL,
                  .layout = LAYOUT_ROWS};
}

static void fill(const attn_tensor *t, double x) {
    for (int64_t at[4] = {0}; index_inside(at, t->shape); index_next(at, t->shape)) {
        set_element(t, at[0], at[1], at[2], at[3], x);
    }
}

/* Row i of every head and batch of t. */
static void fill_row(const attn_tensor *t, int64_t i, double x) {
    attn_tensor row = *t;
    row.data = (unsigned char *)row.data + i * row.stride[2] * (int64_t)dtype_size(row.dtype);
    row.shape[2] = 1;
    fill(&row, x);
}

/* -------------------------------------------------------------------- what may reach a result */

typedef struct results {
    attn_tensor output, lse, weights;
} results;

static results keep(const attn_problem *p) {
    return (results){tensor_copy(&p->output, ATTN_DTYPE_NONE),
                     tensor_copy(&p->lse, ATTN_DTYPE_NONE),
                     tensor_copy(&p->weights, ATTN_DTYPE_NONE)};
}

static void forget(results *r) {
    free(r->output.data), free(r->lse.data), free(r->weights.data);
}

static attn_tensor row_of(const attn_tensor *t, int64_t b, int64_t h, int64_t i) {
    attn_tensor row = *t;
    row.data = element_address(t, (const int64_t[4]){b, h, i, 0});
    row.shape[0] = row.shape[1] = row.shape[2] = 1;
    return row;
}

/* Where a bad number was put, and what it does to a row that sees it. */
typedef struct poison {
    const char *name;
    bool in_key, in_value;
    double number;
} poison;

static const poison poisons[] = {
    {"key NaN", true, false, NAN},           {"value NaN", false, true, NAN},
    {"key and value NaN", true, true, NAN},  {"value infinity", false, true, INFINITY},
    {"key infinity", true, false, INFINITY},
};

/* One row after key `bad` of its sequence went bad: as it was, to the bit, if it does not see
 * it. */
static void assert_row(const target *on, const sample *s, const results *clean, const poison *bad,
                       int64_t column, const int64_t at[3]) {
    const attn_problem *const p = &s->problem;
    const bool sees = column >= 0 && element(&clean->weights, at[0], at[1], at[2], column) != 0;
    const attn_tensor *const now[] = {&p->output, &p->lse, &p->weights};
    const attn_tensor *const before[] = {&clean->output, &clean->lse, &clean->weights};
    for (size_t k = 0; k < COUNT(now); k++) {
        const attn_tensor a = row_of(now[k], at[0], at[1], at[2]),
                          b = row_of(before[k], at[0], at[1], at[2]);
        if (!sees || (k > 0 && !bad->in_key)) assert_same_bits(&a, &b, sample_text(s, on->isa));
    }
    for (int64_t c = 0; sees && c < p->output.shape[3]; c++) {
        const double o = element(&p->output, at[0], at[1], at[2], c);
        if (bad->in_key || isnan(bad->number)) assert_true(isnan(o));
        else assert_true(o == bad->number);
    }
    if (!sees || !bad->in_key) return;
    assert_true(isnan(element(&p->lse, at[0], at[1], at[2], 0)));
    for (int64_t j = 0; j < p->weights.shape[3]; j++) {
        const double w = element(&p->weights, at[0], at[1], at[2], j);
        if (element(&clean->weights, at[0], at[1], at[2], j) == 0) assert_true(w == 0);
        else assert_true(isnan(w));
    }
}

/* An infinite key makes scores of +infinity where the query's numbers are positive: make them
 * so. */
static void make_positive(const attn_tensor *t) {
    for (int64_t x[4] = {0}; index_inside(x, t->shape); index_next(x, t->shape)) {
        set_element(t, x[0], x[1], x[2], x[3], fabs(element(t, x[0], x[1], x[2], x[3])));
    }
}

static void check_poison(const target *on, const spec *what, const poison *bad, int64_t key) {
    sample s;
    sample_make(&s, what);
    make_positive(&s.problem.query);
    forward(on, &s);
    results clean = keep(&s.problem);
    if (bad->in_key) fill_row(&s.problem.key, key, bad->number);
    if (bad->in_value) fill_row(&s.problem.value, key, bad->number);
    sample_poison(&s);
    forward(on, &s);
    const int64_t *const shape = s.problem.query.shape;
    for (int64_t x[3] = {0}; x[0] < shape[0]; x[0]++) {
        for (x[1] = 0; x[1] < shape[1]; x[1]++) {
            for (x[2] = 0; x[2] < shape[2]; x[2]++) {
                const stretch *const e = stretch_of(&s, x[0], x[2]);
                const bool inside =
                    e != NULL && key >= e->first_key && key < e->first_key + e->n_key;
                assert_row(on, &s, &clean, bad, inside ? key - e->first_key : -1, x);
            }
        }
    }
    forget(&clean);
    sample_free(&s);
}

static const unsigned mask_rules[] = {
    0,
    RULE_CAUSAL,
    RULE_CAUSAL | RULE_BOTTOM_RIGHT,
    RULE_WINDOW | RULE_BOTTOM_RIGHT,
    RULE_PREFIX,
    RULE_QUERY_LENGTHS | RULE_KEY_LENGTHS,
    RULE_PACKED,
    RULE_DOCUMENTS,
    RULE_ALLOWED,
    RULE_BIAS | RULE_BIAS_MASKS,
    RULE_CAUSAL | RULE_ALLOWED | RULE_SINKS | RULE_ALIBI,
    RULE_PACKED | RULE_DOCUMENTS | RULE_BIAS_MASKS | RULE_KEY_LENGTHS,
};

static void bad_numbers_reach_just_the_rows_that_see_them(void **state) {
    static const int64_t keys[] = {0, 31, 95, 96, 109};
    for (size_t rule = 0; rule < COUNT(mask_rules); rule++) {
        for (size_t k = 0; k < COUNT(poisons); k++) {
            spec what = usual(rule * 8 + k);
            what.rules = mask_rules[rule];
            for (size_t j = k % 2; j < COUNT(keys); j += 2)
                check_poison(*state, &what, &poisons[k], keys[j]);
        }
    }
}

/* NaN everywhere that no query at all may look: padding of both kinds, and the value of a key that
 * a bias of -infinity hides from all. */
static void nan_in_all_that_is_hidden(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(seed);
        what.rules = RULE_KEY_LENGTHS | RULE_QUERY_LENGTHS;
        sample s;
        sample_make(&s, &what);
        forward(on, &s);
        results clean = keep(&s.problem);
        for (int64_t b = 0; b < what.batch; b++) {
            for (int64_t j = s.lengths[1][b]; j < what.n_key; j++) {
                for (int64_t c = 0; c < what.d; c++) set_element(&s.problem.key, b, 0, j, c, NAN);
                for (int64_t c = 0; c < what.d_value; c++)
                    set_element(&s.problem.value, b, 0, j, c, NAN);
            }
            for (int64_t i = s.lengths[0][b]; i < what.n_query; i++) {
                for (int64_t c = 0; c < what.d; c++) set_element(&s.problem.query, b, 1, i, c, NAN);
            }
        }
        sample_poison(&s);
        forward(on, &s);
        assert_same_bits(&clean.output, &s.problem.output, "output");
        assert_same_bits(&clean.lse, &s.problem.lse, "lse");
        assert_same_bits(&clean.weights, &s.problem.weights, "weights");
        forget(&clean);
        sample_free(&s);
    }
}

/* Keys that no query sees go bad. */
static void spoil_hidden_keys(const sample *s, int64_t b, int64_t from, int64_t to) {
    const attn_problem *const p = &s->problem;
    for (int64_t j = from; j < to; j++) {
        for (int64_t c = 0; c < p->key.shape[3]; c++) set_element(&p->key, b, 0, j, c, NAN);
        for (int64_t c = 0; c < p->value.shape[3]; c++)
            set_element(&p->value, b, 0, j, c, INFINITY);
    }
}

/* The same of every score and normalizer, and with views: behind lengths, behind a causal mask (from
 * the top left, n_query queries see no more than n_query keys), and in the midst of those that
 * are seen, where mask.allowed hides them. */
static void check_hidden_keys(const target *on, const spec *what, int way) {
    named_tensor all[MAX_RESULTS];
    attn_tensor clean[MAX_RESULTS];
    unsigned char allowed[300];
    sample s;
    sample_make(&s, what);
    memset(allowed, 1, sizeof allowed);
    memset(allowed + 11, 0, 9);
    if (way == 2) s.problem.mask.allowed = attn_tensor_bool(allowed, 1, 1, 1, what->n_key);
    forward(on, &s);
    const int count = sample_results(&s, all);
    for (int k = 0; k < count; k++) clean[k] = tensor_copy(all[k].tensor, ATTN_DTYPE_NONE);
    for (int64_t b = 0; b < what->batch; b++) {
        const int64_t first[] = {s.lengths[1][b], what->n_query, 11};
        spoil_hidden_keys(&s, b, first[way], way == 2 ? 20 : what->n_key);
    }
    sample_poison(&s);
    forward(on, &s);
    for (int k = 0; k < count; k++) {
        char text[640];
        snprintf(text, sizeof text, "%s\n%s", sample_text(&s, on->isa), all[k].name);
        assert_same_bits(&clean[k], all[k].tensor, text);
        free(clean[k].data);
    }
    sample_free(&s);
}

static void nan_that_is_hidden_from_every_score(void **state) {
    static const unsigned rules[] = {RULE_KEY_LENGTHS, RULE_CAUSAL, 0};
    for (uint64_t seed = 0; seed < SCORE_KINDS * NORMALIZERS; seed++) {
        for (int way = 0; way < 3; way++) {
            spec what = usual(seed + seed / 8 + (uint64_t)way); /* few and many of each */
            what.kind = (attn_score_kind)(seed % SCORE_KINDS);
            what.normalizer = (attn_normalizer_kind)(seed % NORMALIZERS);
            what.rules = rules[way];
            what.terms = seed % 3 == 0 ? RELATIVE_TERMS | TERM_OFFSET : TERM_GUMBEL;
            what.views = ALL_VIEWS;
            what.n_key = seed % 5 == 0 ? 260 : 60;
            check_hidden_keys(*state, &what, way);
        }
    }
}

/* NaN in a visible key or value spoils what the reference says it does: where a row is weighed as a
 * whole all of its weights, else its own; and with it outputs. Not with dropout: what is dropped of a
 * spoilt row is NaN or 0 (docs/NUMERICS.md). */
static void visible_nan_of_every_score(void **state) {
    for (uint64_t seed = 0; seed < SCORE_KINDS * NORMALIZERS; seed++) {
        spec what = usual(seed + seed / 8);
        what.kind = (attn_score_kind)(seed % SCORE_KINDS);
        what.normalizer = (attn_normalizer_kind)(seed % NORMALIZERS);
        what.rules = seed % 3 == 0 ? RULE_CAUSAL | RULE_BOTTOM_RIGHT : RULE_ALLOWED;
        what.terms = seed % 5 == 0 ? TERM_LOCAL : 0;
        what.n_key = seed % 4 == 0 ? 260 : 40;
        sample s;
        sample_make(&s, &what);
        attn_tensor *const t = seed % 2 ? &s.problem.key : &s.problem.value;
        set_element(t, 1, 0, 17, t->shape[3] - 1, NAN);
        compare_with_reference(*state, &s);
        sample_free(&s);
    }
}

static void nan_in_one_query_stays_there(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        const spec what = usual(seed);
        sample s;
        sample_make(&s, &what);
        forward(on, &s);
        results clean = keep(&s.problem);
        set_element(&s.problem.query, 1, 0, 3, 2, NAN);
        forward(on, &s);
        for (int64_t x[4] = {0}; index_inside(x, s.problem.output.shape);
             index_next(x, s.problem.output.shape)) {
            const double now = element(&s.problem.output, x[0], x[1], x[2], x[3]);
            const bool spoilt = x[0] == 1 && x[1] == 0 && x[2] == 3;
            assert_true(spoilt ? isnan(now)
                               : now == element(&clean.output, x[0], x[1], x[2], x[3]));
        }
        forget(&clean);
        sample_free(&s);
    }
}

/* A key of -infinity, seen: weight exactly 0, and the others share as if it were not there. */
static void visible_scores_of_minus_infinity(void **state) {
    for (uint64_t seed = 0; seed < 4; seed++) {
        const spec what = usual(seed);
        sample s;
        sample_make(&s, &what);
        make_positive(&s.problem.query);
        fill_row(&s.problem.key, 7, -INFINITY);
        compare_with_reference(*state, &s);
        for (int64_t j = 0; j < what.n_key; j++) fill_row(&s.problem.key, j, -INFINITY);
        compare_with_reference(*state, &s);
        assert_true(element(&s.problem.lse, 1, 1, 4, 0) == -INFINITY);
        assert_true(element(&s.problem.output, 1, 1, 4, 5) == 0);
        sample_free(&s);
    }
}

/* The first blocks of keys hold nothing to see, so the running maximum stays -infinity for long. */
static void what_is_visible_comes_late(void **state) {
    static const unsigned rules[] = {RULE_BIAS, RULE_ALLOWED};
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(seed);
        what.rules = rules[seed % COUNT(rules)];
        what.n_key = 400;
        sample s;
        sample_make(&s, &what);
        const attn_tensor *const t =
            what.rules == RULE_BIAS ? &s.problem.score.bias : &s.problem.mask.allowed;
        for (int64_t x[4] = {0}; index_inside(x, t->shape); index_next(x, t->shape)) {
            const bool hide = t->shape[3] > 1 && x[3] < 399 - 40 * (int64_t)(seed / 2);
            if (hide)
                set_element(t, x[0], x[1], x[2], x[3], what.rules == RULE_BIAS ? -INFINITY : 0);
        }
        compare_with_reference(*state, &s);
        sample_free(&s);
    }
}

/* -------------------------------------------------------------------------------- large numbers */

/* Scores of 10000 and -10000: exp of either is no float, yet the weights are simply 1 and 0,
 * up to the roundings of a quotient and a product. */
static void huge_scores(void **state) {
    static const double signs[] = {1, -1};
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(seed);
        what.d = 1;
        what.rules = RULE_SCALE;
        sample s;
        sample_make(&s, &what);
        const double u = what.dtype == ATTN_F32 ? 0x1p-24 : 0x1p-53;
        s.problem.score.scale = signs[seed / 4];
        fill(&s.problem.query, 100);
        fill(&s.problem.key, -100 * s.problem.score.scale);
        fill_row(&s.problem.key, 98, 100 * s.problem.score.scale);
        forward(*state, &s);
        for (int64_t i = 0; i < what.n_query; i++) {
            for (int64_t j = 0; j < what.n_key; j++) {
                const double w = element(&s.problem.weights, 1, 0, i, j);
                assert_true(j == 98 ? fabs(w - 1) <= 3 * u : w == 0);
            }
            for (int64_t c = 0; c < what.d_value; c++) {
                const double v = element(&s.problem.value, 1, 0, 98, c);
                assert_true(fabs(element(&s.problem.output, 1, 0, i, c) - v) <= 4 * u * fabs(v));
            }
            assert_true(fabs(element(&s.problem.lse, 1, 0, i, 0) - 10000) <= 10000 * 8 * u);
        }
        sample_free(&s);
    }
}

/* A common way to say "masked" is the lowest finite number: where all keys of a row have it, their
 * weights are equal, whatever the scores were, for every temperature. */
static void lowest_biases_are_equal(void **state) {
    static const double temperatures[] = {0, 0.01, 100};
    for (uint64_t seed = 0; seed < 12; seed++) {
        spec what = usual(seed);
        what.rules = RULE_BIAS;
        sample s;
        sample_make(&s, &what);
        const bool single = what.dtype == ATTN_F32;
        const double u = single ? 0x1p-24 : 0x1p-53, n = (double)what.n_key;
        s.problem.normalizer.temperature = temperatures[seed / 4];
        fill(&s.problem.score.bias, single ? -(double)FLT_MAX : -DBL_MAX);
        forward(*state, &s);
        for (int64_t i = 0; i < what.n_query; i++)
            for (int64_t j = 0; j < what.n_key; j++)
                assert_true(fabs(element(&s.problem.weights, 0, 0, i, j) * n - 1) <= 4 * n * u);
        sample_free(&s);
    }
}

/* Up to the roundings of a quotient and a product. */
static void one_key_has_all_the_weight(void **state) {
    for (uint64_t seed = 0; seed < 4; seed++) {
        spec what = usual(seed);
        const double u = what.dtype == ATTN_F32 ? 0x1p-24 : 0x1p-53;
        what.n_key = 1;
        sample s;
        sample_make(&s, &what);
        forward(*state, &s);
        for (int64_t x[4] = {0}; index_inside(x, s.problem.output.shape);
             index_next(x, s.problem.output.shape)) {
            const double v = element(&s.problem.value, x[0], 0, 0, x[3]);
            assert_true(fabs(element(&s.problem.weights, x[0], x[1], x[2], 0) - 1) <= 3 * u);
            assert_true(fabs(element(&s.problem.output, x[0], x[1], x[2], x[3]) - v) <=
                        4 * u * fabs(v));
        }
        sample_free(&s);
    }
}

static void sinks_of_every_size(void **state) {
    static const double sinks[] = {-10000, -80, 0, 80, 10000};
    for (uint64_t seed = 0; seed < 4; seed++) {
        spec what = usual(seed);
        what.rules = RULE_SINKS;
        for (size_t k = 0; k < COUNT(sinks); k++) {
            sample s;
            sample_make(&s, &what);
            fill(&s.problem.score.sinks, sinks[k]);
            compare_with_reference(*state, &s);
            sample_free(&s);
        }
    }
}

static void sink_of_minus_infinity_is_none(void **state) {
    for (uint64_t seed = 0; seed < 4; seed++) {
        spec what = usual(seed);
        what.rules = RULE_SINKS | RULE_WINDOW;
        sample s;
        sample_make(&s, &what);
        fill(&s.problem.score.sinks, -INFINITY);
        forward(*state, &s);
        results with = keep(&s.problem);
        s.problem.score.sinks = (attn_tensor){0};
        forward(*state, &s);
        assert_same_bits(&with.output, &s.problem.output, "output");
        assert_same_bits(&with.lse, &s.problem.lse, "lse");
        assert_same_bits(&with.weights, &s.problem.weights, "weights");
        forget(&with);
        sample_free(&s);
    }
}

/* ----------------------------------------------------------------------------- windows, offsets */

static void edges_of_windows_and_offsets(void **state) {
    static const int64_t sides[] = {-1, 0, 1, 95, 96, INT64_MAX, INT64_MIN};
    static const int64_t offsets[] = {
        0, 1, -1, 96, 110, -37, INT64_C(1) << 40, -(INT64_C(1) << 40)};
    for (size_t left = 0; left < COUNT(sides); left++) {
        for (size_t right = 0; right < COUNT(sides); right++) {
            const size_t k = left * COUNT(sides) + right;
            spec what = usual(k);
            what.batch = what.heads = 1;
            what.rules = k % 3 == 0 ? RULE_CAUSAL : k % 3 == 1 ? RULE_BOTTOM_RIGHT : 0;
            sample s;
            sample_make(&s, &what);
            s.problem.mask.window = (attn_window){true, sides[left], sides[right]};
            for (size_t o = 0; o < COUNT(offsets); o++) {
                s.problem.mask.query_offset = offsets[o];
                compare_with_reference(*state, &s);
            }
            sample_free(&s);
        }
    }
}

static void prefix_longer_than_the_keys(void **state) {
    for (uint64_t seed = 0; seed < 4; seed++) {
        spec what = usual(seed);
        what.rules = RULE_PREFIX | RULE_KEY_LENGTHS;
        sample s;
        sample_make(&s, &what);
        s.prefixes[0] = what.n_key + 5;
        s.prefixes[1] = INT64_MAX;
        compare_with_reference(*state, &s);
        sample_free(&s);
    }
}

static void document_ids_of_any_size(void **state) {
    for (uint64_t seed = 0; seed < 4; seed++) {
        spec what = usual(seed);
        what.rules = RULE_DOCUMENTS;
        sample s;
        sample_make(&s, &what);
        for (int64_t i = 0; i < what.n_query; i++)
            s.documents[0][i] = i % 2 ? INT32_MIN : INT32_MAX;
        for (int64_t j = 0; j < what.n_key; j++) s.documents[1][j] = j % 3 ? INT32_MIN : INT32_MAX;
        compare_with_reference(*state, &s);
        sample_free(&s);
    }
}

/* A mask that broadcasts over an axis, and the same one written out. */
static void broadcast_masks_are_written_out_masks(void **state) {
    const target *const on = *state;
    for (unsigned axes = 0; axes < 16; axes++) {
        spec what = usual(axes);
        what.rules = RULE_ALLOWED | RULE_BIAS;
        sample s;
        sample_make(&s, &what);
        const int64_t full[4] = {what.batch, what.heads, what.n_query, what.n_key};
        attn_tensor *const masks[] = {&s.problem.mask.allowed, &s.problem.score.bias};
        attn_tensor whole[2], narrow[2];
        for (size_t m = 0; m < 2; m++) {
            attn_tensor view = *masks[m];
            for (int k = 0; k < 4; k++) {
                if ((axes >> k & 1) != 0) view.shape[k] = 1;
            }
            narrow[m] = tensor_copy(&view, ATTN_DTYPE_NONE);
            view = narrow[m];
            for (int k = 0; k < 4; k++) {
                if (view.shape[k] == 1) view.stride[k] = 0;
                view.shape[k] = full[k];
            }
            whole[m] = tensor_copy(&view, ATTN_DTYPE_NONE);
            *masks[m] = narrow[m];
        }
        forward(on, &s);
        results before = keep(&s.problem);
        for (size_t m = 0; m < 2; m++) *masks[m] = whole[m];
        forward(on, &s);
        assert_same_bits(&before.output, &s.problem.output, sample_text(&s, on->isa));
        assert_same_bits(&before.weights, &s.problem.weights, sample_text(&s, on->isa));
        for (size_t m = 0; m < 2; m++) free(whole[m].data), free(narrow[m].data);
        forget(&before);
        sample_free(&s);
    }
}

/* -------------------------------------------------------------------------------- sizes of zero */

static void sizes_of_zero(void **state) {
    for (unsigned zeros = 1; zeros < 64; zeros++) {
        for (size_t t = 0; t < COUNT(dtypes); t++) {
            spec what = usual(zeros % 4);
            what.dtype = dtypes[t];
            what.rules =
                zeros % 2 ? 0 : RULE_CAUSAL | RULE_SINKS | RULE_ALLOWED | RULE_BIAS | RULE_ALIBI;
            if (zeros & 1) what.batch = 0;
            if (zeros & 2) what.heads = what.kv_heads = 0;
            if (zeros & 4) what.n_query = 0;
            if (zeros & 8) what.n_key = 0;
            if (zeros & 16) what.d = 0;
            if (zeros & 32) what.d_value = 0;
            sample s;
            sample_make(&s, &what);
            compare_with_reference(*state, &s);
            sample_free(&s);
        }
    }
}

/* No keys at all, and the pointers say so. */
static void null_where_there_is_nothing(void **state) {
    const target *const on = *state;
    const float query[3] = {1, 2, 3};
    float output[2] = {NAN, NAN}, lse = NAN;
    const attn_problem p = {.query = attn_tensor_f32(query, 1, 1, 1, 3),
                            .key = attn_tensor_f32(NULL, 1, 1, 0, 3),
                            .value = attn_tensor_f32(NULL, 1, 1, 0, 2),
                            .output = attn_tensor_f32(output, 1, 1, 1, 2),
                            .lse = attn_tensor_f32(&lse, 1, 1, 1, 1),
                            .weights = attn_tensor_f32(NULL, 1, 1, 1, 0)};
    assert_int_equal(attn_forward(on->context, &p), ATTN_OK);
    assert_true(output[0] == 0 && output[1] == 0 && lse == -INFINITY);
}

/* Nothing times anything is nothing: no loop over, nor any room for, so many empty rows. */
static void enormous_but_empty(void **state) {
    const target *const on = *state;
    static const int64_t sizes[] = {INT64_C(1) << 55, INT64_C(1) << 61, INT64_MAX};
    for (size_t k = 0; k < COUNT(sizes); k++) {
        const int64_t n = sizes[k],
                      shapes[][3] = {{n, 0, 1}, {n, 2, 0}, {0, n, n}, {1, n, 0}, {n, n, 0}};
        for (size_t s = 0; s < COUNT(shapes); s++) {
            const int64_t *const x = shapes[s];
            const attn_problem p = {.query = attn_tensor_f32(NULL, x[0], x[1], x[2], 8),
                                    .key = attn_tensor_f32(NULL, x[0], x[1], 0, 8),
                                    .value = attn_tensor_f32(NULL, x[0], x[1], 0, 4),
                                    .output = attn_tensor_f32(NULL, x[0], x[1], x[2], 4)};
            const attn_status status = attn_forward(on->context, &p);
            if (status != ATTN_OK) assert_int_equal(status, ATTN_ERROR_SHAPE);
            assert_int_equal(attn_reference_forward(&p), status);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_numbers_reach_just_the_rows_that_see_them),
        cmocka_unit_test(nan_in_all_that_is_hidden),
        cmocka_unit_test(nan_that_is_hidden_from_every_score),
        cmocka_unit_test(visible_nan_of_every_score),
        cmocka_unit_test(nan_in_one_query_stays_there),
        cmocka_unit_test(visible_scores_of_minus_infinity),
        cmocka_unit_test(what_is_visible_comes_late),
        cmocka_unit_test(huge_scores),
        cmocka_unit_test(lowest_biases_are_equal),
        cmocka_unit_test(one_key_has_all_the_weight),
        cmocka_unit_test(sinks_of_every_size),
        cmocka_unit_test(sink_of_minus_infinity_is_none),
        cmocka_unit_test(edges_of_windows_and_offsets),
        cmocka_unit_test(prefix_longer_than_the_keys),
        cmocka_unit_test(document_ids_of_any_size),
        cmocka_unit_test(broadcast_masks_are_written_out_masks),
        cmocka_unit_test(sizes_of_zero),
        cmocka_unit_test(null_where_there_is_nothing),
        cmocka_unit_test(enormous_but_empty),
    };
    return run_on_each_isa("semantics", tests, COUNT(tests));
}

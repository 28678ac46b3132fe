/* test_views.c: views of the weights. Against the reference; against the same view made of the
 * weights of the same call, which must be equal; and the observer, to whom all weights are shown. */
#include "support.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tiles/table.h"

static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64};

static void forward(const target *on, const sample *s) {
    if (attn_forward(on->context, &s->problem) != ATTN_OK)
        fail_msg("%s\n%s", sample_text(s, on->isa), attn_error_message());
}

static void check_spec(void **state, const spec *what) {
    const target *const on = *state;
    sample s;
    oracle o;
    sample_make(&s, what);
    forward(on, &s);
    oracle_make(&o, &s);
    assert_close(&s, &o, on->isa);
    assert_gaps_untouched(&s);
    oracle_free(&o);
    sample_free(&s);
}

static spec usual(uint64_t seed, bool few) {
    static const unsigned rules[] = {0, RULE_CAUSAL, RULE_PACKED,
                                     RULE_QUERY_LENGTHS | RULE_KEY_LENGTHS,
                                     RULE_ALLOWED | RULE_BIAS};
    return (spec){.seed = seed,
                  .dtype = dtypes[seed % COUNT(dtypes)],
                  .batch = 2,
                  .heads = 4,
                  .kv_heads = 2,
                  .n_query = few ? 1 + (int64_t)(seed % 8) : 27,
                  .n_key = 37,
                  .d = 5,
                  .d_value = 3,
                  .rules = rules[seed % COUNT(rules)],
                  .results = WANT_OUTPUT,
                  .layout = (layout)(seed % LAYOUTS),
                  .some_heads = seed % 4 == 3};
}

/* ---------------------------------------------------------------------------------------------
 * Against the reference
 * ------------------------------------------------------------------------------------------- */

static void each_view_alone(void **state) {
    for (unsigned view = 0; view < VIEWS; view++) {
        for (int normalizer = 0; normalizer < NORMALIZERS; normalizer++) {
            for (int few = 0; few < 2; few++) {
                spec what = usual(view * NORMALIZERS + (unsigned)normalizer, few != 0);
                what.normalizer = (attn_normalizer_kind)normalizer;
                what.views = 1u << view;
                check_spec(state, &what);
            }
        }
    }
}

static void each_view_beside_each(void **state) {
    for (unsigned a = 0; a < VIEWS; a++) {
        for (unsigned b = 0; b < a; b++) {
            spec what = usual(VIEWS * a + b, (a + b) % 2 == 0);
            what.views = 1u << a | 1u << b;
            what.results = (a + b) % 3 == 0 ? WANT_ALL : 0;
            what.terms = (a + b) % 5 == 0 ? TERM_DROPOUT | TERM_LOCAL : 0;
            check_spec(state, &what);
        }
    }
}

static void all_views_of_every_score(void **state) {
    for (int kind = 0; kind < SCORE_KINDS; kind++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            spec what = usual(seed + 4 * (uint64_t)kind, seed % 2 == 0);
            what.kind = (attn_score_kind)kind;
            what.views = ALL_VIEWS;
            what.terms = seed < 2 ? TERM_TEMPERATURE | TERM_SCORE_CALL : RELATIVE_TERMS;
            what.rules |= seed % 3 == 0 ? RULE_SOFTCAP | RULE_SINKS : 0;
            check_spec(state, &what);
        }
    }
}

static void weights_of_every_type_and_rows(void **state) {
    static const attn_dtype types[] = {ATTN_F32, ATTN_F64, ATTN_F16, ATTN_U8};
    for (size_t type = 0; type < COUNT(types); type++) {
        for (int rows = 0; rows < SLICES; rows++) {
            for (uint64_t seed = 0; seed < 10; seed++) {
                spec what = usual(seed, seed / 2 % 2 == 0);
                what.views = 1u << VIEW_WEIGHTS;
                what.view_dtype = types[type];
                what.slice = (slice)rows;
                what.normalizer = (attn_normalizer_kind)(seed % NORMALIZERS);
                check_spec(state, &what);
            }
        }
    }
}

/* Several tiles and blocks; for few queries, several stretches of keys. */
static void long_sequences(void **state) {
    static const unsigned rules[] = {0, RULE_CAUSAL | RULE_BOTTOM_RIGHT, RULE_WINDOW, RULE_PACKED};
    for (uint64_t seed = 0; seed < 8; seed++) {
        spec what = usual(seed, seed % 2 == 0);
        what.batch = 1;
        what.heads = 2;
        what.kv_heads = 1;
        what.n_query = seed % 2 ? 150 : 3;
        what.n_key = seed % 2 ? 430 : 4500;
        what.rules = rules[seed / 2];
        what.views = ALL_VIEWS & ~(1u << VIEW_PATH); /* the oracle's look at a path is slow */
        what.slice = (slice)(seed % SLICES);
        check_spec(state, &what);
        if (seed % 2) {
            what.n_key = 210;
            what.n_query = 80;
            what.views = 1u << VIEW_PATH | 1u << VIEW_HEAD_MEAN;
            check_spec(state, &what);
        }
    }
}

/* ---------------------------------------------------------------------------------------------
 * Equal to what the weights of the same call say
 *
 * Weights are rounded once, and views made of them in that form: what does not add up is equal to
 * the bit. Sums of n terms in two orders differ by 2 n u times the sum of their sizes, entropies and
 * distances by as much and what their terms round, 2 K u (oracle_views.c).
 * ------------------------------------------------------------------------------------------- */

typedef struct own_weights {
    const sample *s;
    double u;
    attn_isa isa;
} own_weights;

static double weight_of(const own_weights *w, const stretch *at, int64_t head, int64_t i,
                        int64_t j) {
    return element(&w->s->problem.weights, at->batch, head, at->first_query + i, j);
}

static void assert_sum(const own_weights *w, const char *what, double result, double sum,
                       double sizes, double terms) {
    const double bound = 2 * (terms + 8) * w->u * sizes;
    if (!(fabs(result - sum) <= bound))
        fail_msg("%s\n%s: %.17g, but the weights say %.17g: off by %g, bound %g",
                 sample_text(w->s, w->isa), what, result, sum, fabs(result - sum), bound);
}

static void same_sums(const own_weights *w, int64_t q, int64_t place) {
    const attn_views *const v = &w->s->views;
    const stretch *const at = &w->s->stretches[q];
    const int64_t head = chosen_head(v, place);
    for (int64_t j = 0; j < at->n_key; j++) {
        double sum = 0, most = at->n_query > 0 ? -INFINITY : 0, window = 0;
        for (int64_t i = 0; i < at->n_query; i++) {
            const double x = weight_of(w, at, head, i, j);
            sum += x;
            most = fmax(most, x);
            if (i >= at->n_query - v->window_queries) window += x;
        }
        const double n = (double)at->n_query;
        assert_sum(w, "received_sum", element(&v->received_sum, q, place, 0, j), sum, sum, n);
        assert_sum(w, "received_mean", element(&v->received_mean, q, place, 0, j),
                   n > 0 ? sum / n : 0, n > 0 ? sum / n : 0, n + 4);
        assert_sum(w, "window_sum", element(&v->window_sum, q, place, 0, j), window, window, n);
        assert_true(element(&v->received_max, q, place, 0, j) == most);
    }
}

static void same_blocks(const own_weights *w, int64_t q, int64_t place) {
    const attn_views *const v = &w->s->views;
    const stretch *const at = &w->s->stretches[q];
    for (int64_t a = 0; a < v->block_sums.shape[2]; a++) {
        for (int64_t b = 0; b < v->block_sums.shape[3]; b++) {
            double sum = 0;
            for (int64_t i = a * v->block_queries; i < (a + 1) * v->block_queries; i++) {
                for (int64_t j = b * v->block_keys; j < (b + 1) * v->block_keys; j++) {
                    if (i < at->n_query && j < at->n_key)
                        sum += weight_of(w, at, chosen_head(v, place), i, j);
                }
            }
            assert_sum(w, "block_sums", element(&v->block_sums, q, place, a, b), sum, sum,
                       (double)(v->block_queries * v->block_keys));
        }
    }
}

/* Ranks by repeated search: the greatest of those left, the first of equals. */
static void same_ranks(const own_weights *w, const stretch *at, int64_t place, int64_t i) {
    const attn_views *const v = &w->s->views;
    const int64_t query = at->first_query + i, k = v->top_weights.shape[3];
    bool taken[64] = {false};
    for (int64_t rank = 0; rank < k; rank++) {
        int64_t best = -1;
        double most = 0;
        for (int64_t j = 0; j < at->n_key; j++) {
            const double x = weight_of(w, at, chosen_head(v, place), i, j);
            if (!taken[j] && x > most) best = j, most = x;
        }
        if (best >= 0) taken[best] = true;
        assert_true(element(&v->top_weights, at->batch, place, query, rank) == most);
        assert_true(element(&v->top_keys, at->batch, place, query, rank) == (double)best);
        if (rank == 0) assert_true(element(&v->argmax, at->batch, place, query, 0) == (double)best);
    }
}

static void same_row(const own_weights *w, const stretch *at, int64_t place, int64_t i) {
    const attn_views *const v = &w->s->views;
    const int64_t query = at->first_query + i, p = position_of(&w->s->problem, at, i);
    double entropy = 0, distance = 0, sizes = 0;
    for (int64_t j = 0; j < at->n_key; j++) {
        const double x = weight_of(w, at, chosen_head(v, place), i, j);
        if (x != 0) entropy -= x * log(x), sizes += fabs(x * log(x)) + x;
        distance += x * fabs((double)(p - j));
    }
    const double k = 2 * (double)at->n_key + 64;
    const double found = element(&v->entropy, at->batch, place, query, 0);
    assert_sum(w, "entropy", found, entropy, sizes, k);
    assert_sum(w, "span", element(&v->span, at->batch, place, query, 0), exp(entropy),
               exp(entropy) * (sizes + 1 + fabs(entropy)), k);
    assert_sum(w, "distance", element(&v->distance, at->batch, place, query, 0), distance, distance,
               k);
}

/* The rest: means over heads, and the statistics of each. */
static void same_means(const own_weights *w, int64_t q) {
    const attn_views *const v = &w->s->views;
    const stretch *const at = &w->s->stretches[q];
    const int64_t heads = v->entropy.shape[1];
    for (int64_t i = 0; i < at->n_query && heads > 0; i++) {
        for (int64_t j = 0; j < at->n_key; j++) {
            double sum = 0;
            for (int64_t place = 0; place < heads; place++)
                sum += weight_of(w, at, chosen_head(v, place), i, j) / (double)heads;
            assert_sum(w, "head_mean", element(&v->head_mean, at->batch, 0, at->first_query + i, j),
                       sum, sum, (double)heads);
        }
    }
    for (int64_t place = 0; place < heads && at->n_query > 0; place++) {
        double sums[ATTN_HEAD_STATISTICS] = {0};
        const double n = (double)at->n_query;
        for (int64_t i = 0; i < at->n_query; i++) {
            const int64_t query = at->first_query + i;
            sums[ATTN_HEAD_CONFIDENCE] += element(&v->top_weights, at->batch, place, query, 0) / n;
            sums[ATTN_HEAD_ENTROPY] += element(&v->entropy, at->batch, place, query, 0) / n;
            sums[ATTN_HEAD_DISTANCE] += element(&v->distance, at->batch, place, query, 0) / n;
            if (at->n_key > 0)
                sums[ATTN_HEAD_FIRST] += weight_of(w, at, chosen_head(v, place), i, 0) / n;
        }
        for (int64_t k = 0; k < ATTN_HEAD_STATISTICS; k++)
            assert_sum(w, "head_statistics", element(&v->head_statistics, q, place, 0, k), sums[k],
                       fabs(sums[k]), n + 4);
    }
}

/* Entropies of weights beyond 1 have terms of either sign: these are left to the reference. */
static void views_are_made_of_the_weights(void **state) {
    static const attn_normalizer_kind kinds[] = {ATTN_SOFTMAX,   ATTN_SOFTMAX_ONE, ATTN_SIGMOID,
                                                 ATTN_SPARSEMAX, ATTN_ENTMAX,      ATTN_HARDMAX};
    const target *const on = *state;
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(60, 2000); seed++) {
        spec what = usual(seed, seed % 4 < 2);
        what.views = ALL_VIEWS;
        what.results = WANT_WEIGHTS;
        what.normalizer = kinds[seed % COUNT(kinds)];
        what.terms = seed % 7 == 0 ? TERM_LOCAL : 0;
        sample s;
        sample_make(&s, &what);
        forward(on, &s);
        const own_weights w = {&s, what.dtype == ATTN_F32 ? 0x1p-24 : 0x1p-53, on->isa};
        for (int64_t q = 0; q < s.sequences; q++) {
            const stretch *const at = &s.stretches[q];
            for (int64_t place = 0; place < s.views.entropy.shape[1]; place++) {
                same_sums(&w, q, place);
                same_blocks(&w, q, place);
                for (int64_t i = 0; i < at->n_query; i++) {
                    same_ranks(&w, at, place, i);
                    same_row(&w, at, place, i);
                }
            }
            same_means(&w, q);
        }
        sample_free(&s);
    }
}

/* The bits of the nearest binary16, by search: halves are in the order of their bits. */
static uint16_t nearest_half(double x) {
    static double halves[0x7C01];
    if (halves[1] == 0) {
        for (uint16_t bits = 0; bits <= 0x7C00; bits++) {
            const attn_tensor one = attn_tensor_dense(&bits, ATTN_F16, 1, 1, 1, 1);
            halves[bits] = bits == 0x7C00 ? 65536 : element(&one, 0, 0, 0, 0);
        }
    }
    uint16_t low = 0, high = 0x7C00;
    while (high - low > 1) {
        const uint16_t middle = (uint16_t)((low + high) / 2);
        *(halves[middle] <= x ? &low : &high) = middle;
    }
    const double below = x - halves[low], over = halves[high] - x;
    return below < over || (below == over && low % 2 == 0) ? low : high;
}

static void assert_narrowed(const sample *s, const int64_t x[4], double w) {
    const attn_tensor *const t = &s->views.weights;
    const void *const found = element_address(t, x);
    switch (t->dtype) {
    case ATTN_F32: assert_true(*(const float *)found == (float)w); break;
    case ATTN_F64: assert_true(*(const double *)found == w); break;
    case ATTN_F16: assert_int_equal(*(const uint16_t *)found, nearest_half(w)); break;
    default: /* a step is a 255th of 1; half way between two, either is the nearest */
        assert_true(fabs(*(const uint8_t *)found - 255 * fmin(w, 1)) <= 0.5 + 255 * 0x1p-24);
    }
}

/* Rows and types of views.weights, exactly. */
static void weights_are_narrowed_exactly(void **state) {
    static const attn_dtype types[] = {ATTN_F32, ATTN_F64, ATTN_F16, ATTN_U8};
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 48; seed++) {
        spec what = usual(seed, seed / 3 % 2 == 0);
        what.rules = seed % 5 == 0 ? RULE_QUERY_LENGTHS : RULE_CAUSAL;
        what.views = 1u << VIEW_WEIGHTS;
        what.view_dtype = types[seed / 2 % 4];
        what.slice = (slice)(seed % 3);
        what.results = WANT_WEIGHTS;
        what.normalizer = seed % 2 ? ATTN_SOFTMAX : ATTN_SIGMOID;
        what.spread = seed % 3 == 0 ? 3 : 1; /* down to where halves are subnormal */
        sample s;
        sample_make(&s, &what);
        forward(on, &s);
        const attn_views *const v = &s.views;
        for (int64_t x[4] = {0}; index_inside(x, v->weights.shape);
             index_next(x, v->weights.shape)) {
            const int64_t n = s.stretches[x[0]].n_query;
            const int64_t i = what.slice == SLICE_NONE     ? x[2]
                              : what.slice == SLICE_LISTED ? v->rows[x[2]]
                                                           : n - v->row_count + x[2];
            const double w = i >= 0 && i < n
                                 ? element(&s.problem.weights, x[0], chosen_head(v, x[1]), i, x[3])
                                 : 0;
            assert_narrowed(&s, x, w);
        }
        sample_free(&s);
    }
}

/* In float64 the mean that is stored is the mean that the path is made of. */
static void the_path_is_that_of_the_mean(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        spec what = usual(2 * seed + 1, seed % 2 == 0);
        what.rules = seed % 3 == 0 ? RULE_CAUSAL : 0;
        what.views = 1u << VIEW_HEAD_MEAN | 1u << VIEW_PATH;
        what.some_heads = false;
        sample s;
        sample_make(&s, &what);
        forward(on, &s);
        const attn_tensor expected = tensor_copy(&s.views.path, ATTN_DTYPE_NONE);
        const attn_tensor mean = tensor_copy(&s.views.head_mean, ATTN_DTYPE_NONE);
        assert_int_equal(attn_alignment_path(on->context, &mean, &expected), ATTN_OK);
        assert_same_bits(&s.views.path, &expected, sample_text(&s, on->isa));
        free(expected.data), free(mean.data);
        sample_free(&s);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Ranks of equals, of nothing and of NaN
 * ------------------------------------------------------------------------------------------- */

static void equals_are_listed_by_key(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 8; seed++) { /* which draw 1 to 12 ranks */
        const int64_t n_query = seed % 2 ? 3 : 30;
        spec what = usual(seed, false);
        what.kind = ATTN_SCORE_CUSTOM;
        what.rules = 0;
        what.some_heads = false;
        what.n_query = n_query;
        what.n_key = 500;
        what.views = 1u << VIEW_TOP_WEIGHTS | 1u << VIEW_TOP_KEYS | 1u << VIEW_ARGMAX;
        sample s;
        sample_make(&s, &what);
        s.problem.mask.window = (attn_window){.enabled = true, .left = 2, .right = 1};
        forward(on, &s);
        const int64_t k = s.views.top_keys.shape[3];
        for (int64_t i = 0; i < n_query; i++) { /* keys i - 2 .. i + 1, all alike */
            const int64_t first = i > 2 ? i - 2 : 0, count = i + 2 - first;
            for (int64_t rank = 0; rank < k; rank++) {
                const double key = element(&s.views.top_keys, 1, 2, i, rank);
                assert_true(key == (double)(rank < count ? first + rank : -1));
                if (rank >= count) assert_true(element(&s.views.top_weights, 1, 2, i, rank) == 0);
            }
            assert_true(element(&s.views.argmax, 1, 2, i, 0) == (double)first);
        }
        sample_free(&s);
    }
}

static void a_row_of_nan_has_no_ranks(void **state) {
    const target *const on = *state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        spec what = usual(seed, seed % 2 == 0);
        what.rules = 0;
        what.some_heads = false;
        what.views = 1u << VIEW_TOP_WEIGHTS | 1u << VIEW_TOP_KEYS | 1u << VIEW_ARGMAX;
        sample s;
        sample_make(&s, &what);
        set_element(&s.problem.query, 1, 0, 0, 1, NAN);
        forward(on, &s);
        for (int64_t rank = 0; rank < s.views.top_keys.shape[3]; rank++) {
            assert_true(element(&s.views.top_keys, 1, 0, 0, rank) == -1);
            assert_true(isnan(element(&s.views.top_weights, 1, 0, 0, rank)));
        }
        assert_true(element(&s.views.argmax, 1, 0, 0, 0) == -1);
        sample_free(&s);
    }
}

/* ---------------------------------------------------------------------------------------------
 * The observer
 * ------------------------------------------------------------------------------------------- */

typedef struct audience {
    const sample *s;
    bool in_order;
    attn_pairs last;
    atomic_int inside; /* calls at the moment */
    atomic_bool wrong;
    double *sums; /* of what was shown of each pair */
    unsigned char *times;
} audience;

static int64_t pair_place(const audience *a, const attn_pairs *pairs, int r, int c) {
    const spec *const w = &a->s->spec;
    return ((pairs->sequence * w->heads + pairs->head) * w->n_query + pairs->query + r) * w->n_key +
           pairs->key + c;
}

/* Of one head, queries rise and, among equal ones, keys; if one at a time, heads and sequences. */
static bool follows(const attn_pairs *next, const attn_pairs *last) {
    const int64_t a[] = {last->sequence, last->head, last->query, last->key};
    const int64_t b[] = {next->sequence, next->head, next->query, next->key};
    for (size_t k = 0; k < COUNT(a); k++) {
        if (a[k] != b[k]) return a[k] < b[k];
    }
    return false;
}

static void watch(void *user, const attn_pairs *pairs) {
    audience *const a = user;
    const stretch *const where = &a->s->stretches[pairs->sequence];
    bool wrong = a->in_order && atomic_fetch_add(&a->inside, 1) != 0;
    wrong |= a->in_order && a->last.data != NULL && !follows(pairs, &a->last);
    wrong |= pairs->query + pairs->rows > where->n_query || pairs->key + pairs->keys > where->n_key;
    wrong |= pairs->key_stride != 1 && pairs->row_stride != 1;
    wrong |= pairs->position != position_of(&a->s->problem, where, pairs->query);
    for (int r = 0; r < pairs->rows && !wrong; r++) {
        for (int c = 0; c < pairs->keys; c++) {
            a->sums[pair_place(a, pairs, r, c)] += pair_element(pairs, r, c);
            a->times[pair_place(a, pairs, r, c)]++;
        }
    }
    if (a->in_order) a->last = *pairs;
    if (a->in_order) atomic_fetch_sub(&a->inside, 1);
    if (wrong) atomic_store(&a->wrong, true);
}

static bool is_chosen(const attn_views *v, int64_t head, int64_t heads) {
    const int64_t count = v->heads != NULL ? v->head_count : heads;
    for (int64_t place = 0; place < count; place++) {
        if (chosen_head(v, place) == head) return true;
    }
    return false;
}

/* Every weight that is not 0 was shown once, as it is; nothing twice, and only of chosen heads. */
static void assert_saw_all(const audience *a) {
    const sample *const s = a->s;
    for (int64_t q = 0; q < s->sequences; q++) {
        const stretch *const e = &s->stretches[q];
        for (int64_t h = 0; h < s->spec.heads; h++) {
            const bool chosen = is_chosen(&s->views, h, s->spec.heads);
            for (int64_t i = 0; i < e->n_query; i++) {
                for (int64_t j = 0; j < e->n_key; j++) {
                    const attn_pairs one = {.sequence = q, .head = h, .query = i, .key = j};
                    const int64_t at = pair_place(a, &one, 0, 0);
                    const double w =
                        element(&s->problem.weights, e->batch, h, e->first_query + i, j);
                    assert_true(a->times[at] <= (chosen ? 1 : 0));
                    if (chosen) assert_true(a->sums[at] == w);
                }
            }
        }
    }
}

static void observe(attn_context *context, const spec *what, bool concurrent) {
    sample s;
    sample_make(&s, what);
    const size_t pairs = (size_t)(s.sequences * what->heads * what->n_query * what->n_key);
    audience a = {.s = &s, .in_order = !concurrent};
    a.sums = calloc(pairs + 1, sizeof *a.sums);
    a.times = calloc(pairs + 1, 1);
    assert_true(a.sums != NULL && a.times != NULL);
    s.views.observer = watch;
    s.views.observer_user = &a;
    s.views.concurrent = concurrent;
    s.problem.views = &s.views;
    if (attn_forward(context, &s.problem) != ATTN_OK) fail_msg("%s", attn_error_message());
    assert_false(atomic_load(&a.wrong));
    assert_saw_all(&a);
    free(a.sums), free(a.times);
    sample_free(&s);
}

static void the_observer_sees_all_weights(void **state) {
    const target *const on = *state;
    attn_context *const several = context_on(on->isa, 4);
    for (uint64_t seed = 0; seed < 30; seed++) {
        spec what = usual(seed, seed % 4 < 2);
        what.n_key = seed % 3 == 0 ? 500 : 37;
        what.n_query = what.n_query > 8 && seed % 2 ? 150 : what.n_query;
        what.normalizer = (attn_normalizer_kind)(seed % NORMALIZERS);
        what.terms = seed % 5 == 0 ? TERM_DROPOUT | TERM_LOCAL : 0;
        what.rules |= seed % 7 == 0 ? RULE_WINDOW : 0;
        what.results = WANT_WEIGHTS;
        what.views = seed % 2 ? 1u << VIEW_RECEIVED_SUM : 1u << VIEW_ARGMAX;
        observe(on->context, &what, false);
        observe(several, &what, false);
        observe(several, &what, true);
    }
    attn_context_destroy(several);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_view_alone),
        cmocka_unit_test(each_view_beside_each),
        cmocka_unit_test(all_views_of_every_score),
        cmocka_unit_test(weights_of_every_type_and_rows),
        cmocka_unit_test(long_sequences),
        cmocka_unit_test(views_are_made_of_the_weights),
        cmocka_unit_test(weights_are_narrowed_exactly),
        cmocka_unit_test(the_path_is_that_of_the_mean),
        cmocka_unit_test(equals_are_listed_by_key),
        cmocka_unit_test(a_row_of_nan_has_no_ranks),
        cmocka_unit_test(the_observer_sees_all_weights),
    };
    const int failed = run_on_each_isa("views", tests, COUNT(tests));
    print_message("largest error: %.3f of its bound\n", largest_share_of_bound());
    return failed;
}

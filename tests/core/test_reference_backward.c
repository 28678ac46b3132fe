/* test_reference_backward.c: the gradients of the reference against differences of its forward.
 *
 * The loss L is a sum of random numbers times results: output, log-sum-exp, weights, received sums
 * and entropy. Along a direction of an input (one element, or a mixture of all) L is computed at steps
 * of h, h/2 and h/4 either way, with
 *
 *     D(h) = (L(x + h) - L(x - h)) / 2h = L' + h^2 L'''/6 + O(h^4)
 *
 * Richardson's extrapolation R(h) = (4 D(h/2) - D(h)) / 3 is off by O(h^4), so R(h/2) is off by 1/15 of
 * what separates it from R(h), to first order. The gradient must be within
 *
 *     |R(h/2) - R(h)| + 6 E / h
 *
 * of R(h/2). E is how far L may be off by rounding; D(h/4) is then off by 4 E/h, D(h/2) by 2 E/h, and
 * R(h/2) by (4 * 4 + 2) / 3 E/h. E is the sum, over results, of the sizes of L's numbers times the bounds
 * that oracle.c derives for any correct float64 implementation, of which the reference, which does
 * fewer roundings, needs a part; the rest covers the gradient's own rounding, which is of the size of
 * E where 6 E/h is 1536 times that. Inputs are multiples of 2^-24, so that steps are exact.
 *
 * Kinks (the edge of a support, of a window, relu at 0, a jump of hardmax) have no derivative, and none
 * of this holds near them. With S(h) = (L(x + h) - 2 L(x) + L(x - h)) / h, where L is smooth
 *
 *     D(h/2) - D(h/4)    is 1/4 of D(h) - D(h/2)
 *     S(h/2) - 2 S(h/4)  is 1/8 of S(h) - 2 S(h/2)
 *
 * to first order, beside rounding of 6 (3) E/h and 40 (20) E/h. If a slope jumps by J at a distance of
 * t h, D and S change by J (1 - t)/2 and J (1 - t): for t < 1/2, where R(h/2) feels it, either the first
 * ratio is over 0.4 or the second over 1/4, or R(h/2) is off by less than separates it from R(h). The
 * same holds for jumps of L and of its second derivative. Directions where a ratio is too large are
 * skipped, as are those where the bound says nothing; both are counted, and must be few. */
#include "oracle.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attn/gradients.h"

/* ---------------------------------------------------------------------------------------------
 * Trials: a sample, its loss, and its gradients
 * ------------------------------------------------------------------------------------------- */

enum { MAX_INPUTS = 32 };

/* An input, its gradient, and the direction it is moved in. */
typedef struct input {
    const char *name;
    attn_tensor x, base, direction; /* x: the sample's own memory; base: what was there */
    attn_tensor *gradient;
} input;

typedef struct trial {
    sample s;
    attn_result_gradients from;
    attn_input_gradients to;
    input inputs[MAX_INPUTS];
    int count;
    double error; /* E */
    void *owned[6 * MAX_INPUTS];
    int owned_count;
} trial;

static attn_tensor own(trial *t, attn_tensor tensor) {
    assert_true(t->owned_count < (int)COUNT(t->owned));
    t->owned[t->owned_count++] = tensor.data;
    return tensor;
}

static attn_tensor filled(trial *t, const attn_tensor *like, double x) {
    const attn_tensor copy = own(t, tensor_copy(like, ATTN_F64));
    for (int64_t at[4] = {0}; index_inside(at, like->shape); index_next(at, like->shape))
        set_element(&copy, at[0], at[1], at[2], at[3], x);
    return copy;
}

/* An input that takes part: rounded, so that steps from it are exact. */
static void add_input(trial *t, const char *name, attn_tensor x, attn_tensor *gradient) {
    if (x.data == NULL) return;
    assert_true(t->count < MAX_INPUTS);
    for (int64_t at[4] = {0}; index_inside(at, x.shape); index_next(at, x.shape)) {
        const double e = element(&x, at[0], at[1], at[2], at[3]);
        set_element(&x, at[0], at[1], at[2], at[3], isfinite(e) ? rint(e * 0x1p24) * 0x1p-24 : e);
    }
    *gradient = filled(t, &x, NAN);
    t->inputs[t->count++] = (input){.name = name,
                                    .x = x,
                                    .base = own(t, tensor_copy(&x, ATTN_F64)),
                                    .direction = filled(t, &x, 0),
                                    .gradient = gradient};
}

static attn_tensor number(double *x) {
    return attn_tensor_f64(x, 1, 1, 1, 1);
}

static void add_relative(trial *t) {
    attn_relative *const r = &t->s.relative;
    attn_input_gradients *const to = &t->to;
    if (t->s.problem.score.relative == NULL) return;
    add_input(t, "relative.bias", r->bias, &to->relative_bias);
    add_input(t, "relative.keys", r->keys, &to->relative_keys);
    add_input(t, "relative.queries", r->queries, &to->relative_queries);
    add_input(t, "relative.values", r->values, &to->relative_values);
    add_input(t, "content_bias", r->content_bias, &to->content_bias);
    add_input(t, "position_bias", r->position_bias, &to->position_bias);
}

static void add_location(trial *t) {
    attn_location *const l = &t->s.location;
    if (t->s.problem.score.location == NULL) return;
    add_input(t, "previous", l->previous, &t->to.previous);
    add_input(t, "filters", l->filters, &t->to.filters);
    add_input(t, "location.projection", l->projection, &t->to.location_projection);
}

/* What is in effect by default is said, so that it can be changed. */
static void add_normalizer(trial *t) {
    attn_normalizer *const n = &t->s.problem.normalizer;
    attn_local *const l = &t->s.local;
    if (n->temperature == 0) n->temperature = 1;
    add_input(t, "temperature", number(&n->temperature), &t->to.temperature);
    if (n->kind == ATTN_SIGMOID)
        add_input(t, "sigmoid_bias", number(&n->bias), &t->to.sigmoid_bias);
    if (n->local == NULL) return;
    if (l->sigma == 0) l->sigma = l->half_width / 2;
    add_input(t, "centers", l->centers, &t->to.centers);
    if (isfinite(l->sigma)) add_input(t, "sigma", number(&l->sigma), &t->to.sigma);
}

static void add_score(trial *t) {
    attn_score *const score = &t->s.problem.score;
    attn_input_gradients *const to = &t->to;
    static const double defaults[SCORE_KINDS] = {
        [ATTN_SCORE_GENERAL] = 1, [ATTN_SCORE_ADDITIVE] = 1,  [ATTN_SCORE_CONCAT] = 1,
        [ATTN_SCORE_COSINE] = 1,  [ATTN_SCORE_GAUSSIAN] = .5, [ATTN_SCORE_LOCATION] = 1,
        [ATTN_SCORE_CUSTOM] = 1};
    const double other = 1 / sqrt((double)t->s.spec.d);
    if (score->scale == 0)
        score->scale = score->kind == ATTN_SCORE_DOT ? other : defaults[score->kind];
    add_input(t, "bias", score->bias, &to->bias);
    add_input(t, "alibi_slopes", score->alibi_slopes, &to->alibi_slopes);
    add_input(t, "sinks", score->sinks, &to->sinks);
    add_input(t, "scales", score->scales, &to->scales);
    if (score->kind != ATTN_SCORE_CUSTOM) add_input(t, "scale", number(&score->scale), &to->scale);
    if (score->softcap > 0) add_input(t, "softcap", number(&score->softcap), &to->softcap);
    add_input(t, "weight", score->weight, &to->weight);
    add_input(t, "projection", score->projection, &to->projection);
    add_input(t, "offset", score->offset, &to->offset);
}

static const double alphas[] = {0, 1.25, 2, 3};

/* A callback with a slope, which hides an eleventh of all pairs, and the way back through it. */
static bool bent_away(const attn_pairs *p, int r, int c) {
    return (3 * (p->key + c) + 5 * (p->query + r) + p->head + p->sequence) % 11 == 0;
}

static void bend_scores(void *user, const attn_pairs *p) {
    assert_ptr_equal(user, alphas);
    for (int r = 0; r < p->rows; r++) {
        for (int c = 0; c < p->keys; c++) {
            const double x = pair_element(p, r, c);
            const double phase = (double)(p->key + c + p->head);
            set_pair_element(p, r, c, bent_away(p, r, c) ? -INFINITY : x + .5 * sin(x + phase));
        }
    }
}

static void bend_gradients(void *user, const attn_pairs *scores, const attn_pairs *gradients) {
    assert_ptr_equal(user, alphas);
    assert_true(scores->data != gradients->data && scores->dtype == gradients->dtype);
    for (int r = 0; r < scores->rows; r++) {
        for (int c = 0; c < scores->keys; c++) {
            const double phase = (double)(scores->key + c + scores->head);
            const double slope = 1 + .5 * cos(pair_element(scores, r, c) + phase);
            const double d = pair_element(gradients, r, c);
            if (bent_away(scores, r, c)) assert_true(d == 0);
            set_pair_element(gradients, r, c, bent_away(scores, r, c) ? 0 : d * slope);
        }
    }
}

static void bend(trial *t) {
    t->s.problem.score.callback = bend_scores;
    t->to.callback = bend_gradients;
    t->s.problem.score.callback_user = t->to.callback_user = (void *)(uintptr_t)alphas;
}

/* Random numbers of L for a result; sizes in `from` are those of the result. */
static void add_result(trial *t, const attn_tensor *result, attn_tensor *from, uint64_t seed) {
    if (result->data == NULL) return;
    *from = filled(t, result, 0);
    uint64_t k = 0;
    for (int64_t x[4] = {0}; index_inside(x, from->shape); index_next(x, from->shape), k++)
        if (isfinite(element(result, x[0], x[1], x[2], x[3])))
            set_element(from, x[0], x[1], x[2], x[3], random_normal(t->s.spec.seed + seed, k));
}

/* The entropy of weights below 0 is NaN. The log-sum-exp of a row that sees nothing is -infinity, and
 * has no share in L. */
static void add_results(trial *t) {
    const attn_problem *const p = &t->s.problem;
    if (attn_reference_forward(p) != ATTN_OK) fail_msg("%s", attn_error_message());
    add_result(t, &p->output, &t->from.output, 50);
    add_result(t, &p->lse, &t->from.lse, 51);
    add_result(t, &p->weights, &t->from.weights, 52);
    add_result(t, &t->s.views.received_sum, &t->from.received_sum, 53);
    if (p->normalizer.kind != ATTN_LINEAR) add_result(t, &t->s.views.entropy, &t->from.entropy, 54);
}

static void backward(const trial *t) {
    if (attn_reference_backward(&t->s.problem, &t->from, &t->to) != ATTN_OK)
        fail_msg("%s\n%s", sample_text(&t->s, ATTN_ISA_BEST), attn_error_message());
}

static void trial_make(trial *t, spec what) {
    *t = (trial){0};
    what.dtype = ATTN_F64;
    what.layout = LAYOUT_DENSE;
    what.results = WANT_ALL;
    what.views = 1u << VIEW_RECEIVED_SUM | 1u << VIEW_ENTROPY;
    sample_make(&t->s, &what);
    if (t->s.problem.score.callback != NULL) bend(t);
    add_input(t, "query", t->s.problem.query, &t->to.query);
    add_input(t, "key", t->s.problem.key, &t->to.key);
    add_input(t, "value", t->s.problem.value, &t->to.value);
    add_score(t);
    add_relative(t);
    add_location(t);
    add_normalizer(t);
    add_results(t);
}

static void trial_free(trial *t) {
    for (int k = 0; k < t->owned_count; k++) free(t->owned[k]);
    sample_free(&t->s);
}

/* ---------------------------------------------------------------------------------------------
 * The loss, and how far it may be off
 * ------------------------------------------------------------------------------------------- */

/* sum of from * result; long double, so that this sum adds nothing to E */
static long double product(const attn_tensor *from, const attn_tensor *result) {
    long double sum = 0;
    if (from->data == NULL) return 0;
    for (int64_t x[4] = {0}; index_inside(x, from->shape); index_next(x, from->shape)) {
        const double by = element(from, x[0], x[1], x[2], x[3]);
        if (by != 0) sum += (long double)by * element(result, x[0], x[1], x[2], x[3]);
    }
    return sum;
}

static double loss(const trial *t) {
    const attn_problem *const p = &t->s.problem;
    if (attn_reference_forward(p) != ATTN_OK) fail_msg("%s", attn_error_message());
    return (double)(product(&t->from.output, &p->output) + product(&t->from.lse, &p->lse) +
                    product(&t->from.weights, &p->weights) +
                    product(&t->from.received_sum, &t->s.views.received_sum) +
                    product(&t->from.entropy, &t->s.views.entropy));
}

/* The most that -w log w changes within b of w, and (n + 4) u of its size for its own sum, product and
 * logarithm. Its slope is -log w - 1, and within b <= w/2 of w no more than |log w| + log 2 + 1 in size.
 * Below 3 b it is no larger in size than 3 b (|log 3 b| + 1), at either end, if 3 b is small; and b is. */
static double entropy_change(double w, double b, int64_t n) {
    const double change = b == 0       ? 0
                          : w >= 2 * b ? b * (fabs(log(w)) + 2)
                                       : 6 * b * (fabs(log(3 * b)) + 1);
    return change + (w > 0 ? (double)(n + 4) * 0x1p-53 * fabs(w * log(w)) : 0);
}

/* |from[b][h][i][j]| off; 0 where `from` is absent or 0, whatever is off there */
static double part(const attn_tensor *from, int64_t b, int64_t h, int64_t i, int64_t j,
                   double off) {
    const double size = from->data == NULL ? 0 : fabs(element(from, b, h, i, j));
    return size == 0 ? 0 : size * off;
}

static int64_t place_of(const trial *t, int64_t head) {
    const attn_views *const v = &t->s.views;
    if (v->heads == NULL) return head;
    for (int64_t place = 0; place < v->head_count; place++) {
        if (v->heads[place] == head) return place;
    }
    return -1;
}

static double error_of_row(const trial *t, const oracle *o, const int64_t x[4],
                           const stretch *where) {
    const attn_result_gradients *const from = &t->from;
    const int64_t b = x[0], h = x[1], i = x[2], place = place_of(t, h);
    double sum = part(&from->lse, b, h, i, 0, element(&o->lse_error, b, h, i, 0));
    for (int64_t c = 0; c < t->s.spec.d_value; c++)
        sum += part(&from->output, b, h, i, c, bound_at(&t->s, o, (int64_t[4]){b, h, i, c}));
    for (int64_t j = 0; j < where->n_key; j++) {
        const double off = element(&o->weight_error, b, h, i, j);
        const double w = element(&o->problem.weights, b, h, i, j);
        sum += part(&from->weights, b, h, i, j, off);
        if (place < 0) continue;
        sum += part(&from->received_sum, where - t->s.stretches, place, 0, j, off);
        sum += part(&from->entropy, b, place, i, 0, entropy_change(w, off, where->n_key));
    }
    return sum;
}

static double error_of_loss(const trial *t) {
    const spec *const w = &t->s.spec;
    const int64_t rows[4] = {w->batch, w->heads, w->n_query, 1};
    double sum = 0;
    oracle o;
    oracle_make(&o, &t->s);
    for (int64_t x[4] = {0}; index_inside(x, rows); index_next(x, rows)) {
        const stretch *const where = stretch_of(&t->s, x[0], x[2]);
        if (where != NULL) sum += error_of_row(t, &o, x, where);
    }
    oracle_free(&o);
    return sum;
}

/* ---------------------------------------------------------------------------------------------
 * Differences
 * ------------------------------------------------------------------------------------------- */

static const double STEP = 0x1p-8; /* h */

static struct {
    int64_t all, kinks, loose;
    double largest_share;
} counted;

/* Derivatives that are far from 0, by what they are of. */
static struct {
    const char *what;
    int64_t times;
} told[MAX_INPUTS];
static int told_count;

static void tell(const char *what) {
    int k = 0;
    while (k < told_count && strcmp(told[k].what, what) != 0) k++;
    assert_true(k < MAX_INPUTS);
    if (k == told_count) told[told_count++].what = what;
    told[k].times++;
}

static void move_input(const input *of, double steps) {
    const attn_tensor *const x = &of->x;
    for (int64_t at[4] = {0}; index_inside(at, x->shape); index_next(at, x->shape)) {
        const double from = element(&of->base, at[0], at[1], at[2], at[3]);
        const double by = element(&of->direction, at[0], at[1], at[2], at[3]);
        if (by != 0) set_element(x, at[0], at[1], at[2], at[3], from + steps * by);
    }
}

/* L where all inputs have gone some steps in their directions. */
static double loss_at(const trial *t, double steps) {
    for (int k = 0; k < t->count; k++) move_input(&t->inputs[k], steps);
    const double x = loss(t);
    for (int k = 0; k < t->count; k++) move_input(&t->inputs[k], 0);
    return x;
}

/* D and S of h, h/2, h/4 */
typedef struct differences {
    double d[3], s[3];
} differences;

static differences differences_of(const trial *t) {
    differences x;
    const double here = loss_at(t, 0);
    if (!isfinite(here)) fail_msg("%s: a loss of %g", sample_text(&t->s, ATTN_ISA_BEST), here);
    for (int k = 0; k < 3; k++) {
        const double h = ldexp(STEP, -k), up = loss_at(t, h), down = loss_at(t, -h);
        x.d[k] = (up - down) / (2 * h);
        x.s[k] = ((up - here) - (here - down)) / h;
    }
    return x;
}

/* A window that moves off all keys leaves a log-sum-exp of -infinity. */
static bool has_kink(const differences *x, double noise) {
    const double *const d = x->d, *const s = x->s;
    return !isfinite(s[0] + s[1] + s[2]) ||
           fabs(d[1] - d[2]) > .4 * fabs(d[0] - d[1]) + 8 * noise ||
           fabs(s[1] - 2 * s[2]) > fabs(s[0] - 2 * s[1]) / 4 + 45 * noise;
}

/* Whether L changes along the directions as `expected` says. */
static void compare(const trial *t, const char *what, double expected) {
    const double noise = t->error / STEP;
    const differences x = differences_of(t);
    counted.all++;
    if (has_kink(&x, noise)) {
        counted.kinks++;
        return;
    }
    const double coarse = (4 * x.d[1] - x.d[0]) / 3, fine = (4 * x.d[2] - x.d[1]) / 3;
    const double bound = fabs(fine - coarse) + 6 * noise, off = fabs(expected - fine);
    if (bound > 1e-3 * (1 + fabs(fine))) counted.loose++;
    if (fabs(fine) > 100 * bound) tell(what);
    if (!(off <= bound))
        fail_msg("%s\n%s: the derivative is %.17g, but differences are %.12g, %.12g, %.12g: off by "
                 "%g, bound %g",
                 sample_text(&t->s, ATTN_ISA_BEST), what, expected, x.d[0], x.d[1], x.d[2], off,
                 bound);
    if (bound > 0 && off / bound > counted.largest_share) counted.largest_share = off / bound;
}

static void compare_gradient(const trial *t, const input *of) {
    compare(t, of->name, (double)product(of->gradient, &of->direction));
}

static bool is_finite(const attn_tensor *t, const int64_t x[4]) {
    return isfinite(element(t, x[0], x[1], x[2], x[3]));
}

/* One element; one that hides pairs (-infinity, or a window without factors) cannot be moved. */
static void compare_element(const trial *t, const input *of, const int64_t x[4]) {
    if (!is_finite(&of->base, x)) {
        assert_true(element(of->gradient, x[0], x[1], x[2], x[3]) == 0);
        return;
    }
    set_element(&of->direction, x[0], x[1], x[2], x[3], 1);
    compare_gradient(t, of);
    set_element(&of->direction, x[0], x[1], x[2], x[3], 0);
}

/* Any direction of all elements, but for those that cannot be moved. */
static void mix(const input *of, stream *from) {
    static const double steps[] = {-1, -.5, .5, 1};
    const attn_tensor *const to = &of->direction;
    for (int64_t x[4] = {0}; index_inside(x, to->shape); index_next(x, to->shape)) {
        const double by = is_finite(&of->base, x) ? steps[draw(from, 0, 3)] : 0;
        set_element(to, x[0], x[1], x[2], x[3], by);
    }
}

static void stay(const input *of) {
    const attn_tensor *const to = &of->direction;
    for (int64_t x[4] = {0}; index_inside(x, to->shape); index_next(x, to->shape))
        set_element(to, x[0], x[1], x[2], x[3], 0);
}

static void compare_input(const trial *t, const input *of, int64_t elements, stream *from) {
    const int64_t *const n = of->x.shape;
    const int64_t all = (int64_t)tensor_elements(&of->x);
    if (all == 0) return;
    mix(of, from);
    compare_gradient(t, of);
    stay(of);
    for (int64_t k = 0; all > 1 && k < elements; k++) {
        const int64_t at = elements < all ? draw(from, 0, all - 1) : k;
        const int64_t x[4] = {at / (n[1] * n[2] * n[3]), at / (n[2] * n[3]) % n[1],
                              at / n[3] % n[2], at % n[3]};
        if (k < all) compare_element(t, of, x);
    }
}

/* Every input that takes part: a mixture of its elements, and some of them (at most all) alone. */
static void trial_run(trial *t, int64_t elements) {
    stream from = {.seed = t->s.spec.seed + 60};
    backward(t);
    t->error = error_of_loss(t);
    for (int k = 0; k < t->count; k++) compare_input(t, &t->inputs[k], elements, &from);
}

static void try(const spec *what, int64_t elements) {
    trial *const t = malloc(sizeof *t);
    assert_non_null(t);
    trial_make(t, *what);
    trial_run(t, elements);
    trial_free(t);
    free(t);
}

/* ---------------------------------------------------------------------------------------------
 * Tests
 * ------------------------------------------------------------------------------------------- */

enum { FEW = 2, EVERY = 1000 };

static spec usual(uint64_t seed) {
    return (spec){.seed = seed,
                  .batch = 2,
                  .heads = 4,
                  .kv_heads = 2,
                  .n_query = 3,
                  .n_key = 5,
                  .d = 3,
                  .d_value = 2};
}

/* At most one in `few` has been skipped since the last call. */
static void assert_few_skipped(int64_t few) {
    print_message("%" PRId64 " directions, %" PRId64 " with a kink, %" PRId64
                  " whose bound says nothing; largest error: %.3f of its bound\n",
                  counted.all, counted.kinks, counted.loose, counted.largest_share);
    assert_true(counted.all > 100);
    assert_true(few * (counted.kinks + counted.loose) <= counted.all);
    memset(&counted, 0, sizeof counted);
}

static void every_score_and_normalizer(void **state) {
    (void)state;
    for (uint64_t k = 0; k < 3 * SCORE_KINDS * NORMALIZERS; k++) {
        spec what = usual(100 + k);
        what.kind = (attn_score_kind)(k % SCORE_KINDS);
        what.normalizer = (attn_normalizer_kind)(k / SCORE_KINDS % NORMALIZERS);
        what.alpha = alphas[k % COUNT(alphas)];
        what.terms = k % 2 != 0 ? TERM_TEMPERATURE | TERM_OFFSET : 0;
        if (what.kind == ATTN_SCORE_CUSTOM) what.terms |= TERM_SCORE_CALL;
        try(&what, FEW);
    }
    assert_few_skipped(20);
}

static void every_element_of_plain_attention(void **state) {
    (void)state;
    for (uint64_t k = 0; k < 6; k++) {
        spec what = usual(20 + k);
        if (k % 2 != 0) what.kv_heads = k == 1 ? 1 : 4;
        what.rules = k > 2 ? RULE_CAUSAL | RULE_SINKS : 0;
        try(&what, EVERY);
    }
    assert_int_equal(counted.kinks + counted.loose, 0);
    assert_few_skipped(1000);
}

static void every_term(void **state) {
    (void)state;
    static const attn_score_kind kinds[] = {ATTN_SCORE_DOT, ATTN_SCORE_ADDITIVE, ATTN_SCORE_CONCAT};
    for (uint64_t k = 0; k < 2 * 3 * TERMS; k++) {
        spec what = usual(1000 + k);
        what.kind = kinds[k % 3];
        what.terms = 1u << k / 3 % TERMS;
        if (what.terms & (TERM_T5 | TERM_T5_CAUSAL)) what.terms |= TERM_RELATIVE_BIAS;
        what.rules = k > 3 * TERMS ? RULE_BOTTOM_RIGHT | RULE_OFFSET : 0;
        try(&what, 2 * FEW);
    }
    assert_few_skipped(50);
}

static void every_rule(void **state) {
    (void)state;
    for (uint64_t k = 0; k < 3 * RULES; k++) {
        spec what = usual(2000 + k);
        what.kind = k % 3 == 0 ? ATTN_SCORE_ADDITIVE : ATTN_SCORE_DOT;
        what.rules = 1u << k % RULES;
        what.some_heads = k % 2 != 0;
        try(&what, 2 * FEW);
    }
    assert_few_skipped(1000);
}

/* L of one result alone; the others are absent. */
static void every_result_alone(void **state) {
    (void)state;
    for (uint64_t k = 0; k < 5 * NORMALIZERS; k++) {
        trial *const t = malloc(sizeof *t);
        assert_non_null(t);
        spec what = usual(3000 + k);
        what.normalizer = (attn_normalizer_kind)(k / 5);
        what.terms = TERM_DROPOUT | TERM_LOCAL | TERM_SCALES;
        trial_make(t, what);
        const attn_result_gradients all = t->from;
        memset(&t->from, 0, sizeof t->from);
        if (k % 5 == 0) t->from.output = all.output;
        if (k % 5 == 1) t->from.lse = all.lse;
        if (k % 5 == 2) t->from.weights = all.weights;
        if (k % 5 == 3) t->from.received_sum = all.received_sum;
        if (k % 5 == 4) t->from.entropy = all.entropy;
        trial_run(t, FEW);
        trial_free(t);
        free(t);
    }
    assert_few_skipped(20);
}

static void everything_at_once(void **state) {
    (void)state;
    const uint64_t problems = (uint64_t)grid_size(300, 3000);
    for (uint64_t seed = 1; seed <= problems; seed++) {
        spec what = any_spec(seed, 6, 4);
        what.n_query = what.n_query < 6 ? what.n_query : 6;
        what.d = what.d < 5 ? what.d : 5;
        what.d_value = what.d_value < 4 ? what.d_value : 4;
        try(&what, FEW);
    }
    assert_few_skipped(20);
}

/* By now every input has had a gradient that counts, many times. */
static void every_input_has_been_told(void **state) {
    (void)state;
    assert_int_equal(told_count, 25);
    for (int k = 0; k < told_count; k++) {
        print_message("%s: %" PRId64 "\n", told[k].what, told[k].times);
        assert_true(told[k].times >= 10);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Forward mode
 * ------------------------------------------------------------------------------------------- */

/* Tangents of the inputs that attn_jvp has; places for those of the results. */
static attn_tangents tangents_of(trial *t, stream *from) {
    attn_tangents tangents = {0};
    const struct {
        const char *name;
        attn_tensor *tangent;
    } all[] = {{"query", &tangents.query},
               {"key", &tangents.key},
               {"value", &tangents.value},
               {"bias", &tangents.bias}};
    for (int k = 0; k < t->count; k++) {
        for (size_t n = 0; n < COUNT(all); n++) {
            if (strcmp(t->inputs[k].name, all[n].name) != 0 || draw_one_in(from, 5)) continue;
            mix(&t->inputs[k], from);
            *all[n].tangent = t->inputs[k].direction;
        }
    }
    tangents.output = filled(t, &t->from.output, NAN);
    tangents.lse = filled(t, &t->from.lse, NAN);
    tangents.weights = filled(t, &t->from.weights, NAN);
    return tangents;
}

/* The loss changes as its numbers times the tangents of results say; and as the gradients times the
 * tangents of inputs do, which is the same: both are within the part of E that their own rounding is
 * (see above). */
static void try_jvp(trial *t, const spec *what) {
    stream from = {.seed = what->seed + 61};
    trial_make(t, *what);
    t->from.received_sum = t->from.entropy = (attn_tensor){0};
    t->error = error_of_loss(t);
    const attn_tangents tangents = tangents_of(t, &from);
    if (attn_reference_jvp(&t->s.problem, &tangents) != ATTN_OK)
        fail_msg("%s\n%s", sample_text(&t->s, ATTN_ISA_BEST), attn_error_message());
    const double forward =
        (double)(product(&t->from.output, &tangents.output) + product(&t->from.lse, &tangents.lse) +
                 product(&t->from.weights, &tangents.weights));
    compare(t, "forward mode", forward);
    long double back = 0;
    backward(t);
    for (int k = 0; k < t->count; k++)
        back += product(&t->inputs[k].direction, t->inputs[k].gradient);
    if (!(fabs((double)back - forward) <= 6 * t->error / STEP))
        fail_msg("%s: %.17g forward, %.17g backward", sample_text(&t->s, ATTN_ISA_BEST), forward,
                 (double)back);
    trial_free(t);
}

static void forward_mode(void **state) {
    (void)state;
    trial *const t = malloc(sizeof *t);
    assert_non_null(t);
    memset(&counted, 0, sizeof counted);
    for (uint64_t seed = 1; seed <= 250; seed++) {
        spec what = any_spec(seed, 6, 4);
        what.n_query = what.n_query < 6 ? what.n_query : 6;
        what.d = what.d < 5 ? what.d : 5;
        what.kind = ATTN_SCORE_DOT;
        what.normalizer = ATTN_SOFTMAX;
        what.terms &= TERM_SCALES | TERM_MASK_CALL | TERM_TEMPERATURE | TERM_DROPOUT;
        try_jvp(t, &what);
    }
    assert_few_skipped(1000);
    free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_score_and_normalizer),
        cmocka_unit_test(every_element_of_plain_attention),
        cmocka_unit_test(every_term),
        cmocka_unit_test(every_rule),
        cmocka_unit_test(every_result_alone),
        cmocka_unit_test(everything_at_once),
        cmocka_unit_test(every_input_has_been_told),
        cmocka_unit_test(forward_mode),
    };
    return cmocka_run_group_tests_name("reference backward", tests, NULL, NULL);
}

/* oracle_gradients.c: what every gradient of a sample is, how far off one may be, and whether it is
 * no further.
 *
 * Row by row, oracle_gradients_weigh.c finds dL/dz of each pair and oracle_gradients_score.c what
 * that gives to each input. A slot collects what one element is given: values, their errors, their
 * sizes and their number. A gradient is then off by
 *
 *     e + (N + inner + 16) u size + u |gradient| + (count + 16) tiny
 *
 * 16 for the products that make a term; tiny for those that are flushed. N is what the longest chain of additions adds:
 * no more than there are terms; in a tile, 192 keys or 64 queries one after the other; stretches of
 * keys and blocks of queries after that, and heads and sequences, where an input is shared by them. Where a
 * term is made of sums, or sums are multiplied afterwards by a matrix, `inner` counts these:
 *
 *     general     d_query + d_key
 *     additive    2 hidden + 4: the length of the weight, and projecting on it; and location's
 *                 channels + width
 *     concat      d_query + d_key more
 *     cosine      4 d + 28: as scores, and again to project on a unit vector
 *
 * The reference has no tiles: its N is the number of terms. It and this oracle are off by the errors
 * for u = 2^-53 each. All errors but those of undecided supports are proportional to u, and both take
 * weights from the reference's forward, so that they decide alike. */
#include "oracle_gradients.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tiles/table.h"

/* ---------------------------------------------------------------------------------------------
 * Making
 * ------------------------------------------------------------------------------------------- */

static void *own(gradient_oracle *of, void *memory) {
    if (memory == NULL) fail_msg("no memory for an oracle of gradients");
    if (of->owned_count == COUNT(of->owned)) fail_msg("the oracle owns too much");
    of->owned[of->owned_count++] = memory;
    return memory;
}

static void widen_from(gradient_oracle *of) {
    attn_tensor *const all[] = {&of->from.output, &of->from.lse, &of->from.weights,
                                &of->from.received_sum, &of->from.entropy};
    for (size_t k = 0; k < COUNT(all); k++) {
        if (all[k]->data == NULL) continue;
        *all[k] = tensor_copy(all[k], ATTN_F64);
        own(of, all[k]->data);
    }
}

static void make_places(gradient_oracle *of) {
    for (int k = 0; k < GRADIENTS; k++) {
        attn_tensor *const t = gradient_of(&of->to, k);
        if (t->data == NULL) continue;
        const size_t n = tensor_elements(t) + 1;
        of->sums[k] = own(of, calloc(n, sizeof(slot)));
        *t = attn_tensor_f64(own(of, calloc(n, sizeof(double))), t->shape[0], t->shape[1],
                             t->shape[2], t->shape[3]);
    }
}

/* Dropout falls alike on all problems of a seed: with sigmoid and no score each weight is 1/2. */
static void find_kept(gradient_oracle *of) {
    const attn_problem *const p = &of->o->problem;
    attn_problem half = {.query = p->query, .key = p->key, .value = p->value};
    if (p->normalizer.dropout == 0) return;
    half.score.kind = ATTN_SCORE_CUSTOM;
    half.query.shape[3] = half.key.shape[3] = 0; /* of two widths in some kinds */
    half.mask.query_starts = p->mask.query_starts;
    half.mask.key_starts = p->mask.key_starts;
    half.mask.sequences = p->mask.sequences;
    half.normalizer = (attn_normalizer){
        .kind = ATTN_SIGMOID, .dropout = p->normalizer.dropout, .seed = p->normalizer.seed};
    of->kept = p->weights;
    of->kept.data = own(of, calloc(tensor_elements(&of->kept) + 1, sizeof(double)));
    half.weights = of->kept;
    if (attn_reference_forward(&half) != ATTN_OK) fail_msg("%s", attn_error_message());
    for (size_t k = 0; k < tensor_elements(&of->kept); k++) ((double *)of->kept.data)[k] *= 2;
}

static void go_back(gradient_oracle *of, row r, pair *pairs) {
    const int64_t n = r.at->n_key, tiles = n / ATTN_KEY_BLOCK + 1;
    const back b = {of, r, pairs,
                    (double)(n <= ATTN_KEY_BLOCK ? n : ATTN_KEY_BLOCK + 2 * tiles) + 4};
    go_back_to_scores(&b);
    go_back_to_inputs(&b);
}

void gradient_oracle_make(gradient_oracle *to, const sample *s, const oracle *o,
                          const gradients *g) {
    *to = (gradient_oracle){.s = s, .o = o, .from = g->from, .to = g->to};
    const size_t n = (size_t)s->spec.n_key + 1;
    double *const room = own(to, calloc(n, 2 * sizeof *room));
    pair *const pairs = own(to, calloc(n, sizeof *pairs));
    widen_from(to);
    make_places(to);
    find_kept(to);
    attn_problem without = o->problem; /* results, which it does not read */
    without.output = without.lse = without.weights = (attn_tensor){0};
    if (attn_reference_backward(&without, &to->from, &to->to) != ATTN_OK)
        fail_msg("the reference: %s", attn_error_message());
    for (int64_t b = 0; b < s->spec.batch; b++) {
        for (int64_t h = 0; h < s->spec.heads; h++) {
            for (int64_t i = 0; i < s->spec.n_query; i++) {
                const stretch *const where = stretch_of(s, b, i);
                if (where != NULL) go_back(to, row_of(s, o, where, h, i, room, room + n), pairs);
            }
        }
    }
}

void gradient_oracle_free(gradient_oracle *to) {
    for (int k = 0; k < to->owned_count; k++) free(to->owned[k]);
    to->owned_count = 0;
}

/* The index of an element that broadcasts, in a dense tensor. */
static int64_t place_in(const attn_tensor *t, const int64_t x[4]) {
    int64_t place = 0;
    for (int k = 0; k < 4; k++) place = place * t->shape[k] + (t->shape[k] == 1 ? 0 : x[k]);
    return place;
}

void give(const back *b, int gradient, int64_t i0, int64_t i1, int64_t i2, int64_t i3, about v,
          double size) {
    if (b->g->sums[gradient] == NULL) return;
    const attn_tensor *const t = gradient_of(&b->g->to, gradient);
    slot *const s = &b->g->sums[gradient][place_in(t, (const int64_t[4]){i0, i1, i2, i3})];
    s->x += v.x;
    s->e += v.e;
    s->size += size;
    s->count++;
}

/* ---------------------------------------------------------------------------------------------
 * Bounds
 * ------------------------------------------------------------------------------------------- */

static double inner_sums(const gradient_oracle *of) {
    const attn_problem *const p = &of->o->problem;
    const attn_location *const l = p->score.location;
    const int64_t d = p->query.shape[3], both = d + p->key.shape[3];
    const int64_t features = 2 * p->score.weight.shape[3] + 4;
    const int64_t located = l != NULL ? l->filters.shape[2] + l->filters.shape[3] : 0;
    switch (p->score.kind) {
    case ATTN_SCORE_GENERAL: return (double)both;
    case ATTN_SCORE_ADDITIVE: return (double)(features + located);
    case ATTN_SCORE_CONCAT: return (double)(features + located + both);
    case ATTN_SCORE_COSINE: return (double)(4 * d + 28);
    default: return 0;
    }
}

/* The longest chain of additions that tiles make of a gradient's sum. */
static double longest_chain(const gradient_oracle *of, int gradient) {
    const spec *const w = &of->s->spec;
    const attn_tensor *const t = gradient_of((attn_input_gradients *)&of->to, gradient);
    const int64_t tiles = 2 * (w->n_key / ATTN_KEY_BLOCK + 1), blocks = w->n_query / 64 + 1;
    const int64_t heads = w->heads / (t->shape[1] > 0 ? t->shape[1] : 1);
    const int64_t sequences = t->shape[0] == 1 ? of->s->sequences : 1;
    if (gradient == GRADIENT_QUERY) return (double)(ATTN_KEY_BLOCK + tiles);
    if (gradient == GRADIENT_KEY || gradient == GRADIENT_VALUE)
        return (double)(64 + blocks * heads);
    return (double)(ATTN_KEY_BLOCK + 64 + tiles * blocks * heads * sequences);
}

static double bound_of(const gradient_oracle *of, int gradient, const slot *s, double u,
                       double tiny) {
    const double n = fmin((double)s->count, longest_chain(of, gradient));
    if (s->count == 0) return 0;
    return s->e + (n + inner_sums(of) + 16) * u * s->size + u * fabs(s->x) +
           ((double)s->count + 16) * tiny;
}

/* Twice, as both are off; errors are those of u, and here in proportion. */
static double bound_of_reference(const gradient_oracle *of, const slot *s, double u) {
    if (s->count == 0) return 0;
    return 2 * 0x1p-53 *
           (s->e / u + ((double)s->count + inner_sums(of) + 16) * s->size + fabs(s->x));
}

/* ---------------------------------------------------------------------------------------------
 * Comparing
 * ------------------------------------------------------------------------------------------- */

static double share_of_reference;
static int64_t elements_seen, elements_without;

double largest_share_of_reference(void) {
    return share_of_reference;
}

double share_without_bound(void) {
    return elements_seen > 0 ? (double)elements_without / (double)elements_seen : 0;
}

static void assert_reference(const gradient_oracle *of, attn_isa isa, int gradient,
                             const int64_t x[4], double result, const slot *s, double u) {
    const double bound = bound_of_reference(of, s, u), error = fabs(result - s->x);
    if (isnan(s->x) ? isnan(result) : result == s->x) return;
    if (error <= bound) {
        share_of_reference = fmax(share_of_reference, error / bound);
        return;
    }
    fail_msg("%s\n%s[%" PRId64 "][%" PRId64 "][%" PRId64 "][%" PRId64
             "] is %.17g by the reference, but %.17g by the oracle: off by %g, bound %g",
             sample_text(of->s, isa), gradient_name(gradient), x[0], x[1], x[2], x[3], result, s->x,
             error, bound);
}

static void compare(const gradient_oracle *of, gradients *g, attn_isa isa, int gradient) {
    const attn_tensor *const result = gradient_of(&g->to, gradient);
    const attn_tensor *const expected = gradient_of((attn_input_gradients *)&of->to, gradient);
    const bool single = of->s->spec.dtype == ATTN_F32;
    const double u = (single ? 0x1p-24 : 0x1p-53) + 0x1p-53, tiny = single ? 0x1p-126 : 0x1p-1022;
    for (int64_t x[4] = {0}; index_inside(x, result->shape); index_next(x, result->shape)) {
        const slot *const s = &of->sums[gradient][place_in(expected, x)];
        const double should = element(expected, x[0], x[1], x[2], x[3]);
        const double bound = bound_of(of, gradient, s, u, tiny);
        elements_seen++;
        if (!isnan(should) && !(bound < INFINITY)) {
            elements_without++;
            continue;
        }
        assert_reference(of, isa, gradient, x, should, s, u);
        assert_within(of->s, isa, gradient_name(gradient), x,
                      element(result, x[0], x[1], x[2], x[3]), should, bound);
    }
}

void assert_gradients_close(const gradient_oracle *of, gradients *g, attn_isa isa) {
    for (int k = 0; k < GRADIENTS; k++) {
        if (gradient_of(&g->to, k)->data != NULL) compare(of, g, isa, k);
    }
}

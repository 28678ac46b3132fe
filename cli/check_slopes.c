/* check_slopes.c: how large the derivatives of scores are at most, and how far they may be off.
 *
 * From the largest element and the largest row (its root of a sum of squares) of every input. Of
 * a sum of products of two rows the sizes add up to no more than the product of both (Cauchy and
 * Schwarz).
 *
 * A score is within u (error + 16 size + 8 sizes of what is added) of the exact one:
 * docs/NUMERICS.md, whose N A is `error` here. A derivative comes of no more operations than its
 * score, each of which rounds once; so N, and 16 for scale, temperature and soft cap, bounds its
 * error too, in u times its largest size. Where the derivative depends on the score itself there
 * is more:
 *
 *   soft cap   1 - tanh^2 has a slope of less than 1, so an error D of the score adds D / cap
 *   additive   1 - tanh(x)^2 likewise: x is within u (3 S + 6 + P), S the size of x, P the products
 *              that make x; or half of the same, relative, by exponentials; and 22 u for the rest
 *   factors    by scale, scales and temperature the derivative is the score (or z) over the factor,
 *              and off by as much as that is */
#include "check.h"

#include <math.h>

/* Largest sizes of a tensor: 0 if absent. */
typedef struct sizes {
    double most;          /* element */
    double row, shortest; /* row; of rows that are not 0 */
    double matrix;        /* root of a sum of squares, of all of a head */
} sizes;

static double length_of(const attn_tensor *t, int64_t b, int64_t h, int64_t i, double *most) {
    double sum = 0;
    for (int64_t j = 0; j < t->shape[3]; j++) {
        const double x = check_at(t, b, h, i, j);
        if (!isinf(x)) sum += x * x;
        if (!isinf(x)) *most = fmax(*most, fabs(x));
    }
    return sqrt(sum);
}

static sizes sizes_of(const attn_tensor *t) {
    sizes s = {.shortest = INFINITY};
    if (!t->data) return s;
    for (int64_t b = 0; b < t->shape[0]; b++) {
        for (int64_t h = 0; h < t->shape[1]; h++) {
            double sum = 0;
            for (int64_t i = 0; i < t->shape[2]; i++) {
                const double length = length_of(t, b, h, i, &s.most);
                s.row = fmax(s.row, length);
                if (length > 0) s.shortest = fmin(s.shortest, length);
                sum += length * length;
            }
            s.matrix = fmax(s.matrix, sqrt(sum));
        }
    }
    return s;
}

/* What the kinds work with: scale is that in effect, over the temperature; parts are sizes. */
typedef struct parts {
    const check_problem *c;
    double scale, over; /* 1 / temperature */
    double query_width, key_width;
    sizes query, key, weight, projection, offset;
} parts;

static void set_slope(check_slopes *s, check_id id, double slope, double rounding) {
    s->slope[id] = slope;
    s->rounding[id] = rounding;
}

/* Relative positions are part of it: attn_relative has the formula. */
static void dot_slopes(const parts *p, check_slopes *s) {
    const attn_relative *const r = &p->c->extras.relative;
    const sizes keys = sizes_of(&r->keys), queries = sizes_of(&r->queries),
                content = sizes_of(&r->content_bias), position = sizes_of(&r->position_bias);
    const double n = p->query_width + 3, x = p->scale * p->over;
    s->size = p->scale * ((p->query.row + content.row) * p->key.row +
                          (p->query.row + position.row) * keys.row + p->key.row * queries.row);
    s->error = n * s->size;
    set_slope(s, CHECK_QUERY, x * (p->key.most + keys.most), n);
    set_slope(s, CHECK_KEY, x * (p->query.most + content.most + queries.most), n);
    set_slope(s, CHECK_RELATIVE_KEYS, x * (p->query.most + position.most), n);
    set_slope(s, CHECK_RELATIVE_QUERIES, x * p->key.most, n);
    set_slope(s, CHECK_CONTENT_BIAS, x * p->key.most, n);
    set_slope(s, CHECK_POSITION_BIAS, x * keys.most, n);
}

static void general_slopes(const parts *p, check_slopes *s) {
    const double n = p->query_width + p->key_width, x = p->scale * p->over;
    s->size = p->scale * p->query.row * p->weight.matrix * p->key.row;
    s->error = n * s->size;
    set_slope(s, CHECK_QUERY, x * p->weight.row * p->key.row, n);
    set_slope(s, CHECK_KEY, x * p->weight.matrix * p->query.row, n);
    set_slope(s, CHECK_WEIGHT, x * p->query.most * p->key.most, n);
}

static void location_slopes(const parts *p, check_slopes *s) {
    const double n = p->query_width, x = p->scale * p->over;
    s->size = p->scale * p->query.row * p->weight.row;
    s->error = n * s->size;
    set_slope(s, CHECK_QUERY, x * p->weight.most, n);
    set_slope(s, CHECK_WEIGHT, x * p->query.most, n);
}

/* The derivative is (unit key - cosine * unit query) / |query|; three sums of products make it. */
static void cosine_slopes(const parts *p, check_slopes *s) {
    const double x = p->scale * p->over, n = 2 * p->query_width + 14;
    s->size = p->scale;
    s->error = n * s->size;
    set_slope(s, CHECK_QUERY, 2 * x / p->query.shortest, 2 * n);
    set_slope(s, CHECK_KEY, 2 * x / p->key.shortest, 2 * n);
}

static void gaussian_slopes(const parts *p, check_slopes *s) {
    const double x = p->scale * p->over, n = p->query_width + 4;
    s->size = p->scale * pow(p->query.row + p->key.row, 2);
    s->error = n * s->size;
    set_slope(s, CHECK_QUERY, 2 * x * (p->query.most + p->key.most), n);
    set_slope(s, CHECK_KEY, 2 * x * (p->query.most + p->key.most), n);
}

/* Sizes of x, the argument of tanh, and how many products it comes of, times their sizes. */
typedef struct argument {
    double size, error;
} argument;

static argument argument_of(const parts *p) {
    const attn_location *const l = &p->c->extras.location;
    const bool concat = p->c->exact.score.kind == ATTN_SCORE_CONCAT;
    argument x = {p->query.most + p->key.most, 0};
    if (concat) {
        x.size = p->projection.row * hypot(p->query.row, p->key.row);
        x.error = (p->query_width + p->key_width) * x.size;
    }
    if (p->c->exact.score.location) {
        const double channels = (double)l->filters.shape[2], width = (double)l->filters.shape[3];
        const double size = channels * width * sizes_of(&l->projection).most *
                            sizes_of(&l->filters).most * sizes_of(&l->previous).most;
        x.size += size;
        x.error += (channels + width) * size;
    }
    x.size += p->offset.most;
    return x;
}

/* Slopes of what location-aware scores add, each times the size of a feature's weight. */
static void location_aware_slopes(const parts *p, double weight, double hidden, double rounding,
                                  check_slopes *s) {
    const attn_location *const l = &p->c->extras.location;
    if (!p->c->exact.score.location) return;
    const double channels = (double)l->filters.shape[2], width = (double)l->filters.shape[3];
    const double projection = sizes_of(&l->projection).most, filters = sizes_of(&l->filters).most,
                 previous = sizes_of(&l->previous).most;
    const double n = rounding + hidden + channels + width;
    set_slope(s, CHECK_PREVIOUS, weight * hidden * channels * projection * filters, n);
    set_slope(s, CHECK_FILTERS, weight * hidden * projection * previous, n);
    set_slope(s, CHECK_LOCATION_PROJECTION, weight * width * filters * previous, n);
}

/* A normalised weight w / |w| has elements of 1 at most, whose sizes add up to the root of their
 * number; the derivative of its elements, (1 - unit unit^T) / |w|, multiplies by no more than one
 * and that root. */
static void additive_slopes(const parts *p, check_slopes *s) {
    const attn_score *const score = &p->c->exact.score;
    const bool unit = score->normalize_weight, concat = score->kind == ATTN_SCORE_CONCAT;
    const double hidden = (double)score->weight.shape[3], root = sqrt(hidden);
    const double most = unit ? 1 : p->weight.most, sum = unit ? root : root * p->weight.row;
    const argument of = argument_of(p);
    const double tanh_error = 3 * of.size + 6 + of.error;
    const double x = p->scale * p->over, weight = x * most, n = tanh_error + 22 + hidden;
    const double joined = concat ? hidden * p->projection.most : 1;
    s->size = p->scale * sum;
    s->error = s->size * (tanh_error + 3 * hidden + 22 + (unit ? hidden + 2 : 0));
    set_slope(s, CHECK_QUERY, weight * joined, n);
    set_slope(s, CHECK_KEY, weight * joined, n);
    set_slope(s, CHECK_OFFSET, weight, n);
    set_slope(s, CHECK_PROJECTION, weight * fmax(p->query.most, p->key.most), n);
    set_slope(s, CHECK_WEIGHT, unit ? x * (1 + root) / p->weight.shortest : x, n + hidden);
    location_aware_slopes(p, weight, hidden, n, s);
}

static void custom_slopes(const parts *p, check_slopes *s) {
    (void)p, (void)s;
}

/* Whatever the kind: numbers, and what is added to scores. */
static void common_slopes(const parts *p, check_slopes *s) {
    const attn_problem *const e = &p->c->exact;
    const attn_local *const local = &p->c->extras.local;
    const double distance =
        (double)(e->query.shape[2] + e->key.shape[2]) + fabs((double)e->mask.query_offset);
    const double factors = e->score.scales.data ? sizes_of(&e->score.scales).most : 1;
    const double cap = e->score.softcap, off = s->error + 16 * s->size;
    const double width = local->half_width, sigma = local->sigma;
    const double n = s->size > 0 ? off / s->size : 0;
    s->added = sizes_of(&p->c->extras.relative.bias).most +
               sizes_of(&e->score.alibi_slopes).most * distance + (e->normalizer.gumbel ? 17 : 0);
    s->per_score = e->normalizer.gumbel ? 108 : 0;
    for (check_id id = 0; id < CHECK_INPUTS; id++) {
        if (s->slope[id] > 0) s->rounding[id] += 16 + (cap > 0 ? off / cap + 8 : 0);
    }
    const double kind = s->size / p->scale, own = fabs(e->score.scale);
    if (p->scale > 0) set_slope(s, CHECK_SCALE, factors * kind * p->over, n);
    if (p->scale > 0) set_slope(s, CHECK_SCALES, own * kind * p->over, n);
    /* t - x (1 - t^2), x = score / cap, t = tanh x, lies within -1 .. 1 and has a slope below 1 */
    if (cap > 0) set_slope(s, CHECK_SOFTCAP, p->over, off / cap + 20);
    if (cap > 0) s->rounding[CHECK_SCALE] += off / cap + 8, s->rounding[CHECK_SCALES] += off / cap;
    set_slope(s, CHECK_BIAS, p->over, 4);
    set_slope(s, CHECK_RELATIVE_BIAS, p->over, 4);
    set_slope(s, CHECK_ALIBI, p->over * distance, 4);
    set_slope(s, CHECK_SINKS, 1, 4);
    set_slope(s, CHECK_SIGMOID_BIAS, 1, 4);
    set_slope(s, CHECK_VALUE, 1, 4);
    set_slope(s, CHECK_RELATIVE_VALUES, 1, 4);
    if (!e->normalizer.local || isinf(sigma)) return;
    /* (j - centre) is off by u (2 |j - centre| + 192), as in docs/NUMERICS.md. */
    set_slope(s, CHECK_CENTERS, (width + 192) / (sigma * sigma), 8);
    set_slope(s, CHECK_SIGMA, (width + 192) * (width + 192) / (sigma * sigma * sigma), 12);
}

check_slopes check_find_slopes(const check_problem *c) {
    static void (*const kinds[])(const parts *, check_slopes *) = {
        [ATTN_SCORE_DOT] = dot_slopes,           [ATTN_SCORE_GENERAL] = general_slopes,
        [ATTN_SCORE_ADDITIVE] = additive_slopes, [ATTN_SCORE_CONCAT] = additive_slopes,
        [ATTN_SCORE_COSINE] = cosine_slopes,     [ATTN_SCORE_GAUSSIAN] = gaussian_slopes,
        [ATTN_SCORE_LOCATION] = location_slopes, [ATTN_SCORE_CUSTOM] = custom_slopes};
    const attn_score *const score = &c->exact.score;
    const double factors = score->scales.data ? sizes_of(&score->scales).most : 1;
    const parts p = {.c = c,
                     .scale = fabs(score->scale) * factors,
                     .over = 1 / c->exact.normalizer.temperature,
                     .query_width = (double)c->exact.query.shape[3],
                     .key_width = (double)c->exact.key.shape[3],
                     .query = sizes_of(&c->exact.query),
                     .key = sizes_of(&c->exact.key),
                     .weight = sizes_of(&score->weight),
                     .projection = sizes_of(&score->projection),
                     .offset = sizes_of(&score->offset)};
    check_slopes s = {0};
    kinds[score->kind](&p, &s);
    common_slopes(&p, &s);
    return s;
}

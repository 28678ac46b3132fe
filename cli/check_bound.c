/* check_bound.c: how far a gradient may be off that was computed without a mistake.
 *
 * To first order in u, row by row of scores; j counts the keys that a query sees.
 *
 * z[j] = score / temperature is off by D[j] = (error of the score, check_slopes.c) / temperature
 * + 4 u |z[j]| + 2 u max |z|. A bias is no larger than the score and what else is in it.
 *
 * A weight p[j] (before local factors and dropout) is then off by B[j]:
 *   softmax      p (e^R - 1), R = D[j] + 2 sum of p D + (2 n + 24) u + 6 u (max |z| + |lse|):
 *                once for the forward, whose log-sum-exp comes with that sum, once for the
 *                backward, which makes p of it
 *   sigmoid      p (e^(D + 2 u |z + bias|) - 1 + 8 u)
 *   relu, linear D
 *   relu2        D (2 max(z, 0) + D) + 2 u p
 *   sparsemax,   p = max(r, 0)^e, e = 1/(alpha - 1), where r is off by
 *   entmax       d = 2 (alpha - 1) max D + u (n + 16 + 5 log2 n)/e + 4 u n + 4 u: scores, the
 *                threshold's sum (whose slope is e or more), its search; so p lies between the
 *                powers of r - d and r + d
 *   hardmax      0, or 1 where another key comes as near to the greatest as both D
 * and the final weight w = factor p, off by factor (B + p F), F = u (4 x + 5 + |j - c| (2 |j - c|
 * + 192) / sigma^2 + 2).
 *
 * G[j], the derivative of the loss with respect to w[j], is a sum of d_value products and a few
 * more: of size g[j] = sum |d_output| |value| + |d_weight| + |d_received| + |d_entropy| (|log w|
 * + 1), and off by (d_value + 8) u g[j] + |d_entropy| 2 B/w.
 *
 * q[j] = dp/dz (softmax p; sigmoid p (1 - p); relu 1 if z > 0; relu2 2 max(z, 0); linear 1; sparse
 * p^(2 - alpha) on the support; hardmax 0) is off by b[j], which follows from D and B. Where z,
 * or r, may lie on either side of 0 and q jumps there, the pair is *undecided*: kinks have b =
 * |jump|, smooth has 0.
 *
 * dz[j] = q[j] (G[j] - M + d_lse), M = sum q G / sum q (softmax: sum p G; others 0), of size m:
 *   off M  <=  sum of (b g + q off G + (n + 8) u q g), sparse: and b m, over (sum q - sum b)
 *   off dz <=  b (g + m + |d_lse|) + q (off G + off M + 4 u (g + m + |d_lse|))
 *
 * A gradient is a sum of dz (values: of w d_output; centers and sigma: of w G) times derivatives:
 *   off    <=  sum of slope * (off dz + (rounding + N) u |dz|) + u |gradient|
 * over the N pairs that reach the element, in any order. Slopes are the largest of the whole
 * problem (but for scale, scales and temperature, where they are the pair's own), so that no
 * element is off by more than this says, though most are by far less.
 *
 * The loss is off by no more than sum g (off w + (n + d_value + 8) u w) + |d_lse| (R + 4 u
 * |lse|). */
#include "check.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a gradient sums. */
typedef enum summand { SCORES, VALUES, FACTORS, SINKS } summand;

/* What counts along a dimension of a gradient; ALL: everything goes into one cell. */
typedef enum axis { ALL, BATCH, HEAD, KV_HEAD, QUERY, KEY, AXES } axis;

typedef struct reach {
    axis axes[4];
    summand what;
} reach;

static const reach reaches[CHECK_INPUTS] = {
    [CHECK_QUERY] = {{BATCH, HEAD, QUERY, ALL}, SCORES},
    [CHECK_KEY] = {{BATCH, KV_HEAD, KEY, ALL}, SCORES},
    [CHECK_VALUE] = {{BATCH, KV_HEAD, KEY, ALL}, VALUES},
    [CHECK_BIAS] = {{BATCH, HEAD, QUERY, KEY}, SCORES},
    [CHECK_ALIBI] = {{BATCH, HEAD, ALL, ALL}, SCORES},
    [CHECK_SINKS] = {{BATCH, HEAD, ALL, ALL}, SINKS},
    [CHECK_SCALES] = {{BATCH, HEAD, ALL, ALL}, SCORES},
    [CHECK_WEIGHT] = {{ALL, HEAD, ALL, ALL}, SCORES},
    [CHECK_PROJECTION] = {{ALL, HEAD, ALL, ALL}, SCORES},
    [CHECK_OFFSET] = {{ALL, HEAD, ALL, ALL}, SCORES},
    [CHECK_RELATIVE_BIAS] = {{ALL, HEAD, ALL, ALL}, SCORES},
    [CHECK_RELATIVE_KEYS] = {{ALL, HEAD, ALL, ALL}, SCORES},
    [CHECK_RELATIVE_QUERIES] = {{ALL, HEAD, ALL, ALL}, SCORES},
    [CHECK_RELATIVE_VALUES] = {{ALL, HEAD, ALL, ALL}, VALUES},
    [CHECK_CONTENT_BIAS] = {{ALL, HEAD, ALL, ALL}, SCORES},
    [CHECK_POSITION_BIAS] = {{ALL, HEAD, ALL, ALL}, SCORES},
    [CHECK_PREVIOUS] = {{BATCH, HEAD, QUERY, ALL}, SCORES},
    [CHECK_FILTERS] = {{ALL, HEAD, ALL, ALL}, SCORES},
    [CHECK_LOCATION_PROJECTION] = {{ALL, HEAD, ALL, ALL}, SCORES},
    [CHECK_CENTERS] = {{BATCH, HEAD, QUERY, ALL}, FACTORS},
    [CHECK_SIGMA] = {{ALL, ALL, ALL, ALL}, FACTORS},
    /* the others are numbers of scores: all zero */
};

/* Of one gradient: sums over the pairs of each cell. */
typedef struct cells {
    attn_tensor off[2], size, count; /* off: smooth, with kinks */
} cells;

/* Of one key of a row. */
typedef struct pair {
    double raw, z, d, p, w, factor;
    double g, off_g; /* with respect to the final weight */
    double b_p, off_w;
    double q, b[2];       /* smooth, with kinks */
    double off_z[2], d_z; /* d_z: the size */
    int64_t key;
} pair;

typedef struct bounding {
    const check_problem *c;
    check_bounds *bounds;
    check_slopes slopes;
    double u, tiny, alpha, e; /* e: of entmax, 1/(alpha - 1) */
    attn_tensor raw, scores, weights, plain;
    cells cells[CHECK_INPUTS];
    pair *pairs;
    /* Of the row that it is at: */
    int64_t at[AXES]; /* by axis; not its key */
    int64_t n;        /* keys that it sees */
    double largest, lse, relative, from_lse, from_output;
    double mean, off_mean[2], sink, off_sink[2];
} bounding;

/* ---------------------------------------------------------------------------------------------
 * Weights
 * ------------------------------------------------------------------------------------------- */

static bool is_softmax(const bounding *b) {
    const attn_normalizer_kind kind = b->c->exact.normalizer.kind;
    return kind == ATTN_SOFTMAX || kind == ATTN_SOFTMAX_ONE;
}

static bool is_sparse(const bounding *b) {
    const attn_normalizer_kind kind = b->c->exact.normalizer.kind;
    return kind == ATTN_SPARSEMAX || kind == ATTN_ENTMAX;
}

/* The keys that the query sees, with scores and weights. */
static void read_row(bounding *b) {
    const int64_t *const at = b->at;
    const double over = 1 / b->c->exact.normalizer.temperature, u = b->u;
    const double kept = 1 / (1 - b->c->exact.normalizer.dropout);
    b->n = 0, b->largest = 0;
    for (int64_t j = 0; j < b->scores.shape[3]; j++) {
        const double s = check_at(&b->scores, at[BATCH], at[HEAD], at[QUERY], j);
        if (s == -INFINITY) continue;
        pair *const x = &b->pairs[b->n++];
        const double sizes = fabs(s) + b->slopes.size + 2 * b->slopes.added;
        *x = (pair){.key = j, .z = s * over};
        x->raw = check_at(&b->raw, at[BATCH], at[HEAD], at[QUERY], j);
        x->p = check_at(&b->plain, at[BATCH], at[HEAD], at[QUERY], j);
        x->w = check_at(&b->weights, at[BATCH], at[HEAD], at[QUERY], j);
        x->factor = x->p != 0 ? x->w / x->p : kept;
        x->d = u * (b->slopes.error + 16 * b->slopes.size + 8 * sizes + b->slopes.per_score) * over;
        b->largest = fmax(b->largest, fabs(x->z));
    }
    for (int64_t k = 0; k < b->n; k++) {
        b->pairs[k].d += u * (4 * fabs(b->pairs[k].z) + 2 * b->largest);
    }
}

static const pair *greatest(const bounding *b) {
    const pair *most = &b->pairs[0];
    for (int64_t k = 1; k < b->n; k++) {
        if (b->pairs[k].z > most->z) most = &b->pairs[k];
    }
    return most;
}

static void softmax_row(bounding *b) {
    const pair *const most = greatest(b);
    double sum = 0, off = 0;
    b->lse = most->z - log(most->p);
    for (int64_t k = 0; k < b->n; k++) {
        sum += b->pairs[k].p;
        off += b->pairs[k].p * b->pairs[k].d;
    }
    b->relative = 2 * off + b->u * ((double)(2 * b->n + 24) + 6 * (b->largest + fabs(b->lse)));
    b->sink = fmax(1 - sum, 0);
    for (int64_t k = 0; k < b->n; k++) {
        pair *const x = &b->pairs[k];
        x->b_p = x->p * expm1(x->d + b->relative) + b->tiny;
        x->q = x->p;
        x->b[0] = x->b[1] = x->b_p;
    }
}

static void each_row(bounding *b) {
    const attn_normalizer *const how = &b->c->exact.normalizer;
    for (int64_t k = 0; k < b->n; k++) {
        pair *const x = &b->pairs[k];
        const double positive = fmax(x->z, 0), d = x->d;
        if (how->kind == ATTN_SIGMOID) {
            x->b_p = x->p * (expm1(d + 2 * b->u * fabs(x->z + how->bias)) + 8 * b->u) + b->tiny;
            x->q = x->p * (1 - x->p);
            x->b[0] = x->b[1] = x->b_p + 2 * b->u * x->p;
        } else if (how->kind == ATTN_RELU_SQUARED) {
            x->b_p = x->z < -d ? 0 : d * (2 * positive + d) + 2 * b->u * x->p;
            x->q = 2 * positive;
            x->b[0] = x->b[1] = x->z < -d ? 0 : 2 * d + 2 * b->u * x->q;
        } else {
            const bool relu = how->kind == ATTN_RELU;
            x->b_p = relu && x->z < -d ? 0 : d;
            x->q = relu ? x->z > 0 : 1;
            x->b[1] = relu && fabs(x->z) <= d;
        }
    }
}

static double power(double r, double e) {
    return r > 0 ? pow(r, e) : 0;
}

/* The most that a power with this exponent changes within d of r. */
static double power_change(double r, double d, double e) {
    const double here = power(r, e);
    return fmax(fabs(power(r + d, e) - here), fabs(here - power(r - d, e)));
}

static void sparse_row(bounding *b) {
    const pair *const most = greatest(b);
    const double n = (double)b->n, alpha = b->alpha, steep = (2 - alpha) / (alpha - 1);
    const double threshold = (alpha - 1) * most->z - pow(most->p, alpha - 1);
    double d = 0;
    for (int64_t k = 0; k < b->n; k++) d = fmax(d, b->pairs[k].d);
    d = 2 * (alpha - 1) * d + b->u * ((n + 16 + 5 * log2(n)) / b->e + 4 * n + 4);
    for (int64_t k = 0; k < b->n; k++) {
        pair *const x = &b->pairs[k];
        const double r = (alpha - 1) * x->z - threshold;
        const bool jumps = steep <= 0 && fabs(r) <= d;
        x->b_p = power_change(r, d, b->e) + b->u * (n + 24) * x->p;
        x->q = x->p == 0 ? 0 : pow(x->p, 2 - alpha);
        x->b[0] = jumps ? 0 : power_change(r, d, steep) + 8 * b->u * x->q;
        x->b[1] = !jumps ? x->b[0] : steep < 0 ? INFINITY : 1;
    }
}

static void hardmax_row(bounding *b) {
    const pair *const most = greatest(b);
    const int64_t first = most - b->pairs;
    for (int64_t k = 0; k < b->n; k++) {
        pair *const x = &b->pairs[k];
        if (k == first || b->pairs[first].z - x->z > x->d + b->pairs[first].d) continue;
        x->b_p = b->pairs[first].b_p = 1;
        b->bounds->undecided++;
    }
}

static void weigh_row(bounding *b) {
    b->lse = b->relative = b->sink = 0;
    if (b->n == 0) return;
    if (is_softmax(b)) softmax_row(b);
    else if (is_sparse(b)) sparse_row(b);
    else if (b->c->exact.normalizer.kind == ATTN_HARDMAX) hardmax_row(b);
    else each_row(b);
    for (int64_t k = 0; k < b->n; k++) b->bounds->undecided += b->pairs[k].b[1] > b->pairs[k].b[0];
}

/* Local factors and dropout. */
static void modify_row(bounding *b) {
    const attn_local *const local = b->c->exact.normalizer.local;
    double f = 2;
    if (local && !isinf(local->sigma)) {
        const double width = local->half_width, square = local->sigma * local->sigma;
        f += 2 * width * width / square + 5 + width * (2 * width + 192) / square;
    }
    for (int64_t k = 0; k < b->n; k++) {
        pair *const x = &b->pairs[k];
        const bool plain = !local && b->c->exact.normalizer.dropout == 0;
        x->off_w = fabs(x->factor) * (x->b_p + (plain ? 0 : b->u * f * fabs(x->p)));
    }
}

/* ---------------------------------------------------------------------------------------------
 * Derivatives of the loss
 * ------------------------------------------------------------------------------------------- */

/* The entropy's share of g, and how far it is off. Its slope, -log w - 1, changes by no more than
 * 2 off/w while off <= w/2; beyond, a weight is at the edge of a support, and the slope has no
 * bound. */
static void add_entropy(const bounding *b, pair *x) {
    const int64_t *const at = b->at;
    const double from =
        fabs(check_at(&b->c->exact_from.entropy, at[BATCH], at[HEAD], at[QUERY], 0));
    if (from == 0 || x->w == 0) return;
    const double of_softmax = 2 * expm1(x->d + b->relative);
    const double change = is_softmax(b)          ? of_softmax
                          : 2 * x->off_w <= x->w ? 2 * x->off_w / x->w
                                                 : INFINITY;
    x->g += from * (fabs(log(fabs(x->w))) + 1);
    x->off_g += from * change;
}

static void derive_row(bounding *b) {
    const check_problem *const c = b->c;
    const int64_t *const at = b->at, width = c->exact.value.shape[3];
    double values = 0;
    const attn_tensor *const relative = &c->extras.relative.values;
    const int64_t entries = relative->data ? check_count(relative) : 0;
    for (int64_t n = 0; n < entries; n++) {
        values = fmax(values, fabs(((const double *)relative->data)[n]));
    }
    b->from_lse = fabs(check_at(&c->exact_from.lse, at[BATCH], at[HEAD], at[QUERY], 0));
    b->from_output = 0;
    for (int64_t k = 0; k < b->n; k++) {
        pair *const x = &b->pairs[k];
        x->g = fabs(check_at(&c->exact_from.weights, at[BATCH], at[HEAD], at[QUERY], x->key)) +
               fabs(check_at(&c->exact_from.received_sum, at[BATCH], at[HEAD], 0, x->key));
        for (int64_t v = 0; v < width && c->exact_from.output.data; v++) {
            const double from =
                fabs(check_at(&c->exact_from.output, at[BATCH], at[HEAD], at[QUERY], v));
            const double value = check_at(&c->exact.value, at[BATCH], at[KV_HEAD], x->key, v);
            x->g += from * (fabs(value) + values);
            b->from_output = fmax(b->from_output, from);
        }
        x->off_g = 0;
        add_entropy(b, x);
        x->off_g += b->u * (double)(width + 8) * x->g;
    }
}

static void mean_of_row(bounding *b, int way) {
    const bool sparse = is_sparse(b);
    double sum = 0, q = 0, jumps = 0, off = 0;
    b->mean = b->off_mean[way] = 0;
    if (!sparse && !is_softmax(b)) return;
    for (int64_t k = 0; k < b->n; k++) {
        sum += b->pairs[k].q * b->pairs[k].factor * b->pairs[k].g;
        q += b->pairs[k].q;
        jumps += b->pairs[k].b[way];
    }
    b->mean = sparse && q > 0 ? sum / q : sum;
    for (int64_t k = 0; k < b->n; k++) {
        const pair *const x = &b->pairs[k];
        const double g = x->factor * x->g, n = (double)b->n + 8;
        if (x->q == 0 && x->b[way] == 0) continue;
        off += x->b[way] * (g + (sparse ? b->mean : 0)) +
               x->q * (x->factor * x->off_g + n * b->u * (g + b->mean));
    }
    b->off_mean[way] = !sparse ? off : jumps < q ? off / (q - jumps) : INFINITY;
}

static void scores_of_row(bounding *b) {
    for (int way = 0; way < 2; way++) {
        mean_of_row(b, way);
        const double mean = b->mean, off = b->off_mean[way];
        for (int64_t k = 0; k < b->n; k++) {
            pair *const x = &b->pairs[k];
            const double size = x->factor * x->g + mean + b->from_lse;
            const double off_g = x->factor * x->off_g + 8 * b->u * size + off;
            x->off_z[way] = x->b[way] > 0 ? x->b[way] * (size + off_g) : 0;
            if (x->q != 0) x->off_z[way] += x->q * off_g;
            x->d_z = x->q * size;
        }
        const double size = mean + b->from_lse;
        b->off_sink[way] =
            b->sink * (expm1(b->relative + 8 * b->u * (1 + b->largest)) * size + off) +
            (size + off) * b->relative;
    }
}

static void add_to_loss(bounding *b) {
    const double n = (double)(b->n + b->c->exact.value.shape[3] + 8);
    for (int64_t k = 0; k < b->n; k++) {
        const pair *const x = &b->pairs[k];
        const double from = x->g + (isfinite(x->off_g) ? x->off_g : 0);
        b->bounds->loss += from * (x->off_w + n * b->u * fabs(x->w));
    }
    b->bounds->loss += b->from_lse * (b->relative + 4 * b->u * fabs(b->lse));
}

/* ---------------------------------------------------------------------------------------------
 * Cells
 * ------------------------------------------------------------------------------------------- */

static int64_t cell_of(const attn_tensor *of, const reach *to, const int64_t at[AXES]) {
    int64_t cell = 0;
    for (int a = 0; a < 4; a++) {
        const int64_t x = of->shape[a] == 1 ? 0 : at[to->axes[a]];
        cell = cell * of->shape[a] + x;
    }
    return cell;
}

static void add(const cells *of, int64_t cell, double smooth, double kinks, double size) {
    ((double *)of->off[0].data)[cell] += smooth;
    ((double *)of->off[1].data)[cell] += kinks;
    ((double *)of->size.data)[cell] += size;
    ((double *)of->count.data)[cell] += 1;
}

static void add_pair(bounding *b, check_id id, const pair *x) {
    const reach *const to = &reaches[id];
    const cells *const of = &b->cells[id];
    /* A location's weights have a row a key. */
    const bool rows = id == CHECK_WEIGHT && b->c->exact.score.kind == ATTN_SCORE_LOCATION;
    b->at[KEY] = x->key;
    const int64_t cell =
        rows ? (of->size.shape[1] == 1 ? 0 : b->at[HEAD]) * of->size.shape[2] + x->key
             : cell_of(&of->size, to, b->at);
    if (to->what == VALUES) {
        add(of, cell, x->off_w * b->from_output, x->off_w * b->from_output,
            fabs(x->w) * b->from_output);
    } else if (to->what == FACTORS) {
        const double off = x->w != 0 ? x->off_w * (x->g + x->off_g) + fabs(x->w) * x->off_g : 0;
        add(of, cell, off, off, fabs(x->w) * x->g);
    } else {
        add(of, cell, x->off_z[0], x->off_z[1], x->d_z);
    }
}

static bool is_factor(check_id id) {
    return id == CHECK_SCALE || id == CHECK_SCALES || id == CHECK_TEMPERATURE;
}

static double factor_of(const bounding *b, check_id id) {
    const attn_problem *const p = &b->c->exact;
    const attn_tensor *const t = &p->score.scales;
    if (id == CHECK_SCALE) return fabs(p->score.scale);
    if (id == CHECK_TEMPERATURE) return p->normalizer.temperature;
    return fabs(
        check_at(t, t->shape[0] == 1 ? 0 : b->at[BATCH], t->shape[1] == 1 ? 0 : b->at[HEAD], 0, 0));
}

/* For factors of the score, and the temperature, the slope is known pair by pair: the raw score
 * over the factor, or z over the temperature, and it is off by as much as these are. */
static void follow_factor(const bounding *b, check_id id, pair *x) {
    const double factor = factor_of(b, id), over = 1 / b->c->exact.normalizer.temperature;
    const double size = id == CHECK_TEMPERATURE ? fabs(x->z) : fabs(x->raw) * over;
    const double slope = factor > 0 ? size / factor : b->slopes.slope[id];
    const double off = factor > 0 ? x->d / factor : 0;
    for (int way = 0; way < 2; way++) x->off_z[way] = x->off_z[way] * slope + x->d_z * off;
    x->d_z *= slope;
}

static void add_row(bounding *b) {
    for (check_id id = 0; id < CHECK_INPUTS; id++) {
        const cells *const of = &b->cells[id];
        if (!of->size.data) continue;
        if (reaches[id].what == SINKS) {
            const int64_t cell = cell_of(&of->size, &reaches[id], b->at);
            add(of, cell, b->off_sink[0], b->off_sink[1], b->sink * (b->mean + b->from_lse));
            continue;
        }
        for (int64_t k = 0; k < b->n; k++) {
            pair x = b->pairs[k];
            if (is_factor(id)) follow_factor(b, id, &x);
            add_pair(b, id, &x);
        }
    }
}

/* From sums to bounds. */
static void finish_cells(bounding *b, check_id id) {
    const cells *const of = &b->cells[id];
    const double slope = is_factor(id) ? 1 : b->slopes.slope[id];
    const int64_t count = check_count(&of->size);
    for (int64_t k = 0; k < count; k++) {
        const double n = ((const double *)of->count.data)[k],
                     size = ((const double *)of->size.data)[k];
        const double sums = (b->slopes.rounding[id] + n + 8) * b->u * size;
        for (int way = 0; way < 2; way++) {
            double *const off = (double *)of->off[way].data + k;
            *off = slope > 0 ? slope * (*off + sums) + n * b->tiny : 0;
        }
    }
    b->bounds->smooth[id] = of->off[0];
    b->bounds->kinks[id] = of->off[1];
}

static bool make_cells(bounding *b, io_error *error) {
    bool good = true;
    for (check_id id = 0; id < CHECK_INPUTS; id++) {
        const attn_tensor *const x = &b->c->inputs[id].x;
        cells *const of = &b->cells[id];
        int64_t shape[4];
        if (!x->data) continue;
        for (int a = 0; a < 4; a++) shape[a] = reaches[id].axes[a] == ALL ? 1 : x->shape[a];
        if (id == CHECK_WEIGHT && b->c->exact.score.kind == ATTN_SCORE_LOCATION) {
            shape[2] = x->shape[2];
        }
        of->off[0] = check_make(shape), of->off[1] = check_make(shape);
        of->size = check_make(shape), of->count = check_make(shape);
        good = good && of->off[0].data && of->off[1].data && of->size.data && of->count.data;
    }
    return good || io_fail(error, "no memory for the bounds");
}

static void free_cells(bounding *b, bool all) {
    for (check_id id = 0; id < CHECK_INPUTS; id++) {
        free(b->cells[id].size.data);
        free(b->cells[id].count.data);
        if (all) free(b->cells[id].off[0].data);
        if (all) free(b->cells[id].off[1].data);
    }
}

/* ---------------------------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------------------------- */

/* Scores, weights, and weights without local factors and dropout, in float64. */
static bool find_weights(bounding *b, io_error *error) {
    attn_problem p = b->c->exact;
    attn_local local = b->c->extras.local;
    attn_views views = {0};
    const int64_t *const q = p.query.shape;
    const int64_t shape[4] = {q[0], q[1], q[2], p.key.shape[2]};
    b->raw = check_make(shape), b->scores = check_make(shape), b->weights = check_make(shape),
    b->plain = check_make(shape);
    b->pairs = calloc((size_t)shape[3] + 1, sizeof *b->pairs);
    if (!b->raw.data || !b->scores.data || !b->weights.data || !b->plain.data || !b->pairs) {
        return io_fail(error, "no memory for the weights");
    }
    p.output = p.lse = (attn_tensor){0};
    p.weights = b->weights;
    views.raw_scores = b->raw;
    views.scores = b->scores;
    p.views = &views;
    if (attn_reference_forward(&p) != ATTN_OK) return io_fail(error, "%s", attn_error_message());
    local.sigma = INFINITY;
    if (p.normalizer.local) p.normalizer.local = &local;
    p.normalizer.dropout = 0;
    p.weights = b->plain;
    p.views = NULL;
    return attn_reference_forward(&p) == ATTN_OK || io_fail(error, "%s", attn_error_message());
}

static void bound_rows(bounding *b) {
    const int64_t *const q = b->c->exact.query.shape;
    const int64_t group = q[1] / (b->c->exact.key.shape[1] > 0 ? b->c->exact.key.shape[1] : 1);
    const attn_tensor rows = {.shape = {q[0], q[1], q[2], 1}};
    const int64_t count = check_count(&rows);
    for (int64_t n = 0; n < count; n++) {
        int64_t x[4];
        check_index(&rows, n, x);
        b->at[BATCH] = x[0], b->at[HEAD] = x[1], b->at[KV_HEAD] = x[1] / group, b->at[QUERY] = x[2];
        read_row(b);
        weigh_row(b);
        modify_row(b);
        derive_row(b);
        scores_of_row(b);
        add_to_loss(b);
        add_row(b);
    }
}

bool check_find_bounds(const check_problem *c, double u, check_bounds *bounds, io_error *error) {
    bounding *const b = calloc(1, sizeof *b);
    *bounds = (check_bounds){0};
    if (!b) return io_fail(error, "no memory for the bounds");
    const attn_normalizer *const how = &c->exact.normalizer;
    b->c = c, b->bounds = bounds, b->u = u;
    b->tiny = u > DBL_EPSILON ? (double)FLT_MIN : DBL_MIN;
    b->alpha = how->kind == ATTN_SPARSEMAX ? 2 : how->alpha != 0 ? how->alpha : 1.5;
    b->e = 1 / (b->alpha - 1);
    b->slopes = check_find_slopes(c);
    const bool good = find_weights(b, error) && make_cells(b, error);
    if (good) bound_rows(b);
    for (check_id id = 0; good && id < CHECK_INPUTS; id++) {
        if (c->inputs[id].x.data) finish_cells(b, id);
    }
    free_cells(b, !good);
    free(b->raw.data), free(b->scores.data), free(b->weights.data), free(b->plain.data),
        free(b->pairs);
    free(b);
    return good;
}

void check_free_bounds(check_bounds *bounds) {
    for (check_id id = 0; id < CHECK_INPUTS; id++) {
        free(bounds->smooth[id].data);
        free(bounds->kinks[id].data);
    }
}

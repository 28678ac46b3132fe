/* test_tiles_softmax.c: as test_tiles.c: WEIGH as an online softmax, and its running state. */
#include "tiles_support.h"

#include <math.h>

/* ----------------------------------------------------------------------------------- the state */

/* Per row: the greatest score, the sum, the moment, and by how much a tile shrinks them. */
typedef struct running {
    array maximum, sum, moment, shrink;
} running;

/* Some rows have seen nothing before. */
static running make_state(bench *b, int rows) {
    const running s = {scratch(b, rows), scratch(b, rows), scratch(b, rows), scratch(b, rows)};
    for (int q = 0; q < rows; q++) {
        const bool seen = !draw_one_in(&b->from, 4);
        set(&s.maximum, q, seen ? (double)draw_int(b, -20, 20) : -INFINITY);
        set(&s.sum, q, seen ? draw_int(b, 1, 9) : 0);
        set(&s.moment, q, seen ? -draw_int(b, 0, 9) / 3. : 0);
    }
    return s;
}

static running copy_state(bench *b, const running *s) {
    return (running){copy(b, &s->maximum), copy(b, &s->sum), copy(b, &s->moment), s->shrink};
}

/* What becomes of a sum and a moment that were made under a maximum m, and now are part of a whole
 * under `base`, and how far off each may be: times 2^(m - base). Where the two are the same, or the
 * part is empty, nothing rounds. */
typedef struct part {
    double by, by_off;
    double sum, sum_off;
    double moment, moment_off;
} part;

/* The moment becomes (t + l lower) by, with lower = m - base: a difference that rounds, a fused
 * multiply-add and a product. */
static part shrunk(const bench *b, double m, double sum, double moment, double base) {
    const double lower = m - base, by = exp2(lower);
    if (m == -INFINITY || lower == 0)
        return (part){.by = by, .sum = sum * by, .moment = moment * by};
    const double off = exp2_bound(b, lower), sizes = fabs(moment) + fabs(sum * lower);
    return (part){by,
                  off,
                  sum * by,
                  fabs(sum) * (off + b->u * by),
                  (moment + sum * lower) * by,
                  sizes * (off + 4 * b->u * by)};
}

/* --------------------------------------------------------------------------------------- weigh */

/* One row of a tile before and after. A score's rounding, times the factor and less the maximum, is
 * 1 u of the difference, and 1 u of the product where it is not fused. */
static void check_weighed_row(bench *b, const tile *t, const array *before, int q, double factor,
                              const running *was, const running *is, bool with_moment) {
    double m = get(&was->maximum, q), sum = 0, sum_off = 0, moment = 0, moment_off = 0, sizes = 0;
    for (int k = 0; k < t->keys; k++) m = fmax(m, rounded(b, factor * get(before, place(t, k, q))));
    const double base = m == -INFINITY ? 0 : m;
    for (int k = 0; k < t->keys; k++) {
        const double s = get(before, place(t, k, q)), x = fma(factor, s, -base), w = exp2(x);
        const double product_off = b->u * fabs(factor * s);
        const double off = w == 0 ? 0 : exp2_bound(b, x) + product_off * w;
        assert_bounded(get(&t->all, place(t, k, q)), w, off);
        sum += w, sum_off += off;
        if (w == 0) continue;
        moment += w * x, sizes += fabs(w * x);
        moment_off += off * fabs(x) + w * (b->u * fabs(x) + product_off);
    }
    const part old =
        shrunk(b, get(&was->maximum, q), get(&was->sum, q), get(&was->moment, q), base);
    assert_true(get(&is->maximum, q) == m);
    assert_bounded(get(&is->shrink, q), old.by, old.by_off);
    assert_bounded(get(&is->sum, q), sum + old.sum,
                   sum_off + old.sum_off + sum_bound(b, t->keys + 2, sum + old.sum));
    if (!with_moment) return;
    assert_bounded(get(&is->moment, q), moment + old.moment,
                   moment_off + old.moment_off +
                       sum_bound(b, t->keys + 2, sizes + fabs(old.moment)));
}

static double draw_factor(bench *b) {
    return draw_one_in(&b->from, 2) ? 1 : rounded(b, 0.1 * draw_int(b, 1, 30));
}

static void run_weigh(const tile *t, double factor, const running *s, bool with_moment) {
    const attn_tiles *const of = t->all.b->t;
    void *const moment = with_moment ? s->moment.data : NULL;
    if (t->few) {
        of->weigh_few(t->all.data, t->rows, t->width, factor, s->maximum.data, s->sum.data, moment,
                      s->shrink.data);
    } else {
        of->weigh(t->all.data, t->keys, t->width, factor, s->maximum.data, s->sum.data, moment,
                  s->shrink.data);
    }
}

/* One row sees nothing now. Nobody asks for the moment, or its array is there; the sums are the
 * same. */
static void check_weigh_of(bench *b, bool few) {
    const tile t = make_scores(b, few);
    for (int k = 0; k < t.keys; k++) set(&t.all, place(&t, k, t.rows / 2), -INFINITY);
    const running is = make_state(b, t.rows), was = copy_state(b, &is);
    const array before = copy(b, &t.all);
    const double factor = draw_factor(b);
    const bool with_moment = draw_one_in(&b->from, 2);
    run_weigh(&t, factor, &is, with_moment);
    for (int q = 0; q < t.rows; q++)
        check_weighed_row(b, &t, &before, q, factor, &was, &is, with_moment);
    for (int q = 0; !with_moment && q < t.rows; q++)
        assert_true(get(&is.moment, q) == get(&was.moment, q));
    for (int q = 0; q < t.rows; q++) { /* lanes beyond the keys have no weight */
        for (int k = t.keys; few && k < t.width; k++)
            assert_true(get(&t.all, place(&t, k, q)) == 0);
    }
}

static void check_weigh(bench *b) {
    check_weigh_of(b, false);
}

static void check_weigh_few(bench *b) {
    check_weigh_of(b, true);
}

/* A NaN stays in its own query: sum, moment and weights there, and nothing elsewhere. */
static void check_weigh_nan(bench *b) {
    const tile t = make_tile(b, draw_one_in(&b->from, 2));
    const running s = make_state(b, t.rows);
    const int sick = draw_int(b, 0, t.rows - 1);
    pad_tile(&t, -INFINITY);
    set(&t.all, place(&t, draw_int(b, 0, t.keys - 1), sick), NAN);
    run_weigh(&t, 1, &s, true);
    for (int q = 0; q < t.rows; q++) {
        assert_int_equal(isnan(get(&s.sum, q)), q == sick);
        assert_int_equal(isnan(get(&s.moment, q)), q == sick);
    }
}

/* Many tiles one after another have the sum, the moment and the maximum of one long row: each old
 * part has then been shrunk at most once for every tile. The parts' own errors are those of one
 * tile. */
static void check_weigh_on(bench *b) {
    enum { TILES = 5 };
    const int width = b->t->lanes;
    const running s = make_state(b, width);
    array all[TILES];
    fill_with(&s.maximum, -INFINITY);
    fill_with(&s.sum, 0);
    fill_with(&s.moment, 0);
    for (int i = 0; i < TILES; i++) {
        const array scores = scratch(b, (int64_t)ATTN_KEY_BLOCK * width);
        fill_random(&scores, 4);
        all[i] = copy(b, &scores);
        b->t->weigh(scores.data, ATTN_KEY_BLOCK, width, 1, s.maximum.data, s.sum.data,
                    s.moment.data, s.shrink.data);
    }
    for (int q = 0; q < width; q++) {
        double m = -INFINITY, sum = 0, moment = 0, off = 0;
        for (int i = 0; i < TILES * ATTN_KEY_BLOCK; i++)
            m = fmax(m, get(&all[i / ATTN_KEY_BLOCK], i % ATTN_KEY_BLOCK * width + q));
        for (int i = 0; i < TILES * ATTN_KEY_BLOCK; i++) {
            const double x = get(&all[i / ATTN_KEY_BLOCK], i % ATTN_KEY_BLOCK * width + q) - m;
            sum += exp2(x), moment += exp2(x) * x;
            off += (TILES + 1) * exp2_bound(b, x) + 4 * TILES * b->u * exp2(x);
        }
        const double range = 2 * 4 * 3.5; /* no score is farther below the maximum */
        assert_true(get(&s.maximum, q) == m);
        assert_bounded(get(&s.sum, q), sum, off + sum_bound(b, ATTN_KEY_BLOCK + 2 * TILES, sum));
        assert_bounded(get(&s.moment, q), moment,
                       range * (off + sum_bound(b, ATTN_KEY_BLOCK + 4 * TILES, sum)));
    }
}

/* The sum and the moment of all keys and of a sink, in any proportion; rows that see the sink
 * alone, or nothing. The entropy is (1 - share/l) log2(l) - t'/l bits: a rounding of l by 1 u is
 * one of its logarithm by 1.5 u and of the quotients by 2 u of themselves, one of t is one of t/l;
 * the result rounds once. float64 makes 8 roundings of each part there, and no more than 92
 * here. */
static void check_entropies(bench *b) {
    const int rows = draw_int(b, 1, b->t->block);
    const running s = make_state(b, rows);
    const array entropy = scratch(b, rows + 3), sink = scratch(b, rows);
    double exact[64], parts[64];
    assert_true(b->t->block <= (int)COUNT(exact));
    for (int q = 0; q < rows; q++) {
        const int keys = draw_int(b, 0, 80);
        const bool has_sink = draw_one_in(&b->from, 2);
        const double spread = draw_one_in(&b->from, 3) ? 60 : 3;
        double x[81], m = -INFINITY, l = 0, t = 0;
        x[keys] = has_sink ? rounded(b, 0.5 * draw_int(b, -400, 20)) : -INFINITY;
        for (int k = 0; k < keys; k++) x[k] = spread * random_normal(++b->filled, 1);
        for (int k = 0; k <= keys; k++) m = fmax(m, x[k]);
        m = rounded(b, m); /* of scores that round, and the sink, which does not */
        for (int k = 0; k <= keys; k++) {
            if (x[k] == -INFINITY) continue;
            x[k] = rounded(b, x[k]);
            l += exp2(x[k] - m), t += exp2(x[k] - m) * (x[k] - m);
        }
        exact[q] = 0;
        for (int k = 0; k < keys; k++) {
            const double w = exp2(x[k] - m) / l;
            exact[q] -= w > 0 ? w * log(w) : 0;
        }
        parts[q] = l > 0 ? log2(l) + 1.5 - t / l : 0;
        set(&s.maximum, q, m), set(&s.sum, q, l), set(&s.moment, q, t), set(&sink, q, x[keys]);
    }
    const attn_partial total = {s.maximum.data, s.sum.data, s.moment.data, NULL};
    b->t->entropies(entropy.data, &total, sink.data, rows);
    for (int q = 0; q < rows; q++) {
        const double bound = (4 * b->u + 100 * 0x1p-53) * parts[q] + b->u * exact[q];
        assert_bounded(get(&entropy, q), exact[q], bound);
    }
    assert_int_equal(written(&entropy), rows);
}

/* ------------------------------------------------------------------------------ partial results */

static void check_rescale(bench *b) {
    const int width = draw_width(b);
    const array from = scratch(b, width), to = scratch(b, width), by = scratch(b, width),
                factor = scratch(b, width);
    const bool times = draw_one_in(&b->from, 2);
    fill_random(&by, 1);
    for (int q = 0; q < width; q++) {
        set(&to, q, q % 5 == 1 ? -INFINITY : draw_int(b, -50, 50) / 3.);
        set(&from, q, q % 3 == 1 || q % 5 == 1 ? -INFINITY : get(&to, q) - draw_int(b, 0, 50) / 7.);
    }
    b->t->rescale(factor.data, from.data, to.data, times ? by.data : NULL, width);
    for (int q = 0; q < width; q++) {
        const double x = get(&from, q) - get(&to, q), y = times ? get(&by, q) : 1;
        if (get(&from, q) == -INFINITY) assert_true(get(&factor, q) == 0);
        else
            assert_bounded(get(&factor, q), exp2(x) * y,
                           (exp2_bound(b, x) + 1.1 * b->u * exp2(x)) * fabs(y));
    }
}

/* Nobody may ask for the log-sum-exp. */
static void check_finish(bench *b) {
    const int width = draw_width(b), rows = draw_int(b, 1, width),
              sick = draw_int(b, -3, width - 1);
    const array maximum = scratch(b, width), sum = scratch(b, width), inverse = scratch(b, width),
                lse = scratch(b, width);
    const bool with_lse = !draw_one_in(&b->from, 4);
    for (int q = 0; q < width; q++) {
        const bool empty = q % 4 == 3;
        set(&maximum, q, empty ? -INFINITY : draw_int(b, -1000, 1000) / 7.);
        set(&sum, q, empty ? 0 : 1 + draw_int(b, 0, 1000) / 9.);
    }
    if (sick >= 0) set(&sum, sick, NAN);
    assert_int_equal(
        b->t->finish(inverse.data, with_lse ? lse.data : NULL, maximum.data, sum.data, rows, width),
        sick >= 0 && sick < rows);
    for (int q = 0; q < rows; q++) {
        const double l = get(&sum, q), m = get(&maximum, q);
        const double exact = l == 0 ? -INFINITY : m * ATTN_LN_2 + log(l);
        assert_bounded(get(&inverse, q), l == 0 ? 0 : 1 / l, l > 0 ? b->u / l : 0);
        if (with_lse)
            assert_bounded(get(&lse, q), exact, 4 * b->u * (fabs(m) + fabs(log(l > 0 ? l : 1))));
    }
    assert_int_equal(written(&lse), with_lse ? rows - (sick >= 0 && sick < rows) : 0);
}

/* x0 and x1 as parts of one whole, each times its factor; an empty part (maximum -infinity) must
 * leave the other as it is, to the bit. */
static void check_merged(bench *b, double result, const double x[2], const double off[2],
                         bool either_is_empty) {
    const double bound = off[0] + off[1] + sum_bound(b, 1, fabs(x[0]) + fabs(x[1]));
    assert_bounded(result, x[0] + x[1], either_is_empty ? 0 : bound);
}

/* Outputs shrink as sums do. */
static void check_merged_row(bench *b, int q, const running was[2], const array before[2],
                             const running *is, const array *output, int64_t row, int64_t feature,
                             int d, bool with_moment) {
    const double m[2] = {get(&was[0].maximum, q), get(&was[1].maximum, q)};
    const double most = fmax(m[0], m[1]), base = most == -INFINITY ? 0 : most;
    const bool empty = m[0] == -INFINITY || m[1] == -INFINITY;
    part p[2];
    for (int k = 0; k < 2; k++)
        p[k] = shrunk(b, m[k], get(&was[k].sum, q), get(&was[k].moment, q), base);
    assert_true(get(&is->maximum, q) == most);
    check_merged(b, get(&is->sum, q), (double[]){p[0].sum, p[1].sum},
                 (double[]){p[0].sum_off, p[1].sum_off}, empty);
    if (with_moment) {
        check_merged(b, get(&is->moment, q), (double[]){p[0].moment, p[1].moment},
                     (double[]){p[0].moment_off, p[1].moment_off}, empty);
    } else assert_true(get(&is->moment, q) == get(&was[0].moment, q));
    for (int f = 0; f < d; f++) {
        const int64_t i = q * row + f * feature;
        part o[2];
        for (int k = 0; k < 2; k++) o[k] = shrunk(b, m[k], get(&before[k], i), 0, base);
        check_merged(b, get(output, i), (double[]){o[0].sum, o[1].sum},
                     (double[]){o[0].sum_off, o[1].sum_off}, empty);
    }
}

static void check_merge_of(bench *b, bool few) {
    const int width = draw_width(b), rows = few ? draw_int(b, 1, b->t->block) : width,
              d = draw_int(b, 0, 70);
    const int64_t row = few ? padded(b, d) : 1, feature = few ? 1 : width;
    const bool with_moment = draw_one_in(&b->from, 2);
    const running s[2] = {make_state(b, rows), make_state(b, rows)};
    array output[2];
    attn_partial parts[2];
    for (int k = 0; k < 2; k++) {
        output[k] = scratch(b, few ? rows * row : (int64_t)d * width);
        fill_random(&output[k], 1);
        for (int q = 0; q < rows; q++) {
            for (int f = 0; get(&s[k].sum, q) == 0 && f < d; f++)
                set(&output[k], q * row + f * feature, 0);
        }
        parts[k] = (attn_partial){s[k].maximum.data, s[k].sum.data,
                                  with_moment ? s[k].moment.data : NULL, output[k].data};
    }
    const running was[2] = {copy_state(b, &s[0]), s[1]};
    const array before[2] = {copy(b, &output[0]), output[1]};
    if (few) b->t->merge_few(&parts[0], &parts[1], row, d, rows);
    else b->t->merge(&parts[0], &parts[1], d, width);
    for (int q = 0; q < rows; q++)
        check_merged_row(b, q, was, before, &s[0], &output[0], row, feature, d, with_moment);
}

static void check_merge(bench *b) {
    check_merge_of(b, false);
}

static void check_merge_few(bench *b) {
    check_merge_of(b, true);
}

/* clang-format off */
#define ALL_TESTS(TEST) \
    TEST(weigh) TEST(weigh_few) TEST(weigh_nan) TEST(weigh_on) TEST(entropies) TEST(rescale) \
    TEST(finish) TEST(merge) TEST(merge_few)
/* clang-format on */

ALL_TESTS(RANDOM_TEST)

int main(void) {
    const struct CMUnitTest tests[] = {ALL_TESTS(LISTED)};
    return run_on_each_isa("tiles_softmax", tests, COUNT(tests));
}

/* test_tiles_scores.c: as test_tiles.c: additive scores, what happens to scores between SCORE and
 * WEIGH, and noise. */
#include "tiles_support.h"

#include <float.h>
#include <math.h>

/* ------------------------------------------------------------------------------------ additive */

/* Keys, queries and what belongs to a feature; d is a multiple of 4 and of the lanes. */
typedef struct additive {
    tile scores;
    array key, query, of_feature;
    int d;
    int64_t key_stride, query_stride;
} additive;

static additive make_additive(bench *b, bool few) {
    const int step = b->t->lanes > 4 ? b->t->lanes : 4;
    additive a = {.scores = make_tile(b, few), .d = step * draw_int(b, 1, 5)};
    a.key_stride = a.d + draw_int(b, 0, 5);
    a.query_stride = few ? a.d : a.scores.width;
    a.key = tensor(b, (a.scores.keys - 1) * a.key_stride + a.d);
    a.query = scratch(b, few ? (int64_t)a.scores.rows * a.d : (int64_t)a.d * a.scores.width);
    a.of_feature = scratch(b, a.d);
    fill_random(&a.key, 1);
    fill_random(&a.query, 1);
    fill_random(&a.of_feature, 1);
    fill_with(&a.scores.all, NAN);
    return a;
}

static double key_of(const additive *a, int k, int f) {
    return get(&a->key, k * a->key_stride + f);
}

static int64_t query_place(const additive *a, int q, int f) {
    return a->scores.few ? q * a->query_stride + f : f * a->query_stride + q;
}

static void run_additive(const additive *a, const array *key, const array *query,
                         const array *inverse_weight, int group, double first, double factor) {
    const tile *const t = &a->scores;
    const attn_tiles *const of = t->all.b->t;
    if (t->few) {
        of->score_additive_few(t->all.data, query->data, a->query_stride, key->data, a->key_stride,
                               inverse_weight->data, group, t->keys, a->d, t->rows, t->width, first,
                               factor);
    } else {
        of->score_additive(t->all.data, query->data, key->data, a->key_stride, inverse_weight->data,
                           group, t->keys, a->d, t->width, first, factor);
    }
}

/* Of first + factor * sum of 1/E, where `sizes` is |factor| * sum of 1/|E|. Both parts of an E have
 * one sign, so it is off by 2 u at most. Of four: E0 + E1 by 3 u of |E0| + |E1|, E0 E1 by 5 u;
 * times each other 9 u; the two summands added 10 u; all four E multiplied 11 u; the fraction 22 u.
 * One rounding for every group added, one for the constant `factor`, one or two for the last
 * product and sum; and what is expected, in float64, as much again as d + 4 roundings. */
static double additive_bound(const bench *b, int d, double first, double sizes) {
    return b->u * ((2 * d + 30) * sizes + 4 * fabs(first));
}

/* E of either sign, as weights of either sign make them, but c and the product of the same one. */
static void check_score_additive_of(bench *b, bool few) {
    const additive a = make_additive(b, few);
    const int group = 1 << draw_int(b, 0, 2);
    const double first = rounded(b, 0.1 * draw_int(b, -30, 30)), factor = rounded(b, -1.7);
    for (int64_t k = 0; k < a.key.count; k++) set(&a.key, k, exp(2 * get(&a.key, k)));
    for (int f = 0; f < a.d; f++) {
        const double sign = get(&a.of_feature, f) < 0 ? -1 : 1;
        set(&a.of_feature, f, sign * (1 + fabs(get(&a.of_feature, f))));
        for (int q = 0; q < a.scores.rows; q++)
            set(&a.query, query_place(&a, q, f), sign * fabs(get(&a.query, query_place(&a, q, f))));
    }
    run_additive(&a, &a.key, &a.query, &a.of_feature, group, first, factor);
    for (int k = 0; k < a.scores.keys; k++) {
        for (int q = 0; q < a.scores.rows; q++) {
            double sum = 0, sizes = 0;
            for (int f = 0; f < a.d; f++) {
                const double x = key_of(&a, k, f) * get(&a.query, query_place(&a, q, f));
                const double inverse = 1 / (get(&a.of_feature, f) + x);
                sum += inverse, sizes += fabs(factor * inverse);
            }
            assert_bounded(get(&a.scores.all, place(&a.scores, k, q)), first + factor * sum,
                           additive_bound(b, a.d, first, sizes));
        }
    }
    assert_int_equal(written(&a.scores.all), a.scores.keys * a.scores.rows);
}

static void check_score_additive(bench *b) {
    check_score_additive_of(b, false);
}

static void check_score_additive_few(bench *b) {
    check_score_additive_of(b, true);
}

/* What exp_twice makes of x, in u, relative: exp2's own 4, one of the last fused multiply-add, and
 * the argument's rounding, 1 u of 2 log2(e) |x|, where no fused multiply-add tells what it was. */
static double exp_twice_error(const bench *b, double x) {
    return 5.5 + (b->fused ? 0 : 2 * fabs(x));
}

/* In u, of |w|. tanh(query + key) changes by half the relative error of A B, where A has been
 * through one product more. That factor c is m/w rounded: 1 u of 2 m/|E|, which is 2 |w| at
 * most. */
static double exponentials_error(const bench *b, double query, double key) {
    return (exp_twice_error(b, query) + 1 + exp_twice_error(b, key)) / 2 + 2;
}

/* As the driver uses the functions: exponentials of tokens times c = m/w for the query, and then
 * sum of w - 2 m * sum of 1/E is what w tanh(query + key) adds up to. */
static void check_additive_is_tanh(bench *b) {
    const additive a = make_additive(b, draw_one_in(&b->from, 2));
    const tile *const t = &a.scores;
    const int64_t stride = padded(b, a.d);
    const array weight = copy(b, &a.of_feature), query = scratch(b, a.query.count),
                key = scratch(b, t->keys * stride), exponential = scratch(b, t->keys * stride);
    double most = 0, first = 0, sizes = 0;
    for (int f = 0; f < a.d; f++) {
        most = fmax(most, fabs(get(&weight, f)));
        first += get(&weight, f), sizes += fabs(get(&weight, f));
    }
    for (int f = 0; f < a.d; f++) set(&a.of_feature, f, most / get(&weight, f));
    for (int k = 0; k < t->keys; k++) {
        for (int f = 0; f < a.d; f++) set(&key, k * stride + f, key_of(&a, k, f));
    }
    b->t->exp_twice(exponential.data, key.data, stride, t->keys, a.d, NULL, NULL);
    if (t->few) {
        b->t->exp_twice(query.data, a.query.data, a.d, t->rows, a.d, a.of_feature.data, NULL);
    } else {
        b->t->exp_twice(query.data, a.query.data, t->width, a.d, t->width, NULL, a.of_feature.data);
    }
    additive of_exponentials = a;
    of_exponentials.key_stride = stride;
    run_additive(&of_exponentials, &exponential, &query, &a.of_feature, 1 << draw_int(b, 0, 2),
                 first, -2 * most);
    for (int k = 0; k < t->keys; k++) {
        for (int q = 0; q < t->rows; q++) {
            double sum = 0, bound = additive_bound(b, a.d, first, 2 * sizes);
            for (int f = 0; f < a.d; f++) {
                const double x = get(&a.query, query_place(&a, q, f)), y = key_of(&a, k, f);
                sum += get(&weight, f) * tanh(x + y);
                bound += b->u * fabs(get(&weight, f)) * exponentials_error(b, x, y);
            }
            assert_bounded(get(&t->all, place(t, k, q)), sum, bound);
        }
    }
}

/* tanh is within 4 u (test_accuracy.c), and the rounding of its argument x is 1 u of it at most, as
 * |x| sech^2(x) <= |tanh(x)|; a product and d sums round after that. No sum is beyond 7; or, of
 * numbers a twelfth as large, beyond ATTN_NEAR_ZERO. */
static void check_score_tanh_of(bench *b, bool few) {
    const additive a = make_additive(b, few);
    const tile *const t = &a.scores;
    const bool near = draw_one_in(&b->from, 2);
    for (int64_t k = 0; near && k < a.key.count; k++) set(&a.key, k, get(&a.key, k) / 12);
    for (int64_t k = 0; near && k < a.query.count; k++) set(&a.query, k, get(&a.query, k) / 12);
    if (few) {
        b->t->score_tanh_few(t->all.data, a.query.data, a.query_stride, a.key.data, a.key_stride,
                             a.of_feature.data, t->keys, a.d, t->rows, t->width);
    } else {
        b->t->score_tanh(t->all.data, a.query.data, a.key.data, a.key_stride, a.of_feature.data,
                         near, t->keys, a.d, t->width);
    }
    for (int k = 0; k < t->keys; k++) {
        for (int q = 0; q < t->rows; q++) {
            double sum = 0, sizes = 0;
            for (int f = 0; f < a.d; f++) {
                const double x = key_of(&a, k, f) + get(&a.query, query_place(&a, q, f));
                const double term = get(&a.of_feature, f) * tanh(x);
                sum += term, sizes += fabs(term);
            }
            assert_bounded(get(&t->all, place(t, k, q)), sum, sum_bound(b, a.d + 6, sizes));
        }
    }
    assert_int_equal(written(&t->all), t->keys * t->rows);
}

static void check_score_tanh(bench *b) {
    check_score_tanh_of(b, false);
}

static void check_score_tanh_few(bench *b) {
    check_score_tanh_of(b, true);
}

/* Up to the ends of the range, in place or not, with either factor, which rounds once, or none. */
static void check_exp_twice(bench *b) {
    const int rows = draw_int(b, 1, 20), columns = draw_int(b, 1, 70);
    const double range = b->single ? 43 : 354;
    const int64_t stride = padded(b, columns) + b->t->lanes * draw_int(b, 0, 1);
    const array source = scratch(b, rows * stride), by_column = scratch(b, padded(b, columns)),
                by_row = scratch(b, rows);
    const bool columns_too = draw_one_in(&b->from, 2), rows_too = draw_one_in(&b->from, 2);
    fill_random(&by_column, 1);
    fill_random(&by_row, 1);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            const double x = rounded(b, range * draw_int(b, -1000, 1000) / 1000);
            set(&source, r * stride + c, x);
        }
    }
    const array before = copy(b, &source),
                into = draw_one_in(&b->from, 2) ? source : scratch(b, source.count);
    b->t->exp_twice(into.data, source.data, stride, rows, columns,
                    columns_too ? by_column.data : NULL, rows_too ? by_row.data : NULL);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            const double x = get(&before, r * stride + c),
                         by = columns_too ? get(&by_column, c) : 1;
            const double exact = exp(2 * x) * by * (rows_too ? get(&by_row, r) : 1);
            /* 2 u for exp(2 x) in float64; products that fall below all normal numbers */
            assert_bounded(get(&into, r * stride + c), exact,
                           b->u * ((exp_twice_error(b, x) + 4) * fabs(exact) + 5 * b->least));
        }
        for (int64_t c = padded(b, columns); c < stride; c++)
            assert_true(isnan(get(&into, r * stride + c)));
    }
}

/* ------------------------------------------------------------------------- what modifies scores */

static void check_multiply(bench *b) {
    const tile t = make_scores(b, false);
    const array before = copy(b, &t.all);
    b->t->multiply(t.all.data, t.keys, t.width, 0.3);
    for (int64_t k = 0; k < t.all.count; k++)
        assert_true(get(&t.all, k) == rounded(b, get(&before, k) * rounded(b, 0.3)));
}

/* tanh is within 4 u (test_accuracy.c); its argument's 2 u, of the inverse and the product, are no
 * more than 2 u of it; the last product rounds once. */
static void check_softcap(bench *b) {
    const tile t = make_scores(b, false);
    const array before = copy(b, &t.all);
    b->t->softcap(t.all.data, t.keys, t.width, 5);
    for (int64_t k = 0; k < t.all.count; k++) {
        const double exact = 5 * tanh(get(&before, k) / 5);
        assert_bounded(get(&t.all, k), exact, 7.5 * b->u * fabs(exact));
    }
}

/* What is -infinity stays so, whatever is added; what is finite stops at a lowest number;
 * NaN passes. A float64 sum of two float32 numbers, rounded, is their float32 sum. */
static void check_add_bias(bench *b) {
    const tile t = make_scores(b, false);
    const double lowest = b->single ? -0x1p28 : -0x1p57, least = b->single ? -FLT_MAX : -DBL_MAX;
    const array bias = scratch(b, t.all.count);
    fill_random(&bias, 4);
    for (int64_t k = 0; k < bias.count; k++) {
        const double special[] = {0, -INFINITY, NAN, least, least};
        const int which = draw_int(b, 0, 20);
        if (which < (int)COUNT(special)) set(&bias, k, special[which]);
        if (which == 3) set(&t.all, k, least);
    }
    const array before = copy(b, &t.all);
    b->t->add_bias(t.all.data, bias.data, t.keys, t.width);
    for (int64_t k = 0; k < t.all.count; k++) {
        const double s = get(&before, k), x = get(&bias, k), now = get(&t.all, k);
        if (s == -INFINITY || x == -INFINITY) assert_true(now == -INFINITY);
        else assert_bounded(now, isnan(x) ? NAN : fmax(lowest, rounded(b, s + x)), 0);
    }
}

/* The difference of positions rounds not at all, the product at most once, the sum once. */
static void check_add_alibi(bench *b) {
    const tile t = make_scores(b, false);
    const array before = copy(b, &t.all), slope = scratch(b, t.width),
                position = scratch(b, t.width);
    fill_random(&slope, 1);
    for (int q = 0; q < t.width; q++) set(&position, q, draw_int(b, -200, 200));
    b->t->add_alibi(t.all.data, t.keys, t.width, slope.data, position.data);
    for (int k = 0; k < t.keys; k++) {
        for (int q = 0; q < t.width; q++) {
            const double s = get(&before, place(&t, k, q));
            const double less = get(&slope, q) * fabs(get(&position, q) - k);
            assert_bounded(get(&t.all, place(&t, k, q)), s - less,
                           2 * b->u * (fabs(s) + 2 * fabs(less)));
        }
    }
}

/* Of each diagonal of a tile, the entry it has in a list of `count`; [k - r] for all keys and
 * rows. */
typedef struct diagonals {
    int32_t *entry;
    int count;
} diagonals;

static diagonals draw_diagonals(bench *b, const tile *t) {
    diagonals d = {.count = draw_int(b, 1, 20)};
    int32_t *const all = numbers(b, t->keys + t->rows - 1);
    for (int i = 0; i < t->keys + t->rows - 1; i++) all[i] = (int32_t)draw_int(b, 0, d.count - 1);
    d.entry = all + t->rows - 1;
    return d;
}

/* Terms that rows share, keys share, both or neither, entries first or last. */
static void check_add_relative(bench *b) {
    const tile t = make_scores(b, draw_one_in(&b->from, 2));
    const diagonals d = draw_diagonals(b, &t);
    const int64_t keys = draw_one_in(&b->from, 2) ? t.keys : 1,
                  rows = draw_one_in(&b->from, 2) ? t.rows : 1;
    const bool last = draw_one_in(&b->from, 2);
    const int64_t of_entry = last ? 1 : keys * rows, of_row = rows > 1 ? (last ? d.count : 1) : 0,
                  of_key = keys > 1 ? rows * (last ? d.count : 1) : 0;
    const array terms = scratch(b, keys * rows * d.count), before = copy(b, &t.all);
    fill_random(&terms, 1);
    b->t->add_relative(t.all.data, t.key_stride, t.row_stride, t.keys, t.rows, terms.data, of_key,
                       of_row, of_entry, d.entry);
    for (int k = 0; k < t.keys; k++) {
        for (int r = 0; r < t.rows; r++) {
            const double term = get(&terms, k * of_key + r * of_row + d.entry[k - r] * of_entry);
            assert_true(get(&t.all, place(&t, k, r)) ==
                        rounded(b, get(&before, place(&t, k, r)) + term));
        }
    }
}

/* At most all keys of a row have one entry. */
static void check_sum_relative(bench *b) {
    const tile t = make_tile(b, draw_one_in(&b->from, 2));
    const diagonals d = draw_diagonals(b, &t);
    const bool last = draw_one_in(&b->from, 2);
    const int64_t of_entry = last ? 1 : t.rows, of_row = last ? d.count : 1;
    const array sums = scratch(b, (int64_t)d.count * t.rows), factor = scratch(b, t.rows);
    fill_random(&sums, 1);
    fill_random(&factor, 1);
    const array before = copy(b, &sums);
    b->t->sum_relative(sums.data, of_entry, of_row, t.all.data, t.key_stride, t.row_stride,
                       factor.data, t.keys, t.rows, d.entry);
    for (int r = 0; r < t.rows; r++) {
        for (int e = 0; e < d.count; e++) {
            const int64_t i = e * of_entry + r * of_row;
            double sum = get(&before, i), sizes = fabs(sum);
            for (int k = 0; k < t.keys; k++) {
                if (d.entry[k - r] != e) continue;
                const double x = get(&t.all, place(&t, k, r)) * get(&factor, r);
                sum += x, sizes += fabs(x);
            }
            assert_bounded(get(&sums, i), sum, sum_bound(b, t.keys + 1, sizes));
        }
    }
}

static void check_masks(bench *b) {
    const tile t = make_scores(b, false);
    const array before = copy(b, &t.all), again = copy(b, &t.all);
    int32_t *const first = numbers(b, t.width), *const last = numbers(b, t.width);
    int32_t *const key_ids = numbers(b, t.keys), *const query_ids = numbers(b, t.width);
    for (int q = 0; q < t.width; q++) {
        first[q] = (int32_t)draw_int(b, 0, t.keys), last[q] = (int32_t)draw_int(b, 0, t.keys);
        query_ids[q] = q % 5 ? (int32_t)draw_int(b, -1, 1) : INT32_MIN;
    }
    for (int k = 0; k < t.keys; k++) key_ids[k] = k % 7 ? (int32_t)draw_int(b, -1, 1) : INT32_MIN;
    b->t->mask_range(t.all.data, t.keys, t.width, first, last);
    b->t->mask_documents(again.data, t.keys, t.width, key_ids, query_ids);
    for (int k = 0; k < t.keys; k++) {
        for (int q = 0; q < t.width; q++) {
            const int64_t i = place(&t, k, q);
            const bool in_range = first[q] <= k && k < last[q], same = key_ids[k] == query_ids[q];
            assert_true(get(&t.all, i) == (in_range ? get(&before, i) : -INFINITY));
            assert_true(get(&again, i) == (same ? get(&before, i) : -INFINITY));
        }
    }
}

static void check_load_allowed(bench *b) {
    const int rows = draw_int(b, 1, b->t->block), columns = draw_int(b, 1, ATTN_KEY_BLOCK);
    const int64_t step = draw_one_in(&b->from, 2) ? 1 : draw_int(b, 0, 3),
                  stride = columns * step + draw_int(b, 0, 3);
    const int64_t target_stride = columns + draw_int(b, 0, 9);
    const size_t bytes = (size_t)((rows - 1) * stride + (columns - 1) * step + 1);
    unsigned char *const allowed = block_of(b, bytes, GUARD_AFTER)->memory;
    const array into = scratch(b, rows * target_stride);
    const int shape = draw_int(b, 0, 2); /* all shut, all open, mixed */
    for (size_t k = 0; k < bytes; k++) {
        allowed[k] = shape == 2 ? (unsigned char)(draw_one_in(&b->from, 2) * draw_int(b, 1, 255))
                                : (unsigned char)shape;
    }
    const int met =
        b->t->load_allowed(into.data, target_stride, allowed, stride, step, rows, columns);
    int expected = 0;
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            const bool open = allowed[r * stride + c * step] != 0;
            expected |= open ? ATTN_SOME_OPEN : ATTN_SOME_SHUT;
            assert_true(get(&into, r * target_stride + c) == (open ? 0 : -INFINITY));
        }
    }
    assert_int_equal(met, expected);
    assert_int_equal(written(&into), rows * columns);
}

/* --------------------------------------------------------------------------------------- noise */

/* Threefry-2x32 with 20 rounds, as its authors write it down (Salmon et al. 2011). */
static void threefry(uint32_t x[2], const uint32_t key[2]) {
    static const int turns[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t keys[3] = {key[0], key[1], key[0] ^ key[1] ^ UINT32_C(0x1BD11BDA)};
    x[0] += keys[0];
    x[1] += keys[1];
    for (uint32_t round = 0; round < 20; round++) {
        const int turn = turns[round % 8];
        x[0] += x[1];
        x[1] = (x[1] << turn | x[1] >> (32 - turn)) ^ x[0];
        if (round % 4 != 3) continue;
        const uint32_t injected = round / 4 + 1;
        x[0] += keys[injected % 3];
        x[1] += keys[(injected + 1) % 3] + injected;
    }
}

static double uniform_of(uint32_t word) {
    return (word >> 9) * 0x1p-23 + 0x1p-24;
}

/* Random123's known answers: key, counter, words. Both words, both layouts, counters that wrap. */
static void check_known_noise(bench *b) {
    static const uint32_t known[3][3][2] = {
        {{0, 0}, {0, 0}, {0x6b200159, 0x99ba4efe}},
        {{UINT32_MAX, UINT32_MAX}, {UINT32_MAX, UINT32_MAX}, {0x1cb996fc, 0xbb002be7}},
        {{0x13198a2e, 0x03707344}, {0x243f6a88, 0x85a308d3}, {0xc4923a9c, 0x483df7a0}}};
    for (size_t i = 0; i < COUNT(known); i++) {
        const uint32_t *const key = known[i][0], *const counter = known[i][1];
        uint32_t x[2] = {counter[0], counter[1]};
        threefry(x, key);
        assert_true(x[0] == known[i][2][0] && x[1] == known[i][2][1]);
        for (int variant = 0; variant < 4; variant++) {
            const bool few = variant % 2 == 1, second = variant / 2 == 1;
            const array a = scratch(b, b->t->lanes);
            const attn_noise noise = {.key = {key[0], key[1]},
                                      .first_line = counter[few ? 0 : 1],
                                      .first_lane = counter[few ? 1 : 0],
                                      .lanes_are_keys = few,
                                      .second_word = second};
            b->t->uniform(a.data, 1, b->t->lanes, &noise);
            assert_true(get(&a, 0) == uniform_of(known[i][2][second]));
        }
    }
}

/* The counter is (query, key) in either layout, so the same pair has the same number in both. */
static void check_uniform(bench *b) {
    const int keys = padded(b, draw_int(b, 1, 70)), rows = padded(b, draw_int(b, 1, b->t->block));
    const uint32_t first[2] = {(uint32_t)random_bits(1, b->filled),
                               (uint32_t)random_bits(2, b->filled)};
    attn_noise noise = {.key = {(uint32_t)random_bits(3, b->filled), 7},
                        .first_line = first[1],
                        .first_lane = first[0],
                        .second_word = draw_one_in(&b->from, 2)};
    const array block = scratch(b, (int64_t)keys * rows), few = scratch(b, (int64_t)keys * rows);
    b->filled++;
    b->t->uniform(block.data, keys, rows, &noise);
    noise.first_line = first[0], noise.first_lane = first[1], noise.lanes_are_keys = true;
    b->t->uniform(few.data, rows, keys, &noise);
    for (int k = 0; k < keys; k++) {
        for (int q = 0; q < rows; q++) {
            uint32_t x[2] = {first[0] + (uint32_t)q, first[1] + (uint32_t)k};
            threefry(x, noise.key);
            const double expected = uniform_of(x[noise.second_word]);
            assert_true(get(&block, (int64_t)k * rows + q) == expected);
            assert_true(get(&few, (int64_t)q * keys + k) == expected);
        }
    }
}

/* A tile of noise from the function above, its ends among it. */
static array make_uniform(bench *b, const tile *t) {
    const array uniform = scratch(b, t->all.count);
    const attn_noise noise = {.key = {(uint32_t)b->filled, 1}};
    b->t->uniform(uniform.data, t->lines, t->width, &noise);
    set(&uniform, 0, 0x1p-24);
    set(&uniform, t->all.count - 1, 1 - 0x1p-24);
    return uniform;
}

/* At the chance itself a weight is dropped; a dropped NaN is 0. */
static void check_drop(bench *b) {
    const tile t = make_tile(b, false);
    const array uniform = make_uniform(b, &t);
    const double chance = rounded(b, 0.1 * draw_int(b, 0, 9)), by = rounded(b, 1 / (1 - chance));
    for (int64_t k = 0; k < t.all.count; k++) {
        if (draw_one_in(&b->from, 9)) set(&uniform, k, chance);
        if (draw_one_in(&b->from, 9)) set(&t.all, k, NAN);
    }
    const array before = copy(b, &t.all);
    b->t->drop(t.all.data, uniform.data, t.lines, t.width, chance);
    for (int64_t k = 0; k < t.all.count; k++) {
        const bool kept = get(&uniform, k) > chance;
        assert_bounded(get(&t.all, k), kept ? rounded(b, get(&before, k) * by) : 0, 0);
    }
}

/* y = -log(u) is a logarithm (4 u) times a constant (2 u), so log(y) is off by 6 u for y's sake, by
 * 4 + 2 times its size for its own, and the sum and its product round once each; and what is
 * expected, in float64, by 1, 1 and 1 again. */
static void check_add_gumbel(bench *b) {
    const tile t = make_scores(b, false);
    const array uniform = make_uniform(b, &t), before = copy(b, &t.all);
    b->t->add_gumbel(t.all.data, uniform.data, t.lines, t.width);
    for (int64_t k = 0; k < t.all.count; k++) {
        const double s = get(&before, k), g = -log(-log(get(&uniform, k)));
        const double bound = s == -INFINITY ? 0 : b->u * (7 + 10 * fabs(g) + 2 * fabs(s));
        assert_bounded(get(&t.all, k), s + g, bound);
    }
}

/* The difference rounds once, so its square 3 times; times the factor, itself rounded, that is 5 u
 * of the exponent, of which exp2_bound has 1 / ln 2. The weight's product rounds once. */
static void check_multiply_gaussian(bench *b) {
    const tile t = make_tile(b, false);
    const array before = copy(b, &t.all), position = scratch(b, t.width);
    const double sharpness = rounded(b, exp2(draw_int(b, -12, 1)));
    for (int q = 0; q < t.width; q++)
        set(&position, q, draw_int(b, -20, 220) + 0.1 * draw_int(b, 0, 9));
    b->t->multiply_gaussian(t.all.data, t.keys, t.width, position.data, sharpness);
    for (int k = 0; k < t.keys; k++) {
        for (int q = 0; q < t.width; q++) {
            const double apart = get(&position, q) - k, x = -sharpness * apart * apart;
            const double w = get(&before, place(&t, k, q));
            const double off = exp2_bound(b, x) + (2 + 3 * fabs(x)) * b->u * exp2(x);
            assert_bounded(get(&t.all, place(&t, k, q)), w * exp2(x), off * fabs(w));
        }
    }
}

/* clang-format off */
#define RANDOM_TESTS(TEST) \
    TEST(score_additive) TEST(score_additive_few) TEST(additive_is_tanh) TEST(score_tanh) \
    TEST(score_tanh_few) TEST(exp_twice) TEST(multiply) TEST(softcap) TEST(add_bias) \
    TEST(add_alibi) TEST(add_relative) TEST(sum_relative) TEST(masks) TEST(load_allowed) \
    TEST(uniform) TEST(drop) TEST(add_gumbel) TEST(multiply_gaussian)
#define SINGLE_TESTS(TEST) TEST(known_noise)
/* clang-format on */

RANDOM_TESTS(RANDOM_TEST)
SINGLE_TESTS(SINGLE_TEST)

int main(void) {
    const struct CMUnitTest tests[] = {RANDOM_TESTS(LISTED) SINGLE_TESTS(LISTED)};
    return run_on_each_isa("tiles_scores", tests, COUNT(tests));
}

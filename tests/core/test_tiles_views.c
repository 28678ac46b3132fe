/* test_tiles_views.c: as test_tiles.c: OBSERVE, and the types that weights are handed out in. */
#include "tiles_support.h"

#include <math.h>
#include <string.h>

/* The final weight of a pair: rounded once, as the full weights are. */
static double final(const tile *t, const array *factor, int k, int q) {
    return rounded(factor->b, get(&t->all, place(t, k, q)) * get(factor, q));
}

/* Factors of rows that have weights, and 0 of those that have none. */
static array make_factor(bench *b, int rows) {
    const array factor = scratch(b, rows);
    for (int q = 0; q < rows; q++) set(&factor, q, draw_int(b, 0, 8) / 8.);
    return factor;
}

/* ------------------------------------------------------------------------------------- top-k */

/* Where a weight belongs: NaN before all numbers, what is not above 0 nowhere; among equals, and
 * among NaN, the earlier key first. */
static bool belongs_before(double w, double other) {
    return isnan(w) ? !isnan(other) : !isnan(other) && w > other;
}

/* The list of one row, worked out afresh: for each weight, everything after its place moves
 * down. */
static void rank(double *best, int64_t *keys, int ranks, double w, int64_t key) {
    for (int at = 0; at < ranks; at++) {
        if (!belongs_before(w, best[at])) continue;
        memmove(best + at + 1, best + at, (size_t)(ranks - 1 - at) * sizeof *best);
        memmove(keys + at + 1, keys + at, (size_t)(ranks - 1 - at) * sizeof *keys);
        best[at] = w, keys[at] = key;
        return;
    }
}

enum { MOST_RANKS = 20, TOP_TILES = 3 };

/* Few values, so that most are equal to others; rows of nothing but NaN, some NaN, no weight at
 * all. */
static void fill_with_ties(bench *b, const tile *t) {
    for (int q = 0; q < t->rows; q++) {
        const int kind = draw_int(b, 0, 5);
        for (int k = 0; k < t->keys; k++) {
            const bool spoilt = kind == 0 || (kind == 1 && draw_one_in(&b->from, 9));
            const double w = kind == 2 ? 0 : draw_int(b, kind == 3 ? -4 : 0, 4);
            set(&t->all, place(t, k, q), spoilt ? NAN : w);
        }
    }
    pad_tile(t, 9); /* greater than all of them, not to be looked at */
}

static void run_top(const tile *t, const array *best, const array *keys, int ranks, int stride,
                    const array *factor, int64_t first_key) {
    const attn_tiles *const of = t->all.b->t;
    if (t->few) {
        of->top_few(best->data, keys->data, ranks, stride, t->all.data, factor->data, first_key,
                    t->keys, t->rows, t->width);
    } else {
        of->top(best->data, keys->data, ranks, stride, t->all.data, factor->data, first_key,
                t->keys, t->width);
    }
}

/* Some tiles of one row after another, with fewer ranks than keys or more. */
static void check_top_of(bench *b, bool few) {
    static double expected[64][MOST_RANKS];
    static int64_t expected_keys[64][MOST_RANKS];
    const tile t = make_tile(b, few);
    const int ranks = draw_int(b, 1, MOST_RANKS), stride = padded(b, t.rows) + b->t->lanes;
    const array best = scratch(b, ranks * stride), keys = scratch(b, ranks * stride),
                factor = make_factor(b, t.rows);
    assert_true(b->t->block <= (int)COUNT(expected));
    b->t->begin_top(best.data, keys.data, best.count);
    for (int q = 0; q < t.rows; q++) {
        for (int r = 0; r < ranks; r++) expected[q][r] = 0, expected_keys[q][r] = -1;
    }
    for (int i = 0; i < TOP_TILES; i++) {
        const int64_t first_key = i * 1000;
        fill_with_ties(b, &t);
        run_top(&t, &best, &keys, ranks, stride, &factor, first_key);
        for (int q = 0; q < t.rows; q++) {
            for (int k = 0; k < t.keys; k++)
                rank(expected[q], expected_keys[q], ranks, final(&t, &factor, k, q), first_key + k);
        }
    }
    for (int r = 0; r < ranks; r++) {
        for (int q = 0; q < stride; q++) {
            const int64_t i = (int64_t)r * stride + q;
            assert_bounded(get(&best, i), q < t.rows ? expected[q][r] : 0, 0);
            assert_true(b->t->top_key(keys.data, i) == (q < t.rows ? expected_keys[q][r] : -1));
        }
    }
}

static void check_top(bench *b) {
    check_top_of(b, false);
}

static void check_top_few(bench *b) {
    check_top_of(b, true);
}

/* ---------------------------------------------------------------------------- sums and maxima */

static double greater_or_nan(double a, double b) {
    return isnan(a) || isnan(b) ? NAN : fmax(a, b);
}

/* Rows of a tile, fewer than its width; nothing beyond them, nor beyond the keys, counts. */
static void check_received_maxima_of(bench *b, bool few) {
    const tile t = make_tile(b, few);
    const array received = scratch(b, t.keys), factor = make_factor(b, t.rows);
    const int rows = few ? t.rows : draw_int(b, 1, t.rows);
    for (int64_t k = 0; k < t.all.count; k++) {
        if (draw_one_in(&b->from, 99)) set(&t.all, k, NAN);
    }
    for (int q = rows; q < t.rows; q++) {
        for (int k = 0; k < t.keys; k++) set(&t.all, place(&t, k, q), q % 2 ? NAN : 99);
        set(&factor, q, 1);
    }
    pad_tile(&t, 99);
    for (int k = 0; k < t.keys; k++)
        set(&received, k, draw_one_in(&b->from, 20) ? (double)NAN : 0.5 * draw_int(b, 0, 9));
    const array before = copy(b, &received);
    if (few) {
        b->t->received_maxima_few(received.data, t.all.data, factor.data, t.keys, rows, t.width);
    } else {
        b->t->received_maxima(received.data, t.all.data, factor.data, t.keys, rows, t.width);
    }
    for (int k = 0; k < t.keys; k++) {
        double most = get(&before, k);
        for (int q = 0; q < rows; q++) most = greater_or_nan(most, final(&t, &factor, k, q));
        assert_bounded(get(&received, k), most, 0);
    }
}

static void check_received_maxima(bench *b) {
    check_received_maxima_of(b, false);
}

static void check_received_maxima_few(bench *b) {
    check_received_maxima_of(b, true);
}

static void check_accumulate(bench *b) {
    const int64_t count = draw(&b->from, 0, 300);
    const array sums = tensor(b, count), maxima = tensor(b, count), source = tensor(b, count);
    fill_random(&sums, 1);
    fill_random(&maxima, 1);
    fill_random(&source, 1);
    for (int64_t k = 0; k < count; k++) {
        if (draw_one_in(&b->from, 9)) set(&maxima, k, NAN);
        if (draw_one_in(&b->from, 9)) set(&source, k, NAN);
    }
    const array sum = copy(b, &sums), most = copy(b, &maxima);
    b->t->accumulate(sums.data, source.data, count);
    b->t->accumulate_maxima(maxima.data, source.data, count);
    for (int64_t k = 0; k < count; k++) {
        const double x = get(&source, k);
        assert_bounded(get(&sums, k), rounded(b, get(&sum, k) + x), 0);
        assert_bounded(get(&maxima, k), greater_or_nan(get(&most, k), x), 0);
    }
}

/* Blocks that begin before the rows do, and end after them. */
static void check_add_block_sums(bench *b) {
    const int queries = draw_int(b, 1, 20), keys = draw_int(b, 1, ATTN_KEY_BLOCK);
    const int64_t block_queries = draw(&b->from, 1, 9), block_keys = draw(&b->from, 1, 70),
                  first_query = draw(&b->from, 0, 20), first_key = draw(&b->from, 0, 200),
                  stride = keys + draw(&b->from, 0, 9);
    const int down = (int)((first_query + queries - 1) / block_queries) + 1,
              across = (int)((first_key + keys - 1) / block_keys) + 1;
    const view sums = make_view(b, down, across);
    const array rows = tensor(b, (queries - 1) * stride + keys);
    for (int r = 0; r < queries; r++) {
        for (int k = 0; k < keys; k++)
            set(&rows, r * stride + k, random_normal(b->filled, (uint64_t)r * 1000 + (uint64_t)k));
    }
    b->filled++;
    for (int r = 0; r < down; r++) {
        for (int c = 0; c < across; c++)
            set(&sums.all, sums.origin + r * sums.row + c * sums.column, draw_int(b, 0, 3));
    }
    view before = sums;
    before.all = copy(b, &sums.all);
    b->t->add_block_sums(view_data(&sums), sums.row, sums.column, rows.data, stride, queries, keys,
                         first_query, first_key, block_queries, block_keys);
    for (int r = 0; r < down; r++) {
        for (int c = 0; c < across; c++) {
            double sum = at(&before, r, c), sizes = sum;
            int count = 1;
            for (int q = 0; q < queries; q++) {
                for (int k = 0; k < keys && (first_query + q) / block_queries == r; k++) {
                    if ((first_key + k) / block_keys != c) continue;
                    const double x = get(&rows, q * stride + k);
                    sum += x, sizes += fabs(x), count++;
                }
            }
            assert_bounded(at(&sums, r, c), sum, sum_bound(b, count, sizes));
        }
    }
    assert_int_equal(written(&sums.all), down * across);
}

/* --------------------------------------------------------------------- distances and entropies */

/* What the keys of a row add to its sum, `sizes` in all, and how far each may be off. */
typedef struct row_sum {
    double sum, sizes, off;
} row_sum;

/* The weight, its distance from a whole position, and their product round: once, never, once. What is
 * below all normal numbers rounds to the quantum of the least of them. */
static void add_distance(const bench *b, row_sum *s, double w, double apart) {
    s->sum += w * fabs(apart), s->sizes += w * fabs(apart);
    s->off += 2 * b->u * (w * fabs(apart) + b->least * (fabs(apart) + 1));
}

/* A weight off by 1 u changes w log2(w) by 1 u of (|log2(w)| + 1.45) w; the logarithm is within 4
 * u, the product rounds once; float64 has a rounding of each as well. Of a subnormal weight it is
 * anything whose size is below the exponents' range. */
static void add_entropy(const bench *b, row_sum *s, double w, double apart) {
    (void)apart;
    const double bits = w > 0 ? -w * log2(w) : 0;
    s->sum += bits, s->sizes += fabs(bits);
    s->off += b->u * (8 * fabs(bits) + 2 * w) + (w < b->least ? 2048 * w : 0);
}

static tile make_weights(bench *b, bool few) {
    const tile t = make_tile(b, few);
    for (int64_t k = 0; k < t.all.count; k++) {
        const double x = fabs(get(&t.all, k)) / 14;
        set(&t.all, k,
            draw_one_in(&b->from, 5)   ? 0
            : draw_one_in(&b->from, 5) ? exp2(-1500 * x)
                                       : x);
    }
    pad_tile(&t, 1);
    return t;
}

static void check_row_sums(bench *b, bool few, bool entropy) {
    const tile t = make_weights(b, few);
    const array sums = scratch(b, t.rows), factor = make_factor(b, t.rows),
                position = scratch(b, t.rows);
    const attn_tiles *const of = b->t;
    for (int q = 0; q < t.rows; q++) set(&sums, q, draw_int(b, 0, 9));
    for (int q = 0; q < t.rows; q++) set(&position, q, draw_int(b, -50, 250));
    const array before = copy(b, &sums);
    if (entropy && few) {
        of->add_entropies_few(sums.data, t.all.data, factor.data, t.keys, t.rows, t.width);
    } else if (entropy) of->add_entropies(sums.data, t.all.data, factor.data, t.keys, t.width);
    else if (few) {
        of->add_distances_few(sums.data, t.all.data, factor.data, position.data, t.keys, t.rows,
                              t.width);
    } else of->add_distances(sums.data, t.all.data, factor.data, position.data, t.keys, t.width);
    for (int q = 0; q < t.rows; q++) {
        row_sum s = {get(&before, q), get(&before, q), 0};
        for (int k = 0; k < t.keys; k++) {
            const double w = get(&t.all, place(&t, k, q)) * get(&factor, q);
            (entropy ? add_entropy : add_distance)(b, &s, w, get(&position, q) - k);
        }
        assert_bounded(get(&sums, q), s.sum, s.off + sum_bound(b, t.keys + 1, s.sizes));
    }
}

static void check_add_distances(bench *b) {
    check_row_sums(b, false, false);
}

static void check_add_distances_few(bench *b) {
    check_row_sums(b, true, false);
}

static void check_add_entropies(bench *b) {
    check_row_sums(b, false, true);
}

static void check_add_entropies_few(bench *b) {
    check_row_sums(b, true, true);
}

/* -x log2(x) of a vector of x. */
static void entropies_of(const array *x, const array *sums, const array *ones) {
    fill_with(sums, 0);
    x->b->t->add_entropies(sums->data, x->data, ones->data, 1, (int)x->count);
}

/* log2 over all its range, as -x log2(x) shows it, where neither that overflows nor is subnormal. 4
 * u are promised (exp.h: 2 units in the last place), 1 u is the product's, and what is expected may
 * be off by 1 in float64. The most that was seen, product and all: 4.45 u in float32, of every
 * number in [1/2, 2); 3.57 u in float64, of 38 million. */
static void check_logarithms(bench *b) {
    const int width = b->t->lanes, range = b->single ? 100 : 960;
    const array x = scratch(b, width), sums = scratch(b, width), ones = scratch(b, width);
    const int64_t mantissas = grid_size(300, 20000);
    fill_with(&ones, 1);
    for (int exponent = -range; exponent <= range; exponent++) {
        for (int64_t i = 0; i < mantissas; i += width) {
            for (int q = 0; q < width; q++) {
                const double part = (double)(random_bits(b->filled, (uint64_t)(i + q)) >> 11);
                set(&x, q, ldexp(1 + part * 0x1p-53, exponent));
            }
            b->filled++;
            entropies_of(&x, &sums, &ones);
            for (int q = 0; q < width; q++) {
                const double exact = -get(&x, q) * log2(get(&x, q));
                assert_bounded(get(&sums, q), exact, 6 * b->u * fabs(exact));
            }
        }
    }
}

/* Powers of 2 have whole logarithms, exactly; 0 and the least numbers make nothing of note; what is
 * below 0, and NaN, make NaN. */
static void check_whole_logarithms(bench *b) {
    const int width = b->t->lanes, range = b->single ? 120 : 1000;
    const array x = scratch(b, width), sums = scratch(b, width), ones = scratch(b, width);
    fill_with(&ones, 1);
    for (int exponent = -range; exponent <= range; exponent++) {
        fill_with(&x, ldexp(1, exponent));
        entropies_of(&x, &sums, &ones);
        for (int q = 0; q < width; q++)
            assert_true(get(&sums, q) == -exponent * ldexp(1, exponent));
    }
    const double points[][2] = {{0, 0}, {b->least / 4, 0}, {-1, NAN}, {-0.0, 0}, {NAN, NAN}};
    for (size_t i = 0; i < COUNT(points); i++) {
        fill_with(&x, points[i][0]);
        entropies_of(&x, &sums, &ones);
        for (int q = 0; q < width; q++)
            assert_bounded(get(&sums, q), points[i][1], 2048 * points[i][0] * (i == 1));
    }
}

/* -------------------------------------------------------------------------------- other types */

/* What a binary16 number without sign is: 10 bits of a fraction, 5 of the exponent. */
static double half_value(int bits) {
    const int exponent = bits >> 10, fraction = bits & 1023;
    return exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
}

static double next_after(const bench *b, double x, double towards) {
    return b->single ? (double)nextafterf((float)x, (float)towards) : nextafter(x, towards);
}

enum { ONE_LINE = 64 };

/* Numbers to be converted together, and what they should become. */
typedef struct conversion {
    array source;
    int count, expected[ONE_LINE];
    int size; /* of an element of the target */
} conversion;

static void convert(conversion *c) {
    unsigned char bytes[2 * ONE_LINE];
    uint16_t halves[ONE_LINE];
    c->source.b->t->narrow(bytes, c->size, 0, 1, c->source.data, 0, 1, c->count);
    memcpy(halves, bytes, sizeof halves);
    for (int i = 0; i < c->count; i++) {
        const int is = c->size == 2 ? halves[i] : bytes[i];
        if (is != c->expected[i])
            fail_msg("%.17g became %#x, not %#x", get(&c->source, i), (unsigned)is,
                     (unsigned)c->expected[i]);
    }
    c->count = 0;
}

static void expect(conversion *c, double x, int expected) {
    if (c->count == ONE_LINE) convert(c);
    set(&c->source, c->count, x);
    c->expected[c->count++] = expected;
}

/* Both of x and of -x, whose sign is the highest bit. */
static void expect_half(conversion *c, double x, int expected) {
    expect(c, x, expected);
    expect(c, -x, expected | 0x8000);
}

/* Every one of the 65536: itself; the middle between it and the next, which goes to the even one;
 * and the neighbours of that middle, which go to the nearer one. The greatest is followed by
 * infinity, in the place of 2^16. NaN is one NaN. */
static void check_halves(bench *b) {
    conversion c = {.source = scratch(b, ONE_LINE), .size = 2};
    for (int bits = 0; bits < 0x7c00; bits++) {
        const double x = half_value(bits), middle = (x + half_value(bits + 1)) / 2;
        expect_half(&c, x, bits);
        expect_half(&c, next_after(b, x, INFINITY), bits);
        if (bits > 0) expect_half(&c, next_after(b, x, 0), bits);
        expect_half(&c, next_after(b, middle, 0), bits);
        expect_half(&c, middle, bits + bits % 2);
        expect_half(&c, next_after(b, middle, INFINITY), bits + 1);
    }
    expect_half(&c, b->least / 2, 0);
    expect_half(&c, 65536, 0x7c00);
    expect_half(&c, 1e30, 0x7c00);
    expect_half(&c, INFINITY, 0x7c00);
    for (int bits = 0x7c01; bits < 0x8000; bits++) {
        expect(&c, NAN, 0x7e00);
        expect(&c, -NAN, 0x7e00);
    }
    convert(&c);
}

/* Every byte n: n/255, and what lies within a half of it but for the 3 u by which the 255th, the
 * factor next to 1 and 255 times the whole are off. Outside 0 and 1 the nearer end; NaN is 0. */
static void check_bytes(bench *b) {
    conversion c = {.source = scratch(b, ONE_LINE), .size = 1};
    for (int n = 0; n < 256; n++) {
        expect(&c, n / 255., n);
        expect(&c, (n + 0.5) / 255 * (1 - 4 * b->u), n);
        if (n > 0) expect(&c, (n - 0.5) / 255 * (1 + 4 * b->u), n);
    }
    const double ends[][2] = {{1.01, 255}, {1e30, 255},    {INFINITY, 255}, {-0.0, 0},
                              {-1e-9, 0},  {-INFINITY, 0}, {NAN, 0},        {-NAN, 0}};
    for (size_t i = 0; i < COUNT(ends); i++) expect(&c, ends[i][0], (int)ends[i][1]);
    convert(&c);
}

static double narrowed(const unsigned char *from, int size) {
    float single;
    double wide;
    uint16_t half;
    switch (size) {
    case 1: return *from;
    case 2: return memcpy(&half, from, sizeof half), half_value(half);
    case 4: return memcpy(&single, from, sizeof single), (double)single;
    default: return memcpy(&wide, from, sizeof wide), wide;
    }
}

/* Any strides; between the elements nothing is written. Every type but bytes holds multiples of
 * 1/64. */
static void check_narrow(bench *b) {
    const int rows = draw_int(b, 0, 20), columns = draw_int(b, 0, 110);
    const int size = 1 << draw_int(b, 0, 3);
    const int64_t stride = columns + draw_int(b, 0, 9);
    const view v = draw_strides(b, rows, columns);
    const array source = scratch(b, rows * stride);
    const guard_side side = draw_one_in(&b->from, 2) ? GUARD_BEFORE : GUARD_AFTER;
    const guarded *const g = block_of(b, (size_t)(v.count * size), side);
    for (int64_t k = 0; k < source.count; k++) set(&source, k, draw_int(b, 0, 64) / 64.);
    b->t->narrow(g->memory + v.origin * size, size, v.row, v.column, source.data, stride, rows,
                 columns);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
            unsigned char *const is = g->memory + (v.origin + r * v.row + c * v.column) * size;
            const double x = get(&source, r * stride + c);
            assert_bounded(narrowed(is, size), size == 1 ? 255 * x : x, size == 1 ? 0.5 : 0);
            memset(is, POISON, (size_t)size);
        }
    }
    assert_true(guarded_is_poison(g));
}

/* To another type of floating point, rounded as C does it. */
static void check_narrow_rounds(bench *b) {
    const array source = scratch(b, ONE_LINE);
    float single[ONE_LINE];
    double wide[ONE_LINE];
    fill_random(&source, 1);
    b->t->narrow(single, sizeof *single, 0, 1, source.data, 0, 1, ONE_LINE);
    b->t->narrow(wide, sizeof *wide, 0, 1, source.data, 0, 1, ONE_LINE);
    for (int k = 0; k < ONE_LINE; k++) {
        assert_true(single[k] == (float)get(&source, k));
        assert_true(wide[k] == get(&source, k));
    }
}

/* clang-format off */
#define RANDOM_TESTS(TEST) \
    TEST(top) TEST(top_few) TEST(received_maxima) TEST(received_maxima_few) TEST(accumulate) \
    TEST(add_block_sums) TEST(add_distances) TEST(add_distances_few) TEST(add_entropies) \
    TEST(add_entropies_few) TEST(narrow) TEST(narrow_rounds)
#define SINGLE_TESTS(TEST) TEST(logarithms) TEST(whole_logarithms) TEST(halves) TEST(bytes)
/* clang-format on */

RANDOM_TESTS(RANDOM_TEST)
SINGLE_TESTS(SINGLE_TEST)

int main(void) {
    const struct CMUnitTest tests[] = {RANDOM_TESTS(LISTED) SINGLE_TESTS(LISTED)};
    return run_on_each_isa("tiles_views", tests, COUNT(tests));
}

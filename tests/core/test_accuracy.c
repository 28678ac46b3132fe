/* test_accuracy.c: exp2, tanh and log2 of every table against the C library's in wider arithmetic, and
 * additive scores on hostile ranges against the plain float32 formula. Errors of the first three
 * are relative, in units of u = 2^-24 or 2^-53. They are reached as the driver reaches them: exp2
 * is what `weigh` makes of a score below a maximum of 0, tanh what `softcap` makes of it with a cap
 * of 1. */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "isa/cpu.h"

/* In u, relative: what the bound of oracle.c takes for granted. exp2 in float32 is a polynomial
 * that is off by 1.6, a last sum that rounds by up to 1, and terms that carry half as much without
 * fused multiply-add; tanh a quotient of two sums that contain it, or a polynomial, and softcap's
 * product. */
enum { MOST = 4 };

enum { KEYS = ATTN_KEY_BLOCK, WIDEST = 64 };

typedef struct lanes {
    const attn_tiles *tiles;
    bool single;
    _Alignas(64) unsigned char tile[KEYS * WIDEST * sizeof(double)];
    _Alignas(64) unsigned char rows[3][WIDEST * sizeof(double)];
} lanes;

static double get(const lanes *l, const void *from, int k) {
    return l->single ? (double)((const float *)from)[k] : ((const double *)from)[k];
}

static void set(const lanes *l, void *to, int k, double x) {
    if (l->single) ((float *)to)[k] = (float)x;
    else ((double *)to)[k] = x;
}

/* f(x) for count values, in place, by a function of the table. */
typedef void apply(lanes *l);

static void apply_exp2(lanes *l) {
    for (int q = 0; q < l->tiles->lanes; q++) set(l, l->rows[0], q, 0), set(l, l->rows[1], q, 0);
    l->tiles->weigh(l->tile, KEYS, l->tiles->lanes, 1, l->rows[0], l->rows[1], NULL, l->rows[2]);
}

static void apply_tanh(lanes *l) {
    l->tiles->softcap(l->tile, KEYS, l->tiles->lanes, 1);
}

/* -x log2(x): a line of the tile as the weights of one key. */
static void apply_entropy(lanes *l) {
    const int width = l->tiles->lanes;
    const size_t line = (size_t)(width * l->tiles->element_size);
    for (int k = 0; k < KEYS; k++) {
        for (int q = 0; q < width; q++) set(l, l->rows[0], q, 0), set(l, l->rows[1], q, 1);
        l->tiles->add_entropies(l->rows[0], l->tile + (size_t)k * line, l->rows[1], 1, width);
        memcpy(l->tile + (size_t)k * line, l->rows[0], line);
    }
}

static long double exact_entropy(long double x) {
    return -x * log2l(x);
}

static long double exact_exp2(long double x) {
    return exp2l(x);
}

static long double exact_tanh(long double x) {
    return tanhl(x);
}

/* A function of the table, and the exact one. */
typedef struct approximation {
    apply *apply;
    long double (*exact)(long double);
    double most;
} approximation;

static const approximation exp2_tile = {apply_exp2, exact_exp2, MOST};
static const approximation tanh_tile = {apply_tanh, exact_tanh, MOST};
static const approximation entropy_tile = {apply_entropy, exact_entropy, MOST + 1};

/* The relative error in u, of a number that may have become 0 if it is less than any normal one. */
static double error_of(const lanes *l, long double result, long double exact) {
    const long double u = l->single ? 0x1p-24L : 0x1p-53L, least = l->single ? FLT_MIN : DBL_MIN;
    if (result == exact || (result == 0 && exact < least)) return 0;
    return (double)(fabsl(result - exact) / fmaxl(fabsl(exact), least) / u);
}

/* The largest error over `tiles` tiles of numbers between low and high, evenly or by magnitude. */
static double worst(lanes *l, const approximation *a, double low, double high, bool by_magnitude,
                    int tiles) {
    const int count = KEYS * l->tiles->lanes;
    double most = 0;
    for (int t = 0; t < tiles; t++) {
        static double x[KEYS * WIDEST];
        for (int k = 0; k < count; k++) {
            const uint64_t bits = random_bits((uint64_t)t, (uint64_t)k);
            const double part = (double)(bits >> 11) * 0x1p-53;
            const double at =
                by_magnitude ? low * exp2(part * log2(high / low)) : low + part * (high - low);
            set(l, l->tile, k, at);
            x[k] = get(l, l->tile, k);
        }
        a->apply(l);
        for (int k = 0; k < count; k++) {
            const long double is = a->exact(x[k]), got = get(l, l->tile, k);
            const double off = error_of(l, got, is);
            if (!(off <= a->most))
                fail_msg("at %.17g: %.17Lg, but expected %.17Lg (%g u)", x[k], got, is, off);
            if (off > most) most = off;
        }
    }
    return most;
}

static lanes *lanes_of(const target *on, attn_dtype dtype) {
    static lanes l;
    l.tiles = attn_tiles_for(on->isa, dtype);
    l.single = dtype == ATTN_F32;
    assert_non_null(l.tiles);
    assert_true(l.tiles->block <= WIDEST);
    return &l;
}

static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64};

static void exp2_is_accurate(void **state) {
    const target *const on = *state;
    for (size_t k = 0; k < COUNT(dtypes); k++) {
        lanes *const l = lanes_of(on, dtypes[k]);
        const int tiles = (int)grid_size(100, 5000);
        const double least = dtypes[k] == ATTN_F32 ? -130 : -1030;
        const double near = worst(l, &exp2_tile, -1, 0, false, tiles);
        const double far = worst(l, &exp2_tile, least, 0, false, tiles);
        const double tiny = worst(l, &exp2_tile, -1e-30, -1, true, tiles);
        print_message("exp2 %s %s: %.3f u on [-1, 0], %.3f beyond, %.3f by magnitude\n",
                      attn_isa_name(on->isa), k == 0 ? "f32" : "f64", near, far, tiny);
    }
}

static void tanh_is_accurate(void **state) {
    const target *const on = *state;
    for (size_t k = 0; k < COUNT(dtypes); k++) {
        lanes *const l = lanes_of(on, dtypes[k]);
        const int tiles = (int)grid_size(100, 5000);
        const double near = worst(l, &tanh_tile, -1, 1, false, tiles);
        const double far = worst(l, &tanh_tile, -30, 30, false, tiles);
        const double tiny = worst(l, &tanh_tile, 1e-30, 1, true, tiles);
        print_message("tanh %s %s: %.3f u on [-1, 1], %.3f on [-30, 30], %.3f by magnitude\n",
                      attn_isa_name(on->isa), k == 0 ? "f32" : "f64", near, far, tiny);
    }
}

/* Beside a logarithm the product by x rounds once more. */
static void log2_is_accurate(void **state) {
    const target *const on = *state;
    for (size_t k = 0; k < COUNT(dtypes); k++) {
        lanes *const l = lanes_of(on, dtypes[k]);
        const int tiles = (int)grid_size(100, 5000);
        const double wide = worst(l, &entropy_tile, 1e-9, 1, false, tiles);
        const double near = worst(l, &entropy_tile, 0.9, 1.1, false, tiles);
        const double tiny = worst(l, &entropy_tile, 1e-30, 1, true, tiles);
        print_message("log2 %s %s: %.3f u on [0, 1], %.3f about 1, %.3f by magnitude\n",
                      attn_isa_name(on->isa), k == 0 ? "f32" : "f64", wide, near, tiny);
    }
}

/* What has one exact answer gives just that. */
static void exact_points(void **state) {
    const target *const on = *state;
    static const double points[][2] = {{0, 1},           {-0.0, 1},      {-1, .5},  {-20, 0x1p-20},
                                       {-126, 0x1p-126}, {-INFINITY, 0}, {-5000, 0}};
    for (size_t k = 0; k < COUNT(dtypes); k++) {
        lanes *const l = lanes_of(on, dtypes[k]);
        for (size_t p = 0; p < COUNT(points); p++) {
            for (int i = 0; i < KEYS * l->tiles->lanes; i++) set(l, l->tile, i, points[p][0]);
            apply_exp2(l);
            assert_true(get(l, l->tile, l->tiles->lanes + 1) == points[p][1]);
        }
        static const double limits[][2] = {
            {0, 0}, {INFINITY, 1}, {-INFINITY, -1}, {1e30, 1}, {-1e30, -1}};
        for (size_t p = 0; p < COUNT(limits); p++) {
            for (int i = 0; i < KEYS * l->tiles->lanes; i++) set(l, l->tile, i, limits[p][0]);
            apply_tanh(l);
            assert_true(get(l, l->tile, 0) == limits[p][1]);
        }
        set(l, l->tile, 0, NAN);
        apply_tanh(l);
        assert_true(isnan(get(l, l->tile, 0)));
    }
}

/* ---------------------------------------------------------------------------------------------
 * Additive scores on hostile ranges
 *
 * dot(weight, tanh(query + key)) in float32: by the library, and by the loop that anybody would
 * write, with tanhf; errors are against float64.
 *
 * The library's sum may be made of weight (1 - 2 / (1 + e^2x)). These terms are up to twice as large as
 * those with tanh, so are their partial sums, and so is what these round; and the sum of all weights
 * and the last difference round at sum |weight| once each. So on each range the largest error may be 2
 * of the loop's and 2 u sum |weight|. That leaves out the errors of e^2query and e^2key, which grow with
 * |query| and |key|; they show where these are large and cancel in some pairs of a tile, but not in all
 * (then tanh is taken itself). Such ranges are held to the loop's largest error on any range.
 * ------------------------------------------------------------------------------------------- */

enum { WIDTH = 64, QUERIES = 37, KEYS_SCORED = 53 };

typedef struct hostile {
    float query[QUERIES * WIDTH], key[KEYS_SCORED * WIDTH], weight[WIDTH];
    float scores[QUERIES * KEYS_SCORED];
} hostile;

/* Of the loop and of the library. */
typedef struct errors {
    double loop, library;
} errors;

/* Numbers of one size; each query the negative of all keys, but for a thousandth; or, with every other
 * query and key the negative of the first, half of all pairs so. */
typedef enum pattern { RANDOM, CANCELLING, HALF_CANCELLING, PATTERNS } pattern;

static void make_hostile(hostile *h, double size, pattern how) {
    for (int f = 0; f < WIDTH; f++) {
        const double center = how == RANDOM ? 0 : size * (1 + 0.01 * random_normal(5, (uint64_t)f));
        const double spread = how == RANDOM ? size : 1e-3 * size;
        for (int i = 0; i < QUERIES; i++) {
            const double x = spread * random_normal(1, (uint64_t)(i * WIDTH + f));
            h->query[i * WIDTH + f] =
                (float)(how == HALF_CANCELLING && i % 2 ? center + x : x - center);
        }
        for (int j = 0; j < KEYS_SCORED; j++) {
            const double x = spread * random_normal(2, (uint64_t)(j * WIDTH + f));
            h->key[j * WIDTH + f] =
                (float)(how == HALF_CANCELLING && j % 2 ? x - center : center + x);
        }
    }
}

/* Of like size; a third of them 0; over 12 decades. */
static void make_weights(hostile *h, int kind) {
    for (int f = 0; f < WIDTH; f++) {
        const double x = random_normal(9, (uint64_t)f);
        h->weight[f] = (float)(kind == 2 ? x * pow(10, -12.0 * f / WIDTH) : x);
        if (kind == 1 && f % 3 == 0) h->weight[f] = 0;
    }
}

/* The weights of ATTN_LINEAR are the scores. */
static void score_hostile(const target *on, hostile *h, int n_query) {
    const attn_problem p = {.query = attn_tensor_f32(h->query, 1, 1, n_query, WIDTH),
                            .key = attn_tensor_f32(h->key, 1, 1, KEYS_SCORED, WIDTH),
                            .value = attn_tensor_f32(h->key, 1, 1, KEYS_SCORED, WIDTH),
                            .score = {.kind = ATTN_SCORE_ADDITIVE,
                                      .weight = attn_tensor_f32(h->weight, 1, 1, 1, WIDTH)},
                            .normalizer = {.kind = ATTN_LINEAR},
                            .weights = attn_tensor_f32(h->scores, 1, 1, n_query, KEYS_SCORED)};
    if (attn_forward(on->context, &p) != ATTN_OK) fail_msg("%s", attn_error_message());
}

static errors find_errors(const hostile *h, int n_query) {
    errors most = {0};
    for (int i = 0; i < n_query; i++) {
        for (int j = 0; j < KEYS_SCORED; j++) {
            double exact = 0;
            float loop = 0;
            for (int f = 0; f < WIDTH; f++) {
                const float q = h->query[i * WIDTH + f], k = h->key[j * WIDTH + f];
                exact += (double)h->weight[f] * tanh((double)q + (double)k);
                loop += h->weight[f] * tanhf(q + k);
            }
            const double score = (double)h->scores[i * KEYS_SCORED + j];
            most.loop = fmax(most.loop, fabs((double)loop - exact));
            most.library = fmax(most.library, fabs(score - exact));
        }
    }
    return most;
}

static void check_hostile(const target *on, hostile *h, int weights, int n_query) {
    static const double sizes[] = {1e-30, 1e-3, 0.1, 0.3, 1, 3, 10, 20, 30, 60, 1e4};
    static const char *const names[] = {"random", "cancelling"};
    double u = 0; /* times sum |weight| */
    errors worst = {0};
    make_weights(h, weights);
    for (int f = 0; f < WIDTH; f++) u += 0x1p-24 * (double)fabsf(h->weight[f]);
    for (size_t k = 0; k < COUNT(sizes); k++) {
        for (int how = 0; how < PATTERNS; how++) {
            make_hostile(h, sizes[k], (pattern)how);
            score_hostile(on, h, n_query);
            const errors most = find_errors(h, n_query);
            worst.library = fmax(worst.library, most.library);
            worst.loop = fmax(worst.loop, most.loop);
            if (how != HALF_CANCELLING && !(most.library <= 2 * most.loop + 2 * u))
                fail_msg("%s, size %g, weights %d, %d queries: %.3f u, in a loop with tanhf %.3f",
                         names[how], sizes[k], weights, n_query, most.library / u, most.loop / u);
        }
    }
    print_message("additive %s, weights %d, %d queries: %.2f u, in a loop with tanhf %.2f\n",
                  attn_isa_name(on->isa), weights, n_query, worst.library / u, worst.loop / u);
    assert_true(worst.library <= 2 * worst.loop + 2 * u);
}

static void additive_scores_on_hostile_ranges(void **state) {
    static hostile h;
    for (int weights = 0; weights < 3; weights++) {
        check_hostile(*state, &h, weights, 5);
        check_hostile(*state, &h, weights, QUERIES);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp2_is_accurate),
        cmocka_unit_test(tanh_is_accurate),
        cmocka_unit_test(log2_is_accurate),
        cmocka_unit_test(exact_points),
        cmocka_unit_test(additive_scores_on_hostile_ranges),
    };
    return run_on_each_isa("accuracy", tests, COUNT(tests));
}

/* test_accuracy.c: exp2 and tanh of every table against the C library's in wider arithmetic. Errors
 * are relative, in units of u = 2^-24 or 2^-53. They are reached as the driver reaches them: exp2
 * is what `weigh` makes of a score below a maximum of 0, tanh what `softcap` makes of it with a cap
 * of 1. */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "isa/cpu.h"

/* In u, relative: what the bound of oracle.c takes for granted. exp2 in float32 is a polynomial
 * that is off by 1.6, a last sum that rounds by up to 1, and terms that carry half as much without
 * fused multiply-add; tanh a quotient of two sums that contain it, or a polynomial, and softcap's
 * product. */
static const double MOST = 4;

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
    l->tiles->weigh(l->tile, KEYS, l->tiles->lanes, 1, l->rows[0], l->rows[1], l->rows[2]);
}

static void apply_tanh(lanes *l) {
    l->tiles->softcap(l->tile, KEYS, l->tiles->lanes, 1);
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
} approximation;

static const approximation exp2_tile = {apply_exp2, exact_exp2};
static const approximation tanh_tile = {apply_tanh, exact_tanh};

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
            if (!(off <= MOST))
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp2_is_accurate),
        cmocka_unit_test(tanh_is_accurate),
        cmocka_unit_test(exact_points),
    };
    return run_on_each_isa("accuracy", tests, COUNT(tests));
}

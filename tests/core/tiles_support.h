/* tiles_support.h: what the tests of the tile functions share: a bench with one table on it, arrays
 * of the table's type in guarded memory, and the bounds that more than one test needs.
 *
 * Sizes are drawn at random so that all tails come up. The caller's tensors end (or begin) at a
 * page that faults; scratch ends at one too, up to its alignment of 64 bytes. What a function has
 * no business to write stays POISON, which is NaN, and is checked. */
#ifndef TESTS_CORE_TILES_SUPPORT_H
#define TESTS_CORE_TILES_SUPPORT_H

#include "support.h"

#include "tiles/table.h"

/* The table at hand, its type, and random numbers. */
typedef struct bench {
    const attn_tiles *t;
    bool single, fused; /* float; whether a*b + c rounds once */
    double u, least;    /* half the distance from 1 to the next number; the least normal number */
    stream from;
    uint64_t filled; /* seeds of arrays */
    guarded blocks[24];
    int used;
} bench;

/* ------------------------------------------------------------------------------------- arrays */

typedef struct array {
    bench *b;
    unsigned char *data;
    int64_t count;
} array;

double get(const array *a, int64_t k);
void set(const array *a, int64_t k, double x);
double rounded(const bench *b, double x); /* the number that set would store */

guarded *block_of(bench *b, size_t bytes, guard_side side);
array tensor(bench *b, int64_t count);  /* the caller's: guarded on either side, not aligned */
array scratch(bench *b, int64_t count); /* aligned to 64 bytes, guarded behind */
int32_t *numbers(bench *b, int count);
array copy(bench *b, const array *a); /* to remember what was there */

void fill_random(const array *a, double spread);
void fill_with(const array *a, double x);
void *element_of(const array *a, int64_t k); /* its address */
int64_t written(const array *a);             /* how many numbers are not POISON, nor NaN */
void assert_bounded(double result, double expected, double bound);

/* ------------------------------------------------------------------------------------- shapes */

int draw_int(bench *b, int lowest, int highest);
int draw_width(bench *b);
int padded(const bench *b, int n);

/* A strided view of rows x columns: element [r][c] is number origin + r*row + c*column of
 * `count`. */
typedef struct view {
    array all;
    int64_t origin, row, column, count;
    int rows, columns;
} view;

view draw_strides(bench *b, int rows, int columns); /* without memory */
view make_view(bench *b, int rows, int columns);    /* in just the memory it needs */
void *view_data(const view *v);
double at(const view *v, int r, int c);

/* A tile in either layout, with `rows` queries, of which a full tile has as many as its width. */
typedef struct tile {
    array all;
    bool few;
    int keys, rows, width, lines;
    int64_t key_stride, row_stride;
} tile;

tile make_tile(bench *b, bool few); /* filled at random */
int64_t place(const tile *t, int k, int r);

/* Lanes beyond the keys, in a tile of few. */
void pad_tile(const tile *t, double x);

/* Scores: some pairs -infinity, as an earlier rule would leave them, lanes beyond the keys too. */
tile make_scores(bench *b, bool few);

/* ------------------------------------------------------------------------------------- bounds */

/* exp2(x) with x rounded once: 4 u of its own (test_accuracy.c), and log(2) u |x| from the
 * rounding; what is expected has been through the same in float64. Less than any normal number may
 * be 0. */
double exp2_bound(const bench *b, double x);

/* Of n numbers of any sign, whose sizes add up to `sizes`, added one by one in any order; and of
 * what is expected, where that is worked out in float64 too. */
double sum_bound(const bench *b, int64_t n, double sizes);

/* ------------------------------------------------------------------------------------ running */

/* Runs a check `rounds` times for both types. */
void on_both_types(void **state, void (*check)(bench *b), int64_t rounds);

/* For lists of names: a test of check_<name>, on random sizes or once; and its entry for cmocka. */
#define RANDOM_TEST(name)                                        \
    static void name(void **state) {                             \
        on_both_types(state, check_##name, grid_size(60, 1500)); \
    }
#define SINGLE_TEST(name)                      \
    static void name(void **state) {           \
        on_both_types(state, check_##name, 1); \
    }
#define LISTED(name) cmocka_unit_test(name),

#endif

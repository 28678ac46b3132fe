/* Rows that change places in place, beside the same copied into another array. */
#include "nn.h"

#include "noise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MOST = 12, STEP = 5, USED = 3 };

/* What is beyond `used` stays where it is. */
static void check(attn_nn_pass *pass, const int64_t *from, int64_t rows, int64_t before) {
    real x[MOST * STEP], old[MOST * STEP];
    for (int64_t i = 0; i < MOST * STEP; i++) x[i] = old[i] = (real)i;
    const size_t mark = attn_nn_mark(pass);
    assert_true(attn_nn_move_rows(pass, x, STEP, USED, from, rows, before));
    assert_int_equal(attn_nn_mark(pass), mark);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < STEP; i++) {
            assert_true(x[r * STEP + i] == old[(i < USED ? from[r] : r) * STEP + i]);
        }
    }
    for (int64_t i = (rows > before ? rows : before) * STEP; i < MOST * STEP; i++) {
        assert_true(x[i] == old[i]);
    }
}

static attn_nn_pass open_pass(void) {
    attn_nn_pass pass = {.arena = attn_nn_arena_create()};
    assert_non_null(pass.arena);
    return pass;
}

/* Four rows, from four: each of 4^4 ways, circles and all; and none. */
static void every_way(void **state) {
    (void)state;
    attn_nn_pass pass = open_pass();
    for (int64_t way = 0; way < 256; way++) {
        const int64_t from[] = {way & 3, way >> 2 & 3, way >> 4 & 3, way >> 6};
        check(&pass, from, 4, 4);
    }
    check(&pass, NULL, 0, 4);
    check(&pass, NULL, 0, 0);
    attn_nn_arena_destroy(pass.arena);
}

/* More rows than before, or fewer. */
static void other_numbers(void **state) {
    (void)state;
    attn_nn_pass pass = open_pass();
    for (uint64_t seed = 0; seed < 2000; seed++) {
        int64_t from[MOST];
        const attn_nn_noise sizes = attn_nn_noise_at(7, seed);
        const int64_t rows = sizes.a % (MOST + 1), before = 1 + sizes.b % MOST;
        for (int64_t r = 0; r < rows; r++) {
            from[r] = (int64_t)(attn_nn_noise_at(seed, (uint64_t)r).a % (uint64_t)before);
        }
        check(&pass, from, rows, before);
    }
    attn_nn_arena_destroy(pass.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way),
        cmocka_unit_test(other_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_guard.c: not a byte outside the caller's tensors is read or written, and no input is
 * written.
 *
 * Every tensor and array lies flush against a page that faults, once after it and once before it;
 * inputs are read-only. Nothing is compared here (test_forward.c does that): what would go wrong
 * ends in a fault, which cmocka reports as a failed test, or in a gap that has been written to. */
#define _DEFAULT_SOURCE /* mprotect and its page size */
#include "support.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ARRAYS = 7 };

/* The small arrays of mask and views, moved to memory of just their length. */
typedef struct small_arrays {
    guarded blocks[ARRAYS];
    int used;
} small_arrays;

static void guard_array(small_arrays *a, const int64_t **field, int64_t count, guard_side side) {
    if (*field == NULL) return;
    guarded *const g = &a->blocks[a->used++];
    *g = guarded_make((size_t)count * sizeof(int64_t), side);
    memcpy(g->memory, *field, g->bytes);
    *field = (const int64_t *)(const void *)g->memory;
}

static void guard_arrays(small_arrays *a, sample *s) {
    attn_mask *const m = &s->problem.mask;
    const guard_side side = s->spec.side;
    a->used = 0;
    guard_array(a, &m->prefix_lengths, s->sequences, side);
    guard_array(a, &m->query_lengths, s->sequences, side);
    guard_array(a, &m->key_lengths, s->sequences, side);
    guard_array(a, &m->query_starts, s->sequences + 1, side);
    guard_array(a, &m->key_starts, s->sequences + 1, side);
    guard_array(a, &s->views.heads, s->views.head_count, side);
    guard_array(a, &s->views.rows, s->views.row_count, side);
}

static void make_read_only(const guarded *g) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), inside = g->mapped - 2 * page;
    if (inside != 0) assert_int_equal(mprotect(g->map + page, inside, PROT_READ), 0);
}

static void check_one_side(const target *on, const spec *what) {
    sample s;
    small_arrays arrays;
    sample_make(&s, what);
    guard_arrays(&arrays, &s);
    for (int k = 0; k < s.first_result; k++) make_read_only(&s.blocks[k]);
    for (int k = 0; k < arrays.used; k++) make_read_only(&arrays.blocks[k]);
    if (attn_forward(on->context, &s.problem) != ATTN_OK) fail_msg("%s", attn_error_message());
    assert_gaps_untouched(&s);
    for (int k = 0; k < arrays.used; k++) guarded_free(&arrays.blocks[k]);
    sample_free(&s);
}

static void check_both_sides(void **state, spec what) {
    for (int side = 0; side < 2; side++) {
        what.side = side ? GUARD_BEFORE : GUARD_AFTER;
        check_one_side(*state, &what);
    }
}

static spec plain(uint64_t seed) {
    return (spec){.seed = seed,
                  .dtype = seed % 2 ? ATTN_F64 : ATTN_F32,
                  .batch = 1,
                  .heads = 1,
                  .kv_heads = 1,
                  .n_query = 19,
                  .n_key = 21,
                  .d = 6,
                  .d_value = 10,
                  .results = WANT_ALL};
}

static void every_length(void **state) {
    for (int64_t n = 0; n <= 140; n++) {
        for (uint64_t k = 0; k < 4; k++) {
            spec what = plain((uint64_t)n * 4 + k);
            what.n_query = k < 2 ? n : n % 9;
            what.n_key = k < 2 ? 1 + n * 7 % 40 : n;
            check_both_sides(state, what);
        }
    }
}

static void every_width(void **state) {
    for (int64_t d = 0; d <= 140; d++) {
        for (uint64_t k = 0; k < 4; k++) {
            spec what = plain((uint64_t)d * 4 + k);
            what.n_query = k < 2 ? 19 : 5;
            what.d = d;
            what.d_value = 140 - d;
            check_both_sides(state, what);
        }
    }
}

static void every_rule_and_stride(void **state) {
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(400, 20000); seed++) {
        spec what = random_spec(70000 + seed, 110, 40);
        what.rules |= (unsigned)random_bits(seed, 3) & ALL_RULES;
        check_both_sides(state, what);
    }
}

static void every_score_normalizer_and_view(void **state) {
    for (uint64_t seed = 0; seed < (uint64_t)grid_size(400, 20000); seed++) {
        const spec what = any_spec(80000 + seed, 90, 40);
        check_both_sides(state, what);
    }
}

/* Several tiles of keys, and blocks of queries, of every kind. */
static void long_keys_of_every_score(void **state) {
    for (uint64_t seed = 0; seed < 48; seed++) {
        spec what = any_spec(95000 + seed, 20, 20);
        what.batch = 1;
        what.n_query = seed % 2 ? 1 + (int64_t)(seed % 8) : 70;
        what.n_key = seed % 2 ? 2300 : 400;
        what.kind = (attn_score_kind)(seed / 2 % SCORE_KINDS);
        check_both_sides(state, what);
    }
}

/* Keys of few queries are split and merged beyond some two thousand. */
static void long_keys(void **state) {
    for (uint64_t seed = 0; seed < 12; seed++) {
        spec what = plain(90000 + seed);
        what.heads = 4;
        what.n_query = 1 + (int64_t)(seed % 8);
        what.n_key = 4000 + 101 * (int64_t)seed;
        what.rules = seed % 3 == 0   ? 0
                     : seed % 3 == 1 ? RULE_CAUSAL | RULE_BOTTOM_RIGHT
                                     : RULE_ALLOWED;
        check_both_sides(state, what);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length),
        cmocka_unit_test(every_width),
        cmocka_unit_test(every_rule_and_stride),
        cmocka_unit_test(every_score_normalizer_and_view),
        cmocka_unit_test(long_keys_of_every_score),
        cmocka_unit_test(long_keys),
    };
    return run_on_each_isa("guard", tests, COUNT(tests));
}

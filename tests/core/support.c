/* support.c: random numbers, guarded memory, views of it, and a run on each instruction set. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "support.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---------------------------------------------------------------------------------------------
 * Random numbers
 * ------------------------------------------------------------------------------------------- */

/* The finaliser of splitmix64 (Steele et al. 2014) over a Weyl sequence. */
uint64_t random_bits(uint64_t seed, uint64_t k) {
    uint64_t x = seed * UINT64_C(0xD1342543DE82EF95) + (k + 1) * UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* Four uniform numbers less 2 have variance 4 / 12. */
double random_normal(uint64_t seed, uint64_t k) {
    double sum = -2;
    for (uint64_t i = 0; i < 4; i++) {
        sum += (double)(random_bits(seed + 7919 * i, k) >> 11) * 0x1p-53;
    }
    return sum * 1.7320508075688772;
}

int64_t draw(stream *from, int64_t lowest, int64_t highest) {
    const uint64_t choices = (uint64_t)(highest - lowest) + 1;
    return lowest + (int64_t)(random_bits(from->seed, from->drawn++) % choices);
}

bool draw_one_in(stream *from, int64_t n) {
    return draw(from, 1, n) == 1;
}

/* ---------------------------------------------------------------------------------------------
 * Guarded memory
 * ------------------------------------------------------------------------------------------- */

guarded guarded_make(size_t bytes, guard_side side) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inside = (bytes + page - 1) / page * page;
    guarded g = {.mapped = inside + 2 * page, .bytes = bytes};
    g.map = mmap(NULL, g.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.map == MAP_FAILED) fail_msg("mmap of %zu bytes failed", g.mapped);
    if (inside != 0 && mprotect(g.map + page, inside, PROT_READ | PROT_WRITE) != 0)
        fail_msg("mprotect of %zu bytes failed", inside);
    g.memory = g.map + page + (side == GUARD_AFTER ? inside - bytes : 0);
    memset(g.map + page, POISON, inside);
    return g;
}

void guarded_free(guarded *g) {
    if (g->map != NULL) munmap(g->map, g->mapped);
    *g = (guarded){0};
}

bool guarded_is_poison(const guarded *g) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (const unsigned char *at = g->map + page; at < g->map + g->mapped - page; at++) {
        if (*at != POISON) return false;
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------
 * Tensors
 * ------------------------------------------------------------------------------------------- */

size_t dtype_size(attn_dtype dtype) {
    static const unsigned char sizes[] = {
        [ATTN_F32] = 4, [ATTN_F64] = 8, [ATTN_BOOL] = 1, [ATTN_F16] = 2,
        [ATTN_U8] = 1,  [ATTN_I32] = 4, [ATTN_I64] = 8};
    return sizes[dtype];
}

unsigned char *element_address(const attn_tensor *t, const int64_t index[4]) {
    int64_t at = 0;
    for (int k = 0; k < 4; k++) at += t->shape[k] == 1 ? 0 : index[k] * t->stride[k];
    return (unsigned char *)t->data + at * (int64_t)dtype_size(t->dtype);
}

/* A sign, 5 bits of exponent, 10 of fraction. */
static double from_half(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double size = exponent == 31  ? (fraction ? NAN : INFINITY)
                        : exponent == 0 ? ldexp(fraction, -24)
                                        : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -size : size;
}

double element(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j) {
    const void *const at = element_address(t, (const int64_t[4]){b, h, i, j});
    switch (t->dtype) {
    case ATTN_F32: return (double)*(const float *)at;
    case ATTN_F64: return *(const double *)at;
    case ATTN_BOOL: return *(const uint8_t *)at != 0;
    case ATTN_F16: return from_half(*(const uint16_t *)at);
    case ATTN_U8: return *(const uint8_t *)at / 255.0;
    case ATTN_I32: return *(const int32_t *)at;
    case ATTN_I64: return (double)*(const int64_t *)at;
    case ATTN_DTYPE_NONE: break;
    }
    return NAN;
}

void set_element(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j, double x) {
    unsigned char *const at = element_address(t, (const int64_t[4]){b, h, i, j});
    if (t->dtype == ATTN_BOOL) {
        *at = x != 0;
    } else if (t->dtype == ATTN_F32) {
        *(float *)(void *)at = (float)x;
    } else {
        *(double *)(void *)at = x;
    }
}

size_t tensor_elements(const attn_tensor *t) {
    return (size_t)t->shape[0] * (size_t)t->shape[1] * (size_t)t->shape[2] * (size_t)t->shape[3];
}

bool index_inside(const int64_t index[4], const int64_t shape[4]) {
    return index[0] < shape[0] && index[1] < shape[1] && index[2] < shape[2] && index[3] < shape[3];
}

void index_next(int64_t index[4], const int64_t shape[4]) {
    for (int k = 3; k >= 0; k--) {
        if (++index[k] < shape[k] || k == 0) return;
        index[k] = 0;
    }
}

attn_tensor tensor_copy(const attn_tensor *t, attn_dtype dtype) {
    if (dtype == ATTN_DTYPE_NONE) dtype = t->dtype;
    const size_t bytes = tensor_elements(t) * dtype_size(dtype);
    const attn_tensor copy = attn_tensor_dense(malloc(bytes + 1), dtype, t->shape[0], t->shape[1],
                                               t->shape[2], t->shape[3]);
    if (copy.data == NULL) fail_msg("no memory for a copy of %zu bytes", bytes);
    for (int64_t x[4] = {0}; index_inside(x, t->shape); index_next(x, t->shape)) {
        if (dtype == t->dtype) { /* to the bit, NaN and all */
            memcpy(element_address(&copy, x), element_address(t, x), dtype_size(dtype));
        } else {
            set_element(&copy, x[0], x[1], x[2], x[3], element(t, x[0], x[1], x[2], x[3]));
        }
    }
    return copy;
}

void assert_same_bits(const attn_tensor *a, const attn_tensor *b, const char *what) {
    assert_int_equal(a->dtype, b->dtype);
    assert_memory_equal(a->shape, b->shape, sizeof a->shape);
    for (int64_t x[4] = {0}; index_inside(x, a->shape); index_next(x, a->shape)) {
        if (memcmp(element_address(a, x), element_address(b, x), dtype_size(a->dtype)) == 0)
            continue;
        fail_msg("%s: [%" PRId64 "][%" PRId64 "][%" PRId64 "][%" PRId64 "] is %.17g and %.17g",
                 what, x[0], x[1], x[2], x[3], element(a, x[0], x[1], x[2], x[3]),
                 element(b, x[0], x[1], x[2], x[3]));
    }
}

/* ---------------------------------------------------------------------------------------------
 * Running
 * ------------------------------------------------------------------------------------------- */

attn_context *context_on(attn_isa isa, int threads) {
    const attn_context_options options = {.threads = threads, .max_isa = isa};
    attn_context *context = NULL;
    if (attn_context_create(&context, &options) != ATTN_OK) fail_msg("%s", attn_error_message());
    assert_int_equal(attn_context_isa(context), isa);
    return context;
}

/* Available, and not above a ceiling that the environment sets. */
static bool reachable(attn_isa isa) {
    const attn_context_options options = {.threads = 1, .max_isa = isa};
    attn_context *context = NULL;
    if (!attn_isa_available(isa) || attn_context_create(&context, &options) != ATTN_OK)
        return false;
    const bool same = attn_context_isa(context) == isa;
    attn_context_destroy(context);
    return same;
}

static void skip_isa(void **state) {
    const target *const t = *state;
    print_message("SKIP %s: not on this CPU, not in this build, or above ATTN_MAX_ISA\n",
                  attn_isa_name(t->isa));
    skip();
}

static int close_context(void **state) {
    target *const t = *state;
    attn_context_destroy(t->context);
    t->context = NULL;
    return 0;
}

static int open_context(void **state) {
    target *const t = *state;
    t->context = context_on(t->isa, 1);
    return 0;
}

int run_on_each_isa(const char *group, const struct CMUnitTest *tests, size_t count) {
    static const attn_isa all[] = {ATTN_ISA_GENERIC, ATTN_ISA_NEON, ATTN_ISA_AVX2, ATTN_ISA_AVX512};
    static target targets[COUNT(all)];
    int failed = 0;
    for (size_t k = 0; k < COUNT(all); k++) {
        char title[64];
        targets[k].isa = all[k];
        const bool there = reachable(all[k]);
        const size_t runs = there ? count : 1;
        struct CMUnitTest *const list = calloc(count + 1, sizeof *list);
        if (list == NULL) return 1;
        for (size_t t = 0; t < runs; t++) {
            list[t] = there ? tests[t] : (struct CMUnitTest){.name = "isa", .test_func = skip_isa};
            list[t].initial_state = &targets[k];
            if (!there) continue;
            list[t].setup_func = open_context;
            list[t].teardown_func = close_context;
        }
        snprintf(title, sizeof title, "%s on %s", group, attn_isa_name(all[k]));
        failed += _cmocka_run_group_tests(title, list, runs, NULL, NULL);
        free(list);
    }
    return failed;
}

int64_t grid_size(int64_t small, int64_t full) {
    const char *const set = getenv("ATTN_TEST_FULL");
    return set != NULL && *set != '\0' && *set != '0' ? full : small;
}

/* Packed matrices: products beside a sum of longs, for every instruction set; a row's bits are its own;
 * a search finds for a sentence, to the bit, what it finds for it alone. */
#include "nn.h"

#include "noise.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#ifdef ATTN_NN_DOUBLE
#define ROUNDING (DBL_EPSILON / 2)
#else
#define ROUNDING (FLT_EPSILON / 2)
#endif

/* --- Products ------------------------------------------------------------------------------------- */

/* Columns that a panel of 4, 8, 16, 32 or 64 rows holds, and one more and less; few and many terms. */
static const int64_t heights[] = {2, 4, 7, 8, 9, 15, 16, 17, 33, 63, 64, 65, 130};
static const int64_t widths[] = {2, 5, 40};
enum { HEIGHTS = sizeof heights / sizeof heights[0], WIDTHS = 3, MOST_ROWS = 15, MOST = 130 };

typedef struct matrices {
    attn_nn_layout layout;
    real *values;
    attn_nn_packed *packed;
    real x[MOST_ROWS * MOST];
} matrices;

static void fill(real *numbers, int64_t count, uint64_t seed) {
    for (int64_t i = 0; i < count; i++) {
        numbers[i] = (real)(2 * attn_nn_uniform(attn_nn_noise_at(seed, (uint64_t)i).a) - 1);
    }
}

/* Vectors lie between the matrices: they have no panels. */
static void open_matrices(matrices *m, const attn_context *context) {
    memset(m, 0, sizeof *m);
    for (int i = 0; i < HEIGHTS * WIDTHS; i++) {
        attn_nn_layout_add(&m->layout, "matrix", heights[i / WIDTHS], widths[i % WIDTHS],
                           ATTN_NN_ZERO, 0);
        attn_nn_layout_add(&m->layout, "vector", 1, heights[i / WIDTHS], ATTN_NN_ZERO, 0);
    }
    assert_false(m->layout.failed);
    m->values = calloc((size_t)m->layout.size, sizeof *m->values);
    assert_non_null(m->values);
    fill(m->values, m->layout.size, 1);
    fill(m->x, MOST_ROWS * MOST, 2);
    m->packed = attn_nn_pack(&m->layout, m->values, context);
    assert_non_null(m->packed);
}

static void close_matrices(matrices *m) {
    attn_nn_packed_free(m->packed);
    attn_nn_layout_free(&m->layout);
    free(m->values);
}

/* Each of the n terms is rounded once, with the sum so far, and what is kept is added in one rounding
 * more: at most n + 1 roundings, each of at most ROUNDING of the sum of absolute values, to the first
 * order; twice that is more than all orders. */
static void check_product(const matrices *m, const attn_nn_matrix *w, int64_t rows, bool keep,
                          const real *before, const real *y) {
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < w->rows; c++) {
            const double start = keep ? (double)before[r * MOST + c] : 0;
            long double sum = start;
            double size = fabs(start);
            for (int64_t k = 0; k < w->columns; k++) {
                const double a = (double)m->x[r * MOST + k];
                const double b = (double)m->values[w->weight + c * w->step + k];
                sum += (long double)a * b, size += fabs(a * b);
            }
            const double bound = 2 * (double)(w->columns + 1) * (double)ROUNDING * size;
            assert_true(fabs((double)((long double)y[r * MOST + c] - sum)) <= bound);
        }
        for (int64_t c = w->rows; c < MOST; c++)
            assert_true(y[r * MOST + c] == before[r * MOST + c]);
    }
}

static void check_matrix(const matrices *m, const attn_nn_pass *pass, const attn_nn_matrix *w) {
    static real before[MOST_ROWS * MOST], y[MOST_ROWS * MOST], alone[MOST];
    fill(before, MOST_ROWS * MOST, 3);
    for (int64_t rows = 1; rows <= MOST_ROWS; rows++) {
        for (int keep = 0; keep < 2; keep++) {
            memcpy(y, before, sizeof y);
            attn_nn_apply(pass, w, m->x, MOST, y, MOST, rows, keep);
            check_product(m, w, rows, keep, before, y);
            for (int64_t r = 0; r < rows && pass->packed != NULL; r++) {
                memcpy(alone, before + r * MOST, sizeof alone);
                attn_nn_apply(pass, w, m->x + r * MOST, MOST, alone, MOST, 1, keep);
                assert_memory_equal(alone, y + r * MOST, sizeof alone);
            }
        }
    }
}

/* Whole matrices, and vectors; rows from a panel's first one on, or from between; columns. */
static void check_all(const matrices *m, const attn_nn_pass *pass) {
    for (int64_t i = 0; i < m->layout.count; i++) {
        const attn_nn_parameter *const p = &m->layout.parameters[i];
        const int64_t skips[] = {0, 1, 8, 64};
        for (int s = 0; s < 4 && skips[s] < p->rows; s++) {
            for (int64_t first = 0; first < p->columns; first += 3) {
                const attn_nn_matrix w = {p->offset + skips[s] * p->columns + first, p->columns,
                                          p->rows - skips[s], p->columns - first};
                check_matrix(m, pass, &w);
            }
        }
    }
}

static void check_on(attn_isa isa) {
    const attn_context_options options = {.threads = 1, .max_isa = isa};
    attn_context *context = NULL;
    bool there = attn_isa_available(isa);
    if (there) {
        assert_int_equal(attn_context_create(&context, &options), ATTN_OK);
        there = attn_context_isa(context) == isa;
    }
    if (there) {
        matrices m;
        open_matrices(&m, context);
        const attn_nn_pass pass = {.values = m.values, .packed = m.packed};
        check_all(&m, &pass);
        close_matrices(&m);
    }
    attn_context_destroy(context);
    if (there) return;
    print_message("SKIP %s: not on this CPU, not in this build, or above ATTN_MAX_ISA\n",
                  attn_isa_name(isa));
    skip();
}

static void products_generic(void **state) {
    (void)state;
    check_on(ATTN_ISA_GENERIC);
}
static void products_neon(void **state) {
    (void)state;
    check_on(ATTN_ISA_NEON);
}
static void products_avx2(void **state) {
    (void)state;
    check_on(ATTN_ISA_AVX2);
}
static void products_avx512(void **state) {
    (void)state;
    check_on(ATTN_ISA_AVX512);
}

/* The same sums, by the BLAS: it does the same, but for bits. */
static void products_of_the_blas(void **state) {
    (void)state;
    matrices m;
    open_matrices(&m, NULL);
    const attn_nn_pass pass = {.values = m.values};
    check_all(&m, &pass);
    close_matrices(&m);
}

/* --- Search --------------------------------------------------------------------------------------- */

enum { VOCABULARY = 83, SENTENCES = 6, LIMIT = 9, BEGIN = 0, END = 1, UNKNOWN = 2, PAD = 3 };

static const int64_t starts[SENTENCES + 1] = {0, 4, 6, 13, 14, 21, 24};
static const int32_t words[] = {4, 9, 7, 1, 22, 1, 8,  8, 10, 11, 12, 13,
                                1, 1, 5, 6, 70, 9, 55, 4, 1,  82, 31, 1};

static attn_nn_config config_of(int kind) {
    attn_nn_config c = {.family = ATTN_NN_TRANSFORMER, .vocabulary = VOCABULARY, .width = 32};
    c.encoder_layers = 2, c.heads = 2, c.max_length = LIMIT + 1;
    if (kind == 0) return c;
    c.family = ATTN_NN_RECURRENT, c.cell = kind == 1 ? ATTN_NN_LSTM : ATTN_NN_GRU;
    c.look = kind == 1 ? ATTN_NN_LOOK_ADDITIVE : ATTN_NN_LOOK_CONCAT;
    c.copy = kind == 2, c.coverage = kind == 2;
    return c;
}

static void assert_same(const attn_nn_hypothesis *a, const attn_nn_hypothesis *b, int64_t rows) {
    assert_int_equal(a->length, b->length);
    assert_memory_equal(a->tokens, b->tokens, (size_t)a->length * sizeof *a->tokens);
    assert_true(a->log_p == b->log_p && a->score == b->score);
    assert_memory_equal(a->weights, b->weights,
                        (size_t)((a->length + 1) * rows) * sizeof *a->weights);
}

/* All sentences at once, and then each. */
static void check_search(const attn_nn_model *model, const attn_nn_pass *with,
                         const attn_nn_search_options *o) {
    const attn_nn_sentences all = {SENTENCES, starts, words};
    attn_nn_pass pass = *with;
    attn_nn_translations *const together = attn_nn_search(model, &pass, &all, o);
    assert_non_null(together);
    for (int64_t s = 0; s < SENTENCES; s++) {
        const int64_t one_starts[] = {0, starts[s + 1] - starts[s]};
        const attn_nn_sentences one = {1, one_starts, words + starts[s]};
        pass = *with;
        attn_nn_translations *const alone = attn_nn_search(model, &pass, &one, o);
        assert_non_null(alone);
        assert_int_equal(alone->starts[1], together->starts[s + 1] - together->starts[s]);
        for (int64_t i = 0; i < alone->starts[1]; i++) {
            assert_same(&alone->hypotheses[i], &together->hypotheses[together->starts[s] + i],
                        one_starts[1]);
        }
        attn_nn_translations_free(alone);
    }
    attn_nn_translations_free(together);
}

static void a_sentence_is_itself_in_any_company(void **state) {
    (void)state;
    for (int i = 0; i < 9; i++) {
        const attn_nn_config config = config_of(i / 3);
        attn_nn_model *model = NULL;
        assert_int_equal(attn_nn_model_create(&model, &config), ATTN_OK);
        const attn_nn_layout *const layout = attn_nn_model_layout(model);
        real *const values = calloc((size_t)layout->size, sizeof *values);
        attn_nn_arena *const arena = attn_nn_arena_create();
        assert_true(values != NULL && arena != NULL);
        attn_nn_layout_start(layout, 5, values);
        attn_nn_packed *const packed = attn_nn_pack(layout, values, NULL);
        assert_non_null(packed);
        attn_nn_search_options o = attn_nn_search_defaults(BEGIN, END, UNKNOWN, PAD);
        o.max_length = LIMIT, o.want_weights = true;
        o.kind = (attn_nn_search_kind)(i % 3), o.n_best = o.kind == ATTN_NN_GREEDY ? 1 : 3;
        const attn_nn_pass pass = {.values = values, .packed = packed, .arena = arena};
        check_search(model, &pass, &o);
        attn_nn_packed_free(packed);
        attn_nn_arena_destroy(arena);
        free(values);
        attn_nn_model_destroy(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_generic),
        cmocka_unit_test(products_neon),
        cmocka_unit_test(products_avx2),
        cmocka_unit_test(products_avx512),
        cmocka_unit_test(products_of_the_blas),
        cmocka_unit_test(a_sentence_is_itself_in_any_company),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

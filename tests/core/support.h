/* support.h: what the tests of the core share.
 *
 * A `spec` says what a problem looks like; a `sample` is that problem made, its tensors between
 * guard pages; an `oracle` is what the float64 reference makes of it, and `assert_close` holds the
 * results to it within a bound that is derived in oracle.c. Everything follows from spec.seed. */
#ifndef TESTS_CORE_SUPPORT_H
#define TESTS_CORE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attn/attn.h"

/* ---------------------------------------------------------------------------------------------
 * Random numbers: the k-th of a seed depends on nothing else, so a tensor's values do not depend on
 * its layout, nor on what was drawn before
 * ------------------------------------------------------------------------------------------- */

typedef struct stream {
    uint64_t seed, drawn;
} stream;

uint64_t random_bits(uint64_t seed, uint64_t k);
double random_normal(uint64_t seed, uint64_t k); /* nearly: mean 0, deviation 1, |x| < 3.5 */
int64_t draw(stream *from, int64_t lowest, int64_t highest); /* both included */
bool draw_one_in(stream *from, int64_t n);

/* ---------------------------------------------------------------------------------------------
 * Guarded memory and tensors in it
 * ------------------------------------------------------------------------------------------- */

/* bytes of memory that end (or begin) at a page that faults when touched; filled with POISON */
typedef struct guarded {
    unsigned char *map;
    size_t mapped;
    unsigned char *memory;
    size_t bytes;
} guarded;

enum { POISON = 0xFF }; /* as bytes of a float or double: NaN */
typedef enum guard_side { GUARD_AFTER, GUARD_BEFORE } guard_side;

guarded guarded_make(size_t bytes, guard_side side);
void guarded_free(guarded *g);
bool guarded_is_poison(const guarded *g);

typedef enum layout {
    LAYOUT_DENSE,
    LAYOUT_ROWS, /* [batch, length, heads, width] in memory, odd gaps between rows */
    LAYOUT_ANY,  /* axes in any order, any gaps, any signs; inputs may broadcast (stride 0) */
    LAYOUTS
} layout;

/* The element at an index, size-1 dimensions broadcast; and the place of one. */
double element(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j);
void set_element(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j, double x);

unsigned char *element_address(const attn_tensor *t, const int64_t index[4]);
size_t dtype_size(attn_dtype dtype);
size_t tensor_elements(const attn_tensor *t);

/* All indices of a shape, row by row:
 * for (int64_t x[4] = {0}; index_inside(x, shape); index_next(x, shape)) */
bool index_inside(const int64_t index[4], const int64_t shape[4]);
void index_next(int64_t index[4], const int64_t shape[4]);

/* A dense copy of any view, to be freed; as dtype, or as it is if dtype is ATTN_DTYPE_NONE. */
attn_tensor tensor_copy(const attn_tensor *t, attn_dtype dtype);

/* ---------------------------------------------------------------------------------------------
 * Problems
 * ------------------------------------------------------------------------------------------- */

enum { /* spec.rules */
       RULE_CAUSAL = 1 << 0,
       RULE_BOTTOM_RIGHT = 1 << 1,
       RULE_OFFSET = 1 << 2,
       RULE_WINDOW = 1 << 3,
       RULE_PREFIX = 1 << 4,
       RULE_QUERY_LENGTHS = 1 << 5,
       RULE_KEY_LENGTHS = 1 << 6,
       RULE_PACKED = 1 << 7,
       RULE_DOCUMENTS = 1 << 8,
       RULE_ALLOWED = 1 << 9,
       RULE_BIAS = 1 << 10,
       RULE_BIAS_MASKS = 1 << 11, /* some entries of the bias are -infinity */
       RULE_ALIBI = 1 << 12,
       RULE_SOFTCAP = 1 << 13,
       RULE_SINKS = 1 << 14,
       RULE_SCALE = 1 << 15,
       RULES = 16,
       ALL_RULES = (1 << RULES) - 1
};

enum { /* spec.terms: left out where the kind of score or normalizer takes none */
       TERM_SCALES = 1 << 0,
       TERM_OFFSET = 1 << 1,
       TERM_UNIT_WEIGHT = 1 << 2,
       TERM_LOCATION = 1 << 3,
       TERM_RELATIVE_BIAS = 1 << 4,
       TERM_RELATIVE_KEYS = 1 << 5,
       TERM_RELATIVE_QUERIES = 1 << 6,
       TERM_RELATIVE_VALUES = 1 << 7,
       TERM_CONTENT_BIAS = 1 << 8,
       TERM_POSITION_BIAS = 1 << 9,
       TERM_T5 = 1 << 10,
       TERM_T5_CAUSAL = 1 << 11,
       TERM_SCORE_CALL = 1 << 12, /* nudge_scores */
       TERM_MASK_CALL = 1 << 13,  /* hide_pairs */
       TERM_TEMPERATURE = 1 << 14,
       TERM_GUMBEL = 1 << 15,
       TERM_DROPOUT = 1 << 16,
       TERM_LOCAL = 1 << 17,
       TERM_CENTERS = 1 << 18,
       TERMS = 19,
       ALL_TERMS = (1 << TERMS) - 1,
       TERM_CURVE_CALL = 1 << 19, /* curve_scores for nudge_scores; only where it is asked for */
       RELATIVE_TERMS = TERM_RELATIVE_BIAS | TERM_RELATIVE_KEYS | TERM_RELATIVE_QUERIES |
                        TERM_RELATIVE_VALUES | TERM_CONTENT_BIAS | TERM_POSITION_BIAS
};

enum { SCORE_KINDS = ATTN_SCORE_CUSTOM + 1, NORMALIZERS = ATTN_HARDMAX + 1 };

enum { WANT_OUTPUT = 1, WANT_LSE = 2, WANT_WEIGHTS = 4, WANT_ALL = 7 }; /* spec.results */

/* Bits 1 << ... of spec.views. */
enum {
    VIEW_WEIGHTS,
    VIEW_RECEIVED_SUM,
    VIEW_RECEIVED_MEAN,
    VIEW_RECEIVED_MAX,
    VIEW_WINDOW_SUM,
    VIEW_TOP_WEIGHTS,
    VIEW_TOP_KEYS,
    VIEW_ARGMAX,
    VIEW_ENTROPY,
    VIEW_SPAN,
    VIEW_DISTANCE,
    VIEW_MAX_LOGIT,
    VIEW_BLOCK_SUMS,
    VIEW_HEAD_MEAN,
    VIEW_PATH,
    VIEW_HEAD_STATISTICS,
    VIEW_RAW_SCORES,
    VIEW_CAPPED_SCORES,
    VIEW_SCORES,
    VIEWS,
    ALL_VIEWS = (1 << VIEWS) - 1
};

/* Which rows views.weights shows. */
typedef enum slice { SLICE_NONE, SLICE_LAST, SLICE_LISTED, SLICES } slice;

typedef struct spec {
    uint64_t seed;
    attn_dtype dtype;
    int64_t batch, heads, kv_heads, n_query, n_key, d, d_value;
    unsigned rules, results;
    layout layout;
    guard_side side;
    double spread; /* deviation of queries and keys; 0: 1 */

    attn_score_kind kind;
    attn_normalizer_kind normalizer;
    double alpha; /* of ATTN_ENTMAX; 0: 1.5 */
    unsigned terms, views;
    attn_dtype view_dtype; /* of views.weights; 0: dtype */
    slice slice;
    bool some_heads; /* views show some, not all */
} spec;

/* A stretch of queries and the stretch of keys they may see: what the tests, not the library,
 * say */
typedef struct stretch {
    int64_t batch, first_query, first_key;
    int64_t slot_query, slot_key; /* with padding */
    int64_t n_query, n_key;       /* without */
} stretch;

enum { MAX_STRETCHES = 64, MAX_BLOCKS = 64, MAX_HEADS = 160, MAX_ROWS = 8 };

typedef struct sample {
    spec spec;
    attn_problem problem;
    stretch stretches[MAX_STRETCHES];
    int64_t sequences;
    int64_t starts[2][MAX_STRETCHES + 1], lengths[2][MAX_STRETCHES], prefixes[MAX_STRETCHES];
    int32_t *documents[2];
    attn_relative relative;
    attn_location location;
    attn_local local;
    attn_views views;
    int64_t heads[MAX_HEADS], rows[MAX_ROWS];
    guarded blocks[MAX_BLOCKS];
    int used, first_result; /* blocks in use; those from first_result on are results' */
} sample;

/* sequences and sizes up to the given ones, every rule and layout with some probability; and with
 * every score, normalizer, term and view too */
spec random_spec(uint64_t seed, int64_t max_length, int64_t max_width);
spec any_spec(uint64_t seed, int64_t max_length, int64_t max_width);

void sample_make(sample *s, const spec *what);
void sample_free(sample *s);
const stretch *stretch_of(const sample *s, int64_t b, int64_t i); /* query i's; NULL: padding */
void sample_poison(sample *s);                  /* results back to POISON, all bytes of them */
void assert_results_untouched(const sample *s); /* they are still that */
void assert_gaps_untouched(sample *s);          /* all but the elements; poisons those */
const char *sample_text(const sample *s, attn_isa isa);

/* The sample's results, those with a place; returns how many. */
enum { MAX_RESULTS = 3 + VIEWS };
typedef struct named_tensor {
    const char *name;
    attn_tensor *tensor;
} named_tensor;
int sample_results(sample *s, named_tensor results[MAX_RESULTS]);

attn_tensor *view_of(attn_views *v, int view);
const char *view_name(int view);
int64_t chosen_head(const attn_views *v, int64_t place);

/* Callbacks: add a multiple of 1/4, no larger than 1, and hide a fifth of all pairs; both by the
 * pair's place alone. */
void nudge_scores(void *user, const attn_pairs *pairs);
void hide_pairs(void *user, const attn_pairs *pairs);

/* Makes s + s * s / 8 of a score. */
void curve_scores(void *user, const attn_pairs *pairs);

/* For a callback: an element, r rows and c keys from the first. */
double pair_element(const attn_pairs *pairs, int r, int c);
void set_pair_element(const attn_pairs *pairs, int r, int c, double x);

/* Which of n entries attn.h gives a key that stands `apart` ahead of its query. */
int64_t relative_entry(const attn_relative *relative, int64_t n, int64_t apart);

/* Where query i of a stretch stands among its keys. */
int64_t position_of(const attn_problem *p, const stretch *at, int64_t i);

/* What the reference says, in float64 throughout, about the very numbers of a sample. */
typedef struct oracle {
    attn_problem problem; /* float64, dense; its results are the oracle's */
    attn_relative relative;
    attn_location location;
    attn_local local;
    attn_views views; /* the sample's */

    /* Of all heads, [batch, heads, n_query, n_key]: scores; weights before dropout and local
     * factors; and how far from raw scores, scores and weights those of a sample may be. */
    attn_views all;
    attn_tensor plain, raw_error, score_error, weight_error;
    attn_tensor lse_error, spoilt; /* [batch, heads, n_query, 1] */

    void *owned[64]; /* what oracle_free frees */
    int owned_count;
} oracle;

void oracle_make(oracle *o, const sample *s);
void oracle_free(oracle *o);

/* Every result that the sample has a place for, views too, every element, within the derived
 * bound. */
void assert_close(const sample *s, const oracle *o, attn_isa isa);

/* For output[x]; and where its row was weighed with an error as large as that of its log-sum-exp. */
double bound_at(const sample *s, const oracle *o, const int64_t x[4]);
double mixed_bound(const sample *s, const oracle *o, const int64_t x[4]);

/* The largest error / bound that assert_close has seen in this process. */
double largest_share_of_bound(void);

/* Same bits, element by element, of two tensors of one shape and type. */
void assert_same_bits(const attn_tensor *a, const attn_tensor *b, const char *what);

/* ---------------------------------------------------------------------------------------------
 * Running
 * ------------------------------------------------------------------------------------------- */

/* *state of a test that runs on each ISA */
typedef struct target {
    attn_isa isa;
    attn_context *context; /* one thread */
} target;

/* A context of `threads` threads on exactly this ISA. */
attn_context *context_on(attn_isa isa, int threads);

/* Runs the tests once for every ISA; one that is not there counts as one skipped test, with the
 * reason. Returns what main should: the number of failed tests. */
int run_on_each_isa(const char *group, const struct CMUnitTest *tests, size_t count);

/* small unless the environment variable ATTN_TEST_FULL is set */
int64_t grid_size(int64_t small, int64_t full);

#define COUNT(array) (sizeof(array) / sizeof *(array))

#endif

/* attn.h: exact attention for CPUs, never a black box.
 *
 * One call does what the textbook says:
 *
 *     SCORE      s[i][j] = cap(scale * dot(query[i], key[j])) + bias[i][j] - slope * |p_i - j|
 *     WEIGH      w[i][j] = exp(s[i][j]) / sum over visible j' of exp(s[i][j'])
 *     AGGREGATE  output[i] = sum over visible j of w[i][j] * value[j]
 *
 * and gives back whichever of output, weights and log-sum-exp you give it a place for. The n x n
 * matrix of scores never exists: memory beyond your tensors is O(n), weights or no weights.
 *
 *     attn_problem p = {
 *         .query  = attn_tensor_f32(q, batch, heads, n_query, d),
 *         .key    = attn_tensor_f32(k, batch, kv_heads, n_key, d),
 *         .value  = attn_tensor_f32(v, batch, kv_heads, n_key, d_value),
 *         .output = attn_tensor_f32(o, batch, heads, n_query, d_value),
 *     };
 *     if (attn_forward(NULL, &p) != ATTN_OK) puts(attn_error_message());
 *
 * Conventions, which hold for every function here unless it says otherwise:
 *   - A zeroed field means "plain": no mask, no bias, the default scale, the result not wanted.
 *   - Sizes, strides and indices are int64_t and count elements, never bytes.
 *   - The library keeps no pointer of yours after a call returns, and never frees one.
 *   - It never prints, aborts or exits. A failed call returns a status, leaves the results
 *     untouched, and attn_error_message() says which field was wrong and what was expected.
 *   - Every function may be called from any thread at any time, on one context or several.
 */
#ifndef ATTN_ATTN_H
#define ATTN_ATTN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTN_VERSION_MAJOR 0
#define ATTN_VERSION_MINOR 1
#define ATTN_VERSION_PATCH 0
#define ATTN_VERSION_STRING "0.1.0"

#if defined(_WIN32)
#define ATTN_API
#elif defined(__GNUC__)
#define ATTN_API __attribute__((visibility("default")))
#else
#define ATTN_API
#endif

/* ---------------------------------------------------------------------------------------------
 * Status
 * ------------------------------------------------------------------------------------------- */

/* What a call came to. The numbers are frozen: new ones are only ever added at the end. */
typedef enum attn_status {
    ATTN_OK = 0,
    ATTN_ERROR_NULL = 1,        /* a pointer that must be there is NULL */
    ATTN_ERROR_DTYPE = 2,       /* an element type this field does not take */
    ATTN_ERROR_SHAPE = 3,       /* shapes that do not fit each other, or a negative size */
    ATTN_ERROR_STRIDE = 4,      /* strides out of the address space, or a result over itself */
    ATTN_ERROR_ALIGNMENT = 5,   /* data not aligned to its element size */
    ATTN_ERROR_VALUE = 6,       /* a number outside its range: scale, soft cap, lengths, enums */
    ATTN_ERROR_ALIAS = 7,       /* a result that overlaps an input or another result */
    ATTN_ERROR_MEMORY = 8,      /* an allocation failed */
    ATTN_ERROR_UNSUPPORTED = 9, /* asks for something this CPU or this build does not have */
    ATTN_ERROR_VERSION = 10     /* a reserved field is not zero: made for a newer library */
} attn_status;

/* The enumerator's name, "ATTN_ERROR_SHAPE"; "unknown status" for a number that is none. */
ATTN_API const char *attn_status_name(attn_status status);

/* One sentence on this thread's latest failed call: the field, its value, what was expected, as
 * in "key.shape[3] is 32, but query.shape[3] is 64".
 * "" before any failure. The text is the library's and stays until this thread's next failure. */
ATTN_API const char *attn_error_message(void);

/* The version of the library that is linked, as "0.1.0" (compare ATTN_VERSION_STRING). */
ATTN_API const char *attn_version(void);

/* ---------------------------------------------------------------------------------------------
 * Tensors
 * ------------------------------------------------------------------------------------------- */

typedef enum attn_dtype {
    ATTN_DTYPE_NONE = 0, /* an absent tensor */
    ATTN_F32 = 1,        /* IEEE 754 binary32: float */
    ATTN_F64 = 2,        /* IEEE 754 binary64: double */
    ATTN_BOOL = 3        /* one byte; 0 is false, everything else true */
} attn_dtype;

/* A view of the caller's memory: element [b][h][i][j] lies at
 * data + (b*stride[0] + h*stride[1] + i*stride[2] + j*stride[3]) * size of the element.
 * Strides may be anything, 0 (broadcast) and negative included; results need distinct elements.
 * A NULL data pointer means an absent tensor, except where a dimension is 0. */
typedef struct attn_tensor {
    void *data;
    attn_dtype dtype;
    int64_t shape[4];
    int64_t stride[4];
} attn_tensor;

/* A dense, row-major view [d0, d1, d2, d3]; the memory stays the caller's. Inputs are only read. */
static inline attn_tensor attn_tensor_dense(const void *data, attn_dtype dtype, int64_t d0,
                                            int64_t d1, int64_t d2, int64_t d3) {
    attn_tensor t;
    t.data = (void *)(uintptr_t)data;
    t.dtype = dtype;
    t.shape[0] = d0, t.shape[1] = d1, t.shape[2] = d2, t.shape[3] = d3;
    /* Unsigned products wrap where signed ones are undefined; attn_forward rejects such shapes. */
    t.stride[3] = 1;
    t.stride[2] = d3;
    t.stride[1] = (int64_t)((uint64_t)d2 * (uint64_t)d3);
    t.stride[0] = (int64_t)((uint64_t)d1 * (uint64_t)t.stride[1]);
    return t;
}
static inline attn_tensor attn_tensor_f32(const float *data, int64_t d0, int64_t d1, int64_t d2,
                                          int64_t d3) {
    return attn_tensor_dense(data, ATTN_F32, d0, d1, d2, d3);
}
static inline attn_tensor attn_tensor_f64(const double *data, int64_t d0, int64_t d1, int64_t d2,
                                          int64_t d3) {
    return attn_tensor_dense(data, ATTN_F64, d0, d1, d2, d3);
}
static inline attn_tensor attn_tensor_bool(const void *data, int64_t d0, int64_t d1, int64_t d2,
                                           int64_t d3) {
    return attn_tensor_dense(data, ATTN_BOOL, d0, d1, d2, d3);
}

/* ---------------------------------------------------------------------------------------------
 * The problem, in the order of the spine: score, mask, results
 * ------------------------------------------------------------------------------------------- */

/* How a query and a key make a score. Further kinds will join. */
typedef enum attn_score_kind {
    ATTN_SCORE_DOT = 0 /* scale * dot(query, key): Luong et al. 2015; Vaswani et al. 2017 */
} attn_score_kind;

typedef struct attn_score {
    attn_score_kind kind;

    /* Multiplies the dot product. 0: the default, 1/sqrt(d). 1: the plain dot product. Finite. */
    double scale;

    /* Soft cap c > 0: the scaled score s becomes c * tanh(s / c), before bias, ALiBi and mask
     * (Gemma 2). 0: none. */
    double softcap;

    /* Added to the score. [batch or 1, heads or 1, n_query or 1, n_key or 1] in query's dtype;
     * dimensions of size 1 broadcast. -infinity masks: neither key nor value is then looked at. */
    attn_tensor bias;

    /* ALiBi (Press et al. 2022): slope * |p_i - j| is taken from the score, where p_i is query i's
     * position (see attn_mask). [batch or 1, heads or 1, 1, 1], query's dtype, finite. */
    attn_tensor alibi_slopes;

    /* One logit a head that takes its share of the softmax and gives no value ("attention sink"):
     * exp(sink) joins the sum; rows of weights then sum to less than one; log-sum-exp includes it.
     * [batch or 1, heads or 1, 1, 1], query's dtype. -infinity: no sink for that head. */
    attn_tensor sinks;

    uint64_t reserved[8]; /* zero */
} attn_score;

/* Where query i stands among the keys: p_i = i + query_offset under ATTN_ALIGN_TOP_LEFT, and
 * p_i = i + (n_key - n_query) + query_offset under ATTN_ALIGN_BOTTOM_RIGHT, so that the last query
 * stands at the last key. n_key and n_query are the row's own lengths where lengths are given.
 * With c keys cached before the first query, either use bottom-right or query_offset = c. */
typedef enum attn_alignment { ATTN_ALIGN_TOP_LEFT = 0, ATTN_ALIGN_BOTTOM_RIGHT = 1 } attn_alignment;

/* Query i sees keys from p_i - left to p_i + right, both included. Negative: no limit that way. */
typedef struct attn_window {
    bool enabled;
    int64_t left;
    int64_t right;
} attn_window;

/* Who may attend to whom. All that is set applies together: a key is visible if every rule lets it
 * through. Masked keys and values are never looked at: NaN or infinity there cannot reach a result.
 * A query that may attend to nothing gets zero output, zero weights and log-sum-exp -infinity (the
 * sink's logit, if it has one). */
typedef struct attn_mask {
    bool causal; /* query i sees keys j <= p_i */
    attn_alignment alignment;
    int64_t query_offset; /* any sign; |query_offset| <= 2^40 */
    attn_window window;

    /* Prefix-LM: the causal rule is lifted for keys j < prefix_lengths[sequence], which every query
     * may see; window and lengths still apply. [sequences]; NULL: none. Each >= 0. */
    const int64_t *prefix_lengths;

    /* How many queries and keys of each sequence are real (the rest is padding: rows of padding
     * queries get zero output and weights and log-sum-exp -infinity). [sequences]; NULL: all. */
    const int64_t *query_lengths;
    const int64_t *key_lengths;

    /* Ragged batches, packed end to end along the length: sequence s owns queries
     * query_starts[s] .. query_starts[s+1]-1 and keys key_starts[s] .. key_starts[s+1]-1.
     * [sequences + 1] each, rising, within the tensor; both or neither. batch must then be 1, and
     * `sequences` says how many there are. Rows that no sequence owns are treated as padding.
     * Positions, bias, mask and columns of the weights then count within the sequence; bias and
     * allowed have `sequences` (or 1) as their first size; weights has the longest sequence's
     * keys, or more, as its last. Without starts, a sequence is a row of the batch. */
    const int64_t *query_starts;
    const int64_t *key_starts;
    int64_t sequences;

    /* Document ids: a query sees only keys with its own id. [batch][n_query] and [batch][n_key],
     * dense (packed batches: as the tensors are packed); both or neither. */
    const int32_t *query_documents;
    const int32_t *key_documents;

    /* True: may attend. ATTN_BOOL, [batch or 1, heads or 1, n_query or 1, n_key or 1]. */
    attn_tensor allowed;

    uint64_t reserved[8]; /* zero */
} attn_mask;

/* Everything one call needs. query, key and value are [batch, heads, length, width], all F32 or all
 * F64; key and value have kv_heads heads, which must divide heads: query head h uses key head
 * h / (heads / kv_heads) (MHA: all; GQA: some; MQA: one). value may have a width of its own.
 * Any size may be 0. Results must not overlap each other or any input: what counts is the range of
 * addresses, so results interleaved in one buffer overlap too. */
typedef struct attn_problem {
    attn_tensor query; /* [batch, heads,    n_query, d] */
    attn_tensor key;   /* [batch, kv_heads, n_key,   d] */
    attn_tensor value; /* [batch, kv_heads, n_key,   d_value] */
    attn_score score;
    attn_mask mask;

    /* Results, each computed only if it has a place; all in query's dtype. */
    attn_tensor output;  /* [batch, heads, n_query, d_value] */
    attn_tensor lse;     /* [batch, heads, n_query, 1]: log(sum of exp(score)), natural log */
    attn_tensor weights; /* [batch, heads, n_query, n_key]: rows sum to 1; masked entries are 0 */

    uint64_t reserved[16]; /* zero */
} attn_problem;

/* ---------------------------------------------------------------------------------------------
 * Contexts: threads, instruction set, memory
 * ------------------------------------------------------------------------------------------- */

/* Instruction sets with their own table of tile functions, weakest first within an architecture. */
typedef enum attn_isa {
    ATTN_ISA_BEST = 0,    /* as a ceiling: none. Never the answer to "which is in use". */
    ATTN_ISA_GENERIC = 1, /* whatever the compiler makes of portable C */
    ATTN_ISA_NEON = 2,    /* AArch64 */
    ATTN_ISA_AVX2 = 3,    /* AVX2 and FMA */
    ATTN_ISA_AVX512 = 4   /* AVX-512 F, VL, BW, DQ */
} attn_isa;

/* "generic", "neon", "avx2", "avx512"; "best" for ATTN_ISA_BEST; NULL for a number that is none. */
ATTN_API const char *attn_isa_name(attn_isa isa);

/* The reverse, letter case ignored. ATTN_ERROR_VALUE, and *isa untouched, for any other name. */
ATTN_API attn_status attn_isa_from_name(const char *name, attn_isa *isa);

/* Whether this build has that table and this CPU and operating system can run it. */
ATTN_API bool attn_isa_available(attn_isa isa);

/* Sets the process-wide ceiling: no context made from now on, and no call on the default context,
 * uses a table above it. ATTN_ISA_BEST lifts it. The environment variable ATTN_MAX_ISA, read once,
 * sets its first value (a name it does not know is ignored and named by attn_isa_reason). A ceiling
 * of another architecture's set means generic. ATTN_ERROR_VALUE for a number that is none. */
ATTN_API attn_status attn_set_max_isa(attn_isa ceiling);

/* Writes, in words, which table the default context uses and why ("avx2: the best this CPU has is
 * avx512; ATTN_MAX_ISA=avx2 lowers it") into text, cut to fit size bytes with the closing 0.
 * Returns the length that the whole would have, like snprintf. */
ATTN_API size_t attn_isa_reason(char *text, size_t size);

/* The caller's own parallel loop. It must call task(argument, i) once for each i in 0 .. count-1,
 * on any threads in any order, at the same time or not, and return when all have returned. */
typedef void attn_parallel_for(void *user, int64_t count, void (*task)(void *argument, int64_t i),
                               void *argument);

/* The caller's own memory. allocate returns size bytes at the given alignment (a power of two, at
 * most 64) or NULL. Both are set or neither. They may be called from any thread that calls attn. */
typedef struct attn_allocator {
    void *(*allocate)(void *user, size_t size, size_t alignment);
    void (*release)(void *user, void *memory);
    void *user;
} attn_allocator;

typedef struct attn_context_options {
    int threads;                     /* 0: what OpenMP would use (1 without it) */
    attn_isa max_isa;                /* a ceiling, on top of the process-wide one */
    attn_parallel_for *parallel_for; /* NULL: OpenMP (one thread in a build without it) */
    void *parallel_user;             /* passed to parallel_for */
    attn_allocator allocator;        /* zero: the C library's */
    uint64_t reserved[8];            /* zero */
} attn_context_options;

/* Threads, table and scratch memory of a series of calls. May be shared between threads: calls at
 * the same time get separate scratch. A call allocates only when it needs more scratch than any
 * before it on this context; the context keeps what it allocated until it is destroyed. */
typedef struct attn_context attn_context;

/* Makes a context; options may be NULL (all defaults). On success *context is the caller's, to be
 * destroyed. Errors: NULL, VALUE (threads < 0 or > 4096, no such ISA, half an allocator), MEMORY,
 * VERSION; *context is then NULL. */
ATTN_API attn_status attn_context_create(attn_context **context,
                                         const attn_context_options *options);

/* Frees a context and its scratch. NULL is fine. No call may be running on it. */
ATTN_API void attn_context_destroy(attn_context *context);

/* The number of threads, and the table, that calls on this context use; NULL: the default one. */
ATTN_API int attn_context_threads(const attn_context *context);
ATTN_API attn_isa attn_context_isa(const attn_context *context);

/* Bytes of scratch that a context holds now, all its concurrent calls together. */
ATTN_API size_t attn_context_scratch_bytes(const attn_context *context);

/* ---------------------------------------------------------------------------------------------
 * Attention
 * ------------------------------------------------------------------------------------------- */

/* Computes what the head of this file says, for the results that have a place; without any, it only
 * checks the problem.
 *
 * context    threads, table, memory; NULL: a default one that lives as long as the process
 * problem    see attn_problem; only read
 *
 * Cost: 2 * (d + d_value) operations per visible query-key pair; blocks that the mask empties are
 * skipped. Memory: the tensors, plus per thread about (d + 2 * d_value + 800) * 64 elements and,
 * when weights are asked for, 64 rows of them; where sequences have at most 8 queries, also
 * (d_value + 2) * 64 elements for every 2112 keys of a key head.
 *
 * Bits: on one table (attn_context_isa) of one build, results do not depend on the number of
 * threads, on batch size or position in the batch, on padding, or on which other results are asked
 * for. Sequences of up to 8 queries are computed in another order than longer ones, which may differ
 * in the last bits.
 *
 * Numerics: scores of any finite size are safe from overflow. A NaN in a visible query, key or
 * value gives NaN wherever the formula would. docs/NUMERICS.md has the bounds.
 *
 * Errors: NULL, DTYPE, SHAPE, STRIDE, ALIGNMENT, VALUE, ALIAS, VERSION for the arguments, MEMORY.
 * On any error no result has been touched.
 *
 * Source: Vaswani et al. 2017, section 3.2; online softmax: Milakov & Gimelshein 2018; blocks: Dao
 * et al. 2022; queries in the lanes: docs/DESIGN.md. */
ATTN_API attn_status attn_forward(attn_context *context, const attn_problem *problem);

/* The same problem by the textbook, in float64, one row at a time, with no blocking and no vector
 * code: the function that every test compares with, and src/attention/reference.c the file to read
 * first. Results are rounded to their dtype at the very end. Slow. One thread; memory: 2 * n_key
 * doubles and as many bytes from the C library. Same errors as attn_forward. */
ATTN_API attn_status attn_reference_forward(const attn_problem *problem);

#ifdef __cplusplus
}
#endif

#endif

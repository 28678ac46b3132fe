/* attn.h: exact attention for CPUs, never a black box.
 *
 * One call does what the textbook says:
 *
 *     SCORE      s[i][j] = cap(scale * dot(query[i], key[j])) + bias[i][j] - slope * |p_i - j|
 *     WEIGH      w[i][j] = exp(s[i][j]) / sum over visible j' of exp(s[i][j'])
 *     AGGREGATE  output[i] = sum over visible j of w[i][j] * value[j]
 *
 * or with another score (attn_score: general, additive, cosine, ..., or your own), or another way to
 * weigh (attn_normalizer: sigmoid, sparsemax, ...). It gives back whichever of output, weights,
 * log-sum-exp and views of the weights (attn_views: sums per key, top-k, entropy, ...) you give it a
 * place for. The n x n matrix of scores never exists: memory beyond your tensors is O(n).
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
#define ATTN_VERSION_MINOR 4
#define ATTN_VERSION_PATCH 0
#define ATTN_VERSION_STRING "0.4.0"

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

/* The version of the library that is linked, as "0.4.0" (compare ATTN_VERSION_STRING). */
ATTN_API const char *attn_version(void);

/* ---------------------------------------------------------------------------------------------
 * Tensors
 * ------------------------------------------------------------------------------------------- */

typedef enum attn_dtype {
    ATTN_DTYPE_NONE = 0, /* an absent tensor */
    ATTN_F32 = 1,        /* IEEE 754 binary32: float */
    ATTN_F64 = 2,        /* IEEE 754 binary64: double */
    ATTN_BOOL = 3,       /* one byte; 0 is false, everything else true */
    ATTN_F16 = 4,        /* IEEE 754 binary16, as 2 bytes: some views */
    ATTN_U8 = 5,         /* one byte: weights of 0 to 1 in steps of 1/255, rounded to nearest */
    ATTN_I32 = 6,        /* int32_t: indices of keys */
    ATTN_I64 = 7         /* int64_t: indices of keys */
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

/* A rectangle of pairs of one head, handed to a callback: element (r, c), of query `query + r`, which
 * stands at `position + r`, and key `key + c`, lies at data + (r*row_stride + c*key_stride) elements.
 * One of the strides is 1: of more than 8 queries usually that of the rows, of fewer that of the keys; for
 * an observer always that of the keys. Indices count within the sequence. Everything belongs to the library and to this one call. */
typedef struct attn_pairs {
    void *data;
    attn_dtype dtype; /* query's */
    int rows, keys;
    int64_t row_stride, key_stride;
    int64_t sequence, head, query, position, key;
} attn_pairs;

/* Called for many rectangles, on any thread of the call, with several at a time on several threads.
 * It must not call the library on the same context. */
typedef void attn_pairs_callback(void *user, const attn_pairs *pairs);

/* How a query and a key make a score. Tensors per head are [1, heads or 1, ., .], query's dtype. */
typedef enum attn_score_kind {
    /* scale * dot(query, key): Luong et al. 2015; Vaswani et al. 2017. Default scale 1/sqrt(d). */
    ATTN_SCORE_DOT = 0,
    /* scale * query^T weight key: Luong et al. 2015. Default scale 1.
     * weight [1, heads or 1, d_query, d_key]: query and key may differ in width. */
    ATTN_SCORE_GENERAL = 1,
    /* scale * dot(weight, tanh(query + key + offset)): Bahdanau et al. 2015. Default scale 1.
     * weight [1, heads or 1, 1, d]. */
    ATTN_SCORE_ADDITIVE = 2,
    /* scale * dot(weight, tanh(projection [query; key] + offset)): Luong et al. 2015. Default scale 1.
     * weight [1, heads or 1, 1, hidden], projection [1, heads or 1, hidden, d_query + d_key]. */
    ATTN_SCORE_CONCAT = 3,
    /* scale * dot(query, key) / (|query| |key|), 0 if either is 0: Graves et al. 2014; Liu et al.
     * 2022, with `scales`. Default scale 1. */
    ATTN_SCORE_COSINE = 4,
    /* -scale * |query - key|^2: Nadaraya 1964, Watson 1964. Default scale 1/2. */
    ATTN_SCORE_GAUSSIAN = 5,
    /* scale * dot(query, weight[j]), by the key's place alone: Luong et al. 2015. Default scale 1.
     * weight [1, heads or 1, n_key or more, d]; key's elements are not read. */
    ATTN_SCORE_LOCATION = 6,
    /* 0: what bias, relative and callback make of it. */
    ATTN_SCORE_CUSTOM = 7
} attn_score_kind;

/* Which entry of a table of n entries belongs to a key at offset o = j - p_i from its query. */
typedef enum attn_bucket_kind {
    /* o + origin, no lower than 0 and no higher than n - 1 (Shaw et al. 2018). */
    ATTN_BUCKETS_CLIPPED = 0,
    /* Raffel et al. 2020, bidirectional: with m = n/2, m more if o > 0; then |o| if below m/2, else
     * m/2 + floor(log(|o| / (m/2)) / log(max_distance / (m/2)) * (m - m/2)), at most m - 1; divisions
     * of m round down, the formula is evaluated in double. n even, at least 4. */
    ATTN_BUCKETS_T5 = 1,
    /* The same with m = n and max(-o, 0) for |o|: keys ahead share entry 0. n at least 2. */
    ATTN_BUCKETS_T5_CAUSAL = 2
} attn_bucket_kind;

/* Scores (and values) that depend on where a key stands relative to its query. Absent tensors: no
 * such term. Every table has as many entries n as `bias`, `keys`, `queries` or `values` that are
 * present, which must agree. keys, queries and their biases need ATTN_SCORE_DOT. Let e = entry(j - p_i):
 *
 *     s[i][j] = cap(scale * (dot(query + content_bias, key) + dot(query + position_bias, keys[e])
 *                            + dot(key, queries[e]))) + bias[e] + ...
 *     output[i] = sum over j of w[i][j] * (value[j] + values[e])
 *
 * keys and values: Shaw et al. 2018. bias: Raffel et al. 2020 (T5). keys, content_bias and
 * position_bias (u and v): Dai et al. 2019 (Transformer-XL). keys and queries: He et al. 2021
 * (DeBERTa). */
typedef struct attn_relative {
    attn_bucket_kind buckets;
    int64_t origin;       /* CLIPPED: the entry of offset 0, below n. 0: n/2. */
    int64_t max_distance; /* T5: more than n/4 (causal: n/2). 0: 128. */

    attn_tensor bias;    /* [1, heads or 1, 1, n] */
    attn_tensor keys;    /* [1, heads or 1, n, d] */
    attn_tensor queries; /* [1, heads or 1, n, d] */
    attn_tensor values;  /* [1, heads or 1, n, d_value] */

    attn_tensor content_bias;  /* [1, heads or 1, 1, d] */
    attn_tensor position_bias; /* [1, heads or 1, 1, d]; needs keys */
    uint64_t reserved[8];      /* zero */
} attn_relative;

/* Location-aware attention (Chorowski et al. 2015): what earlier steps attended to joins an additive
 * (or concat) score: dot(weight, tanh(query + key + projection f[i][j] + offset)), with features
 * f[i][j][c] = sum over t of filters[c][t] * previous[i][j + t - width/2] (0 outside the keys). Much
 * slower than the score alone: features differ from pair to pair. */
typedef struct attn_location {
    /* [sequences or 1, heads or 1, n_query or 1, n_key]: weights of the step before, or their sum over
     * all steps so far; finite. */
    attn_tensor previous;
    attn_tensor filters; /* [1, heads or 1, channels, width]; width is odd */
    attn_tensor
        projection;       /* [1, heads or 1, d, channels]; d: additive's or concat's hidden width */
    uint64_t reserved[8]; /* zero */
} attn_location;

typedef struct attn_score {
    attn_score_kind kind;

    /* Multiplies the score. 0: the kind's default, which for DOT is 1/sqrt(d). Finite. */
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
     * [batch or 1, heads or 1, 1, 1], query's dtype. -infinity: no sink for that head. ATTN_SOFTMAX
     * alone. */
    attn_tensor sinks;

    /* A factor a head, which multiplies scale: a learned temperature, the gain of a normalised
     * additive score. [batch or 1, heads or 1, 1, 1], query's dtype, finite. */
    attn_tensor scales;

    attn_tensor weight;     /* see attn_score_kind; kinds that have none take none */
    attn_tensor projection; /* CONCAT */
    attn_tensor offset;     /* ADDITIVE, CONCAT: [1, heads or 1, 1, d or hidden]; absent: 0 */

    /* ADDITIVE, CONCAT: weight / |weight| for weight (Salimans & Kingma 2016); |weight| > 0. */
    bool normalize_weight;

    const attn_relative *relative; /* NULL: none */
    const attn_location *location; /* NULL: none. ADDITIVE, CONCAT */

    /* A score of your own: changes the pairs' scores in place, after everything above and before the
     * mask. What the mask hides may or may not be among them; what is written there is ignored.
     * NULL: none. */
    attn_pairs_callback *callback;
    void *callback_user;

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

    /* A mask of your own: sets pairs to -infinity, and leaves all others as they are. It may be
     * called more than once for a pair, and must then say the same. NULL: none. */
    attn_pairs_callback *callback;
    void *callback_user;

    uint64_t reserved[8]; /* zero */
} attn_mask;

/* How a row of scores becomes a row of weights, with z = score / temperature. Weights of masked keys,
 * and of scores of -infinity, are 0. */
typedef enum attn_normalizer_kind {
    /* exp(z[j]) / (sum over j' of exp(z[j']) + exp(sink)) */
    ATTN_SOFTMAX = 0,
    /* exp(z[j]) / (1 + sum over j' of exp(z[j'])): a query may attend to nothing (Miller 2023) */
    ATTN_SOFTMAX_ONE = 1,
    /* 1 / (1 + exp(-z[j] - bias)) (Ramapuram et al. 2025) */
    ATTN_SIGMOID = 2,
    /* max(z[j] - t, 0), t such that they sum to 1 (Martins & Astudillo 2016) */
    ATTN_SPARSEMAX = 3,
    /* max((alpha - 1) z[j] - t, 0)^(1/(alpha - 1)), t such that they sum to 1 (Peters et al. 2019) */
    ATTN_ENTMAX = 4,
    /* max(z[j], 0), and its square */
    ATTN_RELU = 5,
    ATTN_RELU_SQUARED = 6,
    /* z[j] */
    ATTN_LINEAR = 7,
    /* 1 for the greatest z[j], the first of equals; 0 for the others */
    ATTN_HARDMAX = 8
} attn_normalizer_kind;

/* Local attention (Luong et al. 2015): query i sees keys within half_width of its centre, and their
 * weights are multiplied by exp(-(j - centre)^2 / (2 sigma^2)), after normalising. */
typedef struct attn_local {
    /* [batch or 1, heads or 1, n_query or 1, 1], query's dtype, finite ("local-p"); packed: as query.
     * Absent: p_i ("local-m", monotonic). */
    attn_tensor centers;
    double half_width;    /* >= 0, finite */
    double sigma;         /* > 0; 0: half_width / 2; infinity: no factor, a window alone */
    uint64_t reserved[8]; /* zero */
} attn_local;

/* Noise is a function of (seed, sequence, head, query, key) alone, whatever the threads, the batch
 * and the type. With T(key, counter) Threefry-2x32 of 20 rounds (Salmon et al. 2011) on pairs of 32-bit
 * words, low word first:
 *     (a, b) = T(T(seed, (sequence, head)), (query, key))
 *     u(x) = (x >> 9) * 2^-23 + 2^-24, which lies within 0 and 1
 * Dropout keeps a weight if u(a) > p; Gumbel noise is -log(-log(u(b))). */
typedef struct attn_normalizer {
    attn_normalizer_kind kind;
    double temperature; /* > 0, finite; 0: 1 */
    double alpha;       /* ENTMAX: > 1, at most 16; 0: 1.5 */
    double bias;        /* SIGMOID: finite */

    /* Adds Gumbel noise to scores, before the temperature (Jang et al. 2017). */
    bool gumbel;

    /* 0 <= p < 1, rounded to 2^-23: sets weights to 0 with probability p and multiplies the others by
     * 1 / (1 - p), after normalising; log-sum-exp does not change. */
    double dropout;
    uint64_t seed;

    const attn_local *local; /* NULL: none */
    uint64_t reserved[8];    /* zero */
} attn_normalizer;

/* Each number of head_statistics: means over the real queries of a sequence. */
typedef enum attn_head_statistic {
    ATTN_HEAD_CONFIDENCE = 0, /* of a query's greatest weight, no less than 0 (Voita et al. 2019) */
    ATTN_HEAD_ENTROPY = 1,    /* of a query's entropy, in nats */
    ATTN_HEAD_DISTANCE = 2,   /* of a query's distance, in keys */
    ATTN_HEAD_FIRST = 3,      /* of the weight on the sequence's first key */
    ATTN_HEAD_STATISTICS = 4
} attn_head_statistic;

/* Views of the weights, each computed only if it has a place. They show the weights that AGGREGATE
 * used (after dropout and local factors) and equal the same view computed from `weights`.
 *
 * H: the chosen heads, all of them by default. Views per query have query's rows (so that a packed
 * batch is packed here too), views over all queries of a sequence have one row a sequence; S: the
 * number of sequences, which is batch unless packed. Indices of queries and keys count within their
 * sequence. Types are query's unless the comment says other. Sizes over n_key of packed batches:
 * the longest sequence's keys, or more; the rest is filled as for hidden keys. */
typedef struct attn_views {
    const int64_t *heads; /* [head_count] rising; NULL: all */
    int64_t head_count;

    /* The weights themselves, all of them or some rows. F32, F64, F16 or U8.
     * rows NULL, row_count 0:    [batch, H, n_query, n_key], all rows;
     * rows NULL, row_count R:    [S, H, R, n_key], the last R real queries of each sequence, the last
     *                            in the last row (the first rows are 0 if there are fewer);
     * rows [R]:                  [S, H, R, n_key], the queries listed, rising (0 where not real). */
    attn_tensor weights;
    const int64_t *rows;
    int64_t row_count;

    /* What each key received from all real queries of its sequence: sum, sum / number of real
     * queries, and greatest weight (H2O: Zhang et al. 2023). [S, H, 1, n_key]. */
    attn_tensor received_sum, received_mean, received_max;

    /* The same sum over the last window_queries real queries (SnapKV: Li et al. 2024). > 0. */
    attn_tensor window_sum; /* [S, H, 1, n_key] */
    int64_t window_queries;

    /* The k greatest weights of each query and their keys, greatest first, the lower key first among
     * equals. Only weights above 0 are among them: the places left have key -1 and weight 0. In a row
     * with a NaN all keys are -1 and all weights NaN. k <= 1024; the two must agree in it. */
    attn_tensor top_weights; /* [batch, H, n_query, k] */
    attn_tensor top_keys;    /* [batch, H, n_query, k], I32 or I64 */
    attn_tensor argmax;      /* [batch, H, n_query, 1], I32 or I64: top_keys for k = 1 */

    /* Of each query. entropy: -sum of w log(w), in nats. span: exp(entropy), the number of keys that
     * it effectively attends to (1 if to none). distance: sum of w |p_i - j|. max_logit: the greatest
     * score (after all that changes scores, before temperature; -infinity if there is none). */
    attn_tensor entropy, span, distance, max_logit; /* [batch, H, n_query, 1] */

    /* Sums over blocks of queries and keys: [S, H, ceil(n_query / block_queries),
     * ceil(n_key / block_keys)], cut from each sequence's start. Both > 0. Packed: n_query of the
     * longest sequence, or more. */
    attn_tensor block_sums;
    int64_t block_queries, block_keys;

    /* Over the chosen heads. head_mean: the mean weights. path: the monotone alignment that dynamic
     * time warping finds for them (attn_alignment_path); [S, 1, n_query, 2], I32 or I64: the first
     * and the last key of each real query, -1 for others. Packed: n_query as for block_sums. Scratch
     * of path: a quarter of a byte for each pair of a sequence. */
    attn_tensor head_mean; /* [batch, 1, n_query, n_key] */
    attn_tensor path;

    attn_tensor head_statistics; /* [S, H, 1, ATTN_HEAD_STATISTICS] */

    /* Scores, [batch, H, n_query, n_key]: raw, scaled; after the soft cap; and as they are weighed,
     * after relative bias, ALiBi, bias, callback, mask (-infinity where hidden) and noise. Where the mask
     * hides, the first two are 0. With `weights` these are the four modes of ONNX Attention. */
    attn_tensor raw_scores, capped_scores, scores;

    /* Observer: is called with the finished weights of chosen heads, in rectangles, hidden pairs included as 0; those
     * outside the range of keys that causal rule, window and lengths leave to a block of queries are
     * not shown. Within a head of a sequence rectangles come in rising order of queries, then of
     * keys. Unless `concurrent`, one at a time, with sequences in order and heads in order within
     * them (the call then uses one thread); if concurrent, heads come on any thread. Not together with
     * path, which needs another order. */
    attn_pairs_callback *observer;
    void *observer_user;
    bool concurrent;

    uint64_t reserved[8]; /* zero */
} attn_views;

/* Everything one call needs. query, key and value are [batch, heads, length, width], all F32 or all
 * F64; query and key are as wide as each other, but for GENERAL and CONCAT; key and value have
 * kv_heads heads, which must divide heads: query head h uses key head
 * h / (heads / kv_heads) (MHA: all; GQA: some; MQA: one). value may have a width of its own.
 * Any size may be 0. Results must not overlap each other or any input: what counts is the range of
 * addresses, so results interleaved in one buffer overlap too. */
typedef struct attn_problem {
    attn_tensor query; /* [batch, heads,    n_query, d] */
    attn_tensor key;   /* [batch, kv_heads, n_key,   d] */
    attn_tensor value; /* [batch, kv_heads, n_key,   d_value] */
    attn_score score;
    attn_mask mask;
    attn_normalizer normalizer;

    /* Results, each computed only if it has a place; all in query's dtype. */
    attn_tensor output; /* [batch, heads, n_query, d_value] */
    attn_tensor lse;    /* [batch, heads, n_query, 1]: log(sum of exp(z)), natural log: softmax's */
    attn_tensor weights; /* [batch, heads, n_query, n_key]: rows sum to 1; masked entries are 0 */
    const attn_views *views; /* NULL: none */

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
 * Numerics: scores within 2^29 of 0 (float64: 2^58) are safe from overflow. A NaN in a visible query, key or
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
 * first. Results are rounded to their dtype at the very end. Slow. One thread; memory from the C
 * library: about 13 * n_key doubles, and n_query * n_key doubles more for views.path. The score
 * callback is called with one row at a time, in query's type, and twice for a pair if head_mean or path
 * is wanted. Same errors as attn_forward. */
ATTN_API attn_status attn_reference_forward(const attn_problem *problem);

/* ---------------------------------------------------------------------------------------------
 * From weights to alignments and explanations
 * ------------------------------------------------------------------------------------------- */

/* The monotone path through a matrix that collects the most weight: dynamic time warping
 * (Sakoe & Chiba 1978, as word timestamps use it) from pair (0, 0) to the last pair, in steps to the
 * next query, the next key or both, with cost -weights[i][j] for each pair it visits; in double.
 * Among equal costs a step of both is preferred, then one of the query.
 *
 * weights    [batch, 1, n_query, n_key], F32 or F64, finite: mean weights, or any scores
 * path       [batch, 1, n_query, 2], I32 or I64: the first and last key that each query visits;
 *            -1 if there are no keys
 *
 * Scratch: 2 * n_key doubles and a quarter of a byte for each pair. Errors as attn_forward; a weight that
 * is not finite is ATTN_ERROR_VALUE. On any error path is untouched. */
ATTN_API attn_status attn_alignment_path(attn_context *context, const attn_tensor *weights,
                                         const attn_tensor *path);

/* Attention rollout (Abnar & Zuidema 2020): how much of each input token reaches each output token,
 * through all layers and their residual connections:
 *     R = A[layers - 1] ... A[1] A[0]   with A[l] = (1 - residual) W[l] + residual I, rows divided by
 *                                       their sums
 *
 * layers     [layer_count] tensors [batch, 1, n, n] (views.head_mean of each layer, first layer
 *            first), F32 or F64, all of one type
 * residual   0 <= residual < 1; the paper's is 1/2
 * rollout    [batch, 1, n, n], the layers' type
 *
 * Scratch: three rows of n doubles, and n * n doubles. Rows that sum to 0 stay 0. Errors as
 * attn_forward. */
ATTN_API attn_status attn_rollout(attn_context *context, const attn_tensor *layers,
                                  int64_t layer_count, double residual, const attn_tensor *rollout);

/* Attention flow (Abnar & Zuidema 2020): the maximum flow from an output token to each input token
 * through the layers' graph, whose capacities are A[l] as in attn_rollout.
 *
 * token      the output token, 0 to n - 1
 * flow       [batch, 1, 1, n], the layers' type: to each input token, by a maximum flow of its own
 *
 * Cost grows as n times a maximum flow on layers * n nodes and layers * n * n edges (Dinitz's
 * algorithm): for sentences, not for books. Scratch: 16 bytes an edge, 24 a node. Errors as attn_forward;
 * weights must be finite and no less than 0. */
ATTN_API attn_status attn_flow(attn_context *context, const attn_tensor *layers,
                               int64_t layer_count, double residual, int64_t token,
                               const attn_tensor *flow);

#ifdef __cplusplus
}
#endif

#endif

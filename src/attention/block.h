/* block.h: a block of queries, the keys it may see, and the scratch in which a worker attends to
 * them.
 *
 * The rows of a block are queries of one head; or, if a sequence has few, those of all heads that
 * share a key head, one head after the other, so that each key is read once for all of them: row r
 * is query first_query + r % queries of head first_head + r / queries. */
#ifndef ATTN_ATTENTION_BLOCK_H
#define ATTN_ATTENTION_BLOCK_H

#include "attention/sequence.h"
#include "tiles/table.h"

/* Elements of the widest block (float32); arrays of one entry a row have this many. */
enum { ATTN_MAX_BLOCK = 64 };

typedef struct {
    attn_sequence sequence;
    bool few;
    int64_t first_head, first_query;
    int heads, queries; /* rows = heads * queries */
    int rows, width;    /* width: rows rounded up to whole vectors (tiles of few use their own) */
    int64_t key_head;
    bool
        keep; /* its weights stay in scratch until they are final, for those who want to read them */
    attn_key_range
        keys; /* that any row may see, by position, within this block's part of the keys */
    attn_key_range columns; /* of the weights, that this block writes */
} attn_block;

/* A tile in use: keys k .. k + count - 1, and how its elements lie (see tiles/table.h). */
typedef struct {
    int64_t k;
    int count;
    int64_t key_stride, row_stride;
    int lines, width; /* for functions that work element by element: lines * width elements */
} attn_tile;

/* Rounded up to whole vectors (lanes is a power of 2). */
static inline int attn_padded(int count, const attn_tiles *tiles) {
    return (count + tiles->lanes - 1) & -tiles->lanes;
}

static inline attn_tile attn_tile_at(const attn_block *b, const attn_tiles *tiles, int64_t k,
                                     int count) {
    const int whole = attn_padded(count, tiles);
    if (b->few) return (attn_tile){k, count, 1, whole, b->rows, whole};
    return (attn_tile){k, count, b->width, 1, count, b->width};
}

/* Weights that stay behind: the tiles of a block, one after the other, each relative to the maximum
 * known when it was made. */
typedef struct {
    void *weights;
    void *maximum;     /* [key block][row]: that maximum */
    bool *any_visible; /* [key block] */
    void *highest;     /* [row]: the greatest score, even if no weights are kept */
} attn_kept;

/* What additive scores need of the queries of a block; all [head][feature] but the last. */
typedef struct {
    void *weight;           /* factor and normalisation included; 0 for padding */
    void *inverse_weight;   /* greatest |weight| / weight */
    void *gain;             /* the same, 0 where the weight is 0 */
    void *lowest, *highest; /* of the queries */
    void *exponentials;     /* as the query: exp(2 query) * gain */
    double *range;          /* log2(greatest |weight| / |weight|) */
    double *first, *factor; /* [head]: score = first + factor * sum of inverses */
} attn_additive;

/* One worker's scratch. */
typedef struct {
    void *query;          /* [feature][row], or [row][feature] if few */
    void *raw_query;      /* the same before a projection */
    void *position_query; /* the same, for relative positions */
    void *staging;        /* rows of one head in the making */
    void *features;       /* one row of features */
    void *scores;         /* a tile, where weights are not kept */
    void *extra;          /* a tile of bias, mask or noise on its way into the lanes */
    void *hidden;         /* a tile: -infinity where masked (for the careful paths) */
    void *allowed;        /* [row][key]: mask.allowed as 0 or -infinity */
    void *key, *value;    /* a block of them, if the caller's do not serve as they lie */
    void *raw_key, *key_exponentials, *key_lowest, *key_highest;
    void *key_projection; /* [feature of the key][feature of the score] */
    void *zeros;          /* [key of a tile] */
    attn_additive additive;
    void *previous, *location, *located_key; /* of location-aware scores: a row's */
    void *location_table;                    /* filters and projection of a head */
    void *terms, *table;                     /* of relative positions: [row or key][entry] */
    int32_t *entries;                        /* [key - row]: entry of the tables */
    attn_partial total, stretch; /* of the whole block, and of the ATTN_KEY_SPLIT keys at hand */
    attn_rows_of_threshold threshold; /* of sparse normalisers */
    void *shrink, *inverse, *factor, *lse, *slopes, *positions, *sink, *highest; /* [row] */
    attn_kept kept;
    attn_key_range *visible;            /* [row] */
    int32_t *first, *last, *documents;  /* [row] */
    void *lane_slopes, *lane_positions; /* [key of a tile], for tiles of few */
    int32_t *lane_ids;
    void *final;                  /* a tile of final weights, [row of one head][key] */
    void *sums;                   /* [key of a tile]: what one tile adds to a view */
    void *share;                  /* [row]: factors of the last queries */
    void *distance, *entropy;     /* [row] */
    void *top_weights, *top_keys; /* [rank][row] */
    double *mean; /* [query of a block][key]: weights summed over the chosen heads, for the path */
    void *path;   /* its scratch */
} attn_workspace;

/* Address of an element; computed as an integer, since a tensor without elements may be NULL. */
static inline void *attn_at(const attn_tensor *t, int element_size, int64_t b, int64_t h, int64_t i,
                            int64_t j) {
    const int64_t at = b * t->stride[0] + h * t->stride[1] + i * t->stride[2] + j * t->stride[3];
    return (void *)((uintptr_t)t->data + (uintptr_t)(at * element_size));
}

/* `index`, or 0 along a dimension of size 1, which broadcasts. */
static inline int64_t attn_broadcast_index(const attn_tensor *t, int axis, int64_t index) {
    return t->shape[axis] == 1 ? 0 : index;
}

/* The stride along an axis, 0 if it broadcasts. */
static inline int64_t attn_broadcast_stride(const attn_tensor *t, int axis) {
    return t->shape[axis] == 1 ? 0 : t->stride[axis];
}

/* The same as attn_at, where any dimension of size 1 broadcasts. */
static inline void *attn_broadcast_at(const attn_tensor *t, int element_size, int64_t b, int64_t h,
                                      int64_t i, int64_t j) {
    return attn_at(t, element_size, attn_broadcast_index(t, 0, b), attn_broadcast_index(t, 1, h),
                   attn_broadcast_index(t, 2, i), attn_broadcast_index(t, 3, j));
}

/* One element as a double. */
static inline double attn_read(const attn_tiles *tiles, const void *at) {
    return tiles->element_size == sizeof(float) ? (double)*(const float *)at : *(const double *)at;
}

#endif

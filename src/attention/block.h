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

/* The running result of an online softmax: per row the maximum score, the sum of exp2(score -
 * maximum), and the output, not yet divided by the sum, as [feature][row], or [row][feature] if
 * few. */
typedef struct {
    void *maximum, *sum, *output;
} attn_partial;

/* One worker's scratch. */
typedef struct {
    void *query;       /* [feature][row], or [row][feature] if few */
    void *scores;      /* a tile, where weights are not kept */
    void *extra;       /* a tile of bias or mask on its way into the lanes */
    void *hidden;      /* a tile: -infinity where masked (for the careful paths) */
    void *allowed;     /* [row][key]: mask.allowed as 0 or -infinity */
    void *key, *value; /* a block of them, if the caller's do not lie feature by feature */
    attn_partial total, stretch; /* of the whole block, and of the ATTN_KEY_SPLIT keys at hand */
    void *shrink, *inverse, *factor, *lse, *slopes, *positions; /* [row] */
    void *kept;         /* weights of a whole row block, by key block relative to its own maximum */
    void *kept_maximum; /* [key block][row] */
    bool *kept_any;     /* [key block]: whether anything in it is visible */
    attn_key_range *visible;            /* [row] */
    int32_t *first, *last, *documents;  /* [row] */
    void *lane_slopes, *lane_positions; /* [key of a tile], for tiles of few */
    int32_t *lane_ids;
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

#endif

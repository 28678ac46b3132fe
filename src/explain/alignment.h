/* alignment.h: dynamic time warping, one query at a time, so that the matrix of weights need not be
 * there: two rows of costs, and two bits a pair for where its best path came from. */
#ifndef ATTN_EXPLAIN_ALIGNMENT_H
#define ATTN_EXPLAIN_ALIGNMENT_H

#include "attn/attn.h"

/* Bytes of scratch for so many queries and keys; SIZE_MAX if no memory could hold them. */
size_t attn_path_bytes(int64_t queries, int64_t keys);

/* scratch: attn_path_bytes, aligned to 8; it holds the path's state from here on. */
void attn_path_begin(void *scratch, int64_t queries, int64_t keys);

/* The next query's weights, [keys]. */
void attn_path_row(void *scratch, const double *weights);

/* After all queries: writes first and last key of each query to row `b` of path, [., 1, queries or
 * more, 2], I32 or I64; rows beyond the queries are not touched. */
void attn_path_finish(const void *scratch, const attn_tensor *path, int64_t b);

#endif

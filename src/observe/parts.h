/* parts.h: what the files of this folder share. */
#ifndef ATTN_OBSERVE_PARTS_H
#define ATTN_OBSERVE_PARTS_H

#include "observe/observe.h"

static inline bool attn_has(const attn_tensor *view) {
    return view->data != NULL;
}

/* Which of the chosen heads the block's head g is; -1: none. */
static inline int64_t attn_chosen(const attn_worker *w, const attn_block *b, int g) {
    return attn_plan_chosen(w->plan, b->first_head + g);
}

/* The block's first query, within tensors. */
static inline int64_t attn_first_row(const attn_block *b) {
    return b->sequence.query_first + b->first_query;
}

/* Numbers of head g of a block, one a row. */
static inline void *attn_head_numbers(const attn_worker *w, const attn_block *b, int g,
                                      void *numbers) {
    return attn_offset(numbers, (int64_t)g * b->queries, w->tiles);
}

/* views.c */
void attn_set_integer(const attn_tensor *t, void *at, int64_t value);
bool attn_is_sliced(const attn_views *v);
bool attn_stores_directly(const attn_worker *w);
void attn_clear_block_rows(const attn_worker *w, const attn_block *b);

/* sums.c: of a tile's rows of one head; where there is no tile; of numbers per query. */
void attn_begin_sums(attn_worker *w);
void attn_add_received(attn_worker *w, const attn_block *b, const attn_tile *tile, int64_t chosen,
                       const void *weights, const void *factor);
void attn_receive_nothing(attn_worker *w, const attn_block *b, attn_key_range keys);
void attn_add_statistics(attn_worker *w, const attn_block *b, int g, int64_t chosen);

/* queries.c */
void attn_begin_queries(attn_worker *w, const attn_block *b);
void attn_read_for_queries(attn_worker *w, const attn_block *b, const attn_tile *tile,
                           const void *weights);
void attn_end_queries(attn_worker *w, const attn_block *b);

/* rows.c: space.final is loaded with final weights, [query][key], of one head; then read. */
bool attn_reads_rows(const attn_worker *w);
void attn_begin_rows(attn_worker *w, const attn_block *b);
void attn_load_final(attn_worker *w, const attn_block *b, const attn_tile *tile,
                     const void *weights, const void *factor);
void attn_read_rows(attn_worker *w, const attn_block *b, const attn_tile *tile, int64_t chosen);
void attn_end_rows(attn_worker *w, const attn_block *b);

#endif

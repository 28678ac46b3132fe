/* observe.h: OBSERVE: what is read from weights when they are final, and from scores on their way.
 *
 * A block's tiles stay in scratch (space.kept), relative to the maximum known when each was made; one
 * factor a row makes a tile final. Each view then reads it in its own way:
 *
 *     scores.c    raw, capped and final scores, which are read before there are weights
 *     sums.c      what each key received, and means per head: sums over queries
 *     queries.c   top-k, entropy, distance: numbers of each query
 *     rows.c      whole rows: slices, other types, mean over heads, path, sums over blocks
 *     views.c     what a view holds where no task writes
 *
 * The functions here are called by the driver (attention/forward.c) in this order: attn_begin_views;
 * for each task attn_begin_task, its blocks, attn_end_task; at last attn_store_sums for each sequence. */
#ifndef ATTN_OBSERVE_OBSERVE_H
#define ATTN_OBSERVE_OBSERVE_H

#include "attention/mask.h"

bool attn_any_view(const attn_views *views);

/* What views hold where no task writes; and the same for rows of views as large as the weights, which
 * are cleared by those who come to them; `query` counts within the tensor. */
void attn_begin_views(attn_worker *w);
void attn_clear_view_rows(const attn_worker *w, int64_t batch, int64_t head, int64_t query,
                          int64_t count);

void attn_begin_task(attn_worker *w);
void attn_end_task(attn_worker *w);

/* Scores, while a tile has them; and what stands where there is no tile. */
typedef enum { ATTN_RAW_SCORES, ATTN_CAPPED_SCORES, ATTN_FINAL_SCORES } attn_score_stage;
void attn_show_scores(attn_worker *w, const attn_block *b, const attn_tile *tile,
                      attn_score_stage stage, attn_visibility seen, const void *scores);
void attn_show_hidden_scores(attn_worker *w, const attn_block *b);

/* A block whose space.total and space.inverse are final: before its tiles; its tiles, or those of one
 * part of its keys; after them. */
void attn_begin_block(attn_worker *w, const attn_block *b);
void attn_observe(attn_worker *w, const attn_block *b);
void attn_end_block(attn_worker *w, const attn_block *b);

/* After all tasks: sums over all queries of a sequence. */
void attn_store_sums(attn_worker *w, int64_t sequence);

#endif

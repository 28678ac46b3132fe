/* plan.h: how a problem is cut into tasks, and how much scratch they need.
 *
 * The cut depends on each sequence's own lengths alone, never on threads, batch or results asked
 * for: so the bits do not either. */
#ifndef ATTN_ATTENTION_PLAN_H
#define ATTN_ATTENTION_PLAN_H

#include "attention/block.h"

/* Up to so many queries, keys are read with features in the lanes: 16 lanes of queries would mostly
 * idle. Above, queries in the lanes need fewer instructions. */
enum { ATTN_FEW_QUERIES = 8 };

/* Sums over keys are made in stretches of so many keys, cut at multiples of it, which are then
 * added up: rounding grows with the length of a tile, plus the tiles of a stretch, plus the
 * stretches. Few queries have too few blocks to keep threads busy, so each of their stretches is a
 * task of its own. */
enum { ATTN_KEY_SPLIT = 11 * ATTN_KEY_BLOCK };

typedef struct {
    const attn_problem *problem;
    const attn_tiles *tiles;
    int64_t sequences, heads, group; /* group: query heads that share a key head */
    int d, d_value;
    /* Their product, scale * log2(e), makes raw dot products scores in base 2 (over the soft cap,
     * if there is one). The first joins the query when it is loaded, the second joins in WEIGH. */
    double query_factor, weigh_factor;
    bool split; /* some sequence's keys are split: partial results, merged at the end */
    bool pack_key, pack_value;
    int64_t tasks;
    int64_t longest_row; /* keys of the longest row whose weights are kept */
    int workers;
    size_t worker_bytes, table_bytes, partial_bytes; /* partial_bytes: of one task */
} attn_plan;

/* Cuts a problem that has rows for at most `threads` workers. False: too large for any memory. */
bool attn_plan_make(attn_plan *plan, const attn_problem *problem, const attn_tiles *tiles,
                    int threads);

/* Scratch of the whole call; SIZE_MAX if no memory could hold it. */
size_t attn_plan_bytes(const attn_plan *plan);

/* table[s]: the first task of sequence s; table[sequences]: the number of tasks. */
void attn_plan_fill_table(const attn_plan *plan, int64_t *table);

/* The pieces into which one sequence is cut: heads (or key heads, if few) x blocks x splits. */
typedef struct {
    bool few;
    int64_t heads, blocks, splits;
    int heads_in_block; /* if few: heads side by side in the lanes */
} attn_cut;

attn_cut attn_plan_cut(const attn_plan *plan, const attn_sequence *sequence);

/* The block that a task works on. */
attn_block attn_plan_block(const attn_plan *plan, const int64_t *table, int64_t task,
                           bool *last_split);

/* Lays a worker's arrays out over its scratch; with space NULL, only counts the bytes. */
size_t attn_plan_workspace(const attn_plan *plan, char *memory, attn_workspace *space);

#endif

/* plan.h: how a problem is cut into tasks, and how much scratch they need.
 *
 * The cut into blocks depends on each sequence's own lengths alone, never on threads, batch or results
 * asked for: so the bits do not either. Which blocks make up a task depends on the views asked for. */
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

/* Features of the query that GENERAL projects at once: dot products are summed in such stretches. */
enum { ATTN_PROJECTED_AT_ONCE = 32 };

/* Sums over queries are made in no more than so many parts, each by a task of its own. */
enum { ATTN_QUERY_PARTS = 8 };

/* Bytes up to a whole line of the cache, where every array of scratch begins. */
static inline size_t attn_whole_lines(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

/* How weights are made: tile by tile, each with its own or a running normaliser; or of whole rows. */
typedef enum { ATTN_WEIGH_ONLINE, ATTN_WEIGH_EACH, ATTN_WEIGH_ROWS } attn_weighing;

/* What the views of a call need of the driver. */
typedef struct {
    bool tiles;      /* final weights of all chosen heads' queries */
    int64_t last;    /* of the last so many queries, if not of all */
    bool listed;     /* of the queries in views.rows */
    bool received;   /* accumulators over queries: sums */
    bool maxima;     /* maxima */
    bool window;     /* sums over the last queries */
    bool statistics; /* means per head */
    bool blocks;     /* sums over blocks, which no two tasks may share */
    bool heads;      /* sums over heads: one task has them all */
    bool path;       /* one task has a whole sequence, block by block */
    bool ordered;    /* one task has all queries of a head */
    bool serial;     /* tasks run one after the other, in order */
    bool moment;     /* entropy by the softmax's moment */
    bool entropy;    /* entropy from final weights */
    bool highest;    /* greatest scores */
    bool distance;
    int ranks; /* of top-k; argmax alone: 1 */
} attn_wanted;

typedef struct {
    const attn_problem *problem;
    const attn_views *views; /* never NULL */
    const attn_tiles *tiles;
    int64_t sequences, heads, group; /* group: query heads that share a key head */
    int64_t chosen;                  /* heads that views show */
    int d_query, d_key, d_value;     /* as given */
    int d;                           /* of the inner score: after a projection */
    int d_padded;                    /* to whole vectors, and to whole groups of additive scores */
    /* Scores are query_factor * (what SCORE makes of query and key), and natural if the query_factor
     * is the scale; WEIGH takes them times weigh_factor, in base 2 for softmax. score_factor makes
     * natural scores of those in a tile. */
    double query_factor, weigh_factor, score_factor;
    double scale;
    bool bare; /* scores are to be made without scale and `scales`, for the backward */
    attn_weighing weighing;
    attn_wanted wanted;
    bool keep_all;   /* weights of every block are kept */
    int64_t entries; /* of relative tables */
    bool split;      /* some sequence's keys are split: partial results, merged at the end */
    bool pack_key, pack_value;
    int64_t tasks;
    int64_t longest_row; /* keys of the longest row that a worker keeps */
    int64_t longest_keys;
    int few_rows; /* rows of the largest block of few */
    int workers;
    size_t path_bytes;                               /* of the sequence that needs most */
    size_t worker_bytes, table_bytes, partial_bytes; /* partial_bytes: of one task */
    int64_t accumulator_elements;                    /* of all sequences' accumulators */
} attn_plan;

/* Cuts a problem that has rows for at most `threads` workers. False: too large for any memory. */
bool attn_plan_make(attn_plan *plan, const attn_problem *problem, const attn_tiles *tiles,
                    int threads);

/* Scratch of the whole call; SIZE_MAX if no memory could hold it. */
size_t attn_plan_bytes(const attn_plan *plan);

/* The pieces into which one sequence is cut: head units x blocks of queries x splits of keys; and the
 * tasks: part_units head units by part_blocks blocks, all of one split. */
typedef struct {
    bool few;
    int heads_in_unit; /* if few: heads side by side in the lanes */
    int queries_in_block;
    int64_t units_of_key_head; /* if few */
    int64_t units, blocks, splits;
    int64_t part_units, part_blocks;
    int64_t unit_parts, block_parts;
    int64_t summed_blocks, sums; /* sums over queries: so many blocks to each of so many sums */
} attn_cut;

attn_cut attn_plan_cut(const attn_plan *plan, const attn_sequence *sequence);

/* Where each sequence's tasks and accumulators begin; entry [sequences] is where they end. */
typedef struct {
    int64_t tasks, accumulators;
} attn_start;

void attn_plan_fill_table(const attn_plan *plan, attn_start *table);

typedef struct {
    attn_sequence sequence;
    attn_cut cut;
    int64_t first_unit, units, first_block, blocks, split;
} attn_task;

attn_task attn_plan_task(const attn_plan *plan, const attn_start *table, int64_t task);

/* One piece of a task. */
attn_block attn_plan_block(const attn_plan *plan, const attn_task *task, int64_t unit,
                           int64_t block);

/* The accumulators of one head and one part of the queries, as offsets in elements of their own
 * memory; -1: not wanted. */
typedef struct {
    int64_t sums, maxima, window; /* [key of the sequence] */
    int64_t statistics;           /* [3]: sums of confidence, entropy, distance */
    int64_t elements;             /* of all of them */
} attn_accumulators;

attn_accumulators attn_plan_accumulators(const attn_plan *plan, const attn_sequence *sequence);

/* Which of the chosen heads this is; -1: none. */
int64_t attn_plan_chosen(const attn_plan *plan, int64_t head);

/* scratch.c: lays a worker's arrays out over its scratch; with space NULL, only counts the bytes. */
size_t attn_plan_workspace(const attn_plan *plan, char *memory, attn_workspace *space);

/* What a split task leaves for the merge, likewise. */
size_t attn_plan_partial(const attn_plan *plan, char *memory, attn_partial *partial,
                         attn_kept *kept);

#endif

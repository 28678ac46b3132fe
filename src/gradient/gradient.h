/* gradient.h: what the files of the backward share: one call, and what one worker works with.
 *
 * A task is a head of a sequence and a chunk of ATTN_CHUNK_KEYS of its keys. It walks the blocks of
 * queries; for each it makes scores and weights of its tiles again, goes back through them, sums the
 * gradients of its keys and values in scratch, and adds its part of the queries' to the caller's
 * tensor when it is its turn (turn.h). What a whole call sums, parameters of the score above all, is
 * summed in scratch per task and added at its end, in the order of tasks. */
#ifndef ATTN_GRADIENT_GRADIENT_H
#define ATTN_GRADIENT_GRADIENT_H

#include "attention/mask.h"
#include "attention/worker.h"
#include "attn/gradients.h"
#include "gradient/call.h"
#include "gradient/turn.h"

/* Keys of a task: a multiple of a tile. Keys, values and the sums of their gradients, 4 * 64 floats a
 * key, stay in a second-level cache of half a megabyte; longer chunks would transpose queries less often,
 * and leave fewer tasks. */
enum { ATTN_CHUNK_KEYS = 2 * ATTN_KEY_BLOCK };

/* Matrices whose gradients are summed over queries or keys: [1, heads or 1, ., .]. */
typedef enum {
    ATTN_OF_WEIGHT, /* but LOCATION's, whose rows are keys */
    ATTN_OF_PROJECTION,
    ATTN_OF_OFFSET,
    ATTN_OF_RELATIVE_BIAS,
    ATTN_OF_RELATIVE_KEYS,
    ATTN_OF_RELATIVE_QUERIES,
    ATTN_OF_RELATIVE_VALUES,
    ATTN_OF_CONTENT_BIAS,
    ATTN_OF_POSITION_BIAS,
    ATTN_OF_FILTERS,
    ATTN_OF_LOCATION_PROJECTION,
    ATTN_MATRICES
} attn_matrix;

/* Numbers, one a head or one in all: [sequences or 1, heads or 1, 1, 1]; summed in double. */
typedef enum {
    ATTN_OF_SCALE,
    ATTN_OF_SCALES,
    ATTN_OF_SOFTCAP,
    ATTN_OF_TEMPERATURE,
    ATTN_OF_SLOPES,
    ATTN_OF_SINKS,
    ATTN_OF_SIGMOID_BIAS,
    ATTN_OF_SIGMA,
    ATTN_NUMBERS
} attn_number;

/* Gradients with a row a query, which may be shared: bias, previous, centers. Those of one row for all
 * queries are summed in scratch like matrices (a line); those of many, block by block in turn. */
typedef enum { ATTN_OF_BIAS, ATTN_OF_PREVIOUS, ATTN_OF_CENTERS, ATTN_LINES } attn_line;

/* Numbers of every query of every head, [head][batch][query]. base: softmax's log2-sum-exp, or the
 * greatest score of a sparse row, whose threshold and inverse sum come with it; mean: what is taken
 * from the weights' gradients. */
typedef struct {
    void *base, *mean, *threshold, *inverse;
    int64_t *greatest; /* hardmax: its key; -1: none */
} attn_gradient_rows;

/* Prefix sums over sequences. */
typedef struct {
    int64_t tasks, blocks, chunks;
} attn_gradient_start;

typedef struct {
    attn_problem problem; /* results out of the way; its views choose heads */
    attn_views heads;
    const attn_result_gradients *from;
    const attn_input_gradients *to;
    attn_saved saved;
    attn_plan plan;
    bool natural;   /* tiles are multiplied by the head's scale before they are weighed */
    bool scores;    /* gradients of scores are wanted, not only of values */
    bool modified;  /* dropout or local factors */
    bool by_block;  /* some line is summed block by block, in turn */
    bool walk_rows; /* means need a walk over the tiles */
    double temperature;
    double
        pending; /* what is left to be multiplied, after the callback, to make d(score) of d(z) */
    const attn_tensor *matrix[ATTN_MATRICES], *number[ATTN_NUMBERS], *line[ATTN_LINES];
    double *total[ATTN_NUMBERS];
    attn_gradient_rows rows;
    attn_gradient_start *table, end;
    attn_turn *query_turns; /* [head][block of any sequence] */
    attn_turn *key_turns;   /* [key head][chunk of any sequence] */
    attn_turn *block_turns; /* [block] */
    attn_turn end_turn;
    int64_t most_blocks; /* of a sequence */
    size_t forward_bytes, worker_bytes;
    char *workspaces;
    atomic_llong next;
} attn_gradient_call;

/* One worker's scratch, beside the forward's. Rows are of whole vectors: d_padded, or d_value's. */
typedef struct {
    void *gradient; /* a tile: of weights, then of what made them, back to SCORE */
    void *weights;  /* a tile, where dropout or local factors changed them */
    void *slopes;   /* a tile, where they are not the weights */
    void *raw, *capped, *before, *final, *spare, *natural; /* tiles */
    void *flow;      /* the output's gradients as space.query: [feature][row] or [row][feature] */
    void *flow_rows; /* [row][feature] */
    void *query_rows, *position_rows, *raw_query_rows;
    void *query_sums, *position_sums; /* [feature][row] or [row][feature] */
    void *rows_a, *rows_b;            /* [row][feature]: on their way out */
    void *projection;                 /* GENERAL's weight, or half of CONCAT's, packed */
    void *key_rows;                   /* a tile of keys in whole vectors */
    void *key_sums, *value_sums;      /* [key of the chunk][feature] */
    void *unwanted;                   /* a row: sums of a weight that nobody asks for */
    void *exponentials[2];            /* of queries' rows and keys' */
    void *weighted, *located_sums, *location_flow, *previous_flow; /* location-aware scores */
    void *window;                /* [row][key of the chunk and of the filters' width] */
    void *entries, *key_entries; /* sums by entry of a table */
    void *base, *mean, *inverse, *entropy, *ones, *products[ATTN_NUMBERS], *any; /* [row] */
    void *matrix[ATTN_MATRICES], *line[ATTN_LINES];
    double number[ATTN_NUMBERS];
} attn_gradient_space;

typedef struct {
    attn_worker w; /* first: tile functions of the forward take it */
    attn_gradient_call *call;
    attn_gradient_space g;
    attn_block whole; /* the block at hand, with all keys it may see */
    int64_t task, chunk, head;
    attn_key_range chunk_keys;
    double scale;                       /* of the head */
    bool queries_finite, flow_finite;   /* the block's rows */
    bool entropy_flows;                 /* into this head\'s weights */
    bool any_block;                     /* of queries sees the chunk */
    bool holds_turn;                    /* of this block */
    const void *flow_rows, *query_rows; /* where they lie */
    int64_t flow_stride, query_stride;
} attn_gradient_worker;

/* gradient_plan.c, gradient_scratch.c: what a call wants, and where its scratch lies; with space NULL,
 * only counts the bytes. */
bool attn_gradient_plan(attn_gradient_call *call, const attn_problem *problem,
                        const attn_result_gradients *from, const attn_input_gradients *to,
                        const attn_tiles *tiles, int threads);
/* Fills matrix, number, line with those that are asked for. */
void attn_gradient_list(attn_gradient_call *call, const attn_input_gradients *to);
size_t attn_gradient_workspace(const attn_gradient_call *call, char *memory,
                               attn_gradient_space *space);

/* Elements of a line in scratch. */
int64_t attn_gradient_line_elements(const attn_gradient_call *call, attn_line line);

/* task.c: prefix sums over sequences (NULL: only their ends), and the tasks: [head][block of any
 * sequence]; [sequence][chunk][head]. */
void attn_gradient_fill_table(attn_gradient_call *call, attn_gradient_start *table);
void attn_gradient_run_rows(attn_gradient_worker *g, int64_t task);
void attn_gradient_run_task(attn_gradient_worker *g, int64_t task);

/* Stride of a matrix's or key's row in scratch. The halves of CONCAT's projection are of whole vectors
 * each, so that what is beyond the first is not the second's. */
static inline int64_t attn_second_half(const attn_gradient_call *call) {
    return attn_padded(call->plan.d_query, call->plan.tiles);
}
static inline int64_t attn_matrix_stride(const attn_gradient_call *call, attn_matrix m) {
    if (m == ATTN_OF_PROJECTION)
        return attn_second_half(call) + attn_padded(call->plan.d_key, call->plan.tiles);
    return attn_padded((int)call->matrix[m]->shape[3], call->plan.tiles);
}
static inline int attn_value_stride(const attn_gradient_call *call) {
    return attn_padded(call->plan.d_value, call->plan.tiles);
}

/* A number of every query, where the block's first row has it. */
static inline void *attn_row_of(const attn_gradient_worker *g, void *rows, const attn_block *b,
                                int element_size) {
    const int64_t *const q = g->call->problem.query.shape;
    const int64_t at = (b->first_head * q[0] + b->sequence.batch) * q[2] + b->sequence.query_first +
                       b->first_query;
    return (char *)rows + at * element_size;
}

/* rows.c: means, bases and thresholds of a block's rows; all its keys in sight. */
void attn_gradient_find_rows(attn_gradient_worker *g, attn_block *b);

/* Loads the block's queries, flow and what is known of its rows. */
void attn_gradient_begin_block(attn_gradient_worker *g, const attn_block *b);

/* tile.c: scores, weights and the weights' gradients of a tile: after it space.scores are weights before
 * local factors and dropout, g.gradient their gradients. */
void attn_gradient_scores(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                          attn_visibility seen);
/* Whether some pairs may have a score of -infinity: space.hidden then has the scores to tell. */
bool attn_gradient_hides(const attn_gradient_worker *g, attn_visibility seen);
void attn_gradient_of_weights(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile);
void attn_gradient_tile(attn_worker *w, const attn_block *b, const attn_tile *tile);

/* Hidden pairs have weight 0, and no gradient, exactly; but 0 times NaN is NaN: back to 0. */
void attn_gradient_clear_hidden(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                                attn_visibility seen, void *elements);

/* DISTRIBUTE, where rows that are not finite reach but what has a gradient with them that is not 0. */
void attn_gradient_distribute_some(attn_gradient_worker *g, void *sums, int64_t wide,
                                   const void *tile, int64_t key_stride, int64_t row_stride,
                                   const void *rows, int64_t stride, int keys, int count);

/* pairs.c: from the gradients of final scores, in g.gradient, to those of what was added to them, and
 * on to those of SCORE's; `seen` as of the mask. */
void attn_gradient_pairs(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                         attn_visibility seen);
/* dL/d(centers and sigma), of weights and their gradients. */
void attn_gradient_local(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                         const void *weights);
/* Takes the block's turn, if it is not held; passes it on. */
void attn_gradient_take_turn(attn_gradient_worker *g, const attn_block *b);
/* A row of a line's gradient, of query r of the block from key `key` on, or the line in scratch. */
void attn_gradient_add_line(attn_gradient_worker *g, const attn_block *b, attn_line line,
                            int64_t key, const void *rows, int64_t stride, int columns);

void attn_gradient_end_lines(attn_gradient_worker *g, const attn_block *b);

/* kinds.c: from SCORE's gradients to queries, keys and parameters, by kind; and the ends of blocks and
 * tasks, where sums become results. */
void attn_gradient_begin_kind(attn_gradient_worker *g, const attn_block *b);
void attn_gradient_kind(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                        attn_visibility seen);
void attn_gradient_end_block(attn_gradient_worker *g, const attn_block *b);
void attn_gradient_end_keys(attn_gradient_worker *g, const attn_block *b);
void attn_gradient_end_matrices(attn_gradient_worker *g, const attn_block *b);

/* Whether nothing has been summed in a row. */
bool attn_gradient_is_zero(const attn_tiles *t, const void *row, int columns);
/* Rows that are multiplied with such sums, or made of them, become 0 where they are not finite and the
 * sums are 0: what no pair reaches gives 0, whatever it is. */
void attn_gradient_quieten(const attn_gradient_worker *g, void *rows, int64_t stride,
                           const void *sums, int64_t sums_stride, int columns, int count);

/* additive.c: the same for additive and concat scores; pairwise for Gaussian ones too. */
void attn_gradient_additive(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                            attn_visibility seen);
void attn_gradient_gaussian(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                            attn_visibility seen);
/* Rows of sums become gradients of what tanh was taken of: times weight and factor. */
void attn_gradient_weigh_features(attn_gradient_worker *g, void *rows, int64_t stride, int count);

/* relative.c */
void attn_gradient_relative(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                            attn_visibility seen);
void attn_gradient_relative_bias(attn_gradient_worker *g, const attn_block *b,
                                 const attn_tile *tile);
void attn_gradient_relative_flow(attn_gradient_worker *g, const attn_block *b,
                                 const attn_tile *tile);
void attn_gradient_relative_values(attn_gradient_worker *g, const attn_block *b,
                                   const attn_tile *tile, const void *weights);

/* location.c: of one row's located keys, whose sums are in g.located_sums. */
void attn_gradient_location(attn_gradient_worker *g, const attn_block *b, const attn_tile *tile,
                            int r);

#endif

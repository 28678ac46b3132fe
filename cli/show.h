/* show.h: what attn show is given, and its parts, one file each.
 *
 *     files and options -> show_stack (layers x heads) -> show_head -> terminal, picture, page
 */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include "../io/picture.h"
#include "../io/target.h"
#include "options.h"
#include "terminal.h"
#include "weights.h"

/* The views by the names that attn run has for them, and two that a file's shape tells. */
typedef enum show_view {
    SHOW_WEIGHTS,
    SHOW_HEAD_MEAN,
    SHOW_RAW_SCORES,
    SHOW_CAPPED_SCORES,
    SHOW_SCORES,
    SHOW_BLOCK_SUMS,
    SHOW_TOP_WEIGHTS,
    SHOW_TOP_KEYS,
    SHOW_ARGMAX,
    SHOW_PATH,
    SHOW_HEAD_STATISTICS,
    SHOW_RECEIVED_SUM,
    SHOW_RECEIVED_MEAN,
    SHOW_RECEIVED_MAX,
    SHOW_WINDOW_SUM,
    SHOW_KEY_VALUES,
    SHOW_ENTROPY,
    SHOW_SPAN,
    SHOW_DISTANCE,
    SHOW_MAX_LOGIT,
    SHOW_LSE,
    SHOW_QUERY_VALUES,
    SHOW_VIEWS,
    SHOW_UNKNOWN = SHOW_VIEWS,
    SHOW_FIRST_BARS = SHOW_RECEIVED_SUM, /* from here on a number for each key or query */
    SHOW_FIRST_QUERY_BARS = SHOW_ENTROPY
} show_view;

enum { SHOW_FILES_MAX = 4096, SHOW_TITLE_SIZE = 512 };

typedef struct show_file {
    show_view view; /* SHOW_UNKNOWN: what its shape says */
    const char *path;
} show_file;

typedef struct show_files {
    show_file file[SHOW_FILES_MAX];
    int count;
} show_files;

typedef enum show_kind {
    SHOW_AS_AUTO,
    SHOW_AS_MATRIX,
    SHOW_AS_LINES,
    SHOW_AS_BARS,
    SHOW_AS_GRID,
    SHOW_AS_TABLE,
    SHOW_AS_PATH,
    SHOW_KINDS
} show_kind;

extern const char *const show_kind_names[SHOW_KINDS];

typedef struct show_settings {
    cli_problem_settings problem;
    cli_token_files tokens;
    show_files files;
    cli_list heads;       /* none: not given */
    int64_t batch, layer; /* -1: not given */
    show_kind kind;
    int64_t block_queries, block_keys; /* of block sums; 0: from their number */
    const char *title, *png, *svg, *html;
    bool dark; /* PNG and SVG */
    io_reduction reduction;
    int64_t top;   /* lines of a query; 0: not given */
    int64_t links; /* -1: not given */
    int colors;    /* a cli_colors, or -1: as the terminal has them */
} show_settings;

cli_parser show_parse_view; /* show_files, one more of "NAME=FILE" */

/* ---------------------------------------------------------------------------------------------
 * The stack: layers (rows of batches, files one after the other) x heads
 * ------------------------------------------------------------------------------------------- */

/* All files of one view, in the order of the layers. */
typedef struct show_arrays {
    attn_tensor *tensor; /* four dimensions: layers, heads, and two of the view */
    io_array *array;
    const char **path;
    int count;
} show_arrays;

typedef struct show_stack {
    const char *name;     /* of the first file */
    const char *title;    /* NULL: the name */
    cli_weights *weights; /* [weight_files]; none: only views */
    int weight_files;
    show_arrays view[SHOW_VIEWS];
    int64_t layers, heads, queries, keys;
    int64_t block_queries, block_keys; /* of block sums */
    io_tokens layer_names, head_names;
    const io_tokens *query_tokens, *key_tokens; /* count 0: none */
    io_tokens own_query_tokens, own_key_tokens; /* of a stack without weights, whose own they are */
} show_stack;

/* Opens everything that the settings and the operands name. Close also after a failure. */
bool show_stack_open(show_stack *stack, show_settings *settings, int argc, char **argv,
                     io_error *error);
void show_stack_close(show_stack *stack);

/* Whether that view was given. */
bool show_has(const show_stack *stack, show_view view);

/* "received (sum)"; for the page and below bars. */
const char *show_view_label(show_view view);

/* How many numbers the view has of a head: its last two sizes. */
void show_view_sizes(const show_stack *stack, show_view view, int64_t sizes[2]);

/* Element (i, j) of a head's view. */
double show_view_element(const show_stack *stack, show_view view, int64_t layer, int64_t head,
                         int64_t i, int64_t j);

/* The weights of a layer, and the row of their batch that it is. */
const cli_weights *show_layer_weights(const show_stack *stack, int64_t layer, int64_t *batch);

/* ---------------------------------------------------------------------------------------------
 * One head
 * ------------------------------------------------------------------------------------------- */

/* What is wanted of a head. */
typedef struct show_wanted {
    bool map, lines, path, statistics;
    bool bars[SHOW_VIEWS];
    int64_t rows_most, columns_most; /* cells of the map */
    int64_t top;                     /* lines of a query, at most */
    io_reduction reduction;
    cli_links *links; /* NULL: not wanted */
} show_wanted;

/* Given, or told from the weights in one pass over their rows. Absent: NULL. */
typedef struct show_head {
    io_heatmap map;     /* map.cells */
    int64_t top;        /* lines of a query */
    int64_t *top_keys;  /* [queries][top], -1: none */
    float *top_weights; /* [queries][top], strongest first; 1 if not known */
    bool weighed;       /* they are known */
    int64_t *path;      /* [queries][2] */
    float *bars[SHOW_VIEWS];
    float statistics[ATTN_HEAD_STATISTICS];
} show_head;

bool show_head_load(show_head *head, const show_stack *stack, int64_t layer, int64_t index,
                    const show_wanted *wanted, io_error *error);
void show_head_free(show_head *head);

/* The first bars that the stack has. */
show_view show_first_bars(const show_stack *stack);

/* Makes values one for every few, the greatest of them, so that there are at most `most`; returns of
 * how many each is. */
int64_t show_reduce_bars(float *values, int64_t *count, int64_t most);

/* ---------------------------------------------------------------------------------------------
 * Pictures
 * ------------------------------------------------------------------------------------------- */

/* The layers and heads that a picture is of. */
typedef struct show_extent {
    int64_t layer, layers;
    const int64_t *heads;
    int64_t head_count;
    bool all_heads; /* none was named: a picture of a single head takes the first */
} show_extent;

/* Their names. */
bool show_name_extent(const show_stack *stack, const show_extent *extent, io_tokens *layers,
                      io_tokens *heads, io_error *error);

/* Statistics of heads: numbers, and a map of each statistic. */
typedef struct show_tables {
    float *numbers; /* [layers][heads][ATTN_HEAD_STATISTICS] */
    io_tokens layers, heads;
    io_heatmap map[ATTN_HEAD_STATISTICS]; /* rows: layers, columns: heads */
} show_tables;

extern const char *const show_statistic_names[ATTN_HEAD_STATISTICS];

bool show_tables_load(show_tables *tables, const show_stack *stack, const show_extent *extent,
                      io_error *error);
void show_tables_free(show_tables *tables);

/* Whether statistics are there, or there are weights to compute them from. */
bool show_can_be_table(const show_stack *stack);

bool show_on_terminal(const show_settings *settings, const show_stack *stack,
                      const show_extent *extent, io_error *error);
bool show_as_picture(const show_settings *settings, const show_stack *stack,
                     const show_extent *extent, bool svg, io_target *target, io_error *error);
bool show_as_page(const show_settings *settings, const show_stack *stack, const show_extent *extent,
                  io_target *target, io_error *error);

/* "w.npy: layer 0, head 1"; those below 0 are left out. Text of SHOW_TITLE_SIZE. */
void show_title(const show_stack *stack, int64_t layer, int64_t head, char *text);

#endif

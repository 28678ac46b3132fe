/* weights.h: weights to be drawn, computed from query, key and value or read from a file. */
#ifndef CLI_WEIGHTS_H
#define CLI_WEIGHTS_H

#include "../io/heatmap.h"
#include "problem.h"

typedef struct cli_weights {
    const char *name; /* of the file they came from */
    int64_t batch, heads, queries, keys;
    io_tokens layers;    /* the layer that each row of the batch is; count 0: not known */
    cli_problem problem; /* with the tokens, and the weights' own file if that is a .safetensors */
    attn_context *context;
    bool saved; /* not computed from the problem, but in: */
    io_array array;
} cli_weights;

/* Text files of tokens, one a line; each NULL if there is none. */
typedef struct cli_token_files {
    const char *both, *query, *key;
} cli_token_files;

/* From `path` (.npy: saved weights; .safetensors: query, key and value, or weights), or where it
 * is NULL from the files that the settings name. Close with cli_weights_close, also after a
 * failure. */
bool cli_weights_open(cli_weights *weights, const cli_problem_settings *settings, const char *path,
                      const cli_token_files *tokens, io_error *error);
void cli_weights_close(cli_weights *weights);

/* Stores the weights of `count` queries from `first` on: [count][keys]. */
bool cli_weights_rows(const cli_weights *weights, int64_t batch, int64_t head, int64_t first,
                      int64_t count, float *rows, io_error *error);

/* Element `at` (counted in strides) as a number, whatever its type; U8: of 0 to 255. */
double cli_element(const attn_tensor *tensor, int64_t at);

/* Called with one row of weights after the other. */
typedef void cli_row_visitor(void *user, int64_t query, const float *row);

/* Goes through all rows of a head, a few at a time, whatever their number. */
bool cli_weights_visit(const cli_weights *weights, int64_t batch, int64_t head,
                       cli_row_visitor *visit, void *user, io_error *error);

enum { CLI_LINKS_MAX = 64 };

typedef struct cli_link {
    int64_t query, key;
    float weight;
} cli_link;

/* The strongest weights of a head, strongest first; of equals the first. */
typedef struct cli_links {
    cli_link link[CLI_LINKS_MAX];
    int count, wanted;
} cli_links;

/* A weight that may be among the strongest: put in its place, or passed over. */
void cli_links_offer(cli_links *links, int64_t query, int64_t key, float weight);

/* Makes an empty picture of queries x keys weights, of at most that many cells; cells are the
 * caller's to free. Then add the rows of weights, from the first to the last, and finish it. */
bool cli_heatmap_begin(io_heatmap *map, int64_t queries, int64_t keys, int64_t rows_most,
                       int64_t columns_most, io_reduction reduction, io_error *error);
void cli_heatmap_row(io_heatmap *map, int64_t query, const float *row);
void cli_heatmap_end(io_heatmap *map);

#endif

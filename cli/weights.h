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

/* Makes a picture of one head of at most that many cells, whatever the size of the weights: they
 * are gone through a few rows at a time. map->cells is the caller's to free. links may be NULL. */
bool cli_heatmap_make(io_heatmap *map, const cli_weights *weights, int64_t batch, int64_t head,
                      int64_t rows_most, int64_t columns_most, io_reduction reduction,
                      cli_links *links, io_error *error);

#endif

/* views.h: the views of the weights by the names that options have for them. */
#ifndef CLI_VIEWS_H
#define CLI_VIEWS_H

#include "options.h"

enum { CLI_VIEW_LSE = 19, CLI_VIEWS };

/* Some queries: those listed, or the last so many, or (zeroed) all. */
typedef struct cli_rows {
    cli_list list;
    int64_t last;
} cli_rows;

typedef struct cli_view_settings {
    const char *file[CLI_VIEWS]; /* where each goes; NULL: it is not wanted */
    cli_list heads;              /* none: all */
    cli_rows rows;               /* of the weights */
    int64_t window_queries, top, block_queries, block_keys;
    attn_dtype dtype; /* of the weights; NONE: the query's */
} cli_view_settings;

/* What is not asked for otherwise. */
extern const cli_view_settings cli_view_defaults;

/* Everything but which views; their offsets count in cli_view_settings. */
extern const cli_option cli_view_options[];

cli_parser cli_view_file; /* cli_view_settings, from "NAME=FILE" */
cli_parser cli_view_name; /* the same, from "NAME": the name itself stands for the file */

/* Checks the choice of heads and rows against the problem, whose query came from the file `source`,
 * and writes it into views, which then point into the settings. */
bool cli_views_choose(const cli_view_settings *settings, const attn_problem *problem,
                      const char *source, attn_views *views, io_error *error);

/* A view's tensor, dense, without data: in attn_views' four dimensions. */
attn_tensor cli_view_tensor(const cli_view_settings *settings, const attn_problem *problem,
                            int view);

/* Where the tensor belongs: in views, but for the log-sum-exp, which is a result of the problem. */
attn_tensor *cli_view_place(attn_problem *problem, attn_views *views, int view);

const char *cli_view_title(int view);

/* int32, unless keys could not be numbered in it. */
attn_dtype cli_index_dtype(int64_t keys);

#endif

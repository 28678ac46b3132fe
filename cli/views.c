#include "views.h"

#include <inttypes.h>
#include <string.h>

/* What a size of a view is. */
enum size {
    ONE,
    TWO,
    STATISTICS,
    BATCH,
    HEADS, /* those chosen */
    ALL_HEADS,
    QUERIES,
    LISTED, /* rows of the weights */
    KEYS,
    TOP,
    QUERY_BLOCKS,
    KEY_BLOCKS,
    SIZES
};

typedef enum content { NUMBERS, WEIGHTS, INDICES } content;

static const struct view {
    const char *name, *alias;
    bool of_problem; /* a field of attn_problem, else of attn_views */
    size_t place;
    content content;
    unsigned char sizes[4]; /* enum size */
} views[CLI_VIEWS] = {
#define FIELD(member) false, offsetof(attn_views, member)
    {"weights", NULL, FIELD(weights), WEIGHTS, {BATCH, HEADS, LISTED, KEYS}},
    {"received-sum", "received", FIELD(received_sum), NUMBERS, {BATCH, HEADS, ONE, KEYS}},
    {"received-mean", NULL, FIELD(received_mean), NUMBERS, {BATCH, HEADS, ONE, KEYS}},
    {"received-max", NULL, FIELD(received_max), NUMBERS, {BATCH, HEADS, ONE, KEYS}},
    {"window-sum", NULL, FIELD(window_sum), NUMBERS, {BATCH, HEADS, ONE, KEYS}},
    {"top-weights", NULL, FIELD(top_weights), NUMBERS, {BATCH, HEADS, QUERIES, TOP}},
    {"top-keys", NULL, FIELD(top_keys), INDICES, {BATCH, HEADS, QUERIES, TOP}},
    {"argmax", NULL, FIELD(argmax), INDICES, {BATCH, HEADS, QUERIES, ONE}},
    {"entropy", NULL, FIELD(entropy), NUMBERS, {BATCH, HEADS, QUERIES, ONE}},
    {"span", NULL, FIELD(span), NUMBERS, {BATCH, HEADS, QUERIES, ONE}},
    {"distance", NULL, FIELD(distance), NUMBERS, {BATCH, HEADS, QUERIES, ONE}},
    {"max-logit", NULL, FIELD(max_logit), NUMBERS, {BATCH, HEADS, QUERIES, ONE}},
    {"block-sums", NULL, FIELD(block_sums), NUMBERS, {BATCH, HEADS, QUERY_BLOCKS, KEY_BLOCKS}},
    {"head-mean", NULL, FIELD(head_mean), NUMBERS, {BATCH, ONE, QUERIES, KEYS}},
    {"path", NULL, FIELD(path), INDICES, {BATCH, ONE, QUERIES, TWO}},
    {"head-statistics", NULL, FIELD(head_statistics), NUMBERS, {BATCH, HEADS, ONE, STATISTICS}},
    {"raw-scores", NULL, FIELD(raw_scores), NUMBERS, {BATCH, HEADS, QUERIES, KEYS}},
    {"capped-scores", NULL, FIELD(capped_scores), NUMBERS, {BATCH, HEADS, QUERIES, KEYS}},
    {"scores", NULL, FIELD(scores), NUMBERS, {BATCH, HEADS, QUERIES, KEYS}},
#undef FIELD
    [CLI_VIEW_LSE] =
        {"lse", NULL, true, offsetof(attn_problem, lse), NUMBERS, {BATCH, ALL_HEADS, QUERIES, ONE}},
};

/* --------------------------------------------------------------------------------- the options */

const cli_view_settings cli_view_defaults = {
    .window_queries = 32, .top = 8, .block_queries = 64, .block_keys = 64};

static bool parse_top(void *field, const char *text, io_error *error) {
    enum { TOP_MAX = 1024 };
    int64_t count = 0;
    if (!cli_size(&count, text, NULL) || count > TOP_MAX) {
        return io_fail(error, "expected a whole number, 1 to %d", TOP_MAX);
    }
    *(int64_t *)field = count;
    return true;
}

static bool parse_rows(void *field, const char *text, io_error *error) {
    cli_rows *const rows = field;
    rows->list.count = 0, rows->last = 0;
    if (strncmp(text, "last:", 5) == 0 ? cli_size(&rows->last, text + 5, NULL)
                                       : cli_rising(&rows->list, text, NULL)) {
        return true;
    }
    return io_fail(error, "expected rising numbers of queries, from 0, with commas between them "
                          "(5,9), or last:W");
}

static bool parse_dtype(void *field, const char *text, io_error *error) {
    static const char *const names[] = {"f32", "f64", "f16", "u8"};
    static const attn_dtype dtypes[] = {ATTN_F32, ATTN_F64, ATTN_F16, ATTN_U8};
    int choice = 0;
    if (!cli_word(names, 4, sizeof names[0], text, &choice, error)) return false;
    *(attn_dtype *)field = dtypes[choice];
    return true;
}

#define SETTING(member) offsetof(cli_view_settings, member)

const cli_option cli_view_options[] = {
    {"view-heads", "H,...", "which heads the views are of, from 0 (all)", cli_rising,
     SETTING(heads)},
    {"view-rows", "Q,...|last:W", "weights: of which queries, from 0, or of the last W (all)",
     parse_rows, SETTING(rows)},
    {"view-type", "TYPE", "weights: f32, f64, f16 or u8 (255 is 1) (the query's)", parse_dtype,
     SETTING(dtype)},
    {"window-queries", "W", "window-sum: how many last queries (32)", cli_size,
     SETTING(window_queries)},
    {"top-k", "K", "top-weights, top-keys: how many (8)", parse_top, SETTING(top)},
    {"block-queries", "N", "block-sums: queries in a block (64)", cli_size, SETTING(block_queries)},
    {"block-keys", "N", "block-sums: keys in a block (64)", cli_size, SETTING(block_keys)},
    {0},
};

static bool want_view(cli_view_settings *settings, const char *text, size_t length,
                      const char *file, io_error *error) {
    for (int i = 0; i < CLI_VIEWS; i++) {
        const struct view *const view = &views[i];
        if (!cli_same_name(view->name, text, length) && !cli_same_name(view->alias, text, length)) {
            continue;
        }
        if (settings->file[i]) return io_fail(error, "the view %s is named twice", view->name);
        settings->file[i] = file;
        return true;
    }
    return cli_expect_word(&views[0].name, CLI_VIEWS, sizeof views[0], error);
}

bool cli_view_file(void *field, const char *text, io_error *error) {
    const char *const equals = strchr(text, '=');
    if (!equals || !equals[1]) return io_fail(error, "expected NAME=FILE");
    return want_view(field, text, (size_t)(equals - text), equals + 1, error);
}

bool cli_view_name(void *field, const char *text, io_error *error) {
    return want_view(field, text, strlen(text), text, error);
}

/* ----------------------------------------------------------------------------------- the views */

/* Of what is counted from 0, `last` must be there. */
static bool check_last(const char *option, const char *what, int64_t last, int64_t count,
                       const char *source, io_error *error) {
    if (last < count) return true;
    return io_fail(error, "--%s: there is no %s %" PRId64 ": %s has %" PRId64 ", from 0", option,
                   what, last, source, count);
}

static int64_t last_of(const cli_list *list) {
    return list->count > 0 ? list->values[list->count - 1] : -1;
}

bool cli_views_choose(const cli_view_settings *settings, const attn_problem *problem,
                      const char *source, attn_views *chosen, io_error *error) {
    const cli_list *const heads = &settings->heads, *const rows = &settings->rows.list;
    const int64_t row = rows->count > 0 ? last_of(rows) : settings->rows.last - 1;
    chosen->heads = heads->count > 0 ? heads->values : NULL;
    chosen->head_count = heads->count;
    chosen->rows = rows->count > 0 ? rows->values : NULL;
    chosen->row_count = rows->count > 0 ? rows->count : settings->rows.last;
    chosen->window_queries = settings->window_queries;
    chosen->block_queries = settings->block_queries;
    chosen->block_keys = settings->block_keys;
    return check_last("view-heads", "head", last_of(heads), problem->query.shape[1], source,
                      error) &&
           check_last("view-rows", "query", row, problem->query.shape[2], source, error);
}

static int64_t blocks(int64_t items, int64_t block) {
    return items / block + (items % block != 0);
}

static int64_t view_size(enum size size, const cli_view_settings *settings,
                         const attn_problem *problem) {
    const int64_t heads = settings->heads.count, listed = settings->rows.list.count;
    const int64_t last = settings->rows.last;
    const int64_t queries = problem->query.shape[2], keys = problem->key.shape[2];
    const int64_t sizes[SIZES] = {
        [ONE] = 1,
        [TWO] = 2,
        [STATISTICS] = ATTN_HEAD_STATISTICS,
        [BATCH] = problem->query.shape[0],
        [HEADS] = heads > 0 ? heads : problem->query.shape[1],
        [ALL_HEADS] = problem->query.shape[1],
        [QUERIES] = queries,
        [LISTED] = listed > 0 ? listed
                   : last > 0 ? last
                              : queries,
        [KEYS] = keys,
        [TOP] = settings->top,
        [QUERY_BLOCKS] = blocks(queries, settings->block_queries),
        [KEY_BLOCKS] = blocks(keys, settings->block_keys),
    };
    return sizes[size];
}

attn_dtype cli_index_dtype(int64_t keys) {
    return keys <= (int64_t)INT32_MAX + 1 ? ATTN_I32 : ATTN_I64;
}

attn_tensor cli_view_tensor(const cli_view_settings *settings, const attn_problem *problem,
                            int view) {
    const attn_dtype query = problem->query.dtype;
    const attn_dtype dtypes[] = {
        [NUMBERS] = query,
        [WEIGHTS] = settings->dtype == ATTN_DTYPE_NONE ? query : settings->dtype,
        [INDICES] = cli_index_dtype(problem->key.shape[2]),
    };
    int64_t shape[4];
    for (int i = 0; i < 4; i++) {
        shape[i] = view_size((enum size)views[view].sizes[i], settings, problem);
    }
    return attn_tensor_dense(NULL, dtypes[views[view].content], shape[0], shape[1], shape[2],
                             shape[3]);
}

attn_tensor *cli_view_place(attn_problem *problem, attn_views *places, int view) {
    char *const base = views[view].of_problem ? (char *)problem : (char *)places;
    return (attn_tensor *)(void *)(base + views[view].place);
}

const char *cli_view_title(int view) {
    return views[view].name;
}

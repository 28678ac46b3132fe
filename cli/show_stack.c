/* show_stack.c: from the files that attn show is given to layers x heads of views. */
#include "show.h"

#include "../io/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the last two sizes of a view are. */
typedef enum view_form { PAIRS, BLOCKS, TOP, SPANS, NUMBERS, KEYS, QUERIES } view_form;

static const struct {
    const char *name, *alias, *label;
    view_form form;
} views[SHOW_VIEWS] = {
    [SHOW_WEIGHTS] = {"weights", NULL, "weights", PAIRS},
    [SHOW_HEAD_MEAN] = {"head-mean", NULL, "weights, mean over heads", PAIRS},
    [SHOW_RAW_SCORES] = {"raw-scores", NULL, "scores, scaled", PAIRS},
    [SHOW_CAPPED_SCORES] = {"capped-scores", NULL, "scores, after the soft cap", PAIRS},
    [SHOW_SCORES] = {"scores", NULL, "scores", PAIRS},
    [SHOW_BLOCK_SUMS] = {"block-sums", NULL, "weights, summed over blocks", BLOCKS},
    [SHOW_TOP_WEIGHTS] = {"top-weights", NULL, "greatest weights", TOP},
    [SHOW_TOP_KEYS] = {"top-keys", NULL, "keys of the greatest weights", TOP},
    [SHOW_ARGMAX] = {"argmax", NULL, "key of the greatest weight", TOP},
    [SHOW_PATH] = {"path", NULL, "alignment path", SPANS},
    [SHOW_HEAD_STATISTICS] = {"head-statistics", NULL, "head statistics", NUMBERS},
    [SHOW_RECEIVED_SUM] = {"received-sum", "received", "received, sum over queries", KEYS},
    [SHOW_RECEIVED_MEAN] = {"received-mean", NULL, "received, mean over queries", KEYS},
    [SHOW_RECEIVED_MAX] = {"received-max", NULL, "received, greatest weight", KEYS},
    [SHOW_WINDOW_SUM] = {"window-sum", NULL, "received, sum over the last queries", KEYS},
    [SHOW_KEY_VALUES] = {NULL, NULL, "number of each key", KEYS},
    [SHOW_ENTROPY] = {"entropy", NULL, "entropy of each query, nats", QUERIES},
    [SHOW_SPAN] = {"span", NULL, "span of each query, keys", QUERIES},
    [SHOW_DISTANCE] = {"distance", NULL, "mean distance of each query, keys", QUERIES},
    [SHOW_MAX_LOGIT] = {"max-logit", NULL, "greatest score of each query", QUERIES},
    [SHOW_LSE] = {"lse", NULL, "log-sum-exp of each query", QUERIES},
    [SHOW_QUERY_VALUES] = {NULL, NULL, "number of each query", QUERIES},
};

const char *show_view_label(show_view view) {
    return views[view].label;
}

bool show_parse_view(void *field, const char *text, io_error *error) {
    show_files *const files = field;
    const char *const equals = strchr(text, '=');
    const size_t length = equals ? (size_t)(equals - text) : 0;
    if (!equals || !equals[1]) return io_fail(error, "expected NAME=FILE");
    if (files->count == SHOW_FILES_MAX) {
        return io_fail(error, "expected at most %d files", SHOW_FILES_MAX);
    }
    for (show_view view = 0; view < SHOW_VIEWS; view++) {
        if (!cli_same_name(views[view].name, text, length) &&
            !cli_same_name(views[view].alias, text, length)) {
            continue;
        }
        files->file[files->count++] = (show_file){view, equals + 1};
        return true;
    }
    return io_fail(error, "there is no view of that name: see attn-show(1)");
}

/* ---------------------------------------------------------------------------------------------
 * Files
 * ------------------------------------------------------------------------------------------- */

static bool ends_with(const char *path, const char *end) {
    const size_t length = strlen(path), tail = strlen(end);
    return length > tail && strcmp(path + length - tail, end) == 0;
}

static bool is_index(attn_dtype dtype) {
    return dtype == ATTN_I32 || dtype == ATTN_I64;
}

/* What an array is that nobody named: indices are a path if they come in pairs; numbers of one query
 * or one key are bars, unless the kind of picture is of matrices. */
static show_view view_of_shape(const io_array *array, show_kind kind) {
    const attn_tensor tensor = io_array_tensor(array, 4);
    if (is_index(array->dtype)) return tensor.shape[3] == 2 ? SHOW_PATH : SHOW_TOP_KEYS;
    if (array->dims < 2 || array->dtype == ATTN_BOOL) return SHOW_WEIGHTS; /* refused there */
    if (kind != SHOW_AS_AUTO && kind != SHOW_AS_BARS) return SHOW_WEIGHTS;
    if (tensor.shape[2] == 1 && tensor.shape[3] > 1) return SHOW_KEY_VALUES;
    if (tensor.shape[3] == 1 && tensor.shape[2] > 1) return SHOW_QUERY_VALUES;
    return SHOW_WEIGHTS;
}

static bool find_view(show_file *file, show_kind kind, io_error *error) {
    io_array array = {0};
    if (file->view != SHOW_UNKNOWN) return true;
    file->view = SHOW_WEIGHTS;
    if (!ends_with(file->path, ".npy")) return true;
    const bool good = io_npy_open(&array, file->path, error);
    if (good) file->view = view_of_shape(&array, kind);
    io_array_close(&array);
    return good;
}

/* Numbers per key or query may come without the dimension of 1 that they have in the library. */
static attn_tensor view_tensor(const io_array *array, view_form form) {
    attn_tensor t = io_array_tensor(array, 4);
    const int one = form == KEYS ? 2 : 3;
    if ((form != KEYS && form != QUERIES) || t.shape[one] == 1 || t.shape[0] != 1) return t;
    for (int i = 0; i < one; i++) t.shape[i] = t.shape[i + 1], t.stride[i] = t.stride[i + 1];
    t.shape[one] = 1, t.stride[one] = 0;
    return t;
}

static bool add_array(show_arrays *arrays, const show_file *file, io_error *error) {
    const int i = arrays->count;
    if (!io_npy_open(&arrays->array[i], file->path, error)) return false;
    arrays->count++;
    arrays->path[i] = file->path;
    arrays->tensor[i] = view_tensor(&arrays->array[i], views[file->view].form);
    if (arrays->array[i].dims == 0) {
        return io_fail(error, "%s: has no dimensions: expected %s", file->path,
                       views[file->view].label);
    }
    return true;
}

static int count_files(const show_files *files, show_view view) {
    int count = 0;
    for (int i = 0; i < files->count; i++) count += files->file[i].view == view;
    return count;
}

static bool open_view(show_stack *stack, const show_files *files, show_view view, io_error *error) {
    show_arrays *const arrays = &stack->view[view];
    const int count = count_files(files, view);
    if (count == 0) return true;
    arrays->array = calloc((size_t)count, sizeof *arrays->array);
    arrays->tensor = calloc((size_t)count, sizeof *arrays->tensor);
    arrays->path = calloc((size_t)count, sizeof *arrays->path);
    if (!arrays->array || !arrays->tensor || !arrays->path) {
        return io_fail(error, "no memory for %d files", count);
    }
    for (int i = 0; i < files->count; i++) {
        if (files->file[i].view == view && !add_array(arrays, &files->file[i], error)) return false;
    }
    return true;
}

/* Matrices of pairs are all opened as weights; they must be of one view. */
static bool open_matrices(show_stack *stack, const show_settings *settings, io_error *error) {
    const show_files *const files = &settings->files;
    int count = 0, first = -1;
    for (int i = 0; i < files->count; i++) {
        if (views[files->file[i].view].form != PAIRS) continue;
        if (first >= 0 && files->file[i].view != files->file[first].view) {
            return io_fail(error, "%s holds %s, but %s %s: expected matrices of one kind",
                           files->file[first].path, views[files->file[first].view].label,
                           files->file[i].path, views[files->file[i].view].label);
        }
        if (first < 0) first = i;
        count++;
    }
    const bool computed = files->count == 0;
    if (count == 0 && !computed) return true;
    stack->weights = calloc((size_t)(computed ? 1 : count), sizeof *stack->weights);
    if (!stack->weights) return io_fail(error, "no memory for %d files", count);
    for (int i = 0; i < (computed ? 1 : files->count); i++) {
        if (!computed && views[files->file[i].view].form != PAIRS) continue;
        const char *const path = computed ? NULL : files->file[i].path;
        if (!cli_weights_open(&stack->weights[stack->weight_files++], &settings->problem, path,
                              &settings->tokens, error)) {
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------
 * Sizes
 * ------------------------------------------------------------------------------------------- */

static bool agree(int64_t *size, int64_t value, const char *path, const char *what,
                  io_error *error) {
    if (*size == 0) *size = value;
    if (*size == value) return true;
    return io_fail(error,
                   "%s: has %" PRId64 " %s, but there are %" PRId64 " in the files before it", path,
                   value, what, *size);
}

static bool agree_weights(show_stack *stack, io_error *error) {
    for (int i = 0; i < stack->weight_files; i++) {
        const cli_weights *const w = &stack->weights[i];
        if (!agree(&stack->heads, w->heads, w->name, "heads", error) ||
            !agree(&stack->queries, w->queries, w->name, "queries", error) ||
            !agree(&stack->keys, w->keys, w->name, "keys", error)) {
            return false;
        }
        stack->layers += w->batch;
    }
    return true;
}

/* The last two sizes of the array of a view. */
static bool agree_form(show_stack *stack, view_form form, const attn_tensor *t, const char *path,
                       io_error *error) {
    const int64_t rows = t->shape[2], columns = t->shape[3];
    const int64_t wanted = form == KEYS      ? rows == 1
                           : form == QUERIES ? columns == 1
                           : form == SPANS   ? columns == 2
                           : form == NUMBERS ? rows == 1 && columns == ATTN_HEAD_STATISTICS
                                             : 1;
    if (!wanted) {
        return io_fail(error, "%s: its last two sizes are %" PRId64 " and %" PRId64 ": expected %s",
                       path, rows, columns,
                       form == KEYS      ? "1 and the number of keys"
                       : form == QUERIES ? "the number of queries and 1"
                       : form == SPANS   ? "the number of queries and 2"
                                         : "1 and 4");
    }
    if (form == KEYS) return agree(&stack->keys, columns, path, "keys", error);
    if (form == QUERIES || form == SPANS || form == TOP) {
        return agree(&stack->queries, rows, path, "queries", error);
    }
    return true;
}

static bool agree_arrays(show_stack *stack, show_view view, io_error *error) {
    const show_arrays *const arrays = &stack->view[view];
    int64_t layers = 0;
    for (int i = 0; i < arrays->count; i++) {
        const attn_tensor *const t = &arrays->tensor[i];
        int64_t heads = t->shape[1];
        if (t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3] == 0) {
            return io_fail(error, "%s: is empty", arrays->path[i]);
        }
        if (view == SHOW_PATH) heads = stack->heads ? stack->heads : heads; /* one for all heads */
        if (!agree(&stack->heads, heads, arrays->path[i], "heads", error)) return false;
        if (!agree_form(stack, views[view].form, t, arrays->path[i], error)) return false;
        for (int d = 2; i > 0 && d < 4; d++) {
            if (t->shape[d] == arrays->tensor[0].shape[d]) continue;
            return io_fail(error, "%s and %s differ in shape", arrays->path[0], arrays->path[i]);
        }
        layers += t->shape[0];
    }
    return arrays->count == 0 || agree(&stack->layers, layers, arrays->path[0], "layers", error);
}

static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* The greatest key of a view of keys: what it can tell about their number. */
static int64_t greatest_key(const show_stack *stack, show_view view) {
    int64_t sizes[2], most = -1;
    show_view_sizes(stack, view, sizes);
    for (int64_t n = 0; n < stack->layers * stack->heads; n++) {
        for (int64_t at = 0; at < sizes[0] * sizes[1]; at++) {
            const double key = show_view_element(stack, view, n / stack->heads, n % stack->heads,
                                                 at / sizes[1], at % sizes[1]);
            if (key > (double)most && key < 1e15) most = (int64_t)key;
        }
    }
    return most;
}

enum { BLOCK = 64 };

/* How many keys there are where no view has one number for each: as many as labels, or up to the
 * greatest that is named, or as many as blocks cover. */
static void guess_keys(show_stack *stack, const show_settings *settings) {
    static const show_view naming[] = {SHOW_TOP_KEYS, SHOW_ARGMAX, SHOW_PATH};
    const attn_tensor *const blocks = stack->view[SHOW_BLOCK_SUMS].tensor;
    const int64_t count = blocks ? blocks->shape[3] : 0, each = settings->block_keys;
    if (stack->keys == 0) stack->keys = stack->key_tokens->count;
    if (stack->keys > 0) return;
    for (size_t i = 0; i < sizeof naming / sizeof naming[0]; i++) {
        if (!show_has(stack, naming[i])) continue;
        const int64_t named = greatest_key(stack, naming[i]) + 1;
        if (named > stack->keys) stack->keys = named;
    }
    if (stack->keys == 0) stack->keys = count * (each > 0 ? each : BLOCK);
    if (stack->keys <= (count - 1) * each) stack->keys = (count - 1) * each + 1;
    if (stack->keys == 0) stack->keys = 1;
}

/* How many queries or keys a block has: as given, or as attn run has it unless told otherwise if that
 * fits, or as few as do. */
static int64_t block_size(int64_t given, int64_t all, int64_t count) {
    if (given > 0) return given;
    return divide_up(all, BLOCK) == count ? BLOCK : divide_up(all, count);
}

static void guess_sizes(show_stack *stack, const show_settings *settings) {
    const show_arrays *const blocks = &stack->view[SHOW_BLOCK_SUMS];
    const int64_t *const shape = blocks->tensor ? blocks->tensor->shape : NULL;
    const int64_t each = settings->block_queries > 0 ? settings->block_queries : BLOCK;
    if (stack->queries == 0) stack->queries = stack->query_tokens->count;
    if (stack->queries == 0) stack->queries = shape ? shape[2] * each : 1;
    guess_keys(stack, settings);
    if (!shape) return;
    stack->block_queries = block_size(settings->block_queries, stack->queries, shape[2]);
    stack->block_keys = block_size(settings->block_keys, stack->keys, shape[3]);
}

/* Keys are numbered in memory: one number too large must not take all of it. */
static bool check_keys(const show_stack *stack, io_error *error) {
    enum { KEYS_MAX = 1 << 24 };
    if (stack->keys <= KEYS_MAX) return true;
    return io_fail(error, "%s: has or names %" PRId64 " keys: expected at most %d", stack->name,
                   stack->keys, KEYS_MAX);
}

static bool check_blocks(const show_stack *stack, io_error *error) {
    const show_arrays *const blocks = &stack->view[SHOW_BLOCK_SUMS];
    if (!blocks->tensor) return true;
    const int64_t *const shape = blocks->tensor->shape;
    if (shape[2] == divide_up(stack->queries, stack->block_queries) &&
        shape[3] == divide_up(stack->keys, stack->block_keys)) {
        return true;
    }
    return io_fail(error,
                   "%s: has %" PRId64 " x %" PRId64 " blocks, which do not cover %" PRId64
                   " queries x %" PRId64 " keys in blocks of %" PRId64 " x %" PRId64
                   ": expected --block-queries and --block-keys as they were computed with",
                   blocks->path[0], shape[2], shape[3], stack->queries, stack->keys,
                   stack->block_queries, stack->block_keys);
}

/* ---------------------------------------------------------------------------------------------
 * Labels
 * ------------------------------------------------------------------------------------------- */

static bool load_tokens(show_stack *stack, const cli_token_files *files, io_error *error) {
    const char *const query = files->query ? files->query : files->both;
    const char *const key = files->key ? files->key : files->both;
    stack->query_tokens = &stack->own_query_tokens, stack->key_tokens = &stack->own_key_tokens;
    if (!stack->weights) {
        return (!query || io_tokens_read_lines(&stack->own_query_tokens, query, error)) &&
               (!key || io_tokens_read_lines(&stack->own_key_tokens, key, error));
    }
    stack->query_tokens = &stack->weights[0].problem.query_tokens; /* checked there */
    stack->key_tokens = &stack->weights[0].problem.key_tokens;
    return true;
}

static bool check_tokens(const char *what, const io_tokens *tokens, int64_t expected,
                         io_error *error) {
    if (tokens->count == 0 || tokens->count == expected) return true;
    return io_fail(error, "there are %" PRId64 " tokens for %" PRId64 " %s: expected one for each",
                   tokens->count, expected, what);
}

/* Layers are named by the file that they come from, or by their place. */
static bool name_layers(show_stack *stack, int files, io_error *error) {
    char text[128];
    for (int64_t layer = 0; layer < stack->layers; layer++) {
        int64_t batch = 0;
        const cli_weights *const weights =
            stack->weights ? show_layer_weights(stack, layer, &batch) : NULL;
        if (weights && weights->layers.count > 0) {
            (void)snprintf(text, sizeof text, "layer %s", weights->layers.text[batch]);
        } else {
            (void)snprintf(text, sizeof text, "%s %" PRId64, files > 1 ? "layer" : "batch", layer);
        }
        io_utf8_clean(text);
        if (!io_tokens_append(&stack->layer_names, text, error)) return false;
    }
    return true;
}

static bool name_heads(show_stack *stack, io_error *error) {
    char text[32];
    for (int64_t head = 0; head < stack->heads; head++) {
        (void)snprintf(text, sizeof text, "%" PRId64, head);
        if (!io_tokens_append(&stack->head_names, text, error)) return false;
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------
 * All of it
 * ------------------------------------------------------------------------------------------- */

static bool take_operands(show_settings *settings, int argc, char **argv, io_error *error) {
    show_files *const files = &settings->files;
    for (int i = 0; cli_operand(argc, argv, i); i++) {
        if (files->count == SHOW_FILES_MAX) {
            return io_fail(error, "expected at most %d files", SHOW_FILES_MAX);
        }
        files->file[files->count++] = (show_file){SHOW_UNKNOWN, cli_operand(argc, argv, i)};
    }
    for (int i = 0; i < files->count; i++) {
        if (!find_view(&files->file[i], settings->kind, error)) return false;
    }
    return true;
}

/* The files of the view that has most of them. */
static int most_files(const show_stack *stack) {
    int most = stack->weight_files;
    for (show_view view = 0; view < SHOW_VIEWS; view++) {
        if (stack->view[view].count > most) most = stack->view[view].count;
    }
    return most;
}

static bool open_views(show_stack *stack, const show_settings *settings, io_error *error) {
    for (show_view view = 0; view < SHOW_VIEWS; view++) {
        if (views[view].form != PAIRS && !open_view(stack, &settings->files, view, error)) {
            return false;
        }
    }
    for (show_view view = SHOW_VIEWS; view-- > 0;) { /* the path last: it fits any heads */
        if (view != SHOW_PATH && !agree_arrays(stack, view, error)) return false;
    }
    return agree_arrays(stack, SHOW_PATH, error);
}

bool show_stack_open(show_stack *stack, show_settings *settings, int argc, char **argv,
                     io_error *error) {
    show_files *const files = &settings->files;
    *stack = (show_stack){0};
    if (!take_operands(settings, argc, argv, error)) return false;
    if (!open_matrices(stack, settings, error) || !agree_weights(stack, error) ||
        !open_views(stack, settings, error) || !load_tokens(stack, &settings->tokens, error)) {
        return false;
    }
    if (!stack->weights && !cli_problem_settings_are_plain(&settings->problem)) {
        return io_fail(error,
                       "%s holds a view, not query, key and value: options that say how to "
                       "compute weights cannot be used with it",
                       files->file[0].path);
    }
    stack->name = stack->weights ? stack->weights[0].name : files->file[0].path;
    stack->title = settings->title;
    guess_sizes(stack, settings);
    return check_keys(stack, error) && check_blocks(stack, error) &&
           check_tokens("queries", stack->query_tokens, stack->queries, error) &&
           check_tokens("keys", stack->key_tokens, stack->keys, error) &&
           name_layers(stack, most_files(stack), error) && name_heads(stack, error);
}

static void close_arrays(show_arrays *arrays) {
    for (int i = 0; i < arrays->count; i++) io_array_close(&arrays->array[i]);
    free(arrays->array);
    free(arrays->tensor);
    free(arrays->path);
}

void show_stack_close(show_stack *stack) {
    for (int i = 0; i < stack->weight_files; i++) cli_weights_close(&stack->weights[i]);
    free(stack->weights);
    for (show_view view = 0; view < SHOW_VIEWS; view++) close_arrays(&stack->view[view]);
    io_tokens_free(&stack->layer_names);
    io_tokens_free(&stack->head_names);
    io_tokens_free(&stack->own_query_tokens);
    io_tokens_free(&stack->own_key_tokens);
}

bool show_has(const show_stack *stack, show_view view) {
    return stack->view[view].count > 0;
}

const cli_weights *show_layer_weights(const show_stack *stack, int64_t layer, int64_t *batch) {
    int file = 0;
    while (layer >= stack->weights[file].batch) layer -= stack->weights[file++].batch;
    *batch = layer;
    return &stack->weights[file];
}

void show_view_sizes(const show_stack *stack, show_view view, int64_t sizes[2]) {
    memcpy(sizes, stack->view[view].tensor[0].shape + 2, 2 * sizeof *sizes);
}

double show_view_element(const show_stack *stack, show_view view, int64_t layer, int64_t head,
                         int64_t i, int64_t j) {
    const attn_tensor *t = stack->view[view].tensor;
    for (; layer >= t->shape[0]; t++) layer -= t->shape[0];
    const int64_t own = t->shape[1] == 1 ? 0 : head;
    return cli_element(t, layer * t->stride[0] + own * t->stride[1] + i * t->stride[2] +
                              j * t->stride[3]);
}

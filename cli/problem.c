#include "problem.h"

#include "../io/npy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(member) offsetof(cli_problem_settings, member)

const cli_option cli_input_options[] = {
    {"query", "FILE",
     "queries, .npy: [length, width], [heads, length, width]\n"
     "or [batch, heads, length, width], float32 or float64",
     cli_text, FIELD(query)},
    {"key", "FILE", "keys; their heads must divide the query's", cli_text, FIELD(key)},
    {"value", "FILE", "values, one for each key", cli_text, FIELD(value)},
    {0},
};

const cli_option cli_score_options[] = {
    {"scale", "S", "multiplies the dot products (1/sqrt(width))", cli_scale, FIELD(scale)},
    {"softcap", "C", "caps scores: s becomes C*tanh(s/C)", cli_cap, FIELD(softcap)},
    {"bias", "FILE",
     "added to the scores: [queries, keys], 2 to 4 dimensions;\n"
     "sizes of 1 broadcast",
     cli_text, FIELD(bias)},
    {"alibi", "FILE", "ALiBi slopes: [heads] or [batch, heads]", cli_text, FIELD(alibi)},
    {"sinks", "FILE", "attention sinks, a logit a head: [heads] or [batch, heads]", cli_text,
     FIELD(sinks)},
    {0},
};

const cli_option cli_mask_options[] = {
    {"causal", "CORNER",
     "a query sees no later keys; the first query stands at the\n"
     "first key (top-left) or the last at the last (bottom-right)",
     cli_causal_rule, FIELD(causal)},
    {"window", "L,R",
     "a query sees L keys to its left and R to its right;\n"
     "-1: no limit on that side",
     cli_window, FIELD(window)},
    {"query-offset", "N", "moves the queries N keys to the right", cli_integer,
     FIELD(query_offset)},
    {"mask", "FILE",
     "who may attend, bool: [queries, keys], 2 to 4 dimensions;\n"
     "sizes of 1 broadcast",
     cli_text, FIELD(mask)},
    {"query-lengths", "N,...", "how many queries are real, for each row of the batch", cli_numbers,
     FIELD(query_lengths)},
    {"key-lengths", "N,...", "how many keys are real, for each row of the batch", cli_numbers,
     FIELD(key_lengths)},
    {"prefix-lengths", "N,...", "how many first keys --causal does not hide", cli_numbers,
     FIELD(prefix_lengths)},
    {0},
};

const cli_option cli_machine_options[] = {
    {"threads", "N", "how many threads (0: OMP_NUM_THREADS or all)", cli_count, FIELD(threads)},
    {"isa", "NAME", "use no better instruction set than this (see attn info)", cli_isa, FIELD(isa)},
    {0},
};

/* Everything that is read from a file: which setting names it, where it goes, its dimensions. */
static const struct input {
    const char *name;  /* of the option, and of the tensor in a .safetensors file */
    const char *field; /* as the library's sentences call it */
    size_t setting, tensor;
    int dims_min, dims_max; /* the dimensions end before dims_max of the tensor's four */
} inputs[CLI_INPUTS] = {
    {"query", "query", FIELD(query), offsetof(attn_problem, query), 2, 4},
    {"key", "key", FIELD(key), offsetof(attn_problem, key), 2, 4},
    {"value", "value", FIELD(value), offsetof(attn_problem, value), 2, 4},
    {"bias", "score.bias", FIELD(bias), offsetof(attn_problem, score.bias), 2, 4},
    {"mask", "mask.allowed", FIELD(mask), offsetof(attn_problem, mask.allowed), 2, 4},
    {"sinks", "score.sinks", FIELD(sinks), offsetof(attn_problem, score.sinks), 1, 2},
    {"alibi", "score.alibi_slopes", FIELD(alibi), offsetof(attn_problem, score.alibi_slopes), 1, 2},
};
enum { REQUIRED = 3 }; /* the first of them */

static const char *setting_of(const cli_problem_settings *settings, const struct input *input) {
    const char *path = NULL;
    memcpy(&path, (const char *)settings + input->setting, sizeof path);
    return path;
}

/* What the library can not know: how many dimensions the file may have, and that a mask is bool. */
static bool check_kind(const struct input *input, const io_array *array, const char *path,
                       io_error *error) {
    const bool mask = input->tensor == offsetof(attn_problem, mask.allowed);
    if (array->dims < input->dims_min || array->dims > input->dims_max) {
        return io_fail(error, "%s: %s has %d dimension%s: expected %d to %d", path, input->name,
                       array->dims, array->dims == 1 ? "" : "s", input->dims_min, input->dims_max);
    }
    if (mask != (array->dtype == ATTN_BOOL)) {
        return io_fail(error, "%s: %s holds %s: expected %s", path, input->name,
                       io_dtype_name(array->dtype), mask ? "bool" : "float32 or float64");
    }
    return true;
}

static bool load_input(cli_problem *loaded, int i, const char *path, bool named, io_error *error) {
    const struct input *const input = &inputs[i];
    io_array *const array = &loaded->arrays[i];
    loaded->source[i] = path;
    const bool opened = named ? io_safetensors_array(&loaded->file, input->name, array, error)
                              : io_npy_open(array, path, error);
    if (!opened || !check_kind(input, array, path, error)) return false;
    const attn_tensor tensor = io_array_tensor(array, input->dims_max);
    memcpy((char *)&loaded->problem + input->tensor, &tensor, sizeof tensor);
    return true;
}

static bool load_arrays(cli_problem *loaded, const cli_problem_settings *settings, const char *path,
                        io_error *error) {
    for (int i = 0; i < CLI_INPUTS; i++) {
        const char *const option = setting_of(settings, &inputs[i]);
        const bool required = i < REQUIRED;
        if (required && path && option) {
            return io_fail(error, "--%s %s: %s already holds query, key and value", inputs[i].name,
                           option, path);
        }
        if (required && !path && !option) {
            return io_fail(error,
                           "--%s is missing: expected --query, --key and --value, or one "
                           ".safetensors file",
                           inputs[i].name);
        }
        const char *const source = required && path ? path : option;
        if (source && !load_input(loaded, i, source, required && path, error)) return false;
    }
    return true;
}

/* "tokens" stands for both sides; "query_tokens" and "key_tokens" for one each. */
bool cli_problem_load_tokens(cli_problem *loaded, io_error *error) {
    const io_safetensors *const file = &loaded->file;
    const bool shared = io_safetensors_metadata(file, "tokens") != NULL;
    return io_safetensors_tokens(file, shared ? "tokens" : "query_tokens", &loaded->query_tokens,
                                 error) &&
           io_safetensors_tokens(file, shared ? "tokens" : "key_tokens", &loaded->key_tokens,
                                 error);
}

bool cli_problem_settings_are_plain(const cli_problem_settings *settings) {
    bool plain = settings->scale == 0 && settings->softcap == 0 && !settings->causal.enabled &&
                 !settings->window.enabled && settings->query_offset == 0 &&
                 settings->query_lengths.count == 0 && settings->key_lengths.count == 0 &&
                 settings->prefix_lengths.count == 0;
    for (int i = 0; i < CLI_INPUTS; i++) plain = plain && !setting_of(settings, &inputs[i]);
    return plain;
}

/* Takes the list for the lengths of the batch's rows; each may be at most `most`, the length that
 * the file has. */
static bool use_lengths(const cli_problem *loaded, const char *option, const cli_list *list,
                        int64_t most, const char *file, const int64_t **lengths, io_error *error) {
    const int64_t batch = loaded->problem.query.shape[0];
    if (list->count == 0) return true;
    if (list->count != batch) {
        return io_fail(error,
                       "--%s gives %d length%s, but %s has a batch of %" PRId64
                       ": expected one for each row of it",
                       option, list->count, list->count == 1 ? "" : "s", loaded->source[0], batch);
    }
    for (int i = 0; i < list->count; i++) {
        if (list->values[i] <= most) continue;
        return io_fail(error, "--%s: length %d is %" PRId64 ", but %s has a length of %" PRId64,
                       option, i + 1, list->values[i], file, most);
    }
    *lengths = list->values;
    return true;
}

static bool apply_settings(cli_problem *loaded, const cli_problem_settings *settings,
                           io_error *error) {
    attn_problem *const problem = &loaded->problem;
    attn_mask *const mask = &problem->mask;
    problem->score.scale = settings->scale;
    problem->score.softcap = settings->softcap;
    mask->causal = settings->causal.enabled;
    mask->alignment = settings->causal.alignment;
    mask->query_offset = settings->query_offset;
    mask->window = settings->window;
    return use_lengths(loaded, "query-lengths", &settings->query_lengths, problem->query.shape[2],
                       loaded->source[0], &mask->query_lengths, error) &&
           use_lengths(loaded, "key-lengths", &settings->key_lengths, problem->key.shape[2],
                       loaded->source[1], &mask->key_lengths, error) &&
           use_lengths(loaded, "prefix-lengths", &settings->prefix_lengths, INT64_MAX, "",
                       &mask->prefix_lengths, error);
}

bool cli_problem_load(cli_problem *loaded, const cli_problem_settings *settings, const char *path,
                      io_error *error) {
    *loaded = (cli_problem){0};
    if (path && !io_safetensors_open(&loaded->file, path, error)) return false;
    if (!load_arrays(loaded, settings, path, error)) return false;
    if (path && !cli_problem_load_tokens(loaded, error)) return false;
    loaded->dims = loaded->arrays[0].dims;
    return apply_settings(loaded, settings, error);
}

void cli_problem_close(cli_problem *loaded) {
    for (int i = 0; i < CLI_INPUTS; i++) io_array_close(&loaded->arrays[i]);
    io_tokens_free(&loaded->query_tokens);
    io_tokens_free(&loaded->key_tokens);
    io_safetensors_close(&loaded->file);
}

bool cli_problem_forward(const cli_problem *loaded, attn_context *context,
                         const attn_problem *problem, io_error *error) {
    if (attn_forward(context, problem) == ATTN_OK) return true;
    const char *const sentence = attn_error_message();
    for (int i = 0; i < CLI_INPUTS; i++) {
        const size_t length = strlen(inputs[i].field);
        if (!loaded->source[i] || strncmp(sentence, inputs[i].field, length) != 0) continue;
        if (sentence[length] == '.' || sentence[length] == ' ' || sentence[length] == '[') {
            return io_fail(error, "%s: %s", loaded->source[i], sentence);
        }
    }
    return io_fail(error, "%s", sentence);
}

bool cli_problem_check(const cli_problem *loaded, attn_context *context, io_error *error) {
    return cli_problem_forward(loaded, context, &loaded->problem, error);
}

/* A part of a tensor along one axis; absent tensors and axes that broadcast stay as they are. */
static void slice(attn_tensor *tensor, int axis, int64_t first, int64_t count) {
    if (!tensor->data || tensor->shape[axis] == 1) return;
    const int64_t size = (int64_t)io_dtype_size(tensor->dtype);
    tensor->data = (char *)tensor->data + size * first * tensor->stride[axis];
    tensor->shape[axis] = count;
}

/* Positions that count from the right corner depend on the number of queries: writes them as an
 * offset from the left one, which does not. */
static void slice_positions(attn_mask *mask, int64_t queries, int64_t keys, int64_t first) {
    if (mask->alignment == ATTN_ALIGN_BOTTOM_RIGHT) mask->query_offset += keys - queries;
    mask->alignment = ATTN_ALIGN_TOP_LEFT;
    mask->query_offset += first;
}

static void slice_lengths(attn_problem *part, int64_t batch, int64_t first, int64_t count,
                          int64_t *length) {
    attn_mask *const mask = &part->mask;
    int64_t queries = part->query.shape[2];
    int64_t keys = part->key.shape[2];
    if (mask->key_lengths) keys = *(mask->key_lengths += batch);
    if (mask->prefix_lengths) mask->prefix_lengths += batch;
    if (mask->query_lengths) {
        queries = mask->query_lengths[batch];
        *length = queries <= first ? 0 : queries - first < count ? queries - first : count;
        mask->query_lengths = length;
    }
    slice_positions(mask, queries, keys, first);
}

attn_problem cli_problem_slice(const attn_problem *problem, int64_t batch, int64_t head,
                               int64_t first, int64_t count, int64_t *length) {
    attn_problem part = *problem;
    const int64_t group = problem->query.shape[1] / problem->key.shape[1];
    attn_tensor *const by_head[] = {&part.query, &part.score.bias, &part.mask.allowed,
                                    &part.score.alibi_slopes, &part.score.sinks};
    enum { BY_QUERY = 3, BY_HEAD = 5 }; /* the first three also have an axis of queries */
    slice_lengths(&part, batch, first, count, length);
    for (int i = 0; i < BY_HEAD; i++) {
        slice(by_head[i], 0, batch, 1);
        slice(by_head[i], 1, head, 1);
        if (i < BY_QUERY) slice(by_head[i], 2, first, count);
    }
    slice(&part.key, 0, batch, 1), slice(&part.key, 1, head / group, 1);
    slice(&part.value, 0, batch, 1), slice(&part.value, 1, head / group, 1);
    part.output = part.lse = part.weights = (attn_tensor){0};
    return part;
}

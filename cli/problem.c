#include "problem.h"

#include "kinds.h"

#include "../io/npy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(member) offsetof(cli_problem_settings, member)

/* How the dimensions of a file become the four of a tensor: they end before `end`. */
typedef enum layout { BATCHED, MATRICES, VECTORS, NUMBERS, PLACES } layout;

static const struct {
    int least, most, end;
    bool row; /* heads come last but one: they change places with a dimension of 1 before them */
} layouts[] = {
    [BATCHED] = {2, 4, 4, false},  /* [batch, heads, rows, columns] */
    [MATRICES] = {2, 3, 4, false}, /* [heads, rows, columns] */
    [VECTORS] = {1, 2, 4, true},   /* [heads, columns] */
    [NUMBERS] = {1, 2, 2, false},  /* [batch, heads] */
    [PLACES] = {1, 3, 3, false},   /* [batch, heads, rows] */
};

/* Everything that is read from a file: which setting names it, where it goes, how it is laid out.
 * */
static const struct input {
    const char *name;  /* of the option, and of the tensor in a .safetensors file */
    const char *field; /* as the library's sentences call it */
    size_t setting, tensor;
    bool extra;    /* the tensor is in cli_extras, else in the problem */
    bool by_query; /* its rows are queries */
    layout layout;
    cli_weight weight; /* for scores with this kind of weight alone; NONE: for all */
} inputs[CLI_INPUTS] = {
#define PROBLEM(setting, field) #field, FIELD(setting), offsetof(attn_problem, field), false
#define SCORE(setting, field) "score." #field, FIELD(setting), offsetof(cli_extras, field), true
#define LOCAL(setting, field) \
    "normalizer." #field, FIELD(setting), offsetof(cli_extras, field), true
    {"query", PROBLEM(query, query), true, BATCHED, 0},
    {"key", PROBLEM(key, key), false, BATCHED, 0},
    {"value", PROBLEM(value, value), false, BATCHED, 0},
    {"bias", PROBLEM(bias, score.bias), true, BATCHED, 0},
    {"mask", PROBLEM(mask, mask.allowed), true, BATCHED, 0},
    {"sinks", PROBLEM(sinks, score.sinks), false, NUMBERS, 0},
    {"alibi", PROBLEM(alibi, score.alibi_slopes), false, NUMBERS, 0},
    {"score-scales", PROBLEM(score_scales, score.scales), false, NUMBERS, 0},
    {"score-weight", PROBLEM(score_weight, score.weight), false, VECTORS, CLI_WEIGHT_VECTOR},
    {"score-weight", PROBLEM(score_weight, score.weight), false, MATRICES, CLI_WEIGHT_MATRIX},
    {"score-weight", SCORE(score_weight, relative.keys), false, MATRICES, CLI_WEIGHT_TABLE},
    {"score-projection", PROBLEM(score_projection, score.projection), false, MATRICES, 0},
    {"score-bias", PROBLEM(score_bias, score.offset), false, VECTORS, 0},
    {"relative-bias", SCORE(relative_bias, relative.bias), false, VECTORS, 0},
    {"relative-queries", SCORE(relative_queries, relative.queries), false, MATRICES, 0},
    {"relative-values", SCORE(relative_values, relative.values), false, MATRICES, 0},
    {"relative-content-bias", SCORE(relative_content_bias, relative.content_bias), false, VECTORS,
     0},
    {"relative-position-bias", SCORE(relative_position_bias, relative.position_bias), false,
     VECTORS, 0},
    {"location-previous", SCORE(location_previous, location.previous), true, BATCHED, 0},
    {"location-filters", SCORE(location_filters, location.filters), false, MATRICES, 0},
    {"location-projection", SCORE(location_projection, location.projection), false, MATRICES, 0},
    {"local-centers", LOCAL(local_centers, local.centers), true, PLACES, 0},
#undef PROBLEM
#undef SCORE
#undef LOCAL
};
enum { QUERY, KEY, VALUE, REQUIRED }; /* the first of them */

static const char *setting_of(const cli_problem_settings *settings, const struct input *input) {
    const char *path = NULL;
    if (!input->weight || input->weight == cli_scores[settings->score].weight) {
        memcpy(&path, (const char *)settings + input->setting, sizeof path);
    }
    return path;
}

static attn_tensor *tensor_of(const struct input *input, attn_problem *problem,
                              cli_extras *extras) {
    char *const base = input->extra ? (char *)extras : (char *)problem;
    return (attn_tensor *)(void *)(base + input->tensor);
}

/* What the library can not know: how many dimensions the file may have, and that a mask is bool.
 * */
static bool check_kind(const struct input *input, const io_array *array, const char *path,
                       io_error *error) {
    const bool mask = input->tensor == offsetof(attn_problem, mask.allowed) && !input->extra;
    const bool real = array->dtype == ATTN_F32 || array->dtype == ATTN_F64;
    const bool truth = array->dtype == ATTN_BOOL || array->dtype == ATTN_U8;
    const int least = layouts[input->layout].least, most = layouts[input->layout].most;
    if (array->dims < least || array->dims > most) {
        return io_fail(error, "%s: %s has %d dimension%s: expected %d to %d", path, input->name,
                       array->dims, array->dims == 1 ? "" : "s", least, most);
    }
    if (mask ? truth : real) return true;
    return io_fail(error, "%s: %s holds %s: expected %s", path, input->name,
                   io_dtype_name(array->dtype), mask ? "bool" : "float32 or float64");
}

static attn_tensor lay_out(const struct input *input, const io_array *array) {
    attn_tensor tensor = io_array_tensor(array, layouts[input->layout].end);
    if (tensor.dtype == ATTN_U8) tensor.dtype = ATTN_BOOL; /* a mask of bytes */
    if (layouts[input->layout].row) {
        tensor.shape[1] = tensor.shape[2], tensor.stride[1] = tensor.stride[2];
        tensor.shape[2] = 1, tensor.stride[2] = 0;
    }
    return tensor;
}

static bool load_input(cli_problem *loaded, int i, const char *path, bool named, io_error *error) {
    const struct input *const input = &inputs[i];
    io_array *const array = &loaded->arrays[i];
    loaded->source[i] = path;
    const bool opened = named ? io_safetensors_array(&loaded->file, input->name, array, error)
                              : io_npy_open(array, path, error);
    if (!opened || !check_kind(input, array, path, error)) return false;
    *tensor_of(input, &loaded->problem, &loaded->extras) = lay_out(input, array);
    return true;
}

static bool load_arrays(cli_problem *loaded, const cli_problem_settings *settings, const char *path,
                        io_error *error) {
    for (int i = 0; i < CLI_INPUTS; i++) {
        const char *const option = setting_of(settings, &inputs[i]);
        const bool required = i < REQUIRED;
        if (required && loaded->made && option) {
            return io_fail(error, "--%s %s: --shape makes query, key and value", inputs[i].name,
                           option);
        }
        if (required && loaded->made) continue;
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
                 settings->prefix_lengths.count == 0 && settings->score == 0 &&
                 !settings->score_weight && !settings->normalize_weight &&
                 settings->relative_buckets == 0 && settings->relative_origin == 0 &&
                 settings->relative_max_distance == 0 && settings->normalizer == 0 &&
                 settings->temperature == 0 && settings->alpha == 0 &&
                 settings->sigmoid_bias == 0 && !settings->local.enabled &&
                 settings->local_sigma == 0 && !settings->gumbel && settings->dropout == 0;
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

static bool has_relative(const cli_problem_settings *settings) {
    return cli_scores[settings->score].weight == CLI_WEIGHT_TABLE || settings->relative_bias ||
           settings->relative_queries || settings->relative_values ||
           settings->relative_content_bias || settings->relative_position_bias;
}

static bool has_location(const cli_problem_settings *settings) {
    return settings->location_previous || settings->location_filters ||
           settings->location_projection;
}

/* Whether the score takes, or needs, what an option names a file for. */
static bool check_part(const cli_problem_settings *settings, const char *option, const char *file,
                       bool takes, bool needs, io_error *error) {
    const char *const name = cli_scores[settings->score].name;
    if (file && !takes) return io_fail(error, "--%s %s: --score %s takes none", option, file, name);
    return file || !needs || io_fail(error, "--score %s needs --%s", name, option);
}

static bool check_score(const cli_problem_settings *settings, bool made, io_error *error) {
    const cli_score *const score = &cli_scores[settings->score];
    const bool weight = score->weight != CLI_WEIGHT_NONE,
               location = score->hidden && has_location(settings);
    if (settings->normalize_weight && !score->hidden) {
        return io_fail(error, "--normalize-weight: --score %s does not take it", score->name);
    }
    return check_part(settings, "score-weight", settings->score_weight, weight, weight && !made,
                      error) &&
           check_part(settings, "score-projection", settings->score_projection, score->projection,
                      score->projection && !made, error) &&
           check_part(settings, "score-bias", settings->score_bias, score->hidden, false, error) &&
           check_part(settings, "location-previous", settings->location_previous, score->hidden,
                      location, error) &&
           check_part(settings, "location-filters", settings->location_filters, score->hidden,
                      location, error) &&
           check_part(settings, "location-projection", settings->location_projection, score->hidden,
                      location, error);
}

static bool check_relative(const cli_problem_settings *settings, io_error *error) {
    const bool chosen = settings->relative_buckets != 0 || settings->relative_origin != 0 ||
                        settings->relative_max_distance != 0;
    if (settings->relative_position_bias &&
        cli_scores[settings->score].weight != CLI_WEIGHT_TABLE) {
        return io_fail(error, "--relative-position-bias needs --score relative");
    }
    if (!chosen || has_relative(settings)) return true;
    return io_fail(error, "--relative-%s says nothing without an option that names a table",
                   settings->relative_buckets != 0  ? "buckets"
                   : settings->relative_origin != 0 ? "origin"
                                                    : "max-distance");
}

static bool check_normalizer(const cli_problem_settings *settings, io_error *error) {
    const cli_normalizer *const normalizer = &cli_normalizers[settings->normalizer];
    if (settings->alpha != 0 && !normalizer->alpha) {
        return io_fail(error, "--alpha: --normalizer %s takes none, only entmax does",
                       normalizer->name);
    }
    if (settings->sigmoid_bias != 0 && normalizer->kind != ATTN_SIGMOID) {
        return io_fail(error, "--sigmoid-bias: --normalizer %s takes none, only sigmoid does",
                       normalizer->name);
    }
    if (settings->sinks && normalizer->kind != ATTN_SOFTMAX) {
        return io_fail(error, "--sinks %s: --normalizer %s takes none, only softmax does",
                       settings->sinks, normalizer->name);
    }
    if (!settings->local.enabled && (settings->local_centers || settings->local_sigma != 0)) {
        return io_fail(error, "--local-%s needs --local",
                       settings->local_centers ? "centers" : "sigma");
    }
    return true;
}

static void apply_score(cli_problem *loaded, const cli_problem_settings *settings) {
    attn_score *const score = &loaded->problem.score;
    cli_extras *const extras = &loaded->extras;
    score->kind = cli_scores[settings->score].kind;
    score->scale = settings->scale != 0 ? settings->scale : cli_scores[settings->score].scale;
    score->softcap = settings->softcap;
    score->normalize_weight = settings->normalize_weight;
    extras->relative.buckets = settings->relative_buckets;
    extras->relative.origin = settings->relative_origin;
    extras->relative.max_distance = settings->relative_max_distance;
    if (has_relative(settings)) score->relative = &extras->relative;
    if (has_location(settings)) score->location = &extras->location;
}

static void apply_normalizer(cli_problem *loaded, const cli_problem_settings *settings) {
    attn_normalizer *const normalizer = &loaded->problem.normalizer;
    attn_local *const local = &loaded->extras.local;
    normalizer->kind = cli_normalizers[settings->normalizer].kind;
    normalizer->temperature = settings->temperature;
    normalizer->alpha = settings->alpha;
    normalizer->bias = settings->sigmoid_bias;
    normalizer->gumbel = settings->gumbel;
    normalizer->dropout = settings->dropout;
    normalizer->seed = settings->seed;
    local->half_width = settings->local.half_width;
    local->sigma = settings->local_sigma;
    if (settings->local.enabled) normalizer->local = local;
}

static bool apply_settings(cli_problem *loaded, const cli_problem_settings *settings,
                           io_error *error) {
    attn_problem *const problem = &loaded->problem;
    attn_mask *const mask = &problem->mask;
    apply_score(loaded, settings);
    apply_normalizer(loaded, settings);
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

static bool load(cli_problem *loaded, const cli_problem_settings *settings, const char *path,
                 io_error *error) {
    if (!check_score(settings, loaded->made, error) || !check_relative(settings, error) ||
        !check_normalizer(settings, error)) {
        return false;
    }
    if (path && !io_safetensors_open(&loaded->file, path, error)) return false;
    if (!load_arrays(loaded, settings, path, error)) return false;
    if (path && !cli_problem_load_tokens(loaded, error)) return false;
    return apply_settings(loaded, settings, error);
}

bool cli_problem_load(cli_problem *loaded, const cli_problem_settings *settings, const char *path,
                      io_error *error) {
    *loaded = (cli_problem){0};
    const bool good = load(loaded, settings, path, error);
    loaded->dims = loaded->arrays[QUERY].dims;
    return good;
}

bool cli_problem_load_around(cli_problem *loaded, const cli_problem_settings *settings,
                             const attn_tensor *query, const attn_tensor *key,
                             const attn_tensor *value, io_error *error) {
    *loaded = (cli_problem){.problem = {.query = *query, .key = *key, .value = *value},
                            .dims = 4,
                            .source = {"--shape", "--shape", "--shape"},
                            .made = true};
    return load(loaded, settings, NULL, error);
}

void cli_problem_close(cli_problem *loaded) {
    for (int i = 0; i < CLI_INPUTS; i++) io_array_close(&loaded->arrays[i]);
    io_tokens_free(&loaded->query_tokens);
    io_tokens_free(&loaded->key_tokens);
    io_safetensors_close(&loaded->file);
}

static bool is_about(const char *sentence, const char *field) {
    const size_t length = strlen(field);
    return strncmp(sentence, field, length) == 0 && sentence[length] &&
           strchr(". [", sentence[length]);
}

bool cli_problem_fail(const cli_problem *loaded, io_error *error) {
    static const struct {
        const char *field, *option;
    } numbers[] = {{"mask.query_offset", "query-offset"},
                   {"score.relative.origin", "relative-origin"},
                   {"score.relative.max_distance", "relative-max-distance"},
                   {"normalizer.dropout", "dropout"},
                   {"normalizer.local.sigma", "local-sigma"}};
    const char *const sentence = attn_error_message();
    for (int i = 0; i < CLI_INPUTS; i++) {
        if (!loaded->source[i] || !is_about(sentence, inputs[i].field)) continue;
        return io_fail(error, "%s: %s", loaded->source[i], sentence);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (!is_about(sentence, numbers[i].field)) continue;
        return io_fail(error, "--%s: %s", numbers[i].option, sentence);
    }
    return io_fail(error, "%s", sentence);
}

bool cli_problem_forward(const cli_problem *loaded, attn_context *context,
                         const attn_problem *problem, io_error *error) {
    return attn_forward(context, problem) == ATTN_OK || cli_problem_fail(loaded, error);
}

bool cli_problem_check(const cli_problem *loaded, attn_context *context, io_error *error) {
    return cli_problem_forward(loaded, context, &loaded->problem, error);
}

/* A part of a tensor along one axis; absent tensors and axes that broadcast stay as they are. */
static void cut(attn_tensor *tensor, int axis, int64_t first, int64_t count) {
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

/* Own copies of what the problem points to. */
static void copy_extras(attn_problem *part, cli_extras *extras) {
    *extras = (cli_extras){0};
    if (part->score.relative) {
        extras->relative = *part->score.relative;
        part->score.relative = &extras->relative;
    }
    if (part->score.location) {
        extras->location = *part->score.location;
        part->score.location = &extras->location;
    }
    if (part->normalizer.local) {
        extras->local = *part->normalizer.local;
        part->normalizer.local = &extras->local;
    }
}

attn_problem cli_problem_slice(const attn_problem *problem, int64_t batch, int64_t head,
                               int64_t first, int64_t count, cli_slice *slice) {
    attn_problem part = *problem;
    const int64_t group = problem->query.shape[1] / problem->key.shape[1];
    slice_lengths(&part, batch, first, count, &slice->length);
    copy_extras(&part, &slice->extras);
    for (int i = 0; i < CLI_INPUTS; i++) {
        attn_tensor *const tensor = tensor_of(&inputs[i], &part, &slice->extras);
        cut(tensor, 0, batch, 1);
        cut(tensor, 1, i == KEY || i == VALUE ? head / group : head, 1);
        if (inputs[i].by_query) cut(tensor, 2, first, count);
    }
    part.output = part.lse = part.weights = (attn_tensor){0};
    return part;
}

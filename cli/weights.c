#include "weights.h"

#include "../io/npy.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void set_sizes(cli_weights *weights, int64_t batch, int64_t heads, int64_t queries,
                      int64_t keys) {
    weights->batch = batch;
    weights->heads = heads;
    weights->queries = queries;
    weights->keys = keys;
}

/* Takes weights->array, read from the file, for what is to be drawn. */
static bool use_saved(cli_weights *weights, io_error *error) {
    const io_array *const array = &weights->array;
    const attn_tensor tensor = io_array_tensor(array, 4);
    if (array->dims < 2) {
        return io_fail(error,
                       "%s: has %d dimension%s: expected weights of 2 to 4 dimensions, the "
                       "last two queries and keys",
                       weights->name, array->dims, array->dims == 1 ? "" : "s");
    }
    if (array->dtype == ATTN_BOOL) {
        return io_fail(error, "%s: holds bool: expected weights in float32 or float64",
                       weights->name);
    }
    weights->saved = true;
    set_sizes(weights, tensor.shape[0], tensor.shape[1], tensor.shape[2], tensor.shape[3]);
    return true;
}

static bool use_problem(cli_weights *weights, const cli_problem_settings *settings,
                        const char *path, io_error *error) {
    const attn_problem *const problem = &weights->problem.problem;
    if (!cli_problem_load(&weights->problem, settings, path, error)) return false;
    if (!cli_open_context(&weights->context, settings->threads, settings->isa, error)) return false;
    if (!cli_problem_check(&weights->problem, weights->context, error)) return false;
    weights->name = weights->problem.source[0];
    set_sizes(weights, problem->query.shape[0], problem->query.shape[1], problem->query.shape[2],
              problem->key.shape[2]);
    return true;
}

static bool check_plain(const cli_problem_settings *settings, const char *path, io_error *error) {
    if (cli_problem_settings_are_plain(settings)) return true;
    return io_fail(error,
                   "%s holds weights, not query, key and value: options that say how to "
                   "compute weights cannot be used with it",
                   path);
}

static bool open_npy(cli_weights *weights, const cli_problem_settings *settings, const char *path,
                     io_error *error) {
    return check_plain(settings, path, error) && io_npy_open(&weights->array, path, error) &&
           use_saved(weights, error);
}

static bool open_safetensors(cli_weights *weights, const cli_problem_settings *settings,
                             const char *path, io_error *error) {
    io_safetensors *const file = &weights->problem.file;
    if (!io_safetensors_open(file, path, error)) return false;
    if (io_safetensors_has(file, "query") || !io_safetensors_has(file, "weights")) {
        io_safetensors_close(file);
        return use_problem(weights, settings, path, error);
    }
    return check_plain(settings, path, error) &&
           io_safetensors_array(file, "weights", &weights->array, error) &&
           cli_problem_load_tokens(&weights->problem, error) && use_saved(weights, error);
}

static bool replace_tokens(io_tokens *tokens, const char *path, io_error *error) {
    if (!path) return true;
    io_tokens_free(tokens);
    return io_tokens_read_lines(tokens, path, error);
}

/* Every row and column has a label, or none has. */
static bool check_tokens(const char *source, const char *what, const io_tokens *tokens,
                         int64_t expected, io_error *error) {
    if (tokens->count == 0 || tokens->count == expected) return true;
    return io_fail(error, "%s: has %" PRId64 " tokens for %" PRId64 " %s: expected one for each",
                   source, tokens->count, expected, what);
}

static bool load_labels(cli_weights *weights, const cli_token_files *files, io_error *error) {
    cli_problem *const problem = &weights->problem;
    const char *const query = files->query ? files->query : files->both;
    const char *const key = files->key ? files->key : files->both;
    if (problem->file.header &&
        !io_safetensors_tokens(&problem->file, "layers", &weights->layers, error)) {
        return false;
    }
    if (weights->layers.count != weights->batch) io_tokens_free(&weights->layers);
    return replace_tokens(&problem->query_tokens, query, error) &&
           replace_tokens(&problem->key_tokens, key, error) &&
           check_tokens(query ? query : weights->name, "queries", &problem->query_tokens,
                        weights->queries, error) &&
           check_tokens(key ? key : weights->name, "keys", &problem->key_tokens, weights->keys,
                        error);
}

static bool open_any(cli_weights *weights, const cli_problem_settings *settings, const char *path,
                     io_error *error) {
    const size_t length = path ? strlen(path) : 0;
    if (!path) return use_problem(weights, settings, NULL, error);
    return length > 4 && strcmp(path + length - 4, ".npy") == 0
               ? open_npy(weights, settings, path, error)
               : open_safetensors(weights, settings, path, error);
}

bool cli_weights_open(cli_weights *weights, const cli_problem_settings *settings, const char *path,
                      const cli_token_files *tokens, io_error *error) {
    *weights = (cli_weights){.name = path};
    if (!open_any(weights, settings, path, error)) return false;
    if (weights->batch * weights->heads > 0 && weights->queries > 0 && weights->keys > 0) {
        return load_labels(weights, tokens, error);
    }
    return io_fail(error,
                   "%s: has no weights: %" PRId64 " x %" PRId64 " heads of %" PRId64
                   " queries x %" PRId64 " keys",
                   weights->name, weights->batch, weights->heads, weights->queries, weights->keys);
}

void cli_weights_close(cli_weights *weights) {
    attn_context_destroy(weights->context);
    io_tokens_free(&weights->layers);
    io_array_close(&weights->array);
    cli_problem_close(&weights->problem);
}

/* IEEE 754 binary16. */
static double half(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double size = exponent == 31 ? (fraction ? NAN : INFINITY)
                        : exponent > 0 ? ldexp(1024 + fraction, exponent - 25)
                                       : ldexp(fraction, -24);
    return bits >> 15 ? -size : size;
}

double cli_element(const attn_tensor *tensor, int64_t at) {
    switch (tensor->dtype) {
    case ATTN_F32: return (double)((const float *)tensor->data)[at];
    case ATTN_F64: return ((const double *)tensor->data)[at];
    case ATTN_F16: return half(((const uint16_t *)tensor->data)[at]);
    case ATTN_I32: return ((const int32_t *)tensor->data)[at];
    case ATTN_I64: return (double)((const int64_t *)tensor->data)[at];
    case ATTN_BOOL:
    case ATTN_U8: return ((const uint8_t *)tensor->data)[at];
    case ATTN_DTYPE_NONE: break;
    }
    return NAN;
}

static void copy_rows(const attn_tensor *from, int64_t batch, int64_t head, int64_t first,
                      int64_t count, float *rows) {
    const int64_t *const stride = from->stride;
    const int64_t base = batch * stride[0] + head * stride[1] + first * stride[2];
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < from->shape[3]; j++) {
            const int64_t at = base + i * stride[2] + j * stride[3];
            *rows++ = (float)cli_element(from, at);
        }
    }
}

static bool compute_rows(const cli_weights *weights, int64_t batch, int64_t head, int64_t first,
                         int64_t count, float *rows, io_error *error) {
    const attn_dtype dtype = weights->problem.problem.query.dtype;
    cli_slice slice = {0};
    attn_problem part =
        cli_problem_slice(&weights->problem.problem, batch, head, first, count, &slice);
    double *wide = NULL;
    if (dtype == ATTN_F64) {
        wide = calloc((size_t)(count * weights->keys), sizeof *wide);
        if (!wide) return io_fail(error, "no memory for the weights of %" PRId64 " queries", count);
    }
    part.weights =
        attn_tensor_dense(wide ? (void *)wide : (void *)rows, dtype, 1, 1, count, weights->keys);
    const bool good = cli_problem_forward(&weights->problem, weights->context, &part, error);
    if (good && wide) copy_rows(&part.weights, 0, 0, 0, count, rows);
    free(wide);
    return good;
}

bool cli_weights_rows(const cli_weights *weights, int64_t batch, int64_t head, int64_t first,
                      int64_t count, float *rows, io_error *error) {
    if (!weights->saved) return compute_rows(weights, batch, head, first, count, rows, error);
    const attn_tensor tensor = io_array_tensor(&weights->array, 4);
    copy_rows(&tensor, batch, head, first, count, rows);
    if (tensor.dtype == ATTN_U8) { /* steps of 1/255: attn_dtype */
        for (int64_t i = 0; i < count * weights->keys; i++) rows[i] /= 255;
    }
    return true;
}

#include "layers.h"

#include "../io/npy.h"

#include <stdlib.h>
#include <string.h>

static bool open_layer(cli_layers *layers, int i, io_error *error) {
    const io_array *const array = &layers->arrays[i];
    const char *const path = layers->paths[i];
    if (!io_npy_open(&layers->arrays[i], path, error)) return false;
    if (array->dims < 2) {
        return io_fail(error, "%s: has %d dimension%s: expected weights of 2 to 4 dimensions", path,
                       array->dims, array->dims == 1 ? "" : "s");
    }
    if (array->dtype != ATTN_F32 && array->dtype != ATTN_F64) {
        return io_fail(error, "%s: holds %s: expected weights in float32 or float64", path,
                       io_dtype_name(array->dtype));
    }
    layers->tensors[i] = io_array_tensor(array, 4);
    return true;
}

bool cli_layers_open(cli_layers *layers, const cli_usage *usage, int argc, char **argv,
                     io_error *error) {
    *layers = (cli_layers){0};
    while (cli_operand(argc, argv, layers->count)) layers->count++;
    if (layers->count == 0) {
        return io_fail(error, "expected a .npy file of weights: see %s --help", usage->command);
    }
    layers->paths = argv + argc - layers->count;
    layers->arrays = calloc((size_t)layers->count, sizeof *layers->arrays);
    layers->tensors = calloc((size_t)layers->count, sizeof *layers->tensors);
    if (!layers->arrays || !layers->tensors) return io_fail(error, "no memory");
    for (int i = 0; i < layers->count; i++) {
        if (!open_layer(layers, i, error)) return false;
    }
    return true;
}

void cli_layers_close(cli_layers *layers) {
    for (int i = 0; layers->arrays && i < layers->count; i++) io_array_close(&layers->arrays[i]);
    free(layers->arrays);
    free(layers->tensors);
    *layers = (cli_layers){0};
}

/* The library calls them layers[0], layers[1], ...; a single one may be `weights`. */
static const char *file_of(const cli_layers *layers, const char *sentence) {
    long i = 0;
    if (strncmp(sentence, "layers[", 7) == 0) i = strtol(sentence + 7, NULL, 10);
    else if (layers->count > 1 || strncmp(sentence, "weights", 7) != 0) return NULL;
    return i < layers->count ? layers->paths[i] : NULL;
}

bool cli_layers_compute(const cli_layers *layers, cli_layers_function *function,
                        const void *settings, attn_dtype dtype, const int64_t shape[4],
                        const char *path, io_error *error) {
    const int dims = layers->arrays[0].dims;
    io_target target = {0};
    attn_tensor result = attn_tensor_dense(NULL, dtype, shape[0], shape[1], shape[2], shape[3]);
    if (!io_npy_create(&target, path, dtype, dims, shape + 4 - dims, &result.data, error)) {
        return false;
    }
    if (function(NULL, layers, settings, &result) == ATTN_OK) {
        return io_targets_commit(&target, 1, error);
    }
    const char *const file = file_of(layers, attn_error_message());
    io_target_discard(&target);
    return io_fail(error, "%s%s%s", file ? file : "", file ? ": " : "", attn_error_message());
}

/* layers.h: weights in files, one for each layer of a model, for what is computed from weights. */
#ifndef CLI_LAYERS_H
#define CLI_LAYERS_H

#include "../io/array.h"
#include "../io/target.h"
#include "options.h"

typedef struct cli_layers {
    char **paths; /* main's */
    io_array *arrays;
    attn_tensor *tensors;
    int count;
} cli_layers;

/* Opens the operands of the command, one or more: .npy files of [queries, keys] or more dimensions.
 * Close with cli_layers_close, also after a failure. */
bool cli_layers_open(cli_layers *layers, const cli_usage *usage, int argc, char **argv,
                     io_error *error);
void cli_layers_close(cli_layers *layers);

/* A function of the library over the layers, with what else it needs in the settings. */
typedef attn_status cli_layers_function(attn_context *context, const cli_layers *layers,
                                        const void *settings, const attn_tensor *result);

/* Computes a result of this type and shape into the file, with as many dimensions as the first
 * layer's file. A failure's sentence gets the name of the file that it is about. */
bool cli_layers_compute(const cli_layers *layers, cli_layers_function *function,
                        const void *settings, attn_dtype dtype, const int64_t shape[4],
                        const char *path, io_error *error);

#endif

/* attn align: the monotone path through weights. */
#include "cli.h"
#include "layers.h"
#include "views.h"

typedef struct align_settings {
    const char *output;
} align_settings;

static const cli_option result_options[] = {
    {"output", "FILE", "write the path, .npy; -o is short for it", cli_text,
     offsetof(align_settings, output)},
    {0},
};

static const cli_group groups[] = {{"result", result_options, 0}, {0}};

static const cli_usage usage = {
    "attn align", "attn align WEIGHTS.npy --output FILE",
    "Finds the monotone path through weights, [queries, keys], that collects the most of them:\n"
    "dynamic time warping. For each query, writes the first and the last key that it visits.",
    groups, 1};

static attn_status align(attn_context *context, const cli_layers *layers, const void *settings,
                         const attn_tensor *result) {
    (void)settings;
    return attn_alignment_path(context, &layers->tensors[0], result);
}

static bool compute(const cli_layers *layers, const char *path, io_error *error) {
    const int64_t *const size = layers->tensors[0].shape;
    const int64_t shape[4] = {size[0], size[1], size[2], 2};
    return cli_layers_compute(layers, align, NULL, cli_index_dtype(size[3]), shape, path, error);
}

bool cli_align(int argc, char **argv, io_error *error) {
    align_settings settings = {0};
    cli_layers layers = {0};
    const cli_parsed parsed = cli_parse(&usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    if (!settings.output) return io_fail(error, "--output is missing: expected a file to write");
    const bool good = cli_layers_open(&layers, &usage, argc, argv, error) &&
                      compute(&layers, settings.output, error);
    cli_layers_close(&layers);
    return good;
}

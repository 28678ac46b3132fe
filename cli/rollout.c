/* attn rollout and attn flow: how much of each token reaches each token, through all layers. */
#include "cli.h"
#include "layers.h"

#include <inttypes.h>

typedef struct rollout_settings {
    const char *output;
    double residual;
    int64_t token; /* of flow; -1: not given */
} rollout_settings;

static const cli_option result_options[] = {
    {"output", "FILE", "write the result, .npy; -o is short for it", cli_text,
     offsetof(rollout_settings, output)},
    {0},
};

static const cli_option layer_options[] = {
    {"residual", "R", "the share of the residual connection, 0 or more, below 1 (0.5)", cli_share,
     offsetof(rollout_settings, residual)},
    {0},
};

static const cli_option token_options[] = {
    {"token", "N", "the output token, from 0", cli_count, offsetof(rollout_settings, token)},
    {0},
};

static const cli_group rollout_groups[] = {
    {"result", result_options, 0}, {"layers", layer_options, 0}, {0}};

static const cli_group flow_groups[] = {{"result", result_options, 0},
                                        {"layers", layer_options, 0},
                                        {"the output token", token_options, 0},
                                        {0}};

static const cli_usage rollout_usage = {
    "attn rollout", "attn rollout LAYER.npy... --output FILE [OPTION]...",
    "Attention rollout: how much of each input token reaches each output token. The files hold the\n"
    "mean weights of each layer's heads, [tokens, tokens], the first layer first.",
    rollout_groups, CLI_OPERANDS_MAX};

static const cli_usage flow_usage = {
    "attn flow", "attn flow LAYER.npy... --token N --output FILE [OPTION]...",
    "Attention flow: the maximum flow from one output token to each input token. The files hold\n"
    "the mean weights of each layer's heads, [tokens, tokens], the first layer first.",
    flow_groups, CLI_OPERANDS_MAX};

static attn_status roll_out(attn_context *context, const cli_layers *layers, const void *settings,
                            const attn_tensor *result) {
    const rollout_settings *const s = settings;
    return attn_rollout(context, layers->tensors, layers->count, s->residual, result);
}

static attn_status flow(attn_context *context, const cli_layers *layers, const void *settings,
                        const attn_tensor *result) {
    const rollout_settings *const s = settings;
    return attn_flow(context, layers->tensors, layers->count, s->residual, s->token, result);
}

static bool check_token(const cli_layers *layers, int64_t token, io_error *error) {
    const int64_t tokens = layers->tensors[0].shape[2];
    if (token < tokens) return true;
    return io_fail(error, "--token %" PRId64 ": %s has %" PRId64 " token%s, from 0", token,
                   layers->paths[0], tokens, tokens == 1 ? "" : "s");
}

static bool compute(const cli_layers *layers, const rollout_settings *settings, bool flows,
                    io_error *error) {
    const attn_tensor *const first = &layers->tensors[0];
    const int64_t rows = flows ? 1 : first->shape[2];
    const int64_t shape[4] = {first->shape[0], first->shape[1], rows, first->shape[3]};
    if (flows && !check_token(layers, settings->token, error)) return false;
    return cli_layers_compute(layers, flows ? flow : roll_out, settings, first->dtype, shape,
                              settings->output, error);
}

static bool run(const cli_usage *usage, bool flows, int argc, char **argv, io_error *error) {
    rollout_settings settings = {.residual = 0.5, .token = -1};
    cli_layers layers = {0};
    const cli_parsed parsed = cli_parse(usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    if (!settings.output) return io_fail(error, "--output is missing: expected a file to write");
    if (flows && settings.token < 0) {
        return io_fail(error, "--token is missing: expected the number of an output token");
    }
    const bool good = cli_layers_open(&layers, usage, argc, argv, error) &&
                      compute(&layers, &settings, flows, error);
    cli_layers_close(&layers);
    return good;
}

bool cli_rollout(int argc, char **argv, io_error *error) {
    return run(&rollout_usage, false, argc, argv, error);
}

bool cli_flow(int argc, char **argv, io_error *error) {
    return run(&flow_usage, true, argc, argv, error);
}

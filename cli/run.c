/* attn run: attention over arrays in files. */
#include "cli.h"
#include "kinds.h"
#include "problem.h"
#include "views.h"

#include "../io/npy.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct run_settings {
    cli_problem_settings problem;
    const char *output, *weights, *lse;
    cli_view_settings views;
} run_settings;

static const cli_option result_options[] = {
    {"output", "FILE", "write the output, .npy", cli_text, offsetof(run_settings, output)},
    {"weights", "FILE", "write the weights, .npy", cli_text, offsetof(run_settings, weights)},
    {"lse", "FILE", "write the log-sum-exp of each query's scores, .npy", cli_text,
     offsetof(run_settings, lse)},
    {"view", "NAME=FILE",
     "write a view of the weights, .npy; may be given several\n"
     "times: weights, received-sum, received-mean, received-max,\n"
     "window-sum, top-weights, top-keys, argmax, entropy, span,\n"
     "distance, max-logit, block-sums, head-mean, path,\n"
     "head-statistics, raw-scores, capped-scores, scores, lse",
     cli_view_file, offsetof(run_settings, views)},
    {0},
};

static const cli_group groups[] = {
    {"inputs", cli_input_options, offsetof(run_settings, problem)},
    {"results (without any, a summary is printed)", result_options, 0},
    {"views", cli_view_options, offsetof(run_settings, views)},
    {"score", cli_kind_options, offsetof(run_settings, problem)},
    {"changes to the score", cli_score_options, offsetof(run_settings, problem)},
    {"terms by the offset of key from query", cli_relative_options,
     offsetof(run_settings, problem)},
    {"location-aware scores (additive, concat)", cli_location_options,
     offsetof(run_settings, problem)},
    {"normalizer", cli_normalizer_options, offsetof(run_settings, problem)},
    {"noise", cli_noise_options, offsetof(run_settings, problem)},
    {"mask (all that is given applies together)", cli_mask_options,
     offsetof(run_settings, problem)},
    {"machine", cli_machine_options, offsetof(run_settings, problem)},
    {0},
};

static const cli_usage usage = {
    "attn run",
    "attn run --query FILE --key FILE --value FILE [OPTION]...\n"
    "       attn run FILE.safetensors [OPTION]...",
    "Computes softmax(scale * query * key^T) * value over arrays in files, or with another score\n"
    "or normalizer, and writes the output, the weights and views of them. Results have as many\n"
    "dimensions as the query; they appear whole or not at all.",
    groups, 1};

/* Everything that can be written; the views, which are among it, come last. */
enum { OUTPUT, WEIGHTS, LSE, VIEWS, RESULTS = VIEWS + CLI_VIEWS };

/* A result's tensor, dense, without data. */
static attn_tensor result_tensor(const attn_problem *problem, int result) {
    const int64_t *const query = problem->query.shape;
    const int64_t widths[VIEWS] = {
        [OUTPUT] = problem->value.shape[3], [WEIGHTS] = problem->key.shape[2], [LSE] = 1};
    return attn_tensor_dense(NULL, problem->query.dtype, query[0], query[1], query[2],
                             widths[result]);
}

static attn_tensor *result_place(attn_problem *problem, int result) {
    attn_tensor *const places[VIEWS] = {
        [OUTPUT] = &problem->output, [WEIGHTS] = &problem->weights, [LSE] = &problem->lse};
    return places[result];
}

/* Opens a file for a tensor, of as many dimensions as the query's (one fewer for the lse, which
 * has no width), and gives the tensor its memory. */
static bool open_file(attn_tensor *tensor, const cli_problem *loaded, bool flat, const char *path,
                      io_target *target, io_error *error) {
    return io_npy_create(target, path, tensor->dtype, loaded->dims - flat,
                         tensor->shape + 4 - loaded->dims, &tensor->data, error);
}

static bool place_result(cli_problem *loaded, int result, const char *path, io_target *target,
                         io_error *error) {
    attn_tensor tensor = result_tensor(&loaded->problem, result);
    if (!open_file(&tensor, loaded, result == LSE, path, target, error)) return false;
    *result_place(&loaded->problem, result) = tensor;
    return true;
}

static bool place_view(cli_problem *loaded, const cli_view_settings *settings, attn_views *views,
                       int view, io_target *target, io_error *error) {
    attn_tensor tensor = cli_view_tensor(settings, &loaded->problem, view);
    const char *const path = settings->file[view];
    if (!open_file(&tensor, loaded, view == CLI_VIEW_LSE, path, target, error)) return false;
    *cli_view_place(&loaded->problem, views, view) = tensor;
    return true;
}

static bool wants_views(const cli_view_settings *settings) {
    bool wants = false;
    for (int i = 0; i < CLI_VIEWS; i++) wants = wants || settings->file[i];
    return wants;
}

/* Opens all files, each in its slot of targets. */
static bool place_all(cli_problem *loaded, const run_settings *settings, attn_views *views,
                      io_target *targets, io_error *error) {
    const char *const paths[VIEWS] = {
        [OUTPUT] = settings->output, [WEIGHTS] = settings->weights, [LSE] = settings->lse};
    bool good =
        cli_views_choose(&settings->views, &loaded->problem, loaded->source[0], views, error);
    for (int i = 0; good && i < VIEWS; i++) {
        if (paths[i]) good = place_result(loaded, i, paths[i], &targets[i], error);
    }
    for (int i = 0; good && i < CLI_VIEWS; i++) {
        if (!settings->views.file[i]) continue;
        good = place_view(loaded, &settings->views, views, i, &targets[VIEWS + i], error);
    }
    return good;
}

static bool compute_to_files(cli_problem *loaded, const run_settings *settings,
                             attn_context *context, io_error *error) {
    io_target targets[RESULTS] = {0};
    attn_views views = {0};
    if (wants_views(&settings->views)) loaded->problem.views = &views;
    if (place_all(loaded, settings, &views, targets, error) &&
        cli_problem_forward(loaded, context, &loaded->problem, error)) {
        return io_targets_commit(targets, RESULTS, error);
    }
    for (int i = 0; i < RESULTS; i++) io_target_discard(&targets[i]);
    return false;
}

static double element(const attn_tensor *tensor, int64_t i) {
    return tensor->dtype == ATTN_F32 ? (double)((const float *)tensor->data)[i]
                                     : ((const double *)tensor->data)[i];
}

static int64_t elements(const attn_tensor *tensor) {
    return tensor->shape[0] * tensor->shape[1] * tensor->shape[2] * tensor->shape[3];
}

/* The last `dims` sizes, as the files have them. */
static void print_shape(const char *name, const attn_tensor *tensor, int dims, const char *note) {
    printf("%-8s[", name);
    for (int i = 4 - dims; i < 4; i++) {
        printf("%" PRId64 "%s", tensor->shape[i], i < 3 ? ", " : "] ");
    }
    printf("%s%s%s\n", io_dtype_name(tensor->dtype), *note ? "  " : "", note);
}

static void print_matrices(const attn_tensor *tensor) {
    const int64_t width = tensor->shape[3];
    for (int64_t row = 0; row < elements(tensor) / (width > 0 ? width : 1); row++) {
        if (row > 0 && row % tensor->shape[2] == 0) printf("\n");
        printf("       ");
        for (int64_t i = 0; i < width; i++) printf(" %10.5g", element(tensor, row * width + i));
        printf("\n");
    }
}

static void print_range(const attn_tensor *tensor) {
    double low = INFINITY, high = -INFINITY, sum = 0;
    const int64_t count = elements(tensor);
    for (int64_t i = 0; i < count; i++) {
        const double x = element(tensor, i);
        low = fmin(low, x), high = fmax(high, x), sum += x;
    }
    printf("        smallest %g, mean %g, largest %g\n", low, sum / (double)count, high);
}

/* Results that nobody gave a file: small ones in full, others by their range. */
static void print_result(const char *name, const attn_tensor *tensor, int dims) {
    enum { FEW = 64, NARROW = 8 };
    print_shape(name, tensor, dims, "");
    if (elements(tensor) == 0) return;
    if (elements(tensor) <= FEW && tensor->shape[3] <= NARROW) print_matrices(tensor);
    else print_range(tensor);
}

static bool compute_summary(cli_problem *loaded, bool has_lse, attn_context *context,
                            io_error *error) {
    attn_problem *const problem = &loaded->problem;
    attn_tensor output = result_tensor(problem, OUTPUT);
    attn_tensor lse = result_tensor(problem, LSE);
    output.data = calloc((size_t)elements(&output) + 1, io_dtype_size(output.dtype));
    lse.data = calloc((size_t)elements(&lse) + 1, io_dtype_size(lse.dtype));
    problem->output = output;
    if (has_lse) problem->lse = lse;
    const bool good = output.data && lse.data
                          ? cli_problem_forward(loaded, context, problem, error)
                          : io_fail(error, "no memory for the output: name a file by --output");
    if (good) {
        print_shape("query", &problem->query, loaded->arrays[0].dims, loaded->source[0]);
        print_shape("key", &problem->key, loaded->arrays[1].dims, loaded->source[1]);
        print_shape("value", &problem->value, loaded->arrays[2].dims, loaded->source[2]);
        print_result("output", &output, loaded->dims);
        lse = attn_tensor_dense(lse.data, lse.dtype, 1, lse.shape[0], lse.shape[1], lse.shape[2]);
        if (has_lse) print_result("lse", &lse, loaded->dims - 1);
    }
    free(output.data);
    free(lse.data);
    return good;
}

/* What options say together. */
static bool check_settings(const run_settings *settings, io_error *error) {
    const cli_normalizer *const normalizer = &cli_normalizers[settings->problem.normalizer];
    const char *const view = settings->views.file[CLI_VIEW_LSE];
    if (settings->lse && view) return io_fail(error, "--view lse=%s and --lse are the same", view);
    if (normalizer->lse || (!settings->lse && !view)) return true;
    return io_fail(error,
                   "--%s%s: --normalizer %s has no log-sum-exp, only softmax and "
                   "softmax-one have one",
                   settings->lse ? "lse " : "view lse=", settings->lse ? settings->lse : view,
                   normalizer->name);
}

static bool compute(cli_problem *loaded, const run_settings *settings, attn_context *context,
                    io_error *error) {
    const bool has_lse = cli_normalizers[settings->problem.normalizer].lse;
    /* Before files are made in the problem's sizes. */
    if (!cli_problem_check(loaded, context, error)) return false;
    if (settings->output || settings->weights || settings->lse || wants_views(&settings->views)) {
        return compute_to_files(loaded, settings, context, error);
    }
    return compute_summary(loaded, has_lse, context, error);
}

bool cli_run(int argc, char **argv, io_error *error) {
    run_settings settings = {.views = cli_view_defaults};
    cli_problem loaded = {0};
    attn_context *context = NULL;
    const cli_parsed parsed = cli_parse(&usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    bool good = check_settings(&settings, error) &&
                cli_problem_load(&loaded, &settings.problem, cli_operand(argc, argv, 0), error);
    good =
        good && cli_open_context(&context, settings.problem.threads, settings.problem.isa, error);
    good = good && compute(&loaded, &settings, context, error);
    attn_context_destroy(context);
    cli_problem_close(&loaded);
    return good;
}

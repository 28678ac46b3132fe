/* attn bench: the speed of forward and backward, beside what this machine can do at best. */
#define _GNU_SOURCE
#include "bench.h"
#include "cli.h"
#include "kinds.h"
#include "machine.h"
#include "meter.h"
#include "options.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const bench_case standard_cases[] = {
    {{1, 16, 16, 2048, 2048, 64}, .causal = false},
    {{1, 16, 16, 2048, 2048, 64}, .causal = true},
    {{1, 16, 16, 2048, 2048, 64}, .weights = true},
    {{1, 16, 16, 2048, 2048, 128}, .causal = false},
    {{1, 16, 16, 2048, 2048, 128}, .weights = true},
    {{32, 12, 12, 128, 128, 64}, .causal = false},
    {{1, 16, 16, 8192, 8192, 64}, .causal = true, .window = {true, 255, 0}},
    {{1, 32, 8, 1, 8192, 128}, .causal = false},
};
enum { STANDARD_CASES = sizeof standard_cases / sizeof standard_cases[0] };

static bool parse_shape(void *field, const char *text, io_error *error) {
    shape_list *const list = field;
    if (list->count == SHAPES_MAX) return io_fail(error, "expected at most %d shapes", SHAPES_MAX);
    int64_t *const size = list->size[list->count++];
    bool good = cli_read_numbers(text, size, SIZES);
    for (int i = 0; good && i < SIZES; i++) good = size[i] > 0;
    return good || io_fail(error, "expected six whole numbers above 0: "
                                  "batch,heads,kv_heads,queries,keys,width");
}

static bool parse_dtype(void *field, const char *text, io_error *error) {
    const bool single = strcmp(text, "f32") == 0;
    if (!single && strcmp(text, "f64") != 0) return io_fail(error, "expected f32 or f64");
    *(attn_dtype *)field = single ? ATTN_F32 : ATTN_F64;
    return true;
}

#define FIELD(member) offsetof(bench_settings, member)

static const cli_option problem_options[] = {
    {"shape", "B,H,KV,Q,K,D",
     "batch, heads, key heads, queries, keys, width; may be given\n"
     "several times (without: a standard set)",
     parse_shape, FIELD(shapes)},
    {"causal", NULL, "a query sees no later keys; the last stands at the last key", cli_flag,
     FIELD(extra.causal)},
    {"window", "L,R",
     "a query sees L keys to its left and R to its right;\n"
     "-1: no limit on that side",
     cli_window, FIELD(extra.window)},
    {"backward", NULL,
     "measure attn_backward, and forward and backward together,\n"
     "beside the forward",
     cli_flag, FIELD(backward)},
    {"weights", NULL, "ask for the weights too", cli_flag, FIELD(extra.weights)},
    {"score", "NAME",
     "as of attn run, with random weights (hidden layers of the\n"
     "width; 33 offsets)",
     cli_score_name, FIELD(score)},
    {"normalizer", "NAME", "as of attn run", cli_normalizer_name, FIELD(normalizer)},
    {"view", "NAME", "ask for a view, as of attn run; may be given several times", cli_view_name,
     FIELD(views)},
    {"dtype", "TYPE", "f32 or f64 (f32)", parse_dtype, FIELD(dtype)},
    {0},
};

static const cli_option machine_options[] = {
    {"threads", "N", "how many threads (0: OMP_NUM_THREADS or all)", cli_count, FIELD(threads)},
    {"isa", "NAME", "use no better instruction set than this (see attn info)", cli_isa, FIELD(isa)},
    {0},
};

static const cli_option output_options[] = {
    {"json", NULL, "print one JSON object a line", cli_flag, FIELD(json)},
    {0},
};

static const cli_group groups[] = {
    {"problems", problem_options, 0},
    {"views", cli_view_options, FIELD(views)},
    {"machine", machine_options, 0},
    {"output", output_options, 0},
    {0},
};

static const cli_usage usage = {
    "attn bench", "attn bench [OPTION]...",
    "Measures the forward, and in turn with it the multiply-add peak and the read bandwidth of\n"
    "the same threads; prints medians. With --score, --normalizer or --view it measures, in turn\n"
    "again, the plain forward of the same shape too. With --backward: forward, backward and both.",
    groups, 0};

/* ---------------------------------------------------------------------------------------------
 * The problem
 * ------------------------------------------------------------------------------------------- */

/* Adds a word to the text, which has room for it. */
static void add_word(char *text, size_t size, const char *word) {
    const size_t used = strlen(text);
    (void)snprintf(text + used, size - used, " %s", word);
}

static void describe(const bench_case *c, const bench_settings *settings, char *text, size_t size) {
    char window[64];
    (void)snprintf(text, size,
                   "%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 " %s",
                   c->size[BATCH], c->size[HEADS], c->size[KV_HEADS], c->size[QUERIES],
                   c->size[KEYS], c->size[WIDTH], settings->dtype == ATTN_F32 ? "f32" : "f64");
    (void)snprintf(window, sizeof window, "window %" PRId64 ",%" PRId64, c->window.left,
                   c->window.right);
    if (c->causal) add_word(text, size, "causal");
    if (c->window.enabled) add_word(text, size, window);
    if (c->weights) add_word(text, size, "weights");
    if (settings->score != 0) add_word(text, size, cli_scores[settings->score].name);
    if (settings->normalizer != 0) {
        add_word(text, size, cli_normalizers[settings->normalizer].name);
    }
    for (int i = 0; i < CLI_VIEWS; i++) {
        if (settings->views.file[i]) add_word(text, size, cli_view_title(i));
    }
}

/* Whether the problem is another one than plain attention. */
static bool has_kind(const bench_settings *settings) {
    bool has = settings->score != 0 || settings->normalizer != 0;
    for (int i = 0; i < CLI_VIEWS; i++) has = has || settings->views.file[i];
    return has;
}

/* Whether the plain forward is measured too. */
static bool is_compared(const bench_settings *settings) {
    return !settings->backward && has_kind(settings);
}

/* ---------------------------------------------------------------------------------------------
 * The measurement
 * ------------------------------------------------------------------------------------------- */

static const double least_seconds = 0.3;  /* of each thing's runs, all together */
static const double round_seconds = 0.03; /* of runs between two looks at the roofs */
static const double sample_seconds = 0.001;
enum { LEAST_ROUNDS = 5, SAMPLES_MAX = 1024 };

typedef struct samples {
    double value[SAMPLES_MAX];
    int count;
} samples;

/* What is run. */
typedef enum pass { FORWARD, BACKWARD, BOTH, PLAIN, PASSES } pass;

static const struct {
    const char *name;
    double operations; /* for each feature of a pair */
} passes[PASSES] = {{"forward", 4}, {"backward", 10}, {"both", 14}, {"plain", 4}};

typedef struct measurement {
    samples seconds[PASSES], gflops, gbs;
    int64_t runs[PASSES]; /* for a sample; 0: this is not measured */
    double total[PASSES]; /* seconds */
    double bytes;         /* of all tensors, each counted once */
} measurement;

static void add_sample(samples *s, double value) {
    if (s->count < SAMPLES_MAX) s->value[s->count++] = value;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(samples *s) {
    qsort(s->value, (size_t)s->count, sizeof s->value[0], compare);
    return (s->value[s->count / 2] + s->value[(s->count - 1) / 2]) / 2;
}

static bool run_once(attn_context *context, const bench_problem *made, pass what) {
    if (what == PLAIN) return attn_forward(context, &made->plain) == ATTN_OK;
    return (what == BACKWARD || attn_forward(context, &made->problem) == ATTN_OK) &&
           (what == FORWARD ||
            attn_backward(context, &made->problem, &made->from, &made->to) == ATTN_OK);
}

/* Seconds of `runs` runs. */
static bool time_runs(attn_context *context, const bench_problem *made, pass what, int64_t runs,
                      double *seconds, io_error *error) {
    const double start = cli_seconds();
    for (int64_t i = 0; i < runs; i++) {
        if (!run_once(context, made, what)) return io_fail(error, "%s", attn_error_message());
    }
    *seconds = cli_seconds() - start;
    return true;
}

/* Warms up, and finds how many runs make a sample long enough for the clock. The forward comes
 * first: it leaves the output and log-sum-exp that the backward reads. */
static bool warm_up(attn_context *context, const bench_problem *made, pass what, int64_t *runs,
                    io_error *error) {
    double seconds = 0;
    *runs = 1;
    if (!time_runs(context, made, what, 1, &seconds, error)) return false;
    while (seconds < sample_seconds) {
        *runs *= 2;
        if (!time_runs(context, made, what, *runs, &seconds, error)) return false;
    }
    return true;
}

static bool warm_up_all(const bench_settings *settings, attn_context *context,
                        const bench_problem *made, measurement *m, io_error *error) {
    const bool wanted[PASSES] = {true, settings->backward, settings->backward,
                                 is_compared(settings)};
    bool good = true;
    memset(m, 0, sizeof *m);
    m->bytes = made->bytes;
    for (pass what = 0; good && what < PASSES; what++) {
        if (wanted[what]) good = warm_up(context, made, what, &m->runs[what], error);
    }
    return good;
}

/* Runs of one pass for a while. */
static bool measure_pass(attn_context *context, const bench_problem *made, pass what,
                         measurement *m, io_error *error) {
    double seconds = 0, spent = 0;
    while (m->runs[what] > 0 && spent < round_seconds) {
        if (!time_runs(context, made, what, m->runs[what], &seconds, error)) return false;
        add_sample(&m->seconds[what], seconds / (double)m->runs[what]);
        spent += seconds;
    }
    m->total[what] += spent;
    return true;
}

/* One round: the peak, the bandwidth, then everything that is measured; in turn, because clocks
 * drift. */
static bool measure_round(attn_context *context, const bench_problem *made, cli_meter *meter,
                          measurement *m, io_error *error) {
    double gflops = 0, gbs = 0;
    bool good = cli_meter_bandwidth(meter, &gbs, error) && cli_meter_peak(meter, &gflops, error);
    if (good) add_sample(&m->gflops, gflops);
    if (good) add_sample(&m->gbs, gbs);
    for (pass what = 0; good && what < PASSES; what++) {
        good = measure_pass(context, made, what, m, error);
    }
    return good;
}

static bool measure_case(const bench_case *c, const bench_settings *settings, attn_context *context,
                         cli_meter *meter, measurement *m, io_error *error) {
    bench_problem made;
    bool good =
        bench_make(c, settings, &made, error) && warm_up_all(settings, context, &made, m, error);
    for (int round = 0; good && (round < LEAST_ROUNDS || m->total[FORWARD] < least_seconds);
         round++) {
        good = measure_round(context, &made, meter, m, error);
    }
    bench_free(&made);
    return good;
}

/* ---------------------------------------------------------------------------------------------
 * The report
 * ------------------------------------------------------------------------------------------- */

static void print_heading(const bench_settings *settings, const attn_context *context) {
    char cpu[256];
    if (settings->json) return;
    cli_cpu_name(cpu, sizeof cpu);
    printf("attn %s on %s, %d thread%s, %s\n\n", attn_version(), cpu, attn_context_threads(context),
           attn_context_threads(context) == 1 ? "" : "s", attn_isa_name(attn_context_isa(context)));
    printf("%-48s ", "batch x heads x kv_heads x queries x keys x d");
    if (settings->backward) {
        printf("%-9s %9s %8s %8s %7s %8s\n", "", "ms", "GFLOP/s", "peak", "share", "forwards");
        return;
    }
    printf("%9s %8s %8s %7s %7s %7s %7s", "ms", "GFLOP/s", "peak", "share", "GB/s", "read",
           "share");
    if (is_compared(settings)) printf(" %9s %7s", "plain ms", "times");
    printf("\n");
}

/* 10^9 operations a second. */
static double gflops_of(const bench_case *c, pass what, double seconds) {
    return passes[what].operations * bench_pair_features(c) / seconds * 1e-9;
}

static void print_row(const bench_case *c, const char *problem, measurement *m) {
    const double seconds = median(&m->seconds[FORWARD]);
    const double gflops = gflops_of(c, FORWARD, seconds);
    const double gbs = m->bytes / seconds * 1e-9;
    const double peak = median(&m->gflops), read = median(&m->gbs);
    printf("%-48s %9.3f %8.1f %8.1f %5.1f %% %7.1f %7.1f %5.1f %%", problem, seconds * 1e3, gflops,
           peak, 100 * gflops / peak, gbs, read, 100 * gbs / read);
    if (m->runs[PLAIN] > 0) {
        const double plain = median(&m->seconds[PLAIN]);
        printf(" %9.3f %7.3f", plain * 1e3, seconds / plain);
    }
    printf("\n");
}

/* A row each for forward, backward and both. */
static void print_rows(const bench_case *c, const char *problem, measurement *m) {
    const double forward = median(&m->seconds[FORWARD]), peak = median(&m->gflops);
    for (pass what = FORWARD; what <= BOTH; what++) {
        const double seconds = median(&m->seconds[what]);
        const double gflops = gflops_of(c, what, seconds);
        printf("%-48s %-9s %9.3f %8.1f %8.1f %5.1f %% %8.3f\n", what == FORWARD ? problem : "",
               passes[what].name, seconds * 1e3, gflops, peak, 100 * gflops / peak,
               seconds / forward);
    }
}

/* The members of one JSON object that say how fast a pass is. */
static json_t *speed_of(const bench_case *c, pass what, measurement *m) {
    const double seconds = median(&m->seconds[what]);
    const double gflops = gflops_of(c, what, seconds);
    return json_pack("{s:f, s:f, s:f}", "milliseconds", seconds * 1e3, "gflops", gflops,
                     "share_of_peak", gflops / median(&m->gflops));
}

static json_t *forward_object(const bench_case *c, measurement *m) {
    const double seconds = median(&m->seconds[FORWARD]);
    const double gflops = gflops_of(c, FORWARD, seconds), peak = median(&m->gflops);
    json_t *const object = json_pack("{s:f, s:f, s:f, s:f, s:f}", "milliseconds", seconds * 1e3,
                                     "gflops", gflops, "peak_gflops", peak, "share_of_peak",
                                     gflops / peak, "bandwidth_gbs", median(&m->gbs));
    if (object && m->runs[PLAIN] > 0) {
        const double plain = median(&m->seconds[PLAIN]);
        (void)json_object_set_new(object, "plain_milliseconds", json_real(plain * 1e3));
        (void)json_object_set_new(object, "times_plain", json_real(seconds / plain));
    }
    return object;
}

static json_t *backward_object(const bench_case *c, measurement *m) {
    const double times = median(&m->seconds[BACKWARD]) / median(&m->seconds[FORWARD]);
    return json_pack("{s:f, s:o, s:o, s:o, s:f}", "peak_gflops", median(&m->gflops), "forward",
                     speed_of(c, FORWARD, m), "backward", speed_of(c, BACKWARD, m), "both",
                     speed_of(c, BOTH, m), "backward_per_forward", times);
}

static bool print_object(const bench_case *c, const attn_context *context, const char *problem,
                         measurement *m, io_error *error) {
    json_t *const object =
        json_pack("{s:s, s:i, s:s}", "problem", problem, "threads", attn_context_threads(context),
                  "isa", attn_isa_name(attn_context_isa(context)));
    json_t *const speeds = m->runs[BACKWARD] > 0 ? backward_object(c, m) : forward_object(c, m);
    const int failed = !object || !speeds || json_object_update(object, speeds) != 0 ||
                       json_dumpf(object, stdout, JSON_REAL_PRECISION(6)) != 0;
    printf("\n");
    json_decref(speeds);
    json_decref(object);
    return failed ? io_fail(error, "the JSON object could not be printed") : true;
}

/* On a terminal, which problem is being measured; it is overwritten by the result. */
static void show_progress(const char *problem, int i, int count) {
    if (!isatty(STDERR_FILENO)) return;
    (void)fprintf(stderr, "\r\033[Kmeasuring %d of %d: %s", i + 1, count, problem);
    (void)fflush(stderr);
}

static void clear_progress(void) {
    if (isatty(STDERR_FILENO)) (void)fprintf(stderr, "\r\033[K");
}

static bool bench_cases(const bench_settings *settings, const bench_case *cases, int count,
                        attn_context *context, cli_meter *meter, io_error *error) {
    measurement *const m = malloc(sizeof *m);
    bool good = m || io_fail(error, "no memory");
    if (good) print_heading(settings, context);
    for (int i = 0; good && i < count; i++) {
        char problem[512];
        describe(&cases[i], settings, problem, sizeof problem);
        show_progress(problem, i, count);
        good = measure_case(&cases[i], settings, context, meter, m, error);
        clear_progress();
        if (!good) break;
        if (settings->json) good = print_object(&cases[i], context, problem, m, error);
        else if (settings->backward) print_rows(&cases[i], problem, m);
        else print_row(&cases[i], problem, m);
        (void)fflush(stdout);
    }
    free(m);
    return good;
}

/* The shapes that were asked for, or the standard ones, with the options applied. Where options
 * are given, standard problems that have some of their own are left out; backward, those with
 * weights. */
static int collect_cases(const bench_settings *settings, bench_case *cases) {
    const bench_case *const extra = &settings->extra;
    const bool plain =
        !extra->causal && !extra->weights && !extra->window.enabled && !has_kind(settings);
    int count = 0;
    if (settings->shapes.count == 0) {
        for (int i = 0; i < STANDARD_CASES; i++) {
            const bench_case *const c = &standard_cases[i];
            const bool bare = !c->causal && !c->weights && !c->window.enabled;
            if (settings->backward && c->weights) continue;
            if (plain || bare) cases[count++] = *c;
        }
    }
    for (int i = 0; i < settings->shapes.count; i++, count++) {
        memcpy(cases[count].size, settings->shapes.size[i], sizeof cases[count].size);
    }
    for (int i = 0; !plain && i < count; i++) {
        cases[i].causal = extra->causal;
        cases[i].weights = extra->weights;
        cases[i].window = extra->window;
    }
    return count;
}

/* The backward reads no weights and no views: there is nothing to compare. */
static bool check_settings(const bench_settings *settings, io_error *error) {
    if (!settings->backward) return true;
    if (settings->extra.weights) return io_fail(error, "--backward: not together with --weights");
    for (int i = 0; i < CLI_VIEWS; i++) {
        if (!settings->views.file[i]) continue;
        return io_fail(error, "--backward: not together with --view %s", cli_view_title(i));
    }
    return true;
}

bool cli_bench(int argc, char **argv, io_error *error) {
    bench_settings settings = {.dtype = ATTN_F32, .views = cli_view_defaults};
    bench_case cases[SHAPES_MAX] = {0};
    attn_context *context = NULL;
    cli_meter *meter = NULL;
    const cli_parsed parsed = cli_parse(&usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    if (!check_settings(&settings, error)) return false;
    const int count = collect_cases(&settings, cases);
    bool good = cli_open_context(&context, settings.threads, settings.isa, error);
    good = good && cli_meter_open(&meter, attn_context_threads(context), attn_context_isa(context),
                                  settings.dtype, error);
    good = good && bench_cases(&settings, cases, count, context, meter, error);
    cli_meter_close(meter);
    attn_context_destroy(context);
    return good;
}

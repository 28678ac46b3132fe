/* attn bench: the forward's speed, beside what this machine can do at best. */
#define _GNU_SOURCE
#include "cli.h"
#include "machine.h"
#include "meter.h"
#include "options.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH, HEADS, KV_HEADS, QUERIES, KEYS, WIDTH, SIZES, SHAPES_MAX = 64 };

/* One problem to measure. Causal and window count from the bottom-right corner. */
typedef struct bench_case {
    int64_t size[SIZES];
    bool causal, weights;
    attn_window window;
} bench_case;

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

typedef struct shape_list {
    int64_t size[SHAPES_MAX][SIZES];
    int count;
} shape_list;

typedef struct bench_settings {
    shape_list shapes;
    bench_case extra; /* what the options ask of every shape */
    attn_dtype dtype;
    int64_t threads;
    attn_isa isa;
    bool json;
} bench_settings;

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
    {"weights", NULL, "ask for the weights too", cli_flag, FIELD(extra.weights)},
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
    {"machine", machine_options, 0},
    {"output", output_options, 0},
    {0},
};

static const cli_usage usage = {
    "attn bench", "attn bench [OPTION]...",
    "Measures the forward, and in turn with it the multiply-add peak and the read bandwidth of\n"
    "the same threads; prints medians.",
    groups, 0};

/* ---------------------------------------------------------------------------------------------
 * The problem
 * ------------------------------------------------------------------------------------------- */

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Query-key pairs of one head that see each other. */
static int64_t visible_pairs(const bench_case *c) {
    const int64_t queries = c->size[QUERIES], keys = c->size[KEYS];
    int64_t pairs = 0;
    for (int64_t i = 0; i < queries; i++) {
        const int64_t position = i + keys - queries;
        int64_t first = 0, last = keys - 1;
        if (c->causal) last = smaller(last, position);
        if (c->window.enabled && c->window.right >= 0 && c->window.right < keys) {
            last = smaller(last, position + c->window.right);
        }
        if (c->window.enabled && c->window.left >= 0 && c->window.left < position) {
            first = position - c->window.left;
        }
        if (first <= last) pairs += last - first + 1;
    }
    return pairs;
}

/* Score and aggregate: a multiplication and an addition for each feature of each pair. */
static double operations(const bench_case *c) {
    const double pairs = (double)visible_pairs(c) * (double)c->size[BATCH] * (double)c->size[HEADS];
    return 2.0 * pairs * (double)(c->size[WIDTH] + c->size[WIDTH]);
}

static void describe(const bench_case *c, attn_dtype dtype, char *text, size_t size) {
    int used = snprintf(
        text, size, "%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 " %s",
        c->size[BATCH], c->size[HEADS], c->size[KV_HEADS], c->size[QUERIES], c->size[KEYS],
        c->size[WIDTH], dtype == ATTN_F32 ? "f32" : "f64");
    if (c->causal) used += snprintf(text + used, size - (size_t)used, " causal");
    if (c->window.enabled) {
        used += snprintf(text + used, size - (size_t)used, " window %" PRId64 ",%" PRId64,
                         c->window.left, c->window.right);
    }
    if (c->weights) (void)snprintf(text + used, size - (size_t)used, " weights");
}

enum { QUERY, KEY, VALUE, OUTPUT, WEIGHTS, TENSORS };

static uint64_t random_state = 0x9e3779b97f4a7c15u;

/* Uniform in -1 .. 1 (xorshift). */
static double random_number(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(int64_t)random_state * 0x1p-63;
}

static bool make_tensor(attn_tensor *tensor, attn_dtype dtype, const int64_t *shape,
                        io_error *error) {
    const size_t size = dtype == ATTN_F32 ? sizeof(float) : sizeof(double);
    size_t bytes = size;
    bool fits = true;
    for (int i = 0; i < 4; i++) fits = fits && !__builtin_mul_overflow(bytes, shape[i], &bytes);
    *tensor = attn_tensor_dense(NULL, dtype, shape[0], shape[1], shape[2], shape[3]);
    fits = fits && bytes <= PTRDIFF_MAX - 64;
    tensor->data = fits ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
    if (!tensor->data) return io_fail(error, "no memory for a tensor of this shape");
    for (size_t i = 0; i < bytes / size; i++) {
        const double x = random_number();
        if (dtype == ATTN_F32) ((float *)tensor->data)[i] = (float)x;
        else ((double *)tensor->data)[i] = x;
    }
    return true;
}

static bool make_problem(const bench_case *c, attn_dtype dtype, attn_problem *problem,
                         io_error *error) {
    const int64_t *const s = c->size;
    const int64_t shapes[TENSORS][4] = {
        [QUERY] = {s[BATCH], s[HEADS], s[QUERIES], s[WIDTH]},
        [KEY] = {s[BATCH], s[KV_HEADS], s[KEYS], s[WIDTH]},
        [VALUE] = {s[BATCH], s[KV_HEADS], s[KEYS], s[WIDTH]},
        [OUTPUT] = {s[BATCH], s[HEADS], s[QUERIES], s[WIDTH]},
        [WEIGHTS] = {s[BATCH], s[HEADS], s[QUERIES], s[KEYS]},
    };
    attn_tensor *const tensors[TENSORS] = {&problem->query, &problem->key, &problem->value,
                                           &problem->output, &problem->weights};
    *problem = (attn_problem){
        .mask = {.causal = c->causal, .alignment = ATTN_ALIGN_BOTTOM_RIGHT, .window = c->window}};
    for (int i = 0; i < (c->weights ? TENSORS : WEIGHTS); i++) {
        if (!make_tensor(tensors[i], dtype, shapes[i], error)) return false;
    }
    return true;
}

static void free_problem(attn_problem *problem) {
    free(problem->query.data);
    free(problem->key.data);
    free(problem->value.data);
    free(problem->output.data);
    free(problem->weights.data);
}

/* ---------------------------------------------------------------------------------------------
 * The measurement
 * ------------------------------------------------------------------------------------------- */

static const double least_seconds = 0.3;  /* of a problem's forward runs, all together */
static const double round_seconds = 0.03; /* of forward runs between two looks at the roofs */
static const double sample_seconds = 0.001;
enum { LEAST_ROUNDS = 5, SAMPLES_MAX = 1024 };

typedef struct samples {
    double value[SAMPLES_MAX];
    int count;
} samples;

typedef struct measurement {
    samples seconds, gflops, gbs;
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

/* Seconds of `runs` runs. */
static bool time_runs(attn_context *context, const attn_problem *problem, int64_t runs,
                      double *seconds, io_error *error) {
    const double start = cli_seconds();
    for (int64_t i = 0; i < runs; i++) {
        if (attn_forward(context, problem) != ATTN_OK) {
            return io_fail(error, "%s", attn_error_message());
        }
    }
    *seconds = cli_seconds() - start;
    return true;
}

/* Warms up, and finds how many runs make a sample long enough for the clock. */
static bool warm_up(attn_context *context, const attn_problem *problem, int64_t *runs,
                    io_error *error) {
    double seconds = 0;
    *runs = 1;
    if (!time_runs(context, problem, 1, &seconds, error)) return false;
    while (seconds < sample_seconds) {
        *runs *= 2;
        if (!time_runs(context, problem, *runs, &seconds, error)) return false;
    }
    return true;
}

/* One round: the peak, the bandwidth, then the forward; in turn, because clocks drift. */
static bool measure_round(attn_context *context, const attn_problem *problem, cli_meter *meter,
                          int64_t runs, measurement *m, double *total, io_error *error) {
    double gflops = 0, gbs = 0, seconds = 0, spent = 0;
    if (!cli_meter_bandwidth(meter, &gbs, error)) return false;
    if (!cli_meter_peak(meter, &gflops, error)) return false;
    add_sample(&m->gflops, gflops);
    add_sample(&m->gbs, gbs);
    while (spent < round_seconds) {
        if (!time_runs(context, problem, runs, &seconds, error)) return false;
        add_sample(&m->seconds, seconds / (double)runs);
        spent += seconds;
    }
    *total += spent;
    return true;
}

static bool measure_case(const bench_case *c, attn_context *context, attn_dtype dtype,
                         cli_meter *meter, measurement *m, io_error *error) {
    attn_problem problem;
    int64_t runs = 1;
    double total = 0;
    bool good = make_problem(c, dtype, &problem, error) && warm_up(context, &problem, &runs, error);
    m->seconds.count = m->gflops.count = m->gbs.count = 0;
    for (int round = 0; good && (round < LEAST_ROUNDS || total < least_seconds); round++) {
        good = measure_round(context, &problem, meter, runs, m, &total, error);
    }
    free_problem(&problem);
    return good;
}

/* ---------------------------------------------------------------------------------------------
 * The report
 * ------------------------------------------------------------------------------------------- */

static double tensor_bytes(const bench_case *c, attn_dtype dtype) {
    const int64_t *const s = c->size;
    const double rows =
        2.0 * (double)(s[HEADS] * s[QUERIES]) + 2.0 * (double)(s[KV_HEADS] * s[KEYS]);
    const double weights = c->weights ? (double)(s[HEADS] * s[QUERIES]) * (double)s[KEYS] : 0;
    return (double)s[BATCH] * (rows * (double)s[WIDTH] + weights) * (dtype == ATTN_F32 ? 4 : 8);
}

static void print_heading(const bench_settings *settings, const attn_context *context) {
    char cpu[256];
    if (settings->json) return;
    cli_cpu_name(cpu, sizeof cpu);
    printf("attn %s on %s, %d thread%s, %s\n\n", attn_version(), cpu, attn_context_threads(context),
           attn_context_threads(context) == 1 ? "" : "s", attn_isa_name(attn_context_isa(context)));
    printf("%-48s %9s %8s %8s %7s %7s %7s %7s\n", "batch x heads x kv_heads x queries x keys x d",
           "ms", "GFLOP/s", "peak", "share", "GB/s", "read", "share");
}

static void print_row(const bench_case *c, const bench_settings *settings, const char *problem,
                      measurement *m) {
    const double seconds = median(&m->seconds);
    const double gflops = operations(c) / seconds * 1e-9;
    const double gbs = tensor_bytes(c, settings->dtype) / seconds * 1e-9;
    const double peak = median(&m->gflops), read = median(&m->gbs);
    printf("%-48s %9.3f %8.1f %8.1f %5.1f %% %7.1f %7.1f %5.1f %%\n", problem, seconds * 1e3,
           gflops, peak, 100 * gflops / peak, gbs, read, 100 * gbs / read);
}

static bool print_object(const bench_case *c, const attn_context *context, const char *problem,
                         measurement *m, io_error *error) {
    const double seconds = median(&m->seconds);
    const double gflops = operations(c) / seconds * 1e-9;
    const double peak = median(&m->gflops);
    json_t *const object =
        json_pack("{s:s, s:i, s:s, s:f, s:f, s:f, s:f, s:f}", "problem", problem, "threads",
                  attn_context_threads(context), "isa", attn_isa_name(attn_context_isa(context)),
                  "milliseconds", seconds * 1e3, "gflops", gflops, "peak_gflops", peak,
                  "share_of_peak", gflops / peak, "bandwidth_gbs", median(&m->gbs));
    const int failed = object ? json_dumpf(object, stdout, JSON_REAL_PRECISION(6)) : -1;
    printf("\n");
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
        char problem[256];
        describe(&cases[i], settings->dtype, problem, sizeof problem);
        show_progress(problem, i, count);
        good = measure_case(&cases[i], context, settings->dtype, meter, m, error);
        clear_progress();
        if (!good) break;
        if (settings->json) good = print_object(&cases[i], context, problem, m, error);
        else print_row(&cases[i], settings, problem, m);
        (void)fflush(stdout);
    }
    free(m);
    return good;
}

/* The shapes that were asked for, or the standard ones, with the options applied. Where options are
 * given, standard problems that have some of their own are left out. */
static int collect_cases(const bench_settings *settings, bench_case *cases) {
    const bench_case *const extra = &settings->extra;
    const bool plain = !extra->causal && !extra->weights && !extra->window.enabled;
    int count = 0;
    if (settings->shapes.count == 0) {
        for (int i = 0; i < STANDARD_CASES; i++) {
            const bench_case *const c = &standard_cases[i];
            const bool bare = !c->causal && !c->weights && !c->window.enabled;
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

bool cli_bench(int argc, char **argv, io_error *error) {
    bench_settings settings = {.dtype = ATTN_F32};
    bench_case cases[SHAPES_MAX] = {0};
    attn_context *context = NULL;
    cli_meter *meter = NULL;
    const cli_parsed parsed = cli_parse(&usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    const int count = collect_cases(&settings, cases);
    bool good = cli_open_context(&context, settings.threads, settings.isa, error);
    good = good && cli_meter_open(&meter, attn_context_threads(context), attn_context_isa(context),
                                  settings.dtype, error);
    good = good && bench_cases(&settings, cases, count, context, meter, error);
    cli_meter_close(meter);
    attn_context_destroy(context);
    return good;
}

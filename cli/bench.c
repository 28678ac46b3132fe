/* attn bench: the forward's speed, beside what this machine can do at best. */
#define _GNU_SOURCE
#include "cli.h"
#include "kinds.h"
#include "machine.h"
#include "meter.h"
#include "options.h"
#include "views.h"

#include "../io/array.h"

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
    int score, normalizer;
    cli_view_settings views;
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
    "again, the plain forward of the same shape too.",
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

/* Query, key, value, output and weights; what a score needs; views. */
enum { TENSORS_MAX = 8 + CLI_VIEWS };

typedef struct bench_problem {
    attn_problem problem, plain; /* plain: the same without score, normalizer and views */
    attn_relative relative;
    attn_views views;
    void *memory[TENSORS_MAX];
    int count;
    double bytes; /* of all tensors */
} bench_problem;

static uint64_t random_state = 0x9e3779b97f4a7c15u;

/* Uniform in -1 .. 1 (xorshift). */
static double random_number(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(int64_t)random_state * 0x1p-63;
}

static void fill(const attn_tensor *tensor, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const double x = random_number();
        if (tensor->dtype == ATTN_F32) ((float *)tensor->data)[i] = (float)x;
        if (tensor->dtype == ATTN_F64) ((double *)tensor->data)[i] = x;
    }
}

/* Gives the tensor memory of its own and random elements; results of other types stay as they are. */
static bool make_tensor(bench_problem *made, attn_tensor *place, attn_tensor tensor,
                        io_error *error) {
    size_t count = 1, bytes = 0;
    bool fits = true;
    for (int i = 0; i < 4; i++) {
        fits = fits && !__builtin_mul_overflow(count, tensor.shape[i], &count);
    }
    fits = fits && !__builtin_mul_overflow(count, io_dtype_size(tensor.dtype), &bytes) &&
           bytes <= PTRDIFF_MAX - 64;
    tensor.data = fits ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
    if (!tensor.data) return io_fail(error, "no memory for a tensor of this shape");
    made->memory[made->count++] = tensor.data;
    made->bytes += (double)bytes;
    fill(&tensor, count);
    *place = tensor;
    return true;
}

static bool make_plain(const bench_case *c, attn_dtype dtype, bench_problem *made,
                       io_error *error) {
    const int64_t *const s = c->size;
    attn_problem *const p = &made->plain;
    const attn_tensor query =
        attn_tensor_dense(NULL, dtype, s[BATCH], s[HEADS], s[QUERIES], s[WIDTH]);
    const attn_tensor key =
        attn_tensor_dense(NULL, dtype, s[BATCH], s[KV_HEADS], s[KEYS], s[WIDTH]);
    *p = (attn_problem){
        .mask = {.causal = c->causal, .alignment = ATTN_ALIGN_BOTTOM_RIGHT, .window = c->window}};
    return make_tensor(made, &p->query, query, error) && make_tensor(made, &p->key, key, error) &&
           make_tensor(made, &p->value, key, error) && make_tensor(made, &p->output, query, error);
}

/* What the score needs beside queries and keys. */
static bool make_score(const bench_case *c, const bench_settings *settings, bench_problem *made,
                       io_error *error) {
    enum { OFFSETS = 33 }; /* 16 to either side: Shaw et al. 2018 */
    const cli_score *const kind = &cli_scores[settings->score];
    const int64_t heads = c->size[HEADS], width = c->size[WIDTH];
    const int64_t rows[] = {
        [CLI_WEIGHT_NONE] = 0,
        [CLI_WEIGHT_VECTOR] = 1,
        [CLI_WEIGHT_MATRIX] = kind->kind == ATTN_SCORE_LOCATION ? c->size[KEYS] : width,
        [CLI_WEIGHT_TABLE] = OFFSETS,
    };
    const bool table = kind->weight == CLI_WEIGHT_TABLE;
    attn_score *const score = &made->problem.score;
    score->kind = kind->kind;
    score->scale = kind->scale;
    if (table) score->relative = &made->relative;
    if (kind->weight != CLI_WEIGHT_NONE &&
        !make_tensor(made, table ? &made->relative.keys : &score->weight,
                     attn_tensor_dense(NULL, settings->dtype, 1, heads, rows[kind->weight], width),
                     error)) {
        return false;
    }
    return !kind->projection ||
           make_tensor(made, &score->projection,
                       attn_tensor_dense(NULL, settings->dtype, 1, heads, width, 2 * width), error);
}

static bool make_views(const bench_settings *settings, bench_problem *made, io_error *error) {
    attn_problem *const p = &made->problem;
    bool good = cli_views_choose(&settings->views, p, "the problem", &made->views, error);
    for (int i = 0; good && i < CLI_VIEWS; i++) {
        if (!settings->views.file[i]) continue;
        if (i != CLI_VIEW_LSE) p->views = &made->views;
        good = make_tensor(made, cli_view_place(p, &made->views, i),
                           cli_view_tensor(&settings->views, p, i), error);
    }
    return good;
}

static bool make_problem(const bench_case *c, const bench_settings *settings, bench_problem *made,
                         io_error *error) {
    *made = (bench_problem){0};
    if (!make_plain(c, settings->dtype, made, error)) return false;
    attn_tensor weights = attn_tensor_dense(NULL, settings->dtype, c->size[BATCH], c->size[HEADS],
                                            c->size[QUERIES], c->size[KEYS]);
    made->problem = made->plain;
    made->problem.normalizer.kind = cli_normalizers[settings->normalizer].kind;
    return (!c->weights || make_tensor(made, &made->problem.weights, weights, error)) &&
           make_score(c, settings, made, error) && make_views(settings, made, error);
}

static void free_problem(bench_problem *made) {
    for (int i = 0; i < made->count; i++) free(made->memory[i]);
}

/* Whether the plain forward is another one. */
static bool is_compared(const bench_settings *settings) {
    bool compared = settings->score != 0 || settings->normalizer != 0;
    for (int i = 0; i < CLI_VIEWS; i++) compared = compared || settings->views.file[i];
    return compared;
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
    samples seconds, plain_seconds, gflops, gbs;
    double bytes; /* of all tensors, each counted once */
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

/* Runs of one problem for a while. */
static bool measure_runs(attn_context *context, const attn_problem *problem, int64_t runs,
                         samples *taken, double *total, io_error *error) {
    double seconds = 0, spent = 0;
    while (spent < round_seconds) {
        if (!time_runs(context, problem, runs, &seconds, error)) return false;
        add_sample(taken, seconds / (double)runs);
        spent += seconds;
    }
    *total += spent;
    return true;
}

/* One round: the peak, the bandwidth, then the forward, and the plain one unless plain_runs is 0; in
 * turn, because clocks drift. */
static bool measure_round(attn_context *context, const bench_problem *made, cli_meter *meter,
                          int64_t runs, int64_t plain_runs, measurement *m, double *total,
                          io_error *error) {
    double gflops = 0, gbs = 0, plain_total = 0;
    if (!cli_meter_bandwidth(meter, &gbs, error)) return false;
    if (!cli_meter_peak(meter, &gflops, error)) return false;
    add_sample(&m->gflops, gflops);
    add_sample(&m->gbs, gbs);
    return measure_runs(context, &made->problem, runs, &m->seconds, total, error) &&
           (plain_runs == 0 || measure_runs(context, &made->plain, plain_runs, &m->plain_seconds,
                                            &plain_total, error));
}

static bool measure_case(const bench_case *c, const bench_settings *settings, attn_context *context,
                         cli_meter *meter, measurement *m, io_error *error) {
    bench_problem made;
    int64_t runs = 1, plain_runs = 0;
    double total = 0;
    bool good = make_problem(c, settings, &made, error) &&
                warm_up(context, &made.problem, &runs, error) &&
                (!is_compared(settings) || warm_up(context, &made.plain, &plain_runs, error));
    m->seconds.count = m->plain_seconds.count = m->gflops.count = m->gbs.count = 0;
    m->bytes = made.bytes;
    for (int round = 0; good && (round < LEAST_ROUNDS || total < least_seconds); round++) {
        good = measure_round(context, &made, meter, runs, plain_runs, m, &total, error);
    }
    free_problem(&made);
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
    printf("%-48s %9s %8s %8s %7s %7s %7s %7s", "batch x heads x kv_heads x queries x keys x d",
           "ms", "GFLOP/s", "peak", "share", "GB/s", "read", "share");
    if (is_compared(settings)) printf(" %9s %7s", "plain ms", "times");
    printf("\n");
}

static void print_row(const bench_case *c, const char *problem, measurement *m) {
    const double seconds = median(&m->seconds);
    const double gflops = operations(c) / seconds * 1e-9;
    const double gbs = m->bytes / seconds * 1e-9;
    const double peak = median(&m->gflops), read = median(&m->gbs);
    printf("%-48s %9.3f %8.1f %8.1f %5.1f %% %7.1f %7.1f %5.1f %%", problem, seconds * 1e3, gflops,
           peak, 100 * gflops / peak, gbs, read, 100 * gbs / read);
    if (m->plain_seconds.count > 0) {
        const double plain = median(&m->plain_seconds);
        printf(" %9.3f %7.3f", plain * 1e3, seconds / plain);
    }
    printf("\n");
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
    if (object && m->plain_seconds.count > 0) {
        const double plain = median(&m->plain_seconds);
        (void)json_object_set_new(object, "plain_milliseconds", json_real(plain * 1e3));
        (void)json_object_set_new(object, "times_plain", json_real(seconds / plain));
    }
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
        char problem[512];
        describe(&cases[i], settings, problem, sizeof problem);
        show_progress(problem, i, count);
        good = measure_case(&cases[i], settings, context, meter, m, error);
        clear_progress();
        if (!good) break;
        if (settings->json) good = print_object(&cases[i], context, problem, m, error);
        else print_row(&cases[i], problem, m);
        (void)fflush(stdout);
    }
    free(m);
    return good;
}

/* The shapes that were asked for, or the standard ones, with the options applied. Where options are
 * given, standard problems that have some of their own are left out. */
static int collect_cases(const bench_settings *settings, bench_case *cases) {
    const bench_case *const extra = &settings->extra;
    const bool plain =
        !extra->causal && !extra->weights && !extra->window.enabled && !is_compared(settings);
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
    bench_settings settings = {.dtype = ATTN_F32, .views = cli_view_defaults};
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

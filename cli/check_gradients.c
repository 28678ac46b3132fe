/* attn check-gradients: attn_backward against the reference, and the reference against
 * differences. */
#define _GNU_SOURCE
#include "check.h"
#include "cli.h"
#include "kinds.h"

#include <float.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct result_list {
    bool wanted[CHECK_RESULTS], given;
} result_list;

typedef struct check_settings {
    cli_problem_settings problem;
    check_shape shape;
    attn_dtype dtype;
    result_list from;
    int64_t samples;
    bool json;
} check_settings;

static const char *const result_names[CHECK_RESULTS] = {"output", "lse", "weights", "received-sum",
                                                        "entropy"};

static bool parse_shape(void *field, const char *text, io_error *error) {
    check_shape *const shape = field;
    bool good = cli_read_numbers(text, shape->size, 6);
    for (int i = 0; good && i < 6; i++) good = shape->size[i] > 0;
    shape->enabled = good;
    return good || io_fail(error, "expected six whole numbers above 0: "
                                  "batch,heads,kv_heads,queries,keys,width");
}

static bool parse_dtype(void *field, const char *text, io_error *error) {
    static const char *const names[] = {"f32", "f64"};
    int choice = 0;
    if (!cli_word(names, 2, sizeof names[0], text, &choice, error)) return false;
    *(attn_dtype *)field = choice == 0 ? ATTN_F32 : ATTN_F64;
    return true;
}

/* Names with commas between them. */
static bool parse_from(void *field, const char *text, io_error *error) {
    result_list *const list = field;
    *list = (result_list){.given = true};
    for (;;) {
        const size_t length = strcspn(text, ",");
        int found = -1;
        for (int i = 0; i < CHECK_RESULTS; i++) {
            if (cli_same_name(result_names[i], text, length)) found = i;
        }
        if (found < 0) {
            return cli_expect_word(result_names, CHECK_RESULTS, sizeof result_names[0], error);
        }
        list->wanted[found] = true;
        if (!text[length]) return true;
        text += length + 1;
    }
}

#define FIELD(member) offsetof(check_settings, member)

static const cli_option check_options[] = {
    {"shape", "B,H,KV,Q,K,D",
     "random inputs: batch, heads, key heads, queries, keys, width;\n"
     "also what the score needs and no file is named for",
     parse_shape, FIELD(shape)},
    {"dtype", "TYPE", "of random inputs, f32 or f64 (f32)", parse_dtype, FIELD(dtype)},
    {"from", "NAME,...",
     "results whose gradients, random ones, flow in: output, lse,\n"
     "weights, received-sum, entropy (output)",
     parse_from, FIELD(from)},
    {"samples", "N", "compare N elements of each gradient with differences (20)", cli_count,
     FIELD(samples)},
    {0},
};

static const cli_option output_options[] = {
    {"json", NULL, "print one JSON object", cli_flag, FIELD(json)},
    {0},
};

static const cli_group groups[] = {
    {"the check", check_options, 0},
    {"inputs, without --shape", cli_input_options, FIELD(problem)},
    {"score", cli_kind_options, FIELD(problem)},
    {"changes to the score", cli_score_options, FIELD(problem)},
    {"terms by the offset of key from query", cli_relative_options, FIELD(problem)},
    {"location-aware scores (additive, concat)", cli_location_options, FIELD(problem)},
    {"normalizer", cli_normalizer_options, FIELD(problem)},
    {"noise; the seed is that of random inputs too", cli_noise_options, FIELD(problem)},
    {"mask (all that is given applies together)", cli_mask_options, FIELD(problem)},
    {"machine", cli_machine_options, FIELD(problem)},
    {"output", output_options, 0},
    {0},
};

static const cli_usage usage = {
    "attn check-gradients",
    "attn check-gradients --shape B,H,KV,Q,K,D [OPTION]...\n"
    "       attn check-gradients --query FILE --key FILE --value FILE [OPTION]...\n"
    "       attn check-gradients FILE.safetensors [OPTION]...",
    "Holds every gradient of attn_backward against the reference in float64, and elements of the\n"
    "reference against central differences. Exits with 1 if a gradient is wrong.",
    groups, 1};

static bool check_options_fit(const check_settings *settings, const char *path, io_error *error) {
    const cli_normalizer *const normalizer = &cli_normalizers[settings->problem.normalizer];
    const bool *const from = settings->from.wanted;
    if (settings->shape.enabled && path) {
        return io_fail(error, "--shape: %s already holds query, key and value", path);
    }
    if (!settings->shape.enabled && settings->dtype != ATTN_DTYPE_NONE) {
        return io_fail(error, "--dtype needs --shape: files have a type of their own");
    }
    if (from[CHECK_OF_LSE] && !normalizer->lse) {
        return io_fail(error,
                       "--from lse: --normalizer %s has no log-sum-exp, only softmax and "
                       "softmax-one have one",
                       normalizer->name);
    }
    if (from[CHECK_OF_ENTROPY] && normalizer->kind == ATTN_LINEAR) {
        return io_fail(error, "--from entropy: weights of --normalizer linear may be below 0, and "
                              "have none");
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------
 * The check
 * ------------------------------------------------------------------------------------------- */

typedef enum verdict { RIGHT, KINK, VAGUE, WRONG, NOT_FINITE } verdict;

static const char *const verdicts[] = {"right", "kink", "vague", "wrong", "not finite"};

typedef struct row {
    int64_t elements, kinks; /* kinks: elements that a kink alone explains */
    double largest;          /* |gradient| of the reference */
    double error, bound;     /* largest error; bound of the element nearest to its own, or beyond */
    double share;            /* of the bound, at that element */
    check_difference difference;
    check_id id;
    verdict verdict;
    bool finite;
} row;

/* The cell of an element, as bounds have them. */
static double bound_at(const attn_tensor *bounds, const int64_t x[4]) {
    int64_t at[4];
    for (int a = 0; a < 4; a++) at[a] = bounds->shape[a] == 1 ? 0 : x[a];
    return check_at(bounds, at[0], at[1], at[2], at[3]);
}

static void compare_element(const check_input *input, const check_bounds *bounds, int64_t n,
                            double u, row *r) {
    int64_t x[4];
    check_index(&input->x, n, x);
    const double exact = check_at(&input->exact, x[0], x[1], x[2], x[3]);
    const double off = fabs(check_at(&input->fast, x[0], x[1], x[2], x[3]) - exact);
    const double rounding = u * fabs(exact);
    const double smooth = bound_at(&bounds->smooth[r->id], x) + rounding;
    const double kinks = bound_at(&bounds->kinks[r->id], x) + rounding;
    r->finite = r->finite && isfinite(off);
    if (!isfinite(off)) return;
    const bool explained = off > smooth && off <= kinks;
    const double bound = explained ? kinks : smooth;
    const double share = off == 0 ? 0 : bound > 0 ? off / bound : INFINITY;
    r->kinks += explained;
    r->largest = fmax(r->largest, fabs(exact));
    r->error = fmax(r->error, off);
    if (r->share >= share) return;
    r->share = share;
    r->bound = bound;
}

/* A bound above the largest gradient could not tell a wrong one from a right one. */
static verdict judge(const row *r, bool compared) {
    if (!r->finite) return NOT_FINITE;
    if (r->share > 1 || (compared && r->difference.share > 1)) return WRONG;
    if (r->kinks > 0) return KINK;
    return r->largest > 0 && !(r->bound < r->largest) ? VAGUE : RIGHT;
}

static bool check_input_gradient(check_problem *c, const check_settings *settings,
                                 const check_bounds *bounds, double loss_error, double u, row *r,
                                 io_error *error) {
    const check_input *const input = &c->inputs[r->id];
    r->elements = check_count(&input->x);
    r->finite = true;
    r->share = -1;
    for (int64_t n = 0; n < r->elements; n++) compare_element(input, bounds, n, u, r);
    const bool differences = settings->samples > 0 && r->finite;
    if (differences &&
        !check_differences(c, r->id, settings->samples, loss_error, &r->difference, error)) {
        return false;
    }
    r->verdict = judge(r, differences);
    return true;
}

static void show_progress(const char *what) {
    if (!isatty(STDERR_FILENO)) return;
    if (what) (void)fprintf(stderr, "\r\033[Kchecking %s", what);
    else (void)fprintf(stderr, "\r\033[K");
    (void)fflush(stderr);
}

/* All gradients; their number. */
static bool check_all(check_problem *c, const check_settings *settings, row *rows, int *count,
                      io_error *error) {
    const double u = c->given.problem.query.dtype == ATTN_F32 ? 0x1p-24 : 0x1p-53;
    check_bounds bounds = {0}, exact = {0};
    /* Both sides of the comparison round. */
    bool good = check_find_bounds(c, u + 0x1p-53, &bounds, error) &&
                check_find_bounds(c, 0x1p-53, &exact, error);
    *count = 0;
    for (check_id id = 0; good && id < CHECK_INPUTS; id++) {
        if (!c->inputs[id].x.data) continue;
        show_progress(c->inputs[id].name);
        rows[*count] = (row){.id = id};
        good = check_input_gradient(c, settings, &bounds, exact.loss, u, &rows[*count], error);
        *count += good;
    }
    show_progress(NULL);
    check_free_bounds(&bounds);
    check_free_bounds(&exact);
    return good;
}

/* ---------------------------------------------------------------------------------------------
 * The report
 * ------------------------------------------------------------------------------------------- */

static double in_u(const row *r, double u) {
    return r->largest > 0 ? r->error / (u * r->largest) : 0;
}

static void print_row(const check_problem *c, const row *r, double u) {
    const check_difference *const d = &r->difference;
    printf("%-22s %9" PRId64, c->inputs[r->id].name, r->elements);
    if (!r->finite) {
        printf("%*s%s\n", 82, "", verdicts[r->verdict]);
        return;
    }
    printf(" %9.3g %9.2g %8.1f %9.2g", r->largest, r->error, in_u(r, u), r->bound);
    if (d->samples == 0) printf("%8s %10s %10s %5s  ", "", "", "", "");
    else if (d->share < 0) printf("%8" PRId64 " %10s %10s", d->samples, "", "");
    else printf("%8" PRId64 " %10.2g %10.2g", d->samples, d->off, d->bound);
    if (d->samples > 0) printf(" %5" PRId64 "  ", d->kinks);
    printf("%s", verdicts[r->verdict]);
    if (r->verdict == KINK) printf(" (%" PRId64 " elements)", r->kinks);
    if (r->verdict == WRONG) printf(r->share > 1 ? " (reference)" : " (differences)");
    if (d->vague > 0) printf(" (%" PRId64 " differences vague)", d->vague);
    printf("\n");
}

static void print_table(const check_problem *c, const row *rows, int count, double u) {
    printf("%-22s %9s %9s %9s %8s %9s%8s %10s %10s %5s  %s\n", "gradient of", "elements", "largest",
           "error", "in u", "bound", "samples", "difference", "bound", "kinks", "verdict");
    for (int i = 0; i < count; i++) print_row(c, &rows[i], u);
}

/* JSON has no NaN. */
static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *object_of(const check_problem *c, const row *r, double u) {
    const check_difference *const d = &r->difference;
    const bool compared = d->samples > d->kinks;
    return json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:s}", "tensor",
                     c->inputs[r->id].name, "elements", (json_int_t)r->elements, "largest",
                     number(r->largest), "error", number(r->finite ? r->error : NAN), "error_in_u",
                     number(in_u(r, u)), "bound", number(r->bound), "kink_elements",
                     (json_int_t)r->kinks, "samples", (json_int_t)d->samples, "kinks",
                     (json_int_t)d->kinks, "vague", (json_int_t)d->vague, "difference",
                     number(compared ? d->off : NAN), "difference_bound",
                     number(compared ? d->bound : NAN), "verdict", verdicts[r->verdict]);
}

static bool print_object(const check_problem *c, const row *rows, int count, double u, bool right,
                         io_error *error) {
    json_t *const gradients = json_array();
    bool good = gradients != NULL;
    for (int i = 0; good && i < count; i++) {
        good = json_array_append_new(gradients, object_of(c, &rows[i], u)) == 0;
    }
    json_t *const object =
        json_pack("{s:b, s:f, s:o}", "right", right, "u", u, "gradients", gradients);
    good = good && object && json_dumpf(object, stdout, JSON_REAL_PRECISION(6)) == 0;
    printf("\n");
    json_decref(object);
    return good || io_fail(error, "the JSON object could not be printed");
}

static bool report(const check_problem *c, const check_settings *settings, const row *rows,
                   int count, io_error *error) {
    const double u = c->given.problem.query.dtype == ATTN_F32 ? 0x1p-24 : 0x1p-53;
    bool right = true;
    for (int i = 0; i < count; i++) right = right && rows[i].verdict < WRONG;
    if (!right) cli_set_status(1);
    if (settings->json) return print_object(c, rows, count, u, right, error);
    print_table(c, rows, count, u);
    return true;
}

/* The reference does about 10^9 operations a second: some minutes. */
static const double operations_most = 1e11;
enum { LEAST_FORWARDS = 8 }; /* two for each of the bounds, forward and backward */

static bool check_operations_of(const check_settings *settings, double operations,
                                io_error *error) {
    if (operations <= operations_most) return true;
    return io_fail(error,
                   "the reference would do about %.1g operations, more than %.0g: expected a "
                   "smaller problem%s",
                   operations, operations_most,
                   settings->samples > 0 ? ", or fewer --samples" : "");
}

/* Before anything is made in a shape's size: without samples, as if the score were a dot product. */
static bool check_shape_cost(const check_settings *settings, io_error *error) {
    const int64_t *const s = settings->shape.size;
    const double pairs = (double)s[0] * (double)s[1] * (double)s[3] * (double)s[4];
    const double operations = LEAST_FORWARDS * 2 * pairs * (CHECK_PAIR_COST + 2 * (double)s[5]);
    return !settings->shape.enabled || check_operations_of(settings, operations, error);
}

static bool check_cost(const check_problem *c, const check_settings *settings, io_error *error) {
    double forwards = LEAST_FORWARDS;
    for (check_id id = 0; id < CHECK_INPUTS; id++) {
        const int64_t elements = c->inputs[id].x.data ? check_count(&c->inputs[id].x) : 0;
        const int64_t samples = settings->samples < elements ? settings->samples : elements;
        forwards += 6 * (double)samples;
    }
    return check_operations_of(settings, forwards * check_operations(c), error);
}

bool cli_check_gradients(int argc, char **argv, io_error *error) {
    check_settings settings = {.samples = 20};
    row rows[CHECK_INPUTS];
    int count = 0;
    attn_context *context = NULL;
    const cli_parsed parsed = cli_parse(&usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    const char *const path = cli_operand(argc, argv, 0);
    if (!settings.from.given) settings.from.wanted[CHECK_OF_OUTPUT] = true;
    if (!check_options_fit(&settings, path, error) || !check_shape_cost(&settings, error)) {
        return false;
    }
    settings.shape.dtype = settings.dtype == ATTN_F64 ? ATTN_F64 : ATTN_F32;
    check_problem *const c = calloc(1, sizeof *c);
    if (!c) return io_fail(error, "no memory");
    bool good =
        check_open(c, &settings.problem, path, &settings.shape, settings.from.wanted, error);
    good = good && check_cost(c, &settings, error);
    good =
        good && cli_open_context(&context, settings.problem.threads, settings.problem.isa, error);
    good = good && check_run(c, context, error);
    good = good && check_all(c, &settings, rows, &count, error);
    good = good && report(c, &settings, rows, count, error);
    attn_context_destroy(context);
    check_close(c);
    free(c);
    return good;
}

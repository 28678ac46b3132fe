/* optimizer.c: what happens to parameters between two passes. */
#include "nn.h"

#include <math.h>

static const attn_nn_kernels *kernels_of(attn_context *context) {
    return attn_nn_kernels_for(attn_context_isa(context));
}

/* --- AdamW ---------------------------------------------------------------------------------------- */

static double or_default(double value, double default_value) {
    return value == 0 ? default_value : value;
}

/* 1/(1 - keep^step), of which 1 - keep^step keeps its digits where keep is near 1. */
static double unbias(double keep, int64_t step) {
    return -1 / expm1((double)step * log(keep));
}

static attn_nn_adam_factors constants(const attn_nn_adam_options *o, double rate,
                                      double gradient_by, int64_t step) {
    const double mean_keep = or_default(o->mean_keep, 0.9);
    const double square_keep = or_default(o->square_keep, 0.98);
    attn_nn_adam_factors by;
    by.rate = (real)rate;
    by.mean_keep = (real)mean_keep, by.square_keep = (real)square_keep;
    by.mean_by = (real)unbias(mean_keep, step), by.square_by = (real)unbias(square_keep, step);
    by.epsilon = (real)or_default(o->epsilon, 1e-9);
    by.decay = (real)o->decay;
    by.gradient_by = (real)gradient_by;
    return by;
}

void attn_nn_adam(attn_context *context, const attn_nn_adam_options *options,
                  const attn_nn_layout *layout, double rate, double gradient_by, int64_t step,
                  int64_t first, int64_t count, attn_nn_real *values, const attn_nn_real *gradients,
                  attn_nn_real *mean, attn_nn_real *square) {
    const attn_nn_kernels *const k = kernels_of(context);
    const attn_nn_adam_factors matrix = constants(options, rate, gradient_by, step);
    if (layout == NULL || options->decay == 0) {
        k->adam(&matrix, values + first, gradients + first, mean + first, square + first, count);
        return;
    }
    attn_nn_adam_factors vector = matrix;
    vector.decay = 0;
    for (int64_t i = 0; i < layout->count; i++) {
        const attn_nn_parameter *const p = &layout->parameters[i];
        const int64_t end = p->offset + p->rows * p->columns;
        const int64_t from = p->offset > first ? p->offset : first;
        const int64_t to = end < first + count ? end : first + count;
        if (from >= to) continue;
        k->adam(p->rows > 1 ? &matrix : &vector, values + from, gradients + from, mean + from,
                square + from, to - from);
    }
}

double attn_nn_length(attn_context *context, const attn_nn_real *x, int64_t count) {
    return sqrt(kernels_of(context)->sum_of_squares(x, count));
}

double attn_nn_clip(double length, double limit) {
    if (!isfinite(length)) return 0;
    return limit > 0 && length > limit ? limit / length : 1;
}

/* --- Rates ---------------------------------------------------------------------------------------- */

/* How much of the way from the end of the warm-up to the last step is left: 1 to 0. */
static double left_of(const attn_nn_schedule *s, int64_t step) {
    if (step >= s->steps) return 0;
    return (double)(s->steps - step) / (double)(s->steps - s->warm_up);
}

double attn_nn_rate(const attn_nn_schedule *s, int64_t step) {
    const double pi = 3.14159265358979323846;
    if (step < s->warm_up) return s->peak * (double)step / (double)s->warm_up;
    switch (s->kind) {
    case ATTN_NN_INVERSE_ROOT:
        return s->peak * sqrt((double)(s->warm_up > 1 ? s->warm_up : 1) / (double)step);
    case ATTN_NN_LINEAR: return s->floor + (s->peak - s->floor) * left_of(s, step);
    case ATTN_NN_COSINE:
        return s->floor + (s->peak - s->floor) * (1 - cos(pi * left_of(s, step))) / 2;
    case ATTN_NN_CONSTANT: break;
    }
    return s->peak;
}

/* --- Averages ------------------------------------------------------------------------------------- */

void attn_nn_average(attn_context *context, attn_nn_real *average, const attn_nn_real *values,
                     double keep, int64_t count) {
    const attn_nn_kernels *const k = kernels_of(context);
    if (keep == 0) {
        if (count > 0) memcpy(average, values, (size_t)count * sizeof *average);
        return;
    }
    k->multiply(average, (real)keep, count);
    k->add(average, (real)(1 - keep), values, count);
}

double attn_nn_average_keep(double keep, int64_t step) {
    const double early = (double)(step - 1) / (double)(step + 9);
    return early < keep ? early : keep;
}

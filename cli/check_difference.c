/* check_difference.c: gradients of the reference against differences of its forward.
 *
 * The loss L is the sum of what flows in times the results. At steps of h, h/2 and h/4 of one
 * element,
 *
 *     D(h) = (L(x + h) - L(x - h)) / 2h = L' + h^2 L'''/6 + O(h^4)
 *
 * Richardson's R(h) = (4 D(h/2) - D(h)) / 3 is off by O(h^4), so R(h/2) by 1/15 of what separates
 * it from R(h), to first order. With E how far L may be off by rounding, D(h/4) is off by 4 E/h,
 * D(h/2) by 2 E/h and R(h/2) by 6 E/h. The gradient must be within |R(h/2) - R(h)| + 6 E/h of
 * R(h/2).
 *
 * Near kinks none of this holds. With S(h) = (L(x + h) - 2 L(x) + L(x - h)) / h, where L is
 * smooth D(h/2) - D(h/4) is 1/4 of D(h) - D(h/2), and S(h/2) - 2 S(h/4) is 1/8 of S(h) - 2
 * S(h/2), beside 6 (3) E/h and 40 (20) E/h of rounding; if a slope jumps within h/2, one of the
 * ratios is over 0.4 or 1/4, or R(h/2) is off by less than separates it from R(h). Then, and
 * where the bound is above a thousandth of the largest gradient, smaller steps are tried; what
 * stays is counted as a kink, or as vague. */
#include "check.h"

#include <math.h>
#include <stdlib.h>

/* Long double, so that this sum adds nothing to E. */
static long double product(const attn_tensor *from, const attn_tensor *result) {
    long double sum = 0;
    const int64_t count = from->data ? check_count(from) : 0;
    const double *const a = from->data, *const b = result->data;
    for (int64_t n = 0; n < count; n++) {
        /* The log-sum-exp of a row that sees nothing is -infinity, and has no share. */
        if (isfinite(b[n]) || isnan(b[n])) sum += (long double)a[n] * b[n];
    }
    return sum;
}

static bool loss(const check_problem *c, double *value, io_error *error) {
    if (attn_reference_forward(&c->exact) != ATTN_OK) {
        return io_fail(error, "%s", attn_error_message());
    }
    *value = (double)(product(&c->exact_from.output, &c->exact.output) +
                      product(&c->exact_from.lse, &c->exact.lse) +
                      product(&c->exact_from.weights, &c->exact.weights) +
                      product(&c->exact_from.received_sum, &c->views.received_sum) +
                      product(&c->exact_from.entropy, &c->views.entropy));
    return true;
}

/* D and S of h, h/2, h/4. */
typedef struct differences {
    double d[3], s[3];
} differences;

static bool find_differences(const check_problem *c, double *x, double here, double h,
                             differences *found, io_error *error) {
    const double base = *x;
    bool good = true;
    for (int k = 0; good && k < 3; k++) {
        const double step = ldexp(h, -k);
        double up = 0, down = 0;
        *x = base + step;
        good = loss(c, &up, error);
        *x = base - step;
        good = good && loss(c, &down, error);
        found->d[k] = (up - down) / (2 * step);
        found->s[k] = ((up - here) - (here - down)) / step;
    }
    *x = base;
    return good;
}

static bool has_kink(const differences *x, double noise) {
    const double *const d = x->d, *const s = x->s;
    return !isfinite(s[0] + s[1] + s[2]) ||
           fabs(d[1] - d[2]) > .4 * fabs(d[0] - d[1]) + 8 * noise ||
           fabs(s[1] - 2 * s[2]) > fabs(s[0] - 2 * s[1]) / 4 + 45 * noise;
}

/* What one element comes to; bound NAN: at a kink. */
typedef struct outcome {
    double off, bound;
} outcome;

static bool compare(const check_problem *c, double *x, double gradient, double here, double h,
                    double error, outcome *result, io_error *reason) {
    differences found;
    if (!find_differences(c, x, here, h, &found, reason)) return false;
    const double *const d = found.d, noise = error / h;
    const double coarse = (4 * d[1] - d[0]) / 3, fine = (4 * d[2] - d[1]) / 3;
    result->off = fabs(gradient - fine);
    result->bound = has_kink(&found, noise) ? NAN : fabs(fine - coarse) + 6 * noise;
    return true;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A power of two about the usual size of the elements: their median; 1 if that is 0. */
static bool usual_size(const attn_tensor *x, double *size, io_error *error) {
    const int64_t all = check_count(x);
    const double *const data = x->data;
    double *const sorted = malloc((size_t)all * sizeof *sorted + 1);
    int64_t count = 0;
    if (!sorted) return io_fail(error, "no memory for a tensor of this shape");
    for (int64_t n = 0; n < all; n++) {
        if (isfinite(data[n])) sorted[count++] = fabs(data[n]);
    }
    qsort(sorted, (size_t)count, sizeof *sorted, by_size);
    const double median = count > 0 ? sorted[count / 2] : 0;
    *size = median > 0 ? ldexp(1, ilogb(median)) : 1;
    free(sorted);
    return true;
}

static double largest_of(const attn_tensor *t) {
    const int64_t count = check_count(t);
    double most = 0;
    for (int64_t n = 0; n < count; n++) most = fmax(most, fabs(((const double *)t->data)[n]));
    return most;
}

/* Steps from 2^-8 of the usual size down, until one tells something. */
static bool compare_element(const check_problem *c, check_id id, int64_t n, double size,
                            double here, double error, outcome *best, io_error *reason) {
    const check_input *const input = &c->inputs[id];
    double *const x = (double *)input->x.data + n;
    const double gradient = ((const double *)input->exact.data)[n];
    const double wanted = 1e-3 * largest_of(&input->exact);
    *best = (outcome){.bound = NAN};
    for (int k = 8; k <= 20; k += 3) {
        outcome now;
        if (!compare(c, x, gradient, here, ldexp(size, -k), error, &now, reason)) return false;
        if (isnan(now.bound)) continue;
        if (isnan(best->bound) || now.bound < best->bound) *best = now;
        if (now.bound <= wanted) break;
    }
    return true;
}

static void count_outcome(const outcome *now, double wanted, check_difference *result) {
    result->samples++;
    if (isnan(now->bound)) {
        result->kinks++;
        return;
    }
    const double share = now->bound > 0 ? now->off / now->bound : now->off > 0 ? INFINITY : 0;
    if (wanted > 0 && now->bound > wanted) result->vague++;
    if (!(share <= result->share)) {
        result->share = share, result->off = now->off, result->bound = now->bound;
    }
}

bool check_differences(check_problem *c, check_id id, int64_t samples, double error,
                       check_difference *result, io_error *reason) {
    const check_input *const input = &c->inputs[id];
    const int64_t all = check_count(&input->x);
    const double wanted = 1e-3 * largest_of(&input->exact);
    double size = 0, here = 0;
    *result = (check_difference){.share = -1};
    if (!usual_size(&input->x, &size, reason) || !loss(c, &here, reason)) return false;
    for (int64_t k = 0; k < samples && k < all; k++) {
        const int64_t n = samples < all ? (int64_t)(check_uniform(&c->random) * (double)all) : k;
        outcome now;
        /* One that hides pairs (-infinity, or a window without factors) cannot be moved. */
        if (!isfinite(((const double *)input->x.data)[n])) continue;
        if (!compare_element(c, id, n, size, here, error, &now, reason)) return false;
        count_outcome(&now, wanted, result);
    }
    return true;
}

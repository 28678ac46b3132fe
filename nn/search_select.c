/* search_select.c: from log probabilities over a vocabulary to the few tokens that matter. */
#include "search.h"

#include <math.h>

/* --- The best continuations ----------------------------------------------------------------------- */

/* Looked at together: what has nothing above the threshold is passed over as fast as it is read. */
enum { STRETCH = 64 };

static bool any_above(const real *x, int64_t count, real threshold) {
    int any = 0;
    for (int64_t i = 0; i < count; i++) any |= x[i] > threshold;
    return any != 0;
}

/* A number that every x with base + x > worst is above. As rounding keeps order, base + x > worst holds
 * without rounding too, so x > worst - base; that rounds to no more than halfway to its neighbours, so
 * the neighbour below is at most worst - base. */
static real threshold_of(const attn_nn_best *best, double base) {
    if (best->count < best->capacity) return (real)-INFINITY;
    const real near = (real)(best->items[best->count - 1].total - base);
#ifdef ATTN_NN_DOUBLE
    return nextafter(near, -INFINITY);
#else
    return nextafterf(near, -INFINITY);
#endif
}

static void offer(attn_nn_best *best, attn_nn_candidate c) {
    int64_t at = best->count;
    if (at == best->capacity) {
        if (at == 0 || !(c.total > best->items[at - 1].total)) return;
        at--;
    } else {
        best->count++;
    }
    for (; at > 0 && c.total > best->items[at - 1].total; at--)
        best->items[at] = best->items[at - 1];
    best->items[at] = c;
}

void attn_nn_keep_best(attn_nn_best *best, const real *log_p, int64_t vocabulary, double base,
                       int64_t row) {
    for (int64_t first = 0; first < vocabulary; first += STRETCH) {
        const int64_t end = first + STRETCH < vocabulary ? first + STRETCH : vocabulary;
        const real threshold = threshold_of(best, base);
        if (!any_above(log_p + first, end - first, threshold)) continue;
        for (int64_t v = first; v < end; v++) {
            if (!(log_p[v] > threshold)) continue;
            offer(best, (attn_nn_candidate){base + (double)log_p[v], row, (int32_t)v});
        }
    }
}

/* --- Drawing -------------------------------------------------------------------------------------- */

static bool before(attn_nn_choice a, attn_nn_choice b) {
    return a.mass > b.mass || (a.mass == b.mass && a.token < b.token);
}

static void swap(attn_nn_choice *a, attn_nn_choice *b) {
    const attn_nn_choice kept = *a;
    *a = *b;
    *b = kept;
}

/* Parts choices first .. last-1 by the middle one of three, and returns where that comes to lie. */
static int64_t part(attn_nn_choice *c, int64_t first, int64_t last) {
    attn_nn_choice *const a = c + first, *const b = c + first + (last - first) / 2,
                          *const e = c + last - 1;
    if (before(*b, *a)) swap(a, b);
    if (before(*e, *b)) swap(b, e);
    if (before(*b, *a)) swap(a, b);
    const attn_nn_choice pivot = *b;
    swap(b, e);
    int64_t place = first;
    for (int64_t i = first; i < last - 1; i++) {
        if (before(c[i], pivot)) swap(c + i, c + place++);
    }
    swap(c + place, c + last - 1);
    return place;
}

/* Hoare's selection (1961) by weight: choices before `first` lead and do not reach the goal, those from
 * `last` on are not needed. */
int64_t attn_nn_leading(attn_nn_choice *c, int64_t count, double goal, bool by_mass) {
    int64_t first = 0, last = count;
    double sum = 0; /* of those before first */
    while (first < last) {
        const int64_t place = part(c, first, last);
        double more = 0;
        for (int64_t i = first; i < place; i++) more += by_mass ? c[i].mass : 1;
        if (place > first && sum + more >= goal) {
            last = place;
            continue;
        }
        sum += more + (by_mass ? c[place].mass : 1);
        if (sum >= goal) return place + 1;
        first = place + 1;
    }
    return last;
}

static int64_t list_choices(const real *log_p, int64_t vocabulary, double temperature,
                            attn_nn_choice *choices) {
    real most = (real)-INFINITY;
    for (int64_t v = 0; v < vocabulary; v++) most = log_p[v] > most ? log_p[v] : most;
    int64_t count = 0;
    for (int64_t v = 0; v < vocabulary; v++) {
        if (!(log_p[v] > (real)-INFINITY)) continue;
        const double mass = exp(((double)log_p[v] - (double)most) / temperature);
        choices[count++] = (attn_nn_choice){mass, (int32_t)v};
    }
    return count;
}

static double sum_of(const attn_nn_choice *choices, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += choices[i].mass;
    return sum;
}

int32_t attn_nn_draw(const real *log_p, int64_t vocabulary, const attn_nn_search_options *o,
                     double u, attn_nn_choice *choices) {
    int64_t count = list_choices(log_p, vocabulary, o->temperature, choices);
    if (count == 0) return -1;
    if (o->top_k > 0) count = attn_nn_leading(choices, count, (double)o->top_k, false);
    if (o->top_p < 1) {
        count = attn_nn_leading(choices, count, o->top_p * sum_of(choices, count), true);
    }
    /* The sum is made again in the same order: it reaches its end above u * sum, as u < 1. */
    const double until = u * sum_of(choices, count);
    double sum = 0;
    int64_t i = 0;
    while (i < count - 1 && !((sum += choices[i].mass) > until)) i++;
    return choices[i].token;
}

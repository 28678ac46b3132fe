/* unfused.c: attention by BLAS, as one writes it without a fused kernel: a matrix product for the
 * scores, a softmax over whole rows, a matrix product for the output; for a single query the
 * matrix-vector products that BLAS has for it. This is the baseline that libattn promises never to
 * be slower than, so it is in C: through Python its two calls would cost more than small problems.
 *
 * bench/contenders.py compiles it with -O3 -march=native -ffast-math, with which gcc vectorises
 * the softmax (expf from libmvec), and gives it the sgemm and sgemv of the BLAS under test. */
#include <math.h>
#include <stdint.h>

/* Fortran's BLAS interface. Integers are passed by address: on a little-endian machine a library
 * with 32-bit integers reads the low half of ours, so the same types fit both kinds. */
typedef void sgemm_function(const char *trans_a, const char *trans_b, const int64_t *m,
                            const int64_t *n, const int64_t *k, const float *alpha, const float *a,
                            const int64_t *lda, const float *b, const int64_t *ldb,
                            const float *beta, float *c, const int64_t *ldc);
typedef void sgemv_function(const char *trans, const int64_t *m, const int64_t *n,
                            const float *alpha, const float *a, const int64_t *lda, const float *x,
                            const int64_t *incx, const float *beta, float *y, const int64_t *incy);

/* [heads][length][width] each, dense; weights is [n_query][n_key], reused by every head. */
typedef struct unfused_problem {
    sgemm_function *sgemm;
    sgemv_function *sgemv;
    int64_t heads, n_query, n_key, d;
    const float *query, *key, *value;
    float *output, *weights;
} unfused_problem;

static const float zero = 0, one = 1;
static const int64_t unit_stride = 1;

static void score(const unfused_problem *p, const float *query, const float *key) {
    const float scale = 1 / sqrtf((float)p->d);
    if (p->n_query == 1) {
        p->sgemv("T", &p->d, &p->n_key, &scale, key, &p->d, query, &unit_stride, &zero, p->weights,
                 &unit_stride);
    } else {
        p->sgemm("T", "N", &p->n_key, &p->n_query, &p->d, &scale, key, &p->d, query, &p->d, &zero,
                 p->weights, &p->n_key);
    }
}

static void weigh(float *restrict row, int64_t n) {
    float max = row[0];
    for (int64_t j = 1; j < n; j++) max = row[j] > max ? row[j] : max;
    float sum = 0;
    for (int64_t j = 0; j < n; j++) sum += row[j] = expf(row[j] - max);
    const float inverse = 1 / sum;
    for (int64_t j = 0; j < n; j++) row[j] *= inverse;
}

static void aggregate(const unfused_problem *p, const float *value, float *output) {
    if (p->n_query == 1) {
        p->sgemv("N", &p->d, &p->n_key, &one, value, &p->d, p->weights, &unit_stride, &zero, output,
                 &unit_stride);
    } else {
        p->sgemm("N", "N", &p->d, &p->n_query, &p->n_key, &one, value, &p->d, p->weights, &p->n_key,
                 &zero, output, &p->d);
    }
}

void unfused_forward(const unfused_problem *p, int64_t repeats) {
    for (int64_t r = 0; r < repeats; r++) {
        for (int64_t h = 0; h < p->heads; h++) {
            score(p, p->query + h * p->n_query * p->d, p->key + h * p->n_key * p->d);
            for (int64_t i = 0; i < p->n_query; i++) weigh(p->weights + i * p->n_key, p->n_key);
            aggregate(p, p->value + h * p->n_key * p->d, p->output + h * p->n_query * p->d);
        }
    }
}

/* The same loop around attn_forward; returns the first status that is not 0. */
typedef int attn_forward_function(void *context, const void *problem);

int repeat_attn_forward(attn_forward_function *forward, void *context, const void *problem,
                        int64_t repeats) {
    int status = 0;
    for (int64_t r = 0; r < repeats && status == 0; r++) status = forward(context, problem);
    return status;
}

/* reference_element.c: elements of tensors, whatever their type, as float64. */
#include "attention/reference.h"

#include <math.h>

bool attn_ref_present(const attn_tensor *t) {
    return t->data != NULL;
}

/* In elements, from t->data. */
static int64_t offset(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j) {
    const int64_t index[4] = {b, h, i, j};
    int64_t sum = 0;
    for (int k = 0; k < 4; k++) {
        if (t->shape[k] != 1) sum += index[k] * t->stride[k];
    }
    return sum;
}

double attn_ref_load(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j) {
    const int64_t at = offset(t, b, h, i, j);
    if (t->dtype == ATTN_BOOL) return ((const unsigned char *)t->data)[at] != 0;
    if (t->dtype == ATTN_F32) return (double)((const float *)t->data)[at];
    return ((const double *)t->data)[at];
}

/* The bits of the nearest binary16 number, the even one of two. With 2^e <= |x| < 2^(e+1), its
 * numbers are multiples of 2^(e-10), and no finer than 2^-24; counting these multiples from 0 gives
 * the bits of exponent and fraction, and what rounds up to 2^(e+1) carries into the exponent. */
static uint16_t half_bits(double x) {
    const unsigned sign = signbit(x) ? 0x8000 : 0, infinity = 0x7C00, nan = 0x7E00;
    if (isnan(x)) return (uint16_t)(sign | nan);
    if (fabs(x) >= 65536) return (uint16_t)(sign | infinity);
    const int e = fabs(x) < 0x1p-14 ? -14 : ilogb(x);
    const unsigned multiples = (unsigned)rint(ldexp(fabs(x), 10 - e));
    return (uint16_t)(sign | (((unsigned)(e + 14) << 10) + multiples));
}

/* 255 w, rounded to nearest; no weight of 0 to 1 is cut off, and NaN is none. */
static uint8_t byte_of(double w) {
    return w > 0 ? (uint8_t)round(255 * fmin(w, 1)) : 0;
}

void attn_ref_store(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j, double x) {
    if (!attn_ref_present(t)) return;
    const int64_t at = offset(t, b, h, i, j);
    switch (t->dtype) {
    case ATTN_F32: ((float *)t->data)[at] = (float)x; break;
    case ATTN_F64: ((double *)t->data)[at] = x; break;
    case ATTN_F16: ((uint16_t *)t->data)[at] = half_bits(x); break;
    case ATTN_U8: ((uint8_t *)t->data)[at] = byte_of(x); break;
    case ATTN_I32: ((int32_t *)t->data)[at] = (int32_t)x; break;
    case ATTN_I64: ((int64_t *)t->data)[at] = (int64_t)x; break;
    case ATTN_BOOL:
    case ATTN_DTYPE_NONE: break; /* no result is */
    }
}

void attn_ref_fill(const attn_tensor *t, double x) {
    if (!attn_ref_present(t) || t->shape[1] == 0 || t->shape[2] == 0 || t->shape[3] == 0) return;
    for (int64_t b = 0; b < t->shape[0]; b++) {
        for (int64_t h = 0; h < t->shape[1]; h++) {
            for (int64_t i = 0; i < t->shape[2]; i++) {
                for (int64_t j = 0; j < t->shape[3]; j++) attn_ref_store(t, b, h, i, j, x);
            }
        }
    }
}

double attn_ref_round(attn_dtype dtype, double x) {
    return dtype == ATTN_F32 ? (double)(float)x : x;
}

void attn_ref_add(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j, double x) {
    if (attn_ref_present(t)) ((double *)t->data)[offset(t, b, h, i, j)] += x;
}

/* ---------------------------------------------------------------------------------------------
 * Callbacks
 * ------------------------------------------------------------------------------------------- */

static attn_tensor as_shown(const row *r, double *room) {
    return attn_tensor_dense(room, r->problem->query.dtype, 1, 1, 1, r->at.n_key);
}

/* The whole row of numbers, as a callback sees it. */
static attn_pairs show(const row *r, double *room, const double *numbers) {
    const attn_tensor t = as_shown(r, room);
    for (int64_t j = 0; j < r->at.n_key; j++) attn_ref_store(&t, 0, 0, 0, j, numbers[j]);
    return (attn_pairs){.data = t.data,
                        .dtype = t.dtype,
                        .rows = 1,
                        .keys = (int)r->at.n_key,
                        .row_stride = r->at.n_key,
                        .key_stride = 1,
                        .sequence = r->at.index,
                        .head = r->head,
                        .query = r->i,
                        .position = r->p,
                        .key = 0};
}

static void take_back(const row *r, double *room, double *numbers) {
    const attn_tensor t = as_shown(r, room);
    for (int64_t j = 0; attn_ref_present(&t) && j < r->at.n_key; j++)
        numbers[j] = attn_ref_load(&t, 0, 0, 0, j);
}

void attn_ref_call(const row *r, attn_pairs_callback *callback, void *user, double *numbers) {
    if (r->at.n_key == 0) return;
    const attn_pairs pairs = show(r, r->spare, numbers);
    callback(user, &pairs);
    take_back(r, r->spare, numbers);
}

void attn_ref_call_backward(const row *r, attn_pairs_gradient_callback *callback, void *user,
                            double *gradients, double *room) {
    if (r->at.n_key == 0) return;
    const attn_pairs given = show(r, r->spare, r->given), left = show(r, room, gradients);
    callback(user, &given, &left);
    take_back(r, room, gradients);
}

/* check_tensor.c: the rules for one tensor, and for the memory of all tensors of a call. */
#include "api/check_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Elements of any tensor: far below where int64 sums overflow. */
static const uint64_t MAX_ELEMENTS = (uint64_t)1 << 56;
static const int64_t MAX_WIDTH = (int64_t)1 << 24; /* widths are ints in the tile functions */

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [ATTN_DTYPE_NONE] = {"ATTN_DTYPE_NONE", 0},
    [ATTN_F32] = {"ATTN_F32", sizeof(float)},
    [ATTN_F64] = {"ATTN_F64", sizeof(double)},
    [ATTN_BOOL] = {"ATTN_BOOL", 1},
    [ATTN_F16] = {"ATTN_F16", 2},
    [ATTN_U8] = {"ATTN_U8", 1},
    [ATTN_I32] = {"ATTN_I32", sizeof(int32_t)},
    [ATTN_I64] = {"ATTN_I64", sizeof(int64_t)},
};

enum { DTYPES = sizeof dtypes / sizeof *dtypes };

size_t attn_dtype_size(attn_dtype dtype) {
    return (unsigned)dtype < DTYPES ? dtypes[dtype].size : 0;
}

static bool has_zero_dimension(const attn_tensor *t) {
    return t->shape[0] == 0 || t->shape[1] == 0 || t->shape[2] == 0 || t->shape[3] == 0;
}

bool attn_tensor_present(const attn_tensor *t) {
    return t->data != NULL || (t->dtype != ATTN_DTYPE_NONE && has_zero_dimension(t));
}

static uint64_t magnitude(int64_t x) {
    return x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
}

/* a * b, or UINT64_MAX if that is over `most`. Divides only for factors that could overflow: a
 * call on a small problem takes less time than thirty divisions. */
static uint64_t product_within(uint64_t a, uint64_t b, uint64_t most) {
    if ((a | b) >> 31 && b != 0 && a > most / b) return UINT64_MAX;
    return a * b <= most ? a * b : UINT64_MAX;
}

/* ------------------------------------------------------------------------- one tensor alone */

/* "ATTN_F32", "ATTN_F32 or ATTN_F64", "ATTN_F32, ATTN_F64 or ATTN_F16" */
static void name_dtypes(attn_dtypes set, char *text, size_t size) {
    size_t length = 0;
    text[0] = '\0';
    for (unsigned k = 0; k < DTYPES && length < size; k++) {
        if (!(set >> k & 1)) continue;
        set &= ~(1U << k);
        length += (size_t)snprintf(text + length, size - length, "%s%s", dtypes[k].name,
                                   set == 0                 ? ""
                                   : (set & (set - 1)) == 0 ? " or "
                                                            : ", ");
    }
}

static attn_status check_dtype(const char *name, const attn_tensor *t, attn_dtypes types) {
    const unsigned dtype = (unsigned)t->dtype;
    char expected[96]; /* all eight names and what is between them have 93 characters */
    if (dtype < DTYPES && types >> dtype & 1) return ATTN_OK;
    name_dtypes(types, expected, sizeof expected);
    return attn_fail(ATTN_ERROR_DTYPE, "%s.dtype is %s (%d), but must be %s", name,
                     dtype < DTYPES ? dtypes[dtype].name : "no type at all", (int)t->dtype,
                     expected);
}

static attn_status check_shape(const char *name, const attn_tensor *t) {
    for (int i = 0; i < 4; i++) {
        if (t->shape[i] < 0)
            return attn_fail(ATTN_ERROR_SHAPE, "%s.shape[%d] is %" PRId64 ", but must be 0 or more",
                             name, i, t->shape[i]);
    }
    if (has_zero_dimension(t)) return ATTN_OK;
    uint64_t elements = 1;
    for (int i = 0; i < 4; i++) {
        elements = product_within(elements, (uint64_t)t->shape[i], MAX_ELEMENTS);
        if (elements == UINT64_MAX)
            return attn_fail(ATTN_ERROR_SHAPE,
                             "%s.shape is [%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64
                             "]: more than 2^56 elements",
                             name, t->shape[0], t->shape[1], t->shape[2], t->shape[3]);
    }
    return ATTN_OK;
}

/* Finds the byte range, refusing one that would leave the address space. */
static attn_status check_strides(const char *name, const attn_tensor *t, attn_range *range) {
    const uint64_t size = attn_dtype_size(t->dtype);
    const uintptr_t data = (uintptr_t)t->data;
    const uint64_t most = (uint64_t)1 << 60; /* times any element's size it is no more than 2^63 */
    uint64_t below = 0, above = 0; /* bytes before and after data, to the last element's start */
    *range = (attn_range){name, data, data};
    if (has_zero_dimension(t)) return ATTN_OK;
    for (int i = 0; i < 4; i++) {
        const uint64_t reach =
            product_within((uint64_t)t->shape[i] - 1, magnitude(t->stride[i]), most);
        uint64_t *const side = t->stride[i] < 0 ? &below : &above;
        if (reach == UINT64_MAX || (*side += reach * size) > INT64_MAX)
            return attn_fail(ATTN_ERROR_STRIDE,
                             "%s.stride[%d] is %" PRId64 " over a size of %" PRId64
                             ": that leaves the address space",
                             name, i, t->stride[i], t->shape[i]);
    }
    if (below > data || above > UINTPTR_MAX - size - data)
        return attn_fail(ATTN_ERROR_STRIDE,
                         "%s.stride reaches outside the address space from %s.data", name, name);
    *range = (attn_range){name, data - (uintptr_t)below, data + (uintptr_t)(above + size)};
    return ATTN_OK;
}

static attn_status check_alignment(const char *name, const attn_tensor *t) {
    const size_t size = attn_dtype_size(t->dtype);
    if (((uintptr_t)t->data & (size - 1)) == 0) return ATTN_OK; /* sizes are powers of 2 */
    return attn_fail(ATTN_ERROR_ALIGNMENT,
                     "%s.data is not aligned to its element size of %zu bytes", name, size);
}

attn_status attn_check_tensor(const char *name, const attn_tensor *t, attn_dtypes types,
                              attn_range *range) {
    ATTN_TRY(check_dtype(name, t, types));
    ATTN_TRY(check_shape(name, t));
    ATTN_TRY(check_strides(name, t, range));
    return check_alignment(name, t);
}

/* Two coordinates of a result must not share memory. Sorted by stride, each step must be longer
 * than all shorter steps together reach: sufficient, and necessary for any layout in use. */
static attn_status check_distinct(const char *name, const attn_tensor *t) {
    int order[4] = {0, 1, 2, 3};
    if (has_zero_dimension(t)) return ATTN_OK;
    for (int i = 1; i < 4; i++) {
        for (int j = i;
             j > 0 && magnitude(t->stride[order[j]]) < magnitude(t->stride[order[j - 1]]); j--) {
            const int swap = order[j];
            order[j] = order[j - 1];
            order[j - 1] = swap;
        }
    }
    uint64_t reach = 0; /* cannot overflow: check_strides bounded the sum */
    for (int i = 0; i < 4; i++) {
        const int axis = order[i];
        const uint64_t stride = magnitude(t->stride[axis]);
        if (t->shape[axis] <= 1) continue;
        if (stride <= reach)
            return attn_fail(ATTN_ERROR_STRIDE,
                             "%s.stride[%d] is %" PRId64
                             ": elements of a result would share memory",
                             name, axis, t->stride[axis]);
        reach += (uint64_t)(t->shape[axis] - 1) * stride;
    }
    return ATTN_OK;
}

/* --------------------------------------------------------------------- sizes that must agree */

attn_size attn_or_one(attn_size size) {
    size.or_one = true;
    return size;
}

attn_size attn_just_one(void) {
    return (attn_size){.size = 1, .source = "the size expected"};
}

static attn_status check_size(const char *name, int axis, int64_t size, const attn_size *expected) {
    if (size == expected->size || (expected->or_one && size == 1) ||
        (expected->or_more && size > expected->size))
        return ATTN_OK;
    if (!expected->or_one)
        return attn_fail(ATTN_ERROR_SHAPE, "%s.shape[%d] is %" PRId64 ", but %s is %" PRId64, name,
                         axis, size, expected->source, expected->size);
    return attn_fail(ATTN_ERROR_SHAPE,
                     "%s.shape[%d] is %" PRId64 ", but must be 1 or %s%" PRId64 " (%s)", name, axis,
                     size, expected->or_more ? "at least " : "", expected->size, expected->source);
}

attn_status attn_check_sizes(const char *name, const attn_tensor *t, const attn_size sizes[4]) {
    for (int i = 0; i < 4; i++) ATTN_TRY(check_size(name, i, t->shape[i], &sizes[i]));
    return ATTN_OK;
}

attn_status attn_check_width(const char *name, const attn_tensor *t, int axis) {
    if (t->shape[axis] <= MAX_WIDTH) return ATTN_OK;
    return attn_fail(ATTN_ERROR_SHAPE, "%s.shape[%d] is %" PRId64 ", but a width is at most 2^24",
                     name, axis, t->shape[axis]);
}

/* -------------------------------------------------------------------------- inputs and results */

attn_status attn_check_input(attn_checked *c, const char *name, const attn_tensor *t,
                             attn_dtypes types, const attn_size sizes[4]) {
    if (!attn_tensor_present(t)) return ATTN_OK;
    ATTN_TRY(attn_check_tensor(name, t, types, &c->inputs[c->input_count]));
    c->input_count++;
    return attn_check_sizes(name, t, sizes);
}

attn_status attn_check_per_pair(attn_checked *c, const char *name, const attn_tensor *t,
                                attn_dtypes types) {
    if (!attn_tensor_present(t)) return ATTN_OK;
    const attn_size sizes[4] = {attn_or_one(c->sequences), attn_or_one(c->heads),
                                attn_or_one(c->queries), attn_or_one(c->keys)};
    return attn_check_input(c, name, t, types, sizes);
}

attn_status attn_check_result(attn_checked *c, const char *name, const attn_tensor *t,
                              attn_dtypes types, const attn_size sizes[4]) {
    if (!attn_tensor_present(t)) return ATTN_OK;
    ATTN_TRY(attn_check_tensor(name, t, types, &c->results[c->result_count]));
    c->result_count++;
    ATTN_TRY(attn_check_sizes(name, t, sizes));
    return check_distinct(name, t);
}

static attn_status check_apart(const attn_range *result, const attn_range *other) {
    const bool both_touch_memory = result->first < result->last && other->first < other->last;
    if (!both_touch_memory || result->first >= other->last || other->first >= result->last)
        return ATTN_OK;
    return attn_fail(ATTN_ERROR_ALIAS, "%s overlaps %s in memory, but results must be apart",
                     result->name, other->name);
}

attn_status attn_check_aliases(const attn_checked *c) {
    for (int i = 0; i < c->result_count; i++) {
        for (int j = i + 1; j < c->result_count; j++)
            ATTN_TRY(check_apart(&c->results[i], &c->results[j]));
        for (int j = 0; j < c->input_count; j++)
            ATTN_TRY(check_apart(&c->results[i], &c->inputs[j]));
    }
    return ATTN_OK;
}

/* ------------------------------------------------------------------------------------- values */

double attn_read_real(const attn_tensor *t, int64_t b, int64_t h, int64_t i, int64_t j) {
    const int64_t at = b * t->stride[0] + h * t->stride[1] + i * t->stride[2] + j * t->stride[3];
    return t->dtype == ATTN_F32 ? (double)((const float *)t->data)[at]
                                : ((const double *)t->data)[at];
}

attn_status attn_check_indices(const char *name, const attn_tensor *t, int64_t n_key) {
    if (t->dtype != ATTN_I32 || n_key <= (int64_t)INT32_MAX + 1) return ATTN_OK;
    return attn_fail(ATTN_ERROR_DTYPE,
                     "%s.dtype is ATTN_I32, but must be ATTN_I64 for %" PRId64 " keys", name,
                     n_key);
}

static attn_status not_finite(const char *name, const int64_t *at, double x, bool or_minus) {
    return attn_fail(ATTN_ERROR_VALUE,
                     "%s[%" PRId64 "][%" PRId64 "][%" PRId64 "][%" PRId64
                     "] is %g, but must be finite%s",
                     name, at[0], at[1], at[2], at[3], x, or_minus ? " or -infinity" : "");
}

attn_status attn_check_finite(const char *name, const attn_tensor *t, bool or_minus_infinity) {
    if (has_zero_dimension(t)) return ATTN_OK;
    for (int64_t b = 0; b < t->shape[0]; b++) {
        for (int64_t h = 0; h < t->shape[1]; h++) {
            for (int64_t i = 0; i < t->shape[2]; i++) {
                for (int64_t j = 0; j < t->shape[3]; j++) {
                    const double x = attn_read_real(t, b, h, i, j);
                    if (isfinite(x) || (or_minus_infinity && x == -INFINITY)) continue;
                    return not_finite(name, (const int64_t[]){b, h, i, j}, x, or_minus_infinity);
                }
            }
        }
    }
    return ATTN_OK;
}

attn_status attn_check_reserved(const char *name, const uint64_t *words, int count) {
    uint64_t any = 0;
    for (int i = 0; i < count; i++) any |= words[i];
    if (any == 0) return ATTN_OK;
    return attn_fail(ATTN_ERROR_VERSION,
                     "a word of %s.reserved is not zero: start from a zeroed struct", name);
}

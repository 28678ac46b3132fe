/* check.c: every rule of attn.h about arguments, each with the sentence that explains it. */
#include "api/check.h"

#include <inttypes.h>
#include <math.h>

#define TRY(expression)                           \
    do {                                          \
        const attn_status status_ = (expression); \
        if (status_ != ATTN_OK) return status_;   \
    } while (0)

/* Elements of any tensor, and any coordinate or position: far below where int64 sums overflow. */
static const uint64_t MAX_ELEMENTS = (uint64_t)1 << 56;
static const int64_t MAX_OFFSET = (int64_t)1 << 40;
static const int64_t MAX_WIDTH = (int64_t)1 << 24; /* widths are ints in the tile functions */

/* The addresses a tensor touches: [first, last), empty if it has no element. */
typedef struct {
    uintptr_t first, last;
} byte_range;

typedef struct {
    const char *name;
    const attn_tensor *tensor;
    byte_range range;
} named_tensor;

size_t attn_dtype_size(attn_dtype dtype) {
    switch (dtype) {
    case ATTN_F32: return sizeof(float);
    case ATTN_F64: return sizeof(double);
    case ATTN_BOOL: return 1;
    case ATTN_DTYPE_NONE: break;
    }
    return 0;
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

static const char *dtype_name(attn_dtype dtype) {
    switch (dtype) {
    case ATTN_F32: return "ATTN_F32";
    case ATTN_F64: return "ATTN_F64";
    case ATTN_BOOL: return "ATTN_BOOL";
    case ATTN_DTYPE_NONE: return "ATTN_DTYPE_NONE";
    }
    return "no type at all";
}

static attn_status check_dtype(const char *name, const attn_tensor *t, attn_dtype expected) {
    if (t->dtype == expected) return ATTN_OK;
    return attn_fail(ATTN_ERROR_DTYPE, "%s.dtype is %s (%d), but must be %s", name,
                     dtype_name(t->dtype), (int)t->dtype, dtype_name(expected));
}

static attn_status check_sizes(const char *name, const attn_tensor *t) {
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
static attn_status check_strides(const char *name, const attn_tensor *t, byte_range *range) {
    const uint64_t size = attn_dtype_size(t->dtype);
    const uintptr_t data = (uintptr_t)t->data;
    const uint64_t most = (uint64_t)1 << 60; /* times any element's size it is no more than 2^63 */
    uint64_t below = 0, above = 0; /* bytes before and after data, to the last element's start */
    *range = (byte_range){data, data};
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
    *range = (byte_range){data - (uintptr_t)below, data + (uintptr_t)(above + size)};
    return ATTN_OK;
}

static attn_status check_alignment(const char *name, const attn_tensor *t) {
    const size_t size = attn_dtype_size(t->dtype);
    if (((uintptr_t)t->data & (size - 1)) == 0) return ATTN_OK; /* sizes are powers of 2 */
    return attn_fail(ATTN_ERROR_ALIGNMENT,
                     "%s.data is not aligned to its element size of %zu bytes", name, size);
}

/* Type, sizes, strides, alignment of a tensor that takes part. */
static attn_status check_tensor(const char *name, const attn_tensor *t, attn_dtype expected,
                                byte_range *range) {
    TRY(check_dtype(name, t, expected));
    TRY(check_sizes(name, t));
    TRY(check_strides(name, t, range));
    return check_alignment(name, t);
}

/* Two coordinates of a result must not share memory. Sorted by stride, each step must be longer
 * than all shorter steps together reach: sufficient, and necessary for any layout in use. */
static attn_status check_distinct(const char *name, const attn_tensor *t) {
    int order[4] = {0, 1, 2, 3};
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

/* --------------------------------------------------------------------- shapes that must agree */

static attn_status check_size(const char *name, int axis, int64_t size, int64_t expected,
                              const char *source) {
    if (size == expected) return ATTN_OK;
    return attn_fail(ATTN_ERROR_SHAPE, "%s.shape[%d] is %" PRId64 ", but %s is %" PRId64, name,
                     axis, size, source, expected);
}

static attn_status check_heads(const attn_problem *p) {
    const int64_t heads = p->query.shape[1], kv_heads = p->key.shape[1];
    if (kv_heads == 0 ? heads == 0 : heads % kv_heads == 0) return ATTN_OK;
    return attn_fail(ATTN_ERROR_SHAPE,
                     "query.shape[1] is %" PRId64
                     " heads, but must be a multiple of key.shape[1], %" PRId64 " heads",
                     heads, kv_heads);
}

static attn_status check_width(const char *name, const attn_tensor *t) {
    if (t->shape[3] <= MAX_WIDTH) return ATTN_OK;
    return attn_fail(ATTN_ERROR_SHAPE, "%s.shape[3] is %" PRId64 ", but a width is at most 2^24",
                     name, t->shape[3]);
}

static attn_status check_input_shapes(const attn_problem *p) {
    TRY(check_size("key", 0, p->key.shape[0], p->query.shape[0], "query.shape[0]"));
    TRY(check_size("value", 0, p->value.shape[0], p->query.shape[0], "query.shape[0]"));
    TRY(check_size("value", 1, p->value.shape[1], p->key.shape[1], "key.shape[1]"));
    TRY(check_size("value", 2, p->value.shape[2], p->key.shape[2], "key.shape[2]"));
    TRY(check_size("key", 3, p->key.shape[3], p->query.shape[3], "query.shape[3]"));
    TRY(check_width("query", &p->query));
    TRY(check_width("value", &p->value));
    return check_heads(p);
}

/* What one size of an optional tensor may be: 1, or `full` (at least `full` if packed). */
static attn_status check_broadcast(const char *name, const attn_tensor *t, int axis, int64_t full,
                                   bool at_least, const char *what) {
    const int64_t size = t->shape[axis];
    if (size == 1 || size == full || (at_least && size > full)) return ATTN_OK;
    return attn_fail(ATTN_ERROR_SHAPE,
                     "%s.shape[%d] is %" PRId64 ", but must be 1 or %s%" PRId64 " (%s)", name, axis,
                     size, at_least ? "at least " : "", full, what);
}

/* ----------------------------------------------------------------------------- sequences */

static bool packed(const attn_mask *m) {
    return m->query_starts != NULL;
}

static int64_t sequence_count(const attn_problem *p) {
    return packed(&p->mask) ? p->mask.sequences : p->query.shape[0];
}

static attn_status check_starts(const char *name, const int64_t *starts, int64_t sequences,
                                int64_t length) {
    int64_t previous = 0;
    for (int64_t s = 0; s <= sequences; s++) {
        if (starts[s] < previous || starts[s] > length)
            return attn_fail(ATTN_ERROR_VALUE,
                             "%s[%" PRId64 "] is %" PRId64 ", but must be %" PRId64 " to %" PRId64,
                             name, s, starts[s], previous, length);
        previous = starts[s];
    }
    return ATTN_OK;
}

static attn_status check_packing(const attn_problem *p) {
    const attn_mask *const m = &p->mask;
    if ((m->query_starts == NULL) != (m->key_starts == NULL))
        return attn_fail(ATTN_ERROR_NULL,
                         "mask.query_starts and mask.key_starts must both be given, or neither");
    if (!packed(m)) return ATTN_OK;
    if (p->query.shape[0] != 1)
        return attn_fail(ATTN_ERROR_SHAPE,
                         "query.shape[0] is %" PRId64
                         ", but must be 1 when mask.query_starts packs sequences",
                         p->query.shape[0]);
    if (m->sequences < 0 || m->sequences > MAX_OFFSET)
        return attn_fail(ATTN_ERROR_VALUE, "mask.sequences is %" PRId64 ", but must be 0 to 2^40",
                         m->sequences);
    TRY(check_starts("mask.query_starts", m->query_starts, m->sequences, p->query.shape[2]));
    return check_starts("mask.key_starts", m->key_starts, m->sequences, p->key.shape[2]);
}

static int64_t slot_length(const int64_t *starts, int64_t sequence, int64_t length) {
    return starts ? starts[sequence + 1] - starts[sequence] : length;
}

/* lengths[s] within 0 .. the sequence's slot; starts NULL: every slot is `length` long. */
static attn_status check_lengths(const char *name, const int64_t *lengths, const int64_t *starts,
                                 int64_t sequences, int64_t length) {
    for (int64_t s = 0; lengths && s < sequences; s++) {
        const int64_t most = slot_length(starts, s, length);
        if (lengths[s] < 0 || lengths[s] > most)
            return attn_fail(ATTN_ERROR_VALUE,
                             "%s[%" PRId64 "] is %" PRId64 ", but must be 0 to %" PRId64, name, s,
                             lengths[s], most);
    }
    return ATTN_OK;
}

static int64_t longest_slot(const int64_t *starts, int64_t sequences, int64_t length) {
    int64_t longest = starts ? 0 : length;
    for (int64_t s = 0; starts && s < sequences; s++) {
        const int64_t slot = slot_length(starts, s, length);
        if (slot > longest) longest = slot;
    }
    return longest;
}

static attn_status check_mask_values(const attn_problem *p) {
    const attn_mask *const m = &p->mask;
    const int64_t sequences = sequence_count(p);
    if (m->alignment != ATTN_ALIGN_TOP_LEFT && m->alignment != ATTN_ALIGN_BOTTOM_RIGHT)
        return attn_fail(
            ATTN_ERROR_VALUE,
            "mask.alignment is %d, but must be ATTN_ALIGN_TOP_LEFT or ATTN_ALIGN_BOTTOM_RIGHT",
            (int)m->alignment);
    if (m->query_offset > MAX_OFFSET || m->query_offset < -MAX_OFFSET)
        return attn_fail(ATTN_ERROR_VALUE,
                         "mask.query_offset is %" PRId64 ", but must be within 2^40 of 0",
                         m->query_offset);
    if ((m->query_documents == NULL) != (m->key_documents == NULL))
        return attn_fail(
            ATTN_ERROR_NULL,
            "mask.query_documents and mask.key_documents must both be given, or neither");
    TRY(check_lengths("mask.query_lengths", m->query_lengths, m->query_starts, sequences,
                      p->query.shape[2]));
    TRY(check_lengths("mask.key_lengths", m->key_lengths, m->key_starts, sequences,
                      p->key.shape[2]));
    for (int64_t s = 0; m->prefix_lengths && s < sequences; s++) {
        if (m->prefix_lengths[s] < 0)
            return attn_fail(ATTN_ERROR_VALUE,
                             "mask.prefix_lengths[%" PRId64 "] is %" PRId64
                             ", but must be 0 or more",
                             s, m->prefix_lengths[s]);
    }
    return ATTN_OK;
}

/* ------------------------------------------------------------------------------- the score */

static attn_status check_score_values(const attn_score *s) {
    if (s->kind != ATTN_SCORE_DOT)
        return attn_fail(ATTN_ERROR_VALUE, "score.kind is %d, but must be ATTN_SCORE_DOT",
                         (int)s->kind);
    if (!isfinite(s->scale))
        return attn_fail(ATTN_ERROR_VALUE, "score.scale is %g, but must be finite", s->scale);
    if (!isfinite(s->softcap) || s->softcap < 0)
        return attn_fail(ATTN_ERROR_VALUE, "score.softcap is %g, but must be 0 (none) or positive",
                         s->softcap);
    return ATTN_OK;
}

static double read_real(const attn_tensor *t, int64_t b, int64_t h) {
    const int64_t at = b * t->stride[0] + h * t->stride[1];
    return t->dtype == ATTN_F32 ? (double)((const float *)t->data)[at]
                                : ((const double *)t->data)[at];
}

/* Per-head numbers are few, so their values are checked too: a NaN would spoil rows silently. */
static attn_status check_head_values(const char *name, const attn_tensor *t, bool minus_infinity) {
    for (int64_t b = 0; b < t->shape[0]; b++) {
        for (int64_t h = 0; h < t->shape[1]; h++) {
            const double x = read_real(t, b, h);
            if (isfinite(x) || (minus_infinity && x == -INFINITY)) continue;
            return attn_fail(ATTN_ERROR_VALUE,
                             "%s[%" PRId64 "][%" PRId64 "] is %g, but must be finite%s", name, b, h,
                             x, minus_infinity ? " or -infinity" : "");
        }
    }
    return ATTN_OK;
}

static attn_status check_per_head(const char *name, const attn_tensor *t, const attn_problem *p,
                                  bool minus_infinity, byte_range *range) {
    if (!attn_tensor_present(t)) return ATTN_OK;
    TRY(check_tensor(name, t, p->query.dtype, range));
    TRY(check_broadcast(name, t, 0, sequence_count(p), false, "batch"));
    TRY(check_broadcast(name, t, 1, p->query.shape[1], false, "heads"));
    TRY(check_size(name, 2, t->shape[2], 1, "the size expected"));
    TRY(check_size(name, 3, t->shape[3], 1, "the size expected"));
    return has_zero_dimension(t) ? ATTN_OK : check_head_values(name, t, minus_infinity);
}

/* bias and allowed: one entry a pair, broadcast over any of the four sizes. */
static attn_status check_per_pair(const char *name, const attn_tensor *t, const attn_problem *p,
                                  attn_dtype dtype, byte_range *range) {
    const attn_mask *const m = &p->mask;
    const int64_t sequences = sequence_count(p);
    if (!attn_tensor_present(t)) return ATTN_OK;
    TRY(check_tensor(name, t, dtype, range));
    TRY(check_broadcast(name, t, 0, sequences, false, packed(m) ? "mask.sequences" : "batch"));
    TRY(check_broadcast(name, t, 1, p->query.shape[1], false, "heads"));
    TRY(check_broadcast(name, t, 2, longest_slot(m->query_starts, sequences, p->query.shape[2]),
                        packed(m), "n_query"));
    return check_broadcast(name, t, 3, longest_slot(m->key_starts, sequences, p->key.shape[2]),
                           packed(m), "n_key");
}

/* -------------------------------------------------------------------------------- results */

static attn_status check_result(named_tensor *result, const attn_problem *p, int64_t width,
                                const char *width_source) {
    const attn_tensor *const t = result->tensor;
    if (!attn_tensor_present(t)) return ATTN_OK;
    TRY(check_tensor(result->name, t, p->query.dtype, &result->range));
    TRY(check_size(result->name, 0, t->shape[0], p->query.shape[0], "query.shape[0]"));
    TRY(check_size(result->name, 1, t->shape[1], p->query.shape[1], "query.shape[1]"));
    TRY(check_size(result->name, 2, t->shape[2], p->query.shape[2], "query.shape[2]"));
    if (!(packed(&p->mask) && t == &p->weights && t->shape[3] > width))
        TRY(check_size(result->name, 3, t->shape[3], width, width_source));
    return has_zero_dimension(t) ? ATTN_OK : check_distinct(result->name, t);
}

static bool overlap(byte_range a, byte_range b) {
    const bool both_touch_memory = a.first < a.last && b.first < b.last;
    return both_touch_memory && a.first < b.last && b.first < a.last;
}

/* Results come first in `all`; each is compared with everything after it. */
static attn_status check_aliases(const named_tensor *all, int results, int count) {
    for (int i = 0; i < results; i++) {
        for (int j = i + 1; j < count; j++) {
            if (overlap(all[i].range, all[j].range))
                return attn_fail(ATTN_ERROR_ALIAS,
                                 "%s overlaps %s in memory, but results must be apart", all[i].name,
                                 all[j].name);
        }
    }
    return ATTN_OK;
}

/* ------------------------------------------------------------------------------- the whole */

static bool all_zero(const uint64_t *words, int count) {
    for (int i = 0; i < count; i++)
        if (words[i] != 0) return false;
    return true;
}

static attn_status check_reserved(const attn_problem *p) {
    if (!all_zero(p->reserved, 16) || !all_zero(p->score.reserved, 8) ||
        !all_zero(p->mask.reserved, 8))
        return attn_fail(
            ATTN_ERROR_VERSION,
            "a reserved field of problem, score or mask is not zero: start from a zeroed struct");
    return ATTN_OK;
}

static attn_status check_inputs(const attn_problem *p, named_tensor *inputs) {
    const attn_dtype dtype = p->query.dtype;
    for (int i = 0; i < 3; i++) {
        if (!attn_tensor_present(inputs[i].tensor))
            return attn_fail(ATTN_ERROR_NULL, "%s.data is NULL, but %s must be given",
                             inputs[i].name, inputs[i].name);
    }
    if (dtype != ATTN_F32 && dtype != ATTN_F64)
        return attn_fail(ATTN_ERROR_DTYPE,
                         "query.dtype is %s (%d), but must be ATTN_F32 or ATTN_F64",
                         dtype_name(dtype), (int)dtype);
    for (int i = 0; i < 3; i++)
        TRY(check_tensor(inputs[i].name, inputs[i].tensor, dtype, &inputs[i].range));
    return check_input_shapes(p);
}

enum { OUTPUT, LSE, WEIGHTS, QUERY, KEY, VALUE, BIAS, SLOPES, SINKS, ALLOWED, TENSORS };

attn_status attn_check_problem(const attn_problem *p) {
    if (!p) return attn_fail(ATTN_ERROR_NULL, "problem is NULL");
    named_tensor all[TENSORS] = {
        [OUTPUT] = {"output", &p->output, {0, 0}},
        [LSE] = {"lse", &p->lse, {0, 0}},
        [WEIGHTS] = {"weights", &p->weights, {0, 0}},
        [QUERY] = {"query", &p->query, {0, 0}},
        [KEY] = {"key", &p->key, {0, 0}},
        [VALUE] = {"value", &p->value, {0, 0}},
        [BIAS] = {"score.bias", &p->score.bias, {0, 0}},
        [SLOPES] = {"score.alibi_slopes", &p->score.alibi_slopes, {0, 0}},
        [SINKS] = {"score.sinks", &p->score.sinks, {0, 0}},
        [ALLOWED] = {"mask.allowed", &p->mask.allowed, {0, 0}},
    };
    TRY(check_reserved(p));
    TRY(check_inputs(p, &all[QUERY]));
    TRY(check_packing(p));
    TRY(check_mask_values(p));
    TRY(check_score_values(&p->score));
    TRY(check_per_pair("score.bias", &p->score.bias, p, p->query.dtype, &all[BIAS].range));
    TRY(check_per_pair("mask.allowed", &p->mask.allowed, p, ATTN_BOOL, &all[ALLOWED].range));
    TRY(check_per_head("score.alibi_slopes", &p->score.alibi_slopes, p, false, &all[SLOPES].range));
    TRY(check_per_head("score.sinks", &p->score.sinks, p, true, &all[SINKS].range));
    TRY(check_result(&all[OUTPUT], p, p->value.shape[3], "value.shape[3]"));
    TRY(check_result(&all[LSE], p, 1, "the size expected"));
    TRY(check_result(&all[WEIGHTS], p,
                     longest_slot(p->mask.key_starts, sequence_count(p), p->key.shape[2]),
                     "n_key"));
    return check_aliases(all, 3, TENSORS);
}

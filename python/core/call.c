#include "call.h"

#include "tensor.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* How an object becomes a field. */
typedef enum kind {
    TENSOR,   /* attn_tensor, only read */
    RESULT,   /* attn_tensor, written to */
    NUMBER,   /* double */
    INTEGER,  /* int64_t */
    SEED,     /* uint64_t */
    FLAG,     /* bool */
    CHOICE,   /* an enum, by its number */
    INTEGERS, /* const int64_t *, from an array */
    IDS,      /* const int32_t *, from an array */
    CALLBACK  /* a callable, for one of the call's callbacks */
} kind;

/* How many elements an array of integers must have, so that the library reads none beyond it. */
typedef enum length { ANY, A_SEQUENCE, A_SEQUENCE_AND_ONE, A_QUERY, A_KEY } length;

typedef struct field {
    const char *name; /* in the dict, and as an argument in Python */
    const char *path; /* in the library's messages */
    const char *axes; /* tensors: see tensor_read */
    size_t at;        /* in a call */
    size_t count_at;  /* INTEGERS: where their number goes; 0: nowhere */
    kind kind;
    length length; /* INTEGERS, IDS */
} field;

#define FIELD(kind_, name_, path_, member) \
    .name = (name_), .path = (path_), .kind = (kind_), .at = offsetof(call, member)
#define ARRAY(kind_, name_, path_, member, axes_) \
    { FIELD(kind_, name_, path_, member), .axes = (axes_) }
#define PLAIN(kind_, name_, path_, member) \
    { FIELD(kind_, name_, path_, member) }
#define LIST(name_, path_, member, count_member) \
    { FIELD(INTEGERS, name_, path_, member), .count_at = offsetof(call, count_member) }
#define COUNTED(kind_, name_, path_, member, length_) \
    { FIELD(kind_, name_, path_, member), .length = (length_) }

static const field fields[] = {
    ARRAY(TENSOR, "query", "query", problem.query, "0123"),
    ARRAY(TENSOR, "key", "key", problem.key, "0123"),
    ARRAY(TENSOR, "value", "value", problem.value, "0123"),

    PLAIN(CHOICE, "score", "score.kind", problem.score.kind),
    PLAIN(NUMBER, "scale", "score.scale", problem.score.scale),
    PLAIN(NUMBER, "softcap", "score.softcap", problem.score.softcap),
    ARRAY(TENSOR, "bias", "score.bias", problem.score.bias, "0123"),
    ARRAY(TENSOR, "alibi_slopes", "score.alibi_slopes", problem.score.alibi_slopes, "01"),
    ARRAY(TENSOR, "sinks", "score.sinks", problem.score.sinks, "01"),
    ARRAY(TENSOR, "scales", "score.scales", problem.score.scales, "01"),
    ARRAY(TENSOR, "weight", "score.weight", problem.score.weight, "13"),
    ARRAY(TENSOR, "weight_matrix", "score.weight", problem.score.weight, "123"),
    ARRAY(TENSOR, "projection", "score.projection", problem.score.projection, "123"),
    ARRAY(TENSOR, "offset", "score.offset", problem.score.offset, "13"),
    PLAIN(FLAG, "normalize_weight", "score.normalize_weight", problem.score.normalize_weight),
    PLAIN(CALLBACK, "score_callback", "score.callback", score),

    PLAIN(CHOICE, "relative_buckets", "score.relative.buckets", relative.buckets),
    PLAIN(INTEGER, "relative_origin", "score.relative.origin", relative.origin),
    PLAIN(INTEGER, "relative_max_distance", "score.relative.max_distance", relative.max_distance),
    ARRAY(TENSOR, "relative_bias", "score.relative.bias", relative.bias, "13"),
    ARRAY(TENSOR, "relative_keys", "score.relative.keys", relative.keys, "123"),
    ARRAY(TENSOR, "relative_queries", "score.relative.queries", relative.queries, "123"),
    ARRAY(TENSOR, "relative_values", "score.relative.values", relative.values, "123"),
    ARRAY(TENSOR, "content_bias", "score.relative.content_bias", relative.content_bias, "13"),
    ARRAY(TENSOR, "position_bias", "score.relative.position_bias", relative.position_bias, "13"),
    ARRAY(TENSOR, "previous", "score.location.previous", location.previous, "0123"),
    ARRAY(TENSOR, "filters", "score.location.filters", location.filters, "123"),
    ARRAY(TENSOR, "location_projection", "score.location.projection", location.projection, "123"),

    PLAIN(FLAG, "causal", "mask.causal", problem.mask.causal),
    PLAIN(CHOICE, "alignment", "mask.alignment", problem.mask.alignment),
    PLAIN(INTEGER, "query_offset", "mask.query_offset", problem.mask.query_offset),
    PLAIN(FLAG, "window_enabled", "mask.window.enabled", problem.mask.window.enabled),
    PLAIN(INTEGER, "window_left", "mask.window.left", problem.mask.window.left),
    PLAIN(INTEGER, "window_right", "mask.window.right", problem.mask.window.right),
    COUNTED(INTEGERS, "prefix_lengths", "mask.prefix_lengths", problem.mask.prefix_lengths,
            A_SEQUENCE),
    COUNTED(INTEGERS, "query_lengths", "mask.query_lengths", problem.mask.query_lengths,
            A_SEQUENCE),
    COUNTED(INTEGERS, "key_lengths", "mask.key_lengths", problem.mask.key_lengths, A_SEQUENCE),
    COUNTED(INTEGERS, "query_starts", "mask.query_starts", problem.mask.query_starts,
            A_SEQUENCE_AND_ONE),
    COUNTED(INTEGERS, "key_starts", "mask.key_starts", problem.mask.key_starts, A_SEQUENCE_AND_ONE),
    PLAIN(INTEGER, "sequences", "mask.sequences", problem.mask.sequences),
    COUNTED(IDS, "query_documents", "mask.query_documents", problem.mask.query_documents, A_QUERY),
    COUNTED(IDS, "key_documents", "mask.key_documents", problem.mask.key_documents, A_KEY),
    ARRAY(TENSOR, "mask", "mask.allowed", problem.mask.allowed, "0123"),
    PLAIN(CALLBACK, "mask_callback", "mask.callback", mask),

    PLAIN(CHOICE, "normalizer", "normalizer.kind", problem.normalizer.kind),
    PLAIN(NUMBER, "temperature", "normalizer.temperature", problem.normalizer.temperature),
    PLAIN(NUMBER, "alpha", "normalizer.alpha", problem.normalizer.alpha),
    PLAIN(NUMBER, "sigmoid_bias", "normalizer.bias", problem.normalizer.bias),
    PLAIN(FLAG, "gumbel", "normalizer.gumbel", problem.normalizer.gumbel),
    PLAIN(NUMBER, "dropout", "normalizer.dropout", problem.normalizer.dropout),
    PLAIN(SEED, "seed", "normalizer.seed", problem.normalizer.seed),
    ARRAY(TENSOR, "centers", "normalizer.local.centers", local.centers, "012"),
    PLAIN(NUMBER, "half_width", "normalizer.local.half_width", local.half_width),
    PLAIN(NUMBER, "sigma", "normalizer.local.sigma", local.sigma),

    ARRAY(RESULT, "output", "output", problem.output, "0123"),
    ARRAY(RESULT, "lse", "lse", problem.lse, "012"),
    LIST("heads", "views.heads", views.heads, views.head_count),
    LIST("rows", "views.rows", views.rows, views.row_count),
    PLAIN(INTEGER, "last_rows", "views.row_count", views.row_count),
    ARRAY(RESULT, "weights", "views.weights", views.weights, "0123"),
    ARRAY(RESULT, "received_sum", "views.received_sum", views.received_sum, "013"),
    ARRAY(RESULT, "received_mean", "views.received_mean", views.received_mean, "013"),
    ARRAY(RESULT, "received_max", "views.received_max", views.received_max, "013"),
    ARRAY(RESULT, "window_sum", "views.window_sum", views.window_sum, "013"),
    PLAIN(INTEGER, "window_queries", "views.window_queries", views.window_queries),
    ARRAY(RESULT, "top_weights", "views.top_weights", views.top_weights, "0123"),
    ARRAY(RESULT, "top_keys", "views.top_keys", views.top_keys, "0123"),
    ARRAY(RESULT, "argmax", "views.argmax", views.argmax, "012"),
    ARRAY(RESULT, "entropy", "views.entropy", views.entropy, "012"),
    ARRAY(RESULT, "span", "views.span", views.span, "012"),
    ARRAY(RESULT, "distance", "views.distance", views.distance, "012"),
    ARRAY(RESULT, "max_logit", "views.max_logit", views.max_logit, "012"),
    ARRAY(RESULT, "block_sums", "views.block_sums", views.block_sums, "0123"),
    PLAIN(INTEGER, "block_queries", "views.block_queries", views.block_queries),
    PLAIN(INTEGER, "block_keys", "views.block_keys", views.block_keys),
    ARRAY(RESULT, "head_mean", "views.head_mean", views.head_mean, "023"),
    ARRAY(RESULT, "path", "views.path", views.path, "023"),
    ARRAY(RESULT, "head_statistics", "views.head_statistics", views.head_statistics, "013"),
    ARRAY(RESULT, "raw_scores", "views.raw_scores", views.raw_scores, "0123"),
    ARRAY(RESULT, "capped_scores", "views.capped_scores", views.capped_scores, "0123"),
    ARRAY(RESULT, "scores", "views.scores", views.scores, "0123"),

    ARRAY(TENSOR, "d_output", "from.output", from.output, "0123"),
    ARRAY(TENSOR, "d_lse", "from.lse", from.lse, "012"),
    ARRAY(TENSOR, "d_weights", "from.weights", from.weights, "0123"),
    ARRAY(TENSOR, "d_received_sum", "from.received_sum", from.received_sum, "013"),
    ARRAY(TENSOR, "d_entropy", "from.entropy", from.entropy, "012"),

    ARRAY(RESULT, "d_query", "to.query", to.query, "0123"),
    ARRAY(RESULT, "d_key", "to.key", to.key, "0123"),
    ARRAY(RESULT, "d_value", "to.value", to.value, "0123"),
    ARRAY(RESULT, "d_bias", "to.bias", to.bias, "0123"),
    ARRAY(RESULT, "d_alibi_slopes", "to.alibi_slopes", to.alibi_slopes, "01"),
    ARRAY(RESULT, "d_sinks", "to.sinks", to.sinks, "01"),
    ARRAY(RESULT, "d_scales", "to.scales", to.scales, "01"),
    ARRAY(RESULT, "d_scale", "to.scale", to.scale, ""),
    ARRAY(RESULT, "d_softcap", "to.softcap", to.softcap, ""),
    ARRAY(RESULT, "d_temperature", "to.temperature", to.temperature, ""),
    ARRAY(RESULT, "d_weight", "to.weight", to.weight, "13"),
    ARRAY(RESULT, "d_weight_matrix", "to.weight", to.weight, "123"),
    ARRAY(RESULT, "d_projection", "to.projection", to.projection, "123"),
    ARRAY(RESULT, "d_offset", "to.offset", to.offset, "13"),
    ARRAY(RESULT, "d_relative_bias", "to.relative_bias", to.relative_bias, "13"),
    ARRAY(RESULT, "d_relative_keys", "to.relative_keys", to.relative_keys, "123"),
    ARRAY(RESULT, "d_relative_queries", "to.relative_queries", to.relative_queries, "123"),
    ARRAY(RESULT, "d_relative_values", "to.relative_values", to.relative_values, "123"),
    ARRAY(RESULT, "d_content_bias", "to.content_bias", to.content_bias, "13"),
    ARRAY(RESULT, "d_position_bias", "to.position_bias", to.position_bias, "13"),
    ARRAY(RESULT, "d_previous", "to.previous", to.previous, "0123"),
    ARRAY(RESULT, "d_filters", "to.filters", to.filters, "123"),
    ARRAY(RESULT, "d_location_projection", "to.location_projection", to.location_projection, "123"),
    ARRAY(RESULT, "d_sigmoid_bias", "to.sigmoid_bias", to.sigmoid_bias, ""),
    ARRAY(RESULT, "d_centers", "to.centers", to.centers, "012"),
    ARRAY(RESULT, "d_sigma", "to.sigma", to.sigma, ""),
};
enum { FIELD_COUNT = sizeof fields / sizeof *fields };

static PyObject *numbers; /* {name: index into fields} */

bool call_prepare(void) {
    if (numbers) return true;
    PyObject *const made = PyDict_New();
    for (long i = 0; made && i < FIELD_COUNT; i++) {
        PyObject *const name = PyUnicode_InternFromString(fields[i].name);
        PyObject *const number = PyLong_FromLong(i);
        const bool good = name && number && PyDict_SetItem(made, name, number) == 0;
        Py_XDECREF(name);
        Py_XDECREF(number);
        if (!good) {
            Py_DECREF(made);
            return false;
        }
    }
    numbers = made;
    return made != NULL;
}

PyObject *call_paths(void) {
    PyObject *const paths = PyDict_New();
    for (long i = 0; paths && i < FIELD_COUNT; i++) {
        PyObject *const path = PyUnicode_FromString(fields[i].path);
        const bool good = path && PyDict_SetItemString(paths, fields[i].name, path) == 0;
        Py_XDECREF(path);
        if (!good) {
            Py_DECREF(paths);
            return NULL;
        }
    }
    return paths;
}

/* ------------------------------------------------------------------------------ reading one field */

/* A place for a buffer to be held in; what is read into it is kept by keep(). */
static Py_buffer *place_for_buffer(call *c) {
    Py_buffer *const b = &c->buffers[c->held];
    b->obj = NULL;
    return b;
}

static void keep(call *c) {
    if (c->buffers[c->held].obj) c->held++;
}

static bool wrong_type(const field *f, const char *expected) {
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "%s: expected %s", f->name, expected);
    return false;
}

static bool read_number(const field *f, PyObject *object, void *to) {
    const double number = PyFloat_AsDouble(object);
    if (number == -1 && PyErr_Occurred()) return wrong_type(f, "a number");
    memcpy(to, &number, sizeof number);
    return true;
}

static bool read_integer(const field *f, PyObject *object, void *to) {
    const long long number = PyLong_AsLongLong(object);
    if (number == -1 && PyErr_Occurred()) return wrong_type(f, "an integer of 64 bits");
    if (f->kind == CHOICE) memcpy(to, &(int){(int)number}, sizeof(int));
    else memcpy(to, &(int64_t){number}, sizeof(int64_t));
    return true;
}

static bool read_seed(const field *f, PyObject *object, void *to) {
    const unsigned long long seed = PyLong_AsUnsignedLongLong(object);
    if (seed == (unsigned long long)-1 && PyErr_Occurred())
        return wrong_type(f, "an integer from 0 to 2^64 - 1");
    memcpy(to, &(uint64_t){seed}, sizeof(uint64_t));
    return true;
}

static bool read_flag(const field *f, PyObject *object, void *to) {
    const int truth = PyObject_IsTrue(object);
    if (truth < 0) return wrong_type(f, "True or False");
    memcpy(to, &(bool){truth != 0}, sizeof(bool));
    return true;
}

static bool read_list(call *c, const field *f, PyObject *object, void *to, int64_t *counts) {
    const void *data = NULL;
    int64_t count = 0;
    const bool good =
        integers_read(object, f->name, f->kind == IDS ? 4 : 8, &data, &count, place_for_buffer(c));
    keep(c);
    if (!good) return false;
    memcpy(to, &data, sizeof data);
    if (f->count_at) memcpy((char *)c + f->count_at, &count, sizeof count);
    counts[f - fields] = count;
    return true;
}

static bool read_field(call *c, const field *f, PyObject *object, int64_t *counts) {
    void *const to = (char *)c + f->at;
    bool good = true;
    switch (f->kind) {
    case TENSOR:
    case RESULT:
        good = tensor_read(object, f->name, f->axes, f->kind == RESULT, to, place_for_buffer(c));
        keep(c);
        break;
    case NUMBER: good = read_number(f, object, to); break;
    case INTEGER:
    case CHOICE: good = read_integer(f, object, to); break;
    case SEED: good = read_seed(f, object, to); break;
    case FLAG: good = read_flag(f, object, to); break;
    case INTEGERS:
    case IDS: good = read_list(c, f, object, to, counts); break;
    case CALLBACK: ((callback *)to)->function = object; break;
    }
    return good;
}

/* ------------------------------------------------------------------------------------ whole calls */

/* How many elements a list must have; what it counts is taken from the tensors, that is, after all
 * fields were read. */
static int64_t expected(const call *c, length l) {
    const attn_problem *const p = &c->problem;
    switch (l) {
    case A_SEQUENCE: return p->mask.query_starts ? p->mask.sequences : p->query.shape[0];
    case A_SEQUENCE_AND_ONE: return p->mask.sequences + 1;
    case A_QUERY: return p->query.shape[0] * p->query.shape[2];
    case A_KEY: return p->query.shape[0] * p->key.shape[2];
    case ANY: break;
    }
    return -1;
}

static bool check_lists(const call *c, const int64_t *counts) {
    for (int i = 0; i < FIELD_COUNT; i++) {
        if (counts[i] < 0 || fields[i].length == ANY) continue;
        const int64_t wanted = expected(c, fields[i].length);
        if (counts[i] != wanted) {
            PyErr_Format(PyExc_ValueError, "%s has %lld elements: expected %lld", fields[i].name,
                         (long long)counts[i], (long long)wanted);
            return false;
        }
    }
    return true;
}

/* Whether a field lies in the part [at, at + size) of a call. */
static bool within(const field *f, size_t at, size_t size) {
    return f->at >= at && f->at - at < size;
}

#define PART_OF(f, member) within(f, offsetof(call, member), sizeof((call *)0)->member)

static void point(call *c, const field *f) {
    if (PART_OF(f, relative)) c->problem.score.relative = &c->relative;
    if (PART_OF(f, location)) c->problem.score.location = &c->location;
    if (PART_OF(f, local)) c->problem.normalizer.local = &c->local;
    if (PART_OF(f, views)) c->problem.views = &c->views;
}

static void set_callbacks(call *c) {
    if (c->score.function) {
        c->problem.score.callback = callback_pairs;
        c->problem.score.callback_user = &c->score;
    }
    if (c->mask.function) {
        c->problem.mask.callback = callback_pairs;
        c->problem.mask.callback_user = &c->mask;
    }
}

bool call_read(call *c, PyObject *given) {
    if (!PyDict_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "fields: expected a dict");
        return false;
    }
    c->buffers = malloc(((size_t)PyDict_Size(given) + 1) * sizeof *c->buffers);
    if (!c->buffers) {
        PyErr_NoMemory();
        return false;
    }
    int64_t counts[FIELD_COUNT];
    memset(counts, -1, sizeof counts);
    PyObject *name, *object;
    for (Py_ssize_t at = 0; PyDict_Next(given, &at, &name, &object);) {
        PyObject *const number = PyDict_GetItemWithError(numbers, name);
        if (!number) {
            if (!PyErr_Occurred()) PyErr_Format(PyExc_TypeError, "no field is named %R", name);
            return false;
        }
        const field *const f = &fields[PyLong_AsLong(number)];
        if (!read_field(c, f, object, counts)) return false;
        point(c, f);
    }
    set_callbacks(c);
    return check_lists(c, counts);
}

void call_release(call *c) {
    for (int i = 0; i < c->held; i++) PyBuffer_Release(&c->buffers[i]);
    free(c->buffers);
    c->buffers = NULL;
    c->held = 0;
    callback_release(&c->score);
    callback_release(&c->mask);
}

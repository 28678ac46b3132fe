#include "tensor.h"

#include "dlpack.h"

#include <string.h>

/* What an array says of itself, whoever made it. Strides count bytes. */
typedef struct array {
    void *data;
    attn_dtype dtype;
    Py_ssize_t size; /* of an element */
    int rank;
    int64_t shape[4], stride[4];
} array;

static bool too_many(const char *name, int rank) {
    PyErr_Format(PyExc_ValueError, "%s has %d dimensions: expected at most 4", name, rank);
    return false;
}

/* --------------------------------------------------------------------------- the buffer protocol */

/* The types of a buffer's format, native byte order alone. Integers are told apart by their size. */
static attn_dtype format_dtype(const char *format, Py_ssize_t size) {
    if (!format) return ATTN_U8;
    if (*format == '@' || *format == '=' || *format == '<')
        format++; /* all targets are little-endian */
    if (strlen(format) != 1) return ATTN_DTYPE_NONE;
    switch (*format) {
    case 'f': return ATTN_F32;
    case 'd': return ATTN_F64;
    case 'e': return ATTN_F16;
    case '?': return ATTN_BOOL;
    case 'B': return ATTN_U8;
    case 'i':
    case 'l':
    case 'q': return size == 8 ? ATTN_I64 : ATTN_I32;
    default: return ATTN_DTYPE_NONE;
    }
}

static bool from_buffer(PyObject *object, const char *name, bool writable, array *a,
                        Py_buffer *buffer) {
    const int flags = PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object, buffer, flags) < 0) {
        buffer->obj = NULL;
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%s: expected an array%s", name,
                     writable ? " that may be written to" : "");
        return false;
    }
    if (buffer->ndim > 4) return too_many(name, buffer->ndim);
    a->data = buffer->buf;
    a->size = buffer->itemsize;
    a->rank = buffer->ndim;
    a->dtype = format_dtype(buffer->format, buffer->itemsize);
    if (a->dtype == ATTN_DTYPE_NONE) {
        PyErr_Format(PyExc_TypeError,
                     "%s has elements of the type '%s', which is none that attn has: expected "
                     "float32 or float64 (masks: bool; lengths: integers)",
                     name, buffer->format);
        return false;
    }
    for (int k = 0; k < a->rank; k++) {
        a->shape[k] = buffer->shape[k];
        a->stride[k] = buffer->strides[k];
    }
    return true;
}

/* ------------------------------------------------------------------------------------- DLPack's C */

/* The exchange table of a type, or NULL. Tables live as long as the process; the type asked about last
 * is kept, since nearly all calls see one type alone. Under the GIL. */
static const dlpack_exchange *exchange_of(PyTypeObject *type) {
    static PyTypeObject *known;
    static const dlpack_exchange *table;
    if (type == known) return table;

    PyObject *capsule = PyObject_GetAttrString((PyObject *)type, "__dlpack_c_exchange_api__");
    const dlpack_exchange *found = NULL;
    if (capsule && PyCapsule_IsValid(capsule, "dlpack_exchange_api"))
        found = PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
    PyErr_Clear();
    Py_XDECREF(capsule);
    while (found && found->version.major > DLPACK_MAJOR)
        found = (const dlpack_exchange *)found->previous;
    if (found && (found->version.major != DLPACK_MAJOR || !found->view)) found = NULL;

    Py_INCREF((PyObject *)type); /* it must not be freed and its address used again */
    known = type;
    table = found;
    return found;
}

static attn_dtype dlpack_dtype(const dlpack_tensor *t) {
    static const struct {
        uint8_t code, bits;
        attn_dtype dtype;
    } types[] = {
        {DLPACK_FLOAT, 32, ATTN_F32}, {DLPACK_FLOAT, 64, ATTN_F64}, {DLPACK_FLOAT, 16, ATTN_F16},
        {DLPACK_BOOL, 8, ATTN_BOOL},  {DLPACK_UINT, 8, ATTN_U8},    {DLPACK_INT, 32, ATTN_I32},
        {DLPACK_INT, 64, ATTN_I64},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].code == t->dtype.code && types[i].bits == t->dtype.bits && t->dtype.lanes == 1)
            return types[i].dtype;
    return ATTN_DTYPE_NONE;
}

static bool from_dlpack(PyObject *object, const char *name, const dlpack_exchange *exchange,
                        array *a) {
    dlpack_tensor t;
    if (exchange->view(object, &t) != 0) return false; /* its own exception */
    if (t.device.type != DLPACK_CPU) {
        PyErr_Format(PyExc_ValueError, "%s is not in the memory of the CPU", name);
        return false;
    }
    if (t.ndim > 4) return too_many(name, t.ndim);
    a->dtype = dlpack_dtype(&t);
    if (a->dtype == ATTN_DTYPE_NONE) {
        PyErr_Format(PyExc_TypeError,
                     "%s has elements of a type that attn has not: expected float32 or float64 "
                     "(masks: bool; lengths: integers)",
                     name);
        return false;
    }
    a->data = t.data ? (char *)t.data + t.byte_offset : NULL;
    a->size = t.dtype.bits / 8;
    a->rank = t.ndim;
    int64_t dense = a->size;
    for (int k = a->rank - 1; k >= 0; k--) {
        a->shape[k] = t.shape[k];
        a->stride[k] = t.strides ? t.strides[k] * a->size : dense;
        dense *= t.shape[k];
    }
    return true;
}

/* --------------------------------------------------------------------------------------- reading */

static bool array_read(PyObject *object, const char *name, bool writable, array *a,
                       Py_buffer *buffer) {
    buffer->obj = NULL;
    if (PyObject_CheckBuffer(object)) return from_buffer(object, name, writable, a, buffer);
    const dlpack_exchange *const exchange = exchange_of(Py_TYPE(object));
    if (exchange) return from_dlpack(object, name, exchange, a);
    PyErr_Format(PyExc_TypeError, "%s is a %R: expected an array", name, Py_TYPE(object));
    return false;
}

/* Puts dimension `from` of the array at dimension `to` of the tensor. */
static bool place(const array *a, int from, attn_tensor *t, int to, const char *name) {
    t->shape[to] = a->shape[from];
    /* The stride of a dimension of one element is never used, and may be anything. */
    if (a->shape[from] <= 1) return true;
    if (a->stride[from] % a->size != 0) {
        PyErr_Format(
            PyExc_ValueError,
            "%s has a stride of %lld bytes: expected a multiple of its elements' %zd bytes", name,
            (long long)a->stride[from], a->size);
        return false;
    }
    t->stride[to] = a->stride[from] / a->size;
    return true;
}

bool tensor_read(PyObject *object, const char *name, const char *axes, bool writable,
                 attn_tensor *tensor, Py_buffer *buffer) {
    array a;
    if (!array_read(object, name, writable, &a, buffer)) return false;
    const int known = (int)strlen(axes);
    if (a.rank > known && a.rank != 4) {
        PyErr_Format(PyExc_ValueError, "%s has %d dimensions: expected at most %d, or 4", name,
                     a.rank, known);
        return false;
    }
    *tensor = (attn_tensor){.data = a.data, .dtype = a.dtype, .shape = {1, 1, 1, 1}};
    for (int k = 0; k < a.rank; k++) {
        const int to = a.rank == 4 ? k : axes[known - a.rank + k] - '0';
        if (!place(&a, k, tensor, to, name)) return false;
    }
    return true;
}

bool integers_read(PyObject *object, const char *name, Py_ssize_t size, const void **data,
                   int64_t *count, Py_buffer *buffer) {
    array a;
    if (!array_read(object, name, false, &a, buffer)) return false;
    if (a.rank != 1 || a.size != size || (a.dtype != ATTN_I32 && a.dtype != ATTN_I64) ||
        (a.shape[0] > 1 && a.stride[0] != size)) {
        PyErr_Format(PyExc_TypeError, "%s: expected a dense array of one dimension, of int%zd",
                     name, size * 8);
        return false;
    }
    *data = a.data;
    *count = a.shape[0];
    return true;
}

#include "callbacks.h"

#include <string.h>

/* Copies a rectangle to or from dense rows. */
static void copy(const attn_pairs *p, char *rows, bool back) {
    const size_t size = p->dtype == ATTN_F64 ? sizeof(double) : sizeof(float);
    char *const data = p->data;
    for (int r = 0; r < p->rows; r++)
        for (int k = 0; k < p->keys; k++) {
            char *const element = data + (size_t)(r * p->row_stride + k * p->key_stride) * size;
            char *const dense = rows + ((size_t)r * (size_t)p->keys + (size_t)k) * size;
            if (back) memcpy(element, dense, size);
            else memcpy(dense, element, size);
        }
}

static PyObject *rectangle(const attn_pairs *p) {
    const size_t size = p->dtype == ATTN_F64 ? sizeof(double) : sizeof(float);
    PyObject *const bytes =
        PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(size * (size_t)p->rows * (size_t)p->keys));
    if (bytes) copy(p, PyByteArray_AsString(bytes), false);
    return bytes;
}

static PyObject *description(const attn_pairs *p) {
    return Py_BuildValue("(iisLLLLL)", p->rows, p->keys, p->dtype == ATTN_F64 ? "d" : "f",
                         (long long)p->sequence, (long long)p->head, (long long)p->query,
                         (long long)p->position, (long long)p->key);
}

/* Calls function(scores, pairs), and copies the scores back. */
static bool enter(callback *c, const attn_pairs *pairs) {
    PyObject *const scores = rectangle(pairs);
    PyObject *const place = description(pairs);
    PyObject *result = NULL;
    if (scores && place) result = PyObject_CallFunctionObjArgs(c->function, scores, place, NULL);
    if (result) copy(pairs, PyByteArray_AsString(scores), true);
    const bool good = result != NULL;
    Py_XDECREF(scores);
    Py_XDECREF(place);
    Py_XDECREF(result);
    return good;
}

void callback_pairs(void *user, const attn_pairs *pairs) {
    callback *const c = user;
    const PyGILState_STATE gil = PyGILState_Ensure();
    if (!c->type && !enter(c, pairs)) PyErr_Fetch(&c->type, &c->value, &c->trace);
    PyGILState_Release(gil);
}

bool callback_raise(callback *c) {
    if (!c->type) return false;
    PyErr_Restore(c->type, c->value, c->trace);
    c->type = c->value = c->trace = NULL;
    return true;
}

void callback_release(callback *c) {
    Py_CLEAR(c->type);
    Py_CLEAR(c->value);
    Py_CLEAR(c->trace);
}

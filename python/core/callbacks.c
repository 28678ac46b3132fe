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

/* Calls function(scores[, gradients], pairs), and copies the last array back into `changed`. */
static bool enter(callback *c, const attn_pairs *scores, const attn_pairs *gradients,
                  const attn_pairs *changed) {
    PyObject *const first = rectangle(scores);
    PyObject *const second = gradients ? rectangle(gradients) : NULL;
    PyObject *const pairs = description(scores);
    PyObject *result = NULL;
    if (first && pairs && (second || !gradients))
        result = PyObject_CallFunctionObjArgs(c->function, first, second ? second : pairs,
                                              second ? pairs : NULL, NULL);
    if (result && changed) copy(changed, PyByteArray_AsString(second ? second : first), true);
    const bool good = result != NULL;
    Py_XDECREF(first);
    Py_XDECREF(second);
    Py_XDECREF(pairs);
    Py_XDECREF(result);
    return good;
}

static void guarded(callback *c, const attn_pairs *scores, const attn_pairs *gradients,
                    const attn_pairs *changed) {
    const PyGILState_STATE gil = PyGILState_Ensure();
    if (!c->type && !enter(c, scores, gradients, changed))
        PyErr_Fetch(&c->type, &c->value, &c->trace);
    PyGILState_Release(gil);
}

void callback_pairs(void *user, const attn_pairs *pairs) {
    guarded(user, pairs, NULL, pairs);
}

void callback_observe(void *user, const attn_pairs *pairs) {
    guarded(user, pairs, NULL, NULL);
}

void callback_gradient(void *user, const attn_pairs *scores, const attn_pairs *gradients) {
    guarded(user, scores, gradients, gradients);
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

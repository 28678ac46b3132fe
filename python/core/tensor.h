/* tensor.h: a Python array as an attn_tensor, without a copy. */
#ifndef ATTN_PYTHON_TENSOR_H
#define ATTN_PYTHON_TENSOR_H

#include "python.h"

#include "attn/attn.h"

/* Reads an object with the buffer protocol (NumPy), or one whose type has DLPack's C exchange table
 * (PyTorch). axes: the dimensions, as digits, that the object's own are, last to last, if it has fewer
 * than 4: "01" for [heads] and [batch, heads]. Errors: an exception that begins with name.
 * *buffer is held if buffer->obj is not NULL on return; the caller releases it. */
bool tensor_read(PyObject *object, const char *name, const char *axes, bool writable,
                 attn_tensor *tensor, Py_buffer *buffer);

/* A one-dimensional, dense array of integers of `size` bytes each; *count is its length. */
bool integers_read(PyObject *object, const char *name, Py_ssize_t size, const void **data,
                   int64_t *count, Py_buffer *buffer);

#endif

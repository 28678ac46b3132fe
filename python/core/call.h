/* call.h: one call of the library, read from a Python dict.
 *
 * The extension knows nothing of scores or masks. A dict {name: object} becomes the structures of
 * attn.h by one table (call.c): a name's row says which field it fills and how the object is read.
 * All that is convenient (defaults, shapes of results, exceptions' words) is written in Python. */
#ifndef ATTN_PYTHON_CALL_H
#define ATTN_PYTHON_CALL_H

#include "python.h"

#include "attn/gradients.h"
#include "callbacks.h"

/* Everything that a dict may fill. Structures that the problem points to are pointed to by call_read
 * if one of their fields was named. */
typedef struct call {
    attn_problem problem;
    attn_relative relative;
    attn_location location;
    attn_local local;
    attn_views views;
    attn_result_gradients from;
    attn_input_gradients to;

    callback score, mask;

    Py_buffer *buffers; /* what is held of Python's objects until call_release */
    int held;
} call;

/* Fills *c from a dict; false, with an exception that names the key, if that cannot be. c is zeroed by
 * the caller, and must be released whatever comes of it. */
bool call_read(call *c, PyObject *fields);
void call_release(call *c);

/* {name: path of the C field}, for messages: a new reference. */
PyObject *call_paths(void);

/* Once, when the module is made: false with an exception. */
bool call_prepare(void);

#endif

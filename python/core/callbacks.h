/* callbacks.h: functions of Python's that the library calls with rectangles of pairs. */
#ifndef ATTN_PYTHON_CALLBACKS_H
#define ATTN_PYTHON_CALLBACKS_H

#include "python.h"

#include "attn/gradients.h"

/* One Python callable during one call. Any thread may call it: it is entered with the GIL held. The
 * first exception stops all later entries and is raised when the call returns. */
typedef struct callback {
    PyObject *function; /* borrowed from the dict */
    PyObject *type, *value, *trace;
} callback;

/* attn_pairs_callback, for a callback *user: function(scores, pairs) with a bytearray of the rectangle,
 * row by row, which is copied back; pairs is (rows, keys, type, sequence, head, query, position, key). */
void callback_pairs(void *user, const attn_pairs *pairs);

/* The same, which is only shown the rectangle: observers. */
void callback_observe(void *user, const attn_pairs *pairs);

/* attn_pairs_gradient_callback: function(scores, gradients, pairs), of which gradients is copied back. */
void callback_gradient(void *user, const attn_pairs *scores, const attn_pairs *gradients);

/* Raises what a callback raised, if any did: true if so. */
bool callback_raise(callback *c);

/* Forgets an exception that was not raised, since another one was. */
void callback_release(callback *c);

#endif

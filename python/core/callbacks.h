/* callbacks.h: functions of Python's that the library calls with rectangles of pairs. */
#ifndef ATTN_PYTHON_CALLBACKS_H
#define ATTN_PYTHON_CALLBACKS_H

#include "python.h"

#include "attn/attn.h"

/* One Python callable during one call. Any thread may call it: it is entered with the GIL held. The
 * first exception stops all later entries and is raised when the call returns. */
typedef struct callback {
    PyObject *function; /* borrowed from the dict */
    PyObject *type, *value, *trace;
} callback;

/* attn_pairs_callback, for a callback *user: function(scores, pairs) with a bytearray of the rectangle,
 * row by row, which is copied back; pairs is (rows, keys, type, sequence, head, query, position, key). */
void callback_pairs(void *user, const attn_pairs *pairs);

/* Raises what a callback raised, if any did: true if so. */
bool callback_raise(callback *c);

/* Forgets an exception that was not raised, since another one was. */
void callback_release(callback *c);

#endif

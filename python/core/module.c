/* The extension attn._core: the library's functions, over dicts of arrays. Private to the package. */
#include "call.h"
#include "tensor.h"
#include "threads.h"

#include <string.h>

/* --------------------------------------------------------------------------------------- errors */

/* Raises what attn._errors makes of the library's status and sentence. */
static void raise_status(attn_status status) {
    PyObject *const module = PyImport_ImportModule("attn._errors");
    PyObject *const error =
        module ? PyObject_CallMethod(module, "make", "ss", attn_status_name(status),
                                     attn_error_message())
               : NULL;
    if (error) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    Py_XDECREF(module);
}

/* -------------------------------------------------------------------------------------- contexts */

typedef struct context_object {
    PyObject_HEAD attn_context *context;
} context_object;

static PyTypeObject *context_type;

static PyObject *context_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    static char *known[] = {"threads", "max_isa", NULL};
    int threads = 0;
    const char *isa = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "|iz", known, &threads, &isa)) return NULL;

    attn_context_options options = {.threads = threads == 0 ? threads_default() : threads,
                                    .parallel_for = threads_run};
    attn_status status = isa ? attn_isa_from_name(isa, &options.max_isa) : ATTN_OK;
    attn_context *context = NULL;
    if (status == ATTN_OK) status = attn_context_create(&context, &options);
    if (status != ATTN_OK) {
        raise_status(status);
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *const self = allocate(type, 0);
    if (self) ((context_object *)self)->context = context;
    else attn_context_destroy(context);
    return self;
}

static void context_dealloc(PyObject *self) {
    PyTypeObject *const type = Py_TYPE(self);
    attn_context_destroy(((context_object *)self)->context);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF((PyObject *)type);
}

static PyObject *context_threads(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromLong(attn_context_threads(((context_object *)self)->context));
}

static PyObject *context_isa(PyObject *self, void *unused) {
    (void)unused;
    return PyUnicode_FromString(attn_isa_name(attn_context_isa(((context_object *)self)->context)));
}

static PyObject *context_scratch(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(attn_context_scratch_bytes(((context_object *)self)->context));
}

static PyGetSetDef context_members[] = {
    {"threads", context_threads, NULL, "How many threads calls on this context use.", NULL},
    {"isa", context_isa, NULL, "Their instruction set: 'generic', 'neon', 'avx2', 'avx512'.", NULL},
    {"scratch_bytes", context_scratch, NULL, "Bytes of scratch memory that the context keeps.",
     NULL},
    {0},
};
static PyType_Slot context_slots[] = {
    {Py_tp_new, context_new},
    {Py_tp_dealloc, context_dealloc},
    {Py_tp_getset, context_members},
    {Py_tp_doc,
     "Context(threads=0, max_isa=None)\n--\n\n"
     "Threads, instruction set and scratch memory of a series of calls.\n\n"
     "threads: how many; 0: OMP_NUM_THREADS, or one for each processor of this process. max_isa: 'generic', 'neon', 'avx2' or 'avx512', a ceiling; None: the best\n"
     "that this CPU has. May be shared between threads. Errors: ValueError for other values."},
    {0},
};
static PyType_Spec context_spec = {
    .name = "attn.Context",
    .basicsize = sizeof(context_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = context_slots,
};

static attn_context *context_of(PyObject *object) {
    if (Py_TYPE(object) != context_type) {
        PyErr_Format(PyExc_TypeError, "context is a %R: expected an attn.Context", Py_TYPE(object));
        return NULL;
    }
    return ((context_object *)object)->context;
}

/* -------------------------------------------------------------------------------- calls on a dict */

typedef attn_status entry(attn_context *context, const call *c);

static attn_status forward(attn_context *context, const call *c) {
    return attn_forward(context, &c->problem);
}
static attn_status backward(attn_context *context, const call *c) {
    return attn_backward(context, &c->problem, &c->from, &c->to);
}
static attn_status reference_forward(attn_context *context, const call *c) {
    (void)context;
    return attn_reference_forward(&c->problem);
}
/* An exception of a callback comes first: it explains whatever else went wrong. */
static bool finish(call *c, attn_status status) {
    const bool raised = callback_raise(&c->score) || callback_raise(&c->mask);
    if (!raised && status != ATTN_OK) raise_status(status);
    return !raised && status == ATTN_OK;
}

static PyObject *run(entry *e, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected fields and a context");
        return NULL;
    }
    attn_context *const context = context_of(arguments[1]);
    if (!context) return NULL;
    call c;
    memset(&c, 0, sizeof c);
    bool good = call_read(&c, arguments[0]);
    if (good) {
        attn_status status;
        Py_BEGIN_ALLOW_THREADS status = e(context, &c);
        Py_END_ALLOW_THREADS good = finish(&c, status);
    }
    call_release(&c);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

#define ENTRY(name)                                                                             \
    static PyObject *run_##name(PyObject *self, PyObject *const *arguments, Py_ssize_t count) { \
        (void)self;                                                                             \
        return run(name, arguments, count);                                                     \
    }
ENTRY(forward)
ENTRY(backward)
ENTRY(reference_forward)

/* ----------------------------------------------------------------------- alignments, explanations */

enum { MOST_LAYERS = 1024 };

/* Tensors of one explaining call, with the buffers that they hold. */
typedef struct tensors {
    attn_tensor tensor[MOST_LAYERS];
    Py_buffer buffer[MOST_LAYERS];
    int count;
} tensors;

static bool add(tensors *t, PyObject *object, const char *name, const char *axes, bool writable) {
    if (t->count == MOST_LAYERS) {
        PyErr_Format(PyExc_ValueError, "%s: expected at most %d layers", name, MOST_LAYERS - 1);
        return false;
    }
    const int i = t->count++;
    return tensor_read(object, name, axes, writable, &t->tensor[i], &t->buffer[i]);
}

static PyObject *leave(tensors *t, bool good) {
    for (int i = 0; i < t->count; i++)
        if (t->buffer[i].obj) PyBuffer_Release(&t->buffer[i]);
    PyMem_Free(t);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

static bool succeed(attn_status status) {
    if (status != ATTN_OK) raise_status(status);
    return status == ATTN_OK;
}

static PyObject *alignment_path(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *weights, *path, *context;
    if (!PyArg_ParseTuple(arguments, "OOO", &weights, &path, &context)) return NULL;
    attn_context *const c = context_of(context);
    if (!c) return NULL;
    tensors *const t = PyMem_Calloc(1, sizeof *t);
    if (!t) return PyErr_NoMemory();
    bool good = add(t, weights, "weights", "023", false) && add(t, path, "path", "023", true);
    if (good) {
        attn_status status;
        Py_BEGIN_ALLOW_THREADS status = attn_alignment_path(c, &t->tensor[0], &t->tensor[1]);
        Py_END_ALLOW_THREADS good = succeed(status);
    }
    return leave(t, good);
}

/* The result first, then the layers. */
static bool add_layers(tensors *t, PyObject *result, const char *name, const char *axes,
                       PyObject *layers) {
    if (!add(t, result, name, axes, true)) return false;
    const Py_ssize_t count = PySequence_Size(layers);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *const layer = PySequence_GetItem(layers, i);
        const bool good = layer && add(t, layer, "layers", "023", false);
        Py_XDECREF(layer); /* the caller's sequence still has it */
        if (!good) return false;
    }
    return count >= 0;
}

static PyObject *rollout(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *layers, *result, *context;
    double residual;
    if (!PyArg_ParseTuple(arguments, "O!dOO", &PyTuple_Type, &layers, &residual, &result, &context))
        return NULL;
    attn_context *const c = context_of(context);
    if (!c) return NULL;
    tensors *const t = PyMem_Calloc(1, sizeof *t);
    if (!t) return PyErr_NoMemory();
    bool good = add_layers(t, result, "rollout", "023", layers);
    if (good) {
        attn_status status;
        Py_BEGIN_ALLOW_THREADS status =
            attn_rollout(c, t->tensor + 1, t->count - 1, residual, &t->tensor[0]);
        Py_END_ALLOW_THREADS good = succeed(status);
    }
    return leave(t, good);
}

static PyObject *flow(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *layers, *result, *context;
    double residual;
    long long token;
    if (!PyArg_ParseTuple(arguments, "O!dLOO", &PyTuple_Type, &layers, &residual, &token, &result,
                          &context))
        return NULL;
    attn_context *const c = context_of(context);
    if (!c) return NULL;
    tensors *const t = PyMem_Calloc(1, sizeof *t);
    if (!t) return PyErr_NoMemory();
    bool good = add_layers(t, result, "flow", "03", layers);
    if (good) {
        attn_status status;
        Py_BEGIN_ALLOW_THREADS status =
            attn_flow(c, t->tensor + 1, t->count - 1, residual, token, &t->tensor[0]);
        Py_END_ALLOW_THREADS good = succeed(status);
    }
    return leave(t, good);
}

/* ----------------------------------------------------------------------------------------- facts */

static PyObject *paths(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    return call_paths();
}

static PyObject *isa_reason(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    char text[512];
    attn_isa_reason(text, sizeof text);
    return PyUnicode_FromString(text);
}

static PyObject *runtime(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    return PyUnicode_FromString(threads_runtime());
}

static PyObject *forget_runtime(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    threads_forget();
    Py_RETURN_NONE;
}

#define FAST(name) (PyCFunction)(void (*)(void)) run_##name, METH_FASTCALL
static PyMethodDef functions[] = {
    {"forward", FAST(forward), "forward(fields, context): attn_forward."},
    {"backward", FAST(backward), "backward(fields, context): attn_backward."},
    {"reference_forward", FAST(reference_forward), "The textbook's, in float64."},
    {"alignment_path", alignment_path, METH_VARARGS, "alignment_path(weights, path, context)."},
    {"rollout", rollout, METH_VARARGS, "rollout(layers, residual, rollout, context)."},
    {"flow", flow, METH_VARARGS, "flow(layers, residual, token, flow, context)."},
    {"paths", paths, METH_NOARGS, "{name of a field: its path in the C structures}."},
    {"isa_reason", isa_reason, METH_NOARGS, "Which instruction set is used, and why."},
    {"runtime", runtime, METH_NOARGS, "Whose threads are used; '' before the first call."},
    {"forget_runtime", forget_runtime, METH_NOARGS, "Look for the threads' owner anew."},
    {0},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "attn._core",
    .m_doc = "attn's C library over dicts of arrays; private to the package.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__core(void);
PyMODINIT_FUNC PyInit__core(void) {
    if (!call_prepare()) return NULL;
    PyObject *const m = PyModule_Create(&module);
    PyObject *const type = m ? PyType_FromSpec(&context_spec) : NULL;
    context_type = (PyTypeObject *)type;
    if (!type || PyModule_AddObjectRef(m, "Context", type) < 0 ||
        PyModule_AddStringConstant(m, "version", attn_version()) < 0) {
        Py_XDECREF(m);
        return NULL;
    }
    return m;
}

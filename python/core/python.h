/* python.h: CPython's stable interface, of 3.11 and everything later. */
#ifndef ATTN_PYTHON_PYTHON_H
#define ATTN_PYTHON_PYTHON_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#endif

"""libattn through ctypes, as far as the benchmarks need it: the structs of attn.h and one call.

    python bench/libattn.py

compiles a probe that prints the offset of every field in attn.h, and compares the classes below.
"""

import ctypes as c
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "build" / "libattn.so"

F32 = 1
BOTTOM_RIGHT = 1


class Tensor(c.Structure):
    _fields_ = [
        ("data", c.c_void_p),
        ("dtype", c.c_int),
        ("shape", c.c_int64 * 4),
        ("stride", c.c_int64 * 4),
    ]


class Score(c.Structure):
    _fields_ = [
        ("kind", c.c_int),
        ("scale", c.c_double),
        ("softcap", c.c_double),
        ("bias", Tensor),
        ("alibi_slopes", Tensor),
        ("sinks", Tensor),
        ("reserved", c.c_uint64 * 8),
    ]


class Window(c.Structure):
    _fields_ = [("enabled", c.c_bool), ("left", c.c_int64), ("right", c.c_int64)]


class Mask(c.Structure):
    _fields_ = [
        ("causal", c.c_bool),
        ("alignment", c.c_int),
        ("query_offset", c.c_int64),
        ("window", Window),
        ("prefix_lengths", c.c_void_p),
        ("query_lengths", c.c_void_p),
        ("key_lengths", c.c_void_p),
        ("query_starts", c.c_void_p),
        ("key_starts", c.c_void_p),
        ("sequences", c.c_int64),
        ("query_documents", c.c_void_p),
        ("key_documents", c.c_void_p),
        ("allowed", Tensor),
        ("reserved", c.c_uint64 * 8),
    ]


class Problem(c.Structure):
    _fields_ = [
        ("query", Tensor),
        ("key", Tensor),
        ("value", Tensor),
        ("score", Score),
        ("mask", Mask),
        ("output", Tensor),
        ("lse", Tensor),
        ("weights", Tensor),
        ("reserved", c.c_uint64 * 16),
    ]


class Allocator(c.Structure):
    _fields_ = [("allocate", c.c_void_p), ("release", c.c_void_p), ("user", c.c_void_p)]


class ContextOptions(c.Structure):
    _fields_ = [
        ("threads", c.c_int),
        ("max_isa", c.c_int),
        ("parallel_for", c.c_void_p),
        ("parallel_user", c.c_void_p),
        ("allocator", Allocator),
        ("reserved", c.c_uint64 * 8),
    ]


STRUCTS = {
    "attn_tensor": Tensor,
    "attn_score": Score,
    "attn_window": Window,
    "attn_mask": Mask,
    "attn_problem": Problem,
    "attn_allocator": Allocator,
    "attn_context_options": ContextOptions,
}


def refuse(sentence):
    """Bad use: one sentence and status 2."""
    print(sentence, file=sys.stderr)
    sys.exit(2)


class Library:
    """A loaded libattn.so; a failed call ends the program with the library's sentence."""

    def __init__(self, path=LIBRARY):
        if not Path(path).is_file():
            refuse(f"--library: {path} is not a file: build libattn first, or say where it is")
        self.c = c.CDLL(str(path))
        for name in ("attn_error_message", "attn_version", "attn_isa_name"):
            getattr(self.c, name).restype = c.c_char_p
        self.c.attn_context_scratch_bytes.restype = c.c_size_t
        self.c.attn_context_scratch_bytes.argtypes = [c.c_void_p]
        self.c.attn_context_isa.argtypes = [c.c_void_p]
        self.c.attn_context_destroy.argtypes = [c.c_void_p]
        self.c.attn_forward.argtypes = [c.c_void_p, c.POINTER(Problem)]

    def check(self, status):
        if status != 0:
            refuse("libattn: " + self.c.attn_error_message().decode())

    def version(self):
        return self.c.attn_version().decode()

    def context(self, threads=0, isa="best"):
        return Context(self, threads, isa)


class Context:
    """Threads and table of a series of calls."""

    def __init__(self, library, threads, isa):
        self.library, self.handle = library, c.c_void_p()
        ceiling = c.c_int()
        library.check(library.c.attn_isa_from_name(isa.encode(), c.byref(ceiling)))
        options = ContextOptions(threads=threads, max_isa=ceiling.value)
        library.check(library.c.attn_context_create(c.byref(self.handle), c.byref(options)))

    def __del__(self):
        if self.handle:
            self.library.c.attn_context_destroy(self.handle)

    def isa(self):
        return self.library.c.attn_isa_name(self.library.c.attn_context_isa(self.handle)).decode()

    def scratch_bytes(self):
        return self.library.c.attn_context_scratch_bytes(self.handle)

    def forward(self, p):
        self.library.check(self.library.c.attn_forward(self.handle, p))


def tensor(array):
    """A view of a float32 array of four dimensions, any strides."""
    assert array.dtype == np.float32 and array.ndim == 4
    strides = [s // array.itemsize for s in array.strides]
    return Tensor(array.ctypes.data, F32, (c.c_int64 * 4)(*array.shape), (c.c_int64 * 4)(*strides))


def problem(query, key, value, output=None, weights=None, causal=False, window=None):
    """The struct; it points into the arrays, which the caller must keep."""
    p = Problem(query=tensor(query), key=tensor(key), value=tensor(value))
    p.mask.causal = causal
    p.mask.alignment = BOTTOM_RIGHT
    if window is not None:
        p.mask.window = Window(True, *window)
    if output is not None:
        p.output = tensor(output)
    if weights is not None:
        p.weights = tensor(weights)
    return p


def header_layout():
    """Sizes and offsets of attn.h's structs, as the C compiler sees them."""
    lines = ["#include <attn/attn.h>", "#include <stdio.h>", "int main(void) {"]
    for name, struct in STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        for field, _ in struct._fields_:
            lines.append(f'printf("{name}.{field} %zu\\n", offsetof({name}, {field}));')
    lines.append("return 0; }")
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "layout.c"), Path(folder, "layout")
        source.write_text("\n".join(lines))
        subprocess.run(["cc", f"-I{ROOT / 'include'}", source, "-o", binary], check=True)
        printed = subprocess.run([binary], check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in map(str.split, printed.splitlines())}


def mirrored_layout():
    """The same of the classes above."""
    layout = {name: c.sizeof(struct) for name, struct in STRUCTS.items()}
    for name, struct in STRUCTS.items():
        for field, _ in struct._fields_:
            layout[f"{name}.{field}"] = getattr(struct, field).offset
    return layout


def main():
    header, mirror = header_layout(), mirrored_layout()
    wrong = [
        f"{name}: {mirror[name]} here, {at} in attn.h"
        for name, at in header.items()
        if mirror[name] != at
    ]
    print("\n".join(wrong) or f"all {len(header)} sizes and offsets agree with attn.h")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

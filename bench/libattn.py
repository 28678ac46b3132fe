"""libattn through ctypes: the structs of attn.h and gradients.h and their calls, for benchmarks,
examples and tests.

    python bench/libattn.py

compiles a probe that prints every field's offset and size and every number in the headers that is
also here, and compares.
"""

import ctypes as c
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "build" / "libattn.so"

BOTTOM_RIGHT = 1
NUMPY_TYPES = ("float32", "float64", "bool", "float16", "uint8", "int32", "int64")
DTYPES = {np.dtype(name): number for number, name in enumerate(NUMPY_TYPES, 1)}


class Tensor(c.Structure):
    _fields_ = [
        ("data", c.c_void_p),
        ("dtype", c.c_int),
        ("shape", c.c_int64 * 4),
        ("stride", c.c_int64 * 4),
    ]


class Pairs(c.Structure):
    _fields_ = [
        ("data", c.c_void_p),
        ("dtype", c.c_int),
        ("rows", c.c_int),
        ("keys", c.c_int),
        *((name, c.c_int64) for name in ("row_stride", "key_stride")),
        *((name, c.c_int64) for name in ("sequence", "head", "query", "position", "key")),
    ]


PAIRS_CALLBACK = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(Pairs))


class Relative(c.Structure):
    _fields_ = [
        ("buckets", c.c_int),
        ("origin", c.c_int64),
        ("max_distance", c.c_int64),
        *((name, Tensor) for name in ("bias", "keys", "queries", "values")),
        *((name, Tensor) for name in ("content_bias", "position_bias")),
        ("reserved", c.c_uint64 * 8),
    ]


class Location(c.Structure):
    _fields_ = [
        *((name, Tensor) for name in ("previous", "filters", "projection")),
        ("reserved", c.c_uint64 * 8),
    ]


class Score(c.Structure):
    KINDS = ("dot", "general", "additive", "concat", "cosine", "gaussian", "location", "custom")
    _fields_ = [
        ("kind", c.c_int),
        ("scale", c.c_double),
        ("softcap", c.c_double),
        *((name, Tensor) for name in ("bias", "alibi_slopes", "sinks", "scales")),
        *((name, Tensor) for name in ("weight", "projection", "offset")),
        ("normalize_weight", c.c_bool),
        ("relative", c.POINTER(Relative)),
        ("location", c.POINTER(Location)),
        ("callback", PAIRS_CALLBACK),
        ("callback_user", c.c_void_p),
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
        ("callback", PAIRS_CALLBACK),
        ("callback_user", c.c_void_p),
        ("reserved", c.c_uint64 * 8),
    ]


class Local(c.Structure):
    _fields_ = [
        ("centers", Tensor),
        ("half_width", c.c_double),
        ("sigma", c.c_double),
        ("reserved", c.c_uint64 * 8),
    ]


class Normalizer(c.Structure):
    KINDS = ("softmax", "softmax one", "sigmoid", "sparsemax", "entmax", "relu", "relu squared",
             "linear", "hardmax")  # fmt: skip
    _fields_ = [
        ("kind", c.c_int),
        *((name, c.c_double) for name in ("temperature", "alpha", "bias")),
        ("gumbel", c.c_bool),
        ("dropout", c.c_double),
        ("seed", c.c_uint64),
        ("local", c.POINTER(Local)),
        ("reserved", c.c_uint64 * 8),
    ]


class Views(c.Structure):
    _fields_ = [
        ("heads", c.c_void_p),
        ("head_count", c.c_int64),
        ("weights", Tensor),
        ("rows", c.c_void_p),
        ("row_count", c.c_int64),
        *((name, Tensor) for name in ("received_sum", "received_mean", "received_max")),
        ("window_sum", Tensor),
        ("window_queries", c.c_int64),
        *((name, Tensor) for name in ("top_weights", "top_keys", "argmax")),
        *((name, Tensor) for name in ("entropy", "span", "distance", "max_logit")),
        ("block_sums", Tensor),
        ("block_queries", c.c_int64),
        ("block_keys", c.c_int64),
        *((name, Tensor) for name in ("head_mean", "path", "head_statistics")),
        *((name, Tensor) for name in ("raw_scores", "capped_scores", "scores")),
        ("observer", PAIRS_CALLBACK),
        ("observer_user", c.c_void_p),
        ("concurrent", c.c_bool),
        ("reserved", c.c_uint64 * 8),
    ]


class Problem(c.Structure):
    _fields_ = [
        ("query", Tensor),
        ("key", Tensor),
        ("value", Tensor),
        ("score", Score),
        ("mask", Mask),
        ("normalizer", Normalizer),
        ("output", Tensor),
        ("lse", Tensor),
        ("weights", Tensor),
        ("views", c.POINTER(Views)),
        ("reserved", c.c_uint64 * 16),
    ]


class ResultGradients(c.Structure):
    _fields_ = [
        *((name, Tensor) for name in ("output", "lse", "weights", "received_sum", "entropy")),
        ("reserved", c.c_uint64 * 8),
    ]


PAIRS_GRADIENT_CALLBACK = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(Pairs), c.POINTER(Pairs))


class InputGradients(c.Structure):
    _fields_ = [
        *((name, Tensor) for name in ("query", "key", "value")),
        *((name, Tensor) for name in ("bias", "alibi_slopes", "sinks", "scales")),
        *((name, Tensor) for name in ("scale", "softcap", "temperature")),
        *((name, Tensor) for name in ("weight", "projection", "offset")),
        ("callback", PAIRS_GRADIENT_CALLBACK),
        ("callback_user", c.c_void_p),
        *((f"relative_{name}", Tensor) for name in ("bias", "keys", "queries", "values")),
        *((name, Tensor) for name in ("content_bias", "position_bias")),
        *((name, Tensor) for name in ("previous", "filters", "location_projection")),
        *((name, Tensor) for name in ("sigmoid_bias", "centers", "sigma")),
        ("reserved", c.c_uint64 * 8),
    ]


class Tangents(c.Structure):
    _fields_ = [
        *((name, Tensor) for name in ("query", "key", "value", "bias")),
        *((name, Tensor) for name in ("output", "lse", "weights")),
        ("reserved", c.c_uint64 * 8),
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


HEADERS = ("gradients.h",)
STRUCTS = {
    "attn_tensor": Tensor,
    "attn_pairs": Pairs,
    "attn_relative": Relative,
    "attn_location": Location,
    "attn_score": Score,
    "attn_window": Window,
    "attn_mask": Mask,
    "attn_local": Local,
    "attn_normalizer": Normalizer,
    "attn_views": Views,
    "attn_problem": Problem,
    "attn_result_gradients": ResultGradients,
    "attn_input_gradients": InputGradients,
    "attn_tangents": Tangents,
    "attn_allocator": Allocator,
    "attn_context_options": ContextOptions,
}


DTYPE_NAMES = [f"ATTN_{name}" for name in ("F32", "F64", "BOOL", "F16", "U8", "I32", "I64")]
ENUMERATORS = {
    "ATTN_ALIGN_BOTTOM_RIGHT": BOTTOM_RIGHT,
    **{f"ATTN_SCORE_{kind.upper()}": i for i, kind in enumerate(Score.KINDS)},
    **{f"ATTN_{kind.upper().replace(' ', '_')}": i for i, kind in enumerate(Normalizer.KINDS)},
    **dict(zip(DTYPE_NAMES, DTYPES.values())),
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

    def reference_forward(self, p):
        self.check(self.c.attn_reference_forward(c.byref(p)))

    def reference_backward(self, p, from_results, to_inputs):
        self.check(self.c.attn_reference_backward(*map(c.byref, (p, from_results, to_inputs))))

    def reference_jvp(self, p, changes):
        self.check(self.c.attn_reference_jvp(c.byref(p), c.byref(changes)))


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

    def backward(self, p, from_results, to_inputs):
        structs = map(c.byref, (p, from_results, to_inputs))
        self.library.check(self.library.c.attn_backward(self.handle, *structs))

    def jvp(self, p, changes):
        structs = map(c.byref, (p, changes))
        self.library.check(self.library.c.attn_jvp(self.handle, *structs))


def tensor(array):
    """A view of an array of four dimensions, any strides."""
    assert array.ndim == 4
    strides = [s // array.itemsize for s in array.strides]
    sizes = (c.c_int64 * 4)(*array.shape), (c.c_int64 * 4)(*strides)
    return Tensor(array.ctypes.data, DTYPES[array.dtype], *sizes)


POINTERS = ("relative", "location", "local", "views")


def fill(struct, fields):
    """Sets fields by name: arrays as tensors, lists of numbers as int64_t, structs by value or by
    address, as attn.h has them. The struct keeps whatever it points to."""
    struct.kept = list(fields.values())
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            value = tensor(value)
        elif isinstance(value, (list, tuple)):
            value = (c.c_int64 * len(value))(*value)
            struct.kept.append(value)
            value = c.cast(value, c.c_void_p)
        elif isinstance(value, c.Structure) and name in POINTERS:
            value = c.pointer(value)
        setattr(struct, name, value)
    return struct


def relative(**fields):
    return fill(Relative(), fields)


def location(**fields):
    return fill(Location(), fields)


def local(**fields):
    return fill(Local(), fields)


def score(kind="dot", **fields):
    return fill(Score(kind=Score.KINDS.index(kind)), fields)


def normalizer(kind="softmax", **fields):
    return fill(Normalizer(kind=Normalizer.KINDS.index(kind)), fields)


def views(heads=None, rows=None, **fields):
    """Chosen heads and rows as lists; results as arrays, by name."""
    for name, chosen in (("head", heads), ("row", rows)):
        if chosen is not None:
            fields |= {f"{name}s": chosen, f"{name}_count": len(chosen)}
    return fill(Views(), fields)


def mask(causal=False, window=None, lengths=None):
    """lengths: how many queries and keys of each sequence of self-attention are real."""
    fields = {"query_lengths": lengths, "key_lengths": lengths} if lengths is not None else {}
    if window is not None:
        fields["window"] = Window(True, *window)
    return fill(Mask(causal=causal, alignment=BOTTOM_RIGHT), fields)


def problem(query, key, value, output=None, weights=None, **parts):
    """parts: score, mask, normalizer and views, as made above, and lse; None for an absent one."""
    fields = {"query": query, "key": key, "value": value, "output": output, "weights": weights}
    fields |= parts
    return fill(Problem(), {name: part for name, part in fields.items() if part is not None})


def result_gradients(**fields):
    """dL/d(results) as arrays, by name."""
    return fill(ResultGradients(), fields)


def input_gradients(**fields):
    """Places for dL/d(inputs) as arrays, by name; numbers have [1, 1, 1, 1]."""
    return fill(InputGradients(), fields)


def tangents(**fields):
    """Changes of inputs, and places for those of results, as arrays, by name."""
    return fill(Tangents(), fields)


def header_layout(headers, structs, enumerators):
    """Offsets, sizes and enumerators of headers, as the C compiler sees them."""
    lines = [f"#include <attn/{name}>" for name in headers]
    lines += ["#include <stdio.h>", "int main(void) {"]
    for name, struct in structs.items():
        lines.append(f'printf("{name} 0 %zu\\n", sizeof({name}));')
        for field, _ in struct._fields_:
            place = f"offsetof({name}, {field}), sizeof((({name} *)0)->{field})"
            lines.append(f'printf("{name}.{field} %zu %zu\\n", {place});')
    lines += [f'printf("{name} %d 0\\n", (int){name});' for name in enumerators]
    lines.append("return 0; }")
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "layout.c"), Path(folder, "layout")
        source.write_text("\n".join(lines))
        subprocess.run(["cc", f"-I{ROOT / 'include'}", source, "-o", binary], check=True)
        printed = subprocess.run([binary], check=True, capture_output=True, text=True).stdout
    return {name: (int(a), int(b)) for name, a, b in map(str.split, printed.splitlines())}


def mirrored_layout(structs, enumerators):
    """The same of classes."""
    layout = {name: (0, c.sizeof(struct)) for name, struct in structs.items()}
    for name, struct in structs.items():
        for field, _ in struct._fields_:
            at = getattr(struct, field)
            layout[f"{name}.{field}"] = at.offset, at.size
    return layout | {name: (number, 0) for name, number in enumerators.items()}


def differences(headers=HEADERS, structs=STRUCTS, enumerators=ENUMERATORS):
    """One sentence for each number that differs."""
    header = header_layout(headers, structs, enumerators)
    mirror = mirrored_layout(structs, enumerators)
    return [f"{name}: {mirror[name]} here, {at} in the headers" for name, at in header.items()
            if mirror[name] != at]  # fmt: skip


def main():
    wrong = differences()
    count = len(mirrored_layout(STRUCTS, ENUMERATORS))
    agreed = f"all {count} offsets and numbers agree with the headers"
    print("\n".join(wrong) or agreed)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

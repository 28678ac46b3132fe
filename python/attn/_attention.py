"""Attention over NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attn import _core
from attn._options import Array, Options, Unpack, put_options, show_options
from attn._views import Request, Views, Wanted, put_choice

Context = _core.Context
_default_context = Context()
_REAL = (np.dtype(np.float32), np.dtype(np.float64))


def as_array(name: str, value: Any) -> np.ndarray:
    """An ndarray over the same memory, if value has any: by DLPack, the buffer protocol, or made."""
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array: {error}") from None


def _is_floating(dtype: np.dtype) -> bool:
    return np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16"


def _as_real(name: str, value: Any) -> np.ndarray:
    """query, key or value: float32 and float64 as they are, half types as float32."""
    array = as_array(name, value)
    if array.dtype in _REAL:
        return array
    if not _is_floating(array.dtype):
        raise TypeError(f"{name} has elements of the type {array.dtype}: expected floating numbers")
    return array.astype(np.float32)


def _converter(dtype: np.dtype):
    def convert(name: str, value: Any, kind: str) -> np.ndarray:
        array = as_array(name, value)
        if kind == "bool":
            if array.dtype != np.bool_:
                raise TypeError(
                    f"{name} has elements of the type {array.dtype}: expected bool, True for pairs "
                    "that may attend (numbers to add to scores: bias)"
                )
            return array
        if kind == "float":
            # A list of Python numbers is whatever NumPy made of it; integers in it are numbers too.
            return array if array.dtype == dtype else array.astype(dtype)
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"{name} has elements of the type {array.dtype}: expected integers")
        return np.ascontiguousarray(array, dtype=kind)

    return convert


def _make_views(
    wanted: Wanted, heads: Any, rows: Any, out: Mapping, q: Any, k: Any, fields: dict, convert: Any
) -> Views:
    """Asks for views: places for them go into fields."""
    request = Request(wanted, fields)
    put_choice(fields, heads, rows, convert)
    views = Views()
    for name, (shape, dtype) in request.shapes(q.shape, k.shape, fields).items():
        place = out.get(name)
        if place is None:
            place = np.empty(shape, q.dtype if dtype == "float" else dtype)
        elif place.shape != shape:
            raise ValueError(f"out: {name} has the shape {place.shape}: expected {shape}")
        views[name] = fields[name] = place
    return views


def _chosen(wanted: Wanted, views: Views) -> Any:
    """One name gets its array, more get Views."""
    if isinstance(wanted, str) and len(views) == 1:
        return next(iter(views.values()))
    return views


def _problem(query: Any, key: Any, value: Any, options: Mapping):
    """(fields, convert) of one call."""
    q, k, v = _as_real("query", query), _as_real("key", key), _as_real("value", value)
    fields = {"query": q, "key": k, "value": v}
    convert = _converter(q.dtype)
    if options:
        put_options(fields, options, convert)
    return fields, convert


def _check_rank(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> None:
    for name, array in (("query", q), ("key", k), ("value", v)):
        if not 2 <= array.ndim <= 4:
            raise ValueError(
                f"{name} has {array.ndim} dimensions: expected [n, d], [heads, n, d] or "
                "[batch, heads, n, d]"
            )
    if max(k.ndim, v.ndim) > q.ndim:
        raise ValueError(f"key and value have more dimensions than query, which has {q.ndim}")


def _run(function: Any, query: Any, key: Any, value: Any, views: Wanted | None, heads: Any,
         rows: Any, out: Any, context: Context | None, options: Mapping):  # fmt: skip
    fields, convert = _problem(query, key, value, options)
    q, k, v = fields["query"], fields["key"], fields["value"]
    _check_rank(q, k, v)
    places = {} if out is None else out if isinstance(out, Mapping) else {"output": out}
    shape = (*q.shape[:-1], v.shape[-1])
    output = places.get("output")
    if output is None:
        output = np.empty(shape, q.dtype)
    elif output.shape != shape:
        raise ValueError(f"out has the shape {output.shape}: expected {shape}")
    fields["output"] = output
    made = None
    if views is not None:
        made = _make_views(views, heads, rows, places, q, k, fields, convert)
    for name in places:
        if name != "output" and name not in (made or ()):
            raise ValueError(f"out has a place for {name!r}, which views does not ask for")
    function(fields, context or _default_context)
    if q is not query and places.get("output") is None:
        output = output.astype(as_array("query", query).dtype, copy=False)
    return output if views is None else (output, _chosen(views, made))


@show_options
def attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    views: Wanted | None = None,
    heads: Any = None,
    rows: Any = None,
    out: Array | Mapping[str, Array] | None = None,
    context: Context | None = None,
    **options: Unpack[Options],
):
    """Exact attention, with any view of its weights.

    Scores every key against every query, weighs, and adds up the values::

        s[i,j] = scale * dot(query[i], key[j])         (or another score)
        w[i,j] = exp(s[i,j]) / sum over j' of exp(s[i,j'])
        output[i] = sum over j of w[i,j] * value[j]

    Args:
        query: [n_query, d], [heads, n_query, d] or [batch, heads, n_query, d], float32 or float64
            (half types are converted to float32, and the output back), with any strides: an
            ndarray, anything with DLPack (used in place), or a nested list.
        key: [..., n_key, d], value: [..., n_key, d_value]; their heads may divide query's.
        views: which views of the weights to return: a name, names, or {name: parameter}:
            "weights" [..., heads, n_query, n_key] (parameter: "float16", "uint8"); "lse" (log-sum-exp),
            "argmax", "entropy" (nats), "span", "distance" (keys), "max_logit" [..., heads,
            n_query]; "received_sum", "received_mean", "received_max", "window_sum" (parameter: over
            how many last queries) [..., heads, n_key]; "top" (parameter: k), which gives top_weights
            and top_keys [..., heads, n_query, k]; "block_sums" (parameter: (queries, keys) of a
            block); "head_mean" [..., n_query, n_key]; "path" [..., n_query, 2], the monotone
            alignment; "head_statistics" [..., heads, 4] (confidence, entropy, distance, weight on
            the first key); "raw_scores", "capped_scores", "scores". None of them but those of the
            size n_query x n_key takes as much memory.
        heads: which heads the views are of, rising; None: all.
        rows: which queries "weights" is of: a rising list, or -n for the last n; None: all.
        out: an array for the output, or {"output" or a view's array: array} to write to. After an
            exception of a callback their contents are unspecified.
        context: threads and memory; None: a shared one with a thread for each processor.
        **options: see attn.Options.

    Returns:
        The output [..., n_query, d_value]; with views, (output, the array) for a single name, else
        (output, Views).

    Errors: ValueError, TypeError, MemoryError, NotImplementedError, with a sentence that names the
    argument. Threads: the GIL is released; calls may run at the same time.

    Source: Vaswani et al. 2017; every score's and normalizer's own in the C header, attn.h.
    """
    return _run(_core.forward, query, key, value, views, heads, rows, out, context, options)


@show_options
def reference_attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    views: Wanted | None = None,
    heads: Any = None,
    rows: Any = None,
    out: Array | Mapping[str, Array] | None = None,
    **options: Unpack[Options],
):
    """attention() by the textbook: in float64, one row at a time, sharing no code with it. Slow."""
    return _run(_core.reference_forward, query, key, value, views, heads, rows, out, None, options)

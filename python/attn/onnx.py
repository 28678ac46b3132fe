"""The Attention operator of ONNX (opsets 23, 24, 25), evaluated by libattn.

    session = attn.onnx.evaluator("model.onnx", views={"weights": True, "entropy": True})
    outputs = session.run(None, inputs)
    for node, views in session.views:
        print(node, views.entropy.mean())

For an evaluator of one's own::

    onnx.reference.ReferenceEvaluator(model, new_ops=[attn.onnx.Attention])

It does not pass new_ops on to a model's local functions, so that attention in them is onnx's own;
evaluator()'s does.

Source: https://onnx.ai/onnx/operators/onnx__Attention.html
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from attn._attention import Context, attention
from attn._views import Views, Wanted

__all__ = ["Attention", "Evaluator", "evaluator"]

# What qk_matmul_output_mode 0 to 3 asks for.
_VIEWS_OF_MODES = ("raw_scores", "capped_scores", "scores", "weights")
# OpRun.run replaces the text of a TypeError, so types are complained of by ValueErrors.
_FLOATING = ("bfloat16", "float16", "float32", "float64")
_PRECISIONS = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.FLOAT16: np.float32,
    onnx.TensorProto.DOUBLE: np.float64,
    onnx.TensorProto.BFLOAT16: np.float32,
}


# --- Inputs -------------------------------------------------------------------------------------


def _check_inputs(opset: int, **inputs: Any) -> None:
    """inputs: those of the operator that have a floating type, and nonpad_kv_seqlen, by name."""
    if opset < 23:
        raise ValueError(f"Attention came with opset 23: the model imports {opset}")
    lengths = inputs.pop("nonpad_kv_seqlen")
    if lengths is not None and opset < 24:
        raise ValueError(f"nonpad_kv_seqlen came with opset 24: the model imports {opset}")
    past = [name for name in ("past_key", "past_value") if inputs[name] is not None]
    if len(past) == 1:
        raise ValueError(f"{past[0]} is alone: expected past_key and past_value together")
    if past and lengths is not None:
        raise ValueError("nonpad_kv_seqlen and past_key: expected at most one kind of cache")
    for name, x in inputs.items():
        if x is not None and x.dtype.name not in _FLOATING:
            raise ValueError(f"{name} has elements of the type {x.dtype}: expected {_FLOATING}")
    ranks = {inputs[name].ndim for name in ("Q", "K", "V")}
    if ranks not in ({3}, {4}):
        raise ValueError(
            f"Q, K and V have {sorted(ranks)} dimensions: expected 3 or 4, all the same"
        )


def _heads_apart(name: str, x: np.ndarray, attribute: str, heads: int | None, opset: int):
    """[batch, heads, length, width]: x itself, or a view of [batch, length, heads * width]."""
    if x.ndim == 4:
        if heads is not None and (opset >= 25 or heads != x.shape[1]):
            raise ValueError(f"{attribute} is {heads}: {name} has 4 dimensions, and its own heads")
        return x
    if not heads or heads < 0:
        raise ValueError(
            f"{attribute} is {heads}: expected a number of heads, as {name} has 3 dimensions"
        )
    if x.shape[2] % heads:
        raise ValueError(
            f"{name} has a last dimension of {x.shape[2]}: expected a multiple of {heads}"
        )
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def _with_past(name: str, past: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    if past is None:
        return x
    expected = (*x.shape[:2], "past_sequence_length", x.shape[3])
    if past.ndim != 4 or (past.shape[:2], past.shape[3]) != (x.shape[:2], x.shape[3]):
        raise ValueError(f"{name} has the shape {past.shape}: expected {expected}")
    return np.concatenate((past, x), axis=2)


def _computed_in(softmax_precision: int | None, *arrays: np.ndarray) -> type:
    """float64 if anything is; else float32, which is what half types are computed in."""
    if softmax_precision is not None and softmax_precision not in _PRECISIONS:
        raise ValueError(f"softmax_precision is {softmax_precision}: expected {list(_PRECISIONS)}")
    wanted = _PRECISIONS.get(softmax_precision, np.float32)
    doubles = any(x.dtype == np.float64 for x in arrays)
    return np.float64 if doubles else wanted


# --- Attributes and masks to options of attn.attention ------------------------------------------


def _score_options(scale: float | None, softcap: float | None) -> dict[str, Any]:
    if softcap is not None and softcap < 0:
        raise ValueError(f"softcap is {softcap}: expected 0, for none, or above")
    options = {"scale": scale, "softcap": softcap or None}
    return {name: value for name, value in options.items() if value is not None}


def _mask_options(mask: np.ndarray | None, keys: int, dtype: type) -> dict[str, Any]:
    """A boolean mask, or numbers to add. Keys that a shorter mask has no entry for are hidden."""
    if mask is None:
        return {}
    if not 1 <= mask.ndim <= 4 or mask.shape[-1] > keys:
        raise ValueError(
            f"attn_mask has the shape {mask.shape}: expected 1 to 4 dimensions, the last of at "
            f"most {keys} keys"
        )
    name, hidden = ("mask", False) if mask.dtype == np.bool_ else ("bias", -np.inf)
    if name == "bias":
        mask = mask.astype(dtype, copy=False)
    beyond = keys - mask.shape[-1]
    if beyond:
        mask = np.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, beyond)], constant_values=hidden)
    return {name: mask if mask.ndim > 1 else mask[None]}


def _place_options(past: np.ndarray | None, lengths: np.ndarray | None, batch: int, keys: int):
    """Query 0 stands after the cached keys: `past` of them, or, in a cache of the user's own, so
    many that the last query stands at the last real key."""
    if lengths is None:
        return {"query_offset": past.shape[2]} if past is not None else {}
    if lengths.shape != (batch,):
        raise ValueError(f"nonpad_kv_seqlen has the shape {lengths.shape}: expected {(batch,)}")
    for entry, length in enumerate(lengths):
        if not 0 <= length <= keys:
            raise ValueError(f"nonpad_kv_seqlen[{entry}] is {length}: expected 0 to {keys}")
    return {"key_lengths": lengths, "alignment": "bottom-right"}


def _visibility_options(is_causal: int, left: int | None, right: int | None, opset: int):
    options: dict[str, Any] = {"causal": True} if is_causal else {}
    sides = {"left_window_size": left, "right_window_size": right}
    for name, side in sides.items():
        if side is not None and side < -1:
            raise ValueError(f"{name} is {side}: expected -1, for no limit, or above")
    window = tuple(None if side in (None, -1) else side for side in sides.values())
    if window != (None, None):
        if opset < 25:
            raise ValueError(f"windows came with opset 25: the model imports {opset}")
        options["window"] = window
    return options


# --- The operator -------------------------------------------------------------------------------


class Attention(OpRun):
    """Attention of the domain ai.onnx, in every version that it has had.

    Computed in float64 if Q, K, V or softmax_precision is of that type, else in float32 (half types
    are converted), each result rounded once to its type: so softmax_precision of a half type, which
    asks for less, gets more. All four outputs, and all four modes of the last.

    Errors: ValueError, with a sentence that names the input or attribute.
    """

    op_domain = ""
    options: dict[str, Any] = {}  # views, heads, rows and context of attn.attention
    records: list[tuple[str, Views]] = []  # of options' views

    def _run(
        self, Q, K, V, attn_mask=None, past_key=None, past_value=None, nonpad_kv_seqlen=None,
        scale=None, is_causal=0, q_num_heads=None, kv_num_heads=None, softmax_precision=None,
        softcap=None, qk_matmul_output_mode=None, left_window_size=None, right_window_size=None,
    ):  # fmt: skip
        opset = self.run_params["opsets"][self.op_domain]
        _check_inputs(opset, Q=Q, K=K, V=V, past_key=past_key, past_value=past_value,
                      nonpad_kv_seqlen=nonpad_kv_seqlen)  # fmt: skip
        query = _heads_apart("Q", Q, "q_num_heads", q_num_heads, opset)
        key = _heads_apart("K", K, "kv_num_heads", kv_num_heads, opset)
        value = _heads_apart("V", V, "kv_num_heads", kv_num_heads, opset)
        key = _with_past("past_key", past_key, key)
        value = _with_past("past_value", past_value, value)

        dtype = _computed_in(softmax_precision, Q, K, V)
        score = _score_options(scale, softcap)
        hiding = {
            **_mask_options(attn_mask, key.shape[2], dtype),
            **_place_options(past_key, nonpad_kv_seqlen, len(query), key.shape[2]),
            **_visibility_options(is_causal, left_window_size, right_window_size, opset),
        }
        converted = [x.astype(dtype, copy=False) for x in (query, key, value)]
        output = self._attend(converted, Q.ndim, {**score, **hiding})
        results = [output.astype(Q.dtype, copy=False), key, value]
        if self._asks_for(3):
            scores = _qk_matmul_output(qk_matmul_output_mode or 0, converted, score, hiding)
            results.append(scores.astype(Q.dtype, copy=False))
        return tuple(results[: len(self.onnx_node.output)])

    def _asks_for(self, output: int) -> bool:
        names = self.onnx_node.output
        return len(names) > output and names[output] != ""

    def _attend(self, inputs: list[np.ndarray], rank: int, options: dict[str, Any]) -> np.ndarray:
        """Y, of Q's rank; what views are asked for goes to records."""
        batch, heads, queries, width = *inputs[0].shape[:3], inputs[2].shape[3]
        if rank == 3:
            output = np.empty((batch, queries, heads * width), inputs[0].dtype)
            place = output.reshape(batch, queries, heads, width).swapaxes(1, 2)
        else:
            output = place = np.empty((batch, heads, queries, width), inputs[0].dtype)
        result = attention(*inputs, out=place, **options, **self.options)
        if self.options.get("views") is not None:
            self.records.append((self.onnx_node.name or self.onnx_node.output[0], result[1]))
        return output


def _qk_matmul_output(mode: int, inputs: list[np.ndarray], score: dict, hiding: dict):
    """Modes 0 and 1: scores of all pairs, as before any mask; 2: -inf where hidden; 3: weights."""
    if mode not in range(len(_VIEWS_OF_MODES)):
        raise ValueError(f"qk_matmul_output_mode is {mode}: expected 0 to 3")
    options = score if mode < 2 else {**score, **hiding}
    return attention(*inputs, views=_VIEWS_OF_MODES[mode], **options)[1]


# --- Evaluators of models -----------------------------------------------------------------------


class Evaluator(ReferenceEvaluator):
    """onnx.reference.ReferenceEvaluator, with libattn's Attention in the model, its subgraphs and
    its local functions. evaluator() makes it."""

    operator: type[Attention] = Attention
    outermost = False

    def __init__(self, proto: Any, *args: Any, new_ops: Iterable | None = None, **keywords: Any):
        super().__init__(proto, *args, new_ops=[*(new_ops or ()), self.operator], **keywords)

    @property
    def views(self) -> list[tuple[str, Views]]:
        """(node's name, or its output's; Views) of each evaluation of Attention in the last run, in
        order: a node in a loop has many. dict(views) has the last of each name."""
        return self.operator.records

    def run(self, *args: Any, **keywords: Any):
        if self.outermost:
            self.operator.records.clear()
        return super().run(*args, **keywords)


def evaluator(
    model: onnx.ModelProto | str | os.PathLike | bytes,
    *,
    views: Wanted | None = None,
    heads: Any = None,
    rows: Any = None,
    context: Context | None = None,
    verbose: int = 0,
    new_ops: Iterable[type[OpRun]] = (),
) -> Evaluator:
    """A reference evaluator of a model, whose Attention nodes libattn evaluates.

    Args:
        model: a ModelProto, a file (its external data beside it) or a file's contents.
        views, heads, rows, context: as for attn.attention, for every Attention node: what views are
            asked for is in .views after each run, always as attn.Views.
        verbose, new_ops: as for onnx.reference.ReferenceEvaluator.

    Errors: ValueError if the model has no Attention of the domain ai.onnx. One that was expanded
    into its function's body has none left; operators of other domains are others.
    """
    if isinstance(model, (str, os.PathLike)):
        model = onnx.load(os.fspath(model))
    elif isinstance(model, bytes):
        model = onnx.load_model_from_string(model)
    _check_model(model)
    if isinstance(views, str):
        views = [views]
    options = {"views": views, "heads": heads, "rows": rows, "context": context}
    operator = type("Attention", (Attention,), {"options": options, "records": []})
    made = type("Evaluator", (Evaluator,), {"operator": operator})
    session = made(model, verbose=verbose, new_ops=new_ops)
    session.outermost = True
    return session


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes and, one after another, those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def _check_model(model: onnx.ModelProto) -> None:
    if not isinstance(model, onnx.ModelProto):
        raise TypeError(
            f"model is a {type(model).__name__}: expected a ModelProto, a file or its bytes"
        )
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    names = {(node.domain, node.op_type) for body in bodies for node in _nodes(body)}
    if ("", "Attention") in names:
        return
    others = sorted(f"{domain}.{name}" for domain, name in names if domain and "Attention" in name)
    raise ValueError(
        "model has no Attention of the domain ai.onnx"
        + (f", only {', '.join(others)}" if others else "")
        + ": expected at least one (not expanded into its function body)"
    )

"""Attention over tensors of PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attn._options import Options, Unpack, put_options, show_options
from attn._views import Request, Views, Wanted, put_choice
from attn.torch import _operator

_SOFTMAX = 0
_TYPES = {torch.float32: "float32", torch.float64: "float64"}


# --- Arguments ----------------------------------------------------------------------------------


def _inputs(query: Tensor, key: Tensor, value: Tensor) -> dict[str, Tensor]:
    """Fields of one type: float64 if any is, else float32; half types are converted."""
    given = {"query": query, "key": key, "value": value}
    for name, tensor in given.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} is a {type(tensor).__name__}: expected a torch.Tensor")
        if not (tensor.is_cpu or tensor.is_meta):
            raise ValueError(f"{name} is on {tensor.device}: attn computes on the CPU alone")
    if query.dtype is key.dtype is value.dtype and query.dtype in _TYPES:
        return given
    for name, tensor in given.items():
        if not tensor.is_floating_point():
            raise TypeError(f"{name} has the type {tensor.dtype}: expected floating numbers")
    wide = any(tensor.dtype == torch.float64 for tensor in given.values())
    dtype = torch.float64 if wide else torch.float32
    return {name: tensor.to(dtype) for name, tensor in given.items()}


def _converter(dtype: torch.dtype):
    kinds = {"float": dtype, "bool": torch.bool, "int64": torch.int64, "int32": torch.int32}

    def convert(name: str, value: Any, kind: str) -> Tensor:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
        wanted = kinds[kind]
        if tensor.dtype == wanted:
            return tensor.contiguous() if kind.startswith("int") else tensor
        if kind == "bool":
            raise TypeError(
                f"{name} has the type {tensor.dtype}: expected torch.bool, True for pairs that may "
                "attend (numbers to add to scores: bias)"
            )
        if kind == "float" or not (tensor.is_floating_point() or tensor.dtype == torch.bool):
            return tensor.to(wanted)
        raise TypeError(f"{name} has the type {tensor.dtype}: expected integers")

    return convert


def _check_options(options: Options) -> None:
    for name in ("score_callback", "mask_callback"):
        if options.get(name) is not None:
            raise NotImplementedError(
                f"{name}: attn.attention takes functions, PyTorch's operators cannot"
            )
    for name, value in options.items():
        if name in ("scale", "softcap", "temperature", "sigmoid_bias") and isinstance(
            value, Tensor
        ):
            raise TypeError(f"{name} is a tensor: expected a number (learned factors: scales)")


def _put_dropout(fields: dict, options: Options) -> None:
    if options.get("dropout") or options.get("gumbel"):
        if options.get("seed") is None:
            seed = torch.randint(0, 2**62, (1,), dtype=torch.int64)
        else:
            seed = torch.tensor([options["seed"]], dtype=torch.int64)
        fields["seed"] = seed


# --- Calls --------------------------------------------------------------------------------------


def _results(fields: dict, views: Request | None, dtype: torch.dtype, differentiable: bool):
    """{result: (shape, type)} of one call: the output, what backward needs, and the views."""
    real = _TYPES[dtype]
    q, v = fields["query"], fields["value"]
    results = {"output": ((*q.shape[:-1], v.shape[-1]), real)}
    if views is not None:
        for name, (shape, kind) in views.shapes(q.shape, fields["key"].shape, fields).items():
            results[name] = (shape, real if kind == "float" else str(kind).removeprefix("torch."))
    if differentiable and fields.get("normalizer", _SOFTMAX) == _SOFTMAX and "lse" not in results:
        results["lse"] = (q.shape[:-1], real)
    return results


def _has_gradient(name: str, tensor: Tensor, fields: dict) -> bool:
    """Whether a gradient flows from a view: weights of some rows, or rounded ones, have none."""
    if name == "weights":
        whole = "rows" not in fields and "last_rows" not in fields
        return whole and tensor.dtype == fields["query"].dtype
    return name in _operator.DIFFERENTIABLE


@show_options
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    views: Wanted | None = None,
    heads: Any = None,
    rows: Any = None,
    **options: Unpack[Options],
):
    """attn.attention for tensors: differentiable, and an operator for torch.compile and export.

    Args: as attn.attention's, tensors on the CPU; float32, float64, or half types, which are computed
        in float32. dropout draws its seed from PyTorch's generator unless `seed` is given. No
        callbacks.

    Returns:
        The output in query's type; with views, (output, tensor) for one name, else (output, Views).
        Weights have query's type, other views the type that was computed in. Gradients flow into
        query, key, value and every floating option (bias, sinks, weight, tables ...) from the output
        and from the views "weights" (all rows, not rounded), "lse", "received_sum" and "entropy".

    Errors: as attn.attention's. First derivatives alone. Threads: PyTorch's own, as many as
    torch.get_num_threads().
    """
    fields = _inputs(query, key, value)
    dtype = fields["query"].dtype
    convert = _converter(dtype)
    if options:
        _check_options(options)
        put_options(fields, options, convert)
        _put_dropout(fields, options)
    request = None
    if views is not None:
        request = Request(views, fields)
        put_choice(fields, heads, rows, convert)
    differentiable = torch.is_grad_enabled() and any(
        isinstance(field, Tensor) and field.requires_grad for field in fields.values()
    )
    results = _results(fields, request, dtype, differentiable)
    made = dict(zip(results, _operator.call(fields, results, differentiable)))
    output = made["output"]
    if dtype is not query.dtype:
        output = output.to(query.dtype)
    if request is None:
        return output
    seen = Views()
    for name in request.types:
        tensor = made[name] if _has_gradient(name, made[name], fields) else made[name].detach()
        seen[name] = (
            tensor.to(query.dtype) if name == "weights" and tensor.dtype == dtype else tensor
        )
    return output, next(iter(seen.values())) if isinstance(views, str) and len(seen) == 1 else seen


def _flatten(tensor: Tensor, batch: torch.Size) -> Tensor:
    """[..., heads, n, d] as [batch, heads, n, d], its leading dimensions expanded to batch."""
    return tensor.expand(*batch, *tensor.shape[-3:]).reshape(-1, *tensor.shape[-3:])


@show_options
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    return_weights: bool = False,
    views: Wanted | None = None,
    heads: Any = None,
    rows: Any = None,
    **options: Unpack[Options],
):
    """torch.nn.functional.scaled_dot_product_attention, which can return its weights.

    Args:
        query: [..., n_query, d], key: [..., n_key, d], value: [..., n_key, d_value].
        attn_mask: [..., n_query, n_key], boolean (True may attend) or added to the scores.
        dropout_p: probability of a weight to become 0. is_causal: query i sees keys up to i.
        scale: None: 1/sqrt(d). enable_gqa: heads of key and value may divide query's; they always
            may here.
        return_weights: also return the weights [..., n_query, n_key], as they multiply the values.
        views, heads, rows, options: as of attention(); e.g. window, softcap, sinks, alignment.

    Returns: the output; with return_weights, (output, weights); with views as attention() does.

    Unlike PyTorch's, is_causal and attn_mask may be combined, and a query that may attend to nothing
    gets 0, not NaN. Errors, threads, derivatives: as attention().
    """
    if is_causal:
        options["causal"] = True
    if scale is not None:
        options["scale"] = scale
    if dropout_p:
        options["dropout"] = dropout_p
    if attn_mask is not None:
        name = "mask" if attn_mask.dtype == torch.bool else "bias"
        if options.get(name) is not None:
            raise ValueError(f"attn_mask and {name} are both given: expected one of them")
        options[name] = attn_mask
    if return_weights:
        if views is not None:
            raise ValueError("return_weights and views are both given: views may name weights")
        views = "weights"
    batch = query.shape[:-3]
    if len(batch) > 1 or (batch and not query.shape[0] == key.shape[0] == value.shape[0]):
        return _broadcast(query, key, value, views, heads, rows, options)
    return attention(query, key, value, views=views, heads=heads, rows=rows, **options)


def _broadcast(query, key, value, views, heads, rows, options):
    """A call whose leading dimensions are several, or differ: flattened, and put back."""
    batch = torch.broadcast_shapes(query.shape[:-3], key.shape[:-3], value.shape[:-3])
    for name in ("mask", "bias"):
        given = options.get(name)
        if given is not None and given.dim() > 3:
            options[name] = _flatten(given, batch)
    flat = [_flatten(tensor, batch) for tensor in (query, key, value)]
    result = attention(*flat, views=views, heads=heads, rows=rows, **options)
    if views is None:
        return result.unflatten(0, batch)
    output, seen = result
    if isinstance(seen, Tensor):
        return output.unflatten(0, batch), seen.unflatten(0, batch)
    return output.unflatten(0, batch), Views(
        {name: tensor.unflatten(0, batch) for name, tensor in seen.items()}
    )

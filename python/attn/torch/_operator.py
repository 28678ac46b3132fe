"""torch.ops.attn.forward and .backward: the extension's calls as operators of PyTorch.

An operator gets a call as lists of names and of what they name, and makes the results that it is told
to make, with their sizes. So one schema serves both, the fake kernels (for torch.compile and
torch.export) need to know nothing of attention, and a new option needs no new operator.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from attn import _core

# PyTorch's threads are used: its OpenMP runtime may have been loaded after the extension.
_core.forget_runtime()

Results = dict[str, tuple[Sequence[int], str]]  # {name: (shape, type)}

_SCHEMA = (
    "(Tensor[] tensors, str[] tensor_names, SymInt[] integers, str[] integer_names, "
    "float[] numbers, str[] number_names, str[] results, SymInt[] sizes) -> Tensor[]"
)
_library = torch.library.Library("attn", "DEF")
_library.define("forward" + _SCHEMA)
_library.define("backward" + _SCHEMA)

_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "uint8": torch.uint8,
    "int64": torch.int64,
}

# Results whose gradients the library takes, besides the output.
DIFFERENTIABLE = ("lse", "weights", "received_sum", "entropy")


@functools.cache
def _context(threads: int) -> _core.Context:
    return _core.Context(threads)


def describe(name: str, shape: Sequence[int], dtype: str) -> str:
    """A result as the operators are told of it; its sizes are passed beside."""
    return f"{name}:{dtype}:{len(shape)}"


def _make(like: Tensor, results: Sequence[str], sizes: Sequence[int]) -> dict[str, Tensor]:
    made, at = {}, 0
    for result in results:
        name, dtype, rank = result.split(":")
        end = at + int(rank)
        made[name] = torch.empty(tuple(sizes[at:end]), dtype=_DTYPES[dtype], device=like.device)
        at = end
    return made


def _fake(tensors, tensor_names, integers, integer_names, numbers, number_names, results, sizes):
    return list(_make(tensors[0], results, sizes).values())


def _kernel(function):
    def run(tensors, tensor_names, integers, integer_names, numbers, number_names, results, sizes):
        fields = dict(zip(tensor_names, tensors))
        fields.update(zip(integer_names, integers))
        fields.update(zip(number_names, numbers))
        if "seed" in fields:  # a tensor, so that a compiled graph draws a new one each time
            fields["seed"] = int(fields["seed"])
        made = _make(tensors[0], results, sizes)
        fields.update(made)
        function(fields, _context(torch.get_num_threads()))
        return list(made.values())

    return run


for _name in ("forward", "backward"):
    _library.impl(_name, _kernel(getattr(_core, _name)), "CPU")
    torch.library.register_fake(f"attn::{_name}", _fake, lib=_library)


# --- Gradients ----------------------------------------------------------------------------------


def _setup(ctx, inputs, output):
    tensors, names, integers, integer_names, numbers, number_names, results, _ = inputs
    ctx.names, ctx.integers, ctx.integer_names = names, integers, integer_names
    ctx.numbers, ctx.number_names = numbers, number_names
    ctx.results = [result.split(":")[0] for result in results]
    kept = [made for name, made in zip(ctx.results, output) if name in ("output", "lse")]
    ctx.kept_names = [name for name in ctx.results if name in ("output", "lse")]
    # An empty list counts as one of tensors, whose gradients are an empty list.
    ctx.none = [None if argument else [] for argument in inputs[1:]]
    ctx.wants = [tensor.requires_grad for tensor in tensors]
    ctx.save_for_backward(*tensors, *kept)
    ctx.set_materialize_grads(False)


def _all_heads(gradient: Tensor, fields: dict[str, Tensor]) -> Tensor:
    """A gradient of the chosen heads' weights as one of all heads'."""
    if "heads" not in fields or fields["query"].dim() < 3:
        return gradient
    shape = (*gradient.shape[:-3], fields["query"].shape[-3], *gradient.shape[-2:])
    return gradient.new_zeros(shape).index_copy(-3, fields["heads"], gradient)


def _backward(ctx, gradients):
    fields = dict(zip([*ctx.names, *ctx.kept_names], ctx.saved_tensors))
    for name, gradient in zip(ctx.results, gradients):
        if gradient is not None:
            fields[f"d_{name}"] = _all_heads(gradient, fields) if name == "weights" else gradient
    wanted = [name for name, wants in zip(ctx.names, ctx.wants) if wants]
    made = []
    if wanted and any(f"d_{name}" in fields for name in ctx.results):
        inputs = [fields[name] for name in wanted]
        results = [
            describe(f"d_{name}", tensor.shape, str(tensor.dtype).removeprefix("torch."))
            for name, tensor in zip(wanted, inputs)
        ]
        made = torch.ops.attn.backward(
            list(fields.values()), list(fields), ctx.integers, ctx.integer_names,
            ctx.numbers, ctx.number_names,
            results, [size for tensor in inputs for size in tensor.shape],
        )  # fmt: skip
    found = dict(zip(wanted, made))
    return [found.get(name) for name in ctx.names], *ctx.none


def _no_second(ctx, gradients):
    raise NotImplementedError("attn has first derivatives alone: no gradient of a gradient")


torch.library.register_autograd("attn::forward", _backward, setup_context=_setup, lib=_library)
torch.library.register_autograd(
    "attn::backward", _no_second, setup_context=lambda ctx, inputs, output: None, lib=_library
)


# --- Calling ------------------------------------------------------------------------------------


def _is_plain(fields: dict) -> bool:
    """Whether nobody but the kernel would see the call: no compiler, no mode, no transform, no
    tensor of another class. Through the dispatcher a small call took more than twice as long."""
    return (
        not torch.compiler.is_compiling()
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._are_functorch_transforms_active()
        and all(type(f) is Tensor or type(f) is Parameter or not isinstance(f, Tensor)
                for f in fields.values())
        and not fields["query"].is_meta
    )  # fmt: skip


def _call_kernel(fields: dict, results: Results) -> list[Tensor]:
    if "seed" in fields:
        fields["seed"] = int(fields["seed"])
    made = [torch.empty(shape, dtype=_DTYPES[dtype]) for shape, dtype in results.values()]
    _core.forward(fields | dict(zip(results, made)), _context(torch.get_num_threads()))
    return made


def call(fields: dict, results: Results, differentiable: bool) -> list[Tensor]:
    """torch.ops.attn.forward for a dict of tensors and numbers; results: {name: (shape, type)}."""
    if not differentiable and _is_plain(fields):
        return _call_kernel(fields, results)
    lists: dict[type, tuple[list, list]] = {Tensor: ([], []), int: ([], []), float: ([], [])}
    for name, value in fields.items():
        kind = Tensor if isinstance(value, Tensor) else float if isinstance(value, float) else int
        lists[kind][0].append(value)
        lists[kind][1].append(name)
    return torch.ops.attn.forward(
        *lists[Tensor], *lists[int], *lists[float],
        [describe(name, shape, dtype) for name, (shape, dtype) in results.items()],
        [size for shape, _ in results.values() for size in shape],
    )  # fmt: skip

"""From weights to alignments and explanations, over NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attn import _core
from attn._attention import Context, _default_context, as_array
from attn._options import Array


def alignment_path(weights: Array, *, context: Context | None = None) -> np.ndarray:
    """The monotone path through a matrix that collects the most weight: dynamic time warping.

    Args:
        weights: [n_query, n_key] or [batch, n_query, n_key], float32 or float64, finite.

    Returns:
        int64 [..., n_query, 2]: the first and the last key that each query visits; -1 without keys.

    Errors: ValueError, TypeError. Source: Sakoe & Chiba 1978.
    """
    weights = as_array("weights", weights)
    path = np.empty((*weights.shape[:-1], 2), np.int64)
    _core.alignment_path(weights, path, context or _default_context)
    return path


def rollout(
    layers: Sequence[Array], residual: float = 0.5, *, context: Context | None = None
) -> np.ndarray:
    """Attention rollout: how much of each input token reaches each output token.

        R = A[last] ... A[1] A[0],  A[l] = (1 - residual) W[l] + residual I, rows divided by sums

    Args:
        layers: mean weights of each layer, first layer first, each [n, n] or [batch, n, n].
        residual: 0 <= residual < 1.

    Returns: [..., n, n], the layers' type. Errors: ValueError, TypeError.
    Source: Abnar & Zuidema 2020.
    """
    arrays = tuple(as_array("layers", layer) for layer in layers)
    if not arrays:
        raise ValueError("layers: expected at least one")
    result = np.empty(arrays[0].shape, arrays[0].dtype)
    _core.rollout(arrays, residual, result, context or _default_context)
    return result


def flow(
    layers: Sequence[Array], token: int, residual: float = 0.5, *, context: Context | None = None
) -> np.ndarray:
    """Attention flow: the maximum flow from an output token to each input token.

    Args:
        layers, residual: as for rollout. token: the output token, 0 to n - 1.

    Returns: [..., n], the layers' type. Errors: ValueError, TypeError. Cost: n maximum flows over
    layers * n * n edges: for sentences, not for books. Source: Abnar & Zuidema 2020.
    """
    arrays = tuple(as_array("layers", layer) for layer in layers)
    if not arrays:
        raise ValueError("layers: expected at least one")
    result = np.empty(arrays[0].shape[:-1], arrays[0].dtype)
    _core.flow(arrays, residual, token, result, context or _default_context)
    return result

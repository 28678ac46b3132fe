"""How far float32 (or float64, or half) attention may be from exact arithmetic: derived, not tuned.

With u half the spacing at 1 of the type that is computed in (2^-24 for float32), to first order in u:

- A score is a dot product of d terms, in any order, times the scale, plus a bias: its error is at
  most ds = u ((d + 2) scale sum|q k| + |bias| + |s|).
- exp(s - m) is taken of a difference that was rounded, |s - m| u, by a function that is within 4 u of
  the exact one (NUMERICS.md; PyTorch's and NumPy's are closer): its relative error is at most
  ds + dm + |s - m| u + 4 u, where the maximum's own error dm is a ds too.
- A weight is such an exp over a sum of n of them: numerator and denominator each have that error,
  and the sum n u, and the division u. So relative errors of a row are at most
      e = 2 max(2 ds + |s - m| u) + (n + 9) u.
- The output adds n products w v: e + n u of sum w|v|.

Weights that underflow in the type are off by less than its smallest normal number, which is added.
"""

import numpy as np


def unit(dtype) -> float:
    """u of a type."""
    return float(np.finfo(dtype).eps) / 2


def exact(q, k, v, scale=None, bias=None, visible=None):
    """(scores, weights, output, |scores| before cancellation) by the formula, in float64.

    q, k, v: [..., n, d], as many heads as each other. visible: boolean; rows of none get 0.
    """
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = scale * (q @ np.swapaxes(k, -1, -2))
    sizes = abs(scale) * (np.abs(q) @ np.swapaxes(np.abs(k), -1, -2))
    if bias is not None:
        scores = scores + bias
        sizes = sizes + np.where(np.isinf(bias), 0, np.abs(bias))
    if visible is not None:
        scores = np.where(visible, scores, -np.inf)
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isinf(top), 0, top))
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(total == 0, 1, total)
    return scores, weights, weights @ v, sizes


def errors(q, v, scores, weights, sizes, dtype):
    """(bound of each weight, bound of each output) for a computation in dtype."""
    u, n, d = unit(dtype), scores.shape[-1], q.shape[-1]
    seen = np.isfinite(scores)
    known = np.where(seen, scores, 0)
    ds = u * ((d + 2) * sizes + np.abs(known))
    top = np.where(seen, scores, -np.inf).max(-1, keepdims=True, initial=-np.inf)
    below = np.where(seen, np.abs(known - np.where(np.isinf(top), 0, top)), 0)
    worst = np.where(seen, 2 * ds + below * u, 0).max(-1, keepdims=True, initial=0)
    relative = 2 * worst + (n + 9) * u
    tiny = float(np.finfo(dtype).tiny)
    of_weights = relative * weights + tiny
    of_output = (relative + n * u) * (weights @ np.abs(v)) + n * tiny
    return of_weights, of_output

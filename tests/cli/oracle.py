"""Attention by the textbook in NumPy's widest float, and how far a computation in another one may
be from it.

The bound, to first order in u, the type's unit roundoff (2^-24 for float32, 2^-53 for float64):

score   A dot product of d terms, its scaling (also by log2(e), folded into the query), cap, bias
        and ALiBi terms make at most d + 12 roundings, each relative to at most
            A = |scale| * |q|.|k| + |bias| + |slope| * |p - j|.
        Underflow aside, |error of a score| <= D = (d + 12) * u * max over visible j of A.
weight  Numerator and denominator each change by at most exp(D); the exponential itself, to a few
        units in the last place, its argument's difference from the maximum (at most 2A: counted in
        the 12), the sum of n terms and the division add (n + 10) * u:
            |error of w| <= w * (exp(2 D) - 1 + (n + 10) * u) + the smallest normal number.
output  |error| <= sum of w * |v| * (exp(2 D) - 1 + (2 n + 12) * u), and the same floor.
lse     |error| <= D + (n + 10) * u + u * |lse|.

Any order of summation keeps these, so they hold for every instruction set and any blocking.
"""

import numpy as np

WIDE = np.longdouble


def _per_head(x):
    """[heads] or [batch, heads] as [batch or 1, heads, 1, 1]."""
    x = np.asarray(x, WIDE)
    return x.reshape((1,) * (2 - x.ndim) + x.shape + (1, 1))


def _visible(shape, causal, window, offset, mask, query_lengths, key_lengths, prefix_lengths):
    batch, heads, queries, keys = shape
    visible = np.ones(shape, bool)
    positions = np.zeros((batch, 1, queries, 1))
    i, j = np.arange(queries)[:, None], np.arange(keys)[None, :]
    for b in range(batch):
        own_queries = queries if query_lengths is None else query_lengths[b]
        own_keys = keys if key_lengths is None else key_lengths[b]
        p = i + offset + (own_keys - own_queries if causal == "bottom-right" else 0)
        positions[b, 0] = p
        seen = (i < own_queries) & (j < own_keys)
        if causal:
            seen &= (j <= p) | (j < (0 if prefix_lengths is None else prefix_lengths[b]))
        if window is not None:
            left, right = window
            seen &= (j >= p - left) if left >= 0 else True
            seen &= (j <= p + right) if right >= 0 else True
        visible[b] &= seen
    if mask is not None:
        visible &= mask
    return visible, positions


def attention(
    query,
    key,
    value,
    *,
    scale=None,
    softcap=None,
    causal=None,
    window=None,
    offset=0,
    mask=None,
    bias=None,
    sinks=None,
    alibi=None,
    query_lengths=None,
    key_lengths=None,
    prefix_lengths=None
):
    """Returns {"output", "weights", "lse"}, each a pair of the exact result and the bound on the
    error of a computation in query's type. All arrays have four dimensions."""
    d, n = query.shape[3], key.shape[2]
    u = WIDE(np.finfo(query.dtype).epsneg) / 2 if query.dtype != WIDE else WIDE(0)
    tiny = WIDE(np.finfo(query.dtype).tiny)
    group = query.shape[1] // key.shape[1]
    q = query.astype(WIDE)
    k, v = (np.repeat(x.astype(WIDE), group, 1) for x in (key, value))
    scale = WIDE(1) / np.sqrt(WIDE(d)) if scale is None else WIDE(scale)

    kt = k.swapaxes(2, 3)
    score, size = scale * (q @ kt), abs(scale) * (abs(q) @ abs(kt))
    if softcap is not None:
        score = softcap * np.tanh(score / softcap)
    visible, positions = _visible(
        score.shape, causal, window, offset, mask, query_lengths, key_lengths, prefix_lengths
    )
    if bias is not None:
        score, size = score + bias, size + abs(bias)
    if alibi is not None:
        distance = _per_head(alibi) * abs(positions - np.arange(n))
        score, size = score - distance, size + abs(distance)
    score = np.where(visible, score, -np.inf)

    top = score.max(-1, keepdims=True, initial=-np.inf)
    sink = None
    if sinks is not None:
        real = np.ones((q.shape[0], 1, q.shape[2], 1), bool)
        if query_lengths is not None:
            real = np.arange(q.shape[2])[None, None, :, None] < np.reshape(
                query_lengths, (-1, 1, 1, 1)
            )
        sink = np.where(real, _per_head(sinks), -np.inf)
        top = np.maximum(top, sink)
        size = np.maximum(size, abs(_per_head(sinks)))
    safe = np.where(np.isinf(top), 0, top)
    power = np.exp(score - safe)
    total = power.sum(-1, keepdims=True) + (0 if sink is None else np.exp(sink - safe))
    weights = power / np.where(total == 0, 1, total)
    with np.errstate(divide="ignore"):
        lse = (safe + np.log(total))[..., 0]

    delta = (d + 12) * u * np.where(visible, size, 0).max(-1, keepdims=True, initial=0)
    if sinks is not None:
        delta = np.maximum(delta, 12 * u * abs(_per_head(sinks)))
    relative = np.expm1(2 * delta) + (n + 10) * u
    seen_lse = np.where(np.isinf(lse), 0, lse)
    return {
        "output": (weights @ v, (weights @ abs(v)) * (relative + (n + 2) * u) + tiny),
        "weights": (weights, weights * relative + tiny),
        "lse": (lse, delta[..., 0] + (n + 10) * u + u * abs(seen_lse)),
    }


def excess(result, exact, bound):
    """The largest error in units of its bound; at most 1 if the result is right."""
    same = (result == exact) | (np.isnan(result) & np.isnan(exact))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0, abs(result.astype(WIDE) - exact))
    return float((error / bound).max(initial=0))

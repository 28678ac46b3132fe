"""Attention by the textbook in float64, and how far a float32 computation of it may stray.

The bound is derived, not tuned. With u = 2^-24 (half the spacing of float32 at 1) and
gamma(n) = n u / (1 - n u), which bounds the relative effect of n roundings in any order
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1):

  score      d products and sums, the scale and log2(e) as rounded constants and as factors, so
             each product passes at most d + 4 roundings:
                 |error of s_ij| <= gamma(d + 4) * |scale| * sum_c |q_ic k_jc|
  exp        its argument s_ij - m_i is rounded once, and exp itself may be 2 ulp (4 u) off:
                 e_ij = |error of s_ij| + u |s_ij - m_i| + 4 u,   as an error of the logarithm
             The maximum m_i divides out, whatever its own error.
  normalise  the sum is a weighted mean of the errors above, so it is off by at most
             log(sum_j w_ij exp(e_ij)); its n additions cost gamma(n). A softmax that works in
             blocks of six keys or more rescales once a block, at 6 u, which is at most another n
             roundings in all. Dividing costs 2 more:
                 r_ij = exp(e_ij + log(sum_j w_ij exp(e_ij)) + gamma(2 n + 2)) - 1
                 |error of w_ij| <= w_ij r_ij + 2^-126
             2^-126 is the smallest normal float32: what is less may become zero.
  aggregate  n products and sums over weights that are off as above, rescaled as above:
                 |error of o_i| <= sum_j (w_ij (r_ij + gamma(2 n) (1 + r_ij)) + 2^-126) |v_j|

Backward, with g = gamma of the roundings of a term, S the sizes of a score's terms, D = g S, D* the largest D of a row, G^ the sizes of the terms of dL/dw, M = sum_j w G^:

  weights    a factor e^D of each and of the sum:  r = exp(2 D* + g) - 1, relative
  dz         w (G - sum_j w G): off by  w ((r + g) (G^ + M) + r M)  to first order
  gradient   with J^ at least the sizes of a derivative of a score and its error over g: J^ times the
             above, and times the sizes w (G^ + M) 3 g, for J and the products, and what the sum adds
"""

from dataclasses import dataclass

import numpy as np

UNIT = 2.0**-24
TINY = 2.0**-126


def gamma(roundings):
    return roundings * UNIT / (1 - roundings * UNIT)


@dataclass(frozen=True)
class Attention:
    """Results in float64, and the bound on each element's error when computed in float32."""

    output: np.ndarray
    weights: np.ndarray
    output_bound: np.ndarray
    weights_bound: np.ndarray


def attention(query, key, value, visible=None, scale=None):
    """Textbook attention over the last two dimensions: query [..., n_q, d], key [..., n_k, d],
    value [..., n_k, d_value]; visible [..., n_q, n_k] is False where a query may not look. Every
    query must see a key."""
    query, key, value = (np.asarray(t, dtype=np.float64) for t in (query, key, value))
    width, length = query.shape[-1], key.shape[-2]
    scale = width**-0.5 if scale is None else scale

    score = scale * (query @ key.swapaxes(-1, -2))
    if visible is not None:
        score = np.where(visible, score, -np.inf)
    distance = score - score.max(axis=-1, keepdims=True)
    weights = np.exp(distance)
    weights /= weights.sum(axis=-1, keepdims=True)

    magnitude = abs(scale) * (np.abs(query) @ np.abs(key).swapaxes(-1, -2))
    # A masked key's weight is exactly zero in float32 too: it has no distance to round.
    rounding = UNIT * np.where(np.isfinite(distance), -distance, 0)
    e = gamma(width + 4) * magnitude + rounding + 4 * UNIT
    normaliser = np.log((weights * np.exp(e)).sum(axis=-1, keepdims=True))
    r = np.expm1(e + normaliser + gamma(2 * length + 2))
    of_terms = weights * (r + gamma(2 * length) * (1 + r)) + TINY
    return Attention(
        output=weights @ value,
        weights=weights,
        output_bound=of_terms @ np.abs(value),
        weights_bound=weights * r + TINY,
    )


def slope_bound(weights, sizes, of_weights, roundings, summed):
    """What J^ is to be summed with over pairs: weights in float64, S, G^; see above. roundings: of a
    term up to dz; summed: how many pairs the sum is over."""
    g = gamma(roundings)
    r = np.expm1(2 * g * sizes.max(axis=-1, keepdims=True) + g)
    mean = (weights * of_weights).sum(axis=-1, keepdims=True)
    off = r + 4 * g + gamma(summed)
    return weights * (off * (of_weights + mean) + r * mean) + TINY

"""Attention by the textbook in NumPy's widest float, and how far a computation in another one may
be from it: every score, normalizer and view of attn.h.

The bounds, to first order in u, the type's unit roundoff (2^-24 for float32, 2^-53 for float64):

score   Sums of m products in a row (m: the width, and what is summed before or after it), their
        scaling (also by log2(e), folded into the query), cap, bias and ALiBi terms make at most
        m + 12 roundings, each relative to at most A, the same sum over absolute values (for a dot
        product |scale| * |q|.|k| + |bias| + |slope| * |p - j|). Underflow aside,
        |error of a score| <= D = (m + 12) * u * max over visible j of A.
        Additive scores and concat take tanh of sums: an argument x of n terms, whose absolute values
        add up to X, is wrong by n u X, tanh is no steeper than 1, and an implementation by
        exponentials adds a few units of each of their arguments: 8 u (1 + n X) for each feature,
        times its |weight|, joins D.
z       The temperature's division: D / T + 2 u |z|; Gumbel noise g: 8 u (1 + |g|) before it.
softmax Numerator and denominator each change by at most exp(D); the exponential itself, to a few
        units in the last place, its argument's difference from the maximum (at most 2A: counted in
        the 12), the sum of n terms and the division add (n + 10) * u:
            |error of w| <= w * (exp(2 D) - 1 + (n + 10) * u) + the smallest normal number.
sigmoid log w changes no faster than z: w * (exp(D + 4 u (|z| + |bias|)) - 1 + 8 u).
entmax  (sparsemax: alpha = 2) x = (alpha - 1) z - t with w = x^(1/(alpha - 1)). Moving every z by
        at most D moves t by at most (alpha - 1) D, and so does x by twice that. Summing to 1 within
        (n + 10) u places t within (alpha - 1) (n + 10) u, since the sum falls by at least
        1/(alpha - 1) of itself per unit of t where x <= 1; t and x are rounded: 8 u. The weight of
        x +- all that, and the power's own error, u times 32 (1 + |log2 w|). A last division by the
        sum makes a weight wrong by its share of what all weights are wrong by, and n + 16 u.
relu    A change of D, its square's (z + D)^2 - z^2 = D (2 z + D), and 4 u of the result.
hardmax Right, unless two scores are within 2 D: the oracle refuses such problems.
local, dropout  A factor exp(-a): 8 u (1 + a) of itself; 1/(1 - p): 2 u.
output  |error| <= sum of (error of w) * |v| + w * |v| * (n + 2) * u, and the same floor.
lse     |error| <= D + (n + 10) * u + u * |lse|.

views   Sums and means of weights: the sum of their errors, and a rounding for each term; greatest
        ones: the greatest error. Entropy: |x log x - y log y| <= -|x - y| log |x - y| where x and y
        are weights closer than 1/2 (Cover & Thomas, theorem 17.3.3), and a way through the
        log-sum-exp adds its error and that of the mean score. Span: its exponential.

Any order of summation keeps these, so they hold for every instruction set and any blocking.
"""

import numpy as np

WIDE = np.longdouble


def _per_head(x):
    """[heads] or [batch, heads] as [batch or 1, heads, 1, 1]."""
    x = np.asarray(x, WIDE)
    return x.reshape((1,) * (2 - x.ndim) + x.shape + (1, 1))


def _vectors(x):
    """[width] or [heads, width] as [1, heads, 1, 1, width]."""
    x = np.asarray(x, WIDE)
    return x.reshape((1,) * (3 - x.ndim) + x.shape[:-1] + (1, 1) + x.shape[-1:])


def _matrices(x):
    """[rows, columns] or [heads, rows, columns] as [1, heads, rows, columns]."""
    x = np.asarray(x, WIDE)
    return x.reshape((1,) * (4 - x.ndim) + x.shape)


def _places(x):
    """[queries], [heads, queries] or [batch, heads, queries] as [batch, heads, queries, 1]."""
    x = np.asarray(x, WIDE)
    return x.reshape((1,) * (3 - x.ndim) + x.shape + (1,))


def _visible(shape, causal, window, offset, mask, query_lengths, key_lengths, prefix_lengths):
    batch, heads, queries, keys = shape
    visible = np.ones(shape, bool)
    positions = np.zeros((batch, 1, queries, 1))
    real = np.ones((batch, 1, queries, 1), bool)
    i, j = np.arange(queries)[:, None], np.arange(keys)[None, :]
    for b in range(batch):
        own_queries = queries if query_lengths is None else query_lengths[b]
        own_keys = keys if key_lengths is None else key_lengths[b]
        p = i + offset + (own_keys - own_queries if causal == "bottom-right" else 0)
        positions[b, 0] = p
        real[b, 0] = i < own_queries
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
    return visible, positions, real


# ----------------------------------------------------------------------------------------- scores


def entry(offset, n, buckets="clipped", origin=0, max_distance=0):
    """Which of n entries belongs to a key at this offset from its query."""
    if buckets == "clipped":
        return np.clip(offset + (origin or n // 2), 0, n - 1)
    m = n // 2 if buckets == "t5" else n
    away = abs(offset) if buckets == "t5" else np.maximum(-offset, 0)
    exact, far = m // 2, max_distance or 128
    logs = np.log(np.maximum(away, 1) / exact) / np.log(far / exact) * (m - exact)
    bucket = np.where(away < exact, away, np.minimum(exact + np.floor(logs).astype(int), m - 1))
    return bucket + (m * (offset > 0) if buckets == "t5" else 0)


def _features(previous, filters, projection, shape):
    """Chorowski's features times their projection, [batch, heads, queries, keys, hidden], and the
    same over absolute values."""
    width, keys = np.shape(filters)[-1], shape[3]
    filters, projection = _matrices(filters), _matrices(projection)
    previous = np.asarray(previous, WIDE)
    previous = np.broadcast_to(previous.reshape((1,) * (4 - previous.ndim) + previous.shape), shape)
    padded = np.pad(previous, ((0, 0),) * 3 + ((width // 2, width // 2),))
    taps = np.stack([padded[..., t : t + keys] for t in range(width)], -1)
    f = np.einsum("bhqkt,bhct->bhqkc", taps, filters + np.zeros((1, shape[1], 1, 1)))
    size = np.einsum("bhqkt,bhct->bhqkc", abs(taps), abs(filters) + np.zeros((1, shape[1], 1, 1)))
    p = projection + np.zeros((1, shape[1], 1, 1))
    return (
        np.einsum("bhqkc,bhdc->bhqkd", f, p),
        np.einsum("bhqkc,bhdc->bhqkd", size, abs(p)),
        filters.shape[2] + width,
    )


def _hidden(q, k, kind, weight, projection, score_bias, normalize_weight, location):
    """Additive and concat: the score, A, the number of roundings, and what tanh adds to D."""
    qd, kd = q.shape[3], k.shape[3]
    weight, terms = _vectors(weight), 3
    if normalize_weight:
        weight = weight / np.sqrt((weight * weight).sum(-1, keepdims=True))
    if kind == "concat":
        p = _matrices(projection)
        parts = ((q, p[..., :qd]), (k, p[..., qd:]))
        (q, q_size), (k, k_size) = (
            (x @ part.swapaxes(2, 3), abs(x) @ abs(part).swapaxes(2, 3)) for x, part in parts
        )
        terms += qd + kd
    else:
        q_size, k_size = abs(q), abs(k)
    x = q[:, :, :, None] + k[:, :, None]
    size = q_size[:, :, :, None] + k_size[:, :, None]
    if score_bias is not None:
        x, size = x + _vectors(score_bias), size + abs(_vectors(score_bias))
    if location is not None:
        f, f_size, f_terms = _features(**location, shape=x.shape[:4])
        x, size, terms = x + f, size + f_size, terms + f_terms
    a = abs(weight)
    score = (weight * np.tanh(x)).sum(-1)
    from_tanh = 8 * (a * (1 + terms * size)).sum(-1)
    return score, np.broadcast_to(a.sum(-1), score.shape), 2 * x.shape[-1] + 4, from_tanh


def _relative(q, k, scale, offset, relative):
    """The products with tables: what joins the dot product, and A."""
    score = size = WIDE(0)
    heads = np.arange(q.shape[1])[None, :, None, None]
    pick = lambda table: _matrices(table) + np.zeros((1, q.shape[1], 1, 1))
    at = lambda n: entry(offset, n, **relative.get("how", {}))
    if relative.get("content_bias") is not None:
        u = _vectors(relative["content_bias"])[:, :, 0]
        score = score + scale * (u @ k.swapaxes(2, 3))
        size = size + abs(scale) * (abs(u) @ abs(k).swapaxes(2, 3))
    if relative.get("keys") is not None:
        table = pick(relative["keys"])
        v = relative.get("position_bias")
        both = q + (0 if v is None else _vectors(v)[:, :, 0])
        e = np.broadcast_to(at(table.shape[2]), q.shape[:3] + k.shape[2:3])
        row = np.arange(q.shape[2])[None, None, :, None]
        batch = np.arange(q.shape[0])[:, None, None, None]
        score = score + scale * (both @ table.swapaxes(2, 3))[batch, heads, row, e]
        whole = abs(q) + (0 if v is None else abs(_vectors(v)[:, :, 0]))
        size = size + abs(scale) * (whole @ abs(table).swapaxes(2, 3))[batch, heads, row, e]
    if relative.get("queries") is not None:
        table = pick(relative["queries"])
        e = np.broadcast_to(at(table.shape[2]), q.shape[:3] + k.shape[2:3])
        column = np.arange(k.shape[2])[None, None, None, :]
        batch = np.arange(q.shape[0])[:, None, None, None]
        score = score + scale * (k @ table.swapaxes(2, 3))[batch, heads, column, e]
        size = size + abs(scale) * (abs(k) @ abs(table).swapaxes(2, 3))[batch, heads, column, e]
    return score, size


def _raw(q, k, kind, scale, weight, offset, relative, **hidden):
    """The scaled score, A, the number of roundings m, and what tanh adds to D."""
    d, kt = q.shape[3], k.swapaxes(2, 3)
    dot, size, m, extra = q @ kt if d == k.shape[3] else None, None, d, WIDE(0)
    if kind in ("scaled", "dot", "relative"):
        size = abs(q) @ abs(kt)
    elif kind == "general":
        w = _matrices(weight)
        dot, size, m = q @ w @ kt, abs(q) @ abs(w) @ abs(kt), d + k.shape[3]
    elif kind in ("additive", "concat"):
        dot, size, m, extra = _hidden(q, k, kind, weight, **hidden)
    elif kind == "cosine":
        norms = np.sqrt((q * q).sum(-1))[..., None] * np.sqrt((k * k).sum(-1))[:, :, None]
        norms = np.where(norms == 0, np.inf, norms)
        dot, size, m = dot / norms, (abs(q) @ abs(kt)) / norms, 2 * d
    elif kind == "gaussian":
        difference = q[:, :, :, None] - k[:, :, None]
        dot = -(difference * difference).sum(-1)
        size = ((abs(q)[:, :, :, None] + abs(k)[:, :, None]) ** 2).sum(-1)
    elif kind == "location":
        w = _matrices(weight)[:, :, : k.shape[2]].swapaxes(2, 3)
        dot, size = q @ w, abs(q) @ abs(w)
    elif kind == "custom":
        dot = size = np.zeros(q.shape[:3] + k.shape[2:3], WIDE)
    score, size, extra = scale * dot, abs(scale) * size, abs(scale) * extra
    if relative is not None:
        more, more_size = _relative(q, k, scale, offset, relative)
        score, size, m = score + more, size + more_size, m + 4
    return score, size, m, extra


# -------------------------------------------------------------------------------------- the noise


def _threefry(key, counter):
    """Threefry-2x32 of 20 rounds on arrays of pairs of 32-bit words (Salmon et al. 2011)."""
    with np.errstate(over="ignore"):
        k = [np.asarray(x, np.uint32) for x in key]
        k.append(np.uint32(0x1BD11BDA) ^ k[0] ^ k[1])
        x, y = (np.asarray(c, np.uint32) + w for c, w in zip(counter, k))
        for round in range(20):
            turn = np.uint32((13, 15, 26, 6, 17, 29, 16, 24)[round % 8])
            x = x + y
            y = (y << turn | y >> (np.uint32(32) - turn)) ^ x
            if round % 4 == 3:
                i = round // 4 + 1
                x, y = x + k[i % 3], y + k[(i + 1) % 3] + np.uint32(i)
    return x, y


def noise(seed, shape):
    """The two numbers of each pair, within 0 and 1."""
    b, h, q, k = np.ix_(*map(np.arange, shape))
    key = _threefry((seed & 0xFFFFFFFF, seed >> 32), (b, h))
    pair = _threefry(key, (q, k))
    return [np.broadcast_to((x >> np.uint32(9)) * 2.0**-23 + 2.0**-24, shape) for x in pair]


# ------------------------------------------------------------------------------------- normalizers


def _softmax(z, delta, n, u, sink):
    """Weights, the bound on their error, log-sum-exp; sink: logits, -infinity for none."""
    top = np.maximum(z.max(-1, keepdims=True, initial=-np.inf), sink)
    safe = np.where(np.isinf(top), 0, top)
    power = np.exp(z - safe)
    total = power.sum(-1, keepdims=True) + np.exp(sink - safe)
    weights = power / np.where(total == 0, 1, total)
    with np.errstate(divide="ignore"):
        lse = (safe + np.log(total))[..., 0]
    return weights, weights * (np.expm1(2 * delta) + (n + 10) * u), lse


def _entmax(z, delta, n, u, alpha):
    x = (alpha - 1) * (z - np.maximum(z.max(-1, keepdims=True, initial=-np.inf), -1e300))
    power = WIDE(1) / WIDE(alpha - 1)
    low, high = -np.ones(z.shape[:3] + (1,), WIDE), np.zeros(z.shape[:3] + (1,), WIDE)
    weight = lambda t: np.maximum(x - t, 0) ** power
    for _ in range(80):  # to the last of the widest float's bits
        middle = (low + high) / 2
        above = weight(middle).sum(-1, keepdims=True) >= 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    w, margin = weight(low), 2 * (alpha - 1) * delta + (alpha - 1) * (n + 10) * u + 8 * u
    apart = np.maximum(np.maximum(x - low + margin, 0) ** power - w, w - weight(low + margin))
    logs = abs(np.log2(np.where(w > 0, w, 1)))
    spread = apart.sum(-1, keepdims=True)
    return w, apart + w * (spread + u * (32 * (1 + logs) + n + 16))


def _hardmax(z, delta):
    best = z.max(-1, keepdims=True, initial=-np.inf)
    close = (z >= best - 2 * delta) & np.isfinite(z)
    assert (close.sum(-1) <= 1).all(), "two scores are too close for hardmax to be known"
    return ((z == best) & np.isfinite(z)).astype(WIDE), np.zeros(z.shape, WIDE)


def _normalize(z, delta, n, u, normalizer, alpha, sigmoid_bias, sink):
    """Weights of -infinity are 0; log-sum-exp for those that have one."""
    if normalizer in ("softmax", "softmax-one"):
        return _softmax(z, delta, n, u, WIDE(0) if normalizer == "softmax-one" else sink)
    if normalizer in ("sparsemax", "entmax", "entmax15"):
        chosen = {"sparsemax": 2, "entmax": alpha, "entmax15": 1.5}[normalizer]
        return *_entmax(z, delta, n, u, chosen), None
    if normalizer == "hardmax":
        return *_hardmax(z, delta), None
    seen = np.isfinite(z)
    z = np.where(seen, z, 0)
    if normalizer == "sigmoid":
        w = 1 / (1 + np.exp(-z - sigmoid_bias))
        bound = w * (np.expm1(delta + 4 * u * (abs(z) + abs(sigmoid_bias))) + 8 * u)
    else:
        w = z if normalizer == "linear" else np.maximum(z, 0)
        bound = delta + 4 * u * abs(w)
        if normalizer == "relu2":
            w, bound = w * w, delta * (2 * w + delta) + 4 * u * w * w
    return np.where(seen, w, 0), np.where(seen, bound, 0), None


# ----------------------------------------------------------------------------------------- the whole


def attention(
    query,
    key,
    value,
    *,
    score="scaled",
    weight=None,
    projection=None,
    score_bias=None,
    normalize_weight=False,
    scales=None,
    relative=None,
    location=None,
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
    prefix_lengths=None,
    normalizer="softmax",
    temperature=1,
    alpha=1.5,
    sigmoid_bias=0,
    local=None,
    centers=None,
    sigma=None,
    gumbel=False,
    dropout=0,
    seed=0,
):
    """Returns {"output", "weights", "lse", "raw-scores", "capped-scores", "scores"}, each a pair of
    the exact result and the bound on the error of a computation in query's type, without "lse" for
    a normalizer that has none; and "positions", and "real", which queries are no padding. All
    arrays have four dimensions. relative: the tables by attn_relative's names, and "how", the
    arguments of entry(); location: previous, filters, projection."""
    d, n = query.shape[3], key.shape[2]
    u = WIDE(np.finfo(query.dtype).epsneg) / 2 if query.dtype != WIDE else WIDE(0)
    tiny = WIDE(np.finfo(query.dtype).tiny)
    group = query.shape[1] // key.shape[1]
    q = query.astype(WIDE)
    k, v = (np.repeat(x.astype(WIDE), group, 1) for x in (key, value))
    shape = q.shape[:3] + (n,)
    visible, positions, real = _visible(
        shape, causal, window, offset, mask, query_lengths, key_lengths, prefix_lengths
    )
    steps = np.arange(n) - positions.astype(int)

    if scale is None:
        scale = {"scaled": 1 / np.sqrt(WIDE(d)), "gaussian": WIDE(1) / 2}.get(score, WIDE(1))
        scale = 1 / np.sqrt(WIDE(d)) if score == "relative" else scale
    scale = WIDE(scale) * (1 if scales is None else _per_head(scales))
    hidden = {
        "projection": projection,
        "score_bias": score_bias,
        "normalize_weight": normalize_weight,
        "location": location,
    }
    raw, size, m, extra = _raw(q, k, score, scale, weight, steps, relative, **hidden)
    capped = raw if softcap is None else softcap * np.tanh(raw / softcap)
    scores = capped
    if relative is not None and relative.get("bias") is not None:
        table = _vectors(relative["bias"])[:, :, 0, 0] + np.zeros((1, q.shape[1], 1))
        at = np.broadcast_to(entry(steps, table.shape[2], **relative.get("how", {})), shape)
        by_offset = table[0][np.arange(q.shape[1])[None, :, None, None], at]
        scores, size = scores + by_offset, size + abs(by_offset)
    if bias is not None:
        scores, size = scores + bias, size + abs(bias)
    if alibi is not None:
        distance = _per_head(alibi) * abs(steps)
        scores, size = scores - distance, size + abs(distance)
    away = WIDE(0)
    if local is not None:
        center = positions if centers is None else _places(centers)
        away = np.arange(n) - center
        visible = visible & (abs(away) <= local)
    scores = np.where(visible, scores, -np.inf)

    each = (m + 12) * u * size + u * extra
    z, noise_error = scores, WIDE(0)
    if gumbel or dropout:
        kept, drawn = noise(seed, shape)
    if gumbel:
        g = -np.log(-np.log(drawn.astype(WIDE)))
        z, noise_error = z + g, 8 * u * (1 + abs(g))
    z = z / temperature
    largest = lambda x: np.where(visible, x, 0).max(-1, keepdims=True, initial=0)
    if sinks is not None:
        size = np.maximum(size, abs(_per_head(sinks)))
        each = np.maximum(each, 12 * u * abs(_per_head(sinks)))
    z_size = largest(abs(np.where(visible, z, 0)))
    delta = largest((each + noise_error) / temperature)
    if temperature != 1:
        delta = delta + 2 * u * z_size
    sink = np.where(real, WIDE(-np.inf) if sinks is None else _per_head(sinks), -np.inf)
    weights, error, lse = _normalize(z, delta, n, u, normalizer, alpha, sigmoid_bias, sink)
    if normalizer == "softmax-one":
        lse = np.where(real[..., 0], lse, -np.inf)
    if local is not None:
        a = away * away / (2 * WIDE(local / 2 if sigma is None else sigma) ** 2)
        factor = np.exp(-a)
        weights, error = weights * factor, (error + weights * 8 * u * (1 + a)) * factor
    if dropout:
        p = np.rint(dropout * 2.0**23) * 2.0**-23
        factor = (kept > p) / (1 - WIDE(p))
        weights, error = weights * factor, (error + 2 * u * abs(weights)) * factor

    results = {
        "output": _aggregate(weights, error, v, n, u, tiny, steps, relative),
        "weights": (weights, error + tiny),
        "raw-scores": (np.where(visible, raw, 0), np.where(visible, each, 0) + tiny),
        "capped-scores": (np.where(visible, capped, 0), np.where(visible, each, 0) + tiny),
        "scores": (scores, np.where(visible, each, 0) + tiny),
        "positions": positions,
        "real": real,
    }
    if lse is not None:
        seen_lse = np.where(np.isinf(lse), 0, lse)
        results["lse"] = (lse, delta[..., 0] + (n + 10) * u + u * abs(seen_lse))
    return results


def _aggregate(weights, error, v, n, u, tiny, steps, relative):
    exact, size, spread = weights @ v, abs(weights) @ abs(v), error @ abs(v)
    if relative is not None and relative.get("values") is not None:
        table = _matrices(relative["values"]) + np.zeros((1, v.shape[1], 1, 1))
        at = np.broadcast_to(entry(steps, table.shape[2], **relative.get("how", {})), weights.shape)
        heads = np.arange(v.shape[1])[None, :, None, None]
        rows = table[0][heads, at]
        exact = exact + (weights[..., None] * rows).sum(-2)
        size = size + (abs(weights)[..., None] * abs(rows)).sum(-2)
        spread = spread + (error[..., None] * abs(rows)).sum(-2)
        n = 2 * n
    return exact, spread + size * (n + 2) * u + tiny


# ------------------------------------------------------------------------------------------ views


def _blocks(x, rows, columns):
    for axis, size in ((2, rows), (3, columns)):
        x = np.add.reduceat(x, np.arange(0, x.shape[axis], size), axis)
    return x


def views(results, dtype, window_queries=32, block_queries=64, block_keys=64):
    """{name: (exact, bound)} of the views that are numbers, from what attention() returned, for all
    heads, in attn_views' four dimensions."""
    u = WIDE(np.finfo(dtype).epsneg) / 2
    (w, error), real = results["weights"], results["real"]
    queries, keys = w.shape[2:]
    counts = real.sum(2, keepdims=True)
    size = abs(w)

    def total(chosen, axis, terms):
        return (w * chosen).sum(axis, keepdims=True), ((error + terms * u * size) * chosen).sum(
            axis, keepdims=True
        )

    def mean(pair):
        """Over the real queries."""
        exact, bound = pair
        share = real / np.maximum(counts, 1)
        return (exact * share).sum(2, keepdims=True), (
            (bound + (queries + 2) * u * abs(exact)) * share
        ).sum(2, keepdims=True)

    place = np.cumsum(real, 2) - 1
    last = real & (place >= counts - window_queries)
    at = abs(results["positions"] - np.arange(keys))
    greatest = w.max(-1, keepdims=True, initial=-np.inf), error.max(-1, keepdims=True, initial=0)
    logs = np.log(np.where(w > 0, w, 1))
    entropy_error = -error * np.log(np.where(error > 0, error, 1))
    seen = np.isfinite(results["scores"][0])
    z = np.where(seen, abs(results["scores"][0]), 0)
    entropy = -(w * logs).sum(-1, keepdims=True), (
        entropy_error + (keys + 10) * u * abs(w * logs) + error * z
    ).sum(-1, keepdims=True) + (results["scores"][1] + (keys + 10) * u * (1 + z)).max(
        -1, keepdims=True, initial=0
    )
    span = np.exp(entropy[0])
    top = np.where(seen, results["scores"][0], -np.inf).max(-1, keepdims=True, initial=-np.inf)
    distance = (w * at).sum(-1, keepdims=True), ((error + (keys + 4) * u * size) * at).sum(
        -1, keepdims=True
    )
    first = w[..., :1], error[..., :1]
    statistics = [mean(x) for x in (greatest, entropy, distance, first)]
    return {
        "received-sum": total(real, 2, queries),
        "received-mean": mean((w, error)),
        "received-max": (
            np.where(real, w, -np.inf).max(2, keepdims=True),
            error.max(2, keepdims=True),
        ),
        "window-sum": total(last, 2, queries),
        "entropy": entropy,
        "span": (span, span * (np.expm1(entropy[1]) + 4 * u)),
        "distance": distance,
        "max-logit": (top, results["scores"][1].max(-1, keepdims=True, initial=0)),
        "block-sums": (
            _blocks(w, block_queries, block_keys),
            _blocks(error + block_queries * block_keys * u * size, block_queries, block_keys),
        ),
        "head-mean": (
            w.mean(1, keepdims=True),
            (error + (w.shape[1] + 2) * u * size).mean(1, keepdims=True),
        ),
        "head-statistics": tuple(np.concatenate(x, -1) for x in zip(*statistics)),
        **{name: results[name] for name in ("raw-scores", "capped-scores", "scores", "weights")},
    }


def monotone_path(weights):
    """The greatest sum of weights along a path from the first pair to the last."""
    queries, keys = weights.shape
    best = np.full((queries + 1, keys + 1), -np.inf, WIDE)
    best[0, 0] = 0
    for i in range(queries):
        for j in range(keys):
            before = max(best[i, j], best[i, j + 1], best[i + 1, j])
            best[i + 1, j + 1] = before + weights[i, j]
    return best[-1, -1]


def excess(result, exact, bound):
    """The largest error in units of its bound; at most 1 if the result is right."""
    same = (result == exact) | (np.isnan(result) & np.isnan(exact))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(same, 0, abs(result.astype(WIDE) - exact))
        return float(np.where(error == 0, 0, error / bound).max(initial=0))

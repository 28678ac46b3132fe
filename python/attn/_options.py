"""The options that every front end shares: their names, their meaning, and which fields they fill."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import numpy as np

Array = Any
Fields = dict[str, Any]

SCORES = ("dot", "general", "additive", "concat", "cosine", "gaussian", "location", "custom")
NORMALIZERS = ("softmax", "softmax-one", "sigmoid", "sparsemax", "entmax", "relu", "relu2", "linear",
               "hardmax")  # fmt: skip
ALIGNMENTS = ("top-left", "bottom-right")
BUCKETS = ("clipped", "t5", "t5-causal")


@dataclass(frozen=True)
class Relative:
    """Scores (and values) that depend on where a key stands relative to its query.

    With e the table's entry for the offset j - i::

        s[i,j] = scale (dot(query[i] + content_bias, key[j]) + dot(query[i] + position_bias, keys[e])
                        + dot(key[j], queries[e])) + bias[e]
        output[i] = sum over j of w[i,j] (value[j] + values[e])

    Args:
        bias: [n] or [heads, n] (T5: Raffel et al. 2020).
        keys, queries: [n, d] or [heads, n, d] (Shaw et al. 2018; DeBERTa: He et al. 2021).
        values: [n, d_value] or [heads, n, d_value] (Shaw et al. 2018).
        content_bias, position_bias: [d] or [heads, d] (Transformer-XL: Dai et al. 2019).
        buckets: "clipped" (offset + origin, clipped to the table), "t5" or "t5-causal".
        origin: the entry of offset 0 of "clipped"; None: n // 2.
        max_distance: of "t5"; None: 128.
    """

    bias: Array = None
    keys: Array = None
    queries: Array = None
    values: Array = None
    content_bias: Array = None
    position_bias: Array = None
    buckets: str = "clipped"
    origin: int | None = None
    max_distance: int | None = None


@dataclass(frozen=True)
class Location:
    """Location-aware terms of an additive score (Chorowski et al. 2015): what earlier steps
    attended to, filtered, joins the tanh.

    Args:
        previous: [..., n_query or 1, n_key], the weights of the step before, or their sum so far.
        filters: [channels, width] or [heads, channels, width]; width is odd.
        projection: [d, channels] or [heads, d, channels].
    """

    previous: Array
    filters: Array
    projection: Array


@dataclass(frozen=True)
class Local:
    """Local attention (Luong et al. 2015): keys within half_width of a centre, by a Gaussian.

    Args:
        half_width: how far from its centre a query sees, in keys.
        sigma: of the Gaussian; None: half_width / 2; infinity: the window alone.
        centers: [..., n_query] ("local-p"); None: the query's own place ("local-m").
    """

    half_width: float
    sigma: float | None = None
    centers: Array = None


class Options(TypedDict, total=False):
    """Keyword arguments of all attention functions. Arrays may leave out leading dimensions, and
    dimensions of size 1 broadcast; floating ones are converted to query's type.

    Score:
        score: "dot" (scale * dot(query, key)), "general" (query^T weight key), "additive"
            (dot(weight, tanh(query + key + offset))), "concat" (dot(weight, tanh(projection
            [query; key] + offset))), "cosine", "gaussian" (-scale |query - key|^2), "location"
            (dot(query, weight[j])) or "custom" (0, for bias and score_callback to fill).
        scale: multiplies the score; None: 1/sqrt(d) for "dot", 1/2 for "gaussian", else 1.
        softcap: c > 0: scores become c tanh(score / c) (Gemma 2).
        bias: [..., n_query, n_key], added; -inf masks.
        alibi_slopes: [heads]: slope * distance is taken off (Press et al. 2022).
        sinks: [heads]: a logit that takes its share of the softmax and gives no value.
        scales: [heads]: factors of scale.
        weight, projection, offset: of the scores that have them: general [d_query, d_key], additive
            and concat [d], location [n_key, d]; projection [d, d_query + d_key]; each may have
            heads first.
        normalize_weight: weight / |weight| for weight (Salimans & Kingma 2016).
        relative: a Relative. location: a Location.
        score_callback: function(scores, pairs) -> scores, an array [rows, keys] of scores as they
            are so far; pairs says which rows and keys they are of.

    Mask:
        causal: query i sees keys j <= its own place.
        alignment: where queries stand: "top-left" (query i at key i) or "bottom-right" (the last
            query at the last key).
        query_offset: moves queries' places, as for cached keys.
        window: w or (left, right): how far a query sees; None on a side: no limit.
        mask: [..., n_query, n_key], boolean: True may attend.
        mask_callback: function(scores, pairs) -> scores, which sets pairs to -inf.
        lengths: [batch]: how many queries and keys of each sequence are real.
        query_lengths, key_lengths: the same, apart.
        prefix_lengths: [batch]: so many first keys are seen by all, whatever causal says.
        query_starts, key_starts: [sequences + 1]: packed batches, end to end in one row.
        query_documents, key_documents: [batch, n]: a query sees keys with its own number alone.

    Normalizer:
        normalizer: "softmax", "softmax-one", "sigmoid", "sparsemax", "entmax", "relu", "relu2",
            "linear" or "hardmax".
        temperature: divides scores.
        alpha: of entmax.
        sigmoid_bias: added to scores by sigmoid.
        gumbel: adds Gumbel noise to scores.
        dropout: probability of a weight to become 0.
        seed: of both kinds of noise.
        local: a Local.
    """

    score: str
    scale: float | None
    softcap: float | None
    bias: Array
    alibi_slopes: Array
    sinks: Array
    scales: Array
    weight: Array
    projection: Array
    offset: Array
    normalize_weight: bool
    relative: Relative | None
    location: Location | None
    score_callback: Callable | None
    causal: bool
    alignment: str
    query_offset: int
    window: int | Sequence[int | None] | None
    mask: Array
    mask_callback: Callable | None
    lengths: Array
    query_lengths: Array
    key_lengths: Array
    prefix_lengths: Array
    query_starts: Array
    key_starts: Array
    query_documents: Array
    key_documents: Array
    normalizer: str
    temperature: float | None
    alpha: float | None
    sigmoid_bias: float
    gumbel: bool
    dropout: float
    seed: int
    local: Local | None


DEFAULTS = dict.fromkeys(Options.__annotations__) | {
    "score": "dot", "normalize_weight": False, "causal": False, "alignment": "top-left",
    "query_offset": 0, "normalizer": "softmax", "sigmoid_bias": 0.0, "gumbel": False,
    "dropout": 0.0, "seed": 0,
}  # fmt: skip


def show_options(function):
    """Puts every option into the signature that help() and editors show, instead of **options."""
    signature = inspect.signature(function)
    kept = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in DEFAULTS.items()
        if name not in signature.parameters
    ]
    function.__signature__ = signature.replace(parameters=kept + options)
    return function


# --- Options to fields --------------------------------------------------------------------------

# How a front end gives an array to the library: (argument's name, the user's object, kind) -> array
# that the extension reads. kind: "float" (query's type), "bool", "int64" or "int32".
Convert = Callable[[str, Any, str], Any]


def _choice(name: str, value: Any, known: Sequence[str]) -> int:
    try:
        return known.index(value)
    except ValueError:
        raise ValueError(f"{name} is {value!r}: expected one of {', '.join(known)}") from None


def _put_array(kind: str):
    def put(fields: Fields, name: str, value: Any, convert: Convert):
        fields[name] = convert(name, value, kind)

    return put


def _put_plain(fields: Fields, name: str, value: Any, convert: Convert):
    fields[name] = value


def _put_callback(fields: Fields, name: str, value: Any, convert: Convert):
    if not callable(value):
        raise TypeError(f"{name} is {value!r}: expected a function")
    fields[name] = Callback(name, value)


def _put_choice(known: Sequence[str]):
    def put(fields: Fields, name: str, value: Any, convert: Convert):
        fields[name] = _choice(name, value, known)

    return put


def _put_weight(fields: Fields, name: str, value: Any, convert: Convert):
    fields["weight"] = convert(name, value, "float")  # renamed once the score is known


def _put_lengths(fields: Fields, name: str, value: Any, convert: Convert):
    fields["query_lengths"] = fields["key_lengths"] = convert(name, value, "int64")


def _put_starts(fields: Fields, name: str, value: Any, convert: Convert):
    fields[name] = convert(name, value, "int64")
    fields["sequences"] = len(fields[name]) - 1


def _put_documents(fields: Fields, name: str, value: Any, convert: Convert):
    fields[name] = convert(name, value, "int32").reshape(-1)


def _put_window(fields: Fields, name: str, value: Any, convert: Convert):
    sides = value if isinstance(value, Sequence) else (value, value)
    if len(sides) != 2:
        raise ValueError(f"window is {value!r}: expected a number of keys, or (left, right)")
    fields["window_enabled"] = True
    for side, width in zip(("window_left", "window_right"), sides):
        if width is not None and width < 0:
            raise ValueError(f"window is {value!r}: expected no side below 0 (None: no limit)")
        fields[side] = -1 if width is None else width


def _put_scale(fields: Fields, name: str, value: Any, convert: Convert):
    # The library takes 0 for "the default"; whoever says 0 means that all scores are equal.
    value = float(value)
    fields["scale"] = value if value != 0 else 5e-324


def _put_relative(fields: Fields, name: str, value: Relative, convert: Convert):
    if not isinstance(value, Relative):
        raise TypeError(f"relative is a {type(value).__name__}: expected an attn.Relative")
    fields["relative_buckets"] = _choice("relative.buckets", value.buckets, BUCKETS)
    if value.origin is not None:
        fields["relative_origin"] = value.origin
    if value.max_distance is not None:
        fields["relative_max_distance"] = value.max_distance
    for part in ("bias", "keys", "queries", "values", "content_bias", "position_bias"):
        given = getattr(value, part)
        if given is not None:
            field = part if part.endswith("_bias") else f"relative_{part}"
            fields[field] = convert(f"relative.{part}", given, "float")


def _put_location(fields: Fields, name: str, value: Location, convert: Convert):
    if not isinstance(value, Location):
        raise TypeError(f"location is a {type(value).__name__}: expected an attn.Location")
    fields["previous"] = convert("location.previous", value.previous, "float")
    fields["filters"] = convert("location.filters", value.filters, "float")
    fields["location_projection"] = convert("location.projection", value.projection, "float")


def _put_local(fields: Fields, name: str, value: Local, convert: Convert):
    if not isinstance(value, Local):
        raise TypeError(f"local is a {type(value).__name__}: expected an attn.Local")
    fields["half_width"] = value.half_width
    if value.sigma is not None:
        fields["sigma"] = value.sigma
    if value.centers is not None:
        fields["centers"] = convert("local.centers", value.centers, "float")


_PUT = {
    **dict.fromkeys(("bias", "alibi_slopes", "sinks", "scales", "projection", "offset"),
                    _put_array("float")),
    **dict.fromkeys(("query_lengths", "key_lengths", "prefix_lengths"), _put_array("int64")),
    **dict.fromkeys(("softcap", "normalize_weight", "causal", "query_offset", "temperature", "alpha",
                     "sigmoid_bias", "gumbel", "dropout", "seed"), _put_plain),
    **dict.fromkeys(("score_callback", "mask_callback"), _put_callback),
    **dict.fromkeys(("query_starts", "key_starts"), _put_starts),
    **dict.fromkeys(("query_documents", "key_documents"), _put_documents),
    "mask": _put_array("bool"),
    "scale": _put_scale,
    "score": _put_choice(SCORES),
    "normalizer": _put_choice(NORMALIZERS),
    "alignment": _put_choice(ALIGNMENTS),
    "weight": _put_weight,
    "lengths": _put_lengths,
    "window": _put_window,
    "relative": _put_relative,
    "location": _put_location,
    "local": _put_local,
}  # fmt: skip

# Scores whose weight is a matrix: it is read by another rule.
_MATRIX = {SCORES.index("general"), SCORES.index("location")}


def put_options(fields: Fields, options: Options, convert: Convert) -> None:
    """Adds the fields of options that are not None."""
    for name, value in options.items():
        if value is None:
            continue
        put = _PUT.get(name)
        if put is None:
            raise TypeError(f"attention has no option {name!r}: help(attn.attention) lists them")
        put(fields, name, value, convert)
    if "weight" in fields and fields.get("score", 0) in _MATRIX:
        fields["weight_matrix"] = fields.pop("weight")


# --- Callbacks ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """Which pairs a callback was given: row r is query `query + r`, which stands at `position + r`,
    and column c is key `key + c`, of one head of one sequence."""

    sequence: int
    head: int
    query: int
    position: int
    key: int

    def queries(self, scores: np.ndarray) -> np.ndarray:
        """[rows, 1]: the place of each row's query among the keys."""
        return np.arange(self.position, self.position + len(scores))[:, None]

    def keys(self, scores: np.ndarray) -> np.ndarray:
        """[1, keys]: the index of each column's key."""
        return np.arange(self.key, self.key + scores.shape[1])[None, :]


class Callback:
    """What the extension calls: an array for the user's function, and its answer into it."""

    def __init__(self, name: str, function: Callable):
        self.name = name
        self.function = function

    def __call__(self, block: bytearray, pairs: tuple):
        rows, keys, dtype, *place = pairs
        scores = np.frombuffer(block, dtype).reshape(rows, keys)
        answer = self.function(scores, Pairs(*place))
        if answer is not None and answer is not scores:
            answer = np.asarray(answer)
            if answer.shape != (rows, keys):
                raise ValueError(
                    f"{self.name} returned the shape {answer.shape}: expected {(rows, keys)}"
                )
            scores[...] = answer


__all__ = ["Local", "Location", "Options", "Pairs", "Relative", "Unpack"]

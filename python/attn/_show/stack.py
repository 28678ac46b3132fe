"""What users have, as layers x heads of views: matrices, attn.Views, what transformers returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attn._views import ARRAYS

# What the last dimensions of a view are, and its label.
PAIRS, BLOCKS, TOP, QUERIES, KEYS, SPANS, NUMBERS = range(7)
VIEWS = {
    "weights": (PAIRS, "weights"),
    "head_mean": (PAIRS, "weights, mean over heads"),
    "raw_scores": (PAIRS, "scores, scaled"),
    "capped_scores": (PAIRS, "scores, after the soft cap"),
    "scores": (PAIRS, "scores"),
    "block_sums": (BLOCKS, "weights, mean over blocks"),
    "top_weights": (TOP, "greatest weights"),
    "top_keys": (TOP, "keys of the greatest weights"),
    "argmax": (QUERIES, "key of the greatest weight"),
    "path": (SPANS, "alignment path"),
    "head_statistics": (NUMBERS, "head statistics"),
    "received_sum": (KEYS, "received, sum over queries"),
    "received_mean": (KEYS, "received, mean over queries"),
    "received_max": (KEYS, "received, greatest weight"),
    "window_sum": (KEYS, "received, sum over the last queries"),
    "entropy": (QUERIES, "entropy of each query, nats"),
    "span": (QUERIES, "span of each query, keys"),
    "distance": (QUERIES, "mean distance of each query, keys"),
    "max_logit": (QUERIES, "greatest score of each query"),
    "lse": (QUERIES, "log-sum-exp of each query"),
}
assert VIEWS.keys() == ARRAYS.keys()
# Views that have no dimension of heads.
_OF_ALL_HEADS = ("head_mean", "path")
_LAST_DIMENSIONS = {PAIRS: 2, BLOCKS: 2, TOP: 2, QUERIES: 1, KEYS: 1, SPANS: 2, NUMBERS: 1}
ATTENTIONS = ("encoder", "decoder", "cross")
STATISTICS = (
    "confidence: mean of each query's greatest weight",
    "entropy: mean over queries, nats",
    "distance: mean over queries, keys",
    "first: mean weight on the first key",
)
BLOCK = 64  # queries and keys of a block, where nothing says otherwise


def form_of(view: str) -> int:
    return VIEWS[view][0]


def label_of(view: str) -> str:
    return VIEWS[view][1]


def is_bars(view: str) -> bool:
    """Whether it is a number for each key or query."""
    return form_of(view) in (KEYS, QUERIES) and view != "argmax"


def as_numpy(name: str, value: Any) -> np.ndarray:
    """Of a tensor that may need gradients, lie on another device or be of a half type, too."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):
            value = value.float()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array: {error}") from None
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} has elements of the type {array.dtype}: expected numbers")
    return array


# --- The stack ----------------------------------------------------------------------------------


@dataclass
class Stack:
    """views: {name: [layers, heads, ...]}, float32, or int64 of keys. Of those of pairs there is at
    most one, which `matrix` names."""

    layers: list[str]
    heads: list[int]
    views: dict[str, np.ndarray]
    matrix: str | None = None
    queries: int = 0
    keys: int = 0
    query_tokens: list[str] = field(default_factory=list)
    key_tokens: list[str] = field(default_factory=list)
    title: str = ""

    @property
    def heads_in_all(self) -> int:
        return len(self.layers) * len(self.heads)

    def is_weights(self) -> bool:
        """Whether the matrix is of weights, from which other views can be told."""
        return self.matrix in ("weights", "head_mean")

    def bars(self) -> list[str]:
        """Views with a number for each key or query: those given, or else what weights tell."""
        given = [view for view in self.views if is_bars(view)]
        return given or (["received_sum", "entropy"] if self.is_weights() else [])

    def numbers(self, view: str, layer: int, head: int) -> np.ndarray:
        """Of bars."""
        if view in self.views:
            return self.views[view][layer, head]
        return told_from(self.views[self.matrix][layer, head])[view]

    def statistics(self) -> np.ndarray | None:
        """[layers, heads, 4], as given or as weights tell."""
        if "head_statistics" in self.views:
            return self.views["head_statistics"]
        if not self.is_weights():
            return None
        return np.array([[told_from(w)["head_statistics"] for w in layer]
                         for layer in self.views[self.matrix]])  # fmt: skip

    def top(self, layer: int, head: int, count: int) -> tuple[np.ndarray, np.ndarray | None] | None:
        """(keys, weights) [queries, at most count], strongest first; key -1: none. No weights if
        they are not known, nothing if keys are not."""
        if self.matrix is not None:
            return strongest(self.views[self.matrix][layer, head], count)
        if "top_keys" in self.views:
            weights = self.views.get("top_weights")
            given = None if weights is None else weights[layer, head, :, :count]
            return self.views["top_keys"][layer, head, :, :count], given
        if "argmax" in self.views:
            return self.views["argmax"][layer, head, :, None], None
        return None

    def block_sizes(self) -> tuple[int, int]:
        """Queries and keys of a block of block_sums: the usual, if that fits, or as few as do."""
        rows, columns = self.views["block_sums"].shape[2:]
        each = [BLOCK if -(-n // BLOCK) == count else -(-n // count)
                for n, count in ((self.queries, rows), (self.keys, columns))]  # fmt: skip
        return each[0], each[1]

    def block_means(self, layer: int, head: int) -> np.ndarray:
        """Means of a weight, from the sums."""
        sums = self.views["block_sums"][layer, head]
        high, wide = (
            np.minimum(each, n - each * np.arange(count))
            for each, n, count in zip(
                self.block_sizes(), (self.queries, self.keys), sums.shape, strict=True
            )
        )
        return sums / (high[:, None] * wide)


def told_from(weights: np.ndarray) -> dict[str, np.ndarray]:
    """received_sum, entropy and head_statistics of [queries, keys], as attn.attention has them, of
    queries that stand at their own index."""
    w = np.nan_to_num(weights, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float64)
    entropy = -(w * np.log(np.where(w > 0, w, 1))).sum(1)
    away = np.abs(np.arange(w.shape[0])[:, None] - np.arange(w.shape[1]))
    statistics = (w.max(1, initial=0), entropy, (w * away).sum(1), w[:, 0])
    return {
        "received_sum": w.sum(0),
        "entropy": entropy,
        "head_statistics": np.array([numbers.mean() for numbers in statistics]),
    }


def strongest(weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(keys, weights) of each query's greatest weights above 0, of equals the lower key first."""
    ranked = np.where(np.isfinite(weights), weights, 0)
    keys = np.argsort(-ranked, axis=1, kind="stable")[:, :count]
    found = np.take_along_axis(ranked, keys, 1)
    return np.where(found > 0, keys, -1), np.where(found > 0, found, 0)


# --- Layers of what was given --------------------------------------------------------------------

# A layer: its name, and {view: array}.
Layer = tuple[str, Mapping[str, Any]]


def _is_views(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(name in VIEWS for name in value)


def _outputs(data: Any, chosen: str | None, both_tokens: bool) -> tuple[Any, str] | None:
    """(attentions, their kind) of an object that transformers returned; None: it is none."""
    names = {"": "attentions", **{kind: f"{kind}_attentions" for kind in ATTENTIONS}}
    there = {kind: name for kind, name in names.items() if hasattr(data, name)}
    if not there or isinstance(data, np.ndarray):
        return None
    found = {kind: getattr(data, name) for kind, name in there.items()}
    # An encoder that could have been a decoder (BERT) returns cross_attentions=().
    found = {kind: value for kind, value in found.items() if value is not None and len(value) > 0}
    if not found:
        raise ValueError(
            f"data has no {' and no '.join(there.values())}: expected the model to be called with "
            'output_attentions=True, and to have an attn_implementation that gives them ("attn", '
            '"eager")'
        )
    if chosen is None and both_tokens and "cross" in found:
        chosen = "cross"
    if chosen is None and len(found) > 1:
        kinds = ", ".join(repr(kind) for kind in found)
        raise ValueError(f"attentions is None: data has several, choose one of {kinds}")
    kind = next(iter(found)) if chosen is None else chosen
    if kind == "decoder" and kind not in found and "" in found:
        kind = ""
    if kind not in found:
        raise ValueError(f"attentions is {chosen!r}: data has {', '.join(map(names.get, found))}")
    return found[kind], kind


def _is_matrix(value: Any) -> bool:
    return getattr(value, "ndim", 0) > 1


def _is_of_steps(data: Sequence[Any]) -> bool:
    """Whether it is of a generation: a sequence of layers for each step."""
    return bool(data) and isinstance(data[0], (list, tuple)) and any(map(_is_matrix, data[0]))


def _joined_steps(steps: Sequence[Sequence[Any]]) -> list[np.ndarray]:
    """Layers of a generation, which has attentions step by step: rows one after the other, each as
    long as there were keys, filled up with 0."""
    layers = []
    for layer in range(len(steps[0])):
        parts = [as_numpy("data", step[layer]) for step in steps]
        keys = max(part.shape[-1] for part in parts)
        layers.append(np.concatenate(
            [np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, keys - part.shape[-1])])
             for part in parts], axis=-2))  # fmt: skip
    return layers


def _layers_of(data: Any, view: str, batch: int | None) -> list[Layer]:
    """Layers by their names; arrays of each may have a dimension of batch and one of heads."""
    if _is_views(data):
        return [("layer 0", data)]
    if isinstance(data, Mapping):
        return [(_layer_name(name), _layer(value, view)) for name, value in data.items()]
    if isinstance(data, (list, tuple)) and _is_of_steps(data):
        data = _joined_steps(data)
    if isinstance(data, (list, tuple)) and any(_is_views(x) or _is_matrix(x) for x in data):
        return [(_layer_name(i), _layer(item, view)) for i, item in enumerate(data)
                if item is not None]  # fmt: skip
    array = as_numpy("data", data)
    own = _LAST_DIMENSIONS[form_of(view)] + (view not in _OF_ALL_HEADS) + (batch is not None)
    if array.ndim == own + 1:
        return [(_layer_name(i), {view: layer}) for i, layer in enumerate(array)]
    return [(_layer_name(0), {view: array})]


def _layer_name(name: Any) -> str:
    return f"layer {name}" if isinstance(name, int) else str(name)


def _layer(value: Any, view: str) -> Mapping[str, Any]:
    return value if _is_views(value) else {view: value}


def _heads_of(name: str, value: Any, batch: int | None) -> np.ndarray:
    """[heads, ...], or [1, ...] of what is of all heads."""
    array = as_numpy(name, value)
    kept = array.astype(np.int64 if name in ("top_keys", "argmax", "path") else np.float32)
    own = _LAST_DIMENSIONS[form_of(name)]
    heads = int(name not in _OF_ALL_HEADS)
    lead = array.ndim - own
    if lead < 0 or lead > heads + 1:
        raise ValueError(
            f"{name} has the shape {array.shape}: expected {own} to {own + heads + 1} dimensions "
            "in each layer"
        )
    if lead == heads + 1:
        if batch is None and len(array) != 1:
            raise ValueError(f"batch is None: {name} has {len(array)} entries, choose one")
        kept = kept[_index("batch", batch or 0, len(array))]
    elif batch is not None:
        raise ValueError(f"batch is {batch}: {name} has the shape {array.shape}, without a batch")
    return kept if lead > 0 and heads else kept[None]


# --- Choice -------------------------------------------------------------------------------------


def _index(name: str, value: Any, count: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r}: expected a number, or a list of them")
    index = value.__index__()
    if not -count <= index < count:
        raise ValueError(f"{name} is {index}: expected one of 0 to {count - 1}")
    return index % count


def _chosen(name: str, value: Any, count: int) -> list[int]:
    if value is None:
        return list(range(count))
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [_index(name, each, count) for each in value]
    return [_index(name, value, count)]


def _stacked(layers: list[Layer], batch: int | None) -> dict[str, np.ndarray]:
    """{view: [layers, heads, ...]}, of the views that all layers have."""
    names = [view for view in layers[0][1] if all(view in arrays for _, arrays in layers)]
    if not names:
        raise ValueError("data: its layers have no view in common: choose by layer=")
    views = {}
    for view in names:
        parts = [_heads_of(view, arrays[view], batch) for _, arrays in layers]
        for (name, _), part in zip(layers, parts, strict=True):
            if part.shape != parts[0].shape:
                raise ValueError(
                    f"{view} has the shape {part.shape} in {name}, but {parts[0].shape} in "
                    f"{layers[0][0]}: choose by layer="
                )
            if part.size == 0:
                raise ValueError(f"{view} has the shape {part.shape}: expected no dimension of 0")
        views[view] = np.stack(parts)
    return views


def _choose_heads(views: dict[str, np.ndarray], head: Any) -> tuple[dict, list[int]]:
    """Views of the chosen heads, and their numbers. What is of all heads is of each of them."""
    counts = {view: array.shape[1] for view, array in views.items()}
    several = {count for count in counts.values() if count > 1}
    if len(several) > 1:
        raise ValueError(f"data: its views differ in heads: {counts}")
    count = max(counts.values())
    heads = _chosen("head", head, count)
    return {
        view: array[:, heads] if counts[view] == count else np.repeat(array, len(heads), 1)
        for view, array in views.items()
    }, heads


def _keep_one_matrix(views: dict[str, np.ndarray], view: str | None) -> str | None:
    """Drops all matrices but the one that is shown, and returns its name."""
    matrices = [name for name in views if form_of(name) == PAIRS]
    kept = view if view in matrices else matrices[0] if matrices else None
    for name in matrices:
        if name != kept:
            del views[name]
    return kept


# --- Sizes and tokens ---------------------------------------------------------------------------

# The dimension of a view, of those after heads, that counts queries or keys.
_QUERIES_AT = {PAIRS: 0, TOP: 0, QUERIES: 0, SPANS: 0}
_KEYS_AT = {PAIRS: 1, KEYS: 0}


def _size(views: Mapping[str, np.ndarray], what: str, places: Mapping[int, int]) -> int:
    """How many queries or keys the views have; 0: none says."""
    sizes = {view: array.shape[2 + places[form_of(view)]] for view, array in views.items()
             if form_of(view) in places}  # fmt: skip
    if len(set(sizes.values())) > 1:
        raise ValueError(f"data: its views differ in {what}: {sizes}: show them apart")
    return next(iter(sizes.values()), 0)


def _greatest_key(views: Mapping[str, np.ndarray]) -> int:
    named = [views[view].max() for view in ("top_keys", "argmax", "path") if view in views]
    return int(max(named, default=-1))


def _words(name: str, tokens: Any) -> list[str]:
    if tokens is None:
        return []
    if isinstance(tokens, (str, bytes)):
        raise TypeError(f"{name} is a text: expected a list of tokens")
    return [str(token) for token in tokens]


def _check_words(name: str, words: list[str], count: int, what: str) -> list[str]:
    if words and len(words) != count:
        raise ValueError(f"{name} has {len(words)} entries: expected {count}, one for each {what}")
    return words


def _put_tokens(stack: Stack, tokens: Any, source: Any, target: Any) -> None:
    if tokens is not None and (source is not None or target is not None):
        raise ValueError("tokens: expected either them, or source_tokens and target_tokens")
    both, keys, queries = (_words(name, words) for name, words in (
        ("tokens", tokens), ("source_tokens", source), ("target_tokens", target)))  # fmt: skip
    if stack.keys == 0:
        stack.keys = len(both or keys) or max(_greatest_key(stack.views) + 1, 1)
    if stack.queries == 0:
        stack.queries = len(both or queries) or 1
    if both:
        _check_words("tokens", both, stack.keys, "key")
        # Beside a cache the queries are the last tokens.
        stack.key_tokens = both
        stack.query_tokens = both[-stack.queries :] if len(both) >= stack.queries else []
        return
    stack.key_tokens = _check_words("source_tokens", keys, stack.keys, "key")
    stack.query_tokens = _check_words("target_tokens", queries, stack.queries, "query")


def _check_keys(stack: Stack) -> None:
    greatest = _greatest_key(stack.views)
    if greatest >= stack.keys:
        raise ValueError(f"data names key {greatest}: expected keys below {stack.keys}")


def make_stack(data: Any, *, view: str | None, layer: Any, head: Any, batch: int | None,
               attentions: str | None, tokens: Any, source_tokens: Any, target_tokens: Any,
               title: str | None) -> Stack:  # fmt: skip
    if view is not None and view not in VIEWS:
        raise ValueError(f"view is {view!r}: expected one of {', '.join(VIEWS)}")
    if attentions not in (None, *ATTENTIONS):
        raise ValueError(f"attentions is {attentions!r}: expected one of {', '.join(ATTENTIONS)}")
    both = source_tokens is not None and target_tokens is not None
    found = _outputs(data, attentions, both)
    if found is None and attentions is not None:
        raise ValueError(f"attentions is {attentions!r}: data is not what a model returned")
    data, kind = found or (data, None)
    layers = _layers_of(data, view or "weights", batch)
    if not layers:
        raise ValueError("data: has no layers")
    layers = [layers[i] for i in _chosen("layer", layer, len(layers))]
    views, heads = _choose_heads(_stacked(layers, batch), head)
    if view is not None and view not in views:
        raise ValueError(f"view is {view!r}: data has {', '.join(views)}")
    if view is not None:
        views = {view: views[view], **views}  # the first of bars is shown first
    matrix = _keep_one_matrix(views, view)
    stack = Stack([name for name, _ in layers], heads, views, matrix,
                  _size(views, "queries", _QUERIES_AT), _size(views, "keys", _KEYS_AT))  # fmt: skip
    _put_tokens(stack, tokens, source_tokens, target_tokens)
    _check_keys(stack)
    stack.title = title if title is not None else _title(view or matrix or next(iter(views)), kind)
    return stack


def _title(what: str, kind: str | None) -> str:
    words = "attention weights" if what == "weights" else label_of(what)
    if kind:
        words = f"{kind} {words}" if kind != "cross" else f"cross-{words}"
    return words[0].upper() + words[1:]

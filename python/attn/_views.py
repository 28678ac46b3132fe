"""Views of the weights: their names and parameters, and the shapes of their arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Fields = dict[str, Any]
# Name or names of views, with their parameters: see Request.
Wanted = str | Iterable[str | tuple[str, Any]] | Mapping[str, Any]


class Views(dict):
    """The views that were asked for, by name: views["entropy"] or views.entropy."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"no view {name!r} was asked for: there are {list(self)}"
            ) from None

    def __repr__(self) -> str:
        return (
            "Views(" + ", ".join(f"{k}: {tuple(v.shape)} {v.dtype}" for k, v in self.items()) + ")"
        )


class Sizes:
    """The dimensions that shapes of views are made of. Dimensions that query has not are left out.

    rows and keys: of matrices. longest: queries of the longest sequence. lead, chosen: dimensions
    before those, with all heads and with the chosen ones; sequences: the latter with one entry for
    each sequence of a packed batch; mean, mean_sequences: the same without heads. top: of top_*.
    """

    def __init__(self, query: Sequence[int], key: Sequence[int], fields: Fields, top: int):
        self.top = top
        heads = fields.get("heads")
        self.rows, self.keys = query[-2], key[-2]
        self.longest = self.rows
        self.lead = tuple(query[:-2])
        self.chosen = self.lead
        if heads is not None and self.lead:
            self.chosen = (*self.lead[:-1], len(heads))
        self.sequences = self.chosen
        self.mean = self.mean_sequences = self.lead[:-1]
        if "query_starts" in fields and "key_starts" in fields:
            # No longer than the tensors: starts that are wrong are the library's to refuse.
            self.keys = min(_longest(fields["key_starts"]), self.keys)
            self.longest = min(_longest(fields["query_starts"]), self.rows)
            count = fields["sequences"]
            self.mean_sequences = (count,)
            self.sequences = (count, self.chosen[-1] if self.chosen else 1)


def _longest(starts) -> int:
    steps = [int(b) - int(a) for a, b in zip(starts[:-1], starts[1:])]
    return max(steps, default=0)


# --- What can be asked for ----------------------------------------------------------------------

FLOAT, INDEX = "float", "int64"


def _matrix(sizes: Sizes, fields: Fields):
    return (*sizes.chosen, sizes.rows, sizes.keys)


def _weights(sizes: Sizes, fields: Fields):
    if "rows" in fields:
        return (*sizes.sequences, len(fields["rows"]), sizes.keys)
    if "last_rows" in fields:
        return (*sizes.sequences, fields["last_rows"], sizes.keys)
    return _matrix(sizes, fields)


def _per_query(sizes: Sizes, fields: Fields):
    return (*sizes.chosen, sizes.rows)


def _per_key(sizes: Sizes, fields: Fields):
    return (*sizes.sequences, sizes.keys)


def _top(sizes: Sizes, fields: Fields):
    return (*sizes.chosen, sizes.rows, sizes.top)


def _blocks(sizes: Sizes, fields: Fields):
    queries, keys = fields["block_queries"], fields["block_keys"]
    return (*sizes.sequences, -(-sizes.longest // queries), -(-sizes.keys // keys))


# {array: (shape, type)}
ARRAYS = {
    "weights": (_weights, FLOAT),
    "lse": (lambda sizes, fields: (*sizes.lead, sizes.rows), FLOAT),
    **dict.fromkeys(("received_sum", "received_mean", "received_max", "window_sum"),
                    (_per_key, FLOAT)),
    "top_weights": (_top, FLOAT),
    "top_keys": (_top, INDEX),
    "argmax": (_per_query, INDEX),
    **dict.fromkeys(("entropy", "span", "distance", "max_logit"), (_per_query, FLOAT)),
    "block_sums": (_blocks, FLOAT),
    "head_mean": (lambda sizes, fields: (*sizes.mean, sizes.rows, sizes.keys), FLOAT),
    "path": (lambda sizes, fields: (*sizes.mean_sequences, sizes.longest, 2), INDEX),
    "head_statistics": (lambda sizes, fields: (*sizes.sequences, 4), FLOAT),
    **dict.fromkeys(("raw_scores", "capped_scores", "scores"), (_matrix, FLOAT)),
}  # fmt: skip


# What `views` may name: "top" is two arrays.
NAMES = (*(name for name in ARRAYS if not name.startswith("top_")), "top")


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 1:
        raise ValueError(f"views: {name} has the parameter {value!r}: expected a number above 0")
    return value.__index__()


class Request:
    """What `views` asks for, and its parameters: into fields, where the library has them.

    wanted: a name; names or pairs (name, parameter); or {name: parameter}. Parameters: weights, an
    element type ("float16", "uint8"); top, how many; window_sum, over how many last queries;
    block_sums, (queries, keys) of a block.
    """

    def __init__(self, wanted: Wanted, fields: Fields):
        self.types: dict[str, Any] = {}  # of each array, in the order of wanted
        self.top = 0
        for name, parameter in _pairs(wanted):
            self._ask(name, parameter, fields)

    def _ask(self, name: str, parameter: Any, fields: Fields) -> None:
        if name == "top":
            self.top = _count(name, parameter)
            self._add("top_weights", "top_keys")
        elif name == "window_sum":
            fields["window_queries"] = _count(name, parameter)
            self._add(name)
        elif name == "block_sums":
            fields["block_queries"], fields["block_keys"] = _block(parameter)
            self._add(name)
        elif name not in NAMES:
            raise ValueError(f"views: there is no {name!r}: expected {', '.join(NAMES)}")
        elif name == "weights" and parameter is not True:
            self.types[name] = parameter
        elif parameter is not True:
            raise ValueError(f"views: {name} has the parameter {parameter!r}, and takes none")
        else:
            self._add(name)

    def _add(self, *arrays: str) -> None:
        for array in arrays:
            self.types[array] = ARRAYS[array][1]

    def shapes(self, query: Sequence[int], key: Sequence[int], fields: Fields):
        """{array: (shape, type)}; fields: with starts, heads and rows."""
        sizes = Sizes(query, key, fields, self.top)
        return {name: (ARRAYS[name][0](sizes, fields), dtype) for name, dtype in self.types.items()}


def _block(parameter: Any) -> tuple[int, int]:
    try:
        queries, keys = parameter
    except (TypeError, ValueError):
        raise ValueError(
            f"views: block_sums has the parameter {parameter!r}: expected (queries, keys) of a block"
        ) from None
    return _count("block_sums", queries), _count("block_sums", keys)


def _pairs(wanted: Wanted) -> list[tuple[str, Any]]:
    if isinstance(wanted, str):
        return [(wanted, True)]
    if isinstance(wanted, Mapping):
        return [(name, value) for name, value in wanted.items() if value is not False]
    return [(item, True) if isinstance(item, str) else tuple(item) for item in wanted]


def put_choice(fields: Fields, heads: Any, rows: Any, convert) -> None:
    """Adds which heads the views are of, and which rows `weights` are of: a list of queries, or -n
    for the last n."""
    if heads is not None:
        fields["heads"] = convert("heads", heads, "int64")
    if rows is None:
        return
    if isinstance(rows, int):
        if rows >= 0:
            raise ValueError(f"rows is {rows}: expected a list of queries, or -n for the last n")
        fields["last_rows"] = -rows
    else:
        fields["rows"] = convert("rows", rows, "int64")

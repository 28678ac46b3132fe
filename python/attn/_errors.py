"""Turns the C library's status and sentence into an exception that speaks of Python's arguments."""

import re

from attn import _core

_TYPES = {
    "ATTN_ERROR_DTYPE": TypeError,
    "ATTN_ERROR_MEMORY": MemoryError,
    "ATTN_ERROR_UNSUPPORTED": NotImplementedError,
}

# The first of names that share a path is the argument's. Longest first, so that "score.bias" does not take a part of a longer path.
_NAMES = {path: name for name, path in reversed(_core.paths().items()) if path != name}
_PATHS = re.compile(
    r"\b(" + "|".join(re.escape(p) for p in sorted(_NAMES, key=len, reverse=True)) + r")\b"
)
# Arrays may have fewer than the library's four dimensions, which are those counted from the end.
_ENUMERATOR = re.compile(r"\bATTN_(?:SCORE_|ALIGN_|BUCKETS_)?([A-Z][A-Z0-9_]*)\b")
_DIMENSION = re.compile(r"\b(query|key|value|output|weights|bias|mask)\.shape\[([0-3])\]")


def make(status: str, sentence: str) -> Exception:
    """The exception for a failed call: ValueError unless the status has a better one."""
    sentence = _PATHS.sub(lambda m: _NAMES[m[1]], sentence)
    sentence = _DIMENSION.sub(lambda m: f"{m[1]}.shape[{int(m[2]) - 4}]", sentence)
    sentence = _ENUMERATOR.sub(lambda m: m[1].lower().replace("_", "-"), sentence)
    return _TYPES.get(status, ValueError)(sentence)

"""Masks of Hugging Face transformers, said by rules instead of n x n booleans.

transformers composes a *mask function* ``(batch, head, query, key) -> bool`` from a few parts
(causal, sliding window, chunks, packed sequences, ...) and asks the attention implementation's own
mask function to make of it what its attention function needs. `attention_mask` here reads the
composition back and keeps it as `Rules`: causal rule, window, lengths, document ids. What cannot be
read becomes a boolean mask, made by transformers itself.

Source: transformers ``masking_utils`` (``AttentionMaskInterface``, ``sdpa_mask``).
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch.utils._pytree import tree_map
from transformers import masking_utils as hf
from transformers.utils.import_utils import is_tracing


@dataclass(frozen=True)
class Rules:
    """Who may attend to whom, in O(n) memory; all rules apply together.

    Query i stands at key position i + query_offset. `window` is (left, right), both inclusive, None
    for
    no limit. `key_mask` [batch, n_key] is True at keys that may be attended to; `key_lengths`
    [batch] says
    the same where those are the first keys of each row. `query_documents` [batch, n_query] and
    `key_documents` [batch, n_key] are ids which must agree.
    """

    causal: bool = False
    query_offset: int = 0
    window: tuple | None = None
    key_mask: torch.Tensor | None = None
    key_lengths: torch.Tensor | None = None
    query_documents: torch.Tensor | None = None
    key_documents: torch.Tensor | None = None

    def hide_nothing(self) -> bool:
        hiding = (self.window, self.key_mask, self.key_lengths, self.query_documents)
        return not self.causal and all(rule is None for rule in hiding)

    def options(self) -> dict:
        """The same as keyword arguments of `attn.torch.scaled_dot_product_attention`."""
        options = {"is_causal": self.causal, "query_offset": self.query_offset}
        for name in ("window", "key_lengths", "query_documents", "key_documents"):
            if getattr(self, name) is not None:
                options[name] = getattr(self, name)
        if self.key_mask is not None:
            options["attn_mask"] = self.key_mask[:, None, None, :]
        return options


class RuleMask(torch.Tensor):
    """A mask [batch, 1, n_query, n_key] that is only made when something other than libattn looks.

    To the model it is the additive mask of "eager": 0, or the least finite number of its type where
    hidden.
    A model that slices it, adds it to scores or compares it gets what it gets with "eager". What
    reaches
    libattn untouched is never made: `rules` say it, or, where no rules can, `allowed` as booleans.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, rules: Rules | None, make, size, dtype, device):
        self = torch.Tensor._make_wrapper_subclass(cls, size, dtype=dtype, device=device)
        self.rules, self._make, self._dense, self._shared = rules, make, None, False
        return self

    @property
    def untouched(self) -> bool:
        """Whether nobody may have written into the additive mask."""
        return not self._shared

    @property
    def options(self) -> dict:
        """The mask as keyword arguments of `attn.torch.scaled_dot_product_attention`."""
        if self._shared:
            return {"attn_mask": self.dense()}
        return {"attn_mask": self.allowed()} if self.rules is None else self.rules.options()

    def allowed(self) -> torch.Tensor:
        """The boolean mask: True may attend."""
        return self._make()

    def dense(self) -> torch.Tensor:
        """The additive mask, made at the first call."""
        if self._dense is None:
            hidden = torch.finfo(self.dtype).min
            self._dense = torch.zeros(self.shape, dtype=self.dtype, device=self.device)
            self._dense.masked_fill_(~self.allowed(), hidden)
        return self._dense

    def __repr__(self, *, tensor_contents=None):
        return f"RuleMask({tuple(self.shape)}, {self.rules})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        # Autograd's checkpoints detach what they keep: nothing is looked at.
        if func is torch.ops.aten.detach.default and not args[0]._shared:
            mask = args[0]
            return cls(mask.rules, mask._make, mask.shape, mask.dtype, mask.device)
        # A result that shares memory with the mask, be it a view or the mask itself, may be written
        # to: from then on the additive mask is what holds.
        shares = any(result.alias_info is not None for result in func._schema.returns)

        def unwrap(leaf):
            if not isinstance(leaf, cls):
                return leaf
            leaf._shared |= shares
            return leaf.dense()

        args, kwargs = tree_map(unwrap, (args, kwargs or {}))
        return func(*args, **kwargs)


# The code of each inner function is one object however often its maker is called: it names the
# rule.
_AND = hf.and_masks(hf.causal_mask_function).__code__
_WINDOW = hf.sliding_window_overlay(1).__code__
_WINDOW_BOTH = hf.sliding_window_bidirectional_overlay(1).__code__
_CHUNKS = hf.chunked_overlay(1, None).__code__
_PACKED = hf.packed_sequence_mask_function(None).__code__
_REMAPPED = hf.remap_positions_for_packed_sequence(hf.causal_mask_function, None).__code__


class _Unreadable(Exception):
    """A mask function with a part that no rule says."""


@dataclass
class _Reading:
    """What has been read so far of one mask function, in absolute positions of queries and keys."""

    queries: range
    keys: range
    causal: bool = False
    left: int | None = None
    right: int | None = None
    documents: tuple | None = None
    positions: torch.Tensor | None = None

    def narrow(self, left, right=None):
        self.left = left if self.left is None else min(self.left, left)
        if right is not None:
            self.right = right if self.right is None else min(self.right, right)

    def read(self, function):
        if function is hf.causal_mask_function:
            self.causal = True
        elif function is not hf.bidirectional_mask_function:
            cells = (
                inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
            )
            _READERS.get(getattr(function, "__code__", None), _unreadable)(self, cells)

    def read_and(self, cells):
        for function in cells["mask_functions"]:
            self.read(function)

    def read_window(self, cells):
        self.narrow(cells["sliding_window"] - 1)

    def read_window_both(self, cells):
        self.narrow(cells["sliding_window"], cells["sliding_window"])

    def read_chunks(self, cells):
        """Chunks count from the first real token, and so do not depend on where padding ends."""
        size, padding = cells["chunk_size"], cells["left_padding"]
        ids = [
            (torch.arange(span.start, span.stop, device=padding.device) - padding[:, None]) // size
            for span in (self.queries, self.keys)
        ]
        self.add_documents(*ids)

    def read_packed(self, cells):
        """Ids of queries are ids of keys: transformers packs only where there is no cache."""
        if self.queries != self.keys:
            raise _Unreadable
        ids = cells["packed_sequence_mask"]
        self.add_documents(ids, ids)

    def read_remapped(self, cells):
        """Positions within packed sequences: inside one sequence they differ as the indices do."""
        before = self.documents
        self.read(cells["mask_function"])
        if self.documents is not before:
            raise _Unreadable
        self.positions = cells["position_ids"]

    def add_documents(self, queries, keys):
        if self.documents is not None:
            raise _Unreadable
        self.documents = (queries, keys)

    def check_positions(self):
        """Remapped positions are indices, but for a constant in each document; else raises."""
        if self.positions is None:
            return
        if self.documents is None or self.queries != self.keys:
            raise _Unreadable
        same = self.documents[0].diff(dim=-1) == 0
        if not ((self.positions.diff(dim=-1) == 1) | ~same).all():
            raise _Unreadable

    def rules(self, batch: int) -> Rules:
        self.check_positions()
        documents = (None, None)
        if self.documents is not None:
            documents = tuple(d.to(torch.int32).expand(batch, -1) for d in self.documents)
        window = None if self.left is None and self.right is None else (self.left, self.right)
        offset = self.queries.start - self.keys.start
        return Rules(self.causal, offset, window, None, None, *documents)


def _unreadable(reading, cells):
    raise _Unreadable


_READERS = {
    _AND: _Reading.read_and,
    _WINDOW: _Reading.read_window,
    _WINDOW_BOTH: _Reading.read_window_both,
    _CHUNKS: _Reading.read_chunks,
    _PACKED: _Reading.read_packed,
    _REMAPPED: _Reading.read_remapped,
}


def _with_padding(rules: Rules, padding: torch.Tensor | None, batch: int, keys: range) -> Rules:
    """Adds a 2-D padding mask [batch, tokens], True where a token is real."""
    if padding is None:
        return rules
    padding = padding[:, keys.start : keys.stop].expand(batch, -1)
    if padding.all():
        return rules
    if (padding[:, 1:] <= padding[:, :-1]).all():
        return replace(rules, key_lengths=padding.sum(-1))
    return replace(rules, key_mask=padding)


def attention_mask(
    batch_size,
    q_length,
    kv_length,
    q_offset=0,
    kv_offset=0,
    mask_function=hf.causal_mask_function,
    attention_mask=None,
    allow_is_bidirectional_skip=False,
    use_vmap=False,
    dtype=torch.float32,
    device="cpu",
    **kwargs,
):
    """libattn's entry of transformers' ``AttentionMaskInterface``; the arguments are
    ``eager_mask``'s.

    Returns, as ``eager_mask``, None where nothing is hidden and the caller allows to say so; else a
    `RuleMask`; while torch traces, and values cannot be looked at, what ``eager_mask`` returns. The
    causal rule is never said by None.
    """
    call = {
        "batch_size": batch_size,
        "q_length": q_length,
        "kv_length": kv_length,
        "q_offset": q_offset,
        "kv_offset": kv_offset,
        "mask_function": mask_function,
        "attention_mask": attention_mask,
        "use_vmap": use_vmap,
        "device": device,
    }
    if torch.compiler.is_compiling() or any(
        is_tracing(value) for value in (attention_mask, q_offset) if isinstance(value, torch.Tensor)
    ):
        skip = allow_is_bidirectional_skip
        return hf.eager_mask(**call, dtype=dtype, allow_is_bidirectional_skip=skip)
    make = partial(hf.sdpa_mask, **call, allow_is_causal_skip=False)
    queries = range(int(q_offset), int(q_offset) + q_length)
    keys = range(int(kv_offset), int(kv_offset) + kv_length)
    padding = hf.prepare_padding_mask(attention_mask, kv_length, keys.start)
    reading = _Reading(queries, keys)
    try:
        reading.read(mask_function)
        rules = _with_padding(reading.rules(batch_size), padding, batch_size, keys)
    except _Unreadable:
        rules, booleans = None, make()

        def make():
            return booleans

    if allow_is_bidirectional_skip and rules is not None and rules.hide_nothing():
        return None
    return RuleMask(rules, make, (batch_size, 1, q_length, kv_length), dtype, torch.device(device))

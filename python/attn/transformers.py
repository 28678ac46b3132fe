"""Hugging Face transformers on libattn: ``attn_implementation="attn"``.

    import attn.transformers
    model = AutoModel.from_pretrained(path, attn_implementation="attn")     # or from_config
    model.set_attn_implementation("attn")                                   # or later

Every model that goes through transformers' ``AttentionInterface`` then computes its attention with
`attn.torch.scaled_dot_product_attention`: exact, and without an n x n matrix unless you ask for
one.

- ``output_attentions=True`` works at call and in the config. It returns what "eager" returns, all
of it.
- `select` collects views of chosen layers and heads instead, whose memory does not grow with n * n.
- Whatever a model passes to its attention that is not known here is an error, never ignored.

Importing this module registers the implementation; nothing else is needed.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import torch
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    GenerationConfig,
    PreTrainedConfig,
)
from transformers.utils.output_capturing import _active_collector

from ._transformers_masks import RuleMask, attention_mask
from .torch import scaled_dot_product_attention

__all__ = ["NAME", "Selection", "attention_forward", "attention_layers", "attention_mask", "select"]

NAME = "attn"

# What models hand on to their attention although it is none of its business: outputs asked of the
# model, caches that the layer has read already, positions that are in the queries and keys by now,
# sizes and switches of other implementations, what was given to generate(). `sliding_window` is
# here because the mask says it.
_NOT_ATTENTION = frozenset(
    """
    cache cache_position cache_params deterministic encoder_past_key_values grid_thw labels
    logits_to_keep max_length_k max_length_q num_items_in_batch output_attentions
    output_hidden_states output_router_logits past_key_value past_key_values position_embeddings
    position_ids return_dict sliding_window use_cache
    """.split()
) | frozenset(GenerationConfig().to_dict())


# -------------------------------------------------------------------------------------------------
# The attention function
# -------------------------------------------------------------------------------------------------


def attention_forward(
    module,
    query,
    key,
    value,
    attention_mask,
    scaling=None,
    dropout=0.0,
    is_causal=None,
    position_bias=None,
    softcap=None,
    s_aux=None,
    sinks=None,
    indices=None,
    **kwargs,
):
    """libattn's entry of transformers' ``AttentionInterface``.

    weights = softmax(softcap(scaling * query key^T) + position_bias + attention_mask), output =
    weights value

    query               [batch, heads, n_query, d]
    key, value          [batch, kv_heads, n_key, d or d_value]; kv_heads divides heads
    attention_mask      None, a boolean (True may attend) or additive tensor that broadcasts to
                        [batch, heads, n_query, n_key], or what `attention_mask` of this module made
    scaling             None: 1/sqrt(d)
    is_causal           True where there is no mask: query i sees keys up to i
    position_bias       added to the scores, broadcasts to [batch, heads, n_query, n_key]
    s_aux               [heads]: a logit a head that takes its share and gives no value (GPT-OSS)
    sinks               [batch, heads, n_query, 1]: the same, one a query (Inkling)
    indices             [batch, n_query, k]: the only keys that a query may attend to; -1 is none
    kwargs              ``output_attentions``, ``cu_seq_lens_q`` and ``cu_seq_lens_k`` (sequences
                        packed in one row), and what is not attention's

    Returns (output [batch, n_query, heads, d_value], weights [batch, heads, n_query, n_key] or
    None). Weights are returned where ``output_attentions`` asks for them. Raises ValueError for an
    argument it does not know.
    """
    lengths = kwargs.pop("cu_seq_lens_q", None), kwargs.pop("cu_seq_lens_k", None)
    _refuse_unknown(module, kwargs)
    if query.dim() != 4:
        raise ValueError(
            f"attn: query of {_name(module)} has shape {tuple(query.shape)}, not 4 dimensions"
        )
    options = {"scale": scaling}
    if sinks is not None and isinstance(attention_mask, RuleMask):
        attention_mask = (
            attention_mask.allowed() if attention_mask.untouched else attention_mask.dense()
        )
    _put_mask(options, query, attention_mask, is_causal)
    if lengths[0] is not None:
        _put_packing(options, *lengths)
    if indices is not None:
        _and_mask(options, _mask_of_indices(indices, key.shape[2]))
    if position_bias is not None:
        _put_bias(options, position_bias)
    if softcap is not None:
        options["softcap"] = softcap
    if s_aux is not None:
        options["sinks"] = s_aux.flatten()
    if dropout and module.training:
        # Of torch's generator, so that torch.manual_seed and recomputed checkpoints repeat it.
        options["dropout_p"] = dropout
        options["seed"] = int(torch.randint(2**62, ()))
    call = _call_with_sink_per_query if sinks is not None else _call
    output, weights = call(
        module, query, key, value, options, _weights_wanted(module, kwargs), sinks
    )
    return output.transpose(1, 2).contiguous(), weights


def _name(module) -> str:
    return type(module).__name__


def _refuse_unknown(module, kwargs):
    for name, argument in kwargs.items():
        if argument is not None and argument is not False and name not in _NOT_ATTENTION:
            raise ValueError(
                f"attn: {_name(module)} passes {name}= to its attention, which attn.transformers "
                "does not know; ignoring it could give wrong results. Use another implementation "
                "for this model, or for the part of it that this is in: "
                "attn_implementation={'': 'attn', '<sub-config>': 'eager'}"
            )


def _weights_wanted(module, kwargs) -> bool:
    """Whether ``output_attentions`` was given: to this call, in the config, or to the model."""
    config = getattr(module, "config", None)
    if kwargs.get("output_attentions") or getattr(config, "output_attentions", False):
        return True
    collected = _active_collector.get()
    return collected is not None and any("attentions" in name for name in collected)


def _put_mask(options, query, mask, is_causal):
    """Says the mask by rules where it can be; else by the tensor.

    None hides nothing, as in "eager" (`attention_mask` never says the causal rule by it), unless
    this very call says is_causal. A module's attribute is not asked: BridgeTower's image layers
    have is_causal = True and no mask, and are not causal.
    """
    if mask is None:
        options["is_causal"] = bool(is_causal) and query.shape[2] > 1
    elif isinstance(mask, RuleMask):
        options.update(mask.options)
    else:
        options["attn_mask"] = mask


def _put_bias(options, bias):
    mask = options.get("attn_mask")
    if mask is not None and mask.dtype != torch.bool:
        bias = bias + options.pop("attn_mask")
    options["bias"] = bias


def _put_packing(options, query_starts, key_starts):
    """Sequences packed end to end in one row of the batch, as documents: [0, 3, 5] is 0 0 0 1 1."""
    if "query_documents" in options:
        return  # transformers found the same sequences in the position ids
    for name, starts in (("query_documents", query_starts), ("key_documents", key_starts)):
        sequences = torch.arange(starts.shape[0] - 1, dtype=torch.int32, device=starts.device)
        options[name] = sequences.repeat_interleave(starts.diff())[None]


def _mask_of_indices(indices, n_key):
    """True at the keys [batch, n_query, k] that a sparse layer chose: [batch, 1, n_query,
    n_key]."""
    chosen = torch.zeros(*indices.shape[:2], n_key + 1, dtype=torch.bool, device=indices.device)
    # Places without a key go to a column that is cut off.
    chosen.scatter_(-1, indices.long().where(indices >= 0, n_key), True)
    return chosen[:, None, :, :n_key]


def _and_mask(options, allowed):
    mask = options.get("attn_mask")
    if mask is not None and mask.dtype != torch.bool:
        allowed = mask.masked_fill(~allowed, float("-inf"))
    elif mask is not None:
        allowed = mask & allowed
    options["attn_mask"] = allowed


def _call(module, query, key, value, options, weights_wanted, sinks=None):
    """(output, weights or None), and the views of a selection on this module to it."""
    selection = None if torch.compiler.is_compiling() else _selections.get(module)
    if selection is not None:
        views = selection.views_of(module, query, options)
        if not weights_wanted and views.pop("together"):
            output, seen = scaled_dot_product_attention(query, key, value, **options, **views)
            selection.add(module, seen)
            return output, None
        views.pop("together", None)
        with torch.no_grad():
            _, seen = scaled_dot_product_attention(query, key, value, **{**options, **views})
        selection.add(module, seen)
    if weights_wanted:
        return scaled_dot_product_attention(query, key, value, return_weights=True, **options)
    return scaled_dot_product_attention(query, key, value, **options), None


def _call_with_sink_per_query(module, query, key, value, options, weights_wanted, sinks):
    """One more key, which scores the sink and has no value; its column of the weights is cut
    off."""
    if {"softcap", "query_documents"} & options.keys() or options.get("is_causal"):
        raise ValueError(
            f"attn: {_name(module)} has a sink for each query beside what cannot stand beside one"
        )
    if module in _selections:
        raise ValueError(
            f"attn: {_name(module)} has a sink for each query, of which there are no views"
        )
    n_key, pad = key.shape[2], torch.nn.functional.pad
    scores = torch.zeros(1, 1, 1, n_key, dtype=query.dtype, device=query.device)
    mask = options.get("attn_mask")
    if mask is not None and mask.dtype == torch.bool:
        options = {**options, "attn_mask": pad(mask, (0, 1), value=True)}
    elif mask is not None:
        scores = options.pop("attn_mask")
    scores = options.get("bias", scores).expand(*sinks.shape[:3], n_key)
    options = {**options, "bias": torch.cat([scores, sinks.to(query.dtype)], dim=-1)}
    key, value = (pad(tensor, (0, 0, 0, 1)) for tensor in (key, value))
    output, weights = _call(module, query, key, value, options, weights_wanted)
    return output, None if weights is None else weights[..., :n_key]


# -------------------------------------------------------------------------------------------------
# Selections
# -------------------------------------------------------------------------------------------------

_selections: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def attention_layers(model) -> dict:
    """The modules of a model that go through the attention interface, by name, in the model's
    order."""
    return {
        name: module
        for name, module in model.named_modules()
        if "ALL_ATTENTION_FUNCTIONS" in inspect.unwrap(type(module).forward).__code__.co_names
    }


def select(model, *, views, layers=None, heads=None, rows=None, keep=None) -> Selection:
    """Collects views of the attention weights from chosen layers and heads, while the model runs as
    it did.

        views = ["received_mean", ("top", 4)]
        with attn.transformers.select(model, layers=[0, -1], views=views) as seen:
            model(**inputs)
        seen[0].received_mean       # [batch, heads, n_key]

    It works from the call on until the ``with`` ends, or until ``close()``: without ``with`` it
    stays on the
    model. No [n, n] array is made unless a view is one (``weights``, ``head_mean``,
    ``block_sums``); `rows` cuts
    ``weights`` down.

    model       any transformers model (or part of one) with ``attn_implementation="attn"``
    views       as for `attn.attention`: a list of names or (name, parameter) pairs, or a dict
    layers      which of `attention_layers`: numbers (negative from the end), or patterns as of file
                names for
                their names ("decoder.*.encoder_attn"). None: all
    heads       which heads: a list for all layers, or a dict from layer (number or pattern) to
                list, which
                then also says the layers. None: all
    rows        which queries ``weights`` shows: a list, or -R for the last R
    keep        how many calls of each layer to keep, the latest; None: all. A generation makes one
                a token.

    Returns a `Selection`. Raises ValueError for a layer that is none, a model whose attention is
    not "attn", or
    a layer that has a selection already. Padding: keys of padding have weight 0; where padding is
    on the right,
    queries of padding are not counted either. Elsewhere they are, as rows of zeros if they see no
    key.
    """
    return Selection(model, views=views, layers=layers, heads=heads, rows=rows, keep=keep)


class Selection(Mapping):
    """What `select` returns: a mapping from layers, by name or number, to `attn.Views` of their
    latest call.

    Layers that did not run are not in it; a dimension of the views is [batch], as the model saw it.
    ``history``
    has earlier calls.
    """

    def __init__(self, model, *, views, layers=None, heads=None, rows=None, keep=None):
        self._modules = attention_layers(model)
        self._names = list(self._modules)
        if isinstance(heads, Mapping):
            if layers is not None:
                raise ValueError(
                    "attn: heads says the layers already; give it as a list beside layers"
                )
            self._heads = {
                name: list(h) for layer, h in heads.items() for name in self._find(layer)
            }
        else:
            chosen = (
                self._names
                if layers is None
                else [n for layer in _listed(layers) for n in self._find(layer)]
            )
            self._heads = dict.fromkeys(chosen, heads if heads is None else list(heads))
        self._request = {"views": [views] if isinstance(views, str) else views}
        if rows is not None:
            self._request["rows"] = rows
        self._keep = keep
        self._seen = {name: [] for name in self._names if name in self._heads}
        self._attach()

    def _attach(self):
        for name in self._seen:
            module = self._modules[name]
            if module.config._attn_implementation != NAME:
                raise ValueError(
                    f"attn: {name} has another attention; "
                    f'call model.set_attn_implementation("{NAME}")'
                )
            if module in _selections:
                raise ValueError(f"attn: {name} has a selection already; close() it first")
        self._of = weakref.WeakKeyDictionary({self._modules[name]: name for name in self._seen})
        _selections.update(dict.fromkeys(self._of, self))

    def _find(self, layer) -> list:
        """Names of the layers that a number or a pattern means."""
        if isinstance(layer, int):
            if -len(self._names) <= layer < len(self._names):
                return [self._names[layer]]
        elif found := [name for name in self._names if fnmatchcase(name, layer)]:
            return found
        raise ValueError(f"attn: there is no attention layer {layer!r}; there are {self._names}")

    def views_of(self, module, query, options) -> dict:
        """Arguments that ask for this selection's views; ``together``: also gives the output in the
        same call."""
        request = {**self._request, "together": True}
        if (heads := self._heads[self._of[module]]) is not None:
            request["heads"] = heads
        lengths = options.get("key_lengths")
        # Right padding of a sequence that attends to itself: queries are padding where keys are.
        # Their outputs stay as the model made them, so that views take a call of their own.
        if lengths is not None and options["query_offset"] == 0:
            request.update(query_lengths=lengths.clamp(max=query.shape[2]), together=False)
        return request

    def add(self, module, views):
        calls = self._seen[self._of[module]]
        calls.append(views)
        if self._keep is not None:
            del calls[: -self._keep]

    def history(self, layer) -> list:
        """Views of each call of a layer so far, oldest first: of a generation, the prompt and then
        each token."""
        (name,) = self._find(layer)
        return self._seen[name]

    def clear(self):
        """Forgets what was collected."""
        for calls in self._seen.values():
            calls.clear()

    def close(self):
        """Ends the collecting; what was collected stays."""
        for module in list(self._of):
            if _selections.get(module) is self:
                del _selections[module]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getitem__(self, layer):
        if (
            isinstance(layer, str)
            and layer not in self._modules
            or not (calls := self.history(layer))
        ):
            raise KeyError(layer)
        return calls[-1]

    def __iter__(self):
        return (name for name, calls in self._seen.items() if calls)

    def __len__(self):
        return sum(1 for _ in self)

    def __repr__(self):
        return f"Selection({ {name: len(calls) for name, calls in self._seen.items()} })"


def _listed(layers) -> Iterable:
    return [layers] if isinstance(layers, (int, str)) else layers


# -------------------------------------------------------------------------------------------------
# Registration
# -------------------------------------------------------------------------------------------------


def _register():
    AttentionInterface.register(NAME, attention_forward)
    AttentionMaskInterface.register(NAME, attention_mask)
    _allow_output_attentions()


def _allow_output_attentions():
    """Lets a config have ``output_attentions=True`` beside "attn".

    transformers refuses it beside everything but "eager", in the setter of the property and in a
    validator,
    which each config class keeps in a list of its own.
    """
    setter, validate = (
        PreTrainedConfig.output_attentions.fset,
        PreTrainedConfig.validate_output_attentions,
    )

    def set_output_attentions(self, value):
        if self._attn_implementation == NAME:
            self._output_attentions = value
        else:
            setter(self, value)

    def validate_output_attentions(self):
        if self._attn_implementation != NAME:
            validate(self)

    PreTrainedConfig.output_attentions = PreTrainedConfig.output_attentions.setter(
        set_output_attentions
    )
    PreTrainedConfig.validate_output_attentions = validate_output_attentions
    classes = [PreTrainedConfig]
    for cls in classes:
        classes.extend(cls.__subclasses__())
        validators = cls.__dict__.get("__class_validators__", [])
        validators[:] = [validate_output_attentions if v is validate else v for v in validators]


_register()

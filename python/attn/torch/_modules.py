"""Layers with attention inside, for PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn.torch._attention import attention


class MultiheadAttention(nn.MultiheadAttention):
    """torch.nn.MultiheadAttention over libattn: the same arguments, parameters and state dict.

        heads[h] = attention(query Wq[h], key Wk[h], value Wv[h])
        output = concat(heads) Wo

    It takes its weights out of the fused path, so need_weights=True costs little. Differences: a
    query that may attend to nothing gets weights of 0, not NaN. Source: Vaswani et al. 2017.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Args and results as torch.nn.MultiheadAttention.forward's.

        query [n_query, batch, width] (batch first if so made; or without a batch); masks: True
        hides, numbers are added; attn_mask [n_query, n_key] or [batch * heads, n_query, n_key],
        key_padding_mask [batch, n_key]. is_causal: attn_mask may then be left out.

        Returns the output, and the weights: [batch, n_query, n_key], mean over the heads; or
        [batch, heads, n_query, n_key] if not average_attn_weights; None if not need_weights.
        """
        batched = query.dim() == 3
        if not batched:
            query, key, value = (tensor.unsqueeze(0) for tensor in (query, key, value))
        elif not self.batch_first:
            query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
        q, k, v = self._project(query, key, value)
        k, v, extra = self._extend(k, v)
        options = self._masks(attn_mask, key_padding_mask, q.shape[0], extra)
        options["causal"] = is_causal and attn_mask is None
        if self.training and self.dropout > 0:
            options["dropout"] = self.dropout
        output, weights = self._attend(q, k, v, need_weights, average_attn_weights, options)
        output = self.out_proj(output.transpose(1, 2).flatten(2))
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

    def _attend(self, q, k, v, need_weights, average, options):
        if not need_weights:
            return attention(q, k, v, **options), None
        if not average:
            return attention(q, k, v, views="weights", **options)
        if torch.is_grad_enabled():  # gradients flow through weights, not through their mean
            output, weights = attention(q, k, v, views="weights", **options)
            return output, weights.mean(1)
        output, weights = attention(q, k, v, views="head_mean", **options)
        return output, weights.to(q.dtype)

    def _project(self, query: Tensor, key: Tensor, value: Tensor):
        """[batch, heads, n, width of a head] of each."""
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        if self._qkv_same_embed_dim:
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        if query is key is value and self._qkv_same_embed_dim:  # one product
            projected = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        else:
            projected = map(F.linear, (query, key, value), weights, biases)
        return [p.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2) for p in projected]

    def _extend(self, k: Tensor, v: Tensor):
        """Keys and values with those that bias_k, bias_v and add_zero_attn add; and how many."""
        added = []
        if self.bias_k is not None:
            added.append(tuple(
                bias.reshape(1, self.num_heads, 1, self.head_dim).expand(k.shape[0], -1, -1, -1)
                for bias in (self.bias_k, self.bias_v)
            ))  # fmt: skip
        if self.add_zero_attn:
            added.append((torch.zeros_like(k[:, :, :1]), torch.zeros_like(v[:, :, :1])))
        if not added:
            return k, v, 0
        keys, values = zip((k, v), *added)
        return torch.cat(keys, 2), torch.cat(values, 2), len(added)

    def _masks(self, attn_mask, key_padding_mask, batch: int, extra: int) -> dict[str, Tensor]:
        """PyTorch's masks, in which True hides, as `mask` (True may attend) and `bias`."""
        options: dict[str, Tensor] = {}
        if attn_mask is not None and attn_mask.dim() == 3:
            attn_mask = attn_mask.unflatten(0, (batch, self.num_heads))
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.reshape(batch, 1, 1, -1)
        for mask in (attn_mask, key_padding_mask):
            if mask is None:
                continue
            mask = F.pad(mask, (0, extra))  # what was added is seen: False, or 0
            if mask.dtype == torch.bool:
                seen = options.get("mask")
                options["mask"] = ~mask if seen is None else seen & ~mask
            else:
                bias = options.get("bias")
                options["bias"] = mask if bias is None else bias + mask
        return options


class AdditiveAttention(nn.Module):
    """The attention of Bahdanau et al. (2015), with its projections.

        s[i,j] = dot(weight, tanh(Wq query[i] + Wk key[j] + offset))

    weights = softmax(s), output = weights value. The n_query x n_key x hidden array that this takes
    elsewhere is never made.

    Args:
        query_width, key_width: features of queries and keys. hidden: of the tanh.
        dropout: probability of a weight to become 0, in training.
    """

    def __init__(
        self, query_width: int, key_width: int, hidden: int, dropout: float = 0.0,
        device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        made = {"device": device, "dtype": dtype}
        self.query_projection = nn.Linear(query_width, hidden, bias=False, **made)
        self.key_projection = nn.Linear(key_width, hidden, bias=False, **made)
        self.offset = nn.Parameter(torch.zeros(hidden, **made))
        self.weight = nn.Parameter(torch.empty(hidden, **made))
        self.dropout = dropout
        nn.init.uniform_(self.weight, -(hidden**-0.5), hidden**-0.5)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor | None = None,
        mask: Tensor | None = None,
        key_lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attends.

        Args:
            query: [batch, n_query, query_width]. key: [batch, n_key, key_width].
            value: [batch, n_key, width]; None: key.
            mask: [batch, n_query or 1, n_key], boolean, True may attend. key_lengths: [batch].

        Returns: the output [batch, n_query, width], and the weights [batch, n_query, n_key].
        """
        value = key if value is None else value
        output, weights = attention(
            self.query_projection(query).unsqueeze(1),
            self.key_projection(key).unsqueeze(1),
            value.unsqueeze(1),
            score="additive",
            weight=self.weight,
            offset=self.offset,
            mask=None if mask is None else mask.unsqueeze(1),
            key_lengths=key_lengths,
            dropout=self.dropout if self.training else 0.0,
            views="weights",
        )
        return output.squeeze(1), weights.squeeze(1)

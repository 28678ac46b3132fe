"""libattn_nn's models in PyTorch, written to be fast: parameters have the names and shapes of attn_nn's
layout, so that either side's weights load into the other.

Rows of sentences lie packed, as in attn/nn.h, wherever no sentence sees another: all linear layers,
norms and the loss do no work for padding. Attention alone is padded, for
scaled_dot_product_attention; the encoder's nn.LSTM takes packed sequences; the decoder's steps have as
many rows as there are sentences of that length.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


class Rows:
    """Packed sentences: their lengths, and where their rows lie in a padded array."""

    def __init__(self, lengths):
        self.lengths = torch.as_tensor(lengths, dtype=torch.int64)
        self.count, self.longest = len(self.lengths), int(self.lengths.max())
        column = torch.arange(self.longest)
        self.real = column < self.lengths[:, None]  # [count, longest]
        self.places = self.real.flatten().nonzero()[:, 0]  # [rows]
        self.positions = column.expand(self.count, -1).flatten()[self.places]
        self.all_real = bool(self.real.all())
        self.mask = None if self.all_real else self.real[:, None, None]

    def pad(self, x):
        """[rows, ...] to [count, longest, ...], 0 beyond each sentence's end."""
        if self.all_real:
            return x.unflatten(0, (self.count, self.longest))
        padded = x.new_zeros(self.count * self.longest, *x.shape[1:])
        return padded.index_copy(0, self.places, x).unflatten(0, (self.count, self.longest))

    def pack(self, x):
        return x.flatten(0, 1) if self.all_real else x.flatten(0, 1)[self.places]


@dataclass
class Batch:
    """Pairs in falling order of target length; tokens and labels packed."""

    source: Rows
    source_tokens: torch.Tensor
    target: Rows
    target_tokens: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, source_lengths, source, target_lengths, target, labels):
        source, target, labels = (torch.from_numpy(x).long() for x in (source, target, labels))
        return cls(Rows(source_lengths), source, Rows(target_lengths), target, labels)


def vector(size):
    return nn.Parameter(torch.zeros(size))


def matrix(rows, columns):
    return nn.Parameter(torch.zeros(rows, columns))


class SequenceModel(nn.Module):
    """Embeddings, output layer and loss; a family computes the states that words are said from."""

    def __init__(self, config):
        super().__init__()
        self.config, self.width = config, config.width
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.output = nn.Module()
        self.output.bias = vector(config.vocabulary)
        if config.untied:
            self.output.weight = matrix(config.vocabulary, config.width)

    def embed(self, tokens):
        return self.embedding(tokens) * math.sqrt(self.width)

    def drop(self, x):
        return F.dropout(x, self.config.dropout, self.training)

    def logits(self, states):
        weight = self.output.weight if self.config.untied else self.embedding.weight
        return F.linear(states, weight, self.output.bias)

    def loss(self, batch, smoothing=0.0, reduction="mean"):
        logits = self.logits(self.states(batch))
        return F.cross_entropy(
            logits, self.labels(batch), label_smoothing=smoothing, reduction=reduction
        )

    def labels(self, batch):
        return batch.labels

    def load(self, values):
        """Copies parameters from arrays by name."""
        own = {self.layout_name(name): p for name, p in self.named_parameters()}
        assert own.keys() == values.keys(), own.keys() ^ values.keys()
        with torch.no_grad():
            for name, p in own.items():
                p.copy_(torch.as_tensor(values[name]).view_as(p))

    def gradients(self):
        return {self.layout_name(name): p.grad for name, p in self.named_parameters()}

    @staticmethod
    def layout_name(name):
        return name


# --- Transformer: pre-norm, sinusoidal positions, ReLU --------------------------------------------


def sinusoids(count, width, dtype=torch.float32):
    """Sines and cosines side by side, as attn_nn has them (float64 before they are rounded)."""
    rate = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(count, dtype=torch.float64)[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1).to(dtype)


class Attention(nn.Module):
    """nn.MultiheadAttention's parameters, over packed rows."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight, self.in_proj_bias = matrix(3 * width, width), vector(3 * width)
        self.out_proj = nn.Linear(width, width)

    def split(self, rows, x, parts):
        """[rows, parts * width] to `parts` of [count, heads, longest, each]."""
        return rows.pad(x).unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def join(self, rows, mixed):
        return self.out_proj(rows.pack(mixed.transpose(1, 2).flatten(2)))

    def attend(self, query, key, value, mask=None, causal=False):
        rate = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(query, key, value, mask, rate, causal)

    def oneself(self, rows, x, causal):
        """A causal row sees rows before it alone, none of which are padding."""
        query, key, value = self.split(rows, F.linear(x, self.in_proj_weight, self.in_proj_bias), 3)
        mask = None if causal else rows.mask
        return self.join(rows, self.attend(query, key, value, mask, causal))

    def queries(self, x):
        width = x.shape[-1]
        return F.linear(x, self.in_proj_weight[:width], self.in_proj_bias[:width])

    def keys_and_values(self, keys, memory):
        width = memory.shape[-1]
        both = F.linear(memory, self.in_proj_weight[width:], self.in_proj_bias[width:])
        return self.split(keys, both, 2)

    def other(self, rows, x, keys, memory):
        (query,) = self.split(rows, self.queries(x), 1)
        key, value = self.keys_and_values(keys, memory)
        return self.join(rows, self.attend(query, key, value, keys.mask))


class Block(nn.Module):
    def __init__(self, config, decoder):
        super().__init__()
        width = config.width
        self.rate = config.dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn = Attention(width, config.heads, config.attention_dropout)
        if decoder:
            self.norm3 = nn.LayerNorm(width)
            self.multihead_attn = Attention(width, config.heads, config.attention_dropout)
        self.linear1 = nn.Linear(width, config.feed_forward)
        self.linear2 = nn.Linear(config.feed_forward, width)

    def drop(self, x):
        return F.dropout(x, self.rate, self.training)

    def feed(self, x):
        return self.linear2(F.relu(self.linear1(x)))

    def encode(self, rows, x):
        x = x + self.drop(self.self_attn.oneself(rows, self.norm1(x), False))
        return x + self.drop(self.feed(self.norm2(x)))

    def decode(self, rows, x, keys, memory):
        x = x + self.drop(self.self_attn.oneself(rows, self.norm1(x), True))
        x = x + self.drop(self.multihead_attn.other(rows, self.norm2(x), keys, memory))
        return x + self.drop(self.feed(self.norm3(x)))


class Stack(nn.Module):
    def __init__(self, config, count, decoder):
        super().__init__()
        self.layers = nn.ModuleList(Block(config, decoder) for _ in range(count))
        self.norm = nn.LayerNorm(config.width)


class Transformer(SequenceModel):
    def __init__(self, config):
        super().__init__(config)
        plain = (config.post_norm, config.norm, config.activation, config.positions)
        assert not any(plain), "here are pre-norm, layer norm, ReLU and sinusoids alone"
        self.encoder = Stack(config, config.encoder_layers, False)
        self.decoder = Stack(config, config.decoder_layers, True)
        self.register_buffer("places", sinusoids(1024, config.width), persistent=False)

    def begin(self, rows, tokens):
        return self.drop(self.embed(tokens) + self.places[rows.positions])

    def encode(self, rows, tokens):
        x = self.begin(rows, tokens)
        for block in self.encoder.layers:
            x = block.encode(rows, x)
        return self.encoder.norm(x)

    def states(self, batch):
        memory = self.encode(batch.source, batch.source_tokens)
        x = self.begin(batch.target, batch.target_tokens)
        for block in self.decoder.layers:
            x = block.decode(batch.target, x, batch.source, memory)
        return self.decoder.norm(x)


# --- Recurrent: nn.LSTM for the encoder, a loop of steps for the decoder ----------------------------


def lstm_cell(gates, c):
    i, f, g, o = gates.chunk(4, -1)
    c = torch.addcmul(f.sigmoid() * c, i.sigmoid(), g.tanh())
    return o.sigmoid() * c.tanh(), c


def gru_cell(gates, state, h):
    parts = zip(gates.chunk(3, -1), state.chunk(3, -1))
    (r, z), (new, of_state) = [(a + b).sigmoid() for a, b in (next(parts), next(parts))], next(parts)
    new = torch.addcmul(new, r, of_state).tanh()
    return torch.lerp(new, h, z)


class Cell(nn.Module):
    """nn.LSTMCell or nn.GRUCell, whose input's share may be found for all steps at once."""

    def __init__(self, lstm, width, hidden):
        super().__init__()
        parts = 4 if lstm else 3
        self.lstm = lstm
        self.weight_ih, self.weight_hh = matrix(parts * hidden, width), matrix(parts * hidden, hidden)
        self.bias_ih, self.bias_hh = vector(parts * hidden), vector(parts * hidden)

    def step(self, gates, h, c):
        """gates: W x and, for an LSTM, both biases; a GRU's b_hh is its own."""
        if self.lstm:
            return lstm_cell(torch.addmm(gates, h, self.weight_hh.t()), c)
        return gru_cell(gates, F.linear(h, self.weight_hh, self.bias_hh), h), c

    def bias(self):
        return self.bias_ih + self.bias_hh if self.lstm else self.bias_ih


def additive_scores(query, keys, weight):
    return (query[:, None] + keys).tanh() @ weight


class Look(nn.Module):
    """How the decoder looks at the source: see nn/models/look.h."""

    def __init__(self, config):
        super().__init__()
        hidden, width = config.hidden, config.look_width
        names = ("none", "dot", "general", "concat", "additive", "location", "multi_head")
        self.kind, self.heads = names[config.look], config.heads
        if self.kind == "additive":
            self.query, self.key = nn.Linear(hidden, width, False), nn.Linear(hidden, width)
            self.weight = vector(width)
        elif self.kind == "concat":
            self.projection, self.weight = matrix(width, 2 * hidden), vector(width)
        elif self.kind == "general":
            self.key = nn.Linear(hidden, hidden, False)
        elif self.kind == "multi_head":
            for name in ("query", "key", "value"):
                setattr(self, name, nn.Linear(hidden, hidden, False))
        assert self.kind != "location", "not here"

    def prepare(self, memory):
        """Keys and values of padded memory [count, longest, hidden]."""
        if self.kind == "concat":
            return F.linear(memory, self.projection[:, memory.shape[-1] :]), memory
        if self.kind == "multi_head":
            key, value = (
                f(memory).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for f in (self.key, self.value)
            )
            return key, value
        return (self.key(memory) if hasattr(self, "key") else memory), memory

    def scores(self, h, keys):
        if self.kind == "additive":
            return additive_scores(self.query(h), keys, self.weight)
        if self.kind == "concat":
            query = F.linear(h, self.projection[:, : h.shape[-1]])
            return additive_scores(query, keys, self.weight)
        return torch.bmm(keys, h[:, :, None])[:, :, 0]

    def forward(self, h, keys, values, mask):
        """mask [count, longest]: True where there is no word; None: there is one everywhere."""
        if self.kind == "multi_head":
            query = self.query(h).unflatten(-1, (self.heads, 1, -1))
            seen = None if mask is None else ~mask[:, None, None]
            return F.scaled_dot_product_attention(query, keys, values, seen).flatten(1)
        scores = self.scores(h, keys)
        if mask is not None:
            scores = scores.masked_fill(mask, -math.inf)
        return torch.bmm(scores.softmax(-1)[:, None], values)[:, 0]


class RecurrentDecoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.lstm, hidden, width = config.cell == 0, config.hidden, config.width
        self.looks = config.look != 0
        self.feeds = self.looks and not config.no_input_feeding
        fed = hidden if not self.looks else width if self.feeds else 0
        inputs = [width + fed] + [hidden] * (config.decoder_layers - 1)
        self.layers = nn.ModuleList(Cell(self.lstm, n, hidden) for n in inputs)
        self.bridge_h = nn.ModuleList(nn.Linear(hidden, hidden) for _ in inputs)
        if self.lstm:
            self.bridge_c = nn.ModuleList(nn.Linear(hidden, hidden) for _ in inputs)
        self.look = Look(config)
        self.mix = nn.Linear(2 * hidden, width)
        self.rate = config.dropout

    def drop(self, x):
        return F.dropout(x, self.rate, self.training)

    def first_states(self, last_h, last_c):
        h = [bridge(last_h).tanh() for bridge in self.bridge_h]
        c = [bridge(last_c).tanh() for bridge in self.bridge_c] if self.lstm else h
        return h, c

    def step(self, gates, h, c, keys, values, mask, constant):
        """One step of all layers. gates: of the first; constant: what stands for the context without
        attention."""
        new_h, new_c, x = [], [], None
        for n, cell in enumerate(self.layers):
            if n > 0:
                gates = F.linear(x, cell.weight_ih, cell.bias())
            of_h, of_c = cell.step(gates, h[n], c[n])
            new_h.append(of_h)
            new_c.append(of_c)
            x = self.drop(of_h)
        context = self.look(new_h[-1], keys, values, mask) if self.looks else constant
        states = self.mix(torch.cat((context, new_h[-1]), -1)).tanh()
        return self.drop(states), new_h, new_c


class Recurrent(SequenceModel):
    def __init__(self, config):
        super().__init__(config)
        self.lstm = config.cell == 0
        kind = nn.LSTM if self.lstm else nn.GRU
        self.encoder = kind(config.width, config.hidden // 2, config.encoder_layers,
                            bidirectional=True, dropout=config.dropout)  # fmt: skip
        self.decoder = RecurrentDecoder(config)
        self.step = self.decoder.step  # a compiled one may take its place

    @staticmethod
    def layout_name(name):
        """encoder.weight_ih_l0_reverse to encoder.backward.0.weight_ih."""
        if not name.startswith("encoder."):
            return name
        part, layer = name.removeprefix("encoder.").removesuffix("_reverse").rsplit("_l", 1)
        side = "backward" if name.endswith("_reverse") else "forward"
        return f"encoder.{side}.{layer}.{part}"

    def encode(self, rows, tokens):
        """Padded memory [count, longest, hidden], and the last states [count, hidden]."""
        x = rows.pad(self.drop(self.embed(tokens)))
        packed = nn.utils.rnn.pack_padded_sequence(x, rows.lengths, True, False)
        y, last = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(y, True)
        last = [torch.cat((s[-2], s[-1]), -1) for s in (last if self.lstm else (last, last))]
        return memory, last

    def steps(self, batch):
        """Target rows in the order of steps: as PackedSequence has them. Sentences come in falling
        order of length already."""
        target = batch.target
        packed = nn.utils.rnn.pack_padded_sequence(
            target.pad(torch.arange(len(batch.labels))), target.lengths, True
        )
        return packed.data, packed.batch_sizes.tolist()

    def states(self, batch):
        """In the order of steps."""
        decoder, source = self.decoder, batch.source
        memory, (last_h, last_c) = self.encode(source, batch.source_tokens)
        keys, values = decoder.look.prepare(memory) if decoder.looks else (memory, memory)
        mask = None if source.all_real else ~source.real
        h, c = decoder.first_states(last_h, last_c)
        order, sizes = self.steps(batch)
        cell = decoder.layers[0]
        said = self.drop(self.embed(batch.target_tokens[order]))
        gates = F.linear(said, cell.weight_ih[:, : self.width], cell.bias()).split(sizes)
        fed_weight = cell.weight_ih[:, self.width :].t()
        if not decoder.looks:
            constant = last_h @ fed_weight
        states, out, count = [], None, len(memory)
        for gate, size in zip(gates, sizes):
            if size < count:
                count, last_h, keys, values = size, last_h[:size], keys[:size], values[:size]
                mask = None if mask is None else mask[:size]
                h, c = [x[:size] for x in h], [x[:size] for x in c]
            if not decoder.looks:
                gate = gate + constant[:size]
            elif decoder.feeds and out is not None:
                gate = torch.addmm(gate, out[:size], fed_weight)
            out, h, c = self.step(gate, h, c, keys, values, mask, last_h)
            states.append(out)
        return torch.cat(states)

    def labels(self, batch):
        return batch.labels[self.steps(batch)[0]]


def model_of(config):
    """The model of an attn_nn_config (libattn_nn.Config, filled in)."""
    return (Transformer, Recurrent)[config.family](config)

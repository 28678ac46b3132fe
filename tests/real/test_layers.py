"""Layers and models of libattn_nn beside PyTorch's modules with the same weights, forward and back, float32.

    ATTN_BIN=build/attn python -m pytest tests/real/test_layers.py

needs what tests/requirements_torch.txt pins; `./check gradients` makes such a Python. Every result is
compared with what the same module makes in float64; layers.py says how far it may be off. Gradients
beside differences, in double, are in tests/nn.
"""

import ctypes as c
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch here: ./check gradients runs this with it")

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(Path(__file__).parent)]

import libattn_nn
import torch_models
from layers import Draw, Layers, assert_as_exact, finish, in_both, leaf, loaded, packed, padded
from layers import shares
from torch import nn
from torch.nn import functional as F

LIBRARY = Path(os.environ.get("ATTN_BIN", ROOT / "build" / "attn")).with_name("libattn_nn.so")
ROWS, WIDTH, OUT, HEADS = 37, 48, 29, 4
LENGTHS, KEY_LENGTHS = (7, 12, 1, 9), (5, 3, 11, 16)


@pytest.fixture(scope="module")
def library():
    return libattn_nn.Library(LIBRARY)


@pytest.fixture
def layers(library):
    return Layers(library)


# --- Rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", (True, False))
def test_linear(layers, bias):
    draw = Draw(1)
    x, d_y = draw.normal(ROWS, WIDTH), draw.normal(ROWS, OUT)
    values = draw.parameters(nn.Linear(WIDTH, OUT, bias))

    def program(dtype):
        module, at = loaded(nn.Linear(WIDTH, OUT, bias), values, dtype), leaf(x, dtype)
        return finish(module(at), d_y, {"x": at}, module)

    layer = layers.make("linear", "", WIDTH, OUT, bias)
    layers.open(values)
    d_x = np.zeros_like(x)
    y = layers.result(layers.call("linear_forward", layer, x, ROWS), ROWS, OUT)
    layers.call("linear_backward", layer, x, d_y, ROWS, d_x)
    ours = {"y": y, "d_x": d_x, **layers.gradients()}
    assert_as_exact(ours, *in_both(program), terms=max(ROWS, WIDTH))


def test_embedding(layers):
    draw, scale = Draw(2), math.sqrt(WIDTH)
    tokens = np.array([3, 1, 3, 3, 0, 7], np.int32)  # one of them three times
    d_y, values = draw.normal(len(tokens), WIDTH), {"weight": draw.normal(9, WIDTH)}

    def program(dtype):
        module = loaded(nn.Embedding(9, WIDTH), values, dtype)
        return finish(module(torch.from_numpy(tokens)) * scale, d_y, {}, module)

    layer = layers.make("embedding", "", 9, WIDTH, scale)
    layers.open(values)
    y = layers.result(layers.call("embedding_forward", layer, tokens, len(tokens)),
                      len(tokens), WIDTH)  # fmt: skip
    layers.call("embedding_backward", layer, tokens, len(tokens), d_y)
    # scale, rounded to float32, and its product: as in PyTorch; 3 rows are added.
    assert_as_exact({"y": y, **layers.gradients()}, *in_both(program), terms=3)


@pytest.mark.parametrize("kind", libattn_nn.NORMS)
@pytest.mark.parametrize("mean", (0, 30))
def test_norm(layers, kind, mean):
    """Also of rows far from 0, whose mean must be taken away before they are squared."""
    draw = Draw(3)
    x, d_y = draw.normal(ROWS, WIDTH) + np.float32(mean), draw.normal(ROWS, WIDTH)

    def make():
        return nn.LayerNorm(WIDTH) if kind == "layer" else nn.RMSNorm(WIDTH, eps=1e-5)

    values = draw.parameters(make())

    def program(dtype):
        module, at = loaded(make(), values, dtype), leaf(x, dtype)
        return finish(module(at), d_y, {"x": at}, module)

    layer = layers.make("norm", "", libattn_nn.NORMS.index(kind), WIDTH)
    layers.open(values)
    d_x = np.zeros_like(x)
    y = layers.result(layers.call("norm_forward", layer, x, ROWS), ROWS, WIDTH)
    layers.call("norm_backward", layer, x, d_y, ROWS, d_x)
    ours = {"y": y, "d_x": d_x, **layers.gradients()}
    assert_as_exact(ours, *in_both(program), terms=max(ROWS, WIDTH))


@pytest.mark.parametrize("kind", libattn_nn.ACTIVATIONS)
def test_activation(layers, kind):
    draw = Draw(4)
    x, d_y = draw.normal(ROWS, WIDTH, scale=3), draw.normal(ROWS, WIDTH)
    f = {"relu": F.relu, "silu": F.silu, "gelu": lambda x: F.gelu(x, approximate="tanh")}[kind]

    def program(dtype):
        at = leaf(x, dtype)
        return finish(f(at), d_y, {"x": at}, nn.Module())

    layers.open({})
    number = libattn_nn.ACTIVATIONS.index(kind)
    y = layers.result(layers.call("activation_forward", number, x, x.size), *x.shape)
    d = d_y.copy()
    layers.call("activation_backward", number, x, d, x.size)
    # No sum, but functions of up to 16 roundings on either side (docs/NUMERICS.md).
    assert_as_exact({"y": y, "d_x": d}, *in_both(program), terms=16)


@pytest.mark.parametrize("smoothing", (0.0, 0.1))
def test_cross_entropy(layers, smoothing):
    draw, vocabulary, scale = Draw(5), 301, 1 / ROWS
    x = draw.normal(ROWS, vocabulary, scale=4)
    labels = draw.random.integers(0, vocabulary, ROWS).astype(np.int32)

    def program(dtype):
        at, of = leaf(x, dtype), torch.from_numpy(labels).long()
        loss = F.cross_entropy(at, of, reduction="sum", label_smoothing=smoothing)
        (loss * scale).backward()
        return {"sum": loss, "likelihood": F.cross_entropy(at, of, reduction="sum"),
                "d_x": at.grad}  # fmt: skip

    layers.open({})
    loss, d = libattn_nn.Loss(), x.copy()
    layers.call("cross_entropy", d, vocabulary, labels, ROWS, smoothing, scale, loss)
    layers.walk.check()
    assert loss.rows == ROWS
    ours = {"sum": np.float32(loss.sum), "likelihood": np.float32(loss.likelihood), "d_x": d}
    assert_as_exact(ours, *in_both(program), terms=vocabulary)


# --- Attention -----------------------------------------------------------------------------------


def rotated(x, positions):
    """Su et al. 2021, halves of a head's width turned together; x [heads, rows, d]."""
    half = x.shape[-1] // 2
    rate = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = positions[:, None].double() * rate
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


def buckets(queries, keys, causal, count):
    """T5's (Raffel et al. 2020), of offset key - query; distances over 128 share the last."""
    offset = torch.arange(keys) - torch.arange(queries)[:, None]
    half, past = (count, (-offset).clamp(min=0)) if causal else (count // 2, offset.abs())
    near = half // 2
    ratio = (past.clamp(min=1).double() / near).log() / math.log(128 / near)
    far = (near + (ratio * (half - near)).floor()).clamp(max=half - 1).long()
    place = torch.where(past < near, past, far)
    return place if causal else place + half * (offset > 0)


def attend_plainly(module, x, memory, causal, rotary, relative):
    """One sentence, written out over nn.MultiheadAttention's parameters; with its weights."""
    width, heads = module.embed_dim, module.num_heads
    parts = zip(module.in_proj_weight.split(width), module.in_proj_bias.split(width))
    query, key, value = (F.linear(rows, *part).unflatten(-1, (heads, -1)).transpose(0, 1)
                         for rows, part in zip((x, memory, memory), parts))  # fmt: skip
    if rotary:
        query, key = (rotated(t, torch.arange(t.shape[1])) for t in (query, key))
    scores = query @ key.mT / math.sqrt(width // heads)
    if relative is not None:
        scores = scores + relative[:, buckets(len(x), len(memory), causal, relative.shape[1])]
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[1:]).triu(1).bool(), -math.inf)
    weights = scores.softmax(-1)
    return module.out_proj((weights @ value).transpose(0, 1).flatten(1)), weights


def attend_by_module(module, x, memory, causal, rotary, relative):
    mask = nn.Transformer.generate_square_subsequent_mask(len(x), dtype=x.dtype) if causal else None
    return module(x, memory, memory, attn_mask=mask, average_attn_weights=False)


class Rich(nn.MultiheadAttention):
    """With the bias by offset that attn_nn_attention may have."""

    def __init__(self, relative):
        super().__init__(WIDTH, HEADS)
        self.relative_bias = nn.Parameter(torch.zeros(HEADS, relative)) if relative else None


ATTENTIONS = {
    "self": {},
    "causal": {"causal": True},
    "cross": {"cross": True},
    "rotary": {"rotary": True, "causal": True},
    "relative": {"relative": 32},
    "relative causal": {"relative": 32, "causal": True},
    "into the weights": {"cross": True, "weights": True},
}


@pytest.mark.parametrize("case", ATTENTIONS.values(), ids=[n.replace(" ", "_") for n in ATTENTIONS])
def test_attention(layers, case):
    causal, cross, rotary, relative, weights = (
        case.get(name, 0) for name in ("causal", "cross", "rotary", "relative", "weights")
    )
    draw, rows = Draw(6), sum(LENGTHS)
    key_lengths = KEY_LENGTHS if cross else LENGTHS
    longest = max(key_lengths)
    inputs = {"x": draw.normal(rows, WIDTH)}
    if cross:
        inputs["memory"] = draw.normal(sum(key_lengths), WIDTH)
    d_y, d_weights = draw.normal(rows, WIDTH), draw.normal(HEADS, rows, longest)
    values = draw.parameters(Rich(relative))
    attend = attend_plainly if rotary or relative else attend_by_module

    def program(dtype):
        module = loaded(Rich(relative), values, dtype)
        at = {name: leaf(x, dtype) for name, x in inputs.items()}
        sides = at["x"].split(LENGTHS), at.get("memory", at["x"]).split(key_lengths)
        done = [attend(module, x, m, causal, rotary, module.relative_bias) for x, m in zip(*sides)]
        all_weights = torch.cat([F.pad(w, (0, longest - w.shape[-1])) for _, w in done], 1)
        flows = [(all_weights, d_weights)] if weights else []
        return finish(torch.cat([y for y, _ in done]), d_y, at, module, flows) | {"w": all_weights}

    layer = layers.make("attention", "", WIDTH, HEADS, relative)
    layer.causal, layer.rotary_base = bool(causal), 10000 if rotary else 0
    layers.open(values)
    queries, keys = (layers.walk.sentences(n) for n in (LENGTHS, key_lengths))
    saved, memory = libattn_nn.AttentionSaved(), inputs.get("memory")
    x, d = inputs["x"], {name: np.zeros_like(x) for name, x in inputs.items()}
    at = layers.call("attention_forward", layer, x, queries, memory, keys, True, saved)
    ours = {"y": layers.result(at, rows, WIDTH)}
    assert saved.longest == longest
    ours["w"] = layers.result(saved.weights, HEADS, rows, longest)
    layers.call("attention_backward", layer, x, queries, memory, keys, saved, d_y,
                d_weights if weights else None, d["x"], d.get("memory"))  # fmt: skip
    ours |= {f"d_{name}": g for name, g in d.items()} | layers.gradients()
    assert_as_exact(ours, *in_both(program), terms=max(WIDTH, rows, sum(key_lengths)))


# --- Transformer blocks ------------------------------------------------------------------------------

FEED_FORWARD = 80
BLOCKS = {
    "encoder, pre norm": {},
    "encoder, post norm": {"post_norm": True},
    "encoder, gelu": {"activation": "gelu"},
    "encoder, rms norm, silu": {"norm": "rms", "activation": "silu"},
    "causal, post norm": {"causal": True, "post_norm": True},
    "decoder, pre norm": {"causal": True, "cross": True},
    "decoder, post norm": {"causal": True, "cross": True, "post_norm": True},
    "decoder, rms norm, post norm": {"causal": True, "cross": True, "norm": "rms", "post_norm": True},
}  # fmt: skip


def block_module(cross=False, post_norm=False, norm="layer", activation="relu", **_):
    """PyTorch's own layer, with other norms where asked for; parameters have the same names."""
    kind = nn.TransformerDecoderLayer if cross else nn.TransformerEncoderLayer
    f = {"relu": F.relu, "silu": F.silu, "gelu": lambda x: F.gelu(x, approximate="tanh")}[activation]
    module = kind(WIDTH, HEADS, FEED_FORWARD, 0.0, f, batch_first=True, norm_first=not post_norm)
    for name in [n for n, _ in module.named_children() if norm == "rms" and n.startswith("norm")]:
        setattr(module, name, nn.RMSNorm(WIDTH, eps=1e-5))
    return module


@pytest.mark.parametrize("case", BLOCKS.values(), ids=[n.replace(" ", "_") for n in BLOCKS])
def test_block(layers, case):
    """nn.TransformerEncoderLayer and nn.TransformerDecoderLayer, loaded by their own names."""
    draw, rows, causal, cross = Draw(9), sum(LENGTHS), case.get("causal"), case.get("cross")
    inputs = {"x": draw.normal(rows, WIDTH)}
    if cross:
        inputs["memory"] = draw.normal(sum(KEY_LENGTHS), WIDTH)
    d_y, values = draw.normal(rows, WIDTH), draw.parameters(block_module(**case))

    def one(module, x, memory):
        mask = None
        if causal:
            mask = nn.Transformer.generate_square_subsequent_mask(len(x), dtype=x.dtype)
        return module(x[None], memory[None], mask)[0] if cross else module(x[None], mask)[0]

    def program(dtype):
        module = loaded(block_module(**case), values, dtype)
        at = {name: leaf(x, dtype) for name, x in inputs.items()}
        memory = at["memory"].split(KEY_LENGTHS) if cross else LENGTHS
        done = [one(module, x, m) for x, m in zip(at["x"].split(LENGTHS), memory)]
        return finish(torch.cat(done), d_y, at, module)

    block = layers.block("", width=WIDTH, heads=HEADS, feed_forward=FEED_FORWARD, **case)
    layers.open(values)
    sentences, memory_sentences = (layers.walk.sentences(n) for n in (LENGTHS, KEY_LENGTHS))
    beside = (inputs["memory"], memory_sentences) if cross else (None, None)
    d_memory = np.zeros_like(inputs["memory"]) if cross else None
    saved, d = libattn_nn.BlockSaved(), d_y.copy()
    at = layers.call("block_forward", block, inputs["x"], sentences, *beside, False, saved)
    ours = {"y": layers.result(at, rows, WIDTH)}
    layers.call("block_backward", block, sentences, *beside, saved, None, d, d_memory)
    ours |= {"d_x": d, **layers.gradients()} | ({"d_memory": d_memory} if cross else {})
    assert_as_exact(ours, *in_both(program), terms=max(FEED_FORWARD, rows, sum(KEY_LENGTHS)))


# --- Recurrent layers --------------------------------------------------------------------------------


@pytest.mark.parametrize("starts", (False, True), ids=("from_zero", "from_states"))
@pytest.mark.parametrize("backwards", (False, True), ids=("forward", "backward"))
@pytest.mark.parametrize("cell", libattn_nn.CELLS)
def test_recurrent(layers, cell, backwards, starts):
    """One direction of nn.LSTM or nn.GRU over packed sequences of different lengths."""
    draw, rows, count, hidden = Draw(7), sum(LENGTHS), len(LENGTHS), 20
    kind, lstm = {"lstm": nn.LSTM, "gru": nn.GRU}[cell], cell == "lstm"
    x, d_y = draw.normal(rows, WIDTH), draw.normal(rows, hidden)
    flows = {"h": draw.normal(count, hidden), "c": draw.normal(count, hidden)}
    first = {"h": draw.normal(count, hidden), "c": draw.normal(count, hidden)}
    names = ("h", "c") if lstm else ("h",)
    own = draw.parameters(kind(WIDTH, hidden))
    suffix = "_reverse" if backwards else ""

    def program(dtype):
        both = kind(WIDTH, hidden, bidirectional=backwards)
        module = loaded(both, {name + suffix: array for name, array in own.items()}, dtype)
        at = {"x": leaf(x, dtype)}
        states = None
        if starts:
            at |= {f"{name}0": leaf(first[name], dtype) for name in names}
            other = [torch.zeros_like(at[f"{name}0"]) for name in names]
            states = [torch.stack((o, at[f"{name}0"]) if backwards else (at[f"{name}0"],))
                      for o, name in zip(other, names)]  # fmt: skip
            states = tuple(states) if lstm else states[0]
        sequences = nn.utils.rnn.pack_padded_sequence(padded(at["x"], LENGTHS), LENGTHS, True, False)
        y, last = module(sequences, states)
        y = packed(nn.utils.rnn.pad_packed_sequence(y, True)[0], LENGTHS)[:, -hidden:]
        last = [s[-1] for s in (last if lstm else (last,))]
        done = finish(y, d_y, at, module, [(s, flows[name]) for s, name in zip(last, names)])
        results = {name.removesuffix(suffix): g for name, g in done.items() if g is not None}
        return results | {f"last_{name}": s for s, name in zip(last, names)}

    parameters = {name.removesuffix("_l0"): array for name, array in own.items()}
    layer = layers.make("recurrent", "", libattn_nn.CELLS.index(cell), WIDTH, hidden, backwards)
    layers.open(parameters)
    sentences, saved = layers.walk.sentences(LENGTHS), libattn_nn.RecurrentSaved()
    last = {name: np.zeros((count, hidden), np.float32) for name in names}
    begin = [first[name] if starts and name in names else None for name in ("h", "c")]
    at = layers.call("recurrent_forward", layer, x, sentences, *begin, last["h"], last.get("c"),
                     saved)  # fmt: skip
    ours = {"y": layers.result(at, rows, hidden)}
    ours |= {f"last_{name}": s for name, s in last.items()}
    d_x, d_first = np.zeros_like(x), {n: np.zeros((count, hidden), np.float32) for n in names}
    layers.call("recurrent_backward", layer, x, sentences, saved, d_y, flows["h"],
                flows["c"] if lstm else None, d_x, d_first["h"], d_first.get("c"))  # fmt: skip
    ours["d_x"] = d_x
    if starts:
        ours |= {f"d_{name}0": g for name, g in d_first.items()}
    ours |= {f"{name}_l0": g for name, g in layers.gradients().items()}
    # Sums of `width` and of `rows`; each of at most 12 steps passes its error on, in both alike.
    assert_as_exact(ours, *in_both(program), terms=max(WIDTH, rows, 4 * hidden))


# --- Models ------------------------------------------------------------------------------------------

TEXT = (
    ("Le chat noir dort sur le vieux canapé .", "The black cat is asleep on the old sofa ."),
    ("Où est la gare ?", "Where is the station ?"),
    ("Je ne sais pas si elle viendra demain , mais je l' espère .",
     "I do not know whether she will come tomorrow , but I hope so ."),
    ("Merci .", "Thank you ."),
    ("La porte de la vieille maison est restée ouverte toute la nuit .",
     "The door of the old house stayed open all night ."),
)  # fmt: skip
BEGIN, END = 0, 1
WORDS = sorted({word for pair in TEXT for side in pair for word in side.split()})
PAIRS = [[[2 + WORDS.index(word) for word in side.split()] for side in pair] for pair in TEXT]
SIZES = {"vocabulary": 2 + len(WORDS), "width": 32, "encoder_layers": 2, "decoder_layers": 2,
         "heads": 4, "feed_forward": 80, "hidden": 24, "look_width": 20}  # fmt: skip
SMOOTHING = 0.1


class ByModules(nn.Module):
    """A Transformer of nn.TransformerEncoder and nn.TransformerDecoder: their parameters' names are those
    of attn_nn's layout."""

    def __init__(self, config):
        super().__init__()
        width = self.width = config.width
        activation = (F.relu, lambda x: F.gelu(x, approximate="tanh"), F.silu)[config.activation]
        sizes = (width, config.heads, config.feed_forward, 0.0, activation)
        options = {"batch_first": True, "norm_first": not config.post_norm}
        encode, decode = (kind(*sizes, **options)
                          for kind in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer))  # fmt: skip
        norm = lambda: nn.RMSNorm(width, eps=1e-5) if config.norm else nn.LayerNorm(width)
        for layer in (encode, decode):
            for name in [n for n, _ in layer.named_children() if n.startswith("norm")]:
                setattr(layer, name, norm())
        last = (lambda: None) if config.post_norm else norm
        self.encoder = nn.TransformerEncoder(encode, config.encoder_layers, last(), False)
        self.decoder = nn.TransformerDecoder(decode, config.decoder_layers, last())
        self.embedding = nn.Embedding(config.vocabulary, width)
        self.output = nn.Linear(width, config.vocabulary)
        if not config.untied:
            self.output.weight = self.embedding.weight
        self.positions = nn.Embedding(config.max_length, width) if config.positions else None

    def begin(self, rows, tokens):
        place = torch.arange(rows.longest)
        if self.positions is not None:
            places = self.positions(place)
        else:
            even = torch.arange(0, self.width, 2, dtype=torch.float64)
            angle = place[:, None] / 10000 ** (even / self.width)
            places = torch.stack((angle.sin(), angle.cos()), -1).flatten(1)
        x = self.embedding(rows.pad(tokens)) * math.sqrt(self.width)
        return x + places.to(x.dtype)

    def loss(self, batch, smoothing, reduction):
        source, target = batch.source, batch.target
        memory = self.encoder(self.begin(source, batch.source_tokens),
                              src_key_padding_mask=~source.real)  # fmt: skip
        later = torch.ones(target.longest, target.longest, dtype=torch.bool).triu(1)
        states = self.decoder(self.begin(target, batch.target_tokens), memory, later,
                              memory_key_padding_mask=~source.real)  # fmt: skip
        logits = self.output(target.pack(states))
        return F.cross_entropy(logits, batch.labels, reduction=reduction, label_smoothing=smoothing)

    def load(self, values):
        assert dict(self.named_parameters()).keys() == values.keys()
        loaded(self, values, torch.float32)

    def gradients(self):
        return {name: p.grad for name, p in self.named_parameters()}


class Fixture:
    """A model with parameters, none of which are 0 or 1 as layers start with, and a batch."""

    def __init__(self, library, config):
        self.model = libattn_nn.Model(library, **SIZES | config)
        self.walk = libattn_nn.Walk(library, self.model.layout)
        library.layout_start(c.byref(self.model.layout), 3, self.walk.values.ctypes.data)
        self.walk.values += Draw(8).normal(len(self.walk.values), scale=0.05)
        self.batches = libattn_nn.Batches(library, PAIRS, in_order=True, begin=BEGIN, end=END)
        assert self.batches.count() == 1
        self.batch = self.batches.shard()
        self.rows = sum(len(target) + 1 for _, target in PAIRS)
        values = libattn_nn.named(self.model.layout, self.walk.values)
        self.start = {name: array.copy() for name, array in values.items()}

    def ours(self):
        self.walk.gradients[...] = 0
        objective = libattn_nn.Objective(smoothing=SMOOTHING, scale=1 / self.rows)
        loss = self.model.loss(self.walk, self.batch, objective)
        assert loss.rows == self.rows
        gradients = libattn_nn.named(self.model.layout, self.walk.gradients)
        return {"loss": np.float32(loss.sum / self.rows)} | gradients

    def theirs(self, make):
        def program(dtype):
            module = make(self.model.config)
            module.load(self.start)
            module.to(dtype)
            batch = torch_models.Batch.of(*libattn_nn.arrays_of(self.batch))
            loss = module.loss(batch, smoothing=SMOOTHING, reduction="mean")
            loss.backward()
            return {"loss": loss} | module.gradients()

        return in_both(program)

    def terms(self):
        return max(self.rows, *SIZES.values())

    def assert_as_exact(self, make):
        assert_as_exact(self.ours(), *self.theirs(make), self.terms())


TRANSFORMERS = {
    "pre norm": {},
    "post norm": {"post_norm": True},
    "gelu": {"activation": "gelu"},
    "silu, post norm": {"activation": "silu", "post_norm": True},
    "rms norm": {"norm": "rms"},
    "rms norm, post norm": {"norm": "rms", "post_norm": True},
    "learned positions": {"positions": "learned", "max_length": 20},
    "untied": {"untied": True},
}


@pytest.mark.parametrize("config", TRANSFORMERS.values(),
                         ids=[n.replace(" ", "_") for n in TRANSFORMERS])  # fmt: skip
def test_transformer(library, config):
    Fixture(library, {"family": "transformer"} | config).assert_as_exact(ByModules)


def test_the_benchmarks_transformer(library):
    """bench/torch_models.py, which libattn_nn's speed is compared with, is the same model."""
    fixture = Fixture(library, {"family": "transformer"})
    fixture.assert_as_exact(torch_models.Transformer)


RECURRENT = {
    "none": {"look": "none"},
    "dot": {"look": "dot"},
    "general": {"look": "general"},
    "concat": {"look": "concat"},
    "additive": {"look": "additive"},
    "multi head": {"look": "multi_head"},
    "additive, gru": {"look": "additive", "cell": "gru"},
    "none, gru": {"look": "none", "cell": "gru"},
    "additive, not fed": {"look": "additive", "no_input_feeding": True},
    "dot, untied": {"look": "dot", "untied": True},
    "additive, one layer": {"look": "additive", "encoder_layers": 1, "decoder_layers": 1},
}


@pytest.mark.parametrize("config", RECURRENT.values(),
                         ids=[n.replace(" ", "_") for n in RECURRENT])  # fmt: skip
def test_recurrent_model(library, config):
    Fixture(library, {"family": "recurrent"} | config).assert_as_exact(torch_models.Recurrent)


@pytest.mark.parametrize("config", ({"family": "transformer"},
                                    {"family": "recurrent", "look": "additive"}),
                         ids=lambda config: config["family"])  # fmt: skip
def test_the_bound_notices_wrong_weights(library, config):
    """One parameter at a time, off by a part in 1000: the loss's own bound may hide that, but not all of
    the gradients'."""
    make = torch_models.Recurrent if "look" in config else torch_models.Transformer
    fixture = Fixture(library, config)
    peer, exact = fixture.theirs(make)
    values = libattn_nn.named(fixture.model.layout, fixture.walk.values)
    for name, array in values.items():
        array *= np.float32(1.001)
        found = shares(fixture.ours(), peer, exact, fixture.terms())
        array[...] = fixture.start[name]
        assert max(found.values()) > 1, f"{name}: {found}"

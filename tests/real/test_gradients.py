"""Gradients of libattn beside what PyTorch's autograd finds for the same problem.

    ATTN_BIN=build/attn python -m pytest tests/real/test_gradients.py

needs what tests/requirements_torch.txt pins; `./check gradients` makes such a Python. The problems, in
float64 and float32, are written as PyTorch programs below; plain ones also come from
scaled_dot_product_attention. How far an element may be off is derived in autograd.py, for that very
problem: libattn may be off by that bound in its type, and autograd by the same in float64.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch here: ./check gradients runs this with it")

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(Path(__file__).parent)]

import libattn
from autograd import BATCH, D, D_VALUE, HEADS, HIDDEN, N_KEY, N_QUERY, Case
from autograd import bounds, gradients, per_head

LIBRARY = Path(os.environ.get("ATTN_BIN", ROOT / "build" / "attn")).with_name("libattn.so")
DTYPES = (np.float64, np.float32)
TYPE_IDS = ("float64", "float32")
NUMBER = (1, 1, 1, 1)
DROPOUT, SEED = 0.25, 0x123456789ABCDEF

# --- Scores, as programs over the operations o of Exact or Sizes ------------------------------------


def product(t):
    return t["query"] @ per_head(t["key"]).mT


def dot(o, t):
    return product(t) * D**-0.5


def scaled(o, t):
    """With everything that dot products may have."""
    s = product(t) * t["scale"] * t["scales"]
    s = t["softcap"] * o.tanh(o.over(s, t["softcap"]))
    return o.over(s + t["bias"], t["temperature"])


def capped(o, t):
    return t["softcap"] * o.tanh(o.over(dot(o, t), t["softcap"]))


def biased(o, t):
    return dot(o, t) + t["bias"]


def alibi(o, t):
    distance = (torch.arange(N_QUERY)[:, None] - torch.arange(N_KEY)).abs()
    return o.minus(dot(o, t), t["alibi_slopes"] * distance)


def general(o, t):
    return t["query"] @ t["weight"] @ per_head(t["key"]).mT


def additive(o, t):
    pairs = t["query"][:, :, :, None] + per_head(t["key"])[:, :, None] + t["offset"][:, :, None]
    return (o.tanh(pairs) * t["weight"][:, :, None]).sum(-1)


def concat(o, t):
    of_query, of_key = t["projection"].mT.split((D, D), dim=-2)
    query, key = t["query"] @ of_query, per_head(t["key"]) @ of_key
    return additive(o, t | {"query": query, "key": key})


def cosine(o, t):
    return o.unit(t["query"]) @ per_head(o.unit(t["key"])).mT * t["scales"]


def gaussian(o, t):
    square = (o.minus(t["query"][:, :, :, None], per_head(t["key"])[:, :, None]) ** 2).sum(-1)
    return o.minus(torch.zeros(()), square * t["scale"])


def shaw(o, t):
    table = t["relative_keys"][0][:, ENTRIES["shaw"]]
    relative = (t["query"].unsqueeze(-2) @ table.mT).squeeze(-2)
    return (product(t) + relative) * D**-0.5


def t5(o, t):
    return dot(o, t) + t["relative_bias"][0, :, 0][:, ENTRIES["t5"]]


def shifted(o, t):
    return dot(o, t) + t["sigmoid_bias"]


# --- What attn.h says of tables and of noise ---------------------------------------------------------

TABLE, BUCKETS, FURTHEST = 31, 32, 128


def t5_entries(offset):
    """Raffel et al. 2020, as attn.h has it: n = BUCKETS, bidirectional."""
    m, size = BUCKETS // 2, np.abs(offset)
    half = m // 2
    logarithm = np.log(np.maximum(size, 1) / half) / np.log(FURTHEST / half)
    long = np.minimum(half + np.floor(logarithm * (m - half)), m - 1)
    return torch.from_numpy(np.where(offset > 0, m, 0) + np.where(size < half, size, long)).long()


OFFSET = np.arange(N_KEY) - np.arange(N_QUERY)[:, None]
ENTRIES = {
    "shaw": torch.from_numpy(np.clip(OFFSET + TABLE // 2, 0, TABLE - 1)),
    "t5": t5_entries(OFFSET),
}


def threefry(key, counter):
    """Threefry-2x32 of 20 rounds (Salmon et al. 2011): pairs of arrays of 32-bit words."""
    words = [np.asarray(x, np.uint32) for x in (*key, key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))]
    a, b = counter[0] + words[0], counter[1] + words[1]
    for r, turn in enumerate((13, 15, 26, 6, 17, 29, 16, 24) * 3):
        if r == 20:
            return a, b
        a = a + b
        b = (b << np.uint32(turn) | b >> np.uint32(32 - turn)) ^ a
        if r % 4 == 3:
            group = r // 4 + 1
            a = a + words[group % 3]
            b = b + words[(group + 1) % 3] + np.uint32(group)


def kept(seed, p):
    """Which weights dropout keeps: u(a) > p, [batch, heads, n_query, n_key]."""
    sequence, head, query, key = np.indices((BATCH, HEADS, N_QUERY, N_KEY), dtype=np.uint32)
    of_seed = np.array([seed & 0xFFFFFFFF]), np.array([seed >> 32])
    of_head = threefry([x.astype(np.uint32) for x in of_seed], (sequence, head))
    word, _ = threefry(of_head, (query, key))
    return torch.from_numpy((word >> np.uint32(9)) * 2.0**-23 + 2.0**-24 > p)


# --- Cases -------------------------------------------------------------------------------------------


def sdpa(causal=False):
    """PyTorch's own function, its output alone."""

    def output(t):
        return torch.nn.functional.scaled_dot_product_attention(
            t["query"], t["key"], t["value"], t.get("bias"), is_causal=causal, enable_gqa=True
        )

    return output


PER_HEAD = (1, HEADS, 1, 1)
EVERYTHING = ("output", "lse", "weights", "received_sum", "entropy")
ADDITIVE = {"weight": (1, HEADS, 1, D), "offset": (1, 1, 1, D)}
CONCAT = {"weight": (1, 1, 1, HIDDEN), "offset": (1, HEADS, 1, HIDDEN),
          "projection": (1, HEADS, HIDDEN, 2 * D)}  # fmt: skip
SCALED = {"scale": NUMBER, "scales": PER_HEAD, "softcap": NUMBER, "temperature": NUMBER,
          "bias": (BATCH, 1, N_QUERY, N_KEY)}  # fmt: skip
SHAW = {"relative_keys": (1, HEADS, TABLE, D), "relative_values": (1, 1, TABLE, D_VALUE)}
POSITIVE = {"scale": (0.2, 0.4), "scales": (0.5, 2), "softcap": (2, 4), "temperature": (0.7, 1.5)}
SMALL = {"weight": (-0.5, 0.5), "projection": (-0.2, 0.2)}

CASES = (
    Case("sdpa", dot, framework=sdpa()),
    Case("sdpa causal", dot, causal=True, framework=sdpa(causal=True)),
    Case("sdpa bias of keys", biased, framework=sdpa(), inputs={"bias": (BATCH, 1, 1, N_KEY)}),
    Case("sdpa bias of heads", biased, framework=sdpa(),
         inputs={"bias": (1, HEADS, N_QUERY, N_KEY)}),
    Case("one number of bias a query", biased, inputs={"bias": (1, HEADS, N_QUERY, 1)},
         normalizer="sigmoid"),
    Case("into output and lse", dot, results=("output", "lse"), causal=True),
    Case("into weights", dot, results=("weights",)),
    Case("into received sums", dot, results=("output", "received_sum"), causal=True),
    Case("into entropy", dot, results=("entropy",)),
    Case("into everything", dot, results=EVERYTHING),
    Case("scales, cap, bias, temperature", scaled, inputs=SCALED, ranges=POSITIVE, causal=True),
    Case("soft cap", capped, inputs={"softcap": NUMBER}, ranges=POSITIVE),
    Case("sinks", dot, inputs={"sinks": PER_HEAD}, causal=True, results=("output", "lse")),
    Case("slopes", alibi, inputs={"alibi_slopes": PER_HEAD}, causal=True,
         ranges={"alibi_slopes": (0.01, 0.3)}),
    Case("general", general, "general", inputs={"weight": (1, HEADS, D, D)}, ranges=SMALL),
    Case("additive", additive, "additive", inputs=ADDITIVE),
    Case("additive, coverage", additive, "additive", inputs=ADDITIVE, causal=True,
         results=("output", "received_sum")),
    Case("concat", concat, "concat", inputs=CONCAT, ranges=SMALL),
    Case("cosine", cosine, "cosine", inputs={"scales": PER_HEAD}, ranges={"scales": (1, 10)}),
    Case("gaussian", gaussian, "gaussian", inputs={"scale": NUMBER}, ranges={"scale": (0.05, 0.1)}),
    Case("shaw", shaw, inputs=SHAW, entries=ENTRIES["shaw"]),
    Case("t5", t5, inputs={"relative_bias": (1, HEADS, 1, BUCKETS)}, relative={"buckets": 1}),
    Case("sigmoid", shifted, inputs={"sigmoid_bias": NUMBER}, normalizer="sigmoid",
         ranges={"sigmoid_bias": (-4, -3)}),
    Case("sparsemax", dot, normalizer="sparsemax", causal=True),
    Case("entmax", dot, normalizer="entmax", causal=True, results=("output", "weights")),
    Case("entmax additive", additive, "additive", inputs=ADDITIVE, normalizer="entmax"),
    Case("dropout", dot, keep=kept(SEED, DROPOUT), dropout=DROPOUT, results=("output", "weights")),
    Case("dropout of sigmoid", shifted, inputs={"sigmoid_bias": NUMBER}, normalizer="sigmoid",
         ranges={"sigmoid_bias": (-4, -3)}, keep=kept(SEED, DROPOUT), dropout=DROPOUT),
)  # fmt: skip

# --- The same for libattn ----------------------------------------------------------------------------


def without(prefix, inputs):
    return {name.removeprefix(prefix): x for name, x in inputs.items() if name.startswith(prefix)}


def scores(case, inputs):
    """attn_score of a case's inputs, which have the names of attn_input_gradients."""
    tensors = ("bias", "alibi_slopes", "sinks", "scales", "weight", "projection", "offset")
    fields = {name: inputs[name] for name in tensors if name in inputs}
    fields |= {name: inputs[name].item() for name in ("scale", "softcap") if name in inputs}
    if table := without("relative_", inputs):
        fields["relative"] = libattn.relative(**table, **case.relative)
    return libattn.score(case.kind, **fields)


def problem(case, inputs, **results):
    normalizer = {"dropout": case.dropout, "seed": SEED}
    numbers = {"temperature": "temperature", "sigmoid_bias": "bias"}
    normalizer |= {numbers[name]: inputs[name].item() for name in numbers if name in inputs}
    return libattn.problem(
        inputs["query"], inputs["key"], inputs["value"], score=scores(case, inputs),
        normalizer=libattn.normalizer(case.normalizer, **normalizer),
        mask=libattn.fill(libattn.Mask(), {"causal": case.causal}), **results,
    )  # fmt: skip


def computed(case, inputs, flows, reference=False):
    """By libattn, forward and backward, as arrays by name; or by its reference."""
    library = libattn.Library(LIBRARY)
    context = library.context()
    rows, dtype = (BATCH, HEADS, N_QUERY), inputs["query"].dtype
    results = {"output": np.empty((*rows, D_VALUE), dtype)}
    if case.normalizer == "softmax":
        results["lse"] = np.empty((*rows, 1), dtype)
    p = problem(case, inputs, **results)
    found = {name: np.full(x.shape, np.nan, dtype) for name, x in inputs.items()}
    from_results, to_inputs = libattn.result_gradients(**flows), libattn.input_gradients(**found)
    if reference:
        library.reference_backward(p, from_results, to_inputs)
    else:
        context.forward(p)
        context.backward(p, from_results, to_inputs)
    return found


def shares(got, expected, bound):
    """The largest |got - expected| / bound of each gradient; NaN for a NaN, which no test passes."""
    assert got.keys() == expected.keys() == bound.keys()
    return {name: np.max(np.abs(got[name].astype(np.float64) - expected[name]) / bound[name])
            for name in got}  # fmt: skip


def slack(case, inputs, flows, dtype):
    """The bound on what is computed in dtype, and on autograd's own float64."""
    own, framework = (bounds(case, inputs, flows, d) for d in (dtype, np.float64))
    return {name: own[name] + framework[name] for name in own}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name.replace(" ", "_"))
def case(request):
    return request.param


@pytest.mark.parametrize("dtype", DTYPES, ids=TYPE_IDS)
def test_matches_autograd(case, dtype):
    inputs, flows = case.draw(dtype), case.flows_in(dtype)
    got, expected = computed(case, inputs, flows), gradients(case, inputs, flows)
    share = shares(got, expected, slack(case, inputs, flows, dtype))
    assert all(x <= 1 for x in share.values()), share


def test_the_reference_matches_autograd(case):
    inputs, flows = case.draw(np.float64), case.flows_in(np.float64)
    got, expected = computed(case, inputs, flows, True), gradients(case, inputs, flows)
    share = shares(got, expected, slack(case, inputs, flows, np.float64))
    assert all(x <= 1 for x in share.values()), share


def test_the_framework_keeps_the_bound(case):
    """The bound speaks of any correct float32 computation: autograd's is one."""
    inputs, flows = case.draw(np.float32), case.flows_in(np.float32)
    got, expected = (gradients(case, inputs, flows, t) for t in (torch.float32, torch.float64))
    share = shares(got, expected, slack(case, inputs, flows, np.float32))
    assert all(x <= 1 for x in share.values()), share


def test_the_bound_notices_wrong_inputs(case):
    """Numbers that are off by one part in 10 000 must break every bound in float64."""
    inputs, flows = case.draw(np.float64), case.flows_in(np.float64)
    expected, bound = gradients(case, inputs, flows), slack(case, inputs, flows, np.float64)
    random, wrong = np.random.default_rng(9), dict(inputs)
    for name in ("query", "key", "value"):
        wrong[name] = inputs[name] * (1 + 1e-4 * random.standard_normal(inputs[name].shape))
    for name, share in shares(computed(case, wrong, flows), expected, bound).items():
        assert share > 1 or not np.any(expected[name]), f"{name}: {share}"

"""attn.torch beside PyTorch's own attention: functions, gradients, compilers, layers."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import attn  # noqa: E402
import attn.torch  # noqa: E402
import bounds  # noqa: E402
from torch.nn import functional as F  # noqa: E402

sdpa = attn.torch.scaled_dot_product_attention


def normal(*shape, dtype=torch.float32, seed=0, grad=False):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    made = torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
    return made.requires_grad_(grad)


# --- The grid -----------------------------------------------------------------------------------

SIZES = [(1, 1, 8), (1, 70, 64), (7, 9, 8), (64, 64, 64), (65, 130, 72), (130, 33, 40)]
HEADS = [(2, 2), (4, 2), (6, 1)]
TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
MASKS = ["none", "causal", "boolean", "padding", "bias", "bias of heads"]
LAYOUTS = ["dense", "heads last", "expanded"]
GRID = list(itertools.product(SIZES, HEADS, TYPES, MASKS))


def mask_of(kind, n, m, heads, dtype):
    """What scaled_dot_product_attention takes: no row is without a key that it sees, where PyTorch
    gives NaN."""
    if kind == "boolean":
        mask = normal(2, 1, n, m, seed=5) > 0
        mask[..., 0] = True
        return mask
    if kind == "padding":
        return (torch.arange(m) < torch.tensor([m, max(1, m // 2)])[:, None])[:, None, None]
    if kind == "bias":
        return normal(n, m, seed=6, dtype=dtype)
    if kind == "bias of heads":
        return normal(1, heads, n, m, seed=7, dtype=dtype)
    return None


def arranged(tensor, layout):
    if layout == "heads last":
        return tensor.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "expanded":
        return tensor[:1].expand_as(tensor)
    return tensor


@pytest.mark.parametrize("size,heads,dtype,kind", GRID, ids=lambda v: str(v).replace("torch.", ""))
def test_grid(size, heads, dtype, kind):
    """Beside the formula in float64 (PyTorch's "eager") within the bound of the type computed in, and
    beside sdpa within that bound and its own, for inputs rounded to the type."""
    (n, m, d), (many, few) = size, heads
    layout = LAYOUTS[(n + m + many) % 3]
    q, k, v = (
        arranged(normal(2, h, length, d, dtype=dtype, seed=s), layout)
        for s, (h, length) in enumerate([(many, n), (few, m), (few, m)])
    )
    mask = mask_of(kind, n, m, many, dtype)
    causal = kind == "causal"
    output, weights = sdpa(q, k, v, mask, is_causal=causal, return_weights=True)
    assert output.dtype == weights.dtype == dtype and weights.shape == (2, many, n, m)

    computed = torch.float64 if dtype == torch.float64 else torch.float32
    of_weights, of_output, w, o = expected(q, k, v, mask, causal, computed)
    rounding = 0 if computed == dtype else torch.finfo(dtype).eps / 2
    tiny = torch.finfo(dtype).tiny
    assert_within(weights, w, of_weights + rounding * np.abs(w) + tiny)
    assert_within(output, o, of_output + rounding * np.abs(o) + tiny)

    theirs = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=True)
    _, of_theirs, *_ = expected(q, k, v, mask, causal, dtype)
    assert_within(
        output, theirs.double().numpy(), of_output + of_theirs + 2 * rounding * np.abs(o) + 2 * tiny
    )


def expected(q, k, v, mask, causal, dtype):
    """(bound of the weights, of the output, weights, output) of the formula."""
    groups = q.shape[1] // k.shape[1]
    q, k, v = (t.double().numpy() for t in (q, k, v))
    k, v = k.repeat(groups, 1), v.repeat(groups, 1)
    bias = None if mask is None or mask.dtype == torch.bool else mask.double().numpy()
    visible = np.tri(q.shape[-2], k.shape[-2], dtype=bool) if causal else None
    if mask is not None and mask.dtype == torch.bool:
        visible = mask.numpy()
    scores, w, o, sizes = bounds.exact(q, k, v, bias=bias, visible=visible)
    # NumPy has no bfloat16: its spacing is 2^16 times float32's.
    factor, numpy_type = (
        1,
        np.dtype(str(dtype).removeprefix("torch.").replace("bfloat16", "float32")),
    )
    if dtype == torch.bfloat16:
        factor = 2**16
    of_weights, of_output = bounds.errors(q, v, scores, w, sizes, numpy_type)
    return factor * of_weights, factor * of_output, w, o


def assert_within(tensor, values, bound):
    assert (np.abs(tensor.double().numpy() - values) <= bound).all()


# --- The drop-in's corners ----------------------------------------------------------------------


def test_shapes_that_sdpa_takes():
    q, k, v = normal(5, 7, 8), normal(5, 9, 8, seed=1), normal(5, 9, 4, seed=2)
    for lead in [(5,), (5, 1), (1, 5), (1, 5, 1)]:
        a, b, c = (t.reshape(*lead, *t.shape[1:]) for t in (q, k, v))
        output, weights = sdpa(a, b, c, return_weights=True)
        assert output.shape == (*lead, 7, 4) and weights.shape == (*lead, 7, 9)
        torch.testing.assert_close(output, F.scaled_dot_product_attention(a, b, c))
    # Batches of one for many, a mask for each, and more leading dimensions than two.
    q, k = normal(3, 2, 4, 7, 8), normal(1, 1, 4, 9, 8)
    mask = normal(3, 2, 1, 7, 9) > -1
    mask[..., 0] = True
    output, views = sdpa(q, k, k, mask, views=["weights", "entropy"])
    wanted = F.scaled_dot_product_attention(
        q, k.expand(3, 2, -1, -1, -1), k.expand(3, 2, -1, -1, -1), mask
    )
    torch.testing.assert_close(output, wanted)
    assert views.weights.shape == (3, 2, 4, 7, 9) and views.entropy.shape == (3, 2, 4, 7)


def test_a_query_that_sees_nothing_gets_nothing():
    q = normal(1, 1, 3, 4)
    mask = torch.tensor([[True, True, True], [False, False, False], [True, False, False]])
    output, weights = sdpa(q, q, q, mask, return_weights=True)
    assert not output[0, 0, 1].any() and not weights[0, 0, 1].any()


def test_options_of_the_library():
    q = normal(2, 4, 20, 16)
    a = sdpa(q, q, q, window=(3, 0), softcap=2.0, sinks=normal(4), alignment="bottom-right")
    b = attn.attention(*[q.numpy()] * 3, window=(3, 0), softcap=2.0, sinks=normal(4).numpy(),
                       alignment="bottom-right")  # fmt: skip
    np.testing.assert_array_equal(a.numpy(), b)


def test_dropout_draws_from_pytorch():
    q = normal(1, 2, 30, 8)
    torch.manual_seed(3)
    a, w = sdpa(q, q, q, dropout_p=0.5, return_weights=True)
    b = sdpa(q, q, q, dropout_p=0.5)
    torch.manual_seed(3)
    c = sdpa(q, q, q, dropout_p=0.5)
    assert torch.equal(a, c) and not torch.equal(a, b)
    # 1800 weights, each 0 with probability 1/2: within 6 deviations of 900.
    assert abs((w == 0).sum().item() - 900) < 6 * 1800**0.5 / 2


ERRORS = [
    (lambda q: sdpa(q, q, q.numpy()), TypeError, "value is a ndarray: expected a torch.Tensor"),
    (lambda q: sdpa(q, q, q.long()), TypeError, "value has the type torch.int64"),
    (lambda q: sdpa(q, q, q[..., :3, :]), ValueError, r"value.shape\[-2\] is 3"),
    (lambda q: sdpa(q, q, q, q[..., :2]), ValueError, r"bias.shape\[-1\] is 2"),
    (lambda q: sdpa(q, q, q, mask=q), TypeError, "mask has the type torch.float32: expected torch.bool"),
    (lambda q: sdpa(q, q, q, q[..., :5] > 0, mask=q > 0), ValueError, "attn_mask and mask"),
    (lambda q: sdpa(q, q, q, return_weights=True, views="lse"), ValueError, "return_weights and views"),
    (lambda q: sdpa(q, q, q, score_callback=print), NotImplementedError, "score_callback"),
    (lambda q: sdpa(q, q, q, scale=torch.tensor(1.0)), TypeError, "scale is a tensor"),
]  # fmt: skip


@pytest.mark.parametrize("call,error,message", ERRORS, ids=[m for _, _, m in ERRORS])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(normal(1, 2, 5, 8))


# --- Gradients ----------------------------------------------------------------------------------


def double(*shape, seed=0):
    return normal(*shape, dtype=torch.float64, seed=seed, grad=True)


LENGTHS = torch.tensor([5, 3])
GRADIENTS = {
    "plain": {},
    "causal": {"causal": True},
    "bias": {"bias": double(2, 1, 4, 5)},
    "bias of all": {"bias": double(5)},
    "slopes": {"alibi_slopes": double(2)},
    "sinks": {"sinks": double(2)},
    "scales": {"scales": double(2)},
    "soft cap, temperature": {"softcap": 1.5, "temperature": 0.7},
    "lengths": {"key_lengths": LENGTHS},
    "general": {"score": "general", "weight": double(3, 3)},
    "general, heads": {"score": "general", "weight": double(2, 3, 3)},
    "additive": {"score": "additive", "weight": double(3), "offset": double(2, 3)},
    "concat": {"score": "concat", "weight": double(4), "projection": double(4, 6)},
    "cosine": {"score": "cosine"},
    "gaussian": {"score": "gaussian"},
    "location": {"score": "location", "weight": double(5, 3)},
    "relative": {
        "relative": attn.Relative(keys=double(4, 3), values=double(4, 3), bias=double(2, 4))
    },
    "location-aware": {
        "score": "additive",
        "weight": double(3),
        "location": attn.Location(double(2, 2, 1, 5), double(2, 3), double(3, 2)),
    },
    "dropout": {"dropout": 0.3, "seed": 5},
    "sigmoid": {"normalizer": "sigmoid"},
    "sparsemax": {"normalizer": "sparsemax"},
    "entmax": {"normalizer": "entmax"},
    "local": {"local": attn.Local(2.0, centers=double(2, 2, 4))},
}


def leaves(value):
    if isinstance(value, torch.Tensor):
        return [value] if value.requires_grad else []
    if hasattr(value, "__dataclass_fields__"):
        return [t for name in value.__dataclass_fields__ for t in leaves(getattr(value, name))]
    return []


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("through", ["output", "weights", "received_sum", "entropy", "lse"])
def test_gradcheck(name, through):
    """Every floating input, through every result that has a gradient, against differences."""
    options = GRADIENTS[name]
    if through == "lse" and "normalizer" in options:
        pytest.skip("only a softmax has a log-sum-exp")
    if through == "entropy" and name in ("sparsemax", "entmax"):
        pytest.skip("the entropy of a weight that leaves 0 has no derivative there")
    if through == "entropy" and name == "dropout":
        pytest.skip("differences see no weights of 0")
    q, k, v = double(2, 2, 4, 3), double(2, 2, 5, 3, seed=1), double(2, 2, 5, 3, seed=2)
    inputs = [q, k, v] + [leaf for option in options.values() for leaf in leaves(option)]

    def function(*_):  # gradcheck changes the inputs in place
        if through == "output":
            return attn.torch.attention(q, k, v, **options)
        return attn.torch.attention(q, k, v, views=through, **options)[1]

    assert torch.autograd.gradcheck(function, inputs)


def test_gradients_in_float32_are_the_librarys():
    """Those of the C library, to the bit; its bounds are tested in C."""
    q, k, v = (normal(2, 4, 30, 16, seed=s, grad=True) for s in range(3))
    output = sdpa(q, k, v, is_causal=True)
    flowing = normal(2, 4, 30, 16, seed=9)
    output.backward(flowing)
    _, lse = attn.attention(*(t.detach().numpy() for t in (q, k, v)), causal=True, views="lse")
    found = {f"d_{n}": np.empty((2, 4, 30, 16), np.float32) for n in ("query", "key", "value")}
    attn._core.backward(
        {"query": q.detach(), "key": k.detach(), "value": v.detach(), "causal": True, "lse": lse,
         "output": output.detach(), "d_output": flowing, **found},
        attn.Context(),
    )  # fmt: skip
    for tensor, gradient in zip((q, k, v), found.values()):
        np.testing.assert_array_equal(tensor.grad.numpy(), gradient)


def test_gradients_of_chosen_heads_and_half_types():
    q = normal(1, 4, 6, 8, dtype=torch.float64, grad=True)
    weights = attn.torch.attention(q, q, q, views="weights", heads=[1, 3])[1]
    all_heads = attn.torch.attention(q, q, q, views="weights")[1]
    g = normal(1, 2, 6, 6, dtype=torch.float64)
    (a,) = torch.autograd.grad(weights, q, g)
    (b,) = torch.autograd.grad(all_heads[:, [1, 3]], q, g)
    assert torch.equal(a, b)
    half = normal(1, 4, 6, 8, dtype=torch.bfloat16, grad=True)
    sdpa(half, half, half).sum().backward()
    assert half.grad.dtype == torch.bfloat16 and half.grad.abs().sum() > 0


def test_views_without_gradients():
    q = normal(1, 2, 6, 8, grad=True)
    _, views = attn.torch.attention(q, q, q, views={"weights": "uint8", "span": True, "lse": True})
    assert not views.weights.requires_grad and not views.span.requires_grad
    assert views.lse.requires_grad


def test_second_derivatives_are_refused():
    q = double(1, 1, 3, 2)
    (gradient,) = torch.autograd.grad(sdpa(q, q, q).sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="first derivatives alone"):
        gradient.sum().backward()


# --- Compilers and modes ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_operator_keeps_pytorchs_rules():
    q, k, v = (normal(2, 2, 4, 8, seed=s, grad=True) for s in range(3))
    torch.library.opcheck(
        torch.ops.attn.forward.default,
        ([q, k, v], ["query", "key", "value"], [1], ["causal"], [0.5], ["scale"],
         ["output:float32:4", "lse:float32:3"], [2, 2, 4, 8, 2, 2, 4]),
    )  # fmt: skip


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.projection = torch.nn.Linear(16, 48)

    def forward(self, x):
        q, k, v = self.projection(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        output, views = sdpa(q, k, v, is_causal=True, views=["weights", "received_sum"])
        return output, views.weights, views.received_sum


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(dynamic):
    torch._dynamo.reset()
    block = Block()
    compiled = torch.compile(block, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for n in (5, 9):
        x = normal(3, n, 16)
        for a, b in zip(block(x), compiled(x)):
            torch.testing.assert_close(a, b)
        gradients = [torch.autograd.grad(sum(r.pow(2).sum() for r in f(x)), block.projection.weight)[0]
                     for f in (block, compiled)]  # fmt: skip
        torch.testing.assert_close(*gradients)


def test_export():
    block = Block().eval()
    x = normal(3, 5, 16)
    n = torch.export.Dim("n", min=2)
    exported = torch.export.export(block, (x,), dynamic_shapes=({1: n},)).module()
    for length in (5, 11):
        x = normal(3, length, 16)
        for a, b in zip(block(x), exported(x)):
            torch.testing.assert_close(a, b)


def test_autocast():
    block = Block()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, weights, received = block(normal(3, 5, 16))
    assert output.dtype == weights.dtype == torch.bfloat16 and received.dtype == torch.float32


def test_transforms_that_see_operators():
    from torch.utils.flop_counter import FlopCounterMode

    q = normal(1, 2, 6, 8)
    with FlopCounterMode(display=False):
        torch.testing.assert_close(sdpa(q, q, q), F.scaled_dot_product_attention(q, q, q))
    with torch.device("meta"):
        shape = sdpa(*(torch.empty(1, 2, 6, 8) for _ in range(3))).shape
    assert shape == (1, 2, 6, 8)


def test_threads_are_pytorchs():
    q = normal(1, 8, 300, 64)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(sdpa(q, q, q))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], r) for r in results)
    # The very library that PyTorch's own regions run on, so that there is one team of threads.
    assert attn._core.runtime().startswith(("libgomp", "libiomp5", "libomp"))
    with open("/proc/self/maps") as maps:
        loaded = {line.split("/")[-1].strip() for line in maps if "gomp" in line or "omp5" in line}
    assert attn._core.runtime() in loaded


# --- Layers -------------------------------------------------------------------------------------

MULTIHEAD = {
    "plain": ({}, {}),
    "batch first": ({"batch_first": True}, {}),
    "no bias": ({"bias": False}, {}),
    "other widths": ({"kdim": 6, "vdim": 10}, {}),
    "bias_k": ({"add_bias_kv": True}, {}),
    "zero attention": ({"add_zero_attn": True}, {}),
    "both": ({"add_bias_kv": True, "add_zero_attn": True}, {}),
    "each head": ({}, {"average_attn_weights": False}),
    "no weights": ({}, {"need_weights": False}),
    "padding": ({}, {"key_padding_mask": torch.arange(7) >= torch.tensor([[7], [4], [2]])}),
    "padding, numbers": ({}, {"key_padding_mask": normal(3, 7)}),
    "mask": ({}, {"attn_mask": torch.ones(5, 7, dtype=torch.bool).triu(1)}),
    "mask of heads": ({}, {"attn_mask": normal(12, 5, 7)}),
    "both masks": (
        {"add_bias_kv": True},
        {
            "attn_mask": torch.ones(5, 7, dtype=torch.bool).triu(2),
            "key_padding_mask": torch.arange(7) >= torch.tensor([[7], [4], [2]]),
        },
    ),
}


@pytest.mark.parametrize("name", MULTIHEAD)
@pytest.mark.parametrize("gradients", [False, True])
def test_multihead_attention(name, gradients):
    made, called = MULTIHEAD[name]
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(16, 4, **made)
    ours = attn.torch.MultiheadAttention(16, 4, **made)
    ours.load_state_dict(theirs.state_dict())
    query = normal(5, 3, 16)
    key, value = normal(7, 3, made.get("kdim", 16)), normal(7, 3, made.get("vdim", 16), seed=1)
    if made.get("batch_first"):
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
    with torch.set_grad_enabled(gradients):
        a, b = ours(query, key, value, **called), theirs(query, key, value, **called)
    for mine, other in zip(a, b):
        assert (mine is None) == (other is None)
        if mine is not None:
            torch.testing.assert_close(mine, other)
    if gradients:
        for results in (a, b):
            sum(r.pow(2).sum() for r in results if r is not None).backward()
        for (n, p), other in zip(ours.named_parameters(), theirs.parameters()):
            torch.testing.assert_close(p.grad, other.grad, msg=n)


def test_multihead_attention_without_a_batch_and_causal():
    torch.manual_seed(0)
    theirs, ours = torch.nn.MultiheadAttention(16, 4), attn.torch.MultiheadAttention(16, 4)
    ours.load_state_dict(theirs.state_dict())
    x = normal(5, 16)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5)
    for a, b in zip(ours(x, x, x, is_causal=True), theirs(x, x, x, attn_mask=mask, is_causal=True)):
        torch.testing.assert_close(a, b)


def test_layers_in_a_transformer():
    """The layer takes the place of PyTorch's inside its encoder."""
    torch.manual_seed(0)
    encoder = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.0).train()
    x = normal(2, 5, 16)
    wanted = encoder(x)
    layer = attn.torch.MultiheadAttention(16, 4, batch_first=True)
    layer.load_state_dict(encoder.self_attn.state_dict())
    encoder.self_attn = layer
    torch.testing.assert_close(encoder(x), wanted)


def test_additive_attention():
    torch.manual_seed(0)
    layer = attn.torch.AdditiveAttention(6, 5, 8)
    torch.nn.init.normal_(layer.offset)
    query, key, value = normal(2, 3, 6), normal(2, 4, 5), normal(2, 4, 7)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])[:, None]
    output, weights = layer(query, key, value, mask=mask)
    hidden = torch.tanh(
        layer.query_projection(query)[:, :, None]
        + layer.key_projection(key)[:, None]
        + layer.offset
    )
    scores = (hidden @ layer.weight).masked_fill(~mask, -torch.inf)
    wanted = scores.softmax(-1)
    torch.testing.assert_close(weights, wanted)
    torch.testing.assert_close(output, wanted @ value)
    again = layer(query, key, value, key_lengths=torch.tensor([4, 2]))
    torch.testing.assert_close(again[0], output)
    assert layer(query, key)[0].shape == (2, 3, 5)

"""attn_nn_recurrent beside PyTorch's nn.LSTM and nn.GRU, with the same weights.

    ATTN_BIN=build/attn python -m pytest tests/real/test_recurrent.py

needs what tests/requirements_torch.txt pins, and libattn_nn beside the command. PyTorch computes in
float64, the library in float32. How far each number of it may then be off is what the same formulas give
in numbers that carry their rounding (rounded.py); their values must be PyTorch's own.
"""

import ctypes as c
import os
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch here: ./check gradients runs this with it")

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(Path(__file__).parent)]
from libattn_nn import Layout, Parameter, Pass, Recurrent, Sentences
from libattn_nn import RecurrentSaved as Saved
from rounded import ONE, Rounded, beside, rows, sigmoid, tanh

LIBRARY = Path(os.environ.get("ATTN_BIN", ROOT / "build" / "attn")).with_name("libattn_nn.so")
if not LIBRARY.exists():
    pytest.skip(f"{LIBRARY} is not built", allow_module_level=True)

IN, HIDDEN = 20, 17
LENGTHS = (3, 6, 0, 1, 6, 4)
STARTS = np.concatenate([[0], np.cumsum(LENGTHS)])
ROWS, COUNT = int(STARTS[-1]), len(LENGTHS)
KINDS = {"lstm": (0, 4, torch.nn.LSTM), "gru": (1, 3, torch.nn.GRU)}

# --- The library ---------------------------------------------------------------------------------------


def pointer(array):
    return array.ctypes.data if array is not None else None


@pytest.fixture(scope="module")
def library():
    lib = c.CDLL(str(LIBRARY))
    lib.attn_nn_recurrent_make.restype = Recurrent
    lib.attn_nn_layout_find.restype = c.POINTER(Parameter)
    lib.attn_nn_arena_create.restype = c.c_void_p
    lib.attn_nn_recurrent_forward.restype = c.c_void_p
    lib.attn_nn_arena_destroy.argtypes = [c.c_void_p]
    lib.attn_nn_recurrent_forward.argtypes = [c.c_void_p] * 9
    lib.attn_nn_recurrent_backward.argtypes = [c.c_void_p] * 11
    return lib


def run(lib, kind, backwards, weights, given, flow):
    """The results, and gradients by name, in float32."""
    layout = Layout()
    layer = lib.attn_nn_recurrent_make(
        c.byref(layout), b"l", KINDS[kind][0], c.c_int64(IN), c.c_int64(HIDDEN), backwards
    )
    values = np.zeros(layout.size, np.float32)
    gradients = np.zeros_like(values)
    places = {}
    for name, weight in weights.items():
        p = lib.attn_nn_layout_find(c.byref(layout), f"l.{name}".encode()).contents
        places[name] = (slice(p.offset, p.offset + weight.size), weight.shape)
        values[places[name][0]] = weight.ravel()
    walk = Pass(values=pointer(values), gradients=pointer(gradients))
    walk.arena = lib.attn_nn_arena_create()
    starts = STARTS.astype(np.int64)
    sentences = Sentences(COUNT, pointer(starts), None)
    saved = Saved()
    last = {name: np.zeros((COUNT, HIDDEN), np.float32) for name in "hc"}
    y = lib.attn_nn_recurrent_forward(
        c.addressof(walk), c.addressof(layer), pointer(given["x"]), c.addressof(sentences),
        pointer(given["h0"]), pointer(given.get("c0")), pointer(last["h"]), pointer(last["c"]),
        c.addressof(saved),
    )  # fmt: skip
    assert y and walk.status == 0
    results = {"y": np.ctypeslib.as_array(c.cast(y, c.POINTER(c.c_float)), (ROWS, HIDDEN)).copy()}
    results |= {"h": last["h"]} | ({"c": last["c"]} if kind == "lstm" else {})
    found = {name: np.zeros_like(array) for name, array in given.items()}
    lib.attn_nn_recurrent_backward(
        c.addressof(walk), c.addressof(layer), pointer(given["x"]), c.addressof(sentences),
        c.addressof(saved), pointer(flow["y"]), pointer(flow["h"]), pointer(flow.get("c")),
        pointer(found["x"]), pointer(found["h0"]), pointer(found.get("c0")),
    )  # fmt: skip
    assert walk.status == 0
    lib.attn_nn_arena_destroy(walk.arena)
    lib.attn_nn_layout_free(c.byref(layout))
    for name, (place, shape) in places.items():
        found[name] = gradients[place].reshape(shape)
    return results, found


# --- PyTorch ------------------------------------------------------------------------------------------


def by_torch(kind, backwards, weights, given, flow):
    """Each sentence by itself; a reversed one as its rows the other way round."""
    module = KINDS[kind][2](IN, HIDDEN).double()
    inputs = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in given.items()}
    with torch.no_grad():
        for name, weight in weights.items():
            getattr(module, f"{name}_l0").copy_(torch.from_numpy(weight))
    y, h, cell = [], [], []
    for s, length in enumerate(LENGTHS):
        x = inputs["x"][STARTS[s] : STARTS[s + 1]]
        state = tuple(inputs[name][s][None] for name in ("h0", "c0") if name in inputs)
        if length > 0:
            out, state = module(x.flip(0) if backwards else x, state if kind == "lstm" else state[0])
            y.append(out.flip(0) if backwards else out)
            state = state if kind == "lstm" else (state,)
        h.append(state[0])
        cell.append(state[-1])
    results = {"y": torch.cat(y), "h": torch.cat(h)}
    if kind == "lstm":
        results["c"] = torch.cat(cell)
    sum((results[k] * torch.from_numpy(flow[k])).sum() for k in results).backward()
    found = {name: tensor.grad.numpy() for name, tensor in inputs.items()}
    for name in weights:
        found[name] = getattr(module, f"{name}_l0").grad.numpy()
    return {name: t.detach().numpy() for name, t in results.items()}, found


# --- The formulas, with their rounding ------------------------------------------------------------------


def parts(x):
    return [x[..., k : k + HIDDEN] for k in range(0, x.value.shape[-1], HIDDEN)]


def step(kind, w, x, h, cell):
    """The new states, and what the way back needs."""
    of_x = x @ w["weight_ih"].T + w["bias_ih"]
    of_h = h @ w["weight_hh"].T + w["bias_hh"]
    if kind == "lstm":
        i, f, g, o = parts(of_x + of_h)
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        new = f * cell + i * g
        t = tanh(new)
        return o * t, new, (i, f, g, o, t, cell, h, x)
    (rx, zx, nx), (rh, zh, nh) = parts(of_x), parts(of_h)
    r, z = sigmoid(rx + rh), sigmoid(zx + zh)
    n = tanh(nx + r * nh)
    return n + z * (h - n), cell, (r, z, n, nh, h, x)


def step_back(kind, w, kept, d_h, d_cell):
    """Gradients of x, h, the cell, and of both sums."""
    if kind == "lstm":
        i, f, g, o, t, cell, _, _ = kept
        d_new = d_cell + d_h * o * (ONE - t * t)
        sums = [d_new * g * i * (ONE - i), d_new * cell * f * (ONE - f),
                d_new * i * (ONE - g * g), d_h * t * o * (ONE - o)]  # fmt: skip
        d_x = d_state = beside(sums)
        d_old, direct = d_new * f, None
    else:
        r, z, n, nh, h, _ = kept
        d_n = d_h * (ONE - z) * (ONE - n * n)
        d_r, d_z = d_n * nh * r * (ONE - r), d_h * (h - n) * z * (ONE - z)
        d_x, d_state = beside([d_r, d_z, d_n]), beside([d_r, d_z, d_n * r])
        d_old, direct = d_cell, d_h * z
    back = d_state @ w["weight_hh"]
    return d_x @ w["weight_ih"], back + direct if direct else back, d_old, d_x, d_state


def by_formulas(kind, backwards, weights, given, flow):
    w = {name: Rounded(weight) for name, weight in weights.items()}
    zero = Rounded(np.zeros(HIDDEN))
    results = {name: [None] * n for name, n in (("y", ROWS), ("h", COUNT), ("c", COUNT))}
    found = {name: [None] * n for name, n in (("x", ROWS), ("h0", COUNT), ("c0", COUNT))}
    sums = {"x": [], "input": [], "h": [], "state": []}
    for s in range(COUNT):
        h = Rounded(given["h0"][s])
        cell = Rounded(given["c0"][s]) if kind == "lstm" else zero
        order = list(range(STARTS[s], STARTS[s + 1]))[:: -1 if backwards else 1]
        kept = {}
        for row in order:
            h, cell, kept[row] = step(kind, w, Rounded(given["x"][row]), h, cell)
            results["y"][row] = h
        results["h"][s], results["c"][s] = h, cell
        d_h, d_cell = Rounded(flow["h"][s]), Rounded(flow["c"][s]) if kind == "lstm" else zero
        for row in reversed(order):
            d_h = d_h + Rounded(flow["y"][row])
            found["x"][row], d_h, d_cell, of_x, of_h = step_back(kind, w, kept[row], d_h, d_cell)
            for name, value in zip(sums, (kept[row][-1], of_x, kept[row][-2], of_h)):
                sums[name].append(value)
        found["h0"][s], found["c0"][s] = d_h, d_cell
    x, of_x, h, of_h = (rows(sums[name]) for name in ("x", "input", "h", "state"))
    learned = {"weight_ih": of_x.T @ x, "weight_hh": of_h.T @ h}
    learned |= {"bias_ih": of_x.sum(0), "bias_hh": of_h.sum(0)}
    keep = ("y", "h", "c", "x", "h0", "c0") if kind == "lstm" else ("y", "h", "x", "h0")
    stacked = {name: rows(v) for name, v in (results | found).items() if name in keep}
    return stacked | learned


# --- Side by side -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backwards", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("kind", KINDS)
def test_beside_torch(library, kind, backwards):
    random = np.random.default_rng(11)
    width = KINDS[kind][1] * HIDDEN

    def draw(*shape, scale=1.0):
        return random.uniform(-scale, scale, shape).astype(np.float32)

    shapes = {"weight_ih": (width, IN), "weight_hh": (width, HIDDEN), "bias_ih": (width,),
              "bias_hh": (width,)}  # fmt: skip
    weights = {name: draw(*shape, scale=HIDDEN**-0.5) for name, shape in shapes.items()}
    given = {"x": draw(ROWS, IN), "h0": draw(COUNT, HIDDEN)}
    flow = {"y": draw(ROWS, HIDDEN), "h": draw(COUNT, HIDDEN)}
    if kind == "lstm":
        given["c0"], flow["c"] = draw(COUNT, HIDDEN), draw(COUNT, HIDDEN)

    ours = run(library, kind, backwards, weights, given, flow)
    theirs = by_torch(kind, backwards, weights, given, flow)
    expected = by_formulas(kind, backwards, weights, given, flow)
    ours, theirs = ours[0] | ours[1], theirs[0] | theirs[1]
    assert ours.keys() == theirs.keys() == expected.keys()
    for name, by in expected.items():
        # What float64 rounds is 2^-29 of what float32 does, in either's order.
        assert np.all(np.abs(by.value - theirs[name]) <= 2 * 2.0**-29 * by.error), name
        apart = np.abs(ours[name] - theirs[name])
        assert np.all(apart <= by.error), f"{name}: {(apart / by.error).max()} of the bound"
        # The bound says something: it is far below what a wrong term would do.
        assert by.error.max() < 0.01 * np.abs(by.value).max(), name

"""attn align, rollout and flow, against brute force on small weights."""

import numpy as np
import pytest
from oracle import excess, monotone_path
from problems import RANDOM, normal, problem, save

U = {"f4": 2.0**-24, "f8": 2.0**-53}


def layers(count, tokens, dtype="f8", lead=()):
    """Rows of weights that sum to 1, and their files."""
    arrays = RANDOM.random((count, *lead, tokens, tokens))
    arrays = (arrays / arrays.sum(-1, keepdims=True)).astype(dtype)
    return arrays, [save(f"layer{i}", a) for i, a in enumerate(arrays)]


def with_residual(weights, residual):
    n = weights.shape[-1]
    both = (1 - residual) * weights.astype(np.longdouble) + residual * np.eye(n)
    return both / both.sum(-1, keepdims=True)


# ------------------------------------------------------------------------------------------ align


def all_paths(queries, keys):
    """Every monotone path from (0, 0) to the last pair."""
    if (queries, keys) == (1, 1):
        return [[(0, 0)]]
    before = [(queries - 1, keys - 1), (queries - 1, keys), (queries, keys - 1)]
    return [p + [(queries - 1, keys - 1)] for q, k in before if q and k for p in all_paths(q, k)]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(4, 5), (5, 3), (1, 4), (4, 1)])
def test_align(works, shape, dtype):
    weights = RANDOM.random(shape).astype(dtype)
    works("align", save("w", weights), "-o", "path.npy")
    path = np.load("path.npy")
    best = max(all_paths(*shape), key=lambda p: sum(weights[i, j].astype("f8") for i, j in p))
    expected = [
        [min(j for i, j in best if i == q), max(j for i, j in best if i == q)]
        for q in range(shape[0])
    ]
    assert path.dtype == np.int32 and (path == expected).all()


def test_align_keeps_dimensions(works):
    weights = RANDOM.random((3, 1, 4, 6))
    works("align", save("w", weights), "--output", "path.npy")
    path = np.load("path.npy")
    assert path.shape == (3, 1, 4, 2)
    for b in range(3):
        collected = sum(weights[b, 0, i, f : l + 1].sum() for i, (f, l) in enumerate(path[b, 0]))
        # Nine pairs at most, each 1 at most, in another order: 9 roundings of 9 and of 9 again.
        assert abs(collected - float(monotone_path(weights[b, 0]))) <= 2 * 9 * 9 * U["f8"]


def test_align_without_keys(works):
    works("align", save("w", np.zeros((3, 0))), "-o", "path.npy")
    assert (np.load("path.npy") == -1).all() and np.load("path.npy").shape == (3, 2)


def test_align_agrees_with_the_view(works):
    _, inputs = problem()
    works("run", *inputs, "--view", "head-mean=mean.npy", "--view", "path=path.npy")
    works("align", "mean.npy", "-o", "again.npy")
    assert open("path.npy", "rb").read() == open("again.npy", "rb").read()


# ---------------------------------------------------------------------------------------- rollout


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("options, residual", [([], 0.5), (["--residual", 0.2], 0.2)])
def test_rollout(works, options, residual, dtype):
    arrays, files = layers(3, 5, dtype)
    works("rollout", *files, "-o", "r.npy", *options)
    result = np.load("r.npy")
    exact = np.eye(5, dtype=np.longdouble)
    for a in arrays:
        exact = with_residual(a, residual) @ exact
    # Three products of sums of five positive numbers, in double: 5 + 5 + 4 roundings each; then the
    # result's own.
    assert result.dtype == np.dtype(dtype) and result.shape == (5, 5)
    assert excess(result, exact, exact * (3 * 14 * U["f8"] + U[dtype])) <= 1


def test_rollout_of_a_batch(works):
    arrays, files = layers(2, 4, lead=(3, 1))
    works("rollout", *files, "-o", "r.npy")
    exact = with_residual(arrays[1], 0.5) @ with_residual(arrays[0], 0.5)
    assert np.load("r.npy").shape == (3, 1, 4, 4)
    assert excess(np.load("r.npy"), exact, exact * 29 * U["f8"]) <= 1


# ------------------------------------------------------------------------------------------- flow


def least_cut(capacities, token, source):
    """Maximum flow is the least cut: over every way to part the nodes."""
    levels, n = len(capacities) + 1, capacities[0].shape[0]
    nodes = [(l, i) for l in range(levels) for i in range(n)]
    free = [v for v in nodes if v != (levels - 1, token) and v != (0, source)]
    least = np.inf
    for choice in range(2 ** len(free)):
        side = {v for b, v in enumerate(free) if choice >> b & 1} | {(levels - 1, token)}
        cut = sum(
            capacities[l - 1][i, k]
            for l, i in side
            if l > 0
            for k in range(n)
            if (l - 1, k) not in side
        )
        least = min(least, cut)
    return least


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("token", [0, 2])
def test_flow(works, token, dtype):
    arrays, files = layers(2, 3, dtype)
    works("flow", *files, "--token", token, "-o", "f.npy", "--residual", 0.25)
    result = np.load("f.npy")
    capacities = [with_residual(a, 0.25) for a in arrays]
    exact = np.array([[least_cut(capacities, token, i) for i in range(3)]])
    # Capacities of 5 roundings each, in double; a flow is a sum over at most 3 x 3 x 2 of them, each
    # less than 1 and changed by each of at most 18 paths.
    assert result.dtype == np.dtype(dtype) and result.shape == (1, 3)
    assert excess(result, exact, 18 * (5 + 18) * U["f8"] + exact * U[dtype]) <= 1


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("command", ["align", "rollout", "flow"])
def test_bad_files(refuses, command):
    more = ["-o", "x.npy"] + (["--token", 0] if command == "flow" else [])
    save("good", np.eye(3))
    save("half", np.eye(3, dtype="f2"))
    save("line", np.ones(3))
    save("heads", np.ones((2, 3, 3)))
    refuses(f"expected a .npy file of weights: see attn {command} --help", command, *more)
    refuses("missing.npy: No such file", command, "missing.npy", *more)
    refuses(
        "half.npy: holds float16: expected weights in float32 or float64",
        command,
        "half.npy",
        *more,
    )
    refuses(
        "line.npy: has 1 dimension: expected weights of 2 to 4 dimensions",
        command,
        "line.npy",
        *more,
    )
    refuses("heads.npy: ", command, "heads.npy", *more)
    refuses("missing/x.npy: cannot be written", command, "good.npy", *more, "-o", "missing/x.npy")
    refuses("--output is missing: expected a file to write", command, "good.npy", *more[2:])
    refuses("option -o needs a value", command, "good.npy", *more[2:], "-o")


@pytest.mark.parametrize("command, more", [("rollout", []), ("flow", ["--token", 1])])
def test_bad_layers(refuses, command, more):
    save("a", np.eye(3))
    save("b", np.eye(4))
    save("c", np.eye(3, dtype="f4"))
    save("d", normal(3, 4, dtype="f8"))
    for layer in ("b", "c", "d"):
        refuses(f"{layer}.npy: layers[1]", command, "a.npy", f"{layer}.npy", "-o", "x.npy", *more)
    for residual in ("1", "-0.1", "nan", "half"):
        refuses(
            f"--residual {residual}: expected a number, 0 or more and less than 1",
            command,
            "a.npy",
            "-o",
            "x.npy",
            "--residual",
            residual,
            *more,
        )


def test_bad_use(refuses):
    save("a", np.eye(3))
    save("negative", -np.eye(3))
    save("infinite", np.eye(3) + np.inf)
    refuses("unexpected argument b.npy", "align", "a.npy", "b.npy", "-o", "x.npy")
    refuses("infinite.npy: weights", "align", "infinite.npy", "-o", "x.npy")
    refuses("--token is missing: expected the number", "flow", "a.npy", "-o", "x.npy")
    refuses("--token 3: a.npy has 3 tokens, from 0", "flow", "a.npy", "-o", "x.npy", "--token", 3)
    refuses("--token -1: expected a whole number", "flow", "a.npy", "-o", "x", "--token", -1)
    refuses("negative.npy: layers[0]", "flow", "negative.npy", "-o", "x.npy", "--token", 0)


def test_a_layer_may_be_replaced(works):
    _, files = layers(2, 4)
    works("rollout", *files, "-o", "r.npy")
    works("rollout", *files, "-o", files[0])
    assert open(files[0], "rb").read() == open("r.npy", "rb").read()

"""attn run --view: every view against the oracle, and its form in files."""

import numpy as np
import pytest
from oracle import attention, excess, monotone_path, views
from problems import RANDOM, check, normal, problem, save

NUMBERS = [
    "weights",
    "received-sum",
    "received-mean",
    "received-max",
    "window-sum",
    "entropy",
    "span",
    "distance",
    "max-logit",
    "block-sums",
    "head-mean",
    "head-statistics",
    "raw-scores",
    "capped-scores",
    "scores",
]
INDICES = ["top-keys", "argmax", "path"]


def ask(*names):
    """The options for the views, and every parameter of theirs."""
    options = ["--window-queries", 4, "--block-queries", 4, "--block-keys", 5, "--top-k", 3]
    return [x for name in names for x in ("--view", f"{name}={name}.npy")] + options


def check_numbers(results, names, dtype, heads=None):
    exact = views(results, dtype, window_queries=4, block_queries=4, block_keys=5)
    for name in names:
        result = np.load(f"{name}.npy")
        expected = [x if heads is None or name == "head-mean" else x[:, heads] for x in exact[name]]
        assert result.dtype == np.dtype(dtype) and result.shape == expected[0].shape, name
        assert excess(result, *expected) <= 1, name


def check_top(results, k):
    """Each rank's weight, and that each key's own weight belongs to its rank."""
    exact, bound = results["weights"]
    most = bound.max(-1, keepdims=True)
    weights, keys = np.load("top-weights.npy"), np.load("top-keys.npy")
    ranked = -np.sort(-exact, -1)[..., :k]
    assert keys.dtype == np.int32
    assert excess(weights, ranked, most) <= 1
    own = np.take_along_axis(exact, np.maximum(keys, 0).astype(int), -1)
    assert excess(weights, np.where(keys < 0, 0, own), most) <= 1
    assert ((keys == -1) == (weights == 0)).all()
    present = np.sort(np.where(keys < 0, -np.arange(1, k + 1), keys), -1)
    assert (np.diff(present, axis=-1) > 0).all()  # no key twice
    assert (np.load("argmax.npy") == keys[..., :1]).all()


def check_path(results):
    """A monotone path that collects as much as the best, within the bound of the pairs it visits."""
    (exact, bound), real = (
        views(results, np.load("head-mean.npy").dtype)["head-mean"],
        results["real"],
    )
    path = np.load("path.npy")
    assert path.dtype == np.int32 and path.shape == exact.shape[:3] + (2,)
    for b in range(exact.shape[0]):
        mean, first, last = exact[b, 0], path[b, 0, :, 0], path[b, 0, :, 1]
        count = int(real[b].sum())
        assert (path[b, 0, count:] == -1).all()
        assert first[0] == 0 and last[count - 1] == mean.shape[1] - 1
        assert (last >= first)[:count].all()
        steps = first[1:count] - last[: count - 1]
        assert ((steps == 0) | (steps == 1)).all()
        visited = sum(last[:count] - first[:count] + 1)
        collected = sum(mean[i, first[i] : last[i] + 1].sum() for i in range(count))
        slack = 2 * visited * bound[b].max()
        assert monotone_path(mean[:count]) - collected <= slack


SETTINGS = {
    "plain": ([], {}),
    "causal": (
        ["--causal", "bottom-right", "--softcap", 2],
        {"causal": "bottom-right", "softcap": 2},
    ),
    "padding": (["--query-lengths", "9,5"], {"query_lengths": [9, 5]}),
    "sparsemax": (["--normalizer", "sparsemax"], {"normalizer": "sparsemax"}),
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", SETTINGS)
def test_all_views_at_once(works, name, dtype):
    arrays, inputs = problem(dtype=dtype)
    options, meaning = SETTINGS[name]
    works("run", *inputs, *ask(*NUMBERS, *INDICES, "top-weights"), *options)
    results = attention(*arrays, **meaning)
    check_numbers(results, NUMBERS, dtype)
    check_top(results, 3)
    check_path(results)


@pytest.mark.parametrize("queries, keys", [(1, 2200), (3, 500), (70, 300)])
def test_few_and_many(works, queries, keys):
    """Across the blocks of the library: sequences of up to 8 queries go another way."""
    arrays, inputs = problem(batch=1, heads=2, kv_heads=1, queries=queries, keys=keys)
    works("run", *inputs, *ask(*NUMBERS, *INDICES, "top-weights"), "--causal", "bottom-right")
    results = attention(*arrays, causal="bottom-right")
    check_numbers(results, NUMBERS, "f4")
    check_top(results, 3)
    check_path(results)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_view_alone(works, name):
    """The same bits as in company; no other file."""
    _, inputs = problem()
    works("run", *inputs, *ask(*NUMBERS))
    together = open(f"{name}.npy", "rb").read()
    works("run", *inputs, *ask(name), "--threads", 3)
    assert open(f"{name}.npy", "rb").read() == together


def test_beside_the_results(works):
    arrays, inputs = problem()
    files = ["--output", "o.npy", "--weights", "w.npy", "--view", "lse=l.npy"]
    works("run", *inputs, *files, *ask(*NUMBERS, *INDICES, "top-weights"))
    results = attention(*arrays)
    check(results)
    check_numbers(results, NUMBERS, "f4")
    assert (np.load("weights.npy") == np.load("w.npy")).all()


def test_names(works):
    _, inputs = problem()
    works("run", *inputs, "--view", "received=a.npy", "--view", "head_mean=b.npy")
    works("run", *inputs, "--view", "received_sum=c.npy", "--view", "head-mean=d.npy")
    assert open("a.npy", "rb").read() == open("c.npy", "rb").read()
    assert open("b.npy", "rb").read() == open("d.npy", "rb").read()


def test_chosen_heads(works):
    arrays, inputs = problem()
    names = [n for n in NUMBERS if n != "head-mean"]
    works("run", *inputs, *ask(*names, *INDICES, "top-weights", "head-mean"), "--view-heads", "0,3")
    results = attention(*arrays)
    check_numbers(results, names, "f4", heads=[0, 3])
    keys = np.load("top-keys.npy")
    assert keys.shape == (2, 2, 9, 3)
    assert (np.load("argmax.npy") == keys[..., :1]).all()
    chosen = {n: results[n] for n in ("positions", "real")}
    for name in ("weights", "raw-scores", "capped-scores", "scores"):
        chosen[name] = tuple(x[:, [0, 3]] for x in results[name])
    check_numbers(chosen, ["head-mean"], "f4")
    check_path(chosen)


@pytest.mark.parametrize(
    "rows, chosen, padded",
    [
        ("0,4,8", [[0, 4, 8]] * 2, None),
        ("last:4", [[5, 6, 7, 8]] * 2, None),
        ("last:4", [[5, 6, 7, 8], [-1, -1, 0, 1]], "9,2"),
        ("1,7", [[1, 7], [1, -1]], "9,2"),
    ],
)
def test_rows(works, rows, chosen, padded):
    _, inputs = problem()
    more = ["--query-lengths", padded] if padded else []
    works("run", *inputs, "--weights", "w.npy", *ask("weights"), "--view-rows", rows, *more)
    whole, part = np.load("w.npy"), np.load("weights.npy")
    assert part.shape == (2, 4, len(chosen[0]), 13)
    for b, queries in enumerate(chosen):
        for r, query in enumerate(queries):
            assert (part[b, :, r] == (whole[b, :, query] if query >= 0 else 0)).all()


@pytest.mark.parametrize("name, dtype", [("f32", "f4"), ("f64", "f8"), ("f16", "f2"), ("u8", "u1")])
@pytest.mark.parametrize("inputs_dtype", ["f4", "f8"])
def test_types_of_weights(works, name, dtype, inputs_dtype):
    arrays, inputs = problem(dtype=inputs_dtype)
    works("run", *inputs, *ask("weights"), "--view-type", name)
    result = np.load("weights.npy")
    exact, bound = attention(*arrays)["weights"]
    assert result.dtype == np.dtype(dtype)
    # Rounding once more: half a step of 1/255; 2^-11 of the number and 2^-25 where it is denormal;
    # 2^-24 of it.
    steps = {
        "u8": 0.5 / 255,
        "f16": exact * 2.0**-11 + 2.0**-25,
        "f32": exact * 2.0**-24 + 2.0**-149,
        "f64": 0,
    }
    scaled = result / 255 if name == "u8" else result
    # NumPy's division of bytes is in float64: 2^-53 of 1.
    assert excess(scaled, exact, bound + steps[name] + 2.0**-53) <= 1


def test_top_k_beyond_the_keys(works):
    arrays, inputs = problem(keys=2)
    works("run", *inputs, "--view", "top-keys=k2.npy", "--view", "top-weights=w2.npy")
    keys, weights = np.load("k2.npy"), np.load("w2.npy")
    assert keys.shape == weights.shape == (2, 4, 9, 8)
    assert (keys[..., 2:] == -1).all() and (weights[..., 2:] == 0).all()
    assert (np.sort(keys[..., :2], -1) == [0, 1]).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_fewer_dimensions(works, dims):
    """The leading dimensions that the query does not have are left out; others of size 1 stay."""
    arrays, _ = problem(batch=1, heads=4 if dims == 3 else 1, kv_heads=2 if dims == 3 else 1)
    inputs = []
    for option, name, array in zip(("--query", "--key", "--value"), "qkv", arrays):
        inputs += [option, save(name, array.reshape(array.shape[4 - dims :]))]
    works("run", *inputs, *ask(*NUMBERS, *INDICES))
    exact = views(attention(*arrays), "f4", window_queries=4, block_queries=4, block_keys=5)
    for name in NUMBERS:
        result = np.load(f"{name}.npy")
        assert result.shape == exact[name][0].shape[4 - dims :], name
        assert excess(result.reshape(exact[name][0].shape), *exact[name]) <= 1, name
    lead = (4,) if dims == 3 else ()
    assert np.load("top-keys.npy").shape == (*lead, 9, 3)
    assert np.load("argmax.npy").shape == (*lead, 9, 1)
    assert np.load("path.npy").shape == ((1, 9, 2) if dims == 3 else (9, 2))


def test_no_keys(works):
    _, inputs = problem(keys=0)
    works("run", *inputs, *ask("received-sum", "entropy", "argmax", "path", "block-sums"))
    assert np.load("received-sum.npy").shape == (2, 4, 1, 0)
    assert (np.load("entropy.npy") == 0).all() and (np.load("argmax.npy") == -1).all()
    assert (np.load("path.npy") == -1).all()
    assert np.load("block-sums.npy").shape == (2, 4, 3, 0)


def test_views_of_additive_scores(works):
    arrays, inputs = problem()
    weight = normal(16)
    options = ["--score", "additive", "--score-weight", save("weight", weight)]
    works("run", *inputs, *ask(*NUMBERS), *options)
    check_numbers(attention(*arrays, score="additive", weight=weight), NUMBERS, "f4")


def test_the_bound_tells_a_wrong_sum(works):
    """One weight of a hundredth counted twice shows in the sum of its key."""
    arrays, inputs = problem()
    works("run", *inputs, *ask("received-sum"))
    exact, bound = views(attention(*arrays), "f4")["received-sum"]
    wrong = exact.copy()
    wrong[0, 0, 0, RANDOM.integers(13)] += 0.01
    assert excess(np.load("received-sum.npy"), wrong, bound) > 1

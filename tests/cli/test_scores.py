"""attn run: every score and every normalizer against the oracle."""

import numpy as np
import pytest
from oracle import attention, excess
from problems import RANDOM, RESULTS, check, normal, problem, save

HEADS, WIDTH, VALUE_WIDTH, KEYS, QUERIES = 4, 16, 5, 13, 9
PER_HEAD = [(), (HEADS,)]


def options_of(**arrays):
    """--name FILE for each array, and the arrays."""
    return [x for name, a in arrays.items() for x in option(name, a)]


def option(name, array):
    return ["--" + name.replace("_", "-"), save(name, array)]


def run_both(works, options, dtype="f4", results=RESULTS, **meaning):
    arrays, inputs = problem(dtype=dtype)
    works("run", *inputs, *results, *options)
    check(attention(*arrays, **meaning))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ["scaled", "dot", "cosine", "gaussian", "custom"])
def test_scores_without_weights(works, name, dtype):
    run_both(works, ["--score", name], dtype, score=name)


@pytest.mark.parametrize("name", ["scaled", "cosine", "gaussian"])
def test_scale_and_scales(works, name):
    scales = RANDOM.random((2, HEADS)).astype("f4")
    options = ["--score", name, "--scale", 2, *options_of(score_scales=scales)]
    run_both(works, options, score=name, scale=2, scales=scales)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("lead", PER_HEAD)
def test_general(works, lead, dtype):
    weight = normal(*lead, WIDTH, WIDTH, dtype=dtype) / 8
    options = ["--score", "general", *options_of(score_weight=weight)]
    run_both(works, options, dtype, score="general", weight=weight)


def test_general_between_widths(works):
    (q, _, v), inputs = problem()
    k, weight = normal(2, 2, KEYS, 7), normal(WIDTH, 7) / 8
    save("k", k)
    works("run", *inputs, *RESULTS, "--score", "general", *options_of(score_weight=weight))
    check(attention(q, k, v, score="general", weight=weight))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("lead", PER_HEAD)
def test_additive(works, lead, dtype):
    weight = normal(*lead, WIDTH, dtype=dtype)
    options = ["--score", "additive", *options_of(score_weight=weight)]
    run_both(works, options, dtype, score="additive", weight=weight)


@pytest.mark.parametrize("lead", PER_HEAD)
def test_additive_with_bias_and_normalized(works, lead):
    weight, bias = normal(*lead, WIDTH), normal(*lead, WIDTH)
    options = ["--score", "additive", "--normalize-weight", "--scale", 3]
    options += options_of(score_weight=weight, score_bias=bias)
    meaning = {"weight": weight, "score_bias": bias, "normalize_weight": True, "scale": 3}
    run_both(works, options, score="additive", **meaning)


@pytest.mark.parametrize("lead", PER_HEAD)
def test_concat(works, lead):
    hidden = 6
    arrays = {
        "weight": normal(*lead, hidden),
        "projection": normal(*lead, hidden, 2 * WIDTH) / 4,
        "score_bias": normal(*lead, hidden),
    }
    options = options_of(
        score_weight=arrays["weight"],
        score_projection=arrays["projection"],
        score_bias=arrays["score_bias"],
    )
    run_both(works, ["--score", "concat", *options], score="concat", **arrays)


@pytest.mark.parametrize("lead", PER_HEAD)
def test_location(works, lead):
    weight = normal(*lead, KEYS + 2, WIDTH)
    options = ["--score", "location", *options_of(score_weight=weight)]
    run_both(works, options, score="location", weight=weight)


@pytest.mark.parametrize("score", ["additive", "concat"])
@pytest.mark.parametrize("shape", [(1, KEYS), (QUERIES, KEYS), (2, HEADS, QUERIES, KEYS)])
def test_location_aware(works, score, shape):
    hidden = WIDTH if score == "additive" else 6
    weight, projection = normal(hidden), normal(hidden, 2 * WIDTH) / 4
    location = {
        "previous": RANDOM.random(shape).astype("f4"),
        "filters": normal(3, 5),
        "projection": normal(hidden, 3),
    }
    options = ["--score", score, *options_of(score_weight=weight)]
    for name, array in location.items():
        options += option("location_" + name, array)
    meaning = {"weight": weight, "location": location}
    if score == "concat":
        options += options_of(score_projection=projection)
        meaning["projection"] = projection
    run_both(works, options, score=score, **meaning)


@pytest.mark.parametrize("lead", PER_HEAD)
@pytest.mark.parametrize("causal", [None, "bottom-right"])
def test_relative(works, lead, causal):
    """Keys and values of Shaw et al.; an origin off the middle."""
    keys, values = normal(*lead, 7, WIDTH), normal(*lead, 7, VALUE_WIDTH)
    options = ["--score", "relative", "--relative-origin", 5]
    options += options_of(score_weight=keys, relative_values=values)
    options += ["--causal", causal] if causal else []
    relative = {"keys": keys, "values": values, "how": {"origin": 5}}
    run_both(works, options, score="relative", relative=relative, causal=causal)


def test_relative_terms(works):
    """Transformer-XL's two biases, and the key's product of DeBERTa."""
    tables = {
        "queries": normal(HEADS, 8, WIDTH),
        "content_bias": normal(HEADS, WIDTH),
        "position_bias": normal(WIDTH),
        "bias": normal(HEADS, 8),
    }
    keys = normal(8, WIDTH)
    options = ["--score", "relative", *options_of(score_weight=keys)]
    for name, array in tables.items():
        options += option("relative_" + name, array)
    run_both(works, options, score="relative", relative={**tables, "keys": keys})


@pytest.mark.parametrize("buckets, n, far", [("t5", 8, 10), ("t5-causal", 7, 9), ("t5", 32, None)])
def test_t5_buckets(works, buckets, n, far):
    bias = normal(HEADS, n)
    options = ["--score", "dot", "--relative-buckets", buckets, "--query-offset", 3]
    options += options_of(relative_bias=bias)
    options += ["--relative-max-distance", far] if far else []
    relative = {"bias": bias, "how": {"buckets": buckets, "max_distance": far or 0}}
    run_both(works, options, score="dot", relative=relative, offset=3)


def test_a_custom_score_is_what_is_added(works):
    bias, table = normal(QUERIES, KEYS), normal(5)
    options = ["--score", "custom", *options_of(bias=bias, relative_bias=table)]
    run_both(works, options, score="custom", bias=bias, relative={"bias": table})


# ------------------------------------------------------------------------------------ normalizers

NORMALIZERS = {
    "softmax-one": {},
    "sigmoid": {},
    "sparsemax": {},
    "entmax15": {},
    "entmax": {},
    "relu": {},
    "relu2": {},
    "linear": {},
    "hardmax": {},
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizers(works, name, dtype):
    results = RESULTS if name == "softmax-one" else RESULTS[:4]
    options = ["--normalizer", name, "--causal", "bottom-right", "--score", "dot"]
    run_both(works, options, dtype, results, normalizer=name, causal="bottom-right", score="dot")


@pytest.mark.parametrize("name", ["softmax", "sparsemax", "relu2", "sigmoid"])
def test_temperature(works, name):
    results = RESULTS if name == "softmax" else RESULTS[:4]
    options = ["--normalizer", name, "--temperature", 0.7]
    run_both(works, options, results=results, normalizer=name, temperature=0.7)


@pytest.mark.parametrize("alpha", [1.25, 2, 4])
def test_alpha(works, alpha):
    options = ["--normalizer", "entmax", "--alpha", alpha]
    run_both(works, options, results=RESULTS[:4], normalizer="entmax", alpha=alpha)


def test_sigmoid_bias(works):
    options = ["--normalizer", "sigmoid", "--sigmoid-bias", -2.5]
    run_both(works, options, results=RESULTS[:4], normalizer="sigmoid", sigmoid_bias=-2.5)


@pytest.mark.parametrize("sigma", [None, 1.5, "inf"])
def test_local(works, sigma):
    options = ["--local", 3, "--query-offset", 2]
    options += [] if sigma is None else ["--local-sigma", sigma]
    run_both(works, options, local=3, offset=2, sigma=None if sigma is None else float(sigma))


@pytest.mark.parametrize("shape", [(QUERIES,), (HEADS, QUERIES), (2, HEADS, QUERIES), (1, 1)])
def test_local_centers(works, shape):
    centers = (RANDOM.random(shape) * KEYS).astype("f4")
    options = ["--local", 2.5, *options_of(local_centers=centers)]
    run_both(works, options, local=2.5, centers=centers)


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_dropout(works, seed):
    options = ["--dropout", 0.4, "--seed", seed]
    run_both(works, options, dropout=0.4, seed=seed)
    dropped = (np.load("w.npy") == 0).mean()
    # 936 weights, each dropped with probability 0.4: six standard deviations are 0.096.
    assert abs(dropped - 0.4) < 6 * np.sqrt(0.4 * 0.6 / 936)


def test_gumbel(works):
    run_both(
        works, ["--gumbel", "--seed", 3, "--temperature", 2], gumbel=True, seed=3, temperature=2
    )


def test_noise_is_the_seed_s(works):
    _, inputs = problem()
    bits = {}
    for seed in (1, 1, 2):
        works("run", *inputs, "--weights", "w.npy", "--dropout", 0.5, "--seed", seed)
        bits.setdefault(seed, set()).add(open("w.npy", "rb").read())
    assert len(bits[1]) == len(bits[2]) == 1 and bits[1] != bits[2]


def test_the_summary_has_no_lse_that_is_not_there(works):
    _, inputs = problem()
    assert "\nlse " in works("run", *inputs, "--normalizer", "softmax-one").stdout
    assert "\nlse " not in works("run", *inputs, "--normalizer", "relu").stdout


def test_the_bound_tells_a_wrong_term(works):
    """Of each group of options, one number changed by a thousandth."""
    arrays, inputs = problem()
    weight = normal(WIDTH)
    table = normal(7, WIDTH)
    for options, meaning in (
        (
            ["--score", "additive", *options_of(score_weight=weight)],
            {"score": "additive", "weight": weight * np.float32(1.001)},
        ),
        (
            ["--score", "relative", "--score-weight", save("table", table)],
            {"score": "relative", "relative": {"keys": table * np.float32(1.001)}},
        ),
        (["--score", "gaussian"], {"score": "gaussian", "scale": 0.5005}),
        (["--normalizer", "sparsemax"], {"normalizer": "sparsemax", "temperature": 1.001}),
        (["--normalizer", "entmax", "--alpha", 1.25], {"normalizer": "entmax", "alpha": 1.2503}),
        (["--normalizer", "sigmoid"], {"normalizer": "sigmoid", "sigmoid_bias": 0.001}),
        (["--local", 3], {"local": 3, "sigma": 1.5015}),
    ):
        works("run", *inputs, "--weights", "w.npy", *options)
        assert excess(np.load("w.npy"), *attention(*arrays, **meaning)["weights"]) > 1, options


# ------------------------------------------------------------------------------ a head, a few rows

SLICED = {
    "additive": {"score_weight": (HEADS, WIDTH), "score_bias": (HEADS, WIDTH)},
    "additive, location-aware": {
        "score_weight": (WIDTH,),
        "location_previous": (2, HEADS, QUERIES, KEYS),
        "location_filters": (HEADS, 3, 5),
        "location_projection": (WIDTH, 3),
    },
    "relative": {
        "score_weight": (HEADS, 7, WIDTH),
        "relative_bias": (HEADS, 7),
        "relative_content_bias": (HEADS, WIDTH),
    },
    "general": {"score_weight": (HEADS, WIDTH, WIDTH), "score_scales": (2, HEADS)},
    "scaled": {"local_centers": (2, HEADS, QUERIES)},
}


@pytest.mark.parametrize("name", SLICED)
def test_attn_show_computes_the_same_head(works, name):
    """attn show has the weights computed a head and a few queries at a time."""
    _, inputs = problem()
    options = ["--score", name.split(",")[0], "--causal", "bottom-right", "--query-lengths", "9,6"]
    for option_name, shape in SLICED[name].items():
        options += option(option_name, normal(*shape))
    options += ["--local", 6] if "local_centers" in SLICED[name] else []
    works("run", *inputs, *options, "--weights", "w.npy")
    for batch, head in ((0, 0), (1, 3)):
        check_picture(works, [*inputs, *options], "--batch", batch, "--head", head)


def check_picture(works, options, *which):
    """Of the weights in w.npy and of those computed the same; the first line names the file."""
    which = [*which, "--links", 20, "--color", "none"]
    saved, computed = (
        works("show", *source, *which).stdout.splitlines() for source in (["w.npy"], options)
    )
    assert len(saved) > QUERIES and saved[1:] == computed[1:]


def test_attn_show_computes_all_queries(works):
    """More weights than it keeps at a time, 2^22, with a number for each query."""
    queries, keys = 300, 15000
    _, inputs = problem(1, 1, 1, queries, keys, width=4)
    centers = (RANDOM.random(queries) * keys).astype("f4")
    options = [*inputs, "--local", 20, *options_of(local_centers=centers)]
    works("run", *options, "--weights", "w.npy")
    check_picture(works, options)

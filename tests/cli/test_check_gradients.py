"""attn check-gradients: what it prints, that it passes what is right and that it can fail."""

import json

import numpy as np
import pytest

SCORES = "scaled dot general additive concat cosine gaussian location relative custom".split()
SHAPE = ["--shape", "2,4,2,9,13,8", "--samples", 4]
MEMBERS = [
    "tensor",
    "elements",
    "largest",
    "error",
    "error_in_u",
    "bound",
    "kink_elements",
    "samples",
    "kinks",
    "vague",
    "difference",
    "difference_bound",
    "verdict",
]
ALWAYS = ["query", "key", "value", "scale", "temperature"]


def checked(works, *options):
    """The objects by tensor, of a check that finds nothing wrong."""
    result = json.loads(works("check-gradients", "--json", *options).stdout)
    assert list(result) == ["right", "u", "gradients"] and result["right"]
    for gradient in result["gradients"]:
        assert list(gradient) == MEMBERS
        assert gradient["verdict"] in ("right", "kink", "vague")
    return {g["tensor"]: g for g in result["gradients"]}


def save(**arrays):
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)


def own(score):
    """What a score has beside query, key and value."""
    return {
        "additive": ["score-weight"],
        "concat": ["score-weight", "score-projection"],
        "general": ["score-weight"],
        "location": ["score-weight"],
        "relative": ["score-weight"],
    }.get(score, [])


@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid", "sparsemax", "entmax15", "relu2"])
@pytest.mark.parametrize("score", SCORES)
def test_every_score(works, score, normalizer):
    """In float64 the bound says something of every gradient: it lies above the error, not at 0, and
    far below the gradient itself."""
    found = checked(
        works, *SHAPE, "--dtype", "f64", "--score", score, "--normalizer", normalizer
    )
    names = set(ALWAYS + own(score)) - ({"scale"} if score == "custom" else set())
    if normalizer == "sigmoid":
        names.add("sigmoid-bias")
    assert set(found) == names
    flat = {"custom": {"query", "key", "temperature"}, "location": {"key"}}.get(score, set())
    if normalizer == "relu2" and score in ("gaussian", "custom"):
        flat = names  # no score is above 0
    for name in names - flat:
        assert found[name]["largest"] > 0
        assert found[name]["error"] <= found[name]["bound"] < 1e-4 * found[name]["largest"]
        assert found[name]["difference"] <= found[name]["difference_bound"] or found[name]["kinks"]
    assert flat == names or any(found[name]["error"] > 0 for name in names - flat)


@pytest.mark.parametrize("normalizer", ["softmax", "softmax-one", "linear", "hardmax"])
def test_float32(works, normalizer):
    """Errors are some units of the type's roundoff, and not 0: the fast path is what is checked."""
    found = checked(works, *SHAPE, "--normalizer", normalizer)
    if normalizer == "hardmax":
        assert found["query"]["largest"] == 0
    else:
        assert 0.1 < found["query"]["error_in_u"] < found["query"]["bound"] * 2**24
        assert found["query"]["bound"] < 0.01 * found["query"]["largest"]
    assert found["value"]["error"] <= found["value"]["bound"]


def test_every_result_flows_in(works):
    alone = {}
    for name in ("output", "lse", "weights", "received-sum", "entropy"):
        alone[name] = checked(works, *SHAPE, "--from", name, "--dtype", "f64")["query"]["largest"]
    every = checked(works, *SHAPE, "--from", ",".join(alone), "--dtype", "f64")
    assert len(set(alone.values())) == 5 and min(alone.values()) > 0
    assert every["query"]["largest"] not in alone.values()


def test_seed(works):
    first = works("check-gradients", *SHAPE, "--seed", 5).stdout
    assert works("check-gradients", *SHAPE, "--seed", 5).stdout == first
    assert works("check-gradients", *SHAPE, "--seed", 6).stdout != first


def test_every_file(works):
    """All tensors that have a gradient, three problems together; all options of numbers."""
    random = np.random.default_rng(3)
    normal = lambda *shape: random.standard_normal(shape)  # noqa: E731
    save(q=normal(2, 4, 5, 8), k=normal(2, 2, 7, 8), v=normal(2, 2, 7, 3), u=normal(8))
    save(bias=normal(4, 1, 7), alibi=normal(4) / 4, sinks=normal(2, 4), scales=normal(4))
    save(t=normal(9), table=normal(9, 8), tables=normal(4, 9, 8), values=normal(9, 3))
    save(previous=normal(2, 4, 5, 7), filters=normal(3, 5), projection=normal(8, 3))
    save(centers=3 + normal(2, 4, 5))
    qkv = ["--query", "q.npy", "--key", "k.npy", "--value", "v.npy", "--samples", 4]
    common = ["--temperature", 1.5, "--softcap", 4, "--causal", "bottom-right"]
    added = ["--bias", "bias.npy", "--alibi", "alibi.npy", "--score-scales", "scales.npy"]
    found = checked(
        works,
        *(*qkv, *common, *added, "--sinks", "sinks.npy"),
        *("--score", "relative", "--score-weight", "table.npy", "--relative-bias", "t.npy"),
        *("--relative-queries", "tables.npy", "--relative-values", "values.npy"),
        *("--relative-content-bias", "u.npy", "--relative-position-bias", "u.npy"),
    )
    found |= checked(
        works,
        *(*qkv, *common, "--score", "additive", "--score-weight", "u.npy", "--score-bias", "u.npy"),
        *("--location-previous", "previous.npy", "--location-filters", "filters.npy"),
        *("--location-projection", "projection.npy", "--normalize-weight"),
        *("--normalizer", "sigmoid", "--sigmoid-bias", -1),
        *("--local", 4, "--local-centers", "centers.npy", "--dropout", 0.2, "--gumbel"),
    )
    names = "bias alibi sinks score-scales score-weight score-bias relative-bias relative-queries"
    names += " relative-values relative-content-bias relative-position-bias location-previous"
    names += " location-filters location-projection local-centers softcap sigmoid-bias local-sigma"
    assert set(found) == set(ALWAYS + names.split())
    assert all(g["largest"] > 0 for g in found.values())


def test_table(works):
    lines = works("check-gradients", *SHAPE, "--score", "cosine").stdout.splitlines()
    assert lines[0].split()[:4] == ["gradient", "of", "elements", "largest"]
    assert [line.split()[0] for line in lines[1:]] == ALWAYS
    assert all(line.endswith("right") or line.endswith("vague") for line in lines[1:])
    query = lines[1].split()
    assert query[1] == str(2 * 4 * 9 * 8) and query[6] == "4"
    lines = works("check-gradients", *SHAPE[:2], "--samples", 0).stdout.splitlines()
    assert lines[1].split()[5] != "4" and lines[1].endswith("right")


def test_kinks_are_told(works):
    """Keys at distance 0: relu has its kink right there, in every pair."""
    save(q=np.zeros((3, 4)), k=np.ones((5, 4)), v=np.eye(5, 4))
    options = ["--query", "q.npy", "--key", "k.npy", "--value", "v.npy", "--normalizer", "relu"]
    found = checked(works, *options, "--samples", 100)
    assert found["query"]["kinks"] == found["query"]["samples"] == 12


def test_what_is_not_finite_fails(attn, workdir):
    q = np.ones((3, 4))
    q[1, 2] = np.nan
    save(q=q, k=np.ones((5, 4)), v=np.ones((5, 4)))
    options = ["--query", "q.npy", "--key", "k.npy", "--value", "v.npy"]
    done = attn("check-gradients", *options)
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.count("not finite") >= 3
    result = json.loads(attn("check-gradients", "--json", *options).stdout)
    assert not result["right"] and result["gradients"][0]["verdict"] == "not finite"
    assert result["gradients"][0]["error"] is None


def test_bad_options(refuses, qkv):
    shape = SHAPE[:2]
    for sentence, *options in (
        ("--query is missing: expected --query, --key and --value, or one .safetensors file",),
        ("--query q.npy: --shape makes query, key and value", *shape, *qkv),
        ("--shape: x.safetensors already holds query", *shape, "x.safetensors"),
        ("--shape 1,2,3: expected six whole numbers above 0", "--shape", "1,2,3"),
        ("--shape: query.shape[1] is 3 heads, but must be", "--shape", "1,3,2,8,8,8"),
        ("--dtype needs --shape: files have a type of their own", *qkv, "--dtype", "f64"),
        ("--dtype f16: expected f32 or f64", *shape, "--dtype", "f16"),
        ("--from views: expected output, lse, weights, rec", *shape, "--from", "views"),
        ("--from output,: expected output, lse", *shape, "--from", "output,"),
        (
            "--from lse: --normalizer relu has no log-sum-exp",
            *(*shape, "--from", "output,lse", "--normalizer", "relu"),
        ),
        (
            "--from entropy: weights of --normalizer linear",
            *(*shape, "--from", "entropy", "--normalizer", "linear"),
        ),
        ("--samples -1: expected a whole number, 0 or more", *shape, "--samples", -1),
        ("--score additive needs --score-weight", *qkv, "--score", "additive"),
        ("--score-weight q.npy: --score scaled takes none", *shape, "--score-weight", "q.npy"),
        ("--key-lengths gives 2 lengths, but --shape has a", "--shape", "1,1,1,2,2,2",
         "--key-lengths", "1,2"),
        ("--bias q.npy: ", *shape, "--bias"),
        (
            "operations, more than 1e+11: expected a smaller problem, or fewer --samples",
            *("--shape", "1,8,8,4096,4096,64"),
        ),
        (
            "the reference would do about 1e+12 operations, more than 1e+11: expected a smaller "
            "problem, or fewer --samples",
            *("--shape", "1,8,8,512,512,64", "--samples", 60),
        ),
        ("expected a smaller problem\n", "--shape", "1,8,8,8192,8192,64", "--samples", 0),
        ("operations, more than 1e+11", "--shape", "1,1,1,4000000000,4000000000,64"),
        ("unexpected argument y", "x.safetensors", "y"),
    ):
        if options and options[-1] == "--bias":
            sentence, options = "q.npy: score.bias.shape[", [*options, "q.npy"]
        refuses(sentence, "check-gradients", *options)

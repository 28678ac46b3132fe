"""What a score needs and does not take: exit status 2, a sentence that says what, nothing written."""

import numpy as np
import pytest

OUTPUTS = ["--output", "o.npy", "--weights", "w.npy", "--lse", "l.npy"]


def f4(*shape):
    return np.zeros(shape, "f4")


SCORES = {
    "additive": ("additive", f4(9), "x.npy: score.weight.shape[3] is 9, but query.shape[3] is 8"),
    "additive matrix": (
        "additive",
        f4(1, 4, 8),
        "x.npy: score-weight has 3 dimensions: expected 1 to 2",
    ),
    "additive heads": ("additive", f4(3, 8), "x.npy: score.weight.shape[1] is 3, but must be 1 or"),
    "general": ("general", f4(8, 7), "x.npy: score.weight.shape[3] is 7, but key.shape[3] is 8"),
    "general vector": ("general", f4(8), "x.npy: score-weight has 1 dimension: expected 2 to 3"),
    "location": ("location", f4(6, 8), "x.npy: score.weight.shape[2] is 6, but n_key is 7"),
    "relative": (
        "relative",
        f4(5, 9),
        "x.npy: score.relative.keys.shape[3] is 9, but query.shape[3] is 8",
    ),
    "relative in float64": (
        "relative",
        np.zeros((5, 8)),
        "x.npy: score.relative.keys.dtype is ATTN_F64",
    ),
}


@pytest.mark.parametrize("name", SCORES)
def test_score_weights(refuses, qkv, name):
    score, array, sentence = SCORES[name]
    np.save("x.npy", array)
    refuses(sentence, "run", *qkv, "--score", score, "--score-weight", "x.npy", *OUTPUTS)


def test_what_scores_need(refuses, qkv):
    """A vector of 8, and a matrix of 5 x 8, to give where they are not wanted."""
    np.save("u.npy", f4(8))
    np.save("m.npy", f4(5, 8))
    weight, location = ["--score-weight", "u.npy"], ["--location-filters", "m.npy"]
    for sentence, *options in (
        ("--score additive needs --score-weight", "--score", "additive"),
        ("--score relative needs --score-weight", "--score", "relative"),
        ("--score concat needs --score-projection", "--score", "concat", *weight),
        ("--score-weight u.npy: --score scaled takes none", *weight),
        ("--score-weight u.npy: --score cosine takes none", "--score", "cosine", *weight),
        (
            "--score-projection m.npy: --score dot takes none",
            "--score",
            "dot",
            "--score-projection",
            "m.npy",
        ),
        ("--score-bias u.npy: --score scaled takes none", "--score-bias", "u.npy"),
        ("--normalize-weight: --score scaled does not take it", "--normalize-weight"),
        (
            "x.npy: score.weight[0][0] has length 0",
            "--score",
            "additive",
            "--normalize-weight",
            "--score-weight",
            "x.npy",
        ),
        ("--location-filters m.npy: --score scaled takes none", *location),
        ("--score additive needs --location-previous", "--score", "additive", *weight, *location),
        (
            "--relative-position-bias needs --score relative",
            "--relative-position-bias",
            "u.npy",
        ),
        (
            "--relative-origin says nothing without an option that names a table",
            "--relative-origin",
            "3",
        ),
        ("--relative-buckets says nothing", "--relative-buckets", "t5"),
        ("--relative-max-distance says nothing", "--relative-max-distance", "9"),
        (
            "m.npy: score.relative.queries is given, but ATTN_SCORE_COSINE takes none",
            "--score",
            "cosine",
            "--relative-queries",
            "m.npy",
        ),
        (
            "--relative-origin: score.relative.origin is 5, but must be 0 to 4",
            "--relative-queries",
            "m.npy",
            "--relative-origin",
            "5",
        ),
        (
            "m.npy: score.relative.queries.shape[2] is 5, but must be even",
            "--relative-queries",
            "m.npy",
            "--relative-buckets",
            "t5",
        ),
        (
            "--relative-max-distance: score.relative.max_distance is 2, but must be more than 2",
            "--relative-queries",
            "m.npy",
            "--relative-buckets",
            "t5-causal",
            "--relative-max-distance",
            "2",
        ),
    ):
        np.save("x.npy", f4(8))
        refuses(sentence, "run", *qkv, *options, *OUTPUTS)

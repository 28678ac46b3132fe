"""attn info and attn bench: the form of what they print, and the arithmetic in it."""

import json
import os
import re

import numpy as np
import pytest

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")


def header_version():
    text = open(os.path.join(ROOT, "include", "attn", "attn.h")).read()
    return re.search(r'ATTN_VERSION_STRING "(.*)"', text)[1]


def test_info(works):
    lines = dict(
        line.split(None, 1)
        for line in works("info").stdout.splitlines()
        if not line.startswith("in use")
    )
    facts = json.loads(works("info", "--json").stdout)
    assert list(facts) == [
        "version",
        "compiler",
        "cpu",
        "processors",
        "cache_bytes",
        "tables",
        "isa",
        "reason",
        "threads",
        "blas",
        "sentencepiece",
        "cairo",
    ]
    assert facts["blas"] and facts["blas"] in lines["blas"]
    assert lines["subwords"] == ("SentencePiece" if facts["sentencepiece"] else "none")
    assert lines["pictures"] == ("cairo" if facts["cairo"] else "none")
    assert facts["version"] == lines["version"] == header_version()
    assert facts["tables"] == lines["tables"].split() and "generic" in facts["tables"]
    assert facts["isa"] in facts["tables"]
    assert facts["processors"] == os.cpu_count()
    assert facts["reason"].startswith(facts["isa"])


def test_info_follows_the_environment(works):
    facts = json.loads(works("info", "--json", env={"ATTN_MAX_ISA": "generic"}).stdout)
    assert facts["isa"] == "generic" and "ATTN_MAX_ISA" in facts["reason"]


def test_info_takes_no_arguments(refuses):
    refuses("unexpected argument x: see attn info --help", "info", "x")
    refuses("unknown or ambiguous option --jsn: see attn info --help", "info", "--jsn")


MEMBERS = [
    "problem",
    "threads",
    "isa",
    "milliseconds",
    "gflops",
    "peak_gflops",
    "share_of_peak",
    "bandwidth_gbs",
]


def pairs(queries, keys, causal, window):
    p = np.arange(queries)[:, None] + keys - queries
    j = np.arange(keys)[None, :]
    seen = np.ones((queries, keys), bool)
    if causal:
        seen &= j <= p
    if window:
        seen &= (j >= p - window[0]) | (window[0] < 0)
        seen &= (j <= p + window[1]) | (window[1] < 0)
    return int(seen.sum())


@pytest.mark.parametrize(
    "options, causal, window",
    [
        ([], False, None),
        (["--causal"], True, None),
        (["--window", "5,2"], False, (5, 2)),
        (["--window", "-1,0", "--weights"], False, (-1, 0)),
        (["--causal", "--window", "3,-1"], True, (3, -1)),
    ],
)
def test_bench_counts_visible_pairs(works, options, causal, window):
    shapes = [(2, 4, 2, 30, 40, 16), (1, 1, 1, 40, 30, 8)]
    given = [x for s in shapes for x in ("--shape", ",".join(map(str, s)))]
    lines = works(
        "bench", "--json", "--threads", 1, "--isa", "generic", *given, *options
    ).stdout.splitlines()
    assert len(lines) == 2
    for line, (batch, heads, kv, queries, keys, width) in zip(lines, shapes):
        result = json.loads(line)
        assert list(result) == MEMBERS
        assert result["problem"].startswith(f"{batch}x{heads}x{kv}x{queries}x{keys}x{width} f32")
        assert ("weights" in result["problem"]) == ("--weights" in options)
        assert (result["threads"], result["isa"]) == (1, "generic")
        flops = 4 * width * batch * heads * pairs(queries, keys, causal, window)
        six_digits = pytest.approx  # that many are printed
        assert result["gflops"] == six_digits(flops / result["milliseconds"] * 1e-6, rel=1e-5)
        assert result["share_of_peak"] == six_digits(
            result["gflops"] / result["peak_gflops"], rel=2e-5
        )
        assert result["bandwidth_gbs"] > 0


def test_bench_table(works):
    lines = works(
        "bench", "--shape", "1,2,1,16,16,8", "--dtype", "f64", "--threads", 2
    ).stdout.splitlines()
    assert lines[0].startswith(f"attn {header_version()} on ") and "2 threads" in lines[0]
    assert lines[3].startswith("1x2x1x16x16x8 f64") and lines[3].count("%") == 2
    assert len(lines) == 4


SMALL = ["--shape", "1,2,1,16,24,8", "--threads", 1]
VIEWS = [
    "weights",
    "received-sum",
    "received-mean",
    "received-max",
    "window-sum",
    "top-weights",
    "top-keys",
    "argmax",
    "entropy",
    "span",
    "distance",
    "max-logit",
    "block-sums",
    "head-mean",
    "path",
    "head-statistics",
    "raw-scores",
    "capped-scores",
    "scores",
    "lse",
]


def compared(works, *options):
    """The object of a problem that is measured beside the plain forward."""
    (line,) = works("bench", "--json", *SMALL, *options).stdout.splitlines()
    result = json.loads(line)
    assert list(result) == MEMBERS + ["plain_milliseconds", "times_plain"]
    times = result["milliseconds"] / result["plain_milliseconds"]
    assert result["times_plain"] == pytest.approx(times, rel=2e-5)  # of six digits each
    return result


@pytest.mark.parametrize(
    "score",
    "dot general additive concat cosine gaussian location relative custom".split(),
)
def test_bench_scores(works, score):
    result = compared(works, "--score", score)
    assert result["problem"] == f"1x2x1x16x24x8 f32 {score}"


def test_bench_normalizer_and_every_view(works):
    wanted = [x for name in VIEWS[:-1] for x in ("--view", name)]
    more = ["--normalizer", "relu2", "--view-type", "u8", "--view-heads", 1, "--top-k", 2]
    result = compared(works, *wanted, *more, "--causal", "--weights", "--dtype", "f64")
    assert result["problem"] == f"1x2x1x16x24x8 f64 causal weights relu2 {' '.join(VIEWS[:-1])}"
    result = compared(works, "--view", "lse", "--view", "received")
    assert result["problem"] == "1x2x1x16x24x8 f32 received-sum lse"


def test_bench_table_of_a_comparison(works):
    lines = works("bench", *SMALL, "--view", "entropy").stdout.splitlines()
    assert lines[2].split()[-3:] == ["plain", "ms", "times"]
    numbers = lines[3].replace("%", "").split()
    # Both times are printed to a millionth of a second, the ratio to a thousandth.
    milliseconds, plain, times = float(numbers[3]), float(numbers[-2]), float(numbers[-1])
    slack = 0.0005 + times * (0.0005 / milliseconds + 0.0005 / plain)
    assert abs(milliseconds / plain - times) <= slack


BACKWARD = ["problem", "threads", "isa", "peak_gflops", "forward", "backward", "both"]
OPERATIONS = {"forward": 4, "backward": 10, "both": 14}


@pytest.mark.parametrize(
    "score, options, causal, window",
    [
        ("scaled", ["--causal", "--dtype", "f64"], True, None),
        ("concat", [], False, None),
        ("relative", ["--window", "5,2", "--normalizer", "sparsemax"], False, (5, 2)),
    ],
)
def test_bench_backward(works, options, causal, window, score):
    shape = (2, 4, 2, 30, 40, 16)
    options = ["--shape", ",".join(map(str, shape)), "--score", score, "--backward", *options]
    (line,) = works("bench", "--json", "--threads", 1, *options).stdout.splitlines()
    result = json.loads(line)
    assert list(result) == BACKWARD + ["backward_per_forward"]
    features = shape[5] * shape[0] * shape[1] * pairs(shape[3], shape[4], causal, window)
    for name, operations in OPERATIONS.items():
        speed = result[name]
        six_digits = {"rel": 2e-5}  # that many are printed
        gflops = operations * features / speed["milliseconds"] * 1e-6
        assert speed["gflops"] == pytest.approx(gflops, **six_digits)
        share = speed["gflops"] / result["peak_gflops"]
        assert speed["share_of_peak"] == pytest.approx(share, **six_digits)
    times = result["backward"]["milliseconds"] / result["forward"]["milliseconds"]
    assert result["backward_per_forward"] == pytest.approx(times, rel=2e-5)


def test_bench_backward_table(works):
    lines = works("bench", *SMALL, "--backward", "--score", "cosine").stdout.splitlines()
    assert lines[2].split()[-5:] == ["ms", "GFLOP/s", "peak", "share", "forwards"]
    assert len(lines) == 6 and lines[3].startswith("1x2x1x16x24x8 f32 cosine")
    assert [line[49:58].strip() for line in lines[3:]] == list(OPERATIONS)
    assert lines[3].split()[-1] == "1.000" and all(line.count("%") == 1 for line in lines[3:])


def test_bench_peaks_belong_to_the_table(works, attn):
    """Fused multiply-adds on longer vectors: twice the generic peak in theory, at least."""
    if attn.sanitized:
        pytest.skip("sanitizers keep the peak's registers in memory")
    tables = json.loads(works("info", "--json").stdout)["tables"]
    peak = {}
    for isa in tables:
        line = works(
            "bench", "--json", "--shape", "1,1,1,8,8,8", "--isa", isa, "--threads", 1
        ).stdout
        peak[isa] = json.loads(line)["peak_gflops"]
    for isa in tables[1:]:
        assert peak[isa] > peak["generic"]


def test_bench_bad_options(refuses):
    for sentence, *options in (
        ("--shape 1,2,3: expected six whole numbers above 0", "--shape", "1,2,3"),
        ("--shape 1,1,1,0,8,8: expected six whole numbers above 0", "--shape", "1,1,1,0,8,8"),
        ("--shape 1,1,1,8,8,8,8: expected six whole numbers", "--shape", "1,1,1,8,8,8,8"),
        (
            "query.shape[1] is 3 heads, but must be a multiple of key.shape[1], 2",
            "--shape",
            "1,3,2,8,8,8",
        ),
        ("no memory for a tensor of this shape", "--shape", "1,1,1,4000000000,4000000000,64"),
        ("--dtype f16: expected f32 or f64", "--dtype", "f16"),
        ("--window 1: expected two whole numbers", "--window", "1"),
        ("option --causal=top-left takes no value", "--causal=top-left"),
        ("unexpected argument x", "x"),
        ("--backward: not together with --view lse", "--backward", "--view", "lse"),
        ("--backward: not together with --weights", "--weights", "--backward"),
        ("--score cos: expected scaled, dot, general", "--score", "cos"),
        ("--normalizer soft: expected softmax, softmax-one", "--normalizer", "soft"),
        ("--view scored: expected weights, received-sum", "--view", "scored"),
        ("--view span: the view span is named twice", "--view", "span", "--view", "span"),
        (
            "--view-heads: there is no head 2: the problem has 2, from 0",
            *SMALL[:2],
            "--view",
            "span",
            "--view-heads",
            "2",
        ),
        (
            "lse is asked for, but only normalizer.kind ATTN_SOFTMAX",
            *SMALL[:2],
            "--view",
            "lse",
            "--normalizer",
            "relu",
        ),
    ):
        refuses(sentence, "bench", "--json", "--threads", 1, *options)

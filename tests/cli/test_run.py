"""attn run: results against the oracle, for every option and kind of array."""

import json
import os

import numpy as np
import pytest
from oracle import attention, excess
from problems import RANDOM, RESULTS, check, problem, save


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_plain(works, dtype):
    arrays, inputs = problem(dtype=dtype)
    assert works("run", *inputs, *RESULTS).stdout == ""
    check(attention(*arrays))
    assert np.load("o.npy").dtype == np.dtype(dtype)


def test_the_bound_tells_a_wrong_scale(works):
    arrays, inputs = problem()
    works("run", *inputs, *RESULTS, "--scale", 0.2500075)
    expected = attention(*arrays)  # scale 0.25: wrong by 3e-5 of itself
    assert excess(np.load("w.npy"), *expected["weights"]) > 1


HALF = RANDOM.random((9, 13)) < 0.5
OPTIONS = {
    "scale": (["--scale", "1"], {"scale": 1}),
    "negative scale": (["--scale", "-0.5e0"], {"scale": -0.5}),
    "softcap": (["--softcap", "2.5", "--scale", "3"], {"softcap": 2.5, "scale": 3}),
    "top-left": (["--causal", "top-left"], {"causal": "top-left"}),
    "bottom-right": (["--causal", "bottom-right"], {"causal": "bottom-right"}),
    "window": (["--window", "2,1"], {"window": (2, 1)}),
    "open window": (["--window", "-1,3"], {"window": (-1, 3)}),
    "offset": (
        ["--causal", "top-left", "--query-offset", "-3"],
        {"causal": "top-left", "offset": -3},
    ),
    "lengths": (
        ["--query-lengths", "9,4", "--key-lengths", "5,13", "--causal", "bottom-right"],
        {"query_lengths": [9, 4], "key_lengths": [5, 13], "causal": "bottom-right"},
    ),
    "prefix": (
        ["--causal", "top-left", "--prefix-lengths", "4,0", "--window", "5,3"],
        {"causal": "top-left", "prefix_lengths": [4, 0], "window": (5, 3)},
    ),
    "threads": (["--threads", "3"], {}),
    "isa": (["--isa", "generic"], {}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(works, name):
    arrays, inputs = problem()
    options, meaning = OPTIONS[name]
    works("run", *inputs, *RESULTS, *options)
    check(attention(*arrays, **meaning))


@pytest.mark.parametrize("shape", [(9, 13), (4, 9, 13), (2, 1, 9, 13), (1, 13), (2, 4, 9, 1)])
def test_mask_and_bias_broadcast_from_the_right(works, shape):
    arrays, inputs = problem()
    mask = RANDOM.random(shape) < 0.6
    bias = RANDOM.standard_normal(shape).astype("f4")
    works("run", *inputs, *RESULTS, "--mask", save("m", mask), "--bias", save("b", bias))
    check(attention(*arrays, mask=mask, bias=bias))


def test_mask_of_bytes(works):
    arrays, inputs = problem()
    works("run", *inputs, *RESULTS, "--mask", save("m", HALF.astype("u1") * 3))
    check(attention(*arrays, mask=HALF))


@pytest.mark.parametrize("shape", [(4,), (2, 4), (1,), (2, 1)])
def test_sinks_and_alibi(works, shape):
    arrays, inputs = problem()
    sinks = RANDOM.standard_normal(shape).astype("f4")
    slopes = RANDOM.random(shape).astype("f4")
    works("run", *inputs, *RESULTS, "--sinks", save("s", sinks), "--alibi", save("a", slopes))
    check(attention(*arrays, sinks=sinks, alibi=slopes))


@pytest.mark.parametrize("dims", [2, 3])
def test_fewer_dimensions(works, dims):
    arrays, _ = problem(batch=1, heads=4 if dims == 3 else 1, kv_heads=2 if dims == 3 else 1)
    inputs = []
    for option, name, array in zip(("--query", "--key", "--value"), "qkv", arrays):
        inputs += [option, save(name, array.reshape(array.shape[4 - dims :]))]
    works("run", *inputs, *RESULTS)
    check(attention(*arrays), dims)


def test_fortran_order(works):
    arrays, inputs = problem(dtype="f8")
    for name, array in zip("qkv", arrays):
        save(name, np.asfortranarray(array))
    assert b"'fortran_order': True" in open("q.npy", "rb").read(128)
    works("run", *inputs, *RESULTS)
    check(attention(*arrays))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_versions(works, version):
    arrays, inputs = problem()
    for name, array in zip("qkv", arrays):
        with open(f"{name}.npy", "wb") as file:
            np.lib.format.write_array(file, array, version=version)
    works("run", *inputs, *RESULTS)
    check(attention(*arrays))


def test_data_at_odd_addresses(works):
    arrays, inputs = problem()
    for name, array in zip("qkv", arrays):
        header = f"{{'descr': '<f4','fortran_order': False,'shape': {array.shape}}}".encode()
        header += b" " * ((len(header) + 10) % 2 == 0)  # so that the data starts at an odd one
        with open(f"{name}.npy", "wb") as file:
            file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
            assert file.tell() % 2 == 1
            file.write(array.tobytes())
    works("run", *inputs, *RESULTS)
    check(attention(*arrays))


def test_zero_lengths(works):
    arrays, inputs = problem(keys=0)
    works("run", *inputs, *RESULTS)
    assert np.load("w.npy").shape == (2, 4, 9, 0)
    assert (np.load("o.npy") == 0).all()
    assert (np.load("l.npy") == -np.inf).all()


def test_long_rows(works):
    arrays, inputs = problem(batch=1, heads=2, kv_heads=1, queries=70, keys=1500, width=64)
    works("run", *inputs, *RESULTS, "--causal", "bottom-right")
    check(attention(*arrays, causal="bottom-right"))


def test_threads_do_not_change_a_bit(works):
    _, inputs = problem(queries=100, keys=300)
    bits = set()
    for threads in (1, 2, 5):
        works("run", *inputs, *RESULTS, "--threads", threads)
        bits.add(b"".join(open(f, "rb").read() for f in ("o.npy", "w.npy", "l.npy")))
    assert len(bits) == 1


def test_safetensors(works):
    arrays, inputs = problem()
    write_safetensors(
        "x.safetensors", dict(zip(("query", "key", "value"), arrays)), {"tokens": "[]"}
    )
    works("run", "x.safetensors", *RESULTS)
    check(attention(*arrays))
    works("run", *inputs, "--output", "again.npy")
    assert open("again.npy", "rb").read() == open("o.npy", "rb").read()


def write_safetensors(name, tensors, metadata):
    """By hand, so that nothing aligns the data: a first byte makes every tensor's address odd."""
    header, data = {
        "__metadata__": metadata,
        "pad": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
    }, b"\0"
    for key, array in tensors.items():
        kind = {"f4": "F32", "f8": "F64"}[array.dtype.str[1:]]
        header[key] = {
            "dtype": kind,
            "shape": array.shape,
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += array.tobytes()
    text = json.dumps(header).encode()
    open(name, "wb").write(len(text).to_bytes(8, "little") + text + data)


def test_output_over_an_input(works):
    arrays, inputs = problem(value_width=16)
    works("run", *inputs, "--output", "q.npy", "--weights", "k.npy", "--lse", "v.npy")
    for file, to in (("q.npy", "o.npy"), ("k.npy", "w.npy"), ("v.npy", "l.npy")):
        os.rename(file, to)
    check(attention(*arrays))


def test_output_through_a_link_and_over_an_old_file(works):
    arrays, inputs = problem()
    os.mkdir("deep")
    with open("deep/o.npy", "w") as old:
        old.write("old")
    os.chmod("deep/o.npy", 0o640)
    os.symlink("deep/o.npy", "o.npy")
    works("run", *inputs, *RESULTS)
    check(attention(*arrays))
    assert os.path.islink("o.npy")
    assert os.stat("deep/o.npy").st_mode & 0o777 == 0o640
    assert sorted(os.listdir("deep")) == ["o.npy"]


def test_new_files_follow_the_umask(works):
    _, inputs = problem()
    works("run", *inputs, "--output", "o.npy", preexec_fn=lambda: os.umask(0o027))
    assert os.stat("o.npy").st_mode & 0o777 == 0o640


def test_summary_of_a_small_problem(works):
    arrays, inputs = problem(
        batch=1, heads=1, kv_heads=1, queries=2, keys=3, width=4, value_width=2
    )
    text = works("run", *inputs).stdout
    exact = attention(*arrays)["output"][0].astype(float).ravel()
    lines = text.splitlines()
    assert lines[0] == "query   [1, 1, 2, 4] float32  q.npy"
    at = lines.index("output  [1, 1, 2, 2] float32")
    shown = [float(x) for line in lines[at + 1 : at + 3] for x in line.split()]
    assert shown == pytest.approx(exact, rel=1e-4)  # five digits are printed


def test_summary_of_a_large_problem(works):
    arrays, inputs = problem(queries=50, value_width=20)
    text = works("run", *inputs).stdout
    exact = attention(*arrays)["output"][0].astype(float)
    line = text.splitlines()[text.splitlines().index("output  [2, 4, 50, 20] float32") + 1]
    words = line.replace(",", "").split()
    shown = [float(words[i]) for i in (1, 3, 5)]
    assert shown == pytest.approx([exact.min(), exact.mean(), exact.max()], rel=1e-4, abs=1e-6)


def test_the_textbook(works):
    """The worked example: scores 4, 10, 16."""
    save("q", np.array([[1.0, 0, 1]]))
    save("k", np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]))
    save("v", np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]]))
    works("run", "--query", "q.npy", "--key", "k.npy", "--value", "v.npy", "--scale", 1, *RESULTS)
    power = np.exp(np.array([4.0, 10, 16]) - 16)
    assert np.load("w.npy")[0] == pytest.approx(power / power.sum(), rel=1e-14)
    assert np.load("l.npy")[0] == pytest.approx(16 + np.log(power.sum()), rel=1e-14)

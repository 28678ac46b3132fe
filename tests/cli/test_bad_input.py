"""Whatever is wrong with the input: exit status 2, a sentence that says what, nothing written."""

import json
import os
import resource
import signal
import struct
import subprocess
import time

import numpy as np
import pytest

OUTPUTS = ["--output", "o.npy", "--weights", "w.npy", "--lse", "l.npy"]


# ------------------------------------------------------------------------------------- .npy files


def npy(header, data=b"", version=1, length=None):
    text = header.encode("latin1")
    size = len(text) if length is None else length
    width = 2 if version == 1 else 4
    return b"\x93NUMPY" + bytes([version, 0]) + size.to_bytes(width, "little") + text + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4, 5, 8), }"
DATA = bytes(2 * 4 * 5 * 8 * 4)


def header(descr="'<f4'", order="False", shape="(2, 4, 5, 8)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


BAD_NPY = {
    "empty": (b"", "q.npy: is not a .npy file"),
    "text": (b"these are no numbers", "q.npy: is not a .npy file"),
    "version 9": (
        npy(GOOD, DATA, version=9),
        "q.npy: has .npy format version 9: expected 1, 2 or 3",
    ),
    "cut in the length": (npy(GOOD, version=2)[:11], "q.npy: is cut short in its header"),
    "cut in the header": (npy(GOOD)[:40], "q.npy: is cut short: its header says it is"),
    "cut in the data": (
        npy(GOOD, DATA[:-1]),
        "q.npy: is cut short: its shape needs 1280 bytes of data, but 1279 are there",
    ),
    "huge header": (
        npy(GOOD, DATA, version=2, length=2**32 - 1),
        "q.npy: its header says it is 4294967295 bytes long: expected at most 65536",
    ),
    "no dictionary": (npy("[1, 2]", DATA), "q.npy: its header is not a dictionary"),
    "no keys": (npy("{1: 2}", DATA), "q.npy: its header is not a dictionary of descr"),
    "open dictionary": (npy(GOOD[:-1], DATA), "q.npy: its header"),
    "unknown entry": (
        npy(GOOD[:-1] + "'more': 1}", DATA),
        "q.npy: its header has an unknown entry 'more'",
    ),
    "no shape": (npy("{'descr': '<f4', 'fortran_order': False}", DATA), "q.npy: its header lacks"),
    "no comma": (npy("{'descr': '<f4' 'fortran_order': False}", DATA), "has a comma missing"),
    "order 1": (
        npy(header(order="1"), DATA),
        "q.npy: its header's fortran_order is neither True nor False",
    ),
    "negative size": (
        npy(header(shape="(2, -4, 5, 8)"), DATA),
        "q.npy: its header's shape is not a tuple",
    ),
    "shape no tuple": (npy(header(shape="12"), DATA), "q.npy: its header's shape is not a tuple"),
    "open shape": (
        npy(header(shape="(2, 4")[:-3], DATA),
        "q.npy: its header's shape is not a tuple",
    ),
    "size above 2^63": (
        npy(header(shape="(99999999999999999999,)"), DATA),
        "its header's shape is not a tuple",
    ),
    "overflowing shape": (
        npy(header(shape="(4294967296, 4294967296, 4, 4)"), DATA),
        "q.npy: its shape overflows",
    ),
    "overflow times zero": (
        npy(header(shape="(0, 4294967296, 4294967296, 4)"), DATA),
        "q.npy: its shape overflows",
    ),
    "5 dimensions": (
        npy(header(shape="(1, 1, 1, 1, 1)"), DATA),
        "q.npy: has more than 4 dimensions",
    ),
    "1 dimension": (
        npy(header(shape="(8,)"), DATA),
        "q.npy: query has 1 dimension: expected 2 to 4",
    ),
    "0 dimensions": (
        npy(header(shape="()"), DATA),
        "q.npy: query has 0 dimensions: expected 2 to 4",
    ),
    "big endian": (
        npy(header("'>f4'"), DATA),
        "q.npy: is big endian ('>f4'): expected little endian",
    ),
    "float16": (
        npy(header("'<f2'"), DATA),
        "q.npy: query holds float16: expected float32 or float64",
    ),
    "int64": (
        npy(header("'<i8'", shape="(4, 5, 8)"), DATA),
        "q.npy: query holds int64: expected float32 or float64",
    ),
    "bytes": (
        npy(header("'|u1'"), DATA),
        "q.npy: query holds uint8: expected float32 or float64",
    ),
    "complex": (
        npy(header("'<c8'"), DATA),
        "q.npy: holds elements of type '<c8': expected one of '<f2', '<f4', '<f8', '|b1'",
    ),
    "records": (npy(header("[('a', '<f4')]"), DATA), "q.npy: holds records or an unknown type"),
    "bool": (npy(header("'|b1'"), DATA), "q.npy: query holds bool: expected float32 or float64"),
}


@pytest.mark.parametrize("name", BAD_NPY)
def test_npy(refuses, qkv, name):
    content, sentence = BAD_NPY[name]
    open("q.npy", "wb").write(content)
    refuses(sentence, "run", *qkv, *OUTPUTS)


def test_header_cut_anywhere(refuses, qkv):
    whole = npy(GOOD, DATA)
    for size in range(len(whole) - len(DATA) + 1):
        open("q.npy", "wb").write(whole[:size])
        refuses("q.npy: ", "run", *qkv, *OUTPUTS)


def test_not_a_file(refuses, qkv):
    os.mkdir("directory")
    os.mkfifo("pipe")
    inputs = lambda path: ["--query", path, *qkv[2:], *OUTPUTS]
    refuses("missing.npy: No such file or directory", "run", *inputs("missing.npy"))
    refuses("directory is a directory: expected a file", "run", *inputs("directory"))
    refuses("pipe is not a regular file", "run", *inputs("pipe"))
    refuses("/dev/zero is not a regular file", "run", *inputs("/dev/zero"))
    refuses("q.npy/x: Not a directory", "run", *inputs("q.npy/x"))


# ---------------------------------------------------------------------------- arrays that disagree


def f4(*shape):
    return np.zeros(shape, "f4")


DISAGREEING = {
    "width": ("k", f4(2, 2, 7, 9), "k.npy: key.shape[3] is 9, but query.shape[3] is 8"),
    "batch": ("k", f4(3, 2, 7, 8), "k.npy: key.shape[0] is 3, but query.shape[0] is 2"),
    "heads": (
        "q",
        f4(2, 5, 5, 8),
        "q.npy: query.shape[1] is 5 heads, but must be a multiple of key.shape[1], 2",
    ),
    "keys": ("v", f4(2, 2, 6, 3), "v.npy: value.shape[2] is 6, but key.shape[2] is 7"),
    "types": ("v", np.zeros((2, 2, 7, 3)), "v.npy: value.dtype is ATTN_F64"),
}


@pytest.mark.parametrize("name", DISAGREEING)
def test_disagreeing_arrays(refuses, qkv, name):
    file, array, sentence = DISAGREEING[name]
    np.save(f"{file}.npy", array)
    refuses(sentence, "run", *qkv, *OUTPUTS)


EXTRAS = {
    "mask of floats": ("--mask", f4(5, 7), "x.npy: mask holds float32: expected bool"),
    "mask too wide": (
        "--mask",
        np.ones((5, 8), bool),
        "x.npy: mask.allowed.shape[3] is 8, but must be 1 or 7",
    ),
    "mask of 1 dimension": (
        "--mask",
        np.ones(7, bool),
        "x.npy: mask has 1 dimension: expected 2 to 4",
    ),
    "bias of bool": (
        "--bias",
        np.ones((5, 7), bool),
        "x.npy: bias holds bool: expected float32 or float64",
    ),
    "bias of float64": ("--bias", np.zeros((5, 7)), "x.npy: score.bias.dtype is ATTN_F64"),
    "bias for 3 heads": (
        "--bias",
        f4(3, 5, 7),
        "x.npy: score.bias.shape[1] is 3, but must be 1 or 4",
    ),
    "3 sinks": ("--sinks", f4(3), "x.npy: score.sinks.shape[1] is 3, but must be 1 or 4"),
    "sinks of 3 dimensions": (
        "--sinks",
        f4(2, 4, 1),
        "x.npy: sinks has 3 dimensions: expected 1 to 2",
    ),
    "sinks of NaN": (
        "--sinks",
        f4(4) + np.nan,
        "x.npy: score.sinks[0][0][0][0] is nan, but must be finite",
    ),
    "infinite slope": (
        "--alibi",
        f4(4) + np.inf,
        "x.npy: score.alibi_slopes[0][0][0][0] is inf, but must be finite",
    ),
    "infinite scale": (
        "--score-scales",
        f4(4) + np.inf,
        "x.npy: score.scales[0][0][0][0] is inf, but must be finite",
    ),
    "bias for 3 heads by offset": (
        "--relative-bias",
        f4(3, 7),
        "x.npy: score.relative.bias.shape[1] is 3, but must be 1 or 4",
    ),
    "no offsets": (
        "--relative-bias",
        f4(0),
        "x.npy: score.relative.bias.shape[3] is 0, but must be 1 or more",
    ),
    "tables of integers": (
        "--relative-queries",
        np.zeros((7, 8), "i4"),
        "x.npy: relative-queries holds int32: expected float32 or float64",
    ),
    "values in the query's width": (
        "--relative-values",
        f4(7, 8),
        "x.npy: score.relative.values.shape[3] is 8, but value.shape[3] is 3",
    ),
    "content bias of 3 dimensions": (
        "--relative-content-bias",
        f4(1, 4, 8),
        "x.npy: relative-content-bias has 3 dimensions: expected 1 to 2",
    ),
}


@pytest.mark.parametrize("name", EXTRAS)
def test_extra_arrays(refuses, qkv, name):
    option, array, sentence = EXTRAS[name]
    np.save("x.npy", array)
    refuses(sentence, "run", *qkv, option, "x.npy", *OUTPUTS)


# ------------------------------------------------------------------------------------ .safetensors


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def tensors(**changes):
    whole = {
        "query": entry([2, 2], 0, 16),
        "key": entry([3, 2], 16, 40),
        "value": entry([3, 1], 40, 52),
    }
    whole.update(changes)
    return {k: v for k, v in whole.items() if v is not None}


BAD_SAFETENSORS = {
    "empty": (b"", "x.safetensors: is not a safetensors file: it has fewer than 8 bytes"),
    "cut in the header": (safetensors(tensors())[:50], "x.safetensors: its header says it is"),
    "cut in the data": (
        safetensors(tensors(), bytes(51)),
        "value: its data_offsets [40, 52] do not lie within the 51 bytes",
    ),
    "huge header": (
        safetensors(tensors(), bytes(52), length=2**63),
        "its header says it is 9223372036854775808 bytes long",
    ),
    "header beyond the limit": (
        safetensors(tensors(), bytes(52), length=10**8 + 1),
        "expected at most 100000000",
    ),
    "no JSON": (safetensors(b"{query", bytes(52)), "x.safetensors: its header is not JSON: "),
    "deep JSON": (safetensors(b"[" * 100000, bytes(52)), "x.safetensors: its header is not JSON: "),
    "twice the same": (
        safetensors(b'{"query":1,"query":2}'),
        "x.safetensors: its header is not JSON: ",
    ),
    "a list": (safetensors(b"[]", bytes(52)), "x.safetensors: its header is not a JSON object"),
    "no value": (
        safetensors(tensors(value=None), bytes(52)),
        "x.safetensors: has no tensor named value",
    ),
    "entry a number": (
        safetensors(tensors(value=3), bytes(52)),
        "value: its data_offsets are not two whole numbers",
    ),
    "three offsets": (
        safetensors(
            tensors(value={"dtype": "F32", "shape": [1], "data_offsets": [0, 1, 2]}), bytes(52)
        ),
        "value: its data_offsets are not two whole numbers",
    ),
    "offsets that fall": (
        safetensors(tensors(value=entry([3, 1], 52, 40)), bytes(52)),
        "do not lie within the 52 bytes",
    ),
    "negative offset": (
        safetensors(tensors(value=entry([3, 1], -12, 0)), bytes(52)),
        "do not lie within the 52 bytes",
    ),
    "offsets and shape": (
        safetensors(tensors(value=entry([3, 2], 40, 52)), bytes(52)),
        "value: its shape needs 24 bytes, but its data_offsets span 12",
    ),
    "negative size": (
        safetensors(tensors(value=entry([-3, 1], 40, 52)), bytes(52)),
        "value: its shape is not a list of sizes",
    ),
    "size 1.5": (
        safetensors(tensors(value=entry([3, 1.5], 40, 52)), bytes(52)),
        "value: its shape is not a list of sizes",
    ),
    "overflowing shape": (
        safetensors(tensors(value=entry([2**62, 2**62], 40, 52)), bytes(52)),
        "or overflows",
    ),
    "overflow times zero": (
        safetensors(tensors(value=entry([0, 2**62, 2**62], 40, 40)), bytes(52)),
        "value: its shape overflows",
    ),
    "bfloat16": (
        safetensors(tensors(value=entry([3, 2], 40, 52, "BF16")), bytes(52)),
        "value holds elements of type BF16: expected F32, F64 or BOOL",
    ),
    "no type": (
        safetensors(tensors(value=entry([3, 1], 40, 52, None)), bytes(52)),
        "value holds elements of type (none)",
    ),
    "5 dimensions": (
        safetensors(tensors(value=entry([1, 1, 1, 3, 1], 40, 52)), bytes(52)),
        "value has 5 dimensions: expected at most 4",
    ),
    "tokens no list": (
        safetensors(tensors(__metadata__={"tokens": "{}"}), bytes(52)),
        "metadata tokens: expected a JSON list",
    ),
    "tokens no JSON": (
        safetensors(tensors(__metadata__={"tokens": "cat sat"}), bytes(52)),
        "metadata tokens: is not JSON: ",
    ),
    "token of null": (
        safetensors(tensors(__metadata__={"tokens": '["a", null]'}), bytes(52)),
        "metadata tokens: item 2 is neither a string nor a whole number",
    ),
}


@pytest.mark.parametrize("name", BAD_SAFETENSORS)
def test_safetensors(refuses, name):
    content, sentence = BAD_SAFETENSORS[name]
    open("x.safetensors", "wb").write(content)
    refuses(sentence, "run", "x.safetensors", *OUTPUTS)
    refuses(sentence, "show", "x.safetensors", "--html", "x.html")


def test_the_safetensors_of_these_tests_are_else_good(works):
    open("x.safetensors", "wb").write(safetensors(tensors(), bytes(52)))
    works("run", "x.safetensors", *OUTPUTS)
    assert (np.load("w.npy") == np.float32(1 / 3)).all()


# ------------------------------------------------------------------------------------- bad options

BAD_OPTIONS = [
    (["--scale", "0"], "--scale 0: expected a finite number other than 0"),
    (["--scale", "inf"], "--scale inf: expected a finite number"),
    (["--scale", "nan"], "--scale nan: expected a finite number"),
    (["--scale", "1e999"], "--scale 1e999: expected a finite number"),
    (["--scale", "2x"], "--scale 2x: expected a finite number"),
    (["--scale", ""], "--scale : expected a finite number"),
    (["--scale", " 1"], "--scale  1: expected a finite number"),
    (["--softcap", "-1"], "--softcap -1: expected a finite number above 0"),
    (["--causal", "left"], "--causal left: expected top-left or bottom-right"),
    (["--window", "3"], "--window 3: expected two whole numbers, LEFT,RIGHT"),
    (["--window", "3,4,5"], "--window 3,4,5: expected two whole numbers"),
    (["--window", "3, 4"], "--window 3, 4: expected two whole numbers"),
    (["--query-offset", "1.5"], "--query-offset 1.5: expected a whole number"),
    (["--query-offset", "99999999999999999999"], "expected a whole number"),
    (
        ["--query-offset", "2000000000000"],
        "mask.query_offset is 2000000000000, but must be within 2^40",
    ),
    (["--key-lengths", "5"], "--key-lengths gives 1 length, but q.npy has a batch of 2"),
    (["--key-lengths", "5,-1"], "--key-lengths 5,-1: expected whole numbers, 0 or more"),
    (["--key-lengths", "5,"], "--key-lengths 5,: expected whole numbers"),
    (["--key-lengths", ",".join("1" * 5000)], "expected at most 4096 numbers"),
    (["--key-lengths", "5,8"], "--key-lengths: length 2 is 8, but k.npy has a length of 7"),
    (["--query-lengths", "6,5"], "--query-lengths: length 1 is 6, but q.npy has a length of 5"),
    (["--prefix-lengths", "1,2,3"], "--prefix-lengths gives 3 lengths, but q.npy has a batch of 2"),
    (["--score", "luong"], "--score luong: expected scaled, dot, general, additive, concat, "),
    (["--score", ""], "--score : expected scaled"),
    (["--relative-buckets", "t6"], "--relative-buckets t6: expected clipped, t5 or t5-causal"),
    (["--relative-origin", "-1"], "--relative-origin -1: expected a whole number, 0 or more"),
    (["--relative-max-distance", "0"], "--relative-max-distance 0: expected a whole number above"),
    (["--normalizer", "max"], "--normalizer max: expected softmax, softmax-one, sigmoid, "),
    (["--temperature", "0"], "--temperature 0: expected a finite number above 0"),
    (["--alpha", "1"], "--alpha 1: expected a number above 1 and at most 16"),
    (["--alpha", "16.5"], "--alpha 16.5: expected a number above 1 and at most 16"),
    (["--alpha", "2"], "--alpha: --normalizer softmax takes none, only entmax does"),
    (["--alpha", "2", "--normalizer", "entmax15"], "--alpha: --normalizer entmax15 takes none"),
    (["--sigmoid-bias", "inf"], "--sigmoid-bias inf: expected a finite number"),
    (["--sigmoid-bias", "1"], "--sigmoid-bias: --normalizer softmax takes none, only sigmoid does"),
    (
        ["--sinks", "s.npy", "--normalizer", "softmax-one"],
        "--sinks s.npy: --normalizer softmax-one takes none, only softmax does",
    ),
    (
        ["--lse", "l.npy", "--normalizer", "relu"],
        "--lse l.npy: --normalizer relu has no log-sum-exp, only softmax and softmax-one have one",
    ),
    (
        ["--view", "lse=l.npy", "--normalizer", "relu"],
        "--view lse=l.npy: --normalizer relu has no log-sum-exp",
    ),
    (["--local", "-1"], "--local -1: expected a finite number, 0 or more"),
    (["--local", "0"], "--local-sigma: normalizer.local.sigma is 0 and so is half_width / 2"),
    (["--local-sigma", "2"], "--local-sigma needs --local"),
    (["--local-centers", "c.npy"], "--local-centers needs --local"),
    (["--local", "2", "--local-sigma", "0"], "--local-sigma 0: expected a number above 0, or inf"),
    (["--dropout", "1"], "--dropout 1: expected a number, 0 or more and less than 1"),
    (["--dropout", "0.99999999"], "--dropout: normalizer.dropout is 0.99999999"),
    (["--seed", "-1"], "--seed -1: expected a whole number, 0 to 2^64 - 1"),
    (["--seed", "18446744073709551616"], "expected a whole number, 0 to 2^64 - 1"),
    (["--view", "entropy"], "--view entropy: expected NAME=FILE"),
    (["--view", "entropy="], "--view entropy=: expected NAME=FILE"),
    (["--view", "=x.npy"], "--view =x.npy: expected weights, received-sum, received-mean, "),
    (["--view", "entropies=x.npy"], "--view entropies=x.npy: expected weights, received-sum, "),
    (
        ["--view", "received=x.npy", "--view", "received_sum=y.npy"],
        "--view received_sum=y.npy: the view received-sum is named twice",
    ),
    (["--view", "lse=x.npy", "--lse", "y.npy"], "--view lse=x.npy and --lse are the same"),
    (["--view-heads", "1,0"], "--view-heads 1,0: expected whole numbers, 0 or more and each above"),
    (["--view-heads", ""], "--view-heads : expected whole numbers"),
    (
        ["--view-heads", "0,4", "--view", "argmax=x.npy"],
        "--view-heads: there is no head 4: q.npy has 4, from 0",
    ),
    (["--view-rows", "last"], "--view-rows last: expected rising numbers of queries, from 0"),
    (["--view-rows", "last:0"], "--view-rows last:0: expected rising numbers of queries, from 0"),
    (["--view-rows", "3,3"], "--view-rows 3,3: expected rising numbers of queries, from 0"),
    (
        ["--view-rows", "5", "--view", "weights=x.npy"],
        "--view-rows: there is no query 5: q.npy has 5, from 0",
    ),
    (
        ["--view-rows", "last:6", "--view", "weights=x.npy"],
        "--view-rows: there is no query 5: q.npy has 5, from 0",
    ),
    (["--view-type", "i8"], "--view-type i8: expected f32, f64, f16 or u8"),
    (["--window-queries", "0"], "--window-queries 0: expected a whole number above 0"),
    (["--top-k", "1025"], "--top-k 1025: expected a whole number, 1 to 1024"),
    (["--block-queries", "0"], "--block-queries 0: expected a whole number above 0"),
    (["--block-keys", "x"], "--block-keys x: expected a whole number above 0"),
    (["--threads", "-1"], "--threads -1: expected a whole number, 0 or more"),
    (["--threads", "5000"], "threads is 5000, but must be 0"),
    (["--isa", "mmx"], "--isa mmx: expected an instruction set of this machine: generic"),
    (["--unknown"], "unknown or ambiguous option --unknown: see attn run --help"),
    (["--query-"], "unknown or ambiguous option --query-: see attn run --help"),
    (["-x"], "unknown option -x: see attn run --help"),
    (["--output"], "option --output needs a value: see attn run --help"),
    (["--output", ""], "--output : expected a name"),
    (["--help=yes"], "option --help=yes takes no value"),
    (["x.safetensors", "y.safetensors"], "unexpected argument y.safetensors: see attn run --help"),
]


@pytest.mark.parametrize(
    "options, sentence", BAD_OPTIONS, ids=[" ".join(o)[:40] for o, _ in BAD_OPTIONS]
)
def test_options(refuses, qkv, options, sentence):
    done = refuses(sentence, "run", *qkv, *options)
    assert done.stderr.startswith("attn run: ")


def test_isa_of_another_machine(refuses, attn, qkv):
    here = json.loads(attn("info", "--json").stdout)["tables"]
    other = next(isa for isa in ("neon", "avx2", "avx512") if isa not in here)
    refuses(
        f"--isa {other}: this build on this machine has {', '.join(here)}",
        "run",
        *qkv,
        "--isa",
        other,
    )


def test_missing_inputs(refuses, qkv):
    refuses("--query is missing: expected --query, --key and --value, or one .safetensors", "run")
    refuses("--value is missing", "run", *qkv[:4])
    open("x.safetensors", "wb").write(safetensors(tensors(), bytes(52)))
    refuses(
        "--key k.npy: x.safetensors already holds query, key and value",
        "run",
        "x.safetensors",
        *qkv[2:4],
    )


def test_a_sentence_is_one_line(refuses, qkv):
    refuses("a?b.npy: No such file", "run", "--query", "a\nb.npy", *qkv[2:])


# ------------------------------------------------------------------- outputs that cannot be


def test_unwritable_outputs(refuses, qkv):
    os.mkdir("directory")
    os.mkfifo("pipe")
    for option in ("--output", "--weights", "--lse", "--view"):
        name = "received-sum=" if option == "--view" else ""
        others = [x for pair in zip(OUTPUTS[::2], OUTPUTS[1::2]) if pair[0] != option for x in pair]
        refuses(
            "missing/x.npy: cannot be written: No such file or directory",
            "run",
            *qkv,
            *others,
            option,
            name + "missing/x.npy",
        )
        refuses(
            "directory is a directory: expected the name of a file",
            "run",
            *qkv,
            *others,
            option,
            name + "directory",
        )
        refuses("pipe is not a regular file", "run", *qkv, *others, option, name + "pipe")
        refuses("/dev/full is not a regular file", "run", *qkv, *others, option, name + "/dev/full")
        refuses(
            "q.npy/x: cannot be written: Not a directory",
            "run",
            *qkv,
            *others,
            option,
            name + "q.npy/x",
        )
    assert not os.path.isfile("/dev/full")


def test_unwritable_outputs_fail_before_the_computation(attn, workdir):
    """2^40 pairs would take many minutes."""
    for name in "qkv":
        with open(f"{name}.npy", "wb") as file:
            file.write(npy(header(shape="(1048576, 64)"), version=1))
            file.truncate(file.tell() + 2**20 * 64 * 4)
    inputs = ["--query", "q.npy", "--key", "k.npy", "--value", "v.npy"]
    for option in ("--output", "--weights", "--lse"):
        done = attn("run", *inputs, option, "missing/x.npy", "--threads", "1", timeout=60)
        assert done.returncode == 2
        assert "missing/x.npy: cannot be written: No such file or directory" in done.stderr


def test_one_file_for_two_results(refuses, qkv):
    refuses("it is named twice", "run", *qkv, "--output", "x.npy", "--weights", "x.npy")
    open("x.npy", "w").write("old")
    refuses("it is named twice", "run", *qkv, "--output", "x.npy", "--weights", "./x.npy")
    os.symlink("x.npy", "y.npy")
    refuses("it is named twice", "run", *qkv, "--output", "x.npy", "--lse", "y.npy")
    refuses("it is named twice", "run", *qkv, "--output", "x.npy", "--view", "entropy=y.npy")


def test_no_room_for_an_output(refuses, workdir):
    for name in "qkv":
        np.save(f"{name}.npy", np.zeros((300, 2), "f4"))
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    refuses(
        "w.npy: cannot hold 360128 bytes: File too large",
        "run",
        "--query",
        "q.npy",
        "--key",
        "k.npy",
        "--value",
        "v.npy",
        *OUTPUTS,
        preexec_fn=limit,
    )


def test_full_disk(attn, workdir):
    """On a file system of 1 MiB of its own, in a mount namespace that ends with the command."""
    for name in "qkv":
        np.save(f"{name}.npy", np.zeros((600, 2), "f4"))
    os.mkdir("small")
    inputs = "--query q.npy --key k.npy --value v.npy --output small/o.npy --weights small/w.npy"
    mount = "mount -t tmpfs -o size=1m tmpfs small || exit 77"
    script = f"{mount}; {attn.binary} run {inputs}; status=$?; ls -A small; exit $status"
    try:
        done = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if done.returncode == 77 or done.stderr.startswith("unshare: "):
        pytest.skip("file systems cannot be mounted here: " + done.stderr.strip())
    assert done.returncode == 2
    assert "small/w.npy: cannot hold 1440128 bytes: No space left on device" in done.stderr
    assert done.stdout == ""


def test_standard_output_full(attn, qkv):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [attn.binary, "run", *qkv], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "attn run: standard output: No space left on device\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_nothing(attn, workdir, number):
    """30000 x 30000 pairs keep one thread of the generic table busy for seconds."""
    for name in "qkv":
        np.save(f"{name}.npy", np.ones((30000, 64), "f4"))
    before = sorted(os.listdir())
    process = subprocess.Popen(
        [
            attn.binary,
            "run",
            "--query",
            "q.npy",
            "--key",
            "k.npy",
            "--value",
            "v.npy",
            "--output",
            "o.npy",
            "--lse",
            "l.npy",
            "--threads",
            "1",
            "--isa",
            "generic",
        ]
    )
    deadline = time.monotonic() + 30
    while len(os.listdir()) < len(before) + 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    during = sorted(set(os.listdir()) - set(before))
    process.send_signal(number)
    assert process.wait(30) == -number
    assert during == [f".l.npy.{process.pid}.tmp", f".o.npy.{process.pid}.tmp"]
    assert sorted(os.listdir()) == before


def test_an_input_cut_short_while_in_use(attn, workdir):
    for name in "qkv":
        np.save(f"{name}.npy", np.ones((30000, 64), "f4"))
    process = subprocess.Popen(
        [
            attn.binary,
            "run",
            "--query",
            "q.npy",
            "--key",
            "k.npy",
            "--value",
            "v.npy",
            "--output",
            "o.npy",
            "--isa",
            "generic",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while len(os.listdir()) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.truncate("k.npy", 4096)
    assert process.wait(60) == 2
    assert (
        process.stderr.read()
        == "attn: a file was cut short, or could not be read, while it was in use\n"
    )
    assert sorted(os.listdir()) == ["k.npy", "q.npy", "v.npy"]

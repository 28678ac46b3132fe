"""attn show: what the pictures say, on a terminal, as PNG and as HTML."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios

import numpy as np
import pages
import pytest
from oracle import attention, excess

RANDOM = np.random.default_rng(3)
WEIGHTS = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.25, 0.25, 0.5]])


def tensor_file(name, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for key, array in tensors.items():
        header[key] = {
            "dtype": "F32",
            "shape": array.shape,
            "data_offsets": [len(data), len(data) + 4 * array.size],
        }
        data += array.astype("<f4").tobytes()
    text = json.dumps(header).encode()
    open(name, "wb").write(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture
def layers(workdir):
    """Two layers of three heads over six tokens; the exact weights and their bound."""
    q, k, v = (RANDOM.standard_normal((2, 3, 6, 8)).astype("f4") for _ in range(3))
    metadata = {
        "tokens": json.dumps(["[CLS]", "the", "cat", "</script>", "naïve", "\u001b[31m"]),
        "layers": "[0, 4]",
    }
    tensor_file("layers.safetensors", {"query": q, "key": k, "value": v}, metadata)
    return attention(q, k, v)["weights"]


# --------------------------------------------------------------------------------------- terminal


def percents(text, count):
    """The numbers in the last `count` rows of a picture with numbers in its cells."""
    rows = [
        line
        for line in text.splitlines()
        if re.search(r"( *\d+[ .:=+*#%@-]){" + str(count) + "}$", line)
    ]
    return [[int(x) for x in re.findall(r"(\d+)[ .:=+*#%@-]", line[-4 * count :])] for line in rows]


def test_numbers_and_links(works):
    np.save("w.npy", WEIGHTS)
    text = works("show", "w.npy").stdout
    assert text.splitlines()[0] == "w.npy: batch 0, head 0"
    assert percents(text, 3)[-3:] == [[100, 0, 0], [0, 50, 50], [25, 25, 50]]
    assert re.findall(r"([\d.]+) +(\d) -> (\d)", text) == [
        ("1.0000", "0", "0"),
        ("0.5000", "1", "1"),
        ("0.5000", "1", "2"),
        ("0.5000", "2", "2"),
        ("0.2500", "2", "0"),
    ]


def test_computed_weights_head_and_layer(works, layers):
    text = works("show", "layers.safetensors", "--layer", 4, "--head", 2).stdout
    assert text.splitlines()[0] == "layers.safetensors: layer 4, head 2"
    exact = layers[0][1, 2].astype(float)
    assert (
        abs(np.array(percents(text, 6)[-6:]) - 100 * exact).max() <= 0.5 + 1e-4
    )  # rounded to whole ones
    assert text == works("show", "layers.safetensors", "--batch", 1, "--head", 2).stdout


def test_options_change_the_weights(works, layers):
    text = works("show", "layers.safetensors", "--causal", "top-left", "--head", 1).stdout
    rows = percents(text, 6)[-6:]
    assert all(rows[i][j] == 0 for i in range(6) for j in range(i + 1, 6)) and rows[0][0] == 100


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_slices_of_every_input(works, dtype):
    """One head of one row is computed alone, a few queries at a time: masks, biases, slopes, sinks
    and lengths must be those of that head, row and query. 2100 x 2100 weights take two times."""
    n = 2100
    arrays = {
        "q": (2, 2, n, 4),
        "k": (2, 1, n, 4),
        "v": (2, 1, n, 1),
        "b": (2, 1, n, 1),
        "a": (2,),
        "s": (2, 2),
    }
    arrays = {name: RANDOM.standard_normal(shape).astype(dtype) for name, shape in arrays.items()}
    arrays["a"] = abs(arrays["a"]) / 100
    arrays["m"] = RANDOM.random((2, n, n)) < 0.7
    options = []
    for name, option in zip("qkvbasm", ("query", "key", "value", "bias", "alibi", "sinks", "mask")):
        np.save(f"{name}.npy", arrays[name])
        options += [f"--{option}", f"{name}.npy"]
    options += [
        "--causal",
        "bottom-right",
        "--query-lengths",
        f"{n},{n - 10}",
        "--key-lengths",
        f"2000,{n - 5}",
    ]
    works("run", *options, "--weights", "w.npy")
    picture = ["--batch", 1, "--head", 1, "--reduce", "mean", "--links", 8]
    computed = works("show", *options, *picture).stdout.splitlines()
    saved = works("show", "w.npy", *picture).stdout.splitlines()
    assert computed[0].split(":")[1] == saved[0].split(":")[1]
    # Rows of another path through the library may differ in the last bits, so compare in print.
    assert computed[1:] == saved[1:]


def test_smaller_than_the_weights(works):
    weights = np.zeros((200, 300), "f4")
    weights[100, 150] = 1
    np.save("w.npy", weights)
    env = {"COLUMNS": "60", "LINES": "30"}
    text = works("show", "w.npy", env=env).stdout
    lines = text.splitlines()
    note = re.search(r"each cell is the (\w+) of (\d+) x (\d+) weights", text)
    rows, columns = int(note[2]), int(note[3])
    assert note[1] == "largest"
    assert len(lines) <= 30 and max(map(len, lines)) <= 60
    marks = [
        (i, line.index("@"))
        for i, line in enumerate(lines)
        if "@" in line and not line.startswith("0 ")
    ]
    assert len(marks) == 1
    assert lines[marks[0][0]].split()[0] == str(100 // rows * rows)
    mean = works("show", "w.npy", "--reduce", "mean", "--links", 1, env=env).stdout
    legend = re.search(r"@ ([\d.e-]+)\neach cell is the mean of (\d+) x (\d+) weights", mean)
    assert legend[1] == f"{1 / (int(legend[2]) * int(legend[3])):.3g}"
    assert "1.0000" in mean and "(100, 150)" in mean


def test_fits_the_window(attn, layers):
    """A terminal of 20 x 50: all that is printed fits, and colours follow the environment."""
    np.save("w.npy", RANDOM.random((100, 90)))
    cases = [
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, r"48;2;"),
        ({"TERM": "xterm-256color", "COLORTERM": ""}, r"48;5;"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, None),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, None),
    ]
    for env, code in cases:
        for file in ("w.npy", "layers.safetensors"):
            text = on_terminal(attn.binary, ["show", file], env, rows=20, columns=50)
            assert (code in text) if code else ("\033" not in text)
            lines = re.sub(r"\033\[[\d;]*m", "", text).split("\r\n")
            assert len(lines) <= 20 and max(map(len, lines)) <= 50
            assert "48;2" not in lines[0]


def on_terminal(binary, arguments, env, rows, columns):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {
        k: v
        for k, v in os.environ.items()
        if k not in ("NO_COLOR", "COLORTERM", "COLUMNS", "LINES")
    }
    process = subprocess.Popen(
        [binary, *arguments],
        stdout=slave,
        stderr=slave,
        env={**environment, "LC_ALL": "C.UTF-8", **env},
    )
    os.close(slave)
    text = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        text += part
    os.close(master)
    assert process.wait(30) == 0
    return text.decode()


def test_colours_grow_lighter_with_the_weight(works):
    np.save("w.npy", WEIGHTS)
    legend = works("show", "w.npy", "--color", "true", "--links", 0).stdout.splitlines()[-1]
    colours = [tuple(map(int, c)) for c in re.findall(r"48;2;(\d+);(\d+);(\d+)m", legend)]
    light = [0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2 for r, g, b in colours]
    assert len(colours) == 10
    assert all(a < b for a, b in zip(light, light[1:]))


def test_tokens_are_shown_and_tamed(works, layers):
    text = works("show", "layers.safetensors").stdout
    assert "naïve" in text and "</script>" in text
    assert "\033" not in text and "?[31m" in text
    plain = works("show", "layers.safetensors", env={"LC_ALL": "C"}).stdout
    assert "na?ve" in plain and plain.isascii()


def test_not_a_number(works):
    weights = WEIGHTS.copy()
    weights[1, 1] = np.nan
    np.save("w.npy", weights)
    assert "nan" in works("show", "w.npy").stdout
    assert "48;2;200;60;160m" in works("show", "w.npy", "--color", "true").stdout


def test_saved_weights_in_safetensors(works):
    tensor_file(
        "w.safetensors",
        {"weights": WEIGHTS},
        {"query_tokens": '["a", "b", "c"]', "key_tokens": '["x", "y", "z"]'},
    )
    assert re.search(r"1\.0000 +a -> x", works("show", "w.safetensors").stdout)


# ------------------------------------------------------------------------------------------- HTML


def test_html_holds_the_weights(works, layers):
    works("show", "layers.safetensors", "--html", "x.html")
    page = pages.read("x.html")
    assert page.data["layers"] == ["layer 0", "layer 4"] and page.data["heads"] == [0, 1, 2]
    assert (
        page.data["query_tokens"]
        == page.data["key_tokens"]
        == ["[CLS]", "the", "cat", "</script>", "naïve", "?[31m"]
    )
    assert excess(page.weights(), *layers) <= 1
    assert len(page.data["light"]) == len(page.data["dark"]) == 256 * 6


def test_html_of_saved_weights_is_exact(works):
    weights = RANDOM.random((2, 3, 5, 4)).astype("f4")
    np.save("w.npy", np.asfortranarray(weights))
    works("show", "w.npy", "--html", "x.html")
    assert (pages.read("x.html").weights() == weights).all()
    works("show", "w.npy", "--html", "y.html", "--batch", 1, "--head", 2)
    page = pages.read("y.html")
    assert page.data["layers"] == ["batch 1"] and page.data["heads"] == [2]
    assert (page.weights() == weights[1:, 2:]).all()


# -------------------------------------------------------------------------------------------- PNG


@pytest.fixture
def png(works, attn, workdir):
    np.save("probe.npy", WEIGHTS)
    done = attn("show", "probe.npy", "--png", "probe.png")
    if done.returncode == 2:
        assert "this build of attn has no PNG (it was made without cairo)" in done.stderr
        pytest.skip("this build has no PNG")

    def draw(weights, *options):
        np.save("w.npy", weights)
        works("show", "w.npy", "--png", "w.png", *options)
        return pages.decode_png("w.png")

    return draw


def test_png_cells(png):
    """Changing one weight changes one square of pixels, where its row and column are."""
    base = np.full((4, 5), 0.5)
    base[0, 0] = 1
    whole, corners, sides = png(base), {}, set()
    for cell in ((1, 1), (1, 2), (3, 4)):
        changed = base.copy()
        changed[cell] = 0.1
        rows, columns = np.nonzero((png(changed) != whole).any(-1))
        corners[cell] = (rows.min(), columns.min())
        sides |= {np.ptp(rows) + 1, np.ptp(columns) + 1}
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert len(sides) == 1
    side = sides.pop()
    assert side >= 10
    y, x = corners[1, 1]
    assert corners[1, 2] == (y, x + side) and corners[3, 4] == (y + 2 * side, x + 3 * side)


def test_png_grows_darker_with_the_weight(png):
    image = png(np.array([[1, 0.5, 0.0]]), "--kind", "matrix")
    row = image[image.shape[0] // 2]
    shades = {tuple(p) for p in row.tolist()}
    assert (22, 21, 57) in {tuple(p) for p in image.reshape(-1, 3).tolist()} and len(shades) > 3


def test_png_has_labels(png):
    """Tokens take room beside the picture, and ink."""
    open("short.txt", "w").write("a\nb\nc\n")
    open("long.txt", "w").write("an elephant\nanother elephant\nça va, éléphant\n")
    short, long = png(WEIGHTS, "--tokens", "short.txt"), png(WEIGHTS, "--tokens", "long.txt")
    assert long.shape[0] > short.shape[0] + 40 and long.shape[1] > short.shape[1] + 40
    assert (long.sum(-1) < 300).sum() > (short.sum(-1) < 300).sum() + 200


def test_png_of_many_weights(png, works):
    np.save("w.npy", RANDOM.random((3000, 1500)).astype("f4"))
    works("show", "w.npy", "--png", "w.png")
    assert max(struct.unpack(">II", open("w.png", "rb").read()[16:24])) <= 1800


# ------------------------------------------------------------------------------------- bad input


def test_bad_choices(refuses, layers):
    np.save("w.npy", WEIGHTS)
    np.save("line.npy", WEIGHTS[0])
    np.save("bool.npy", WEIGHTS > 0)
    np.save("none.npy", WEIGHTS[:0])
    open("two.txt", "w").write("a\nb\n")
    open("latin.txt", "wb").write(b"a\nb\n\xe9\n")
    for sentence, *arguments in (
        ("--head 3: layers.safetensors has 3 heads, from 0", "layers.safetensors", "--head", 3),
        (
            "--batch 2: layers.safetensors has 2 rows of the batch, from 0",
            "layers.safetensors",
            "--batch",
            2,
        ),
        (
            "--layer 3: layers.safetensors holds layers from 0 to 4, and not that one",
            "layers.safetensors",
            "--layer",
            3,
        ),
        (
            "--layer and --batch choose the same thing",
            "layers.safetensors",
            "--layer",
            4,
            "--batch",
            1,
        ),
        ("--layer 1: w.npy does not say which layers it holds: use --batch", "w.npy", "--layer", 1),
        ("--head -1: expected whole numbers, 0 or more", "w.npy", "--head", -1),
        (
            "two.txt: has 2 tokens for 3 queries: expected one for each",
            "w.npy",
            "--tokens",
            "two.txt",
        ),
        (
            "two.txt: has 2 tokens for 3 keys: expected one for each",
            "w.npy",
            "--key-tokens",
            "two.txt",
        ),
        ("latin.txt: token 3 is not UTF-8 text", "w.npy", "--tokens", "latin.txt"),
        ("line.npy: has 1 dimension: expected weights of 2 to 4 dimensions", "line.npy"),
        ("bool.npy: holds bool: expected weights in float32 or float64", "bool.npy"),
        ("none.npy: has no weights: 1 x 1 heads of 0 queries x 3 keys", "none.npy"),
        ("w.npy holds weights, not query, key and value", "w.npy", "--scale", 2),
        ("--links 65: expected at most 64", "w.npy", "--links", 65),
        ("--reduce sum: expected max or mean", "w.npy", "--reduce", "sum"),
        ("--color red: expected none, 256, true or auto", "w.npy", "--color", "red"),
        ("missing/x.html: cannot be written", "w.npy", "--html", "missing/x.html"),
        ("--query is missing", "--head", 1),
        ("missing.safetensors: No such file or directory", "missing.safetensors"),
        ("/dev/null is not a regular file", "w.npy", "--html", "/dev/null"),
    ):
        refuses(sentence, "show", *arguments)


def test_one_bad_file_leaves_neither(refuses, png):
    refuses(
        "missing/x.html: cannot be written",
        "show",
        "probe.npy",
        "--png",
        "x.png",
        "--html",
        "missing/x.html",
    )
    refuses(
        "missing/x.png: cannot be written",
        "show",
        "probe.npy",
        "--html",
        "x.html",
        "--png",
        "missing/x.png",
    )
    refuses("named twice", "show", "probe.npy", "--html", "x", "--png", "x")


def test_labels_that_do_not_fit_the_problem(refuses):
    q, k = np.zeros((2, 4), "f4"), np.zeros((3, 4), "f4")
    tensor_file("x.safetensors", {"query": q, "key": k, "value": k}, {"tokens": '["a", "b", "c"]'})
    refuses("x.safetensors: has 3 tokens for 2 queries", "show", "x.safetensors")

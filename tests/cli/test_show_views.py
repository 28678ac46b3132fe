"""attn show: views of the weights, each as the picture that shows most of it."""

import re

import numpy as np
import pages
import pytest

RANDOM = np.random.default_rng(4)
QUERIES, KEYS, TOP = 6, 8, 3
KINDS = ["matrix", "lines", "bars", "grid", "table"]


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype("f4")


def views_of(weights):
    """The views by their names, as attn_views defines them; queries stand at their own index."""
    order = np.argsort(-weights, axis=-1, kind="stable")[..., :TOP]
    i, j = np.indices(weights.shape[-2:])
    entropy = -(weights * np.log(weights)).sum(-1, keepdims=True)
    batch, heads, queries, keys = weights.shape
    blocks = weights.reshape(batch, heads, queries // 2, 2, keys // 4, 4).sum((3, 5))
    greatest = weights.max(-1)
    means = [greatest, entropy[..., 0], (weights * abs(i - j)).sum(-1), weights[..., 0]]
    return {
        "received-sum": weights.sum(2, keepdims=True),
        "entropy": entropy,
        "top-keys": order.astype("i4"),
        "top-weights": np.take_along_axis(weights, order, -1),
        "block-sums": blocks,
        "head-statistics": np.stack([m.mean(-1) for m in means], -1)[:, :, None],
        "path": np.stack([np.arange(queries), np.arange(queries) + 1], -1)
        .astype("i8")
        .repeat(batch, 0)
        .reshape(queries, batch, 2)
        .swapaxes(0, 1)[:, None],
    }


@pytest.fixture
def saved(workdir):
    """Two layers of three heads: the weights, and their views in a file each."""
    weights = softmax(3 * RANDOM.standard_normal((2, 3, QUERIES, KEYS)))
    views = views_of(weights)
    np.save("weights.npy", weights)
    for name, view in views.items():
        np.save(name + ".npy", view)
    open("q.txt", "w").write("\n".join(f"q{i}" for i in range(QUERIES)))
    open("k.txt", "w").write("\n".join(f"k{j}" for j in range(KEYS)))
    return weights, views


def view(*names):
    return [part for name in names for part in ("--view", f"{name}={name}.npy")]


TOKENS = ["--query-tokens", "q.txt", "--key-tokens", "k.txt"]

# --------------------------------------------------------------------------------------- terminal


def bars(text):
    """{label: number} of bars on the terminal."""
    found = re.findall(r"^ *(\S+) +([\d.e+-]+) [█▉▊▋▌▍▎▏]*$", text, re.M)
    return {label: float(number) for label, number in found}


@pytest.mark.parametrize("name", ["received-sum", "received", "received_sum"])
def test_bars_of_keys(works, saved, name):
    text = works("show", "--view", f"{name}=received-sum.npy", *TOKENS, "--head", 2).stdout
    expected = saved[1]["received-sum"][0, 2, 0]
    shown = bars(text)
    assert list(shown) == [f"k{j}" for j in range(KEYS)]
    assert np.allclose(list(shown.values()), expected, rtol=5.1e-4, atol=0)  # four digits
    assert text.splitlines()[0] == "received-sum.npy: batch 0, head 2"
    lengths = [line.count("█") for line in text.splitlines()[2:]]
    assert np.argmax(lengths) == np.argmax(expected)


def test_bars_of_queries(works, saved):
    text = works("show", *view("entropy"), *TOKENS, "--batch", 1).stdout
    expected = saved[1]["entropy"][1, 0, :, 0]
    assert np.allclose(list(bars(text).values()), expected, rtol=5.1e-4, atol=0)
    assert "entropy of each query" in text


def test_weights_tell_what_views_tell(works, saved):
    """Bars, lines and tables of weights are those of the views of the same weights."""
    kinds = {
        "bars": ["received-sum"],
        "lines": ["top-keys", "top-weights"],
        "table": ["head-statistics"],
    }
    for kind, names in kinds.items():
        common = ["--kind", kind, *TOKENS, "--title", "x", "--lines", TOP]
        told = works("show", "weights.npy", *common).stdout
        # Sums in another order may differ in the last digit that is shown.
        given = works("show", *view(*names), *common).stdout
        numbers = [np.array(re.findall(r"\d+\.\d+", text), float) for text in (told, given)]
        assert np.allclose(*numbers, rtol=1.1e-3, atol=0.0101)
        assert re.sub(r"[\d. █▉▊▋▌▍▎▏]", "", told) == re.sub(r"[\d. █▉▊▋▌▍▎▏]", "", given)


def test_lines(works, saved):
    weights, views = saved
    text = works("show", *view("top-keys", "top-weights"), *TOKENS, "--head", 1).stdout
    lines = text.splitlines()[1:]
    assert len(lines) == QUERIES
    for i, line in enumerate(lines):
        assert line.split()[0] == f"q{i}"
        keys = [int(k) for k in re.findall(r"k(\d)", line)]
        assert keys == views["top-keys"][0, 1, i].tolist()
        shown = [float(w) for w in re.findall(r"\d\.\d\d", line)]
        assert np.allclose(shown, weights[0, 1, i, keys], rtol=0, atol=0.00501)


def test_sparse_matrix_from_top_keys(works, saved):
    text = works("show", *view("top-keys", "top-weights"), "--kind", "matrix").stdout
    rows = [line for line in text.splitlines() if re.match(r"\d+ +(\d+[ .:=+*#%@-]|  ?\d)", line)]
    expected = np.where(saved[0][0, 0] >= saved[1]["top-weights"][0, 0, :, -1:], saved[0][0, 0], 0)
    for i in range(QUERIES):
        shown = [int(x) for x in re.findall(r"(\d+)[ .:=+*#%@-](?!\))", rows[i])][-KEYS:]
        assert np.allclose(shown, 100 * expected[i], rtol=0, atol=0.51)


def test_path(works, saved):
    text = works("show", "path.npy", *TOKENS).stdout
    assert text.splitlines()[1:] == [
        f"q{i} -> k{i} k{i + 1}  ({i} to {i + 1})" for i in range(QUERIES)
    ]


def test_table(works, saved):
    text = works("show", *view("head-statistics")).stdout
    rows = re.findall(r"^batch (\d) +([\d. ]+)$", text, re.M)
    shown = np.array([row[1].split() for row in rows], float).reshape(4, 2, 3)
    expected = saved[1]["head-statistics"][:, :, 0].transpose(2, 0, 1)
    assert np.allclose(shown, expected, rtol=0, atol=0.00501)


def test_grid(works, saved):
    text = works("show", "weights.npy", "--kind", "grid").stdout
    assert "batch 0, heads\n0  " in text and "batch 1, heads\n0  " in text
    assert text.count("@") >= 6  # the darkest of each head
    one = works("show", "weights.npy", "--kind", "grid", "--head", "2,0", "--batch", 1).stdout
    assert "batch 0" not in one and re.search(r"\n2 +0 +\n", one)


def test_shapes_choose_the_kind(works, saved):
    """One query or one key: bars; pairs of indices: a path; indices: lines; else a matrix."""
    np.save("row.npy", RANDOM.random((3, 1, KEYS)))
    np.save("column.npy", RANDOM.random((3, QUERIES, 1)))
    assert "number of each key" in works("show", "row.npy").stdout
    assert "number of each query" in works("show", "column.npy").stdout
    assert "(0 to 1)" in works("show", "path.npy").stdout
    assert " -> " in works("show", "top-keys.npy").stdout
    assert "strongest:" in works("show", "weights.npy").stdout
    assert "strongest:" in works("show", "row.npy", "--kind", "matrix").stdout


def test_types(works, workdir):
    """Every type that views have: the same picture."""
    weights = np.array([[1, 0], [0.5, 0.5]])
    texts = []
    for dtype, scale in (("f4", 1), ("f8", 1), ("f2", 1), ("u1", 254)):
        np.save("w.npy", (weights * scale).astype(dtype))
        texts.append(works("show", "w.npy", "--links", 0).stdout)
    assert texts[0] == texts[1] == texts[2]
    assert "100" in texts[3] and " 50" in texts[3]  # 254/255 and 127/255


def test_several_files_are_layers(works, saved):
    weights, views = saved
    for layer in range(2):
        np.save(f"w{layer}.npy", weights[layer])
        np.save(f"r{layer}.npy", views["received-sum"][layer])
    one = works("show", "weights.npy", "--batch", 1, "--head", 2).stdout.splitlines()
    two = works("show", "w0.npy", "w1.npy", "--layer", 1, "--head", 2).stdout.splitlines()
    assert two[0] == "w0.npy: layer 1, head 2" and one[1:] == two[1:]
    # Rows of a batch count one by one: the file after two of them is layer 2.
    third = works("show", "weights.npy", "w1.npy", "--layer", 2, "--head", 2).stdout.splitlines()
    assert third[0] == "weights.npy: layer 2, head 2" and third[1:] == one[1:]
    works(
        *["show", "w0.npy", "w1.npy", "--view", "received=r0.npy", "--view", "received=r1.npy"],
        *["--html", "x.html"],
    )
    page = pages.read("x.html")
    assert page.data["layers"] == ["layer 0", "layer 1"]
    assert (page.weights() == weights).all()
    for layer in range(2):
        numbers, step = page.packed("bars0", layer, 1, 2)
        # Half a step, and the rounding of the ends to float32.
        assert abs(numbers - views["received-sum"][layer, 1, 0]).max() <= step / 2 + 2**-23 * KEYS


# ------------------------------------------------------------------------------------------- HTML


def test_page_of_views(works, saved):
    """A page without weights carries the views: packed, within half a step of what was given."""
    weights, views = saved
    names = ["block-sums", "top-keys", "top-weights", "received-sum", "entropy"]
    works("show", *view(*names, "head-statistics", "path"), "--html", "x.html", *TOKENS)
    page = pages.read("x.html")
    parts = ["bars0", "bars1", "blocks", "path", "top_keys", "top_weights"]
    assert page.names() == parts and page.data["matrix"] == "blocks"
    assert page.data["top"] == TOP and page.data["blocks"]["keys"] == 4
    assert np.allclose(page.data["statistics"], views["head-statistics"][:, :, 0])
    for layer in range(2):
        for head in range(3):
            at = (layer, head)
            assert (page.keys("top_keys", *at) == views["top-keys"][at].ravel()).all()
            assert (page.keys("path", *at) == views["path"][layer, 0].ravel()).all()
            for name, size, expected in (
                ("top_weights", 2, views["top-weights"][at]),
                ("blocks", 1, views["block-sums"][at] / 8),
                ("bars0", 2, views["received-sum"][at]),
                ("bars1", 2, views["entropy"][at]),
            ):
                numbers, step = page.packed(name, *at, size)
                # Half a step, and float32's rounding of the number and of both ends.
                bound = step / 2 + 3 * 2**-24 * abs(expected).max()
                assert abs(numbers - expected.ravel()).max() <= bound


def test_page_of_many_weights_carries_views(works, workdir):
    """Too many to be held as they are: what they tell is, from one pass over them."""
    n = 1500
    weights = softmax(2 * RANDOM.standard_normal((2, n, n)))
    np.save("w.npy", weights)
    works("show", "w.npy", "--html", "x.html", "--reduce", "mean", "--lines", 4)
    page = pages.read("x.html")
    assert page.names() == ["bars0", "bars1", "blocks", "top_keys", "top_weights"]
    keys = page.keys("top_keys", 0, 1).reshape(n, 4)
    assert (keys == np.argsort(-weights[1], axis=-1, kind="stable")[:, :4]).all()
    blocks = page.data["blocks"]
    assert blocks["rows"] <= 64 and blocks["rows"] * blocks["queries"] >= n
    cells, step = page.packed("blocks", 0, 1, 1)
    side, rows = blocks["queries"], blocks["rows"]
    first = weights[1, :side, :side].mean(dtype=float)
    assert len(cells) == rows * blocks["columns"]
    # The sum of side * side float32 of one sign: each addition rounds by half an ulp of the sum.
    assert abs(cells[0] - first) <= step / 2 + side * side * 2**-24 * first
    received, step = page.packed("bars0", 0, 1, 2)
    exact = weights[1].sum(0, dtype=float)
    assert abs(received - exact).max() <= step / 2 + n * 2**-24 * exact.max()


def test_what_run_writes(works, workdir):
    """Views as attn run writes them, of inputs of 2, 3 and 4 dimensions, are what attn show reads."""
    kinds = {
        "received": "bars",
        "entropy": "bars",
        "lse": "bars",
        "block-sums": "matrix",
        "head-mean": "matrix",
        "scores": "matrix",
        "top-keys": "lines",
        "argmax": "lines",
        "path": "path",
        "head-statistics": "table",
    }
    for lead in ((), (3,), (2, 3)):
        for name in "qkv":
            np.save(name + ".npy", RANDOM.standard_normal((*lead, 5, 4)).astype("f4"))
        inputs = ["--query", "q.npy", "--key", "k.npy", "--value", "v.npy"]
        views = [part for name in kinds for part in ("--view", f"{name}={name}.npy")]
        works("run", *inputs, *views, "--top-k", 2, "--block-queries", 2, "--block-keys", 3)
        for name, kind in kinds.items():
            view = ["--view", f"{name}={name}.npy", "--block-queries", 2, "--block-keys", 3]
            size = ["--tokens", "five.txt"]
            open("five.txt", "w").write("a\nb\nc\nd\ne\n")
            automatic = works("show", *view, *size).stdout
            assert automatic == works("show", *view, *size, "--kind", kind).stdout
        last = [["--head", 2] if lead else [], ["--batch", 1] if len(lead) > 1 else []]
        given = works("show", "--view", "received=received.npy", *sum(last, [])).stdout
        told = works("show", *inputs, "--kind", "bars", *sum(last, [])).stdout
        assert np.allclose(list(bars(given).values()), list(bars(told).values()), rtol=1.1e-3)


def test_too_much_for_a_page(refuses, workdir):
    """1024 heads of 50 000 numbers, packed in 2 bytes and base64: 130 MiB."""
    np.lib.format.open_memmap("r.npy", "w+", "f2", (1, 1024, 1, 50_000))  # zeros, not on the disk
    sentence = "--html: the views of 1024 heads would take 130 MiB"
    done = refuses(sentence, "show", "--view", "received=r.npy", "--html", "x.html")
    assert "expected at most 128" in done.stderr


def test_none_among_keys(works, workdir):
    np.save("k.npy", np.array([[[[0, -1], [1, 0]]]], "i4"))
    np.save("w.npy", np.array([[[[1, 0], [0.75, 0.25]]]], "f4"))
    options = ["--view", "top-keys=k.npy", "--view", "top-weights=w.npy"]
    text = works("show", *options, "--html", "x.html").stdout
    assert text.splitlines()[1].split() == ["0", "->", "1.00", "0"]
    assert pages.read("x.html").keys("top_keys", 0, 0).tolist() == [0, -1, 1, 0]


# ------------------------------------------------------------------------------------------ PNG, SVG


@pytest.fixture
def pictures(attn, saved):
    done = attn("show", "weights.npy", "--png", "probe.png")
    if done.returncode == 2:
        assert "this build of attn has no PNG (it was made without cairo)" in done.stderr
        pytest.skip("this build has no pictures")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_as_picture(works, pictures, kind):
    """Light and dark: paper at the edge, ink on it, and nothing that touches the edge."""
    for options, paper in ([], 255), (["--dark"], 22):
        common = ["show", "weights.npy", "--kind", kind, *TOKENS, *options]
        works(*common, "--png", "x.png", "--svg", "x.svg")
        image = pages.decode_png("x.png")
        edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (edge == paper).all()
        assert (abs(image - paper).sum(-1) > 100).mean() > 0.01
        text = open("x.svg").read()
        assert text.startswith("<?xml") and text.rstrip().endswith("</svg>")
        width, height = re.search(r'width="([\d.]+)(?:pt)?" height="([\d.]+)', text).groups()
        assert (float(height), float(width)) == image.shape[:2]


def test_lines_grow_opaque_with_the_weight(works, pictures):
    """Query 0 looks at key 0 alone and query 2 half at key 2: the lines cross the middle."""
    np.save("w.npy", np.array([[1, 0, 0], [0, 0, 0], [0.5, 0, 0.5]]))
    works("show", "w.npy", "--kind", "lines", "--png", "x.png")
    image = pages.decode_png("x.png")
    column = (765 - image.sum(-1))[:, image.shape[1] // 2]
    lines = column[column > 20]
    assert lines.max() > 1.8 * np.sort(column)[-6] or len(lines) >= 3
    blue = np.array([0, 114, 178])
    assert (abs(image - blue).sum(-1) < 30).any()


def test_path_over_a_matrix(works, pictures):
    works("show", "weights.npy", "--png", "without.png")
    works("show", "weights.npy", *view("path"), "--png", "with.png")
    without, over = pages.decode_png("without.png"), pages.decode_png("with.png")
    assert without.shape == over.shape
    orange = abs(over - np.array([213, 94, 0])).sum(-1) < 30
    assert orange.sum() > 100 and not (abs(without - np.array([213, 94, 0])).sum(-1) < 30).any()
    assert np.nonzero(orange)[1].max() < over.shape[1] - 100  # the legend is to the right


# ------------------------------------------------------------------------------------- bad input


def test_bad_views(refuses, saved):
    np.save("flat.npy", np.zeros(3, "f4")[:0])
    np.save("fraction.npy", np.full((1, 1, 2, 1), 0.5, "f4"))
    np.save("far.npy", np.full((1, 1, 2, 1), 10**9 - 1))
    np.save("three.npy", np.zeros((1, 3, 1, KEYS + 1), "f4"))
    np.save("heads.npy", np.zeros((2, 2, 1, KEYS), "f4"))
    for sentence, *arguments in (
        ("--view recieved=r.npy: there is no view of that name", "--view", "recieved=r.npy"),
        ("--view entropy: expected NAME=FILE", "--view", "entropy"),
        ("missing.npy: No such file", "--view", "entropy=missing.npy"),
        ("--view top-weights needs --view top-keys", *view("top-weights")),
        ("expected the number of queries and 2", "--view", "path=weights.npy"),
        ("expected 1 and 4", "--view", "head-statistics=weights.npy"),
        ("fraction.npy: names key 0.5: expected whole numbers", "--view", "top-keys=fraction.npy"),
        ("has or names 1000000000 keys", "--view", "argmax=far.npy"),
        ("three.npy: has 9 keys, but there are 8", "weights.npy", "--view", "received=three.npy"),
        ("heads.npy: has 2 heads, but there are 3", "weights.npy", "--view", "received=heads.npy"),
        ("is empty", "--view", "entropy=flat.npy"),
        ("--kind pie: expected auto, matrix, lines", "weights.npy", "--kind", "pie"),
        ("--kind lines: cannot be drawn from entropy.npy", *view("entropy"), "--kind", "lines"),
        ("--kind path: cannot be drawn from weights.npy", "weights.npy", "--kind", "path"),
        ("do not cover", *view("block-sums", "received-sum"), "--block-keys", 3),
        ("entropy.npy holds a view, not query, key and value", *view("entropy"), "--scale", 2),
        ("there are 6 tokens for 8 keys", *view("received-sum"), "--tokens", "q.txt"),
        ("--head 3: entropy.npy has 3 heads", *view("entropy"), "--head", "0,3"),
        ("matrices of one kind", "weights.npy", "--view", "scores=weights.npy"),
    ):
        refuses(sentence, "show", *arguments)


def test_several_heads_in_one_picture(refuses, works, pictures):
    refuses("is of one head", "show", "weights.npy", "--head", "0,1", "--png", "x.png")
    works("show", "weights.npy", "--head", "0,1", "--kind", "lines", "--png", "x.png")

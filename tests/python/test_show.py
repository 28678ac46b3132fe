"""attn.show: what it takes, and that pages, axes and files have the numbers and the words of it.

Pages are read by tests/cli/pages.py, as those of the command are, and compared with the command's.
"""

import html
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import attn
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "cli"))

import browser as browsers  # noqa: E402
import pages  # noqa: E402

ATTN = Path(os.environ.get("ATTN_BIN", ROOT / "build" / "attn"))
HOSTILE = [
    "<b>bold</b>",
    "</script>",
    "&amp;",
    '"',
    "'",
    "naïve",
    "日本",
    r"$\no{$",
    "a\nb",
    "",
    " ",
]
WORDS = "the old doctor was tired , so she slept".split()
LAYERS, HEADS, QUERIES, KEYS = 2, 3, 9, 9


def soft(*shape, seed=0):
    """Weights: rows of positive numbers that add to 1."""
    raw = np.random.default_rng([seed, *shape]).random(shape).astype(np.float32) ** 3
    return raw / raw.sum(-1, keepdims=True)


def stack_of_weights():
    return soft(LAYERS, HEADS, QUERIES, KEYS)


def views_of(*lead, names, n=9, m=9):
    q, k, v = (np.random.default_rng(i).standard_normal((*lead, length, 8)).astype(np.float32)
               for i, length in enumerate((n, m, m)))  # fmt: skip
    return attn.attention(q, k, v, views=names)[1]


def page_of(picture, folder):
    picture.save(folder / "page.html")
    return pages.read(folder / "page.html")


# --- Pages --------------------------------------------------------------------------------------


def test_page_has_weights_and_words(tmp_path):
    weights = stack_of_weights()
    page = page_of(attn.show(weights, tokens=WORDS), tmp_path)
    np.testing.assert_array_equal(page.weights(), weights)
    assert page.data["query_tokens"] == page.data["key_tokens"] == WORDS
    assert page.data["layers"] == ["layer 0", "layer 1"] and page.data["heads"] == [0, 1, 2]
    assert page.data["kind"] == "matrix" and page.data["title"] == "Attention weights"
    assert page.names() == ["bars0", "bars1", "weights"]


def test_page_tells_views_from_weights(tmp_path):
    """As attn.attention has them. Both are sums of at most 9 numbers in float32 against float64, so
    within 9 u of the sum of their absolute values; those of the page are packed in steps."""
    names = ["weights", "received_sum", "entropy", "head_statistics"]
    views = views_of(HEADS, names=names)
    page = page_of(attn.show(views.weights), tmp_path)
    statistics = np.array(page.data["statistics"])[0]
    for head in range(HEADS):
        for i, name in enumerate(("received_sum", "entropy")):
            numbers, step = page.packed(f"bars{i}", 0, head, 2)
            # An entropy's terms -w log w are each rounded relatively, their logarithms absolutely.
            bound = 9 * 2.0**-24 * (np.abs(views[name][head]) + 1) + step / 2 + 1e-6 * step
            assert (np.abs(numbers - views[name][head]) <= bound).all()
        most = 81 * 2.0**-24 * np.maximum(np.abs(views.head_statistics[head]), 1)
        assert (np.abs(statistics[head] - views.head_statistics[head]) <= most).all()


def test_page_of_views(tmp_path):
    """Each of them as it was given, all at once, without weights."""
    names = ["entropy", "received_max", "path", ("top", 3), "head_statistics"]
    views = views_of(2, HEADS, names=names, n=5)
    page = page_of(attn.show(views, batch=1, source_tokens=WORDS), tmp_path)
    assert page.names() == ["bars0", "bars1", "path", "top_keys", "top_weights"]
    assert (page.data["queries"], page.data["keys"], page.data["matrix"]) == (5, 9, "top")
    assert [bars["of_keys"] for bars in page.data["bars"]] == [False, True]
    np.testing.assert_allclose(page.data["statistics"][0], views.head_statistics[1], rtol=2e-7)
    for head in range(HEADS):
        keys = page.keys("top_keys", 0, head).reshape(5, 3)
        np.testing.assert_array_equal(keys, views.top_keys[1, head])
        path = page.keys("path", 0, head).reshape(5, 2)
        np.testing.assert_array_equal(path, views.path[1])
        for part, name in (("bars0", "entropy"), ("bars1", "received_max"),
                           ("top_weights", "top_weights")):  # fmt: skip
            numbers, step = page.packed(part, 0, head, 2)
            wanted = views[name][1, head].reshape(-1)
            assert (np.abs(numbers - wanted) <= step / 2 + 1e-6 * step).all()


def test_page_of_nan_and_infinity(tmp_path):
    scores = np.array([[1.0, -np.inf, np.nan], [0.5, 2.0, np.inf]], np.float32)
    page = page_of(attn.show(scores, view="scores"), tmp_path)
    np.testing.assert_array_equal(page.weights()[0, 0], scores)
    page = page_of(attn.show(scores[0], view="received_sum"), tmp_path)
    np.testing.assert_array_equal(page.packed("bars0", 0, 0, 2)[0], [1, 0, np.nan])


def test_page_of_many_weights(tmp_path):
    """More than a page holds as they are: the largest of blocks, and the strongest keys."""
    weights = soft(1100, 1000)
    page = page_of(attn.show(weights), tmp_path)
    assert page.names() == ["bars0", "bars1", "blocks", "top_keys", "top_weights"]
    blocks = page.data["blocks"]
    assert blocks == {"rows": 62, "columns": 63, "queries": 18, "keys": 16}
    cells, step = page.packed("blocks", 0, 0, 1)
    cells = cells.reshape(62, 63)
    for i, j in ((0, 0), (61, 62), (30, 5)):
        largest = weights[18 * i : 18 * i + 18, 16 * j : 16 * j + 16].max()
        assert abs(cells[i, j] - largest) <= step / 2 * 1.001
    keys = page.keys("top_keys", 0, 0).reshape(1100, 8)
    np.testing.assert_array_equal(keys, np.argsort(-weights, 1, kind="stable")[:, :8])
    assert (tmp_path / "page.html").stat().st_size < 300_000
    # 2000 heads of 4000 keys of 2 bytes, and as many for a weight, in base64.
    many = attn.Views(top_keys=np.zeros((2000, 4000, 1), np.int64))
    with pytest.raises(ValueError, match="^data: the views of 2000 heads would take 41 MiB"):
        attn.show(many).html()


def test_page_of_block_sums(tmp_path):
    names = {"block_sums": (4, 5), "entropy": True, "received_sum": True, "weights": True}
    views = views_of(names=names, n=10, m=13)
    del views["weights"], names["weights"]
    sums = views.block_sums
    page = page_of(attn.show(views), tmp_path)
    assert page.data["blocks"] == {"rows": 3, "columns": 3, "queries": 4, "keys": 5}
    cells, step = page.packed("blocks", 0, 0, 1)
    area = np.outer([4, 4, 2], [5, 5, 3])
    assert (np.abs(cells.reshape(3, 3) - sums / area) <= step / 2 * 1.001).all()


def test_hostile_words_stay_words(tmp_path):
    weights = soft(len(HOSTILE), len(HOSTILE))
    picture = attn.show(weights, tokens=HOSTILE, title="</title><script>alert(1)</script>")
    page = page_of(picture, tmp_path)
    assert page.data["key_tokens"] == HOSTILE
    text = (tmp_path / "page.html").read_text()
    assert "<b>bold" not in text and "alert(1)</script>" not in text
    frame = picture._repr_html_()
    inside = re.fullmatch(r'<iframe title="[^"<>]*" srcdoc="([^"]*)" [^<]*></iframe>', frame, re.S)
    assert html.unescape(inside[1]) == text


def test_page_is_the_commands(tmp_path):
    """The same facts and the same bytes, but for what the two call it."""
    if not ATTN.exists():
        pytest.skip(f"there is no command {ATTN}")
    weights = soft(LAYERS, HEADS, 9, 9)
    np.save(tmp_path / "w.npy", weights)
    (tmp_path / "words").write_text("\n".join(WORDS))
    command = [ATTN, "show", "w.npy", "--tokens", "words", "--kind", "matrix", "--html", "its.html"]
    subprocess.run(command, cwd=tmp_path, check=True)
    its = pages.read(tmp_path / "its.html")
    ours = page_of(attn.show(weights, tokens=WORDS, kind="matrix"), tmp_path)
    assert ours.scripts.keys() == its.scripts.keys()
    assert ours.scripts["program"] == its.scripts["program"]
    for fact in ours.data.keys() - {"title", "layers", "statistics", "version"}:
        assert ours.data[fact] == its.data[fact], fact
    np.testing.assert_allclose(ours.data["statistics"], its.data["statistics"], rtol=1e-6)
    np.testing.assert_array_equal(ours.weights(), its.weights())
    for layer in range(LAYERS):
        for head in range(HEADS):
            for part in ("bars0", "bars1"):
                (a, step), (b, _) = (p.packed(part, layer, head, 2) for p in (ours, its))
                # Sums in float32 and float64 may fall on either side of a step's middle.
                assert np.abs(a - b).max() <= 1.01 * step


# --- What is taken ------------------------------------------------------------------------------


def shape_of(picture):
    data = json.loads(pages.Tags(picture.html()).scripts["data"])
    return len(data["layers"]), len(data["heads"]), data["queries"], data["keys"]


@pytest.mark.parametrize("shape,given,expected", [
    ((4, 5), {}, (1, 1, 4, 5)),
    ((3, 4, 5), {}, (1, 3, 4, 5)),
    ((2, 3, 4, 5), {}, (2, 3, 4, 5)),
    ((2, 3, 4, 5), {"batch": 1}, (1, 3, 4, 5)),
    ((2, 6, 3, 4, 5), {"batch": 5}, (2, 3, 4, 5)),
    ((2, 3, 4, 5), {"layer": 1, "head": [0, 2]}, (1, 2, 4, 5)),
    ((2, 3, 4, 5), {"layer": [-1, 0], "head": -1}, (2, 1, 4, 5)),
    ((7,), {"view": "received_sum"}, (1, 1, 1, 7)),
    ((3, 7), {"view": "entropy"}, (1, 3, 7, 1)),
    ((2, 3, 7), {"view": "received_max"}, (2, 3, 1, 7)),
])  # fmt: skip
def test_arrays(shape, given, expected):
    assert shape_of(attn.show(soft(*shape), **given)) == expected


def test_lists_and_layers_by_name():
    matrix = soft(4, 5)
    assert shape_of(attn.show(matrix.tolist())) == (1, 1, 4, 5)
    layers = [soft(3, 4, 5, seed=i) for i in range(2)]
    for data in (layers, tuple(layers), [layers[0], None, layers[1]]):
        assert shape_of(attn.show(data)) == (2, 3, 4, 5)
    views = [views_of(3, names=["received_sum", "entropy"]) for _ in range(2)]
    assert shape_of(attn.show(views)) == (2, 3, 9, 9)
    named = {"encoder.0": views[0], "encoder.1": views[1]}
    picture = attn.show(named, view="entropy", layer=1)
    assert "encoder.1" in picture.html() and "encoder.0" not in picture.html()
    assert "layer 2" in attn.show([layers[0], None, layers[1]]).html()


def test_chosen_heads_keep_their_numbers(tmp_path):
    weights = stack_of_weights()
    page = page_of(attn.show(weights, layer=1, head=[2, 0]), tmp_path)
    assert page.data["heads"] == [2, 0] and page.data["layers"] == ["layer 1"]
    np.testing.assert_array_equal(page.weights()[0], weights[1][[2, 0]])


def test_words_of_queries_beside_a_cache(tmp_path):
    page = page_of(attn.show(soft(2, 9), tokens=WORDS), tmp_path)
    assert page.data["query_tokens"] == WORDS[-2:] and page.data["key_tokens"] == WORDS


def test_one_of_several_matrices(tmp_path):
    views = views_of(HEADS, names=["raw_scores", "weights"])
    for view in ("raw_scores", "weights"):
        page = page_of(attn.show(views, view=view), tmp_path)
        np.testing.assert_array_equal(page.weights()[0], views[view])
    page = page_of(attn.show(views), tmp_path)
    np.testing.assert_array_equal(page.weights()[0], views.raw_scores)
    assert page.data["title"] == "Scores, scaled" and page.data["statistics"] == []


def test_mean_over_heads_beside_views_of_heads(tmp_path):
    views = views_of(HEADS, names=["head_mean", "received_sum"])
    page = page_of(attn.show(views, head=1), tmp_path)
    np.testing.assert_array_equal(page.weights()[0, 0], views.head_mean)
    numbers, step = page.packed("bars0", 0, 0, 2)
    assert (np.abs(numbers - views.received_sum[1]) <= step / 2 * 1.001).all()


def test_tensors_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    weights = torch.tensor(stack_of_weights(), requires_grad=True)
    page = page_of(attn.show(weights), tmp_path)
    np.testing.assert_array_equal(page.weights(), weights.detach().numpy())
    half = weights.detach().bfloat16()
    np.testing.assert_array_equal(
        page_of(attn.show(half), tmp_path).weights(), half.float().numpy()
    )


# --- What transformers returns ------------------------------------------------------------------


def outputs(**attentions):
    return types.SimpleNamespace(**attentions)


def layers_of(*shape):
    return tuple(soft(*shape, seed=i) for i in range(LAYERS))


def test_outputs_of_an_encoder(tmp_path):
    attentions = layers_of(1, HEADS, 9, 9)
    page = page_of(attn.show(outputs(attentions=attentions), tokens=WORDS), tmp_path)
    np.testing.assert_array_equal(page.weights(), np.concatenate(attentions))
    attentions = layers_of(4, HEADS, 9, 9)
    page = page_of(attn.show(outputs(attentions=attentions), batch=2), tmp_path)
    np.testing.assert_array_equal(page.weights(), np.stack([layer[2] for layer in attentions]))


def encoder_decoder():
    return outputs(encoder_attentions=layers_of(1, HEADS, 9, 9),
                   decoder_attentions=layers_of(1, HEADS, 4, 4),
                   cross_attentions=layers_of(1, HEADS, 4, 9))  # fmt: skip


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_outputs_of_an_encoder_decoder(kind, tmp_path):
    data = encoder_decoder()
    page = page_of(attn.show(data, attentions=kind), tmp_path)
    np.testing.assert_array_equal(
        page.weights(), np.concatenate(getattr(data, f"{kind}_attentions"))
    )
    with pytest.raises(ValueError, match="^attentions is None: data has several, choose one of"):
        attn.show(data)


def test_kinds_of_which_there_are_none_are_no_choice(tmp_path):
    """BERT's encoder returns an empty tuple for the cross attention that it does not have."""
    layers = layers_of(1, HEADS, 6, 6)
    page = page_of(attn.show(outputs(attentions=layers, cross_attentions=())), tmp_path)
    np.testing.assert_array_equal(page.weights(), np.concatenate(layers))


def test_words_of_both_sides_mean_cross_attention(tmp_path):
    picture = attn.show(encoder_decoder(), source_tokens=WORDS, target_tokens=list("abcd"))
    page = page_of(picture, tmp_path)
    assert page.data["title"] == "Cross-attention weights"
    assert (page.data["key_tokens"], page.data["query_tokens"]) == (WORDS, list("abcd"))


def test_steps_of_a_generation(tmp_path):
    """The prompt's rows, then one for each token; none looks ahead."""
    steps = tuple(tuple(soft(1, HEADS, rows, keys, seed=layer) for layer in range(LAYERS))
                  for rows, keys in ((7, 7), (1, 8), (1, 9)))  # fmt: skip
    weights = page_of(attn.show(outputs(attentions=steps), tokens=WORDS), tmp_path).weights()
    assert weights.shape == (LAYERS, HEADS, 9, 9)
    for layer in range(LAYERS):
        np.testing.assert_array_equal(weights[layer, :, :7, :7], steps[0][layer][0])
        np.testing.assert_array_equal(weights[layer, :, 7, :8], steps[1][layer][0, :, 0])
        np.testing.assert_array_equal(weights[layer, :, 8], steps[2][layer][0, :, 0])
    assert (weights[..., :7, 7:] == 0).all() and (weights[..., 7, 8] == 0).all()


@pytest.mark.slow
def test_models_of_transformers(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": LAYERS, "num_heads": 2}
    config = transformers.T5Config(vocab_size=20, decoder_start_token_id=0, **sizes)
    config._attn_implementation = "eager"
    model = transformers.T5ForConditionalGeneration(config).eval()
    words = torch.arange(1, 7)[None]
    found = model(input_ids=words, decoder_input_ids=words[:, :3], output_attentions=True)
    for kind, shape in (("encoder", (6, 6)), ("decoder", (3, 3)), ("cross", (3, 6))):
        page = page_of(attn.show(found, attentions=kind), tmp_path)
        expected = torch.cat(getattr(found, f"{kind}_attentions")).detach().numpy()
        assert expected.shape == (LAYERS, 2, *shape)
        np.testing.assert_array_equal(page.weights(), expected)
    made = model.generate(words, max_new_tokens=4, min_new_tokens=4, output_attentions=True,
                          return_dict_in_generate=True)  # fmt: skip
    assert shape_of(attn.show(made, attentions="cross")) == (LAYERS, 2, 4, 6)
    assert shape_of(attn.show(made, attentions="decoder")) == (LAYERS, 2, 4, 4)


# --- Text ---------------------------------------------------------------------------------------


def test_text_names_the_strongest_keys():
    weights = np.zeros((2, 3), np.float32)
    weights[0] = 0.25, 0.75, 0
    weights[1] = 0, 0, 1
    text = repr(attn.show(weights, source_tokens=list("abc"), target_tokens=["x", "yy"]))
    assert text.splitlines()[1:] == [" x -> 0.75 b  0.25 a", "yy -> 1.00 c"]
    top = attn.Views(top_keys=np.array([[1, 0, -1]]), top_weights=np.array([[0.75, 0.25, 0]]))
    assert repr(attn.show(top, source_tokens=list("abc"))).splitlines()[1] == "0 -> 0.75 b  0.25 a"
    assert repr(attn.show(np.array([1, 2]), view="argmax")).splitlines()[1:] == ["0 -> 1", "1 -> 2"]


def test_text_of_bars_and_of_many_rows():
    text = repr(attn.show(np.array([0.5, 2]), view="received_sum", tokens=["a", "b"]))
    assert text.splitlines()[1:] == ["a  0.500", "b  2.000"]
    text = repr(attn.show(soft(100, 5)))
    assert len(text.splitlines()) == 26 and text.endswith("(and 76 more)")


# --- Pictures -----------------------------------------------------------------------------------


@pytest.fixture
def matplotlib():
    module = pytest.importorskip("matplotlib")
    module.use("agg")
    return module


def axes_of(*arguments, **options):
    return attn.show(*arguments, **options).axes()


def test_nothing_is_imported_until_something_is_drawn():
    program = ("import sys, attn, numpy; p = attn.show(numpy.eye(3)); p._repr_html_(); repr(p);"
               "sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_matrix(matplotlib):
    weights = soft(5, 9)
    ax = axes_of(weights, source_tokens=WORDS, target_tokens=list("abcde"))
    np.testing.assert_array_equal(ax.images[0].get_array(), weights)
    assert [label.get_text() for label in ax.get_xticklabels()] == WORDS
    assert [label.get_text() for label in ax.get_yticklabels()] == list("abcde")
    assert ax.get_title(loc="left") == "Attention weights"
    low, high = ax.images[0].get_clim()
    assert (low, high) == (0, weights.max())


def test_infinities_count_as_the_nearer_end(matplotlib):
    scores = np.array([[-np.inf, -1], [np.nan, 2], [0, np.inf]], np.float32)
    ax = axes_of(scores, view="scores")
    shown = ax.images[0].get_array()
    np.testing.assert_array_equal(shown.filled(7), [[-1, -1], [7, 2], [0, 2]])


def test_words_stand_upright_where_they_have_no_room(matplotlib):
    for words, angle in ((["a", "b", "c"], 0), (["a", "b", "a-longer-word"], 90)):
        labels = axes_of(soft(3, 3), tokens=words).get_xticklabels()
        assert [label.get_rotation() for label in labels] == [angle] * 3
    many = axes_of(soft(3, 200), source_tokens=["word"] * 200)
    assert len(many.get_xticks()) <= 12 and (many.get_xticks() % 20 == 0).all()
    assert "word" not in {label.get_text() for label in many.get_xticklabels()}


def test_path_lies_over_the_matrix(matplotlib):
    views = views_of(names=["path", "head_mean"])
    ax = axes_of(views)
    x, y = ax.lines[0].get_data()
    np.testing.assert_array_equal(x, views.path.reshape(-1))
    np.testing.assert_array_equal(y, np.repeat(np.arange(9), 2))
    assert ax.lines[0].get_color() == "#d55e00"  # of no part of the scale
    np.testing.assert_array_equal(ax.images[0].get_array(), views.head_mean)
    partial = np.array([[0, 1], [-1, -1], [1, 2]])
    np.testing.assert_array_equal(axes_of(partial, view="path").lines[0].get_xdata(), [0, 1, 1, 2])


def test_numbers_of_keys_are_bars_and_of_queries_a_line(matplotlib):
    received = soft(9)
    ax = axes_of(received, view="received_sum", tokens=WORDS)
    np.testing.assert_array_equal([bar.get_height() for bar in ax.patches], received)
    assert [label.get_text() for label in ax.get_xticklabels()] == WORDS
    ax = axes_of(received, view="entropy", tokens=WORDS)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), received)
    rows = axes_of(soft(HEADS, 9), view="received_sum", tokens=WORDS)
    np.testing.assert_array_equal(rows.images[0].get_array(), soft(HEADS, 9))
    assert [label.get_text() for label in rows.get_yticklabels()] == ["head 0", "head 1", "head 2"]


def test_grid_and_table(matplotlib):
    weights = stack_of_weights()
    ax = axes_of(weights)
    maps = [child.images[0].get_array() for child in ax.child_axes]
    np.testing.assert_array_equal(maps, weights.reshape(-1, QUERIES, KEYS))
    statistics = soft(LAYERS, HEADS, 4)
    ax = axes_of(statistics, view="head_statistics")
    for which, child in enumerate(ax.child_axes):
        np.testing.assert_array_equal(child.images[0].get_array(), statistics[:, :, which])
        written = [float(text.get_text()) for text in child.texts]
        assert written == [float(f"{x:.2f}") for x in statistics[:, :, which].reshape(-1)]


def test_lines_are_the_strongest_of_each_query(matplotlib):
    top = attn.Views(
        top_keys=np.array([[2, 0], [1, -1]]), top_weights=np.array([[0.8, 0.2], [1, 0]])
    )
    ax = axes_of(top, kind="lines", source_tokens=list("abc"), target_tokens=list("xy"))
    lines = ax.collections[0]
    ends = [(path.vertices[0, 1] * 2 - 0.5, path.vertices[-1, 1] * 3 - 0.5)
            for path in lines.get_paths()]  # fmt: skip
    np.testing.assert_allclose(ends, [(0, 0), (0, 2), (1, 1)], atol=1e-12)
    np.testing.assert_allclose(lines.get_alpha(), [0.2, 0.8, 1])


def test_lines_of_a_long_text_are_bundled(matplotlib):
    """Query i looks at key i alone: a line for each of 72 places, of the weights of its queries."""
    lines = axes_of(np.eye(216), kind="lines").collections[0]
    ends = np.array([path.vertices[[0, -1], 1] for path in lines.get_paths()])
    np.testing.assert_allclose(np.sort(ends[:, 0]), (np.arange(72) + 0.5) / 72)
    np.testing.assert_array_equal(ends[:, 0], ends[:, 1])
    np.testing.assert_array_equal(lines.get_alpha(), np.ones(72))


def test_given_axes_are_drawn_into(matplotlib):
    figure = matplotlib.figure.Figure()
    left, right = figure.subplots(1, 2)
    left.set_facecolor("black")
    for ax in (left, right):
        assert attn.show(stack_of_weights(), head=1, layer=0, ax=ax) is ax
    assert len(figure.axes) == 2  # the scale has not taken room from them
    first = [ax.images[0].cmap(0.0)[0] for ax in (left, right)]
    assert first[0] < 0.2 and first[1] > 0.9  # dark on dark, pale on white
    dark = attn.show(soft(3, 3), dark=True, ax=right).images[-1]
    assert dark.cmap(0.0)[0] < 0.2


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_words_are_not_formulas(matplotlib, tmp_path):
    """Nor do line ends or long words make room where there is none."""
    words = [*HOSTILE, "x" * 300]
    for kind in ("matrix", "lines", "bars"):
        picture = attn.show(soft(len(words), len(words)), tokens=words, kind=kind, title=r"$\no{$")
        picture.save(tmp_path / "words.svg")
        picture.save(tmp_path / "words.png", dpi=40)
        ax = picture.axes()
        labels = [label.get_text() for label in (ax.get_yticklabels() if kind == "lines"
                                                 else ax.get_xticklabels())]  # fmt: skip
        assert labels[:5] == HOSTILE[:5] and labels[7:11] == [r"$\no{$", "a b", "", "␣"]
        assert max(map(len, labels)) == 24


def test_files(matplotlib, tmp_path):
    picture = attn.show(soft(4, 4), tokens=list("abcd"), title="four")
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF", "html": b"<!doctype html>"}
    for end, start in starts.items():
        picture.save(tmp_path / f"four.{end}")
        assert (tmp_path / f"four.{end}").read_bytes().startswith(start)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        picture.save(str(tmp_path / "four.SVG"))
    text = (tmp_path / "four.SVG").read_text()
    assert all(f">{word}</text>" in text for word in ["a", "b", "c", "d", "four"])
    assert text.count("<image") == 2  # the matrix and its scale
    with pytest.raises(ValueError, match=r"^path is 'four.gif': expected one that ends in .png, "):
        picture.save("four.gif")
    with pytest.raises(ValueError, match="^dpi: a page has no options of a picture"):
        picture.save("four.html", dpi=3)


# --- Errors -------------------------------------------------------------------------------------

FEW = soft(3, 4)
REFUSED = [
    (soft(2, 3, 4, 5), {"layer": 2}, ValueError, "layer is 2: expected one of 0 to 1"),
    (soft(2, 3, 4, 5), {"head": [0, 3]}, ValueError, "head is 3: expected one of 0 to 2"),
    (soft(2, 3, 4, 5), {"head": "first"}, TypeError, "head is 'first': expected a number"),
    (FEW, {"tokens": ["a"]}, ValueError, "tokens has 1 entries: expected 4, one for each key"),
    (FEW, {"source_tokens": "abcd"}, TypeError, "source_tokens is a text: expected a list"),
    (FEW, {"target_tokens": list("abcd")}, ValueError, "target_tokens has 4 entries: expected 3"),
    (FEW, {"tokens": list("abcd"), "source_tokens": list("abcd")}, ValueError,
     "tokens: expected either them, or source_tokens and target_tokens"),
    (FEW, {"view": "weight"}, ValueError, "view is 'weight': expected one of weights, "),
    (FEW, {"kind": "pie"}, ValueError, "kind is 'pie': expected one of matrix, lines"),
    (FEW, {"kind": "grid"}, ValueError, "kind is 'grid': data has what is needed for matrix, bars"),
    (FEW, {"batch": 0}, ValueError, r"batch is 0: weights has the shape \(3, 4\), without a batch"),
    (FEW, {"attentions": "cross"}, ValueError, "attentions is 'cross': data is not what a model"),
    (FEW, {"attentions": "self"}, ValueError, "attentions is 'self': expected one of encoder, "),
    (soft(2, 2, 2, 2, 2, 2), {}, ValueError,
     r"weights has the shape \(2, 2, 2, 2, 2, 2\): expected 2 to 4 dimensions"),
    (np.zeros((0, 3)), {}, ValueError, r"weights has the shape \(1, 0, 3\): expected no dimension"),
    (["a", "b"], {}, TypeError, "data has elements of the type <U1: expected numbers"),
    ([], {}, ValueError, r"weights has the shape \(0,\): expected"),
    ([soft(2, 3, 3), soft(2, 4, 4)], {}, ValueError,
     r"weights has the shape \(2, 4, 4\) in layer 1, but \(2, 3, 3\) in layer 0: choose by layer="),
    (outputs(attentions=None), {}, ValueError, "data has no attentions: expected the model to be"),
    (outputs(attentions=layers_of(3, 2, 4, 4)), {}, ValueError,
     "batch is None: weights has 3 entries, choose one"),
    (outputs(attentions=layers_of(3, 2, 4, 4)), {"attentions": "cross"}, ValueError,
     "attentions is 'cross': data has attentions"),
    (attn.Views(weights=FEW), {"view": "entropy"}, ValueError,
     "view is 'entropy': data has weights"),
    (attn.Views(weights=FEW, entropy=np.ones(5)), {}, ValueError,
     "data: its views differ in queries: {'weights': 3, 'entropy': 5}"),
    (attn.Views(top_keys=np.array([[7]])), {"tokens": list("ab")}, ValueError, "data names key 7"),
    (attn.Views(received_sum=soft(2, 4), entropy=soft(3, 4)), {}, ValueError,
     "data: its views differ in heads"),
]  # fmt: skip


@pytest.mark.parametrize("data,given,error,sentence", REFUSED, ids=[row[3][:40] for row in REFUSED])
def test_what_is_wrong_is_named(data, given, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        attn.show(data, **given)


# --- In a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not browsers.executable():
        pytest.skip("no Chromium is installed")
    opened = browsers.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def test_page_in_a_browser(browser, tmp_path):
    weights = soft(LAYERS, HEADS, len(HOSTILE), len(HOSTILE))
    weights[1, 2, 1, 6] = 0.5
    attn.show(weights, tokens=HOSTILE).save(tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    assert browser.evaluate("Array.from(find('views').children, tab => tab.dataset.view)") == [
        "matrix", "lines", "bars", "grid", "table"]  # fmt: skip
    browser.evaluate("chooseHead(1, 2), state.key = 6, chooseQuery(1)")
    assert browser.evaluate("find('pointed').textContent") == "</script> (1) → 日本 (6): 0.500"
    assert browser.complaints() == [] and browser.requests() == []


def test_output_of_a_notebook_in_a_browser(browser, tmp_path):
    """Two outputs in one document: their names do not meet, their heights follow their pages."""
    outputs = [attn.show(soft(n, n), title=f"{n} words")._repr_html_() for n in (4, 12)]
    (tmp_path / "notebook.html").write_text("<!doctype html><body>" + "<hr>".join(outputs))
    browser.open(tmp_path / "notebook.html")
    inside = "Array.from(document.querySelectorAll('iframe'), f => f.contentDocument"
    assert browser.evaluate(inside + ".title)") == ["4 words", "12 words"]
    heights = browser.evaluate(inside + ".body.offsetHeight)")
    frames = browser.evaluate(
        "Array.from(document.querySelectorAll('iframe'), f => f.offsetHeight)"
    )
    assert frames == [min(height, 960) for height in heights] and frames[0] < frames[1]
    assert browser.complaints() == [] and browser.requests() == []

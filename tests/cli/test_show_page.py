"""attn show --html in a browser: what the page shows, by mouse and by keys, in light and dark."""

import os

import browser as browsers
import numpy as np
import pages
import pytest

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
SENTENCES = os.path.join(ROOT, "examples", "data", "minilm_sentence_pair.safetensors")
VIEWS = ["matrix", "lines", "bars", "grid", "table"]
HOSTILE = ["<b>bold</b>", "</script>", "&amp;", '"', "'", "naïve", "日本", "x" * 300]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not browsers.executable():
        pytest.skip("no Chromium is installed")
    opened = browsers.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def opened(browser, works, workdir):
    """opened(arguments of attn show): the page, which must not complain or load anything."""

    def open_page(*arguments, **options):
        works("show", *arguments, "--html", "x.html", timeout=300)
        browser.open("x.html", **options)
        return browser

    yield open_page
    assert browser.complaints() == []
    assert browser.requests() == []


def chosen(browser):
    return browser.evaluate("[state.layer, state.head, state.query, state.key]")


def focus(browser, selector):
    browser.evaluate(f"document.querySelector('{selector}').focus()")


def colours(page):
    """How many colours a screenshot has, a few for an empty page, hundreds for a picture; and the
    screenshot itself, at a quarter of its size."""
    open("shot.png", "wb").write(page.screenshot(0.25))
    image = pages.decode_png("shot.png")
    return len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)), image


def test_every_view_draws_in_both_themes(opened):
    page = opened(SENTENCES)
    tabs = page.evaluate("Array.from(find('views').children, tab => tab.dataset.view)")
    assert tabs == VIEWS
    for view in VIEWS:
        paper = {}
        for theme in ("light", "dark"):
            page.prefer(theme)
            page.evaluate(f"chooseView('{view}')")
            page.settle()
            count, image = colours(page)
            assert count > 100
            paper[theme] = image[2, 2].sum()
        assert paper["light"] > 700 and paper["dark"] < 100


def test_theme_can_be_chosen(opened):
    """The reader's choice outweighs the system's."""
    page = opened(SENTENCES, dark=True)
    for name, dark in ("light", False), ("dark", True), ("auto", True):
        page.evaluate(f"document.querySelector('[data-theme={name}]').click()")
        assert page.evaluate("document.documentElement.hasAttribute('data-dark')") == dark
    page.prefer("light")
    assert not page.evaluate("document.documentElement.hasAttribute('data-dark')")


def test_text_is_legible(opened):
    """WCAG 2.1: contrast of at least 4.5 : 1 between text and what it stands on."""
    page = opened(SENTENCES)
    for name in ("light", "dark"):
        page.evaluate(f"document.querySelector('[data-theme={name}]').click()")
        for ink in ("--ink", "--faint"):
            for paper in ("--page", "--panel"):
                colour = [page.evaluate(f"style('{c}').trim()") for c in (ink, paper)]
                high, low = sorted(map(luminance, colour), reverse=True)
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ink, paper)
    for name in ("light", "dark"):
        text = pages.read("x.html").data[name]
        for i in range(256):
            shade = luminance("#" + text[6 * i : 6 * i + 6])
            best = max(1.05 / (shade + 0.05), (shade + 0.05) / 0.05)
            assert best >= 4.5


def luminance(colour):
    """WCAG's relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_keys_move_through_heads_and_layers(opened):
    page = opened(SENTENCES)
    focus(page, "#heads [aria-checked=true]")
    for key, expected in (
        ("ArrowRight", [0, 1]),
        ("ArrowRight", [0, 2]),
        ("ArrowDown", [1, 2]),
        ("ArrowDown", [1, 2]),  # there are no more
        ("ArrowLeft", [1, 1]),
        ("ArrowUp", [0, 1]),
        ("End", [0, 11]),
        ("Home", [0, 0]),
    ):
        page.press(key)
        assert chosen(page)[:2] == expected
        assert page.evaluate("document.activeElement.getAttribute('aria-checked')") == "true"
    assert page.evaluate("document.activeElement.matches(':focus-visible')")


def test_keys_move_through_views(opened):
    page = opened(SENTENCES)
    focus(page, "#views [aria-selected=true]")
    seen = []
    for _ in VIEWS:
        seen.append(page.evaluate("state.view"))
        page.press("ArrowRight")
    assert seen == VIEWS


def test_keys_move_through_tokens(opened):
    page = opened(SENTENCES)
    focus(page, "#picture")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp"):
        page.press(key)
    assert chosen(page)[2:] == [1, 1]
    said = page.evaluate("find('pointed').textContent")
    assert said.startswith("the (1) → the (1): 0.")
    page.press("End")
    assert chosen(page)[2] == 29
    page.evaluate("chooseView('lines')")
    focus(page, "#picture")
    page.press("ArrowUp")  # from all lines to those of the query
    page.press("ArrowUp")
    assert page.evaluate("state.only") == "query" and chosen(page)[2] == 28
    page.press("ArrowRight")
    assert page.evaluate("state.only") == "key"
    page.press("Escape")
    assert page.evaluate("state.only") == "all"
    page.evaluate("chooseView('bars')")
    focus(page, "#picture")
    before = chosen(page)[3]
    page.press("ArrowDown")
    assert chosen(page)[3] == before + 1


@pytest.mark.parametrize("view,selector", [("grid", "#picture"), ("table", "#table td")])
def test_keys_open_a_head_from_all(opened, view, selector):
    page = opened(SENTENCES)
    page.evaluate(f"chooseView('{view}')")
    focus(page, selector)
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.press(key)
    assert chosen(page)[:2] == [1, 2]
    page.press("Enter")
    assert page.evaluate("state.view") == "matrix"
    assert page.evaluate("find('drawing-name').textContent").startswith("layer 4, head 2")


def test_tab_reaches_every_part(opened):
    page = opened(SENTENCES)
    reached = set()
    for _ in range(12):
        page.press("Tab")
        name = "document.activeElement.id || document.activeElement.parentElement.id"
        reached.add(page.evaluate(name))
    assert reached >= {"theme", "views", "layer", "heads", "picture", "query", "queries"}
    unnamed = """Array.from(document.querySelectorAll('button, select, input, canvas[tabindex]'))
      .filter(e => !e.offsetParent === false)
      .filter(e => !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim()))
      .length"""
    assert page.evaluate(unnamed) == 0


def test_hover_shows_a_token_alone(opened):
    page = opened(SENTENCES, "--head", "1")
    page.evaluate("chooseView('lines')")
    page.settle()
    all_lines = colours(page)[1]
    box = page.evaluate("(r => [r.left, r.top])(find('picture').getBoundingClientRect())")
    y = page.evaluate("lineY('query', 14)")
    page.move(box[0] + 20, box[1] + y)
    assert page.evaluate("[state.only, state.query]") == ["query", 14]
    assert page.evaluate("find('pointed').textContent").startswith(
        "paris (14) looks at france (18) 0.45"
    )
    one = colours(page)[1]
    assert (one.sum(-1) < all_lines.sum(-1)).sum() < (one.sum(-1) > all_lines.sum(-1)).sum()
    page.move(box[0] - 10, 5)
    assert page.evaluate("state.only") == "all"


def test_numbers_are_those_of_the_weights(opened):
    """What the page reads out is what the file holds."""
    weights = np.random.default_rng(5).random((2, 3, 4, 5)).astype("f4")
    np.save("w.npy", weights)
    page = opened("w.npy")
    got = page.evaluate("Array.from(weightsOf(1, 2))")
    assert got == weights[1, 2].ravel().astype(float).tolist()
    strongest = page.evaluate("strongestOf(1, 2, 3, 2).map(s => s.key)")
    assert strongest == np.argsort(-weights[1, 2, 3])[:2].tolist()


def test_text_is_escaped(opened):
    np.save("w.npy", np.eye(len(HOSTILE)))
    open("tokens.txt", "w").write("\n".join(HOSTILE))
    page = opened("w.npy", "--tokens", "tokens.txt", "--title", "<i>&lt;</i>")
    chips = page.evaluate("Array.from(find('queries').children, c => c.textContent)")
    assert chips == HOSTILE
    assert page.evaluate("find('title').textContent") == "<i>&lt;</i>"
    assert page.evaluate("document.querySelectorAll('b, #title i').length") == 0
    for view in ("lines", "bars"):
        page.evaluate(f"chooseView('{view}')")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_narrow_window(opened):
    """A telephone's: nothing is wider than the window but what scrolls by itself."""
    page = opened(SENTENCES, width=390, height=800)
    for view in VIEWS:
        page.evaluate(f"chooseView('{view}')")
        page.settle()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, view


def test_views_without_weights(opened):
    """Pages of one view each: that view is shown, and no tab leads nowhere."""
    n = 500
    random = np.random.default_rng(6)
    arrays = {
        "received": random.random((1, 2, 1, n)).astype("f4"),
        "entropy": random.random((1, 2, n, 1)).astype("f4"),
        "top-keys": random.integers(-1, n, (1, 2, n, 3)).astype("i4"),
        "block-sums": random.random((1, 2, 5, 5)).astype("f4"),
        "head-statistics": random.random((1, 2, 1, 4)).astype("f4"),
        "path": np.sort(random.integers(0, n, (1, 1, n, 2)), axis=2).astype("i4"),
    }
    expected = {
        "received": ["bars"],
        "entropy": ["bars"],
        "top-keys": ["matrix", "lines", "grid"],
        "block-sums": ["matrix", "grid"],
        "head-statistics": ["table"],
        "path": ["matrix"],
    }
    for name, array in arrays.items():
        np.save("a.npy", array)
        page = opened("--view", f"{name}=a.npy")
        tabs = page.evaluate("Array.from(find('views').children, tab => tab.dataset.view)")
        assert tabs == expected[name], name
        for tab in tabs:
            page.evaluate(f"chooseView('{tab}')")
            page.settle()
        assert page.complaints() == [] and colours(page)[0] > 20


def test_not_a_number_and_nothing(opened):
    weights = np.zeros((1, 2, 3, 3), "f4")
    weights[0, 1] = np.nan
    np.save("w.npy", weights)
    page = opened("w.npy")
    for head in range(2):
        for view in page.evaluate("Array.from(find('views').children, t => t.dataset.view)"):
            page.evaluate(f"chooseView('{view}'); chooseHead(0, {head})")
            page.settle()

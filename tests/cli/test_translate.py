"""attn translate: sentences from everywhere, in every form, and a page to hover words in."""

import gzip
import json
import os
import shutil
import signal
import subprocess

import browser as browsers
import pytest
import toy
from safetensors import safe_open
from safetensors.numpy import save_file

SENTENCES = [source for source, _ in toy.pairs(12, 3)]


@pytest.fixture
def translate(works, model):
    def run(*arguments, **options):
        return works("translate", "--model", model, *arguments, **options).stdout

    return run


@pytest.fixture
def lines(translate):
    """What the twelve sentences are, as arguments, by beam search."""
    return translate(*SENTENCES).splitlines()


# ---------------------------------------------------------------------------- Where text comes from


def test_from_everywhere(translate, lines):
    assert len(lines) == 12 and all(lines)
    text = "".join(line + "\n" for line in SENTENCES)
    open("a.txt", "w").write(text)
    gzip.open("a.txt.gz", "wt").write(text)
    open("dos.txt", "w", newline="").write(text.replace("\n", "\r\n"))
    assert translate(input=text).splitlines() == lines
    assert translate(input=text.rstrip("\n")).splitlines() == lines
    for name in ("a.txt", "a.txt.gz", "dos.txt"):
        assert translate("--input", name).splitlines() == lines
    assert translate("--unbuffered", "--input", "a.txt").splitlines() == lines


def test_blank_lines_stay(translate, lines):
    text = f"\n{SENTENCES[0]}\n \t\n\n{SENTENCES[1]}\n"
    assert translate(input=text).splitlines() == ["", lines[0], "", "", lines[1]]
    told = [json.loads(line) for line in translate("--json", input=text).splitlines()]
    assert [len(t["translations"]) for t in told] == [0, 1, 0, 0, 1]
    assert translate(input="") == ""
    assert translate("") == "\n"


def test_more_than_a_group(translate, lines):
    """Lines are translated 1024 at a time."""
    text = "".join(line + "\n" for line in SENTENCES) * 100
    assert (
        translate("--greedy", input=text).splitlines()
        == translate("--greedy", *SENTENCES).splitlines() * 100
    )


def test_each_line_at_once(attn, model, lines):
    """With --unbuffered a line is answered before the next is there."""
    process = subprocess.Popen(
        [attn.binary, "translate", "--model", model, "--unbuffered"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for sentence, line in zip(SENTENCES[:3], lines):
        process.stdin.write(sentence + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == line + "\n"
    process.stdin.close()
    assert process.stdout.read() == "" and process.wait(30) == 0


def test_the_model_that_is_there(attn, works, refuses, model, lines, tmp_path_factory):
    """--model, else ATTN_MODEL, else share/attn/fr-en.safetensors beside the command's folder."""
    sentence = ["translate", SENTENCES[0]]
    named = {"ATTN_MODEL": str(model)}
    assert works(*sentence, env=named).stdout == lines[0] + "\n"
    refuses("no.safetensors: No such file", *sentence, env={"ATTN_MODEL": "no.safetensors"})
    tree = tmp_path_factory.mktemp("installed")
    os.makedirs(tree / "bin"), os.makedirs(tree / "share" / "attn")
    command = shutil.copy(attn.binary, tree / "bin")
    run = lambda: subprocess.run([command, *sentence], capture_output=True, text=True)
    assert "--model is missing" in run().stderr
    shutil.copy(model, tree / "share" / "attn" / "fr-en.safetensors")
    assert run().stdout == lines[0] + "\n"


# ------------------------------------------------------------------------------------------- Search


def test_searches(translate, lines):
    greedy = translate("--greedy", *SENTENCES)
    assert translate("--beam", "1", *SENTENCES) == greedy
    # That hypotheses of another length win is what the penalty is for.
    score = lambda *more: sum(
        json.loads(line)["translations"][0]["log_p"]
        for line in translate("--json", *more, *SENTENCES).splitlines()
    )
    # Without a penalty score and log_p are one; a wider beam may lose a sentence, but not all.
    assert score("--length-penalty", "0") >= score("--length-penalty", "0", "--beam", "1")
    short = translate("--greedy", "--max-length", "3", "--json", *SENTENCES).splitlines()
    assert all(len(json.loads(s)["translations"][0]["subwords"]) <= 3 for s in short)


@pytest.mark.parametrize("search", [[], ["--greedy"], ["--sample", "--seed", "3"]])
def test_threads_change_nothing(translate, search):
    """Nor do the sentences that it is translated with."""
    one = translate(*search, "--threads", "1", *SENTENCES)
    assert translate(*search, "--threads", "3", *SENTENCES) == one
    assert "".join(translate(*search, sentence) for sentence in SENTENCES) == one


def test_n_best(translate, lines):
    told = [line.split("\t") for line in translate("--n-best", "3", *SENTENCES).splitlines()]
    assert len(told) == 36
    for i in range(12):
        three = told[3 * i : 3 * i + 3]
        scores = [float(score) for score, _ in three]
        assert scores == sorted(scores, reverse=True)
        assert three[0][1] == lines[i]
        objects = json.loads(translate("--n-best", "3", "--json", SENTENCES[i]))["translations"]
        assert [o["text"] for o in objects] == [text for _, text in three]
        # Printed with four decimals.
        assert all(abs(o["score"] - s) <= 5.001e-5 for o, s in zip(objects, scores))
        tokens = [tuple(o["subwords"]) for o in objects]
        assert len(set(tokens)) == 3
        for o in objects:
            # The end is a token too.
            assert abs(o["score"] - o["log_p"] / (len(o["subwords"]) + 1)) < 1e-12


def test_samples(translate):
    draw = lambda seed, *more: translate("--sample", "--seed", seed, *more, *SENTENCES)
    assert draw(1) == draw(1) != draw(2)
    assert draw(1, "--top-k", "1") == translate("--greedy", *SENTENCES)
    assert draw(1, "--temperature", "0.001") == translate("--greedy", *SENTENCES)
    assert draw(1, "--top-p", "0.000001") == translate("--greedy", *SENTENCES)
    assert draw(1, "--temperature", "5") != draw(1)
    assert len(set(translate("--sample", "--n-best", "8", SENTENCES[0]).splitlines())) > 1


# ------------------------------------------------------------------------------------------- Forms


def test_lines_are_lines(translate):
    """However unlikely what is drawn: control characters are none of it."""
    told = translate("--sample", "--temperature", "20", "--max-length", "50", *SENTENCES)
    assert told.count("\n") == 12
    assert not {c for c in told if ord(c) < 32 or ord(c) == 127} - {"\n"}


def test_json(translate, lines):
    for sentence, line in zip(SENTENCES, translate("--json", *SENTENCES).splitlines()):
        told = json.loads(line)
        assert list(told) == ["source", "subwords", "translations"]
        assert told["source"] == sentence
        assert "".join(told["subwords"]).replace("\u2581", " ").strip() == sentence
        (best,) = told["translations"]
        assert best["text"] == lines[SENTENCES.index(sentence)]
        assert "".join(best["subwords"]).replace("\u2581", " ").strip() == best["text"]
        for i, j in best["links"]:
            assert 0 <= i < len(sentence.split()) and 0 <= j < len(best["text"].split())


def links_of(text):
    return [tuple(map(int, link.split("-"))) for link in text.split()]


def test_alignments(translate, lines):
    rules = {}
    for rule in ("forward", "backward", "intersection", "union"):
        told = translate("--alignments", "--rule", rule, "--threshold", "0", *SENTENCES)
        texts, links = zip(*(line.split("\t") for line in told.splitlines()))
        assert list(texts) == lines
        rules[rule] = list(map(links_of, links))
    for sentence, line, forward, backward, both, either in zip(SENTENCES, lines, *rules.values()):
        words, others = len(sentence.split()), len(line.split())
        assert sorted(j for _, j in forward) == list(range(others))
        assert sorted(i for i, _ in backward) == list(range(words))
        assert set(both) == set(forward) & set(backward)
        assert set(either) == set(forward) | set(backward)
        assert all(0 <= i < words and 0 <= j < others for i, j in either)
    told = json.loads(translate("--json", "--rule", "union", "--threshold", "0", SENTENCES[0]))
    assert [tuple(link) for link in told["translations"][0]["links"]] == rules["union"][0]
    none = translate("--alignments", "--rule", "threshold", "--threshold", "1.1", *SENTENCES)
    assert none.splitlines() == [line + "\t" for line in lines]


def test_show(translate, lines):
    """A row for each word of the translation, in characters."""
    told = translate("--show", SENTENCES[0]).splitlines()
    assert told[0] == lines[0] and "where each word looked" in told[1]
    words = lines[0].split()
    rows = told[-1 - len(words) : -1]  # the last line is the legend
    assert [row.split()[0] for row in rows] == words


def test_show_of_a_long_sentence(translate):
    """No wider than the window: a column stands for several words then."""
    long = " ".join(SENTENCES)
    told = translate("--show", "--greedy", long, env={"COLUMNS": "60"})
    said, *picture = told.splitlines()
    assert len(long.split()) > 60 and picture
    assert max(map(len, picture)) <= 60
    assert "largest of 1 x 2 weights" in told


# ------------------------------------------------------------------------------------- In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not browsers.executable():
        pytest.skip("no Chromium is installed")
    opened = browsers.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


HOSTILE = ["</script><b>le chat", 'le "chat" & l\'oiseau <!--', "\u2028 \\ @sentences@ 日本"]


def shades(browser, row):
    """The opacities of a row's words in the first pair."""
    colours = browser.evaluate(f"""Array.from(document.querySelector('.{row}').children,
                       word => getComputedStyle(word).backgroundColor)""")
    parts = [c[c.index("(") + 1 : -1].split(",") for c in colours]
    return [float(p[3]) if len(p) == 4 else 1.0 for p in parts]


def hover(browser, row, k):
    x, y = browser.evaluate(f"""(() => {{ const box = document.querySelector('.{row}').children[{k}]
                                          .getBoundingClientRect();
                      return [box.left + box.width / 2, box.top + box.height / 2]; }})()""")
    browser.move(x, y)


@pytest.mark.parametrize("dark", [False, True])
def test_the_page(translate, browser, dark):
    """Hovering a word shades those of the other language by the weights between them."""
    line = translate("--html", "x.html", SENTENCES[0], *HOSTILE).splitlines()[0]
    browser.open("x.html", dark=dark)
    first, *others = browser.evaluate("sentences")
    assert [s["source"] for s in (first, *others)] == [
        [word for word in s.split(" ") if word] for s in (SENTENCES[0], *HOSTILE)
    ]
    words, said = first["source"], first["target"]
    assert words == SENTENCES[0].split() and said == line.split()
    shown = browser.evaluate(
        "Array.from(document.querySelector('.pair').querySelectorAll('.word'), w => w.textContent)"
    )
    assert shown == words + said
    weight = lambda i, j: first["weights"][j * len(words) + i] / 1000
    # A colour's opacity is one of 255.
    close = lambda got, wanted: all(abs(a - b) <= 1 / 255 for a, b in zip(got, wanted, strict=True))
    for j in range(len(said)):
        hover(browser, "target", j)
        assert close(shades(browser, "source"), [weight(i, j) for i in range(len(words))])
        assert max(shades(browser, "target")) == 0
    for i in range(len(words)):
        hover(browser, "source", i)
        assert close(shades(browser, "target"), [weight(i, j) for j in range(len(said))])
        assert max(shades(browser, "source")) == 0
    drawn = browser.evaluate("document.querySelector('.pair svg').children.length")
    assert drawn == sum(weight(len(words) - 1, j) > 0.02 for j in range(len(said)))
    browser.move(1, 1)
    assert max(shades(browser, "source") + shades(browser, "target")) == 0
    # The same by keys.
    browser.press("Tab")
    assert close(shades(browser, "target"), [weight(0, j) for j in range(len(said))])
    assert browser.complaints() == [] and browser.requests() == []


def test_a_page_is_whole_or_not_there(attn, model, refuses):
    open("x.html", "w").write("old")
    open("bad.txt", "wb").write(b"le chat .\n\xff\n")
    done = attn("translate", "--model", model, "--input", "bad.txt", "--html", "x.html")
    assert done.returncode == 2 and open("x.html").read() == "old"
    command = ["translate", "--model", model, "le chat ."]
    refuses("no/x.html: cannot be written: No such file", *command, "--html", "no/x.html")


# --------------------------------------------------------------------------------------- Bad input


def test_bad_use(refuses, model):
    command = ["translate", "--model", model]
    refuses("--beam 0: expected a whole number above 0", *command, "--beam", "0", "a")
    refuses("--n-best 6: expected at most --beam, 5", *command, "--n-best", "6", "a")
    refuses("--greedy excludes --sample", *command, "--greedy", "--sample", "a")
    refuses("--greedy finds one translation", *command, "--greedy", "--n-best", "2", "a")
    refuses("expected --input or sentences, not both", *command, "--input", "dev.tsv", "a")
    refuses("--json excludes --show", *command, "--json", "--show", "a")
    refuses("--json excludes --alignments", *command, "--json", "--alignments", "a")
    refuses("--rule best: expected forward, backward", *command, "--rule", "best", "a")
    refuses("no.txt: No such file", *command, "--input", "no.txt")
    refuses(
        "sentence 2 is not valid UTF-8", *command, "a", b"\xff".decode(errors="surrogateescape")
    )
    refuses("sentence 1 is 20000 bytes long: expected at most 16384", *command, "x" * 20000)


BAD_LINES = {
    "not UTF-8": (b"\xc3\x28", "line 3 is not UTF-8: byte 1 is 0xc3"),
    "NUL": (b"le\0chat", "line 3 has a NUL at byte 3: expected text"),
    "1 MB": (b"le chat " * 125_000, "line 3 is 1000000 bytes long: expected at most 16384"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_lines(attn, model, lines, name):
    """What comes before one is translated; what is wrong with it is said."""
    line, sentence = BAD_LINES[name]
    first = "".join(s + "\n" for s in SENTENCES[:2]).encode()
    open("a.txt", "wb").write(first + line + b"\nle chat .\n")
    for given in ([], ["--unbuffered"]):
        done = attn("translate", "--model", model, "--input", "a.txt", *given)
        assert done.returncode == 2
        assert done.stdout.splitlines() == lines[:2]
        assert done.stderr == f"attn translate: a.txt: {sentence}\n"


def test_a_line_as_long_as_may_be(translate):
    assert translate("--greedy", "--max-length", "5", input="le chat " * 2047).count("\n") == 1


def test_letters_that_it_has_not_seen(translate):
    """Bytes stand for them."""
    assert translate("日本語 😀 \x01\x7f e\u0301").count("\n") == 1
    assert translate("--show", "--alignments", "日本語 😀 \x01\x7f e\u0301")


# ------------------------------------------------------------------------------ Models that are none


def changed(model, metadata=None, tensors=None):
    """A copy of the model with some of it changed."""
    with safe_open(model, "numpy") as file:
        parts = {name: file.get_tensor(name) for name in file.keys()}
        about = file.metadata()
    save_file({**parts, **(tensors or {})}, "c.safetensors", {**about, **(metadata or {})})
    return "c.safetensors"


def test_models_that_are_none(refuses, model):
    raw = open(model, "rb").read()
    refused = lambda sentence, name: refuses(sentence, "translate", "--model", name, "le chat .")
    refused("no.safetensors: No such file", "no.safetensors")
    for content in (b"", b"PK\x03\x04" + bytes(200), raw[:50], raw[:-1], b"\xff" * 100):
        open("bad.safetensors", "wb").write(content)
        refused("bad.safetensors: ", "bad.safetensors")
    refused("m.state.safetensors: ", "m.state.safetensors")
    refused("dev.tsv: ", "dev.tsv")
    refused("c.safetensors: ", changed(model, {"format": "another"}))


def test_another_vocabulary(refuses, model):
    """Subwords of another model: fewer or more pieces than the model has rows."""
    with safe_open(model, "numpy") as file:
        config = json.loads(file.metadata()["config"])
    pieces = config["vocabulary"]
    name = changed(model, {"config": json.dumps({**config, "vocabulary": pieces + 1})})
    refuses("c.safetensors: ", "translate", "--model", name, "le chat .")
    with safe_open(model, "numpy") as file:
        subwords = file.get_tensor("subwords")
    name = changed(model, tensors={"subwords": subwords[:-1]})
    refuses("c.safetensors: ", "translate", "--model", name, "le chat .")


def test_a_model_without_attention(attn, works, refuses, text):
    none = ["--model", "lstm-none", "--set=width=8", "--set=hidden=8"]
    options = ["--data", "train.tsv", "--output", "n.safetensors", "--steps=2", "--tokens=400"]
    assert attn("train", *options, *none).returncode == 0
    command = ["translate", "--model", "n.safetensors", "le chat .", "--max-length", "4"]
    for option in (["--alignments"], ["--show"], ["--html", "x.html"]):
        refuses(option[0] + ": the model has no attention", *command, *option)
    assert works(*command).stdout.count("\n") == 1
    assert "links" not in json.loads(works(*command, "--json").stdout)["translations"][0]


# ------------------------------------------------------------------------------------------- Pipes


def test_a_pipe_that_breaks(attn, model):
    """As head does it: the command ends by SIGPIPE, silently."""
    open("many.txt", "w").write("le chat .\n" * 20000)
    process = subprocess.Popen(
        [attn.binary, "translate", "--model", model, "--greedy", "--input", "many.txt"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(120) == -signal.SIGPIPE
    assert process.stderr.read() == b""


def test_standard_output_full(attn, model):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [attn.binary, "translate", "--model", model, "le chat ."],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr == "attn translate: standard output: No space left on device\n"

"""attn evaluate beside sacreBLEU, and attn align --data beside the definitions."""

import json
import math
import os

import pytest
import sacrebleu
import toy


@pytest.fixture
def evaluate(works, model):
    def run(*arguments):
        done = works("evaluate", "--model", model, "--data", "dev.tsv", "--json", *arguments)
        return json.loads(done.stdout)

    return run


def columns(path):
    return list(zip(*(line.split("\t") for line in open(path).read().splitlines())))


# ------------------------------------------------------------------------------------------ Scores


@pytest.mark.parametrize("search", [[], ["--greedy"], ["--sample", "--temperature", "2"]])
def test_beside_sacrebleu(evaluate, search):
    """Some hundred operations in float64 on numbers up to 100: 100 x 128 x 2^-53."""
    told = evaluate("--output", "said.txt", *search)
    said = open("said.txt").read().removesuffix("\n").split("\n")
    references = columns("dev.tsv")[1]
    assert told["sentences"] == len(said) == len(references) == 20
    bound = 100 * 128 * 2**-53
    bleu = sacrebleu.corpus_bleu(said, [references]).score
    chrf = sacrebleu.corpus_chrf(said, [references]).score
    assert 0 < bleu < 100 and abs(told["bleu"] - bleu) <= bound
    assert 0 < chrf < 100 and abs(told["chrf"] - chrf) <= bound
    for name in ("bleu", "chrf"):
        low, high = told[name + "_interval"]
        assert 0 <= low < told[name] < high <= 100


def test_as_text(works, evaluate, model):
    told = evaluate("--output", "said.txt")
    text = works("evaluate", "--model", model, "--data", "dev.tsv").stdout.splitlines()
    facts = {line.split()[0]: line.split(None, 1)[1] for line in text}
    assert list(facts) == ["sentences", "BLEU", "chrF2", "loss"]
    assert facts["sentences"] == "20"
    for name, key in (("BLEU", "bleu"), ("chrF2", "chrf")):
        low, high = told[key + "_interval"]
        assert facts[name] == f"{told[key]:.2f}  ({low:.2f} to {high:.2f})"
    loss = told["loss"]
    assert facts["loss"] == f"{loss:.4f} a token, perplexity {math.exp(loss):.3f}"


def test_translations_are_those_of_translate(works, evaluate, model):
    evaluate("--output", "said.txt")
    open("sources", "w").write("\n".join(columns("dev.tsv")[0]) + "\n")
    assert (
        works("translate", "--model", model, "--input", "sources").stdout == open("said.txt").read()
    )


def test_loss(trained, evaluate):
    """That of the training's last evaluation, but for float16 in the file: rounding each weight by
    2^-11 of itself moves a loss of less than 1 by less than 0.02."""
    last = (trained / "stdout").read_text().splitlines()[-1]
    assert abs(evaluate()["loss"] - float(last.split("dev loss ")[1].split()[0])) < 0.02


def test_threads_change_nothing(evaluate):
    one, three = evaluate("--threads", "1"), evaluate("--threads", "3")
    assert one["bleu"] == three["bleu"] and one["chrf"] == three["chrf"]
    assert abs(one["loss"] - three["loss"]) <= 1e-6 * one["loss"]


# ------------------------------------------------------------------------------------------- Links


@pytest.fixture
def align(works, model):
    """The links of dev.tsv as sets of pairs."""

    def run(*arguments, data="dev.tsv"):
        text = works("align", "--model", model, "--data", data, *arguments).stdout
        return [
            {tuple(map(int, link.split("-"))) for link in line.split()}
            for line in text.splitlines()
        ]

    return run


def test_links(align):
    sources, targets = columns("dev.tsv")
    found = {
        rule: align("--rule", rule, "--threshold", "0")
        for rule in ("forward", "backward", "intersection", "union", "grow-diag-final-and")
    }
    for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
        forward, backward = found["forward"][i], found["backward"][i]
        assert sorted(t for _, t in forward) == list(range(len(target.split())))
        assert sorted(s for s, _ in backward) == list(range(len(source.split())))
        assert found["intersection"][i] == forward & backward
        assert found["union"][i] == forward | backward
        assert forward & backward <= found["grow-diag-final-and"][i] <= forward | backward
    # Each head has weights of its own, and so has each place where it may be asked.
    one, other = (align("--rule", "union", "--heads", h) for h in "01")
    assert one != other
    assert align("--rule", "union", "--heads", "0,1") not in (one, other)
    assert align("--rule", "union", "--heads", "0", "--shifted") != one
    for threshold in ("0.1", "0.3"):
        assert all(
            a >= b
            for a, b in zip(
                align("--rule", "mutual", "--threshold", threshold),
                align("--rule", "mutual", "--threshold", "0.5"),
            )
        )


def test_links_of_single_words(align):
    """One word to one: there is nothing else to look at."""
    open("one.tsv", "w").write("chat\tcat\n  chat \t cat  \n")
    assert align("--rule", "forward", "--threshold", "0", data="one.tsv") == [{(0, 0)}, {(0, 0)}]


def test_links_in_a_file(works, align, model):
    wanted = works("align", "--model", model, "--data", "dev.tsv").stdout
    assert works("align", "--model", model, "--data", "dev.tsv", "-o", "links").stdout == ""
    assert open("links").read() == wanted
    lines = [line.split() for line in wanted.splitlines()]
    key = lambda link: tuple(map(int, link.split("-")))
    assert all(line == sorted(line, key=key) for line in lines)


def gold(sure, possible, form="{}-{}"):
    """Written as `data` has them."""
    said = [form.format(*link) for link in sorted(sure)]
    return " ".join(said + [form.format(*link).replace("-", "p") for link in sorted(possible)])


def write(sets):
    sources, targets = columns("dev.tsv")[:2]
    lines = [f"{s}\t{t}\t{g}\n" for s, t, g in zip(sources, targets, sets, strict=True)]
    open("gold.tsv", "w").writelines(lines)


def scores(found, sure, possible):
    """Och and Ney (2003)."""
    a, s = sum(map(len, found)), sum(map(len, sure))
    in_sure = sum(len(x & y) for x, y in zip(found, sure))
    in_possible = sum(len(x & (y | z)) for x, y, z in zip(found, sure, possible))
    return 1 - (in_sure + in_possible) / (a + s), in_possible / a, in_sure / s


def test_aer(works, align, model):
    rule = ["--rule", "union", "--threshold", "0"]
    command = ["evaluate", "--model", model, "--data", "gold.tsv", "--greedy", *rule]
    told = lambda *more: json.loads(works(*command, "--json", *more).stdout)
    found = align(*rule)
    write([gold(f, ()) for f in found])
    perfect = told()
    assert (perfect["aer"], perfect["precision"], perfect["recall"]) == (0, 1, 1)
    # By hand: of each sentence's links the first is missing from the gold, the second is possible,
    # and one that was not found is sure.
    sure, possible = [], []
    for links, source in zip(found, columns("dev.tsv")[0]):
        first, second, *rest = sorted(links)
        missed = next((i, 0) for i in range(len(source.split())) if (i, 0) not in links)
        sure.append({*rest, missed})
        possible.append({second})
    write(map(gold, sure, possible))
    seen = told()
    wanted = scores(found, sure, possible)
    assert 0 < wanted[0] < 1
    # A few operations on counts.
    for name, value in zip(("aer", "precision", "recall"), wanted):
        assert abs(seen[name] - value) <= 8 * 2**-53
    text = works(*command).stdout.splitlines()[-1]
    error, precision, recall = (100 * value for value in wanted)
    assert text == f"AER         {error:.2f}  (precision {precision:.2f}, recall {recall:.2f})"
    # The same, as the Hansards have them: from 1, the target first.
    write(
        gold({(t + 1, s + 1) for s, t in x}, {(t + 1, s + 1) for s, t in y})
        for x, y in zip(sure, possible)
    )
    assert told("--links-base", "1", "--links-target-first") == seen
    write([gold((), ())] * 20)
    assert told()["aer"] == 1 and told()["recall"] == 1


def test_a_third_column_that_is_no_links(works, model):
    write(["CC-BY 2.0 (France) #1"] * 20)
    told = works("evaluate", "--model", model, "--data", "gold.tsv", "--json").stdout
    assert "aer" not in json.loads(told)


# --------------------------------------------------------------------------------------- Bad input


def test_bad_use(refuses, model):
    evaluate = ["evaluate", "--model", model, "--data", "dev.tsv"]
    refuses("--data is missing: expected a file of pairs", "evaluate", "--model", model)
    refuses("--n-best: one translation is judged", *evaluate, "--n-best", "2")
    refuses("--links-base 2: expected 0 or 1", *evaluate, "--links-base", "2")
    refuses("--greedy excludes --sample", *evaluate, "--greedy", "--sample")
    refuses("no.tsv: No such file", "evaluate", "--model", model, "--data", "no.tsv")
    refuses("no.safetensors: No such file", "evaluate", "--model", "no.safetensors", *evaluate[3:])
    refuses("no/x: cannot be written: No such file", *evaluate, "--output", "no/x")
    align = ["align", "--model", model]
    refuses(
        "no/x: cannot be written: No such file", *align, "--data", "dev.tsv", "--output", "no/x"
    )
    for command in (evaluate, [*align, "--data", "dev.tsv"]):
        refuses("--layer 2: expected at most 1", *command, "--layer", "2")
        refuses("--heads 2: expected numbers below 2", *command, "--heads", "2")
    refuses("expected --data or weights, not both", *align, "--data", "dev.tsv", "w.npy")
    refuses("no.tsv: No such file", *align, "--data", "no.tsv")
    refuses("--output is missing: expected a file to write", "align", "w.npy")


BAD = {
    "one column": (b"le chat\n", "line 2 has one column"),
    "an empty line": (b"\n", "line 2 is empty"),
    "not UTF-8": (b"le\tthe\xff\n", "line 2 is not UTF-8: byte 7 is 0xff"),
    "1 MB": (b"le " * 333_333 + b"\tthe\n", "line 2 has a sentence of 999999 bytes: expected"),
    "links of words that are not there": (b"le\tthe\t0-1\n", "line 2"),
    "no links": (b"le\tthe\t0:0\n", "line 2"),
    "links missing": (b"le\tthe\n", "line 2 has no links, the first has"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data(refuses, model, name):
    """Said before the output is touched."""
    line, sentence = BAD[name]
    open("bad.tsv", "wb").write(b"le chat\tthe cat\t0-0 1-1\n" + line)
    open("said.txt", "w").write("old")
    command = ["--model", model, "--data", "bad.tsv", "--output", "said.txt"]
    refuses("bad.tsv: " + sentence, "evaluate", *command)
    if "links" not in name:
        refuses("bad.tsv: " + sentence, "align", *command)


def test_a_model_without_attention(attn, works, refuses, text):
    none = ["--model", "lstm-none", "--set=width=8", "--set=hidden=8"]
    options = ["--data", "train.tsv", "--output", "n.safetensors", "--steps=2", "--tokens=400"]
    assert attn("train", *options, *none).returncode == 0
    refuses("the model has no attention", "align", "--model", "n.safetensors", "--data", "dev.tsv")
    write(["0-0"] * 20)
    command = ["evaluate", "--model", "n.safetensors", "--data", "gold.tsv", "--max-length", "4"]
    assert "AER" not in works(*command).stdout


@pytest.mark.parametrize("name", ["lstm", "lstm-dot"])
def test_a_recurrent_model_has_one_head(attn, works, refuses, text, name):
    """Its weights are links without being asked for by number."""
    sizes = ["--model", name, "--set=width=8", "--set=hidden=8"]
    options = ["--data", "train.tsv", "--output", "r.safetensors", "--steps=2", "--tokens=400"]
    assert attn("train", *options, *sizes).returncode == 0
    command = ["align", "--model", "r.safetensors", "--data", "dev.tsv"]
    expected = works(*command, "--heads", "0").stdout
    assert len(expected.splitlines()) == 20 and "-" in expected
    assert works(*command).stdout == expected
    refuses("--heads 1: expected numbers below 1", *command, "--heads", "1")


def test_guided_models_align(attn, text):
    """Taught the true links, the weights find them: AER falls well below that of a diagonal."""
    words = {**toy.NOUNS, **toy.ADJECTIVES, **toy.VERBS, ".": "."}

    def true_links(source, target):
        source, target = source.split(), target.split()
        links = {
            (i, j) for i, s in enumerate(source) for j, t in enumerate(target) if words.get(s) == t
        }
        articles = [
            [i for i, s in enumerate(side) if s in ("le", "the")] for side in (source, target)
        ]
        # A word that is there twice is linked with the nearer one.
        near = {
            link
            for link in links
            if all(
                abs(link[0] - link[1]) <= abs(i - j)
                for i, j in links
                if i == link[0] or j == link[1]
            )
        }
        return near | set(zip(*articles))

    sources, targets = columns("train.tsv")
    open("links", "w").writelines(
        gold(true_links(s, t), ()) + "\n" for s, t in zip(sources, targets)
    )
    options = toy.options(steps=400, guide="links", guide_weight=1)
    done = attn("train", "--data=train.tsv", "--output=g.safetensors", *options)
    assert done.returncode == 0, done.stderr
    sources, targets = columns("dev.tsv")
    truth = [true_links(s, t) for s, t in zip(sources, targets)]
    write(gold(links, ()) for links in truth)
    done = attn("evaluate", "--model", "g.safetensors", "--data", "gold.tsv", "--json", "--greedy")
    diagonal = [{(i, i) for i in range(len(s.split()))} for s in sources]
    assert json.loads(done.stdout)["aer"] < scores(diagonal, truth, [set()] * 20)[0] / 2

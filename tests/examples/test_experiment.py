"""The parts of examples/experiment, each against a case worked out by hand; and the command,
stopped and gone on."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import block
import numpy as np
import pairs
import picture
import pytest
import report
import scores
import settings
import sizes
import training
from conftest import EXAMPLES
from pairs import BadInput

# --- Words and buckets ---------------------------------------------------------------------------


def test_a_word_has_a_letter_or_digit():
    assert pairs.words("Où est-il ?") == 2  # a blank before the mark, as French has it
    assert pairs.words("« Oui » : 3 !") == 2
    assert pairs.words("… ! ?") == 0
    assert pairs.words("") == 0


def test_every_length_has_one_bucket():
    names = {count: pairs.bucket_name(pairs.bucket(count)) for count in range(200)}
    assert names[0] == names[1] == names[5] == "1–5"
    assert names[6] == names[10] == "6–10"
    assert names[11] == names[15] == "11–15"
    assert names[16] == names[20] == "16–20"
    assert names[21] == names[30] == "21–30"
    assert names[31] == names[199] == "31+"


# --- Joining -------------------------------------------------------------------------------------


def sentences(count):
    """Pairs of 1 to 7 words, all different."""
    return [
        (
            " ".join(f"s{i}.{k}" for k in range(1 + i * 5 % 7)),
            " ".join(f"t{i}.{k}" for k in range(3)),
        )
        for i in range(count)
    ]


def test_joined_sentences_are_consecutive_and_as_long_as_wanted():
    rows = sentences(400)
    made = pairs.join(rows, 0)
    where = {row[0]: i for i, row in enumerate(rows)}
    for source, target in made:
        # Back to the parts: a part's words carry its number.
        parts = list(dict.fromkeys(word.partition(".")[0] for word in source.split()))
        first = int(parts[0][1:])
        assert len(parts) > 1
        taken = rows[first : first + len(parts)]
        assert source == " ".join(row[0] for row in taken)
        assert target == " ".join(row[1] for row in taken)
        assert where[taken[0][0]] == first
    lengths = [pairs.words(source) for source, _ in made]
    assert set(map(pairs.bucket, lengths)) == {1, 2, 3, 4, 5}
    assert max(lengths) <= pairs.JOINED_MOST
    # Nearly all lengths from 31 to 50 are aimed at alike: the longest half is not rare.
    late = [n for n in lengths if n > 30]
    assert sum(n > 40 for n in late) > len(late) / 4


def test_no_sentence_is_twice_in_a_bucket():
    made = pairs.join(sentences(400), 0)
    for number in range(1, len(pairs.BUCKETS)):
        chosen = [source for source, _ in made if pairs.bucket(pairs.words(source)) == number]
        words = " ".join(chosen).split()
        assert len(words) == len(set(words))


def test_so_many_groups_at_most():
    made = pairs.join(sentences(400), 7)
    found = [pairs.bucket(pairs.words(source)) for source, _ in made]
    assert {number: found.count(number) for number in found} == dict.fromkeys(range(1, 6), 7)


def test_thinned_evenly_and_in_order():
    assert pairs.thin(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert pairs.thin([1, 2], 5) == [1, 2]
    assert pairs.thin([1, 2], 0) == [1, 2]


def test_files_of_pairs(tmp_path):
    plain = tmp_path / "a.tsv"
    plain.write_text("un\u2028deux\tone two\tmore\nx\ty\n", encoding="utf-8")
    assert pairs.read(plain) == [("un\u2028deux", "one two"), ("x", "y")]
    packed = tmp_path / "a.tsv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert pairs.read(packed) == pairs.read(plain)
    for bad, sentence in (
        (b"a\tb\nc\n", ":2: expected"),
        (b"", "found none"),
        (b"\xff\tx\n", "utf-8"),
    ):
        plain.write_bytes(bad)
        with pytest.raises(BadInput, match=sentence):
            pairs.read(plain)


# --- Bootstrap -----------------------------------------------------------------------------------


def mean_of(values, samples=10000):
    column = np.array(values, dtype=float)[:, None]
    drawn = scores.weights(len(values), samples)
    return scores.bootstrap(column, lambda sums: sums[0] / len(values), drawn)


def test_bootstrap_by_hand():
    # n values, half of them 0 and half 1: resampled means are k/n with the binomial's probability.
    # n = 6: P(0) = 1/64 = 1.6 % < 2.5 % < P(at most 1) = 10.9 %: the interval begins at 1/6.
    # n = 8: P(at most 1) = 3.5 % > 2.5 %: it begins at 1/8, not at 2/8, as one of 90 % would.
    # Of 10 000 resamples the share is within 0.2 %: 7 and 5 standard deviations from 2.5 %.
    for count in (6, 8):
        score, low, high, resampled = mean_of([0, 1] * (count // 2))
        assert (score, low, high) == (0.5, 1 / count, 1 - 1 / count)
        assert len(resampled) == 10000


def test_bootstrap_of_what_does_not_vary():
    assert mean_of([3, 3, 3])[:3] == (3, 3, 3)
    assert mean_of([5])[:3] == (5, 5, 5)


def test_interval_leaves_out_one_of_40_at_either_end():
    assert scores.interval(np.arange(1000)[::-1]) == (25, 974)


def test_resamples_are_whole_and_the_same_for_all():
    drawn = scores.weights(7)
    assert drawn.shape == (scores.SAMPLES, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert (drawn == scores.weights(7)).all()
    assert (drawn != scores.weights(7, seed=2)).any()


def test_bleu_of_summed_rows_is_that_of_the_set():
    sacrebleu = pytest.importorskip("sacrebleu")
    hypotheses = [
        "the cat sat on the mat today .",
        "a small dog",
        "",
        "it is what it is , they say",
    ]
    references = [
        "the cat sat on the mat .",
        "one small dog barks",
        "yes",
        "it is what it is , he says",
    ]
    rows = scores.bleu_rows(hypotheses, references)
    # Half-cut products of logarithms are summed in the same order: the same bits.
    assert scores.bleu(rows.sum(axis=0)) == sacrebleu.corpus_bleu(hypotheses, [references]).score
    twice = scores.bleu(np.array([2, 1, 0, 1]) @ rows)
    chosen = [0, 0, 1, 3]
    expected = sacrebleu.corpus_bleu(
        [hypotheses[i] for i in chosen], [[references[i] for i in chosen]]
    ).score
    assert twice == expected


def test_gains_are_of_the_same_resamples():
    pytest.importorskip("sacrebleu")
    import experiment

    rows = [(f"un deux trois {i}", f"one two three four {i}") for i in range(40)]
    said = [target if i % 2 else "one two three four" for i, (_, target) in enumerate(rows)]
    entries = experiment.score_panel(
        rows, {("lstm-none", "greedy"): said, ("lstm", "greedy"): said}, seed=1
    )
    # Two systems that say the same differ by nothing in any resample, however much each varies.
    for entry in entries:
        assert entry["low"] < entry["bleu"] < entry["high"]
        if entry["model"] == "lstm":
            assert (entry["gain"], entry["gain_low"], entry["gain_high"]) == (0, 0, 0)
    assert [e["bucket"] for e in entries] == [0, 0, None, None]


# --- Sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary, width", [(8000, 256), (4000, 128), (16000, 512), (400, 48)])
def test_planned_models_are_equal(vocabulary, width):
    planned = sizes.plan(vocabulary, width)
    assert sizes.spread([count for _, count in planned.values()]) < 0.02
    for name in ("lstm-none", "lstm-dot", "lstm"):
        assert planned[name][0]["hidden"] % sizes.STEP == 0


def test_fit_takes_the_nearest():
    assert sizes.fit(100, lambda h: 10 * h) == 8  # 80, and 120 is as far: the smaller
    assert sizes.fit(101, lambda h: 10 * h) == 12
    assert sizes.fit(0, lambda h: 10 * h) == 4


def test_counts_are_those_of_the_command(attn, text, tmp_path):
    planned = sizes.plan(288, 16)
    for name, (fields, count) in planned.items():
        model = tmp_path / f"{name}.safetensors"
        done = subprocess.run(
            [attn, "train", "--model", name, "--data", text, "--output", model, "--steps", "1",
             "--tokens", "256", "--vocabulary", "288", "--threads", "1",
             *(f"--set={field}={value}" for field, value in fields.items())],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if "SentencePiece" in done.stderr:
            pytest.skip("this attn was built without SentencePiece")
        assert done.returncode == 0, done.stderr
        config = json.loads(training.header(model)[0]["config"])
        assert config["vocabulary"] == 288
        assert training.parameters(model) == count, name
        assert training.steps_done(model) == 1


# --- Pages and pictures --------------------------------------------------------------------------


def test_a_block_is_replaced_and_nothing_else():
    page = "before\n" + block.BEGIN.format("w") + "\nold\n" + block.END + "\nafter\n"
    changed = block.replace(page, "w", "new \\1 text\n")
    assert changed == (
        "before\n" + block.BEGIN.format("w") + "\n\nnew \\1 text\n\n" + block.END + "\nafter\n"
    )
    assert block.replace(changed, "w", "new \\1 text") == changed
    for bad in ("no block", page + page):
        with pytest.raises(BadInput):
            block.replace(bad, "w", "x")


def test_the_tree_has_the_blocks():
    for path, writer in (
        (report.ROOT / "docs" / "EXPERIMENT.md", report.WRITER),
        (EXAMPLES / "summaries" / "README.md", "examples/summaries/run --publish"),
    ):
        assert "new figures" in block.replace(
            path.read_text(encoding="utf-8"), writer, "new figures"
        )


def test_labels_are_moved_apart_and_no_further():
    assert picture.apart([30, 10, 20], 5) == [30, 10, 20]
    assert picture.apart([10, 10], 4) == [8, 12]
    # 10 and 11 part to 8.5 and 12.5; 14 then is too near: three around their mean.
    assert picture.apart([10, 14, 11], 4) == pytest.approx([35 / 3 - 4, 35 / 3 + 4, 35 / 3])
    moved = picture.apart([5, 5.1, 5.2, 5.3, 20], 1)
    assert moved == pytest.approx([3.65, 4.65, 5.65, 6.65, 20])


def test_tables_leave_no_cell_out():
    entries = []
    for bucket in (0, 3, None):
        for model in ("lstm-none", "lstm"):
            entry = {"bucket": bucket, "sentences": 25, "words": 4, "model": model,
                     "search": "greedy", "bleu": 20.04, "low": 19.0, "high": 21.06}  # fmt: skip
            if model == "lstm":
                entry |= {"gain": -1.25, "gain_low": -2.0, "gain_high": 0.5}
            entries.append(entry)
    results = {"models": {"lstm-none": {"title": "N"}, "lstm": {"title": "L"}}}
    parts = report.panel_tables(results, {"title": "T", "sentences": 50, "scores": entries})
    assert parts[0] == "### T"
    first, second = parts[2].splitlines(), parts[4].splitlines()
    assert first[0] == "|  | 1–5 | 16–20 | all |"
    assert first[2] == "| sentences | 25 | 25 | 25 |"
    assert first[4] == "| L" + 3 * " | 20.0 (19.0 to 21.1)" + " |"
    assert second[2] == "| L" + 3 * " | −1.2 (−2.0 to +0.5)" + " |"


# --- Settings ------------------------------------------------------------------------------------


def test_settings(monkeypatch):
    table = {"steps": settings.Setting(9, 3, "of it"), "rate": settings.Setting(0.5, 0.25, "so")}

    def values(*given):
        monkeypatch.setattr(sys, "argv", ["run", "out", *given])
        arguments = settings.parse("What.", table, lambda parser: None, "a page")
        return settings.chosen(arguments, table)

    assert values() == {"steps": 9, "rate": 0.5, "small": False}
    assert values("--small") == {"steps": 3, "rate": 0.25, "small": True}
    assert values("--small", "--steps", "0") == {"steps": 0, "rate": 0.25, "small": True}
    with pytest.raises(SystemExit):
        values("--steps", "1.5")


# --- Stopped, and gone on ------------------------------------------------------------------------


def test_other_settings_are_refused(tmp_path):
    path = tmp_path / "settings.json"
    training.same_settings(path, {"steps": 5, "data": {"a": "1"}})
    training.same_settings(path, {"steps": 5, "data": {"a": "1"}})
    with pytest.raises(BadInput, match="steps was 5 and is now 6"):
        training.same_settings(path, {"steps": 6, "data": {"a": "1"}})


DRIVER = """
import sys
from pathlib import Path
import training
arguments = sys.argv[4:]
sys.exit(training.answer("run", lambda: print(
    "seconds", training.train(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), arguments))))
"""


def interrupted(command, env, model, least):
    """Runs a training until more than `least` steps are saved; returns its status and words."""
    child = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, start_new_session=True)
    try:
        limit = time.monotonic() + 100
        while (training.steps_done(model) or 0) <= least and child.poll() is None:
            assert time.monotonic() < limit
            time.sleep(0.05)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to the script and to attn
        said = child.communicate(timeout=100)[1].decode()
    finally:
        if child.poll() is None:
            child.kill()
    if "SentencePiece" in said:
        pytest.skip("this attn was built without SentencePiece")
    return child.returncode, said


def test_interrupted_training_goes_on_from_what_was_saved(attn, text, tmp_path):
    model = tmp_path / "m" / "model.safetensors"
    options = [
        "--model",
        "lstm-dot",
        "--data",
        str(text),
        "--tokens",
        "256",
        "--vocabulary",
        "288",
        "--set=width=16",
        "--set=hidden=16",
        "--threads",
        "1",
        "--save-every",
        "5",
    ]
    command = [sys.executable, "-c", DRIVER, attn, str(model), "100000", *options]
    env = {**os.environ, "PYTHONPATH": str(EXAMPLES / "experiment")}
    before, seconds = 0, 0.0
    for _ in range(2):
        status, said = interrupted(command, env, model, before)
        assert status == 130, said
        assert "the same command goes on from here" in said
        done = training.steps_done(model)
        # attn saves where it stops, so the second run has begun where the first one ended.
        assert before < done < 100000
        spent = float(model.with_name("seconds.txt").read_text())
        assert spent > seconds
        before, seconds = done, spent
    # What is done is not done again, and what was begun otherwise is not gone on with.
    assert training.train(attn, model, before, options) == seconds
    with pytest.raises(BadInput, match="ended with status"):
        training.train(attn, model, before + 1, options)


SLOW_TO_STOP = """
import signal, sys, time
from pathlib import Path
def stop(*_):
    time.sleep(1)
    Path("saved").touch()
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
print("ready", flush=True)
time.sleep(100)
"""


def test_ctrl_c_waits_for_the_command_to_save(tmp_path):
    driver = (
        "import sys, training\n"
        "call = lambda: training.call([sys.executable, '-c', sys.argv[1]], 'log')\n"
        "sys.exit(training.answer('run', call))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(EXAMPLES / "experiment")}
    child = subprocess.Popen(
        [sys.executable, "-c", driver, SLOW_TO_STOP], env=env, cwd=tmp_path,
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert child.stdout.readline() == b"ready\n"
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(timeout=100) == 130
        assert (tmp_path / "saved").exists()
        assert (tmp_path / "log").read_text() == "ready\n"
    finally:
        child.stdout.close()
        if child.poll() is None:
            child.kill()

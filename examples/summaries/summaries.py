#!/usr/bin/env python3
"""The synopsis of a package from its description, by the commands that translate.

Three models of one kind (LSTM, additive attention): one that says all words from its vocabulary,
one that may also copy from where it looks, and one that also keeps in mind where it has looked.
ROUGE beside the beginning of the description. README.md says what is done and why. The same command
goes on where it was stopped.
"""

import json
import os
import re
import sys
from pathlib import Path

import baselines
import block
import numpy as np
import pairs
import report
import scores
import training
from pairs import BadInput
from settings import Setting, chosen, parse

HERE = Path(__file__).resolve().parent
WRITER = "examples/summaries/run --publish"

MODELS = {
    "plain": ("LSTM, additive", []),
    "copy": ("and copying", ["--set=copy=true"]),
    "coverage": ("and coverage", ["--set=copy=true", "--set=coverage=true"]),
}
KINDS = ("rouge1", "rouge2", "rougeL")
NAMES = ("ROUGE-1", "ROUGE-2", "ROUGE-L")

# Of pairs, 0 is all.
SETTINGS = {
    "pairs": Setting(0, 15000, "of --data, evenly spaced"),
    "words": Setting(60, 40, "of a description that a model reads"),
    "vocabulary": Setting(8000, 4000, "subwords"),
    "width": Setting(256, 128, "of embeddings"),
    "hidden": Setting(512, 192, "width of states"),
    "steps": Setting(3000, 400, "of each training"),
    "tokens": Setting(8192, 4096, "subwords in a batch, both sides"),
    "rate": Setting(0.001, 0.002, "the highest learning rate"),
    "seed": Setting(1, 1, "of all that is random"),
}
SHOWN = 5  # examples


def add_files(parser):
    parser.add_argument("--data", metavar="FILE", required=True,
                        help="descriptions and synopses to train on")  # fmt: skip
    parser.add_argument("--dev", metavar="FILE", required=True, help="to judge by during training")
    parser.add_argument("--test", metavar="FILE", help="to score in the end (the --dev ones)")
    parser.add_argument("--only", metavar="MODEL", action="append", choices=list(MODELS),
                        help=f"train these alone: {', '.join(MODELS)}")  # fmt: skip


def make_settings(arguments):
    """All that decides the figures of a model, to be kept beside them."""
    files = {"data": arguments.data, "dev": arguments.dev, "test": arguments.test or arguments.dev}
    return chosen(arguments, SETTINGS) | {
        name: {Path(path).name: pairs.digest(path)} for name, path in files.items()
    }


def write_texts(arguments, settings, folder):
    """Files of what models read, cut; returns their paths, and the rows to score as they were."""
    texts = folder / "texts"
    texts.mkdir(exist_ok=True)
    train = pairs.thin(pairs.read(arguments.data), settings["pairs"])
    dev = pairs.read(arguments.dev)
    test = pairs.read(arguments.test) if arguments.test else dev

    def shortened(rows):
        return (
            f"{baselines.first_words(text, settings['words'])}\t{summary}" for text, summary in rows
        )

    pairs.write_lines(texts / "train.tsv.gz", shortened(train))
    pairs.write_lines(texts / "dev.tsv", shortened(dev))
    pairs.write_lines(
        texts / "test.source", (baselines.first_words(text, settings["words"]) for text, _ in test)
    )
    return texts, train, test


def train(attn, folder, texts, settings, name, threads):
    """Trains a model; returns what is known of it, and its summaries."""
    title, options = MODELS[name]
    model = folder / name / "model.safetensors"
    print(f"--- {title}", flush=True)
    # A word has two subwords or so; --max-length would leave out what is longer.
    seconds = training.train(attn, model, settings["steps"], [
        "--model", "lstm", f"--set=width={settings['width']}", f"--set=hidden={settings['hidden']}",
        *options, "--data", str(texts / "train.tsv.gz"), "--dev", str(texts / "dev.tsv"),
        "--dev-sentences", "100", "--max-length", str(6 * settings["words"]),
        "--vocabulary", str(settings["vocabulary"]), "--tokens", str(settings["tokens"]),
        "--rate", str(settings["rate"]), "--seed", str(settings["seed"]),
        "--threads", str(threads), "--save-every", "250",
    ])  # fmt: skip
    output = folder / name / "test.beam5"
    training.translate(
        attn,
        model,
        texts / "test.source",
        output,
        ["--beam", "5", "--max-length", "48", "--threads", str(threads)],
    )
    known = {
        "title": title, "parameters": training.parameters(model), "seconds": round(seconds),
        "dev": training.dev_lines(model),
    }  # fmt: skip
    return known, pairs.read_lines(output)


def check_copying(models):
    """To copy or not is decided by parameters of its own: without them, nothing was copied."""
    if {"plain", "copy"} <= models.keys():
        plain, copy = (models[name]["parameters"] for name in ("plain", "copy"))
        if copy <= plain:
            raise BadInput("attn train --set copy=true made a model that has nothing to copy with")


def rouge(summaries, references):
    """[summaries, 3]: F of ROUGE-1, -2 and -L of each, 0 to 100, by rouge_score without
    stemming."""
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(KINDS, use_stemmer=False)
    rows = []
    for summary, reference in zip(summaries, references, strict=True):
        found = scorer.score(reference, summary)
        rows.append([100 * found[kind].fmeasure for kind in KINDS])
    return np.array(rows).reshape(len(rows), len(KINDS))


def mean_scores(rows, drawn):
    """[{score, low, high}] of each column: means over the rows, and of their resamples."""
    found, count = [], len(rows)
    for column in np.asarray(rows, dtype=float).T:
        score, low, high, _ = scores.bootstrap(column[:, None], lambda s: s[0] / count, drawn)
        found.append({"score": score, "low": low, "high": high})
    return found


def score(title, summaries, test, drawn):
    """What is said of one way to summarise."""
    found = [baselines.found_in(s, text) for s, (text, _) in zip(summaries, test, strict=True)]
    said = sum(count for _, count in found)
    return {
        "title": title, "rouge": mean_scores(rouge(summaries, [s for _, s in test]), drawn),
        "words": sum(len(s.split()) for s in summaries) / len(summaries),
        "found": sum(there for there, _ in found) / said if said else 0.0,
    }  # fmt: skip


def markdown(results):
    """Tables and the first few examples."""
    s = results["settings"]
    data = ", ".join(f"{which} `{name}` (SHA-256 {start}…)"
                     for which in ("data", "test") for name, start in s[which].items())  # fmt: skip
    rows = [
        [r["title"], *(report.cell(e, "score", "low", "high") for e in r["rouge"]),
         f"{r['words']:.1f}", f"{r['found']:.0%}"]
        for r in results["rows"]
    ]  # fmt: skip
    models = [
        [m["title"], f"{m['parameters']:,}".replace(",", " "), f"{m['seconds'] / 60:.0f}"]
        for m in results["models"].values()
    ]
    return "\n\n".join([
        f"{results['attn']}; {'`--small`; ' if s['small'] else ''}{data}: {results['pairs']} "
        f"descriptions to train on, cut to {s['words']} words, {results['sentences']} to score; "
        f"{s['vocabulary']} subwords, {s['steps']} steps of {s['tokens']} subwords, rate "
        f"{s['rate']:g}, seed {s['seed']}, beam 5. In brackets: 95 % of 1000 bootstrap resamples.",
        report.table(["", *NAMES, "words", "of them in the description"], rows),
        report.table(["model", "parameters", "minutes of training"], models),
        f"{len(results['examples'])} of those that were scored, evenly spaced:",
        *(examples_table(example) for example in results["examples"]),
    ]) + "\n"  # fmt: skip


def examples_table(example):
    """One description's beginning and what was made of it."""
    rows = [[title, plain_text(text)] for title, text in example]
    return "\n".join(["| | |", "|---|---|", *("| " + " | ".join(row) + " |" for row in rows)])


def plain_text(text):
    """The text with what Markdown would take for marks escaped."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_|\[\]~])", r"\\\1", text)


def write(results, folder, publish):
    text = markdown(results)
    pairs.write_lines(folder / "results.json", [json.dumps(results, indent=1, ensure_ascii=False)])
    pairs.write_lines(folder / "tables.md", text.rstrip("\n").split("\n"))
    print(f"{folder}/results.json, tables.md")
    if publish:
        block.update(HERE / "README.md", WRITER, text)


def work(arguments):
    attn, folder = os.environ["ATTN_BIN"], arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    settings = make_settings(arguments)
    training.same_settings(folder / "settings.json", settings)
    texts, data, test = write_texts(arguments, settings, folder)
    count = baselines.typical_length([summary for _, summary in data])
    said = {
        "first sentence": [baselines.first_sentence(text) for text, _ in test],
        f"first {count} words": [baselines.first_words(text, count) for text, _ in test],
    }
    results = {"settings": settings, "attn": training.version(attn), "pairs": len(data),
               "sentences": len(test), "models": {}}  # fmt: skip
    for name in arguments.only or MODELS:
        known, summaries = train(attn, folder, texts, settings, name, arguments.threads)
        results["models"][name], said[known["title"]] = known, summaries
        check_copying(results["models"])
    drawn = scores.weights(len(test), seed=settings["seed"])
    results["rows"] = [score(title, lines, test, drawn) for title, lines in said.items()]
    said["written by people"] = [summary for _, summary in test]
    results["examples"] = [
        [("description", baselines.first_words(test[i][0], 30) + " …")]
        + [(title, lines[i]) for title, lines in said.items() if not title.startswith("first")]
        for i in pairs.thin(range(len(test)), SHOWN)
    ]
    write(results, folder, arguments.publish)


def main():
    """Returns the exit status: 0, 1 after an error, 130 if it was interrupted."""
    arguments = parse(__doc__, SETTINGS, add_files, "examples/summaries/README.md")
    return training.answer("run", lambda: work(arguments))


if __name__ == "__main__":
    sys.exit(main())

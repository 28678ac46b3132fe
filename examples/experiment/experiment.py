#!/usr/bin/env python3
"""BLEU by the length of the source, of four models that are alike but for where they look.

An LSTM that hands the decoder one vector, LSTMs that look at every word (dot, additive), and a
Transformer: as many parameters, the same pairs, subwords, batches and steps. docs/EXPERIMENT.md
says what is done and why. The same command goes on where it was stopped.
"""

import json
import os
import sys
from pathlib import Path

import pairs
import report
import scores
import sizes
import training
from pairs import BadInput
from settings import Setting, chosen, parse

MODELS = {
    "lstm-none": "LSTM, no attention",
    "lstm-dot": "LSTM, dot",
    "lstm": "LSTM, additive",
    "transformer": "Transformer",
}
SEARCHES = {"greedy": ["--greedy"], "beam 5": ["--beam", "5"]}

# Of pairs and sentences, 0 is all.
SETTINGS = {
    "pairs": Setting(0, 60000, "of --data, evenly spaced"),
    "sentences": Setting(0, 600, "of each --dev, evenly spaced"),
    "joined": Setting(400, 100, "groups of joined sentences for each range of lengths"),
    "vocabulary": Setting(8000, 4000, "subwords of both languages together"),
    "width": Setting(256, 128, "of embeddings and of the Transformer"),
    "steps": Setting(4000, 800, "of each training"),
    "tokens": Setting(8192, 4096, "subwords in a batch, both sides"),
    "rate": Setting(0.001, 0.002, "the highest learning rate"),
    "seed": Setting(1, 1, "of all that is random"),
}
AT_MOST_APART = 0.02  # parameters


def add_files(parser):
    parser.add_argument("--data", metavar="FILE", action="append", required=True,
                        help="pairs to train on; may be given several times")  # fmt: skip
    parser.add_argument("--dev", metavar="[TITLE=]FILE", action="append", required=True,
                        help="pairs to judge by, a panel each; the first ones are also joined to "
                             "longer ones, another panel")  # fmt: skip


def titled(text):
    """ "Debian=dev.tsv.gz" or "dev.tsv.gz", whose title is then its name without endings."""
    title, equals, path = text.partition("=")
    if equals and title and path:
        return title, path
    return Path(text).name.split(".")[0], text


def make_settings(arguments):
    """All that decides the figures, to be kept beside them."""
    settings = chosen(arguments, SETTINGS)
    settings["data"] = {Path(p).name: pairs.digest(p) for p in arguments.data}
    settings["dev"] = {title: pairs.digest(p) for title, p in map(titled, arguments.dev)}
    return settings


def make_panels(arguments, settings):
    """[(title, rows)]: the joined sentences come after the first text."""
    panels = []
    for number, (title, path) in enumerate(map(titled, arguments.dev)):
        rows = pairs.read(path)
        panels.append((title, pairs.thin(rows, settings["sentences"])))
        if number == 0:
            joined = pairs.join(rows, settings["joined"], settings["seed"])
            if joined:
                panels.append((f"{title}, sentences joined", joined))
    return panels


def write_texts(arguments, settings, panels, folder):
    """Files of what is trained on and translated; returns their paths."""
    texts = folder / "texts"
    texts.mkdir(exist_ok=True)
    rows = pairs.thin(
        [row for path in arguments.data for row in pairs.read(path)], settings["pairs"]
    )
    train, dev = texts / "train.tsv.gz", texts / "dev.tsv"
    if not train.exists():
        pairs.write_lines(train, ("\t".join(row) for row in rows))
    pairs.write_lines(dev, ("\t".join(row) for row in panels[0][1]))
    for number, (_, rows_) in enumerate(panels):
        pairs.write_lines(texts / f"{number}.source", (row[0] for row in rows_))
    return train, dev, [texts / f"{n}.source" for n in range(len(panels))], len(rows)


def train_all(attn, folder, settings, train, dev, threads):
    """Trains each model; returns what is known of them."""
    planned = sizes.plan(settings["vocabulary"], settings["width"])
    for name in MODELS:
        fields, count = planned[name]
        print(f"{MODELS[name]}: {count} parameters, {fields}", flush=True)
    if sizes.spread([count for _, count in planned.values()]) > AT_MOST_APART:
        raise BadInput(
            f"--width {settings['width']}: the models' parameters cannot be made equal within "
            f"{AT_MOST_APART:.0%}: expected a larger one"
        )
    known = {}
    for name, title in MODELS.items():
        fields = planned[name][0]
        model = folder / name / "model.safetensors"
        print(f"--- {title}", flush=True)
        seconds = training.train(attn, model, settings["steps"], [
            "--model", name, *(f"--set={field}={value}" for field, value in fields.items()),
            "--data", str(train), "--dev", str(dev), "--dev-sentences", "300",
            "--vocabulary", str(settings["vocabulary"]), "--tokens", str(settings["tokens"]),
            "--rate", str(settings["rate"]), "--seed", str(settings["seed"]),
            "--threads", str(threads), "--save-every", "250",
        ])  # fmt: skip
        known[name] = {
            "title": title, "fields": fields, "parameters": training.parameters(model),
            "seconds": round(seconds), "dev": training.dev_lines(model),
        }  # fmt: skip
        check_alike(folder, known)
    return known


def check_alike(folder, known):
    """As many parameters, and the same subwords to the byte."""
    apart = sizes.spread([m["parameters"] for m in known.values()])
    if apart > AT_MOST_APART:
        counts = ", ".join(f"{name} {m['parameters']}" for name, m in known.items())
        raise BadInput(
            f"parameters: {counts}: expected them within {AT_MOST_APART:.0%}; with too little text "
            "for --vocabulary there are fewer subwords than asked for"
        )
    if len({training.subwords(folder / name / "model.safetensors") for name in known}) > 1:
        raise BadInput(f"{folder}: the models' subwords differ, expected the same of the same text")


def translate_all(attn, folder, sources, threads):
    """{(model, search, panel): lines}."""
    made = {}
    for name in MODELS:
        for search, options in SEARCHES.items():
            for panel, path in enumerate(sources):
                output = folder / name / f"{panel}.{search.replace(' ', '')}"
                if not output.exists():
                    print(f"{MODELS[name]}: translating {path.name}, {search}", flush=True)
                training.translate(attn, folder / name / "model.safetensors", path, output,
                                   [*options, "--threads", str(threads)])  # fmt: skip
                made[name, search, panel] = pairs.read_lines(output)
    return made


def score_panel(rows, hypotheses, seed):
    """[{bucket, sentences, words, model, search, bleu, low, high, gain...}] of one panel.
    hypotheses: {(model, search): lines}. gain: beyond the model without attention, in the same
    resamples."""
    references = [target for _, target in rows]
    lengths = [pairs.words(source) for source, _ in rows]
    where = [pairs.bucket(length) for length in lengths]
    counted = {key: scores.bleu_rows(lines, references) for key, lines in hypotheses.items()}
    entries = []
    for number in (*range(len(pairs.BUCKETS)), None):
        chosen = [i for i, b in enumerate(where) if number is None or b == number]
        if len(chosen) < report.LEAST:
            continue
        drawn = scores.weights(len(chosen), seed=seed + (100 if number is None else number))
        resampled = {}
        for (model, search), table in counted.items():
            score, low, high, all_ = scores.bootstrap(table[chosen], scores.bleu, drawn)
            resampled[model, search] = score, all_
            entry = {
                "bucket": number, "sentences": len(chosen),
                "words": sum(lengths[i] for i in chosen) / len(chosen),
                "model": model, "search": search, "bleu": score, "low": low, "high": high,
            }  # fmt: skip
            if ("lstm-none", search) in resampled and model != "lstm-none":
                other, others = resampled["lstm-none", search]
                gained = scores.interval(all_ - others)
                entry |= {"gain": score - other, "gain_low": gained[0], "gain_high": gained[1]}
            entries.append(entry)
    return entries


def work(arguments):
    attn, folder = os.environ["ATTN_BIN"], arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    settings = make_settings(arguments)
    training.same_settings(folder / "settings.json", settings)
    panels = make_panels(arguments, settings)
    train, dev, sources, count = write_texts(arguments, settings, panels, folder)
    known = train_all(attn, folder, settings, train, dev, arguments.threads)
    made = translate_all(attn, folder, sources, arguments.threads)
    results = {"settings": settings, "pairs": count, "models": known, "panels": []}
    results["attn"] = training.version(attn)
    for number, (title, rows) in enumerate(panels):
        print(f"scoring: {title}", flush=True)
        hypotheses = {key[:2]: lines for key, lines in made.items() if key[2] == number}
        results["panels"].append({
            "title": title, "sentences": len(rows),
            "scores": score_panel(rows, hypotheses, settings["seed"] + 1000 * number),
        })  # fmt: skip
    pairs.write_lines(folder / "results.json", [json.dumps(results, indent=1, ensure_ascii=False)])
    report.write(results, folder, arguments.publish)


def main():
    """Returns the exit status: 0, 1 after an error, 130 if it was interrupted."""
    arguments = parse(__doc__, SETTINGS, add_files, "docs/EXPERIMENT.md and docs/pictures")
    return training.answer("run", lambda: work(arguments))


if __name__ == "__main__":
    sys.exit(main())

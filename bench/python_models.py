#!/usr/bin/env python3
"""Whole models by transformers' implementations of attention: attn beside sdpa and eager.

    python bench/python_models.py                    both models, all sizes
    python bench/python_models.py --cases encoder --threads 1
    python bench/python_models.py --quick            tiny sizes, to see that everything runs

encoder: MiniLM (examples/models/minilm.py) over batches of sentences as they stand in a text,
padded to the longest, and over a batch of texts of 512 tokens. prefill: SmolLM2 (smollm2.py), the
pass over a prompt that generation begins with; keys and values are kept, logits of the last token
alone are made. The text is that of this repository's docs, or --text FILE.

Each is run without weights, with all of them (output_attentions), and with a view in their place:
the attention that each token received. Times are medians, made in turn in one process; a ratio is
attn's time over that entry's, the median of the rounds': below 1, attn without weights is faster.
Memory is the peak of one call beyond what was resident before it, in a process of its own. An entry
that could not fit into the machine's memory is left out. Before anything is timed, every entry's
result at the smallest size is compared with the model in float64 (examples/models/exact.py); a
wrong one ends the run. Linux only."""

import argparse
import copy
import os
import re
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples" / "models"))

import minilm  # first: they tell transformers to look at files only
import smollm2

import exact
import memory
import report
import torch
from timing import interleave

import attn
import attn.transformers


@dataclass(frozen=True)
class Entry:
    """A way to run a model: transformers' implementation, and what is wanted beside the output."""

    implementation: str
    wanted: str = ""  # "weights": all of them; "received_sum": this view

    def label(self):
        return f"{self.implementation}, {self.wanted}" if self.wanted else self.implementation


ENTRIES = (
    Entry("attn"),
    Entry("sdpa"),
    Entry("eager"),
    Entry("attn", "received_sum"),
    Entry("attn", "weights"),
    Entry("eager", "weights"),
)
OURS, SDPA, EAGER, OUR_VIEW, OUR_WEIGHTS, EAGER_WEIGHTS = range(len(ENTRIES))


@dataclass
class Case:
    """A model and one input to it. options: of every call of the model."""

    name: str
    title: str
    model: torch.nn.Module
    inputs: dict
    options: dict = field(default_factory=dict)

    def length(self):
        return self.inputs["input_ids"].shape[1]

    def weights_bytes(self):
        config, (batch, length) = self.model.config, self.inputs["input_ids"].shape
        return 4 * batch * config.num_hidden_layers * config.num_attention_heads * length**2

    def result(self, model, **options):
        """What the correctness is judged by: hidden states of real tokens, or logits."""
        with torch.no_grad():
            result = model(**self.inputs, **self.options, **options)
        if "logits" in result:
            return result.logits
        return result.last_hidden_state[self.inputs["attention_mask"].bool()]

    def runner(self, entry):
        """run(repeats) for an entry, on a model of its own that shares the parameters."""
        shared = {id(t): t for t in (*self.model.parameters(), *self.model.buffers())}
        model = copy.deepcopy(self.model, shared)
        model.set_attn_implementation(entry.implementation)
        options = {**self.options, "output_attentions": entry.wanted == "weights"}
        if entry.wanted not in ("", "weights"):
            attn.transformers.select(model, views=[entry.wanted], keep=1)  # until the model is gone

        def run(repeats):
            with torch.no_grad():
                for _ in range(repeats):
                    model(**self.inputs, **options)

        run.result = partial(self.result, model, output_attentions=options["output_attentions"])
        return run


def sentences_of(text):
    """What begins with a capital and ends in a full stop, 5 to 60 words, in the order of the
    text."""
    found = re.findall(r"[A-Z][^.!?|`\n]*(?:\n(?!\n)[^.!?|`\n]*)*[.!?](?=\s)", text)
    sentences = [" ".join(sentence.split()) for sentence in found]
    return [s for s in sentences if 5 <= len(s.split()) <= 60]


def encoder_cases(text, options):
    model, tokenizer = minilm.load("eager")
    sentences = sentences_of(text)
    for count in (1, 4) if options.quick else (1, 8, 32, 128):
        inputs = minilm.tokens(tokenizer, (sentences * (count // len(sentences) + 1))[:count])
        shape = "{} x {}".format(*inputs.input_ids.shape)
        yield Case("encoder", f"MiniLM, {count} sentences, {shape}", model, dict(inputs))
    if not options.quick:
        pieces = [text[4000 * i : 4000 * (i + 1)] for i in range(8)]  # some 1000 tokens, cut at 512
        inputs = minilm.tokens(tokenizer, pieces)
        shape = "{} x {}".format(*inputs.input_ids.shape)
        yield Case("encoder", f"MiniLM, texts, {shape}", model, dict(inputs))


def prefill_cases(text, options):
    model, tokenizer = smollm2.load("eager")
    for length in (16, 32) if options.quick else options.lengths:
        ids = smollm2.tokens(tokenizer, text, length)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        keep = {"use_cache": True, "logits_to_keep": 1}
        yield Case("prefill", f"SmolLM2, prefill of {length}", model, inputs, keep)


CASES = {"encoder": encoder_cases, "prefill": prefill_cases}


def fits(case, entry):
    """Whether an entry's weights, and as much again for what is made on the way, are within this
    machine's memory."""
    if entry.wanted != "weights":
        return True
    page, pages = (os.sysconf(f"SC_{name}") for name in ("PAGE_SIZE", "PHYS_PAGES"))
    return 2 * case.weights_bytes() < page * pages


def peak(case, entry, threads):
    """memory.beyond of one call, in a process that is forked for it: the model is there already,
    and no earlier call has left memory behind. (Nothing here has started threads yet.)"""
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        with os.fdopen(reading) as pipe:
            printed = pipe.read()
        if os.waitpid(child, 0)[1] or not printed:
            sys.exit(f"{case.title}, {entry.label()}: the process that measures memory failed")
        return int(printed)
    status = 1
    try:
        torch.set_num_threads(threads)
        shorter = {name: t[:1, :8] for name, t in case.inputs.items()}
        Case("", "", case.model, shorter, case.options).runner(entry)(1)  # wakes threads
        run = case.runner(entry)
        os.write(writing, str(memory.beyond(lambda: run(1))).encode())
        status = 0
    finally:
        os._exit(status)


def peaks_of(case, threads):
    """By the number of the entry."""
    fitting = {i: entry for i, entry in enumerate(ENTRIES) if fits(case, entry)}
    return {i: peak(case, entry, threads) for i, entry in fitting.items()}


def check(case):
    """Every entry against the model in float64, as the tests do: what is wrong must not be
    timed."""
    want = case.result(exact.in_float64(case.model))
    results = {entry: case.runner(entry).result() for entry in ENTRIES}
    limit = exact.allowed(results[ENTRIES[EAGER]], want, max(64, case.length()))
    for entry, result in results.items():
        error = (result - want).abs().max().item()
        if not error <= limit:
            sys.exit(f"{case.title}, {entry.label()}: {error:.2e} from exact, allowed {limit:.2e}")


def measure(case, peaks, options):
    """Rows of the table, and sentences on the goals."""
    there = [i for i, entry in enumerate(ENTRIES) if fits(case, entry)]
    runs = [case.runner(ENTRIES[i]) for i in there]
    times = dict(zip(there, interleave(runs, options.seconds, options.threads > 1)))
    rows = []
    for i, entry in enumerate(ENTRIES):
        if i not in times:
            rows.append((f"{case.title}: {entry.label()}", "-", "-", "-"))
            continue
        cells = (f"{times[i].median() * 1e3:.4g}", f"{times[OURS].ratio(times[i]):.2f}")
        rows.append((f"{case.title}: {entry.label()}", *cells, f"{peaks[i] / 2**20:.1f}"))
    return rows, list(verdicts(case, times, peaks))


def verdicts(case, times, peaks):
    def verdict(what, value, goal, met):
        return f"{case.title}: {what} {value:.2f} (goal {goal}): {'met' if met else 'MISSED'}"

    value = times[SDPA].ratio(times[OURS])
    yield verdict("sdpa's time over attn's", value, "at least 1", value >= 1)
    if EAGER_WEIGHTS not in times or case.length() < 2048:
        return
    value = times[EAGER_WEIGHTS].ratio(times[OUR_WEIGHTS])
    yield verdict("with weights, eager's time over attn's", value, "at least 1.5", value >= 1.5)
    extra = peaks[OUR_VIEW] - peaks[OURS]
    value = extra / (peaks[EAGER_WEIGHTS] - peaks[EAGER])
    yield verdict("a view's extra memory over eager's", value, "at most 0.02", value <= 0.02)


def read(path):
    if path:
        return path.read_text(encoding="utf-8")
    docs = sorted((ROOT / "docs").glob("*.md"))
    return "\n".join(doc.read_text(encoding="utf-8") for doc in docs)


def listed(kind, allowed=None):
    def parse(text):
        values = [kind(value) for value in text.split(",")]
        if allowed and set(values) - set(allowed):
            raise argparse.ArgumentTypeError(f"{text}: of {','.join(allowed)}")
        return values

    return parse


def options_of():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cases", type=listed(str, CASES), default=list(CASES), help=f"of {','.join(CASES)}")
    add("--lengths", type=listed(int), default=[128, 256, 512, 1024, 2048, 4096],
        help="tokens of a prefill (128,256,512,1024,2048,4096)")  # fmt: skip
    add("--threads", type=int, default=report.cpu_count(), help="(all)")
    add("--seconds", type=float, default=3.0, help="for each entry of a case, at least (3)")
    add("--text", type=Path, help="UTF-8 text (this repository's docs)")
    add("--quick", action="store_true", help="tiny sizes and times: only shows that it runs")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 0.001
    return options


def main():
    options = options_of()
    library = SimpleNamespace(version=lambda: attn.__version__)
    facts = report.about(library, attn.Context().isa, ("torch", "transformers", "numpy"))
    report.print_about(facts | {"threads": str(options.threads)}, markdown=True)
    if options.quick:
        print("--quick: these figures say nothing about speed\n")

    torch.set_num_threads(1)  # no pool of threads may be there when a process is forked
    text = read(options.text)
    cases = {name: list(CASES[name](text, options)) for name in options.cases}
    peaks = [[peaks_of(case, options.threads) for case in group] for group in cases.values()]
    torch.set_num_threads(options.threads)
    header = ("", "ms", "attn / this", "peak, MiB")
    for group, of_group in zip(cases.values(), peaks):
        check(group[0])
        measured = [measure(case, of_case, options) for case, of_case in zip(group, of_group)]
        report.print_table(header, [row for rows, _ in measured for row in rows], markdown=True)
        for sentence in (sentence for _, sentences in measured for sentence in sentences):
            print(f"- {sentence}")
        print(flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Translation speed: the same Transformer, greedy and with a beam of 5, by attn translate, by CTranslate2
(float32 and int8) and by a beam search in PyTorch.

    python bench/translation.py --model M.safetensors --data dev.tsv.gz

Everybody translates the same sentences in turn, a ratio is the median over the rounds of the ratio within
a round. All start from text and end with text. attn translate is timed as a command: reading the model is
included, and shown beside it; the others have theirs in memory. Translations need not be equal (sums differ
in their last bits, CTranslate2 ends a beam by a rule of its own): how many are, and everybody's BLEU, are
shown. tokens/s are subwords of each one's own translations, ends left out.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import libattn
import libattn_nn
import report
import translation_text
from memory import forget_peak, resident
from timing import SETTLE_SECONDS

GOALS = {"CTranslate2 float32": 1.0, "PyTorch": 2.0}


class Attn:
    name = "attn translate"

    def __init__(self, options, beam):
        self.command = [str(options.attn), "translate", "--model", str(options.model),
                        "--threads", str(options.threads)]  # fmt: skip
        self.command += ["--greedy"] if beam == 1 else ["--beam", str(beam)]

    def translate(self, sentences):
        done = subprocess.run(self.command, input="".join(s + "\n" for s in sentences),
                              stdout=subprocess.PIPE, text=True, check=True)  # fmt: skip
        lines = done.stdout.split("\n")[:-1]
        if len(lines) != len(sentences):
            sys.exit(f"attn translate: {len(lines)} lines for {len(sentences)} sentences")
        return lines


class CTranslate2:
    name, precision = "CTranslate2 float32", "float32"

    def __init__(self, options, beam):
        import ctranslate2_model

        self.subwords = translation_text.subwords_of(options.model)
        self.beam, self.batch = beam, options.batch
        with tempfile.TemporaryDirectory() as folder:
            ctranslate2_model.convert(options.model, Path(folder, "model"))
            self.translator = ctranslate2_model.open_model(
                Path(folder, "model"), self.precision, options.threads
            )

    def translate(self, sentences):
        pieces = self.subwords.encode(sentences, out_type=str)
        found = self.translator.translate_batch(
            pieces, beam_size=self.beam, max_batch_size=self.batch, length_penalty=1,
            max_decoding_length=256,
        )  # fmt: skip
        return [self.subwords.decode(f.hypotheses[0]) for f in found]


class CTranslate2Int8(CTranslate2):
    name, precision = "CTranslate2 int8", "int8"


class PyTorch:
    name = "PyTorch"

    def __init__(self, options, beam):
        import torch
        import torch_models
        import torch_search

        torch.set_num_threads(options.threads)
        config = translation_text.config_of(options.model)
        words = {n: libattn_nn.WORDS[n].index(w) for n, w in config.items() if isinstance(w, str)}
        model = torch_models.model_of(libattn_nn.Config(**config | words)).eval()
        model.load(translation_text.values_of(options.model))
        self.subwords, self.batch = translation_text.subwords_of(options.model), options.batch
        ids = (getattr(self.subwords, f"{name}_id")() for name in ("bos", "eos", "pad"))
        self.search = torch_search.Search(model, *ids, beam)

    def translate(self, sentences):
        end, most = self.subwords.eos_id(), self.batch
        sources = [tokens + [end] for tokens in self.subwords.encode(sentences)]
        order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
        found = [None] * len(sources)
        for first in range(0, len(order), most):
            group = order[first : first + most]
            for i, tokens in zip(group, self.search([sources[i] for i in group])):
                found[i] = tokens
        return self.subwords.decode(found)


CONTENDERS = {"attn": Attn, "ctranslate2": CTranslate2, "int8": CTranslate2Int8,
              "pytorch": PyTorch}  # fmt: skip

# --- Time ------------------------------------------------------------------------------------------


def seconds_of(contender, sentences):
    time.sleep(SETTLE_SECONDS)
    start = time.perf_counter()
    found = contender.translate(sentences)
    return time.perf_counter() - start, found


def table(options, pairs, beam):
    import sacrebleu

    sentences, references = ([pair[side] for pair in pairs] for side in (0, 1))
    subwords = translation_text.subwords_of(options.model)
    contenders = [CONTENDERS[name](options, beam) for name in options.contenders]
    found = [c.translate(sentences) for c in contenders]  # and all are warm
    seconds = [[] for _ in contenders]
    for turn in range(options.rounds):
        for place in range(turn, turn + len(contenders)):  # another one begins each round
            which = place % len(contenders)
            seconds[which].append(seconds_of(contenders[which], sentences)[0])
    lines, missed = [], []
    for contender, own, text in zip(contenders, seconds, found):
        each = statistics.median(own)
        ratio = statistics.median(s / a for s, a in zip(own, seconds[0]))
        tokens = sum(map(len, subwords.encode(text)))
        same = sum(a == b for a, b in zip(text, found[0])) / len(text)
        bleu = sacrebleu.corpus_bleu(text, [references]).score
        lines.append((contender.name, f"{len(text) / each:.1f}", f"{tokens / each:.0f}",
                      f"{ratio:.2f}", f"{100 * same:.1f} %", f"{bleu:.2f}"))  # fmt: skip
        if ratio < GOALS.get(contender.name, 0):
            missed.append(contender.name)
    start = statistics.median(seconds_of(contenders[0], [])[0] for _ in range(5))
    kind = "greedy" if beam == 1 else f"beam {beam}"
    title = f"{kind}, {len(sentences)} sentences, {options.threads} threads"
    print("\n" + "### " * options.markdown + title + "\n")
    header = ("", "sentences/s", "tokens/s", "attn is faster by", "as attn's", "BLEU")
    report.print_table(header, lines, options.markdown)
    print(f"attn translate takes {1000 * start:.0f} ms of it to start.")
    goals = ", ".join(f"{goal} times {name}" for name, goal in GOALS.items())
    print(f"goals: {goals}: {'MISSED for ' + ', '.join(missed) if missed else 'met'}\n")


# --- Memory ----------------------------------------------------------------------------------------


def memory_case(options, pairs):
    """Prints the peak of the process, and of what came after all modules were loaded, in bytes; of
    attn's process, its peak alone."""
    if options.memory_case == "attn":
        print(peak_of_command(options, pairs), 0)
        return
    sentences = [source for source, _ in pairs]
    kind = CONTENDERS[options.memory_case]
    forget_peak()
    kind(options, 5).translate(sentences[:8])  # whatever is loaded once
    forget_peak()
    before = resident("VmRSS")
    kind(options, 5).translate(sentences)
    print(resident("VmHWM"), resident("VmHWM") - before)


def peak_of_command(options, pairs):
    """The command's own peak, by wait4, which counts what this process had when it began the other: it
    must have little."""
    before = resident("VmRSS")
    attn = Attn(options, 5)
    with tempfile.TemporaryFile("w+") as lines:
        lines.write("".join(source + "\n" for source, _ in pairs))
        lines.seek(0)
        process = subprocess.Popen(attn.command, stdin=lines, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"attn translate: status {status}")
    if usage.ru_maxrss * 1024 <= before:
        sys.exit("attn translate takes less memory than the process that measured it")
    return usage.ru_maxrss * 1024


def memory_table(options, pairs):
    lines = []
    for name in options.contenders:
        command = [sys.executable, *sys.argv, "--memory-case", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peak, beyond = (f"{int(n) / 2**20:.0f}" for n in done.stdout.split())
        lines.append((CONTENDERS[name].name, peak, beyond if int(beyond) else ""))
    print("\n" + "### " * options.markdown + "memory, beam 5\n")
    header = ("", "peak of the process, MiB", "beyond modules and one model, MiB")
    report.print_table(header, lines, options.markdown)


# --- Command ---------------------------------------------------------------------------------------


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="a Transformer of attn train")
    add("--data", required=True, help="pairs: source, tab, reference a line, plain or gzip")
    add("--attn", type=Path, default=libattn.ROOT / "build" / "attn", help="the attn command")
    add("--library", type=Path, default=libattn.LIBRARY, help="libattn.so, for its version alone")
    add("--contenders", default=",".join(CONTENDERS), help=f"of {','.join(CONTENDERS)}; attn first")
    add("--threads", type=int, default=report.cpu_count(), help="(all)")
    add("--sentences", type=int, default=1000, help="evenly from --data (1000)")
    add("--batch", type=int, default=32, help="sentences of CTranslate2's and PyTorch's (32)")
    add("--rounds", type=int, default=5)
    add("--beams", default="1,5", help="widths; 1 is greedy (1,5)")
    add("--no-memory", action="store_true")
    add("--quick", action="store_true", help="few sentences, once: only shows that it runs")
    add("--markdown", action="store_true")
    add("--memory-case", help=argparse.SUPPRESS)  # set for the process of one case
    options = parser.parse_args()
    if options.quick:
        options.sentences, options.rounds = 16, 1
    options.contenders = options.contenders.split(",")
    if unknown := set(options.contenders) - CONTENDERS.keys():
        parser.error(f"--contenders: no {unknown.pop()}; there are {', '.join(CONTENDERS)}")
    if options.contenders[0] != "attn":
        parser.error("--contenders: expected attn first: the others are compared with it")
    return options


def main():
    # One OpenMP's threads must not spin in another's turn, nor a command's in this process's.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    libattn_nn.forget_blas_settings()
    options = parse()
    pairs = translation_text.read_pairs(options.data)
    step = max(1, len(pairs) // options.sentences)
    pairs = pairs[::step][: options.sentences]
    if options.memory_case:
        memory_case(options, pairs)
        return
    library = libattn.Library(options.library)
    packages = ("torch", "ctranslate2", "sentencepiece", "sacrebleu", "numpy")
    isa = library.context(1).isa()
    report.print_about(report.about(library, isa, packages), options.markdown)
    if options.quick:
        print("--quick: these figures say nothing about speed\n")
    for beam in map(int, options.beams.split(",")):
        table(options, pairs, beam)
    if not options.no_memory:
        memory_table(options, pairs)


if __name__ == "__main__":
    main()

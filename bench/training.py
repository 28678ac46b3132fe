#!/usr/bin/env python3
"""Training speed: the same Transformer, and the same LSTM with additive attention and input feeding, in
libattn_nn and in PyTorch; float32, whole steps (forward, backward, clipping, Adam).

    python bench/training.py                        made-up tokens of natural lengths
    python bench/training.py --data F.tsv --model M.safetensors     real text, cut by M's subwords
    python bench/training.py --quick                tiny: only shows that it runs

Both sides take the same batches in turn, step by step, and a ratio is the median over the steps of the
ratio within a step. Before they are timed, both compute the loss of every batch, and the length of its
gradient, with the same weights and without dropout: these must agree. tokens/s are target tokens, ends
included. Memory is the peak of processes of their own, after what was resident before the model.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import libattn
import libattn_nn
import numpy as np
import report
import translation_text
from memory import forget_peak, resident
from timing import SETTLE_SECONDS

# The presets of attn train (cli/train.c).
CONFIGS = {
    "transformer": {"family": "transformer", "width": 256, "encoder_layers": 3,
                    "decoder_layers": 3, "heads": 4},
    "lstm": {"family": "recurrent", "width": 256, "hidden": 512, "encoder_layers": 2,
             "decoder_layers": 1, "look": "additive"},
}  # fmt: skip
DROPOUT = {"transformer": {"dropout": 0.1, "attention_dropout": 0.1}, "lstm": {"dropout": 0.2}}
GOALS = {"transformer": 1.2, "lstm": 1.3}
ADAM = {"mean_keep": 0.9, "square_keep": 0.98, "epsilon": 1e-9}
RATE, CLIP, SMOOTHING = 1e-3, 1.0, 0.1
BEGIN, END = 2, 3
MEMORY_STEPS = 4


class Text:
    """Batches of a corpus, for both."""

    def __init__(self, library, options):
        self.vocabulary = options.vocabulary
        if options.data:
            pairs = translation_text.read_pairs(options.data, options.pairs)
            subwords = translation_text.subwords_of(options.model)
            self.vocabulary = subwords.vocab_size()
            pairs = [[np.array(subwords.encode(side), np.int32) for side in p] for p in pairs]
        else:
            pairs = translation_text.made_pairs(options.pairs, self.vocabulary)
        sizes = {"tokens": options.tokens, "pool": 8, "max_length": 64, "seed": 1,
                 "begin": BEGIN, "end": END}  # fmt: skip
        self.sharded = libattn_nn.Batches(library, pairs, shards=options.shards, **sizes)
        self.whole = libattn_nn.Batches(library, pairs, **sizes)
        assert self.whole.count() == self.sharded.count()
        self.count = min(self.whole.count(), options.batches)

    def arrays(self, index):
        return libattn_nn.arrays_of(self.whole.shard(index))

    def rows(self, index):
        return len(self.arrays(index)[-1])


# --- Contenders ------------------------------------------------------------------------------------


class Attn:
    name = "libattn_nn"

    def __init__(self, library, config, text, options):
        self.text = text
        self.model = libattn_nn.Model(library, vocabulary=text.vocabulary, **config)
        self.trainer = libattn_nn.Trainer(
            self.model, threads=options.threads, shards=options.shards, clip=CLIP, seed=1,
            adam=libattn_nn.AdamOptions(**ADAM), schedule=libattn_nn.Schedule(peak=RATE),
            objective=libattn_nn.Objective(smoothing=SMOOTHING),
        )  # fmt: skip

    def step(self, index):
        """Mean loss before the step, and the gradient's length before clipping."""
        done = self.trainer.step(self.text.sharded, index)
        return done.loss.sum / done.loss.rows, done.length

    def values(self):
        """A copy of all parameters, by name."""
        return libattn_nn.named(self.model.layout, self.trainer.values.copy())

    def set_values(self, values):
        for name, array in libattn_nn.named(self.model.layout, self.trainer.values).items():
            array[...] = values[name]


class Torch:
    name = "PyTorch"
    compiled = False

    def __init__(self, library, config, text, options):
        import torch
        import torch_models

        torch.set_num_threads(options.threads)
        torch.manual_seed(1)
        self.torch = torch
        filled = libattn_nn.Model(library, vocabulary=text.vocabulary, **config).config
        self.model = torch_models.model_of(filled).train()
        self.loss = self.model.loss
        if self.compiled:
            self.compile(config["family"])
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), RATE, (ADAM["mean_keep"], ADAM["square_keep"]),
            ADAM["epsilon"], 0, fused=True,
        )  # fmt: skip
        arrays = (text.arrays(i) for i in range(text.count))
        self.batches = [torch_models.Batch.of(*a) for a in arrays]

    def compile(self, family):
        """A Transformer as a whole; of a recurrent model the step, which is what its time goes to."""
        compile = self.torch.compile
        if family == "transformer":
            self.loss = compile(self.model.loss, dynamic=True)
        else:
            self.model.step = compile(self.model.decoder.step, dynamic=True)

    def step(self, index):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.batches[index], SMOOTHING)
        loss.backward()
        length = self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return loss.item(), length.item()

    def set_values(self, values):
        self.model.load(values)


class Compiled(Torch):
    name = "PyTorch, torch.compile"
    compiled = True


CONTENDERS = {"libattn": Attn, "pytorch": Torch, "compiled": Compiled}

# --- The same loss ---------------------------------------------------------------------------------


def roundings(config, text):
    """Of the longest chain of sums from a token to the loss and back. A sum of n products is off by at
    most gamma(n) times the sizes of its terms; sums in a chain add up. Each layer has sums of `width`
    (projections, norms), of a feed-forward's or a cell's width, and of a sentence's rows; a recurrent
    layer has them in each step. To the end comes a sum over the vocabulary, and weights' gradients sum
    over a batch's rows. Twice, for there and back."""
    layers = config.encoder_layers + config.decoder_layers
    rows = max(text.rows(i) for i in range(text.count))
    longest = max(max(text.arrays(i)[0]) for i in range(text.count))
    if config.family == 0:
        chain = layers * (4 * config.width + 2 * config.feed_forward + longest)
    else:
        # Steps multiply the chain, but forget: a cell's state is a mean over the past, so its errors
        # are one step's and not their sum.
        chain = layers * (2 * config.width + 4 * config.hidden + longest)
    return 2 * (chain + text.vocabulary) + rows


def assert_the_same(name, attn, peers, text):
    """Loss and gradient's length of every batch, from the same weights: each step is taken back. Sizes of
    terms may exceed their sums, but errors have either sign and mostly cancel: the bound takes them to
    make up for each other."""
    bound = roundings(attn.model.config, text) * 2.0**-24
    start = attn.values()
    for index in range(text.count):
        expected = None
        for contender in (attn, *peers):
            contender.set_values(start)
            found = contender.step(index)
            expected = expected or found
            for what, a, b in zip(("loss", "length of the gradient"), found, expected):
                if not abs(a - b) <= bound * abs(b):
                    sys.exit(f"{name}, batch {index}: {what} {a:.8g} of {contender.name}, "
                             f"{b:.8g} of {attn.name}: further apart than {bound:.1e}")  # fmt: skip
    print(f"{name}: losses and gradients of {text.count} batches agree within {bound:.1e}")


# --- Time ------------------------------------------------------------------------------------------


def timed(contenders, text, options):
    """Seconds of steps [contender][turn], and the rows of each turn's batch."""
    seconds, rows = [[] for _ in contenders], []
    for contender in contenders:  # memory, threads, and whatever is compiled
        for index in range(text.count):
            contender.step(index)
    for turn in range(options.steps):
        index = turn % text.count
        rows.append(text.rows(index))
        for place in range(turn, turn + len(contenders)):  # another one begins each turn
            which = place % len(contenders)
            time.sleep(SETTLE_SECONDS)
            start = time.perf_counter()
            contenders[which].step(index)
            seconds[which].append(time.perf_counter() - start)
    return seconds, rows


def table(library, name, dropout, text, options):
    config = CONFIGS[name] | options.changes
    kinds = [Torch, Compiled] if options.compile else [Torch]
    same = [kind(library, config, text, options) for kind in (Attn, *kinds)]
    if not dropout:
        assert_the_same(name, same[0], same[1:], text)
    else:
        same = [k(library, config | DROPOUT[name], text, options) for k in (Attn, *kinds)]
    seconds, rows = timed(same, text, options)
    lines = []
    for contender, own in zip(same, seconds):
        speed = statistics.median(r / s for r, s in zip(rows, own))
        ratio = statistics.median(s / a for s, a in zip(own, seconds[0]))
        lines.append((contender.name, f"{speed:.0f}", f"{ratio:.2f}"))
    worst = min(float(line[2]) for line in lines[1:])
    with_dropout = "dropout as attn train has it" if dropout else "no dropout"
    millions = sum(a.size for a in same[0].values().values()) / 1e6
    title = f"{name}, {millions:.1f} million parameters, {with_dropout}, {options.threads} threads"
    print("\n" + "### " * options.markdown + title + "\n")
    report.print_table(("", "tokens/s", "libattn_nn is faster by"), lines, options.markdown)
    print(f"goal: {GOALS[name]} times PyTorch's: {'met' if worst >= GOALS[name] else 'MISSED'}\n")


# --- Memory, in processes of their own -------------------------------------------------------------


def memory_case(library, options):
    """Prints the peak of all, and of what came after the text was ready, in bytes."""
    which, name = options.memory_case.split(",")
    text = Text(library, options)
    if which != "libattn":
        import torch_models  # noqa: F401: resident before the model
    forget_peak()
    before = resident("VmRSS")
    kind = CONTENDERS[which]
    contender = kind(library, CONFIGS[name] | options.changes | DROPOUT[name], text, options)
    for turn in range(MEMORY_STEPS):
        contender.step(turn % text.count)
    print(resident("VmHWM"), resident("VmHWM") - before)


def memory_table(options):
    lines = []
    for name in options.models:
        for which in ("libattn", "pytorch"):
            command = [sys.executable, *sys.argv, "--memory-case", f"{which},{name}"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            peak, beyond = (f"{int(n) / 2**20:.0f}" for n in done.stdout.split())
            lines.append((f"{name}, {CONTENDERS[which].name}", peak, beyond))
    print("\n" + "### " * options.markdown + f"memory after {MEMORY_STEPS} steps, with dropout\n")
    header = ("", "peak of the process, MiB", "beyond what was there before, MiB")
    report.print_table(header, lines, options.markdown)


# --- Command ---------------------------------------------------------------------------------------


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    built = libattn.ROOT / "build" / "libattn_nn.so"
    add("--library", type=Path, default=built, help="libattn_nn.so (build/libattn_nn.so)")
    add("--models", default="transformer,lstm", help="of transformer,lstm")
    add("--threads", type=int, default=report.cpu_count(), help="(all)")
    add("--data", help="pairs: source, tab, target a line, plain or gzip")
    add("--model", help="whose subwords cut --data: a model of attn train")
    add("--pairs", type=int, default=20000, help="how many take part, at most (20000)")
    add("--vocabulary", type=int, default=8000, help="of made-up tokens (8000)")
    add("--tokens", type=int, default=8192, help="in a batch, both sides (8192)")
    add("--shards", type=int, default=4, help="libattn_nn's parts of a batch (4)")
    add("--batches", type=int, default=6, help="different ones (6)")
    add("--steps", type=int, default=24, help="that are timed, of each (24)")
    add("--compile", action="store_true", help="torch.compile takes part too")
    add("--no-dropout", action="store_true", help="only the comparison without dropout")
    add("--no-memory", action="store_true")
    add("--quick", action="store_true", help="tiny: only shows that it runs")
    add("--markdown", action="store_true")
    add("--memory-case", help=argparse.SUPPRESS)  # set for the process of one case
    options = parser.parse_args()
    options.models = options.models.split(",")
    if unknown := set(options.models) - CONFIGS.keys():
        parser.error(f"--models: no model {unknown.pop()}; there are {', '.join(CONFIGS)}")
    if bool(options.data) != bool(options.model):
        parser.error("--data and --model: expected both, or neither")
    options.changes = {}
    if options.quick:
        options.tokens, options.pairs, options.batches, options.steps = 256, 200, 2, 3
        options.vocabulary, options.changes = 200, {"width": 32, "hidden": 32, "heads": 2}
    return options


def main():
    options = parse()
    library = libattn_nn.Library(options.library)
    if options.memory_case:
        memory_case(library, options)
        return
    isa = library.core.context(1).isa()
    report.print_about(report.about(library.core, isa, ("torch", "numpy")), options.markdown)
    if options.quick:
        print("--quick: these figures say nothing about speed\n")
    text = Text(library, options)
    for name in options.models:
        for dropout in (False,) if options.no_dropout else (False, True):
            table(library, name, dropout, text, options)
    if not options.no_memory:
        memory_table(options)


if __name__ == "__main__":
    main()

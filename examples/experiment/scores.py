"""Scores of sets of sentences with bootstrap intervals (Koehn 2004). A sentence is a row of numbers
whose sums over a set give the set's score; all systems are resampled alike, so that differences are
paired."""

import numpy as np

SAMPLES = 1000


def weights(count, samples=SAMPLES, seed=1):
    """[samples, count]: how often each of the sentences is drawn, with replacement."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=samples)


def interval(scores):
    """What 95 of 100 scores lie between: one of 40 is left out at either end, as text/bootstrap.h
    does."""
    ordered, out = np.sort(scores), len(scores) // 40
    return float(ordered[out]), float(ordered[len(ordered) - out - 1])


def bootstrap(rows, score, drawn):
    """(score, low, high, the resamples' scores) of sentences with these rows; score(sums)."""
    rows = np.asarray(rows)
    resampled = np.array([score(sums) for sums in drawn @ rows])
    return (float(score(rows.sum(axis=0))), *interval(resampled), resampled)


def bleu_rows(hypotheses, references):
    """[sentences, 10]: sacreBLEU's matches and totals of n-grams, and both lengths."""
    from sacrebleu.metrics import BLEU

    metric = BLEU()
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        s = metric.corpus_score([hypothesis], [[reference]])
        rows.append([*s.counts, *s.totals, s.sys_len, s.ref_len])
    return np.array(rows, dtype=np.int64).reshape(len(rows), 10)


def bleu(sums):
    """sacreBLEU of summed rows, with its defaults (13a, case counts, exponential smoothing)."""
    from sacrebleu.metrics import BLEU

    numbers = [int(s) for s in sums]
    return BLEU.compute_bleu(
        correct=numbers[:4], total=numbers[4:8], sys_len=numbers[8], ref_len=numbers[9],
        smooth_method="exp",
    ).score  # fmt: skip

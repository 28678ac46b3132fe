"""Alignment by length: W. A. Gale and K. W. Church, "A Program for Aligning Sentences in Bilingual
Corpora", Computational Linguistics 19(1), 1993.

A sentence of l1 characters has a translation of l2 characters, normally distributed with mean c l1
and variance s2 l1. For a pair of stretches

    delta = (l2 - c l1) / sqrt(s2 l1),    P(delta | match) = 2 (1 - Phi(|delta|)),

and the cost of the pair is -log(P(delta | match) P(match)), with the paper's table 5 for P(match),
by how many sentences are on each side. Dynamic programming finds the beads that cost least. As in
the program of the paper's appendix, l1 under the root is the mean (l1 + l2 / c) / 2, so that a
sentence without a counterpart has a delta too."""

import math

VARIANCE = 6.8  # s2, characters, from the paper's section 3.2
# P(match) of table 5. The table gives 0.0099 to 1-0 and 0-1 together and 0.089 to 2-1 and 1-2
# together; the paper's program charges them in full for each, which is a constant of log 2.
PRIORS = {(1, 1): 0.89, (1, 0): 0.0099, (0, 1): 0.0099, (2, 1): 0.089, (1, 2): 0.089, (2, 2): 0.011}
ONE_TO_ONE = {bead: PRIORS[bead] for bead in ((1, 1), (1, 0), (0, 1))}


def log_match(left, right, ratio=1.0, variance=VARIANCE):
    """log P(delta | match) of stretches of `left` and `right` characters; `ratio` is c."""
    if left == 0 and right == 0:
        return 0.0
    mean = (left + right / ratio) / 2
    x = abs(right - ratio * left) / math.sqrt(variance * mean) / math.sqrt(2)
    # 2 (1 - Phi(|delta|)) = erfc(|delta| / sqrt 2), which underflows from 27 on; there
    # erfc(x) = exp(-x^2) / (x sqrt pi) to within 1 / (2 x^2), less than one part in a thousand.
    return math.log(math.erfc(x)) if x < 25 else -x * x - math.log(x * math.sqrt(math.pi))


def align(left, right, ratio=1.0, priors=None, may_match=None, band=None, long_gaps=False):
    """The cheapest beads for lists of lengths, as (start, end, start, end) in both, in order.

    `may_match(i, j)` forbids pairs of single items; `band` is how far from the diagonal a path may
    go (the difference of the two numbers of items is added). With `long_gaps`, an item without a
    counterpart costs the same whatever its length, as is right for whole paragraphs: those that a
    translator added or did not get are no shorter than others."""
    costs = {bead: -math.log(p) for bead, p in (priors or PRIORS).items()}
    rows, columns = len(left), len(right)
    lsum, rsum = _sums(left), _sums(right)
    best = {(0, 0): (0.0, None)}
    for i in range(rows + 1):
        middle = i * columns // rows if rows else 0
        reach = columns if band is None or not rows else band + abs(rows - columns)
        for j in range(max(0, middle - reach), min(columns, middle + reach) + 1):
            cheapest = best.get((i, j))
            for (a, b), cost in costs.items():
                before = best.get((i - a, j - b))
                if before is None or (a == b == 1 and may_match and not may_match(i - 1, j - 1)):
                    continue
                total = before[0] + cost
                if not long_gaps or (a and b):
                    total -= log_match(lsum[i] - lsum[i - a], rsum[j] - rsum[j - b], ratio)
                if cheapest is None or total < cheapest[0]:
                    cheapest = (total, (i - a, i, j - b, j))
            if cheapest is not None:
                best[i, j] = cheapest
    return _path(best, (rows, columns))


def _sums(lengths):
    sums = [0]
    for length in lengths:
        sums.append(sums[-1] + length)
    return sums


def _path(best, end):
    beads = []
    while end != (0, 0):
        bead = best[end][1]
        beads.append(bead)
        end = (bead[0], bead[2])
    return beads[::-1]

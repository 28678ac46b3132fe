"""Times contenders in turn, so that whatever the machine does meanwhile happens to all of them."""

import statistics
import time
from dataclasses import dataclass

# Worker threads of a pool spin for a while after their work is done, and must not eat into the next
# contender's turn. Seen in the process's CPU time on a 2.6 GHz EPYC: OpenBLAS's for 95 ms, ONNX
# Runtime's for 40 ms, OpenMP's (PyTorch, MKL, libattn) for 10 ms.
SETTLE_SECONDS = 0.15
TURN_SECONDS = 0.1  # a turn repeats its call until it takes about this long
LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Times:
    """Seconds of one call, by round; rounds of contenders timed together belong together."""

    rounds: tuple

    def median(self):
        return statistics.median(self.rounds)

    def ratio(self, other):
        """The median of the per-round ratios: a slow spell hits both sides of a round's ratio."""
        return statistics.median(a / b for a, b in zip(self.rounds, other.rounds))


def seconds_of(run, repeats):
    start = time.perf_counter()
    run(repeats)
    return (time.perf_counter() - start) / repeats


def repeats_for(run, turn):
    """How many calls make a turn; found by doubling. The first call, which may set things up, does not
    count."""
    run(1)
    repeats = 1
    while (seconds := seconds_of(run, repeats) * repeats) < turn / 2:
        repeats *= 2
    return max(1, round(repeats * turn / seconds))


def interleave(runs, seconds, settle):
    """Times run(repeats) for each of runs; at least `seconds` and LEAST_ROUNDS turns each. settle:
    wait before each turn for other contenders' threads to go to sleep. Returns Times, in order."""
    turn = min(TURN_SECONDS, seconds / LEAST_ROUNDS)
    repeats = [repeats_for(run, turn) for run in runs]
    times = [[] for _ in runs]
    while len(times[0]) < LEAST_ROUNDS or any(sum(t) * n < seconds for t, n in zip(times, repeats)):
        first = len(times[0])  # another contender begins each round
        for turn_of in range(first, first + len(runs)):
            i = turn_of % len(runs)
            if settle:
                time.sleep(SETTLE_SECONDS)
            runs[i](1)  # untimed: wakes the contender's threads and refills the caches
            times[i].append(seconds_of(runs[i], repeats[i]))
    return [Times(tuple(t)) for t in times]

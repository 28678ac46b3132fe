"""Tables of things that are timed in turn and compared with the first of them."""

import math
from dataclasses import dataclass

import report
from timing import Times, interleave


@dataclass(frozen=True)
class Entry:
    """run(repeats) does the work; `work` says how much that is where entries differ in it. The
    goal, if there is one, is about time per work, at most or at least so many times the first
    entry's; or about work per second. flops: for a share of the FMA peak."""

    label: str
    run: object
    work: float = 1.0
    at_most: float = None
    at_least: float = None
    rate_at_least: float = None
    flops: float = None

    def verdict(self, ratio, seconds):
        """The goal, and whether it is met by this ratio and these seconds per work."""
        if self.at_most is not None:
            goal, met = f"at most {self.at_most:g}", ratio <= self.at_most
        elif self.at_least is not None:
            goal, met = f"at least {self.at_least:g}", ratio >= self.at_least
        elif self.rate_at_least is not None:
            goal = f"at least {self.rate_at_least / 1e9:g} G/s"
            met = 1 / seconds >= self.rate_at_least
        else:
            return ""
        return f"{goal}: {'met' if met else 'MISSED'}"


def measure(entries, options):
    """Seconds per work of each entry, as Times whose rounds belong together."""
    times = interleave([entry.run for entry in entries], options.seconds, options.threads > 1)
    return [Times(tuple(t / e.work for t in time.rounds)) for e, time in zip(entries, times)]


def shares(entry, time, peak):
    """Cells of GFLOP/s and of the share of the peak."""
    if entry.flops is None:
        return "", ""
    gflops = entry.flops / (time.median() * entry.work) / 1e9
    return f"{gflops:.1f}", "-" if math.isnan(peak.gflops) else f"{gflops / peak.gflops:.1%}"


def compare(title, entries, options, rate=None, peak=None):
    """Prints a table and returns the ratios. rate: the name of 1e9 of work a second, if that is
    what counts. peak: a peers.Peak, to be measured before and after."""
    if peak is not None:
        peak.measure()
    times = measure(entries, options)
    if peak is not None:
        peak.measure()
    ratios = [time.ratio(times[0]) for time in times]
    rows = []
    for entry, time, ratio in zip(entries, times, ratios):
        seconds = time.median()
        figure = f"{1e-9 / seconds:.3g}" if rate else f"{seconds * entry.work * 1e3:.4g}"
        of_peak = shares(entry, time, peak) if peak is not None else ()
        rows.append((entry.label, figure, f"{ratio:.3f}", *of_peak, entry.verdict(ratio, seconds)))
    print("### " * options.markdown + title + "\n")
    columns = ("GFLOP/s", "of peak") if peak is not None else ()
    report.print_table(("", rate or "ms", "ratio", *columns, "goal"), rows, options.markdown)
    return ratios

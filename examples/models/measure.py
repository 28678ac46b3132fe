"""Time and memory of a few calls beside each other, for the notebooks. bench/python_models.py
measures properly: many rounds, each configuration's memory in a process of its own."""

import statistics
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))

from memory import beyond


def compare(calls, rounds=3):
    """calls: {name: function without arguments}. Prints the median time of each, made in turn, and
    the peak of memory beyond what was there before. Returns their results by name."""
    results, peaks, times = {}, {}, {name: [] for name in calls}
    for name, call in calls.items():
        peaks[name] = beyond(lambda call=call, name=name: results.update({name: call()}))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    width = max(map(len, calls))
    for name, seconds in times.items():
        print(
            f"{name:{width}}  {statistics.median(seconds):8.3f} s  {peaks[name] / 2**20:8.1f} MiB"
        )
    return results

"""What the benchmarks say about the machine, and how they print their tables."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path


def cpu_count():
    return len(os.sched_getaffinity(0))


def cpu_name():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def compiler():
    done = subprocess.run(["cc", "--version"], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[0]


def about(library, isa, packages):
    """Machine, versions and command: without them the figures below mean nothing."""
    peers = ", ".join(f"{package} {version(package)}" for package in packages)
    return {
        "machine": f"{cpu_name()}, {cpu_count()} CPUs, {platform.system()} {platform.release()}",
        "versions": f"libattn {library.version()} ({isa}), {peers}, "
        f"Python {platform.python_version()}, {compiler()}",
        "command": "python " + " ".join(sys.argv),
    }


def print_about(facts, markdown):
    for name, text in facts.items():
        print(f"- {name}: `{text}`" if markdown else f"{name}: {text}")
    print()


def print_table(header, rows, markdown):
    """Rows of strings; the first column to the left, the others to the right."""
    if markdown:
        print("| " + " | ".join(header) + " |")
        print("|---" + "|---:" * (len(header) - 1) + "|")
        for row in rows:
            print("| " + " | ".join(row) + " |")
    else:
        widths = [max(map(len, column)) for column in zip(header, *rows)]
        for row in (header, *rows):
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            print("  ".join(cells).rstrip())
    print(flush=True)

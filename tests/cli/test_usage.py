"""attn itself: help, version, and that manual pages and --help tell of the same options."""

import os
import re

import pytest

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
COMMANDS = ["run", "show", "translate", "train", "evaluate", "align", "rollout", "flow", "info"]
COMMANDS += ["bench", "check-gradients"]


def test_help(works):
    text = works("--help").stdout
    assert text.startswith("usage: attn COMMAND")
    assert re.findall(r"^  ([a-z][a-z-]*) ", text, re.M) == COMMANDS
    assert works("-h").stdout == text


def test_version(works):
    header = open(os.path.join(ROOT, "include", "attn", "attn.h")).read()
    assert (
        works("--version").stdout == "attn " + re.search(r'VERSION_STRING "(.*)"', header)[1] + "\n"
    )


def test_bad_use(refuses):
    refuses("attn: expected a command: see attn --help")
    refuses("attn: unknown command runn: see attn --help", "runn")
    refuses("attn: unknown option --verbose: see attn --help", "--verbose")
    refuses("attn: unknown command : see attn --help", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_commands(works, command):
    text = works(command, "--help").stdout
    assert text.startswith(f"usage: attn {command}")
    assert max(map(len, text.splitlines())) <= 100
    assert works(command, "-h").stdout == text


@pytest.mark.parametrize("command", COMMANDS)
def test_manual_and_help_agree(works, command):
    """The page may refer to another for shared options, but names them all, and no others."""
    helped = set(re.findall(r"^  --([a-z-]+)", works(command, "--help").stdout, re.M))
    page = open(os.path.join(ROOT, "man", f"attn-{command}.1")).read()
    named = set()
    for line in page.splitlines():
        if line.startswith((".It Fl", ".Fl", ".Op Fl")):
            named |= set(re.findall(r"(?<![\w-])-([a-z][a-z-]*)", line))
    assert helped and named == helped


def test_options_can_be_cut_short(works, qkv):
    whole = works("run", *qkv, "--causal", "top-left").stdout
    assert works("run", *qkv, "--cau", "top-left").stdout == whole
    assert works("run", "--causal=top-left", *qkv).stdout == whole


def test_o_is_short_for_output(works, refuses, qkv):
    works("run", *qkv, "--output", "a.npy")
    works("run", *qkv, "-o", "b.npy")
    works("run", *qkv, "-oc.npy")
    bits = {open(f"{name}.npy", "rb").read() for name in "abc"}
    assert len(bits) == 1
    refuses("unknown option -o: see attn bench --help", "bench", "-o", "x.npy")

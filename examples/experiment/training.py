"""attn train and attn translate, so that the same command goes on where it was stopped."""

import json
import os
import signal
import struct
import subprocess
import sys
import time

from pairs import BadInput, write_lines


class Interrupted(Exception):
    """The command was told to stop, and what it was doing is saved."""


def header(path):
    """The metadata and the tensors' shapes of a .safetensors file."""
    with open(path, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        entries = json.loads(f.read(size))
    return entries.pop("__metadata__", {}), entries


def parameters(path):
    """How many numbers a model file holds that were trained."""
    _, entries = header(path)
    total = 0
    for name, entry in entries.items():
        if name == "subwords" or name.endswith(".scale"):
            continue
        size = 1
        for extent in entry["shape"]:
            size *= extent
        total += size
    return total


def subwords(path):
    """The bytes of the model's SentencePiece model."""
    _, entries = header(path)
    begin, end = entries["subwords"]["data_offsets"]
    with open(path, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        f.seek(8 + size + begin)
        return f.read(end - begin)


def state_path(model):
    return model.with_name(model.stem + ".state.safetensors")


def steps_done(model):
    """How many steps the training that is saved there has behind it; None: nothing is saved."""
    if not (model.exists() and state_path(model).exists()):
        return None
    metadata, _ = header(state_path(model))
    return int(metadata["step"])


def call(arguments, log):
    """Runs a command; its standard output goes on to ours and to the file log, its standard error,
    with the progress bar, to ours. Ctrl-C is for the command to answer, which saves first."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with (
            open(log, "a", encoding="utf-8") as kept,
            subprocess.Popen(
                arguments, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            ) as child,
        ):
            for line in child.stdout:
                print(line, end="", flush=True)
                kept.write(line)
    finally:
        signal.signal(signal.SIGINT, before)
    if child.returncode in (130, -signal.SIGINT):
        raise Interrupted
    if child.returncode != 0:
        raise BadInput(f"{' '.join(arguments[:2])} ended with status {child.returncode}")


def train(attn, model, steps, arguments):
    """Trains the model of this path, or goes on. Returns the seconds that all its runs took."""
    model.parent.mkdir(parents=True, exist_ok=True)
    seconds_path = model.with_name("seconds.txt")
    seconds = float(seconds_path.read_text()) if seconds_path.exists() else 0.0
    done = steps_done(model)
    if done == steps:
        return seconds
    if done is None:
        seconds = 0.0
        model.with_name("train.log").unlink(missing_ok=True)
    command = [attn, "train", "--output", str(model), "--steps", str(steps), *arguments]
    began = time.monotonic()
    try:
        call(command + (["--resume"] if done is not None else []), model.with_name("train.log"))
    finally:
        seconds += time.monotonic() - began
        write_lines(seconds_path, [f"{seconds:.3f}"])
    return seconds


def dev_lines(model):
    """What attn train printed of the dev text, step by step."""
    log = model.with_name("train.log")
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    return [line for line in text.splitlines() if line.startswith("step ")]


def translate(attn, model, sources, output, arguments):
    """Translates the lines of a file into another, unless that is there."""
    if output.exists():
        return
    partial = output.with_name(output.name + ".partial")
    command = [attn, "translate", "--model", str(model), "--input", str(sources), *arguments]
    with open(partial, "wb") as out:
        status = subprocess.run(command, stdout=out, check=False).returncode
    if status != 0:
        raise BadInput(f"{attn} translate ended with status {status}")
    os.replace(partial, output)


def version(attn):
    done = subprocess.run([attn, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def answer(name, work):
    """Calls work(); returns the exit status: 0, 1 after an error, 130 if it was interrupted."""
    try:
        work()
    except (KeyboardInterrupt, Interrupted):
        print(f"{name}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BadInput as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{name}: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def same_settings(path, settings):
    """Keeps the settings of a folder, or refuses others than those that are kept there."""
    if path.exists():
        then = json.loads(path.read_text(encoding="utf-8"))
        for name in sorted(then.keys() | settings.keys()):
            was, now = then.get(name), settings.get(name)
            if was != now:
                raise BadInput(
                    f"{path}: {name} was {json.dumps(was)} and is now {json.dumps(now)}: "
                    "expected the same, or another folder"
                )
        return
    write_lines(path, [json.dumps(settings, indent=1, ensure_ascii=False)])

"""attn train: it learns, it is interrupted and goes on to the same bits, and it refuses early."""

import fcntl
import json
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import termios
import time

import pages
import pytest
import toy
from safetensors import safe_open

FILES = ["--data", "train.tsv", "--output", "m.safetensors"]
STATE = "m.state.safetensors"


def bits(name="m"):
    return [open(name + end, "rb").read() for end in (".safetensors", ".state.safetensors")]


def step_of(path):
    with safe_open(path, "numpy") as file:
        return int(file.metadata()["step"])


def start(attn, *arguments, **options):
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "LC_ALL": "C.UTF-8"}
    return subprocess.Popen(
        [attn.binary, "train", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_for_step(process, step):
    """Until standard error tells of that step."""
    for line in process.stderr:
        if line.startswith(f"training {step}/"):
            return
    pytest.fail(f"the training ended before step {step}")


# ---------------------------------------------------------------------------------------- Learning


def test_it_learns(trained):
    """Four evaluations; a model that knows nothing has a loss of log 300, 5.7, or more."""
    form = (
        r"step (\d+)  dev loss ([\d.]+)  perplexity ([\d.]+)  BLEU ([\d.]+)  chrF [\d.]+ \(greedy\)"
    )
    lines = (trained / "stdout").read_text().splitlines()
    told = [[float(x) for x in re.fullmatch(form, line).groups()] for line in lines]
    assert [t[0] for t in told] == [100, 200, 300, 400]
    losses = [t[1] for t in told]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 1
    assert told[-1][3] > told[0][3]
    form = r"training \d+/400  \d+:\d\d left  loss ([\d.]+)  \d+ tokens/s  epoch \d+  perplexity .*"
    first, *lines = (trained / "stderr").read_text().splitlines()
    assert re.fullmatch(r"400 pairs, \d+ subwords, 0\.\d\d million parameters, 400 steps", first)
    losses = [float(re.fullmatch(form, line)[1]) for line in lines]
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)


def test_same_bits(attn, text):
    """Whatever the number of threads; other seeds make other bits."""
    for name, changes in {"a": {"threads": 1}, "b": {"threads": 3}, "c": {"seed": 2}}.items():
        options = toy.options(steps=15, **changes)
        done = attn("train", "--data", "train.tsv", "--output", f"{name}.safetensors", *options)
        assert done.returncode == 0, done.stderr
    assert bits("a") == bits("b") and bits("a") != bits("c")


def test_warm_up(attn, text):
    """Without the option a tenth of the steps."""
    for name, warm_up in {"a": None, "b": 2, "c": 3}.items():
        options = toy.options(steps=20, warm_up=warm_up)
        done = attn("train", "--data", "train.tsv", "--output", f"{name}.safetensors", *options)
        assert done.returncode == 0, done.stderr
    assert bits("a") == bits("b") != bits("c")


def test_pictures(attn, text):
    """One for each of three pairs and each evaluation; they change as the model learns."""
    info = json.loads(attn("info", "--json").stdout)
    dev = ["--dev", "dev.tsv", "--pictures", "seen"]
    os.mkdir("seen")
    done = attn("train", *FILES, *dev, *toy.options(steps=20, dev_every=10))
    if not info["cairo"]:
        assert "--pictures: this build has no cairo" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    names = [f"pair-{i}-step-{step:07}.png" for i in (1, 2, 3) for step in (10, 20)]
    assert sorted(os.listdir("seen")) == names
    for early, late in zip(names[::2], names[1::2]):
        a, b = (pages.decode_png("seen/" + name) for name in (early, late))
        assert a.shape == b.shape and (a != b).any()


@pytest.mark.parametrize("name", ["lstm", "lstm-dot", "lstm-none"])
def test_other_models(attn, text, name):
    fields = ["width=16", "hidden=16", "encoder_layers=1"]
    done = attn(
        "train",
        *FILES,
        "--model",
        name,
        "--steps=5",
        "--tokens=400",
        "--threads=2",
        *(f"--set={field}" for field in fields),
    )
    assert done.returncode == 0, done.stderr
    translated = attn("translate", "--model", "m.safetensors", "le chat mange le poisson .")
    assert translated.returncode == 0 and translated.stdout.count("\n") == 1


def config_of(path):
    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()["config"])


COPYING = {
    "set": ({}, ["--set=copy=true"]),
    "file": ({"model": {"name": "transformer", "copy": True}}, []),
    "both": ({"model": {"copy": False}}, ["--set=copy=true"]),
    "family": ({}, ["--set=family=recurrent"]),
}


@pytest.mark.parametrize("name", COPYING)
def test_who_looks_before(attn, text, name):
    """A preset's align_after gives way to models that must look at a word before they say it."""
    file, options = COPYING[name]
    json.dump(file, open("c.json", "w"))
    done = attn("train", "c.json", *FILES, *options, *toy.options(steps=2))
    assert done.returncode == 0, done.stderr
    config = config_of("m.safetensors")
    assert config["copy"] == (name != "family") and config["align_after"] is False
    translated = attn("translate", "--model", "m.safetensors", "le chat mange le poisson .")
    assert translated.returncode == 0 and translated.stdout.count("\n") == 1


def test_who_looks_after(attn, refuses, text):
    """Others look after it, and whoever is told to, but cannot, is refused."""
    done = attn("train", *FILES, *toy.options(steps=2))
    assert done.returncode == 0, done.stderr
    assert config_of("m.safetensors")["align_after"] is True
    both = ["--set=align_after=true", "--set=copy=true"]
    refuses("config.align_after: expected false", "train", *FILES, *both, *toy.options(steps=2))


# ------------------------------------------------------------------------------------ Configuration


def test_a_file_of_options(attn, text):
    """The same bits as from the command line, which wins over the file."""
    options = {**toy.OPTIONS, "steps": 10, "data": ["train.tsv"], "output": "a.safetensors"}
    model = {"name": "transformer", **toy.FIELDS}
    json.dump({**options, "model": model, "resume": False}, open("a.json", "w"))
    assert attn("train", "a.json").returncode == 0
    done = attn("train", "--data=train.tsv", "--output=b.safetensors", *toy.options(steps=10))
    assert done.returncode == 0
    assert bits("a") == bits("b")
    json.dump({**options, "model": model, "seed": 5, "data": "none.tsv"}, open("c.json", "w"))
    change = ["--output=c.safetensors", "--seed", "1", "--data", "train.tsv"]
    done = attn("train", *change, "c.json")
    assert done.returncode == 0, done.stderr
    assert bits("a") == bits("c")


BAD_CONFIGS = {
    "nothing": ("", "c.json: line 1:"),
    "no JSON": ('{"steps": 1,\n "data" 2}', "c.json: line 2: "),
    "twice": ('{"steps": 1, "steps": 2}', "c.json: line 1: duplicate object key"),
    "a list": ("[1]", "c.json: expected a JSON object of options"),
    "unknown": ('{"stepps": 3}', "c.json: unknown option stepps: see attn train --help"),
    "unknown flag": ('{"resum": false}', "c.json: --resum: expected a string, a number"),
    "null": ('{"steps": null}', "c.json: --steps: expected a string, a number"),
    "flag": ('{"steps": true}', "c.json: --steps: expected a value"),
    "no flag": ('{"resume": "yes"}', "c.json: --resume: expected true or false"),
    "value": ('{"steps": 0}', "c.json: --steps 0: expected a whole number above 0"),
    "fraction": ('{"steps": 1.5}', "c.json: --steps 1.5: expected a whole number above 0"),
    "model": ('{"model": "gru"}', "--model gru: expected transformer, lstm, lstm-dot or lstm-none"),
    "name": ('{"model": {"name": 3}}', "c.json: model: its name is no string"),
    "field": ('{"model": {"wide": 3}}', "c.json: model: has a field wide, which this version"),
    "field's value": ('{"model": {"width": "x"}}', 'c.json: model: width is "x": expected a whole'),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_bad_files_of_options(refuses, text, name):
    content, sentence = BAD_CONFIGS[name]
    open("c.json", "w").write(content)
    refuses(sentence, "train", "c.json", *FILES)


# ------------------------------------------------------------------------------ Stopping, going on


@pytest.fixture
def whole(attn, text):
    """The bits of 300 steps without a stop."""
    done = attn("train", "--data=train.tsv", "--output=w.safetensors", *toy.options(steps=300))
    assert done.returncode == 0, done.stderr
    return bits("w")


def resume(attn, *more):
    return attn("train", *FILES, *toy.options(steps=300), "--resume", *more)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(attn, whole, number):
    process = start(attn, *FILES, *toy.options(steps=300, log_every=1))
    wait_for_step(process, 8)
    process.send_signal(number)
    rest = process.stderr.read().splitlines()
    assert process.wait(60) == 128 + number
    assert rest[-1] == "interrupted; attn train ... --resume goes on from here"
    assert 8 <= step_of(STATE) < 300
    assert bits() != whole
    assert resume(attn).returncode == 0
    assert bits() == whole
    # Where nothing is left to do, nothing changes.
    assert resume(attn).returncode == 0
    assert bits() == whole


def test_killed(attn, whole):
    """The last save is good enough, whatever was under way."""
    process = start(attn, *FILES, *toy.options(steps=300, log_every=1, save_every=10))
    wait_for_step(process, 25)
    process.kill()
    process.communicate()
    step = step_of(STATE)
    assert step >= 20 and step % 10 == 0 and step < 300
    assert resume(attn).returncode == 0
    assert bits() == whole


def test_interrupted_twice(attn, text):
    """The second signal ends it at once, though it is saving, and leaves nothing half written."""
    process = start(attn, *FILES, *toy.options(steps=100000, log_every=1, save_every=1))
    wait_for_step(process, 3)
    half = lambda: [name for name in os.listdir() if name.endswith(".tmp")]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        if half():
            break
        process.send_signal(signal.SIGCONT)
    assert half()
    # It gets both when it goes on.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, -signal.SIGTERM)
    assert sorted(os.listdir()) == ["dev.tsv", "m.safetensors", STATE, "train.tsv"]


def test_interrupted_while_it_reads(attn, text):
    """Before the first step a signal ends it as any command."""
    os.mkfifo("pipe")
    process = start(attn, "--data", "pipe", "--output", "m.safetensors", *toy.options(steps=3))
    with open("pipe", "w"):
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
    process.communicate()
    assert sorted(os.listdir()) == ["dev.tsv", "pipe", "train.tsv"]


OTHER = {
    "rate": (["--rate", "0.02"], "rate was 0.01 and is now 0.02"),
    "tokens": (["--tokens", "500"], "tokens was 400 and is now 500"),
    "shards": (["--shards", "3"], "shards was 2 and is now 3"),
    "seed": (["--seed", "2"], "seed was 1 and is now 2"),
    "steps": (["--steps", "500"], "steps was 400 and is now 500"),
    "schedule": (["--schedule", "linear"], 'schedule was "cosine" and is now "linear"'),
    "warm-up": (["--warm-up", "3"], "warm-up was 30 and is now 3"),
    "smoothing": (["--smoothing", "0"], "smoothing was 0.1 and is now 0.0"),
    "clip": (["--clip", "2"], "clip was 1.0 and is now 2.0"),
    "average": (["--average", "0.5"], "average was 0.9 and is now 0.5"),
    "decay": (["--decay", "0.5"], "decay was 0.0 and is now 0.5"),
    "max-length": (["--max-length", "90"], "max-length was 100 and is now 90"),
    "vocabulary": (["--vocabulary", "500"], "vocabulary was 400 and is now 500"),
    "more data": (["--data", "dev.tsv"], "pairs was 400 and is now 420"),
    "model": (["--model", "lstm"], "as another model: its family is not what the options ask for"),
    "field": (["--set", "width=8"], "as another model: its width is not what the options ask for"),
}


@pytest.mark.parametrize("name", OTHER)
def test_resumed_with_other_options(attn, model, name):
    change, sentence = OTHER[name]
    before = bits()
    done = attn("train", *FILES, *toy.options(steps=400), "--resume", *change)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert (
        f"m.safetensors: cannot be resumed {'' if 'as an' in sentence else 'with'}" in done.stderr
    )
    assert sentence in done.stderr
    assert bits() == before


@pytest.mark.parametrize("column", [0, 1])
def test_resumed_with_other_data(attn, model, column):
    """As long, the same subwords, and in another order: one sentence's words are."""
    lines = [line.split("\t") for line in open("train.tsv").read().splitlines()]
    lines[7][column] = " ".join(reversed(lines[7][column].split()))
    open("train.tsv", "w").writelines("\t".join(line) + "\n" for line in lines)
    done = attn("train", *FILES, *toy.options(steps=400), "--resume")
    assert done.returncode == 2
    assert "cannot be resumed with other options: checksum of the data was" in done.stderr


def test_nothing_to_resume(refuses, text):
    refuses("m.safetensors: No such file", "train", *FILES, *toy.options(steps=9), "--resume")


def test_a_state_that_is_gone_or_damaged(refuses, model):
    arguments = ["train", *FILES, *toy.options(steps=400), "--resume"]
    raw = open(STATE, "rb").read()
    for content in (b"", raw[:100], raw[:-1], b"\xff" * 50):
        open(STATE, "wb").write(content)
        refuses(STATE, *arguments)
    os.remove(STATE)
    refuses(STATE + ": No such file", *arguments)


# ------------------------------------------------------------------------------------- Full disks


def test_a_file_that_cannot_grow(attn, text):
    process = start(attn, *FILES, *toy.options(steps=300, log_every=1))
    wait_for_step(process, 5)
    process.send_signal(signal.SIGINT)
    process.communicate()
    before, names = bits(), sorted(os.listdir())
    done = attn(
        "train",
        *FILES,
        *toy.options(steps=300),
        "--resume",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert done.returncode == 2
    assert "safetensors: cannot be written: File too large" in done.stderr
    assert bits() == before and sorted(os.listdir()) == names
    assert resume(attn).returncode == 0


def test_full_disk(attn, text):
    """The first checkpoint fits on a file system of its own, a second beside it does not."""
    options = " ".join(toy.options(steps=20, save_every=5))
    train = f"{attn.binary} train --data train.tsv --output small/m.safetensors {options}"
    mount = "mkdir small copy; mount -t tmpfs -o size=700k tmpfs small || exit 77"
    script = f"{mount}; {train}; status=$?; cp -a small/. copy; exit $status"
    try:
        done = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if done.returncode == 77 or done.stderr.startswith("unshare: "):
        pytest.skip("file systems cannot be mounted here: " + done.stderr.strip())
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("cannot be written: No space left on device")
    assert sorted(os.listdir("copy")) == ["m.safetensors", STATE]
    assert step_of("copy/" + STATE) == 5
    assert attn("translate", "--model", "copy/m.safetensors", "le chat .").returncode == 0


# --------------------------------------------------------------------------------- Refused at once


def refused_early(refuses, sentence, *arguments):
    """Within a run that would take hours: 10^8 steps."""
    refuses(sentence, "train", *arguments, *toy.options(steps=100_000_000), timeout=60)


def test_bad_use(refuses, text):
    refuses("--data is missing: expected a file of pairs", "train", "--output", "m.safetensors")
    refuses("--output is missing: expected a file to write", "train", "--data", "train.tsv")
    refuses("--rate 0: expected a finite number above 0", "train", *FILES, "--rate", "0")
    refuses("--average 1: expected a number, 0 or more and", "train", *FILES, "--average", "1")
    refuses("--vocabulary 4294967300: expected at most", "train", *FILES, "--vocabulary=4294967300")
    refuses("--shards 1000000: expected at most 4096", "train", *FILES, "--shards=1000000")
    refuses("--set width: expected FIELD=VALUE", "train", *FILES, "--set", "width")
    refuses("--set: a model has no field wide", "train", *FILES, "--set", "wide=3")
    refuses("heads", "train", *FILES, "--set", "heads=5", "--steps", "1")
    refuses("unexpected argument b: see attn train --help", "train", *FILES, "a", "b")


def test_outputs_that_cannot_be(refuses, text):
    data = ["--data", "train.tsv"]
    refused_early(
        refuses, "no/m.safetensors: cannot be written: No such file", *data, "-ono/m.safetensors"
    )
    os.mkdir("folder")
    refused_early(refuses, "folder is a directory: expected the name", *data, "-ofolder")
    os.mkdir(STATE)
    refused_early(refuses, STATE + " is a directory: expected the name", *FILES)
    os.rmdir(STATE)
    pictures = ["--dev", "dev.tsv", "--pictures"]
    refused_early(refuses, "no/pair-1", *FILES, *pictures, "no")
    refuses("--pictures needs --dev", "train", *FILES, "--pictures", "folder")
    none = ["--model", "lstm-none"]
    refuses("--pictures: the model has no", "train", *FILES, *pictures, "folder", *none)
    refuses("--guide: the model has no", "train", *FILES, "--guide", "dev.tsv", *none)


BAD_TEXT = {
    "one column": (b"a\tb\nc\n", "line 2 has one column: expected a sentence, a tab"),
    "empty line": (b"a\tb\n\nc\td\n", "line 2 is empty: expected a sentence, a tab"),
    "empty side": (b"a\tb\n \td\n", "line 2: its source (column 1) is empty"),
    "not UTF-8": (b"a\tb\nc\td\xff\n", "line 2 is not UTF-8: byte 4 is 0xff"),
    "NUL": (b"a\tb\nc\0\td\n", "line 2 has a NUL at byte 2"),
    "too long": (b"a\tb\n" + b"x" * 1_100_000 + b"\ty\n", "line 2 is 1100002 bytes long"),
    "nothing": (b"", "has no lines: expected pairs"),
    "cut gzip": (b"\x1f\x8b\x08\0\0\0\0\0\0\x03KT", "is not whole as gzip made it"),
}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_bad_text(refuses, text, name):
    content, sentence = BAD_TEXT[name]
    open("bad.tsv", "wb").write(content)
    output = ["--output", "m.safetensors"]
    refused_early(refuses, "bad.tsv: " + sentence, "--data", "bad.tsv", *output)
    refused_early(refuses, "bad.tsv: " + sentence, *FILES, "--data", "bad.tsv")
    refused_early(refuses, "bad.tsv: " + sentence, *FILES, "--dev", "bad.tsv")


def test_long_lines(attn, refuses, text):
    """One of 1 MB that is a pair is left out of training, but to be translated it is too long."""
    open("long.tsv", "w").write("mot " * 250_000 + "\tword\n")
    refused_early(
        refuses,
        "long.tsv: line 1 has a sentence of 1000000 bytes: expected at most 16384",
        *FILES,
        "--dev",
        "long.tsv",
    )
    done = attn("train", *FILES, "--data", "long.tsv", *toy.options(steps=2))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("400 pairs, ")


def test_files_that_are_not_there(refuses, text):
    refused_early(refuses, "no.tsv: No such file", "--data", "no.tsv", "--output", "m.safetensors")
    refused_early(refuses, "no.tsv: No such file", *FILES, "--dev", "no.tsv")
    refused_early(refuses, "no.links: No such file", *FILES, "--guide", "no.links")
    refuses("no.json: No such file", "train", "no.json", *FILES)
    if os.geteuid() != 0:
        os.chmod("dev.tsv", 0)
        refused_early(refuses, "dev.tsv: Permission denied", *FILES, "--dev", "dev.tsv")
    os.mkdir("d")
    refused_early(refuses, "d: could not be read: Is a directory", *FILES, "--dev", "d")


def test_guides(attn, refuses, text):
    """Links of the pairs' words move the weights; too few, or of no words, they are refused."""
    lines = [line.split("\t") for line in open("train.tsv").read().splitlines()]
    same = [" ".join(f"{i}-{i}" for i in range(len(source.split()))) for source, _ in lines]
    open("links", "w").write("\n".join(same[:-1]) + "\n")
    refused_early(
        refuses,
        "links: ends after 399 lines: expected one for each pair",
        *FILES,
        "--guide",
        "links",
    )
    open("links", "w").write("0-x\n" + "\n".join(same[1:]) + "\n")
    refused_early(refuses, "links: line 1", *FILES, "--guide", "links")
    open("links", "w").write("0-99\n" + "\n".join(same[1:]) + "\n")
    refused_early(refuses, "links: line 1", *FILES, "--guide", "links")
    open("links", "w").write("\n".join(same) + "\n")
    for name, more in {"a": [], "b": ["--guide", "links"]}.items():
        options = toy.options(steps=5)
        done = attn("train", "--data=train.tsv", f"--output={name}.safetensors", *options, *more)
        assert done.returncode == 0, done.stderr
    assert bits("a") != bits("b")


# ---------------------------------------------------------------------------------------- Terminal


@pytest.mark.parametrize("columns", [40, 80, 132])
def test_the_bar(attn, text, columns):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "LC_ALL": "C.UTF-8"}
    options = toy.options(steps=150, dev_every=100)
    process = subprocess.Popen(
        [attn.binary, "train", *FILES, "--dev", "dev.tsv", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(leader)
    assert process.wait(60) == 0
    told = process.communicate()[0].decode()
    assert told.count("dev loss") == 2 and "\x1b" not in told
    start, *drawn = seen.decode().split("\r\x1b[K")
    assert start.startswith("400 pairs") and drawn[-1] == ""
    bars = [line for line in drawn if line.startswith("training ")]
    # Bars that do not fit would scroll.
    assert bars and max(map(len, drawn)) < columns
    last = bars[-1]
    assert re.fullmatch(
        r"training .*150/150  0:00 left(  loss [\d.]+(  \d+ tokens/s(  epoch 3.*)?)?)?", last
    )
    if columns >= 80:
        assert "tokens/s" in last
        assert re.search(r"\[#+\] 150/150", last)
        for line in bars:
            bar, done = re.search(r"\[(#*\.*)\] (\d+)/150", line).groups()
            # A cell is full once the work has passed its start.
            assert bar.count("#") == -(-int(done) * len(bar) // 150)

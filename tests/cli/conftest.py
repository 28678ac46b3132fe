"""Runs the built command, whose path is in ATTN_BIN, in an empty directory of each test's own."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import toy

# Under LeakSanitizer: fontconfig, which cairo loads, keeps its cache until the process ends.
LEAKS = f"suppressions={os.path.join(os.path.dirname(__file__), 'leaks.supp')}:print_suppressions=0"


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def attn(workdir):
    """attn("run", "--query", ...): the finished process, with its text."""
    binary = os.environ.get("ATTN_BIN")
    if not binary:
        pytest.fail("ATTN_BIN is not set: expected the path of the built command")
    binary = os.path.abspath(binary)

    def run(*arguments, env=None, **options):
        # The width of a picture must not depend on who runs the tests.
        plain = {
            k: v
            for k, v in os.environ.items()
            if k not in ("COLUMNS", "LINES", "NO_COLOR", "ATTN_MODEL")
        }
        plain.update(LC_ALL="C.UTF-8", OMP_WAIT_POLICY="passive", LSAN_OPTIONS=LEAKS)
        plain.update(env or {})
        options.setdefault("timeout", 120)
        return subprocess.run(
            [binary, *map(str, arguments)], env=plain, capture_output=True, text=True, **options
        )

    run.binary = binary
    run.sanitized = b"__asan_init" in open(binary, "rb").read()
    return run


@pytest.fixture
def works(attn):
    """The same for calls that must succeed, silently on standard error."""

    def run(*arguments, **options):
        done = attn(*arguments, **options)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done

    return run


@pytest.fixture
def refuses(attn, workdir):
    """A call that must fail: exit status 2, nothing on standard output, one sentence that has
    `sentence` in it, and not a file more, fewer or different than before."""

    def run(sentence, *arguments, **options):
        before = snapshot(workdir)
        done = attn(*arguments, **options)
        assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
        assert sentence in done.stderr
        assert done.stderr.startswith("attn ") or done.stderr.startswith("attn: ")
        assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n")
        assert done.stdout == ""
        assert snapshot(workdir) == before
        return done

    return run


def snapshot(directory):
    return {str(p): p.read_bytes() if p.is_file() else None for p in directory.rglob("*")}


@pytest.fixture
def qkv(workdir):
    """Small query, key and value files, and the options that name them."""
    random = np.random.default_rng(1)
    for name, shape in (("q", (2, 4, 5, 8)), ("k", (2, 2, 7, 8)), ("v", (2, 2, 7, 3))):
        np.save(f"{name}.npy", random.standard_normal(shape).astype(np.float32))
    return ["--query", "q.npy", "--key", "k.npy", "--value", "v.npy"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with train.tsv, dev.tsv and m.safetensors, which learnt it in 400 steps."""
    binary = os.environ.get("ATTN_BIN")
    if not binary:
        pytest.fail("ATTN_BIN is not set: expected the path of the built command")
    binary = os.path.abspath(binary)
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    info = subprocess.run([binary, "info", "--json"], capture_output=True, text=True, check=True)
    if not json.loads(info.stdout)["sentencepiece"]:
        pytest.skip("the command was built without SentencePiece")
    folder = tmp_path_factory.mktemp("toy")
    toy.write(folder / "train.tsv", 400, 1)
    toy.write(folder / "dev.tsv", 20, 2)
    files = ["--data", "train.tsv", "--dev", "dev.tsv", "--output", "m.safetensors"]
    done = subprocess.run(
        [binary, "train", *files, *toy.options(steps=400, dev_every=100)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.fixture
def text(trained, workdir):
    """The test's folder has train.tsv and dev.tsv."""
    for name in ("train.tsv", "dev.tsv"):
        shutil.copy(trained / name, workdir)
    return workdir


@pytest.fixture
def model(trained, text):
    """And m.safetensors with its state."""
    for name in ("m.safetensors", "m.state.safetensors"):
        shutil.copy(trained / name, text)
    return text / "m.safetensors"

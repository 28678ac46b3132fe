"""The commands as a whole, with an apt-get that hands out packages made here and writes down what
it was asked for; no network."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from conftest import TOOLS, catalogue, put, table
from stages import document, pipeline, sources
from stages.download import Apt, unpack
from stages.files import CorpusError, read_table, write_table, writing

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb was not found")

# Reads what the tool's settings say, as apt-get does; POOL, and a file that makes it wait, are told
# by the environment.
APT_GET = """#!/bin/sh
echo "$@" >>"$POOL/asked"
settings=$3
lists=$(sed -n 's/^Dir::State::Lists "\\(.*\\)";/\\1/p' "$settings")
case $4 in
update)
    [ -e "$POOL/broken" ] && { echo "E: no such host" >&2; exit 100; }
    cp "$POOL"/*Translation* "$POOL"/*Packages "$lists"/ 2>/dev/null; exit 0 ;;
download)
    [ -e "$POOL/wait-at-$5" ] && { touch "$POOL/waiting"; sleep 60; }
    cp "$POOL/$5"_*.deb . 2>/dev/null || { echo "E: Unable to locate package $5" >&2; exit 100; } ;;
esac
"""

THINGS = "fichier:file fenêtre:window page:page image:image police:font couleur:colour".split()
PLACES = "dossier:folder menu:menu document:document tableau:table réseau:network".split()


def sentences():
    """Pairs of sentences that share no side."""
    for thing in THINGS:
        for place in PLACES:
            (f, e), (g, h) = thing.split(":"), place.split(":")
            yield f"Le nom de {f} est dans le {g}.", f"The name of the {e} is in the {h}."


def package(pool, name, files):
    """A Debian package of the files, in the pool."""
    root = pool / "build" / name
    control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nDescription: x\n"
    control += "Maintainer: A <a@b.example>\n"
    put(root / "DEBIAN" / "control", control)
    put(root / f"usr/share/doc/{name}/copyright", "License: GPL-2+\nLicense: MIT\n")
    for path, text in files.items():
        put(root / path, text)
    out = pool / f"{name}_1.0_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(root), str(out)], check=True, capture_output=True)


def help_page(texts):
    return "".join(f'<p id="par_id{n}">{text}</p>' for n, text in enumerate(texts))


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """A folder with packages, and an apt-get first on the path that serves them."""
    folder = tmp_path / "pool"
    folder.mkdir()
    tool = put(tmp_path / "bin" / "apt-get", APT_GET)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("POOL", str(folder))
    stanza = "Package: a\nDescription-md5: 1\nDescription-{0}: {1}\n {2}\n\n"
    french = stanza.format("fr", "un éditeur", "Un éditeur pour le texte et pour les images.")
    english = stanza.format("en", "an editor", "An editor for the text and for images.")
    put(folder / "x_i18n_Translation-fr", french)
    put(folder / "x_i18n_Translation-en", english)
    put(folder / "x_Packages", "Package: a\nSource: b (1.0)\n\n")
    if shutil.which("dpkg-deb"):
        french, english = zip(*sentences())
        base = "usr/share/libreoffice/help"
        package(folder, "libreoffice-help-fr", {f"{base}/fr/text/a.html": help_page(french)})
        package(folder, "libreoffice-help-en-us", {f"{base}/en-US/text/a.html": help_page(english)})
    return folder


def asked(pool):
    """What apt-get was asked for, in order."""
    lines = (pool / "asked").read_text().splitlines() if (pool / "asked").exists() else []
    return [" ".join(line.split()[3:]) for line in lines]


@pytest.fixture
def small(monkeypatch):
    """LibreOffice help with the range of the pool's text, in this process."""
    source = sources.BY_NAME["libreoffice"]._replace(kept=(25, 35), clean=(25, 35))
    monkeypatch.setitem(sources.BY_NAME, "libreoffice", source)
    return ["libreoffice"]


@needs_dpkg
def test_the_whole_way(pool, small, tmp_path, capsys):
    out = tmp_path / "out"
    pipeline.make(out, small, 1)
    assert asked(pool) == [
        "update",
        "download libreoffice-help-fr",
        "download libreoffice-help-en-us",
    ]
    counts = json.loads((out / "counts.json").read_text())
    rows = [row for name in pipeline.TABLES[:3] for row in table(out / f"{name}.tsv.gz")]
    assert counts["sources"]["libreoffice"]["clean"] == len(THINGS) * len(PLACES)
    assert len(rows) + sum(counts["dropped"].values()) == len(THINGS) * len(PLACES)
    assert set(map(tuple, rows)) <= set(sentences())
    assert table(out / "all-train.tsv.gz") == table(out / "train.tsv.gz")
    assert "libreoffice-help-fr 1.0: GPL-2+, MIT" in (out / "LICENCES").read_text()
    assert "together" in capsys.readouterr().out


@needs_dpkg
def test_what_is_finished_is_not_made_again(pool, small, tmp_path, capsys):
    out = tmp_path / "out"
    pipeline.make(out, small, 1)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    pipeline.make(out, small, 1)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    assert len(asked(pool)) == 3
    assert "corpus: here already" in capsys.readouterr().out
    data = (out / "train.tsv.gz").read_bytes()
    (out / "train.tsv.gz").unlink()
    pipeline.make(out, small, 1)
    assert (out / "train.tsv.gz").read_bytes() == data
    assert len(asked(pool)) == 3


@needs_dpkg
def test_another_version_of_the_tool_trusts_downloads_alone(pool, small, tmp_path, monkeypatch):
    out = tmp_path / "out"
    pipeline.make(out, small, 1)
    stage = out / "work/aligned/libreoffice.tsv.gz"
    with gzip.open(stage, "wt") as wrong:
        wrong.write("stale\tstale\n")
    monkeypatch.setattr(pipeline, "tool_digest", lambda: "another")
    pipeline.make(out, small, 1)
    assert len(table(stage)) == len(THINGS) * len(PLACES)
    assert len(asked(pool)) == 3


@needs_dpkg
def test_a_source_that_shrinks_is_an_error(pool, command, tmp_path):
    done = command("make", tmp_path / "out", "--sources", "libreoffice")
    assert done.returncode == 1
    assert "make: counts out of range:" in done.stderr
    assert "libreoffice: 30 pairs, expected 24700 to 37000" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "train.tsv.gz").exists()  # it is there to be looked at


def test_numbers_that_do_not_agree_are_an_error():
    count = {"pairs": 30000, "clean": 20000, "share of numbers that agree": 0.9}
    assert pipeline.check(["libreoffice"], {"libreoffice": count}) == [
        "libreoffice: numbers agree in 90.0% of the pairs, expected 96.0%"
    ]


@needs_dpkg
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_goes_on(pool, tmp_path, kind):
    put(pool / "wait-at-libreoffice-help-en-us", "")
    arguments = [sys.executable, TOOLS / "make", tmp_path / "out", "--sources", "libreoffice"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)  # fmt: skip
    while not (pool / "waiting").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, kind)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said == "make: interrupted; the same command goes on from here\n"
    (pool / "wait-at-libreoffice-help-en-us").unlink()
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert "together" in done.stdout
    assert asked(pool).count("download libreoffice-help-fr") == 1
    assert asked(pool).count("update") == 1


@needs_dpkg
@pytest.mark.parametrize("stage", ["extracted", "aligned", "filtered"])
def test_an_interrupted_stage_leaves_nothing_and_goes_on(pool, small, tmp_path, monkeypatch, stage):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        real = pipeline.write_documents if stage == "extracted" else pipeline.write_table

        def interrupted(path, rows):
            def some():
                for number, row in enumerate(rows):
                    if number == (0 if stage == "extracted" else 9):
                        raise KeyboardInterrupt
                    yield row

            return real(path, some() if path.parent.name == stage else rows)

        patch.setattr(pipeline, real.__name__, interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.make(out, small, 1)
    assert not list(out.glob(f"work/{stage}/*"))
    assert not list(out.rglob("*.part")) and not (out / "train.tsv.gz").exists()
    pipeline.make(out, small, 1)
    assert json.loads((out / "counts.json").read_text())["sources"]["libreoffice"]["clean"] == 30
    assert len(asked(pool)) == 3


@needs_dpkg
def test_jobs_do_not_change_the_corpus(pool, small, tmp_path, monkeypatch):
    source = sources.BY_NAME["descriptions"]._replace(kept=(1, 1), clean=(1, 1))
    monkeypatch.setitem(sources.BY_NAME, "descriptions", source)
    for jobs in (1, 3):
        pipeline.make(tmp_path / str(jobs), ["descriptions", *small], jobs)
    for name in pipeline.TABLES:
        first, second = (tmp_path / str(jobs) / f"{name}.tsv.gz" for jobs in (1, 3))
        assert first.read_bytes() == second.read_bytes()


def test_a_failing_update_says_what_apt_said(pool, command, tmp_path):
    put(pool / "broken", "")
    done = command("make", tmp_path / "out", "--sources", "descriptions")
    assert (done.returncode, done.stderr) == (1, "make: apt-get update failed: E: no such host\n")


def test_indexes_without_french_are_an_error(pool, command, tmp_path):
    (pool / "x_i18n_Translation-fr").unlink()
    done = command("make", tmp_path / "out", "--sources", "descriptions")
    assert done.returncode == 1
    assert "no Translation-fr index came" in done.stderr


def test_a_package_that_is_not_there_is_an_error(pool, command, tmp_path):
    done = command("make", tmp_path / "out", "--sources", "apache")
    assert done.returncode == 1
    assert "apt-get download failed: E: Unable to locate package apache2-doc" in done.stderr


def test_a_machine_without_apt(command, tmp_path):
    done = command("make", tmp_path / "out", env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr == "make: apt-get: not found (Debian, or its apt package, is needed)\n"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "OUTPUT_FOLDER"),
        (["out", "--sources", "books"], "'books': no source; there are descriptions, "),
        (["out", "--jobs", "0"], "argument --jobs: 0, expected 1 or more"),
    ],
)
def test_wrong_arguments(command, tmp_path, arguments, sentence):
    done = command("make", *arguments)
    assert done.returncode == 2 and sentence in done.stderr
    assert not (tmp_path / "out").exists()


@needs_dpkg
def test_only_what_is_wanted_is_unpacked(pool, tmp_path):
    deb = pool / "libreoffice-help-fr_1.0_all.deb"
    assert unpack(deb, re.compile(r"\.html$"), tmp_path / "a")
    files = sorted(p.name for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert files == ["a.html", "copyright"]
    assert not unpack(deb, re.compile(r"\.html$"), tmp_path / "a")


@needs_dpkg
def test_a_package_cut_short_is_an_error_that_names_it(pool, tmp_path):
    whole = (pool / "libreoffice-help-fr_1.0_all.deb").read_bytes()
    deb = put(tmp_path / "cut.deb", whole[: len(whole) // 2])
    with pytest.raises(CorpusError, match="cut.deb"):
        unpack(deb, re.compile("x"), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_file_is_whole_or_not_there(tmp_path):
    path = put(tmp_path / "x.tsv.gz", "before")
    kept = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        with writing(path) as out:
            out.write("half")
            raise ZeroDivisionError
    assert path.read_bytes() == kept and list(tmp_path.iterdir()) == [path]


def test_tables_are_checked_when_they_are_read(tmp_path):
    path = tmp_path / "x.tsv.gz"
    assert write_table(path, [("a", "b"), ("c",)]) == 2
    with pytest.raises(CorpusError, match="x.tsv.gz, line 2: 1 columns, expected 2"):
        list(read_table(path, 2))
    write_table(path, [("a", "b")])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorpusError, match="delete it to make it again"):
        list(read_table(path, 2))
    broken = put(tmp_path / "d.jsonl.gz", "[1, 2\n")
    with pytest.raises(CorpusError, match="delete it"):
        list(document.read_documents(broken))


def test_the_indexes_are_fetched_once(pool, tmp_path):
    apt = Apt(tmp_path / "apt")
    assert apt.update() and not apt.update()
    assert asked(pool) == ["update"]
    text = (tmp_path / "apt" / "apt.conf").read_text()
    assert text.count(str(tmp_path / "apt")) == 2  # lists and cache lie below the folder


# The games' catalogues take the same way as the programs'.


def test_every_source_reads_its_own_kind(tmp_path):
    path = "x/usr/share/locale/fr/LC_MESSAGES/x.mo"
    put(tmp_path / path, catalogue([("One file.", "Un fichier.")]))
    for name in ("catalogues", "games", "wesnoth"):
        source = sources.BY_NAME[name]
        assert re.compile(source.wanted).search(path)
        assert len(list(source.extract(tmp_path, None))) == 1
    for path in ("usr/share/man/fr/man1/ls.1.gz", "usr/share/man/man1/ls.1.gz"):
        assert re.compile(sources.BY_NAME["man"].wanted).search(path)
    assert not re.compile(sources.BY_NAME["man"].wanted).search("usr/share/man/de/man1/ls.1")


def test_sources_have_names_and_ranges_of_their_own():
    names = Counter(source.name for source in sources.SOURCES)
    assert max(names.values()) == 1
    for source in sources.SOURCES:
        for least, most in (source.kept, source.clean):
            assert 0 < least < most
        assert source.clean[1] <= source.kept[1] and 0.9 < source.agree < 1


# Summaries


def test_summaries_of_a_pool_that_is_too_small(pool, command, tmp_path):
    words = "a program that reads one text file after another and writes what is in them".split()
    english = "".join(
        f"Package: p{n}\nDescription-md5: {n}\nDescription-en: reader {n}\n"
        f" {' '.join(words)} {n}\n\n"
        for n in range(20)
    )
    put(pool / "x_i18n_Translation-en", english)
    put(
        pool / "x_Packages", "".join(f"Package: p{n}\nSource: s{n // 4} (1)\n\n" for n in range(20))
    )
    done = command("make_summaries", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("make_summaries: 20 descriptions, expected ")
    names = ("train", "dev", "test")
    rows = [row for name in names for row in table(tmp_path / f"out/summaries-{name}.tsv.gz")]
    counts = json.loads((tmp_path / "out/summaries-counts.json").read_text())
    assert len(rows) + counts["too near, from dev"] + counts["too near, from test"] == 20
    assert counts["sources"] == 5
    assert all(text.startswith("a program") and short.startswith("reader") for text, short in rows)


# Tatoeba


def test_tatoeba(command, tmp_path):
    lines = [f"{e}\t{f}\tCC-BY 2.0 #{n}" for n, (f, e) in enumerate(sentences())]
    lines += [lines[0], lines[1].upper(), "Go.\tVa !"]
    put(tmp_path / "fra.txt", "\n".join(lines) + "\n")
    done = command("tatoeba", "fra.txt", "out")
    assert (done.returncode, done.stderr) == (0, "")
    counts = json.loads((tmp_path / "out/counts.json").read_text())
    rows = [
        row for name in ("train", "dev", "test") for row in table(tmp_path / f"out/{name}.tsv.gz")
    ]
    assert counts["repeated"] == 2
    assert ["Va !", "Go."] in rows
    assert len(rows) + counts["too near, from dev"] + counts["too near, from test"] == 31


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("Go.\tVa !\nHi.\n", "fra.txt, line 2: 1 columns, expected English, tab, French"),
        ("Go.\tVa !\ta\tb\n", "fra.txt, line 1: 4 columns"),
        ("Go.\t!\n", "fra.txt, line 1: a sentence without words"),
        (b"Go.\tVa \xff\n", "fra.txt: not UTF-8 (invalid start byte at byte 7)"),
        ("", "fra.txt: no pairs"),
    ],
)
def test_tatoeba_of_another_form(command, tmp_path, content, sentence):
    put(tmp_path / "fra.txt", content)
    done = command("tatoeba", "fra.txt", "out")
    assert done.returncode == 1
    assert done.stderr.startswith("tatoeba: " + sentence) and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_tatoeba_without_a_file(command):
    done = command("tatoeba", "none.txt", "out")
    assert done.returncode == 1 and "none.txt" in done.stderr and "Traceback" not in done.stderr

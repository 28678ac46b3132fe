"""Packages and their indexes, by apt with lists and cache of its own.

Whatever sources the machine's apt has are used; neither its lists nor its packages are touched, and
root is not needed."""

import getpass
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from .files import CorpusError, whole

# "#clear" forgets what the machine's settings list; "none" would stay in the list otherwise.
SETTINGS = """#clear Acquire::Languages;
Acquire::Languages {{ "en"; "fr"; }};
Acquire::GzipIndexes "false";
Acquire::Retries "3";
APT::Sandbox::User "{user}";
Dir::State::Lists "{folder}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
"""


def _quoted(folder):
    """The folder's path, if it can stand between the quotes of apt's settings."""
    text = str(folder)
    if '"' in text or "\n" in text:
        raise CorpusError(f"{text!r}: the folder's name has a quote or a line end")
    return text


class Apt:
    """apt-get with everything it writes below one folder."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.lists = self.folder / "lists"
        self.settings = self.folder / "apt.conf"

    def _run(self, *arguments, cwd=None):
        command = ["apt-get", "-q", "-c", str(self.settings), *arguments]
        try:
            done = subprocess.run(
                command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
            )
        except FileNotFoundError:
            raise CorpusError(
                "apt-get: not found (Debian, or its apt package, is needed)"
            ) from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise CorpusError(
                f"apt-get {arguments[0]} failed: {said[-1] if said else 'no message'}"
            )

    def indexes(self, language):
        """The indexes of package descriptions in a language, the largest archive's first."""
        found = self.lists.glob(f"*_i18n_Translation-{language}")
        return sorted(found, key=lambda path: (-path.stat().st_size, path.name))

    def update(self):
        """Fetches the indexes, unless they are here; returns whether anything was fetched."""
        done = self.folder / "updated"
        if done.exists() and self.indexes("fr") and self.indexes("en"):
            return False
        for part in (self.lists / "partial", self.folder / "cache" / "archives" / "partial"):
            part.mkdir(parents=True, exist_ok=True)
        with whole(self.settings) as out:
            text = SETTINGS.format(folder=_quoted(self.folder), user=getpass.getuser())
            out.write(text.encode())
        self._run("update")
        for language in ("en", "fr"):
            if not self.indexes(language):
                raise CorpusError(
                    f"apt-get update: no Translation-{language} index came from the archive"
                )
        with whole(done):
            pass
        return True

    def download(self, name, folder):
        """The package's file in `folder`; fetched unless it is there."""
        here = sorted(Path(folder).glob(f"{name}_*.deb"))
        if here:
            return here[-1]
        fetching = Path(folder) / "partial"
        fetching.mkdir(parents=True, exist_ok=True)
        for old in fetching.glob(f"{name}_*.deb"):
            old.unlink()
        self._run("download", name, cwd=fetching)
        for file in fetching.glob(f"{name}_*.deb"):
            return file.replace(Path(folder) / file.name)
        raise CorpusError(f"apt-get download {name}: no file came")


def _target(folder, member, wanted):
    """Where a file of a package goes, or None if nobody wants it."""
    path = os.path.normpath(member.name)
    if not member.isfile() or path.startswith(("/", "..")):
        return None
    if wanted.search(path) or re.fullmatch(r"usr/share/doc/[^/]+/copyright", path):
        return folder / path
    return None


def unpack(package, wanted, folder):
    """Unpacks the files whose path matches, and the licence, into a folder that is then whole."""
    folder = Path(folder)
    if folder.exists():
        return False
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as unpacker:
        try:
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
                for member in archive:
                    target = _target(part, member, wanted)
                    if target:
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(archive.extractfile(member).read())
        except tarfile.TarError as error:
            said = unpacker.stderr.read().decode(errors="replace").strip() or error
            raise CorpusError(f"{package}: not a whole package ({said}); delete it") from None
        unpacker.stdout.read()
        if unpacker.wait():
            raise CorpusError(f"{package}: dpkg-deb could not read it; delete it")
    part.replace(folder)
    return True

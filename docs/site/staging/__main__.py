"""python -m staging FOLDER: writes the sources of the site into a folder, for Sphinx.

Only what has changed is written, so that Sphinx reads no more than it must.
"""

import shutil
import sys
from pathlib import Path

from . import examples, headers, manuals
from .documents import PAGES, Documents

SITE = Path(__file__).resolve().parent.parent
ROOT = SITE.parent.parent
HEADERS = {"attn.h": "attn", "gradients.h": "gradients", "nn.h": "nn",
           "transformer.h": "transformer"}  # fmt: skip
C_FOLDER = "reference/c"
COMMAND_FOLDER = "reference/command"
EXAMPLES_FOLDER = "reference/examples"
# Of docs/site, what is none of the site's sources.
NOT_COPIED = {"__pycache__", "build", "ipython_kernel_config.py", "requirements.txt", "staging"}


def main():
    pages = _written_pages()
    pages |= _header_pages()
    pages |= _manual_pages()
    pages |= _document_pages()
    _write(Path(sys.argv[1]), pages)


def _written_pages():
    """The pages and files that stand in docs/site as they are."""
    files = (path for path in SITE.rglob("*") if path.is_file())
    names = {path.relative_to(SITE).as_posix(): path for path in files}
    return {
        name: path.read_bytes()
        for name, path in names.items()
        if not NOT_COPIED & set(Path(name).parts)
    }


def _text(lines):
    return ("\n".join(lines) + "\n").encode()


def _header_pages():
    """The pages of the C reference, and the examples, which name what is in it."""
    parsed = {
        folder: headers.parse(name, (ROOT / "include/attn" / name).read_text())
        for name, folder in HEADERS.items()
    }
    anchors = {}
    for folder, header in parsed.items():
        anchors |= headers.targets(header, folder)

    def link(name):
        if name in anchors:
            return f"#{anchors[name][1]}"
        return f"/{PAGES[name]}" if name in PAGES else None

    pages = {}
    for folder, header in parsed.items():
        pages[f"{C_FOLDER}/{folder}/index.md"] = _text(headers.index_page(header, link))
        for section in header.sections:
            page = f"{C_FOLDER}/{folder}/{section.slug}.md"
            assert page not in pages, f"two sections would be {page}"
            pages[page] = _text(headers.section_page(section, link))

    programs = sorted((ROOT / "examples").glob("0*.c"))
    pages[f"{EXAMPLES_FOLDER}/index.md"] = _text(examples.index_page(programs))
    for path in programs:
        pages[f"{EXAMPLES_FOLDER}/{path.stem}.md"] = _text(examples.page(path, link))
    return pages


def _manual_pages():
    paths = sorted((ROOT / "man").glob("*.1"))
    pages = {f"{COMMAND_FOLDER}/{path.stem}.md": _text(manuals.page(path)) for path in paths}
    return pages | {f"{COMMAND_FOLDER}/index.md": _text(manuals.index_page(paths))}


def _document_pages():
    """The documents, and the pictures that they show."""
    known = dict(PAGES)
    known |= {f"include/attn/{name}": f"{C_FOLDER}/{at}/index.md" for name, at in HEADERS.items()}
    for path in (ROOT / "man").glob("*.1"):
        known[f"man/{path.name}"] = f"{COMMAND_FOLDER}/{path.stem}.md"
    for path in (ROOT / "examples").glob("0*.c"):
        known[f"examples/{path.name}"] = f"{EXAMPLES_FOLDER}/{path.stem}.md"
    documents = Documents(known)
    pages = {
        page: _text(documents.page(source, (ROOT / source).read_text()))
        for source, page in PAGES.items()
    }
    return pages | {at: (ROOT / picture).read_bytes() for picture, at in documents.pictures.items()}


def _write(folder, pages):
    """Makes the folder hold these pages and nothing else."""
    for path in list(folder.rglob("*")) if folder.exists() else []:
        if path.is_file() and path.relative_to(folder).as_posix() not in pages:
            path.unlink()
    for name, content in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path)


main()

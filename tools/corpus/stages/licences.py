"""The text that says which packages the corpus is made from, and where their licences stand."""

import re

from .document import tidy

INTRODUCTION = """This corpus was made from the Debian packages below: their texts were taken apart into
sentences, paired, filtered and mixed, as docs/DATA.md describes, and are unchanged otherwise. Each
stays under the licence of its package. That is in the package's copyright file,
/usr/share/doc/PACKAGE/copyright on a Debian system, and here below work/unpacked/SOURCE/PACKAGE; the
short names of licences that it lists are given where it is machine-readable.
"""


def short_names(text):
    """The licences that a copyright file names in its License fields, sorted."""
    names = {tidy(name) for name in re.findall(r"^Licen[cs]e:\s*(\S.*)$", text, re.M | re.I)}
    return sorted(names, key=str.casefold)


def _package(folder, source, name):
    """A paragraph about one package."""
    files = sorted(folder.packages.glob(f"{name}_*.deb"))
    version = files[-1].name.split("_")[1].replace("%3a", ":") if files else "unknown version"
    found = sorted(folder.unpacked(source.name).glob(f"{name}/usr/share/doc/*/copyright"))
    if not found:
        return (
            f"  {name} {version}: copyright file of the package it shares its documentation with\n"
        )
    licences = short_names(found[0].read_text(encoding="utf-8", errors="replace"))
    return f"  {name} {version}: {', '.join(licences) or 'see its copyright file'}\n"


def licences(folder, sources):
    """The text of LICENCES."""
    text = [INTRODUCTION]
    for source in sources:
        text.append(f"\n{source.title}\n")
        text += [_package(folder, source, name) for name in source.packages]
        if not source.packages:
            text.append(
                "  Descriptions and their translations (the Debian Description Translation\n"
                "  Project) are under the licence of the package that they describe.\n"
            )
    return "".join(text)

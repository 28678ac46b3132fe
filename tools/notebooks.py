#!/usr/bin/env python3
"""Executes notebooks, each in its own folder, and keeps them with their results and pictures
elsewhere.

    python tools/notebooks.py FOLDER examples/*.ipynb
    python tools/notebooks.py --strip examples/*.ipynb

writes FOLDER/NAME.ipynb and FOLDER/NAME-1.png, ... for each, and prints "ok NAME" or "bad NAME" and
why. The status is 1 if one raised an error, or has results in the repository: --strip takes these
out. Needs nbclient, nbformat and ipykernel (examples/models/requirements.txt)."""

import argparse
import base64
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

SECONDS = 1800  # for a cell


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_stripped(notebook):
    return not any(cell.outputs or cell.execution_count for cell in code_cells(notebook))


def strip(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)


def pictures(notebook):
    """The PNG files in the results, in order."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if png := output.get("data", {}).get("image/png"):
                yield base64.b64decode(png)


def execute(path, folder):
    """What is wrong with the notebook, or None."""
    notebook = nbformat.read(path, as_version=4)
    if not is_stripped(notebook):
        return "has results in it: tools/notebooks.py --strip takes them out"
    client = NotebookClient(
        notebook, timeout=SECONDS, resources={"metadata": {"path": str(path.parent)}}
    )
    wrong = None
    try:
        client.execute()
    except CellExecutionError as error:
        wrong = str(error)
    nbformat.write(notebook, folder / path.name)
    for number, png in enumerate(pictures(notebook), 1):
        (folder / f"{path.stem}-{number}.png").write_bytes(png)
    return wrong


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--strip", action="store_true", help="take results out of the files; no FOLDER then")
    add("paths", nargs="+", type=Path, metavar="FOLDER/NOTEBOOK")
    options = parser.parse_args()
    if options.strip:
        for path in options.paths:
            strip(path)
        return 0
    folder, *notebooks = options.paths
    folder.mkdir(parents=True, exist_ok=True)
    bad = 0
    for path in notebooks:
        wrong = execute(path, folder)
        bad += wrong is not None
        print(f"ok {path}" if wrong is None else f"bad {path}\n{wrong}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""The command lines of scripts that train models side by side, and what decides their figures."""

import argparse
from pathlib import Path
from typing import NamedTuple


class Setting(NamedTuple):
    """An option that decides figures; --small changes its default."""

    full: int | float
    small: int | float
    help: str


def parse(doc, settings, add_files, published):
    """The arguments: a folder, those that add_files(parser) adds, and an option for each of settings,
    {name: Setting}."""
    parser = argparse.ArgumentParser(
        prog="run", description=doc, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", metavar="OUTPUT_FOLDER", type=Path)
    add_files(parser)
    parser.add_argument("--small", action="store_true", help="some minutes on two cores")
    for name, (full, small, text) in settings.items():
        parser.add_argument(f"--{name}", type=type(full), metavar="N" if name != "rate" else "R",
                            help=f"{text} ({full}; --small {small})")  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, metavar="N")
    parser.add_argument("--publish", action="store_true",
                        help=f"write the figures into {published}")  # fmt: skip
    return parser.parse_args()


def chosen(arguments, settings):
    """{name: value} of all settings as the arguments have them, and whether they are the small ones."""
    values = {}
    for name, setting in settings.items():
        given = getattr(arguments, name)
        default = setting.small if arguments.small else setting.full
        values[name] = default if given is None else given
    return values | {"small": arguments.small}

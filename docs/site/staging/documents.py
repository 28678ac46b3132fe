"""The documents of the repository as pages: the same files, their links led to the pages here."""

import re
from pathlib import PurePosixPath
from posixpath import dirname, join, normpath, relpath

# Files of the repository, and their pages.
PAGES = {
    "docs/DESIGN.md": "background/design.md",
    "docs/MATHS.md": "background/maths.md",
    "docs/NUMERICS.md": "background/numerics.md",
    "docs/KERNELS.md": "background/kernels.md",
    "docs/BENCHMARKS.md": "background/benchmarks.md",
    "bench/README.md": "background/measuring.md",
    "docs/EXPERIMENT.md": "background/experiment.md",
    "models/README.md": "background/models.md",
    "docs/DATA.md": "background/data.md",
    "examples/reactions/README.md": "background/reactions.md",
    "examples/summaries/README.md": "background/summaries.md",
    "examples/experiment/README.md": "background/experiment_run.md",
    "examples/data/README.md": "background/example_data.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "docs/TESTING.md": "project/testing.md",
    "docs/DEPENDENCIES.md": "project/dependencies.md",
    "CHANGELOG.md": "project/changelog.md",
}

FENCE = re.compile(r"^(```|~~~)")
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
MENTION = re.compile(r"(?<![\[`])`([\w./-]+\.(?:md|h|c|1))`(?![\]`])")


class Documents:
    """`pages` maps files of the repository to pages of the site, for all that have one."""

    def __init__(self, pages):
        self.pages = pages
        self.pictures = {}  # path in the repository: path in the site

    def page(self, source, text):
        """The text of a document for its place in the site."""
        lines, fenced = [], False
        for line in text.splitlines():
            fence = bool(FENCE.match(line))
            fenced ^= fence
            # Four blanks begin code too, except in a list; no list here goes so deep with links.
            code = fenced or fence or line.startswith("    ")
            lines.append(line if code else self._line(source, line))
        return lines

    def _line(self, source, line):
        line = LINK.sub(lambda match: self._link(source, *match.groups()), line)
        return MENTION.sub(lambda match: self._mention(source, match.group(1)), line)

    def _link(self, source, picture, words, path, part):
        target = normpath(join(dirname(source), path))
        here = dirname(self.pages[source])
        if picture:
            self.pictures[target] = f"pictures/{PurePosixPath(target).name}"
            return f"![{words}]({relpath(self.pictures[target], here)})"
        page = self._page_of(target)
        if page:
            return f"[{words}]({relpath(page, here)}{part or ''})"
        return words if words.startswith("`") else f"{words} (`{target}`)"

    def _page_of(self, target):
        return self.pages.get(target) or self.pages.get(join(target, "README.md"))

    def _mention(self, source, path):
        candidates = [normpath(join(dirname(source), path)), path, f"include/attn/{path}"]
        page = next((self.pages[c] for c in candidates if c in self.pages), None)
        if page is None or page == self.pages[source]:
            return f"`{path}`"
        return f"[`{path}`]({relpath(page, dirname(self.pages[source]))})"

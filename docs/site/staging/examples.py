"""The examples in C as pages: what their first comment says, and the program."""

from . import prose


def title(path):
    """ "Textbook by hand" of 01_textbook_by_hand.c"""
    return path.stem.partition("_")[2].replace("_", " ").capitalize()


def page(path, link):
    head, code = prose.take_comment(path.read_text().splitlines())
    words = prose.comment_text(head)
    words[0] = words[0].partition(": ")[2]
    words[0] = words[0][0].upper() + words[0][1:]
    lines = [f"# {title(path)}", ""] + prose.markdown(words, link)
    return lines + [f"`examples/{path.name}`:", "", "```c", *code[_first(code) :], "```"]


def _first(lines):
    return next(number for number, line in enumerate(lines) if line.strip())


def index_page(paths):
    lines = ["# Examples in C", ""]
    lines += [
        "Whole programs, each built and run with the tests.",
        "",
        "```{toctree}",
        ":maxdepth: 1",
        "",
    ]
    return lines + [path.stem for path in paths] + ["```"]

"""From the man pages to pages, by mandoc: it renders their lists and literals best."""

import re
import subprocess

SECTION = re.compile(
    r'<section class="Sh">\s*<h1 class="Sh"[^>]*>.*?</h1>(.*?)</section>', re.DOTALL
)
TITLE = re.compile(r'<h1 class="Sh"[^>]*>(?:<a[^>]*>)?(.*?)(?:</a>)?</h1>', re.DOTALL)
SUMMARY = re.compile(r"^\.Nd (.*)$", re.MULTILINE)


def name(path):
    """What is typed for a man page: "attn run" of man/attn-run.1."""
    return path.stem.replace("-", " ", 1)


def summary(path):
    """The line that says what a command is for."""
    return SUMMARY.search(path.read_text()).group(1)


def page(path):
    """The page of one man page, a list of lines."""
    html = subprocess.run(
        ["mandoc", "-T", "html", "-O", "fragment,man=%N.html", str(path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    titles = [" ".join(title.split()) for title in TITLE.findall(html)]
    bodies = SECTION.findall(html)
    assert len(titles) == len(bodies) > 2, f"{path}: mandoc's sections were not understood"
    lines = [f"# {name(path)}", ""]
    for title, body in zip(titles, bodies):
        if title != "NAME":
            lines += [f"## {title.capitalize()}", ""]
        lines += [
            "```{raw} html",
            '<div class="manual">',
            *body.strip().splitlines(),
            "</div>",
            "```",
            "",
        ]
    return lines


def index_page(paths):
    """The page that lists the commands."""
    lines = ["# The command `attn`", ""]
    lines += ["Each has `--help`, and a man page, which is what stands here.", ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| [`{name(path)}`]({path.stem}.md) | {summary(path)} |" for path in paths]
    lines += ["", "```{toctree}", ":hidden:", ""]
    return lines + [path.stem for path in paths] + ["```"]

"""python -m staging.links FOLDER: holds a built site to two rules, and says where one is broken.

Every link within the site leads to a file, and to a place in it; and nothing is loaded from
elsewhere: no script, style, font or picture.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The names of places in a page, its links, and what a browser loads with it."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links, self.loads = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.places |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag == "link" and attributes.get("rel") == "stylesheet":
            self.loads.append(attributes["href"])
        if tag in ("script", "img", "iframe", "source", "video") and attributes.get("src"):
            self.loads.append(attributes["src"])


def broken(folder):
    """Sentences, one for each broken rule."""
    pages = {path: Page(path.read_text()) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        where = path.relative_to(folder)
        for url in page.loads:
            if urlsplit(url).netloc:
                yield f"{where}: loads {url}"
        for url in page.links + page.loads:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                yield f"{where}: {url} leads to no file"
            elif parts.fragment and target in pages:
                if unquote(parts.fragment) not in pages[target].places:
                    yield f"{where}: {url} leads to no place in its file"
    for style in sorted(folder.rglob("*.css")):
        text = style.read_text()
        if "url(http" in text or "url(//" in text or "@import" in text:
            yield f"{style.relative_to(folder)}: loads something from elsewhere"


def main():
    sentences = list(broken(Path(sys.argv[1]).resolve()))
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    sys.exit(1 if sentences else 0)


if __name__ == "__main__":
    main()

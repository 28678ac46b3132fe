"""Deduplicated pairs in train, dev and test, so that nothing held out was seen in training.

Pairs are linked if they have the same French or the same English sentence (case and punctuation
ignored), or if either side is made from the same pattern of boilerplate (keys.pattern). What is
linked, directly or through others, is a family, and stays together: it goes to dev or test by a hash
of its first key, so that a corpus with more sources keeps its splits as far as it can. Large families
are boilerplate, and are for training only. Then held-out pairs are dropped that share half of
their sequences of four words, on either side, with one pair that may be trained or tuned on."""

import hashlib
from collections import Counter, defaultdict

from .keys import grams, key, pattern

MAX_FAMILY = 8  # pairs; a larger family is for training
MIN_GRAMS = 5  # a sentence of eight words; shorter ones are compared as a whole only
TOO_NEAR = 0.5  # share of a held-out sentence's sequences of four words in one other sentence
SHARES = {"dev": 0.025, "test": 0.025}  # of the families


def deduplicate(rows):
    """Rows (French, English, clean, ...) without those that repeat both sides; clean ones first.

    The order is kept otherwise."""
    kept = {}
    for row in rows:
        both = (key(row[0]), key(row[1]))
        old = kept.get(both)
        if old is None:
            kept[both] = row
        elif old[2] == "0" and row[2] == "1":
            kept[both] = row
    return list(kept.values())


class Families:
    """Union-find over names of things that link pairs."""

    def __init__(self):
        self.parent = {}

    def find(self, name):
        """The name that stands for the family."""
        root = name
        while (above := self.parent.setdefault(root, root)) != root:
            root = above
        while self.parent[name] != root:
            self.parent[name], name = root, self.parent[name]
        return root

    def join(self, names):
        """Makes one family of the names; the smallest name stands for it."""
        roots = sorted({self.find(name) for name in names})
        for root in roots[1:]:
            self.parent[root] = roots[0]


def links(french, english):
    """The names that link a pair to others."""
    left, right = key(french), key(english)
    found = ["f " + left, "e " + right]
    for side, made in (("pf ", pattern(left, right)), ("pe ", pattern(right, left))):
        if made:
            found.append(side + made)
    return found


def chance(name):
    """A number in [0, 1) that depends on the name alone."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def assign(rows, shares=None):
    """The split of each row: "train", "dev" or "test"."""
    shares = SHARES if shares is None else shares
    families, names = Families(), []
    for row in rows:
        found = links(row[0], row[1])
        families.join(found)
        names.append(found[0])
    roots = [families.find(name) for name in names]
    sizes = Counter(roots)
    return ["train" if sizes[root] > MAX_FAMILY else draw(root, shares) for root in roots]


def draw(root, shares):
    """The split that a family falls to by the hash of its name."""
    left = chance(root)
    for name, share in shares.items():
        if left < share:
            return name
        left -= share
    return "train"


def too_near(held, others, sides=(0, 1)):
    """The indices of held-out rows that are too near to one of the others, on any of the sides."""
    found = set()
    for side in sides:
        index, sizes = defaultdict(list), {}
        for number, row in enumerate(held):
            own = grams(key(row[side]))
            if len(own) >= MIN_GRAMS:
                sizes[number] = len(own)
                for gram in own:
                    index[gram].append(number)
        for row in others:
            hits = Counter(n for gram in grams(key(row[side])) for n in index.get(gram, ()))
            found.update(n for n, shared in hits.items() if shared >= TOO_NEAR * sizes[n])
    return found


def split(rows, shares=None):
    """{"train", "dev", "test": rows}, and how many were dropped, as a Counter.

    Only clean rows are held out. All of a split are in the order of a hash, which mixes sources."""
    parts = {"train": [], "dev": [], "test": []}
    dropped = Counter()
    for row, name in zip(rows, assign(rows, shares)):
        if name != "train" and row[2] != "1":
            dropped["not clean, of a held-out family"] += 1
        else:
            parts[name].append(row)
    seen = list(parts["train"])
    for name in ("dev", "test"):
        near = too_near(parts[name], seen)
        dropped[f"too near, from {name}"] = len(near)
        parts[name] = [row for n, row in enumerate(parts[name]) if n not in near]
        seen += parts[name]
    for part in parts.values():
        part.sort(key=lambda row: (chance(row[0] + "\t" + row[1]), row))
    return parts, dropped

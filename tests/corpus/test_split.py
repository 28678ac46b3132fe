"""Splits let nothing through: properties of random corpora that are full of repetitions."""

import random

from stages import split, summaries
from stages.keys import grams, key, pattern

WORDS = "un deux trois quatre cinq six sept huit neuf dix".split()
NAMES = "libfoo libbar zed2 qux".split()


def sentence(random_, length):
    """Words with case and punctuation that keys ignore."""
    words = [random_.choice(WORDS) for _ in range(length)]
    words = [w.upper() if random_.random() < 0.1 else w for w in words]
    return " ".join(words) + random_.choice([".", "!", " ?", "…", ""])


def corpus(seed, pairs):
    """Pairs of which many share a side, or are made from one pattern with a name in it."""
    random_ = random.Random(seed)
    patterns = [(sentence(random_, 6), "en " + sentence(random_, 6)) for _ in range(pairs // 20)]
    rows = []
    for _ in range(pairs):
        kind = random_.random()
        if kind < 0.3:
            name, (french, english) = random_.choice(NAMES), random_.choice(patterns)
            row = [f"{name} {french}", f"{name} {english}"]
        elif kind < 0.5 and rows:
            row = [random_.choice(rows)[0], "en " + sentence(random_, random_.randint(3, 12))]
        elif kind < 0.6 and rows:
            row = [sentence(random_, random_.randint(3, 12)), random_.choice(rows)[1]]
        else:
            length = random_.randint(3, 14)
            row = [sentence(random_, length), "en " + sentence(random_, length)]
        rows.append((*row, random_.choice("0111"), "source"))
    return rows


SHARES = {"dev": 0.2, "test": 0.2}


def splits(seed, pairs=600):
    return split.split(split.deduplicate(corpus(seed, pairs)), SHARES)


def test_no_sentence_is_in_two_splits_and_no_pattern():
    held = 0
    for seed in range(20):
        parts, _ = splits(seed)
        held += len(parts["dev"]) + len(parts["test"])
        for side in (0, 1):
            keys = {name: {key(row[side]) for row in rows} for name, rows in parts.items()}
            patterns = {
                name: {pattern(key(row[side]), key(row[1 - side])) for row in rows} - {None}
                for name, rows in parts.items()
            }
            for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
                assert not keys[one] & keys[other]
                assert not patterns[one] & patterns[other]
    assert held > 500  # there was something to leak


def test_nothing_held_out_is_near_to_what_was_seen():
    dropped = 0
    for seed in range(4):
        parts, counts = splits(seed, 300)
        dropped += counts["too near, from dev"] + counts["too near, from test"]
        for name, seen in (("dev", parts["train"]), ("test", parts["train"] + parts["dev"])):
            for row in parts[name]:
                for side in (0, 1):
                    own = grams(key(row[side]))
                    if len(own) >= split.MIN_GRAMS:
                        most = max((len(own & grams(key(s[side]))) for s in seen), default=0)
                        assert most < split.TOO_NEAR * len(own)
    near = ("un deux trois quatre cinq six sept huit neuf.", "a", "1")
    twin = ("un deux trois quatre cinq six sept huit dix.", "b", "1")
    far = ("dix neuf huit sept six cinq quatre trois deux.", "c", "1")
    assert split.too_near([near, far], [twin]) == {0}
    assert split.too_near([near, far], []) == set()


def test_a_test_pair_is_not_near_to_one_of_dev(monkeypatch):
    twins = [("un deux trois quatre cinq six sept huit neuf", "a", "1"),
             ("un deux trois quatre cinq six sept huit dix", "b", "1")]  # fmt: skip
    monkeypatch.setattr(split, "assign", lambda rows, shares: ["dev", "test"])
    parts, dropped = split.split(twins)
    assert (parts["dev"], parts["test"]) == (twins[:1], [])
    assert dropped["too near, from test"] == 1


def test_only_clean_pairs_are_held_out_and_nothing_is_lost_unsaid():
    for seed in range(5):
        rows = split.deduplicate(corpus(seed, 400))
        parts, dropped = split.split(rows, SHARES)
        assert all(row[2] == "1" for name in ("dev", "test") for row in parts[name])
        assert sum(map(len, parts.values())) + sum(dropped.values()) == len(rows)


def test_the_order_of_the_rows_changes_no_split():
    rows = split.deduplicate(corpus(7, 500))
    shuffled = rows[:]
    random.Random(8).shuffle(shuffled)
    assert split.split(rows, SHARES)[0] == split.split(shuffled, SHARES)[0]


def test_more_text_that_shares_nothing_moves_no_pair():
    rows = split.deduplicate(corpus(9, 300))
    more = [(f"autre{chr(97 + n)} texte", f"other{chr(97 + n)} text", "1", "x") for n in range(26)]
    before = dict(zip(rows, split.assign(rows, SHARES)))
    after = dict(zip(rows + more, split.assign(rows + more, SHARES)))
    assert all(after[row] == before[row] for row in rows)


def test_large_families_are_for_training():
    rows = [(f"libfoo{n} est un paquet bien utile", f"libfoo{n} is one useful package here", "1")
            for n in range(split.MAX_FAMILY + 1)]  # fmt: skip
    everything = {"dev": 1.0}
    assert set(split.assign(rows, everything)) == {"train"}
    assert set(split.assign(rows[1:], everything)) == {"dev"}


def test_shares_are_kept():
    rows = [(f"phrase {chr(0x4E00 + n)}", f"sentence {chr(0x4E00 + n)}", "1") for n in range(4000)]
    held = split.assign(rows, SHARES).count("dev")
    # Binomial with n = 4000, p = 0.2: mean 800, standard deviation 25.3; six of them are 152.
    assert abs(held - 800) < 152


def test_repetitions_are_dropped_and_the_clean_one_is_kept():
    rows = [("A b.", "C d", "0", "x"), ("a B!", "c D.", "1", "y"), ("a b", "other", "0", "x")]
    assert split.deduplicate(rows) == [rows[1], rows[2]]


def test_summaries_of_one_source_stay_together():
    random_ = random.Random(11)
    table = []
    for _ in range(400):
        source = f"source{random_.randint(0, 300)}"
        synopsis = f"tool {random_.randint(0, 2000)}"
        text = " ".join(random_.choices([*WORDS, *NAMES, *(f"w{n}" for n in range(300))], k=30))
        table.append((text, synopsis, source))
    parts, dropped = summaries.split(table, SHARES)
    assert sum(map(len, parts.values())) + sum(dropped.values()) == 400
    assert len(parts["dev"]) > 10 and len(parts["test"]) > 10
    for column in (0, 1, 2):
        values = [{row[column] for row in parts[name]} for name in ("train", "dev", "test")]
        assert not (values[0] & values[1] or values[0] & values[2] or values[1] & values[2])

"""A language of some dozen words, and the options of a model that learns it in a second or two.

French and English as far as they go: adjectives change places with their nouns, so that alignments
are no diagonals."""

import random

NOUNS = {"chat": "cat", "chien": "dog", "oiseau": "bird", "cheval": "horse", "poisson": "fish"}
ADJECTIVES = {"noir": "black", "rouge": "red", "petit": "small", "grand": "big"}
VERBS = {"voit": "sees", "mange": "eats", "aime": "likes"}


def phrase(choose):
    noun, adjective = choose.choice(sorted(NOUNS)), choose.choice([*sorted(ADJECTIVES), None])
    if adjective is None:
        return f"le {noun}", f"the {NOUNS[noun]}"
    return f"le {noun} {adjective}", f"the {ADJECTIVES[adjective]} {NOUNS[noun]}"


def pairs(count, seed):
    choose = random.Random(seed)
    for _ in range(count):
        subject, thing = phrase(choose), phrase(choose)
        verb = choose.choice(sorted(VERBS))
        yield f"{subject[0]} {verb} {thing[0]} .", f"{subject[1]} {VERBS[verb]} {thing[1]} ."


def write(path, count, seed):
    lines = [f"{source}\t{target}\n" for source, target in pairs(count, seed)]
    open(path, "w", encoding="utf-8").writelines(lines)


# The transformer is small on all sides; dropout is on, so that resuming has to keep what is random.
OPTIONS = {
    "vocabulary": 400,
    "tokens": 400,
    "shards": 2,
    "rate": 0.01,
    "warm-up": 30,
    "average": 0.9,
    "log-every": 100,
    "threads": 2,
}
FIELDS = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "dropout": 0.05}


def options(**changes):
    """As arguments; a change to None leaves the option out."""
    chosen = {**OPTIONS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    given = [f"--{name}={value}" for name, value in chosen.items() if value is not None]
    return given + [f"--set={name}={value}" for name, value in FIELDS.items()]

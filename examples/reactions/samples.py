"""The reactions that compare.py and measure.py work on."""

import json
from pathlib import Path

SAMPLES = json.loads(Path(__file__).with_name("reactions.json").read_text())


def typical(count):
    """Single reactions, in turn."""
    return [SAMPLES["textbook"][i % len(SAMPLES["textbook"])] for i in range(count)]


def join(reactions):
    """A.B>>C and D>>E as the one reaction A.B.D>>C.E."""
    return ">>".join(".".join(side) for side in zip(*(r.split(">>") for r in reactions)))


def long(count, mapper):
    """Several reactions joined in one, each time beginning with another: as many as the model's 512
    tokens hold."""
    limit = mapper.model.config.max_position_embeddings
    reactions = []
    for first in range(count):
        chosen, pool = [], typical(first + 64)[first:]
        while len(mapper.tokenize_for_model(join([*chosen, pool[0]]))) <= limit:
            chosen.append(pool.pop(0))
        reactions.append(join(chosen))
    return reactions

#!/usr/bin/env python3
"""Holds rxnmapper with libattn's attention to rxnmapper as it comes: the same answers?

    compare.py [--library libattn.so]

1. The reactions of rxnmapper's own tests, with the answers that those expect.
2. Single reactions, and joined ones of up to 512 tokens, alone and in a padded batch: mapped
   reaction, the confidence of each of its atoms, and attention weights of both.

Mapped reactions must be equal. Numbers may differ as far as rxnmapper's own tests let them: twelve
layers of float32 in another order of summation amplify rounding, on either side. To show whose is
larger, the weights of both are also compared with the same model's in float64.
The status is 1 if anything differs by more.
"""

import argparse
import copy
import sys
from pathlib import Path

import libattn_mapper
import numpy as np
from samples import SAMPLES, long, typical

# tests/utils.py of rxnmapper: for a reaction's confidence np.isclose as it is, for the confidence
# of an atom and for weights this. (A reaction's is the product of its atoms', and their differences
# add up: for joined reactions only the atoms' are held to a tolerance.)
TOLERANCE = {"rtol": 1e-4, "atol": 1e-7}


def expected_answers(mapper):
    """Sentences for the answers that differ from those which rxnmapper's tests expect."""
    for test in SAMPLES["tests"]:
        answer = mapper.get_attention_guided_atom_maps(
            [test["reaction"]], canonicalize_rxns=test["canonicalize"]
        )[0]
        if answer["mapped_rxn"] != test["mapped"]:
            yield f"{test['reaction']}: mapped as {answer['mapped_rxn']}"
        if not np.isclose(answer["confidence"], test.get("confidence", answer["confidence"])):
            yield f"{test['reaction']}: confidence {answer['confidence']}"


def in_float64(theirs):
    """The same model in float64; its weights are the measure of both others."""
    exact = copy.copy(theirs)
    exact.model = copy.deepcopy(theirs.model).double()
    return exact


class Differences:
    """The largest that were seen, and sentences for those that are too large."""

    def __init__(self):
        self.reactions = self.tokens = 0
        self.confidence = self.ours = self.theirs = 0.0
        self.wrong = []

    def add(self, reactions, mappers):
        """mappers: rxnmapper, libattn's and the exact one."""
        answers = [m.get_attention_guided_atom_maps(reactions, detailed_output=True)
                   for m in mappers]  # fmt: skip
        for reaction, their, our, exact in zip(reactions, *answers):
            self.reactions += 1
            self.tokens = max(self.tokens, len(our["tokens"]))
            self.confidence = max(self.confidence, abs(our["confidence"] / their["confidence"] - 1))
            weights = [answer["tokensxtokens_attns"] for answer in (our, their, exact)]
            self.ours = max(self.ours, abs(weights[0] - weights[2]).max())
            self.theirs = max(self.theirs, abs(weights[1] - weights[2]).max())
            self.wrong += [f"{reaction}: {what}" for what in unlike(our, their)]


def unlike(our, their):
    """What differs between two answers by more than it may."""
    if our["mapped_rxn"] != their["mapped_rxn"]:
        yield f"mapped as {our['mapped_rxn']}, not {their['mapped_rxn']}"
    for name in ("pxr_confidences", "tokensxtokens_attns"):
        if not np.allclose(our[name], their[name], **TOLERANCE):
            yield f"{name} {np.abs(np.subtract(our[name], their[name])).max():.2e} apart"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--library", type=Path, default=libattn_mapper.libattn.LIBRARY, help="libattn.so")
    options = parser.parse_args()
    theirs, ours = libattn_mapper.RXNMapper(), libattn_mapper.Mapper(options.library)

    wrong = list(expected_answers(ours))
    print(f"rxnmapper's own tests: {len(SAMPLES['tests'])} reactions, {len(wrong)} answers differ")

    seen, mappers = Differences(), (theirs, ours, in_float64(theirs))
    singles, joined = typical(len(SAMPLES["textbook"])), long(8, theirs)
    for reaction in singles + joined:
        seen.add([reaction], mappers)
    seen.add(singles + joined, mappers)
    print(f"beside rxnmapper: {seen.reactions} reactions of up to {seen.tokens} tokens, "
          f"{len(seen.wrong)} differences")  # fmt: skip
    print(f"a reaction's confidence: at most {seen.confidence:.1e} of it apart")
    print(f"weights from the float64 model's: libattn {seen.ours:.1e}, rxnmapper {seen.theirs:.1e}")
    for sentence in wrong + seen.wrong:
        print(sentence)
    return 1 if wrong or seen.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Numbers the atoms of reactions: which atom of the product comes from which of the reactants.

    map.py 'CC(=O)O.CCO>>CC(=O)OCC' ...
    map.py < reactions.txt               one reaction SMILES a line

Prints the confidence and the mapped reaction for each, separated by a tab. By rxnmapper, with its
model's attention computed by libattn.
"""

import argparse
import sys
from pathlib import Path

import libattn_mapper


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("reactions", nargs="*", help="reaction SMILES (standard input)")
    add("--library", type=Path, default=libattn_mapper.libattn.LIBRARY, help="libattn.so")
    add("--batch", type=int, default=32, help="reactions to map at a time (32)")
    options = parser.parse_args()
    mapper = libattn_mapper.Mapper(options.library)
    reactions = options.reactions or sys.stdin.read().split("\n")
    reactions = [reaction for reaction in reactions if reaction.strip()]
    for i in range(0, len(reactions), options.batch):
        for answer in mapper.get_attention_guided_atom_maps(reactions[i : i + options.batch]):
            print(f"{answer['confidence']:.4f}\t{answer['mapped_rxn']}")


if __name__ == "__main__":
    main()

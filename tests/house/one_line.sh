#!/usr/bin/env bash
# one_line.sh COMPILER: one line builds the core by hand, with OpenMP and without.
source "$(dirname "$0")/common.sh"
need "$1"

cd "$root"
for openmp in -fopenmp ""; do
    # Unquoted: an empty flag must vanish.
    "$1" -O3 $openmp -Iinclude -Isrc src/*/*.c tests/house/tiny.c -lm -o "$scratch/tiny" ||
        fail "$1 -O3 $openmp -Iinclude -Isrc src/*/*.c -lm"
    "$scratch/tiny" || fail "the program built with ${openmp:-no OpenMP}"
done

#!/usr/bin/env bash
# symbols.sh LIBATTN.SO LIBATTN.A: the shared library exports what attn.h declares and nothing else;
# the static one defines no global name outside attn_, which could clash with a name of its user.
source "$(dirname "$0")/common.sh"
need nm

sed -nE 's/^ATTN_API .*[ *](attn_[a-z0-9_]+)\(.*/\1/p' "$root/include/attn/attn.h" |
    sort >"$scratch/declared"
# Names with a dot are no C names: clang makes some for OpenMP.
nm -D --defined-only "$1" | awk '$NF !~ /\./ { print $NF }' | sort >"$scratch/exported"
[ -s "$scratch/declared" ] || fail "found no declaration in attn.h"
diff "$scratch/declared" "$scratch/exported" ||
    fail "the exports of $1 (right) are not what attn.h declares (left)"

stray=$(nm -g --defined-only "$2" | awk 'NF == 3 && $3 !~ /^attn_|\./ { print $3 }')
[ -z "$stray" ] || fail "global names of $2 outside attn_:" $stray

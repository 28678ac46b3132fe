#!/usr/bin/env bash
# symbols.sh LIBRARY.SO LIBRARY.A HEADER...: the shared library exports what its public headers declare
# and nothing else; the static one defines no global name outside attn_, which could clash with a name
# of its user.
source "$(dirname "$0")/common.sh"
need nm
headers=("${@:3}")

sed -nE 's/^ATTN_API .*[ *](attn_[a-z0-9_]+)\(.*/\1/p' "${headers[@]}" |
    sort >"$scratch/declared"
# Names with a dot are no C names: clang makes some for OpenMP.
nm -D --defined-only "$1" | awk '$NF !~ /\./ { print $NF }' | sort >"$scratch/exported"
[ -s "$scratch/declared" ] || fail "found no declaration in" "${headers[@]}"
# A declaration that is broken before its name would go unseen: one name for each.
[ "$(cat "${headers[@]}" | grep -c '^ATTN_API')" = "$(wc -l <"$scratch/declared")" ] ||
    fail "found no name in some declaration: ATTN_API, type and name must stand on one line"
diff "$scratch/declared" "$scratch/exported" ||
    fail "the exports of $1 (right) are not what the headers declare (left)"

stray=$(nm -g --defined-only "$2" | awk 'NF == 3 && $3 !~ /^attn_|\./ { print $3 }')
[ -z "$stray" ] || fail "global names of $2 outside attn_:" $stray

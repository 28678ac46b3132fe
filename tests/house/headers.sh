#!/usr/bin/env bash
# headers.sh COMPILER: each public header alone is clean C11 and C++17, and so is a use of all.
source "$(dirname "$0")/common.sh"
compiler=$1
need "$compiler"

strict=(-fsyntax-only -Wall -Wextra -pedantic -Wconversion -Wshadow -Werror -I "$root/include")
"$compiler" -x c++ -fsyntax-only /dev/null 2>/dev/null || skip "$compiler has no C++ compiler beside it"

# clean SOURCE
clean() {
    "$compiler" -x c -std=c11 "${strict[@]}" "$1" || fail "$(basename "$1") as C11"
    "$compiler" -x c++ -std=c++17 "${strict[@]}" "$1" || fail "$(basename "$1") as C++17"
}
for header in "$root"/include/attn/*.h; do
    name=$(basename "$header")
    printf "#include <attn/$name>\n#include <attn/$name> /* the guard must hold */\n" >"$scratch/$name.c"
    clean "$scratch/$name.c"
done
clean "$root/tests/house/tiny.c"

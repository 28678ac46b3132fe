#!/usr/bin/env bash
# headers.sh COMPILER: attn.h alone is clean C11 and C++17.
source "$(dirname "$0")/common.sh"
need "$1"

strict=(-fsyntax-only -Wall -Wextra -pedantic -Wconversion -Wshadow -Werror -I "$root/include")
"$1" -x c++ -fsyntax-only /dev/null 2>/dev/null || skip "$1 has no C++ compiler beside it"
"$1" -x c -std=c11 "${strict[@]}" "$root/tests/house/tiny.c" || fail "attn.h as C11"
"$1" -x c++ -std=c++17 "${strict[@]}" "$root/tests/house/tiny.c" || fail "attn.h as C++17"

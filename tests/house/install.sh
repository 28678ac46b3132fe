#!/usr/bin/env bash
# install.sh BUILD CMAKE COMPILER PREFIX: installs into a DESTDIR, moves the tree elsewhere, and
# uses it from a fresh project, by find_package and by pkg-config, shared and static.
source "$(dirname "$0")/common.sh"
build=$1 cmake=$2 compiler=$3 prefix=$4
need pkg-config

DESTDIR=$scratch/destination "$cmake" --install "$build" >"$scratch/log" ||
    { cat "$scratch/log"; fail "install"; }
moved=$scratch/moved
mv "$scratch/destination$prefix" "$moved"
left=$(find "$scratch/destination" -type f)
[ -z "$left" ] || fail "installed outside the prefix:" $left
if grep -rnI -e "$root" -e "$scratch" "$moved"; then
    fail "an installed file holds a path of this machine"
fi

# runs_with shared|static PROGRAM: the program works, and needs a shared library of ours only if it is shared.
runs_with() {
    local needs=static
    readelf -d "$2" | grep -qE 'NEEDED.*\[libattn(_nn)?\.so\.[0-9.]*\]' && needs=shared
    [ "$needs" = "$1" ] || fail "$2 was to be linked with the $1 library, but is $needs"
    LD_LIBRARY_PATH=$libdir "$2" || fail "$2 does not run"
}
libdir=$(dirname "$(find "$moved" -name libattn.a)")

use_package() {
    local generator # the build's own: it is there
    generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$build/CMakeCache.txt")
    "$cmake" -S "$root/tests/house/consumer" -B "$scratch/consumer" -G "$generator" \
        -DCMAKE_PREFIX_PATH="$moved" -DCMAKE_C_COMPILER="$compiler" &&
        "$cmake" --build "$scratch/consumer"
}
use_package >"$scratch/log" || { cat "$scratch/log"; fail "find_package"; }
runs_with shared "$scratch/consumer/tiny_shared"
runs_with static "$scratch/consumer/tiny_static"

export PKG_CONFIG_PATH=$libdir/pkgconfig
# Unquoted: pkg-config prints a list of flags.
"$compiler" "$root/tests/house/tiny.c" -o "$scratch/shared" $(pkg-config --cflags --libs attn) ||
    fail "pkg-config, shared"
runs_with shared "$scratch/shared"
if [ -f "$libdir/libattn_nn.a" ]; then
    "$compiler" "$root/tests/house/tiny_nn.c" -o "$scratch/nn" \
        $(pkg-config --cflags --libs attn_nn) || fail "pkg-config, attn_nn, shared"
    runs_with shared "$scratch/nn"
    runs_with shared "$scratch/consumer/tiny_nn_shared"
fi
rm "$libdir"/libattn*.so*
"$compiler" "$root/tests/house/tiny.c" -o "$scratch/static" \
    $(pkg-config --static --cflags --libs attn) || fail "pkg-config, static"
runs_with static "$scratch/static"
if [ -f "$libdir/libattn_nn.a" ]; then
    "$compiler" "$root/tests/house/tiny_nn.c" -o "$scratch/nn_static" \
        $(pkg-config --static --cflags --libs attn_nn) || fail "pkg-config, attn_nn, static"
    runs_with static "$scratch/nn_static"
    runs_with static "$scratch/consumer/tiny_nn_static"
fi

if [ -x "$build/attn" ]; then
    version=$(pkg-config --modversion attn)
    "$moved/bin/attn" --version | grep -qF "$version" ||
        fail "the installed command is not version $version"
    [ -f "$moved/share/man/man1/attn.1" ] || fail "the manual page attn.1 is not installed"
fi

#!/usr/bin/env bash
# dependencies.sh LIBATTN.SO: it needs libc, libm and the OpenMP runtime alone, and is under 1.25 MiB:
# forward and backward, three tables of two types each (clang unrolls more than gcc, which needs 1).
source "$(dirname "$0")/common.sh"
need readelf

needed=$(readelf -d "$1" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p')
[ -n "$needed" ] || fail "readelf lists no library that $1 needs"
for library in $needed; do
    case $library in
    libc.so.* | libm.so.* | libgomp.so.* | libomp.so.* | ld-linux*.so.*) ;;
    *) fail "$1 needs $library" ;;
    esac
done

bytes=$(stat -L -c %s "$1")
[ "$bytes" -lt 1310720 ] || fail "$1 has $bytes bytes, which is not under 1.25 MiB"

# Sourced with root set: ATTN_BIN is the command attn; it is built below build unless it is named.
if [ -z "${ATTN_BIN:-}" ]; then
    ATTN_BIN=$root/build/attn
    if [ ! -x "$ATTN_BIN" ]; then
        "$root/tools/install" build
        cmake -S "$root" -B "$root/build" -DCMAKE_BUILD_TYPE=Release >&2
        cmake --build "$root/build" --target attn_command >&2
    fi
fi
export ATTN_BIN

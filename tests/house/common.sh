# Sourced by the scripts of this folder, each of which is one test: exit 0 passes, 77 skips.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
    printf 'FAIL: %s\n' "$*"
    exit 1
}

skip() {
    printf 'SKIP: %s\n' "$*"
    exit 77
}

need() {
    command -v "$1" >/dev/null || skip "$1 is not installed"
}

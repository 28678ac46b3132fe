#!/usr/bin/env bash
# pytest.sh PYTHON FOLDER: runs the pytest tests of tests/FOLDER; ATTN_BIN names the built command.
source "$(dirname "$0")/common.sh"
[ -x "$1" ] || skip "no python3 was found"
sed 's/[=<>].*//' "$root/tests/requirements.txt" | grep -v '^#' | while read -r module; do
    "$1" -c "import $module" 2>/dev/null || skip "$1 lacks $module (see tests/requirements.txt)"
done

cd "$root"
PYTHONDONTWRITEBYTECODE=1 "$1" -m pytest -p no:cacheprovider -q -rs --basetemp "$scratch/pytest" \
    "tests/$2"

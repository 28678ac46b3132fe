#!/usr/bin/env bash
# Rules that every file of the tree keeps: no C file over 800 lines, no path of the machine it was
# written on, no package registry's address.
source "$(dirname "$0")/common.sh"
need git
cd "$root"
git rev-parse --is-inside-work-tree >/dev/null 2>&1 || skip "not a git checkout"

# What is tracked, and what is about to be.
files() {
    git ls-files -z --cached --others --exclude-standard -- "$@"
}

long=$(files '*.c' '*.h' | xargs -0r awk 'FNR == 801 { print FILENAME }')
[ -z "$long" ] || fail "over 800 lines:" $long

# The bracketed letters keep this script from finding itself.
folders='(^|[^[:alnum:]_.~*}-])/([w]ork|[t]mp|[r]oot|[h]ome|[f]arm|[U]sers)/'
registries='[p]ypi\.org|[p]ythonhosted\.org|[e]xtra-index-url|[d]eb\.debian\.org'
if files | xargs -0r grep -nIE "$folders|$registries" --; then
    fail "these lines name a machine's folders or a package registry"
fi

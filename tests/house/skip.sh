#!/usr/bin/env bash
# skip.sh REASON: stands in for a test that cannot be built here, so that its absence is counted.
source "$(dirname "$0")/common.sh"
skip "$1"

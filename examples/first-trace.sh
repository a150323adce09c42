#!/bin/sh
# Installs everything, traces examples/hello.py, shows its Actions, and verifies the log.
set -eu
cd "$(dirname "$0")/.."
sh .ci/setup
capsule=${CAPSULE_VENV:-.venv}/bin/capsule

# -I -S: without site-packages, so that what hello.py does is not lost among Python's imports.
"$capsule" trace -- "${PYTHON:-python3}" -I -S examples/hello.py
echo
"$capsule" tail
echo
"$capsule" verify

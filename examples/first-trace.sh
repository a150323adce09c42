#!/bin/sh
# Installs everything, traces examples/hello.py, shows its Actions, and verifies the log.
set -eu
cd "$(dirname "$0")/.."
sh .ci/setup

show() {
  printf '\n$ capsule %s\n' "$*"
  "${CAPSULE_VENV:-.venv}/bin/capsule" "$@"
}

# -I -S: without site-packages, so that what hello.py does is not lost among Python's imports.
show trace -- "${CAPSULE_VENV:-.venv}/bin/python" -I -S examples/hello.py
show tree
show tail -n all -k proc.exec -k net -k cred
show verify
echo
echo "All Actions: ${CAPSULE_VENV:-.venv}/bin/capsule tail -n all"

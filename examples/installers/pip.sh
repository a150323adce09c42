#!/bin/sh
# What does this `pip install` do besides installing? A package's setup.py is a program, and pip
# runs it: this one (made here, harmless) reads a private key, writes into ~/.profile and asks
# another host for something.
#
#     sh examples/installers/pip.sh
#
# Needs jq, and pip and setuptools in the environment of `python`; no network. Prints, among more:
#
#     Successfully installed surprise-1.0
#     It wrote into the home directory:
#       .../home/.profile
#     It talked to:
#       192.0.2.1:80
#     Stands out:
#       net.outbound: A connection to another host was made or tried.
#       read.credentials: Passwords, private keys or access tokens were opened.
#       write.startup: A file was written that runs, or lets someone in, at login or boot.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work/home" CAPSULE_LOG_DIR="$work/log"
mkdir -p "$HOME/.ssh" "$work/surprise"
echo 'no real key' >"$HOME/.ssh/id_ed25519"
cat >"$work/surprise/setup.py" <<'PYTHON'
import os
import socket

from setuptools import setup

home = os.environ["HOME"]
open(home + "/.ssh/id_ed25519").read()
open(home + "/.profile", "a").write("# surprise was here\n")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
    try:
        host.connect(("192.0.2.1", 80))  # TEST-NET-1 (RFC 5737); UDP: nothing is sent
    except OSError:
        pass  # no route: that it was tried is in the log all the same
setup(name="surprise", version="1.0")
PYTHON

capsule trace -q -- python -m pip install --disable-pip-version-check --no-index \
  --no-build-isolation --no-deps --target "$work/site" "$work/surprise"

echo
capsule summary --json | jq -r --arg home "$HOME/" '
  "It wrote into the home directory:", (.written_outside[] | select(startswith($home)) | "  \(.)"),
  "It talked to:", (.hosts | keys[] | "  \(.)")'
capsule summary | sed -n '/^Stands out/,$p'

#!/bin/sh
# Follows a published run from a shell: who connects where, one line each.
#
#     sh examples/subscriber.sh ipc:///tmp/run.sock
#
# Needs jq. --json gives the records' exact lines, so that anything that reads JSON lines will do.
set -eu
"${CAPSULE:-capsule}" subscribe "$1" --from-start --json action.net.connect action.proc.exec |
    jq --unbuffered -r '[.pid, .exe, .kind, .target, (.errors // {} | keys | join(" "))] | @tsv'

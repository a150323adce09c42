#!/bin/sh
# A CI job that fails when a build does something new.
#
#     sh examples/ci/watch-build.sh
#
# Makes a project with a Makefile, drafts its policy from three builds, and then does what
# github-actions.yml and gitlab-ci.yml do at each push: build under Capsule, hold the run against the
# policy. The second push has a build that looks into /etc/passwd, and the job fails:
#
#     push 1: passed
#     ... reading /etc/passwd, ... no read rule allows it
#     push 2: failed
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CAPSULE_LOG_DIR="$work/log"
mkdir -p "$work/project/.capsule"
cd "$work/project"
printf 'test:\n\tsort words >sorted\n' >Makefile
printf 'b\na\n' >words

# Once, by a person, who reads the policy and commits it:
for build in 1 2 3; do capsule trace -q -- make test; done
capsule profile -q -o .capsule/policy.json $(capsule runs --json | jq -r .run)

push() {
  if capsule trace -q -- make test && capsule check --policy .capsule/policy.json latest
  then echo "push $1: passed"
  else echo "push $1: failed"
  fi
}
push 1
printf 'test:\n\tsort words /etc/passwd >sorted\n' >Makefile
push 2

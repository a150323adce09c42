# git.sh REPO DIR: clone, status and log, then away with the clone.
set -e
rm -rf "$2"
git clone -q "$1" "$2"
git -C "$2" status --short
git -C "$2" log --oneline --stat >/dev/null
rm -rf "$2"

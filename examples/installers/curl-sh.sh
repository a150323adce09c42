#!/bin/sh
# What would `curl … | sh` do? A script from a server (a local one, made here) is run and watched:
# it fetches a second program and runs it from /tmp, which puts a tool into ~/bin.
#
#     sh examples/installers/curl-sh.sh
#
# Needs curl and jq; no network. Prints, among more:
#
#     It ran:
#       .../payload
#     It wrote into the home directory:
#       .../home/bin/tool
#     It talked to:
#       127.0.0.1:...
#     Stands out:
#       exec.tmp: A program was run from a directory that everyone can write to.
set -eu
work=$(mktemp -d /tmp/capsule-curl-sh.XXXXXX)
server=
trap 'kill $server; rm -rf "$work"' EXIT
export HOME="$work/home" CAPSULE_LOG_DIR="$work/log"
mkdir -p "$HOME" "$work/www"
mkfifo "$work/told"
python -u -m http.server --bind 127.0.0.1 --directory "$work/www" 0 >"$work/told" 2>/dev/null &
server=$!
read -r _ _ _ _ _ port _ <"$work/told"  # Serving HTTP on 127.0.0.1 port N …
cat >"$work/www/install.sh" <<SH
set -eu
echo installing
curl -fsS http://127.0.0.1:$port/payload -o "$work/payload"
chmod +x "$work/payload"
"$work/payload"
SH
printf '#!/bin/sh\nmkdir -p ~/bin\necho installed >~/bin/tool\n' >"$work/www/payload"

capsule trace -q -- sh -c "curl -fsS http://127.0.0.1:$port/install.sh | sh"

echo
capsule summary --json | jq -r --arg work "$work/" --arg home "$HOME/" '
  "It ran:", (.programs | keys[] | select(startswith($work)) | "  \(.)"),
  "It wrote into the home directory:", (.written_outside[] | select(startswith($home)) | "  \(.)"),
  "It talked to:", (.hosts | keys[] | "  \(.)")'
capsule summary | sed -n '/^Stands out/,$p'

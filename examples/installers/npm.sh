#!/bin/sh
# What does this `npm install` do besides installing? npm runs a package's postinstall script with
# all the rights of its user: this one (made here, harmless) reads a token and writes into ~/.bashrc.
#
#     sh examples/installers/npm.sh
#
# Needs npm, and capsule-runtime[query]; no network. Prints, among more:
#
#     ... npm install --offline ...
#     ...└─ ... node postinstall.js ...
#     file.read,.../home/.npmrc
#     file.write,.../home/.bashrc
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work/home" CAPSULE_LOG_DIR="$work/log"
mkdir -p "$HOME" "$work/surprise" "$work/project"
echo '//registry.example/:_authToken=none' >"$HOME/.npmrc"
cat >"$work/surprise/package.json" <<'JSON'
{"name": "surprise", "version": "1.0.0", "scripts": {"postinstall": "node postinstall.js"}}
JSON
cat >"$work/surprise/postinstall.js" <<'JS'
const fs = require("fs");
fs.readFileSync(process.env.HOME + "/.npmrc");
fs.appendFileSync(process.env.HOME + "/.bashrc", "# surprise was here\n");
JS
package=$(cd "$work/surprise" && npm pack --silent --offline)
cd "$work/project"
echo '{}' >package.json

capsule trace -q -- npm install --offline --no-audit --no-fund --foreground-scripts \
  "$work/surprise/$package"

echo
capsule tree | grep -e 'npm install' -e 'node postinstall.js' | cut -c 1-100
# What did the script itself touch in the home directory, and not npm?
capsule query "
  SELECT DISTINCT kind, path FROM files JOIN processes USING (run, proc)
  WHERE processes.argv = ['node', 'postinstall.js'] AND starts_with(path, '$HOME/')
    AND kind IN ('file.read', 'file.write') ORDER BY kind" --format csv

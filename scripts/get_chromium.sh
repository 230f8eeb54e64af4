#!/usr/bin/env bash
# Debian's Chromium for the tests of the page in the browser. Prints where it is.
set -euo pipefail

say() { printf 'get_chromium: %s\n' "$*" >&2; }

there() { command -v chromium || command -v chromium-browser; }

if there; then exit 0; fi
[ "$(id -u)" = 0 ] || { say "needs root; run it once as root: sudo $0"; exit 1; }
command -v apt-get >/dev/null || { say "needs a Debian machine (no apt-get here)"; exit 1; }
say "installing Debian's chromium (about 90 MB to fetch)"
export DEBIAN_FRONTEND=noninteractive
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core; } \
        >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    say "apt-get could not install chromium: is there a network?"
    exit 1
fi
there

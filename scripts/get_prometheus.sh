#!/usr/bin/env bash
# Prometheus and promtool for the tests of the alert rules: Debian's package, unpacked outside of the clone and never
# installed, so that no service begins to run. Prints the folder that the two programs are in as its last line.
#
#   scripts/get_prometheus.sh          make sure that they are there
set -euo pipefail

folder="${ASTERISK_AI_CACHE:-/var/cache/asterisk-ai}/prometheus"

die() { printf 'get_prometheus: %s\n' "$*" >&2; exit 1; }

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    dirname "$(command -v prometheus)"
    exit 0
fi
if [ ! -x "$folder/usr/bin/promtool" ]; then
    command -v apt-get >/dev/null || die "needs a Debian machine (no apt-get here)"
    mkdir -p "$folder" || die "cannot write to $folder: run it once as root"
    scratch="$(mktemp -d)"
    trap 'rm -rf "$scratch"' EXIT
    cd "$scratch"
    apt-get -qq download prometheus >"$scratch/log" 2>&1 || { tail -n 5 "$scratch/log" >&2; die "no such package: apt-get update?"; }
    dpkg-deb -x prometheus_*.deb "$folder"
fi
echo "$folder/usr/bin"

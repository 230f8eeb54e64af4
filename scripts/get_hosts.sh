#!/usr/bin/env bash
# Redis and HAProxy for the test of several hosts, Debian's packages. Nothing of them is started.
set -euo pipefail

say() { printf 'get_hosts: %s\n' "$*" >&2; }

command -v redis-server >/dev/null && command -v haproxy >/dev/null && exit 0
command -v apt-get >/dev/null || { say "needs a Debian machine (no apt-get here)"; exit 1; }
[ "$(id -u)" = 0 ] || { say "run it once as root: it installs redis-server and haproxy"; exit 1; }
log="$(mktemp)"
# Runlevel 1: invoke-rc.d starts no service.
if ! { apt-get -qq update && RUNLEVEL=1 apt-get -qq install -y --no-install-recommends redis-server haproxy; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    say "apt-get could not install redis-server and haproxy: is there a network?"
    exit 1
fi

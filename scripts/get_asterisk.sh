#!/usr/bin/env bash
# A real Asterisk for the tests, kept outside of the clone and never installed on this machine.
#
# Debian 12 has no asterisk package, so a small tree of Debian's next release is unpacked into
# ${ASTERISK_AI_CACHE:-/var/cache/asterisk-ai}/asterisk and Asterisk is run from there with that tree's own libraries.
# About 45 s and 540 MB the first time, nothing at all afterwards. Prints the folder as its last line.
#
#   scripts/get_asterisk.sh            make sure that the tree and the test tools are there
#   scripts/get_asterisk.sh --path     only print where the tree is (exit 1 when it is not there)
set -euo pipefail

cache="${ASTERISK_AI_CACHE:-/var/cache/asterisk-ai}"
tree="$cache/asterisk"
release="${ASTERISK_AI_DEBIAN:-forky}"
tools=(debootstrap sipp)
packages=(debootstrap sip-tester)

say() { printf 'get_asterisk: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The folder sounds/en is an absolute link that leads out of the tree: name the voice's own folder.
complete() {
    [ -x "$tree/usr/sbin/asterisk" ] \
        && [ -e "$tree/usr/share/asterisk/sounds/en_US_f_Allison/vm-goodbye.wav" ] \
        && [ -s "$tree/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz" ]
}

missing_tools() {
    local tool
    for tool in "${tools[@]}"; do command -v "$tool" >/dev/null || return 0; done
    return 1
}

if [ "${1:-}" = --path ]; then
    complete || exit 1
    echo "$tree"
    exit 0
fi

if complete && ! missing_tools; then
    echo "$tree"
    exit 0
fi

[ "$(id -u)" = 0 ] || die "needs root (debootstrap and chroot); run it once as root: sudo $0"
command -v apt-get >/dev/null || die "needs a Debian machine (no apt-get here)"

if missing_tools; then
    say "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    log="$(mktemp)"
    if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1 </dev/null
    then
        tail -n 5 "$log" >&2
        rm -f "$log"
        die "apt-get could not install ${packages[*]}: is there a network?"
    fi
    rm -f "$log"
fi

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9 # a second run waits for the first one and then finds the work done
if complete; then
    echo "$tree"
    exit 0
fi

# The mirror that this machine already uses; no address is written down here.
mirror="$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | head -n 1 || true)"
[ -n "$mirror" ] || die "apt knows no mirror: check /etc/apt/sources.list"

partial="$tree.partial"
log="$cache/debootstrap.log"
[ ! -e "$partial" ] || { umount -q "$partial/proc" "$partial/sys" 2>/dev/null || true; rm -rf --one-file-system "$partial"; }
say "unpacking Debian $release with asterisk into $tree (about 45 s, 540 MB; log in $log)"
# The last word names debootstrap's recipe: an older debootstrap does not know the newest release by name.
if ! debootstrap --variant=minbase --include=asterisk,asterisk-core-sounds-en-wav \
        "$release" "$partial" "$mirror" sid >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    die "debootstrap failed: no network, no space (needs 1 GB in $cache), or the mirror has no '$release'"
fi
rm -rf "$partial"/var/cache/apt/archives/*.deb "$partial"/var/lib/apt/lists/*
[ ! -e "$tree" ] || rm -rf --one-file-system "$tree"
mv "$partial" "$tree"
complete || die "$tree is there, but not complete; remove it and try again"
echo "$tree"

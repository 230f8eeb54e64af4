#!/usr/bin/env bash
# The README's way, word by word, as a new administrator goes it: on a Debian of its own, with a real Asterisk that runs
# as the user asterisk, over FastAGI, AGI and EAGI. Needs root, a network and some minutes; the tests do not run it.
#
#   tests/asterisk/newcomer.sh RELEASE USER [FOLDER]      RELEASE: bookworm, trixie; USER of the server: root, asterisk
#
# Debian 12 and 13 have no asterisk package: it is lent from the tree of scripts/get_asterisk.sh. Ports are those of a
# network namespace of its own, so the usual numbers are free.
set -euo pipefail
release=$1 user=$2 root=${3:-/tmp/newcomer-$1}
here=$(cd "$(dirname "$0")/../.." && pwd)
tree=$("$here/scripts/get_asterisk.sh")
mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)
certificates=/etc/ssl/certs/ca-certificates.crt

[ -d "$root/usr" ] || debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
    "$release" "$root" "$mirror" >"$root.log" 2>&1
trap 'umount -l "$root/lent" "$root/proc" "$root/dev" 2>/dev/null || true' EXIT
mkdir -p "$root/lent" "$root/tmp/dist"
mount --bind "$tree" "$root/lent"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/"
cp "$certificates" "$root$certificates"

# pip install: a wheel of this checkout
python3 -m pip wheel -q --no-deps -w "$root/tmp/dist" "$here"
chroot "$root" env -i PATH=/usr/bin:/bin HOME=/root SSL_CERT_FILE=$certificates sh -ec '
    python3 -m venv /opt/asterisk-ai
    /opt/asterisk-ai/bin/pip install -q --only-binary=:all: --force-reinstall /tmp/dist/*.whl'

# Asterisk, as Debian would have configured it
chroot "$root" sh -c 'id asterisk >/dev/null 2>&1 || useradd -r -U -d /var/lib/asterisk asterisk'
for folder in etc/asterisk var/lib/asterisk var/spool/asterisk usr/share/asterisk; do
    rm -rf "${root:?}/$folder"
    cp -a "$tree/$folder" "$root/$folder"
done
mkdir -p "$root/var/log/asterisk" "$root/var/cache/asterisk" "$root/run/asterisk"
libraries=/lent/usr/lib/x86_64-linux-gnu
printf '#!/bin/sh\nexec /lent/lib64/ld-linux-x86-64.so.2 --library-path %s /lent/usr/sbin/asterisk "$@"\n' \
    "$libraries" >"$root/usr/sbin/asterisk"
chmod 755 "$root/usr/sbin/asterisk"
sed -i "s/^\[directories\](!)/[directories]/; s#^astmoddir.*#astmoddir => $libraries/asterisk/modules#" \
    "$root/etc/asterisk/asterisk.conf"
for module in res_config_ldap app_voicemail_odbc app_voicemail_imap chan_unistim pbx_dundi res_phoneprov cel_pgsql \
    cdr_pgsql cdr_tds cel_tds res_resolver_unbound chan_dahdi chan_iax2 chan_pjsip; do
    sed -i "/^\[modules\]/a noload => $module.so" "$root/etc/asterisk/modules.conf"
done
chroot "$root" chown -R asterisk:asterisk /etc/asterisk /var/lib/asterisk /var/spool/asterisk /var/log/asterisk \
    /var/cache/asterisk /run/asterisk

cat >"$root/tmp/walk" <<'WALK'
exec 2>&1
as() { if [ "$user" = root ]; then exec "$@"; fi
       exec setpriv --reuid=asterisk --regid=asterisk --init-groups env HOME=/var/lib/asterisk "$@"; }
asterisk -U asterisk -G asterisk
sleep 3
asterisk -rx 'core waitfullybooted'
asterisk-ai dialplan install --include --agi
cat >>/etc/asterisk/extensions.conf <<'DIALPLAN'
[newcomer]
exten => 100,1,Goto(asterisk-ai,s,1)
exten => 101,1,Answer()
 same => n,AGI(asterisk-ai-agi,start,reception)
 same => n,TryExec(AudioSocket(${AI_CALL_ID},${AI_AUDIOSOCKET}))
 same => n,AGI(asterisk-ai-agi,next,${AI_CALL_ID})
exten => 102,1,Answer()
 same => n,EAGI(asterisk-ai-eagi,reception)
 same => n,AGI(asterisk-ai-agi,next,${AI_CALL_ID})
exten => h,1,AGI(asterisk-ai-agi,end,${AI_CALL_ID})
[caller]
exten => s,1,Answer()
 same => n,Wait(5)
 same => n,SendDTMF(1)
 same => n,Wait(12)
DIALPLAN
asterisk -rx 'dialplan reload'
rm -rf /var/lib/asterisk-ai
[ "$user" = root ] || install -d -o asterisk -g asterisk -m 750 /var/lib/asterisk-ai
(as asterisk-ai serve) >/tmp/serve.log 2>&1 &
server=$!
for _ in $(seq 120); do grep -q 'is ready' /tmp/serve.log && break; sleep 0.5; done
(as asterisk-ai check) || true
for number in 100 101 102; do
    asterisk -rx "channel originate Local/$number@newcomer extension s@caller"
    sleep 22
done
(as asterisk-ai calls) | tee /tmp/calls
kill "$server" "$(cat /run/asterisk/asterisk.pid)"
wait "$server" || true
grep -E 'ERROR|Traceback' /tmp/serve.log && exit 1
[ "$(grep -c ' hangup ' /tmp/calls)" = 3 ] && echo "all three ways work on Debian, server run by $user"
WALK
unshare --net sh -c 'ip link set lo up; exec "$@"' sh \
    chroot "$root" env -i PATH=/opt/asterisk-ai/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root user="$user" \
    bash -e /tmp/walk

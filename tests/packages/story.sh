#!/bin/bash
# SPDX-License-Identifier: ISC
# The life of the package in a machine of its own: installed, configured, started, hung, upgraded,
# removed, installed again, purged. Run there by story.service.
set -uo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
first=$(echo /root/packages/outbox-relay_*-1*.deb)
next=$(echo /root/packages/outbox-relay_*-2_*.deb)
conf=/etc/outbox-relay/outbox-relay.conf

check() {
    local name=$1 said
    shift
    printf '\n=== %s\n' "$name"
    if "$@" 2>&1; then echo "ok      $name"; else echo "FAILED  $name"; fi
}

# show COMMAND...: as an administrator sees it.
show() {
    echo "# $*"
    "$@" 2>&1
}

# await SECONDS COMMAND...: as soon as it is true.
await() {
    local tries
    for ((tries = $1 * 5; tries > 0; tries--)); do
        "${@:2}" >/dev/null 2>&1 && return
        sleep 0.2
    done
    echo "waited $1 s in vain for: ${*:2}"
    return 1
}

apt() { show apt-get -qq -o Dpkg::Use-Pty=0 --no-install-recommends -y "$@"; }
property() { systemctl show -P "$1" outbox-relay; }
is() { [ "$(systemctl "$1" outbox-relay 2>/dev/null)" = "$2" ]; }
said() { journalctl -u outbox-relay -o cat --no-pager | grep -E "$1"; }
sql() { runuser -u postgres -- psql -qXAt -v ON_ERROR_STOP=1 -d shop -c "$1"; }

runs() { grep -lx outbox-relay /proc/[0-9]*/comm; }

install_it() { apt install "$1"; }
not_running() { is is-active inactive && is is-enabled disabled; }

# As README.Debian says. The password is a credential, which only root can read.
configure() {
    runuser -u postgres -- createdb shop &&
        cat >$conf <<'END' &&
database = {
  dsn = "host=127.0.0.1 dbname=shop user=outbox_relay";
  password_file = "${env:CREDENTIALS_DIRECTORY}/database";
};
kafka = { embedded = true; };
http = { listen = "127.0.0.1:9464"; };
END
        show env CREDENTIALS_DIRECTORY=/etc/outbox-relay runuser -u postgres -- outbox-relay migrate --dsn "dbname=shop" &&
        sql "ALTER ROLE outbox_relay PASSWORD 'a secret'" &&
        (umask 077 && printf 'a secret' >/etc/outbox-relay/database) &&
        drop_in credential '[Service]' 'LoadCredential=database:/etc/outbox-relay/database'
}

# drop_in NAME LINE...
drop_in() {
    mkdir -p /etc/systemd/system/outbox-relay.service.d &&
        printf '%s\n' "${@:2}" >"/etc/systemd/system/outbox-relay.service.d/$1.conf" && systemctl daemon-reload
}

start() { show systemctl enable --now outbox-relay && is is-active active && is is-enabled enabled; }

# publishes KEY: an event arrives at a consumer.
publishes() {
    sql "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('order', '$1', 'Placed')" &&
        await 60 gone && bootstrap=$(said 'ready: publishing' | tail -n 1 | grep -oE '[0-9.]+:[0-9]+$') &&
        kcat -b "$bootstrap" -C -t events.order -e -q -f 'partition %p offset %o key %k headers %h\n' | grep " key $1 "
}
gone() { [ "$(sql 'SELECT count(*) FROM outbox_events')" = 0 ]; }

# Its user is one of those that systemd makes for as long as a service runs (61184 to 65519), and is
# in no file.
own_user() {
    local user
    user=$(awk '$1 == "Uid:" { print $2 }' "/proc/$(property MainPID)/status") && echo "user $user" &&
        [ "$user" -ge 61184 ] && [ "$user" -le 65519 ] && ! grep outbox /etc/passwd
}

reloads() { show systemctl reload outbox-relay && await 30 said 'reload: done'; }

confined() {
    systemd-analyze --version | head -n 1 &&
        systemd-analyze security --offline=true --threshold=14 --no-pager \
            /usr/lib/systemd/system/outbox-relay.service | tail -n 1 | grep exposure
}

restarted() { [ "$(property NRestarts)" -gt 0 ] && is is-active active; }

# A relay that hangs is ended by the watchdog, and started again.
watched() {
    drop_in watchdog '[Service]' WatchdogSec=10s && systemctl restart outbox-relay &&
        show systemctl kill -s STOP --kill-who=main outbox-relay && await 120 restarted &&
        journalctl -u outbox-relay -o cat --no-pager | grep -i watchdog && rm /etc/systemd/system/outbox-relay.service.d/watchdog.conf
}

# upgraded: restarted, and the configuration is the administrator's; the package's lies beside it.
upgraded() {
    local before after
    before=$(property MainPID)
    apt -o Dpkg::Options::=--force-confold install "$next" && await 60 is is-active active || return
    after=$(property MainPID)
    echo "main process $before, then $after; $(dpkg-query -W outbox-relay)"
    [ "$before" != "$after" ] && is is-enabled enabled && grep embedded $conf && ls /etc/outbox-relay &&
        grep -q 'new in this version' $conf.dpkg-dist
}

removed() {
    apt remove outbox-relay && ! is is-active active && [ ! -e /usr/bin/outbox-relay ] && ls /etc/outbox-relay &&
        grep embedded $conf && ! runs
}

# After a removal: as it was, but not started.
again() { install_it "$next" && grep embedded $conf && is is-active inactive && is is-enabled enabled; }
starts_again() { show systemctl start outbox-relay && is is-active active; }

# Nothing in the system names it any more.
purged() {
    apt purge outbox-relay && ! is is-active active && ! runs &&
        [ -z "$(find / -xdev -name '*outbox-relay*' -not -path '/root/*' -not -path '/proc/*' \
            -not -path '/var/cache/apt/*' -not -path '/var/log/*' -print | tee /dev/stderr)" ]
}

afresh() { install_it "$next" && not_running && grep -q 'new in this version' $conf; }

main() {
    show uname -r
    check "installed by apt" install_it "$first"
    check "neither enabled nor started" not_running
    check "confined, by this release's measure" confined
    check "configured" configure
    check "enabled and started: it said that it is ready" start
    check "publishes an event" publishes first
    check "under a user of its own" own_user
    check "reloads" reloads
    check "ended by the watchdog when it hangs, and started again" watched
    check "publishes after that" publishes second
    check "upgraded: restarted, its configuration kept" upgraded
    check "publishes after the upgrade" publishes third
    check "removed: stopped, its configuration kept" removed
    check "installed again: enabled as before" again
    check "starts with the kept configuration" starts_again
    check "publishes after that, too" publishes fourth
    check "purged while it runs: nothing left" purged
    check "installed afresh" afresh
    printf '\n=== the log of the service\n'
    journalctl -u outbox-relay -o short --no-pager
    echo "the end"
}

await 300 runuser -u postgres -- psql -c 'SELECT 1'
main

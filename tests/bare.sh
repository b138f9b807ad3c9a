#!/bin/bash
# SPDX-License-Identifier: ISC
# Runs the commands of README.md and docs/getting-started.md as a newcomer does: in a bare Debian, with
# nothing else installed.
#
#   tests/bare.sh RELEASE               bookworm, trixie: the demo, the demo on a real Kafka, by hand
#   tests/bare.sh RELEASE COMMAND...    this instead, in a clone: tests/bare.sh trixie ./test.sh lint
#
# Needs root and debootstrap. What is committed is what runs. The bare Debian lies in TMPDIR, takes
# 2 GB, or 4 for the tests, and is removed at the end. The last line is "N passed, N failed"; the
# status is 1 if any failed.
set -uo pipefail
cd "$(dirname "$0")/.."

. tests/roots.sh
enter "$@"
shift
root=$work/root
# What a shell in there gets from here: the way to a network.
proxies=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY

make_root() {
    bare "$root" && clone_into "$root/root"
}

# A user as the pages take it for granted: who may use sudo.
make_newcomer() {
    quietly chroot "$root" sh -c 'apt-get update && apt-get install -y --no-install-recommends sudo &&
        useradd --create-home --shell /bin/bash newcomer && chmod 700 ~newcomer' &&
        printf '%s\n' "newcomer ALL=(ALL:ALL) NOPASSWD: ALL" "Defaults env_keep += \"${proxies//,/ } PGPORT\"" \
            >"$root/etc/sudoers.d/newcomer" &&
        clone_into "$root/home/newcomer" && chroot "$root" chown -R newcomer: /home/newcomer
}

# as USER COMMANDS: in the clone, by a login shell of the user.
as() {
    chroot "$root" runuser -l "$1" -w "$proxies,PGPORT" -c "set -e; cd outbox-relay; $2" </dev/null
}

# block PAGE SECTION: the indented block of the section of the page.
block() {
    awk -v wanted="$2" '
        /^## / { section = substr($0, 4) }
        section == wanted && (/^    / || /^$/) { print substr($0, 5) }' "$1" |
        sed -e '/./,$!d' -e :a -e '/^\n*$/{$d;N;ba' -e '}'
}

# steps N: what docs/getting-started.md says to do in its section of this number.
steps() {
    local page=docs/getting-started.md
    block "$page" "$(grep "^## $1\. " "$page" | cut -c 4-)"
}

# demo USER COMMAND: the consumer at its end receives three events.
demo() {
    as "$1" "$2" 2>&1 | tee "$log" && [ "$(grep -c '^partition .* key o-[12] ' "$log")" = 3 ]
}

# A machine with an init has done this. If another server has the port of PostgreSQL, Debian gives
# this one another, and all clients are told by PGPORT.
start_postgres() {
    quietly chroot "$root" service postgresql start &&
        PGPORT=$(chroot "$root" pg_lsclusters -h | awk '{ print $3 }') && export PGPORT
}

# await LOG PATTERN PID: what matched, as soon as the log has it.
await() {
    local tries
    for tries in $(seq 6000); do
        grep -oE "$2" "$1" && return
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    return 1
}

# Step 3 ends with the relay in the foreground; step 4 is for another terminal: commands, an empty line,
# and what they print.
by_hand() {
    local relay ready commands expected printed
    as newcomer "$(steps 1; steps 2; steps 3)" >"$work/relay.log" 2>&1 &
    relay=$!
    ready=$(await "$work/relay.log" 'ready: publishing outbox_events to [0-9.:]+' "$relay")
    cat "$work/relay.log"
    [ -n "$ready" ] || return
    commands=$(steps 4 | sed '/^$/,$d' | sed -E "s/127\.0\.0\.1:[0-9]+/${ready##* }/")
    expected=$(steps 4 | sed '1,/^$/d' | without_uuid)
    echo "$commands"
    printed=$(as newcomer "$commands") || return
    for _ in $(seq 50); do # a script is faster than a hand: the consumer may look before the event is there
        [ "$(without_uuid <<<"$printed" | tail -n 1)" != "$expected" ] || break
        sleep 0.1
        printed=$(as newcomer "$(tail -n 1 <<<"$commands")") || return
    done
    echo "$printed"
    [ "$(without_uuid <<<"$printed" | tail -n 1)" = "$expected" ]
}

without_uuid() { sed -E 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/'; }

check "a bare Debian $release" make_root
[ "$failed" = 0 ] || finish
# As in a container, whose user is root and where nobody has installed sudo.
[ $# != 0 ] || check "root: ./demo.sh" demo root ./demo.sh
check "a user who has sudo" make_newcomer
if [ $# != 0 ]; then
    check "$*" as newcomer "$(printf '%q ' "$@")"
    finish
fi
while read -r line; do
    check "newcomer: ${line%%  *}" demo newcomer "$line"
done < <(block README.md Start | grep .)
check "PostgreSQL of the root runs" start_postgres
check "newcomer: by hand" by_hand
finish

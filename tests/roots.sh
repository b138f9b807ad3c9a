# SPDX-License-Identifier: ISC
# What scripts share that make bare Debian systems: sourced by bare.sh and packages.sh, from the top.
#
# enter "$@" first. Then $work is a directory for the script, $log a file in it, $release the first
# argument; "check" runs tests, and "finish" ends the script.

# First the script runs itself in namespaces: all processes end with that of the processes, and all
# mounts are gone with that of the mounts, however it ends. The directory is removed from outside.
enter() {
    if [ "${BARE_WORK-}" = "" ]; then
        enter_namespaces "$@"
    fi
    work=$BARE_WORK
    log=$work/log
    release=$1
    passed=0
    failed=0
    failures=()
    unset TMPDIR # none of the systems has it
}

enter_namespaces() {
    local inside= status
    if [ $# = 0 ] || [[ $1 = -* ]]; then
        sed -n '3,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
        exit 2
    fi
    if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
        echo "$0 makes file systems and mounts: run it as root, with debootstrap installed" >&2
        exit 2
    fi
    work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-relay-bare.XXXXXX") || exit 1
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
    BARE_WORK=$work setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child \
        "tests/$(basename "$0")" "$@" &
    inside=$!
    wait "$inside"
    status=$?
    inside=
    exit "$status"
}

clean_up() {
    [ -z "${inside-}" ] || kill -KILL "$inside" 2>/dev/null # unshare blocks the others
    local tries
    for tries in $(seq 50); do # what was killed may still write for a moment
        rm -rf --one-file-system "$work" 2>/dev/null && return
        sleep 0.1
    done
    echo "could not remove $work" >&2
}

say() { printf '\n=== %s\n' "$*"; }

# quietly COMMAND...: shows what it printed only if it fails.
quietly() {
    "$@" >"$log" 2>&1 || {
        tail -n 20 "$log"
        return 1
    }
}

# check NAME COMMAND...: one test, whose output is shown as it comes.
check() {
    local name=$1
    shift
    say "$name"
    if "$@" 2>&1; then
        echo "ok      $name"
        passed=$((passed + 1))
    else
        echo "FAILED  $name"
        failed=$((failed + 1))
        failures+=("$name")
    fi
}

finish() {
    say "result on $release, after $SECONDS s"
    [ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
    exit
}

# The mirror that apt of this machine uses. Empty on another system: debootstrap has one of its own.
mirror() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        sed -n 's/^Debian|Debian|//p' | sort -u | head -n 1
}

# furnish ROOT: how apt of this machine gets to its mirror, whose certificates this machine trusts, and what a
# server needs. Services start when they are asked to, not when they are installed: some of the tests'
# have ports that this machine may use.
furnish() {
    local root=$1
    cp /etc/resolv.conf /etc/hosts "$root/etc/" &&
        apt-config dump | sed -nE '/^Acquire::(http|https|Retries|Check)/p' >"$root/etc/apt/apt.conf.d/99outside" &&
        mkdir -p "$root/usr/local/share/ca-certificates" &&
        cp -R /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates" &&
        printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" &&
        chmod 755 "$root/usr/sbin/policy-rc.d" &&
        mount -t proc proc "$root/proc" &&
        mount --rbind /dev "$root/dev" &&
        mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
}

# clone_into DIRECTORY: what is committed.
clone_into() {
    mkdir "$1/outbox-relay" && git archive HEAD | tar -x -C "$1/outbox-relay"
}

# bare ROOT: a Debian with nothing in it. BARE_TAR names one that debootstrap has made before.
bare() {
    chmod 755 "$work"
    if [ -n "${BARE_TAR-}" ]; then
        mkdir "$1" && tar -x -f "$BARE_TAR" -C "$1" && furnish "$1"
    else
        quietly debootstrap --variant=minbase "$release" "$1" $(mirror) && furnish "$1"
    fi
}

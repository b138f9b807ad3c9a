#!/bin/bash
# SPDX-License-Identifier: ISC
# Builds the container image, looks at what is in it, and runs the relay in it, read-only and as its
# user, against a real PostgreSQL and a real Kafka.
#
#   tests/image.sh [SYSTEM_TEST...]     test_first_event.py and some more, or these of tests/system
#
# Needs root, buildah and debootstrap. What is committed is what is built; the base image is made by
# debootstrap, under the name that the Dockerfile uses, in a store of its own. The last line is
# "N passed, N failed"; the status is 1 if any failed.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ] || ! command -v buildah debootstrap >/dev/null; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
    exit 2
fi
# What tells most about a container: events, signals, HTTP.
tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(test_first_event.py test_signals.py test_http.py)
BASE=docker.io/library/debian:trixie-slim
work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-relay-image.XXXXXX")
chmod 755 "$work"
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
store=(--root "$work/store" --runroot "$work/run")
passed=0
failed=0
trap 'buildah "${store[@]}" umount --all >/dev/null 2>&1; rm -rf --one-file-system "$work"' EXIT

# check NAME COMMAND...: one test; its output is shown if it fails, and with $show always.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1 </dev/null); then
        echo "ok      $name"
        [ -z "${show-}" ] || sed 's/^/        /' <<<"$output"
        passed=$((passed + 1))
    else
        printf 'FAILED  %s\n%s\n' "$name" "$(tail -n 40 <<<"$output")"
        failed=$((failed + 1))
    fi
}

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
    exit
}

# The mirror that apt of this machine uses. Empty on another system: debootstrap has one of its own.
mirror() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        sed -n 's/^Debian|Debian|//p' | sort -u | head -n 1
}

# How apt of this machine gets to its mirror goes with it.
make_base() {
    local container
    debootstrap --variant=minbase trixie "$work/base" $(mirror) &&
        apt-config dump | sed -nE '/^Acquire::(http|https|Retries|Check)/p' >"$work/base/etc/apt/apt.conf.d/99outside" &&
        container=$(buildah "${store[@]}" from scratch) &&
        buildah "${store[@]}" add -q "$container" "$work/base" / &&
        buildah "${store[@]}" commit -q --rm "$container" "$BASE" &&
        rm -rf --one-file-system "$work/base"
}

build() {
    mkdir "$work/source" && git archive HEAD | tar -x -C "$work/source" &&
        buildah "${store[@]}" bud --pull-never --format docker -q -t outbox-relay -f "$work/source/conf/container/Dockerfile" \
            --ignorefile "$work/source/conf/container/Dockerfile.dockerignore" "$@" "$work/source"
}

unpack() {
    local container mounted
    container=$(buildah "${store[@]}" from --pull-never "localhost/outbox-relay") &&
        mounted=$(buildah "${store[@]}" mount "$container") && cp -a "$mounted" "$work/image" &&
        chmod 755 "$work/image"
}

of_image() { buildah "${store[@]}" inspect --type image --format "$1" localhost/outbox-relay; }

version() { IMAGE_ROOT=$work/image tests/in_image.sh --version; }

its_configuration() {
    of_image '{{.Docker.Config.User}} {{.Docker.Config.Entrypoint}} {{.Docker.Config.Cmd}} {{.Docker.Config.StopSignal}}'
    of_image '{{.Docker.Config.Healthcheck.Test}}'
    of_image '{{range $name, $value := .Docker.Config.Labels}}{{$name}}={{$value}}{{"\n"}}{{end}}'
    [ "$(of_image '{{.Docker.Config.User}}')" = 65532:65532 ] &&
        [ "$(of_image '{{index .Docker.Config.Labels "org.opencontainers.image.version"}}')" = \
            X
}

# No shell and no other program, nothing set-uid, nothing that others may write but /tmp.
its_files() {
    echo "$(du -sm --apparent-size "$work/image" | cut -f 1) MB, $(find "$work/image" -type f | wc -l) files," \
        "$(ls "$work/image/var/lib/dpkg/status.d" | wc -l) Debian packages"
    local programs
    programs=$(cd "$work/image" && find . -type f -perm /111 ! -name '*.so*')
    echo "programs: $programs"
    [ "$programs" = ./usr/bin/outbox-relay ] && [ -z "$(find "$work/image" -perm /6000)" ] &&
        [ "$(cd "$work/image" && find . ! -type l -perm /022)" = ./tmp ]
}

its_packages() {
    local entry
    for entry in "$work"/image/var/lib/dpkg/status.d/*; do
        awk '/^Package:/ { name = $2 } /^Version:/ { print name, $2 }' "$entry"
        [ -s "$work/image/usr/share/doc/$(basename "$entry")/copyright" ] || return 1
    done
}

no_file() {
    local said
    said=$(IMAGE_ROOT=$work/image tests/in_image.sh run 2>&1)
    [ $? = 2 ] && echo "$said" && [[ $said = */etc/outbox-relay/outbox-relay.conf* ]]
}

system_tests() {
    IMAGE_ROOT=$work/image OUTBOX_RELAY=$PWD/tests/in_image.sh \
        /usr/bin/python3 -m pytest -q -p no:cacheprovider "${tests[@]/#/tests/system/}"
}

check "the base, by debootstrap" make_base
check "the image" build
check "its files can be had" unpack
[ "$failed" = 0 ] || finish
show=1
check "its version" version
check "its configuration" its_configuration
check "its files" its_files
check "its packages, each with its licence" its_packages
check "without a configuration it says which file it looked for" no_file
check "system tests: ${tests[*]}" system_tests
finish

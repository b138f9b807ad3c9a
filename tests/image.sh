#!/bin/bash
# SPDX-License-Identifier: ISC
# Builds the container image, looks at what is in it, and runs the relay in it, read-only and as its
# user, against a real PostgreSQL and a real Kafka.
#
#   tests/image.sh trixie [SYSTEM_TEST...]    test_first_event.py and some more, or these of tests/system
#
# Needs root, buildah and debootstrap, and what the tests need. What is committed is what is built. The
# base is made by debootstrap, or BARE_TAR has it, under the name that the Dockerfile uses, in a store of
# the script's own. The last line is "N passed, N failed"; the status is 1 if any failed.
set -uo pipefail
cd "$(dirname "$0")/.."
. tests/roots.sh
enter "$@"
shift
# What tells most about a container: events, signals, HTTP, logging in by its librdkafka.
tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(test_first_event.py test_signals.py test_http.py test_kafka_login.py)
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
export IMAGE_ROOT=$work/image
buildah=(buildah --root "$work/store" --runroot "$work/run")

# The mounts that furnish makes are not part of what is copied.
make_base() {
    local container
    bare "$work/base" && umount -R "$work/base/proc" "$work/base/dev" &&
        container=$("${buildah[@]}" from scratch) &&
        "${buildah[@]}" add -q "$container" "$work/base" / >/dev/null &&
        quietly "${buildah[@]}" commit -q --rm "$container" "docker.io/library/debian:$release-slim"
}

# With docker's format, which has a health check.
build() {
    mkdir "$work/source" && clone_into "$work/source" && cd "$work/source/outbox-relay" &&
        quietly "${buildah[@]}" bud --pull-never --format docker -t outbox-relay \
            -f conf/container/Dockerfile --ignorefile conf/container/Dockerfile.dockerignore .
}

unpack() {
    local container mounted
    container=$("${buildah[@]}" from --pull-never localhost/outbox-relay) &&
        mounted=$("${buildah[@]}" mount "$container") && cp -a "$mounted" "$IMAGE_ROOT" && chmod 755 "$IMAGE_ROOT"
}

of_image() { "${buildah[@]}" inspect --type image --format "$1" localhost/outbox-relay; }

version() { tests/in_image.sh --version; }

its_configuration() {
    version
    of_image '{{.Docker.Config.User}} {{.Docker.Config.Entrypoint}} {{.Docker.Config.Cmd}} {{.Docker.Config.StopSignal}}'
    echo
    of_image '{{.Docker.Config.Healthcheck.Test}}'
    echo
    of_image '{{range $name, $value := .Docker.Config.Labels}}{{$name}}={{$value}}{{"\n"}}{{end}}'
    [ "$(of_image '{{.Docker.Config.User}}')" = 65532:65532 ] &&
        [ "$(of_image '{{index .Docker.Config.Labels "org.opencontainers.image.version"}}')" = \
            "$(version | cut -d ' ' -f 2)" ]
}

# No shell and no other program, nothing set-uid, nothing that others may write but /tmp.
its_files() {
    local programs
    cd "$IMAGE_ROOT" || return
    echo "$(du -sm --apparent-size . | cut -f 1) MB, $(find . -type f | wc -l) files," \
        "$(ls var/lib/dpkg/status.d | wc -l) Debian packages"
    programs=$(find . -type f -perm /111 ! -name '*.so*')
    echo "programs: $programs"
    [ "$programs" = ./usr/bin/outbox-relay ] && [ -z "$(find . -perm /6000)" ] &&
        [ "$(find . ! -type l -perm /022)" = ./tmp ]
}

# By a scanner, if there is one: it has to find them.
scan() {
    command -v syft >/dev/null || { echo "no syft: go install github.com/anchore/syft/cmd/syft"; return; }
    SYFT_CHECK_FOR_APP_UPDATE=false syft scan -q "dir:$IMAGE_ROOT" -o syft-table >"$log" || return
    awk '/ deb *$/ { print $1 }' "$log" | sort -u >"$work/found"
    echo "$(wc -l <"$work/found") Debian packages"
    [ -z "$(ls "$IMAGE_ROOT/var/lib/dpkg/status.d" | sort | comm -13 "$work/found" -)" ]
}

its_packages() {
    local entry
    for entry in "$IMAGE_ROOT"/var/lib/dpkg/status.d/*; do
        awk '/^Package:/ { name = $2 } /^Version:/ { print name, $2 }' "$entry"
        [ -s "$IMAGE_ROOT/usr/share/doc/$(basename "$entry")/copyright" ] || return 1
    done
}

no_file() {
    local said
    said=$(tests/in_image.sh run 2>&1)
    [ $? = 2 ] && echo "$said" && [[ $said = */etc/outbox-relay/outbox-relay.conf* ]]
}

# Not those of a socket, which user 65532 may not make in a test's directory, nor those of a command that
# prints a token: the image has no shell that would run it.
system_tests() {
    local status
    OUTBOX_RELAY=$PWD/tests/in_image.sh /usr/bin/python3 -m pytest -q -p no:cacheprovider \
        -k "not unix_socket and not command_health and not token and not current" "${tests[@]/#/tests/system/}" >"$log"
    status=$?
    if [ "$status" = 0 ]; then grep -E 'arrives|passed' "$log"; else tail -n 100 "$log"; fi
    return "$status"
}

check "the base debian:$release-slim" make_base
check "the image" eval "(build)"
check "its files can be had" unpack
[ "$failed" = 0 ] || finish
check "its configuration" its_configuration
check "its files" eval "(its_files)"
check "its packages, each with its licence" its_packages
check "without a configuration it says which file it looked for" no_file
check "a scanner finds them" scan
check "system tests: ${tests[*]}" system_tests
finish

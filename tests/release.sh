#!/bin/bash
# SPDX-License-Identifier: ISC
# Rehearses a release: what conf/release/release.sh refuses, that it makes the same bytes twice, and that what it makes
# is complete.
#
#   tests/release.sh
#
# What is committed is released, in clones that have a date and a tag. Takes minutes, and is no part of CI: run it before
# a release. The second time is as another user if run as root, elsewhere, with another umask, locale and time zone. The
# last line is "N passed, N failed"; the status is 1 if any failed.
set -uo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-relay-release.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
passed=0
failed=0

# check NAME COMMAND...: one test, silent unless it fails.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1 </dev/null); then
        echo "ok      $name"
        passed=$((passed + 1))
    else
        printf 'FAILED  %s\n%s\n' "$name" "$(tail -n 40 <<<"$output")"
        failed=$((failed + 1))
    fi
}

# refuses REASON: the release from the first clone, for this reason.
refuses() {
    local said
    ! said=$("$clone/conf/release/release.sh" "$work/refused" 2>&1) && [[ $said = *"$1"* ]] || { echo "$said"; return 1; }
}

git_in_clone() { git -C "$clone" -c user.name=release -c user.email=release@localhost.localdomain "$@"; }

# The commit of a release: CHANGES.md has its date. Times of commits are what they are made from, so the second clone
# takes it from the first.
date_it() {
    sed -i "s/^## $version (.*/## $version (2026-12-01)/" "$clone/CHANGES.md"
    [ -z "$(git_in_clone status --porcelain)" ] || git_in_clone commit -q -a -m "Version $version"
}

same() {
    local file
    [ "$(ls "$work/first" | wc -l)" = 4 ] || { ls "$work/first"; return 1; }
    for file in "$work"/first/*; do
        cmp "$file" "$work/second/$(basename "$file")" || return
    done
}

# The second run: everything that could get into the bytes is different.
again() {
    local elsewhere=$work/another/place/with-a-longer-name as=()
    mkdir -p "$elsewhere" "$work/second"
    git clone -q "$clone" "$elsewhere/clone" || return
    if [ "$(id -u)" = 0 ]; then
        chown -R nobody: "$work/another" "$work/second"
        as=(setpriv --reuid nobody --clear-groups)
    fi
    (
        umask 077
        exec "${as[@]}" env HOME="$elsewhere" TMPDIR="$elsewhere" XDG_CACHE_HOME="$elsewhere/cache" TZ=Asia/Tokyo \
            LC_ALL=C.UTF-8 CCACHE_DISABLE=1 CFLAGS=-O0 "$elsewhere/clone/conf/release/release.sh" "$work/second"
    )
}

valid() {
    local python
    python=$(tests/setup.sh spdx) && "$(dirname "$python")/pyspdxtools" -i "$work/first/outbox-relay-$version.spdx.json"
}

# sbom_has WORD...: among the names of its packages.
sbom_has() {
    local name
    for name in "$@"; do
        jq -e --arg name "$name" '.packages | any(.name == $name)' "$work/first/outbox-relay-$version.spdx.json" || return
    done
}

sums() { (cd "$work/first" && sha256sum -c SHA256SUMS); }

# The tests of one who has the tarball and no git: no test may need the history.
from_tarball() {
    tar -xzf "$work/first/outbox-relay-$version.tar.gz" -C "$work" && cd "$work/outbox-relay-$version" && ! git rev-parse 2>/dev/null &&
        for lint in tests/lint/*.py; do
            "$lint" || return
        done && cmake -S . -B build -DWERROR=ON && cmake --build build -j "$(nproc)" --target outbox-relay test_units test_config test_migrate &&
        ctest --test-dir build -R '^(test_units|test_config|test_migrate)$' --no-tests=error &&
        /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/system/test_first_event.py
}

version=$(sed -n 's/^project(outbox-relay VERSION \([^ ]*\).*/\1/p' CMakeLists.txt)
clone=$work/clone
check "a clone of what is committed" git clone -q . "$clone"
git_in_clone tag | xargs -r git -C "$clone" tag -d >/dev/null
touch "$clone/left-over"
check "a tree with changes is refused" refuses "the tree has changes"
rm "$clone/left-over"
check "a commit without a tag is refused" refuses "no tag v$version"
git_in_clone tag v99.0.0
check "a tag of another version is refused" refuses "no tag v$version"
sed -i "s/^## $version (.*/## $version (not yet released)/" "$clone/CHANGES.md"
git_in_clone diff --quiet || git_in_clone commit -q -a -m "Without a date"
git_in_clone tag "v$version"
check "changes without a date are refused" refuses "CHANGES.md has no line"
git_in_clone tag -d "v$version" >/dev/null
date_it
git_in_clone tag "v$version"
check "a release" "$clone/conf/release/release.sh" "$work/first"
check "a release elsewhere, later, by another user, with another umask, locale, zone and flags" again
cat "$work"/first/SHA256SUMS "$work"/second/SHA256SUMS
check "both are the same, byte by byte" same
check "SHA256SUMS" sums
check "the SBOM is valid SPDX 2.3" valid
check "the SBOM has the program's libraries" sbom_has outbox-relay librdkafka1 libpq5 libjansson4 libjson-c5 libpcre2-8-0 libc6 uthash-dev
check "the tarball builds and its tests pass without git" from_tarball
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

#!/bin/bash
# SPDX-License-Identifier: ISC
# Makes what a release consists of, from the tagged commit. The procedure: docs/releases.md
#
#   conf/release/release.sh DIRECTORY   puts it there: the source, the program, the SBOM, SHA256SUMS
#
# Refuses a tree with changes, a commit without the tag vVERSION, and a CHANGES.md without the date. The same commit
# makes the same bytes, on the same release of Debian with the same packages.
set -euo pipefail
cd "$(dirname "$0")/../.."

refuse() {
    echo "no release: $*" >&2
    exit 1
}

if [ $# != 1 ]; then
    sed -n '3,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
    exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
[ -z "$(ls -A "$out")" ] || refuse "$out is not empty"
version=$(sed -n 's/^project(outbox-relay VERSION \([^ ]*\).*/\1/p' CMakeLists.txt)
[ -z "$(git status --porcelain)" ] || refuse "the tree has changes: commit or remove what git status names"
git tag --points-at HEAD | grep -qxF "v$version" ||
    refuse "this commit has no tag v$version, the version of CMakeLists.txt: git tag -s v$version"
grep -qE "^## ${version//./\\.} \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$" CHANGES.md ||
    refuse "CHANGES.md has no line \"## $version (YYYY-MM-DD)\": give it the date of the release"
[ "$(grep -m 1 '^## ' CHANGES.md)" = "$(grep "^## $version (" CHANGES.md)" ] ||
    refuse "CHANGES.md begins with another version than $version"
tests/lint/version.py

# Nothing of who builds, where and when gets into what is built.
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
unset CFLAGS CPPFLAGS LDFLAGS
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

name=outbox-relay-$version
git -c tar.umask=0022 archive --format=tar --prefix="$name/" HEAD | gzip -9 -n >"$out/$name.tar.gz"
tar -xzf "$out/$name.tar.gz" -C "$work"
cmake -S "$work/$name" -B "$work/$name/build" -DWERROR=ON -DBUILD_TESTING=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo >"$work/log" 2>&1 &&
    cmake --build "$work/$name/build" -j "$(nproc)" --target outbox-relay >>"$work/log" 2>&1 ||
    { tail -n 40 "$work/log" >&2; refuse "$name.tar.gz does not build"; }
program=$name-$(. /etc/os-release && echo "$ID${VERSION_ID-}")-$(uname -m)
cp "$work/$name/build/outbox-relay" "$out/$program"
[[ $("$out/$program" --version) = "outbox-relay $version "* ]] || refuse "$program --version is not $version"
# By its path: the script itself may be of another version of python than the one that has the library.
"$(tests/setup.sh spdx)" conf/release/sbom.py "$version" "$out/$name.tar.gz" "$out/$program" "$out/$name.spdx.json"
cd "$out"
sha256sum -- "$name"* >SHA256SUMS
cat SHA256SUMS

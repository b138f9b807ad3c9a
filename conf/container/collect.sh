#!/bin/sh
# SPDX-License-Identifier: ISC
# Collects what the final image consists of: the relay, the libraries that it loads, CA
# certificates, and for each Debian package that a file is from its licence and its entry of dpkg's
# database, where scanners look for what is in an image without a package manager.
#
#   collect.sh DIRECTORY
set -eu
image=$1
program=/usr/bin/outbox-relay
# What a container's runtime mounts over must be there: it cannot make it on a read-only root.
for directory in dev etc/outbox-relay proc run sys tmp usr/lib usr/lib64 usr/share var/lib/dpkg/status.d; do
    mkdir -p "$image/$directory"
done
chmod 1777 "$image/tmp"

# take FILE: at the path where it is looked for, with the file that a link leads to.
take() {
    mkdir -p "$image$(dirname "$1")"
    cp -L --preserve=mode,timestamps "$1" "$image$1"
}

# The package that has a file; usr-merge: dpkg may know it with or without /usr.
owner() {
    dpkg-query -S "$(readlink -f "$1")" 2>/dev/null || dpkg-query -S "$1" 2>/dev/null ||
        dpkg-query -S "/usr$1" 2>/dev/null || dpkg-query -S "${1#/usr}" 2>/dev/null
}

record() {
    dpkg-query -s "$1" >"$image/var/lib/dpkg/status.d/$1"
    take "/usr/share/doc/$1/copyright"
}

ln -s usr/lib "$image/lib"
ln -s usr/lib64 "$image/lib64"
take "$program"
cp -R /usr/share/outbox-relay "$image/usr/share/"
libraries=$(ldd "$program" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^\t\(\/[^ ]*\) .*/\1/p')
for library in $libraries; do
    case $library in /usr/*) path=$library ;; *) path=/usr$library ;; esac
    take "$path"
done
take /etc/ssl/certs/ca-certificates.crt
take /etc/ssl/openssl.cnf
mkdir -p "$image/usr/lib/ssl"
ln -s /etc/ssl/certs /etc/ssl/openssl.cnf "$image/usr/lib/ssl/"
printf 'root:x:0:0:root:/root:/sbin/nologin\nrelay:x:65532:65532:outbox-relay:/:/sbin/nologin\n' >"$image/etc/passwd"
printf 'root:x:0:\nrelay:x:65532:\n' >"$image/etc/group"
printf 'hosts: files dns\n' >"$image/etc/nsswitch.conf"
cp /etc/os-release "$image/etc/"

for library in $libraries /etc/ssl/openssl.cnf /usr/sbin/update-ca-certificates /etc/os-release; do
    owner "$library" | head -n 1 | cut -d : -f 1
done | sort -u | while read -r package; do record "$package"; done

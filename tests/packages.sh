#!/bin/bash
# SPDX-License-Identifier: ISC
# Builds the Debian package in a bare Debian, and installs, upgrades, removes and purges it in another
# one, a virtual machine that systemd has started.
#
#   tests/packages.sh RELEASE           bookworm, trixie
#
# Needs root, debootstrap and qemu-system-x86_64; processors without virtualization will do. What is
# committed is what is packed. The systems lie in TMPDIR, take 6 GB, and are removed at the end. The
# last line is "N passed, N failed"; the status is 1 if any failed. If KEEP names a directory, the
# packages and the machine's log are copied there.
set -uo pipefail
cd "$(dirname "$0")/.."
. tests/roots.sh
enter "$@"
base=$work/base
builder=$work/builder
machine=$work/machine
packages=$work/packages
story=$work/story
BOOT_SECONDS=1500 # emulated, and perhaps on a busy machine

in_builder() { chroot "$builder" env -C /root "$@" </dev/null; }

two_systems() {
    bare "$base" && umount -R "$base/dev" "$base/proc" && cp -a "$base" "$builder" && mv "$base" "$machine" &&
        furnish "$builder" && furnish "$machine" && clone_into "$builder/root"
}

# pack DIRECTORY REVISION: builds in a copy of the sources at this place, as docs/packages.md says.
pack() {
    local epoch
    epoch=$(git log -1 --format=%ct)
    in_builder env SOURCE_DATE_EPOCH="$epoch" sh -ec "
        cd $1
        cmake -S . -B build ${2:+-DDEBIAN_REVISION=$2}
        cmake --build build -j $(nproc) --target outbox-relay
        cd build && cpack -G DEB"
}

# The second is what is upgraded to: its sample differs.
build() {
    mkdir "$packages"
    quietly in_builder sh -c 'outbox-relay/tests/setup.sh packages build package' &&
        quietly pack outbox-relay "" &&
        in_builder sh -ec 'cp -r outbox-relay next; rm -r next/build; echo "# new in this version" >>next/conf/outbox-relay.conf' &&
        quietly pack next 2 &&
        cp "$builder"/root/outbox-relay/build/*.*deb "$builder"/root/next/build/*.deb "$packages" && ls -l "$packages"
}

# The same sources make the same package, wherever they lie.
reproducible() {
    in_builder sh -ec 'mkdir -p /srv/elsewhere; cp -r outbox-relay /srv/elsewhere; rm -r /srv/elsewhere/outbox-relay/build' &&
        quietly pack /srv/elsewhere/outbox-relay "" &&
        in_builder sh -c 'sha256sum outbox-relay/build/*.deb /srv/elsewhere/outbox-relay/build/*.deb' | tee "$log" &&
        [ "$(cut -d ' ' -f 1 "$log" | sort -u | wc -l)" = 1 ]
}

by_lintian() {
    in_builder sh -c 'lintian --fail-on error,warning --allow-root outbox-relay/build/outbox-relay_*.deb'
}

# What the machine needs is there before it starts: it has no network. Services start in it.
furnish_machine() {
    local file
    cp -r "$packages" tests/packages/story.sh "$machine/root/" &&
        quietly chroot "$machine" sh -ec '
            export DEBIAN_FRONTEND=noninteractive
            apt-get update
            apt-get install -y --no-install-recommends systemd-sysv linux-image-cloud-amd64 initramfs-tools \
                postgresql kcat jq
            apt-get install -y --no-install-recommends --download-only /root/packages/outbox-relay_*-1*.deb
            rm /usr/sbin/policy-rc.d' &&
        cp tests/packages/story.service "$machine/etc/systemd/system/" &&
        chroot "$machine" systemctl enable -q story.service &&
        umount -R "$machine/dev" "$machine/proc" &&
        cp "$machine"/boot/vmlinuz-* "$work/kernel" && cp "$machine"/boot/initrd.img-* "$work/initrd" &&
        mke2fs -q -t ext4 -d "$machine" "$work/disk" 4G && rm -r "$machine"
}

# What the story prints goes to the second serial line.
run_machine() {
    timeout "$BOOT_SECONDS" qemu-system-x86_64 -accel tcg -machine q35 -cpu max -smp 2 -m 1024 -nodefaults \
        -nic none -no-reboot -display none -serial "file:$work/console" -serial "file:$story" \
        -drive "file=$work/disk,if=virtio,format=raw,cache=unsafe" -kernel "$work/kernel" -initrd "$work/initrd" \
        -append "root=/dev/vda rw console=ttyS0 quiet"
    tr -d '\r' <"$story" | grep . || tail -n 40 "$work/console"
    grep -q '^the end' "$story"
}

# Its tests count as ours.
count_story() {
    passed=$((passed + $(grep -c '^ok ' "$story")))
    failed=$((failed + $(grep -c '^FAILED ' "$story")))
    mapfile -t -O ${#failures[@]} failures < <(sed -n 's/\r$//; s/^FAILED */in the machine: /p' "$story")
}

command -v qemu-system-x86_64 >/dev/null || {
    echo "$0 starts a virtual machine: install qemu-system-x86" >&2
    exit 2
}
check "two bare Debian $release" two_systems
[ "$failed" = 0 ] || finish
check "the package is built" build
[ "$failed" = 0 ] || finish
check "it is the same when it is built elsewhere" reproducible
check "lintian has no objection" by_lintian
check "a machine for it" furnish_machine
[ "$failed" = 0 ] || finish
check "the machine runs to its end" run_machine
count_story
[ -z "${KEEP-}" ] || { mkdir -p "$KEEP" && cp "$packages"/* "$story" "$work/console" "$KEEP"; }
finish

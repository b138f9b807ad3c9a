#!/bin/sh
# SPDX-License-Identifier: ISC
# Runs the relay of an unpacked image as a container's runtime does: root file system read-only, user
# 65532, no capabilities, mounts of its own; here with the network and /tmp of this machine, where the
# tests have their servers and files. So it can stand for the binary in tests/system:
#
#   IMAGE_ROOT=DIRECTORY OUTBOX_RELAY=tests/in_image.sh python3 -m pytest tests/system/test_first_event.py
#
# Needs root. exec all the way: a signal reaches the relay.
[ "${IMAGE_ROOT-}" ] || { echo "IMAGE_ROOT names the directory of an unpacked image" >&2; exit 2; }
if [ "${IN_NAMESPACE-}" = "" ]; then
    IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi
unset IN_NAMESPACE
mount --bind "$IMAGE_ROOT" "$IMAGE_ROOT" && mount -o remount,bind,ro "$IMAGE_ROOT" || exit 1
for directory in dev proc tmp; do
    mount --rbind "/$directory" "$IMAGE_ROOT/$directory" || exit 1
done
# It sees the machine's CAs only if a test names them: the image has its own.
unset SSL_CERT_DIR SSL_CERT_FILE
exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid \
    chroot --userspec=65532:65532 "$IMAGE_ROOT" /usr/bin/outbox-relay "$@"

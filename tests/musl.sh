#!/bin/bash
# SPDX-License-Identifier: ISC
# Compiles every file of the relay against musl, the C library of Alpine: what only glibc has is an
# error. The headers of the libraries are this system's; nothing is linked.
set -uo pipefail
cd "$(dirname "$0")/.."
headers=$(mktemp -d)
trap 'rm -rf "$headers"' EXIT
include=/usr/include
machine=$include/$(gcc -print-multiarch)

# Only these: /usr/include as a whole would bring glibc's for what musl does not have.
ln -s $include/{librdkafka,event2,libconfig.h,jansson.h,jansson_config.h,json-c,pcre2.h,uthash.h,linux,asm-generic} \
    $include/postgresql/* "$machine/asm" "$headers"
mkdir "$headers/openssl"
ln -s $include/openssl/* "$machine"/openssl/* "$headers/openssl"
ls relay/*/*.c | grep -v failpoints.c | xargs -P 2 -n 8 musl-gcc -fsyntax-only -std=gnu11 -D_GNU_SOURCE \
    '-DOUTBOX_RELAY_VERSION=""' -Wall -Wextra -Werror -I include -I relay -isystem "$headers"

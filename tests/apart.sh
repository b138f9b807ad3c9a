#!/bin/bash
# SPDX-License-Identifier: ISC
# Runs a command in a session of its own, which it ends when it is told to stop.
#
#   tests/apart.sh COMMAND [ARGUMENT...]
#
# Linux shares out processors by session (sched_autogroup). Each server of the tests has a session of its own, and all
# that ./test.sh runs is another one: on a busy machine the proxies of the faults, through which relays and servers talk,
# waited for seconds behind compilers and linters. As root its share is raised, too. In a container that has a share of
# its own Linux does not go by sessions, and this changes nothing.
set -u

setsid bash -c '{ echo -10 >"/proc/$$/autogroup"; } 2>/dev/null; exec "$@"' apart "$@" &
session=$!
trap 'kill -TERM -- "-$session" || kill -TERM "$session"' HUP INT TERM # it may not have a session yet
wait "$session"
status=$?
trap - HUP INT TERM
[ "$status" -lt 128 ] || wait "$session" # a signal ends the first wait early
exit "$status"

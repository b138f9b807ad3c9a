# SPDX-License-Identifier: ISC
"""Faults of the relays' own processes."""
import glob
import os
import resource
from contextlib import contextmanager

from faults.catalog import RELAY, fault
from faults.history import REPLAY, SCATTER
from faults.patience import until

AWHILE = 1.5          # s, less than a session may be silent
TOO_LONG = 6          # s, more than that


@fault("F01", "kill -9 of a relay", RELAY, [REPLAY], times=3)
def kill(stage, rng):
    watched = stage.fleet.any(rng).watched
    watched.kill()
    stage.wait(rng.choice((0, 0.1, 1, 3)))
    watched.start(wait=False)


@fault("F01", "kill -9 of all relays at once", RELAY, [REPLAY], times=2)
def kill_all(stage, rng):
    for member in stage.fleet.alive():
        member.watched.kill()
    stage.wait(rng.uniform(0, 1))
    for member in stage.fleet:
        member.watched.start(wait=False)


@fault("F02", "SIGTERM under load", RELAY, times=3)
def terminate(stage, rng):
    """Of one that owns shards, or of one that stands by; it settles what it has and nothing is repeated."""
    watched = stage.fleet.one(rng).watched
    status = watched.stop()
    assert status == 0, f"{watched.name} ended with status {status}"
    stage.wait(rng.choice((0, 0.5)))
    watched.start(wait=False)


@contextmanager
def held(proxies, **options):
    """What comes to these proxies does not pass until the end."""
    rules = [proxy.hold(direction="both", **options) for proxy in proxies]
    try:
        yield
    finally:
        for rule in rules:
            rule.release()


def _stop_without_peer(stage, rng, member):
    """A stop whose work cannot be done: it ends in its own time, or is told again and ends at once."""
    stage.wait(rng.uniform(0, 1))
    member.relay.terminate()
    if rng.random() < 0.5:
        stage.wait(0.2)
        if member.process.alive:
            member.relay.terminate()
    member.relay.wait_exit(25)
    member.watched.ended("stopped")


@fault("F02", "SIGTERM while Kafka does not answer", RELAY, [REPLAY])
def terminate_without_kafka(stage, rng):
    member = stage.fleet.any(rng)
    with held(stage.kafka.proxies.values(), where={"client_id": member.name}):
        _stop_without_peer(stage, rng, member)
    member.watched.start(wait=False)


@fault("F02", "SIGTERM while Postgres does not answer", RELAY, [REPLAY])
def terminate_without_postgres(stage, rng):
    member = stage.fleet.any(rng)
    with held(member.proxies.values()):
        _stop_without_peer(stage, rng, member)
    member.watched.start(wait=False)


@fault("F03", "SIGSTOP for less than the session timeout", RELAY, [], times=3)
def pause_shortly(stage, rng):
    with stage.fleet.any(rng).paused():
        stage.wait(rng.uniform(0.05, AWHILE))


@fault("F03", "SIGSTOP for longer than the session timeout", RELAY, [SCATTER])
def pause_long(stage, rng):
    with stage.fleet.any(rng).paused():
        stage.wait(TOO_LONG)


@fault("F04", "SIGSTOP between acknowledgement and COMMIT", RELAY, [SCATTER])
def pause_before_commit(stage, rng):
    member = stage.fleet.any(rng)
    with member.proxy.hold(at="commit", nth=rng.randint(1, 5)) as rule:
        rule.wait()
        with member.paused():
            stage.wait(TOO_LONG)


@fault("F05", "all relays started at once, on a backlog", RELAY, [REPLAY], times=2)
def start_together(stage, rng):
    for member in stage.fleet.alive():
        member.watched.kill()
    stage.load.wait_events(rng.randint(50, 500), 30)
    for member in stage.fleet:
        member.watched.start(wait=False)


@fault("F06", "rolling restart of the relays", RELAY, times=2)
def rolling_restart(stage, rng):
    for member in stage.fleet:
        assert member.watched.stop() == 0, f"{member.name} did not settle"
        member.watched.start(wait=False)
        until(member.pids, 20, f"{member.name} to have a session", every=0.02)
        stage.wait(rng.uniform(0, 0.5))


@fault("F07", "a relay's memory is out", RELAY, [REPLAY], times=2)
def out_of_memory(stage, rng):
    """It can map nothing more: it aborts when it needs more, or is killed after a while."""
    member = stage.fleet.any(rng)
    member.starved = True
    pid = member.process.pid
    with open(f"/proc/{pid}/statm") as statm:
        pages = int(statm.read().split()[0])
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(),) * 2)
    stage.wait(2)
    member.relay.kill()
    member.watched.ended("killed")
    member.watched.start(wait=False)


@fault("F08", "no file descriptor is left, and all connections break", RELAY, [SCATTER])
def out_of_descriptors(stage, rng):
    """Another relay takes over meanwhile, and what this one's producer still held comes late, as repeats."""
    member = stage.fleet.any(rng)
    pid = member.process.pid
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
    try:
        for proxy in (*member.proxies.values(), *stage.kafka.proxies.values()):
            proxy.cut(where=None if proxy in member.proxies.values() else {"client_id": member.name})
        stage.wait(rng.uniform(1, 3))
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)


def _with_log(stage, member, redirection):
    """Stops it, lets it run for a while with its log elsewhere, and then as usual."""
    usual = member.process.argv
    assert member.watched.stop() == 0
    member.process.argv = ["bash", "-c", f'exec "$@" {redirection}', "relay", *usual]
    try:
        member.watched.start(wait=False)
        until(member.pids, 20, f"{member.name} to have a session", every=0.02)
        stage.wait(2)
        assert member.watched.stop() == 0, f"{member.name} did not live through a log that takes nothing"
    finally:
        member.process.argv = usual
    member.watched.start(wait=False)


@fault("F08", "the log's disk is full", RELAY)
def log_full(stage, rng):
    _with_log(stage, stage.fleet.any(rng), "2>/dev/full")


@fault("F08", "the log's reader is gone", RELAY)
def log_closed(stage, rng):
    _with_log(stage, stage.fleet.any(rng), "2> >(exec head -c 200)")


FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"


@fault("F09", "the clock jumps by an hour, both ways", RELAY)
def clock_jumps(stage, rng):
    """The wall clock only, as the machine's does; no repeat may come of it."""
    member = stage.fleet.any(rng)
    clock = os.path.join(stage.directory, "clock")
    preload = {"LD_PRELOAD": glob.glob(FAKETIME)[0], "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_NO_CACHE": "1",
               "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    assert member.watched.stop() == 0
    _write(clock, "+0")
    member.process.env.update(preload)
    try:
        member.watched.start(wait=False)
        until(member.pids, 20, f"{member.name} to have a session", every=0.02)
        for offset in rng.sample(("+1h", "-1h", "+0", "+1h"), 4):
            _write(clock, offset)
            stage.wait(rng.uniform(0.3, 1.5))
        assert member.watched.stop() == 0, f"{member.name} did not live through jumps of the clock"
    finally:
        for name in preload:
            member.process.env.pop(name, None)
    member.watched.start(wait=False)


def _write(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)


@fault("F10", "settings changed and reloaded", RELAY, times=5)
def reload(stage, rng):
    member = stage.fleet.one(rng)
    after = len(member.relay.log())
    rows = rng.choice((1, 7, 100, 2500))
    member.relay.write_config(outbox={"claim_rows": rows, "batch_rows": rng.choice((rows, 10_000))},
                              log={"level": rng.choice(("info", "debug"))})
    os.kill(member.process.pid, 1)
    member.relay.wait_log("reload: done", after=after)


@fault("F10", "another number of shards, relay by relay", RELAY, times=2)
def reshard(stage, rng):
    """Relays of the new layout wait until the last of the old one has gone. Nothing is repeated."""
    shards = rng.choice((1, 3, 8, 16))
    for member in stage.fleet:
        assert member.watched.stop() == 0, f"{member.name} did not settle"
        member.relay.write_config(outbox={"shards": shards})
        member.watched.start(wait=False)
        stage.wait(rng.uniform(0, 1))
    until(stage.fleet.owners, 20, f"a relay to own one of {shards} shards", every=0.05)

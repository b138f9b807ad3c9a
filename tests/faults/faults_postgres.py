# SPDX-License-Identifier: ISC
"""Faults of Postgres and of the way to it."""
import os
import signal
from contextlib import contextmanager

from harness.postgres import PASSWORD_ROLE

from faults.catalog import POSTGRES, fault
from faults.history import LOSS, REPLAY, SCATTER
from faults.patience import until

SILENCE = 6  # s, more than a session may be silent


@fault("F11", "Postgres stopped at once and started", POSTGRES, [REPLAY], times=2)
def immediate_stop(stage, rng):
    stage.postgres.primary.stop("immediate")
    stage.wait(rng.choice((0, 0, 1)))
    stage.postgres.primary.start()


@fault("F11", "kill -9 of all of Postgres, and started", POSTGRES, [REPLAY], times=2)
def crash(stage, rng):
    stage.postgres.primary.crash(backends=rng.random() < 0.7)
    stage.postgres.primary.start()


@fault("F11", "kill -9 of all of Postgres, whose writers do not wait for the flush", POSTGRES, [REPLAY, LOSS], times=2,
       mix={"flushes": False}, survives=("flush", "standby"))
def crash_unflushed(stage, rng):
    """The last commits are lost though they were answered. The one relay that works is about to commit, and has flushed
    nothing of what it has published; the server does not either."""
    member = stage.fleet.any(rng)
    others = [each for each in stage.fleet.alive() if each is not member]
    for each in others:
        assert each.watched.stop() == 0, f"{each.name} did not settle"
    stage.postgres.primary.hold_wal()
    with member.proxy.hold(at="commit", nth=2) as rule:
        rule.wait(60)
        stage.postgres.primary.crash()
    stage.postgres.primary.start()
    for each in others:
        each.watched.start(wait=False)


@fault("F12", "a relay's session is terminated", POSTGRES, [REPLAY], times=4)
def terminate_session(stage, rng):
    """pg_terminate_backend; the relay comes back, or another takes over."""
    stage.execute("SELECT pg_terminate_backend(pid)" + stage.fleet.any(rng).sessions())


@fault("F12", "kill -9 of a relay's backend", POSTGRES, [REPLAY], times=2)
def kill_backend(stage, rng):
    """All sessions go with it: Postgres starts over."""
    for pid in stage.fleet.any(rng).pids():
        os.kill(pid, signal.SIGKILL)
    stage.wait(0.1)
    stage.wait_primary()


@fault("F13", "a relay's statement is cancelled", POSTGRES, [REPLAY], times=10)
def cancel(stage, rng):
    stage.execute("SELECT pg_cancel_backend(pid)" + stage.fleet.any(rng).sessions())


@fault("F14", "connection cut after COMMIT, before its answer", POSTGRES, [REPLAY], times=3)
def cut_after_commit(stage, rng):
    member = stage.fleet.any(rng)
    member.proxy.cut(at="commit", when="after", nth=rng.randint(1, 5), how=rng.choice(("rst", "fin"))).wait()


@fault("F15", "connection cut before COMMIT", POSTGRES, [REPLAY], times=3)
def cut_before_commit(stage, rng):
    member = stage.fleet.any(rng)
    member.proxy.cut(at="commit", when="before", nth=rng.randint(1, 5), how=rng.choice(("rst", "fin"))).wait()


@fault("F16", "nothing passes between a relay and Postgres", POSTGRES, [SCATTER])
def blackhole(stage, rng):
    """The connections stay, and the kernels answer each other."""
    member = stage.fleet.any(rng)
    with member.rules(lambda proxy: proxy.hold(direction="both")):
        stage.wait(rng.uniform(1, SILENCE))


@fault("F16", "what a relay and Postgres say is lost for good", POSTGRES, [SCATTER])
def partition(stage, rng):
    """What was sent meanwhile never arrives, so these connections are of no use any more."""
    member = stage.fleet.any(rng)
    with member.rules(lambda proxy: proxy.drop(direction="both")):
        stage.wait(rng.uniform(1, SILENCE))


@fault("F17", "all of Postgres stands still", POSTGRES, [SCATTER])
def freeze(stage, rng):
    stage.postgres.primary.pause()
    try:
        stage.wait(rng.uniform(1, SILENCE))
    finally:
        stage.postgres.primary.resume()


@contextmanager
def gone(stage, node):
    """Its host refuses connections, so that libpq tries the next one. A proxy alone would accept and then close, and
    libpq stays with a host that it has reached."""
    refusals = [member.proxies[node.name].refuse() for member in stage.fleet]
    try:
        yield
    finally:
        for refusal in refusals:
            refusal.release()


def fail_over(stage):
    """The primary dies, and comes back as the standby of what was its own."""
    with gone(stage, stage.postgres.primary):
        stage.postgres.failover()
        stage.postgres.rebuild()


@fault("F18", "failover that loses the last deletes", POSTGRES, [SCATTER, LOSS], survives=("standby",))
def failover_without_deletes(stage, rng):
    """Writers wait while a backlog is published and settled, of which the standby learns nothing. Relays that wait for
    the standby publish nothing of it."""
    pair = stage.postgres
    for member in stage.fleet.alive():
        member.process.pause()
    stage.wait(rng.uniform(0.2, 1))
    with pair.locked(stage.name, "app_counters"):
        pair.wait_replayed()
        behind = pair.fall_behind()
        stage.fleet.resume()
        if stage.about.survives:
            stage.wait(rng.uniform(1, 5))
        else:
            stage.wait_drained()
        fail_over(stage)
    behind.release()


@fault("F19", "failover that loses the last inserts", POSTGRES, [SCATTER, LOSS], survives=("standby",))
def failover_without_inserts(stage, rng):
    """Some of what was lost has been published: phantoms, whose ids other events get."""
    behind = stage.postgres.fall_behind()
    stage.wait(rng.uniform(0.1, 1.5))
    fail_over(stage)
    behind.release()


@fault("F20", "failover while the old primary lives on", POSTGRES, [SCATTER, LOSS], survives=("standby",))
def split_brain(stage, rng):
    stage.postgres.failover(crash=False)
    stage.load.cut()
    stage.wait(rng.uniform(0.5, 3))
    stage.postgres.rebuild()


def _log_in_with(stage, password):
    """The relays' password from now on; their sessions end, and those to come need it."""
    stage.execute(f"ALTER ROLE {PASSWORD_ROLE} PASSWORD '{password}'")
    for member in stage.fleet.alive():
        stage.execute("SELECT pg_terminate_backend(pid)" + member.sessions())


@fault("F45", "the password is changed", POSTGRES, [REPLAY], times=2)
def rotate_password(stage, rng):
    """In the database first, and after a while in the secret's file, which is read at a reload."""
    stage.execute(f"DO $$ BEGIN CREATE ROLE {PASSWORD_ROLE} LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    stage.execute(f"GRANT outbox_relay TO {PASSWORD_ROLE}")
    secret = os.path.join(stage.directory, "secret")
    for password in (f"first-{rng.getrandbits(32)}", f"second-{rng.getrandbits(32)}"):
        _log_in_with(stage, password)
        stage.wait(rng.uniform(0, 1))
        with open(secret, "w") as file:
            file.write(password)
        for member in stage.fleet.alive():
            member.relay.write_config(
                database={"dsn": member.dsn(PASSWORD_ROLE, f"password='${{file:{secret}}}'")})
            member.process.send(signal.SIGHUP)
        until(stage.fleet.owners, 20, "a relay with the new password", every=0.05)

# SPDX-License-Identifier: ISC
"""pause and resume, and what they wait for."""
import json
import re
import subprocess

import pytest

from harness.relay import run_relay
from harness.waiting import holds

PAUSED = "SELECT paused FROM outbox_relay.outboxes"


@pytest.fixture
def start(new_relay):
    """start("pause", ...): the command, still running."""
    started = []

    def run(*argv):
        relay = new_relay()
        started.append(subprocess.Popen([relay.process.argv[0], argv[0], "-c", relay.config, *argv[1:]],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]
    yield run
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()


def test_pause_and_resume_set_the_flag(database, new_relay):
    """As the relay's own role, as often as one likes; words to stderr, nothing to stdout."""
    relay = new_relay()
    for command, paused in (("pause", True), ("resume", False)):
        for words in (f"outbox_events is {command}d", f"outbox_events was already {command}d"):
            done = relay.command(command)
            assert (done.returncode, done.stdout) == (0, "") and words in done.stderr
            assert database.value(PAUSED) is paused
            assert relay.status()["paused"] is paused
            assert (", paused" in relay.command("status").stdout) is paused


def test_as_json(database, new_relay, play):
    relay = new_relay()
    assert json.loads(relay.command("pause", "--json").stdout) == {
        "outbox": "outbox_events", "paused": True, "changed": True, "owners": []}
    assert json.loads(relay.command("resume", "--json").stdout) == {
        "outbox": "outbox_events", "paused": False, "changed": True}
    player = play(4, 1, 3)
    done = relay.command("pause", "--json", "--timeout", "0")
    owner, = json.loads(done.stdout)["owners"]
    assert done.returncode == 1 and (owner["pid"], owner["shards"]) == (player.pid, [1, 3])


def test_relays_are_told(database, new_relay, play):
    """Also when nothing changes: one may have missed it."""
    relay, player = new_relay(), play(1)
    for command in ("pause", "pause", "resume", "resume"):
        assert not player.told()
        assert relay.command(command).returncode == 0
        assert player.told()


def test_whoever_is_told_sees_the_flag(database, start, play):
    """Not told before it is committed: while somebody else holds the row, nothing is heard."""
    player = play(1)
    with database.session(autocommit=False) as other:
        other.execute("UPDATE outbox_relay.outboxes SET bell = bell")
        child = start("pause")
        database.wait("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        assert not player.told()
        other.connection.commit()
    assert child.wait(30) == 0
    assert player.told() and database.value(PAUSED)


def test_a_lock_is_not_waited_for_for_ever(database, start):
    with database.session(autocommit=False) as other:
        other.execute("UPDATE outbox_relay.outboxes SET bell = bell")
        child = start("pause")
        said = child.communicate(timeout=30)[1]
    assert child.returncode == 1 and "SQLSTATE 55P03" in said and "nothing has changed; try again" in said


@pytest.mark.parametrize("layout, shards", [(1, [0]), (8, [0, 5]), (1024, [1023]), (0, [0])])
def test_pause_waits_for_the_owners(database, start, play, layout, shards):
    """Until the last shard is handed over; members that own none may stay."""
    owner, _standby = play(layout, *shards), play(layout)
    child = start("pause", "--timeout", "60s")
    database.wait(PAUSED)
    for shard in shards:
        holds(lambda: child.poll() is None, 0.3, "waiting for the owner")
        owner.lock("unlock" if layout else "unlock_shared", shard)
    said = child.communicate(timeout=30)[1]
    assert child.returncode == 0 and "outbox_events is paused" in said


def test_pause_does_not_wait_for_others(database, migrate, new_relay, play):
    """Locks of other outboxes and other locks of this one are none of ours; nor is a relay that dies."""
    migrate("--table", "other")
    play(4, 0, 1, table="other")
    bystander = play(4)
    bystander.cursor.execute("SELECT pg_advisory_lock(%s, 1), pg_advisory_lock(%s::bigint)",
                             (bystander.outbox, bystander.outbox))
    play(4, 2).connection.close()
    assert new_relay().command("pause").returncode == 0
    assert database.rows("SELECT outbox::text FROM outbox_relay.outboxes WHERE paused") == [("outbox_events",)]


def test_pause_gives_up(database, new_relay, play):
    """And says who is in the way; what it has set stays."""
    first, second = play(4, 0, 2), play(4, 1, name="outbox-relay here:2")
    done = new_relay().command("pause", "--timeout", "100ms")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"session {first.pid} (outbox-relay there:1) still owns 2 of its shards" in done.stderr
    assert f"session {second.pid} (outbox-relay here:2) still owns 1 of its shards" in done.stderr
    assert "as soon as its batch is settled" in done.stderr and database.value(PAUSED)


def test_pause_need_not_wait(database, new_relay, play):
    play(4, 0)
    assert new_relay().command("pause", "--no-wait").returncode == 0
    assert database.value(PAUSED)


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_refusals(empty_database, migrate, new_relay, command):
    """No schema, an older one, no right, no such table: status 1, and what to do."""
    relay = new_relay()
    empty_database.execute("DO $$ BEGIN CREATE ROLE outbox_relay LOGIN;"
                           " EXCEPTION WHEN duplicate_object THEN NULL; END $$")

    def refused(words, on=relay):
        done = on.command(command)
        assert (done.returncode, done.stdout) == (1, "") and re.search(words, done.stderr), done.stderr
        assert "run `outbox-relay migrate`" in done.stderr
    refused("SQLSTATE 42P01|SQLSTATE 3F000|SQLSTATE 42501")
    migrate()
    refused("table other is not known", new_relay(outbox={"table": "other"}))
    empty_database.execute("REVOKE UPDATE ON outbox_relay.outboxes FROM outbox_relay")
    refused("SQLSTATE 42501")
    empty_database.execute("ALTER TABLE outbox_relay.outboxes DROP COLUMN paused CASCADE")
    refused("SQLSTATE 42703")
    assert relay.status()["paused"] is False


@pytest.mark.parametrize("argv", [["--timeout", "soon"], ["--timeout", "-1s"], ["--timeout"], ["--wait"]])
def test_wrong_usage(argv):
    done = run_relay("pause", *argv)
    assert done.returncode == 2 and done.stderr and done.stdout == ""


def test_a_pause_survives_a_migration(database, migrate, new_relay):
    new_relay().command("pause")
    migrate()
    assert database.value(PAUSED)

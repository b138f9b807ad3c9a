# SPDX-License-Identifier: ISC
"""replay and shadow where one of two topics is missing: what can go out does, then they wait, and look seldom."""
import signal
import time

import pytest

from harness.consumer import Reader
from harness.process import Process
from harness.relay import BINARY
from harness.waiting import until
from test_replay import MARK, finish, first_of_each, position, replay

pytestmark = pytest.mark.xdist_group("strict")

PRESENT, ABSENT = range(1, 101, 2), range(2, 101, 2)
PAGE, POSITION = "%outbox_relay_whole%", "UPDATE outbox_relay.replays SET position%"
CALLS = ("SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements WHERE query LIKE ANY (%s) AND"
         " dbid = (SELECT oid FROM pg_database WHERE datname = current_database())")


@pytest.fixture
def lacking(empty_database, migrate, new_relay, strict):
    """The configuration of a relay that has published events to two topics in turn; the second one is missing."""
    migrate(outbox=MARK)
    for topic in ("present", "shadow.present"):
        strict.create_topic(topic)
    empty_database.execute(
        "CREATE EXTENSION IF NOT EXISTS pg_stat_statements;"
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, published_at)"
        " SELECT (ARRAY['absent', 'present'])[1 + n % 2], 'k' || n % 10, n::text, '{}', clock_timestamp()"
        " FROM generate_series(1, 100) n")
    return new_relay(outbox=MARK, kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"})


@pytest.fixture
def begin(lacking, directory):
    """begin("replay", ...): the command at work, with these options."""
    made = []

    def start(command, *argv):
        made.append(Process(command, [BINARY, command, "-c", lacking.config, "--json", *argv],
                            f"{directory}/{command}.log", env=lacking.env).start())
        return made[-1]
    yield start
    for process in made:
        process.end()


@pytest.fixture
def reader(strict):
    made = []

    def make(topic):
        made.append(Reader(strict.bootstrap, topic))
        return made[-1]
    yield make
    for consumer in made:
        consumer.close()


def in_order(records, wanted):
    """Exactly these, each key in order."""
    numbers = [int(record.header("type")) for record in records]
    assert sorted(numbers) == list(wanted)
    for digit in range(10):
        of_key = [n for n in numbers if n % 10 == digit]
        assert of_key == sorted(of_key)


def tries_seldom(database, *statements):
    """It does try again, by these statements; three turns take two pauses at least."""
    def calls():
        return database.value(CALLS, list(statements))
    before, begun = calls(), time.monotonic()
    until(lambda: calls() >= before + 3 * len(statements), 40, "it to try again", every=0.1)
    assert time.monotonic() - begun > 4
    assert calls() <= before + 6 * len(statements)


def test_a_replay_waits(empty_database, strict, begin, reader):
    """It neither reads nor writes all the time. With the topic all arrives once, in order."""
    process, present = begin("replay", "--all", "--rate", "0"), reader("present")
    in_order(present.take(50), PRESENT)
    tries_seldom(empty_database, PAGE, POSITION)
    assert process.alive and position(empty_database) == 1
    strict.create_topic("absent")
    in_order(reader("absent").take(50), ABSENT)
    done = finish(process, 0)
    assert (done["published"], done["position"], done["finished"]) == (100, 100, True)
    assert present.rest() == []


def test_a_replay_that_waits_is_stopped(lacking, empty_database, strict, begin, reader):
    """It does not stay for the next try, and is resumed."""
    process, present = begin("replay", "--all", "--rate", "0"), reader("present")
    found = present.take(50)
    before = empty_database.value(CALLS, [POSITION])
    until(lambda: empty_database.value(CALLS, [POSITION]) > before, 20, "a pause to begin")
    reads = empty_database.value(CALLS, [PAGE])
    process.send(signal.SIGTERM)
    stopped = finish(process, 1)
    assert empty_database.value(CALLS, [PAGE]) == reads
    assert (stopped["published"], stopped["position"], stopped["finished"]) == (50, 1, False)
    strict.create_topic("absent")
    assert replay(lacking, "--resume", "1", "--rate", "0")["finished"]
    in_order(reader("absent").take(50), ABSENT)
    in_order(first_of_each(found + present.rest()), PRESENT)


def test_a_shadow_waits(empty_database, strict, begin, reader):
    process, present = begin("shadow", "--prefix", "shadow.", "--from", "start"), reader("shadow.present")
    in_order(present.take(50), PRESENT)
    tries_seldom(empty_database, PAGE)
    strict.create_topic("shadow.absent")
    in_order(reader("shadow.absent").take(50), ABSENT)
    process.send(signal.SIGTERM)
    done = finish(process, 0)
    assert (done["published"], done["rejected"], done["position"]) == (100, 0, 100)
    assert present.rest() == []

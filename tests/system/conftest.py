# SPDX-License-Identifier: ISC
"""What the tests stand on: one Postgres and one Kafka for all, and for each a database, topics, relays."""
import itertools
import os
import shutil
import signal
import tempfile
import threading

import pytest

from harness import librdkafka as librdkafka_versions
from harness import process, waiting
from harness.checker import problems
from harness.consumer import Reader
from harness.player import Player
from harness.kafka import Kafka
from harness.logins import LoginKafka
from harness.postgres import Database, Postgres
from harness.relay import BINARY, Relay, merge
from harness.writers import arrivals

_count = itertools.count(1)
waiting.patience = 6  # for a machine that is slow, and has more to do than these tests


def pytest_configure(config):
    config.addinivalue_line("markers", "xdist_group: tests that share what is costly to make")
    if not os.access(BINARY, os.X_OK):
        pytest.exit(f"no {BINARY}: build it, or name another with OUTBOX_RELAY", returncode=1)
    # So that fixtures are taken down when test.sh is told to stop. A worker of pytest-xdist may run in another thread than
    # the first, which alone may do this: it ends with the process that has started it.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: pytest.exit("told to stop", returncode=1))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of every log."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for started in process.everyone:
            lines = started.log().splitlines()[-60:]
            report.sections.append((f"log of {started.name}", "\n".join(lines)))


def pytest_terminal_summary(terminalreporter):
    """What the ways to log in came to, and what check says of a wrong set-up."""
    def recorded(wanted):
        return sorted({tuple(value) for reports in terminalreporter.stats.values() for report in reports
                       for name, value in getattr(report, "user_properties", []) if name == wanted})
    for title, wanted in (("logging in to Kafka 4, by librdkafka", "login"),
                          ("what check says of a wrong set-up for Kafka", "wrong set-up")):
        rows = recorded(wanted)
        if rows:
            terminalreporter.section(title)
        for first, second, rest in rows:
            terminalreporter.write_line(f"{first:34} {second:8} {rest}")


@pytest.fixture(scope="session")
def world():
    """A directory for the servers, open to the user they run as."""
    directory = tempfile.mkdtemp(prefix="outbox-relay-test-")
    os.chmod(directory, 0o755)
    yield directory
    for started in process.everyone:
        started.kill()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_postgres(world):
    return Postgres(os.path.join(world, "postgres")).create()


@pytest.fixture(scope="session")
def migrated(shared_postgres, world):
    """The name of a database with the outbox table, to be copied: that costs a fifth of a migration."""
    template = Database(shared_postgres.start(), "migrated").create()
    relay = Relay(world, {"database": {"dsn": template.dsn("outbox_relay")}, "route": {"topic": "none"},
                          "kafka": {"bootstrap_servers": "127.0.0.1:1"}}, "migrated")
    done = relay.command("migrate", "--dsn", template.dsn())
    assert done.returncode == 0, done.stderr
    return template.name


@pytest.fixture(scope="session")
def shared_kafka(world):
    return Kafka(os.path.join(world, "kafka")).create()


@pytest.fixture(scope="session")
def login_kafka(world):
    """For tests of the xdist_groups "logins" and "kafka_secrets", which need one each."""
    broker = LoginKafka(os.path.join(world, "login-kafka")).create().start()
    yield broker
    broker.remove()


@pytest.fixture(scope="session")
def strict_broker(world):
    """One that makes no topics by itself, for tests of the xdist_group "strict"."""
    broker = Kafka(os.path.join(world, "strict"), auto_create_topics_enable="false").create().start()
    yield broker
    broker.remove()


@pytest.fixture
def strict(strict_broker):
    """Without any topic."""
    yield strict_broker
    for topic in strict_broker.topics():
        strict_broker.delete_topic(topic)


@pytest.fixture
def postgres(shared_postgres):
    """The shared server, running whatever the test before did to it."""
    return shared_postgres.start()


@pytest.fixture
def kafka(shared_kafka):
    """The shared broker, likewise."""
    if shared_kafka.process.alive:
        shared_kafka.resume()
    yield shared_kafka.start()
    if shared_kafka.process.alive:
        shared_kafka.resume()


@pytest.fixture
def ledger(kafka, prefix):
    """The options of kafka for relays that deliver exactly once; their ledger is there."""
    name = prefix + "ledger"
    kafka.create_topic(name, 64, cleanup_policy="compact")
    return {"delivery": "exactly-once", "ledger_topic": name}


@pytest.fixture
def number():
    """Another one for every test, to name what must not be shared."""
    return next(_count)


@pytest.fixture
def directory(world, number):
    """For the files of one test, open to the user servers run as."""
    path = os.path.join(world, f"test{number}")
    os.mkdir(path)
    os.chmod(path, 0o755)
    return path


@pytest.fixture
def empty_database(request, postgres, number):
    """A database of this test's own, without any table unless the test asks for `database` too."""
    template = request.getfixturevalue("migrated") if "database" in request.fixturenames else "template1"
    database = Database(postgres, f"test{number}").create(template)
    yield database
    database.server.start()
    database.drop()


@pytest.fixture
def prefix(number):
    """The topics of this test begin so."""
    return f"test{number}."


@pytest.fixture
def settings(empty_database, kafka, prefix):
    """A configuration that works, for a test to build upon."""
    return {
        "database": {"dsn": empty_database.dsn("outbox_relay")},
        "kafka": {"bootstrap_servers": kafka.bootstrap},
        "route": {"topic": prefix + "${aggregate_type}"},
        "http": {"listen": "127.0.0.1:0"},
    }


@pytest.fixture
def migrate(settings, empty_database, directory):
    """migrate(*options, **changes): runs the migrations as the owner."""
    def run(*options, **changes):
        relay = Relay(directory, merge(settings, changes), "migrate")
        done = relay.command("migrate", "--dsn", empty_database.dsn(), *options)
        assert done.returncode == 0, done.stderr
        return done
    return run


@pytest.fixture
def database(empty_database, settings):
    """A database with the outbox table."""
    return empty_database


@pytest.fixture
def librdkafka(request):
    """Which one relays use: a name of harness/librdkafka.py, by indirect parametrization."""
    return getattr(request, "param", librdkafka_versions.DEFAULT)


@pytest.fixture
def new_relay(settings, directory, librdkafka):
    """new_relay(**changes): a relay on this test's configuration with these changes; not yet started. using: another
    librdkafka than the test's."""
    made = []

    def make(using=None, **changes):
        made.append(Relay(directory, merge(settings, changes), f"relay{len(made) + 1}",
                          librdkafka_versions.environment(using or librdkafka)))
        return made[-1]
    yield make
    stopped = [relay.process.end(timeout=20) for relay in made]
    for relay in made:
        relay.process.forget()
    said = [relay.log()[-20000:] for relay, done in zip(made, stopped) if not done]
    assert not said, "a relay did not stop when it was told to:\n" + "\n".join(said)
    for relay in made:
        found = relay.broken()
        assert not found, f"{relay.name} said:\n{found}"


@pytest.fixture
def play(database):
    """play(layout, *shards): a relay with so many shards that owns these."""
    players = []

    def begin(*args, **options):
        players.append(Player(database, *args, **options))
        return players[-1]
    yield begin
    for player in players:
        player.connection.close()


@pytest.fixture
def relay(database, new_relay):
    """A relay with the plain configuration on a migrated database, running."""
    return new_relay().start()


@pytest.fixture
def start_relays(new_relay, topic):
    """start_relays(3, shards=8): so many relays with these settings of outbox, started; which of them has what,
    comes out later."""
    topic()

    def start(count, **outbox):
        relays = [new_relay(outbox=outbox) for _ in range(count)]
        for relay in relays:
            relay.start(wait=False)
        return relays
    return start


@pytest.fixture
def fleet(database, start_relays):
    """start_relays on a database with the outbox table."""
    return start_relays


@pytest.fixture
def reader(kafka, prefix):
    """reader("thing", ...): a consumer of this test's topics for these aggregate types."""
    made = []

    def make(*types, bootstrap=None):
        topics = [prefix + name for name in types or ("thing",)]
        made.append(Reader(bootstrap or kafka.bootstrap, *topics))
        return made[-1]
    yield make
    for consumer in made:
        consumer.close()


@pytest.fixture
def in_order(empty_database, reader):
    """in_order(writers, kills=0): everything committed has arrived, each key in order, and repeats are at most
    one contiguous replay per kill. The records."""
    def check(writers, kills=0):
        empty_database.wait_empty(timeout=60)
        records = reader().rest()
        assert problems(writers.truth(), arrivals(records), kills=kills) == []
        return records
    return check


@pytest.fixture
def topic(kafka, prefix):
    """topic("thing", partitions=4, **config): creates one of this test's topics; its name."""
    def create(name="thing", partitions=4, **config):
        kafka.create_topic(prefix + name, partitions, **config)
        return prefix + name
    return create

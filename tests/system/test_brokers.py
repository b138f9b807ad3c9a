# SPDX-License-Identifier: ISC
"""Brokers that answer otherwise than Apache Kafka: events arrive, or it is said what is missing, and no event is
lost or rejected for it."""
import os
import re

import pytest

from harness.strangers import CLOSE, ERROR, Stranger
from harness.waiting import holds, until

COUNT = 300
# Whatever would be rejected is seen in the dead letters.
DEAD_LETTER = {"on_reject": "dead-letter", "stall_timeout": "3s"}


@pytest.fixture
def stranger(kafka):
    """stranger(**profile): such a broker before the real one."""
    made = []

    def make(**profile):
        made.append(Stranger(("127.0.0.1", kafka.port), **profile))
        return made[-1]
    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def through(new_relay):
    """through(broker): a relay that knows no other."""
    return lambda broker, *properties: new_relay(
        kafka={"bootstrap_servers": broker.bootstrap, **({"properties": properties} if properties else {})},
        outbox=DEAD_LETTER)


@pytest.fixture
def waiting(database):
    """Events of many keys, whose batches are worth compressing."""
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT 'thing', i::text, 'made', jsonb_build_object('n', i, 'text', repeat('same ', 100))"
                     f" FROM generate_series(1, {COUNT}) AS i")


def none_rejected(database):
    return database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0


def all_arrive(database, reader, timeout=30):
    assert len({record.event_id for record in reader().take(COUNT, timeout=timeout)}) == COUNT
    database.wait_empty()
    assert none_rejected(database)


def well_again(relay):
    until(lambda: relay.get("/readyz") == (200, "ready\n"), 10, "readyz to be well")


def test_an_error_that_nobody_knows(database, stranger, through, topic, waiting, reader):
    """Every event waits, the code is counted and told, and all goes on when it is over."""
    topic()
    ERROR.setdefault("NEW_AND_UNHEARD_OF", 4711)
    broker = stranger(refuses={"Produce": "NEW_AND_UNHEARD_OF"})
    relay = through(broker).start(wait=False)
    relay.wait_log(r"ERR_4711\?.*does not know the error: no event is rejected for it; please report it")
    until(lambda: "report it" in relay.get("/readyz")[1], 20, "readyz to say it")
    assert relay.get("/readyz")[0] == 503
    assert 'outbox_relay_unknown_errors_total{' in relay.get("/metrics")[1] and 'code="ERR_4711?"' in relay.get("/metrics")[1]
    broker.refuses.clear()
    all_arrive(database, reader)
    well_again(relay)


SETTINGS = [{"hidden": ["DescribeConfigs"]}, {"refuses": {"DescribeConfigs": "UNSUPPORTED_VERSION"}},
            {"refuses": {"DescribeConfigs": CLOSE}}, {"controller": -1}, {"controller": -1, "cluster": ""}]


@pytest.mark.parametrize("profile", SETTINGS, ids=["not-offered", "refused", "closed", "no-controller",
                                                   "no-cluster"])
def test_no_settings(database, stranger, through, topic, waiting, reader, profile):
    """DescribeConfigs is not to be had: limits are unknown, and nobody is told to grant a right."""
    topic()
    relay = through(stranger(**profile))
    done = relay.command("check")
    assert done.returncode == 0, done.stdout
    assert re.search("ok +DescribeConfigs: not answered", done.stdout), done.stdout
    assert "DESCRIBE_CONFIGS" not in done.stdout
    relay.start()
    all_arrive(database, reader)
    well_again(relay)


def test_too_large_where_limits_are_unknown(database, stranger, through, topic, waiting, reader):
    """The brokers refuse it: this event is rejected, and no other."""
    topic(max_message_bytes=20000)
    through(stranger(hidden=["DescribeConfigs"])).start()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', '1', 'made', jsonb_build_object('n', %s::text))", os.urandom(20000).hex())
    assert len({record.event_id for record in reader().take(COUNT)}) == COUNT
    database.wait_empty()
    assert database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 1


def test_settings_are_not_asked_for_again(stranger, through, topic, waiting, database, reader):
    """Where the connection is lost at the question, with what else is on it."""
    topic()
    broker = stranger(refuses={"DescribeConfigs": CLOSE})
    relay = through(broker).start()
    all_arrive(database, reader)
    assert relay.log_contains("close the connection at DescribeConfigs")
    asked = broker.count("DescribeConfigs")
    topic("other")
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('other', '1', 'made', '{}')")
    database.wait_empty()
    assert broker.count("DescribeConfigs") == asked


def test_a_lost_connection_is_no_answer(stranger, through, topic, database):
    """Limits are asked for again. (Of several questions lost together: unit test_kafka_unreachable.)"""
    names = [f"many{i}" for i in range(5)]
    for name in names:
        topic(name)
    losses = [CLOSE, CLOSE]
    broker = stranger(answers=lambda request: losses.pop() if request.name == "DescribeConfigs" and losses else None)
    relay = through(broker).start()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT 'many' || i, '1', 'made', '{}' FROM generate_series(0, 4) AS i")
    database.wait_empty(timeout=30)
    assert not losses and broker.count("DescribeConfigs", "forwarded") >= len(names)
    assert not relay.log_contains("asked for topics' settings no more")


def test_no_right_to_settings(stranger, through, topic, waiting, database, reader):
    """That is an answer, and can be changed."""
    topic()
    relay = through(stranger(refuses={"DescribeConfigs": "CLUSTER_AUTHORIZATION_FAILED"}))
    assert "grant the relay WRITE, DESCRIBE and DESCRIBE_CONFIGS" in relay.command("check").stdout
    relay.start()
    all_arrive(database, reader)


@pytest.mark.parametrize("error", ["UNSUPPORTED_FOR_MESSAGE_FORMAT", "UNSUPPORTED_COMPRESSION_TYPE"])
def test_no_compression(stranger, through, topic, waiting, database, reader, error):
    """Azure Event Hubs answers the former. The relay goes on without, and says so once."""
    topic()
    broker = stranger(takes=["none"], codec_error=error)
    relay = through(broker).start()
    all_arrive(database, reader)
    assert broker.count("Produce", "answered") > 0 and broker.taken == {"none"}
    assert relay.log_contains(f"{error}.*goes on without any.*compression.codec")
    assert len(re.findall("goes on without", relay.log())) == 1
    well_again(relay)


def test_compression_is_forgone_under_load(stranger, through, topic, database, reader):
    """Two topics, 100 keys: no event is lost, repeated or overtaken, whichever batches were on their way."""
    for name in ("thing", "other"):
        topic(name)
    broker = stranger(codec_error="UNSUPPORTED_FOR_MESSAGE_FORMAT")
    through(broker).start()
    known = []
    for step in range(10):
        if step == 3:
            broker.takes = {"none"}
        database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                         " SELECT (ARRAY['thing', 'other'])[1 + i % 2], (i % 100)::text, 'made',"
                         f" jsonb_build_object('n', {step * 1000} + i, 'text', repeat('same ', 20))"
                         " FROM generate_series(1, 1000) AS i")
    for name in ("thing", "other"):
        known += [(name, record.key, record.json["n"]) for record in reader(name).take(5000, timeout=60)]
    database.wait_empty()
    assert broker.count("Produce", "answered") > 0 and none_rejected(database)
    assert len(known) == len(set(known)) == 10000
    last = {}
    for name, key, number in known:
        assert last.get((name, key), 0) < number
        last[name, key] = number


def test_gzip_only(stranger, through, topic, waiting, database, reader):
    """As Event Hubs in Premium."""
    topic()
    broker = stranger(takes=["none", "gzip"], codec_error="UNSUPPORTED_FOR_MESSAGE_FORMAT")
    relay = through(broker, "compression.codec=gzip", "linger.ms=20").start()
    all_arrive(database, reader)
    assert "gzip" in broker.taken and broker.count("Produce", "answered") == 0
    assert not relay.log_contains("goes on without")


def test_refused_without_compression_too(stranger, through, topic, waiting, database, reader):
    """It was not the compression: everything waits, and the reason is told."""
    topic()
    broker = stranger(takes=[], codec_error="UNSUPPORTED_FOR_MESSAGE_FORMAT")
    relay = through(broker).start(wait=False)
    until(lambda: "UNSUPPORTED_FOR_MESSAGE_FORMAT" in relay.get("/readyz")[1], 20, "readyz to say it")
    assert database.value("SELECT count(*) FROM outbox_events") == COUNT and none_rejected(database)
    broker.takes = {"none"}
    all_arrive(database, reader)


@pytest.mark.parametrize("librdkafka", ["Debian's", "current"], indirect=True)
def test_old_versions_of_produce_not_offered(stranger, through, topic, waiting, database, reader, librdkafka):
    """librdkafka below 2.11.1 sends uncompressed then (KAFKA-18659). `check` says so."""
    topic()
    broker = stranger(limits={"Produce": (3, 9)})
    relay = through(broker, "compression.codec=lz4", "linger.ms=20")
    said = relay.command("check").stdout
    relay.start()
    all_arrive(database, reader)
    defeated = librdkafka != "current"
    assert ("sends uncompressed to these brokers" in said) == defeated
    assert ("lz4" in broker.taken) == (not defeated)


@pytest.mark.parametrize("profile, words", [
    ({"hidden": ["InitProducerId"]}, "Idempotent producer not supported"),
    ({"refuses": {"InitProducerId": "UNSUPPORTED_VERSION"}}, "no producer id.*API version not supported"),
], ids=["not-offered", "refused"])
def test_no_idempotence(stranger, through, topic, waiting, database, reader, profile, words):
    """Nothing is published, and it says why. Once brokers have it, it goes on."""
    topic()
    broker = stranger(**profile)
    relay = through(broker)
    assert re.search("idempotence: no", relay.command("check").stdout)
    relay.start(wait=False)
    until(lambda: re.search(words, relay.get("/readyz")[1]), 20, "readyz to say it")
    assert relay.get("/readyz")[0] == 503
    holds(lambda: database.value("SELECT count(*) FROM outbox_events") == COUNT, 2, "all to wait")
    broker.hidden, broker.refuses = set(), {}
    all_arrive(database, reader)


@pytest.mark.parametrize("profile", [
    {"hidden": ["AddPartitionsToTxn", "EndTxn"]}, {"hidden": ["CreateTopics"]}, {},
], ids=["no-transactions", "no-create-topics", "Apache"])
def test_what_is_not_needed(stranger, through, topic, waiting, database, reader, profile):
    topic()
    relay = through(stranger(**profile))
    said = relay.command("check").stdout
    assert f"transactions: {'no' if 'EndTxn' in profile.get('hidden', []) else 'yes'}" in said
    assert "idempotence: yes" in said and "Apache Kafka or like it" in said
    relay.start()
    all_arrive(database, reader)


def test_no_answer_to_api_versions(stranger, through, topic, waiting, database, reader):
    """The events wait for a broker that says what it offers."""
    topic()
    broker = stranger(speaks_versions=False)
    relay = through(broker).start(wait=False)
    until(lambda: relay.get("/readyz")[0] == 503, 10, "readyz to say so")
    holds(lambda: database.value("SELECT count(*) FROM outbox_events") == COUNT, 2, "all to wait")
    broker.speaks_versions = True
    all_arrive(database, reader)


def test_an_advertised_address_that_cannot_be_reached(stranger, through, topic, waiting, database, reader):
    """The classic: the bootstrap address answers, and names another one."""
    topic()
    broker = stranger(advertised=("127.0.0.1", 9))
    relay = through(broker)
    assert re.search(r"error .*at the address that it advertises: .*127\.0\.0\.1:9/1: Connect.*advertised\.listeners",
                     relay.command("check").stdout)
    relay.start(wait=False)
    until(lambda: relay.log_contains("127.0.0.1:9/1.*[Cc]onnect"), 20, "the log to name the address")
    holds(lambda: database.value("SELECT count(*) FROM outbox_events") == COUNT, 2, "all to wait")
    assert none_rejected(database)
    broker.advertised = None
    all_arrive(database, reader, timeout=90)


@pytest.mark.parametrize("error", ["UNKNOWN_PRODUCER_ID", "INVALID_PRODUCER_ID_MAPPING", "OUT_OF_ORDER_SEQUENCE"])
def test_the_producer_is_forgotten(stranger, through, topic, waiting, database, reader, error):
    """Event Hubs loses producers' ids after timeouts (azure-event-hubs-for-kafka#261): another producer is made."""
    topic()
    broker = stranger()
    relay = through(broker).start()
    all_arrive(database, reader)
    broker.refuses = {"Produce": error}
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT 'thing', i::text, 'made', '{}' FROM generate_series(1, 20) AS i")
    until(lambda: broker.count("Produce", "answered") > 0, 20, "it to be refused")
    broker.refuses = {}
    database.wait_empty(timeout=60)
    assert len({record.event_id for record in reader().take(COUNT + 20)}) == COUNT + 20
    assert none_rejected(database)
    well_again(relay)


def test_a_broker_is_recognised(stranger, through, topic, database):
    topic()
    assert "Redpanda" in through(stranger(cluster="redpanda.1b2c")).command("check").stdout

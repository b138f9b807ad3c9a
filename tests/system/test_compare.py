# SPDX-License-Identifier: ISC
"""compare: each planted difference between two sets of topics is found, and nothing else."""
import json
import time
import uuid

import pytest
from confluent_kafka import Producer

from harness.relay import run_relay

KINDS = ("missing_in_shadow", "missing_in_live", "repeated_in_shadow", "repeated_in_live", "topic", "partition", "key",
         "value", "headers", "header_order", "order", "timestamp", "without_id")
NOON = int(time.time() * 1000) // 86400000 * 86400000 - 43200000  # of yesterday
EVENTS = [(f"k-{n % 7}", str(uuid.UUID(int=n + 1)), json.dumps({"n": n, "text": "x" * 100})) for n in range(60)]


def headers(event_id):
    return [("id", event_id), ("eventType", "Made")]


class Topics:
    """LIVE and its shadow, with the same events but for what a test changes."""

    def __init__(self, kafka, live):
        self.bootstrap = kafka.bootstrap
        self.live, self.shadow = live, "shadow." + live
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2"})
        for name in (self.live, self.shadow):
            kafka.create_topic(name, 3)

    def send(self, topic, key, event_id, value, changes=None):
        record = {"key": key, "value": value, "headers": headers(event_id), "timestamp": NOON, **(changes or {})}
        self.producer.produce(topic, on_delivery=self.delivered, **record)

    @staticmethod
    def delivered(error, _message):
        assert error is None, error

    def fill(self, topic, events=None):
        for event in EVENTS if events is None else events:
            self.send(topic, *event)

    def compare(self, *argv):
        assert self.producer.flush(30) == 0
        done = run_relay("compare", "--bootstrap", self.bootstrap, "--live", self.live, "--json", *argv)
        assert done.returncode in (0, 1), done.stderr + done.stdout
        found = json.loads(done.stdout)
        assert found["good"] is (done.returncode == 0)
        for kind in KINDS:
            assert len(found[kind]) == min(found[kind + "_count"], 100), found
        return found

    def counts(self, *argv):
        found = self.compare(*argv)
        return {kind: found[kind + "_count"] for kind in KINDS if found[kind + "_count"]}, found


@pytest.fixture
def topics(kafka, prefix):
    return Topics(kafka, prefix + "order")


@pytest.fixture
def planted(topics):
    """planted(at, change): both sets, with event number `at` of the shadow changed."""
    def plant(at, **changes):
        topics.fill(topics.live)
        topics.fill(topics.shadow, EVENTS[:at])
        topics.send(topics.shadow, *EVENTS[at], changes)
        topics.fill(topics.shadow, EVENTS[at + 1:])
        return topics
    return plant


def test_the_same(topics):
    """Also in words, and with topics as a pair."""
    topics.fill(topics.live)
    topics.fill(topics.shadow)
    counts, found = topics.counts("--timestamps")
    assert counts == {} and found["compared"] == 60
    assert (found["live"]["records"], found["live"]["topics"]) == (60, [topics.live])
    pair = run_relay("compare", "--bootstrap", topics.bootstrap, "--pair", f"{topics.live}={topics.shadow}")
    assert pair.returncode == 0 and "compared           60 events\n" in pair.stdout, pair.stdout + pair.stderr


def test_topics_by_their_prefix(topics, kafka):
    """Each topic that begins with the prefix, beside the one without it."""
    kafka.create_topic("shade-" + topics.live, 3)
    topics.fill(topics.live)
    topics.fill("shade-" + topics.live)
    assert topics.producer.flush(30) == 0
    done = run_relay("compare", "--bootstrap", topics.bootstrap, "--prefix", "shade-", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["shadow"]["topics"] == ["shade-" + topics.live]
    none = run_relay("compare", "--bootstrap", topics.bootstrap, "--prefix", "nothing-")
    assert none.returncode == 1 and 'begins with "nothing-"' in none.stderr, none.stderr


def test_missing(topics):
    topics.fill(topics.live, EVENTS[:-1])
    topics.fill(topics.shadow, EVENTS[1:])
    counts, found = topics.counts()
    assert counts == {"missing_in_shadow": 1, "missing_in_live": 1} and found["compared"] == 58
    lost, = found["missing_in_shadow"]
    assert (lost["event_id"], lost["key"]) == (EVENTS[0][1], "k-0") and "shadow" not in lost
    assert lost["live"]["topic"] == topics.live and lost["live"]["time"].endswith("T12:00:00.000Z")
    extra, = found["missing_in_live"]
    assert extra["event_id"] == EVENTS[-1][1] and extra["shadow"]["topic"] == topics.shadow


def test_value(planted):
    topics = planted(30, value=EVENTS[30][2].replace('"n": 30', '"n":30'))
    counts, found = topics.counts()
    assert counts == {"value": 1} and found["compared"] == 60
    sample, = found["value"]
    assert (sample["event_id"], sample["first_byte"], sample["same_json"]) == (EVENTS[30][1], 5, True)
    assert sample["value"]["live"].startswith('{"n": 30, ') and sample["value"]["shadow"].startswith('{"n":30, ')
    words = run_relay("compare", "--bootstrap", topics.bootstrap, "--live", topics.live)
    assert words.returncode == 1 and "first_byte 5\n" in words.stdout and EVENTS[30][1] in words.stdout


def test_a_tombstone_is_no_empty_value(planted):
    counts, found = planted(3, value=None).counts()
    assert counts == {"value": 1} and found["value"][0]["value"]["shadow"] is None


def test_key(planted):
    """In the same partition, so that nothing else differs."""
    topics = planted(10, key="other")
    counts, found = topics.counts()
    counts.pop("partition", None)
    assert counts == {"key": 1} and found["key"][0]["keys"] == {"live": "k-3", "shadow": "other"}


def test_headers(planted):
    event_id = EVENTS[20][1]
    topics = planted(20, headers=[("id", event_id), ("eventType", "Lost"), ("more", b"")])
    counts, found = topics.counts()
    assert counts == {"headers": 1}
    assert found["headers"][0]["headers"] == [{"name": "eventType", "live": "Made", "shadow": "Lost"},
                                              {"name": "more", "shadow": ""}]
    assert topics.counts("--ignore-header", "more", "--ignore-header", "eventType")[0] == {}


def test_header_order(planted):
    counts, found = planted(20, headers=headers(EVENTS[20][1])[::-1]).counts()
    assert counts == {"header_order": 1}
    assert found["header_order"][0]["headers"] == {"live": ["id", "eventType"], "shadow": ["eventType", "id"]}


@pytest.mark.parametrize("written", ['"{}"', '{{"schema":{{"type":"string","optional":false}},"payload":"{}"}}'])
def test_ids_as_json(topics, written):
    """Debezium Server's default: events are matched, and that the bytes differ is said."""
    for event in EVENTS:
        topics.send(topics.live, *event, {"headers": headers(written.format(event[1]))})
    topics.fill(topics.shadow)
    counts, found = topics.counts()
    assert counts == {"headers": 60} and found["compared"] == 60
    assert found["headers"][0]["headers"][0]["name"] == "id"


def test_partition(planted):
    topics = planted(5, partition=0)
    counts, found = topics.counts()
    if counts == {}:  # it belonged there
        topics = planted(5, partition=1)
        counts, found = topics.counts("--allow-repeats")
    assert counts.get("partition") == 1 and found["partition"][0]["shadow"]["partition"] != \
        found["partition"][0]["live"]["partition"]


def test_timestamp(planted):
    topics = planted(40, timestamp=NOON + 1)
    assert topics.counts()[0] == {}
    counts, found = topics.counts("--timestamps")
    assert counts == {"timestamp": 1} and found["timestamp"][0]["shadow"]["time"].endswith("T12:00:00.001Z")


def test_order(topics):
    """Two events of a key the wrong way round; those of other keys may be."""
    swapped = list(EVENTS)
    swapped[7], swapped[14] = swapped[14], swapped[7]
    topics.fill(topics.live)
    topics.fill(topics.shadow, swapped)
    counts, found = topics.counts()
    assert counts == {"order": 1} and found["order"][0]["key"] == "k-0"


def test_repeats(topics):
    topics.fill(topics.live)
    topics.fill(topics.live, EVENTS[10:20])
    topics.fill(topics.shadow)
    topics.fill(topics.shadow, EVENTS[59:])
    counts, found = topics.counts()
    assert counts == {"repeated_in_live": 10, "repeated_in_shadow": 1} and not found["good"]
    counts, found = topics.counts("--allow-repeats")
    assert counts["repeated_in_live"] == 10 and found["good"]


def test_topic(topics, kafka, prefix):
    """The shadow has sent an event to the topic of another one."""
    other = prefix + "invoice"
    for name in (other, "shadow." + other):
        kafka.create_topic(name, 3)
    topics.fill(topics.live)
    topics.fill(topics.shadow, EVENTS[1:])
    topics.send("shadow." + other, *EVENTS[0])
    counts, found = topics.counts("--live", other)
    assert counts == {"topic": 1} and found["topic"][0]["shadow"]["topic"] == "shadow." + other


def test_without_id(planted):
    topics = planted(8, headers=[("type", "x")])
    counts, found = topics.counts()
    assert counts == {"missing_in_shadow": 1, "without_id": 1}
    assert found["without_id"][0]["shadow"]["topic"] == topics.shadow


def test_range(topics):
    """What is older than --since, or not before --until, is not missing."""
    now = int(time.time() * 1000)
    topics.fill(topics.live, EVENTS[:10])
    for event in EVENTS[10:]:
        topics.send(topics.live, *event, {"timestamp": now - 60000})
        topics.send(topics.shadow, *event, {"timestamp": now - 55000})
    topics.send(topics.live, "k", "too new", "", {"timestamp": now})
    assert topics.counts()[0] == {"missing_in_shadow": 11}
    counts, found = topics.counts("--since", "1h", "--until", "30s")
    assert counts == {} and found["compared"] == 50


def test_transactions(topics, prefix):
    """What a connector has aborted is in no set; the marks of transactions are no records."""
    producer = Producer({"bootstrap.servers": topics.bootstrap, "partitioner": "murmur2", "transactional.id": prefix})
    producer.init_transactions(30)
    for at in range(0, 60, 10):
        producer.begin_transaction()
        for key, event_id, value in EVENTS[at:at + 10]:
            producer.produce(topics.live, key=key, value=value + ("" if at != 50 else " "), headers=headers(event_id))
        producer.commit_transaction(30)
        producer.begin_transaction()
        producer.produce(topics.live, key="k", value="gone", headers=headers("gone"))
        producer.flush(30)
        producer.abort_transaction(30)
    topics.fill(topics.shadow)
    counts, found = topics.counts()
    assert counts == {"value": 10} and (found["compared"], found["live"]["records"]) == (60, 60)
    assert {sample["first_byte"] for sample in found["value"]} == {len(EVENTS[50][2])}


def test_nothing(topics):
    """That nothing was compared is no good news."""
    found = topics.compare()
    assert not found["good"] and "nothing was compared" in found["notes"][0]


@pytest.mark.parametrize("argv, words", [
    (["--since", "yesterday"], "no point in time"),
    (["--since", "1h", "--until", "2h"], "--until is not after --since"),
    (["--prefix", ""], "may begin"),
    (["--prefix", "a/b"], "may begin"),
    (["--pair", "a"], "LIVE=SHADOW"),
    (["--live", "a b"], "no legal name"),
    (["extra"], "unexpected argument"),
])
def test_usage(argv, words):
    done = run_relay("compare", "--bootstrap", "127.0.0.1:1", *argv)
    assert done.returncode == 2 and words in done.stderr, done.stderr


def test_topics_that_are_not_there(kafka, prefix):
    done = run_relay("compare", "--bootstrap", kafka.bootstrap, "--live", prefix + "no")
    assert done.returncode == 1 and f"no topic {prefix}no" in done.stderr, done.stderr
    unreachable = run_relay("compare", "--bootstrap", "127.0.0.1:1", "--live", "x")
    assert unreachable.returncode == 1 and "no Kafka broker" in unreachable.stderr, unreachable.stderr

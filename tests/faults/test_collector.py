# SPDX-License-Identifier: ISC
"""The collector on librdkafka's mock cluster, and what a relay's log says for the history."""
import pytest
from confluent_kafka import Producer

from faults.collector import Collector
from faults.history import Recorder, read, this_run
from faults.watched import excuses

TOPIC = "t"
PARTITIONS = 4  # what the mock cluster gives a topic


@pytest.fixture
def producer():
    return Producer({"test.mock.num.brokers": 1, "log_level": 2, "partitioner": "murmur2_random"})


@pytest.fixture
def collect(producer, tmp_path):
    """collect(event_ids): the records of the topic, by the history's file."""
    def run(event_ids, partitions=PARTITIONS, meanwhile=None):
        producer.flush()
        bootstrap = ",".join(f"{b.host}:{b.port}" for b in producer.list_topics(timeout=10).brokers.values())
        with Recorder(tmp_path / "history") as recorder:
            recorder.add(this_run({TOPIC: partitions}))
            collector = Collector(bootstrap, {TOPIC: partitions}, recorder).start()
            if meanwhile:
                meanwhile(collector)
            assert collector.wait_for(event_ids, 20) == set()
            collector.finish()
        return read(tmp_path / "history").arrivals
    return run


def test_records_are_as_they_are(producer, collect):
    producer.produce(TOPIC, None, b"k", headers=[("id", b"1"), ("none", None), ("id", b"x")])
    producer.produce(TOPIC, b"", b"", headers=[("id", b"2")])
    producer.produce(TOPIC, b"\xff", None, headers=[("id", b"3"), ("odd", b"\xfe")])
    arrivals = {a.event_id: a for a in collect({"1", "2", "3"})}
    assert [(a.key, a.value, a.headers) for _, a in sorted(arrivals.items())] == [
        ("k", None, '[["none",null],["id","x"]]'), ("", "=", "[]"), (None, "=\udcff", '[["odd","\\udcfe"]]')]


def test_headers_without_value_do_not_use_up_python(producer, collect):
    """More of them than Python has references to None."""
    count = 30_000
    for number in range(count):
        producer.produce(TOPIC, b"v", b"k", headers=[("id", b"%d" % number), ("none", None)])
        producer.poll(0)
    assert len(collect({str(number) for number in range(count)})) == count


def produce_everywhere(producer):
    """One record in each partition, by their numbers."""
    for number in range(PARTITIONS):
        producer.produce(TOPIC, b"v", headers=[("id", b"%d" % number)], partition=number)
    return {str(number) for number in range(PARTITIONS)}


def test_partitions_that_are_added(producer, collect):
    arrivals = collect(produce_everywhere(producer), 1, lambda collector: collector.grow(TOPIC, PARTITIONS))
    assert sorted(arrival.partition for arrival in arrivals) == list(range(PARTITIONS))


def test_a_topic_that_is_made_again(producer, collect):
    """The same topic stands for the new one: all is read once more, behind what there was."""
    def recreate(collector):
        with collector.recreated(TOPIC):
            pass
        assert collector.ends() == {TOPIC: [2] * PARTITIONS}
    arrivals = collect(produce_everywhere(producer), meanwhile=recreate)
    assert sorted((a.partition, a.offset) for a in arrivals) == [(n, at) for n in range(PARTITIONS) for at in (0, 1)]


def test_a_topic_that_is_made_again_while_a_transaction_ends(producer, collect, monkeypatch):
    """What was read behind the ends that the brokers told was the old topic's, too."""
    def recreate(collector):
        told = collector.ends

        def ends(timeout):
            before = told(timeout)
            producer.produce(TOPIC, b"v", headers=[("id", b"late")], partition=0)
            producer.flush()
            assert collector.wait_for({"late"}, 20) == set()
            return before
        monkeypatch.setattr(collector, "ends", ends)
        with collector.recreated(TOPIC):
            monkeypatch.undo()
        assert collector.ends() == {TOPIC: [4, 2, 2, 2]}
    arrivals = collect(produce_everywhere(producer), meanwhile=recreate)
    assert sorted(a.offset for a in arrivals if a.partition == 0) == [0, 1, 2, 3]


def test_ends_of_a_leader_that_stood_still(producer, collect, monkeypatch):
    def ask(collector):
        assert collector.wait_for({str(n) for n in range(PARTITIONS)}, 20) == set()
        monkeypatch.setattr(collector, "_end", lambda partition, timeout: 0)
        assert collector.ends() == {TOPIC: [1] * PARTITIONS}
        monkeypatch.undo()
    collect(produce_everywhere(producer), meanwhile=ask)


def test_log_tells_of_excuses():
    log = ("2026-11-21T07:42:00.000Z info    ready: publishing\n"
           "2026-11-21T07:42:01.500Z warning the producer must be rebuilt: fatal error; what is in flight\n"
           "2026-11-21T07:42:08.000Z info    Terminated: settling what is in flight, then stopping\n"
           "2026-11-21T07:42:09.000Z warning Kafka has not acknowledged everything in 10 s; what is not settled is "
           "published again at the next start\n"
           "2026-11-21T07:42:10.250Z info    Terminated: stopping immediately\n")
    found = list(excuses(log, 1_795_246_920.0))
    assert [(fault.name, fault.at) for fault in found] == [
        ("producer rebuilt", 1.5), ("stop before all was settled", 9.0), ("stop before all was settled", 10.25)]

# SPDX-License-Identifier: ISC
"""Kafka's requests get their names and their responses, and a Produce the error that a test wants."""
import pytest

from faults import kafkabytes as kafka
from faults.kafkacodec import Writer
from faults.kafkaproduce import partitions, refusal, with_error
from faults.kafkawire import KafkaWire

VERSIONS = [3, 7, 8, 9, 12]


@pytest.fixture
def wire():
    return KafkaWire({})


def feed(splitter, data, size=1 << 20):
    """The messages, fed in pieces of `size` bytes; all bytes must come out again."""
    seen, out = [], b""
    for at in range(0, len(data), size):
        passed, marks = splitter.feed(data[at:at + size])
        seen += [message for _, message, _ in marks]
        out += passed
    assert out == data and splitter.at_border
    return seen


@pytest.mark.parametrize("size", [1, 5, 600, 1 << 20])
def test_names_client_and_answers(wire, size):
    sent = kafka.request(18, 3, 1) + kafka.request(3, 4, 2) + kafka.produce(7, 3) + kafka.produce(7, 4)
    assert [m.names[0] for m in feed(wire.up, sent, size)] == ["ApiVersions", "Metadata", "Produce", "Produce"]
    assert wire.info == {"client_id": "outbox-relay"}
    came = kafka.response(1) + kafka.response(2) + kafka.produced(7, 4, ("thing", 0, 0))
    answered = feed(wire.down, came, size)
    assert [m.facts["correlation"] for m in answered] == [1, 2, 4]
    assert list(wire.pending) == [3]


def test_null_client_id(wire):
    feed(wire.up, kafka.request(3, 4, 1, client=None))
    assert wire.info == {"client_id": None}


@pytest.mark.parametrize("version", VERSIONS)
def test_produce_tells_its_topic(wire, version):
    message, = feed(wire.up, kafka.produce(version, 1, "events", 5))
    assert (message.facts["topic"], message.facts["partition"], message.facts["single"]) == ("events", 5, True)
    assert message.length == len(kafka.produce(version, 1, "events", 5))


@pytest.mark.parametrize("version", [1, 3, 5])
def test_end_txn_tells_which_end(wire, version):
    messages = feed(wire.up, kafka.end_txn(version, 1, True) + kafka.end_txn(version, 2, False))
    assert [m.names for m in messages] == [("EndTxn", "EndTxn commit"), ("EndTxn", "EndTxn abort")]


@pytest.mark.parametrize("api,name,version", [(22, "InitProducerId", 1), (22, "InitProducerId", 4),
                                              (24, "AddPartitionsToTxn", 0), (24, "AddPartitionsToTxn", 3)])
def test_what_begins_a_transaction_tells_whose(wire, api, name, version):
    body = Writer(version >= kafka.FLEXIBLE[api]).string("tx.7").number("i", 60000).bytes()
    message, = feed(wire.up, kafka.request(api, version, 1, body))
    assert message.names == (name,) and message.facts["transactional_id"] == "tx.7"


def test_unknown_api_has_a_name(wire):
    kafka.FLEXIBLE[99] = 100
    assert feed(wire.up, kafka.request(99, 0, 1))[0].names == ("Api99",)


def test_a_large_request_is_not_waited_for(wire):
    passed, marks = wire.up.feed(kafka.produce(7, 1, records=b"r" * 100_000)[:600])
    assert len(passed) == 600 and len(marks) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_error_of_one_topic_is_replaced(version):
    frame = kafka.produced(version, 9, ("a", 0, 0), ("b", 1, 0), ("a", 2, 0))
    changed = with_error(frame, version, "a", "NOT_LEADER_OR_FOLLOWER")
    assert [p[:3] for p in partitions(changed, version)] == [("a", 0, 6), ("b", 1, 0), ("a", 2, 6)]
    assert len(changed) == len(frame)
    assert with_error(changed, version, None, 0) == frame


@pytest.mark.parametrize("version", VERSIONS)
def test_the_answer_to_a_produce_is_told(wire, version):
    feed(wire.up, kafka.produce(version, 1) + kafka.produce(version, 2))
    came = kafka.produced(version, 1, ("thing", 0, 0)) + kafka.produced(version, 2, ("thing", 0, 19))
    assert [m.answer for m in feed(wire.down, came, 7)] == ["ok", "error 19"]


@pytest.mark.parametrize("version", VERSIONS)
def test_refusal_is_a_whole_response(wire, version):
    message, = feed(wire.up, kafka.produce(version, 77, "events", 3))
    frame = refusal(message, "INVALID_RECORD")
    assert [p[:3] for p in partitions(frame, version)] == [("events", 3, 87)]
    assert feed(wire.down, frame, 3) == [message]


def test_a_version_that_cannot_be_read_is_refused():
    with pytest.raises(ValueError):
        partitions(b"\0" * 100, 13)

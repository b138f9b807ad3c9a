# SPDX-License-Identifier: ISC
"""Responses to Produce, changed or made up, so that a client sees an error no broker had to be broken for."""
import struct

from faults.kafkacodec import Reader, Writer

ERRORS = {
    "CORRUPT_MESSAGE": 2, "UNKNOWN_TOPIC_OR_PARTITION": 3, "LEADER_NOT_AVAILABLE": 5,
    "NOT_LEADER_OR_FOLLOWER": 6, "REQUEST_TIMED_OUT": 7, "MESSAGE_TOO_LARGE": 10, "INVALID_TOPIC": 17,
    "RECORD_LIST_TOO_LARGE": 18, "NOT_ENOUGH_REPLICAS": 19, "NOT_ENOUGH_REPLICAS_AFTER_APPEND": 20,
    "TOPIC_AUTHORIZATION_FAILED": 29, "CLUSTER_AUTHORIZATION_FAILED": 31, "OUT_OF_ORDER_SEQUENCE": 45,
    "DUPLICATE_SEQUENCE": 46, "INVALID_PRODUCER_EPOCH": 47, "KAFKA_STORAGE_ERROR": 56,
    "UNKNOWN_PRODUCER_ID": 59, "INVALID_RECORD": 87, "PRODUCER_FENCED": 90,
}
PRODUCE_FLEXIBLE = 9
OLDEST, NEWEST = 3, 12  # of the versions of Produce that can be read here; 13 has no topic names


def code_of(error):
    """A number as it is, a name by its number."""
    return error if isinstance(error, int) else ERRORS[error]


def _check(version):
    if not OLDEST <= version <= NEWEST:
        raise ValueError(f"Produce version {version} is not one of {OLDEST} to {NEWEST}")


def _partition(reader, version):
    """(index, error, where in the data the error code is)"""
    index = reader.number("i")
    place = reader.at
    error = reader.number("h")
    reader.take(16)  # base offset, append time
    if version >= 5:
        reader.take(8)  # log start offset
    if version >= 8:
        for _ in range(reader.count()):
            reader.take(4)
            reader.string()
            reader.tags()
        reader.string()
    reader.tags()
    return index, error, place


def partitions(frame, version):
    """[(topic, partition, error, where its code is)] of a whole response with its length before it."""
    _check(version)
    reader = Reader(frame, 8, version >= PRODUCE_FLEXIBLE)
    reader.tags()
    found = []
    for _ in range(reader.count()):
        topic = reader.string()
        for _ in range(reader.count()):
            found.append((topic, *_partition(reader, version)))
        reader.tags()
    return found


def told(frame, version):
    """The answer in words: "ok", or the numbers of the errors."""
    errors = sorted({error for _, _, error, _ in partitions(frame, version) if error})
    return f"error {', '.join(map(str, errors))}" if errors else "ok"


def with_error(frame, version, topic, error):
    """The response, with this error for every partition of the topic (None: of any)."""
    changed = bytearray(frame)
    for name, _, _, place in partitions(frame, version):
        if topic in (None, name):
            struct.pack_into(">h", changed, place, code_of(error))
    return bytes(changed)


def refusal(message, error):
    """A response to a Produce that never reaches the broker."""
    facts = message.facts
    version = facts["version"]
    _check(version)
    if not facts.get("single"):
        raise ValueError(f"{message} has not one topic and partition only")
    out = Writer().number("i", facts["correlation"])
    out.flexible = version >= PRODUCE_FLEXIBLE
    out.tags().count(1).string(facts["topic"]).count(1)
    out.number("ihqq", facts["partition"], code_of(error), -1, -1)
    if version >= 5:
        out.number("q", -1)
    if version >= 8:
        out.count(0).string(None)
    return out.tags().tags().number("i", 0).tags().frame()

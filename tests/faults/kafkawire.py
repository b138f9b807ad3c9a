# SPDX-License-Identifier: ISC
"""Kafka's framing: names for requests, and responses matched to them by correlation id.

A request is called by its API ("Produce", "EndTxn"), and EndTxn also by what it asks ("EndTxn commit",
"EndTxn abort"). message.facts: version, correlation; of what concerns a transaction its transactional_id; of a
Produce its first topic and partition as far as the head tells; its answer is "ok" or "error 19". (Kafka's protocol guide; the messages' JSON files in
kafka-clients.jar.)
"""
import struct

from faults import kafkaproduce
from faults.kafkacodec import Reader, Short
from faults.wire import ANSWERED, SENT, Message, Splitter

PRODUCE, END_TXN = 0, 26
APIS = {
    0: "Produce", 1: "Fetch", 2: "ListOffsets", 3: "Metadata", 8: "OffsetCommit", 9: "OffsetFetch",
    10: "FindCoordinator", 11: "JoinGroup", 12: "Heartbeat", 13: "LeaveGroup", 14: "SyncGroup",
    17: "SaslHandshake", 18: "ApiVersions", 19: "CreateTopics", 20: "DeleteTopics", 22: "InitProducerId",
    23: "OffsetForLeaderEpoch", 24: "AddPartitionsToTxn", 25: "AddOffsetsToTxn", 26: "EndTxn",
    28: "TxnOffsetCommit", 32: "DescribeConfigs", 33: "AlterConfigs", 36: "SaslAuthenticate",
    37: "CreatePartitions", 43: "ElectLeaders", 44: "IncrementalAlterConfigs",
    45: "AlterPartitionReassignments",
}
HEAD = struct.Struct(">ihhi")   # length, API, version, correlation id
ANSWER = struct.Struct(">ii")   # length, correlation id
SEEN = 512                      # so much of a request's head is waited for
END_TXN_FLEXIBLE = 3
BEGINNING = {22: 2, 24: 3}      # InitProducerId, AddPartitionsToTxn: from which version on they are flexible
WHOLE = 1 << 16                 # a Produce response up to this size is waited for whole, to be changed


class KafkaWire:
    """One connection to a broker. info gets client_id with the first request."""

    def __init__(self, info):
        self.info = info
        self.pending = {}  # correlation id -> Message
        self.up = _Requests(self)
        self.down = _Responses(self)


def _skip_header(data, at, flexible):
    """A reader behind a request's header."""
    reader = Reader(data, at + HEAD.size)
    client = reader.string()
    reader.flexible = flexible
    reader.tags()
    return reader, client


def read_produce(reader, version):
    """What the head of a Produce tells: its first topic and partition (no name from version 13 on)."""
    reader.string()      # transactional id
    reader.take(6)       # acks, timeout
    topics = reader.count()
    topic = reader.string() if version < 13 else reader.take(16).hex()
    partitions = reader.count()
    return {"topic": topic, "partition": reader.number("i"), "single": topics == partitions == 1}


def _details(api, version, data, at):
    """(more names, facts) of a request."""
    if api == PRODUCE:
        reader, _ = _skip_header(data, at, version >= kafkaproduce.PRODUCE_FLEXIBLE)
        return (), read_produce(reader, version)
    if api == END_TXN:
        reader, _ = _skip_header(data, at, version >= END_TXN_FLEXIBLE)
        transactional = reader.string()
        reader.take(10)  # producer id and epoch
        verb = "commit" if reader.number("b") else "abort"
        return (f"EndTxn {verb}",), {"transactional_id": transactional}
    if api in BEGINNING:
        reader, _ = _skip_header(data, at, version >= BEGINNING[api])
        return (), {"transactional_id": reader.string()}
    return (), {}


def end_txn_error(message, frame):
    """The error's number in a whole response to an EndTxn, with its length before it."""
    reader = Reader(frame, 8, message.facts["version"] >= END_TXN_FLEXIBLE)
    reader.tags()
    reader.take(4)  # throttle time
    return reader.number("h")


class _Requests(Splitter):
    """From the client."""

    def __init__(self, wire):
        super().__init__()
        self.wire = wire

    def parse(self, data, at):
        have = len(data) - at
        if have < HEAD.size:
            return 0
        size, api, version, correlation = HEAD.unpack_from(data, at)
        if have < min(4 + size, SEEN):
            return 0
        self.learn_client(data, at)
        try:
            names, facts = _details(api, version, data, at)
        except Short:
            names, facts = (), {}
        message = Message((APIS.get(api, f"Api{api}"), *names), length=4 + size, version=version,
                          correlation=correlation, **facts)
        self.wire.pending[correlation] = message
        self.mark(at, message, SENT)
        return 4 + size

    def learn_client(self, data, at):
        if "client_id" not in self.wire.info:
            try:
                self.wire.info["client_id"] = Reader(data, at + HEAD.size).string()
            except Short:
                self.wire.info["client_id"] = None


class _Responses(Splitter):
    """From the broker."""

    def __init__(self, wire):
        super().__init__()
        self.wire = wire

    def parse(self, data, at):
        have = len(data) - at
        if have < ANSWER.size:
            return 0
        size, correlation = ANSWER.unpack_from(data, at)
        message = self.wire.pending.get(correlation)
        produced = message and message.names[0] == "Produce"
        if produced and have < min(4 + size, WHOLE):
            return 0
        if message:
            del self.wire.pending[correlation]
            message.answer = self.told(message, data[at:at + 4 + size]) if produced else "answered"
            self.mark(at, message, ANSWERED)
        return 4 + size

    @staticmethod
    def told(message, frame):
        try:
            return kafkaproduce.told(frame, message.facts["version"])
        except (Short, ValueError):
            return "answered"

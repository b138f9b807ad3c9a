# SPDX-License-Identifier: ISC
"""An independent consumer: what really is in the topics, in the order it is there."""
import json
import time
from typing import NamedTuple, Optional

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from harness.waiting import TimedOut, limit


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: Optional[bytes]
    value: Optional[bytes]
    headers: list  # of (name, bytes or None), in order
    timestamp: int = 0  # milliseconds

    @property
    def event_id(self):
        return self.header("id")

    @property
    def json(self):
        return json.loads(self.value)

    def header(self, name):
        """The first of that name, as text."""
        for other, value in self.headers:
            if other == name:
                return None if value is None else value.decode()
        raise AssertionError(f"no header {name} in {self.headers}")


def _record(message):
    return Record(message.topic(), message.partition(), message.offset(), message.key(),
                  message.value(), message.headers() or [], message.timestamp()[1])


class Reader:
    """Reads topics from their beginning. Partitions arrive in any order, each in its own."""

    def __init__(self, bootstrap, *topics):
        self.topics = topics
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "isolation.level": "read_committed",
            "fetch.wait.max.ms": 200, "reconnect.backoff.max.ms": 500, "log_level": 2,
            "fetch.message.max.bytes": 16 << 20, "enable.partition.eof": True})
        self.partitions = None
        self.ends = {}  # where the end of a partition was met: behind a record, or behind the end of a transaction

    def close(self):
        self.consumer.close()

    def _assign(self, timeout):
        """Waits until the topics are there."""
        end = time.monotonic() + limit(timeout)
        while self.partitions is None:
            try:
                known = self.consumer.list_topics(timeout=5).topics
            except KafkaException:
                known = {}
            missing = [t for t in self.topics if t not in known or not known[t].partitions]
            if not missing:
                self.partitions = [TopicPartition(topic, number, 0)
                                   for topic in self.topics for number in known[topic].partitions]
                self.consumer.assign(self.partitions)
            elif time.monotonic() > end:
                raise TimedOut(f"waited {timeout} s in vain for topic {missing}")
            else:
                time.sleep(0.02)

    def _consume(self, most, timeout):
        records = []
        for message in self.consumer.consume(most, timeout=timeout):
            if message.error() is None:
                records.append(_record(message))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                self.ends[message.topic(), message.partition()] = message.offset()
        return records

    def poll(self, timeout):
        """What is there, or comes within the time."""
        self._assign(30)
        return self._consume(10_000, timeout)

    def take(self, count, timeout=30, prompt=False):
        """Exactly count more records. prompt: as in `until`."""
        self._assign(timeout)
        end = time.monotonic() + (timeout if prompt else limit(timeout))
        taken = []
        while len(taken) < count:
            taken += self._consume(min(count - len(taken), 10_000), 0.05)
            if time.monotonic() > end and len(taken) < count:
                raise TimedOut(f"waited {timeout} s for {count} records, got {len(taken)}")
        return taken

    def rest(self, timeout=30):
        """All that is there now and was not taken yet."""
        self._assign(timeout)
        highs = {(part.topic, part.partition): self.consumer.get_watermark_offsets(part, timeout=limit(10))[1]
                 for part in self.partitions}
        end = time.monotonic() + limit(timeout)
        taken = []
        while not all(self._is_read(place, high) for place, high in highs.items()):
            taken += self._consume(10_000, 0.05)
            if time.monotonic() > end:
                raise TimedOut(f"waited {timeout} s for the end of {self.topics}, got {len(taken)} records")
        return taken

    def _is_read(self, place, high):
        """The end of a transaction takes an offset, and is no record."""
        return self.ends.get(place, 0) >= high or self._next(*place) >= high

    def _next(self, topic, partition):
        position = self.consumer.position([TopicPartition(topic, partition)])[0].offset
        return max(position, 0)

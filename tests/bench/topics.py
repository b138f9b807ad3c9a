# SPDX-License-Identifier: ISC
"""Fresh topics, and when their records arrived.

The topics carry the broker's own time of each append, so that one clock tells how long a contender took,
whoever it is, and asking costs nothing while it runs.
"""
import itertools
import time
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from rig import until

PARTITIONS = 4
_count = itertools.count(1)


class Span(NamedTuple):
    first: float  # seconds since 1970
    last: float
    records: int

    @property
    def seconds(self):
        return self.last - self.first


class Topic:
    """A topic of its own for one contender in one round."""

    def __init__(self, kafka):
        self.kafka = kafka
        self.name = f"bench-{next(_count)}"
        kafka.create_topic(self.name, PARTITIONS, message_timestamp_type="LogAppendTime")
        self.consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "bench",
                                  "enable.auto.commit": False, "fetch.wait.max.ms": 10})
        self.start = [0] * PARTITIONS
        until(self._has_leaders, 30, f"leaders of {self.name}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.consumer.close()
        for done in self.kafka.admin.delete_topics([self.name]).values():
            done.result(30)

    def _has_leaders(self):
        """A broker answers for a new topic a moment after it was made."""
        try:
            return self._ends() == self.start
        except KafkaException:
            return False

    def _ends(self):
        return [self.consumer.get_watermark_offsets(TopicPartition(self.name, number), timeout=30)[1]
                for number in range(PARTITIONS)]

    def mark(self):
        """Counts and spans begin here."""
        self.start = self._ends()

    def count(self):
        return sum(self._ends()) - sum(self.start)

    def wait(self, records, timeout, alive=lambda: True):
        """Until so many are there, of a contender that must stay alive."""
        deadline = time.monotonic() + timeout
        while (count := self.count()) < records:
            if not alive():
                raise RuntimeError(f"the publisher ended with {count} of {records} records in {self.name}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{count} of {records} records in {self.name} after {timeout} s")
            time.sleep(0.05)

    def span(self, records):
        """When the first and the last record since mark() were appended. There must be exactly so many."""
        ends = self._ends()
        count = sum(ends) - sum(self.start)
        if count != records:
            raise RuntimeError(f"{count} records in {self.name} where {records} were expected")
        used = [(number, start, end - 1) for number, (start, end) in enumerate(zip(self.start, ends))
                if end > start]
        return Span(min(self._appended(number, first) for number, first, _ in used),
                    max(self._appended(number, last) for number, _, last in used), count)

    def appends(self, number_of):
        """{number_of(value): when its first record was appended, seconds since 1970}, of everything since mark()."""
        first = {}
        for partition, (start, end) in enumerate(zip(self.start, self._ends())):
            self.consumer.assign([TopicPartition(self.name, partition, start)])
            while start < end:
                for message in self.consumer.consume(10000, timeout=1):
                    if message.error():
                        raise RuntimeError(f"cannot read {self.name} [{partition}]: {message.error()}")
                    start = message.offset() + 1
                    when, number = message.timestamp()[1] / 1000, number_of(message.value())
                    first[number] = min(when, first.get(number, when))
        return first

    def _appended(self, partition, offset):
        self.consumer.assign([TopicPartition(self.name, partition, offset)])
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            message = self.consumer.poll(1)
            if message is not None and not message.error() and message.offset() == offset:
                return message.timestamp()[1] / 1000
        raise RuntimeError(f"cannot read record {offset} of {self.name} [{partition}]")

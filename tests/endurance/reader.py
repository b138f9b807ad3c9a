# SPDX-License-Identifier: ISC
"""The consumer: reads all topics from their beginning, as they come, and judges what it reads.

Assigned its partitions, with no group, so that nothing it does is kept anywhere. One record at a time: a batch would wait
until it is full."""
import json
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from endurance.arrivals import Arrivals
from endurance.identity import identify
from endurance.windows import Windows

CONFIG = {"group.id": "endurance", "enable.auto.commit": False, "isolation.level": "read_uncommitted",
          # A partition that lost records under us is a finding, not something to skip over.
          "auto.offset.reset": "error", "fetch.min.bytes": 1, "fetch.wait.max.ms": 100, "socket.nagle.disable": True,
          "reconnect.backoff.max.ms": 500, "log_level": 2}
AT = slice(7, None)  # where the time begins in {"at": 123, ...


class Reader:
    def __init__(self, bootstrap, partitions, path):
        self.partitions = partitions  # [(topic, number)]
        self.next = dict.fromkeys(partitions, 0)
        self.arrivals, self.windows = Arrivals(), Windows(path)
        self.consumer = Consumer({"bootstrap.servers": bootstrap, **CONFIG})
        self.consumer.assign([TopicPartition(topic, number, 0) for topic, number in partitions])

    def run(self, ending):
        """Until ending is set and all is read that the topics hold then."""
        while not ending.is_set():
            self._step()
        ends = {place: self.consumer.get_watermark_offsets(TopicPartition(*place), timeout=60)[1]
                for place in self.partitions}
        while any(self.next[place] < end for place, end in ends.items()):
            self._step()
        self.windows.flush()
        self.consumer.close()

    def _step(self):
        message = self.consumer.poll(0.2)
        now = time.monotonic()
        if message is None:
            self.windows.pass_to(now)
        elif message.error() is None:
            self._take(message, now)
        elif message.error().code() == KafkaError._AUTO_OFFSET_RESET:
            raise KafkaException(message.error())

    def _take(self, message, now):
        topic, partition = message.topic(), message.partition()
        self.next[topic, partition] = message.offset() + 1
        if self.arrivals.add(topic, partition, message.key(), identify(dict(message.headers())["id"].decode())):
            at = int(message.value()[AT].split(b",", 1)[0])
            self.windows.add(now, now * 1000 - at / 1000, first=1)
        else:
            self.windows.add(now, again=1)

    def save(self, path):
        arrivals = self.arrivals
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"first": arrivals.first, "again": arrivals.again, "reordered": arrivals.reordered,
                       "seen": {writer: bits.hex() for writer, bits in arrivals.seen.items()}}, file)


def run(bootstrap, partitions, path, arrived, ending):
    """For a process of its own. path: of the windows; arrived: of what came."""
    reader = Reader(bootstrap, partitions, path)
    try:
        reader.run(ending)
    finally:
        reader.save(arrived)

"""Reads all there is in the topics, from their beginning, and writes it into the history as it comes.

A consumer that is assigned its partitions and belongs to no group, so that nothing it does is kept anywhere;
with read_uncommitted, since what an aborted transaction left is to be seen as well.
"""
import ctypes
import threading
from collections import defaultdict

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from faults import tokens
from faults.history import Arrival, now

CONFIG = {"group.id": "collector", "enable.auto.commit": False, "isolation.level": "read_uncommitted",
          # A partition that lost records under us is a finding, not something to skip over.
          "auto.offset.reset": "error",
          "fetch.wait.max.ms": 100, "reconnect.backoff.max.ms": 500, "log_level": 2,
          "fetch.message.max.bytes": 4 << 20, "queued.max.messages.kbytes": 32 << 10}


class Collector:
    """topics: {name: partitions}, which exist."""

    def __init__(self, bootstrap, topics, recorder, **config):
        self.topics, self.recorder = topics, recorder
        self.failure = None
        self.count = 0
        self.seen = set()
        self.next = defaultdict(int)  # {(topic, partition): offset after the last record we have}
        self._came = threading.Condition()
        self._stopping = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": bootstrap, **CONFIG, **config})
        self._thread = threading.Thread(target=self._guarded, daemon=True, name="collector")

    def start(self):
        self._consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in self._partitions()])
        self._thread.start()
        return self

    def wait_for(self, event_ids, timeout):
        """Waits until all of these have arrived. Those that have not when time is over."""
        missing = set(event_ids)

        def arrived():
            missing.difference_update(self.seen)
            return self.failure or not missing
        with self._came:
            self._came.wait_for(arrived, timeout)
        self._raise()
        return missing

    def ends(self, timeout=10):
        """{topic: [end of each partition]} as the brokers say now. Raises KafkaException when they do not."""
        ends = {topic: [0] * partitions for topic, partitions in self.topics.items()}
        for topic, partition in self._partitions():
            ends[topic][partition] = self._end(TopicPartition(topic, partition), timeout)
        return ends

    def _end(self, partition, timeout):
        """Asks again while the partition is between leaders."""
        limit = now() + timeout
        while True:
            try:
                return self._consumer.get_watermark_offsets(partition, timeout=max(0.1, limit - now()))[1]
            except KafkaException:
                if now() > limit or self._stopping.wait(0.1):
                    raise

    def finish(self, timeout=60):
        """Reads on to what is now the end of every partition, and ends. Call when no relay publishes any more."""
        ends = self.ends(timeout)
        with self._came:
            done = self._came.wait_for(lambda: self.failure or self._reached(ends), timeout)
        self._stopping.set()
        self._thread.join()
        self._consumer.close()
        self._raise()
        if not done:
            raise RuntimeError(f"the collector did not reach {ends} in {timeout} s: {dict(self.next)}")

    def abandon(self):
        """Ends wherever it is; nothing if it has ended."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._thread.join()
            self._consumer.close()

    def _reached(self, ends):
        return all(self.next[topic, partition] >= ends[topic][partition]
                   for topic, partition in self._partitions())

    def _partitions(self):
        return [(topic, n) for topic, partitions in self.topics.items() for n in range(partitions)]

    def _raise(self):
        if self.failure is not None:
            raise self.failure

    # Its thread.

    def _guarded(self):
        try:
            while not self._stopping.is_set():
                self._take(self._consumer.consume(1000, timeout=0.2))
        except Exception as failure:  # pylint: disable=broad-except
            with self._came:
                self.failure = failure
                self._came.notify_all()

    def _take(self, messages):
        records = [_arrival(message) for message in messages if _usable(message)]
        if not records:
            return
        self.recorder.add(*records)
        with self._came:
            for record in records:
                self.seen.add(record.event_id)
                self.next[record.topic, record.partition] = record.offset + 1
            self.count += len(records)
            self._came.notify_all()


def _usable(message):
    """Brokers that are away come back; records that are away do not."""
    error = message.error()
    if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise KafkaException(error)
    return error is None


def _headers(message):
    """confluent_kafka 1.7 takes a reference to None away with each header without value, and Python aborts once
    they are used up. Give it back; one too many does no harm."""
    pairs = message.headers() or []
    for _, value in pairs:
        if value is None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))
    return pairs


def _arrival(message):
    event_id, headers = tokens.without_id(_headers(message))
    return Arrival(message.topic(), message.partition(), message.offset(), message.timestamp()[1],
                   tokens.text(message.key()), tokens.value(message.value()), event_id, headers, round(now(), 3))

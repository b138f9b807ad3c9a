# SPDX-License-Identifier: ISC
"""Reads all there is in the topics, from their beginning, and writes it into the history as it comes.

A consumer that is assigned its partitions and belongs to no group, so that nothing it does is kept anywhere;
with read_uncommitted, since what an aborted transaction left is to be seen as well; unless it is asked for what
consumers see that read committed records.
"""
import ctypes
import queue
import threading
from collections import defaultdict
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from faults import tokens
from faults.history import Arrival, now
from faults.patience import wait_for

CONFIG = {"group.id": "collector", "enable.auto.commit": False, "isolation.level": "read_uncommitted",
          # A partition that lost records under us is a finding, not something to skip over.
          "auto.offset.reset": "error",
          "fetch.wait.max.ms": 100, "reconnect.backoff.max.ms": 500, "log_level": 2,
          "enable.partition.eof": True,  # the end of a transaction takes an offset, and is no record
          "fetch.message.max.bytes": 4 << 20, "queued.max.messages.kbytes": 32 << 10}


class Collector:
    """topics: {name: partitions}, which exist."""

    def __init__(self, bootstrap, topics, recorder, **config):
        self.topics, self.recorder = dict(topics), recorder
        self.failure = None
        self.count = 0
        self.seen = set()
        self.next = defaultdict(int)  # {(topic, partition): offset after the last record we have}
        self.bases = defaultdict(int)  # {(topic, partition): what offsets begin at, of a topic that was made again}
        self._asked = queue.SimpleQueue()  # what its thread is to do between two reads
        self._came = threading.Condition()
        self._stopping = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": bootstrap, **CONFIG, **config})
        # The end that a reader of committed records is told lies before any transaction that is open.
        self._ends = Consumer({"bootstrap.servers": bootstrap, **CONFIG})
        self._thread = threading.Thread(target=self._guarded, daemon=True, name="collector")

    def start(self):
        self._assign()
        self._thread.start()
        return self

    def wait_for(self, event_ids, timeout):
        """Waits until all of these have arrived. Those that have not when time is over."""
        missing = set(event_ids)

        def arrived():
            missing.difference_update(self.seen)
            return self.failure or not missing
        with self._came:
            wait_for(self._came, arrived, timeout)
        self._raise()
        return missing

    def ends(self, timeout=10):
        """{topic: [end of each partition]} as the brokers say now. Raises KafkaException when they do not. A leader that
        stood still, and has not heard yet of the next one, tells what it knew; never less than what has been read."""
        ends = {topic: [0] * partitions for topic, partitions in self.topics.items()}
        for topic, partition in self._partitions():
            end = self._end(TopicPartition(topic, partition), timeout)
            ends[topic][partition] = max(self.bases[topic, partition] + end, self.next[topic, partition])
        return ends

    def end_of(self, topic, partition, timeout=10):
        """Of any topic's partition."""
        return self._end(TopicPartition(topic, partition), timeout)

    def _end(self, partition, timeout):
        """Asks again while the partition is between leaders."""
        limit = now() + timeout
        while True:
            try:
                return self._ends.get_watermark_offsets(partition, timeout=max(0.1, limit - now()))[1]
            except KafkaException:
                if now() > limit or self._stopping.wait(0.1):
                    raise
                self._find_leaders()

    def _find_leaders(self):
        """It reads nothing, so that it would not look for them by itself."""
        try:
            self._ends.list_topics(timeout=1)
        except KafkaException:
            pass

    def grow(self, topic, partitions):
        """The topic has so many partitions now."""
        def change():
            self.topics[topic] = partitions
            self._assign()
        self._ask(change)

    @contextmanager
    def recreated(self, topic, timeout=60):
        """Around the topic's being deleted and made again, while nobody writes to it: what it holds is read before, and
        the offsets of the new one go on from there."""
        places = [(topic, n) for n in range(self.topics[topic])]
        ends = self.ends(timeout)[topic]
        with self._came:
            wait_for(self._came, lambda: self.failure or all(map(self._has, places, ends)), timeout)
        self._raise()
        self._ask(lambda: self._assign(without=topic))
        yield
        # A transaction that was open when the ends were asked for was ended after them, and that has been read, too.
        self.bases.update((place, max(end, self.next[place])) for place, end in zip(places, ends))
        self._ask(self._assign)

    def finish(self, timeout=60):
        """Reads on to what is now the end of every partition, and ends. Call when no relay publishes any more."""
        ends = self.ends(timeout)
        with self._came:
            done = wait_for(self._came, lambda: self.failure or self._reached(ends), timeout)
        self._stopping.set()
        self._thread.join()
        self._close()
        self._raise()
        if not done:
            raise RuntimeError(f"the collector did not reach {ends} in {timeout} s: {dict(self.next)}")

    def abandon(self):
        """Ends wherever it is; nothing if it has ended."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._thread.join()
            self._close()

    def _close(self):
        self._consumer.close()
        self._ends.close()

    def _reached(self, ends):
        return all(self._has((topic, partition), ends[topic][partition])
                   for topic, partition in self._partitions())

    def _has(self, place, end):
        return self.next[place] >= end

    def _assign(self, without=None):
        """Reads on where it is."""
        self._consumer.assign([TopicPartition(*place, max(0, self.next[place] - self.bases[place]))
                               for place in self._partitions() if place[0] != without])

    def _ask(self, function):
        """Has it done by its thread, to which the consumer's position belongs."""
        done = threading.Event()
        self._asked.put(lambda: (function(), done.set()))
        while not done.wait(0.1):
            self._raise()

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
                while not self._asked.empty():
                    self._asked.get()()
        except Exception as failure:  # pylint: disable=broad-except
            with self._came:
                self.failure = failure
                self._came.notify_all()

    def _take(self, messages):
        ends = [message for message in messages if _is_end(message)]
        records = [self._arrival(message) for message in messages if not _is_end(message) and _usable(message)]
        if not records and not ends:
            return
        self.recorder.add(*records)
        with self._came:
            for record in records:
                self.seen.add(record.event_id)
                self.next[record.topic, record.partition] = record.offset + 1
            for message in ends:
                place = message.topic(), message.partition()
                self.next[place] = max(self.next[place], self.bases[place] + message.offset())
            self.count += len(records)
            self._came.notify_all()

    def _arrival(self, message):
        event_id, headers = tokens.without_id(_headers(message))
        place = message.topic(), message.partition()
        return Arrival(*place, self.bases[place] + message.offset(), message.timestamp()[1],
                       tokens.text(message.key()), tokens.value(message.value()), event_id, headers,
                       round(now(), 3))


def _is_end(message):
    return message.error() is not None and message.error().code() == KafkaError._PARTITION_EOF


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

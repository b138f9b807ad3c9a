# SPDX-License-Identifier: ISC
"""Receives the events of section latency in a process of its own and notes when.

usage: latency_consumer.py BOOTSTRAP TOPIC PARTITIONS EVENTS SECONDS

Says "ready" once it is connected, then reads until it has seen EVENTS different events or SECONDS are
over. Then a line per event: n, and the microseconds (CLOCK_MONOTONIC) when it was in our hands first.
"""
import sys
import time
from array import array

from confluent_kafka import Consumer, TopicPartition

N = slice(7, 17)  # where n is in {"n": "0000000001", ...


def connect(bootstrap, topic, partitions):
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "bench-latency", "enable.auto.commit": False,
        "auto.offset.reset": "earliest", "socket.nagle.disable": True, "fetch.min.bytes": 1,
        "fetch.wait.max.ms": 100, "check.crcs": False})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    for number in range(partitions):
        consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)
    consumer.poll(1)
    return consumer


def receive(consumer, events, seconds):
    """When each arrived, by n; 0: not yet. As small as it can be, for runs of millions."""
    arrivals, seen = array("q", bytes(8 * events)), 0
    deadline = time.monotonic() + seconds
    while seen < events and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        now = time.monotonic_ns() // 1000
        if message is not None and not message.error():
            n = int(message.value()[N])
            if not arrivals[n]:
                arrivals[n] = now
                seen += 1
    return arrivals


def main():
    bootstrap, topic, partitions, events, seconds = sys.argv[1:]
    consumer = connect(bootstrap, topic, int(partitions))
    print("ready", flush=True)
    arrivals = receive(consumer, int(events), float(seconds))
    consumer.close()
    for n, microseconds in enumerate(arrivals):
        if microseconds:
            print(n, microseconds)


if __name__ == "__main__":
    main()

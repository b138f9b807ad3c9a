# SPDX-License-Identifier: ISC
"""What the Python client of Debian cannot ask of Kafka: reassign, elect leaders, change one setting.

Any broker takes these and hands them to the controller (KIP-590).
"""
import socket

from faults.kafkacodec import Reader, Writer

ELECT_LEADERS, ALTER_CONFIGS, REASSIGN = 43, 44, 45
ELECTION_NOT_NEEDED = 84
TOPIC = 2  # of the kinds of resources


class Refused(AssertionError):
    """Kafka has answered with an error."""


def _receive(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise Refused("the broker closed the connection")
        data += part
    return data


def _ask(port, api, version, body, flexible):
    """A reader on the body of the response."""
    head = Writer().number("hhi", api, version, 1).string("harness")
    head.flexible = flexible
    head.tags().parts.append(body.bytes())
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head.frame())
        size = int.from_bytes(_receive(connection, 4), "big")
        reader = Reader(_receive(connection, size), 4, flexible)
    reader.tags()
    reader.number("i")  # throttle time
    return reader


def _check(what, code, message="", allowed=(0,)):
    if code not in allowed:
        raise Refused(f"{what}: error {code} {message or ''}")


def _check_partitions(reader, what, allowed=(0,)):
    for _ in range(reader.count()):
        topic = reader.string()
        for _ in range(reader.count()):
            partition, code, message = reader.number("i"), reader.number("h"), reader.string()
            reader.tags()
            _check(f"{what} {topic}/{partition}", code, message, allowed)
        reader.tags()


def reassign(port, topic, partition, replicas):
    """Puts the partition on these brokers, the first of which is the preferred leader."""
    body = Writer(flexible=True).number("i", 30000).count(1).string(topic).count(1)
    body.number("i", partition).count(len(replicas))
    for broker in replicas:
        body.number("i", broker)
    reader = _ask(port, REASSIGN, 0, body.tags().tags().tags(), True)
    _check("reassign", reader.number("h"), reader.string())
    _check_partitions(reader, "reassign")


def elect_preferred(port, topic, partition):
    """Makes the preferred replica the leader, if it is in sync."""
    body = Writer().number("b", 0).count(1).string(topic).count(1).number("i", partition).number("i", 30000)
    reader = _ask(port, ELECT_LEADERS, 1, body, False)
    _check("elect leaders", reader.number("h"))
    _check_partitions(reader, "elect", (0, ELECTION_NOT_NEEDED))


def configure_topic(port, topic, settings):
    """Sets these, None to go back to the default; leaves the topic's other settings alone."""
    body = Writer().count(1).number("b", TOPIC).string(topic).count(len(settings))
    for name, value in settings.items():
        body.string(name).number("b", 1 if value is None else 0)
        body.string(None if value is None else str(value))
    reader = _ask(port, ALTER_CONFIGS, 0, body.number("b", 0), False)
    for _ in range(reader.count()):
        _check(f"configure {topic}", reader.number("h"), reader.string())
        reader.number("b")
        reader.string()

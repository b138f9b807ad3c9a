# SPDX-License-Identifier: ISC
"""Kafka's messages as bytes, for the tests of what reads them."""
from faults.kafkacodec import Writer

FLEXIBLE = {0: 9, 26: 3, 3: 9, 18: 3, 22: 2, 24: 3}


def request(api, version, correlation, body=b"", client="outbox-relay"):
    out = Writer().number("hhi", api, version, correlation).string(client)
    out.flexible = version >= FLEXIBLE[api]
    out.tags()
    out.parts.append(body)
    return out.frame()


def produce(version, correlation, topic="thing", partition=0, records=b"r" * 1000, client="outbox-relay"):
    out = Writer(version >= 9).string(None).number("hi", -1, 30000).count(1).string(topic).count(1)
    out.number("i", partition)
    out.uvarint(len(records) + 1) if out.flexible else out.number("i", len(records))
    out.parts.append(records)
    return request(0, version, correlation, out.tags().tags().tags().bytes(), client)


def produced(version, correlation, *partitions):
    """partitions: (topic, index, error)"""
    out = Writer().number("i", correlation)
    out.flexible = version >= 9
    out.tags().count(len(partitions))
    for topic, index, error in partitions:
        out.string(topic).count(1).number("ihqq", index, error, 42, -1)
        if version >= 5:
            out.number("q", 0)
        if version >= 8:
            out.count(1).number("i", 3).string("record").tags().string(None)
        out.tags().tags()
    return out.number("i", 0).tags().frame()


def end_txn(version, correlation, commit):
    body = Writer(version >= 3).string("tx").number("qh?", 7, 0, commit).tags().bytes()
    return request(26, version, correlation, body)


def ended(version, correlation, error):
    """The answer to an EndTxn."""
    out = Writer().number("i", correlation)
    out.flexible = version >= 3
    return out.tags().number("ih", 0, error).tags().frame()


def response(correlation, body=b"x" * 20):
    out = Writer().number("i", correlation)
    out.parts.append(body)
    return out.frame()

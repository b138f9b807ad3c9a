# SPDX-License-Identifier: ISC
"""What a broker that is not Apache Kafka answers, byte by byte."""
import pytest

from faults import kafkabytes as kafka
from faults.kafkacodec import Reader, Writer
from faults.kafkaproduce import partitions
from faults.profiles import Request, codecs, known_versions, metadata, refused_produce


def batch(codec):
    """A record batch of which only the attributes matter."""
    return bytes(21) + codec.to_bytes(2, "big") + bytes(40)


@pytest.mark.parametrize("version", [3, 7, 9, 12])
def test_produce(version):
    request = Request(kafka.produce(version, 5, records=batch(3)))
    assert request.name == "Produce" and codecs(request) == {"lz4"}
    assert [entry[:3] for entry in partitions(refused_produce(request, 43), version)] == [("thing", 0, 43)]


@pytest.mark.parametrize("version", [0, 3])
def test_hidden_and_limited_requests(version):
    request = Request(kafka.request(18, version, 7, client="c"))
    out = Writer(version >= 3).number("h", 0).count(3)
    for entry in ((0, 0, 12), (22, 0, 4), (32, 1, 4)):
        out.number("hhh", *entry).tags()
    answer = Writer().number("i", 7)
    answer.parts.append(out.number("i", 99).tags().bytes())
    changed = known_versions(request, answer.frame(), {"DescribeConfigs"}, {"Produce": (3, 9)})
    reader = Reader(changed, 8, version >= 3)
    assert reader.number("h") == 0
    found = []
    for _ in range(reader.count()):
        found.append(tuple(reader.number("h") for _ in range(3)))
        reader.tags()
    assert found == [(0, 3, 9), (22, 0, 4)] and reader.number("i") == 99


@pytest.mark.parametrize("version", [4, 9])
def test_advertised_addresses(version):
    request = Request(kafka.request(3, version, 8, client="c"))
    flexible = version >= 9
    answer = Writer().number("i", 8)
    answer.flexible = flexible
    answer.tags().number("i", 0).count(1)
    answer.number("i", 1).string("kafka").number("i", 9092).string(None).tags()
    answer.string("cluster").number("i", 1)
    answer.parts.append(b"topics")
    changed = metadata(request, answer.frame(), ("127.0.0.1", 9), "", -1)
    reader = Reader(changed, 8, flexible)
    reader.tags()
    assert (reader.number("i"), reader.count(), reader.number("i")) == (0, 1, 1)
    assert (reader.string(), reader.number("i"), reader.string()) == ("127.0.0.1", 9, None)
    reader.tags()
    assert (reader.string(), reader.number("i"), changed[reader.at:]) == (None, -1, b"topics")

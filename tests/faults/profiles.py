# SPDX-License-Identifier: ISC
"""Brokers that are not Apache Kafka: a proxy that answers as they do, before a real broker.

    broker = Stranger(("127.0.0.1", 9092), hidden=["DescribeConfigs"])
    broker.bootstrap       # for a client; the broker's own address never reaches it

A request is forwarded, answered by the proxy, or the connection is closed at it; what the real broker answers
is changed. Frames are read whole, as here is no need for holding them at a byte (proxy.py does that).
"""
import asyncio
import struct

from faults.kafkacodec import Reader, Writer
from faults.kafkaproduce import ERRORS, PRODUCE_FLEXIBLE
from faults.kafkawire import APIS, HEAD
from faults.loop import shared_thread

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]  # by the number in a batch's attributes
ATTRIBUTES = 21  # where they are in a batch: KIP-98's record batch
ERROR = {**ERRORS, "UNSUPPORTED_VERSION": 35, "UNSUPPORTED_FOR_MESSAGE_FORMAT": 43, "INVALID_PRODUCER_ID_MAPPING": 49,
         "UNSUPPORTED_COMPRESSION_TYPE": 76, "COORDINATOR_NOT_AVAILABLE": 15}
CLOSE = "close"
# From this version on requests have compact strings and tagged fields.
FLEXIBLE = {"Produce": PRODUCE_FLEXIBLE, "Metadata": 9, "ApiVersions": 3, "InitProducerId": 2, "CreateTopics": 5,
            "DescribeConfigs": 4}


class Request:
    """One that a client sent. reader stands behind its header."""

    def __init__(self, frame):
        _, api, self.version, self.correlation = HEAD.unpack_from(frame)
        self.name = APIS.get(api, f"Api{api}")
        self.frame = frame
        self.flexible = self.version >= FLEXIBLE.get(self.name, 99)

    def reader(self):
        reader = Reader(self.frame, HEAD.size)
        reader.string()  # client id, in the old encoding always
        reader.flexible = self.flexible
        reader.tags()
        return reader

    def answer(self):
        """The beginning of one. ApiVersions has the old header in all versions."""
        out = Writer().number("i", self.correlation)
        out.flexible = self.flexible
        return out if self.name == "ApiVersions" else out.tags()


def batches(request):
    """[(topic, [(partition, records)])] of a Produce."""
    reader = request.reader()
    reader.string()
    reader.take(6)  # acks, timeout
    found = []
    for _ in range(reader.count()):
        topic, partitions = reader.string(), []
        for _ in range(reader.count()):
            index = reader.number("i")
            partitions.append((index, reader.take(reader.count())))
            reader.tags()
        reader.tags()
        found.append((topic, partitions))
    return found


def codecs(request):
    """Those of the batches of a Produce."""
    return {CODECS[struct.unpack_from(">h", records, ATTRIBUTES)[0] & 7]
            for _, partitions in batches(request) for _, records in partitions}


def refused_produce(request, error):
    """Each partition gets the error, and nothing is written."""
    topics = batches(request)
    out = request.answer().count(len(topics))
    for topic, partitions in topics:
        out.string(topic).count(len(partitions))
        for index, _ in partitions:
            out.number("ihqq", index, error, -1, -1)
            if request.version >= 5:
                out.number("q", -1)
            if request.version >= 8:
                out.count(0).string(None)
            out.tags()
        out.tags()
    return out.number("i", 0).tags().frame()


def refused_settings(request, error):
    reader = request.reader()
    resources = []
    for _ in range(reader.count()):
        resources.append((reader.number("b"), reader.string()))
        for _ in range(max(0, reader.count())):
            reader.string()
    out = request.answer().number("i", 0).count(len(resources))
    for kind, name in resources:
        out.number("h", error).string(None).number("b", kind).string(name).count(0)
    return out.frame()


def refused_creation(request, error):
    reader = request.reader()
    reader.count()
    name = reader.string()  # the relay asks for one at a time
    out = request.answer()
    if request.version >= 2:
        out.number("i", 0)
    out.count(1).string(name).number("h", error)
    return (out.string(None) if request.version >= 1 else out).frame()


def refused_producer(request, error):
    return request.answer().number("ihqh", 0, error, -1, -1).tags().frame()


REFUSALS = {"Produce": refused_produce, "DescribeConfigs": refused_settings, "CreateTopics": refused_creation,
            "InitProducerId": refused_producer}


def known_versions(request, frame, hidden, limits):
    """A broker's ApiVersions without what is hidden; limits: {API: (oldest, newest)}."""
    reader = Reader(frame, 8, request.flexible)
    error, known = reader.number("h"), []
    for _ in range(reader.count()):
        key, oldest, newest = reader.number("h"), reader.number("h"), reader.number("h")
        reader.tags()
        name = APIS.get(key)
        if name not in hidden:
            known.append((key, *limits.get(name, (oldest, newest))))
    out = request.answer().number("h", error).count(len(known))
    for entry in known:
        out.number("hhh", *entry).tags()
    out.parts.append(frame[reader.at:])
    return out.frame()


def metadata(request, frame, address, cluster, controller):
    """Every broker is at the address; cluster, controller: instead of the real ones, None to leave them."""
    reader = Reader(frame, 8, request.flexible)
    reader.tags()
    out = request.answer()
    if request.version >= 3:
        out.number("i", reader.number("i"))
    count = reader.count()
    out.count(count)
    for _ in range(count):
        out.number("i", reader.number("i"))
        reader.string(), reader.number("i")
        out.string(address[0]).number("i", address[1])
        if request.version >= 1:
            out.string(reader.string())
        reader.tags(), out.tags()
    if request.version >= 2:
        real = reader.string()
        out.string(real if cluster is None else cluster or None)
    if request.version >= 1:
        real = reader.number("i")
        out.number("i", real if controller is None else controller)
    out.parts.append(frame[reader.at:])
    return out.frame()


class Stranger:
    """hidden: APIs that it does not tell of, and closes the connection at. limits: {API: (oldest, newest)}.
    refuses: {API: an error's name, or CLOSE}. codecs: those it takes; others get codec_error. answers: a
    function of each request that may return an answer, CLOSE or None. advertised, cluster ("": none),
    controller: what its Metadata say instead of the truth. speaks_versions: whether it answers ApiVersions."""

    def __init__(self, target, hidden=(), limits=None, refuses=None, takes=CODECS,
                 codec_error="UNSUPPORTED_COMPRESSION_TYPE", answers=None, advertised=None, cluster=None,
                 controller=None, speaks_versions=True):
        self.target, self.hidden, self.limits, self.refuses = target, set(hidden), limits or {}, refuses or {}
        self.takes, self.codec_error, self.answers = set(takes), codec_error, answers
        self.advertised, self.cluster, self.controller = advertised, cluster, controller
        self.speaks_versions = speaks_versions
        self.requests = []  # (name, what was done: "forwarded", "answered", CLOSE)
        self.taken = set()  # codecs of what was forwarded
        self.thread = shared_thread()
        self.links = set()
        self.thread.run(self.listen())

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def count(self, name, done=None):
        return sum(entry[0] == name and done in (None, entry[1]) for entry in self.requests)

    def close(self):
        self.thread.run(self.shut())

    # In the proxies' thread.

    async def listen(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def shut(self):
        self.server.close()
        for writer in list(self.links):
            writer.transport.abort()

    async def serve(self, reader, writer):
        try:
            up_reader, up = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        self.links |= {writer, up}
        pending = {}
        try:
            await asyncio.wait([asyncio.ensure_future(self.forward(reader, writer, up, pending)),
                                asyncio.ensure_future(self.reply(up_reader, writer, pending))],
                               return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in (writer, up):
                end.close()
                self.links.discard(end)

    async def forward(self, reader, writer, up, pending):
        try:
            while True:
                request = Request(await read_frame(reader))
                done = self.judge(request)
                self.requests.append((request.name, "forwarded" if done is None else
                                      done if done == CLOSE else "answered"))
                if done == CLOSE:
                    return
                if done is None:
                    pending[request.correlation] = request
                    up.write(request.frame)
                else:
                    writer.write(done)
        except (asyncio.IncompleteReadError, OSError):
            pass

    def judge(self, request):
        """None: it is forwarded."""
        made = self.answers(request) if self.answers else None
        if made is not None:
            return made
        if request.name in self.hidden or (request.name == "ApiVersions" and not self.speaks_versions):
            return CLOSE
        if request.name in self.refuses:
            error = self.refuses[request.name]
            return CLOSE if error == CLOSE else REFUSALS[request.name](request, ERROR[error])
        if request.name == "Produce":
            if codecs(request) - self.takes:
                return refused_produce(request, ERROR[self.codec_error])
            self.taken |= codecs(request)
        return None

    async def reply(self, reader, writer, pending):
        try:
            while True:
                frame = await read_frame(reader)
                request = pending.pop(struct.unpack_from(">i", frame, 4)[0], None)
                writer.write(self.changed(request, frame) if request else frame)
        except (asyncio.IncompleteReadError, OSError):
            pass

    def changed(self, request, frame):
        if request.name == "ApiVersions":
            return known_versions(request, frame, self.hidden, self.limits)
        if request.name == "Metadata":
            return metadata(request, frame, self.advertised or ("127.0.0.1", self.port), self.cluster,
                            self.controller)
        return frame


async def read_frame(reader):
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack(">i", head)[0])

# SPDX-License-Identifier: ISC
"""One connection through a proxy: two ends, and between them a pipe in each direction.

All here runs in the proxy's thread. As long as no rule is armed a pipe forwards what it got as it got it,
having looked for the borders of messages only.
"""
import asyncio
import socket
import struct
from collections import deque

FULL = 1 << 22  # a pipe that is held takes so much, then it stops reading: the sender sees its window close
SLICES = 20     # a throttled pipe sends so often a second


class Item:
    """Bytes on their way. mark: what begins with their first byte, or None."""
    __slots__ = ("due", "data", "mark", "judged")

    def __init__(self, due, data, mark):
        self.due, self.data, self.mark, self.judged = due, data, mark, False


class Pipe:
    """From one end to the other."""

    def __init__(self, link, direction, splitter):
        self.link, self.direction, self.splitter = link, direction, splitter
        self.source = self.target = None  # ends
        self.gates = set()   # while there is one, nothing passes
        self.delays = set()  # rules
        self.rates = set()
        self.dropping = False
        self.skip = 0        # bytes of a message that is not to be forwarded
        self.injected = []   # for the next border between messages
        self.queue = deque()
        self.size = 0        # bytes in queue
        self.free_at = 0     # when a throttled pipe may send again
        self.timer = None
        self.ended = None    # how the source has ended, once it has

    @property
    def idle(self):
        return not (self.queue or self.gates or self.dropping or self.skip or self.injected
                    or self.link.proxy.rules)

    def receive(self, data):
        if self.dropping:
            return
        data, marks = self.splitter.feed(data)
        if self.idle:
            self.target.write(data)
            for _, message, what in marks:
                self.link.passed(message, what)
        else:
            self.enqueue(data, marks)
            self.pump()

    def enqueue(self, data, marks):
        due = self.link.loop.time() + sum(rule.seconds for rule in self.delays) if self.delays else 0
        borders = [mark[0] for mark in marks] + [len(data)]
        if borders[0] > 0:
            self.add(Item(due, data[:borders[0]], None))
        for mark, end in zip(marks, borders[1:]):
            self.add(Item(due, data[mark[0]:end], mark))

    def add(self, item):
        self.queue.append(item)
        self.size += len(item.data)
        self.pace()

    def pace(self):
        if self.source:
            self.source.read(self.size < FULL and not (self.target and self.target.full))

    def end(self, how):
        """The source will send no more: "fin", or "rst" when it broke. A reset must not overtake what is
        kept here: late requests of the dead are what a hold is for."""
        if self.ended is None:
            self.ended = "fin" if self.queue else how
            self.pump()

    def open(self, gate):
        if gate in self.gates:
            self.gates.discard(gate)
            self.pump()

    def drop(self):
        self.dropping = True
        self.queue.clear()
        self.size = 0
        self.pace()

    def inject(self, data):
        """Bytes of our own, as soon as they stand between two messages."""
        self.injected.append(data)
        self.pump()

    def pump(self):
        """Forwards what may be forwarded."""
        while self.queue and not self.gates and not self.link.closed:
            item = self.queue[0]
            wait = max(item.due, self.free_at if self.rates else 0) - self.link.loop.time()
            if wait > 0:
                self.later(wait)
                return
            if item.mark and not item.judged:
                item.judged = True
                self.link.judge(self, item)
            else:
                self.forward(item)
        if not self.queue and not self.gates and not self.link.closed:
            self.finish()

    def forward(self, item):
        data = self.slice(item)
        if item.mark and not self.skip:
            self.link.passed(*item.mark[1:])
            item.mark = None
        if self.skip:
            skipped = min(self.skip, len(data))
            self.skip -= skipped
            data = data[skipped:]
        self.target.write(data)

    def slice(self, item):
        """Takes the item out of the queue, or the part of it that may be sent at once."""
        data = item.data
        if self.rates:
            rate = min(rule.rate for rule in self.rates)
            data = data[:max(1, int(rate / SLICES))]
            self.free_at = max(self.free_at, self.link.loop.time()) + len(data) / rate
        item.data = item.data[len(data):]
        if not item.data:
            self.queue.popleft()
        self.size -= len(data)
        self.pace()
        return data

    def finish(self):
        """Nothing is left in the queue."""
        while self.injected and self.splitter.at_border:
            self.target.write(self.injected.pop(0))
        if self.ended is not None and not self.dropping:
            self.target.write(self.splitter.carry)
            self.target.close(self.ended)

    def later(self, seconds):
        if self.timer is None:
            self.timer = self.link.loop.call_later(seconds, self.wake)

    def wake(self):
        self.timer = None
        self.pump()


class End(asyncio.Protocol):
    """One of the two sockets: the client's or the server's."""

    def __init__(self, link, reads, writes):
        self.link, self.reads, self.writes = link, reads, writes  # pipes
        self.transport = None
        self.full = False    # the peer does not read as fast as we write
        reads.source = writes.target = self

    def connection_made(self, transport):
        self.transport = transport
        self.link.made(self)
        self.reads.pace()

    def data_received(self, data):
        self.reads.receive(data)

    def eof_received(self):
        self.reads.end("fin")
        return True  # we close it when what it said has been passed on

    def connection_lost(self, exc):
        self.reads.end("rst" if exc else "fin")
        self.link.lost(self)

    def pause_writing(self):
        self.full = True
        self.writes.pace()

    def resume_writing(self):
        self.full = False
        self.writes.pace()

    def write(self, data):
        if data and self.transport and not self.transport.is_closing():
            self.transport.write(data)

    def read(self, on):
        if self.transport and not self.transport.is_closing():
            (self.transport.resume_reading if on else self.transport.pause_reading)()

    def close(self, how):
        """"fin": after what was written; "rst": at once, and the peer is told so (SO_LINGER of 0)."""
        if not self.transport:
            return
        if how == "fin":
            self.transport.close()
        else:
            sock = self.transport.get_extra_info("socket")
            if not self.transport.is_closing():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


class Link:
    """A client's connection and ours to the server. info: what its wire has learnt of it."""

    def __init__(self, proxy, number):
        self.proxy, self.loop, self.number = proxy, proxy.loop, number
        self.info = {}
        self.wire = proxy.wire(self.info)
        self.pipes = {"up": Pipe(self, "up", self.wire.up), "down": Pipe(self, "down", self.wire.down)}
        self.pipes["up"].gates.add(self)  # until there is a connection to the server
        self.client = End(self, self.pipes["up"], self.pipes["down"])
        self.server = End(self, self.pipes["down"], self.pipes["up"])
        self.closed = False

    def made(self, end):
        if end is self.client:
            self.proxy.opened(self)
            self.task = self.loop.create_task(self.connect())

    async def connect(self):
        try:
            await self.loop.create_connection(lambda: self.server, *self.proxy.target)
        except OSError:
            self.cut("rst")
            return
        if self.closed:
            self.server.close("rst")
        self.pipes["up"].open(self)

    def lost(self, end):
        """An end is gone; the link is when both are, or when the server never was there."""
        other = self.server if end is self.client else self.client
        if other.transport is None or other.transport.is_closing():
            self.forget()

    def judge(self, pipe, item):
        for rule in list(self.proxy.rules):
            if not self.closed:
                rule.on_item(self, pipe, item)

    def passed(self, message, what):
        self.proxy.passed(self, message, what)

    def cut(self, how):
        for pipe in self.pipes.values():
            pipe.queue.clear()
        self.client.close(how)
        self.server.close(how)
        self.forget()

    def forget(self):
        if not self.closed:
            self.closed = True
            self.proxy.closed(self)

# SPDX-License-Identifier: ISC
"""What may be done to a connection: each kind of rule, when it fires and what it does.

A rule without a message works at once, on the connections there are and (but for Cut) on those to come,
until it is released. A rule at a message waits for the n-th that matches, on all connections counted
together, and works on that message's connection. Rules live in the proxy's thread; a test holds one to
wait for it and to release it.
"""
import socket
import threading

from faults.kafkaproduce import code_of, refusal, with_error
from faults.patience import Patience
from faults.wire import ANSWERED, SENT, is_called

BOTH = ("up", "down")  # up: from the client to the server
WHEN = {"before": SENT, "after": ANSWERED}


def fits(where, link):
    """where: None for any connection, a dictionary of what its info must say, or a function of the link."""
    if where is None:
        return True
    if callable(where):
        return bool(where(link))
    return all(link.info.get(name) == value for name, value in where.items())


class Rule:
    """at, when: the message; None for at once. nth: the first that counts; times: how many it works on,
    None for all. where: see fits. direction: "up", "down" or "both"; by default that of the message."""

    lasts = True  # a rule without a message also works on connections to come

    def __init__(self, at=None, when="before", nth=1, times=1, where=None, direction=None):
        self.at, self.when, self.nth, self.times, self.where = at, WHEN[when], nth, times, where
        self.direction = direction
        self.proxy = None
        self.seen = 0
        self.links = []     # what it was applied to
        self.messages = []  # and at which messages
        self.problem = None  # why it could not work
        self._fired = threading.Event()

    # In the test's thread.

    def wait(self, timeout=20):
        """Waits until it has worked on something."""
        patience = Patience(self.proxy.thread)
        while not self._fired.wait(min(1, timeout)):
            assert patience() < timeout, f"{self} did not fire within {timeout} s"
        if self.problem:
            raise self.problem
        return self

    @property
    def fired(self):
        return self._fired.is_set()

    def release(self):
        """Takes it back; what it kept goes on. May be called twice."""
        self.proxy.disarm(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def __repr__(self):
        return f"{type(self).__name__}(at={self.at!r}, when={self.when}, nth={self.nth})"

    # In the proxy's thread.

    def on_link(self, link):
        """A connection is there, or more is known of it."""
        if self.at is None and link not in self.links and fits(self.where, link):
            self.fire(link, None, None)

    def on_item(self, link, pipe, item):
        """A message is at the head of its pipe."""
        message, what = item.mark[1:]
        if self.at is None:
            self.on_link(link)
        elif what == self.when and is_called(self.at, message) and fits(self.where, link):
            self.seen += 1
            if self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times):
                self.fire(link, pipe, item)

    def fire(self, link, pipe, item):
        self.links.append(link)
        if item:
            self.messages.append(item.mark[1])
        try:
            self.apply(link, pipe, item)
        except Exception as problem:  # to be raised in the test's thread
            self.problem = problem
        self._fired.set()

    def pipes(self, link, pipe):
        """Those it works on: by default the message's, or both when there is none."""
        direction = self.direction or (pipe.direction if pipe else "both")
        return [link.pipes[name] for name in (BOTH if direction == "both" else (direction,))]

    def apply(self, link, pipe, item):
        raise NotImplementedError

    def undo(self):
        pass


class Hold(Rule):
    """Keeps bytes until it is released. What the connection's ends do meanwhile, closing too, stays hidden."""

    def apply(self, link, pipe, item):
        for held in self.pipes(link, pipe):
            held.gates.add(self)

    def undo(self):
        for link in self.links:
            for pipe in link.pipes.values():
                pipe.open(self)


class Drop(Rule):
    """Swallows bytes, silently and for good, as a partition does that outlasts the connection."""

    def apply(self, link, pipe, item):
        for dropped in self.pipes(link, pipe):
            dropped.drop()


class Cut(Rule):
    """Ends the connection on both sides: how is "rst" or "fin"."""

    lasts = False

    def __init__(self, how="rst", **options):
        super().__init__(**options)
        self.how = how

    def apply(self, link, pipe, item):
        link.cut(self.how)


class Delay(Rule):
    """Everything takes so many milliseconds more; at a message: it and what follows wait once."""

    def __init__(self, ms, **options):
        super().__init__(**options)
        self.seconds = ms / 1000

    def apply(self, link, pipe, item):
        for late in self.pipes(link, pipe):
            if item is None:
                late.delays.add(self)
            else:
                late.gates.add(self)
                link.loop.call_later(self.seconds, late.open, self)

    def undo(self):
        for link in self.links:
            for pipe in link.pipes.values():
                pipe.delays.discard(self)
                pipe.open(self)


class Throttle(Rule):
    """So many bytes a second, for each connection and direction; at a message: from it on."""

    def __init__(self, rate, **options):
        super().__init__(**options)
        self.rate = rate

    def apply(self, link, pipe, item):
        for slow in self.pipes(link, pipe):
            slow.rates.add(self)

    def undo(self):
        for link in self.links:
            for pipe in link.pipes.values():
                pipe.rates.discard(self)


class Repeat(Rule):
    """The message passes, and a copy of it is kept: again() has it come once more, late."""

    def __init__(self, **options):
        super().__init__(**options)
        self.copies = []  # (message, its bytes)

    def apply(self, link, pipe, item):
        message = item.mark[1]
        if len(item.data) != message.length:
            raise ValueError(f"{message} has come in parts, and only what comes whole can be repeated")
        self.copies.append((message, item.data))

    def again(self, target=None):
        """In the test's thread: sends the copies, over a connection of their own, to the broker they were for unless to
        another. [(message, answer)]"""
        answers = []
        target = target or self.proxy.target
        with socket.create_connection(target, timeout=60) as connection, connection.makefile("rb") as file:
            for message, data in self.copies:
                connection.sendall(data)
                size = file.read(4)
                answers.append((message, size + file.read(int.from_bytes(size, "big"))))
        return answers


class Fail(Rule):
    """A Produce is answered with an error. written: the broker has got it all the same, else it never does."""

    def __init__(self, error, topic=None, written=False, **options):
        super().__init__(at=self.concerns, when="after" if written else "before", **options)
        self.error, self.topic, self.written = code_of(error), topic, written

    def concerns(self, message):
        return message.names[0] == "Produce" and self.topic in (None, message.facts.get("topic"))

    def apply(self, link, pipe, item):
        message = item.mark[1]
        if self.written:
            item.data = with_error(item.data, message.facts["version"], self.topic, self.error)
        else:
            answer = refusal(message, self.error)
            link.wire.pending.pop(message.facts["correlation"], None)
            pipe.skip = message.length
            link.pipes["down"].inject(answer)

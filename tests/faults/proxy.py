# SPDX-License-Identifier: ISC
"""A TCP proxy that a test rules over: it holds, drops, delays or cuts at a named message.

    proxy = Proxy(("127.0.0.1", 5432), PgWire)
    with proxy.hold(at="COMMIT", when="after", where={"application_name": "outbox-relay"}) as held:
        held.wait()              # the server has committed, and the client does not know
        server.kill()
    proxy.wait_for("claim", since=proxy.mark())

when="before": the message's first byte has not been forwarded. when="after": the server has answered it,
and the answer's first byte has not been forwarded. The peers' kernels answer keepalives themselves: what a
vanished host does to those cannot be shown by a proxy in user space.
"""
import threading
import time
from collections import namedtuple

from faults.link import Link
from faults.loop import shared_thread
from faults.patience import Patience
from faults.rules import Cut, Delay, Drop, Fail, Hold, Repeat, Throttle, fits
from faults.wire import ANSWERED, SENT, RawWire, is_called

Passed = namedtuple("Passed", "time link what message")  # what: SENT or ANSWERED
REMEMBERED = 200_000  # of what has passed


def _matching(entries, at, answered, where):
    what = ANSWERED if answered else SENT
    return [entry for entry in entries
            if entry.what == what and is_called(at, entry.message) and fits(where, entry.link)]


class Proxy:
    """Listens on 127.0.0.1 and connects to target, (host, port), which may be changed at any time for the
    connections to come. wire: PgWire, KafkaWire or RawWire. Its methods are for the test's thread."""

    def __init__(self, target, wire=RawWire, port=0, name="proxy", thread=None):
        self.target, self.wire, self.port, self.name = target, wire, port, name
        self.thread = thread or shared_thread()
        self.loop = self.thread.loop
        self.rules = []      # armed, the oldest first
        self.links = set()
        self.numbers = 0
        self.listener = None
        self.log = []        # Passed
        self.forgotten = 0   # how many were taken out of log
        self.waiting = 0
        self.news = threading.Condition()
        self.thread.run(self._listen())

    # Rules. Options: at, when, nth, times, where, direction (see Rule).

    def hold(self, **options):
        return self.arm(Hold(**options))

    def drop(self, **options):
        return self.arm(Drop(**options))

    def cut(self, how="rst", **options):
        return self.arm(Cut(how, **options))

    def delay(self, ms, **options):
        return self.arm(Delay(ms, **options))

    def throttle(self, rate, **options):
        return self.arm(Throttle(rate, **options))

    def fail(self, error, topic=None, written=False, **options):
        """A Produce to topic (None: any) is answered with error, a number or a name of ERRORS."""
        return self.arm(Fail(error, topic, written, **options))

    def repeat(self, **options):
        """What comes at a message of Kafka's may come once more (see Repeat)."""
        return self.arm(Repeat(**options))

    def refuse(self):
        """New connections are refused until it is released."""
        self.thread.call(self._deafen)
        return _Refusal(self)

    def arm(self, rule):
        rule.proxy = self
        self.thread.call(self._arm, rule)
        return rule

    def disarm(self, rule):
        self.thread.call(self._disarm, rule)

    def heal(self):
        """Takes all rules back and listens again; what was dropped or cut stays so."""
        for rule in list(self.rules):
            self.disarm(rule)
        self.listen()

    def listen(self):
        self.thread.run(self._listen())

    # What has passed.

    def mark(self):
        """Now, as `since` of the next ones."""
        with self.news:
            return self.forgotten + len(self.log)

    def passed_since(self, since=0):
        """[Passed]; the oldest are forgotten after a while."""
        with self.news:
            return self.log[max(0, since - self.forgotten):]

    def count(self, at, answered=False, since=0, where=None):
        return len(_matching(self.passed_since(since), at, answered, where))

    def wait_for(self, at, answered=False, nth=1, since=0, where=None, timeout=20):
        """Waits until the nth such message since `since` has passed, or its answer has; which one."""
        patience = Patience(self.thread)
        found = []
        with self.news:
            self.waiting += 1
            try:
                while True:
                    news = self.passed_since(since)
                    since = max(since, self.forgotten) + len(news)
                    found += _matching(news, at, answered, where)
                    if len(found) >= nth:
                        return found[nth - 1]
                    left = timeout - patience()
                    assert left > 0, (f"{self.name}: waited {timeout} s in vain for {at!r}"
                                      f" ({len(found)} of {nth})")
                    self.news.wait(min(left, 1))
            finally:
                self.waiting -= 1

    def close(self):
        """Stops listening, and resets what is connected."""
        self.thread.call(self._close)

    # In the proxy's thread.

    async def _listen(self):
        if self.listener is None:
            self.listener = await self.loop.create_server(self._accept, "127.0.0.1", self.port)
            self.port = self.listener.sockets[0].getsockname()[1]

    def _accept(self):
        self.numbers += 1
        return Link(self, self.numbers).client

    def _deafen(self):
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def _arm(self, rule):
        if rule.at is not None or rule.lasts:
            self.rules.append(rule)
        for link in list(self.links):
            rule.on_link(link)

    def _disarm(self, rule):
        if rule in self.rules:
            self.rules.remove(rule)
        rule.undo()

    def opened(self, link):
        self.links.add(link)
        for rule in list(self.rules):
            rule.on_link(link)

    def closed(self, link):
        self.links.discard(link)

    def passed(self, link, message, what):
        self.log.append(Passed(time.monotonic(), link, what, message))
        if len(self.log) > REMEMBERED:
            with self.news:
                self.forgotten += REMEMBERED // 2
                del self.log[:REMEMBERED // 2]
        if self.waiting:
            with self.news:
                self.news.notify_all()

    def _close(self):
        self._deafen()
        self.rules.clear()
        for link in list(self.links):
            link.cut("rst")


class _Refusal:
    """What takes refuse() back."""

    def __init__(self, proxy):
        self.proxy = proxy

    def release(self):
        self.proxy.listen()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

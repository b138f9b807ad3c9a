# SPDX-License-Identifier: ISC
"""The thread in which all proxies of a test live, and how it keeps up."""
import asyncio
import sys
import threading

BEAT = 0.1  # s, of a thread that is not held up


class LoopThread:
    """A thread with an event loop. beats: how often it has come round to counting, every BEAT at most."""

    def __init__(self):
        self.beats = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)
        # The other threads' Python must not make every packet wait for 5 ms, the interpreter's default.
        sys.setswitchinterval(0.0005)
        self.thread.start()
        self.loop.call_soon_threadsafe(self._beat)

    def _beat(self):
        self.beats += 1
        self.loop.call_later(BEAT, self._beat)

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def call(self, function, *args):
        async def wrapped():
            return function(*args)
        return self.run(wrapped())

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


_shared = None


def shared_thread():
    global _shared
    if _shared is None:
        _shared = LoopThread()
    return _shared

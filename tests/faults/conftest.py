# SPDX-License-Identifier: ISC
"""What the proxies' tests share: one loop, and a world on it for each kind of peer."""
import pytest

from faults.kafkawire import KafkaWire
from faults.loop import LoopThread
from faults.peers import World
from faults.pgwire import PgWire
from faults.wire import RawWire


@pytest.fixture(scope="module")
def thread():
    thread = LoopThread()
    yield thread
    thread.stop()


def world_of(wire):
    """A fixture: a world for this kind of peer."""
    @pytest.fixture
    def make(thread):
        world = World(wire, thread)
        yield world
        world.close()
    return make


raw = world_of(RawWire)
postgres = world_of(PgWire)
broker = world_of(KafkaWire)

"""What the proxies' tests share: one loop, and a world on it for each kind of peer."""
import pytest

from faults.kafkawire import KafkaWire
from faults.peers import World
from faults.pgwire import PgWire
from faults.proxy import LoopThread
from faults.wire import RawWire


@pytest.fixture(scope="module")
def thread():
    thread = LoopThread()
    yield thread
    thread.stop()


@pytest.fixture
def raw(thread):
    world = World(RawWire, thread)
    yield world
    world.close()


@pytest.fixture
def postgres(thread):
    world = World(PgWire, thread)
    yield world
    world.close()


@pytest.fixture
def broker(thread):
    world = World(KafkaWire, thread)
    yield world
    world.close()

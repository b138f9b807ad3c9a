# SPDX-License-Identifier: ISC
"""Faults of the brokers and of their topics."""

from faults.catalog import KAFKA, fault
from faults.history import REJECT, Partitions, now
from faults.patience import until
from faults.stage import PARTITIONS

# An outage leaves a backlog, which is not to be drained in batches of a few rows.
OUTAGE = {"outbox": {"claim_rows": 500, "batch_rows": 2000}}


def a_topic(stage, rng):
    return rng.choice(sorted(stage.topics))


def a_leader(stage, rng):
    """A broker that leads one of the partitions, at least."""
    return stage.kafka.leading(a_topic(stage, rng), rng.randrange(PARTITIONS))


def in_sync(stage):
    for topic in stage.topics:
        stage.kafka.wait_in_sync(topic)


@fault("F21", "kill -9 of a leader", KAFKA, settings=OUTAGE, times=2)
def kill_leader(stage, rng):
    broker = a_leader(stage, rng)
    broker.kill()
    stage.wait(rng.uniform(0, 6))
    broker.start()
    in_sync(stage)


def _pause(stage, rng, seconds):
    broker = a_leader(stage, rng)
    broker.pause()
    try:
        stage.wait(seconds)
    finally:
        broker.resume()
    in_sync(stage)


@fault("F24", "SIGSTOP of a leader for 1 s", KAFKA, times=3)
def pause_shortly(stage, rng):
    """Less than anybody's timeout."""
    _pause(stage, rng, 1)


@fault("F24", "SIGSTOP of a leader for 10 s", KAFKA, settings=OUTAGE)
def pause(stage, rng):
    """Another leads meanwhile; what the old one had taken may have been acknowledged by nobody."""
    _pause(stage, rng, 10)


@fault("F24", "SIGSTOP of a leader for 60 s", KAFKA, settings=OUTAGE)
def pause_long(stage, rng):
    _pause(stage, rng, 60)


@fault("F25", "rolling restart of the brokers", KAFKA, settings=OUTAGE)
def rolling_restart(stage, _):
    for broker in stage.kafka.brokers.values():
        broker.stop()
        broker.start()
        in_sync(stage)


@fault("F26", "two of three brokers down", KAFKA, settings=OUTAGE)
def two_down(stage, rng):
    """NOT_ENOUGH_REPLICAS, or no leader at all."""
    for broker in rng.sample(sorted(stage.kafka.brokers.values(), key=lambda b: b.id), 2):
        broker.kill()
    stage.wait(rng.uniform(2, 10))
    stage.kafka.start()
    in_sync(stage)


@fault("F27", "all brokers down, while a backlog grows", KAFKA, settings=OUTAGE)
def all_down(stage, rng):
    for broker in stage.kafka.brokers.values():
        broker.kill()
    stage.wait(rng.uniform(10, 30))
    stage.kafka.start()
    in_sync(stage)


@fault("F27", "all brokers stand still, and one more relay comes", KAFKA, limit=60,
       settings={"outbox": {**OUTAGE["outbox"], "shards": 1}})
def all_still(stage, rng):
    """For longer than a relay leaves events with its producer while another could publish them: nobody can, though the
    others have nothing to do and notice it only when they ask. So nothing is repeated."""
    for broker in stage.kafka.brokers.values():
        broker.pause()
    try:
        stage.wait(rng.uniform(10, 30))
        stage.fleet.add()
        stage.wait(45)
    finally:
        for broker in stage.kafka.brokers.values():
            broker.resume()
    in_sync(stage)


@fault("F33", "leaders move", KAFKA, times=4)
def move_leader(stage, rng):
    topic, partition = a_topic(stage, rng), rng.randrange(PARTITIONS)
    others = set(stage.kafka.brokers) - {stage.kafka.leader(topic, partition)}
    stage.kafka.move_leader(topic, partition, rng.choice(sorted(others)))


@fault("F33", "partitions are added", KAFKA)
def add_partitions(stage, rng):
    """A relay learns of them when it asks for metadata again, at the latest once a leader has moved. What a key had
    before the change and after is in two partitions, and no order between them is promised by anybody."""
    topic = a_topic(stage, rng)
    total = PARTITIONS + rng.randint(1, 5)
    stage.recorder.add(Partitions(topic, total, now()))
    stage.kafka.add_partitions(topic, total)
    stage.collector.grow(topic, total)
    stage.kafka.wait_in_sync(topic)
    stage.wait(rng.uniform(0, 1))
    for _ in range(2):
        move_leader(stage, rng)


@fault("F34", "a topic is deleted and made again", KAFKA)
def recreate_topic(stage, rng):
    """What it held is read before. Requests of before come to the new one."""
    topic = a_topic(stage, rng)
    rules = [proxy.hold(at="Produce", times=None) for proxy in stage.kafka.proxies.values()]
    try:
        stage.wait(0.5)  # what had passed the proxies is written
        with stage.collector.recreated(topic):
            stage.kafka.recreate_topic(topic, PARTITIONS)
    finally:
        for rule in rules:
            rule.release()
    in_sync(stage)


@fault("F34", "writing to a topic is forbidden for a while", KAFKA)
def forbid(stage, rng):
    """The brokers answer as an authorizer would have them do."""
    topic = a_topic(stage, rng)
    rules = [proxy.fail("TOPIC_AUTHORIZATION_FAILED", topic, times=None) for proxy in stage.kafka.proxies.values()]
    try:
        stage.wait(rng.uniform(1, 5))
    finally:
        for rule in rules:
            rule.release()


def wait_sorted_out(stage, member, after):
    """Or it has met a topic only now, and asked for its limit. With exactly once the end of the search is the end of a
    transaction, of which nothing is said: that more is published tells."""
    if stage.ledger:
        member.relay.wait_log("MSG_SIZE_TOO_LARGE|takes batches of at most 1500 bytes", after=after)
        before = member.relay.metric("published_total")
        until(lambda: member.relay.metric("published_total") > before, 60, "more to be published")
    else:
        member.relay.wait_log("the refused batch is sorted out|takes batches of at most 1500 bytes", after=after)


@fault("F35", "max.message.bytes less than a batch, though more than any record", KAFKA, mix={"largest": 500},
       settings=OUTAGE)
def small_batches(stage, rng):
    """The broker refuses whole batches: who is too large is found out, and it is nobody."""
    member = stage.fleet.any(rng)
    after = len(member.relay.log())
    for topic in stage.topics:
        stage.kafka.configure_topic(topic, max_message_bytes=1500)
    try:
        with member.paused():  # so that there is enough for a large batch
            stage.load.wait_events(300, 1)
        wait_sorted_out(stage, member, after)
        stage.wait(rng.uniform(1, 3))
    finally:
        for topic in stage.topics:
            stage.kafka.configure_topic(topic, max_message_bytes=None)


@fault("F35", "a record larger than max.message.bytes: the relay halts", KAFKA, [REJECT], mix={"largest": 5000, "large": 0.2},
       settings={"outbox": {"on_reject": "halt"},
                 "kafka": {"properties": ["compression.codec=none"]}})  # the limit is for what is sent
def halted_by_size(stage, rng):
    """It goes on by itself when the limit is mended."""
    topic = a_topic(stage, rng)
    stage.kafka.configure_topic(topic, max_message_bytes=3000)
    try:
        until(lambda: any(member.relay.metric("halted") for member in stage.fleet), 120, "a relay to halt")
        stage.wait(rng.uniform(0, 2))
    finally:
        stage.kafka.configure_topic(topic, max_message_bytes=None)
    until(lambda: not any(member.relay.metric("halted") for member in stage.fleet), 120, "all to go on")

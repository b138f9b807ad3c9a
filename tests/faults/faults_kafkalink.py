# SPDX-License-Identifier: ISC
"""Faults between the relays and the brokers, of the network and of single messages."""
from contextlib import ExitStack, contextmanager

from faults.catalog import KAFKA, fault
from faults.faults_kafka import OUTAGE
from faults.history import REPLAY, SCATTER
from faults.patience import until

SILENCE = 12  # s, more than the client waits for an answer


@contextmanager
def everywhere(stage, make):
    """make(proxy): a rule, for each broker's proxy; taken back in the end."""
    rules = [make(proxy) for proxy in stage.kafka.proxies.values()]
    try:
        yield rules
    finally:
        for rule in rules:
            rule.release()


def one_fires(rules, timeout=60):
    until(lambda: any(rule.fired for rule in rules), timeout, "a message to do it at", every=0.005)
    for rule in rules:
        if rule.fired:
            rule.wait()  # raises what went wrong


@fault("F31", "the answer to InitProducerId is lost", KAFKA, [REPLAY], times=2)
def lose_producer_id(stage, rng):
    """At a relay's start. Lost with the connection, or without."""
    member = stage.fleet.any(rng)
    member.watched.kill()
    how = rng.choice(("cut", "drop"))
    with everywhere(stage, lambda proxy: getattr(proxy, how)(at="InitProducerId", when="after",
                                                             where={"client_id": member.name})) as rules:
        member.watched.start(wait=False)
        one_fires(rules)


@fault("F31", "the producer's state is refused", KAFKA, times=3)
def refuse_producer(stage, rng):
    """Its sequence, its id or its epoch. A broker that says so has not written the batch, and librdkafka sends it again
    under a new id where it can; otherwise the relay rebuilds its producer, tells so, and that excuses what is repeated."""
    error = rng.choice(("OUT_OF_ORDER_SEQUENCE", "UNKNOWN_PRODUCER_ID", "INVALID_PRODUCER_EPOCH"))
    with everywhere(stage, lambda proxy: proxy.fail(error)) as rules:
        one_fires(rules)


@fault("F32", "the answer to Produce is lost with the connection", KAFKA, times=4)
def cut_after_produce(stage, rng):
    with everywhere(stage, lambda proxy: proxy.cut(at="Produce", when="after", nth=rng.randint(1, 3),
                                                   how=rng.choice(("rst", "fin")))) as rules:
        one_fires(rules)


@fault("F32", "the answer to Produce never comes", KAFKA, settings=OUTAGE)
def drop_answer(stage, rng):
    """The client gives up waiting, connects again and sends again."""
    with everywhere(stage, lambda proxy: proxy.drop(at="Produce", when="after")) as rules:
        one_fires(rules)
        stage.wait(rng.uniform(1, SILENCE))


@fault("F32", "Produce comes late, after another relay has taken over", KAFKA, [SCATTER], relays=2)
def late_produce(stage, rng):
    """Nothing tells the broker that it is outdated: what it holds is repeated behind what came after it."""
    member = stage.fleet.any(rng)
    with everywhere(stage, lambda proxy: proxy.hold(at="Produce", where={"client_id": member.name})) as rules:
        one_fires(rules)
        member.watched.kill()
        until(lambda: stage.fleet.owners() - {member.name}, 20, "another relay to take over", every=0.05)
        stage.load.wait_events(rng.randint(1, 300), 20)
    member.watched.start(wait=False)


@fault("F33", "errors of a broker that pass", KAFKA, times=4)
def passing_errors(stage, rng):
    error = rng.choice(("NOT_LEADER_OR_FOLLOWER", "NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
                        "REQUEST_TIMED_OUT", "LEADER_NOT_AVAILABLE", "KAFKA_STORAGE_ERROR"))
    written, times = rng.random() < 0.5, rng.randint(1, 5)
    with everywhere(stage, lambda proxy: proxy.fail(error, written=written, times=times)) as rules:
        one_fires(rules)
        stage.wait(rng.uniform(0, 1))


@fault("F38", "nothing passes between relays and brokers", KAFKA, settings=OUTAGE)
def blackhole(stage, rng):
    with everywhere(stage, lambda proxy: proxy.hold(direction="both")):
        stage.wait(rng.uniform(1, SILENCE))


@fault("F38", "what relays and brokers say is lost for good", KAFKA, settings=OUTAGE)
def partition(stage, rng):
    with everywhere(stage, lambda proxy: proxy.drop(direction="both")):
        stage.wait(rng.uniform(1, SILENCE))


@fault("F38", "one broker is out of the relays' reach", KAFKA, settings=OUTAGE)
def unreachable(stage, rng):
    """The other brokers reach it, so it goes on leading."""
    proxy = stage.kafka.proxies[rng.choice(sorted(stage.kafka.proxies))]
    with proxy.refuse(), proxy.drop(direction="both"):
        stage.wait(rng.uniform(1, SILENCE))


@fault("F38", "one relay cannot reach the brokers, the others can", KAFKA, [REPLAY], relays=2, settings=OUTAGE, limit=60)
def cut_off(stage, rng):
    """It takes back what its producer has, and leaves its shards to the others."""
    member = stage.fleet.any(rng)
    with everywhere(stage, lambda proxy: proxy.drop(direction="both", where={"client_id": member.name})):
        until(lambda: stage.fleet.owners() - {member.name} and member.name not in stage.fleet.owners(), 90,
              f"the shards of {member.name} to move", every=0.05)
        stage.wait(rng.uniform(0, 3))


@fault("F38", "one relay loses the brokers one after the other", KAFKA, [REPLAY], relays=2, settings=OUTAGE, limit=60)
def lose_one_by_one(stage, rng):
    """librdkafka may tell the loss of the last one while there is another, and not when that one is lost, too."""
    member = stage.fleet.any(rng)
    numbers = sorted(stage.kafka.proxies)
    with ExitStack() as drops:
        for number in rng.sample(numbers, len(numbers)):
            drops.enter_context(stage.kafka.proxies[number].drop(direction="both", where={"client_id": member.name}))
            stage.wait(rng.uniform(0, 12))
        until(lambda: stage.fleet.owners() - {member.name} and member.name not in stage.fleet.owners(), 90,
              f"the shards of {member.name} to move", every=0.05)


@fault("F38", "connections to the brokers are reset", KAFKA, times=4)
def reset(stage, rng):
    for proxy in stage.kafka.proxies.values():
        if rng.random() < 0.7:
            proxy.cut(how=rng.choice(("rst", "fin")))


@fault("F38", "200 ms to the brokers", KAFKA)
def latency(stage, _):
    with everywhere(stage, lambda proxy: proxy.delay(200)):
        stage.wait(5)


@fault("F38", "a narrow link to the brokers", KAFKA, mix={"largest": 20_000})
def throttle(stage, rng):
    with everywhere(stage, lambda proxy: proxy.throttle(rng.choice((20_000, 100_000)))):
        stage.wait(5)

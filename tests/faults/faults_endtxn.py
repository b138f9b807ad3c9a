# SPDX-License-Identifier: ISC
"""EndTxn, the request that ends a transaction, held, late, lost and repeated. Relays deliver exactly once."""

from faults.catalog import EXACTLY_ONCE, KAFKA, fault
from faults.faults_kafka import OUTAGE
from faults.faults_kafkalink import everywhere, one_fires
from faults.kafkawire import end_txn_error
from faults.patience import until

# A relay is given up by the database after 3 s, and gives a commit up after 5 s (fleet.OUTBOX).
SOON, LATE = 2, 20  # s
FENCED = (47, 90)   # INVALID_PRODUCER_EPOCH, PRODUCER_FENCED
ELSEWHERE = (14, 15, 16)  # COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
OFTEN = {**EXACTLY_ONCE, "outbox": {"claim_rows": 50, "batch_rows": 200}}


def of(member):
    return {"client_id": member.name}


def commits_held(stage, member, rng, **options):
    """A rule at one of the next commits of this relay."""
    nth = rng.randint(1, 5)
    return everywhere(stage, lambda proxy: proxy.hold(at="EndTxn commit", nth=nth, where=of(member), **options))


def wait_takeover(stage, member):
    until(lambda: stage.fleet.owners() - {member.name}, 30, "another relay to take over", every=0.05)


def mark(stage):
    return {number: proxy.mark() for number, proxy in stage.kafka.proxies.items()}


def wait_new_producer(stage, since):
    """Until some relay's producer is given its id anew."""
    until(lambda: any(proxy.count("InitProducerId", answered=True, since=since[number])
                      for number, proxy in stage.kafka.proxies.items()), 60, "a new producer", every=0.02)


def wait_used(stage, since, message):
    """Until there are transactions again under the id of this message."""
    def is_next(other):
        return other.names[0] == "AddPartitionsToTxn" and \
            other.facts["transactional_id"] == message.facts["transactional_id"]
    until(lambda: any(proxy.count(is_next, since=since[number]) for number, proxy in stage.kafka.proxies.items()), 60,
          "a new transaction", every=0.02)


def wait_commits(stage, count):
    """Until so many transactions more are committed."""
    since = mark(stage)
    until(lambda: sum(proxy.count("EndTxn commit", answered=True, since=since[number])
                      for number, proxy in stage.kafka.proxies.items()) >= count, 60, f"{count} commits", every=0.02)


def come_again(stage, rules, message):
    """It comes once more; brokers must know that it is out of date. Leaders change between rounds, and with them who the
    coordinator is: what the others say counts for nothing."""
    for rule in (rule for rule in rules if message in rule.messages):
        assert rule.copies, f"no copy of {message} was kept"
        until(lambda rule=rule: any(is_fenced(rule, proxy.target) for proxy in stage.kafka.proxies.values()), 30,
              "a coordinator to answer")
    wait_commits(stage, 2)


def is_fenced(rule, target):
    """Whether this broker has refused all that comes again; False if it is another's to answer."""
    errors = {error: message for message, frame in rule.again(target) for error in [end_txn_error(message, frame)]}
    for error, message in errors.items():
        assert error in FENCED + ELSEWHERE, f"{message}, which comes again, is answered with error {error}"
    return not errors.keys() & set(ELSEWHERE)


# Held.


@fault("F28", "EndTxn is held, its relay is killed, and it comes after the take-over", KAFKA, relays=2, settings=OFTEN)
def late_after_kill(stage, rng):
    """Whoever takes the slot over has made it void, or has read of it in the ledger."""
    member = stage.fleet.any(rng)
    with commits_held(stage, member, rng) as rules:
        one_fires(rules)
        member.watched.kill()
        wait_takeover(stage, member)
        stage.load.wait_events(rng.randint(1, 300), 30)
    member.watched.start(wait=False)


@fault("F28", "EndTxn is held while its relay is killed, and comes before the take-over", KAFKA, relays=2, times=2,
       settings=OFTEN)
def held_at_kill(stage, rng):
    member = stage.fleet.any(rng)
    with commits_held(stage, member, rng) as rules:
        one_fires(rules)
        member.watched.kill()
        stage.wait(rng.uniform(0, 0.2))
    member.watched.start(wait=False)


@fault("F28", "EndTxn is held for a while, shorter or longer than the relay waits", KAFKA, settings=OFTEN, limit=60)
def held(stage, rng):
    member = stage.fleet.any(rng)
    with commits_held(stage, member, rng) as rules:
        one_fires(rules)
        stage.wait(rng.choice((1, SOON, rng.uniform(4, 9), LATE)))


@fault("F28", "EndTxn is held, and its relay loses its session", KAFKA, times=2, settings=OFTEN)
def held_without_session(stage, rng):
    """It, or another, makes a new producer under the same id while the old one's commit is on its way."""
    member = stage.fleet.any(rng)
    with commits_held(stage, member, rng) as rules:
        one_fires(rules)
        since = mark(stage)
        stage.execute("SELECT pg_terminate_backend(pid)" + member.sessions())
        if rng.random() < 0.7:
            wait_new_producer(stage, since)
            stage.wait(rng.uniform(0, 1))


@fault("F28", "EndTxn is held while its relay stands still, and is fenced", KAFKA, relays=2, settings=OFTEN, limit=60)
def held_while_paused(stage, rng):
    """Another has taken over when it wakes up, and its commit comes before that or after."""
    member = stage.fleet.any(rng)
    with commits_held(stage, member, rng) as rules:
        one_fires(rules)
        with member.paused():
            wait_takeover(stage, member)
            stage.wait(rng.uniform(0, SOON))
            if rng.random() < 0.5:
                for rule in rules:
                    rule.release()
                stage.wait(rng.uniform(0, 1))


@fault("F28", "all that relays and coordinators of transactions say is late", KAFKA, times=2, settings=OFTEN)
def delayed(stage, rng):
    late = rng.randint(100, 1500)
    with everywhere(stage, lambda proxy: proxy.delay(late, at="EndTxn commit", times=5)) as rules:
        one_fires(rules)
        stage.wait(rng.uniform(1, 4))


def _stop_in_transaction(stage, rng, member):
    """At once, while records are on their way; once they are there it aborts."""
    after = len(member.relay.log())
    with everywhere(stage, lambda proxy: proxy.hold(at="Produce", nth=rng.randint(1, 4), where=of(member))) as rules:
        one_fires(rules)
        member.relay.terminate()
        member.relay.wait_log("settling what is in flight", after=after)
        member.relay.terminate()
        stage.wait(0.3)
    member.relay.wait_exit(25)
    member.watched.ended("stopped")


@fault("F29", "EndTxn that aborts is held, and comes in another transaction", KAFKA, settings=OFTEN, limit=60)
def late_abort(stage, rng):
    """Of a relay that is stopped while its transaction is open."""
    with everywhere(stage, lambda proxy: proxy.hold(at="EndTxn abort")) as aborts:
        for _ in range(5):
            member = stage.fleet.any(rng)
            _stop_in_transaction(stage, rng, member)
            member.watched.start(wait=False)
            if any(rule.fired for rule in aborts):
                break
        one_fires(aborts, 1)
        wait_commits(stage, rng.randint(1, 10))
    wait_commits(stage, 2)


# Lost, and repeated.


def _lose_answer(stage, rng, at):
    """Returns a context of rules; the answer is lost with the connection, or without."""
    how, nth = rng.choice(("cut", "drop")), rng.randint(1, 3)
    return everywhere(stage, lambda proxy: getattr(proxy, how)(at=at, when="after", nth=nth))


@fault("F30", "the answer to EndTxn is lost", KAFKA, times=2, settings=OFTEN, limit=60)
def lose_commit_answer(stage, rng):
    """With the connection: the client asks again. Without: the relay gives it up."""
    since = mark(stage)
    with _lose_answer(stage, rng, "EndTxn commit") as rules:
        one_fires(rules)
        wait_new_producer(stage, since)


@fault("F30", "EndTxn is lost before it arrives", KAFKA, times=2, settings=OFTEN, limit=60)
def lose_commit(stage, rng):
    since, how = mark(stage), rng.choice(("cut", "drop"))
    with everywhere(stage, lambda proxy: getattr(proxy, how)(at="EndTxn commit", nth=rng.randint(1, 3))) as rules:
        one_fires(rules)
        wait_new_producer(stage, since)


@fault("F30", "the answer to EndTxn is lost, and EndTxn comes once more in another transaction", KAFKA, times=2,
       settings=OFTEN, limit=60)
def repeat_commit(stage, rng):
    """What the client sent first comes after what it sent again; brokers refuse it, as the producer is another."""
    how, nth, member, since = rng.choice(("cut", "drop")), rng.randint(1, 3), stage.fleet.any(rng), {}
    with everywhere(stage, lambda proxy: proxy.repeat(at="EndTxn commit", nth=nth, where=of(member))) as copies:
        def is_kept(message):
            kept = any(message in copy.messages for copy in copies)
            if kept:
                since.update(mark(stage))
            return kept
        with everywhere(stage, lambda proxy: getattr(proxy, how)(at=is_kept, when="after")) as losses:
            one_fires(losses)
            lost = next(message for rule in losses for message in rule.messages)
            wait_used(stage, since, lost)
            stage.wait(rng.uniform(0, 1))
        come_again(stage, copies, lost)


@fault("F30", "EndTxn of a relay that was killed comes twice", KAFKA, relays=2, settings=OFTEN)
def twice_after_kill(stage, rng):
    """Held, then late, and once more."""
    member = stage.fleet.any(rng)
    with everywhere(stage, lambda proxy: proxy.repeat(at="EndTxn commit", where=of(member))) as copies, \
            everywhere(stage, lambda proxy: proxy.hold(at="EndTxn commit", where=of(member))) as rules:
        one_fires(rules)
        since = mark(stage)
        held_one = next(message for rule in copies for message in rule.messages)
        member.watched.kill()
        wait_used(stage, since, held_one)
        come_again(stage, copies, held_one)
    member.watched.start(wait=False)


@fault("F31", "the answer to AddPartitionsToTxn is lost", KAFKA, times=2, settings=OFTEN, limit=60)
def lose_partitions(stage, rng):
    with _lose_answer(stage, rng, "AddPartitionsToTxn") as rules:
        one_fires(rules)
        wait_commits(stage, 2)


@fault("F31", "AddPartitionsToTxn comes once more, after its transaction", KAFKA, times=2, settings=OFTEN, limit=60)
def repeat_partitions(stage, rng):
    """It begins a transaction of the same producer, if nobody else has begun one."""
    with everywhere(stage, lambda proxy: proxy.repeat(at="AddPartitionsToTxn", nth=rng.randint(1, 3))) as copies:
        one_fires(copies)
        wait_commits(stage, rng.randint(1, 3))
        for copy in copies:
            copy.again()
        wait_commits(stage, 2)


@fault("F31", "InitProducerId comes once more", KAFKA, settings=OFTEN, limit=60)
def repeat_init(stage, rng):
    """It fences the producer that was made by the first; the relay proves that it has its slot, and makes another."""
    member = stage.fleet.any(rng)
    member.watched.kill()
    with everywhere(stage, lambda proxy: proxy.repeat(at="InitProducerId", where=of(member))) as copies:
        member.watched.start(wait=False)
        one_fires(copies)
        wait_commits(stage, rng.randint(1, 5))
        for copy in copies:
            copy.again()
        wait_commits(stage, 2)


# Brokers that matter to transactions alone.


@fault("F22", "kill -9 of the coordinator during a commit", KAFKA, settings={**EXACTLY_ONCE, **OUTAGE})
def kill_coordinator(stage, rng):
    """It has the request, or has answered it, and nobody knows."""
    member, when = stage.fleet.any(rng), rng.choice(("before", "after"))
    with commits_held(stage, member, rng, when=when) as rules:
        one_fires(rules)
        number, = (number for number, rule in zip(stage.kafka.proxies, rules) if rule.fired)
        broker = stage.kafka.brokers[number]
        broker.kill()
    stage.wait(rng.uniform(0, 6))
    broker.start()
    stage.kafka.wait_in_sync(stage.ledger)


@fault("F23", "kill -9 of the leader of a ledger's partition", KAFKA, settings={**EXACTLY_ONCE, **OUTAGE}, times=2)
def kill_ledger(stage, rng):
    """Relays have the lowest slots."""
    broker = stage.kafka.leading(stage.ledger, rng.randrange(2))
    broker.kill()
    stage.wait(rng.uniform(0, 6))
    broker.start()
    stage.kafka.wait_in_sync(stage.ledger)


@fault("F37", "transactions time out while all relays stand still", KAFKA, settings=OFTEN, limit=60)
def time_out(stage, rng):
    """For stall_timeout and 10 s; the coordinator looks every 2 s (kafkanode.py)."""
    paused = stage.fleet.alive()
    for member in paused:
        member.process.pause()
    stage.wait(rng.uniform(17, 21))
    for member in paused:
        member.process.resume()


@fault("F39", "the ledger cannot be read for a while", KAFKA, settings=OFTEN, limit=60)
def unreadable(stage, rng):
    """By a relay that starts: connections break when it asks for the end or for records, or nothing comes."""
    def reads(message):
        return message.names[0] in ("ListOffsets", "Fetch")
    member, how = stage.fleet.any(rng), rng.choice(("cut", "drop"))
    member.watched.kill()
    with everywhere(stage, lambda proxy: getattr(proxy, how)(at=reads, times=None, where=of(member))) as rules:
        member.watched.start(wait=False)
        one_fires(rules)
        stage.wait(rng.uniform(1, 12))


@fault("F40", "another producer's open transaction in the ledger", KAFKA, settings=OFTEN, limit=60)
def foreign_transaction(stage, rng):
    """Behind it nothing of the ledger's partition can be read as committed: whoever takes over waits for its end."""
    with stage.kafka.open_transaction(stage.ledger, partitions=range(4)):
        for member in stage.fleet.alive():
            member.watched.kill()
            member.watched.start(wait=False)
        stage.wait(rng.uniform(2, 12))

# SPDX-License-Identifier: ISC
"""A relay that dies or stands still at a named step of its work (include/base/failpoints.h). Only with the test build:

    OUTBOX_RELAY=build-plants/outbox-relay
"""
from harness.waiting import TimedOut

from faults import plants
from faults.catalog import EXACTLY_ONCE, RELAY, fault
from faults.faults_relay import AWHILE, TOO_LONG
from faults.history import REPLAY, SCATTER
from faults.patience import until

REACHED = r"failpoint \S+ is reached"
# In a process that nothing befalls.
ONCE = ("session-open", "lock-got", "letters-asked", "before-resolution", "before-resolved", "resolved")


def lose_session(stage, member):
    """While Kafka's acknowledgements are on their way, so that there is something to recover."""
    rules = [proxy.hold(at="Produce", when="after", where={"client_id": member.name})
             for proxy in stage.kafka.proxies.values()]
    stage.wait(0.2)
    stage.execute("SELECT pg_terminate_backend(pid)" + member.sessions())
    stage.wait(0.2)
    for rule in rules:
        rule.release()


def start_others(_, member):
    """To which it hands over some of its shards."""
    for other in member.stage.fleet:
        if not other.process.alive:
            other.watched.start(wait=False)


# What was acknowledged is settled by its identity; exactly once, the ledger tells.
RECOVERY = ("before-recovery", "recovered")
PROVOKED = {"before-recovery": lose_session, "recovered": lose_session,
            "before-handover": start_others, "handed-over": start_others}
SHARDS = {"outbox": {"shards": 4}}


def reach(stage, rng, failpoint, action):
    """A relay that works alone comes to the failpoint; which one."""
    member = stage.fleet.any(rng)
    for each in stage.fleet.alive():
        assert each.watched.stop() == 0, f"{each.name} did not settle"
    often = failpoint not in ONCE and failpoint not in PROVOKED
    plants.fail_at(member.relay, failpoint, action, rng.randint(1, 20) if often else 1)
    member.watched.start(wait=False)
    plants.fail_at(member.relay, None, None)
    if failpoint in PROVOKED:
        until(lambda: member.name in stage.fleet.owners(), 20, "the relay to own shards", every=0.05)
    for _ in range(60):  # a transaction of Kafka for each passing
        if failpoint in PROVOKED:
            PROVOKED[failpoint](stage, member)
        try:
            member.relay.wait_log(REACHED, 1)
            break
        except TimedOut:
            pass
    member.relay.wait_log(REACHED, 1)
    return member


def die(failpoint):
    def run(stage, rng):
        member = reach(stage, rng, failpoint, rng.choice(("kill", "exit")))
        member.relay.wait_exit()
        member.watched.ended("killed")
        start_others(stage, member)
    return run


def stand_still(failpoint):
    def run(stage, rng):
        member = reach(stage, rng, failpoint, "stop")
        start_others(stage, member)
        stage.wait(rng.choice((AWHILE, TOO_LONG)))
        member.process.resume()
    return run


if plants.available():
    for each in plants.failpoints():
        more = {"settings": SHARDS, "at_least_once": each in RECOVERY}
        fault("F01", f"killed at {each}", RELAY, [REPLAY], **more)(die(each))
        fault("F01", f"stands still at {each}", RELAY, [SCATTER], **more)(stand_still(each))
    for each in plants.exactly_once():
        fault("F01", f"killed at {each}", RELAY, settings={**SHARDS, **EXACTLY_ONCE})(die(each))
        fault("F01", f"stands still at {each}", RELAY, settings={**SHARDS, **EXACTLY_ONCE})(stand_still(each))

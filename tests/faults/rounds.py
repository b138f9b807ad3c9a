# SPDX-License-Identifier: ISC
"""One round: its plan from a seed, its play on a stage, and what the checker says of its history."""
import random
import threading
import traceback
from typing import NamedTuple

from faults.catalog import EXACTLY_ONCE, KAFKA
from faults.checker import check, report
from faults.history import LOST, REPLAY, SCATTER, read
from faults.stage import Stage

WARM = 30     # events before the first fault
LATEST = 1.5  # seconds from one to the next
TINY, TINY_RATE = 30, 100  # rows of a batch, and so many events a second where each batch is a transaction
SETTLES = ("delete", "delete", "mark", "position", "position")


class Plan(NamedTuple):
    """What a seed decides of a round, and so what is the same when it is played again."""
    number: int
    seed: int
    entries: tuple

    @property
    def label(self):
        return "+".join(entry.number for entry in self.entries)

    @property
    def title(self):
        return " + ".join(entry.title for entry in self.entries)


class Outcome(NamedTuple):
    """problems: violated invariants and what broke the round off. repeated includes what was excused."""
    plan: Plan
    events: int = 0
    lost: int = 0
    reordered: int = 0
    repeated: int = 0
    unexcused: int = 0
    phantoms: int = 0     # arrived, and the database lost them: a failover may do that
    drain: float = 0.0     # see _drain
    problems: tuple = ()
    broke_off: bool = False
    text: str = ""


def plans(seed, entries, pairs=False):
    """Round after round, for ever: each fault once in a random order, then again. pairs: two at a time, done to
    different things."""
    number = 0
    while True:
        rng = random.Random(f"{seed} {number}")
        for entry in rng.sample(entries, len(entries)):
            number += 1
            both = (entry,)
            if pairs:
                others = [other for other in entries if other.on != entry.on]
                both = (entry, rng.choice(others)) if others else both
            yield Plan(number, rng.getrandbits(32), both)


def weather(rng):
    """(changes of the relays' settings, delays in ms to Postgres and to Kafka, events per second, whether the
    relays find a backlog): what makes batches short or long and windows narrow or wide; and how rows are settled."""
    changes = rng.choice(({}, {}, {"claim_rows": 50, "batch_rows": 200}, {"claim_rows": 10, "batch_rows": TINY}))
    rest = (rng.choice((0, 0, 1, 5)), rng.choice((0, 0, 2, 20)), rng.choice((200, 300, 500)), rng.random() < 0.3)
    return ({"outbox": {**changes, "settle": rng.choice(SETTLES)}}, *rest)


def publish_after(what):
    """The settings; of the two servers each is a standby at times."""
    if what == "standby":
        return {"publish_after": what, "publish_standbys": "ANY 1 (alpha, beta)"}
    return {"publish_after": what} if what else {}


def delivery(how):
    return EXACTLY_ONCE if how == "exactly-once" else {}


def play(cluster, plan, relays=2, changes=None):
    """Plays the round and judges it: (Outcome, Stage). The cluster is not healed when the round broke off."""
    rng = random.Random(plan.seed)
    settings, to_postgres, to_kafka, rate, backlog = weather(rng)
    for entry in plan.entries:
        _merge(settings, entry.settings)
    _merge(settings, changes or {})
    if "delivery" in settings.get("kafka", {}) and settings["outbox"].get("batch_rows") == TINY:
        rate = min(rate, TINY_RATE)
    stage = Stage(cluster, f"round{plan.number}", plan.seed, plan.entries,
                  max(relays, *(entry.relays for entry in plan.entries)), rate, settings,
                  f"{plan.label} postgres {to_postgres} ms kafka {to_kafka} ms {rate}/s {settings['outbox']}")
    problem = None
    try:
        _delay(stage, to_postgres, to_kafka)
        stage.set_up(backlog)
        _faults(stage, plan, rng)
        cluster.heal()
        stage.fleet.heal()
        stage.finish()
    except Exception:  # pylint: disable=broad-except
        problem = traceback.format_exc()
    finally:
        broken = stage.fleet.broken()
        stage.close()
    return judge(plan, stage.history, problem, broken), stage


def _merge(settings, changes):
    for group, members in changes.items():
        settings.setdefault(group, {}).update(members)


def _delay(stage, to_postgres, to_kafka):
    stage.fleet.delay = to_postgres
    if to_kafka:
        for proxy in stage.kafka.proxies.values():
            proxy.delay(to_kafka)


def _faults(stage, plan, rng):
    assert stage.load.wait_events(WARM, 60), "the load does not come into its stride"
    stage.look()
    seeds = [rng.getrandbits(32) for _ in plan.entries]
    if len(plan.entries) == 1:
        _one(stage, plan.entries[0], random.Random(seeds[0]))
    else:
        _together(stage, plan.entries, seeds)
    stage.wait(rng.uniform(0.2, 1))


def _excuses(stage, entry):
    """What the producer of a relay still holds while Kafka is away comes after the records of the relay that took
    over from it, late, as nothing fences it."""
    entries = stage.entries
    if any(e.on == KAFKA for e in entries) and any(REPLAY in e.excuses for e in entries):
        return {*entry.excuses, SCATTER}
    return entry.excuses


def _one(stage, entry, rng):
    for _ in range(entry.times):
        stage.wait(rng.uniform(0, LATEST))
        with stage.noting(entry.name, _excuses(stage, entry)):
            entry.function(stage, rng)
        stage.look()


def _together(stage, entries, seeds):
    """Each in a thread, which lasts as long as the stage: with it would end the processes it has started. A fault
    whose own statements fail by the other has been done as far as it could be."""
    problems, done = [], threading.Semaphore(0)

    def run(entry, seed):
        try:
            _one(stage, entry, random.Random(seed))
        except stage.away:
            pass
        except Exception as problem:  # pylint: disable=broad-except
            problems.append(problem)
        done.release()
        stage.closed.wait()
    for pair in zip(entries, seeds):
        threading.Thread(target=run, args=pair, daemon=True).start()
    for _ in entries:
        done.acquire()
    if problems:
        raise problems[0]


def judge(plan, path, problem=None, broken=None):
    """The checker's verdict on the history, and what else went wrong."""
    problems = [f"{name} is broken" for name in broken or {}]
    said = "".join(f"\n{name} said:\n{text}" for name, text in (broken or {}).items())
    if problem:
        why = next(line for line in reversed(problem.splitlines()) if line)
        return Outcome(plan, problems=(why, *problems), broke_off=True, text=problem + said)
    history = read(path)
    facts, verdicts = check(history)
    by_name = {verdict.name: verdict for verdict in verdicts}
    lost = [event for event in history.events if event.state == LOST and event.event_id in facts.first]
    return Outcome(plan, events=sum(map(len, facts.committed.values())),
                   lost=by_name["no loss"].count, reordered=by_name["order per key"].count,
                   repeated=by_name["repeats have a cause"].judged,
                   unexcused=by_name["repeats have a cause"].count + by_name["repeats are contiguous"].count,
                   phantoms=len(lost), drain=_drain(facts),
                   problems=(*(v.name for v in verdicts if not v.holds), *problems), text=report(history)[0] + said)


def _drain(facts):
    """The longest time from the end of a fault until all that had committed by then had come."""
    first = {event.event_id: facts.places[facts.first[event.event_id]].arrival
             for event in facts.all_committed() if event.event_id in facts.first}
    came = [(event.acked, first[event.event_id].came) for event in facts.all_committed()
            if event.acked and event.event_id in first and first[event.event_id].came]
    longest = 0.0
    for fault in facts.history.faults:
        longest = max([longest, *(at - fault.until for acked, at in came if acked < fault.until)])
    return longest

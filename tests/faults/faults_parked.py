# SPDX-License-Identifier: ISC
"""A relay that is killed while it sets a rejected event aside, publishes it after a retry, or discards it. Writers go on
writing to its key."""
import uuid
from contextlib import contextmanager

from faults.catalog import RELAY, fault
from faults.history import REJECT, REPLAY
from faults.patience import until
from faults.transaction import Transaction

BROKEN = "[]"  # headers that no record can have
LETTERS = "FROM outbox_relay.dead_letters WHERE held_for = 'key'"
ASK = "INSERT INTO outbox_relay.letter_requests (outbox, letter, action, payload, headers) SELECT outbox, number, "


class Spoiled(Transaction):
    """Its first event will be rejected; headers: what it should have had."""
    headers = None

    def _work(self):
        super()._work()
        event_id = self.events[0].event_id
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT headers::text FROM outbox_events WHERE event_id = %s", (event_id,))
            self.headers = cursor.fetchone()[0]
            cursor.execute("UPDATE outbox_events SET headers = %s WHERE event_id = %s", (BROKEN, event_id))


def serial_key(stage, rng):
    return rng.choice([key for key in stage.load.names if key not in stage.load.tickets])


def spoil(stage, rng):
    """Some events of a key; (the first one's id, its headers)."""
    transaction = Spoiled(stage.load, stage.connect(), rng, f"spoiled-{rng.getrandbits(32):x}")
    transaction.mix = stage.mix._replace(rollback=0, savepoint=0, delay=0)
    transaction.keys = [serial_key(stage, rng)]
    transaction.order = transaction.keys * 4
    try:
        transaction.run()
    finally:
        transaction.connection.close()
    return transaction.events[0].event_id, transaction.headers


def add_unknown(stage, rng):
    """An event that will be rejected, and that nobody is to miss."""
    key, event_id = serial_key(stage, rng), str(uuid.UUID(int=rng.getrandbits(128)))
    stage.execute("INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload, headers) "
                  "VALUES (%s, %s, %s, 'unknown', '{}', %s)", event_id, stage.load.keys[key], key, BROKEN)
    return event_id


def wait_parked(stage, event_id):
    until(lambda: stage.database.value(f"SELECT count(*) {LETTERS} AND event_id = %s", event_id), 30,
          "the event to be set aside", every=0.05)


def wait_gone(stage):
    until(lambda: stage.database.value(f"SELECT count(*) {LETTERS}") == 0, 30, "no key to wait", every=0.05)


def ask(stage, action, event_id, headers=None):
    payload = "payload" if action == "edit" else "NULL"
    stage.execute(f"{ASK} %s, {payload}, %s {LETTERS} AND event_id = %s", action, headers, event_id)


@contextmanager
def killed_at(stage, rng, statement):
    """Whichever relay comes to this statement while the block runs, or after, is killed there: before the server has
    it, or before its answer."""
    def is_meant(message):
        return any(name == statement or name.startswith(statement + " ") for name in message.names)
    when = rng.choice(("before", "after"))
    rules = [(member, member.proxy.hold(at=is_meant, when=when)) for member in stage.fleet.alive()]
    try:
        yield
        member = until(lambda: next((m for m, rule in rules if rule.fired), None), 30, f"a relay at {statement}",
                       every=0.01)
        member.watched.kill()
    finally:
        for _, rule in rules:
            rule.release()
    stage.wait(rng.choice((0, 0.1, 1)))
    member.watched.start(wait=False)


@fault("F47", "killed while it parks a key", RELAY, [REPLAY, REJECT])
def park(stage, rng):
    with killed_at(stage, rng, "dead_letter"):
        event_id, headers = spoil(stage, rng)
    wait_parked(stage, event_id)
    stage.wait(rng.uniform(0, 1))
    ask(stage, "edit", event_id, headers)
    ask(stage, "retry", event_id)
    wait_gone(stage)


@fault("F47", "killed while it retries a parked key", RELAY, [REPLAY, REJECT])
def retry(stage, rng):
    event_id, headers = spoil(stage, rng)
    wait_parked(stage, event_id)
    stage.wait(rng.uniform(0, 1))
    with killed_at(stage, rng, rng.choice(("letters_edit", "letters_attempt", "letters_claim", "commit"))):
        ask(stage, "edit", event_id, headers)
        ask(stage, "retry", event_id)
    wait_gone(stage)


@fault("F47", "killed while it discards what parks a key", RELAY, [REPLAY, REJECT])
def discard(stage, rng):
    event_id = add_unknown(stage, rng)
    wait_parked(stage, event_id)
    stage.wait(rng.uniform(0, 1))
    with killed_at(stage, rng, rng.choice(("letters_discard", "letters_claim"))):
        ask(stage, "discard", event_id)
    wait_gone(stage)

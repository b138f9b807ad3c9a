# SPDX-License-Identifier: ISC
"""What counts as standing still for /healthz, and from when on: only what a restart might help with."""
import pytest

from harness.waiting import holds, until
from harness.writers import insert

STALL_S = 4  # outbox.stall_timeout: twice that is stuck


def healthz(relay):
    return relay.get("/healthz")[0]


@pytest.fixture
def away(database, kafka):
    """How something ends that keeps everything from moving, by what it is; its begin."""
    def revoke():
        database.execute("REVOKE SELECT ON outbox_events FROM outbox_relay")
        database.end_relay_sessions()

    def paused(yes):
        database.execute(f"UPDATE outbox_relay.outboxes SET paused = {yes}")

    return {"Kafka": (kafka.stop, kafka.start),
            "a right": (revoke, lambda: database.execute("GRANT SELECT ON outbox_events TO outbox_relay")),
            "a pause": (lambda: paused("true"), lambda: paused("false"))}


@pytest.mark.parametrize("what", ["Kafka", "a right", "a pause"])
def test_it_counts_from_the_end_of_an_outage(database, new_relay, topic, away, what):
    """An event has waited for longer than that when it may go again, and is locked by another session then."""
    topic()
    relay = new_relay(outbox={"stall_timeout": f"{STALL_S}s"}).start()
    begin, end = away[what]
    begin()
    until(lambda: relay.metric("paused") or relay.get("/readyz")[0] == 503, 60, "it to have begun")
    insert(database, 1)
    holds(lambda: healthz(relay) == 200, 2 * STALL_S + 1, "a healthz of 200 while it cannot move")
    with database.session(autocommit=False) as other:
        other.execute("SELECT FROM outbox_events FOR UPDATE")
        end()
        until(lambda: not relay.metric("paused") and relay.get("/readyz")[0] == 200, 60, "it to be over")
        assert healthz(relay) == 200
        until(lambda: healthz(relay) == 503, 30, "the relay to be stuck")
    database.wait_empty()
    until(lambda: healthz(relay) == 200, 20, "it to have gone on")


def test_an_event_that_cannot_be_removed_is_not_stuck(database, new_relay, topic):
    topic()
    database.execute("CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS"
                     " $$ BEGIN RAISE EXCEPTION 'it stays'; END $$;"
                     " CREATE TRIGGER stay BEFORE DELETE ON outbox_events FOR EACH ROW EXECUTE FUNCTION stay()")
    relay = new_relay(outbox={"stall_timeout": "1s"}).start()
    insert(database, 1)
    relay.wait_metric("held_keys", 1)
    holds(lambda: healthz(relay) == 200, 4, "a healthz of 200, as a restart would not remove it")
    database.execute("DROP FUNCTION stay CASCADE")
    database.wait_empty()

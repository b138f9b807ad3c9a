# SPDX-License-Identifier: ISC
"""Resumed at the moment when a session is lost."""
from harness.fleet import wait_standby
from harness.postgres import Database
from harness.writers import insert


def test_resumed_while_it_reconnects(relay, database, reader, topic):
    """It has not heard of the one or the other, and reads it with its next look."""
    topic()

    def admit(sessions):
        Database(database.server, "postgres").execute(
            f'ALTER DATABASE "{database.name}" CONNECTION LIMIT {sessions}')  # of those that are no superusers
    consumer = reader()
    for heard in (True, False):
        admit(0)
        database.end_relay_sessions()
        database.execute("UPDATE outbox_relay.outboxes SET paused = true")
        insert(database, 10)
        if heard:
            admit(-1)
            wait_standby(relay, "the outbox is paused")
            admit(0)
            database.end_relay_sessions()
        database.execute("UPDATE outbox_relay.outboxes SET paused = false")
        admit(-1)
        assert len(consumer.take(10)) == 10

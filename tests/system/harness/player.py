# SPDX-License-Identifier: ISC
"""Sessions in the part of relays: they hold the locks that a relay holds (include/outbox/locks.h)."""

MEMBER, SHARD = 0x6e000000, 0x6f000000


class Player:
    """One of them, with so many shards in all, that owns these."""

    def __init__(self, database, layout, *shards, table="outbox_events", name="outbox-relay there:1"):
        self.connection = database.server.connect(database.name, "outbox_relay")
        self.cursor = self.connection.cursor()
        self.cursor.execute("SELECT set_config('application_name', %s, false), pg_backend_pid(),"
                            " %s::regclass::oid::int8::int", (name, table))
        _, self.pid, self.outbox = self.cursor.fetchone()
        self.layout = layout
        self.cursor.execute("SELECT pg_advisory_lock_shared(%s, %s); LISTEN outbox_relay",
                            (self.outbox, MEMBER | layout))
        for shard in shards:
            self.lock("lock" if layout else "lock_shared", shard)

    def lock(self, what, shard):
        self.cursor.execute(f"SELECT pg_advisory_{what}(%s, %s)",
                            (self.outbox, SHARD | self.layout << 12 | shard))

    def told(self):
        """Whether it heard of the group since it was asked last."""
        self.cursor.execute("SELECT 1")
        heard = [n.payload for n in self.connection.notifies]
        self.connection.notifies.clear()
        assert set(heard) <= {f"{self.outbox} group"}
        return heard != []

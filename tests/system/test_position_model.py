# SPDX-License-Identifier: ISC
"""The claim's statement and position_model.c say the same: random histories of transactions on a real server."""
import random
import re

import pytest

from harness.position_model import Limits, Positions, Row
from harness.waiting import until

FEW, STALE = 6, 40  # for FEW and STALE_XIDS of sql_claim_position.c, so that both are met with
KEY = "hashtextextended((('' || coalesce(t.aggregate_id::text, '') || chr(31))) COLLATE \"C\", 0)"
LAST = "(SELECT coalesce(max(id), 1) FROM outbox_events)"
SHOWN = ("SELECT p.shard, p.finished::text, p.target::text, p.reached, p.walks"
         " FROM outbox_relay.last_positions('outbox_events') AS p ORDER BY p.shard")


@pytest.fixture
def positions(directory):
    return Positions(directory)


def claims_of(database, postgres, relay, layout):
    """The texts of a relay's claims, as the server logs them, once the positions are of its shards: by their names. A
    plain one is sent within 100 ms after another: of events that the relay claims one by one several wait at once."""
    def logged():
        database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type)"
                         " SELECT 'thing', 'a', 'Made' FROM generate_series(1, 5)")
        claim = r"LOG:  execute (claim|claim_plain) \d+: (WITH .* o\.position_layout = %d .*)\n" % layout  # whole lines
        found = dict(re.findall(claim, postgres.process.log()[size:]))
        return found if len(found) == 2 else None
    size = len(postgres.process.log())
    database.execute(f'ALTER DATABASE "{database.name}" SET log_statement = \'all\'')
    relay.start()
    texts = until(logged, 60, "both claims", every=0.2)
    assert relay.stop() == 0
    database.execute(f'ALTER DATABASE "{database.name}" RESET log_statement')
    return {name: smaller(text) for name, text in texts.items()}


def smaller(text):
    """With lower bounds on what is sorted, and on how old a position becomes."""
    text, few = re.subn(r"LIMIT 10000 \+ 1\), found AS MATERIALIZED \(SELECT count\(\*\) AS count, count\(\*\) > 10000",
                        f"LIMIT {FEW} + 1), found AS MATERIALIZED (SELECT count(*) AS count, count(*) > {FEW}", text)
    text, stale = re.subn(r"> 1000 OR EXISTS", f"> {STALE} OR EXISTS", text)
    assert few == 1 and stale == 1, text
    return text


class Applications:
    """A few sessions that do at random what applications and their operators may do to the table."""

    def __init__(self, database, rng, sessions=4):
        self.database = database
        self.rng = rng
        self.cursors = [database.server.connect(database.name).cursor() for _ in range(sessions)]
        self.open = [False] * sessions
        self.prepared = []
        self.number = 0

    def close(self):
        for cursor in self.cursors:
            cursor.connection.close()
        for name in self.prepared:
            self.database.execute(f"ROLLBACK PREPARED '{name}'")

    def _rows(self, cursor):
        """Some, with ids of the sequence, or set by hand: among them such as are there already."""
        for _ in range(self.rng.choice((1, 1, 1, 2, 5))):
            given = self.rng.choice(("DEFAULT", "DEFAULT", "DEFAULT", str(self.rng.randint(-20, 40)), LAST,
                                     str(-2**63)))
            cursor.execute("INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type) OVERRIDING SYSTEM"
                           f" VALUE VALUES ({given}, 'thing', %s, 'Made')", (f"key-{self.rng.randint(1, 6)}",))

    def _begin(self, number):
        self.cursors[number].execute("BEGIN")
        if self.rng.random() < 0.4:
            self.cursors[number].execute("SELECT pg_current_xact_id()")
        self.open[number] = True

    def _savepoint(self, cursor):
        cursor.execute("SAVEPOINT s")
        self._rows(cursor)
        cursor.execute(self.rng.choice(("ROLLBACK TO s", "RELEASE s")))

    def _end(self, number):
        way = self.rng.choice(("COMMIT", "COMMIT", "COMMIT", "ROLLBACK", "PREPARE"))
        if way == "PREPARE" and len(self.prepared) < 3:
            self.number += 1
            self.prepared.append(f"{self.database.name}-{self.number}")
            way = f"PREPARE TRANSACTION '{self.prepared[-1]}'"
        elif way == "PREPARE":
            way = "COMMIT"
        self.cursors[number].execute(way)
        self.open[number] = False

    def step(self):
        number = self.rng.randrange(len(self.cursors))
        what = self.rng.random()
        if what < 0.05 and self.prepared:
            name = self.prepared.pop(self.rng.randrange(len(self.prepared)))
            self.database.execute(f"{self.rng.choice(('COMMIT', 'ROLLBACK'))} PREPARED '{name}'")
        elif what < 0.07:
            self.database.execute("SELECT setval('outbox_events_id_seq', %s)", self.rng.randint(1, 30))
        elif not self.open[number]:
            self._begin(number)
        elif what < 0.5:
            self._rows(self.cursors[number])
        elif what < 0.6:
            self._savepoint(self.cursors[number])
        else:
            self._end(number)


class Claims:
    """A relay's session that claims, and what position_model.c says of each claim."""

    def __init__(self, database, text, layout, positions, rng):
        self.layout = layout
        self.positions = positions
        self.rng = rng
        self.cursor = database.server.connect(database.name, "outbox_relay").cursor()
        self.cursor.execute("SET jit = off; PREPARE claim AS " + text)  # as the relay does
        self.taken = self.walks = self.cuts = 0

    def _ask(self, sql, *args):
        self.cursor.execute(sql, args or None)
        return self.cursor.fetchall()

    def _shard(self):
        return "0" if self.layout == 1 else f"({KEY} & 9223372036854775807) % {self.layout}"

    def transaction(self, held, ahead):
        """One or two claims from the same snapshot, so that both sides see the same; kept or not."""
        self.cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        present = self._ask("SELECT pg_current_snapshot()::text")[0][0]
        rows = self._ask(f"SELECT t.id, t.event_id::text, t.x::text::int8, {self._shard()}, {KEY} FROM outbox_events t"
                         " ORDER BY t.id")
        for _ in range(self.rng.choice((1, 2))):
            self._claim(present, rows, held, ahead)
        self.cursor.execute(self.rng.choice(("COMMIT", "COMMIT", "ROLLBACK")))

    def _claim(self, present, rows, held, ahead):
        mine = self.rng.sample(range(self.layout), self.rng.randint(1, self.layout))
        limit, size = self.rng.choice((1, 2, 3, 5, 50)), self.rng.choice((1, 10**9, 10**9))
        before = {row[0]: row[1:] for row in self._ask(SHOWN)}
        want = self._expected(present, rows, mine, limit, size, held, before)
        if want is None:
            return
        ids, after, moves = want
        settled = {row[0] for row in self._ask("SELECT event_id FROM outbox_relay.settled_ahead")} if ahead else set()
        got = self._run(mine, limit, size, held)
        assert got[0] == sorted(one for one in ids if one[1] not in settled)
        assert got[1] == (moves and not got[0])
        assert {row[0]: row[1:] for row in self._ask(SHOWN)} == {**before, **after}
        if ahead:
            assert {row[0] for row in self._ask("SELECT event_id FROM outbox_relay.settled_ahead")} == (
                settled - {one[1] for one in ids})

    def _run(self, mine, limit, size, held):
        shards = [] if self.layout == 1 else [mine]
        args = ", ".join(["%s::int8"] * 3 + ["%s::int8[]"] * (1 + len(shards)))
        self.cursor.execute(f"EXECUTE claim ({args})", (0, limit, size, held or None, *shards))
        columns = [column.name for column in self.cursor.description]
        found = self.cursor.fetchall()
        assert len(columns) > 8
        events = [row for row in found if row[7] is None]
        return sorted((row[0], self._identity(row)) for row in events), len(found) > len(events)

    @staticmethod
    def _identity(row):
        value = row[8]
        return value if isinstance(value, str) else bytes(value).decode()

    def _expected(self, present, rows, mine, limit, size, held, before):
        """What is taken, the positions behind it, and whether the claim says that it has moved on; None if it is not
        told which shards come first."""
        known = [self.positions.position(*before[shard]) for shard in mine]
        start = self.positions.start(known, self.positions.snapshot(present))
        place = before[mine[start.first]]
        if any(self._is_like(before[shard], place) for shard in mine):
            return None
        group = [shard for shard in mine if before[shard] == place]
        position = known[start.first]
        left = [row for row in rows if row[3] in group and self.positions.is_next(position, start.goal, row[2], row[0])]
        taken = self.positions.take(
            position, start, [Row(row[0], 1000, row[4] in held) for row in left], Limits(limit, size, FEW, STALE))
        self.taken += taken.rows
        self.walks += taken.behind.walks
        self.cuts += taken.cut
        after = self.positions.columns(taken.behind) if taken.writes else place
        return [row[:2] for row in left[:taken.rows]], {shard: after for shard in group}, taken.moves

    @staticmethod
    def _is_like(one, other):
        """Of two targets that begin at the same place either may come first."""
        return one[0] == other[0] and one[1] is not None and other[1] is not None and one[1] != other[1]


@pytest.mark.parametrize("layout", (1, 3))
@pytest.mark.parametrize("name", ("claim", "claim_plain"))
def test_the_statement_says_what_positions_c_says(empty_database, postgres, migrate, new_relay, topic, positions, name,
                                                  layout):
    """Transactions that are rolled back, prepared, or have subtransactions; transaction ids that are older than the
    key's lock; ids that are set by hand or back, and come twice; claims that are cut, walk, or are rolled back."""
    topic()
    outbox = {"settle": "position", "shards": layout}
    migrate(outbox=outbox)
    database, seed = empty_database, random.randrange(2**32)
    texts = claims_of(database, postgres, new_relay(outbox={**outbox, "claim_rows": 1}), layout)
    database.execute("ALTER TABLE outbox_events DROP CONSTRAINT outbox_events_pkey; CREATE INDEX ON outbox_events (id)")
    print(f"seed {seed}")
    rng = random.Random(seed)
    applications = Applications(database, rng)
    claims = Claims(database, texts[name], layout, positions, rng)
    try:
        for _ in range(300):
            for _ in range(rng.randint(1, 8)):
                applications.step()
            held = [row[0] for row in database.rows(f"SELECT {KEY} FROM outbox_events t ORDER BY id DESC LIMIT 1")]
            if name == "claim" and rng.random() < 0.1:
                database.execute("INSERT INTO outbox_relay.settled_ahead SELECT 'outbox_events'::regclass, id, event_id"
                                 " FROM outbox_events ORDER BY random() LIMIT 2")
            claims.transaction(held if rng.random() < 0.2 else [], name == "claim")
    finally:
        applications.close()
        claims.cursor.connection.close()
    print(f"taken {claims.taken}, walks {claims.walks}, cut {claims.cuts}")
    assert claims.taken > 100 and claims.walks > 5 and claims.cuts > 20


def test_what_was_under_way_tells_which_shard_is_behind(empty_database, postgres, migrate, new_relay, topic):
    """Of two snapshots with the same bounds the one that shows less comes first: whoever gets both shards goes on with
    that one, and with nothing else there would be nothing to do."""
    topic()
    outbox = {"settle": "position", "shards": 2}
    migrate(outbox=outbox)
    database = empty_database
    text = claims_of(database, postgres, new_relay(outbox={**outbox, "claim_rows": 1}), 2)["claim_plain"]
    keys = dict(database.rows(f"SELECT ({KEY} & 9223372036854775807) % 2, aggregate_id FROM"
                              " (SELECT 'key-' || n AS aggregate_id FROM generate_series(1, 50) n) AS t"))
    one, other = relays = [database.server.connect(database.name, "outbox_relay").cursor() for _ in range(2)]
    for relay in relays:
        relay.execute("PREPARE claim AS " + text)

    def insert(cursor, shard):
        cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type)"
                       " VALUES ('thing', %s, 'Made') RETURNING id", (keys[shard],))
        return cursor.fetchone()[0]

    def claim(relay, *shards):
        relay.execute("EXECUTE claim (0, 100, 1000000, NULL, %s::int8[])", (list(shards),))
        return {row[0] for row in relay.fetchall() if row[7] is None}

    for late in (0, 1) * 6:  # which of two equals comes first is left to chance
        with database.session() as idle, database.session() as writer, database.session() as done:
            while claim(one, 0, 1):
                pass
            idle.execute("BEGIN; SELECT pg_current_xact_id()")
            writer.execute("BEGIN")
            behind = insert(writer, late)
            first, second = insert(done, late), insert(done, 1 - late)
            one.execute("BEGIN")
            other.execute("BEGIN")
            assert claim(one, late) == {first}
            writer.execute("COMMIT")
            assert claim(other, 1 - late) == {second}
            one.execute("COMMIT")
            other.execute("COMMIT")
            assert claim(one, 0, 1) == {behind}
    for relay in relays:
        relay.connection.close()

# SPDX-License-Identifier: ISC
"""What an application and its operators do to the outbox table while relays work on it."""
from faults.catalog import TABLE, fault
from faults.transaction import Transaction

LONG = 3  # s


def _writer(stage, rng, name, hold=LONG):
    """A transaction like those of the load, which will not end before so many seconds."""
    transaction = Transaction(stage.load, stage.connect(), rng, name)
    transaction.mix = stage.mix._replace(rollback=0, delay=1, longest_delay=hold)
    return transaction


@fault("F41", "a writer's transaction stays open for long", TABLE, times=2)
def long_writer(stage, rng):
    """Its ids are low, and it commits late."""
    transaction = _writer(stage, rng, f"long-{rng.getrandbits(32):x}")
    try:
        transaction.run()
    finally:
        transaction.connection.close()


@fault("F41", "a prepared transaction", TABLE, times=2)
def prepared(stage, rng):
    for _ in range(10):
        name = f"prepared-{rng.getrandbits(32):x}"
        transaction = _writer(stage, rng, name, hold=0.1)
        try:
            if transaction.prepare():
                break
        finally:
            transaction.connection.close()
    else:
        raise AssertionError("every transaction rang the bell, and none could be prepared")
    stage.wait(rng.uniform(0, LONG))
    stage.execute(f"COMMIT PREPARED '{name}'")
    transaction.committed()


@fault("F41", "a reader with an old snapshot", TABLE)
def long_reader(stage, rng):
    with stage.transaction() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM outbox_events")
        stage.wait(LONG)


@fault("F42", "VACUUM FULL and REINDEX of the outbox", TABLE, times=3)
def rewrite(stage, rng):
    stage.execute(rng.choice(("VACUUM FULL outbox_events", "REINDEX TABLE outbox_events",
                              "CLUSTER outbox_events USING outbox_events_pkey")))


@fault("F42", "ALTER TABLE of the outbox", TABLE, times=3)
def alter(stage, rng):
    stage.execute("ALTER TABLE outbox_events ADD COLUMN added text DEFAULT 'x'")
    stage.wait(rng.uniform(0, 1))
    stage.execute("ALTER TABLE outbox_events DROP COLUMN added")


@fault("F42", "the outbox is locked", TABLE, times=2)
def lock(stage, rng):
    with stage.postgres.locked(stage.name, mode=rng.choice(("ACCESS EXCLUSIVE", "EXCLUSIVE", "SHARE"))):
        stage.wait(rng.uniform(0.2, 2))


@fault("F42", "somebody locks rows of the outbox", TABLE, times=3)
def lock_rows(stage, rng):
    with stage.transaction() as cursor:
        cursor.execute("SELECT FROM outbox_events LIMIT %s FOR UPDATE", (rng.choice((1, 10, 100)),))
        stage.wait(rng.uniform(0.1, 3))


@fault("F43", "the ids start over", TABLE, times=2)
def ids_start_over(stage, rng):
    """Once the outbox is empty, as after a restored sequence: ids far below all that the relay has seen."""
    stage.execute("SELECT setval(pg_get_serial_sequence('outbox_events', 'id'), 1000000 * %s)", rng.randint(2, 9))
    stage.wait(rng.uniform(0.5, 2))
    with stage.postgres.locked(stage.name, "app_counters"):
        stage.wait_drained()
        if stage.settle != "delete":  # the ids are there still
            stage.execute("TRUNCATE outbox_events")
        stage.execute("SELECT setval(pg_get_serial_sequence('outbox_events', 'id'), %s)", rng.randint(1, 1000))


@fault("F46", "hostile payloads and headers", TABLE,
       mix={"column": "bytea", "largest": 900_000, "large": 0.05, "null": 0.2, "empty": 0.2, "wide": 0.05})
def hostile(stage, rng):
    """Up to just under the limit, with any bytes, and hundreds of headers. The load does it."""
    stage.wait(rng.uniform(2, 4))

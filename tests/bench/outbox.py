# SPDX-License-Identifier: ISC
"""The outbox tables of the bench and how they are filled: the same state for every contender."""
import os

from rig import HERE, program_of_postgres, run

SQL = os.path.join(HERE, "..", "..", "sql")
SCRIPTS = ["begin.sql", "guard.sql", *sorted(name for name in os.listdir(SQL) if name[0].isdigit()), "end.sql"]
PAYLOAD_BYTES = 300
PAD_BYTES = PAYLOAD_BYTES - len('{"n": "0123456789", "t": ""}')
CHUNK = 100_000

# The payload is {"n": "<n, ten digits>", "t": "..."}: n tells the event to whoever reads it.
FILL = f"""
INSERT INTO {{table}} (aggregate_type, aggregate_id, event_type, payload)
SELECT 'bench', 'key-' || lpad(((hashint8extended(n, %(seed)s) & 2147483647) %% %(keys)s)::text, 5, '0'),
       'BenchEvent',
       jsonb_build_object('n', lpad(n::text, 10, '0'), 't', left(repeat(md5(n::text), 9), {PAD_BYTES}))
  FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""


def migrate(rig, table, settle, partitions=0, schema="public", partition_by=""):
    """As an app team that runs the scripts itself."""
    names = {"outbox_schema": schema, "outbox_table": table, "outbox_id": "id", "outbox_event_id": "event_id",
             "settle": settle, "relay_role": "", "outbox_published": "published_at", "outbox_published_value": "",
             "outbox_pending_value": "", "outbox_where": "", "partition_by": partition_by}
    argv = [program_of_postgres("psql"), rig.dsn, "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"]
    for name, value in names.items():
        argv += ["-v", f"{name}={value}"]
    scripts = list(SCRIPTS)
    if partitions or partition_by:
        argv += ["-v", f"partitions={partitions}"]
        scripts.insert(scripts.index("0002_outbox.sql"), "ranges.sql" if partition_by else "partitions.sql")
    for script in scripts:
        argv += ["-f", os.path.join(SQL, script)]
    run(argv, timeout=60, PGOPTIONS="-c client_min_messages=warning")


def empty(rig, table="outbox_events"):
    """Without rows, dead or alive, and with the bell at rest."""
    rig.sql(f"TRUNCATE {table} RESTART IDENTITY")
    rig.sql("SELECT setval(bell, 1, false) FROM outbox_relay.outboxes WHERE outbox = %s::regclass", table)


def fill(rig, plan, count, table="outbox_events"):
    """One transaction."""
    with rig.database.session() as cursor:
        cursor.execute(FILL.format(table=table),
                       {"seed": plan.seed, "keys": plan.keys, "first": 1, "last": count})


def fill_in_chunks(rig, plan, count, table="outbox_events"):
    while count > 0:
        fill(rig, plan, min(count, CHUNK), table)
        count -= CHUNK


def tidy(rig, table="outbox_events"):
    """So that no contender pays for what was before it."""
    rig.sql(f"VACUUM ANALYZE {table}")
    rig.sql("CHECKPOINT")


def prepare(rig, plan, table="outbox_events"):
    empty(rig, table)
    fill(rig, plan, plan.events, table)
    tidy(rig, table)


def waiting(rig, table="outbox_events", settle="delete"):
    """How many events are still to be published."""
    where = {"delete": "", "mark": " WHERE published_at IS NULL",
             "position": " AS t WHERE NOT EXISTS (SELECT FROM (SELECT * FROM outbox_relay.positions"
                         " ORDER BY number DESC LIMIT 1) AS p WHERE pg_visible_in_snapshot(t.x, p.finished)"
                         " OR pg_visible_in_snapshot(t.x, p.target) AND t.id <= p.reached)"}
    return rig.value(f"SELECT count(*) FROM {table}" + where[settle])

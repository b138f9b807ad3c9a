# SPDX-License-Identifier: ISC
"""What the relay publishes, hashes and compares does not depend on the settings of its session."""
import pytest

from harness.fleet import sessions, wait_spread, wait_spread_for_good
from harness.postgres import Database
from harness.waiting import until
from harness.writers import insert

# Each value changes a text, or how a text is read, if it reaches the session.
HOSTILE = {
    "timezone": "Asia/Kolkata", "datestyle": "German", "intervalstyle": "sql_standard",
    "extra_float_digits": "-3", "bytea_output": "escape", "client_encoding": "LATIN1",
    "array_nulls": "off", "quote_all_identifiers": "on", "standard_conforming_strings": "off",
    "row_security": "off", "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable", "search_path": "public"}
OPTIONS = " ".join(f"-c {name}={value}" for name, value in HOSTILE.items())
PLACES = {
    "role": "ALTER ROLE outbox_relay SET {} = '{}'",
    "database": 'ALTER DATABASE "{database}" SET {} = \'{}\'',
    "role in database": 'ALTER ROLE outbox_relay IN DATABASE "{database}" SET {} = \'{}\'',
}
ENVIRONMENTS = {
    "PGTZ": {"PGTZ": "Asia/Kolkata"},
    "PGDATESTYLE": {"PGDATESTYLE": "German"},
    "PGCLIENTENCODING": {"PGCLIENTENCODING": "LATIN1"},
    "PGOPTIONS": {"PGOPTIONS": OPTIONS},
}

COLUMNS = {  # name: type, value, text
    "at": ("timestamptz", "2026-03-01 12:00:00.5+00", "2026-03-01 12:00:00.5+00"),
    "plain": ("timestamp", "2026-03-04 05:06:07", "2026-03-04 05:06:07"),
    "day": ("date", "2026-03-04", "2026-03-04"),
    "span": ("interval", "1 year 2 mons 3 days 04:05:06", "1 year 2 mons 3 days 04:05:06"),
    "ratio": ("float8", "0.1", "0.1"),
    "third": ("float4", "0.33333334", "0.33333334"),
    "raw": ("bytea", r"\x00ff5c", r"\x00ff5c"),
    "days": ("tstzrange", "[2026-03-01 00:00+00,2026-03-02 00:00+00)",
             '["2026-03-01 00:00:00+00","2026-03-02 00:00:00+00")'),
    "kind": ("regclass", "outbox_events", "public.outbox_events"),
    "price": ("money", "1234.5", "$1,234.50"),
    "name": ("text", "Zürich", "Zürich"),
}
TEXTS = {name: text for name, (_, _, text) in COLUMNS.items()}
HEADERS = ["id=${event_id}"] + [f"{name}=${{{name}}}" for name in COLUMNS]


@pytest.fixture(params=[*PLACES, *ENVIRONMENTS, "dsn", "service"])
def surrounded(request, database, new_relay, directory, settings):
    """surrounded(**changes): a relay on a table with the columns above, while role, database, environment or dsn
    give its session other settings."""
    for name, (kind, _, _) in COLUMNS.items():
        database.execute(f'ALTER TABLE outbox_events ADD COLUMN "{name}" {kind}')
    database.execute(f"ALTER ROLE owner IN DATABASE {database.name} SET default_transaction_read_only = off")
    place = request.param
    for name, value in HOSTILE.items() if place in PLACES else ():
        database.execute(PLACES[place].format(name, value, database=database.name))

    def make(**changes):
        relay = new_relay(**changes)
        relay.process.env.update(ENVIRONMENTS.get(place, {}))
        dsn = settings["database"]["dsn"]
        if place == "dsn":
            relay.write_config(database={"dsn": f"{dsn} client_encoding=LATIN1 options='{OPTIONS}'"})
        elif place == "service":
            with open(f"{directory}/services", "w") as services:
                services.write(f"[relay]\noptions={OPTIONS}\n")
            relay.process.env["PGSERVICEFILE"] = f"{directory}/services"
            relay.write_config(database={"dsn": f"{dsn} service=relay"})
        return relay
    yield make
    if place == "role":
        database.execute("ALTER ROLE outbox_relay RESET ALL")


def write(database):
    database.execute(
        f"INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, {', '.join(COLUMNS)})"
        f" VALUES ('thing', 'k', 'Happened', {', '.join(['%s'] * len(COLUMNS))})",
        *(value for _, value, _ in COLUMNS.values()))


def test_text_is_the_same(database, surrounded, reader, topic, prefix):
    """Topic, key and headers of every type whose text follows a setting; and the commands work."""
    topic("2026-03-04", partitions=1)
    relay = surrounded(route={"topic": prefix + "${day}", "key": "${at}|${span}|${ratio}|${raw}",
                              "headers": HEADERS}).start()
    write(database)
    record, = reader("2026-03-04").take(1)
    assert record.key.decode() == "|".join(TEXTS[name] for name in ("at", "span", "ratio", "raw"))
    assert {name: record.header(name) for name in COLUMNS} == TEXTS
    database.wait_empty()
    check = relay.command("check", env=relay.process.env)
    assert check.returncode == 0, check.stdout
    for command in ("status", "pause", "resume"):
        done = relay.command(command, env=relay.process.env)
        assert done.returncode == 0, done.stderr


def test_an_event_without_identity_is_found_again(database, surrounded, topic, prefix):
    """Where NULL in an array would be read as a word, the event could not be moved to the dead letters."""
    topic()
    database.execute("ALTER TABLE outbox_events ALTER COLUMN event_id DROP NOT NULL")
    surrounded(outbox={"on_reject": "dead-letter"}).start()
    database.execute("INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type)"
                     " VALUES (NULL, 'no topic!', 'k', 'Happened')")
    database.wait_empty()
    assert database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 1


@pytest.mark.parametrize("place", ["dsn", "PGOPTIONS", "service"])
def test_options_of_the_users_own_are_passed_on(database, new_relay, settings, directory, topic, place):
    """What the relay does not set itself."""
    topic()
    database.execute("""
        CREATE TABLE seen (work_mem text);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
            INSERT INTO public.seen VALUES (current_setting('work_mem')); RETURN NULL;
        END $$;
        CREATE TRIGGER see AFTER DELETE ON outbox_events FOR EACH STATEMENT EXECUTE FUNCTION see()""")
    relay = new_relay()
    options, dsn = "-c work_mem=5MB -c timezone=Asia/Kolkata", settings["database"]["dsn"]
    if place == "dsn":
        relay.write_config(database={"dsn": f"{dsn} options='{options}'"})
    elif place == "service":
        with open(f"{directory}/services", "w") as services:
            services.write(f"[relay]\noptions={options}\n")
        relay.process.env["PGSERVICEFILE"] = f"{directory}/services"
        relay.write_config(database={"dsn": f"{dsn} service=relay"})
    else:
        relay.process.env["PGOPTIONS"] = options
    relay.start()
    insert(database, 1)
    database.wait_empty()
    assert {value for value, in database.rows("SELECT work_mem FROM seen")} == {"5MB"}


def test_a_database_without_an_encoding(postgres, number, new_relay, settings, reader, topic):
    """Bytes that are not UTF-8, in a value and in the name of a column, pass as they are."""
    topic()
    bare = Database(postgres, f"bare{number}")
    Database(postgres, "postgres").execute(
        f"CREATE DATABASE {bare.name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    relay = new_relay(database={"dsn": bare.dsn("outbox_relay")})
    assert relay.command("migrate", "--dsn", bare.dsn()).returncode == 0
    bare.execute("""
        DO $$ BEGIN EXECUTE format('ALTER TABLE outbox_events ADD COLUMN %I text', convert_from('\\xe4', 'SQL_ASCII'));
        END $$; ALTER TABLE outbox_events ALTER COLUMN payload TYPE text;
        INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)
        VALUES ('thing', 'k', 'Happened', E'Z\\xfcrich')""")
    for command in ("check", "status"):
        done = relay.command(command)
        assert done.returncode == 0, done.stdout + done.stderr
    relay.start()
    assert reader().take(1)[0].value == b"Z\xfcrich"
    assert relay.stop() == 0
    bare.drop()


SLOTS = 40


def write_slots(database, count):
    """So many events of each slot, a row each, whose number tells the slot."""
    database.execute(
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, slot)"
        " SELECT 'thing', n %% %s, 'Happened', timestamptz '2026-03-01 00:00+00' + n %% %s * interval '1 hour'"
        " FROM generate_series(1, %s) n", SLOTS, SLOTS, SLOTS * count)


def partitions_of(records):
    """{slot: the partitions it is in}."""
    found = {}
    for record in records:
        found.setdefault(record.header("slot"), set()).add(record.partition)
    return found


def test_a_new_time_zone_moves_no_key(database, new_relay, reader, topic):
    """Two relays share shards by the text of a timestamptz; the database's time zone changes, and one session
    begins anew while the other goes on. Each event is somebody's, and each key stays where it is."""
    topic()
    database.execute("ALTER TABLE outbox_events ADD COLUMN slot timestamptz")
    route = {"key": "${slot}", "headers": ["slot=${aggregate_id}"]}
    relays = [new_relay(outbox={"shards": 8}, route=route).start(wait=False) for _ in range(2)]
    wait_spread_for_good(relays, 4, 4)
    database.execute(f"ALTER DATABASE \"{database.name}\" SET timezone = 'Asia/Kolkata'")
    ended = min(sessions(database))
    database.value("SELECT pg_terminate_backend(%s)", ended)
    until(lambda: len(sessions(database) - {ended}) == 2, 20, "the session to begin anew")
    wait_spread(relays, 4, 4)
    consumer = reader()
    write_slots(database, 10)
    records = consumer.take(400)
    database.wait_empty()
    for relay in relays:
        assert relay.stop() == 0
        relay.start(wait=False)
    wait_spread(relays, 4, 4)
    write_slots(database, 1)
    records += consumer.take(SLOTS)
    assert {slot: len(where) for slot, where in partitions_of(records).items()} == {str(n): 1 for n in range(SLOTS)}

# SPDX-License-Identifier: ISC
"""The commands beside `run`: migrate, check, status, and what they answer to a user who asks wrongly."""
import json
import re
import signal
import socket
import subprocess

import pytest

from harness.relay import libconfig, run_relay
from harness.writers import insert

COMMANDS = ["run", "check", "migrate", "status", "health", "pause", "resume"]


def schema(database):
    """All that migrations make, as text to compare."""
    return database.rows(
        "SELECT table_schema, table_name, column_name, data_type, column_default, is_nullable::text"
        " FROM information_schema.columns WHERE table_schema IN ('public', 'outbox_relay')"
        " UNION ALL SELECT nspname, relname, relkind::text, relacl::text, reloptions::text, ''"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname IN ('public', 'outbox_relay')"
        " UNION ALL SELECT tgname, pg_get_triggerdef(oid), '', '', '', '' FROM pg_trigger ORDER BY 1, 2, 3")


@pytest.mark.parametrize("argv", [[]] + [[command] for command in COMMANDS])
def test_help(argv):
    """-h and --help are the same for each command: the text on stdout, status 0."""
    done = run_relay(*argv, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.lower().startswith("usage: " + " ".join(["outbox-relay"] + argv))
    short = run_relay(*argv, "-h")
    assert (short.returncode, short.stdout, short.stderr) == (0, done.stdout, "")


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(option):
    done = run_relay(option)
    assert done.returncode == 0 and re.match(r"outbox-relay \d+\.\d+\.\d+", done.stdout)


@pytest.mark.parametrize("argv", [[], ["dance"], ["run", "--no-such-option"], ["check", "-c"],
                                  ["migrate", "--no-such-option"]])
def test_wrong_usage(argv):
    """Status 2, words on stderr, nothing on stdout."""
    done = run_relay(*argv)
    assert done.returncode == 2 and done.stderr and done.stdout == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_an_argument_too_many(command):
    done = run_relay(command, "surplus")
    assert done.returncode == 2 and f'{command}: unexpected argument "surplus"' in done.stderr


def test_migrate_may_be_repeated(empty_database, migrate):
    """Again and again, with no change after the first time."""
    migrate()
    first = schema(empty_database)
    migrate()
    migrate()
    assert schema(empty_database) == first


def test_migrate_print_is_the_same_for_ones_own_tool(empty_database, migrate, new_relay, reader):
    """What --print writes does, run by psql, what migrate does."""
    script = migrate("--print").stdout
    for _ in range(2):
        done = empty_database.psql(script)
        assert done.returncode == 0, done.stdout
    printed = schema(empty_database)
    migrate()
    assert schema(empty_database) == printed
    new_relay().start()
    insert(empty_database, 1)
    reader().take(1)


def test_migrate_another_table(empty_database, migrate, new_relay, reader):
    """--table makes a second outbox beside the first; a relay on it works."""
    migrate()
    empty_database.execute("CREATE SCHEMA billing")
    migrate("--table", "billing.outbox")
    new_relay(outbox={"table": "billing.outbox"}).start()
    empty_database.execute("INSERT INTO billing.outbox (aggregate_type, aggregate_id, event_type)"
                           " VALUES ('thing', 'k', 'Billed')")
    assert reader().take(1)[0].header("type") == "Billed"


def test_migrate_without_rights_says_so(empty_database, settings, new_relay):
    """The relay's own role may not migrate, and the message says what to do."""
    empty_database.execute("DO $$ BEGIN CREATE ROLE outbox_relay LOGIN;"
                           " EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    done = new_relay().command("migrate")
    assert done.returncode == 1 and "--dsn" in done.stderr
    assert "role outbox_relay is the relay's own and is to own nothing" in done.stderr
    assert "GRANT" not in done.stderr


def test_concurrent_migrations(empty_database, new_relay):
    """Four at once: all succeed."""
    relay = new_relay()
    argv = [relay.process.argv[0], "migrate", "-c", relay.config, "--dsn", empty_database.dsn()]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
               for _ in range(4)]
    for child in running:
        said = child.communicate(timeout=30)[0]
        assert child.returncode == 0, said


def test_uninstall(empty_database, migrate):
    """--print --uninstall takes out what migrate brought and leaves the table and its events."""
    migrate()
    insert(empty_database, 3)
    done = empty_database.psql(migrate("--print", "--uninstall").stdout)
    assert done.returncode == 0, done.stdout
    assert empty_database.value("SELECT to_regnamespace('outbox_relay') IS NULL")
    assert empty_database.value("SELECT count(*) FROM outbox_events") == 3
    insert(empty_database, 1)


def test_adopt_a_table_with_a_uuid_id(empty_database, new_relay, reader, topic, settings):
    """An outbox as many teams have it: a uuid as the id, a time, no number. --adopt adds what is missing and
    prints the configuration for it; with that the old events come in the order of their times, then the
    new ones, which the application writes as ever."""
    topic("order")
    empty_database.execute(
        "CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL,"
        " aggregateid varchar(255) NOT NULL, type varchar(255) NOT NULL, payload jsonb,"
        " created_at timestamptz NOT NULL DEFAULT now())")
    write = ("INSERT INTO outbox SELECT gen_random_uuid(), 'order', 'o-1', %s || n, '{}',"
             " now() - make_interval(secs => 1000 - n) FROM generate_series(1, 50) n")
    empty_database.execute(write.replace("generate_series(1, 50) n", "generate_series(50, 1, -1) n"), "old")
    outbox = {"table": "outbox", "columns": {
        "aggregate_type": "aggregatetype", "aggregate_id": "aggregateid", "event_type": "type"}}
    done = new_relay(outbox=outbox).command("migrate", "--adopt", "--dsn", empty_database.dsn())
    assert done.returncode == 0, done.stderr

    relay = new_relay(outbox=outbox)
    with open(relay.config, "w") as config:
        rest = {name: value for name, value in settings.items() if name != "outbox"}
        config.write(libconfig(rest) + done.stdout)
    again = relay.command("migrate", "--dsn", empty_database.dsn())
    assert again.returncode == 0, again.stderr
    relay.start()
    consumer = reader("order")
    assert [r.header("type") for r in consumer.take(50)] == [f"old{n}" for n in range(1, 51)]
    for n in range(1, 4):
        empty_database.execute("INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)"
                               " VALUES (gen_random_uuid(), 'order', 'o-1', %s, '{}')", f"new{n}")
    assert [r.header("type") for r in consumer.take(3)] == ["new1", "new2", "new3"]
    empty_database.wait_empty("outbox")


def test_the_relays_role_may_do_what_it_needs(database):
    """And nothing more: what was set aside is the application's to take out again."""
    rows = database.rows("SELECT privilege_type FROM information_schema.table_privileges"
                         " WHERE table_schema = 'outbox_relay' AND table_name = 'dead_letters'"
                         " AND grantee = 'outbox_relay'")
    rights = {right for right, in rows}
    assert {"INSERT", "SELECT"} <= rights <= {"INSERT", "SELECT", "UPDATE"}


def test_check_finds_nothing_wrong(database, new_relay, kafka, topic):
    """On a sound set-up: status 0 and no error. The session's defaults do not matter: the relay sets its own."""
    topic()
    database.execute(f'ALTER DATABASE "{database.name}" SET synchronous_commit = off')
    done = new_relay().command("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("^error|synchronous_commit", done.stdout, re.M)


def test_check_as_json(database, new_relay, kafka):
    done = new_relay().command("check", "--json")
    assert done.returncode == 0, done.stderr
    findings = json.loads(done.stdout)
    assert {"level": "ok", "what": "the bell of outbox_events is in place", "remedy": None} in findings
    assert all(finding["remedy"] for finding in findings if finding["level"] != "ok")


def test_check_finds_what_is_missing(empty_database, new_relay, kafka):
    """Nothing migrated: status 1, and the remedy."""
    empty_database.execute("DO $$ BEGIN CREATE ROLE outbox_relay LOGIN;"
                           " EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    done = new_relay().command("check")
    assert done.returncode == 1
    assert "outbox-relay migrate" in done.stdout + done.stderr


@pytest.mark.parametrize("change, words", [
    ("DELETE FROM outbox_relay.outboxes", r"outbox_events\S* is not known to schema outbox_relay"),
    ("CREATE TABLE anew (LIKE outbox_events INCLUDING ALL); DROP TABLE outbox_events;"
     " ALTER TABLE anew RENAME TO outbox_events; GRANT SELECT, DELETE, UPDATE ON outbox_events TO outbox_relay;"
     " GRANT SELECT ON SEQUENCE anew_id_seq TO outbox_relay",
     r"outbox_events\S* is not known to schema outbox_relay"),
    ("UPDATE outbox_relay.outboxes SET settle = 'mark'",
     r'outbox_events\S* was migrated for outbox\.settle = "mark", the configuration says "delete"'),
    ("DELETE FROM outbox_relay.schema_version WHERE version > 3", "version (is )?3, this relay needs 7")])
def test_check_and_run_refuse_the_same(database, new_relay, topic, change, words):
    topic()
    database.execute(change)
    relay = new_relay().start(wait=False)
    assert relay.wait_exit() == 1 and relay.log_contains(words)
    done = relay.command("check")
    assert done.returncode == 1 and re.search(f"^error .*{words}", done.stdout, re.M), done.stdout


def test_check_warns_of_what_breaks_order(database, new_relay, kafka):
    """A cache on the sequence of ids, and a missing trigger."""
    database.execute("ALTER TABLE outbox_events ALTER COLUMN id SET CACHE 20")
    database.execute("DROP TRIGGER outbox_relay_bell ON outbox_events")
    done = new_relay().command("check")
    assert done.returncode == 1
    assert re.search("^error sequence .*outbox_events_id_seq has CACHE 20;", done.stdout, re.M)
    assert re.search("^warn  table outbox_events has no trigger outbox_relay_bell;", done.stdout, re.M)


def test_check_tells_what_row_level_security_hides(database, new_relay):
    """No policy: nothing would ever be published. With one it is not ours to say what it hides."""
    database.execute("ALTER TABLE outbox_events ENABLE ROW LEVEL SECURITY")
    done = new_relay().command("check")
    assert done.returncode == 1 and re.search("error .*hides all rows of outbox_events.*BYPASSRLS", done.stdout)
    database.execute("CREATE POLICY all_rows ON outbox_events TO outbox_relay USING (true)")
    done = new_relay().command("check")
    assert done.returncode == 0 and re.search("warn .*decides which rows of outbox_events", done.stdout)


def test_check_tells_findings_as_it_goes(database, new_relay):
    """While it still waits for a broker that does not answer, what it has found is there to read."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        relay = new_relay(kafka={"bootstrap_servers": f"127.0.0.1:{mute.getsockname()[1]}"})
        check = subprocess.Popen([relay.process.argv[0], "check", "-c", relay.config],
                                 stdout=subprocess.PIPE, text=True)
        try:
            assert any("ids come from sequence" in line for line in iter(check.stdout.readline, ""))
            connection = mute.accept()[0]
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                while connection.recv(4096):
                    pass
            connection.close()
        finally:
            check.kill()
            check.communicate()


def test_check_and_status_without_their_peers(database, new_relay):
    """A database that is not there: status 1 and words, soon."""
    nowhere = "host=127.0.0.1 port=1 dbname=nowhere user=outbox_relay"
    relay = new_relay(database={"dsn": nowhere})
    for command in ("check", "status"):
        done = relay.command(command)
        assert done.returncode == 1 and "cannot connect to the database" in done.stderr + done.stdout


def test_status(database, new_relay, reader):
    """How much waits and for how long, as JSON and as words; with the relay at work and without."""
    relay = new_relay()
    insert(database, 7)
    status = relay.status()
    assert status["depth"] == 7
    assert 0 <= status["oldest_age_seconds"] < 60
    words = relay.command("status")
    assert words.returncode == 0 and re.search("^depth +7$", words.stdout, re.M)
    assert "http.listen has port 0: its address is in the log" in words.stdout
    relay.start()
    reader().take(7)
    database.wait_empty()
    assert relay.status()["depth"] == 0


def test_status_explains(database, relay, kafka, new_relay):
    """The state in a sentence, since when, and each problem with its runbook."""
    host, port = relay.wait_log(r"http listens on (\S+):(\d+)").groups()
    asking = new_relay(http={"listen": f"{host}:{port}"})
    words = asking.command("status").stdout
    assert re.search(r"^state +fetching for \d+\.\d s: no events wait", words, re.M)
    assert re.search("^peers +database connected, Kafka connected\nproblems +none$", words, re.M)
    kafka.stop()
    relay.wait_log("no Kafka broker answers; events wait")
    words = asking.command("status").stdout
    assert re.search(r"^problems +kafka_unreachable: no Kafka broker answers.*\n +for \d+ s; see docs/runbooks/kafka-unreachable.md$",
                     words, re.M)
    assert asking.status()["relay"]["problems"][0]["name"] == "kafka_unreachable"
    kafka.start()


@pytest.mark.parametrize("created_at", ["infinity", "-infinity", "4713-01-01 BC", "294276-12-31"])
def test_status_of_a_strange_time(database, new_relay, created_at):
    """A created_at from which no age can be told, or a great one."""
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, created_at)"
                     " VALUES ('thing', 'k', 'E', %s::timestamptz)", created_at)
    relay = new_relay()
    status = relay.status()
    assert status["depth"] == 1 and (status["oldest_age_seconds"] is None) == ("infinity" in created_at)
    words = relay.command("status")
    assert words.returncode == 0 and re.search(r"oldest +(-$|-?\d+\.\d s)", words.stdout, re.M)


def test_status_says_what_to_do(empty_database, migrate, new_relay):
    """Without the table, without a column, without rights."""
    migrate()
    relay = new_relay()
    wrong = new_relay(outbox={"columns": {"created_at": "none"}}).command("status")
    assert wrong.returncode == 1 and "fix outbox.columns" in wrong.stderr
    empty_database.execute("REVOKE SELECT ON outbox_events FROM outbox_relay")
    wrong = relay.command("status")
    assert wrong.returncode == 1 and "migrate` as the table's owner" in wrong.stderr
    empty_database.execute("DROP TABLE outbox_events")
    wrong = relay.command("status")
    assert wrong.returncode == 1 and "run `outbox-relay migrate`" in wrong.stderr


def test_the_password_is_in_no_output(database, new_relay, settings):
    """Nor in a log, nor in an error."""
    secret = "s3cr3t-pa55word"
    relay = new_relay(database={"dsn": settings["database"]["dsn"] + f" password={secret}"}).start()
    relay.process.send(signal.SIGUSR1)
    relay.wait_log("status")
    outputs = [relay.log(), relay.get("/metrics")[1], relay.get("/status")[1]]
    for command in ("check", "status"):
        done = relay.command(command)
        outputs += [done.stdout, done.stderr]
    assert all(secret not in output for output in outputs)

# SPDX-License-Identifier: ISC
"""The commands beside `run`: migrate, check, status, and what they answer to a user who asks wrongly."""
import json
import os
import re
import signal
import socket
import subprocess

import pytest

from harness.relay import ROOT, libconfig, run_relay
from harness.waiting import limit, until
from harness.writers import insert

COMMANDS = ["run", "check", "migrate", "status", "health", "pause", "resume", "replay", "verify", "shadow", "compare",
            "reconcile"]


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


NO_NUMBERS = ["", "+5", " 5", "\t5", "5 ", "5x", "5.0", "1e3", "0x10", "9223372036854775808", "-9223372036854775809"]


@pytest.mark.parametrize("argv, numbers", [
    (["dlq", "list", "--id"], NO_NUMBERS), (["dlq", "list", "--limit"], ["0", "-1"] + NO_NUMBERS),
    (["replay", "--from-id"], NO_NUMBERS), (["replay", "--to-id"], NO_NUMBERS), (["replay", "--all", "--rate"], ["-1"] + NO_NUMBERS),
    (["replay", "--resume"], ["0", "-1", "2147483648", "4294967297"] + NO_NUMBERS),
    (["verify", "--from-id"], NO_NUMBERS), (["verify", "--samples"], ["-1"] + NO_NUMBERS),
    (["compare", "--samples"], ["-1"] + NO_NUMBERS), (["reconcile", "--samples"], ["-1"] + NO_NUMBERS), (["shadow", "--prefix", "a.", "--rate"], ["-1"] + NO_NUMBERS),
    (["shadow", "--prefix", "a.", "--from"], NO_NUMBERS),
    (["handover", "--margin"], ["-1"] + NO_NUMBERS), (["handover", "--above"], ["+-5", "++5"] + [n for n in NO_NUMBERS if n != "+5"]),
    (["migrate", "--print", "--partitions"], ["1", "257"] + NO_NUMBERS)])
def test_what_is_no_number(argv, numbers):
    """Every command refuses the same, and names the option; what is one of 19 digits is taken."""
    for number in numbers:
        done = run_relay(*argv, number)
        assert done.returncode == 2 and done.stdout == "", (argv, number, done.stderr)
        assert argv[-1] in done.stderr and f'"{number}"' in done.stderr, (argv, number, done.stderr)
    if argv[-1] not in ("--resume", "--partitions"):
        done = run_relay(*argv, "1234567890123456789", "-c", "/nowhere/at.all")
        assert "/nowhere/at.all" in done.stderr or "go with" in done.stderr, (argv, done.stderr)


def printed_to(out, binary, *argv, **how):
    return subprocess.run([binary, *argv], stdout=out, stderr=subprocess.PIPE, text=True, timeout=limit(60), check=False, **how)


def test_output_that_cannot_be_written(database, new_relay):
    """Whatever it did, the status says that what was asked for is not all there. To a reader that has gone nothing is said."""
    relay = new_relay()
    binary = relay.process.argv[0]
    commands = [["--help"], ["--version"], ["dlq", "--help"], ["migrate", "--print", "-c", relay.config]] + [
        [*argv, "-c", relay.config] for argv in (
            ["status"], ["status", "--json"], ["check", "--json"], ["dlq", "list", "--json"], ["pause", "--json"],
            ["resume", "--json"])]
    for argv in commands:
        with open("/dev/full", "w") as full:
            done = printed_to(full, binary, *argv)
        assert done.returncode == 1 and "cannot write to standard output" in done.stderr, (argv, done.returncode, done.stderr)
    for restored in (True, False):  # killed by the signal, or, where that is ignored, told by write()
        pipe = subprocess.Popen(["true"], stdin=subprocess.PIPE)
        pipe.wait()
        done = printed_to(pipe.stdin, binary, "status", "--json", "-c", relay.config, restore_signals=restored)
        assert done.stderr == "" and done.returncode == (-signal.SIGPIPE if restored else 0), done
        pipe.stdin.close()


ASK = [["dlq", "list"], ["dlq", "retry", "--all"], ["dlq", "discard", "--id", "1"], ["replay", "--all"], ["verify"], ["handover"],
       ["handover", "--above", "5"], ["reconcile"]]


def test_an_outbox_that_is_not_this_role_s(empty_database, migrate, new_relay):
    """Unknown, of another service, or of a schema that is too old: each command says so, and none that there is nothing."""
    def refused(relay, argv, words):
        done = relay.command(*argv)
        assert done.returncode == 1 and done.stdout == "" and words in done.stderr, (argv, done.stdout, done.stderr)
        assert "no parked event" not in done.stderr and "no event of" not in done.stderr, argv
    migrate(outbox={"settle": "mark"})
    unknown = new_relay(outbox={"table": "unknown", "settle": "mark"})
    empty_database.execute("CREATE TABLE unknown (LIKE outbox_events)")
    for argv in ASK + [["pause"], ["resume"]]:
        refused(unknown, argv, "table unknown is not known to schema outbox_relay; run `outbox-relay migrate` for it")
    empty_database.execute("DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
                           " GRANT USAGE ON SCHEMA outbox_relay TO stranger;"
                           " GRANT SELECT ON ALL TABLES IN SCHEMA outbox_relay TO stranger;"
                           " GRANT UPDATE (paused) ON outbox_relay.outboxes TO stranger; GRANT SELECT ON outbox_events TO stranger")
    stranger = new_relay(database={"dsn": empty_database.dsn("stranger")}, outbox={"settle": "mark"})
    for argv in ASK + [["pause"], ["resume"]]:
        refused(stranger, argv, "connect as a member of role outbox_operator or outbox_relay")
    empty_database.execute("DELETE FROM outbox_relay.schema_version WHERE version > 5")
    known = new_relay(outbox={"settle": "mark"})
    for argv in ASK:
        refused(known, argv, "schema outbox_relay has version 5, this relay needs")
    assert known.command("pause").returncode == known.command("resume").returncode == 0
    empty_database.execute("DROP OWNED BY stranger; DROP ROLE stranger")


def test_what_psql_is_to_be_told(empty_database, migrate):
    """By hand, as sql/0001_schema.sql has it: then migrate finds nothing to do."""
    there = os.path.join(ROOT, "sql")
    with open(os.path.join(there, "0001_schema.sql")) as text:
        command = "".join(line[2:] for line in text if line.startswith("--     "))
    command = command.replace("psql", f"psql -X -q -d '{empty_database.dsn()}'", 1)
    done = subprocess.run(command, shell=True, cwd=there, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    by_hand = schema(empty_database)
    migrate()
    assert schema(empty_database) == by_hand


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
        said = child.communicate(timeout=limit(120))[0]
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
    """And nothing more: it sets events aside, and carries out what operators ask for them."""
    rows = database.rows("SELECT privilege_type FROM information_schema.table_privileges"
                         " WHERE table_schema = 'outbox_relay' AND table_name = 'dead_letters'"
                         " AND grantee = 'outbox_relay'")
    rights = {right for right, in rows}
    assert rights == {"INSERT", "SELECT", "UPDATE", "DELETE"}


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
    ("DELETE FROM outbox_relay.schema_version WHERE version > 3", "version (is )?3, this relay needs")])
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


POSITION = {"settle": "position"}


def test_status_of_positions(empty_database, migrate, new_relay, topic):
    """What waits, where each shard has come to, and the transaction that holds it back; for people, too."""
    topic()
    outbox = {**POSITION, "shards": 2}
    migrate(outbox=outbox)
    relay = new_relay(outbox=outbox)
    insert(empty_database, 7)
    told = relay.status()
    assert (told["depth"], told["depth_exact"], told["settle"]) == (7, True, "position") and told["oldest_age_seconds"] >= 0
    assert told["position"]["layout"] == 1 and told["position"]["held_by"] is None
    relay.start()
    empty_database.wait("SELECT depth = 0 FROM outbox_relay.count_waiting('outbox_events', 1)")
    told = relay.status()
    assert (told["depth"], told["oldest_age_seconds"]) == (0, None)
    assert sorted(shard for position in told["position"]["positions"] for shard in position["shards"]) == [0, 1]
    with empty_database.session(autocommit=False) as writer:
        writer.execute("SET application_name = 'import'")
        writer.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('thing', 'secret', 'Happened')")
        pid = writer.connection.info.backend_pid
        insert(empty_database, 5)
        empty_database.wait("SELECT depth = 0 FROM outbox_relay.count_waiting('outbox_events', 1)")
        relay.wait_metric("position_lag_seconds", 1)
        told = new_relay(outbox=outbox, database={"dsn": empty_database.dsn()}).status()  # who may see all
        held = told["position"]["held_by"]
        assert (held["pid"], held["application"], held["prepared"]) == (pid, "import", None) and held["seconds"] >= 1
        assert held["query"].startswith("INSERT INTO outbox_events") and "secret" not in held["query"]
        known = relay.status()["position"]["held_by"]
        assert (known["pid"], known["application"], known["seconds"]) == (pid, "import", None)
        words = relay.command("status").stdout
        assert f"held back by session {pid} (role " in words and "finished up to transaction " in words, words
        assert relay.stop() == 0
        writer.connection.commit()
        told = relay.status()  # what was begun before the position, and is not in it
        assert (told["depth"], told["position"]["held_by"]) == (1, None) and told["oldest_age_seconds"] > 1
        relay.start()
    empty_database.wait("SELECT depth = 0 FROM outbox_relay.count_waiting('outbox_events', 1)")

    def held_back():
        """How long; None until it is known, since a relay claims before it counts."""
        return json.loads(relay.get("/status")[1])["position_lag_seconds"]
    until(lambda: held_back() is not None and held_back() < 1, 20, "positions to be held back no more")
    assert relay.metric("position_lag_seconds") < 1
    assert relay.status()["position"]["held_by"] is None


def test_no_positions_elsewhere(database, new_relay):
    relay = new_relay()
    assert relay.status()["position"] is None and "position" not in relay.command("status").stdout
    relay.start()
    assert "outbox_relay_position_lag_seconds{" not in relay.get("/metrics")[1]
    assert json.loads(relay.get("/status")[1])["position_lag_seconds"] is None


def test_check_of_positions(empty_database, migrate, new_relay, kafka):
    migrate(outbox=POSITION)
    done = new_relay(outbox=POSITION).command("check")
    assert done.returncode == 0 and not re.search("^(warn|error)  ?.*outbox_events", done.stdout, re.M), done.stdout
    assert "ok    table outbox_events has positions of 1 shard\n" in done.stdout
    assert "ok    x of table outbox_events is always the transaction that inserted the row\n" in done.stdout
    done = new_relay(outbox={**POSITION, "shards": 4}).command("check")
    assert "has positions of 1 shards, and the configuration has 4: relays that begin publish to one" in done.stdout
    done = new_relay(outbox={**POSITION, "ordering": "none"}).command("check")
    assert done.returncode == 2 and 'outbox.settle = "position" needs an order' in done.stderr


@pytest.mark.parametrize("options, words", [
    (["--partitions", "4"], "each of the 4 partitions of table outbox_events has a position"),
    (["--partition-by", "id:1000"], "table outbox_events has positions of 1 shard"),
    (["--partitions", "2", "--partition-by", "id:1000"], "each of the 2 partitions of table outbox_events has a position")])
def test_check_of_positions_of_partitions(empty_database, migrate, new_relay, kafka, options, words):
    migrate(*options, outbox=POSITION)
    relay = new_relay(outbox=POSITION)
    done = relay.command("check")
    assert done.returncode == 0 and f"ok    {words}\n" in done.stdout, done.stdout
    assert not re.search("^(warn|error)  ?.*outbox_events", done.stdout, re.M), done.stdout
    insert(empty_database, 20)
    assert relay.status()["depth"] == 20
    part, = empty_database.rows("SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r' AND c.oid IN (SELECT relid"
                                " FROM pg_partition_tree('outbox_events')) ORDER BY 1 LIMIT 1")[0]
    empty_database.execute(f"ALTER TABLE {part} ENABLE TRIGGER outbox_relay_x")
    done = relay.command("check")
    assert done.returncode == 1 and f"trigger outbox_relay_x of table public.{part} is not enabled ALWAYS" in done.stdout, done.stdout


@pytest.mark.parametrize("change, level, words", [
    ("ALTER TABLE outbox_events ALTER x DROP NOT NULL", "error", "column x of table outbox_events may be NULL"),
    ("ALTER TABLE outbox_events ALTER x DROP DEFAULT", "warn", "has not the default pg_current_xact_id()"),
    ("DROP TRIGGER outbox_relay_x ON outbox_events; DROP TRIGGER outbox_relay_x_stays ON outbox_events;"
     " ALTER TABLE outbox_events DROP x", "error", "table outbox_events has no column x"),
    ("DROP INDEX outbox_events_x_id_idx", "error", "no valid index on public.outbox_events (x, id)"),
    ("ALTER TABLE outbox_events DISABLE TRIGGER outbox_relay_x", "error", "trigger outbox_relay_x of table public.outbox_events is not"),
    ("ALTER TABLE outbox_events ENABLE TRIGGER outbox_relay_x_stays", "error", "trigger outbox_relay_x_stays of table"),
    ("DROP TRIGGER outbox_relay_x ON outbox_events", "error", "trigger outbox_relay_x of table public.outbox_events is missing"),
    ("CREATE TRIGGER z BEFORE INSERT ON outbox_events FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
     "warn", "trigger z of table outbox_events runs after outbox_relay_x"),
    ("GRANT UPDATE (aggregate_id) ON outbox_events TO outbox_writer", "warn",
     "role outbox_writer, which inserts events, may UPDATE aggregate_id of table outbox_events"),
    ("GRANT UPDATE ON outbox_events TO PUBLIC", "warn", "role PUBLIC may UPDATE aggregate_id, id, x of table outbox_events"),
    ("UPDATE outbox_relay.outboxes SET position_home = '1/2/3'", "error", "are of another server, database or table (1/2/3"),
    ("UPDATE outbox_relay.outboxes SET position_layout = 0", "error", "partitioned in another way"),
])
def test_check_finds_what_positions_rest_on(empty_database, migrate, new_relay, kafka, change, level, words):
    migrate(outbox=POSITION)
    empty_database.execute(change)
    done = new_relay(outbox=POSITION).command("check", "--json")
    found = [finding for finding in json.loads(done.stdout) if words in finding["what"]]
    assert [finding["level"] for finding in found] == [level] and found[0]["remedy"], done.stdout
    assert (done.returncode == 1) is (level == "error")


def test_check_of_positions_without_times(empty_database, migrate, new_relay, kafka):
    migrate(outbox=POSITION)
    done = new_relay(outbox={**POSITION, "columns": {"created_at": ""}}).command("check")
    assert "outbox.retention deletes none, and all stay: name the column" in done.stdout, done.stdout

# SPDX-License-Identifier: ISC
"""Bad input, each with its message: what is wrong, where, and what to do about it."""
import os
import re
import signal

import pytest

from harness.consumer import Reader
from harness.kafka import Kafka
from harness.postgres import PASSWORD_ROLE
from harness.relay import run_relay
from harness.waiting import holds, until
from harness.writers import insert

PASSWORD = "right-password"


def refused(relay, *patterns):
    """The file itself is wrong: every command ends with status 2, says this on stderr, and does nothing else."""
    for command in ("check", "run", "migrate", "status"):
        done = relay.command(command)
        assert done.returncode == 2 and done.stdout == "", (command, done.stdout, done.stderr)
        for pattern in patterns:
            assert re.search(pattern, done.stderr), (command, done.stderr)


def found(relay, *patterns):
    """Only the peers can tell: `check` ends with status 1 and says this, and so does the log of `run`."""
    done = relay.command("check")
    assert done.returncode == 1, done.stdout + done.stderr
    relay.start(wait=False)
    for pattern in patterns:
        assert re.search(pattern, done.stdout + done.stderr), done.stdout + done.stderr
        relay.wait_log(pattern)


def test_unknown_key(new_relay):
    relay = new_relay(outbox={"clam_rows": 100})
    refused(relay, rf"^{re.escape(relay.config)}:\d+: .*clam_rows", "claim_rows")


def test_wrong_type(new_relay):
    relay = new_relay(outbox={"claim_rows": "many"})
    refused(relay, rf"{re.escape(relay.config)}:\d+: outbox.claim_rows is a string")


def test_every_error_at_once(new_relay):
    """All that is wrong is told in one go."""
    relay = new_relay(outbox={"poll_interval": "soon", "settle": "burn"}, http={"listen": "nowhere"},
                      kafka={"properties": ["acks=1"]})
    refused(relay, r":\d+: outbox.poll_interval", r":\d+: outbox.settle.*delete", r":\d+: .*nowhere",
            r":\d+: .*acks is refused")


@pytest.mark.parametrize("route, says", [
    ({"topic": "t.${aggregate_type"}, r"route\.topic .* has no \"}\""),
    ({"topic": "my events"}, r"route\.topic .* has a character other than .*; give a legal topic name"),
    ({"key": "$aggregate_id"}, r"route\.key .* a \"\$\" stands alone; write \$\{field\}"),
    ({"key": "${payload}"}, r"route\.key .* there is no field \"payload\"; name a column"),
    ({"headers": ["id=${event_id}", "tenant=${}"]}, r"route\.headers .* names no field"),
])
def test_templates(new_relay, route, says):
    """A template that does not parse, or can give nothing, needs no table to be found wrong."""
    relay = new_relay(route=route)
    refused(relay, rf"^{re.escape(relay.config)}:\d+: {says}")


def test_template_of_a_part_without_a_column(new_relay):
    relay = new_relay(route={"headers": ["at=${created_at}"]}, outbox={"columns": {"created_at": ""}})
    refused(relay, rf"^{re.escape(relay.config)}:\d+: route\.headers .* there is no field \"created_at\"")


def test_properties_that_librdkafka_refuses(new_relay):
    """Both the unknown and the ill-valued, at once, and without the values."""
    relay = new_relay(kafka={"properties": ["lingr.ms=4711", "compression.codec=4712"]})
    at = rf"(?m)^{re.escape(relay.config)}:\d+: kafka\.properties: "
    refused(relay, at + r"librdkafka \S+ has no property \"lingr\.ms\"",
            at + r"\"compression\.codec\" is refused by librdkafka: Invalid value")
    assert "471" not in relay.command("check").stderr


def test_dsn_that_does_not_parse(new_relay):
    relay = new_relay(database={"dsn": "host=127.0.0.1 password=two words"})
    refused(relay, rf"^{re.escape(relay.config)}:\d+: database\.dsn does not parse")
    assert "two" not in relay.command("check").stderr


def test_reload_of_a_wrong_template(database, new_relay):
    """A reload takes the file no easier than a start, although the route would wait for a restart."""
    relay = new_relay().start()
    relay.write_config(route={"key": "${"}, outbox={"claim_rows": 7})
    relay.process.send(signal.SIGHUP)
    relay.wait_log(r"reload: \S+:\d+: route\.key")
    relay.wait_log("reload: nothing is changed")
    assert not relay.log_contains("claim_rows has changed")


def test_a_required_option_is_missing(new_relay):
    refused(new_relay(database={"dsn": None}), "database.dsn is missing")


def test_a_syntax_error(new_relay):
    relay = new_relay()
    with open(relay.config, "a") as config:
        config.write('outbox = { table = "unfinished };\n')
    refused(relay, rf"{re.escape(relay.config)}:\d+: ")


def test_missing_file(directory):
    done = run_relay("run", "-c", f"{directory}/none.conf")
    assert done.returncode == 2 and "none.conf: No such file or directory" in done.stderr


def test_unreadable_secret(new_relay, directory):
    relay = new_relay(database={"dsn": "host=127.0.0.1 password=${file:%s/none}" % directory})
    refused(relay, rf":\d+: database.dsn: .*{directory}/none: No such file")


def test_secret_that_the_user_may_not_read(new_relay, directory):
    """A secret that belongs to somebody else."""
    secret = f"{directory}/secret"
    with open(secret, "w") as file:
        file.write("x")
    os.chmod(secret, 0)
    relay = new_relay(database={"dsn": "host=127.0.0.1 password=${file:%s}" % secret})
    done = run_relay("check", "-c", relay.config, unprivileged=True)
    assert done.returncode == 2 and f"{secret}: Permission denied" in done.stderr


def test_unset_environment(new_relay):
    refused(new_relay(database={"dsn": "password=${env:NO_SUCH_VARIABLE}"}), "NO_SUCH_VARIABLE is not set")


def test_secrets_from_environment_and_file(database, new_relay, directory, settings, reader):
    """Both do work when they are there."""
    with open(f"{directory}/user", "w") as file:
        file.write("outbox_relay\n")
    dsn = settings["database"]["dsn"].replace("user=outbox_relay", "user=${file:%s/user}" % directory)
    relay = new_relay(database={"dsn": dsn.replace("dbname=", "${env:OR_TEST_WORD}=")})
    relay.process.env["OR_TEST_WORD"] = "dbname"
    relay.start()
    insert(database, 1)
    reader().take(1)


def test_missing_table(database, new_relay):
    found(new_relay(outbox={"table": "no_such_outbox"}), r"no_such_outbox\"? does not exist",
          "outbox-relay migrate")


def test_missing_column(database, new_relay):
    found(new_relay(outbox={"columns": {"payload": "no_such_body"}}), 'no column "?no_such_body')


def test_missing_column_of_a_template(database, new_relay):
    found(new_relay(route={"headers": ["tenant=${no_such_tenant}"]}), "no_such_tenant", "fix the template")


def test_partitioned_table_without_partitions(empty_database, new_relay):
    """Each partition is a shard; there is none."""
    empty_database.execute(
        "CREATE TABLE outbox_events (id bigint GENERATED ALWAYS AS IDENTITY, event_id uuid NOT NULL,"
        " aggregate_type text NOT NULL, aggregate_id text NOT NULL, event_type text NOT NULL, payload jsonb,"
        " headers jsonb, created_at timestamptz) PARTITION BY HASH (aggregate_id)")
    relay = new_relay()
    for option in ([], ["--adopt"]):
        done = relay.command("migrate", "--dsn", empty_database.dsn(), *option)
        assert done.returncode == 1, done.stderr
        assert re.search("outbox_events is partitioned .*plain table", done.stderr), done.stderr
    assert empty_database.value("SELECT to_regnamespace('outbox_relay') IS NULL")


def test_table_with_heirs(database, new_relay):
    database.execute("CREATE TABLE heir () INHERITS (outbox_events)")
    found(new_relay(), "tables that inherit from it", "plain table")
    database.execute("DROP TABLE heir")
    new_relay().start()


def test_missing_rights(database, new_relay):
    database.execute("REVOKE DELETE ON outbox_events FROM outbox_relay")
    found(new_relay(), r"(lacks rights on outbox_events: DELETE|may not .*DELETE.* on table .*outbox_events)")


def test_missing_schema(empty_database, new_relay, database):
    """The table is there, the relay's schema is not."""
    empty_database.execute("DROP SCHEMA outbox_relay CASCADE")
    found(new_relay(), "outbox-relay migrate")


def test_older_schema(database, new_relay):
    """A migration is missing; a newer schema will do, as migrations only add."""
    newest = database.value("SELECT max(version) FROM outbox_relay.schema_version")
    database.execute("DELETE FROM outbox_relay.schema_version WHERE version = %s", newest)
    found(new_relay(), rf"version (is|\d+).*needs {newest}", "run `?outbox-relay migrate")
    database.execute("INSERT INTO outbox_relay.schema_version (version, script) VALUES (999, 'later')")
    newer = new_relay().start()
    assert newer.log_contains(f"version 999, this relay knows {newest}")


def test_missing_database(new_relay, postgres, database):
    found(new_relay(database={"dsn": postgres.dsn("no_such_database", "outbox_relay")}),
          'database "no_such_database" does not exist')


def test_wrong_password(database, new_relay):
    """Said as Postgres says it, without the password; with the right one it goes."""
    database.set_password(PASSWORD)
    dsn = database.dsn(PASSWORD_ROLE) + " password="
    wrong = new_relay(database={"dsn": dsn + "wrong-password"})
    found(wrong, f'password authentication failed for user "{PASSWORD_ROLE}"')
    assert not wrong.log_contains("wrong-password")
    new_relay(database={"dsn": dsn + PASSWORD}).start()


def test_a_topic_that_does_not_exist(database, new_relay, world, number):
    """With auto-creation off on the broker: the events of that topic wait, and the log names it; when the
    topic is made they arrive."""
    strict = Kafka(os.path.join(world, f"kafka{number}"), auto_create_topics_enable="false").create().start()
    try:
        relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"},
                          outbox={"stall_timeout": "3s"})
        insert(database, 3, aggregate_type="absent")
        relay.start(wait=False)
        relay.wait_log('topic "absent" does not exist', timeout=40)
        until(lambda: relay.get("/readyz") == (503, 'waiting for topic "absent", see the log\n'), 10, "readyz to say so")
        holds(lambda: relay.get("/healthz")[0] == 200, 7, "a healthz of 200, as a restart brings no topic")
        strict.create_topic("absent")
        consumer = Reader(strict.bootstrap, "absent")
        assert len(consumer.take(3, timeout=40)) == 3
        consumer.close()
        database.wait_empty()
        fixed = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "never.made"})
        done = fixed.command("check")
        assert "never.made" in done.stdout + done.stderr and done.returncode == 1
    finally:
        strict.remove()


@pytest.mark.parametrize("route", [{"topic": "events.${" + "c" * 64 + "}"}, {"key": "${" + "c" * 200 + "}"},
                                   {"headers": ["h=${" + "c" * 64 + "}"]}])
def test_a_field_longer_than_any_column(new_relay, route):
    """No column can have the name; check took it for one and aborted."""
    refused(new_relay(route=route), "has a name of (64|200) bytes; no column's name has more than 63")


def test_a_field_as_long_as_a_column_may_be(database, new_relay):
    done = new_relay(route={"topic": "events.${" + "c" * 63 + "}"}).command("check")
    assert done.returncode == 1 and "has no such column" in done.stdout


@pytest.mark.parametrize("outbox", [{"table": "t" * 64}, {"columns": {"payload": "p" * 64}}])
def test_a_name_longer_than_any(new_relay, outbox):
    refused(new_relay(outbox=outbox), "63|characters|bytes")

# SPDX-License-Identifier: ISC
"""What is shown to Kafka changes under a running relay: passwords from a file, tokens by a command."""
import os
import signal
import time

import pytest

from harness.checker import problems, repeats
from harness.librdkafka import CURRENT, DEBIANS
from harness.logins import secret as password_of
from harness.postgres import PASSWORD_ROLE
from harness.secret import Secret
from harness.steady import Steady, Waits
from harness.waiting import until
from harness.writers import arrivals, insert

pytestmark = pytest.mark.xdist_group("kafka_secrets")


@pytest.fixture
def kafka(login_kafka):
    return login_kafka


@pytest.fixture
def secret(directory):
    return Secret(os.path.join(directory, "secret"))


def by_file(kafka, mechanism, secret, listener="SHORT", user="relay"):
    """The group `kafka` of a relay that logs in by the file."""
    properties = [entry for entry in kafka.sasl(mechanism, user) if not entry.startswith("sasl.password=")]
    return {"bootstrap_servers": kafka.at(listener), "sasl_password_file": secret.path, "properties": properties}


@pytest.mark.parametrize("librdkafka", [DEBIANS, CURRENT], indirect=True)
def test_a_password_that_is_wrong_for_a_while(kafka, secret, database, new_relay, reader, topic):
    """The file is looked at again and again, so nobody has to tell."""
    topic()
    secret.write(password_of("relay"))
    relay = new_relay(kafka=by_file(kafka, "PLAIN", secret))
    done = relay.command("check")
    assert done.returncode == 0, done.stdout
    relay.start()
    insert(database, 1)
    assert len(reader().take(1)) == 1
    secret.write("hunter2")
    relay.wait_log("kafka.sasl_password_file: the password has changed")
    sent = 1
    while not relay.log_contains("uthentication failed"):  # an old library hears of it when it sends something
        insert(database, 1)
        sent += 1
        assert sent < 100
        time.sleep(0.2)
    os.unlink(secret.path)
    relay.wait_log("kafka.sasl_password_file: cannot read .*: No such file")
    secret.write(password_of("relay"), end="")
    assert len(reader().take(sent)) == sent
    assert "hunter2" not in relay.log() and password_of("relay") not in relay.log()


@pytest.fixture
def token_command(kafka):
    """As one would ask an issuer by hand: it prints JSON with the token and expires_in."""
    return (f"curl -sS --fail -u relay:{password_of('relay')} -d grant_type=client_credentials {kafka.issuer.url}")


def by_command(kafka, command, listener="SHORT"):
    return {"bootstrap_servers": kafka.at(listener), "oauthbearer_token_command": command,
            "properties": ["security.protocol=SASL_SSL", f"ssl.ca.location={kafka.ca.certificate}",
                           "sasl.mechanism=OAUTHBEARER"]}


@pytest.fixture
def short_life(kafka):
    kafka.issuer.lifetime, before = 10, kafka.issuer.lifetime
    yield
    kafka.issuer.lifetime = before


@pytest.mark.parametrize("librdkafka", [DEBIANS, CURRENT], indirect=True)
def test_tokens_are_renewed_while_idle(kafka, short_life, token_command, database, new_relay, reader, topic):
    """Of 10 s each, for sessions of 5 s. Then an event comes, when the first tokens have expired."""
    topic()
    relay = new_relay(kafka=by_command(kafka, token_command))
    done = relay.command("check")
    assert done.returncode == 0, done.stdout
    relay.start()
    insert(database, 1)
    assert len(reader().take(1)) == 1
    asked = kafka.issuer.asked
    until(lambda: kafka.issuer.asked >= asked + 2, 40, "two more tokens")
    insert(database, 1)
    assert len(reader().take(2)) == 2
    assert not relay.log_contains("expired|uthentication failed")
    assert password_of("relay") not in relay.log()


def test_a_command_for_tokens_that_fails(kafka, directory, token_command, database, new_relay, reader, topic):
    """Its words are in the findings of check, in the log and at /readyz; later it may work."""
    topic()
    program = os.path.join(directory, "kafka-token")

    def write(text):
        with open(program, "w") as file:
            file.write(f"#!/bin/sh\n{text}\n")
        os.chmod(program, 0o755)
    write("echo hunter2; echo the vault is sealed >&2; exit 1")
    relay = new_relay(kafka=by_command(kafka, program))
    says = "kafka.oauthbearer_token_command: the command failed with exit status 1: the vault is sealed"
    done = relay.command("check")
    assert done.returncode == 1 and says in done.stdout
    relay.start(wait=False)
    relay.wait_log(says)
    until(lambda: says in relay.get("/readyz")[1], 10, "the reason at /readyz")
    write(token_command)
    relay.wait_log("there is a token for Kafka again")
    insert(database, 1)
    assert len(reader().take(1)) == 1
    assert "hunter2" not in relay.log()


REPLACED = 20000  # bytes that the topic no longer takes: the producer is replaced, and the event rejected


def make_another_producer(kafka, name, database, relay):
    """The relay does not know the new limit yet, so it tries."""
    kafka.configure_topic(name, max_message_bytes=REPLACED // 2)
    insert(database, 1, payload='{"n": "%s"}' % os.urandom(REPLACED // 2).hex())
    insert(database, 1)
    relay.wait_log("the producer must be rebuilt")


@pytest.mark.parametrize("librdkafka", [DEBIANS, CURRENT], indirect=True)
def test_the_next_producer_has_the_last_secret(kafka, secret, token_command, database, new_relay, reader, topic):
    """While there is no file, and the issuer of tokens is not there to be asked: what is known is still good."""
    name = topic()
    secret.write(password_of("relay"))
    with open(secret.path + "-command", "w") as file:
        file.write(token_command)
    relays = [new_relay(kafka=settings, outbox={"on_reject": "dead-letter", "stall_timeout": "3s"}) for settings in (
        by_file(kafka, "PLAIN", secret, "SASL"), by_command(kafka, f". {secret.path}-command", "SASL"))]
    records = reader()
    for relay, forget in zip(relays, (secret.path, secret.path + "-command")):
        kafka.configure_topic(name, max_message_bytes=1000000)
        relay.start()
        insert(database, 1)
        assert len(records.take(1)) == 1
        os.unlink(forget)
        make_another_producer(kafka, name, database, relay)
        assert len(records.take(1)) == 1
        database.wait_empty()
        relay.stop()
        assert not relay.log_contains("does not let this relay in|no token")
    assert database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 2


@pytest.mark.parametrize("librdkafka", [DEBIANS, CURRENT], indirect=True)
def test_librdkafkas_debugging_shows_no_secret(kafka, librdkafka, secret, directory, database, new_relay, topic):
    """At log.level = "debug" all of it is written."""
    topic()
    secret.write(password_of("relay"))
    token = kafka.issuer.token("relay")
    with open(os.path.join(directory, "token"), "w") as file:
        file.write(token)
    ways = [by_file(kafka, "PLAIN", secret, "SASL"), by_command(kafka, f"cat {file.name}", "SASL")]
    if librdkafka != DEBIANS:
        ways += [by_file(kafka, "SCRAM-SHA-512", secret, "SASL"),
                 {"bootstrap_servers": kafka.at("SASL"), "properties": kafka.oidc()}]
    for way in ways:
        way["properties"] = [*way["properties"], "debug=all"]
        relay = new_relay(kafka=way, log={"level": "debug"}).start()
        insert(database, 1)
        database.wait_empty()
        relay.stop()
        said = relay.log()
        assert "kafka: SASL" in said
        for shown in (password_of("relay"), token, token.split(".")[2]):
            assert shown not in said
        assert "eyJ" not in said  # the beginning of any JSON Web Token


@pytest.fixture
def scram(kafka):
    """scram(mechanism, password): sets the user's; afterwards it is what others expect."""
    changed = []

    def change(mechanism, password):
        changed.append(mechanism)
        kafka.set_password(mechanism, "relay", password)
    yield change
    for mechanism in set(changed):
        kafka.set_password(mechanism, "relay", password_of("relay"))


def wait_for(waits, more):
    goal = len(waits.records) + more
    until(lambda: len(waits.records) >= goal, 60, f"{more} events more")


@pytest.mark.parametrize("librdkafka", [CURRENT], indirect=True)
def test_nothing_in_a_password_is_special(kafka, scram, secret, database, new_relay, topic):
    """In a shell, in librdkafka's properties or in a configuration it would be."""
    topic()
    strange = "q'uo\"te back\\slash\\ $x ${env:HOME} in-ährt-€ a=b;c#d%e"
    scram("SCRAM-SHA-256", strange)
    for end in ("", "\n"):
        secret.write(strange, end)
        done = new_relay(kafka=by_file(kafka, "SCRAM-SHA-256", secret)).command("check")
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("librdkafka", [DEBIANS, CURRENT], indirect=True)
def test_blanks_around_a_password(kafka, secret, database, new_relay):
    """librdkafka takes them off its properties."""
    for password, is_wrong in ((" around it ", False), ("around it ", True), (" around it", True)):
        secret.write(password)
        done = new_relay(kafka=by_file(kafka, "PLAIN", secret, user="blanks")).command("check")
        assert ("wrong user or password" in done.stdout) == is_wrong, done.stdout


def test_what_ends_run_at_the_start(kafka, secret, database, new_relay):
    """Errors of the set-up, no file and no program: status 1 and the reason."""
    for settings, says in (
            (by_file(kafka, "PLAIN", secret), f"kafka.sasl_password_file: cannot read {secret.path}: No such file"),
            (by_command(kafka, "/not/there"), "kafka.oauthbearer_token_command: the shell cannot run the command")):
        relay = new_relay(kafka=settings)
        for command in ("run", "check"):
            done = relay.command(command, timeout=30)
            assert done.returncode == 1 and says in done.stdout + done.stderr, done.stderr


def test_reloaded(kafka, secret, directory, token_command, database, new_relay, topic, reader):
    """Another file, and another command, from a SIGHUP on."""
    topic()
    other = Secret(os.path.join(directory, "other"))
    secret.write(password_of("relay"))
    other.write("hunter2")
    by_password = new_relay(kafka=by_file(kafka, "PLAIN", secret)).start()
    by_token = new_relay(kafka=by_command(kafka, "exit 1")).start(wait=False)
    by_token.wait_log("no token for Kafka")
    by_password.write_config(kafka={"sasl_password_file": other.path})
    by_token.write_config(kafka={"oauthbearer_token_command": token_command})
    for relay in by_password, by_token:
        relay.process.send(signal.SIGHUP)
    by_password.wait_log("kafka.sasl_password_file: the password has changed")
    until(lambda: by_token.metrics()['outbox_relay_connected{peer="kafka"}'] == 1, 30, "Kafka")


@pytest.mark.parametrize("librdkafka", [CURRENT], indirect=True)
def test_both_passwords_change_under_load(kafka, scram, secret, directory, database, new_relay, reader, topic):
    """500 events/s. Each password changes at the peer first, and only when the relay was refused in its file.
    Nothing is lost or repeated, and order is kept. `pytest -s` shows how long the consumer waited."""
    topic()
    mechanism = "SCRAM-SHA-512"
    secret.write(password_of("relay"))
    database_secret = Secret(os.path.join(directory, "database-secret"))
    database.set_password("first")
    database_secret.write("first")
    relay = new_relay(kafka=by_file(kafka, mechanism, secret),
                      database={"dsn": database.dsn(PASSWORD_ROLE), "password_file": database_secret.path}).start()
    with Waits(reader()) as waits:
        with Steady(database) as steady:
            wait_for(waits, 500)
            begun = time.monotonic()
            database.set_password("second")
            assert database.end_relay_sessions(PASSWORD_ROLE) >= 1
            relay.wait_log("password authentication failed")
            database_secret.write("second")
            wait_for(waits, 1000)
            between = time.monotonic()
            scram(mechanism, "third")
            relay.wait_log("uthentication failed")
            secret.write("third")
            wait_for(waits, 1000)
            ended = time.monotonic()
        until(lambda: len(waits.records) >= len(steady.truth), 60, "every event")
    print(f"\n{len(steady.truth)} events in {steady.seconds:.0f} s; longest wait of the consumer: "
          f"{waits.longest(begun, between):.2f} s when the database's password changed, "
          f"{waits.longest(between, ended):.2f} s when Kafka's did")
    found = arrivals(waits.records)
    assert problems(steady.truth, found) == [] and repeats(found) == 0

"""What is shown to Kafka changes under a running relay: passwords from a file, tokens by a command."""
import os

import pytest

from harness.librdkafka import CURRENT, DEBIANS
from harness.logins import secret as password_of
from harness.secret import Secret
from harness.waiting import until
from harness.writers import insert

pytestmark = pytest.mark.xdist_group("logins")


@pytest.fixture
def kafka(login_kafka):
    yield login_kafka
    login_kafka.start()


@pytest.fixture
def secret(directory):
    return Secret(os.path.join(directory, "secret"))


def by_file(kafka, mechanism, secret, listener="SASL"):
    """The group `kafka` of a relay that logs in by the file."""
    properties = [entry for entry in kafka.sasl(mechanism) if not entry.startswith("sasl.password=")]
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
    kafka.stop()
    kafka.start()
    insert(database, 1)
    relay.wait_log("Authentication failed|SaslAuthenticationException|authentication")
    os.unlink(secret.path)
    relay.wait_log("kafka.sasl_password_file: cannot read .*: No such file")
    secret.write(password_of("relay"), end="")
    assert len(reader().take(2)) == 2
    assert "hunter2" not in relay.log() and password_of("relay") not in relay.log()


@pytest.fixture
def token_command(kafka):
    """As one would ask an issuer by hand: it prints JSON with the token and expires_in."""
    return (f"curl -sS --fail -u relay:{password_of('relay')} -d grant_type=client_credentials {kafka.issuer.url}")


def by_command(kafka, command, listener="SASL"):
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
    """Of 10 s each. Then an event comes, over connections that take a token of now."""
    topic()
    relay = new_relay(kafka=by_command(kafka, token_command))
    done = relay.command("check")
    assert done.returncode == 0, done.stdout
    relay.start()
    insert(database, 1)
    assert len(reader().take(1)) == 1
    asked = kafka.issuer.asked
    until(lambda: kafka.issuer.asked >= asked + 2, 40, "two more tokens")
    kafka.stop()
    kafka.start()
    insert(database, 1)
    assert len(reader().take(2)) == 2
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
    write("echo '{\"token\": \"hunter2\", \"expires_in\": -1}'")
    relay.wait_log("kafka.oauthbearer_token_command: the command printed a token that expired")
    write(token_command)
    relay.wait_log("there is a token for Kafka again")
    insert(database, 1)
    assert len(reader().take(1)) == 1
    assert "hunter2" not in relay.log()

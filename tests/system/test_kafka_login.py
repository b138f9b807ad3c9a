# SPDX-License-Identifier: ISC
"""Every way to log in to Kafka, with Debian's librdkafka and a current one: the table is printed at the end."""
import re

import pytest

from harness.librdkafka import CURRENT, DEBIANS, version
from harness.logins import secret, without
from harness.relay import BINARY
from harness.writers import insert

pytestmark = [pytest.mark.xdist_group("logins"),
              pytest.mark.parametrize("librdkafka", [DEBIANS, CURRENT], indirect=True)]

# The listener, and what the relay needs: properties, and options of the group kafka.
LOGINS = {
    "TLS": lambda kafka: ("TLS", kafka.tls()),
    "TLS, client certificate": lambda kafka: ("MTLS", kafka.mutual_tls()),
    "SCRAM-SHA-256 over TLS": lambda kafka: ("SASL", kafka.sasl("SCRAM-SHA-256")),
    "SCRAM-SHA-512 over TLS": lambda kafka: ("SASL", kafka.sasl("SCRAM-SHA-512")),
    "SCRAM-SHA-512 without TLS": lambda kafka: ("CLEAR", kafka.clear_sasl("SCRAM-SHA-512")),
    "PLAIN over TLS": lambda kafka: ("SASL", kafka.sasl("PLAIN")),
    "PLAIN over TLS, password file": lambda kafka: (
        "SASL", without(kafka.sasl("PLAIN"), "sasl.password"),
        {"sasl_password_file": kafka.write("password", secret("relay"))}),
    "OAUTHBEARER by OIDC": lambda kafka: ("SASL", kafka.oidc()),
    "OAUTHBEARER by token command": lambda kafka: (
        "SASL", without(kafka.sasl("OAUTHBEARER"), "sasl.username", "sasl.password"),
        {"oauthbearer_token_command": "cat " + kafka.write("token", kafka.issuer.token("relay"))}),
}
# What cannot work: before which version, its exit status, and what is said of it. Debian 12 builds its librdkafka
# without libcurl.
SCRAM = ((2, 6, 1), 1, r"librdkafka cannot log in to Kafka 4 by SCRAM.*install librdkafka 2\.6\.1 or later")
CANNOT = {
    "SCRAM-SHA-256 over TLS": SCRAM, "SCRAM-SHA-512 over TLS": SCRAM, "SCRAM-SHA-512 without TLS": SCRAM,
    "OAUTHBEARER by OIDC": ((2, 1, 0), 2, "is built without libcurl.*install one that is built with it"),
}


@pytest.fixture
def kafka(login_kafka):
    return login_kafka


def refusal(login, librdkafka):
    """(status, words) if it cannot work, or None."""
    before, status, words = CANNOT.get(login, ((0,), 0, ""))
    return (status, words) if version(librdkafka, BINARY) < before else None


@pytest.mark.parametrize("login", LOGINS)
def test_login(login, librdkafka, kafka, database, new_relay, reader, topic, record_property):
    """An event arrives; or check and run refuse what cannot work, and say why and what to install."""
    listener, properties, *options = LOGINS[login](kafka)
    topic()
    relay = new_relay(kafka={"bootstrap_servers": kafka.at(listener), "properties": properties,
                             **(options[0] if options else {})})
    done = relay.command("check")
    refused = refusal(login, librdkafka)
    if refused:
        status, words = refused
        assert done.returncode == status and re.search(words, done.stdout + done.stderr), done.stdout + done.stderr
        relay.start(wait=False)
        assert relay.wait_exit() == status
        assert relay.log_contains(words)
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        insert(database, 1)
        relay.start()
        assert len(reader().take(1)) == 1
    result = f"refused, exit status {refused[0]}" if refused else "an event arrives"
    record_property("login", (login, ".".join(map(str, version(librdkafka, BINARY))), result))

"""Every way to log in to Kafka, with Debian's librdkafka and a current one."""
import pytest

from harness.librdkafka import CURRENT, DEBIANS, version
from harness.relay import BINARY
from harness.writers import insert

pytestmark = [pytest.mark.xdist_group("logins"),
              pytest.mark.parametrize("librdkafka", [DEBIANS, CURRENT], indirect=True)]

# The listener, and what the relay needs.
LOGINS = {
    "TLS": lambda kafka: ("TLS", kafka.tls()),
    "mutual TLS": lambda kafka: ("MTLS", kafka.mutual_tls()),
    "SCRAM-SHA-256": lambda kafka: ("SASL", kafka.sasl("SCRAM-SHA-256")),
    "SCRAM-SHA-512": lambda kafka: ("SASL", kafka.sasl("SCRAM-SHA-512")),
    "PLAIN": lambda kafka: ("SASL", kafka.sasl("PLAIN")),
    "OAUTHBEARER, OIDC": lambda kafka: ("SASL", kafka.oidc()),
}


@pytest.fixture
def kafka(login_kafka):
    return login_kafka


# Since which version of librdkafka, where not every one of them can.
SINCE = {
    "SCRAM-SHA-256": (2, 6, 1),  # librdkafka#4895
    "SCRAM-SHA-512": (2, 6, 1),
    "OAUTHBEARER, OIDC": (2, 1, 0),  # Debian 12 builds it without libcurl
}


def works(login, librdkafka):
    return version(librdkafka, BINARY) >= SINCE.get(login, (0,))


@pytest.mark.parametrize("login", LOGINS)
def test_login(login, librdkafka, kafka, database, new_relay, reader, topic):
    """An event arrives, or check says that it will not."""
    listener, properties = LOGINS[login](kafka)
    topic()
    relay = new_relay(kafka={"bootstrap_servers": kafka.at(listener), "properties": properties})
    done = relay.command("check")
    if not works(login, librdkafka):
        assert done.returncode != 0
        return
    assert done.returncode == 0, done.stdout + done.stderr
    insert(database, 1)
    relay.start()
    assert len(reader().take(1)) == 1

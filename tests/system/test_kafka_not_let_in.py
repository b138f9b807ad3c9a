# SPDX-License-Identifier: ISC
"""What is wrong between the relay and a broker is told by check, in the log and by /readyz: on which broker, and what
to do. With either librdkafka, whose words differ."""
import json
import re
import socketserver
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.librdkafka import CURRENT, DEBIANS
from harness.logins import without
from harness.waiting import until
from harness.writers import insert

pytestmark = pytest.mark.xdist_group("logins")


@pytest.fixture
def kafka(login_kafka):
    return login_kafka


# What is certain ends run at its start: the listener, the relay's properties, the words.
REFUSED = {
    "another CA": lambda k: ("TLS", k.tls(k.other_ca), "signed by no CA that this relay trusts.*ssl.ca.location"),
    "no CA": lambda k: ("TLS", ["security.protocol=SSL"], "signed by no CA that this relay trusts.*ssl.ca.location"),
    "another host": lambda k: ("ELSEWHERE", k.sasl("PLAIN"), "for another host.*bootstrap_servers"),
    "expired": lambda k: ("EXPIRED", k.sasl("PLAIN"), "certificate has expired.*renewed"),
    "password, PLAIN": lambda k: ("SASL", k.sasl("PLAIN", password="x"), "wrong user or password.*sasl.username"),
    "user, PLAIN": lambda k: ("SASL", k.sasl("PLAIN", "nobody"), "wrong user or password.*sasl.username"),
    "no client certificate": lambda k: ("MTLS", k.tls(), "asks for a client certificate.*ssl.certificate.location"),
    "client certificate of another CA": lambda k: (
        "MTLS", k.mutual_tls(k.stranger), "does not (trust the CA that signed|accept) this relay's certificate"),
    "mechanism": lambda k: ("CLEAR", k.clear_sasl("PLAIN"),
                            "does not offer this SASL mechanism.*supported mechanisms: .*SCRAM-SHA-512"),
    "token": lambda k: ("SASL", ["security.protocol=SASL_SSL", f"ssl.ca.location={k.ca.certificate}",
                                 "sasl.mechanism=OAUTHBEARER", "enable.sasl.oauthbearer.unsecure.jwt=true",
                                 "sasl.oauthbearer.config=principal=relay"],
                        "refuses the token.*issuer, audience, scope and expiry"),
}
# What is likely, or may pass, is told and tried again.
TRIED_AGAIN = {
    "plain text to TLS": lambda k: ("TLS", [], "without an answer.*expects TLS"),
    "SASL without TLS to TLS": lambda k: ("SASL", k.clear_sasl("PLAIN"), "without an answer.*expects TLS.*SASL_SSL"),
    "no login where one is needed": lambda k: ("CLEAR", [], "without an answer.*expects TLS or a login"),
    "no login over TLS": lambda k: ("SASL", k.tls(), "without an answer.*expects a login.*SASL_SSL"),
    "TLS to plain text": lambda k: ("PLAINTEXT", k.tls(), "does not answer in TLS.*security.protocol"),
    "SASL to plain text": lambda k: ("PLAINTEXT", k.clear_sasl("PLAIN"), "has no login by SASL.*security.protocol"),
}
# Of the relay's own files and properties: neither check nor run tries to connect.
SET_UP = {
    "no CA file": lambda k: (["security.protocol=SSL", "ssl.ca.location=/nonexistent/ca.pem"],
                             "ssl.ca.location: cannot read /nonexistent/ca.pem: No such file"),
    "CA not in PEM": lambda k: (["security.protocol=SSL", "ssl.ca.location=/etc/hostname"],
                                "ssl.ca.location holds no certificate in PEM"),
    "another key": lambda k: (without(k.mutual_tls(), "ssl.key.location") + [f"ssl.key.location={k.stranger.key}"],
                              "key of ssl.key.location does not belong to the certificate"),
    "no key": lambda k: (without(k.mutual_tls(), "ssl.key.location") + ["ssl.key.location=/etc/hostname"],
                         "ssl.key.location holds no private key in PEM"),
    "mechanism": lambda k: (k.sasl("FOO"), "sasl.mechanism must be PLAIN"),
    "no password": lambda k: (without(k.sasl("PLAIN"), "sasl.username", "sasl.password"),
                              "sasl.username and a password must be set"),
}


@pytest.fixture
def both(new_relay, kafka):
    """both(listener, properties): a relay with either librdkafka."""
    def make(listener, properties):
        return [new_relay(using, kafka={"bootstrap_servers": kafka.at(listener), "properties": properties})
                for using in (DEBIANS, CURRENT)]
    return make


@pytest.fixture
def finds(record_property):
    """finds(relays, words): check does; the line is shown at the end of all tests, as that of the set-up `what`."""
    def check(relays, words, what=None):
        with ThreadPoolExecutor() as threads:
            answers = list(threads.map(lambda relay: relay.command("check"), relays))
        for relay, done in zip(relays, answers):
            assert done.returncode == 1
            found = re.search(f"error .*{words}.*", done.stdout)
            assert found, done.stdout
            assert "answered" not in done.stdout
            if what:
                said = re.sub(r"127\.0\.0\.1:\d+", "HOST:PORT", found.group(0))
                record_property("wrong set-up", (what, "current" if relay.env else "Debian's", said))
    return check


@pytest.fixture
def tries(kafka, both):
    """tries(set_up): relays with either library that try so, and what is said of it, as an expression."""
    def start(set_up):
        listener, properties, words = set_up(kafka)
        relays = both(listener, properties)
        for relay in relays:
            relay.start(wait=False)
        return relays, f"broker {kafka.at(listener)}: .*{words}"
    return start


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what, database, tries, finds):
    relays, words = tries(REFUSED[what])
    finds(relays, words, what)
    for relay in relays:
        assert relay.wait_exit() == 1
        assert relay.log_contains(f"error +Kafka does not let this relay in: {words}")


@pytest.fixture
def closes():
    """The address of one that accepts connections and closes them, as a load balancer without a broker does."""
    class Closes(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(100)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Closes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_one_of_several_refuses(kafka, closes, database, new_relay):
    """Two that refuse end run; one and another that says nothing do not; one that lets the relay in is enough."""
    wrong = kafka.clear_sasl("PLAIN")  # a mechanism that CLEAR does not have

    def pair(servers, properties):
        return [new_relay(using, kafka={"bootstrap_servers": ",".join(servers), "properties": properties}).start(wait=False)
                for using in (DEBIANS, CURRENT)]
    undecided = pair((kafka.at("CLEAR"), closes), wrong)
    refused = pair((kafka.at("EXPIRED"), kafka.at("ELSEWHERE")), kafka.sasl("PLAIN"))
    let_in = pair((kafka.at("EXPIRED"), kafka.at("SASL")), kafka.sasl("PLAIN"))
    for relay in refused:
        assert relay.wait_exit(60) == 1  # six begin at once
    for relay in let_in:
        until(lambda: relay.metrics()['outbox_relay_connected{peer="kafka"}'] == 1, 20, "Kafka")
    for relay in undecided:
        relay.wait_log("CLOSED|does not offer this SASL mechanism")
    time.sleep(5)
    for relay in (*undecided, *let_in):
        assert relay.process.alive, relay.log()


def test_a_broker_that_is_away_may_let_it_in(kafka, database, new_relay):
    """So it is not certain that none does."""
    servers = f"{kafka.at('EXPIRED')},127.0.0.1:1"
    relays = [new_relay(using, kafka={"bootstrap_servers": servers, "properties": kafka.sasl("PLAIN")})
              for using in (DEBIANS, CURRENT)]
    for relay in relays:
        relay.start(wait=False)
    words = f"broker {kafka.at('EXPIRED')}: its certificate has expired"
    for relay in relays:
        until(lambda: words in relay.get("/readyz")[1], 20, "readyz to say it")
    for _ in range(20):  # some more tries
        time.sleep(0.2)
        for relay in relays:
            assert relay.process.alive, relay.log()
            assert words in relay.get("/readyz")[1]


def readyz(relay, words):
    """Its status and its page, if that says these words."""
    status, page = relay.get("/readyz")
    return re.search(words, page) and (status, page)


@pytest.mark.parametrize("what", TRIED_AGAIN)
def test_tried_again(what, database, tries, finds):
    relays, words = tries(TRIED_AGAIN[what])
    finds(relays, words, what)
    for relay in relays:
        status, page = until(lambda: readyz(relay, words), 20, f"readyz to say {words}")
        assert status == 503 and "Kafka does not let this relay in" in page or page.startswith("standby: ")
        assert "answers" not in page
        relay.wait_log(f"warning +Kafka does not let this relay in: {words}")
        assert relay.process.alive
        assert not relay.log_contains("Kafka answers again"), relay.log()


@pytest.mark.parametrize("what", SET_UP)
def test_set_up(what, kafka, database, both, finds):
    properties, words = SET_UP[what](kafka)
    relays = both("TLS", properties)
    finds(relays, words, what)
    for relay in relays:
        relay.start(wait=False)
        assert relay.wait_exit() == 1
        assert relay.log_contains(words)


# What others on the way can read or change. "127.1" is no name of this machine for check, and leads to it.
WARNED = {
    "plain text": lambda k: ("PLAINTEXT", [], r"Kafka at 127\.1:\d+ is in plain text: events .*security.protocol=SSL"),
    "SCRAM in plain text": lambda k: (
        "CLEAR", k.clear_sasl("SCRAM-SHA-512"), r"at 127\.1:\d+ is in plain text: .*passwords be guessed.*=SASL_SSL"),
    "PLAIN in plain text": lambda k: (
        "CLEAR", k.clear_sasl("PLAIN"), r"at 127\.1:\d+ is in plain text: SASL PLAIN sends the password.*=SASL_SSL"),
    "no verification": lambda k: (
        "TLS", [*k.tls(), "enable.ssl.certificate.verification=false"], "verification=false: anybody on the way"),
    "no verification of the host": lambda k: (
        "TLS", [*k.tls(), "ssl.endpoint.identification.algorithm=none"], "algorithm=none: whoever has a certificate"),
}


@pytest.mark.parametrize("what", WARNED)
def test_warned(what, kafka, database, new_relay):
    listener, properties, words = WARNED[what](kafka)
    port = kafka.ports[listener]
    relay = new_relay(CURRENT, kafka={"bootstrap_servers": f"localhost:{port},127.1:{port}", "properties": properties})
    said = relay.command("check").stdout
    assert re.search(f"warn  .*{words}", said), said


@pytest.mark.parametrize("name, server", [("PLAINTEXT", "localhost"), ("PLAINTEXT", "127.0.0.1"), ("TLS", "127.1")])
def test_not_warned(name, server, kafka, database, new_relay):
    relay = new_relay(CURRENT, kafka={"bootstrap_servers": f"{server}:{kafka.ports[name]}",
                                      "properties": kafka.tls() if name == "TLS" else []})
    said = relay.command("check").stdout
    assert "ok    the connection to Kafka" in said and "plain text: events can be read" not in said, said


def test_a_wrong_scram_password(kafka, database, new_relay, finds):
    """With a librdkafka whose SCRAM works: test_kafka_login shows what the others say."""
    relay = new_relay(CURRENT, kafka={"bootstrap_servers": kafka.at("SASL"),
                                      "properties": kafka.sasl("SCRAM-SHA-512", password="x")})
    words = f"broker {kafka.at('SASL')}: wrong user or password: .*SCRAM-SHA-512"
    finds([relay], words)
    relay.start(wait=False)
    assert relay.wait_exit() == 1
    assert relay.log_contains(words)


@pytest.mark.parametrize("secret, words", [("x", "invalid_client"), (None, "Failed to connect|Could not connect")])
def test_no_token(secret, words, kafka, database, new_relay, finds):
    """Its issuer may be away for a while: tried again."""
    properties = kafka.oidc(password=secret)
    if secret is None:
        properties = without(properties, "sasl.oauthbearer.token.endpoint.url")
        properties.append("sasl.oauthbearer.token.endpoint.url=http://127.0.0.1:1/token")
    relay = new_relay(CURRENT, kafka={"bootstrap_servers": kafka.at("SASL"), "properties": properties})
    words = f"no token to log in with: .*({words}).*sasl.oauthbearer"
    relay.start(wait=False)
    finds([relay], words)
    until(lambda: re.search(f"Kafka does not let this relay in: .*{words}", relay.get("/readyz")[1]), 20, "readyz to say it")
    assert relay.process.alive


def test_once_let_in_it_waits(kafka, database, new_relay, reader, topic):
    """A broker whose certificate has expired meanwhile: the relay says so, does not end, and goes on."""
    topic()
    relay = new_relay(kafka={"bootstrap_servers": kafka.at("BEHIND"), "properties": kafka.tls()}).start()
    insert(database, 1)
    records = reader()
    assert len(records.take(1)) == 1
    kafka.send_to("EXPIRED")
    words = f"broker {kafka.at('BEHIND')}: its certificate has expired"
    until(lambda: f"Kafka does not let this relay in: {words}" in relay.get("/readyz")[1], 20, "readyz to say it")
    relay.wait_log(f"warning +Kafka does not let this relay in: {words}")
    insert(database, 1)
    assert json.loads(relay.get("/status")[1])["problems"][0]["name"] == "kafka_login"
    time.sleep(3)  # some more tries
    assert relay.process.alive, relay.log()
    kafka.send_to("BEHIND")
    assert len(records.take(1)) == 1
    until(lambda: relay.get("/readyz") == (200, "ready\n"), 20, "readyz to be well again")


def test_a_missing_acl(kafka, database, new_relay, topic):
    """The login is accepted: nothing ends, and nothing is rejected."""
    name = topic()
    insert(database, 1)
    relay = new_relay(kafka={"bootstrap_servers": kafka.at("SASL"), "properties": kafka.sasl("PLAIN", "limited")})
    done = relay.command("check")
    assert done.returncode == 1
    assert re.search(r"error .*write to no topic: .*grant the relay WRITE and DESCRIBE", done.stdout), done.stdout
    assert re.search(rf"error topic {name} is not shown to this relay .*: grant it DESCRIBE and WRITE", done.stdout)
    relay.start(wait=False)
    until(lambda: re.search(r"\(503, .*uthorization.*grant the relay WRITE", str(relay.get("/readyz"))), 20,
          "readyz to say it")
    assert relay.process.alive
    kafka.grant("limited", "describe", "topic", name)
    kafka.grant("limited", "write", "topic", name)
    database.wait_empty(timeout=90)  # the next try is up to 32 s later

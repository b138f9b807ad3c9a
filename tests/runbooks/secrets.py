# SPDX-License-Identifier: ISC
"""docs/runbooks/secret-rotated.md, kafka-login.md: a password is changed at one end only. python3 -m runbooks.secrets database|kafka|login"""
import sys
import time

from harness.logins import LoginKafka, secret as password_of
from harness.postgres import PASSWORD_ROLE
from harness.prometheus import Prometheus
from harness.secret import Secret
from runbooks.stage import Play


def published(play, relay, more):
    """So many more events arrive."""
    count = relay.metric("published_total")
    play.insert(more)
    relay.wait_metric("published_total", count + more)


def of_database(play):
    play.on(play.postgres(), play.kafka())
    play.database.set_password("monday")
    secret = Secret(play.path("password"))
    secret.write("monday")
    play.settings["database"] = {"dsn": play.database.dsn(PASSWORD_ROLE), "password_file": secret.path}
    relay = play.relay().wait_ready()
    play.relay(start=False, http={"listen": ""})
    published(play, relay, 100)
    play.prometheus = Prometheus(play.directory, play.relays[:1])
    play.mark("ALTER ROLE ... PASSWORD in the database; nobody tells the file. The session lives")
    play.database.set_password("tuesday")
    published(play, relay, 100)
    time.sleep(3)
    play.note(f"published in all {relay.metric('published_total'):.0f}")
    play.sh("outbox-relay check -c relay1.conf 2>&1 | grep -v ^ok")
    play.mark("the session ends: a failover, a restart, pg_terminate_backend")
    play.database.end_relay_sessions(PASSWORD_ROLE)
    with play.load(50):
        time.sleep(20)
        play.sh("outbox-relay status -c relay1.conf")
        play.sh("outbox-relay run -c relay2.conf 2>&1 | grep error")
        play.wait_alert("OutboxRelayDisconnected")
    play.mark("the file has the new password")
    secret.write("tuesday")
    play.database.wait_empty()
    play.wait_alert("OutboxRelayDisconnected", fires=False)
    play.sh("outbox-relay check -c relay1.conf 2>&1 | tail -1")


def of_kafka(play):
    broker = LoginKafka(play.path("kafka")).create().start()
    play.on(play.postgres(), broker)
    broker.create_topic("events.order", 4)
    secret = Secret(play.path("password"))
    secret.write(password_of("relay"))
    properties = [entry for entry in broker.sasl("PLAIN") if not entry.startswith("sasl.password=")]
    play.settings["kafka"] = {"bootstrap_servers": broker.at("SASL"), "sasl_password_file": secret.path, "properties": properties}
    relay = play.relay().wait_ready()
    published(play, relay, 100)
    play.alerts()
    play.mark("the file gets a password that is not the user's; the connections live")
    secret.write("hunter2")
    published(play, relay, 100)
    time.sleep(3)
    play.sh("outbox-relay check -c relay1.conf 2>&1 | grep -v ^ok")
    play.mark("the broker restarts")
    broker.stop()
    broker.start()
    with play.load(50):
        time.sleep(15)
        play.sh("outbox-relay status -c relay1.conf | sed -n '2,3p;5,9p'")
        play.wait_alert("OutboxRelayDisconnected")
    play.mark("the file has the right password again")
    secret.write(password_of("relay"))
    play.database.wait_empty(timeout=60)
    play.wait_alert("OutboxRelayDisconnected", fires=False)
    play.sh("outbox-relay check -c relay1.conf 2>&1 | tail -1")


def login(play):
    """What a relay says that is never let in, and ends."""
    broker = LoginKafka(play.path("kafka")).create().start()
    play.on(play.postgres(), broker)
    cases = {"another CA": broker.sasl("PLAIN", ca=broker.other_ca), "wrong password": broker.sasl("PLAIN", password="hunter2"),
             "a plain client at a TLS port": [], "SCRAM by librdkafka 2.0.2": broker.sasl("SCRAM-SHA-512")}
    for what, properties in cases.items():
        play.settings["kafka"] = {"bootstrap_servers": broker.at("SASL"), "properties": properties}
        relay = play.relay(start=False, http={"listen": ""})
        play.mark(what)
        play.sh(f"timeout 30 outbox-relay run -c {relay.name}.conf 2>&1 | grep 'not let' | cut -c26-")
        play.sh(f"outbox-relay check -c {relay.name}.conf | grep -E '^error'")


def main():
    with Play() as play:
        {"database": of_database, "kafka": of_kafka, "login": login}[sys.argv[1]](play)


if __name__ == "__main__":
    main()

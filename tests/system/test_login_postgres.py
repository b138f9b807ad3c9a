# SPDX-License-Identifier: ISC
"""Logging in to a PostgreSQL that takes TLS only, with a CA of the tests; and what each wrong set-up says."""
import contextlib
import os
import socket

import pytest

from harness.postgres import Database
from harness.tls import ADMIN, PASSWORD, TlsPostgres
from harness.waiting import until
from harness.writers import insert

pytestmark = pytest.mark.xdist_group("login_postgres")


@pytest.fixture(scope="module")
def tls(world):
    made = TlsPostgres(os.path.join(world, "tls"))
    yield made
    made.remove()


@pytest.fixture
def shop(tls, number, new_relay, settings):
    """A database whose owner is no superuser, migrated by that owner over TLS; the relays of this test log in to it."""
    database = Database(tls.server, f"shop{number}").create()
    database.execute(f'ALTER DATABASE {database.name} OWNER TO {ADMIN}; GRANT CREATE ON SCHEMA public TO {ADMIN}')
    settings["database"] = {"dsn": tls.dsn(database.name)}
    done = new_relay().command("migrate", "--dsn", tls.dsn(database.name, ADMIN))
    assert done.returncode == 0, done.stderr
    database.execute("GRANT outbox_relay TO by_password, by_certificate, by_both, not_listed, limited")
    yield database
    tls.server.start()
    database.drop()


LOGINS = {
    "scram": {},
    "scram by verify-ca": {"sslmode": "verify-ca"},
    "certificate": {"user": "by_certificate", "password": None, "client": "right"},
    "certificate and scram": {"user": "by_both", "client": "both"},
}


@pytest.mark.parametrize("login", LOGINS)
def test_logging_in(tls, shop, new_relay, settings, topic, reader, login):
    """No role of it is a superuser, none may read statistics of others."""
    topic()
    settings["database"] = {"dsn": tls.dsn(shop.name, **LOGINS[login])}
    relay = new_relay()
    os.chmod(relay.config, 0o640)
    done = relay.command("check")
    assert done.returncode == 0 and "TLSv1.3" in done.stdout, done.stdout
    assert "plain text" not in done.stdout and "may read it" not in done.stdout, done.stdout
    relay.start()
    insert(shop, 1)
    reader().take(1)
    for command in ("pause", "resume", "status"):
        done = relay.command(command)
        assert done.returncode == 0, done.stderr
    assert relay.stop() == 0


CLIENT = {"user": "by_certificate", "password": None}
WRONG = {  # what is wrong: the dsn, what is said of it, what to do
    "another CA": ({"sslrootcert": "STRANGER"}, "certificate verify failed: self-signed", "is of no CA in sslrootcert=: put"),
    "no CA": ({"sslrootcert": "/nowhere/ca.pem"}, 'root certificate file "/nowhere/ca.pem" does not exist',
              "sslrootcert= must name a file"),
    "another password": ({"password": "wrong"}, 'password authentication failed for user "by_password"',
                         "or another password for it"),
    "no password": ({"password": None}, "no password supplied", "database.password_file"),
    "no such role": ({"user": "no_such_role"}, 'failed for user "no_such_role"', "has no such role"),
    "no such database": ({"database": "nope"}, 'database "nope" does not exist', "fix dbname="),
    "no TLS": ({"sslmode": "disable"}, "no encryption", "sslmode=verify-full"),
    "no entry": ({"user": "not_listed"}, 'no pg_hba.conf entry for host "127.0.0.1", user "not_listed"',
                 "add a line for this role"),
    "no client certificate": (CLIENT, "valid client certificate", "set sslcert= and sslkey="),
    "an expired client certificate": ({**CLIENT, "client": "expired"}, "alert certificate expired", "has expired"),
    "a client certificate of another CA": ({**CLIENT, "client": "stranger"}, "alert unknown ca", "ssl_ca_file"),
    "a client certificate of another role": ({**CLIENT, "client": "another role"},
                                             'certificate authentication failed for user "by_certificate"',
                                             "common name"),
    "another key": ({**CLIENT, "client": "right", "sslkey": "ANOTHER"}, "key values mismatch", "sslkey= must name"),
    "a key for all to read": ({**CLIENT, "client": "right", "sslkey": "OPEN"}, "has group or world access",
                              "chmod 0600"),
    "an older TLS": ({"ssl_min_protocol_version": "TLSv1", "ssl_max_protocol_version": "TLSv1.1"}, "SSL error: ",
                     "ssl_min_protocol_version"),
}


@pytest.fixture
def wrong(tls, shop, settings, directory):
    """wrong(what): the relays of this test log in so."""
    def make(what):
        options = dict(WRONG[what][0])
        files = {"STRANGER": tls.stranger.certificate, "ANOTHER": tls.clients["another role"].key, "OPEN":
                 os.path.join(directory, "open.key")}
        with open(tls.clients["right"].key) as key, open(files["OPEN"], "w") as copy:
            copy.write(key.read())
        os.chmod(files["OPEN"], 0o644)
        options = {name: files.get(value, value) for name, value in options.items()}
        settings["database"] = {"dsn": tls.dsn(options.pop("database", shop.name), **options)}
    return make


def says(text, what):
    _, words, remedy = WRONG[what]
    assert words in text and remedy in text, text
    assert PASSWORD not in text and "unreachable" not in text and "is gone" not in text


def test_what_is_wrong_is_said_by_every_command_and_ends_run(new_relay, wrong):
    """Each with its own words and its own remedy, status 1."""
    for what in WRONG:
        wrong(what)
        relay = new_relay()
        for command in ("check", "status", "run"):
            done = relay.command(command, timeout=20)
            assert done.returncode == 1, (what, done.stdout + done.stderr)
            says(done.stdout if command == "check" else done.stderr, what)


SERVERS = {
    "expired": ("certificate verify failed: certificate has expired", "have it renewed"),
    "another host": ('server certificate for "elsewhere.example"', "connect by a name"),
}


@pytest.mark.parametrize("which", SERVERS)
def test_a_certificate_of_the_server_that_is_wrong(tls, shop, new_relay, topic, which):
    """At the start it ends `run`; a relay that has worked goes on trying, and /readyz says why."""
    topic()
    words, remedy = SERVERS[which]
    relay = new_relay().start()
    try:
        tls.show(which)
        relay.wait_log(words)
        until(lambda: remedy in relay.get("/readyz")[1], 20, "the reason on /readyz", every=0.05)
        other = new_relay()
        for command in ("check", "run"):
            done = other.command(command, timeout=20)
            said = done.stdout + done.stderr
            assert done.returncode == 1 and words in said and remedy in said, said
    finally:
        tls.show("right")
    insert(shop, 1)
    shop.wait_empty()


def test_a_server_without_tls(tls, new_relay, shop):
    try:
        tls.set("ssl", "off")
        for command in ("check", "run"):
            done = new_relay().command(command, timeout=20)
            said = done.stdout + done.stderr
            assert done.returncode == 1 and "SSL was required" in said and "ssl = on" in said, said
    finally:
        tls.set("ssl", "on")


def test_a_limit_of_connections_is_waited_for(tls, shop, new_relay, settings, topic):
    """It is no error of the set-up: other sessions may end."""
    topic()
    settings["database"] = {"dsn": tls.dsn(shop.name, "limited")}
    shop.execute("ALTER ROLE limited CONNECTION LIMIT 0")
    relay = new_relay()
    done = relay.command("check")
    assert done.returncode == 1 and "CONNECTION LIMIT" in done.stdout, done.stdout
    relay.start(wait=False)
    relay.wait_log('too many connections for role "limited"')
    relay.wait_metric("retries_total", 3)
    until(lambda: "CONNECTION LIMIT" in relay.get("/readyz")[1], 20, "the reason on /readyz", every=0.05)
    shop.execute("ALTER ROLE limited CONNECTION LIMIT -1")
    relay.wait_ready()
    assert relay.stop() == 0


def test_check_warns_of_files_that_others_may_read(tls, shop, new_relay, settings, directory):
    """The configuration only if the secret stands in it; the group may read all of them."""
    files = {name: os.path.join(directory, name) for name in ("by-reference", "password")}
    for path in files.values():
        with open(path, "w") as file:
            file.write(PASSWORD if path == files["password"] else "shop")
    reference = "${file:" + files["by-reference"] + "}"
    reading = {"dsn": tls.dsn(shop.name, password=None) + f" fallback_application_name='{reference}'",
               "password_file": files["password"]}
    for database, exposed in ((settings["database"], ["relay1.conf"]), (reading, list(files))):
        relay = new_relay(database=database)
        secret = [relay.config if name.endswith(".conf") else files[name] for name in exposed]
        for mode, warned in ((0o644, True), (0o640, False)):
            for path in secret:
                os.chmod(path, mode)
            done = relay.command("check")
            assert done.returncode == 0, done.stdout
            for path in [relay.config, *files.values()]:
                assert (f"{path} holds a secret" in done.stdout) == (warned and path in secret), done.stdout


def test_check_warns_of_a_connection_that_others_may_read(tls, shop, new_relay, settings):
    """To this machine it may be what it is."""
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but that of the loopback")
    try:
        with open(tls.server.data + "/pg_hba.conf", "a") as file:
            file.write(f"host all all {address}/32 scram-sha-256\n")
        tls.set("listen_addresses", "*")
        for host, sslmode, words in (("127.0.0.1", "prefer", "does not leave this machine"),
                                     (address, "prefer", "sslmode=prefer does not verify"),
                                     (address, "disable", "is in plain text")):
            settings["database"] = {"dsn": tls.dsn(shop.name, sslmode=sslmode, host=host)}
            done = new_relay().command("check")
            assert done.returncode == 0 and words in done.stdout, done.stdout
    finally:
        tls.set("listen_addresses", "127.0.0.1")


def own_address():
    """Of this machine, not of its loopback; None if it has none."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        return probe.getsockname()[0]

# SPDX-License-Identifier: ISC
"""A database.dsn that cannot be right ends `run` at its start with the reason; what may pass is waited for."""
import subprocess

import pytest

from harness.process import as_unprivileged
from harness.relay import BINARY
from harness.waiting import limit
from harness.writers import insert

SECRET = "hunter2"


@pytest.mark.parametrize("options, says", (
    ("sslmode=maybe", 'invalid sslmode value: "maybe"'),
    ("service=nope", 'definition of service "nope" not found'),
    ("sslmod=require", "does not parse as a connection string"),
    ("target_session_attrs=best", "invalid target_session_attrs value"),
    ("port=many", "a port that cannot be right"),
))
def test_a_string_that_cannot_be_right(new_relay, empty_database, directory, options, says):
    """Status 2 with the file and the line, from every command, and the same words."""
    dsn = f"{empty_database.dsn('outbox_relay')} password={SECRET} {options}"
    relay = new_relay(database={"dsn": dsn})
    for command in ("run", "check", "status"):
        done = relay.command(command, env={"PGSERVICEFILE": "/dev/null"})
        assert done.returncode == 2, done.stderr
        assert says in done.stderr and f"{relay.config}:" in done.stderr, done.stderr
        assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("options, says", (
    ("sslmode=require gssencmode=disable", "SSL was required"),
    ("hostaddr=999.0.0.1", "999.0.0.1"),
    ("dbname=not_there", 'database "not_there" does not exist'),
    ("user=not_there", 'role "not_there" does not exist'),
))
def test_what_is_refused_at_the_start(new_relay, database, options, says):
    """Status 1 and the reason, once."""
    relay = new_relay(database={"dsn": f"{database.dsn('outbox_relay')} password={SECRET} {options}"})
    done = relay.command("run", timeout=20)
    assert done.returncode == 1, done.stderr
    assert says in done.stderr and "is gone" not in done.stderr, done.stderr
    assert SECRET not in done.stderr


def test_a_user_that_this_machine_does_not_know(new_relay, empty_database):
    """A container that runs under a random user id: libpq cannot tell a default for user=."""
    dsn = " ".join(part for part in empty_database.dsn("outbox_relay").split() if not part.startswith("user="))
    relay = new_relay(database={"dsn": dsn})
    if as_unprivileged([]) == []:
        pytest.skip("only root may take another user id")
    done = subprocess.run(["setpriv", "--reuid=54321", "--clear-groups", "--", BINARY, "run", "-c", relay.config],
                          stderr=subprocess.PIPE, text=True, timeout=limit(20))
    assert done.returncode == 2, done.stderr
    assert "local user with ID 54321 does not exist; name the role in it" in done.stderr


@pytest.mark.parametrize("options, says", (
    ("host=no-such-name.invalid", "could not translate host name"),
    ("target_session_attrs=standby", "not in hot standby mode"),
))
def test_what_may_pass_is_waited_for(new_relay, database, options, says):
    """A name may have an address later, and a server change its role: the relay goes on trying, and says why."""
    relay = new_relay(database={"dsn": f"{database.dsn('outbox_relay')} {options}"})
    relay.start(wait=False)
    relay.wait_log(says)
    relay.wait_metric("retries_total", 3)
    assert relay.stop() == 0


def test_once_it_has_worked_it_tries_on(relay, database, reader):
    """A reload brings a dsn that the server refuses: the relay keeps trying, until it is right again."""
    right = relay.settings["database"]["dsn"]
    relay.write_config(database={"dsn": right + " user=not_there"})
    relay.process.send(1)
    relay.wait_log("reload: done")
    database.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                   " WHERE usename = 'outbox_relay' AND datname = current_database()")
    relay.wait_log('role "not_there" does not exist')
    relay.write_config(database={"dsn": right + " sslmode=maybe"})
    relay.process.send(1)
    relay.wait_log("invalid sslmode value.*\n.*nothing is changed")
    relay.write_config(database={"dsn": right})
    relay.process.send(1)
    insert(database, 1)
    reader().take(1)

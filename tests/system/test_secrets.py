# SPDX-License-Identifier: ISC
"""Passwords from a file and by a command: read anew before every connect, and taken as they are."""
import os
import time

import pytest

from harness.postgres import PASSWORD_ROLE
from harness.relay import merge
from harness.secret import Secret
from harness.waiting import until
from harness.writers import insert

# Each has something that a shell, libpq, libconfig or JSON takes for special.
STRANGE = (" leading, trailing ", "quote'd \"twice\"", "back\\slash\\", "in-ährt-€", "a=b;c#d$e%f${env:HOME}", "two\nlines",
           "\\'", "tab\tinside")


@pytest.fixture
def secret(directory):
    return Secret(os.path.join(directory, "secret"))


@pytest.fixture
def set_password(database):
    return database.set_password


@pytest.fixture
def login(database, secret):
    """The group `database` of a relay that logs in by the file."""
    return {"dsn": database.dsn(PASSWORD_ROLE), "password_file": secret.path}


def unready(relay, words):
    """Whether readyz is 503 and says these."""
    status, body = relay.get("/readyz")
    return status == 503 and words in body


@pytest.mark.parametrize("password", STRANGE)
def test_nothing_in_a_password_is_special(new_relay, set_password, login, secret, password):
    """By a file and by a command, with an end of line and without."""
    set_password(password)
    for end in ("", "\n", "\r\n"):
        secret.write(password, end)
        done = new_relay(database=login).command("status")
        assert done.returncode == 0, done.stderr
    by_command = merge(login, {"password_file": None, "password_command": f"cat {secret.path}"})
    done = new_relay(database=by_command).command("status")
    assert done.returncode == 0, done.stderr


def test_a_changed_password(new_relay, set_password, login, secret, database, reader):
    """First in the database, then in the file: what comes in between is waited out, without a signal."""
    set_password("first")
    secret.write("first")
    relay = new_relay(database=login).start()
    set_password("second")
    insert(database, 1)
    assert len(reader().take(1)) == 1, "an open session needs no password"
    assert database.end_relay_sessions(PASSWORD_ROLE) == 1
    relay.wait_log("password authentication failed")
    until(lambda: unready(relay, "password authentication failed"), 10, "readyz to say so")
    secret.write("second")
    insert(database, 1)
    assert len(reader().take(2)) == 2
    assert relay.process.alive
    assert "first" not in relay.log() and "second" not in relay.log()


def test_a_command_that_fails_later(new_relay, set_password, login, directory, database, reader):
    """As an unreachable database: it is tried again, and its last words are in the log."""
    set_password("first")
    program = os.path.join(directory, "print-password")
    count = os.path.join(directory, "count")

    def write(text):
        with open(program, "w") as file:
            file.write(f"#!/bin/sh\necho x >> {count}\n{text}\n")
        os.chmod(program, 0o755)
    write("echo first")
    relay = new_relay(database=merge(login, {"password_file": None, "password_command": program})).start()
    write("echo hunter2; echo 'Traceback:' >&2; echo 'the vault is sealed' >&2; exit 1")
    database.end_relay_sessions(PASSWORD_ROLE)
    relay.wait_log("database.password_command: the command failed with exit status 1: the vault is sealed")
    until(lambda: unready(relay, "the vault is sealed"), 10, "readyz to say so")
    os.unlink(program)
    relay.wait_log("the database cannot be worked with: database.password_command: the shell cannot run the command")
    write("echo first")
    insert(database, 1)
    assert len(reader().take(1)) == 1
    assert "hunter2" not in relay.log() and program not in relay.log().replace(f"{program}: ", "")
    with open(count) as file:
        assert len(file.readlines()) >= 3, "it is asked before every connect"


@pytest.mark.parametrize("options, says", (
    ({"password_file": "not-there"}, "not-there: No such file or directory"),
    ({"password_command": "/not/there"}, "the shell cannot run the command (exit status 127)"),
    ({"password_command": "echo wrong"}, "password authentication failed"),
), ids=("no file", "no program", "wrong"))
def test_what_ends_run_at_the_start(new_relay, set_password, login, options, says):
    """Status 1 and the reason, from every command."""
    set_password("right")
    relay = new_relay(database=merge(merge(login, {"password_file": None}), options))
    for command in ("run", "check", "status"):
        done = relay.command(command, timeout=30)
        assert done.returncode == 1 and says in done.stdout + done.stderr, done.stderr


def test_a_command_that_fails_at_the_start_is_tried_again(new_relay, set_password, login, secret, database, reader):
    """A service for secrets may start later than the relay."""
    set_password("right")
    relay = new_relay(database=merge(login, {"password_file": None, "password_command": f"cat {secret.path}"}))
    relay.start(wait=False)
    relay.wait_log("database.password_command: the command failed with exit status 1: cat: ")
    secret.write("right")
    relay.wait_ready()


def test_a_stop_does_not_wait_for_a_command(new_relay, login):
    """There is no session yet, so nothing is in flight."""
    relay = new_relay(database=merge(login, {"password_file": None, "password_command": "echo asked >&2; sleep 60"}))
    relay.start(wait=False)
    relay.wait_log("http listens")
    begun = time.monotonic()
    assert relay.stop() == 0
    assert time.monotonic() - begun < 10, "stopping has 10 s for what is in flight"
    assert "has not ended" not in relay.log()


def test_reloaded(new_relay, set_password, login, secret, database, reader):
    """The options themselves can change too."""
    set_password("right")
    secret.write("right")
    relay = new_relay(database=login).start()
    relay.write_config(database={"password_file": "", "password_command": f"cat {secret.path}"})
    relay.process.send(1)
    relay.wait_log("reload: database.password_command has changed")
    relay.wait_log("reload: done")
    database.end_relay_sessions(PASSWORD_ROLE)
    insert(database, 1)
    assert len(reader().take(1)) == 1

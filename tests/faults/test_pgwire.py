# SPDX-License-Identifier: ISC
"""Postgres' requests get their names, and their answers are told apart, however the bytes are cut."""
import pytest

from faults import pgbytes as pg
from faults.pgwire import PgWire


def feed(splitter, data, size):
    """[(name, answer, where in data)], fed in pieces of `size` bytes; all bytes must come out again."""
    seen, out = [], b""
    for at in range(0, len(data), size):
        passed, marks = splitter.feed(data[at:at + size])
        seen += [(message.names[-1], message.answer, len(out) + offset) for offset, message, _ in marks]
        out += passed
    assert out == data and splitter.at_border
    return seen


def names(splitter, data, size=1 << 20):
    return [name for name, _, _ in feed(splitter, data, size)]


def answers(splitter, data, size=1 << 20):
    return [(name, answer) for name, answer, _ in feed(splitter, data, size)]


@pytest.fixture
def wire():
    """A session that is ready, as the relay's is: with its statements prepared."""
    wire = PgWire({})
    assert names(wire.up, pg.startup(user="outbox_relay", application_name="relay")) == ["Startup"]
    assert answers(wire.down, pg.typed(b"R", b"\0\0\0\0") + pg.READY) == [("Startup", "ready")]
    statements = {"begin": "BEGIN", "commit": "COMMIT", "settle": "DELETE FROM x", "claim": "WITH a AS"}
    names(wire.up, b"".join(pg.prepare(*each) for each in statements.items()) + pg.SYNC)
    names(wire.down, pg.PREPARED * len(statements) + pg.READY)
    assert not wire.pending
    return wire


def test_startup_tells_who_it_is(wire):
    assert wire.info == {"user": "outbox_relay", "application_name": "relay"}


def test_refused_encryption_comes_before_the_startup():
    wire = PgWire({})
    assert names(wire.up, pg.untyped(80877104)) == []
    assert names(wire.down, b"N") == []
    assert names(wire.up, pg.untyped(80877103)) == []
    assert names(wire.down, b"N") == []
    assert names(wire.up, pg.startup(user="a")) == ["Startup"]
    assert answers(wire.down, pg.READY) == [("Startup", "ready")]


def test_nothing_is_read_in_what_is_encrypted():
    wire = PgWire({})
    names(wire.up, pg.untyped(80877103))
    names(wire.down, b"S")
    assert names(wire.up, b"\x16\x03\x01 anything") == []
    assert names(wire.down, b"\x16\x03\x01 anything") == []


def test_cancel():
    assert names(PgWire({}).up, pg.untyped(80877102, b"\0" * 8)) == ["Cancel"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_prepared_statements_are_called_by_name_and_first_word(wire, size):
    asked = pg.run("begin") + pg.run("settle") + pg.run("commit") + pg.SYNC
    sent = feed(wire.up, asked, size)
    assert [name for name, _, _ in sent] == ["BEGIN", "DELETE", "COMMIT", "Sync"]
    assert sent[2][2] == len(pg.run("begin") + pg.run("settle"))
    came = pg.answer("BEGIN") + pg.answer("DELETE 5") + pg.answer("COMMIT") + pg.READY
    seen = feed(wire.down, came, size)
    assert [each[:2] for each in seen] == [("BEGIN", "BEGIN"), ("DELETE", "DELETE 5"),
                                           ("COMMIT", "COMMIT"), ("Sync", "ready")]
    assert seen[2][2] == len(came) - len(pg.done("COMMIT") + pg.READY)
    assert not wire.pending


def test_statement_names_match_too(wire):
    _, marks = wire.up.feed(pg.run("commit"))
    assert marks[0][1].names == ("commit", "COMMIT")


def test_preparing_is_not_running():
    wire = PgWire({})
    wire.up.feed(pg.startup(user="a"))
    _, marks = wire.up.feed(pg.prepare("commit", "COMMIT"))
    assert marks[0][1].names == ("PREPARE", "PREPARE commit")


def test_unnamed_statement_is_called_by_its_text(wire):
    assert names(wire.up, pg.prepare("", "  rollback") + pg.run("") + pg.SYNC) == ["ROLLBACK", "Sync"]
    assert answers(wire.down, pg.PREPARED + pg.answer("ROLLBACK") + pg.READY)[0] == ("ROLLBACK", "ROLLBACK")


def test_several_groups_are_outstanding(wire):
    group = pg.run("begin") + pg.run("commit") + pg.SYNC
    names(wire.up, group * 3)
    told = answers(wire.down, (pg.answer("BEGIN") + pg.answer("COMMIT") + pg.READY) * 3, 5)
    assert [name for name, _ in told] == ["BEGIN", "COMMIT", "Sync"] * 3


def test_after_an_error_the_rest_of_the_group_is_skipped(wire):
    group = pg.run("settle") + pg.run("commit") + pg.SYNC
    names(wire.up, group * 2)
    assert answers(wire.down, pg.BOUND + pg.error("40001") + pg.READY, 4) == [
        ("DELETE", "ERROR 40001"), ("Sync", "ready")]
    assert answers(wire.down, pg.answer("DELETE 1") + pg.answer("COMMIT") + pg.READY)[1][0] == "COMMIT"


def test_an_error_may_come_before_the_sync_is_sent(wire):
    names(wire.up, pg.run("settle"))
    answers(wire.down, pg.error("40001"))
    names(wire.up, pg.run("commit") + pg.SYNC + pg.run("begin") + pg.SYNC)
    assert answers(wire.down, pg.READY + pg.answer("BEGIN") + pg.READY) == [
        ("Sync", "ready"), ("BEGIN", "BEGIN"), ("Sync", "ready")]


def test_commit_may_be_answered_by_rollback(wire):
    names(wire.up, pg.run("commit") + pg.SYNC)
    assert answers(wire.down, pg.answer("ROLLBACK") + pg.READY)[0] == ("COMMIT", "ROLLBACK")


def test_simple_queries(wire):
    assert names(wire.up, pg.query("BEGIN") + pg.query("insert into x") + pg.query("COMMIT")) == [
        "BEGIN", "INSERT", "COMMIT"]
    came = pg.done("BEGIN") + pg.READY + pg.error("23505") + pg.READY + pg.done("ROLLBACK") + pg.READY
    assert answers(wire.down, came, 3) == [("BEGIN", "BEGIN"), ("INSERT", "ERROR 23505"),
                                           ("COMMIT", "ROLLBACK")]


@pytest.mark.parametrize("size", [1, 6, 100, 1 << 20])
def test_rows_pass_unread(wire, size):
    names(wire.up, pg.run("claim") + pg.SYNC)
    came = pg.BOUND + pg.row(0) + pg.row(3000) * 3 + pg.row(1) + pg.done("SELECT 5") + pg.READY
    assert answers(wire.down, came, size)[0] == ("WITH", "SELECT 5")


def test_large_parameters_are_not_waited_for(wire):
    large = pg.run("settle", b"\0" * 100_000)
    passed, marks = wire.up.feed(large[:5000])
    assert len(passed) == 5000 and marks[0][1].names == ("settle", "DELETE")


def test_notification(wire):
    came = pg.notify("outbox_relay", "16400")
    _, marks = wire.down.feed(came)
    assert marks[0][1].names == ("NOTIFY",) and marks[0][1].text == "outbox_relay 16400"

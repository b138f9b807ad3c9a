# SPDX-License-Identifier: ISC
"""Rules at messages on in-process peers that speak as Postgres and Kafka do."""
import threading
import time

import pytest

from faults import kafkabytes as kafka
from faults import pgbytes as pg
from faults.kafkaproduce import partitions
from faults.kafkawire import end_txn_error
from faults.peers import COMMIT, COMMITTED, is_reset, receive, silent, take


def test_hold_before_commit(postgres):
    client, server = postgres.session()
    held = postgres.proxy.hold(at="COMMIT")
    client.sendall(pg.query("SELECT") + COMMIT)
    held.wait()
    take(server, pg.query("SELECT"))
    assert silent(server) and held.messages[0].names == ("commit", "COMMIT")
    server.sendall(pg.done("SELECT 1"))
    take(client, pg.done("SELECT 1"))
    held.release()
    take(server, COMMIT)


def test_hold_after_commit(postgres):
    client, server = postgres.session()
    held = postgres.proxy.hold(at="COMMIT", when="after")
    client.sendall(COMMIT)
    take(server, COMMIT)
    assert not held.fired
    server.sendall(COMMITTED)
    held.wait()
    assert held.messages[0].answer == "COMMIT"
    take(client, pg.BOUND + pg.NO_DATA)
    assert silent(client)
    held.release()
    take(client, pg.done("COMMIT") + pg.READY)


@pytest.mark.parametrize("when", ["before", "after"])
def test_cut_at_commit(postgres, when):
    client, server = postgres.session()
    cut = postgres.proxy.cut(at="commit", when=when)
    client.sendall(COMMIT)
    if when == "after":
        take(server, COMMIT)
        server.sendall(COMMITTED)
    cut.wait()
    assert is_reset(client) and is_reset(server)
    client, server = postgres.session()  # one cut is enough
    client.sendall(COMMIT)
    take(server, COMMIT)


def test_nth_and_times(postgres):
    client, server = postgres.session()
    held = postgres.proxy.hold(at="Sync", nth=3)
    client.sendall(pg.SYNC * 4)
    take(server, pg.SYNC * 2)
    held.wait()
    assert silent(server)
    held.release()
    take(server, pg.SYNC * 2)


def test_where_picks_a_session(postgres):
    held = postgres.proxy.hold(at="COMMIT", where={"application_name": "relay"})
    other, its_server = postgres.session("other")
    other.sendall(COMMIT)
    take(its_server, COMMIT)
    client, server = postgres.session("relay")
    client.sendall(COMMIT)
    held.wait()
    assert silent(server)


def test_where_at_once_waits_for_the_startup(postgres):
    with postgres.proxy.hold(where={"application_name": "relay"}):
        client, server = postgres.connect()
        client.sendall(pg.startup(user="a", application_name="relay"))
        other, its_server = postgres.session("other")
        assert silent(server)
    take(server, pg.startup(user="a", application_name="relay"))


def test_drop_at_a_message(postgres):
    client, server = postgres.session()
    postgres.proxy.drop(at="COMMIT", direction="both")
    client.sendall(COMMIT)
    server.sendall(pg.notify("a", "b"))
    assert silent(server)
    client.sendall(COMMIT)
    assert silent(server)
    client.close()
    assert silent(server)


def test_drop_of_an_answer(postgres):
    client, server = postgres.session()
    postgres.proxy.drop(at="COMMIT", when="after")
    client.sendall(COMMIT)
    take(server, COMMIT)
    server.sendall(COMMITTED)
    take(client, pg.BOUND + pg.NO_DATA)
    assert silent(client)
    client.sendall(pg.SYNC)
    take(server, pg.SYNC)


def test_delay_at_a_message(postgres):
    client, server = postgres.session()
    delay = postgres.proxy.delay(80, at="COMMIT")
    began = time.monotonic()
    client.sendall(COMMIT)
    delay.wait()
    take(server, COMMIT)
    assert time.monotonic() - began >= 0.08


def test_wait_for(postgres):
    client, server = postgres.session()
    start = postgres.proxy.mark()
    later = threading.Timer(0.05, client.sendall, [COMMIT * 2])
    later.start()
    passed = postgres.proxy.wait_for("COMMIT", nth=2, since=start, where={"application_name": "relay"})
    assert passed.message.names == ("commit", "COMMIT")
    assert postgres.proxy.count("COMMIT", answered=True) == 0
    server.sendall(COMMITTED)
    assert postgres.proxy.wait_for("COMMIT", answered=True).message.answer == "COMMIT"
    with pytest.raises(AssertionError, match="in vain for 'claim'"):
        postgres.proxy.wait_for("claim", timeout=0.01)
    later.join()


def test_produce_is_answered_with_an_error_though_written(broker):
    client, server = broker.connect()
    failed = broker.proxy.fail("NOT_LEADER_OR_FOLLOWER", "thing", written=True)
    client.sendall(kafka.produce(7, 1) + kafka.produce(7, 2, "other"))
    take(server, kafka.produce(7, 1) + kafka.produce(7, 2, "other"))
    server.sendall(kafka.produced(7, 1, ("thing", 0, 0)) + kafka.produced(7, 2, ("other", 0, 0)))
    answer = receive(client, len(kafka.produced(7, 1, ("thing", 0, 0))))
    assert partitions(answer, 7)[0][2] == 6
    assert broker.proxy.wait_for("Produce", answered=True).message.answer == "ok"
    take(client, kafka.produced(7, 2, ("other", 0, 0)))
    failed.wait()


def test_produce_is_refused_and_never_written(broker):
    client, server = broker.connect()
    broker.proxy.fail(87, "thing")
    asked = kafka.produce(7, 1, records=b"r" * 300_000)
    client.sendall(kafka.request(3, 4, 0) + asked + kafka.produce(7, 2))
    take(server, kafka.request(3, 4, 0) + kafka.produce(7, 2))
    answer = receive(client, len(kafka.produced(7, 1, ("thing", 0, 0))))
    assert partitions(answer, 7)[0][:3] == ("thing", 0, 87)


def test_refusal_waits_for_the_end_of_another_answer(broker):
    client, server = broker.connect()
    client.sendall(kafka.request(3, 4, 1))
    take(server, kafka.request(3, 4, 1))
    metadata = kafka.response(1, b"m" * 1000)
    server.sendall(metadata[:100])
    take(client, metadata[:100])
    broker.proxy.fail(87)
    client.sendall(kafka.produce(7, 2))
    assert silent(client)
    server.sendall(metadata[100:])
    take(client, metadata[100:])
    assert partitions(receive(client, len(kafka.produced(7, 2, ("thing", 0, 0)))), 7)[0][2] == 87


def test_an_error_of_a_rule_is_told(broker):
    client, server = broker.connect()
    failed = broker.proxy.fail(6, written=True)
    client.sendall(kafka.produce(7, 1))
    take(server, kafka.produce(7, 1))
    server.sendall(kafka.response(1, b"x"))
    with pytest.raises(Exception):
        failed.wait()


def test_end_txn_is_held_and_comes_after_its_client_has_gone(broker):
    """The other end of the transaction passes."""
    client, server = broker.connect()
    held = broker.proxy.hold(at="EndTxn commit", where={"client_id": "outbox-relay"})
    client.sendall(kafka.end_txn(1, 1, False) + kafka.end_txn(1, 2, True))
    held.wait()
    take(server, kafka.end_txn(1, 1, False))
    assert silent(server) and held.messages[0].names == ("EndTxn", "EndTxn commit")
    client.close()
    assert silent(server)
    held.release()
    take(server, kafka.end_txn(1, 2, True))


@pytest.mark.parametrize("how", ["cut", "drop"])
def test_the_answer_to_end_txn_is_lost(broker, how):
    client, server = broker.connect()
    lost = getattr(broker.proxy, how)(at="EndTxn commit", when="after")
    client.sendall(kafka.end_txn(1, 1, True))
    take(server, kafka.end_txn(1, 1, True))
    assert not lost.fired
    server.sendall(kafka.ended(1, 1, 0))
    lost.wait()
    assert is_reset(client) if how == "cut" else silent(client)


@pytest.mark.parametrize("version,error", [(1, 47), (3, 90)])
def test_end_txn_comes_again(broker, version, error):
    """The one that was asked for and no other, on a connection of its own; and its answer is read."""
    client, server = broker.connect()
    copies = broker.proxy.repeat(at="EndTxn commit", nth=2)
    sent = [kafka.end_txn(version, number, number != 2) for number in range(1, 5)]
    client.sendall(b"".join(sent))
    take(server, b"".join(sent))
    copies.wait()
    answers = []
    late = threading.Thread(target=lambda: answers.extend(copies.again()))
    late.start()
    other, _ = broker.listener.accept()
    broker.sockets.append(other)
    take(other, sent[2])
    other.sendall(kafka.ended(version, 3, error))
    late.join()
    assert [end_txn_error(message, frame) for message, frame in answers] == [error]
    assert silent(client)


def test_what_comes_in_parts_cannot_be_repeated(broker):
    client, _ = broker.connect()
    copies = broker.proxy.repeat(at="Produce")
    client.sendall(kafka.produce(7, 1)[:600])
    with pytest.raises(ValueError, match="in parts"):
        copies.wait()


def test_heal(postgres):
    client, server = postgres.session()
    postgres.proxy.hold()
    postgres.proxy.refuse()
    client.sendall(COMMIT)
    assert silent(server)
    postgres.proxy.heal()
    take(server, COMMIT)
    postgres.connect()

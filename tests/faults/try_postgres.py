# SPDX-License-Identifier: ISC
"""Every rule and every fault once on the real pair of Postgres servers; called by try_cluster.py."""
import subprocess
import threading
import time

import psycopg2

APP = {"application_name": "tried"}


class Background:
    """A function in a thread; its answer or its exception."""

    def __init__(self, function, *args):
        self.answer = self.problem = None
        self.thread = threading.Thread(target=self._run, args=(function, args), daemon=True)
        self.thread.start()

    def _run(self, function, args):
        try:
            self.answer = function(*args)
        except Exception as problem:
            self.problem = problem

    def join(self, timeout=30):
        self.thread.join(timeout)
        assert not self.thread.is_alive()
        return self


class Trial:
    def __init__(self, pair):
        self.pair = pair
        self.number = 0

    @property
    def proxy(self):
        return self.pair.primary.proxy

    def connect(self):
        return psycopg2.connect(self.pair.proxy_dsn("postgres", "owner") + " application_name=tried")

    def insert(self):
        """Inserts one more number through the proxy and commits."""
        self.number += 1
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO tried VALUES (%s)", (self.number,))
            connection.commit()
        finally:
            connection.close()

    def is_there(self):
        return self.pair.database("postgres").value(f"SELECT count(*) FROM tried WHERE n = {self.number}") == 1

    # Rules.

    def hold_before(self):
        with self.proxy.hold(at="COMMIT", where=APP) as held:
            client = Background(self.insert)
            held.wait()
            assert not self.is_there()
        assert client.join().problem is None and self.is_there()

    def hold_after_then_cut(self):
        held = self.proxy.hold(at="COMMIT", when="after", where=APP)
        client = Background(self.insert)
        held.wait()
        assert self.is_there() and client.thread.is_alive()
        self.proxy.cut(where=APP)
        assert isinstance(client.join().problem, psycopg2.OperationalError)
        held.release()

    def cut_before_and_after(self):
        for when in ("before", "after"):
            cut = self.proxy.cut(at="COMMIT", when=when)
            client = Background(self.insert)
            cut.wait()
            assert isinstance(client.join().problem, psycopg2.OperationalError)
            assert self.is_there() == (when == "after")

    def drop(self):
        rule = self.proxy.drop(at="COMMIT", direction="both")
        client = Background(self.insert)
        rule.wait()
        client.thread.join(0.5)
        assert client.thread.is_alive() and not self.is_there()
        self.proxy.cut(where=APP)
        client.join()

    def refuse(self):
        with self.proxy.refuse():
            assert isinstance(Background(self.insert).join().problem, psycopg2.OperationalError)
        self.insert()

    def slow(self):
        began = time.monotonic()
        with self.proxy.delay(100, direction="up"):
            self.insert()
        assert time.monotonic() - began > 0.4
        with self.proxy.throttle(1_000_000):
            began = time.monotonic()
            connection = self.connect()
            connection.cursor().execute("SELECT repeat('x', 500000)")
            connection.close()
            assert time.monotonic() - began > 0.3

    def psql(self):
        mark = self.proxy.mark()
        dsn = self.pair.proxy_dsn("postgres", "owner")
        out = subprocess.check_output(["psql", "-Atc", "BEGIN; SELECT 41 + 1; COMMIT", dsn], text=True)
        assert "42" in out
        self.proxy.wait_for("Startup", answered=True, since=mark)

    # Faults.

    def terminate_and_lock(self):
        connection = self.connect()
        assert self.pair.database("postgres").value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'tried'") == 1
        assert isinstance(Background(connection.cursor().execute, "SELECT 1").join().problem,
                          psycopg2.OperationalError)
        with self.pair.locked("postgres", "tried"):
            client = Background(self.insert)
            client.thread.join(0.5)
            assert client.thread.is_alive()
        assert client.join().problem is None

    def pause(self):
        self.pair.primary.pause()
        client = Background(self.insert)
        client.thread.join(0.5)
        assert client.thread.is_alive()
        self.pair.primary.resume()
        assert client.join().problem is None

    def restarts(self):
        for how in (lambda node: node.restart(), lambda node: node.restart("immediate"),
                    lambda node: node.crash() or node.start(),
                    lambda node: node.crash(backends=False) or node.start()):
            how(self.pair.primary)
            assert self.is_there()
            self.insert()
        self.pair.wait_streaming()

    def failover(self):
        self.pair.wait_replayed()
        with self.pair.fall_behind():
            self.insert()
            self.pair.failover()
            assert not self.is_there()  # lost
            self.insert()
            self.pair.rebuild()
        writable = psycopg2.connect(self.pair.dsn("postgres", "owner"))
        assert writable.info.port == self.proxy.port
        writable.close()
        self.pair.wait_replayed()

    def split_brain(self):
        old = self.pair.primary
        self.pair.wait_replayed()
        self.pair.failover(crash=False)
        assert old.process.alive
        old.connect("postgres").cursor().execute("INSERT INTO tried VALUES (-1)")
        self.pair.rebuild()

    STEPS = ("hold_before", "hold_after_then_cut", "cut_before_and_after", "drop", "refuse", "slow", "psql",
             "terminate_and_lock", "pause", "restarts", "failover", "split_brain")

    def run(self):
        self.pair.database("postgres").execute("CREATE TABLE tried (n bigint)")
        for name in self.STEPS:
            began = time.monotonic()
            getattr(self, name)()
            print(f"  postgres: {name}: {time.monotonic() - began:.1f} s", flush=True)

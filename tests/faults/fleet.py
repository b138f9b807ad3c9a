# SPDX-License-Identifier: ISC
"""The relays of a round, each with proxies of its own before both Postgres servers."""
import re
from contextlib import contextmanager

from harness.relay import Relay, merge

from faults.patience import until
from faults.pgwire import PgWire
from faults.proxy import Proxy
from faults.watched import Watched

SHARDS = 8  # of the usual configuration
OUTBOX = {"shards": SHARDS, "poll_interval": "500ms", "sweep_interval": "2s", "stall_timeout": "5s",
          "session_timeout": "3s"}
ALLOCATION = re.compile(r"alloc: Assertion .* failed|Assertion .*failed to create broker thread")  # of librdkafka


class Member:
    """One relay. Its name is the application_name of its sessions and the client.id of its producers, so that a
    rule of a shared proxy, or a statement on pg_stat_activity, can mean this one."""

    def __init__(self, stage, name, changes):
        self.stage, self.name = stage, name
        self.starved = False  # its memory was taken away, so that an allocation may have failed
        nodes = sorted(stage.postgres.nodes, key=lambda node: node.name)
        self.proxies = {node.name: Proxy(("127.0.0.1", node.port), PgWire, name=f"{name} to {node.name}")
                        for node in nodes}
        settings = merge(self._settings(), changes)
        if stage.ledger:
            settings["kafka"]["ledger_topic"] = stage.ledger
        self.relay = Relay(stage.directory, settings, name)
        self.watched = Watched(self.relay, stage.recorder, stage.about.wall_offset)

    def _settings(self):
        stage = self.stage
        return {
            "database": {"dsn": self.dsn()},
            "outbox": OUTBOX,
            "kafka": {"bootstrap_servers": stage.kafka.bootstrap,
                      "properties": ["compression.codec=lz4", f"client.id={self.name}"]},
            "route": {"topic": stage.name + ".${aggregate_type}"},
            "http": {"listen": "127.0.0.1:0"},
        }

    def dsn(self, user="outbox_relay", more=""):
        ports = ",".join(str(proxy.port) for proxy in self.proxies.values())
        return (f"host=127.0.0.1,127.0.0.1 port={ports} dbname={self.stage.name} user={user} "
                f"application_name={self.name} connect_timeout=3 target_session_attrs=read-write {more}")

    @property
    def process(self):
        return self.relay.process

    @property
    def proxy(self):
        """To what is the primary now."""
        return self.proxies[self.stage.postgres.primary.name]

    def pids(self):
        """Of its server processes, if the database can tell."""
        try:
            return [pid for (pid,) in self.stage.database.rows("SELECT pid" + self.sessions())]
        except self.stage.away:
            return []

    def sessions(self):
        """SQL for the sessions of this relay: a FROM with its WHERE."""
        return (" FROM pg_stat_activity WHERE datname = current_database() AND application_name = "
                f"'{self.name}'")

    @contextmanager
    def paused(self):
        """Stands still, and goes on unless it was killed meanwhile."""
        self.process.pause()
        try:
            yield
        finally:
            if self.process.alive:
                self.process.resume()

    @contextmanager
    def rules(self, make):
        """make(proxy): a rule, for each of its proxies; taken back in the end."""
        rules = [make(proxy) for proxy in self.proxies.values()]
        try:
            yield rules
        finally:
            for rule in rules:
                rule.release()

    def remove(self):
        self.process.forget()
        for proxy in self.proxies.values():
            proxy.close()


class Fleet:
    """Relays that come and go; iterates over those there are."""

    def __init__(self, stage, changes):
        self.stage, self.changes = stage, changes
        self.delay = 0  # ms, each way between a relay and Postgres
        self.members = []

    def __iter__(self):
        return iter(list(self.members))

    def add(self, start=True, wait=False, **changes):
        """One more relay."""
        member = Member(self.stage, f"relay{len(self.members) + 1}", merge(self.changes, changes))
        self.members.append(member)
        for proxy in member.proxies.values() if self.delay else ():
            proxy.delay(self.delay)
        if start:
            member.watched.start(wait)
        return member

    def alive(self):
        return [member for member in self.members if member.process.alive]

    def any(self, rng):
        """One that works, if there is any, else one that lives."""
        alive = until(self.alive, 60, "a relay that lives", every=0.05)
        names = self.owners()
        return rng.choice([member for member in alive if member.name in names] or alive)

    def one(self, rng):
        """One that lives, working or not."""
        return rng.choice(until(self.alive, 60, "a relay that lives", every=0.05))

    def owners(self):
        """The names of the relays that hold a shard, if the database can tell."""
        try:
            return {name for (name,) in self.stage.database.rows(
                "SELECT DISTINCT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2"
                " AND l.objid::int8 >> 24 = 111 AND a.datname = current_database()")}  # outbox/locks.h: 0x6f
        except self.stage.away:
            return set()

    def processes(self):
        """For a Sampler."""
        return [pair for member in self.members if member.watched.name for pair in member.watched.alive()]

    def heal(self):
        """Nothing is in between any more, and nobody stands still."""
        for member in self.members:
            for proxy in member.proxies.values():
                proxy.heal()
        self.resume()

    def resume(self):
        for member in self.alive():
            member.process.resume()

    def broken(self):
        """{name: what a sanitizer or an assertion said}"""
        return {member.name: said for member in self.members if (said := member.relay.broken())
                and not (member.starved and ALLOCATION.search(said))}

    def remove(self):
        for member in self.members:
            member.remove()

# SPDX-License-Identifier: ISC
"""A stage for plays: servers, relays and a Prometheus, and everything that they say in one transcript, as it happens."""
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error

from harness import process
from harness.kafka import Kafka
from harness.ports import free_port
from harness.postgres import Database, Postgres
from harness.prometheus import Prometheus
from harness.relay import BINARY, Relay, merge
from harness.waiting import until

INSERT = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
          " SELECT 'order', 'k' || n % {keys}, 'Happened', jsonb_build_object('n', n) FROM generate_series(1, {count}) n")
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z ")


class Play:
    """with Play() as play: ... Commands are run where relay1.conf, relay2.conf, ... are."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="outbox-relay-play-")
        os.chmod(self.directory, 0o755)
        self.relays, self.prometheus, self.database, self.begun = [], None, None, None
        self._lock, self._watching = threading.Lock(), True
        self._seen, self._alerts, self._pages = {}, set(), {}
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._watcher.start()
        return self

    def __exit__(self, *_):
        self._watching = False
        self._watcher.join(20)
        for started in process.everyone:
            started.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    # What there is.

    def path(self, name):
        return os.path.join(self.directory, name)

    def postgres(self, name="postgres"):
        return Postgres(self.path(name), name).create().start()

    def kafka(self, **properties):
        return Kafka(self.path("kafka"), **properties).create().start()

    def on(self, postgres, broker, **settings):
        """The database shop with an outbox, and what its relays are configured by."""
        self.database = Database(postgres, "shop").create()
        self.settings = merge({"database": {"dsn": self.database.dsn("outbox_relay")},
                               "outbox": {"table": "outbox_events"},
                               "kafka": {"bootstrap_servers": broker.bootstrap}}, settings)
        done = Relay(self.directory, self.settings, "owner").command("migrate", "--dsn", self.database.dsn())
        assert done.returncode == 0, done.stderr

    def relay(self, start=True, **changes):
        listen = {"http": {"listen": f"127.0.0.1:{free_port()}"}}
        relay = Relay(self.directory, merge(merge(self.settings, listen), changes), f"relay{len(self.relays) + 1}")
        self.relays.append(relay)
        return relay.start(wait=False) if start else relay

    def alerts(self, hurried=True, ready=None):
        """From here on the alerts of conf/alerts.yml are watched; not hurried: at the pace that they are shipped with.
        ready: those to be awaited, if not all of them are relays."""
        for relay in self.relays if ready is None else ready:
            relay.wait_ready()
        self.prometheus = Prometheus(self.directory, self.relays, hurried)

    def insert(self, count, keys=100, database=None):
        (database or self.database).execute(INSERT.format(count=count, keys=keys))

    @contextlib.contextmanager
    def load(self, rate, keys=100, database=None):
        """So many events a second, as long as the database takes them."""
        going = threading.Event()

        def write():
            while not going.wait(0.1):
                with contextlib.suppress(Exception):
                    self.insert(max(1, rate // 10), keys, database)
        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        yield
        going.set()
        thread.join(20)

    # What is done and seen.

    def write(self, text):
        with self._lock:
            print(text, flush=True)

    def mark(self, text):
        """What is done to them; the time is counted from here."""
        self.begun = time.monotonic()
        self.write(f"# {text}")

    def note(self, text):
        self._say("#", text)

    def sh(self, command, lines=30):
        """A command as the page has it, and what it printed."""
        environment = dict(os.environ, PATH=f"{os.path.dirname(BINARY)}:{os.environ['PATH']}")
        done = subprocess.run(command, shell=True, cwd=self.directory, env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = done.stdout.rstrip("\n").split("\n")[:lines]
        self.write("\n".join([f"$ {command}", *said] + ([f"(status {done.returncode})"] if done.returncode else [])))
        return done

    def sql(self, statement, database=None):
        """As the owner, by psql."""
        done = subprocess.run(["psql", "-X", "-q", (database or self.database).dsn(), "-c", statement], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.write(f"shop=# {statement}\n{done.stdout.rstrip()}")
        return done.stdout

    def until(self, condition, timeout, what):
        until(condition, timeout, what, every=0.1)

    def wait_alert(self, name, timeout=600, fires=True):
        self.until(lambda: any(alert.startswith(name) for alert in list(self._alerts)) == fires, timeout, name)

    # The watcher's.

    def _say(self, who, text):
        since = f"{time.monotonic() - self.begun:+7.1f} s  " if self.begun else ""
        self.write(f"{since}{who} {text}")

    def _watch(self):
        while self._watching:
            for relay in list(self.relays):
                self._log(relay)
                self._ready(relay)
            self._fire()
            time.sleep(0.1)

    def _log(self, relay):
        if not os.path.exists(relay.process.log_path):
            return
        with open(relay.process.log_path, "rb") as log:
            log.seek(self._seen.get(relay, 0))
            text = log.read()
        self._seen[relay] = self._seen.get(relay, 0) + text.rfind(b"\n") + 1
        for line in text[:text.rfind(b"\n") + 1].decode(errors="replace").splitlines():
            self._say(f"{relay.name}:", STAMP.sub("", line))

    def _ready(self, relay):
        if relay.process.child is None or "http listens" not in relay.log():
            return
        try:
            code, text = relay.get("/readyz")
        except (OSError, urllib.error.URLError):
            code, text = 0, "no answer"
        page = f"/readyz of {relay.name}: {code or ''} {text.strip().splitlines()[0]}"
        if self._pages.get(relay, (None,))[0] != code:
            self._say("http:", page)
        self._pages[relay] = code, text

    def _fire(self):
        if self.prometheus is None:
            return
        with contextlib.suppress(OSError):
            firing = {" ".join([labels["alertname"], labels["severity"],
                                *(f"{name}={labels[name]}" for name in ("peer", "topic", "reason") if name in labels)])
                      for labels, _ in self.prometheus.query('ALERTS{alertstate="firing"}')}
            for alert in sorted(firing - self._alerts):
                self._say("alert:", f"{alert} fires")
            for alert in sorted(self._alerts - firing):
                self._say("alert:", f"{alert} is over")
            self._alerts = firing

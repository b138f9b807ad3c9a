# SPDX-License-Identifier: ISC
"""The relay under test: its configuration file, its process, and what it says over HTTP and to stderr."""
import copy
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request

from harness import librdkafka
from harness.process import Process, as_unprivileged
from harness.waiting import limit, until

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BINARY = os.path.abspath(os.environ.get("OUTBOX_RELAY", os.path.join(ROOT, "build", "outbox-relay")))
READY = re.compile(r"ready: publishing .+ to ([^\s\"]+)")
LISTENS = re.compile(r"http listens on ([^\s\"]+)")
# What the sanitizers print; none of it may ever be in a log.
BROKEN = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:|Assertion .* failed")
CRASHED = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
# Without the labels that every sample carries.
SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)\{database="[^"]*",outbox="[^"]*"(?:,(.*))?\} (\S+)$')


def libconfig(settings, indent=""):
    """A dictionary as the text of a configuration file."""
    lines = []
    for name, value in settings.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{name} = {{\n{libconfig(value, indent + '  ')}{indent}}};\n")
        elif isinstance(value, (list, tuple)):
            lines.append(f"{indent}{name} = ( {', '.join(map(json.dumps, value))} );\n")
        else:
            lines.append(f"{indent}{name} = {json.dumps(value)};\n")
    return "".join(lines)


def merge(base, changes):
    """base with changes put over it, group by group; None takes a setting out."""
    merged = copy.deepcopy(base)
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = merge(merged.get(name, {}), value)
        else:
            merged[name] = value
    return merged


def run_relay(*argv, timeout=60, env=None, unprivileged=False):
    """The binary with these arguments, run to its end."""
    command = [BINARY, *map(str, argv)]
    return subprocess.run(as_unprivileged(command) if unprivileged else command,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=limit(timeout),
                          stdin=subprocess.DEVNULL, env={**os.environ, **librdkafka.environment(librdkafka.DEFAULT), **(env or {})})


class Relay:
    """One relay with a configuration of its own."""

    def __init__(self, directory, settings, name="relay", env=None):
        """env: what its programs have in their environment beside ours."""
        self.name = name
        self.env = env or {}
        self.config = os.path.join(directory, f"{name}.conf")
        self.settings = settings
        self.write_config()
        self.process = Process(name, [BINARY, "run", "-c", self.config],
                               os.path.join(directory, f"{name}.log"), env=self.env)

    def write_config(self, **changes):
        self.settings = merge(self.settings, changes)
        with open(self.config, "w") as config:
            config.write(libconfig(self.settings))

    # Its life.

    def start(self, wait=True, timeout=30):
        self.process.start()
        if wait:
            self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout=30):
        self.process.wait_log(READY, timeout)
        return self

    def kill(self):
        self.process.kill()

    def terminate(self):
        self.process.send(signal.SIGTERM)

    def wait_exit(self, timeout=20, prompt=False):
        return self.process.wait(timeout, prompt)

    def stop(self, timeout=20):
        """Asks it to settle and stop; its exit status."""
        self.terminate()
        return self.wait_exit(timeout)

    # What it says.

    def log(self):
        return self.process.log()

    def wait_log(self, pattern, timeout=20, after=0):
        return self.process.wait_log(re.compile(pattern), timeout, after)

    def log_contains(self, pattern):
        return re.search(pattern, self.log()) is not None

    def broken(self):
        """What a sanitizer or an assertion said, ever, with some of what is around it, or how it crashed; or
        None."""
        if self.process.child is None:
            return None
        log = self.process.log(whole=True)
        found = BROKEN.search(log)
        if not found and -(self.process.child.returncode or 0) in CRASHED:
            return f"nothing, and died of signal {-self.process.child.returncode}"
        return found and log[max(0, found.start() - 500):found.start() + 3000]

    @property
    def bootstrap(self):
        """The broker as the relay names it: with kafka.embedded the only way to know."""
        return self.process.wait_log(READY).group(1)

    def get(self, path):
        """(status, body) of an HTTP page."""
        address = self.process.wait_log(LISTENS).group(1)
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=limit(10)) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()

    def metrics(self):
        """{"name" or 'name{labels}': value}, without the labels database and outbox."""
        samples = {}
        for line in self.get("/metrics")[1].splitlines():
            found = SAMPLE.match(line)
            if found:
                name, labels, value = found.groups()
                samples[f"{name}{{{labels}}}" if labels else name] = float(value)
        return samples

    def metric(self, name):
        """The sum over all labels."""
        return sum(value for sample, value in self.metrics().items()
                   if sample.split("{")[0] == f"outbox_relay_{name}")

    def wait_metric(self, name, reached, timeout=20):
        until(lambda: self.metric(name) >= reached, timeout, f"{name} >= {reached}", every=0.05)

    def wait_in_flight(self, count, timeout=20):
        """Until so many events or more are with the producer, unacknowledged."""
        until(lambda: json.loads(self.get("/status")[1])["outstanding"] >= count, timeout, f"{count} in flight")

    def peak_memory(self):
        """The most it ever had resident, in MiB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) / 1024

    # Other commands on the same configuration.

    def command(self, name, *argv, timeout=60, env=None):
        return run_relay(name, "-c", self.config, *argv, timeout=timeout, env={**self.env, **(env or {})})

    def status(self):
        done = self.command("status", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

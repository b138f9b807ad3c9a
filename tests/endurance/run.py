# SPDX-License-Identifier: ISC
"""A run: load, restarts and samples side by side; what it saw goes into a directory as it goes on."""
import json
import multiprocessing
import os
import shutil
import threading
import time
import traceback
import urllib.error

from faults.history import Fault, Mark, Metrics, Recorder, now, this_run

from endurance import reader, writer
from endurance.arrivals import compare
from endurance.ground import PARTITIONS, Ground
from endurance.names import ARRIVED, HISTORY, MACHINE, OUTCOME, READ, WRITTEN
from endurance.plan import plan

SAMPLE_EVERY, SCRAPE_EVERY = 5, 10  # s
KEPT = 6                            # of so many scrapes one is kept whole
LONGEST = 180                       # s for a restart that is under way at the end
DRAIN = 300                         # s for what waits at the end


class Run:
    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        self.problems = []
        about = this_run({}, seed=options.seed, note=f"{options.rate} events/s for {options.minutes:g} min")
        self.recorder = Recorder(self.path(HISTORY))
        self.recorder.add(about)
        self.ground = Ground(self.recorder, about.wall_offset)
        self.over, self.quiet, self.done = threading.Event(), threading.Event(), threading.Event()
        spawn = multiprocessing.get_context("spawn")
        self.stop_writing, self.end_reading = spawn.Event(), spawn.Event()
        self.spawn, self.scrapes = spawn, 0

    def path(self, name):
        return os.path.join(self.directory, name)

    def run(self):
        """Leaves an outcome that verdict.py judges, also of a run that broke off."""
        with self.ground:
            try:
                self._play()
            except Exception:  # pylint: disable=broad-except
                self.problems.append(traceback.format_exc())
            finally:
                self._keep()
                self.done.set()
        self.recorder.close()

    def _process(self, function, *args):
        process = self.spawn.Process(target=function, args=args, daemon=True, name=function.__module__)
        process.start()
        return process

    def _play(self):
        options, rig = self.options, self.ground.rig
        consumer = self._process(reader.run, rig.kafka.direct, PARTITIONS, self.path(READ), self.path(ARRIVED),
                                 self.end_reading)
        load = self._process(writer.run, rig.dsn, options.rate, options.seed, self.path(WRITTEN), self.stop_writing)
        self.recorder.add(Mark("load started", now()))
        with self.ground.sampler(SAMPLE_EVERY):
            threading.Thread(target=self._restarts, args=(now(),), daemon=True).start()
            self._watch(now() + 60 * options.minutes, [consumer, load])
            self.over.set()
            self.quiet.wait(LONGEST)
            self._end(load, consumer)

    def _watch(self, end, processes):
        """Until the end, or until what must not end has ended."""
        beat = 0
        while now() < end:
            for process in processes:
                if not process.is_alive():
                    raise RuntimeError(f"{process.name} ended with {process.exitcode}")
            if not self.ground.steady.relay.process.alive:
                raise RuntimeError("the relay that nobody restarts has ended")
            beat += 1
            if beat % SCRAPE_EVERY == 0:
                self._scrape()
                self.recorder.flush()
            time.sleep(1)

    def _scrape(self):
        """As Prometheus does. Only the relay that is never restarted must answer."""
        counts = self.ground.steady.relay.metrics()
        self.recorder.add(Metrics(MACHINE, now(), {"load": os.getloadavg()[0]}))
        if self.scrapes % KEPT == 0:
            self.recorder.add(Metrics(self.ground.steady.name, now(), counts))
        self.scrapes += 1
        try:
            self.ground.restarted.relay.metrics()
        except (urllib.error.URLError, OSError, AssertionError):
            pass

    def _restarts(self, begin):
        """In a thread that lasts to the end: the kernel ends what it has started when it ends."""
        for restart in plan(self.options.seed, 60 * self.options.minutes, self.options.gap):
            if self.over.wait(max(0, begin + restart.at - now())):
                break
            at = now()
            try:
                self.ground.do(restart)
            except Exception:  # pylint: disable=broad-except
                self.problems.append(f"{restart}: {traceback.format_exc()}")
            self.recorder.add(Fault(restart.kind, at, now(), [], f"away for {restart.pause} s"))
            print(f"{at - begin:7.1f} s  {restart.kind}, {now() - at:.1f} s", flush=True)
        self.quiet.set()
        self.done.wait()

    def _end(self, load, consumer):
        """Load, then outbox, then relays, then consumer: what each leaves must have come to the next."""
        self.stop_writing.set()
        load.join(60)
        self.recorder.add(Mark("load ended", now()))
        self.ground.rig.database.wait_empty(timeout=DRAIN)
        self.recorder.add(Mark("drained", now()))
        self._stop_relays()
        self.end_reading.set()
        consumer.join(120)

    def _stop_relays(self):
        for watched in self.ground.relays:
            status = watched.stop()
            if status != 0:
                self.problems.append(f"{watched.name} ended with {status} when asked to stop")

    def _keep(self):
        """What the servers know, and the logs of the relays."""
        outcome = {"problems": self.problems, "scrapes": self.scrapes}
        for watched in self.ground.relays:
            if watched and watched.relay.process.child:
                shutil.copy(watched.relay.process.log_path, self.path(f"{watched.relay.name}.log"))
                if said := watched.relay.broken():
                    self.problems.append(f"{watched.relay.name} said: {said}")
        try:
            with open(self.path(ARRIVED), encoding="utf-8") as file:
                arrived = json.load(file)
            seen = {int(name): bytes.fromhex(bits) for name, bits in arrived["seen"].items()}
            outcome["lost"], outcome["phantoms"], outcome["committed"] = compare(seen, self.ground.orders())
            outcome.update((name, arrived[name]) for name in ("first", "again", "reordered"))
        except Exception:  # pylint: disable=broad-except
            self.problems.append(traceback.format_exc())
        with open(self.path(OUTCOME), "w", encoding="utf-8") as file:
            json.dump(outcome, file, indent=1)

# SPDX-License-Identifier: ISC
"""A steady load for an hour while everything around the relays is restarted, and a verdict on what came of it.

    cd tests && /usr/bin/python3 -m endurance --minutes 60 --rate 2000 [--seed S] [--plot FILE.svg]
    cd tests && /usr/bin/python3 -m endurance --again DIRECTORY --plot FILE.svg    # what a run has left, once more
"""
import argparse
import os
import random
import signal
import sys
import tempfile

from harness import relay

from endurance import plot, verdict
from endurance.run import Run


def gap(text):
    low, high = map(float, text.split(","))
    return low, high


def arguments(argv):
    parser = argparse.ArgumentParser(prog="endurance", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=2000, help="events per second (%(default)s)")
    parser.add_argument("--gap", type=gap, default=(60, 180), metavar="LOW,HIGH",
                        help="seconds from one restart to the next (60,180)")
    parser.add_argument("--seed", type=int, help="of everything that is drawn; by default another each time, printed")
    parser.add_argument("--keep", default=os.path.join(tempfile.gettempdir(), "outbox-relay-endurance"),
                        help="the directory for what the run sees (%(default)s)")
    parser.add_argument("--again", metavar="DIRECTORY", help="run nothing: judge and plot what is in there")
    parser.add_argument("--plot", metavar="FILE", help="where the plot goes, as SVG")
    return parser.parse_args(argv)


def main(argv):
    options = arguments(argv)
    if options.seed is None:
        options.seed = random.SystemRandom().getrandbits(32)
    directory = os.path.abspath(options.again or options.keep)
    if not options.again:
        if not os.access(relay.BINARY, os.X_OK):
            print(f"there is no {relay.BINARY}: build it, or name another in OUTBOX_RELAY", file=sys.stderr)
            return 2
        os.makedirs(directory, exist_ok=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        print(f"seed {options.seed}, into {directory}", flush=True)
        Run(options, directory).run()
    kept = verdict.load(directory)
    print(verdict.report(kept))
    if options.plot:
        with open(options.plot, "w", encoding="utf-8") as file:
            file.write(plot.draw(kept))
    return 1 if verdict.problems(kept) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

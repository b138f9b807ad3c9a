# SPDX-License-Identifier: ISC
"""The versions of librdkafka that the relay is tried with: Debian's, and a current one."""
import functools
import os
import re
import subprocess

SETUP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "setup.sh")
DEBIANS, CURRENT = "Debian's", "current"
DEFAULT = CURRENT if os.environ.get("LIBRDKAFKA") == "current" else DEBIANS  # of a test that does not choose


@functools.cache
def environment(which):
    """What a program needs in its environment to use it."""
    if which == DEBIANS:
        return {"LD_LIBRARY_PATH": ""}
    return {"LD_LIBRARY_PATH": subprocess.check_output([SETUP, "librdkafka"], text=True).strip()}


@functools.cache
def version(which, binary):
    """(2, 0, 2) of what the relay says it uses."""
    said = subprocess.check_output([binary, "--version"], text=True, env=dict(os.environ, **environment(which)))
    return tuple(map(int, re.search(r"librdkafka (\d+)\.(\d+)\.(\d+)", said).groups()))

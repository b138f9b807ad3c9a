# SPDX-License-Identifier: ISC
"""A machine that was suspended: CLOCK_MONOTONIC stood still, CLOCK_BOOTTIME went on, and the session is over."""
import os
import subprocess

import pytest

from harness.writers import insert

# clock_gettime with so many seconds added to CLOCK_BOOTTIME once a file exists.
SUSPENDED = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int done = real(id, now);
	if (id == CLOCK_BOOTTIME && access(getenv("SUSPENDED_FILE"), F_OK) == 0)
		now->tv_sec += 3600;
	return done;
}
"""


@pytest.fixture
def suspended(database, directory, new_relay):
    """A relay, and the file that makes an hour pass in suspend."""
    library, source, file = (os.path.join(directory, name) for name in ("clock.so", "clock.c", "suspended"))
    with open(source, "w") as out:
        out.write(SUSPENDED)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    relay = new_relay(outbox={"session_timeout": "2s"})
    options = os.environ.get("ASAN_OPTIONS", "")
    relay.process.env.update(LD_PRELOAD=library, SUSPENDED_FILE=file,
                             ASAN_OPTIONS=f"{options}:verify_asan_link_order=0".lstrip(":"))
    return relay.start(), file


def test_it_begins_anew_after_a_suspend(suspended, database, reader):
    """It drops its session before it reads anything of it, says so, and publishes on with another."""
    relay, file = suspended
    insert(database, 1)
    reader().take(1)
    open(file, "w").close()
    relay.wait_log(r"this process did not run for 36\d\d")
    insert(database, 1)
    reader().take(2)
    assert len([line for line in relay.log().splitlines() if "did not run for 36" in line]) == 1

# SPDX-License-Identifier: ISC
"""A child process with a log file: started, signalled, awaited, and never left behind."""
import glob
import os
import pwd
import re
import shutil
import signal
import subprocess

from harness.waiting import limit, until

everyone = []  # all that were started, for the logs of a failed test and the last clean-up


def unprivileged():
    """(uid, gid) under which servers that refuse to be root run, or None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
            return user.pw_uid, user.pw_gid
        except KeyError:
            pass
    raise RuntimeError("no user postgres or nobody to run servers as")


def as_unprivileged(argv):
    """argv, run as another user when we are root."""
    who = unprivileged()
    if who is None:
        return list(argv)
    return ["setpriv", f"--reuid={who[0]}", f"--regid={who[1]}", "--clear-groups", "--"] + list(argv)


def threads(pid):
    """Where each thread of a process is, in the kernel's words and, with gdb, in the program's."""
    lines = ["Its threads:"]
    for task in sorted(glob.glob(f"/proc/{pid}/task/*")):
        try:
            said = {line.split(":")[0]: line.split(":")[1].strip() for line in open(f"{task}/status")}
            lines.append(f"{said['Name']}: {said['State']}, traced by {said['TracerPid']},"
                         f" in {open(f'{task}/wchan').read()}")
        except OSError:  # it has ended meanwhile
            pass
    if shutil.which("gdb"):
        lines.append(subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt"], text=True,
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, timeout=60, check=False).stdout)
    return "\n".join(lines) + "\n"


def searches_for_leaks(pid):
    """LeakSanitizer looks through the memory of a program that ends in a process of its own, which stops it by ptrace
    and, once in some thousand times, waits for ever for a thread that ends at that moment."""
    try:
        with open(f"/proc/{pid}/status") as status:
            tracer = re.search(r"TracerPid:\s+(\d+)", status.read()).group(1)
        return tracer != "0" and os.readlink(f"/proc/{tracer}/exe") == os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False


class Process:
    """One program. Its output is appended to log_path; start() may be called again after its end."""

    def __init__(self, name, argv, log_path, env=None, cwd=None):
        self.name = name
        self.argv = [str(a) for a in argv]
        self.log_path = log_path
        self.env = dict(os.environ, **(env or {}))
        self.cwd = cwd
        self.child = None
        self.log_start = 0  # where the log of the latest start begins

    def start(self):
        assert not self.alive, f"{self.name} runs already"
        if self not in everyone:
            everyone.append(self)
        with open(self.log_path, "ab") as log:
            self.log_start = log.tell()
            # The kernel ends the child should we die without cleaning up.
            self.child = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "--"] + self.argv,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.env, cwd=self.cwd, start_new_session=True)
        return self

    @property
    def pid(self):
        return self.child.pid

    @property
    def alive(self):
        return self.child is not None and self.child.poll() is None

    def send(self, number):
        self.child.send_signal(number)

    def pause(self):
        self.send(signal.SIGSTOP)

    def resume(self):
        self.send(signal.SIGCONT)

    def wait(self, timeout=20, prompt=False):
        """The exit status (negative: the signal that ended it). prompt: as in `until`."""
        return self.child.wait(timeout if prompt else limit(timeout))

    def kill(self):
        if self.alive:
            self.child.kill()
        if self.child is not None:
            self.child.wait()

    def end(self, number=signal.SIGTERM, timeout=20):
        """Asks it to stop, insists after timeout. False if it had to be killed."""
        if not self.alive:
            return True
        self.send(number)
        self.send(signal.SIGCONT)
        try:
            self.child.wait(limit(timeout))
            return True
        except subprocess.TimeoutExpired:
            if searches_for_leaks(self.pid):
                self.kill()
                return True
            with open(self.log_path, "a") as log:
                log.write(f"{self.name} did not stop in {limit(timeout)} s. {threads(self.pid)}")
            self.kill()
            return False

    def forget(self):
        """Kills it, and shows its log with no failed test any more."""
        self.kill()
        if self in everyone:
            everyone.remove(self)

    def log(self, whole=False):
        """What it wrote since the latest start."""
        with open(self.log_path, "rb") as log:
            log.seek(0 if whole else self.log_start)
            return log.read().decode(errors="replace")

    def wait_log(self, pattern, timeout=20, after=0):
        """The first match of the compiled pattern in the log of this start, from character `after` on."""
        def look():
            found = pattern.search(self.log(), after)
            if not found and not self.alive:
                found = pattern.search(self.log(), after)
                assert found, f"{self.name} ended ({self.child.returncode}) without saying {pattern.pattern!r}"
            return found
        return until(look, timeout, f"{self.name} to say {pattern.pattern!r}")

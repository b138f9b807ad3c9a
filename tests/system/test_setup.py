# SPDX-License-Identifier: ISC
"""tests/setup.sh, which the demo and the tests begin with, on a made-up Debian."""
import os
import shutil
import subprocess

import pytest

SETUP = os.path.join(os.path.dirname(__file__), "..", "setup.sh")

# What each program of apt and dpkg says; "installable" and "installed" are files beside them. As in Debian, apt-cache show
# succeeds for a name that other packages only refer to.
PROGRAMS = {
    "apt-cache": "exit 0",
    "apt-get": """
        here=$(dirname "$0")
        for name; do :; done
        case "$*" in
        *-s*) grep -qx "$name" "$here/installable" || { echo "E: Package '$name' has no installation candidate" >&2; exit 100; } ;;
        *) echo "$*" >>"$here/ran" ;;
        esac""",
    "dpkg-query": """
        here=$(dirname "$0")
        for name; do :; done
        case "$name" in
        *Status*) sed 's/^[^ ]* /installed, /' "$here/installed" ;;
        *) grep -q "^$name " "$here/installed" && printf installed ;;
        esac""",
    "sudo": 'exec "$@"',
}


class Debian:
    """A directory with setup.sh, its list of packages, and programs of apt and dpkg that say what the test wants."""

    def __init__(self, path):
        self.path = path
        shutil.copy(SETUP, path / "setup.sh")
        for name, text in PROGRAMS.items():
            (path / name).write_text("#!/bin/bash\n" + text + "\n")
            (path / name).chmod(0o755)

    def setup(self, needed, installable=(), installed=()):
        """Sets up for the packages needed; installed is of "name" or "name provided, provided"."""
        (self.path / "packages.txt").write_text("".join("build %s\n" % package for package in needed))
        (self.path / "installable").write_text("".join(name + "\n" for name in installable))
        (self.path / "installed").write_text("".join(line + " \n" for line in installed))
        return subprocess.run([self.path / "setup.sh", "packages", "build"], capture_output=True, text=True, timeout=60,
                              env=dict(os.environ, PATH="%s:%s" % (self.path, os.environ["PATH"])))

    def ran(self):
        """What apt-get was asked to do, one command a line."""
        return (self.path / "ran").read_text().splitlines() if (self.path / "ran").exists() else []


@pytest.fixture
def debian(tmp_path):
    return Debian(tmp_path)


def test_a_name_without_a_candidate_is_passed_over(debian):
    """Of "a|b" the one is taken that can be installed, also when apt knows the other by name."""
    done = debian.setup(["java-17|java-21", "make"], installable=["java-21"])
    assert done.returncode == 0, done.stderr
    assert debian.ran()[-1].endswith("java-21 make")


def test_the_first_of_two_candidates_is_taken(debian):
    done = debian.setup(["java-17|java-21"], installable=["java-17", "java-21"])
    assert done.returncode == 0, done.stderr
    assert debian.ran()[-1].endswith(" java-17")


def test_no_candidate_is_an_error_that_quotes_apt(debian):
    """Nothing is installed, and the message has the entry and what apt said of each name."""
    done = debian.setup(["java-17|java-21"])
    assert done.returncode == 1
    assert "apt can install none of java-17|java-21" in done.stderr
    assert "'java-17' has no installation candidate" in done.stderr
    assert "'java-21' has no installation candidate" in done.stderr
    assert not any("install" in line for line in debian.ran())


@pytest.mark.parametrize("installed", ["java-21", "jdk java-21", "jdk java (= 21), java-21 (= 21.0.1), other"])
def test_what_is_installed_or_provided_is_not_asked_for(debian, installed):
    """A second run asks apt for nothing, also if the name is virtual and an installed package provides it."""
    done = debian.setup(["java-17|java-21"], installable=["java-17"], installed=[installed])
    assert done.returncode == 0, done.stderr
    assert debian.ran() == []


def test_a_name_that_only_resembles_a_provided_one_is_installed(debian):
    done = debian.setup(["java"], installable=["java"], installed=["jdk java-21 (= 21), ajava"])
    assert done.returncode == 0, done.stderr
    assert debian.ran()[-1].endswith(" java")

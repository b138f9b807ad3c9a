# SPDX-License-Identifier: ISC
"""What `cmake --install` and the Debian package put where."""
import gzip
import os
import re
import shutil
import subprocess

import pytest

from harness.relay import BINARY, ROOT

# Both work in the build directory.
pytestmark = pytest.mark.xdist_group("install")

BUILD = os.path.dirname(BINARY)
DOC = "usr/share/doc/outbox-relay"
DATA = "usr/share/outbox-relay"
MAN = ["usr/share/man/man8/outbox-relay.8", "usr/share/man/man5/outbox-relay.conf.5"]
UNIT = "usr/lib/systemd/system/outbox-relay.service"
# systemd's measure, 0 to 10: the less, the less a service that was broken into can do.
EXPOSED_AT_MOST = "14"  # tenths


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def files(root):
    return {os.path.relpath(os.path.join(where, name), root) for where, _, names in os.walk(root) for name in names}


def sources(*parts, without=()):
    """The files below this part of the sources, from there."""
    there = os.path.join(ROOT, *parts)
    return {name for name in files(there) if not name.startswith(without)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    root = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", BUILD, "--prefix", "/usr", env=dict(os.environ, DESTDIR=str(root)))
    return root


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """(the package's file, it unpacked, its control files)."""
    made = tmp_path_factory.mktemp("package")
    run("cpack", "-G", "DEB", "-B", str(made), "--config", os.path.join(BUILD, "CPackConfig.cmake"))
    deb, = made.glob("outbox-relay_*.deb")
    run("dpkg-deb", "--raw-extract", str(deb), str(made / "raw"))
    return deb, made / "raw", made / "raw" / "DEBIAN"


def data():
    return ({"usr/bin/outbox-relay", UNIT}
            | {f"{DATA}/sql/{name}" for name in sources("sql") if name.endswith(".sql")}
            | {f"{DATA}/conf/{name}" for name in sources("conf", without=(
                "container/", "debian/", "release/", "outbox-relay.service"))})


def pages():
    return {f"{DOC}/docs/{name}" for name in sources("docs") if not name.endswith((".5", ".8"))}


def test_an_installation_is_complete(installed):
    expected = data() | pages() | {*MAN} | {
        f"{DOC}/{name}" for name in ("README.md", "CHANGES.md", "SECURITY.md", "LICENSE")}
    assert files(installed) == expected


def test_the_unit_names_the_installed_program(tmp_path):
    run("cmake", "--install", BUILD, "--prefix", "/opt/relay", env=dict(os.environ, DESTDIR=str(tmp_path)))
    unit = (tmp_path / "opt/relay/lib/systemd/system/outbox-relay.service").read_text()
    assert re.findall(r"^ExecStart=(.*)", unit, re.M) == [
        "/opt/relay/bin/outbox-relay run -c /etc/outbox-relay/outbox-relay.conf"]


def test_a_package_is_complete(package):
    _, root, control = package
    expected = data() | pages() | {name + ".gz" for name in MAN} | {
        f"{DOC}/{name}" for name in ("README.md", "SECURITY.md", "README.Debian", "copyright", "changelog.gz",
                                     "changelog.Debian.gz")} | {
        "etc/outbox-relay/outbox-relay.conf", "usr/share/lintian/overrides/outbox-relay"}
    assert {name for name in files(root) if not name.startswith("DEBIAN/")} == expected
    assert files(control) == {"control", "md5sums", "conffiles", "postinst", "prerm", "postrm"}
    for script in ("postinst", "prerm", "postrm"):
        run("sh", "-n", str(control / script))
        assert os.stat(control / script).st_mode & 0o777 == 0o755


def test_a_package_says_what_it_is(package):
    deb, root, control = package
    fields = dict(re.findall(r"^(\S+): (.*)", (control / "control").read_text(), re.M))
    version = run(BINARY, "--version").split()[1]
    assert re.fullmatch(re.escape(version) + r"-1(~deb\d+u1)?", fields["Version"])
    assert deb.name == f"outbox-relay_{fields['Version']}_{fields['Architecture']}.deb"
    assert fields["Section"] == "database"
    for library in ("libc6", "libpq5", "librdkafka1", "libssl3"):
        assert library in fields["Depends"]
    assert (control / "conffiles").read_text() == "/etc/outbox-relay/outbox-relay.conf\n"
    with gzip.open(root / DOC / "changelog.Debian.gz", "rt") as changes:
        assert changes.readline().startswith(f"outbox-relay ({fields['Version']}) ")
    licence = open(os.path.join(ROOT, "LICENSE")).read().split("\n\n", 1)[1]
    assert " ".join(licence.split()) in " ".join((root / DOC / "copyright").read_text().replace("\n .\n", "\n").split())


def test_the_service_is_confined(installed):
    """Also by systemd's own measure, which needs no running systemd."""
    assert shutil.which("systemd-analyze"), "install the package systemd"
    run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSED_AT_MOST}", "--no-pager",
        str(installed / UNIT))

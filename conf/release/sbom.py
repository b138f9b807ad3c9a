# SPDX-License-Identifier: ISC
"""What a release is made of and with, as SPDX 2.3: the source, the program, and the Debian package of each library that the
program loads. Run by release.sh with the python that has spdx-tools; SOURCE_DATE_EPOCH is when it was created.

    sbom.py VERSION TARBALL PROGRAM OUTPUT.spdx.json
"""
import datetime
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

from spdx_tools.common.spdx_licensing import spdx_licensing
from spdx_tools.spdx.model import (
    Actor, ActorType, Checksum, ChecksumAlgorithm, CreationInfo, Document, ExternalPackageRef, ExternalPackageRefCategory,
    Package, PackagePurpose, Relationship, RelationshipType, SpdxNoAssertion)
from spdx_tools.spdx.writer.write_anything import write_file

# Of the libraries that we call, by what Debian's copyright files say; of those behind them nothing is asserted.
LICENCES = {
    "librdkafka1": "BSD-2-Clause", "libpq5": "PostgreSQL", "libssl3": "Apache-2.0", "libssl3t64": "Apache-2.0",
    "libevent-2.1-7": "BSD-3-Clause", "libevent-2.1-7t64": "BSD-3-Clause", "libconfig9": "LGPL-2.1-or-later",
    "libconfig11": "LGPL-2.1-or-later", "libjansson4": "MIT", "libpcre2-8-0": "BSD-3-Clause", "libjson-c5": "MIT", "libc6": "LGPL-2.1-or-later", "uthash-dev": "BSD-1-Clause",
}
HEADERS_ONLY = "uthash-dev"  # becomes part of the program when it is compiled


def run(*command):
    return subprocess.check_output(command, text=True, env=dict(os.environ, LC_ALL="C"))


def package(spdx_id, name, version, licence, location, **more):
    return Package(spdx_id=f"SPDXRef-{spdx_id}", name=name, version=version, download_location=location, files_analyzed=False,
                   license_concluded=licence, license_declared=licence, copyright_text=SpdxNoAssertion(), **more)


def ours(spdx_id, path, version, purpose):
    digest = Checksum(ChecksumAlgorithm.SHA256, hashlib.sha256(path.read_bytes()).hexdigest())
    return package(spdx_id, "outbox-relay", version, spdx_licensing.parse("ISC"), SpdxNoAssertion(), file_name=path.name,
                   checksums=[digest], primary_package_purpose=purpose, external_references=[purl(f"pkg:generic/outbox-relay@{version}")])


def purl(locator):
    return ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", locator)


def debian(name):
    """The Debian package as it is installed here."""
    version, arch, source, upstream = run(
        "dpkg-query", "-W", "-f", "${Version}\n${Architecture}\n${source:Package}\n${source:Version}", name).split("\n")
    licence = spdx_licensing.parse(LICENCES[name]) if name in LICENCES else SpdxNoAssertion()
    release = re.search(r'^VERSION_ID="?([^"\n]+)', pathlib.Path("/etc/os-release").read_text(), re.M)
    distro = f"&distro=debian-{release.group(1)}" if release else ""
    quoted = urllib.parse.quote(version, safe="~:")
    return package("Package-" + re.sub(r"[^A-Za-z0-9.-]", "-", name), name, version, licence, SpdxNoAssertion(),
                   source_info=f"built by Debian from the source package {source} {upstream}",
                   primary_package_purpose=PackagePurpose.LIBRARY,
                   external_references=[purl(f"pkg:deb/debian/{name}@{quoted}?arch={arch}{distro}")])


def owner(path):
    """The Debian package of a file. Since /lib is a link to /usr/lib, dpkg knows it by one of two names."""
    real = os.path.realpath(path)
    for name in (path, real, real.removeprefix("/usr")):
        found = subprocess.run(["dpkg-query", "-S", name], text=True, capture_output=True)
        if found.returncode == 0:
            return found.stdout.partition(": ")[0].partition(":")[0]
    sys.exit(f"sbom: {path} belongs to no Debian package: build where every library is Debian's")


def libraries(program):
    """{package: whether the program itself asks for it} of all that it loads."""
    asked = set(re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", program)))
    found = {}
    for name, path in sorted(re.findall(r"^\s*(\S+)(?: =>)? (/\S+)", run("ldd", program).replace("(", " ("), re.M)):
        found[owner(path)] = name in asked or found.get(owner(path), False)
    return found


def main():
    version, tarball, program, output = sys.argv[1], *map(pathlib.Path, sys.argv[2:])
    created = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc).replace(tzinfo=None)
    source = ours("Source", tarball, version, PackagePurpose.SOURCE)
    binary = ours("Program", program, version, PackagePurpose.APPLICATION)
    packages, related = [source, binary], [
        Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, source.spdx_id),
        Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, binary.spdx_id),
        Relationship(binary.spdx_id, RelationshipType.GENERATED_FROM, source.spdx_id)]
    for name, direct in sorted(libraries(program).items()):
        packages.append(debian(name))
        kind = RelationshipType.DYNAMIC_LINK if direct else RelationshipType.DEPENDS_ON
        related.append(Relationship(binary.spdx_id, kind, packages[-1].spdx_id))
    packages.append(debian(HEADERS_ONLY))
    related.append(Relationship(packages[-1].spdx_id, RelationshipType.BUILD_DEPENDENCY_OF, binary.spdx_id))
    information = CreationInfo(
        spdx_version="SPDX-2.3", spdx_id="SPDXRef-DOCUMENT", name=f"outbox-relay-{version}", data_license="CC0-1.0",
        document_namespace=f"https://spdx.org/spdxdocs/outbox-relay-{version}-{binary.checksums[0].value}",
        creators=[Actor(ActorType.ORGANIZATION, "the outbox-relay authors"), Actor(ActorType.TOOL, "spdx-tools")], created=created)
    write_file(Document(information, packages=packages, relationships=related), str(output))  # validates it first


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: ISC
"""Certificate authorities of the tests, and what they sign, as PEM files."""
import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def _name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem_of(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def _write(path, *parts):
    with open(path, "wb") as file:
        file.write(b"".join(parts))
    return path


class Certificate:
    """The files of one: certificate, key, and both in one (as Kafka wants a keystore in PEM)."""

    def __init__(self, directory, name, certificate, key):
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        base = os.path.join(directory, name)
        self.certificate = _write(f"{base}.pem", pem)
        self.key = _write(f"{base}.key", _pem_of(key))
        self.both = _write(f"{base}.both.pem", _pem_of(key), pem)


class Authority:
    """A CA. Its certificate is in the file `certificate`."""

    def __init__(self, directory, name="ca"):
        os.makedirs(directory, exist_ok=True)
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"{name} of the tests")
        signed = self._build(self._name, self._key.public_key(), -DAY, 30 * DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(self._key, hashes.SHA256())
        self.certificate = _write(os.path.join(directory, f"{name}.pem"),
                                  signed.public_bytes(serialization.Encoding.PEM))

    def _build(self, subject, key, start, end):
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
                .serial_number(x509.random_serial_number()).not_valid_before(now + start)
                .not_valid_after(now + end))

    def sign(self, name, *hosts, common_name=None, expired=False):
        """A certificate for a server with these hosts (names or addresses), or for a client. name: of its files, and
        what it is for unless common_name is given."""
        key = ec.generate_private_key(ec.SECP256R1())
        start, end = (-10 * DAY, -DAY) if expired else (-DAY, 30 * DAY)
        builder = self._build(_name(common_name or name), key.public_key(), start, end)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(h) for h in hosts]),
                                            critical=False)
        return Certificate(self.directory, name, builder.sign(self._key, hashes.SHA256()), key)

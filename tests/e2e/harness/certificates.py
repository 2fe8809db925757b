"""A certification authority for servers on loopback, made anew for each run."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Issues certificates; `path` is its own, for those who trust it."""

    def __init__(self, folder, name="test"):
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} CA")])
        own = self._builder(self._subject, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.path = folder / f"{name}-ca.pem"
        self.path.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject, key, constraints, days=1):
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self._subject).public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2)).not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(constraints, critical=True))

    def certificate(self, host, days=1):
        """A PEM file of a key and a certificate for `host`; it expired if `days` is negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        made = self._builder(subject, key.public_key(), x509.BasicConstraints(ca=False, path_length=None), days).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False).sign(self._key, hashes.SHA256())
        path = self._folder / f"{self._name}-{host}{days}.pem"
        path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + made.public_bytes(serialization.Encoding.PEM))
        return path

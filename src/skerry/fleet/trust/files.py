"""/var/lib/skerry/pki, 0700: each file written whole, so that a kill leaves the old one or the new one.

    ca.crt         the cluster's authority, public
    node.pem       this machine's key and certificate: one file, so that a renewal is one rename
    joining.key    the key that a join under way asked with; gone when it is done, cluster.json included
    on servers
    ca.key         the authority's key        store-ca.crt, store-ca.key   etcd's authority
    store.pem      this member's key and certificate of the store's authority

While joining.key is there, an authority is that of the cluster to join, and not this machine's own to found
another with. What other programs need in another form is derived from these, and may be thrown away.
node.pem is written last: where it is, everything is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.trust.certificates import Authority, Credential, load_certificate, new_key
from skerry.fleet.trust.errors import CertificateError, PkiError
from skerry.kit.files import sync_directory, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY = "var/lib/skerry/pki"


class Pki:
    """The files under one directory. Methods raise PkiError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca.crt"
        self.ca_key = directory / "ca.key"
        self.node = directory / "node.pem"
        self.joining = directory / "joining.key"
        self.store_ca = directory / "store-ca.crt"
        self.store_ca_key = directory / "store-ca.key"
        self.store = directory / "store.pem"

    @property
    def is_member(self) -> bool:
        """Whether this machine has a certificate of a cluster."""
        return self.node.exists()

    @property
    def is_joining(self) -> bool:
        """Whether something is here of a cluster that this machine has not ended to join."""
        return self.joining.exists() and (self.ca.exists() or self.store_ca.exists())

    def joined(self) -> None:
        """cluster.json says that this machine is a member: a left-over key of the join goes."""
        if self.joining.exists():
            self.joining.unlink(missing_ok=True)
            sync_directory(self.directory)

    def read_ca(self) -> str:
        """The cluster's authority, PEM."""
        return self._certificate(self.ca)

    def read_store_ca(self) -> str:
        return self._certificate(self.store_ca)

    def read_node(self) -> Credential:
        return self._credential(self.node)

    def read_store(self) -> Credential:
        return self._credential(self.store)

    def authority(self) -> Authority:
        """The cluster's authority with its key; on servers."""
        return self._authority(self.ca, self.ca_key)

    def store_authority(self) -> Authority:
        return self._authority(self.store_ca, self.store_ca_key)

    def write_ca(self, pem: str) -> None:
        """On agents: what only servers have goes, should another join have left it."""
        for path in (self.ca_key, self.store, self.store_ca_key, self.store_ca):
            path.unlink(missing_ok=True)
        self._write(self.ca, pem, mode=0o644)

    def write_node(self, credential: Credential) -> None:
        """The machine has a certificate from here on."""
        self._write(self.node, credential.pem)

    def write_store(self, credential: Credential) -> None:
        self._write(self.store, credential.pem)

    def write_authority(self, authority: Authority) -> None:
        """The key before the certificate: a certificate without its key would look whole to agents."""
        self._write(self.ca_key, authority.key_pem)
        self._write(self.ca, authority.pem, mode=0o644)

    def write_store_authority(self, authority: Authority) -> None:
        self._write(self.store_ca_key, authority.key_pem)
        self._write(self.store_ca, authority.pem, mode=0o644)

    def joining_key(self) -> str:
        """The key to join with, kept from the first try on: the second is known as the same machine's."""
        try:
            return self.joining.read_text()
        except FileNotFoundError:
            key = new_key()
            self._write(self.joining, key)
            return key
        except OSError as error:
            raise PkiError(f"{self.joining} cannot be read: {error.strerror}") from error

    def _write(self, path: Path, text: str, *, mode: int = 0o600) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.chmod(0o700)
            write_atomic(path, text, mode=mode)
        except OSError as error:
            raise PkiError(f"{path} cannot be written: {error.strerror}") from error

    def _text(self, path: Path) -> str:
        try:
            return path.read_text()
        except FileNotFoundError as error:
            raise PkiError(
                f"{path} is missing", hint="this machine is not a member of a cluster, or not as a server"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise PkiError(f"{path} cannot be read: {error}") from error

    def _certificate(self, path: Path) -> str:
        text = self._text(path)
        try:
            load_certificate(text)
        except CertificateError as error:
            raise PkiError(f"{path} is damaged: {error.message}") from error
        return text

    def _credential(self, path: Path) -> Credential:
        try:
            return Credential.parse(self._text(path))
        except CertificateError as error:
            raise PkiError(f"{path} is damaged: {error.message}") from error

    def _authority(self, certificate: Path, key: Path) -> Authority:
        try:
            return Authority.parse(self._text(certificate), self._text(key))
        except CertificateError as error:
            raise PkiError(f"{certificate} and {key} are damaged: {error.message}") from error

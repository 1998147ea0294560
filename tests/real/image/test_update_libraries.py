"""What updates stand on works with a host's own interpreter and libraries, trimmed as they are."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from skerry.image.compose.sandbox import MOUNT_POINTS, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.image.compose.build import Image, Store

START = 'import sys; sys.path[:0] = ["/usr/lib/skerry", "/usr/lib/python3/dist-packages"]\n'
VERIFY = """
from datetime import datetime, UTC
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Targets
from tuf.api.exceptions import UnsignedMetadataError
import tuf.ngclient
signer, other = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
document = Metadata(Targets(expires=datetime(2030, 1, 1, tzinfo=UTC)))
document.sign(signer)
signer.public_key.verify_signature(document.signatures[signer.public_key.keyid], document.signed_bytes)
try:
    other.public_key.verify_signature(document.signatures[signer.public_key.keyid], document.signed_bytes)
except Exception as error:
    print("good:", type(error).__name__)
"""
KEYS = """
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
key = Ed25519PrivateKey.generate()
key.public_key().verify(key.sign(b"this"), b"this")
try:
    key.public_key().verify(key.sign(b"this"), b"that")
except InvalidSignature:
    print("good")
"""
ZSTD = """
import zstandard
assert zstandard.backend == "cext", zstandard.backend
packed = zstandard.ZstdCompressor(level=3).compress(b"skerry" * 1000)
print("good:", zstandard.ZstdDecompressor().decompress(packed)[:6], len(packed) < 100)
"""
MERGE = """
from merge3 import Merge3
base, ours, theirs = ["a\\n", "b\\n"], ["0\\n", "a\\n", "b\\n"], ["a\\n", "b\\n", "c\\n"]
assert list(Merge3(base, ours, theirs).merge_lines()) == ["0\\n", "a\\n", "b\\n", "c\\n"]
print("good")
"""
CLIENT = "import skerry.image.release.client, skerry.image.content.verity; print('good')"


@pytest.fixture(scope="module")
def host(image: Image, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The image's own tree as a place to run programs in."""
    tree: Path = tmp_path_factory.mktemp("host")
    archive = str(store.path(image.label, "tree.tar"))
    subprocess.run(["tar", "-x", "-f", archive, "-C", str(tree), "--no-same-owner"], check=True)
    for name in MOUNT_POINTS:
        (tree / name).mkdir(exist_ok=True)
    return Sandbox(tree)


@pytest.mark.parametrize(
    "code", [VERIFY, KEYS, ZSTD, MERGE, CLIENT], ids=["tuf", "ed25519", "zstd", "merge3", "client"]
)
def test_a_host_has_what_updates_need(host: Sandbox, code: str) -> None:
    done = host.run(["/usr/bin/python3", "-IS", "-W", "error", "-c", START + code])
    assert done.text.startswith("good"), done.text
    assert not done.stderr


@pytest.mark.parametrize(
    "program",
    ["busybox", "dpkg", "apt-get", "openssl", "perl", "gcc"],
)
def test_a_host_has_no_second_way(host: Sandbox, program: str) -> None:
    assert list(host.tools.glob(f"usr/*bin/{program}")) == []

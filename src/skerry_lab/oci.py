"""OCI images in memory and in an image layout on disk, made from plain entries; same input, same digests.

A layer here is an uncompressed tar: the lab's images are small and its guests are emulated, where
inflating costs more than fetching. Formats: the OCI image specification 1.1 (image-layout, manifest,
config).

    oci-layout                     {"imageLayoutVersion": "1.0.0"}
    index.json                     one manifest, annotated with its name
    blobs/sha256/<hex>             manifest, config, layers
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skerry_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
NAME_ANNOTATION = "org.opencontainers.image.ref.name"


class OciError(LabError):
    """An image layout that cannot be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a layer: a file where `content` is given, a link where `link` is, else a directory.

    `path` is relative to the root, without a leading slash.
    """

    path: str
    content: bytes | None = None
    link: str | None = None
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Config:
    """How a container of the image starts."""

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes by their digest, as registries and layouts keep them."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    @property
    def descriptor(self) -> dict[str, str | int]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


@dataclass(frozen=True, slots=True)
class Image:
    """`name` as registries say it: repository and tag, "library/busybox:latest"."""

    name: str
    manifest: Blob
    blobs: tuple[Blob, ...]

    @property
    def repository(self) -> str:
        return self.name.rpartition(":")[0]

    @property
    def tag(self) -> str:
        return self.name.rpartition(":")[2]


def make_layer(entries: Iterable[Entry]) -> Blob:
    """A tar of the entries in the order of their paths, all times zero; missing parents are added."""
    by_path: dict[str, Entry] = {}
    for entry in entries:
        parts = entry.path.split("/")
        for depth in range(1, len(parts)):
            by_path.setdefault("/".join(parts[:depth]), Entry("/".join(parts[:depth])))
        by_path[entry.path] = entry
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(by_path):
            entry = by_path[path]
            info = tarfile.TarInfo(path)
            info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, 0
            if entry.content is not None:
                info.size = len(entry.content)
                tar.addfile(info, io.BytesIO(entry.content))
                continue
            if entry.link is not None:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
            else:
                info.type = tarfile.DIRTYPE
            tar.addfile(info)
    return Blob(LAYER_TYPE, out.getvalue())


def make_image(name: str, layers: Iterable[Blob], config: Config, *, architecture: str) -> Image:
    """The image of these layers, lowest first. `architecture` is Go's word for it ("amd64")."""
    stack = tuple(layers)
    started: dict[str, object] = {
        "Env": [f"{key}={value}" for key, value in sorted(config.environment.items())]
    }
    if config.command:
        started["Cmd"] = list(config.command)
    if config.entrypoint:
        started["Entrypoint"] = list(config.entrypoint)
    if config.ports:
        started["ExposedPorts"] = {port: {} for port in sorted(config.ports)}
    if config.stop_signal:
        started["StopSignal"] = config.stop_signal
    document = {
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": started,
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in stack]},
    }
    config_blob = Blob(CONFIG_TYPE, _json(document))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config_blob.descriptor,
        "layers": [layer.descriptor for layer in stack],
    }
    return Image(name, Blob(MANIFEST_TYPE, _json(manifest)), (config_blob, *stack))


def write_layout(image: Image, directory: Path) -> None:
    """Write the image as an OCI layout into a directory that does not exist yet."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for blob in (image.manifest, *image.blobs):
        (blobs / blob.digest.removeprefix("sha256:")).write_bytes(blob.data)
    descriptor = image.manifest.descriptor | {"annotations": {NAME_ANNOTATION: image.name}}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [descriptor]}
    (directory / "index.json").write_bytes(_json(index))
    (directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def read_layout(directory: Path) -> Image:
    """The one image of a layout that write_layout made. Raises OciError where it is damaged."""
    try:
        entry = json.loads((directory / "index.json").read_bytes())["manifests"][0]
        manifest = _read_blob(directory, entry)
        inside = json.loads(manifest.data)
        blobs = tuple(_read_blob(directory, part) for part in (inside["config"], *inside["layers"]))
        return Image(entry["annotations"][NAME_ANNOTATION], manifest, blobs)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise OciError(f"{directory} is not an image layout that can be read: {error}") from error


def _read_blob(directory: Path, descriptor: Mapping[str, str]) -> Blob:
    digest = descriptor["digest"]
    data = (directory / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    blob = Blob(descriptor["mediaType"], data)
    if blob.digest != digest:
        raise OciError(f"blob {digest} in {directory} has other content", hint="remove the directory")
    return blob


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

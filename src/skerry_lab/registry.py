"""A real OCI registry for the lab's nodes: Debian's docker-registry, and the push of images into it.

Speaks the distribution specification 1.1 (docs: "end-4b", "end-7") over plain HTTP on an address of the
lab's own. Nothing outside the lab's network can reach it.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import time
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from skerry_lab.oci import Image
    from skerry_lab.process import Process
    from skerry_lab.state import LabState

PROGRAM = "docker-registry"
NAMESPACE_PORT = 5000


@dataclass(frozen=True, slots=True)
class Registry:
    """Where it answers, as the nodes of its network see it or, on loopback, as this machine does."""

    host: str
    port: int
    process: Process

    def push(self, image: Image) -> str:
        """Put an image in, under its name; the manifest's digest. Raises LabError as the registry answers."""
        for blob in image.blobs:
            if self._ask("HEAD", f"/v2/{image.repository}/blobs/{blob.digest}")[0] == 200:
                continue
            status, headers, body = self._ask("POST", f"/v2/{image.repository}/blobs/uploads/")
            _expect(202, status, body)
            place = urllib.parse.urlsplit(headers["Location"])
            query = f"{place.query}&" if place.query else ""
            target = f"{place.path}?{query}digest={urllib.parse.quote(blob.digest)}"
            status, _, body = self._ask("PUT", target, blob.data, "application/octet-stream")
            _expect(201, status, body)
        path = f"/v2/{image.repository}/manifests/{image.tag}"
        status, headers, body = self._ask("PUT", path, image.manifest.data, image.manifest.media_type)
        _expect(201, status, body)
        return headers["Docker-Content-Digest"]

    def fetch(self, path: str, *, accept: str = "*/*") -> bytes:
        """What the registry answers to a GET. Raises LabError unless it is 200."""
        status, _, body = self._ask("GET", path, accept=accept)
        _expect(200, status, body)
        return body

    def _ask(
        self, method: str, target: str, body: bytes = b"", media_type: str = "", *, accept: str = "*/*"
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        headers = {"Accept": accept} | ({"Content-Type": media_type} if media_type else {})
        try:
            connection.request(method, target, body or None, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except OSError as error:
            raise LabError(f"the registry at {self.host}:{self.port} does not answer: {error}") from error
        finally:
            connection.close()


def start(
    state: LabState, images: Iterable[Image], *, inside: Path | None = None, address: str = "127.0.0.1"
) -> Registry:
    """Run the lab's registry with the images in it, until the lab goes down.

    On a free port of loopback; or, with `inside` a network namespace, on `address` there, where only that
    network's nodes reach it. Both share one directory of blobs, so the second is filled at once.
    """
    if shutil.which(PROGRAM) is None:
        raise LabError(f"{PROGRAM} is not installed", hint=f"run: sudo apt-get install {PROGRAM}")
    loopback = _start(state, None, "127.0.0.1", _free_port())
    for image in images:
        loopback.push(image)
    if inside is None:
        return loopback
    loopback.process.end()
    return _start(state, inside, address, NAMESPACE_PORT)


def _start(state: LabState, inside: Path | None, address: str, port: int) -> Registry:
    directory = state.directory / "registry"
    directory.mkdir(exist_ok=True)
    settings = directory / f"{port}.yml"
    settings.write_text(_settings(directory / "blobs", address, port))
    argv = [PROGRAM, "serve", str(settings)]
    if inside is not None:
        argv = ["nsenter", f"--net={inside}", "--", *argv]
    log = directory / "log"
    process = state.spawn(argv, what=f"registry {address}", log=log)
    deadline = time.monotonic() + 30
    while not _listens(process, port):
        if not process.alive():
            raise LabError(f"{PROGRAM} ended at once: {log.read_text()[-500:]}")
        if time.monotonic() > deadline:
            process.kill()
            raise LabError(f"{PROGRAM} did not begin to listen within 30 s", hint=f"see {log}")
        time.sleep(0.05)
    return Registry(address, port, process)


def _settings(blobs: Path, address: str, port: int) -> str:
    """docker-registry reads YAML, of which JSON is a part."""
    return json.dumps(
        {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(blobs)}, "delete": {"enabled": False}},
            "http": {"addr": f"{address}:{port}", "secret": "only on the lab's own network"},
        }
    )


def _listens(process: Process, port: int) -> bool:
    """Whether a socket listens on the port in the process's own network, see proc_net(5) (0A is LISTEN)."""
    from pathlib import Path

    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{process.pid}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _expect(wanted: int, status: int, body: bytes) -> None:
    if status != wanted:
        raise LabError(f"the registry answered {status}, not {wanted}: {body[:200].decode(errors='replace')}")

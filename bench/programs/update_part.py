"""Make one part of a release as a host does, in a process of its own: update_part.py JOB

JOB is a JSON file: {"part": a manifest's part, "bases": [image.content's Base, …], "url", "blobs": directory
for what is fetched, "target": file to write, "hashes": file for the verity tree or null}. Prints how it was
made.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from skerry.image.content.fetch import Fetcher
from skerry.image.content.plan import Base, choose
from skerry.image.content.write import fetch, write
from skerry.image.release.manifest import Part
from skerry.kit.transport import UrlTransport


class Job(msgspec.Struct, frozen=True):
    part: Part
    bases: tuple[Base, ...]
    url: str
    blobs: Path
    target: Path
    hashes: Path | None


def _path(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError


def main() -> None:
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job, dec_hook=_path)
    fetcher = Fetcher(UrlTransport(), job.url, job.blobs)
    planned = fetch(job.part, choose(job.part, job.bases), job.bases, fetcher)
    target = os.open(job.target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    hashes = None if job.hashes is None else os.open(job.hashes, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    print(write(job.part, planned, job.bases, target, fetcher, hashes=hashes))


if __name__ == "__main__":
    main()

"""A program of an image, run on this machine with the image's own loader and libraries.

So it does here what it does on a host, whatever version of it this machine has.
"""

from __future__ import annotations

import posixpath
import shutil
import tarfile
from typing import TYPE_CHECKING

from skerry_lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

LIBRARIES = "./usr/lib/x86_64-linux-gnu"
LOADER = "ld-linux-x86-64.so.2"
E2FSCK = (
    "./usr/sbin/e2fsck",
    *(
        f"{LIBRARIES}/{name}"
        for name in ("libext2fs.so.2", "libcom_err.so.2", "libblkid.so.1", "libuuid.so.1", "libe2p.so.2")
    ),
)


def borrow(tree: Path, files: tuple[str, ...], directory: Path) -> tuple[str, ...]:
    """The first of these files of a tree.tar as the beginning of a command; the others are its libraries.

    Raises LabError where the tree lacks one.
    """
    wanted = (*files, f"{LIBRARIES}/libc.so.6", f"{LIBRARIES}/{LOADER}")
    with tarfile.open(tree) as tar:
        for path in wanted:
            try:
                member = tar.getmember(path)
                if member.issym():
                    link = posixpath.join(posixpath.dirname(path), member.linkname)
                    member = tar.getmember(f"./{posixpath.normpath(link)}")
            except KeyError as error:
                raise LabError(f"{tree} has no {path}") from error
            target = directory / posixpath.basename(path)
            with target.open("wb") as file:
                content = tar.extractfile(member)
                if content is None:
                    raise LabError(f"{path} in {tree} is no file")
                shutil.copyfileobj(content, file)
            target.chmod(0o755)
    program = directory / posixpath.basename(files[0])
    return str(directory / LOADER), "--library-path", str(directory), str(program)

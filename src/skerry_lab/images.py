"""Small container images from Debian packages, so that the documentation's units run without an internet.

Each is declared below: packages, which of their files are kept, files of our own. mmdebstrap fetches and
unpacks the packages; nothing of them is run. Cached as OCI layouts under the cache directory, by a hash
of the declaration and of the package sources.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose.mirror import find_sources
from skerry.kit.paths import cache_dir
from skerry.kit.progress import Phase, Progress, Reporter, silent
from skerry.kit.run import run
from skerry_lab.errors import LabError
from skerry_lab.oci import Config, Entry, Image, make_image, make_layer, read_layout, write_layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUITE = "trixie"
FORMAT = 1  # raised when what is made from the same declaration changes
DIRECTORIES = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, "etc": 0o755, "proc": 0o755, "sys": 0o755}
MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
BUSYBOX = "usr/bin/busybox"
APPLETS = """
awk cat chmod chown cp cut date dd df dirname du echo env expr false find grep gunzip gzip head
hostname httpd id install kill ln ls mkdir mktemp mount mv nc nslookup od ping printf ps pwd
readlink realpath rm rmdir sed seq sh sleep sort stat sync tail tar tee test time timeout top touch
tr true umount uname uniq vi wc wget which whoami xargs yes
""".split()  # noqa: SIM905 - a list of names reads best as one
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\n",
    "etc/group": "root:x:0:\nwww-data:x:33:\n",
}


@dataclass(frozen=True, slots=True)
class Declaration:
    """`keep`: globs over the paths of the packages; busybox is in every image."""

    name: str
    packages: tuple[str, ...]
    keep: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    config: Config = field(default_factory=Config)


BUSYBOX_PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
HELLO = """#!/bin/sh
# The page says which container answered. Ends at once when asked to stop, as PID 1 must see to itself.
mkdir -p /www
cat > /www/index.html <<END
<html><head><title>Hello world!</title></head>
<body><h1>Hello world!</h1><h3>My hostname is $(hostname)</h3></body></html>
END
trap 'kill $!; exit 0' TERM INT
httpd -f -p 80 -h /www &
wait $!
"""
APACHE_CONF = """ServerName localhost
ServerRoot /etc/apache2
DefaultRuntimeDir ${APACHE_RUN_DIR}
PidFile ${APACHE_PID_FILE}
User ${APACHE_RUN_USER}
Group ${APACHE_RUN_GROUP}
ErrorLog /dev/stderr
Listen 80
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
TypesConfig /dev/null
AddType text/html .html
StartServers 1
ThreadsPerChild 8
MinSpareThreads 1
MaxSpareThreads 8
MaxRequestWorkers 16
DocumentRoot /var/www/html
DirectoryIndex index.html
<Directory /var/www/html>
    Require all granted
</Directory>
"""
APACHE_PAGE = """<html><head><title>Apache on Skerry</title></head>
<body><h1>It works!</h1><p>This page is served by Debian's Apache in a container.</p></body></html>
"""
DECLARATIONS = (
    Declaration(
        "library/busybox:latest",
        ("busybox-static",),
        (),
        config=Config(command=("sh",), environment=BUSYBOX_PATH),
    ),
    Declaration(
        "tutum/hello-world:latest",
        ("busybox-static",),
        (),
        files={"run.sh": HELLO},
        config=Config(command=("/run.sh",), ports=("80/tcp",), environment=BUSYBOX_PATH),
    ),
    Declaration(
        "coreos/apache:latest",
        ("busybox-static", "apache2"),
        (
            "usr/sbin/apache2",
            "usr/sbin/apache2ctl",
            "etc/apache2/envvars",
            "usr/lib/apache2/modules/mod_mpm_event.so",
            "usr/lib/apache2/modules/mod_authz_core.so",
            "usr/lib/apache2/modules/mod_dir.so",
            "usr/lib/apache2/modules/mod_mime.so",
            "usr/lib64/ld-linux-*",
            "usr/lib/ld-linux-*",
            "usr/lib/*-linux-gnu/ld-linux-*",
            "usr/lib/*-linux-gnu/libc.so.6",
            "usr/lib/*-linux-gnu/libgcc_s.so.1",
            "usr/lib/*-linux-gnu/libapr*-1.so.*",
            "usr/lib/*-linux-gnu/libpcre2-8.so.*",
            "usr/lib/*-linux-gnu/libexpat.so.*",
            "usr/lib/*-linux-gnu/libcrypt.so.*",
            "usr/lib/*-linux-gnu/libuuid.so.*",
        ),
        files={
            "etc/apache2/apache2.conf": APACHE_CONF,
            "var/www/html/index.html": APACHE_PAGE,
            "var/log/apache2/.keep": "",
            "run/lock/.keep": "",
        },
        config=Config(
            command=("/usr/sbin/apache2ctl", "-D", "FOREGROUND"),
            ports=("80/tcp",),
            # It would raise its limit of open files, which a container may not.
            environment={**BUSYBOX_PATH, "APACHE_ULIMIT_MAX_FILES": "true"},
        ),
    ),
)


class ImagesError(LabError):
    """The lab's container images could not be made."""


def build_images(
    *, report: Reporter = silent, environment: Mapping[str, str] | None = None
) -> tuple[Image, ...]:
    """Every declared image, from the cache where it is there.

    Raises ImagesError, ProgramError, NoMirrorError.
    """
    sources = find_sources(SUITE, environment)
    architecture = run(["dpkg", "--print-architecture"]).text.strip()
    made: list[Image] = []
    for declaration in DECLARATIONS:
        step = f"image {declaration.name}"
        directory = cache_dir() / "lab" / "images" / _key(declaration, sources, architecture)
        if directory.is_dir():
            report(Progress(step, Phase.REUSED))
        else:
            report(Progress(step, Phase.STARTED, note="fetching Debian packages"))
            _build(declaration, sources, architecture, directory)
            report(Progress(step, Phase.DONE))
        made.append(read_layout(directory))
    return tuple(made)


def _key(declaration: Declaration, sources: tuple[str, ...], architecture: str) -> str:
    given = json.dumps([FORMAT, asdict(declaration), APPLETS, sources, architecture], sort_keys=True)
    name = declaration.name.replace("/", "-").replace(":", "-")
    return f"{name}-{hashlib.sha256(given.encode()).hexdigest()[:16]}"


def _build(declaration: Declaration, sources: tuple[str, ...], architecture: str, directory: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise ImagesError("mmdebstrap is not installed", hint="run: sudo apt-get install mmdebstrap")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".making-") as scratch:
        packages = Path(scratch) / "packages.tar"
        argv = [
            "mmdebstrap",
            "--variant=extract",
            "--mode=auto",
            f"--include={','.join(declaration.packages)}",
        ]
        argv += [f"--architectures={architecture}", SUITE, str(packages), "-"]
        proxies = {name: os.environ[name] for name in ("http_proxy", "https_proxy") if name in os.environ}
        run(argv, stdin="\n".join((*sources, "")).encode(), timeout_s=600, env=proxies)
        base = make_layer([*_frame(), *_kept(packages, (BUSYBOX,))])
        top = [*_own(declaration), *_kept(packages, declaration.keep)]
        layers = [base, make_layer(top)] if top else [base]
        image = make_image(declaration.name, layers, declaration.config, architecture=architecture)
        write_layout(image, Path(scratch) / "layout")
        with contextlib.suppress(OSError):  # another lab was faster, and made the same
            (Path(scratch) / "layout").rename(directory)


def _frame() -> Iterator[Entry]:
    """The base layer that all images share: directories, the merged /usr, busybox's names, accounts."""
    for path, mode in DIRECTORIES.items():
        yield Entry(path, mode=mode)
    for path, target in MERGED.items():
        yield Entry(target)
        yield Entry(path, link=target)
    yield Entry("var/run", link="../run")
    yield Entry("var/lock", link="../run/lock")
    for applet in APPLETS:
        yield Entry(f"usr/bin/{applet}", link="busybox")
    for path, text in ACCOUNTS.items():
        yield Entry(path, content=text.encode(), mode=0o644)


def _own(declaration: Declaration) -> Iterator[Entry]:
    for path, text in declaration.files.items():
        yield Entry(path, content=text.encode(), mode=0o755 if text.startswith("#!") else 0o644)


def _kept(packages: Path, keep: tuple[str, ...]) -> Iterator[Entry]:
    """The wanted files of a tar of packages. Raises ImagesError where a glob finds nothing that it must."""
    found: set[str] = set()
    with tarfile.open(packages) as tar:
        for member in tar:
            path = _merged(member.name.removeprefix("./"))
            glob = next((glob for glob in keep if fnmatch.fnmatchcase(path, glob)), None)
            if glob is None:
                continue
            if member.issym():
                found.add(glob)
                yield Entry(path, link=member.linkname)
            elif member.isreg() and (file := tar.extractfile(member)) is not None:
                found.add(glob)
                yield Entry(path, content=file.read(), mode=member.mode)
    missing = [glob for glob in keep if glob not in found and "ld-linux" not in glob]
    if missing:
        raise ImagesError(
            f"Debian's packages hold no file {missing[0]}", hint="the lab's declaration of it is out of date"
        )


def _merged(path: str) -> str:
    """Older suites ship /lib and /bin apart; an image here has them under /usr."""
    first, _, rest = path.partition("/")
    return f"{MERGED[first]}/{rest}" if first in MERGED and rest else path
